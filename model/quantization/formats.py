"""The number format of every tensor, for the compiler and for fake quantization.

A model's formats follow from the value ranges of its quantization points (`calibrate`), or from
step sizes that training has learned. Everything that is not free to choose is decided here, once:
the one scale of the residual stream, the state of the scan and its shifts, and which tensors a
layer lies between. The integers themselves are those of docs/numerics.md. RegressorArgs stand for a
FoldedRegressor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from model.args import ModelArgs
from model.cmamba import CMamba
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
from model.regressor_args import RegressorArgs

# Room above the largest value seen in calibration, for the formats that have bits to spare.
_RESIDUAL_MARGIN = 1.5
_OUTPUT_MARGIN = 1.5
_STATE_MARGIN = 2.0
_SCAN_OUTPUT_MARGIN = 1.25

EXPONENT_FRACTION = 12  # fraction bits of the exponent of a decay
_NORM_FRACTION = 23  # fraction bits of a normalized value
_EPS_LIMIT = 2**32 - 1
_RESIDUAL = "q_residual.0"  # its format is that of the whole residual stream
SKIP_LIMIT = 2**17 - 1  # skip weight of a parameter word
MAX_STATE_SHIFT = 16
MAX_SKIP_SHIFT = 20
MAX_Y_SHIFT = 40
MAX_EXP_SHIFT = 31


class FormatError(ValueError):
    """Values that the formats of the accelerator cannot hold; names the tensor."""


@dataclass(frozen=True)
class Group:
    """Consecutive outputs of a layer that are one tensor, with one scale."""

    point: str
    start: int
    size: int


@dataclass(frozen=True)
class Layer:
    """A layer with weights: the point that it reads, and what its outputs are.

    `positions` inputs, each with these weights, are summed before the one rounding.
    """

    name: str
    source: str
    groups: tuple[Group, ...]
    positions: int = 1


def mamba_blocks(args: ModelArgs) -> Iterator[tuple[str, str]]:
    """(name, residual point behind it) of every MambaBlock, in the order of the forward."""
    for i in range(args.n_layer):
        if args.topology == "stacked":
            yield f"blocks.{i}", f"q_residual.{i + 1}"
        else:
            inner = f"c_mamba_blocks.{i}.patch_mamba"
            for j in range(args.n_layer):
                yield f"{inner}.layers.{j}", f"{inner}.q_residual.{j}"


def layers(args: ModelArgs) -> Iterator[Layer]:
    """Every layer with weights."""
    D, E, N, R = args.d_model, args.d_inner, args.d_state, args.dt_rank

    def layer(name: str, source: str, *groups: tuple[str, int], positions: int = 1) -> Layer:
        found, start = [], 0
        for point, size in groups:
            found.append(Group(point, start, size))
            start += size
        return Layer(name, source, tuple(found), positions)

    if isinstance(args, RegressorArgs):
        yield layer("frame_projection", "q_frames", ("q_centered", args.num_channels))
    yield layer("patch_embedding", "q_input", ("q_residual.0", D))
    for block, residual in mamba_blocks(args):

        def q(point: str, block: str = block) -> str:
            return f"{block}.q_{point}"

        yield layer(f"{block}.in_proj", q("norm"), (q("u_in"), E), (q("z"), E))
        yield layer(f"{block}.conv1d", q("u_in"), (q("conv"), E))
        yield layer(f"{block}.x_proj", q("u"), (q("dt_low"), R), (q("B"), N), (q("C"), N))
        yield layer(f"{block}.dt_proj", q("dt_low"), (q("dt"), E))
        yield layer(f"{block}.out_proj", q("gated"), (residual, D))
    if args.topology == "nested":
        hidden = D // args.reduction_ratio
        for i in range(args.n_layer):
            attention = f"c_mamba_blocks.{i}.channel_attention"
            yield layer(
                f"{attention}.fc1", f"{attention}.q_pool", (f"{attention}.q_hidden", hidden)
            )
            yield layer(
                f"{attention}.fc2",
                f"{attention}.q_hidden",
                (f"{attention}.q_logit", D),
                positions=2,
            )
    yield layer("output_layer", "q_norm_f", ("q_output", args.output_features))


def norms(args: ModelArgs) -> Iterator[tuple[str, str, str]]:
    """(name, point that it reads, point of the result) of every RMSNorm."""
    if isinstance(args, RegressorArgs):
        yield "frame_norm", "q_centered", "q_input"
    for block, _ in mamba_blocks(args):
        yield f"{block}.norm_in", _RESIDUAL, f"{block}.q_norm"
    if args.topology == "nested":
        for i in range(args.n_layer):
            yield f"c_mamba_blocks.{i}.norm", _RESIDUAL, f"q_residual.{i + 1}"
    yield "norm_f", _RESIDUAL, "q_norm_f"


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
        scans: by the name of the MambaBlock.
    """

    points: dict[str, Affine]
    weights: dict[str, np.ndarray]
    scans: dict[str, ScanFormats]

    def __getitem__(self, point: str) -> Affine:
        return self.points[point]

    @property
    def residual(self) -> Affine:
        """Of the residual stream."""
        return self.points[_RESIDUAL]


