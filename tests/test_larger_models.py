"""The larger models of docs/architecture.md compile for `default`, as its table says."""

import re
from pathlib import Path

import pytest

import isa
from compiler.estimate import estimate, random_package
from model.args import ModelArgs
from model.published_args import PublishedArgs

DOCUMENT = Path(__file__).resolve().parents[1] / "docs/architecture.md"
SLOW = pytest.mark.slow
MODELS = {
    "published, 5 blocks": PublishedArgs(n_layer=5),
    "published, 5 blocks, H=720": PublishedArgs(n_layer=5, forecast_len=720),
    "independent, L=720": ModelArgs(7, 720, channel_mode="independent", n_layer=2),
    "mixing, 16 blocks": ModelArgs(7, n_layer=16),
    "nested, L=336": ModelArgs(7, 336, topology="nested"),
    "nested, L=720": ModelArgs(7, 720, topology="nested"),
    "mixing, L=720": ModelArgs(7, 720),
    "independent, L=720, H=720": ModelArgs(
        7, 720, forecast_len=720, channel_mode="independent", n_layer=2
    ),
}


def rows() -> dict[str, list[str]]:
    """Of the table, by the name of the model."""
    cells = re.findall(r"^\| (.*) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    table = [row.split(" | ") for row in cells]
    return {row[0]: row[1:] for row in table if row[0] in MODELS}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == "mixing, 16 blocks" else SLOW) for n in MODELS]
)
def test_what_the_table_says(name):
    build = isa.build()
    package = random_package(MODELS[name], build)
    cycles = estimate(package, build)
    assert rows()[name] == [
        f"{len(package.weights):,}",
        f"{len(package.executed()):,}",
        f"{len(package.schedule):,}",
        f"{len(package.phases):,}",
        f"{cycles.bound:,.0f}",
        f"{cycles.single:,}",
        f"{cycles.single / cycles.bound:.2f}",
    ]
