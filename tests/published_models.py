"""Small published models: what the tests of their quantization share."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from model.published import PublishedCMamba
from model.published_args import PublishedArgs
from model.quantization.calibrate import calibrate
from model.quantization.parameters import clamp_steps, prepare_calibrated
from tests.compiled_models import is_symmetric, random_windows

SMALL_PUBLISHED = {
    "num_channels": 4,
    "seq_len": 24,
    "patch_len": 8,
    "stride": 4,
    "forecast_len": 8,
    "d_model": 16,
    "d_state": 4,
    "dt_rank": 3,
    "n_layer": 2,
}


@st.composite
def published_args(draw: st.DrawFn) -> PublishedArgs:
    """Shapes that fit build `default`: one, odd and prime."""
    patch_len, stride = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    patches = draw(st.sampled_from([1, 2, 4, 6]))
    channels = draw(st.integers(1, 6))
    return PublishedArgs(
        num_channels=channels,
        seq_len=max(stride, patch_len + stride * (patches - 1) + draw(st.integers(0, stride - 1))),
        patch_len=patch_len,
        stride=stride,
        forecast_len=draw(st.integers(1, 13)),
        pad_multiple=draw(st.sampled_from([1, 8])),
        d_model=draw(st.integers(1, 24)),
        n_layer=draw(st.integers(1, 2)),
        d_state=draw(st.integers(1, 9)),
        expand=draw(st.integers(1, 2)),
        dt_rank=draw(st.integers(1, 9)),
        bias=draw(st.booleans()),
        reduction_ratio=draw(st.integers(1, channels)),
        norm_eps=draw(st.sampled_from([1e-5, 1e-2])),
        instance_norm=draw(st.booleans()),
    )


def random_published(args: PublishedArgs, seed: int = 0) -> PublishedCMamba:
    """A model whose blocks matter as after training: at initialization they hardly do."""
    torch.manual_seed(seed)
    model = PublishedCMamba(args).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("norm.weight"):
                p.mul_(1.0 + 0.5 * torch.randn_like(p))
            elif name.endswith(("x_proj.weight", "out_proj.weight")) or "gdd_mlp" in name:
                p.mul_(4.0)
            elif name.endswith("A_log"):
                p.add_(0.5 * torch.randn_like(p))
    return model


def prepared_published(args: PublishedArgs, seed: int = 0) -> PublishedCMamba:
    """A random model with the parameters of fake quantization, from calibration."""
    model = random_published(args, seed)
    prepare_calibrated(model, calibrate(model, model.to_tokens(random_windows(args))))
    return model


def learned_published(args: PublishedArgs, seed: int = 0) -> PublishedCMamba:
    """The same with steps and zero points that have moved as training moves them."""
    model = prepared_published(args, seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith((".scale", ".weight_scale")):
                p.mul_(torch.exp(0.1 * torch.randn_like(p)))
            elif name.endswith(".zero_point") and not is_symmetric(model, name):
                p.add_(torch.randn_like(p))
    clamp_steps(model)
    return model
