"""Arguments of a PublishedCMamba; without PyTorch, for hosts that have none."""

from __future__ import annotations

from dataclasses import dataclass

from model.args import ModelArgs

_FIXED = {
    "topology": "stacked",
    "channel_mode": "independent",
    "sigma": 0.0,
    "d_conv": ModelArgs.d_conv,
    "conv_bias": ModelArgs.conv_bias,
}


@dataclass(frozen=True)
class PublishedArgs(ModelArgs):
    """Shape and options of a PublishedCMamba; defaults are the authors' for ETTh1.

    ChannelMixup belongs to its training and not to the model, so `sigma` is 0; there is no
    convolution, so `d_conv` and `conv_bias` mean nothing and keep their defaults. Raises
    ValueError, naming the field, what was found and what is expected.
    """

    num_channels: int = 7
    n_layer: int = 3
    expand: int = 1
    dt_rank: int = 32
    bias: bool = True
    reduction_ratio: int = 2  # hidden width of the GDD-MLP is V // reduction_ratio
    sigma: float = 0.0
    channel_mode: str = "independent"
    instance_norm: bool = True
    dropout: float = 0.1
    head_dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in _FIXED.items():
            if getattr(self, name) != value:
                self._fail(name, f"{value!r} in the published model")
        if self.reduction_ratio > self.num_channels:
            self._fail("reduction_ratio", f"at most num_channels = {self.num_channels}")
        if self.stride > self.seq_len:  # the padding is as long as the stride
            self._fail("stride", f"at most seq_len = {self.seq_len}")

    @property
    def num_patches(self) -> int:
        """K, tokens of a sequence, with the one that ends in the padding."""
        return super().num_patches + 1
