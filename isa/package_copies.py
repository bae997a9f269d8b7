"""The copies of a package for people: ``<stem>.json`` and ``<stem>.npz`` beside its file."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import isa
from isa.compiled_program import CompiledProgram
from isa.sections import ARRAYS
from isa.words import PHASE_DTYPE

# What the copies hold, by which they are known from other files.
_JSON_KEYS = ["header", "phases", "instructions", "metadata"]
_ARRAYS = ["weights", *ARRAYS]


def json_copy(program: CompiledProgram) -> bytes:
    """Header, phases, instructions and metadata."""

    def values(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v.fields() if isinstance(v, isa.Operand) else v for k, v in fields.items()}

    content = {
        "header": program.sizes | {"version": list(isa.VERSION)},
        "phases": [
            {name: phase[name].tolist() for name in PHASE_DTYPE.names} for phase in program.phases
        ],
        "instructions": [
            {"name": program.instruction_name(i), "opcode": instruction.opcode}
            | values(instruction.fields)
            for i, instruction in enumerate(program.instructions)
        ],
        "metadata": program.metadata,
    }
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def npz_copy(program: CompiledProgram) -> bytes:
    """The sections as arrays."""
    buffer = io.BytesIO()
    # Not numpy.savez: that stamps its members with the time of day.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in _ARRAYS:
            member = io.BytesIO()
            np.lib.format.write_array(member, getattr(program, name), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return buffer.getvalue()


def is_copy(path: Path) -> bool:
    """Whether this .json or .npz is the copy of a package."""
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return archive.namelist() == [f"{name}.npy" for name in _ARRAYS]
        content = json.loads(path.read_bytes())
        return isinstance(content, dict) and list(content) == _JSON_KEYS
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile):
        return False
