"""Checkpoints of the authors' CMamba, built here from names and shapes, against their formulas."""

import json
import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import run_infer
from compiler import export
from evaluation import compare
from model.args import ModelArgs
from model.inputs import read_args
from model.io import CheckpointError, load_model
from model.published import PublishedCMamba
from model.published_args import PublishedArgs
from model.registry import args_from_json
from model.train_forecast import main as train
from tests.sines import SHORT, csv_of_sines

SIZES = {"V": 7, "L": 96, "H": 24, "D": 16, "E": 16, "R": 4, "N": 4, "layers": 2, "reduction": 2}


def official_state(
    V: int, L: int, H: int, D: int, E: int, R: int, N: int, layers: int, reduction: int,
    P: int = 16, S: int = 8, bias: bool = True,
) -> dict[str, Tensor]:  # fmt: skip
    """A random `state_dict` with the names and shapes of the authors' code."""
    torch.manual_seed(V)
    K = (L - P) // S + 2

    def weight(n_out: int, n_in: int, gain: float = 1.0) -> Tensor:
        return torch.randn(n_out, n_in) * gain / math.sqrt(n_in)

    rows, columns = torch.arange(5000.0)[:, None], torch.arange(0.0, D, 2)
    angles = rows * torch.exp(columns * (-math.log(10000.0) / D))
    pe = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[None]
    state = {
        "patch_embedding.value_embedding.weight": weight(D, P),
        "patch_embedding.position_embedding.pe": pe,
        "head.linear.weight": weight(H, D * K),
        "head.linear.bias": torch.randn(H),
    }
    for i in range(layers):
        block = f"encoder.layers.{i}."
        state |= {
            f"{block}norm.weight": 1 + 0.5 * torch.randn(D),
            f"{block}mixer.A_log": torch.arange(1.0, N + 1).log()[None] + 0.3 * torch.randn(1, N),
            f"{block}mixer.in_proj.weight": weight(2 * E, D),
            f"{block}mixer.x_proj.weight": weight(R + 2 * N + E, E),
            f"{block}mixer.dt_proj.weight": weight(E, R),
            f"{block}mixer.dt_proj.bias": torch.randn(E) - 2,
            f"{block}mixer.out_proj.weight": weight(D, E, 2.0),
        }
        if bias:
            state[f"{block}mixer.in_proj.bias"] = 0.1 * torch.randn(2 * E)
            state[f"{block}mixer.out_proj.bias"] = 0.1 * torch.randn(D)
        for mlp in ("fc_sc", "fc_sf"):
            state[f"{block}GDDMLP.{mlp}.0.weight"] = weight(V // reduction, V, 2.0)
            state[f"{block}GDDMLP.{mlp}.2.weight"] = weight(V, V // reduction, 2.0)
    return state


def official_forecast(state: dict[str, Tensor], x: Tensor, S: int = 8) -> Tensor:
    """The authors' forward by its formulas, in float64: x [B, V, L] -> [B, V, H]."""
    w = {name: tensor.double() for name, tensor in state.items()}
    P = w["patch_embedding.value_embedding.weight"].shape[1]
    x = x.double()
    mean, deviation = x.mean(-1, True), (x.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    z = (x - mean) / deviation
    z = torch.cat([z, z[..., -1:].expand(-1, -1, S)], -1)
    tokens = torch.stack([z[..., s : s + P] for s in range(0, z.shape[-1] - P + 1, S)], 2)
    h = tokens @ w["patch_embedding.value_embedding.weight"].T  # [B, V, K, D]
    h = h + w["patch_embedding.position_embedding.pe"][0, : h.shape[2]]
    for i in range(sum(name.endswith("A_log") for name in w)):
        block = {n.removeprefix(f"encoder.layers.{i}."): t for n, t in w.items()}
        h = h + modulated(block, mixed(block, h))
    features_first = F.silu(h).transpose(-1, -2).flatten(-2)  # [B, V, D * K]
    y = features_first @ w["head.linear.weight"].T + w["head.linear.bias"]
    return y * deviation + mean


def mixed(w: dict[str, Tensor], h: Tensor) -> Tensor:
    """[B, V, K, D] -> same: norm, gated selective scan."""
    h = h / (h.square().mean(-1, True) + 1e-5).sqrt() * w["norm.weight"]
    u, z = (h @ w["mixer.in_proj.weight"].T + w.get("mixer.in_proj.bias", 0)).chunk(2, -1)
    u = F.silu(u)
    R, N = w["mixer.dt_proj.weight"].shape[1], w["mixer.A_log"].shape[1]
    low, B, C, skip = (u @ w["mixer.x_proj.weight"].T).split([R, N, N, u.shape[-1]], -1)
    dt = F.softplus(low @ w["mixer.dt_proj.weight"].T + w["mixer.dt_proj.bias"])
    A, state, rows = -w["mixer.A_log"].exp(), 0.0, []
    for k in range(u.shape[2]):
        step = dt[:, :, k, :, None]  # [B, V, E, 1]
        state = (step * A).exp() * state + step * B[:, :, k, None] * u[:, :, k, :, None]
        rows.append((state * C[:, :, k, None]).sum(-1) + skip[:, :, k] * u[:, :, k])
    gated = torch.stack(rows, 2) * F.silu(z)
    return gated @ w["mixer.out_proj.weight"].T + w.get("mixer.out_proj.bias", 0)


def modulated(w: dict[str, Tensor], y: Tensor) -> Tensor:
    """[B, V, K, D] -> same: scaled and shifted by an MLP across the variables."""

    def across(mlp: str) -> Tensor:
        logits = 0.0
        for pooled in (y.mean(-1), y.amax(-1)):  # [B, V, K]
            hidden = F.gelu(torch.einsum("hv,bvk->bhk", w[f"GDDMLP.{mlp}.0.weight"], pooled))
            logits = logits + torch.einsum("vh,bhk->bvk", w[f"GDDMLP.{mlp}.2.weight"], hidden)
        return logits.sigmoid()[..., None]

    return across("fc_sc") * y + across("fc_sf")


def saved(state: dict[str, Tensor], path, prefix: str = ""):
    torch.save({f"{prefix}{name}": tensor for name, tensor in state.items()}, path)
    return path


@pytest.mark.parametrize(
    ("V", "reduction", "layers"), [(7, 2, 3), (21, 2, 3), (321, 4, 5), (862, 8, 4)]
)
def test_a_checkpoint_loads_as_it_is(tmp_path, V, reduction, layers):
    """With the blocks and ratios of the authors' scripts for ETT, Weather, ECL and Traffic."""
    state = official_state(**SIZES | {"V": V, "reduction": reduction, "layers": layers})
    model = load_model(saved(state, tmp_path / "checkpoint.pth"), kind=PublishedCMamba)
    x = torch.randn(2, V, 96).cumsum(-1) / 96**0.5  # in the scale of standardized data
    with torch.no_grad():
        found = model(x)
    expected = official_forecast(state, x)
    assert expected.std() > 0.5  # else nothing would be seen
    assert (found - expected).abs().max() < 2e-5
    sizes = {"num_channels": V, "forecast_len": 24, "d_model": 16, "n_layer": layers}
    sizes |= {"d_state": 4, "dt_rank": 4, "reduction_ratio": reduction, "head_dropout": 0.0}
    assert model.args == PublishedArgs(**sizes) and model.record is None


@settings(max_examples=15)
@given(
    V=st.integers(2, 9),
    K=st.integers(2, 6),
    P=st.integers(8, 16),
    H=st.integers(1, 20),
    expand=st.integers(1, 2),
    bias=st.booleans(),
    layers=st.integers(1, 2),
    data=st.data(),
)
def test_any_shape(tmp_path_factory, V, K, P, H, expand, bias, layers, data):
    D, L = 2 * data.draw(st.integers(1, 6)), P + 8 * (K - 2)
    sizes = {"V": V, "L": L, "H": H, "D": D, "E": expand * D, "P": P, "R": 3, "N": 2}
    reduction = data.draw(st.integers(1, V))
    state = official_state(**sizes, layers=layers, reduction=reduction, bias=bias)
    path = saved(state, tmp_path_factory.getbasetemp() / "any.pth")
    x = torch.randn(2, V, L).cumsum(-1) / L**0.5
    with torch.no_grad():
        found = load_model(path)(x)
    torch.testing.assert_close(found.double(), official_forecast(state, x), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_prefixes(tmp_path, prefix):
    state = official_state(**SIZES)
    plain = load_model(saved(state, tmp_path / "a.pth"))
    wrapped = load_model(saved(state, tmp_path / "b.pth", prefix))
    assert wrapped.args == plain.args
    for name, tensor in plain.state_dict().items():
        assert torch.equal(wrapped.state_dict()[name], tensor), name


def test_a_prefix_between_the_names(tmp_path):
    state = official_state(**SIZES)
    compiled = {n.replace("encoder.", "encoder._orig_mod."): t for n, t in state.items()}
    assert load_model(saved(compiled, tmp_path / "a.pth")).args.n_layer == 2


def test_more_hidden_units_than_variables(tmp_path):
    """No ratio gives them."""
    state = official_state(**SIZES)
    for name in [name for name in state if name.endswith("fc_sc.2.weight")]:
        state[name] = torch.zeros(7, 9)
    path = saved(state, tmp_path / "a.pth")
    sizes = {"forecast_len": 24, "d_model": 16, "n_layer": 2, "d_state": 4, "dt_rank": 4}
    for args in (None, PublishedArgs(**sizes), PublishedArgs(**sizes, reduction_ratio=1)):
        with pytest.raises(CheckpointError, match=r"gdd_mlp|reduction_ratio"):
            load_model(path, args)


def test_what_the_shapes_do_not_say_is_taken_from_arguments(tmp_path):
    state = official_state(**SIZES | {"L": 98, "H": 12}, S=4)
    path, args = saved(state, tmp_path / "a.pth"), tmp_path / "args.json"
    official = {"model": "CMamba", "seq_len": 98, "pred_len": 12, "e_layers": 2, "d_model": 16}
    official |= {"d_ff": 16, "enc_in": 7, "c_out": 7, "d_state": 4, "dt_rank": 4, "stride": 4}
    official |= {"reduction": 2, "gddmlp": True, "learning_rate": 1e-3, "sigma": 1.0}
    args.write_text(json.dumps(official))
    x = torch.randn(2, 7, 98).cumsum(-1) / 98**0.5
    with torch.no_grad():
        found = load_model(path, read_args(args))(x)
    assert (found - official_forecast(state, x, S=4)).abs().max() < 2e-5
    # Without them, a stride of 8 and the shortest window.
    assert load_model(path).args.seq_len == 16 + 8 * (22 - 2)


def test_arguments_by_the_authors_names():
    official = {"enc_in": 321, "e_layers": 5, "pred_len": 96, "reduction": 4, "d_ff": 256}
    ours = {"num_channels": 321, "n_layer": 5, "reduction_ratio": 4, "expand": 2}
    assert args_from_json(official) == PublishedArgs(**ours)
    assert args_from_json({"pred_len": 20}).forecast_len == 20
    assert args_from_json({"model": "CMamba"}) == PublishedArgs()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"enc_in": 7, "enc_on": 8}, "official CMamba: found unknown enc_on, expected among avg,"),
        ({"enc_in": 7, "num_channels": 7}, "found unknown num_channels"),
        ({"d_ff": 200}, "d_ff: found 200, expected a multiple of d_model, 128"),
        ({"d_ff": "x"}, "d_ff: found 'x', expected a multiple"),
        ({"d_ff": 128, "d_model": 0}, "d_ff: found 128, expected a multiple of d_model, 0"),
        ({"enc_in": 7, "c_out": 1}, "c_out: found 1, expected 7 in a CMamba"),
        ({"enc_in": 7, "max": False}, "max: found False, expected True in a CMamba"),
        ({"enc_in": 7, "task_name": "imputation"}, "task_name: found 'imputation', expected 'long"),
        ({"enc_in": 7, "model": "PatchTST"}, "model: found 'PatchTST', expected 'CMamba'"),
        ({"enc_in": "many"}, "PublishedArgs.num_channels: found 'many', expected an integer"),
    ],
)
def test_arguments_of_no_such_model(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        args_from_json(fields)


def without(state, *parts):
    return {n: t for n, t in state.items() if not any(part in n for part in parts)}


PE = "patch_embedding.position_embedding.pe"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "GDDMLP"), "found a CMamba without GDD-MLP, trained without --gdd"),
        (lambda s: without(s, "head.linear.weight"), "head.linear.weight: found nothing, expected"),
        (lambda s: without(s, "1.norm"), "missing blocks.1.norm.weight [16]"),
        (lambda s: s | {"head.linear.weight": torch.zeros(24)}, "found [24], expected a matrix"),
        (lambda s: s | {"head.linear.weight": torch.zeros(2, 100)}, "found 100 inputs, expected a"),
        (lambda s: s | {PE: torch.zeros(1, 5000, 16)}, f"{PE}: found other values than sines"),
        (lambda s: s | {PE: torch.tensor(0.0)}, f"{PE}: found other values than sines"),
        (lambda s: s | {"ema." + n: t for n, t in s.items()}, "tensors behind '' and 'ema.'"),
        (lambda s: {f"a.{n}": t for n, t in s.items()} | {"b": torch.zeros(1)}, "found b beside"),
        (
            lambda s: {n.replace("1.norm", "9999999.norm"): t for n, t in s.items()},
            "missing blocks.1.norm.weight",
        ),
        (
            lambda s: s | {"encoder.layers.0.mixer.dt_proj.weight": torch.zeros(20, 4)},
            "d_ff: found 20, expected a multiple of d_model, 16",
        ),
    ],
)
def test_other_tensors_are_one_line(tmp_path, change, message):
    path = saved(change(official_state(**SIZES)), tmp_path / "a.pth")
    with pytest.raises(CheckpointError) as error:
        load_model(path)
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (PublishedArgs(d_model=16), "found forecast_len 96 in the arguments, expected 24 as the t"),
        (ModelArgs(), "found a CMamba of its authors, expected arguments of model 'published'"),
    ],
)
def test_arguments_that_contradict_the_tensors(tmp_path, args, message):
    path = saved(official_state(**SIZES), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=message):
        load_model(path, args)


