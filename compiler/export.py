"""Compile a checkpoint to a package.

    python -m compiler.export --weights W.safetensors --dataset etth1 --output build/etth1.bin
    python -m compiler.export --weights W.pt --args A.json --calibration X.npz --output build/x.bin
    python -m compiler.export --weights REGRESSOR.pt --dataset FOLDER --output build/x.bin

A checkpoint from quantization-aware training holds its number formats; others are calibrated, on
rows that they were trained on where they say which these are.
Writes the package and beside it its twins for people, .json and .npz, and prints what it holds.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

import isa
from common import command_line
from common.atomic_write import require_writable
from compiler.compile import DEFAULT_OPTIONS, Options, compile_learned, compile_model
from compiler.estimate import estimate, instruction_table, summary_table
from isa.fitting import fitting_build
from isa.package import files_to_write
from model.data import DEFAULT_DATASET
from model.data.csv_options import CsvOptions, add_csv_options, csv_options
from model.data.datasets import data_files
from model.data.frame_datasets import frame_files
from model.inputs import (
    add_split_options,
    cut_in_words,
    default_dataset,
    load_splits,
    read_args,
    read_model,
    read_windows,
)
from model.quantization.calibrate import (
    CALIBRATION_WINDOWS,
    METHODS,
    calibrate,
    calibration_windows,
)
from model.quantization.parameters import is_prepared
from model.quantization.structure import Quantizable
from model.regressor_args import RegressorArgs


def _calibration_data(args: argparse.Namespace, model: Quantizable) -> Tensor:
    """Windows of the file or the data set: [n, V, L], or [n, T, Din] for a regressor."""
    is_regressor = isinstance(model.args, RegressorArgs)
    name = _first_given(args, ("split", "other_data"))
    if name and (args.calibration or is_regressor):
        raise ValueError(f"{name}: goes with a data set of series alone")
    if args.calibration:
        if csv_options(args) != CsvOptions():
            raise ValueError("--calibration: options of CSV files go with --dataset")
        return read_windows(args.calibration, model.args)
    if is_regressor and not args.dataset:
        raise ValueError("a regressor is calibrated on frames: give --dataset or --calibration")
    count = CALIBRATION_WINDOWS if args.windows is None else args.windows
    if count < 1:
        raise ValueError(f"--windows: expected at least 1, found {count}")
    options = csv_options(args)
    splits = load_splits(model, args.dataset, args.split, args.other_data, options)
    if not is_regressor:
        print(cut_in_words(model, splits), file=sys.stderr)
    return calibration_windows(splits, count)


def _require_no_calibration(args: argparse.Namespace) -> None:
    data = ("dataset", "split", "other_data", "calibration", "windows")
    if name := _first_given(args, (*data, "method", "power_of_two")):
        raise ValueError(
            f"{name}: {args.weights} has learned its formats, which leaves nothing to calibrate"
        )


def _first_given(args: argparse.Namespace, names: Iterable[str]) -> str | None:
    """The first of these options that is given."""
    given = (name for name in names if getattr(args, name) not in (None, False, "auto"))
    return next((f"--{name.replace('_', '-')}" for name in given), None)


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m compiler.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--weights", required=True, type=Path, help=".pt, .pth, .npz or .safetensors"
    )
    parser.add_argument(
        "--args", type=Path, help="model arguments (JSON), where the weights lack them"
    )
    parser.add_argument("--output", required=True, type=Path, help="package to write")
    data = parser.add_mutually_exclusive_group()
    data.add_argument(
        "--dataset",
        help="calibrate on its training split: name or CSV (default: what the checkpoint says, or "
        f"else {DEFAULT_DATASET}); for a regressor, a folder of frames or 'synthetic'",
    )
    data.add_argument(
        "--calibration",
        type=Path,
        help="calibrate on this .npz, key x: [B, V, L], for a regressor [B, T, Din]",
    )
    add_split_options(parser)
    parser.add_argument(
        "--windows", type=int, help=f"of the data set (default: {CALIBRATION_WINDOWS})"
    )
    parser.add_argument(
        "--method", choices=METHODS, help=f"range observer (default: {DEFAULT_OPTIONS.method})"
    )
    parser.add_argument(
        "--power-of-two", action="store_true", help="restrict scales to powers of two"
    )
    parser.add_argument(
        "--build", help="build in isa/builds.toml; by default the first that holds the model"
    )
    add_csv_options(parser)
    args = parser.parse_args(argv)
    build = isa.build(args.build) if args.build else None
    model = read_model(args.weights, read_args(args.args))
    names = ("weights", "args", "calibration")
    dataset = args.dataset or default_dataset(model)
    outputs = files_to_write(args.output)
    command_line.require_distinct(
        outputs,
        {f"--{name}": getattr(args, name) for name in names}
        | {"--dataset": [*data_files(dataset), *frame_files(dataset)]},
    )
    for output in outputs:
        require_writable(output, new_folder=True)
    if is_prepared(model):
        _require_no_calibration(args)
        package = compile_learned(model, build)
    else:
        windows = _calibration_data(args, model)
        print(f"calibrating on {len(windows)} windows", file=sys.stderr)
        ranges = calibrate(model, model.to_tokens(windows))
        options = Options(args.method or DEFAULT_OPTIONS.method, args.power_of_two)
        package = compile_model(model, ranges, options, build)
    build = build or isa.build(fitting_build(package))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    package.write(args.output)
    print(instruction_table(package, build) + "\n")
    print(summary_table({args.output.stem: estimate(package, build)}, build))
    share = len(package.weights) / build.capacity["weights"]
    headroom = package.metadata["accumulator_headroom_bits"]
    least = min(headroom, key=headroom.get)
    print(
        f"\n{args.output}: {args.output.stat().st_size:,} bytes, {len(package.weights)} weight "
        f"tiles ({share:.0%} of the weight memory), {len(package.schedule)} schedule entries; "
        f"every int32 accumulator is proven safe, least headroom {headroom[least]:.1f} bits in "
        f"{least}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
