"""The instruction set, read from ``isa.toml``: encode and decode its words, and the builds.

``isa.toml`` is the one source of every bit position and limit; ``builds.toml`` the one source of
parallelism and memory sizes. Nothing else in Python writes down a field width or an opcode.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

from common.errors import CmambaError

HERE = Path(__file__).parent


class IsaError(CmambaError, ValueError):
    """A value that an instruction word cannot hold, or a word that is no instruction."""


@dataclass(frozen=True)
class Field:
    """One bit field of a word: ``count`` values of ``bits`` bits from bit ``lsb`` upwards.

    What it means, as the comment at ``[instruction]`` of ``isa.toml`` says: of an operand ``row``,
    ``row_where``, ``rows`` and ``shared``; of an address ``memory``, ``elements``, ``log2_each``.
    """

    name: str
    bits: int
    doc: str
    lsb: int
    signed: bool = False
    count: int = 1
    operand: bool = False
    row: str = "token"
    row_where: Mapping[str, str] = field(default_factory=dict, hash=False)
    rows: int = 1
    shared: bool = False
    memory: str = ""
    elements: int | str = 1
    log2_each: str = ""

    @property
    def total_bits(self) -> int:
        return self.bits * self.count

    @property
    def minimum(self) -> int:
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1


@dataclass(frozen=True)
class Format:
    """A word of ``bits`` bits made of consecutive fields; the bits above them must be zero."""

    name: str
    bits: int
    fields: tuple[Field, ...]

    def encode(self, values: Mapping[str, object]) -> int:
        """Pack ``values`` (all fields, no others) into an integer of ``bits`` bits.

        Raises:
            IsaError: a field is missing, unknown, or out of range.
        """
        names = {f.name for f in self.fields}
        if names != set(values):
            raise IsaError(
                f"{self.name}: missing fields {sorted(names - set(values))}, "
                f"unknown fields {sorted(set(values) - names)}"
            )
        word = 0
        for f in self.fields:
            value = values[f.name]
            if f.operand:
                word |= OPERAND.encode(value.fields()) << f.lsb
                continue
            items = value if f.count > 1 else (value,)
            if len(items) != f.count:
                raise IsaError(
                    f"{self.name}.{f.name}: expected {f.count} values, found {len(items)}"
                )
            for i, item in enumerate(items):
                item = int(item)
                if not f.minimum <= item <= f.maximum:
                    raise IsaError(
                        f"{self.name}.{f.name}: {item} does not fit, "
                        f"expected {f.minimum} to {f.maximum}"
                    )
                word |= (item & ((1 << f.bits) - 1)) << (f.lsb + i * f.bits)
        return word

    def decode(self, word: int) -> dict[str, object]:
        """Unpack an integer.

        Raises:
            IsaError: a reserved bit is set.
        """
        used = sum(f.total_bits for f in self.fields)
        if word >> used:
            raise IsaError(f"{self.name}: reserved bits from {used} upwards are not zero")
        values: dict[str, object] = {}
        for f in self.fields:
            items = []
            for i in range(f.count):
                raw = (word >> (f.lsb + i * f.bits)) & ((1 << f.bits) - 1)
                if f.operand:
                    items.append(Operand(**OPERAND.decode(raw)))
                elif f.signed and raw >> (f.bits - 1):
                    items.append(raw - (1 << f.bits))
                else:
                    items.append(raw)
            values[f.name] = items[0] if f.count == 1 else tuple(items)
        return values


@dataclass(frozen=True)
class Operand:
    """Rows of an activation memory, in elements; row i: addr + (i mod 2^log2_rows) * stride."""

    addr: int = 0
    stride: int = 0
    log2_rows: int = 0
    space: int = 0

    def fields(self) -> dict[str, int]:
        return {
            "addr": self.addr,
            "stride": self.stride,
            "log2_rows": self.log2_rows,
            "space": self.space,
        }

    def row(self, index: int) -> int:
        """Address of the first element of row ``index``."""
        return self.addr + (index & ((1 << self.log2_rows) - 1)) * self.stride


def _pack(entries: list[dict], operand_bits: int = 0) -> tuple[Field, ...]:
    fields, lsb = [], 0
    for entry in entries:
        bits = {"bits": operand_bits} if entry.get("operand") else {}
        f = Field(lsb=lsb, **entry, **bits)
        fields.append(f)
        lsb += f.total_bits
    return tuple(fields)


def _table(name: str) -> dict:
    """``<name>.toml``; or ``<name>.json``, which replaces it in the archive for the board, whose
    Python 3.10 reads no TOML."""
    path = HERE / f"{name}.json"
    if path.is_file():
        return json.loads(path.read_text(encoding="utf-8"))
    import tomllib

    return tomllib.loads((HERE / f"{name}.toml").read_text(encoding="utf-8"))


@cache
def source() -> Mapping:
    """The parsed ``isa.toml``."""
    return MappingProxyType(_table("isa"))


@dataclass(frozen=True)
class Opcode:
    """One instruction: its code, the unit that executes it, and its word format."""

    name: str
    code: int
    unit: int
    doc: str
    format: Format


@dataclass(frozen=True)
class Space:
    """An activation memory: element width and the opcodes that may write and read it."""

    name: str
    index: int
    bits: int
    doc: str
    writers: tuple[str, ...]
    readers: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A part of the package file."""

    name: str
    index: int
    element_bytes: int
    doc: str


_SRC = source()
UNITS: tuple[str, ...] = tuple(u["name"] for u in _SRC["units"])
SPACES: Mapping[str, Space] = MappingProxyType(
    {
        s["name"]: Space(
            s["name"], i, s["bits"], s["doc"], tuple(s["writers"]), tuple(s["readers"])
        )
        for i, s in enumerate(_SRC["spaces"])
    }
)
SPACE_NAMES: tuple[str, ...] = tuple(SPACES)
_OPERAND_FIELDS = _pack(_SRC["operand"]["fields"])
OPERAND = Format("operand", sum(f.bits for f in _OPERAND_FIELDS), _OPERAND_FIELDS)
SCHEDULE = Format("schedule entry", _SRC["schedule"]["bits"], _pack(_SRC["schedule"]["fields"]))
PHASE = Format("phase", _SRC["phase"]["bits"], _pack(_SRC["phase"]["fields"]))
PARAM = Format("parameter word", _SRC["param"]["bits"], _pack(_SRC["param"]["fields"]))
INSTRUCTION_BITS: int = _SRC["instruction"]["bits"]
OPCODES: Mapping[str, Opcode] = MappingProxyType(
    {
        o["name"]: Opcode(
            name=o["name"],
            code=o["code"],
            unit=UNITS.index(o["unit"]),
            doc=o["doc"],
            format=Format(
                o["name"],
                INSTRUCTION_BITS,
                _pack(_SRC["instruction"]["common"] + o["fields"], OPERAND.bits),
            ),
        )
        for o in _SRC["instruction"]["opcodes"]
    }
)
OPCODE_NAMES: Mapping[int, str] = MappingProxyType({o.code: o.name for o in OPCODES.values()})
SECTIONS: tuple[Section, ...] = tuple(
    Section(s["name"], i, s["element_bytes"], s["doc"])
    for i, s in enumerate(_SRC["header"]["sections"])
)
LIMITS: Mapping[str, int] = MappingProxyType({m["name"]: m["value"] for m in _SRC["limits"]})
MAGIC: int = _SRC["header"]["magic"]
HEADER_BYTES: int = _SRC["header"]["bytes"]
SECTION_ALIGN: int = _SRC["header"]["align"]
VERSION: tuple[int, int] = (_SRC["version"]["major"], _SRC["version"]["minor"])
ERRORS: Mapping[str, int] = MappingProxyType({e["name"]: e["code"] for e in _SRC["errors"]})
HEADER = Format(
    "header",
    HEADER_BYTES * 8,
    _pack(
        _SRC["header"]["fields"]
        + [
            {"name": f"{s.name}_{part}", "bits": 32, "doc": f"{what} of section {s.name}"}
            for s in SECTIONS
            for part, what in (("offset", "byte offset"), ("bytes", "size"), ("crc", "CRC-32"))
        ]
    ),
)


@dataclass(frozen=True)
class Addressed:
    """Elements of a memory from ``start`` on that a field of an instruction addresses."""

    field: str
    memory: str
    start: int
    count: int


@dataclass(frozen=True)
class Instruction:
    """One decoded instruction: opcode name and field values (operands as ``Operand``)."""

    opcode: str
    fields: Mapping[str, object] = field(default_factory=dict)

    def __getattr__(self, name: str) -> object:
        if name != "fields" and name in self.fields:
            return self.fields[name]
        raise AttributeError(f"{self.opcode} has no field {name!r}")

    @property
    def unit(self) -> int:
        return OPCODES[self.opcode].unit

    def field(self, name: str) -> Field:
        return next(f for f in OPCODES[self.opcode].format.fields if f.name == name)

    def row(self, operand: str) -> str:
        """What the index of an operand's row is: 'token', 'position' or 'sequence' of an entry."""
        f = self.field(operand)
        return next((row for flag, row in f.row_where.items() if self.fields[flag]), f.row)

    def addressed(self) -> Iterator[Addressed]:
        """What it uses of sections and memories that are no activations; weights are not told."""
        for f in OPCODES[self.opcode].format.fields:
            if f.memory:
                count = f.elements if isinstance(f.elements, int) else self.fields[f.elements]
                count <<= self.fields[f.log2_each] if f.log2_each else 0
                yield Addressed(f.name, f.memory, self.fields[f.name], count)

    def encode(self) -> bytes:
        """The instruction's 64 bytes. Raises IsaError if a field does not fit."""
        op = OPCODES[self.opcode]
        word = op.format.encode({"opcode": op.code, **self.fields})
        return word.to_bytes(INSTRUCTION_BITS // 8, "little")

    @classmethod
    def decode(cls, data: bytes) -> Instruction:
        """Decode 64 bytes. Raises IsaError for an unknown opcode or set reserved bits."""
        word = int.from_bytes(data, "little")
        code = word & 0xFF
        if code not in OPCODE_NAMES:
            raise IsaError(f"unknown opcode {code}, expected one of {sorted(OPCODE_NAMES)}")
        fields = OPCODES[OPCODE_NAMES[code]].format.decode(word)
        del fields["opcode"]
        return cls(OPCODE_NAMES[code], MappingProxyType(fields))


@dataclass(frozen=True)
class Build:
    """Parallelism and memory sizes of one hardware build (``builds.toml``)."""

    name: str
    doc: str
    tile_in: int
    tile_out: int
    requantize_lanes: int
    vector_lanes: int
    conv_lanes: int
    scan_lanes: int
    capacity: Mapping[str, int]
    spaces: Mapping[str, int]

    @property
    def tile_macs(self) -> int:
        return self.tile_in * self.tile_out

    @property
    def row_align(self) -> int:
        """Rows of the activation memories start at multiples of this many elements: the array reads
        4 * tile_in inputs a cycle at its widest split."""
        return 4 * self.tile_in


@cache
def builds() -> Mapping[str, Build]:
    """All builds by name."""
    raw = _table("builds")
    result = {}
    for name in raw:
        b = _like(raw, name)
        capacity = b.pop("capacity")
        spaces = capacity.pop("spaces")
        result[name] = Build(
            name=name, capacity=MappingProxyType(capacity), spaces=MappingProxyType(spaces), **b
        )
    return MappingProxyType(result)


def _like(raw: Mapping, name: str) -> dict:
    """A build of ``builds.toml``, with what it has of the one that it is `like`."""

    def merged(base: Mapping, own: Mapping) -> dict:
        tables = {k: merged(base.get(k, {}), v) for k, v in own.items() if isinstance(v, Mapping)}
        return {**base, **own, **tables}

    own = dict(raw[name])
    base = own.pop("like", None)
    return merged(_like(raw, base) if base else {}, own)


def build(name: str = "default") -> Build:
    """One build. Raises ValueError that lists the names if there is no such build."""
    try:
        return builds()[name]
    except KeyError:
        raise ValueError(f"no build {name!r}, expected one of {list(builds())}") from None
