"""The number format of every tensor, for the compiler and for fake quantization.

A model's formats follow from the value ranges of its quantization points (`calibrate`), or from
step sizes that training has learned. Everything that is not free to choose is decided here, once:
the one scale of the residual stream, the state of the scan and its shifts, and which tensors a
layer lies between. The integers themselves are those of docs/numerics.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

import isa
from common.errors import CmambaError
from model.quant_point import Kind
from model.quantization.activations import silu, softplus
from model.quantization.affine import (
    Affine,
    affine_int8,
    room_for_bias,
    scale_of,
    symmetric,
    weight_scales,
)
from model.quantization.calibrate import Histogram
from model.quantization.structure import RESIDUAL, Layer, Quantizable, Scan, Structure

# Room above the largest value seen in calibration, for the formats that have bits to spare.
_WIDE_MARGIN = 1.5
_STATE_MARGIN = 2.0
_SCAN_OUTPUT_MARGIN = 1.25

EXPONENT_FRACTION = 12  # fraction bits of the exponent of a decay
_NORM_FRACTION = 23  # fraction bits of a normalized value
_EPS_LIMIT = 2**32 - 1
_A_LOG_LIMIT = 500.0
SKIP_LIMIT = 2 ** isa.LIMITS["skip_weight_bits"] - 1  # skip weight of a parameter word
MAX_STATE_SHIFT = isa.LIMITS["state_shift"]
MAX_SKIP_SHIFT = isa.LIMITS["skip_shift"]
MAX_Y_SHIFT = isa.LIMITS["y_shift"]
MAX_EXP_SHIFT = next(f.maximum for f in isa.OPCODES["SCAN"].format.fields if f.name == "exp_shift")


class FormatError(CmambaError, ValueError):
    """Values that the formats of the accelerator cannot hold; names the tensor."""


@dataclass(frozen=True)
class ScanFormats:
    """Scales of one selective scan, and the shifts between them (docs/numerics.md)."""

    delta: float  # scale of softplus(dt), uint16
    state: float  # scale of the state, int24
    output_sum: float  # scale of the sum over the states
    gate: float  # scale of SiLU(z), int16
    exp_shift: int
    state_shift: int
    skip_shift: int
    y_shift: int

    @property
    def skip(self) -> float:
        """Scale of the skip weight D times u."""
        return self.output_sum * 2.0**self.skip_shift

    @property
    def y(self) -> float:
        """Scale of the scan's output before the gate, int16."""
        return self.output_sum * 2.0**self.y_shift

    def rates(self, A_log: np.ndarray) -> np.ndarray:
        """Decay rates as integers 0..65535: -A log2(e) in units of the exponent; A_log [E, N]."""
        unit = _exponent_rate(A_log) * self.delta
        return np.clip(np.rint(unit * 2.0**self.exp_shift), 0, 65535)


@dataclass(frozen=True)
class Formats:
    """Formats of one model.

    Attributes:
        points: of the tensor at each quantization point that has one.
        weights: scale of each output of a layer, [n_out], by the layer's name.
        scans: by the name of the module.
    """

    points: dict[str, Affine]
    weights: dict[str, np.ndarray]
    scans: dict[str, ScanFormats]

    def __getitem__(self, point: str) -> Affine:
        return self.points[point]

    @property
    def residual(self) -> Affine:
        """Of the residual stream."""
        return self.points[RESIDUAL]


def calibrated_formats(
    structure: Structure,
    ranges: Mapping[str, Histogram],
    method: str = "mse",
    power_of_two: bool = False,
) -> Formats:
    """The formats that calibration asks for; `method` is one of `calibrate.METHODS`.

    Raises:
        FormatError: a point without data, or values that the formats cannot hold.
    """

    def histogram(point: str) -> Histogram:
        try:
            return ranges[point]
        except KeyError:
            raise FormatError(f"{point}: no calibration data for this tensor") from None

    affines = {}
    for name, point in structure.int8.items():
        low, high = histogram(name).range(method)
        if point.kind is Kind.INT8_SYMMETRIC:
            affines[name] = symmetric(max(abs(low), abs(high)), 8, power_of_two)
        else:
            affines[name] = affine_int8(low, high, power_of_two)
    extremes = {name: histogram(name).max_abs for name in structure.extremes}
    weights = {
        name: weight_scales(_weight(structure.model, name), power_of_two)
        for name in structure.layers
    }
    return derive_formats(structure, affines, weights, extremes, power_of_two)


