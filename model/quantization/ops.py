"""Quantization in plain PyTorch: what the integers mean, and how learned scales get gradients.

    q = clamp(round(x / scale) + zero_point, low, high)           ties to even, as docs/numerics.md
    x ~ scale * (q - zero_point)

One scale and zero point for the whole tensor, or one for each index of `axis` (a channel). All is
computed in the dtype of the real tensor, float32 or float64, to which scales are rounded.

`model.quantization.cpp` computes the same bits, faster. So every sum has an order that is written
down (`ordered_sum`): a result depends neither on the number of threads nor on the device.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from model.quantization import arguments
from model.quantization.arguments import Parameter

# Terms that `ordered_sum` adds side by side.
SUM_WIDTH = 128


def quantize_per_tensor_asym(
    x: Tensor, scale: Parameter, zero_point: Parameter, bits: int = 8
) -> Tensor:
    """The nearest integers, ties to even, saturated; infinities saturate too.

    Args:
        x: any shape, float32 or float64.
        scale: step between neighbouring integers, > 0, in units of x.
        zero_point: the integer that stands for 0.
        bits: 8 or 16.

    Returns:
        int8 or int16, of x's shape.

    Raises:
        ValueError: x has a NaN (the first is named), the scale is not positive and finite, or the
            zero point is not an integer of so many bits.
        TypeError: x is not of float32 or float64.
    """
    scale, zero_point, low, high, dtype = arguments.of_quantize_per_tensor_asym(
        x, scale, zero_point, bits
    )
    return _quantize("x", x, scale, zero_point, low, high, dtype)


def quantize_per_channel_sym(w: Tensor, scales: Parameter, axis: int = 0, bits: int = 8) -> Tensor:
    """As `quantize_per_tensor_asym`, with a scale for each index of `axis` and zero point 0.

    The range is symmetric, -(2^(bits-1) - 1) to 2^(bits-1) - 1: docs/numerics.md, weights.

    Args:
        w: at least one dimension, float32 or float64.
        scales: [w.shape[axis]], > 0.
        axis: dimension of the channels.
        bits: 8 or 16.

    Returns:
        int8 or int16, of w's shape.

    Raises:
        ValueError: w has a NaN (the first is named), or a scale is not positive and finite.
        TypeError: w is not of float32 or float64.
    """
    scales, axis, low, high, dtype = arguments.of_quantize_per_channel_sym(w, scales, axis, bits)
    return _quantize("w", w, _beside(scales, w, axis), 0, low, high, dtype)


def _quantize(
    name: str,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | int,
    low: int,
    high: int,
    dtype: torch.dtype,
) -> Tensor:
    with torch.no_grad():
        if x.isnan().any():
            raise arguments.not_a_number(name, x)
        return (x / scale).round_().add_(zero_point).clamp_(low, high).to(dtype)


def dequantize(
    q: Tensor, scale: Parameter, zero_point: Parameter = 0, axis: int | None = None
) -> Tensor:
    """scale * (q - zero_point), differentiable in the scale and the zero point.

    Args:
        q: any shape, int8 or int16.
        scale: one number, or [q.shape[axis]].
        zero_point: like the scale; rounded to integers, ties to even, and the gradient passes
            through the rounding.
        axis: dimension of the channels, if they have scales of their own.

    Returns:
        q's shape, in the dtype of the scale if that is a tensor, else float32.

    Raises:
        ValueError: the number of scales or zero points is not that of the channels.
        TypeError: q is not of int8 or int16, or the scale not of float32 or float64.
    """
    scale, zero_point, axis = arguments.of_dequantize(q, scale, zero_point, axis)
    return _Dequantize.apply(q, scale, zero_point, axis)


class _Dequantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q: Tensor, scale: Tensor, zero_point: Tensor, axis: int | None) -> Tensor:
        ctx.save_for_backward(q, scale, zero_point)
        ctx.axis = axis
        scale, zero_point = _beside(scale, q, axis), _beside(zero_point.round(), q, axis)
        return q.to(scale.dtype).sub_(zero_point).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        q, scale, zero_point = ctx.saved_tensors
        dscale = dzero_point = None
        if ctx.needs_input_grad[1]:
            steps = q.to(scale.dtype).sub_(_beside(zero_point.round(), q, ctx.axis))
            dscale = channel_sum(steps.mul_(dy), ctx.axis)
        if ctx.needs_input_grad[2]:
            dzero_point = -scale * channel_sum(dy.clone(), ctx.axis)
        return None, dscale, dzero_point, None


def fake_quantize(
    x: Tensor,
    scale: Parameter,
    zero_point: Parameter,
    low: int,
    high: int,
    axis: int | None = None,
    grad_scale: float = 1.0,
) -> Tensor:
    """x as it is after quantization and dequantization, with the gradients of LSQ.

        q = clamp(round(v) + z, low, high),  v = x / scale,  z = round(zero_point)
        x_hat = scale * (q - z)

    The rounding passes gradients through; the clamp does where low - z < v < high - z ("inside"):

        dx          = dy                                          inside, else 0
        dscale      = grad_scale * sum dy * (round(v) - v)        inside, else dy * (q - z)
        dzero_point = grad_scale * sum 0                          inside, else -scale * dy

    This is LSQ (arXiv 1902.08153, eqs. 3 and 5) with the zero point of LSQ+ (arXiv 2004.09576,
    eqs. 4 and 5), whose offset is beta = -scale * zero_point.

    A NaN stays NaN, and infinities saturate. The scale is not checked, which would let a GPU wait;
    it must be positive.

    Args:
        x: any shape, float32 or float64.
        scale: one number, or [x.shape[axis]].
        zero_point: like the scale.
        low, high: ends of the integers' range.
        axis: dimension of the channels, if they have scales of their own.
        grad_scale: factor of the gradients of scale and zero point; LSQ's is
            1 / sqrt(elements * high).

    Returns:
        x_hat, of x's shape and dtype.

    Raises:
        ValueError: the number of scales or zero points is not that of the channels, or the range
            is empty.
        TypeError: x is not of float32 or float64.
    """
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
        scale, z = _beside(scale, x, axis), _beside(zero_point.round(), x, axis)
        return (x / scale).round_().add_(z).clamp_(low, high).sub_(z).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, zero_point = ctx.saved_tensors
        low, high, axis = ctx.low, ctx.high, ctx.axis
        z = _beside(zero_point.round(), x, axis)
        v = x / _beside(scale, x, axis)
        inside = (v > low - z) & (v < high - z)
        dx = dscale = dzero_point = None
        if ctx.needs_input_grad[0]:
            dx = torch.where(inside, dy, 0.0)
        if ctx.needs_input_grad[1]:
            steps = v.round().add_(z).clamp_(low, high).sub_(z)
            terms = steps.sub_(torch.where(inside, v, 0.0)).mul_(dy)
            dscale = channel_sum(terms, axis) * ctx.grad_scale
        if ctx.needs_input_grad[2]:
            outside = torch.where(inside, 0.0, dy)
            dzero_point = -scale * channel_sum(outside, axis) * ctx.grad_scale
        return dx, dscale, dzero_point, None, None, None, None


def channel_sum(terms: Tensor, axis: int | None) -> Tensor:
    """`ordered_sum` of all terms, [], or of those of each channel, [channels]. Terms are lost."""
    if axis is None:
        return ordered_sum(terms.reshape(1, -1))[0]
    terms = terms.movedim(axis, 0)
    return ordered_sum(terms.reshape(len(terms), terms[:1].numel()))


def ordered_sum(terms: Tensor) -> Tensor:
    """Sums in an order that is always the same, unlike `Tensor.sum`'s. [C, n] -> [C]

    The terms of a channel are laid in rows of 128, the last filled up with zeros. Neighbouring
    rows are added, the first to the second, the third to the fourth, then neighbouring sums, until
    one row is left; then its second half is added to the first, until one number is left. An odd
    row waits for the next round. The rounding error grows with the logarithm of n. The memory of
    the terms is used for the sums.
    """
    channels, n = terms.shape
    rows = max(1, -(-n // SUM_WIDTH))
    if n != rows * SUM_WIDTH:
        terms = F.pad(terms, (0, rows * SUM_WIDTH - n))
    sums = terms.view(channels, rows, SUM_WIDTH)
    while sums.shape[1] > 1:
        sums[:, 0:-1:2] += sums[:, 1::2]
        sums = sums[:, ::2]
    sums = sums[:, 0]
    while sums.shape[1] > 1:
        half = sums.shape[1] // 2
        sums = sums[:, :half] + sums[:, half:]
    return sums[:, 0]


def _beside(values: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """[] as it is, [channels] with dimensions that broadcast along `axis` of x."""
    return values if axis is None else values.reshape([-1] + [1] * (x.ndim - 1 - axis))
