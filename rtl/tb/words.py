"""Vectors of small integers as the packed words of ports, and the values worth testing."""

from __future__ import annotations

import random
from collections.abc import Iterable


def pack(values: Iterable[int], bits: int) -> int:
    """Values of ``bits`` bits each, signed or not, into one word; the first in the lowest bits."""
    word = 0
    for i, value in enumerate(values):
        word |= (value & ((1 << bits) - 1)) << (i * bits)
    return word


def unpack(word: int, bits: int, n: int, *, signed: bool = True) -> list[int]:
    """The ``n`` values of a packed word."""
    values = [(word >> (i * bits)) & ((1 << bits) - 1) for i in range(n)]
    return [v - (1 << bits) if signed and v >> (bits - 1) else v for v in values]


def signed(bits: int) -> int:
    """A random signed integer of at most ``bits`` bits: extremes, small ones, all magnitudes."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    kind = random.randrange(4)
    if kind == 0:
        return random.choice((low, low + 1, -1, 0, 1, high - 1, high))
    if kind == 1:
        return random.randint(low, high) >> random.randrange(bits)
    return random.randint(low, high)


def unsigned(bits: int) -> int:
    """A random unsigned integer of at most ``bits`` bits: extremes, small ones, all magnitudes."""
    return signed(bits) & ((1 << bits) - 1)
