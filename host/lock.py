"""One program at a time on the board that it runs on: a lock file, as XRT has for its devices.

The kernel gives the lock back when a program ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from host.errors import BoardInUseError

LOCK_FILE = Path("/run/lock/cmamba.lock")


class BoardLock:
    """Held from its creation on.

    Args:
        path: the lock file, which stays there, with the process that held it last.

    Raises:
        BoardInUseError: another program holds it, or this one already does.
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path = LOCK_FILE) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._file, 200).decode(errors="replace").strip()
            os.close(self._file)
            raise BoardInUseError(
                f"the board is in use by {holder or 'another program'} ({path}): end it, or close "
                "its Accelerator"
            ) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, f"process {os.getpid()}: {_command()}\n".encode())

    def release(self) -> None:
        """Give it back. Twice is fine."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            self.release()


def _command() -> str:
    words = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    return " ".join(word.decode(errors="replace") for word in words if word)[:120]
