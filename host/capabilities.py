"""What the accelerator on the board can do, read from its registers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import isa
from host.errors import RegisterError
from host.table import Table
from rtl.regs import registers as reg

# Nothing larger can be addressed or has ever been built; what a dead bus reads lies beyond.
_MAX_LANES = 1 << 12
_MAX_CAPACITY = 1 << 24
_MAX_SPACE = 1 << 20


@dataclass(frozen=True)
class Capabilities:
    """Version of the instruction set (major, minor), and the limits of the build."""

    version: tuple[int, int]
    build: isa.Build

    def table(self) -> Table:
        build = self.build
        rows = [
            ("instruction set", "{}.{}".format(*self.version)),
            ("build", build.name),
            ("array", f"{build.tile_in} x {build.tile_out} MACs a cycle"),
            ("requantize, vector lanes", f"{build.requantize_lanes}, {build.vector_lanes}"),
            ("conv, scan lanes", f"{build.conv_lanes}, {build.scan_lanes}"),
        ]
        rows += [(f"capacity of {name}", f"{n:,}") for name, n in build.capacity.items()]
        rows += [(f"memory {name}", f"{n:,}") for name, n in build.spaces.items()]
        return Table("Accelerator", ("", ""), rows)

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def read_capabilities(read: Callable[[int], int]) -> Capabilities:
    """
    Args:
        read: the word at a register's address.

    Raises:
        RegisterError: a version that this driver does not know, or a limit that makes no sense.
    """

    def limit(register: str, found: int, maximum: int) -> int:
        if not 1 <= found <= maximum:
            raise RegisterError(register, found, f"1 to {maximum}")
        return found

    def halves(register: str) -> tuple[int, int]:
        word = read(getattr(reg, register))
        return (
            limit(f"{register}, bits 15 to 0", word & 0xFFFF, _MAX_LANES),
            limit(f"{register}, bits 31 to 16", word >> 16, _MAX_LANES),
        )

    word = read(reg.VERSION)
    version = (word >> 16, word & reg.VERSION_MINOR)
    if version[0] != isa.VERSION[0]:
        raise RegisterError(
            "VERSION",
            word,
            f"{isa.VERSION[0] << 16} (0x{isa.VERSION[0]:X} in bits 31 to 16: instruction set "
            f"{isa.VERSION[0]}.x)",
        )
    tile_in, tile_out = halves("TILE")
    requantize, vector = halves("LANES_0")
    conv, scan = halves("LANES_1")

    def words(registers: dict[str, str], maximum: int) -> MappingProxyType[str, int]:
        return MappingProxyType(
            {
                name: limit(register, read(getattr(reg, register)), maximum)
                for name, register in registers.items()
            }
        )

    build = isa.Build(
        name="board",
        doc="as its registers say",
        tile_in=tile_in,
        tile_out=tile_out,
        requantize_lanes=requantize,
        vector_lanes=vector,
        conv_lanes=conv,
        scan_lanes=scan,
        capacity=words({name: f"MAX_{name.upper()}" for name in CAPACITIES}, _MAX_CAPACITY),
        spaces=words({name: f"SPACE_{i}" for i, name in enumerate(isa.SPACE_NAMES)}, _MAX_SPACE),
    )
    return Capabilities(version, _named(build))


CAPACITIES = tuple(name[4:].lower() for name in vars(reg) if name.startswith("MAX_"))


def _named(build: isa.Build) -> isa.Build:
    """With the name of the build in builds.toml that is the same, if there is one."""
    for known in isa.builds().values():
        if dataclasses.replace(known, name=build.name, doc=build.doc) == build:
            return known
    return build
