"""Trains a CMamba forecaster: `python -m model.train_forecast --data etth1 --out W.safetensors`.

AdamW with cosine decay (`--schedule`), early stopping on the validation MSE, or on the MAE with
`--loss l1`.
`--out` always holds the best epoch so far, as float16; the figures printed at the end are those of
that file, read back. Beside it, until training is complete, `<out>.resume.pt` holds the state at
the end of the last epoch: the same command with `--resume` goes on from there and, on a CPU with
the same number of threads, ends with the same bits as training that was never interrupted.

`--qat FP32.safetensors` tunes a trained model to its quantization: calibrated on windows of the
training split, then trained with the roundings of the int8 program in the forward pass (LSQ). The
calibrated model counts as epoch 0, so the result is never worse on the validation split. Where it
costs no more than `--max-cost` there, it is the result, and nothing is trained. The result is saved
as float32, with what it has learned; from a checkpoint of that kind, `--qat` goes on. Data and
split are those that the checkpoint was trained with, where it says so; others are refused.
`python -m evaluation.compare` compares the two checkpoints as int8 programs.

`torchrun --nproc-per-node N -m model.train_forecast ...` trains with N processes, each with a part
of every batch.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from common import command_line
from model.args import ModelArgs
from model.data import DATASETS, Splits, load_dataset
from model.data.csv_options import add_csv_options, csv_options
from model.data.csv_reader import say_on_stderr
from model.data.datasets import data_files
from model.data_record import SPLIT_NAMES
from model.forecast_qat import QatArgs, QatTrainer
from model.forecast_training import LOSSES, TrainArgs, Trainer
from model.inputs import cut_in_words, load_splits
from model.io import load_model
from model.metrics import Figures, comparison, evaluate, torch_forecaster
from model.quantization.fake import set_quant_mode
from model.quantization.structure import Quantizable
from model.registry import REGISTRY, args_to_json
from model.regressor import MambaRegressor
from model.regressor_args import RegressorArgs
from model.training.command import (
    add_file_options,
    add_loop_options,
    add_model_options,
    add_option,
    args_from,
    chosen_model,
    prepare,
    run_command,
)
from model.training.distributed import ProcessGroup, process_group
from model.training.loops import resume_path
from model.training.qat import add_qat_options, read_source, refuse_qat_options

MODELS = [name for name, entry in REGISTRY.items() if not issubclass(entry.build, MambaRegressor)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.train_forecast",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = TrainArgs()
    add_file_options(parser)
    names = ", ".join(sorted(DATASETS))
    text = f"{names} or a CSV file; with --qat, by default that of the checkpoint"
    add_option(parser, "--data", default.data, text)
    add_option(
        parser,
        "--split",
        default.split,
        "rows of the splits; auto is ett for the ETT sets and ratio for all others",
        choices=("auto", *SPLIT_NAMES),
    )
    add_option(parser, "--loss", default.loss, "what is minimized", choices=tuple(LOSSES))
    add_option(
        parser,
        "--mixup",
        default.mixup,
        "standard deviation of ChannelMixup of windows and targets, 0 for none",
    )
    add_csv_options(parser)
    add_qat_options(parser, QatArgs(), default)
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
            "--dt-rank": "R, rank of the projection to time steps; auto is D / 16, rounded up",
            "--expand": "d_inner / d_model",
            "--reduction-ratio": "hidden width of an MLP is D (nested) or V (published) / this",
            "--dropout": "dropout rate",
            "--head-dropout": "dropout rate of the outputs",
            "--sigma": "standard deviation of a ChannelMixup of windows alone, 0 for none",
        },
    )
    add_loop_options(parser, default)
    return parser


def settings_of(argv: list[str]) -> dict[str, Any]:
    """What a training with these options depends on, defaults included, in JSON's types: arguments
    of the training; unless `--qat` names a model, its arguments and the SHA-256 of the data.

    Where it runs (`--device`, `--threads`) is not among them. Raises: DataError, ValueError.
    """
    options = _parsed(argv)
    if options.qat:
        return {"training": dataclasses.asdict(args_from(options, QatArgs))}
    model_args, train_args, splits = _fp32_settings(options, say=lambda _: None)
    return {
        "data": splits.sha256,
        "model": json.loads(args_to_json(model_args)),
        "training": dataclasses.asdict(train_args),
    }


def _parsed(argv: list[str]) -> argparse.Namespace:
    """Raises ValueError where the command would end the process."""
    parser = _parser()
    parser.error = _refuse
    return parser.parse_args(argv)


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


def option_names() -> frozenset[str]:
    """What an option is called as a name of Python, but for --help."""
    return frozenset(action.dest for action in _parser()._actions) - {"help"}


def train(argv: list[str]) -> Trainer:
    """Trains with the options of the command, and returns the training that has run.

    Raises: DataError, TrainingError, ValueError, OSError.
    """
    options = _parsed(argv)
    with process_group(options.device) as group:
        loop = prepare(options, _make_fp32, _make_qat, group, _inputs(options))
        loop.run()
        if group.first:
            resume_path(loop.out).unlink(missing_ok=True)
    return loop


def _inputs(options: argparse.Namespace) -> list[Path]:
    """The files of --data."""
    return data_files(getattr(options, "data", TrainArgs.data))


def _fp32_settings(
    options: argparse.Namespace, say: Callable[[str], None]
) -> tuple[ModelArgs, TrainArgs, Splits]:
    refuse_qat_options(options)
    entry, given = chosen_model(options, MODELS)
    train_args = args_from(options, TrainArgs)
    # V is that of the data; until they are read, any that a reduction of V may have.
    ample = max(entry.default("num_channels"), given.get("reduction_ratio", 1))
    args = entry.args(**given, num_channels=ample)
    # Not args.forecast_len: a horizon that is rounded up is an error.
    forecast_len = given.get("forecast_len", args.forecast_len)
    if forecast_len != args.forecast_len:
        raise ValueError(
            f"--forecast-len: found {forecast_len}, expected a multiple of {args.pad_multiple}"
        )
    splits = load_dataset(
        train_args.data, args.seq_len, forecast_len, train_args.split, csv_options(options), say
    )
    args = entry.args(**given, num_channels=splits.train.num_channels, instance_norm=True)
    return args, train_args, splits


def _sayer(group: ProcessGroup) -> Callable[[str], None]:
    """Says it in the first process alone."""
    return say_on_stderr if group.first else lambda _: None


def _make_fp32(options: argparse.Namespace, group: ProcessGroup) -> Trainer:
    args, train_args, splits = _fp32_settings(options, _sayer(group))
    return Trainer(args, train_args, splits, options.out, group, options.log_folder)


def _make_qat(options: argparse.Namespace, group: ProcessGroup) -> QatTrainer:
    model = read_source(options, MODELS)
    if not isinstance(model, Quantizable) or isinstance(model.args, RegressorArgs):
        raise ValueError(f"--qat: {options.qat} is a regressor, expected a forecaster")
    train_args = args_from(options, QatArgs)
    name, csv = getattr(options, "data", None), csv_options(options)
    splits = load_splits(model, name, train_args.split, options=csv, say=_sayer(group))
    if group.first:
        print(cut_in_words(model, splits))
    model.record = splits.record
    return QatTrainer(model, train_args, splits, options.out, group, options.log_folder)


def report(loop: Trainer) -> None:
    """Prints the figures of what the training left in its file."""
    if isinstance(loop, QatTrainer):
        print(loop.verdict())
        print(comparison(_qat_figures(loop)))
        return
    forecast = torch_forecaster(load_model(loop.out, kind=type(loop.model)))
    for name, windows in (("val", loop.splits.val), ("test", loop.splits.test)):
        result = evaluate(forecast, windows)
        print(f"{loop.out} {name}: MSE {result['mse']:.4f}  MAE {result['mae']:.4f}")


def _qat_figures(loop: QatTrainer) -> dict[str, Figures]:
    """Of the FP32 model, of the int8 model before training, and of that in the file."""
    splits, best = loop.splits, loop.best_epoch
    fp32 = torch_forecaster(loop.source)
    figures = {"FP32": (evaluate(fp32, splits.val), evaluate(fp32, splits.test))}
    start, saved = loop.build(), load_model(loop.out, kind=type(loop.source))
    set_quant_mode(saved, loop.args.quant_mode)
    records = [loop.start, *loop.history]
    for epoch, model in {0: start, best: saved}.items():
        val = {name: records[epoch][f"val_{name}"] for name in ("mse", "mae")}
        figures[f"int8, epoch {epoch}"] = val, evaluate(torch_forecaster(model), splits.test)
    return figures


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return run_command(options, _make_fp32, _make_qat, report, inputs=_inputs(options))


if __name__ == "__main__":
    sys.exit(main())
