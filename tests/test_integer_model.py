"""The executor against a second implementation of the contract, on random programs."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import isa
from golden.integer_model import BATCH, IntegerModel, rows_per_sequence
from golden.random_programs import random_package, random_published, shuffled, with_padding
from isa.package import Package, PackageError
from tests.reference import Interpreter

SEEDS = st.integers(0, 1 << 32)


def random_tokens(package: Package, n_iterations: int, seed: int = 0) -> np.ndarray:
    shape = (n_iterations, package.n_sequences, package.n_positions, package.token_bytes)
    return np.random.default_rng(seed).integers(-128, 128, shape, np.int8)


@settings(max_examples=25)
@given(SEEDS)
def test_agrees_with_the_reference_on_every_instruction(seed):
    package = random_package(np.random.default_rng(seed), largest=12)
    tokens = random_tokens(package, 2, seed)
    trace: dict[str, torch.Tensor] = {}
    forecast = IntegerModel(package, "small").run(tokens, trace)
    assert len(trace) == len(package.instructions)
    for iteration in range(len(tokens)):
        interpreter = Interpreter(package)
        sent = interpreter.run(tokens[iteration])
        assert forecast[iteration].tolist() == sent
        for index, rows in interpreter.results.items():
            found = trace[package.instruction_name(index)][iteration]
            assert sorted(rows) == list(range(len(found))), package.instruction_name(index)
            assert found.tolist() == [rows[row] for row in sorted(rows)]


def test_agrees_with_the_reference_on_the_default_build():
    package = random_package(np.random.default_rng(5), "default", largest=80)
    tokens = random_tokens(package, 1)
    sent = Interpreter(package).run(tokens[0])
    assert IntegerModel(package).run(tokens)[0].tolist() == sent


@given(SEEDS)
@settings(max_examples=20)
def test_order_of_the_schedule_does_not_change_the_result(seed):
    rng = np.random.default_rng(seed)
    package = random_package(rng)
    other = shuffled(package, rng)
    tokens = random_tokens(package, 3, seed)
    first: dict[str, torch.Tensor] = {}
    second: dict[str, torch.Tensor] = {}
    IntegerModel(package, "small").run(tokens, first)
    IntegerModel(other, "small").run(tokens, second)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@given(SEEDS, st.sampled_from([random_package, random_published]))
@settings(max_examples=20)
def test_padding_does_not_change_the_result(seed, program):
    rng = np.random.default_rng(seed)
    package = program(rng)
    tokens = random_tokens(package, 2, seed)
    clean: dict[str, torch.Tensor] = {}
    padded: dict[str, torch.Tensor] = {}
    IntegerModel(package, "small").run(tokens, clean)
    IntegerModel(with_padding(package, rng), "small").run(tokens, padded)
    assert clean.keys() == padded.keys()
    for name, tensor in clean.items():
        assert torch.equal(tensor, padded[name]), name


def test_iterations_are_independent_of_the_batch():
    package = random_package(np.random.default_rng(3))
    model = IntegerModel(package, "small")
    tokens = random_tokens(package, 2 * BATCH + 3)
    trace: dict[str, torch.Tensor] = {}
    forecast = model.run(tokens, trace)
    for iteration in (0, BATCH - 1, BATCH, 2 * BATCH + 2):
        alone: dict[str, torch.Tensor] = {}
        np.testing.assert_array_equal(
            model.run(tokens[iteration][None], alone)[0], forecast[iteration]
        )
        for name, tensor in alone.items():
            assert torch.equal(tensor[0], trace[name][iteration]), name


def test_trace_has_the_documented_shapes():
    package = random_package(np.random.default_rng(7))
    trace: dict[str, torch.Tensor] = {}
    forecast = IntegerModel(package, "small").run(random_tokens(package, 2), trace)
    assert forecast.dtype == np.int16
    assert forecast.shape == (2, package.n_sequences, package.forecast_elements)
    for index, i in enumerate(package.instructions):
        tensor = trace[package.instruction_name(index)]
        wide = i.opcode in ("SCALE", "SEND") or bool(i.fields.get("wide", 0))
        assert tensor.dtype == (torch.int16 if wide else torch.int8)
        rows = package.n_sequences * rows_per_sequence(i)
        assert tensor.shape == (2, rows, i.n_out if i.opcode == "LINEAR" else i.n)
    first = trace[package.instruction_name(0)].numpy()
    np.testing.assert_array_equal(first.ravel(), random_tokens(package, 2).ravel())


def test_instructions_without_a_name_are_called_by_index_and_opcode():
    package = dataclasses.replace(random_package(np.random.default_rng(7)), metadata={})
    trace: dict[str, torch.Tensor] = {}
    IntegerModel(package, "small").run(random_tokens(package, 1), trace)
    expected = [f"{n}:{i.opcode}" for n, i in enumerate(package.instructions)]
    assert list(trace) == expected


def test_an_address_error_of_the_program_shows():
    package = random_package(np.random.default_rng(3))
    tokens = random_tokens(package, 4)
    index = next(n for n, i in enumerate(package.instructions) if i.opcode == "CONV")
    instruction = package.instructions[index]
    src = dataclasses.replace(instruction.src, addr=instruction.src.addr + 16)
    moved = isa.Instruction("CONV", {**instruction.fields, "src": src})
    instructions = (*package.instructions[:index], moved, *package.instructions[index + 1 :])
    wrong = IntegerModel(dataclasses.replace(package, instructions=instructions), "small")
    assert not np.array_equal(IntegerModel(package, "small").run(tokens), wrong.run(tokens))


def test_number_of_threads_is_left_as_it_was():
    package = random_package(np.random.default_rng(0))
    before = torch.get_num_threads()
    IntegerModel(package, "small").run(random_tokens(package, 1))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda x: x.astype(np.float32), "float32"),
        (lambda x: x[0], "int8 ["),
        (lambda x: x[..., :-1], "int8 [2"),
        (lambda x: np.concatenate([x, x], 1), "int8 [2"),
    ],
)
def test_wrong_input_is_a_clear_error(change, found):
    package = random_package(np.random.default_rng(1))
    tokens = change(random_tokens(package, 2))
    with pytest.raises(ValueError, match=r"tokens: expected int8 \[n_iterations, ") as error:
        IntegerModel(package, "small").run(tokens)
    assert f"found {found}" in str(error.value)


def test_a_package_that_breaks_a_rule_does_not_run():
    package = random_package(np.random.default_rng(1))
    with pytest.raises(PackageError, match="BAD_TILE"):
        IntegerModel(package, "default")
    twice = {"instructions": [{"name": "same"}] * len(package.instructions)}
    with pytest.raises(ValueError, match="distinct names"):
        IntegerModel(dataclasses.replace(package, metadata=twice), "small")
