"""Compiled published models: of every shape that fits, and in the order that their parts need."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import isa
from compiler.compile import compile_learned, compile_model
from compiler.program import CompileError
from compiler.schedule.check import check_schedule
from compiler.schedule.order import dependencies
from evaluation.forecaster import Forecaster
from golden.host import HostSide
from golden.integer_model import IntegerModel
from golden.random_programs import entries_of
from isa.package import Package
from model.published_args import PublishedArgs
from model.quantization.calibrate import calibrate
from tests.both_forwards import run_both
from tests.compiled_models import random_windows, sqnr
from tests.published_models import (
    SMALL_PUBLISHED,
    learned_published,
    prepared_published,
    published_args,
    random_published,
)

SMALL = PublishedArgs(**SMALL_PUBLISHED)


def compiled(**changes: object) -> Package:
    args = dataclasses.replace(SMALL, **changes)
    return compile_learned(prepared_published(args))


def index_of(package: Package, name: str) -> int:
    return [package.instruction_name(i) for i in range(len(package.instructions))].index(name)


@settings(max_examples=20, deadline=None)
@given(published_args(), st.sampled_from(["default", "large", "small"]), st.integers(0, 1000))
def test_a_published_model_of_any_shape(args, build, seed):
    """Every tensor of the program is that of the fake-quantized forward."""
    model = learned_published(args, seed)
    try:
        package = compile_learned(model, isa.build(build))
    except CompileError:
        assume(build != "default")  # it holds them all
        assume(False)
    data = package.to_bytes()
    assert compile_learned(model, isa.build(build)).to_bytes() == data
    assert Package.from_bytes(data, build=build).to_bytes() == data
    check_schedule(package, build)

    run = run_both(model, torch.float64, build=build)
    points = {"q_input", "q_residual.0", "blocks.0.q_mixed", "q_last", "q_head", "q_output"}
    assert points <= run.integer.keys()
    for point, q in run.integer.items():
        assert (run.real[point] - q).abs().max() < 0.01, point


def test_rows_between_blocks_and_head_leave_room_in_the_blocks():
    package = compiled(num_channels=7, seq_len=16, stride=8, d_model=448, n_layer=1)
    check_schedule(package)


def test_the_host_pads_the_end_of_a_window():
    model = prepared_published(SMALL)
    host = HostSide(compile_learned(model))
    x = 3.0 * random_windows(SMALL, 5) - 1.0
    tokens = host.tokens(x.numpy())
    assert tokens.shape == (5, SMALL.num_channels, SMALL.num_patches, SMALL.patch_len)
    step, zero_point = host.input_scale, host.zero_point
    expected = model.to_tokens(x).numpy().reshape(tokens.shape) / step + zero_point
    inside = np.abs(expected) < 120
    assert inside.mean() > 0.9
    assert np.abs(tokens - expected)[inside].max() < 0.51
    assert (tokens[..., -1, -SMALL.stride :] == tokens[..., -1, -SMALL.stride, None]).all()


@settings(max_examples=10, deadline=None)
@given(published_args(), st.integers(0, 1000))
def test_forecasts_are_those_of_the_output_layer(args, seed):
    """Every variable's forecast leaves before its row is written again, in the variables' order."""
    package = compile_learned(learned_published(args, seed))
    shape = (2, package.n_sequences, package.n_positions, package.token_bytes)
    tokens = np.random.default_rng(seed).integers(-128, 128, shape, np.int8)
    trace: dict[str, torch.Tensor] = {}
    forecast = IntegerModel(package).run(tokens, trace)
    for name in ("output_layer", "forecast"):
        np.testing.assert_array_equal(forecast, trace[name].numpy())


def test_forecasts_are_close_to_fp32():
    args = dataclasses.replace(SMALL, num_channels=5)
    model = random_published(args)
    x = random_windows(args, 16)
    package = compile_model(model, calibrate(model, model.to_tokens(x)))
    with torch.no_grad():
        real = model(x).numpy()
    assert sqnr(real, Forecaster(package)(x.numpy())) > 25


def test_variables_take_turns():
    """All variables of a token pass a block before the next token; the head takes one variable
    after the other."""
    package = compiled()
    V, K = SMALL.num_channels, SMALL.num_patches
    assert (package.n_sequences, package.iterations) == (V, 1)
    entries = package.schedule
    pool = entries[entries["instruction"] == index_of(package, "blocks.0.gdd_mlp.pool")]
    places = list(zip(pool["position"].tolist(), pool["sequence"].tolist(), strict=True))
    assert sorted(places) == [(k, v) for k in range(K) for v in range(V)]
    assert [k for k, _ in places] == sorted(k for k, _ in places)
    assert (pool["token"] == pool["position"] * V + pool["sequence"]).all()
    for name in ("fc1", "gelu", "fc2"):
        shared = entries[entries["instruction"] == index_of(package, f"blocks.0.gdd_mlp.{name}")]
        assert shared["position"].tolist() == shared["token"].tolist() == list(range(K))
        assert not shared["sequence"].any()
    head = entries[entries["instruction"] == index_of(package, "output_layer")]
    assert head["sequence"].tolist() == [v for v in range(V) for _ in range(K)]


def test_every_variable_has_a_state_of_its_own():
    package = compiled()
    scans = [
        package.instructions[index_of(package, f"blocks.0.mixer.scan.{v}")]
        for v in range(SMALL.num_channels)
    ]
    size = SMALL.d_inner << scans[0].log2_state
    starts = [scan.state_addr for scan in scans]
    assert all(b - a >= size for a, b in itertools.pairwise(starts))
    assert len({scan.decay_addr for scan in scans}) == len({scan.param_addr for scan in scans}) == 1


def test_pooling_does_not_wait_for_pooling():
    """Elements of one row are written by entries that do not wait for each other."""
    package = compiled()
    pool, fc1 = (index_of(package, f"blocks.0.gdd_mlp.{name}") for name in ("pool", "fc1"))
    entries = entries_of(package)
    needs = dependencies(package.instructions, entries, isa.build())
    pools = {i for i, e in enumerate(entries) if e.instruction == pool}
    for i, entry in enumerate(entries):
        if entry.instruction == pool:
            same_row = {j for j in pools if entries[j].position == entry.position}
            assert not needs.same[i] & same_row
        elif entry.instruction == fc1:
            same_row = {j for j in pools if entries[j].position == entry.position}
            assert needs.same[i] >= same_row and len(same_row) == SMALL.num_channels


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_channels": 60, "d_model": 128}, "residual stream of all variables: memory 'resid'"),
        ({"num_channels": 24, "expand": 4, "d_state": 16}, "or fewer than 24 variables"),
        ({"forecast_len": 2056}, "output_layer: forecast_len 2056"),
    ],
)
def test_a_model_that_is_too_large_is_told_why_and_what_to_do(changes, message):
    with pytest.raises(CompileError, match=message):
        compiled(**changes)


def test_a_build_that_holds_the_model_is_found():
    args = PublishedArgs(num_channels=7, d_model=32, n_layer=1, seq_len=96, dt_rank=4)
    model = prepared_published(args)
    with pytest.raises(CompileError, match="build 'large'; use a smaller model or a build"):
        compile_learned(model, isa.build("large"))
    package = compile_learned(model)
    assert IntegerModel(package).build.name == "default"
