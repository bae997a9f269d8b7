"""The package: one binary file with everything that a run needs (``docs/package.md``).

`Package` holds its sections as arrays. `Package.to_bytes` and `Package.from_bytes` convert to and
from the file, byte for byte; `Package.validate` applies the rules of ``docs/instruction_set.md``.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from golden import isa, rules
from golden.errors import PackageError
from model.atomic_write import atomic_write

__all__ = [
    "CONV_PARAM_DTYPE",
    "PARAM_DTYPE",
    "SCHEDULE_DTYPE",
    "Package",
    "PackageError",
    "pack_words",
    "unpack_words",
]


def _dtype(fmt: isa.Format) -> np.dtype:
    """One int32 (or a row of them) for each field of a word."""
    return np.dtype(
        [(f.name, "<i4", (f.count,)) if f.count > 1 else (f.name, "<i4") for f in fmt.fields]
    )


PARAM_DTYPE = _dtype(isa.PARAM)
SCHEDULE_DTYPE = _dtype(isa.SCHEDULE)
MAX_TAPS = isa.LIMITS["taps"]
CONV_PARAM_DTYPE = np.dtype([*PARAM_DTYPE.descr, ("taps", "i1", (MAX_TAPS,))])


def pack_words(fmt: isa.Format, values: np.ndarray) -> np.ndarray:
    """Pack a structured array, field by field, into words.

    Args:
        fmt: format of a word, a multiple of 64 bits long.
        values: structured array [n] that has at least the fields of ``fmt``.

    Returns:
        uint64 [n, fmt.bits / 64], the least significant 64 bits first.

    Raises:
        isa.IsaError: a value does not fit its field.
    """
    words = np.zeros((len(values), fmt.bits // 64), np.uint64)
    for f in fmt.fields:
        items = values[f.name].astype(np.int64).reshape(len(values), f.count)
        bad = np.argwhere((items < f.minimum) | (items > f.maximum))
        if len(bad):
            row, i = bad[0]
            raise isa.IsaError(
                f"{fmt.name} {row}, field {f.name}: found {items[row, i]}, "
                f"expected {f.minimum} to {f.maximum}"
            )
        raw = items.astype(np.uint64) & np.uint64((1 << f.bits) - 1)
        for i in range(f.count):
            word, bit = divmod(f.lsb + i * f.bits, 64)
            words[:, word] |= raw[:, i] << np.uint64(bit)
            if bit + f.bits > 64:
                words[:, word + 1] |= raw[:, i] >> np.uint64(64 - bit)
    return words


def unpack_words(fmt: isa.Format, words: np.ndarray) -> np.ndarray:
    """The inverse of `pack_words`: uint64 [n, fmt.bits / 64] to a structured array [n]."""
    values = np.zeros(len(words), _dtype(fmt))
    for f in fmt.fields:
        items = values[f.name].reshape(len(words), f.count)
        for i in range(f.count):
            word, bit = divmod(f.lsb + i * f.bits, 64)
            raw = words[:, word] >> np.uint64(bit)
            if bit + f.bits > 64:
                raw = raw | words[:, word + 1] << np.uint64(64 - bit)
            raw = (raw & np.uint64((1 << f.bits) - 1)).astype(np.int64)
            items[:, i] = raw - ((raw >> (f.bits - 1)) << f.bits if f.signed else 0)
    return values


def _words(fmt: isa.Format, data: bytes) -> np.ndarray:
    return np.frombuffer(data, "<u8").reshape(-1, fmt.bits // 64)


def _conv_bytes(params: np.ndarray) -> bytes:
    record = np.zeros(len(params), [("word", "<u8"), ("taps", "i1", (MAX_TAPS,))])
    record["word"] = pack_words(isa.PARAM, params)[:, 0]
    record["taps"] = params["taps"]
    return record.tobytes()


def _conv_params(data: bytes) -> np.ndarray:
    record = np.frombuffer(data, [("word", "<u8"), ("taps", "i1", (MAX_TAPS,))])
    word = unpack_words(isa.PARAM, record["word"].reshape(-1, 1))
    params = np.zeros(len(record), CONV_PARAM_DTYPE)
    for name in PARAM_DTYPE.names:
        params[name] = word[name]
    params["taps"] = record["taps"]
    return params


def _metadata(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data.decode("utf-8")) if data else {}
    except (ValueError, RecursionError) as error:
        raise PackageError("BAD_SECTION", f"section metadata is not UTF-8 JSON: {error}") from None
    if not isinstance(value, dict):
        raise PackageError(
            "BAD_SECTION",
            f"section metadata: expected a JSON object, found {type(value).__name__}",
        )
    return value


def _metadata_bytes(metadata: Mapping[str, Any]) -> bytes:
    text = json.dumps(
        metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode("utf-8")


def _table(dtype: str) -> tuple[Callable[[np.ndarray], bytes], Callable[[bytes], np.ndarray]]:
    """Writer and reader of a section of 256-entry tables."""
    return (
        lambda tables: tables.astype(dtype).tobytes(),
        lambda data: np.frombuffer(data, dtype).reshape(-1, 256),
    )


def _vector(dtype: str) -> tuple[Callable[[np.ndarray], bytes], Callable[[bytes], np.ndarray]]:
    return (
        lambda values: values.astype(dtype).tobytes(),
        lambda data: np.frombuffer(data, dtype),
    )


_PARAMS = (
    lambda params: pack_words(isa.PARAM, params).astype("<u8").tobytes(),
    lambda data: unpack_words(isa.PARAM, _words(isa.PARAM, data)),
)

# Section name: (array to bytes, bytes to array). `instructions` and `weights` are handled apart:
# the one is decoded with its rules, the shape of the other depends on the header.
_CODECS: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "schedule": (
        lambda entries: pack_words(isa.SCHEDULE, entries).astype("<u8").tobytes(),
        lambda data: unpack_words(isa.SCHEDULE, _words(isa.SCHEDULE, data)),
    ),
    "array_params": _PARAMS,
    "conv_params": (_conv_bytes, _conv_params),
    "conv_tables": _table("i1"),
    "scan_params": _PARAMS,
    "scan_decay": _vector("<u2"),
    "scan_tables": _table("<u2"),
    "vector_params": _PARAMS,
    "vector_tables": _table("<u2"),
    "resid_image": _vector("<i2"),
    "metadata": (_metadata_bytes, _metadata),
}

# Header fields that are attributes of a Package.
_SIZES = (
    "tile_in",
    "tile_out",
    "n_sequences",
    "iterations",
    "n_positions",
    "token_bytes",
    "forecast_elements",
)

_ARRAYS: dict[str, tuple[np.dtype, tuple[int, ...]]] = {
    "schedule": (SCHEDULE_DTYPE, ()),
    "array_params": (PARAM_DTYPE, ()),
    "conv_params": (CONV_PARAM_DTYPE, ()),
    "conv_tables": (np.dtype(np.int8), (256,)),
    "scan_params": (PARAM_DTYPE, ()),
    "scan_decay": (np.dtype(np.uint16), ()),
    "scan_tables": (np.dtype(np.uint16), (256,)),
    "vector_params": (PARAM_DTYPE, ()),
    "vector_tables": (np.dtype(np.uint16), (256,)),
    "resid_image": (np.dtype(np.int16), ()),
}

# What the copies for people hold, by which they are known from other files.
_JSON_KEYS = ["header", "instructions", "metadata"]
_NPZ_ARRAYS = ["weights", *_ARRAYS]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Package:
    """A compiled model. The arrays are the sections of ``docs/package.md``; none is modified.

    Attributes:
        tile_in, tile_out: weight tile of the build that the package was compiled for.
        n_sequences: sequences in one iteration of the schedule.
        iterations: iterations of the schedule that make one forecast.
        n_positions: tokens of a sequence.
        token_bytes: int8 elements of an input token.
        forecast_elements: int16 elements that one sequence sends.
        instructions: the instruction table.
        schedule: SCHEDULE_DTYPE [entries].
        weights: int8 [tiles, tile_out, tile_in].
        array_params, scan_params, vector_params: PARAM_DTYPE [words].
        conv_params: CONV_PARAM_DTYPE [channels].
        conv_tables: int8 [tables, 256].
        scan_tables, vector_tables: uint16 [tables, 256] (a signed table as its two's complement).
        scan_decay: uint16 [rates].
        resid_image: int16 [elements].
        metadata: JSON object for the host.

    Raises:
        PackageError: BAD_SECTION, an array has another dtype or shape than these.
    """

    tile_in: int
    tile_out: int
    n_sequences: int
    iterations: int
    n_positions: int
    token_bytes: int
    forecast_elements: int
    instructions: tuple[isa.Instruction, ...]
    schedule: np.ndarray
    weights: np.ndarray
    array_params: np.ndarray
    conv_params: np.ndarray
    conv_tables: np.ndarray
    scan_params: np.ndarray
    scan_decay: np.ndarray
    scan_tables: np.ndarray
    vector_params: np.ndarray
    vector_tables: np.ndarray
    resid_image: np.ndarray
    metadata: dict[str, Any]

    def __post_init__(self) -> None:
        arrays = {**_ARRAYS, "weights": (np.dtype(np.int8), (self.tile_out, self.tile_in))}
        for name, (dtype, row) in arrays.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != 1 + len(row) or array.shape[1:] != row:
                shape = ", ".join(["n", *map(str, row)])
                raise PackageError(
                    "BAD_SECTION",
                    f"{name}: expected {dtype} [{shape}], found {array.dtype} {list(array.shape)}",
                )

    @property
    def unit_entries(self) -> tuple[int, ...]:
        """Schedule entries of each unit in one iteration. Entries must name instructions."""
        units = np.array([instruction.unit for instruction in self.instructions], np.int64)
        counts = np.bincount(units[self.schedule["instruction"]], minlength=len(isa.UNITS))
        return tuple(int(n) for n in counts)

    def instruction_name(self, index: int) -> str:
        """Name of an instruction: from the metadata, or ``index:OPCODE`` where that has none."""
        try:
            return str(self.metadata["instructions"][index]["name"])
        except (KeyError, IndexError, TypeError):
            return f"{index}:{self.instructions[index].opcode}"

    def validate(self, build: isa.Build | str = "default") -> None:
        """Apply every rule of a loader (``docs/instruction_set.md``, "What a loader checks").

        Raises:
            PackageError: with the code of the first rule that fails.
        """
        build = _build(build)
        rules.check_header(self, build)
        rules.check_sections(self, build)
        for index, instruction in enumerate(self.instructions):
            rules.check_instruction(self, index, instruction, build)
        rules.check_schedule_entries(self)

    # ------------------------------------------------------------------------ bytes

    def to_bytes(self) -> bytes:
        """The file's content; the same package gives the same bytes.

        Raises:
            isa.IsaError: a value does not fit its field.
            ValueError: metadata that JSON cannot hold.
        """
        sections = {"instructions": b"".join(i.encode() for i in self.instructions)}
        sections["weights"] = self.weights.tobytes()
        for name, (to_bytes, _) in _CODECS.items():
            sections[name] = to_bytes(getattr(self, name))

        header: dict[str, Any] = {name: getattr(self, name) for name in _SIZES}
        header |= {"magic": isa.MAGIC, "reserved": 0, "unit_entries": self.unit_entries}
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

    @classmethod
    def from_bytes(
        cls, data: bytes, name: str = "package", build: isa.Build | str | None = None
    ) -> Package:
        """Read the content of a package file.

        Args:
            data: the whole file.
            name: what error messages call it.
            build: apply the rules of `validate` for this build as well.

        Raises:
            PackageError: the file is damaged, of another version, or breaks a rule.
        """
        try:
            return cls._parse(data, None if build is None else _build(build))
        except PackageError as error:
            raise PackageError(error.code_name, f"{name}: {error.detail}") from error.__cause__

    @classmethod
    def _parse(cls, data: bytes, build: isa.Build | None) -> Package:
        header = _read_header(data, build)
        raw = _read_sections(data, header, build)
        tile = header["tile_out"], header["tile_in"]
        package = cls(
            **{name: header[name] for name in _SIZES},
            instructions=(),  # decoded below, each with the rules that apply to it
            weights=np.frombuffer(raw["weights"], np.int8).reshape(-1, *tile),
            **{name: read(raw[name]) for name, (_, read) in _CODECS.items()},
        )
        instructions = []
        size = isa.INSTRUCTION_BITS // 8
        for index in range(len(raw["instructions"]) // size):
            word = raw["instructions"][index * size : (index + 1) * size]
            try:
                instruction = isa.Instruction.decode(word)
            except isa.IsaError as error:
                raise PackageError("BAD_OPCODE", f"instruction {index}: {error}") from None
            if build is not None:
                rules.check_instruction(package, index, instruction, build)
            instructions.append(instruction)
        package = dataclasses.replace(package, instructions=tuple(instructions))
        rules.check_schedule_entries(package, header["unit_entries"])
        return package

    # ------------------------------------------------------------------------ files

    @classmethod
    def read(cls, path: str | Path, build: isa.Build | str | None = None) -> Package:
        """Read a package file; see `from_bytes`. Raises OSError if it cannot be opened."""
        return cls.from_bytes(Path(path).read_bytes(), name=str(path), build=build)

    def write(self, path: str | Path) -> None:
        """Write the package, and beside it ``<stem>.json`` and ``<stem>.npz`` for people.

        Each file appears complete or not at all, and the same package gives the same bytes.

        Raises:
            ValueError: ``path`` ends in .json or .npz, or where one of these two would be written
                lies a file that is no such copy of a package; nothing is written then.
        """
        path = Path(path)
        if path.suffix in (".json", ".npz"):
            raise ValueError(f"{path}: expected another suffix, {path.suffix} is for people's copy")
        files = {
            path.with_suffix(".json"): self._json_bytes(),
            path.with_suffix(".npz"): self._npz_bytes(),
            path: self.to_bytes(),
        }
        for target in files:
            if target != path and target.exists() and not _is_copy_for_people(target):
                raise ValueError(
                    f"{target}: expected no file, or the copy of a package; found another file, "
                    f"which {path} would overwrite with its own copy"
                )
        for target, data in files.items():
            with atomic_write(target) as file:
                file.write(data)

    def _json_bytes(self) -> bytes:
        def values(fields: Mapping[str, Any]) -> dict[str, Any]:
            return {k: v.fields() if isinstance(v, isa.Operand) else v for k, v in fields.items()}

        content = {
            "header": {name: getattr(self, name) for name in _SIZES}
            | {
                "version": list(isa.VERSION),
                "unit_entries": dict(zip(isa.UNITS, self.unit_entries, strict=True)),
            },
            "instructions": [
                {"name": self.instruction_name(i), "opcode": instruction.opcode}
                | values(instruction.fields)
                for i, instruction in enumerate(self.instructions)
            ],
            "metadata": self.metadata,
        }
        return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8")

    def _npz_bytes(self) -> bytes:
        buffer = io.BytesIO()
        # Not numpy.savez: that stamps its members with the time of day.
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name in _NPZ_ARRAYS:
                member = io.BytesIO()
                np.lib.format.write_array(member, getattr(self, name), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
        return buffer.getvalue()


def _build(build: isa.Build | str) -> isa.Build:
    return isa.build(build) if isinstance(build, str) else build


def _read_header(data: bytes, build: isa.Build | None) -> dict[str, Any]:
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
    rules.check_header(_Sizes(header), build)
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


class _Sizes:
    """The header's sizes as attributes, as a Package has them."""

    def __init__(self, header: Mapping[str, Any]) -> None:
        for name in _SIZES:
            setattr(self, name, header[name])


def _read_sections(
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
            rules.check_section_size(section.name, size // unit, build)
        if any(data[end:offset]):
            raise PackageError("BAD_SECTION", f"{what}: expected zeros before it, from byte {end}")
        sections[section.name] = data[offset : offset + size]
        found = zlib.crc32(sections[section.name])
        if found != crc:
            raise PackageError("BAD_CRC", f"{what}: expected 0x{crc:08X}, found 0x{found:08X}")
        if section.name in rules.PARAM_SECTIONS:
            _, read = _CODECS[section.name]
            rules.check_param_words(section.name, read(sections[section.name]))
        end = offset + size
    if any(data[end:]):
        raise PackageError(
            "BAD_SECTION", f"expected zeros behind the last section, from byte {end}"
        )
    return sections


def _is_copy_for_people(path: Path) -> bool:
    """Whether `Package.write` made this .json or .npz."""
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return archive.namelist() == [f"{name}.npy" for name in _NPZ_ARRAYS]
        content = json.loads(path.read_bytes())
        return isinstance(content, dict) and list(content) == _JSON_KEYS
    except (OSError, ValueError, RecursionError, zipfile.BadZipFile):
        return False
