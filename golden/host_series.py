"""Windows of a series to real tokens, and the core's results to forecasts: a forecaster's host.

NumPy only; the float counterparts are `to_tokens` and `from_core` of CMamba and PublishedCMamba.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from golden.host_metadata import positive
from model.args import ModelArgs
from model.published_args import PublishedArgs
from model.windows import overflow

Statistics = tuple[np.ndarray, np.ndarray]
"""Mean and standard deviation of windows, float32 [B, V, 1] each."""


class SeriesHost:
    """Windows float32 [B, V, L], forecasts float32 [B, V, H]."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        """Raises PackageError for metadata that are not a forecaster's, ValueError for arguments of
        no such model."""
        model = metadata["model"]
        self._padding = 0  # values behind a window, each the last one of its variable
        if isinstance(model, dict) and model.get("model") == "published":
            fields = {name: value for name, value in model.items() if name != "model"}
            self.args: ModelArgs = PublishedArgs.from_dict(fields)
            self._padding = self.args.stride
        else:
            self.args = ModelArgs.from_dict(model)
        self.window_shape = (self.args.num_channels, self.args.seq_len)
        self._eps = positive(metadata, "instance_norm_eps")

    def check(self, x: np.ndarray) -> None:
        """Raises ValueError unless the shape is [B, V, L]."""
        if x.ndim != 3 or x.shape[1:] != self.window_shape:
            raise ValueError(
                f"input: found shape {list(x.shape)}, expected [B, V, L] = "
                f"[B, {self.window_shape[0]}, {self.window_shape[1]}]"
            )

    def to_tokens(self, x: np.ndarray) -> tuple[np.ndarray, Statistics | None]:
        """[B, V, L] -> [B * n_seq, K, core_channels * P] or of as many elements, and the statistics
        of the windows, None without instance normalization."""
        args = self.args
        statistics = self.statistics(x)
        if statistics is not None:
            mean, deviation = statistics
            x = (x - mean) / deviation
        x = np.pad(x, ((0, 0), (0, 0), (0, self._padding)), mode="edge")
        patches = np.lib.stride_tricks.sliding_window_view(x, args.patch_len, axis=-1)
        patches = patches[:, :, :: args.stride]  # [B, V, K, P]
        if args.channel_mode == "mixing":
            patches = patches.transpose(0, 2, 1, 3)
        return patches, statistics

    def statistics(self, x: np.ndarray) -> Statistics | None:
        """What `from_core` needs to know of windows [B, V, L].

        Raises ValueError where float32 does not hold it.
        """
        if not self.args.instance_norm:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            mean = x.mean(axis=-1, keepdims=True, dtype=np.float32)
            variance = np.square(x - mean).mean(axis=-1, keepdims=True, dtype=np.float32)
        if problem := overflow(variance):
            raise ValueError(f"input: {problem}")
        return mean, np.sqrt(variance + self._eps)

    def from_core(self, y: np.ndarray, statistics: Statistics | None) -> np.ndarray:
        """[B * iterations, n_sequences, elements] -> [B, V, H]"""
        y = y.reshape(-1, self.args.num_channels, self.args.forecast_len)
        if statistics is not None:
            mean, deviation = statistics
            y = y * deviation + mean
        return y
