"""What every instruction wrote: traces of simulated runs against the golden tensors.

    python -m rtl.tb.trace build/golden/odd/package.bin trace.txt

``trace.sv`` writes a line for each event of a cycle, numbers in decimal, words in hexadecimal:

    R cycle                                    a run begins
    S cycle unit token position sequence       a unit starts an entry
    W cycle space word mask data               a word of an activation memory is written
    D cycle unit                               a unit completes an entry
    E cycle error                              the run ends

Within a cycle the order is R, W, D, S, E. The k-th S, and the k-th D, of a unit belong to the k-th
entry that it executes, counted on over the iterations. With ``+trace_level=1`` there is no W.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import isa
from common import command_line, exit_status
from common.errors import CmambaError
from compiler.schedule.check import accesses
from golden.integer_model import (
    IntegerModel,
    is_per_sequence,
    result_operand,
    rows_per_sequence,
)
from isa.fitting import fitting_build
from isa.package import Package, PackageError

REPORTED = 10  # errors of a kind that are reported in full; the rest are counted


class TraceError(CmambaError, ValueError):
    """A line that is not one of a trace."""


class Start(NamedTuple):
    """A unit starts an entry."""

    cycle: int
    token: int
    position: int
    sequence: int


class Write(NamedTuple):
    """A word of an activation memory is written."""

    cycle: int
    space: int
    word: int
    mask: int
    data: int


class Done(NamedTuple):
    """A unit completes an entry."""

    cycle: int
    unit: int


@dataclass
class Run:
    """The events of one run, and the writes since the run before (constants of a package).

    Attributes:
        begin, end: cycles of its start and of its end; ``end`` is None where the trace stops
            before.
        error: code at its end.
        starts: of each unit, in order.
        events: writes and completions of all units, in order.
    """

    begin: int
    events: list[Write | Done]
    starts: list[list[Start]] = field(default_factory=lambda: [[] for _ in isa.UNITS])
    end: int | None = None
    error: int = 0

    def dones(self, unit: int) -> list[int]:
        """Cycles in which a unit has completed an entry."""
        return [e.cycle for e in self.events if isinstance(e, Done) and e.unit == unit]


class TraceReader:
    """Reads a trace that may still be written.

    Args:
        path: of the file that ``+trace=FILE`` names; it may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = 0
        self._line = 0
        self._run: Run | None = None
        self._between: list[Write | Done] = []

    def runs(self) -> list[Run]:
        """The runs that have ended since the last call.

        Raises:
            TraceError: a line is not one of a trace; names file, line and contents.
        """
        if not self.path.exists():
            return []
        with open(self.path, encoding="ascii", errors="replace") as file:
            file.seek(self._at)
            lines = file.readlines()
            if lines and not lines[-1].endswith("\n"):  # still being written
                lines.pop()
            self._at += sum(len(line) for line in lines)
        return list(self._ended(lines))

    def last(self) -> Run | None:
        """The run that has begun and not ended, if there is one."""
        return self._run

    def _ended(self, lines: Iterable[str]) -> Iterator[Run]:
        for line in lines:
            self._line += 1
            try:
                kind, *words = line.split()
                ended = self._event(kind, words)
            except (ValueError, IndexError):
                raise TraceError(
                    f"{self.path}, line {self._line}: expected an event, found {line.strip()!r}"
                ) from None
            if ended is not None:
                yield ended

    def _event(self, kind: str, words: Sequence[str]) -> Run | None:
        run = self._run
        if kind == "W":
            cycle, space, word, mask, data = words
            write = Write(int(cycle), int(space), int(word), int(mask, 16), int(data, 16))
            (run.events if run else self._between).append(write)
        elif kind == "R":
            (begin,) = words
            if run:  # a reset has cut it off
                self._between = [event for event in run.events if isinstance(event, Write)]
            self._run = Run(int(begin), self._between)
            self._between = []
        elif run is None:
            raise ValueError("nothing but writes and R outside a run")
        elif kind == "S":
            cycle, unit, token, position, sequence = map(int, words)
            run.starts[unit].append(Start(cycle, token, position, sequence))
        elif kind == "D":
            cycle, unit = map(int, words)
            if unit >= len(isa.UNITS):
                raise ValueError("no such unit")
            run.events.append(Done(cycle, unit))
        elif kind == "E":
            run.end, run.error = map(int, words)
            self._run = None
            return run
        else:
            raise ValueError("no such event")
        return None


