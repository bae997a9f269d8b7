"""multiply_add: its description, and the DSP48E2 that it instantiates, against integers."""

import os
from pathlib import Path

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from rtl.tb.simulate import simulate
from rtl.tb.streams import clock
from rtl.tb.words import signed

HERE = Path(__file__).parent
WIDTHS = {"a": 27, "b": 18, "d": 27, "c": 48, "cascade": 48, "clear": 1}
# As it is used by mac_pair (twice), requantizer (twice), scan_exponent, scan_update (twice).
USED = [
    {"InputRegisters": 1, "PreAdd": 1, "Addend": "none"},
    {"InputRegisters": 1, "PreAdd": 1, "PreAddRegister": 1, "Addend": "cascade"},
    {"InputRegisters": 1, "ProductRegister": 0, "Addend": "none"},
    {"InputRegisters": 2, "ProductRegister": 0, "Addend": "cascade_17"},
    {"InputRegisters": 0, "Addend": "c", "AddendRegister": 0},
    {"InputRegisters": 0, "Addend": "c", "AddendRegister": 1},
    {"InputRegisters": 0, "Addend": "none"},
]
# The rest belongs to the full run.
CASES = [
    pytest.param(case, marks=[pytest.mark.slow] * (i not in (1, 3))) for i, case in enumerate(USED)
]


def wrap(value, bits):
    """``value`` modulo 2^bits, signed."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


@cocotb.test()
async def run_random(dut):
    """New operands in every cycle: extremes, and anything."""
    p = eval(os.environ["PARAMETERS"])
    into_product = p["InputRegisters"] + p.get("PreAddRegister", 0)
    product_to_sum = p.get("ProductRegister", 1) + 1
    # Cycles from an operand to the sum.
    delays = dict.fromkeys("abd", into_product + product_to_sum)
    delays |= {"c": p.get("AddendRegister", 0) + 1, "cascade": 1, "clear": product_to_sum}
    clears = p.get("ProductRegister", 1)
    clock(dut)
    cases = [{name: signed(bits) for name, bits in WIDTHS.items()} for _ in range(4000)]
    for t, case in enumerate(cases):
        for name, value in case.items():
            getattr(dut, f"{name}_i").value = value & ((1 << WIDTHS[name]) - 1)
        await RisingEdge(dut.clk_i)
        # What this edge has brought out is seen behind the next one.
        if t <= max(delays.values()):
            continue
        now = {name: cases[t - delay][name] for name, delay in delays.items()}
        factor = wrap(now["a"] + (now["d"] if p.get("PreAdd") else 0), 27)
        addend = {
            "none": 0,
            "c": now["c"],
            "cascade": now["cascade"],
            "cascade_17": now["cascade"] >> 17,
        }[p["Addend"]]
        product = 0 if now["clear"] & 1 and clears else factor * now["b"]
        expected = wrap(product + addend, 48)
        for name in ("behaviour", "primitive"):
            for port in (f"{name}_o", f"{name}_cascade_o"):
                found = getattr(dut, port).value.to_signed()
                assert found == expected, f"{port}: expected {expected}, found {found} for {now}"


@pytest.mark.parametrize("parameters", CASES)
def test_multiply_add(parameters):
    simulate(
        "multiply_add_pair",
        parameters,
        sources=[HERE / "DSP48E2.sv", HERE / "multiply_add_pair.sv"],
        suite="test_multiply_add",
        extra_env={"PARAMETERS": repr(parameters)},
    )
