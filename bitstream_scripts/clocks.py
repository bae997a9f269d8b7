"""PL clocks of the processing system: its I/O PLL, divided by whole numbers.

Everything that has to do with a clock goes by its divisor. Vivado, the .hwh and PYNQ each have a
frequency of their own for it, which differ by less than 0.02 %: the crystal of the ZCU102 is given
as 33.33 MHz by the board's files and as 33.333 MHz by PYNQ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from bitstream_scripts.design import DESIGN

# Crystal of the ZCU102 and the I/O PLL that makes PL clocks from it, as the board preset sets it.
PS_REFERENCE_MHZ = 33.33
IOPLL_MULTIPLIER = 45
# What the PLL makes at most, by the crystal's nominal 33.3333 MHz.
_FASTEST_PLL_MHZ = 1500
# How far a frequency may be off and still mean a clock; on the command line, 214 is 214.264 MHz.
_MEANT = 0.005
_ACHIEVED = 0.0005

_PL0 = "PSU__CRL_APB__PL0_REF_CTRL__"


@dataclass(frozen=True, order=True)
class Clock:
    """PL clock 0 from the I/O PLL, divided by `divisor`; a larger one is slower."""

    divisor: int

    @property
    def mhz(self) -> float:
        """The frequency, with the crystal as the board's files have it."""
        return PS_REFERENCE_MHZ * IOPLL_MULTIPLIER / self.divisor

    @property
    def asked_mhz(self) -> float:
        """What to ask Vivado for: not below the frequency, else it takes the next slower clock."""
        return math.ceil(1000 * _FASTEST_PLL_MHZ / self.divisor) / 1000

    @property
    def period_ns(self) -> float:
        """The period that timing has to meet, rounded down to a picosecond."""
        return self.divisor * 1_000_000 // _FASTEST_PLL_MHZ / 1000

    @property
    def label(self) -> str:
        """What it is called, in MHz."""
        return f"{_FASTEST_PLL_MHZ / self.divisor:.1f}".removesuffix(".0")

    def __str__(self) -> str:
        return f"{self.label} MHz"


def divisors(divisor: int) -> tuple[int, int]:
    """The two divisors, 1 to 63 each, whose product is nearest to `divisor`, not below."""
    return min(
        ((a, b) for a in range(1, 64) for b in range(1, a + 1) if a * b >= divisor),
        key=lambda pair: (pair[0] * pair[1], pair[1]),
    )


def clock_of(frequency_mhz: float) -> Clock:
    """The clock that a user means by a frequency.

    Raises:
        ValueError: the processing system does not make it; names the nearest ones.
    """
    if not 10 <= frequency_mhz <= 400:
        raise ValueError(f"{frequency_mhz:g} MHz, expected 10 to 400")
    slower = Clock(-int(-PS_REFERENCE_MHZ * IOPLL_MULTIPLIER // frequency_mhz))
    faster = Clock(slower.divisor - 1)
    for clock in (slower, faster):
        if abs(clock.mhz / frequency_mhz - 1) <= _MEANT and _exists(clock):
            return clock
    raise ValueError(
        f"{frequency_mhz:g} MHz cannot be made: PL clock 0 is the I/O PLL divided by a whole"
        f" number; {slower.label} and {faster.label} are the nearest"
    )


def _exists(clock: Clock) -> bool:
    return math.prod(divisors(clock.divisor)) == clock.divisor


def slower_clocks(clock: Clock) -> list[Clock]:
    """Clocks to try where `clock` misses timing, the fastest first."""
    last = clock_of(DESIGN.clock.slowest_mhz)
    return [Clock(d) for d in range(clock.divisor + 1, last.divisor + 1)]


def check_handoff(path: Path, clock: Clock) -> None:
    """Raises ValueError unless a .hwh has this clock as PL clock 0: PYNQ sets it from there."""
    values = {
        parameter.get("NAME"): parameter.get("VALUE")
        for parameter in ElementTree.parse(path).iter("PARAMETER")
    }
    source = values.get(f"{_PL0}SRCSEL")
    if source != "IOPLL":
        raise ValueError(f"{path}: PL clock 0 comes from {source}, expected IOPLL")
    achieved = float(values.get(f"{_PL0}ACT_FREQMHZ") or 0)
    if abs(achieved / clock.mhz - 1) > _ACHIEVED:
        raise ValueError(f"{path}: PL clock 0 has {achieved:g} MHz, expected {clock}")
