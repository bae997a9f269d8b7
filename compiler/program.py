"""Collect the parts of a program: buffers, weight tiles, parameters, tables, instructions.

A `ProgramBuilder` knows the instruction set and the sizes of one build, but no model:
the modules of `compiler.lower` fill it. Instructions are collected in *segments*. The order that
defines a program's meaning runs through the sequences, in a sequence through the segments, in a
segment through the positions, and at a position through the segment's instructions. Where the
sequences are coupled there are segments that run through all sequences at a position before the
next. `compiler.schedule.order` then finds a faster order with the same meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

import isa
from common.errors import CmambaError
from isa import rules
from isa.sections import ARRAYS
from isa.words import CONV_PARAM_DTYPE, PARAM_DTYPE


class CompileError(CmambaError, ValueError):
    """A model that no build, or not the given one, can hold, or that the integer formats cannot
    represent."""


class MisfitError(CompileError):
    """A build cannot hold the program. `misfits`: all reasons, a line each; the first is the
    text."""

    def __init__(self, misfits: list[str]) -> None:
        super().__init__(misfits[0])
        self.misfits = misfits


class CompilerDefectError(RuntimeError):
    """A program that would not compute the model that it was compiled from."""


def round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def ceil_log2(n: int) -> int:
    """Smallest k with 2^k >= n."""
    return (n - 1).bit_length()


@dataclass(frozen=True)
class Entry:
    """Run instruction `instruction` on one token."""

    instruction: int
    token: int
    position: int
    sequence: int


@dataclass(frozen=True)
class Step:
    """An emitted instruction: its name, segment, and what its result means in real numbers.

    Where sequences are coupled: `sequence` is the only one that it serves, or None for all of them;
    `shared` instructions work on all of them at once.
    """

    name: str
    segment: int
    instruction: isa.Instruction
    tensors: tuple[Mapping[str, object], ...]
    sequence: int | None = None
    shared: bool = False


@dataclass
class ProgramBuilder:
    """The growing program for `n_sequences` sequences of `n_positions` tokens on `build`.

    `misfits`: why the build cannot hold the program, a line each. It grows on nevertheless, so that
    no error has to pass between one build and the next.

    `coupled`: the sequences depend on each other. They take turns: a layer works on a position of
    all sequences before the next position.
    """

    build: isa.Build
    n_sequences: int
    n_positions: int
    coupled: bool = False
    steps: list[Step] = field(default_factory=list)
    tiles: list[np.ndarray] = field(default_factory=list)
    tables: dict[str, list[np.ndarray]] = field(default_factory=dict)
    params: dict[str, list[np.ndarray]] = field(default_factory=dict)
    decay: list[np.ndarray] = field(default_factory=list)
    constants: list[np.ndarray] = field(default_factory=list)
    misfits: list[str] = field(default_factory=list)
    _segment: int = 0
    _by_position: set[int] = field(default_factory=set)  # segments
    _used: dict[str, int] = field(default_factory=dict)
    _rings: dict[str, list[isa.Operand]] = field(default_factory=dict)
    _turn: dict[str, int] = field(default_factory=dict)

    # ------------------------------------------------------------------ memories

    def free(self, space: str) -> int:
        """Elements of `space` that are not allocated; 0 where more are than there are."""
        return max(0, self.build.spaces[space] - self._used.get(space, 0))

    def allocate(self, space: str, width: int, rows: int, what: str) -> isa.Operand:
        """A buffer of `rows` rows (a power of two) of `width` elements."""
        stride = round_up(width, self.build.row_align)
        if stride * rows > self.free(space):
            self.misfits.append(
                f"{what}: memory '{space}' needs {stride * rows} elements more, has "
                f"{self.free(space)} left of {self.build.spaces[space]} in build "
                f"'{self.build.name}'; use a smaller model or a build with a larger '{space}'"
            )
        addr = self._used.get(space, 0)
        self._used[space] = addr + stride * rows
        return isa.Operand(addr, stride, ceil_log2(rows), isa.SPACES[space].index)

    def reserve(
        self,
        role: str,
        space: str,
        width: int,
        least_rows: int = 2,
        most_rows: int = 16,
        tokens: int | None = None,
    ) -> None:
        """Allocate the token rings that all blocks take in turn for one role.

        Two rings let a block start while the one before still reads; up to `most_rows` rows let a
        unit run ahead. Less is taken where the memory is small, or where there are fewer `tokens`
        (without it, the program's).
        """
        tokens = tokens or self.n_sequences * self.n_positions
        most = 1 << ceil_log2(min(most_rows, tokens))
        least = 1 << ceil_log2(least_rows)
        stride = round_up(width, self.build.row_align)
        for rows, count in ((16, 2), (8, 2), (8, 1), (4, 2), (4, 1), (2, 2), (2, 1), (1, 1)):
            rows = max(least, min(rows, most))
            if rows * count * stride <= self.free(space):
                break
        else:
            rows, count = least, 1
        self._rings[role] = [self.allocate(space, width, rows, role) for _ in range(count)]

    def ring(self, role: str, space: str, width: int, least_rows: int = 2) -> isa.Operand:
        """The next ring of a role, reserved on first use."""
        if role not in self._rings:
            self.reserve(role, space, width, least_rows)
        turn = self._turn.get(role, 0)
        self._turn[role] = turn + 1
        return self._rings[role][turn % len(self._rings[role])]

    def states(self, elements: int, count: int, what: str) -> list[int]:
        """Addresses of scan state for one block, one for each of `count` sequences; blocks take
        regions in turn where several fit."""
        capacity = self.build.capacity["state"]
        region = round_up(elements, rules.address_multiples(self.build)["state"])
        if count * region > capacity:
            self.misfits.append(
                f"{what}: the scan needs {count * elements} states, build '{self.build.name}' has "
                f"{capacity}; use a smaller d_state or d_inner"
                + (f", or fewer than {count} variables" if count > 1 else "")
            )
        turn = self._turn.get("state", 0)
        self._turn["state"] = turn + 1
        regions = max(1, min(4, capacity // (count * region)))
        first = turn % regions * count
        return [(first + i) * region for i in range(count)]

    def constant_rows(self, rows: np.ndarray, what: str) -> isa.Operand:
        """int16 rows [rows, width] that the program only reads, at the start of `resid`."""
        if self._used.get("resid", 0) != sum(c.size for c in self.constants):
            raise CompilerDefectError(f"{what}: constants come before buffers in 'resid'")
        count = 1 << ceil_log2(len(rows))
        stride = round_up(rows.shape[1], self.build.row_align)
        image = np.zeros((len(rows), stride), dtype=np.int16)
        image[:, : rows.shape[1]] = rows
        addr = self._used.get("resid", 0)
        if image.size > self.free("resid"):
            self.misfits.append(
                f"{what}: memory 'resid' needs {image.size} elements, has {self.free('resid')} "
                f"left in build '{self.build.name}'; use fewer tokens or a smaller d_model"
            )
        self._used["resid"] = addr + image.size
        self.constants.append(image.reshape(-1))
        # The ring is as long as the next power of two; rows past the last are never addressed, but
        # must lie inside the memory.
        if addr + count * stride > self.build.spaces["resid"]:
            self.misfits.append(
                f"{what}: {count} rows of {stride} do not fit memory 'resid' of "
                f"{self.build.spaces['resid']} in build '{self.build.name}'; use fewer tokens, a "
                "smaller d_model or a build with a larger 'resid'"
            )
        return isa.Operand(addr, stride, ceil_log2(count), isa.SPACES["resid"].index)

    # ------------------------------------------------------------------ parameters

    def weights(self, matrices: np.ndarray, log2_split: int) -> tuple[int, int]:
        """Tile int8 matrices [count, n_out, n_in]: (address, tiles a matrix), docs/package.md."""
        b, split = self.build, 1 << log2_split
        count, n_out, n_in = matrices.shape
        rows, columns = b.tile_out // split, b.tile_in * split
        o_tiles, i_tiles = -(-n_out // rows), -(-n_in // columns)
        padded = np.zeros((count, o_tiles * rows, i_tiles * columns), dtype=np.int8)
        padded[:, :n_out, :n_in] = matrices
        # [count, O, row, I, group, j] -> [count, O, I, group, row, j]
        tiles = padded.reshape(count, o_tiles, rows, i_tiles, split, b.tile_in)
        tiles = tiles.transpose(0, 1, 3, 4, 2, 5).reshape(-1, b.tile_out, b.tile_in)
        addr = sum(len(t) for t in self.tiles)
        self.tiles.append(np.ascontiguousarray(tiles))
        return addr, o_tiles * i_tiles

    def param_words(self, section: str, **columns: np.ndarray) -> int:
        """Append parameter words to `section`, and zeros to where more may begin; their address."""
        dtype = CONV_PARAM_DTYPE if section == "conv_params" else PARAM_DTYPE
        length = max(len(np.atleast_1d(c)) for c in columns.values())
        words = np.zeros(
            round_up(length, rules.address_multiples(self.build).get(section, 1)), dtype=dtype
        )
        for name, column in columns.items():
            words[name][:length] = column
        parts = self.params.setdefault(section, [])
        addr = sum(len(p) for p in parts)
        parts.append(words)
        return addr

    def table(self, section: str, values: np.ndarray) -> int:
        """Index of a 256-entry table in `section`; equal tables are stored once."""
        tables = self.tables.setdefault(section, [])
        for index, known in enumerate(tables):
            if np.array_equal(known, values):
                return index
        tables.append(values)
        return len(tables) - 1

    def decay_rates(self, rates: np.ndarray) -> int:
        """Append uint16 decay rates [n, padded states], and zeros to where more may begin; their
        address."""
        addr = sum(d.size for d in self.decay)
        words = np.zeros(
            round_up(rates.size, rules.address_multiples(self.build)["scan_decay"]), dtype=np.uint16
        )
        words[: rates.size] = rates.reshape(-1)
        self.decay.append(words)
        return addr

    # ------------------------------------------------------------------ instructions

    def segment(self, by_position: bool = False) -> None:
        """Start a new segment. `by_position`: all sequences' first position comes first."""
        self._segment += 1
        if by_position:
            self._by_position.add(self._segment)

    def emit(
        self,
        name: str,
        opcode: str,
        tensors: Sequence[Mapping[str, object]] = (),
        *,
        sequence: int | None = None,
        shared: bool = False,
        **fields: object,
    ) -> None:
        """Append an instruction; fields that are not given are zero (operands: an empty one).

        sequence, shared: as in `Step`.
        """
        fields.setdefault("n_positions", self.n_positions)
        for f in isa.OPCODES[opcode].format.fields:
            if f.name != "opcode":
                fields.setdefault(f.name, isa.Operand() if f.operand else 0)
        instruction = isa.Instruction(opcode, fields)
        try:
            instruction.encode()
        except isa.IsaError as error:
            self.misfits.append(f"{name}: {error}")
        step = Step(name, self._segment, instruction, tuple(tensors), sequence, shared)
        self.steps.append(step)

    def sections(self) -> dict[str, np.ndarray]:
        """The arrays of the package, by section, but for phases and schedule."""
        parts = {
            **self.params,
            **{name: [np.stack(tables)] for name, tables in self.tables.items()},
            "weights": self.tiles,
            "scan_decay": self.decay,
            "resid_image": self.constants,
        }
        shapes = {
            **ARRAYS,
            "weights": (np.dtype(np.int8), (self.build.tile_out, self.build.tile_in)),
        }
        return {
            name: np.concatenate([np.zeros((0, *row), dtype), *parts.get(name, [])])
            for name, (dtype, row) in shapes.items()
            if name not in ("phases", "schedule")
        }

    def entries(self) -> list[Entry]:
        """All schedule entries of one iteration, in the order that defines the program."""
        segments: dict[int, list[int]] = {}
        for index, step in enumerate(self.steps):
            segments.setdefault(step.segment, []).append(index)
        if not self.coupled:
            return list(self._by_sequence(segments.values()))
        entries: list[Entry] = []
        for by_position, group in groupby(segments, self._by_position.__contains__):
            chosen = [segments[segment] for segment in group]
            entries += self._in_turns(chosen) if by_position else self._by_sequence(chosen)
        return entries

    def _positions(self, indices: list[int]) -> range:
        return range(self.steps[indices[0]].instruction.n_positions)

    def _by_sequence(self, segments: Iterable[list[int]]) -> Iterator[Entry]:
        """Segments for one sequence after the other."""
        segments = list(segments)
        for sequence in range(self.n_sequences):
            for indices in segments:
                for position in self._positions(indices):
                    yield from self._token(indices, position, sequence)

    def _in_turns(self, segments: Iterable[list[int]]) -> Iterator[Entry]:
        """Each segment for one position after the other, of all sequences."""
        for indices in segments:
            for position in self._positions(indices):
                for shared, group in groupby(indices, lambda i: self.steps[i].shared):
                    steps = list(group)
                    for sequence in range(1 if shared else self.n_sequences):
                        yield from self._token(steps, position, sequence)

    def _token(self, indices: list[int], position: int, sequence: int) -> Iterator[Entry]:
        """Instructions on one token, in order."""
        for index in indices:
            step = self.steps[index]
            token = sequence * step.instruction.n_positions + position
            if self.coupled:
                token = position if step.shared else position * self.n_sequences + sequence
            if step.sequence is None:
                yield Entry(index, token, position, sequence)
            elif step.sequence == sequence:
                yield Entry(index, token, position, 0)
