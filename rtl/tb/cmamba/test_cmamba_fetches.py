"""cmamba, weights that are fetched: an error in any beat of a run leaves nothing behind."""

import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles

import isa
from rtl.tb.accelerator import Stalls
from rtl.tb.cmamba.bench import OURS, Bench
from rtl.tb.cmamba.test_cmamba_forecasts import beyond_the_chip, compiled
from rtl.tb.cmamba.top import Top

# Longer than a request that was on its way at the end of a run needs to the bus and back.
QUIET_CYCLES = 100
# Of so many beats one has an error; in the next tiles it is another one of the tile.
STEP = 5


@cocotb.test(skip=not OURS)
async def run_errors_in_beats(dut):
    """BUS_ERROR in beats all over a run. Some find a request of the array just on its way to the
    bus, whose beats would be taken for those of the next load or run."""
    bench = Bench(dut, Stalls(latency=lambda: 3))
    await bench.reset()
    golden = beyond_the_chip(compiled("channels", 1), 0)
    await bench.load(golden)
    memory = bench.accelerator.memory
    before = memory.beats
    await bench.run(golden)
    used = memory.beats - before
    beats = bench.accelerator.shape.beats(golden.tokens)
    last = np.arange(len(beats)) == len(beats) - 1
    for beat in range(random.randrange(STEP), used, STEP):
        memory.fail(beat)
        error, *_ = await bench.accelerator.run_stream(beats, last, golden.n_forecasts)
        assert error == isa.ERRORS["BUS_ERROR"], f"beat {beat}: error {error}"
        memory.resume()
        at_end = memory.beats
        await ClockCycles(bench.accelerator.clk, QUIET_CYCLES)
        assert memory.beats == at_end and not memory.outstanding, (
            f"error in beat {beat}: {memory.beats - at_end} beats after the end of the run"
        )
    await bench.run(golden)


@pytest.mark.slow
def test_small():
    Top("small").run("test_cmamba_fetches")
