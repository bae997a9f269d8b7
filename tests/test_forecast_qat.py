"""Quantization-aware training: what it starts from, keeps, saves, and how it goes on."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from compiler.compile import compile_learned
from evaluation.forecaster import Forecaster
from model.args import ModelArgs
from model.data import load_dataset
from model.forecast_qat import QatArgs, QatTrainer
from model.io import load_model, save_checkpoint
from model.metrics import evaluate
from model.published import PublishedCMamba
from model.published_args import PublishedArgs
from model.quantization import cpp, learning
from model.quantization.calibrate import calibrate, calibration_windows
from model.quantization.fake import set_quant_mode
from model.quantization.formats import calibrated_formats
from model.quantization.parameters import is_prepared, learned_formats
from model.quantization.structure import structure_of
from model.registry import build_model
from model.train_forecast import main
from model.training.distributed import ProcessGroup
from model.training.loops import TrainingError
from tests.both_forwards import run_both
from tests.compiled_models import SMALL, random_model
from tests.published_models import SMALL_PUBLISHED, random_published
from tests.resumed import run_resumed
from tests.sines import SHORT, SMALL_MODEL, csv_of_sines, sine_splits

ROOT = Path(__file__).resolve().parents[1]
ARGS = ModelArgs(**(SMALL | {"n_layer": 1, "instance_norm": True, "dropout": 0.1}))
PUBLISHED = PublishedArgs(**(SMALL_PUBLISHED | {"num_channels": 3, "n_layer": 1}))
TRAIN = {"epochs": 3, "batch_size": 64, "lr": 1e-3, "step_lr": 1e-3, "max_cost": -1.0}
ALWAYS = ("--max-cost", "-1")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def splits():
    return sine_splits()


def trainer(splits, out, source=None, **args) -> QatTrainer:
    return QatTrainer(source or random_model(ARGS), QatArgs(**(TRAIN | args)), splits, out)


@pytest.fixture(scope="module")
def trained(splits, tmp_path_factory):
    """A finished training and the model that it saved."""
    loop = trainer(splits, tmp_path_factory.mktemp("qat") / "w.safetensors", learn_zero_points=True)
    loop.run()
    return loop, load_model(loop.out)


# ------------------------------------------------------------------------------ start


def test_it_starts_from_what_the_compiler_would_calibrate(splits, tmp_path):
    loop = trainer(splits, tmp_path / "w.safetensors")
    model = random_model(ARGS)
    ranges = calibrate(model, model.to_tokens(calibration_windows(splits)))
    expected = calibrated_formats(structure_of(model), ranges)
    found = learned_formats(structure_of(loop.model))
    assert {p: a.zero_point for p, a in found.points.items()} == {
        p: a.zero_point for p, a in expected.points.items()
    }
    for point, affine in expected.points.items():
        assert found[point].scale == pytest.approx(affine.scale, rel=1e-6), point


def test_the_start_is_kept_where_training_only_harms(splits, tmp_path, trained):
    _, source = trained
    out = tmp_path / "w.safetensors"
    loop = trainer(splits, out, source, epochs=9, patience=2)
    train_epoch = loop.train_epoch

    def harm():
        record = train_epoch()
        with torch.no_grad():
            loop.model.output_layer.weight.fill_(1.0)
        return record

    loop.train_epoch = harm
    loop.run()
    assert loop.best_epoch == loop.saved_epoch == 0 and loop.epoch == 2
    assert min(r["val_mse"] for r in loop.history) > loop.start["val_mse"]
    saved = load_model(out).state_dict()
    for name, tensor in source.state_dict().items():
        assert torch.equal(saved[name], tensor), name


def test_nothing_is_trained_where_calibration_costs_little(splits, tmp_path):
    source = random_model(ARGS)
    loop = trainer(splits, tmp_path / "w.safetensors", source, max_cost=1.0)
    loop.run()
    assert (loop.epoch, loop.best_epoch, loop.saved_epoch) == (0, 0, 0)
    cost = loop.start["val_mse"] / loop.validate(source)["mse"] - 1
    assert loop.cost(0) == cost != 0
    saved = load_model(loop.out).state_dict()
    for name, tensor in loop.build().state_dict().items():
        assert torch.equal(saved[name], tensor), name
    percent = re.escape(f"{cost:+.2%}")
    assert re.fullmatch(
        f"tuning is not needed: calibration costs {percent} of .* mse, at most --max-cost 100.00%; "
        "the calibrated model is kept",
        loop.verdict(),
    )
    below = trainer(splits, tmp_path / "below.safetensors", source, max_cost=cost - 1e-9, epochs=1)
    below.run()
    assert below.epoch == 1


def test_verdicts_of_a_training(splits, tmp_path, trained):
    loop, saved = trained
    assert loop.verdict().startswith(f"tuning helps: calibration costs {loop.cost(0):+.2%} of ")
    assert loop.verdict().endswith(f"epoch {loop.best_epoch} {loop.cost(loop.best_epoch):+.2%}")
    kept = trainer(splits, tmp_path / "w.safetensors")
    kept.start = {"val_mse": 1.01, "fp32": 1.0}
    kept.history = [{"val_mse": 1.02}]
    assert kept.verdict() == (
        "tuning does not help: calibration costs +1.00% of the FP32 validation mse, and no epoch "
        "less; the calibrated model is kept"
    )
    again = trainer(splits, tmp_path / "again.safetensors", saved)
    again.start = {"val_mse": 1.0}
    assert again.verdict() == "tuning: no epoch is better than the start"
    assert not again.spared


# ------------------------------------------------------------------------------ course


def test_it_learns_and_saves_the_best_as_float32(splits, trained):
    loop, saved = trained
    best = min(r["val_mse"] for r in loop.history)
    assert loop.best_epoch > 0 and best < 0.9 * loop.start["val_mse"]
    assert is_prepared(saved)
    set_quant_mode(saved, "fakeq")
    assert loop.validate(saved)["mse"] == best


def test_weights_steps_and_zero_points_have_moved(trained):
    loop, saved = trained
    start = loop.build().state_dict()
    moved = {name for name, tensor in saved.state_dict().items() if (tensor != start[name]).any()}
    kept = {name for name in start.keys() - moved if not name.endswith(".max_abs")}
    assert {"blocks.0.q_B.zero_point", "blocks.0.q_C.zero_point"} <= kept
    # A zero point moves only where values are clipped.
    assert {name.rsplit(".", 1)[1] for name in kept} == {"zero_point"}
    assert "q_input.zero_point" in moved


def test_the_program_computes_what_was_trained(splits, trained):
    """Every tensor in float64; the forecast's accuracy as it was validated."""
    loop, saved = trained
    run = run_both(saved, torch.float64)
    assert len(run.integer) > 10
    for point, q in run.integer.items():
        assert (run.real[point] - q).abs().max() < 0.01, point
    run = run_both(saved, torch.float32)
    assert (run.real["q_output"] - run.integer["q_output"]).abs().max() < 1.01
    figures = evaluate(Forecaster(compile_learned(saved)), splits.val)
    validated = loop.history[loop.best_epoch - 1]
    assert figures["mse"] == pytest.approx(validated["val_mse"], rel=1e-3)


