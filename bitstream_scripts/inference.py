"""Whether synthesis made of the accelerator what it was designed for.

Placement takes hours, and a memory that became flip-flops is known after minutes. What Vivado
inferred is compared, module by module, with the estimate of ``rtl.synth`` for the same build:
block RAM, DSP48E2 and LUTs as memory. Besides, a block RAM has its output register, which is where
250 MHz come from, and no memory is in flip-flops.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bitstream_scripts.reports import Unit, parse_utilization
from common.errors import CmambaError
from rtl.synth.hierarchy import sources
from rtl.synth.resources import Resources

ROOT = Path(__file__).resolve().parents[1]
TOP = "cmamba"

# How far a module may be from its estimate: at least so many, or this share. Yosys and Vivado build
# block RAM by the same rules. Each has its own for small memories, and for small products, as of
# addresses: a DSP48E2 or LUTs.
TOLERANCES = {"bram": (2, 0.02), "dsp": (8, 0.05), "lutram": (64, 0.25)}
_NAMES = {"bram": "block RAMs", "dsp": "DSP48E2", "lutram": "LUTs as memory"}

# The queue of axi_read gives its word after one cycle, so its block RAM has no output register.
WITHOUT_OUTPUT_REGISTER = frozenset({"cmamba_axi_read"})

# Vivado names a module MODULE__parameterized1_2, and in a design of IP IP_MODULE.
_SUFFIX = re.compile(r"(__parameterized\d+|__xdcDup__\d+)*(_\d+)?$")
# An array with a RAM style, and its name: what write_inference looks for in flip-flops.
ARRAY = re.compile(r"\(\* ram_style = [^*]*\*\)\s*\w[^;]*?\s(\w+)\s*\[[^;\]]*\];")
# Messages of synthesis that a memory is none (UG901); the name of the array in quotes.
_DISSOLVED = re.compile(r"^WARNING: \[Synth 8-4767\] .*RAM '(\w+)_reg'.*$", re.MULTILINE)


class InferenceError(CmambaError, RuntimeError):
    """The estimate is not there."""


@dataclass(frozen=True)
class Estimate:
    """What `rtl.synth` found: resources of each module without the modules in it, and in which
    module it is."""

    own: dict[str, Resources]
    parent: dict[str, str | None]


def memories(build: str) -> list[str]:
    """Names of the arrays of the RTL that are to be memories."""
    return sorted({n for path in sources(build) for n in ARRAY.findall(path.read_text("utf-8"))})


# ------------------------------------------------------------------------------- the estimate


def estimate(build: str, folder: Path = ROOT / "build/synth") -> Estimate:
    """The estimate of `make synth` for a build; made first where it is not there or old.

    Raises:
        InferenceError: Yosys has failed.
    """
    path = folder / f"{TOP}-{build}.json"
    newest = max(p.stat().st_mtime for p in sources(build))
    if not path.is_file() or path.stat().st_mtime < newest:
        print(f"estimating the build {build} with Yosys, to compare with (minutes)", flush=True)
        jobs = str(min(8, os.cpu_count() or 1))
        command = [sys.executable, "-m", "rtl.synth", "--build", build, "--jobs", jobs]
        result = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        # Status 1 is one of resources above their target: an estimate all the same.
        if result.returncode not in (0, 1) or not path.is_file():
            raise InferenceError(f"`make synth BUILD={build}` has failed; run it to see why")
    return read_estimate(path.read_text(encoding="utf-8"))


def read_estimate(text: str) -> Estimate:
    """The estimate from the JSON of `rtl.synth`."""
    own: defaultdict[str, Resources] = defaultdict(Resources)
    parent: dict[str, str | None] = {}
    for unit in json.loads(text)["units"]:
        *above, name = unit["path"].split("/")
        own[name] = own[name] + Resources(**unit["own"])
        parent[name] = above[-1] if above else None
    return Estimate(dict(own), parent)


# ------------------------------------------------------------------------------- what Vivado has


def module_of(unit: Unit, known: Iterable[str]) -> str | None:
    """Which of the modules `known` a unit of Vivado's hierarchy is."""
    name = _SUFFIX.sub("", unit.module.strip())
    fits = [n for n in known if name == n or name.endswith(f"_{n}")]
    return max(fits, key=len, default=None)


def find_accelerator(root: Unit, known: Iterable[str]) -> Unit | None:
    """The accelerator in a design."""
    if module_of(root, known) == TOP:
        return root
    found = (find_accelerator(child, known) for child in root.children.values())
    return next((unit for unit in found if unit), None)


def _own(unit: Unit, module: str, known: list[str]) -> Iterator[tuple[str, Resources]]:
    module = module_of(unit, known) or module
    yield module, unit.own
    for child in unit.children.values():
        yield from _own(child, module, known)


