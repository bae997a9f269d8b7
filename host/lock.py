"""One program at a time on the board that it runs on: a lock file, as XRT has for its devices.

The kernel gives the lock back when a program ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from host.errors import BoardInUseError

LOCK_FILE = Path("/run/lock/cmamba.lock")


# Of this program: file descriptor and how many hold it, by path.
_held: dict[Path, tuple[int, int]] = {}
_guard = threading.RLock()  # the garbage collector may release one while another is made


class BoardLock:
    """Held from its creation on. It keeps other programs out; this one may have several.

    Args:
        path: the lock file, which stays there, with the process that held it last.

    Raises:
        BoardInUseError: another program holds it.
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path = LOCK_FILE) -> None:
        self._path: Path | None = None
        with _guard:
            file, holders = _held.get(path) or (_lock(path), 0)
            _held[path] = file, holders + 1
        self._path = path

    def release(self) -> None:
        """Give it back. Twice is fine."""
        path, self._path = self._path, None
        if path is None:
            return
        with _guard:
            file, holders = _held.pop(path)
            if holders > 1:
                _held[path] = file, holders - 1
            else:
                os.close(file)

    def __del__(self) -> None:
        self.release()


def _lock(path: Path) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(file, 200).decode(errors="replace").strip()
        os.close(file)
        raise BoardInUseError(
            f"the board is in use by {holder or 'another program'} ({path}): end it, or close its "
            "Accelerator"
        ) from None
    os.ftruncate(file, 0)
    os.write(file, f"process {os.getpid()}: {_command()}\n".encode())
    return file


def _command() -> str:
    words = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    return " ".join(word.decode(errors="replace") for word in words if word)[:120]