def test_no_step_of_the_optimizer_leaves_a_step_below_zero(splits, tmp_path):
    loop = trainer(splits, tmp_path / "w.safetensors")
    scale = loop.model.q_input.scale
    with torch.no_grad():
        scale.fill_(1e-12)  # far below its learning rate
    scale.grad = torch.ones_like(scale)
    loop.optimizer.step()
    assert 0 < scale < 1e-12


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quant_mode": "cppq", "ema": 0.9},
        {"source": random_published(PUBLISHED), "learn_zero_points": True, "mixup": 0.5},
    ],
)
def test_resumed_training_ends_with_the_same_bits(splits, tmp_path, options):
    whole = trainer(splits, tmp_path / "whole.safetensors", **options)
    whole.run()
    second = run_resumed(lambda: trainer(splits, tmp_path / "parts.safetensors", **options))
    assert (second.start, second.history) == (whole.start, whole.history)
    assert second.out.read_bytes() == whole.out.read_bytes()


@pytest.mark.parametrize("model", [random_model(ARGS), random_published(PUBLISHED)])
def test_both_modes_train_to_the_same_bits(splits, tmp_path, model):
    """The C++ computes the bits of PyTorch, gradients included."""
    histories = []
    for mode in ("fakeq", "cppq"):
        loop = trainer(splits, tmp_path / f"{mode}.safetensors", model, quant_mode=mode, epochs=1)
        loop.run()
        histories.append(loop.history)
    assert histories[0] == histories[1]


