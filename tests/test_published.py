"""PublishedCMamba against the formulas of the paper, written out token by token."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.io import load_model, save_checkpoint
from model.published import PublishedArgs, PublishedCMamba

SMALL = {"seq_len": 32, "patch_len": 8, "stride": 4, "forecast_len": 8, "d_model": 8}


def build(**options):
    torch.manual_seed(0)
    return PublishedCMamba(PublishedArgs(**SMALL | options)).eval().double()


def silu(x):
    return x / (1 + np.exp(-x))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def linear(x, layer):
    y = x @ layer.weight.detach().numpy().T
    return y if layer.bias is None else y + layer.bias.detach().numpy()


def mix(x, block):
    """[K, D] of one variable -> same"""
    mixer = block.mixer
    R, N, E = mixer.dt_proj.in_features, mixer.A_log.shape[1], mixer.dt_proj.out_features
    A = -np.exp(mixer.A_log.detach().numpy()[0])
    x = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + block.norm.eps)
    xz = linear(x * block.norm.weight.detach().numpy(), mixer.in_proj)
    h = np.zeros((E, N))
    rows = []
    for u, z in zip(silu(xz[:, :E]), silu(xz[:, E:]), strict=True):
        dt, B, C, skip = np.split(linear(u, mixer.x_proj), [R, R + N, R + 2 * N])
        delta = np.log1p(np.exp(linear(dt, mixer.dt_proj)))
        h = np.exp(delta[:, None] * A) * h + (delta * u)[:, None] * B
        rows.append((h @ C + skip * u) * z)
    return linear(np.stack(rows), mixer.out_proj)


def across(x, mlp):
    """[V, K, D] -> [V, K]"""
    sums = np.zeros(x.shape[:2])
    for pooled in (x.mean(-1), x.max(-1)):
        for k in range(x.shape[1]):
            sums[:, k] += linear(gelu(linear(pooled[:, k], mlp.fc1)), mlp.fc2)
    return sigmoid(sums)[:, :, None]


def forecast(model, x):
    """[V, L] -> [V, H]"""
    args = model.args
    mean, deviation = 0.0, 1.0
    if args.instance_norm:
        mean, deviation = x.mean(1, keepdims=True), np.sqrt(x.var(1, keepdims=True) + 1e-5)
    z = (x - mean) / deviation
    z = np.concatenate([z, np.repeat(z[:, -1:], args.stride, axis=1)], axis=1)
    starts = range(0, z.shape[1] - args.patch_len + 1, args.stride)
    tokens = np.stack([z[:, s : s + args.patch_len] for s in starts], axis=1)
    h = linear(tokens, model.patch_embedding) + model.positions.numpy()
    for block in model.blocks:
        y = np.stack([mix(row, block) for row in h])
        h = h + y * across(y, block.gdd_mlp.scale) + across(y, block.gdd_mlp.shift)
    return linear(silu(h).reshape(len(h), -1), model.output_layer) * deviation + mean


@settings(max_examples=15)
@given(
    V=st.integers(2, 5),
    n_layer=st.integers(1, 2),
    stride=st.integers(1, 9),
    expand=st.integers(1, 2),
    instance_norm=st.booleans(),
    seed=st.integers(0, 99),
)
def test_forward_is_the_papers(V, n_layer, stride, expand, instance_norm, seed):
    model = build(
        num_channels=V,
        n_layer=n_layer,
        stride=stride,
        expand=expand,
        instance_norm=instance_norm,
        d_state=3,
        dt_rank=2,
    )
    x = np.random.default_rng(seed).standard_normal((2, V, 32)).cumsum(-1)
    with torch.no_grad():
        found = model(torch.from_numpy(x)).numpy()
    expected = np.stack([forecast(model, window) for window in x])
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


def test_the_defaults_are_the_authors():
    args = PublishedArgs()
    assert (args.num_patches, args.d_inner, args.n_seq) == (12, 128, 7)


def test_head_dropout_is_all_that_differs_between_its_training_and_use():
    """It stands behind the head, as in the authors' code, and not before."""
    model = build(dropout=0.0, head_dropout=0.25)
    tokens = model.to_tokens(torch.randn(16, 7, 32, dtype=torch.float64))
    with torch.no_grad():
        y = model.eval().core(tokens)
        trained = model.train().core(tokens)
    left_out = trained == 0
    assert 0.1 < left_out.double().mean() < 0.4
    torch.testing.assert_close(trained[~left_out], y[~left_out] / 0.75)


def test_gradients_reach_every_parameter():
    model = build().float().train()
    model(torch.randn(2, 7, 32)).square().mean().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_checkpoint_holds_its_architecture(tmp_path):
    model = build(d_state=2).float()
    path = tmp_path / "w.safetensors"
    save_checkpoint(model, path)
    x = torch.randn(3, 7, 32)
    loaded = load_model(path, kind=PublishedCMamba)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channel_mode": "mixing"}, "channel_mode: found 'mixing', expected 'independent'"),
        ({"topology": "nested"}, "topology: found 'nested', expected 'stacked'"),
        ({"sigma": 0.5}, "sigma: found 0.5, expected 0.0"),
        ({"d_conv": 2}, "d_conv: found 2, expected 4"),
        ({"conv_bias": False}, "conv_bias: found False, expected True"),
        ({"stride": 97}, "stride: found 97, expected at most seq_len = 96"),
        ({"num_channels": 1}, "reduction_ratio: found 2, expected at most num_channels = 1"),
    ],
)
def test_arguments_that_it_cannot_have(options, message):
    with pytest.raises(ValueError, match=f"^PublishedArgs.{message}"):
        PublishedArgs(**options)


def test_windows_of_another_shape():
    with pytest.raises(ValueError, match=r"found shape \[1, 6, 32\], expected \[B, V, L\]"):
        build()(torch.zeros(1, 6, 32).double())
