"""sequencer: schedules of compiled models on model units with random latencies.

Every start is checked against the waits, and against the rows that the entry and those before it
touch (`compiler.schedule.check.accesses`); then order, contents, counters, and how runs end.
"""

import dataclasses
import os
import random
from bisect import bisect_left
from collections import deque
from functools import cache

import cocotb
import numpy as np
import pytest
import torch
from cocotb.triggers import ClockCycles, RisingEdge

import isa
from compiler.estimate import random_package
from compiler.schedule import check as schedule_check
from compiler.schedule import timing
from compiler.schedule.order import NO_WAIT
from golden.random_programs import random_phased, random_published, shuffled
from isa.phases import phase_of
from model.args import ModelArgs
from rtl.tb.simulate import simulate
from rtl.tb.streams import reset, start
from rtl.tb.units import READ_DELAY, row_words
from rtl.tb.words import unpack

torch.set_num_threads(1)
UNITS = isa.UNITS
N = len(UNITS)
ARRAY, VECTOR = UNITS.index("array"), UNITS.index("vector")
STREAM_IN, STREAM_OUT = UNITS.index("stream_in"), UNITS.index("stream_out")
OK, TIMEOUT = isa.ERRORS["OK"], isa.ERRORS["TIMEOUT"]
# Cycles from what a unit announces to its `done`.
AHEAD = [READ_DELAY if unit in timing.ANNOUNCING_UNITS else 0 for unit in UNITS]


SMALL = {
    "seq_len": 24,
    "patch_len": 8,
    "stride": 4,
    "forecast_len": 8,
    "d_model": 16,
    "d_state": 4,
}
MODELS = {
    "mixing": ModelArgs(num_channels=3, n_layer=2, **SMALL),
    "independent": ModelArgs(num_channels=3, n_layer=1, channel_mode="independent", **SMALL),
    "nested": ModelArgs(num_channels=2, n_layer=2, topology="nested", **SMALL),
}


def build():
    return isa.build(os.environ["BUILD"])


@cache
def package(name):
    if name == "published":
        rng = np.random.default_rng(1)
        return shuffled(random_published(rng, build()), rng)
    rng = np.random.default_rng(random.getrandbits(32))
    if name == "phased":
        return random_phased(rng, build())
    if name == "repeated":
        return repeated(rng)
    if name == "cut":
        return cut(package("mixing"), rng)
    return random_package(MODELS[name], build())


def repeated(rng):
    """A program of one phase, which is repeated for each sequence."""
    while (p := random_published(rng, build())).n_sequences > 1:
        pass
    n = int(rng.integers(2, 6))
    phase = phase_of(p.units, n, token_step=int(rng.integers(4096)), sequence_step=1)
    return shuffled(dataclasses.replace(p, n_sequences=n, phases=phase), rng)


def cut(p, rng):
    """The same program of one phase in several: entries wait for the same as before."""
    places = rng.choice(np.arange(1, len(p.schedule)), build().capacity["phases"] - 1, False)
    phases, parts, before = [], [], np.zeros(N, int)
    for part, units in zip(
        *(np.split(rows, np.sort(places)) for rows in (p.schedule, p.units)), strict=True
    ):
        phases.append(phase_of(units))
        parts.append(part.copy())
        parts[-1]["wait"] = np.maximum(part["wait"] - before, NO_WAIT)
        before += np.bincount(units, minlength=N)
    return dataclasses.replace(p, phases=np.concatenate(phases), schedule=np.concatenate(parts))


def plain(entries):
    """Schedule entries, or phases, with plain integers."""
    return [{name: e[name].tolist() for name in entries.dtype.names} for e in entries]


def fields(opcode, word):
    """What a unit looks at of an instruction, beside the rows of its operands."""
    form = isa.OPCODES[opcode].format
    found = form.decode(word)
    if isa.OPCODES[opcode].unit != "vector":
        del found["opcode"]
    if opcode not in ("LINEAR", "POOL"):
        del found["n_positions"]  # nobody looks at it
    for f in form.fields:
        if f.operand:
            operand = found.pop(f.name)
            if (opcode, f.name) == ("CONV", "src"):
                found[f.name] = operand.addr, operand.stride, operand.log2_rows
            elif (opcode, f.name) == ("LINEAR", "src"):
                found[f.name] = operand.space, operand.addr % build().row_align
            elif (opcode, f.name) == ("LINEAR", "dst"):
                found[f.name] = operand.space
    return found


