"""Dates of a CSV: which column has them, in which format, and what they are in UTC.

A format is one of strptime, `ISO8601`, or one of EPOCHS. Where two formats give a column different
dates, as with 01/02/2024, it is refused: --date-format decides.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from model.data.csv_options import EPOCHS, ISO, CsvOptions
from model.data.csv_series import spread
from model.data.errors import DataError

# Seconds since 1970 of the years 1980 and 2100: what a number of a column of dates lies between.
_EPOCH_RANGE = (315_532_800, 4_102_444_800)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# Of plain numbers, by their digits; years of four.
_COMPACT = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_PLAIN = re.compile(r"\d+(\.\d*)?", re.ASCII)
_NAMED = re.compile(r"date|datum|time|zeit|stamp|year|month|day|epoch|unix|^(ds|ts|t|)$", re.I)
_SAMPLE = 60

_ZONE = r"(?:Z|UTC|GMT|[+-]\d\d:?(?:\d\d)?)"
_ZONED = rf"(?:[T:]\d\d|:\d\d\.\d+)\s*{_ZONE}$"  # behind a time: 2000-01-31 has none
_DATE = re.compile(
    r"(?P<a>\d{1,4}|[A-Za-z]{3,9})(?P<s>[-/. ])(?P<b>\d{1,2}|[A-Za-z]{3,9})"
    r"(?:(?P<t>[-/. ]|, )(?P<c>\d{4}|\d{1,2}))?(?P<rest>(?:[T ].*)?)",
    re.ASCII,
)
_TIME = re.compile(
    r"(?P<begin>[T ])\d{1,2}(?P<s>[:.])\d\d"
    r"(?:(?P=s)(?P<second>\d\d)(?P<fraction>[.]\d{1,9})?)?"
    rf"(?P<noon> ?[AaPp][Mm])?(?P<space> ?)(?P<zone>{_ZONE})?",
    re.ASCII,
)


@dataclass(frozen=True)
class Dates:
    """[T] `stamps` without a zone, `format` as it was taken; `utc` where they are in UTC."""

    stamps: pd.Series
    format: str
    utc: bool


def looks_like_dates(name: str, cells: pd.Series) -> bool:
    """Whether at least half of the cells that are not empty parse in some format."""
    sample = _sample(cells)
    return len(sample) > 0 and any(
        2 * _parse(sample, f).notna().sum() >= len(sample) for f in _formats(name, sample)
    )


def parse_dates(
    where: str, name: str, cells: pd.Series, rows: np.ndarray, options: CsvOptions
) -> Dates:
    """Dates of a column of text. `where` begins messages, `rows` are the line numbers of `cells`.

    Raises: DataError (a cell that is none, a format in doubt, zones that differ).
    """
    if options.date_format:
        formats = [options.date_format]
    else:
        # Asked for by its name, a column need not be called a date.
        formats = _formats("date" if options.date_column else name, _sample(cells))
    parsed = {f: _parse(cells, f) for f in formats}
    complete = {f: stamps for f, stamps in parsed.items() if stamps.notna().all()}
    if not complete:
        _refuse_cell(where, name, cells, rows, parsed)
    taken, stamps = next(iter(complete.items()))
    for other, found in complete.items():
        differ = np.flatnonzero((found != stamps).to_numpy())
        if len(differ):
            row = int(differ[0])
            raise DataError(
                f"{where}: row {rows[row]}, column '{name}': {cells.iloc[row]} is "
                f"{stamps.iloc[row].date()} as {taken} and {found.iloc[row].date()} as {other}; "
                "say which with --date-format"
            )
    zoned = cells.str.contains(_ZONED, flags=re.IGNORECASE) & (taken not in EPOCHS)
    if zoned.any() and not zoned.all():
        row = int(np.argmin(zoned))
        raise DataError(
            f"{where}: row {rows[row]}, column '{name}': {cells.iloc[row]} has no time zone, as "
            "other rows have; write all dates in UTC"
        )
    utc = bool(zoned.all()) or taken in EPOCHS
    if not options.time_zone:
        return Dates(stamps, taken, utc)
    if utc:
        raise DataError(f"{where}: column '{name}': --time-zone: the dates say their zone already")
    return Dates(_to_utc(where, name, stamps, options.time_zone), taken, True)


def _to_utc(where: str, name: str, stamps: pd.Series, zone: str) -> pd.Series:
    try:
        local = stamps.dt.tz_localize(zone, ambiguous="infer", nonexistent="raise")
        return local.dt.tz_convert("UTC").dt.tz_localize(None)
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"{where}: column '{name}': --time-zone {zone}: {str(error).partition('; ')[0]}; write "
            "all dates in UTC"
        ) from None


def _sample(cells: pd.Series) -> pd.Series:
    """Some cells of a column that are not empty."""
    filled = cells[cells != ""]
    return filled.iloc[spread(len(filled), _SAMPLE)] if len(filled) else filled


def _formats(name: str, sample: pd.Series) -> list[str]:
    """The formats that a cell of the sample may have, those that parse most of them first."""
    numbers = sample.str.fullmatch(_PLAIN)
    if len(sample) and numbers.mean() > 0.5:
        # Any number may be a date, so that the column has to be called one.
        found = _number_formats(sample[numbers]) if _NAMED.search(name.strip()) else []
    else:
        found = list(dict.fromkeys(itertools.chain.from_iterable(map(_formats_of, sample))))
    scores = {f: int(_parse(sample, f).notna().sum()) for f in found}
    best = max(scores.values(), default=0)
    # Those that fail on most are wrong for the file, not the cells for them.
    return sorted((f for f in found if 2 * scores[f] > best), key=lambda f: -scores[f])


def _number_formats(sample: pd.Series) -> list[str]:
    digits = sample.str.len().to_numpy()
    found = [f for length, f in _COMPACT.items() if (digits == length).mean() > 0.5]
    seconds = pd.to_numeric(sample).to_numpy(dtype=np.float64)
    low, high = _EPOCH_RANGE
    for name, unit in EPOCHS.items():
        scale = _PER_SECOND[unit]
        if ((seconds >= low * scale) & (seconds < high * scale)).mean() > 0.5:
            found.append(name)
    return found


def _formats_of(cell: str) -> list[str]:
    """The formats of a cell with more than digits."""
    match = _DATE.fullmatch(cell)
    if match is None:
        return [ISO]
    a, s, b, t, c = (match[name] for name in "asbtc")
    time = _time_format(match["rest"])
    if time is None:
        return [ISO]
    orders: list[str]
    if a.isalpha() and b.isdecimal() and c:  # Jan 1, 2024
        orders = [f"%b{s}%d{t}{y}" for y in _years(c)]
    elif a.isalpha() and b.isdecimal() and not c:  # Jan 2024
        orders = [f"%b{s}{y}" for y in _years(b)]
    elif b.isalpha():
        orders = [f"%d{s}%b{t}{y}" for y in _years(c)] if c else []
    elif a.isalpha():
        orders = []
    elif len(a) == 4:
        if s == "-":
            return [ISO]
        orders = [f"%Y{s}%m{t}%d"] if c else [f"%Y{s}%m"]
    elif not c:
        orders = []
    elif len(c) == 4:
        orders = [f"%d{s}%m{t}%Y", f"%m{s}%d{t}%Y"]
    else:
        orders = [f"%d{s}%m{t}%y", f"%m{s}%d{t}%y", f"%y{s}%m{t}%d"]
    long = a if a.isalpha() else b
    if long.isalpha() and len(long) > 3:
        orders = [order.replace("%b", "%B") for order in orders]
    return [order + time for order in orders]


def _years(text: str) -> list[str]:
    return ["%Y"] if len(text) == 4 else ["%y"]


def _time_format(text: str) -> str | None:
    """The format of what follows a date; None where it is no time."""
    if not text:
        return ""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    s = match["s"]
    found = match["begin"] + ("%I" if match["noon"] else "%H") + f"{s}%M"
    if match["second"]:
        found += f"{s}%S" + (".%f" if match["fraction"] else "")
    if match["noon"]:
        found += " %p" if match["noon"].startswith(" ") else "%p"
    if match["zone"]:
        found += match["space"] + (
            "%Z" if match["zone"].isalpha() and len(match["zone"]) > 1 else "%z"
        )
    return found


def _parse(cells: pd.Series, date_format: str) -> pd.Series:
    """[T] stamps without a zone, in UTC where the cells have one; NaT where a cell is no date."""
    nothing = pd.Series(pd.NaT, index=cells.index, dtype="datetime64[us]")
    if date_format in EPOCHS:
        numbers = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
        unit = EPOCHS[date_format]
        limit = 2.0**62 / 10**9 * _PER_SECOND[unit]
        good = np.abs(numbers) < limit
        if not good.any():
            return nothing
        # To microseconds, as float64 holds the seconds of today.
        exact = pd.to_numeric(cells.where(good, "0"), errors="coerce")
        stamps = pd.Series(pd.to_datetime(exact, unit=unit), index=cells.index)
        return stamps.where(good)
    try:
        stamps = pd.to_datetime(cells, format=date_format, errors="coerce", utc=True)
    except (ValueError, OverflowError, TypeError):
        return nothing
    return stamps.dt.tz_localize(None)


def _refuse_cell(
    where: str, name: str, cells: pd.Series, rows: np.ndarray, parsed: dict[str, pd.Series]
) -> None:
    """Raises the DataError of the first cell that the format of most does not parse."""
    best = max(parsed, key=lambda f: parsed[f].notna().sum(), default=None)
    row = int(np.argmax(parsed[best].isna())) if best else 0
    found = repr(cells.iloc[row]) if cells.iloc[row] else "nothing"
    expected = "a date such as 2016-07-01 00:00:00"
    if best and parsed[best].notna().any():
        expected = f"a date in the format {best}, as other rows have"
    raise DataError(
        f"{where}: row {rows[row]}, column '{name}': expected {expected}, found {found}; other "
        "formats are named with --date-format"
    )
