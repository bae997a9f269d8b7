"""Forecast with a package through one of the integer back ends.

    int8  the PyTorch integer model, `golden.integer_model`
    hls   the HLS C++ in its native-integer build, `hls.bindings`
    rtl   the RTL in simulation, every clock cycle of it, `rtl.simulator`
    board a ZCU102, here, on the network, or virtual, `host`

All compute the same bits.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from golden.builds import fitting_build
from golden.host import HostSide
from golden.integer_model import IntegerModel
from golden.package import Package

RunFn = Callable[[np.ndarray], np.ndarray]
"""int8 tokens [n_iterations, n_sequences, K, features] -> int16 [n_iterations, n_sequences, n]."""


def _integer_model(package: Package) -> RunFn:
    model = IntegerModel(package)
    return lambda tokens: model.run(torch.from_numpy(tokens)).numpy()


def _hls(package: Package) -> RunFn:
    """One accelerator for each core; the bindings release the interpreter lock."""
    from hls.bindings import Accelerator  # built by `make bindings`

    threads = os.cpu_count() or 1
    data, build = package.to_bytes(), fitting_build(package)
    accelerators = [Accelerator(data, build=build) for _ in range(threads)]

    def run(tokens: np.ndarray) -> np.ndarray:
        forecasts = len(tokens) // package.iterations
        ends = np.linspace(0, forecasts, threads + 1).astype(int) * package.iterations
        parts = [tokens[a:b] for a, b in itertools.pairwise(ends)]
        busy = [(a, p) for a, p in zip(accelerators, parts, strict=True) if len(p)]
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(lambda ap: ap[0].run(ap[1]), busy)))

    return run


def _rtl(package: Package) -> RunFn:
    from rtl.simulator import RtlAccelerator  # built by `make simulator`

    accelerator = RtlAccelerator(fitting_build(package))
    accelerator.load(package.to_bytes())
    return accelerator.run


def _board(package: Package, address: str | None = None, bitfile: str | None = None) -> RunFn:
    """The board at an IP or IP:PORT, or pynq's active device; the bitstream as `host` finds it."""
    from host import Accelerator, connect, find_bitfile

    device = connect(address) if address else None
    accelerator = Accelerator(bitfile or find_bitfile(), device=device)
    accelerator.load(package)
    return accelerator.run


BACKENDS: dict[str, Callable[..., RunFn]] = {
    "int8": _integer_model,
    "hls": _hls,
    "rtl": _rtl,
    "board": _board,
}


class Forecaster:
    """`forecaster(x)`: float32 [B, V, L] -> float32 [B, V, H]."""

    def __init__(self, package: Package, backend: str = "int8", **options: str | None) -> None:
        """
        Args:
            package: what to run.
            backend: one of `BACKENDS`.
            options: of the back end; only the board has some, `address` and `bitfile`.

        Raises:
            ValueError: unknown back end.
            ImportError: the back end is not built.
            AcceleratorError: the back end refuses the package.
            host.errors.BoardError: no board, or one that does not work.
        """
        if backend not in BACKENDS:
            raise ValueError(f"backend: found {backend!r}, expected one of {list(BACKENDS)}")
        self.host = HostSide(package)
        self._run = BACKENDS[backend](package, **options)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """
        Raises:
            ValueError: an input of another shape, or one that is not finite.
            AcceleratorError: the back end ended the run with an error.
        """
        x = self.host.check(x)
        return self.host.forecast(self._run(self.host.tokens(x)), x)
