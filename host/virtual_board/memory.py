"""The DDR of the board that clients can allocate: contiguous buffers, as of Linux's CMA."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from common.errors import CmambaError

PAGE = 4096
HIGH_BASE = 0x8_0000_0000
"""Where the DDR of a Zynq UltraScale+ goes on above its low 2 GiB (UG1085, "System Addresses")."""


class OutOfMemoryError(CmambaError):
    """An allocation that the memory has no room for."""


class DecodeError(CmambaError):
    """An address at which there is no memory."""


@dataclass(frozen=True)
class Buffer:
    """Contiguous memory.

    Attributes:
        name: a token that nobody can guess: whoever names the buffer has been told.
        address: of its first byte.
        size: in bytes.
        owner: who asked for it.
    """

    name: str
    address: int
    size: int
    owner: Hashable


class Memory:
    """Memory and the buffers in it. May be used by several threads.

    Args:
        base: address of the first byte.
        data: uint8 [size], the memory itself.
        max_buffers: how many buffers there may be at once.
        high_addresses: what has a page or less lies from `HIGH_BASE` on, as XRT 2.17 has it. No
            master reaches it there.
    """

    def __init__(
        self,
        base: int,
        data: np.ndarray,
        max_buffers: int = 1024,
        *,
        high_addresses: bool = False,
    ) -> None:
        self.base = base
        self._data = data
        self._high = np.zeros(max_buffers * PAGE if high_addresses else 0, np.uint8)
        self._max_buffers = max_buffers
        self._lock = threading.Lock()
        self._buffers: dict[str, Buffer] = {}

    @property
    def size(self) -> int:
        return len(self._data)

    def at(self, address: int, size: int) -> np.ndarray:
        """The bytes from an address on as masters see them, uint8 [size], not copied. Raises
        DecodeError."""
        offset = address - self.base
        if offset < 0 or offset + size > len(self._data):
            raise DecodeError(f"there is no memory at {address:#x}, or not {size} bytes")
        return self._data[offset : offset + size]

    # ---- buffers ----

    def content(self, buffer: Buffer) -> np.ndarray:
        """What the processor sees of a buffer, uint8 [size], not copied."""
        if buffer.address < HIGH_BASE:
            return self.at(buffer.address, buffer.size)
        start = buffer.address - HIGH_BASE
        return self._high[start : start + buffer.size]

    def allocate(self, size: int, owner: Hashable = None) -> Buffer:
        """A new buffer, whose content is what was there before. Raises OutOfMemoryError."""
        if size <= 0:
            raise OutOfMemoryError(f"a buffer has at least 1 byte, asked for {size}")
        with self._lock:
            if len(self._buffers) >= self._max_buffers:
                raise OutOfMemoryError(f"all {self._max_buffers} buffers are in use")
            high = size <= PAGE and len(self._high)
            region = (HIGH_BASE, len(self._high)) if high else (self.base, self.size)
            start = self._gap(size, *region)
            if start is None:
                used = sum(b.size for b in self._buffers.values())
                raise OutOfMemoryError(
                    f"no {size} contiguous bytes: {used} of {self.size} bytes are in use, "
                    f"by {len(self._buffers)} buffers"
                )
            buffer = Buffer(secrets.token_hex(16), start, size, owner)
            self._buffers[buffer.name] = buffer
            return buffer

    def _gap(self, size: int, base: int, nbytes: int) -> int | None:
        """First address of a region, a multiple of PAGE, from which on `size` bytes are free."""
        start, end = base, base + nbytes
        inside = (b for b in self._buffers.values() if base <= b.address < end)
        for buffer in sorted(inside, key=lambda b: b.address):
            if buffer.address - start >= size:
                return start
            start = -(-(buffer.address + buffer.size) // PAGE) * PAGE
        return start if end - start >= size else None

    def find(self, name: str) -> Buffer:
        """The buffer of this name. Raises KeyError."""
        with self._lock:
            return self._buffers[name]

    def free(self, name: str) -> None:
        """Give a buffer back; one that is gone already is not an error."""
        with self._lock:
            self._buffers.pop(name, None)

    def owners(self) -> set[Hashable]:
        """Those who have buffers."""
        with self._lock:
            return {buffer.owner for buffer in self._buffers.values()}

    def free_all(self, owner: Hashable) -> int:
        """Give back what somebody has; how many buffers."""
        with self._lock:
            names = [b.name for b in self._buffers.values() if b.owner == owner]
            for name in names:
                del self._buffers[name]
            return len(names)

    @property
    def buffers(self) -> int:
        """How many buffers there are."""
        return len(self._buffers)

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Write into a buffer. Raises KeyError if it is gone, ValueError if it is too small."""
        with self._lock:
            buffer = self._buffers[name]
            if offset + len(data) > buffer.size:
                raise ValueError(
                    f"{offset + len(data)} bytes written to a buffer of {buffer.size} bytes"
                )
            self.content(buffer)[offset : offset + len(data)] = np.frombuffer(data, np.uint8)

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Up to `size` bytes of a buffer. Raises KeyError if it is gone."""
        with self._lock:
            buffer = self._buffers[name]
            return self.content(buffer)[offset : offset + size].tobytes()
