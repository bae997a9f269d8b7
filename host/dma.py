"""The AXI DMA in direct register mode (PG021), with what pynq's own driver of it lacks: the caller
decides how long to wait, sees the error bits, and can reset the engine within a transfer.

Only `host.registers` is used, so that every access is one that the caller can see: over a network
each costs a round trip.
"""

from __future__ import annotations

import time
from typing import Any

from host.errors import BoardTimeoutError, DmaError
from host.registers import Registers

# Offsets in a channel's block of registers, and where the blocks begin.
_CONTROL, _STATUS, _ADDRESS, _ADDRESS_MSB, _LENGTH = 0x00, 0x04, 0x18, 0x1C, 0x28
_MM2S, _S2MM = 0x00, 0x30

_RUN = 1 << 0
_RESET = 1 << 2

HALTED = 1 << 0
IDLE = 1 << 1
_ERRORS = {
    1 << 4: ("DMAIntErr", "internal error, such as a packet longer than its buffer"),
    1 << 5: ("DMASlvErr", "the memory answered with an error"),
    1 << 6: ("DMADecErr", "nothing answers at the address"),
}
_STATES = {HALTED: "Halted", IDLE: "Idle"} | {bit: name for bit, (name, _) in _ERRORS.items()}


def describe(status: int) -> str:
    """The bits of a status register that say something, by name."""
    return " ".join(name for bit, name in _STATES.items() if status & bit) or "busy"


class Channel:
    """One direction. `name` is MM2S or S2MM."""

    def __init__(self, mmio: Registers, name: str, base: int) -> None:
        self.name = name
        self._mmio = mmio
        self._base = base
        self._address_msb = 0

    def transfer(self, address: int, nbytes: int) -> None:
        """Start a transfer; the channel runs and has none under way."""
        write, base = self._mmio.write, self._base
        write(base + _ADDRESS, address & 0xFFFFFFFF)
        if address >> 32 != self._address_msb:
            self._address_msb = address >> 32
            write(base + _ADDRESS_MSB, self._address_msb)
        write(base + _LENGTH, nbytes)

    @property
    def status(self) -> int:
        return self._mmio.read(self._base + _STATUS)

    @property
    def transferred(self) -> int:
        """S2MM: bytes that the last transfer has received, up to TLAST."""
        return self._mmio.read(self._base + _LENGTH)

    def check(self) -> int:
        """The status. Raises DmaError where it holds an error."""
        status = self.status
        found = [text for bit, text in _ERRORS.items() if status & bit]
        if found:
            what = "; ".join(f"{name} ({meaning})" for name, meaning in found)
            raise DmaError(self.name, tuple(name for name, _ in found), what)
        return status

    def _run(self) -> None:
        self._mmio.write(self._base + _CONTROL, _RUN)
        self._address_msb = 0  # as the reset left it


class Dma:
    """Both channels.

    Args:
        mmio: its registers.
        parameters: of the IP, as the .hwh has them.
        timeout: seconds for a reset, and for the end of a transfer.
    """

    def __init__(self, mmio: Registers, parameters: dict[str, Any], timeout: float) -> None:
        self._mmio = mmio
        self._timeout = timeout
        self.send = Channel(mmio, "MM2S", _MM2S)
        self.receive = Channel(mmio, "S2MM", _S2MM)
        self.max_bytes = (1 << int(parameters.get("c_sg_length_width", 14))) - 1
        self.address_bits = int(parameters.get("c_addr_width", 32))

    def check(self) -> tuple[int, int]:
        """The status of MM2S and of S2MM. Raises DmaError where one holds an error."""
        return self.send.check(), self.receive.check()

    def state(self) -> str:
        """Both status registers in words."""
        return f"DMA MM2S {describe(self.send.status)}, S2MM {describe(self.receive.status)}"

    def wait_idle(self) -> None:
        """The rest of both transfers, when the accelerator has taken and given all of them.

        Raises:
            DmaError: one has ended with an error.
            BoardTimeoutError: one does not end.
        """
        for channel in (self.send, self.receive):
            end = time.monotonic() + self._timeout
            while not (status := channel.check()) & IDLE:
                if time.monotonic() > end:
                    raise BoardTimeoutError(
                        f"the run has ended, but DMA {channel.name} has not for "
                        f"{self._timeout:g} s: {describe(status)}"
                    )

    def reset(self) -> None:
        """Forget transfers, errors and beats inside, and run both channels.

        A packet on its way to the accelerator ends without TLAST.

        Raises:
            BoardTimeoutError: the engine does not come out of its reset.
        """
        self._mmio.write(_MM2S + _CONTROL, _RESET)  # resets both channels
        self._wait("its reset to end", lambda: not self._mmio.read(_MM2S + _CONTROL) & _RESET)
        for channel in (self.send, self.receive):
            channel._run()
            self._wait(
                f"{channel.name} to run", lambda channel=channel: not channel.status & HALTED
            )

    def _wait(self, what: str, holds: Any) -> None:
        end = time.monotonic() + self._timeout
        while not holds():
            if time.monotonic() > end:
                raise BoardTimeoutError(f"DMA: waited {self._timeout:g} s for {what}")
