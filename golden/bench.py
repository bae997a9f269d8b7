"""Times of one run: int8 against FP32 forecasts, and the two forms of the selective scan.

    make bench

FP32 is the PyTorch model; int8 is the HLS C++ in its native-integer build. Both use every core.
What is compared runs in turns, so that other work on the machine slows both alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch

from golden.cases import CHECKPOINT_CASES, CompiledCase, build_case, spread
from golden.forecaster import Forecaster
from model.data import DataError
from model.metrics import evaluate, torch_forecaster
from model.selective_scan import selective_scan, selective_scan_sequential

_BATCH = 256
_SCAN_SHAPES = ((224, 11, 256, 16), (8, 512, 128, 16))  # B, K, E, N: ETTh1 in training; long


def seconds(function: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def medians(functions: list[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each function, called in turns; the first turn only warms up."""
    turns = [[seconds(f) for f in functions] for _ in range(repeats + 1)][1:]
    return [statistics.median(times) for times in zip(*turns, strict=True)]


def forecasts(compiled: CompiledCase, repeats: int) -> str:
    """A line of the table: windows/s in FP32 and int8, and the time of int8 on the test split."""
    test = compiled.splits.test
    fp32, int8 = torch_forecaster(compiled.model), Forecaster(compiled.package, "hls")
    x, _ = test.batch(spread(len(test), _BATCH))
    t_fp32, t_int8 = medians([lambda: fp32(x), lambda: int8(x)], repeats)
    whole = seconds(lambda: evaluate(int8, test))
    return (
        f"{compiled.case.name:20}{len(x) / t_fp32:16.1f}{len(x) / t_int8:16.1f}"
        f"{t_fp32 / t_int8:8.2f}{len(test):9,}{whole:10.1f} s"
    )


def scans(shape: tuple[int, int, int, int], repeats: int) -> str:
    """A line of the table: milliseconds of forward and backward of both forms of the scan."""
    B, K, E, N = shape
    torch.manual_seed(0)
    arguments = [
        torch.randn(B, K, E),
        torch.rand(B, K, E),
        -torch.rand(E, N) - 0.1,
        torch.randn(B, K, N),
        torch.randn(B, K, N),
        torch.randn(E),
    ]
    for argument in arguments:
        argument.requires_grad_()

    def train(scan: Callable[..., torch.Tensor]) -> None:
        torch.autograd.grad(scan(*arguments).sum(), arguments)

    fast, sequential = medians(
        [lambda: train(selective_scan), lambda: train(selective_scan_sequential)], repeats
    )
    name = "x".join(map(str, shape))
    return f"{name:20}{sequential * 1e3:16.1f}{fast * 1e3:16.1f}{sequential / fast:8.2f}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m golden.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=int, default=5, help="turns of which to take the median")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error(f"--repeats: expected at least 1, found {args.repeats}")
    cores = os.cpu_count() or 1
    torch.set_num_threads(cores)

    def state() -> str:
        return f"load of the last minute {os.getloadavg()[0]:.1f}"

    print(
        f"{cores} cores, {cores} threads for each side, PyTorch {torch.__version__}, {state()} "
        f"at the start; medians of {args.repeats}\n"
    )
    print(
        f"{f'forecasts, batch {_BATCH}':20}{'FP32 windows/s':>16}{'int8 windows/s':>16}"
        f"{'ratio':>8}{'test split in int8':>21}"
    )
    for case in CHECKPOINT_CASES:
        try:
            compiled = build_case(case)
        except DataError as error:
            print(f"{case.name:20}  left out: {error}")
            continue
        print(forecasts(compiled, args.repeats), flush=True)
    print(
        f"\n{'scan, B x K x E x N':20}{'sequential, ms':>16}{'parallel, ms':>16}{'ratio':>8}"
        "  (forward and backward)"
    )
    for shape in _SCAN_SHAPES:
        print(scans(shape, args.repeats), flush=True)
    print(f"\n{state()} at the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
