"""Cycle estimates of a package under the cycle model, per unit and per instruction.

    python -m compiler.estimate                      the reference models (random weights)
    python -m compiler.estimate build/x/package.bin  one package, with a table of its instructions
    python -m compiler.estimate --args ARGS.json     a model that need not be trained: which builds
                                                     hold it, or all that is in the way

The units are simulated as the schedule asks of the hardware: each works through its own entries in
order, and starts one when it has been read from the schedule and its waits are met. The bound is
the MACs of the model's linear layers divided by the MACs a cycle of the array.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import isa
from common import command_line
from common.exit_status import DONE, FAILED
from compiler.compile import compile_model
from compiler.program import CompileError, MisfitError
from compiler.schedule import timing
from compiler.schedule.order import NO_WAIT
from isa.fitting import fitting_build
from isa.package import Package
from isa.phases import Round
from model.args import ModelArgs
from model.inputs import compilable, read_args
from model.published_args import PublishedArgs
from model.quantization.calibrate import Histogram, calibrate
from model.quantization.structure import Quantizable
from model.registry import build_from
from model.regressor_args import RegressorArgs

_BACK_TO_BACK = 5  # forecasts in a row
CLOCK_HZ = 250e6


@dataclass(frozen=True)
class Reference:
    """A model, and the first build that keeps its weights on the chip."""

    args: ModelArgs | PublishedArgs
    build: str = "default"


REFERENCE_MODELS = {
    "ETTh1 mixing (V=7, D=128, 4 blocks)": Reference(ModelArgs(num_channels=7)),
    "ETTh1 independent (7 x V=1, D=128, 2 blocks)": Reference(
        ModelArgs(num_channels=7, channel_mode="independent", n_layer=2)
    ),
    "published (V=7, D=128, 3 blocks)": Reference(PublishedArgs()),
    "nested (V=7, D=128, 4 x 4 blocks)": Reference(
        ModelArgs(num_channels=7, topology="nested"), "deep"
    ),
    "mixing (V=24, D=128, 1 block)": Reference(ModelArgs(num_channels=24, n_layer=1), "large"),
}


@dataclass(frozen=True)
class Timeline:
    """When each entry of each iteration ran: int64 [iterations, entries], as they are executed."""

    start: np.ndarray
    done: np.ndarray
    busy: np.ndarray  # cycles its unit could take no other entry, [entries]
    unit: np.ndarray  # [entries]


def simulate(package: Package, build: isa.Build, iterations: int) -> Timeline:
    """Run the phases `iterations` times under the cycle model."""
    executed = package.executed()
    n, n_units = len(executed), len(isa.UNITS)
    units = [i.unit for i in package.instructions]
    unit = np.array([units[i] for i in executed["instruction"]])
    costs = [
        timing.cost(package.instructions[i], position, build)
        for i, position in executed[["instruction", "position"]].tolist()
    ]
    start = np.zeros((iterations, n), dtype=np.int64)
    done = np.zeros((iterations, n), dtype=np.int64)
    # Of each unit, in order: when its entries completed, and when they started.
    completed: list[list[int]] = [[] for _ in range(n_units)]
    started: list[list[int]] = [[] for _ in range(n_units)]
    times = timing.UnitTimes(running_sums=True)
    read = -timing.FETCH  # when the next entry is read from the schedule: the first starts at 0
    # Of each repeat the waits, and the cycles without a read behind it.
    rounds = [
        (turn.entries["wait"].tolist(), timing.PHASE * _ends_phase(package, turn))
        for turn in package.rounds()
    ]
    for iteration in range(iterations):
        at = 0
        for waits, pause in rounds:
            base = [len(of_unit) for of_unit in completed]
            for wait in waits:
                u = unit[at]
                ready = read + timing.FETCH
                for v in range(n_units):
                    needed = base[v] + wait[v]
                    if wait[v] != NO_WAIT and needed > 0:
                        ready = max(ready, completed[v][needed - 1] + timing.dispatch(v, u))
                start[iteration, at], done[iteration, at] = times.run(u, costs[at], ready)
                started[u].append(start[iteration, at])
                completed[u].append(done[iteration, at])
                # The next is read a cycle later, or when a full queue has room again.
                read += 1
                if len(started[u]) >= timing.QUEUE:
                    read = max(read, started[u][-timing.QUEUE] + 1)
                at += 1
            read += pause
    return Timeline(start, done, np.array([c.busy for c in costs]), unit)


def _ends_phase(package: Package, turn: Round) -> bool:
    """Whether another phase follows a repeat, also in the next iteration."""
    return len(package.phases) > 1 and turn.repeat == package.phases["repeats"][turn.phase] - 1


@dataclass(frozen=True)
class Estimate:
    """Cycles of one forecast, against the bound."""

    macs: int  # of one forecast
    bound: float  # cycles
    single: int  # first input beat to last output beat
    interval: float  # from one forecast to the next when they follow each other
    busy: dict[str, float]  # share of the interval, per unit


def estimate(package: Package, build: isa.Build) -> Estimate:
    """Estimate one package on `build`."""
    per_forecast = package.iterations
    timeline = simulate(package, build, per_forecast * _BACK_TO_BACK)
    ends = timeline.done[per_forecast - 1 :: per_forecast].max(axis=1)
    # A unit starts a cycle before its first beat, and completes a cycle after its last.
    single = int(ends[0]) - 1
    interval = float(ends[-1] - ends[0]) / (_BACK_TO_BACK - 1)
    steps = package.executed()["instruction"]
    macs = per_forecast * sum(timing.macs(package.instructions[i]) for i in steps)
    busy = {
        name: per_forecast * float(timeline.busy[timeline.unit == u].sum()) / interval
        for u, name in enumerate(isa.UNITS)
    }
    return Estimate(macs, macs / build.tile_macs, single, interval, busy)


def instruction_table(package: Package, build: isa.Build) -> str:
    """A table of the instructions: entries, MACs, cycles, and how full the array's tiles are."""
    executed = package.executed()
    lines = [
        f"{'instruction':44} {'opcode':7} {'entries':>7} {'MACs':>10} {'cycles':>8} {'fill':>6}"
    ]
    for index, instruction in enumerate(package.instructions):
        positions = executed["position"][executed["instruction"] == index]
        cycles = sum(timing.cost(instruction, int(p), build).busy for p in positions)
        macs = timing.macs(instruction) * len(positions)
        fill = f"{macs / (cycles * build.tile_macs):6.1%}" if macs else ""
        lines.append(
            f"{package.instruction_name(index):44} {instruction.opcode:7} {len(positions):7} "
            f"{macs:10} {cycles:8} {fill:>6}"
        )
    return "\n".join(lines)


