"""The package file: exact round trips, and an error for every kind of damage."""

import dataclasses
import json
import os
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isa
from golden.random_programs import random_package
from isa.package import Package, PackageError
from isa.words import CONV_PARAM_DTYPE, PARAM_DTYPE, SCHEDULE_DTYPE, pack_words, unpack_words

ARRAYS = (
    "phases",
    "schedule",
    "weights",
    "array_params",
    "conv_params",
    "conv_tables",
    "scan_params",
    "scan_decay",
    "scan_tables",
    "vector_params",
    "vector_tables",
    "resid_image",
)
CRC_AT = isa.HEADER_BYTES - 4


@pytest.fixture(scope="module")
def package() -> Package:
    return random_package(np.random.default_rng(0), largest=6)


@pytest.fixture(scope="module")
def data(package: Package) -> bytes:
    return package.to_bytes()


def header_of(data: bytes) -> dict:
    return isa.HEADER.decode(int.from_bytes(data[:CRC_AT], "little"))


def with_header(data: bytes, **fields: object) -> bytes:
    """The file with other header fields and a header CRC that is right again."""
    head = isa.HEADER.encode(header_of(data) | fields).to_bytes(CRC_AT, "little")
    return head + zlib.crc32(head).to_bytes(4, "little") + data[isa.HEADER_BYTES :]


def refused(data: bytes, code: str, *parts: str, build: str | None = None) -> None:
    with pytest.raises(PackageError) as error:
        Package.from_bytes(data, name="x.cmb", build=build)
    assert error.value.code_name == code
    assert error.value.code == isa.ERRORS[code]
    for part in ("x.cmb", *parts):
        assert part in str(error.value)


# ------------------------------------------------------------------------------ words


def structured(fmt: isa.Format, dtype: np.dtype, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = np.zeros(n, dtype)
    for f in fmt.fields:
        values[f.name] = rng.integers(f.minimum, f.maximum + 1, values[f.name].shape)
        # The extremes too.
        values[f.name][0], values[f.name][-1] = f.minimum, f.maximum
    return values


@pytest.mark.parametrize(
    ("fmt", "dtype"), [(isa.PARAM, PARAM_DTYPE), (isa.SCHEDULE, SCHEDULE_DTYPE)]
)
@given(seed=st.integers(0, 1 << 32))
def test_packed_words_are_those_of_the_isa(fmt, dtype, seed):
    values = structured(fmt, dtype, 9, seed)
    words = pack_words(fmt, values)
    for value, row in zip(values, words, strict=True):
        word = sum(int(part) << (64 * k) for k, part in enumerate(row))
        fields = {name: np.asarray(value[name]).tolist() for name in dtype.names}
        assert word == fmt.encode(fields)
    assert np.array_equal(unpack_words(fmt, words), values)


@pytest.mark.parametrize(
    ("field", "value"),
    [("multiplier", 1 << 17), ("multiplier", -(1 << 17) - 1), ("shift", -1), ("zero_point", 128)],
)
def test_a_value_that_does_not_fit_is_named(field, value):
    values = np.zeros(3, PARAM_DTYPE)
    values[field][2] = value
    with pytest.raises(isa.IsaError, match=f"parameter word 2, field {field}: found {value}"):
        pack_words(isa.PARAM, values)


# ------------------------------------------------------------------------------ round trip


@settings(max_examples=15)
@given(st.integers(0, 1 << 32), st.sampled_from(["small", "default"]))
def test_round_trip(seed, build):
    package = random_package(np.random.default_rng(seed), build)
    data = package.to_bytes()
    again = Package.from_bytes(data, build=build)
    assert again.to_bytes() == data
    assert again.instructions == package.instructions
    assert again.metadata == package.metadata
    for name in ARRAYS:
        mine, theirs = getattr(package, name), getattr(again, name)
        assert mine.dtype == theirs.dtype
        assert np.array_equal(mine, theirs), name
    for field in dataclasses.fields(Package)[:7]:
        assert getattr(again, field.name) == getattr(package, field.name)


def test_the_same_package_gives_the_same_bytes():
    first, second = (random_package(np.random.default_rng(4)) for _ in range(2))
    reordered = dict(reversed([*second.metadata.items(), ("é", [1.5, None])]))
    first = dataclasses.replace(first, metadata={**first.metadata, "é": [1.5, None]})
    second = dataclasses.replace(second, metadata=reordered)
    assert first.to_bytes() == second.to_bytes()


def test_layout_of_the_file(package, data):
    header = header_of(data)
    assert data[:4] == b"CMB1"
    assert header["total_bytes"] == len(data)
    end = isa.HEADER_BYTES
    for section in isa.SECTIONS:
        offset, size = header[f"{section.name}_offset"], header[f"{section.name}_bytes"]
        assert offset == -(-end // 64) * 64
        assert not any(data[end:offset])
        end = offset + size
    start = header["weights_offset"]
    tile = package.tile_in * package.tile_out
    assert data[start + tile : start + 2 * tile] == package.weights[1].tobytes()
    end = header["conv_params_offset"] + header["conv_params_bytes"]
    assert data[end - 8 : end] == package.conv_params["taps"][-1].tobytes()


def test_a_section_without_entries(package):
    empty = dataclasses.replace(package, resid_image=np.zeros(0, np.int16), metadata={})
    data = empty.to_bytes()
    header = header_of(data)
    assert (header["resid_image_bytes"], header["resid_image_crc"]) == (0, 0)
    assert len(Package.from_bytes(data).resid_image) == 0


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("weights", np.zeros((2, 4, 16), np.int8)),
        ("schedule", np.zeros(3, PARAM_DTYPE)),
        ("scan_decay", np.zeros(3, np.int16)),
        ("conv_tables", np.zeros((3, 255), np.int8)),
        ("conv_params", np.zeros((1, 1), CONV_PARAM_DTYPE)),
    ],
)
def test_an_array_of_another_type_or_shape(package, name, array):
    with pytest.raises(PackageError, match=f"BAD_SECTION: {name}: expected"):
        dataclasses.replace(package, **{name: array})


