"""The two tables of decay(t), ``docs/numerics.md``: 2^-x in steps of 1/64 and of 1/4096."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt


def _exp2_table(log2_steps: int) -> tuple[int, ...]:
    """round(65536 * 2^(-i / 2^log2_steps)) for i = 0..63.

    ``log2_steps`` square roots in a row give the floor of twice the value, exactly.
    """
    values = []
    for i in range(64):
        root = 1 << ((17 << log2_steps) - i)
        for _ in range(log2_steps):
            root = isqrt(root)
        values.append((root + 1) >> 1)
    return tuple(values)


HIGH = _exp2_table(6)
LOW = _exp2_table(12)


def described() -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Of each table its name in a generated file, what its entry i is, and its entries."""
    for name, table, steps in (("High", HIGH, 64), ("Low", LOW, 4096)):
        yield f"Decay{name}", f"round(65536 * 2^(-i / {steps}))", table
