"""The scheduler: dependencies against their definition, waits, and orders that keep the meaning."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import isa
from compiler.compile import Options
from compiler.schedule.check import ScheduleError, accesses, check_schedule
from compiler.schedule.order import NO_WAIT, dependencies, schedule
from golden.host import HostSide
from golden.integer_model import IntegerModel
from golden.random_programs import entries_of, random_package
from isa.package import Package
from isa.words import SCHEDULE_DTYPE
from model.args import ModelArgs
from tests.compiled_models import SMALL, compile_random, model_args

SEEDS = st.integers(0, 1 << 32)
BUILD = isa.build("small")


def small_program(seed: int) -> Package:
    """A random program of every instruction, with its entries in the order that defines it."""
    return random_package(np.random.default_rng(seed), BUILD, largest=9)


def conflicts(package: Package) -> set[tuple[int, int]]:
    """By definition: pairs (earlier, later) of entries of two iterations that touch one element,
    at least one of them writing. State belongs to the scan unit, and counts as written."""
    entries = entries_of(package) * 2
    cells: dict[tuple, list[tuple[int, bool]]] = {}
    for number, e in enumerate(entries):
        touched = accesses(package.instructions[e.instruction], e.token, e.position, e.sequence)
        parts = [(a.space, a.start, a.count, False) for a in touched.reads]
        parts += [(a.space, a.start, a.count, True) for a in touched.writes]
        if touched.carries and package.instructions[e.instruction].opcode == "SCAN":
            parts.append(("state", *touched.carries, True))
        for space, start, count, written in parts:
            for element in range(start, start + count):
                cells.setdefault((space, element), []).append((number, written))
    pairs = set()
    for uses in cells.values():
        for at, (later, writes) in enumerate(uses):
            pairs |= {(e, later) for e, w in uses[:at] if (w or writes) and e != later}
    return pairs


@settings(max_examples=15)
@given(SEEDS)
def test_dependencies_are_those_of_the_definition(seed):
    package = small_program(seed)
    n = len(package.schedule)
    needs = dependencies(package.instructions, entries_of(package), BUILD)
    # All that must have completed before an entry of the second iteration, directly or not. The
    # first iteration has the dependencies of the second, less those on the one before.
    before: list[set[int]] = []
    for number in range(2 * n):
        direct = {d + number - number % n for d in needs.same[number % n]}
        if number >= n:
            direct |= needs.before[number % n]
        before.append(direct.union(*(before[d] for d in direct)))
    wanted = conflicts(package)
    for earlier, later in wanted:
        if later >= n:
            assert earlier in before[later]
    # And nothing is waited for without a reason: each dependency shares a word of a memory.
    words = {(int(a), int(b)) for a, b in conflicts_by_word(package)}
    for index in range(n):
        for d in needs.same[index]:
            assert (d + n, index + n) in words
        for d in needs.before[index]:
            assert (d, index + n) in words


def conflicts_by_word(package: Package) -> set[tuple[int, int]]:
    """As `conflicts`, for whole words of `row_align` elements."""
    entries = entries_of(package) * 2
    touched = []
    for e in entries:
        t = accesses(package.instructions[e.instruction], e.token, e.position, e.sequence)

        def words(parts) -> set:
            return {
                (a.space, k)
                for a in parts
                for k in range(
                    a.start // BUILD.row_align, (a.start + a.count - 1) // BUILD.row_align + 1
                )
            }

        state = set()
        if package.instructions[e.instruction].opcode == "SCAN":
            state = {("state", t.carries[0])}
        touched.append((words(t.reads), words(t.writes) | state))
    return {
        (a, b)
        for b, (reads, writes) in enumerate(touched)
        for a, (earlier_reads, earlier_writes) in enumerate(touched[:b])
        if earlier_writes & (reads | writes) or earlier_reads & writes
    }


@settings(max_examples=15)
@given(SEEDS)
def test_a_schedule_of_any_program_is_sound(seed):
    package = small_program(seed)
    placed = dataclasses.replace(
        package, schedule=schedule(package.instructions, entries_of(package), BUILD)
    )
    placed.validate(BUILD)
    check_schedule(placed, BUILD)
    assert sorted(entries_of(placed), key=str) == sorted(entries_of(package), key=str)
    shape = (2, package.n_sequences, package.n_positions, package.token_bytes)
    tokens = np.random.default_rng(seed).integers(-128, 128, shape, np.int8)
    expected = IntegerModel(package, BUILD).run(tokens)
    np.testing.assert_array_equal(IntegerModel(placed, BUILD).run(tokens), expected)


def orders_that_waits_allow(package: Package, generator: np.random.Generator) -> list[int]:
    """A random order in which concurrent units could complete the entries of one iteration."""
    waits = package.schedule["wait"].tolist()
    units = [package.instructions[i].unit for i in package.schedule["instruction"]]
    queues = [[k for k, u in enumerate(units) if u == unit] for unit in range(len(isa.UNITS))]
    done = [0] * len(isa.UNITS)
    result = []
    while len(result) < len(units):
        ready = [
            unit
            for unit, queue in enumerate(queues)
            if done[unit] < len(queue)
            and all(done[v] >= wait for v, wait in enumerate(waits[queue[done[unit]]]))
        ]
        unit = ready[generator.integers(len(ready))]
        result.append(queues[unit][done[unit]])
        done[unit] += 1
    return result


@settings(max_examples=10)
@given(model_args(max_layers=2), SEEDS)
def test_any_order_that_the_waits_allow_gives_the_same_bits(args, seed):
    compiled = compile_random(args, Options("minmax"), "small")
    package = compiled.package
    order = orders_that_waits_allow(package, np.random.default_rng(seed))
    shuffled = dataclasses.replace(package, schedule=package.schedule[order])
    tokens = HostSide(package).tokens(compiled.windows.numpy())
    expected: dict[str, torch.Tensor] = {}
    found: dict[str, torch.Tensor] = {}
    IntegerModel(package, "small").run(tokens, expected)
    IntegerModel(shuffled, "small").run(tokens, found)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@settings(max_examples=10)
@given(model_args(max_layers=2))
def test_waits_fit_and_positions_follow_each_other(args):
    package = compile_random(args, Options("minmax"), "small").package
    wait = next(f for f in isa.SCHEDULE.fields if f.name == "wait")
    waits = package.schedule["wait"]
    assert waits.min() >= wait.minimum and waits.max() <= wait.maximum
    # Never more than a unit has, never further back than the iteration before.
    (counts,) = package.phases["unit_entries"]
    assert (waits <= counts).all()
    assert ((waits > -counts) | (waits == NO_WAIT)).all()
    last: dict[tuple[int, int], int] = {}
    for e in entries_of(package):
        assert e.position == last.get((e.instruction, e.sequence), -1) + 1
        last[e.instruction, e.sequence] = e.position


def test_more_tokens_than_rows_stay_in_order():
    # A ring has 16 rows: what waits for row 0 must not be overtaken by a later token.
    shape = {"seq_len": 53, "patch_len": 3, "stride": 3, "d_model": 27, "n_layer": 3, "expand": 3}
    compiled = compile_random(ModelArgs(**(SMALL | shape)), Options("minmax"), "small")
    assert compiled.package.n_positions == 17
    check_schedule(compiled.package, "small")


@pytest.mark.parametrize("seed", range(3))
def test_reductions_of_a_unit_do_not_interleave(seed):
    package = small_program(seed)
    placed = schedule(package.instructions, entries_of(package), BUILD)
    for opcode in ("LINEAR", "POOL"):
        sums = [
            (e["instruction"], e["sequence"], e["position"])
            for e in placed
            if (i := package.instructions[e["instruction"]]).opcode == opcode
            and (opcode == "POOL" or i.reduce)
        ]
        for (index, sequence, position), following in pairwise(sums):
            if position < package.instructions[index].n_positions - 1:
                assert following == (index, sequence, position + 1)


def test_iterations_overlap():
    """The waits let a forecast begin before the one before has ended."""
    package = compile_random(ModelArgs(**SMALL), Options("minmax")).package
    first = package.schedule[package.schedule["token"] == 0][0]
    assert package.instructions[first["instruction"]].opcode == "RECV"
    assert (first["wait"] < 0).all()


def test_each_dropped_wait_is_refused_or_implied():
    """A wait less either breaks the proof, or other waits imply it: then the bits stay the same."""
    package = compile_random(ModelArgs(**(SMALL | {"n_layer": 1})), Options("minmax")).package
    generator = np.random.default_rng(0)
    real = np.argwhere(package.schedule["wait"] != NO_WAIT)
    refused = 0
    for at, unit in real[generator.choice(len(real), 40, replace=False)]:
        broken = package.schedule.copy()
        broken["wait"][at, unit] = NO_WAIT
        try:
            check_schedule(dataclasses.replace(package, schedule=broken))
        except ScheduleError:
            refused += 1
    assert refused > 10


def test_an_empty_program():
    assert schedule((), [], BUILD).shape == (0,)
    assert schedule((), [], BUILD).dtype == SCHEDULE_DTYPE
