"""What an experiment trains, from its TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Published:
    """Figures of others: MSE and MAE for each horizon of the experiment, or where those are not at
    hand, `average` over all of them, [MSE, MAE]."""

    name: str
    source: str
    mse: list[float] = field(default_factory=list)
    mae: list[float] = field(default_factory=list)
    average: list[float] = field(default_factory=list)

    def figures(self, places: list[int], horizons: int) -> list[float]:
        """[MSE, MAE], means over the horizons at `places` among all `horizons`; [] where nobody
        has published them."""
        if self.mse:
            return [mean(values[place] for place in places) for values in (self.mse, self.mae)]
        return self.average if len(places) == horizons else []


@dataclass(frozen=True, eq=False)
class Run:
    """One model, trained on one seed and quantized."""

    dataset: str
    model: str  # its name in the experiment
    horizon: int
    seed: int
    train: dict[str, Any]  # options of model.train_forecast
    qat: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.model}/h{self.horizon}/seed{self.seed}"


@dataclass(frozen=True)
class Experiment:
    """The content of a TOML file of this folder."""

    dataset: str
    horizons: list[int]
    models: dict[str, dict[str, Any]]
    published: list[Published]

    def runs(self, models: list[str], horizons: list[int], seeds: int) -> list[Run]:
        """In the order of the experiment, the first seed of all first.

        Raises ValueError, naming the option: not in the experiment.
        """
        for option, found, known in (
            ("--models", models, list(self.models)),
            ("--horizons", horizons, self.horizons),
        ):
            for value in found:
                if value not in known:
                    expected = ", ".join(map(str, known))
                    raise ValueError(f"{option}: found {value}, expected among {expected}")
        return [
            self._run(model, horizon, seed)
            for seed in range(seeds)
            for model in self.models
            for horizon in self.horizons
            if model in models and horizon in horizons
        ]

    def suffix(self, runs: list[Run]) -> str:
        """What names of files tell about `runs`: nothing, if they are the first seed of all."""
        models = list(dict.fromkeys(run.model for run in runs))
        horizons = list(dict.fromkeys(run.horizon for run in runs))
        seeds = len({run.seed for run in runs})
        return "".join(
            [f"-{model}" for model in models if models != list(self.models)]
            + [f"-h{horizon}" for horizon in horizons if horizons != self.horizons]
            + ([f"-{seeds}seeds"] if seeds > 1 else [])
        )

    def _run(self, name: str, horizon: int, seed: int) -> Run:
        model = self.models[name]
        here = model.get("at", {}).get(str(horizon), {})
        options = [model[key] | here.get(key, {}) for key in ("train", "qat")]
        return Run(self.dataset, name, horizon, seed, *options)


def names() -> list[str]:
    """The experiments that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read(name: str) -> Experiment:
    with open(FOLDER / f"{name}.toml", "rb") as file:
        content = tomllib.load(file)
    published = [Published(**entry) for entry in content.pop("published")]
    return Experiment(**content, published=published)
