"""The structure that quantization knows, and the program that the compiler makes of a model."""

from __future__ import annotations

import pytest
import torch

from compiler.compile import compile_model
from model.args import ModelArgs
from model.folded_regressor import fold
from model.published_args import PublishedArgs
from model.quant_point import Kind
from model.quantization.calibrate import calibrate
from model.quantization.structure import Layer, structure_of
from model.regressor_args import RegressorArgs
from tests.compiled_models import SMALL, random_model, random_windows
from tests.compiled_regressors import random_frames, random_regressor
from tests.published_models import SMALL_PUBLISHED, random_published

MODELS = {
    "stacked": lambda: random_model(ModelArgs(**SMALL)),
    "nested": lambda: random_model(ModelArgs(**SMALL, topology="nested", reduction_ratio=4)),
    "published": lambda: random_published(PublishedArgs(**SMALL_PUBLISHED)),
    "regressor": lambda: fold(
        random_regressor(RegressorArgs(num_features=5, num_channels=3, seq_len=16, d_model=8))
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_instructions_are_those_of_the_operations(name):
    model = MODELS[name]()
    structure = structure_of(model)
    is_regressor = isinstance(model.args, RegressorArgs)
    x = (random_frames if is_regressor else random_windows)(model.args, 2)
    package = compile_model(model, calibrate(model, model.to_tokens(x)))
    found = {
        (entry["opcode"], tensor["point"])
        for entry in package.metadata["instructions"]
        for tensor in entry["tensors"]
        if entry["opcode"] not in ("RECV", "SEND")
    }
    expected = {(o.opcode, point) for o in structure.operations for point in o.results}
    assert found == expected


@pytest.mark.parametrize("name", MODELS)
def test_every_point_with_a_format_is_a_result(name):
    """But for the input, and what an instruction has before its own activation."""
    structure = structure_of(MODELS[name]())
    results = {point for operation in structure.operations for point in operation.results}
    layers = [o for o in structure.operations if isinstance(o, Layer)]
    before = {group.point for layer in layers for group in layer.groups} - results
    inside = (Kind.ADDEND, Kind.STATE, Kind.SUM, Kind.INSIDE)
    known = {name for name, point in structure.points.items() if point.kind not in inside}
    received = "q_frames" if name == "regressor" else "q_input"
    assert results | before | {received} == known
    assert all(point.endswith(".q_conv") for point in before)


def test_a_model_without_a_structure_is_refused():
    with pytest.raises(TypeError, match="no structure is known of a Linear"):
        structure_of(torch.nn.Linear(1, 1))
