"""requantizer against the contract: extremes of the product, ties, saturation, latency, reset."""

import random

import cocotb
import pytest
import torch
from cocotb.triggers import ClockCycles, RisingEdge

import isa
from golden.arithmetic import Params, requantize, saturate
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, reset, start
from rtl.tb.words import pack, signed, unpack

LATENCY = 6  # cmamba_cells_pkg::RequantizerLatency


def random_lane():
    """(acc, multiplier, shift, zero_point, addend): any, normalized, or close to a tie."""
    kind = random.randrange(3)
    addend = random.choice((0, signed(16)))
    if kind == 0:
        return signed(32), signed(18), random.randint(0, 48), signed(8), addend
    if kind == 1:  # what the compiler makes, with results of the size of the output
        multiplier = random.choice((1, -1)) * random.randint(1 << 16, (1 << 17) - 1)
        shift = random.randint(16, 40)
        limit = min((1 << 31) - 1, 1 << max(0, shift - 16 + random.choice((7, 8, 15, 16))))
        return random.randint(-limit, limit), multiplier, shift, signed(8), addend
    shift = random.randint(17, 40)  # an odd multiple of half a step, exactly
    acc = ((2 * signed(9) + 1) << (shift - 17)) * random.choice((1, -1))
    return max(-(1 << 31), min((1 << 31) - 1, acc)), 1 << 16, shift, signed(8), addend


def drive(dut, lanes, wide, relu, tag):
    dut.valid_i.value = 1
    dut.tag_i.value = tag
    dut.wide_i.value = wide
    dut.relu_i.value = relu
    dut.acc_i.value = pack((lane[0] for lane in lanes), 32)
    dut.addend_i.value = pack((lane[4] for lane in lanes), 16)
    words = (
        isa.PARAM.encode(
            {"bias": signed(32), "multiplier": lane[1], "shift": lane[2], "zero_point": lane[3]}
        )
        for lane in lanes
    )
    dut.param_i.value = pack(words, 64)


def expected(vectors):
    """int16 results of (lanes, wide, relu) vectors."""
    acc, multiplier, shift, zero_point, addend = torch.tensor([v[0] for v in vectors]).unbind(-1)
    wide, relu = (torch.tensor([v[i] for v in vectors]).bool().unsqueeze(-1) for i in (1, 2))
    y = requantize(acc, Params(torch.zeros_like(acc), multiplier, shift, zero_point)) + addend
    y = torch.where(wide, saturate(y, 16), saturate(y, 8))
    return torch.where(relu, torch.maximum(y, zero_point), y).tolist()


class Bench:
    """Drives random vectors, and takes down what comes out and when."""

    def __init__(self, dut):
        self.dut = dut
        self.lanes = dut.Lanes.value.to_unsigned()
        self.tag_mask = (1 << len(dut.tag_i)) - 1
        self.cycle = 0
        self.sent, self.received = [], []

    async def tick(self):
        dut = self.dut
        await RisingEdge(dut.clk_i)
        if dut.valid_o.value and not dut.rst_i.value:
            data = unpack(dut.data_o.value.to_unsigned(), 16, self.lanes)
            self.received.append((self.cycle, dut.tag_o.value.to_unsigned(), data))
        self.cycle += 1

    async def run(self, n, pattern):
        """Send n vectors; then wait until the pipeline is empty."""
        active = pattern()
        vectors = []
        while len(vectors) < n:
            if next(active):
                lanes = [random_lane() for _ in range(self.lanes)]
                vector = (lanes, random.getrandbits(1), random.getrandbits(1))
                tag = random.randint(0, self.tag_mask)
                drive(self.dut, *vector, tag)
                vectors.append(vector)
                self.sent.append((self.cycle, tag))
            else:
                self.dut.valid_i.value = 0
            await self.tick()
        self.dut.valid_i.value = 0
        for _ in range(LATENCY):
            await self.tick()
        return vectors

    def check(self, vectors):
        assert len(self.received) == len(vectors)
        for sent, received, vector, want in zip(
            self.sent, self.received, vectors, expected(vectors), strict=True
        ):
            assert received[0] - sent[0] == LATENCY
            assert received[1] == sent[1]
            assert received[2] == want, f"{vector}: found {received[2]}, expected {want}"
        self.sent, self.received = [], []


@cocotb.test()
@cocotb.parametrize(pattern=PATTERNS)
async def run_random(dut, pattern):
    """Random vectors with random gaps: values, latency and tags."""
    dut.valid_i.value = 0
    await start(dut)
    bench = Bench(dut)
    bench.check(await bench.run(400, pattern))


@cocotb.test()
async def run_extremes(dut):
    """The largest operands of either sign with every shift."""
    dut.valid_i.value = 0
    await start(dut)
    bench = Bench(dut)
    operands = [
        (acc, multiplier, shift, zero_point, addend)
        for shift in range(49)
        for acc in (-(1 << 31), (1 << 31) - 1, -1, 0, 1)
        for multiplier in (-(1 << 17), (1 << 17) - 1, -1, 1)
        for zero_point, addend in ((-128, -32768), (127, 32767), (0, 0))
    ]
    vectors = []
    for i in range(0, len(operands), bench.lanes):
        lanes = (operands[i:] + operands)[: bench.lanes]
        vector = (lanes, random.getrandbits(1), random.getrandbits(1))
        drive(dut, *vector, 0)
        vectors.append(vector)
        bench.sent.append((bench.cycle, 0))
        await bench.tick()
    dut.valid_i.value = 0
    for _ in range(LATENCY):
        await bench.tick()
    bench.check(vectors)


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle drops what is in the pipeline, and only that."""
    dut.valid_i.value = 0
    await start(dut)
    for _ in range(10):
        bench = Bench(dut)
        for _ in range(random.randint(1, LATENCY)):
            drive(dut, [random_lane() for _ in range(bench.lanes)], 0, 0, 0)
            await bench.tick()
        dut.valid_i.value = 0
        await reset(dut, 1)
        await ClockCycles(dut.clk_i, random.randint(0, LATENCY))
        assert not dut.valid_o.value
        bench = Bench(dut)
        bench.check(await bench.run(20, always))


@pytest.mark.parametrize("model", [False, True], ids=["rtl", "model"])
@pytest.mark.parametrize(
    ("Lanes", "TagWidth"),
    [(4, 5), *(pytest.param(n, t, marks=pytest.mark.slow) for n, t in ((1, 1), (16, 32)))],
)
def test_requantizer(Lanes, TagWidth, model):
    simulate("cmamba_requantizer", {"Lanes": Lanes, "TagWidth": TagWidth}, model=model)
