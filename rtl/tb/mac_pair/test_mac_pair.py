"""mac_pair: both fields of chains of up to four products, for every pair of extremes."""

import itertools
import random

import cocotb
import pytest
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
    """A product a cycle: by itself, or added to sums of three others, which arrive later."""
    first = dut.First.value.to_unsigned()
    latency = 3 if first else 4
    cocotb.start_soon(Clock(dut.clk_i, 4, unit="ns").start())
    vectors = []
    least, most = (0, 0) if first else (3 * 127 * -128, 3 * 128 * 128)
    for x, w0, w1 in itertools.product(EXTREMES, repeat=3):
        sums = itertools.product((least, 0, most), repeat=2)
        vectors += [(x, w0, w1, low, high, 0) for low, high in sums]
    for _ in range(5000):
        x, w0, w1 = (random.randint(-128, 127) for _ in range(3))
        low, high = random.randint(least, most), random.randint(least, most)
        vectors.append((x, w0, w1, low, high, random.getrandbits(1)))
    # The sum before is needed one cycle before the result.
    sums, expected = [0] * (latency - 1), [None] * (latency + 1)
    # A product is cleared two cycles before it.
    clears = [0] * (latency - 2)
    for x, w0, w1, low, high, clear in [*vectors, *[(0, 0, 0, 0, 0, 0)] * (latency + 1)]:
        await RisingEdge(dut.clk_i)
        # What was driven before the edge `latency` cycles ago is seen behind this one.
        wanted = expected.pop(0)
        if wanted is not None:
            assert unpack(dut.sum_o.value.to_unsigned()) == wanted
            assert dut.cascade_o.value.to_unsigned() & ((1 << 36) - 1) == pack(*wanted)
        dut.x_i.value, dut.w0_i.value, dut.w1_i.value = x, w0, w1
        sums.append((low + (high << FIELD)) & ((1 << 48) - 1))
        dut.cascade_i.value = sums.pop(0)
        clears.append(clear)
        dut.clear_i.value = clears.pop(0)
        expected.append((low, high) if clear else (low + w0 * x, high + w1 * x))


@pytest.mark.parametrize("first", [0, 1])
def test_mac_pair(first):
    simulate("cmamba_mac_pair", {"First": first})
