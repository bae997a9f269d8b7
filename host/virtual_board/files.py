"""The files of the board that PYNQ reads and writes. They exist in memory only."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from common.errors import CmambaError

FPGA_MANAGER = "/sys/class/fpga_manager/fpga0"
FIRMWARE = "/lib/firmware"
MAX_FILE_BYTES = 32 << 20  # the .bin of a full bitstream has 26.5 MB on this device
# Of all that clients have written. The oldest files go when there is more.
MAX_FILES = 16
MAX_TOTAL_BYTES = 64 << 20
# Of files beyond the first size, so many are received at once; one more waits so long.
SMALL_FILE_BYTES = 1 << 20
MAX_LARGE_FILES = 2
LARGE_FILE_SECONDS = 2.0
MAX_NAME = 128


class FileRefusedError(CmambaError):
    """A path that may not be written, or too many bytes."""


class TooManyFilesError(CmambaError):
    """Too many large files are on their way at once."""


class Files:
    """Files of the board. May be used by several threads.

    Args:
        board: what /proc/device-tree/chosen/pynq_board says.
        program: called with name and content of a firmware file when a client asks the FPGA manager
            for it, and with whether it is a partial bitstream. What it raises reaches the client.
    """

    def __init__(self, board: str, program: Callable[[str, bytes, bool], None]) -> None:
        self._program = program
        self._lock = threading.Lock()
        self._fixed = {
            "/proc/version": b"Linux version 6.6.10-xilinx (virtual board) aarch64\n",
            "/proc/device-tree/chosen/pynq_board": board.encode() + b"\0",
            f"{FPGA_MANAGER}/state": b"unknown\n",
            f"{FPGA_MANAGER}/flags": b"0\n",
        }
        self._written: dict[str, bytes] = {}
        self._large = threading.Semaphore(MAX_LARGE_FILES)

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        with self._lock:
            return path in self._fixed or path in self._written

    def read(self, path: str) -> bytes:
        """The content of a file. Raises FileNotFoundError."""
        with self._lock:
            for files in (self._fixed, self._written):
                if path in files:
                    return files[path]
        raise FileNotFoundError(f"{path[:MAX_NAME]}: no such file on the board")

    def check_writable(self, path: str) -> None:
        """Raises FileRefusedError for a path that clients may not write."""
        folder, name = posixpath.split(path)
        if path in (f"{FPGA_MANAGER}/flags", f"{FPGA_MANAGER}/firmware"):
            return
        plain = name and not name.startswith(".") and name.isprintable() and len(name) <= MAX_NAME
        if not plain or folder not in (FIRMWARE, "/tmp"):
            raise FileRefusedError(
                f"{path[:MAX_NAME]!r} cannot be written: only {FIRMWARE}/NAME, /tmp/NAME and "
                f"{FPGA_MANAGER}/{{flags,firmware}} can"
            )

    @contextmanager
    def receive_large(self) -> Iterator[None]:
        """While a file of more than `SMALL_FILE_BYTES` is on its way. Raises TooManyFilesError."""
        if not self._large.acquire(timeout=LARGE_FILE_SECONDS):
            raise TooManyFilesError(
                f"{MAX_LARGE_FILES} files of more than {SMALL_FILE_BYTES} bytes are on their way"
            )
        try:
            yield
        finally:
            self._large.release()

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file; that of the FPGA manager programs the PL.

        Raises:
            FileRefusedError: the path may not be written, or the content is too large.
            FileNotFoundError: the firmware to program does not exist.
        """
        self.check_writable(path)
        if len(content) > MAX_FILE_BYTES:
            raise FileRefusedError(f"{path}: more than {MAX_FILE_BYTES} bytes")
        if path == f"{FPGA_MANAGER}/firmware":
            self._load_firmware(content)
            return
        with self._lock:
            if path in self._fixed:
                self._fixed[path] = content[:64]
                return
            self._written.pop(path, None)
            self._written[path] = content
            while len(self._written) > MAX_FILES or self._bytes() > MAX_TOTAL_BYTES:
                del self._written[next(iter(self._written))]

    def _bytes(self) -> int:
        return sum(map(len, self._written.values()))

    def _load_firmware(self, content: bytes) -> None:
        name = content[: MAX_NAME + 1].decode(errors="replace").strip()
        state = f"{FPGA_MANAGER}/state"
        partial = self.read(f"{FPGA_MANAGER}/flags").strip() not in (b"0", b"")
        try:
            self._program(name, self.read(f"{FIRMWARE}/{name}"), partial)
        except Exception:
            self._fixed[state] = b"write error\n"
            raise
        self._fixed[state] = b"operating\n"