def _module_at(root: Unit, path: str, known: list[str]) -> str | None:
    """The module that a cell is in; None outside of the accelerator."""
    unit, module = root, module_of(root, known)
    for name in path.split("/")[:-1]:
        child = unit.children.get(re.sub(r"\[\d+\]", "[*]", name))
        if child is None:
            break
        unit = child
        module = module_of(unit, known) or module
    return module


# ------------------------------------------------------------------------------- the comparison


@dataclass(frozen=True)
class Row:
    """A module: what Vivado has and what was estimated, without the modules in it."""

    module: str
    found: Resources
    expected: Resources


def compare(root: Unit, expected: Estimate) -> list[Row]:
    """The modules of the accelerator, in the order of the estimate.

    A module that Vivado has dissolved counts for the one that it is in.

    Raises:
        ValueError: the accelerator is not in the design.
    """
    known = list(expected.own)
    accelerator = find_accelerator(root, known)
    if accelerator is None:
        raise ValueError(f"no module {TOP} in the table of utilization by hierarchy")
    found: defaultdict[str, Resources] = defaultdict(Resources)
    for module, resources in _own(accelerator, TOP, known):
        found[module] = found[module] + resources
    wanted: defaultdict[str, Resources] = defaultdict(Resources)
    for module, resources in expected.own.items():
        place = module
        while place not in found and expected.parent[place]:
            place = expected.parent[place]
        wanted[place] = wanted[place] + resources
    return [Row(m, found[m], wanted[m]) for m in known if m in found]


def violations(rows: list[Row], root: Unit, cells: str, log: str) -> Iterator[str]:
    """What is not as designed, a line each with the module's name.

    Args:
        rows: of `compare`.
        root: the design.
        cells: what inference.tcl wrote.
        log: of synthesis.
    """
    for row in rows:
        for name, (least, share) in TOLERANCES.items():
            found, expected = getattr(row.found, name), getattr(row.expected, name)
            if abs(found - expected) > max(least, share * expected):
                yield f"{row.module}: {found:g} {_NAMES[name]}, estimated {expected:g}"
    yield from _cell_violations([row.module for row in rows], root, cells)
    for array, n in Counter(_DISSOLVED.findall(log)).items():
        yield f"synthesis: array {array} became registers, {n} times (Synth 8-4767)"


def _cell_violations(known: list[str], root: Unit, cells: str) -> Iterator[str]:
    all_rams: Counter[str] = Counter()
    bare: defaultdict[str, list[str]] = defaultdict(list)
    flip_flops: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for line in cells.splitlines():
        kind, path, a, b = line.split()
        module = _module_at(root, path, known)
        if module is None:
            continue
        if kind == "FF":
            flip_flops[module, a].append(path)
        else:
            all_rams[module] += 1
            if (a, b) == ("0", "0"):
                bare[module].append(path)
    for module, paths in bare.items():
        if module not in WITHOUT_OUTPUT_REGISTER:
            yield (
                f"{module}: {len(paths)} of {all_rams[module]} block RAMs have no output register,"
                f" the first is {paths[0]}"
            )
    for (module, array), paths in flip_flops.items():
        yield f"{module}: array {array} is in {len(paths)} flip-flops, the first is {paths[0]}"


def table(rows: list[Row]) -> str:
    """What Vivado has of each module, and in parentheses the estimate."""
    head = f"{'module, without those in it':<30}{'block RAMs':>18}{'DSP48E2':>16}"
    lines = [f"{head}{'LUTs as memory':>20}"]
    for row in rows:
        cells = [
            f"{getattr(row.found, n):g} ({getattr(row.expected, n):g})"
            for n in ("bram", "dsp", "lutram")
        ]
        if any(getattr(r, n) for r in (row.found, row.expected) for n in TOLERANCES):
            lines.append(f"{row.module:<30}{cells[0]:>18}{cells[1]:>16}{cells[2]:>20}")
    return "\n".join(lines)


def summary(wrong: list[str], log: Path) -> str:
    """What `check` found, in one line."""
    return (
        f"synthesis did not make what was designed, {len(wrong)} points, the first: {wrong[0]};"
        f" see {log}"
    )


def check(folder: Path, expected: Estimate, log: Path) -> tuple[str, list[str]]:
    """Compare the reports in `folder` with the estimate; the table and what is not as designed.

    Raises:
        ValueError, OSError: a report is not what it should be, or not there.
    """
    path = folder / "utilization_synth.rpt"
    try:
        root = parse_utilization(path.read_text(encoding="utf-8", errors="replace"))
        rows = compare(root, expected)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    cells = (folder / "inference.txt").read_text(encoding="utf-8")
    text = log.read_text(encoding="utf-8", errors="replace")
    return table(rows), list(violations(rows, root, cells, text))
