"""Clock, reset, and drivers of valid/ready streams for the cocotb suites."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.handle import SimHandleBase
from cocotb.triggers import ClockCycles, RisingEdge

Pattern = Callable[[], Iterator[bool]]


def always() -> Iterator[bool]:
    """No stalls."""
    return itertools.repeat(True)


def randomly() -> Iterator[bool]:
    """Active half of the cycles."""
    while True:
        yield random.random() < 0.5


def rarely() -> Iterator[bool]:
    """One cycle in four, at regular distances."""
    return itertools.cycle([False, False, False, True])


def in_bursts() -> Iterator[bool]:
    """Runs of 1 to 16 active and idle cycles."""
    while True:
        for active in (True, False):
            yield from itertools.repeat(active, random.randint(1, 16))


PATTERNS: tuple[Pattern, ...] = (always, randomly, rarely, in_bursts)


def seed_numpy() -> None:
    """Let numpy's random numbers follow from the simulation's seed, as those of Python do."""
    np.random.seed(random.getrandbits(32))


def clock(dut: SimHandleBase) -> None:
    """Start the clock, 250 MHz."""
    cocotb.start_soon(Clock(dut.clk_i, 4, unit="ns").start())


async def start(dut: SimHandleBase) -> None:
    """Start the clock and reset the module."""
    clock(dut)
    await reset(dut)


async def reset(dut: SimHandleBase, cycles: int = 2) -> None:
    """Hold the synchronous reset for some cycles."""
    dut.rst_i.value = 1
    await ClockCycles(dut.clk_i, cycles)
    dut.rst_i.value = 0
    await RisingEdge(dut.clk_i)


class Source:
    """Offers words on valid_i, ready_o, data_i (names can be given); idle cycles by a pattern.

    A word that has been offered stays until it is taken.
    """

    def __init__(
        self,
        dut: SimHandleBase,
        pattern: Pattern = always,
        *,
        valid: str = "valid_i",
        ready: str = "ready_o",
        data: str = "data_i",
    ) -> None:
        self.clk = dut.clk_i
        self.rst = dut.rst_i
        self.valid, self.ready, self.data = (getattr(dut, name) for name in (valid, ready, data))
        self.pattern = pattern()
        self.queue: deque[int] = deque()
        self.sent: list[int] = []
        self.valid.value = 0
        self.data.value = 0
        cocotb.start_soon(self._run())

    def send(self, words: Iterable[int]) -> None:
        """Queue words."""
        self.queue.extend(words)

    def abandon(self) -> None:
        """Forget what is queued, to be called before a reset."""
        self.queue.clear()

    async def drain(self) -> None:
        """Wait until every queued word has been taken."""
        while self.queue:
            await RisingEdge(self.clk)

    async def _run(self) -> None:
        valid = False
        while True:
            await RisingEdge(self.clk)
            if self.rst.value:
                valid = False
            elif valid and self.ready.value and self.queue:
                self.sent.append(self.queue.popleft())
                valid = False
            if not valid and self.queue and next(self.pattern):
                valid = True
                self.data.value = self.queue[0]
            self.valid.value = valid


class Sink:
    """Takes words on valid_o, ready_i, data_o; back-pressure by a pattern.

    Asserts that a word that is not taken stays valid and does not change, except in reset.
    """

    def __init__(
        self,
        dut: SimHandleBase,
        pattern: Pattern = always,
        *,
        valid: str = "valid_o",
        ready: str = "ready_i",
        data: str = "data_o",
    ) -> None:
        self.clk = dut.clk_i
        self.rst = dut.rst_i
        self.valid, self.ready, self.data = (getattr(dut, name) for name in (valid, ready, data))
        self.pattern = pattern()
        self.received: list[int] = []
        self.ready.value = 0
        cocotb.start_soon(self._run())

    async def wait_for(self, n_words: int, timeout_cycles: int = 100_000) -> list[int]:
        """Wait for ``n_words`` words and remove them; AssertionError when they do not come."""
        for _ in range(timeout_cycles):
            if len(self.received) >= n_words:
                words, self.received = self.received[:n_words], self.received[n_words:]
                return words
            await RisingEdge(self.clk)
        raise AssertionError(f"expected {n_words} words, found {len(self.received)}")

    async def _run(self) -> None:
        ready = False
        waiting: int | None = None
        while True:
            await RisingEdge(self.clk)
            if self.rst.value:
                waiting = None
            else:
                valid = bool(self.valid.value)
                word = self.data.value.to_unsigned() if valid else None
                if waiting is not None:
                    assert word == waiting, f"{waiting:#x} was not taken and became {word}"
                if valid and ready:
                    self.received.append(word)
                waiting = word if valid and not ready else None
            ready = next(self.pattern)
            self.ready.value = ready
