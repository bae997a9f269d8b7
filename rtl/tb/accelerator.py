"""The accelerator as software sees it: registers, a package in memory, tokens in, forecasts out.

For any RTL with the ports of ``rtl/cmamba.sv``, which are those that Vitis HLS gives
``hls/src/top.cpp``, with the registers at the same addresses: `register_map` reads the header that
comes with an export.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cocotb.clock import Clock
from cocotb.handle import SimHandleBase
from cocotb.triggers import ClockCycles, RisingEdge, SimTimeoutError, with_timeout
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

import isa
from isa.streams import BEAT_BYTES, AcceleratorError, StreamShape
from rtl.regs import registers
from rtl.tb.axi import AxisSink, AxisSource, ReadMemory
from rtl.tb.streams import Pattern, always

__all__ = ["Accelerator", "AcceleratorError", "Counters", "Stalls", "register_map"]

PERIOD_NS = 4
LOAD, RUN = 1, 2
# A run that has not ended after so many cycles never will: far more than any test needs.
LIMIT_CYCLES = 20_000_000

# Addresses by name (and masks of their fields, by theirs).
OUR_REGISTERS: Mapping[str, int] = {k: v for k, v in vars(registers).items() if k.isupper()}


def register_map(header: Path) -> dict[str, int]:
    """Register addresses of an export of Vitis HLS: those of `OUR_REGISTERS`, as it has to confirm.

    Args:
        header: ``x<top>_hw.h``, among the drivers of the export.

    Raises:
        ValueError: it lacks a register, or has it elsewhere; names file and register.
    """
    pattern = r"#define\s+X\w+?_CONTROL_ADDR_(\w+)\s+0x([0-9a-fA-F]+)"
    found = {
        name.removesuffix("_DATA").removesuffix("_R"): int(address, 16)
        for name, address in re.findall(pattern, header.read_text(errors="replace"))
    }
    names = {"CTRL": "AP_CTRL", "GMEM_LO": "GMEM"}
    names |= {"VERSION": "STATUS", "TILE": "CAPABILITIES", "SPACE_0": "SPACES"}
    same = ("GIE", "IER", "ISR", "MODE", "PACKAGE_BEATS", "N_FORECASTS", "WATCHDOG_CYCLES")
    for ours, theirs in (names | {name: name for name in same}).items():
        expected = OUR_REGISTERS[ours]
        if found.get(theirs) != expected:
            there = ", ".join(f"{name} at 0x{at:X}" for name, at in found.items()) or "nothing"
            raise ValueError(f"{header}: expected {theirs} at 0x{expected:X}, found {there}")
    return dict(OUR_REGISTERS)


@dataclass(frozen=True)
class Stalls:
    """When each interface moves, and how long memory takes."""

    control: Pattern = always
    s_axis: Pattern = always
    m_axis: Pattern = always
    address: Pattern = always
    data: Pattern = always
    latency: Callable[[], int] = lambda: 10

    @classmethod
    def all(cls, pattern: Pattern, longest_latency: int = 60) -> Stalls:
        """The same pattern everywhere, each drawn for itself."""
        latency = lambda: random.randint(1, longest_latency)  # noqa: E731
        return cls(pattern, pattern, pattern, pattern, pattern, latency)


@dataclass(frozen=True)
class Counters:
    """Of the last run.

    Attributes:
        entries: of the schedule that were completed.
        cycles: from start to done.
        busy: by unit, cycles in which it was at work on an entry.
    """

    entries: int
    cycles: int
    busy: dict[str, int]


class Accelerator:
    """Drives all ports of the accelerator.

    Args:
        dut: the top.
        stalls: of the four interfaces.
        registers: addresses by name.

    Attributes:
        memory, source, sink: what m_axi_gmem, s_axis and m_axis are connected to.
        watchdog_cycles: what the next command writes into the register.
        shape: sizes of the package that was loaded.
        unread: beats of s_axis that the last run has left.
    """

    def __init__(
        self,
        dut: SimHandleBase,
        stalls: Stalls | None = None,
        registers: Mapping[str, int] = OUR_REGISTERS,
    ) -> None:
        self.dut, self.registers = dut, registers
        self.control: AxiLiteMaster | None = None
        self.stalls = stalls = stalls or Stalls()
        self.watchdog_cycles = 20_000
        # What was loaded last, right or wrong: its place and size in beats.
        self._package = 0, 0
        self.shape: StreamShape | None = None
        self.unread = 0
        dut.ap_rst_n.value = 0
        self.clk = dut.ap_clk
        Clock(self.clk, PERIOD_NS, unit="ns").start()
        self.memory = ReadMemory(
            dut,
            "m_axi_gmem",
            self.clk,
            PERIOD_NS,
            ready=stalls.address,
            valid=stalls.data,
            latency=stalls.latency,
        )
        self.source = AxisSource(dut, "s_axis", self.clk, stalls.s_axis)
        self.sink = AxisSink(dut, "m_axis", self.clk, stalls.m_axis)

    def _connect_control(self) -> AxiLiteMaster:
        dut, pattern = self.dut, self.stalls.control
        bus = AxiLiteBus.from_prefix(dut, "s_axi_control")
        # It would tell of every access.
        logging.getLogger(f"cocotb.{dut._name}.s_axi_control").setLevel(logging.WARNING)
        master = AxiLiteMaster(bus, self.clk, dut.ap_rst_n, reset_active_level=False)
        if pattern is not always:
            write, read = master.write_if, master.read_if
            for channel in (write.aw_channel, write.w_channel, write.b_channel):
                channel.set_pause_generator(not active for active in pattern())
            for channel in (read.ar_channel, read.r_channel):
                channel.set_pause_generator(not active for active in pattern())
        return master

    async def reset(self) -> None:
        """Reset the accelerator, and enable the interrupt that tells the end of a run."""
        models = (self.memory, self.source, self.sink)
        self.dut.ap_rst_n.value = 0
        for model in models:
            model.disconnect()
        await ClockCycles(self.clk, 4)
        if self.control is None:  # in reset: before, it would take anything for an answer
            self.control = self._connect_control()
        for model in models:
            model.connect()
        self.dut.ap_rst_n.value = 1
        await ClockCycles(self.clk, 2)
        await self.write("GIE", 1)
        await self.write("IER", 1)

    async def read(self, name: str) -> int:
        """A register of 32 bits."""
        return await self.control.read_dword(self.registers[name])

    async def write(self, name: str, value: int) -> None:
        """Write a register of 32 bits."""
        await self.control.write_dword(self.registers[name], value)

    async def read_wide(self, name: str) -> int:
        """A register of 64 bits, in two halves."""
        return await self.read(f"{name}_LO") | await self.read(f"{name}_HI") << 32

    # ------------------------------------------------------------------- commands

    async def start(self, mode: int, address: int, beats: int, n_forecasts: int) -> None:
        """Write the arguments and start."""
        await self.write("GMEM_LO", address & 0xFFFFFFFF)
        await self.write("GMEM_HI", address >> 32)
        await self.write("MODE", mode)
        await self.write("PACKAGE_BEATS", beats)
        await self.write("N_FORECASTS", n_forecasts)
        await self.write("WATCHDOG_CYCLES", self.watchdog_cycles)
        await self.write("CTRL", registers.CTRL_START)

    async def finish(self) -> int:
        """Wait for the interrupt of a run that was started: the error code.

        AssertionError: it does not come, or the registers do not say that the run is done.
        """
        if not self.dut.interrupt.value:
            try:
                await with_timeout(RisingEdge(self.dut.interrupt), LIMIT_CYCLES * PERIOD_NS, "ns")
            except SimTimeoutError:
                raise AssertionError(f"no end after {LIMIT_CYCLES} cycles") from None
        control = await self.read("CTRL")
        expected = registers.CTRL_DONE | registers.CTRL_IDLE
        assert control & expected == expected, f"CTRL is {control:#x} at the end of a run"
        assert not control & registers.CTRL_START, "start has not fallen"
        await self.write("ISR", registers.ISR_DONE)
        assert not self.dut.interrupt.value, "the interrupt stays"
        return await self.read("ERROR")

    async def command(
        self, mode: int, address: int = 0, beats: int = 0, n_forecasts: int = 0
    ) -> int:
        """One command from start to end: the error code."""
        await self.start(mode, address, beats, n_forecasts)
        return await self.finish()

    async def load(self, package: bytes, address: int = 0x1000) -> None:
        """Put a package into memory and load it.

        Raises:
            AcceleratorError: it was refused.
        """
        self.memory.clear()
        self.memory.write(address, package)
        self._package = address, -(-len(package) // BEAT_BYTES)
        error = await self.command(LOAD, *self._package)
        if error:
            raise AcceleratorError(error, f"package of {len(package)} bytes refused")
        self.shape = StreamShape.of_header(package)

    async def run_stream(
        self, beats: np.ndarray, last: np.ndarray, n_forecasts: int, *, tlast_each: bool = False
    ) -> tuple[int, np.ndarray, np.ndarray]:
        """Run what is loaded on raw beats, right or wrong.

        Args:
            beats, last: s_axis, uint8 [n, 16], and its TLAST, bool [n].
            n_forecasts: as the register.

        Returns:
            (error code, beats of m_axis uint8 [m, 16], their TLAST bool [m]).
        """
        await self.sink.settle()
        self.sink.take()
        self.source.send(beats, last)
        mode = RUN | (registers.MODE_TLAST_EACH if tlast_each else 0)
        error = await self.command(mode, *self._package, n_forecasts)
        self.unread = self.source.left
        if self.unread:
            self.source.connect()
        return error, *self.sink.take()

    async def run(self, tokens: np.ndarray, *, tlast_each: bool = False) -> np.ndarray:
        """Run what is loaded, for any number of forecasts.

        Args:
            tokens: int8 [n_iterations, n_sequences, n_positions, token_bytes].

        Returns:
            int16 [n_iterations, n_sequences, forecast_elements].

        Raises:
            AcceleratorError: the run ended with an error.
            AssertionError: beats are missing or too many, padding is not zero, TLAST is wrong.
        """
        shape = self.shape
        beats = shape.beats(tokens)
        n_forecasts = len(tokens) // shape.iterations
        error, sent, last = await self.run_stream(
            beats, np.arange(len(beats)) == len(beats) - 1, n_forecasts, tlast_each=tlast_each
        )
        if error:
            raise AcceleratorError(error, f"run of {n_forecasts} forecasts failed")
        assert not self.unread, f"{self.unread} beats of s_axis were not taken"
        expected = len(tokens) * shape.n_sequences * -(-2 * shape.forecast_elements // BEAT_BYTES)
        assert len(sent) == expected, f"expected {expected} beats on m_axis, found {len(sent)}"
        a_forecast = expected // (n_forecasts if tlast_each else 1)
        ends = np.arange(1, expected + 1) % a_forecast == 0
        wrong = np.flatnonzero(last != ends)
        assert not len(wrong), f"TLAST of beat {wrong[0]} is {last[wrong[0]]}"
        padding = sent.reshape(len(tokens), shape.n_sequences, -1)[
            ..., 2 * shape.forecast_elements :
        ]
        assert not padding.any(), "the padding of a forecast is not zero"
        return shape.forecasts(sent)

    async def read_counters(self) -> Counters:
        """The counters of the last run."""
        busy = {name: await self.read_wide(f"BUSY_{unit}") for unit, name in enumerate(isa.UNITS)}
        return Counters(await self.read_wide("ENTRIES"), await self.read_wide("CYCLES"), busy)
