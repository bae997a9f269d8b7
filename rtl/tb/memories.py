"""Memories behind the read and write ports of the units."""

from __future__ import annotations

from collections.abc import Callable

import cocotb
import numpy as np
from cocotb.handle import SimHandleBase
from cocotb.triggers import RisingEdge

READ_LATENCY = 2


class ReadPort:
    """Answers ``<name>_rd_en_o``, ``_rd_addr_o`` on ``_rd_data_i``, two cycles later.

    Args:
        word: gives the word, packed, at an address. Without a read the data are ``idle()``: a unit
            must take them in their cycle.
    """

    def __init__(
        self,
        dut: SimHandleBase,
        name: str,
        word: Callable[[int], int],
        idle: Callable[[], int] = lambda: 0,
    ) -> None:
        self.clk = dut.clk_i
        self.enable = getattr(dut, f"{name}_rd_en_o")
        self.address = getattr(dut, f"{name}_rd_addr_o")
        self.data = getattr(dut, f"{name}_rd_data_i")
        self.word = word
        self.idle = idle
        self.data.value = 0
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        waiting: list[int | None] = [None] * (READ_LATENCY - 1)
        while True:
            await RisingEdge(self.clk)
            waiting.append(int(self.address.value) if self.enable.value == 1 else None)
            address = waiting.pop(0)
            self.data.value = self.idle() if address is None else self.word(address)


class WritePort:
    """Writes ``<name>_wr_*`` of the unit into ``memory``, int8 or int16 [words, lanes]."""

    def __init__(self, dut: SimHandleBase, name: str, memory: np.ndarray) -> None:
        self.clk = dut.clk_i
        self.enable, self.address, self.mask, self.data = (
            getattr(dut, f"{name}_wr_{part}_o") for part in ("en", "addr", "mask", "data")
        )
        self.memory = memory
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        lanes, item = self.memory.shape[1], self.memory.itemsize
        while True:
            await RisingEdge(self.clk)
            if self.enable.value != 1:
                continue
            mask = int(self.mask.value).to_bytes(-(-lanes // 8), "little")
            written = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")[:lanes]
            data = int(self.data.value).to_bytes(lanes * item, "little")
            word = np.frombuffer(data, self.memory.dtype)
            row = self.memory[int(self.address.value)]
            row[written == 1] = word[written == 1]


def packed(row: np.ndarray) -> int:
    """A row of a memory as the word of a port, the first element in the lowest bits."""
    return int.from_bytes(np.ascontiguousarray(row).tobytes(), "little")