class Bench:
    """Loads a package, and stands for the six units."""

    def __init__(self, dut):
        self.dut = dut
        self.abort_seen = 0
        for name in ("phase", "schedule", "instruction"):
            getattr(dut, f"{name}_wr_en_i").value = 0
        for name in ("start_i", "fault_i", "settling_i"):
            getattr(dut, name).value = 0
        dut.start_ready_i.value = 0
        dut.done_i.value = 0
        dut.done_soon_i.value = 0
        dut.loaded_i.value = 1
        dut.tlast_each_i.value = 0
        dut.n_forecasts_i.value = 1
        dut.watchdog_cycles_i.value = 2000
        self.latency = [(1, 20)] * N  # shortest, longest, and what a unit announces ahead
        self.ready = [0.7] * N  # share of cycles
        self.depth = [3] * N  # entries that a unit takes at most
        self.clear()
        cocotb.start_soon(self._units())

    def clear(self):
        """Forget what the units have seen."""
        self.cycle = 0
        # (cycle, fields, rows, token, position, sequence, last)
        self.started = [[] for _ in range(N)]
        self.finished = [[] for _ in range(N)]  # cycles of the done pulses
        self.announced = [[] for _ in range(N)]  # cycles of those that the array looks at
        self.inside = [deque() for _ in range(N)]  # cycle at which each may be done
        self.busy = [0] * N
        self.busy_run = 0

    async def load(self, p):
        """Write a package's program through the loader's ports."""
        dut = self.dut
        self.package = p
        self.instructions = p.instructions
        # What an iteration executes.
        self.schedule = plain(p.executed())
        self.units = [p.instructions[e["instruction"]].unit for e in self.schedule]
        self.count = np.bincount(self.units, minlength=N).tolist()
        self.iterations = p.iterations
        instructions = [int.from_bytes(i.encode(), "little") for i in p.instructions]
        await self._write("instruction", instructions, 4)
        await self._write("phase", [isa.PHASE.encode(phase) for phase in plain(p.phases)], 2)
        await self._write("schedule", [isa.SCHEDULE.encode(e) for e in plain(p.schedule)], 1)
        dut.phases_i.value = len(p.phases)
        for name in ("iterations", "n_sequences", "n_positions"):
            getattr(dut, f"{name}_i").value = getattr(p, name)

    async def _write(self, section, words, beats):
        dut = self.dut
        enable, address, data = (
            getattr(dut, f"{section}_wr_{port}_i") for port in ("en", "addr", "data")
        )
        enable.value = 1
        for i, word in enumerate(words):
            for beat in range(beats):
                address.value = beats * i + beat
                data.value = (word >> (128 * beat)) & ((1 << 128) - 1)
                await RisingEdge(dut.clk_i)
        enable.value = 0

    def _word(self, unit, opcode):
        return int(getattr(self.dut, f"{opcode.lower()}_o").value)

    async def _units(self):
        dut = self.dut
        ready = done = soon = 0
        lasts = {STREAM_IN: dut.recv_last_o, STREAM_OUT: dut.send_last_o}
        while True:
            await RisingEdge(dut.clk_i)
            self.cycle += 1
            self.busy_run += int(dut.busy_o.value)
            if dut.rst_i.value or dut.abort_o.value:
                self.abort_seen += int(dut.abort_o.value)
                self.inside = [deque() for _ in range(N)]
                ready = done = soon = 0
            start = int(dut.start_valid_o.value) & ready
            for u in range(N):
                self.busy[u] += bool(self.inside[u])
                if soon >> u & 1:
                    self.announced[u].append(self.cycle)
                if done >> u & 1:
                    self.finished[u].append(self.cycle)
                    self.inside[u].popleft()
                if start >> u & 1:
                    self._start(u, lasts)
            ready = done = soon = 0
            for u in range(N):
                free = len(self.inside[u]) < self.depth[u]
                ready |= (free and random.random() < self.ready[u]) << u
                done |= (self.cycle in self.inside[u]) << u
                soon |= (self.cycle + AHEAD[u] in self.inside[u]) << u
            dut.start_ready_i.value = ready
            dut.done_i.value = done
            dut.done_soon_i.value = soon

    def _start(self, u, lasts):
        dut = self.dut
        k = len(self.started[u])
        entry = self.entry(u, k)
        opcode = self.instructions[entry["instruction"]].opcode
        width = len(dut.rows_o) // (5 * N)
        rows = unpack(int(dut.rows_o.value) >> (5 * width * u), width, 5, signed=False)
        self.started[u].append(
            (
                self.cycle,
                fields(opcode, self._word(u, opcode)),
                rows,
                int(dut.token_o.value) >> (12 * u) & 0xFFF,
                int(dut.position_o.value) >> (12 * u) & 0xFFF,
                int(dut.sequence_o.value) >> (10 * u) & 0x3FF,
                int(lasts[u].value) if u in lasts else 0,
            )
        )
        earliest = self.inside[u][-1] if self.inside[u] else 0
        latency = AHEAD[u] + random.randint(*self.latency[u])
        self.inside[u].append(max(earliest + 1, self.cycle + latency - 1))

    def entry(self, u, k):
        """The k-th entry that unit u executes in the run."""
        own = [e for e, unit in zip(self.schedule, self.units, strict=True) if unit == u]
        return own[k % len(own)]

    def awaited(self, rounds):
        """(entry, unit, completions of each unit that it waits for) of a run, in list order."""
        base = np.zeros(N, int)  # entries of the repeats before
        for _ in range(rounds):
            for part in self.package.rounds():
                entries = plain(part.entries)
                units = [self.instructions[e["instruction"]].unit for e in entries]
                for entry, u in zip(entries, units, strict=True):
                    yield entry, u, (base + entry["wait"]).tolist()
                base = base + np.bincount(units, minlength=N)

    async def run(self, n_forecasts=1, tlast_each=False, limit=200_000):
        """Start a run and wait for its end; the error code."""
        dut = self.dut
        self.clear()
        self.busy = [0] * N
        dut.n_forecasts_i.value = n_forecasts
        dut.tlast_each_i.value = tlast_each
        dut.start_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.start_i.value = 0
        for _ in range(limit):
            await RisingEdge(dut.clk_i)
            if dut.done_o.value:
                error = int(dut.error_o.value)
                await RisingEdge(dut.clk_i)
                assert not dut.busy_o.value and not dut.done_o.value
                assert int(dut.error_o.value) == error
                return error
        raise AssertionError(f"no end after {limit} cycles")

    def check(self, n_forecasts, tlast_each):
        """Everything about a run that went through."""
        rounds = n_forecasts * self.iterations
        for u in range(N):
            assert len(self.started[u]) == len(self.finished[u]) == rounds * self.count[u]
        self.check_contents(rounds, tlast_each)
        starts, ends = self.check_waits(rounds)
        self.check_rows(starts, ends)
        assert int(self.dut.entries_o.value) == rounds * len(self.schedule)
        assert int(self.dut.cycles_o.value) == self.busy_run
        for u in range(N):
            counted = int(self.dut.busy_cycles_o.value) >> (48 * u) & ((1 << 48) - 1)
            assert counted == self.busy[u], UNITS[u]
        return starts, ends

    def check_contents(self, rounds, tlast_each):
        for u in range(N):
            own = [e for e, unit in zip(self.schedule, self.units, strict=True) if unit == u]
            for k, (_, found, rows, *place, last) in enumerate(self.started[u]):
                entry = own[k % len(own)]
                i = self.instructions[entry["instruction"]]
                assert found == fields(i.opcode, int.from_bytes(i.encode(), "little"))
                expected = entry["token"], entry["position"], entry["sequence"]
                assert tuple(place) == expected
                words = [word for _, word in row_words(i, build(), *expected)]
                assert list(rows[: len(words)]) == words, f"{i}: {expected}"
                iteration, index = divmod(k, len(own))
                is_last = index == len(own) - 1 and (
                    iteration == rounds - 1
                    or (u == STREAM_OUT and tlast_each and (iteration + 1) % self.iterations == 0)
                )
                assert last == (is_last if u in (STREAM_IN, STREAM_OUT) else 0), (u, k)

    def check_waits(self, rounds):
        """Each start came after the completions that its waits ask for; cycles in list order. The
        array may go by what is announced."""
        starts, ends, seen = [], [], [0] * N
        for entry, u, counts in self.awaited(rounds):
            at = self.started[u][seen[u]][0]
            for v, count in enumerate(counts):
                completed = bisect_left(self.completions(u)[v], at)
                assert completed >= count, f"{entry} started after {completed} of {UNITS[v]}"
            starts.append(at)
            ends.append(self.finished[u][seen[u]])
            seen[u] += 1
        return starts, ends

    def completions(self, u):
        """The cycles in which the units' completions count for unit u."""
        return self.announced if u == ARRAY else self.finished

    def check_rows(self, starts, ends):
        """Whatever an entry touches was finished with, as the order of the list asks for, when it
        is touched."""
        written, read = {}, {}  # (space, element): cycle in which its last write, its reads end
        for number, (at, end) in enumerate(zip(starts, ends, strict=True)):
            e = self.schedule[number % len(self.schedule)]
            if self.units[number % len(self.schedule)] == ARRAY:
                at += READ_DELAY
            touched = schedule_check.accesses(
                self.instructions[e["instruction"]], e["token"], e["position"], e["sequence"]
            )
            for access in touched.reads:
                for i in range(access.start, access.start + access.count):
                    key = access.space, i
                    assert written.get(key, 0) < at, f"{access} read by {e} before it was written"
                    read[key] = max(read.get(key, 0), end)
            for access in touched.writes:
                for i in range(access.start, access.start + access.count):
                    key = access.space, i
                    others = max(written.get(key, 0), read.pop(key, 0) if key in read else 0)
                    reads_itself = any(
                        r.space == access.space and r.start <= i < r.start + r.count
                        for r in touched.reads
                    )
                    assert reads_itself or others < at, f"{access} overwritten by {e}"
                    written[key] = end


