"""Trains a MambaRegressor: `python -m model.train_regression --data FOLDER --out W.safetensors`.

FOLDER holds recordings (`model.data.frames_lazy`) or arrays of windows (`model.data.npz_xy`);
`synthetic` stands for drawn ones to try (`model.data.synthetic_frames`). The loss is Huber's of the
Euclidean error, the best epoch the one with the lowest mean error on the validation set. Besides
`--out`, in float32, it leaves

    <out>.cdf.png      the distribution of the errors on the validation and the test set
    <out>.errors.csv   the error of each test window

`--qat FP32.safetensors` tunes a trained regressor to its quantization as `model.train_forecast`
does a forecaster. What it saves is the regressor as an accelerator computes it
(`model.folded_regressor`), with what it has learned.

Interruption, `--resume` and `torchrun` as in `model.train_forecast`.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common import command_line
from model.data.frame_datasets import frame_files, load_frames
from model.data.frames import FrameSplits
from model.folded_regressor import FoldedRegressor, fold
from model.io import load_model
from model.metrics import torch_forecaster
from model.position_error import (
    distances,
    in_words,
    plot_cdf,
    predict_positions,
    summarize,
    write_table,
)
from model.quantization.fake import set_quant_mode
from model.registry import REGISTRY, build_from
from model.regressor import MambaRegressor
from model.regressor_args import RegressorArgs
from model.training.args import LoopArgs
from model.training.command import (
    add_file_options,
    add_loop_options,
    add_model_options,
    add_option,
    args_from,
    chosen_model,
    run_command,
)
from model.training.distributed import ProcessGroup
from model.training.qat import (
    QatLoop,
    QatLoopArgs,
    add_qat_options,
    read_source,
    refuse_qat_options,
)
from model.training.splits import SplitsLoop

MODELS = [name for name, entry in REGISTRY.items() if issubclass(entry.build, MambaRegressor)]
TABLE, PLOT = ".errors.csv", ".cdf.png"  # what is written beside `--out`

Positions = dict[str, tuple[np.ndarray, np.ndarray]]
"""Found and true positions of the validation and of the test set, [M, 2] each."""


@dataclass(frozen=True)
class TrainArgs(LoopArgs):
    """How to train a regressor."""

    lr: float = 2e-3
    huber_delta: float = 1.0  # metres up to which the loss is quadratic

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.huber_delta < float("inf"):
            raise ValueError(f"huber_delta: expected above 0, found {self.huber_delta}")


class Trainer(SplitsLoop):
    """One training of a regressor."""

    criterion = "mean"
    of_data = ("num_features",)
    width = "Din"
    model_args: RegressorArgs
    splits: FrameSplits

    def build(self) -> nn.Module:
        model = build_from(self.model_args)
        frames, positions = self.splits.frames, self.splits.positions
        statistics = (frames.mean, frames.std, positions.mean, positions.std)
        model.set_statistics(*(torch.from_numpy(np.asarray(values)) for values in statistics))
        return model

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        error = torch.linalg.vector_norm(output - target, dim=1)
        return F.huber_loss(error, torch.zeros_like(error), delta=self.args.huber_delta)

    def validate(self, model: nn.Module) -> dict[str, float]:
        return summarize(distances(*predict_positions(torch_forecaster(model), self.splits.val)))

    def describe(self, record: dict[str, float]) -> str:
        val = f"val {in_words(record, 'val_')}"
        if "train_loss" not in record:  # before the first epoch
            return val
        return f"train loss {record['train_loss']:.4f}  {val}"


@dataclass(frozen=True)
class QatArgs(QatLoopArgs, TrainArgs):
    """How to tune a trained regressor to its quantization."""

    epochs: int = 6
    lr: float = 2e-4
    step_lr: float = 1e-3


class QatTrainer(QatLoop, Trainer):
    """One quantization-aware training of a folded regressor."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.train_regression",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = TrainArgs()
    add_file_options(parser)
    parser.add_argument("--data", type=Path, required=True, help="folder, or 'synthetic'")
    add_option(
        parser, "--huber-delta", default.huber_delta, "error up to which the loss is quadratic"
    )
    add_qat_options(parser, QatArgs(), default)
    add_model_options(
        parser,
        MODELS,
        {
            "--topology": "arrangement of the blocks",
            "--seq-len": "L, frames of a window",
            "--num-channels": "C, channels that a frame is projected to",
            "--patch-len": "P, frames of a patch",
            "--stride": "S, frames from one patch to the next",
            "--d-model": "D",
            "--n-layer": "blocks",
            "--d-state": "N",
            "--expand": "d_inner / d_model",
            "--dropout": "dropout rate",
        },
    )
    add_loop_options(parser, default)
    return parser


def _make_fp32(options: argparse.Namespace, group: ProcessGroup) -> Trainer:
    refuse_qat_options(options)
    entry, given = chosen_model(options, MODELS)
    train_args = args_from(options, TrainArgs)
    splits = load_frames(options.data, entry.args(**given).seq_len)
    args = entry.args(**{"num_features": splits.train.num_features, **given})
    return Trainer(args, train_args, splits, options.out, group, options.log_folder)


def _make_qat(options: argparse.Namespace, group: ProcessGroup) -> QatTrainer:
    model = read_source(options, MODELS)
    if not isinstance(model, MambaRegressor | FoldedRegressor):
        raise ValueError(f"--qat: {options.qat} is a forecaster, expected a regressor")
    source = model if isinstance(model, FoldedRegressor) else fold(model)
    train_args = args_from(options, QatArgs)
    splits = load_frames(options.data, source.args.seq_len)
    return QatTrainer(source, train_args, splits, options.out, group, options.log_folder)


def report(loop: Trainer) -> None:
    """Prints the figures of what the training left in its file, and writes plot and table."""
    model = load_model(loop.out, kind=type(loop.model))
    if isinstance(loop, QatTrainer):
        print(loop.verdict())
        _print_figures("FP32", _predict(loop.source, loop.splits))
        _print_figures("int8, epoch 0", _predict(loop.build(), loop.splits))
        set_quant_mode(model, loop.args.quant_mode)
    positions = _predict(model, loop.splits)
    _print_figures(str(loop.out), positions)
    write_table(Path(f"{loop.out}{TABLE}"), loop.splits.test, *positions["test"])
    errors = {name: distances(*pair) for name, pair in positions.items()}
    plot_cdf(Path(f"{loop.out}{PLOT}"), errors)


def _predict(model: nn.Module, splits: FrameSplits) -> Positions:
    position_fn = torch_forecaster(model)
    windows = {"val": splits.val, "test": splits.test}
    return {name: predict_positions(position_fn, w) for name, w in windows.items()}


def _print_figures(label: str, positions: Positions) -> None:
    for name, pair in positions.items():
        print(f"{label} {name}: {in_words(summarize(distances(*pair)))}")


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    inputs = frame_files(options.data)
    return run_command(options, _make_fp32, _make_qat, report, inputs, beside=(TABLE, PLOT))


if __name__ == "__main__":
    sys.exit(main())
