"""Times of one run: int8 against FP32 forecasts, and the selective scan in training.

    make bench

FP32 is the PyTorch model; int8 is the HLS C++ in its native-integer build. Both use every core, a
part of the batch on each. What is compared runs in turns, so that other work on the machine slows
both alike.

The scan is compared, forward and backward, with two sequential forms: `indexed_scan`, which
implementations for reading use, and the definition in model/selective_scan.py, which avoids the
former's worst cost. Memory is the most that is allocated at once on top of the arguments.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

# Else the profiler tells on standard error when it starts and stops.
os.environ.setdefault("KINETO_LOG_LEVEL", "9")

import torch
from torch import Tensor
from torch.autograd.profiler import profile

from common import command_line
from evaluation.forecaster import Forecaster
from golden.cases import CHECKPOINT_CASES, CompiledCase, build_case
from model.data import DataError, spread
from model.metrics import evaluate, torch_forecaster
from model.selective_scan import selective_scan, selective_scan_sequential
from model.threads import cores, torch_threads

_BATCH = 256
# B, K, E, N: a batch of 32 windows, of one channel and of the seven of ETTh1; a long sequence.
_SCAN_SHAPES = ((32, 11, 256, 16), (224, 11, 256, 16), (2, 512, 256, 16))


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
    fp32, int8 = torch_forecaster(compiled.model, cores()), Forecaster(compiled.package, "hls")
    x, _ = test.batch(spread(len(test), _BATCH))
    with torch_threads(1):
        t_fp32, t_int8 = medians([lambda: fp32(x), lambda: int8(x)], repeats)
    whole = seconds(lambda: evaluate(int8, test))
    return (
        f"{compiled.case.name:20}{len(x) / t_fp32:16.1f}{len(x) / t_int8:16.1f}"
        f"{t_fp32 / t_int8:8.2f}{len(test):9,}{whole:10.1f} s"
    )


def indexed_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """The selective scan as its equations read (arXiv 2312.00752, eqs. 2 and 4), for comparison.

    First exp(delta A) and delta B u of all tokens, then a loop that takes one token after another
    out of them by its index, the form of mamba-minimal. The gradient of each indexing is a tensor
    of full size, zero but for one token, so the time of the backward pass is quadratic in the
    tokens. Arguments and result as in `selective_scan`.
    """
    decay = torch.exp(torch.einsum("bke,en->bken", delta, A))
    x = torch.einsum("bke,bkn,bke->bken", delta, B, u)
    h = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])  # [B, E, N]
    y = []
    for k in range(u.shape[1]):
        h = decay[:, k] * h + x[:, k]
        y.append(torch.einsum("ben,bn->be", h, C[:, k]))
    return torch.stack(y, dim=1) + D * u


def peak_bytes(function: Callable[[], object]) -> int:
    """The most memory that PyTorch has allocated at once during a call, over that before it."""
    with profile(profile_memory=True) as record:
        function()
    allocated = peak = 0
    for event in record.kineto_results.events():
        if event.name() == "[memory]":
            allocated += event.nbytes()
            peak = max(peak, allocated)
    return peak


def scans(shape: tuple[int, int, int, int], repeats: int) -> str:
    """A line of the table: milliseconds and megabytes of each form, forward and backward."""
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

    def training(scan: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(scan(*arguments).sum(), arguments)

    forms = [training(f) for f in (indexed_scan, selective_scan_sequential, selective_scan)]
    indexed, sequential, fast = medians(forms, repeats)
    *memory, least = (peak_bytes(form) / 1e6 for form in forms)
    return (
        f"{'x'.join(map(str, shape)):17}{indexed * 1e3:10.1f}{sequential * 1e3:12.1f}"
        f"{fast * 1e3:10.1f}{indexed / fast:8.1f}{sequential / fast:6.1f}"
        f"{memory[0]:10.1f}{memory[1]:12.1f}{least:10.1f}{memory[0] / least:8.1f}"
        f"{memory[1] / least:6.1f}"
    )


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=int, default=5, help="turns of which to take the median")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error(f"--repeats: expected at least 1, found {args.repeats}")
    threads = cores()
    torch.set_num_threads(threads)

    def state() -> str:
        return f"load of the last minute {os.getloadavg()[0]:.1f}"

    print(
        f"{threads} cores, {threads} threads for each side, PyTorch {torch.__version__}, {state()} "
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
        f"\n{'scan':17}{'milliseconds, forward and backward':>40}{'ratio':>6}"
        f"{'MB at once':>32}{'ratio':>14}\n{'B x K x E x N':17}"
        + f"{'indexed':>10}{'sequential':>12}{'parallel':>10}{'to indexed, seq.':>14}"
        * 2
    )
    for shape in _SCAN_SHAPES:
        print(scans(shape, args.repeats), flush=True)
    print(f"\n{state()} at the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
