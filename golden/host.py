"""The host's work: windows to int8 tokens for the accelerator, its int16 results to forecasts.

NumPy only, so that it also runs on a board without PyTorch; the float counterparts are
`CMamba.to_tokens` and `CMamba.from_core`.
"""

from __future__ import annotations

import numpy as np

from golden.package import Package
from model.args import ModelArgs

Statistics = tuple[np.ndarray, np.ndarray]
"""Mean and standard deviation of windows, float32 [B, V, 1] each."""


class HostSide:
    """Input and output conversion for one package."""

    def __init__(self, package: Package) -> None:
        """Raises ValueError where the package's metadata lack what the host needs, or contradict
        its header."""
        metadata = package.metadata
        try:
            self.args = args = ModelArgs.from_dict(metadata["model"])
            self._eps = np.float32(metadata["instance_norm_eps"])
            self._input_scale = np.float32(metadata["input"]["scale"])
            self._zero_point = int(metadata["input"]["zero_point"])
            self._output_scale = np.float32(metadata["output"]["scale"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"package metadata: missing or malformed {error}") from None
        for field, value in (
            ("instance_norm_eps", self._eps),
            ("input.scale", self._input_scale),
            ("output.scale", self._output_scale),
        ):
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"package metadata, {field}: found {value}, expected above 0")
        for field, found, expected in (
            ("n_sequences * iterations", package.n_sequences * package.iterations, args.n_seq),
            ("n_positions", package.n_positions, args.num_patches),
            ("token_bytes", package.token_bytes, args.core_channels * args.patch_len),
            (
                "forecast_elements",
                package.forecast_elements,
                args.core_channels * args.forecast_len,
            ),
        ):
            if found != expected:
                raise ValueError(
                    f"package header, {field}: found {found}, expected {expected} as the "
                    "metadata's model has"
                )
        self._shape = (package.n_sequences, package.n_positions, package.token_bytes)

    def _statistics(self, x: np.ndarray) -> Statistics:
        mean = x.mean(axis=-1, keepdims=True, dtype=np.float32)
        variance = np.square(x - mean).mean(axis=-1, keepdims=True, dtype=np.float32)
        return mean, np.sqrt(variance + self._eps)

    def check(self, x: np.ndarray) -> np.ndarray:
        """`x` as float32 [B, V, L]. Raises ValueError for another shape or values not finite."""
        # In one piece: how NumPy rounds a sum depends on the layout.
        x = np.asarray(x, dtype=np.float32, order="C")
        expected = (self.args.num_channels, self.args.seq_len)
        if x.ndim != 3 or x.shape[1:] != expected:
            raise ValueError(
                f"input: found shape {list(x.shape)}, expected [B, V, L] = "
                f"[B, {expected[0]}, {expected[1]}]"
            )
        if not np.isfinite(x).all():
            raise ValueError("input: found NaN or infinity, expected finite values")
        return x

    def encode(self, x: np.ndarray) -> tuple[np.ndarray, Statistics | None]:
        """Windows float32 [B, V, L] to what the accelerator takes, and what `decode` needs later.

        Returns:
            int8 [B * iterations, n_sequences, n_positions, token_bytes]; mean and deviation of the
            windows, None without instance normalization.
        """
        x = self.check(x)
        args = self.args
        statistics = self._statistics(x) if args.instance_norm else None
        if statistics is not None:
            mean, deviation = statistics
            x = (x - mean) / deviation
        patches = np.lib.stride_tricks.sliding_window_view(x, args.patch_len, axis=-1)
        patches = patches[:, :, :: args.stride]  # [B, V, K, P]
        if args.channel_mode == "mixing":
            patches = patches.transpose(0, 2, 1, 3)
        q = np.rint(patches / self._input_scale) + self._zero_point
        return np.clip(q, -128, 127).astype(np.int8).reshape(-1, *self._shape), statistics

    def decode(self, y: np.ndarray, statistics: Statistics | None) -> np.ndarray:
        """int16 [B * iterations, n_sequences, elements] -> float32 [B, V, H]."""
        y = np.asarray(y, dtype=np.float32) * self._output_scale
        y = y.reshape(-1, self.args.num_channels, self.args.forecast_len)
        if statistics is not None:
            mean, deviation = statistics
            y = y * deviation + mean
        return y

    def tokens(self, x: np.ndarray) -> np.ndarray:
        """float32 [B, V, L] -> int8 [B * iterations, n_sequences, n_positions, token_bytes]."""
        return self.encode(x)[0]

    def forecast(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """int16 [B * iterations, n_sequences, elements], windows [B, V, L] -> float32 [B, V, H]."""
        x = self.check(x)
        return self.decode(y, self._statistics(x) if self.args.instance_norm else None)
