"""The host's work: windows to int8 tokens for the accelerator, its int16 results to real numbers.

Here is what has to do with integers; `golden.host_series` and `golden.host_frames` are the parts
that depend on the model. NumPy only, so that it also runs on a board without PyTorch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from golden.host_frames import FrameHost
from golden.host_metadata import entry, int8, positive
from golden.host_series import SeriesHost
from isa.errors import PackageError
from isa.package import Package
from isa.streams import BEAT_BYTES
from model.args import ModelArgs


class HostSide:
    """Input and output conversion for one package.

    Shapes are those of a CMamba, [B, V, L] to [B, V, H]; of a regressor, [B, T, Din] to [B, 2].

    Attributes:
        model: the part that depends on the model.
        input_scale, output_scale, zero_point: of tokens (the zero point too) and results.
        index: [tokens of a window, bytes of a token's beats]: of each byte, the value that it is;
            behind the last value, zero.
    """

    def __init__(self, package: Package) -> None:
        """Raises PackageError where the package's metadata lack what the host needs, hold numbers
        that it cannot compute with, or contradict the header."""
        metadata = package.metadata
        model = entry(metadata, "model")
        is_regressor = isinstance(model, dict) and model.get("model") == "regressor"
        try:
            self.model = (FrameHost if is_regressor else SeriesHost)(metadata)
        except PackageError:
            raise
        except ValueError as error:  # of the model's arguments
            raise PackageError("BAD_SECTION", f"package metadata, model: {error}") from None
        self.input_scale = positive(metadata, "input.scale")
        self.zero_point = int8(metadata, "input.zero_point")
        self.output_scale = positive(metadata, "output.scale")
        args = self.args
        for field, found, expected in (
            ("n_sequences * iterations", package.n_sequences * package.iterations, args.n_seq),
            ("n_positions", package.n_positions, args.num_tokens),
            ("token_bytes", package.token_bytes, args.token_features),
            ("forecast_elements", package.forecast_elements, args.output_features),
        ):
            if found != expected:
                raise PackageError(
                    "BAD_SECTION",
                    f"package header, {field}: found {found}, expected {expected} as the "
                    "metadata's model has",
                )
        self._shape = (package.n_sequences, package.n_positions, package.token_bytes)
        row = -(-package.token_bytes // BEAT_BYTES) * BEAT_BYTES
        self._n_values = int(np.prod(self.window_shape))
        # What fills up the last beat of a token is the value behind all others, which is zero.
        self.index = np.full((len(self.model.index) // package.token_bytes, row), self._n_values)
        self.index[:, : package.token_bytes] = self.model.index.reshape(-1, package.token_bytes)
        self._row = row

    @property
    def args(self) -> ModelArgs:
        """The model's arguments."""
        return self.model.args

    @property
    def window_shape(self) -> tuple[int, int]:
        """Of a window: (V, L), or (L, Din)."""
        return self.model.window_shape

    @property
    def forecast_shape(self) -> tuple[int, ...]:
        """Of a forecast: (V, H), or (2,)."""
        return self.model.forecast_shape

    def check(self, x: np.ndarray) -> np.ndarray:
        """`x` as float32. Raises ValueError for another shape or values not finite."""
        # In one piece: how NumPy rounds a sum depends on the layout.
        x = np.asarray(x, dtype=np.float32, order="C")
        self.model.check(x)
        if not np.isfinite(x).all():
            raise ValueError("input: found NaN or infinity, expected finite values")
        return x

    def encode_beats(self, x: np.ndarray, out: np.ndarray) -> Any:
        """Windows to the beats that the accelerator takes. They are quantized first, and then
        cut into tokens, in which a value stands several times.

        Args:
            x: float32 [B, V, L].
            out: uint8 [B * `bytes_in`], in one piece; is overwritten.

        Returns:
            Statistics of the windows, for `decode`.
        """
        with np.errstate(over="ignore", under="ignore"):  # infinity saturates
            values, statistics = self.model.normalize(self.check(x))
            q = values / self.input_scale
        np.rint(q, out=q)
        np.maximum(q, -128 - self.zero_point, out=q)
        np.minimum(q, 127 - self.zero_point, out=q)
        q = q.reshape(len(q), -1)
        int8_values = np.zeros((len(q), self._n_values + 1), np.int8)
        np.add(q, self.zero_point, out=int8_values[:, :-1], casting="unsafe")
        beats = out.view(np.int8).reshape(len(q), *self.index.shape)
        int8_values.take(self.index, axis=1, out=beats, mode="clip")  # in place, unlike "raise"
        return statistics

    @property
    def bytes_in(self) -> int:
        """Of a window in `encode_beats`."""
        return self.index.size

    def encode(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        """Windows float32 [B, V, L] to the tokens of a run, and what `decode` needs later.

        Returns:
            int8 [B * iterations, n_sequences, n_positions, token_bytes]; statistics of the windows.
        """
        x = self.check(x)
        beats = np.empty(len(x) * self.bytes_in, np.uint8)
        statistics = self.encode_beats(x, beats)
        rows = beats.view(np.int8).reshape(-1, *self._shape[:2], self._row)
        return np.ascontiguousarray(rows[..., : self._shape[2]]), statistics

    def decode(self, y: np.ndarray, statistics: Any) -> np.ndarray:
        """int16 [B * iterations, n_sequences, elements] -> float32 [B, V, H]."""
        real = np.array(y, np.float32)
        real *= self.output_scale
        return self.model.from_core(real, statistics)

    def tokens(self, x: np.ndarray) -> np.ndarray:
        """float32 [B, V, L] -> int8 [B * iterations, n_sequences, n_positions, token_bytes]."""
        return self.encode(x)[0]

    def forecast(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """int16 [B * iterations, n_sequences, elements], windows [B, V, L] -> float32 [B, V, H]."""
        return self.decode(y, self.model.statistics(self.check(x)))