# ------------------------------------------------------------------------------ damage


def test_every_flipped_bit_is_found(data):
    rng = np.random.default_rng(0)
    bits = [*range(isa.HEADER_BYTES * 8), *rng.integers(isa.HEADER_BYTES * 8, len(data) * 8, 3000)]
    for bit in map(int, bits):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(PackageError):
            Package.from_bytes(bytes(damaged))


def test_every_truncation_is_found(data):
    lengths = {*range(isa.HEADER_BYTES + 1), *range(0, len(data), 97), len(data) - 1}
    for length in lengths:
        with pytest.raises(PackageError) as error:
            Package.from_bytes(data[:length])
        expected = {"BAD_SECTION"}
        if length < isa.HEADER_BYTES:
            expected = {"BAD_MAGIC" if length < 4 else "BAD_CRC"}
        assert error.value.code_name in expected


def test_header_errors(data):
    major, minor = isa.VERSION
    refused(b"", "BAD_MAGIC", "0x00000000")
    refused(b"PK\3\4" + data[4:], "BAD_MAGIC", "magic", "0x31424D43")
    refused(with_header(data, version_minor=minor + 1), "BAD_VERSION", f"{major}.{minor + 1}")
    refused(with_header(data, version_major=major + 1), "BAD_VERSION", f"{major + 1}.{minor}")
    # A newer version is told from damage, whatever else it changed.
    refused(with_header(data, version_major=9)[:-1], "BAD_VERSION")
    refused(with_header(data, reserved=1), "BAD_SECTION", "reserved")
    refused(with_header(data, total_bytes=len(data) - 64), "BAD_SECTION", "total_bytes")
    refused(data + b"\0", "BAD_SECTION", "total_bytes", str(len(data) + 1))
    refused(data[:200], "BAD_CRC", "expected 256 bytes, found 200")
    refused(data[:200] + b"\1" + data[201:], "BAD_CRC", "header_crc")
    head = data[:200] + b"\1" + data[201:CRC_AT]
    head += zlib.crc32(head).to_bytes(4, "little")
    refused(head + data[isa.HEADER_BYTES :], "BAD_SECTION", "reserved bits")


def test_another_array_is_refused(package, data):
    refused(data, "BAD_TILE", "tile_in", "16 (default)", "found 4", build="default")
    refused(with_header(data, tile_in=0), "BAD_TILE", "tile_in")
    with pytest.raises(PackageError, match="BAD_TILE"):
        package.validate("default")


