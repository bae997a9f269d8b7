"""The folded form of a MambaRegressor is the same function."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.folded_regressor import fold
from model.regressor_args import RegressorArgs
from tests.compiled_regressors import random_frames, random_regressor, regressor_args


@settings(max_examples=20)
@given(regressor_args(), st.integers(0, 1000))
def test_folding_changes_nothing(args, seed):
    model = random_regressor(args, seed).double()
    folded = fold(model).double()
    frames = random_frames(args, 4, seed).double()
    with torch.no_grad():
        expected = model(frames)
        # The folded weights are stored in float32.
        torch.testing.assert_close(folded(frames), expected, rtol=1e-4, atol=1e-4)
        state = folded.state_dict()
        assert state["frame_projection.weight"].mean(0).abs().max() < 1e-6
        assert state["output_layer.weight"].shape == (2, args.num_patches * args.d_model)


PARTS = {
    "mean of the projection's bias": "frame_projection.bias",
    "shift of the LayerNorm": "frame_norm.bias",
    "weight of the LayerNorm": "frame_norm.rms_norm.weight",
    "bias of the output layer": "cmamba.output_layer.bias",
    "bias of the head": "position_head.bias",
    "statistics": "position_mean",
    "a block": "cmamba.blocks.0.in_proj.weight",
}


@pytest.mark.parametrize("name", PARTS.values(), ids=PARTS)
def test_every_part_reaches_the_folded_model(name):
    """Each has an effect, and the same in both."""
    args = RegressorArgs(num_features=5, num_channels=6, seq_len=9, patch_len=3, stride=2)
    model, frames = random_regressor(args), random_frames(args, 3)
    other = copy.deepcopy(model)
    with torch.no_grad():
        tensor = other.get_parameter(name) if "mean" not in name else other.get_buffer(name)
        tensor += torch.linspace(-1.0, 2.0, tensor.numel()).reshape(tensor.shape)
        assert not torch.allclose(other(frames), model(frames), atol=1e-3)
        torch.testing.assert_close(fold(other)(frames), other(frames), rtol=1e-4, atol=1e-4)


def test_a_window_of_another_length():
    args = RegressorArgs(num_features=3)
    model = random_regressor(args)
    for length in (1, args.seq_len - 1, args.seq_len + 5):
        frames = torch.randn(2, length, 3)
        with torch.no_grad():
            torch.testing.assert_close(fold(model)(frames), model(frames), rtol=1e-4, atol=1e-4)


def test_quant_points_see_what_the_program_rounds():
    args = RegressorArgs(
        num_features=5, num_channels=6, seq_len=8, patch_len=4, stride=2, d_model=16, n_layer=1
    )
    folded, frames = fold(random_regressor(args)), random_frames(args, 2)
    seen = {}
    for name in ("q_frames", "q_centered", "q_input", "q_output"):
        folded.get_submodule(name).hook = lambda x, name=name: seen.setdefault(name, x)
    with torch.no_grad():
        y = folded(frames)
    assert torch.equal(seen["q_frames"], folded.to_frames(frames))
    shapes = {name: list(x.shape) for name, x in seen.items()}
    assert shapes == {
        "q_frames": [2, 8, 5],
        "q_centered": [2, 8, 6],
        "q_input": [2, 8, 6],
        "q_output": [2, 2],
    }
    torch.testing.assert_close(seen["q_centered"].mean(-1), torch.zeros(2, 8), atol=1e-6, rtol=0)
    assert torch.equal(folded.to_positions(seen["q_output"]), y)
