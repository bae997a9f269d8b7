"""Prove that the waits of a program are sufficient: any timing of the units gives the same bits.

An entry starts after the entry before it in its unit has started, and after its waits. The entries
of a unit complete in order, each after its start (``docs/instruction_set.md``, "Phases and
schedule"). From this follows, for each entry, how many entries of every unit have completed when it
starts: its *clock*. The rows that it reads are right exactly if their last writer is within the
clock, and it overwrites nothing too early exactly if the last readers and writer of what it writes
are. An access outside the clock goes wrong under some timing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

import isa
from common.errors import CmambaError
from isa.package import Package
from isa.phases import TOKENS

ITERATIONS = 3  # an entry reaches back into the repeat before, so two would do
NEVER = -1


class ScheduleError(CmambaError, ValueError):
    """A schedule that deadlocks, or whose result depends on the timing of the units."""


@dataclass(frozen=True)
class Access:
    """Elements of an activation memory that an entry reads or writes.

    ``endless`` is where they would start if the operand had a row for every token, not a ring.
    """

    operand: str
    space: int
    start: int
    count: int
    endless: int

    def __str__(self) -> str:
        last = self.start + self.count - 1
        return f"{self.operand}: {isa.SPACE_NAMES[self.space]}[{self.start}..{last}]"


@dataclass(frozen=True)
class Accesses:
    """Everything that one entry touches.

    ``carries`` is the range (start, count) of its unit's own memory that goes on from one position
    to the next: scan state or running sums.
    """

    reads: tuple[Access, ...]
    writes: tuple[Access, ...]
    carries: tuple[int, int] | None = None


def accesses(instruction: isa.Instruction, token: int, position: int, sequence: int) -> Accesses:
    """Rows that an entry reads and writes.

    The inputs that fill up a tile of LINEAR meet zero weights and do not count.
    """
    i = instruction

    def part(name: str, index: int, offset: int, n: int) -> Access:
        """Elements of a row from ``offset`` on."""
        operand = i.fields[name]
        start = operand.row(index) + offset
        endless = operand.addr + index * operand.stride + offset
        return Access(name, operand.space, start, n, endless)

    def row(name: str, index: int, n: int) -> Access:
        return part(name, index, 0, n)

    def pair(name: str) -> tuple[Access, Access]:
        """A sequence's two elements of a row that all sequences share."""
        return part(name, position, sequence, 1), part(name, position, i.columns + sequence, 1)

    match i.opcode:
        case "RECV":
            return Accesses((), (row("dst", token, i.n),))
        case "LINEAR":
            reads, writes = [row("src", token, i.n_in)], []
            if not i.reduce or position == i.n_positions - 1:
                if i.add_enable:
                    reads.append(row("add", position if i.add_position else token, i.n_out))
                writes.append(row("dst", sequence if i.reduce else token, i.n_out))
            return Accesses(tuple(reads), tuple(writes), (0, i.n_out) if i.reduce else None)
        case "CONV":
            taps = range(min(i.kernel, position + 1))
            return Accesses(
                tuple(row("src", token - age, i.n) for age in taps), (row("dst", token, i.n),)
            )
        case "SCAN":
            states = 1 << i.log2_state
            reads = [row(name, token, i.n) for name in ("u", "z", "dt")]
            if i.skip_enable:
                reads.append(part("bc", token, i.skip_offset, i.n))
            return Accesses(
                (*reads, row("bc", token, 2 * states)),
                (row("dst", token, i.n),),
                (i.state_addr, i.n * states),
            )
        case "NORM":
            return Accesses((row("src", token, i.n),), (row("dst", token, i.n),))
        case "POOL":
            rows = (2 * sequence, 2 * sequence + 1) if position == i.n_positions - 1 else ()
            return Accesses(
                (row("src", token, i.n),), tuple(row("dst", r, i.n) for r in rows), (0, i.n)
            )
        case "SCALE":
            return Accesses(
                (row("src", token, i.n), row("logit", sequence, i.n)), (row("dst", token, i.n),)
            )
        case "POOL_FEATURES":
            return Accesses((row("src", token, i.n),), pair("dst"))
        case "MODULATE":
            return Accesses(
                (row("src", token, i.n), row("add", token, i.n), *pair("logit")),
                (row("dst", token, i.n),),
            )
        case "SEND":
            return Accesses((row("src", sequence, i.n),), ())
    raise AssertionError(i.opcode)


