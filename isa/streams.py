"""What the host exchanges with what runs a package: HLS C++, RTL in simulation, or a board.

Tokens become beats of s_axis, beats of m_axis become forecasts (docs/instruction_set.md,
"Interface of a run"), and an error code becomes an exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

import isa
from common.errors import CmambaError

BEAT_BYTES = 16
_ERROR_NAMES = {code: name for name, code in isa.ERRORS.items()}


class AcceleratorError(CmambaError, RuntimeError):
    """The accelerator refused a package or ended a run with an error code.

    Attributes:
        code_name: name of the error in `isa.ERRORS`.
        code: its number.
    """

    def __init__(self, code: int, what: str) -> None:
        self.code = code
        self.code_name = _ERROR_NAMES.get(code, f"error {code}")
        super().__init__(f"{self.code_name}: {what}")


class Runner(Protocol):
    """What runs a loaded package: the integer model, HLS C++, RTL in simulation, or a board.

    All give the same bits.
    """

    def run(self, tokens: np.ndarray) -> np.ndarray:
        """Forecasts for any number of iterations, in one run.

        Args:
            tokens: int8 [n_iterations, n_sequences, n_positions, token_bytes], n_iterations a
                multiple of the package's `iterations`.

        Returns:
            int16 [n_iterations, n_sequences, forecast_elements].

        Raises:
            ValueError: ``tokens`` has another shape or dtype.
            AcceleratorError: the run ended with an error.
        """


def to_beats(rows: np.ndarray) -> np.ndarray:
    """Rows [n, row] of numbers to beats uint8 [n * ceil(row bytes / 16), 16], padded with zeros."""
    data = np.ascontiguousarray(rows).view(np.uint8)
    n, row = data.shape
    padded = np.zeros((n, -(-row // BEAT_BYTES) * BEAT_BYTES), np.uint8)
    padded[:, :row] = data
    return padded.reshape(-1, BEAT_BYTES)


def check_tokens(tokens: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The tokens as an array.

    Args:
        tokens: int8 [n_iterations, n_sequences, n_positions, token_bytes].
        shape: all but the first of these.

    Raises:
        ValueError: ``tokens`` has another shape or dtype.
    """
    tokens = np.asarray(tokens)
    if tokens.dtype != np.int8 or tokens.ndim != 4 or tokens.shape[1:] != shape:
        expected = ", ".join(map(str, shape))
        raise ValueError(
            f"tokens: expected int8 [n_iterations, {expected}], "
            f"found {tokens.dtype} {list(tokens.shape)}"
        )
    return tokens


@dataclass(frozen=True)
class StreamShape:
    """Sizes in a package's header that say what the streams of a run carry."""

    n_sequences: int
    iterations: int
    n_positions: int
    token_bytes: int
    forecast_elements: int

    @classmethod
    def of_header(cls, package: bytes) -> StreamShape:
        """From a package that has been loaded: the header is taken to be good."""
        word = int.from_bytes(package[: isa.HEADER_BYTES], "little")
        fields = {f.name: (word >> f.lsb) & f.maximum for f in isa.HEADER.fields}
        return cls(**{name: fields[name] for name in cls.__dataclass_fields__})

    def check(self, tokens: np.ndarray) -> np.ndarray:
        """The tokens of a run.

        Args:
            tokens: int8 [n_iterations, n_sequences, n_positions, token_bytes], n_iterations a
                multiple of `iterations`.

        Raises:
            ValueError: ``tokens`` has another shape or dtype.
        """
        tokens = check_tokens(tokens, (self.n_sequences, self.n_positions, self.token_bytes))
        n_iterations = len(tokens)
        if n_iterations == 0 or n_iterations % self.iterations:
            raise ValueError(
                f"tokens: expected a multiple of {self.iterations} iterations, found {n_iterations}"
            )
        return tokens

    def beats(self, tokens: np.ndarray) -> np.ndarray:
        """The beats of a run, uint8 [n, 16]; `tokens` as `check` wants them."""
        return to_beats(self.check(tokens).reshape(-1, self.token_bytes))

    def forecasts(self, beats: np.ndarray) -> np.ndarray:
        """int16 [n_iterations, n_sequences, forecast_elements] of beats uint8 [n, 16]."""
        row = -(-2 * self.forecast_elements // BEAT_BYTES) * BEAT_BYTES
        rows = beats.reshape(-1, self.n_sequences, row).view("<i2")
        return rows[..., : self.forecast_elements]
