"""Forecast accuracy of checkpoints, in FP32 and as the int8 programs that they compile to.

    python -m evaluation.compare FP32.safetensors QAT.safetensors --dataset etth1

Over all windows of the validation and the test split. These, and what standardizes them, are those
that each checkpoint was trained with, where it says so; checkpoints of different ones are refused.
A checkpoint from quantization-aware training has its own number formats, and an int8 line only;
others are calibrated on the training split. A file that several checkpoints were trained on is read
once.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import functools
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common import command_line
from evaluation.forecaster import Forecaster
from evaluation.progress import progress
from golden.cases import compile_on
from model.data import DEFAULT_DATASET, DataError, Splits
from model.data.csv_options import add_csv_options, csv_options
from model.data.datasets import read_dataset
from model.data_record import DataRecord
from model.inputs import add_split_options, cut_in_words, load_splits
from model.io import load_model
from model.metrics import Figures, ForecastFn, comparison, evaluate, torch_forecaster
from model.quantization.calibrate import calibration_windows
from model.quantization.parameters import is_prepared
from model.quantization.structure import Quantizable
from model.threads import cores, torch_threads


def forecasters(
    model: Quantizable, name: str, splits: Splits, backend: str, threads: int
) -> dict[str, ForecastFn]:
    """What a checkpoint is compared as, by what runs."""
    package = compile_on(model, calibration_windows(splits))
    method = package.metadata["quantization"]["method"]
    fp32 = {} if is_prepared(model) else {f"{name} FP32": torch_forecaster(model, threads)}
    options = {"threads": threads} if backend == "hls" else {}
    return fp32 | {f"{name} int8, {method}": Forecaster(package, backend, **options)}


def require_same_data(path: Path, found: DataRecord, first: Path, expected: DataRecord) -> None:
    """Raises ValueError where the figures of two checkpoints are of other rows or other units."""
    same_rows = (found.sha256, found.rows) == (expected.sha256, expected.rows)
    same_units = all(
        np.allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=0)
        for name in ("mean", "std")
    )
    if not same_rows or not same_units:
        raise ValueError(
            f"{path}: cannot be compared to {first}: its figures are of {found.file_in_words}, "
            f"{found.cut_in_words}, the other's of {expected.file_in_words}, "
            f"{expected.cut_in_words}" + (", in other units" if same_rows else "")
        )


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "weights", nargs="+", type=Path, help="checkpoints, the first to compare to"
    )
    parser.add_argument(
        "--dataset",
        help=f"name or CSV file (default: what the checkpoint says, or else {DEFAULT_DATASET})",
    )
    add_split_options(parser)
    parser.add_argument(
        "--backend",
        choices=("hls", "int8"),
        default="hls",
        help="the HLS C++ (`make bindings`), or the same bits in PyTorch, slower",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=cores(),
        help="that forecast side by side, in FP32 and in the HLS C++ (default: one for each core, "
        "%(default)s)",
    )
    add_csv_options(parser)
    args = parser.parse_args(argv)
    if args.threads < 1:
        parser.error(f"--threads: expected at least 1, found {args.threads}")
    options = csv_options(args)
    if args.backend == "hls":
        from hls.bindings import extension  # `make bindings` builds it

        extension()  # before minutes of work
    models = [load_model(path) for path in args.weights]
    data: list[Splits] = []
    read_once = functools.cache(read_dataset)
    for path, model in zip(args.weights, models, strict=True):
        try:
            splits = load_splits(
                model, args.dataset, args.split, args.other_data, options, read=read_once
            )
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        data.append(splits)
        print(f"{path.name}: {cut_in_words(model, splits)}", file=sys.stderr)
        require_same_data(path, data[-1].record, args.weights[0], data[0].record)
    with torch_threads(1):
        # All programs before the first forecast: what cannot be run says so at once.
        compared: list[tuple[str, ForecastFn, Splits]] = []
        steps = tqdm(
            zip(args.weights, models, data, strict=True),
            total=len(models),
            desc="calibrate and compile",
            leave=False,
            disable=None,
        )
        for path, model, splits in steps:
            found = forecasters(model, path.stem, splits, args.backend, args.threads)
            compared += [(label, forecast, splits) for label, forecast in found.items()]
        windows = sum(len(splits.val) + len(splits.test) for _, _, splits in compared)
        rows: dict[str, Figures] = {}
        with progress("forecast", windows) as counted:
            for label, forecast, splits in compared:
                both = splits.val, splits.test
                rows[label] = tuple(evaluate(counted(forecast), split) for split in both)
    print(comparison(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
