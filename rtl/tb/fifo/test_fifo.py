"""fifo: order, no loss, capacity, level, reset."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, Sink, Source, always, randomly, reset, start


def random_words(dut, n):
    return [random.getrandbits(len(dut.data_i)) for _ in range(n)]


@cocotb.test()
@cocotb.parametrize(idle=PATTERNS, stall=PATTERNS)
async def run_order(dut, idle, stall):
    """Every word comes out once, in order, whatever the stalls; the level counts them."""
    source, sink = Source(dut, idle), Sink(dut, stall)
    await start(dut)
    words = random_words(dut, 200)
    source.send(words)
    assert await sink.wait_for(len(words)) == words
    await RisingEdge(dut.clk_i)
    assert dut.level_o.value == 0
    assert not dut.valid_o.value


@cocotb.test()
async def run_capacity(dut):
    """Holds Depth + 1 words, no more, and passes one a cycle when full or empty."""
    capacity = dut.Depth.value.to_unsigned() + 1
    source = Source(dut)
    dut.ready_i.value = 0
    await start(dut)
    words = random_words(dut, 2 * capacity + 50)
    source.send(words)
    await ClockCycles(dut.clk_i, capacity + 5)
    assert len(source.sent) == capacity
    assert dut.level_o.value == capacity
    assert not dut.ready_o.value
    sink = Sink(dut)
    await ClockCycles(dut.clk_i, len(words) + 5)
    assert sink.received == words


@cocotb.test()
async def run_level(dut):
    """The level is what went in less what came out."""
    source, sink = Source(dut, randomly), Sink(dut, randomly)
    await start(dut)
    source.send(random_words(dut, 300))
    for _ in range(300):
        await RisingEdge(dut.clk_i)
        before = len(source.sent) - len(sink.received)
        await RisingEdge(dut.clk_i)
        # Both bookkeepers see an edge when the level still shows what was before it.
        after = len(source.sent) - len(sink.received)
        assert dut.level_o.value in (before, after)


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle empties the queue; what comes later is not disturbed."""
    source, sink = Source(dut, always), Sink(dut, randomly)
    await start(dut)
    for _ in range(10):
        source.send(random_words(dut, 100))
        await ClockCycles(dut.clk_i, random.randint(1, 60))
        source.abandon()
        await reset(dut)
        sink.received.clear()
        assert dut.level_o.value == 0
        words = random_words(dut, 30)
        source.send(words)
        assert await sink.wait_for(len(words)) == words


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("Width", "Depth"),
    [(8, 4), *(pytest.param(w, d, marks=SLOW) for w in (1, 128) for d in (2, 16, 512))],
)
def test_fifo(Width, Depth):
    simulate("cmamba_fifo", {"Width": Width, "Depth": Depth})


@pytest.mark.parametrize("bad", [{"Width": 0}, {"Depth": 12}, {"Depth": 1}, {"RamStyle": "ultra"}])
def test_bad_parameters(bad, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_fifo", bad)
    assert f"fifo: {next(iter(bad))} is" in capfd.readouterr().err
