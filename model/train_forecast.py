"""Trains a CMamba forecaster: `python -m model.train_forecast --data etth1 --out W.safetensors`.

AdamW with cosine decay, early stopping on the validation MSE. `--out` always holds the best epoch
so far, as float16; the figures printed at the end are those of that file, read back. Beside it,
until training is complete, `<out>.resume.pt` holds the state at the end of the last epoch: the same
command with `--resume` goes on from there and, on a CPU with the same number of threads, ends with
the same bits as training that was never interrupted.

`torchrun --nproc-per-node N -m model.train_forecast ...` trains with N processes, each with a part
of every batch.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.args import ModelArgs
from model.cmamba import CMamba
from model.data import DATASETS, DEFAULT_DATASET, Splits, load_dataset
from model.io import load_model, save_checkpoint
from model.metrics import evaluate, torch_forecaster
from model.registry import REGISTRY, build_from
from model.training.args import LoopArgs
from model.training.command import (
    add_file_options,
    add_loop_options,
    add_model_options,
    add_option,
    args_from,
    given_model_options,
    run_command,
)
from model.training.distributed import ProcessGroup
from model.training.loops import TrainingError, TrainingLoop, resume_path

__all__ = ["TrainArgs", "Trainer", "TrainingError", "main", "resume_path"]

LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}
MODELS = [name for name, entry in REGISTRY.items() if entry.build is CMamba]


@dataclass(frozen=True)
class TrainArgs(LoopArgs):
    """How to train a forecaster."""

    data: str = DEFAULT_DATASET
    split: str = "auto"
    loss: str = "mse"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in LOSSES:
            raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, found '{self.loss}'")


class Trainer(TrainingLoop):
    """One training of a forecaster."""

    criterion = "mse"

    def __init__(
        self,
        model_args: ModelArgs,
        train_args: TrainArgs,
        splits: Splits,
        out: Path,
        group: ProcessGroup | None = None,
        log: Path | None = None,
    ) -> None:
        """Raises: ValueError (model and data do not fit together)."""
        for name, expected in (
            ("num_channels", splits.train.num_channels),
            ("seq_len", splits.train.seq_len),
            ("forecast_len", splits.train.forecast_len),
        ):
            if getattr(model_args, name) != expected:
                raise ValueError(
                    f"ModelArgs.{name}: found {getattr(model_args, name)}, the data have {expected}"
                )
        self.model_args = model_args
        self.splits = splits
        super().__init__(
            lambda: build_from(model_args),
            splits.train,
            train_args,
            out,
            group=group or ProcessGroup(),
            log=log,
        )

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return LOSSES[self.args.loss](output, target)

    def validate(self, model: nn.Module) -> dict[str, float]:
        return evaluate(torch_forecaster(model), self.splits.val)

    def identity(self) -> dict[str, dict[str, Any]]:
        return {"model_args": dataclasses.asdict(self.model_args)}

    def save(self, model: nn.Module) -> None:
        save_checkpoint(model, self.out, dtype=torch.float16)

    def describe(self, record: dict[str, float]) -> str:
        return (
            f"train {self.args.loss} {record['train_loss']:.4f}  "
            f"val MSE {record['val_mse']:.4f}  MAE {record['val_mae']:.4f}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.train_forecast",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = TrainArgs()
    add_file_options(parser)
    add_option(parser, "--data", default.data, f"{', '.join(sorted(DATASETS))} or a CSV file")
    add_option(
        parser, "--split", default.split, "rows of the splits", choices=("auto", "ett", "ratio")
    )
    add_option(parser, "--loss", default.loss, "what is minimized", choices=tuple(LOSSES))
    add_model_options(
        parser,
        MODELS,
        {
            "--topology": "arrangement of the blocks",
            "--channel-mode": "variables",
            "--seq-len": "L, input window in time steps",
            "--forecast-len": "H, forecast in time steps, a multiple of 8",
            "--patch-len": "P",
            "--stride": "S",
            "--d-model": "D",
            "--n-layer": "blocks",
            "--d-state": "N",
            "--expand": "d_inner / d_model",
            "--dropout": "dropout rate",
            "--sigma": "standard deviation of ChannelMixup (mixing only), 0 for none",
        },
    )
    add_loop_options(parser, default)
    return parser


def make_loop(options: argparse.Namespace, group: ProcessGroup) -> Trainer:
    """The training that the options describe. Raises: DataError, ValueError."""
    entry = REGISTRY[options.model]
    given = given_model_options(options)
    args = entry.args(**given)
    # Not args.forecast_len: a horizon that is rounded up is an error.
    forecast_len = given.get("forecast_len", args.forecast_len)
    splits = load_dataset(options.data, args.seq_len, forecast_len, options.split)
    args = entry.args(**given, num_channels=splits.train.num_channels, instance_norm=True)
    loop = Trainer(
        args, args_from(options, TrainArgs), splits, options.out, group, options.log_folder
    )
    if group.first:
        print(
            f"{splits.name}: V={args.num_channels}, windows train {len(splits.train)}, "
            f"val {len(splits.val)}, test {len(splits.test)}; "
            f"{sum(p.numel() for p in loop.model.parameters()):,} parameters"
        )
    return loop


def report(loop: Trainer) -> None:
    """Prints the figures of what the training left in its file."""
    forecast = torch_forecaster(load_model(loop.out))
    for name, windows in (("val", loop.splits.val), ("test", loop.splits.test)):
        result = evaluate(forecast, windows)
        print(f"{loop.out} {name}: MSE {result['mse']:.4f}  MAE {result['mae']:.4f}")


def main(argv: list[str] | None = None) -> int:
    return run_command(_parser().parse_args(argv), make_loop, report)


if __name__ == "__main__":
    sys.exit(main())
