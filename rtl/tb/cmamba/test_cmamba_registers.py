"""cmamba, registers: reset values, capabilities, block control, interrupts, writes during a run."""

import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

import isa
from golden.random_programs import random_package
from rtl.regs import registers as regs
from rtl.tb.accelerator import LOAD, RUN, Accelerator, Stalls
from rtl.tb.cmamba.bench import BUILD, OURS, Bench, Golden
from rtl.tb.cmamba.top import Top
from rtl.tb.streams import in_bursts, randomly

ENDED = regs.CTRL_DONE | regs.CTRL_IDLE


def sample():
    rng = np.random.default_rng(3)
    return Golden.random(random_package(rng, BUILD, largest=8), rng)


async def loaded(dut, stalls=None):
    bench = Bench(dut, stalls)
    await bench.reset()
    golden = sample()
    await bench.load(golden)
    return bench, golden


@cocotb.test()
@cocotb.skipif(not OURS, reason="this RTL has other registers")
async def run_reset_values(dut):
    """Before anything was written."""
    accelerator = Accelerator(dut)
    await accelerator.reset()
    await accelerator.write("GIE", 0)
    await accelerator.write("IER", 0)
    zero = ("GIE", "IER", "ISR", "GMEM_LO", "GMEM_HI", "MODE", "PACKAGE_BEATS", "N_FORECASTS")
    for name in (*zero, "ERROR"):  # the counters are those of a run, and there was none
        assert await accelerator.read(name) == 0, name
    assert await accelerator.read("CTRL") == regs.CTRL_IDLE
    assert await accelerator.read("WATCHDOG_CYCLES") == 250_000_000
    assert not dut.interrupt.value and not dut.m_axis_TVALID.value
    assert not dut.m_axi_gmem_ARVALID.value and not dut.s_axis_TREADY.value


@cocotb.test()
@cocotb.skipif(not OURS, reason="this RTL has other registers")
@cocotb.parametrize(pattern=[randomly, in_bursts])
async def run_capabilities(dut, pattern):
    """What builds.toml says; none of it can be written."""
    accelerator = Accelerator(dut, Stalls(control=pattern))
    await accelerator.reset()
    expected = {
        "VERSION": isa.VERSION[0] << 16 | isa.VERSION[1],
        "TILE": BUILD.tile_out << 16 | BUILD.tile_in,
        "LANES_0": BUILD.vector_lanes << 16 | BUILD.requantize_lanes,
        "LANES_1": BUILD.scan_lanes << 16 | BUILD.conv_lanes,
    }
    expected |= {f"MAX_{name.upper()}": value for name, value in BUILD.capacity.items()}
    expected |= {f"SPACE_{s.index}": BUILD.spaces[s.name] for s in isa.SPACES.values()}
    for name, value in expected.items():
        assert await accelerator.read(name) == value, name
        await accelerator.write(name, 0xFFFFFFFF)
        assert await accelerator.read(name) == value, f"{name} can be written"


@cocotb.test()
async def run_block_control(dut):
    """start stays until the run is done; reading clears done; idle only between runs."""
    bench, golden = await loaded(dut)
    accelerator = bench.accelerator
    beats = accelerator.shape.beats(golden.tokens)
    for _ in range(2):
        await accelerator.start(RUN, 0x1000, 0, golden.n_forecasts)
        for _ in range(3):
            control = await accelerator.read("CTRL")
            assert control & (regs.CTRL_START | ENDED) == regs.CTRL_START, f"CTRL {control:#x}"
        accelerator.source.send(beats, np.arange(len(beats)) == len(beats) - 1)
        await RisingEdge(dut.interrupt)
        control = await accelerator.read("CTRL")
        assert control & (regs.CTRL_START | ENDED) == ENDED
        assert control & regs.CTRL_READY
        control = await accelerator.read("CTRL")
        assert control & (regs.CTRL_START | ENDED) == regs.CTRL_IDLE
        await accelerator.write("ISR", regs.ISR_DONE)
        assert await accelerator.read("ERROR") == 0


