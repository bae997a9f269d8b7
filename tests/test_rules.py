"""Every rule of a loader, broken once."""

import dataclasses
from typing import Any

import numpy as np
import pytest

import isa
from golden.random_programs import random_package
from isa.package import Package, PackageError
from isa.phases import phase_of

BUILD = isa.build("small")


@pytest.fixture(scope="module")
def package() -> Package:
    package = random_package(np.random.default_rng(21), BUILD, largest=9)
    package.validate(BUILD)
    return package


def find(package: Package, opcode: str, **fields: Any) -> int:
    """Index of the first instruction with this opcode and these values."""
    return next(
        k
        for k, i in enumerate(package.instructions)
        if i.opcode == opcode and fields.items() <= i.fields.items()
    )


def change(package: Package, index: int, **fields: Any) -> Package:
    """Another instruction; an operand is given as the fields of it that change."""
    old = package.instructions[index]
    new = {
        name: dataclasses.replace(old.fields[name], **value) if isinstance(value, dict) else value
        for name, value in fields.items()
    }
    changed = isa.Instruction(old.opcode, {**old.fields, **new})
    instructions = (*package.instructions[:index], changed, *package.instructions[index + 1 :])
    return dataclasses.replace(package, instructions=instructions)


def refused(package: Package, code: str, *parts: str) -> None:
    """By `validate` and by the reader of the file, with the same error."""
    with pytest.raises(PackageError) as error:
        package.validate(BUILD)
    assert error.value.code_name == code
    for part in parts:
        assert part in str(error.value)
    with pytest.raises(PackageError) as again:
        Package.from_bytes(package.to_bytes(), "file", BUILD)
    assert str(again.value) == str(error.value).replace(f"{code}: ", f"{code}: file: ", 1)


LAST_SPACE = max(s.index for s in isa.SPACES.values())


@pytest.mark.parametrize(
    ("opcode", "select", "operand", "space"),
    [
        ("RECV", {}, "dst", "norm"),
        ("LINEAR", {}, "src", "gate"),
        ("LINEAR", {}, "src", "resid"),
        ("LINEAR", {"wide": 1}, "dst", "proj"),
        ("LINEAR", {"wide": 0}, "dst", "resid"),
        ("LINEAR", {"wide": 0}, "dst", "scan"),
        ("LINEAR", {"add_enable": 1}, "add", "head"),
        ("CONV", {}, "src", "conv"),
        ("CONV", {}, "dst", "conv_in"),
        ("SCAN", {}, "u", "gate"),
        ("SCAN", {}, "z", "conv"),
        ("SCAN", {}, "dt", "gate"),
        ("SCAN", {}, "bc", "conv"),
        ("SCAN", {}, "dst", "conv"),
        ("NORM", {}, "src", "head"),
        ("NORM", {"wide": 0}, "dst", "resid"),
        ("NORM", {"wide": 1}, "dst", "norm"),
        ("POOL", {}, "src", "norm"),
        ("POOL", {}, "dst", "resid"),
        ("SCALE", {}, "src", "head"),
        ("SCALE", {}, "logit", "proj"),
        ("SCALE", {}, "dst", "head"),
        ("SEND", {}, "src", "resid"),
    ],
)
def test_spaces(package, opcode, select, operand, space):
    index = find(package, opcode, **select)
    wrong = change(package, index, **{operand: {"space": isa.SPACES[space].index}})
    refused(wrong, "BAD_OPERAND", f"instruction {index} ({opcode}), {operand}.space", space)


def test_a_space_that_does_not_exist(package):
    for space in (LAST_SPACE + 1, 15):
        wrong = change(package, 0, dst={"space": space})
        refused(wrong, "BAD_OPERAND", f"expected patch, found {space}")


