"""What each step of a forecast costs: ``python -m host.bench --help``.

The steps of one batch follow each other in `Accelerator.forecast`; `Accelerator.stream` overlaps
the host's with the hardware's. Of the time that the host waits for the hardware, only the cycles at
the accelerator's clock are the hardware's; on a virtual board the rest is the simulation.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import command_line, exit_status
from common.errors import REPORTED
from golden.host import HostSide
from host.arguments import add_board_arguments, golden_folders, open_accelerator
from host.profile import STEPS
from host.table import Table

if TYPE_CHECKING:
    from host.accelerator import Accelerator

_STREAMED = 4  # batches of a stream


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

    def row(name: str, key: str) -> tuple[str, ...]:
        return (name, *(f"{1e3 * seconds[key]:,.3f}" for seconds in columns.values()))

    rows = []
    for step, name in STEPS.items():
        rows.append(row(name, step))
        if step == "hardware":
            rows.append(row("  of which cycles at the clock", "cycles"))
    rows.append(row("forecast, all steps", "total"))
    rows.append(row("a batch of a stream", "stream"))
    rate = (f"{n / seconds['stream']:,.1f}" for n, seconds in columns.items())
    rows.append(("windows a second, streamed", *rate))
    return Table(title, ("ms", *(f"batch {n:,}" for n in columns)), rows)


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
    add_board_arguments(parser)
    parser.add_argument(
        "--package", metavar="FILE", type=Path, help="package to run (the first golden one)"
    )
    parser.add_argument("--batch", metavar="N,...", type=_batches, default=[1, 8, 64])
    parser.add_argument("--repeats", metavar="N", type=int, default=3)
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error(f"--repeats: found {args.repeats}, expected at least 1")
    try:
        path = args.package or golden_folders(None)[0] / "package.bin"
        with open_accelerator(args) as accelerator:
            begin = time.perf_counter()
            accelerator.load(path)
            load = time.perf_counter() - begin
            columns = {n: measure(accelerator, n, args.repeats) for n in args.batch}
            profile = accelerator.profile()
        name = path.parent.name if path.name == "package.bin" else path.stem
        size = path.stat().st_size
    except REPORTED as error:
        return exit_status.report("bench", error)
    print(f"load of {name}, {size:,} bytes: {1e3 * load:,.1f} ms")
    print(table(f"{name}, accelerator at {profile.clock_mhz:.1f} MHz, median", columns))
    return 0


if __name__ == "__main__":
    sys.exit(main())
