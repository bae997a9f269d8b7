"""What the commands are given: models, their arguments, data sets, and files of windows."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from model.args import ModelArgs
from model.cmamba import instance_statistics
from model.data import DATASETS, DEFAULT_DATASET, CsvOptions, DataError, Splits, load_dataset
from model.data.csv_reader import say_on_stderr
from model.data.datasets import Read, load_as_trained, read_dataset
from model.data.frame_datasets import load_frames
from model.data.frames import FrameSplits
from model.data_record import SPLIT_NAMES
from model.folded_regressor import fold
from model.io import InputError, load_model, load_npz_input
from model.quantization.structure import Quantizable
from model.registry import args_from_json
from model.regressor import MambaRegressor
from model.regressor_args import RegressorArgs
from model.windows import overflow


def read_args(path: Path | None) -> ModelArgs | None:
    """Model arguments from a JSON file; None without one.

    Raises ValueError, naming the file, for what is no such JSON; OSError if it cannot be read.
    """
    if path is None:
        return None
    try:
        return args_from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also from the text's encoding
        raise ValueError(f"{path}: {error}") from None


def read_model(path: Path, args: ModelArgs | None = None) -> Quantizable:
    """The model of a checkpoint as `compilable` has it. Raises CheckpointError, ValueError."""
    return compilable(load_model(path, args, kind=nn.Module))


def compilable(model: nn.Module) -> Quantizable:
    """The form of a model that is calibrated and compiled: a regressor is folded.

    Raises ValueError for a model that the compiler does not know.
    """
    if isinstance(model, MambaRegressor):
        return fold(model)
    if not isinstance(model, Quantizable):
        raise ValueError(f"a {type(model).__name__} cannot be compiled, it runs in fp32 only")
    return model


def load_splits(
    model: nn.Module,
    dataset: str | None = None,
    split: str = "auto",
    other_data: bool | None = None,
    options: CsvOptions = CsvOptions(),  # noqa: B008, frozen
    say: Callable[[str], None] = say_on_stderr,
    read: Read = read_dataset,
) -> Splits | FrameSplits:
    """A data set for a model: of series, by name or CSV; for a regressor, a folder of frames.

    Where the model has a record of its data, they are read, cut and standardized as it says, and
    `dataset`, `split` and `options` must not contradict it, but for `other_data`
    (`load_as_trained`). Without a `dataset`, it is the one of the record, or else the default.
    `options`, `say` and `read` are those of `load_dataset`.

    Raises DataError, ValueError (also for data of another number of variables or features than the
    model's), OSError.
    """
    args, record = model.args, model.record
    if not dataset:
        dataset = default_dataset(model)
        if record and dataset not in DATASETS and not Path(dataset).is_file():
            raise DataError(f"the model was trained on {record.file_in_words}: name that file")
    if isinstance(args, RegressorArgs):
        if options != CsvOptions():
            raise ValueError(f"{dataset}: options of CSV files do not go with frames")
        splits = load_frames(dataset, args.seq_len)
        name, found, expected = "features", splits.train.num_features, args.num_features
    else:
        lengths = args.seq_len, args.forecast_len
        if record:
            return load_as_trained(record, dataset, *lengths, split, other_data, options, say, read)
        splits = load_dataset(dataset, *lengths, split, options, say, read)
        name, found, expected = "variables", splits.train.num_channels, args.num_channels
    if found != expected:
        raise ValueError(
            f"{dataset}: found {found} {name}, expected {expected} as the model has; name its "
            "data, or choose variables of a CSV with --columns"
        )
    return splits


def default_dataset(model: nn.Module) -> str:
    """What a model's data set is unless told: that of its record."""
    return model.record.dataset if model.record else DEFAULT_DATASET


def add_split_options(parser: argparse.ArgumentParser) -> None:
    """What goes with the name of a data set, for `load_splits`."""
    parser.add_argument(
        "--split",
        choices=("auto", *SPLIT_NAMES),
        default="auto",
        help="rows of the splits; auto is what the checkpoint says, or else ett for the ETT "
        "sets and ratio for all others (default: auto)",
    )
    parser.add_argument(
        "--other-data",
        action="store_true",
        help="take a file that the checkpoint was not trained on, of the same variables and "
        "frequency; it is standardized as the checkpoint says",
    )


def cut_in_words(model: nn.Module, splits: Splits) -> str:
    """How the data of `load_splits` are cut, and who says so."""
    record = splits.record
    if model.record is None:
        why = "the checkpoint does not say what it was trained on"
    elif record == model.record:
        why = "as the checkpoint says"
    else:
        why = f"standardized as {model.record.dataset}, which the checkpoint was trained on"
    return f"{record.dataset}, {record.cut_in_words}; {why}"


def read_windows(path: Path, args: ModelArgs) -> Tensor:
    """Windows for a model, float32 [B, V, L] or [B, T, Din], from an .npz with key 'x'.

    Raises InputError, naming the file, where it has none, or of another shape than the model's, or
    too large to be normalized.
    """
    x = load_npz_input(path)
    if isinstance(args, RegressorArgs):
        if x.shape[2] != args.num_features:
            raise InputError(
                f"{path}: 'x': found shape {list(x.shape)}, expected [B, T, Din] = "
                f"[B, T >= 1, {args.num_features}]"
            )
        return x
    expected = (args.num_channels, args.seq_len)
    if x.shape[1:] != expected:
        raise InputError(
            f"{path}: 'x': found shape {list(x.shape)}, expected [B, V, L] = "
            f"[B, {expected[0]}, {expected[1]}]"
        )
    if args.instance_norm:
        _, deviation = instance_statistics(x)
        if problem := overflow(deviation.numpy()):
            raise InputError(f"{path}: 'x': {problem}")
    return x
