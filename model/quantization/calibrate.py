"""Calibration: what range does each quantization point see on data?

`calibrate` runs the FP32 model twice over calibration tokens with a hook on every `QuantPoint`:
first for the extremes, then for a histogram between them. `Histogram.range` turns one into a
clipping range by one of three methods:

    minmax      the extremes
    percentile  the central 99.99 % of the values
    mse         the range that minimizes the squared error of 8-bit quantization over the histogram
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from common.errors import CmambaError
from model.data import Splits, spread
from model.quant_point import Kind
from model.quantization.structure import Quantizable, Structure, structure_of

CALIBRATION_WINDOWS = 256
METHODS = ("minmax", "percentile", "mse")
_BINS = 4096
_PERCENTILE = 99.99
_LEVELS = 255  # steps between the ends of an int8 range
_SHRINK = np.linspace(0.3, 1.0, 71)  # fractions of the full range that `mse` tries


class CalibrationError(CmambaError, ValueError):
    """Calibration data that no quantization range can represent."""


@dataclass(frozen=True)
class Histogram:
    """Distribution of one quantization point: extremes, and counts of equal bins between them."""

    point: str
    low: float
    high: float
    counts: np.ndarray  # [bins] int64; empty where only the extremes are kept

    @property
    def max_abs(self) -> float:
        return max(abs(self.low), abs(self.high))

    @property
    def mean_abs(self) -> float:
        """Mean absolute value, to the width of a bin."""
        return float(self.counts @ np.abs(self._centers()) / self.counts.sum())

    def range(self, method: str) -> tuple[float, float]:
        """Clipping range (low, high) that contains 0.

        Raises:
            ValueError: unknown method.
        """
        if method not in METHODS:
            raise ValueError(f"calibration method: found {method!r}, expected one of {METHODS}")
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        if method != "minmax" and self.counts.size and self.high > self.low:
            low, high = self._percentile() if method == "percentile" else self._least_squares()
        return low, high

    def _centers(self) -> np.ndarray:
        width = (self.high - self.low) / self.counts.size
        return self.low + (np.arange(self.counts.size) + 0.5) * width

    def _percentile(self) -> tuple[float, float]:
        tail = (100.0 - _PERCENTILE) / 200.0 * self.counts.sum()
        edges = np.linspace(self.low, self.high, self.counts.size + 1)
        below = np.searchsorted(np.cumsum(self.counts), tail, side="right")
        above = np.searchsorted(np.cumsum(self.counts[::-1]), tail, side="right")
        return min(float(edges[below]), 0.0), max(float(edges[-1 - above]), 0.0)

    def _least_squares(self) -> tuple[float, float]:
        """Shrink both ends together, then each end alone, keeping the best."""
        full = min(self.low, 0.0), max(self.high, 0.0)
        used = self.counts > 0
        centers, counts = self._centers()[used], self.counts[used].astype(np.float64)

        def error(low: float, high: float) -> float:
            step = (high - low) / _LEVELS
            nearest = np.round((np.clip(centers, low, high) - low) / step) * step + low
            return float(counts @ (centers - nearest) ** 2)

        best = min(((full[0] * f, full[1] * f) for f in _SHRINK), key=lambda r: error(*r))
        best = min([best] + [(best[0], full[1] * f) for f in _SHRINK], key=lambda r: error(*r))
        return min([best] + [(full[0] * f, best[1]) for f in _SHRINK], key=lambda r: error(*r))


def calibration_windows(splits: Splits, count: int = CALIBRATION_WINDOWS) -> Tensor:
    """Windows [n, V, L] spread over the training split."""
    x, _ = splits.train.batch(spread(len(splits.train), count))
    return torch.from_numpy(x)


def _run(
    structure: Structure, tokens: Tensor, observe: Mapping[str, object], batch_size: int
) -> None:
    """Run the model's core over `tokens` with one observer per quantization point.

    A batch has up to `batch_size` sequences, or as many more as depend on each other.
    """
    model, points = structure.model, structure.points
    coupled = model.args.n_seq if structure.coupled else 1
    batch_size = max(1, batch_size // coupled) * coupled
    was_training = model.training
    model.eval()
    try:
        for name, point in points.items():
            if name in observe:
                point.hook = observe[name]
        with torch.no_grad():
            for batch in tokens.split(batch_size):
                model.core(batch)
    finally:
        for point in points.values():
            point.hook = None
        model.train(was_training)


def _but_states(structure: Structure) -> list[str]:
    """The points but for the states of scans, which are many."""
    return [name for name, point in structure.points.items() if point.kind is not Kind.STATE]


def record(model: Quantizable, tokens: Tensor, batch_size: int = 64) -> dict[str, Tensor]:
    """Every quantization point's tensor over `tokens` [n, K, features], concatenated; no states."""
    kept: dict[str, list[Tensor]] = {}

    def keeper(name: str):
        def keep(x: Tensor) -> Tensor:
            kept.setdefault(name, []).append(x.clone())
            return x

        return keep

    structure = structure_of(model)
    _run(structure, tokens, {name: keeper(name) for name in _but_states(structure)}, batch_size)
    return {name: torch.cat(parts) for name, parts in kept.items()}


def calibrate(model: Quantizable, tokens: Tensor, batch_size: int = 64) -> dict[str, Histogram]:
    """Observe every quantization point of `model` over `tokens` [n, K, features], float32.

    Returns a histogram per point, by its module name (`blocks.0.q_u`). The states of a scan keep
    their extremes only.

    Raises:
        CalibrationError: no tokens, or a point that sees NaN or infinity, named.
    """
    if len(tokens) == 0:
        raise CalibrationError("calibration data: found no windows, expected at least one")
    extremes: dict[str, tuple[float, float]] = {}

    def extremes_of(name: str):
        def observe(x: Tensor) -> Tensor:
            low, high = (float(v) for v in torch.aminmax(x))
            if not (np.isfinite(low) and np.isfinite(high)):
                raise CalibrationError(f"{name}: found NaN or infinity on calibration data")
            old = extremes.get(name, (low, high))
            extremes[name] = min(low, old[0]), max(high, old[1])
            return x

        return observe

    structure = structure_of(model)
    _run(structure, tokens, {name: extremes_of(name) for name in structure.points}, batch_size)
    counts = {name: torch.zeros(_BINS, dtype=torch.int64) for name in extremes}

    def counts_of(name: str):
        low, high = extremes[name]

        def observe(x: Tensor) -> Tensor:
            # Without the states observed, the scan adds in another order: an extreme may move.
            counts[name] += torch.histc(x.clamp(low, high), _BINS, low, high).long().cpu()
            return x

        return observe

    counted = _but_states(structure)
    _run(structure, tokens, {name: counts_of(name) for name in counted}, batch_size)
    none = np.zeros(0, dtype=np.int64)
    return {
        name: Histogram(name, low, high, counts[name].numpy() if name in counted else none)
        for name, (low, high) in extremes.items()
    }
