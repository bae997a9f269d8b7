"""What can go wrong between the host and the accelerator. Needs neither NumPy's nor pynq's board.

`AcceleratorError` and its subclasses, one for each error code of docs/instruction_set.md, are what
the hardware says. `BoardError` and its subclasses are what the driver finds around it: the DMA, the
registers, the connection. After any of them the next load or forecast starts from a clean state.
"""

from __future__ import annotations

from common.errors import CmambaError
from common.exit_status import WRONG
from isa.errors import PackageError
from isa.streams import AcceleratorError

__all__ = [
    "ACCELERATOR_ERRORS",
    "AcceleratorError",
    "BadCrcError",
    "BadMagicError",
    "BadModeError",
    "BadOpcodeError",
    "BadOperandError",
    "BadScheduleError",
    "BadSectionError",
    "BadShapeError",
    "BadTileError",
    "BadVersionError",
    "BoardAddressError",
    "BoardConnectionError",
    "BoardError",
    "BoardInUseError",
    "BoardTimeoutError",
    "BusError",
    "DmaError",
    "HardwareTimeoutError",
    "NotLoadedError",
    "OtherBuildError",
    "OtherProgramError",
    "OverlayError",
    "RegisterError",
    "TlastEarlyError",
    "TlastLateError",
    "accelerator_error",
]


class BadModeError(AcceleratorError):
    """BAD_MODE: an unknown mode, or no forecasts asked for."""


class NotLoadedError(AcceleratorError):
    """NOT_LOADED: a run without a loaded package."""


class BadMagicError(AcceleratorError):
    """BAD_MAGIC: the package does not begin with the magic number."""


class BadVersionError(AcceleratorError):
    """BAD_VERSION: a package of another major version, or of a newer minor one."""


class BadCrcError(AcceleratorError):
    """BAD_CRC: a checksum of the package differs."""


class BadSectionError(AcceleratorError):
    """BAD_SECTION: a section is misaligned, out of the package, or larger than its memory."""


class BadTileError(AcceleratorError):
    """BAD_TILE: the package was compiled for another array."""


class BadOpcodeError(AcceleratorError):
    """BAD_OPCODE: an unknown instruction."""


class BadOperandError(AcceleratorError):
    """BAD_OPERAND: an instruction uses a memory that it may not use, or leaves it."""


class BadShapeError(AcceleratorError):
    """BAD_SHAPE: a size, shift, bias, table index or address out of its range."""


class BadScheduleError(AcceleratorError):
    """BAD_SCHEDULE: a schedule entry that names what does not exist, or a wrong count."""


class TlastEarlyError(AcceleratorError):
    """TLAST_EARLY: the input ended before the last token, as when the DMA loses a beat."""


class TlastLateError(AcceleratorError):
    """TLAST_LATE: the input did not end with the last token."""


class HardwareTimeoutError(AcceleratorError):
    """TIMEOUT: the accelerator's watchdog ended the run, or a load whose memory did not answer."""


class BusError(AcceleratorError):
    """BUS_ERROR: the memory answered a read of the package with an error."""


ACCELERATOR_ERRORS: dict[str, type[AcceleratorError]] = {
    "BAD_MODE": BadModeError,
    "NOT_LOADED": NotLoadedError,
    "BAD_MAGIC": BadMagicError,
    "BAD_VERSION": BadVersionError,
    "BAD_CRC": BadCrcError,
    "BAD_SECTION": BadSectionError,
    "BAD_TILE": BadTileError,
    "BAD_OPCODE": BadOpcodeError,
    "BAD_OPERAND": BadOperandError,
    "BAD_SHAPE": BadShapeError,
    "BAD_SCHEDULE": BadScheduleError,
    "TLAST_EARLY": TlastEarlyError,
    "TLAST_LATE": TlastLateError,
    "TIMEOUT": HardwareTimeoutError,
    "BUS_ERROR": BusError,
}
"""The class of each error code, by its name in `isa.ERRORS`."""


def accelerator_error(code: int, what: str) -> AcceleratorError:
    """The exception for an error code; an `AcceleratorError` itself for a code without a name."""
    error = AcceleratorError(code, what)
    kind = ACCELERATOR_ERRORS.get(error.code_name)
    return kind(code, what) if kind else error


class OtherBuildError(PackageError):
    """The package is right, but for another build of the accelerator than the board's.

    Attributes:
        build: name of the build that holds it.
    """

    def __init__(self, error: PackageError, build: str) -> None:
        super().__init__(
            error.code_name,
            f"{error.detail}; build '{build}' holds the package: load its bitstream (`make "
            f"bitstream BUILD={build}`), or serve a virtual board with it (`make board "
            f"BUILD={build}`)",
        )
        self.build = build


class BoardError(CmambaError, RuntimeError):
    """Something around the accelerator does not work."""


class BoardTimeoutError(BoardError):
    """Nothing has moved for the driver's timeout."""


class BoardConnectionError(BoardError):
    """The board is not there, or the connection to it was lost."""

    exit_status = WRONG


class BoardAddressError(BoardConnectionError, ValueError):
    """What should name a board is not an address."""


class BoardInUseError(BoardError):
    """Another program holds the board's lock file."""

    exit_status = WRONG


class OtherProgramError(BoardError):
    """Another program has programmed the board, or loaded a package in place of this one's."""


class OverlayError(BoardError):
    """The bitstream or its .hwh is damaged, or not one that this driver can drive."""

    exit_status = WRONG


class RegisterError(BoardError):
    """A register holds what no accelerator of this kind can hold.

    Attributes:
        register: its name.
        found: its value.
    """

    def __init__(self, register: str, found: int, expected: str) -> None:
        self.register = register
        self.found = found
        super().__init__(f"register {register}: found {found} (0x{found:X}), expected {expected}")


class DmaError(BoardError):
    """The AXI DMA ended a transfer with an error, or moved another number of bytes.

    Attributes:
        channel: MM2S (to the accelerator) or S2MM (from it).
        bits: names of the error bits in its status register, empty where only the length is wrong.
    """

    def __init__(self, channel: str, bits: tuple[str, ...], what: str) -> None:
        self.channel = channel
        self.bits = bits
        super().__init__(f"DMA {channel}: {what}")
