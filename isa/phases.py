"""Phases of a program: which entries of the schedule are executed, and how often.

``docs/instruction_set.md``, "Phases and schedule".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

import isa
from isa.words import PHASE_DTYPE

_MOST = {f.name: f.maximum for f in isa.SCHEDULE.fields}
TOKENS = _MOST["token"] + 1  # what an entry may name
SEQUENCES = _MOST["sequence"] + 1


@dataclass(frozen=True)
class Round:
    """One repeat of a phase: its entries with the token, position and sequence that they work on.

    ``entries``: SCHEDULE_DTYPE [n], `first` the place of the first of them in the schedule.
    """

    phase: int
    repeat: int
    first: int
    entries: np.ndarray


def entries_ahead(units: Sequence[int]) -> np.ndarray:
    """Of entries that go to these units: how many of each unit come before each, [n, units]."""
    own = np.eye(len(isa.UNITS), dtype=np.int64)[units]
    return np.cumsum(own, axis=0) - own


def phase_of(
    units: Sequence[int],
    repeats: int = 1,
    token_step: int = 0,
    position_step: int = 0,
    sequence_step: int = 0,
) -> np.ndarray:
    """A phase, PHASE_DTYPE [1], of entries that go to these units."""
    phase = np.zeros(1, PHASE_DTYPE)
    phase["entries"], phase["repeats"] = len(units), repeats
    phase["token_step"], phase["position_step"] = token_step, position_step
    phase["sequence_step"] = sequence_step
    phase["unit_entries"] = np.bincount(units, minlength=len(isa.UNITS))
    return phase


def repeated(entries: np.ndarray, phase: np.void, repeat: int) -> np.ndarray:
    """The entries of a phase in one of its repeats."""
    if not repeat:
        return entries
    entries = entries.copy()
    entries["token"] = (entries["token"] + repeat * phase["token_step"]) % TOKENS
    entries["position"] += repeat * phase["position_step"]
    entries["sequence"] += repeat * phase["sequence_step"]
    return entries


def rounds(phases: np.ndarray, schedule: np.ndarray) -> Iterator[Round]:
    """What one iteration executes, in list order."""
    first = 0
    for index, phase in enumerate(phases):
        entries = schedule[first : first + phase["entries"]]
        for repeat in range(phase["repeats"]):
            yield Round(index, repeat, first, repeated(entries, phase, repeat))
        first += int(phase["entries"])


def executed(phases: np.ndarray, schedule: np.ndarray) -> np.ndarray:
    """The entries of one iteration in list order, SCHEDULE_DTYPE [n]."""
    return np.concatenate([schedule[:0], *(r.entries for r in rounds(phases, schedule))])
