"""The places of the network where the integer program quantizes a tensor."""

from collections.abc import Callable

from torch import Tensor, nn


class QuantPoint(nn.Module):
    """Identity until `hook` is set; then `hook(x)` takes the place of x.

    One forward thus serves FP32 (no hook), calibration (the hook observes and returns its input)
    and fake quantization (the hook rounds). It holds no parameter and no buffer, so a checkpoint
    does not know of it. A hook gets and returns a tensor of the same shape.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hook: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        return x if self.hook is None else self.hook(x)
