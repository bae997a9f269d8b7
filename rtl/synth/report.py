"""Tables of resources and paths, as `make synth`, `make bitstream` and `make export FLOW=` print
them, and the JSON that they write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path as File

from common.atomic_write import atomic_write
from rtl.synth.resources import DEVICE, Resources
from rtl.synth.timing import Path
from rtl.synth.wires import Wires

# Columns of the table, by the fields of `Resources`.
_WIDTHS = {"lut": 9, "lutram": 9, "ff": 9, "dsp": 7, "bram": 8}


@dataclass(frozen=True)
class Row:
    """A unit of the hierarchy.

    Attributes:
        path: names from the top to the unit, with `/` between them.
        name: what the table calls it.
        n: instances.
        resources: theirs, with all that is in them.
        longest: delay in ns of the longest path known in it; None if none is known.
    """

    path: str
    name: str
    n: int
    resources: Resources
    longest: float | None


def resource_table(
    rows: Sequence[Row],
    clock_ns: float,
    targets: Mapping[str, float],
    around: Resources | None = None,
) -> str:
    """The hierarchy, the device, and shares of the first row's resources against their targets.

    `around`: what comes to the first row, in its shares too.
    """
    titles = zip(("LUT", "LUTRAM", "FF", "DSP", "BRAM36"), _WIDTHS.values(), strict=True)
    head = f"{'module':<34}{'n':>4}{''.join(f'{t:>{w}}' for t, w in titles)}{'ns':>7}"
    lines = [head, "-" * len(head)]
    for row in rows:
        name = "  " * row.path.count("/") + row.name
        longest = "" if row.longest is None else f"{row.longest:.2f}"
        lines.append(f"{name:<34}{row.n:>4}" + _counts(row.resources) + f"{longest:>7}")
    total = rows[0].resources
    if around:
        lines.append(f"{'kept for DMA and interconnect':<38}" + _counts(around))
        total = total + around
    lines.append("-" * len(head))
    lines.append(f"{'ZU9EG':<38}" + _counts(DEVICE) + f"{clock_ns:>7.2f}")
    used = {name: getattr(total, name) / getattr(DEVICE, name) for name in _WIDTHS}
    lines.append(f"{'used':<38}" + _percent(used))
    lines.append(f"{'target, at most':<38}" + _percent({n: targets.get(n) for n in used}))
    return "\n".join(lines)


def path_table(paths: Iterable[tuple[Path, str]], what: str) -> str:
    """Paths, each with the unit it is in, under a title that ends with `what`."""
    lines = [f"longest paths, {what}", f"{'ns':>6}  cells  path"]
    for path, unit in paths:
        lines.append(
            f"{path.delay:>6.2f}{path.levels:>7}  {unit}: {path.source} -> {path.destination}"
        )
    return "\n".join(lines)


def wire_table(units: Iterable[tuple[str, Wires]]) -> str:
    """What the register of each unit drives that drives most, without those at its ports."""
    rows = {}
    for unit, wires in units:
        for net in wires.most:
            rows[unit, net.name] = net.load
    lines = ["registers that drive most", f"{'pins':>6}{'blocks':>8}  register"]
    for (unit, name), load in sorted(rows.items(), key=lambda row: row[1].pins, reverse=True):
        if load.pins > 100 or load.block_pins > 10:
            lines.append(f"{load.pins:>6}{load.block_pins:>8}  {unit}: {name}")
    return "\n".join(lines)


def write_json(
    file: File,
    facts: Mapping[str, object],
    units: Sequence[tuple[Row, Resources, Mapping[str, object]]],
    paths: Iterable[tuple[Path, str, Mapping[str, object]]],
    failures: Sequence[str],
) -> None:
    """Write the tables as JSON.

    Args:
        file: to write.
        facts: of the whole: `module`, `build`, `clock_ns`, and what else there is to say.
        units: each with its resources without the units in it and further facts, the top first.
        paths: each with the unit it is in, and further facts.
        failures: a line for each check that fails.
    """
    document = {
        **facts,
        "device": asdict(DEVICE),
        "total": asdict(units[0][0].resources),
        "units": [
            {
                "path": row.path,
                "instances": row.n,
                "own": asdict(own),
                "resources": asdict(row.resources),
                "longest_path_ns": row.longest,
                **further,
            }
            for row, own, further in units
        ],
        "paths": [{"unit": unit, **asdict(path), **further} for path, unit, further in paths],
        "failures": list(failures),
    }
    with atomic_write(file) as out:
        out.write(json.dumps(document, indent=1).encode())


def over_target(total: Resources, targets: Mapping[str, float]) -> Iterator[str]:
    """A line for each resource that exceeds its share of the device."""
    for resource, share in targets.items():
        used = getattr(total, resource) / getattr(DEVICE, resource)
        if used > share:
            yield f"{resource.upper()}: {used:.1%} of the device, at most {share:.0%}"


def _counts(resources: Resources) -> str:
    return "".join(
        f"{getattr(resources, name):>{width},{'.1f' if name == 'bram' else ''}}"
        for name, width in _WIDTHS.items()
    )


def _percent(shares: Mapping[str, float | None]) -> str:
    return "".join(
        f"{'' if share is None else f'{share:.1%}':>{_WIDTHS[name]}}"
        for name, share in shares.items()
    )
