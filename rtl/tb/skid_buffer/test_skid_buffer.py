"""skid_buffer: order, no loss, full rate, no combinational path, reset."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge

from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, Sink, Source, always, randomly, reset, start


def random_words(dut, n):
    return [random.getrandbits(len(dut.data_i)) for _ in range(n)]


@cocotb.test()
@cocotb.parametrize(idle=PATTERNS, stall=PATTERNS)
async def run_order(dut, idle, stall):
    """Every word comes out once, in order, whatever the stalls."""
    source, sink = Source(dut, idle), Sink(dut, stall)
    await start(dut)
    words = random_words(dut, 200)
    source.send(words)
    assert await sink.wait_for(len(words)) == words


@cocotb.test()
async def run_full_rate(dut):
    """A word a cycle after one cycle of latency; two words inside when the output stops."""
    source, sink = Source(dut), Sink(dut)
    await start(dut)
    words = random_words(dut, 100)
    source.send(words)
    await ClockCycles(dut.clk_i, len(words) + 3)
    assert sink.received == words


@cocotb.test()
async def run_no_combinational_path(dut):
    """valid_o and ready_o do not follow the inputs within a cycle."""
    await start(dut)
    for _ in range(200):
        await RisingEdge(dut.clk_i)
        dut.valid_i.value = 0
        dut.ready_i.value = 0
        await ReadOnly()
        outputs = (dut.valid_o.value, dut.ready_o.value, dut.data_o.value)
        await cocotb.triggers.Timer(1, "ns")
        dut.valid_i.value = random.getrandbits(1)
        dut.ready_i.value = random.getrandbits(1)
        dut.data_i.value = random_words(dut, 1)[0]
        await ReadOnly()
        assert outputs == (dut.valid_o.value, dut.ready_o.value, dut.data_o.value)


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle empties the buffer; what comes later is not disturbed."""
    source, sink = Source(dut, always), Sink(dut, randomly)
    await start(dut)
    for _ in range(20):
        source.send(random_words(dut, 20))
        await ClockCycles(dut.clk_i, random.randint(1, 15))
        source.abandon()
        await reset(dut)
        sink.received.clear()
        words = random_words(dut, 10)
        source.send(words)
        assert await sink.wait_for(len(words)) == words


@pytest.mark.parametrize("Width", [8, *(pytest.param(w, marks=pytest.mark.slow) for w in (1, 145))])
def test_skid_buffer(Width):
    simulate("cmamba_skid_buffer", {"Width": Width})
