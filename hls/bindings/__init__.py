"""The HLS C++ from Python: whole packages with `Accelerator`, single kernels with `extension`.

``make bindings`` compiles the same sources twice for each build of the accelerator, into
build/bindings: ``cmamba_hls_BUILD`` with AMD's ap_int types, which is what Vitis synthesizes, and
``cmamba_native_BUILD`` with standard integers, which is much faster. The tests hold both to the
same bits.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from common.extension import load_extension
from isa.streams import BEAT_BYTES, AcceleratorError, StreamShape, to_beats

__all__ = ["BEAT_BYTES", "Accelerator", "AcceleratorError", "extension"]

# Another folder than build/bindings, for example with a build for the sanitizers.
FOLDER = Path(
    os.environ.get("CMAMBA_BINDINGS") or Path(__file__).resolve().parents[2] / "build/bindings"
)


@cache
def extension(native: bool = True, build: str = "default") -> ModuleType:
    """The compiled module of a build: ``cmamba_native_BUILD``, or ``cmamba_hls_BUILD``.

    Raises:
        ImportError: it is not built.
    """
    name = f"cmamba_native_{build}" if native else f"cmamba_hls_{build}"
    return load_extension(FOLDER / f"{name}.so", f"bindings BUILD={build}")


class Accelerator:
    """A loaded package.

    Several may exist at once. A run releases the GIL, so that threads with an accelerator each use
    a core each; runs of the same accelerator follow one another.

    Args:
        package: content of a package file.
        native: standard integers instead of AMD's types: the same bits, faster.
        build: whose memories to have; `isa.fitting.fitting_build` says which the package needs.

    Attributes:
        shape: sizes of the package.

    Raises:
        AcceleratorError: the package is refused.
        ImportError: the module is not built.
    """

    def __init__(self, package: bytes, native: bool = True, build: str = "default") -> None:
        self._impl = extension(native, build).Accelerator()
        error = self._impl.load(to_beats(np.frombuffer(package, np.uint8)[None]))
        if error:
            raise AcceleratorError(error, f"package of {len(package)} bytes refused")
        self.shape = StreamShape.of_header(package)

    def run(self, tokens: np.ndarray) -> np.ndarray:
        """As `isa.streams.Runner.run`."""
        return self._run(tokens, traced=False)[0]

    def run_traced(self, tokens: np.ndarray, order: int = 0) -> dict[int, np.ndarray]:
        """Like `run`, but returns what every instruction has written.

        Args:
            tokens: as of `run`.
            order: 0, or the number of an order in which the processes of the core take turns by
                chance, with queues of random depths and random pauses.

        Returns:
            By instruction index: int8 or int16 [n_iterations, rows, n], the rows as in
            `golden.integer_model.IntegerModel.run`.
        """
        return self._run(tokens, traced=True, order=order)[1]

    def cycles(self, tokens: np.ndarray, timing: dict[str, tuple[int, int, int]]) -> int:
        """Cycles from the start of a run to its last beat, where each process takes its time.

        Args:
            tokens: as of `run`.
            timing: by process: cycles from a step to the next, from a step to when its results can
                be read, and to when its answers can (`hls.cycles`).

        Raises:
            AcceleratorError: the run ended with an error.
        """
        beats = self.shape.beats(tokens)
        last = np.arange(len(beats)) == len(beats) - 1
        processes = [(name, *times) for name, times in timing.items()]
        n_forecasts = len(tokens) // self.shape.iterations
        error, _, _, cycles = self._impl.run_timed(beats, last, n_forecasts, False, processes)
        if error:
            raise AcceleratorError(error, f"run of {len(tokens)} iterations failed")
        return cycles

    @property
    def standstill(self) -> str:
        """What the processes waited for where the last run came to a standstill; else ''."""
        return self._impl.standstill

    def run_stream(
        self, beats: np.ndarray, last: np.ndarray, n_forecasts: int, tlast_each: bool = False
    ) -> tuple[int, np.ndarray, np.ndarray]:
        """Run on raw beats, right or wrong.

        Args:
            beats: s_axis, uint8 [n, 16].
            last: TLAST of each, bool [n].
            n_forecasts: 1 or more, as the register.
            tlast_each: bit 8 of the mode register.

        Returns:
            (error code, beats of m_axis uint8 [m, 16], their TLAST bool [m]).

        Raises:
            ValueError: an array has another shape or dtype.
        """
        return self._impl.run(beats, last, n_forecasts, tlast_each)

    def _run(
        self, tokens: np.ndarray, traced: bool, order: int = 0
    ) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        beats = self.shape.beats(tokens)
        last = np.zeros(len(beats), bool)
        last[-1] = True
        run = self._impl.run_traced if traced else self._impl.run
        error, sent, _, *trace = run(
            beats, last, len(tokens) // self.shape.iterations, False, order
        )
        if error:
            raise AcceleratorError(error, f"run of {len(tokens)} iterations failed")
        return self.shape.forecasts(sent), trace[0] if traced else {}
