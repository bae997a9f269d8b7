"""Small series of sines to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model.data import Series, Splits, ratio_lengths, split_series

# Options of a model for `csv_of_sines`, and of its training.
SMALL_MODEL = (
    *("--seq-len", "24", "--forecast-len", "8", "--patch-len", "8", "--stride", "4"),
    *("--d-model", "8", "--n-layer", "1", "--d-state", "2"),
)
SHORT = ("--epochs", "2", "--batch-size", "32", "--device", "cpu")


def sine_splits() -> Splits:
    """Three sine waves of different periods, with noise; L=24, H=8."""
    steps = np.arange(300)
    noise = np.random.default_rng(0).normal(scale=0.1, size=(300, 3))
    values = np.sin(2 * np.pi * steps[:, None] / [8, 12, 24]) + noise
    dates = np.datetime64("2020-01-01", "s") + steps * np.timedelta64(3600, "s")
    return split_series(Series("sines", dates, ("a", "b", "c"), values), ratio_lengths(300), 24, 8)


def csv_of_sines(path: Path, rows: int = 200) -> Path:
    """Two sines, written to `path`."""
    steps = np.arange(rows)
    dates = np.datetime64("2020-01-01", "s") + steps * np.timedelta64(3600, "s")
    lines = [f"{date},{np.sin(i / 3):.6f},{np.cos(i / 5):.6f}" for i, date in enumerate(dates)]
    path.write_text("\n".join(["date,a,b", *lines, ""]))
    return path
