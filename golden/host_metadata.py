"""Entries of a package's metadata that the host computes with. They are JSON of unknown origin."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from isa.errors import PackageError


def entry(metadata: Mapping[str, Any], path: str) -> Any:
    """What lies at a dotted path. Raises PackageError."""
    value: Any = metadata
    for name in path.split("."):
        try:
            value = value[name]
        except (KeyError, TypeError):
            raise PackageError(
                "BAD_SECTION", f"package metadata: missing or malformed {name!r}"
            ) from None
    return value


def positive(metadata: Mapping[str, Any], path: str) -> np.float32:
    """A number above 0. Raises PackageError, also where float32 holds it as 0 or infinity."""
    found = entry(metadata, path)
    value = _float32(found)
    if value is None or not value > 0:
        raise _fault(path, found, "above 0, as float32")
    return value


def vector(metadata: Mapping[str, Any], path: str, n: int) -> np.ndarray:
    """`n` numbers, float32. Raises PackageError, also where float32 does not hold one."""
    found = entry(metadata, path)
    values = [_float32(value) for value in found] if isinstance(found, list) else []
    if len(values) != n or None in values:
        raise _fault(path, found, f"{n} finite numbers")
    return np.array(values, np.float32)


def int8(metadata: Mapping[str, Any], path: str) -> int:
    """An integer of 8 bits. Raises PackageError."""
    found = entry(metadata, path)
    if isinstance(found, bool) or not isinstance(found, int) or not -128 <= found <= 127:
        raise _fault(path, found, "an integer, -128 to 127")
    return found


def _float32(value: Any) -> np.float32 | None:
    """None for what is no number, or none that is finite in float32."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        with np.errstate(over="ignore", under="ignore"):
            converted = np.float32(float(value))
    except OverflowError:  # an integer that no float holds
        return None
    return converted if np.isfinite(converted) else None


def _fault(path: str, found: Any, expected: str) -> PackageError:
    return PackageError(
        "BAD_SECTION",
        f"package metadata, {path}: found {reprlib.repr(found)}, expected {expected}",
    )
