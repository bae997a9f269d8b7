"""The elaborated design: its modules, which of them are synthesized apart, and where they are used.

The Slang frontend gives a module to every instance. Two of them are the same where their RTLIL is,
but for names of instances and lines of sources; that is also what results are cached by.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rtl.synth import yosys
from rtl.tb.simulate import MODULE_FOLDERS, RTL, packages

DSP_MODEL = RTL / "tb/multiply_add/DSP48E2.sv"

# Modules that are synthesized apart. All others are flattened into the one that they are used in. A
# module belongs here if it is used often (one synthesis for all its instances) or is large; not if
# constant inputs remove much of it, such as the addends of a requantizer.
APART = frozenset(
    f"cmamba_{name}"
    for name in (
        *("activation_memory", "weight_memory", "param_memory", "activation_table"),
        *("axi_read", "loader", "program_check", "weight_stream", "control", "sequencer"),
        *("array_unit", "array_issue", "mac_array", "mac_lane_pair", "sum_queue", "array_output"),
        *("conv", "scan", "scan_exponent", "decay", "scan_update", "scan_sum", "scan_output"),
        *("vector_unit", "vector_front", "vector_back", "vector_pipeline", "vector_reduce"),
        *("vector_tables", "vector_output"),
        *("stream_in", "stream_out", "core", "activations", "parameters"),
    )
)


@dataclass
class Unit:
    """A module that is synthesized apart, with all that is flattened into it.

    Attributes:
        name: in the RTL.
        digest: of its contents, and of those of the units in it.
        rtlil: of the module and what is flattened into it; the units in it as black boxes, with
            their digest for a name.
        children: digests and number of the units in it.
    """

    name: str
    digest: str
    rtlil: str
    children: Counter[str] = field(default_factory=Counter)

    @property
    def module(self) -> str:
        """Its name in ``rtlil``."""
        return module_name(self.name, self.digest)


def module_name(name: str, digest: str) -> str:
    """Name of a unit in RTLIL and netlists."""
    return f"{name}_{digest}"


def sources(build: str) -> list[Path]:
    """The files of the RTL for one build of ``builds.toml``: packages, then modules."""
    found = [path for path in packages(build) if path.suffix == ".sv"]
    for folder in MODULE_FOLDERS:
        found += sorted(p for p in folder.glob("*.sv") if not p.stem.endswith("_pkg"))
    return found


def elaborate(top: str, build: str, work: Path) -> tuple[str, dict[str, Unit]]:
    """Read the RTL.

    Args:
        top: module, with its default parameters.
        build: build of ``builds.toml``.
        work: folder for logs and intermediate files.

    Returns:
        Digest of the top, and the units by digest, each behind the units in it.

    Raises:
        YosysError: the RTL has errors, or there is no module ``top``.
    """
    files = " ".join(map(str, sources(build)))
    rtlil = work / f"{top}.il"
    yosys.run(
        [
            # Synthesis knows DSP48E2; the frontend takes its ports and parameters from the model.
            f"read_slang --no-proc --keep-hierarchy --top {top}"
            f" --blackboxed-module {DSP_MODEL.stem} {DSP_MODEL} {files}",
            "delete =A:blackbox",
            f"write_rtlil {rtlil}",
        ],
        work / f"{top}.elaborate.log",
    )
    modules = _modules(rtlil.read_text())
    units: dict[str, Unit] = {}
    return _unit(top, modules, units), units


_CELL = re.compile(r"^  cell \\(\S+) (\S+)$", re.MULTILINE)
_PORT = re.compile(r"^  wire .*\b(?:input|output|inout) \d+ .*$", re.MULTILINE)
_SOURCE = re.compile(r"^ *attribute \\(?:src|hdlname|top) .*\n", re.MULTILINE)


def _modules(rtlil: str) -> dict[str, str]:
    """Module bodies, without comments and attributes that say where something came from."""
    parts = re.split(r"^module \\(\S+)\n", _SOURCE.sub("", rtlil), flags=re.MULTILINE)[1:]
    return {
        name: re.split(r"^end$", body, maxsplit=1, flags=re.MULTILINE)[0]
        for name, body in zip(parts[::2], parts[1::2], strict=True)
    }


def _base(name: str) -> str:
    """Name of the RTL's module: the frontend adds the path of the instance."""
    return name.split("$")[0]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _unit(name: str, modules: dict[str, str], units: dict[str, Unit]) -> str:
    """Add the unit of module ``name``, and the units in it before it; returns its digest."""
    bodies: dict[str, str] = {}  # by name in the unit's RTLIL
    black_boxes: set[str] = set()

    def insert(module: str) -> tuple[str, Counter[str]]:
        """Put ``module`` into ``bodies``; returns its name there and the units in it."""
        inside: Counter[str] = Counter()

        def cell(match: re.Match[str]) -> str:
            kind, instance = match.groups()
            if kind not in modules:
                return match[0]
            if _base(kind) in APART:
                digest = _unit(kind, modules, units)
                new = units[digest].module
                bodies[new] = "".join(f"{port}\n" for port in _PORT.findall(modules[kind]))
                black_boxes.add(new)
                inside[digest] += 1
            else:
                new, below = insert(kind)
                inside.update(below)
            return f"  cell \\{new} {instance}"

        body = _CELL.sub(cell, modules[module])
        new = module_name(_base(module), _digest(body))
        bodies.setdefault(new, body)
        return new, inside

    new, children = insert(name)
    digest = new.rsplit("_", 1)[1]
    if digest not in units:
        rtlil = "".join(
            "attribute \\blackbox 1\n" * (key in black_boxes) + f"module \\{key}\n{body}end\n"
            for key, body in bodies.items()
        )
        units[digest] = Unit(_base(name), digest, rtlil, children)
    return digest
