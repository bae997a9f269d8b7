"""The experiments: a whole one in small, what is kept of it, and its table."""

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tqdm import tqdm

from experiments import run as runs
from experiments import settings, table
from experiments.__main__ import main
from experiments.settings import Experiment, Published, Run
from hls import bindings
from isa.streams import AcceleratorError
from model import train_forecast
from model.forecast_training import TrainArgs
from tests.sines import csv_of_sines

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
    "model": "independent",
    **{"seq-len": 24, "patch-len": 8, "stride": 4, "d-model": 8, "n-layer": 1, "d-state": 2},
    **{"epochs": 1, "device": "cpu"},
}


SLEEPING = [sys.executable, "-c", "import time; time.sleep(600)"]


@dataclass(frozen=True)
class OtherDefaults(TrainArgs):
    patience: int = 7


def small_run(folder, **train):
    data = csv_of_sines(folder / "sines.csv")
    return Run(str(data), "small", 8, 0, SMALL | train, {"epochs": 1, "device": "cpu"})


def result_of(run, folder):
    return runs.result_of(run, folder, 1, runs.Trainings())


def test_a_run_is_made_once(tmp_path, monkeypatch):
    run, folder = small_run(tmp_path), tmp_path / "run"
    result = result_of(run, folder)
    assert set(result) == {"fp32", "calibrated", "qat"}
    assert all(set(figures) == {"mse", "mae"} for figures in result.values())
    assert result["calibrated"]["mse"] == pytest.approx(result["fp32"]["mse"], rel=0.05)
    assert result["calibrated"] != result["fp32"]

    def never(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(runs.Trainings, "run", never)
    assert result_of(run, folder) == result
    (folder / "result.json").unlink()  # trained, but not evaluated
    assert result_of(run, folder) == result
    with pytest.raises(AssertionError, match="trained again"):  # other settings
        result_of(small_run(tmp_path, lr=1e-3), folder)
    assert not (folder / "qat.safetensors").exists()


@pytest.mark.parametrize(
    "train", [{"lr": 1e-3}, {"mixup": 0.5}, {"d-model": 16}, {"model": "published"}, {"seed": 1}]
)
def test_settings_that_differ(tmp_path, train):
    run = small_run(tmp_path)
    assert runs.settings_in_full(run) == runs.settings_in_full(small_run(tmp_path))
    assert runs.settings_in_full(run) != runs.settings_in_full(small_run(tmp_path, **train))


def test_other_data_start_a_run_anew(tmp_path, monkeypatch):
    run, folder = small_run(tmp_path), tmp_path / "run"
    folder.mkdir()
    (folder / "settings.json").write_text(runs.settings_in_full(run))
    (folder / "result.json").write_text('{"fp32": {}}')
    assert result_of(run, folder) == {"fp32": {}}
    csv_of_sines(Path(run.dataset), rows=201)  # an hour more, in the same file

    def training(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(runs.Trainings, "run", training)
    with pytest.raises(AssertionError, match="trained again"):
        result_of(run, folder)
    assert not (folder / "result.json").exists()


def test_settings_have_the_defaults(tmp_path, monkeypatch):
    run = small_run(tmp_path)
    before = runs.settings_in_full(run)
    assert runs.settings_in_full(small_run(tmp_path, lr=TrainArgs.lr)) == before
    monkeypatch.setattr(train_forecast, "TrainArgs", OtherDefaults)
    assert runs.settings_in_full(run) != before


def test_two_commands_do_not_work_on_one_run(tmp_path):
    """The training of one that was killed goes on, and the next waits for it."""
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        said = (line.split() for line in killed.stdout)
        child = next(int(words[1]) for words in said if words[0] == "process")
        killed.kill()
    trainings, ended = runs.Trainings(), []

    def work():
        with pytest.raises(runs.RunError, match="run: stopped"):
            runs.result_of(small_run(tmp_path), folder, 1, trainings)
        ended.append(True)

    try:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(timeout=1.5)
        assert thread.is_alive() and not folder.exists()
        trainings.stop()
        thread.join(timeout=60)
        assert ended
    finally:
        os.kill(child, signal.SIGKILL)
    with runs._alone(folder, runs.Trainings()):
        pass


# A command that has started a training; says which process that is.
HOLD = """
import sys, threading, time
from pathlib import Path
from experiments import run
folder, trainings = Path(sys.argv[1]), run.Trainings()
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
with run._alone(folder, trainings) as lock:
    log = folder.with_suffix(".log")
    threading.Thread(target=trainings.run, args=(sleep, log, [lock])).start()
    while not trainings._processes:
        time.sleep(0.01)
    print("process", trainings._processes[log].pid, flush=True)
    time.sleep(600)
"""


def test_a_training_that_fails(tmp_path):
    run = small_run(tmp_path, lr=1e30)
    with pytest.raises(runs.RunError, match=r"fp32.log: error: training diverged"):
        result_of(run, tmp_path / "run")
    assert not (tmp_path / "run" / "fp32.safetensors").exists()


def test_trainings_can_be_seen_and_stopped(tmp_path):
    trainings, log = runs.Trainings(), tmp_path / "fp32.log"
    log.write_text("epoch   1  val\nepoch  12  val\ninterrupted after epoch 12\n")
    status = []
    thread = threading.Thread(target=lambda: status.append(trainings.run(SLEEPING, log)))
    thread.start()
    while not (seen := trainings.progress()):
        time.sleep(0.01)
    assert seen == {log: 12}
    trainings.stop()
    thread.join(timeout=60)
    assert status == [-signal.SIGTERM] and trainings.progress() == {}
    with pytest.raises(runs.RunError, match="stopped"):
        trainings.run(SLEEPING, log)


EXPERIMENT = Experiment(
    dataset="etth1",
    horizons=[8, 16, 24],
    models={
        "a": {
            "train": {"lr": 1, "epochs": 5},
            "qat": {"epochs": 2},
            "at": {"16": {"train": {"lr": 2}}},
        }
    },
    published=[Published("Other", "a paper", [0.1, 0.2, 0.6], [0.2, 0.4, 0.9])],
)


def test_settings_of_a_horizon_take_the_place_of_the_models():
    first, second = EXPERIMENT.runs(["a"], [8, 16], 1)
    assert (first.train, first.qat) == ({"lr": 1, "epochs": 5}, {"epochs": 2})
    assert (second.train, second.qat) == ({"lr": 2, "epochs": 5}, {"epochs": 2})
    assert [run.name for run in EXPERIMENT.runs(["a"], [8], 2)] == ["a/h8/seed0", "a/h8/seed1"]


def test_runs_are_in_order_and_once():
    chosen = EXPERIMENT.runs(["a", "a"], [24, 8, 24], 1)
    assert [run.horizon for run in chosen] == [8, 24]


@pytest.mark.parametrize(
    ("models", "horizons", "seeds", "suffix"),
    [
        (["a", "b"], [8, 16, 24], 1, ""),
        (["b", "a"], [8, 16, 24], 2, "-2seeds"),
        (["b"], [24, 8], 3, "-b-h8-h24-3seeds"),
    ],
)
def test_names_of_tables(models, horizons, seeds, suffix):
    both = replace(EXPERIMENT, models={"a": EXPERIMENT.models["a"], "b": EXPERIMENT.models["a"]})
    assert both.suffix(both.runs(models, horizons, seeds)) == suffix


@pytest.mark.parametrize(
    ("models", "horizons", "message"),
    [
        (["b"], [8], "--models: found b, expected among a"),
        (["a"], [9], "--horizons: found 9, expected among 8, 16, 24"),
    ],
)
def test_what_is_not_in_an_experiment(models, horizons, message):
    with pytest.raises(ValueError, match=message):
        EXPERIMENT.runs(models, horizons, 1)


SIMPLE = {"last value": 0.02, "linear": 0.01}


def test_table():
    def result(mse):
        return {
            "fp32": {"mse": mse, "mae": 2 * mse},
            "calibrated": {"mse": 1.1 * mse, "mae": 2 * mse},
            "qat": {"mse": 1.01 * mse, "mae": 3 * mse},
        }

    chosen = EXPERIMENT.runs(["a"], [8, 24], 2)
    baselines = {
        horizon: {name: {"mse": mse * horizon, "mae": mse} for name, mse in SIMPLE.items()}
        for horizon in (8, 24)
    }
    results = dict(zip(chosen, map(result, (0.1, 0.5, 0.2, 0.6)), strict=True))
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.markdown(EXPERIMENT, "a", results, baselines).splitlines()
    ]
    head = ["a, 2 seeds", "FP32", "int8, calibrated", "int8, QAT", "QAT against FP32"]
    head += ["last value", "linear", "Other"]
    assert lines[0] == head and set("".join(lines[1])) == {"-"}
    assert lines[2] == [
        *("8", "0.1500 ±0.0500 / 0.3000", "0.1650 ±0.0550 / 0.3000"),
        *("0.1515 ±0.0505 / 0.4500", "+1.00%"),
        *("0.1600 / 0.0200", "0.0800 / 0.0100", "0.100 / 0.200"),
    ]
    assert lines[3][0::7] == ["24", "0.600 / 0.900"]
    assert lines[4][:2] == ["average", "0.3500 ±0.0500 / 0.7000"]
    assert lines[4][5:] == ["0.3200 / 0.0200", "0.1600 / 0.0100", "0.350 / 0.550"]


def test_published_averages():
    """They stand beside an average over all horizons, and nowhere else."""
    entry = Published("Other", "a figure", average=[0.25, 0.5])
    assert entry.figures([0, 1, 2], 3) == [0.25, 0.5]
    assert entry.figures([0, 1], 3) == entry.figures([2], 3) == []


def test_the_experiments_that_there_are():
    for name in settings.names():
        experiment = settings.read(name)
        for entry in experiment.published:
            figures = {len(entry.mse), len(entry.mae), 2 * len(entry.average)}
            assert figures in ({4, 0}, {0, 4}) and len(experiment.horizons) == 4
        for run in experiment.runs(list(experiment.models), experiment.horizons, 1):
            assert "model" in run.train and "epochs" in run.qat


@pytest.mark.parametrize(
    ("name", "averages"),
    {
        "etth1": [(0.433, 0.425), (0.454, 0.447), (0.456, 0.452)],
        "etth2": [(0.368, 0.391), (0.383, 0.407), (0.559, 0.515)],
        "ettm1": [(0.376, 0.379), (0.407, 0.410), (0.403, 0.407)],
        "ettm2": [(0.273, 0.316), (0.288, 0.332), (0.350, 0.401)],
        "weather": [(0.237, 0.259), (0.258, 0.279), (0.265, 0.317)],
        "electricity": [(0.169, 0.258), (0.178, 0.270), (0.212, 0.300)],
        "traffic": [(0.444, 0.265), (0.428, 0.282), (0.625, 0.383)],
    }.items(),
)
def test_averages_that_papers_give(name, averages):
    """CMamba's authors print the averages over the horizons, of the other two as well."""
    published = settings.read(name).published
    assert [entry.name for entry in published] == ["CMamba", "iTransformer", "DLinear"]
    for entry, expected in zip(published, averages, strict=True):
        assert entry.figures([0, 1, 2, 3], 4) == pytest.approx(expected, abs=1.3e-3)


VARIABLES = {"weather": 21, "electricity": 321, "traffic": 862}


@pytest.mark.parametrize("name", settings.names())
def test_settings_are_options_of_trainings(name, monkeypatch):
    """Of every model and horizon; without the data, of which only the width counts."""
    width = VARIABLES.get(name, 7)
    data = SimpleNamespace(sha256="data", train=SimpleNamespace(num_channels=width))
    monkeypatch.setattr(train_forecast, "load_dataset", lambda *args: data)
    experiment = settings.read(name)
    assert {"authors", "published"} <= set(experiment.models) and experiment.dataset == name
    for run in experiment.runs(list(experiment.models), experiment.horizons, 1):
        found = json.loads(runs.settings_in_full(run))["fp32"]
        model, training = found["model"], found["training"]
        assert (model["forecast_len"], model["num_channels"]) == (run.horizon, width)
        if run.model == "authors":
            assert training["schedule"] == "decay" and training["weight_decay"] == 0
            assert training["loss"] == "l1" and training["mixup"] > 0
            assert training["clip_norm"] == float("inf") and training["ema"] == 0


def test_baselines_are_kept_with_their_data(tmp_path, monkeypatch):
    run, path = small_run(tmp_path), tmp_path / "baselines.json"
    found = runs.baselines_of(run, path)
    assert list(found) == ["last value", "last day", "linear"]
    assert found["linear"]["mse"] < found["last value"]["mse"]

    def never(*args):
        raise AssertionError("computed again")

    monkeypatch.setattr(runs, "baselines", never)
    assert runs.baselines_of(run, path) == found
    csv_of_sines(Path(run.dataset), rows=201)
    with pytest.raises(AssertionError, match="computed again"):
        runs.baselines_of(run, path)


@pytest.fixture
def replaced(monkeypatch, tmp_path):
    """An experiment on sines, whose runs give a result at once."""
    data = csv_of_sines(tmp_path / "sines.csv", 300)
    figures = {form: {"mse": 0.5, "mae": 0.25} for form in table.FORMS}
    made = []

    def result_of(run, folder, threads, trainings):
        if run.horizon == 24:
            raise AcceleratorError(14, "it failed")
        folder.mkdir(parents=True)
        made.append(run)
        return figures

    models = {"a": {"train": SMALL, "qat": {"epochs": 2}}}
    small = Experiment(str(data), [8, 16, 24], models, EXPERIMENT.published)
    monkeypatch.setattr(settings, "read", lambda name: small)
    monkeypatch.setattr("experiments.places.result_of", result_of)
    return made


@pytest.fixture
def ctrl_c():
    """Raises KeyboardInterrupt also where a shell has started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_command(replaced, tmp_path, capsys):
    output = tmp_path / "out"
    argv = ["etth1", "--output", str(output), "--horizons", "8", "16", "--seeds", "2"]
    assert main([*argv, "--jobs", "2"]) == 0
    assert len(replaced) == 4
    text = (output / "etth1" / "table-h8-h16-2seeds.md").read_text()
    assert re.search(r"\| average +\| 0.5000 ±0.0000 / 0.2500", text)
    assert text in capsys.readouterr().out
    assert (output / "etth1" / "mse-h8-h16-2seeds.png").stat().st_size > 10_000


def test_command_says_what_failed(replaced, tmp_path, capsys):
    assert main(["etth1", "--output", str(tmp_path / "out")]) == 1
    assert re.search("^error: a/h24/seed0: .*: it failed$", capsys.readouterr().err, re.MULTILINE)


@pytest.mark.parametrize(
    ("end", "status", "message"),
    [
        ("error", 1, "error: a/h16/seed0: no memory"),
        ("Ctrl-C", 130, "interrupted; the same command goes on from there"),
    ],
)
def test_an_end_before_time_stops_the_others(
    replaced, ctrl_c, monkeypatch, tmp_path, capsys, end, status, message
):
    logs, shown = [], queue.SimpleQueue()
    monkeypatch.setattr(tqdm, "set_postfix_str", lambda self, text: shown.put(text))

    def result_of(run, folder, threads, trainings):
        folder.mkdir(parents=True)
        if run.horizon == 16:
            while shown.get(timeout=60) != "a/h8/seed0/fp32 epoch 0":
                pass
            if end == "error":
                raise OSError("no memory")
            os.kill(os.getpid(), signal.SIGINT)
        logs.append(folder / "fp32.log")
        raise runs.RunError(f"ended with {trainings.run(SLEEPING, logs[-1])}")

    monkeypatch.setattr("experiments.places.result_of", result_of)
    start = time.monotonic()
    assert main(["etth1", "--output", str(tmp_path / "out"), "--jobs", "2"]) == status
    assert time.monotonic() - start < 300  # not to the end of what sleeps
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == message
    assert f"training, log in {logs[0]}" in out and "stopping a/h8/seed0" in out


def test_command_without_the_bindings(replaced, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bindings, "FOLDER", tmp_path)
    monkeypatch.setattr("experiments.__main__.extension", bindings.extension.__wrapped__)
    assert main(["etth1", "--output", str(tmp_path / "out")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert "`make bindings BUILD=default` builds it" in err and not replaced


def test_command_with_settings_that_cannot_be(replaced, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(SMALL, "lr", "high")
    assert main(["etth1", "--output", str(tmp_path / "out")]) == 2
    message = "error: a/h8/seed0: argument --lr: invalid float value: 'high'\n"
    assert capsys.readouterr().err == message and not replaced


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "0"], "--seeds: expected at least 1"),
        (["--models", "x"], "--models: found x, expected among a"),
        (["--horizons", "9"], "--horizons: found 9, expected among 8, 16, 24"),
    ],
)
def test_command_with_an_option_that_cannot_be(replaced, options, message, capsys):
    with pytest.raises(SystemExit):
        main(["etth1", *options])
    assert message in capsys.readouterr().err


def test_help_lists_models(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name in settings.names():
        assert f"{name}: {', '.join(settings.read(name).models)}" in text


def test_make_clean_keeps_trainings(tmp_path):
    for path in ("build/experiments/etth1", "build/golden"):
        (tmp_path / path).mkdir(parents=True)
    make = ["make", "-f", ROOT / "Makefile", "-I", ROOT]
    subprocess.run([*make, "clean"], cwd=tmp_path, check=True)
    assert [path.name for path in (tmp_path / "build").rglob("*")] == ["experiments", "etth1"]
    subprocess.run([*make, "distclean"], cwd=tmp_path, check=True)
    assert not (tmp_path / "build").exists()
