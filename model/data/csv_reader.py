"""Reads the CSV of a series as people have it: `read_csv_series`.

What the file leaves no doubt about is taken from it and said in one line: encoding, separator,
decimal mark, column and format of the dates, frequency, variables. What could be read in two ways
is refused with the option that decides (`CsvOptions`), and so is what has gaps, unless --fill or
--resample says how to mend them.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from model.data import time_grid
from model.data.csv_dates import Dates, looks_like_dates, parse_dates
from model.data.csv_options import CsvOptions, names
from model.data.csv_series import CsvStyle, Series
from model.data.csv_text import CsvText, not_utf8, read_csv_text
from model.data.errors import DataError

MISSING = ("", "nan", "na", "n/a", "#n/a", "null", "none", "?", "-", "--")
"""What people write where there is no value, in any case."""

_BOOLEANS = {"true": 1.0, "false": 0.0}
_SAMPLE_ROWS = 1000  # that decide on what columns hold
_CHUNK_ROWS = 20_000
_SHOWN = 5  # of columns or rows in a message
_AS_THOUSANDS = {mark: rf"[+-]?[1-9]\d{{0,2}}(\{mark}\d{{3}})+" for mark in ".,"}
_FRACTION = {mark: rf"[+-]?\d*\{mark}\d+([eE][+-]?\d+)?|[+-]?\d+\{mark}" for mark in ".,"}


def say_on_stderr(text: str) -> None:
    """Where a command says how a file was read: its output is for the results."""
    print(text, file=sys.stderr)


def read_csv_series(
    path: str | Path,
    columns: Sequence[str] | None = None,
    options: CsvOptions = CsvOptions(),  # noqa: B008, frozen
) -> Series:
    """Reads a CSV with a column of dates; its other columns, or those of --columns, are variables.

    Dates rise by one step: a constant one, or one of the calendar. `columns`, where given, are the
    variables that the header must name, in that order. Row numbers in messages are line numbers of
    the file. A .gz, .bz2 or .xz is decompressed.

    Raises: DataError (no such table, dates, gap or cell, with row and column, and what is in doubt,
    with the option that decides), OSError.
    """
    path = Path(path)
    text = read_csv_text(path, options.encoding, options.separator)
    layout = _layout(text, columns, options)
    rows, date_cells, values = _cells(text, layout, options)
    dates = parse_dates(str(path), layout.date_name, date_cells, rows, options)
    stamps = pd.DatetimeIndex(dates.stamps)
    _require_rising(text, layout, stamps, date_cells, rows)
    stamps, values, frequency, mended = _regular(
        path, layout, stamps, values, date_cells, rows, options
    )
    style = CsvStyle(layout.date_name, dates.format, dates.utc, text.separator, layout.decimal)
    return Series(
        path.stem,
        _to_numpy(stamps),
        layout.variables,
        values,
        frequency,
        style,
        _in_words(text, layout, dates, stamps, values, frequency, mended),
    )


# --- layout -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """Which columns are what."""

    header: tuple[str, ...]
    dates: tuple[int, ...]  # columns that, joined, are the date
    date_name: str
    variables: tuple[str, ...]
    positions: tuple[int, ...]  # of the variables
    as_text: frozenset[int]  # of all columns, those that are not numbers
    decimal: str
    left_out: tuple[str, ...]


def _read(text: CsvText, body: bool, **arguments: object) -> pd.DataFrame | Iterator[pd.DataFrame]:
    """By pandas; from the header on, or from the line after it if `body`."""
    buffer = io.BytesIO(text.content)
    buffer.seek(text.body if body else text.head)
    return pd.read_csv(
        buffer,
        header=None,  # pandas would rename duplicated columns
        sep=text.separator,
        skip_blank_lines=False,
        keep_default_na=False,
        encoding="utf-8",
        low_memory=False,
        **arguments,
    )


def _layout(text: CsvText, columns: Sequence[str] | None, options: CsvOptions) -> _Layout:
    """Raises: DataError (a header that is none, no dates, a column that is not there)."""
    sample = _text_table(text, nrows=_SAMPLE_ROWS + 1)
    header = [cell.strip() for cell in sample.iloc[0]]
    body = sample.iloc[1:]
    where = f"{text.path}: row {text.header_line}"
    blank = (body == "").all(axis=1)
    if (~blank).sum() < 2 and not len(body) > _SAMPLE_ROWS:
        raise DataError(
            f"{text.path}: expected at least 2 rows after the header, found {int((~blank).sum())}"
        )
    body = body[~blank]
    if _is_data(header, body):
        raise DataError(
            f"{where}: expected a header that names the columns, found {_quoted(header)}; write "
            "one above the data"
        )
    index = [0] if _is_index(header, body) else []
    dates, date_name = _date_columns(text, header, body, index, options)
    empty = [c for c, name in enumerate(header) if not name and (body[c] == "").all()]
    left_out = [*("index" for _ in index), *("column without a name" for _ in empty)]
    rest = [c for c in range(len(header)) if c not in (*dates, *index, *empty)]
    _require_names(text, header, rest)
    if columns is not None and (found := [header[c] for c in rest]) != list(columns):
        raise DataError(f"{where}: expected variables {','.join(columns)}, found {','.join(found)}")
    if options.columns is not None:
        chosen = _chosen(where, header, rest, names(options.columns))
        left_out += [f"'{header[c]}'" for c in rest if c not in chosen]
        rest = chosen
    if not rest:
        raise DataError(f"{where}: expected variables after '{date_name}', found none")
    decimal = options.decimal or _decimal(text, header, body[rest])
    numeric = [c for c in rest if _numbers(body[c], decimal)[1].all()]
    kept = [c for c in numeric if not _is_boolean(body[c])]
    return _Layout(
        tuple(header),
        tuple(dates),
        date_name,
        tuple(header[c] for c in rest),
        tuple(rest),
        frozenset(range(len(header))) - frozenset(kept),
        decimal,
        tuple(left_out),
    )


def _text_table(text: CsvText, **arguments: object) -> pd.DataFrame:
    """Header and rows as text, without spaces around cells. Raises: DataError."""
    try:
        table = _read(text, body=False, dtype=str, **arguments)
    except UnicodeDecodeError:
        raise not_utf8(text.path, text.content) from None
    except (ValueError, OverflowError) as error:  # ParserError and EmptyDataError among them
        raise _no_table(text, error) from None
    return table.fillna("").apply(lambda cells: cells.str.strip())


def _no_table(text: CsvText, error: Exception) -> DataError:
    """The parser's error, with the line numbers of the file."""
    said = str(error).strip().removeprefix("Error tokenizing data. C error: ")
    before = text.header_line - 1
    said = re.sub(r"line (\d+)", lambda m: f"line {int(m[1]) + before}", said)
    return DataError(
        f"{text.path}: not a CSV table: {said}; it was divided at {text.separator!r} (--separator)"
    )


