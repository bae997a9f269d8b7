"""The proof that waits are sufficient, against random timings and schedules broken on purpose."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isa
from compiler.schedule.check import ITERATIONS, ScheduleError, accesses, check_schedule
from compiler.schedule.dataflow import check_dataflow
from golden.random_programs import (
    NO_WAIT,
    entries_of,
    moved,
    random_package,
    random_phased,
    shuffled,
)
from isa.package import Package

SEEDS = st.integers(0, 1 << 32)


class TimingError(Exception):
    """A row did not hold what list order says when an entry read it."""


def simulate(package: Package, rng: np.random.Generator) -> None:
    """Run three iterations on units with random timings; follow who wrote each element.

    An entry starts when its waits allow it and the entry before it in its unit has started. It may
    read its operands and write its results at any time until it completes: so while it runs, what
    it reads must not change, and what it writes counts as unknown.
    """
    n_units = len(isa.UNITS)
    entries, base = [], []  # of each: how many of each unit come before its repeat
    count = np.zeros(n_units, int)
    for _ in range(ITERATIONS):
        for turn in package.rounds():
            entries += [tuple(e) for e in turn.entries.tolist()]
            base += [count] * len(turn.entries)
            count = count + package.phases["unit_entries"][turn.phase]
    units = [package.instructions[e[0]].unit for e in entries]
    touched = [accesses(package.instructions[e[0]], *e[1:4]) for e in entries]

    def cells(parts):
        return [
            (part.space, e) for part in parts for e in range(part.start, part.start + part.count)
        ]

    reads, writes = [cells(t.reads) for t in touched], [cells(t.writes) for t in touched]
    expected = []  # writer of every element that an entry reads, by list order
    writer: dict = {}
    for number in range(len(entries)):
        expected.append([writer.get(cell) for cell in reads[number]])
        writer.update(dict.fromkeys(writes[number], number))

    queues = [[k for k in range(len(entries)) if units[k] == u] for u in range(n_units)]
    started, completed = [0] * n_units, [0] * n_units
    now: dict = {}
    speed = rng.random(n_units) + 0.05
    depth = rng.integers(1, 4, n_units)  # entries that a unit has under way at most

    def check(number):
        for cell, want in zip(reads[number], expected[number], strict=True):
            if now.get(cell) != want:
                raise TimingError(f"entry {number} reads {cell}")

    def may_start(u):
        if started[u] == len(queues[u]) or started[u] - completed[u] >= depth[u]:
            return False
        number = queues[u][started[u]]
        return (completed >= base[number] + np.array(entries[number][4])).all()

    while sum(completed) < len(entries):
        choices = [("start", u) for u in range(n_units) if may_start(u)]
        choices += [("end", u) for u in range(n_units) if completed[u] < started[u]]
        assert choices, "deadlock"
        weights = np.array([speed[u] for _, u in choices])
        what, u = choices[rng.choice(len(choices), p=weights / weights.sum())]
        if what == "start":
            number = queues[u][started[u]]
            check(number)
            now.update(dict.fromkeys(set(writes[number]) - set(reads[number]), "unknown"))
            started[u] += 1
        else:
            number = queues[u][completed[u]]
            check(number)
            now.update(dict.fromkeys(writes[number], number))
            completed[u] += 1


def with_wait(package: Package, index: int, unit: int, wait: int) -> Package:
    schedule = package.schedule.copy()
    schedule["wait"][index, unit] = wait
    return dataclasses.replace(package, schedule=schedule)


@settings(max_examples=20)
@given(SEEDS)
def test_valid_schedules_pass_and_random_timings_agree(seed):
    rng = np.random.default_rng(seed)
    package = random_package(rng, largest=8)
    check_schedule(package, "small")
    other = shuffled(package, rng)
    check_schedule(other, "small")
    for _ in range(2):
        simulate(other, rng)


@settings(max_examples=20)
@given(SEEDS)
def test_valid_phases_pass_and_random_timings_agree(seed):
    rng = np.random.default_rng(seed)
    package = random_phased(rng, largest=8)
    check_schedule(package, "small")
    check_dataflow(package, entries_of(package), "small")
    simulate(package, rng)


@settings(max_examples=15)
@given(SEEDS)
def test_what_a_random_timing_breaks_the_proof_refuses(seed):
    rng = np.random.default_rng(seed)
    program = (random_package, random_phased)[int(rng.integers(2))]
    package = shuffled(program(rng, largest=8), rng)
    # Weaken a few waits; often another wait implies what they said.
    for _ in range(int(rng.integers(1, 4))):
        index, unit = int(rng.integers(len(package.schedule))), int(rng.integers(len(isa.UNITS)))
        package = with_wait(package, index, unit, NO_WAIT)
    try:
        check_schedule(package, "small")
    except ScheduleError:
        return
    simulate(package, rng)


def test_random_timings_do_break_a_schedule_without_waits():
    rng = np.random.default_rng(1)
    package = random_package(rng, largest=8)
    schedule = package.schedule.copy()
    schedule["wait"] = NO_WAIT
    package = dataclasses.replace(package, schedule=schedule)
    with pytest.raises(TimingError):
        simulate(package, rng)
    with pytest.raises(ScheduleError):
        check_schedule(package, "small")


def test_a_wait_less_is_refused_or_implied_by_others():
    rng = np.random.default_rng(11)
    package = shuffled(random_package(rng, largest=6), rng)
    refused, implied = [], []
    for index, unit in np.argwhere(package.schedule["wait"] != NO_WAIT).tolist():
        weaker = with_wait(package, index, unit, NO_WAIT)
        try:
            check_schedule(weaker, "small")
            implied.append(weaker)
        except ScheduleError as error:
            refused.append(weaker)
            assert "may " in str(error)
    assert len(refused) > 10
    assert len(implied) > 10
    for weaker in implied[::10]:
        simulate(weaker, rng)
    # The proof refuses for a reason: random timings find most of the errors.
    found = 0
    for weaker in refused[:20]:
        try:
            for _ in range(20):
                simulate(weaker, rng)
        except TimingError:
            found += 1
    assert found >= 10


def test_an_entry_need_not_repeat_a_wait_of_its_unit():
    """Entries of a unit start in order, so a wait holds for those after it as well."""
    rng = np.random.default_rng(12)
    package = shuffled(random_package(rng, largest=6), rng)
    schedule = package.schedule.copy()
    known = np.full((len(isa.UNITS), len(isa.UNITS)), NO_WAIT)
    removed = 0
    for entry in schedule:
        waits = known[package.instructions[entry["instruction"]].unit]
        repeated = (entry["wait"] <= waits) & (entry["wait"] != NO_WAIT)
        np.maximum(waits, entry["wait"], out=waits)
        entry["wait"][repeated] = NO_WAIT
        removed += repeated.sum()
    assert removed > 10
    package = dataclasses.replace(package, schedule=schedule)
    check_schedule(package, "small")
    simulate(package, rng)


def first(package: Package, opcode: str, position: int = 0) -> int:
    """Index of the first entry of an opcode at a position."""
    return next(
        k
        for k, e in enumerate(package.schedule)
        if package.instructions[e["instruction"]].opcode == opcode and e["position"] == position
    )


def with_entry(package: Package, index: int, **fields: int) -> Package:
    schedule = package.schedule.copy()
    for name, value in fields.items():
        schedule[name][index] = value
    return dataclasses.replace(package, schedule=schedule)


def with_state_of_first_scan(package: Package) -> Package:
    instructions = list(package.instructions)
    scans = [k for k, i in enumerate(instructions) if i.opcode == "SCAN"]
    address = instructions[scans[0]].state_addr
    for k in scans:
        instructions[k] = isa.Instruction("SCAN", {**instructions[k].fields, "state_addr": address})
    return dataclasses.replace(package, instructions=tuple(instructions))


def plain(seed: int = 2) -> Package:
    """A program of one block with three positions or more and several sequences."""
    for other in range(seed, seed + 200):
        package = random_package(np.random.default_rng(other), largest=8)
        scans = sum(i.opcode == "SCAN" for i in package.instructions)
        if package.n_positions >= 3 and package.n_sequences >= 2 and scans == 2:
            return package
    raise AssertionError("no such program")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda p: with_wait(p, first(p, "SCAN"), 5, 1),
            "deadlock, waits for entry 1 of stream_out",
        ),
        (lambda p: with_wait(p, 0, 0, 1), "deadlock, waits for entry 1 of stream_in"),
        (
            lambda p: moved(p, first(p, "SCAN"), first(p, "LINEAR")),
            "which nothing before it in this iteration has written",
        ),
        (lambda p: moved(p, first(p, "RECV", 1), 0), r"\(recv.0, .* expected position 0 next"),
        (
            lambda p: with_entry(p, first(p, "RECV", 1), token=2),
            "reads src: .*, which nothing before it in this iteration has written",
        ),
        (
            lambda p: with_entry(p, first(p, "CONV", 1), token=2),
            "expected token 1, found 2",
        ),
        (
            lambda p: with_wait(p, first(p, "CONV"), 1, NO_WAIT),
            r"may read src: conv_in\[\d+..\d+\]",
        ),
    ],
)
def test_a_broken_schedule_is_refused_by_name(change: Callable[[Package], Package], message: str):
    package = plain()
    check_schedule(package, "small")
    with pytest.raises(ScheduleError, match=message):
        check_schedule(change(package), "small")


def test_overwritten_state_is_refused():
    """Two scans whose positions alternate need a state each."""
    package = with_state_of_first_scan(plain())
    check_schedule(package, "small")  # one after the other they may share one
    scans = [k for k, i in enumerate(package.instructions) if i.opcode == "SCAN"]
    second = np.flatnonzero(package.schedule["instruction"] == scans[1])[0]
    later = np.flatnonzero(package.schedule["instruction"] == scans[0])[1]
    # Its operands may be wrong as well, so let the second scan read what the first does.
    instructions = list(package.instructions)
    instructions[scans[1]] = isa.Instruction(
        "SCAN", {**instructions[scans[0]].fields, "dst": instructions[scans[1]].dst}
    )
    package = dataclasses.replace(package, instructions=tuple(instructions))
    with pytest.raises(ScheduleError, match="state were overwritten by"):
        check_schedule(moved(package, second, later), "small")


def test_a_row_overwritten_too_early_is_refused():
    package = plain()
    schedule = package.schedule.copy()
    receives = [package.instructions[k].opcode == "RECV" for k in schedule["instruction"]]
    schedule["wait"][receives] = NO_WAIT
    with pytest.raises(ScheduleError, match=r"may overwrite dst: patch\[.* still reads it"):
        check_schedule(dataclasses.replace(package, schedule=schedule), "small")
