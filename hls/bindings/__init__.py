"""The HLS C++ from Python: whole packages with `Accelerator`, single kernels with `extension`.

``make bindings`` compiles the same sources twice, into build/bindings: ``cmamba_hls`` with AMD's
ap_int types, which is what Vitis synthesizes, and ``cmamba_native`` with standard integers, which
is much faster. The tests hold both to the same bits.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np

from golden.streams import BEAT_BYTES, AcceleratorError, StreamShape, to_beats

__all__ = ["BEAT_BYTES", "Accelerator", "AcceleratorError", "extension"]

# Another folder than build/bindings, for example with a build for the sanitizers.
FOLDER = Path(
    os.environ.get("CMAMBA_BINDINGS") or Path(__file__).resolve().parents[2] / "build/bindings"
)


@cache
def extension(native: bool = True) -> ModuleType:
    """The compiled module: ``cmamba_native``, or ``cmamba_hls`` with AMD's types.

    Raises:
        ImportError: it is not built.
    """
    name = "cmamba_native" if native else "cmamba_hls"
    path = FOLDER / f"{name}.so"
    if not path.is_file():
        raise ImportError(f"{path} does not exist; `make bindings` builds it")
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class Accelerator:
    """A loaded package.

    Several may exist at once. A run releases the GIL, so that threads with an accelerator each use
    a core each; runs of the same accelerator follow one another.

    Args:
        package: content of a package file.
        native: standard integers instead of AMD's types: the same bits, faster.

    Attributes:
        n_sequences, iterations, n_positions, token_bytes, forecast_elements: as in the header.

    Raises:
        AcceleratorError: the package is refused.
        ImportError: the module is not built.
    """

    def __init__(self, package: bytes, native: bool = True) -> None:
        self._impl = extension(native).Accelerator()
        error = self._impl.load(to_beats(np.frombuffer(package, np.uint8)[None]))
        if error:
            raise AcceleratorError(error, f"package of {len(package)} bytes refused")
        self.n_sequences: int = self._impl.n_sequences
        self.iterations: int = self._impl.iterations
        self.n_positions: int = self._impl.n_positions
        self.token_bytes: int = self._impl.token_bytes
        self.forecast_elements: int = self._impl.forecast_elements
        self._shape = StreamShape(
            self.n_sequences,
            self.iterations,
            self.n_positions,
            self.token_bytes,
            self.forecast_elements,
        )

    def run(self, tokens: np.ndarray) -> np.ndarray:
        """Forecasts for any number of iterations, in one run.

        Args:
            tokens: int8 [n_iterations, n_sequences, n_positions, token_bytes], n_iterations a
                multiple of `iterations`.

        Returns:
            int16 [n_iterations, n_sequences, forecast_elements].

        Raises:
            ValueError: ``tokens`` has another shape or dtype.
            AcceleratorError: the run ended with an error.
        """
        return self._run(tokens, traced=False)[0]

    def run_traced(self, tokens: np.ndarray) -> dict[int, np.ndarray]:
        """Like `run`, but returns what every instruction has written.

        Returns:
            By instruction index: int8 or int16 [n_iterations, rows, n], the rows as in
            `golden.integer_model.IntegerModel.run`.
        """
        return self._run(tokens, traced=True)[1]

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

    def _run(self, tokens: np.ndarray, traced: bool) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        beats = self._shape.beats(tokens)
        last = np.zeros(len(beats), bool)
        last[-1] = True
        run = self._impl.run_traced if traced else self._impl.run
        error, sent, _, *trace = run(beats, last, len(tokens) // self.iterations, False)
        if error:
            raise AcceleratorError(error, f"run of {len(tokens)} iterations failed")
        return self._shape.forecasts(sent), trace[0] if traced else {}
