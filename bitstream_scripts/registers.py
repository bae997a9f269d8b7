"""The registers of the accelerator as IP-XACT and PYNQ describe them, from ``rtl/regs``."""

from __future__ import annotations

from dataclasses import dataclass

from systemrdl.node import FieldNode, RegNode

from rtl.regs import generate


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
