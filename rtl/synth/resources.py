"""What cells of a netlist take of the device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields

# LUTs used as memory, by the cells of Yosys (UG574, "Distributed RAM", "Shift Registers").
_MEMORY_LUTS = {
    **{"RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4, "RAM512X1S": 8},
    **{"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8},
    **{"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8, "RAM64X8SW": 8, "RAM32X16DR8": 8},
    **{"SRL16E": 1, "SRLC32E": 1},
}
_LUTS = ("LUT1", "LUT2", "LUT3", "LUT4", "LUT5", "LUT6")
_REGISTERS = ("FDRE", "FDSE", "FDCE", "FDPE")
_LATCHES = ("LDCE", "LDPE")
# Take no place of their own: part of a slice, of a LUT, or wires.
_FREE = ("MUXF7", "MUXF8", "MUXF9", "CARRY4", "CARRY8", "INV", "BUFG", "GND", "VCC", "$scopeinfo")


@dataclass(frozen=True)
class Resources:
    """Resources of the device.

    Attributes:
        lut: LUTs, those of memories and shift registers too. Every LUT of the netlist counts, also
            where two would share one.
        lutram: of these, memories and shift registers.
        ff: registers outside of DSP48E2 and block RAM.
        dsp: DSP48E2.
        bram: block RAM of 36 Kbit, one of 18 Kbit as a half.
        latches: there should be none.
    """

    lut: int = 0
    lutram: int = 0
    ff: int = 0
    dsp: int = 0
    bram: float = 0.0
    latches: int = 0

    def __add__(self, other: Resources) -> Resources:
        names = [f.name for f in fields(Resources)]
        return Resources(*(getattr(self, n) + getattr(other, n) for n in names))

    def __mul__(self, n: int) -> Resources:
        return Resources(*(n * getattr(self, f.name) for f in fields(Resources)))


# xczu9eg-ffvb1156-2-e (DS891).
DEVICE = Resources(lut=274_080, lutram=144_000, ff=548_160, dsp=2_520, bram=912)

# Block RAM that is kept for what is around the accelerator, estimated. The DataMover in the AXI DMA
# has for each direction a FIFO of (4 + 2) bursts of 64 beats, rounded up to 512 words, of 128 bits
# and flags: two or three block RAMs. The four SmartConnects convert neither widths nor clocks, and
# keep their few words in LUTs. Kept is more than twice that sum.
AROUND = Resources(bram=16)


def targets(build: str) -> dict[str, float]:
    """Share of the device that a design with this build may take at most, by resource.

    Block RAM beyond three quarters leaves little choice of place: the default stays below, builds
    with more weights do not. These also take more LUTs around their memories.
    """
    if build == "default":
        return {"lut": 0.50, "dsp": 0.40, "bram": 0.75}
    return {"lut": 0.55, "dsp": 0.40, "bram": 0.92}


def count(cells: Mapping[str, int]) -> Resources:
    """Resources of a netlist without the units in it.

    Args:
        cells: number of cells by type.

    Raises:
        ValueError: a cell is not known.
    """
    cells = Counter(cells)
    memory = sum(luts * cells.pop(name, 0) for name, luts in _MEMORY_LUTS.items())
    result = Resources(
        lut=sum(cells.pop(name, 0) for name in _LUTS) + memory,
        lutram=memory,
        ff=sum(cells.pop(name, 0) for name in _REGISTERS),
        dsp=cells.pop("DSP48E2", 0),
        bram=cells.pop("RAMB36E2", 0) + cells.pop("RAMB18E2", 0) / 2,
        latches=sum(cells.pop(name, 0) for name in _LATCHES),
    )
    for name in _FREE:
        cells.pop(name, None)
    if cells:
        raise ValueError(f"cells of unknown size: {', '.join(sorted(cells))}")
    return result
