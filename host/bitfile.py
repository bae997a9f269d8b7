"""A bitstream and the .hwh beside it, read and checked before pynq sees them.

pynq takes both as they are: of a damaged file it raises whatever its parsers meet, and it does not
notice that two files do not belong together.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from host.errors import OverlayError

# The device of the ZCU102. Parts are DEVICE-PACKAGE-SPEED.
DEVICE = "xczu9eg"
# Letter of a header field, which ends with a zero byte: name.
_FIELDS = {b"a": "design", b"b": "part", b"c": "date", b"d": "time"}


@dataclass(frozen=True)
class BitHeader:
    """What the header of a .bit says.

    Attributes:
        design: name of the top module.
        part: for example xczu9eg-ffvb1156-2-e.
    """

    design: str
    part: str


def check_bitfile(bitfile: str | Path) -> None:
    """Check a .bit and its .hwh: whole, for the ZCU102, and of the same design.

    Raises:
        OverlayError: they are not.
        OSError: one of them cannot be read.
    """
    bitfile = Path(bitfile)
    if bitfile.suffix != ".bit":
        raise OverlayError(f"{bitfile}: expected a bitstream, NAME.bit")
    header = read_header(bitfile)
    hwh = bitfile.with_suffix(".hwh")
    design, device = read_system(hwh)
    for path, found in ((bitfile, header.part), (hwh, device)):
        if found.partition("-")[0].lower() != DEVICE:
            raise OverlayError(f"{path}: is for the part {found!r}, expected {DEVICE} (ZCU102)")
    # Vivado names the wrapper around a block design after it.
    if header.design != design and not header.design.startswith(f"{design}_"):
        raise OverlayError(
            f"{hwh}: describes the design {design!r}, but {bitfile.name} holds {header.design!r}; "
            "both have to come from one run"
        )


def read_header(path: Path) -> BitHeader:
    """The header of a .bit whose payload is whole.

    Raises:
        OverlayError: it is damaged, or something else.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    if not data:
        raise OverlayError(f"{path}: is empty")
    try:
        return _header(data)
    except (struct.error, UnicodeDecodeError):
        raise OverlayError(
            f"{path}: {len(data)} bytes, of which the header is damaged or cut off"
        ) from None
    except ValueError as error:
        raise OverlayError(f"{path}: {error}") from None


def _header(data: bytes) -> BitHeader:
    """Raises ValueError, or struct.error where `data` ends too early."""
    at = 0

    def number(kind: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(kind, data, at)
        at += struct.calcsize(kind)
        return value

    length = number(">H")
    at += length + 2  # a field of no meaning, and the number 1
    values = dict.fromkeys(_FIELDS.values(), "")
    while (letter := data[at : at + 1]) != b"e":
        at += 1
        if letter not in _FIELDS:
            raise ValueError("is not a bitstream with a header, as Vivado writes NAME.bit")
        length = number(">H")
        values[_FIELDS[letter]] = data[at : at + length].rstrip(b"\0").decode("ascii")
        at += length
    at += 1
    expected, found = number(">I"), len(data) - at
    if found != expected:
        raise ValueError(
            f"holds {found} bytes of configuration, its header says {expected}: not the whole file"
        )
    if not found or found % 4:
        raise ValueError(f"holds {found} bytes of configuration, expected a multiple of 4 above 0")
    return BitHeader(values["design"].partition(";")[0], values["part"])


def read_system(path: Path) -> tuple[str, str]:
    """Name of the design and device of a .hwh.

    Raises:
        OverlayError: it is damaged, or something else.
        OSError: it cannot be read.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise OverlayError(f"{path}: is not a whole XML file: {error}") from None
    system = root.find("SYSTEMINFO")
    if root.tag != "EDKSYSTEM" or system is None:
        raise OverlayError(f"{path}: is not a hardware handoff: no SYSTEMINFO in EDKSYSTEM")
    return system.get("NAME", ""), system.get("DEVICE", "")
