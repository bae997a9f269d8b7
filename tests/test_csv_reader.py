"""The reader of CSV files: what people have, what is refused and with which remedy, and fuzz."""

import bz2
import gzip
import lzma
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.data import (
    CsvOptions,
    DataError,
    Series,
    csv_text,
    load_dataset,
    read_csv_series,
    sample,
)
from model.data import csv_reader as reader
from model.train_forecast import settings_of

HOURS = [f"2020-01-01 {hour:02}:00:00" for hour in range(24)]
N = 40
VALUES = np.round(np.random.default_rng(0).normal(20, 3, (N, 2)), 2)


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "series.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def rows(values: list[str]) -> str:
    return "".join(f"{date},{value}\n" for date, value in zip(HOURS, values, strict=False))


def table(index: pd.Index, name: str = "date") -> pd.DataFrame:
    return pd.DataFrame(VALUES, columns=["a", "b"], index=index.rename(name))


def stamps(frequency: str, start: str = "2024-01-15", **arguments: object) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=N, freq=frequency, **arguments)


def read(tmp_path: Path, content: str | bytes, **options: str) -> Series:
    return read_csv_series(write(tmp_path, content), options=CsvOptions(**options))


# --- what people have ---------------------------------------------------------------------------

DAYS, HOURLY = stamps("D"), stamps("h")
AUTUMN = stamps("h", "2024-10-26 20:00", tz="UTC").tz_convert("Europe/Berlin")
SPRING = stamps("h", "2024-03-30 20:00", tz="UTC").tz_convert("Europe/Berlin")
KINDS = {
    "Excel in German": (
        table(HOURLY.strftime("%d.%m.%Y %H:%M"), "Datum").to_csv(sep=";", decimal=","),
        {},
        HOURLY,
        "frequency h; dates 'Datum' as %d.%m.%Y %H:%M; 2 variables a, b; "
        "separator ';', decimal ','",
    ),
    "Excel in English": (
        table(DAYS.strftime("%m/%d/%Y %I:%M %p"), "Date").to_csv(),
        {},
        DAYS,
        "frequency D; dates 'Date' as %m/%d/%Y %I:%M %p",
    ),
    "index of pandas": (
        table(HOURLY).reset_index().to_csv(),
        {},
        HOURLY,
        "left out: index",
    ),
    "dates as index of pandas": (table(HOURLY, None).to_csv(), {}, HOURLY, "dates 'date' as"),
    "tabs": (table(HOURLY).to_csv(sep="\t"), {}, HOURLY, r"separator '\t'"),
    "epoch seconds": (
        table(HOURLY.as_unit("s").astype(int), "ts").to_csv(),
        {},
        HOURLY,
        "dates 'ts' as epoch-s in UTC",
    ),
    "epoch milliseconds": (
        table(HOURLY.as_unit("ms").astype(int), "time").to_csv(),
        {},
        HOURLY,
        "dates 'time' as epoch-ms in UTC",
    ),
    "epoch by options": (
        table(HOURLY.as_unit("s").astype(int), "k").to_csv(),
        {"date_column": "k", "date_format": "epoch-s"},
        HOURLY,
        "dates 'k' as epoch-s",
    ),
    "compact dates": (table(DAYS.strftime("%Y%m%d")).to_csv(), {}, DAYS, "as %Y%m%d;"),
    "names of months": (table(DAYS.strftime("%d-%b-%Y")).to_csv(), {}, DAYS, "as %d-%b-%Y;"),
    "ISO with a zone": (
        table(HOURLY.tz_localize("Etc/GMT-2")).to_csv(),
        {},
        HOURLY - pd.Timedelta(hours=2),
        "as ISO8601 in UTC",
    ),
    "zones that change": (table(AUTUMN).to_csv(), {}, AUTUMN.tz_convert(None), "in UTC"),
    "an hour twice": (
        table(AUTUMN.tz_localize(None)).to_csv(),
        {"time_zone": "Europe/Berlin"},
        AUTUMN.tz_convert(None),
        "in UTC",
    ),
    "an hour left out": (
        table(SPRING.tz_localize(None)).to_csv(),
        {"time_zone": "Europe/Berlin"},
        SPRING.tz_convert(None),
        "in UTC",
    ),
    "BOM": (b"\xef\xbb\xbf" + table(HOURLY).to_csv().encode(), {}, HOURLY, "dates 'date'"),
    "UTF-16": (table(HOURLY).to_csv(sep="\t").encode("utf-16"), {}, HOURLY, "encoding utf-16"),
    "Windows": (
        table(HOURLY).rename(columns={"a": "°C"}).to_csv().encode("cp1252"),
        {"encoding": "cp1252"},
        HOURLY,
        "variables °C, b; .*encoding cp1252",
    ),
    "lines of CR LF": (table(HOURLY).to_csv(lineterminator="\r\n"), {}, HOURLY, "40 rows"),
    "sub-second": (table(stamps("250ms")).to_csv(), {}, stamps("250ms"), "frequency 250ms"),
    "comments and empty lines": (
        "# station 7\n#\n" + table(HOURLY).to_csv() + "# end\n\n,,\n\n",
        {},
        HOURLY,
        "40 rows",
    ),
    "date and time apart": (
        table(HOURLY.strftime("%d/%m/%Y;%H:%M:%S"), "Date;Time").to_csv(sep=";").replace('"', ""),
        {"date_column": "Date,Time"},
        HOURLY,
        "dates 'Date Time' as %d/%m/%Y %H:%M:%S",
    ),
    "columns by name": (
        table(HOURLY).assign(station="KJFK")[["station", "a", "b"]].to_csv(),
        {"columns": "a,b"},
        HOURLY,
        "left out: 'station'",
    ),
    **{
        frequency: (
            table(stamps(frequency)).to_csv(),
            {},
            stamps(frequency),
            f"frequency {frequency}; dates 'date' as ISO8601; 2",
        )
        for frequency in ("B", "MS", "ME", "BME", "QE-DEC", "YS-JAN", "7D", "15min")
    },
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("error")
def test_a_file_as_people_have_it(tmp_path, kind):
    content, options, expected, said = KINDS[kind]
    series = read(tmp_path, content, **options)
    np.testing.assert_array_equal(series.values, VALUES)
    np.testing.assert_array_equal(series.dates, expected.to_numpy())
    path = str(tmp_path / "series.csv")
    assert series.taken.startswith(f"{path}: {N} rows from ") and "\n" not in series.taken
    for part in said.split(".*"):
        assert part in series.taken


def test_reads_values_dates_and_names(tmp_path):
    series = read(tmp_path, "date,a,b\n" + rows(["1,-2.5", "3,4e-3", "0,7"]))
    assert series.columns == ("a", "b")
    assert series.dates[1] == np.datetime64("2020-01-01T01:00:00")
    assert series.dates.dtype == "datetime64[s]"
    assert series.step == np.timedelta64(1, "h") and series.frequency == "h"
    np.testing.assert_array_equal(series.values, [[1, -2.5], [3, 0.004], [0, 7]])


def test_reads_the_slashed_dates_of_the_exchange_rate_set(tmp_path):
    series = read(tmp_path, "date,a\n1990/1/1 0:00,1\n1990/1/2 0:00,2\n1990/1/3 0:00,3\n")
    assert series.step == np.timedelta64(1, "D")


def test_boolean_and_constant_columns(tmp_path):
    text = table(HOURLY).assign(on=[True, False] * 20, c=7).to_csv()
    series = read(tmp_path, text)
    np.testing.assert_array_equal(series.values[:, 2], [1, 0] * 20)
    assert (series.values[:, 3] == 7).all() and series.taken.endswith("; constant: c")


def test_the_columns_come_in_the_order_asked_for(tmp_path):
    series = read(tmp_path, table(HOURLY).to_csv(), columns="b,a")
    assert series.columns == ("b", "a")
    np.testing.assert_array_equal(series.values, VALUES[:, ::-1])


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_compressed_files(tmp_path, module):
    suffix = {gzip: ".gz", bz2: ".bz2", lzma: ".xz"}[module]
    path = tmp_path / f"series.csv{suffix}"
    text = ("date,a\n" + rows(["1", "2.5"])).encode()
    path.write_bytes(module.compress(text))
    np.testing.assert_array_equal(read_csv_series(path).values, [[1], [2.5]])
    for damaged in (text, module.compress(text)[:-9], module.compress(text)[:20] + b"x" * 20):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"series\.csv\{suffix}: cannot be decompressed: ."):
            read_csv_series(path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"series\.csv\{suffix}"):
        read_csv_series(path)


