"""program_check: programs at the limits of every rule, changed by a step; codes as isa.rules.

An instruction is alone in its program where it is about its own rules; such a program has no phases
(`programs.ACCEPTED`). Phases, schedules, and several instructions, are those of assembled programs,
with faults.
"""

import dataclasses
import os
import random
from collections import Counter

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout

import isa
from golden.random_programs import random_package, random_phased, random_published
from isa.phases import phase_of
from rtl.tb.packages import Packages
from rtl.tb.program_check import programs
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, Source, always, reset, start

FACTS = Packages("small").structs["facts_t"]  # the same in all builds
# Cycles of an instruction.
CYCLES = {
    "RECV": 7,
    "LINEAR": 12,
    "CONV": 9,
    "SCAN": 16,
    "NORM": 10,
    "POOL": 8,
    "SCALE": 11,
    "SEND": 7,
    "POOL_FEATURES": 8,
    "MODULATE": 16,
}
PHASE_CYCLES = 8
NAMES = {code: name for name, code in isa.ERRORS.items()}


def build():
    return isa.build(os.environ["BUILD"])


def amount(fast):
    """Tests of a kind: ``fast``, or ten times as many in the full run."""
    return fast * (10 if os.environ.get("FULL") else 1)


def used_bits(opcode):
    return sum(f.total_bits for f in opcode.format.fields)


def words(package):
    return [int.from_bytes(i.encode(), "little") for i in package.instructions]


def encoded(form, rows):
    return [form.encode({name: row[name].tolist() for name in rows.dtype.names}) for row in rows]


def phase_words(package):
    """Phases are in the upper half of a word."""
    return [word << 256 | random.getrandbits(256) for word in encoded(isa.PHASE, package.phases)]


def facts_word(package):
    """The port of cmamba_loader_pkg::facts_t."""
    lengths = [0 if s.name == "metadata" else len(getattr(package, s.name)) for s in isa.SECTIONS]
    facts = {"elements": lengths, "weights_addr": random.getrandbits(64)}
    sizes = ("n_sequences", "iterations", "n_positions", "token_bytes", "forecast_elements")
    return FACTS.pack(facts | {name: getattr(package, name) for name in sizes})


class Bench:
    """Stands for the loader."""

    def __init__(self, dut):
        self.dut = dut
        dut.start_i.value = 0
        dut.schedule_valid_i.value = 0
        self.connect()

    def connect(self):
        self.words = Source(self.dut, valid="word_valid_i", ready="word_ready_o", data="word_i")

    async def begin(self, facts):
        self.dut.facts_i.value = facts
        self.dut.start_i.value = 1
        await RisingEdge(self.dut.clk_i)
        self.dut.start_i.value = 0

    async def send(self, program_words):
        """Offer instructions and phases until all have been taken."""
        self.words.send(program_words)
        cycles = 200 + 40 * CYCLES["SCAN"] * len(program_words)
        await with_timeout(self.words.drain(), 4 * cycles, "ns")
        await ClockCycles(self.dut.clk_i, 2)

    async def check(self, package, *, instruction_words=None, pattern=always):
        """Name of the error of a program; ``instruction_words`` are those of the package."""
        dut = self.dut
        await self.begin(facts_word(package))
        self.words.pattern = pattern()
        instructions = words(package) if instruction_words is None else instruction_words
        await self.send([*instructions, *phase_words(package)])
        active = pattern()
        for word in encoded(isa.SCHEDULE, package.schedule):
            while not next(active):
                await RisingEdge(dut.clk_i)
            dut.schedule_valid_i.value = 1
            dut.schedule_i.value = word
            await RisingEdge(dut.clk_i)
            dut.schedule_valid_i.value = 0
            dut.schedule_i.value = random.getrandbits(128)
        for _ in range(40):
            await RisingEdge(dut.clk_i)
            if not dut.busy_o.value:
                return NAMES[int(dut.error_o.value)]
        raise AssertionError("the program is never done")

    async def expect(self, package, **how):
        """The error of `isa.rules`, which is returned."""
        code, message = programs.first_error(package, build())
        found = await self.check(package, **how)
        if found != code:
            raise AssertionError(f"expected {message or code}, found {found}: {package}")
        return code


async def prepared(dut):
    bench = Bench(dut)
    await start(dut)
    assert not dut.busy_o.value
    return bench