def test_alignment_and_bounds_of_operands(package):
    align, conv = BUILD.row_align, find(package, "CONV")
    for field in ("addr", "stride"):
        wrong = change(package, conv, dst={field: align + align // 2})
        refused(
            wrong, "BAD_OPERAND", f"dst.{field}", f"multiple of {align}, found {align * 3 // 2}"
        )
    size = BUILD.spaces["conv"]
    refused(change(package, conv, dst={"addr": size}), "BAD_OPERAND", "dst.addr", str(size))
    # Only the last row of the ring is outside.
    dst = {"addr": 0, "log2_rows": 3, "stride": (size // 7 // align + 1) * align}
    refused(change(package, conv, dst=dst), "BAD_OPERAND", "dst.addr", "last row")


def test_source_of_linear_may_start_within_a_row(package):
    index = find(package, "LINEAR", log2_split=1, reduce=0)
    granule = BUILD.tile_in * 2
    src = package.instructions[index].src
    change(package, index, src={"addr": src.addr + granule}).validate(BUILD)
    wrong = change(package, index, src={"addr": src.addr + granule // 2})
    refused(wrong, "BAD_OPERAND", "src.addr", f"multiple of {granule}")
    # The inputs that fill up the last tile are read as well.
    n_in = package.instructions[index].n_in
    assert n_in % granule
    space = isa.SPACE_NAMES[src.space]
    end = BUILD.spaces[space] - n_in // granule * granule
    row = {"addr": end, "log2_rows": 0}
    refused(change(package, index, src=row), "BAD_OPERAND", "src.addr")


def test_constants_are_not_written(package):
    index = find(package, "SCALE")
    refused(change(package, index, dst={"addr": 0}), "BAD_OPERAND", "dst.addr", "resid_image")


@pytest.mark.parametrize("opcode", ["NORM", "SCALE"])
def test_results_keep_off_the_rows_that_are_read(package, opcode):
    index = find(package, opcode, **({"wide": 1} if opcode == "NORM" else {}))
    n, src = package.instructions[index].n, package.instructions[index].src
    align, rows = BUILD.row_align, 1 << src.log2_rows
    assert rows > 1 and package.instructions[index].dst == src
    end = src.row(rows - 1) + n
    apart = -(-end // align) * align
    # Behind the last row, or before the first: of one row, for there is room for that.
    change(package, index, dst={"addr": apart, "log2_rows": 0}).validate(BUILD)
    moved = change(package, index, src={"addr": src.addr + align, "log2_rows": 0})
    change(moved, index, dst={"log2_rows": 0}).validate(BUILD)
    for dst in (
        {"addr": apart - align, "log2_rows": 0},
        {"addr": src.addr, "log2_rows": 0},
        {"addr": src.addr, "stride": src.stride + align, "log2_rows": 1},
        {"addr": src.addr + align, "stride": 0},
    ):
        wrong = change(package, index, dst=dst)
        part = f"none of its elements {src.addr} to {end - 1}, found {dst['addr']} to"
        refused(wrong, "BAD_OPERAND", f"instruction {index} ({opcode}), dst: expected", part)


def test_addend_counts_only_where_enabled(package):
    index = find(package, "LINEAR", add_enable=0)
    anything = {"space": 15, "addr": 1}
    change(package, index, add=anything).validate(BUILD)
    wrong = change(package, index, add=anything, add_enable=1)
    refused(wrong, "BAD_OPERAND", "add.space")


FEATURES, REDUCE = BUILD.capacity["features"], BUILD.capacity["reduce"]


@pytest.mark.parametrize(
    ("opcode", "select", "fields", "part"),
    [
        ("LINEAR", {}, {"n_in": 0}, "n_in: expected at least 1, found 0"),
        ("LINEAR", {}, {"n_out": 0}, "n_out: expected at least 1, found 0"),
        ("LINEAR", {}, {"n_positions": 0}, "n_positions: expected at least 1, found 0"),
        ("CONV", {}, {"n": 0}, "n: expected at least 1, found 0"),
        ("NORM", {}, {"n": FEATURES + 1}, f"n: expected at most {FEATURES}"),
        ("LINEAR", {"reduce": 0}, {"n_out": FEATURES + 1}, f"n_out: expected at most {FEATURES}"),
        (
            "LINEAR",
            {"reduce": 1, "wide": 1},
            {"n_out": REDUCE + 1},
            f"n_out: expected at most {REDUCE}",
        ),
        ("LINEAR", {"reduce": 1}, {"n_positions": 4095, "n_in": 17}, "at most 65535, found 69615"),
        ("LINEAR", {}, {"log2_split": 3}, "log2_split: expected 0 to 2, found 3"),
        ("CONV", {}, {"kernel": 0}, "kernel: expected 1 to 8, found 0"),
        ("CONV", {}, {"kernel": 9}, "kernel: expected 1 to 8, found 9"),
        ("CONV", {}, {"kernel": 2, "src": {"log2_rows": 0}}, "kernel: expected at most the 1 rows"),
        ("SCAN", {}, {"state_shift": 17}, "state_shift: expected 0 to 16, found 17"),
        ("SCAN", {}, {"skip_shift": 21}, "skip_shift: expected 0 to 20, found 21"),
        ("SCAN", {}, {"y_shift": 41}, "y_shift: expected 0 to 40, found 41"),
        ("SCAN", {}, {"log2_state": 7}, "log2_state: expected 0 to 6, found 7"),
        ("NORM", {}, {"eps": 0}, "eps: expected 1 to"),
        ("CONV", {}, {"table": 255}, "table: expected 255 to 255 to lie inside conv_tables"),
        ("SCAN", {}, {"softplus_table": 99}, "inside scan_tables"),
        ("SCAN", {}, {"silu_table": 99}, "inside scan_tables"),
        ("SCALE", {}, {"table": 1}, "inside vector_tables"),
        ("LINEAR", {}, {"param_addr": 1 << 19}, "inside array_params"),
        ("CONV", {}, {"param_addr": 1 << 19}, "inside conv_params"),
        ("SCAN", {}, {"param_addr": 1 << 19}, "inside scan_params"),
        ("SCAN", {}, {"decay_addr": 1 << 19}, "inside scan_decay"),
        ("SCAN", {}, {"state_addr": 1 << 19}, "inside state of 4096"),
        ("NORM", {}, {"param_addr": 1 << 19}, "inside vector_params"),
        ("POOL", {}, {"param_addr": 1 << 19}, "inside vector_params"),
        ("LINEAR", {}, {"weight_addr": 1 << 19}, "inside weights"),
        ("LINEAR", {"reduce": 1}, {"weight_stride": 65535}, "inside weights"),
        ("RECV", {}, {"n": 1000}, "n: expected token_bytes"),
        ("SEND", {}, {"n": 1000}, "n: expected forecast_elements"),
    ],
)
def test_shapes(package, opcode, select, fields, part):
    index = find(package, opcode, **select)
    refused(change(package, index, **fields), "BAD_SHAPE", f"instruction {index} ({opcode})", part)


def test_the_last_element_of_a_range_is_inside(package):
    index = find(package, "NORM")
    last = len(package.vector_params) - package.instructions[index].n
    change(package, index, param_addr=last).validate(BUILD)
    refused(change(package, index, param_addr=last + 1), "BAD_SHAPE", "param_addr")


@pytest.mark.parametrize(
    ("opcode", "field", "multiple"),
    [
        ("LINEAR", "param_addr", BUILD.requantize_lanes // 2),
        ("CONV", "param_addr", BUILD.conv_lanes),
        ("SCAN", "decay_addr", BUILD.scan_lanes),
        ("SCAN", "state_addr", BUILD.scan_lanes),
    ],
)
def test_addresses_are_multiples_of_the_lanes(package, opcode, field, multiple):
    index = find(package, opcode)
    for wrong in {1, multiple // 2, multiple - 1}:
        part = f"{field}: expected a multiple of {multiple}, found {wrong}"
        changed = change(package, index, **{field: wrong})
        refused(changed, "BAD_SHAPE", f"instruction {index} ({opcode}), {part}")


def test_a_row_of_scan_params_holds_the_channels_of_a_step():
    build = isa.build("default")
    package = random_package(np.random.default_rng(22), build, largest=9)
    index = find(package, "SCAN")
    change(package, index, param_addr=0).validate(build)
    with pytest.raises(PackageError, match="param_addr: expected a multiple of 4, found 2"):
        change(package, index, param_addr=2).validate(build)


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("array_params", "shift", 49),
        ("array_params", "bias", 1 << 30),
        ("array_params", "bias", -(1 << 30)),
        ("conv_params", "shift", 63),
        ("scan_params", "shift", 49),
        ("scan_params", "bias", 1 << 17),
        ("scan_params", "bias", -(1 << 17)),
        ("vector_params", "shift", 49),
    ],
)
def test_parameter_words(package, section, field, value):
    # A word that an instruction uses, and behind all of those one that none does.
    right = getattr(package, section)
    for at in (1, len(right)):
        words = np.append(right, right[:1])
        words[field][at] = value
        wrong = dataclasses.replace(package, **{section: words})
        refused(wrong, "BAD_SHAPE", f"{section} {at}, {field}: expected", f"found {value}")


def with_entry(package: Package, index: int, **fields: int) -> Package:
    schedule = package.schedule.copy()
    for name, value in fields.items():
        schedule[name][index] = value
    return dataclasses.replace(package, schedule=schedule)


def test_schedule_entries(package):
    count = len(package.instructions)
    wrong = with_entry(package, 3, sequence=package.n_sequences)
    refused(wrong, "BAD_SCHEDULE", "schedule entry 3, last sequence: expected below")
    wrong = with_entry(package, 4, position=package.n_positions)
    refused(wrong, "BAD_SCHEDULE", "schedule entry 4, last position: expected below")
    with pytest.raises(PackageError, match="schedule entry 2, instruction: expected below"):
        with_entry(package, 2, instruction=count).validate(BUILD)


def test_number_of_stream_entries(package):
    for unit, part in (("stream_in", slice(1, None)), ("stream_out", slice(0, -1))):
        phases = phase_of(package.units[part])
        shorter = dataclasses.replace(package, phases=phases, schedule=package.schedule[part])
        refused(shorter, "BAD_SCHEDULE", f"entries of {unit}: expected")


def test_the_first_error_in_order_counts(package):
    # Sections in their order, each with its size and then its words; then the program.
    words = package.array_params.copy()
    words["shift"][0] = 63
    wrong = dataclasses.replace(change(package, 0, dst={"addr": 1}), array_params=words)
    refused(wrong, "BAD_SHAPE", "array_params 0, shift")
    tables = np.zeros((BUILD.capacity["scan_tables"] + 1, 256), np.uint16)
    refused(dataclasses.replace(wrong, scan_tables=tables), "BAD_SHAPE", "array_params 0, shift")
    schedule = np.resize(package.schedule, BUILD.capacity["schedule"] + 1)
    refused(dataclasses.replace(wrong, schedule=schedule), "BAD_SECTION", "schedule")

    wrong = change(package, 0, dst={"addr": 1})
    wrong = change(wrong, find(package, "SEND"), n=1000)
    refused(with_entry(wrong, 3, sequence=1000), "BAD_OPERAND", "instruction 0")


def test_all_faults_are_listed_and_the_first_is_raised(package):
    broken = package
    for opcode in ("CONV", "SCAN"):
        broken = change(broken, find(broken, opcode), n=0)
    index = find(broken, "CONV")
    broken = change(broken, index, kernel=0, src={"addr": 1})  # of an instruction, the first counts
    faults = list(broken.faults(BUILD))
    assert [fault.code_name for fault in faults] == (
        ["BAD_OPERAND", "BAD_SHAPE"]
        if index < find(broken, "SCAN")
        else ["BAD_SHAPE", "BAD_OPERAND"]
    )
    refused(broken, faults[0].code_name, str(faults[0]))
    assert list(package.faults(BUILD)) == []