# --- gaps ---------------------------------------------------------------------------------------


def with_gaps(frequency: str, absent: list[int]) -> str:
    return table(stamps(frequency)).drop(index=stamps(frequency)[absent]).to_csv()


@pytest.mark.parametrize("frequency", ["h", "D", "B", "MS", "ME", "250ms"])
def test_rows_that_are_missing_are_mended_on_the_grid(tmp_path, frequency):
    text = with_gaps(frequency, [13, 14, 30])
    with pytest.raises(DataError, match=r"missing rows: 3; gaps before: row 15, 30; --fill"):
        read(tmp_path, text)
    series = read(tmp_path, text, fill="interpolate")
    np.testing.assert_array_equal(series.dates, stamps(frequency).to_numpy())
    expected = VALUES.copy()
    expected[13:15] = VALUES[12] + (VALUES[15] - VALUES[12]) * [[1 / 3], [2 / 3]]
    expected[30] = (VALUES[29] + VALUES[31]) / 2
    np.testing.assert_allclose(series.values, expected)
    assert series.frequency == frequency
    assert "filled 6 cells, 3 whole rows, the longest run 2" in series.taken


def test_cells_that_are_missing_are_mended(tmp_path):
    values = VALUES.copy()
    values[3:5, 1] = values[10, 0] = np.nan
    for written in ("", "NaN", "NA", "n/a", "?", "-", "NULL", "None"):
        text = pd.DataFrame(values, HOURLY, ["a", "b"]).to_csv(na_rep=written)
        with pytest.raises(
            DataError, match=r"row 12, column 'a': .* found nothing.* 3 cells .* 3 rows; --fill"
        ):
            read(tmp_path, text)
        series = read(tmp_path, text, fill="previous")
        expected = VALUES.copy()
        expected[3:5, 1], expected[10, 0] = VALUES[2, 1], VALUES[9, 0]
        np.testing.assert_array_equal(series.values, expected)
    assert "filled 3 cells, 0 whole rows, the longest run 2" in series.taken


