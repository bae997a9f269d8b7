"""Order the entries of a program so that the units overlap, and derive their waits.

The order that defines the program (`ProgramBuilder.entries`) is walked over two iterations; each
row of memory remembers its last writer and its readers since. That gives every dependency between
entries, also from one iteration to the next. A list scheduler then places the entries of one
iteration by their longest path to the end, under the cycle model of `compiler.schedule.timing`. Any
order it finds has the same meaning, because it keeps all dependencies; the waits of an entry name
them unit by unit.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

import isa
from compiler.program import Entry
from compiler.schedule import timing
from isa import rules
from isa.words import SCHEDULE_DTYPE

NO_WAIT = next(f.minimum for f in isa.SCHEDULE.fields if f.name == "wait")


@dataclass(frozen=True)
class Dependencies:
    """For each entry: the entries that must complete first.

    same, before: in the same iteration and in the one before; these become waits. order: earlier
    in the same unit, without a wait, because a unit works in order through its sums, and every
    instruction through the tokens of a sequence.
    """

    same: list[set[int]]
    before: list[set[int]]
    order: list[set[int]]


def _blocks(
    operand: isa.Operand, row: int, width: int, align: int, start: int = 0
) -> Iterable[tuple[int, int]]:
    """Keys of the memory words that `width` elements of a row touch, from its element `start`."""
    first = operand.row(row) + start
    return ((operand.space, b) for b in range(first // align, (first + width - 1) // align + 1))


def accesses(
    i: isa.Instruction, e: Entry, build: isa.Build
) -> tuple[list[Hashable], list[Hashable], list[Hashable]]:
    """(read, written, summed) keys of one entry: words of memories, or elements of words that
    several entries write in part, and the unit's running sums."""
    align = build.row_align
    last = e.position == i.n_positions - 1
    read: list[Hashable] = []
    written: list[Hashable] = []
    summed: list[Hashable] = []

    def reads(operand: isa.Operand, row: int, width: int, start: int = 0) -> None:
        read.extend(_blocks(operand, row, width, align, start))

    def writes(operand: isa.Operand, row: int, width: int) -> None:
        written.extend(_blocks(operand, row, width, align))

    if i.opcode == "LINEAR":
        reads(i.src, e.token, i.n_in)
        if i.reduce:
            summed.append("array sums")
        if not i.reduce or last:
            if i.add_enable:
                reads(i.add, e.position if i.add_position else e.token, i.n_out)
            writes(i.dst, e.sequence if i.reduce else e.token, i.n_out)
    elif i.opcode == "CONV":
        for back in range(min(i.kernel - 1, e.position) + 1):
            reads(i.src, e.token - back, i.n)
        writes(i.dst, e.token, i.n)
    elif i.opcode == "SCAN":
        for operand in (i.u, i.z, i.dt):
            reads(operand, e.token, i.n)
        reads(i.bc, e.token, 2 << i.log2_state)
        if i.skip_enable:
            reads(i.bc, e.token, i.n, i.skip_offset)
        written.append(("state", i.state_addr))
        writes(i.dst, e.token, i.n)
    elif i.opcode == "POOL":
        reads(i.src, e.token, i.n)
        summed.append("vector sums")
        if last:
            writes(i.dst, 2 * e.sequence, i.n)
            writes(i.dst, 2 * e.sequence + 1, i.n)
    else:  # a row of each operand, or two elements of a row that all sequences share
        for name, operand in rules.operands(i).items():
            row = getattr(e, i.row(name))
            if i.field(name).shared:
                for element in (e.sequence, i.columns + e.sequence):
                    if name == "dst":
                        address = operand.row(row) + element
                        written.append((operand.space, address // align, address % align))
                    else:
                        reads(operand, row, 1, element)
            else:
                (writes if name == "dst" else reads)(operand, row, i.n)
    return read, written, summed


def _split_words(touched: Sequence[tuple[list[Hashable], ...]]) -> None:
    """Where elements of a word have keys of their own, let those stand for the word everywhere."""
    elements: dict[Hashable, set[Hashable]] = {}
    for _, written, _ in touched:
        for key in written:
            if len(key) == 3:
                elements.setdefault(key[:2], set()).add(key)
    for keys in (keys for lists in touched for keys in lists[:2]):
        for word in set(keys) & elements.keys():
            keys.remove(word)
            keys.extend(sorted(elements[word]))


def dependencies(
    instructions: Sequence[isa.Instruction], entries: Sequence[Entry], build: isa.Build
) -> Dependencies:
    """Read after write, write after read and write after write, within and across iterations."""
    n = len(entries)
    touched = [accesses(instructions[e.instruction], e, build) for e in entries]
    _split_words(touched)
    writer: dict[Hashable, int] = {}
    readers: dict[Hashable, list[int]] = {}
    earlier: dict[Hashable, int] = {}
    result = Dependencies(*([set() for _ in range(n)] for _ in range(3)))
    for index in range(2 * n):  # entries of the second iteration count from n
        read, written, summed = touched[index % n]
        needed: set[int] = set()
        for key in read:
            if key in writer:
                needed.add(writer[key])
            readers.setdefault(key, []).append(index)
        for key in written:
            if key in writer:
                needed.add(writer[key])
            needed.update(readers.pop(key, ()))
            writer[key] = index
        needed.discard(index)
        if index >= n:
            result.same[index - n] = {d - n for d in needed if d >= n}
            result.before[index - n] = {d for d in needed if d < n}
        entry = entries[index % n]
        for key in (*summed, (entry.instruction, entry.sequence)):
            if key in earlier and index >= n and earlier[key] >= n:
                result.order[index - n].add(earlier[key] - n)
            earlier[key] = index
    return result


def _units(instructions: Sequence[isa.Instruction], entries: Sequence[Entry]) -> list[int]:
    return [instructions[e.instruction].unit for e in entries]


def order(
    instructions: Sequence[isa.Instruction],
    entries: Sequence[Entry],
    needs: Dependencies,
    build: isa.Build,
) -> list[int]:
    """Indices of `entries` in the order of their start under the cycle model."""
    n = len(entries)
    costs = [timing.cost(instructions[e.instruction], e.position, build) for e in entries]
    units = _units(instructions, entries)
    # Streams are in order by nature: a token that arrives later cannot be taken first.
    ordered = [set(o) for o in needs.order]
    previous: dict[int, int] = {}
    for index, unit in enumerate(units):
        if isa.UNITS[unit] in ("stream_in", "stream_out"):
            if unit in previous:
                ordered[index].add(previous[unit])
            previous[unit] = index

    followers: list[list[tuple[int, bool]]] = [[] for _ in range(n)]
    missing = [0] * n
    for index in range(n):
        for d in needs.same[index]:
            followers[d].append((index, True))
        for d in ordered[index] - needs.same[index]:
            followers[d].append((index, False))
        missing[index] = len(needs.same[index] | ordered[index])

    # Longest path to the end; the program's own order is topological, so walk it backwards.
    path = [0] * n
    for index in reversed(range(n)):
        tail = 0
        for follower, completes in followers[index]:
            step = costs[index].busy
            if completes:
                step = costs[index].alone + timing.dispatch(units[index], units[follower])
            tail = max(tail, step + path[follower])
        path[index] = tail or costs[index].alone

    earliest = [0] * n
    times = timing.UnitTimes()
    waiting: list[list[tuple[int, int, int]]] = [[] for _ in isa.UNITS]  # (earliest, -path, index)
    ready: list[list[tuple[int, int]]] = [[] for _ in isa.UNITS]  # (-path, index)
    for index in range(n):
        if not missing[index]:
            heapq.heappush(waiting[units[index]], (0, -path[index], index))
    placed: list[tuple[int, int]] = []
    while len(placed) < n:
        # The unit that can start something first.
        candidates = []
        for unit in range(len(isa.UNITS)):
            if ready[unit]:
                candidates.append((times.choice(unit), unit))
            elif waiting[unit]:
                candidates.append((max(times.choice(unit), waiting[unit][0][0]), unit))
        start, unit = min(candidates)
        while waiting[unit] and waiting[unit][0][0] <= start:
            _, priority, index = heapq.heappop(waiting[unit])
            heapq.heappush(ready[unit], (priority, index))
        _, index = heapq.heappop(ready[unit])
        start, done = times.run(unit, costs[index], start)
        placed.append((start, index))
        for follower, completes in followers[index]:
            at = times.free[unit]
            if completes:
                at = done + timing.dispatch(unit, units[follower])
            earliest[follower] = max(earliest[follower], at)
            missing[follower] -= 1
            if not missing[follower]:
                item = (earliest[follower], -path[follower], follower)
                heapq.heappush(waiting[units[follower]], item)
    return [index for _, index in sorted(placed, key=lambda p: p[0])]


def schedule(
    instructions: Sequence[isa.Instruction], entries: Sequence[Entry], build: isa.Build
) -> np.ndarray:
    """The schedule of one iteration: SCHEDULE_DTYPE [n], in an order that can be executed."""
    needs = dependencies(instructions, entries, build)
    placed = order(instructions, entries, needs, build)
    units = _units(instructions, entries)
    count = np.bincount(units, minlength=len(isa.UNITS))
    rank = [0] * len(entries)  # index of an entry among those of its unit
    seen = [0] * len(isa.UNITS)
    for index in placed:
        rank[index] = seen[units[index]]
        seen[units[index]] += 1

    result = np.zeros(len(entries), dtype=SCHEDULE_DTYPE)
    for at, index in enumerate(placed):
        entry = entries[index]
        wait = [NO_WAIT] * len(isa.UNITS)
        for d in needs.same[index]:
            wait[units[d]] = max(wait[units[d]], rank[d] + 1)
        for d in needs.before[index]:
            wait[units[d]] = max(wait[units[d]], rank[d] + 1 - int(count[units[d]]))
        result[at] = (entry.instruction, entry.token, entry.position, entry.sequence, wait)
    return result