@pytest.mark.parametrize("block", ["mamba.", "layers.0.mixer."])
def test_models_of_the_time_series_library_are_refused(tmp_path, block):
    state = {
        "embedding.value_embedding.tokenConv.weight": torch.zeros(16, 7, 3),
        "embedding.position_embedding.pe": torch.zeros(1, 5000, 16),
        "embedding.temporal_embedding.embed.weight": torch.zeros(16, 4),
        f"{block}A_log": torch.zeros(32, 16),
        "out_layer.weight": torch.zeros(7, 16),
    }
    with pytest.raises(CheckpointError, match=r"a\.pth: found a model of the Time-Series-Library"):
        load_model(saved(state, tmp_path / "a.pth", "module."))


def test_every_command_takes_it(tmp_path, capsys):
    sizes = {"V": 2, "L": 24, "H": 8, "D": 8, "E": 8, "R": 2, "N": 2, "layers": 1, "reduction": 1}
    weights = saved(official_state(**sizes), tmp_path / "checkpoint.pth")
    data, windows = str(csv_of_sines(tmp_path / "sines.csv")), tmp_path / "x.npz"
    np.savez(windows, x=np.random.default_rng(0).normal(size=(2, 2, 24)).astype(np.float32))
    given, package = ["--weights", str(weights)], str(tmp_path / "w.bin")
    run = [*given, "--input", str(windows)]
    assert export.main([*given, "--output", package, "--dataset", data, "--windows", "8"]) == 0
    assert run_infer.main([*run, "--package", package, "--backend", "int8"]) == 0
    assert compare.main([str(weights), "--dataset", data, "--backend", "int8"]) == 0
    assert "the checkpoint does not say what it was trained on" in capsys.readouterr().err
    out = tmp_path / "qat.safetensors"
    qat = ["--qat", str(weights), "--data", data, "--out", str(out), *SHORT, "--epochs", "1"]
    assert train(qat) == 0
    assert load_model(out).record.dataset == "sines.csv"
