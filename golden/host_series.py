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

_FLOAT32_MAX = float(np.finfo(np.float32).max)

Statistics = tuple[np.ndarray, np.ndarray]
"""Mean and standard deviation of windows, float32 [B, V, 1] each."""


class SeriesHost:
    """Windows float32 [B, V, L], forecasts float32 [B, V, H].

    Attributes:
        index: of each element of a window's tokens, the value of the window [V * L] that it is.
        eps: added to variances, float32.
    """

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
        self.forecast_shape = (self.args.num_channels, self.args.forecast_len)
        self.eps = positive(metadata, "instance_norm_eps")
        self.index = self._patches(np.arange(np.prod(self.window_shape))).reshape(-1)

    def check(self, x: np.ndarray) -> None:
        """Raises ValueError unless the shape is [B, V, L]."""
        if x.ndim != 3 or x.shape[1:] != self.window_shape:
            raise ValueError(
                f"input: found shape {list(x.shape)}, expected [B, V, L] = "
                f"[B, {self.window_shape[0]}, {self.window_shape[1]}]"
            )

    def _patches(self, values: np.ndarray) -> np.ndarray:
        """One of each value of a window [V * L], in the order of the tokens: [V, K, P] or
        [K, V, P]."""
        args = self.args
        x = np.pad(values.reshape(self.window_shape), ((0, 0), (0, self._padding)), mode="edge")
        patches = np.lib.stride_tricks.sliding_window_view(x, args.patch_len, axis=-1)
        patches = patches[:, :: args.stride]  # [V, K, P]
        return patches.transpose(1, 0, 2) if args.channel_mode == "mixing" else patches

    def normalize(self, x: np.ndarray) -> tuple[np.ndarray, Statistics | None]:
        """[B, V, L] -> the values that `index` picks from, [B, V, L], and the statistics of the
        windows, None without instance normalization."""
        statistics = self.statistics(x)
        if statistics is None:
            return x, None
        mean, deviation = statistics
        x = x - mean
        x /= deviation
        return x, statistics

    def statistics(self, x: np.ndarray) -> Statistics | None:
        """What `from_core` needs to know of windows [B, V, L].

        Sums run in float64 and in the order of time (``docs/numerics.md``, "On the host"), so that
        there is one answer: `cumsum` is defined as that loop, while the order of `mean` is NumPy's
        own matter. Raises ValueError where float32 does not hold the variance.
        """
        if not self.args.instance_norm:
            return None
        n = self.args.seq_len
        mean = np.cumsum(x, axis=-1, dtype=np.float64)[..., -1:] / n
        centered = x - mean
        centered *= centered
        variance = np.cumsum(centered, axis=-1, out=centered)[..., -1:] / n
        if variance.max() > _FLOAT32_MAX:
            with np.errstate(over="ignore"):
                problem = overflow(variance.astype(np.float32))
            if problem:
                raise ValueError(f"input: {problem}")
        return mean.astype(np.float32), np.sqrt(variance + self.eps).astype(np.float32)

    def from_core(self, y: np.ndarray, statistics: Statistics | None) -> np.ndarray:
        """[B * iterations, n_sequences, elements] -> [B, V, H]"""
        y = y.reshape(-1, self.args.num_channels, self.args.forecast_len)
        if statistics is not None:
            mean, deviation = statistics
            y = y * deviation
            y += mean
        return y
