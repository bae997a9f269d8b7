"""The bitstream and its .hwh: that they have one accelerator and one AXI DMA for this driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pynq

from host.errors import OverlayError


def open_overlay(
    bitfile: str | Path, device: Any
) -> tuple[pynq.Overlay, dict[str, Any], dict[str, Any]]:
    """The overlay, which is not downloaded yet, and its IPs: accelerator, AXI DMA.

    Raises:
        OverlayError: the driver cannot drive it.
        OSError: no such bitstream.
    """
    overlay = pynq.Overlay(str(bitfile), device=device, download=False)
    core = _find(overlay.ip_dict, "cmamba", "the accelerator")
    dma = _find(overlay.ip_dict, "axi_dma", "the AXI DMA")
    if int(dma["parameters"].get("c_include_sg", 0)):
        raise OverlayError(f"{dma['fullpath']}: found scatter-gather, expected the simple mode")
    if "WATCHDOG_CYCLES" not in (core.get("registers") or ("WATCHDOG_CYCLES",)):
        raise OverlayError(
            f"{core['fullpath']} is {core['type']} and lacks WATCHDOG_CYCLES, expected the "
            "registers of the RTL: an export of Vitis HLS has others (make bitstream CORE=rtl)"
        )
    return overlay, core, dma


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
