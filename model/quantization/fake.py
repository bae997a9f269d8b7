"""Fake quantization: the forward in real numbers, rounded wherever the integer program rounds.

    prepare_calibrated(model, ranges)   steps and zero points become parameters of the model
    set_quant_mode(model, "fakeq")      round with them; "cppq": the same bits, computed in C++
    learned_formats(structure)          what the compiler needs, after training

Each hook computes what its instruction computes (docs/numerics.md), multipliers and shifts
included, with gradients that pass through the roundings; steps learn as in LSQ
(`model.quantization.ops`). In float64 and without gradients a forward gives the tensors of the
integer program; in float32 a value near a tie may fall to the other side. With gradients the state
of the scan is not rounded to its 24 bits, nor its decay to 16, so that the fast scan can be used.
"""

from __future__ import annotations

import math
from functools import cache, partial
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from model.blocks import RMSNorm
from model.quant_point import Kind, QuantPoint
from model.quantization import ops
from model.quantization.affine import BIAS_LIMIT, MANTISSA_BITS, MAX_SHIFT
from model.quantization.formats import (
    EXPONENT_FRACTION,
    ScanFormats,
    int16_formats,
    norm_eps,
    scan_formats,
)
from model.quantization.parameters import (
    as_numpy,
    extremes,
    require_prepared,
    scan_points,
)
from model.quantization.structure import (
    RESIDUAL,
    Activation,
    Convolution,
    FanIn,
    FanOut,
    Head,
    Layer,
    Modulate,
    Norm,
    Pool,
    PoolFeatures,
    Projection,
    Quantizable,
    Scale,
    Scan,
    Structure,
    structure_of,
)
from model.selective_scan import selective_scan

QUANT_MODES = ("fp32", "fakeq", "cppq")
_STATE_LIMIT = 2.0**23
_EXPONENT_LIMIT = 18 * 4096  # from there on, a decay is 0


def set_quant_mode(model: Quantizable, mode: str) -> None:
    """Choose what `model.forward` computes.

    Args:
        mode: 'fp32', 'fakeq', or 'cppq' (as fakeq, by the C++ extension).

    Raises:
        ValueError: another mode, or the model is not prepared.
        ImportError: the extension is not built.
    """
    if mode not in QUANT_MODES:
        raise ValueError(f"quant_mode: found {mode!r}, expected one of {', '.join(QUANT_MODES)}")
    for module in model.modules():
        if hasattr(module, "hook"):
            module.hook = None
        if hasattr(module, "scan_hook"):
            module.scan_hook = None
    if mode == "fp32":
        return
    require_prepared(model)
    if mode == "cppq":
        from model.quantization import cpp as backend

        backend.extension()
    else:
        backend = ops
    _Hooks(structure_of(model), backend).attach()


def through(x: Tensor, value: Tensor) -> Tensor:
    """`value`, with the gradient of x: the straight-through estimator."""
    return x + (value - x).detach() if x.requires_grad else value


def multiplier(ratio: Tensor) -> Tensor:
    """What is left of a ratio as a multiplier of 17 bits and a shift (`affine.multiplier`)."""
    _, exponent = torch.frexp(ratio)
    shift = (MANTISSA_BITS - exponent).clamp(max=MAX_SHIFT)
    largest = 2.0**MANTISSA_BITS - 1
    rounded = torch.ldexp(torch.ldexp(ratio, shift).round(), -shift)
    return torch.where(ratio.abs() >= largest, ratio.sign() * largest, rounded)


def requantize(y: Tensor, unit: Tensor, target: Tensor, exact: bool = True) -> Tensor:
    """y, which is whole in steps of `unit`, times what the multiplier makes of unit / target.

    With `exact` and without gradients it is rounded to steps of `target` in whole numbers, as the
    hardware does it: a division of real numbers could lose a tie.
    """
    ratio = unit / target
    if exact and not torch.is_grad_enabled():
        return ((y / unit).round() * multiplier(ratio)).round() * target
    return y * torch.where(ratio == 0, 1.0, multiplier(ratio) / ratio)


