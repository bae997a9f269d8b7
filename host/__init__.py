"""The host side of the accelerator on a ZCU102: the driver, its self-test and benchmark, and the
virtual board. See host/README.md.

The driver needs pynq. Without it this package can be imported, says so, and has its exceptions; the
names that need it raise ImportError.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from typing import Any

from host.errors import *  # noqa: F403
from host.errors import __all__ as _errors

WITHOUT_PYNQ = (
    "the driver needs the package pynq (4.0.0), which is not installed. On the board it is part of "
    "the PYNQ image: run the image's Python, /usr/local/share/pynq-venv/bin/python3, as root. On a "
    "PC, `make venv` installs it with the rest; by hand it is pip install --group board, then "
    "PYNQ_REMOTE=1 pip install --no-deps --group pynq, in the folder of pyproject.toml."
)

# Public name: the module that has it.
_LAZY = {
    "Accelerator": "host.accelerator",
    "Capabilities": "host.capabilities",
    "Profile": "host.profile",
    "connect": "host.remote",
    "find_bitfile": "host.remote",
}
_NEED_PYNQ = {"Accelerator", "connect"}

__all__ = [*_LAZY, *_errors]

_HAS_PYNQ = importlib.util.find_spec("pynq") is not None
if not _HAS_PYNQ:
    warnings.warn(f"host: {WITHOUT_PYNQ}", stacklevel=2)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'host' has no attribute {name!r}")
    if name in _NEED_PYNQ and not _HAS_PYNQ:
        raise ImportError(f"host.{name}: {WITHOUT_PYNQ}", name="pynq")
    return getattr(importlib.import_module(_LAZY[name]), name)