def summary_table(estimates: dict[str, Estimate], build: isa.Build) -> str:
    """A table of models: bound, cycles, ratios, busy shares."""
    lines = [
        f"build '{build.name}': {build.tile_macs} MACs a cycle; cycles are estimates of the model "
        "in compiler/schedule/timing.py",
        f"{'model':46} {'MACs':>11} {'bound':>7} {'single':>7} {'ratio':>6} {'b2b':>8} {'ratio':>6}"
        f" {'us@250MHz':>9}  busy: " + " ".join(f"{name:>10}" for name in isa.UNITS),
    ]
    for name, e in estimates.items():
        lines.append(
            f"{name:46} {e.macs:11,} {e.bound:7.0f} {e.single:7} {e.single / e.bound:6.3f} "
            f"{e.interval:8.1f} {e.interval / e.bound:6.3f} {e.single / CLOCK_HZ * 1e6:9.2f}"
            + " " * 8
            + " ".join(f"{e.busy[unit]:10.1%}" for unit in isa.UNITS)
        )
    return "\n".join(lines)


def random_package(args: ModelArgs, build: isa.Build | None = None) -> Package:
    """A package of `args` with random weights and inputs: cycles do not depend on values."""
    return compile_model(*_random_model(args), build=build)


def _random_model(args: ModelArgs) -> tuple[Quantizable, dict[str, Histogram]]:
    """A model with random weights, and the ranges that random inputs give."""
    torch.manual_seed(0)
    model = compilable(build_from(args).eval())
    windows = (args.num_channels, args.seq_len)
    if isinstance(args, RegressorArgs):
        windows = (args.seq_len, args.num_features)
    x = torch.randn(4, *windows)
    return model, calibrate(model, model.to_tokens(x))


