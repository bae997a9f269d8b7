"""The error of data."""

from __future__ import annotations

from common.errors import CmambaError


class DataError(CmambaError, ValueError):
    """Input data that cannot be used; the message names file, row and column where there is one."""
