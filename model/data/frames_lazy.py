"""Recordings of radio frames, memory-mapped: only the windows that are asked for are read.

A data set is a folder. Each recording NAME in it is three files:

    NAME.json            {"split": "train", "features": ["path_loss_0", ...], "interval_s": 0.1}
    NAME.frames.npy      [T, Din], the features of each frame; float16, float32 or float64
    NAME.positions.npy   [T, 2], where each frame was received, in metres

`split` is train, val or test: whole recordings are held out, because neighbouring windows of one
share most of their frames. The features, and the seconds between two frames, have to be the same in
all recordings. Everything in the folder is untrusted.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.data.csv_series import Digest, Standardizer
from model.data.errors import DataError
from model.data.frames import FrameSplits, check_values

SPLITS = ("train", "val", "test")
FLOATS = ("float16", "float32", "float64")
OPEN_RECORDINGS = 64
"""Recordings that are mapped at a time; each takes a file descriptor for either array."""
CHUNK_FRAMES = 1 << 14


@dataclass(frozen=True)
class Recording:
    """One recording: its files, their metadata and T; the arrays are opened when they are read."""

    path: Path  # folder / NAME
    split: str
    features: tuple[str, ...]
    interval_s: float
    num_frames: int  # T

    def frames(self) -> np.ndarray:
        """[T, Din], mapped. Raises: DataError."""
        return _map(_beside(self.path, ".frames.npy"), (self.num_frames, len(self.features)))

    def positions(self) -> np.ndarray:
        """[T, 2], mapped. Raises: DataError."""
        return _map(_beside(self.path, ".positions.npy"), (self.num_frames, 2))


class LazyWindows:
    """Every window of L frames of some recordings, with the position at its last frame."""

    def __init__(self, recordings: list[Recording], seq_len: int) -> None:
        """Raises: ValueError (seq_len below 1), DataError (a recording is shorter)."""
        if seq_len < 1:
            raise ValueError(f"seq_len: expected at least 1, found {seq_len}")
        for recording in recordings:
            if recording.num_frames < seq_len:
                raise DataError(
                    f"{recording.path}: found {recording.num_frames} frames, expected at least "
                    f"the {seq_len} of a window"
                )
        self.recordings = recordings
        self.seq_len = seq_len
        self._ends = np.cumsum([recording.num_frames - seq_len + 1 for recording in recordings])
        # Mapping an array anew for each window would take longer than reading it.
        self._arrays = functools.lru_cache(OPEN_RECORDINGS)(
            lambda i: (self.recordings[i].frames(), self.recordings[i].positions())
        )

    @property
    def num_features(self) -> int:
        """Din."""
        return len(self.recordings[0].features)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def batch(self, indices: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """The named windows: frames [B, L, Din] and positions [B, 2], float32 copies.

        Raises: IndexError, DataError (a value that is not finite).
        """
        indices = np.arange(len(self))[indices]
        x = np.empty((len(indices), self.seq_len, self.num_features), np.float32)
        y = np.empty((len(indices), 2), np.float32)
        for row, index in enumerate(indices):
            i, start = self._place(index)
            frames, positions = self._arrays(i)
            x[row] = frames[start : start + self.seq_len]
            y[row] = positions[start + self.seq_len - 1]
            # A check of the whole batch could not say where.
            if not (np.isfinite(x[row]).all() and np.isfinite(y[row]).all()):
                _check_recording(self.recordings[i])
        return x, y

    def name(self, index: int) -> str:
        """RECORDING:FRAME of the last frame of a window."""
        i, start = self._place(index)
        return f"{self.recordings[i].path.name}:{start + self.seq_len - 1}"

    def update(self, digest: Digest) -> None:
        """Adds all recordings to the fingerprint of a data set. Raises: DataError."""
        for recording in self.recordings:
            digest.update(f"{recording.features} {recording.interval_s}\n".encode())
            for array in (recording.frames(), recording.positions()):
                digest.update(f"{array.dtype.str} {array.shape}\n".encode())
                for start in range(0, len(array), CHUNK_FRAMES):
                    digest.update(np.ascontiguousarray(array[start : start + CHUNK_FRAMES]))

    def _place(self, index: int) -> tuple[int, int]:
        """Recording and first frame of a window."""
        i = int(np.searchsorted(self._ends, index, side="right"))
        return i, int(index - (self._ends[i - 1] if i else 0))


def load_recordings(folder: str | Path, seq_len: int) -> FrameSplits:
    """Opens a folder of recordings; reads the training recordings once, for their statistics.

    Raises: DataError (naming the file and the field), ValueError (seq_len), OSError.
    """
    folder = Path(folder)
    recordings = [read_recording(path) for path in sorted(folder.glob("*.json"))]
    if not recordings:
        raise DataError(f"{folder}: found no recording, expected NAME.json beside its arrays")
    first = recordings[0]
    for recording in recordings[1:]:
        for name in ("features", "interval_s"):
            found, expected = getattr(recording, name), getattr(first, name)
            if found != expected:
                raise DataError(
                    f"{recording.path}.json: {name}: found {found}, expected {expected} as in "
                    f"{first.path.name}.json"
                )
    windows = {}
    for split in SPLITS:
        chosen = [recording for recording in recordings if recording.split == split]
        if not chosen:
            raise DataError(f"{folder}: found no recording whose split is '{split}'")
        windows[split] = LazyWindows(chosen, seq_len)
    frames, positions = statistics(windows["train"].recordings)
    return FrameSplits(folder.name, frames, positions, *windows.values())


def read_recording(path: Path) -> Recording:
    """The recording of a metadata file. Raises: DataError, OSError."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(fields, dict):
        raise DataError(f"{path}: found {type(fields).__name__}, expected an object")

    def check(name: str, fits: bool, expected: str) -> None:
        if not fits:
            found = json.dumps(fields[name])[:80] if name in fields else "nothing"
            raise DataError(f"{path}: {name}: found {found}, expected {expected}")

    split, features = fields.get("split"), fields.get("features")
    interval_s = fields.get("interval_s")
    check("split", split in SPLITS, " or ".join(SPLITS))
    check(
        "features",
        isinstance(features, list)
        and len(features) > 0
        and all(isinstance(name, str) and name for name in features)
        and len(set(features)) == len(features),
        "a list of different names",
    )
    check(
        "interval_s",
        type(interval_s) in (int, float) and 0 < interval_s < math.inf,
        "seconds between two frames, above 0",
    )
    base = path.with_suffix("")
    frames = _map(_beside(base, ".frames.npy"), (None, len(features)))
    recording = Recording(base, split, tuple(features), float(interval_s), len(frames))
    recording.positions()
    return recording


