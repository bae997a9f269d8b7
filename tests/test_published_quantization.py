"""Quantization of the published model: its formats, and its fakeq forward against real numbers and
against the integer program."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from compiler.program import CompileError
from model.published import PublishedCMamba
from model.published_args import PublishedArgs
from model.quant_point import Kind, QuantPoint
from model.quantization import learning
from model.quantization.affine import Affine, quantize_weight
from model.quantization.calibrate import calibrate, record
from model.quantization.fake import set_quant_mode
from model.quantization.formats import (
    MAX_SKIP_SHIFT,
    MAX_STATE_SHIFT,
    calibrated_formats,
    scan_formats,
)
from model.quantization.parameters import (
    clamp_steps,
    extremes,
    learned_formats,
    scan_points,
)
from model.quantization.structure import structure_of
from tests.both_forwards import run_both
from tests.compiled_models import random_windows
from tests.published_models import (
    SMALL_PUBLISHED,
    learned_published,
    prepared_published,
    published_args,
    random_published,
)

SMALL = PublishedArgs(**SMALL_PUBLISHED)
SCAN = "blocks.0.mixer"


# ------------------------------------------------------------------------------ structure


def test_layers_and_points_are_those_of_the_model():
    model = random_published(SMALL)
    structure = structure_of(model)
    linear = {n for n, m in model.named_modules() if hasattr(m, "weight_scale")}
    assert structure.layers.keys() == linear
    tensors = record(model, model.to_tokens(random_windows(SMALL, 2)))
    results = {name for operation in structure.operations for name in operation.results}
    inside = (Kind.ADDEND, Kind.STATE, Kind.SUM, Kind.INSIDE)
    known = {name for name, point in structure.points.items() if point.kind not in inside}
    assert results | {"q_input"} == known
    for layer in structure.layers.values():
        module = model.get_submodule(layer.name)
        assert sum(group.size for group in layer.groups) == module.out_features
        features = {tensors[source].shape[-1] for source in layer.sources}
        if layer.name == "output_layer":
            features = {tensors["q_head"][0].numel()}
        elif layer.name.endswith("fc1"):  # [B, V, K]
            features = {tensors[source].shape[1] for source in layer.sources}
        elif layer.name.endswith("fc2"):  # [B, K, 4 * hidden], of two MLPs, two inputs each
            features = {tensors["blocks.0.gdd_mlp.q_activated"].shape[-1] // 4}
        assert features == {module.in_features}, layer.name


def test_shapes_of_the_gdd_mlps_tensors():
    model = random_published(SMALL)
    tensors = record(model, model.to_tokens(random_windows(SMALL, 5)))
    V, K, hidden = 4, 6, 2
    for name, shape in {
        "mean": (V, K),
        "max": (V, K),
        "hidden": (K, 4 * hidden),
        "activated": (K, 4 * hidden),
        "scale": (K, V),
        "shift": (K, V),
    }.items():
        assert tensors[f"blocks.1.gdd_mlp.q_{name}"].shape == (5, *shape)
    mixed = tensors["blocks.1.q_mixed"].unflatten(0, (5, V))
    assert torch.equal(tensors["blocks.1.gdd_mlp.q_max"], mixed.amax(-1))
    torch.testing.assert_close(tensors["blocks.1.gdd_mlp.q_mean"], mixed.mean(-1))


# ------------------------------------------------------------------------------ formats


@settings(max_examples=20)
@given(published_args(), st.booleans(), st.integers(0, 99))
def test_skip_weights_of_a_token_need_no_multiplier(args, power_of_two, seed):
    model = random_published(args, seed)
    ranges = calibrate(model, model.to_tokens(random_windows(args, 3)))
    formats = calibrated_formats(structure_of(model), ranges, power_of_two=power_of_two)
    for name, scan in formats.scans.items():
        dt, u, b, c, skip = (formats[f"{name}.q_{p}"] for p in ("dt", "u", "B", "C", "skip"))
        one = scan.delta * b.scale * c.scale * 2.0 ** (scan.state_shift + scan.skip_shift)
        assert one == pytest.approx(skip.scale, rel=1e-12)
        assert scan.skip == pytest.approx(skip.scale * u.scale, rel=1e-12)
        assert 0 <= scan.skip_shift <= MAX_SKIP_SHIFT and 0 <= scan.state_shift <= MAX_STATE_SHIFT
        # softplus in at least half of its 16 bits, without saturation
        largest = math.log1p(math.exp(dt.scale * (127 - dt.zero_point))) / scan.delta
        assert 32767 * (0.5 if power_of_two else 1) <= largest <= 65535 * (1 + 1e-9)
        if power_of_two:
            assert math.log2(scan.delta) % 1 == 0
        mixed = formats[f"{name.removesuffix('mixer')}q_mixed"]
        assert mixed.scale <= formats.residual.scale


def formats_of_scan(**steps):
    """(points, formats) of a scan of a prepared model with some steps multiplied."""
    model = prepared_published(SMALL)
    structure = structure_of(model)
    scan = structure.scans[SCAN]
    points = scan_points(structure, scan)
    for name, factor in steps.items():
        affine = points[f"{SCAN}.q_{name}"]
        points[f"{SCAN}.q_{name}"] = Affine(affine.scale * factor, affine.zero_point)
    before = dict(points)
    formats = scan_formats(model, scan, points, extremes(structure))
    changed = {p.removeprefix(f"{SCAN}.q_") for p in points if points[p] != before[p]}
    return before, points, formats, changed


def test_steps_that_need_no_change_get_none():
    assert formats_of_scan()[3] == set()


def test_a_c_that_is_too_fine_beside_the_skip_weights_becomes_coarser():
    before, after, formats, changed = formats_of_scan(C=2.0**-30)
    assert changed == {"C"} and formats.skip_shift == MAX_SKIP_SHIFT
    coarser = after[f"{SCAN}.q_C"].scale / before[f"{SCAN}.q_C"].scale
    assert coarser > 1 and math.log2(coarser) % 1 == 0


def test_skip_weights_that_are_too_fine_beside_c_become_coarser():
    before, after, formats, changed = formats_of_scan(skip=2.0**-30)
    assert changed == {"skip"} and formats.skip_shift == 0
    affine = after[f"{SCAN}.q_skip"]
    assert affine.scale * after[f"{SCAN}.q_u"].scale == pytest.approx(formats.output_sum, rel=1e-12)
    assert affine.zero_point == before[f"{SCAN}.q_skip"].zero_point
    assert affine.scale > before[f"{SCAN}.q_skip"].scale


@pytest.mark.parametrize(("point", "other"), [("C", "skip"), ("skip", "C")])
def test_training_cannot_make_steps_of_a_scan_too_fine(point, other):
    model = prepared_published(SMALL)
    with torch.no_grad():
        step, still = (model.get_parameter(f"{SCAN}.q_{p}.scale") for p in (point, other))
        step.mul_(2.0**-30)
        kept = still.clone()
    too_fine = step.item()
    clamp_steps(model)
    assert step > too_fine and torch.equal(still, kept)
    structure = structure_of(model)
    scan = structure.scans[SCAN]
    points = scan_points(structure, scan)
    before = dict(points)
    scan_formats(model, scan, points, extremes(structure))
    assert points == before


@pytest.mark.parametrize("steps", learning.STEPS)
def test_training_starts_with_steps_that_every_scan_holds(steps):
    """With a C that is all but nothing beside the skip weights."""
    model = random_published(SMALL)
    with torch.no_grad():
        R, N = SMALL.dt_rank, SMALL.d_state
        model.blocks[0].mixer.x_proj.weight[R + N : R + 2 * N] *= 1e-9
    learning.start(model, random_windows(SMALL), steps)
    structure = structure_of(model)
    formats = learned_formats(structure)
    assert formats.scans[SCAN].skip_shift == MAX_SKIP_SHIFT
    for point, affine in scan_points(structure, structure.scans[SCAN]).items():
        assert formats[point] == affine


def test_the_largest_output_of_a_mixer_bounds_the_residual_stream():
    model = random_published(SMALL)
    with torch.no_grad():
        model.blocks[1].mixer.out_proj.weight.mul_(1e4)
    ranges = calibrate(model, model.to_tokens(random_windows(SMALL)))
    formats = calibrated_formats(structure_of(model), ranges)
    assert formats["blocks.1.q_mixed"].scale == formats.residual.scale
    assert formats["blocks.0.q_mixed"].scale < formats.residual.scale


# ------------------------------------------------------------------------------ forward


@settings(max_examples=15, deadline=None)
@given(published_args(), st.integers(0, 2**16))
def test_in_float64_every_tensor_is_that_of_the_integer_program(args, seed):
    model = learned_published(args, seed)
    try:
        run = run_both(model, torch.float64)
    except CompileError as error:
        assume("does not fit" not in str(error))
        raise
    assert run.integer.keys() >= {"q_residual.0", f"{SCAN}.q_gated", "blocks.0.gdd_mlp.q_shift"}
    for point, q in run.integer.items():
        difference = (run.real[point] - q).abs()
        assert difference.max() < 0.01, f"{point}: {difference.max()} steps"


@pytest.mark.parametrize("variables", [16, 17, 24])
def test_no_row_is_written_over_while_other_variables_need_it(variables):
    args = PublishedArgs(
        **SMALL_PUBLISHED | {"num_channels": variables, "seq_len": 8, "d_model": 8}
    )
    run = run_both(learned_published(args), torch.float64)
    for point, q in run.integer.items():
        assert (run.real[point] - q).abs().max() < 0.01, point


def test_in_float32_the_forecast_is_within_a_step():
    run = run_both(learned_published(SMALL), torch.float32)
    assert (run.real["q_output"] - run.integer["q_output"]).abs().max() < 1.01


def real_numbers(model: PublishedCMamba) -> PublishedCMamba:
    """A model in float64 that computes without rounding, with the weights of the integers."""
    plain = PublishedCMamba(model.args).double().eval()
    plain.positions = model.positions.double()
    weights = {n: p for n, p in model.state_dict().items() if n in plain.state_dict()}
    plain.load_state_dict(weights)
    with torch.no_grad():
        for name, scales in learned_formats(structure_of(model)).weights.items():
            weight = plain.get_parameter(f"{name}.weight")
            q = quantize_weight(weight.numpy(), scales)
            weight.copy_(torch.from_numpy(q * scales[:, None]))
    return plain


def bounds(model: PublishedCMamba) -> dict[str, float]:
    """Steps that an operation may be off its real numbers, by point: half a step for its rounding,
    and what its tables and multipliers lose."""
    formats = learned_formats(structure_of(model))
    found = dict.fromkeys(formats.points, 0.52)
    for layer in structure_of(model).layers.values():
        for group in layer.groups:
            affine = formats[group.point]
            if affine.bits == 16:  # a bias is rounded to whole steps of the accumulator
                unit = formats[layer.sources[0]].scale * formats.weights[layer.name].max()
                found[group.point] = 0.52 + 32767 * 2.0**-17 + 0.5 * unit / affine.scale
    found["q_residual.0"] += 0.5  # positions
    for point in found:
        if (
            point.startswith("q_residual.") and point != "q_residual.0"
        ):  # the shift's rounding, and the scale's 16 fraction bits
            found[point] = 0.52 + 0.5 + 32767 * 2.0**-17
    for name in formats.scans:
        found[f"{name}.q_gated"] = 0.75
    return found


@pytest.mark.parametrize("seed", range(3))
def test_every_operation_rounds_the_real_number(seed):
    """The network in real numbers runs on the tensors of the fakeq forward, point by point."""
    model = learned_published(SMALL, seed).double()
    model.positions = model.positions.double()
    formats, plain = learned_formats(structure_of(model)), real_numbers(model)
    set_quant_mode(model, "fakeq")
    tokens = model.to_tokens(random_windows(SMALL, 3, seed=4).double())
    fake = {}
    for name, point in model.named_modules():
        if isinstance(point, QuantPoint) and name in formats.points:

            def keep(x, name=name, hook=point.hook):
                fake[name] = hook(x)
                return fake[name]

            point.hook = keep
    with torch.no_grad():
        model.core(tokens)

    worst = {}

    def compare(name):
        affine, y = formats[name], fake[name]
        steps = y / affine.scale + affine.zero_point
        low, high = -(2 ** (affine.bits - 1)), 2 ** (affine.bits - 1) - 1
        inside = (steps.round() > low) & (steps.round() < high)

        def hook(x):
            assert (steps - steps.round()).abs().max() < 1e-6, f"{name} is not whole"
            worst[name] = float(((x - y).abs() * inside).max()) / affine.scale
            return y

        return hook

    for name, point in plain.named_modules():
        if name in formats.points:
            point.hook = compare(name)
    with torch.no_grad():
        plain.core(tokens)
    assert worst.keys() == formats.points.keys()
    allowed = bounds(model)
    for name, found in worst.items():
        assert found < allowed[name], f"{name}: {found} steps, allowed {allowed[name]}"


@pytest.mark.parametrize("error", [-1e-13, 0.0, 1e-13])
def test_ties_of_a_modulated_sum_go_to_the_even_step(error):
    """Real numbers hit a tie only nearly; the products of integers hit it."""
    model = prepared_published(SMALL).double()
    set_quant_mode(model, "fakeq")
    step = learned_formats(structure_of(model)).residual.scale
    halves = torch.arange(-200, 200, dtype=torch.float64)[None] + 0.5
    sums = halves * (1 + error) * step
    with torch.no_grad():
        model.q_last.scale.fill_(2.99 * step)
        model.q_last.zero_point.zero_()
        assert torch.equal((model.q_residual[1](sums) / step).round(), halves.round())
        assert torch.equal(model.q_last(sums), model.q_last(halves.round() * step))


@pytest.mark.parametrize(
    "name", [f"{SCAN}.q_skip", "blocks.1.gdd_mlp.q_hidden", "blocks.0.gdd_mlp.q_shift", "q_last"]
)
def test_a_step_that_differs_is_seen(name):
    """The comparison with the program can fail: another step of one tensor changes what follows."""
    model = prepared_published(SMALL)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_parameter(f"{name}.scale").mul_(1.02)
    here, there = (run_both(m, torch.float64) for m in (model, other))
    assert (here.integer["q_output"] != there.integer["q_output"]).any()
    assert (here.integer["blocks.0.q_norm"] == there.integer["blocks.0.q_norm"]).all()


# ------------------------------------------------------------------------------ gradients


def test_every_parameter_and_step_gets_a_gradient():
    model = prepared_published(SMALL).train()
    set_quant_mode(model, "fakeq")
    model(random_windows(SMALL, 4)).square().sum().backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    structure = structure_of(model)
    assert {f"{point}.scale" for point in structure.int8} <= trained.keys()
    assert {f"{layer}.weight_scale" for layer in structure.layers} <= trained.keys()
    for name, parameter in trained.items():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    still = [name for name, p in trained.items() if not p.grad.any()]
    assert not still, f"these never learn: {still}"


def test_gradients_are_close_to_those_of_fp32():
    model = prepared_published(SMALL)
    x = random_windows(SMALL, 8)
    gradients = {}
    for mode in ("fp32", "fakeq"):
        set_quant_mode(model, mode)
        model.zero_grad()
        model(x).square().sum().backward()
        weights = [p for n, p in model.named_parameters() if not n.endswith(("scale", "point"))]
        gradients[mode] = torch.cat([p.grad.flatten() for p in weights])
    cosine = torch.cosine_similarity(gradients["fp32"], gradients["fakeq"], dim=0)
    assert cosine > 0.95, cosine


@pytest.mark.parametrize(
    "name", [f"{SCAN}.q_skip.scale", "blocks.0.gdd_mlp.q_shift.scale", "q_last.scale"]
)
def test_training_mends_a_bad_step(name):
    """A step 16 times too coarse: LSQ finds a better one, with all else left alone."""
    model = prepared_published(SMALL)
    x = random_windows(SMALL, 16)
    step = model.get_parameter(name)
    set_quant_mode(model, "fakeq")
    with torch.no_grad():
        wanted = model(x)
        step.mul_(16.0)
    optimizer = torch.optim.Adam([step], lr=0.02 * step.item())
    losses = []
    for _ in range(45):
        loss = (model(x) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        clamp_steps(model)
        losses.append(loss.item())
    assert min(losses) < 0.5 * losses[0], losses


def test_fp32_is_what_it_was():
    model, quantized = random_published(SMALL), prepared_published(SMALL)
    x = random_windows(SMALL, 3)
    with torch.no_grad():
        before = model(x)
        set_quant_mode(quantized, "fakeq")
        assert not torch.equal(quantized(x), before)
        set_quant_mode(quantized, "fp32")
        assert torch.equal(quantized(x), before)
    np.testing.assert_array_equal(
        *(sorted(n for n, p in m.named_parameters() if p.ndim > 1) for m in (model, quantized))
    )
