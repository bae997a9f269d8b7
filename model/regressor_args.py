"""Hyper-parameters of a MambaRegressor."""

from __future__ import annotations

from dataclasses import dataclass

from model.args import ModelArgs

_FIXED = {"forecast_len": 1, "pad_multiple": 1, "channel_mode": "mixing", "instance_norm": False}


@dataclass(frozen=True)
class RegressorArgs(ModelArgs):
    """Shape and options of a MambaRegressor: `num_features`, and those of the CMamba inside.

    That one sees the C channels of L frames as the L steps of C variables, and forecasts one step.
    Raises ValueError, naming the field, what was found and what is expected.
    """

    num_channels: int = 32
    seq_len: int = 32
    patch_len: int = 8
    stride: int = 4
    forecast_len: int = 1
    d_model: int = 64
    n_layer: int = 2
    pad_multiple: int = 1
    sigma: float = 0.0
    num_features: int = 16  # Din

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.num_features) is not int or self.num_features < 1:
            self._fail("num_features", "an integer >= 1")
        for name, value in _FIXED.items():
            if getattr(self, name) != value:
                self._fail(name, f"{value!r} in a regressor")

    @property
    def num_tokens(self) -> int:
        """L: what streams in are frames."""
        return self.seq_len

    @property
    def token_features(self) -> int:
        """Din."""
        return self.num_features

    @property
    def output_features(self) -> int:
        """x and y."""
        return 2
