"""The registers of the accelerator as IP-XACT and PYNQ describe them: of the RTL from ``rtl/regs``,
of the export of Vitis HLS from ``hls/src/top.cpp``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from systemrdl.node import FieldNode, RegNode

from rtl.regs import generate

TOP = Path(__file__).resolve().parents[1] / "hls/src/top.cpp"
# An argument of the top function on the bus; its words of 32 bits, and whether it is a result.
_OFFSET = re.compile(r"s_axilite port = (\w+) bundle = control offset = (0x[0-9A-F]+)")
_WORDS = {
    "gmem": (2, False),
    "status": (20, True),
    "capabilities": (18, True),
    "spaces": (12, True),
}


@dataclass(frozen=True)
class Field:
    """`bits` bits from `lsb`; `access` is read-only, write-only or read-write."""

    name: str
    lsb: int
    bits: int
    access: str
    description: str


@dataclass(frozen=True)
class Register:
    """32 bits at `offset` bytes; `reset` is the value after reset, what hardware drives left 0."""

    name: str
    offset: int
    access: str
    reset: int
    description: str
    fields: tuple[Field, ...]


def _access(node: RegNode | FieldNode) -> str:
    if isinstance(node, RegNode):
        readable, writable = node.has_sw_readable, node.has_sw_writable
    else:
        readable, writable = node.is_sw_readable, node.is_sw_writable
    return ("read-" if readable else "") + ("write" if writable else "only")


def _description(node: RegNode | FieldNode) -> str:
    return " ".join((node.get_property("desc") or "").split())


def accelerator_registers() -> tuple[Register, ...]:
    """All registers in the order of their addresses, named as in ``rtl/regs/registers.py``."""
    top = generate.elaborate()
    return tuple(
        Register(
            name=generate.constant_name(top, node),
            offset=node.absolute_address,
            access=_access(node),
            reset=sum((f.get_property("reset") or 0) << f.low for f in node.fields()),
            description=_description(node),
            fields=tuple(
                Field(f.inst_name.upper(), f.low, f.width, _access(f), _description(f))
                for f in node.fields()
            ),
        )
        for node in top.descendants(unroll=True)
        if isinstance(node, RegNode)
    )


def hls_registers() -> tuple[Register, ...]:
    """Those of the export of Vitis HLS, under the names that it gives them.

    A scalar is a register, more than 32 bits are one for each word, and behind a result is one
    that says it was written.
    """
    names = {"CTRL": "CTRL", "GIE": "GIER", "IER": "IP_IER", "ISR": "IP_ISR"}
    found = [
        Register(names[r.name], r.offset, r.access, r.reset, r.description, r.fields)
        for r in accelerator_registers()
        if r.name in names
    ]

    def add(name: str, offset: int, access: str, description: str) -> None:
        fields = (Field(name, 0, 32, access, ""),)
        found.append(Register(name, offset, access, 0, description, fields))

    for port, text in _OFFSET.findall(TOP.read_text(encoding="utf-8")):
        n, is_result = _WORDS.get(port, (1, False))
        offset, access = int(text, 16), "read-only" if is_result else "read-write"
        for i in range(n):
            name = port if n == 1 else f"{port}_{i + 1}"
            add(name, offset + 4 * i, access, f"Data signal of {port}")
        if is_result:
            add(f"{port}_ctrl", offset + 4 * n, access, f"Control signal of {port}")
    return tuple(found)