class _Entry(NamedTuple):
    """An entry that is executed, with plain integers."""

    instruction: int
    token: int
    position: int
    sequence: int
    wait: list[int]


@dataclass
class _Memory:
    """Who touched each element last: numbers of entries, counted on over the iterations."""

    writer: np.ndarray  # [elements]
    reader: np.ndarray  # [units, elements]

    @classmethod
    def empty(cls, elements: int) -> _Memory:
        return cls(np.full(elements, NEVER), np.full((len(isa.UNITS), elements), NEVER))


class _Checker:
    """Walks what is executed, over several iterations. Entries are numbered on from one to the
    next."""

    def __init__(self, package: Package, build: isa.Build) -> None:
        self.package = package
        self.units = [i.unit for i in package.instructions]
        self.memories = [_Memory.empty(build.spaces[name]) for name in isa.SPACE_NAMES]
        capacity = {"array": "reduce", "vector": "features", "scan": "state"}
        self.carried = {
            isa.UNITS.index(unit): np.full(build.capacity[name], NEVER)
            for unit, name in capacity.items()
        }
        self.iteration_first = 0  # entry
        # Entries of each unit before this repeat.
        self.base = np.zeros(len(isa.UNITS), np.int64)
        self.completing: list[list[int]] = [[] for _ in isa.UNITS]  # entries of each unit
        self.entries: list[_Entry] = []
        self.places: list[tuple[int, int, int]] = []  # of each: in the schedule, repeat, iteration
        self.ordinals: list[int] = []  # of each entry in its unit
        self.clocks: list[np.ndarray] = []
        self.previous: dict[tuple[int, int], int] = {}  # last entry of an instruction and sequence

    def run(self, iterations: int) -> None:
        for iteration in range(iterations):
            self.iteration_first = len(self.entries)
            for turn in self.package.rounds():
                self.base = np.array([len(entries) for entries in self.completing])
                values = turn.entries[list(_Entry._fields)].tolist()
                for place, entry in enumerate(values, turn.first):
                    self.places.append((place, turn.repeat, iteration))
                    self.step(_Entry(*entry))

    def step(self, entry: _Entry) -> None:
        number = len(self.entries)
        self.entries.append(entry)
        unit = self.unit(number)
        instruction = self.package.instructions[entry.instruction]
        previous = self.previous.get((entry.instruction, entry.sequence), NEVER)
        self.check_order(number, instruction.n_positions, previous)
        self.clocks.append(self.clock(number))
        touched = accesses(instruction, entry.token, entry.position, entry.sequence)
        for access in touched.reads:
            self.check_read(number, access)
        for access in touched.writes:
            self.check_write(number, access)
        if touched.carries is not None:
            self.check_carried(number, previous, *touched.carries)
        self.previous[entry.instruction, entry.sequence] = number
        self.ordinals.append(len(self.completing[unit]))
        self.completing[unit].append(number)

    def unit(self, number: int) -> int:
        return self.units[self.entries[number].instruction]

    def name(self, number: int) -> str:
        entry = self.entries[number]
        index, repeat, iteration = self.places[number]
        return (
            f"entry {index} ({self.package.instruction_name(entry.instruction)}, "
            f"sequence {entry.sequence}, position {entry.position}, repeat {repeat}, "
            f"iteration {iteration})"
        )

    def check_order(self, number: int, n_positions: int, previous: int) -> None:
        """``previous``: the entry of the same instruction and sequence before this, or NEVER."""
        entry = self.entries[number]
        expected = 0
        if previous != NEVER:
            expected = (self.entries[previous].position + 1) % n_positions
        if entry.position != expected:
            raise ScheduleError(f"{self.name(number)}: expected position {expected} next")
        instruction = self.package.instructions[entry.instruction]
        if instruction.opcode == "CONV" and instruction.kernel > 1 and entry.position:
            expected = (self.entries[previous].token + 1) % TOKENS
            if entry.token != expected:  # its taps are the rows before
                raise ScheduleError(
                    f"{self.name(number)}: expected token {expected}, found {entry.token}"
                )

    def clock(self, number: int) -> np.ndarray:
        """Entries of each unit, int [units], that have certainly completed when this one starts."""
        own = self.completing[self.unit(number)]
        # In its unit, the entry before has started; the entries waited for have even completed.
        known = own[-1:]
        clock = np.zeros(len(isa.UNITS), np.int64)
        for unit, wait in enumerate(self.entries[number].wait):
            count = self.base[unit] + wait
            if count > len(self.completing[unit]):
                raise ScheduleError(
                    f"{self.name(number)}: deadlock, waits for entry {wait} of "
                    f"{isa.UNITS[unit]} in this repeat, which is not before it in the list"
                )
            if count > 0:
                clock[unit] = count
                known.append(self.completing[unit][count - 1])
        return np.max([clock, *(self.clocks[k] for k in known)], axis=0)

    def late(self, number: int, earlier: np.ndarray) -> Iterator[str]:
        """Names of those of the entries ``earlier`` that may not have completed in time."""
        for other in np.unique(earlier).tolist():
            if other not in (NEVER, number) and (
                self.clocks[number][self.unit(other)] <= self.ordinals[other]
            ):
                yield self.name(other)

    def check_read(self, number: int, access: Access) -> None:
        memory = self.memories[access.space]
        part = slice(access.start, access.start + access.count)
        constants = 0
        if isa.SPACE_NAMES[access.space] == "resid":
            constants = max(0, len(self.package.resid_image) - access.start)
        if np.any(memory.writer[part][constants:] < self.iteration_first):
            raise ScheduleError(
                f"{self.name(number)} reads {access}, which nothing before it in this iteration "
                f"has written"
            )
        for other in self.late(number, memory.writer[part]):
            raise ScheduleError(f"{self.name(number)} may read {access} before {other} wrote it")
        memory.reader[self.unit(number), part] = number

    def check_write(self, number: int, access: Access) -> None:
        memory = self.memories[access.space]
        part = slice(access.start, access.start + access.count)
        for other in self.late(number, memory.reader[:, part]):
            raise ScheduleError(
                f"{self.name(number)} may overwrite {access} while {other} still reads it"
            )
        for other in self.late(number, memory.writer[part]):
            raise ScheduleError(f"{self.name(number)} may write {access} before {other} did")
        memory.writer[part] = number

    def check_carried(self, number: int, previous: int, start: int, count: int) -> None:
        """The unit's own memory still holds what ``previous`` left there."""
        owner = self.carried[self.unit(number)][start : start + count]
        other = owner[owner != previous]
        if self.entries[number].position > 0 and len(other):
            raise ScheduleError(
                f"{self.name(number)}: its running sums or state were overwritten by "
                f"{self.name(int(other[0]))}"
            )
        owner[:] = number


def check_schedule(
    package: Package, build: isa.Build | str = "default", iterations: int = ITERATIONS
) -> None:
    """Check a valid package's schedule for units that run at the same time.

    - No deadlock: an entry waits only for entries before it in the list, or of earlier repeats.
    - Every instruction visits the positions of a sequence in order, and reductions and scans do not
      disturb each other inside a unit.
    - Every row that is read was written in the same iteration, or is a constant.
    - For any timing of the units, rows hold what list order says when they are read.

    Args:
        package: passes `Package.validate` for ``build``.
        build: gives the sizes of the memories.
        iterations: how many to follow.

    Raises:
        ScheduleError: names the first entry, row and conflicting entry.
    """
    build = isa.build(build) if isinstance(build, str) else build
    _Checker(package, build).run(iterations)