@pytest.mark.parametrize(
    "field", ["n_sequences", "iterations", "n_positions", "token_bytes", "forecast_elements"]
)
def test_sizes_of_zero_are_refused(data, field):
    refused(with_header(data, **{field: 0}), "BAD_SHAPE", f"{field}: expected at least 1, found 0")


def test_section_errors(data):
    header = header_of(data)
    offset, size = header["weights_offset"], header["weights_bytes"]
    misaligned = with_header(data, weights_offset=offset + 8)
    refused(misaligned, "BAD_SECTION", "weights", "multiple of 64", str(offset + 8))
    refused(with_header(data, weights_offset=256), "BAD_SECTION", "weights", "offset")
    too_far = with_header(data, metadata_offset=(1 << 32) - 64)
    refused(too_far, "BAD_SECTION", "metadata", "to end within")
    too_long = with_header(data, metadata_bytes=(1 << 32) - 1)
    refused(too_long, "BAD_SECTION", "metadata", "to end within")
    refused(with_header(data, weights_bytes=size - 1), "BAD_SECTION", "weights", "multiple of 64")
    refused(with_header(data, weights_crc=1), "BAD_CRC", "weights", "0x00000001")
    moved = data[: offset + size] + bytes(64) + data[offset + size :]
    later = {
        f"{s.name}_offset": header[f"{s.name}_offset"] + 64
        for s in isa.SECTIONS
        if header[f"{s.name}_offset"] > offset
    }
    moved = with_header(moved, total_bytes=len(moved), **later)
    Package.from_bytes(moved)  # a gap of zeros is allowed
    dirty = moved[: offset + size + 1] + b"\1" + moved[offset + size + 2 :]
    refused(dirty, "BAD_SECTION", "expected zeros before it")
    tail = with_header(data + bytes(7) + b"\1", total_bytes=len(data) + 8)
    refused(tail, "BAD_SECTION", "zeros behind the last section")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (b"{", "not UTF-8 JSON"),
        (b'{"a":"\xff"}', "not UTF-8 JSON"),
        (b"[1]", "expected a JSON object, found list"),
        (b"[" * 100_000, "not UTF-8 JSON"),
    ],
)
def test_metadata_errors(data, text, part):
    offset = header_of(data)["metadata_offset"]
    sizes = {"metadata_bytes": len(text), "metadata_crc": zlib.crc32(text)}
    changed = data[:offset] + text
    refused(
        with_header(changed, total_bytes=len(changed), **sizes), "BAD_SECTION", "metadata", part
    )


def test_a_section_larger_than_its_memory(data, package):
    build = isa.build("small")
    capacity = dict(build.capacity) | {"scan_decay": len(package.scan_decay) - 1}
    tight = dataclasses.replace(build, capacity=capacity)
    with pytest.raises(PackageError, match=r"BAD_SECTION: .*scan_decay: expected at most"):
        Package.from_bytes(data, build=tight)
    with pytest.raises(PackageError, match=r"BAD_SECTION: .*scan_decay: expected at most"):
        package.validate(tight)


def test_instruction_words(data):
    offset, size = (header_of(data)[f"instructions_{part}"] for part in ("offset", "bytes"))

    def with_byte(at: int, value: int) -> bytes:
        changed = bytearray(data)
        changed[offset + at] = value
        crc = zlib.crc32(changed[offset : offset + size])
        return with_header(bytes(changed), instructions_crc=crc)

    refused(with_byte(64, 0), "BAD_OPCODE", "instruction 1", "unknown opcode 0")
    refused(with_byte(63, 1), "BAD_OPCODE", "instruction 0", "reserved bits")


