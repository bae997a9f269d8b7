"""What int8 costs: test accuracy, and signal-to-noise ratio and range per instruction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import isa
from common.atomic_write import atomic_write, write_text
from evaluation.forecaster import Forecaster
from golden.cases import CompiledCase
from golden.host import HostSide
from golden.integer_model import IntegerModel
from model.data import spread
from model.data.frames import FrameSplits
from model.metrics import ForecastFn, evaluate, torch_forecaster
from model.position_error import distances, predict_positions, summarize
from model.quantization.calibrate import record

_SQNR_WINDOWS = 32
_FIGURES = {"mse": "MSE", "mean": "position error"}


@dataclass(frozen=True)
class TensorAccuracy:
    """One result of an instruction, int8 against FP32."""

    name: str  # the instruction, and the part of its result where it has several
    opcode: str
    sqnr: float  # signal to quantization noise, dB
    low: float  # FP32 extremes
    high: float
    representable: tuple[float, float]  # ends of the integer range
    saturated: float  # share of values other than zero at an end of the integer range


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one case on its test split, and its tensors.

    The figures of a forecast are mse and mae, those of positions mean, median, p80 and p90 of the
    error in metres.
    """

    name: str
    windows: int
    fp32: dict[str, float]
    int8: dict[str, float]
    tensors: list[TensorAccuracy]

    @property
    def figure(self) -> str:
        """Name of the figure that says most: the first."""
        return next(iter(self.fp32))

    @property
    def increase(self) -> float:
        """(int8 - fp32) / fp32 of `figure`."""
        return self.int8[self.figure] / self.fp32[self.figure] - 1.0


def _counterpart(real: torch.Tensor, part: Mapping[str, Any]) -> torch.Tensor:
    """What a part of an instruction's result is in FP32; real: the tensor at its point."""
    if "sequence" in part:  # of several that are coupled
        real = real.unflatten(0, (-1, part["sequences"]))[:, part["sequence"]]
    if "point_start" in part:
        real = real[..., part["point_start"] :][..., : part["size"]]
    return real


def tensor_accuracy(compiled: CompiledCase) -> list[TensorAccuracy]:
    """Compare every instruction's tensor with its FP32 counterpart on windows of the test split.

    Noise accumulates along the network: each figure holds the error of all instructions before.
    """
    package, model = compiled.package, compiled.model
    x, _ = compiled.splits.test.batch(spread(len(compiled.splits.test), _SQNR_WINDOWS))
    trace: dict[str, torch.Tensor] = {}
    IntegerModel(package).run(HostSide(package).tokens(x), trace)
    reference = record(model, model.to_tokens(torch.from_numpy(x)))
    result = []
    for entry in package.metadata["instructions"]:
        if entry["opcode"] == "SEND":  # the bits of the output layer
            continue
        q_all = trace[entry["name"]]
        limits = torch.iinfo(q_all.dtype)
        for part in entry["tensors"]:
            q = q_all[..., part["start"] : part["start"] + part["size"]].double()
            real = _counterpart(reference[part["point"]], part).double().reshape(q.shape)
            noise = (q - part["zero_point"]) * part["scale"] - real
            power, error = float(real.square().mean()), float(noise.square().mean())
            with np.errstate(divide="ignore"):  # no noise: infinite, no signal: minus infinite
                sqnr = 10.0 * (np.log10(power) - np.log10(error)) if error else np.inf
            suffix = f" {part['point'].rsplit('q_', 1)[1]}" if len(entry["tensors"]) > 1 else ""
            ends = [(v - part["zero_point"]) * part["scale"] for v in (limits.min, limits.max)]
            # A zero at an end of the range, as behind a ReLU, is exact.
            at_end = ((q == limits.min) | (q == limits.max)) & (q != part["zero_point"])
            result.append(
                TensorAccuracy(
                    name=entry["name"] + suffix,
                    opcode=entry["opcode"],
                    sqnr=sqnr,
                    low=float(real.min()),
                    high=float(real.max()),
                    representable=(ends[0], ends[1]),
                    saturated=float(at_end.double().mean()),
                )
            )
    return result


def measure(compiled: CompiledCase) -> Accuracy:
    """The figures over the whole test split in FP32 and int8, and the tensors."""
    test = compiled.splits.test

    def figures(predict: ForecastFn) -> dict[str, float]:
        if isinstance(compiled.splits, FrameSplits):
            return summarize(distances(*predict_positions(predict, test)))
        return evaluate(predict, test)

    return Accuracy(
        name=compiled.case.name,
        windows=len(test),
        fp32=figures(torch_forecaster(compiled.model)),
        int8=figures(Forecaster(compiled.package, "hls")),
        tensors=tensor_accuracy(compiled),
    )


