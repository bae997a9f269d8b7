"""Draw floorplan.svg, the ZU9EG and what should lie where: python -m docs.figures.floorplan."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, Rectangle

from rtl.synth.floorplan import (
    COLUMNS,
    DSP_COLUMNS,
    PS_COLUMNS,
    PS_ROWS,
    RAM_COLUMNS,
    REGION_ROWS,
    ROWS,
)

RAM, DSP = "#2e6da4", "#d98032"
# Columns and rows, name, colour.
AREAS = (
    (0, PS_COLUMNS, 0, PS_ROWS, "processing\nsystem", "#dddddd"),
    (0, 18, 180, 300, "parameters,\nsequencer,\nloader, bus", "#eef4e6"),
    (0, 18, 300, ROWS, "convolution,\nvector unit,\nstreams", "#f9eecb"),
    (18, PS_COLUMNS, 180, 300, "activations", "#e9e2f3"),
    (18, PS_COLUMNS, 300, ROWS, "scan", "#f7dfdf"),
)
BOX = {"facecolor": "white", "edgecolor": "none", "pad": 1}
BANDS = "#e3eef8"  # of the weight memory and the array
# From and to, bits, and where its label is.
BUSES = (
    ((30, 215), (52, 215), "inputs 512", (41, 222)),
    ((52, 215), (52, 395), "", (0, 0)),
    ((52, 215), (52, 25), "", (0, 0)),
    ((58, 395), (58, 230), "sums 32 a lane", (68, 290)),
    ((58, 25), (58, 230), "", (0, 0)),
    ((58, 203), (30, 203), "results 256", (45, 192)),
)


def main() -> None:
    plt.rcParams.update({"font.family": "DejaVu Sans", "svg.hashsalt": "floorplan"})
    figure, axes = plt.subplots(figsize=(8.5, 8.5), layout="constrained")
    axes.set(xlim=(-2, COLUMNS + 1), ylim=(-12, ROWS + 22))
    axes.axis("off")
    for left, right, bottom, top, name, colour in AREAS:
        axes.add_patch(Rectangle((left, bottom), right - left, top - bottom, facecolor=colour))
        x, y = (left + right) / 2, (bottom + top) / 2
        box = BOX | {"facecolor": colour}
        axes.text(x, y, name, ha="center", va="center", fontsize=9, bbox=box, zorder=5)
    for band in range(ROWS // REGION_ROWS):
        bottom = band * REGION_ROWS
        axes.add_patch(
            Rectangle((PS_COLUMNS, bottom + 2), COLUMNS - PS_COLUMNS, 56, facecolor=BANDS)
        )
        first = 4.5 * band
        text = f"region {band}: weights of lanes {first:g} to {min(32, first + 4.5):g}"
        text += f" and {32 + first:g} to {min(64, 36.5 + first):g}"
        axes.text(
            66.5, bottom + 12, text, ha="center", va="center", fontsize=7.5, bbox=BOX, zorder=5
        )
    for columns, colour in ((RAM_COLUMNS, RAM), (DSP_COLUMNS, DSP)):
        for column in columns:
            bottom = PS_ROWS if column < PS_COLUMNS else 0
            axes.plot([column] * 2, [bottom, ROWS], color=colour, linewidth=1.6, alpha=0.75)
    for row in range(0, ROWS + 1, REGION_ROWS):
        begin = PS_COLUMNS if row < PS_ROWS else 0
        axes.plot([begin, COLUMNS], [row] * 2, color="#999999", linewidth=0.6, linestyle=":")
    axes.add_patch(Rectangle((0, 0), COLUMNS, ROWS, fill=False, edgecolor="#444444"))
    for start, end, text, place in BUSES:
        axes.add_patch(
            FancyArrowPatch(
                start, end, arrowstyle="-|>", mutation_scale=12, color="#b03a2e", zorder=6
            )
        )
        if text:
            axes.text(*place, text, ha="center", fontsize=7.5, color="#b03a2e", bbox=BOX, zorder=7)
    axes.text(0, ROWS + 8, "block RAM", color=RAM, fontsize=9)
    axes.text(14, ROWS + 8, "DSP48E2", color=DSP, fontsize=9)
    axes.text(28, ROWS + 8, "97 columns and 420 rows of slices; dotted: clock regions", fontsize=9)
    figure.savefig(Path(__file__).with_suffix(".svg"), facecolor="white", metadata={"Date": None})


if __name__ == "__main__":
    main()
