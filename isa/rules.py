"""What a loader checks before it runs a program (``docs/instruction_set.md``).

Each function ``*_faults`` yields a `PackageError` for each rule that is broken, in the order in
which a loader looks; the message names the field, what was expected and what was found. Of an
instruction, and of the schedule, it is the first one: behind it, others may mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, islice

import numpy as np

import isa
from isa.compiled_program import CompiledProgram
from isa.errors import PackageError
from isa.phases import SEQUENCES

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

# Sections of parameter words, with the largest |bias| of a word.
PARAM_SECTIONS = {
    "array_params": _MAX_BIAS,
    "conv_params": _MAX_BIAS,
    "scan_params": _MAX_SKIP_WEIGHT,
    "vector_params": _MAX_BIAS,
}


SECTION_NAMES = frozenset(section.name for section in isa.SECTIONS)


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
    if instruction.field(operand).shared:
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


def header_faults(sizes: Mapping[str, int], build: isa.Build | None) -> Iterator[PackageError]:
    """BAD_TILE: another array than the build's. BAD_SHAPE: a size of zero.

    Args:
        sizes: `CompiledProgram.sizes`, or the fields of a file's header.
        build: None where any array will do.
    """
    for name in ("tile_in", "tile_out"):
        found = sizes[name]
        if found == 0 or (build is not None and found != getattr(build, name)):
            expected = "at least 1" if build is None else f"{getattr(build, name)} ({build.name})"
            yield PackageError(
                "BAD_TILE", f"header field {name}: expected {expected}, found {found}"
            )
    for name in ("n_sequences", "iterations", "n_positions", "token_bytes", "forecast_elements"):
        if sizes[name] == 0:
            yield PackageError("BAD_SHAPE", f"header field {name}: expected at least 1, found 0")


def section_size_faults(name: str, size: int, build: isa.Build) -> Iterator[PackageError]:
    """BAD_SECTION: a section is larger than the memory it goes to; ``size`` in elements."""
    if name in ("weights", "metadata"):  # weights beyond their memory stay in DDR
        return
    limit = build.spaces["resid"] if name == "resid_image" else build.capacity[name]
    if size > limit:
        yield PackageError(
            "BAD_SECTION",
            f"section {name}: expected at most {limit} elements ({build.name}), found {size}",
        )


def param_word_faults(name: str, words: np.ndarray) -> Iterator[PackageError]:
    """BAD_SHAPE: a parameter word that no instruction may use; ``words`` are the section's."""
    max_bias = PARAM_SECTIONS[name]
    for field, low, high in (
        ("shift", 0, isa.LIMITS["shift"]),
        ("bias", -max_bias, max_bias),
    ):
        bad = np.flatnonzero((words[field] < low) | (words[field] > high))
        if len(bad):
            yield PackageError(
                "BAD_SHAPE",
                f"{name} {bad[0]}, {field}: expected {low} to {high}, found {words[field][bad[0]]}",
            )


def phase_faults(phases: np.ndarray) -> Iterator[PackageError]:
    """BAD_SHAPE: a phase that executes nothing."""
    for index, phase in enumerate(phases):
        for name in ("entries", "repeats"):
            if phase[name] < 1:
                found = phase[name]
                yield PackageError(
                    "BAD_SHAPE", f"phase {index}, {name}: expected at least 1, found {found}"
                )


def section_faults(program: CompiledProgram, build: isa.Build) -> Iterator[PackageError]:
    """`section_size_faults`, and `param_word_faults` or `phase_faults`, of every section."""
    for section in isa.SECTIONS:
        yield from section_size_faults(section.name, len(getattr(program, section.name)), build)
        if section.name in PARAM_SECTIONS:
            yield from param_word_faults(section.name, getattr(program, section.name))
        elif section.name == "phases":
            yield from phase_faults(program.phases)


def instruction_faults(
    program: CompiledProgram, index: int, instruction: isa.Instruction, build: isa.Build
) -> Iterator[PackageError]:
    """BAD_OPERAND or BAD_SHAPE: one instruction against the build and the program's sections."""
    where = f"instruction {index} ({instruction.opcode})"
    faults = chain(
        _operand_faults(program, where, instruction, build),
        _overlap_faults(where, instruction),
        _shape_faults(program, where, instruction, build),
        _range_faults(program, where, instruction, build),
    )
    return islice(faults, 1)


