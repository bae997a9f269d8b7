"""stream_out: beats, padding, TLAST, back-pressure, what a run that ends leaves behind, cycles."""

import os
import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

import isa
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, randomly, rarely, reset, seed_numpy, start
from rtl.tb.units import Counter, Memory, entries, instruction, joined_sink
from rtl.tb.words import pack

BEAT = 8


class Bench:
    """The unit with its stream and memory."""

    def __init__(self, dut, stall=always, gaps=always):
        seed_numpy()
        self.dut = dut
        self.build = isa.build(os.environ["BUILD"])
        self.entries = entries(dut, ("instruction_i", "src_word_i", "last_i"), gaps)
        self.stream = joined_sink(
            dut, "m_axis_t", ("m_axis_tdata_o", "m_axis_tkeep_o", "m_axis_tlast_o"), stall
        )
        self.head = Memory(dut, "head", self.build)
        self.head.data[:] = np.random.randint(-(1 << 15), 1 << 15, len(self.head.data))
        self.done = Counter(dut, "done_o")
        dut.abort_i.value = 0

    def ring(self, n):
        align = self.build.row_align
        stride = -(-n // align) * align + align * random.randrange(2)
        most = (self.build.spaces["head"] // stride).bit_length() - 1
        log2_rows = random.randint(0, min(most, 4))
        free = self.build.spaces["head"] - (stride << log2_rows)
        return isa.Operand(
            random.randint(0, free // align) * align, stride, log2_rows, isa.SPACES["head"].index
        )

    def begin(self, count, n, lasts=None):
        """Queue ``count`` entries; the beats that they send, as the sink gives them."""
        ring = self.ring(n)
        word = instruction("SEND", src=ring, n=n, n_positions=1)
        expected = []
        for i in range(count):
            sequence = random.randrange(1 << 10)
            last = random.random() < 0.5 if lasts is None else lasts[i]
            first = ring.row(sequence) // self.build.row_align
            self.entries.send([{"instruction_i": word, "src_word_i": first, "last_i": last}])
            row = self.head.row(ring.row(sequence), n).tolist()
            row += [0] * (-n % BEAT)
            beats = range(0, len(row), BEAT)
            expected += [
                (pack(row[b : b + BEAT], 16), 0xFFFF, int(last and b == beats[-1])) for b in beats
            ]
        return expected

    async def run(self, count, n):
        finished = len(self.done) + count
        expected = self.begin(count, n)
        assert await self.stream.wait_for(len(expected)) == expected
        await self.done.wait_for(finished)
        await ClockCycles(self.dut.clk_i, 20)
        assert len(self.done) == finished
        assert not self.stream.received


@cocotb.test()
@cocotb.parametrize(stall=PATTERNS, gaps=(always, randomly))
async def run_rows(dut, stall, gaps):
    """Every size: the row, zeros up to whole beats, TLAST where it is asked for."""
    bench = Bench(dut, stall, gaps)
    await start(dut)
    align = bench.build.row_align
    for n in (1, 7, 8, 9, align, align + 1, 3 * align - 1, random.randint(1, 400)):
        await bench.run(random.randint(1, 6), n)


@cocotb.test()
async def run_cycles(dut):
    """A beat a cycle, also from one entry to the next; done after the last beat is taken."""
    bench = Bench(dut)
    starts, valid = Counter(dut, "start_valid_i"), Counter(dut, "m_axis_tvalid_o")
    await start(dut)
    expected = bench.begin(10, 12 * BEAT)
    await bench.done.wait_for(10)
    assert len(valid) == len(expected) == 120
    assert valid.times[-1] - valid.times[0] == len(expected) - 1
    assert bench.done.times[-1] == valid.times[-1] + 1
    first, last = (bench.done.times[i] - starts.times[0] for i in (0, -1))
    dut._log.info("start to done: %d cycles for 12 beats, %d for 10 x 12", first, last)


@cocotb.test()
async def run_not_taken(dut):
    """Nothing is done while nobody takes the beats, and nothing is lost later."""
    bench = Bench(dut, rarely)
    bench.stream.pattern = iter([False] * 60 + [True] * 10000)
    await start(dut)
    expected = bench.begin(2, 16)
    await ClockCycles(dut.clk_i, 50)
    assert not bench.done.times and dut.m_axis_tvalid_o.value
    assert await bench.stream.wait_for(len(expected)) == expected


@cocotb.test()
@cocotb.parametrize(stall=(always, randomly, rarely))
async def run_abort(dut, stall):
    """The end of a run in the middle of a row: what is offered stays, nothing else comes, and the
    next run is right."""
    bench = Bench(dut, stall)
    await start(dut)
    for cycles in range(1, 40):
        expected = bench.begin(3, 40, [0, 0, 1])
        await ClockCycles(dut.clk_i, cycles)
        dut.abort_i.value = 1
        bench.entries.queue.clear()
        await RisingEdge(dut.clk_i)
        dut.abort_i.value = 0
        finished = len(bench.done)
        # The sink asserts that a beat that was offered is not withdrawn.
        await ClockCycles(dut.clk_i, 40)
        received, bench.stream.received = bench.stream.received, []
        assert received == expected[: len(received)]
        assert len(bench.done) - finished <= 1
        assert not dut.m_axis_tvalid_o.value
        bench.done.clear()
        await bench.run(2, 24)


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle; the next run is right."""
    bench = Bench(dut, randomly)
    await start(dut)
    for _ in range(10):
        bench.begin(4, 100)
        await ClockCycles(dut.clk_i, random.randint(1, 60))
        bench.entries.queue.clear()
        await reset(dut)
        bench.stream.received.clear()
        bench.done.clear()
        await bench.run(3, 50)


@pytest.mark.parametrize("build", ["small", pytest.param("default", marks=pytest.mark.slow)])
def test_stream_out(build):
    simulate("cmamba_stream_out", build=build, extra_env={"BUILD": build})


@pytest.mark.parametrize("bad", [{"RowAlign": 24}, {"HeadElements": 16}])
def test_bad_parameters(bad, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_stream_out", bad)
    assert f"stream_out: {next(iter(bad))} is" in capfd.readouterr().err