def derive_formats(
    structure: Structure,
    affines: Mapping[str, Affine],
    weights: Mapping[str, np.ndarray],
    extremes: Mapping[str, float],
    power_of_two: bool = False,
) -> Formats:
    """All formats, from those that are free to choose.

    Args:
        structure: of the model whose weights and arguments count.
        affines: of every point of `structure.int8`.
        weights: scale of each output, [n_out], for every layer of `structure.layers`.
        extremes: largest absolute value at every point of `structure.extremes`.
        power_of_two: restrict the scales that follow to powers of two.

    Raises:
        FormatError: values that the formats cannot hold.
    """
    model, points = structure.model, dict(affines)
    points.update(int16_formats(structure, extremes, power_of_two))
    scans = {
        name: scan_formats(model, scan, points, extremes, power_of_two)
        for name, scan in structure.scans.items()
    }
    scales = {
        name: room_for_bias(
            _weight(model, name),
            _summed_bias(model, layer),
            min(points[source].scale for source in layer.sources),
            weights[name],
        )
        for name, layer in structure.layers.items()
    }
    return Formats(points, scales, scans)


def _numpy(model: Quantizable, name: str) -> np.ndarray:
    return model.get_parameter(name).detach().cpu().double().numpy()


def _weight(model: Quantizable, layer: str) -> np.ndarray:
    return _numpy(model, f"{layer}.weight")


def _summed_bias(model: Quantizable, layer: Layer) -> np.ndarray | None:
    if model.get_submodule(layer.name).bias is None:
        return None
    return layer.positions * _numpy(model, f"{layer.name}.bias")


def int16_formats(
    structure: Structure, extremes: Mapping[str, float], power_of_two: bool = False
) -> dict[str, Affine]:
    """Of every point whose tensor is int16.

    The residual stream of the model has one scale, which holds the positional encoding too.
    """
    model, eps = structure.model, structure.args.norm_eps
    # Features of the RMSNorm that reads a point.
    normalized = {norm.source: len(_weight(model, norm.name)) for norm in structure.norms}

    def affine(point: str, largest: float) -> Affine:
        """Coarse enough for the epsilon of an RMSNorm."""
        least = 32767 * np.sqrt(normalized.get(point, 0) * eps / _EPS_LIMIT)
        return symmetric(max(largest, least), 16, power_of_two)

    points = structure.points
    max_abs = max(extremes[name] for name in points if points[name].kind.bounds_residual)
    residual = affine(RESIDUAL, max(_WIDE_MARGIN * max_abs, float(model.positions.abs().max())))
    formats = {name: residual for name in points if points[name].kind is Kind.RESIDUAL}
    for name in points:
        if points[name].kind.has_own_int16:
            formats[name] = affine(name, _WIDE_MARGIN * extremes[name])
    return formats


def norm_eps(features: int, eps: float, source_scale: float) -> int:
    """The epsilon of NORM, in units of a sum of squares."""
    return int(np.clip(np.rint(features * eps / source_scale**2), 1, _EPS_LIMIT))


def norm_ratios(weight: np.ndarray, target_scale: float) -> np.ndarray:
    """What the normalized integers of NORM are multiplied by, for each feature."""
    return np.sqrt(len(weight)) * weight / (2.0**_NORM_FRACTION * target_scale)