def statistics(recordings: list[Recording]) -> tuple[Standardizer, Standardizer]:
    """Mean and standard deviation of the frames and of the positions, in one pass by chunks.

    A constant feature gets the deviation 1. Raises: DataError (a value that is not finite).
    """
    totals = [_Moments(), _Moments()]
    for recording in recordings:
        for chunk in _chunks(recording):
            for total, values in zip(totals, chunk, strict=True):
                total.add(values)
    return totals[0].standardizer(), totals[1].standardizer()


class _Moments:
    """Count, mean and sum of squared deviations of rows, merged chunk by chunk (Chan, Golub and
    LeVeque, 1979): sums of squares alone would cancel where the mean is large."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = 0.0
        self.low, self.high = math.inf, -math.inf

    def add(self, rows: np.ndarray) -> None:
        mean = rows.mean(axis=0)
        delta = mean - self.mean
        count = self.count + len(rows)
        self.squares = (
            self.squares
            + np.square(rows - mean).sum(axis=0)
            + np.square(delta) * (self.count * len(rows) / count)
        )
        self.mean = self.mean + delta * (len(rows) / count)
        self.count = count
        self.low = np.minimum(self.low, rows.min(axis=0))
        self.high = np.maximum(self.high, rows.max(axis=0))

    def standardizer(self) -> Standardizer:
        constant = self.low == self.high
        deviation = np.sqrt(self.squares / self.count)
        return Standardizer(
            np.where(constant, self.low, self.mean), np.where(constant, 1.0, deviation)
        )


def _chunks(recording: Recording) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames and positions, some at a time, as float64. Raises: DataError (not finite)."""
    arrays = (recording.frames(), recording.positions())
    for start in range(0, recording.num_frames, CHUNK_FRAMES):
        parts = [array[start : start + CHUNK_FRAMES].astype(np.float64) for array in arrays]
        for part, kind in zip(parts, ("frames", "positions"), strict=True):
            check_values(part, f"{recording.path}.{kind}.npy", start)
        yield parts[0], parts[1]


def _check_recording(recording: Recording) -> None:
    for _ in _chunks(recording):
        pass


def _beside(base: Path, ending: str) -> Path:
    return base.with_name(base.name + ending)


def _map(path: Path, shape: tuple[int | None, int]) -> np.ndarray:
    """A [T, n] array of `shape` (any T >= 1 for None), mapped. Raises: DataError."""
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise DataError(f"{path}: not there, but its metadata are") from None
    except Exception as error:  # a damaged header raises a dozen types
        raise DataError(f"{path}: not a .npy array: {error}") from None
    found = f"{array.dtype} {list(array.shape)}"
    expected = f"[{shape[0] or 'T >= 1'}, {shape[1]}]"
    if array.dtype.name not in FLOATS or not array.dtype.isnative:
        raise DataError(f"{path}: found {found}, expected {', '.join(FLOATS)} {expected}")
    fits = array.ndim == 2 and array.shape[1] == shape[1]
    if not fits or array.shape[0] < 1 or array.shape[0] != (shape[0] or array.shape[0]):
        raise DataError(f"{path}: found {found}, expected shape {expected}")
    return array
