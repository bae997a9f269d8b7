"""From a forecasting CSV to standardized windows, in the protocol that the field's papers share.

The protocol (Informer, AAAI 2021, and every benchmark since): the series is cut in time order into
train, validation and test; each variable is standardized with the mean and standard deviation of
the training rows only; a window is `seq_len` inputs followed by `forecast_len` targets, at every
start position. The first validation (test) window has its first *target* on the first row of its
split, so its inputs reach back into the rows before; no target is ever seen by an earlier split.

Symbols: T rows (time steps), V variables, L = seq_len, H = forecast_len, B batch.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import io
import lzma
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from common.errors import CmambaError

ETT_DAYS = (12 * 30, 4 * 30, 4 * 30)
"""Train, validation and test length of the ETT sets: 12, 4 and 4 months of 30 days."""

_OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


class DataError(CmambaError, ValueError):
    """Input data that cannot be used; the message names file, row and column where there is one."""


class Digest(Protocol):
    """A hash, as `hashlib` has them."""

    def update(self, data: bytes, /) -> None: ...


def add_array(digest: Digest, array: np.ndarray) -> None:
    """Adds type, shape and values to a fingerprint."""
    digest.update(f"{array.dtype.str} {array.shape}\n".encode())
    digest.update(np.ascontiguousarray(array).tobytes())


@dataclass(frozen=True)
class Series:
    """A regular multivariate time series: `dates` [T], `values` [T,V] float64, V `columns`."""

    name: str
    dates: np.ndarray
    columns: tuple[str, ...]
    values: np.ndarray

    @property
    def step(self) -> np.timedelta64:
        """Time between two rows."""
        return self.dates[1] - self.dates[0]


def read_csv_series(path: str | Path, columns: Sequence[str] | None = None) -> Series:
    """Reads a CSV whose first column is `date` and whose other columns are the variables.

    Every cell must be a finite number, dates must rise by one constant step. `columns`, where
    given, are the variables that the header must name, in that order. Row numbers in messages are
    line numbers of the file (the header is line 1). A .gz, .bz2 or .xz is decompressed.

    Raises: DataError (empty file, header, date, gap or cell, with row and column), OSError.
    """
    path = Path(path)
    content = _read(path)
    try:
        # As text, so that this function and not the parser decides what a number is; header=None,
        # because pandas would rename duplicated columns.
        table = pd.read_csv(
            io.BytesIO(content),
            header=None,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            encoding="utf-8-sig",
        )
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: the file is empty, expected a header 'date,...'") from None
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a CSV table: {str(error).strip()}") from None

    header = [str(cell).strip() for cell in table.iloc[0].fillna("")]
    names = _check_header(path, header, columns)
    if len(table) < 3:
        raise DataError(
            f"{path}: expected at least 2 rows after the header, found {len(table) - 1}"
        )

    body = table.iloc[1:]
    dates = _parse_dates(path, body[0])
    values = np.empty((len(body), len(names)))
    for v, name in enumerate(names):
        cells = body[v + 1]
        numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
        bad = np.flatnonzero(~np.isfinite(numbers))
        if bad.size:
            row = int(bad[0])
            raise DataError(
                f"{path}: row {row + 2}, column '{name}': expected a finite number, "
                f"found {_quote(cells.iloc[row])} ({bad.size} such cells in this column)"
            )
        values[:, v] = numbers
    return Series(path.stem, dates, names, values)


def _read(path: Path) -> bytes:
    """The text of a file. Raises: DataError (damaged, or not text), OSError."""
    try:
        with _OPENERS.get(path.suffix, open)(path, "rb") as file:
            content = file.read()
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if getattr(error, "errno", None):
            raise
        raise DataError(f"{path}: cannot be decompressed: {error}") from None
    # The parser drops the rest of a cell without a word: 3\x00.5 would be 3.
    end = content.find(b"\0")
    if end >= 0:
        row = content.count(b"\n", 0, end) + 1
        raise DataError(
            f"{path}: not a CSV table: row {row} holds a NUL byte, expected text in UTF-8"
        )
    return content


def _quote(cell: object) -> str:
    return "nothing" if pd.isna(cell) or str(cell).strip() == "" else repr(str(cell))


def _check_header(path: Path, header: list[str], columns: Sequence[str] | None) -> tuple[str, ...]:
    if header[0].lower() != "date":
        raise DataError(f"{path}: row 1, column 1: expected header 'date', found '{header[0]}'")
    names = tuple(header[1:])
    if not names:
        raise DataError(f"{path}: row 1: expected variables after 'date', found none")
    for position, name in enumerate(names):
        if not name:
            raise DataError(f"{path}: row 1, column {position + 2}: the variable has no name")
        if name in names[:position]:
            raise DataError(f"{path}: row 1, column {position + 2}: '{name}' is named twice")
    if columns is not None and names != tuple(columns):
        raise DataError(
            f"{path}: row 1: expected variables {','.join(columns)}, found {','.join(names)}"
        )
    return names


def _parse_dates(path: Path, cells: pd.Series) -> np.ndarray:
    """[T] datetime64[s]; checks that each date parses and follows the last by one constant step."""
    try:
        parsed = pd.to_datetime(cells, format="ISO8601", errors="coerce")
    except ValueError:
        raise DataError(
            f"{path}: column 'date': expected one time zone, found several; write all dates in UTC"
        ) from None
    if parsed.isna().any():
        # Some of the usual files write 1990/1/1 0:00.
        slashed = pd.to_datetime(cells, format="%Y/%m/%d %H:%M", errors="coerce")
        parsed = slashed if slashed.isna().sum() < parsed.isna().sum() else parsed
    bad = np.flatnonzero(parsed.isna())
    if bad.size:
        row = int(bad[0])
        raise DataError(
            f"{path}: row {row + 2}, column 'date': expected a date such as 2016-07-01 00:00:00, "
            f"found {_quote(cells.iloc[row])}"
        )
    dates = parsed.to_numpy(dtype="datetime64[s]")
    fractions = np.flatnonzero(parsed.dt.microsecond + parsed.dt.nanosecond)
    if fractions.size:
        row = int(fractions[0])
        raise DataError(
            f"{path}: row {row + 2}, column 'date': expected whole seconds, "
            f"found {_quote(cells.iloc[row])}"
        )
    steps = np.diff(dates)
    usual = np.median(steps.astype(np.int64)).astype("timedelta64[s]")
    for found, problem in (
        (steps == np.timedelta64(0, "s"), "the same date as the row before"),
        (steps < np.timedelta64(0, "s"), "earlier than the row before"),
        (steps != usual, f"expected one step of {usual} after the row before"),
    ):
        rows = np.flatnonzero(found)
        if rows.size:
            row = int(rows[0])
            raise DataError(
                f"{path}: row {row + 3}, column 'date': {cells.iloc[row + 1]} after "
                f"{cells.iloc[row]}: {problem}"
            )
    return dates


@dataclass(frozen=True)
class Standardizer:
    """(x - mean) / std per variable; `mean` and `std` are [V] float64."""

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def fit(cls, values: np.ndarray) -> Standardizer:
        """From training rows [T,V]. A constant variable gets std 1, so it standardizes to 0."""
        # Not by the std, which rounding can leave a little above 0.
        constant = np.ptp(values, axis=0) == 0
        return cls(
            np.where(constant, values[0], values.mean(axis=0)),
            np.where(constant, 1.0, values.std(axis=0)),
        )

    def apply(self, values: np.ndarray) -> np.ndarray:
        """[...,T,V] in the data's units -> [...,T,V] standardized."""
        return (values - self.mean) / self.std

    def undo(self, values: np.ndarray) -> np.ndarray:
        """[...,T,V] standardized -> [...,T,V] in the data's units."""
        return values * self.std + self.mean


