"""Small regressors, compiled: what the tests of them share."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

import isa
from compiler.compile import compile_model
from isa.package import Package
from model.folded_regressor import FoldedRegressor, fold
from model.quantization.calibrate import calibrate
from model.quantization.parameters import prepare_calibrated
from model.regressor import MambaRegressor
from model.regressor_args import RegressorArgs


@st.composite
def regressor_args(draw: st.DrawFn) -> RegressorArgs:
    """Shapes that fit every build: one, odd, as wide as a row and a little more."""
    patch_len, stride = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    patches = draw(st.sampled_from([1, 2, 3, 5, 8]))
    seq_len = patch_len + stride * (patches - 1) + draw(st.integers(0, stride - 1))
    # The default build has 64 rows for 64 channels each, and other norms take some.
    most = 64 if seq_len > 8 else 130
    d_model = draw(st.integers(1, 24))
    return RegressorArgs(
        num_features=draw(st.sampled_from([1, 3, 16, 17, 64, 129])),
        num_channels=draw(st.one_of(st.integers(1, 12), st.integers(1, most))),
        seq_len=seq_len,
        patch_len=patch_len,
        stride=stride,
        d_model=d_model,
        n_layer=draw(st.integers(1, 2)),
        d_state=draw(st.integers(1, 8)),
        d_conv=draw(st.integers(1, 4)),
        reduction_ratio=draw(st.integers(1, min(d_model, 9))),
        topology=draw(st.sampled_from(["stacked", "nested"])),
        norm_eps=draw(st.sampled_from([1e-5, 1e-2])),
    )


def random_regressor(args: RegressorArgs, seed: int = 0) -> MambaRegressor:
    """Random also where a new model has ones and zeros, and statistics that matter."""
    torch.manual_seed(seed)
    model = MambaRegressor(args).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith((".D", "norm.weight", "norm_in.weight", "norm_f.weight")):
                p.mul_(1.0 + 0.5 * torch.randn_like(p))
            elif name.endswith("frame_norm.bias"):
                p.normal_()
            elif name.endswith(("x_proj.weight", "out_proj.weight")):
                p.mul_(2.0)
    model.set_statistics(
        torch.linspace(-80.0, 40.0, args.num_features),
        torch.linspace(0.5, 9.0, args.num_features),
        torch.tensor([20.0, -5.0]),
        torch.tensor([8.0, 3.0]),
    )
    return model


def random_frames(args: RegressorArgs, count: int = 8, seed: int = 1) -> Tensor:
    """Random walks in the units that `random_regressor` expects: [count, L, Din]."""
    generator = torch.Generator().manual_seed(seed)
    walk = torch.randn(count, args.seq_len, args.num_features, generator=generator).cumsum(1)
    spread = torch.linspace(0.5, 9.0, args.num_features)
    return walk / args.seq_len**0.5 * spread + torch.linspace(-80.0, 40.0, args.num_features)


def prepared_regressor(args: RegressorArgs, seed: int = 0) -> FoldedRegressor:
    """A random folded regressor with the parameters of fake quantization, from calibration."""
    model = fold(random_regressor(args, seed))
    prepare_calibrated(model, calibrate(model, model.to_tokens(random_frames(args))))
    return model


def compile_regressor(args: RegressorArgs, build: str = "default", seed: int = 0) -> Package:
    """A random regressor, calibrated and compiled."""
    model = fold(random_regressor(args, seed))
    ranges = calibrate(model, model.to_tokens(random_frames(args)))
    return compile_model(model, ranges, build=isa.build(build))
