"""CMamba against a naive implementation in NumPy, and the properties the hardware relies on."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from model.args import ModelArgs
from model.blocks import ChannelAttention, MambaBlock, RMSNorm
from model.cmamba import ChannelMixup, CMamba, sincos_positions
from model.quant_point import QuantPoint

SMALL = {
    "num_channels": 3,
    "seq_len": 40,
    "patch_len": 8,
    "stride": 5,
    "forecast_len": 8,
    "d_model": 12,
    "n_layer": 2,
    "d_state": 4,
    "reduction_ratio": 4,
}
KINDS = [(t, c) for t in ("stacked", "nested") for c in ("mixing", "independent")]


def small(**changes):
    """A small model in float64 with every parameter random, so that none hides behind 0 or 1."""
    torch.manual_seed(7)
    model = CMamba(ModelArgs(**SMALL | changes)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def random_input(model, batch=2):
    args = model.args
    return torch.randn(batch, args.num_channels, args.seq_len, dtype=model.norm_f.weight.dtype)


# --- the naive implementation: one window, one token, one feature at a time ---------------------


def silu(x):
    return x / (1 + np.exp(-x))


def naive_rms_norm(x, weight, eps):
    return np.array([row / math.sqrt(np.dot(row, row) / len(row) + eps) * weight for row in x])


def naive_mamba_block(p, name, x, args):
    """x [K, D] -> [K, D]; p maps the names of a checkpoint to arrays."""
    p = {key.removeprefix(name): value for key, value in p.items() if key.startswith(name)}
    K, E, N, R = len(x), args.d_inner, args.d_state, args.dt_rank
    h = naive_rms_norm(x, p["norm_in.weight"], args.norm_eps)
    uz = h @ p["in_proj.weight"].T + p.get("in_proj.bias", 0.0)
    u, z = uz[:, :E], uz[:, E:]
    convolved = np.zeros((K, E))
    for t in range(K):
        for e in range(E):
            for tap in range(args.d_conv):
                source = t - (args.d_conv - 1) + tap
                if source >= 0:
                    convolved[t, e] += p["conv1d.weight"][e, 0, tap] * u[source, e]
    u = silu(convolved + p.get("conv1d.bias", 0.0))
    y = np.zeros((K, E))
    state = np.zeros((E, N))
    for t in range(K):
        projected = p["x_proj.weight"] @ u[t]
        dt, B, C = projected[:R], projected[R : R + N], projected[R + N :]
        delta = np.log1p(np.exp(p["dt_proj.weight"] @ dt + p["dt_proj.bias"]))
        for e in range(E):
            for n in range(N):
                decay = math.exp(-math.exp(p["A_log"][e, n]) * delta[e])
                state[e, n] = decay * state[e, n] + delta[e] * B[n] * u[t, e]
            y[t, e] = state[e] @ C + p["D"][e] * u[t, e]
    return (y * silu(z)) @ p["out_proj.weight"].T + p.get("out_proj.bias", 0.0)


def naive_channel_attention(p, name, x):
    def perceptron(v):
        hidden = np.maximum(p[f"{name}fc1.weight"] @ v + p[f"{name}fc1.bias"], 0)
        return p[f"{name}fc2.weight"] @ hidden + p[f"{name}fc2.bias"]

    a = perceptron(x.mean(axis=0)) + perceptron(x.max(axis=0))
    return x / (1 + np.exp(-a))


def naive_core(p, tokens, args):
    """One sequence [K, core_channels * P] -> [core_channels * H]."""
    x = tokens @ p["patch_embedding.weight"].T + p["patch_embedding.bias"]
    for pos in range(len(x)):
        for column in range(args.d_model):
            angle = pos * 10000 ** (-2 * (column // 2) / args.d_model)
            # The model keeps its positions in float32.
            x[pos, column] += np.float32(math.cos(angle) if column % 2 else math.sin(angle))
    for i in range(args.n_layer):
        if args.topology == "stacked":
            x = x + naive_mamba_block(p, f"blocks.{i}.", x, args)
            continue
        block = f"c_mamba_blocks.{i}."
        for j in range(args.n_layer):
            x = x + naive_mamba_block(p, f"{block}patch_mamba.layers.{j}.", x, args)
        x = naive_channel_attention(p, f"{block}channel_attention.", x)
        x = naive_rms_norm(x, p[f"{block}norm.weight"], args.norm_eps)
    x = naive_rms_norm(x, p["norm_f.weight"], args.norm_eps)
    return p["output_layer.weight"] @ x.reshape(-1) + p["output_layer.bias"]


def naive_forward(model, window):
    """[V, L] -> [V, H]"""
    args = model.args
    p = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    scale, mean = np.ones(len(window)), np.zeros(len(window))
    if args.instance_norm:
        mean = window.mean(axis=1)
        scale = np.sqrt(((window - mean[:, None]) ** 2).mean(axis=1) + 1e-5)
    window = (window - mean[:, None]) / scale[:, None]
    patches = [
        window[:, k * args.stride : k * args.stride + args.patch_len]
        for k in range(args.num_patches)
    ]
    if args.channel_mode == "mixing":
        y = naive_core(p, np.array([patch.reshape(-1) for patch in patches]), args)
    else:
        sequences = [np.array([patch[v] for patch in patches]) for v in range(len(window))]
        y = np.concatenate([naive_core(p, sequence, args) for sequence in sequences])
    return y.reshape(len(window), -1) * scale[:, None] + mean[:, None]


@pytest.mark.parametrize(("topology", "channel_mode"), KINDS)
@pytest.mark.parametrize("options", [{}, {"instance_norm": True, "conv_bias": False, "bias": True}])
def test_equals_the_naive_model(topology, channel_mode, options):
    model = small(topology=topology, channel_mode=channel_mode, **options)
    x = random_input(model)
    expected = np.array([naive_forward(model, window) for window in x.numpy()])
    with torch.no_grad():
        np.testing.assert_allclose(model(x).numpy(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "sizes",
    [
        {"d_model": 33},
        {"d_model": 1, "d_state": 1, "d_conv": 1},
        {"seq_len": 8, "d_conv": 7},
    ],
)
def test_odd_sizes_equal_the_naive_model(sizes):
    model = small(**sizes)
    x = random_input(model, batch=1)
    with torch.no_grad():
        np.testing.assert_allclose(
            model(x)[0].numpy(), naive_forward(model, x[0].numpy()), rtol=1e-9, atol=1e-11
        )


# --- properties ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("topology", "channel_mode"), KINDS)
def test_shapes_and_gradients(topology, channel_mode):
    args = ModelArgs(**SMALL | {"topology": topology, "channel_mode": channel_mode, "dropout": 0.1})
    model = CMamba(args).train()
    x = random_input(model, batch=4)
    tokens = model.to_tokens(x)
    n_seq, channels = args.n_seq, args.core_channels
    assert tokens.shape == (4 * n_seq, args.num_patches, channels * args.patch_len)
    y = model.core(tokens)
    assert y.shape == (4 * n_seq, channels * args.forecast_len)
    assert model.from_core(y, x).shape == (4, args.num_channels, args.forecast_len)
    model(x).square().mean().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def test_forward_is_its_three_steps():
    model = small(instance_norm=True)
    x = random_input(model)
    with torch.no_grad():
        assert torch.equal(model(x), model.from_core(model.core(model.to_tokens(x)), x))


def test_tokens_are_channel_major():
    model = small()
    args = model.args
    x = torch.arange(2.0 * args.num_channels * args.seq_len).reshape(2, args.num_channels, -1)
    tokens = model.to_tokens(x)
    for k, v, p in [(0, 0, 0), (3, 2, 7), (6, 1, 4)]:
        assert tokens[1, k, v * args.patch_len + p] == x[1, v, k * args.stride + p]


@given(cut=st.integers(1, 6), seed=st.integers(0, 1000))
def test_mixer_is_causal(cut, seed):
    torch.manual_seed(seed)
    block = MambaBlock(ModelArgs(**SMALL)).double()
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    changed = x.clone()
    changed[:, cut:] += torch.randn_like(changed[:, cut:])
    with torch.no_grad():
        before, after = block(x), block(changed)
    torch.testing.assert_close(before[:, :cut], after[:, :cut], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(before[:, cut], after[:, cut])


@pytest.mark.parametrize("topology", ["stacked", "nested"])
def test_independent_mode_is_one_univariate_model_for_every_variable(topology):
    model = small(topology=topology, channel_mode="independent", instance_norm=True)
    single = small(topology=topology, num_channels=1, instance_norm=True)
    single.load_state_dict(model.state_dict())
    x = random_input(model)
    with torch.no_grad():
        one_by_one = torch.cat([single(x[:, v : v + 1]) for v in range(3)], dim=1)
        torch.testing.assert_close(model(x), one_by_one, rtol=1e-12, atol=1e-12)


@given(K=st.integers(1, 20), D=st.integers(1, 70))
def test_positions_follow_the_formula(K, D):
    positions = sincos_positions(K, D)
    assert positions.shape == (K, D) and positions.dtype == torch.float32
    for pos in range(K):
        for i in range((D + 1) // 2):
            angle = pos * 10000 ** (-2 * i / D)
            assert abs(positions[pos, 2 * i].item() - math.sin(angle)) < 1e-6
            if 2 * i + 1 < D:
                assert abs(positions[pos, 2 * i + 1].item() - math.cos(angle)) < 1e-6


def test_mixup_in_training_only():
    torch.manual_seed(0)
    x = torch.randn(5, 4, 30)
    assert ChannelMixup(0.5).eval()(x) is x
    assert ChannelMixup(0.0).train()(x) is x
    added = ChannelMixup(0.5).train()(x) - x
    # Each variable has got one share of one variable, the same in every window.
    for v in range(4):
        shares = (added[:, v, None] * x).sum(-1) / x.square().sum(-1)  # [5, 4]
        fits = [
            torch.allclose(added[:, v], share.mean() * x[:, w], atol=1e-4)
            for w, share in enumerate(shares.T)
        ]
        assert sum(fits) == 1


def test_mixup_has_the_deviation_asked_for():
    torch.manual_seed(0)
    x = torch.ones(1, 4000, 1)
    share = ChannelMixup(0.5).train()(x) - x
    assert abs(share.mean()) < 0.05 and abs(share.std() - 0.5) < 0.05


def test_eval_is_deterministic_and_training_is_not():
    model = small(dropout=0.5)
    x = random_input(model)
    with torch.no_grad():
        assert torch.equal(model(x), model(x))
        model.train()
        assert not torch.equal(model(x), model(x))


def test_head_dropout_leaves_out_outputs():
    model = small(head_dropout=0.25)
    tokens = model.to_tokens(random_input(model, 8))
    with torch.no_grad():
        y = model.core(tokens)
        trained = model.train().core(tokens)
    left_out = trained == 0
    assert 0.1 < left_out.double().mean() < 0.4
    torch.testing.assert_close(trained[~left_out], y[~left_out] / 0.75)


def test_instance_normalization_follows_level_and_scale():
    model = small(instance_norm=True)
    x = random_input(model) * 10
    level = torch.randn(2, 3, 1, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(model(3 * x + level), 3 * model(x) + level, rtol=1e-5, atol=1e-5)
        constant = model(torch.full_like(x, 4.0))
    assert constant.isfinite().all()


def test_rms_norm_and_attention_shapes():
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(
        RMSNorm(12, eps=1e-5)(x), torch.nn.functional.rms_norm(x, (12,), eps=1e-5)
    )
    scale = ChannelAttention(12, 4)(x) / x
    torch.testing.assert_close(scale, scale[:, :1].expand_as(scale))  # one factor per feature
    assert ((scale > 0) & (scale < 1)).all()


def test_initial_time_steps_are_log_uniform():
    torch.manual_seed(0)
    block = MambaBlock(ModelArgs(d_model=512))
    dt = torch.nn.functional.softplus(block.dt_proj.bias.detach())
    assert 0.999e-3 < dt.min() < 2e-3 and 0.05 < dt.max() < 0.1001
    torch.testing.assert_close(block.A_log[3].exp(), torch.arange(1.0, 17))


@pytest.mark.parametrize("shape", [(2, 3), (2, 4, 40), (2, 3, 41), (3, 40)])
def test_wrong_input_shape(shape):
    with pytest.raises(ValueError, match=r"found shape .* expected \[B, V, L\] = \[B, 3, 40\]"):
        small()(torch.zeros(shape))


# --- quantization points -------------------------------------------------------------------------


@pytest.mark.parametrize(("topology", "channel_mode"), KINDS)
def test_each_quantization_point_is_on_the_path(topology, channel_mode):
    model = small(topology=topology, channel_mode=channel_mode)
    x = random_input(model)
    points = {n: m for n, m in model.named_modules() if isinstance(m, QuantPoint)}
    assert len(points) == len({id(point) for point in points.values()})
    with torch.no_grad():
        plain = model(x)
        for name, point in points.items():
            calls = []
            point.hook = lambda t, calls=calls: calls.append(t.shape) or t
            torch.testing.assert_close(model(x), plain, rtol=1e-12, atol=1e-12)
            assert len(calls) == 1, name
            # A change at the point must reach the output. (Not a common factor: that would be
            # lost in the normalization that follows some of them.)
            point.hook = lambda t: (
                t + 0.5 * torch.sin(torch.arange(t.numel(), dtype=t.dtype).reshape(t.shape))
            )
            assert not torch.allclose(model(x), plain, rtol=1e-6), name
            point.hook = None
        assert torch.equal(model(x), plain)


@pytest.mark.parametrize(("topology", "blocks"), [("stacked", 2), ("nested", 4)])
def test_names_of_the_quantization_points(topology, blocks):
    model = small(topology=topology)
    names = [n for n, m in model.named_modules() if isinstance(m, QuantPoint)]
    in_block = ["q_norm", "q_u_in", "q_z", "q_conv", "q_u", "q_dt_low", "q_B", "q_C", "q_dt"]
    in_block += ["q_delta", "q_h", "q_y", "q_gated", "q_out"]
    for name in in_block:
        assert sum(n.endswith(f".{name}") for n in names) == blocks
    for name in ("q_input", "q_embed", "q_residual.0", "q_residual.2", "q_norm_f", "q_output"):
        assert name in names
    if topology == "nested":
        assert "c_mamba_blocks.1.patch_mamba.q_residual.1" in names
        for name in ("q_pool", "q_hidden", "q_logit", "q_scaled"):
            assert f"c_mamba_blocks.1.channel_attention.{name}" in names


def test_checkpoint_names():
    layer = ["norm_in.weight", "in_proj.weight", "conv1d.weight", "conv1d.bias", "x_proj.weight"]
    layer += ["dt_proj.weight", "dt_proj.bias", "A_log", "D", "out_proj.weight"]
    outer = ["patch_embedding.weight", "patch_embedding.bias"]
    outer += ["norm_f.weight", "output_layer.weight", "output_layer.bias"]
    stacked = [f"blocks.{i}.{name}" for i in range(2) for name in layer]
    assert set(small(topology="stacked").state_dict()) == {*outer, *stacked}
    nested = [
        f"c_mamba_blocks.{i}.{name}"
        for i in range(2)
        for name in [f"patch_mamba.layers.{j}.{name}" for j in range(2) for name in layer]
        + [f"channel_attention.{fc}.{kind}" for fc in ("fc1", "fc2") for kind in ("weight", "bias")]
        + ["norm.weight"]
    ]
    assert set(small(topology="nested").state_dict()) == {*outer, *nested}
