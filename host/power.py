"""Power of the board that this runs on, by the sensors of its PMBus (`pynq.pmbus`)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from host.device import is_board

_INTERVAL = 0.02  # seconds; an INA226 averages for about as long


def find_rails() -> Mapping[str, Any]:
    """The rails of the board by name, of `pynq.pmbus.Rail`; none on a PC, or without libsensors."""
    if not is_board():
        return {}
    from pynq import pmbus

    return pmbus.get_rails()


def watts(rails: Mapping[str, Any]) -> float | None:
    """What the rails that have a power sensor take together; None where none has."""
    sensors = [rail.power for rail in rails.values() if rail.power is not None]
    return sum(sensor.value for sensor in sensors) if sensors else None


class PowerMeter:
    """The mean power of what runs inside of ``with``.

    Attributes:
        mean_watts: afterwards; None where nothing can be measured.
    """

    def __init__(self, rails: Mapping[str, Any]) -> None:
        self._rails = rails
        self._samples: list[float] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.mean_watts: float | None = None

    def __enter__(self) -> PowerMeter:
        if watts(self._rails) is not None:
            self._thread = threading.Thread(target=self._sample, name="power", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self.mean_watts = sum(self._samples) / len(self._samples)

    def _sample(self) -> None:
        while True:
            self._samples.append(watts(self._rails))
            if self._ended.wait(_INTERVAL):
                return
