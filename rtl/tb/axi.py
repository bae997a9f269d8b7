"""What the accelerator's data ports meet in simulation: a memory, and the ends of two streams.

None of it costs a call of Python in a cycle in which nothing moves. Stalls follow a pattern
(`rtl.tb.streams.Pattern`); they are drawn only while something is to be transferred.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import cocotb
import numpy as np
from cocotb.handle import SimHandleBase
from cocotb.simtime import convert, get_sim_time
from cocotb.task import Task
from cocotb.triggers import Event, RisingEdge, Timer

from isa.streams import BEAT_BYTES
from rtl.tb.streams import Pattern, always

OKAY, SLVERR, DECERR = 0, 2, 3
BOUNDARY = 4096  # no burst crosses a multiple of it


class ReadMemory:
    """The read side of AXI4, 128 bits wide. Answers come in order; asserts the rules of AR.

    What nothing was written to reads as DECERR, so that no read goes beyond a package unnoticed.

    Args:
        dut: has the ports ``PREFIX_AR*`` and ``PREFIX_R*``.
        clk, period_ns: the clock.
        ready: pattern of ARREADY.
        valid: pattern of RVALID.
        latency: gives the cycles from an address to its first beat.

    Attributes:
        bursts: (address, beats) of every burst that was taken.
        beats: answered so far.
    """

    def __init__(
        self,
        dut: SimHandleBase,
        prefix: str,
        clk: SimHandleBase,
        period_ns: int,
        *,
        ready: Pattern = always,
        valid: Pattern = always,
        latency: Callable[[], int] = lambda: 10,
    ) -> None:
        self.clk, self.latency = clk, latency
        self._period = int(convert(period_ns, "ns", to="step"))
        self._port = {
            name: getattr(dut, f"{prefix}_{name}")
            for name in (
                *("ARVALID", "ARREADY", "ARADDR", "ARLEN", "ARSIZE", "ARBURST"),
                *("RVALID", "RREADY", "RDATA", "RRESP", "RLAST"),
            )
        }
        self.bursts: list[tuple[int, int]] = []
        self.beats = 0
        self._regions: dict[int, bytes] = {}
        self._waiting: deque[tuple[int, int, int]] = deque()  # (time due, address, beats)
        self._asked = Event()
        self._fail: dict[int, int] = {}
        self._stop_at: int | None = None
        self._resumed = Event()
        self._patterns = ready, valid
        self._tasks: list[Task] = []
        self.disconnect()

    def set_stalls(self, ready: Pattern, valid: Pattern, latency: Callable[[], int]) -> None:
        """Other patterns of ARREADY and RVALID, and another latency, while nothing is read."""
        self._patterns, self.latency = (ready, valid), latency
        self.connect()

    def disconnect(self) -> None:
        """Neither take nor answer anything, as while the accelerator is reset."""
        for task in self._tasks:
            task.cancel()
        for name in ("ARREADY", "RVALID", "RDATA", "RRESP", "RLAST"):
            self._port[name].value = 0
        self._waiting.clear()

    def connect(self) -> None:
        """Begin, or begin again: with nothing asked for, and a bus that lives."""
        self.disconnect()
        self.resume()
        ready, valid = self._patterns
        self._tasks = [
            cocotb.start_soon(self._addresses(ready())),
            cocotb.start_soon(self._answers(valid())),
        ]

    # ------------------------------------------------------------------- contents and faults

    def write(self, address: int, data: bytes) -> None:
        """Put bytes at an address, in place of what was written at the same address before."""
        self._regions[address] = data

    def clear(self) -> None:
        """Forget all contents."""
        self._regions.clear()

    def fail(self, beat: int, response: int = SLVERR) -> None:
        """Answer a beat with an error.

        Args:
            beat: 0 is the next one that is answered.
        """
        self._fail[self.beats + beat] = response

    def stop(self, after_beats: int = 0) -> None:
        """A bus that dies: no address is taken and no beat answered once so many more beats are."""
        self._stop_at = self.beats + after_beats
        self._resumed.clear()

    def resume(self) -> None:
        """The bus lives again; what was asked for meanwhile is answered. Forgets `fail`, too."""
        self._stop_at = None
        self._fail.clear()
        self._resumed.set()

    @property
    def outstanding(self) -> int:
        """Bursts that were asked for and not answered to their end."""
        return len(self._waiting)

    @property
    def _stopped(self) -> bool:
        return self._stop_at is not None and self.beats >= self._stop_at

    def _read(self, address: int) -> tuple[int, int]:
        """(data, response) of a beat. Bytes behind the last one of a region read as ones."""
        for start, data in self._regions.items():
            if start <= address < start + len(data):
                at = address - start
                beat = data[at : at + BEAT_BYTES].ljust(BEAT_BYTES, b"\xff")
                return int.from_bytes(beat, "little"), OKAY
        return 0xDEAD << 112, DECERR

    # ------------------------------------------------------------------- channels

    async def _addresses(self, pattern: object) -> None:
        port = self._port
        valid, ready = port["ARVALID"], port["ARREADY"]
        edge, wake = RisingEdge(self.clk), RisingEdge(valid)
        is_ready = False
        offered: tuple[int, int] | None = None
        while True:
            await edge
            if valid.value:
                burst = int(port["ARADDR"].value), int(port["ARLEN"].value) + 1
                assert offered in (None, burst), f"AR {offered} was not taken and became {burst}"
                offered = None if is_ready else burst
                if is_ready:
                    self._take(*burst)
            else:
                assert offered is None, f"AR {offered} was not taken and went away"
                await wake
            is_ready = not self._stopped and next(pattern)
            ready.value = is_ready
            if self._stopped:
                await self._resumed.wait()

    def _take(self, address: int, beats: int) -> None:
        burst, size = int(self._port["ARBURST"].value), int(self._port["ARSIZE"].value)
        assert (burst, size) == (1, 4), f"expected INCR of 16 bytes, found {burst}, {size}"
        assert address % BEAT_BYTES == 0, f"{address:#x} is not a multiple of 16"
        last = address + beats * BEAT_BYTES - 1
        assert address // BOUNDARY == last // BOUNDARY, (
            f"a burst of {beats} from {address:#x} crosses 4 KiB"
        )
        self.bursts.append((address, beats))
        due = int(get_sim_time("step")) + self.latency() * self._period
        self._waiting.append((due, address, beats))
        self._asked.set()

    async def _answers(self, pattern: object) -> None:
        port = self._port
        valid, ready, data = port["RVALID"], port["RREADY"], port["RDATA"]
        edge = RisingEdge(self.clk)
        while True:
            while not self._waiting:
                self._asked.clear()
                await self._asked.wait()
            due, address, beats = self._waiting[0]
            if (delay := due - int(get_sim_time("step"))) > 0:
                await Timer(delay, "step")
                await edge
            for i in range(beats):
                while self._stopped or not next(pattern):
                    valid.value = 0
                    if self._stopped:
                        await self._resumed.wait()
                    await edge
                word, response = self._read(address + i * BEAT_BYTES)
                data.value = word
                port["RRESP"].value = self._fail.pop(self.beats, response)
                port["RLAST"].value = i == beats - 1
                valid.value = 1
                await edge
                while not ready.value:
                    await edge
                self.beats += 1
            self._waiting.popleft()
            valid.value = 0


class AxisSource:
    """Sends beats on ``PREFIX_T*``; an offered beat stays until it is taken."""

    def __init__(
        self, dut: SimHandleBase, prefix: str, clk: SimHandleBase, pattern: Pattern = always
    ) -> None:
        self._edge = RisingEdge(clk)
        names = ("TVALID", "TREADY", "TDATA", "TLAST", "TKEEP", "TSTRB")
        self._port = {name: getattr(dut, f"{prefix}_{name}") for name in names}
        self._queue: deque[tuple[int, bool]] = deque()
        self._filled = Event()
        for name in ("TKEEP", "TSTRB"):
            self._port[name].value = (1 << BEAT_BYTES) - 1
        self._pattern = pattern
        self._task: Task | None = None
        self.disconnect()

    def disconnect(self) -> None:
        """Offer nothing, and forget what is queued."""
        if self._task is not None:
            self._task.cancel()
        self._queue.clear()
        self._port["TVALID"].value = 0

    def connect(self) -> None:
        """Begin, or begin again with nothing queued, as a DMA engine that was reset."""
        self.disconnect()
        self._task = cocotb.start_soon(self._run(self._pattern()))

    def send(self, beats: np.ndarray, last: Sequence[bool]) -> None:
        """Queue beats, uint8 [n, 16], with the TLAST of each."""
        for beat, is_last in zip(beats, last, strict=True):
            self._queue.append((int.from_bytes(beat.tobytes(), "little"), bool(is_last)))
        self._filled.set()

    @property
    def left(self) -> int:
        """Beats that were not taken."""
        return len(self._queue)

    async def _run(self, pattern: object) -> None:
        port = self._port
        valid, ready, data, last = (port[n] for n in ("TVALID", "TREADY", "TDATA", "TLAST"))
        while True:
            while not self._queue:
                valid.value = 0
                self._filled.clear()
                await self._filled.wait()
                await self._edge
            while not next(pattern):
                valid.value = 0
                await self._edge
            word, is_last = self._queue[0]
            data.value = word
            last.value = is_last
            valid.value = 1
            await self._edge
            wake = RisingEdge(ready)
            while not ready.value:
                await wake
                await self._edge
            self._queue.popleft()


class AxisSink:
    """Takes beats on ``PREFIX_T*``. Asserts that one that is not taken stays, and all bytes count.

    Attributes:
        beats: (data, TLAST) of each beat.
    """

    def __init__(
        self, dut: SimHandleBase, prefix: str, clk: SimHandleBase, pattern: Pattern = always
    ) -> None:
        self._edge = RisingEdge(clk)
        names = ("TVALID", "TREADY", "TDATA", "TLAST", "TKEEP", "TSTRB")
        self._port = {name: getattr(dut, f"{prefix}_{name}") for name in names}
        self.beats: list[tuple[int, bool]] = []
        self._going = Event()
        self._going.set()
        self._pattern = pattern
        self._task: Task | None = None
        self.disconnect()

    def disconnect(self) -> None:
        """Take nothing."""
        if self._task is not None:
            self._task.cancel()
        self._port["TREADY"].value = 0

    def connect(self) -> None:
        """Begin, or begin again; what has come stays."""
        self.disconnect()
        self._task = cocotb.start_soon(self._run(self._pattern()))

    def hold(self) -> None:
        """Take nothing until `go_on`."""
        self._going.clear()

    def go_on(self) -> None:
        """Take beats again."""
        self._going.set()

    async def settle(self) -> None:
        """Wait until nothing is offered."""
        await self._edge
        while self._port["TVALID"].value:
            await self._edge

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """Remove what has come: beats uint8 [n, 16], TLAST bool [n]."""
        beats, self.beats = self.beats, []
        data = b"".join(word.to_bytes(BEAT_BYTES, "little") for word, _ in beats)
        rows = np.frombuffer(data, np.uint8).reshape(-1, BEAT_BYTES)
        return rows, np.array([last for _, last in beats], bool)

    async def _run(self, pattern: object) -> None:
        port = self._port
        valid, ready = port["TVALID"], port["TREADY"]
        wake = RisingEdge(valid)
        every_byte = (1 << BEAT_BYTES) - 1
        is_ready = False
        offered: tuple[int, bool] | None = None
        while True:
            await self._edge
            if valid.value:
                beat = int(port["TDATA"].value), bool(port["TLAST"].value)
                assert offered in (None, beat), f"{offered} was not taken and became {beat}"
                offered = None if is_ready else beat
                if is_ready:
                    keep, strobe = int(port["TKEEP"].value), int(port["TSTRB"].value)
                    assert keep == strobe == every_byte, f"TKEEP {keep:#x}, TSTRB {strobe:#x}"
                    self.beats.append(beat)
            else:
                assert offered is None, f"{offered} was not taken and went away"
                await wake
            if not self._going.is_set():
                is_ready = False
                ready.value = 0
                await self._going.wait()
                continue
            is_ready = next(pattern)
            ready.value = is_ready
