"""Synthesis of one unit, and what is kept of it."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import pickle
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from rtl.synth import floorplan, resources, timing, wires, yosys
from rtl.synth.hierarchy import Unit

_SYNTH = "synth_xilinx -family xcup -noiopad -noclkbuf -flatten -top {module} -run "
_KEPT_ADDRESSES = "t:$memrd* %ci1:+[ADDR] %ci1:+[Q] t:$dff a:keep %i %i"
_COMMANDS = (
    "read_rtlil {folder}/unit.il",
    # The RTL puts `keep` at signals, as Vivado wants it; Yosys looks for it at the registers.
    "proc",
    "setattr -set keep 1 a:keep %ci1 t:$dff* %i",
    _SYNTH + "begin:map_dsp",
    # memory_dff takes address registers into the memory, also those with `keep`. LUTs cannot take
    # them, and give back one register for all copies. So until RAM is mapped it may not know them.
    f"chtype -set $__kept_dff {_KEPT_ADDRESSES}",
    _SYNTH + "map_dsp:map_ffram",
    "chtype -set $dff t:$__kept_dff",
    _SYNTH + "map_ffram:",
    "write_json {folder}/netlist.part.json",
)
_IN_REGISTERS = re.compile(r"^using FF mapping for memory (\S+)$", re.MULTILINE)


def _text(text: str) -> str:
    """Pattern of a text in RTLIL: bits where it comes from a parameter, which has no type."""
    bits = "".join(f"{byte:08b}" for byte in text.encode())
    return f'"{text}"|{len(bits)}\'{bits}'


# Arrays that the RTL wants in RAM. All arrays are memories at first, most of them shift registers
# in the end; tables of constants become LUTs.
_RAM = re.compile(
    rf"^  attribute \\ram_style (?:{_text('block')}|{_text('distributed')})\n"
    r"(?:  attribute .*\n)*  memory .* \\(\S+)$",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Result:
    """What is known of a synthesized unit.

    Attributes:
        cells: number of cells by type, without the units in it.
        resources: these cells'.
        memories_in_registers: arrays with the attribute ram_style that became registers.
        timing: paths inside, and from and to its ports.
        wires: what its nets drive.
    """

    cells: dict[str, int]
    resources: resources.Resources
    memories_in_registers: list[str]
    timing: timing.Timing
    wires: wires.Wires


def folder_of(unit: Unit, cache: Path) -> Path:
    """Folder of a unit's files; another one if Yosys or its commands are others."""
    key = hashlib.sha256("\n".join([unit.digest, version("pyosys"), *_COMMANDS]).encode())
    return cache / f"{unit.name}-{key.hexdigest()[:16]}"


def synthesize(unit: Unit, cache: Path) -> None:
    """Write the netlist of a unit, unless an earlier run has done so.

    Raises:
        YosysError: it failed.
    """
    folder = folder_of(unit, cache)
    netlist = folder / "netlist.json"
    if netlist.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "unit.il").write_text(unit.rtlil)
    commands = [line.format(folder=folder, module=unit.module) for line in _COMMANDS]
    yosys.run(commands, folder / "yosys.log")
    os.replace(folder / "netlist.part.json", netlist)


def analyse(unit: Unit, inside: Mapping[str, Result], cache: Path) -> Result:
    """Count the cells of a netlist, analyse its wires and timing, or take what an earlier run left.

    Args:
        unit: has been synthesized.
        inside: results of the units in it, by their names in the netlist.
        cache: folder of the units' folders.

    Raises:
        ValueError: the netlist has cells that are not known.
    """
    folder = folder_of(unit, cache)
    sources = "".join(map(inspect.getsource, (floorplan, resources, timing, wires, analyse)))
    stored = folder / f"result-{hashlib.sha256(sources.encode()).hexdigest()[:16]}.pickle"
    if stored.exists():
        return pickle.loads(stored.read_bytes())
    module = json.loads((folder / "netlist.json").read_text())["modules"][unit.module]
    cells = Counter(cell["type"] for cell in module["cells"].values())
    for name in inside:
        del cells[name]
    wanted = tuple(f".{name}" for name in _RAM.findall(unit.rtlil))
    in_registers = _IN_REGISTERS.findall((folder / "yosys.log").read_text())
    inside_wires = {name: result.wires for name, result in inside.items()}
    found, loads = wires.analyse(module, inside_wires, timing.names(module))
    result = Result(
        cells=dict(cells),
        resources=resources.count(cells),
        memories_in_registers=[name for name in in_registers if name.endswith(wanted)],
        timing=timing.analyse(
            module, {name: result.timing for name, result in inside.items()}, inside_wires, loads
        ),
        wires=found,
    )
    for old in folder.glob("result-*.pickle"):
        old.unlink()
    partial = stored.with_suffix(".part")
    partial.write_bytes(pickle.dumps(result))
    os.replace(partial, stored)
    return result
