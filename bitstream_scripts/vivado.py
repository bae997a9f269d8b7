"""Run Vivado: one process for a script, its log, and what went wrong in one line."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bitstream_scripts.design import DESIGN
from bitstream_scripts.generate import tcl_word
from common.errors import CmambaError

SCRIPTS = Path(__file__).resolve().parent
# Peak of a run for a ZU9EG that is as full as this one: a judgement, with room. Synthesis of one IP
# takes less.
IMPLEMENTATION_GB = 16
SYNTHESIS_GB = 6
# Seconds that a process has to end before it is killed.
_GRACE_S = 10

_running: set[subprocess.Popen] = set()
# Locks of `alone`, which each Vivado holds too.
_held: list[int] = []
_lock = threading.Lock()


class VivadoError(CmambaError, RuntimeError):
    """Vivado is not there, or a run of it has failed."""


def find(board_files: bool) -> Path:
    """Vivado on PATH; `board_files` says whether those of the ZCU102 are needed."""
    found = shutil.which("vivado")
    if found is None:
        needed = f"Vivado {DESIGN.board.vivado} or later"
        needed += " with the ZCU102's board files" if board_files else ""
        raise VivadoError(f"vivado is not on PATH; install {needed} and source its settings64.sh")
    return Path(found).absolute()


def available_gb() -> float | None:
    """Memory that programs can have, in GiB; None where /proc/meminfo does not say."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^MemAvailable: +(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) / 2**20 if match else None


def processes(n: int, each_gb: float) -> int:
    """How many of `n` runs to have at a time: as many as there is memory for, but one at least."""
    memory = available_gb()
    fit = n if memory is None else int(memory // each_gb)
    return max(1, min(n, fit, os.cpu_count() or 1))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Work in a folder, and let nobody else: two runs would take each other's files.

    What Vivado starts in there holds the lock too. It may outlive this process, which a lost
    connection or want of memory can kill.

    Raises:
        VivadoError: somebody is at work.
    """
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VivadoError(
                f"{folder}: another run, or a Vivado that one has left behind, is at work there;"
                " wait for it, or end it"
            ) from None
        _held.append(file.fileno())
        try:
            yield
        finally:
            _held.remove(file.fileno())


def run(program: Path, script: str, settings: Mapping[str, object], log: Path) -> None:
    """Run a script of this folder in the folder `settings["out"]`.

    Args:
        program: Vivado.
        script: name of the Tcl file.
        settings: read by `run_stage` of tools.tcl from a file: Vivado's command line is no place
            for words with spaces.
        log: what Vivado prints.

    Raises:
        VivadoError: it failed; names the stage, the cause and the log.
    """
    out = Path(str(settings["out"]))
    stage = Path(script).stem
    arguments = out / f"{stage}.settings"
    arguments.write_text("".join(f"{k} {tcl_word(v)}\n" for k, v in settings.items()), "utf-8")
    failure = out / "failure.txt"
    failure.unlink(missing_ok=True)
    log.unlink(missing_ok=True)
    command = [program, "-mode", "batch", "-notrace", "-nojournal", "-log", log]
    command += ["-source", SCRIPTS / script, "-tclargs", arguments]
    # A session of its own: what Vivado starts has to end with it.
    with _lock:
        process = subprocess.Popen(
            command,
            cwd=out,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=_held,
        )
        _running.add(process)
    try:
        status = process.wait()
    except BaseException:
        _end(process)
        raise
    finally:
        with _lock:
            _running.discard(process)
    if status:
        raise VivadoError(f"{stage}: {_cause(status, failure, log)}; see {log}")


def end_all() -> None:
    """End what runs, with all that it has started."""
    with _lock:
        running = list(_running)
    for process in running:
        _end(process)


def _end(process: subprocess.Popen) -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
            process.wait(_GRACE_S)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _cause(status: int, failure: Path, log: Path) -> str:
    """Why a run has failed: what the script says, or else Vivado's first error."""
    said = failure.read_text("utf-8", "replace").strip() if failure.is_file() else ""
    errors = []
    if log.is_file():
        text = log.read_text(encoding="utf-8", errors="replace")
        errors = re.findall(r"^ERROR: (.*)$", text, re.MULTILINE)
    # The script gets to know no more than this of a command that failed.
    if said and "failed due to earlier errors" not in said:
        return said.removeprefix("ERROR: ")
    if errors:
        return errors[0]
    if said:
        return said
    # A shell in between makes 128 + signal of it.
    if status in (-signal.SIGKILL, 128 + signal.SIGKILL):
        memory = available_gb()
        free = "" if memory is None else f" ({memory:.0f} GB are available now)"
        return (
            "Vivado was killed, most often for want of memory: a run takes up to"
            f" {IMPLEMENTATION_GB} GB{free}; close other programs or give VIVADO_JOBS=1, and start"
            " again: it goes on from the last checkpoint"
        )
    return f"Vivado ended with status {status} without an error of its own"
