"""Windows of radio frames as arrays in memory: a folder with train.npz, val.npz and test.npz.

Each holds `x` [M, L, Din], M windows of frames, and `y` [M, 2], the position at the last frame of
each; float16, float32 or float64, the same L and Din in all three. The files are untrusted: what
they may unpack to is limited (`model.archive_limits`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.archive_limits import check_archive
from model.data.csv_series import Digest, Standardizer, add_array
from model.data.errors import DataError
from model.data.frames import FrameSplits, check_values

SPLITS = ("train", "val", "test")


class NpzWindows:
    """The windows of one file."""

    def __init__(self, path: Path) -> None:
        """Raises: DataError (not such an archive, shape, type, or values that are not finite)."""
        try:
            check_archive(path)
            with np.load(path, allow_pickle=False) as file:
                self._x, self._y = (file[key] for key in ("x", "y"))
        except FileNotFoundError:
            raise DataError(f"{path}: not there") from None
        except Exception as error:  # a damaged archive raises a dozen types
            raise DataError(f"{path}: not an .npz with arrays x and y: {error}") from None
        for key, array, ndim in (("x", self._x, 3), ("y", self._y, 2)):
            found = f"{path}: {key}: found {array.dtype} {list(array.shape)}"
            if array.dtype.kind != "f" or array.ndim != ndim or array.size == 0:
                shape = "[M, L, Din]" if key == "x" else "[M, 2]"
                raise DataError(f"{found}, expected floating point numbers {shape}")
            check_values(array, f"{path}: {key}")
        if self._y.shape != (len(self._x), 2):
            raise DataError(
                f"{path}: y: found shape {list(self._y.shape)}, expected [{len(self._x)}, 2]"
            )
        self._stem = path.stem

    @property
    def seq_len(self) -> int:
        """L."""
        return self._x.shape[1]

    @property
    def num_features(self) -> int:
        """Din."""
        return self._x.shape[2]

    def __len__(self) -> int:
        return len(self._x)

    def batch(self, indices: np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """The named windows: frames [B, L, Din] and positions [B, 2], float32 copies."""
        return tuple(np.array(a[indices], np.float32, order="C") for a in (self._x, self._y))

    def name(self, index: int) -> str:
        """FILE:ROW of a window."""
        return f"{self._stem}:{index}"

    def update(self, digest: Digest) -> None:
        """Adds all arrays to the fingerprint of a data set."""
        for array in (self._x, self._y):
            add_array(digest, array)

    def statistics(self) -> tuple[Standardizer, Standardizer]:
        """Of all frames and of all positions."""
        frames = self._x.reshape(-1, self.num_features).astype(np.float64)
        return Standardizer.fit(frames), Standardizer.fit(self._y.astype(np.float64))


def load_npz_windows(folder: str | Path) -> FrameSplits:
    """Reads the three files of a folder. Raises: DataError, naming the file and the array."""
    folder = Path(folder)
    train, val, test = (NpzWindows(folder / f"{split}.npz") for split in SPLITS)
    for split, windows in (("val", val), ("test", test)):
        found, expected = ([w.seq_len, w.num_features] for w in (windows, train))
        if found != expected:
            raise DataError(
                f"{folder / split}.npz: x: found windows {found}, expected {expected} as in "
                "train.npz"
            )
    return FrameSplits(folder.name, *train.statistics(), train, val, test)
