"""Compiled regressors compute what the folded model does, of every shape that fits."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import isa
from compiler.compile import compile_formats
from compiler.program import CompileError
from compiler.schedule.check import ScheduleError, check_schedule
from golden.integer_model import IntegerModel, untile
from hls.bindings import Accelerator
from isa.package import Package
from model.quantization.affine import quantize_weight
from model.quantization.parameters import learned_formats
from model.quantization.structure import structure_of
from model.regressor_args import RegressorArgs
from tests.both_forwards import run_both
from tests.compiled_models import sqnr
from tests.compiled_regressors import (
    compile_regressor,
    prepared_regressor,
    random_frames,
    regressor_args,
)

SMALL = {
    "num_features": 5,
    "num_channels": 6,
    "seq_len": 11,
    "patch_len": 4,
    "stride": 3,
    "d_model": 12,
    "n_layer": 1,
    "d_state": 4,
}


def instruction(package: Package, name: str) -> isa.Instruction:
    names = [package.instruction_name(i) for i in range(len(package.instructions))]
    return package.instructions[names.index(name)]


@settings(max_examples=25)
@given(regressor_args(), st.sampled_from(["default", "small"]), st.integers(0, 1000))
def test_a_regressor_of_any_shape(args, build, seed):
    """Every tensor of the program is that of the fake-quantized forward."""
    model = prepared_regressor(args, seed)
    formats = learned_formats(structure_of(model))
    package = compile_formats(model, formats, {}, isa.build(build))
    data = package.to_bytes()
    assert compile_formats(model, formats, {}, isa.build(build)).to_bytes() == data
    assert Package.from_bytes(data, build=build).to_bytes() == data
    check_schedule(package, build)

    run = run_both(model, torch.float64, windows=random_frames(args, 2, seed), build=build)
    assert {"q_frames", "q_centered", "q_input", "q_residual.0", "q_output"} <= set(run.integer)
    for point, q in run.integer.items():
        difference = (run.real[point] - q).abs()
        assert difference.max() < 0.01, f"{point}: {difference.max()} steps"


@settings(max_examples=10)
@given(
    regressor_args().filter(lambda args: args.d_model >= 8 and args.num_channels >= 4),
    st.integers(0, 1000),
)
def test_positions_are_close_to_fp32(args, seed):
    model, frames = prepared_regressor(args, seed), random_frames(args)
    run = run_both(model, torch.float64, windows=frames)
    with torch.no_grad():
        expected = model.core(model.to_tokens(frames)).numpy()
    scale = learned_formats(structure_of(model))["q_output"].scale
    y = run.integer["q_output"][:, 0].numpy() * scale
    # Of 60 such models the worst had 30 dB, the median 39 dB.
    assert sqnr(expected, y) > 25


@settings(max_examples=10)
@given(regressor_args(), st.integers(0, 1000))
def test_every_tensor_of_the_hls_kernels(args, seed):
    """On bytes over the whole int8 range, so that everything saturates somewhere."""
    package = compile_regressor(args, seed=seed)
    shape = (3, package.n_sequences, package.n_positions, package.token_bytes)
    tokens = np.random.default_rng(seed).integers(-128, 128, shape, dtype=np.int8)
    trace = {}
    IntegerModel(package).run(tokens, trace)
    found = Accelerator(package.to_bytes(), native=False).run_traced(tokens)
    for index in range(len(package.instructions)):
        name = package.instruction_name(index)
        np.testing.assert_array_equal(found[index], trace[name].numpy(), err_msg=name)


def test_the_embedding_meets_the_frames_of_its_patch():
    """Its weights, read as [D, frame, channel], are those of the model; the rest is zero."""
    args = RegressorArgs(**SMALL)
    model = prepared_regressor(args)
    package = compile_formats(model, learned_formats(structure_of(model)), {}, isa.build("small"))
    embedding = instruction(package, "patch_embedding")
    row = instruction(package, "frame_norm").dst.stride
    assert row == 16 and embedding.src.stride == args.stride * row
    found = untile(package, embedding)[0].numpy()
    weight = model.patch_embedding.weight.detach().double().numpy()
    scales = learned_formats(structure_of(model)).weights["patch_embedding"]
    expected = quantize_weight(weight, scales)
    by_frame = expected.reshape(12, 6, 4).transpose(0, 2, 1)  # [D, P, C]
    found = found[:, : 4 * row].reshape(12, 4, row)
    np.testing.assert_array_equal(found[:, :, :6], by_frame)
    assert not found[:, :, 6:].any()


@pytest.mark.parametrize(
    ("num_channels", "build", "row"),
    [(6, "small", 16), (16, "small", 16), (17, "small", 32), (6, "default", 64)],
)
def test_a_frame_fills_its_row(num_channels, build, row):
    package = compile_regressor(RegressorArgs(**(SMALL | {"num_channels": num_channels})), build)
    assert instruction(package, "frame_projection").n_out == row
    assert instruction(package, "frame_norm").n == row


def test_units_run_ahead_of_a_single_patch():
    """The rings of frames have rows for frames, not for patches."""
    shape = SMALL | {"seq_len": 9, "patch_len": 9}
    package = compile_regressor(RegressorArgs(**shape))
    assert instruction(package, "patch_embedding").n_positions == 1
    for name in ("frames", "frame_projection"):
        assert instruction(package, name).dst.log2_rows == 3


# ------------------------------------------------------------------------------ limits


@pytest.mark.parametrize("num_channels", [1, 64, 65, 128])
def test_half_of_the_memory(num_channels):
    frames = 2048 // (-(-num_channels // 64) * 64)
    shape = SMALL | {"num_channels": num_channels, "seq_len": frames, "patch_len": 4, "stride": 4}
    check_schedule(compile_regressor(RegressorArgs(**shape)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # 65 frames take 128 rows of 64.
        (
            {"seq_len": 65, "patch_len": 8, "stride": 8},
            r"frame_norm: a window of 65 frames in rows of 64, read as 8 patches, spans 8192 "
            r"elements of memory 'norm', build 'default' has 4096; use a smaller seq_len or",
        ),
        ({"num_channels": 257, "seq_len": 16, "stride": 4}, r"in rows of 320, .* spans 5120 "),
        # 40 frames: 9 patches count as 16, of which the last would begin at frame 60.
        (
            {"seq_len": 40, "stride": 4, "patch_len": 8},
            r"read as 9 patches, spans 4352 elements .*; use a smaller seq_len or num_channels, or",
        ),
        # All of the memory, none left for the other norms.
        ({"seq_len": 64, "stride": 4, "patch_len": 4}, r"norm: memory 'norm' needs .* more, has 0"),
        ({"num_features": 5000}, r"patches|frames.*memory 'patch' needs"),
    ],
)
def test_a_window_that_is_too_large_is_told_why_and_what_to_do(change, message):
    with pytest.raises(CompileError, match=message):
        compile_regressor(RegressorArgs(**(SMALL | change)))


def test_the_small_build_holds_other_windows():
    """Its rows are shorter, so that more of them fit."""
    shape = SMALL | {"seq_len": 100, "patch_len": 10, "stride": 10}
    check_schedule(compile_regressor(RegressorArgs(**shape), "small"), "small")


# ------------------------------------------------------------------------------ broken programs


def broken(package: Package, name: str, **fields: object) -> Package:
    """The package with other fields in one instruction."""
    instructions = tuple(
        dataclasses.replace(i, fields=i.fields | fields)
        if package.instruction_name(k) == name
        else i
        for k, i in enumerate(package.instructions)
    )
    return dataclasses.replace(package, instructions=instructions)


def test_a_patch_that_is_read_before_its_frames_is_found():
    package = compile_regressor(RegressorArgs(**SMALL))
    names = [package.instruction_name(e["instruction"]) for e in package.schedule]
    last = len(names) - 1 - names[::-1].index("patch_embedding")
    schedule = package.schedule.copy()
    schedule["wait"][last, isa.UNITS.index("vector")] -= 1
    with pytest.raises(ScheduleError, match=r"patch_embedding.* may read .*before .*frame_norm"):
        check_schedule(dataclasses.replace(package, schedule=schedule))


def test_frames_that_do_not_fill_their_rows_are_found():
    """What is between them was never written."""
    package = compile_regressor(RegressorArgs(**SMALL))
    with pytest.raises(ScheduleError, match=r"patch_embedding.* reads .*which nothing before it"):
        check_schedule(broken(package, "frame_norm", n=6))
