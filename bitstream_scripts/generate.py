"""Write what the Tcl scripts take from ``design.toml`` and the RTL.

    python -m bitstream_scripts.generate            write the files
    python -m bitstream_scripts.generate --check    exit 1 and name the files that are not current

Generated in this folder: ``design.tcl``, design and registers as constants; ``cmamba_ip.v``, the
top of the packaged IP.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import dataclasses
import re
import sys
from pathlib import Path

from bitstream_scripts.design import DESIGN, Design
from bitstream_scripts.registers import accelerator_registers
from common import command_line, generated
from rtl.tb.simulate import MODULE_FOLDERS, packages

ROOT = Path(__file__).resolve().parents[1]
HERE = Path("bitstream_scripts")
TOP = ROOT / "rtl/cmamba.sv"

# A port of cmamba.sv: direction, range or nothing, name.
_PORT = re.compile(r"^    (input|output) +(?:wire +)?logic *(\[[^]]*\])? *(\w+),?$", re.MULTILINE)


def ports() -> list[tuple[str, int, str]]:
    """Direction, width and name of the accelerator's ports."""
    header = TOP.read_text(encoding="utf-8").split("\n);\n")[0]
    found = []
    for direction, bits, name in _PORT.findall(header):
        width = int(bits.strip("[]").split(":")[0]) + 1 if bits else 1
        found.append((direction, width, name))
    return found


def ip_top() -> str:
    """The accelerator behind a Verilog top: the IP packager takes no SystemVerilog (UG1118)."""
    found = ports()
    lines = [
        f"// Generated from {TOP.relative_to(ROOT)} by `make design`. Do not edit.",
        "// The packager of IP takes a top in Verilog, not in SystemVerilog (UG1118).",
        "",
        "module cmamba_ip (",
        ",\n".join(
            f"    {direction:<6} wire {f'[{width - 1}:0]' if width > 1 else '':<8}{name}"
            for direction, width, name in found
        ),
        ");",
        "",
        "  cmamba u_cmamba (",
        ",\n".join(f"      .{name:<22}({name})" for _, _, name in found),
        "  );",
        "",
        "endmodule",
        "",
    ]
    return "\n".join(lines)


def _word(value: object) -> str:
    """A Tcl word; braces keep what is in them as it is."""
    if isinstance(value, tuple):
        return "{" + " ".join(_word(v) for v in value) + "}"
    text = str(value)
    if re.search(r"[{}\\]", text):
        raise ValueError(f"{text!r} has braces or backslashes, which Tcl would read")
    return text if re.fullmatch(r"[\w.:/+-]+", text) else f"{{{text}}}"


def _value(key: str, value: object) -> object:
    return f"0x{value:X}" if key in ("base", "range") else value


def _default(path: str, parameter: str) -> int:
    """Default of a parameter of a module."""
    text = (ROOT / path).read_text(encoding="utf-8")
    (value,) = re.findall(rf"parameter int unsigned {parameter} = (\d+)", text)
    return int(value)


def _burst_constants() -> list[str]:
    """What the accelerator asks of memory at a time: `axi_read`, used with its defaults."""
    if not re.search(r"^  axi_read u_axi_read \(", TOP.read_text(encoding="utf-8"), re.MULTILINE):
        raise ValueError(f"{TOP.name}: axi_read has parameters that this program does not know")
    return [
        "  # Beats of the longest burst on m_axi_gmem, and bursts under way.",
        f"  variable gmem_burst_beats {_default('rtl/loader/axi_read.sv', 'MaxBurstBeats')}",
        f"  variable gmem_bursts {_default('rtl/loader/axi_read.sv', 'MaxBursts')}",
    ]


def design_tcl(design: Design = DESIGN) -> str:
    """The constants of the Tcl scripts, variables of the namespace `design`."""
    lines = [
        "# Generated from design.toml, rtl/regs/cmamba_regs.rdl and rtl/loader/axi_read.sv by",
        "# `make design`. Do not edit.",
        "",
        "namespace eval design {",
    ]
    for section, table in dataclasses.asdict(design).items():
        for key, value in table.items():
            lines.append(f"  variable {section}_{key} {_word(_value(key, value))}")
    folders = tuple(str(folder.relative_to(ROOT)) for folder in MODULE_FOLDERS)
    lines += [
        "",
        *_burst_constants(),
        "",
        "  # From the root. Packages come in this order, then the modules of the folders; BUILD",
        "  # stands for a build.",
        "  variable rtl_packages {",
        *(f"    {p.relative_to(ROOT)}" for p in packages("BUILD") if p.suffix == ".sv"),
        "  }",
        f"  variable rtl_folders {_word(folders)}",
        "",
        "  # Name, offset, access, description, and the fields:",
        "  # name, first bit, bits, access, description.",
        "  variable registers {",
    ]
    for r in accelerator_registers():
        head = (r.name, f"0x{r.offset:03X}", r.access)
        lines.append(f"    {{{' '.join(map(_word, head))} {{{r.description}}} {{")
        for f in r.fields:
            lines.append(f"      {{{f.name} {f.lsb} {f.bits} {f.access} {{{f.description}}}}}")
        lines.append("    }}")
    lines += ["  }", "}", ""]
    return "\n".join(lines)


def outputs() -> dict[Path, str]:
    """Path, relative to the root, and contents of every generated file."""
    return {HERE / "design.tcl": design_tcl(), HERE / "cmamba_ip.v": ip_top()}


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """0; 1: with --check, a file is not current."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if not current")
    args = parser.parse_args(argv)
    return generated.update(ROOT, outputs(), check=args.check, command="make design")


if __name__ == "__main__":
    sys.exit(main())
