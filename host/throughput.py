"""How many forecasts a second a board makes, and what one takes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from host.power import PowerMeter
from host.table import Table


class Forecasts(Protocol):
    """What is measured of a `host.accelerator.Accelerator`."""

    clock_mhz: float

    @property
    def inputs(self) -> Sequence[Any]: ...

    def forecast(self, x: np.ndarray) -> np.ndarray: ...

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]: ...


@dataclass(frozen=True)
class Throughput:
    """Of a stream of batches.

    Attributes:
        batch: windows of each.
        windows: of all.
        seconds: that they took, the host's conversions included.
        clock_mhz: of the accelerator.
        watts: mean power of the board's rails meanwhile; None where there are no sensors.
    """

    batch: int
    windows: int
    seconds: float
    clock_mhz: float
    watts: float | None

    @property
    def windows_per_second(self) -> float:
        return self.windows / self.seconds

    @property
    def joules_per_window(self) -> float | None:
        """Energy of all measured rails, idle power included."""
        return None if self.watts is None else self.watts * self.seconds / self.windows

    def table(self) -> Table:
        rows = [
            ("windows a second", f"{self.windows_per_second:,.1f}", f"batches of {self.batch}"),
            ("time of a window", f"{1e6 / self.windows_per_second:,.1f} us", ""),
            ("clock", f"{self.clock_mhz:.1f} MHz", ""),
        ]
        if self.watts is not None:
            rows.append(("power of the board", f"{self.watts:.2f} W", "all rails with a sensor"))
            rows.append(("energy of a window", f"{1e3 * self.joules_per_window:.3f} mJ", ""))
        return Table("Throughput", ("", "", ""), rows)

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def measure_throughput(
    accelerator: Forecasts, batch: int, seconds: float, rails: Mapping[str, Any]
) -> Throughput:
    """Stream random walks for so many seconds, at least one batch. Raises as `forecast`."""
    shape = (batch, *accelerator.inputs[0].shape)
    x = np.random.default_rng(0).standard_normal(shape).cumsum(-1).astype(np.float32)
    accelerator.forecast(x)  # allocates the buffers

    def batches() -> Iterator[np.ndarray]:
        yield x
        while time.perf_counter() - begin < seconds:
            yield x

    with PowerMeter(rails) as meter:
        begin = time.perf_counter()
        windows = sum(len(y) for y in accelerator.stream(batches()))
        elapsed = time.perf_counter() - begin
    return Throughput(batch, windows, elapsed, accelerator.clock_mhz, meter.mean_watts)
