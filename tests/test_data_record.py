"""What a model was trained on: it travels with the weights, and every command keeps to it."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from compiler import export
from evaluation import compare
from golden.cases import CHECKPOINTS
from isa.package import Package
from model import train_forecast
from model.args import ModelArgs
from model.cmamba import CMamba
from model.data import CsvOptions, DataError, fetch, load_dataset, sample
from model.data_record import DataRecord
from model.inputs import cut_in_words, load_splits
from model.io import CheckpointError, load_model, save_checkpoint
from model.metrics import evaluate, torch_forecaster
from tests.compiled_models import SMALL, learned_model, random_model
from tests.sines import SHORT, SMALL_MODEL, csv_of_sines

ARGS = ModelArgs(**(SMALL | {"num_channels": 2, "n_layer": 1, "instance_norm": True}))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def records(draw: st.DrawFn) -> DataRecord:
    columns = draw(st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True))
    ends = sorted(draw(st.sets(st.integers(1, 1 << 40), min_size=3, max_size=3)))
    numbers = st.lists(FLOATS, min_size=len(columns), max_size=len(columns))
    return DataRecord(
        dataset=draw(st.from_regex(r"[A-Za-z0-9 _\-]+\.csv", fullmatch=True)),
        sha256=draw(st.from_regex("[0-9a-f]{64}", fullmatch=True)),
        columns=tuple(columns),
        step_seconds=draw(st.integers(1, 1 << 40)),
        split=draw(st.sampled_from(["ett", "ratio"])),
        rows=(range(ends[0]), range(ends[0], ends[1]), range(ends[1], ends[2])),
        mean=tuple(draw(numbers)),
        std=tuple(abs(x) or 1.0 for x in draw(numbers)),
    )


@given(records())
def test_json_holds_every_bit(record):
    assert DataRecord.from_json(record.to_json()) == record
    # The metadata of a package are sorted.
    assert DataRecord.from_json(json.dumps(record.to_dict(), sort_keys=True)) == record


@pytest.fixture(scope="module")
def daily(tmp_path_factory) -> Path:
    """650 days of two sines: 600 make the 20 months of the ETT split."""
    path = csv_of_sines(tmp_path_factory.mktemp("daily") / "days.csv", rows=650)
    lines = path.read_text().splitlines()
    days = np.datetime64("2020-01-01") + np.arange(650)
    rows = (f"{day},{line.partition(',')[2]}" for day, line in zip(days, lines[1:], strict=True))
    path.write_text("\n".join([lines[0], *rows, ""]))
    return path


@pytest.fixture
def model(daily):
    """Random weights that say that they were trained with split ett."""
    model = random_model(ARGS)
    model.record = load_dataset(str(daily), 24, 8, "ett").record
    return model


@pytest.fixture
def weights(model, tmp_path) -> Path:
    path = tmp_path / "w.safetensors"
    save_checkpoint(model, path)
    return path


def other_file(daily: Path, folder: Path) -> Path:
    """The same data, two days longer."""
    path = folder / "longer.csv"
    last = np.datetime64("2020-01-01") + 650
    path.write_text(daily.read_text() + f"{last},0.5,0.25\n{last + 1},0.25,0.5\n")
    return path


# ------------------------------------------------------------------------------ what is recorded


def test_a_data_set_says_what_it_is(daily):
    splits = load_dataset(str(daily), 24, 8, "ett")
    record = splits.record
    assert (record.dataset, record.columns, record.split) == ("days.csv", ("a", "b"), "ett")
    assert record.rows == (range(360), range(360, 480), range(480, 600))
    assert record.step_seconds == 24 * 3600
    values = np.loadtxt(daily, delimiter=",", skiprows=1, usecols=(1, 2))[:360]
    np.testing.assert_allclose(record.mean, values.mean(0))
    np.testing.assert_allclose(record.std, values.std(0))
    assert record.cut_in_words == "split ett, rows train 0-359, val 360-479, test 480-599"


@pytest.mark.parametrize("suffix", [".pt", ".npz", ".safetensors"])
def test_it_travels_with_the_weights(model, tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    save_checkpoint(model, path)
    assert load_model(path).record == model.record
    model.record = None
    save_checkpoint(model, path)
    assert load_model(path).record is None


def test_a_file_has_the_same_bytes_each_time(model, weights):
    """The library's order of metadata is that of a hash table, another one each time."""
    first = weights.read_bytes()
    assert first[8:].startswith(b'{"__metadata__":{"args":')
    for _ in range(8):
        save_checkpoint(model, weights)
        assert weights.read_bytes() == first


