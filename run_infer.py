"""Forecast from the command line.

    python run_infer.py --weights model/checkpoints/nyc_weather.safetensors \\
        --input data/test_data.npz
    python run_infer.py --weights W.pt --args A.json --input X.npz --output Y.npz --backend int8

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
from pathlib import Path

import numpy as np
import torch

from common import command_line
from common.atomic_write import atomic_write, require_writable
from compiler.compile import compile_learned, compile_model
from evaluation.forecaster import BACKENDS, Forecaster
from isa.fitting import fitting_build
from isa.package import Package
from model.args import ModelArgs
from model.folded_regressor import FoldedRegressor
from model.inputs import compilable, read_args, read_windows
from model.io import load_model, weights_sha256
from model.position_error import distances, in_words, summarize
from model.quantization.calibrate import Histogram, calibrate
from model.quantization.fake import QUANT_MODES, set_quant_mode
from model.quantization.parameters import is_prepared, prepare_calibrated
from model.quantization.structure import Quantizable
from model.registry import args_from_json, args_of_use, entry_of


def integer_package(model: Quantizable, x: torch.Tensor, args: argparse.Namespace) -> Package:
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
    model: Quantizable, x: torch.Tensor, args: argparse.Namespace
) -> dict[str, Histogram]:
    """What the model's tensors hold on --calibration or the input."""
    data = read_windows(args.calibration, model.args) if args.calibration else x
    print(f"calibrating on {args.calibration or 'the input'}: {len(data)} windows")
    return calibrate(model, model.to_tokens(data))


def fake_int8_forecast(
    model: Quantizable, x: torch.Tensor, args: argparse.Namespace
) -> torch.Tensor:
    """[B, V, L] -> [B, V, H] in --quant-mode."""
    if not has_learned_formats(model, args):
        prepare_calibrated(model, calibrated(model, x, args))
    set_quant_mode(model, args.quant_mode)
    with torch.no_grad():
        return model(x)


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


def require_finite(reference: np.ndarray, args: argparse.Namespace) -> None:
    """Raises ValueError where the FP32 forecast of a window is none."""
    bad = np.argwhere(~np.isfinite(reference))
    if len(bad):
        raise ValueError(
            f"{args.input}: the FP32 forecast of window {bad[0][0]} is NaN or infinite: its values "
            f"or the weights in {args.weights} are too large for float32"
        )


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
        help=".npz, key x: float32 [B, V, L], or frames [B, T, Din]",
    )
    parser.add_argument(
        "--output", type=Path, help=".npz to write, key y: float32 [B, V, H] or [B, 2]"
    )
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
    args = parser.parse_args(argv)
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
    if args.output:
        names = ("weights", "args", "input", "package", "calibration", "bitfile")
        command_line.require_distinct(
            [args.output], {f"--{name}": getattr(args, name) for name in names}
        )
        require_writable(args.output)
    model = load_model(args.weights, read_args(args.args), kind=torch.nn.Module)
    x = read_windows(args.input, model.args)
    with torch.no_grad():
        reference = model(x).numpy()
    require_finite(reference, args)
    y = reference
    if fake or args.backend != "fp32":
        model = compilable(model)
    if fake:
        y = fake_int8_forecast(model, x, args).numpy()
    if args.backend != "fp32":
        board = {"address": args.board, "bitfile": args.bitfile}
        options = board if args.backend == "board" else {}
        y = Forecaster(integer_package(model, x, args), args.backend, **options)(x.numpy())
    print(f"input: {tuple(x.shape)} output: {tuple(y.shape)}")
    if y is not reference:
        print(f"{name} against fp32: {difference_in_words(y, reference)}")
        if isinstance(model, FoldedRegressor):
            print(f"distance of the positions: {in_words(summarize(distances(y, reference)))}")
    if args.output:
        with atomic_write(args.output) as file:
            np.savez(file, y=y.astype(np.float32))
    return 0


if __name__ == "__main__":
    sys.exit(main())
