"""vector_reduce: sums of squares to roots, sums and maxima of elements, rows of any length."""

import os
import random

import cocotb
import numpy as np
import pytest
import torch
from cocotb.triggers import ClockCycles, RisingEdge

from golden.arithmetic import reciprocal_sqrt
from rtl.tb.packages import Packages
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, randomly, reset, seed_numpy, start
from rtl.tb.units import joined_sink
from rtl.tb.words import pack, signed, unsigned

BUILD = os.environ.get("BUILD", "small")
TYPES = Packages(BUILD)
PART = TYPES.structs["part_t"]
LANES, WAITING, FEATURES = (TYPES.sizes[n] for n in ("Lanes", "WaitingDepth", "MaxFeatures"))


def random_row():
    """int16 elements of one of several magnitudes."""
    n = random.choice([1, LANES, random.randint(1, 9 * LANES)])
    bits = random.randint(1, 16)
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return (
        np.random.choice([low, high], n)
        if random.random() < 0.2
        else np.random.randint(low, high + 1, n)
    )


class Bench:
    """Sends the parts of rows, of which few may be on their way, and compares the results."""

    def __init__(self, dut, stall, gaps):
        seed_numpy()
        self.dut = dut
        self.gaps = gaps()
        self.roots = joined_sink(dut, "root_", ("root_o", "root_exponent_o"), stall)
        self.scalars = joined_sink(dut, "scalars_", ("row_sum_o", "row_maximum_o"), stall)
        dut.valid_i.value = 0
        self.clear()

    def clear(self):
        self.expected = {True: [], False: []}
        self.roots.received.clear()
        self.scalars.received.clear()

    def waiting(self, squares):
        """Rows of a kind whose results have not come."""
        sink = self.roots if squares else self.scalars
        return len(self.expected[squares]) - len(sink.received)

    def expect(self, x, squares, eps):
        if squares:
            r, e = reciprocal_sqrt(torch.tensor([eps + int((x * x).sum())]))
            self.expected[True].append((int(r), int(e) & 0x3F))
        else:
            sum_mask = (1 << len(self.dut.row_sum_o)) - 1
            self.expected[False].append((int(x.sum()) & sum_mask, int(x.max()) & 0xFFFF))

    async def send(self, x, squares, eps):
        while self.waiting(squares) == WAITING:
            await RisingEdge(self.dut.clk_i)
        self.expect(x, squares, eps)
        beats = -(-len(x) // LANES)
        for beat in range(beats):
            while not next(self.gaps):
                self.dut.valid_i.value = 0
                self.dut.part_i.value = random.getrandbits(PART.bits)
                await RisingEdge(self.dut.clk_i)
            lanes = x[beat * LANES :][:LANES].tolist()
            products = [v * v if squares else v for v in lanes]
            # Behind the end a square is zero already, as is an element.
            products += [0] * (LANES - len(lanes))
            part = {"squares": squares, "first": beat == 0, "last": beat == beats - 1}
            part |= {"eps": eps, "lanes": (1 << len(lanes)) - 1}
            self.dut.valid_i.value = 1
            self.dut.part_i.value = PART.pack(part)
            self.dut.products_i.value = pack(products, 44)
            await RisingEdge(self.dut.clk_i)
        self.dut.valid_i.value = 0

    async def finish(self):
        for squares, sink in ((True, self.roots), (False, self.scalars)):
            assert await sink.wait_for(len(self.expected[squares])) == self.expected[squares]
        await ClockCycles(self.dut.clk_i, 40)
        assert not self.roots.received and not self.scalars.received
        self.clear()


@cocotb.test()
@cocotb.parametrize(stall=PATTERNS, gaps=(always, randomly))
async def run_rows(dut, stall, gaps):
    """Rows of both kinds in any order, one after the other, results that wait."""
    bench = Bench(dut, stall, gaps)
    await start(dut)
    for _ in range(40):
        eps = max(1, unsigned(32))
        await bench.send(random_row(), random.random() < 0.5, eps)
    await bench.finish()


@cocotb.test()
async def run_extremes(dut):
    """The longest rows of the least and the greatest elements, and sums that cancel."""
    bench = Bench(dut, always, always)
    await start(dut)
    for value in (-32768, -1, 0, 32767):
        for squares in (True, False):
            await bench.send(np.full(FEATURES, value), squares, (1 << 32) - 1)
            await bench.send(np.array([value]), squares, 1)
    for _ in range(20):
        x = np.array([signed(16) for _ in range(2 * LANES)])
        await bench.send(np.concatenate((x, -1 - x)), False, 0)
    await bench.finish()


@cocotb.test()
async def run_reset(dut):
    """After a reset nothing of the rows before it comes."""
    bench = Bench(dut, randomly, always)
    await start(dut)
    for _ in range(5):
        for _ in range(random.randint(1, 5)):
            await bench.send(random_row(), random.random() < 0.5, 1)
        await reset(dut)
        bench.clear()
        for squares in (False, True):
            await bench.send(random_row(), squares, 1)
        await bench.finish()


@pytest.mark.parametrize("build", ["small", pytest.param("default", marks=pytest.mark.slow)])
def test_vector_reduce(build):
    simulate("cmamba_vector_reduce", build=build, extra_env={"BUILD": build})
