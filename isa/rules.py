"""What a loader checks before it runs a program (``docs/instruction_set.md``).

Each function raises `PackageError` for the first rule that fails; the message names the field, what
was expected and what was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

import isa
from isa.compiled_program import CompiledProgram
from isa.errors import PackageError

_MAX_BIAS = (1 << isa.LIMITS["bias_bits"]) - 1
_MAX_SKIP_WEIGHT = (1 << isa.LIMITS["skip_weight_bits"]) - 1

# SCAN reads four memories, each through a port of its own; elsewhere the readers and writers of
# isa.toml and the element width decide.
_SCAN_SPACES = {"u": "conv", "z": "gate", "dt": "step", "bc": "proj"}

# Ranges that are narrower than the field: (opcode, field): (lowest, highest).
_RANGES = {
    ("LINEAR", "log2_split"): (0, isa.LIMITS["log2_split"]),
    ("CONV", "kernel"): (1, isa.LIMITS["taps"]),
    ("SCAN", "state_shift"): (0, isa.LIMITS["state_shift"]),
    ("SCAN", "skip_shift"): (0, isa.LIMITS["skip_shift"]),
    ("SCAN", "y_shift"): (0, isa.LIMITS["y_shift"]),
    ("SCAN", "log2_state"): (0, isa.LIMITS["log2_state"]),
    ("NORM", "eps"): (1, (1 << 32) - 1),
}

# Rows of which each sequence has two elements: (opcode, operand).
_SHARED_ROWS = {("POOL_FEATURES", "dst"), ("MODULATE", "logit")}


# Sections of parameter words, with the largest |bias| of a word.
PARAM_SECTIONS = {
    "array_params": _MAX_BIAS,
    "conv_params": _MAX_BIAS,
    "scan_params": _MAX_SKIP_WEIGHT,
    "vector_params": _MAX_BIAS,
}


def array_rows(instruction: isa.Instruction) -> int:
    """Positions for which a LINEAR has weights of its own."""
    return instruction.n_positions if instruction.reduce else 1


def tile_grid(instruction: isa.Instruction, build: isa.Build | CompiledProgram) -> tuple[int, int]:
    """Tiles of one weight matrix of a LINEAR: (along the outputs, along the inputs)."""
    split = 1 << instruction.log2_split
    n_in = -(-instruction.n_in // (build.tile_in * split))
    n_out = -(-instruction.n_out // (build.tile_out // split))
    return n_out, n_in


def read_elements(
    instruction: isa.Instruction, operand: str, build: isa.Build, n_sequences: int
) -> int:
    """Elements of a row that an instruction touches through one of its operands, in a program of
    `n_sequences`."""
    if instruction.opcode == "LINEAR":
        if operand != "src":
            return instruction.n_out
        granule = build.tile_in << instruction.log2_split
        return -(-instruction.n_in // granule) * granule
    if operand == "bc":
        read = 2 << instruction.log2_state
        return max(read, instruction.skip_offset + instruction.n if instruction.skip_enable else 0)
    if (instruction.opcode, operand) in _SHARED_ROWS:
        return instruction.columns + n_sequences
    return instruction.n


def operands(instruction: isa.Instruction) -> dict[str, isa.Operand]:
    """The operands that an instruction uses, by field name."""
    used = {k: v for k, v in instruction.fields.items() if isinstance(v, isa.Operand)}
    if instruction.opcode == "LINEAR" and not instruction.add_enable:
        del used["add"]
    return used


def address_multiples(build: isa.Build) -> dict[str, int]:
    """What an instruction's address in a memory is a multiple of, where it may not be any element:
    a row as wide as the unit's lanes, or half of one."""
    return {
        "array_params": max(1, build.requantize_lanes // 2),
        "conv_params": build.conv_lanes,
        "scan_params": max(1, build.scan_lanes // 16),
        "scan_decay": build.scan_lanes,
        "state": build.scan_lanes,
    }


def allowed_spaces(instruction: isa.Instruction, operand: str) -> tuple[str, ...]:
    """Names of the memories that an operand may use."""
    opcode = instruction.opcode
    if opcode == "SCAN" and operand in _SCAN_SPACES:
        return (_SCAN_SPACES[operand],)
    write = operand == "dst"
    if opcode in ("LINEAR", "NORM", "MODULATE") and write:
        bits = 16 if instruction.wide else 8
    elif opcode == "LINEAR":
        bits = 16 if operand == "add" else 8
    elif opcode in ("SCALE", "MODULATE"):
        bits = 8 if operand == "logit" else 16
    else:
        bits = None
    return tuple(
        space.name
        for space in isa.SPACES.values()
        if opcode in (space.writers if write else space.readers) and bits in (None, space.bits)
    )


def check_header(sizes: Mapping[str, int], build: isa.Build | None) -> None:
    """BAD_TILE: another array than the build's. BAD_SHAPE: a size of zero.

    Args:
        sizes: `CompiledProgram.sizes`, or the fields of a file's header.
        build: None where any array will do.
    """
    for name in ("tile_in", "tile_out"):
        found = sizes[name]
        if found == 0 or (build is not None and found != getattr(build, name)):
            expected = "at least 1" if build is None else f"{getattr(build, name)} ({build.name})"
            raise PackageError(
                "BAD_TILE", f"header field {name}: expected {expected}, found {found}"
            )
    for name in ("n_sequences", "iterations", "n_positions", "token_bytes", "forecast_elements"):
        if sizes[name] == 0:
            raise PackageError("BAD_SHAPE", f"header field {name}: expected at least 1, found 0")


def check_section_size(name: str, size: int, build: isa.Build) -> None:
    """BAD_SECTION: a section is larger than the memory it goes to; ``size`` in elements."""
    if name in ("weights", "metadata"):  # weights beyond their memory stay in DDR
        return
    limit = build.spaces["resid"] if name == "resid_image" else build.capacity[name]
    if size > limit:
        raise PackageError(
            "BAD_SECTION",
            f"section {name}: expected at most {limit} elements ({build.name}), found {size}",
        )


def check_param_words(name: str, words: np.ndarray) -> None:
    """BAD_SHAPE: a parameter word that no instruction may use; ``words`` are the section's."""
    max_bias = PARAM_SECTIONS[name]
    for field, low, high in (
        ("shift", 0, isa.LIMITS["shift"]),
        ("bias", -max_bias, max_bias),
    ):
        bad = np.flatnonzero((words[field] < low) | (words[field] > high))
        if len(bad):
            raise PackageError(
                "BAD_SHAPE",
                f"{name} {bad[0]}, {field}: expected {low} to {high}, found {words[field][bad[0]]}",
            )


def check_sections(program: CompiledProgram, build: isa.Build) -> None:
    """`check_section_size` and `check_param_words` for every section."""
    for section in isa.SECTIONS:
        check_section_size(section.name, len(getattr(program, section.name)), build)
        if section.name in PARAM_SECTIONS:
            check_param_words(section.name, getattr(program, section.name))


def check_instruction(
    program: CompiledProgram, index: int, instruction: isa.Instruction, build: isa.Build
) -> None:
    """BAD_OPERAND or BAD_SHAPE: one instruction against the build and the program's sections."""
    where = f"instruction {index} ({instruction.opcode})"
    for name, operand in operands(instruction).items():
        _check_operand(program, f"{where}, {name}", instruction, name, operand, build)
    _check_overlap(where, instruction)
    _check_shape(program, where, instruction, build)
    _check_ranges(program, where, instruction, build)


def _check_operand(
    program: CompiledProgram,
    where: str,
    instruction: isa.Instruction,
    name: str,
    operand: isa.Operand,
    build: isa.Build,
) -> None:
    def bad(field: str, expected: object, found: object) -> PackageError:
        return PackageError("BAD_OPERAND", f"{where}.{field}: expected {expected}, found {found}")

    allowed = allowed_spaces(instruction, name)
    space = isa.SPACE_NAMES[operand.space] if operand.space < len(isa.SPACE_NAMES) else None
    if space not in allowed:
        raise bad("space", " or ".join(allowed), space or operand.space)
    align = build.row_align
    start = align
    if instruction.opcode == "LINEAR" and name == "src":
        start = min(align, build.tile_in << instruction.log2_split)
    if operand.addr % start:
        raise bad("addr", f"a multiple of {start}", operand.addr)
    if operand.stride % align:
        raise bad("stride", f"a multiple of {align}", operand.stride)
    rows = 1 << operand.log2_rows
    end = operand.row(rows - 1) + read_elements(instruction, name, build, program.n_sequences)
    if end > build.spaces[space]:
        raise bad("addr", f"the last row to end within the {build.spaces[space]} of {space}", end)
    if name == "dst" and space == "resid" and operand.addr < len(program.resid_image):
        raise bad("addr", f"{len(program.resid_image)} or more (resid_image)", operand.addr)


def _check_overlap(where: str, instruction: isa.Instruction) -> None:
    """NORM, SCALE and MODULATE write the row that they read, or none of the rows that they read
    from."""
    if instruction.opcode not in ("NORM", "SCALE", "MODULATE"):
        return
    dst = instruction.dst

    def end(operand: isa.Operand) -> int:
        return operand.row((1 << operand.log2_rows) - 1) + instruction.n

    for name in ("src", "add") if instruction.opcode == "MODULATE" else ("src",):
        source = instruction.fields[name]
        if source.space != dst.space or source == dst:
            continue
        if dst.addr < end(source) and source.addr < end(dst):
            raise PackageError(
                "BAD_OPERAND",
                f"{where}, dst: expected the rows of {name} or none of its elements {source.addr} "
                f"to {end(source) - 1}, found {dst.addr} to {end(dst) - 1}",
            )


def _check_shape(
    program: CompiledProgram, where: str, instruction: isa.Instruction, build: isa.Build
) -> None:
    def bad(field: str, expected: object, found: object) -> PackageError:
        return PackageError("BAD_SHAPE", f"{where}, {field}: expected {expected}, found {found}")

    opcode = instruction.opcode
    sizes = ("n_positions", "n_in", "n_out") if opcode == "LINEAR" else ("n_positions", "n")
    for field in sizes:
        value = instruction.fields[field]
        if value == 0:
            raise bad(field, "at least 1", 0)
        limit = build.capacity["features"]
        if field == "n_out" and instruction.reduce:
            limit = build.capacity["reduce"]
        if field in ("n", "n_out") and opcode != "SEND" and value > limit:
            raise bad(field, f"at most {limit}", value)
    for (name, field), (low, high) in _RANGES.items():
        if name == opcode and not low <= instruction.fields[field] <= high:
            raise bad(field, f"{low} to {high}", instruction.fields[field])
    if opcode == "LINEAR":
        inputs = instruction.n_in * array_rows(instruction)
        most = isa.LIMITS["array_inputs"]
        if inputs > most:
            raise bad("n_in times positions", f"at most {most}", inputs)
    elif opcode == "SCAN" and instruction.skip_enable and instruction.skip_offset % build.row_align:
        raise bad("skip_offset", f"a multiple of {build.row_align}", instruction.skip_offset)
    elif opcode == "CONV" and instruction.kernel > 1 << instruction.src.log2_rows:
        raise bad(
            "kernel",
            f"at most the {1 << instruction.src.log2_rows} rows of src",
            instruction.kernel,
        )
    elif opcode == "RECV" and instruction.n != program.token_bytes:
        raise bad("n", f"token_bytes {program.token_bytes}", instruction.n)
    elif opcode == "SEND" and instruction.n != program.forecast_elements:
        raise bad("n", f"forecast_elements {program.forecast_elements}", instruction.n)


def _check_ranges(
    program: CompiledProgram, where: str, instruction: isa.Instruction, build: isa.Build
) -> None:
    """The tables, parameters, weights and state that an instruction names exist, and begin at a
    multiple of `address_multiples`."""

    multiples = address_multiples(build)

    def check(field: str, start: int, count: int, memory: str, size: int) -> None:
        multiple = multiples.get(memory, 1)
        if start % multiple:
            raise PackageError(
                "BAD_SHAPE",
                f"{where}, {field}: expected a multiple of {multiple}, found {start}",
            )
        if start + count > size:
            raise PackageError(
                "BAD_SHAPE",
                f"{where}, {field}: expected {start} to {start + count - 1} to lie inside "
                f"{memory} of {size}",
            )

    def check_params(memory: str, count: int) -> None:
        size = len(getattr(program, memory))
        check("param_addr", instruction.param_addr, count, memory, size)

    def check_table(field: str, memory: str) -> None:
        check(field, instruction.fields[field], 1, memory, len(getattr(program, memory)))

    match instruction.opcode:
        case "LINEAR":
            tiles = tile_grid(instruction, build)
            last = instruction.weight_stride * (array_rows(instruction) - 1)
            check(
                "weight_addr",
                instruction.weight_addr,
                last + tiles[0] * tiles[1],
                "weights",
                len(program.weights),
            )
            check_params("array_params", instruction.n_out)
        case "CONV":
            check_table("table", "conv_tables")
            check_params("conv_params", instruction.n)
        case "SCAN":
            pairs = instruction.n << instruction.log2_state
            check("state_addr", instruction.state_addr, pairs, "state", build.capacity["state"])
            check(
                "decay_addr", instruction.decay_addr, pairs, "scan_decay", len(program.scan_decay)
            )
            check_table("softplus_table", "scan_tables")
            check_table("silu_table", "scan_tables")
            check_params("scan_params", instruction.n)
        case "NORM":
            check_params("vector_params", instruction.n)
        case "POOL" | "POOL_FEATURES":
            check_params("vector_params", 2)
        case "MODULATE":
            check_table("scale_table", "vector_tables")
            check_table("shift_table", "vector_tables")
            check_params("vector_params", 1)
        case "SCALE":
            check_table("table", "vector_tables")


def check_schedule_entries(
    program: CompiledProgram, unit_entries: Sequence[int] | None = None
) -> None:
    """BAD_SCHEDULE: an entry names what does not exist, or a unit has a wrong number of entries.

    Args:
        program: with its instructions.
        unit_entries: what the header says; without it, what the schedule itself has.
    """
    schedule = program.schedule

    def check(field: str, limit: np.ndarray | int) -> None:
        bad = np.flatnonzero((schedule[field] < 0) | (schedule[field] >= limit))
        if len(bad):
            limits = np.broadcast_to(limit, schedule.shape)
            raise PackageError(
                "BAD_SCHEDULE",
                f"schedule entry {bad[0]}, {field}: expected below {limits[bad[0]]}, "
                f"found {schedule[field][bad[0]]}",
            )

    check("instruction", len(program.instructions))
    positions = np.array([i.n_positions for i in program.instructions], np.int64)
    check("position", positions[schedule["instruction"]])
    check("sequence", program.n_sequences)
    counts = program.unit_entries
    expected = list(unit_entries or counts)
    for unit, (want, have) in enumerate(zip(expected, counts, strict=True)):
        if want != have:
            raise PackageError(
                "BAD_SCHEDULE",
                f"header field unit_entries, {isa.UNITS[unit]}: expected the schedule's {have}, "
                f"found {want}",
            )
    streams = {
        "stream_in": program.n_sequences * program.n_positions,
        "stream_out": program.n_sequences,
    }
    for unit, want in streams.items():
        have = counts[isa.UNITS.index(unit)]
        if want != have:
            raise PackageError(
                "BAD_SCHEDULE", f"schedule, entries of {unit}: expected {want}, found {have}"
            )
