"""What the commands are given: models, their arguments, data sets, and files of windows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from model.args import ModelArgs
from model.cmamba import instance_statistics
from model.data import CsvOptions, Splits, load_dataset
from model.data.csv_reader import say_on_stderr
from model.data.frame_datasets import load_frames
from model.data.frames import FrameSplits
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
    dataset: str,
    args: ModelArgs,
    options: CsvOptions = CsvOptions(),  # noqa: B008, frozen
    say: Callable[[str], None] = say_on_stderr,
) -> Splits | FrameSplits:
    """A data set for a model: of series, by name or CSV; for a regressor, a folder of frames.

    `options` and `say` are those of `load_dataset`. Raises DataError, ValueError (also for data of
    another number of variables or features than the model's), OSError.
    """
    if isinstance(args, RegressorArgs):
        if options != CsvOptions():
            raise ValueError(f"{dataset}: options of CSV files do not go with frames")
        splits = load_frames(dataset, args.seq_len)
        name, found, expected = "features", splits.train.num_features, args.num_features
    else:
        splits = load_dataset(dataset, args.seq_len, args.forecast_len, options=options, say=say)
        name, found, expected = "variables", splits.train.num_channels, args.num_channels
    if found != expected:
        raise ValueError(
            f"{dataset}: found {found} {name}, expected {expected} as the model has; name its data "
            "with --dataset, or choose variables of a CSV with --columns"
        )
    return splits


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
