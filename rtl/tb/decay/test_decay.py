"""decay against the contract: every exponent up to where the result stays zero, and beyond."""

import random

import cocotb
import pytest
import torch
from cocotb.triggers import RisingEdge

from golden.arithmetic import decay
from rtl.tb.simulate import simulate
from rtl.tb.streams import clock
from rtl.tb.words import pack, unpack

LATENCY = 4  # cmamba_cells_pkg::DecayLatency
ZERO_FROM = 18 << 12


async def check(dut, exponents):
    """Feed vectors of exponents, one a cycle, and compare."""
    lanes, width = dut.Lanes.value.to_unsigned(), dut.Width.value.to_unsigned()
    exponents = exponents + [0] * (-len(exponents) % lanes)
    vectors = [exponents[i : i + lanes] for i in range(0, len(exponents), lanes)]
    found = []
    for vector in vectors + vectors[:1] * LATENCY:
        dut.t_i.value = pack(vector, width)
        await RisingEdge(dut.clk_i)
        found.append(dut.decay_o.value)
    found = [unpack(value.to_unsigned(), 17, lanes, signed=False) for value in found[LATENCY:]]
    assert found == decay(torch.tensor(vectors)).tolist()


@cocotb.test()
async def run_all_octaves(dut):
    """Every exponent whose decay may be other than zero."""
    clock(dut)
    await check(dut, list(range(ZERO_FROM + 1)))


@cocotb.test()
async def run_beyond(dut):
    """Zero for larger exponents, to the last."""
    clock(dut)
    last = (1 << dut.Width.value.to_unsigned()) - 1
    exponents = [min(ZERO_FROM + (1 << bit) + low, last) for bit in range(32) for low in (-1, 0, 1)]
    await check(dut, exponents + [last] + [random.randint(ZERO_FROM, last) for _ in range(500)])


@pytest.mark.parametrize("model", [False, True], ids=["rtl", "model"])
@pytest.mark.parametrize(
    ("Lanes", "Width"), [(16, 17), pytest.param(2, 32, marks=pytest.mark.slow)]
)
def test_decay(Lanes, Width, model):
    simulate("cmamba_decay", {"Lanes": Lanes, "Width": Width}, model=model)
