"""compiler.schedule.loops: orders become phases, and what is executed stays the same."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import isa
from compiler.compile import Options
from compiler.program import CompileError
from compiler.schedule.check import check_schedule
from compiler.schedule.loops import in_phases
from compiler.schedule.order import schedule
from golden.host import HostSide
from golden.integer_model import IntegerModel
from golden.random_programs import entries_of, random_package, random_published
from isa.phases import executed
from isa.words import SCHEDULE_DTYPE
from model.args import ModelArgs
from tests.compiled_models import SMALL, compile_random

FIELDS = ["instruction", "token", "position", "sequence"]
MANY_TOKENS = {"seq_len": 61, "patch_len": 3, "stride": 2, "n_layer": 2}


def with_schedule(build: str, entries: int, phases: int = 16) -> isa.Build:
    whole = isa.build(build)
    capacity = {**whole.capacity, "schedule": entries, "phases": phases}
    return dataclasses.replace(whole, capacity=capacity)


@settings(max_examples=20)
@given(st.integers(0, 1 << 30), st.sampled_from((random_package, random_published)))
def test_what_is_executed_stays(seed, program):
    rng = np.random.default_rng(seed)
    package = program(rng, largest=8)
    build = with_schedule("small", 1, int(rng.integers(1, 17)))
    order = schedule(package.instructions, entries_of(package), build)
    units = [package.instructions[i].unit for i in order["instruction"]]
    phases, entries = in_phases(order, units, build)
    assert len(phases) <= build.capacity["phases"]
    assert np.array_equal(executed(phases, entries)[FIELDS], order[FIELDS])
    check_schedule(dataclasses.replace(package, phases=phases, schedule=entries), build)


def test_a_schedule_that_fits_is_one_phase():
    package = random_package(np.random.default_rng(0))
    n = len(package.schedule)
    units = package.units
    phases, entries = in_phases(package.schedule, units, with_schedule("small", n))
    assert len(phases) == 1
    assert entries is package.schedule
    phases, entries = in_phases(package.schedule, units, with_schedule("small", n - 1))
    assert len(entries) < n


def test_a_model_whose_schedule_needs_loops():
    """It has the same tensors as with a schedule that holds every entry."""
    args = ModelArgs(**(SMALL | MANY_TOKENS))
    whole = compile_random(args, Options("minmax"), "small")
    build = with_schedule("small", len(whole.package.schedule) * 5 // 6)
    looped = compile_random(args, Options("minmax"), build).package
    assert len(whole.package.phases) == 1
    assert len(looped.phases) > 1
    assert len(looped.schedule) <= build.capacity["schedule"]
    assert np.array_equal(looped.executed()[FIELDS], whole.package.executed()[FIELDS])

    tokens = HostSide(looped).tokens(whole.windows.numpy())
    expected: dict[str, torch.Tensor] = {}
    found: dict[str, torch.Tensor] = {}
    IntegerModel(whole.package, "small").run(tokens, expected)
    IntegerModel(looped, build).run(tokens, found)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_schedule_that_is_too_long_even_in_loops():
    build = with_schedule("small", 20)
    with pytest.raises(CompileError, match=r"entries .* are \d+ in loops, .* holds 20; use fewer"):
        compile_random(ModelArgs(**(SMALL | MANY_TOKENS)), Options("minmax"), build)


def test_a_wait_is_enough_for_every_repeat():
    """The first repeat waits for nothing, the others for the one before."""
    order = np.zeros(6, SCHEDULE_DTYPE)
    order["token"] = order["position"] = np.repeat(np.arange(3), 2)
    order["instruction"] = np.tile([0, 1], 3)
    order["wait"] = -8192
    array, vector = isa.UNITS.index("array"), isa.UNITS.index("vector")
    order["wait"][1::2, array] = [1, 2, 3]  # the vector's entries, each for the array's before
    order["wait"][2::2, vector] = [1, 2]  # the array's, for the vector's of the repeat before
    phases, entries = in_phases(order, [array, vector] * 3, with_schedule("small", 1))
    assert phases["repeats"].tolist() == [3]
    assert entries["wait"][:, array].tolist() == [-8192, 1]
    assert entries["wait"][:, vector].tolist() == [0, -8192]