def _operand_faults(
    program: CompiledProgram, where: str, instruction: isa.Instruction, build: isa.Build
) -> Iterator[PackageError]:
    for name, operand in operands(instruction).items():
        yield from _faults_of_operand(
            program, f"{where}, {name}", instruction, name, operand, build
        )


def _faults_of_operand(
    program: CompiledProgram,
    where: str,
    instruction: isa.Instruction,
    name: str,
    operand: isa.Operand,
    build: isa.Build,
) -> Iterator[PackageError]:
    def bad(field: str, expected: object, found: object) -> PackageError:
        return PackageError("BAD_OPERAND", f"{where}.{field}: expected {expected}, found {found}")

    allowed = allowed_spaces(instruction, name)
    space = isa.SPACE_NAMES[operand.space] if operand.space < len(isa.SPACE_NAMES) else None
    if space not in allowed:
        yield bad("space", " or ".join(allowed), space or operand.space)
    align = build.row_align
    start = align
    if instruction.opcode == "LINEAR" and name == "src":
        start = min(align, build.tile_in << instruction.log2_split)
    if operand.addr % start:
        yield bad("addr", f"a multiple of {start}", operand.addr)
    if operand.stride % align:
        yield bad("stride", f"a multiple of {align}", operand.stride)
    rows = 1 << operand.log2_rows
    end = operand.row(rows - 1) + read_elements(instruction, name, build, program.n_sequences)
    if end > build.spaces[space]:
        yield bad("addr", f"the last row to end within the {build.spaces[space]} of {space}", end)
    if name == "dst" and space == "resid" and operand.addr < len(program.resid_image):
        yield bad("addr", f"{len(program.resid_image)} or more (resid_image)", operand.addr)


def _overlap_faults(where: str, instruction: isa.Instruction) -> Iterator[PackageError]:
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
            yield PackageError(
                "BAD_OPERAND",
                f"{where}, dst: expected the rows of {name} or none of its elements {source.addr} "
                f"to {end(source) - 1}, found {dst.addr} to {end(dst) - 1}",
            )


def _shape_faults(
    program: CompiledProgram, where: str, instruction: isa.Instruction, build: isa.Build
) -> Iterator[PackageError]:
    def bad(field: str, expected: object, found: object) -> PackageError:
        return PackageError("BAD_SHAPE", f"{where}, {field}: expected {expected}, found {found}")

    opcode = instruction.opcode
    sizes = ("n_positions", "n_in", "n_out") if opcode == "LINEAR" else ("n_positions", "n")
    for field in sizes:
        value = instruction.fields[field]
        if value == 0:
            yield bad(field, "at least 1", 0)
        limit = build.capacity["features"]
        if field == "n_out" and instruction.reduce:
            limit = build.capacity["reduce"]
        if field in ("n", "n_out") and opcode != "SEND" and value > limit:
            yield bad(field, f"at most {limit}", value)
    for (name, field), (low, high) in _RANGES.items():
        if name == opcode and not low <= instruction.fields[field] <= high:
            yield bad(field, f"{low} to {high}", instruction.fields[field])
    if opcode == "LINEAR":
        inputs = instruction.n_in * array_rows(instruction)
        most = isa.LIMITS["array_inputs"]
        if inputs > most:
            yield bad("n_in times positions", f"at most {most}", inputs)
    elif opcode == "SCAN" and instruction.skip_enable and instruction.skip_offset % build.row_align:
        yield bad("skip_offset", f"a multiple of {build.row_align}", instruction.skip_offset)
    elif opcode == "CONV" and instruction.kernel > 1 << instruction.src.log2_rows:
        yield bad(
            "kernel",
            f"at most the {1 << instruction.src.log2_rows} rows of src",
            instruction.kernel,
        )
    elif opcode == "RECV" and instruction.n != program.token_bytes:
        yield bad("n", f"token_bytes {program.token_bytes}", instruction.n)
    elif opcode == "SEND" and instruction.n != program.forecast_elements:
        yield bad("n", f"forecast_elements {program.forecast_elements}", instruction.n)


