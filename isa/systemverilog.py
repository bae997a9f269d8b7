"""The SystemVerilog packages of ``rtl/`` from ``isa.toml`` and ``builds.toml``.

``cmamba_pkg`` holds the formats and is the same for every build. ``cmamba_build_pkg`` holds the
sizes of one build: there is a package of that name in the folder of each build, and the build whose
file is compiled is the one that is made.
"""

from __future__ import annotations

import textwrap

import isa
from isa import decay_tables
from isa.names import camel

# Names of isa.toml that are keywords in SystemVerilog.
RENAMED = {"sequence": "sequence_index", "table": "table_index", "wait": "wait_count"}

LINE_LENGTH = 100


def _parameter(name: str, value: object) -> str:
    return f"  localparam int unsigned {name} = {value};"


def _enum(name: str, doc: str, bits: int, items: list[tuple[str, int]]) -> list[str]:
    width = max(len(item) for item, _ in items)
    lines = [f"    {item:<{width}} = {bits}'d{value}" for item, value in items]
    return [
        f"  // {doc}",
        f"  typedef enum logic [{bits - 1}:0] {{",
        *",\n".join(lines).split("\n"),
        f"  }} {name};",
        "",
    ]


def _type(f: isa.Field) -> str:
    if f.operand:
        return "operand_t"
    if f.count > 1:
        return f"{RENAMED.get(f.name, f.name)}_t [{f.count - 1}:0]"
    if f.bits == 1:
        return "logic"
    return f"logic {'signed ' if f.signed else ''}[{f.bits - 1}:0]"


def _struct(
    name: str, doc: str, fields: tuple[isa.Field, ...], constant: str | None = None
) -> list[str]:
    """A packed struct without the reserved bits: the first member has the highest bits; and a
    constant for its width."""
    lines = []
    for f in fields:
        if f.count > 1:
            sign = "signed " if f.signed else ""
            member = RENAMED.get(f.name, f.name)
            lines.append(f"  typedef logic {sign}[{f.bits - 1}:0] {member}_t;")
    lines += [f"  // {line}" for line in textwrap.wrap(doc, LINE_LENGTH - len("  // "))]
    lines.append("  typedef struct packed {")
    lines += _align(
        [(_type(f), f"{RENAMED.get(f.name, f.name)};", f.doc) for f in reversed(fields)]
    )
    lines.append(f"  }} {name}_t;")
    if constant:
        lines.append(f"  localparam int unsigned {constant} = $bits({name}_t);")
    return [*lines, ""]


def _align(rows: list[tuple[str, str, str]]) -> list[str]:
    """Members with their comments behind them, which go on below where a line is full."""
    types, names = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = []
    for kind, name, doc in rows:
        code = f"    {kind:<{types}} {name:<{names}}  // "
        first, *rest = textwrap.wrap(doc, LINE_LENGTH - len(code))
        lines += [code + first, *(" " * (len(code) - 3) + "// " + line for line in rest)]
    return lines


def _table(name: str, doc: str, values: list[int], bits: int) -> list[str]:
    rows = [values[i : i + 8] for i in range(0, len(values), 8)]
    text = ",\n".join("    " + ", ".join(f"{bits}'d{v}" for v in row) for row in rows)
    return [
        f"  // {doc}",
        f"  localparam logic [{bits - 1}:0] {name}[{len(values)}] = '{{",
        *text.split("\n"),
        "  };",
        "",
    ]