async def prepared(dut, name):
    bench = Bench(dut)
    await start(dut)
    await bench.load(package(name))
    return bench


@cocotb.test()
@cocotb.parametrize(
    name=(*MODELS, "published", "repeated", "cut", "phased"), tlast_each=(False, True)
)
async def run_schedules(dut, name, tlast_each):
    """Whole runs of compiled models with units of all speeds."""
    bench = await prepared(dut, name)
    for forecasts in (1, 2, 3):
        bench.latency = [(1, random.choice([1, 5, 30, 100])) for _ in range(N)]
        bench.ready = [random.choice([0.1, 0.5, 1.0]) for _ in range(N)]
        bench.depth = [random.choice([1, 2, 8]) for _ in range(N)]
        assert await bench.run(forecasts, tlast_each) == OK
        bench.check(forecasts, tlast_each)


@cocotb.test()
@cocotb.parametrize(name=("mixing", "cut"))
async def run_overlap(dut, name):
    """Iterations overlap: the next one begins before the one before has ended."""
    bench = await prepared(dut, name)
    bench.latency = [(4, 4)] * N
    bench.ready = [1.0] * N
    assert await bench.run(4) == OK
    starts, ends = bench.check(4, False)
    n = len(bench.schedule)
    for iteration in range(1, 4):
        assert min(starts[iteration * n :]) < max(ends[: iteration * n])


