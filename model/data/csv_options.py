"""How a CSV of a series is read: `CsvOptions`, and the options of every command that reads one.

What an option does not say is taken from the file where the file leaves no doubt, and refused where
it does (`model.data.csv_reader`).
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import re
import zoneinfo
from dataclasses import dataclass

import pandas as pd

EPOCHS = {f"epoch-{unit}": unit for unit in ("s", "ms", "us", "ns")}
"""Formats of dates that are numbers since 1970, and pandas' name of their unit."""

ISO = "ISO8601"

FILLS = ("interpolate", "previous")


@dataclass(frozen=True)
class CsvOptions:
    """What is asked for; None leaves it to the file. Raises ValueError, naming the option.

    `fill` is one of FILLS, or one with the longest run of rows that it mends, `previous:LIMIT`; a
    LIMIT alone interpolates.
    """

    date_column: str | None = None  # a name; 'DATE,TIME' joins two columns
    date_format: str | None = None  # of strptime, or ISO8601, or one of EPOCHS
    time_zone: str | None = None  # of dates without one
    columns: str | None = None  # names, comma separated as in a CSV
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    fill: str | None = None
    resample: str | None = None  # a frequency of pandas, such as 5min

    def __post_init__(self) -> None:
        if self.separator == "tab":
            object.__setattr__(self, "separator", "\t")
        self._check(
            "separator",
            len(self.separator or ",") == 1
            and not re.match(r'["\w\r\n#]', self.separator or ",")
            and (self.separator or ",").isascii(),
            "one character, such as ';', or tab",
        )
        self._check("decimal", self.decimal in (None, ".", ","), "'.' or ','")
        self._check("encoding", _is_encoding(self.encoding), "one such as cp1252 or utf-16")
        self._check("time_zone", _is_time_zone(self.time_zone), "one such as Europe/Berlin or UTC")
        self._check("date_format", _is_date_format(self.date_format), _DATE_FORMATS)
        self._check("columns", self.columns is None or all(names(self.columns)), "names, as a,b,c")
        self._check("fill", _is_fill(self.fill), "interpolate, previous or a LIMIT of rows")
        self._check("resample", _is_frequency(self.resample), "a frequency such as 5min, h or D")

    def _check(self, name: str, fine: bool, expected: str) -> None:
        if not fine:
            option = name.replace("_", "-")
            raise ValueError(f"--{option}: found {getattr(self, name)!r}, expected {expected}")

    @property
    def given(self) -> dict[str, str]:
        """Those that leave nothing to the file, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def fill_method(self) -> tuple[str, int | None] | None:
        """(one of FILLS, longest run of rows or None for any)."""
        if self.fill is None:
            return None
        method, _, limit = self.fill.rpartition(":")
        if limit.isdecimal():
            return method or "interpolate", int(limit)
        return self.fill, None


_DATE_FORMATS = f"a format such as %d/%m/%Y %H:%M, {ISO}, {', '.join(EPOCHS)}"


def names(text: str) -> list[str]:
    """The names of a comma separated list, in which quotes keep a comma, as in a CSV."""
    rows = list(csv.reader([text], skipinitialspace=True))
    return [name.strip() for name in rows[0]] if rows else []


def _is_encoding(encoding: str | None) -> bool:
    try:
        return encoding is None or bool(" ".encode(encoding))
    except (LookupError, ValueError):
        return False


def _is_time_zone(name: str | None) -> bool:
    try:
        return name is None or bool(zoneinfo.ZoneInfo(name))
    except (KeyError, OSError, ValueError):
        return False


def _is_date_format(text: str | None) -> bool:
    if text in (None, ISO, *EPOCHS):
        return True
    try:
        pd.to_datetime(pd.Series(["x"]), format=text, errors="coerce")
    except (ValueError, re.error):
        return False
    return "%" in text


def _is_fill(text: str | None) -> bool:
    pattern = rf"({'|'.join(FILLS)})(:[1-9]\d{{0,8}})?|[1-9]\d{{0,8}}"
    return text is None or bool(re.fullmatch(pattern, text, re.ASCII))


def _is_frequency(text: str | None) -> bool:
    try:
        return text is None or pd.tseries.frequencies.to_offset(text).n > 0
    except (AttributeError, ValueError, TypeError, OverflowError):
        return False


def add_csv_options(parser: argparse.ArgumentParser) -> None:
    """A group with an option for each field of CsvOptions; `csv_options` reads it."""
    group = parser.add_argument_group(
        "CSV files",
        "how a CSV is read; by default the file says it, or is refused where it leaves a doubt",
    )

    def option(name: str, text: str, metavar: str) -> None:
        group.add_argument(name, help=text.replace("%", "%%"), metavar=metavar)

    option(
        "--date-column", "its name; DATE,TIME joins two (default: the first that parses)", "NAME"
    )
    option("--date-format", f"{_DATE_FORMATS}", "FORMAT")
    option("--time-zone", "of dates without one, which are then turned into UTC", "ZONE")
    option("--columns", "the variables, in this order (default: all others)", "A,B,C")
    option("--separator", "between cells (default: the one of , ; tab | that fits)", "CHAR")
    option("--decimal", "'.' or ','", "CHAR")
    option("--encoding", "(default: utf-8, or what a byte order mark says)", "NAME")
    option(
        "--fill",
        "mend missing cells and rows: interpolate (looks ahead), previous (does not), each with "
        ":LIMIT for the longest run of rows; a LIMIT alone interpolates (default: refuse them)",
        "HOW",
    )
    option("--resample", "means over steps such as 5min, for stamps that are irregular", "STEP")


def csv_options(options: argparse.Namespace) -> CsvOptions:
    """What was given. Raises ValueError, naming the option."""
    fields = dataclasses.fields(CsvOptions)
    return CsvOptions(**{field.name: getattr(options, field.name) for field in fields})