def _is_data(header: list[str], body: pd.DataFrame) -> bool:
    """Whether the first line is a row like those below it."""
    first = pd.Series([name for name in header if name])
    if first.empty:
        return False
    number = pd.to_numeric(first.str.replace(",", "."), errors="coerce").notna()
    if number.all():
        return True
    dated = [c for c in range(len(header)) if looks_like_dates("date", pd.Series([header[c]]))]
    return len(dated) + int(number.sum()) >= len(first) and bool(dated)


def _is_index(header: list[str], body: pd.DataFrame) -> bool:
    """Whether the first column numbers the rows, as pandas and R write it."""
    if header[0] and not re.fullmatch(r"Unnamed: 0(\.\d+)?|index", header[0]):
        return False
    numbers = pd.to_numeric(body[0], errors="coerce").to_numpy(dtype=np.float64)
    if numbers[0] not in (0, 1) or not np.isfinite(numbers).all():
        return False
    with np.errstate(over="ignore"):
        steps = np.diff(numbers)
    # Whoever took a part of the rows left gaps.
    return bool((steps >= 1).all() and len(header) > 1)


def _date_columns(
    text: CsvText, header: list[str], body: pd.DataFrame, index: list[int], options: CsvOptions
) -> tuple[list[int], str]:
    """Positions and name. Raises: DataError."""
    wanted = options.date_column
    if wanted is not None:
        parts = [wanted] if wanted in header else names(wanted)
        chosen = _chosen(f"{text.path}: row {text.header_line}", header, range(len(header)), parts)
        return chosen, " ".join(parts)
    candidates = [c for c in range(len(header)) if c not in index]
    for c in candidates:
        if looks_like_dates(header[c], body[c]):
            return [c], header[c] or "date"
    # Else the message is of the cell.
    for c in candidates:
        if header[c].lower() == "date":
            return [c], header[c]
    raise DataError(
        f"{text.path}: row {text.header_line}: none of the columns {_shown(header)} has dates such "
        "as 2016-07-01 00:00:00; name one with --date-column, and its format with --date-format"
    )


