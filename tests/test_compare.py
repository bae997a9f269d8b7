"""`python -m evaluation.compare`."""

import re

import pytest
import torch
from tqdm import tqdm

from evaluation import compare, progress
from evaluation.compare import main
from evaluation.forecaster import Forecaster
from golden.cases import compile_on
from model.args import ModelArgs
from model.data import datasets, load_dataset
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


def arguments(files, *more):
    """Of two checkpoints and a CSV."""
    data = csv_of_sines(files / "sines.csv")
    paths = files / "a.safetensors", files / "b.safetensors"
    return [*map(str, paths), "--dataset", str(data), "--backend", "int8", *more]


def test_a_file_is_read_once_for_all_checkpoints(files, monkeypatch, capsys):
    digested = []

    def sha256_of(path):
        digested.append(path.name)
        return "0" * 64

    monkeypatch.setattr(datasets, "sha256_of", sha256_of)
    monkeypatch.setattr(compare, "evaluate", lambda *_: {"mse": 1.0, "mae": 1.0})
    assert main(arguments(files)) == 0
    assert digested == ["sines.csv"]
    assert capsys.readouterr().err.count("sines.csv: ") == 1  # how it was read


def test_missing_bindings_are_said_before_anything_is_loaded(files, monkeypatch, capsys):
    def extension():
        raise ImportError("cmamba_native.so does not exist; `make bindings` builds it")

    monkeypatch.setattr("hls.bindings.extension", extension)
    assert main(["none.pt"]) == 1
    assert "`make bindings`" in capsys.readouterr().err


def test_a_program_that_cannot_run_is_said_before_the_first_forecast(files, monkeypatch, capsys):
    def forecaster(package, backend, **_):
        if package.metadata["quantization"]["method"] == "learned":  # the second checkpoint
            raise ImportError("`make bindings BUILD=large`")
        return Forecaster(package, backend)

    monkeypatch.setattr(compare, "Forecaster", forecaster)
    monkeypatch.setattr(compare, "evaluate", lambda *_: pytest.fail("nothing was to be forecast"))
    assert main(arguments(files)) == 1
    assert "BUILD=large" in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["hls", "int8"])
def test_threads_are_of_fp32_and_of_the_hls_core(files, monkeypatch, backend):
    """PyTorch's own threads wait for each other actively: it has one, in each thread of Python."""
    seen, before = [], torch.get_num_threads()

    def fp32(model, threads):
        seen.append(("fp32", threads))
        return torch_forecaster(model)

    def forecaster(package, name, **options):
        seen.append((name, *options.values()))
        return Forecaster(package)

    def evaluate(*_):
        assert torch.get_num_threads() == 1
        return {"mse": 1.0, "mae": 1.0}

    monkeypatch.setattr("hls.bindings.extension", lambda: None)
    monkeypatch.setattr(compare, "torch_forecaster", fp32)
    monkeypatch.setattr(compare, "Forecaster", forecaster)
    monkeypatch.setattr(compare, "evaluate", evaluate)
    assert main(arguments(files, "--backend", backend, "--threads", "3")) == 0
    int8 = (backend, 3) if backend == "hls" else (backend,)
    assert seen == [("fp32", 3), int8, int8] and torch.get_num_threads() == before


def test_progress_counts_all_windows(files, monkeypatch, capsys):
    def shown(**options):
        return tqdm(**options | {"disable": False, "mininterval": 0})

    monkeypatch.setattr(progress, "tqdm", shown)
    assert main(arguments(files)) == 0
    splits = load_dataset(str(files / "sines.csv"), ARGS.seq_len, ARGS.forecast_len)
    total = 3 * (len(splits.val) + len(splits.test))
    assert f"{total}/{total}" in capsys.readouterr().err


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


def test_no_threads(capsys):
    with pytest.raises(SystemExit):
        main(["a.safetensors", "--threads", "0"])
    assert "--threads: expected at least 1, found 0" in capsys.readouterr().err
