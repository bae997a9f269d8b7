"""Cycles of the HLS core, beside those of the RTL and the bound.

    python -m hls.cycles                       the reference models (random weights)
    python -m hls.cycles build/x/package.bin   packages

The processes of the core (``hls/include/units.h``) run in a simulation that counts cycles: each
takes a step a cycle, and what it writes can be read once it has passed the pipeline behind the step
and the FIFO. So the schedule, the waits and the queues are those of the hardware. How deep the
pipelines are only synthesis knows: `TIMING` says what is assumed. Where ``make csynth`` has left
reports, their numbers take its place.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

import numpy as np

import isa
from common import command_line
from compiler.estimate import REFERENCE_MODELS, estimate, random_package
from hls.bindings import Accelerator
from isa.fitting import fitting_build
from isa.package import Package

REPORTS = Path(__file__).resolve().parents[1] / "build/reports"
FIFO = 1  # from the write of a word to the cycle in which its reader can have it
# Function and loop of a process (hls/src/run.cpp): those of the template `process`, but for one.
_PROCESS, _STEPS = "process_{}_", "process_steps"
_OTHERS = {"Dispatch": ("dispatch_process", "dispatch_steps")}


class Timing(NamedTuple):
    """Cycles of a process.

    Attributes:
        interval: from a step to the next (the loop's II).
        results: stages from the beginning of a step to the write of its results (the loop's depth).
        answers: the same of ends and credits, which need less: a memory has been written.
        why: what ``results`` consists of.
    """

    interval: int
    results: int
    answers: int
    why: str


# Assumed at 4 ns. A block RAM takes 3 cycles with its output register, LUT RAM 2, a product of the
# size of a DSP48E2 3, of 18 x 32 bits 4, an adder or a choice among many 1. A memory is written in
# the second cycle after a packet has been read, so that an answer in the third follows it.
TIMING = {
    "Fetch": Timing(1, 9, 1, "schedule 3, instruction 2, address of a row 3, queue 1"),
    "Dispatch": Timing(1, 2, 2, "ends counted 1, waits compared 1"),
    "StreamIn": Timing(1, 2, 2, "beat 1, its place 1"),
    "RangeReader": Timing(1, 40, 1, "latency of DDR through an HP port; then a beat a cycle"),
    "ArrayMultiply": Timing(
        1,
        16,
        3,
        "address, weights 5, choice of inputs 1, products 3, chains and adders 5, accumulator 1, "
        "groups 1",
    ),
    "ArrayOutput": Timing(
        1, 17, 3, "parameters 3, rotation 2, sums 2, product 4, shift 3, addend 1, clamp 2"
    ),
    "VectorReduce": Timing(1, 13, 3, "row 3, squares 3, adders of 16 lanes 4, accumulator 3"),
    "VectorRoot": Timing(1, 34, 1, "number of bits 2, two for each of 16 digits"),
    "VectorApply": Timing(
        1, 22, 3, "row or logit 3, table 3, product 4, shift 3, product 4, shift 3, clamp 2"
    ),
    "Conv": Timing(
        1, 24, 3, "address 3, taps 2, products 3, adders 4, product 4, shift 3, clamp 2, table 3"
    ),
    "Scan": Timing(
        1, 42, 3, "36 of the RTL (docs/microarchitecture.md), choice of B and C by size of state 6"
    ),
    "StreamOut": Timing(1, 5, 3, "row 3, choice 1, beat 1"),
}


def reported(folder: Path) -> dict[str, Timing]:
    """`TIMING`, with interval and depth of the loops that a report of csynth describes.

    Raises:
        ValueError: a report is not what it should be; with its name.
    """
    timing = dict(TIMING)
    for name in timing:
        function, label = _OTHERS.get(name, (_PROCESS.format(name), _STEPS))
        # The tool may have made a module of its own of the loop: FUNCTION..._Pipeline_LOOP.
        for path in sorted(folder.glob(f"*{function}*csynth.xml")):
            found = _loop(path, label)
            if found is not None:
                interval, depth = found
                timing[name] = timing[name]._replace(
                    interval=interval, results=depth, why=path.name
                )
    return timing


def _loop(path: Path, label: str) -> tuple[int, int] | None:
    """Interval and depth of a pipelined loop; None where the report does not describe it."""
    try:
        loop = ET.parse(path).find(f".//SummaryOfLoopLatency/{label}")
        if loop is None:
            return None
        return int(loop.findtext("PipelineII")), int(loop.findtext("PipelineDepth"))
    except (ET.ParseError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: interval or depth of {label} cannot be read: {error}") from None


def cycles(package: Package, build: str, timing: dict[str, Timing] | None = None) -> int:
    """Cycles of one forecast, from the start of a run to the last beat sent.

    Raises:
        ImportError: the module of the build is not there (``make bindings BUILD=...``).
        AcceleratorError: the build has no room for the package.
    """
    accelerator = Accelerator(package.to_bytes(), build=build)
    shape = accelerator.shape
    size = (shape.iterations, shape.n_sequences, shape.n_positions, shape.token_bytes)
    return accelerator.cycles(np.zeros(size, np.int8), delays(timing or TIMING))


def delays(timing: dict[str, Timing]) -> dict[str, tuple[int, int, int]]:
    """By process: cycles from a step to the next, and from a step to when its results and its
    answers can be read."""
    return {name: (t.interval, t.results + FIFO, t.answers + FIFO) for name, t in timing.items()}


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hls.cycles", description="Cycles of a forecast: bound, RTL, HLS core."
    )
    parser.add_argument("packages", nargs="*", type=Path, help="package files; none: references")
    args = parser.parse_args(argv)
    timing = reported(REPORTS)
    models: list[tuple[str, Package, str]] = []
    for path in args.packages:
        models.append((str(path), Package.read(path), fitting_build(Package.read(path), str(path))))
    for name, reference in () if args.packages else REFERENCE_MODELS.items():
        build = isa.build(reference.build)
        models.append((name, random_package(reference.args, build), reference.build))
    print(f"{'model':46} {'build':8} {'bound':>7} {'RTL':>7} {'HLS':>7} {'HLS/bound':>9}")
    for name, package, build in models:
        rtl = estimate(package, isa.build(build))
        hls = cycles(package, build, timing)
        print(f"{name:46} {build:8} {rtl.bound:7.0f} {rtl.single:7} {hls:7} {hls / rtl.bound:9.3f}")
    assumed = [name for name in timing if timing[name] == TIMING[name]]
    if len(assumed) < len(timing):
        print(f"depths from {REPORTS}; assumed: {', '.join(assumed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
