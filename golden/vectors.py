"""Golden folders: a package, its input, and the tensor of every instruction.

    build/golden/NAME/package.bin   the package, with its twins package.json and package.npz
                      input.bin     int8 [n_iterations, n_sequences, n_positions, token_bytes]
                      forecast.bin  int16 [n_iterations, n_sequences, forecast_elements]
                      tensors/NNN.bin  instruction NNN: int8 or int16 [n_iterations, rows, n]
                      manifest.txt  what csim reads: one line an instruction
                      manifest.json the same for people, with checksums
                      series.npz    of a case with data (`golden.series`)

Everything is little-endian and the same on every run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from common.atomic_write import atomic_folder, atomic_write, write_text
from golden.cases import CompiledCase
from golden.host import HostSide
from golden.integer_model import IntegerModel
from isa.package import Package
from model.data import spread

N_WINDOWS = 2


def golden_tokens(compiled: CompiledCase) -> np.ndarray:
    """Input of the golden run: windows of the test split (or random ones), then one forecast of
    random bytes over the whole int8 range, so that saturation is exercised."""
    package, args = compiled.package, compiled.model.args
    generator = np.random.default_rng(2)
    if compiled.splits is None:
        x = generator.standard_normal((N_WINDOWS, args.num_channels, args.seq_len))
        x = x.cumsum(axis=-1) / np.sqrt(args.seq_len)
    else:
        x, _ = compiled.splits.test.batch(spread(len(compiled.splits.test), N_WINDOWS))
    tokens = HostSide(package).tokens(x)
    wild = generator.integers(-128, 128, (package.iterations, *tokens.shape[1:]), dtype=np.int8)
    return np.concatenate([tokens, wild])


def write_golden(
    folder: Path,
    package: Package,
    tokens: np.ndarray,
    write_more: Sequence[Callable[[Path], None]] = (),
) -> int:
    """Run the integer model on `tokens` and write the golden folder, replacing an old one.

    Each of `write_more` adds further files to the folder it is given. The folder appears whole or
    not at all, and an old one stays until then. Returns the number of tensor values written.

    Raises:
        FileExistsError: something else than a golden folder is in the way.
    """
    if folder.exists() and not (folder / "manifest.txt").is_file():
        raise FileExistsError(f"{folder}: found no manifest.txt, so it is not replaced")
    trace: dict[str, torch.Tensor] = {}
    forecast = IntegerModel(package).run(tokens, trace)

    with atomic_folder(folder) as new:
        values = _write(new, package, tokens, forecast, trace)
        for write in write_more:
            write(new)
    return values


def _write(
    folder: Path,
    package: Package,
    tokens: np.ndarray,
    forecast: np.ndarray,
    trace: dict[str, torch.Tensor],
) -> int:
    package.write(folder / "package.bin")
    (folder / "tensors").mkdir()
    checksums = {}

    def write(name: str, array: np.ndarray) -> None:
        data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
        with atomic_write(folder / name) as file:
            file.write(data)
        checksums[name] = hashlib.sha256(data).hexdigest()

    write("input.bin", tokens)
    write("forecast.bin", forecast)
    n_forecasts = len(tokens) // package.iterations
    lines, listed, values = ["cmamba-golden 1", f"n_forecasts {n_forecasts}"], [], 0
    for index, instruction in enumerate(package.instructions):
        name = package.instruction_name(index)
        array = trace[name].numpy()
        file = f"tensors/{index:03}.bin"
        write(file, array)
        values += array.size
        _, rows, n = array.shape
        lines.append(f"{index} {instruction.opcode} {name} {file} {rows} {n} {array.dtype}")
        listed.append(
            {
                "index": index,
                "opcode": instruction.opcode,
                "name": name,
                "file": file,
                "shape": list(array.shape),
                "dtype": str(array.dtype),
            }
        )
    write_text(folder / "manifest.txt", "\n".join(lines) + "\n")
    manifest = {
        "n_forecasts": n_forecasts,
        "input": list(tokens.shape),
        "forecast": list(forecast.shape),
        "tensors": listed,
        "sha256": checksums,
    }
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    write_text(folder / "manifest.json", text)
    return values
