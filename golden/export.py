"""Compile a checkpoint to a package.

    python -m golden.export --weights W.safetensors --dataset etth1 --output build/etth1.bin
    python -m golden.export --weights W.pt --args A.json --calibration X.npz --output build/x.bin

Writes the package and its twins for people, W.json and W.npz, and prints what it holds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from golden import isa
from golden.compile import Options, compile_model
from golden.estimate import estimate, instruction_table, summary_table
from golden.inputs import read_args, read_windows
from golden.program import CompileError
from model.data import DEFAULT_DATASET, DataError, load_dataset
from model.io import CheckpointError, InputError, load_model
from model.quantization.calibrate import (
    CALIBRATION_WINDOWS,
    METHODS,
    CalibrationError,
    calibrate,
    calibration_windows,
)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m golden.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", required=True, type=Path, help=".pt, .npz or .safetensors")
    parser.add_argument(
        "--args", type=Path, help="model arguments (JSON), where the weights lack them"
    )
    parser.add_argument("--output", required=True, type=Path, help="package to write")
    data = parser.add_mutually_exclusive_group()
    data.add_argument(
        "--dataset", default=DEFAULT_DATASET, help="calibrate on its training split: name or CSV"
    )
    data.add_argument("--calibration", type=Path, help="calibrate on this .npz, key x: [B, V, L]")
    parser.add_argument("--windows", type=int, default=CALIBRATION_WINDOWS, help="of the data set")
    parser.add_argument("--method", choices=METHODS, default="mse", help="range observer")
    parser.add_argument(
        "--power-of-two", action="store_true", help="restrict scales to powers of two"
    )
    parser.add_argument("--build", default="default", help="build in golden/isa/builds.toml")
    args = parser.parse_args(argv)
    try:
        build = isa.build(args.build)
        model = load_model(args.weights, read_args(args.args))
        if args.calibration:
            windows = read_windows(args.calibration, model.args)
        else:
            splits = load_dataset(args.dataset, model.args.seq_len, model.args.forecast_len)
            windows = calibration_windows(splits, args.windows)
        print(f"calibrating on {len(windows)} windows", file=sys.stderr)
        ranges = calibrate(model, model.to_tokens(windows))
        package = compile_model(model, ranges, Options(args.method, args.power_of_two), build)
        args.output.parent.mkdir(parents=True, exist_ok=True)
        package.write(args.output)
    except (
        CalibrationError,
        CheckpointError,
        CompileError,
        DataError,
        InputError,
        OSError,
        ValueError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
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
