"""One run of an experiment: train, fine-tune for int8, evaluate. What is there already is kept."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.atomic_write import write_text
from common.errors import CmambaError
from compiler.compile import compile_learned
from evaluation.baselines import baselines
from evaluation.forecaster import Forecaster
from experiments.settings import Run
from golden.cases import compile_on
from model.args import ModelArgs
from model.data import load_dataset
from model.inputs import load_splits
from model.io import load_model
from model.metrics import evaluate, torch_forecaster
from model.quantization.calibrate import calibration_windows
from model.train_forecast import settings_of
from model.training.loops import resume_path

Result = dict[str, dict[str, float]]
"""'fp32', 'calibrated' and 'qat', each with mse and mae on the test split; the latter two by the
integer program. Or those of baselines, by their names."""


class RunError(CmambaError):
    """A training that failed, or was stopped."""


class Trainings:
    """Trainings under way, each a process with a log; threads start them, and any may stop them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._processes: dict[Path, subprocess.Popen] = {}

    @property
    def stopped(self) -> bool:
        return self._stopped

    def run(self, command: list[str], log: Path, held: Sequence[int] = ()) -> int:
        """The exit status of a command that adds to `log` and inherits the descriptors `held`.

        Raises RunError: `stop` came before.
        """
        with open(log, "ab") as file:
            with self._lock:
                if self._stopped:
                    raise RunError(f"{log}: stopped")
                process = subprocess.Popen(
                    command, stdout=file, stderr=subprocess.STDOUT, pass_fds=held
                )
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
    with _alone(folder, trainings) as lock:
        settings = settings_in_full(run)
        kept, result = folder / "settings.json", folder / "result.json"
        if not kept.exists() or kept.read_text(encoding="utf-8") != settings:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_text(kept, settings)
        if not result.exists():
            fp32, qat = folder / "fp32.safetensors", folder / "qat.safetensors"
            for out, options in ((fp32, _fp32_options(run)), (qat, _qat_options(run, fp32))):
                _train(out, {"threads": threads} | options, trainings, lock)
            write_text(result, json.dumps(_evaluate(run, fp32, qat), indent=2) + "\n")
        return json.loads(result.read_text(encoding="utf-8"))


@contextlib.contextmanager
def _alone(folder: Path, trainings: Trainings) -> Iterator[int]:
    """Nobody else works on the run of `folder`: waits for who does, and yields the descriptor of
    the lock. A training that inherits it holds it as well, also when what started it was killed.

    Raises RunError: stopped while it waited.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f"{folder.name}.lock"), "a") as file:
        waiting = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if trainings.stopped:
                    raise RunError(f"{folder}: stopped") from None
                if not waiting:
                    tqdm.write(f"{folder}: waits for another process that works on it")
                waiting = True
                time.sleep(0.5)
        yield file.fileno()


def baselines_of(run: Run, path: Path) -> Result:
    """The baselines on the data and the windows of `run`, kept in `path`. Raises: DataError,
    OSError, ValueError."""
    splits = load_dataset(
        run.dataset, run.train.get("seq-len", ModelArgs.seq_len), run.horizon, say=lambda _: None
    )
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["data"] == splits.sha256:
            return kept["figures"]
    figures = baselines(splits, splits.record.step_seconds)
    content = {"data": splits.sha256, "figures": figures}
    write_text(path, json.dumps(content, indent=2) + "\n")
    return figures


def _fp32_options(run: Run) -> dict[str, Any]:
    return {"data": run.dataset, "seed": run.seed} | run.train | {"forecast-len": run.horizon}


def _qat_options(run: Run, fp32: Path) -> dict[str, Any]:
    return {"data": run.dataset, "seed": run.seed} | run.qat | {"qat": fp32}


def _arguments(out: Path, options: dict[str, Any]) -> list[str]:
    arguments = ["--out", str(out)]
    for name, value in options.items():
        arguments += [f"--{name}", str(value)]
    return arguments


def _train(out: Path, options: dict[str, Any], trainings: Trainings, lock: int) -> None:
    """Run model.train_forecast, or let it go on, unless `out` is there, which is at its end."""
    if out.exists():
        return
    best = out.with_stem(f"{out.stem}.training")  # so far
    # -u: what it prints is in the log at once.
    command = [sys.executable, "-u", "-c", _TRAINING, str(best), str(out)]
    command += _arguments(best, options)
    if resume_path(best).exists():
        command.append("--resume")
    log = out.with_suffix(".log")
    if trainings.run(command, log, [lock]):
        last = log.read_text(encoding="utf-8").splitlines()[-1:]
        raise RunError(f"{log}: {''.join(last)}")


# model.train_forecast, which gives the file its name at the end: what has started it may be gone.
_TRAINING = """
import sys
from common import command_line
command_line.begin()
from pathlib import Path
from model.train_forecast import main
best, out, *arguments = sys.argv[1:]
status = main(arguments)
if status == 0:
    Path(best).replace(out)
sys.exit(status)
"""


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
