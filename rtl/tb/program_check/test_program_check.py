"""program_check: programs at the limits of every rule, changed by a step; codes as isa.rules.

An instruction is alone in its program where it is about its own rules, with an empty schedule.
Schedules, and several instructions, are those of assembled programs, with faults.
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
from golden.random_programs import random_package, random_published
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


def schedule_words(package):
    names = [f.name for f in isa.SCHEDULE.fields]
    return [
        isa.SCHEDULE.encode({name: e[name].tolist() for name in names}) for e in package.schedule
    ]


def facts_word(package, unit_entries):
    """The port of cmamba_loader_pkg::facts_t."""
    lengths = [0 if s.name == "metadata" else len(getattr(package, s.name)) for s in isa.SECTIONS]
    facts = {"unit_entries": list(unit_entries), "elements": lengths}
    facts["weights_addr"] = random.getrandbits(64)
    sizes = ("n_sequences", "iterations", "n_positions", "token_bytes", "forecast_elements")
    return FACTS.pack(facts | {name: getattr(package, name) for name in sizes})


class Bench:
    """Stands for the loader."""

    def __init__(self, dut):
        self.dut = dut
        dut.start_i.value = 0
        dut.schedule_valid_i.value = 0
        self.instructions = Source(
            dut,
            valid="instruction_valid_i",
            ready="instruction_ready_o",
            data="instruction_i",
        )

    async def begin(self, facts):
        self.dut.facts_i.value = facts
        self.dut.start_i.value = 1
        await RisingEdge(self.dut.clk_i)
        self.dut.start_i.value = 0

    async def send(self, instruction_words):
        """Offer instructions until all have been taken."""
        self.instructions.send(instruction_words)
        cycles = 200 + 40 * CYCLES["SCAN"] * len(instruction_words)
        await with_timeout(self.instructions.drain(), 4 * cycles, "ns")

    async def check(self, package, *, unit_entries=None, instruction_words=None, pattern=always):
        """Name of the error of a program; ``instruction_words`` are those of the package."""
        dut = self.dut
        entries = package.unit_entries if unit_entries is None else unit_entries
        await self.begin(facts_word(package, entries))
        self.instructions.pattern = pattern()
        await self.send(words(package) if instruction_words is None else instruction_words)
        active = pattern()
        for word in schedule_words(package):
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
        code, message = programs.first_error(package, build(), how.get("unit_entries"))
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
            if code == "OK" and random.random() < 0.8:
                continue
            assert await bench.expect(package) == code
            refused += code != "OK"
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
        assert await bench.expect(good) == "OK"
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
            assert await bench.expect(package) == ("OK" if allowed else "BAD_SHAPE")


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
        program = random.choice([random_package, random_published])
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
    """(what, package, unit_entries) with one fault each; some change nothing."""
    n, count = len(good.schedule), good.unit_entries

    def entry(index, **values):
        schedule = good.schedule.copy()
        for name, value in values.items():
            schedule[index][name] = value
        return dataclasses.replace(good, schedule=schedule)

    for index in {0, n - 1, random.randrange(n)}:
        used = good.schedule[index]["instruction"]
        limits = {
            "instruction": len(good.instructions),
            "position": good.instructions[used].n_positions,
            "sequence": good.n_sequences,
        }
        for name, limit in limits.items():
            bits = next(f.bits for f in isa.SCHEDULE.fields if f.name == name)
            for value in (limit, (1 << bits) - 1, random.randrange(limit, 1 << bits)):
                yield name, entry(index, **{name: value}), count
            yield f"last {name}", entry(index, **{name: limit - 1}), None
        # Beyond the table, but in the lower bits the right instruction.
        for alias in range(used + build().capacity["instructions"], 1024, 128):
            yield "instruction", entry(index, instruction=alias), count
        yield "token", entry(index, token=random.randrange(4096)), count
        yield "wait", entry(index, wait=[random.randint(-8192, 8191) for _ in count]), count
        shorter = dataclasses.replace(good, schedule=np.delete(good.schedule, index))
        yield "an entry less", shorter, count
        yield "an entry less everywhere", shorter, None
        longer = dataclasses.replace(
            good, schedule=np.insert(good.schedule, index, good.schedule[index])
        )
        yield "an entry more", longer, count
        yield "an entry more everywhere", longer, None
    # The last instruction is missing; the program before had it.
    last = dataclasses.replace(good, instructions=good.instructions[:-1])
    yield "instruction", last, count
    for unit in range(len(count)):
        for step in (-1, 1, 4096, 1 << 15):
            wrong = [c + step * (u == unit) for u, c in enumerate(count)]
            yield "unit_entries", good, tuple(c & 0xFFFF for c in wrong)
    for name in ("n_sequences", "n_positions"):
        for value in (0, 1, getattr(good, name) + 1, 0xFFFF, 1 << 15):
            yield name, dataclasses.replace(good, **{name: value}), count
    yield "no schedule", dataclasses.replace(good, schedule=good.schedule[:0]), count
    yield "no schedule", dataclasses.replace(good, schedule=good.schedule[:0]), None


@cocotb.test()
async def run_schedules(dut):
    """Entries and counts with a fault."""
    bench = await prepared(dut)
    for _ in range(amount(1)):
        rng = np.random.default_rng(random.getrandbits(32))
        good = random_package(rng, build(), largest=9)
        must_fail = {"instruction", "position", "sequence", "unit_entries", "no schedule"}
        must_fail |= {"an entry less", "an entry more"}
        for what, package, unit_entries in faulty_schedules(good):
            how = {} if unit_entries is None else {"unit_entries": unit_entries}
            code = await bench.expect(package, pattern=random.choice(PATTERNS), **how)
            assert code == "BAD_SCHEDULE" or what not in must_fail, what
            assert code == "OK" or what not in ("token", "wait"), what


@cocotb.test()
async def run_given_up(dut):
    """Wrong entries are on their way when the next program begins."""
    bench = await prepared(dut)
    rng = np.random.default_rng(random.getrandbits(32))
    good = random_package(rng, build(), largest=9)
    for cycles in range(amount(6)):
        await bench.begin(facts_word(good, good.unit_entries))
        await bench.send(words(good))
        dut.schedule_valid_i.value = 1
        dut.schedule_i.value = (1 << 128) - 1
        await RisingEdge(dut.clk_i)
        dut.schedule_valid_i.value = 0
        for _ in range(cycles % 6):
            await RisingEdge(dut.clk_i)
        assert await bench.expect(good) == "OK"


@cocotb.test()
async def run_full_tables(dut):
    """As many instructions and entries as the memories hold."""
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
    package = programs.package(
        build(),
        [*instructions, send.instructions[0]],
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
                await bench.begin(facts_word(broken, broken.unit_entries))
                bench.instructions.send(words(broken))
                await ClockCycles(dut.clk_i, random.randint(1, 60))
                bench.instructions.abandon()
                if again:
                    await reset(dut)
                    assert not dut.busy_o.value and not dut.error_o.value
                else:
                    # The loader has given the program up, and takes back what it offers.
                    dut.instruction_valid_i.value = 0
                    bench.instructions = Source(
                        dut,
                        valid="instruction_valid_i",
                        ready="instruction_ready_o",
                        data="instruction_i",
                    )
                    await ClockCycles(dut.clk_i, random.randint(1, 3))
                assert await bench.expect(package) == ("OK" if package is good else "BAD_SHAPE")


@cocotb.test()
async def run_cycles(dut):
    """Cycles of an instruction, and from the last entry to the verdict."""
    bench = await prepared(dut)
    rng = np.random.default_rng(random.getrandbits(32))
    good = random.choice([random_package, random_published])(rng, build(), largest=9)
    await bench.begin(facts_word(good, good.unit_entries))
    bench.instructions.send(words(good))
    taken = []
    expected = [CYCLES[i.opcode] for i in good.instructions]
    for cycle in range(sum(expected) + 20):
        await RisingEdge(dut.clk_i)
        if dut.instruction_ready_o.value and dut.instruction_valid_i.value:
            taken.append(cycle)
    assert list(np.diff(taken)) == expected[1:]
    for word in schedule_words(good):
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
