"""vector_front: beats, look-ups and entries for the back; what it waits for; stalls everywhere."""

import os
import random
from collections import deque

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from rtl.tb.packages import Packages
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, Sink, always, randomly, reset, start
from rtl.tb.units import entries, instruction
from rtl.tb.words import pack

BUILD = os.environ.get("BUILD", "small")
TYPES = Packages(BUILD)
CONTEXT, BEAT, LOOKUP = (TYPES.structs[n] for n in ("context_t", "front_beat_t", "lookup_t"))
LANES, SLOTS, WAITING = (TYPES.sizes[n] for n in ("Lanes", "Slots", "MaxWaiting"))
WORD_WIDTH = TYPES.sizes["WordWidth"]
VIEWS = ("norm_i", "pool_i", "scale_i", "pool_features_i", "modulate_i")
KINDS = {"NORM": "BeatSquare", "POOL": "BeatPool", "POOL_FEATURES": "BeatReduce"}
WAYS = {"NORM": "WayRoot", "POOL_FEATURES": "WayScalars", "MODULATE": "WayFactors"}
POOL_DISTANCE = 4  # cycles from the last beat of a POOL to the first of the next


class Entry:
    """A random entry, and what the front must do with it."""

    def __init__(self, opcode, position=0, n=None):
        n = n or random.choice([1, LANES, LANES + 1, random.randint(1, 9 * LANES)])
        self.opcode, self.position = opcode, position
        self.sequence, columns = random.randrange(100), random.randint(1, 100)
        rows = [random.randrange(1 << WORD_WIDTH) for _ in range(4)]
        f = {"n": n, "n_positions": random.randint(position + 1, position + 2)}
        if opcode != "SCALE":
            f["param_addr"] = random.randrange(1 << 11)
        if opcode in ("NORM", "MODULATE"):
            f["wide"] = random.randrange(2)
        if opcode == "NORM":
            f["eps"] = random.randrange(1 << 32)
        if opcode == "SCALE":
            f["table"] = random.randrange(4)
        if opcode in ("POOL_FEATURES", "MODULATE"):
            f["columns"] = columns
        if opcode == "MODULATE":
            f |= {name: random.randrange(4) for name in ("scale_table", "shift_table")}
        word = instruction(opcode, **f)
        self.ports = {"position_i": position, "sequence_i": self.sequence}
        self.ports |= dict.fromkeys(VIEWS, word) | {"row_words_i": pack(rows, WORD_WIDTH)}

        self.way = WAYS.get(opcode, "WayNone")
        self.passes = opcode == "POOL" and position != f["n_positions"] - 1
        self.result_of_pool = opcode == "POOL" and not self.passes
        beats = -(-n // LANES)
        elements = [self.sequence, columns + self.sequence]
        context = {f"is_{k.lower()}": k == opcode for k in (*KINDS, "MODULATE")}
        context |= {
            "way": TYPES.enums["way_e"][self.way],
            "passes": self.passes,
            "wide": f.get("wide", opcode == "SCALE"),
            "one_beat": beats == 1,
            "beats": beats,
            "last_lane": n - 1,
            "src_word": rows[0],
            "dst_word": rows[2 if opcode in ("SCALE", "MODULATE") else 1],
        }
        if opcode != "SCALE":
            context["param_addr"] = f["param_addr"]
        if opcode in ("SCALE", "MODULATE"):
            context["logit_word"] = rows[1]
        if opcode == "SCALE":
            context["table_index"] = f["table"]
        if opcode in ("POOL", "POOL_FEATURES", "MODULATE"):
            context["second_word"] = rows[{"POOL": 2, "POOL_FEATURES": 1, "MODULATE": 3}[opcode]]
        if opcode == "POOL_FEATURES":
            context["elements"] = elements
        self.context = CONTEXT.cut(context)

        self.events = []  # (struct, fields)
        if opcode in KINDS:
            for i in range(beats):
                last = i == beats - 1
                beat = {
                    "kind": TYPES.enums["kind_e"][KINDS[opcode]],
                    "first": position == 0 if opcode == "POOL" else i == 0,
                    "last": last,
                    "word": rows[0] + i // SLOTS,
                    "feature": i,
                    "last_lane": (n if last else LANES) - 1,
                }
                if opcode == "NORM":
                    beat["eps"] = f["eps"]
                self.events.append((BEAT, BEAT.cut(beat)))
        if opcode == "MODULATE":
            for is_shift, element in enumerate(elements):
                lookup = {
                    "logit_word": rows[1] + element // LANES // SLOTS,
                    "table_index": f["shift_table" if is_shift else "scale_table"],
                    "slot": element // LANES,
                    "lane": element,
                    "is_shift": is_shift,
                }
                self.events.append((LOOKUP, LOOKUP.cut(lookup)))


def found(struct, word, wanted):
    """The fields of a word that matter."""
    values = struct.unpack(word)
    return {name: values[name] for name in wanted}


class Bench:
    """Stands for sequencer, pipeline, tables and back; checks every cycle."""

    def __init__(self, dut, idle=always, scales=None, takes=always, gaps=always):
        self.dut = dut
        self.patterns = [p() if p else None for p in (idle, scales, takes)]
        self.starts = entries(dut, ("position_i", "sequence_i", "row_words_i", *VIEWS), gaps)
        self.contexts = Sink(
            dut, takes, valid="context_valid_o", ready="context_ready_i", data="context_o"
        )
        for name in ("back_idle", "scale_looks_up", "scale_soon", "waited", "pool_read"):
            getattr(dut, f"{name}_i").value = 0
        dut.pool_busy_i.value = 0
        self.clear()
        cocotb.start_soon(self._run())

    def clear(self):
        self.expected = deque()  # entries that are not handed on
        self.handed = deque()  # entries whose context has not come
        self.events = deque()  # of the first of the expected
        self.waiting = self.pools = 0  # handed on, and not waited for, not read
        self.owed = deque()  # entries that have come to the back, of which it has told nothing
        self.pool_times = deque([-9] * 3, 3)
        self.beat_times = []
        self.contexts.received.clear()

    def send(self, listed):
        for entry in listed:
            self.expected.append(entry)
            self.starts.send([entry.ports])
        self._next()

    def _next(self):
        """Entries without beats and look-ups are handed on as they are."""
        while not self.events and self.expected:
            self.events.extend(self.expected[0].events)
            if self.events:
                return
            self.handed.append(self.expected.popleft())

    async def finish(self):
        for _ in range(50_000):
            if not (self.expected or self.handed or self.owed):
                await ClockCycles(self.dut.clk_i, 10)
                return
            await RisingEdge(self.dut.clk_i)
        raise AssertionError(f"{len(self.expected)} entries have not gone on")

    def _event(self, struct, word, cycle):
        """A beat or a look-up: the expected one, at a time when it may come."""
        wanted_struct, wanted = self.events.popleft()
        assert struct is wanted_struct, (struct.name, wanted)
        assert found(struct, word, wanted) == wanted
        entry = self.expected[0]
        if len(self.events) == len(entry.events) - 1:
            assert entry.way == "WayNone" or self.waiting < WAITING
            if entry.opcode == "POOL":
                assert self.pools == 0
                assert cycle - self.pool_times[-1] >= POOL_DISTANCE
        if entry.opcode == "POOL":
            self.pool_times.append(cycle)
        if not self.events:
            self.handed.append(self.expected.popleft())
            self.waiting += entry.way != "WayNone"
            self.pools += entry.result_of_pool
            self._next()

    async def _run(self):
        dut = self.dut
        idle, scales, takes = self.patterns
        cycle = 0
        soon = False
        while True:
            await RisingEdge(dut.clk_i)
            cycle += 1
            if dut.rst_i.value:
                soon = False
                for name in ("waited", "pool_read", "scale_soon", "scale_looks_up", "pool_busy"):
                    getattr(dut, f"{name}_i").value = 0
                continue
            # What the back told in this cycle counts from the next one on.
            told = bool(dut.waited_i.value), bool(dut.pool_read_i.value)
            if dut.beat_valid_o.value:
                assert dut.back_idle_i.value
                self.beat_times.append(cycle)
                self._event(BEAT, int(dut.beat_o.value), cycle)
            if dut.lookup_valid_o.value:
                assert not dut.scale_looks_up_i.value
                self._event(LOOKUP, int(dut.lookup_o.value), cycle)
            self.waiting -= told[0]
            self.pools -= told[1]
            while self.contexts.received:
                entry = self.handed.popleft()
                word = self.contexts.received.pop(0)
                assert found(CONTEXT, word, entry.context) == entry.context
                self.owed.append(entry)

            dut.waited_i.value = dut.pool_read_i.value = 0
            if self.owed and next(takes):
                entry = self.owed.popleft()
                dut.waited_i.value = entry.way != "WayNone"
                dut.pool_read_i.value = entry.result_of_pool
            dut.pool_busy_i.value = any(cycle - t in (0, 1) for t in self.pool_times)
            dut.back_idle_i.value = next(idle)
            dut.scale_looks_up_i.value = soon
            soon = bool(scales and next(scales))
            dut.scale_soon_i.value = soon


def mixed(n):
    """Entries of all kinds; POOLs in the order of their positions."""
    listed, position = [], 0
    for _ in range(n):
        opcode = random.choice(["NORM", "POOL", "POOL", "SCALE", "POOL_FEATURES", "MODULATE"])
        entry = Entry(opcode, position if opcode == "POOL" else random.randrange(9))
        if opcode == "POOL":
            position = position + 1 if entry.passes else 0
        listed.append(entry)
    return listed


@cocotb.test()
@cocotb.parametrize(idle=PATTERNS, scales=(None, *PATTERNS[1:]), takes=(always, randomly))
async def run_mixed(dut, idle, scales, takes):
    """All entries, while the back and SCALE take their turns."""
    bench = Bench(dut, idle, scales, takes, random.choice(PATTERNS))
    await start(dut)
    bench.send(mixed(60))
    await bench.finish()


@cocotb.test()
async def run_no_gap(dut):
    """A beat a cycle, also from a row to the next."""
    bench = Bench(dut)
    await start(dut)
    for opcode in ("NORM", "POOL_FEATURES"):
        bench.send([Entry(opcode, n=random.randint(6, 9) * LANES) for _ in range(20)])
        await bench.finish()
        times = bench.beat_times
        assert times[-1] - times[0] == len(times) - 1
        bench.clear()


@cocotb.test()
async def run_full(dut):
    """Entries pile up while the back takes none; then all go on."""
    bench = Bench(dut, takes=lambda: iter([False] * 300 + [True] * 10_000))
    await start(dut)
    bench.send(mixed(40))
    await bench.finish()


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle; the entries after it are right."""
    bench = Bench(dut, randomly, randomly, randomly)
    await start(dut)
    for _ in range(8):
        bench.send(mixed(20))
        await ClockCycles(dut.clk_i, random.randint(1, 150))
        bench.starts.abandon()
        await reset(dut)
        bench.clear()
        bench.send(mixed(6))
        await bench.finish()


@pytest.mark.parametrize("build", ["small", pytest.param("default", marks=pytest.mark.slow)])
def test_vector_front(build):
    simulate("cmamba_vector_front", build=build, extra_env={"BUILD": build})
