"""The bitstream and its .hwh: that they have one accelerator and one AXI DMA for this driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pynq

from host.bitfile import check_bitfile
from host.errors import OverlayError
from rtl.regs import registers as reg


def open_overlay(
    bitfile: str | Path, device: Any
) -> tuple[pynq.Overlay, dict[str, Any], dict[str, Any]]:
    """The overlay, which is not downloaded yet, and its IPs: accelerator, AXI DMA.

    Raises:
        OverlayError: a file is damaged, or the driver cannot drive what it describes.
        OSError: no such bitstream, or no .hwh beside it.
    """
    bitfile = Path(bitfile).absolute()
    check_bitfile(bitfile)
    if not device.has_capability("REMOTE"):  # `host.remote_device` reads none
        _forget_metadata()
    try:
        overlay = pynq.Overlay(str(bitfile), device=device, download=False)
    except OSError:
        raise
    except Exception as error:  # whatever pynq's parsers meet in a .hwh that lacks something
        raise OverlayError(
            f"{bitfile.with_suffix('.hwh')}: pynq cannot read it: "
            f"{' '.join(f'{type(error).__name__}: {error}'.split())}"
        ) from error
    core = _find(overlay.ip_dict, "cmamba", "the accelerator")
    dma = _find(overlay.ip_dict, "axi_dma", "the AXI DMA")
    for name in ("c_include_sg", "c_sg_length_width", "c_addr_width"):
        value = str(dma["parameters"].get(name, 0))
        if not value.isdecimal():
            raise OverlayError(f"{dma['fullpath']}: {name} is {value!r}, expected a number")
    if int(dma["parameters"].get("c_include_sg", 0)):
        raise OverlayError(f"{dma['fullpath']}: found scatter-gather, expected the simple mode")
    _check_registers(core)
    return overlay, core, dma


def _check_registers(core: dict[str, Any]) -> None:
    """Vitis HLS names its registers after the arguments of the C++, in small letters, and has those
    of an older core elsewhere. Where the .hwh describes none, VERSION will tell."""
    described = core.get("registers") or {}
    at = {name.upper(): entry["address_offset"] for name, entry in described.items()}
    if described and at.get("WATCHDOG_CYCLES") != reg.WATCHDOG_CYCLES:
        raise OverlayError(
            f"{core['fullpath']} is {core['type']} and has no register WATCHDOG_CYCLES at "
            f"0x{reg.WATCHDOG_CYCLES:X}: it is of another version than this driver; build it anew "
            "(make bitstream; of the HLS core, make csynth export before make bitstream CORE=hls)"
        )


def _forget_metadata() -> None:
    """On a board, pynq takes what it parsed of an earlier .hwh for as long as the .bit is the same.
    It parses again where it does not find that."""
    (Path(pynq.pl_server.__file__).parent / "_current_metadata.pkl").unlink(missing_ok=True)


def _find(ip_dict: dict[str, dict[str, Any]], core: str, what: str) -> dict[str, Any]:
    """The one IP whose name in vendor:library:name:version is `core`."""
    types = {name: str(ip["type"]) for name, ip in ip_dict.items()}
    found = [name for name, vlnv in types.items() if vlnv.split(":")[2:3] == [core]]
    if len(found) != 1:
        listed = ", ".join(f"{name} ({vlnv})" for name, vlnv in types.items()) or "nothing"
        raise OverlayError(
            f"the bitstream has {len(found)} IPs of the type *:*:{core}:* ({what}), expected 1; "
            f"found {listed}"
        )
    return ip_dict[found[0]]
