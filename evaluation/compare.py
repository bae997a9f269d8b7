"""Forecast accuracy of checkpoints, in FP32 and as the int8 programs that they compile to.

    python -m evaluation.compare FP32.safetensors QAT.safetensors --dataset etth1

Over all windows of the validation and the test split. A checkpoint from quantization-aware training
has its own number formats, and an int8 line only; others are calibrated on the training split.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from pathlib import Path

from common import command_line
from evaluation.forecaster import Forecaster
from golden.cases import compile_on
from model.data import DEFAULT_DATASET, CsvOptions
from model.data.csv_options import add_csv_options, csv_options
from model.inputs import load_splits
from model.io import load_model
from model.metrics import Figures, comparison, evaluate, torch_forecaster
from model.quantization.calibrate import calibration_windows
from model.quantization.parameters import is_prepared


def compare(path: Path, dataset: str, backend: str, options: CsvOptions) -> dict[str, Figures]:
    """(validation, test) figures of one checkpoint, by what ran."""
    model = load_model(path)
    splits = load_splits(dataset, model.args, options)
    package = compile_on(model, calibration_windows(splits))
    method = package.metadata["quantization"]["method"]
    forecasts = {} if is_prepared(model) else {f"{path.stem} FP32": torch_forecaster(model)}
    forecasts[f"{path.stem} int8, {method}"] = Forecaster(package, backend)
    return {
        label: (evaluate(forecast, splits.val), evaluate(forecast, splits.test))
        for label, forecast in forecasts.items()
    }


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
    parser.add_argument("--dataset", default=DEFAULT_DATASET, help="name or CSV file")
    parser.add_argument(
        "--backend",
        choices=("hls", "int8"),
        default="hls",
        help="the HLS C++ (`make bindings`), or the same bits in PyTorch, slower",
    )
    add_csv_options(parser)
    args = parser.parse_args(argv)
    options = csv_options(args)
    rows: dict[str, Figures] = {}
    for path in args.weights:
        rows |= compare(path, args.dataset, args.backend, options)
    print(comparison(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