def test_it_goes_on_from_what_was_learned_before(splits, tmp_path, trained, monkeypatch):
    before, saved = trained
    monkeypatch.setattr(learning, "calibrate", None)
    loop = trainer(splits, tmp_path / "w.safetensors", source=saved, epochs=1)
    loop.run()
    assert loop.start == {
        name: before.history[before.best_epoch - 1][name] for name in ("val_mse", "val_mae")
    }


def test_the_state_of_another_source_is_refused(splits, tmp_path):
    loop = trainer(splits, tmp_path / "w.safetensors")
    loop.save_state()
    other = trainer(splits, loop.out, source=random_model(ARGS, seed=1))
    with pytest.raises(TrainingError, match="weights_sha256 was '"):
        other.load_state()
    other = trainer(splits, loop.out, step_lr=1e-2)
    with pytest.raises(TrainingError, match=r"step_lr was 0\.001, now it is 0\.01"):
        other.load_state()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("quant_mode", "fp32"), ("steps", "mse"), ("precision", "bf16")],
        *[("step_lr", -0.1), ("max_cost", float("nan"))],
    ],
)
def test_arguments_are_checked(field, value):
    with pytest.raises(ValueError, match=f"{field}: expected .* found"):
        QatArgs(**{field: value})


def test_the_extension_is_for_the_cpu(splits, tmp_path):
    with pytest.raises(ValueError, match="cppq runs on the CPU, found device cuda:1"):
        QatTrainer(
            random_model(ARGS),
            QatArgs(quant_mode="cppq"),
            splits,
            tmp_path / "w.safetensors",
            ProcessGroup(device="cuda:1"),
        )


# ------------------------------------------------------------------------------ published


def test_a_published_model_learns_what_its_program_computes(splits, tmp_path):
    loop = trainer(splits, tmp_path / "w.safetensors", random_published(PUBLISHED), steps="lsq")
    loop.run()
    assert loop.best_epoch > 0
    assert min(r["val_mse"] for r in loop.history) < 0.9 * loop.start["val_mse"]
    run = run_both(load_model(loop.out, kind=PublishedCMamba), torch.float64)
    for point, q in run.integer.items():
        assert (run.real[point] - q).abs().max() < 0.01, point


def test_command_with_a_published_model(tmp_path, capsys):
    data, fp32 = csv_of_sines(tmp_path / "sines.csv"), tmp_path / "fp32.safetensors"
    base = ["--data", str(data), *SHORT]
    options = ["--model", "published", *SMALL_MODEL]
    assert main([*base, *options, "--out", str(fp32)]) == 0
    out = tmp_path / "qat.safetensors"
    assert main([*base, "--qat", str(fp32), "--out", str(out), "--lr", "1e-3", *ALWAYS]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[-3:-1]] == ["FP32", "int8, epoch 0"]
    assert is_prepared(load_model(out, kind=PublishedCMamba))