def change(model, **fields):
    return json.dumps(model.record.to_dict() | fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "../days.csv"}, "dataset: found '../days.csv', expected a name without"),
        ({"dataset": 3}, "dataset: found 3, expected a string"),
        ({"sha256": "12"}, "sha256: found '12', expected 64 hexadecimal digits"),
        ({"columns": ["a", "a"]}, "columns: found ('a', 'a'), expected names, each once"),
        ({"columns": ["a", 1]}, "columns: found ['a', 1], expected a list of names"),
        ({"columns": []}, "columns: found (), expected names"),
        ({"columns": ["a"], "mean": [0], "std": [1]}, "found 1 variables, expected 2 as the model"),
        ({"step_seconds": True}, "step_seconds: found True, expected a number above 0"),
        ({"step_seconds": 0}, "step_seconds: found 0, expected a number above 0"),
        ({"split": "half"}, "split: found 'half', expected ett or ratio"),
        ({"rows": [0, 1, 2]}, "rows: found [0, 1, 2], expected [first, end] of train, val, test"),
        ({"rows": {"train": [0, 9], "val": [9, 12], "test": [11, 20]}}, "expected ranges that"),
        ({"rows": {"train": [0, 9], "val": [9, 9], "test": [9, 20]}}, "expected ranges that"),
        ({"rows": {"train": [0, 9], "val": [9, 10], "test": [10, 1 << 80]}}, "[first, end] of"),
        ({"mean": [0]}, "mean: found (0.0,), expected 2 finite numbers"),
        ({"mean": [0, 10**400]}, "mean: expected finite numbers"),
        ({"mean": [0, float("nan")]}, "mean: found (0.0, nan), expected 2 finite numbers"),
        ({"std": [1, 0]}, "std: found (1.0, 0.0), expected numbers above 0"),
        ({"more": 1}, "expected an object of dataset, sha256, columns"),
    ],
)
def test_bad_records_are_one_line(model, tmp_path, fields, message):
    path = tmp_path / "w.pt"
    content = {"model": model.state_dict(), "args": model.args.to_json()}
    torch.save(content | {"data_record": change(model, **fields)}, path)
    with pytest.raises(CheckpointError) as error:
        load_model(path)
    assert str(error.value).startswith(f"{path}: 'data_record': ")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_records_that_are_no_json(model, tmp_path):
    path = tmp_path / "w.npz"
    save_checkpoint(model, path)
    arrays = dict(np.load(path))
    for text, message in (("{", "not valid JSON"), ("[" * 100000, "not valid JSON"), ("3", "expe")):
        np.savez(path, **(arrays | {"data_record": np.array(text)}))
        with pytest.raises(CheckpointError, match=f"'data_record': DataRecord: {message}"):
            load_model(path)


def test_the_shipped_forecasters_say_what_they_were_trained_on():
    for name in ("nyc_weather", "nyc_weather_qat", "etth1_published"):
        model = load_model(CHECKPOINTS / f"{name}.safetensors")
        assert model.record.dataset == name.split("_")[0].replace("nyc", "nyc_weather")
    record = load_model(CHECKPOINTS / "etth1_published.safetensors").record
    assert (record.sha256, record.split) == (fetch.REMOTE_FILES["etth1"].sha256, "ett")
    record = load_model(CHECKPOINTS / "nyc_weather.safetensors").record
    found = load_dataset("nyc_weather", 96, 24).record
    # Sums depend on the CPU.
    np.testing.assert_allclose([record.mean, record.std], [found.mean, found.std], rtol=1e-12)
    assert record == dataclasses.replace(found, mean=record.mean, std=record.std)


# ------------------------------------------------------------------------------ data by a record


def test_data_are_cut_and_standardized_as_recorded(model, daily):
    expected = load_dataset(str(daily), 24, 8, "ett")
    for split in ("auto", "ett"):
        splits = load_splits(model, str(daily), split)
        assert splits.sha256 == expected.sha256 and splits.record == model.record
    words = "days.csv, split ett, rows train 0-359, val 360-479, test 480-599; as the checkpoint"
    assert cut_in_words(model, splits).startswith(words)


def test_the_standardization_is_the_recorded_one(model, daily):
    """It is not computed again, whatever a later version of NumPy or of the reader finds."""
    model.record = dataclasses.replace(model.record, mean=(1.0, 2.0), std=(3.0, 4.0))
    splits = load_splits(model, str(daily))
    x, _ = splits.train.batch([0])
    values = np.loadtxt(daily, delimiter=",", skiprows=1, usecols=(1, 2))[:24].T
    np.testing.assert_allclose(x[0], (values - [[1], [2]]) / [[3], [4]], rtol=1e-5, atol=1e-6)


def test_a_named_data_set_is_found_by_the_record():
    model = random_model(dataclasses.replace(ARGS, num_channels=8))
    assert model.record is None
    splits = load_splits(model)
    assert cut_in_words(model, splits).endswith(
        "; the checkpoint does not say what it was trained on"
    )
    model.record = splits.record
    assert load_splits(model).record == model.record


