"""Training of the regressor: it learns, resumes with the same bits, and reports."""

import csv
import sys

import numpy as np
import pytest
import torch

import run_infer
from model.data.frame_datasets import load_frames
from model.data.synthetic_frames import World, write_recordings
from model.io import load_model
from model.metrics import torch_forecaster
from model.position_error import distances, predict_positions, summarize
from model.regressor import MambaRegressor
from model.regressor_args import RegressorArgs
from model.train_regression import TrainArgs, Trainer, main
from model.training.loops import TrainingError
from tests.resumed import run_resumed

MODEL = {"num_channels": 8, "seq_len": 8, "patch_len": 4, "stride": 4, "d_model": 16, "n_layer": 1}
MODEL_ARGS = RegressorArgs(num_features=8, d_state=4, **MODEL)
SMALL = [
    word for name, value in MODEL.items() for word in (f"--{name.replace('_', '-')}", str(value))
]


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


def command(folder, out, *options):
    return main(["--data", str(folder), "--out", str(out), "--device", "cpu", *SMALL, *options])


def test_learns_more_than_a_linear_map_of_a_frame(tmp_path, folder):
    splits = load_frames(folder, 8)
    trainer = Trainer(MODEL_ARGS, TrainArgs(epochs=8, batch_size=32), splits, tmp_path / "w.npz")
    before = trainer.validate(trainer.model)
    trainer.run()
    assert trainer.history[-1]["val_mean"] < 0.3 * before["mean"]

    def last_frames(windows):
        x, y = windows.batch(slice(None))
        return np.c_[splits.frames.apply(x[:, -1]), np.ones(len(x))], y

    x, y = last_frames(splits.train)
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    x, y = last_frames(splits.val)
    assert trainer.history[-1]["val_mean"] < distances(x @ weights, y).mean()


def test_loss_is_huber_of_the_distance(tmp_path, folder):
    args = TrainArgs(huber_delta=2.0)
    trainer = Trainer(MODEL_ARGS, args, load_frames(folder, 8), tmp_path / "w.npz")
    target = torch.zeros(3, 2)
    output = torch.tensor([[0.0, 0.0], [0.6, 0.8], [6.0, 8.0]], requires_grad=True)
    loss = trainer.loss(output, target)
    assert loss.item() == pytest.approx((0 + 0.5 * 1**2 + 2 * (10 - 0.5 * 2)) / 3)
    loss.backward()  # a distance of 0 has no direction
    expected = torch.tensor([[0, 0], [0.6, 0.8], [1.2, 1.6]]) / 3
    torch.testing.assert_close(output.grad, expected)


def test_resumed_training_ends_with_the_same_bytes(tmp_path, folder):
    args = TrainArgs(epochs=3, ema=0.9, warmup=0.5)
    splits = load_frames(folder, 8)
    Trainer(MODEL_ARGS, args, splits, tmp_path / "whole.npz").run()
    run_resumed(lambda: Trainer(MODEL_ARGS, args, splits, tmp_path / "parts.npz"))
    parts, whole = (np.load(tmp_path / f"{name}.npz") for name in ("parts", "whole"))
    assert all(np.array_equal(parts[key], whole[key]) for key in whole.files)


def test_command_leaves_checkpoint_plot_and_table(tmp_path, capsys, folder, monkeypatch):
    out = tmp_path / "new" / "w.safetensors"
    assert command(folder, out, "--epochs", "2", "--log-folder", str(tmp_path / "log")) == 0
    printed = capsys.readouterr().out
    names = ["w.safetensors", "w.safetensors.cdf.png", "w.safetensors.errors.csv"]
    assert sorted(path.name for path in out.parent.iterdir()) == names
    test = load_frames(folder, 8).test
    trained = torch_forecaster(load_model(out, kind=MambaRegressor))
    figures = summarize(distances(*predict_positions(trained, test)))
    assert (
        "test: mean {mean:.3f} m  median {median:.3f} m  P80 {p80:.3f} m".format(**figures)
        in printed
    )
    rows = list(csv.DictReader((out.parent / names[2]).open()))
    assert len(rows) == len(test)
    errors = [float(row["error"]) for row in rows]
    assert np.mean(errors) == pytest.approx(figures["mean"], abs=1e-3)
    assert len(list(csv.DictReader((tmp_path / "log" / "log.csv").open()))) == 2

    # The checkpoint alone maps frames of any number, in the units of the data, to metres.
    x, y = test.batch(slice(0, 4))
    np.savez(tmp_path / "x.npz", x=x)
    options = ["--weights", str(out), "--input", str(tmp_path / "x.npz"), "--output"]
    assert run_infer.main([*options, str(tmp_path / "y.npz")]) == 0
    assert "input: (4, 8, 8) output: (4, 2)" in capsys.readouterr().out
    found = np.load(tmp_path / "y.npz")["y"]
    np.testing.assert_allclose(distances(found, y), errors[:4], atol=1e-3)
    assert run_infer.main([*options, str(tmp_path / "y.npz"), "--backend", "int8"]) == 0
    assert 0 < distances(np.load(tmp_path / "y.npz")["y"], found).mean() < 0.05 * y.std()