def _chosen(where: str, header: list[str], among: Sequence[int], wanted: list[str]) -> list[int]:
    """Positions of names. Raises: DataError (not there, or there twice)."""
    chosen = []
    for name in wanted:
        found = [c for c in among if header[c] == name]
        if len(found) != 1:
            problem = f"is there {len(found)} times" if found else "is not there"
            raise DataError(
                f"{where}: column '{name}' {problem}, expected among "
                f"{_shown([header[c] for c in among])}"
            )
        if found[0] in chosen:
            raise DataError(f"{where}: column '{name}' is asked for twice")
        chosen += found
    return chosen


def _require_names(text: CsvText, header: list[str], positions: list[int]) -> None:
    seen: set[str] = set()
    for c in positions:
        where = f"{text.path}: row {text.header_line}, column {c + 1}"
        if not header[c]:
            raise DataError(f"{where}: the variable has no name")
        if header[c] in seen:
            raise DataError(f"{where}: '{header[c]}' is named twice")
        seen.add(header[c])


def _decimal(text: CsvText, header: list[str], body: pd.DataFrame) -> str:
    """The mark of fractions. Raises: DataError (thousands or fractions, or both marks)."""
    cells = body.stack()
    marked = {mark: cells[cells.str.fullmatch(_FRACTION[mark])] for mark in ".,"}
    if len(marked["."]) and len(marked[","]):
        raise DataError(
            f"{text.path}: found {marked['.'].iloc[0]!r} and {marked[','].iloc[0]!r}, expected one "
            "decimal mark; name it with --decimal"
        )
    mark = "," if len(marked[","]) else "."
    # The point is the rule where commas separate.
    doubtful = mark == "," or text.separator != ","
    if doubtful and len(marked[mark]) and marked[mark].str.fullmatch(_AS_THOUSANDS[mark]).all():
        raise DataError(
            f"{text.path}: numbers such as {marked[mark].iloc[0]} may have a fraction or "
            f"thousands; say which mark fractions have with --decimal"
        )
    return mark


# --- cells --------------------------------------------------------------------------------------


def _cells(
    text: CsvText, layout: _Layout, options: CsvOptions
) -> tuple[np.ndarray, pd.Series, np.ndarray]:
    """([T] line numbers, [T] cells of dates, [T,V] values, NaN where one is missing).

    Rows with nothing in them are left out. Raises: DataError (a cell that is no number).
    """
    date_cells, values = _fast_cells(text, layout) or _slow_cells(text, layout)
    rows = np.arange(len(values)) + text.header_line + 1
    kept = (date_cells != "").to_numpy() | np.isfinite(values).any(axis=1)
    infinite = np.argwhere(np.isinf(values))
    if len(infinite):
        row, v = infinite[0]
        raise _bad_cell(
            text, layout, rows[row], v, str(values[row, v]), int((infinite[:, 1] == v).sum())
        )
    return rows[kept], date_cells[kept].reset_index(drop=True), values[kept]


def _fast_cells(text: CsvText, layout: _Layout) -> tuple[pd.Series, np.ndarray] | None:
    """By the parser's own numbers; None where it meets what needs a closer look."""
    width = range(len(layout.header))
    if layout.as_text & set(layout.positions):
        return None
    marks = [written for mark in MISSING for written in (mark, mark.upper(), mark.title())]
    try:
        table = _read(
            text,
            body=True,
            dtype={c: str if c in layout.as_text else np.float64 for c in width},
            decimal=layout.decimal,
            na_values=[*marks, "NaN"],
        )
    except (ValueError, OverflowError, TypeError):
        return None
    if table.shape[1] != len(layout.header):
        return None
    values = table[list(layout.positions)].to_numpy(dtype=np.float64)
    return _joined(table.fillna(dict.fromkeys(layout.dates, "")), layout), values


