"""`python -m evaluation.compare`."""

import re

import pytest

from evaluation.compare import main
from evaluation.forecaster import Forecaster
from golden.cases import compile_on
from model.args import ModelArgs
from model.data import load_dataset
from model.io import load_model, save_checkpoint
from model.metrics import evaluate, torch_forecaster
from model.quantization.calibrate import calibration_windows
from tests.compiled_models import SMALL, learned_model, random_model
from tests.sines import csv_of_sines

ARGS = ModelArgs(**(SMALL | {"num_channels": 2, "n_layer": 1, "instance_norm": True}))


@pytest.fixture
def files(tmp_path):
    save_checkpoint(random_model(ARGS), tmp_path / "a.safetensors")
    save_checkpoint(learned_model(ARGS, seed=1), tmp_path / "b.safetensors")
    return tmp_path


def test_a_line_for_what_each_checkpoint_is(files, capsys):
    data = str(csv_of_sines(files / "sines.csv"))
    a, b = files / "a.safetensors", files / "b.safetensors"
    assert main([str(a), str(b), "--dataset", data, "--backend", "int8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    labels = ["a FP32", "a int8, mse", "b int8, learned"]
    assert [line[:15].strip() for line in lines[1:]] == labels
    splits = load_dataset(data, ARGS.seq_len, ARGS.forecast_len)
    windows = calibration_windows(splits)
    models = [load_model(path) for path in (a, b)]
    programs = [Forecaster(compile_on(model, windows)) for model in models]
    forecasts = [torch_forecaster(models[0]), *programs]
    for line, forecast in zip(lines[1:], forecasts, strict=True):
        val, test = evaluate(forecast, splits.val), evaluate(forecast, splits.test)
        expected = [val["mse"], val["mae"], test["mse"], test["mae"]]
        assert [float(word) for word in line.split()[-5:-1]] == pytest.approx(expected, abs=6e-5)
    assert lines[1].endswith("+0.00%")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.pt"], "none.pt: no such file"),
        (["a.safetensors", "--dataset", "none"], "'none' is neither a file nor one of"),
        (
            ["a.safetensors", "--dataset", "nyc_weather", "--columns", "a"],
            "'nyc_weather' is read as it is: options of CSV files go with a CSV",
        ),
        (["a.safetensors", "--dataset", "nyc_weather"], r"nyc_weather: found 8 variables, exp"),
    ],
)
def test_errors_are_one_line(files, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(files)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and re.search(message, error)