def test_what_contradicts_the_record_is_refused(model, daily, tmp_path, monkeypatch):
    trained = re.escape(
        f"the model was trained on days.csv (SHA-256 {model.record.sha256[:12]}...)"
    )
    with pytest.raises(
        ValueError, match=rf"^--split ratio: {trained} with split ett, rows train 0-"
    ):
        load_splits(model, str(daily), "ratio", other_data=True)
    longer = other_file(daily, tmp_path)
    with pytest.raises(ValueError, match=rf"longer.csv: found SHA-256 \w+\.\.\.; {trained}$"):
        load_splits(model, str(longer))
    with pytest.raises(ValueError, match=rf"{trained}; --other-data takes it all the same$"):
        load_splits(model, str(longer), other_data=False)
    with pytest.raises(ValueError, match=f"^{trained}: name that file"):
        load_splits(model)
    monkeypatch.chdir(daily.parent)
    assert load_splits(model).record == model.record
    renamed = tmp_path / "renamed.csv"
    renamed.write_text(daily.read_text().replace("date,a,b", "date,a,c"))
    with pytest.raises(ValueError, match=rf"found 'c' as variable 1, expected 'b': {trained}"):
        load_splits(model, str(renamed), other_data=True)
    hourly = csv_of_sines(tmp_path / "hours.csv")
    with pytest.raises(ValueError, match=rf"rows 3600 s apart; {trained}, whose rows are 86400 s"):
        load_splits(model, str(hourly), other_data=True)
    with pytest.raises(ValueError, match=rf"nyc_weather: found 8 variables, expected 2: {trained}"):
        load_splits(model, "nyc_weather", other_data=True)
    model.record = dataclasses.replace(
        model.record, rows=(range(600), range(600, 640), range(640, 651))
    )
    with pytest.raises(
        ValueError, match=r"days.csv: splits of \(600, 40, 11\) rows do not fit 650"
    ):
        load_splits(model, str(daily))


def test_other_data_keep_the_standardization(model, daily, tmp_path):
    longer = other_file(daily, tmp_path)
    record = load_splits(model, str(longer), other_data=True).record
    assert (record.split, record.mean, record.std) == ("ett", model.record.mean, model.record.std)
    splits = load_splits(model, str(longer), "ratio", other_data=True)
    assert splits.record.rows == (range(456), range(456, 522), range(522, 652))
    assert splits.record.mean == model.record.mean
    assert cut_in_words(model, splits).endswith(
        "; standardized as days.csv, which the checkpoint was trained on"
    )


# ------------------------------------------------------------------------------ commands


def test_compare_finds_the_figures_of_training(daily, tmp_path, capsys):
    out = tmp_path / "w.safetensors"
    base = ["--data", str(daily), "--out", str(out), *SMALL_MODEL, *SHORT, "--epochs", "1"]
    assert train_forecast.main([*base, "--split", "ett"]) == 0
    trained = capsys.readouterr().out.splitlines()[-1]
    arguments = [str(out), "--dataset", str(daily), "--backend", "int8"]
    assert compare.main(arguments) == 0
    printed = capsys.readouterr()
    fp32 = printed.out.splitlines()[1].split()
    assert trained.endswith(f"test: MSE {fp32[-3]}  MAE {fp32[-2]}")
    assert printed.err.endswith(
        "\nw.safetensors: days.csv, split ett, rows train 0-359, val 360-479, test 480-599; as the "
        "checkpoint says\n"
    )
    other = evaluate(torch_forecaster(load_model(out)), load_dataset(str(daily), 24, 8).test)
    assert f"{other['mse']:.4f}" != fp32[-3]
    assert compare.main([*arguments, "--split", "ratio"]) == 2
    assert f"error: {out}: --split ratio: the model was trained on" in capsys.readouterr().err


