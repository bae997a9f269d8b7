"""Windows as arrays: what is read, and damaged files."""

import numpy as np
import pytest

from model.data import DataError
from model.data.frame_datasets import load_frames

SIZES = {"train": 6, "val": 3, "test": 4}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        np.savez(
            tmp_path / f"{name}.npz", x=rng.normal(5, 2, (size, 4, 3)), y=rng.normal(size=(size, 2))
        )
    return tmp_path


def test_windows_and_statistics(folder):
    splits = load_frames(folder, seq_len=99)
    stored = np.load(folder / "train.npz")
    assert [len(w) for w in (splits.train, splits.val, splits.test)] == list(SIZES.values())
    assert (splits.train.seq_len, splits.train.num_features) == (4, 3)
    x, y = splits.train.batch(np.array([5, 0]))
    assert x.dtype == y.dtype == np.float32
    assert np.array_equal(x, stored["x"][[5, 0]].astype(np.float32))
    assert np.array_equal(y, stored["y"][[5, 0]].astype(np.float32))
    np.testing.assert_allclose(splits.frames.mean, stored["x"].mean((0, 1)))
    np.testing.assert_allclose(splits.positions.std, stored["y"].std(0))
    assert splits.test.name(3) == "test:3"


def save(**arrays):
    def change(folder):
        good = dict(np.load(folder / "val.npz"))
        np.savez(folder / "val.npz", **{k: v for k, v in (good | arrays).items() if v is not None})

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "val.npz").unlink(), r"val.npz: not there"),
        (lambda f: (f / "val.npz").write_bytes(b"no zip"), r"val.npz: not an .npz"),
        (lambda f: np.save((f / "val.npz").open("wb"), np.ones(3)), r"val.npz: not an .npz"),
        (save(y=None), r"val.npz: not an .npz with arrays x and y"),
        (save(x=np.array([{}])), r"val.npz: not an .npz .*allow_pickle"),
        (save(x=np.ones((3, 4))), r"val.npz: x: found float64 \[3, 4\], expected .* \[M, L, Din\]"),
        (save(x=np.ones((3, 4, 3), int)), r"val.npz: x: found int64"),
        (save(x=np.ones((0, 4, 3))), r"val.npz: x: found float64 \[0, 4, 3\]"),
        (save(x=np.full((3, 4, 3), np.nan)), r"val.npz: x: found nan at \[0, 0, 0\]"),
        (
            save(x=np.full((3, 4, 3), 1e300)),
            r"val.npz: x: found 1e\+300 at \[0, 0, 0\], .* up to 1e\+18",
        ),
        (save(y=np.ones((4, 2))), r"val.npz: y: found shape \[4, 2\], expected \[3, 2\]"),
        (save(y=np.ones((3, 3))), r"val.npz: y: found shape \[3, 3\], expected \[3, 2\]"),
        (save(x=np.ones((3, 5, 3))), r"val.npz: x: found windows \[5, 3\], expected \[4, 3\]"),
    ],
)
def test_damaged_files(folder, change, message):
    change(folder)
    with pytest.raises(DataError, match=message):
        load_frames(folder, 4)