def _slow_cells(text: CsvText, layout: _Layout) -> tuple[pd.Series, np.ndarray]:
    """By way of text; finds booleans, and names what is no number. Raises: DataError."""
    dates, parts, first = [], [], text.header_line
    booleans = [_is_boolean(cells) for cells in _boolean_columns(text, layout)]
    try:
        chunks = _read(text, body=False, dtype=str, chunksize=_CHUNK_ROWS)
        for chunk in chunks:
            table = chunk.fillna("").apply(lambda cells: cells.str.strip())
            if first == text.header_line:
                table = table.iloc[1:]
                first += 1
            dates.append(_joined(table, layout))
            part = np.empty((len(table), len(layout.positions)))
            for v, c in enumerate(layout.positions):
                part[:, v], good = _numbers(table[c], layout.decimal, booleans[v])
                if not good.all():
                    row = int(np.argmin(good))
                    raise _bad_cell(
                        text, layout, first + row, v, table[c].iloc[row], int((~good).sum())
                    )
            parts.append(part)
            first += len(table)
    except UnicodeDecodeError:
        raise not_utf8(text.path, text.content) from None
    except DataError:
        raise
    except (ValueError, OverflowError) as error:
        raise _no_table(text, error) from None
    return pd.concat(dates, ignore_index=True), np.concatenate(parts)


def _boolean_columns(text: CsvText, layout: _Layout) -> list[pd.Series]:
    body = _text_table(text, nrows=_SAMPLE_ROWS + 1).iloc[1:]
    return [body[c] for c in layout.positions]


def _joined(table: pd.DataFrame, layout: _Layout) -> pd.Series:
    """The cells of dates."""
    first, *others = (table[c].astype(str).str.strip() for c in layout.dates)
    for other in others:
        first = (first + " " + other).str.strip()
    return first


def _is_boolean(cells: pd.Series) -> bool:
    written = cells.str.lower()
    written = written[~written.isin(MISSING)]
    return len(written) > 0 and bool(written.isin(_BOOLEANS).all())


