"""Forecast with a package through one of the integer back ends.

    int8  the PyTorch integer model, `golden.integer_model`
    hls   the HLS C++ in its native-integer build, `hls.bindings`
    rtl   the RTL in simulation, every clock cycle of it, `rtl.simulator`
    board a ZCU102, here, on the network, or virtual, `host`

All compute the same bits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from golden.host import HostSide
from golden.integer_model import IntegerModel
from isa.fitting import fitting_build
from isa.package import Package
from isa.streams import Runner
from model.threads import cores


class _ParallelHls:
    """An accelerator for each thread; the bindings release the interpreter lock."""

    def __init__(
        self, package: Package, build: str | None = None, threads: int | None = None
    ) -> None:
        from hls.bindings import Accelerator  # built by `make bindings`

        data, build = package.to_bytes(), build or fitting_build(package)
        self._iterations = package.iterations
        self._accelerators: list[Runner] = [
            Accelerator(data, build=build) for _ in range(threads or cores())
        ]

    def run(self, tokens: np.ndarray) -> np.ndarray:
        """As `isa.streams.Runner.run`."""
        threads = len(self._accelerators)
        forecasts = len(tokens) // self._iterations
        ends = np.linspace(0, forecasts, threads + 1).astype(int) * self._iterations
        parts = [tokens[a:b] for a, b in itertools.pairwise(ends)]
        busy = [(a, p) for a, p in zip(self._accelerators, parts, strict=True) if len(p)]
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(lambda ap: ap[0].run(ap[1]), busy)))


def _rtl(package: Package) -> Runner:
    from rtl.simulator import RtlAccelerator  # built by `make simulator`

    accelerator = RtlAccelerator(fitting_build(package))
    accelerator.load(package.to_bytes())
    return accelerator


def _board(package: Package, address: str | None = None, bitfile: str | None = None) -> Runner:
    """The board at an IP or IP:PORT, or pynq's active device; the bitstream as `host` finds it."""
    from host import Accelerator, connect, find_bitfile

    device = connect(address) if address else None
    accelerator = Accelerator(bitfile or find_bitfile(), device=device)
    accelerator.load(package)
    return accelerator


BACKENDS: dict[str, Callable[..., Runner]] = {
    "int8": IntegerModel,
    "hls": _ParallelHls,
    "rtl": _rtl,
    "board": _board,
}
"""What loads a package into each back end."""


class Forecaster:
    """`forecaster(x)`: float32 [B, V, L] -> float32 [B, V, H]."""

    def __init__(
        self, package: Package, backend: str = "int8", **options: str | int | None
    ) -> None:
        """
        Args:
            package: what to run.
            backend: one of `BACKENDS`.
            options: of the back end: `build` of hls, instead of the first that holds the package,
                and its `threads`, instead of one for each core; `address` and `bitfile` of the
                board.

        Raises:
            ValueError: unknown back end.
            ImportError: the back end is not built.
            AcceleratorError: the back end refuses the package.
            host.errors.BoardError: no board, or one that does not work.
        """
        if backend not in BACKENDS:
            raise ValueError(f"backend: found {backend!r}, expected one of {list(BACKENDS)}")
        self.host = HostSide(package)
        self._runner = BACKENDS[backend](package, **options)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """
        Raises:
            ValueError: an input of another shape, or one that is not finite.
            AcceleratorError: the back end ended the run with an error.
        """
        x = self.host.check(x)
        return self.host.forecast(self._runner.run(self.host.tokens(x)), x)
