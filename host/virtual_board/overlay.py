"""The overlay that the virtual board can be programmed with: cmamba.bit and cmamba.hwh.

The .bit has the header of an ordinary bitstream. Its payload does not configure anything: it names
the .hwh beside it, so that the board knows its own design when it sees it, and so that another
design gives another .bit (pynq caches what it has parsed of a .hwh under the content of the .bit).
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np

from bitstream_scripts.design import DESIGN
from bitstream_scripts.hwh import hwh_of
from common.atomic_write import atomic_write
from common.errors import CmambaError

MAGIC = b"cmamba virtual board 1\n"
_FIRST_FIELD = bytes.fromhex("0ff00ff00ff00ff000")


class NotOurOverlayError(CmambaError, ValueError):
    """A bitstream that is not the virtual board's."""


def payload(core: str = "rtl") -> bytes:
    """The payload of the .bit, a multiple of 4 bytes."""
    text = MAGIC + hashlib.sha256(hwh_of(DESIGN, core).encode()).hexdigest().encode() + b"\n"
    return text + b"\0" * (-len(text) % 4)


def _field(letter: str, text: str) -> bytes:
    data = text.encode() + b"\0"
    return letter.encode() + struct.pack(">H", len(data)) + data


def bitstream(core: str = "rtl") -> bytes:
    """Content of the .bit: header fields a (design), b (part), c, d (date, time), e (payload)."""
    content = payload(core)
    header = struct.pack(">H", len(_FIRST_FIELD)) + _FIRST_FIELD + struct.pack(">H", 1)
    header += _field(
        "a", f"{DESIGN.board.block_design}_wrapper;UserID=0XFFFFFFFF;Version={DESIGN.board.vivado}"
    )
    header += _field("b", DESIGN.board.part)
    # The same design gives the same file, whenever it is written.
    header += _field("c", "1970/01/01") + _field("d", "00:00:00")
    return header + b"e" + struct.pack(">I", len(content)) + content


def write_overlay(folder: Path | str, core: str = "rtl") -> Path:
    """Write cmamba.bit and cmamba.hwh of a board with this core; the path of the .bit, for
    `pynq.Overlay`.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    hwh = hwh_of(DESIGN, core).encode()
    for name, content in (("cmamba.hwh", hwh), ("cmamba.bit", bitstream(core))):
        with atomic_write(folder / name) as file:
            file.write(content)
    return folder / "cmamba.bit"


def check_firmware(content: bytes, core: str = "rtl") -> None:
    """Accept what pynq makes of our .bit: the payload, each word with its bytes reversed.

    Raises:
        NotOurOverlayError: it is another bitstream, or that of another design.
    """
    expected = payload(core)
    if len(content) == len(expected):
        found = np.frombuffer(content, "<u4").byteswap().tobytes()
        if found == expected:
            return
        if found.startswith(MAGIC):
            raise NotOurOverlayError(
                "this overlay was written for another version of the design, or another core; "
                f"python -m host.virtual_board --core {core} --write-overlay writes the present one"
            )
    raise NotOurOverlayError(
        f"a bitstream of {len(content)} bytes that is not the virtual board's, which cannot run "
        f"it; python -m host.virtual_board --write-overlay writes one that it can"
    )