def calibrated_formats(
    model: CMamba,
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
    for point in int8_points(model.args):
        low, high = histogram(point).range(method)
        if is_symmetric(point):
            affines[point] = symmetric(max(abs(low), abs(high)), 8, power_of_two)
        else:
            affines[point] = affine_int8(low, high, power_of_two)
    extremes = {point: histogram(point).max_abs for point in wide_points(model.args)}
    weights = {
        layer.name: weight_scales(_weight(model, layer.name), power_of_two)
        for layer in layers(model.args)
    }
    return derive_formats(model, affines, weights, extremes, power_of_two)


def int8_points(args: ModelArgs) -> Iterator[str]:
    """The quantization points whose tensor is int8 and has a scale of its own."""
    if isinstance(args, RegressorArgs):
        yield "q_frames"
    yield "q_input"
    names = ("norm", "u_in", "z", "conv", "u", "dt_low", "B", "C", "dt", "gated")
    for block, _ in mamba_blocks(args):
        yield from (f"{block}.q_{name}" for name in names)
    if args.topology == "nested":
        for i in range(args.n_layer):
            attention = f"c_mamba_blocks.{i}.channel_attention"
            yield from (f"{attention}.q_{name}" for name in ("pool", "hidden", "logit"))
    yield "q_norm_f"


def is_symmetric(point: str) -> bool:
    """Whether the hardware knows no zero point for this tensor: B and C of a scan."""
    return point.endswith((".q_B", ".q_C"))


def residual_points(args: ModelArgs) -> Iterator[str]:
    """Where the residual stream is rounded to its one scale."""
    yield from (f"q_residual.{i}" for i in range(args.n_layer + 1))
    if args.topology == "nested":
        for i in range(args.n_layer):
            block = f"c_mamba_blocks.{i}"
            yield from (f"{block}.patch_mamba.q_residual.{j}" for j in range(args.n_layer))
            yield f"{block}.channel_attention.q_scaled"


def wide_points(args: ModelArgs) -> Iterator[str]:
    """The points of which the formats want the extremes alone."""
    if isinstance(args, RegressorArgs):
        yield "q_centered"
    yield from residual_points(args)
    for block, _ in mamba_blocks(args):
        yield from (f"{block}.q_h", f"{block}.q_y")
    yield "q_output"


def derive_formats(
    model: CMamba,
    affines: Mapping[str, Affine],
    weights: Mapping[str, np.ndarray],
    extremes: Mapping[str, float],
    power_of_two: bool = False,
) -> Formats:
    """All formats, from those that are free to choose.

    Args:
        model: its weights and arguments.
        affines: of every point of `int8_points`.
        weights: scale of each output, [n_out], for every layer of `layers`.
        extremes: largest absolute value at every point of `wide_points`.
        power_of_two: restrict the scales that follow to powers of two.

    Raises:
        FormatError: values that the formats cannot hold.
    """
    args = model.args
    points = dict(affines)
    points.update(int16_formats(model, extremes, power_of_two))
    scans = {
        block: scan_formats(model, block, points, extremes, power_of_two)
        for block, _ in mamba_blocks(args)
    }
    scales = {
        layer.name: room_for_bias(
            _weight(model, layer.name),
            _summed_bias(model, layer),
            points[layer.source].scale,
            weights[layer.name],
        )
        for layer in layers(args)
    }
    return Formats(points, scales, scans)


def _numpy(model: CMamba, name: str) -> np.ndarray:
    return model.get_parameter(name).detach().cpu().double().numpy()


def _weight(model: CMamba, layer: str) -> np.ndarray:
    return _numpy(model, f"{layer}.weight")


def _summed_bias(model: CMamba, layer: Layer) -> np.ndarray | None:
    if model.get_submodule(layer.name).bias is None:
        return None
    return layer.positions * _numpy(model, f"{layer.name}.bias")


def int16_formats(
    model: CMamba, extremes: Mapping[str, float], power_of_two: bool = False
) -> dict[str, Affine]:
    """Of every point whose tensor is int16.

    The residual stream of the model has one scale, which holds the positional encoding too.
    """
    args = model.args

    def normalized(largest: float, features: int) -> Affine:
        """Of what an RMSNorm reads: coarse enough for its epsilon."""
        least = 32767 * np.sqrt(features * args.norm_eps / _EPS_LIMIT)
        return symmetric(max(largest, least), 16, power_of_two)

    max_abs = max(extremes[point] for point in residual_points(args))
    largest = max(_RESIDUAL_MARGIN * max_abs, float(model.positions.abs().max()))
    formats = dict.fromkeys(residual_points(args), normalized(largest, args.d_model))
    if isinstance(args, RegressorArgs):
        largest = _RESIDUAL_MARGIN * extremes["q_centered"]
        formats["q_centered"] = normalized(largest, args.num_channels)
    formats["q_output"] = symmetric(_OUTPUT_MARGIN * extremes["q_output"], 16, power_of_two)
    return formats


def norm_eps(features: int, eps: float, source_scale: float) -> int:
    """The epsilon of NORM, in units of a sum of squares."""
    return int(np.clip(np.rint(features * eps / source_scale**2), 1, _EPS_LIMIT))


def norm_ratios(weight: np.ndarray, target_scale: float) -> np.ndarray:
    """What the normalized integers of NORM are multiplied by, for each feature."""
    return np.sqrt(len(weight)) * weight / (2.0**_NORM_FRACTION * target_scale)


def scan_formats(
    model: CMamba,
    name: str,
    points: dict[str, Affine],
    extremes: Mapping[str, float],
    power_of_two: bool = False,
) -> ScanFormats:
    """Formats of the scan of block `name`. May make C coarser in `points`."""
    dt, b, u = points[f"{name}.q_dt"], points[f"{name}.q_B"], points[f"{name}.q_u"]
    largest_dt = dt.scale * (127 - dt.zero_point)
    delta = symmetric(float(softplus(largest_dt)) * 32767 / 65535, 16, power_of_two).scale
    product = delta * u.scale * b.scale
    state_max = extremes[f"{name}.q_h"]
    state_shift = _shift_for(_STATE_MARGIN * state_max / product, 2**23 - 1)
    if state_shift > MAX_STATE_SHIFT:
        raise FormatError(
            f"{name}.scan: calibration data saturate the state: largest {state_max:.4g} in "
            f"steps of {product:.3g} needs state_shift {state_shift}, expected at most "
            f"{MAX_STATE_SHIFT}"
        )
    # The skip path D * u must fit beside the sum over the states. Where C is so small that it
    # would not, a coarser C takes nothing from the sum that is visible beside D * u.
    state = product * 2.0**state_shift
    skip = np.abs(_numpy(model, f"{name}.D")).max() * u.scale
    least_c = skip / (state * SKIP_LIMIT * 2.0**MAX_SKIP_SHIFT)
    c = points[f"{name}.q_C"]
    if c.scale < least_c:
        c = points[f"{name}.q_C"] = Affine(scale_of(least_c, power_of_two))
    output_sum = state * c.scale
    y_shift = _shift_for(_SCAN_OUTPUT_MARGIN * extremes[f"{name}.q_y"] / output_sum, 32767)
    if y_shift > MAX_Y_SHIFT:
        raise FormatError(
            f"{name}.scan: output needs y_shift {y_shift}, expected at most {MAX_Y_SHIFT}"
        )
    fastest = (_exponent_rate(_numpy(model, f"{name}.A_log")) * delta).max()
    # Over all of z: SiLU has its minimum inside the range, not at an end.
    gate = silu(points[f"{name}.q_z"].dequantize(np.arange(-128, 128)))
    return ScanFormats(
        delta=delta,
        state=state,
        output_sum=output_sum,
        gate=symmetric(float(np.abs(gate).max()), 16, power_of_two).scale,
        exp_shift=int(np.clip(np.floor(np.log2(65535 / fastest)), 0, MAX_EXP_SHIFT)),
        state_shift=state_shift,
        skip_shift=min(MAX_SKIP_SHIFT, _shift_for(skip / output_sum, SKIP_LIMIT)),
        y_shift=y_shift,
    )


def _exponent_rate(A_log: np.ndarray) -> np.ndarray:
    """-A in powers of two, in steps of the exponent, for a delta of 1."""
    return np.exp(A_log) * np.log2(np.e) * 2.0**EXPONENT_FRACTION


def _shift_for(value: float, limit: int) -> int:
    """Smallest shift >= 0 that brings `value` to at most `limit`."""
    return max(0, int(np.ceil(np.log2(value / limit)))) if value > limit else 0