def scan_formats(
    model: Quantizable,
    scan: Scan,
    points: dict[str, Affine],
    extremes: Mapping[str, float],
    power_of_two: bool = False,
) -> ScanFormats:
    """Formats of a scan.

    May make C coarser in `points`, and the skip weights, where these are a tensor.
    """
    delta = _finest_delta(points[scan.dt], power_of_two)
    if scan.skip:
        delta = _delta_beside_skip(scan, points, delta)
    product = delta * points[scan.u].scale * points[scan.B].scale
    state_max = extremes[scan.state]
    state_shift = _shift_for(_STATE_MARGIN * state_max / product, 2**23 - 1)
    if state_shift > MAX_STATE_SHIFT:
        raise FormatError(
            f"{scan.name}.scan: calibration data saturate the state: largest {state_max:.4g} in "
            f"steps of {product:.3g} needs state_shift {state_shift}, expected at most "
            f"{MAX_STATE_SHIFT}; calibrate on data without such extremes"
        )
    state = product * 2.0**state_shift
    if scan.skip:
        skip_shift = _shift_of_streamed_skip(scan, points, state)
    else:
        skip_shift = _shift_of_fixed_skip(model, scan, points, state, power_of_two)
    output_sum = state * points[scan.C].scale
    y_max = extremes[scan.y]
    y_shift = _shift_for(_SCAN_OUTPUT_MARGIN * y_max / output_sum, 32767)
    if y_shift > MAX_Y_SHIFT:
        raise FormatError(
            f"{scan.name}.scan: calibration data saturate the output: largest {y_max:.4g} in "
            f"steps of {output_sum:.3g} needs y_shift {y_shift}, expected at most {MAX_Y_SHIFT}; "
            "calibrate on data without such extremes"
        )
    fastest = (_exponent_rate(_numpy(model, f"{scan.name}.A_log")) * delta).max()
    # Over all of z: SiLU has its minimum inside the range, not at an end.
    gate = silu(points[scan.z].dequantize(np.arange(-128, 128)))
    return ScanFormats(
        delta=delta,
        state=state,
        output_sum=output_sum,
        gate=symmetric(float(np.abs(gate).max()), 16, power_of_two).scale,
        exp_shift=int(np.clip(np.floor(np.log2(65535 / fastest)), 0, MAX_EXP_SHIFT)),
        state_shift=state_shift,
        skip_shift=skip_shift,
        y_shift=y_shift,
    )


def _finest_delta(dt: Affine, power_of_two: bool) -> float:
    """The finest scale of softplus(dt), uint16."""
    largest = float(softplus(dt.scale * (127 - dt.zero_point)))
    return symmetric(largest * 32767 / 65535, 16, power_of_two).scale


def _shift_of_fixed_skip(
    model: Quantizable, scan: Scan, points: dict[str, Affine], state: float, power_of_two: bool
) -> int:
    """skip_shift for skip weights that are parameters; C is made coarser where it must be.

    The skip path D * u must fit beside the sum over the states. Where C is so small that it would
    not, a coarser C takes nothing from the sum that is visible beside D * u.
    """
    skip = np.abs(_numpy(model, f"{scan.name}.D")).max() * points[scan.u].scale
    least_c = skip / (state * SKIP_LIMIT * 2.0**MAX_SKIP_SHIFT)
    c = points[scan.C]
    if c.scale < least_c:
        c = points[scan.C] = Affine(scale_of(least_c, power_of_two))
    return min(MAX_SKIP_SHIFT, _shift_for(skip / (state * c.scale), SKIP_LIMIT))


def _delta_beside_skip(scan: Scan, points: dict[str, Affine], finest: float) -> float:
    """A scale of softplus(dt), less than twice the finest, for skip weights that are a tensor.

    Their integers are shifted, not multiplied, to the scale of the output sum. So
    s_skip / (s_delta * s_B * s_C) must be a power of two, and s_delta is what is free.
    """
    skip, b, c = (points[point].scale for point in (scan.skip, scan.B, scan.C))
    ratio = skip / (b * c)
    return ratio * 2.0 ** -np.floor(np.log2(ratio / finest))


def _shift_of_streamed_skip(scan: Scan, points: dict[str, Affine], state: float) -> int:
    """skip_shift for skip weights that are a tensor, with `_delta_beside_skip`.

    Makes C coarser by a power of two where it must be, as for fixed weights; or the skip weights,
    where their path is not visible beside the sum over the states.
    """
    skip, u, c = (points[point] for point in (scan.skip, scan.u, scan.C))
    shift = round(np.log2(skip.scale * u.scale / (state * c.scale)))
    if shift > MAX_SKIP_SHIFT:
        points[scan.C] = Affine(c.scale * 2.0 ** (shift - MAX_SKIP_SHIFT))
    if shift < 0:
        points[scan.skip] = Affine(skip.scale * 2.0**-shift, skip.zero_point)
    return min(max(shift, 0), MAX_SKIP_SHIFT)


def _exponent_rate(A_log: np.ndarray) -> np.ndarray:
    """-A in powers of two, in steps of the exponent, for a delta of 1.

    Kept to what neither overflows nor vanishes beside any delta: beyond, there is no other decay.
    """
    A_log = np.clip(A_log, -_A_LOG_LIMIT, _A_LOG_LIMIT)
    return np.exp(A_log) * np.log2(np.e) * 2.0**EXPONENT_FRACTION


def _shift_for(value: float, limit: int) -> int:
    """Smallest shift >= 0 that brings `value` to at most `limit`."""
    return max(0, int(np.ceil(np.log2(value / limit)))) if value > limit else 0
