"""Find the loops of an order, so that a schedule longer than its memory becomes phases.

The scheduler places the entries of one token after those of another, and after a while in the same
way each time: the order repeats itself, with a step of token, position and sequence. Such a run
becomes a phase (``docs/instruction_set.md``, "Phases and schedule") of one of its repeats. What is
executed, and in which order, stays the same. An entry waits in every repeat for what it has to wait
for in one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

import isa
from compiler.schedule.order import NO_WAIT
from isa.phases import TOKENS, entries_ahead, phase_of

LONGEST = 512  # entries of a repeat that are looked for
_FIELDS = ("instruction", "token", "position", "sequence")


class _Run(NamedTuple):
    """Entries from `start` to before `end`, each equal to the one `length` before it but for a step
    that is the same for all."""

    length: int
    start: int
    end: int

    def within(self, start: int, end: int) -> _Run:
        return _Run(self.length, max(self.start, start), min(self.end, end))

    @property
    def repeats(self) -> int:
        return max(0, self.end - self.start) // self.length

    @property
    def saved(self) -> int:
        return max(0, self.repeats - 1) * self.length


def _runs(columns: np.ndarray) -> Iterator[_Run]:
    """All runs of at least two repeats; `columns`: the `_FIELDS` of each entry, [entries, 4]."""
    for length in range(1, min(LONGEST, len(columns) // 2) + 1):
        step = columns[length:] - columns[:-length]
        goes = (step[:, 0] == 0) & (step[:, 2] >= 0) & (step[:, 3] >= 0)
        breaks = np.flatnonzero((step[1:] != step[:-1]).any(axis=1) | ~goes[1:] | ~goes[:-1]) + 1
        edges = [0, *breaks.tolist(), len(step)]
        for start, end in pairwise(edges):
            if goes[start] and end - start >= length:
                yield _Run(length, start, end + length)


def _loops(columns: np.ndarray, most: int) -> list[_Run]:
    """At most `most` runs that do not overlap, those that save the most first, in order."""
    candidates = sorted(_runs(columns), key=lambda run: -run.saved)
    free, chosen = [(0, len(columns))], []
    while len(chosen) < most:
        best = _Run(1, 0, 0)
        for run in candidates:
            if run.saved <= best.saved:
                break
            best = max([best, *(run.within(*gap) for gap in free)], key=lambda part: part.saved)
        if not best.saved:
            break
        end = best.start + best.repeats * best.length
        best = best._replace(end=end)
        chosen.append(best)
        (gap,) = (gap for gap in free if gap[0] <= best.start and end <= gap[1])
        free.remove(gap)
        free += [(gap[0], best.start), (end, gap[1])]
    return sorted(chosen, key=lambda run: run.start)


def in_phases(
    order: np.ndarray, units: Sequence[int], build: isa.Build
) -> tuple[np.ndarray, np.ndarray]:
    """The phases and the schedule of an order of one iteration.

    Args:
        order: SCHEDULE_DTYPE [n], waits counted from the start of the iteration.
        units: the unit of each entry.
        build: what it holds: one phase where its schedule is long enough.

    Returns:
        PHASE_DTYPE [phases] and SCHEDULE_DTYPE [entries], as short as was found: it may still be
        too long.
    """
    units = np.asarray(units)
    if len(order) <= build.capacity["schedule"]:
        return phase_of(units), order
    columns = np.stack([order[name].astype(np.int64) for name in _FIELDS], axis=1)
    # The loops, with what lies between them and around.
    runs, end = [], 0
    for run in _loops(columns, (build.capacity["phases"] - 1) // 2):
        runs += [_Run(run.start - end, end, run.start), run]
        end = run.end
    runs.append(_Run(len(order) - end, end, len(order)))
    runs = [run for run in runs if run.length]
    ahead = entries_ahead(units)
    return (
        np.concatenate([_phase(run, columns, units) for run in runs]),
        np.concatenate([_entries(run, order, ahead) for run in runs]),
    )


def _phase(run: _Run, columns: np.ndarray, units: np.ndarray) -> np.ndarray:
    steps = np.zeros(4, np.int64)
    if run.repeats > 1:
        steps = columns[run.start + run.length] - columns[run.start]
    _, token, position, sequence = steps.tolist()
    own = units[run.start : run.start + run.length]
    return phase_of(own, run.repeats, token % TOKENS, position, sequence)


def _entries(run: _Run, order: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """The entries of a repeat, with waits that are enough for each of the repeats."""
    entries = order[run.start : run.start + run.length].copy()
    waits = order["wait"][run.start : run.end].reshape(run.repeats, run.length, -1)
    base = ahead[run.start : run.end : run.length]
    # A wait reaches back so far and no further, which is to wait for more.
    entries["wait"] = np.maximum(waits - base[:, None], NO_WAIT).max(axis=0)
    return entries
