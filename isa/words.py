"""Words of several bit fields as structured arrays: packed into 64-bit words and back.

A field of a parameter word or a schedule entry is a column of int32; ``isa.toml`` says where its
bits lie.
"""

from __future__ import annotations

import numpy as np

import isa


def _dtype(fmt: isa.Format) -> np.dtype:
    """One int32 (or a row of them) for each field of a word."""
    return np.dtype(
        [(f.name, "<i4", (f.count,)) if f.count > 1 else (f.name, "<i4") for f in fmt.fields]
    )


PARAM_DTYPE = _dtype(isa.PARAM)
SCHEDULE_DTYPE = _dtype(isa.SCHEDULE)
PHASE_DTYPE = _dtype(isa.PHASE)
MAX_TAPS = isa.LIMITS["taps"]
CONV_PARAM_DTYPE = np.dtype([*PARAM_DTYPE.descr, ("taps", "i1", (MAX_TAPS,))])


def pack_words(fmt: isa.Format, values: np.ndarray) -> np.ndarray:
    """Pack a structured array, field by field, into words.

    Args:
        fmt: format of a word, a multiple of 64 bits long.
        values: structured array [n] that has at least the fields of ``fmt``.

    Returns:
        uint64 [n, fmt.bits / 64], the least significant 64 bits first.

    Raises:
        isa.IsaError: a value does not fit its field.
    """
    words = np.zeros((len(values), fmt.bits // 64), np.uint64)
    for f in fmt.fields:
        items = values[f.name].astype(np.int64).reshape(len(values), f.count)
        bad = np.argwhere((items < f.minimum) | (items > f.maximum))
        if len(bad):
            row, i = bad[0]
            raise isa.IsaError(
                f"{fmt.name} {row}, field {f.name}: found {items[row, i]}, "
                f"expected {f.minimum} to {f.maximum}"
            )
        raw = items.astype(np.uint64) & np.uint64((1 << f.bits) - 1)
        for i in range(f.count):
            word, bit = divmod(f.lsb + i * f.bits, 64)
            words[:, word] |= raw[:, i] << np.uint64(bit)
            if bit + f.bits > 64:
                words[:, word + 1] |= raw[:, i] >> np.uint64(64 - bit)
    return words


def unpack_words(fmt: isa.Format, words: np.ndarray) -> np.ndarray:
    """The inverse of `pack_words`: uint64 [n, fmt.bits / 64] to a structured array [n]."""
    values = np.zeros(len(words), _dtype(fmt))
    for f in fmt.fields:
        items = values[f.name].reshape(len(words), f.count)
        for i in range(f.count):
            word, bit = divmod(f.lsb + i * f.bits, 64)
            raw = words[:, word] >> np.uint64(bit)
            if bit + f.bits > 64:
                raw = raw | words[:, word + 1] << np.uint64(64 - bit)
            raw = (raw & np.uint64((1 << f.bits) - 1)).astype(np.int64)
            items[:, i] = raw - ((raw >> (f.bits - 1)) << f.bits if f.signed else 0)
    return values
