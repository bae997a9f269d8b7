"""From a CSV to windows for a model, and from their forecasts to a CSV with dates.

Values reach the model on the scale that it was trained on: by mean and standard deviation of its
training data where the checkpoint has them, else by those of the file. The latter only where the
model normalizes each window itself, which makes it the same but for rounding.

Symbols: T rows, V variables, L = seq_len, H = forecast_len, B windows.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.atomic_write import atomic_write
from model.args import ModelArgs
from model.data.csv_options import EPOCHS, ISO, CsvOptions
from model.data.csv_reader import read_csv_series, say_on_stderr
from model.data.csv_series import Series, Standardizer, spread
from model.data.errors import DataError
from model.data.time_grid import following
from model.data_record import DataRecord
from model.regressor_args import RegressorArgs

ORIGIN = "origin"
"""Column of a table of several windows: the date of the last row that a forecast has seen."""

MAX_VALUES = 1 << 28
"""Of all forecasts together."""

_FORMAT = "%.7g"  # as many digits as float32 has


@dataclass(frozen=True)
class SeriesWindows:
    """Windows of a series for a model: `x` [B,V,L] float32 views, standardized.

    `ends` [B] are the rows after the windows, from which the forecasts begin.
    """

    series: Series
    standardizer: Standardizer
    args: ModelArgs
    ends: np.ndarray
    rows: np.ndarray  # [V,T], standardized

    @property
    def x(self) -> np.ndarray:
        every = np.lib.stride_tricks.sliding_window_view(self.rows, self.args.seq_len, axis=1)
        return every.swapaxes(0, 1)[self._slice()]

    def _slice(self) -> slice:
        first = self.ends[0] - self.args.seq_len
        step = self.ends[1] - self.ends[0] if len(self.ends) > 1 else 1
        return slice(first, self.ends[-1] - self.args.seq_len + 1, step)

    def to_calibrate(self, count: int) -> np.ndarray:
        """[n,V,L], n <= `count` windows spread over the whole series."""
        every = np.lib.stride_tricks.sliding_window_view(self.rows, self.args.seq_len, axis=1)
        return np.ascontiguousarray(every[:, spread(every.shape[1], count)].swapaxes(0, 1))

    def in_units(self, y: np.ndarray) -> np.ndarray:
        """Forecasts [B,V,H] in the units of the file, [B,H,V] float64."""
        return self.standardizer.undo(np.asarray(y, dtype=np.float64).swapaxes(1, 2))

    @functools.cached_property
    def stamps(self) -> pd.DatetimeIndex:
        """[T + H] of the rows, and after them. Raises: DataError (beyond the dates there are)."""
        past = pd.DatetimeIndex(self.series.dates)
        future = following(past[-1], self.series.frequency, self.args.forecast_len)
        return past.append(future)

    def dates(self, window: int) -> pd.DatetimeIndex:
        """[H] of the forecast of a window."""
        return self.stamps[self.ends[window] :][: self.args.forecast_len]


def read_series_windows(
    path: Path,
    args: ModelArgs,
    options: CsvOptions,
    trained_on: DataRecord | None = None,
    every: int | None = None,
    say: Callable[[str], None] = say_on_stderr,
) -> SeriesWindows:
    """The last L rows of a CSV as a window or, with `every`, one at each `every`-th row.

    With `every`, the last window is that of the last L rows, too. `trained_on` chooses the columns,
    unless `options` do, and the scale.

    Raises: DataError (as `read_csv_series`; too few rows, another frequency), ValueError (a model
    that this is not for, other variables than its own), OSError.
    """
    if isinstance(args, RegressorArgs):
        raise ValueError(f"{path}: a regressor reads frames from an .npz, not a series")
    if trained_on and options.columns is None:
        options = dataclasses.replace(options, columns=_listed(trained_on.columns))
    series = read_csv_series(path, options=options)
    say(series.taken)
    found = len(series.columns)
    if found != args.num_channels:
        raise ValueError(
            f"{path}: found {found} variables, expected {args.num_channels} as the model has; "
            "choose them with --columns"
        )
    if trained_on and trained_on.step_seconds != series.step_seconds:
        expected = f"{trained_on.step_seconds}s"
        raise DataError(
            f"{path}: found a row every {series.step_seconds}s, expected {expected} as in the data "
            f"that the model was trained on; --resample {expected} takes means"
        )
    if len(series.values) < args.seq_len:
        raise DataError(
            f"{path}: {len(series.values)} rows, expected at least {args.seq_len}, which the model "
            "looks back on"
        )
    standardizer = _standardizer(path, series, args, trained_on)
    rows = _standardized(path, series, standardizer)
    total = len(series.values)
    ends = np.array([total]) if every is None else np.arange(total, args.seq_len - 1, -every)[::-1]
    if len(ends) * found * args.forecast_len > MAX_VALUES:
        raise ValueError(
            f"{path}: --rolling: {len(ends):,} forecasts of {found} x {args.forecast_len} values, "
            f"expected at most {MAX_VALUES:,} values; a STEP makes fewer"
        )
    return SeriesWindows(series, standardizer, args, ends, rows)


def _listed(columns: tuple[str, ...]) -> str:
    """As `csv_options.names` reads it."""
    return ",".join('"' + name.replace('"', '""') + '"' for name in columns)


def _standardizer(
    path: Path, series: Series, args: ModelArgs, trained_on: DataRecord | None
) -> Standardizer:
    if trained_on:
        return Standardizer.of_record(trained_on)
    if not args.instance_norm:
        raise ValueError(
            f"{path}: the model has no instance normalization and its checkpoint no mean and "
            "standard deviation of the training data; give windows standardized with them, as .npz"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        return Standardizer.fit(series.values)


def _standardized(path: Path, series: Series, standardizer: Standardizer) -> np.ndarray:
    """[V,T] float32. Raises: DataError (values that float32 does not hold)."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        rows = standardizer.apply(series.values).T.astype(np.float32)
    held = np.isfinite(rows).all(axis=1) & np.isfinite(standardizer.std)
    if not held.all():
        v = int(np.argmin(held))
        raise DataError(f"{path}: variable '{series.columns[v]}': too large for float32")
    return np.ascontiguousarray(rows)


