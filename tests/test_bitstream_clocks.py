"""PL clocks: what the processing system makes, and what PYNQ makes of a .hwh."""

import dataclasses
import warnings

import pytest
from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser
from pynq.ps import _ClocksUltrascale
from pynqmetadata.frontends import HwhFrontend

from bitstream_scripts.clocks import Clock, check_handoff, clock_of, divisors, slower_clocks
from bitstream_scripts.design import DESIGN
from bitstream_scripts.hwh import hwh_of

CLOCKS = [clock_of(DESIGN.clock.frequency_mhz), *slower_clocks(Clock(6))]


def test_clocks_below_250():
    """The I/O PLL of 1499.85 MHz divided by 7, 8, 9 and 10."""
    assert [clock.label for clock in CLOCKS] == ["250", "214.3", "187.5", "166.7", "150"]
    assert [round(clock.mhz, 3) for clock in CLOCKS] == [249.975, 214.264, 187.481, 166.65, 149.985]


@pytest.mark.parametrize("clock", CLOCKS, ids=str)
def test_timing_is_on_the_safe_side(clock):
    """A period that is no longer than the real one, a frequency that is not rounded down."""
    assert clock.period_ns <= 1000 / 1500 * clock.divisor < 1000 / clock.mhz
    assert clock.mhz < 1500 / clock.divisor <= clock.asked_mhz < clock.mhz * 1.0002


@pytest.mark.parametrize(
    ("frequency", "divisor"),
    [(300, 5), (250, 6), (214, 7), (187, 8), (187.5, 8), (166.7, 9), (150, 10), (15, 100)],
)
def test_what_a_user_means(frequency, divisor):
    assert clock_of(frequency) == Clock(divisor)


@pytest.mark.parametrize(
    ("frequency", "message"),
    [(200, "187.5 and 214.3 are the nearest"), (9, "expected 10 to 400"), (401, "expected 10 to")],
)
def test_frequencies_that_there_are_not(frequency, message):
    with pytest.raises(ValueError, match=message):
        clock_of(frequency)


def test_a_divisor_that_is_no_product():
    """67 is prime and above 63."""
    with pytest.raises(ValueError, match="cannot be made"):
        clock_of(Clock(67).mhz)


@pytest.mark.parametrize(("divisor", "pair"), [(5, (5, 1)), (8, (8, 1)), (100, (50, 2))])
def test_divisors(divisor, pair):
    assert divisors(divisor) == pair


def handoff(clock: Clock) -> str:
    slower = dataclasses.replace(DESIGN.clock, frequency_mhz=clock.mhz)
    return hwh_of(dataclasses.replace(DESIGN, clock=slower))


@pytest.mark.parametrize("clock", CLOCKS, ids=str)
def test_pynq_sets_the_clock(clock):
    """It computes divisors from the frequency of the .hwh, with a crystal of 33.333 MHz."""
    found = RuntimeMetadataParser(HwhFrontend(_hwhfile=handoff(clock))).clock_dict[0]
    with warnings.catch_warnings(action="error"):  # it warns where it is off by 1 %
        clocks = _ClocksUltrascale.__new__(_ClocksUltrascale)  # without registers of a board
        pair = clocks._get_2_divisors(33.333 * 45, found["frequency"], 6, 6)
    assert pair[0] * pair[1] == clock.divisor
    assert (found["divisor0"], found["divisor1"]) == divisors(clock.divisor)


@pytest.mark.parametrize("clock", CLOCKS, ids=str)
def test_the_handoff_has_the_clock(tmp_path, clock):
    path = tmp_path / "cmamba.hwh"
    path.write_text(handoff(clock))
    check_handoff(path, clock)
    with pytest.raises(ValueError, match=f"expected {Clock(clock.divisor + 1)}"):
        check_handoff(path, Clock(clock.divisor + 1))
    path.write_text(path.read_text().replace('"IOPLL"', '"RPLL"'))
    with pytest.raises(ValueError, match="PL clock 0 comes from RPLL, expected IOPLL"):
        check_handoff(path, clock)
