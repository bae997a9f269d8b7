"""Forecast accuracy in the field's protocol: MSE and MAE over every window, variable and step.

On the standardized scale, each window weighing the same; the last, smaller batch counts (some
published code drops it, which changes the figures).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import nn

from model.data.csv_series import Windows

ForecastFn = Callable[[np.ndarray], "np.ndarray | torch.Tensor"]
"""float32 [B,V,L] -> [B,V,H]; frames [B,L,Din] -> positions [B,2]."""

Figures = tuple[Mapping[str, float], Mapping[str, float]]
"""What `evaluate` finds on the validation and on the test windows."""


def torch_forecaster(model: nn.Module, threads: int = 1) -> ForecastFn:
    """A function of arrays from a module: eval mode, no gradients.

    With `threads`, so many parts of a batch are computed side by side, which goes well with one
    thread of PyTorch's own.
    """
    device = next(model.parameters()).device

    def part(x: np.ndarray) -> torch.Tensor:
        with torch.no_grad():  # of this thread
            return model(torch.from_numpy(x).to(device)).cpu()

    def forecast(x: np.ndarray) -> torch.Tensor:
        was_training = model.training
        model.eval()
        try:
            if threads == 1:
                return part(x)
            with ThreadPoolExecutor(threads) as pool:
                return torch.cat(list(pool.map(part, np.array_split(x, min(threads, len(x))))))
        finally:
            model.train(was_training)

    return forecast


def in_batches(forecast: ForecastFn, x: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """[B, V, L] -> [B, V, H]; all windows of a series at once were too many."""
    starts = range(0, len(x), batch_size)
    batches = (np.array(x[i : i + batch_size], np.float32, order="C") for i in starts)
    return np.concatenate([np.asarray(forecast(batch)) for batch in batches])


def require_finite(forecasts: np.ndarray, data: object, weights: object) -> None:
    """Raises ValueError, naming data and weights, where the FP32 forecast of a window is none."""
    bad = np.argwhere(~np.isfinite(forecasts))
    if len(bad):
        raise ValueError(
            f"{data}: the FP32 forecast of window {bad[0][0]} is NaN or infinite: its values "
            f"or the weights in {weights} are too large for float32"
        )


def evaluate(forecast_fn: ForecastFn, windows: Windows, batch_size: int = 256) -> dict[str, float]:
    """{'mse', 'mae'} of `forecast_fn` over all `windows`, in order, in batches of `batch_size`.

    Raises: ValueError (a forecast of the wrong shape, or one that is not finite).
    """
    squared = absolute = 0.0
    count = 0
    for start in range(0, len(windows), batch_size):
        x, y = windows.batch(slice(start, start + batch_size))
        forecast = np.asarray(forecast_fn(x))
        if forecast.shape != y.shape:
            raise ValueError(
                f"forecast of windows {start}..{start + len(x) - 1}: expected shape "
                f"{list(y.shape)}, found {list(forecast.shape)}"
            )
        error = forecast.astype(np.float64) - y
        if not np.isfinite(error).all():
            window, channel, step = np.argwhere(~np.isfinite(error))[0]
            raise ValueError(
                f"forecast of window {start + window}, channel {channel}, step {step} is "
                f"{forecast[window, channel, step]}"
            )
        squared += float(np.square(error).sum())
        absolute += float(np.abs(error).sum())
        count += error.size
    return {"mse": squared / count, "mae": absolute / count}


def comparison(rows: Mapping[str, Figures]) -> str:
    """A table, one line a model, by its label.

    The last column is the change of the test MSE against the first row.
    """
    width = max(map(len, rows))
    columns = ("val MSE", "val MAE", "test MSE", "test MAE", "change")
    lines = [" " * width + "".join(f"{column:>10}" for column in columns)]
    reference = next(iter(rows.values()))[1]["mse"]
    for label, (val, test) in rows.items():
        figures = (val["mse"], val["mae"], test["mse"], test["mae"])
        change = test["mse"] / reference - 1
        lines.append(
            f"{label:{width}}" + "".join(f"{value:10.4f}" for value in figures) + f"{change:+10.2%}"
        )
    return "\n".join(lines)
