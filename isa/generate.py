"""Write everything that is generated from ``isa.toml`` and ``builds.toml``.

    python -m isa.generate            write the files
    python -m isa.generate --check    exit 1 and name the files that are not current

Generated: ``isa.h`` and ``decay_tables.h`` in ``hls/include``, ``config.h`` of each build in
``hls/build``; the packages of ``rtl/`` (``systemverilog.py``); the tables between
``<!-- generated: NAME -->`` and ``<!-- end generated -->`` in the documents under ``docs/``.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import isa
from common import command_line, generated
from isa import decay_tables, systemverilog
from isa.names import camel

ROOT = Path(__file__).resolve().parents[1]
ISA_HEADER = Path("hls/include/isa.h")
DECAY_HEADER = Path("hls/include/decay_tables.h")
HLS_BUILDS = Path("hls/build")
SV_PACKAGE = Path("rtl/cmamba_pkg.sv")
SV_BUILDS = Path("rtl/build")
DOCUMENTS = (Path("docs/instruction_set.md"), Path("docs/package.md"))


# ------------------------------------------------------------------------------- C++


def _member(f: isa.Field) -> str:
    if f.operand:
        return f"  Operand {f.name};"
    kind = f"{'int' if f.signed else 'uint'}_t<{f.bits}>"
    return f"  {kind} {f.name}{f'[{f.count}]' if f.count > 1 else ''};"


def _assign(f: isa.Field, base: str = "") -> list[str]:
    get = "sbits" if f.signed else "bits"
    lines = []
    for i in range(f.count):
        lsb = f.lsb + i * f.bits
        at = f"{base}{lsb}"
        target = f"f.{f.name}" + (f"[{i}]" if f.count > 1 else "")
        if f.operand:
            lines.append(f"  {target} = decode_operand<{at}>(w);")
        else:
            lines.append(f"  {target} = {get}<{base}{lsb + f.bits - 1}, {at}>(w);")
    return lines


def _struct(name: str, fmt: isa.Format, doc: str, skip: tuple[str, ...] = ()) -> list[str]:
    """A word's fields, where its reserved bits begin if it has any, and what decodes it."""
    fields = [f for f in fmt.fields if f.name not in skip]
    used = sum(f.total_bits for f in fmt.fields)
    function = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    return [
        f"// {doc}",
        f"struct {name} {{",
        *(_member(f) for f in fields),
        "};",
        *([f"constexpr int k{name}UsedBits = {used};"] if used < fmt.bits else []),
        f"inline {name} decode_{function}(const word_t<{fmt.bits}>& w) {{",
        f"  {name} f;",
        *(line for f in fields for line in _assign(f)),
        "  return f;",
        "}",
        "",
    ]


def _enum(name: str, doc: str, items: list[tuple[str, int]]) -> list[str]:
    return [
        f"// {doc}",
        f"enum {name} {{",
        *(f"  {item} = {value}," for item, value in items),
        "};",
        "",
    ]


