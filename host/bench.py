"""What each step of a forecast costs: ``python -m host.bench --help``.

The steps of one batch follow each other in `Accelerator.forecast`; `Accelerator.stream` overlaps
the host's with the hardware's. Of the time that the host waits for the hardware, only the cycles at
the accelerator's clock are the hardware's; on a virtual board the rest is the simulation.

With --driver there is no board: what the driver itself takes, with registers and buffers in plain
memory, beside the estimated time of the logic.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import importlib
import importlib.util
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import isa
from common import command_line, exit_status
from common.errors import REPORTED
from golden.host import HostSide
from host.arguments import add_board_arguments, build_name, golden_folders, open_accelerator
from host.errors import BoardConnectionError
from host.profile import STEPS
from host.table import Table

if TYPE_CHECKING:
    from host.accelerator import Accelerator

_STREAMED = 4  # batches of a stream
_REPEATS, _DRIVER_REPEATS = 3, 300


def measure(accelerator: Accelerator, n: int, repeats: int) -> dict[str, float]:
    """Median seconds of each step of a batch of `n` windows, and of what they add up to."""
    shape = HostSide(accelerator.package).window_shape
    x = np.random.default_rng(0).standard_normal((n, *shape)).cumsum(-1).astype(np.float32)
    accelerator.forecast(x)  # allocates the buffers
    samples = []
    for _ in range(repeats):
        begin = time.perf_counter()
        accelerator.forecast(x)
        sample = dict(accelerator.times.seconds)
        sample["total"] = time.perf_counter() - begin
        sample["cycles"] = accelerator.profile().seconds
        samples.append(sample)
    median = {step: float(np.median([s[step] for s in samples])) for step in samples[0]}
    begin = time.perf_counter()
    for _ in accelerator.stream([x] * _STREAMED):
        pass
    median["stream"] = (time.perf_counter() - begin) / _STREAMED
    return median


def table(title: str, columns: dict[int, dict[str, float]]) -> Table:
    """Of what `measure` returns, by batch."""
    rows = _steps(columns, 1e3)
    at = [*STEPS].index("hardware") + 1
    rows[at:at] = [_row("  of which cycles at the clock", "cycles", columns, 1e3)]
    rows.append(_row("a batch of a stream", "stream", columns, 1e3))
    rate = (f"{n / seconds['stream']:,.1f}" for n, seconds in columns.items())
    rows.append(("windows a second, streamed", *rate))
    return Table(title, ("ms", *(f"batch {n:,}" for n in columns)), rows)


def driver_table(title: str, columns: dict[int, dict[str, float]], logic: float) -> Table:
    """Of what `measure` returns without a board, and of a forecast's seconds in the logic."""
    rows = _steps(columns, 1e6)
    each = (f"{1e6 * seconds['total'] / n:,.1f}" for n, seconds in columns.items())
    rows.append(("  a window", *each))
    rows.append(("the logic, estimated, a window", *(f"{1e6 * logic:,.1f}" for _ in columns)))
    return Table(title, ("us", *(f"batch {n:,}" for n in columns)), rows)


def _row(
    name: str, key: str, columns: dict[int, dict[str, float]], scale: float
) -> tuple[str, ...]:
    digits = 3 if scale == 1e3 else 1
    return (name, *(f"{scale * seconds[key]:,.{digits}f}" for seconds in columns.values()))


def _steps(columns: dict[int, dict[str, float]], scale: float) -> list[tuple[str, ...]]:
    rows = [_row(name, step, columns, scale) for step, name in STEPS.items()]
    return [*rows, _row("forecast, all steps", "total", columns, scale)]


@contextmanager
def _without_a_board(build: str) -> Iterator[Accelerator]:
    from host import Accelerator

    if importlib.util.find_spec("host.virtual_board") is None:
        raise BoardConnectionError("--driver: only the repository has it, not the board's archive")
    plain = importlib.import_module("host.virtual_board.plain")
    with tempfile.TemporaryDirectory() as folder:
        bitfile = importlib.import_module("host.virtual_board").write_overlay(folder)
        with Accelerator(bitfile, device=plain.PlainDevice(isa.build(build))) as accelerator:
            yield accelerator


def _seconds_of_the_logic(accelerator: Accelerator) -> float:
    """Of one forecast, by the compiler's cycle model."""
    estimate = importlib.import_module("compiler.estimate").estimate
    cycles = estimate(accelerator.package, accelerator.capabilities.build).single
    return cycles / (accelerator.profile().clock_mhz * 1e6)


def _batches(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected numbers above 0 such as 1,8,64")
    return numbers


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """0; 1: the board does not work; 2: there is no board, or no package that fits it."""
    parser = argparse.ArgumentParser(
        prog="python -m host.bench", description="Measure the steps of a forecast on a board."
    )
    where = add_board_arguments(parser)
    where.add_argument(
        "--driver",
        metavar="BUILD",
        nargs="?",
        type=build_name,
        const="default",
        help="no board: what the driver itself takes, for this build (%(const)s)",
    )
    parser.add_argument(
        "--package", metavar="FILE", type=Path, help="package to run (the first golden one)"
    )
    parser.add_argument("--batch", metavar="N,...", type=_batches, default=[1, 8, 64])
    parser.add_argument(
        "--repeats", metavar="N", type=int, help=f"[{_REPEATS}; --driver: {_DRIVER_REPEATS}]"
    )
    args = parser.parse_args(argv)
    if args.repeats is None:
        args.repeats = _DRIVER_REPEATS if args.driver else _REPEATS
    if args.repeats < 1:
        parser.error(f"--repeats: found {args.repeats}, expected at least 1")
    try:
        path = args.package or golden_folders(None)[0] / "package.bin"
        opened = _without_a_board(args.driver) if args.driver else open_accelerator(args)
        with opened as accelerator:
            begin = time.perf_counter()
            accelerator.load(path)
            load = time.perf_counter() - begin
            columns = {n: measure(accelerator, n, args.repeats) for n in args.batch}
            profile = accelerator.profile()
            logic = _seconds_of_the_logic(accelerator) if args.driver else 0.0
        name = path.parent.name if path.name == "package.bin" else path.stem
        size = path.stat().st_size
    except REPORTED as error:
        return exit_status.report("bench", error)
    print(f"load of {name}, {size:,} bytes: {1e3 * load:,.1f} ms")
    if args.driver:
        print(driver_table(f"{name}, the driver without a board, median", columns, logic))
    else:
        print(table(f"{name}, accelerator at {profile.clock_mhz:.1f} MHz, median", columns))
    return 0


if __name__ == "__main__":
    sys.exit(main())