@cocotb.test()
async def run_interrupt(dut):
    """Comes with both enables, once a run, and goes when its status is toggled."""
    bench, golden = await loaded(dut)
    accelerator = bench.accelerator
    for enabled, status in ((0, 1), (1, 0), (0, 0), (1, 1)):
        await accelerator.write("GIE", enabled)
        await accelerator.write("IER", status)
        await accelerator.start(LOAD, 0x1000, -(-len(golden.data) // 16), 0)
        while not await accelerator.read("CTRL") & regs.CTRL_DONE:
            await ClockCycles(accelerator.clk, 50)
        assert await accelerator.read("ISR") == status
        assert bool(dut.interrupt.value) == bool(enabled and status)
        await accelerator.write("ISR", status)
        assert not dut.interrupt.value
        assert await accelerator.read("ISR") == 0
    await bench.run(golden)


@cocotb.test()
@cocotb.parametrize(pattern=[randomly, in_bursts])
async def run_writes_during_a_run(dut, pattern):
    """What software writes during a run belongs to the next one; starting again does nothing."""
    bench, golden = await loaded(dut, Stalls(control=pattern))
    accelerator = bench.accelerator
    beats = accelerator.shape.beats(golden.tokens)
    last = np.arange(len(beats)) == len(beats) - 1
    await accelerator.start(RUN, 0x1000, 0, golden.n_forecasts)
    for name in ("GMEM_LO", "GMEM_HI", "MODE", "PACKAGE_BEATS", "N_FORECASTS"):
        value = random.getrandbits(32)
        await accelerator.write(name, value)
        assert await accelerator.read(name) == value
    await accelerator.write("WATCHDOG_CYCLES", 1)
    await accelerator.write("CTRL", regs.CTRL_START)
    accelerator.source.send(beats, last)
    assert await accelerator.finish() == 0
    sent, _ = accelerator.sink.take()
    np.testing.assert_array_equal(accelerator.shape.forecasts(sent), golden.forecast)
    await ClockCycles(accelerator.clk, 100)
    assert await accelerator.read("CTRL") & (regs.CTRL_START | ENDED) == regs.CTRL_IDLE
    await bench.run(golden)


@cocotb.test()
async def run_auto_restart(dut):
    """A run follows the other without a start, until it is told not to."""
    bench, golden = await loaded(dut)
    accelerator = bench.accelerator
    beats = accelerator.shape.beats(golden.tokens)
    last = np.arange(len(beats)) == len(beats) - 1
    await accelerator.start(RUN, 0x1000, 0, golden.n_forecasts)
    await accelerator.write("CTRL", regs.CTRL_START | regs.CTRL_AUTO_RESTART)
    expected = -(-2 * accelerator.shape.forecast_elements // 16) * golden.forecast[..., 0].size
    for _ in range(3):
        accelerator.source.send(beats, last)
        while len(accelerator.sink.beats) < expected:
            await ClockCycles(accelerator.clk, 20)
        sent, _ = accelerator.sink.take()
        np.testing.assert_array_equal(accelerator.shape.forecasts(sent), golden.forecast)
        await ClockCycles(accelerator.clk, 50)
        assert await accelerator.read("CTRL") & regs.CTRL_START
    await accelerator.write("CTRL", 0)
    await accelerator.write("ISR", await accelerator.read("ISR"))
    accelerator.source.send(beats, last)
    assert await accelerator.finish() == 0
    accelerator.sink.take()
    await bench.run(golden)


@cocotb.test()
@cocotb.skipif(not OURS, reason="this RTL has other registers")
async def run_counters_stay(dut):
    """Counters are those of the last run: loads, right or wrong, and wrong commands leave them."""
    bench, golden = await loaded(dut)
    accelerator = bench.accelerator
    await bench.run(golden)
    counters = await accelerator.read_counters()
    assert counters.entries
    await bench.load(golden)
    assert await accelerator.read_counters() == counters
    assert await accelerator.command(7, n_forecasts=1) == isa.ERRORS["BAD_MODE"]
    assert await accelerator.command(LOAD, address=0x1000, beats=0) == isa.ERRORS["BAD_MAGIC"]
    assert await accelerator.read_counters() == counters


@cocotb.test()
async def run_reset_during_a_run(dut):
    """A reset at any time: nothing runs, nothing is loaded, and the next load and run are right."""
    bench, golden = await loaded(dut)
    accelerator = bench.accelerator
    beats = accelerator.shape.beats(golden.tokens)
    last = np.arange(len(beats)) == len(beats) - 1
    for mode in (RUN, LOAD, RUN):
        accelerator.source.send(beats, last)
        await accelerator.start(mode, 0x1000, -(-len(golden.data) // 16), golden.n_forecasts)
        await ClockCycles(accelerator.clk, random.randint(1, 400))
        await bench.reset()
        accelerator.sink.take()
        assert await accelerator.read("CTRL") == regs.CTRL_IDLE
        if OURS:
            assert await accelerator.command(RUN, n_forecasts=1) == isa.ERRORS["NOT_LOADED"]
        await bench.load(golden)
        await bench.run(golden)


def test_small():
    Top("small").run("test_cmamba_registers")


@pytest.mark.slow
def test_default():
    Top("default").run("test_cmamba_registers")
