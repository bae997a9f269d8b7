"""Series, splits, windows and named data sets."""

import dataclasses
import hashlib
import http.server
import threading

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data import (
    DataError,
    Series,
    Standardizer,
    Windows,
    csv_series,
    datasets,
    ett_lengths,
    fetch,
    load_dataset,
    public_sets,
    ratio_lengths,
    sample,
    split_series,
)


def a_series(num_rows: int, num_channels: int, seed: int = 0) -> Series:
    values = np.random.default_rng(seed).normal(3, 5, (num_rows, num_channels))
    dates = np.datetime64("2020-01-01", "s") + np.arange(num_rows) * np.timedelta64(3600, "s")
    return Series("random", dates, tuple(f"v{v}" for v in range(num_channels)), values)


# --- splits, standardization, windows ------------------------------------------------------------


def test_ett_lengths_are_the_published_ones():
    assert ett_lengths(17420, np.timedelta64(1, "h")) == (8640, 2880, 2880)
    assert ett_lengths(69680, np.timedelta64(15, "m")) == (34560, 11520, 11520)
    with pytest.raises(DataError, match=r"needs 14400 rows .* found 14399"):
        ett_lengths(14399, np.timedelta64(1, "h"))


def test_ratio_lengths_use_every_row():
    assert ratio_lengths(1000) == (700, 100, 200)
    assert sum(ratio_lengths(8731)) == 8731
    with pytest.raises(ValueError, match="together below 1"):
        ratio_lengths(100, 0.8, 0.2)


def test_ett_protocol_gives_2785_test_windows():
    series = a_series(17420, 1)
    splits = split_series(series, ett_lengths(17420, series.step), 96, 96)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8449, 2785, 2785)
    # The first test target is the first row after 16 months.
    scaled = splits.standardizer.apply(series.values)[:, 0].astype(np.float32)
    np.testing.assert_array_equal(splits.test[0][1][0], scaled[11520 : 11520 + 96])
    np.testing.assert_array_equal(splits.test[0][0][0], scaled[11520 - 96 : 11520])
    np.testing.assert_array_equal(splits.test[2784][1][0], scaled[14400 - 96 : 14400])


@given(
    lengths=st.tuples(*[st.integers(12, 40)] * 3),
    num_channels=st.integers(1, 4),
    seq_len=st.integers(1, 8),
    forecast_len=st.integers(1, 4),
)
def test_no_window_looks_past_its_split(lengths, num_channels, seq_len, forecast_len):
    series = a_series(sum(lengths) + 3, num_channels)
    # The row number is the value, so windows say where they come from.
    series.values[:] = np.arange(len(series.values))[:, None]
    splits = split_series(series, lengths, seq_len, forecast_len)
    ends = np.cumsum(lengths)
    for windows, start, end in (
        (splits.train, seq_len, ends[0]),
        (splits.val, ends[0], ends[1]),
        (splits.test, ends[1], ends[2]),
    ):
        x, y = windows.batch(slice(None))
        x, y = (
            np.rint(splits.standardizer.undo(part.swapaxes(1, 2))).astype(int) for part in (x, y)
        )
        assert y.min() == start and y.max() == end - 1
        assert len(windows) == end - start - forecast_len + 1
        np.testing.assert_array_equal(x[:, -1] + 1, y[:, 0])


def test_statistics_come_from_the_training_rows_alone():
    series = a_series(100, 3)
    before = split_series(series, (60, 20, 20), 8, 4)
    series.values[60:] *= 1000
    after = split_series(series, (60, 20, 20), 8, 4)
    np.testing.assert_array_equal(before.standardizer.mean, after.standardizer.mean)
    np.testing.assert_array_equal(before.standardizer.std, series.values[:60].std(axis=0))
    scaled = after.standardizer.apply(series.values[:60])
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(scaled.std(axis=0), 1)
    np.testing.assert_allclose(after.standardizer.undo(scaled), series.values[:60])


def test_a_constant_variable_standardizes_to_zero():
    values = np.full((50, 1), 0.1)
    assert not Standardizer.fit(values).apply(values).any()


@pytest.mark.parametrize(
    ("lengths", "split"),
    [((0, 50, 50), "train"), ((60, 3, 37), "validation"), ((60, 37, 3), "test")],
)
def test_empty_split_is_named(lengths, split):
    with pytest.raises(DataError, match=f"random, {split}: "):
        split_series(a_series(100, 2), lengths, 8, 4)


