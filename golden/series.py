"""The test split of a data set with FP32 forecasts over it, for boards, which have neither.

series.npz   series   float32 [T, V], standardized, the rows of the test split
             starts   int64 [n], the first row of each window that has a forecast, over all of it
             fp32     float32 [n, V, H], PyTorch's forecasts of those windows
             columns  names of the V variables
             mean, std  float64 [V]: a value in the data's units is value * std + mean
"""

from __future__ import annotations

import math
from itertools import count
from pathlib import Path

import numpy as np
import torch

from common.atomic_write import atomic_write
from golden.cases import CompiledCase

# Of the forecasts in a file: all 1723 of nyc_weather, every fifth of ETTh1 with H=96.
MAX_BYTES = 1 << 21
# Windows of a forward pass.
_BATCH = 256


def window_step(n: int, window_bytes: int) -> int:
    """Every how many of `n` windows has a forecast: as few as MAX_BYTES allow, and so that the
    forecasts of hourly data begin at every hour of the day."""
    return next(
        step
        for step in count(1)
        if math.gcd(step, 24) == 1 and (-(-n // step) * window_bytes <= MAX_BYTES or step >= n)
    )


def write_series(compiled: CompiledCase, path: Path) -> None:
    """Write `path` for a case with a series. Raises OSError."""
    splits, model = compiled.splits, compiled.model.eval()
    test, horizon = splits.test, compiled.model.args.forecast_len
    step = window_step(len(test), 4 * test.num_channels * horizon)
    starts = np.arange(0, len(test), step)
    with torch.no_grad():
        fp32 = np.concatenate(
            [
                model(torch.from_numpy(test.batch(part)[0])).numpy()[:, :, :horizon]
                for part in np.split(starts, range(_BATCH, len(starts), _BATCH))
            ]
        )
    with atomic_write(path) as file:
        np.savez(
            file,
            series=test.series.T,
            starts=starts,
            fp32=fp32.astype(np.float32),
            columns=np.array(splits.columns),
            mean=splits.standardizer.mean,
            std=splits.standardizer.std,
        )
