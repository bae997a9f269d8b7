"""vector_output: results of any target at their places and in order, stalls of both ports."""

import os
import random

import cocotb
import numpy as np
import pytest
import torch
from cocotb.triggers import ClockCycles, RisingEdge

import isa
from golden.arithmetic import Params, requantize, saturate
from rtl.tb.packages import Packages
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, randomly, reset, start
from rtl.tb.units import Counter, Memory
from rtl.tb.words import pack, signed

BUILD = os.environ.get("BUILD", "small")
TYPES = Packages(BUILD)
RESULT, PARAM = TYPES.structs["result_t"], TYPES.structs["param_word_t"]
LANES, SLOTS, DEPTH = (TYPES.sizes[name] for name in ("Lanes", "Slots", "ResultDepth"))
SPACES = {"ToNorm": "norm", "ToResid": "resid", "ToConvIn": "conv_in"}


class Bench:
    """Sends beats while there is room for them, and keeps what the memories must hold."""

    def __init__(self, dut, ready, gaps):
        self.dut = dut
        build = isa.build(BUILD)
        self.memories = {name: Memory(dut, name, build, ready) for name in SPACES.values()}
        self.gaps = gaps()
        dut.valid_i.value = 0
        self.done = Counter(dut, "done_o")
        self.clear()

    def clear(self):
        self.inside = self.ends = self.most = 0
        self.done.clear()
        self.expected = {}
        for name, memory in self.memories.items():
            memory.data[:] = 0
            self.expected[name] = memory.data.copy()

    def beat(self):
        """A random beat on the ports, and its results in what is expected."""
        target = random.choice(("ToNothing", *SPACES))
        wide = random.randrange(2) if target == "ToResid" else 0
        words = [
            {
                "bias": signed(32),
                "multiplier": signed(18),
                "shift": random.choice([random.randint(0, 48), random.randint(20, 36)]),
                "zero_point": signed(8),
            }
            for _ in range(LANES)
        ]
        rounded = [signed(29) for _ in range(LANES)]
        where = RESULT.random(target=TYPES.enums["target_e"][target])
        if target != "ToNothing":
            space = SPACES[target]
            # Few words, so that later results fall on earlier ones.
            where["dst_word"] %= min(4, len(self.expected[space]) // (LANES * SLOTS))
            params = Params(*torch.tensor([list(word.values()) for word in words]).T)
            y = saturate(requantize(torch.tensor(rounded), params), 16 if wide else 8)
            at = (where["dst_word"] * SLOTS + where["slot"]) * LANES
            for lane in range(LANES):
                if where["lanes"] >> lane & 1:
                    self.expected[space][at + lane] = y[lane]
        self.ends += where["last"]
        self.dut.rounded_i.value = pack(rounded, 32)
        self.dut.params_i.value = pack((PARAM.pack(word) for word in words), PARAM.bits)
        self.dut.result_i.value = RESULT.pack(where)
        self.dut.wide_i.value = wide

    async def send(self, beats):
        while beats:
            offered = self.inside < DEPTH and next(self.gaps)
            self.dut.valid_i.value = offered
            if offered:
                self.beat()
                beats -= 1
                self.inside += 1
            await self.tick()
        self.dut.valid_i.value = 0

    async def tick(self):
        await RisingEdge(self.dut.clk_i)
        self.most = max(self.most, self.inside)
        self.inside -= bool(self.dut.pop_o.value)

    async def finish(self):
        for _ in range(100 * DEPTH):
            if not self.inside:
                break
            await self.tick()
        assert self.inside == 0
        await ClockCycles(self.dut.clk_i, 20)
        assert len(self.done) == self.ends and not self.dut.pop_o.value
        for name, data in self.expected.items():
            np.testing.assert_array_equal(self.memories[name].data, data, err_msg=name)


@cocotb.test()
@cocotb.parametrize(ready=PATTERNS, gaps=(always, randomly))
async def run_results(dut, ready, gaps):
    """Beats of all targets; each write waits for its port, those behind it wait too."""
    bench = Bench(dut, ready, gaps)
    await start(dut)
    await bench.send(400)
    await bench.finish()
    assert gaps is randomly or ready is always or bench.most == DEPTH


@cocotb.test()
async def run_reset(dut):
    """After a reset nothing of the beats before it is written."""
    bench = Bench(dut, randomly, always)
    await start(dut)
    for _ in range(5):
        await bench.send(random.randint(1, 60))
        await reset(dut)
        bench.clear()
        await bench.send(20)
        await bench.finish()
        bench.clear()


@pytest.mark.parametrize("build", ["small", pytest.param("default", marks=pytest.mark.slow)])
def test_vector_output(build):
    simulate("cmamba_vector_output", build=build, extra_env={"BUILD": build})
