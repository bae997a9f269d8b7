"""Archives that unpack to much more than they are, refused before they are unpacked."""

import zipfile

import numpy as np
import pytest

from model import archive_limits
from model.archive_limits import ALWAYS_ALLOWED_BYTES, MAX_RATIO, check_archive
from model.data import DataError
from model.data.npz_xy import NpzWindows
from model.io import CheckpointError, InputError, load_checkpoint, load_npz_input

READERS = [
    (".npz", load_npz_input, InputError),
    (".npz", load_checkpoint, CheckpointError),
    (".pt", load_checkpoint, CheckpointError),
    (".npz", NpzWindows, DataError),
]


def claims(path, sizes):
    """An archive whose members say that they unpack to so many bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for i, size in enumerate(sizes):
            archive.writestr(f"{i}.npy", b"x")
            archive.getinfo(f"{i}.npy").file_size = size
    return path


@pytest.fixture(autouse=True)
def nothing_is_unpacked(monkeypatch):
    def unpack(*_, **__):
        pytest.fail("a member was unpacked")

    monkeypatch.setattr(zipfile.ZipExtFile, "read", unpack)


@pytest.mark.parametrize(("suffix", "read", "error"), READERS)
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            [3 << 30, 3 << 30],
            "unpacks to 6,442,450,944 bytes, expected at most 268,435,456, which are 100 times",
        ),
        ([1] * 12, "found 12 members, expected at most 11"),
    ],
)
def test_every_reader_refuses_at_once(tmp_path, monkeypatch, suffix, read, error, sizes, message):
    monkeypatch.setattr(archive_limits, "MAX_MEMBERS", 11)
    path = claims(tmp_path / f"x{suffix}", sizes)
    with pytest.raises(error, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_file_may_unpack_to_a_multiple_of_its_bytes(tmp_path):
    """Or to what is allowed however small it is; a byte more is too much."""
    path = claims(tmp_path / "x.npz", [ALWAYS_ALLOWED_BYTES])
    check_archive(path)
    with pytest.raises(ValueError, match="unpacks to"):
        check_archive(claims(path, [ALWAYS_ALLOWED_BYTES, 1]))
    with open(path, "r+b") as file:  # zip files may begin with anything
        content = file.read()
        file.seek(0)
        file.truncate()
        file.seek(ALWAYS_ALLOWED_BYTES // MAX_RATIO + 1)
        file.write(content)
    check_archive(path)


def test_ordinary_archives_pass(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", x=np.zeros((100, 100, 100), np.float32))
    check_archive(tmp_path / "x.npz")
