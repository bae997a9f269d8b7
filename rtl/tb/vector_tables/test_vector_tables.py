"""vector_tables: parameter words from any address, look-ups of SCALE and MODULATE side by side."""

import os
import random
from collections import deque

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

import isa
from rtl.tb.packages import Packages
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, randomly, reset, seed_numpy, start
from rtl.tb.units import Memory, joined_sink
from rtl.tb.words import pack, unsigned

BUILD = os.environ.get("BUILD", "small")
TYPES = Packages(BUILD)
LOOKUP, PARAM = TYPES.structs["lookup_t"], TYPES.structs["param_word_t"]
SOURCES = TYPES.enums["param_source_e"]
LANES, ALIGN, WAITING = (TYPES.sizes[n] for n in ("Lanes", "RowAlign", "WaitingDepth"))
PARAMS, TABLES = (TYPES.sizes[n] for n in ("MaxVectorParams", "MaxVectorTables"))
PARAM_LATENCY = 5
UNUSED = {"lane": 0, "is_shift": 0}  # of SCALE


class Bench:
    """Beats a cycle, some of them SCALE's, and look-ups of MODULATE where there is room."""

    def __init__(self, dut, stall):
        seed_numpy()
        self.dut = dut
        for name in ("param_wr_en", "table_wr_en", "scale_soon", "lookup_valid"):
            getattr(dut, f"{name}_i").value = 0
        self.logit = Memory(dut, "logit", isa.build(BUILD))
        self.logit.data[:] = np.random.randint(-128, 128, len(self.logit.data))
        self.factors = joined_sink(dut, "factors_", ("scale_o", "shift_o"), stall)
        self.clear()

    def clear(self):
        self.expected, self.pair = [], []
        self.factors.received.clear()
        self.soon = None  # the look-up of SCALE that comes in the next cycle
        self.params = deque([None] * PARAM_LATENCY)
        self.scales = deque([None] * 2)  # factors of SCALE on their way to the request for words

    async def load(self):
        names = [field.name for field in PARAM.fields]
        bits = [field.bits for field in PARAM.fields]
        self.words = [
            {name: unsigned(b) for name, b in zip(names, bits, strict=True)} for _ in range(PARAMS)
        ]
        self.tables = np.array([[unsigned(16) for _ in range(256)] for _ in range(TABLES)])
        dut = self.dut
        dut.param_wr_en_i.value = 1
        for i in range(0, PARAMS, 2):
            dut.param_wr_addr_i.value = i // 2
            dut.param_wr_data_i.value = pack(map(PARAM.pack, self.words[i : i + 2]), PARAM.bits)
            await RisingEdge(dut.clk_i)
        dut.param_wr_en_i.value = 0
        dut.table_wr_en_i.value = 1
        for i, entry in enumerate(self.tables.reshape(-1).tolist()):
            dut.table_wr_addr_i.value = i
            dut.table_wr_data_i.value = entry
            await RisingEdge(dut.clk_i)
        dut.table_wr_en_i.value = 0

    def entries(self, lookup):
        """What the lanes find."""
        at = lookup["logit_word"] * ALIGN + lookup["slot"] * LANES
        return self.tables[lookup["table_index"]][self.logit.row(at, LANES) + 128].tolist()

    def wanted(self, source, addr, scale):
        """Words without bias, as the tables must give them."""
        if source == "ParamsOfTable":
            words = [{"multiplier": factor, "shift": 16, "zero_point": 0} for factor in scale]
        else:
            step = source == "ParamsOfRow"
            words = [self.words[addr + step * lane] for lane in range(LANES)]
        return pack((PARAM.pack({**word, "bias": 0}) for word in words), PARAM.bits)

    async def cycle(self, scale, modulate):
        """A cycle: whether a SCALE begins to look up, whether MODULATE would look up."""
        dut = self.dut
        lookup, self.soon = self.soon, LOOKUP.random(**UNUSED) if scale else None
        dut.scale_soon_i.value = self.soon is not None
        dut.scale_lookup_i.value = LOOKUP.pack(lookup or LOOKUP.random())
        self.scales.append(lookup and self.entries(lookup))
        factors = self.scales.popleft()
        source = random.choice(["ParamsOfRow", "ParamOfEntry"]) if not factors else "ParamsOfTable"
        addr = random.randrange(PARAMS - LANES + 1)
        dut.param_source_i.value = SOURCES[source]
        dut.param_addr_i.value = addr
        self.params.append(self.wanted(source, addr, factors))

        waiting = len(self.expected) - len(self.factors.received) + bool(self.pair)
        can = lookup is None and (self.pair or waiting < WAITING)
        dut.lookup_valid_i.value = bool(modulate and can)
        if modulate and can:
            word = LOOKUP.random(is_shift=len(self.pair))
            dut.lookup_i.value = LOOKUP.pack(word)
            self.pair.append(self.entries(word)[word["lane"]])
            if len(self.pair) == 2:
                self.expected.append(tuple(self.pair))
                self.pair = []
        await RisingEdge(dut.clk_i)
        assert bool(dut.scale_looks_up_o.value) == (lookup is not None)
        words = self.params.popleft()
        if words is not None:
            assert int(dut.params_o.value) == words

    async def finish(self):
        while self.pair:
            await self.cycle(False, True)
        for _ in range(2 * PARAM_LATENCY):
            await self.cycle(False, False)
        assert await self.factors.wait_for(len(self.expected)) == self.expected
        await ClockCycles(self.dut.clk_i, 20)
        assert not self.factors.received
        self.clear()


@cocotb.test()
@cocotb.parametrize(stall=PATTERNS, scales=PATTERNS, modulates=(always, randomly))
async def run_beats(dut, stall, scales, modulates):
    """Parameters in every cycle, with look-ups of both, factors that wait."""
    bench = Bench(dut, stall)
    await start(dut)
    await bench.load()
    scale, modulate = scales(), modulates()
    for _ in range(300):
        await bench.cycle(next(scale), next(modulate))
    await bench.finish()


@cocotb.test()
async def run_reset(dut):
    """After a reset no factors of before come."""
    bench = Bench(dut, always)
    await start(dut)
    await bench.load()
    for _ in range(10):
        for _ in range(random.randint(1, 30)):
            await bench.cycle(random.random() < 0.3, True)
        dut.scale_soon_i.value = dut.lookup_valid_i.value = 0
        await reset(dut, 10)
        bench.clear()
        for _ in range(30):
            await bench.cycle(random.random() < 0.3, True)
        await bench.finish()


@pytest.mark.parametrize("build", ["small", pytest.param("default", marks=pytest.mark.slow)])
def test_vector_tables(build):
    simulate("cmamba_vector_tables", build=build, extra_env={"BUILD": build})
