"""The exit statuses of the commands, and which one an error has. README.md lists them.

Imports nothing but the standard library.
"""

from __future__ import annotations

import sys

DONE = 0
FAILED = 1
"""A check or a job has failed."""
WRONG = 2
"""What was asked for is wrong: options, files, a board that is not there."""

_WRONG = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
    ValueError,
)


def status_of(error: BaseException) -> int:
    """`WRONG` where the user has to ask for something else, as the class of the error says; an
    attribute `exit_status` of the class goes before that. Otherwise `FAILED`."""
    return getattr(error, "exit_status", WRONG if isinstance(error, _WRONG) else FAILED)


def one_line(error: BaseException) -> str:
    """What an error says, in one line; its type if it says nothing."""
    lines = (line.strip() for line in str(error).splitlines())
    return "; ".join(line for line in lines if line) or type(error).__name__


def report(command: str, error: BaseException) -> int:
    """Print an error in one line on standard error; its exit status."""
    print(f"{command}: {one_line(error)}", file=sys.stderr)
    return status_of(error)
