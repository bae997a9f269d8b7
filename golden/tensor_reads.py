"""What the instructions of a package read, as tensors instead of rows of memories.

A schedule moves rows through rings: which tensor a row is of, and which row of it, depends on when
it is read. Here the list is followed once, and every element that is read gets the result that it
was written as. Symbols: S sequences, R rows of a sequence, P positions, n elements of a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

import isa
from compiler.schedule.check import accesses
from golden.integer_model import (
    is_per_sequence,
    result_elements,
    rows_per_sequence,
    trace_sequences,
)
from isa.fitting import fitting_build
from isa.package import Package

CONSTANTS = -1
"""In place of the number of a `Step`: the package's `resid_image`."""
_NOBODY = -2


@dataclass(frozen=True)
class Read:
    """What a step reads through one operand.

    writers, elements: int64 [S, P, n], of each element that the entry of a sequence and position
    reads: the step that wrote it, or CONSTANTS, and which element of that one's result it is.
    """

    writers: np.ndarray
    elements: np.ndarray


@dataclass
class Step:
    """An instruction, or one of several sequences that has a twin for each of the others.

    `names`: its own, or of all of these in their order. `shape` of the result is (S, R, n), as
    `IntegerModel.run` has it in its trace.
    """

    name: str
    names: list[str]
    instruction: isa.Instruction
    shape: tuple[int, int, int]
    reads: dict[str, Read] = field(default_factory=dict)


def tensor_reads(package: Package) -> list[Step]:
    """The steps of a package that passes `Package.validate`, in the order of its instructions.

    A RECV reads the token of the stream of that number, as if it were an element of CONSTANTS.

    Raises:
        ValueError: an entry reads what none has written, or the taps of a CONV are not the rows of
            one tensor; no package of the compiler does.
    """
    steps, places = _steps(package)
    build = isa.build(fitting_build(package))
    sizes = [build.spaces[name] for name in isa.SPACE_NAMES]
    writers = [np.full(size, _NOBODY) for size in sizes]
    elements = [np.zeros(size, np.int64) for size in sizes]
    resid, constants = isa.SPACES["resid"].index, len(package.resid_image)
    writers[resid][:constants] = CONSTANTS
    elements[resid][:constants] = np.arange(constants)

    found: list[dict[str, dict]] = [{} for _ in steps]
    received = 0
    fields = ["instruction", "token", "position", "sequence"]
    for index, token, position, sequence in package.schedule[fields].tolist():
        number, first = places[index]
        step = steps[number]
        i = step.instruction
        place = first + sequence, position
        touched = accesses(i, token, position, sequence)
        if i.opcode == "RECV":
            found[number].setdefault("stream", {})[place] = (
                np.array([CONSTANTS]),
                np.array([received]),
            )
            received += 1
        for operand in dict.fromkeys(access.operand for access in touched.reads):
            parts = [
                (writers[a.space][a.start :][: a.count], elements[a.space][a.start :][: a.count])
                for a in touched.reads
                if a.operand == operand
            ]
            if any((who == _NOBODY).any() for who, _ in parts):
                raise ValueError(
                    f"{step.name}: operand {operand} at sequence {place[0]}, position {position} "
                    "reads what no entry has written"
                )
            if i.opcode == "CONV":
                _require_taps(step.name, found[number].get(operand, {}), place, parts)
                parts = parts[:1]  # the others are the rows before it
            found[number].setdefault(operand, {})[place] = tuple(
                np.concatenate(part) for part in zip(*parts, strict=True)
            )
        _, rows, n = step.shape
        row = place[0] * rows + (0 if is_per_sequence(i) else position)
        start = row * n
        for access in touched.writes:
            part = slice(access.start, access.start + access.count)
            writers[access.space][part] = number
            elements[access.space][part] = np.arange(start, start + access.count)
            start += access.count

    for step, reads in zip(steps, found, strict=True):
        step.reads = {operand: _stacked(step, entries) for operand, entries in reads.items()}
    return steps


def _steps(package: Package) -> tuple[list[Step], list[tuple[int, int]]]:
    """The steps, and of each instruction: the number of its step, and which sequence of that its
    first one is."""
    steps: list[Step] = []
    places: list[tuple[int, int]] = []
    previous = None
    for index, sequences in enumerate(trace_sequences(package)):
        instruction = package.instructions[index]
        name, first = package.instruction_name(index), 0
        # Coupled sequences have a SCAN each, which differ in where their state is.
        alike = dict(instruction.fields) | {"state_addr": 0}
        twin = instruction.opcode == "SCAN" and alike == previous
        previous = alike if instruction.opcode == "SCAN" else None
        if twin:
            step = steps[-1]
            first = step.shape[0]
            step.shape = (first + sequences, *step.shape[1:])
            step.name = step.name.removesuffix(".0")
            step.names.append(name)
        else:
            shape = sequences, rows_per_sequence(instruction), result_elements(instruction)
            steps.append(Step(name, [name], instruction, shape))
        places.append((len(steps) - 1, first))
    return steps, places


def _require_taps(name: str, before: dict, place: tuple[int, int], parts: list) -> None:
    sequence, position = place
    for age, part in enumerate(parts[1:], 1):
        earlier = before.get((sequence, position - age))
        if earlier is None or not all(map(np.array_equal, part, earlier)):
            raise ValueError(
                f"{name}: tap {age} at sequence {sequence}, position {position} is not the row of "
                "the position before"
            )


def _stacked(step: Step, entries: dict) -> Read:
    """From one part for each (sequence, position); of a reduction, the addend's is that of the last
    position alone."""
    sequences = sorted({sequence for sequence, _ in entries})
    positions = sorted({position for _, position in entries})
    return Read(
        *(
            np.array([[entries[s, p][which] for p in positions] for s in sequences], np.int64)
            for which in range(2)
        )
    )
