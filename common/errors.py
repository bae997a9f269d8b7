"""The base of the project's errors, and what a command says in one line.

Imports nothing but the standard library.
"""

from __future__ import annotations


class CmambaError(Exception):
    """What a user is told: its message says what was wrong, where, and what to do.

    A second base says of which kind a class is: ValueError where something else has to be asked
    for, RuntimeError where something has failed (`common.exit_status`). Defects of the project's
    own code do not derive from it, and keep their traceback.
    """


REPORTED = (CmambaError, ImportError, MemoryError, OSError, ValueError)
"""What a command reports without a traceback: a user can do something about it."""
