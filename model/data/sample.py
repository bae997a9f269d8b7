"""Writes a few real input windows to an .npz: `python -m model.data.sample`.

The default makes `data/test_data.npz`: key `x`, [8,8,96] float32, windows evenly spaced over the
test split of the default data set, standardized. The same data give the same bytes.

With `--weights`, the windows are those of a checkpoint: its lengths, and the data, the cut and the
standardization that it was trained with, where it says so.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from pathlib import Path

import numpy as np
from torch import nn

from common import command_line
from common.atomic_write import atomic_write, require_writable
from model.data.csv_options import add_csv_options, csv_options
from model.data.csv_series import Windows
from model.data.datasets import DATASETS, DEFAULT_DATASET, data_files, load_dataset
from model.data.errors import DataError
from model.data.frames import FrameWindows
from model.data.public_sets import DATA_FOLDER
from model.inputs import add_split_options, default_dataset, load_splits
from model.io import load_model


def write_sample(path: Path, windows: Windows | FrameWindows, dataset: str, count: int) -> tuple:
    """Writes `count` windows as key `x` [count,V,L]; returns the shape. Raises: DataError."""
    if not 1 <= count <= len(windows):
        raise DataError(f"{dataset}: {count} windows asked for, the test split has {len(windows)}")
    x, _ = windows.batch(np.linspace(0, len(windows) - 1, count).astype(int))
    with atomic_write(path) as file:
        np.savez(file, x=x)
    return x.shape


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.data.sample", description=__doc__)
    parser.add_argument("--weights", type=Path, help="checkpoint that the windows are for")
    parser.add_argument(
        "--data",
        help=f"{', '.join(sorted(DATASETS))} or a CSV file (default: what the checkpoint says, or "
        f"else {DEFAULT_DATASET})",
    )
    add_split_options(parser)
    parser.add_argument("--seq-len", type=int, help="L (default: 96)")
    parser.add_argument("--forecast-len", type=int, help="H (default: 24)")
    parser.add_argument("--count", type=int, default=8, help="number of windows (default: 8)")
    parser.add_argument("--output", type=Path, default=DATA_FOLDER / "test_data.npz")
    add_csv_options(parser)
    args = parser.parse_args(argv)
    options = csv_options(args)
    if args.weights:
        for name in ("seq_len", "forecast_len"):
            if getattr(args, name) is not None:
                option = name.replace("_", "-")
                raise ValueError(f"--{option}: does not go with --weights, {args.weights} says it")
        model = load_model(args.weights, kind=nn.Module)
        dataset = args.data or default_dataset(model)
    elif args.other_data:
        raise ValueError("--other-data: goes with --weights")
    else:
        dataset = args.data or DEFAULT_DATASET
    inputs = {"--weights": args.weights, "--data": data_files(dataset)}
    command_line.require_distinct([args.output], inputs)
    require_writable(args.output)
    if args.weights:
        splits = load_splits(model, args.data, args.split, args.other_data, options)
    else:
        seq_len = 96 if args.seq_len is None else args.seq_len
        forecast_len = 24 if args.forecast_len is None else args.forecast_len
        splits = load_dataset(dataset, seq_len, forecast_len, args.split, options)
    shape = write_sample(args.output, splits.test, dataset, args.count)
    print(f"{args.output}: x {list(shape)} float32")
    return 0


if __name__ == "__main__":
    sys.exit(main())