def package() -> str:
    """cmamba_pkg: enumerations, instruction formats, header offsets, decay tables."""
    lines = [
        "// Generated from isa/isa.toml by `make isa`. Do not edit.",
        "//",
        "// The formats of docs/instruction_set.md and docs/package.md. A struct has the fields of",
        "// a word without its reserved bits, which lie above them and are zero.",
        "package cmamba_pkg;",
        "",
        "  // Nobody uses every constant or every bit of a word.",
        "  // verilator lint_off UNUSEDPARAM",
        "  // verilator lint_off UNUSEDSIGNAL",
        "",
        _parameter("VersionMajor", isa.VERSION[0]),
        _parameter("VersionMinor", isa.VERSION[1]),
        f"  localparam logic [31:0] Magic = 32'h{isa.MAGIC:08X};",
        _parameter("HeaderBytes", isa.HEADER_BYTES),
        _parameter("SectionAlign", isa.SECTION_ALIGN),
        _parameter("InstructionBits", isa.INSTRUCTION_BITS),
        _parameter("ScheduleBits", isa.SCHEDULE.bits),
        _parameter("NumUnits", len(isa.UNITS)),
        _parameter("NumSpaces", len(isa.SPACES)),
        _parameter("NumSections", len(isa.SECTIONS)),
        "",
        "  // What a loader allows.",
        *(_parameter(f"Limit{camel(name)}", value) for name, value in isa.LIMITS.items()),
        "",
    ]
    lines += _enum(
        "opcode_e",
        "Instructions.",
        8,
        [(f"Op{camel(o.name)}", o.code) for o in isa.OPCODES.values()],
    )
    lines += _enum(
        "unit_e",
        "Execution units, in the order of the waits of a schedule entry.",
        (len(isa.UNITS) - 1).bit_length(),
        [(f"Unit{camel(name)}", i) for i, name in enumerate(isa.UNITS)],
    )
    space_bits = next(f.bits for f in isa.OPERAND.fields if f.name == "space")
    lines += _enum(
        "space_e",
        "Activation memories.",
        space_bits,
        [(f"Space{camel(s.name)}", s.index) for s in isa.SPACES.values()],
    )
    lines += _enum(
        "section_e",
        "Parts of the package.",
        (len(isa.SECTIONS) - 1).bit_length(),
        [(f"Section{camel(s.name)}", s.index) for s in isa.SECTIONS],
    )
    lines += _enum(
        "error_e",
        "Error codes.",
        max(isa.ERRORS.values()).bit_length(),
        [(f"Error{camel(name)}", code) for name, code in isa.ERRORS.items()],
    )
    sizes = ", ".join(str(s.element_bytes) for s in isa.SECTIONS)
    bits = ", ".join(str(s.bits) for s in isa.SPACES.values())
    lines += [
        "  // Bytes of one element of each section.",
        "  localparam int unsigned SectionElementBytes[NumSections] = '{",
        f"    {sizes}",
        "  };",
        "  // Bits of one element of each activation memory.",
        f"  localparam int unsigned SpaceBits[NumSpaces] = '{{{bits}}};",
        "",
    ]
    lines += _struct(
        "operand",
        "Rows of an activation memory: row i starts at addr + (i mod 2^log2_rows) * stride.",
        isa.OPERAND.fields,
        "OperandBits",
    )
    lines += _struct(
        "schedule_entry",
        "Run one instruction on one token.",
        isa.SCHEDULE.fields,
        "ScheduleEntryBits",
    )
    lines += _struct(
        "phase",
        "Entries of the schedule, executed several times.",
        isa.PHASE.fields,
        "PhaseBits",
    )
    lines += _struct("param_word", "Requantization parameters.", isa.PARAM.fields)
    lines += [_parameter("ParamWordBits", isa.PARAM.bits), ""]
    for op in isa.OPCODES.values():
        name = op.name.lower()
        constant = f"{camel(op.name)}InstructionBits"
        lines += _struct(f"{name}_instruction", op.doc, op.format.fields, constant)
        struct = f"{name}_instruction_t"
        lines += [
            f"  function automatic {struct} decode_{name}(",
            "      logic [InstructionBits-1:0] word);",
            f"    return {struct}'(word[{constant}-1:0]);",
            "  endfunction",
            "",
        ]
    lines += ["  // Package header: byte offsets of its fields."]
    section_parts = tuple(f"{s.name}_" for s in isa.SECTIONS)
    for f in isa.HEADER.fields:
        if f.name != "reserved" and not f.name.startswith(section_parts):
            lines.append(_parameter(f"Header{camel(f.name)}At", f.lsb // 8))
    first = f"{isa.SECTIONS[0].name}_offset"
    table_at = next(f.lsb for f in isa.HEADER.fields if f.name == first) // 8
    lines += [
        "  // The section table: offset, bytes and CRC of each section, 32 bits each.",
        _parameter("HeaderSectionTableAt", table_at),
        _parameter("HeaderSectionEntryBytes", 12),
        _parameter("HeaderCrcAt", isa.HEADER_BYTES - 4),
        "",
    ]
    for name, entry, table in decay_tables.described():
        lines += _table(name, f"decay(t), docs/numerics.md: {entry}.", table, 17)
    lines += [
        "  // verilator lint_on UNUSEDSIGNAL",
        "  // verilator lint_on UNUSEDPARAM",
        "",
        "endpackage",
        "",
    ]
    return "\n".join(lines)


def build_package(build: isa.Build) -> str:
    """cmamba_build_pkg: the sizes and parallelism of one build."""
    elements = ", ".join(str(build.spaces[name]) for name in isa.SPACE_NAMES)
    lines = [
        "// Generated from isa/builds.toml by `make isa`. Do not edit.",
        f"// Build '{build.name}': {build.doc}.",
        "package cmamba_build_pkg;",
        "",
        "  // verilator lint_off UNUSEDPARAM",
        "",
        "  // Parallelism.",
        _parameter("TileIn", build.tile_in),
        _parameter("TileOut", build.tile_out),
        "  // Elements of a row word: rows of the activation memories start at multiples of it.",
        _parameter("RowAlign", build.row_align),
        _parameter("RequantizeLanes", build.requantize_lanes),
        _parameter("VectorLanes", build.vector_lanes),
        _parameter("ConvLanes", build.conv_lanes),
        _parameter("ScanLanes", build.scan_lanes),
        "",
        "  // Capacities, in elements (weights: tiles).",
        *(_parameter(f"Max{camel(name)}", value) for name, value in build.capacity.items()),
        "",
        "  // Elements of each activation memory.",
        *(_parameter(f"{camel(name)}Elements", value) for name, value in build.spaces.items()),
        "  // The same, in the order of cmamba_pkg::space_e.",
        f"  localparam int unsigned SpaceElements[{len(isa.SPACES)}] = '{{",
        f"    {elements}",
        "  };",
        "",
        "  // verilator lint_on UNUSEDPARAM",
        "",
        "endpackage",
        "",
    ]
    return "\n".join(lines)