def _numbers(
    cells: pd.Series, decimal: str, boolean: bool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """[T] values, NaN where one is missing; [T] whether a cell is finite or missing."""
    missing = cells.str.lower().isin(MISSING).to_numpy(dtype=bool)
    if boolean or (boolean is None and _is_boolean(cells)):
        values = cells.str.lower().map(_BOOLEANS).to_numpy(dtype=np.float64)
    else:
        if decimal == ",":
            cells = cells.mask(cells.str.contains(".", regex=False), "no number")
            cells = cells.str.replace(",", ".", regex=False)
        values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
    values = np.where(missing, np.nan, values)
    return values, missing | np.isfinite(values)


def _bad_cell(text: CsvText, layout: _Layout, row: int, v: int, cell: str, count: int) -> DataError:
    hint = ""
    if re.fullmatch(_FRACTION["," if layout.decimal == "." else "."], cell):
        hint = "; --decimal names the decimal mark"
    elif re.match(r"\d{1,2}[:.]\d\d\b", cell):
        hint = "; --date-column DATE,TIME joins two columns to a date"
    elif not re.search(r"\d|inf", cell):
        hint = "; --columns chooses among the columns"
    return DataError(
        f"{text.path}: row {row}, column '{layout.variables[v]}': expected a finite number, found "
        f"{cell!r} ({count} such cells in this column){hint}"
    )


# --- dates --------------------------------------------------------------------------------------


def _require_rising(
    text: CsvText, layout: _Layout, stamps: pd.DatetimeIndex, cells: pd.Series, rows: np.ndarray
) -> None:
    """Raises: DataError (too few rows, or one that is not later than the one before)."""
    if len(stamps) < 2:
        raise DataError(
            f"{text.path}: expected at least 2 rows after the header, found {len(stamps)}"
        )
    steps = np.diff(stamps.to_numpy()).astype(np.int64)
    times = [name for name in layout.header if re.search(r"time|hour|zeit|uhr", name, re.I)]
    remedies = []
    if times and times[0] != layout.date_name:
        remedies.append(f"--date-column '{layout.date_name},{times[0]}' joins two columns")
    remedies.append("--time-zone reads local times, of which clocks set back show an hour twice")
    for found, problem in (
        (steps == 0, f"the same date as the row before; {'; '.join(remedies)}"),
        (steps < 0, "earlier than the row before; sort the rows by date"),
    ):
        at = np.flatnonzero(found)
        if at.size:
            raise DataError(_at_step(text.path, layout, cells, rows, int(at[0]), problem))


def _at_step(
    path: Path, layout: _Layout, cells: pd.Series, rows: np.ndarray, row: int, problem: str
) -> str:
    return (
        f"{path}: row {rows[row + 1]}, column '{layout.date_name}': {cells.iloc[row + 1]} after "
        f"{cells.iloc[row]}: {problem}"
    )


def _regular(
    path: Path,
    layout: _Layout,
    stamps: pd.DatetimeIndex,
    values: np.ndarray,
    cells: pd.Series,
    rows: np.ndarray,
    options: CsvOptions,
) -> tuple[pd.DatetimeIndex, np.ndarray, str, list[str]]:
    """(stamps, values, frequency, what was mended), without a gap. Raises: DataError."""
    mended: list[str] = []
    if options.resample:
        before = len(stamps)
        if lacking := int(np.isnan(values).sum()):
            mended.append(f"{lacking} missing cells left out of means")
        stamps, values = time_grid.resampled(str(path), stamps, values, options.resample)
        mended.append(f"resampled {before} rows to {len(stamps)}")
        if len(stamps) < 2:
            raise DataError(f"{path}: --resample {options.resample}: leaves {len(stamps)} rows")
        numbers = None
    else:
        numbers = rows
    frequency = time_grid.frequency_of(stamps)
    absent = 0
    if frequency is None:
        stamps, values, absent = _with_absent_rows(
            path, layout, stamps, values, cells, rows, options
        )
        numbers = None
        frequency = time_grid.frequency_of(stamps) or ""
    missing = np.isnan(values)
    if missing.any():
        values = _mended(path, layout, stamps, values, missing, numbers, options)
        longest = time_grid.longest_run(missing)[0]
        mended.append(str(time_grid.Mended(int(missing.sum()), absent, longest)))
    return stamps, values, frequency, mended


def _with_absent_rows(
    path: Path,
    layout: _Layout,
    stamps: pd.DatetimeIndex,
    values: np.ndarray,
    cells: pd.Series,
    rows: np.ndarray,
    options: CsvOptions,
) -> tuple[pd.DatetimeIndex, np.ndarray, int]:
    """With rows of NaN where the frequency has one and the file has none. Raises: DataError."""
    grid = time_grid.grid_with_gaps(stamps)
    steps = np.diff(stamps.to_numpy())
    usual = pd.Timedelta(np.median(steps.astype(np.int64)).astype(np.int64), stamps.unit)
    if grid is None:
        row = int(np.argmax(steps != usual.to_timedelta64()))
        nearest = _readable_step(usual)
        problem = (
            f"expected one step of {_in_seconds(usual)} after the row before; the steps are "
            f"irregular: --resample {nearest} takes means"
        )
        raise DataError(_at_step(path, layout, cells, rows, row, problem))
    absent = len(grid) - len(stamps)
    if options.fill_method is None:
        position = grid.get_indexer(stamps)
        gaps = np.flatnonzero(np.diff(position) > 1)
        where = ", ".join(str(rows[g + 1]) for g in gaps[:_SHOWN])
        problem = (
            f"expected one step of {_in_seconds(usual)} after the row before; missing rows: "
            f"{absent}; gaps before: row {where}{_more(len(gaps))}; {_REMEDY}"
        )
        raise DataError(_at_step(path, layout, cells, rows, int(gaps[0]), problem))
    time_grid.require_cells(str(path), len(grid), values.shape[1], f"--fill {options.fill}")
    table = np.full((len(grid), values.shape[1]), np.nan)
    table[grid.get_indexer(stamps)] = values
    return grid, table, absent


_REMEDY = "--fill interpolate or --fill previous mends them"


def _mended(
    path: Path,
    layout: _Layout,
    stamps: pd.DatetimeIndex,
    values: np.ndarray,
    missing: np.ndarray,
    rows: np.ndarray | None,
    options: CsvOptions,
) -> np.ndarray:
    """`values` without NaN. Raises: DataError (no --fill, a run beyond its limit, or at an end)."""

    def at(row: int, v: int) -> str:
        place = f"row {rows[row]}" if rows is not None else f"{stamps[row]}"
        return f"{path}: {place}, column '{layout.variables[v]}'"

    by_row = missing.any(axis=1)
    column = int(np.argmax(missing.any(axis=0)))
    if options.fill_method is None:
        raise DataError(
            f"{at(int(np.argmax(missing[:, column])), column)}: expected a finite number, found "
            f"nothing or NaN; {missing.sum()} cells are missing, in {by_row.sum()} rows; {_REMEDY}"
        )
    method, limit = options.fill_method
    longest, row, v = time_grid.longest_run(missing)
    if limit is not None and longest > limit:
        raise DataError(
            f"{at(row, v)}: {longest} rows in a row are missing, --fill {options.fill} mends at "
            f"most {limit}"
        )
    mended = time_grid.filled(values, method)
    if np.isnan(mended).any():
        row, v = (int(i) for i in np.argwhere(np.isnan(mended))[0])
        side = "before" if np.isnan(mended[: row + 1, v]).all() else "after"
        remedy = "" if side == "before" else ", or --fill previous"
        raise DataError(
            f"{at(row, v)}: missing, with no value {side} it: cut such rows off{remedy}, or leave "
            "the column out with --columns"
        )
    return mended


def _in_seconds(step: pd.Timedelta) -> str:
    seconds = step.total_seconds()
    return f"{seconds:g} seconds" if seconds < 1 else f"{seconds:.0f} seconds"


def _readable_step(step: pd.Timedelta) -> str:
    """A common step near to one, as an alias."""
    seconds = {"1s": 1, "10s": 10, "1min": 60, "5min": 300, "15min": 900, "1h": 3600, "D": 86400}
    seconds |= {"7D": 604_800, "MS": 2_630_000, "QS": 7_890_000, "YS": 31_560_000}
    return min(seconds, key=lambda alias: abs(np.log(seconds[alias] / step.total_seconds())))


def _to_numpy(stamps: pd.DatetimeIndex) -> np.ndarray:
    """[T] datetime64 of whole seconds, or as fine as they are."""
    seconds = stamps.to_numpy(dtype="datetime64[s]")
    return seconds if (seconds == stamps.to_numpy()).all() else stamps.to_numpy()


# --- what is said -------------------------------------------------------------------------------


def _in_words(
    text: CsvText,
    layout: _Layout,
    dates: Dates,
    stamps: pd.DatetimeIndex,
    values: np.ndarray,
    frequency: str,
    mended: list[str],
) -> str:
    """One line: what was taken."""
    said = [
        f"{len(stamps)} rows from {stamps[0]} to {stamps[-1]}, frequency {frequency}",
        f"dates '{layout.date_name}' as {dates.format}" + (" in UTC" if dates.utc else ""),
        f"{len(layout.variables)} variables {_shown(layout.variables)}",
        f"separator {text.separator!r}, decimal {layout.decimal!r}",
    ]
    if text.encoding != "utf-8":
        said.append(f"encoding {text.encoding}")
    if layout.left_out:
        said.append(f"left out: {', '.join(layout.left_out[:_SHOWN])}{_more(len(layout.left_out))}")
    constant = [layout.variables[v] for v in np.flatnonzero(np.ptp(values, axis=0) == 0)]
    if constant:
        said.append(f"constant: {_shown(constant)}")
    return f"{text.path}: {'; '.join([*said, *mended])}"


def _shown(columns: Sequence[str]) -> str:
    return ", ".join(columns[:_SHOWN]) + _more(len(columns))


def _quoted(cells: Sequence[str]) -> str:
    return ", ".join(map(repr, cells[:_SHOWN])) + _more(len(cells))


def _more(count: int) -> str:
    return f" and {count - _SHOWN} more" if count > _SHOWN else ""
