"""Forecast from the command line.

    python run_infer.py --weights model/checkpoints/nyc_weather.safetensors \\
        --input data/test_data.npz
    python run_infer.py --weights W.pt --args A.json --input X.npz --output Y.npz --backend int8
    python run_infer.py --weights W.safetensors --input my.csv --output forecast.csv

The input is an .npz of windows, standardized, or a CSV: of its last L rows, or with --rolling of
all windows, the forecast goes to a CSV with dates, in the units of the file.

Back ends: fp32 is the PyTorch model; int8 the PyTorch integer model; hls the HLS C++ in its
native-integer build; rtl the RTL in simulation; board a ZCU102, the one that this runs on or that
at --board (`make board` serves a virtual one). The integer ones run a package: the one given with
--package, or one compiled on the spot, with the number formats that training has left in the
weights, or else calibrated on --calibration or on the input itself. `--quant-mode` lets fp32 round
as they do.

A MambaRegressor maps frames [B, T, Din] to positions [B, 2], in the units of its data.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from common import command_line
from common.atomic_write import atomic_write, require_writable
from compiler.compile import compile_learned, compile_model
from evaluation.forecast_plot import plot_forecasts
from evaluation.forecaster import BACKENDS, Forecaster
from isa.fitting import fitting_build
from isa.package import Package
from model.args import ModelArgs
from model.data import CsvOptions
from model.data.csv_options import add_csv_options, csv_options
from model.folded_regressor import FoldedRegressor
from model.inputs import compilable, read_args, read_windows
from model.io import load_model, weights_sha256
from model.metrics import ForecastFn, in_batches, require_finite, torch_forecaster
from model.position_error import distances, in_words, summarize
from model.quantization.calibrate import CALIBRATION_WINDOWS, Histogram, calibrate
from model.quantization.fake import QUANT_MODES, set_quant_mode
from model.quantization.parameters import is_prepared, prepare_calibrated
from model.quantization.structure import Quantizable
from model.registry import args_from_json, args_of_use, entry_of
from model.series_forecast import SeriesWindows, read_series_windows, write_forecasts

Calibration = Callable[[], torch.Tensor]
"""Reads the windows of the input to calibrate on, [n, V, L]."""


def integer_package(model: Quantizable, x: Calibration, args: argparse.Namespace) -> Package:
    """The package to run: from --package, or compiled on --calibration or the input."""
    if args.package:
        package = Package.read(args.package)
        fitting_build(package, str(args.package))  # raises where there is none
        try:
            found = metadata_fields(args_from_json(package.metadata.get("model")))
        except ValueError as error:
            raise ValueError(f"{args.package}: metadata field 'model': {error}") from None
        found["weights_sha256"] = package.metadata.get("weights_sha256")
        expected = metadata_fields(model.args) | {"weights_sha256": weights_sha256(model)}
        for name in {**found, **expected}:
            if found.get(name) != expected.get(name):
                raise ValueError(
                    f"{args.package}: compiled from another model: metadata field '{name}' is "
                    f"{found.get(name)}, expected {expected.get(name)} as in {args.weights}"
                )
        return package
    if has_learned_formats(model, args):
        return compile_learned(model)
    return compile_model(model, calibrated(model, x, args))


def metadata_fields(args: ModelArgs) -> dict[str, object]:
    """What a package and a checkpoint have to agree in, however old the package is."""
    return {"model": entry_of(args)[0], **args_of_use(args)}


def has_learned_formats(model: Quantizable, args: argparse.Namespace) -> bool:
    """Whether there is nothing to calibrate. Raises ValueError if --calibration is given then."""
    if is_prepared(model) and args.calibration:
        raise ValueError(f"--calibration: {args.weights} has learned its number formats")
    return is_prepared(model)


def calibrated(
    model: Quantizable, x: Calibration, args: argparse.Namespace
) -> dict[str, Histogram]:
    """What the model's tensors hold on --calibration or the input."""
    data = read_windows(args.calibration, model.args) if args.calibration else x()
    print(f"calibrating on {args.calibration or 'the input'}: {len(data)} windows")
    return calibrate(model, model.to_tokens(data))


def fake_int8(model: Quantizable, x: Calibration, args: argparse.Namespace) -> ForecastFn:
    """The model in --quant-mode."""
    if not has_learned_formats(model, args):
        prepare_calibrated(model, calibrated(model, x, args))
    set_quant_mode(model, args.quant_mode)
    return torch_forecaster(model)


def difference_in_words(y: np.ndarray, reference: np.ndarray) -> str:
    """How far `y` is from the reference."""
    # float64 holds the square of any float32.
    error = y.astype(np.float64) - reference
    power, noise = (float(np.square(x, dtype=np.float64).mean()) for x in (reference, error))
    if not noise:
        return "no difference"
    with np.errstate(divide="ignore"):  # no signal: minus infinite
        sqnr = 10 * np.log10(power / noise)
    return (
        f"largest difference {np.abs(error).max():.5f}, mean {np.abs(error).mean():.5f}, "
        f"SQNR {sqnr:.1f} dB"
    )