def streamed_tiles(package: Package, build: isa.Build) -> int:
    """Weight tiles that one forecast reads from DDR, as the chip has no room for them."""
    steps = package.executed()[["instruction", "position"]].tolist()
    one = sum(timing.streamed_tiles(package.instructions[i], p, build) for i, p in steps)
    return package.iterations * one


def fit_table(args: ModelArgs, builds: Iterable[isa.Build]) -> tuple[str, bool]:
    """What a model of these arguments takes of each build, and what is in the way of the others.

    Returns:
        The table, and whether any of `builds` holds the model.

    Raises:
        CompileError: no build could hold it.
    """
    model, ranges = _random_model(args)
    lines = [
        f"{'build':8} {'tiles':>6} {'on chip':>7} {'bytes from DDR':>14} {'package, bytes':>14} "
        f"{'bound':>9} {'single':>9} {'ratio':>6} {'b2b':>11} {'ratio':>6} {'us@250MHz':>9}"
    ]
    refusals: list[str] = []
    for build in builds:
        try:
            package = compile_model(model, ranges, build=build)
        except MisfitError as error:
            refusals += ["", f"{build.name} refuses:", *(f"  {m}" for m in error.misfits)]
            continue
        e = estimate(package, build)
        fetched = streamed_tiles(package, build) * build.tile_macs
        lines.append(
            f"{build.name:8} {len(package.weights):6,} {build.capacity['weights']:7,} "
            f"{fetched:14,} {len(package.to_bytes()):14,} {e.bound:9,.0f} {e.single:9,} "
            f"{e.single / e.bound:6.3f} {e.interval:11,.1f} {e.interval / e.bound:6.3f} "
            f"{e.single / CLOCK_HZ * 1e6:9.2f}"
        )
    fits = len(lines) > 1
    return "\n".join([*(lines if fits else ["no build holds the model"]), *refusals]), fits


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m compiler.estimate",
        description="Estimate the cycles of packages, or of the reference models.",
    )
    parser.add_argument("packages", nargs="*", type=Path, help="package files; none: references")
    parser.add_argument(
        "--build",
        help="of isa/builds.toml, instead of the first one that holds a package, or of "
        "the first one that keeps a reference's weights on the chip",
    )
    parser.add_argument(
        "--args",
        type=Path,
        metavar="ARGS.json",
        help="model arguments, as run_infer.py takes them: a table of the builds that hold such a "
        "model, with random weights; status 1 where none does",
    )
    args = parser.parse_args(argv)
    if args.args and args.packages:
        parser.error("--args: found packages too, expected one or the other")
    build = isa.build(args.build) if args.build else None
    if args.args:
        # `small` is there for simulation.
        builds = [build] if build else [b for b in isa.builds().values() if b.name != "small"]
        table, fits = fit_table(read_args(args.args), builds)
        print(table)
        return DONE if fits else FAILED
    estimates: dict[str, dict[str, Estimate]] = {}  # of each build
    for path in args.packages:
        package = Package.read(path, build)
        holder = build or isa.build(fitting_build(package, str(path)))
        print(instruction_table(package, holder) + "\n")
        estimates.setdefault(holder.name, {})[str(path)] = estimate(package, holder)
    for name, reference in () if args.packages else REFERENCE_MODELS.items():
        holder = build or isa.build(reference.build)
        try:
            package = random_package(reference.args, holder)
        except CompileError as error:
            raise CompileError(f"{name}: {error}") from None
        estimates.setdefault(holder.name, {})[name] = estimate(package, holder)
    print("\n\n".join(summary_table(e, isa.build(name)) for name, e in estimates.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