@cocotb.test()
async def run_many(dut):
    """Many iterations: no counter runs over, the waits hold to the end."""
    bench = await prepared(dut, "independent")
    bench.latency = [(1, 3)] * N
    bench.ready = [1.0] * N
    bench.depth = [8] * N
    forecasts = 20
    assert await bench.run(forecasts) == OK
    bench.check(forecasts, False)
    # The other way round: everybody waits for one slow unit in turn.
    for slow in range(N):
        bench.latency[slow] = (60, 60)
        assert await bench.run(2) == OK
        bench.check(2, False)
        bench.latency[slow] = (1, 3)


@cocotb.test()
async def run_dispatch(dut):
    """Cycles from a completion to the start that waited for it, and between two starts."""
    bench = await prepared(dut, "mixing")
    bench.ready = [1.0] * N
    bench.latency = [(1, 1)] * N
    assert await bench.run(3) == OK
    starts, _ = bench.check(3, False)
    dut._log.info("%d entries in %d cycles", len(starts), max(starts) - min(starts) + 1)
    # An entry a cycle, one of a unit every other cycle; and the way of the last token: six of its
    # entries in each block complete some cycles after they are announced.
    way = 20 + 6 * MODELS["mixing"].n_layer * READ_DELAY
    assert max(starts) - min(starts) < max(len(starts), 2 * 3 * max(bench.count)) + way
    bench.latency = [(16, 16)] * N
    assert await bench.run(3) == OK
    starts, _ = bench.check(3, False)
    gaps = []
    seen = [0] * N
    for at, (_, u, counts) in zip(starts, bench.awaited(3), strict=True):
        waits = [bench.completions(u)[v][k - 1] for v, k in enumerate(counts) if k > 0]
        own = bench.started[u][seen[u] - 1][0] if seen[u] else 0
        seen[u] += 1
        if waits and max(waits) > own + 1:
            gaps.append(at - max(waits))
    dut._log.info("done to start: %d to %d cycles", min(gaps), max(gaps))
    assert min(gaps) == np.bincount(gaps).argmax() == timing.DISPATCH


