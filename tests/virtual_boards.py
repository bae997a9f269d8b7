"""What tests of the board share: pynq's own state kept apart, and a package run by raw accesses."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pynq
from pynq.pl_server import global_state
from pynq.pl_server.remote_device import RemoteDevice

import host.remote_device  # noqa: F401, pynq's client then runs with numpy 2
from host.virtual_board import VirtualBoard
from isa.package import Package
from isa.streams import StreamShape, to_beats
from rtl.regs import registers as reg


def keep_pynq_state_in(folder: Path) -> None:
    """pynq keeps notes on the last overlay in its own package: processes that test would meet."""
    global_state.STATE_DIR = str(folder)


def connect(board: VirtualBoard) -> RemoteDevice:
    """A new client of the board."""
    return RemoteDevice(0, board.address, board.port)


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Poll. Raises AssertionError if the condition does not come to hold."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.001)


class RawClient:
    """The accelerator and its DMA by nothing but pynq's own means.

    Args:
        device: board.
        bit: path of the overlay, which is downloaded.
    """

    def __init__(self, device: RemoteDevice, bit: Path) -> None:
        self.device = pynq.Device.active_device = device
        # pynq.Clocks would go on with the first board that it was used for.
        if "_real_instance" in vars(pynq.Clocks):
            del pynq.Clocks._real_instance
        self.overlay = pynq.Overlay(str(bit), device=device)
        self.dma = self.overlay.axi_dma_0
        self.read, self.write = self.overlay.cmamba_0.read, self.overlay.cmamba_0.write

    def buffer(self, content: np.ndarray | int) -> np.ndarray:
        """A buffer of bytes with this content, or of this size."""
        if isinstance(content, int):
            return pynq.allocate((content,), "u1", target=self.device)
        buffer = pynq.allocate((content.size,), "u1", target=self.device)
        buffer[:] = content.reshape(-1)
        return buffer

    def start(self, mode: int, arguments: dict[int, int]) -> None:
        for address, value in (arguments | {reg.MODE: mode}).items():
            self.write(address, value)
        self.write(reg.CTRL, reg.CTRL_START)

    def wait(self) -> int:
        """Until the accelerator is done; the error code."""
        wait_until(lambda: self.read(reg.CTRL) & reg.CTRL_DONE, seconds=60)
        return self.read(reg.ERROR) & reg.ERROR_CODE

    def load(self, package: Package, watchdog_cycles: int = 20_000) -> int:
        """Load a package; the error code."""
        data = package.to_bytes()
        self.shape = StreamShape.of_header(data)
        self.package = self.buffer(to_beats(np.frombuffer(data, np.uint8)[None]))
        self.package.flush()
        address = self.package.physical_address
        self.start(
            1,
            {
                reg.WATCHDOG_CYCLES: watchdog_cycles,
                reg.GMEM_LO: address & 0xFFFFFFFF,
                reg.GMEM_HI: address >> 32,
                reg.PACKAGE_BEATS: self.package.size // 16,
            },
        )
        return self.wait()

    def begin(self, tokens: np.ndarray) -> None:
        """Start both transfers and a run."""
        iterations = len(tokens)
        self.sent = self.buffer(self.shape.beats(tokens))
        row = -(-2 * self.shape.forecast_elements // 16) * 16
        self.received = self.buffer(iterations * self.shape.n_sequences * row)
        self.dma.recvchannel.transfer(self.received)
        self.dma.sendchannel.transfer(self.sent)
        self.start(2, {reg.N_FORECASTS: iterations // self.shape.iterations})

    def run(self, tokens: np.ndarray) -> np.ndarray:
        """Forecasts of int8 tokens, as `rtl.simulator.RtlAccelerator.run` gives them."""
        self.begin(tokens)
        assert self.wait() == 0
        for channel in (self.dma.sendchannel, self.dma.recvchannel):
            wait_until(lambda channel=channel: channel.idle)
            channel.wait()  # pynq's own has no time limit
        assert self.dma.recvchannel.transferred == self.received.size
        return self.shape.forecasts(np.array(self.received).reshape(-1, 16))
