"""Times of the quantization operations in PyTorch (`ops`) and in C++ (`cpp`), in one run.

    python -m model.quantization.bench

The layer has an input [128, 1408], quantized per tensor with a learned zero point, and a weight
[2304, 1408], quantized per channel. What is compared runs in turns, so that other work on the
machine slows both alike. In its turn, each is called twice and the second call is timed: neither
finds the other's tensors in the cache. Freed memory is kept, as training does, else most of the
time of a result of megabytes is that of page faults. On a busy machine, --threads 1 and the time of
the CPU say more than the clock.

What reads and writes memory cannot be faster than memory: the time of a copy of input and weight,
and of writing a tensor of the weight's size, stand below as bounds of fake quantization and of
dequantization.
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
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from common import command_line
from common.memory import keep_freed_memory
from model.quantization import cpp, ops

TOKENS, INPUTS, OUTPUTS = 128, 1408, 2304

Step = Callable[[ModuleType], object]


def steps(dtype: torch.dtype) -> Iterator[tuple[str, Step]]:
    """What is timed: a name, and a function of the module that computes it."""
    torch.manual_seed(0)
    x = torch.randn(TOKENS, INPUTS, dtype=dtype, requires_grad=True)
    w = torch.randn(OUTPUTS, INPUTS, dtype=dtype, requires_grad=True)
    # As a calibration sets them: 3 standard deviations, and the largest weight of each channel.
    x_scale = torch.tensor(6.0 / 255.0, dtype=dtype, requires_grad=True)
    x_zero_point = torch.tensor(3.0, dtype=dtype, requires_grad=True)
    w_scale = (w.detach().abs().amax(1) / 127.0).requires_grad_()
    dx, dw, dy = torch.randn_like(x), torch.randn_like(w), torch.randn(TOKENS, OUTPUTS, dtype=dtype)
    learned = [x, x_scale, x_zero_point, w, w_scale]
    w_q = ops.quantize_per_channel_sym(w, w_scale)

    def quantize(module: ModuleType) -> object:
        return (
            module.quantize_per_tensor_asym(x, x_scale, x_zero_point.detach()),
            module.quantize_per_channel_sym(w, w_scale),
        )

    def fake_quantize(module: ModuleType) -> tuple[Tensor, Tensor]:
        return (
            module.fake_quantize(x, x_scale, x_zero_point, -128, 127),
            module.fake_quantize(w, w_scale, 0, -127, 127, axis=0),
        )

    def train(module: ModuleType) -> object:
        return torch.autograd.grad(fake_quantize(module), learned, [dx, dw])

    def train_layer(module: ModuleType) -> object:
        return torch.autograd.grad(F.linear(*fake_quantize(module)), learned, dy)

    yield "quantize to int8, input and weight", quantize
    yield "dequantize the weight", lambda module: module.dequantize(w_q, w_scale.detach(), axis=0)
    yield "fake-quantize, forward", fake_quantize
    yield "fake-quantize, forward and backward", train
    yield "the same with the layer's products", train_layer


def times(works: list[Callable[[], object]], repeats: int) -> list[tuple[float, float]]:
    """Medians of what is called in turns: milliseconds of the clock, and of the CPU (of all
    threads)."""
    turns: list[list[tuple[float, float]]] = [[] for _ in works]
    for _ in range(repeats):
        for work, seconds in zip(works, turns, strict=True):
            work()
            clock, cpu = time.perf_counter(), time.process_time()
            work()
            seconds.append((time.perf_counter() - clock, time.process_time() - cpu))
    return [
        tuple(statistics.median(values) * 1e3 for values in zip(*seconds, strict=True))
        for seconds in turns
    ]


def bounds(dtype: torch.dtype, repeats: int) -> list[float]:
    """Milliseconds of a copy of input and weight, and of writing a tensor like the weight; each in
    turns with work on other memory, as in `times` of two modules."""
    x, w = torch.randn(TOKENS, INPUTS, dtype=dtype), torch.randn(OUTPUTS, INPUTS, dtype=dtype)
    other = torch.randn(2, OUTPUTS, INPUTS, dtype=dtype)
    works = [
        lambda: (x.clone(), w.clone()),
        other.clone,
        lambda: torch.ones_like(w),
        other.clone,
    ]
    return [clock for clock, _ in times(works, repeats)[::2]]


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m model.quantization.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=int, default=30, help="turns of each comparison")
    parser.add_argument("--threads", type=int, default=0, help="threads (default: PyTorch's)")
    parser.add_argument("--float64", action="store_true", help="in float64 instead of float32")
    args = parser.parse_args(argv)
    if args.repeats < 1:
        parser.error(f"--repeats: expected at least 1, found {args.repeats}")
    if args.threads < 0:
        parser.error(f"--threads: expected at least 1, found {args.threads}")
    if args.threads:
        torch.set_num_threads(args.threads)
    keep_freed_memory()
    dtype = torch.float64 if args.float64 else torch.float32
    print(
        f"{OUTPUTS} x {INPUTS} weights, {TOKENS} tokens, {dtype}, {torch.get_num_threads()} "
        f"threads of {os.cpu_count()} cores, PyTorch {torch.__version__}, load of the last minute "
        f"{os.getloadavg()[0]:.1f} at the start\n"
    )
    print(
        f"{f'milliseconds, median of {args.repeats}':40}{'clock':>24}{'CPU':>27}\n"
        f"{'':40}" + f"{'PyTorch':>10}{'C++':>9}{'ratio':>8}" * 2
    )
    for name, step in steps(dtype):
        works = [partial(step, ops), partial(step, cpp)]
        (clock, cpu), (native_clock, native_cpu) = times(works, args.repeats)
        print(
            f"{name:40}{clock:10.2f}{native_clock:9.2f}{clock / native_clock:8.1f}"
            f"{cpu:10.2f}{native_cpu:9.2f}{cpu / native_cpu:8.1f}",
            flush=True,
        )
    copy, write = bounds(dtype, args.repeats)
    print(f"\na copy of input and weight {copy:.2f}, writing a tensor like the weight {write:.2f}")
    print(f"\nload at the end {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
