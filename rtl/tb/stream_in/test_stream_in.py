"""stream_in: rows of the patch memory, TLAST early and late, what is dropped, cycles."""

import os
import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

import isa
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, in_bursts, randomly, reset, seed_numpy, start
from rtl.tb.units import Counter, Memory, entries, instruction, joined_source
from rtl.tb.words import pack

BEAT = 16
EARLY, LATE = isa.ERRORS["TLAST_EARLY"], isa.ERRORS["TLAST_LATE"]


class Bench:
    """The unit with its stream and memory. ``run`` sends a packet of tokens for as many entries."""

    def __init__(self, dut, idle=always, gaps=always):
        seed_numpy()
        self.dut = dut
        self.build = isa.build(os.environ["BUILD"])
        self.entries = entries(dut, ("instruction_i", "dst_word_i", "last_i"), gaps)
        self.stream = joined_source(dut, "s_axis_t", ("s_axis_tdata_i", "s_axis_tlast_i"), idle)
        self.patch = Memory(dut, "patch", self.build)
        self.done = Counter(dut, "done_o")
        self.errors = Counter(dut, "error_o")
        dut.abort_i.value = 0
        dut.watchdog_cycles_i.value = 40

    def ring(self, n):
        """A ring of rows of n elements that fits the memory."""
        align = self.build.row_align
        stride = -(-n // align) * align + align * random.randrange(2)
        most = (self.build.spaces["patch"] // stride).bit_length() - 1
        log2_rows = random.randint(0, min(most, 4))
        free = self.build.spaces["patch"] - (stride << log2_rows)
        addr = random.randint(0, free // align) * align
        return isa.Operand(addr, stride, log2_rows, isa.SPACES["patch"].index)

    def send_entries(self, ring, n, count, first=0, last=True):
        """Queue entries for ``count`` tokens from ``first`` on, the last one the run's ``last``."""
        word = instruction("RECV", dst=ring, n=n)
        for i in range(count):
            row = ring.row(first + i) // self.build.row_align
            is_last = last and i == count - 1
            self.entries.send([{"instruction_i": word, "dst_word_i": row, "last_i": is_last}])

    def send_packet(self, tokens, n, beats=None):
        """Queue the beats of int8 tokens [count, n]; TLAST with the last of ``beats``."""
        words = []
        for token in tokens:
            padded = np.full(-(-n // BEAT) * BEAT, 0x55, np.int64)
            padded[:n] = token
            words += [pack(padded[i : i + BEAT].tolist(), 8) for i in range(0, len(padded), BEAT)]
        beats = len(words) if beats is None else beats
        words = (words + [0] * beats)[:beats]
        self.stream.send(
            {"s_axis_tdata_i": word, "s_axis_tlast_i": i == beats - 1}
            for i, word in enumerate(words)
        )

    async def run(self, count, n, tokens=None):
        """One run: check rows and done. Where ``tokens`` are given, their packet is under way."""
        ring = self.ring(n)
        first = random.randrange(100)
        if tokens is None:
            tokens = np.random.randint(-128, 128, (count, n))
            self.send_packet(tokens, n)
        before = self.patch.data.copy()
        finished = len(self.done) + count
        self.send_entries(ring, n, count, first)
        await self.done.wait_for(finished)
        await RisingEdge(self.dut.clk_i)
        assert len(self.done) == finished
        for i, token in enumerate(tokens):
            before[ring.row(first + i) : ring.row(first + i) + n] = token
        np.testing.assert_array_equal(self.patch.data, before)
        assert not self.errors.values

    async def abort(self):
        """What the sequencer does after an error."""
        self.entries.queue.clear()
        self.dut.abort_i.value = 1
        await RisingEdge(self.dut.clk_i)
        self.dut.abort_i.value = 0
        await ClockCycles(self.dut.clk_i, 3)
        for _ in range(2000):
            if not self.dut.draining_o.value:
                break
            await RisingEdge(self.dut.clk_i)
        assert not self.dut.draining_o.value

    async def begin(self, count, n, beats):
        """Start a run whose packet has ``beats`` beats, and wait for the error."""
        self.send_entries(self.ring(n), n, count)
        self.send_packet(np.zeros((count, n)), n, beats)
        self.errors.clear()
        await self.errors.wait_for(1)


@cocotb.test()
@cocotb.parametrize(idle=PATTERNS, gaps=(always, randomly))
async def run_rows(dut, idle, gaps):
    """Every size: rows arrive at their place and nothing else changes."""
    bench = Bench(dut, idle, gaps)
    await start(dut)
    align = bench.build.row_align
    sizes = [1, 15, 16, 17, align, align + 1, 3 * align - 1, random.randint(1, 200)]
    for n in sizes:
        await bench.run(random.randint(1, 6), n)


@cocotb.test()
async def run_cycles(dut):
    """A beat a cycle, and one cycle more for each token."""
    bench = Bench(dut)
    await start(dut)
    count, n = 10, 5 * BEAT
    await bench.run(count, n)
    assert bench.done.times[-1] - bench.done.times[0] == (count - 1) * (n // BEAT + 1)


@cocotb.test()
@cocotb.parametrize(idle=(always, in_bursts))
async def run_early(dut, idle):
    """TLAST before the end: an error, no done, and the next run starts with its own packet."""
    bench = Bench(dut, idle)
    await start(dut)
    for count, n in ((3, 40), (1, 64), (4, 16)):
        beats = count * -(-n // BEAT)
        for end in range(1, beats):
            bench.done.clear()
            await bench.begin(count, n, end)
            # The next packet is offered at once; the unit must not take it into this run.
            tokens = np.random.randint(-128, 128, (2, n))
            bench.send_packet(tokens, n)
            await ClockCycles(dut.clk_i, 10)
            assert bench.errors.values == [EARLY]
            assert len(bench.done) == (end - 1) // (beats // count)
            assert len(bench.stream.queue) == 2 * beats // count
            await bench.abort()
            bench.errors.clear()
            await bench.run(2, n, tokens)


@cocotb.test()
@cocotb.parametrize(idle=PATTERNS)
async def run_late(dut, idle):
    """No TLAST at the end: an error, and the rest is dropped up to TLAST."""
    bench = Bench(dut, idle)
    await start(dut)
    for excess in (1, 2, 30):
        count, n = 3, 40
        bench.done.clear()
        await bench.begin(count, n, count * 3 + excess)
        await ClockCycles(dut.clk_i, 5)
        assert bench.errors.values == [LATE]
        assert len(bench.done) == count - 1
        await bench.abort()
        assert not bench.stream.queue
        bench.errors.clear()
        bench.done.clear()
        await bench.run(4, n)


@cocotb.test()
# One more beat may go before the abort arrives, and the ninth has TLAST: it would be too early.
@cocotb.parametrize(taken=(1, 3, 4, 7))
async def run_abort(dut, taken):
    """A run that ends for another reason: the rest of its packet is dropped."""
    bench = Bench(dut, randomly)
    await start(dut)
    bench.send_entries(bench.ring(48), 48, 5, last=False)
    bench.send_packet(np.zeros((3, 48)), 48)
    while len(bench.stream.sent) < taken:
        await RisingEdge(dut.clk_i)
    await bench.abort()
    assert len(bench.stream.sent) == 9
    bench.done.clear()
    await bench.run(3, 48)


@cocotb.test()
async def run_abort_between(dut):
    """A run that ends before its packet has begun, or after its end, drops nothing."""
    bench = Bench(dut)
    await start(dut)
    for _ in range(3):
        bench.send_entries(bench.ring(48), 48, 1, last=False)
        await ClockCycles(dut.clk_i, 5)
        await bench.abort()
        bench.done.clear()
        await bench.run(3, 48)
        await bench.abort()


@cocotb.test()
async def run_drain_ends(dut):
    """Dropping gives up when no beat comes for the watchdog's time, or too many come."""
    bench = Bench(dut)
    await start(dut)
    limit = dut.MaxDrainBeats.value.to_unsigned()
    for beats in (3, 3 * limit):
        bench.send_entries(bench.ring(16), 16, 1)
        bench.stream.send({"s_axis_tdata_i": i, "s_axis_tlast_i": 0} for i in range(beats))
        bench.errors.clear()
        await bench.errors.wait_for(1)
        await bench.abort()
        await ClockCycles(dut.clk_i, 5)
        assert len(bench.stream.queue) == (0 if beats == 3 else beats - limit - 1)
        bench.stream.queue.clear()
        await reset(dut)
        bench.errors.clear()
        bench.done.clear()
        await bench.run(2, 33)


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle of a token; the next run is right."""
    bench = Bench(dut, randomly)
    await start(dut)
    for _ in range(10):
        bench.send_entries(bench.ring(64), 64, 4, last=False)
        bench.send_packet(np.zeros((8, 64)), 64)
        await ClockCycles(dut.clk_i, random.randint(1, 40))
        bench.entries.queue.clear()
        bench.stream.queue.clear()
        await reset(dut)
        bench.done.clear()
        bench.errors.clear()
        await bench.run(3, 50)


@pytest.mark.parametrize("build", ["small", pytest.param("default", marks=pytest.mark.slow)])
def test_stream_in(build):
    simulate("cmamba_stream_in", {"MaxDrainBeats": 64}, build=build, extra_env={"BUILD": build})


@pytest.mark.parametrize("bad", [{"RowAlign": 24}, {"PatchElements": 16}, {"MaxDrainBeats": 0}])
def test_bad_parameters(bad, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_stream_in", bad)
    assert f"stream_in: {next(iter(bad))} is" in capfd.readouterr().err
