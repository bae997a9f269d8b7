"""The AXI DMA between memory and the accelerator's streams: its registers, and what they do.

AXI DMA v7.1 in direct register mode, without data realignment (PG021): MM2S sends from memory to
the stream, S2MM writes what comes from the stream to memory. Where PG021 calls the behaviour
undefined and a driver would not notice on a board, the model refuses with DmaUsageError.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

import numpy as np

from common.errors import CmambaError
from host.virtual_board.faults import Fault
from host.virtual_board.memory import DecodeError, Memory

BEAT_BYTES = 16
# MM2S keeps so many bursts ahead of the stream, as the FIFO of the IP does.
BURSTS_AHEAD = 2


class Register(enum.IntEnum):
    """Offsets in the registers of a channel; S2MM's begin at 0x30."""

    CONTROL = 0x00
    STATUS = 0x04
    ADDRESS = 0x18
    ADDRESS_MSB = 0x1C
    LENGTH = 0x28


S2MM_OFFSET = 0x30


class Control(enum.IntFlag):
    """DMACR."""

    RUN_STOP = 1 << 0
    RESERVED = 1 << 1  # always read as 1
    RESET = 1 << 2
    IOC_IRQ_EN = 1 << 12
    DELAY_IRQ_EN = 1 << 13
    ERROR_IRQ_EN = 1 << 14


class Status(enum.IntFlag):
    """DMASR."""

    HALTED = 1 << 0
    IDLE = 1 << 1
    INTERNAL_ERROR = 1 << 4
    SLAVE_ERROR = 1 << 5
    DECODE_ERROR = 1 << 6
    IOC_IRQ = 1 << 12
    DELAY_IRQ = 1 << 13
    ERROR_IRQ = 1 << 14


CONTROL_RESET = 1 << 16 | Control.RESERVED  # interrupt threshold 1
CONTROL_WRITABLE = (
    Control.RUN_STOP | Control.IOC_IRQ_EN | Control.DELAY_IRQ_EN | Control.ERROR_IRQ_EN
)
ERRORS = Status.INTERNAL_ERROR | Status.SLAVE_ERROR | Status.DECODE_ERROR
INTERRUPTS = Status.IOC_IRQ | Status.DELAY_IRQ | Status.ERROR_IRQ
ADDRESS_MSB_MASK = 0xFF  # addresses have 40 bits


class DmaUsageError(CmambaError, ValueError):
    """The DMA was asked for something whose result is undefined on a board."""


