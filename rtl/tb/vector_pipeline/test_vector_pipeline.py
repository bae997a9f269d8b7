"""vector_pipeline: what each kind of beat gives in each stage, POOL's sums, any order of beats."""

import os
import random
from collections import defaultdict

import cocotb
import numpy as np
import pytest
from cocotb.triggers import RisingEdge

import isa
from rtl.tb.packages import Packages
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, reset, seed_numpy, start
from rtl.tb.units import Memory
from rtl.tb.words import signed, unpack

BUILD = os.environ.get("BUILD", "small")
TYPES = Packages(BUILD)
FRONT, BACK, LOOKUP, PART, RESULT = (
    TYPES.structs[f"{name}_t"] for name in ("front_beat", "back_beat", "lookup", "part", "result")
)
KINDS, SOURCES, TARGETS = (TYPES.enums[n] for n in ("kind_e", "param_source_e", "target_e"))
LANES, SLOTS = TYPES.sizes["Lanes"], TYPES.sizes["Slots"]
PARTS = ("BeatSquare", "BeatReduce")
WITHOUT_READ = ("BeatMean", "BeatMaximum", "BeatScalar", "BeatNothing")
POOL_DISTANCE = 4  # cycles from a beat of POOL to the next of the same sums
READ_DISTANCE = 8  # cycles from the back's beats that read sums to one that adds to them


def nearest(value, shift):
    """value / 2^shift to the nearest integer, ties to the even one."""
    whole, rest = value >> shift, value & (1 << shift) - 1
    half = 1 << shift - 1
    return whole + int(rest > half or (rest == half and whole & 1))


