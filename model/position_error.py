"""The error of positions: distances to the truth, their summary, table and distribution."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from common.atomic_write import atomic_write, write_text
from model.data.frames import FrameWindows
from model.metrics import ForecastFn


def predict_positions(
    position_fn: ForecastFn, windows: FrameWindows, batch_size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Positions [M, 2] that `position_fn` finds for all windows, and the true ones.

    In batches of `batch_size`. Raises: ValueError (a position that is not finite), DataError (as
    `windows.batch`).
    """
    found, true = np.empty((2, len(windows), 2), np.float32)
    for start in range(0, len(windows), batch_size):
        part = slice(start, start + batch_size)
        x, true[part] = windows.batch(part)
        found[part] = np.asarray(position_fn(x))
    if not np.isfinite(found).all():
        index = int(np.argwhere(~np.isfinite(found))[0, 0])
        raise ValueError(
            f"position of window {index} ({windows.name(index)}) is {found[index].tolist()}"
        )
    return found, true


def distances(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Euclidean error of each position: [M, 2] twice -> [M] float64."""
    return np.linalg.norm(found.astype(np.float64) - true, axis=1)


def summarize(errors: np.ndarray) -> dict[str, float]:
    """Mean, median and 80th and 90th percentile of the errors, in their unit."""
    median, p80, p90 = np.percentile(errors, [50, 80, 90])
    return {
        "mean": float(errors.mean()),
        "median": float(median),
        "p80": float(p80),
        "p90": float(p90),
    }


def in_words(figures: Mapping[str, float], prefix: str = "") -> str:
    """The figures of `summarize`, whose keys may have a prefix, in one line."""
    names = ("mean", "median", "P80", "P90")
    return "  ".join(f"{name} {figures[prefix + name.lower()]:.3f} m" for name in names)


def write_table(path: Path, windows: FrameWindows, found: np.ndarray, true: np.ndarray) -> None:
    """CSV with a row a window: its name, true and found x and y, and the error. Raises: OSError."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["window", "x", "y", "x_found", "y_found", "error"])
    rows = zip(true.tolist(), found.tolist(), distances(found, true), strict=True)
    for i, (position, position_found, error) in enumerate(rows):
        numbers = (f"{value:.4f}" for value in (*position, *position_found, error))
        table.writerow([windows.name(i), *numbers])
    write_text(path, text.getvalue())


def plot_cdf(path: Path, errors: Mapping[str, np.ndarray], unit: str = "m") -> None:
    """PNG of the cumulative distribution of each of `errors`, with its percentiles of `summarize`.

    Raises: OSError.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(
        xlabel=f"position error ({unit})", ylabel="share of windows", ylim=(0, 1)
    )
    for name, values in errors.items():
        ordered = np.sort(values)
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        (line,) = axes.step(ordered, share, where="post", label=name)
        figures = summarize(values)
        axes.plot(
            [figures["median"], figures["p80"], figures["p90"]], [0.5, 0.8, 0.9], "o",
            color=line.get_color(), markersize=4,
        )  # fmt: skip
    axes.set_xlim(left=0)
    axes.set_yticks([0, 0.2, 0.5, 0.8, 0.9, 1])
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=150)
