"""The pynq device: which one there is, and what pynq says of the active one only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynq
from pynq.buffer import PynqBuffer

from host.errors import BoardConnectionError
from host.remote import connect_listed

# pynq 4.0.0 was written for numpy 1. Since numpy 2 an array has an attribute `device` that cannot
# be set, and pynq's buffers set one of that name. An attribute of their own class comes before it.
PynqBuffer.device = None


_FPGA_MANAGER = "/sys/class/fpga_manager/fpga0"


def active_device() -> Any:
    """pynq's active device if there is one already; or the board itself, or the first of
    PYNQ_REMOTE_DEVICES, which becomes pynq's active one.

    Raises:
        BoardConnectionError: there is none, or it does not answer.
    """
    if not {"_active_device", "_devices"} & vars(pynq.Device).keys() and not is_board():
        # pynq would wait for the answers of all of them for ever.
        device = connect_listed()
        if device is not None:
            pynq.Device.active_device = device
    try:
        return pynq.Device.active_device
    except RuntimeError as error:
        raise BoardConnectionError(
            f"no board: {error}. On a PC, set PYNQ_REMOTE_DEVICES to the IP of a board, or give "
            "device=host.connect('IP')"
        ) from error


def is_board() -> bool:
    """Whether pynq takes the machine that this runs on for a board."""
    return Path(f"{_FPGA_MANAGER}/firmware").exists()


def is_programmed(device: Any) -> bool:
    """Whether the programmable logic is: where it is not, an access to its registers never ends."""
    state = f"{_FPGA_MANAGER}/state"
    read = getattr(device, "read_file", None)  # of a board on the network
    text = read(state) if read else Path(state).read_bytes()
    return text.strip() == b"operating"


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


def set_clock_mhz(device: Any, mhz: float) -> None:
    """Set it to what the processing system can make that is nearest.

    Raises:
        ValueError: nothing is near.
    """
    with as_active(device):
        pynq.Clocks.fclk0_mhz = mhz