class Streams(Protocol):
    """The accelerator's streams, as `rtl.simulator.Simulator` has them."""

    to_send: int
    room: int

    def send(self, data: np.ndarray, last: bool) -> None: ...
    def withdraw(self) -> None: ...
    def set_room(self, beats: int, stop_at_last: bool) -> None: ...
    def receive(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...


class Channel:
    """Registers of one channel. What a transfer does is up to the subclasses."""

    name: str

    def __init__(
        self,
        memory: Memory,
        streams: Streams,
        length_bits: int,
        faults: Callable[[str], set[Fault]],
    ) -> None:
        self._memory = memory
        self._streams = streams
        self._length_mask = (1 << length_bits) - 1
        self._faults = faults
        self.reset()

    def reset(self) -> None:
        """All registers as after power-up; a transfer is forgotten."""
        self._control = int(CONTROL_RESET)
        self._status = Status.HALTED
        self._address = self._length = 0
        self.active = False
        self._injected: set[Fault] = set()

    # ---- registers ----

    def read(self, offset: int) -> int:
        match offset:
            case Register.CONTROL:
                return self._control
            case Register.STATUS:
                return int(self._status)
            case Register.ADDRESS:
                return self._address & 0xFFFFFFFF
            case Register.ADDRESS_MSB:
                return self._address >> 32
            case Register.LENGTH:
                return self._length
        return 0  # reserved, or scatter-gather's

    def write(self, offset: int, value: int) -> None:
        match offset:
            case Register.CONTROL:
                self._write_control(value)
            case Register.STATUS:
                self._status &= ~(value & INTERRUPTS)
            case Register.ADDRESS:
                self._address = self._address & ~0xFFFFFFFF | value
            case Register.ADDRESS_MSB:
                self._address = (value & ADDRESS_MSB_MASK) << 32 | self._address & 0xFFFFFFFF
            case Register.LENGTH:
                self._write_length(value & self._length_mask)

    def _write_control(self, value: int) -> None:
        self._control = int(CONTROL_RESET) | value & int(CONTROL_WRITABLE)
        if self._status & ERRORS:
            self._control &= ~int(Control.RUN_STOP)  # only a reset helps
        elif value & Control.RUN_STOP:
            self._status &= ~Status.HALTED
        elif not self.active:
            self._halt()

    def _write_length(self, value: int) -> None:
        if self.active:
            raise DmaUsageError(f"{self.name}: LENGTH written while a transfer is active")
        self._length = value
        if value == 0 or self._status & Status.HALTED:
            return
        if self._address % BEAT_BYTES:
            raise DmaUsageError(
                f"{self.name}: address {self._address:#x} is not a multiple of {BEAT_BYTES}, and "
                f"the DMA has no data realignment"
            )
        self._status &= ~Status.IDLE
        self.active = True
        self._injected = self._faults(self.name)
        self._start()

    # ---- the end of a transfer ----

    def _halt(self) -> None:
        self._control &= ~int(Control.RUN_STOP)
        self._status = self._status & ~Status.IDLE | Status.HALTED

    def _complete(self) -> None:
        self.active = False
        self._status |= Status.IDLE | Status.IOC_IRQ
        if not self._control & Control.RUN_STOP:
            self._halt()

    def _fail(self, errors: Status) -> None:
        self.active = False
        self._status |= errors | Status.ERROR_IRQ
        self._halt()

    # ---- what a transfer does ----

    def _start(self) -> None:
        raise NotImplementedError

    def advance(self, now: int) -> bool:
        """Move what can be moved in cycle `now`; whether anything was, or will be by itself."""
        raise NotImplementedError


class Mm2s(Channel):
    """Memory to stream."""

    name = "mm2s"
    burst_beats = 1  # set by AxiDma
    latency = 0  # cycles from the start of a transfer to its first beat
    ready: int | None = None  # cycle of the first beat

    def _start(self) -> None:
        self._at, self._end = self._address, self._address + self._length
        self.ready = None
        beats = -(-self._length // BEAT_BYTES)
        middle = self._address + beats // 2 * BEAT_BYTES
        self._dropped = middle if Fault.MM2S_DROPPED_BEAT in self._injected else None
        errors = {
            Fault.MM2S_SLAVE_ERROR: Status.SLAVE_ERROR,
            Fault.MM2S_DECODE_ERROR: Status.DECODE_ERROR,
        }
        self._failing = (middle, [errors[f] for f in self._injected if f in errors])

    def advance(self, now: int) -> bool:
        if not self.active:
            return False
        if self.ready is None:
            self.ready = now + self.latency
        if now < self.ready:
            return True
        before = self._at
        while self._at < self._end and self._streams.to_send < BURSTS_AHEAD * self.burst_beats:
            if not self._burst():
                return True
        if self._at == self._end and self._streams.to_send == 0:
            self._complete()
        return self._at != before or not self.active

    def _burst(self) -> bool:
        """Read a burst and hand it to the stream; False if the read fails."""
        end = min(self._at + self.burst_beats * BEAT_BYTES, self._end)
        middle, errors = self._failing
        if errors and middle < end:
            self._fail(errors[0])
            return False
        try:
            data = self._memory.at(self._at, end - self._at)
        except DecodeError:
            self._fail(Status.DECODE_ERROR)
            return False
        if self._dropped is not None and self._at <= self._dropped < end:
            lost = self._dropped - self._at
            data = np.delete(data, slice(lost, lost + BEAT_BYTES))
        if len(data):
            self._streams.send(data, last=end == self._end and self._dropped != end - BEAT_BYTES)
        self._at = end
        return True


class S2mm(Channel):
    """Stream to memory. It takes beats only while a transfer is active."""

    name = "s2mm"

    def reset(self) -> None:
        super().reset()
        self._streams.set_room(0, stop_at_last=True)

    def _start(self) -> None:
        self._at = self._address
        if Fault.S2MM_HANG not in self._injected:
            self._streams.set_room(-(-self._length // BEAT_BYTES), stop_at_last=True)

    def advance(self, now: int) -> bool:
        if not self.active:
            return False
        data, last, _ = self._streams.receive()
        if not len(data):
            return False
        if error := self._write(data.reshape(-1)):
            self._fail(error | Status.INTERNAL_ERROR)
        elif last[-1]:
            self._length = self._at - self._address
            self._complete()
        elif self._streams.room == 0:
            self._fail(Status.INTERNAL_ERROR)  # the packet is longer than LENGTH
        return True

    def _write(self, data: np.ndarray) -> Status:
        """Write to memory, up to LENGTH; the errors."""
        if Fault.S2MM_SLAVE_ERROR in self._injected:
            return Status.SLAVE_ERROR
        if Fault.S2MM_DECODE_ERROR in self._injected:
            return Status.DECODE_ERROR
        size = min(len(data), self._address + self._length - self._at)
        try:
            self._memory.at(self._at, size)[:] = data[:size]
        except DecodeError:
            return Status.DECODE_ERROR
        self._at += size
        return Status.INTERNAL_ERROR if size < len(data) else Status(0)

    def _fail(self, errors: Status) -> None:
        super()._fail(errors)
        self._streams.set_room(0, stop_at_last=True)


class AxiDma:
    """Both channels, as the registers of one core.

    Args:
        memory: what the masters reach.
        streams: the accelerator's.
        length_bits: width of LENGTH.
        burst_beats: beats of a burst.
        faults: called with the name of a channel when a transfer starts; what goes wrong with it.
    """

    def __init__(
        self,
        memory: Memory,
        streams: Streams,
        *,
        length_bits: int,
        burst_beats: int,
        faults: Callable[[str], set[Fault]] = lambda channel: set(),
    ) -> None:
        self._streams = streams
        self.mm2s = Mm2s(memory, streams, length_bits, faults)
        self.s2mm = S2mm(memory, streams, length_bits, faults)
        self.mm2s.burst_beats = burst_beats

    def reset(self) -> None:
        """Reset of the core, by either channel's bit or by the reset of the design."""
        self._streams.withdraw()
        self._streams.receive()
        self.mm2s.reset()
        self.s2mm.reset()

    def read(self, offset: int) -> int:
        """Read a register; `offset` in bytes, a multiple of 4. 0 where there is none."""
        if offset < S2MM_OFFSET:
            return self.mm2s.read(offset)
        return self.s2mm.read(offset - S2MM_OFFSET)

    def write(self, offset: int, value: int) -> None:
        """Write a register; ignored where there is none.

        Raises:
            DmaUsageError: the result would be undefined on a board.
        """
        channel, offset = (
            (self.mm2s, offset) if offset < S2MM_OFFSET else (self.s2mm, offset - S2MM_OFFSET)
        )
        if offset == Register.CONTROL and value & Control.RESET:
            self.reset()
        else:
            channel.write(offset, value)

    @property
    def active(self) -> bool:
        """Whether a transfer is."""
        return self.mm2s.active or self.s2mm.active

    def patience(self, now: int) -> int | None:
        """Cycles until a transfer goes on by itself; None if none waits for its memory."""
        ready = self.mm2s.ready
        return ready - now if self.mm2s.active and ready is not None and ready > now else None

    def advance(self, now: int) -> bool:
        """Move what can be moved in cycle `now`; whether anything was, or will be by itself."""
        moved = self.mm2s.advance(now)
        return self.s2mm.advance(now) or moved
