"""History and forecasts of a series, in its units and over its dates."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from common.atomic_write import atomic_write
from model.series_forecast import SeriesWindows

_VARIABLES = 6
_FORECASTS = 4


def plot_forecasts(path: Path, windows: SeriesWindows, forecasts: Mapping[str, np.ndarray]) -> None:
    """Draws forecasts [B,V,H] by their names: of the last window and, of several, of some before
    it that do not overlap. A png; of many variables the first are drawn.

    Raises: DataError, OSError.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    series, args = windows.series, windows.args
    shown = _apart(windows.ends, args.forecast_len)
    first = max(windows.ends[shown[0]] - args.seq_len, 0)
    past = pd.DatetimeIndex(series.dates[first:])
    count = min(len(series.columns), _VARIABLES)
    figure, axes = plt.subplots(
        count, 1, figsize=(9, 1 + 1.6 * count), sharex=True, squeeze=False, layout="constrained"
    )
    units = {name: windows.in_units(y[shown]) for name, y in forecasts.items()}
    for v, axis in enumerate(axes[:, 0]):
        axis.plot(past, series.values[first:, v], color="0.5", linewidth=1, label="history")
        for (name, values), style in zip(units.items(), ("-", "--"), strict=False):
            for number, window in enumerate(shown):
                label = name if number == 0 else None
                color = "C0" if style == "-" else "C1"
                axis.plot(
                    windows.dates(window), values[number, :, v], style, color=color, label=label
                )
        axis.set_ylabel(series.columns[v], fontsize=8)
    axes[0][0].legend(fontsize=8, loc="upper left")
    some = f", {count} of {len(series.columns)} variables" if count < len(series.columns) else ""
    figure.suptitle(f"{series.name}: forecast of {args.forecast_len} steps{some}")
    figure.autofmt_xdate()
    with atomic_write(path) as file:
        figure.savefig(file, dpi=110, format="png")
    plt.close(figure)


def _apart(ends: np.ndarray, horizon: int) -> list[int]:
    """The last window and some before it, at least `horizon` rows apart, in order."""
    shown = [len(ends) - 1]
    for window in range(len(ends) - 2, -1, -1):
        if len(shown) < _FORECASTS and ends[shown[-1]] - ends[window] >= horizon:
            shown.append(window)
    return shown[::-1]
