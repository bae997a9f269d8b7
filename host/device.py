"""The pynq device: which one there is, and what pynq says of the active one only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pynq

from host.errors import BoardConnectionError


def active_device() -> Any:
    """The board itself, or the first of PYNQ_REMOTE_DEVICES.

    Raises:
        BoardConnectionError: there is none.
    """
    try:
        return pynq.Device.active_device
    except RuntimeError as error:
        raise BoardConnectionError(
            f"no board: {error}. On a PC, set PYNQ_REMOTE_DEVICES to the IP of a board, or give "
            "device=host.connect('IP')"
        ) from error


@contextmanager
def as_active(device: Any) -> Iterator[None]:
    """Where pynq does not pass a device on: it means the active one, and sets the clocks of the
    first board that it has met, so that a second one would keep those that it booted with."""
    before = vars(pynq.Device).get("_active_device")
    pynq.Device.active_device = device
    if "_real_instance" in vars(pynq.Clocks):
        del pynq.Clocks._real_instance
    if hasattr(pynq.Clocks, "set_device"):  # not in PYNQ 3, which knows its own board only
        pynq.Clocks.set_device(device)
    try:
        yield
    finally:
        if before is not None:
            pynq.Device.active_device = before


def clock_mhz(device: Any) -> float:
    """Frequency of the programmable logic."""
    with as_active(device):
        return float(pynq.Clocks.fclk0_mhz)
