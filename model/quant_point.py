"""The places of the network where the integer program differs from real numbers.

A `QuantPoint` stands where the program rounds a tensor; the layers here compute what the program
computes with rounded parameters. All are as if they were not there until they get a `hook`. One
forward thus serves FP32 (no hook), calibration (hooks observe) and fake quantization (hooks round).

What quantization-aware training learns lies beside what it belongs to: `blocks.0.q_u.scale` in a
checkpoint is the step of point `blocks.0.q_u`. Without it, the state_dict is that of FP32.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


class QuantPoint(nn.Module):
    """Identity until `hook` is set; then `hook(x)`, of the same shape, takes the place of x.

    scale [] and zero_point []: of an int8 tensor with a format of its own, else None.
    max_abs []: largest value seen, where that alone decides the format, else None.
    """

    def __init__(self) -> None:
        super().__init__()
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
