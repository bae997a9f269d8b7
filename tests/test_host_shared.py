"""Several programs on one board: none gets a forecast of another one's model."""

import functools
import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

import host.accelerator
from host import errors
from host.accelerator import Accelerator
from host.lock import BoardLock
from host.virtual_board import write_overlay
from host.virtual_board.board import Board
from model.args import ModelArgs
from rtl.regs import registers as reg
from tests.compiled_models import SMALL, compile_random
from tests.local_board import LocalDevice
from tests.virtual_boards import keep_pynq_state_in


@pytest.fixture(scope="module", autouse=True)
def pynq_state(tmp_path_factory):
    keep_pynq_state_in(tmp_path_factory.mktemp("pynq"))


@pytest.fixture(scope="module")
def bitfile(tmp_path_factory):
    return write_overlay(tmp_path_factory.mktemp("overlay"))


@pytest.fixture(scope="module")
def models():
    """Two of the same shape."""
    return [compile_random(ModelArgs(**SMALL), build="small", seed=seed) for seed in (0, 1)]


@pytest.fixture
def board():
    board = Board("small", memory_bytes=1 << 20)
    yield board
    board.close()


@pytest.fixture
def open_board(board, bitfile):
    """Another program on the board, at each call."""
    opened = []

    def accelerator(**arguments):
        device = LocalDevice(board)
        device.faked |= arguments.pop("faked", {})
        opened.append(Accelerator(bitfile, device=device, **arguments))
        return opened[-1]

    yield accelerator
    for accelerator in opened:
        accelerator.close()


def check(accelerator, model):
    np.testing.assert_array_equal(accelerator.forecast(model.windows.numpy()), model.forecast())


def test_a_program_that_programs_the_board(open_board, models):
    first = open_board()
    first.load(models[0].package)
    check(first, models[0])
    second = open_board()
    with pytest.raises(errors.OtherProgramError, match="another program has programmed the board"):
        first.forecast(models[0].windows.numpy())
    with pytest.raises(errors.NotLoadedError):
        first.forecast(models[0].windows.numpy())
    second.load(models[1].package)
    check(second, models[1])
    first.load(models[0].package)  # takes the board back
    check(first, models[0])
    with pytest.raises(errors.OtherProgramError):
        second.forecast(models[1].windows.numpy())


def test_a_program_that_loads_a_package_of_the_same_shape(open_board, models):
    first = open_board(watchdog_cycles=5_000)
    first.load(models[0].package)
    job = first.submit(x := models[0].windows.numpy())
    while not job.done():
        pass
    second = open_board(download=False)
    second.load(models[1].package)
    for forecast in (job.wait, job.wait):  # the load might have been before the run
        with pytest.raises(errors.OtherProgramError, match="has loaded a package from 0x7FF"):
            forecast()
    assert first.package is None
    check(second, models[1])
    first.load(models[0].package)
    np.testing.assert_array_equal(first.forecast(x), models[0].forecast())
    assert first._fabric.registers.read(reg.WATCHDOG_CYCLES) == 5_000


def test_nothing_is_started_where_another_program_has_loaded(open_board, models):
    first = open_board()
    first.load(models[0].package)
    second = open_board(download=False)
    second.load(models[1].package)
    job = second.submit(models[1].windows.numpy())
    with pytest.raises(errors.OtherProgramError):
        first.forecast(models[0].windows.numpy())
    np.testing.assert_array_equal(job.wait(), models[1].forecast())


def test_attaching_to_a_board_that_is_not_programmed(open_board):
    with pytest.raises(errors.BoardError, match="the board has not been programmed yet"):
        open_board(download=False)


def test_attaching_to_a_board_at_work(open_board):
    open_board()
    with pytest.raises(errors.OtherProgramError, match="at work for another program"):
        open_board(download=False, faked={0xA000_0000 + reg.CTRL: reg.CTRL_START})


@contextmanager
def another_process_with_the_lock(path):
    code = "import sys, time; from host.lock import *; "
    code += "lock = BoardLock(Path(sys.argv[1])); print(flush=True); time.sleep(60)"
    other = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        other.stdout.readline()
        yield other.pid
    finally:
        other.kill()
        other.communicate()


def test_the_lock_names_the_process_that_has_it(tmp_path):
    path = tmp_path / "lock"
    with (
        another_process_with_the_lock(path) as pid,
        pytest.raises(errors.BoardInUseError, match=rf"in use by process {pid}: .*-c "),
    ):
        BoardLock(path)
    locks = [BoardLock(path), BoardLock(path)]  # however the other one ended
    for lock in locks:
        with another_process_with_the_lock(path):  # which does not get it
            assert path.read_text().startswith(f"process {os.getpid()}: ")
        lock.release()
        lock.release()
    with another_process_with_the_lock(path) as pid:
        assert path.read_text().startswith(f"process {pid}: ")


def test_the_driver_locks_the_board_that_it_runs_on(open_board, monkeypatch, tmp_path):
    path = tmp_path / "lock"
    monkeypatch.setattr(host.accelerator, "is_board", lambda: True)
    monkeypatch.setattr(host.accelerator, "BoardLock", functools.partial(BoardLock, path))
    with another_process_with_the_lock(path), pytest.raises(errors.BoardInUseError):
        open_board()
    with pytest.raises(errors.BoardError, match="not been programmed"):
        open_board(download=False)  # does not keep it
    with another_process_with_the_lock(path) as pid:
        assert path.read_text().startswith(f"process {pid}: ")
    first = open_board()
    assert path.read_text().startswith(f"process {os.getpid()}: ")
    first.close()
    with another_process_with_the_lock(path) as pid:
        assert path.read_text().startswith(f"process {pid}: ")