class Windows(Sequence):
    """All windows of a stretch of rows, as views: item i is (x [V,L], y [V,H]), y right after x.

    `values` [T,V] is kept as one float32 copy, transposed to [V,T]; items share its memory.
    """

    def __init__(self, values: np.ndarray, seq_len: int, forecast_len: int) -> None:
        """Raises: ValueError (a length below 1), DataError (too few rows for one window)."""
        if seq_len < 1 or forecast_len < 1:
            raise ValueError(
                f"seq_len {seq_len} and forecast_len {forecast_len} must be at least 1"
            )
        length = seq_len + forecast_len
        if len(values) < length:
            raise DataError(
                f"empty split: {len(values)} rows are too few for one window of "
                f"{seq_len} + {forecast_len} = {length}"
            )
        self.seq_len = seq_len
        self.forecast_len = forecast_len
        rows = np.ascontiguousarray(values.T, dtype=np.float32)
        rows.flags.writeable = False
        self._windows = np.lib.stride_tricks.sliding_window_view(rows, length, axis=1)  # [V,M,L+H]

        self._rows = rows  # [V,T]

    @property
    def num_channels(self) -> int:
        """V."""
        return self._windows.shape[0]

    def update(self, digest: Digest) -> None:
        """Adds the values to the fingerprint of a data set."""
        add_array(digest, self._rows)

    def __len__(self) -> int:
        return self._windows.shape[1]

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        window = self._windows[:, range(len(self))[index]]
        return window[:, : self.seq_len], window[:, self.seq_len :]

    def batch(self, indices: Sequence[int] | np.ndarray | slice) -> tuple[np.ndarray, np.ndarray]:
        """The named windows stacked: x [B,V,L], y [B,V,H] float32, copies."""
        window = self._windows[:, indices].swapaxes(0, 1)
        x, y = window[..., : self.seq_len], window[..., self.seq_len :]
        return np.array(x, order="C"), np.array(y, order="C")