@pytest.mark.parametrize(
    ("row", "value", "split"),
    [(3, 1e300, "train"), (3, 1e200, "train"), (70, 1e40, "validation"), (99, 1e300, "test")],
)
@pytest.mark.filterwarnings("error")
def test_values_beyond_float32_are_named(row, value, split):
    series = a_series(100, 2)
    series.values[row, 1] = value
    with pytest.raises(DataError, match=rf"random, {split}: variable '.*': .* too large for float"):
        split_series(series, (60, 20, 20), 8, 4)


def test_lengths_beyond_the_series_are_an_error():
    with pytest.raises(ValueError, match="do not fit 100 rows"):
        split_series(a_series(100, 2), (60, 30, 11), 8, 4)


def test_windows_are_read_only_views():
    windows = Windows(np.arange(40.0).reshape(20, 2), 5, 3)
    (x, y), (later, _) = windows[0], windows[3]
    assert len(windows) == 13 and x.shape == (2, 5) and y.shape == (2, 3)
    assert np.shares_memory(x, later) and not x.flags.writeable
    np.testing.assert_array_equal(windows[-1][1][1], [35, 37, 39])
    with pytest.raises(IndexError):
        windows[13]
    assert len(list(windows)) == 13


@given(st.lists(st.integers(0, 12), min_size=1, max_size=20))
def test_a_batch_stacks_its_windows(indices):
    windows = Windows(np.arange(40.0).reshape(20, 2), 5, 3)
    x, y = windows.batch(indices)
    assert x.shape == (len(indices), 2, 5) and x.dtype == y.dtype == np.float32
    for b, index in enumerate(indices):
        np.testing.assert_array_equal(x[b], windows[index][0])
        np.testing.assert_array_equal(y[b], windows[index][1])


def test_window_lengths_are_checked():
    with pytest.raises(ValueError, match="seq_len 0"):
        Windows(np.zeros((10, 1)), 0, 3)
    with pytest.raises(DataError, match=r"7 rows are too few .* 5 \+ 3 = 8"):
        Windows(np.zeros((7, 1)), 5, 3)


# --- named data sets -----------------------------------------------------------------------------


def test_default_data_set_is_complete():
    splits = load_dataset("nyc_weather", 96, 24)
    assert splits.columns[:4] == ("temp_JFK", "dewp_JFK", "wind_speed_JFK", "pressure_JFK")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (5992, 850, 1723)
    x, y = splits.test.batch(slice(None))
    assert x.shape == (1723, 8, 96) and np.isfinite(x).all() and np.isfinite(y).all()
    series = datasets.read_nyc_weather()
    assert len(series.dates) == 8730 and (np.diff(series.dates) == series.step).all()


def weather_table(hours: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"origin": origin, "time_hour": pd.Timestamp("2013-01-01") + pd.Timedelta(hours=hour)}
            | dict.fromkeys(datasets.WEATHER_VARIABLES, float(hour))
            for origin in (*datasets.WEATHER_AIRPORTS, "EWR")
            for hour in hours
        ]
    )


def test_weather_fills_gaps_with_the_past_and_not_for_long():
    series = datasets.weather_series(weather_table([0, 1, 4, 5]))
    np.testing.assert_array_equal(series.values[:, 0], [0, 1, 1, 1, 4, 5])
    with pytest.raises(DataError, match="temp at JFK is missing for more than 12 hours"):
        datasets.weather_series(weather_table([0, 1, 15]))
    with pytest.raises(DataError, match="JFK reports 2013-01-01 01:00:00 twice"):
        datasets.weather_series(weather_table([0, 1, 1]))
    only_lga = weather_table([0, 1])
    with pytest.raises(DataError, match="temp at JFK"):
        datasets.weather_series(only_lga[only_lga["origin"] == "LGA"])


