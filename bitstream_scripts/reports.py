"""Vivado's reports of a design as the tables and the JSON of ``rtl.synth``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rtl.synth import report
from rtl.synth.resources import Resources
from rtl.synth.timing import Path as TimingPath

# A unit is printed from this share of the design's LUTs, or if it has DSP48E2 or block RAM.
PRINTED_SHARE = 0.01


@dataclass
class Unit:
    """A row of the hierarchy: instances whose names differ in an index only are one.

    Attributes:
        name: of the instance, with `[*]` for an index.
        module: of the first instance.
        n: instances.
        resources: theirs, with all that is in them.
        children: the units in it, by name.
        longest: delay in ns of the longest path that begins in it, of those reported.
    """

    name: str
    module: str
    n: int = 0
    resources: Resources = field(default_factory=Resources)
    children: dict[str, Unit] = field(default_factory=dict)
    longest: float | None = None

    @property
    def own(self) -> Resources:
        """Resources without those of the units in it; of LUTs that both share, none."""
        inside = Resources()
        for child in self.children.values():
            inside = inside + child.resources
        names = asdict(inside)
        return Resources(**{n: max(0, getattr(self.resources, n) - names[n]) for n in names})


@dataclass(frozen=True)
class Timing:
    """Slack in ns over all paths, and how many end points miss their requirement."""

    setup_slack: float
    setup_failing: int
    hold_slack: float
    hold_failing: int
    pulse_slack: float
    pulse_failing: int

    @property
    def is_met(self) -> bool:
        return min(self.setup_slack, self.hold_slack, self.pulse_slack) >= 0


@dataclass(frozen=True)
class Reports:
    """Files of Vivado: ``report_utilization -hierarchical``, ``report_timing_summary``, and the one
    that has the longest paths."""

    utilization: Path
    timing: Path
    paths: Path


@dataclass(frozen=True)
class SetupPath:
    """One path of the report: `slack` in ns, names of pins with the hierarchy."""

    slack: float
    path: TimingPath


# ------------------------------------------------------------------------------- utilization

_COLUMNS = ("Instance", "Module", "Total LUTs", "LUTRAMs", "SRLs", "FFs", "RAMB36", "RAMB18")
_DSP_COLUMNS = ("DSP Blocks", "DSPs")


def parse_utilization(text: str) -> Unit:
    """The hierarchy of ``report_utilization -hierarchical``.

    Raises:
        ValueError: there is no such table, or it has other columns or no numbers.
    """
    cells = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    starts = [i for i, row in enumerate(cells) if row[0].strip() == "Instance"]
    if not starts:
        raise ValueError("no table of utilization by hierarchy")
    head = [cell.strip() for cell in cells[starts[0]]]
    dsp = next((name for name in _DSP_COLUMNS if name in head), None)
    missing = [name for name in _COLUMNS if name not in head]
    if missing or dsp is None:
        raise ValueError(f"the table by hierarchy lacks {', '.join(missing) or _DSP_COLUMNS[0]}")

    # The units from the top to the one of the row before, by depth.
    stack: list[Unit] = []
    root: Unit | None = None
    for row in cells[starts[0] + 1 :]:
        if len(row) != len(head):
            break
        name = row[0].strip()
        # The logic that is in a unit itself is a row of its own, the unit's name in parentheses.
        if name.startswith("("):
            continue
        values = dict(zip(head, (cell.strip() for cell in row), strict=True))
        depth = (len(row[0]) - len(row[0].lstrip()) - 1) // 2
        if depth > len(stack) or (depth == 0) != (root is None):
            raise ValueError(f"{name}: it is not clear which instance this row is in")
        unit = _unit(name, values["Module"], stack[depth - 1] if depth else None)
        unit.n += 1
        unit.resources = unit.resources + _resources(name, values, dsp)
        root = root or unit
        stack[depth:] = [unit]
    if root is None:
        raise ValueError("the table by hierarchy is empty")
    return root


def _unit(name: str, module: str, parent: Unit | None) -> Unit:
    name = re.sub(r"\[\d+\]", "[*]", name)
    if parent is None:
        return Unit(name, module)
    return parent.children.setdefault(name, Unit(name, module))


def _resources(name: str, values: dict[str, str], dsp: str) -> Resources:
    def count(column: str) -> int:
        if not values[column].isdigit():
            raise ValueError(f"{name}: {column} is {values[column]!r}, expected a number")
        return int(values[column])

    return Resources(
        lut=count("Total LUTs"),
        lutram=count("LUTRAMs") + count("SRLs"),
        ff=count("FFs"),
        dsp=count(dsp),
        bram=count("RAMB36") + count("RAMB18") / 2,
    )


# ------------------------------------------------------------------------------- timing

_SLACK = re.compile(r"^Slack \((?:MET|VIOLATED)\) : +(-?[\d.]+)ns", re.MULTILINE)
_FIELD = re.compile(
    r"^  (Source|Destination|Path Type|Data Path Delay|Logic Levels): +(\S+)", re.MULTILINE
)


def parse_timing(text: str) -> Timing:
    """The design timing summary of ``report_timing_summary``.

    Raises:
        ValueError: it is not there.
    """
    number = r"(-?[\d.]+)"
    # Slack, sum of negative slacks, failing end points, end points: of setup, hold and pulse width.
    group = rf"\s+{number}\s+{number}\s+(\d+)\s+\d+"
    match = re.search(
        rf"^\| Design Timing Summary\n.*?WNS\(ns\).*?\n[ -]+\n{group * 3}", text, re.M | re.S
    )
    if not match:
        raise ValueError("no design timing summary")
    values = match.groups()
    return Timing(
        setup_slack=float(values[0]),
        setup_failing=int(values[2]),
        hold_slack=float(values[3]),
        hold_failing=int(values[5]),
        pulse_slack=float(values[6]),
        pulse_failing=int(values[8]),
    )


def parse_paths(text: str) -> list[SetupPath]:
    """The setup paths of ``report_timing_summary`` or ``report_timing``, the worst first."""
    starts = list(_SLACK.finditer(text))
    found = []
    for match, following in zip(starts, [*starts[1:], None], strict=True):
        body = text[match.end() : following.start() if following else len(text)]
        fields: dict[str, str] = {}
        for name, value in _FIELD.findall(body):
            fields.setdefault(name, value)
        if fields.get("Path Type") != "Setup":
            continue
        missing = {"Source", "Destination", "Data Path Delay"} - fields.keys()
        if missing:
            raise ValueError(f"a path without {', '.join(sorted(missing))}")
        path = TimingPath(
            delay=float(fields["Data Path Delay"].removesuffix("ns")),
            levels=int(fields.get("Logic Levels", 0)),
            source=fields["Source"],
            destination=fields["Destination"],
        )
        found.append(SetupPath(float(match[1]), path))
    return sorted(found, key=lambda p: p.slack)


# ------------------------------------------------------------------------------- both


def _place(root: Unit, pin: str) -> tuple[Unit, str]:
    """The innermost unit that a pin is in, and the pin's name from there. The top has no name."""
    unit, names = root, pin.split("/")
    while len(names) > 1:
        child = unit.children.get(re.sub(r"\[\d+\]", "[*]", names[0]))
        if child is None:
            break
        unit = child
        del names[0]
    return unit, "/".join(names)