def test_checkpoints_of_different_cuts_are_not_compared(model, weights, daily, tmp_path, capsys):
    other = tmp_path / "other.safetensors"
    model.record = load_dataset(str(daily), 24, 8, "ratio").record
    save_checkpoint(model, other)
    assert compare.main([str(weights), str(other), "--dataset", str(daily)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {other}: cannot be compared to {weights}: its figures are of ")
    assert "test 520-649, the other's of" in error
    model.record = dataclasses.replace(load_model(weights).record, mean=(0.0, 0.0))
    save_checkpoint(model, other)
    assert compare.main([str(weights), str(other), "--dataset", str(daily)]) == 2
    assert capsys.readouterr().err.endswith(", in other units\n")


def test_export_calibrates_on_training_rows_alone(model, weights, daily, tmp_path, capsys):
    package = tmp_path / "out" / "w.bin"
    base = ["--weights", str(weights), "--output", str(package)]
    arguments = [*base, "--dataset", str(daily), "--windows", "4"]
    assert export.main([*arguments, "--split", "ratio"]) == 2
    assert not package.exists()
    assert export.main([*base, "--dataset", str(other_file(daily, tmp_path))]) == 2
    assert capsys.readouterr().err.endswith("--other-data takes it all the same\n")
    assert export.main(arguments) == 0
    assert "days.csv, split ett, rows train 0-359" in capsys.readouterr().err
    found = Package.read(package)
    assert DataRecord.from_json(found.metadata["data_record"]) == model.record
    # With other test rows, the package has the same bytes.
    before = package.read_bytes()
    changed = tmp_path / "days.csv"
    lines = daily.read_text().splitlines()
    changed.write_text("\n".join([*lines[:361], *(f"{s[:10]},9.0,-9.0" for s in lines[361:]), ""]))
    assert export.main([*base, "--dataset", str(changed), "--windows", "4", "--other-data"]) == 0
    assert package.read_bytes() == before


@pytest.mark.parametrize("option", [["--split", "ett"], ["--other-data"]])
def test_options_of_the_cut_go_with_a_data_set(weights, tmp_path, capsys, option):
    np.savez(tmp_path / "x.npz", x=np.zeros((2, 2, 24), np.float32))
    base = ["--weights", str(weights), "--output", str(tmp_path / "w.bin"), *option]
    assert export.main([*base, "--calibration", str(tmp_path / "x.npz")]) == 2
    message = f"error: {option[0]}: goes with a data set of series alone\n"
    assert capsys.readouterr().err == message
    save_checkpoint(learned_model(ARGS), weights)
    assert export.main(base) == 2
    assert "has learned its formats" in capsys.readouterr().err


def test_qat_trains_on_the_same_rows(model, weights, daily, tmp_path, capsys):
    out = tmp_path / "qat.safetensors"
    base = ["--qat", str(weights), "--out", str(out), *SHORT, "--epochs", "1"]
    assert train_forecast.main([*base, "--data", str(daily), "--split", "ratio"]) == 2
    assert train_forecast.main([*base, "--data", str(other_file(daily, tmp_path))]) == 2
    assert "--other-data" not in capsys.readouterr().err
    assert train_forecast.main([*base, "--data", str(daily)]) == 0
    assert "days.csv, split ett, rows train 0-359" in capsys.readouterr().out
    assert load_model(out).record == model.record


def test_samples_for_a_checkpoint(weights, daily, tmp_path, capsys):
    output = tmp_path / "x.npz"
    base = ["--weights", str(weights), "--data", str(daily), "--output", str(output)]
    assert sample.main([*base, "--count", "2"]) == 0
    test = load_dataset(str(daily), 24, 8, "ett").test
    expected, _ = test.batch([0, len(test) - 1])
    assert np.array_equal(np.load(output)["x"], expected)
    assert sample.main([*base, "--split", "ratio"]) == 2
    assert sample.main([*base, "--seq-len", "24"]) == 2
    assert "--seq-len: does not go with --weights" in capsys.readouterr().err
    assert sample.main(["--other-data", "--output", str(output)]) == 2
    assert "--other-data: goes with --weights" in capsys.readouterr().err


def test_a_file_is_read_as_for_training(tmp_path):
    """The options that it was read with belong to the record; others are refused."""
    path = tmp_path / "gap.csv"
    days = np.datetime64("2020-01-01") + np.arange(120)
    rows = [f"{day};{k},5" for k, day in enumerate(days) if k != 7]
    path.write_text("\n".join(["date;a", *rows]) + "\n")
    options = CsvOptions(fill="previous", decimal=",")
    model = CMamba(dataclasses.replace(ARGS, num_channels=1, seq_len=8, forecast_len=8)).eval()
    trained = load_dataset(str(path), 8, 8, options=options)
    model.record = DataRecord.from_json(trained.record.to_json())
    assert model.record == trained.record
    assert model.record.reading == {"fill": "previous", "decimal": ","}
    found = load_splits(model, str(path))
    assert found.sha256 == trained.sha256
    with pytest.raises(DataError) as refused:
        load_splits(model, str(path), options=CsvOptions(fill="interpolate"))
    assert "read with --fill interpolate" in str(refused.value)
    assert str(refused.value).endswith("read with --decimal , --fill previous")
    model.record = dataclasses.replace(model.record, reading={"colour": "red"})
    with pytest.raises(DataError, match=r"the model's record of its data: .*colour"):
        load_splits(model, str(path))


def test_steps_below_a_second(tmp_path):
    path = tmp_path / "fast.csv"
    rows = [f"2020-01-01 00:00:{k / 10:04.1f},{k}" for k in range(40)]
    path.write_text("\n".join(["date,a", *rows]) + "\n")
    record = load_dataset(str(path), 4, 2).record
    assert record.step_seconds == 0.1 and DataRecord.from_json(record.to_json()) == record
