"""The accelerator that Vitis HLS makes of ``hls/``, on its pins, in place of the Verilated RTL.

The C++ runs as compiled for the bindings: the bits of a forecast and what the registers say of it
are its own. Around it is what Vitis HLS adds (block control, results that are latched when a
command ends), and streams that move a beat a cycle. The C++ runs at once when its input is
complete, and its result is offered after the cycles that it counts (`hls.cycles`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import isa
from hls import cycles as hls_cycles
from hls.bindings import extension
from isa.streams import BEAT_BYTES
from rtl.regs import registers as reg
from rtl.simulator import UNLIMITED, Event, Received

LOAD, RUN = 1, 2
# Where top.cpp has its results.
_STATUS, _CAPABILITIES, _SPACES = reg.VERSION, reg.TILE, reg.SPACE_0
_ARGUMENTS = (reg.GMEM_LO, reg.GMEM_HI, reg.MODE, reg.PACKAGE_BEATS, reg.N_FORECASTS)
_ARGUMENTS += (reg.WATCHDOG_CYCLES,)


@dataclass
class _Beats:
    """Of a stream: data uint8 [n, 16], last bool [n]."""

    data: np.ndarray
    last: np.ndarray

    @classmethod
    def none(cls) -> _Beats:
        return cls(np.zeros((0, BEAT_BYTES), np.uint8), np.zeros(0, bool))

    def __len__(self) -> int:
        return len(self.data)

    def append(self, other: _Beats) -> None:
        self.data = np.concatenate([self.data, other.data])
        self.last = np.concatenate([self.last, other.last])

    def take(self, n: int) -> _Beats:
        """The first `n`, which are removed."""
        taken = _Beats(self.data[:n], self.last[:n])
        self.data, self.last = self.data[n:], self.last[n:]
        return taken


@dataclass
class _Command:
    """One that is under way.

    Attributes:
        mode, n_forecasts, watchdog_cycles: registers as they were at its start.
        moved: cycle in which a beat has moved last.
        ends: cycle in which it is done but for its output; None while it takes its input.
    """

    mode: int
    n_forecasts: int
    watchdog_cycles: int
    moved: int
    ends: int | None = None


class HlsCore:
    """As `rtl.simulator.Simulator`, as far as a board uses that.

    Bus errors are not seen: Vitis HLS does not look at them.

    Args:
        build: build of ``builds.toml``.
        memory_base: address of the first byte of memory.
        memory_bytes: size of the memory.

    Attributes:
        memory: uint8 [memory_bytes], shared with the accelerator.
        cycles: clock cycles so far.

    Raises:
        ImportError: the build is not compiled.
    """

    def __init__(self, build: str, *, memory_base: int, memory_bytes: int) -> None:
        self._module = extension(native=True, build=build)
        self._timing = [(name, *t) for name, t in hls_cycles.delays(hls_cycles.TIMING).items()]
        self._memory_base = memory_base
        self.memory = np.zeros(memory_bytes, np.uint8)
        self.cycles = 0
        self._memory_latency = 40
        self._offered, self._sent = _Beats.none(), _Beats.none()
        self.set_room()
        self.reset()

    def reset(self) -> None:
        """As after the bitstream."""
        self._impl = self._module.Accelerator()
        self._is_loaded = False
        self._arguments = dict.fromkeys(_ARGUMENTS, 0)
        self._results: dict[int, int] = {}
        self._enabled = self._gie = self._pending = 0
        self._done = False
        self._command: _Command | None = None
        self.withdraw()
        self.receive()
        self._input, self._output = _Beats.none(), _Beats.none()

    # ---- registers ----

    def write_register(self, address: int, value: int) -> None:
        """Write a word. Arguments of a command under way stay as they were at its start."""
        if address == reg.CTRL:
            if value & reg.CTRL_START and self._command is None:
                self._start()
        elif address == reg.GIE:
            self._gie = value & reg.GIE_ENABLE
        elif address == reg.IER:
            self._enabled = value & (reg.IER_DONE | reg.IER_READY)
        elif address == reg.ISR:
            self._pending ^= value & (reg.ISR_DONE | reg.ISR_READY)
        elif address in self._arguments:
            self._arguments[address] = value

    def read_register(self, address: int) -> int:
        """Read a word; 0 where there is none."""
        if address == reg.CTRL:
            done, self._done = self._done, False
            return (
                (reg.CTRL_IDLE if self._command is None else reg.CTRL_START)
                | (reg.CTRL_DONE | reg.CTRL_READY if done else 0)
                | (reg.CTRL_INTERRUPT if self.interrupt else 0)
            )
        single = {reg.GIE: self._gie, reg.IER: self._enabled, reg.ISR: self._pending}
        return {**single, **self._arguments, **self._results}.get(address, 0)

    @property
    def interrupt(self) -> bool:
        """The interrupt output."""
        return bool(self._gie and self._pending)

    # ---- streams ----

    def send(self, data: np.ndarray, last: bool = True) -> None:
        """Offer bytes, whole beats, on s_axis, with TLAST on the last of them if `last`."""
        beats = _Beats(np.array(data, np.uint8).reshape(-1, BEAT_BYTES), np.zeros(0, bool))
        beats.last = np.arange(len(beats)) == (len(beats) - 1 if last else -1)
        self._offered.append(beats)

    def withdraw(self) -> None:
        """Forget what is offered and has not been taken."""
        self._offered = _Beats.none()

    @property
    def to_send(self) -> int:
        """Beats that are offered."""
        return len(self._offered)

    def receive(self) -> Received:
        """Beats of m_axis that have been taken since the last call."""
        beats, self._sent = self._sent, _Beats.none()
        return Received(beats.data, beats.last, np.full(len(beats), self.cycles, np.uint64))

    def set_room(self, beats: int = UNLIMITED, stop_at_last: bool = False) -> None:
        """How many beats of m_axis are taken from now on; with `stop_at_last`, up to a TLAST."""
        self.room, self._stop_at_last = beats, stop_at_last

    # ---- memory and streams as a board may have them ----

    def set_memory_latency(self, cycles: int) -> None:
        """Cycles from an address to the first beat of memory."""
        self._memory_latency = cycles

    def set_failing(self, address: int, size: int) -> None:
        """Errors of the bus change nothing: Vitis HLS does not look at them."""

    def set_stalls(self, **probabilities: float) -> None:
        """Handshakes that are delayed change no bit, and here no cycle either."""

    # ---- clock ----

    def run(self, max_cycles: int, until: Event = Event.NONE) -> Event:
        """Let the clock run until one of the events holds, but not longer than `max_cycles`.

        Returns:
            Those of `until` that hold, SENT and FULL; none if the cycles are over.
        """
        end = self.cycles + max_cycles
        while True:
            held = (Event.NONE if self.to_send else Event.SENT) | (
                Event.NONE if self.room else Event.FULL
            )
            if held & until or self.cycles >= end:
                return held & until
            self._advance(end)

    def _advance(self, end: int) -> None:
        """Let the clock run to what happens next, at most to the cycle `end`."""
        command = self._command
        if command is None:
            self.cycles = end
        elif command.ends is None:
            self._take_input(command, end)
        elif self.cycles < command.ends:
            self.cycles = min(end, command.ends)
        elif len(self._output):
            self._give_output(command, end)
        else:
            self._finish()

    def _take_input(self, command: _Command, end: int) -> None:
        expired = command.moved + command.watchdog_cycles
        if not len(self._offered):
            self.cycles = min(end, max(self.cycles, expired))
            if self.cycles >= expired:
                self._compute(command)
            return
        # Up to a TLAST: as much as is wanted, and then what the host has sent too much.
        stop = np.flatnonzero(self._offered.last)
        n = min(end - self.cycles, int(stop[0]) + 1 if len(stop) else len(self._offered))
        beats = self._offered.take(n)
        self._input.append(beats)
        self.cycles += n
        command.moved = self.cycles
        if beats.last[-1]:
            self._compute(command)

    def _give_output(self, command: _Command, end: int) -> None:
        if not self.room:
            expired = command.moved + command.watchdog_cycles
            self.cycles = min(end, max(self.cycles, expired))
            if self.cycles >= expired:
                self._output = _Beats.none()
                self._results[reg.ERROR] = isa.ERRORS["TIMEOUT"]
            return
        n = min(end - self.cycles, len(self._output), self.room)
        if self._stop_at_last and (stop := np.flatnonzero(self._output.last[:n])).size:
            n = int(stop[0]) + 1
        beats = self._output.take(n)
        self._sent.append(beats)
        self.cycles += n
        command.moved = self.cycles
        self.room = 0 if self._stop_at_last and beats.last[-1] else self.room - n

    # ---- commands ----

    def _start(self) -> None:
        values = self._arguments
        mode = values[reg.MODE]
        command = _Command(
            mode,
            values[reg.N_FORECASTS],
            values[reg.WATCHDOG_CYCLES] or 1 << 32,  # the counter goes round
            moved=self.cycles,
        )
        self._command = command
        kind = mode & ~reg.MODE_TLAST_EACH
        if kind == LOAD:
            self._load(command)
        elif kind != RUN or not self._is_loaded or not command.n_forecasts:
            self._compute(command)  # which says what is wrong

    def _load(self, command: _Command) -> None:
        address = self._arguments[reg.GMEM_LO] | self._arguments[reg.GMEM_HI] << 32
        size = BEAT_BYTES * self._arguments[reg.PACKAGE_BEATS]
        first = address - self._memory_base
        inside = first >= 0 and first + size <= len(self.memory)
        # What nobody answers with is of no meaning; here it is zeros.
        package = self.memory[first : first + size] if inside else np.zeros(BEAT_BYTES, np.uint8)
        error = self._impl.load(package.reshape(-1, BEAT_BYTES).copy())
        self._is_loaded = error == 0
        self._latch(error)
        command.ends = self.cycles + self._memory_latency + len(package) // BEAT_BYTES

    def _compute(self, command: _Command) -> None:
        """What the C++ makes of the input."""
        beats, self._input = self._input, _Beats.none()
        command.ends = self.cycles + 1
        if command.mode & ~reg.MODE_TLAST_EACH != RUN:
            self._latch(isa.ERRORS["BAD_MODE"])
            return
        error, data, last, took = self._impl.run_timed(
            beats.data,
            beats.last,
            command.n_forecasts,
            bool(command.mode & reg.MODE_TLAST_EACH),
            self._timing,
        )
        self._latch(error)
        self._output = _Beats(data, last)
        # The C++ counts its input, too, which has been taken by now.
        command.ends = self.cycles + max(1, took - len(beats) - len(data))

    def _latch(self, error: int) -> None:
        status = self._impl.status
        status[(reg.ERROR - _STATUS) // 4] = error
        for first, words in (
            (_STATUS, status),
            (_CAPABILITIES, self._module.capabilities()),
            (_SPACES, self._module.spaces()),
        ):
            self._results |= {first + 4 * i: word for i, word in enumerate(words)}

    def _finish(self) -> None:
        self._command = None
        self._done = True
        self._pending |= self._enabled
