"""Forecasts that a model has to beat."""

import numpy as np
import pytest

from evaluation import baselines
from model.data import Series, ratio_lengths, split_series
from model.metrics import evaluate
from tests.sines import sine_splits


def test_last_value_and_last_season():
    x = np.arange(12.0, dtype=np.float32).reshape(1, 2, 6)
    np.testing.assert_array_equal(
        baselines.last_value(3)(x), [[[5.0, 5.0, 5.0], [11.0, 11.0, 11.0]]]
    )
    np.testing.assert_array_equal(
        baselines.last_season(5, 3)(x), [[[3, 4, 5, 3, 4], [9, 10, 11, 9, 10]]]
    )
    np.testing.assert_array_equal(baselines.last_season(2, 3)(x), [[[3, 4], [9, 10]]])


def splits_of(values):
    dates = np.datetime64("2020-01-01", "s") + np.arange(len(values)) * np.timedelta64(3600, "s")
    names = tuple(f"v{v}" for v in range(values.shape[1]))
    return split_series(Series("made", dates, names, values), ratio_lengths(len(values)), 24, 8)


def test_linear_finds_a_linear_rule():
    """Each value from the two before it, the same rule for all variables, and a constant."""
    values = np.zeros((400, 3))
    values[:2] = np.random.default_rng(0).normal(size=(2, 3))
    for t in range(2, 400):
        values[t] = 1.99 * values[t - 1] - values[t - 2] + 0.1
    splits = splits_of(values)
    assert evaluate(baselines.linear(splits), splits.test)["mse"] < 1e-6


def test_linear_is_the_least_squares_that_numpy_finds(monkeypatch):
    splits = sine_splits()
    monkeypatch.setattr(baselines, "_PENALTIES", (0.0,))
    monkeypatch.setattr(baselines, "_BATCH", 50)  # which does not divide their number
    x, y = splits.train.batch(slice(None))
    inputs = np.c_[x.reshape(-1, 24), np.ones(x.shape[0] * 3)].astype(np.float64)
    expected = np.linalg.lstsq(inputs, y.reshape(-1, 8), rcond=None)[0]
    x, _ = splits.test.batch(slice(None))
    found = baselines.linear(splits)(x)
    np.testing.assert_allclose(found, x @ expected[:-1] + expected[-1], atol=1e-5)


def test_validation_chooses_the_penalty():
    """Few windows of noise: what has no penalty is worse than what has one."""
    splits = splits_of(np.random.default_rng(1).normal(size=(120, 1)))
    chosen = evaluate(baselines.linear(splits), splits.val)["mse"]
    baselines_without = evaluate(_without_penalty(splits), splits.val)["mse"]
    assert chosen < 0.9 * baselines_without


def _without_penalty(splits):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "_PENALTIES", (0.0,))
        return baselines.linear(splits)


def test_a_day_that_does_not_fit_is_left_out():
    splits = sine_splits()
    assert list(baselines.baselines(splits, 3600)) == ["last value", "last day", "linear"]
    assert list(baselines.baselines(splits, 600)) == ["last value", "linear"]