@cocotb.test()
@cocotb.parametrize(opcode=tuple(isa.OPCODES))
async def run_fields(dut, opcode):
    """Every field of every instruction, beyond the rules that concern it and within."""
    bench = await prepared(dut)
    codes = Counter()
    for path in programs.fields(opcode):
        refused = 0
        for _ in range(amount(100)):
            good = programs.instruction_at_limits(opcode, build())
            package = programs.changed(good, 0, path, build())
            code, _ = programs.first_error(package, build())
            if code == programs.ACCEPTED and random.random() < 0.8:
                continue
            assert await bench.expect(package) == code
            refused += code != programs.ACCEPTED
            codes[code] += 1
            if refused == amount(12):
                break
        assert bool(refused) != ((opcode, path[0]) in programs.FREE), path
    dut._log.info("%s", dict(codes))


@cocotb.test()
@cocotb.parametrize(opcode=tuple(isa.OPCODES))
async def run_limits(dut, opcode):
    """What the rules just allow is allowed; sections and sizes of the header off by one."""
    bench = await prepared(dut)
    for _ in range(amount(25)):
        good = programs.instruction_at_limits(opcode, build())
        assert await bench.expect(good) == programs.ACCEPTED
        for name in random.sample(programs.FACTS, 4):
            for step in (-1, 1):
                await bench.expect(programs.with_fact(good, name, step, build()))
        # The header may claim anything.
        room = 0xFFFFFFFF - len(good.weights)
        await bench.expect(programs.with_fact(good, "weights", room, build()))


@cocotb.test()
@cocotb.parametrize(opcode=tuple(o for o in isa.OPCODES if o not in ("SCALE", "SEND")))
async def run_features(dut, opcode):
    """One feature too many, where nothing else is wrong. (SCALE and SEND have no room for it.)"""
    bench = await prepared(dut)
    capacity = build().capacity
    more = {
        name: n + 1 if name in ("features", "reduce") else 2 * n for name, n in capacity.items()
    }
    larger = dataclasses.replace(build(), capacity=more | {"state": capacity["state"]})
    cases = {True: 0, False: 0} if opcode == "LINEAR" else {False: 0}  # reducing or not
    while min(cases.values()) < amount(3):
        package = programs.instruction_at_limits(opcode, larger)
        fields = package.instructions[0].fields
        reduce = bool(fields.get("reduce", 0))
        limit = capacity["reduce" if reduce else "features"]
        if fields["n_out" if opcode == "LINEAR" else "n"] > limit:
            assert await bench.expect(package) == "BAD_SHAPE"
            cases[reduce] += 1


@cocotb.test()
async def run_inputs(dut):
    """As many inputs of all positions as an accumulator holds, and one more."""
    bench = await prepared(dut)
    for inputs in ((255, 257), (1285, 51), (3855, 17), (1024, 64), (4096, 16)):
        for _ in range(amount(2)):
            package = programs.instruction_at_limits("LINEAR", build(), inputs)
            allowed = inputs[0] * inputs[1] <= isa.LIMITS["array_inputs"]
            assert await bench.expect(package) == (programs.ACCEPTED if allowed else "BAD_SHAPE")


@cocotb.test()
async def run_reserved(dut):
    """A reserved bit, an unknown opcode."""
    bench = await prepared(dut)
    for opcode, description in isa.OPCODES.items():
        used = used_bits(description)
        # Where the formats end is where the RTL divides the word.
        ends = {used_bits(other) + step for other in isa.OPCODES.values() for step in (-1, 0)}
        bits = {bit for bit in (*ends, 511) if bit >= used}
        bits |= {random.randrange(used, 512) for _ in range(amount(6))}
        package = programs.instruction_at_limits(opcode, build())
        (word,) = words(package)
        for bit in bits:
            found = await bench.check(package, instruction_words=[word | 1 << bit])
            assert found == "BAD_OPCODE", (opcode, bit)
        unknown = max(o.code for o in isa.OPCODES.values()) + 1
        for code in (0, unknown, 255, *(random.randrange(unknown, 255) for _ in range(amount(4)))):
            found = await bench.check(package, instruction_words=[word >> 8 << 8 | code])
            assert found == "BAD_OPCODE", code


@cocotb.test()
async def run_random_words(dut):
    """Random bits behind a valid opcode: every rule at once, the first one counts."""
    bench = await prepared(dut)
    for _ in range(amount(300)):
        opcode = random.choice(list(isa.OPCODES.values()))
        used = used_bits(opcode)
        word = random.getrandbits(used) >> 8 << 8 | opcode.code
        instruction = isa.Instruction.decode(word.to_bytes(64, "little"))
        await bench.expect(programs.package(build(), [instruction]))


