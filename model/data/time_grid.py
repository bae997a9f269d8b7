"""Regular steps: the frequency of stamps, and what mends rows and cells that are missing.

A frequency is an offset alias of pandas, such as h, 15min, D, B (business days), MS or ME (starts
and ends of months).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.tseries.frequencies import to_offset

from model.data.errors import DataError

MAX_CELLS = 1 << 28
"""Of a table that --fill or --resample makes: 2 GiB."""

_STRETCH = 6  # rows; business days show their weekend
_LONG = pd.Timedelta(days=28)  # from here on, months are steps


def frequency_of(stamps: pd.DatetimeIndex) -> str | None:
    """The alias of the one step between at least two rising stamps; None where there is none."""
    steps = np.diff(stamps.to_numpy())
    if (steps == steps[0]).all():
        step = pd.Timedelta(steps[0])
        calendar = pd.infer_freq(stamps) if step >= _LONG and len(stamps) > 2 else None
        return calendar or alias_of(step)
    return pd.infer_freq(stamps) if len(stamps) > 2 else None


def alias_of(step: pd.Timedelta) -> str:
    """The alias of a constant step."""
    days, rest = divmod(step, pd.Timedelta(days=1))
    if rest:
        return to_offset(step).freqstr
    return "D" if days == 1 else f"{days}D"


def following(last: pd.Timestamp, frequency: str, count: int) -> pd.DatetimeIndex:
    """[count] stamps after `last`. Raises: DataError (beyond the dates that there are)."""
    try:
        stamps = pd.date_range(last, periods=count + 1, freq=frequency)
        if stamps[-1].year > 9999:
            raise ValueError("beyond the year 9999")
    except (ValueError, OverflowError) as error:
        raise DataError(f"{count} steps of {frequency} after {last}: {error}") from None
    return stamps[stamps > last][:count]


def grid_with_gaps(stamps: pd.DatetimeIndex) -> pd.DatetimeIndex | None:
    """The regular stamps of which `stamps` are some; None where no frequency has them all."""
    steps = np.diff(stamps.to_numpy())
    usual = pd.Timedelta(np.median(steps.astype(np.int64)).astype(np.int64), stamps.unit)
    found = []
    for start in np.unique(np.linspace(0, max(len(stamps) - _STRETCH, 0), 20).astype(int)):
        stretch = stamps[start : start + _STRETCH]
        if len(stretch) > 2 and (frequency := pd.infer_freq(stretch)):
            found.append(frequency)
    # The coarsest first: business days before days.
    fitting = []
    for frequency in dict.fromkeys([*found, alias_of(usual)]):
        grid = _grid(stamps, frequency)
        if grid is not None and stamps.isin(grid).all():
            fitting.append(grid)
    return min(fitting, key=len, default=None)


def _grid(stamps: pd.DatetimeIndex, frequency: str) -> pd.DatetimeIndex | None:
    """From the first to the last stamp; None where that were too many."""
    if (stamps[-1] - stamps[0]) / _shortest(frequency, stamps[0]) > MAX_CELLS:
        return None
    return pd.date_range(stamps[0], stamps[-1], freq=frequency, unit=stamps.unit)


def _shortest(frequency: str, start: pd.Timestamp) -> pd.Timedelta:
    """A step, about."""
    two = pd.date_range(start, periods=3, freq=frequency)
    return min(two[1] - two[0], two[2] - two[1])


@dataclass(frozen=True)
class Mended:
    """What `fill` has done: cells, of them those of rows that were not there, longest run."""

    cells: int
    rows: int
    longest: int

    def __str__(self) -> str:
        return f"filled {self.cells} cells, {self.rows} whole rows, the longest run {self.longest}"


def longest_run(missing: np.ndarray) -> tuple[int, int, int]:
    """(length, first row, column) of the longest run of True in a column of [T,V]."""
    best = (0, 0, 0)
    for column in np.flatnonzero(missing.any(axis=0)):
        edges = np.flatnonzero(np.diff(np.r_[0, missing[:, column].astype(np.int8), 0]))
        lengths = edges[1::2] - edges[::2]
        run = int(np.argmax(lengths))
        if lengths[run] > best[0]:
            best = int(lengths[run]), int(edges[::2][run]), int(column)
    return best


def resampled(
    where: str, stamps: pd.DatetimeIndex, values: np.ndarray, step: str
) -> tuple[pd.DatetimeIndex, np.ndarray]:
    """Means [T',V] over steps, at their starts as pandas has them; NaN where a step has no value.

    Raises: DataError (more steps than MAX_CELLS allows).
    """
    length = _shortest(step, stamps[0])
    require_cells(where, (stamps[-1] - stamps[0]) / length, values.shape[1], f"--resample {step}")
    try:
        table = pd.DataFrame(values, index=stamps).resample(step).mean()
    except (ValueError, OverflowError) as error:
        raise DataError(f"{where}: --resample {step}: {error}") from None
    return table.index, table.to_numpy(dtype=np.float64)


def require_cells(where: str, rows: float, columns: int, what: str) -> None:
    """Raises DataError where a table of so many cells were too large."""
    if rows * columns > MAX_CELLS:
        raise DataError(
            f"{where}: {what}: {rows:,.0f} rows of {columns} columns, expected at most "
            f"{MAX_CELLS:,} cells"
        )


def filled(values: np.ndarray, method: str) -> np.ndarray:
    """[T,V] without NaN, but for those that have no value before them, or, to interpolate between,
    none after."""
    table = pd.DataFrame(values)
    if method == "previous":
        return table.ffill().to_numpy()
    return table.interpolate(limit_area="inside").to_numpy()
