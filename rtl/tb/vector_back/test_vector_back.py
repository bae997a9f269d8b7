"""vector_back: beats of entries in order, once what they wait for has come and there is room."""

import os
import random
from collections import deque

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from rtl.tb.packages import Packages
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, Source, always, randomly, rarely, reset, start
from rtl.tb.units import joined_source
from rtl.tb.words import signed, unsigned

BUILD = os.environ.get("BUILD", "small")
TYPES = Packages(BUILD)
CONTEXT, BEAT = TYPES.structs["context_t"], TYPES.structs["back_beat_t"]
KINDS, WAYS = TYPES.enums["kind_e"], TYPES.enums["way_e"]
LANES, SLOTS, DEPTH = (TYPES.sizes[n] for n in ("Lanes", "Slots", "ResultDepth"))
OPCODES = ("norm", "pool", "scale", "pool_features", "modulate")
WAITS = {"norm": "WayRoot", "pool_features": "WayScalars", "modulate": "WayFactors"}


class Entry:
    """A random entry: its context, what it waits for, and the beats that it must give."""

    def __init__(self, opcode, passes=False, beats=None):
        self.opcode, self.passes = opcode, passes
        beats = beats or random.choice([1, 1, 2, random.randint(1, 9)])
        c = CONTEXT.random(
            **{f"is_{name}": name == opcode for name in OPCODES if name != "scale"},
            way=WAYS[WAITS.get(opcode, "WayNone")],
            passes=passes,
            beats=beats,
            one_beat=beats == 1,
        )
        self.context = CONTEXT.pack(c)
        self.waits = opcode in WAITS
        self.reads_pool = opcode == "pool" and not passes
        self.root = unsigned(17) | 1 << 16, random.randint(-15, 8)
        self.scalars = signed(28), signed(16)
        self.factors = unsigned(16), signed(16)
        self.beats = [BEAT.cut({"last": 0, **beat}) for beat in self._beats(c, beats)]
        self.beats[-1]["last"] = 1

    def _beats(self, c, n):
        ends = [LANES - 1] * (n - 1) + [c["last_lane"]]
        one = {"left_shift": 0, "wide": c["wide"]}
        if self.passes:
            yield {"kind": KINDS["BeatNothing"]}
        elif self.opcode == "pool":
            for kind, word, step in (("Mean", "dst_word", 0), ("Maximum", "second_word", 1)):
                for i in range(n):
                    yield {
                        "kind": KINDS[f"Beat{kind}"],
                        "feature": i,
                        "lane": ends[i],
                        "param_addr": c["param_addr"] + step,
                        "dst_word": c[word] + i // SLOTS,
                        "wide": c["wide"],
                    }
        elif self.opcode == "pool_features":
            for k, word in enumerate(("dst_word", "second_word")):
                beat, lane = divmod(c["elements"][k], LANES)
                yield {
                    "kind": KINDS["BeatScalar"],
                    "operand": self.scalars[k],
                    "feature": beat,
                    "lane": lane,
                    "param_addr": c["param_addr"] + k,
                    "dst_word": c[word] + beat // SLOTS,
                    "wide": c["wide"],
                }
        else:
            for i in range(n):
                beat = {**one, "lane": ends[i], "feature": i, "word": c["src_word"] + i // SLOTS}
                beat["dst_word"] = c["dst_word"] + i // SLOTS
                if self.opcode == "norm":
                    r, e = self.root
                    beat |= {"kind": KINDS["BeatNorm"], "operand": r << 8 - max(e, 0)}
                    beat |= {"left_shift": max(-e, 0), "param_addr": c["param_addr"] + i * LANES}
                elif self.opcode == "scale":
                    beat |= {"kind": KINDS["BeatScale"], "operand": 1 << 17}
                    beat |= {"logit_word": c["logit_word"] + i // SLOTS}
                    beat |= {"table_index": c["table_index"]}
                else:
                    scale, shift = self.factors
                    word = c["second_word"] + i // SLOTS
                    yield {"kind": KINDS["BeatAddend"], "operand": shift, "word": word}
                    beat |= {"kind": KINDS["BeatModulate"], "operand": 2 * scale}
                    beat |= {"param_addr": c["param_addr"]}
                yield beat


class Bench:
    """Offers entries and what they wait for, takes results away, and checks every cycle."""

    def __init__(self, dut, arrive=always, pops=always, gaps=always):
        self.dut = dut
        self.arrive, self.pops = arrive(), pops()
        names = {"valid": "context_valid_i", "ready": "context_ready_o", "data": "context_i"}
        self.contexts = Source(dut, gaps, **names)
        scalars, factors = ("row_sum_i", "row_maximum_i"), ("scale_i", "shift_i")
        self.scalars = joined_source(dut, "scalars_", scalars, arrive)
        self.factors = joined_source(dut, "factors_", factors, arrive)
        dut.root_valid_i.value = dut.root_i.value = dut.root_exponent_i.value = 0
        dut.result_pop_i.value = 0
        self.roots = deque()
        self.clear()
        cocotb.start_soon(self._roots())
        cocotb.start_soon(self._run())

    def clear(self):
        self.beats = deque()
        self.inside = self.most = 0
        self.waited = self.pools = 0  # what the back has still to tell
        self.was_addend = False
        self.times = []

    def abandon(self):
        """Offer nothing any more, to be called before a reset."""
        self.roots.clear()
        for source in (self.contexts, self.scalars, self.factors):
            source.abandon()

    def send(self, listed):
        for entry in listed:
            self.contexts.send([entry.context])
            self.beats.extend(entry.beats)
            self.waited += entry.waits
            self.pools += entry.reads_pool
            if entry.opcode == "norm":
                self.roots.append(entry.root)
            elif entry.opcode == "pool_features":
                names = ("row_sum_i", "row_maximum_i")
                self.scalars.send([dict(zip(names, entry.scalars, strict=True))])
            elif entry.opcode == "modulate":
                names = ("scale_i", "shift_i")
                self.factors.send([dict(zip(names, entry.factors, strict=True))])

    async def finish(self):
        for _ in range(50_000):
            if not self.beats and not self.inside:
                await ClockCycles(self.dut.clk_i, 10)
                assert self.waited == self.pools == 0
                return
            await RisingEdge(self.dut.clk_i)
        raise AssertionError(f"{len(self.beats)} beats have not come")

    async def _roots(self):
        """A root's exponent is there many cycles before the root."""
        dut = self.dut
        while True:
            await RisingEdge(dut.clk_i)
            if not self.roots or dut.rst_i.value:
                continue
            root = self.roots[0]
            dut.root_exponent_i.value = root[1]
            for _ in range(random.randint(3, 19)):
                await RisingEdge(dut.clk_i)
            if not self.roots or self.roots[0] is not root:
                continue
            dut.root_valid_i.value, dut.root_i.value = 1, root[0]
            await RisingEdge(dut.clk_i)
            while not dut.root_ready_o.value and not dut.rst_i.value:
                await RisingEdge(dut.clk_i)
            dut.root_valid_i.value = 0
            dut.root_i.value = random.getrandbits(17)
            if self.roots and self.roots[0] is root and not dut.rst_i.value:
                self.roots.popleft()

    async def _run(self):
        dut = self.dut
        popped = False
        cycle = 0
        while True:
            await RisingEdge(dut.clk_i)
            cycle += 1
            if dut.rst_i.value:
                dut.result_pop_i.value = popped = False
                continue
            self.waited -= bool(dut.waited_o.value)
            self.pools -= bool(dut.pool_read_o.value)
            valid = bool(dut.beat_valid_o.value)
            assert valid != bool(dut.idle_o.value)
            assert valid or not self.was_addend, "x does not follow its addend"
            self.inside -= popped
            self.was_addend = False
            if valid:
                self.times.append(cycle)
                wanted = self.beats.popleft()
                beat = BEAT.unpack(int(dut.beat_o.value))
                assert {name: beat[name] for name in wanted} == wanted
                self.was_addend = wanted["kind"] == KINDS["BeatAddend"]
                self.inside += not self.was_addend
                self.most = max(self.most, self.inside)
                assert self.inside <= DEPTH
            popped = self.inside > 0 and next(self.pops)
            dut.result_pop_i.value = popped


def mixed(n):
    """Entries of all kinds, half of the POOLs without a result."""
    kinds = [random.choice(OPCODES) for _ in range(n)]
    return [Entry(kind, kind == "pool" and random.random() < 0.5) for kind in kinds]


@cocotb.test()
@cocotb.parametrize(arrive=PATTERNS, pops=PATTERNS, gaps=(always, randomly))
async def run_mixed(dut, arrive, pops, gaps):
    """All entries; what they wait for comes early and late; results are taken slowly."""
    bench = Bench(dut, arrive, pops, gaps)
    await start(dut)
    bench.send(mixed(60))
    await bench.finish()


@cocotb.test()
async def run_no_gap(dut):
    """A beat a cycle, also from an entry to the next."""
    bench = Bench(dut)
    await start(dut)
    for opcode in ("scale", "pool", "modulate"):
        bench.send([Entry(opcode, beats=random.randint(4, 9)) for _ in range(20)])
        await bench.finish()
        assert bench.times[-1] - bench.times[0] == len(bench.times) - 1
        bench.clear()


@cocotb.test()
async def run_room(dut):
    """Beats stop when all places for results are taken, none is left empty."""
    bench = Bench(dut, pops=rarely)
    await start(dut)
    bench.send(Entry("scale", beats=9) for _ in range(20))
    await bench.finish()
    assert bench.most == DEPTH


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle; the entries after it are right."""
    bench = Bench(dut, randomly, randomly)
    await start(dut)
    for _ in range(8):
        bench.send(mixed(20))
        await ClockCycles(dut.clk_i, random.randint(1, 150))
        bench.abandon()
        await reset(dut)
        bench.clear()
        bench.send(mixed(6))
        await bench.finish()


@pytest.mark.parametrize("build", ["small", pytest.param("default", marks=pytest.mark.slow)])
def test_vector_back(build):
    simulate("cmamba_vector_back", build=build, extra_env={"BUILD": build})