class Bench:
    """Issues beats; ``due`` has what each cycle must show."""

    def __init__(self, dut):
        seed_numpy()
        self.dut = dut
        self.resid = Memory(dut, "resid", isa.build(BUILD))
        for word in self.resid.data.reshape(-1, LANES * SLOTS):
            bits = random.randint(1, 16)
            word[:] = [signed(bits) for _ in word]
        self.cycle = 0
        self.clear()
        dut.front_valid_i.value = dut.back_valid_i.value = 0

    def clear(self):
        """No beat is on its way."""
        self.due = defaultdict(dict)  # by cycle: {what: value}
        self.addend = None  # MODULATE: x follows in this cycle
        self.pool_read = -READ_DISTANCE
        self.pool_added = defaultdict(lambda: -POOL_DISTANCE)  # by feature
        self.pools = {}  # sum and maximum by feature

    def x(self, word, feature):
        return self.resid.row((word * SLOTS + feature % SLOTS) * LANES, LANES).tolist()

    def may(self, kind, feature, first):
        """Whether a beat of POOL may come now."""
        if kind == "BeatPool":
            near = self.cycle - self.pool_added[feature] < POOL_DISTANCE
            return not near and (first or self.cycle - self.pool_read >= READ_DISTANCE)
        return kind not in ("BeatMean", "BeatMaximum") or feature in self.pools

    def front(self):
        """A random beat of the front: (kind, fields); None where none may come."""
        kind = random.choice(["BeatSquare", "BeatReduce", "BeatPool", "BeatPool"])
        beat = FRONT.random(kind=KINDS[kind])
        if kind == "BeatPool":
            beat["feature"] %= 6
            beat["first"] |= beat["feature"] not in self.pools
        return (kind, beat) if self.may(kind, beat["feature"], beat["first"]) else None

    def back(self):
        """A random beat of the back."""
        kinds = [k for k in KINDS if KINDS[k] >= KINDS["BeatNorm"] and k != "BeatModulate"]
        kind = random.choice(kinds) if self.addend is None else "BeatModulate"
        beat = BACK.random(kind=KINDS[kind], left_shift=0)
        if kind in ("BeatMean", "BeatMaximum"):
            beat["feature"] %= 6
        if kind == "BeatNorm":
            largest = max(abs(v) for v in self.x(beat["word"], beat["feature"]))
            beat["left_shift"] = random.randint(0, min(15, 16 - largest.bit_length()))
            beat["operand"] = random.getrandbits(17) << random.randrange(9)
        elif kind == "BeatScale":
            beat["operand"] = 1 << 17
        elif kind == "BeatAddend":
            beat["operand"] = signed(16) & (1 << 28) - 1
        elif kind == "BeatModulate":
            beat["operand"] = 2 * random.getrandbits(16)
        return (kind, beat) if self.may(kind, beat["feature"], False) else None

    def expect(self, kind, beat, is_front):
        """What the stages of a beat that is issued now must show."""
        lane = beat["last_lane" if is_front else "lane"]
        lanes = 1 << lane if kind == "BeatScalar" else (2 << lane) - 1
        x = self.x(beat["word"], beat["feature"])
        stage = [self.due[self.cycle + s] for s in range(10)]
        stage[1]["read"] = beat["word"] if kind not in WITHOUT_READ else None
        if kind == "BeatPool":
            self.pool(beat, x)
            stage[1]["busy"] = stage[2]["busy"] = True
        if kind in PARTS:
            part = {"squares": kind == "BeatSquare", "lanes": lanes}
            stage[7]["part"] = part | {name: beat[name] for name in ("first", "last", "eps")}
            masked = [v if lanes >> lane & 1 else 0 for lane, v in enumerate(x)]
            stage[7]["products"] = [v * v if part["squares"] else v for v in masked]
        if is_front:
            return
        if kind == "BeatScale":
            stage[1]["soon"] = True
            where = {name: beat[name] for name in ("logit_word", "table_index")}
            stage[2]["lookup"] = where | {"slot": beat["feature"] % SLOTS, "lane": 0, "is_shift": 0}
        source = {"BeatScale": "ParamsOfTable", "BeatNorm": "ParamsOfRow"}.get(kind, "ParamOfEntry")
        stage[4]["params"] = SOURCES[source], beat["param_addr"]
        if kind == "BeatAddend":
            shift = beat["operand"] - (1 << 28 if beat["operand"] >> 27 else 0)
            self.addend = [v + shift for v in x]
            return
        stage[9]["rounded"] = self.rounded(kind, beat, x)
        stage[9]["result"] = self.result(kind, beat, lanes)
        stage[9]["wide"] = beat["wide"]

    def pool(self, beat, x):
        feature = beat["feature"]
        sums, largest = ([0] * LANES, x) if beat["first"] else self.pools[feature]
        sums = [(s + v + (1 << 27)) % (1 << 28) - (1 << 27) for s, v in zip(sums, x, strict=True)]
        self.pools[feature] = sums, list(np.maximum(largest, x).tolist())
        self.pool_added[feature] = self.cycle

    def rounded(self, kind, beat, x):
        if kind in ("BeatMean", "BeatMaximum"):
            self.pool_read = self.cycle
            return self.pools[beat["feature"]][kind == "BeatMaximum"]
        if kind == "BeatScalar":
            return [beat["operand"] - (1 << 28 if beat["operand"] >> 27 else 0)] * LANES
        if kind == "BeatNothing":
            return None
        addend, self.addend = self.addend or [0] * LANES, None
        return [
            nearest((v << beat["left_shift"]) * beat["operand"] + (a << 17), 17)
            for v, a in zip(x, addend, strict=True)
        ]

    def result(self, kind, beat, lanes):
        target = {"BeatNothing": "ToNothing", "BeatScale": "ToResid"}.get(kind, "ToNorm")
        if kind == "BeatModulate":
            target = "ToConvIn"
        if kind in ("BeatNorm", "BeatModulate") and beat["wide"]:
            target = "ToResid"
        place = {"target": TARGETS[target], "slot": beat["feature"] % SLOTS, "lanes": lanes}
        return place | {"last": beat["last"], "dst_word": beat["dst_word"]}

    async def tick(self, front, back):
        """A cycle in which the front or the back would issue a beat; the back goes first."""
        dut = self.dut
        issued = self.back() if back or self.addend is not None else None
        is_front = issued is None and front
        if is_front:
            issued = self.front()
        dut.back_valid_i.value = issued is not None and not is_front
        dut.front_valid_i.value = issued is not None and is_front
        dut.front_beat_i.value = random.getrandbits(FRONT.bits)
        dut.back_beat_i.value = random.getrandbits(BACK.bits)
        if issued:
            self.expect(*issued, is_front)
            port, struct = (dut.front_beat_i, FRONT) if is_front else (dut.back_beat_i, BACK)
            port.value = struct.pack(issued[1])
        await RisingEdge(dut.clk_i)
        self.check(self.due.pop(self.cycle, {}))
        self.cycle += 1

    def check(self, due):
        dut = self.dut
        read = due.get("read")
        assert bool(dut.resid_rd_en_o.value) == (read is not None)
        assert read is None or int(dut.resid_rd_addr_o.value) == read
        assert bool(dut.pool_busy_o.value) == due.get("busy", False)
        assert bool(dut.scale_soon_o.value) == due.get("soon", False)
        if "lookup" in due:
            assert LOOKUP.unpack(int(dut.scale_lookup_o.value)) == due["lookup"]
        if "params" in due:
            found = int(dut.param_source_o.value), int(dut.param_addr_o.value)
            assert found == due["params"]
        assert bool(dut.part_valid_o.value) == ("part" in due)
        if "part" in due:
            part = PART.unpack(int(dut.part_o.value))
            assert part == {name: int(value) for name, value in due["part"].items()}
            assert unpack(int(dut.products_o.value), 44, LANES) == due["products"]
        assert bool(dut.rounded_valid_o.value) == ("result" in due)
        if "result" in due:
            assert RESULT.unpack(int(dut.result_o.value)) == due["result"]
            assert int(dut.wide_o.value) == due["wide"]
            rounded = unpack(int(dut.rounded_o.value), 32, LANES)
            assert due["rounded"] in (None, rounded), due


@cocotb.test()
@cocotb.parametrize(front=PATTERNS, back=PATTERNS)
async def run_beats(dut, front, back):
    """Beats of all kinds in any order."""
    bench = Bench(dut)
    await start(dut)
    front, back = front(), back()
    for _ in range(1000):
        await bench.tick(next(front), next(back))


@cocotb.test()
async def run_reset(dut):
    """After a reset nothing of the beats before it comes."""
    bench = Bench(dut)
    await start(dut)
    for _ in range(10):
        for _ in range(random.randint(1, 40)):
            await bench.tick(True, random.random() < 0.5)
        dut.front_valid_i.value = dut.back_valid_i.value = 0
        await reset(dut)
        bench.clear()
        for _ in range(40):
            await bench.tick(True, random.random() < 0.5)


@pytest.mark.parametrize("build", ["small", pytest.param("default", marks=pytest.mark.slow)])
def test_vector_pipeline(build):
    simulate("cmamba_vector_pipeline", build=build, extra_env={"BUILD": build})
