"""control: block control as of Vitis HLS, interrupts, arguments, results, capabilities."""

import os
import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

import isa
from rtl.regs import registers as regs
from rtl.tb.simulate import simulate
from rtl.tb.streams import always, in_bursts, randomly, start
from rtl.tb.words import pack

ARGUMENTS = {
    regs.GMEM_LO: "package_addr_o",
    regs.GMEM_HI: "package_addr_o",
    regs.MODE: "mode_o",
    regs.PACKAGE_BEATS: "package_beats_o",
    regs.N_FORECASTS: "n_forecasts_o",
    regs.WATCHDOG_CYCLES: "watchdog_cycles_o",
}


class Bench:
    """AXI4-Lite master, and a core that is started and ends after some cycles."""

    def __init__(self, dut, pattern=always):
        self.dut = dut
        self.axi = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi_control"), dut.clk_i, dut.rst_i)
        for channel in (self.axi.write_if.aw_channel, self.axi.write_if.w_channel):
            channel.set_pause_generator(not active for active in pattern())
        self.axi.read_if.ar_channel.set_pause_generator(not active for active in pattern())
        for channel in (self.axi.write_if.b_channel, self.axi.read_if.r_channel):
            channel.set_pause_generator(not active for active in pattern())
        self.starts = 0
        dut.done_i.value = 0
        dut.error_i.value = 0
        dut.entries_i.value = dut.cycles_i.value = dut.busy_cycles_i.value = 0
        cocotb.start_soon(self._count_starts())

    async def _count_starts(self):
        while True:
            await RisingEdge(self.dut.clk_i)
            self.starts += bool(self.dut.start_o.value)

    async def read(self, address):
        return await self.axi.read_dword(address)

    async def write(self, address, value):
        await self.axi.write_dword(address, value)

    async def finish(self, error=0):
        """The core's last cycle."""
        self.dut.done_i.value = 1
        self.dut.error_i.value = error
        await RisingEdge(self.dut.clk_i)
        self.dut.done_i.value = 0
        self.dut.error_i.value = 0
        await ClockCycles(self.dut.clk_i, 2)


@cocotb.test()
@cocotb.parametrize(pattern=[always, randomly, in_bursts])
async def run_start_and_done(dut, pattern):
    """start stays until the run is done; reading clears done and ready; the error is kept."""
    bench = Bench(dut, pattern)
    await start(dut)
    assert await bench.read(regs.CTRL) == regs.CTRL_IDLE
    for run in range(1, 6):
        await bench.write(regs.CTRL, regs.CTRL_START)
        assert await bench.read(regs.CTRL) == regs.CTRL_START
        await ClockCycles(dut.clk_i, random.randint(1, 20))
        assert bench.starts == run
        code = random.choice(list(isa.ERRORS.values()))
        await bench.finish(code)
        ended = regs.CTRL_IDLE | regs.CTRL_DONE | regs.CTRL_READY
        assert await bench.read(regs.CTRL) == ended
        assert await bench.read(regs.CTRL) == regs.CTRL_IDLE
        assert await bench.read(regs.ERROR) == code
        assert bench.starts == run


@cocotb.test()
async def run_auto_restart(dut):
    """With auto_restart a run follows the other, until it is taken away."""
    bench = Bench(dut)
    await start(dut)
    await bench.write(regs.CTRL, regs.CTRL_START | regs.CTRL_AUTO_RESTART)
    for run in range(1, 5):
        await ClockCycles(dut.clk_i, 5)
        assert bench.starts == run
        await bench.finish()
    await bench.write(regs.CTRL, 0)
    await bench.finish()
    await ClockCycles(dut.clk_i, 10)
    assert bench.starts == 5
    status = await bench.read(regs.CTRL)
    assert status == regs.CTRL_IDLE | regs.CTRL_DONE | regs.CTRL_READY


@cocotb.test()
async def run_interrupt(dut):
    """An interrupt needs both enables, and goes when its status bit is toggled."""
    bench = Bench(dut)
    await start(dut)
    for _ in range(40):
        global_enable, enable = random.getrandbits(1), random.getrandbits(2)
        await bench.write(regs.GIE, global_enable)
        await bench.write(regs.IER, enable)
        await bench.write(regs.CTRL, regs.CTRL_START)
        assert not dut.interrupt_o.value
        await bench.finish()
        assert await bench.read(regs.ISR) == enable
        expected = bool(global_enable and enable)
        assert bool(dut.interrupt_o.value) == expected
        assert bool(await bench.read(regs.CTRL) & regs.CTRL_INTERRUPT) == expected
        await bench.write(regs.ISR, enable)
        assert await bench.read(regs.ISR) == 0
        assert not dut.interrupt_o.value


