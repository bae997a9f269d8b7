"""The registers: what is generated is current, and agrees with the instruction set."""

import re

import pytest

import isa
from bitstream_scripts.registers import hls_registers
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


def test_the_hls_core_has_them_at_the_same_addresses():
    """Arguments, and results of many words, each with a word of Vitis HLS behind it (UG1399,
    "S_AXILITE Offset Option")."""
    found = {r.name: r.offset for r in hls_registers()}
    for name in ("MODE", "PACKAGE_BEATS", "N_FORECASTS", "WATCHDOG_CYCLES"):
        assert found[name.lower()] == getattr(registers, name)
    assert (found["gmem_1"], found["gmem_2"]) == (registers.GMEM_LO, registers.GMEM_HI)
    assert (found["CTRL"], found["GIER"], found["IP_IER"], found["IP_ISR"]) == (0, 4, 8, 12)
    assert found["status_1"] == registers.VERSION and found["status_20"] == registers.BUSY_5_HI
    assert found["capabilities_1"] == registers.TILE
    assert found["capabilities_18"] == registers.MAX_FEATURES
    assert (found["spaces_1"], found["spaces_11"]) == (registers.SPACE_0, registers.SPACE_10)
    offsets = sorted(found.values())
    assert len(set(offsets)) == len(offsets) and offsets[-1] < 512
    assert found["status_ctrl"] == registers.BUSY_5_HI + 4


def test_words_of_the_results_are_as_many_as_in_the_sources():
    header = (generate.ROOT / "hls/include/cmamba.h").read_text(encoding="utf-8")
    names = [r.name for r in hls_registers()]
    for constant, port in (
        ("kStatusWords", "status"),
        ("kCapabilityWords", "capabilities"),
        ("kSpaceWords", "spaces"),
    ):
        n = sum(re.fullmatch(rf"{port}_\d+", name) is not None for name in names)
        assert f"constexpr int {constant} = {n};" in header
