"""The experiments: a whole one in small, what is kept of it, and its table."""

import re

import pytest

from experiments import run as runs
from experiments import settings, table
from experiments.__main__ import main
from experiments.settings import Experiment, Published, Run
from tests.sines import csv_of_sines

SMALL = {
    "model": "independent",
    **{"seq-len": 24, "patch-len": 8, "stride": 4, "d-model": 8, "n-layer": 1, "d-state": 2},
    **{"epochs": 1, "device": "cpu"},
}


def small_run(folder, **train):
    data = csv_of_sines(folder / "sines.csv")
    return Run(str(data), "small", 8, 0, SMALL | train, {"epochs": 1, "device": "cpu"})


def test_a_run_is_made_once(tmp_path, monkeypatch):
    run, folder = small_run(tmp_path), tmp_path / "run"
    result = runs.result_of(run, folder, threads=1)
    assert set(result) == {"fp32", "calibrated", "qat"}
    assert all(set(figures) == {"mse", "mae"} for figures in result.values())
    assert result["calibrated"]["mse"] == pytest.approx(result["fp32"]["mse"], rel=0.05)
    assert result["calibrated"] != result["fp32"]

    def never(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(runs.subprocess, "run", never)
    assert runs.result_of(run, folder, threads=1) == result
    (folder / "result.json").unlink()  # trained, but not evaluated
    assert runs.result_of(run, folder, threads=1) == result
    with pytest.raises(AssertionError, match="trained again"):  # other settings
        runs.result_of(small_run(tmp_path, lr=1e-3), folder, threads=1)
    assert not (folder / "qat.safetensors").exists()


def test_a_training_that_fails(tmp_path):
    with pytest.raises(runs.RunError, match=r"fp32.log: .*argument --lr: invalid float value"):
        runs.result_of(small_run(tmp_path, lr="high"), tmp_path / "run", threads=1)
    assert not (tmp_path / "run" / "fp32.safetensors").exists()


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


@pytest.mark.parametrize(
    ("models", "horizons", "message"),
    [(["b"], [8], "b: expected one of a"), (["a"], [9], "9: expected one of 8, 16, 24")],
)
def test_what_is_not_in_an_experiment(models, horizons, message):
    with pytest.raises(ValueError, match=message):
        EXPERIMENT.runs(models, horizons, 1)


def test_table():
    def result(mse):
        return {
            "fp32": {"mse": mse, "mae": 2 * mse},
            "calibrated": {"mse": 1.1 * mse, "mae": 2 * mse},
            "qat": {"mse": 1.01 * mse, "mae": 3 * mse},
        }

    chosen = EXPERIMENT.runs(["a"], [8, 24], 2)
    results = dict(zip(chosen, map(result, (0.1, 0.5, 0.2, 0.6)), strict=True))
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.markdown(EXPERIMENT, "a", results).splitlines()
    ]
    head = ["a, 2 seeds", "FP32", "int8, calibrated", "int8, QAT", "QAT against FP32", "Other"]
    assert lines[0] == head and set("".join(lines[1])) == {"-"}
    assert lines[2] == [
        *("8", "0.1500 ±0.0500 / 0.3000", "0.1650 ±0.0550 / 0.3000"),
        *("0.1515 ±0.0505 / 0.4500", "+1.00%", "0.100 / 0.200"),
    ]
    assert lines[3][0::5] == ["24", "0.600 / 0.900"]
    assert lines[4][:2] == ["average", "0.3500 ±0.0500 / 0.7000"]
    assert lines[4][5] == "0.350 / 0.550"


def test_the_experiments_that_there_are():
    for name in settings.names():
        experiment = settings.read(name)
        for entry in experiment.published:
            assert len(entry.mse) == len(entry.mae) == len(experiment.horizons)
        for run in experiment.runs(list(experiment.models), experiment.horizons, 1):
            assert "model" in run.train and "epochs" in run.qat


def test_averages_that_papers_give():
    """The papers print the average over the horizons too."""
    found = {
        entry.name: [sum(values) / 4 for values in (entry.mse, entry.mae)]
        for entry in settings.read("etth1").published
    }
    for name, expected in {
        "CMamba": (0.433, 0.425),
        "iTransformer": (0.454, 0.447),
        "DLinear": (0.456, 0.452),
    }.items():
        assert found[name] == pytest.approx(expected, abs=6e-4)


@pytest.fixture
def replaced(monkeypatch, tmp_path):
    """An experiment on sines, whose runs give a result at once."""
    data = csv_of_sines(tmp_path / "sines.csv")
    figures = {form: {"mse": 0.5, "mae": 0.25} for form in table.FORMS}
    made = []

    def result_of(run, folder, threads):
        if run.horizon == 12:
            raise runs.RunError(f"{folder}: it failed")
        folder.mkdir(parents=True)
        made.append(run)
        return figures

    small = Experiment(str(data), [4, 8, 12], EXPERIMENT.models, EXPERIMENT.published)
    monkeypatch.setattr(settings, "read", lambda name: small)
    monkeypatch.setattr("experiments.__main__.result_of", result_of)
    return made


def test_command(replaced, tmp_path, capsys):
    output = tmp_path / "out"
    argv = ["etth1", "--output", str(output), "--horizons", "4", "8", "--seeds", "2"]
    assert main([*argv, "--jobs", "2"]) == 0
    assert len(replaced) == 4
    text = (output / "etth1" / "table.md").read_text()
    assert re.search(r"\| average +\| 0.5000 ±0.0000 / 0.2500", text)
    assert text in capsys.readouterr().out
    assert (output / "etth1" / "mse.png").stat().st_size > 10_000


def test_command_says_what_failed(replaced, tmp_path, capsys):
    assert main(["etth1", "--output", str(tmp_path / "out")]) == 1
    assert "error: a/h12/seed0: " in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--seeds", "0"], ["--models", "x"], ["--horizons", "9"]])
def test_command_with_an_option_that_cannot_be(replaced, options, capsys):
    with pytest.raises(SystemExit):
        main(["etth1", *options])
    assert "expected" in capsys.readouterr().err