def spread(n: int, count: int) -> np.ndarray:
    """`count` indices spread evenly over 0..n-1."""
    return np.unique(np.linspace(0, n - 1, count).astype(int))


@dataclass(frozen=True)
class Splits:
    """The three window sets of a series, standardized, and what is needed to undo that."""

    name: str
    columns: tuple[str, ...]
    standardizer: Standardizer
    train: Windows
    val: Windows
    test: Windows

    @functools.cached_property
    def sha256(self) -> str:
        """Fingerprint of the data, wherever they lie: columns, units and all values."""
        digest = hashlib.sha256(f"{self.columns}\n".encode())
        for values in (self.standardizer.mean, self.standardizer.std):
            add_array(digest, values)
        for windows in (self.train, self.val, self.test):
            windows.update(digest)
        return digest.hexdigest()


def ett_lengths(num_rows: int, step: np.timedelta64) -> tuple[int, int, int]:
    """Rows of train, validation and test in the ETT protocol: 12/4/4 months of 30 days.

    Rows past the 20th month are not used. Raises: DataError (the series is shorter).
    """
    per_day = np.timedelta64(1, "D") / step
    lengths = tuple(round(days * per_day) for days in ETT_DAYS)
    if num_rows < sum(lengths):
        raise DataError(
            f"the ETT split needs {sum(lengths)} rows (20 months of 30 days in steps of {step}), "
            f"found {num_rows}"
        )
    return lengths


def ratio_lengths(num_rows: int, train: float = 0.7, test: float = 0.2) -> tuple[int, int, int]:
    """Rows of train, validation and test by ratio; validation is the rest between the two.

    Raises: ValueError (a ratio that leaves a split nothing).
    """
    if not (0 < train < 1 and 0 < test < 1 and train + test < 1):
        raise ValueError(f"ratios train {train}, test {test}: both above 0, together below 1")
    num_train, num_test = int(num_rows * train), int(num_rows * test)
    return num_train, num_rows - num_train - num_test, num_test


def _check_range(
    rows: np.ndarray, values: np.ndarray, standardizer: Standardizer, columns: Sequence[str]
) -> None:
    """Raises DataError where float32 does not hold `rows` [T,V], the standardized `values`."""
    held = (np.abs(rows) <= np.finfo(np.float32).max) & np.isfinite(standardizer.std)
    if not held.all():
        v = int(np.argmin(held.all(axis=0)))
        raise DataError(
            f"variable '{columns[v]}': its values, up to {np.abs(values[:, v]).max():.3g}, are too "
            "large for float32 once they are standardized"
        )


def split_series(
    series: Series, lengths: tuple[int, int, int], seq_len: int, forecast_len: int
) -> Splits:
    """Standardizes by the training rows and cuts the series into the three window sets.

    `lengths` are the rows of train, validation and test, from row 0 on. The inputs of the first
    `seq_len` validation (test) windows overlap the split before; their targets do not.

    Raises: ValueError (lengths beyond the series), DataError (a split with no window).
    """
    ends = np.cumsum(lengths)
    if min(lengths) < 0 or ends[-1] > len(series.values):
        raise ValueError(f"splits of {lengths} rows do not fit {len(series.values)} rows")
    with np.errstate(over="ignore", invalid="ignore"):
        standardizer = Standardizer.fit(series.values[: ends[0]]) if ends[0] else None
    windows = {}
    for split, start, end in (
        ("train", 0, ends[0]),
        ("validation", ends[0] - seq_len, ends[1]),
        ("test", ends[1] - seq_len, ends[2]),
    ):
        try:
            if standardizer is None or start < 0:
                raise DataError(f"{ends[0]} training rows, {seq_len} inputs: nothing to learn from")
            with np.errstate(over="ignore", invalid="ignore"):
                rows = standardizer.apply(series.values[start:end])
            _check_range(rows, series.values[start:end], standardizer, series.columns)
            windows[split] = Windows(rows, seq_len, forecast_len)
        except DataError as error:
            raise DataError(f"{series.name}, {split}: {error}") from None
    return Splits(
        series.name,
        series.columns,
        standardizer,
        windows["train"],
        windows["validation"],
        windows["test"],
    )
