"""A compiled program as arrays: what the rules of a loader look at, and a package's file holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

import isa
from isa.errors import PackageError
from isa.phases import Round, executed, rounds
from isa.sections import ARRAYS

# Header fields that are attributes of a program.
SIZES = (
    "tile_in",
    "tile_out",
    "n_sequences",
    "iterations",
    "n_positions",
    "token_bytes",
    "forecast_elements",
)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class CompiledProgram:
    """The arrays are the sections of ``docs/package.md``; none is modified.

    Attributes:
        tile_in, tile_out: weight tile of the build that the program was compiled for.
        n_sequences: sequences in one iteration of the phases.
        iterations: iterations of the phases that make one forecast.
        n_positions: tokens of a sequence.
        token_bytes: int8 elements of an input token.
        forecast_elements: int16 elements that one sequence sends.
        instructions: the instruction table.
        phases: PHASE_DTYPE [phases].
        schedule: SCHEDULE_DTYPE [entries].
        weights: int8 [tiles, tile_out, tile_in].
        array_params, scan_params, vector_params: PARAM_DTYPE [words].
        conv_params: CONV_PARAM_DTYPE [channels].
        conv_tables: int8 [tables, 256].
        scan_tables, vector_tables: uint16 [tables, 256] (a signed table as its two's complement).
        scan_decay: uint16 [rates].
        resid_image: int16 [elements].
        metadata: JSON object for the host.

    Raises:
        PackageError: BAD_SECTION, an array has another dtype or shape than these.
    """

    tile_in: int
    tile_out: int
    n_sequences: int
    iterations: int
    n_positions: int
    token_bytes: int
    forecast_elements: int
    instructions: tuple[isa.Instruction, ...]
    phases: np.ndarray
    schedule: np.ndarray
    weights: np.ndarray
    array_params: np.ndarray
    conv_params: np.ndarray
    conv_tables: np.ndarray
    scan_params: np.ndarray
    scan_decay: np.ndarray
    scan_tables: np.ndarray
    vector_params: np.ndarray
    vector_tables: np.ndarray
    resid_image: np.ndarray
    metadata: dict[str, Any]

    def __post_init__(self) -> None:
        arrays = {**ARRAYS, "weights": (np.dtype(np.int8), (self.tile_out, self.tile_in))}
        for name, (dtype, row) in arrays.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != 1 + len(row) or array.shape[1:] != row:
                shape = ", ".join(["n", *map(str, row)])
                raise PackageError(
                    "BAD_SECTION",
                    f"{name}: expected {dtype} [{shape}], found {array.dtype} {list(array.shape)}",
                )

    @property
    def sizes(self) -> dict[str, int]:
        """The `SIZES` by name, as a file's header has them."""
        return {name: getattr(self, name) for name in SIZES}

    @property
    def units(self) -> np.ndarray:
        """The unit of each schedule entry, int64 [entries]. Entries must name instructions."""
        units = np.array([instruction.unit for instruction in self.instructions], np.int64)
        return units[self.schedule["instruction"]]

    def rounds(self) -> Iterator[Round]:
        """What one iteration executes, in list order."""
        return rounds(self.phases, self.schedule)

    def executed(self) -> np.ndarray:
        """The same as one list of entries: SCHEDULE_DTYPE [n]."""
        return executed(self.phases, self.schedule)

    def instruction_name(self, index: int) -> str:
        """Name of an instruction: from the metadata, or ``index:OPCODE`` where that has none."""
        try:
            return str(self.metadata["instructions"][index]["name"])
        except (KeyError, IndexError, TypeError):
            return f"{index}:{self.instructions[index].opcode}"
