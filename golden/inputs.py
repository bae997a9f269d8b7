"""Files that the commands are given: model arguments, and windows for a model."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from model.args import ModelArgs
from model.io import InputError, load_npz_input
from model.registry import args_from_json


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


def read_windows(path: Path, args: ModelArgs) -> Tensor:
    """Windows for a model, float32 [B, V, L], from an .npz with key 'x'.

    Raises InputError, naming the file, where it has none, or of another V or L than the model.
    """
    x = load_npz_input(path)
    expected = (args.num_channels, args.seq_len)
    if x.shape[1:] != expected:
        raise InputError(
            f"{path}: 'x': found shape {list(x.shape)}, expected [B, V, L] = "
            f"[B, {expected[0]}, {expected[1]}]"
        )
    return x
