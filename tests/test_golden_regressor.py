"""A regressor through the commands: export, inference, golden case, report."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

import run_infer
from compiler import export
from evaluation import accuracy
from evaluation.accuracy import forecast_table, measure, position_table, summary_tables
from evaluation.forecaster import Forecaster
from golden.cases import CASES, CompiledCase, build_case
from golden.host import HostSide
from golden.integer_model import IntegerModel
from golden.vectors import golden_tokens
from isa.package import Package
from model.args import ModelArgs
from model.data.frame_datasets import load_frames
from model.data.frames import FrameSplits
from model.data.synthetic_frames import World, write_recordings
from model.folded_regressor import fold
from model.inputs import compilable
from model.io import save_checkpoint
from model.metrics import torch_forecaster
from model.position_error import distances, summarize
from model.regressor_args import RegressorArgs
from tests.compiled_models import random_model
from tests.compiled_regressors import compile_regressor, random_frames, random_regressor

ARGS = RegressorArgs(
    num_features=8, num_channels=6, seq_len=10, patch_len=4, stride=2, d_model=12, n_layer=1
)


# ------------------------------------------------------------------------------ the host


@pytest.fixture(scope="module")
def package() -> Package:
    return compile_regressor(ARGS)


@pytest.mark.parametrize("length", [1, 9, 10, 25])
def test_tokens_and_positions_are_those_of_the_model(package, length):
    model, host = fold(random_regressor(ARGS)), HostSide(package)
    x = torch.cat([random_frames(ARGS, 3, seed) for seed in range(3)], dim=1)[:, :length]
    tokens = host.tokens(x.numpy())
    assert tokens.shape == (3, 1, 10, 8) and tokens.dtype == np.int8
    frames = model.to_tokens(x).double().numpy()
    given = package.metadata["input"]
    expected = np.clip(np.rint(frames / given["scale"]) + given["zero_point"], -128, 127)
    np.testing.assert_array_equal(tokens[:, 0], expected)

    y = np.array([[[-32768, 32767]], [[0, 1]], [[-5, 1000]]], np.int16)
    real = y[:, 0].astype(np.float32) * np.float32(package.metadata["output"]["scale"])
    expected = model.from_core(torch.from_numpy(real), x).numpy()
    np.testing.assert_allclose(host.forecast(y, x.numpy()), expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(3, 8), (1, 10, 7), (1, 0, 8), (1, 1, 10, 8)])
def test_inputs_of_another_shape_are_refused(package, shape):
    message = r"input: found shape .*, expected \[B, T, Din\] = \[B, T >= 1, 8\]"
    with pytest.raises(ValueError, match=message):
        HostSide(package).tokens(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("statistics",), None, "missing or malformed 'statistics'"),
        (("statistics", "frame_mean"), [0.0] * 7, r"frame_mean: found \[0.0, .*expected 8 finite"),
        (("statistics", "position_std"), [1.0, float("nan")], "position_std: found"),
        (("statistics", "position_mean"), None, "missing or malformed 'position_mean'"),
        (
            ("model", "num_features"),
            9,
            "frame_mean: found .* expected 9 finite",
        ),
        (("model", "seq_len"), 12, "n_positions: found 10, expected 12"),
        (("model", "forecast_len"), 2, "RegressorArgs.forecast_len: found 2, expected 1"),
        (("model", "model"), "mixing", "ModelArgs: found unknown fields model"),
    ],
)
def test_metadata_that_contradict_the_program_are_refused(package, path, value, message):
    metadata = json.loads(json.dumps(package.metadata))
    *parents, name = path
    at = metadata
    for parent in parents:
        at = at[parent]
    at[name] = value
    if value is None:
        del at[name]
    with pytest.raises(ValueError, match=message):
        HostSide(dataclasses.replace(package, metadata=metadata))


# ------------------------------------------------------------------------------ commands


@pytest.fixture
def files(tmp_path):
    """Weights, input windows longer than the model's, and a folder of frames."""
    save_checkpoint(random_regressor(ARGS), tmp_path / "model.safetensors")
    x = torch.cat([random_frames(ARGS, 6), random_frames(ARGS, 6, 2)], dim=1)
    np.savez(tmp_path / "x.npz", x=x.numpy())
    write_recordings(tmp_path / "frames", World(base_stations=2), 4, 60, seed=0)
    return tmp_path


def infer(folder, *flags: object) -> int:
    given = ("--weights", folder / "model.safetensors", "--input", folder / "x.npz")
    return run_infer.main([str(a) for a in (*given, "--output", folder / "y.npz", *flags)])


def positions(folder) -> np.ndarray:
    with np.load(folder / "y.npz") as stored:
        return stored["y"]


def test_int8_positions_and_their_distance(files, capsys):
    assert infer(files) == 0
    fp32 = positions(files)
    assert infer(files, "--backend", "int8") == 0
    out, int8 = capsys.readouterr().out, positions(files)
    assert int8.shape == (6, 2) and "input: (6, 20, 8) output: (6, 2)" in out
    figures = summarize(distances(int8, fp32))
    assert f"distance of the positions: mean {figures['mean']:.3f} m  median" in out
    assert 0 < figures["mean"] < 0.1 * fp32.std()


def test_fake_quantization_predicts_int8(files, capsys):
    assert infer(files, "--backend", "int8") == 0
    int8 = positions(files)
    assert infer(files, "--quant-mode", "fakeq") == 0
    # In float32 a value near a tie may fall to the other side.
    assert np.abs(positions(files) - int8).max() < 0.05 * int8.std()


