"""The RTL from Python, fast: the Verilated top with buses, memory and clock in C++.

`Simulator` is the chip on its pins: registers, memory, streams, interrupt. `RtlAccelerator` loads a
package and forecasts, as `hls.bindings.Accelerator` does. ``make simulator BUILD=large`` compiles
a build of ``isa/builds.toml`` into build/simulator; without BUILD, the first one.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

import isa
from common.errors import CmambaError
from common.extension import load_extension
from isa.streams import BEAT_BYTES, AcceleratorError, StreamShape, to_beats
from rtl.regs import registers as reg

__all__ = [
    "AcceleratorError",
    "Counters",
    "Event",
    "Received",
    "RtlAccelerator",
    "SimulationError",
    "Simulator",
]

# Another folder than build/simulator, for example with other options of the compiler.
FOLDER = Path(
    os.environ.get("CMAMBA_SIMULATOR") or Path(__file__).resolve().parents[2] / "build/simulator"
)
UNLIMITED = 2**64 - 1
# A run of the simulator returns to Python that often, so that Ctrl-C is heard.
_CYCLES_A_CALL = 100_000


class SimulationError(CmambaError, RuntimeError):
    """The RTL broke the rules of an interface, or did not come to an end."""


class Event(enum.IntFlag):
    """What `Simulator.run` may wait for. All are states: one that holds already ends it at once."""

    NONE = 0
    INTERRUPT = 1  # the interrupt output is high
    SENT = 2  # all beats given to `send` have been taken
    PACKET = 4  # the beats received hold a TLAST
    FULL = 8  # `room` is used up


class Received(NamedTuple):
    """Beats of m_axis: data uint8 [n, 16], last bool [n], cycle uint64 [n] when each was taken."""

    data: np.ndarray
    last: np.ndarray
    cycle: np.ndarray


@cache
def _extension(build: str) -> ModuleType:
    return load_extension(FOLDER / build / f"cmamba_rtl_{build}.so", f"simulator BUILD={build}")


class Simulator:
    """One accelerator, its clock, and what it is connected to.

    Time passes in `run`, `write_register` and `read_register`. Several may exist at once, and
    threads may share one: calls follow one another.

    Args:
        build: build of ``builds.toml``.
        memory_base: address of the first byte of memory, a multiple of 16.
        memory_bytes: size of the memory, a multiple of 16. Pages that are never touched cost
            nothing.
        plusargs: arguments of the simulation, for example ``+trace=FILE``.
        seed: of random stalls.

    Attributes:
        memory: uint8 [memory_bytes], shared with the accelerator.

    Raises:
        ImportError: the build is not compiled.
    """

    def __init__(
        self,
        build: str = "default",
        *,
        memory_base: int = 0,
        memory_bytes: int = 1 << 28,
        plusargs: Sequence[str] = (),
        seed: int = 1,
    ) -> None:
        for name, value in (("memory_base", memory_base), ("memory_bytes", memory_bytes)):
            if value % BEAT_BYTES or not 0 <= value < 2**48:
                raise ValueError(f"{name}: found {value}, expected a multiple of {BEAT_BYTES}")
        module = _extension(build)
        self._protocol_error = module.ProtocolError
        self._impl = module.Simulator(memory_base, memory_bytes, list(plusargs), seed)
        self.build = build
        self.memory_base = memory_base
        self.memory: np.ndarray = self._impl.memory()

    # ---- registers, clock, reset ----

    def reset(self) -> None:
        """Hold the reset for some cycles; beats in both directions are forgotten."""
        self._impl.reset()

    def write_register(self, address: int, value: int, strobe: int = 0xF) -> None:
        """Write a word through s_axi_control. Raises SimulationError if it is not taken."""
        try:
            self._impl.write_register(address, value, strobe)
        except self._protocol_error as error:
            raise SimulationError(str(error)) from None

    def read_register(self, address: int) -> int:
        """Read a word through s_axi_control. Raises SimulationError if there is no answer."""
        try:
            return self._impl.read_register(address)
        except self._protocol_error as error:
            raise SimulationError(str(error)) from None

    def read_register_64(self, low: int) -> int:
        """Two neighbouring registers as one number, the lower half first."""
        return self.read_register(low) | self.read_register(low + 4) << 32

    def run(self, max_cycles: int, until: Event = Event.NONE) -> Event:
        """Let the clock run until one of the events holds, but not longer than `max_cycles`.

        Returns:
            Those of `until` that hold; none if the cycles are over.

        Raises:
            SimulationError: the RTL broke the rules of an interface. Nothing but `reset` helps.
        """
        try:
            while True:
                now = min(max_cycles, _CYCLES_A_CALL)
                events = Event(self._impl.run(now, int(until)))
                max_cycles -= now
                if events or max_cycles <= 0:
                    return events
        except self._protocol_error as error:
            raise SimulationError(str(error)) from None

    @property
    def cycles(self) -> int:
        """Clock cycles since the simulator was made."""
        return self._impl.cycles()

    @property
    def interrupt(self) -> bool:
        """The interrupt output."""
        return self._impl.interrupt()

    # ---- streams ----

    def send(self, data: bytes | np.ndarray, last: bool = True) -> None:
        """Queue bytes for s_axis, with TLAST on their last beat if `last`.

        A last beat that is not whole is filled up with zeros, and its TKEEP says so.
        """
        self._impl.send(np.frombuffer(memoryview(data).cast("B"), np.uint8), last)

    def withdraw(self) -> None:
        """Forget the beats given to `send` that have not been taken, as the reset of a DMA does."""
        self._impl.withdraw()

    @property
    def to_send(self) -> int:
        """Beats given to `send` that have not been taken."""
        return self._impl.to_send()

    @property
    def packet_start(self) -> int:
        """Cycle in which the first beat of the latest packet on s_axis was taken."""
        return self._impl.packet_start()

    def receive(self, limit: int = UNLIMITED, packet: bool = False) -> Received:
        """Take the oldest beats of m_axis: at most `limit`, and with `packet` up to a TLAST."""
        return Received(*self._impl.receive(limit, packet))

    @property
    def received(self) -> int:
        """Beats that wait for `receive`."""
        return self._impl.received()

    def set_room(self, beats: int = UNLIMITED, stop_at_last: bool = False) -> None:
        """How many beats of m_axis are taken from now on before TREADY stays low.

        With `stop_at_last` a TLAST uses up what is left, as the end of a packet does in a DMA.
        """
        self._impl.set_stop_at_last(stop_at_last)
        self._impl.set_room(beats)

    @property
    def room(self) -> int:
        """What is left of `set_room`."""
        return self._impl.room()

    # ---- how memory and streams behave ----

    def set_memory_latency(self, cycles: int) -> None:
        """Cycles from an address on m_axi to the first beat of its answer; 40 at first."""
        self._impl.set_memory_latency(cycles)

    def set_failing(self, address: int, size: int) -> None:
        """Answer reads that touch these bytes with SLVERR; a size of 0 ends that.

        Reads outside of the memory are always answered with DECERR.
        """
        self._impl.set_failing(address, size)

    def set_stalls(
        self, *, ar: float = 0.0, r: float = 0.0, s_axis: float = 0.0, m_axis: float = 0.0
    ) -> None:
        """Probabilities, for every cycle, that a handshake is delayed: ARREADY and RVALID of m_axi,
        TVALID of s_axis, TREADY of m_axis."""
        self._impl.set_stalls(ar, r, s_axis, m_axis)

    @property
    def beats_read(self) -> int:
        """Beats that m_axi has read since the simulator was made."""
        return self._impl.beats_read()


@dataclass(frozen=True)
class Counters:
    """Counters of the last run, as the registers show them."""

    cycles: int  # of the run, from start to done
    entries: int  # completed
    busy: dict[str, int]  # cycles in which a unit had an entry


class RtlAccelerator:
    """The accelerator in simulation: load packages, run forecasts.

    Args:
        build: build of ``builds.toml``.
        simulator: use this one, instead of a new one.
        watchdog_cycles: the hardware ends a run in which nothing completes for so long.

    Attributes:
        simulator: the `Simulator`, for example to add stalls.
        shape: sizes of the loaded package, None before there is one.
        command_cycles: from the start of the last load or run to its interrupt.

    Raises:
        ImportError: the build is not compiled.
    """

    def __init__(
        self,
        build: str = "default",
        *,
        simulator: Simulator | None = None,
        watchdog_cycles: int = 100_000,
    ) -> None:
        self.simulator = simulator or Simulator(build)
        self.shape: StreamShape | None = None
        self.command_cycles = 0
        self._watchdog_cycles = watchdog_cycles
        self.simulator.write_register(reg.GIE, reg.GIE_ENABLE)
        self.simulator.write_register(reg.IER, reg.IER_DONE)
        self.simulator.write_register(reg.WATCHDOG_CYCLES, watchdog_cycles)

    def load(self, package: bytes, address: int | None = None) -> None:
        """Load a package, in place of the one before.

        Args:
            package: content of a package file.
            address: where to put it in memory; at the beginning by default.

        Raises:
            AcceleratorError: the package is refused.
            SimulationError: the RTL does not come to an end.
            ValueError: the memory is too small.
        """
        simulator = self.simulator
        address = simulator.memory_base if address is None else address
        beats = to_beats(np.frombuffer(package, np.uint8)[None]).reshape(-1)
        offset = address - simulator.memory_base
        if not 0 <= offset <= len(simulator.memory) - len(beats):
            raise ValueError(
                f"{len(beats)} bytes at address {address:#x} do not lie in the memory of "
                f"{len(simulator.memory)} bytes from {simulator.memory_base:#x}"
            )
        simulator.memory[offset : offset + len(beats)] = beats
        self.shape = None
        error = self._command(
            1,
            {
                reg.GMEM_LO: address & 0xFFFFFFFF,
                reg.GMEM_HI: address >> 32,
                reg.PACKAGE_BEATS: len(beats) // BEAT_BYTES,
            },
        )
        if error:
            raise AcceleratorError(error, f"package of {len(package)} bytes refused")
        self.shape = StreamShape.of_header(package)

    def run(self, tokens: np.ndarray) -> np.ndarray:
        """As `isa.streams.Runner.run`.

        Raises:
            ValueError: no package is loaded, too.
            SimulationError: the RTL does not come to an end.
        """
        if self.shape is None:
            raise ValueError("no package is loaded")
        self.simulator.send(self.shape.beats(tokens))
        error, sent = self.start(len(tokens) // self.shape.iterations)
        if error:
            raise AcceleratorError(error, f"run of {len(tokens)} iterations failed")
        return self.shape.forecasts(sent.data)

    def start(self, n_forecasts: int, tlast_each: bool = False) -> tuple[int, Received]:
        """Run forecasts on what has been given to `Simulator.send`, right or wrong.

        Args:
            n_forecasts: as the register.
            tlast_each: bit 8 of the mode register.

        Returns:
            (error code, what m_axis has sent).

        Raises:
            SimulationError: the RTL does not come to an end.
        """
        mode = 2 | (reg.MODE_TLAST_EACH if tlast_each else 0)
        error = self._command(mode, {reg.N_FORECASTS: n_forecasts})
        return error, self.simulator.receive()

    @property
    def counters(self) -> Counters:
        """Counters of the last run."""
        read = self.simulator.read_register_64
        return Counters(
            cycles=read(reg.CYCLES_LO),
            entries=read(reg.ENTRIES_LO),
            busy={unit: read(reg.BUSY_0_LO + 8 * index) for index, unit in enumerate(isa.UNITS)},
        )

    def _command(self, mode: int, arguments: dict[int, int]) -> int:
        """Write the arguments, start, wait for the interrupt; the error code."""
        simulator = self.simulator
        for address, value in (arguments | {reg.MODE: mode}).items():
            simulator.write_register(address, value)
        simulator.write_register(reg.CTRL, reg.CTRL_START)
        begin = simulator.cycles
        # The hardware ends what stands still after watchdog_cycles, twice where a bus is dead.
        patience = 4 * self._watchdog_cycles
        before = None
        while not simulator.run(patience, Event.INTERRUPT):
            now = (simulator.read_register_64(reg.ENTRIES_LO), simulator.beats_read)
            if now == before:
                raise SimulationError(
                    f"no interrupt, and nothing has moved for {patience} cycles: mode {mode:#x}, "
                    f"{now[0]} entries completed, {now[1]} beats read"
                )
            before = now
        self.command_cycles = simulator.cycles - begin
        simulator.write_register(reg.ISR, reg.ISR_DONE)
        return simulator.read_register(reg.ERROR) & reg.ERROR_CODE
