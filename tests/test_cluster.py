"""Experiments on a Dask cluster: two workers, what one leaves when it is lost, and errors."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from experiments import settings
from experiments.__main__ import main
from experiments.places import Cluster, ClusterError
from experiments.settings import Experiment
from tests.sines import csv_of_sines

SMALL = {
    "model": "independent",
    **{"seq-len": 24, "patch-len": 8, "stride": 4, "d-model": 8, "n-layer": 1, "d-state": 2},
    **{"epochs": 1, "device": "cpu"},
}


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Makes the command run an experiment on sines; returns its folder."""
    data = csv_of_sines(tmp_path / "sines.csv", 300)

    def of(**train):
        models = {"a": {"train": SMALL | train, "qat": {"epochs": 1, "device": "cpu"}}}
        experiment = Experiment(str(data), [8, 16], models, [])
        monkeypatch.setattr(settings, "read", lambda name: experiment)
        return tmp_path / "out" / "etth1"

    return of


def command(folder: Path, address: str, *options: str) -> int:
    return main(["etth1", "--output", str(folder.parent), "--cluster", address, *options])


@pytest.mark.slow
def test_two_workers_make_what_this_machine_makes(small, cluster, tmp_path, capsys):
    folder = small()
    with Client(cluster, set_as_default=False) as client:
        assert len(client.scheduler_info()["workers"]) == 2
        assert command(folder, cluster.scheduler_address) == 0
        # Each worker has made one of the two runs.
        keys = client.run(lambda dask_worker: len(dask_worker.state.log), nanny=False)
        assert all(keys.values())
    table = (folder / "table.md").read_text()
    assert table in capsys.readouterr().out
    times = [(folder / f"a/h{h}/seed0/result.json").stat().st_mtime_ns for h in (8, 16)]
    assert command(folder, cluster.scheduler_address) == 0  # all is there
    assert times == [(folder / f"a/h{h}/seed0/result.json").stat().st_mtime_ns for h in (8, 16)]
    here = tmp_path / "here"
    assert main(["etth1", "--output", str(here)]) == 0
    assert (here / "etth1" / "table.md").read_text() == table


@pytest.mark.slow
def test_another_worker_goes_on_with_what_a_lost_one_trained(small, cluster, monkeypatch):
    folder = small(epochs=12, patience=12)
    log = folder / "a/h8/seed0/fp32.log"
    progress, killed = Cluster.progress, []

    def kill_one(self):
        found = progress(self)
        if not killed and any(epoch >= 3 for path, epoch in found.items() if path == log):
            pids = self._client.run(os.getpid)
            trains = self._client.run(lambda log: log in _logs(), log.resolve())
            worker = next(name for name, does in trains.items() if does)
            os.kill(pids[worker], signal.SIGKILL)
            killed.append(worker)
        return found

    monkeypatch.setattr(Cluster, "progress", kill_one)
    assert command(folder, cluster.scheduler_address, "--horizons", "8") == 0
    assert killed
    epochs = [int(n) for n in re.findall(r"^epoch +(\d+)", log.read_text(), re.MULTILINE)]
    assert epochs == list(range(1, 13))  # none twice, none left out


def _logs():
    from experiments import places

    return [log for each in places._trainings.values() for log in each.progress()]


@pytest.mark.slow
def test_ctrl_c_stops_the_workers(small, cluster, monkeypatch, capsys):
    folder = small(epochs=100_000, patience=100_000)
    log = folder / "a/h8/seed0/fp32.log"
    progress = Cluster.progress

    def interrupt(self):
        found = progress(self)
        if any(epoch for epoch in found.values()):
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Cluster, "progress", interrupt)
    assert command(folder, cluster.scheduler_address, "--horizons", "8") == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    with Client(cluster, set_as_default=False) as client:
        while any(client.run(_logs).values()):
            time.sleep(0.1)
    assert (folder / "a/h8/seed0/fp32.training.safetensors.resume.pt").exists()
    size = log.stat().st_size
    time.sleep(1)
    assert log.stat().st_size == size


@pytest.mark.slow
def test_a_training_that_fails_there(small, cluster, capsys):
    folder = small(lr=1e30)
    assert command(folder, cluster.scheduler_address, "--horizons", "8") == 1
    assert re.search(
        "^error: a/h8/seed0: .*fp32.log: error: training diverged",
        capsys.readouterr().err,
        re.MULTILINE,
    )


@pytest.mark.slow
def test_a_folder_that_a_worker_does_not_see(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(Client, "run", lambda self, function, *args, **kw: {"tcp://w": False})
    with pytest.raises(ClusterError, match=f"worker tcp://w does not see {tmp_path}: --output has"):
        Cluster(cluster.scheduler_address, tmp_path, 1)
    assert not list(tmp_path.iterdir())


def test_no_scheduler(small, capsys, monkeypatch):
    monkeypatch.setattr("experiments.places.CONNECT_SECONDS", 0.2)
    assert command(small(), "tcp://127.0.0.1:1") == 2
    assert re.fullmatch(
        "error: --cluster: tcp://127.0.0.1:1: .*\n", capsys.readouterr().err.split("\r")[-1]
    )


def test_a_cluster_without_workers(small, capsys):
    with LocalCluster(n_workers=0, processes=False, dashboard_address=None) as empty:
        assert command(small(), empty.scheduler_address) == 2
        assert f"{empty.scheduler_address} has no workers: start them" in capsys.readouterr().err


def test_without_dask(small, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert command(small(), "tcp://127.0.0.1:1") == 2
    assert capsys.readouterr().err == "error: --cluster: needs Dask: pip install --group cluster\n"
