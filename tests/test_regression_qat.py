"""Quantization-aware training of the regressor: it learns what its program computes."""

import csv
import re

import numpy as np
import pytest
import torch

import run_infer
from compiler.compile import compile_learned
from evaluation.forecaster import Forecaster
from model.data.frame_datasets import load_frames
from model.data.synthetic_frames import World, write_recordings
from model.folded_regressor import FoldedRegressor, fold
from model.io import load_model, save_checkpoint
from model.metrics import torch_forecaster
from model.position_error import distances, predict_positions, summarize
from model.quantization.fake import set_quant_mode
from model.quantization.parameters import is_prepared
from model.registry import build_model
from model.regressor import MambaRegressor
from model.regressor_args import RegressorArgs
from model.train_regression import QatArgs, QatTrainer, TrainArgs, Trainer, main
from tests.both_forwards import run_both
from tests.resumed import run_resumed

ARGS = RegressorArgs(
    num_channels=8,
    num_features=8,
    seq_len=8,
    patch_len=4,
    stride=4,
    d_model=16,
    d_state=4,
    n_layer=1,
)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames") / "hall"
    write_recordings(folder, World(base_stations=2), 6, 150, seed=0)
    return folder


@pytest.fixture(scope="module")
def splits(folder):
    return load_frames(folder, 8)


@pytest.fixture(scope="module")
def fp32(splits, tmp_path_factory):
    """A checkpoint of a trained regressor."""
    out = tmp_path_factory.mktemp("fp32") / "fp32.safetensors"
    Trainer(ARGS, TrainArgs(epochs=6, batch_size=32), splits, out).run()
    return out


def trainer(splits, fp32, out, **options) -> QatTrainer:
    options = {"epochs": 3, "lr": 5e-4, "step_lr": 1e-3, "max_cost": -1.0, **options}
    source = fold(load_model(fp32, kind=MambaRegressor))
    return QatTrainer(source, QatArgs(batch_size=32, **options), splits, out)


def mean_error(position_fn, windows):
    return summarize(distances(*predict_positions(position_fn, windows)))["mean"]


def test_epoch_0_is_the_calibrated_program(splits, fp32, tmp_path):
    loop = trainer(splits, fp32, tmp_path / "w.safetensors")
    program = Forecaster(compile_learned(loop.model))
    validated = loop.validate(loop.model)["mean"]
    assert mean_error(program, splits.val) == pytest.approx(validated, rel=5e-3)
    source = mean_error(torch_forecaster(load_model(fp32, kind=MambaRegressor)), splits.val)
    assert validated != source


def test_it_learns_and_the_program_computes_what_was_learned(splits, fp32, tmp_path):
    loop = trainer(splits, fp32, tmp_path / "w.safetensors", learn_zero_points=True)
    loop.run()
    best = loop.history[loop.best_epoch - 1]["val_mean"]
    assert loop.best_epoch > 0 and best < 0.97 * loop.start["val_mean"]
    saved = load_model(loop.out)
    assert type(saved) is FoldedRegressor and is_prepared(saved)
    x, _ = splits.val.batch(slice(0, 4))
    run = run_both(saved, torch.float64, windows=torch.from_numpy(x))
    assert len(run.integer) > 10
    for point, q in run.integer.items():
        assert (run.real[point] - q).abs().max() < 0.01, point
    program = Forecaster(compile_learned(saved))
    assert mean_error(program, splits.val) == pytest.approx(best, rel=5e-3)


def test_resumed_training_ends_with_the_same_bits(splits, fp32, tmp_path):
    whole = trainer(splits, fp32, tmp_path / "whole.safetensors")
    whole.run()
    second = run_resumed(lambda: trainer(splits, fp32, tmp_path / "parts.safetensors"))
    assert (second.start, second.history) == (whole.start, whole.history)
    assert second.out.read_bytes() == whole.out.read_bytes()


def test_command_prints_fp32_calibrated_and_trained(folder, splits, fp32, tmp_path, capsys):
    out = tmp_path / "qat.safetensors"
    base = ["--data", str(folder), "--device", "cpu", "--epochs", "1", "--lr", "1e-3"]
    base += ["--max-cost", "-1"]
    assert main([*base, "--qat", str(fp32), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.match("tuning (helps|does not help): calibration costs .* validation mean", lines[-7])
    labels = ["FP32", "int8, epoch 0", str(out)]
    parts = [f"{label} {name}" for label in labels for name in ("val", "test")]
    assert [line.split(":")[0] for line in lines[-6:]] == parts
    names = [out.name, f"{out.name}.cdf.png", f"{out.name}.errors.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    rows = list(csv.DictReader((tmp_path / names[2]).open()))
    model = load_model(out)
    set_quant_mode(model, "fakeq")
    figures = [
        mean_error(torch_forecaster(fold(load_model(fp32, kind=MambaRegressor))), splits.test),
        mean_error(torch_forecaster(model), splits.test),
    ]
    assert np.mean([float(r["error"]) for r in rows]) == pytest.approx(figures[1], abs=1e-3)
    printed = [float(lines[i].split("mean ")[1].split(" m")[0]) for i in (-5, -1)]
    assert printed == pytest.approx(figures, abs=6e-4)

    # What it saved is enough for the integer program and for going on.
    x, _ = splits.test.batch(slice(0, 4))
    np.savez(tmp_path / "x.npz", x=x)
    options = ["--weights", str(out), "--input", str(tmp_path / "x.npz"), "--backend", "int8"]
    assert run_infer.main([*options, "--output", str(tmp_path / "y.npz")]) == 0
    found = np.load(tmp_path / "y.npz")["y"]
    np.testing.assert_array_equal(found, Forecaster(compile_learned(model))(x))
    more = tmp_path / "more.safetensors"
    assert main([*base, "--qat", str(out), "--out", str(more)]) == 0
    assert is_prepared(load_model(more))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--d-model", "8"], "--d-model: does not go with --qat, {fp32} says it"),
        (["--qat", "{forecaster}"], "--qat: {forecaster} is a forecaster, expected a regressor"),
        (["--out", "{fp32}"], "{fp32}: would be overwritten, and is the file of --qat"),
        (["--precision", "bf16"], "precision: expected fp32, found 'bf16'"),
    ],
)
def test_command_reports_errors(folder, fp32, tmp_path, capsys, options, message):
    forecaster = tmp_path / "forecaster.safetensors"
    save_checkpoint(build_model("mixing", d_model=8, n_layer=1), forecaster)
    files = {"fp32": fp32, "forecaster": forecaster}
    base = ["--data", str(folder), "--device", "cpu", "--qat", str(fp32)]
    arguments = [word.format(**files) for word in options]
    assert main([*base, "--out", str(tmp_path / "w.safetensors"), *arguments]) == 2
    error = capsys.readouterr().err
    assert message.format(**files) in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [forecaster.name]


def test_options_of_qat_go_with_it(folder, tmp_path, capsys):
    base = ["--data", str(folder), "--out", str(tmp_path / "w.safetensors")]
    assert main([*base, "--steps", "lsq"]) == 2
    assert capsys.readouterr().err == "error: --steps: goes with --qat\n"
