"""Fake quantization: the forward in real numbers, rounded wherever the integer program rounds.

    prepare(model, formats, extremes)      keep steps and zero points in the model, as parameters
    set_quant_mode(model, "fakeq")         round with them; "cppq": the same bits, computed in C++
    learned_formats(model)                 what the compiler needs, after training

Each hook computes what its instruction computes (docs/numerics.md), multipliers and shifts
included, with gradients that pass through the roundings; steps learn as in LSQ
(`model.quantization.ops`). In float64 and without gradients a forward gives the tensors of the
integer program; in float32 a value near a tie may fall to the other side. With gradients the state
of the scan is not rounded to its 24 bits, nor its decay to 16, so that the fast scan can be used.
"""

from __future__ import annotations

import math
from functools import partial
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.cmamba import CMamba
from model.quant_point import QuantPoint
from model.quantization import ops
from model.quantization.affine import BIAS_LIMIT, MANTISSA_BITS, MAX_SHIFT, Affine
from model.quantization.formats import (
    EXPONENT_FRACTION,
    Formats,
    Layer,
    ScanFormats,
    derive_formats,
    int8_points,
    layers,
    mamba_blocks,
    norm_eps,
    norms,
    output_format,
    residual_format,
    residual_points,
    scan_formats,
    wide_points,
)
from model.selective_scan import selective_scan

QUANT_MODES = ("fp32", "fakeq", "cppq")
_STATE_LIMIT = 2.0**23


def prepare(model: CMamba, formats: Formats, extremes: dict[str, float]) -> None:
    """Give `model` the parameters of fake quantization, with the values of `formats`.

    Afterwards a checkpoint of the model holds them too. Steps are trained; zero points only once
    their `requires_grad` is set.
    """
    device, dtype = model.output_layer.weight.device, model.output_layer.weight.dtype
    for name in int8_points(model.args):
        point, affine = model.get_submodule(name), formats[name]
        point.scale = nn.Parameter(torch.tensor(affine.scale, device=device, dtype=dtype))
        zero_point = torch.tensor(float(affine.zero_point), device=device, dtype=dtype)
        point.zero_point = nn.Parameter(zero_point, requires_grad=False)
    for layer in layers(model.args):
        scales = torch.from_numpy(formats.weights[layer.name]).to(device, dtype)
        model.get_submodule(layer.name).weight_scale = nn.Parameter(scales)
    for name in wide_points(model.args):
        max_abs = torch.tensor(extremes[name], device=device, dtype=dtype)
        model.get_submodule(name).max_abs = max_abs


def is_prepared(model: CMamba) -> bool:
    """Whether `model` has what fake quantization needs."""
    return model.q_input.scale is not None


def learned_formats(model: CMamba) -> Formats:
    """The formats of a model that went through `prepare`, as they are now.

    Raises:
        FormatError: values that the formats cannot hold.
        ValueError: it did not.
    """
    _require_prepared(model)
    affines = {name: _affine(model, name) for name in int8_points(model.args)}
    weights = {
        layer.name: as_numpy(model.get_submodule(layer.name).weight_scale)
        for layer in layers(model.args)
    }
    return derive_formats(model, affines, weights, _extremes(model))


def set_quant_mode(model: CMamba, mode: str) -> None:
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
    _require_prepared(model)
    if mode == "cppq":
        from model.quantization import cpp as backend
    else:
        backend = ops
    _Hooks(model, backend).attach()


