"""When a wait has come to nothing: the driver's timeout, and a check of the hardware's watchdog."""

from __future__ import annotations

from typing import NamedTuple

# The driver gives up where the accelerator's own watchdog has not ended a run so many times over:
# once for the run, once for the rest of a packet, once for the bus.
_WATCHDOGS = 8


class Counted(NamedTuple):
    """What moves while the hardware works.

    Attributes:
        entries: of the schedule, completed.
        cycles: of the run.
        dma: status of the DMA's channels, where they matter.
    """

    entries: int
    cycles: int
    dma: tuple[int, ...] = ()


class Progress:
    """Of one wait.

    Args:
        begin: seconds of the clock that later times are read from.
        timeout: seconds in which something must move.
        allowance: seconds beyond the timeout in which no progress can be seen.
        watchdog_cycles: after which the hardware ends a run in which nothing completes.
    """

    def __init__(
        self, begin: float, timeout: float, allowance: float, watchdog_cycles: int
    ) -> None:
        self._looked = self._moved = begin
        self._interval = timeout / 10
        self._longest = timeout + allowance
        self._watchdog_cycles = watchdog_cycles
        self._before: Counted | None = None
        self._cycles_of_entry = 0  # cycles when the last entry was seen to complete

    def due(self, now: float) -> bool:
        """Whether to look at the counters again; each look costs reads of registers."""
        if now - self._looked < self._interval:
            return False
        self._looked = now
        return True

    def standstill(self, now: float, counted: Counted) -> str | None:
        """Why to give up, in words; None while there is hope."""
        if self._before is None or self._before.entries != counted.entries:
            self._cycles_of_entry = counted.cycles
        if self._before != counted:
            self._before, self._moved = counted, now
        idle_cycles = (counted.cycles - self._cycles_of_entry) % (1 << 32)
        if now - self._moved > self._longest:
            return f"nothing has moved for {now - self._moved:.1f} s"
        if idle_cycles > _WATCHDOGS * self._watchdog_cycles:
            return (
                f"nothing has completed for {idle_cycles} cycles, and the watchdog of "
                f"{self._watchdog_cycles} does not end it"
            )
        return None
