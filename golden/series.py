"""A stretch of a data set with the FP32 forecasts over it, for boards, which have neither.

series.npz   series   float32 [T, V], standardized, the beginning of the test split
             fp32     float32 [n, V, H], PyTorch's forecast of each of its n = T - L - H + 1 windows
             columns  names of the V variables
             mean, std  float64 [V]: a value in the data's units is value * std + mean
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from common.atomic_write import atomic_write
from golden.cases import CompiledCase

# A week of hours.
WINDOWS = 7 * 24


def write_series(compiled: CompiledCase, path: Path) -> None:
    """Write `path` for a case with a series. Raises OSError."""
    splits, args = compiled.splits, compiled.model.args
    x, y = splits.test.batch(slice(0, WINDOWS))
    with torch.no_grad():
        fp32 = compiled.model.eval()(torch.from_numpy(x)).numpy()
    # The first window, what each later one adds to it, and the truth of the last.
    series = np.concatenate([x[0], x[1:, :, -1].T, y[-1]], axis=1).T
    with atomic_write(path) as file:
        np.savez(
            file,
            series=series.astype(np.float32),
            fp32=fp32[:, :, : args.forecast_len].astype(np.float32),
            columns=np.array(splits.columns),
            mean=splits.standardizer.mean,
            std=splits.standardizer.std,
        )
