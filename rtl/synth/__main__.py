"""``python -m rtl.synth``: resources and timing of the accelerator, or of one module of it."""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import isa
from common import command_line
from rtl.synth import report, wires
from rtl.synth.hierarchy import Unit, elaborate
from rtl.synth.resources import AROUND, Resources, targets
from rtl.synth.synthesize import Result, analyse, synthesize
from rtl.tb.simulate import ROOT

FOLDER = ROOT / "build/synth"
CLOCK_NS = 4.0  # 250 MHz


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status, 1 where a check of resources fails."""
    parser = argparse.ArgumentParser(
        prog="python -m rtl.synth",
        description="Estimate with Yosys what the RTL takes of the ZU9EG, and its longest paths.",
        epilog="The tables are also written as build/synth/MODULE-BUILD.json.",
    )
    parser.add_argument(
        "--build", default="default", choices=isa.builds(), help="build of the accelerator"
    )
    parser.add_argument(
        "--module",
        default="cmamba",
        help="module, with its default parameters; conv is short for cmamba_conv",
    )
    parser.add_argument("--jobs", type=int, default=2, help="units synthesized at a time")
    parser.add_argument("--paths", type=int, default=20, help="longest paths to list")
    args = parser.parse_args(argv)
    if args.jobs < 1:
        parser.error(f"--jobs: found {args.jobs}, expected at least 1")
    if not args.module.startswith("cmamba"):
        args.module = f"cmamba_{args.module}"
    started = time.monotonic()

    FOLDER.mkdir(parents=True, exist_ok=True)
    cache = FOLDER / "cache"
    top, units = elaborate(args.module, args.build, FOLDER)
    _synthesize_all(units, cache, args.jobs)
    results: dict[str, Result] = {}
    for digest, unit in units.items():
        inside = {units[d].module: results[d] for d in unit.children}
        results[digest] = analyse(unit, inside, cache)

    rows = list(_rows(top, units, results))
    paths = sorted(
        (
            (path, unit.name)
            for digest, unit in units.items()
            for path in results[digest].timing.paths
        ),
        reverse=True,
    )
    total = rows[0][3]
    is_whole = args.module == "cmamba"
    allowed = targets(args.build)
    table = [
        report.Row(path, units[digest].name, n, inclusive, _longest(results[digest]))
        for path, digest, n, inclusive, _ in rows
    ]
    print(report.resource_table(table, CLOCK_NS, allowed, AROUND if is_whole else None))
    print()
    print(report.path_table(paths[: args.paths], f"estimated, against {CLOCK_NS:.1f} ns"))
    delays = {units[digest].name: _longest(result) for digest, result in results.items()}
    slow = [f"{name} {delay:.2f}" for name, delay in delays.items() if delay > CLOCK_NS]
    print(f"modules beyond {CLOCK_NS:.1f} ns by this estimate: {', '.join(slow) or 'none'}")
    print()
    print(report.wire_table((units[digest].name, results[digest].wires) for digest in units))
    print()
    failures = list(_failures(top, units, results))
    if is_whole:
        failures += report.over_target(total + AROUND, allowed)
    for line in failures or ["no latches, no memories in registers, all rules and targets met"]:
        print(line)
    print(f"{time.monotonic() - started:.0f} s")

    report.write_json(
        FOLDER / f"{args.module}-{args.build}.json",
        {"module": args.module, "build": args.build, "clock_ns": CLOCK_NS},
        [
            (row, own, {"cells": results[digest].cells})
            for row, (_, digest, _, _, own) in zip(table, rows, strict=True)
        ],
        [(path, unit, {}) for path, unit in paths],
        failures,
    )
    return 1 if failures else 0


def _synthesize_all(units: Mapping[str, Unit], cache: Path, jobs: int) -> None:
    # The largest first, so that none is left alone at the end.
    order = sorted(units.values(), key=lambda unit: len(unit.rtlil), reverse=True)
    with ThreadPoolExecutor(jobs) as pool:
        started = {}
        for unit in order:
            started[pool.submit(_timed, unit, cache)] = unit
        try:
            for n, future in enumerate(as_completed(started), 1):
                seconds = future.result()
                if seconds >= 1:
                    name = started[future].name
                    print(
                        f"[{n}/{len(started)}] {name}: {seconds:.0f} s", file=sys.stderr, flush=True
                    )
        except BaseException:  # also Ctrl-C: without the units that have not been begun
            pool.shutdown(cancel_futures=True)
            raise


def _timed(unit: Unit, cache: Path) -> float:
    begin = time.monotonic()
    synthesize(unit, cache)
    return time.monotonic() - begin


Row = tuple[str, str, int, Resources, Resources]


def _rows(
    digest: str,
    units: Mapping[str, Unit],
    results: Mapping[str, Result],
    path: str = "",
    n: int = 1,
) -> Iterator[Row]:
    """(path of names, digest, instances, their resources with and without the units in them)."""
    unit = units[digest]
    path = f"{path}/{unit.name}" if path else unit.name
    below: list[list[Row]] = []
    own = results[digest].resources * n
    inclusive = own
    for child, count in unit.children.items():
        below.append(list(_rows(child, units, results, path, n * count)))
        inclusive = inclusive + below[-1][0][3]
    yield path, digest, n, inclusive, own
    for rows in sorted(below, key=lambda rows: -rows[0][3].lut):
        yield from rows


def _longest(result: Result) -> float:
    return max((path.delay for path in result.timing.paths), default=0.0)


def _failures(top: str, units: Mapping[str, Unit], results: Mapping[str, Result]) -> Iterator[str]:
    for digest, result in results.items():
        name = units[digest].name
        if result.resources.latches:
            yield f"{name}: {result.resources.latches} latches"
        for memory in result.memories_in_registers:
            yield f"{name}: {memory} became registers"
        yield from wires.failures(name, result.wires, digest == top)


if __name__ == "__main__":
    sys.exit(main())