@pytest.mark.parametrize("name", public_sets.REMOTE_FILES)
def test_a_public_set_is_searched_in_both_folders(tmp_path, monkeypatch, name):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    monkeypatch.setattr(public_sets, "DATA_FOLDER", second)
    monkeypatch.delenv("CMAMBA_DATA", raising=False)
    with pytest.raises(DataError, match=rf"make data DATA={name}.*CMAMBA_DATA"):
        public_sets.public_path(name)
    assert datasets.data_files(name) == []
    file_name = public_sets.REMOTE_FILES[name].file_name
    (second / file_name).touch()
    monkeypatch.setenv("CMAMBA_DATA", str(first))
    assert public_sets.public_path(name) == second / file_name
    (first / file_name).touch()
    assert public_sets.public_path(name) == first / file_name
    assert datasets.data_files(name) == [first / file_name]


@pytest.mark.parametrize("name", ["etth1", "etth2"])
def test_ett_sets_take_the_ett_split(tmp_path, monkeypatch, name):
    series = a_series(14400, 7)
    file_name = public_sets.REMOTE_FILES[name].file_name
    table = pd.DataFrame(series.values, columns=list(public_sets.ETT_COLUMNS))
    table.insert(0, "date", series.dates)
    table.to_csv(tmp_path / file_name, index=False)
    monkeypatch.setenv("CMAMBA_DATA", str(tmp_path))
    assert len(load_dataset(name, 96, 96).test) == 2785
    # The same file by its path is just another CSV.
    assert len(load_dataset(str(tmp_path / file_name), 96, 96).test) == 2880 - 95
    assert len(load_dataset(str(tmp_path / file_name), 96, 96).train) == 10080 - 191
    assert len(load_dataset(str(tmp_path / file_name), 96, 96, "ett").train) == 8449


def public_table(name: str, num_rows: int = 300) -> pd.DataFrame:
    """Rows such as those of a public set that is no ETT set."""
    variables = {"weather": 21, "electricity": 321, "traffic": 862}[name]
    series = a_series(num_rows, variables)
    table = pd.DataFrame(series.values, columns=[*map(str, range(variables - 1)), "OT"])
    table.insert(0, "date", pd.Series(series.dates).dt.strftime("%Y-%m-%d %H:%M:%S"))
    return table


@pytest.mark.parametrize("name", ["weather", "electricity", "traffic"])
def test_other_public_sets_are_read_in_order(tmp_path, monkeypatch, name):
    table = public_table(name)
    table.loc[70, "date"] = table.loc[69, "date"]  # twice, and then one is missing
    table.to_csv(tmp_path / f"{name}.csv", index=False)
    monkeypatch.setenv("CMAMBA_DATA", str(tmp_path))
    series = datasets.DATASETS[name]()
    assert series.columns == tuple(table.columns[1:]) and series.frequency == "h"
    np.testing.assert_array_equal(series.values, table.iloc[:, 1:].to_numpy())
    splits = load_dataset(name, 24, 8)
    assert (len(splits.train), len(splits.val), len(splits.test)) == (179, 23, 53)
    assert splits.record.split == "ratio" and splits.record.dataset == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns="date"), "row 1: expected a column 'date'"),
        (lambda table: table.drop(columns="3"), "rows of 21 .* found 50 rows of 20 with 0 cells"),
        (lambda table: table.replace({"3": table["3"][9]}, np.nan), "of 21 with 1 cells that are"),
        (lambda table: table.assign(OT="x"), "weather.csv: could not convert string to float"),
        (lambda table: table.assign(date="x"), "weather.csv: .*x"),
        (lambda table: table[:1], "found 1 rows"),
    ],
)
def test_other_files_under_the_name_of_a_public_set(tmp_path, monkeypatch, change, message):
    change(public_table("weather", 50)).to_csv(tmp_path / "weather.csv", index=False)
    monkeypatch.setenv("CMAMBA_DATA", str(tmp_path))
    with pytest.raises(DataError, match=message):
        load_dataset("weather", 8, 8)


def test_unknown_data_set_and_split():
    with pytest.raises(DataError, match=r"'etth9' is neither a file nor one of .*etth1"):
        load_dataset("etth9", 96, 96)
    with pytest.raises(ValueError, match="expected auto, ett or ratio, found 'half'"):
        load_dataset("nyc_weather", 96, 96, "half")


# --- commands ------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    """A folder served on localhost: (folder, base URL)."""
    folder = tmp_path / "www"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def remote(content: bytes, url: str) -> public_sets.RemoteFile:
    return public_sets.RemoteFile("a.csv", url, len(content), hashlib.sha256(content).hexdigest())


