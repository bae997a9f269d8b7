"""The data sets of radio frames: `synthetic` by its name, and any other by its folder."""

from __future__ import annotations

from pathlib import Path

from model.data.errors import DataError
from model.data.frames import FrameSplits
from model.data.frames_lazy import load_recordings
from model.data.npz_xy import SPLITS, load_npz_windows
from model.data.synthetic_frames import STANDARD_FOLDER, standard_recordings


def frame_files(path: str | Path) -> list[Path]:
    """The files of the folder `path` that `load_frames` may read; none where there is no folder."""
    folder = STANDARD_FOLDER if str(path) == "synthetic" else Path(path)
    arrays = [folder / f"{split}.npz" for split in SPLITS]
    return [*folder.glob("*.json"), *folder.glob("*.npy"), *filter(Path.exists, arrays)]


def load_frames(path: str | Path, seq_len: int) -> FrameSplits:
    """Opens the folder `path`, of recordings (`frames_lazy`) or of arrays of windows (`npz_xy`).

    The name 'synthetic' stands for recordings that are drawn (`synthetic_frames`). `seq_len` is the
    length of the windows cut from recordings; windows of an array have their own.
    Raises: DataError (neither of the two, or bad content), OSError.
    """
    path = standard_recordings() if str(path) == "synthetic" else Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: expected a folder of recordings or of train, val and test.npz")
    if (path / "train.npz").exists():
        return load_npz_windows(path)
    return load_recordings(path, seq_len)
