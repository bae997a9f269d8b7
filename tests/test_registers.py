"""The registers: what is generated is current, and agrees with the instruction set."""

import re

import pytest

import isa
from rtl.regs import generate, registers


@pytest.mark.parametrize("name", sorted(generate.outputs()))
def test_generated_files_are_current(name):
    assert (generate.HERE / name).read_text(encoding="utf-8") == generate.outputs()[name]


def names(pattern):
    return {match[1] for name in vars(registers) if (match := re.fullmatch(pattern, name))}


def test_there_is_a_register_for_every_unit_memory_and_capacity():
    assert names(r"BUSY_(\d+)_LO") == {str(i) for i in range(len(isa.UNITS))}
    assert names(r"SPACE_(\d+)") == {str(i) for i in range(len(isa.SPACES))}
    for build in isa.builds().values():
        assert names(r"MAX_(\w+)") == {name.upper() for name in build.capacity}


def test_error_codes_fit():
    assert max(isa.ERRORS.values()) <= registers.ERROR_CODE


def test_arguments_lie_where_vitis_hls_puts_them():
    """In the order of cmamba_top: a pointer of 64 bits, then scalars, each followed by a gap."""
    addresses = [registers.GMEM_LO, registers.MODE, registers.PACKAGE_BEATS, registers.N_FORECASTS]
    assert addresses == [0x10, 0x1C, 0x24, 0x2C]
