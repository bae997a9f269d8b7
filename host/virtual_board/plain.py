"""A board without transport and without RTL: what the driver itself takes (`host.bench --driver`).

Registers are plain memory behind pynq's own MMIO code, and buffers are plain memory that needs no
flush. A load or run has ended when it is started, and a forecast is what was in its buffer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pynq
from pynq.buffer import PynqBuffer
from pynq.pl_server.remote_device import RemoteBitfileHandler

import isa
from bitstream_scripts.design import DESIGN
from host.capabilities import CAPACITIES
from host.virtual_board.dma import S2MM_OFFSET, Register, Status
from host.virtual_board.processor import ProcessorRegisters
from rtl.regs import registers as reg


class _Registers(np.ndarray):
    """Memory in which writes leave some words as they are."""

    kept: frozenset[int] = frozenset()

    def __setitem__(self, index: Any, value: Any) -> None:
        if index not in self.kept:
            super().__setitem__(index, value)


class PlainDevice(pynq.Device):
    """The pynq device of such a board, with a build of the accelerator in its PL."""

    def __init__(self, build: isa.Build) -> None:
        super().__init__("plain")
        self.name, self.arch = DESIGN.board.name, "aarch64"
        self.capabilities = {"MEMORY_MAPPED": True}
        self._fixed = {
            DESIGN.accelerator.base: _of_accelerator(build),
            DESIGN.dma.base: {
                Register.CONTROL: 0,  # a reset is over at once
                Register.STATUS: int(Status.IDLE),
                S2MM_OFFSET + Register.STATUS: int(Status.IDLE),
            },
        }
        self._blocks: dict[int, _Registers] = {}

    def mmap(self, base: int, length: int) -> _Registers:
        if base not in self._blocks:
            memory = np.zeros(length // 4, np.uint32).view(_Registers)
            processor = ProcessorRegisters()
            for offset in range(0, length, 4):
                memory[offset // 4] = processor.read(base + offset)
            for offset, value in self._fixed.get(base, {}).items():
                memory[offset // 4] = value
            memory.kept = frozenset(offset // 4 for offset in self._fixed.get(base, {}))
            self._blocks[base] = memory
        return self._blocks[base]

    def get_bitfile_metadata(self, bitfile_name: str, partial: bool = False) -> Any:
        return RemoteBitfileHandler(bitfile_name).get_parser(partial=partial)

    def download(self, bitstream: Any, parser: Any = None) -> None:
        self.post_download(bitstream, parser, self.name)

    def allocate(self, shape: tuple[int, ...], dtype: Any, cacheable: int = 0) -> PynqBuffer:
        buffer = PynqBuffer(shape, dtype, device=self, device_address=1 << 12)
        buffer.device_address = buffer.virtual_address & 0x7FFF_FFF0  # any that is no other's
        buffer[...] = 0
        return buffer

    def flush(self, bo: Any, offset: int, ptr: int, size: int) -> None:
        pass

    def invalidate(self, bo: Any, offset: int, ptr: int, size: int) -> None:
        pass


def _of_accelerator(build: isa.Build) -> dict[int, int]:
    """What its registers hold, by their offsets: idle, no error, and the limits of the build."""
    values = {
        reg.CTRL: reg.CTRL_IDLE,
        reg.ERROR: 0,
        reg.VERSION: isa.VERSION[0] << 16 | isa.VERSION[1],
        reg.TILE: build.tile_out << 16 | build.tile_in,
        reg.LANES_0: build.vector_lanes << 16 | build.requantize_lanes,
        reg.LANES_1: build.scan_lanes << 16 | build.conv_lanes,
    }
    values |= {getattr(reg, f"MAX_{name.upper()}"): build.capacity[name] for name in CAPACITIES}
    values |= {
        getattr(reg, f"SPACE_{i}"): build.spaces[name] for i, name in enumerate(isa.SPACE_NAMES)
    }
    return values