@given(
    absent=st.sets(st.integers(1, N - 2), max_size=20),
    cells=st.sets(st.tuples(st.integers(0, N - 1), st.integers(0, 1)), max_size=20),
    fill=st.sampled_from(["interpolate", "previous", "3", "previous:2"]),
)
def test_a_mended_table_is_whole_and_keeps_what_was_there(tmp_path_factory, absent, cells, fill):
    values = VALUES.copy()
    for row, v in cells:
        values[row, v] = np.nan
    frame = pd.DataFrame(values, HOURLY, ["a", "b"]).drop(index=HOURLY[sorted(absent)])
    path = tmp_path_factory.mktemp("mend")
    try:
        series = read(path, frame.to_csv(), fill=fill)
    except DataError as error:
        assert any(word in str(error) for word in ("no value", "at most", "irregular")), error
        return
    assert len(series.values) == N and np.isfinite(series.values).all()
    values[sorted(absent)] = np.nan
    there = ~np.isnan(values)
    np.testing.assert_array_equal(series.values[there], values[there])


@pytest.mark.parametrize(
    ("fill", "row", "message"),
    [
        ("1", 5, "column 'a': 2 rows in a row are missing, --fill 1 mends at most 1"),
        ("previous", 0, "row 2, column 'a': missing, with no value before it"),
        ("interpolate", N - 2, "row 40, .* no value after it: cut such rows off, or --fill prev"),
    ],
)
def test_what_cannot_be_mended_is_refused(tmp_path, fill, row, message):
    values = VALUES.copy()
    values[row : row + 2, 0] = np.nan
    with pytest.raises(DataError, match=message):
        read(tmp_path, pd.DataFrame(values, HOURLY, ["a", "b"]).to_csv(), fill=fill)