def require_options_of_input(args: argparse.Namespace, options: CsvOptions, series: bool) -> None:
    """Raises ValueError where an option or --output does not go with the kind of --input."""
    if args.rolling is not None and args.rolling < 1:
        raise ValueError(f"--rolling: expected a STEP of at least 1, found {args.rolling}")
    if series and args.output and args.output.suffix == ".npz":
        raise ValueError(f"--output: the forecast of a CSV is a CSV, found {args.output}")
    if args.plot and args.plot == args.output:
        raise ValueError(f"--plot: expected another file than --output, found {args.plot}")
    if not series and (args.rolling or args.plot or options != CsvOptions()):
        raise ValueError(f"{args.input}: --rolling, --plot and options of CSV files go with a CSV")


def write_series(
    args: argparse.Namespace, windows: SeriesWindows, forecasts: dict[str, np.ndarray]
) -> None:
    """Table and plot of the forecasts of a CSV; the last of `forecasts` is the one asked for."""
    if args.output:
        write_forecasts(args.output, windows, [*forecasts.values()][-1])
        dates = windows.dates(-1)
        count = f"{len(windows.ends)} forecasts, the last" if len(windows.ends) > 1 else "forecast"
        print(f"{args.output}: {count} from {dates[0]} to {dates[-1]}")
    if args.plot:
        plot_forecasts(args.plot, windows, forecasts)
        print(f"plot: {args.plot}")


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", required=True, type=Path, help=".pt, .npz or .safetensors")
    parser.add_argument(
        "--args", type=Path, help="model arguments (JSON), where the weights lack them"
    )
    parser.add_argument(
        "--input",
        required=True,
        type=Path,
        help="CSV, or .npz, key x: float32 [B, V, L], or frames [B, T, Din]",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="CSV to write or, of an .npz, .npz, key y: float32 [B, V, H] or [B, 2]",
    )
    parser.add_argument(
        "--rolling",
        type=int,
        nargs="?",
        const=1,
        metavar="STEP",
        help="forecast from every row of a CSV, or every STEP, not only from the last",
    )
    parser.add_argument("--plot", type=Path, help=".png to draw history and forecast of a CSV in")
    parser.add_argument("--backend", choices=["fp32", *BACKENDS], default="fp32")
    parser.add_argument(
        "--quant-mode",
        choices=QUANT_MODES,
        default="fp32",
        help="of --backend fp32: fakeq rounds as the int8 program does, cppq does so in C++",
    )
    parser.add_argument("--package", type=Path, help="compiled package for the integer back ends")
    parser.add_argument("--calibration", type=Path, help=".npz with windows to calibrate on")
    parser.add_argument("--board", metavar="IP[:PORT]", help="board on the network")
    parser.add_argument("--bitfile", type=Path, help="bitstream for the board, beside its .hwh")
    add_csv_options(parser)
    args = parser.parse_args(argv)
    options = csv_options(args)
    series = args.input.suffix != ".npz"
    require_options_of_input(args, options, series)
    if args.backend != "board" and (args.board or args.bitfile):
        parser.error("--board and --bitfile go with --backend board")
    fake = args.quant_mode != "fp32"
    name = args.quant_mode if fake else args.backend
    if fake and (args.backend != "fp32" or args.package):
        parser.error("--quant-mode goes with --backend fp32, without --package")
    if args.package and args.backend == "fp32":
        parser.error("--package goes with an integer back end")
    if args.calibration and (args.package or name == "fp32"):
        parser.error(
            "--calibration goes with an integer back end or --quant-mode, without --package"
        )
    outputs = [path for path in (args.output, args.plot) if path]
    names = ("weights", "args", "input", "package", "calibration", "bitfile")
    command_line.require_distinct(outputs, {f"--{name}": getattr(args, name) for name in names})
    for path in outputs:
        require_writable(path)
    model = load_model(args.weights, read_args(args.args), kind=torch.nn.Module)
    if series:
        windows = read_series_windows(
            args.input, model.args, options, model.record, every=args.rolling
        )
        x = windows.x
    else:
        x = read_windows(args.input, model.args).numpy()

    def to_calibrate() -> torch.Tensor:
        return torch.from_numpy(windows.to_calibrate(CALIBRATION_WINDOWS) if series else x)

    reference = in_batches(torch_forecaster(model), x)
    require_finite(reference, args.input, args.weights)
    y = reference
    if fake or args.backend != "fp32":
        model = compilable(model)
    if fake:
        y = in_batches(fake_int8(model, to_calibrate, args), x)
    if args.backend != "fp32":
        board = {"address": args.board, "bitfile": args.bitfile}
        where = board if args.backend == "board" else {}
        package = integer_package(model, to_calibrate, args)
        y = in_batches(Forecaster(package, args.backend, **where), x)
    print(f"input: {tuple(x.shape)} output: {tuple(y.shape)}")
    if y is not reference:
        scale = ", standardized" if series else ""
        print(f"{name} against fp32{scale}: {difference_in_words(y, reference)}")
        if isinstance(model, FoldedRegressor):
            print(f"distance of the positions: {in_words(summarize(distances(y, reference)))}")
    if series:
        write_series(args, windows, {"fp32": reference} | ({} if y is reference else {name: y}))
    elif args.output:
        with atomic_write(args.output) as file:
            np.savez(file, y=y.astype(np.float32))
    return 0


if __name__ == "__main__":
    sys.exit(main())
