"""The functions of `model.quantization.ops`, computed by a C++ extension: the same bits, faster.

`make quantization` builds the extension from csrc/. It works on CPU tensors only, with as many
threads as `torch.get_num_threads()` says.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.extension import load_extension
from model.quantization import arguments
from model.quantization.arguments import Parameter

# Another folder than build/quantization, for example with a build for the sanitizers.
FOLDER = Path(
    os.environ.get("CMAMBA_QUANTIZATION")
    or Path(__file__).resolve().parents[2] / "build/quantization"
)


@cache
def extension() -> ModuleType:
    """The compiled module. Raises ImportError if `make quantization` has not built it.

    It uses OpenMP like PyTorch, and finds PyTorch's runtime loaded: there is one pool of threads.
    """
    return load_extension(FOLDER / "cmamba_quantization.so", "quantization")


def quantize_per_tensor_asym(
    x: Tensor, scale: Parameter, zero_point: Parameter, bits: int = 8
) -> Tensor:
    """As `ops.quantize_per_tensor_asym`, also in its errors; x on the CPU."""
    _require_cpu("x", x)
    scale, zero_point, low, high, dtype = arguments.of_quantize_per_tensor_asym(
        x, scale, zero_point, bits
    )
    return _quantize("x", x, scale, zero_point, low, high, dtype, None)


def quantize_per_channel_sym(w: Tensor, scales: Parameter, axis: int = 0, bits: int = 8) -> Tensor:
    """As `ops.quantize_per_channel_sym`, also in its errors; w on the CPU."""
    _require_cpu("w", w)
    scales, axis, low, high, dtype = arguments.of_quantize_per_channel_sym(w, scales, axis, bits)
    return _quantize("w", w, scales, torch.zeros_like(scales), low, high, dtype, axis)


def _quantize(
    name: str,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    low: int,
    high: int,
    dtype: torch.dtype,
    axis: int | None,
) -> Tensor:
    rows = _channels_first(x, axis)
    q = torch.empty_like(rows, dtype=dtype)
    has_nan = extension().quantize(
        _array(rows),
        _array(q),
        _array(scale),
        _array(zero_point),
        low,
        high,
        torch.get_num_threads(),
    )
    if has_nan:
        raise arguments.not_a_number(name, x)
    return _channels_back(q, axis)


def dequantize(
    q: Tensor, scale: Parameter, zero_point: Parameter = 0, axis: int | None = None
) -> Tensor:
    """As `ops.dequantize`, also in its gradients and errors; q on the CPU."""
    _require_cpu("q", q)
    scale, zero_point, axis = arguments.of_dequantize(q, scale, zero_point, axis)
    return _Dequantize.apply(q, scale, zero_point, axis)


class _Dequantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q: Tensor, scale: Tensor, zero_point: Tensor, axis: int | None) -> Tensor:
        ctx.save_for_backward(q, scale, zero_point)
        ctx.axis = axis
        rows = _channels_first(q, axis)
        x = torch.empty_like(rows, dtype=scale.dtype)
        extension().dequantize(
            _array(rows),
            _array(x),
            _array(scale),
            _array(zero_point.round()),
            torch.get_num_threads(),
        )
        return _channels_back(x, axis)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        q, scale, zero_point = ctx.saved_tensors
        steps_sum, dy_sum = torch.empty_like(scale), torch.empty_like(scale)
        extension().dequantize_backward(
            _array(_channels_first(q, ctx.axis)),
            _array(_channels_first(dy, ctx.axis)),
            _array(steps_sum),
            _array(dy_sum),
            _array(scale),
            _array(zero_point.round()),
            torch.get_num_threads(),
        )
        return None, steps_sum, -scale * dy_sum, None


def fake_quantize(
    x: Tensor,
    scale: Parameter,
    zero_point: Parameter,
    low: int,
    high: int,
    axis: int | None = None,
    grad_scale: float = 1.0,
) -> Tensor:
    """As `ops.fake_quantize`, also in its gradients and errors; x on the CPU."""
    _require_cpu("x", x)
    scale, zero_point, axis = arguments.of_fake_quantize(x, scale, zero_point, low, high, axis)
    return _FakeQuantize.apply(x, scale, zero_point, low, high, axis, grad_scale)


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        low: int,
        high: int,
        axis: int | None,
        grad_scale: float,
    ) -> Tensor:
        ctx.save_for_backward(x, scale, zero_point)
        ctx.low, ctx.high, ctx.axis, ctx.grad_scale = low, high, axis, grad_scale
        rows = _channels_first(x, axis)
        y = torch.empty_like(rows)
        extension().fake_quantize(
            _array(rows),
            _array(y),
            _array(scale),
            _array(zero_point.round()),
            low,
            high,
            torch.get_num_threads(),
        )
        return _channels_back(y, axis)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, zero_point = ctx.saved_tensors
        rows = _channels_first(x, ctx.axis)
        dx = torch.empty_like(rows)
        steps_sum, outside_sum = torch.empty_like(scale), torch.empty_like(scale)
        extension().fake_quantize_backward(
            _array(rows),
            _array(_channels_first(dy, ctx.axis)),
            _array(dx),
            _array(steps_sum),
            _array(outside_sum),
            _array(scale),
            _array(zero_point.round()),
            ctx.low,
            ctx.high,
            torch.get_num_threads(),
        )
        dscale = steps_sum * ctx.grad_scale
        dzero_point = -scale * outside_sum * ctx.grad_scale
        return _channels_back(dx, ctx.axis), dscale, dzero_point, None, None, None, None


def _require_cpu(name: str, x: Tensor) -> None:
    if isinstance(x, Tensor) and x.device.type != "cpu":
        raise ValueError(
            f"{name}: found a tensor on {x.device}, expected one on the CPU; "
            "model.quantization.ops has the same functions for every device"
        )


def _channels_first(x: Tensor, axis: int | None) -> Tensor:
    """What the kernels read: contiguous, with the dimension of the channels in front."""
    return (x if axis is None else x.movedim(axis, 0)).contiguous()


def _channels_back(x: Tensor, axis: int | None) -> Tensor:
    return x if axis is None else x.movedim(0, axis)


def _array(x: Tensor) -> np.ndarray:
    """The memory of x, which is copied only if it is not contiguous (small tensors)."""
    return x.detach().contiguous().numpy()