@cocotb.test()
async def run_programs(dut):
    """Assembled programs with one change somewhere, one after the other, with stalls."""
    bench = await prepared(dut)
    codes = Counter()
    for number in range(amount(5)):
        rng = np.random.default_rng(random.getrandbits(32))
        program = random.choice([random_package, random_published, random_phased])
        good = program(rng, build(), largest=random.choice([9, 40]))
        assert await bench.expect(good, pattern=PATTERNS[number % len(PATTERNS)]) == "OK"
        for _ in range(6):
            index = random.randrange(len(good.instructions))
            path = random.choice(programs.fields(good.instructions[index].opcode))
            package = programs.changed(good, index, path, build())
            code = await bench.expect(package, pattern=random.choice(PATTERNS))
            codes[code] += 1
    dut._log.info("%s", dict(codes))


@cocotb.test()
async def run_first_error(dut):
    """Of several wrong instructions and entries the first one counts."""
    bench = await prepared(dut)
    for _ in range(amount(60)):
        package = programs.package(build(), [])
        for _ in range(random.randint(2, 5)):
            one = programs.instruction_at_limits(random.choice(list(isa.OPCODES)), build())
            instruction = one.instructions[0]
            if random.random() < 0.5:
                path = random.choice(programs.fields(instruction.opcode))
                instruction = programs.changed(one, 0, path, build()).instructions[0]
            package = dataclasses.replace(
                package,
                instructions=(*package.instructions, instruction),
                **{
                    name: max(getattr(package, name), getattr(one, name), key=np.size)
                    for name in (*programs.SECTIONS, "weights")
                },
            )
        await bench.expect(package)


def faulty_schedules(good):
    """(what, package) with one fault each; some change nothing."""
    n, phases = len(good.schedule), good.phases
    of_phase = np.repeat(np.arange(len(phases)), phases["entries"])

    def entry(index, **values):
        schedule = good.schedule.copy()
        for name, value in values.items():
            schedule[index][name] = value
        return dataclasses.replace(good, schedule=schedule)

    def phase(index, **values):
        changed = phases.copy()
        for name, value in values.items():
            changed[name][index] = value
        return dataclasses.replace(good, phases=changed)

    def recounted(package, index, step):
        """The phase of an entry has so many entries more, all of the entry's unit."""
        changed = package.phases.copy()
        changed["entries"][of_phase[index]] += step
        changed["unit_entries"][of_phase[index], good.units[index]] += step
        return dataclasses.replace(package, phases=changed)

    for index in {0, n - 1, random.randrange(n)}:
        used, own = good.schedule[index]["instruction"], phases[of_phase[index]]
        last = int(own["repeats"]) - 1
        limits = {
            "instruction": len(good.instructions),
            "position": good.instructions[used].n_positions - last * int(own["position_step"]),
            "sequence": good.n_sequences - last * int(own["sequence_step"]),
        }
        for name, limit in limits.items():
            bits = next(f.bits for f in isa.SCHEDULE.fields if f.name == name)
            for value in (limit, (1 << bits) - 1, random.randrange(limit, 1 << bits)):
                yield name, entry(index, **{name: value})
            yield f"last {name}", entry(index, **{name: limit - 1})
        # Beyond the table, but in the lower bits the right instruction.
        for alias in range(used + build().capacity["instructions"], 1024, 128):
            yield "instruction", entry(index, instruction=alias)
        yield "token", entry(index, token=random.randrange(4096))
        yield "wait", entry(index, wait=[random.randint(-8192, 8191) for _ in isa.UNITS])
        shorter = dataclasses.replace(good, schedule=np.delete(good.schedule, index))
        yield "an entry less", shorter
        if own["entries"] > 1:
            yield "an entry less everywhere", recounted(shorter, index, -1)
        longer = dataclasses.replace(
            good, schedule=np.insert(good.schedule, index, good.schedule[index])
        )
        yield "an entry more", longer
        yield "an entry more everywhere", recounted(longer, index, 1)
    # The last instruction is missing; the program before had it.
    yield "last instruction", dataclasses.replace(good, instructions=good.instructions[:-1])
    for index in {0, len(phases) - 1, random.randrange(len(phases))}:
        counts = phases["unit_entries"][index].astype(int)
        for unit in range(len(isa.UNITS)):
            for step in (-1, 1, 4096, 1 << 15):
                wrong = counts.copy()
                wrong[unit] = (counts[unit] + step) & 0xFFFF
                yield "unit_entries", phase(index, unit_entries=wrong)
        for step in (-1, 1, 4096, 1 << 15):
            entries = (int(phases["entries"][index]) + step) & 0xFFFF
            if entries:
                yield "entries", phase(index, entries=entries)
        for repeats in (1, phases["repeats"][index] + 1, 2, 0xFFFF, random.randrange(1, 0x10000)):
            yield "repeats", phase(index, repeats=repeats)
        for name in ("token_step", "position_step", "sequence_step"):
            bits = next(f.bits for f in isa.PHASE.fields if f.name == name)
            for value in (1, (1 << bits) - 1, random.randrange(1 << bits)):
                yield name, phase(index, **{name: value})
                # What goes beyond the field is not cut off.
                repeats = random.choice([2, 0xFFFF, (1 << bits) + 1, random.randrange(1, 0x10000)])
                yield name, phase(index, **{name: value}, repeats=repeats)
        yield "a phase less", dataclasses.replace(good, phases=np.delete(phases, index))
        yield (
            "a phase more",
            dataclasses.replace(good, phases=np.insert(phases, index, phases[index])),
        )
    for name in ("n_sequences", "n_positions"):
        for value in (0, 1, getattr(good, name) + 1, 0xFFFF, 1 << 15):
            yield name, dataclasses.replace(good, **{name: value})
    yield "no schedule", dataclasses.replace(good, schedule=good.schedule[:0])
    empty = dataclasses.replace(good, phases=phases[:0], schedule=good.schedule[:0])
    yield "no phases", dataclasses.replace(empty, n_sequences=0)
    yield "no phases", dataclasses.replace(good, phases=phases[:0])


