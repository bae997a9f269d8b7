"""Training: it learns, resumes with the same bits, and fails with what was good on disk."""

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from model import forecast_training, train_forecast
from model.args import ModelArgs
from model.data import load_dataset
from model.forecast_training import TrainArgs, Trainer, mix_channels
from model.io import load_model
from model.metrics import evaluate, torch_forecaster
from model.published import PublishedCMamba
from model.published_args import PublishedArgs
from model.train_forecast import main
from model.training.loops import TrainingError, resume_path
from tests.resumed import run_resumed
from tests.sines import SHORT, SMALL_MODEL, csv_of_sines, sine_splits

MODEL_ARGS = ModelArgs(
    num_channels=3,
    seq_len=24,
    patch_len=8,
    stride=4,
    forecast_len=8,
    d_model=16,
    n_layer=1,
    d_state=4,
    instance_norm=True,
    dropout=0.1,
)
TRAIN_ARGS = TrainArgs(epochs=3, batch_size=32, lr=3e-3, loss="huber")


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def splits():
    return sine_splits()


def test_learns_and_keeps_the_best_epoch(tmp_path, splits):
    out = tmp_path / "w.safetensors"
    untrained = Trainer(MODEL_ARGS, TRAIN_ARGS, splits, out)
    before = evaluate(torch_forecaster(untrained.model), splits.val)["mse"]
    trainer = Trainer(MODEL_ARGS, TRAIN_ARGS, splits, out)
    trainer.run()
    best = min(record["val_mse"] for record in trainer.history)
    assert best < 0.7 * before
    # The file is in float16, so it is near the best, not equal to it.
    saved = evaluate(torch_forecaster(load_model(out)), splits.val)["mse"]
    assert saved == pytest.approx(best, rel=1e-2)


def test_resumed_training_ends_with_the_same_bits(tmp_path, splits):
    whole = Trainer(MODEL_ARGS, TRAIN_ARGS, splits, tmp_path / "whole.safetensors")
    whole.run()

    out = tmp_path / "parts.safetensors"
    second = run_resumed(lambda: Trainer(MODEL_ARGS, TRAIN_ARGS, splits, out))
    assert second.history == whole.history
    for (name, tensor), other in zip(
        whole.model.state_dict().items(), second.model.state_dict().values(), strict=True
    ):
        assert torch.equal(tensor, other), name
    assert out.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_stops_when_validation_does_not_improve(tmp_path, splits):
    args = TrainArgs(epochs=50, patience=2)
    trainer = Trainer(MODEL_ARGS, args, splits, tmp_path / "w.safetensors")
    errors = iter([3.0, 2.0, 2.5, 2.0, 1.0])
    trainer.train_epoch = lambda: {"train_loss": 1.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forecast_training, "evaluate", lambda *_: {"mse": next(errors), "mae": 1.0})
        trainer.run()
    assert trainer.epoch == 4 and trainer.best_epoch == 2


@pytest.mark.parametrize("where", ["loss", "weights"])
def test_divergence_keeps_the_last_good_checkpoint(tmp_path, splits, where):
    out = tmp_path / "w.safetensors"
    trainer = Trainer(MODEL_ARGS, TRAIN_ARGS, splits, out)
    train_epoch = trainer.train_epoch

    def spoil_the_second_epoch():
        if trainer.epoch == 0:
            return train_epoch()
        with torch.no_grad():
            trainer.model.output_layer.bias.fill_(float("nan"))
        # Either training meets the NaN, or the evaluation after it does.
        return train_epoch() if where == "loss" else {"train_loss": 0.0}

    trainer.train_epoch = spoil_the_second_epoch
    message = "epoch 2, step 1: loss is nan" if where == "loss" else "window 0, channel 0, step 0"
    with pytest.raises(TrainingError, match=f"{message}.* keeps epoch 1. Try a lower --lr"):
        trainer.run()
    assert np.isfinite(evaluate(torch_forecaster(load_model(out)), splits.val)["mse"])


def test_resume_refuses_another_training(tmp_path, splits):
    out = tmp_path / "w.safetensors"
    with pytest.raises(TrainingError, match="nothing to resume"):
        Trainer(MODEL_ARGS, TRAIN_ARGS, splits, out).load_state()
    trainer = Trainer(MODEL_ARGS, TRAIN_ARGS, splits, out)
    trainer.save_state()
    other = Trainer(MODEL_ARGS, TrainArgs(epochs=3, batch_size=32, lr=1e-3), splits, out)
    with pytest.raises(TrainingError, match=r"lr was 0\.003, now it is 0\.001"):
        other.load_state()
    resume_path(out).write_bytes(b"not a zip")
    with pytest.raises(TrainingError, match="not a training state"):
        trainer.load_state()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("epochs", 0), ("batch_size", 0), ("patience", 0), ("lr", 0.0), ("lr", float("nan"))],
        *[("clip_norm", -1.0), ("weight_decay", -1.0), ("loss", "l3")],
    ],
)
def test_training_arguments_are_checked(field, value):
    with pytest.raises(ValueError, match=f"{field}: expected .* found"):
        TrainArgs(**{field: value})


