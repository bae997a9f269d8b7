"""What the accelerator counted, and where the host's time went."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import isa
from host.table import Table
from rtl.regs import registers as reg


@dataclass(frozen=True)
class Profile:
    """Counters of the last run.

    Attributes:
        n_forecasts: forecasts of the run.
        clock_mhz: frequency of the accelerator.
        cycles: from start to done.
        entries: schedule entries completed.
        busy: cycles in which a unit had an entry.
    """

    n_forecasts: int
    clock_mhz: float
    cycles: int
    entries: int
    busy: dict[str, int]

    @property
    def seconds(self) -> float:
        """Of the run, at the accelerator's clock."""
        return self.cycles / (self.clock_mhz * 1e6)

    def table(self) -> Table:
        per = f"{self.cycles / self.n_forecasts:,.0f} each" if self.n_forecasts else ""
        rows = [
            ("forecasts", f"{self.n_forecasts:,}", ""),
            ("cycles", f"{self.cycles:,}", per),
            ("time", f"{1e6 * self.seconds:,.1f} us", f"at {self.clock_mhz:.1f} MHz"),
            ("entries", f"{self.entries:,}", ""),
        ]
        rows += [
            (f"busy {unit}", f"{busy:,}", f"{busy / self.cycles:.1%}" if self.cycles else "")
            for unit, busy in self.busy.items()
        ]
        return Table("Last run", ("", "", ""), rows)

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def read_profile(read: Callable[[int], int], n_forecasts: int, clock_mhz: float) -> Profile:
    """
    Args:
        read: the word at a register's address.
        n_forecasts: of the last run.
        clock_mhz: frequency of the accelerator.
    """

    def counter(low: int) -> int:
        return read(low) | read(low + 4) << 32

    return Profile(
        n_forecasts=n_forecasts,
        clock_mhz=clock_mhz,
        cycles=counter(reg.CYCLES_LO),
        entries=counter(reg.ENTRIES_LO),
        busy={unit: counter(reg.BUSY_0_LO + 8 * i) for i, unit in enumerate(isa.UNITS)},
    )


STEPS = {
    "encode": "check, normalize, quantize",
    "send": "flush the buffer to the board",
    "registers": "registers of DMA and accelerator",
    "hardware": "wait for the hardware",
    "receive": "read the buffer back",
    "decode": "dequantize, denormalize",
}


class _Measured:
    """A class and no generator, which costs three times as much: a forecast has seven."""

    __slots__ = ("_begin", "_seconds", "_step")

    def __init__(self, seconds: dict[str, float], step: str) -> None:
        self._seconds, self._step = seconds, step

    def __enter__(self) -> None:
        self._begin = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._step] += time.perf_counter() - self._begin


@dataclass
class Times:
    """Seconds of each step (`STEPS`) of a forecast, a run or a stream so far."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STEPS, 0.0))

    def measure(self, step: str) -> _Measured:
        """A context that adds the time of its block to a step."""
        return _Measured(self.seconds, step)

    def table(self) -> Table:
        total = sum(self.seconds.values()) or 1.0
        rows = [
            (STEPS[step], f"{1e3 * seconds:.3f} ms", f"{seconds / total:.1%}")
            for step, seconds in self.seconds.items()
        ]
        return Table("Steps", ("", "", ""), rows)

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
