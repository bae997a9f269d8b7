"""The host's conversions compiled: ``python -m host.fast_path`` builds them, where it runs.

`FastHost` takes the place of a forecaster's `HostSide` where the library has been built and gives
the same bits; without it, and for regressors, NumPy does the work. The library has a C interface
and is loaded by ctypes: a board needs g++ for it, which its image has, and no headers of Python.
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import ctypes
import hashlib
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from common import command_line, exit_status
from common.atomic_write import atomic_write, require_writable
from common.errors import REPORTED, CmambaError
from golden.host import HostSide
from golden.host_series import SeriesHost
from isa.streams import BEAT_BYTES

SOURCE = Path(__file__).with_suffix(".cpp")
# Of this source: one that was built of another is not found.
_DIGEST = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
LIBRARY = Path(__file__).with_name(f"libcmamba_host-{_DIGEST}.so")
# One answer on every processor: no contraction to fused multiply-adds, and no other order of sums.
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-Wall", "-Wextra")


class _Host(ctypes.Structure):
    """CmambaHost in fast_path.cpp."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("variables", "length", "horizon", "bytes_in")),
        *((name, ctypes.c_size_t) for name in ("row", "elements")),
        ("index", ctypes.c_void_p),
        *((name, ctypes.c_float) for name in ("input_scale", "output_scale", "eps")),
        *((name, ctypes.c_int32) for name in ("zero_point", "instance_norm")),
    )


class CompileError(CmambaError, RuntimeError):
    """The library does not compile."""


def build(library: Path = LIBRARY, compiler: str = "g++") -> None:
    """Compile the library.

    Raises:
        CompileError: it does not compile.
        OSError: there is no such compiler, or the library cannot be written.
    """
    require_writable(library)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / library.name
        done = subprocess.run(
            [compiler, *FLAGS, "-o", str(made), str(SOURCE)], capture_output=True, text=True
        )
        if done.returncode or not made.is_file():
            said = [line for line in done.stderr.splitlines() if "error" in line]
            raise CompileError(f"{compiler} fails: {said[0] if said else 'it says nothing'}")
        with atomic_write(library) as file:
            file.write(made.read_bytes())


@lru_cache
def load(library: Path = LIBRARY) -> ctypes.CDLL | None:
    """The library; None where it has not been built, or for another processor."""
    try:
        loaded = ctypes.CDLL(str(library))
    except OSError:
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    loaded.cmamba_encode.argtypes = [pointer, pointer, size, pointer, pointer, pointer, pointer]
    loaded.cmamba_decode.argtypes = [pointer, pointer, size, pointer, pointer, pointer]
    loaded.cmamba_decode.restype = None
    return loaded


class FastHost:
    """The conversions of a forecaster's `HostSide`, compiled.

    Args:
        host: its twin, which also says what is wrong with windows that have to be refused.
        library: of `load`.
    """

    def __init__(self, host: HostSide, library: ctypes.CDLL) -> None:
        self._host, self._library = host, library
        model, args = host.model, host.args
        self._index = np.ascontiguousarray(host.index, np.int64)
        self._windows = (args.num_channels, args.seq_len)
        self._forecasts = (args.num_channels, args.forecast_len)
        self._instance_norm = args.instance_norm
        elements = args.output_features
        self._constants = _Host(
            variables=args.num_channels,
            length=args.seq_len,
            horizon=args.forecast_len,
            bytes_in=host.bytes_in,
            row=-(-2 * elements // BEAT_BYTES) * BEAT_BYTES // 2,
            elements=elements,
            index=self._index.ctypes.data,
            input_scale=host.input_scale,
            output_scale=host.output_scale,
            eps=model.eps,
            zero_point=host.zero_point,
            instance_norm=args.instance_norm,
        )
        self._pointer = ctypes.addressof(self._constants)
        self._scratch_bytes = args.num_channels * args.seq_len + 1

    def encode_beats(self, x: np.ndarray, out: np.ndarray) -> Any:
        """As `HostSide.encode_beats`."""
        x = np.asarray(x, dtype=np.float32, order="C")
        if x.shape[1:] != self._windows or len(out) != len(x) * self._constants.bytes_in:
            return self._host.encode_beats(x, out)  # says what is wrong
        statistics = None
        mean = deviation = 0
        if self._instance_norm:
            both = np.empty((2, len(x), self._windows[0], 1), np.float32)
            statistics = both[0], both[1]
            mean = _address(both)
            deviation = mean + both.nbytes // 2
        scratch = np.empty(self._scratch_bytes, np.int8)
        refused = self._library.cmamba_encode(
            self._pointer,
            _address(x),
            len(x),
            mean,
            deviation,
            _address(scratch),
            _address(out),
        )
        return self._host.encode_beats(x, out) if refused else statistics

    def decode_beats(self, beats: np.ndarray, statistics: Any) -> np.ndarray:
        """As `HostSide.decode`, but from the output stream uint8 [n * bytes]."""
        n = beats.size // (2 * self._constants.row)
        n = n * self._constants.elements // (self._forecasts[0] * self._forecasts[1])
        out = np.empty((n, *self._forecasts), np.float32)
        mean, deviation = map(_address, statistics) if statistics else (0, 0)
        self._library.cmamba_decode(
            self._pointer, _address(beats), n, mean, deviation, _address(out)
        )
        return out


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]  # a third of the time of array.ctypes.data


def fast_host(host: HostSide, library: Path = LIBRARY) -> FastHost | None:
    """None where there is no library, or the model is not a forecaster."""
    loaded = load(library)
    return FastHost(host, loaded) if loaded and isinstance(host.model, SeriesHost) else None


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """0; 1: it does not compile; 2: there is no such compiler, or no such folder."""
    parser = argparse.ArgumentParser(
        prog="python -m host.fast_path",
        description="Compile the host's conversions; the driver uses them from then on.",
    )
    parser.add_argument("--compiler", metavar="CXX", default="g++", help="[%(default)s]")
    parser.add_argument("--output", metavar="FILE", type=Path, default=LIBRARY)
    args = parser.parse_args(argv)
    try:
        build(args.output, args.compiler)
    except REPORTED as error:
        return exit_status.report("fast-path", error)
    print(args.output)
    return exit_status.DONE


if __name__ == "__main__":
    sys.exit(main())