# ------------------------------------------------------------------------------ command


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(CSV file, FP32 checkpoint trained on it)."""
    folder = tmp_path_factory.mktemp("fp32")
    data, out = csv_of_sines(folder / "sines.csv"), folder / "fp32.safetensors"
    assert main(["--data", str(data), "--out", str(out), *SMALL_MODEL, *SHORT]) == 0
    return data, out


def test_command_prints_fp32_calibrated_and_trained(files, tmp_path, capsys):
    data, fp32 = files
    out = tmp_path / "qat.safetensors"
    options = ["--qat", str(fp32), "--data", str(data), "--out", str(out), *SHORT, "--lr", "1e-3"]
    options += [*ALWAYS, "--learn-zero-points", "--steps", "lsq", "--step-lr", "1e-2"]
    assert main(options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-5].startswith("tuning helps: calibration costs ")
    labels = [line.split("  ")[0] for line in lines[-4:]]
    assert labels == ["", "FP32", "int8, epoch 0", "int8, epoch 2"]
    assert [path.name for path in tmp_path.iterdir()] == ["qat.safetensors"]
    # The last line, by the integer program.
    model = load_model(out)
    splits = load_dataset(str(data), model.args.seq_len, model.args.forecast_len)
    figures = [evaluate(Forecaster(compile_learned(model)), s) for s in (splits.val, splits.test)]
    printed = [float(word) for word in lines[-1].split()[3:7]]
    expected = [figures[0]["mse"], figures[0]["mae"], figures[1]["mse"], figures[1]["mae"]]
    assert printed == pytest.approx(expected, abs=2e-3)


def test_command_with_a_checkpoint_that_has_learned(files, tmp_path, capsys):
    data, _ = files
    learned, out = tmp_path / "learned.safetensors", tmp_path / "w.safetensors"
    model = random_model(ModelArgs(**(SMALL | {"num_channels": 2, "n_layer": 1})))
    splits = load_dataset(str(data), 24, 8)
    learning.start(model, calibration_windows(splits))
    save_checkpoint(model, learned)
    options = ["--qat", str(learned), "--data", str(data), "--out", str(out), *SHORT]
    assert main(options) == 0
    assert "int8, epoch 0" in capsys.readouterr().out
    assert main([*options, "--steps", "lsq"]) == 2
    assert f"error: --steps: {learned} has steps, learned before\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--d-model", "8"], "--d-model: does not go with --qat, {fp32} says it"),
        (["--model", "mixing"], "--model: does not go with --qat, {fp32} says it"),
        (["--dropout", "0.1"], "--dropout: does not go with --qat, {fp32} says it"),
        (["--qat", "none.safetensors"], "none.safetensors: no such file"),
        (["--qat", "data/test_data.npz"], "data/test_data.npz: holds no model arguments"),
        (["--out", "{fp32}"], "{fp32}: would be overwritten, and is the file of --qat"),
        (["--data", "nyc_weather"], "nyc_weather: found 8 variables, expected 2: the model was"),
        (["--precision", "bf16"], "precision: expected fp32, found 'bf16'"),
        (["--resume"], "nothing to resume"),
    ],
)
def test_command_reports_errors(files, tmp_path, capsys, arguments, message):
    data, fp32 = files
    before = fp32.read_bytes()
    base = ["--qat", str(fp32), "--data", str(data), "--out", str(tmp_path / "w.safetensors")]
    assert main([*base, *SHORT, *(argument.format(fp32=fp32) for argument in arguments)]) == 2
    # The file may have been read before, which is said.
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert message.format(fp32=fp32) in error
    assert fp32.read_bytes() == before and not list(tmp_path.iterdir())


def test_command_with_a_regressor(files, tmp_path, capsys):
    data, _ = files
    regressor = tmp_path / "regressor.safetensors"
    save_checkpoint(build_model("regressor", num_channels=4, d_model=8, n_layer=1), regressor)
    base = ["--qat", str(regressor), "--data", str(data), "--out", str(tmp_path / "w.safetensors")]
    assert main([*base, *SHORT]) == 2
    error = f"error: --qat: {regressor} is a regressor, expected a forecaster\n"
    assert capsys.readouterr().err == error


def test_command_without_the_extension(files, tmp_path, capsys, monkeypatch):
    data, fp32 = files
    monkeypatch.setattr(cpp, "FOLDER", tmp_path)
    monkeypatch.setattr(cpp, "extension", cpp.extension.__wrapped__)
    base = ["--qat", str(fp32), "--data", str(data), "--out", str(tmp_path / "w.safetensors")]
    assert main([*base, *SHORT, "--quant-mode", "cppq"]) == 1
    path = tmp_path / "cmamba_quantization.so"
    *_, error = capsys.readouterr().err.splitlines()
    assert error == f"error: {path} does not exist; `make quantization` builds it"


def test_options_of_qat_go_with_it(files, tmp_path, capsys):
    data, _ = files
    for option in (["--steps", "lsq"], ["--learn-zero-points"], ["--quant-mode", "fakeq"], ALWAYS):
        base = ["--data", str(data), "--out", str(tmp_path / "w.safetensors"), *SHORT, *SMALL_MODEL]
        assert main([*base, *option]) == 2
        assert capsys.readouterr().err == f"error: {option[0]}: goes with --qat\n"


@pytest.mark.slow
def test_two_processes_train_as_one(files, tmp_path):
    data, fp32 = files
    models = {}
    for name, launcher in {
        "one": (),
        "two": ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
    }.items():
        out = tmp_path / f"{name}.safetensors"
        options = ["--qat", str(fp32), "--data", str(data), "--out", str(out), *SHORT, *ALWAYS]
        result = subprocess.run(
            [sys.executable, *launcher, "-m", "model.train_forecast", *options, "--threads", "1"],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("FP32 ") == 1
        models[name] = load_model(out).state_dict()
    for name, tensor in models["one"].items():
        torch.testing.assert_close(models["two"][name], tensor, rtol=1e-3, atol=1e-4)
