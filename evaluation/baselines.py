"""Forecasts that a model has to beat: the last value, the last season, and a linear map."""

from __future__ import annotations

import numpy as np

from model.data import Splits, Windows
from model.metrics import ForecastFn, evaluate

_PENALTIES = (0.0, *np.logspace(-6, 1, 8))
"""Of the weights of a linear map, as shares of the mean square of what they multiply."""
_BATCH = 1024


def last_value(forecast_len: int) -> ForecastFn:
    """The last value of the window, repeated."""
    return lambda x: np.repeat(x[..., -1:], forecast_len, axis=-1)


def last_season(forecast_len: int, period: int) -> ForecastFn:
    """The last `period` steps of the window, repeated; windows have at least as many."""
    steps = np.arange(forecast_len) % period
    return lambda x: x[..., -period:][..., steps]


def linear(splits: Splits) -> ForecastFn:
    """What DLinear (Zeng et al., AAAI 2023) can be, fitted exactly.

    DLinear splits a window into its moving average and the rest, and has a linear layer for each;
    all variables share them. Together that is one linear map from window to forecast. Here it is
    the one with the least squared error on the training windows; of a few penalties of its weights
    (ridge regression), the validation MSE chooses.
    """
    products, targets = _normal_equations(splits.train)
    length = len(products) - 1
    scale = np.trace(products[:-1, :-1]) / length
    penalized = np.diag([*np.ones(length), 0.0])  # not the bias

    def of(penalty: float) -> ForecastFn:
        system = products + penalty * scale * penalized
        weights = np.linalg.lstsq(system, targets, rcond=None)[0].astype(np.float32)
        return lambda x: x @ weights[:-1] + weights[-1]

    candidates = [of(penalty) for penalty in _PENALTIES]
    return min(candidates, key=lambda forecast: evaluate(forecast, splits.val)["mse"])


def _normal_equations(windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """([L+1, L+1], [L+1, H]): sums over all windows and variables of the products of the inputs,
    with a 1 for the bias after them, with themselves and with the targets."""
    length = windows.seq_len
    products = np.zeros((length + 1, length + 1))
    targets = np.zeros((length + 1, windows.forecast_len))
    for start in range(0, len(windows), _BATCH):
        inputs, outputs = windows.batch(slice(start, start + _BATCH))
        ones = np.ones((len(inputs), 1))
        for v in range(windows.num_channels):
            x = np.hstack([inputs[:, v].astype(np.float64), ones])
            products += x.T @ x
            targets += x.T @ outputs[:, v].astype(np.float64)
    return products, targets


def baselines(splits: Splits, step_seconds: float) -> dict[str, dict[str, float]]:
    """{name: {'mse', 'mae'}} on the test windows; rows are `step_seconds` apart. The season is a
    day, as in all benchmarks here; it is left out where it does not fit into a window."""
    forecast_len, day = splits.test.forecast_len, max(1, round(86_400 / step_seconds))
    found = {"last value": last_value(forecast_len)}
    if day <= splits.test.seq_len:
        found["last day"] = last_season(forecast_len, day)
    found["linear"] = linear(splits)
    return {name: evaluate(forecast, splits.test) for name, forecast in found.items()}
