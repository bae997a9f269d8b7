"""The sections of a package (``docs/package.md``): each as an array, and as the file's bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import isa
from isa.errors import PackageError
from isa.words import (
    CONV_PARAM_DTYPE,
    MAX_TAPS,
    PARAM_DTYPE,
    PHASE_DTYPE,
    SCHEDULE_DTYPE,
    pack_words,
    unpack_words,
)

ARRAYS: dict[str, tuple[np.dtype, tuple[int, ...]]] = {
    "phases": (PHASE_DTYPE, ()),
    "schedule": (SCHEDULE_DTYPE, ()),
    "array_params": (PARAM_DTYPE, ()),
    "conv_params": (CONV_PARAM_DTYPE, ()),
    "conv_tables": (np.dtype(np.int8), (256,)),
    "scan_params": (PARAM_DTYPE, ()),
    "scan_decay": (np.dtype(np.uint16), ()),
    "scan_tables": (np.dtype(np.uint16), (256,)),
    "vector_params": (PARAM_DTYPE, ()),
    "vector_tables": (np.dtype(np.uint16), (256,)),
    "resid_image": (np.dtype(np.int16), ()),
}
"""Section name: type and shape of an element. Not of `weights`, whose tile is the build's."""


def _words(fmt: isa.Format, data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<u8").reshape(-1, fmt.bits // 64)


def _conv_bytes(params: np.ndarray) -> bytes:
    record = np.zeros(len(params), [("word", "<u8"), ("taps", "i1", (MAX_TAPS,))])
    record["word"] = pack_words(isa.PARAM, params)[:, 0]
    record["taps"] = params["taps"]
    return record.tobytes()


def _conv_params(data: bytes) -> np.ndarray:
    record = np.frombuffer(data, [("word", "<u8"), ("taps", "i1", (MAX_TAPS,))])
    word = unpack_words(isa.PARAM, record["word"].reshape(-1, 1))
    params = np.zeros(len(record), CONV_PARAM_DTYPE)
    for name in PARAM_DTYPE.names:
        params[name] = word[name]
    params["taps"] = record["taps"]
    return params


def _metadata(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8")) if data else {}
    except (ValueError, RecursionError) as error:
        raise PackageError("BAD_SECTION", f"section metadata is not UTF-8 JSON: {error}") from None
    if not isinstance(value, dict):
        raise PackageError(
            "BAD_SECTION",
            f"section metadata: expected a JSON object, found {type(value).__name__}",
        )
    return value


def _metadata_bytes(metadata: Mapping[str, Any]) -> bytes:
    text = json.dumps(
        metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")


def _table(dtype: str) -> tuple[Callable[[np.ndarray], bytes], Callable[[bytes], np.ndarray]]:
    """Writer and reader of a section of 256-entry tables."""
    return (
        lambda tables: tables.astype(dtype).tobytes(),
        lambda data: np.frombuffer(data, dtype).reshape(-1, 256),
    )


def _vector(dtype: str) -> tuple[Callable[[np.ndarray], bytes], Callable[[bytes], np.ndarray]]:
    return (
        lambda values: values.astype(dtype).tobytes(),
        lambda data: np.frombuffer(data, dtype),
    )


def _packed(fmt: isa.Format) -> tuple[Callable[[np.ndarray], bytes], Callable[[bytes], np.ndarray]]:
    return (
        lambda values: pack_words(fmt, values).astype("<u8").tobytes(),
        lambda data: unpack_words(fmt, _words(fmt, data)),
    )


_PARAMS = _packed(isa.PARAM)

# Section name: (array to bytes, bytes to array). `instructions` and `weights` are handled apart:
# the one is decoded with its rules, the shape of the other depends on the header.
CODECS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "phases": _packed(isa.PHASE),
    "schedule": _packed(isa.SCHEDULE),
    "array_params": _PARAMS,
    "conv_params": (_conv_bytes, _conv_params),
    "conv_tables": _table("i1"),
    "scan_params": _PARAMS,
    "scan_decay": _vector("<u2"),
    "scan_tables": _table("<u2"),
    "vector_params": _PARAMS,
    "vector_tables": _table("<u2"),
    "resid_image": _vector("<i2"),
    "metadata": (_metadata_bytes, _metadata),
}
