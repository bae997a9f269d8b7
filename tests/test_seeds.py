"""Seeds of random tests: drawn in every run, and said where a test fails."""

import hypothesis
import pytest

from rtl.tb.simulate import simulation_seed


def test_a_seed_is_drawn_also_in_ci(monkeypatch):
    monkeypatch.delenv("SEED", raising=False)
    seeds = set()
    for ci in ("", "true"):
        monkeypatch.setenv("CI", ci)
        for _ in range(2):
            with simulation_seed() as seed:
                seeds.add(seed)
    assert len(seeds) == 4


def test_the_environment_gives_the_seed(monkeypatch):
    monkeypatch.setenv("SEED", "77")
    with simulation_seed() as seed:
        assert seed == 77


def test_a_failure_says_how_to_repeat_it(monkeypatch):
    monkeypatch.setenv("SEED", "77")
    test = "rtl/tb/fifo/test_fifo.py::test_fifo[1-2]"
    monkeypatch.setenv("PYTEST_CURRENT_TEST", f"{test} (call)")
    with pytest.raises(AssertionError) as failure, simulation_seed():
        raise SystemExit(1)
    command = f"SEED=77 .venv/bin/python -m pytest '{test}'"
    assert str(failure.value) == f"the simulation failed; to repeat it: {command}"


def test_examples_of_hypothesis_are_drawn():
    assert not hypothesis.settings.default.derandomize
    assert hypothesis.settings.default.print_blob
