"""The virtual board's server while clients attack it: its memory, and what others get of it.

`pytest -s` shows the table.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

import isa
from golden.integer_model import IntegerModel
from golden.random_programs import random_package
from host.remote_device import BoardDevice
from host.virtual_board import write_overlay
from host.virtual_board.processor import CRL_APB
from tests.attacks import ATTACKS
from tests.virtual_boards import RawClient, keep_pynq_state_in, wait_until

pytestmark = pytest.mark.filterwarnings("ignore")  # pynq's own
MIB = 1 << 20
MEMORY_MIB = 64
CEILING_MIB = MEMORY_MIB + 512  # host/virtual_board/README.md
# All attacks together make a minute.
SECONDS = 3.5
TOGETHER_SECONDS = 25.0
# What the slowest access may take, on a machine that has other work too.
SLOWEST_SECONDS = 10.0


class Server:
    """`python -m host.virtual_board`, in a process of its own, as a context manager."""

    def __init__(self) -> None:
        arguments = ("--build", "small", "--port", "0", "--memory", str(MEMORY_MIB))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "host.virtual_board", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._process.stdout.readline().split(":")[1].split(";")[0])
        self._folder = Path(f"/proc/{self._process.pid}")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.communicate()

    def forget_peak(self) -> None:
        (self._folder / "clear_refs").write_text("5")

    def peak(self) -> float:
        """The most resident memory since `forget_peak`, in MiB."""
        status = dict(
            line.split(":", 1) for line in (self._folder / "status").read_text().splitlines()
        )
        return int(status["VmHWM"].split()[0]) / 1024

    def descriptors(self) -> int:
        return len(os.listdir(self._folder / "fd"))


@contextmanager
def attack(name: str, port: int) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.attacks", name, "127.0.0.1", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


class Bystander(threading.Thread):
    """Somebody who uses the board all the time, and notes how it goes.

    Attributes:
        served, refused: how many accesses and transfers went well, and how many did not.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        device = BoardDevice("127.0.0.1", port, connect_seconds=20, call_seconds=60)
        self._registers = device.mmap(CRL_APB, 0x1000)
        self._buffer = device.allocate((MIB,), "u1")
        self._ended = False
        self.forget()

    def forget(self) -> None:
        self.served, self.refused, self._slowest = 0, 0, 0.0
        self._begin = time.monotonic()

    def slowest(self) -> float:
        """Seconds that the slowest of them took, or takes."""
        return max(self._slowest, time.monotonic() - self._begin)

    def run(self) -> None:
        value = 0
        while not self._ended:
            value = (value + 1) % 256
            for use in (lambda: self._registers.read(0), lambda v=value: self._move(v)):
                self._begin = time.monotonic()
                try:
                    use()
                    self.served += 1
                except grpc.RpcError:
                    self.refused += 1
                self._slowest = self.slowest()
            time.sleep(0.02)

    def _move(self, value: int) -> None:
        self._buffer[:] = value
        self._buffer.flush()
        self._buffer[:] = 255 - value
        self._buffer.invalidate()
        assert (self._buffer == value).all()

    def end(self) -> None:
        self._ended = True
        self.join()


@pytest.mark.slow
def test_a_minute_of_attacks(tmp_path):
    keep_pynq_state_in(tmp_path)
    package = random_package(np.random.default_rng(1), isa.build("small"))
    shape = (package.iterations, package.n_sequences, package.n_positions, package.token_bytes)
    tokens = np.random.default_rng(0).integers(-128, 128, shape, dtype=np.int8)
    expected = IntegerModel(package, "small").run(tokens)

    def forecasts() -> None:
        client = RawClient(device, write_overlay(tmp_path))
        assert client.load(package) == 0
        np.testing.assert_array_equal(client.run(tokens), expected)

    with Server() as server:
        device = BoardDevice("127.0.0.1", server.port, connect_seconds=20, call_seconds=60)
        forecasts()
        descriptors = server.descriptors()
        bystander = Bystander(server.port)
        bystander.start()
        print(f"\n{'':22}{'peak, MiB':>10}{'slowest, s':>12}{'served':>8}{'refused':>9}")
        for name in (*(attack.__name__ for attack in ATTACKS), "all"):
            with attack(name, server.port):
                server.forget_peak()
                bystander.forget()
                time.sleep(TOGETHER_SECONDS if name == "all" else SECONDS)
                peak, slowest = server.peak(), bystander.slowest()
                served, refused = bystander.served, bystander.refused
            print(f"{name:22}{peak:10.0f}{slowest:12.2f}{served:8}{refused:9}", flush=True)
            assert peak < CEILING_MIB, name
            assert slowest < SLOWEST_SECONDS, name
            assert served >= 10 * refused and served, name
        bystander.end()
        wait_until(lambda: server.descriptors() <= descriptors + 1)
        forecasts()
