"""The places of the network where the integer program differs from real numbers.

A `QuantPoint` stands where the program rounds a tensor; the layers here compute what the program
computes with rounded parameters. All are as if they were not there until they get a `hook`. One
forward thus serves FP32 (no hook), calibration (hooks observe) and fake quantization (hooks round).

What quantization-aware training learns lies beside what it belongs to: `blocks.0.q_u.scale` in a
checkpoint is the step of point `blocks.0.q_u`. Without it, the state_dict is that of FP32.
"""

from collections.abc import Callable
from enum import Enum

import torch.nn.functional as F
from torch import Tensor, nn


class Kind(Enum):
    """What the integers of a tensor are, and so what decides its format."""

    INT8 = "int8 with a scale and a zero point of its own"
    INT8_SYMMETRIC = "int8 with a scale of its own, no zero point: the hardware knows none"
    RESIDUAL = "int16 with the one scale of the residual stream"
    INT16 = "int16 with a scale of its own"
    INT16_SUMMAND = "int16 with a scale of its own, no coarser than that of the residual stream"
    ADDEND = "inside an instruction that adds it to the residual stream, in steps of that"
    STATE = "inside SCAN; its extremes alone decide"
    SUM = "inside SCAN; its extremes alone decide the scale of the int16 that it is rounded to"
    INSIDE = "inside an instruction; its format follows from other tensors"

    @property
    def is_int8(self) -> bool:
        """Whether it has a scale of its own, which can be learned."""
        return self in (Kind.INT8, Kind.INT8_SYMMETRIC)

    @property
    def bounds_residual(self) -> bool:
        """Whether the scale of the residual stream has room for its extremes."""
        return self in (Kind.RESIDUAL, Kind.INT16_SUMMAND)

    @property
    def has_own_int16(self) -> bool:
        return self in (Kind.INT16, Kind.INT16_SUMMAND)

    @property
    def needs_extremes(self) -> bool:
        """Whether the formats want its extremes, and no more."""
        return self.bounds_residual or self.has_own_int16 or self in (Kind.STATE, Kind.SUM)


class QuantPoint(nn.Module):
    """Identity until `hook` is set; then `hook(x)`, of the same shape, takes the place of x.

    kind: what its tensor is in integers.
    scale [] and zero_point []: of an int8 tensor with a format of its own, else None.
    max_abs []: largest value seen, where that alone decides the format, else None.
    """

    def __init__(self, kind: Kind = Kind.INT8) -> None:
        super().__init__()
        self.kind = kind
        self.hook: Callable[[Tensor], Tensor] | None = None
        self.register_parameter("scale", None)
        self.register_parameter("zero_point", None)
        self.register_buffer("max_abs", None)

    def forward(self, x: Tensor) -> Tensor:
        return x if self.hook is None else self.hook(x)


class QuantLinear(nn.Linear):
    """nn.Linear, or `hook(x, weight, bias)`; weight_scale [out_features]: steps, or None."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias)
        self.hook: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None
        self.register_parameter("weight_scale", None)

    def forward(self, x: Tensor) -> Tensor:
        return (self.hook or F.linear)(x, self.weight, self.bias)


class QuantDepthwiseConv(nn.Conv1d):
    """A depthwise nn.Conv1d over [B, E, K], or `hook(x, weight, bias)`. weight_scale as there."""

    def __init__(self, features: int, kernel_size: int, bias: bool = True) -> None:
        super().__init__(features, features, kernel_size, groups=features, bias=bias)
        self.hook: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None
        self.register_parameter("weight_scale", None)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if self.hook is None else self.hook(x, self.weight, self.bias)