def test_windows_as_arrays(tmp_path, folder, capsys):
    """Longer than the model's window, which keeps the last frames."""
    splits = load_frames(folder, 11)
    (tmp_path / "arrays").mkdir()
    for name in ("train", "val", "test"):
        x, y = getattr(splits, name).batch(slice(0, 64))
        np.savez(tmp_path / "arrays" / f"{name}.npz", x=x, y=y)
    assert command(tmp_path / "arrays", tmp_path / "w.safetensors", "--epochs", "1") == 0
    assert "arrays: Din=8, windows train 64, val 64, test 64" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "nowhere"], "nowhere: expected a folder of recordings"),
        (["--out", "w.pt"], "expected a name ending in .safetensors, found w.pt"),
        (["--seq-len", "200"], "found 150 frames, expected at least the 200 of a window"),
        (["--patch-len", "9"], "patch_len: found 9, expected at most seq_len = 8"),
        (["--huber-delta", "0"], "huber_delta: expected above 0, found 0.0"),
        (["--resume"], "nothing to resume"),
    ],
)
def test_command_reports_errors(tmp_path, capsys, folder, options, message):
    assert command(folder, tmp_path / "w.safetensors", *options) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_model_and_data_have_to_fit(tmp_path, folder):
    args = RegressorArgs(num_features=9, **MODEL)
    with pytest.raises(ValueError, match="num_features: found 9, the data have 8"):
        Trainer(args, TrainArgs(), load_frames(folder, 8), tmp_path / "w.npz")


@pytest.mark.parametrize("module", ["model.train_regression", "model.data.synthetic_frames"])
def test_help(module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as stopped:
        sys.modules[module].main()
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


@pytest.mark.parametrize("kind", ["recordings", "arrays"])
def test_resume_goes_by_what_the_frames_are_and_not_by_where(tmp_path, folder, kind):
    def write(name, change=0.0):
        copy = tmp_path / name
        if kind == "recordings":
            write_recordings(copy, World(base_stations=2), 6, 150, seed=0)
            (changed,) = copy.glob("walk001.positions.npy")
            positions = np.load(changed)
            positions[3] += change
            np.save(changed, positions)
            return copy
        copy.mkdir()
        splits = load_frames(folder, 8)
        for split in ("train", "val", "test"):
            x, y = getattr(splits, split).batch(slice(None))
            x[2, 1] += change
            np.savez(copy / f"{split}.npz", x=x, y=y)
        return copy

    def trainer(data):
        args = TrainArgs(epochs=2, batch_size=32)
        return Trainer(MODEL_ARGS, args, load_frames(data, 8), tmp_path / "w.npz")

    trainer(write("first")).save_state()
    trainer(write("moved")).load_state()
    with pytest.raises(TrainingError, match=r"w\.npz\.resume\.pt: SHA-256 of the data was"):
        trainer(write("changed", 0.5)).load_state()


def test_data_are_not_overwritten(tmp_path, capsys):
    write_recordings(tmp_path / "hall", World(base_stations=2), 3, 20, seed=0)
    out = tmp_path / "w.safetensors"
    (tmp_path / "w.safetensors.errors.csv").hardlink_to(tmp_path / "hall/walk000.json")
    assert command(tmp_path / "hall", out) == 2
    message = f"error: {out}.errors.csv: would be overwritten, and is the file of --data; "
    assert capsys.readouterr().err.startswith(message)
