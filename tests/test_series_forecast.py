"""From a CSV to a CSV: dates, units and names of the forecast, and what is refused."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import image

import run_infer
from model.args import ModelArgs
from model.data import CsvOptions, DataError, Standardizer, read_csv_series
from model.data_record import DataRecord
from model.io import save_checkpoint
from model.regressor_args import RegressorArgs
from model.series_forecast import read_series_windows, write_forecasts
from tests.compiled_models import SMALL, random_model
from tests.compiled_regressors import random_regressor

ARGS = ModelArgs(**(SMALL | {"instance_norm": True, "num_channels": 2}))  # L=24, H=8
L, H, T = ARGS.seq_len, ARGS.forecast_len, 60
VALUES = np.random.default_rng(0).normal([20, 1013], [5, 8], (T, 2)).round(3)
MODEL = random_model(ARGS)


def quiet(_: str) -> None:
    pass


def write(path, frequency="h", start="2024-01-15", values=VALUES, written=None, **style):
    dates = pd.date_range(start, periods=len(values), freq=frequency)
    index = dates if written is None else written(dates)
    frame = pd.DataFrame(values, index=index.rename("date"), columns=["a", "b"])
    path.write_text(frame.to_csv(**style))
    return pd.date_range(dates[-1], periods=H + 1, freq=frequency)[1:]


def forecast(x: np.ndarray) -> np.ndarray:
    """[n, V, L] in units -> [n, H, V], by the statistics of all rows."""
    scale = Standardizer.fit(VALUES)
    x = torch.from_numpy(scale.apply(x.swapaxes(1, 2)).swapaxes(1, 2).astype(np.float32))
    with torch.no_grad():
        return scale.undo(MODEL(x).numpy().swapaxes(1, 2).astype(np.float64))


@pytest.fixture
def files(tmp_path):
    save_checkpoint(MODEL, tmp_path / "w.safetensors")
    return tmp_path


def run(folder, *arguments):
    options = ["--weights", folder / "w.safetensors", "--input", folder / "my.csv"]
    options += ["--output", folder / "forecast.csv", *arguments]
    return run_infer.main([str(option) for option in options])


STYLES = {
    "ISO, hours": ({}, {}),
    "ISO, days": ({"frequency": "D"}, {}),
    "business days": ({"frequency": "B"}, {}),
    "ends of months": ({"frequency": "ME"}, {}),
    "sub-second": ({"frequency": "500ms"}, {}),
    "Excel in German": (
        {"written": lambda t: t.strftime("%d.%m.%Y %H:%M"), "sep": ";", "decimal": ","},
        {},
    ),
    "epoch": ({"written": lambda t: t.as_unit("ms").astype(np.int64)}, {}),
    "UTC": ({"written": lambda t: t.tz_localize("UTC")}, {}),
}


@pytest.mark.parametrize("style", STYLES)
def test_the_forecast_goes_on_where_the_file_ends(files, style, capsys):
    """What is written is read again by the same reader: dates, names, units."""
    arguments, options = STYLES[style]
    expected = write(files / "my.csv", **arguments)
    assert run(files) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "input: (1, 2, 24) output: (1, 2, 8)"
    assert out.splitlines()[1] == (
        f"{files / 'forecast.csv'}: forecast from {expected[0]} to {expected[-1]}"
    )
    assert err.startswith(f"{files / 'my.csv'}: 60 rows from ")
    options = {"date_format": "%d.%m.%Y %H:%M"} if "German" in style else options
    found = read_csv_series(files / "forecast.csv", ["a", "b"], CsvOptions(**options))
    np.testing.assert_array_equal(found.dates, expected.to_numpy())
    np.testing.assert_allclose(found.values, forecast(VALUES.T[None, :, -L:])[0], rtol=1e-6)
    of_input = read_csv_series(files / "my.csv", options=CsvOptions(**options))
    assert found.style == of_input.style
    assert found.frequency == of_input.frequency


def test_rolling_forecasts_every_window(files, capsys):
    write(files / "my.csv")
    assert run(files, "--rolling") == 0
    table = pd.read_csv(files / "forecast.csv", parse_dates=["origin", "date"])
    windows = np.lib.stride_tricks.sliding_window_view(VALUES, L, axis=0)
    assert len(table) == len(windows) * H == (T - L + 1) * H
    np.testing.assert_allclose(table[["a", "b"]], forecast(windows).reshape(-1, 2), rtol=1e-5)
    steps = (table["date"] - table["origin"]) / pd.Timedelta(hours=1)
    np.testing.assert_array_equal(steps, np.tile(np.arange(1, H + 1), len(windows)))
    assert table["origin"].iloc[0] == pd.Timestamp("2024-01-15") + pd.Timedelta(hours=L - 1)
    # Every tenth, and of those the last row.
    assert run(files, "--rolling", "10") == 0
    part = pd.read_csv(files / "forecast.csv", parse_dates=["origin", "date"])
    origins = table["origin"].unique()[::-10][::-1]
    expected = table[table["origin"].isin(origins)].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, expected, rtol=1e-5)


@given(scale=st.sampled_from([1e-6, 1e-3, 7.0, 1e6, 1e20]), shift=st.sampled_from([0.0, -3.0, 1e3]))
def test_any_units_give_the_same_forecast_in_them(tmp_path_factory, scale, shift):
    path = tmp_path_factory.mktemp("units") / "my.csv"
    found = []
    for values in (VALUES, (VALUES + shift) * scale):
        write(path, values=values)
        windows = read_series_windows(path, ARGS, CsvOptions(), say=quiet)
        with torch.no_grad():
            y = MODEL(torch.from_numpy(np.array(windows.x))).numpy()
        found.append(windows.in_units(y))
    np.testing.assert_allclose(found[1] / scale - shift, found[0], atol=1e-3)


def test_the_checkpoints_scale_names_and_frequency_are_used(tmp_path):
    path = tmp_path / "my.csv"
    write(path)
    args = dataclasses.replace(ARGS, instance_norm=False)
    with pytest.raises(ValueError, match="no instance normalization and its checkpoint no mean"):
        read_series_windows(path, args, CsvOptions(), say=quiet)
    rows = (range(10), range(10, 12), range(12, 16))
    known = DataRecord(
        "my.csv", "0" * 64, ("b", "a"), 3600, "ratio", rows, (1000.0, 10.0), (4.0, 2.0)
    )
    windows = read_series_windows(path, args, CsvOptions(), known, say=quiet)
    assert windows.series.columns == ("b", "a")
    expected = (VALUES[-L:, ::-1] - [1000, 10]) / [4, 2]
    np.testing.assert_allclose(windows.x[0].T, expected, rtol=1e-6)
    np.testing.assert_allclose(windows.in_units(windows.x)[0], VALUES[-L:, ::-1], rtol=1e-6)
    slower = dataclasses.replace(known, step_seconds=900)
    with pytest.raises(DataError, match=r"every 3600s, expected 900s as .*--resample 900s"):
        read_series_windows(path, args, CsvOptions(), slower, say=quiet)
    known = dataclasses.replace(known, columns=('x"y', "a,b"))
    path.write_text(path.read_text().replace("date,a,b", 'date,"a,b","x""y"'))
    windows = read_series_windows(path, args, CsvOptions(), known, say=quiet)
    assert windows.series.columns == ('x"y', "a,b")


@pytest.mark.parametrize("backend", ["int8", "fakeq"])
def test_integers_are_calibrated_on_all_windows_of_the_file(files, backend, capsys):
    write(files / "my.csv")
    options = ["--quant-mode", backend] if backend == "fakeq" else ["--backend", backend]
    assert run(files, *options, "--plot", files / "forecast.png") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "calibrating on the input: 37 windows"
    assert re.match(rf"{backend} against fp32, standardized: largest difference .* dB", lines[2])
    assert lines[-1] == f"plot: {files / 'forecast.png'}"
    assert image.imread(files / "forecast.png").shape[1] > 500


BAD = {
    "short": (lambda f: write(f, values=VALUES[: L - 1]), [], "23 rows, expected at least 24, wh"),
    "wide": (
        lambda f: f.write_text("date,a,b,c\n2024-01-01,1,2,3\n2024-01-02,1,2,3\n"),
        [],
        "found 3 variables, expected 2 as the model has; choose them with --columns",
    ),
    "large": (lambda f: write(f, values=VALUES * 1e200), [], "variable '.': too large for float32"),
    "no file": (lambda f: None, [], r"No such file or directory: .*my\.csv"),
    "to .npz": (write, ["--output", "y.npz"], "the forecast of a CSV is a CSV, found y.npz"),
    "step": (write, ["--rolling", "0"], "--rolling: expected a STEP of at least 1, found 0"),
    "option": (write, ["--fill", "x"], "--fill: found 'x', expected interpolate, previous or"),
    "end of time": (
        lambda f: write(f, "D", "2262-11-01", written=lambda t: t.strftime("9999-%m-%d")),
        ["--date-format", "%Y-%m-%d", "--fill", "previous"],
        "8 steps of D after 9999-12-30 00:00:00: beyond the year 9999",
    ),
    "plot": (write, ["--output", "x", "--plot", "x"], "--plot: expected another file than --out"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_writes_nothing(files, name, capsys, monkeypatch):
    prepare, options, message = BAD[name]
    monkeypatch.chdir(files)
    prepare(files / "my.csv")
    before = sorted(files.iterdir())
    assert run(files, *options) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and re.search(message, error)
    assert sorted(files.iterdir()) == before


def test_options_of_a_csv_do_not_go_with_windows(files, capsys):
    np.savez(files / "x.npz", x=np.zeros((1, 2, L), np.float32))
    for option in (["--rolling"], ["--columns", "a"], ["--plot", str(files / "p.png")]):
        assert run(files, "--input", files / "x.npz", *option) == 2
        assert "x.npz: --rolling, --plot and options of CSV files go" in capsys.readouterr().err


def test_a_regressor_reads_no_series(files, capsys):
    write(files / "my.csv")
    args = RegressorArgs(num_features=5, num_channels=3, seq_len=16, d_model=8)
    save_checkpoint(random_regressor(args), files / "w.safetensors")
    assert run(files) == 2
    assert "a regressor reads frames from an .npz, not a series" in capsys.readouterr().err


def test_more_values_than_memory_holds_are_refused(tmp_path, monkeypatch):
    write(tmp_path / "my.csv")
    monkeypatch.setattr("model.series_forecast.MAX_VALUES", 500)
    with pytest.raises(ValueError, match="37 forecasts of 2 x 8 values, expected at most 500"):
        read_series_windows(tmp_path / "my.csv", ARGS, CsvOptions(), every=1, say=quiet)
    windows = read_series_windows(tmp_path / "my.csv", ARGS, CsvOptions(), every=2, say=quiet)
    write_forecasts(tmp_path / "y.csv", windows, windows.x[..., :H])
    assert len(pd.read_csv(tmp_path / "y.csv")) == 19 * H
