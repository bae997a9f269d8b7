"""run_control: commands to their executor, results back, a bounded wait for a bus that is busy."""

import random

import cocotb
from cocotb.triggers import RisingEdge

import isa
from rtl.tb.simulate import simulate
from rtl.tb.streams import start

LOAD, RUN, TLAST_EACH = 1, 2, 0x100
INPUTS = (
    "start_i",
    "mode_i",
    "load_done_i",
    "load_error_i",
    "run_done_i",
    "run_error_i",
    "abort_i",
    "draining_i",
    "reading_i",
)


async def begin(dut):
    for name in INPUTS:
        getattr(dut, name).value = 0
    dut.watchdog_cycles_i.value = 100
    await start(dut)


async def pulse(dut, **values):
    """Set inputs for a cycle; returns the outputs in that cycle. The mode stays."""
    for name, value in values.items():
        getattr(dut, name).value = value
    await RisingEdge(dut.clk_i)
    names = ("load_start_o", "run_start_o", "tlast_each_o", "done_o", "error_o", "settling_o")
    outputs = {name: int(getattr(dut, name).value) for name in names}
    for name in values.keys() - {"mode_i"}:
        getattr(dut, name).value = 0
    return outputs


@cocotb.test()
async def commands(dut):
    """Each mode starts what it should, or ends with BAD_MODE; errors come back unchanged."""
    await begin(dut)
    modes = [
        0,
        LOAD,
        RUN,
        3,
        RUN | TLAST_EACH,
        LOAD | TLAST_EACH,
        RUN | 0x200,
        1 << 31 | LOAD,
        0xFF,
    ]
    for mode in modes + [random.getrandbits(32) for _ in range(50)]:
        command = mode & ~TLAST_EACH
        got = await pulse(dut, start_i=1, mode_i=mode)
        assert got["load_start_o"] == (command == LOAD), f"mode {mode:#x}"
        assert got["run_start_o"] == (command == RUN), f"mode {mode:#x}"
        assert got["tlast_each_o"] == mode >> 8 & 1
        assert not got["done_o"]
        if command not in (LOAD, RUN):
            got = await pulse(dut)
            assert got["done_o"] and got["error_o"] == isa.ERRORS["BAD_MODE"], f"mode {mode:#x}"
        else:
            for _ in range(random.randrange(4)):
                assert not (await pulse(dut))["done_o"]
            error = random.choice(list(isa.ERRORS.values()))
            unit = "load" if command == LOAD else "run"
            got = await pulse(dut, **{f"{unit}_done_i": 1, f"{unit}_error_i": error})
            assert got["done_o"] and got["error_o"] == error
        got = await pulse(dut)
        assert not (got["done_o"] or got["load_start_o"] or got["run_start_o"])


@cocotb.test()
async def settling(dut):
    """A run waits for the stream as long as it says, for the bus no longer than the watchdog."""
    await begin(dut)
    for watchdog in (1, 2, 37):
        dut.watchdog_cycles_i.value = watchdog
        await pulse(dut, abort_i=1)
        dut.reading_i.value = 1
        waited = 0
        while (await pulse(dut))["settling_o"]:
            waited += 1
        assert waited == watchdog - 1
        for _ in range(3):
            assert not (await pulse(dut))["settling_o"]
        assert (await pulse(dut, draining_i=1))["settling_o"]
        dut.reading_i.value = 0
        await pulse(dut, abort_i=1)
        assert not (await pulse(dut))["settling_o"], "nothing to wait for"
        assert (await pulse(dut, draining_i=1))["settling_o"]

    # Zero stands for 2^32 cycles.
    dut.watchdog_cycles_i.value = 0
    await pulse(dut, abort_i=1)
    dut.reading_i.value = 1
    for _ in range(1000):
        assert (await pulse(dut))["settling_o"]


def test_run_control():
    simulate("cmamba_run_control")
