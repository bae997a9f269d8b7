"""The golden packages: trained checkpoints, and small models that cover shapes and options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from compiler.compile import DEFAULT_OPTIONS, Options, compile_learned, compile_model
from isa.package import Package
from model.data import Splits
from model.data.frames import FrameSplits
from model.inputs import load_splits, read_model
from model.quantization.calibrate import calibrate, calibration_windows
from model.quantization.parameters import is_prepared
from model.quantization.structure import Quantizable
from model.registry import build_model

CHECKPOINTS = Path(__file__).resolve().parents[1] / "model" / "checkpoints"


@dataclass(frozen=True)
class Case:
    """A model with data. `dataset` is None for a model with random weights."""

    name: str
    dataset: str | None
    load: Callable[[], Quantizable]
    options: Options = DEFAULT_OPTIONS


@dataclass(frozen=True)
class CompiledCase:
    """A case with its model, data and package."""

    case: Case
    model: Quantizable
    splits: Splits | FrameSplits | None
    package: Package


def compile_on(
    model: Quantizable, windows: torch.Tensor, options: Options = DEFAULT_OPTIONS
) -> Package:
    """Compile with formats that the model has learned, or calibrate it on windows."""
    if is_prepared(model):
        return compile_learned(model)
    return compile_model(model, calibrate(model, model.to_tokens(windows)), options)


def _checkpoint(
    name: str, dataset: str, options: Options = DEFAULT_OPTIONS, suffix: str = ""
) -> Case:
    path = CHECKPOINTS / f"{name}.safetensors"
    return Case(name + suffix, dataset, lambda: read_model(path), options)


def _random(
    name: str, model_name: str = "mixing", options: Options = DEFAULT_OPTIONS, **args: object
) -> Case:
    def load() -> Quantizable:
        torch.manual_seed(0)
        model = build_model(model_name, **args).eval()
        with torch.no_grad():  # away from the initial ones and zeros
            for parameter_name, parameter in model.named_parameters():
                if parameter_name.endswith(
                    (".D", "norm.weight", "norm_in.weight", "norm_f.weight")
                ):
                    parameter.mul_(1.0 + 0.5 * torch.randn_like(parameter))
        return model

    return Case(name, None, load, options)


CHECKPOINT_CASES: tuple[Case, ...] = (
    _checkpoint("nyc_weather", "nyc_weather"),
    _checkpoint("etth1_mixing", "etth1"),
    _checkpoint("etth1_independent", "etth1"),
    _checkpoint("etth1_published", "etth1"),
)

CASES: tuple[Case, ...] = (
    *CHECKPOINT_CASES,
    _checkpoint("nyc_weather", "nyc_weather", Options(power_of_two=True), suffix="_pow2"),
    _checkpoint("nyc_weather_qat", "nyc_weather"),  # with formats from training
    _random(
        "nested",
        num_channels=4,
        seq_len=48,
        forecast_len=24,
        d_model=32,
        n_layer=2,
        topology="nested",
    ),
    _random(
        "nested_independent",
        num_channels=3,
        seq_len=32,
        forecast_len=8,
        d_model=16,
        n_layer=2,
        d_state=4,
        topology="nested",
        channel_mode="independent",
        reduction_ratio=4,
        instance_norm=True,
    ),
    # Nothing divides the array: D=33, V=5, d_state=5, an odd horizon.
    _random(
        "odd",
        num_channels=5,
        seq_len=50,
        patch_len=7,
        stride=5,
        forecast_len=11,
        pad_multiple=1,
        d_model=33,
        n_layer=2,
        d_state=5,
        d_conv=3,
        bias=True,
        instance_norm=True,
    ),
    # One token: the convolution sees padding only, the scan never decays.
    _random(
        "one_token",
        num_channels=3,
        seq_len=16,
        forecast_len=8,
        d_model=24,
        n_layer=1,
        dt_rank=5,
    ),
    # More tokens than a ring has rows; an independent model whose schedule needs several sequences.
    _random(
        "many_tokens",
        num_channels=6,
        seq_len=200,
        patch_len=8,
        stride=4,
        forecast_len=16,
        d_model=16,
        n_layer=3,
        d_state=2,
        conv_bias=False,
        channel_mode="independent",
    ),
    # More forecast values than the array sums at once: the head is split.
    _random(
        "long_horizon",
        num_channels=9,
        seq_len=32,
        forecast_len=480,
        d_model=16,
        n_layer=1,
        d_state=1,
    ),
    # Coupled variables, of which two rows of means and maxima are longer than a word.
    _random(
        "published_wide",
        "published",
        num_channels=40,
        seq_len=16,
        forecast_len=8,
        d_model=16,
        d_state=4,
        dt_rank=3,
        n_layer=1,
    ),
    _random(
        "published_odd",
        "published",
        num_channels=3,
        seq_len=29,
        patch_len=7,
        stride=5,
        forecast_len=11,
        pad_multiple=1,
        d_model=33,
        expand=2,
        d_state=5,
        dt_rank=9,
        n_layer=2,
        reduction_ratio=1,
    ),
    # Positions from radio frames.
    _checkpoint("positioning", "synthetic"),
    _checkpoint("positioning_qat", "synthetic"),
)


def build_case(case: Case) -> CompiledCase:
    """Load, calibrate and compile one case.

    Raises:
        DataError: its data set is not on this machine.
    """
    model = case.load()
    args = model.args
    if case.dataset is None:
        splits = None
        generator = torch.Generator().manual_seed(1)
        shape = (8, args.num_channels, args.seq_len)
        windows = torch.randn(shape, generator=generator).cumsum(-1) / args.seq_len**0.5
    else:
        splits = load_splits(model, case.dataset)
        windows = calibration_windows(splits)
    return CompiledCase(case, model, splits, compile_on(model, windows, case.options))