def test_irregular_stamps_are_resampled(tmp_path):
    text = "date,a\n2024-01-01 00:00:10,1\n2024-01-01 00:03:00,3\n2024-01-01 00:07:00,5\n"
    with pytest.raises(DataError, match="the steps are irregular: --resample 5min takes means"):
        read(tmp_path, text)
    series = read(tmp_path, text, resample="5min")
    np.testing.assert_array_equal(series.values, [[2], [5]])
    assert series.step == np.timedelta64(5, "m")
    assert "resampled 3 rows to 2" in series.taken
    with pytest.raises(DataError, match=r"column 'a': .* 5 cells are missing"):
        read(tmp_path, text, resample="1min")
    assert len(read(tmp_path, text, resample="1min", fill="previous").values) == 8
    with pytest.raises(DataError, match=r"--resample 1ns: 4\S+ rows of 1 columns, expected at mo"):
        read(tmp_path, text, resample="1ns")


# --- refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (" \n\n# only\n", "the file is empty"),
        ("date,a\n", "at least 2 rows after the header, found 0"),
        ("date,a\n2024-01-01,1\n,\n", "at least 2 rows after the header, found 1"),
        ("a,b\n1,2\n3,4\n", "row 1: none of the columns a, b has dates .*--date-column"),
        (rows(["1", "2", "3"]), "row 1: expected a header that names the columns, found '2020"),
        ("date\n" + "\n".join(HOURS[:3]), "expected variables after 'date', found none"),
        ("date,a,a\n" + rows(["1,1", "2,2"]), "row 1, column 3: 'a' is named twice"),
        ("date,a,\n" + rows(["1,1", "2,2"]), "row 1, column 3: the variable has no name"),
        ("date,a,b\n" + rows(["1,1", "2,x7"]), "row 3, column 'b': .* found 'x7' .1 such"),
        ("#\ndate,a,b\n" + rows(["1,1", "2,x7"]), "row 4, column 'b': .* found 'x7'"),
        ("date,a,b\n" + rows(["1,1", ",2"]), "row 3, column 'a': .* found nothing"),
        ("date,a,b\n" + rows(["1,1", "2", "3,3"]), "row 3, column 'b': .* found nothing"),
        ("date,a,b\n" + rows(["1", "2,2", "3,3"]), "row 2, column 'b': .* found nothing"),
        ("date,a\n" + rows(["1", "nan"]), "row 3, column 'a': .* found nothing or NaN"),
        ("date,a\n" + rows(["1", "inf"]), "row 3, column 'a': .* found 'inf'"),
        ("date,a\n" + rows(["1", "2,3"]), "Expected 2 fields in line 3, saw 3"),
        ("#\n\ndate,a\n" + rows(["1", "2,3"]), "Expected 2 fields in line 5, saw 3"),
        (f"date,a\n{HOURS[0]},1\nsoon,2\n", "row 3, column 'date': .* found 'soon'"),
        ("date,a\nsoon,1\nlater,2\n", "row 2, column 'date': .* found 'soon'"),
        (f"date,a\n{HOURS[0]},1\n,2\n", "row 3, column 'date': .* found nothing"),
        (f"date,a\n{HOURS[0]},1\n{HOURS[0]},2\n", "row 3, .* the same date .*--time-zone"),
        (f"date,a\n{HOURS[1]},1\n{HOURS[0]},2\n", "row 3, column 'date': .* earlier"),
        (
            "date,a\n" + "".join(f"{HOURS[h]},1\n" for h in (0, 1, 2, 4, 5)),
            "row 5, column 'date': .* expected one step of 3600 seconds",
        ),
        (
            "date,a\n2020-01-01 00:00:00+00:00,1\n2020-01-01 01:00:00,2\n",
            "row 3, column 'date': .* no time zone, as other rows have; write all dates in UTC",
        ),
        (
            "date,a\n01/02/2024,1\n02/02/2024,2\n03/02/2024,3\n",
            "01/02/2024 is 2024-02-01 as %d/%m/%Y and 2024-01-02 as %m/%d/%Y; .*--date-format",
        ),
        (
            "date,a\n13/01/24,1\n14/01/24,2\n15/01/24,3\n",
            "2024-01-13 as %d/%m/%y and 2013-01-24 as %y/%m/%d; .*--date-format",
        ),
        (
            "date,a\n2024010100,1\n2024010101,2\n2024010102,3\n",
            "2024-01-01 as %Y%m%d%H and 2034-02-20 as epoch-s; .*--date-format",
        ),
        ("date;a\n2024-01-01;1,100\n2024-01-02;1,200\n", "such as 1,100 .*--decimal"),
        ("date;a\n2024-01-01;1.100\n2024-01-02;1.200\n", "such as 1.100 .*--decimal"),
        ("date;a\n2024-01-01;1,10\n2024-01-02;1.20\n", "'1.20' and '1,10', .*--decimal"),
        ("date;a,b\n2024-01-01;1,2\n2024-01-02;1,2\n", "',' and ';' both divide .*--separator"),
        ("date,t\n2024-01-01,01:00\n2024-01-01,02:00\n", "'01:00' .*--date-column DATE,TIME"),
        ("date,s\n2024-01-01,KJFK\n2024-01-02,KJFK\n", "found 'KJFK' .2 such.*--columns chooses"),
        ('date,"a\n2024-01-01,1\n2024-01-02,2\n', "row 1: a quote is not closed in the header"),
    ],
)
def test_bad_csv_is_named_by_file_row_and_column(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=message) as error:
        read_csv_series(path)
    assert str(path) in str(error.value)


