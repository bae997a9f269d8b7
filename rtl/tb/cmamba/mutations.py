"""Packages that are wrong in one place, and the error code that hardware owes each of them."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

import isa
from isa.errors import PackageError
from isa.package import Package
from isa.streams import BEAT_BYTES

_HEADER = {f.name: f for f in isa.HEADER.fields}
_NAMES = [section.name for section in isa.SECTIONS]
# What a program computes with, and what it does not hang on.
PROGRAM_SECTIONS = ("instructions", "phases", "schedule")
DATA_SECTIONS = tuple(n for n in _NAMES if n not in (*PROGRAM_SECTIONS, "metadata"))


def get(data: bytes, name: str) -> int:
    """A field of the header."""
    field = _HEADER[name]
    return int.from_bytes(data[: isa.HEADER_BYTES], "little") >> field.lsb & field.maximum


def put(data: bytearray, name: str, value: int) -> None:
    """Give a field of the header a value, without its checksum."""
    field = _HEADER[name]
    at, size = field.lsb // 8, field.bits // 8
    data[at : at + size] = value.to_bytes(size, "little")


def span(data: bytes, section: str) -> tuple[int, int]:
    """(first byte, end) of a section."""
    start = get(data, f"{section}_offset")
    return start, start + get(data, f"{section}_bytes")


def seal(data: bytearray) -> bytes:
    """The package with a header checksum that is right."""
    end = isa.HEADER_BYTES - 4
    data[end : isa.HEADER_BYTES] = zlib.crc32(data[:end]).to_bytes(4, "little")
    return bytes(data)


def with_checksums(data: bytes) -> bytes:
    """The package with all checksums right, as far as its sections lie in it."""
    data = bytearray(data)
    for name in _NAMES:
        start, end = span(data, name)
        if end <= len(data):
            put(data, f"{name}_crc", zlib.crc32(data[start:end]))
    return seal(data)


def expected_code(data: bytes, build: isa.Build) -> int:
    """The error code of a loader that sees memory, not a file (docs/package.md).

    The integer model's reader also refuses what hardware does not look at: padding, which it is
    told to take as it is, and what only a file can have wrong, which is put right first.
    """
    data = bytearray(data.ljust(-(-len(data) // BEAT_BYTES) * BEAT_BYTES, b"\0"))
    end = isa.HEADER_BYTES - 4
    stored = int.from_bytes(data[end : isa.HEADER_BYTES], "little")
    if len(data) >= isa.HEADER_BYTES and zlib.crc32(data[:end]) == stored:
        data = _as_a_file(data)
    try:
        Package.from_bytes(bytes(data), build=build, any_padding=True)
    except PackageError as error:
        return error.code
    return isa.ERRORS["OK"]


def _as_a_file(data: bytearray) -> bytearray:
    total = get(data, "total_bytes")
    used = max(f.lsb + f.bits for f in isa.HEADER.fields if f.name != "header_crc") // 8
    data[used : isa.HEADER_BYTES - 4] = bytes(isa.HEADER_BYTES - 4 - used)
    put(data, "reserved", 0)
    if isa.HEADER_BYTES <= total <= len(data):
        del data[total:]
    end = isa.HEADER_BYTES
    for name in _NAMES:
        start, stop = span(data, name)
        if start < end or stop > len(data):
            break
        data[end:start] = bytes(start - end)
        end = stop
    else:
        data[end:] = bytes(len(data) - end)
        start, stop = span(data, "metadata")
        if zlib.crc32(data[start:stop]) == get(data, "metadata_crc"):
            text = b"{}".ljust(stop - start) if stop - start >= 2 else b""
            data[start:stop] = text.ljust(stop - start, b"\0")
            put(data, "metadata_bytes", len(text))
            put(data, "metadata_crc", zlib.crc32(text))
    return bytearray(seal(data))


# ----------------------------------------------------------------------------- mutations


def _replace(data: bytearray, at: int, size: int, lsb: int, bits: int, r: random.Random) -> None:
    """Give a field of the word at a byte another value, often one at the edge of something."""
    word = int.from_bytes(data[at : at + size], "little")
    top = (1 << bits) - 1
    old = word >> lsb & top
    edges = {0, 1, top, 1 << (bits - 1), old ^ 1} | {
        v for v in (old - 1, old + 1, 2 * old) if 0 <= v <= top
    }
    value = r.choice(sorted(edges)) if r.random() < 0.7 else r.randint(0, top)
    word += (value - old) << lsb
    data[at : at + size] = word.to_bytes(size, "little")


def instruction_field(data: bytes, r: random.Random) -> bytes:
    """Any value of any field of any instruction."""
    raw = bytearray(data)
    start, end = span(raw, "instructions")
    size = isa.INSTRUCTION_BITS // 8
    at = r.randrange(start, end, size)
    opcode = isa.Instruction.decode(bytes(raw[at : at + size])).opcode
    field = r.choice(isa.OPCODES[opcode].format.fields)
    lsb, bits = field.lsb, field.bits
    if field.operand:
        part = r.choice(isa.OPERAND.fields)
        lsb, bits = lsb + part.lsb, part.bits
    _replace(raw, at, size, lsb, bits, r)
    return with_checksums(raw)


def reserved_bit(data: bytes, r: random.Random) -> bytes:
    """A bit of an instruction, most likely a reserved one."""
    raw = bytearray(data)
    start, end = span(raw, "instructions")
    bit = r.randrange(8 * start, 8 * end)
    raw[bit // 8] ^= 1 << bit % 8
    return with_checksums(raw)


def phase_field(data: bytes, r: random.Random) -> bytes:
    """Any value of any field of a phase."""
    return _field_of(data, "phases", isa.PHASE, r)


def schedule_field(data: bytes, r: random.Random) -> bytes:
    """Any value of any field of an entry."""
    return _field_of(data, "schedule", isa.SCHEDULE, r)


def _field_of(data: bytes, section: str, form: isa.Format, r: random.Random) -> bytes:
    raw = bytearray(data)
    start, end = span(raw, section)
    size = form.bits // 8
    field = r.choice(form.fields)
    lsb = field.lsb + field.bits * r.randrange(field.count)
    _replace(raw, r.randrange(start, end, size), size, lsb, field.bits, r)
    return with_checksums(raw)


def bits_of_data(data: bytes, r: random.Random) -> bytes:
    """A few bits of what the program computes with: parameters beyond their range are refused."""
    raw = bytearray(data)
    start, end = span(raw, r.choice([n for n in DATA_SECTIONS if get(raw, f"{n}_bytes")]))
    for _ in range(r.randint(1, 3)):
        bit = r.randrange(8 * start, 8 * end)
        raw[bit // 8] ^= 1 << bit % 8
    return with_checksums(raw)


def header_field(data: bytes, r: random.Random) -> bytes:
    """Another value of a header field: sizes, places and sizes of sections, version, tile."""
    raw = bytearray(data)
    field = r.choice([f for f in isa.HEADER.fields if not f.name.endswith("crc")])
    _replace(raw, field.lsb // 8, field.bits // 8, 0, field.bits, r)
    return with_checksums(raw)


def header_bytes(data: bytes, r: random.Random) -> bytes:
    """Bytes of the header replaced, also those that have to be zero in a file."""
    raw = bytearray(data)
    for _ in range(r.randint(1, 2)):
        raw[r.randrange(isa.HEADER_BYTES - 4)] = r.choice([0, 1, 16, 64, 255])
    return with_checksums(raw)


def wrong_checksum(data: bytes, r: random.Random) -> bytes:
    """A flipped bit of the header or a section that nobody has made right again."""
    raw = bytearray(data)
    name = r.choice([None, *(n for n in _NAMES if get(raw, f"{n}_bytes"))])
    start, end = (0, isa.HEADER_BYTES) if name is None else span(raw, name)
    bit = r.randrange(8 * start, 8 * end)
    raw[bit // 8] ^= 1 << bit % 8
    return bytes(raw)


def truncated(data: bytes, r: random.Random) -> bytes:
    """The beginning of a package."""
    return data[: r.choice([0, 4, 255, 256, len(data) - 1, r.randrange(len(data))])]


def noise(data: bytes, r: random.Random) -> bytes:
    """Random bytes, alone or behind the beginning of a right header."""
    raw = data[: r.choice([0, 4, 40])] + r.randbytes(r.randint(0, 600))
    return with_checksums(raw) if len(raw) >= isa.HEADER_BYTES and r.random() < 0.5 else raw


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    instruction_field,
    reserved_bit,
    phase_field,
    schedule_field,
    bits_of_data,
    header_field,
    header_bytes,
    wrong_checksum,
    truncated,
    noise,
)
