"""Write what is generated from ``cmamba_regs.rdl``.

    python -m rtl.regs.generate              write the files
    python -m rtl.regs.generate --check      exit 1 and name the files that are not current
    python -m rtl.regs.generate --html DIR   write pages to read

Generated in this folder: ``cmamba_regs.sv`` and ``cmamba_regs_pkg.sv`` (PeakRDL-regblock, behind
the bus of ``cells/cmamba_axi_lite.sv``), ``cmamba_regs.h`` (PeakRDL-cheader) and ``registers.py``.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
import tempfile
from pathlib import Path

from peakrdl_cheader.exporter import CHeaderExporter
from peakrdl_html import HTMLExporter
from peakrdl_regblock import RegblockExporter
from peakrdl_regblock.cpuif.passthrough import PassthroughCpuif
from peakrdl_regblock.udps import ALL_UDPS
from systemrdl import RDLCompiler
from systemrdl.node import AddrmapNode, FieldNode, RegNode

from common import command_line, generated

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCE = HERE / "cmamba_regs.rdl"


def elaborate() -> AddrmapNode:
    """Compile the source. Raises systemrdl.RDLCompileError, which has printed what is wrong."""
    compiler = RDLCompiler()
    for udp in ALL_UDPS:
        compiler.register_udp(udp)
    compiler.compile_file(str(SOURCE))
    return compiler.elaborate().top


def constant_name(top: AddrmapNode, node: RegNode) -> str:
    """The name of a register as a constant."""
    return node.get_rel_path(top).translate(str.maketrans(".[", "__", "]")).upper()


def python_constants(top: AddrmapNode) -> str:
    """Addresses of registers and positions of fields as Python constants."""
    lines = [
        '"""Registers of s_axi_control: byte addresses, and bits of their fields.',
        "",
        f"Generated from {SOURCE.name} by `make regs`. Do not edit.",
        '"""',
        "",
        "# ruff: noqa: E501",
        "",
    ]
    for node in top.descendants(unroll=True):
        if isinstance(node, RegNode):
            name = constant_name(top, node)
            description = " ".join((node.get_property("desc") or "").split())
            lines.append(f"{name} = 0x{node.absolute_address:03X}  # {description}")
            fields = list(node.fields())
            if len(fields) > 1 or fields[0].width < 32:
                lines += [_field(name, field) for field in fields]
    return "\n".join(lines) + "\n"


def _field(register: str, field: FieldNode) -> str:
    name = f"{register}_{field.inst_name.upper()}"
    mask = ((1 << field.width) - 1) << field.low
    description = " ".join((field.get_property("desc") or "").split())
    return f"{name} = 0x{mask:X}" + (f"  # {description}" if description else "")


def outputs() -> dict[str, str]:
    """Name and contents of every generated file."""
    top = elaborate()
    with tempfile.TemporaryDirectory() as folder:
        RegblockExporter().export(top, folder, cpuif_cls=PassthroughCpuif, retime_read_fanin=True)
        CHeaderExporter().export(top, f"{folder}/cmamba_regs.h")
        files = {path.name: path.read_text(encoding="utf-8") for path in Path(folder).iterdir()}
    files["registers.py"] = python_constants(top)
    return files


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """0; 1: with --check, a file is not current."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if not current")
    parser.add_argument("--html", metavar="DIR", type=Path, help="write pages to read, only")
    args = parser.parse_args(argv)
    if args.html:
        HTMLExporter().export(elaborate(), str(args.html))
        return 0
    folder = HERE.relative_to(ROOT)
    files = {folder / name: text for name, text in outputs().items()}
    return generated.update(ROOT, files, check=args.check, command="make regs")


if __name__ == "__main__":
    sys.exit(main())
