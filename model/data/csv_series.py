"""From a series to standardized windows, in the protocol that the field's papers share.

The protocol (Informer, AAAI 2021, and every benchmark since): the series is cut in time order into
train, validation and test; each variable is standardized with the mean and standard deviation of
the training rows only; a window is `seq_len` inputs followed by `forecast_len` targets, at every
start position. The first validation (test) window has its first *target* on the first row of its
split, so its inputs reach back into the rows before; no target is ever seen by an earlier split.

Symbols: T rows (time steps), V variables, L = seq_len, H = forecast_len, B batch.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from model.data.errors import DataError
from model.data_record import DataRecord

ETT_DAYS = (12 * 30, 4 * 30, 4 * 30)
"""Train, validation and test length of the ETT sets: 12, 4 and 4 months of 30 days."""


class Digest(Protocol):
    """A hash, as `hashlib` has them."""

    def update(self, data: bytes, /) -> None: ...


def add_array(digest: Digest, array: np.ndarray) -> None:
    """Adds type, shape and values to a fingerprint."""
    digest.update(f"{array.dtype.str} {array.shape}\n".encode())
    digest.update(np.ascontiguousarray(array).tobytes())


@dataclass(frozen=True)
class CsvStyle:
    """How a file writes a series, for another to write as it does.

    `date_format` is one of `model.data.csv_dates`; `utc` says that dates were turned into UTC.
    """

    date_column: str = "date"
    date_format: str = "ISO8601"
    utc: bool = False
    separator: str = ","
    decimal: str = "."


@dataclass(frozen=True)
class Series:
    """A regular multivariate time series: `dates` [T], `values` [T,V] float64, V `columns`.

    `frequency` is the offset alias of pandas of its step, such as h, B or ME; `taken` says in one
    line how a file was read, empty where there was nothing to choose.
    """

    name: str
    dates: np.ndarray
    columns: tuple[str, ...]
    values: np.ndarray
    frequency: str = ""
    style: CsvStyle = CsvStyle()
    taken: str = ""

    @property
    def step(self) -> np.timedelta64:
        """Time between the first two rows."""
        return self.dates[1] - self.dates[0]

    @property
    def step_seconds(self) -> float:
        """The same in seconds; an integer where it is one."""
        seconds = float(self.step / np.timedelta64(1, "s"))
        return int(seconds) if seconds.is_integer() else seconds


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

    @classmethod
    def of_record(cls, record: DataRecord) -> Standardizer:
        """That of the data that a model was trained on."""
        return cls(np.array(record.mean), np.array(record.std))

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

    @property
    def series(self) -> np.ndarray:
        """The rows that the windows are of, float32 [V,T], read-only."""
        return self._rows

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
    record: DataRecord | None = None  # of the file, where there is one

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
    series: Series,
    lengths: tuple[int, int, int],
    seq_len: int,
    forecast_len: int,
    standardizer: Standardizer | None = None,
) -> Splits:
    """Standardizes the series and cuts it into the three window sets.

    Without a `standardizer`, it is fitted to the training rows. `lengths` are the rows of train,
    validation and test, from row 0 on. The inputs of the first `seq_len` validation (test) windows
    overlap the split before; their targets do not.

    Raises: ValueError (lengths beyond the series), DataError (a split with no window).
    """
    ends = np.cumsum(lengths)
    if min(lengths) < 0 or ends[-1] > len(series.values):
        raise ValueError(f"splits of {lengths} rows do not fit {len(series.values)} rows")
    if standardizer is None and ends[0]:
        with np.errstate(over="ignore", invalid="ignore"):
            standardizer = Standardizer.fit(series.values[: ends[0]])
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
