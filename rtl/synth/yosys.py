"""Runs Yosys (the Python package pyosys) in a process of its own, with its log in a file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from common.errors import CmambaError

_RUN = (
    "import sys; from pyosys import libyosys; design = libyosys.Design();"
    "[libyosys.run_pass(line.strip(), design) for line in sys.stdin]"
)


class YosysError(CmambaError, RuntimeError):
    """Yosys failed; the message has its errors, and the name of the log."""


def run(commands: Sequence[str], log: Path) -> None:
    """Run ``commands`` on one design.

    Args:
        commands: one Yosys command each.
        log: file for what Yosys prints.

    Raises:
        YosysError: Yosys failed.
    """
    with log.open("w") as out:
        result = subprocess.run(
            [sys.executable, "-c", _RUN],
            input="\n".join(commands),
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
        )
    if result.returncode:
        lines = log.read_text().splitlines()
        errors = [line for line in lines if "error:" in line.lower()] or lines[-3:]
        raise YosysError("\n".join([f"Yosys failed, see {log}:", *errors[:10]]))
