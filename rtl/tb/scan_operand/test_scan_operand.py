"""scan_operand: every lane its element of B or C, for all numbers of states."""

import os
import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from rtl.tb.simulate import simulate
from rtl.tb.streams import clock

LANES = int(os.environ.get("LANES", 64))
LATENCY = 4


def expected(row, log2_state, is_c):
    """What the lanes get of a row: B at its front, or C behind as many states."""
    states = min(1 << log2_state, LANES)
    front = states if is_c and states < LANES else 0
    return bytes(row[front + lane % states] for lane in range(LANES))


@cocotb.test()
async def run_rows(dut):
    """A row a cycle, of any number of states, B and C as they come."""
    clock(dut)
    cases = [(m, c) for m in range(7) for c in (0, 1)] * 5
    cases += [(random.randrange(7), random.getrandbits(1)) for _ in range(200)]
    random.shuffle(cases)
    rows = [random.randbytes(LANES) for _ in cases]
    await RisingEdge(dut.clk_i)
    for cycle in range(len(cases) + LATENCY):
        if cycle < len(cases):
            dut.log2_state_i.value, dut.is_c_i.value = cases[cycle]
        if 1 <= cycle <= len(rows):
            dut.row_i.value = int.from_bytes(rows[cycle - 1], "little")
        await RisingEdge(dut.clk_i)
        if cycle >= LATENCY:
            found = int(dut.lane_o.value).to_bytes(LANES, "little")
            case = cycle - LATENCY
            assert found == expected(rows[case], *cases[case]), cases[case]


@pytest.mark.parametrize("Lanes", [16, 64])
def test_scan_operand(Lanes):
    simulate("cmamba_scan_operand", {"Lanes": Lanes}, extra_env={"LANES": str(Lanes)})


@pytest.mark.parametrize("Lanes", [8, 48])
def test_bad_parameters(Lanes, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_scan_operand", {"Lanes": Lanes})
    assert f"scan_operand: Lanes is {Lanes}" in capfd.readouterr().err
