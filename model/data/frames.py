"""Radio frames with positions: what every data set of them gives, and the check of its values.

Symbols: T frames of a recording, Din features of a frame, L frames of a window (seq_len), B batch.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from model.data.csv_series import Digest, Standardizer
from model.data.errors import DataError

LARGEST = 1e18  # of features and positions: float32 holds its square


class FrameWindows(Protocol):
    """Windows of L frames, each with the position at its last."""

    @property
    def seq_len(self) -> int:
        """L."""

    @property
    def num_features(self) -> int:
        """Din."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """The named windows: frames [B, L, Din] and positions [B, 2], float32 copies.

        Raises: DataError (a value that is not finite).
        """

    def name(self, index: int) -> str:
        """Where a window comes from, for tables."""

    def update(self, digest: Digest) -> None:
        """Adds all frames and positions to the fingerprint of a data set. Raises: DataError."""


@dataclass(frozen=True)
class FrameSplits:
    """The three window sets of a data set, in its units, and the statistics of the training set."""

    name: str
    frames: Standardizer  # [Din]
    positions: Standardizer  # [2]
    train: FrameWindows
    val: FrameWindows
    test: FrameWindows

    @functools.cached_property
    def sha256(self) -> str:
        """Fingerprint of the data, wherever they lie. Reads all of them. Raises: DataError."""
        digest = hashlib.sha256()
        for windows in (self.train, self.val, self.test):
            windows.update(digest)
        return digest.hexdigest()


def check_values(values: np.ndarray, what: str, first: int = 0) -> None:
    """Raises DataError, naming the first place that is not finite, or too large to be computed
    with; row 0 counts as `first`."""
    usable = np.abs(values) <= LARGEST
    if not usable.all():
        place = np.argwhere(~usable)[0]
        value = values[tuple(place)]
        place[0] += first
        raise DataError(
            f"{what}: found {value} at {place.tolist()}, expected finite numbers up to {LARGEST:g}"
        )