def test_what_the_options_decide_is_read(tmp_path):
    text = "date,a\n01/02/2024,1\n02/02/2024,2\n03/02/2024,3\n"
    assert read(tmp_path, text, date_format="%d/%m/%Y").dates[1] == np.datetime64("2024-02-02")
    # No alias says the second of each month.
    with pytest.raises(DataError, match="the steps are irregular: --resample MS takes means"):
        read(tmp_path, text, date_format="%m/%d/%Y")
    series = read(tmp_path, text, date_format="%m/%d/%Y", resample="MS")
    assert series.frequency == "MS" and series.dates[1] == np.datetime64("2024-02-01")
    text = "date;a\n2024-01-01;1,100\n2024-01-02;1,200\n"
    np.testing.assert_array_equal(read(tmp_path, text, decimal=",").values, [[1.1], [1.2]])
    with pytest.raises(DataError, match="row 2, column 'a': expected a finite number, found '1,1"):
        read(tmp_path, text, decimal=".")
    text = "date;a,b\n2024-01-01;1\n2024-01-02;2\n"
    assert read(tmp_path, text, separator=";").columns == ("a,b",)
    with pytest.raises(DataError, match="column 'c' is not there, expected among a,b"):
        read(tmp_path, text, columns="c")
    assert read(tmp_path, text, columns='"a,b"').columns == ("a,b",)


def test_columns_that_differ_from_the_expected_are_an_error(tmp_path):
    path = write(tmp_path, "date,b,a\n" + rows(["1,1", "2,2"]))
    with pytest.raises(DataError, match="expected variables a,b, found b,a"):
        read_csv_series(path, ["a", "b"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(range(256)), "not a CSV table"),
        (b"PK\3\4and so on", "a zip archive or an Excel workbook; save it as CSV"),
        ("date,°C\n".encode("cp1252"), "row 1 holds the byte 0xb0, .*--encoding, such as cp1252"),
        (("date,a\n" + rows(["1", "2"])).encode("utf-16-le"), "row 1 holds a NUL.*--encoding"),
        (("date,a\n" + rows(["1", "3\0.5"])).encode(), "row 3 holds a NUL byte, expected text in"),
        (("date,a\n" + rows(["1", "2", "\0\0"])).encode(), "row 4 holds a NUL byte"),
    ],
)
def test_bytes_that_are_no_text_are_an_error(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=message):
        read_csv_series(path)


