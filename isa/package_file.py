"""The bytes of a package file: the header, and the sections behind it with their checksums.

What the sections hold is the matter of `isa.sections`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import isa
from isa import rules
from isa.errors import PackageError, raise_first
from isa.sections import CODECS


def join_sections(fields: Mapping[str, Any], sections: Mapping[str, bytes]) -> bytes:
    """The content of a file.

    Args:
        fields: the header's sizes.
        sections: the bytes of every section.

    Raises:
        isa.IsaError: a value does not fit its field.
    """
    header = {**fields, "magic": isa.MAGIC, "reserved": 0}
    header["version_major"], header["version_minor"] = isa.VERSION
    body = bytearray()
    for section in isa.SECTIONS:
        body += bytes(-(isa.HEADER_BYTES + len(body)) % isa.SECTION_ALIGN)
        data = sections[section.name]
        header[f"{section.name}_offset"] = isa.HEADER_BYTES + len(body)
        header[f"{section.name}_bytes"] = len(data)
        header[f"{section.name}_crc"] = zlib.crc32(data)
        body += data
    header["total_bytes"] = isa.HEADER_BYTES + len(body)
    head = isa.HEADER.encode(header).to_bytes(isa.HEADER_BYTES - 4, "little")
    return head + zlib.crc32(head).to_bytes(4, "little") + bytes(body)


def read_header(data: bytes, build: isa.Build | None) -> dict[str, Any]:
    """Check and decode the header."""
    magic = int.from_bytes(data[:4], "little")
    if len(data) < 4 or magic != isa.MAGIC:
        raise PackageError(
            "BAD_MAGIC", f"header field magic: expected 0x{isa.MAGIC:08X}, found 0x{magic:08X}"
        )
    if len(data) < isa.HEADER_BYTES:
        raise PackageError(
            "BAD_CRC", f"truncated header: expected {isa.HEADER_BYTES} bytes, found {len(data)}"
        )
    word = int.from_bytes(data[: isa.HEADER_BYTES - 4], "little")
    major, minor = (
        (word >> f.lsb) & f.maximum
        for f in isa.HEADER.fields
        if f.name in ("version_major", "version_minor")
    )
    if major != isa.VERSION[0] or minor > isa.VERSION[1]:
        raise PackageError(
            "BAD_VERSION",
            f"header field version: found {major}.{minor}, "
            f"expected {isa.VERSION[0]}.{isa.VERSION[1]} or an older minor version",
        )
    stored = int.from_bytes(data[isa.HEADER_BYTES - 4 : isa.HEADER_BYTES], "little")
    found = zlib.crc32(data[: isa.HEADER_BYTES - 4])
    if stored != found:
        raise PackageError(
            "BAD_CRC", f"header field header_crc: expected 0x{stored:08X}, found 0x{found:08X}"
        )
    try:
        header = isa.HEADER.decode(word)
    except isa.IsaError as error:
        raise PackageError("BAD_SECTION", str(error)) from None
    raise_first(rules.header_faults(header, build))
    if header["reserved"]:
        raise PackageError(
            "BAD_SECTION", f"header field reserved: expected 0, found {header['reserved']}"
        )
    if header["total_bytes"] != len(data):
        raise PackageError(
            "BAD_SECTION",
            f"header field total_bytes: expected the file's {len(data)} bytes, "
            f"found {header['total_bytes']}",
        )
    return header


def _phase_faults(data: bytes) -> Iterator[PackageError]:
    """BAD_SHAPE: a phase that executes nothing, or with a reserved bit."""
    size = isa.PHASE.bits // 8
    for index in range(len(data) // size):
        try:
            isa.PHASE.decode(int.from_bytes(data[index * size :][:size], "little"))
        except isa.IsaError as error:
            yield PackageError("BAD_SHAPE", f"phase {index}: {error}")
    _, read = CODECS["phases"]
    yield from rules.phase_faults(read(data))


def read_sections(
    data: bytes, header: Mapping[str, Any], build: isa.Build | None
) -> dict[str, bytes]:
    """Cut the sections out of the file, each with its rules."""
    sections = {}
    end = isa.HEADER_BYTES
    for section in isa.SECTIONS:
        offset, size, crc = (
            header[f"{section.name}_{part}"] for part in ("offset", "bytes", "crc")
        )
        what = f"section {section.name}"
        unit = section.element_bytes
        if section.name == "weights":
            unit *= header["tile_in"] * header["tile_out"]
        if offset % isa.SECTION_ALIGN or offset < end:
            raise PackageError(
                "BAD_SECTION",
                f"{what}, offset: expected a multiple of {isa.SECTION_ALIGN} from {end} upwards, "
                f"found {offset}",
            )
        if offset + size > len(data):
            raise PackageError(
                "BAD_SECTION",
                f"{what}: expected to end within {len(data)} bytes, found {offset + size}",
            )
        if size % unit:
            raise PackageError(
                "BAD_SECTION", f"{what}, size: expected a multiple of {unit}, found {size}"
            )
        if build is not None:
            raise_first(rules.section_size_faults(section.name, size // unit, build))
        if any(data[end:offset]):
            raise PackageError("BAD_SECTION", f"{what}: expected zeros before it, from byte {end}")
        sections[section.name] = data[offset : offset + size]
        found = zlib.crc32(sections[section.name])
        if found != crc:
            raise PackageError("BAD_CRC", f"{what}: expected 0x{crc:08X}, found 0x{found:08X}")
        if section.name in rules.PARAM_SECTIONS:
            _, read = CODECS[section.name]
            raise_first(rules.param_word_faults(section.name, read(sections[section.name])))
        elif section.name == "phases":
            raise_first(_phase_faults(sections["phases"]))
        end = offset + size
    if any(data[end:]):
        raise PackageError(
            "BAD_SECTION", f"expected zeros behind the last section, from byte {end}"
        )
    return sections
