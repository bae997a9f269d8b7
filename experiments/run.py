"""One run of an experiment: train, fine-tune for int8, evaluate. What is there already is kept."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.atomic_write import write_text
from common.errors import CmambaError
from compiler.compile import compile_learned
from evaluation.forecaster import Forecaster
from experiments.settings import Run
from golden.cases import compile_on
from model.inputs import load_splits
from model.io import load_model
from model.metrics import evaluate, torch_forecaster
from model.quantization.calibrate import calibration_windows
from model.train_forecast import settings_of
from model.training.loops import resume_path

Result = dict[str, dict[str, float]]
"""'fp32', 'calibrated' and 'qat', each with mse and mae on the test split; the latter two by the
integer program."""


class RunError(CmambaError):
    """A training that failed, or was stopped."""


class Trainings:
    """Trainings under way, each a process with a log; threads start them, and any may stop them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._processes: dict[Path, subprocess.Popen] = {}

    def run(self, command: list[str], log: Path) -> int:
        """The exit status of a command that adds to `log`. Raises RunError: `stop` came before."""
        with open(log, "ab") as file:
            with self._lock:
                if self._stopped:
                    raise RunError(f"{log}: stopped")
                process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
                self._processes[log] = process
            tqdm.write(f"training, log in {log}")
            status = process.wait()
        with self._lock:
            del self._processes[log]
        return status

    def progress(self) -> dict[Path, int]:
        """Of each training under way, its log and the epochs that are done."""
        with self._lock:
            logs = list(self._processes)
        epochs = {}
        for log in logs:
            found = re.findall(r"^epoch +(\d+)", log.read_text(encoding="utf-8"), re.MULTILINE)
            epochs[log] = int(found[-1]) if found else 0
        return epochs

    def stop(self) -> None:
        """Ends those under way, each of which can go on from its last epoch, and starts no more."""
        with self._lock:
            self._stopped = True
            for process in self._processes.values():
                process.terminate()


def settings_in_full(run: Run) -> str:
    """All that `run` is trained with, defaults and the digest of its data included: JSON that is
    equal if they are.

    Raises: DataError, ValueError, of the run's options.
    """
    placeholder = Path("any.safetensors")  # settings do not depend on where files lie
    options = _fp32_options(run), _qat_options(run, placeholder)
    fp32, qat = (settings_of(_arguments(placeholder, each)) for each in options)
    return json.dumps({"fp32": fp32, "qat": qat}, indent=2, sort_keys=True) + "\n"


def result_of(run: Run, folder: Path, threads: int, trainings: Trainings) -> Result:
    """The result of `run`, whose files are in `folder`; what is missing, or made with other
    settings or other data, is made, by `trainings`.

    Raises:
        RunError: a training failed, or was stopped.
        AcceleratorError, ImportError, OSError, ValueError: it cannot be evaluated.
    """
    settings = settings_in_full(run)
    kept, result = folder / "settings.json", folder / "result.json"
    if not kept.exists() or kept.read_text(encoding="utf-8") != settings:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_text(kept, settings)
    if not result.exists():
        fp32, qat = folder / "fp32.safetensors", folder / "qat.safetensors"
        for out, options in ((fp32, _fp32_options(run)), (qat, _qat_options(run, fp32))):
            _train(out, {"threads": threads} | options, trainings)
        write_text(result, json.dumps(_evaluate(run, fp32, qat), indent=2) + "\n")
    return json.loads(result.read_text(encoding="utf-8"))


def _fp32_options(run: Run) -> dict[str, Any]:
    return {"data": run.dataset, "seed": run.seed} | run.train | {"forecast-len": run.horizon}


def _qat_options(run: Run, fp32: Path) -> dict[str, Any]:
    return {"data": run.dataset, "seed": run.seed} | run.qat | {"qat": fp32}


def _arguments(out: Path, options: dict[str, Any]) -> list[str]:
    arguments = ["--out", str(out)]
    for name, value in options.items():
        arguments += [f"--{name}", str(value)]
    return arguments


def _train(out: Path, options: dict[str, Any], trainings: Trainings) -> None:
    """Run model.train_forecast, or let it go on, unless `out` is there, which is at its end."""
    if out.exists():
        return
    best = out.with_stem(f"{out.stem}.training")  # so far
    # -u: what it prints is in the log at once.
    command = [sys.executable, "-u", "-m", "model.train_forecast", *_arguments(best, options)]
    if resume_path(best).exists():
        command.append("--resume")
    log = out.with_suffix(".log")
    if trainings.run(command, log):
        last = log.read_text(encoding="utf-8").splitlines()[-1:]
        raise RunError(f"{log}: {''.join(last)}")
    best.replace(out)


def _evaluate(run: Run, fp32: Path, qat: Path) -> Result:
    model, learned = load_model(fp32), load_model(qat)
    splits = load_splits(model, run.dataset)
    packages = {
        "calibrated": compile_on(model, calibration_windows(splits)),
        "qat": compile_learned(learned),
    }
    return {"fp32": evaluate(torch_forecaster(model), splits.test)} | {
        name: evaluate(Forecaster(package, "hls"), splits.test)
        for name, package in packages.items()
    }
