"""Files and folders that appear complete or not at all."""

import multiprocessing
import os
import resource
import shutil
import stat
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from common.atomic_write import (
    atomic_folder,
    atomic_write,
    require_writable,
    require_writable_folder,
    write_text,
)

NOBODY = 65534


def interrupt_once(monkeypatch, module, name, call):
    """Lets call number `call` of a function be interrupted, as by a signal, before it has done
    anything; the others are as they were."""
    function, calls = getattr(module, name), []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            raise KeyboardInterrupt
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, interrupted)
    return calls


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(value):
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def without_rights():
    """What root may do, nobody may not."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def full_disk(limit):
    """A limit on the size of files stands for the disk."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)


def test_the_file_appears_at_the_end(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(b"older")
    with atomic_write(path) as file:
        file.write(b"newer")
        assert path.read_bytes() == b"older"
        file.seek(0)
        assert file.read() == b"newer"
    assert path.read_bytes() == b"newer"
    assert names(tmp_path) == ["data.bin"]


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
    assert names(tmp_path) == ["data.bin"]


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(b"older")
    with pytest.raises(OSError, match=rf"File too large: '{path}'"), full_disk(1000):
        write_text(path, "x" * 1001)
    assert path.read_bytes() == b"older" and names(tmp_path) == ["data.bin"]


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        write_text(tmp_path / "none" / "data.bin", "")


# --- modes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_and_a_new_folder_have_the_mode_of_the_umask(tmp_path, mask, expected):
    with umask(mask):
        write_text(tmp_path / "file", "")
        with atomic_folder(tmp_path / "folder"):
            pass
    assert mode(tmp_path / "file") == expected
    assert mode(tmp_path / "folder") == 0o777 & ~mask


def test_what_is_replaced_keeps_its_mode(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "file").chmod(0o604)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").chmod(0o705)
    write_text(tmp_path / "file", "new")
    with atomic_folder(tmp_path / "folder"):
        pass
    assert (mode(tmp_path / "file"), mode(tmp_path / "folder")) == (0o604, 0o705)


# --- what is no regular file ---------------------------------------------------------------------


def test_a_device_is_written_to():
    # A terminal: where it lies, no error of this module could put a file in its place.
    terminal, device = os.openpty()
    write_text(os.ttyname(device), "text")
    assert os.read(terminal, 100) == b"text"
    os.close(device)
    os.close(terminal)


def test_a_fifo_is_written_to_also_by_what_seeks(tmp_path):
    fifo, read = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()), daemon=True)
    reader.start()
    with atomic_write(fifo) as file:
        np.savez(file, x=np.arange(3))
    reader.join(timeout=60)
    assert stat.S_ISFIFO(fifo.stat().st_mode) and names(tmp_path) == ["fifo"]
    (tmp_path / "x.npz").write_bytes(read[0])
    with np.load(tmp_path / "x.npz") as arrays:
        assert arrays["x"].tolist() == [0, 1, 2]


def test_an_error_of_a_fifo_names_it(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: fifo.open("rb").close(), daemon=True)
    reader.start()
    with pytest.raises(BrokenPipeError, match=rf"Broken pipe: '{fifo}'"):
        write_text(fifo, "x" * 1_000_000)
    reader.join(timeout=60)


def test_the_name_of_a_descriptor_is_written_to():
    # Its link leads to a name such as pipe:[123], which is in no folder.
    read, write = os.pipe()
    write_text(f"/dev/fd/{write}", "text")
    os.close(write)
    with open(read, "rb") as file:
        assert file.read() == b"text"


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_a_link(tmp_path, exists):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "file", tmp_path / "link"
    if exists:
        target.write_text("older")
    link.symlink_to("folder/file")
    write_text(link, "newer")
    assert link.is_symlink() and target.read_text() == "newer"
    assert names(tmp_path) == ["folder", "link"] and names(tmp_path / "folder") == ["file"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "old").touch()
    (tmp_path / "link").symlink_to("there")
    with atomic_folder(tmp_path / "link") as folder:
        write_text(folder / "new", "")
    assert (tmp_path / "link").is_symlink() and names(tmp_path / "there") == ["new"]
    assert names(tmp_path) == ["link", "there"]


# --- what cannot be written ----------------------------------------------------------------------


