"""Files that appear complete or not at all."""

import os
import stat

import numpy as np
import pytest

from model.atomic_write import atomic_write


def test_the_file_appears_at_the_end(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(b"older")
    with atomic_write(path) as file:
        file.write(b"newer")
        assert path.read_bytes() == b"older"
        file.seek(0)
        assert file.read() == b"newer"
    assert path.read_bytes() == b"newer"
    assert [p.name for p in tmp_path.iterdir()] == ["data.bin"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_numpy_writes_into_it(tmp_path):
    with atomic_write(str(tmp_path / "x.npz")) as file:
        np.savez(file, x=np.arange(3))
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("where", ["block", "rename"])
def test_an_error_leaves_what_was_there(tmp_path, monkeypatch, where):
    path = tmp_path / "data.bin"
    path.write_bytes(b"older")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    if where == "rename":
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"), atomic_write(path) as file:
        file.write(b"half")
        if where == "block":
            fail()
    assert path.read_bytes() == b"older"
    assert [p.name for p in tmp_path.iterdir()] == ["data.bin"]


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "none" / "data.bin"):
        pass