def isa_header() -> str:
    """The C++ instruction formats, decoders and enumerations."""
    lines = [
        "// Generated from isa/isa.toml by `make isa`. Do not edit.",
        "#pragma once",
        "",
        '#include "types.h"',
        "",
        "namespace cmamba {",
        "",
        f"constexpr int kVersionMajor = {isa.VERSION[0]};",
        f"constexpr int kVersionMinor = {isa.VERSION[1]};",
        f"constexpr unsigned kMagic = 0x{isa.MAGIC:08X};",
        f"constexpr int kHeaderBytes = {isa.HEADER_BYTES};",
        f"constexpr int kSectionAlign = {isa.SECTION_ALIGN};",
        f"constexpr int kInstructionBits = {isa.INSTRUCTION_BITS};",
        f"constexpr int kUnits = {len(isa.UNITS)};",
        f"constexpr int kSpaces = {len(isa.SPACES)};",
        f"constexpr int kSections = {len(isa.SECTIONS)};",
        "",
        "// What a loader allows.",
        *(f"constexpr int kMax{camel(name)} = {value};" for name, value in isa.LIMITS.items()),
        "",
    ]
    lines += _enum(
        "Opcode", "Instructions.", [(f"OP_{o.name}", o.code) for o in isa.OPCODES.values()]
    )
    lines += _enum(
        "Unit", "Execution units.", [(f"UNIT_{n.upper()}", i) for i, n in enumerate(isa.UNITS)]
    )
    lines += _enum(
        "Space",
        "Activation memories.",
        [(f"SPACE_{s.name.upper()}", s.index) for s in isa.SPACES.values()],
    )
    lines += _enum(
        "SectionId",
        "Parts of the package.",
        [(f"SECTION_{s.name.upper()}", s.index) for s in isa.SECTIONS],
    )
    lines += _enum(
        "Error", "Error codes.", [(f"ERROR_{name}", code) for name, code in isa.ERRORS.items()]
    )
    sizes = ", ".join(str(s.element_bytes) for s in isa.SECTIONS)
    bits = ", ".join(str(s.bits) for s in isa.SPACES.values())
    lines += [
        "// Bytes of one element of each section.",
        f"constexpr int kSectionElementBytes[] = {{{sizes}}};",
        "// Bits of one element of each activation memory.",
        f"constexpr int kSpaceBits[kSpaces] = {{{bits}}};",
        "",
        "// Rows of an activation memory: row i starts at addr + (i mod 2^log2_rows) * stride.",
        "struct Operand {",
        *(_member(f) for f in isa.OPERAND.fields),
        "};",
        "template <int Lsb, class Word>",
        "inline Operand decode_operand(const Word& w) {",
        "  Operand f;",
        *(line for f in isa.OPERAND.fields for line in _assign(f, "Lsb + ")),
        "  return f;",
        "}",
        "",
    ]
    lines += _struct("ScheduleEntry", isa.SCHEDULE, "Run one instruction on one token.")
    lines += _struct("Phase", isa.PHASE, "Entries of the schedule, executed several times.")
    lines += _struct("ParamWord", isa.PARAM, "Requantization parameters.")
    for op in isa.OPCODES.values():
        lines += _struct(f"{camel(op.name)}Instruction", op.format, op.doc, skip=("opcode",))
    lines += ["// Package header: byte offsets of its 32-bit and 16-bit fields."]
    sections = tuple(f"{s.name}_" for s in isa.SECTIONS)
    for f in isa.HEADER.fields:
        if f.name != "reserved" and not f.name.startswith(sections):
            lines.append(f"constexpr int kHeader{camel(f.name)}At = {f.lsb // 8};")
    first = isa.SECTIONS[0].name
    table_at = next(f.lsb for f in isa.HEADER.fields if f.name == f"{first}_offset") // 8
    lines += [
        "// The section table: offset, bytes and CRC of each section, 32 bits each.",
        f"constexpr int kHeaderSectionTableAt = {table_at};",
        "constexpr int kHeaderSectionEntryBytes = 12;",
        f"constexpr int kHeaderCrcAt = {isa.HEADER_BYTES - 4};",
        "",
        "}  // namespace cmamba",
        "",
    ]
    return "\n".join(lines)


# Deeper memories are block RAM: half of one is 256 words deep.
_LUT_RAM_WORDS = 256


