"""Write a package as an ONNX graph, for tools that read those.

    python -m golden.export_onnx --package build/own.bin --output build/own.onnx
    python -m golden.export_onnx --package build/own.bin --output build/own.onnx --check X.npz

The graph maps windows to forecasts, float32 [batch, V, L] to [batch, V, H], by standard operators
with the package's int8 weights. It computes what the integer model does, bit for bit. `--check`
runs both on windows, the graph by onnxruntime, and compares every forecast.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx

from common import command_line, exit_status
from common.atomic_write import require_writable
from golden.host import HostSide
from golden.integer_model import IntegerModel
from golden.onnx_graph import write_onnx
from isa.fitting import fitting_build
from isa.package import Package
from model.inputs import read_windows
from model.io import InputError


def run_results(model: onnx.ModelProto, x: np.ndarray, *names: str) -> list[np.ndarray]:
    """What onnxruntime computes as the values of these names, for windows [B, V, L].

    Raises ImportError without onnxruntime.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ImportError("onnxruntime is not installed: pip install onnxruntime") from None
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    del asked.graph.output[:]
    values = [*model.graph.output, *model.graph.value_info]
    asked.graph.output.extend(value for value in values if value.name in names)
    session = onnxruntime.InferenceSession(
        asked.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(list(names), {"x": x})


def compare(model: onnx.ModelProto, package: Package, x: np.ndarray) -> tuple[int, int, int]:
    """The graph and the integer model, on windows [B, V, L].

    Returns:
        How many forecast values there are, how many differ, and the largest difference between the
        int16 numbers that they are made of.
    """
    host = HostSide(package)
    integers = IntegerModel(package).run(host.tokens(x))
    forecasts = host.forecast(integers, x)
    found, found_integers = run_results(model, x, "y", model.graph.value_info[-1].name)
    steps = np.abs(found_integers.reshape(integers.shape).astype(int) - integers)
    return forecasts.size, int((found != forecasts).sum()), int(steps.max())


def _windows(path: Path, package: Package) -> np.ndarray:
    """Those of a file, as the graph takes them. Raises InputError."""
    host = HostSide(package)
    x = read_windows(path, host.args).numpy()
    if x.shape[1:] != host.window_shape:  # a regressor's host takes any number of frames
        raise InputError(
            f"{path}: 'x': found shape {list(x.shape)}, expected [B, T, Din] = "
            f"[B, {host.window_shape[0]}, {host.window_shape[1]}]"
        )
    return x


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m golden.export_onnx",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--package", required=True, type=Path, help="of compiler.export")
    parser.add_argument("--output", required=True, type=Path, help=".onnx to write")
    parser.add_argument(
        "--check", type=Path, metavar="X.npz", help="windows to compare on, key x: [B, V, L]"
    )
    args = parser.parse_args(argv)
    inputs = {"--package": args.package, "--check": args.check}
    command_line.require_distinct([args.output], inputs)
    require_writable(args.output, new_folder=True)
    package = Package.read(args.package)
    fitting_build(package, str(args.package))  # raises where there is none
    windows = args.check and _windows(args.check, package)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    model = write_onnx(package, args.output)
    print(
        f"{args.output}: {args.output.stat().st_size:,} bytes, {len(model.graph.node)} nodes, "
        f"opset {model.opset_import[0].version}"
    )
    if windows is None:
        return exit_status.DONE
    count, wrong, steps = compare(model, package, windows)
    print(
        f"{len(windows)} windows by onnxruntime: {wrong} of {count:,} values differ from the "
        f"integer model, the largest by {steps} steps"
    )
    return exit_status.FAILED if wrong else exit_status.DONE


if __name__ == "__main__":
    sys.exit(main())