@cocotb.test()
@cocotb.parametrize(unit=(ARRAY, VECTOR, STREAM_OUT))
async def run_deadlock(dut, unit):
    """A wait that nothing meets ends in TIMEOUT, and the next run is right."""
    bench = await prepared(dut, "mixing")
    dut.watchdog_cycles_i.value = 300
    good = package("mixing")
    candidates = [i for i, u in enumerate(bench.units) if u == unit]
    for i in (candidates[0], random.choice(candidates), candidates[-1]):
        # An entry cannot wait for itself, or for more than there are.
        bad = good.schedule.copy()
        bad["wait"][i, unit] = candidates.index(i) + 1
        await bench.load(dataclasses.replace(good, schedule=bad))
        aborts = bench.abort_seen
        assert await bench.run(2) == TIMEOUT
        assert bench.abort_seen == aborts + 1
        idle = bench.cycle - max(max(f, default=0) for f in bench.finished)
        assert 300 <= idle <= 320
        assert len(bench.started[unit]) == candidates.index(i)
        await bench.load(good)
        assert await bench.run(2) == OK
        bench.check(2, False)


@cocotb.test()
async def run_watchdog(dut):
    """A unit that is slower than the watchdog ends the run, one that is not does not."""
    bench = await prepared(dut, "independent")
    dut.watchdog_cycles_i.value = 200
    bench.latency[ARRAY] = (150, 150)
    assert await bench.run() == OK
    bench.check(1, False)
    bench.latency[ARRAY] = (250, 250)
    assert await bench.run() == TIMEOUT
    bench.latency[ARRAY] = (1, 10)
    assert await bench.run() == OK
    bench.check(1, False)


@cocotb.test()
async def run_fault(dut):
    """A unit's error ends the run at any time; done waits until the units are at rest."""
    bench = await prepared(dut, "mixing")
    for _ in range(10):
        code = random.choice([isa.ERRORS["TLAST_EARLY"], isa.ERRORS["TLAST_LATE"]])
        run = cocotb.start_soon(bench.run(2))
        await ClockCycles(dut.clk_i, random.randint(5, 600))
        assert dut.busy_o.value
        dut.fault_i.value = code
        await RisingEdge(dut.clk_i)
        dut.fault_i.value = 0
        dut.settling_i.value = 1
        await ClockCycles(dut.clk_i, 50)
        assert not run.done() and dut.busy_o.value and not dut.start_valid_o.value
        dut.settling_i.value = 0
        assert await run == code
        assert await bench.run(1) == OK
        bench.check(1, False)


@cocotb.test()
async def run_refused(dut):
    """No forecasts, no package: an error, and nothing is started."""
    bench = await prepared(dut, "mixing")
    assert await bench.run(0) == isa.ERRORS["BAD_MODE"]
    dut.loaded_i.value = 0
    assert await bench.run(1) == isa.ERRORS["NOT_LOADED"]
    assert not any(bench.started)
    dut.loaded_i.value = 1
    assert await bench.run(1) == OK
    bench.check(1, False)


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle of a run; the next one is right."""
    bench = await prepared(dut, "independent")
    for _ in range(5):
        run = cocotb.start_soon(bench.run(2))
        await ClockCycles(dut.clk_i, random.randint(1, 500))
        run.cancel()
        dut.start_i.value = 0
        await reset(dut)
        assert not dut.busy_o.value
        assert await bench.run(1) == OK
        bench.check(1, False)


@pytest.mark.parametrize("build", ["small", pytest.param("default", marks=pytest.mark.slow)])
def test_sequencer(build):
    simulate("cmamba_sequencer", build=build, extra_env={"BUILD": build})


@pytest.mark.parametrize(
    "bad", [{"MaxInstructions": 1}, {"MaxPhases": 1}, {"MaxSchedule": 1}, {"QueueDepth": 8}]
)
def test_bad_parameters(bad, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_sequencer", bad)
    assert f"sequencer: {next(iter(bad))} is" in capfd.readouterr().err
