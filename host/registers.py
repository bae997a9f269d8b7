"""The registers of a block in the programmable logic, by their byte offsets."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pynq


class Registers(Protocol):
    """Words of 32 bits."""

    def read(self, offset: int) -> int: ...

    def write(self, offset: int, value: int) -> None: ...


class MappedRegisters:
    """Those that are memory of this program, as on the board itself.

    An access is that of pynq, to the same array, without pynq's checks of each: they cost more than
    half a microsecond on a PC, and a forecast has about 20 accesses.

    Args:
        array: uint32 [words].
    """

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self._item = array.item

    def read(self, offset: int) -> int:
        return self._item(offset >> 2)

    def write(self, offset: int, value: int) -> None:
        self._array[offset >> 2] = value


def open_registers(device: Any, ip: dict[str, Any]) -> Registers:
    """The registers of an IP, as the overlay's `ip_dict` describes it."""
    mmio = pynq.MMIO(ip["phys_addr"], ip["addr_range"], device=device)
    return MappedRegisters(mmio.array) if device.has_capability("MEMORY_MAPPED") else mmio
