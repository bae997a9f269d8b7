"""Padding of a package: the reader of files refuses what is not zero, and says where it is."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import isa
from golden.random_programs import random_package, random_published, with_padding
from isa.package import Package, PackageError
from isa.padding import check_padding, find_padding

BUILD = isa.build("small")


@pytest.fixture(scope="module")
def package() -> Package:
    return random_package(np.random.default_rng(21), BUILD, largest=13)


def changed(package: Package, section: str, place: object, value: object) -> Package:
    array = getattr(package, section).copy()
    array[place] = value
    return dataclasses.replace(package, **{section: array})


def refused(package: Package, message: str) -> None:
    """By the reader, which otherwise takes it."""
    data = package.to_bytes()
    with pytest.raises(PackageError) as error:
        Package.from_bytes(data, "x.bin", BUILD)
    assert str(error.value) == f"BAD_SECTION: x.bin: section {message}"
    assert Package.from_bytes(data, "x.bin", BUILD, any_padding=True).to_bytes() == data


def find(package: Package, opcode: str, holds=lambda i: True) -> tuple[int, isa.Instruction]:
    return next(
        (n, i) for n, i in enumerate(package.instructions) if i.opcode == opcode and holds(i)
    )


def weight_place(i: isa.Instruction, position: int, output: int, j: int) -> tuple[int, int, int]:
    """Tile, lane and weight, by the formula of docs/package.md."""
    split = 1 << i.log2_split
    outputs, inputs = BUILD.tile_out // split, BUILD.tile_in * split
    group, within = divmod(j % inputs, BUILD.tile_in)
    tile = output // outputs * -(-i.n_in // inputs) + j // inputs
    first = i.weight_addr + position * i.weight_stride
    return first + tile, group * outputs + output % outputs, within


@pytest.mark.parametrize("log2_split", [0, 1, 2])
@pytest.mark.parametrize("beyond", ["inputs", "outputs"])
def test_weights_outside_the_matrix(log2_split, beyond):
    for seed in range(40):
        package = random_package(np.random.default_rng(seed), BUILD, largest=13)
        for index, i in enumerate(package.instructions):
            if i.opcode != "LINEAR" or i.log2_split != log2_split:
                continue
            if beyond == "inputs" and i.n_in % (BUILD.tile_in << log2_split):
                place = weight_place(i, i.n_positions - 1 if i.reduce else 0, i.n_out - 1, i.n_in)
            elif beyond == "outputs" and i.n_out % (BUILD.tile_out >> log2_split):
                place = weight_place(i, i.n_positions - 1 if i.reduce else 0, i.n_out, i.n_in - 1)
            else:
                continue
            tile, lane, weight = place
            refused(
                changed(package, "weights", place, -3),
                f"weights, tile {tile}, lane {lane}, weight {weight}: expected 0, as instruction "
                f"{index} (LINEAR) has {i.n_in} inputs and {i.n_out} outputs, found -3",
            )
            return
    raise AssertionError("no such matrix")


def test_a_tile_of_no_matrix_may_hold_anything(package):
    more = np.ones((2, BUILD.tile_out, BUILD.tile_in), np.int8)
    data = dataclasses.replace(package, weights=np.concatenate([package.weights, more])).to_bytes()
    assert Package.from_bytes(data, build=BUILD).to_bytes() == data


def test_taps_beyond_the_kernel(package):
    index, i = find(package, "CONV", lambda i: i.kernel < isa.LIMITS["taps"])
    channel, tap = i.param_addr + i.n - 1, i.kernel
    params = package.conv_params.copy()
    params["taps"][channel, tap] = 5
    refused(
        dataclasses.replace(package, conv_params=params),
        f"conv_params, channel {channel}, tap {tap}: expected 0, as instruction {index} (CONV) has "
        f"{i.kernel} taps, found 5",
    )
    params = package.conv_params.copy()
    params["taps"][channel, tap - 1] ^= 5
    check_padding(dataclasses.replace(package, conv_params=params))


# Section: what an element is called, and which instructions use how many.
WORDS = {
    "array_params": ("word {}", {"LINEAR": lambda i: i.n_out}),
    "conv_params": ("channel {}, parameter word", {"CONV": lambda i: i.n}),
    "scan_params": ("word {}", {"SCAN": lambda i: i.n}),
    "vector_params": ("word {}", {"NORM": lambda i: i.n, "POOL": lambda i: 2}),
}


@pytest.mark.parametrize("section", WORDS)
@pytest.mark.parametrize("field", ["multiplier", "bias", "shift", "zero_point"])
def test_parameter_words_behind_those_of_an_instruction(package, section, field):
    place, users = WORDS[section]
    ends = {
        i.param_addr + users[i.opcode](i): f"{n} ({i.opcode})"
        for n, i in enumerate(package.instructions)
        if i.opcode in users
    }
    words = getattr(package, section)
    longer = np.concatenate([words, np.zeros(1, words.dtype)])
    longer[field][-1] = 3
    refused(
        dataclasses.replace(package, **{section: longer}),
        f"{section}, {place.format(len(words))}: expected 0, "
        f"behind what instruction {ends[max(ends)]} uses, found 3",
    )


def test_decay_rates_behind_those_of_an_instruction(package):
    index, i = find(package, "SCAN", lambda i: (i.n << i.log2_state) % BUILD.scan_lanes)
    rate = i.decay_addr + (i.n << i.log2_state)
    refused(
        changed(package, "scan_decay", rate, 9),
        f"scan_decay, rate {rate}: expected 0, "
        f"behind what instruction {index} (SCAN) uses, found 9",
    )


def test_constants_that_no_instruction_reads(package):
    index, i = find(package, "LINEAR", lambda i: i.add_enable and i.add_position)
    assert i.n_out < i.add.stride
    refused(
        changed(package, "resid_image", i.n_out, -7),
        f"resid_image, element {i.n_out}: expected 0, "
        f"behind what instruction {index} (LINEAR) uses, found -7",
    )


def test_a_section_that_nothing_uses(package):
    without = tuple(i for i in package.instructions if i.opcode != "SCAN")
    with pytest.raises(PackageError, match=r"scan_params, word 0: .* as no instruction uses it"):
        check_padding(dataclasses.replace(package, instructions=without))


@settings(max_examples=20)
@given(st.integers(0, 1 << 32), st.sampled_from([random_package, random_published]))
def test_any_padding(seed, program):
    """Wherever it is, the reader refuses it; zeros it takes."""
    rng = np.random.default_rng(seed)
    package = program(rng, BUILD)
    check_padding(package)
    padded = with_padding(package, rng)
    for name, padding in find_padding(package).items():
        one = dataclasses.replace(package, **{name: getattr(padded, name)})
        if padding.any() and one.to_bytes() != package.to_bytes():
            with pytest.raises(PackageError, match=f"BAD_SECTION: section {name}, "):
                check_padding(one)
    sections = {name: getattr(padded, name) for name in find_padding(package)}
    again = with_padding(dataclasses.replace(package, **sections))
    assert again.to_bytes() == package.to_bytes()


def test_a_program_that_breaks_the_rules(package):
    """Without a build nobody has looked at it: what it names need not be there."""
    for fields in (
        {"log2_split": 3},
        {"weight_addr": (1 << 20) - 1},
        {"n_in": 65535, "n_out": 65535},
        {"param_addr": (1 << 20) - 1},
    ):
        index, i = find(package, "LINEAR")
        wrong = isa.Instruction("LINEAR", {**i.fields, **fields})
        instructions = (*package.instructions[:index], wrong, *package.instructions[index + 1 :])
        data = dataclasses.replace(package, instructions=instructions).to_bytes()
        assert Package.from_bytes(data, any_padding=True).to_bytes() == data
        try:
            Package.from_bytes(data)
        except PackageError as error:
            assert error.code_name == "BAD_SECTION"
