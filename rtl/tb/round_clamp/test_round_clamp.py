"""round_clamp against rne_shift and saturate of the contract: ties, saturation, every shift."""

import random

import cocotb
import torch
from cocotb.triggers import RisingEdge

from golden.arithmetic import rne_shift, saturate
from rtl.tb.simulate import simulate
from rtl.tb.streams import clock
from rtl.tb.words import signed

LATENCY = 3


def product_for(shift):
    """Products whose result is near a rounding or clamping boundary, or anything."""
    limit = 1 << 49
    kind = random.randrange(4)
    if kind == 0:
        return signed(50)
    center = random.choice((0, 127, -128, 32767, -32768, 65535, -65536, signed(18)))
    product = center << shift
    if shift:
        product += random.choice((-1, 0, 1)) * (1 << (shift - 1)) + random.choice((-1, 0, 1))
    return max(-limit, min(limit - 1, product))


def expected(product, shift, zero_point, addend, wide, relu):
    y = rne_shift(product, shift) + zero_point + addend
    y = torch.where(wide, saturate(y, 16), saturate(y, 8))
    return torch.where(relu, torch.maximum(y, zero_point), y)


@cocotb.test()
async def run_random(dut):
    """A new set of operands in every cycle."""
    clock(dut)
    cases = []
    for i in range(8_000):
        shift = i % 49
        addend = random.choice((0, signed(16)))
        cases.append(
            (
                product_for(shift),
                shift,
                signed(8),
                addend,
                random.getrandbits(1),
                random.getrandbits(1),
            )
        )
    results = []
    names = ("product_i", "shift_i", "zero_point_i", "addend_i", "wide_i", "relu_i")
    for case in cases + cases[:LATENCY]:
        for name, value in zip(names, case, strict=True):
            getattr(dut, name).value = value
        await RisingEdge(dut.clk_i)
        results.append(dut.data_o.value)
    # The operands of one iteration are taken at its end, which is where the results are read.
    found = [value.to_signed() for value in results[LATENCY:]]
    columns = [torch.tensor(column) for column in zip(*cases, strict=True)]
    want = expected(*columns[:4], columns[4].bool(), columns[5].bool()).tolist()
    for case, a, b in zip(cases, found, want, strict=True):
        assert a == b, f"{dict(zip(names, case, strict=True))}: found {a}, expected {b}"


def test_round_clamp():
    simulate("cmamba_round_clamp")