def test_phases(data):
    offset, size = (header_of(data)[f"phases_{part}"] for part in ("offset", "bytes"))
    assert size == isa.PHASE.bits // 8

    def with_phase(**fields: int | tuple[int, ...]) -> bytes:
        word = int.from_bytes(data[offset : offset + size], "little")
        return with_word(isa.PHASE.encode(isa.PHASE.decode(word) | fields))

    def with_word(word: int) -> bytes:
        section = word.to_bytes(size, "little")
        changed = data[:offset] + section + data[offset + size :]
        return with_header(changed, phases_crc=zlib.crc32(section))

    package = Package.from_bytes(data)
    (entries,) = package.phases["unit_entries"].tolist()
    n = len(package.schedule)
    refused(with_phase(entries=0), "BAD_SHAPE", "phase 0, entries")
    refused(with_phase(repeats=0), "BAD_SHAPE", "phase 0, repeats")
    refused(with_word(1 << 255), "BAD_SHAPE", "phase 0", "reserved bits")
    refused(with_phase(entries=n - 1), "BAD_SCHEDULE", f"the {n} of the schedule, found {n - 1}")
    entries[2] += 1
    refused(with_phase(unit_entries=tuple(entries)), "BAD_SCHEDULE", "unit_entries of vector")
    refused(
        with_phase(repeats=2), "BAD_SCHEDULE", "entries of stream_in", f"found {2 * entries[0]}"
    )
    refused(with_phase(repeats=2, position_step=4095), "BAD_SCHEDULE", "last position")
    refused(with_phase(repeats=65535, sequence_step=1023), "BAD_SCHEDULE", "last sequence")
    none = with_header(data, phases_bytes=0, phases_crc=0)
    refused(none[:offset] + bytes(size) + none[offset + size :], "BAD_SCHEDULE", "at least 1")


# ------------------------------------------------------------------------------ files


def test_write_and_read(package, data, tmp_path):
    path = tmp_path / "model.cmb"
    package.write(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.cmb", "model.json", "model.npz"]
    assert path.read_bytes() == data
    assert Package.read(path, "small").to_bytes() == data

    twin = json.loads((tmp_path / "model.json").read_text())
    assert twin["header"]["tile_in"] == package.tile_in
    (phase,) = twin["phases"]
    assert phase["entries"] == len(package.schedule)
    assert phase["unit_entries"][isa.UNITS.index("stream_out")] == package.n_sequences
    assert [i["opcode"] for i in twin["instructions"]] == [i.opcode for i in package.instructions]
    assert twin["instructions"][0]["dst"] == package.instructions[0].dst.fields()
    with np.load(tmp_path / "model.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == sorted(ARRAYS)
        for name in ARRAYS:
            assert np.array_equal(arrays[name], getattr(package, name))


def test_all_three_files_are_deterministic(package, tmp_path):
    contents = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        package.write(tmp_path / folder / "model.cmb")
        contents.append([p.read_bytes() for p in sorted((tmp_path / folder).iterdir())])
    assert contents[0] == contents[1]
    # The members of the .npz carry no time of day.
    assert contents[0][2][10:14] == bytes([0, 0, 33, 0])


def test_an_interrupted_write_leaves_nothing(package, tmp_path, monkeypatch):
    path = tmp_path / "model.cmb"
    path.write_bytes(b"older")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        package.write(path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.cmb"]
    assert path.read_bytes() == b"older"


def test_a_package_does_not_overwrite_its_own_twin(package, tmp_path):
    for suffix in (".json", ".npz"):
        with pytest.raises(ValueError, match="expected another suffix"):
            package.write(tmp_path / f"model{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.json", b'{"d_model": 16}'),
        ("model.json", b"[1]"),
        ("model.json", b"\xff not JSON"),
        ("model.npz", b"not an archive"),
        ("model.npz", None),  # windows
    ],
)
def test_files_of_others_are_not_overwritten(package, tmp_path, name, content):
    other = tmp_path / name
    if content is None:
        np.savez(other, x=np.zeros((1, 2, 3), np.float32))
    else:
        other.write_bytes(content)
    before = other.read_bytes()
    with pytest.raises(
        ValueError, match=rf"{name}: expected no file, .*model\.cmb would overwrite"
    ):
        package.write(tmp_path / "model.cmb")
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert other.read_bytes() == before


def test_copies_of_a_package_are_overwritten(package, tmp_path):
    path = tmp_path / "model.cmb"
    package.write(path)
    changed = dataclasses.replace(package, metadata={"name": "another"})
    changed.write(path)
    assert json.loads((tmp_path / "model.json").read_text())["metadata"] == {"name": "another"}
    assert Package.read(path).metadata == {"name": "another"}


def test_errors_name_the_file(data, tmp_path):
    path = tmp_path / "damaged.cmb"
    path.write_bytes(data[:-1])
    with pytest.raises(PackageError, match=r"damaged\.cmb: header field total_bytes"):
        Package.read(path)
    with pytest.raises(FileNotFoundError):
        Package.read(tmp_path / "missing.cmb")
