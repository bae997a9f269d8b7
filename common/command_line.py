"""How every command ends: errors in one line, an exit status, and nothing half written.

    if __name__ == "__main__":
        from common import command_line

        command_line.begin()
    ...  # imports that take long

    @command_line.command()
    def main(argv: list[str] | None = None) -> int:

Exit statuses are those of `exit_status`, and 130 for Ctrl-C, 143 for SIGTERM, 141 where the reader
of a pipe has gone. Imports nothing but the standard library.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from common import exit_status
from common.errors import REPORTED

Main = Callable[..., int]

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
_NO_READER = 128 + signal.SIGPIPE

_OF_WRITING = (errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPIPE)


def begin() -> None:
    """Lets Ctrl-C end the process in one line, until `main` starts.

    Called before the imports that take long. An exception would not do: some extension modules turn
    it into an error of their own.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _quit)


def command() -> Callable[[Main], Main]:
    """Decorates the `main` of a command: what it raises becomes one line and the exit status.

    Those errors that a user can do something about (`common.errors.REPORTED`). Others are defects
    and keep their traceback.
    """

    def decorate(main: Main) -> Main:
        @functools.wraps(main)
        def run(*args: Any, **kwargs: Any) -> int:
            begun = signal.getsignal(signal.SIGINT) is _quit
            if begun:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                # torchrun ends processes that may wait for each other where no handler can run.
                if "TORCHELASTIC_RUN_ID" not in os.environ:
                    signal.signal(signal.SIGTERM, _terminate)
            try:
                status = main(*args, **kwargs)
                sys.stdout.flush()
                return status
            except KeyboardInterrupt:
                print("interrupted", file=sys.stderr)
                return INTERRUPTED
            except REPORTED as error:
                return _failed(error)
            finally:
                if begun:
                    signal.signal(signal.SIGINT, _quit)

        return run

    return decorate


def require_distinct(
    outputs: Iterable[Path], inputs: Mapping[str, Path | Iterable[Path] | None]
) -> None:
    """Raises ValueError where a file to write is, by any name, one that is read.

    Args:
        outputs: the files to write.
        inputs: the files that are read, by the option that names them.
    """
    for output in outputs:
        if not output.is_file():  # nothing there to lose
            continue
        for option, files in inputs.items():
            for file in [files] if isinstance(files, Path) else files or ():
                if file.exists() and output.samefile(file):
                    raise ValueError(
                        f"{output}: would be overwritten, and is the file of {option}; give "
                        "another name to write to"
                    )


def _failed(error: Exception) -> int:
    # Files have names in their errors (`atomic_write.naming`); what print writes to has none.
    if isinstance(error, OSError) and error.filename is None and error.errno in _OF_WRITING:
        _drop_stdout()
        if error.errno == errno.EPIPE:
            return _NO_READER
        error.filename = "standard output"
    return exit_status.report("error", error)


def _drop_stdout() -> None:
    """Else Python tries again to write what is left when it ends."""
    with open(os.devnull, "wb") as nowhere, suppress(OSError):
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _quit(*_: object) -> NoReturn:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def _terminate(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is left is tidying
    print("terminated", file=sys.stderr)
    raise SystemExit(TERMINATED)