def test_an_exported_package_runs(files, capsys):
    package = files / "out" / "model.bin"
    weights = str(files / "model.safetensors")
    flags = ["--weights", weights, "--output", str(package), "--dataset", str(files / "frames")]
    assert export.main([*flags, "--windows", "20"]) == 0
    captured = capsys.readouterr()
    assert "calibrating on 20 windows" in captured.err and "frame_projection" in captured.out
    metadata = Package.read(package, build="default").metadata
    assert metadata["model"]["model"] == "regressor" and len(metadata["statistics"]) == 4
    assert infer(files, "--backend", "int8", "--package", package) == 0
    assert "calibrating" not in capsys.readouterr().out


def test_the_package_of_another_regressor_is_refused(files, capsys):
    package = compile_regressor(ARGS, seed=1)
    package.write(files / "other.bin")
    assert infer(files, "--backend", "int8", "--package", files / "other.bin") == 2
    assert "compiled from another model: metadata field 'weights_sha256'" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(6, 20, 7), (6, 1, 9)])
def test_input_windows_of_other_features(files, shape, capsys):
    np.savez(files / "x.npz", x=np.zeros(shape, np.float32))
    assert infer(files, "--backend", "int8") == 2
    expected = r"x.npz: 'x': found shape .*, expected \[B, T, Din\] = \[B, T >= 1, 8\]"
    assert re.search(expected, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "a regressor is calibrated on frames: give --dataset or --calibration"),
        (["--dataset", "nyc_weather"], "nyc_weather: expected a folder of recordings"),
        (["--dataset", "FOLDER/four"], "four: found 16 features, expected 8 as the model has"),
        (["--calibration", "FOLDER/short.npz"], r"short.npz: 'x': found shape \[2, 4, 3\]"),
    ],
)
def test_export_says_what_it_lacks(files, flags, message, capsys):
    write_recordings(files / "four", World(base_stations=4), 4, 60, seed=0)
    np.savez(files / "short.npz", x=np.zeros((2, 4, 3), np.float32))
    flags = [flag.replace("FOLDER", str(files)) for flag in flags]
    given = ["--weights", str(files / "model.safetensors"), "--output", str(files / "out.bin")]
    assert export.main([*given, *flags]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (files / "out.bin").exists()


# ------------------------------------------------------------------------------ the golden case


@pytest.fixture(scope="module")
def compiled() -> CompiledCase:
    """With a few windows of its test split only."""

    class Few:
        def __init__(self, windows):
            self.windows = windows

        def __len__(self):
            return 50

        def __getattr__(self, name):
            return getattr(self.windows, name)

        def batch(self, indices):
            return self.windows.batch(70 * np.arange(50)[indices])

    case = build_case(next(case for case in CASES if case.name == "positioning"))
    splits = dataclasses.replace(case.splits, test=Few(case.splits.test))
    return dataclasses.replace(case, splits=splits)


def test_the_shipped_regressor_loses_little(compiled, monkeypatch):
    """Both back ends compute the same bits; this one needs no compiler."""
    monkeypatch.setattr(accuracy, "Forecaster", lambda package, backend: Forecaster(package))
    result = measure(compiled)
    assert list(result.fp32) == ["mean", "median", "p80", "p90"]
    assert result.fp32["mean"] < 1.0 and result.increase < 0.15
    for figures, predict in (
        (result.fp32, torch_forecaster(compiled.model)),
        (result.int8, Forecaster(compiled.package)),
    ):
        x, y = compiled.splits.test.batch(slice(None))
        errors = distances(np.asarray(predict(x)), y)
        assert figures["mean"] == pytest.approx(errors.mean(), rel=1e-4)
        assert figures["p90"] == pytest.approx(np.percentile(errors, 90), rel=1e-4)
    assert min(t.sqnr for t in result.tensors) > 15
    names = [t.name for t in result.tensors]
    assert names[:4] == ["frames", "frame_projection", "frame_norm", "patch_embedding"]
    lines = position_table([result]).splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["positioning", "50", "fp32"],
        ["positioning", "50", "int8"],
    ]
    assert f"{result.int8['p90']:.4f}" in lines[2]


def test_the_report_has_a_table_for_each_kind():
    forecast = accuracy.Accuracy("f", 2, {"mse": 1.0, "mae": 1.0}, {"mse": 1.1, "mae": 1.0}, [])
    errors = {"mean": 1.0, "median": 1.0, "p80": 2.0, "p90": 3.0}
    position = accuracy.Accuracy("p", 2, errors, errors | {"mean": 2.0}, [])
    assert position.increase == 1.0
    report = summary_tables([position, forecast])
    assert report == f"{forecast_table([forecast])}\n\n{position_table([position])}"
    assert summary_tables([position]) == position_table([position])


def test_golden_tokens_are_frames_of_the_test_split(compiled):
    tokens = golden_tokens(compiled)
    assert isinstance(compiled.splits, FrameSplits)
    assert tokens.shape == (3, 1, 32, 16)
    assert IntegerModel(compiled.package).run(tokens).shape == (3, 1, 2)


def test_the_synthetic_frames_have_a_name(compiled):
    splits = load_frames("synthetic", 32)
    x, y = splits.test.batch(np.array([0]))
    expected = compiled.splits.test.batch(np.array([0]))
    assert np.array_equal(x, expected[0]) and np.array_equal(y, expected[1])


def test_a_model_that_cannot_be_compiled():
    with pytest.raises(ValueError, match="a Linear cannot be compiled, it runs in fp32 only"):
        compilable(torch.nn.Linear(2, 2))


def test_a_cmamba_is_compiled_as_it_is():
    model = random_model(ModelArgs(num_channels=2, seq_len=16, forecast_len=8, d_model=8))
    assert compilable(model) is model