def decay(t: Tensor) -> Tensor:
    """What the contract makes of 2^-(t / 4096), t >= 0 whole: a multiple of 2^-16."""
    index = t.clamp(max=_EXPONENT_LIMIT).int().flatten()
    return _decays(t.dtype, t.device).index_select(0, index).reshape(t.shape)


@cache
def _decays(dtype: torch.dtype, device: torch.device) -> Tensor:
    """`decay` of every exponent up to the limit, from the two tables of the contract."""
    t = torch.arange(_EXPONENT_LIMIT + 1, dtype=torch.float64)  # the product has 34 bits
    whole = torch.floor(t / 4096)
    high = torch.floor(t / 64) - 64 * whole
    low = t - 64 * torch.floor(t / 64)
    tables = torch.exp2(16 - high / 64).round() * torch.exp2(16 - low / 4096).round()
    return (torch.ldexp(tables, -(16 + whole)).round() * 2.0**-16).to(device, dtype)


class _Hooks:
    """The hooks of one model."""

    def __init__(self, structure: Structure, backend: ModuleType) -> None:
        self.structure = structure
        self.model = structure.model
        self.fake_quantize = backend.fake_quantize
        self.extremes = extremes(structure)
        self.int16 = {p: f.scale for p, f in int16_formats(structure, self.extremes).items()}
        self.residual = self.int16[RESIDUAL]

    def attach(self) -> None:
        """A hook for every point of a kind that is rounded, and those of every operation."""
        for name, point in self.structure.points.items():
            if point.kind.is_int8:
                point.hook = partial(self._int8, point)
            elif name in self.int16:
                point.hook = partial(self._wide, self.int16[name], 15)
            elif point.kind is Kind.ADDEND:
                point.hook = self._addend
        attach = {
            Layer: self._attach_layers,
            Projection: self._attach_layers,
            FanOut: self._attach_layers,
            FanIn: self._attach_layers,
            Head: self._attach_layers,
            Convolution: self._attach_layers,
            Activation: lambda _: None,  # the point behind it is enough
            Norm: self._attach_norm,
            Scan: lambda scan: _ScanHooks(self, scan).attach(),
            Pool: self._attach_pool,
            PoolFeatures: self._attach_pool,
            Scale: self._attach_scale,
            Modulate: self._attach_modulate,
        }
        for operation in self.structure.operations:
            attach[type(operation)](operation)

    def _attach_layers(self, operation: Layer | FanOut | FanIn) -> None:
        for layer in operation.layers:
            self.model.get_submodule(layer.name).hook = partial(self._layer, layer)

    def _attach_norm(self, norm: Norm) -> None:
        module = self.model.get_submodule(norm.name)
        module.hook = partial(self._norm, module, self.int16[norm.source], norm.point)

    def _attach_pool(self, pool: Pool) -> None:
        for name, counts in pool.counts.items():
            point = self.structure.points[name]
            point.hook = partial(self._pool, point, self.int16[pool.source], counts)

    def _attach_scale(self, scale: Scale) -> None:
        points, source = self.structure.points, self.int16[scale.source]
        points[scale.factor].hook = partial(self._unsigned, 2.0**-16 * self.residual / source)
        points[scale.point].hook = self._scaled

    def _attach_modulate(self, modulate: Modulate) -> None:
        self._attach_scale(modulate)
        points = self.structure.points
        points[modulate.offset].hook = partial(self._wide, self.residual, 15)
        target = points[modulate.point]
        if target.kind.is_int8:
            target.hook = partial(self._last, target)

    def _int8(self, point: QuantPoint, x: Tensor) -> Tensor:
        features = x[0].numel() if len(x) else 1
        return self.fake_quantize(
            x, point.scale, point.zero_point, -128, 127, grad_scale=1 / math.sqrt(features * 127)
        )

    def _wide(self, scale: float, bits: int, x: Tensor) -> Tensor:
        return self.fake_quantize(x, scale, 0.0, -(2**bits), 2**bits - 1)

    def _addend(self, x: Tensor) -> Tensor:
        """What is added to the residual stream, in its steps, before the sum is clamped."""
        return self._wide(self.residual, 31, x)

    def _unsigned(self, scale: float, x: Tensor) -> Tensor:
        return self.fake_quantize(x, scale, 0.0, 0, 65535)

    def _scale(self, name: str) -> Tensor:
        """Step of the tensor at a point."""
        point = self.model.get_submodule(name)
        if point.scale is not None:
            return point.scale.detach()
        return self.model.output_layer.weight.new_tensor(self.int16[name])

    def _source(self, layer: Layer, x: Tensor) -> Tensor:
        """Step of a layer's input x; of several, one for each index of its first dimension."""
        if len(layer.sources) == 1:
            return self._scale(layer.sources[0])
        steps = torch.stack([self._scale(point) for point in layer.sources])
        return steps.reshape(-1, *[1] * (x.ndim - 1))

    def _layer(self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """LINEAR and CONV: rounded weights and biases, and the multiplier that follows."""
        steps, source = self.model.get_submodule(layer.name).weight_scale, self._source(layer, x)
        if bias is not None:
            most = layer.positions * bias.detach().abs()
            steps = torch.maximum(steps, most / (source * BIAS_LIMIT))
        rounded = self.fake_quantize(
            weight,
            steps,
            0.0,
            -127,
            127,
            axis=0,
            grad_scale=1 / math.sqrt(weight[0].numel() * 127),
        )
        unit = source * steps.detach()  # of the accumulator
        if bias is not None:
            bias = through(bias, (layer.positions * bias / unit).round() * unit / layer.positions)
        target = torch.cat([self._scale(g.point).expand(g.size) for g in layer.groups])
        if weight.ndim == 3:  # the convolution has channels before tokens
            y = F.conv1d(x, rounded, bias, groups=len(weight))
            unit, target = unit[:, None], target[:, None]
        else:
            y = F.linear(x, rounded, bias)
        # Two positions are summed before they are rounded.
        return requantize(y, unit, target, exact=layer.positions == 1)

    def _norm(self, module: RMSNorm, scale: float, point: str, x: Tensor, y: Tensor) -> Tensor:
        """NORM of what has the step `scale`: its reciprocal square root has 17 bits."""
        with torch.no_grad():
            target, n = self._scale(point), len(module.weight)
            q = (x / scale).round()
            total = q.square().sum(-1, keepdim=True) + norm_eps(n, module.eps, scale)
            _, bits = torch.frexp(total)
            e = torch.div(bits - 31, 2, rounding_mode="floor")
            m = torch.ldexp(total, -2 * e).floor()
            r = torch.rsqrt(m).mul(2.0**32).floor().clamp(max=2.0**17 - 1)
            v = torch.ldexp(q * r * 64, -(15 + e)).round()
            ratio = math.sqrt(n) * module.weight / (2.0**23 * target)
            steps = v * multiplier(ratio)
        # The point behind rounds, and its step learns from what that loses.
        return through(y, steps * target) if torch.is_grad_enabled() else steps.round() * target

    def _pool(self, point: QuantPoint, scale: float, counts: tuple[int, ...], x: Tensor) -> Tensor:
        """The pooling instructions: a multiplier for the sum, one for the maximum.

        Args:
            scale: step of what is pooled.
            counts: of how many each of x [B, len(counts), D] is the mean, or 1 for a maximum.
        """
        unit = scale / x.new_tensor(counts)[:, None]
        return self._int8(point, requantize(x, unit, point.scale.detach()))

    def _whole_steps(self, x: Tensor) -> Tensor:
        """x in steps of the residual stream, whole, from products that have 16 fraction bits."""
        return ((x / self.residual * 2.0**16).round() * 2.0**-16).round()

    def _scaled(self, x: Tensor) -> Tensor:
        """SCALE, and MODULATE to the residual stream: the sigmoid has 16 fraction bits."""
        if not torch.is_grad_enabled():
            x = self._whole_steps(x) * self.residual
        return self._wide(self.residual, 15, x)

    def _last(self, point: QuantPoint, x: Tensor) -> Tensor:
        """MODULATE to int8: rounded to steps of the residual stream, and then of the point."""
        x = self._addend(x) if torch.is_grad_enabled() else self._whole_steps(x) * self.residual
        unit = x.new_tensor(self.residual)
        return self._int8(point, requantize(x, unit, point.scale.detach()))


class _ScanHooks:
    """The hooks of one mixer from softplus to the gate: the instruction SCAN."""

    def __init__(self, hooks: _Hooks, scan: Scan) -> None:
        self.hooks, self.scan = hooks, scan
        self.points = hooks.structure.points
        self.block = hooks.model.get_submodule(scan.name)
        self.formats: ScanFormats | None = None  # those of this forward

    def attach(self) -> None:
        scan, points = self.scan, self.points
        points[scan.delta].hook = self._delta
        self.block.scan_hook = self._scan
        points[scan.y].hook = self._y
        points[scan.gate].hook = self._gate
        points[scan.point].hook = self._gated

    def _delta(self, x: Tensor) -> Tensor:
        structure = self.hooks.structure
        points = scan_points(structure, self.scan)
        self.formats = scan_formats(structure.model, self.scan, points, self.hooks.extremes)
        return self.hooks._unsigned(self.formats.delta, x)

    def _scan(self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
        formats = self.formats
        rates = torch.from_numpy(formats.rates(as_numpy(self.block.A_log))).to(A)
        # What the integers stand for: A in powers of two, and the skip weights D, [E] or [B, K, E].
        unit = math.log2(math.e) * formats.delta * 2.0 ** (EXPONENT_FRACTION + formats.exp_shift)
        skip_unit = formats.skip / self._step(self.scan.u).item()
        skip = (D.detach().double() / skip_unit).round().to(D)
        if torch.is_grad_enabled():
            A, D = through(A, -rates / unit), through(D, skip * skip_unit)
            return selective_scan(u, delta, A, B, C, D)
        return formats.y * self._integers(u, delta, B, C, rates, skip)

    def _integers(
        self, u: Tensor, delta: Tensor, B: Tensor, C: Tensor, rates: Tensor, skip: Tensor
    ) -> Tensor:
        """y in its own steps, token by token as SCAN does it: [B, K, E]."""
        formats = self.formats
        w = (u / self._step(self.scan.u)).round()
        delta = (delta / formats.delta).round()
        b, c = (B / self._step(self.scan.B)).round(), (C / self._step(self.scan.C)).round()
        # Powers of two are exact wherever they are multiplied: before the states, it costs least.
        steps, drive = delta * 2.0**-formats.exp_shift, delta * w * 2.0**-formats.state_shift
        h = u.new_zeros(len(u), u.shape[2], rates.shape[1])
        sums = []
        for t in range(u.shape[1]):
            exponent = (steps[:, t, :, None] * rates).round_()
            added = drive[:, t, :, None] * b[:, t, None, :]
            h = added.addcmul_(decay(exponent), h).round_().clamp_(-_STATE_LIMIT, _STATE_LIMIT - 1)
            sums.append(torch.matmul(h, c[:, t, :, None]).squeeze(2))
        total = torch.stack(sums, 1) + skip * w * 2.0**formats.skip_shift
        return (total * 2.0**-formats.y_shift).round().clamp(-32768, 32767)

    def _step(self, point: str) -> Tensor:
        return self.points[point].scale

    def _y(self, x: Tensor) -> Tensor:
        return self.hooks._wide(self.formats.y, 15, x)

    def _gate(self, x: Tensor) -> Tensor:
        return self.hooks._wide(self.formats.gate, 15, x)

    def _gated(self, x: Tensor) -> Tensor:
        point = self.points[self.scan.point]
        unit = x.new_tensor(self.formats.y * self.formats.gate)
        return self.hooks._int8(point, requantize(x, unit, point.scale.detach()))
