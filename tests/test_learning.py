"""Where learned steps and zero points start, and how an optimizer moves them."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.args import ModelArgs
from model.quant_point import Kind
from model.quantization import learning
from model.quantization.calibrate import calibrate, record
from model.quantization.fake import set_quant_mode
from model.quantization.parameters import clamp_steps, faults, learned_formats
from model.quantization.structure import structure_of
from tests.compiled_models import SMALL, random_model, random_windows

ARGS = ModelArgs(**(SMALL | {"topology": "nested", "reduction_ratio": 4}))


def started(steps="calibrated", zero_points=False):
    model = random_model(ARGS)
    learning.start(model, random_windows(ARGS), steps)
    if zero_points:
        learning.train_zero_points(model)
    return model


def test_steps_of_lsq_are_those_of_the_paper():
    model = started("lsq")
    fp32 = random_model(ARGS)
    tensors = record(fp32, fp32.to_tokens(random_windows(ARGS)))
    for point in structure_of(model).int8:
        step = 2 * tensors[point].double().abs().mean() / 127**0.5
        # To the width of a bin.
        assert model.get_submodule(point).scale.item() == pytest.approx(step.item(), rel=2e-3)
    for name in structure_of(model).layers:
        module = model.get_submodule(name)
        for weight, step in zip(module.weight, module.weight_scale, strict=True):
            assert step.item() == pytest.approx(2 * weight.abs().mean().item() / 127**0.5)
    assert not list(faults(model))
    learned_formats(structure_of(model))  # no format fails


def test_a_tensor_that_is_always_zero_keeps_its_step():
    models = {}
    for steps in learning.STEPS:
        models[steps] = random_model(ARGS)
        with torch.no_grad():
            for name in structure_of(models[steps]).layers:
                models[steps].get_submodule(name).weight[0] = 0
        x = torch.zeros_like(random_windows(ARGS))
        learning.start(models[steps], x, steps)
        assert not list(faults(models[steps]))
    calibrated, lsq = (models[steps] for steps in ("calibrated", "lsq"))
    assert lsq.q_input.scale == calibrated.q_input.scale
    assert lsq.output_layer.weight_scale[0] == calibrated.output_layer.weight_scale[0]


def test_other_steps_are_refused():
    with pytest.raises(ValueError, match="steps: found 'mse', expected one of calibrated, lsq"):
        started("mse")


@pytest.mark.parametrize("zero_points", [False, True])
def test_every_trained_parameter_is_in_one_group(zero_points):
    model = started(zero_points=zero_points)
    groups = learning.parameter_groups(model, 0.1, 1e-3)
    found = [id(p) for group in groups for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    names = {id(p): name for name, p in model.named_parameters()}
    decayed = {names[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}
    assert decayed and all(name.endswith(".weight") for name in decayed)
    kinds = [point.kind for point in structure_of(model).int8.values()]
    assert Kind.INT8_SYMMETRIC in kinds
    count = sum(names[i].endswith(".zero_point") for i in found)
    assert count == (kinds.count(Kind.INT8) if zero_points else 0)


def test_an_output_without_weights_does_not_hasten_the_others():
    """Its step is 1, far above those of the others."""
    rates = []
    for scale in (1e-3, 1.0):
        model = started()
        with torch.no_grad():
            model.output_layer.weight_scale.fill_(1e-3)[0] = scale
        groups = learning.parameter_groups(model, 0.0, 1e-2)
        rates.append(
            next(g["lr"] for g in groups if g["params"][0] is model.output_layer.weight_scale)
        )
    assert rates[0] == pytest.approx(1e-5) and 1 < rates[1] / rates[0] < 2


@settings(max_examples=20)
@given(st.floats(1e-6, 1e6), st.floats(1e-4, 1e-1), st.floats(1e-3, 1e3), st.booleans())
def test_adam_moves_every_step_by_the_same_share(size, rate, gradient, down):
    model = copy.deepcopy(STARTED)
    with torch.no_grad():
        model.q_norm_f.scale.mul_(size)
    optimizer = torch.optim.AdamW(learning.parameter_groups(model, 0.1, rate), lr=1e-3)
    whole = {
        "q_norm_f.scale": model.q_norm_f.scale.item(),
        "q_input.scale": model.q_input.scale.item(),
        "q_input.zero_point": 127,
    }
    before = {name: model.get_parameter(name).item() for name in whole}
    for name in whole:
        parameter = model.get_parameter(name)
        parameter.grad = torch.full_like(parameter, gradient if down else -gradient)
    optimizer.step()
    for name in whole:
        share = (before[name] - model.get_parameter(name).item()) / whole[name]
        assert share == pytest.approx(rate if down else -rate, rel=0.01)


STARTED = started(zero_points=True)


@pytest.mark.parametrize("point", ["q_norm_f", "q_input"])
def test_training_mends_a_bad_zero_point(point):
    """40 off, so that values are clipped: a better one is found, with all else left alone."""
    model = copy.deepcopy(STARTED)
    x = random_windows(ARGS, 16)
    zero_point = model.get_parameter(f"{point}.zero_point")
    with torch.no_grad():
        wanted = model(x)
        zero_point.add_(40.0 if zero_point < 0 else -40.0)
    set_quant_mode(model, "fakeq")
    optimizer = torch.optim.AdamW([zero_point], lr=2.0, weight_decay=0)
    losses = []
    for _ in range(30):
        loss = (model(x) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        clamp_steps(model)
        losses.append(loss.item())
    assert min(losses) < 0.5 * losses[0], losses


def test_zero_points_that_are_trained_get_gradients():
    model = copy.deepcopy(STARTED).train()
    set_quant_mode(model, "fakeq")
    model(random_windows(ARGS)).square().sum().backward()
    for name, point in structure_of(model).int8.items():
        symmetric = point.kind is Kind.INT8_SYMMETRIC
        assert (point.zero_point.grad is None) == symmetric, name


def test_what_training_moves_too_far_is_brought_back():
    model = copy.deepcopy(STARTED)
    with torch.no_grad():
        model.q_input.scale.fill_(-1.0)
        model.output_layer.weight_scale[2] = 0.0
        model.q_input.zero_point.fill_(-200.0)
        model.q_norm_f.zero_point.fill_(130.0)
    assert len(list(faults(model))) == 4
    clamp_steps(model)
    assert not list(faults(model))
    assert (model.q_input.zero_point, model.q_norm_f.zero_point) == (-128, 127)


def test_calibration_sees_the_mean_of_absolute_values():
    model = random_model(ARGS)
    tokens = model.to_tokens(random_windows(ARGS))
    histogram = calibrate(model, tokens)["q_input"]
    assert histogram.mean_abs == pytest.approx(tokens.abs().mean().item(), rel=1e-3)