def _rows(unit: Unit, path: str = "") -> list[tuple[report.Row, Unit]]:
    path = f"{path}/{unit.name}" if path else unit.name
    rows = [(report.Row(path, unit.name, unit.n, unit.resources, unit.longest), unit)]
    for child in sorted(unit.children.values(), key=lambda c: -c.resources.lut):
        rows += _rows(child, path)
    return rows


def summarize(
    files: Reports,
    target: Path,
    facts: Mapping[str, object],
    clock_ns: float,
    what: str,
    allowed: Mapping[str, float],
    kinds: Sequence[str] = ("setup", "hold", "pulse"),
) -> tuple[str, list[str]]:
    """Write reports of Vivado as the JSON of ``rtl.synth``.

    Args:
        files: the reports.
        target: file to write.
        facts: of the run, for the document.
        clock_ns: the period that timing is against.
        what: where the paths are from, for the title of their table.
        allowed: share of the device that may be used at most, by resource.
        kinds: slacks that have to be met.

    Returns:
        The tables, and a line for each check that fails.

    Raises:
        ValueError: a report is not what it should be; with its name.
        OSError: a report is missing.
    """
    root = _parsed(files.utilization, parse_utilization)
    timing = _parsed(files.timing, parse_timing)
    paths = _parsed(files.paths, parse_paths)

    placed = []
    for found in paths:
        unit, source = _place(root, found.path.source)
        _, destination = _place(root, found.path.destination)
        path = TimingPath(found.path.delay, found.path.levels, source, destination)
        unit.longest = max(unit.longest or 0.0, path.delay)
        placed.append((path, unit.name, {"slack_ns": found.slack}))

    rows = _rows(root)
    failures = list(report.over_target(root.resources, allowed))
    for kind in kinds:
        slack, n = getattr(timing, f"{kind}_slack"), getattr(timing, f"{kind}_failing")
        if slack < 0:
            failures.append(f"{kind}: slack {slack:.3f} ns, {n} end points fail")
    report.write_json(
        target,
        {"module": root.name, **facts, "clock_ns": clock_ns, "timing": asdict(timing)},
        [(row, unit.own, {"module": unit.module}) for row, unit in rows],
        placed,
        failures,
    )

    threshold = PRINTED_SHARE * root.resources.lut
    printed = [
        row
        for row, _ in rows
        if row.resources.lut >= threshold or row.resources.dsp or row.resources.bram
    ]
    title = f"{what}, against {clock_ns:.2f} ns"
    tables = [
        report.resource_table(printed, clock_ns, allowed),
        "",
        report.path_table([(path, unit) for path, unit, _ in placed], title),
        "",
        f"slack: setup {timing.setup_slack:.3f} ns, hold {timing.hold_slack:.3f} ns,"
        f" pulse width {timing.pulse_slack:.3f} ns",
        *(failures or ["timing met, all targets of resources met"]),
    ]
    return "\n".join(tables), failures


def _parsed(path: Path, parse):
    try:
        return parse(path.read_text(encoding="utf-8", errors="replace"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