class Memories:
    """Images of the activation memories, from the words that were written.

    Args:
        build: gives the sizes.
    """

    def __init__(self, build: isa.Build) -> None:
        self.align = build.row_align
        self.spaces = [
            np.zeros(build.spaces[s.name], np.int8 if s.bits == 8 else np.int16)
            for s in isa.SPACES.values()
        ]

    def write(self, write: Write) -> None:
        """Take over a word. Raises TraceError where it lies outside its memory."""
        first = write.word * self.align
        if write.space >= len(self.spaces) or first >= self.spaces[write.space].size:
            raise TraceError(f"cycle {write.cycle}: no word {write.word} in memory {write.space}")
        image = self.spaces[write.space][first : first + self.align]
        # Ports of all memories are as wide as those of int16; int8 uses the low half.
        size = self.align * image.itemsize
        data = (write.data & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        values = np.frombuffer(data, image.dtype.newbyteorder("<"))
        mask = np.frombuffer(write.mask.to_bytes(-(-self.align // 8), "little"), np.uint8)
        chosen = np.unpackbits(mask, count=self.align, bitorder="little").astype(bool)
        image[chosen] = values[chosen]


class Result(NamedTuple):
    """A part of a result that lies together, and where it is in the golden tensor.

    Attributes:
        space, start, count: elements of a memory.
        row, column: the first of them in the tensor.
    """

    space: int
    start: int
    count: int
    row: int
    column: int = 0

    def golden(self, tensor: np.ndarray, iteration: int) -> np.ndarray:
        """The values that belong there."""
        return tensor[iteration, self.row, self.column : self.column + self.count]


def results(instruction: isa.Instruction, entry: np.void) -> list[Result]:
    """What is complete when an entry is; nothing where a reduction goes on.

    It is a row, two of POOL, and two elements, far from each other, of a row that all sequences
    share.

    SEND writes no memory: its result is the row that it has read.
    """
    token, position, sequence = (int(entry[f]) for f in ("token", "position", "sequence"))
    touched = accesses(instruction, token, position, sequence)
    rows = rows_per_sequence(instruction)
    places = touched.reads if instruction.opcode == "SEND" else touched.writes
    if not is_per_sequence(instruction):
        sequence, rows = sequence * rows + position, 1
    if instruction.field(result_operand(instruction)).shared:
        return [
            Result(place.space, place.start, place.count, sequence, column)
            for column, place in enumerate(places)
        ]
    return [
        Result(place.space, place.start, place.count, sequence * rows + i)
        for i, place in enumerate(places)
    ]


class Entries:
    """What an iteration executes, as the units see it.

    Attributes:
        executed: its entries, SCHEDULE_DTYPE [n].
        own: of each unit, indices of its entries there.
    """

    def __init__(self, package: Package) -> None:
        self.executed = package.executed()
        self.instructions = package.instructions
        units = np.array([i.unit for i in package.instructions])[self.executed["instruction"]]
        self.own = [np.flatnonzero(units == unit) for unit in range(len(isa.UNITS))]

    def at(self, unit: int, k: int) -> tuple[int, int]:
        """(iteration, index in what it executes) of the k-th entry of a unit.

        Raises IndexError where the unit has none.
        """
        if not len(self.own[unit]):
            raise IndexError(f"{isa.UNITS[unit]} has no entries")
        iteration, index = divmod(k, len(self.own[unit]))
        return iteration, int(self.own[unit][index])


def timeline(package: Package, run: Run, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """When each entry of a run was started and completed.

    Args:
        iterations: of the phases, in this run.

    Returns:
        (start, done): cycles since the run began, int64 [iterations, entries], in the order of what
        an iteration executes; -1 where it did not happen.
    """
    entries = Entries(package)
    start = np.full((iterations, len(entries.executed)), -1, np.int64)
    done = start.copy()
    for unit in range(len(isa.UNITS)):
        for table, cycles in (
            (start, [s.cycle for s in run.starts[unit]]),
            (done, run.dones(unit)),
        ):
            own = entries.own[unit]
            count = min(len(cycles), iterations * len(own))
            for k, cycle in enumerate(cycles[:count]):
                table[k // len(own), own[k % len(own)]] = cycle - run.begin
    return start, done


class _Difference:
    """The values that differ in one tensor, and the first of them."""

    def __init__(self, what: str, at: str) -> None:
        self.what, self.at = what, at
        self.count = self.values = 0

    def __str__(self) -> str:
        return f"{self.what}, {self.at} ({self.count} of {self.values} values differ)"


@dataclass
class Report:
    """What the comparison of a run has found.

    Attributes:
        tensors: instructions that were compared.
        values: elements of their tensors that were compared.
        mismatches: of these, how many differ.
        errors: what is wrong, a line each, first the mismatches in the order of execution.
    """

    tensors: int = 0
    values: int = 0
    mismatches: int = 0
    errors: list[str] = field(default_factory=list)

    def add(self, kind: str, texts: Sequence[str]) -> None:
        """Add errors of a kind, the first few in full."""
        self.errors += texts[:REPORTED]
        if len(texts) > REPORTED:
            self.errors.append(f"{kind} and {len(texts) - REPORTED} more")

    def __str__(self) -> str:
        return "\n".join(self.errors) or f"{self.tensors} tensors, {self.values} values are equal"


def compare(
    package: Package,
    run: Run,
    tensors: Sequence[np.ndarray],
    memories: Memories,
    complete: bool = True,
) -> Report:
    """Compare the result of every entry of a run, when it is completed, with the golden tensor.

    Args:
        package: what was loaded.
        run: its events.
        tensors: of each instruction, int8 or int16 [iterations, rows, n], as
            `golden.integer_model.IntegerModel.run` traces them.
        memories: as the run before has left them, or new ones; the run's writes go into it.
        complete: every entry of every iteration must have started and completed.
    """
    entries = Entries(package)
    iterations = len(tensors[0])
    report = Report(tensors=len(tensors))
    differences: dict[int, _Difference] = {}  # in the order of execution
    completed = [0] * len(isa.UNITS)
    values = [0] * len(tensors)

    def name(index: int) -> str:
        opcode = package.instructions[index].opcode
        return f'instruction {index} {opcode} "{package.instruction_name(index)}"'

    def finish(unit: int, cycle: int) -> str | None:
        try:
            iteration, index = entries.at(unit, completed[unit])
        except IndexError as error:
            return f"cycle {cycle}: an entry is completed, but {error}"
        if iteration >= iterations:
            return f"cycle {cycle}: {isa.UNITS[unit]} completes more than {iterations} iterations"
        completed[unit] += 1
        if completed[unit] > len(run.starts[unit]) or (
            run.starts[unit][completed[unit] - 1].cycle > cycle
        ):
            return f"cycle {cycle}: {isa.UNITS[unit]} completes an entry that it has not started"
        entry = entries.executed[index]
        number = int(entry["instruction"])
        for result in results(package.instructions[number], entry):
            got = memories.spaces[result.space][result.start : result.start + result.count]
            expected = result.golden(tensors[number], iteration)
            values[number] += got.size
            wrong = np.flatnonzero(got != expected)
            if not len(wrong):
                continue
            if number not in differences:
                first = wrong[0]
                differences[number] = _Difference(
                    name(number),
                    f"iteration {iteration}, token {result.row}, "
                    f"channel {result.column + first}, "
                    f"cycle {cycle}: expected {expected[first]}, got {got[first]}",
                )
            differences[number].count += len(wrong)
        return None

    odd = []
    for event in run.events:
        if isinstance(event, Write):
            memories.write(event)
        elif (problem := finish(event.unit, event.cycle)) is not None:
            odd.append(problem)

    for number, difference in differences.items():
        difference.values = values[number]
        report.mismatches += difference.count
    report.values = sum(values)
    report.add("instructions that differ:", [str(d) for d in differences.values()])
    report.add("completions out of place:", odd)
    _compare_order(entries, run, report)
    if complete:
        _compare_counts(entries, run, completed, iterations, report)
    return report


def _compare_order(entries: Entries, run: Run, report: Report) -> None:
    """Every unit has started its own entries, in order."""
    wrong = []
    for unit, starts in enumerate(run.starts):
        for k, start in enumerate(starts):
            try:
                iteration, index = entries.at(unit, k)
            except IndexError as error:
                wrong.append(f"cycle {start.cycle}: an entry is started, but {error}")
                break
            entry = entries.executed[index]
            expected = tuple(int(entry[f]) for f in ("token", "position", "sequence"))
            if tuple(start[1:]) != expected:
                wrong.append(
                    f"{isa.UNITS[unit]}, iteration {iteration}, entry {index}: expected "
                    f"token, position, sequence {expected}, got {tuple(start[1:])}"
                )
                break  # all that follow are likely to be shifted
    report.add("starts out of order:", wrong)


def _compare_counts(
    entries: Entries, run: Run, completed: Sequence[int], iterations: int, report: Report
) -> None:
    missing = []
    for unit, name in enumerate(isa.UNITS):
        expected = iterations * len(entries.own[unit])
        for what, count in (("started", len(run.starts[unit])), ("completed", completed[unit])):
            if count == expected:
                continue
            text = f"{name}: expected {expected} entries {what}, got {count}"
            if count < expected:
                iteration, index = entries.at(unit, count)
                entry = entries.executed[index]
                instruction = entries.instructions[entry["instruction"]]
                text += (
                    f"; the first that is missing is entry {index} of iteration "
                    f"{iteration}, instruction {entry['instruction']} {instruction.opcode}, "
                    f"token {entry['token']}"
                )
            missing.append(text)
    report.add("units with wrong counts:", missing)


def golden_tensors(package: Package, tokens: np.ndarray, build: isa.Build) -> list[np.ndarray]:
    """The tensor of every instruction, [iterations, rows, n].

    Args:
        tokens: int8 [iterations, n_sequences, n_positions, token_bytes].
    """
    model = IntegerModel(package, build)
    trace: dict[str, torch.Tensor] = {}
    model.run(tokens, trace)
    return [trace[name].numpy() for name in model.names]


def received_tokens(package: Package, run: Run, memories: Memories) -> np.ndarray:
    """The tokens that a run has received: int8 [iterations, n_sequences, n_positions, token_bytes].

    Raises:
        TraceError: it has not received those of a whole iteration.
    """
    entries = Entries(package)
    unit = isa.UNITS.index("stream_in")
    received = []
    completed = 0
    for event in run.events:
        if isinstance(event, Write):
            memories.write(event)
        elif event.unit == unit:
            _, index = entries.at(unit, completed)
            completed += 1
            entry = entries.executed[index]
            instruction = package.instructions[entry["instruction"]]
            if instruction.opcode != "RECV":
                continue
            (result,) = results(instruction, entry)
            image = memories.spaces[result.space]
            received.append(image[result.start : result.start + result.count].copy())
    shape = (package.n_sequences, package.n_positions, package.token_bytes)
    whole = len(received) // (shape[0] * shape[1])
    if whole == 0:
        raise TraceError(f"expected {shape[0] * shape[1]} tokens or more, found {len(received)}")
    return np.array(received[: whole * shape[0] * shape[1]]).reshape(whole, *shape)


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """0; 1: a result differs; 2: package or trace cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m rtl.tb.trace",
        description="Compare every result in a trace of simulated runs with the integer model, "
        "which gets the tokens that the trace shows.",
    )
    parser.add_argument("package", type=Path, help="what was loaded in all of the trace's runs")
    parser.add_argument("trace", type=Path, help="file of +trace=FILE")
    args = parser.parse_args(argv)
    try:
        package = Package.read(args.package)
        build = isa.build(fitting_build(package))
        reader = TraceReader(args.trace)
        runs = reader.runs()
        if reader.last() is not None:
            runs.append(reader.last())
        if not runs:
            raise TraceError(f"{args.trace}: found no run")
        before, after = Memories(build), Memories(build)
        wrong = 0
        for number, run in enumerate(runs):
            tokens = received_tokens(package, run, before)
            tensors = golden_tensors(package, tokens, build)
            report = compare(package, run, tensors, after)
            cycles = "did not end" if run.end is None else f"{run.end - run.begin} cycles"
            print(f"run {number}: {len(tokens)} iterations, {cycles}, error {run.error}")
            print(report)
            wrong += bool(report.errors) or run.error != 0 or run.end is None
        return 1 if wrong else 0
    except (OSError, PackageError, TraceError) as error:
        return exit_status.report("error", error)


if __name__ == "__main__":
    sys.exit(main())