# --- the table ----------------------------------------------------------------------------------


def write_forecasts(path: Path, windows: SeriesWindows, y: np.ndarray) -> None:
    """Writes forecasts [B,V,H] as the file of the series is: separator, decimal mark and dates.

    A row a step, in the units of the file; of several windows, ORIGIN stands first. Dates that were
    turned into UTC say so. Raises: DataError, OSError.
    """
    style = windows.series.style
    table = _table(windows, y, _written(windows.stamps, windows.series))
    text = table.to_csv(
        index=False, sep=style.separator, decimal=style.decimal, float_format=_FORMAT
    )
    with atomic_write(path) as file:
        file.write(text.encode())


def forecast_frame(windows: SeriesWindows, y: np.ndarray) -> pd.DataFrame:
    """Forecasts [B,V,H] in the units of the file: a row a step, a column a variable.

    The index has the dates, of several windows behind ORIGIN; dates that were turned into UTC say
    so. Raises: DataError.
    """
    stamps = windows.stamps
    table = _table(windows, y, stamps.tz_localize("UTC") if windows.series.style.utc else stamps)
    levels = table.shape[1] - len(windows.series.columns)
    index, values = table.iloc[:, :levels], table.iloc[:, levels:]
    return values.set_index(
        pd.Index(index.iloc[:, 0]) if levels == 1 else pd.MultiIndex.from_frame(index)
    )


def _table(windows: SeriesWindows, y: np.ndarray, stamps: pd.Index) -> pd.DataFrame:
    """Forecasts [B,V,H], with their `stamps` [T + H] in front, and of several windows ORIGIN."""
    H = windows.args.forecast_len
    values = windows.in_units(y).reshape(-1, len(windows.series.columns))
    table = pd.DataFrame(values, columns=list(windows.series.columns))
    steps = (windows.ends[:, None] + np.arange(H)).ravel()
    name = windows.series.style.date_column
    table.insert(0, name, stamps[steps], allow_duplicates=True)
    if len(windows.ends) > 1:
        table.insert(0, ORIGIN, stamps[windows.ends - 1].repeat(H), allow_duplicates=True)
    return table


def _written(stamps: pd.DatetimeIndex, series: Series) -> pd.Index:
    """Dates as the file has them; ISO 8601 with a zone where they were turned into UTC."""
    style = series.style
    if style.date_format in EPOCHS:
        unit = pd.Timedelta(1, EPOCHS[style.date_format])
        since = stamps - pd.Timestamp(0)
        whole = since // unit
        return whole if (whole * unit == since).all() else since / unit
    if style.utc:
        return stamps.tz_localize("UTC").map(lambda stamp: stamp.isoformat(sep=" "))
    if style.date_format == ISO:
        midnight = (pd.DatetimeIndex(series.dates).normalize() == series.dates).all()
        return stamps.map(lambda t: str(t.date()) if midnight else t.isoformat(sep=" "))
    return stamps.strftime(style.date_format)
