"""Memory that the host shares with the DMA and the accelerator.

A buffer has the bytes of one transfer, and hardly more: over a network pynq always moves whole
buffers. They are kept for the next transfer of their size, for allocating one costs as much as a
forecast.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from host.errors import BoardError

# XRT 2.17 (PYNQ 3.1) gives what has 4 KiB or less an address of 64 bits, such as the DDR of the
# ZCU102 above 4 GiB has, which no master of the design reaches.
_MIN_ALLOCATION = 8192


class Buffer:
    """Physically contiguous bytes.

    Caches are kept right by hand, whether or not the memory is cached on this board: `flush` after
    the host has written, `invalidate` before it reads. What the device writes, the host only reads,
    so that no dirty cache line can be written back over it.

    Attributes:
        array: uint8 [nbytes]; on the board the memory itself, over a network a local copy.
        address: physical address.
    """

    def __init__(self, device: Any, nbytes: int) -> None:
        try:
            allocated = max(nbytes, _MIN_ALLOCATION)
            self._memory = device.allocate((allocated,), np.uint8, cacheable=1)
            self.address = int(self._memory.physical_address)
        except RuntimeError as error:
            raise BoardError(f"cannot allocate {nbytes} bytes on the board: {error}") from error
        # pynq's remote client reads whole buffers only.
        self._read = self._memory if device.has_capability("REMOTE") else self._memory[:nbytes]
        self._written = self._memory[:nbytes]
        self.array: np.ndarray = np.asarray(self._written)
        self.nbytes = nbytes

    def flush(self) -> None:
        """Let the device see what the host has written."""
        self._written.flush()

    def invalidate(self) -> None:
        """Let the host see what the device has written.

        Raises:
            BoardError: the board gives another number of bytes.
        """
        try:
            self._read.invalidate()
        except ValueError as error:
            raise BoardError(f"reading a buffer of {self.nbytes} bytes: {error}") from error

    def free(self) -> None:
        """Give the memory back; `array` is gone."""
        del self.array, self._read, self._written
        self._memory.freebuffer()


class BufferPool:
    """Buffers by size, kept when they are released.

    Args:
        device: pynq device.
        address_bits: of the masters that use the buffers.
        keep: released buffers that are kept at most.
    """

    def __init__(self, device: Any, address_bits: int, keep: int = 8) -> None:
        self._device = device
        self._address_bits = address_bits
        self._keep = keep
        self._free: OrderedDict[int, Buffer] = OrderedDict()  # by address, the latest last
        self._used: dict[int, Buffer] = {}

    def acquire(self, nbytes: int) -> Buffer:
        """A buffer of this size. Nothing may be using released buffers.

        Raises:
            BoardError: there is no memory.
        """
        for address in reversed(self._free):
            if self._free[address].nbytes == nbytes:
                buffer = self._free.pop(address)
                break
        else:
            try:
                buffer = self._allocate(nbytes)
            except BoardError:
                if not self._free:
                    raise
                self._trim(0)
                buffer = self._allocate(nbytes)
        self._used[buffer.address] = buffer
        self._trim(self._keep)
        return buffer

    def _allocate(self, nbytes: int) -> Buffer:
        buffer = Buffer(self._device, nbytes)
        if (
            buffer.address % 16
            or not buffer.address
            or (buffer.address + nbytes) >> self._address_bits
        ):
            address = buffer.address
            buffer.free()
            raise BoardError(
                f"buffer of {nbytes} bytes: found address 0x{address:X}, expected a multiple of 16 "
                f"above 0, within {self._address_bits} bits"
            )
        return buffer

    def _trim(self, keep: int) -> None:
        """Free what has not been used for longest."""
        while len(self._free) > keep:
            self._free.popitem(last=False)[1].free()

    def release(self, buffer: Buffer) -> None:
        """The buffer may be used for something else."""
        self._free[buffer.address] = self._used.pop(buffer.address)

    def close(self) -> None:
        """Free all, also what has not been released."""
        for buffers in (self._free, self._used):
            while buffers:
                buffers.popitem()[1].free()