def _range_faults(
    program: CompiledProgram, where: str, instruction: isa.Instruction, build: isa.Build
) -> Iterator[PackageError]:
    """The tables, parameters, weights and state that an instruction names exist, and begin at a
    multiple of `address_multiples`."""
    multiples = address_multiples(build)
    uses = [use for use in instruction.addressed() if use.memory not in PARAM_SECTIONS]
    if instruction.opcode == "LINEAR":
        tiles = tile_grid(instruction, build)
        last = instruction.weight_stride * (array_rows(instruction) - 1)
        count = last + tiles[0] * tiles[1]
        uses.append(isa.Addressed("weight_addr", "weights", instruction.weight_addr, count))
    uses += [use for use in instruction.addressed() if use.memory in PARAM_SECTIONS]
    for use in uses:
        multiple = multiples.get(use.memory, 1)
        if use.start % multiple:
            yield PackageError(
                "BAD_SHAPE",
                f"{where}, {use.field}: expected a multiple of {multiple}, found {use.start}",
            )
        if use.memory in SECTION_NAMES:
            size = len(getattr(program, use.memory))
        else:
            size = build.capacity[use.memory]
        if use.start + use.count > size:
            yield PackageError(
                "BAD_SHAPE",
                f"{where}, {use.field}: expected {use.start} to {use.start + use.count - 1} to lie "
                f"inside {use.memory} of {size}",
            )


def schedule_faults(program: CompiledProgram) -> Iterator[PackageError]:
    """BAD_SCHEDULE: phases that are not those of the schedule, or an entry that names what does not
    exist. `program` with its instructions."""
    faults = chain(_phase_faults(program), _entry_faults(program), _count_faults(program))
    return islice(faults, 1)


def _phase_faults(program: CompiledProgram) -> Iterator[PackageError]:
    phases = program.phases
    if not len(phases):
        yield PackageError("BAD_SCHEDULE", "phases: expected at least 1, found none")
    have, want = int(phases["entries"].sum()), len(program.schedule)
    if have != want:
        yield PackageError(
            "BAD_SCHEDULE", f"phases, entries: expected the {want} of the schedule, found {have}"
        )
    most = isa.LIMITS["executed"]
    executed = int((phases["entries"].astype(np.int64) * phases["repeats"]).sum())
    if executed > most:
        yield PackageError(
            "BAD_SCHEDULE",
            f"phases, entries times repeats: expected at most {most}, found {executed}",
        )


def _entry_faults(program: CompiledProgram) -> Iterator[PackageError]:
    schedule = program.schedule

    def check(what: str, found: np.ndarray, limit: np.ndarray | int) -> Iterator[PackageError]:
        bad = np.flatnonzero((found < 0) | (found >= limit))
        if len(bad):
            limits = np.broadcast_to(limit, found.shape)
            yield PackageError(
                "BAD_SCHEDULE",
                f"schedule entry {bad[0]}, {what}: expected below {limits[bad[0]]}, "
                f"found {found[bad[0]]}",
            )

    def last(field: str) -> np.ndarray:
        """Of each entry, in the last repeat of its phase."""
        steps = (program.phases["repeats"].astype(np.int64) - 1) * program.phases[f"{field}_step"]
        return schedule[field] + np.repeat(steps, program.phases["entries"])

    yield from check("instruction", schedule["instruction"], len(program.instructions))
    positions = np.array([i.n_positions for i in program.instructions], np.int64)
    yield from check("last position", last("position"), positions[schedule["instruction"]])
    yield from check("last sequence", last("sequence"), min(program.n_sequences, SEQUENCES))


def _count_faults(program: CompiledProgram) -> Iterator[PackageError]:
    phases, units = program.phases, program.units
    of_phase = np.repeat(np.arange(len(phases)), phases["entries"])
    counts = np.zeros((len(phases), len(isa.UNITS)), np.int64)
    np.add.at(counts, (of_phase, units), 1)
    for index, unit in np.argwhere(counts != phases["unit_entries"]).tolist():
        yield PackageError(
            "BAD_SCHEDULE",
            f"phase {index}, unit_entries of {isa.UNITS[unit]}: expected the schedule's "
            f"{counts[index, unit]}, found {phases['unit_entries'][index, unit]}",
        )
    all_entries = (counts * phases["repeats"][:, None]).sum(axis=0)
    streams = {
        "stream_in": program.n_sequences * program.n_positions,
        "stream_out": program.n_sequences,
    }
    for unit, want in streams.items():
        have = all_entries[isa.UNITS.index(unit)]
        if want != have:
            yield PackageError(
                "BAD_SCHEDULE", f"schedule, entries of {unit}: expected {want}, found {have}"
            )
