"""MambaRegressor: its windows, its statistics, and the parts it is made of."""

import pytest
import torch
from torch import nn

from model.io import load_model, save_checkpoint
from model.regressor import LayerNorm, MambaRegressor
from model.regressor_args import RegressorArgs

ARGS = RegressorArgs(
    num_features=5, num_channels=6, seq_len=8, patch_len=4, stride=2, d_model=16, n_layer=1
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = MambaRegressor(ARGS)
    model.set_statistics(
        torch.linspace(-100, 50, 5),
        torch.linspace(0.1, 20, 5),
        torch.tensor([20.0, 10.0]),
        torch.tensor([8.0, 4.0]),
    )
    return model.eval()


def frames(*shape):
    return torch.randn(*shape, 5) * torch.linspace(0.1, 20, 5) + torch.linspace(-100, 50, 5)


def test_layer_norm_is_that_of_pytorch():
    torch.manual_seed(1)
    ours, theirs = LayerNorm(32, 1e-5), nn.LayerNorm(32, eps=1e-5)
    with torch.no_grad():
        theirs.weight.copy_(ours.rms_norm.weight.normal_())
        theirs.bias.copy_(ours.bias.normal_())
    x = torch.randn(3, 7, 32) * 5 + 2
    torch.testing.assert_close(ours(x), theirs(x))


def test_definition(model):
    """The network written out with PyTorch's own layers, as the design states it."""
    x = frames(3, 8)
    y = (x - torch.linspace(-100, 50, 5)) / torch.linspace(0.1, 20, 5)
    y = model.frame_projection(y)
    norm = model.frame_norm
    y = nn.functional.layer_norm(y, [6], norm.rms_norm.weight, norm.bias, ARGS.norm_eps)
    y = model.cmamba(y.transpose(1, 2))
    assert y.shape == (3, 6, 1)
    y = model.position_head(y.mean(2)) * torch.tensor([8.0, 4.0]) + torch.tensor([20.0, 10.0])
    torch.testing.assert_close(model(x), y)


def test_a_longer_window_keeps_its_last_frames(model):
    x = frames(2, 13)
    assert torch.equal(model(x), model(x[:, -8:]))


def test_a_shorter_window_has_zeros_in_front(model):
    x = frames(2, 3)
    assert torch.equal(model.to_frames(x)[:, :5], torch.zeros(2, 5, 5))
    whole = model.to_frames(torch.cat([frames(2, 5), x], dim=1))
    assert torch.equal(model.to_frames(x)[:, 5:], whole[:, 5:])
    mean = torch.linspace(-100, 50, 5).expand(2, 5, 5)
    torch.testing.assert_close(model(x), model(torch.cat([mean, x], dim=1)))


@pytest.mark.parametrize("shape", [(2, 8, 4), (2, 0, 5), (8, 5), (2, 8, 5, 1)])
def test_other_shapes_are_refused(model, shape):
    with pytest.raises(ValueError, match=r"frames: found shape .*, expected \[B, T, Din\] = .*5\]"):
        model(torch.zeros(shape))


def test_what_leaves_the_core_is_what_the_host_scales(model):
    x = frames(4, 8)
    y = model.core(model.to_frames(x))
    torch.testing.assert_close(model.to_positions(y), model(x))
    assert y.abs().mean() < 5  # standardized


def test_checkpoint_carries_the_statistics(tmp_path, model):
    save_checkpoint(model, tmp_path / "w.npz")
    x = frames(3, 8)
    loaded = load_model(tmp_path / "w.npz", kind=MambaRegressor)
    assert torch.equal(loaded(x), model(x))