def _block_ram(build: isa.Build) -> list[str]:
    """Those of the memories that LUTs mostly hold that are too deep for them in this build."""
    words = {name: elements // build.row_align for name, elements in build.spaces.items()}
    words["conv_params"] = build.capacity["conv_params"] // build.conv_lanes
    return [name for name, depth in words.items() if depth > _LUT_RAM_WORDS]


def config_header(build: isa.Build) -> str:
    """The sizes and parallelism of one build as C++ constants."""

    def constant(name: str, value: int) -> str:
        return f"constexpr int k{name} = {value};"

    lines = [
        "// Generated from isa/builds.toml by `make isa`. Do not edit.",
        f"// Build '{build.name}': {build.doc}.",
        "#pragma once",
        "",
        "namespace cmamba {",
        "",
        "// Parallelism.",
        constant("TileIn", build.tile_in),
        constant("TileOut", build.tile_out),
        constant("RowAlign", build.row_align),
        constant("RequantizeLanes", build.requantize_lanes),
        constant("VectorLanes", build.vector_lanes),
        constant("ConvLanes", build.conv_lanes),
        constant("ScanLanes", build.scan_lanes),
        "",
        "// Capacities, in elements (weights: tiles).",
        *(constant(f"Max{camel(name)}", value) for name, value in build.capacity.items()),
        "",
        "// Activation memories, in elements.",
        *(constant(f"Space{camel(name)}", value) for name, value in build.spaces.items()),
        "",
        "}  // namespace cmamba",
        "",
    ]
    large = _block_ram(build)
    if large:  # macros, because a pragma cannot choose by a constant
        lines += [
            f"// Memories of more than {_LUT_RAM_WORDS} words, which block RAM holds (top.cpp).",
            *(f"#define CMAMBA_BLOCK_RAM_{name.upper()}" for name in large),
            "",
        ]
    return "\n".join(lines)


def decay_header() -> str:
    """The tables of decay(t), exact, as C++ constants."""
    lines = [
        "// Generated from isa/decay_tables.py by `make isa`. Do not edit.",
        "// The tables of decay(t), docs/numerics.md.",
        "#pragma once",
        "",
        "namespace cmamba {",
        "// clang-format off",
    ]
    for name, entry, table in decay_tables.described():
        rows = [table[i : i + 8] for i in range(0, len(table), 8)]
        lines += [
            "",
            f"// {entry}",
            f"const unsigned k{name}[{len(table)}] = {{",
            *(f"    {', '.join(map(str, row))}," for row in rows),
            "};",
        ]
    lines += ["", "// clang-format on", "}  // namespace cmamba", ""]
    return "\n".join(lines)


# ------------------------------------------------------------------------------- documents


def _table(head: list[str], rows: list[list[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _field_rows(fields: tuple[isa.Field, ...]) -> list[list[object]]:
    rows = []
    for f in fields:
        width = f"{f.bits} x {f.count}" if f.count > 1 else str(f.bits)
        kind = "operand" if f.operand else "signed" if f.signed else "unsigned"
        rows.append([f"`{f.name}`", f"{f.lsb + f.total_bits - 1}:{f.lsb}", width, kind, f.doc])
    return rows


_FIELD_HEAD = ["field", "bits", "width", "kind", "meaning"]


def _instructions() -> str:
    parts = []
    for op in isa.OPCODES.values():
        parts.append(f"### {op.name} (opcode {op.code}, unit {isa.UNITS[op.unit]})\n\n{op.doc}\n")
        parts.append(_table(_FIELD_HEAD, _field_rows(op.format.fields)) + "\n")
    return "\n".join(parts).rstrip()


def _header_table() -> str:
    sections = tuple(f"{s.name}_" for s in isa.SECTIONS)
    rows = []
    for f in isa.HEADER.fields:
        if not f.name.startswith(sections):
            count = f" x {f.count}" if f.count > 1 else ""
            rows.append([f.lsb // 8, f"u{f.bits}{count}", f"`{f.name}`", f.doc])
    table_at = next(f.lsb for f in isa.HEADER.fields if f.name.startswith(sections)) // 8
    rows.append(
        [table_at, f"3 x u32 x {len(isa.SECTIONS)}", "sections", "offset, size, CRC-32 of each"]
    )
    rows.append([isa.HEADER_BYTES - 4, "u32", "`header_crc`", "CRC-32 of the bytes before it"])
    return _table(["byte", "type", "field", "meaning"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "units": lambda: _table(
        ["index", "unit", "task"],
        [[i, f"`{u['name']}`", u["doc"]] for i, u in enumerate(isa.source()["units"])],
    ),
    "spaces": lambda: _table(
        ["index", "memory", "element", "holds", "written by", "read by"],
        [
            [
                s.index,
                f"`{s.name}`",
                f"int{s.bits}",
                s.doc,
                ", ".join(s.writers),
                ", ".join(s.readers),
            ]
            for s in isa.SPACES.values()
        ],
    ),
    "operand": lambda: _table(_FIELD_HEAD, _field_rows(isa.OPERAND.fields)),
    "schedule": lambda: _table(_FIELD_HEAD, _field_rows(isa.SCHEDULE.fields)),
    "phase": lambda: _table(_FIELD_HEAD, _field_rows(isa.PHASE.fields)),
    "param": lambda: _table(_FIELD_HEAD, _field_rows(isa.PARAM.fields)),
    "instructions": _instructions,
    "limits": lambda: _table(
        ["limit", "value", "of what"],
        [[f"`{m['name']}`", m["value"], m["doc"]] for m in isa.source()["limits"]],
    ),
    "errors": lambda: _table(
        ["code", "name", "meaning"],
        [[e["code"], f"`{e['name']}`", e["doc"]] for e in isa.source()["errors"]],
    ),
    "header": _header_table,
    "sections": lambda: _table(
        ["index", "section", "element bytes", "holds"],
        [[s.index, f"`{s.name}`", s.element_bytes, s.doc] for s in isa.SECTIONS],
    ),
}


def fill_tables(text: str) -> str:
    """Replace what stands between the markers of a document by the current tables."""

    def replace(match: re.Match) -> str:
        return f"<!-- generated: {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end generated -->"

    pattern = r"<!-- generated: (\w+) -->\n.*?<!-- end generated -->"
    return re.sub(pattern, replace, text, flags=re.DOTALL)


def outputs() -> dict[Path, str]:
    """Path (relative to the repository) and contents of every generated file."""
    files = {
        ISA_HEADER: isa_header(),
        DECAY_HEADER: decay_header(),
        SV_PACKAGE: systemverilog.package(),
    }
    for name, build in isa.builds().items():
        files[HLS_BUILDS / name / "config.h"] = config_header(build)
        files[SV_BUILDS / name / "cmamba_build_pkg.sv"] = systemverilog.build_package(build)
    for document in DOCUMENTS:
        files[document] = fill_tables((ROOT / document).read_text(encoding="utf-8"))
    return files


@command_line.command()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if not current")
    args = parser.parse_args()
    return generated.update(ROOT, outputs(), check=args.check, command="make isa")


if __name__ == "__main__":
    sys.exit(main())