def test_model_and_data_have_to_fit(tmp_path, splits):
    args = ModelArgs(num_channels=4, seq_len=24, patch_len=8, stride=4, forecast_len=8)
    with pytest.raises(ValueError, match=r"num_channels: found 4, the data have 3"):
        Trainer(args, TRAIN_ARGS, splits, tmp_path / "w.safetensors")


@pytest.mark.parametrize("mode", ["mixing", "independent"])
def test_command_trains_from_a_csv_and_cleans_up(tmp_path, capsys, mode):
    data, out = csv_of_sines(tmp_path / "sines.csv"), tmp_path / "new" / "w.safetensors"
    arguments = [
        "--data",
        str(data),
        "--out",
        str(out),
        "--channel-mode",
        mode,
        *SMALL_MODEL,
        *SHORT,
    ]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert ": V=2, windows train " in printed
    test = evaluate(torch_forecaster(load_model(out)), load_dataset(str(data), 24, 8).test)
    assert f"test: MSE {test['mse']:.4f}  MAE {test['mae']:.4f}" in printed
    assert [path.name for path in out.parent.iterdir()] == ["w.safetensors"]
    args = load_model(out).args
    assert args.channel_mode == mode and args.instance_norm and args.num_channels == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "'nowhere' is neither a file nor one of"),
        (["--out", "w.pt"], "expected a name ending in .safetensors, found w.pt"),
        (["--forecast-len", "10"], "--forecast-len: found 10, expected a multiple of 8"),
        (["--patch-len", "25"], "ModelArgs.patch_len"),
        (
            ["--model", "independent", "--channel-mode", "mixing"],
            "--channel-mode: found mixing, --model independent is independent",
        ),
        (
            ["--model", "mixing", "--channel-mode", "independent"],
            "--channel-mode: found independent, --model mixing is mixing",
        ),
        (
            ["--model", "nested", "--topology", "stacked"],
            "--topology: found stacked, --model nested is nested",
        ),
        (
            ["--model", "published", "--reduction-ratio", "3"],
            "PublishedArgs.reduction_ratio: found 3, expected at most num_channels = 2",
        ),
        (["--seq-len", "150"], "sines, train: empty split: 140 rows"),
        (["--lr", "-1"], "lr: expected above 0, found -1.0"),
        (["--resume"], "nothing to resume"),
        (["--threads", "-1"], "--threads: expected at least 1, found -1"),
        (["--threads", "0"], "--threads: expected at least 1, found 0"),
        (["--device", "abacus"], "--device: cannot compute on 'abacus': "),
        (["--seed", "1" + "0" * 30], "seed: expected an integer of 64 bits, found 1000"),
    ],
)
def test_command_reports_errors(tmp_path, capsys, arguments, message):
    data = csv_of_sines(tmp_path / "sines.csv")
    base = ["--data", str(data), "--out", str(tmp_path / "w.safetensors"), *SMALL_MODEL, *SHORT]
    assert main([*base, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["sines.csv"]


def test_a_folder_in_the_place_of_the_output_is_seen_before_training(tmp_path, capsys):
    data, out = csv_of_sines(tmp_path / "sines.csv"), tmp_path / "w.safetensors"
    out.mkdir()
    assert main(["--data", str(data), "--out", str(out), *SMALL_MODEL, *SHORT]) == 2
    printed = capsys.readouterr()
    assert f"--out: expected a file, found the folder {out}" in printed.err
    assert not printed.out


def test_identity_is_plain_json(tmp_path, splits):
    trainer = Trainer(MODEL_ARGS, TRAIN_ARGS, splits, tmp_path / "w.safetensors")
    trainer.save_state()
    state = torch.load(resume_path(trainer.out), weights_only=True)
    assert json.loads(state["identity"])["train_args"]["loss"] == "huber"


def test_the_best_epoch_is_that_of_the_error_that_is_minimized(tmp_path, splits):
    """The second epoch has the lower MSE, the third the lower MAE."""
    for loss, best in (("mse", 2), ("huber", 2), ("l1", 3)):
        trainer = Trainer(MODEL_ARGS, replace(TRAIN_ARGS, loss=loss), splits, tmp_path / "w")
        for mse, mae in ((3.0, 3.0), (1.0, 2.0), (2.0, 1.0)):
            trainer.history.append({"val_mse": mse, "val_mae": mae})
        assert trainer.best_epoch == best


def test_mixup_mixes_windows_as_their_targets():
    """The same share of the same variable, in windows and targets, another for each sample."""
    torch.manual_seed(0)
    series = torch.randn(400, 3, 10)
    mixed = torch.cat(mix_channels(series[..., :7], series[..., 7:], 0.5), dim=-1)
    added = mixed - series
    permutation = next(
        p
        for p in itertools.permutations(range(3))
        if torch.linalg.matrix_rank(torch.stack([added[0, 0], series[0, p[0]]]), atol=1e-4) == 1
        and torch.linalg.matrix_rank(torch.stack([added[0, 1], series[0, p[1]]]), atol=1e-4) == 1
    )
    share = added / series[:, permutation]
    assert torch.allclose(share, share[..., :1].expand_as(share), rtol=1e-2, atol=1e-3)
    assert share[..., 0].std() == pytest.approx(0.5, rel=0.1)
    assert abs(share[..., 0].mean()) < 0.05


def test_mixup_is_of_training_alone(tmp_path, splits):
    mixed = Trainer(MODEL_ARGS, replace(TRAIN_ARGS, mixup=1.0), splits, tmp_path / "a.safetensors")
    plain = Trainer(MODEL_ARGS, TRAIN_ARGS, splits, tmp_path / "b.safetensors")
    assert mixed.validate(mixed.model) == plain.validate(plain.model)
    losses = [trainer.train_epoch()["train_loss"] for trainer in (mixed, plain)]
    assert losses[0] > 1.2 * losses[1]


def test_a_published_model(tmp_path, capsys):
    out = tmp_path / "w.safetensors"
    data = csv_of_sines(tmp_path / "sines.csv")
    argv = ["--data", str(data), "--out", str(out), "--model", "published", "--mixup", "0.5"]
    argv += ["--reduction-ratio", "1", "--dt-rank", "3"]
    assert main([*argv, *SMALL_MODEL, *SHORT]) == 0
    args = load_model(out, kind=PublishedCMamba).args
    assert (type(args), args.reduction_ratio, args.dt_rank) == (PublishedArgs, 1, 3)
    assert "w.safetensors test: MSE" in capsys.readouterr().out


def test_help_has_the_defaults_of_every_model(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for expected in (
        "S (default: 8)",
        "blocks (default: 4; published: 3)",
        "variables (default: mixing; independent, published: independent)",
        "rounded up (default: auto; published: 32)",
    ):
        assert expected in text


# --- files ---------------------------------------------------------------------------------------


def options(data, out):
    return ["--data", str(data), "--out", str(out), *SMALL_MODEL, *SHORT]


def test_resume_goes_by_what_the_data_are_and_not_by_where(tmp_path, monkeypatch, capsys):
    data, out = csv_of_sines(tmp_path / "sines.csv"), tmp_path / "w.safetensors"
    report = train_forecast.report
    monkeypatch.setattr(train_forecast, "report", interrupt)
    assert main(options(data, out)) == 130
    monkeypatch.setattr(train_forecast, "report", report)

    lines = data.read_text().splitlines()
    date, *values = lines[70].split(",")  # a training row
    changed = [*lines[:70], ",".join([date, "0.123", *values[1:]]), *lines[71:]]
    data.write_text("\n".join([*changed, ""]))
    assert main([*options(data, out), "--resume"]) == 2
    message = (
        rf"^error: {resume_path(out)}: SHA-256 of the data was '\w{{64}}', now it is '\w{{64}}'$"
    )
    assert re.search(message, capsys.readouterr().err, re.MULTILINE)

    data.write_text("\n".join([*lines, ""]))
    (tmp_path / "link.csv").symlink_to(data)
    monkeypatch.chdir(tmp_path)
    assert main([*options("link.csv", out), "--resume"]) == 0


def interrupt(*_):
    raise KeyboardInterrupt


def test_ctrl_c_while_the_data_are_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_forecast, "load_dataset", interrupt)
    assert main(["--out", str(tmp_path / "w.safetensors")]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("output", ["w.safetensors", "w.safetensors.resume.pt", "log/log.csv"])
def test_what_cannot_be_written_is_seen_before_training(tmp_path, capsys, output):
    data, out = csv_of_sines(tmp_path / "sines.csv"), tmp_path / "w.safetensors"
    (tmp_path / output).mkdir(parents=True)
    assert main([*options(data, out), "--log-folder", str(tmp_path / "log")]) == 2
    printed = capsys.readouterr()
    assert str(tmp_path / output) in printed.err and printed.err.count("\n") == 1
    assert not printed.out  # not even the size of the data


@pytest.mark.parametrize("output", ["out", "resume", "log"])
def test_data_are_not_overwritten(tmp_path, capsys, output):
    out = tmp_path / "w.safetensors"
    path = {"out": out, "resume": resume_path(out), "log": tmp_path / "log.csv"}[output]
    content = csv_of_sines(path).read_bytes()
    assert main([*options(path, out), "--log-folder", str(tmp_path)]) == 2
    message = f"error: {path}: would be overwritten, and is the file of --data; "
    assert capsys.readouterr().err.startswith(message)
    assert path.read_bytes() == content