def summary_tables(results: Iterable[Accuracy]) -> str:
    """A table of the forecasts and one of the positions, where there are any."""
    forecasts = [r for r in results if r.figure == "mse"]
    positions = [r for r in results if r.figure == "mean"]
    tables = [forecast_table(forecasts)] if forecasts else []
    return "\n\n".join(tables + ([position_table(positions)] if positions else []))


def position_table(results: Iterable[Accuracy]) -> str:
    """Two lines a case: errors in FP32 and in int8."""
    names = ("mean", "median", "P80", "P90")
    columns = "".join(f"{name:>9}" for name in names)
    lines = [f"{'position error, m':24} {'windows':>8}     {columns} {'change':>8}"]
    for r in results:
        for kind, figures, change in (("fp32", r.fp32, ""), ("int8", r.int8, f"{r.increase:+.2%}")):
            values = "".join(f"{figures[name.lower()]:9.4f}" for name in names)
            lines.append(f"{r.name:24} {r.windows:8} {kind}{values} {change:>8}".rstrip())
    return "\n".join(lines)


def forecast_table(results: Iterable[Accuracy]) -> str:
    """One line a case: MSE and MAE in FP32 and int8."""
    lines = [
        f"{'model':24} {'windows':>8} {'MSE fp32':>9} {'MSE int8':>9} {'change':>8} "
        f"{'MAE fp32':>9} {'MAE int8':>9}"
    ]
    for r in results:
        lines.append(
            f"{r.name:24} {r.windows:8} {r.fp32['mse']:9.4f} {r.int8['mse']:9.4f} "
            f"{r.increase:+8.2%} {r.fp32['mae']:9.4f} {r.int8['mae']:9.4f}"
        )
    return "\n".join(lines)


def tensor_table(accuracy: Accuracy) -> str:
    """One line a tensor: SQNR, FP32 range, representable range, saturated share."""
    lines = [
        f"{accuracy.name}: int8 against FP32, per instruction",
        f"{'instruction':40} {'opcode':13} {'SQNR dB':>8} {'FP32 range':>22} "
        f"{'representable':>22} {'saturated':>10}",
    ]
    for t in accuracy.tensors:
        lines.append(
            f"{t.name:40} {t.opcode:13} {t.sqnr:8.1f} {t.low:10.4g} ..{t.high:10.4g} "
            f"{t.representable[0]:10.4g} ..{t.representable[1]:10.4g} {t.saturated:10.2%}"
        )
    return "\n".join(lines)


# Of each opcode, from Matplotlib's cycle of ten.
_COLORS = {opcode: f"C{index % 10}" for index, opcode in enumerate(isa.OPCODES)}


def plot(accuracy: Accuracy, path: Path) -> None:
    """Per instruction from input (top) to output: SQNR, and how the data fill the integer range."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    tensors = accuracy.tensors
    rows = np.arange(len(tensors))
    colors = [_COLORS[t.opcode] for t in tensors]
    figure, (left, right) = plt.subplots(
        1, 2, sharey=True, figsize=(11, 1.2 + 0.19 * len(tensors)), layout="constrained"
    )
    drawn = [t.sqnr if np.isfinite(t.sqnr) else 0.0 for t in tensors]
    left.barh(rows, drawn, color=colors)
    left.set_yticks(rows, [t.name for t in tensors], fontsize=7)
    left.invert_yaxis()
    left.set_xlabel("SQNR, dB (noise of all instructions before included)")
    left.grid(axis="x", alpha=0.4)
    # Ranges in units of the representable one, so that all tensors share an axis.
    for row, t, color in zip(rows, tensors, colors, strict=True):
        low, high = t.representable
        right.plot(
            [(t.low - low) / (high - low), (t.high - low) / (high - low)],
            [row, row],
            color=color,
            linewidth=4,
            solid_capstyle="butt",
        )
    right.axvspan(0, 1, color="0.92", zorder=0)
    right.set_xlabel("FP32 range of the test data within the integers' range (grey)")
    right.legend(
        handles=[Patch(color=c, label=o) for o, c in _COLORS.items() if c in colors], fontsize=7
    )
    figure.suptitle(
        f"{accuracy.name}: test {_FIGURES[accuracy.figure]} {accuracy.fp32[accuracy.figure]:.4f} "
        f"in FP32, {accuracy.int8[accuracy.figure]:.4f} in int8 ({accuracy.increase:+.2%})"
    )
    with atomic_write(path) as file:
        figure.savefig(file, dpi=110, format="png")
    plt.close(figure)


def write(accuracy: Accuracy, folder: Path) -> None:
    """Write the report on one case to `folder`: accuracy.txt and accuracy.png."""
    write_text(folder / "accuracy.txt", tensor_table(accuracy) + "\n")
    plot(accuracy, folder / "accuracy.png")
