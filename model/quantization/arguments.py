"""What the functions of `ops` and `cpp` accept: checked here for both, and brought into one form.

Parameters (scales and zero points) become tensors beside x: [] for the whole tensor, [channels]
where there is an axis. Gradients pass through that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_FLOATS = (torch.float32, torch.float64)
_INTEGERS = {8: torch.int8, 16: torch.int16}

# One number for the whole tensor, or one for each channel.
Parameter = Tensor | float | Sequence[float]


def of_quantize_per_tensor_asym(
    x: Tensor, scale: Parameter, zero_point: Parameter, bits: int
) -> tuple[Tensor, Tensor, int, int, torch.dtype]:
    """(scale, zero_point, low, high, type of the integers)."""
    _require_type("x", x, _FLOATS)
    dtype = _integer_type(bits)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    scale = _parameter("scale", scale, x, None, x.dtype)
    zero_point = _parameter("zero_point", zero_point, x, None, x.dtype)
    _require_positive(scale)
    if not (low <= zero_point <= high and zero_point == zero_point.round()):
        raise ValueError(
            f"zero_point: found {zero_point.item()}, expected an integer from {low} to {high}"
        )
    return scale, zero_point, low, high, dtype


def of_quantize_per_channel_sym(
    w: Tensor, scales: Parameter, axis: int, bits: int
) -> tuple[Tensor, int, int, int, torch.dtype]:
    """(scales, axis, low, high, type of the integers)."""
    _require_type("w", w, _FLOATS)
    dtype = _integer_type(bits)
    high = (1 << (bits - 1)) - 1
    axis = _channel_axis(w, axis)
    scales = _parameter("scales", scales, w, axis, w.dtype)
    _require_positive(scales)
    return scales, axis, -high, high, dtype


def of_dequantize(
    q: Tensor, scale: Parameter, zero_point: Parameter, axis: int | None
) -> tuple[Tensor, Tensor, int | None]:
    """(scale, zero_point, axis)."""
    _require_type("q", q, tuple(_INTEGERS.values()))
    if not isinstance(scale, Tensor):
        scale = torch.tensor(scale, dtype=torch.float32)
    _require_type("scale", scale, _FLOATS)
    axis = None if axis is None else _channel_axis(q, axis)
    scale = _parameter("scale", scale, q, axis, scale.dtype)
    return scale, _parameter("zero_point", zero_point, q, axis, scale.dtype), axis


def of_fake_quantize(
    x: Tensor,
    scale: Parameter,
    zero_point: Parameter,
    low: int,
    high: int,
    axis: int | None,
) -> tuple[Tensor, Tensor, int | None]:
    """(scale, zero_point, axis)."""
    _require_type("x", x, _FLOATS)
    if not (isinstance(low, int) and isinstance(high, int) and low < high):
        raise ValueError(f"low, high: found {low!r}, {high!r}, expected integers, low below high")
    axis = None if axis is None else _channel_axis(x, axis)
    scale = _parameter("scale", scale, x, axis, x.dtype)
    return scale, _parameter("zero_point", zero_point, x, axis, x.dtype), axis


def not_a_number(name: str, x: Tensor) -> ValueError:
    """The error that names the first NaN of x."""
    return ValueError(f"{name}{_first(x.isnan())} is NaN, which no integer stands for")


def _require_type(name: str, x: Tensor, types: tuple[torch.dtype, ...]) -> None:
    found = x.dtype if isinstance(x, Tensor) else type(x).__name__
    if found not in types:
        expected = " or ".join(str(dtype).removeprefix("torch.") for dtype in types)
        raise TypeError(f"{name}: found {found}, expected a tensor of {expected}")


def _integer_type(bits: int) -> torch.dtype:
    if bits not in _INTEGERS:
        raise ValueError(f"bits: found {bits!r}, expected 8 or 16")
    return _INTEGERS[bits]


def _channel_axis(x: Tensor, axis: int) -> int:
    """`axis` counted from the front."""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis: found {axis}, expected a dimension of shape {list(x.shape)}")
    return axis % x.ndim


def _parameter(
    name: str, value: Parameter, x: Tensor, axis: int | None, dtype: torch.dtype
) -> Tensor:
    # Not by PyTorch's default type: a Python number has the bits of a float64.
    value = torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else dtype).to(x.device)
    value = value.to(dtype)
    if axis is None:
        if value.numel() != 1:
            raise ValueError(f"{name}: found {value.numel()} values, expected 1 without an axis")
        return value.reshape(())
    if value.ndim == 0:
        return value.expand(x.shape[axis])
    if value.shape != (x.shape[axis],):
        raise ValueError(
            f"{name}: found shape {list(value.shape)}, expected [{x.shape[axis]}], one for each "
            f"index of axis {axis} of {list(x.shape)}"
        )
    return value


def _require_positive(scale: Tensor) -> None:
    bad = ~((scale > 0) & scale.isfinite())
    if bad.any():
        raise ValueError(
            f"scale{_first(bad)}: found {scale[bad][0].item()}, expected a positive finite number"
        )


def _first(found: Tensor) -> str:
    """Index of the first true element, as '[i, j]'; nothing for a tensor without dimensions."""
    return str(found.nonzero()[0].tolist()) if found.ndim else ""