def test_it_is_known_before_anything_is_computed(tmp_path):
    tmp_path.chmod(0o755)
    for parent in (tmp_path.parent, tmp_path.parent.parent):
        parent.chmod(parent.stat().st_mode | 0o055)
    anybody = tmp_path / "anybody"
    anybody.mkdir()
    anybody.chmod(0o777)
    (anybody / "read_only").touch(0o444)
    with without_rights():
        for path in (tmp_path / "new", anybody / "read_only"):
            with pytest.raises(PermissionError, match=rf"Permission denied: '{path}'"):
                require_writable(path)
            with pytest.raises(PermissionError), atomic_write(path):
                pytest.fail("the block is entered")
        with pytest.raises(PermissionError, match=rf"Permission denied: '{tmp_path}'"):
            require_writable_folder(tmp_path)
    with pytest.raises(IsADirectoryError, match=rf"'{tmp_path}'"):
        require_writable(tmp_path)
    with pytest.raises(NotADirectoryError):
        require_writable(anybody / "read_only" / "file")
    with pytest.raises(OSError, match="File name too long"):
        require_writable(tmp_path / ("n" * 256))
    assert names(tmp_path) == ["anybody"] and names(anybody) == ["read_only"]


def test_the_longest_name(tmp_path):
    path = tmp_path / ("ä" * 127)
    write_text(path, "text")
    assert names(tmp_path) == [path.name]


# --- several at once -----------------------------------------------------------------------------


def _write_many(path, letter):
    for _ in range(200):
        write_text(path, letter * 100_000)


def _write_folders(path, letter):
    for _ in range(50):
        with atomic_folder(path) as folder:
            write_text(folder / letter, letter)


@pytest.mark.parametrize("write", [_write_many, _write_folders])
def test_processes_that_write_the_same_do_not_mix(tmp_path, write):
    target = tmp_path / "target"
    write(target, "a")
    processes = [
        multiprocessing.get_context("fork").Process(target=write, args=(target, letter))
        for letter in "abc"
    ]
    for process in processes:
        process.start()
    while write is _write_many and any(process.is_alive() for process in processes):
        content = target.read_text()
        assert len(content) == 100_000 and len(set(content)) == 1
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert names(tmp_path) == ["target"]
    assert write is _write_many or len(names(target)) == 1


# --- folders -------------------------------------------------------------------------------------


def test_a_folder_appears_at_the_end_in_the_place_of_the_old(tmp_path):
    folder = tmp_path / "above" / "folder"
    with atomic_folder(folder) as new:
        write_text(new / "first", "1")
        assert not folder.exists()
    with atomic_folder(folder) as new:
        write_text(new / "second", "2")
        assert names(folder) == ["first"]
    assert names(folder) == ["second"] and names(folder.parent) == ["folder"]


def test_an_error_leaves_the_old_folder_and_names_the_file_in_its_place(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").touch()
    with (
        pytest.raises(OSError, match=rf"File too large: '{folder}/new'"),
        full_disk(10),
        atomic_folder(folder) as new,
    ):
        write_text(new / "new", "x" * 11)
    assert names(folder) == ["old"] and names(tmp_path) == ["folder"]


def test_a_folder_that_cannot_take_the_name_leaves_the_old(tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").touch()
    rename = Path.rename

    def fail(self, target):
        if (self / "new").exists():
            raise OSError("no rename")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="no rename"), atomic_folder(folder) as new:
        write_text(new / "new", "")
    assert names(folder) == ["old"] and names(tmp_path) == ["folder"]


@pytest.mark.parametrize("call", [1, 2])
def test_a_signal_that_comes_while_a_file_is_tidied_leaves_nothing(tmp_path, monkeypatch, call):
    """Of the probe, before anything is written, and of the temporary file."""
    calls = interrupt_once(monkeypatch, Path, "unlink", call)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a", "new")
    assert len(calls) == call + 1
    assert names(tmp_path) == ["a"][: call - 1]


def test_a_signal_that_comes_after_an_error_leaves_nothing(tmp_path, monkeypatch):
    """The temporary file is there when the error comes: nothing has taken its place."""
    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(os, "replace", lambda *paths: os.stat(tmp_path / "none"))
    interrupt_once(monkeypatch, Path, "unlink", 2)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a", "new")
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


def test_a_signal_that_comes_while_a_folder_is_tidied_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    interrupt_once(monkeypatch, shutil, "rmtree", 1)
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "a") as folder:
        (folder / "b").touch()
        raise ValueError
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == []
