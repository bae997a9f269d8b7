"""Sizes and types of the SystemVerilog packages, for suites whose ports have these types.

The simulator shows a port of a packed struct as one word. `Struct` makes that word and takes it
apart; its fields come from the package itself, so that there is no second copy of a layout.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rtl.tb.simulate import packages
from rtl.tb.words import pack, unpack

Value = int | Sequence[int]


@dataclass(frozen=True)
class Field:
    """A field of a struct: one value of ``bits`` bits, or where ``n`` is given an array of them."""

    name: str
    bits: int
    n: int | None = None
    signed: bool = False

    @property
    def width(self) -> int:
        """Bits of the whole field."""
        return self.bits * (self.n or 1)


@dataclass(frozen=True)
class Struct:
    """A packed struct.

    Attributes:
        name: of its type.
        fields: the first one has the highest bits.
    """

    name: str
    fields: tuple[Field, ...]

    @property
    def bits(self) -> int:
        """Bits of the word."""
        return sum(f.width for f in self.fields)

    def pack(self, values: Mapping[str, Value]) -> int:
        """The word of the fields' values; of an array the first value has the lowest bits.

        Raises:
            ValueError: a field is missing or unknown, or a value has too many bits.
        """
        if names := {f.name for f in self.fields} ^ set(values):
            raise ValueError(f"{self.name}: missing or unknown fields {sorted(names)}")
        word = 0
        for field in self.fields:
            value = values[field.name]
            listed = [value] if field.n is None else list(value)
            if len(listed) != (field.n or 1):
                raise ValueError(f"{self.name}.{field.name}: expected {field.n}, found {value}")
            for v in listed:
                if not -(1 << field.bits - 1) <= v < 1 << field.bits:
                    raise ValueError(f"{self.name}.{field.name}: {v} needs over {field.bits} bits")
            word = word << field.width | pack(listed, field.bits)
        return word

    def unpack(self, word: int) -> dict[str, Value]:
        """The values of the fields of a word."""
        values: dict[str, Value] = {}
        at = self.bits
        for field in self.fields:
            at -= field.width
            listed = unpack(word >> at, field.bits, field.n or 1, signed=field.signed)
            values[field.name] = listed[0] if field.n is None else listed
        return values

    def cut(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Values as those of the fields that hold them can show them, without what is above."""
        masks = {f.name: (1 << f.bits) - 1 for f in self.fields}
        return {
            name: [v & masks[name] for v in value]
            if isinstance(value, list)
            else value & masks[name]
            for name, value in values.items()
        }

    def random(self, **values: Value) -> dict[str, Value]:
        """Random values, but for those that are given."""
        return self.unpack(random.getrandbits(self.bits)) | values


class Packages:
    """What the packages of a build declare.

    Attributes:
        sizes: the constants of type ``int unsigned``.
        enums: by type, the value of each name.
        structs: by type.
    """

    def __init__(self, build: str) -> None:
        self.sizes: dict[str, int] = {}
        self.enums: dict[str, dict[str, int]] = {}
        self.structs: dict[str, Struct] = {}
        self._types: dict[str, Field] = {}
        for path in packages(build):
            if path.suffix == ".sv":
                self._read(re.sub(r"//.*|\b\w+_pkg::", "", path.read_text()))

    def _read(self, text: str) -> None:
        declaration = re.compile(
            r"\blocalparam int unsigned (?P<size>\w+) = (?P<value>[^;]*);"
            r"|\btypedef enum (?P<base>[^{;]*)\{(?P<names>[^}]*)\} (?P<enum>\w+);"
            r"|\btypedef struct packed \{(?P<fields>[^}]*)\} (?P<struct>\w+);"
            r"|\btypedef (?P<plain>logic [^{;]*) (?P<type>\w+);"
        )
        for found in declaration.finditer(re.sub(r"\s+", " ", text)):
            if name := found["size"]:
                self.sizes[name] = self._number(found["value"])
            elif name := found["enum"]:
                self.enums[name] = dict(self._named(found["names"]))
                self._types[name] = self._field(found["base"], name)
            elif name := found["struct"]:
                lines = found["fields"].split(";")[:-1]
                fields = tuple(self._field(*line.rsplit(None, 1)) for line in lines)
                self.structs[name] = Struct(name, fields)
                self._types[name] = Field(name, self.structs[name].bits)
            else:
                self._types[found["type"]] = self._field(found["plain"], found["type"])

    def _number(self, expression: str) -> int:
        """Value of an expression of sizes, + - * /, ``$clog2``, ``$bits`` and ``larger``."""
        python = expression.replace("$", "").replace("/", "//")
        functions = {"clog2": lambda n: (n - 1).bit_length(), "bits": int, "larger": max}
        widths = {name: field.width for name, field in self._types.items()}
        return eval(python, {"__builtins__": {}}, self.sizes | widths | functions)

    def _named(self, names: str) -> Iterator[tuple[str, int]]:
        for i, item in enumerate(names.split(",")):
            name, _, value = item.partition("=")
            yield name.strip(), int(value.rpartition("d")[2]) if value else i

    def _field(self, declared: str, name: str) -> Field:
        """A field of a type: a name, ``logic``, its sign, and up to two dimensions."""
        base = declared.split("[")[0].split()
        ranges = re.findall(r"\[([^:\]]*):([^\]]*)\]", declared)
        sizes = [self._number(high) - self._number(low) + 1 for high, low in ranges]
        if base[0] != "logic":
            known = self._types[base[0]]
            return Field(name, known.bits, sizes[0] if sizes else known.n, known.signed)
        bits = sizes.pop() if sizes else 1
        return Field(name, bits, sizes[0] if sizes else None, "signed" in base)
