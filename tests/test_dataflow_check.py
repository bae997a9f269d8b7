"""The proof that rows hold what their readers mean, against programs with rows that are shared."""

import dataclasses
import re
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import isa
from compiler.compile import compile_learned
from compiler.program import CompilerDefectError, Entry, ProgramBuilder
from compiler.schedule.check import ScheduleError, check_schedule
from compiler.schedule.dataflow import DataflowError, check_dataflow
from golden.integer_model import IntegerModel
from golden.random_programs import entries_of, moved, random_package, random_published, shuffled
from isa.package import Package, PackageError
from model.published_args import PublishedArgs
from tests.published_models import SMALL_PUBLISHED, prepared_published


@settings(max_examples=20)
@given(st.integers(0, 1 << 32), st.sampled_from([random_package, random_published]))
def test_valid_programs_pass_in_any_order(seed, program):
    rng = np.random.default_rng(seed)
    package = program(rng)
    check_dataflow(package, entries_of(package), "small")
    check_dataflow(shuffled(package, rng), entries_of(package), "small")


def with_shorter_ring(package: Package, ring: isa.Operand) -> Package:
    """The package with half the rows in `ring`, for writer and readers alike."""
    shorter = dataclasses.replace(ring, log2_rows=ring.log2_rows - 1)
    instructions = [
        isa.Instruction(i.opcode, {k: shorter if v == ring else v for k, v in i.fields.items()})
        for i in package.instructions
    ]
    return dataclasses.replace(package, instructions=tuple(instructions))


def rings(package: Package) -> list[isa.Operand]:
    return [i.dst for i in package.instructions if i.opcode != "SEND" and i.dst.log2_rows > 0]


def every_tensor(package: Package, tokens: np.ndarray) -> dict[str, torch.Tensor]:
    trace: dict[str, torch.Tensor] = {}
    IntegerModel(package, "small").run(tokens, trace)
    return trace


def passes(package: Package, entries: list[Entry]) -> bool:
    try:
        package.validate("small")
        check_schedule(package, "small")
        check_dataflow(package, entries, "small")
    except (PackageError, ScheduleError, DataflowError):
        return False
    return True


def assert_same_tensors(package: Package, other: Package, rng: np.random.Generator) -> None:
    shape = (1, package.n_sequences, package.n_positions, package.token_bytes)
    tokens = rng.integers(-128, 128, shape, np.int8)
    expected, found = every_tensor(package, tokens), every_tensor(other, tokens)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from([random_package, random_published]))
def test_what_passes_with_a_shorter_ring_computes_the_same(seed, program):
    """Not the other way round: values may be equal by chance."""
    rng = np.random.default_rng(seed)
    package = program(rng)
    choice = rings(package)
    assume(choice)
    shorter = with_shorter_ring(package, choice[int(rng.integers(len(choice)))])
    if passes(shorter, entries_of(package)):
        assert_same_tensors(package, shorter, rng)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from([random_package, random_published]))
def test_what_passes_in_another_order_computes_the_same(seed, program):
    rng = np.random.default_rng(seed)
    package = program(rng)
    other = package
    for _ in range(3):
        source = int(rng.integers(len(package.schedule)))
        target = source + int(rng.integers(-8, 9))
        other = moved(other, source, min(max(target, 0), len(package.schedule) - 1))
    if passes(other, entries_of(package)):
        assert_same_tensors(package, other, rng)


def messages(packages: Iterable[Package], entries: list[Entry]) -> list[str]:
    """Of the packages that the schedule check lets pass, what the dataflow check says."""
    found = []
    for package in packages:
        try:
            check_schedule(package, "small")
            check_dataflow(package, entries, "small")
        except ScheduleError:
            continue
        except DataflowError as error:
            found.append(str(error))
    return found


def test_shorter_rings_that_the_schedule_check_does_not_see():
    found = []
    for seed in range(4):
        package = random_published(np.random.default_rng(seed))
        shorter = (with_shorter_ring(package, ring) for ring in rings(package))
        found += messages(shorter, entries_of(package))
    assert len(found) > 10
    for message in found:
        assert re.search(
            r"\) reads \w+: \w+\[\d+\.\.\d+\], where .*\) has put another row", message
        )


def test_orders_that_the_schedule_check_does_not_see():
    found = []
    for seed in range(2):
        package = random_published(np.random.default_rng(seed))
        last = len(package.schedule) - 1
        later = (moved(package, k, min(k + 8, last)) for k in range(last))
        found += messages(later, entries_of(package))
    other_writer = [
        m for m in found if re.search(r"\) reads .*, written by .*, where it should be by ", m)
    ]
    other_token = [
        m for m in found if re.search(r"\) comes before .*, expected after it in the ", m)
    ]
    assert len(other_writer) > 10
    assert len(other_token) > 0
    assert len(other_writer) + len(other_token) == len(found)


def test_the_compiler_does_not_hand_out_a_program_with_too_few_rows(monkeypatch):
    """Of more variables than rows, one would be computed from the row of another."""
    model = prepared_published(PublishedArgs(**SMALL_PUBLISHED | {"num_channels": 17}))
    compile_learned(model)
    reserve = ProgramBuilder.reserve

    def without_least(self, *args, least_rows=2, **options):
        reserve(self, *args, **options)

    monkeypatch.setattr(ProgramBuilder, "reserve", without_least)
    with pytest.raises(
        CompilerDefectError,
        match=r"reads .*: resid\[.*where blocks.0.* put another row.*please report",
    ):
        compile_learned(model)
