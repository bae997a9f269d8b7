"""reciprocal_sqrt against the contract: every length of s, squares, random s, latency, reset."""

import random

import cocotb
import torch
from cocotb.triggers import ClockCycles, RisingEdge

from golden.arithmetic import reciprocal_sqrt
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, randomly, reset, start

LATENCY = 18


def values(n):
    """Sums of every length: ends of the ranges of e, squares of the result, and random ones."""
    numbers = [1, 2, 3, (1 << 48) - 1]
    for bits in range(1, 49):
        low, high = 1 << (bits - 1), (1 << bits) - 1
        numbers += [low, high, random.randint(low, high), random.randint(low, high)]
        # Where r^2 m meets 2^64: m close to 2^64 / r^2.
        root = random.randint(1 << 16, (1 << 17) - 1)
        m = (1 << 64) // (root * root)
        e = (bits - 31) >> 1
        for near in (m - 1, m, m + 1):
            s = near << 2 * e if e >= 0 else near >> -2 * e
            numbers.append(max(1, min(s, (1 << 48) - 1)))
    return numbers + [random.randint(1, (1 << random.randint(1, 48)) - 1) for _ in range(n)]


class Bench:
    def __init__(self, dut, idle, stall):
        self.dut = dut
        self.idle, self.stall = idle(), stall()

    async def run(self, numbers):
        """The results of all numbers, and the cycles from taking each to its result."""
        dut = self.dut
        results, latencies = [], []
        for s in numbers:
            while not next(self.idle):
                dut.valid_i.value = 0
                await RisingEdge(dut.clk_i)
            dut.valid_i.value = 1
            dut.s_i.value = s
            dut.ready_i.value = 0
            await RisingEdge(dut.clk_i)
            while not dut.ready_o.value:
                await RisingEdge(dut.clk_i)
            dut.valid_i.value = 0
            dut.s_i.value = random.getrandbits(48)
            cycles = 0
            while True:
                await RisingEdge(dut.clk_i)
                cycles += 1
                if dut.valid_o.value:
                    break
            latencies.append(cycles)
            result = (dut.r_o.value.to_unsigned(), dut.e_o.value.to_signed())
            while not next(self.stall):
                await RisingEdge(dut.clk_i)
                assert dut.valid_o.value
                assert result == (dut.r_o.value.to_unsigned(), dut.e_o.value.to_signed())
            dut.ready_i.value = 1
            await RisingEdge(dut.clk_i)
            dut.ready_i.value = 0
            results.append(result)
        return results, latencies


def expected(numbers):
    r, e = reciprocal_sqrt(torch.tensor(numbers))
    return list(zip(r.tolist(), e.tolist(), strict=True))


@cocotb.test()
@cocotb.parametrize(stall=PATTERNS)
async def run_values(dut, stall):
    """Values and latency, with pauses before and after."""
    dut.valid_i.value = dut.ready_i.value = 0
    await start(dut)
    numbers = values(300)
    results, latencies = await Bench(dut, randomly, stall).run(numbers)
    for s, found, want in zip(numbers, results, expected(numbers), strict=True):
        assert found == want, f"s = {s}: found (r, e) = {found}, expected {want}"
    assert set(latencies) == {LATENCY}


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle of a computation; the next result is right."""
    dut.valid_i.value = dut.ready_i.value = 0
    await start(dut)
    for cycles in range(LATENCY + 3):
        dut.s_i.value = random.getrandbits(48) | 1
        dut.valid_i.value = 1
        await ClockCycles(dut.clk_i, cycles + 1)
        dut.valid_i.value = 0
        await reset(dut, 1)
        assert not dut.valid_o.value
        numbers = [random.randint(1, (1 << 48) - 1)]
        results, _ = await Bench(dut, always, always).run(numbers)
        assert results == expected(numbers)


def test_reciprocal_sqrt():
    simulate("cmamba_reciprocal_sqrt")