def clamp_steps(model: CMamba) -> None:
    """Keep learned steps positive: to be called after each step of the optimizer."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("scale"):
                parameter.clamp_(min=torch.finfo(parameter.dtype).tiny)


def _require_prepared(model: CMamba) -> None:
    if not is_prepared(model):
        raise ValueError("the model has no quantization parameters: calibrate it first")


def _affine(model: CMamba, name: str) -> Affine:
    point = model.get_submodule(name)
    return Affine(point.scale.item(), round(point.zero_point.item()))


def _extremes(model: CMamba) -> dict[str, float]:
    return {name: model.get_submodule(name).max_abs.item() for name in wide_points(model.args)}


def as_numpy(x: Tensor) -> np.ndarray:
    """float64."""
    return x.detach().cpu().double().numpy()


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


def decay(t: Tensor) -> Tensor:
    """2^-(t / 4096) in units of 2^-16 from the two tables of the contract, t >= 0 an integer."""
    dtype, t = t.dtype, t.double().clamp(max=18.0 * 4096)  # the product has 34 bits
    whole = torch.floor(t / 4096)
    high = torch.floor(t / 64) - 64 * whole
    low = t - 64 * torch.floor(t / 64)
    tables = torch.exp2(16 - high / 64).round() * torch.exp2(16 - low / 4096).round()
    return torch.ldexp(tables, -(16 + whole)).round().to(dtype)


class _Hooks:
    """The hooks of one model."""

    def __init__(self, model: CMamba, backend: ModuleType) -> None:
        self.model = model
        self.args = model.args
        self.backend = backend
        self.extremes = _extremes(model)
        self.residual = residual_format(model, self.extremes).scale

    def attach(self) -> None:
        model = self.model
        for name in int8_points(self.args):
            model.get_submodule(name).hook = partial(self._int8, model.get_submodule(name))
        for name in residual_points(self.args):
            model.get_submodule(name).hook = partial(self._wide, self.residual, 15)
        model.q_embed.hook = partial(self._wide, self.residual, 31)
        model.q_output.hook = partial(self._wide, output_format(self.extremes).scale, 15)
        for layer in layers(self.args):
            model.get_submodule(layer.name).hook = partial(self._layer, layer)
        for name, point in norms(self.args):
            model.get_submodule(name).hook = partial(self._norm, model.get_submodule(name), point)
        for name, _ in mamba_blocks(self.args):
            _ScanHooks(self, name).attach()
        if self.args.topology == "nested":
            for block in model.c_mamba_blocks:
                attention = block.channel_attention
                attention.q_pool.hook = partial(self._pool, attention.q_pool)
                attention.q_gate.hook = partial(self._unsigned, 2.0**-16)

    def _int8(self, point: QuantPoint, x: Tensor) -> Tensor:
        features = x[0].numel() if len(x) else 1
        return self.backend.fake_quantize(
            x, point.scale, point.zero_point, -128, 127, grad_scale=1 / math.sqrt(features * 127)
        )

    def _wide(self, scale: float, bits: int, x: Tensor) -> Tensor:
        return self.backend.fake_quantize(x, scale, 0.0, -(2**bits), 2**bits - 1)

    def _unsigned(self, scale: float, x: Tensor) -> Tensor:
        return self.backend.fake_quantize(x, scale, 0.0, 0, 65535)

    def _scale(self, name: str) -> Tensor:
        """Step of the tensor at a point."""
        point = self.model.get_submodule(name)
        if point.scale is not None:
            return point.scale.detach()
        scale = output_format(self.extremes).scale if name == "q_output" else self.residual
        return self.model.output_layer.weight.new_tensor(scale)

    def _layer(self, layer: Layer, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """LINEAR and CONV: rounded weights and biases, and the multiplier that follows."""
        steps, source = self.model.get_submodule(layer.name).weight_scale, self._scale(layer.source)
        if bias is not None:
            most = layer.positions * bias.detach().abs()
            steps = torch.maximum(steps, most / (source * BIAS_LIMIT))
        rounded = self.backend.fake_quantize(
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
        targets = [self._scale(g.point).expand(g.size) for g in layer.groups]
        correction = _correction(unit / torch.cat(targets))
        if weight.ndim == 3:  # channels first
            return F.conv1d(x, rounded, bias, groups=len(weight)) * correction[:, None]
        return F.linear(x, rounded, bias) * correction

    def _norm(self, module: nn.Module, point: str, x: Tensor, y: Tensor) -> Tensor:
        """NORM: its reciprocal square root has 17 bits."""
        with torch.no_grad():
            target = self._scale(point)
            q = (x / self.residual).round()
            total = q.square().sum(-1, keepdim=True) + norm_eps(self.args, self.residual)
            _, bits = torch.frexp(total)
            e = torch.div(bits - 31, 2, rounding_mode="floor")
            m = torch.ldexp(total, -2 * e).floor()
            r = torch.rsqrt(m).mul(2.0**32).floor().clamp(max=2.0**17 - 1)
            v = torch.ldexp(q * r * 64, -(15 + e)).round()
            ratio = math.sqrt(self.args.d_model) * module.weight / (2.0**23 * target)
            exact = v * multiplier(ratio) * target
        return through(y, exact)

    def _pool(self, point: QuantPoint, x: Tensor) -> Tensor:
        """POOL: one multiplier for the mean, one for the maximum; x [B, 2, D]."""
        ratio = self.residual / self._scale_of(point) * x.new_tensor([1 / self.args.num_patches, 1])
        return self._int8(point, x * _correction(ratio)[:, None])

    @staticmethod
    def _scale_of(point: QuantPoint) -> Tensor:
        return point.scale.detach()


class _ScanHooks:
    """The hooks of one MambaBlock from softplus to the gate: the instruction SCAN."""

    def __init__(self, hooks: _Hooks, name: str) -> None:
        self.hooks, self.name = hooks, name
        self.block = hooks.model.get_submodule(name)
        self.formats: ScanFormats | None = None  # those of this forward

    def attach(self) -> None:
        block = self.block
        block.q_delta.hook = self._delta
        block.scan_hook = self._scan
        block.q_y.hook = lambda x: self.hooks._wide(self.formats.y, 15, x)
        block.q_gate.hook = lambda x: self.hooks._wide(self.formats.gate, 15, x)
        block.q_gated.hook = self._gated
        block.q_out.hook = partial(self.hooks._wide, self.hooks.residual, 31)

    def _delta(self, x: Tensor) -> Tensor:
        names = [f"{self.name}.q_{point}" for point in ("dt", "B", "C", "u", "z")]
        points = {name: _affine(self.hooks.model, name) for name in names}
        self.formats = scan_formats(self.hooks.model, self.name, points, self.hooks.extremes)
        return self.hooks._unsigned(self.formats.delta, x)

    def _scan(self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
        formats = self.formats
        rates = torch.from_numpy(formats.rates(as_numpy(self.block.A_log))).to(A)
        # What the integers stand for: A in powers of two, and D.
        unit = math.log2(math.e) * formats.delta * 2.0 ** (EXPONENT_FRACTION + formats.exp_shift)
        skip_unit = formats.skip / self.block.q_u.scale.item()
        skip = torch.from_numpy(np.rint(as_numpy(D) / skip_unit)).to(D)
        if torch.is_grad_enabled():
            A, D = through(A, -rates / unit), through(D, skip * skip_unit)
            return selective_scan(u, delta, A, B, C, D)
        return formats.y * self._integers(u, delta, B, C, rates, skip)

    def _integers(
        self, u: Tensor, delta: Tensor, B: Tensor, C: Tensor, rates: Tensor, skip: Tensor
    ) -> Tensor:
        """y in its own steps, token by token as SCAN does it: [B, K, E]."""
        formats = self.formats
        w = (u / self.block.q_u.scale).round()
        delta = (delta / formats.delta).round()
        b, c = (B / self.block.q_B.scale).round(), (C / self.block.q_C.scale).round()
        h = u.new_zeros(len(u), *rates.shape)
        rows = []
        for t in range(u.shape[1]):
            exponent = (delta[:, t, :, None] * rates * 2.0**-formats.exp_shift).round()
            drive = (delta[:, t] * w[:, t])[:, :, None] * b[:, t, None, :]
            h = decay(exponent) * h * 2.0**-16 + drive * 2.0**-formats.state_shift
            h = h.round().clamp(-_STATE_LIMIT, _STATE_LIMIT - 1)
            total = (h * c[:, t, None, :]).sum(-1) + skip * w[:, t] * 2.0**formats.skip_shift
            rows.append((total * 2.0**-formats.y_shift).round().clamp(-32768, 32767))
        return torch.stack(rows, 1)

    def _gated(self, x: Tensor) -> Tensor:
        point = self.block.q_gated
        ratio = self.formats.y * self.formats.gate / point.scale.detach()
        return self.hooks._int8(point, x * _correction(ratio))


def _correction(ratio: Tensor) -> Tensor:
    """The multiplier that stands for a ratio, relative to it; 1 where the ratio is 0."""
    return torch.where(ratio == 0, 1.0, multiplier(ratio) / ratio)
