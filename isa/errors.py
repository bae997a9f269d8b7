"""The error of a package or program that breaks the contract."""

from collections.abc import Iterable

import isa
from common.errors import CmambaError


class PackageError(CmambaError, ValueError):
    """A package that is damaged, or a program that breaks a rule of ``docs/instruction_set.md``.

    Attributes:
        code_name: name of the error in `isa.ERRORS`, the same in every implementation.
        code: its number.
        detail: the message without the name.
    """

    def __init__(self, code_name: str, detail: str) -> None:
        super().__init__(f"{code_name}: {detail}")
        self.code_name = code_name
        self.code = isa.ERRORS[code_name]
        self.detail = detail


def raise_first(faults: Iterable[PackageError]) -> None:
    """Raises the first fault, if there is one; what comes behind it is not looked for."""
    for fault in faults:
        raise fault
