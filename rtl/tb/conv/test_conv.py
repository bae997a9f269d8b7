"""conv: tokens of random instructions against the integer model, every number of taps, ring
lengths, padding, extremes, ties, idle starts, reset in the middle; cycles an entry."""

import os
import random

import cocotb
import numpy as np
import pytest
import torch
from cocotb.triggers import ClockCycles, RisingEdge

import isa
from golden import arithmetic
from isa.words import CONV_PARAM_DTYPE, MAX_TAPS, pack_words
from rtl.tb.memories import ReadPort, WritePort, packed
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, reset, start
from rtl.tb.units import check_announcements, row_words

BUILD = isa.build(os.environ.get("BUILD", "small"))
LANES = BUILD.conv_lanes
ALIGN = BUILD.row_align
# Cycles from the start of an entry of one group and one tap to done_o.
PIPELINE = 18


def values(rng, kind, low, high, size):
    """Random integers of [low, high]: all of them, or the ends."""
    if kind == "extreme":
        return rng.choice([low, high], size)
    return rng.integers(low, high + 1, size)


class Bench:
    """The unit with its memories, the integer model, and entries that are checked."""

    def __init__(self, dut, seed, kind="random"):
        self.dut = dut
        rng = self.rng = np.random.default_rng(seed)
        size = BUILD.spaces["conv_in"]
        self.conv_in = values(rng, kind, -128, 127, size).astype(np.int8)
        self.conv = np.zeros((BUILD.spaces["conv"] // ALIGN, ALIGN), np.int8)
        self.expected = self.conv.copy()
        n_params = BUILD.capacity["conv_params"]
        p = self.params = np.zeros(n_params, CONV_PARAM_DTYPE)
        limit = (1 << 30) - 1 if kind == "extreme" else 1 << 12
        p["bias"] = values(rng, kind, -limit, limit, n_params)
        p["multiplier"] = values(rng, kind, -(1 << 17), (1 << 17) - 1, n_params)
        p["shift"] = rng.integers(0, 49, n_params) if kind == "extreme" else 25
        if kind == "tie":
            p["multiplier"] = 1 << 9
            p["shift"] = 10 + rng.integers(0, 5, n_params)
        p["zero_point"] = values(rng, kind, -128, 127, n_params)
        p["taps"] = values(rng, kind, -128, 127, (n_params, MAX_TAPS))
        self.tables = rng.integers(-128, 128, (BUILD.capacity["conv_tables"], 256)).astype(np.int8)

        def junk():
            return random.getrandbits(8)

        words = pack_words(isa.PARAM, p).reshape(-1)
        words = np.stack([words, p["taps"].copy().view(np.uint64).reshape(-1)], 1)
        words = words.reshape(-1, LANES, 2)
        ReadPort(dut, "conv_in", lambda a: packed(self.conv_in.reshape(-1, ALIGN)[a]), junk)
        ReadPort(dut, "param", lambda a: packed(words[a]), junk)
        WritePort(dut, "conv", self.conv)
        self.start_cycles, self.done_cycles = [], []
        dut.start_valid_i.value = 0
        cocotb.start_soon(self._look_up())
        cocotb.start_soon(self._count())
        check_announcements(dut)

    async def _look_up(self):
        dut, word = self.dut, 0
        while True:
            await RisingEdge(dut.clk_i)
            dut.entry_i.value = word
            arguments = int(dut.argument_o.value).to_bytes(LANES, "little")
            word = packed(self.tables[int(dut.table_o.value)][[(v + 128) % 256 for v in arguments]])

    async def _count(self):
        dut, cycle = self.dut, 0
        while True:
            await RisingEdge(dut.clk_i)
            if dut.start_valid_i.value == 1 and dut.start_ready_o.value == 1:
                self.start_cycles.append(cycle)
            if dut.done_o.value == 1:
                self.done_cycles.append(cycle)
            cycle += 1

    def instruction(self, **fields):
        """A random CONV."""
        rng = self.rng
        n = int(fields.get("n", rng.integers(1, 4 * ALIGN)))
        kernel = int(fields.get("kernel", rng.integers(1, MAX_TAPS + 1)))
        random_fields = {
            "n_positions": 100,
            "src": self._operand("conv_in", n, least=(kernel - 1).bit_length()),
            "dst": self._operand("conv", n),
            "param_addr": LANES * int(rng.integers(0, (len(self.params) - n) // LANES + 1)),
            "table": int(rng.integers(0, len(self.tables))),
            "n": n,
            "kernel": kernel,
            "pad": int(rng.integers(-128, 128)),
        }
        return isa.Instruction("CONV", random_fields | fields)

    def _operand(self, space, width, least=0):
        """A ring of at least 2^least rows somewhere in a memory."""
        stride = -(-width // ALIGN) * ALIGN
        size = BUILD.spaces[space]
        most = (size // stride).bit_length() - 1
        log2_rows = int(self.rng.integers(least, max(min(most, 5), least) + 1))
        stride += ALIGN * int(
            self.rng.integers(0, max(size // (1 << log2_rows) - stride, 0) // ALIGN + 1)
        )
        free = size - stride * ((1 << log2_rows) - 1) - width
        addr = ALIGN * int(self.rng.integers(0, free // ALIGN + 1))
        return isa.Operand(addr, stride, log2_rows, isa.SPACES[space].index)

    def model(self, i, token, position):
        """Write the entry's result into ``expected``."""
        window = np.full((i.kernel, i.n), i.pad, np.int64)
        for back in range(min(i.kernel - 1, position) + 1):
            first = i.src.row(token - back)
            window[i.kernel - 1 - back] = self.conv_in[first : first + i.n]
        p = self.params[i.param_addr :][: i.n]
        y = arithmetic.conv(
            torch.from_numpy(window),
            torch.from_numpy(p["taps"][:, : i.kernel].astype(np.int64)),
            arithmetic.Params.from_array(p),
            torch.from_numpy(self.tables[i.table].astype(np.int64)),
        )
        first = i.dst.row(token)
        self.expected.reshape(-1)[first : first + i.n] = y.numpy()

    async def entry(self, i, token, position):
        """Start one entry; returns when it has been taken."""
        dut = self.dut
        width = len(dut.instruction_i)
        dut.instruction_i.value = int.from_bytes(i.encode(), "little") & ((1 << width) - 1)
        dut.token_i.value = token
        dut.position_i.value = position
        for name, word in row_words(i, BUILD, token, position):
            getattr(dut, f"{name}_word_i").value = word
        dut.start_valid_i.value = 1
        await RisingEdge(dut.clk_i)
        while dut.start_ready_o.value != 1:
            await RisingEdge(dut.clk_i)
        dut.start_valid_i.value = 0
        dut.instruction_i.value = random.getrandbits(width)

    async def run(self, entries, pattern=always):
        """Start the entries (instruction, token, position) and compare what they have written."""
        active = pattern()
        before = len(self.done_cycles)
        for i, token, position in entries:
            while not next(active):
                await RisingEdge(self.dut.clk_i)
            self.model(i, token, position)
            await self.entry(i, token, position)
        for _ in range(2000):
            if len(self.done_cycles) == before + len(entries):
                break
            await RisingEdge(self.dut.clk_i)
        await ClockCycles(self.dut.clk_i, 2)
        assert len(self.done_cycles) == before + len(entries)
        wrong = np.argwhere(self.conv != self.expected)
        if len(wrong):
            word, element = wrong[0]
            raise AssertionError(
                f"{len(wrong)} elements differ, the first in word {word}, element {element}: "
                f"expected {self.expected[word, element]}, found {self.conv[word, element]}"
            )


@cocotb.test()
@cocotb.parametrize(kernel=range(1, MAX_TAPS + 1))
async def run_taps(dut, kernel):
    """Every number of taps: a sequence from its padding on, for channel counts around a word."""
    bench = Bench(dut, random.getrandbits(32))
    await start(dut)
    for n in (1, LANES, LANES + 1, ALIGN, ALIGN + 1, 2 * ALIGN + LANES - 1):
        i = bench.instruction(n=n, kernel=kernel)
        first = random.randint(0, 4000)
        await bench.run([(i, first + t, t) for t in range(10)])


@cocotb.test()
@cocotb.parametrize(kind=["random", "extreme", "tie"], idle=PATTERNS)
async def run_random(dut, kind, idle):
    """Random instructions that alternate without a gap, or with idle cycles."""
    bench = Bench(dut, random.getrandbits(32), kind)
    await start(dut)
    for _ in range(int(os.environ.get("ROUNDS", 2))):
        instructions = [bench.instruction() for _ in range(random.randint(1, 4))]
        token = random.randint(100, 4000)
        position = random.choice((0, 1, 7, 50))
        entries = [(i, token + t, position + t) for t in range(4) for i in instructions]
        await bench.run(entries, idle)


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle leaves nothing behind."""
    bench = Bench(dut, random.getrandbits(32))
    await start(dut)
    for _ in range(8):
        for _ in range(random.randint(1, 3)):
            await bench.entry(bench.instruction(), 0, 0)
        await ClockCycles(dut.clk_i, random.randint(1, 40))
        await reset(dut)
        bench.expected[:] = bench.conv
        bench.done_cycles.clear()
        await bench.run([(bench.instruction(), 5, t) for t in range(3)])


@cocotb.test()
@cocotb.parametrize(kernel=[1, 4, MAX_TAPS])
async def run_cycles(dut, kernel):
    """Entries follow each other without a gap: n / Lanes cycles each, or a cycle a tap and word."""
    bench = Bench(dut, random.getrandbits(32))
    await start(dut)
    words = 4
    i = bench.instruction(n=words * ALIGN, kernel=kernel)
    await bench.run([(i, 0, 0)])
    latency = bench.done_cycles[0] - bench.start_cycles[0]
    busy = words * max(ALIGN // LANES, kernel)
    assert latency == PIPELINE + kernel - 1 + (words - 1) * busy // words + ALIGN // LANES - 1
    await bench.run([(i, 0, 0)] * 4)
    assert np.diff(bench.done_cycles[1:]).tolist() == [busy] * 3
    dut._log.info("%d taps: %d cycles an entry, %d from start to done", kernel, busy, latency)


def test_conv():
    simulate("cmamba_conv", extra_env={"BUILD": "small"})


@pytest.mark.slow
@pytest.mark.parametrize("build", ["small", "default"])
def test_conv_fully(build):
    simulate("cmamba_conv", build=build, extra_env={"BUILD": build, "ROUNDS": "10"})
