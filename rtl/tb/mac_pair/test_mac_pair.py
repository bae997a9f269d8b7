"""mac_pair: both fields of chains of up to four products, for every pair of extremes."""

import itertools
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from rtl.tb.simulate import simulate

FIELD = 18
EXTREMES = (-128, -127, -1, 0, 1, 127)


def pack(low, high):
    """The fields of two sums: low borrows from high."""
    return (low + (high << FIELD)) & ((1 << 36) - 1)


def unpack(word):
    """The two sums: low is signed, high gets back what low has borrowed."""
    low = word & ((1 << FIELD) - 1)
    borrow = low >> (FIELD - 1)
    high = word >> FIELD
    return low - (borrow << FIELD), high - (high >> (FIELD - 1) << FIELD) + borrow


@cocotb.test()
async def run_products(dut):
    """A product a cycle, added to sums of three others, which arrive two cycles later."""
    cocotb.start_soon(Clock(dut.clk_i, 4, unit="ns").start())
    vectors = []
    least, most = 3 * 127 * -128, 3 * 128 * 128
    for x, w0, w1 in itertools.product(EXTREMES, repeat=3):
        vectors += [(x, w0, w1, low, high) for low in (least, 0, most) for high in (least, 0, most)]
    for _ in range(5000):
        x, w0, w1 = (random.randint(-128, 127) for _ in range(3))
        vectors.append((x, w0, w1, random.randint(least, most), random.randint(least, most)))
    sums, expected = [0, 0], [None] * 4
    for x, w0, w1, low, high in [*vectors, *[(0, 0, 0, 0, 0)] * 4]:
        await RisingEdge(dut.clk_i)
        # What was driven four edges ago came out three cycles later.
        wanted = expected.pop(0)
        if wanted is not None:
            assert unpack(dut.sum_o.value.to_unsigned()) == wanted
        dut.x_i.value, dut.w0_i.value, dut.w1_i.value = x, w0, w1
        sums.append(pack(low, high))
        dut.sum_i.value = sums.pop(0)
        expected.append((low + w0 * x, high + w1 * x))


def test_mac_pair():
    simulate("mac_pair")
