"""Draw chain.svg, the way from a checkpoint to the board: python docs/figures/chain.py."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

# Name: centre, title, second line, folder, colour, border. A dashed border: nobody has run it yet.
SOFTWARE, HARDWARE, FILE = "#dbe9f6", "#fde5cf", "#eeeeee"
BOXES = {
    "checkpoint": (1.0, 2, "Checkpoint", "CMamba, FP32", "model/", SOFTWARE, "-"),
    "compiler": (3.3, 2, "Compiler", "quantize, lower,\nschedule", "compiler/", SOFTWARE, "-"),
    "package": (5.6, 2, "Package", "program, weights:\none file", "isa/", FILE, "-"),
    "integer": (8.2, 3.6, "Integer model", "PyTorch,\ndefines every bit", "golden/", SOFTWARE, "-"),
    "hls": (8.2, 2, "HLS C++", "compiled with g++", "hls/", HARDWARE, "-"),
    "rtl": (8.2, 0.4, "RTL", "SystemVerilog,\nsimulated", "rtl/", HARDWARE, "-"),
    "bitstream": (11.0, 0.4, "Bitstream", "Vivado", "bitstream_scripts/", HARDWARE, "--"),
    "virtual": (11.0, 2, "Virtual board", "RTL, DMA, DDR,\nsimulated", "host/", HARDWARE, "-"),
    "board": (13.5, 0.4, "ZCU102", "PYNQ driver", "host/", HARDWARE, "--"),
}
ARROWS = (
    ("checkpoint", "compiler"),
    ("compiler", "package"),
    ("package", "integer"),
    ("package", "hls"),
    ("package", "rtl"),
    ("rtl", "virtual"),
    ("rtl", "bitstream"),
    ("bitstream", "board"),
)
EQUAL = (("integer", "hls"), ("hls", "rtl"))
WIDTH, HEIGHT = 1.75, 1.1


def main() -> None:
    # A fixed salt gives the same file on every run.
    plt.rcParams.update({"font.family": "DejaVu Sans", "svg.hashsalt": "chain"})
    figure, axes = plt.subplots(figsize=(11, 3.9), layout="constrained")
    axes.set(xlim=(0, 14.5), ylim=(-0.75, 4.35))
    axes.axis("off")
    boxes = {}
    for name, (x, y, title, text, folder, colour, style) in BOXES.items():
        boxes[name] = FancyBboxPatch(
            (x - WIDTH / 2, y - HEIGHT / 2),
            WIDTH,
            HEIGHT,
            boxstyle="round,pad=0.05",
            facecolor=colour,
            edgecolor="#444444",
            linestyle=style,
        )
        axes.add_patch(boxes[name])
        axes.text(x, y + 0.36, title, ha="center", va="center", weight="bold", fontsize=9.5)
        axes.text(x, y - 0.02, text, ha="center", va="center", fontsize=7.5, linespacing=1.1)
        axes.text(x, y - 0.43, folder, ha="center", va="center", fontsize=7, family="monospace")

    def connect(start: str, end: str, arrow: str, colour: str, line: str = "-") -> None:
        patch = FancyArrowPatch(
            BOXES[start][:2],
            BOXES[end][:2],
            patchA=boxes[start],
            patchB=boxes[end],
            arrowstyle=arrow,
            mutation_scale=13,
            color=colour,
            linestyle=line,
            shrinkA=2,
            shrinkB=2,
        )
        axes.add_patch(patch)

    for start, end in ARROWS:
        connect(start, end, "-|>", "#444444", BOXES[end][6])
    for start, end in EQUAL:
        connect(start, end, "<|-|>", "#b03a2e")
        y = (BOXES[start][1] + BOXES[end][1]) / 2
        axes.text(8.35, y, "equal bits", color="#b03a2e", fontsize=7.5, va="center")
    axes.text(12.2, -0.55, "dashed: not yet run", fontsize=7.5, style="italic", ha="center")
    figure.savefig(Path(__file__).with_suffix(".svg"), facecolor="white", metadata={"Date": None})


if __name__ == "__main__":
    main()
