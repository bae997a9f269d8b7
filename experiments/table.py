"""The tables of an experiment: means over seeds, beside what others have published."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean

from common.atomic_write import atomic_write
from experiments.run import Result
from experiments.settings import Experiment, Run

FORMS = {"fp32": "FP32", "calibrated": "int8, calibrated", "qat": "int8, QAT"}
KEYS = ("mse", "mae")


def markdown(
    experiment: Experiment,
    model: str,
    results: dict[Run, Result],
    baselines: dict[int, Result],
) -> str:
    """MSE / MAE of one model on the test split: a line for each horizon, and for their average.

    With several seeds the mean, and half the distance between the extremes of the MSE. Beside them
    the `baselines` of each horizon, and what others have published.
    """
    of_model = {run: result for run, result in results.items() if run.model == model}
    horizons = sorted({run.horizon for run in of_model})
    seeds = sorted({run.seed for run in of_model})
    head = [f"{model}, {len(seeds)} seed{'s' * (len(seeds) > 1)}", *FORMS.values()]
    simple = list(baselines[horizons[0]])
    head += ["QAT against FP32", *simple, *(entry.name for entry in experiment.published)]
    rows = []
    for name, chosen in {**{str(h): [h] for h in horizons}, "average": horizons}.items():
        # Of each seed, its mean over the chosen horizons.
        figures = {
            (form, key): [
                mean(
                    r[form][key]
                    for run, r in of_model.items()
                    if run.horizon in chosen and run.seed == seed
                )
                for seed in seeds
            ]
            for form in FORMS
            for key in KEYS
        }
        row = [name, *(_cell(figures[form, "mse"], figures[form, "mae"]) for form in FORMS)]
        row.append(f"{mean(figures['qat', 'mse']) / mean(figures['fp32', 'mse']) - 1:+.2%}")
        places = [experiment.horizons.index(horizon) for horizon in chosen]
        for name in simple:
            row.append(_cell(*([mean(baselines[h][name][key] for h in chosen)] for key in KEYS)))
        for entry in experiment.published:
            means = entry.figures(places, len(experiment.horizons))
            row.append(" / ".join(f"{value:.3f}" for value in means))
        rows.append(row)
    return "\n".join(_lines(head, rows))


def _cell(mse: list[float], mae: list[float]) -> str:
    spread = f" ±{(max(mse) - min(mse)) / 2:.4f}" if len(mse) > 1 else ""
    return f"{mean(mse):.4f}{spread} / {mean(mae):.4f}"


def _lines(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rows = [head, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]


def plot(experiment: Experiment, results: dict[Run, Result], path: Path) -> None:
    """MSE over the horizons: the mean over seeds in FP32 and int8, and published figures."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for color, model in enumerate(dict.fromkeys(run.model for run in results)):
        horizons = sorted({run.horizon for run in results if run.model == model})
        for form, style in (("fp32", "-o"), ("qat", "--s")):
            heights = [
                mean(
                    result[form]["mse"]
                    for run, result in results.items()
                    if (run.model, run.horizon) == (model, horizon)
                )
                for horizon in horizons
            ]
            label = f"{model}, {FORMS[form]}"
            axes.plot(horizons, heights, style, color=f"C{color}", label=label, markersize=4)
    for entry in experiment.published:
        if not entry.mse:
            continue
        axes.plot(
            experiment.horizons, entry.mse, ":x", linewidth=1, label=f"{entry.name}, published"
        )
    axes.set_xticks(experiment.horizons)
    axes.set_xlabel("forecast, steps")
    axes.set_ylabel("test MSE")
    axes.grid(alpha=0.4)
    axes.legend(fontsize=8)
    with atomic_write(path) as file:
        figure.savefig(file, dpi=110, format="png")
    plt.close(figure)