def test_fetch_downloads_checks_and_does_not_repeat(tmp_path, server):
    folder, url = server
    content = b"date,a\n" * 50_000
    (folder / "a.csv").write_bytes(content)
    path = fetch.fetch(remote(content, f"{url}/a.csv"), tmp_path / "data")
    assert path.read_bytes() == content
    (folder / "a.csv").unlink()
    assert fetch.fetch(remote(content, f"{url}/a.csv"), tmp_path / "data") == path
    assert [file.name for file in path.parent.iterdir()] == ["a.csv"]


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (b"good cOntent", "expected SHA-256 .* found "),
        (b"good", "expected 12 bytes, found 4"),
        (b"good content" * 100_000, "expected 12 bytes, found"),
        (None, "cannot download .* File not found.*CMAMBA_DATA"),
    ],
)
def test_failed_fetch_leaves_what_was_there(tmp_path, server, served, message):
    folder, url = server
    if served is not None:
        (folder / "a.csv").write_bytes(served)
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.csv").write_text("old")
    with pytest.raises(DataError, match=message):
        fetch.fetch(remote(b"good content", f"{url}/a.csv"), data)
    assert [file.read_text() for file in data.iterdir()] == ["old"]


def test_fetch_of_a_file_of_unknown_size(tmp_path, server, monkeypatch):
    folder, url = server
    (folder / "a.csv").write_bytes(b"good content")
    unsized = dataclasses.replace(remote(b"good content", f"{url}/a.csv"), size=None)
    assert fetch.fetch(unsized, tmp_path).read_bytes() == b"good content"
    monkeypatch.setattr(fetch, "MAX_BYTES", 11)
    with pytest.raises(DataError, match="expected at most 11 bytes, found 12 or more"):
        fetch.fetch(unsized, tmp_path / "data")


def test_fetch_takes_several_names(tmp_path, server, monkeypatch, capsys):
    folder, url = server
    for name in ("a", "b"):
        (folder / f"{name}.csv").write_text(name)
    files = {
        name: dataclasses.replace(remote(name.encode(), f"{url}/{name}.csv"), file_name=name)
        for name in ("a", "b")
    }
    monkeypatch.setattr(fetch, "REMOTE_FILES", files)
    assert fetch.main(["a", "b", "--to", str(tmp_path / "data")]) == 0
    assert capsys.readouterr().out.count("as expected") == 2
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["a", "b"]


def test_fetch_without_a_network_says_what_to_do(tmp_path, monkeypatch, capsys):
    # Port 1 of this machine: refused at once.
    unreachable = remote(b"", "http://127.0.0.1:1/a.csv")
    monkeypatch.setattr(fetch, "REMOTE_FILES", {"etth1": unreachable})
    assert fetch.main(["etth1", "--to", str(tmp_path)]) == 1
    assert "cannot download http://127.0.0.1:1/a.csv" in capsys.readouterr().err


def test_sample_is_the_file_in_the_repository(tmp_path, capsys):
    path = tmp_path / "x.npz"
    assert sample.main(["--output", str(path)]) == 0
    # The arrays, not the files: the zip headers that Python writes differ between its versions.
    with np.load(public_sets.DATA_FOLDER / "test_data.npz", allow_pickle=False) as file:
        expected = file["x"]
    with np.load(path, allow_pickle=False) as file:
        assert file.files == ["x"] and file["x"].shape == (8, 8, 96)
        assert file["x"].dtype == np.float32
        assert file["x"].tobytes() == expected.tobytes()


def test_sample_checks_its_count(tmp_path, capsys):
    assert sample.main(["--count", "0", "--output", str(tmp_path / "x.npz")]) == 2
    assert "0 windows asked for" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_every_public_name_is_exported():
    import model.data

    assert all(hasattr(model.data, name) for name in model.data.__all__)
    assert csv_series.DataError is model.data.DataError


def test_a_sample_does_not_overwrite_its_data(tmp_path, monkeypatch, capsys):
    data = tmp_path / "ETTh1.csv"
    data.write_text("date,a\n")
    monkeypatch.setenv("CMAMBA_DATA", str(tmp_path))
    for name in ("etth1", str(data)):
        assert sample.main(["--data", name, "--output", str(data)]) == 2
        message = f"error: {data}: would be overwritten, and is the file of --data; "
        assert capsys.readouterr().err.startswith(message)
    assert data.read_text() == "date,a\n"
