"""The programmable logic: the Verilated accelerator, the AXI DMA at its streams, their clock."""

from __future__ import annotations

import time

from bitstream_scripts.design import Design
from common.errors import CmambaError
from host.virtual_board.dma import AxiDma
from host.virtual_board.faults import Fault, Faults
from host.virtual_board.memory import Memory
from rtl.regs import registers as reg
from rtl.simulator import Event, SimulationError, Simulator

# How long the clock runs before somebody who wants to access a register is heard.
_STEP_SECONDS = 0.5e-3
_MIN_STEP, _MAX_STEP = 64, 20_000
# Only when no beat has moved for so many cycles is the accelerator asked whether it is at rest.
_QUIET_CYCLES = 500


class FabricError(CmambaError, RuntimeError):
    """The RTL broke a rule of its interfaces."""


class Fabric:
    """Registers by address, and a clock that somebody else has to drive. For one thread.

    Attributes:
        moving: whether anything will happen in `step`.
    """

    def __init__(
        self, simulator: Simulator, memory: Memory, design: Design, faults: Faults
    ) -> None:
        self._simulator = simulator
        self._memory = memory
        self._design = design
        self._faults = faults
        self._dma = AxiDma(
            memory,
            simulator,
            length_bits=design.dma.length_bits,
            burst_beats=design.dma.burst_beats,
            faults=faults.event,
        )
        self._step_cycles = _MIN_STEP
        self.reset()

    def reset(self) -> None:
        """As after the bitstream: everything begins anew."""
        self._simulator.reset()
        self._simulator.set_failing(0, 0)
        self._dma.reset()
        self._failure: str | None = None
        self._started = False
        self._done_bits = 0
        self._quiet = 0
        self.moving = False

    def set_memory_latency(self, cycles: int) -> None:
        """Cycles from an address to the first beat, for the accelerator and for the DMA."""
        self._simulator.set_memory_latency(cycles)
        self._dma.mm2s.latency = cycles

    # ---- registers ----

    def read(self, address: int) -> int:
        """Read a register of the accelerator or of the DMA.

        Raises:
            FabricError: the RTL has broken a rule, now or before.
        """
        self._check()
        offset = address - self._design.dma.base
        if 0 <= offset < self._design.dma.range:
            return self._dma.read(offset)
        offset = address - self._design.accelerator.base
        try:
            if offset == reg.CTRL:
                value, self._done_bits = self._read_ctrl(), 0
                return value
            return self._simulator.read_register(offset)
        except SimulationError as error:
            raise FabricError(str(error)) from None

    def write(self, address: int, value: int) -> None:
        """Write a register of the accelerator or of the DMA.

        Raises:
            FabricError: the RTL has broken a rule, now or before.
            DmaUsageError: the result would be undefined on a board.
        """
        self._check()
        offset = address - self._design.dma.base
        if 0 <= offset < self._design.dma.range:
            self._dma.write(offset, value)
            if self._dma.active:
                self._wake()
            return
        offset = address - self._design.accelerator.base
        starts = offset == reg.CTRL and value & reg.CTRL_START
        if starts:
            fails = Fault.GMEM_SLAVE_ERROR in self._faults.event("gmem")
            self._simulator.set_failing(self._memory.base, self._memory.size if fails else 0)
            self._started = True
            self._wake()
        try:
            self._simulator.write_register(offset, value)
        except SimulationError as error:
            raise FabricError(str(error)) from None

    def _wake(self) -> None:
        self.moving = True
        self._quiet = 0

    def _read_ctrl(self) -> int:
        # Reading clears done and ready, so what this module has read is kept for the processor.
        value = self._simulator.read_register(reg.CTRL) | self._done_bits
        self._done_bits = value & (reg.CTRL_DONE | reg.CTRL_READY)
        return value

    def _check(self) -> None:
        if self._failure:
            raise FabricError(self._failure)

    # ---- clock ----

    def step(self) -> None:
        """Let the clock run for a moment, and notice when nothing moves any more.

        Raises:
            FabricError: the RTL broke a rule. Registers answer with the same until `reset`.
        """
        begin, cycle = time.perf_counter(), self._simulator.cycles
        try:
            if self._run(self._step_cycles):
                self._quiet = 0
            else:
                self.moving = not self._is_quiet(self._simulator.cycles - cycle)
        except SimulationError as error:
            self._failure = f"the simulation has ended: {error}; download the overlay again"
            self.moving = False
            raise FabricError(self._failure) from None
        rate = (self._simulator.cycles - cycle) / (time.perf_counter() - begin)
        self._step_cycles = min(max(_MIN_STEP, int(rate * _STEP_SECONDS)), _MAX_STEP)

    def _run(self, cycles: int) -> bool:
        """So many cycles; whether the DMA moved anything."""
        simulator, dma = self._simulator, self._dma
        end = simulator.cycles + cycles
        moved = dma.advance(simulator.cycles)
        while (left := end - simulator.cycles) > 0:
            until = Event.NONE
            if dma.mm2s.active and simulator.to_send:
                until |= Event.SENT
            if dma.s2mm.active and simulator.room:
                until |= Event.FULL
            simulator.run(min(left, dma.patience(simulator.cycles) or left), until)
            moved = dma.advance(simulator.cycles) or moved
        return moved

    def _is_quiet(self, cycles: int) -> bool:
        """No beat has moved for these cycles: whether the accelerator is at rest as well."""
        self._quiet += cycles
        if self._quiet < _QUIET_CYCLES:
            return False
        self._quiet = 0
        self._started = self._started and not self._read_ctrl() & reg.CTRL_IDLE
        return not self._started