@pytest.mark.parametrize(
    "options",
    [
        {"separator": ";;"},
        {"separator": "1"},
        {"decimal": "'"},
        {"encoding": "klingon"},
        {"encoding": "hex"},
        {"time_zone": "Mars/Olympus"},
        {"time_zone": "../etc"},
        {"date_format": "dayfirst"},
        {"date_format": "%Q"},
        {"columns": "a,,b"},
        {"fill": "zero"},
        {"fill": "0"},
        {"resample": "often"},
        {"resample": "-5min"},
    ],
)
def test_an_option_that_cannot_be_is_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"^--{name.replace('_', '-')}: found "):
        CsvOptions(**options)


# --- limits -------------------------------------------------------------------------------------


def test_too_many_columns_are_refused_at_once(tmp_path):
    row = ",".join(["1"] * 100_000)
    path = write(tmp_path, f"date,{row}\n2024-01-01,{row}\n2024-01-02,{row}\n")
    start = time.process_time()
    with pytest.raises(DataError, match="row 1: 100,001 columns, expected at most 10,000"):
        read_csv_series(path)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_beyond_the_limit_is_refused_at_once(tmp_path, monkeypatch, packed):
    monkeypatch.setattr(csv_text, "MAX_BYTES", 1 << 20)
    path = tmp_path / ("series.csv.gz" if packed else "series.csv")
    content = b"date,a\n" + b"2024-01-01,1\n" * 90_000
    path.write_bytes(gzip.compress(content) if packed else content)
    monkeypatch.setattr(reader, "_layout", None)
    with pytest.raises(DataError, match="more than 1 MiB of text, which is the limit"):
        read_csv_series(path)


def test_a_large_file_and_one_that_needs_a_closer_look_give_the_same(tmp_path, monkeypatch):
    """Numbers by the parser, and by way of text in pieces."""
    path = write(tmp_path, table(HOURLY).to_csv())
    fast = read_csv_series(path)
    monkeypatch.setattr(reader, "_fast_cells", lambda *_: None)
    monkeypatch.setattr(reader, "_CHUNK_ROWS", 7)
    np.testing.assert_array_equal(read_csv_series(path).values, fast.values)


# --- fuzz ---------------------------------------------------------------------------------------

CELLS = st.sampled_from(
    """|1|-2.5|3,5|1.234,5|nan|inf|1e999|true|False|x|"|"a,b"|#|2024-01-01|01/02/2024|1.1.24|12:00
    |1700000000|1700000000000|20240101|2024-02-30|99999999999999999999|2024-01-01T00:00:00Z
    |Jan 1, 2024|9999-12-31|0001-01-01|2024-01-01 00:00:00.123456789+05:30| |\u0661|1_0|0x10|-
    """.replace("\n    ", "").split("|")
)
HEADERS = st.sampled_from(["date", "Date", "time", "ts", "a", "b", "", "Unnamed: 0", "x;y", "°C"])
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "date_column": st.sampled_from(["date", "a", "date,time", ""]),
        "date_format": st.sampled_from(["%d/%m/%Y", "epoch-s", "epoch-ns", "ISO8601", "%Y %j"]),
        "time_zone": st.sampled_from(["Europe/Berlin", "UTC"]),
        "columns": st.sampled_from(["a", "b,a", "°C"]),
        "separator": st.sampled_from([",", ";", "tab", "|"]),
        "decimal": st.sampled_from([".", ","]),
        "encoding": st.sampled_from(["cp1252", "utf-16", "ascii", "utf-7", "idna"]),
        "fill": st.sampled_from(["interpolate", "previous", "2", "previous:3"]),
        "resample": st.sampled_from(["5min", "D", "ME", "B", "1ns"]),
    },
)


def read_anything(folder: Path, content: bytes, options: dict[str, str]) -> None:
    """Either a series that is whole, or a DataError of one line with the name of the file."""
    path = write(folder, content)
    try:
        series = read_csv_series(path, options=CsvOptions(**options))
    except DataError as error:
        assert str(path) in str(error)
        return
    assert np.isfinite(series.values).all() and series.values.shape[1] == len(series.columns) > 0
    assert len(series.values) == len(series.dates) > 1
    assert (np.diff(series.dates) > np.timedelta64(0)).all() and series.frequency


