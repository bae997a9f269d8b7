"""The design around the accelerator, ``design.toml``, as constants.

``DESIGN`` is read by everything that names an address, a clock or an instance: the Tcl scripts
(through ``generate.py``), the .hwh (``hwh.py``), the virtual board and the tests.
"""

from __future__ import annotations

import tomllib
import typing
from dataclasses import dataclass
from pathlib import Path

# The accelerator: of rtl/, or the export of Vitis HLS.
CORES = ("rtl", "hls")
SOURCE = Path(__file__).resolve().parent / "design.toml"

# Interfaces of the processing system, and what it decodes for M_AXI_HPM0_FPD (UG1085, table 10-1).
HP_PORTS = tuple(f"S_AXI_HP{i}_FPD" for i in range(4))
HPM0_WINDOW = range(0xA000_0000, 0xB000_0000)
DDR_LOW_BYTES = 0x8000_0000
# Ports of the DDR controller behind the HP ports, of six (UG1085, "PS-PL AXI Interfaces"). Port 3
# also serves the DisplayPort, port 5 the DMA of the full-power domain.
DDR_CONTROLLER_PORT = dict(zip(HP_PORTS, (3, 4, 4, 5), strict=True))


@dataclass(frozen=True)
class Board:
    name: str
    part: str
    board_part: str
    vivado: str
    block_design: str


@dataclass(frozen=True)
class Clock:
    frequency_mhz: int
    slowest_mhz: int


@dataclass(frozen=True)
class Processor:
    instance: str
    ip: str
    master: str


@dataclass(frozen=True)
class Accelerator:
    instance: str
    vlnv: str
    base: int
    range: int
    interface: str


@dataclass(frozen=True)
class Hls:
    vlnv: str


@dataclass(frozen=True)
class Dma:
    instance: str
    ip: str
    base: int
    range: int
    interface: str
    data_bits: int
    length_bits: int
    burst_beats: int


@dataclass(frozen=True)
class Memory:
    base: int
    range: int
    gmem_port: str
    mm2s_port: str
    s2mm_port: str


@dataclass(frozen=True)
class Design:
    """All of ``design.toml``; addresses and ranges in bytes."""

    board: Board
    clock: Clock
    processor: Processor
    accelerator: Accelerator
    hls: Hls
    dma: Dma
    memory: Memory


def _table(kind: type, name: str, table: object):
    """`table` as the dataclass `kind`: exactly its keys, of its types."""
    if not isinstance(table, dict):
        raise ValueError(f"{SOURCE.name}: [{name}] is not a table")
    types_of = typing.get_type_hints(kind)
    if table.keys() != types_of.keys():
        missing = ", ".join(sorted(types_of.keys() - table.keys())) or "nothing"
        extra = ", ".join(sorted(table.keys() - types_of.keys())) or "nothing"
        raise ValueError(f"{SOURCE.name}: [{name}] lacks {missing} and has {extra} too many")
    values = {}
    for key, value in table.items():
        expected = types_of[key]
        values[key] = value
        if type(value) is not expected:
            kind_name = getattr(expected, "__name__", str(expected))
            raise ValueError(f"{SOURCE.name}: {name}.{key} is {value!r}, expected {kind_name}")
    return kind(**values)


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(f"{SOURCE.name}: {message}")


def _validate(design: Design) -> None:
    for name in ("accelerator", "dma"):
        part = getattr(design, name)
        size, end = part.range, part.base + part.range
        _check(size >= 0x1000 and size & (size - 1) == 0, f"{name}.range is no power of 2 from 4 K")
        _check(part.base % size == 0, f"{name}.base is no multiple of its range")
        _check(
            part.base in HPM0_WINDOW and end - 1 in HPM0_WINDOW,
            f"{name}: 0x{part.base:X} is outside of the window of {design.processor.master}",
        )
    a, d = design.accelerator, design.dma
    _check(a.base + a.range <= d.base or d.base + d.range <= a.base, "accelerator and dma overlap")
    for name in ("accelerator", "hls"):
        parts = getattr(design, name).vlnv.split(":")
        _check(len(parts) == 4 and all(parts), f"{name}.vlnv is not vendor:library:name:version")
    for name in ("processor", "dma"):
        parts = getattr(design, name).ip.split(":")
        _check(len(parts) == 3 and all(parts), f"{name}.ip is not vendor:library:name")
    parts = design.board.board_part.split(":")
    _check(len(parts) == 3 and all(parts), "board.board_part is not vendor:board:part0")
    for name in ("accelerator", "hls"):
        core = getattr(design, name).vlnv.split(":")[2]
        _check(core == "cmamba", f"{name}.vlnv: the driver looks for an IP called cmamba")
    _check(design.board.block_design != "cmamba", "board.block_design: cmamba is the accelerator")
    _check(d.data_bits == 128, "dma.data_bits: the streams of the accelerator have 128 bits")
    _check(8 <= d.length_bits <= 26, "dma.length_bits: 8 to 26 (PG021)")
    _check(
        d.burst_beats in (2, 4, 8, 16, 32, 64, 128, 256), "dma.burst_beats: 2, 4 ... 256 (PG021)"
    )
    memory = design.memory
    ports = (memory.gmem_port, memory.mm2s_port, memory.s2mm_port)
    _check(set(ports) <= set(HP_PORTS), f"memory: ports are among {', '.join(HP_PORTS)}")
    _check(len(set(ports)) == len(ports), "memory: one port for each master")
    behind = {DDR_CONTROLLER_PORT[port] for port in ports}
    _check(
        len(behind) == len(ports),
        "memory: S_AXI_HP1_FPD and S_AXI_HP2_FPD share a port of the DDR controller, use one",
    )
    _check(
        memory.base == 0 and memory.range == DDR_LOW_BYTES,
        "memory: the processing system offers its low DDR as one segment, 2 GiB from 0",
    )
    _check(
        design.processor.master == "M_AXI_HPM0_FPD", "processor.master: only M_AXI_HPM0_FPD is used"
    )
    clock = design.clock
    _check(
        10 <= clock.slowest_mhz <= clock.frequency_mhz <= 400,
        "clock: slowest_mhz and frequency_mhz are from 10 to 400, in this order",
    )


def read(text: str) -> Design:
    """The design of a TOML text. Raises ValueError, which names the key, if it is none."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{SOURCE.name}: {error}") from None
    sections = typing.get_type_hints(Design)
    _check(document.keys() == sections.keys(), f"the tables are {', '.join(sections)}")
    design = Design(**{n: _table(kind, n, document[n]) for n, kind in sections.items()})
    _validate(design)
    return design


DESIGN = read(SOURCE.read_text(encoding="utf-8"))
