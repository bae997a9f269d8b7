"""One run of an experiment: train, fine-tune for int8, evaluate. What is there already is kept."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from experiments.settings import Run
from golden.cases import compile_on
from golden.compile import compile_learned
from golden.forecaster import Forecaster
from model.atomic_write import atomic_write
from model.data import load_dataset
from model.io import load_model
from model.metrics import evaluate, torch_forecaster
from model.quantization.calibrate import calibration_windows
from model.training.loops import resume_path

Result = dict[str, dict[str, float]]
"""'fp32', 'calibrated' and 'qat', each with mse and mae on the test split; the latter two by the
integer program."""


class RunError(Exception):
    """A training that failed."""


def result_of(run: Run, folder: Path, threads: int) -> Result:
    """The result of `run`, whose files are in `folder`; what is missing or made with other settings
    is made.

    Raises:
        RunError: a training failed.
    """
    settings = json.dumps(dataclasses.asdict(run), indent=2) + "\n"
    kept, result = folder / "settings.json", folder / "result.json"
    if not kept.exists() or kept.read_text(encoding="utf-8") != settings:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write(kept, settings)
    if not result.exists():
        fp32, qat = folder / "fp32.safetensors", folder / "qat.safetensors"
        common = {"data": run.dataset, "seed": run.seed, "threads": threads}
        _train(fp32, common | run.train | {"forecast-len": run.horizon})
        _train(qat, common | run.qat | {"qat": fp32})
        _write(result, json.dumps(_evaluate(run, fp32, qat), indent=2) + "\n")
    return json.loads(result.read_text(encoding="utf-8"))


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as file:
        file.write(text.encode())


def _train(out: Path, options: dict[str, Any]) -> None:
    """Run model.train_forecast, or let it go on, unless `out` is there, which is at its end."""
    if out.exists():
        return
    best = out.with_stem(f"{out.stem}.training")  # so far
    resume = resume_path(best)
    command = [sys.executable, "-m", "model.train_forecast", "--out", str(best)]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    if resume.exists():
        command.append("--resume")
    log = out.with_suffix(".log")
    with open(log, "ab") as file:
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    if status.returncode:
        last = log.read_text(encoding="utf-8").splitlines()[-1:]
        raise RunError(f"{log}: {''.join(last)}")
    best.replace(out)


def _evaluate(run: Run, fp32: Path, qat: Path) -> Result:
    model, learned = load_model(fp32), load_model(qat)
    splits = load_dataset(run.dataset, model.args.seq_len, run.horizon)
    packages = {
        "calibrated": compile_on(model, calibration_windows(splits)),
        "qat": compile_learned(learned),
    }
    return {"fp32": evaluate(torch_forecaster(model), splits.test)} | {
        name: evaluate(Forecaster(package, "hls"), splits.test)
        for name, package in packages.items()
    }
