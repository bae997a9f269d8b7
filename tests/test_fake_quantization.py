"""Fake quantization against the integer program, bit by bit, and what it lets training learn."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from golden import arithmetic
from model.args import ModelArgs
from model.cmamba import CMamba
from model.quantization import affine, cpp
from model.quantization.calibrate import calibrate
from model.quantization.fake import decay, multiplier, set_quant_mode
from model.quantization.parameters import (
    clamp_steps,
    extremes,
    is_prepared,
    learned_formats,
    prepare,
    prepare_calibrated,
)
from model.quantization.structure import structure_of
from tests.both_forwards import run_both
from tests.compiled_models import SMALL, random_model, random_windows

NESTED = SMALL | {"topology": "nested"}
BIASED = SMALL | {"channel_mode": "independent", "bias": True, "conv_bias": False}


def prepared(fields, seed=0):
    """A random model with the parameters of fake quantization, from calibration."""
    args = ModelArgs(**fields)
    model = random_model(args, seed)
    prepare_calibrated(model, calibrate(model, model.to_tokens(random_windows(args))))
    return model


SHAPES = st.fixed_dictionaries(
    {},
    optional={
        "topology": st.sampled_from(["stacked", "nested"]),
        "channel_mode": st.sampled_from(["mixing", "independent"]),
        "bias": st.booleans(),
        "conv_bias": st.booleans(),
        "d_model": st.sampled_from([5, 8, 12]),
        "d_state": st.sampled_from([1, 3, 4]),
        "d_conv": st.integers(1, 4),
        "norm_eps": st.sampled_from([1e-5, 1e-2]),
    },
)


@settings(max_examples=15)
@given(SHAPES, st.integers(0, 2**16))
def test_in_float64_every_tensor_is_that_of_the_integer_program(shape, seed):
    run = run_both(prepared(SMALL | {"reduction_ratio": 2} | shape, seed), torch.float64)
    assert len(run.integer) > 10
    for point, q in run.integer.items():
        difference = (run.real[point] - q).abs()
        assert difference.max() < 0.01, f"{point}: {difference.max()} steps"


@pytest.mark.parametrize("fields", [SMALL, NESTED, BIASED])
def test_in_float32_the_forecast_is_within_a_step(fields):
    run = run_both(prepared(fields), torch.float32)
    assert (run.real["q_output"] - run.integer["q_output"]).abs().max() < 1.01


def test_a_step_that_differs_is_seen():
    """The comparison above can fail: another step of one tensor changes what follows."""
    model = prepared(SMALL)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.blocks[0].q_u.scale *= 1.01
    here, there = run_both(model, torch.float64), run_both(other, torch.float64)
    assert (here.integer["blocks.0.q_gated"] != there.integer["blocks.0.q_gated"]).any()
    assert (here.integer["blocks.0.q_norm"] == there.integer["blocks.0.q_norm"]).all()


@given(st.floats(2.0**-60, 2.0**18) | st.floats(-1.0, 1.0))
def test_multipliers_are_those_of_the_compiler(ratio):
    m, shift = affine.multiplier(ratio)
    assert multiplier(torch.tensor(ratio, dtype=torch.float64)).item() == m * 2.0**-shift


def test_decays_are_those_of_the_contract():
    t = torch.arange(20 << 12)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal((2.0**16 * decay(t.to(dtype))).long(), arithmetic.decay(t))


@pytest.mark.parametrize("fields", [SMALL, NESTED, BIASED])
def test_every_parameter_and_step_gets_a_gradient(fields):
    model = prepared(fields).train()
    set_quant_mode(model, "fakeq")
    model(random_windows(model.args, 4)).square().sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    structure = structure_of(model)
    assert {f"{point}.scale" for point in structure.int8} <= trained
    assert {f"{layer}.weight_scale" for layer in structure.layers} <= trained
    still = {n for n, p in model.named_parameters() if n.endswith("scale") and not p.grad.any()}
    assert not still, f"these never learn: {still}"


def test_gradients_are_close_to_those_of_fp32():
    model = prepared(SMALL)
    x = random_windows(model.args, 8)
    gradients = {}
    for mode in ("fp32", "fakeq"):
        set_quant_mode(model, mode)
        model.zero_grad()
        model(x).square().sum().backward()
        weights = [p for n, p in model.named_parameters() if not n.endswith(("scale", "point"))]
        gradients[mode] = torch.cat([p.grad.flatten() for p in weights])
    cosine = torch.cosine_similarity(gradients["fp32"], gradients["fakeq"], dim=0)
    assert cosine > 0.95, cosine


@pytest.mark.parametrize("name", ["q_norm_f.scale", "output_layer.weight_scale"])
def test_training_mends_a_bad_step(name):
    """A step 16 times too coarse: LSQ finds a better one, with all else left alone."""
    model = prepared(SMALL)
    x = random_windows(model.args, 16)
    step = model.get_parameter(name)
    with torch.no_grad():
        wanted = model(x)
        step.mul_(16.0)
    set_quant_mode(model, "fakeq")
    optimizer = torch.optim.Adam([step], lr=0.02 * step.mean().item())
    losses = []
    for _ in range(45):
        loss = (model(x) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        clamp_steps(model)
        losses.append(loss.item())
    assert min(losses) < 0.5 * losses[0], losses
    assert (step > 0).all()


def test_fp32_is_what_it_was():
    model = random_model(ModelArgs(**SMALL))
    x = random_windows(model.args, 3)
    with torch.no_grad():
        before = model(x)
        tensors = set(model.state_dict())
        assert not is_prepared(model)
        quantized = prepared(SMALL)
        set_quant_mode(quantized, "fakeq")
        assert not torch.equal(quantized(x), before)
        set_quant_mode(quantized, "fp32")
        assert torch.equal(quantized(x), before)
    added = set(quantized.state_dict()) - tensors
    assert {name.rsplit(".", 1)[1] for name in added} == {
        "scale",
        "zero_point",
        "weight_scale",
        "max_abs",
    }


def test_a_model_without_steps_is_refused():
    model = CMamba(ModelArgs(**SMALL))
    with pytest.raises(ValueError, match="no quantization parameters: calibrate"):
        set_quant_mode(model, "fakeq")
    with pytest.raises(ValueError, match="no quantization parameters"):
        learned_formats(structure_of(model))
    with pytest.raises(ValueError, match="quant_mode: found 'int4', expected one of fp32, fakeq"):
        set_quant_mode(model, "int4")


def test_the_extension_is_looked_for_before_the_first_forward(monkeypatch, tmp_path):
    monkeypatch.setattr(cpp, "FOLDER", tmp_path)
    monkeypatch.setattr(cpp, "extension", cpp.extension.__wrapped__)
    with pytest.raises(ImportError, match="`make quantization` builds it"):
        set_quant_mode(prepared(SMALL), "cppq")


def test_a_copy_rounds_with_its_own_steps():
    model = prepared(SMALL)
    set_quant_mode(model, "fakeq")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.q_input.scale *= 3
        x = random_windows(model.args, 2)
        alone = model(x)
        assert not torch.equal(other(x), alone)
        assert torch.equal(model(x), alone)


def test_learned_formats_are_a_fixed_point():
    model = prepared(SMALL)
    formats = learned_formats(structure_of(model))
    again = copy.deepcopy(model)
    prepare(again, formats, extremes(structure_of(again)))
    once, twice = formats, learned_formats(structure_of(again))
    assert once.points == twice.points and once.scans == twice.scans
    for name, scales in once.weights.items():
        np.testing.assert_array_equal(scales, twice.weights[name])


@pytest.mark.parametrize(("state_shift", "y_shift"), [(14, 2), (4, 12), (0, 13)])
def test_the_exact_scan_is_that_of_the_contract(state_shift, y_shift):
    """On random integers with which all its roundings show; in the last case states saturate."""
    model = prepared(SMALL).double()
    set_quant_mode(model, "fakeq")
    with torch.no_grad():
        model(random_windows(model.args, 1).double())
    block, generator = model.blocks[0], torch.Generator().manual_seed(0)
    hooks = block.scan_hook.__self__
    shifts = {"exp_shift": 5, "state_shift": state_shift, "skip_shift": 2, "y_shift": y_shift}
    hooks.formats = dataclasses.replace(hooks.formats, **shifts)
    E, N = block.A_log.shape

    def integers(low, high, *shape):
        return torch.randint(low, high + 1, shape, generator=generator)

    w, delta = integers(-255, 255, 2, 6, E), integers(0, 65535, 2, 6, E)
    b, c = integers(-3, 3, 2, 6, N), integers(-3, 3, 2, 6, N)
    rates, skip = integers(0, 5, E, N), integers(-9, 9, E)
    with torch.no_grad():
        found = hooks._integers(
            w * block.q_u.scale,
            delta * hooks.formats.delta,
            b * block.q_B.scale,
            c * block.q_C.scale,
            rates.double(),
            skip.double(),
        )
    h = torch.zeros(2, E, N, dtype=torch.int64)
    for t in range(6):
        g = arithmetic.decay(arithmetic.rne_shift(delta[:, t, :, None] * rates, 5))
        drive = (delta[:, t] * w[:, t])[:, :, None] * b[:, t, None, :]
        h = arithmetic.rne_shift(g * h + (drive << (16 - state_shift)), 16).clamp(
            -(2**23), 2**23 - 1
        )
        s = (h * c[:, t, None, :]).sum(-1) + (skip * w[:, t] << 2)
        y = arithmetic.rne_shift(s, y_shift).clamp(-32768, 32767)
        assert torch.equal(found[:, t].long(), y), t
