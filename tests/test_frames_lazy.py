"""Recordings on disk: windows, statistics of the training set alone, and damaged files."""

import json
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data import DataError, frames_lazy
from model.data.frame_datasets import load_frames
from model.data.frames_lazy import LazyWindows, load_recordings, read_recording, statistics

LENGTHS = {"a": ("train", 9), "b": ("train", 6), "c": ("val", 5), "d": ("test", 7)}
FEATURES = ["x", "y", "z"]


def write(folder, name, split, frames, positions, **fields):
    np.save(folder / f"{name}.frames.npy", frames)
    np.save(folder / f"{name}.positions.npy", positions)
    metadata = {"split": split, "features": FEATURES, "interval_s": 0.1, **fields}
    (folder / f"{name}.json").write_text(json.dumps(metadata))


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, (split, length) in LENGTHS.items():
        frames = rng.normal(100, 3, (length, 3)).astype(np.float32)
        write(tmp_path, name, split, frames, rng.normal(size=(length, 2)))
    return tmp_path


def frames_of(folder, name):
    return np.load(folder / f"{name}.frames.npy")


def test_windows_are_those_of_each_recording(folder):
    splits = load_frames(folder, 4)
    assert [len(w) for w in (splits.train, splits.val, splits.test)] == [6 + 3, 2, 4]
    x, y = splits.train.batch(slice(None))
    assert x.dtype == y.dtype == np.float32 and x.shape == (9, 4, 3) and y.shape == (9, 2)
    k = 0
    for name, starts in (("a", 6), ("b", 3)):
        positions = np.load(folder / f"{name}.positions.npy")
        for start in range(starts):
            assert np.array_equal(x[k], frames_of(folder, name)[start : start + 4])
            assert np.array_equal(y[k], positions[start + 3].astype(np.float32))
            assert splits.train.name(k) == f"{name}:{start + 3}"
            k += 1
    part, _ = splits.train.batch(np.array([7, 0, 7]))
    assert np.array_equal(part, x[[7, 0, 7]])
    with pytest.raises(IndexError):
        splits.train.batch(np.array([9]))


def test_statistics_are_those_of_the_training_recordings_alone(folder):
    splits = load_recordings(folder, 4)
    rows = np.concatenate([frames_of(folder, "a"), frames_of(folder, "b")]).astype(np.float64)
    np.testing.assert_allclose(splits.frames.mean, rows.mean(0))
    np.testing.assert_allclose(splits.frames.std, rows.std(0))
    for name in ("c", "d"):
        np.save(folder / f"{name}.frames.npy", 1000 * frames_of(folder, name))
    again = load_recordings(folder, 4)
    assert np.array_equal(again.frames.mean, splits.frames.mean)
    assert np.array_equal(again.positions.std, splits.positions.std)


@given(chunk=st.integers(1, 40), offset=st.sampled_from([0.0, 1e6]), seed=st.integers(0, 99))
def test_statistics_by_chunks(tmp_path_factory, chunk, offset, seed):
    folder = tmp_path_factory.mktemp("chunks")
    rng = np.random.default_rng(seed)
    rows = rng.normal(offset, 1.0, (int(rng.integers(1, 40)), 3))
    rows[:, 1] = 7.1
    write(folder, "a", "train", rows, rows[:, :2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames_lazy, "CHUNK_FRAMES", chunk)
        found, _ = statistics([read_recording(folder / "a.json")])
    np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-12)
    if len(rows) > 1:
        np.testing.assert_allclose(found.std, [rows[:, 0].std(), 1, rows[:, 2].std()], rtol=1e-6)
    assert found.apply(rows)[:, 1].tolist() == [0] * len(rows)


def test_arrays_are_mapped_and_few_are_open(tmp_path, monkeypatch):
    monkeypatch.setattr(frames_lazy, "OPEN_RECORDINGS", 4)
    for i in range(30):
        split = ("train", "val", "test")[i % 3]
        write(tmp_path, f"r{i:02}", split, np.ones((5, 3)), np.ones((5, 2)))
    train = load_recordings(tmp_path, 2).train
    before = len(os.listdir("/proc/self/fd"))
    train.batch(slice(None))
    assert len(os.listdir("/proc/self/fd")) <= before + 8
    frames, _ = train._arrays(0)
    assert isinstance(frames, np.memmap) and not frames.flags.writeable


def test_only_what_a_window_needs_is_read(folder, monkeypatch):
    """A frame that is not finite is found by the windows that hold it."""
    broken = frames_of(folder, "d")
    broken[6, 1] = np.nan
    np.save(folder / "d.frames.npy", broken)
    test = load_recordings(folder, 4).test
    test.batch(slice(0, 3))
    monkeypatch.setattr(frames_lazy, "CHUNK_FRAMES", 4)
    with pytest.raises(DataError, match=r"d\.frames\.npy: found nan at \[6, 1\], expected finite"):
        test.batch(slice(3, 4))