@cocotb.test()
async def run_arguments(dut):
    """Arguments are read back, and taken over when the run starts and not during it."""
    bench = Bench(dut, randomly)
    await start(dut)
    assert await bench.read(regs.WATCHDOG_CYCLES) == 250_000_000
    before = None
    for _ in range(10):
        values = {address: random.getrandbits(32) for address in ARGUMENTS}
        for address, value in values.items():
            await bench.write(address, value)
        for address, value in values.items():
            assert await bench.read(address) == value
        if before is not None:  # still the arguments of the run before
            check_arguments(dut, before)
            await bench.finish()
        await bench.write(regs.CTRL, regs.CTRL_START)
        await ClockCycles(dut.clk_i, 2)
        check_arguments(dut, values)
        before = values


def check_arguments(dut, values):
    for address, name in ARGUMENTS.items():
        port = getattr(dut, name).value.to_unsigned()
        assert (port >> 32 if address == regs.GMEM_HI else port & 0xFFFFFFFF) == values[address]


@cocotb.test()
async def run_results(dut):
    """Counters, version and capabilities; nothing of it can be written."""
    bench = Bench(dut)
    await start(dut)
    build = isa.build(os.environ["BUILD"])
    entries, cycles = random.getrandbits(64), random.getrandbits(64)
    busy = [random.getrandbits(64) for _ in isa.UNITS]
    dut.entries_i.value = entries
    dut.cycles_i.value = cycles
    dut.busy_cycles_i.value = pack(busy, 64)
    expected = {
        regs.VERSION: isa.VERSION[0] << 16 | isa.VERSION[1],
        regs.ENTRIES_LO: entries & 0xFFFFFFFF,
        regs.ENTRIES_HI: entries >> 32,
        regs.CYCLES_LO: cycles & 0xFFFFFFFF,
        regs.CYCLES_HI: cycles >> 32,
        regs.TILE: build.tile_out << 16 | build.tile_in,
        regs.LANES_0: build.vector_lanes << 16 | build.requantize_lanes,
        regs.LANES_1: build.scan_lanes << 16 | build.conv_lanes,
    }
    for unit, value in enumerate(busy):
        expected[getattr(regs, f"BUSY_{unit}_LO")] = value & 0xFFFFFFFF
        expected[getattr(regs, f"BUSY_{unit}_HI")] = value >> 32
    for name, value in build.capacity.items():
        expected[getattr(regs, f"MAX_{name.upper()}")] = value
    for space in isa.SPACES.values():
        expected[getattr(regs, f"SPACE_{space.index}")] = build.spaces[space.name]
    for address, value in expected.items():
        assert await bench.read(address) == value, f"register {address:#x}"
        await bench.write(address, 0xFFFFFFFF)
        assert await bench.read(address) == value, f"register {address:#x} can be written"


@cocotb.test()
async def run_reset(dut):
    """A reset during a run: nothing is started, pending or kept."""
    bench = Bench(dut)
    await start(dut)
    await bench.write(regs.GIE, 1)
    await bench.write(regs.IER, 3)
    await bench.write(regs.N_FORECASTS, 7)
    await bench.write(regs.CTRL, regs.CTRL_START)
    await bench.finish(3)
    await bench.write(regs.CTRL, regs.CTRL_START)
    await ClockCycles(dut.clk_i, 3)
    starts = bench.starts
    assert starts == 2
    dut.rst_i.value = 1
    await ClockCycles(dut.clk_i, 3)
    dut.rst_i.value = 0
    await ClockCycles(dut.clk_i, 3)
    assert not dut.interrupt_o.value
    assert bench.starts == starts
    for address, value in ((regs.CTRL, regs.CTRL_IDLE), *((a, 0) for a in (4, 8, 12, 0x2C, 0x44))):
        assert await bench.read(address) == value
    await bench.write(regs.CTRL, regs.CTRL_START)
    await ClockCycles(dut.clk_i, 3)
    assert bench.starts == starts + 1


@pytest.mark.parametrize("build", ["small", pytest.param("default", marks=pytest.mark.slow)])
def test_control(build):
    simulate("cmamba_control", build=build, extra_env={"BUILD": build})
