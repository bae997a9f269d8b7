"""Radio frames to standardized tokens, and the core's results to positions: a regressor's host.

NumPy only; the float counterparts are in `model.data_units`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from golden.host_metadata import vector
from model.regressor_args import RegressorArgs


class FrameHost:
    """Windows float32 [B, T, Din] of any T, positions float32 [B, 2].

    Attributes:
        index: of each element of a window's tokens, the value of `normalize` that it is.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        """Raises PackageError for metadata that are not a regressor's, ValueError for arguments of
        no such model."""
        fields = {name: value for name, value in metadata["model"].items() if name != "model"}
        self.args = args = RegressorArgs.from_dict(fields)
        self.window_shape = (args.seq_len, args.num_features)
        self.forecast_shape = (2,)
        self.index = np.arange(args.seq_len * args.num_features)  # a token is a frame

        self.frame_mean = vector(metadata, "statistics.frame_mean", args.num_features)
        self.frame_scale = vector(metadata, "statistics.frame_scale", args.num_features)
        self.position_mean = vector(metadata, "statistics.position_mean", 2)
        self.position_std = vector(metadata, "statistics.position_std", 2)

    def check(self, x: np.ndarray) -> None:
        """Raises ValueError unless the shape is [B, T, Din] with T >= 1."""
        if x.ndim != 3 or x.shape[1] == 0 or x.shape[2] != self.args.num_features:
            raise ValueError(
                f"input: found shape {list(x.shape)}, expected [B, T, Din] = "
                f"[B, T >= 1, {self.args.num_features}]"
            )

    def normalize(self, x: np.ndarray) -> tuple[np.ndarray, None]:
        """[B, T, Din] -> [B, L, Din]: the last L frames, standardized, or zeros before them."""
        length = self.args.seq_len
        x = (x[:, -length:] - self.frame_mean) * self.frame_scale
        return np.pad(x, ((0, 0), (length - x.shape[1], 0), (0, 0))), None

    def statistics(self, x: np.ndarray) -> None:
        """`from_core` needs to know nothing of the windows."""

    def from_core(self, y: np.ndarray, statistics: None) -> np.ndarray:
        """[B, 1, 2] -> [B, 2], in the units of the data."""
        return y.reshape(-1, 2) * self.position_std + self.position_mean
