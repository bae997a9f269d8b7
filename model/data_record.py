"""What a forecaster was trained on: `DataRecord`, which travels with its weights."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SPLITS = ("train", "val", "test")
SPLIT_NAMES = ("ett", "ratio")


@dataclass(frozen=True)
class DataRecord:
    """A file of V variables, how its rows were cut, and how they were standardized.

    Rows count from 0, the first behind the header. Raises ValueError, naming the field, what was
    found and what is expected.
    """

    dataset: str  # one that is known by name, or the name of a file, without its folder
    sha256: str  # of the file's bytes
    columns: tuple[str, ...]  # [V]
    step_seconds: float  # from one row to the next
    split: str  # rule of the cut
    rows: tuple[range, range, range]  # of train, val and test; each begins where the last ended
    mean: tuple[float, ...]  # [V], of the training rows
    std: tuple[float, ...]  # [V]
    reading: Mapping[str, str] = field(default_factory=dict)  # options of a CSV that were given

    def __post_init__(self) -> None:
        if re.search(r"[/\0]", self.dataset) or self.dataset in ("", ".", ".."):
            self._fail("dataset", "a name without folders")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            self._fail("sha256", "64 hexadecimal digits")
        if not self.columns or len(set(self.columns)) < len(self.columns) or "" in self.columns:
            self._fail("columns", "names, each once")
        if not 0 < self.step_seconds < math.inf:
            self._fail("step_seconds", "a number above 0")
        if self.split not in SPLIT_NAMES:
            self._fail("split", " or ".join(SPLIT_NAMES))
        starts = (0, *(rows.stop for rows in self.rows[:-1]))
        pairs = zip(self.rows, starts, strict=True)
        if any(rows.start != start or rows.stop <= start for rows, start in pairs):
            self._fail("rows", "ranges that follow each other from row 0 on")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != len(self.columns) or not all(map(math.isfinite, values)):
                self._fail(name, f"{len(self.columns)} finite numbers")
        if min(self.std) <= 0:
            self._fail("std", "numbers above 0")

    def _fail(self, name: str, expected: str) -> None:
        raise ValueError(f"DataRecord.{name}: found {getattr(self, name)!r}, expected {expected}")

    @property
    def lengths(self) -> tuple[int, int, int]:
        """Rows of train, val and test."""
        return tuple(map(len, self.rows))

    @property
    def file_in_words(self) -> str:
        """Name and fingerprint of the file."""
        return f"{self.dataset} (SHA-256 {self.sha256[:12]}...)"

    @property
    def reading_in_words(self) -> str:
        """The options that the file was read with."""
        return options_in_words(self.reading)

    @property
    def cut_in_words(self) -> str:
        """The split by its name and by rows, the last ones included."""
        rows = (f"{name} {r.start}-{r.stop - 1}" for name, r in zip(SPLITS, self.rows, strict=True))
        return f"split {self.split}, rows {', '.join(rows)}"

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        rows = {name: [r.start, r.stop] for name, r in zip(SPLITS, self.rows, strict=True)}
        lists = {name: list(getattr(self, name)) for name in ("columns", "mean", "std")}
        content = {**vars(self), **lists, "rows": rows, "reading": dict(self.reading)}
        if not self.reading:
            del content["reading"]
        return content

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, content: str | Any) -> DataRecord:
        """Inverse of `to_json`; also takes the parsed object. All fields but `reading` have to be
        there."""
        if isinstance(content, str):
            try:
                content = json.loads(content)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"DataRecord: not valid JSON: {error}") from None
        names = list(cls.__dataclass_fields__)
        if isinstance(content, dict):
            content = {"reading": {}, **content}
        if not isinstance(content, dict) or sorted(map(str, content)) != sorted(names):
            raise ValueError(f"DataRecord: expected an object of {', '.join(names)}")
        reading = content["reading"]
        is_options = isinstance(reading, dict) and _is_list_of([*reading.values()], str)
        _require("reading", content, is_options, "an object of texts")
        for name in ("dataset", "sha256", "split"):
            _require(name, content, isinstance(content[name], str), "a string")
        step = content["step_seconds"]
        _require("step_seconds", content, _is_list_of([step], int | float), "a number above 0")
        columns, rows = content["columns"], content["rows"]
        _require("columns", content, _is_list_of(columns, str), "a list of names")
        is_dict = isinstance(rows, dict) and rows.keys() == set(SPLITS)
        ends = [rows[name] for name in SPLITS] if is_dict else [None]
        is_ranges = all(isinstance(r, list) and [*map(_is_integer, r)] == [True] * 2 for r in ends)
        _require("rows", content, is_ranges, f"[first, end] of {', '.join(SPLITS)}")
        numbers = {}
        for name in ("mean", "std"):
            is_numbers = _is_list_of(content[name], int | float)
            _require(name, content, is_numbers, "a list of numbers")
            try:
                numbers[name] = tuple(map(float, content[name]))
            except OverflowError:  # an integer that no float holds
                raise ValueError(f"DataRecord.{name}: expected finite numbers") from None
        fields = {"columns": tuple(columns), "rows": tuple(range(*r) for r in ends), **numbers}
        return cls(**{**content, **fields})


def options_in_words(options: Mapping[str, str]) -> str:
    """Options of a CSV as a command takes them."""
    words = (f"--{name.replace('_', '-')} {value}" for name, value in options.items())
    return f"read with {' '.join(words)}" if options else "read without options"


def _require(name: str, content: dict[str, Any], holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"DataRecord.{name}: found {content[name]!r}, expected {expected}")


def _is_integer(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _is_list_of(value: Any, kind: Any) -> bool:
    is_list = isinstance(value, list)
    return is_list and all(isinstance(v, kind) and not isinstance(v, bool) for v in value)
