"""How far an evaluation is, and how long it will still take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from tqdm import tqdm

from model.metrics import ForecastFn


@contextmanager
def progress(name: str, total: int) -> Iterator[Callable[[ForecastFn], ForecastFn]]:
    """What makes a forecaster advance a bar of `total` windows. Quiet where it is no terminal."""
    with tqdm(total=total, desc=name, unit="window", leave=False, disable=None) as bar:

        def counted(forecast_fn: ForecastFn) -> ForecastFn:
            def forecast(x: np.ndarray) -> np.ndarray | torch.Tensor:
                y = forecast_fn(x)
                bar.update(len(x))
                return y

            return forecast

        yield counted
