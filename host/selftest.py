"""Compare the board with golden vectors, every beat: ``python -m host.selftest --help``.

For each golden folder whose package fits the board's build: it is loaded, then all its forecasts in
one run, one by one, and all again. At the end a run is cut short on purpose, and the forecast after
it must be right.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import command_line, exit_status
from common.errors import CmambaError
from host.arguments import add_board_arguments, golden_folders, open_accelerator
from host.errors import BoardError, OtherBuildError, TlastEarlyError
from host.table import Table
from isa.streams import BEAT_BYTES, StreamShape, to_beats

if TYPE_CHECKING:
    from host.accelerator import Accelerator

Row = tuple[str, str, str, str, str]


class SelfTestError(CmambaError, RuntimeError):
    """Something is not as it should be."""


class Vectors:
    """A golden folder: `package` its bytes, `tokens` of its run, `beats` that must come."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError, or ValueError if the files do not belong together."""
        self.name = folder.name
        self.package = (folder / "package.bin").read_bytes()
        self.shape = shape = StreamShape.of_header(self.package)
        row = (shape.n_sequences, shape.n_positions, shape.token_bytes)
        out = (shape.n_sequences, shape.forecast_elements)
        try:
            tokens = np.fromfile(folder / "input.bin", np.int8).reshape(-1, *row)
            forecasts = np.fromfile(folder / "forecast.bin", "<i2").reshape(-1, *out)
            self.tokens = shape.check(tokens)
        except ValueError as error:
            raise ValueError(f"{folder}: input or forecast is not the package's: {error}") from None
        if len(forecasts) != len(tokens):
            raise ValueError(f"{folder}: found {len(forecasts)} forecasts, expected {len(tokens)}")
        self.beats = to_beats(forecasts.reshape(-1, shape.forecast_elements))

    @property
    def n_forecasts(self) -> int:
        return len(self.tokens) // self.shape.iterations

    def one(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and beats of a single forecast."""
        n, each = self.shape.iterations, len(self.beats) // self.n_forecasts
        return (
            self.tokens[index * n : (index + 1) * n],
            self.beats[index * each : (index + 1) * each],
        )


def compare(found: np.ndarray, expected: np.ndarray, what: str) -> int:
    """Number of beats compared. Raises SelfTestError, which names the first one that differs."""
    if found.shape != expected.shape:
        raise SelfTestError(f"{what}: found {len(found)} beats, expected {len(expected)}")
    wrong = np.flatnonzero((found != expected).any(axis=1))
    if len(wrong):
        first = wrong[0]
        raise SelfTestError(
            f"{what}: {len(wrong)} of {len(expected)} beats differ, the first is beat {first}: "
            f"found {found[first].tobytes().hex()}, expected {expected[first].tobytes().hex()}"
        )
    return len(expected)


def check_vectors(accelerator: Accelerator, vectors: Vectors) -> Row:
    """Compare; the package is loaded. Raises SelfTestError, and what the driver raises."""
    beats = compare(accelerator.run_beats(vectors.tokens), vectors.beats, "all in one run")
    profile = accelerator.profile()
    expected = len(vectors.tokens) * len(accelerator.package.schedule)
    if profile.entries != expected:
        raise SelfTestError(f"counted {profile.entries} entries of the schedule, not {expected}")
    for index in range(vectors.n_forecasts):
        tokens, right = vectors.one(index)
        beats += compare(accelerator.run_beats(tokens), right, f"forecast {index} alone")
    beats += compare(accelerator.run_beats(vectors.tokens), vectors.beats, "all again")
    cycles = profile.cycles / vectors.n_forecasts
    return (
        vectors.name,
        "ok",
        f"{beats:,}",
        f"{cycles:,.0f}",
        f"{cycles / profile.clock_mhz:,.1f} us",
    )


def check_recovery(accelerator: Accelerator, vectors: Vectors) -> Row:
    """A run whose input is a beat short ends with TLAST_EARLY, and the next is right."""
    compare(accelerator.run_beats(vectors.tokens), vectors.beats, "before an error")
    send = accelerator._fabric.dma.send
    transfer = send.transfer
    send.transfer = lambda address, nbytes: transfer(address, nbytes - BEAT_BYTES)
    try:
        accelerator.run_beats(vectors.tokens)
    except TlastEarlyError:
        pass
    else:
        raise SelfTestError("an input that is a beat short was taken")
    finally:
        send.transfer = transfer
    beats = compare(accelerator.run_beats(vectors.tokens), vectors.beats, "after an error")
    return ("recovery from an error", "ok", f"{beats:,}", "", "")


def selftest(accelerator: Accelerator, folders: list[Path]) -> tuple[Table, list[str]]:
    """A row for each folder, and what has failed."""
    rows: list[Row] = []
    failures: list[str] = []
    vectors: Vectors | None = None

    def attempt(name: str, check: Callable[[], Row]) -> None:
        try:
            rows.append(check())
        except (CmambaError, ValueError) as error:
            rows.append((name, "FAILED", "", "", ""))
            failures.append(f"{name}: {error}")

    def check_folder(folder: Path) -> Row:
        nonlocal vectors
        found = Vectors(folder)
        try:
            accelerator.load(found.package)
        except OtherBuildError as error:
            return (found.name, f"for build {error.build}", "", "", "")
        vectors = found
        return check_vectors(accelerator, vectors)

    def check_last() -> Row:
        if accelerator.package is None or vectors is None:
            raise SelfTestError("no package is loaded")
        return check_recovery(accelerator, vectors)

    for folder in folders:
        attempt(folder.name, lambda folder=folder: check_folder(folder))
    attempt("recovery from an error", check_last)
    head = ("", "", "beats equal", "cycles", "time each")
    return Table(f"Self-test, build {accelerator.capabilities.build.name}", head, rows), failures


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """0: all is well; 1: something differs; 2: there is no board, or nothing to compare."""
    parser = argparse.ArgumentParser(
        prog="python -m host.selftest",
        description="Compare the board's forecasts with golden vectors, every beat.",
    )
    add_board_arguments(parser)
    parser.add_argument(
        "--golden",
        metavar="DIR",
        type=Path,
        action="append",
        help="folder with package.bin, input.bin and forecast.bin, or of such folders; may be "
        "given again (packages beside host, or build/golden)",
    )
    args = parser.parse_args(argv)
    try:
        folders = golden_folders(args.golden)
        with open_accelerator(args) as accelerator:
            table, failures = selftest(accelerator, folders)
    except (BoardError, ImportError, OSError, ValueError) as error:
        exit_status.report("selftest", error)
        return exit_status.WRONG
    print(table)
    for failure in failures:
        print(failure)
    print("FAILED" if failures else "PASSED")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
