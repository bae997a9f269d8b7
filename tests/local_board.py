"""A board that the driver runs *on*: a pynq device without a network, as on the ZCU102 itself.

The fabric is that of the virtual board. A buffer is a copy of the memory, which only `flush` and
`invalidate` keep equal to it, like a cache that writes back at the last moment and has read
everything before: a driver that forgets one of them gets old data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pynq
from pynq.buffer import PynqBuffer
from pynq.pl_server.remote_device import BS_FPGA_MAN, FIRMWARE, RemoteBitfileHandler

from host.virtual_board.board import Board
from host.virtual_board.memory import OutOfMemoryError


class LocalBuffer(PynqBuffer):
    """pynq's buffer, whose memory goes back to the `Board` and not to the kernel."""

    def freebuffer(self):
        if self.bo is not None and self.base is None:
            self.device.board.memory.free(self.bo)
            self.bo = None


class LocalDevice(pynq.Device):
    """The device of a `Board`.

    Attributes:
        accesses: to registers, so far.
        faked: what registers read instead of what they hold, by address.
    """

    def __init__(self, board: Board) -> None:
        super().__init__("local")
        self.board = board
        self.name, self.arch = "ZCU102", "aarch64"
        self.capabilities = {"REGISTER_RW": True}
        self.accesses = 0
        self.faked: dict[int, int] = {}

    def get_bitfile_metadata(self, bitfile_name, partial=False):
        return RemoteBitfileHandler(bitfile_name).get_parser(partial=partial)

    def read_file(self, path):
        return self.board.files.read(path)

    def download(self, bitstream, parser=None):
        name = Path(bitstream.bitfile_name).stem + ".bin"
        self.board.files.write(f"{FIRMWARE}{name}", parser.bin_data)
        self.board.files.write(BS_FPGA_MAN, name.encode())
        self.post_download(bitstream, parser, self.name)

    def read_registers(self, address, length):
        self.accesses += 1
        value = self.faked.get(address)
        return (self.board.read(address) if value is None else value).to_bytes(length, "little")

    def write_registers(self, address, data):
        self.accesses += 1
        self.board.write(address, int.from_bytes(bytes(data), "little"))

    def allocate(self, shape, dtype, cacheable=0):
        try:
            memory = self.board.memory.allocate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        except OutOfMemoryError as error:
            raise RuntimeError(f"BO allocation failed: {error}") from None
        buffer = LocalBuffer(
            shape, dtype, device=self, device_address=memory.address, bo=memory.name
        )
        buffer[...] = 0xA5  # neither memory nor cache is cleared
        return buffer

    def flush(self, bo, offset, ptr, size):
        self._memory(bo, offset, size)[:] = _bytes(ptr, size)

    def invalidate(self, bo, offset, ptr, size):
        _bytes(ptr, size)[:] = self._memory(bo, offset, size)

    def _memory(self, name, offset, size):
        memory = self.board.memory
        return memory.content(memory.find(name))[offset : offset + size]


def _bytes(address: int, size: int) -> np.ndarray:
    ctypes = np.ctypeslib.ctypes
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
