"""Prove that every row that a program reads holds what its reader means.

Rows lie in rings: row r of an operand has the place of row r + 2^log2_rows too. Where a ring is too
short, or the scheduler moves an entry too far, all implementations compute the same, which is not
the model. `compiler.schedule.check` does not see that: it asks whether rows hold what list order
says, and here list order itself is wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

import isa
from common.errors import CmambaError
from compiler.program import Entry
from compiler.schedule.check import Access, accesses
from isa.package import Package

NOBODY = -1


class DataflowError(CmambaError, ValueError):
    """A program with an entry that reads another row than it should."""


class _Read(NamedTuple):
    """What an entry reads, and of each element: who wrote it, as which one of an endless ring."""

    entry: Entry
    access: Access
    writer: np.ndarray  # numbers of entries, or NOBODY for constants
    endless: np.ndarray


def _reads(
    package: Package, entries: Sequence[Entry], order: Iterable[int], build: isa.Build
) -> Iterator[_Read]:
    """All that `entries` read, one after the other in an order."""
    sizes = [build.spaces[name] for name in isa.SPACE_NAMES]
    writer = [np.full(size, NOBODY) for size in sizes]
    endless = [np.full(size, NOBODY) for size in sizes]
    for number in order:
        entry = entries[number]
        instruction = package.instructions[entry.instruction]
        touched = accesses(instruction, entry.token, entry.position, entry.sequence)
        for access in touched.reads:
            part = slice(access.start, access.start + access.count)
            yield _Read(entry, access, writer[access.space][part], endless[access.space][part])
        for access in touched.writes:
            part = slice(access.start, access.start + access.count)
            writer[access.space][part] = number
            endless[access.space][part] = _endless(access)


def _endless(access: Access) -> np.ndarray:
    return np.arange(access.endless, access.endless + access.count)


def check_dataflow(
    package: Package, entries: Sequence[Entry], build: isa.Build | str = "default"
) -> None:
    """Check that rows hold what their readers mean.

    - In the order that defines the program, what an entry reads is the row that it names, and no
      other in the same place.
    - In the order of the package's list, the same entries have written it; and the streams, which
      have no addresses, are read and written in the same order.

    Args:
        package: passes `Package.validate` for ``build``.
        entries: what an iteration executes, in the order that defines the program.
        build: gives the sizes of the memories.

    Raises:
        DataflowError: names the first entry that reads another row, and whose that is.
    """
    build = isa.build(build) if isinstance(build, str) else build

    def name(entry: Entry) -> str:
        instruction = package.instruction_name(entry.instruction)
        return (
            f"{instruction} (token {entry.token}, sequence {entry.sequence}, "
            f"position {entry.position})"
        )

    def names(numbers: np.ndarray) -> str:
        return "nobody" if numbers[0] == NOBODY else name(entries[numbers[0]])

    expected: dict[tuple[Entry, Access], np.ndarray] = {}
    for read in _reads(package, entries, range(len(entries)), build):
        other = (read.endless != _endless(read.access)) & (read.writer != NOBODY)
        if other.any():
            raise DataflowError(
                f"{name(read.entry)} reads {read.access}, where {names(read.writer[other])} has "
                "put another row"
            )
        expected[read.entry, read.access] = read.writer.copy()

    number = {entry: k for k, entry in enumerate(entries)}
    fields = ["instruction", "token", "position", "sequence"]
    order = [number[Entry(*values)] for values in package.executed()[fields].tolist()]
    for opcode in ("RECV", "SEND"):
        streamed = [
            k for k in order if package.instructions[entries[k].instruction].opcode == opcode
        ]
        for before, after in pairwise(streamed):
            if before > after:
                raise DataflowError(
                    f"{name(entries[before])} comes before {name(entries[after])}, expected after "
                    "it in the stream"
                )
    for read in _reads(package, entries, order, build):
        writer = expected[read.entry, read.access]
        other = read.writer != writer
        if other.any():
            raise DataflowError(
                f"{name(read.entry)} reads {read.access}, written by {names(read.writer[other])}, "
                f"where it should be by {names(writer[other])}"
            )
