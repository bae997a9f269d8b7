"""MSE and MAE over windows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from model.data import Windows
from model.metrics import comparison, evaluate, torch_forecaster


def some_windows(num_rows: int = 30, num_channels: int = 3) -> Windows:
    values = np.random.default_rng(1).normal(size=(num_rows, num_channels))
    return Windows(values, seq_len=6, forecast_len=2)


def last_value(x: np.ndarray) -> np.ndarray:
    return np.repeat(x[:, :, -1:], 2, axis=2)


@given(st.integers(1, 40))
def test_the_batch_size_does_not_matter(batch_size):
    windows = some_windows()
    x, y = windows.batch(slice(None))
    error = last_value(x).astype(np.float64) - y
    result = evaluate(last_value, windows, batch_size)
    assert result == {
        "mse": pytest.approx((error**2).mean(), rel=1e-12),
        "mae": pytest.approx(np.abs(error).mean(), rel=1e-12),
    }


def test_hand_computed():
    windows = Windows(np.arange(5.0)[:, None], seq_len=2, forecast_len=2)
    # From 1 the targets are 2, 3; from 2 they are 3, 4: errors 1 and 2 in both windows.
    assert evaluate(last_value, windows) == {"mse": 2.5, "mae": 1.5}


def test_forecast_functions_get_float32_and_may_return_tensors():
    seen = []

    def forecast(x):
        seen.append((x.dtype, x.shape))
        return torch.from_numpy(last_value(x))

    windows = some_windows()
    assert evaluate(forecast, windows, 10) == evaluate(last_value, windows, 10)
    assert seen == [(np.float32, (10, 3, 6))] * 2 + [(np.float32, (3, 3, 6))]


class Model(nn.Module):
    """[B,V,6] -> [B,V,2]; differs between training and evaluation."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 2)

    def forward(self, x):
        return self.linear(x) + float(self.training)


def test_torch_forecaster_evaluates_and_restores_the_mode():
    model = Model().train()
    x = np.ones((4, 3, 6), np.float32)
    forecast = torch_forecaster(model)(x)
    assert not forecast.requires_grad and model.training
    torch.testing.assert_close(forecast, model.eval()(torch.from_numpy(x)).detach())


def test_wrong_shape_and_values_are_errors():
    windows = some_windows()
    with pytest.raises(
        ValueError, match=r"windows 0\.\.9: expected shape \[10, 3, 2\], found \[10, 3, 6\]"
    ):
        evaluate(lambda x: x, windows, 10)

    def broken(x):
        forecast = last_value(x)
        forecast[-1, 2, 1] = np.nan
        return forecast

    with pytest.raises(ValueError, match="window 9, channel 2, step 1 is nan"):
        evaluate(broken, windows, 10)


def test_a_comparison_is_against_the_first_row():
    rows = {
        "a": ({"mse": 1.0, "mae": 0.5}, {"mse": 2.0, "mae": 0.25}),
        "longer": ({"mse": 1.25, "mae": 0.5}, {"mse": 1.99, "mae": 0.26}),
    }
    assert comparison(rows).splitlines() == [
        "         val MSE   val MAE  test MSE  test MAE    change",
        "a         1.0000    0.5000    2.0000    0.2500    +0.00%",
        "longer    1.2500    0.5000    1.9900    0.2600    -0.50%",
    ]


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_parts_of_a_batch_side_by_side(batch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 2), nn.Dropout(0.9))  # which drops in training only
    x = np.random.default_rng(1).normal(size=(batch, 3, 6)).astype(np.float32)
    found = torch_forecaster(model, threads=3)(x)
    assert model.training and not found.requires_grad
    torch.testing.assert_close(found, torch_forecaster(model)(x))
