"""The compiler: every shape compiles to a package that computes what its model does."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import isa
from compiler.compile import Options, compile_model
from compiler.lower.cmamba import CMambaLowering
from compiler.program import CompileError, ProgramBuilder
from compiler.schedule.check import ScheduleError, check_schedule
from golden.integer_model import untile
from isa.package import Package
from model.args import ModelArgs
from model.io import weights_sha256
from model.quantization.affine import Affine, quantize_weight, room_for_bias, weight_scales
from model.quantization.formats import Formats
from model.quantization.structure import structure_of
from tests.compiled_models import (
    SMALL,
    Compiled,
    StepError,
    compile_random,
    model_args,
    one_step_errors,
    options,
    random_model,
    random_windows,
    sqnr,
)


def excessive(errors: list[StepError]) -> list[StepError]:
    return [e for e in errors if e.excessive]


# ------------------------------------------------------------------------------ every shape


@settings(max_examples=20)
@given(model_args(), options(), st.sampled_from(["default", "small"]), st.integers(0, 1000))
def test_a_model_of_any_shape(args, options, build, seed):
    compiled = compile_random(args, options, build, seed=seed)
    data = compiled.package.to_bytes()
    again = compile_model(compiled.model, compiled.ranges, options, compiled.build)
    assert again.to_bytes() == data
    assert Package.from_bytes(data, build=build).to_bytes() == data
    check_schedule(compiled.package, build)
    assert not excessive(one_step_errors(compiled))


@settings(max_examples=10)
@given(model_args().filter(lambda args: args.d_model >= 8), st.integers(0, 1000))
def test_forecasts_are_close_to_fp32(args, seed):
    compiled = compile_random(args, Options("minmax"), seed=seed)
    with torch.no_grad():
        expected = compiled.model(compiled.windows).numpy()
    # Of 340 such models the worst had 32 dB (29 dB with powers of two), the median 39 dB.
    assert sqnr(expected, compiled.forecast()) > 25


def test_sequences_that_exceed_the_schedule_run_in_iterations():
    args = ModelArgs(**(SMALL | {"num_channels": 91, "channel_mode": "independent"}))
    compiled = compile_random(args)
    package = compiled.package
    assert (package.n_sequences, package.iterations) == (13, 7)
    assert len(package.schedule) <= isa.build().capacity["schedule"]
    check_schedule(package)
    assert not excessive(one_step_errors(compiled))


def test_one_forecast_may_fill_the_memory_of_heads():
    shape = {"num_channels": 2, "seq_len": 8, "d_model": 4, "n_layer": 1, "forecast_len": 2056}
    args = ModelArgs(**(SMALL | shape | {"channel_mode": "independent"}))
    compiled = compile_random(args, build="small")
    assert compiled.package.n_sequences == 2
    check_schedule(compiled.package, "small")
    assert not excessive(one_step_errors(compiled))


def test_a_forecast_longer_than_the_array_sums_is_split():
    args = ModelArgs(**(SMALL | {"num_channels": 9, "forecast_len": 480, "d_model": 8}))
    compiled = compile_random(args)
    names = [i["name"] for i in compiled.package.metadata["instructions"]]
    parts = -(-9 * 480 // isa.build().capacity["features"])
    assert parts > 1
    assert names[-parts - 1 :] == [*(f"output_layer.{i}" for i in range(parts)), "forecast"]
    assert not excessive(one_step_errors(compiled))


@pytest.mark.parametrize(
    "args",
    [
        # Each of these shares a memory with rings that take all they can.
        {"topology": "nested", "d_model": 256, "n_layer": 1, "num_channels": 2},
        {"d_model": 256, "n_layer": 1, "num_channels": 9, "forecast_len": 480},
        {"topology": "nested", "d_state": 64, "dt_rank": 64, "d_model": 128, "n_layer": 1},
    ],
)
def test_wide_models_leave_room_for_the_other_buffers(args):
    compiled = compile_random(ModelArgs(**(SMALL | args)))
    check_schedule(compiled.package)
    assert not excessive(one_step_errors(compiled))


# ------------------------------------------------------------------------------ extreme values


def scaled(suffix: str, factor: float) -> Callable[[dict[str, Tensor]], None]:
    def edit(parameters: dict[str, Tensor]) -> None:
        for name, p in parameters.items():
            if name.endswith(suffix):
                p.mul_(factor)

    return edit


def filled(suffix: str, value: float) -> Callable[[dict[str, Tensor]], None]:
    def edit(parameters: dict[str, Tensor]) -> None:
        for name, p in parameters.items():
            if name.endswith(suffix):
                p.fill_(value)

    return edit


def gates(bias: float) -> Callable[[dict[str, Tensor]], None]:
    """Biases of z, the second half of in_proj."""

    def edit(parameters: dict[str, Tensor]) -> None:
        for name, p in parameters.items():
            if name.endswith("in_proj.bias"):
                p[len(p) // 2 :] = bias

    return edit


def wide_decay_rates(parameters: dict[str, Tensor]) -> None:
    for name, p in parameters.items():
        if name.endswith("A_log"):
            p.copy_(torch.linspace(-5.0, 8.0, p.shape[1]).expand_as(p))


def some_outputs_without_weights(parameters: dict[str, Tensor]) -> None:
    parameters["output_layer.weight"][::2] = 0.0
    parameters["blocks.0.dt_proj.weight"][1] = 0.0
    parameters["blocks.0.conv1d.weight"][2] = 0.0
    parameters["blocks.1.x_proj.weight"][3] = 0.0


def only_biases_in_the_head(parameters: dict[str, Tensor]) -> None:
    parameters["output_layer.weight"].zero_()
    parameters["output_layer.bias"].mul_(1e-3)


def everything_zero(parameters: dict[str, Tensor]) -> None:
    for p in parameters.values():
        p.zero_()


EXTREMES = {
    "everything zero": (everything_zero, {}),
    "outputs without weights": (some_outputs_without_weights, {}),
    "only biases in the head": (only_biases_in_the_head, {}),
    "huge bias": (filled("dt_proj.bias", 1e6), {}),
    "huge output bias": (filled("output_layer.bias", 1e9), {}),
    "open gates": (gates(30.0), {"bias": True}),
    "closed gates": (gates(-3.0), {"bias": True}),  # SiLU's minimum lies inside the range
    "tight gates": (gates(-200.0), {"bias": True}),
    "tiny B and C": (scaled("x_proj.weight", 1e-8), {}),
    "zero B and C": (scaled("x_proj.weight", 0.0), {}),
    "huge B and C": (scaled("x_proj.weight", 1e3), {}),
    "no skip": (filled(".D", 0.0), {}),
    "huge skip": (scaled(".D", 1e9), {}),
    "wide decay rates": (wide_decay_rates, {}),
    "no decay": (filled("A_log", -100.0), {}),
    "no decay in float64": (filled("A_log", -800.0), {}),
    "immediate decay": (filled("A_log", 100.0), {}),
    "immediate decay in float64": (filled("A_log", 800.0), {}),
    "tiny steps": (filled("dt_proj.bias", -30.0), {}),
    "large steps": (filled("dt_proj.bias", 30.0), {}),
    "dead convolution": (filled("conv1d.weight", 0.0), {}),
    "tiny norm weights": (scaled("norm_in.weight", 1e-6), {}),
    "large epsilon": (None, {"norm_eps": 100.0}),
    "large epsilon, d_model 128": (None, {"norm_eps": 1.0, "d_model": 128, "n_layer": 1}),
    "huge residual": (scaled("out_proj.weight", 1e4), {}),
    "dead hidden layer": (filled("fc1.bias", -100.0), {"topology": "nested"}),
    "sharp attention": (scaled("fc2.weight", 100.0), {"topology": "nested"}),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_parameters(name):
    edit, args = EXTREMES[name]
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        compiled = compile_random(ModelArgs(**(SMALL | args)), Options("minmax"), edit=edit)
    assert not excessive(one_step_errors(compiled))


@pytest.mark.parametrize(
    "name", ["everything zero", "outputs without weights", "huge bias", "tiny B and C"]
)
def test_extreme_parameters_with_powers_of_two(name):
    edit, args = EXTREMES[name]
    settings = Options("mse", power_of_two=True)
    compiled = compile_random(ModelArgs(**(SMALL | args)), settings, edit=edit)
    assert not excessive(one_step_errors(compiled))


@pytest.mark.parametrize("factor", [0.0, 1e-44, 1e-30, 1e6, 1e15])
def test_extreme_inputs(factor):
    args = ModelArgs(**SMALL)
    compiled = compile_random(args, Options("minmax"), windows=random_windows(args) * factor)
    assert not excessive(one_step_errors(compiled))


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse"])
def test_one_huge_input(method):
    args = ModelArgs(**SMALL)
    windows = random_windows(args)
    windows[2, 1, 5] = 1e6
    compiled = compile_random(args, Options(method), windows=windows)
    assert not excessive(one_step_errors(compiled))


def test_positions_do_not_saturate_a_small_residual_stream():
    def cancel_positions(parameters: dict[str, Tensor]) -> None:
        parameters["patch_embedding.weight"].mul_(1e-3)
        parameters["patch_embedding.bias"].copy_(torch.tensor([0.0, -1.0]))  # minus sin, cos
        parameters["blocks.0.out_proj.weight"].mul_(1e-3)

    args = ModelArgs(**(SMALL | {"seq_len": 8, "d_model": 2, "n_layer": 1}))
    compiled = compile_random(args, edit=cancel_positions)
    assert compiled.ranges["q_residual.0"].max_abs < 0.1
    assert not excessive(one_step_errors(compiled))


# ------------------------------------------------------------------------------ integer layers


def linear_layers(compiled: Compiled) -> dict[str, np.ndarray]:
    """FP32 weights [positions, n_out, n_in] of every LINEAR but x_proj, whose rows move."""
    args = compiled.model.args
    state = {k: v.double().numpy() for k, v in compiled.model.state_dict().items()}
    result = {}
    for name in [i["name"] for i in compiled.package.metadata["instructions"]]:
        if name.endswith(("in_proj_u", "in_proj_z")):
            half = int(name.endswith("z")) * args.d_inner
            weight = state[f"{name[:-2]}.weight"][half : half + args.d_inner]
        elif name == "output_layer":
            weight = state["output_layer.weight"].reshape(-1, args.num_patches, args.d_model)
            result[name] = weight.transpose(1, 0, 2)
            continue
        elif name.endswith("fc2"):
            weight = np.stack([state[f"{name}.weight"]] * 2)
        elif f"{name}.weight" in state and state[f"{name}.weight"].ndim == 2:
            weight = state[f"{name}.weight"]
        else:
            continue
        if not name.endswith("x_proj"):
            result[name] = weight if weight.ndim == 3 else weight[None]
    return result


@pytest.mark.parametrize("build", ["default", "small"])
@pytest.mark.parametrize("d_model", [5, 40])
def test_tiles_hold_the_weights_of_each_output(build, d_model):
    shape = {"topology": "nested", "n_layer": 1, "d_model": d_model, "reduction_ratio": 2}
    compiled = compile_random(ModelArgs(**(SMALL | shape)), Options("minmax"), build)
    package = compiled.package
    layers = linear_layers(compiled)
    assert len(layers) == 8
    for i, instruction in enumerate(package.instructions):
        weight = layers.get(package.instruction_name(i))
        if weight is None:
            continue
        found = untile(package, instruction).numpy()
        rows = weight.transpose(1, 0, 2)
        expected = quantize_weight(rows, weight_scales(rows))
        np.testing.assert_array_equal(found, expected.transpose(1, 0, 2))


def test_zero_points_are_folded_into_the_biases():
    compiled = compile_random(ModelArgs(**SMALL))
    package = compiled.package
    state = compiled.model.state_dict()
    source = compiled.int8("blocks.0.q_dt_low")
    assert source.zero_point != 0
    names = [package.instruction_name(i) for i in range(len(package.instructions))]
    instruction = package.instructions[names.index("blocks.0.dt_proj")]
    weight = untile(package, instruction)[0].numpy()
    words = package.array_params[instruction.param_addr :][: instruction.n_out]
    # An input of zero points is an input of zeros: the accumulator is the bias alone.
    acc = words["bias"] + weight @ np.full(instruction.n_in, source.zero_point)
    scales = weight_scales(state["blocks.0.dt_proj.weight"].double().numpy())
    bias = state["blocks.0.dt_proj.bias"].double().numpy()
    np.testing.assert_array_equal(acc, np.rint(bias / (source.scale * scales)))


def test_scales_of_powers_of_two_need_no_multiplier():
    args = ModelArgs(**(SMALL | {"topology": "nested", "bias": True}))
    compiled = compile_random(args, Options("mse", power_of_two=True))
    package = compiled.package
    for section in ("array_params", "conv_params", "scan_params"):
        multipliers = np.abs(getattr(package, section)["multiplier"])
        assert np.isin(multipliers, [0, 1 << 16]).all(), section
    for entry in package.metadata["instructions"]:
        for tensor in entry["tensors"]:
            assert np.frexp(tensor["scale"])[0] == 0.5


def lowering() -> CMambaLowering:
    """A CMambaLowering, for its parts that need no program."""
    model = random_model(ModelArgs(**SMALL))
    return CMambaLowering(
        structure_of(model), Formats({}, {}, {}), ProgramBuilder(isa.build(), 1, 1)
    )


@given(st.integers(1, 64), st.integers(-128, 127), st.floats(1e-3, 1e12), st.integers(0, 1000))
def test_no_accumulator_overflows(n_in, zero_point, bias, seed):
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((3, n_in)) * [[1.0], [1e-6], [0.0]]
    biases = np.array([bias, -bias, bias])
    source = Affine(0.05, zero_point)
    scales = room_for_bias(weight, biases, source.scale, weight_scales(weight))
    q, bias_q, steps = lowering()._integer_layer("layer", weight, scales, biases, [source])
    # The extreme inputs, for each output the worst.
    for x in (np.where(q > 0, 127, -128), np.where(q > 0, -128, 127)):
        assert (np.abs(bias_q + (q * x).sum(axis=1)) < 2**31).all()
    assert np.abs(bias_q).max() < 2**30  # what a loader accepts
    folded = bias_q + zero_point * q.sum(axis=1)
    assert (np.abs(folded * steps - biases) <= 0.5 * steps * (1 + 1e-9)).all()
    # A bias that cannot fit beside its weights takes bits from them, and keeps its own.
    assert (np.abs(folded[1:] * steps[1:] / biases[1:] - 1.0) < 1e-4).all()


def test_a_layer_that_may_overflow_is_refused():
    weight = np.ones((2, 140_000))
    weight[0, ::2] = 0.0
    with pytest.raises(CompileError, match=r"layer: output 1 may reach \d+, expected at most 214"):
        lowering()._integer_layer("layer", weight, weight_scales(weight), None, [Affine(0.1, 3)])


def test_headroom_is_reported_for_every_layer():
    compiled = compile_random(ModelArgs(**SMALL))
    headroom = compiled.package.metadata["accumulator_headroom_bits"]
    layers = [
        i["name"]
        for i in compiled.package.metadata["instructions"]
        if i["opcode"] in ("LINEAR", "CONV")
    ]
    assert sorted(headroom) == sorted(layers)
    assert all(0.0 < bits < 31.0 for bits in headroom.values())


# ------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("args", "build", "message"),
    [
        (
            {"d_conv": 9},
            "default",
            r"blocks\.0\.conv1d: d_conv 9, expected at most 8 taps; train with",
        ),
        (
            {"d_state": 65},
            "default",
            r"blocks\.0\.scan: d_state 65, expected at most 64; train with",
        ),
        (
            {"d_model": 256, "d_state": 64},
            "default",
            r"scan needs 32768 states, build 'default' has 16384; use a smaller d_state",
        ),
        (
            {"num_channels": 640, "seq_len": 8},
            "default",
            r"memory 'patch' needs 10240 elements more, .*; use a smaller model or a build with a",
        ),
        (
            {"num_channels": 50, "forecast_len": 400},
            "default",
            r"head' needs 20032 elements more.*; use a smaller model or a build with a larger",
        ),
        (
            {"seq_len": 1204, "num_channels": 1},
            "large",
            r"positional encoding: memory 'resid' needs 19200 .*; use fewer tokens or a smaller",
        ),
        (
            {"seq_len": 164, "num_channels": 1, "d_model": 130},
            "large",
            r"encoding: 64 rows of 192 do not fit memory 'resid' of 8192 .*; use fewer tokens",
        ),
        (
            {"n_layer": 6, "topology": "nested", "seq_len": 8, "d_model": 8},
            "default",
            r"instructions: expected at most 256 .*; use a smaller model or a larger build",
        ),
        (
            {"d_model": 600, "n_layer": 1, "d_state": 1},
            "small",
            r"memory '\w+' needs \d+ elements.*; use a smaller model or a build with a larger",
        ),
    ],
)
def test_a_model_that_is_too_large_is_told_why_and_what_to_do(args, build, message):
    args = ModelArgs(**(SMALL | args))
    with pytest.raises(CompileError, match=message):
        compile_random(args, Options("minmax"), build, windows=random_windows(args, 1))


def test_of_builds_that_are_too_small_the_last_is_named():
    args = ModelArgs(**(SMALL | {"d_model": 600}))
    with pytest.raises(CompileError, match=r"memory '\w+' needs .* in build 'deep'; use a smaller"):
        compile_random(args, Options("minmax"), None, windows=random_windows(args, 1))


def test_what_no_build_can_hold_is_tried_on_one(monkeypatch):
    args, builds, run = ModelArgs(**(SMALL | {"d_conv": 9})), [], CMambaLowering.run

    def noting(self):
        builds.append(self.builder.build.name)
        run(self)

    monkeypatch.setattr(CMambaLowering, "run", noting)
    with pytest.raises(CompileError, match="d_conv 9, expected at most 8 taps; train with"):
        compile_random(args, Options("minmax"), None, windows=random_windows(args, 1))
    assert builds == ["default"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_named(value):
    compiled = compile_random(ModelArgs(**SMALL))
    with torch.no_grad():
        compiled.model.blocks[1].conv1d.weight[3, 0, 1] = value
    with pytest.raises(CompileError, match=r"blocks\.1\.conv1d\.weight: found NaN or infinity"):
        compile_model(compiled.model, compiled.ranges)


def test_ranges_of_another_model_are_refused():
    ranges = compile_random(ModelArgs(**(SMALL | {"n_layer": 1}))).ranges
    with pytest.raises(CompileError, match=r"blocks\.1\.q_norm: no calibration data"):
        compile_model(random_model(ModelArgs(**SMALL)), ranges)


@pytest.mark.parametrize(
    ("point", "factor", "what", "most"), [("q_h", 1e7, "state", 16), ("q_y", 1e20, "output", 40)]
)
def test_calibration_data_that_saturate_a_scan_are_refused(point, factor, what, most):
    compiled = compile_random(ModelArgs(**SMALL))
    ranges = dict(compiled.ranges)
    seen = ranges[f"blocks.1.{point}"]
    ranges[f"blocks.1.{point}"] = dataclasses.replace(seen, high=seen.high * factor)
    message = (
        rf"blocks\.1\.scan: calibration data saturate the {what}: .* expected at most {most}; "
        "calibrate on data without such extremes"
    )
    with pytest.raises(CompileError, match=message):
        compile_model(compiled.model, ranges)


def test_unknown_method():
    with pytest.raises(ValueError, match="method: found 'kl', expected one of"):
        Options("kl")


def test_the_fingerprint_is_that_of_the_weights():
    compiled = compile_random(ModelArgs(**SMALL))
    stored = compiled.package.metadata["weights_sha256"]
    assert stored == weights_sha256(compiled.model)
    with torch.no_grad():
        compiled.model.norm_f.weight[0] += 1e-6
    assert stored != weights_sha256(compiled.model)


# ------------------------------------------------------------------------------ broken on purpose


def exchange_tiles(package: Package, name: str) -> Package:
    """Swap the first two weight tiles of an instruction."""
    instruction = instruction_of(package, name)
    weights = package.weights.copy()
    first = instruction.weight_addr
    weights[[first, first + 1]] = weights[[first + 1, first]]
    return dataclasses.replace(package, weights=weights)


def instruction_of(package: Package, name: str) -> isa.Instruction:
    names = [i["name"] for i in package.metadata["instructions"]]
    return package.instructions[names.index(name)]


def with_fields(package: Package, name: str, **fields: object) -> Package:
    changed = instruction_of(package, name)
    return dataclasses.replace(
        package,
        instructions=tuple(
            isa.Instruction(i.opcode, dict(i.fields) | fields) if i is changed else i
            for i in package.instructions
        ),
    )


def with_param(package: Package, section: str, name: str, field: str, change: int) -> Package:
    words = getattr(package, section).copy()
    words[field][instruction_of(package, name).param_addr] += change
    return dataclasses.replace(package, **{section: words})


def without_constants(package: Package) -> Package:
    return dataclasses.replace(package, resid_image=np.zeros_like(package.resid_image))


def other_operand(package: Package, name: str, field: str, other: str) -> Package:
    operand = instruction_of(package, other).fields["dst"]
    return with_fields(package, name, **{field: operand})


def next_decay(package: Package) -> Package:
    return dataclasses.replace(package, scan_decay=np.roll(package.scan_decay, 1))


BROKEN = {
    "two tiles exchanged": (
        lambda p: exchange_tiles(p, "blocks.0.in_proj_u"),
        "blocks.0.in_proj_u",
    ),
    "a zero point": (
        lambda p: with_param(p, "array_params", "blocks.1.in_proj_z", "zero_point", 2),
        "blocks.1.in_proj_z",
    ),
    "the padding": (
        lambda p: with_fields(
            p, "blocks.0.conv1d", pad=instruction_of(p, "blocks.0.conv1d").pad - 9
        ),
        "blocks.0.conv1d",
    ),
    "a bias": (
        lambda p: with_param(p, "conv_params", "blocks.1.conv1d", "bias", 3000),
        "blocks.1.conv1d",
    ),
    "a shift": (
        lambda p: with_param(p, "array_params", "blocks.1.dt_proj", "shift", 1),
        "blocks.1.dt_proj",
    ),
    "a table": (
        lambda p: with_fields(
            p,
            "blocks.0.scan",
            silu_table=instruction_of(p, "blocks.0.scan").softplus_table,
        ),
        "blocks.0.scan",
    ),
    "the decay rates": (next_decay, "blocks.0.scan"),
    "the zero point of u": (
        lambda p: with_fields(p, "blocks.1.scan", u_zero_point=0),
        "blocks.1.scan",
    ),
    "the weights of another layer": (
        lambda p: with_fields(
            p,
            "blocks.1.in_proj_u",
            weight_addr=instruction_of(p, "blocks.1.in_proj_z").weight_addr,
        ),
        "blocks.1.in_proj_u",
    ),
    "no positional encoding": (without_constants, "patch_embedding"),
    "no residual": (
        lambda p: with_fields(p, "blocks.0.out_proj", add_enable=0),
        "blocks.0.out_proj",
    ),
    "another input": (
        lambda p: other_operand(p, "blocks.0.out_proj", "src", "blocks.0.norm_in"),
        "blocks.0.out_proj",
    ),
    "weights of the position before": (
        lambda p: with_fields(p, "output_layer", weight_stride=1),
        "output_layer",
    ),
}


@pytest.fixture(scope="module")
def sound() -> Compiled:
    """A model of several tiles a layer, with several tokens."""
    return compile_random(ModelArgs(**(SMALL | {"d_model": 40})), build="small")


def test_the_sound_package_passes(sound):
    assert not excessive(one_step_errors(sound))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_package_is_found_by_instruction(sound, name):
    change, instruction = BROKEN[name]
    broken = change(sound.package)
    broken.validate(sound.build)  # nothing that a loader could see
    found = excessive(one_step_errors(sound, sound.trace(broken)))
    assert [e.instruction for e in found][:1] == [instruction]


def test_a_wait_that_is_dropped_is_found(sound):
    package = sound.package
    at = next(
        k
        for k, entry in enumerate(package.schedule)
        if package.instruction_name(entry["instruction"]) == "blocks.1.scan"
    )
    schedule = package.schedule.copy()
    unit = isa.UNITS.index("array")
    assert schedule["wait"][at, unit] > 0
    schedule["wait"][at, unit] = 0
    with pytest.raises(ScheduleError, match=r"blocks\.1\.scan.* may read"):
        check_schedule(dataclasses.replace(package, schedule=schedule), sound.build)
