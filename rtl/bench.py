"""Cycles of the RTL, measured in simulation, against the bound that its multipliers set.

    make bench-rtl
    python -m rtl.bench --model "ETTh1 mixing"      the models whose names begin so

For each model one forecast and then several back to back, without stalls. The bound is the MACs of
the model's linear layers divided by the MACs a cycle of the array. Weights and data are random:
cycles do not depend on values. Beside each measurement stands what the compiler's cycle model
estimates. The pictures in build/bench show which unit works on which token when.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import isa
from common import command_line
from compiler.estimate import (
    CLOCK_HZ,
    REFERENCE_MODELS,
    Estimate,
    Reference,
    estimate,
    random_package,
)
from isa.package import Package
from isa.streams import BEAT_BYTES
from model.args import ModelArgs
from rtl.simulator import RtlAccelerator, SimulationError, Simulator
from rtl.tb.trace import Run, TraceReader, timeline

BACK_TO_BACK = 5  # forecasts in a row
# Its output layer does not fit on the chip beside the rest, of any build, and streams from memory.
STREAMED_MODEL = {
    "ETTh1 mixing, H=336 (weights stream)": Reference(
        ModelArgs(num_channels=7, forecast_len=336), "large"
    )
}
MODELS = REFERENCE_MODELS | STREAMED_MODEL
PICTURE_CYCLES = 1200  # of the enlarged part of a timeline


@dataclass(frozen=True)
class Measurement:
    """Cycles of a package in simulation.

    Attributes:
        load: from the start of a load to its interrupt.
        single: from the first input beat taken to the last output beat taken, one forecast.
        interval: from one forecast to the next where they follow each other.
        busy: share of the back-to-back run in which a unit had an entry, by its counter.
        streamed_tiles: weight tiles that stay in memory.
        read_beats: 16-byte beats that a forecast reads from memory.
        estimate: of the compiler's cycle model.
        run: events of the back-to-back run.
        simulated: cycles, and seconds they took.
    """

    load: int
    single: int
    interval: float
    busy: dict[str, float]
    streamed_tiles: int
    read_beats: float
    estimate: Estimate
    run: Run
    simulated: tuple[int, float]


def measure(package: Package, build: isa.Build) -> Measurement:
    """Load `package` into the RTL of `build` and run it.

    Raises:
        ImportError: the simulator of this build is not compiled.
        AcceleratorError, SimulationError: the RTL does not do what it should.
    """
    shape = (
        package.iterations,
        package.n_sequences,
        package.n_positions,
        package.token_bytes,
    )
    tokens = np.random.default_rng(0).integers(-128, 128, shape, dtype=np.int8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.txt"
        simulator = Simulator(build.name, plusargs=[f"+trace={path}", "+trace_level=1"])
        accelerator = RtlAccelerator(simulator=simulator)
        began = time.perf_counter(), simulator.cycles
        accelerator.load(package.to_bytes())
        load = accelerator.command_cycles

        def forecast(count: int) -> np.ndarray:
            """Cycle in which each of `count` forecasts has left."""
            simulator.send(accelerator.shape.beats(np.concatenate([tokens] * count)))
            error, sent = accelerator.start(count, tlast_each=True)
            if error:
                raise SimulationError(f"a run ended with error {error}")
            return sent.cycle[sent.last]

        single = int(forecast(1)[0] - simulator.packet_start + 1)
        before = simulator.beats_read
        ends = forecast(BACK_TO_BACK)
        counters = accelerator.counters
        simulated = simulator.cycles - began[1], time.perf_counter() - began[0]
        *_, run = TraceReader(path).runs()
    capacity = build.capacity["weights"]
    tiles = len(package.weights)
    return Measurement(
        load=load,
        single=single,
        interval=float(ends[-1] - ends[0]) / (BACK_TO_BACK - 1),
        busy={unit: cycles / counters.cycles for unit, cycles in counters.busy.items()},
        streamed_tiles=tiles - (capacity - 2) if tiles > capacity else 0,
        read_beats=(simulator.beats_read - before) / BACK_TO_BACK,
        estimate=estimate(package, build),
        run=run,
        simulated=simulated,
    )


def table(measurements: dict[str, Measurement], build: isa.Build) -> str:
    """A table of models: cycles, ratios to the bound, the estimate, busy shares."""
    width = max(map(len, measurements))
    lines = [
        f"build '{build.name}': {build.tile_macs} MACs a cycle; cycles of the simulated RTL, "
        "and of the estimate (est.)",
        f"{'model':{width}} {'MACs':>11} {'bound':>7} | {'single':>7} {'ratio':>6} {'est.':>7} "
        f"{'us@250MHz':>9} | {'b2b':>8} {'ratio':>6} {'est.':>8} {'us@250MHz':>9} | {'load':>8}",
    ]
    for name, m in measurements.items():
        e = m.estimate
        lines.append(
            f"{name:{width}} {e.macs:11,} {e.bound:7.0f} | {m.single:7} "
            f"{m.single / e.bound:6.3f} {e.single:7} {m.single / CLOCK_HZ * 1e6:9.2f} | "
            f"{m.interval:8.1f} {m.interval / e.bound:6.3f} {e.interval:8.1f} "
            f"{m.interval / CLOCK_HZ * 1e6:9.2f} | {m.load:8}"
        )
    lines += ["", f"{'back to back, share of cycles with an entry':{width}} "
              + " ".join(f"{unit:>10}" for unit in isa.UNITS)]  # fmt: skip
    for name, m in measurements.items():
        lines.append(f"{name:{width}} " + " ".join(f"{m.busy[unit]:10.1%}" for unit in isa.UNITS))
    for name, m in measurements.items():
        if m.streamed_tiles:
            lines.append(
                f"\n{name}: {m.streamed_tiles} weight tiles stay in memory; a forecast reads "
                f"{m.read_beats:,.0f} beats ({m.read_beats * BEAT_BYTES / 2**20:.1f} MiB), "
                f"{m.read_beats / m.interval:.1%} of the cycles of m_axi"
            )
    cycles = sum(m.simulated[0] for m in measurements.values())
    seconds = sum(m.simulated[1] for m in measurements.values())
    lines.append(f"\nsimulated {cycles:,} cycles at {cycles / seconds:,.0f} cycles/s")
    return "\n".join(lines)


def _group(name: str) -> str:
    """What an instruction is coloured by: its block, or its own name outside of blocks."""
    found = re.match(r".*?blocks?\.\d+(\.\d+)?", name)
    return found[0] if found else name


def plot(package: Package, measurement: Measurement, title: str, path: Path) -> None:
    """Draw the first two forecasts of the back-to-back run.

    A row for each unit, a bar for each entry from its start to its completion, coloured by block;
    below, enlarged, with the tokens' numbers.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    start, done = timeline(package, measurement.run, BACK_TO_BACK * package.iterations)
    names = [package.instruction_name(i) for i in range(len(package.instructions))]
    groups = list(dict.fromkeys(_group(name) for name in names))
    colours = plt.get_cmap("turbo")(np.linspace(0.15, 0.85, len(groups)))
    executed = package.executed()
    instruction = executed["instruction"]
    colour = np.array([colours[groups.index(_group(names[i]))] for i in instruction])
    unit = np.array([package.instructions[i].unit for i in instruction])
    token = executed["token"]

    end = int(done[: 2 * package.iterations].max())
    middle = int(done[: package.iterations].max())
    figure, axes = plt.subplots(2, 1, figsize=(22, 9), layout="constrained")
    ranges = [(0, end), (middle - PICTURE_CYCLES // 2, middle + PICTURE_CYCLES // 2)]
    for axis, (left, right) in zip(axes, ranges, strict=True):
        for u in range(len(isa.UNITS)):
            # Entries overlap in a unit's pipeline: neighbours lie in different halves of the row.
            own = unit == u
            s, d = start[:, own].ravel(), done[:, own].ravel()
            c = np.tile(colour[own], (len(start), 1))
            t = np.tile(token[own], len(start))
            for half in (0, 1):
                at = np.arange(len(s)) % 2 == half
                at &= (s >= 0) & (s < right) & (d > left)
                axis.broken_barh(
                    list(zip(s[at], (d - s)[at], strict=True)),
                    (u - 0.42 + 0.42 * half, 0.42),
                    facecolors=c[at],
                    edgecolor="black",
                    linewidth=0.15 if right - left > PICTURE_CYCLES else 0.5,
                )
                if right - left > PICTURE_CYCLES:
                    continue
                for k in np.flatnonzero(at):
                    x = (max(s[k], left) + min(d[k], right)) / 2
                    y = u - 0.21 + 0.42 * half
                    axis.text(x, y, str(t[k]), ha="center", va="center", fontsize=6, clip_on=True)
        axis.set_xlim(left, right)
        axis.set_ylim(len(isa.UNITS) - 0.5, -0.5)
        axis.set_yticks(range(len(isa.UNITS)), isa.UNITS)
        axis.set_xlabel("cycles from the start of the run")
    axes[0].set_title(f"{title}: two forecasts back to back")
    axes[1].set_title("enlarged, where one ends and the next goes on; numbers are tokens")
    axes[0].legend(
        [Patch(color=c) for c in colours],
        groups,
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        fontsize=7,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m rtl.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--build",
        choices=isa.builds(),
        help="of isa/builds.toml, instead of the first that keeps a model's weights on the chip",
    )
    parser.add_argument("--model", default="", help="only models whose names begin so")
    parser.add_argument("--output", type=Path, default=Path("build/bench"), help="for pictures")
    args = parser.parse_args(argv)
    chosen = {n: a for n, a in MODELS.items() if n.startswith(args.model)}
    if not chosen:
        parser.error(f"--model: found {args.model!r}, expected the beginning of one of {[*MODELS]}")
    measurements: dict[str, dict[str, Measurement]] = {}  # of each build
    pictures = []
    args.output.mkdir(parents=True, exist_ok=True)
    for name, reference in chosen.items():
        build = isa.build(args.build or reference.build)
        package = random_package(reference.args, build)
        measurement = measure(package, build)
        measurements.setdefault(build.name, {})[name] = measurement
        stem = re.sub(r"\W+", "_", name.split("(")[0].strip().lower())
        pictures.append(args.output / f"timeline_{stem}.png")
        plot(package, measurement, name, pictures[-1])
    for name, measured in measurements.items():
        print(table(measured, isa.build(name)) + "\n")
    for picture in pictures:
        print(f"picture: {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
