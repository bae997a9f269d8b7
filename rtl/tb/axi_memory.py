"""A memory behind the read channels of AXI4: any content, slow or silent, with errors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import cocotb
from cocotb.handle import SimHandleBase
from cocotb.triggers import Event, RisingEdge
from cocotbext.axi import AxiReadBus, AxiSlaveRead

from rtl.tb.streams import Pattern, always

BEAT = 16
# Cycles that a beat may wait: room for it was there before it was asked for.
MAX_STALLS = 2
MAX_BURSTS = 16


class AxiMemory(AxiSlaveRead):
    """Answers every burst. The base class asserts the form of bursts; this one, that a request
    stays until it is taken, and that answers do not have to wait.

    Args:
        dut: has the ports ``PREFIX_ar*`` and ``PREFIX_r*``, ``clk_i`` and ``rst_i``.
        content: the 16 bytes at an address.
        ar, r: patterns of ARREADY and RVALID.
        prefix: of the ports.

    Attributes:
        errors: addresses of beats that are answered with SLVERR.
        bursts: (address, beats) of every burst that was asked for.
    """

    def __init__(
        self,
        dut: SimHandleBase,
        content: Callable[[int], bytes],
        ar: Pattern = always,
        r: Pattern = always,
        prefix: str = "m_axi",
    ) -> None:
        logging.getLogger(f"cocotb.{dut._name}.{prefix}").setLevel(logging.ERROR)
        super().__init__(AxiReadBus.from_prefix(dut, prefix), dut.clk_i, dut.rst_i)
        # Bursts that may wait here.
        self.ar_channel.queue_occupancy_limit = MAX_BURSTS
        self.content = content
        self.errors: set[int] = set()
        self.bursts: list[tuple[int, int]] = []
        self._alive = Event()
        self._alive.set()
        self._dut, self._prefix = dut, prefix
        self.set_patterns(ar, r)
        cocotb.start_soon(self._watch())

    def set_patterns(self, ar: Pattern, r: Pattern) -> None:
        """Change the patterns of ARREADY and RVALID."""
        self.ar_channel.set_pause_generator(_pauses(ar()))
        self.r_channel.set_pause_generator(_pauses(r()))

    def fall_silent(self) -> None:
        """Answer nothing more, but for the beats that are on their way."""
        self._alive.clear()

    def speak(self) -> None:
        """Answer again."""
        self._alive.set()

    async def _read(self, address: int, length: int) -> bytes:
        await self._alive.wait()
        if address in self.errors:
            raise ValueError(f"no memory at 0x{address:x}")
        return self.content(address)

    def _port(self, name: str) -> SimHandleBase:
        return getattr(self._dut, f"{self._prefix}_{name}")

    async def _watch(self) -> None:
        arvalid, arready, araddr, arlen, rvalid, rready = (
            self._port(name)
            for name in ("arvalid", "arready", "araddr", "arlen", "rvalid", "rready")
        )
        waiting: tuple[int, int] | None = None
        stalls = 0
        while True:
            await RisingEdge(self._dut.clk_i)
            if self._dut.rst_i.value:
                waiting = None
                continue
            burst = (int(araddr.value), int(arlen.value) + 1) if arvalid.value else None
            assert waiting is None or burst == waiting, f"{waiting} became {burst}"
            if burst and arready.value:
                self.bursts.append(burst)
            waiting = None if arready.value else burst
            stalls = stalls + 1 if rvalid.value and not rready.value else 0
            assert stalls <= MAX_STALLS, "a beat has to wait"


def _pauses(active: Iterator[bool]) -> Iterator[bool]:
    return (not a for a in active)