MUST_FAIL = {"instruction", "position", "sequence", "entries", "unit_entries", "no schedule"}
MUST_FAIL |= {"no phases", "a phase less", "a phase more", "an entry less", "an entry more"}


@cocotb.test()
@cocotb.parametrize(program=(random_package, random_phased))
async def run_schedules(dut, program):
    """Phases, entries and counts with a fault."""
    bench = await prepared(dut)
    for _ in range(amount(1)):
        rng = np.random.default_rng(random.getrandbits(32))
        good = program(rng, build(), largest=9)
        assert await bench.expect(good) == "OK"
        for what, package in faulty_schedules(good):
            code = await bench.expect(package, pattern=random.choice(PATTERNS))
            assert code == "BAD_SCHEDULE" or what not in MUST_FAIL, what
            assert code == "OK" or what not in ("token", "wait"), what


def one_entry_phases(n, sequences):
    """A program of ``n`` phases of one entry each, of all sequences together."""
    receive = programs.instruction_at_limits("RECV", build())
    send = programs.instruction_at_limits("SEND", build())
    instructions = [receive.instructions[0], send.instructions[0]]
    entries = np.zeros(n, receive.schedule.dtype)
    entries["instruction"][n // 2 :] = 1
    shares = np.full(n // 2, sequences // (n // 2))
    shares[0] += sequences - shares.sum()
    begins = np.cumsum(shares) - shares
    entries["sequence"] = np.tile(begins, 2)
    units = [i.unit for i in instructions]
    return programs.package(
        build(),
        instructions,
        phases=np.concatenate(
            [
                phase_of([units[e["instruction"]]], share, sequence_step=1)
                for e, share in zip(entries, np.tile(shares, 2), strict=True)
            ]
        ),
        schedule=entries,
        n_sequences=sequences,
        n_positions=1,
        token_bytes=receive.token_bytes,
        forecast_elements=send.forecast_elements,
    )


@cocotb.test()
async def run_short_phases(dut):
    """Phases of one entry, which follow each other every cycle; a fault in one of them."""
    bench = await prepared(dut)
    assert await bench.expect(one_entry_phases(2, 1024)) == "OK"
    assert await bench.expect(one_entry_phases(2, 1025)) == "BAD_SCHEDULE"  # too many for ten bits
    for n in (2, 4, build().capacity["phases"]):
        good = one_entry_phases(n, random.randint(n, 1024))
        assert await bench.expect(good) == "OK"
        for _ in range(amount(4)):
            changed = good.phases.copy()
            unit = random.randrange(len(isa.UNITS))
            changed["unit_entries"][random.randrange(n), unit] ^= 1 << random.randrange(16)
            package = dataclasses.replace(good, phases=changed)
            assert await bench.expect(package) == "BAD_SCHEDULE"
            schedule = good.schedule.copy()
            schedule["sequence"][random.randrange(n)] += random.randrange(3)
            await bench.expect(dataclasses.replace(good, schedule=schedule))


@cocotb.test()
async def run_given_up(dut):
    """Wrong entries are on their way when the next program begins."""
    bench = await prepared(dut)
    rng = np.random.default_rng(random.getrandbits(32))
    good = random_package(rng, build(), largest=9)
    for cycles in range(amount(6)):
        await bench.begin(facts_word(good))
        await bench.send([*words(good), *phase_words(good)])
        dut.schedule_valid_i.value = 1
        dut.schedule_i.value = (1 << 128) - 1
        await RisingEdge(dut.clk_i)
        dut.schedule_valid_i.value = 0
        for _ in range(cycles % 6):
            await RisingEdge(dut.clk_i)
        assert await bench.expect(good) == "OK"


@cocotb.test()
async def run_full_tables(dut):
    """As many instructions, phases and entries as the memories hold."""
    bench = await prepared(dut)
    capacity = build().capacity
    receive = programs.instruction_at_limits("RECV", build())
    send = programs.instruction_at_limits("SEND", build())
    instructions = [receive.instructions[0]] * (capacity["instructions"] - 1)
    n = capacity["schedule"] // 2
    schedule = np.zeros(2 * n, receive.schedule.dtype)
    schedule["instruction"][:n] = np.arange(n) % len(instructions)
    schedule["instruction"][n:] = len(instructions)
    schedule["sequence"] = np.arange(2 * n) % 1024
    units = [instructions[0].unit] * n + [send.instructions[0].unit] * n
    phases = [phase_of(part) for part in np.array_split(units, capacity["phases"])]
    package = programs.package(
        build(),
        [*instructions, send.instructions[0]],
        phases=np.concatenate(phases),
        schedule=schedule,
        n_sequences=n,
        n_positions=1,
        token_bytes=receive.token_bytes,
        forecast_elements=send.forecast_elements,
    )
    assert await bench.expect(package) == "OK"
    assert await bench.expect(dataclasses.replace(package, n_sequences=n - 1)) == "BAD_SCHEDULE"


@cocotb.test()
async def run_reset(dut):
    """A reset, or a new start, in the middle of a program; the next program is right."""
    bench = await prepared(dut)
    rng = np.random.default_rng(random.getrandbits(32))
    good = random_package(rng, build(), largest=9)
    bad = dataclasses.replace(good, token_bytes=good.token_bytes + 1)  # the first RECV is wrong
    for package in (good, bad):
        for _ in range(amount(4)):
            for again in (True, False):
                broken = random.choice((good, bad))
                await bench.begin(facts_word(broken))
                bench.words.send([*words(broken), *phase_words(broken)])
                await ClockCycles(dut.clk_i, random.randint(1, 60))
                bench.words.abandon()
                if again:
                    await reset(dut)
                    assert not dut.busy_o.value and not dut.error_o.value
                else:
                    # The loader has given the program up, and takes back what it offers.
                    dut.word_valid_i.value = 0
                    bench.connect()
                    await ClockCycles(dut.clk_i, random.randint(1, 3))
                assert await bench.expect(package) == ("OK" if package is good else "BAD_SHAPE")


@cocotb.test()
async def run_cycles(dut):
    """Cycles of an instruction and of a phase, and from the last entry to the verdict."""
    bench = await prepared(dut)
    rng = np.random.default_rng(random.getrandbits(32))
    good = random_phased(rng, build(), largest=9)
    await bench.begin(facts_word(good))
    bench.words.send([*words(good), *phase_words(good)])
    taken = []
    expected = [CYCLES[i.opcode] for i in good.instructions] + [PHASE_CYCLES] * len(good.phases)
    for cycle in range(sum(expected) + 20):
        await RisingEdge(dut.clk_i)
        if dut.word_ready_o.value and dut.word_valid_i.value:
            taken.append(cycle)
    assert list(np.diff(taken)) == expected[1:]
    for word in encoded(isa.SCHEDULE, good.schedule):
        dut.schedule_valid_i.value = 1
        dut.schedule_i.value = word
        await RisingEdge(dut.clk_i)
    dut.schedule_valid_i.value = 0
    cycles = 0
    while dut.busy_o.value:
        await RisingEdge(dut.clk_i)
        cycles += 1
    assert not dut.error_o.value
    dut._log.info("%d cycles at the end", cycles)
    assert cycles <= 24


@pytest.mark.parametrize("build", ["small", "default"])
def test_program_check(build):
    simulate("cmamba_program_check", build=build, extra_env={"BUILD": build})


@pytest.mark.slow
@pytest.mark.parametrize("build", ["small", "default", "large"])
def test_program_check_more(build):
    simulate("cmamba_program_check", build=build, extra_env={"BUILD": build, "FULL": "1"})
