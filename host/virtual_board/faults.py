"""What can be made to go wrong on the virtual board."""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass


class Fault(enum.Enum):
    """A fault, and the event that it happens to: a transfer of a DMA channel, or a start."""

    MM2S_SLAVE_ERROR = "mm2s-slave-error"  # memory answers the DMA's read with SLVERR
    MM2S_DECODE_ERROR = "mm2s-decode-error"  # ... with DECERR
    S2MM_SLAVE_ERROR = "s2mm-slave-error"  # memory answers the DMA's write with SLVERR
    S2MM_DECODE_ERROR = "s2mm-decode-error"  # ... with DECERR
    MM2S_DROPPED_BEAT = "mm2s-dropped-beat"  # a beat in the middle of the transfer is lost
    S2MM_HANG = "s2mm-hang"  # the DMA never takes a beat
    GMEM_SLAVE_ERROR = "gmem-slave-error"  # memory answers the accelerator's reads with SLVERR

    @property
    def channel(self) -> str:
        """The part of the design that meets the fault: mm2s, s2mm or gmem."""
        return self.value.partition("-")[0]


@dataclass
class _Armed:
    fault: Fault
    after: int


class Faults:
    """Faults that wait for their event. May be used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []

    def inject(self, fault: Fault | str, after: int = 0) -> None:
        """Let a fault happen once, after so many events of its channel that go well.

        Events are transfers (mm2s, s2mm) and starts of the accelerator (gmem).

        Raises:
            ValueError: there is no such fault, or ``after`` is negative.
        """
        fault = Fault(fault)
        if after < 0:
            raise ValueError(f"after: found {after}, expected 0 or more")
        with self._lock:
            self._armed.append(_Armed(fault, after))

    def clear(self) -> None:
        """Forget the faults that have not happened yet."""
        with self._lock:
            self._armed.clear()

    def event(self, channel: str) -> set[Fault]:
        """A transfer or a start begins: the faults that happen to it."""
        with self._lock:
            mine = [armed for armed in self._armed if armed.fault.channel == channel]
            due = [armed for armed in mine if armed.after == 0]
            for armed in mine:
                armed.after -= 1
            self._armed = [armed for armed in self._armed if armed not in due]
            return {armed.fault for armed in due}
