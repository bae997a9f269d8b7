"""Radio frames with positions: what every data set of them gives, and how one is opened.

Symbols: T frames of a recording, Din features of a frame, L frames of a window (seq_len), B batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from model.data.csv_series import DataError, Standardizer


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


@dataclass(frozen=True)
class FrameSplits:
    """The three window sets of a data set, in its units, and the statistics of the training set."""

    name: str
    frames: Standardizer  # [Din]
    positions: Standardizer  # [2]
    train: FrameWindows
    val: FrameWindows
    test: FrameWindows


def load_frames(path: str | Path, seq_len: int) -> FrameSplits:
    """Opens the folder `path`, of recordings (`frames_lazy`) or of arrays of windows (`npz_xy`).

    The name 'synthetic' stands for recordings that are drawn (`synthetic_frames`). `seq_len` is the
    length of the windows cut from recordings; windows of an array have their own.
    Raises: DataError (neither of the two, or bad content), OSError.
    """
    # Both need this module's types.
    from model.data.frames_lazy import load_recordings
    from model.data.npz_xy import load_npz_windows
    from model.data.synthetic_frames import standard_recordings

    path = standard_recordings() if str(path) == "synthetic" else Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: expected a folder of recordings or of train, val and test.npz")
    if (path / "train.npz").exists():
        return load_npz_windows(path)
    return load_recordings(path, seq_len)


def check_finite(values: np.ndarray, what: str, first: int = 0) -> None:
    """Raises DataError, naming the first place that is not finite; row 0 counts as `first`."""
    finite = np.isfinite(values)
    if not finite.all():
        place = np.argwhere(~finite)[0]
        value = values[tuple(place)]
        place[0] += first
        raise DataError(f"{what}: found {value} at {place.tolist()}, expected finite numbers")