@pytest.mark.filterwarnings("error")
@given(content=st.binary(max_size=200), options=OPTIONS)
def test_any_bytes_are_read_or_refused(tmp_path_factory, content, options):
    read_anything(tmp_path_factory.mktemp("bytes"), content, options)


@pytest.mark.filterwarnings("error")
@example(header=["date"], body=[["1"], ["\u0661"]], separator=",", end="\n", options={})
@given(
    header=st.lists(HEADERS, min_size=1, max_size=4),
    body=st.lists(st.lists(CELLS, max_size=4), max_size=6),
    separator=st.sampled_from([",", ";", "\t"]),
    end=st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    options=OPTIONS,
)
@example(header=["index"], body=[["inf"], ["inf"]], separator=",", end="\n", options={})
@example(header=["index"], body=[["1"], ["-1e308"], ["1e308"]], separator=",", end="\n", options={})
def test_any_table_is_read_or_refused(tmp_path_factory, header, body, separator, end, options):
    text = end.join(separator.join(row) for row in [header, *body])
    read_anything(tmp_path_factory.mktemp("table"), text.encode(), options)


@pytest.mark.filterwarnings("error")
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 2000), st.one_of(CELLS, st.text(max_size=3))), max_size=4
    ),
    kind=st.sampled_from(sorted(KINDS)),
)
def test_a_damaged_file_is_read_or_refused(tmp_path_factory, changes, kind):
    content, options, _, _ = KINDS[kind]
    content = content.encode() if isinstance(content, str) else content
    for position, written in changes:
        position %= len(content)
        content = content[:position] + written.encode() + content[position + 1 :]
    read_anything(tmp_path_factory.mktemp("damaged"), content, options)


# --- the commands -------------------------------------------------------------------------------


def csv_of_days(count: int) -> str:
    """As Excel in German writes it."""
    days = pd.date_range("2024-01-01", periods=count).strftime("%d.%m.%Y")
    values = np.random.default_rng(1).normal(size=(count, 2)).round(3)
    frame = pd.DataFrame(values, days.rename("Datum"), ["a", "b"])
    return frame.to_csv(sep=";", decimal=",")


def test_a_data_set_takes_the_options_and_says_what_was_taken(tmp_path, capsys):
    path = str(write(tmp_path, csv_of_days(40)))
    splits = load_dataset(path, 4, 2, options=CsvOptions(columns="b"))
    assert splits.columns == ("b",)
    assert re.fullmatch(r".*series\.csv: 40 rows .* left out: 'a'\n", capsys.readouterr().err)
    with pytest.raises(ValueError, match="'nyc_weather' is read as it is: options of CSV files go"):
        load_dataset("nyc_weather", 4, 2, options=CsvOptions(columns="b"))


def test_training_takes_the_options(tmp_path, capsys):
    model = ["--seq-len", "4", "--patch-len", "2", "--stride", "2"]
    path = write(tmp_path, csv_of_days(300))
    arguments = ["--out", "w.safetensors", "--data", str(path), "--forecast-len", "8", *model]
    one, two = (settings_of([*arguments, *more]) for more in (["--columns", "b"], []))
    assert (one["model"]["num_channels"], two["model"]["num_channels"]) == (1, 2)
    assert one["data"] != two["data"] and not capsys.readouterr().err
    with pytest.raises(ValueError, match="--fill: found 'zero', expected interpolate, previous or"):
        settings_of([*arguments, "--fill", "zero"])


def test_a_sample_takes_the_options(tmp_path, capsys):
    path, output = write(tmp_path, csv_of_days(100)), tmp_path / "x.npz"
    options = ["--data", str(path), "--output", str(output), "--seq-len", "4", "--forecast-len"]
    assert sample.main([*options, "2", "--count", "3", "--columns", "b"]) == 0
    assert capsys.readouterr().out == f"{output}: x [3, 1, 4] float32\n"
