"""Padding: what a package holds that no instruction uses, which is zero (``docs/package.md``).

A loader in hardware does not look at it, and nothing computes with it. A reader of files refuses
what is not zero: the file is damaged, or its writer and its reader do not agree on its layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import isa
from isa import rules
from isa.compiled_program import CompiledProgram
from isa.errors import PackageError
from isa.words import MAX_TAPS, PARAM_DTYPE

SECTIONS = (
    "weights",
    "array_params",
    "conv_params",
    "scan_params",
    "scan_decay",
    "vector_params",
    "resid_image",
)
"""Those that have padding, in the file's order. (A table is used as a whole or not at all.)"""


@dataclass(frozen=True)
class _Use:
    """Elements of a section from `start` on that an instruction uses, of each the parts where
    `parts` is true: one value for all elements, or one for each."""

    instruction: int
    section: str
    start: int
    count: int
    parts: np.ndarray


def find_padding(program: CompiledProgram) -> dict[str, np.ndarray]:
    """Where the sections hold padding.

    Returns:
        For each of `SECTIONS` bool [elements, *parts]. The parts of a weight tile are its weights
        [tile_out, tile_in], those of a channel of conv_params the parameter word and the taps
        [1 + MAX_TAPS]; other elements have one. A weight tile that no instruction uses is not
        padding: it may belong to anything.
    """
    padding = {name: np.ones(values.shape, bool) for name, values in _parts(program).items()}
    foreign = np.ones(len(program.weights), bool)
    for use in _uses(program):
        padding[use.section][use.start : use.start + use.count] &= ~use.parts
        if use.section == "weights":
            foreign[use.start : use.start + use.count] = False
    padding["weights"][foreign] = False
    return padding


def check_padding(program: CompiledProgram) -> None:
    """BAD_SECTION: padding that is not zero. The message names section, place and instruction."""
    padding, parts = find_padding(program), _parts(program)
    for section in SECTIONS:
        wrong = padding[section] & (parts[section] != 0)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise PackageError(
                "BAD_SECTION",
                f"section {section}, {_place(section, place)}: expected 0, "
                f"{_reason(program, section, place)}, found {parts[section][place]}",
            )


def _parts(program: CompiledProgram) -> dict[str, np.ndarray]:
    """Sections as integers, a parameter word being the first of its fields that is not zero."""

    def words(params: np.ndarray) -> np.ndarray:
        value = np.zeros(len(params), np.int64)
        for name in PARAM_DTYPE.names:
            value = np.where(value == 0, params[name], value)
        return value

    conv = program.conv_params
    return {
        "weights": program.weights,
        "conv_params": np.column_stack([words(conv), conv["taps"]]),
        "scan_decay": program.scan_decay,
        "resid_image": program.resid_image,
    } | {
        name: words(getattr(program, name))
        for name in ("array_params", "scan_params", "vector_params")
    }


def _uses(program: CompiledProgram) -> Iterator[_Use]:
    """What each instruction uses of the sections that have padding. A program that no rule has been
    applied to may name what is not there."""
    everything = np.ones((), bool)
    for index, i in enumerate(program.instructions):
        if i.opcode == "LINEAR":
            yield from _weights(program, index, i)
        for use in i.addressed():
            if use.memory in SECTIONS:
                # Of a channel of the convolution, the parameter word and its taps.
                taps = use.memory == "conv_params"
                parts = np.arange(1 + MAX_TAPS) <= i.kernel if taps else everything
                yield _Use(index, use.memory, use.start, use.count, parts)
        n = i.n_out if i.opcode == "LINEAR" else i.n
        for name, operand in rules.operands(i).items():
            if isa.SPACES["resid"].index == operand.space and name != "dst":
                for row in range(1 << operand.log2_rows):
                    start = operand.row(row)
                    if start < len(program.resid_image):
                        yield _Use(index, "resid_image", start, n, everything)


def _weights(program: CompiledProgram, index: int, i: isa.Instruction) -> Iterator[_Use]:
    split = 1 << i.log2_split
    if split > program.tile_out:
        return
    n_o, n_i = rules.tile_grid(i, program)
    count = n_o * n_i
    last = i.weight_addr + (rules.array_rows(i) - 1) * i.weight_stride
    if last + count > len(program.weights):
        return
    outputs = program.tile_out // split
    inside = np.zeros((n_o * outputs, n_i * split * program.tile_in), bool)
    inside[: i.n_out, : i.n_in] = True
    # [O, lane, I, group, j] to [O, I, group, lane, j]
    tiles = inside.reshape(n_o, outputs, n_i, split, -1).transpose(0, 2, 3, 1, 4)
    tiles = tiles.reshape(count, program.tile_out, program.tile_in)
    for position in range(rules.array_rows(i) if i.weight_stride else 1):
        yield _Use(index, "weights", i.weight_addr + position * i.weight_stride, count, tiles)


def _place(section: str, place: tuple[int, ...]) -> str:
    """An element or a part of it, as ``docs/package.md`` calls it."""
    element, *part = place
    match section:
        case "weights":
            return f"tile {element}, lane {part[0]}, weight {part[1]}"
        case "conv_params":
            return f"channel {element}, " + (f"tap {part[0] - 1}" if part[0] else "parameter word")
        case "scan_decay":
            return f"rate {element}"
        case "resid_image":
            return f"element {element}"
    return f"word {element}"


def _reason(program: CompiledProgram, section: str, place: tuple[int, ...]) -> str:
    """Why the place is padding: what of it an instruction uses, or behind which one it lies."""

    def name(use: _Use) -> str:
        return f"instruction {use.instruction} ({program.instructions[use.instruction].opcode})"

    uses = [use for use in _uses(program) if use.section == section]
    for use in uses:
        if use.start <= place[0] < use.start + use.count:
            i = program.instructions[use.instruction]
            if section == "conv_params":
                return f"as {name(use)} has {i.kernel} taps"
            return f"as {name(use)} has {i.n_in} inputs and {i.n_out} outputs"
    before = [use for use in uses if use.start + use.count <= place[0]]
    if not before:
        return "as no instruction uses it"
    return f"behind what {name(max(before, key=lambda use: use.start + use.count))} uses"
