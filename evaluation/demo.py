"""The main job, shown: a trained CMamba in FP32, as an int8 program, and through the HLS C++.

    make demo

Compiles the shipped checkpoints (those on ETTh1 where ETTh1.csv is there), forecasts the whole test
split in FP32 and in int8, compares every tensor of the PyTorch integer model with the HLS C++,
prints one table and plots forecasts.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

import isa
from common import command_line
from common.atomic_write import atomic_write, require_writable_folder
from compiler.estimate import Estimate, estimate
from evaluation.forecaster import Forecaster
from evaluation.progress import progress
from golden.cases import CHECKPOINT_CASES, Case, CompiledCase, build_case
from golden.host import HostSide
from golden.integer_model import IntegerModel
from hls.bindings import Accelerator, extension
from isa.fitting import fitting_build
from model.data import DataError, spread
from model.metrics import evaluate, torch_forecaster
from model.threads import cores, torch_threads

# Build of the HLS C++; `make demo` compiles it alone.
_BUILD = "default"
_COMPARED_WINDOWS = 4
_PLOTTED_WINDOWS = 2
_PLOTTED_CHANNELS = 3


@dataclass(frozen=True)
class Result:
    """One model of the demo."""

    compiled: CompiledCase
    fp32: dict[str, float]
    int8: dict[str, float]
    values: int  # compared between the integer model and the HLS C++
    differing: int
    seconds: float
    package_bytes: int
    cycles: Estimate


def compare_bits(compiled: CompiledCase) -> tuple[int, int]:
    """(values compared, values that differ) over all instructions, integer model against HLS."""
    package = compiled.package
    test = compiled.splits.test
    x, _ = test.batch(spread(len(test), _COMPARED_WINDOWS))
    tokens = HostSide(package).tokens(x)
    trace: dict[str, torch.Tensor] = {}
    IntegerModel(package).run(tokens, trace)
    accelerator = Accelerator(package.to_bytes(), native=False, build=_BUILD)
    found = accelerator.run_traced(tokens)
    values = differing = 0
    for index in range(len(package.instructions)):
        expected = trace[package.instruction_name(index)].numpy()
        values += expected.size
        differing += int((expected != found[index]).sum())
    return values, differing


def run(case: Case) -> Result:
    """Compile one case, and measure it. Raises DataError where its data set is missing."""
    start = time.perf_counter()
    compiled = build_case(case)
    test = compiled.splits.test
    values, differing = compare_bits(compiled)
    with progress(case.name, 2 * len(test)) as counted:
        fp32 = evaluate(counted(torch_forecaster(compiled.model)), test)
        int8 = evaluate(counted(Forecaster(compiled.package, "hls", build=_BUILD)), test)
    return Result(
        compiled=compiled,
        fp32=fp32,
        int8=int8,
        values=values,
        differing=differing,
        seconds=time.perf_counter() - start,
        package_bytes=len(compiled.package.to_bytes()),
        cycles=estimate(compiled.package, isa.build(fitting_build(compiled.package))),
    )


def run_all(cases: Sequence[Case]) -> list[Result]:
    """The cases whose data are there, one on each core; says how it goes."""
    results = []
    for native in (False, True):  # threads must not load a module at the same time
        extension(native, _BUILD)
    with torch_threads(1), ThreadPoolExecutor(cores()) as pool:
        print("each: calibrate, compile, forecast in FP32, int8 and HLS ...", flush=True)
        futures = [pool.submit(run, case) for case in cases]
        try:
            for case, future in zip(cases, futures, strict=True):
                try:
                    results.append(future.result())
                    message = f"{case.name}: {results[-1].seconds:.1f} s"
                except DataError as error:
                    message = f"{case.name}: left out: {error}"
                with tqdm.external_write_mode():
                    print(message, flush=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def table(results: list[Result]) -> str:
    """One column a model."""

    def row(label: str, cells: list[str]) -> str:
        return f"{label:34}" + "".join(f"{cell:>20}" for cell in cells)

    def each(label: str, cell) -> str:
        return row(label, [cell(r) for r in results])

    return "\n".join(
        [
            row("", [r.compiled.case.name for r in results]),
            each("windows of the test split", lambda r: f"{len(r.compiled.splits.test):,}"),
            each("test MSE, FP32", lambda r: f"{r.fp32['mse']:.4f}"),
            each("test MSE, int8", lambda r: f"{r.int8['mse']:.4f}"),
            each("  change", lambda r: f"{r.int8['mse'] / r.fp32['mse'] - 1:+.2%}"),
            each("test MAE, FP32", lambda r: f"{r.fp32['mae']:.4f}"),
            each("test MAE, int8", lambda r: f"{r.int8['mae']:.4f}"),
            each("tensor values compared with HLS", lambda r: f"{r.values:,}"),
            each("  values that differ", lambda r: f"{r.differing:,}"),
            each("package, bytes", lambda r: f"{r.package_bytes:,}"),
            each("MACs of a forecast", lambda r: f"{r.cycles.macs:,}"),
            each("estimated cycles of a forecast", lambda r: f"{r.cycles.single:,}"),
            each("  microseconds at 250 MHz", lambda r: f"{r.cycles.single / 250:.1f}"),
        ]
    )


def plot(result: Result, path: Path) -> None:
    """Truth, FP32 and int8 forecasts of some test windows and variables, in the data's units."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    splits, args = result.compiled.splits, result.compiled.model.args
    windows = spread(len(splits.test), _PLOTTED_WINDOWS + 2)[1:-1]
    x, y = splits.test.batch(windows)
    forecasts = {
        "FP32": torch_forecaster(result.compiled.model)(x).numpy(),
        "int8": Forecaster(result.compiled.package, "hls", build=_BUILD)(x),
    }
    channels = spread(args.num_channels, _PLOTTED_CHANNELS)
    figure, axes = plt.subplots(
        len(channels), len(windows), figsize=(11, 2.2 * len(channels)), layout="constrained"
    )
    past, future = np.arange(-args.seq_len, 0), np.arange(y.shape[-1])

    def units(values: np.ndarray, channel: int) -> np.ndarray:
        s = splits.standardizer
        return values * np.ravel(s.std)[channel] + np.ravel(s.mean)[channel]

    for row, channel in zip(axes, channels, strict=True):
        for axis, window in zip(row, range(len(windows)), strict=True):
            axis.plot(past, units(x[window, channel], channel), color="0.6", linewidth=1)
            axis.plot(future, units(y[window, channel], channel), color="black", label="truth")
            for (name, f), style in zip(forecasts.items(), ("-", "--"), strict=True):
                values = units(f[window, channel], channel)[: y.shape[-1]]
                axis.plot(future, values, style, label=name)
            axis.set_ylabel(splits.columns[channel], fontsize=8)
            axis.axvline(0, color="0.8", linewidth=1)
    axes[0][0].legend(fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("hours from the end of the input")
    figure.suptitle(f"{result.compiled.case.name}: forecasts of the test split")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        figure.savefig(file, dpi=110, format="png")
    plt.close(figure)


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="folder for plots")
    args = parser.parse_args(argv)
    require_writable_folder(args.output)
    results = run_all(CHECKPOINT_CASES)
    print("\n" + table(results) + "\n")
    for result in results:
        path = args.output / f"{result.compiled.case.name}.png"
        plot(result, path)
        print(f"plot: {path}")
    if any(r.differing for r in results):
        print("error: HLS and the integer model differ; `make csim` says where", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
