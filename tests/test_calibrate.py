"""What calibration observes, and the ranges it chooses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.args import ModelArgs
from model.published_args import PublishedArgs
from model.quant_point import QuantPoint
from model.quantization.affine import affine_int8
from model.quantization.calibrate import (
    METHODS,
    CalibrationError,
    Histogram,
    calibrate,
    calibration_windows,
    record,
)
from tests.compiled_models import SMALL, random_model, random_windows
from tests.published_models import SMALL_PUBLISHED, random_published
from tests.sines import sine_splits

MODELS = {
    "stacked": random_model(ModelArgs(**SMALL)),
    "nested": random_model(ModelArgs(**SMALL, topology="nested", channel_mode="independent")),
    "published": random_published(PublishedArgs(**SMALL_PUBLISHED)),
}
VALUES = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=60)


def histogram(values) -> Histogram:
    """The histogram that `calibrate` makes of some values."""
    values = np.asarray(values, np.float32)
    low, high = float(values.min()), float(values.max())
    counts = torch.histc(torch.from_numpy(values), 4096, low, high).long().numpy()
    return Histogram("q", low, high, counts)


def squared_error(values, low, high) -> float:
    affine = affine_int8(low, high)
    return float(np.square(affine.dequantize(affine.quantize(values)) - values).mean())


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_histograms_are_those_of_the_recorded_tensors(model):
    tokens = model.to_tokens(random_windows(model.args, 9))
    ranges = calibrate(model, tokens)
    tensors = record(model, tokens)
    points = {n for n, m in model.named_modules() if isinstance(m, QuantPoint)}
    states = {name for name in points if name.endswith("q_h")}
    assert set(ranges) == points and set(tensors) == points - states and states
    for name, tensor in tensors.items():
        values = tensor.numpy()
        found = ranges[name]
        # With its states observed, the scan adds in another order.
        ends = [values.min(), values.max()]
        np.testing.assert_allclose([found.low, found.high], ends, rtol=1e-4, atol=1e-6)
        assert found.counts.sum() == values.size
        if found.high > found.low:
            edges = np.linspace(found.low, found.high, len(found.counts) + 1)
            expected = np.histogram(values.astype(np.float64), edges)[0]
            # A value next to an edge may fall to the other side.
            assert np.abs(expected - found.counts).sum() <= 0.05 * values.size + 2
    for name in states:
        assert not ranges[name].counts.size and ranges[name].max_abs > 0


@pytest.mark.parametrize("batch_size", [2, 9])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_batches_do_not_change_what_is_seen(model, batch_size):
    tokens = model.to_tokens(random_windows(model.args, 7))
    whole, parts = calibrate(model, tokens), calibrate(model, tokens, batch_size=batch_size)
    for name, found in parts.items():
        assert math.isclose(found.low, whole[name].low, rel_tol=1e-4, abs_tol=1e-6)
        assert math.isclose(found.high, whole[name].high, rel_tol=1e-4, abs_tol=1e-6)


@given(VALUES)
def test_every_range_contains_zero_and_lies_within_the_extremes(values):
    h = histogram(values)
    low, high = min(h.low, 0.0), max(h.high, 0.0)
    assert h.range("minmax") == (low, high)
    for method in METHODS:
        found = h.range(method)
        slack = 1e-9 * (high - low)
        assert low - slack <= found[0] <= 0.0 <= found[1] <= high + slack


@pytest.mark.parametrize("shape", ["normal", "laplace", "uniform", "exponential", "standard_t"])
def test_the_least_squares_range_is_no_worse_than_the_extremes(shape):
    generator = np.random.default_rng(0)
    degrees = (4,) if shape == "standard_t" else ()
    values = getattr(generator, shape)(*degrees, size=100_000)
    h = histogram(values)
    gain = squared_error(values, *h.range("minmax")) / squared_error(values, *h.range("mse"))
    assert gain >= 0.99
    if shape in ("laplace", "standard_t"):  # heavy tails are worth clipping
        assert gain > 1.1


def test_the_percentile_range_leaves_out_a_ten_thousandth():
    values = np.random.default_rng(0).standard_normal(1_000_000)
    h = histogram(values)
    low, high = h.range("percentile")
    outside = ((values < low) | (values > high)).mean()
    assert 0.7e-4 < outside <= 1e-4
    width = (h.high - h.low) / 4096
    np.testing.assert_allclose([low, high], np.percentile(values, [0.005, 99.995]), atol=width)


def test_one_huge_outlier():
    values = np.append(np.random.default_rng(0).standard_normal(100_000), 1e6)
    h = histogram(values)
    assert h.range("minmax")[1] == 1e6
    assert h.range("mse")[1] > 0.9e6  # its square outweighs all the others
    assert h.range("percentile")[1] <= 1e6 / 4096  # to the width of a bin


@pytest.mark.parametrize("value", [0.0, 2.5, -2.5])
@pytest.mark.parametrize("method", METHODS)
def test_a_constant_tensor(value, method):
    assert histogram([value] * 5).range(method) == (min(value, 0.0), max(value, 0.0))


def test_unknown_method():
    with pytest.raises(ValueError, match="found 'kl', expected one of"):
        histogram([1.0]).range("kl")


def test_windows_are_those_of_the_training_split_from_its_first_to_its_last():
    train = sine_splits().train
    windows = calibration_windows(sine_splits(), 5).numpy()
    last = len(train) - 1
    for window, i in zip(windows, [0, last // 4, last // 2, 3 * last // 4, last], strict=True):
        np.testing.assert_array_equal(window, train[i][0])
    assert len(calibration_windows(sine_splits())) == min(256, len(train))


def test_no_data():
    args = ModelArgs(**SMALL)
    model = random_model(args)
    with pytest.raises(CalibrationError, match="found no windows, expected at least one"):
        calibrate(model, model.to_tokens(random_windows(args, 1))[:0])


@pytest.mark.parametrize(("value", "point"), [(math.nan, "q_input"), (math.inf, "q_input")])
def test_data_that_are_not_finite(value, point):
    args = ModelArgs(**SMALL)
    model, x = random_model(args), random_windows(args)
    x[3, 1, 5] = value
    with pytest.raises(CalibrationError, match=f"{point}: found NaN or infinity"):
        calibrate(model, model.to_tokens(x))


def test_values_that_overflow_inside_the_network_name_the_place():
    args = ModelArgs(**SMALL)
    model = random_model(args)
    with torch.no_grad():
        model.blocks[1].in_proj.weight.fill_(3e38)
    with pytest.raises(CalibrationError, match=r"blocks\.1\.q_u_in: found NaN or infinity"):
        calibrate(model, model.to_tokens(random_windows(args)))


def test_windows_of_another_shape():
    args = ModelArgs(**SMALL)
    model = random_model(args)
    with pytest.raises(ValueError, match=r"found shape \[2, 4, 24\], expected \[B, V, L\]"):
        model.to_tokens(torch.zeros(2, 4, 24))


@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_left_as_it_was(training):
    args = ModelArgs(**SMALL)
    model = random_model(args).train(training)
    tokens = model.to_tokens(random_windows(args))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    calibrate(model, tokens)
    with pytest.raises(CalibrationError):
        calibrate(model, tokens * math.nan)
    record(model, tokens)
    assert model.training is training
    assert all(m.hook is None for m in model.modules() if isinstance(m, QuantPoint))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