def damage(**fields):
    def change(folder):
        path = folder / "c.json"
        metadata = json.loads(path.read_text()) | fields
        path.write_text(json.dumps({k: v for k, v in metadata.items() if v is not None}))

    return change


def save(name, array):
    return lambda folder: np.save(folder / name, array)


def pickled(folder):
    np.save(folder / "c.frames.npy", np.array([[{}] * 3] * 5, object), allow_pickle=True)


def truncated(folder):
    path = folder / "c.frames.npy"
    path.write_bytes(path.read_bytes()[:-1])


def huge(folder):
    """A header that promises more than there is memory for."""
    path = folder / "c.frames.npy"
    path.write_bytes(
        path.read_bytes().replace(b"(5, 3), }    ", b"(9" + b"9" * 9 + b", 3), }")[:500]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage(split="training"), r'c.json: split: found "training", expected train or val or'),
        (damage(split=None), r"c.json: split: found nothing"),
        (damage(features=[]), r"c.json: features: found \[\], expected a list of different names"),
        (damage(features=["x", "x", "y"]), r"c.json: features: found .*expected a list of diff"),
        (damage(features=["x", 3, "y"]), r"c.json: features: found"),
        (damage(features=["x", "y", "w"]), r"c.json: features: found .* as in a.json"),
        (
            damage(features=["x", "y"]),
            r"c.frames.npy: found float32 \[5, 3\], expected shape .*2\]",
        ),
        (damage(interval_s=0), r"c.json: interval_s: found 0, expected seconds"),
        (damage(interval_s=True), r"c.json: interval_s: found true"),
        (damage(interval_s=0.2), r"c.json: interval_s: found 0.2, expected 0.1 as in a.json"),
        (lambda f: (f / "c.json").write_text("{"), r"c.json: not valid JSON"),
        (lambda f: (f / "c.json").write_bytes(b"\xff{}"), r"c.json: not valid JSON"),
        (lambda f: (f / "c.json").write_text("[" * 100_000), r"c.json: not valid JSON"),
        (lambda f: (f / "c.json").write_text("[]"), r"c.json: found list, expected an object"),
        (lambda f: (f / "c.frames.npy").unlink(), r"c.frames.npy: not there"),
        (lambda f: (f / "c.positions.npy").unlink(), r"c.positions.npy: not there"),
        (lambda f: (f / "c.frames.npy").write_bytes(b""), r"c.frames.npy: not a .npy array"),
        (lambda f: (f / "c.frames.npy").write_bytes(b"PK\3\4junk"), r"c.frames.npy: not a .npy"),
        (pickled, r"c.frames.npy: not a .npy array: Array can't be memory-mapped"),
        (truncated, r"c.frames.npy: not a .npy array"),
        (huge, r"c.frames.npy: not a .npy array"),
        (save("c.frames.npy", np.zeros((5, 3), int)), r"found int64 \[5, 3\], expected float16"),
        (save("c.frames.npy", np.zeros((5, 3), ">f4")), r"found >f4 .*, expected float16"),
        (save("c.frames.npy", np.zeros(5)), r"c.frames.npy: found float64 \[5\], expected shape"),
        (save("c.frames.npy", np.zeros(())), r"c.frames.npy: found float64 \[\], expected shape"),
        (save("c.frames.npy", np.zeros((0, 3))), r"c.frames.npy: "),
        (save("c.positions.npy", np.zeros((4, 2))), r"c.positions.npy: found .*\[5, 2\]"),
        (save("c.positions.npy", np.zeros((5, 3))), r"c.positions.npy: found .*\[5, 2\]"),
        (
            save("a.frames.npy", np.full((9, 3), np.inf)),
            r"a.frames.npy: found inf at \[0, 0\]",
        ),
        (damage(split="train"), r"found no recording whose split is 'val'"),
    ],
)
def test_damaged_recordings(folder, change, message):
    change(folder)
    with pytest.raises(DataError, match=message):
        load_frames(folder, 4)


def test_folders_without_recordings(tmp_path):
    with pytest.raises(DataError, match=r"found no recording, expected NAME\.json beside"):
        load_frames(tmp_path, 4)
    with pytest.raises(DataError, match="nowhere: expected a folder of recordings or of train"):
        load_frames(tmp_path / "nowhere", 4)


def test_windows_longer_than_a_recording(folder):
    with pytest.raises(DataError, match="b: found 6 frames, expected at least the 7 of a window"):
        load_frames(folder, 7)
    with pytest.raises(ValueError, match="seq_len: expected at least 1, found 0"):
        LazyWindows([read_recording(folder / "a.json")], 0)
