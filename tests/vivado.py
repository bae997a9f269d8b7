"""A stand-in for Vivado under tclsh, its record, and rules that Vivado checks of a block design.

The stand-in knows commands and options as UG835 gives them and nothing else, and of a release the
IP and boards that it has. Rules and pins are those of the IP's product guides (PG021 AXI DMA, PG164
reset, PG201 processing system, PG247 SmartConnect).
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

STUBS = Path(__file__).resolve().parent / "vivado.tcl"

_QUIET = {"-quiet": 0, "-verbose": 0}

# Options: 1 where one takes a value. UG835 2022.2; UG1118 and IP of other projects for ipx::.
COMMANDS: dict[str, dict[str, int]] = {
    "version": {"-short": 0},
    "get_board_parts": {"-latest_file_version": 0, "-filter": 1, **_QUIET},
    "get_parts": {"-regexp": 0, "-nocase": 0, "-filter": 1, "-of_objects": 1, **_QUIET},
    "open_project": {"-read_only": 0, "-part": 1, **_QUIET},
    "create_project": {"-part": 1, "-force": 0, "-in_memory": 0, **_QUIET},
    "close_project": {"-delete": 0, **_QUIET},
    "current_project": _QUIET,
    "current_fileset": {"-constrset": 0, "-simset": 0, **_QUIET},
    "set_property": {"-dict": 1, "-name": 1, "-value": 1, "-objects": 1, **_QUIET},
    "get_property": {"-min": 0, "-max": 0, **_QUIET},
    "add_files": {"-fileset": 1, "-norecurse": 0, "-copy_to": 1, "-force": 0, **_QUIET},
    "get_files": {"-of_objects": 1, "-filter": 1, "-all": 0, **_QUIET},
    "update_compile_order": {"-fileset": 1, "-force_gui": 0, **_QUIET},
    "update_ip_catalog": {"-rebuild": 0, "-add_ip": 1, "-repo_path": 1, **_QUIET},
    "get_ipdefs": {"-all": 0, "-filter": 1, "-of_objects": 1, **_QUIET},
    "read_verilog": {"-library": 1, "-sv": 0, **_QUIET},
    "read_xdc": {"-cells": 1, "-ref": 1, "-mode": 1, "-unmanaged": 0, "-no_add": 0, **_QUIET},
    "synth_design": {
        **{"-name": 1, "-part": 1, "-top": 1, "-include_dirs": 1, "-generic": 1, "-mode": 1},
        **{"-flatten_hierarchy": 1, "-directive": 1, "-fsm_extraction": 1, "-shreg_min_size": 1},
        **{"-keep_equivalent_registers": 0, "-resource_sharing": 1, "-no_lc": 0, "-retiming": 0},
        **{"-control_set_opt_threshold": 1, "-max_bram": 1, "-max_dsp": 1, "-assert": 0, **_QUIET},
    },
    "create_bd_design": {"-dir": 1, "-cell": 1, **_QUIET},
    "create_bd_cell": {"-vlnv": 1, "-type": 1, "-reference": 1, "-revision": 1, **_QUIET},
    "open_bd_design": _QUIET,
    "get_bd_cells": {"-hierarchical": 0, "-filter": 1, "-of_objects": 1, **_QUIET},
    "get_bd_pins": {"-hierarchical": 0, "-filter": 1, "-of_objects": 1, **_QUIET},
    "get_bd_intf_pins": {"-hierarchical": 0, "-filter": 1, "-of_objects": 1, **_QUIET},
    "connect_bd_net": {"-net": 1, "-boundary_type": 1, **_QUIET},
    "connect_bd_intf_net": {"-intf_net": 1, "-boundary_type": 1, **_QUIET},
    "apply_bd_automation": {"-rule": 1, "-config": 1, "-dict": 1, "-opts": 1, **_QUIET},
    "get_bd_addr_spaces": {"-hierarchical": 0, "-filter": 1, "-of_objects": 1, **_QUIET},
    "get_bd_addr_segs": {
        **{"-hierarchical": 0, "-filter": 1, "-of_objects": 1, "-excluded": 0, "-addressed": 0},
        **{"-unaddressed": 0, "-addressing": 0, "-addressables": 0, **_QUIET},
    },
    "assign_bd_address": {
        **{"-target_address_space": 1, "-offset": 1, "-range": 1, "-force": 0, **_QUIET},
    },
    "exclude_bd_addr_seg": {"-target_address_space": 1, **_QUIET},
    "validate_bd_design": {"-force": 0, "-design": 1, "-include_pfm": 0, **_QUIET},
    "save_bd_design": _QUIET,
    "generate_target": {"-force": 0, **_QUIET},
    "make_wrapper": {"-files": 1, "-top": 0, "-import": 0, "-force": 0, **_QUIET},
    "create_ip_run": {"-force": 0, **_QUIET},
    "get_runs": {"-filter": 1, **_QUIET},
    "launch_runs": {"-jobs": 1, "-to_step": 1, "-next_step": 0, "-dir": 1, "-force": 0, **_QUIET},
    "wait_on_runs": {"-timeout": 1, "-exit_condition": 1, **_QUIET},
    "open_run": {"-name": 1, "-pr_config": 1, **_QUIET},
    "open_checkpoint": {"-part": 1, "-auto_incremental": 0, "-incremental": 1, **_QUIET},
    "write_checkpoint": {"-force": 0, "-cell": 1, "-logic_function_stripped": 0, **_QUIET},
    "write_bitstream": {"-force": 0, "-bin_file": 0, "-raw_bitfile": 0, "-cell": 1, **_QUIET},
    "opt_design": {"-directive": 1, "-retarget": 0, "-remap": 0, "-sweep": 0, **_QUIET},
    "place_design": {"-directive": 1, "-no_timing_driven": 0, "-unplace": 0, **_QUIET},
    "phys_opt_design": {"-directive": 1, "-fanout_opt": 0, "-retime": 0, **_QUIET},
    "route_design": {"-directive": 1, "-tns_cleanup": 0, "-ultrathreads": 0, **_QUIET},
    "get_cells": {"-hierarchical": 0, "-filter": 1, "-of_objects": 1, "-regexp": 0, **_QUIET},
    "get_pins": {"-hierarchical": 0, "-filter": 1, "-of_objects": 1, **_QUIET},
    "get_clocks": {"-filter": 1, "-of_objects": 1, "-include_generated_clocks": 0, **_QUIET},
    "create_clock": {"-period": 1, "-name": 1, "-waveform": 1, "-add": 0, **_QUIET},
    "set_input_jitter": _QUIET,
    "report_utilization": {
        **{"-file": 1, "-hierarchical": 0, "-hierarchical_depth": 1, "-cells": 1, **_QUIET},
    },
    "report_timing_summary": {
        **{"-delay_type": 1, "-max_paths": 1, "-nworst": 1, "-file": 1, "-setup": 0, "-hold": 0},
        **{"-report_unconstrained": 0, "-input_pins": 0, "-warn_on_violation": 0, **_QUIET},
    },
    "report_qor_assessment": {
        **{"-file": 1, "-csv_output_dir": 1, "-name": 1, "-append": 0, "-max_paths": 1},
        **{"-exclude_methodology_checks": 0, "-full_assessment_details": 0, **_QUIET},
    },
    "report_high_fanout_nets": {
        **{"-file": 1, "-timing": 0, "-histogram": 0, "-min_fanout": 1, "-max_nets": 1, **_QUIET},
    },
    "report_control_sets": {"-file": 1, "-hierarchical": 0, "-sort_by": 1, **_QUIET},
    "report_design_analysis": {
        **{"-file": 1, "-congestion": 0, "-complexity": 0, "-timing": 0, "-max_paths": 1, **_QUIET},
    },
    "report_route_status": {"-file": 1, "-show_all": 0, **_QUIET},
    "report_drc": {"-file": 1, "-ruledecks": 1, **_QUIET},
    "report_power": {"-file": 1, **_QUIET},
    "write_hw_platform": {
        **{"-fixed": 0, "-force": 0, "-include_bit": 0, "-minimal": 0, "-hw": 0, **_QUIET},
    },
    "ipx::package_project": {
        **{"-root_dir": 1, "-vendor": 1, "-library": 1, "-taxonomy": 1, "-import_files": 0},
        **{"-set_current": 1, "-force": 0},
    },
    "ipx::current_core": {},
    "ipx::remove_all_bus_interface": {},
    "ipx::get_memory_maps": {"-of_objects": 1},
    "ipx::remove_memory_map": {},
    "ipx::get_address_spaces": {"-of_objects": 1},
    "ipx::remove_address_space": {},
    "ipx::get_ports": {"-of_objects": 1},
    "ipx::get_bus_interfaces": {"-of_objects": 1},
    "ipx::add_bus_interface": {},
    "ipx::add_port_map": {},
    "ipx::add_bus_parameter": {},
    "ipx::associate_bus_interfaces": {"-busif": 1, "-clock": 1, "-reset": 1},
    "ipx::add_memory_map": {},
    "ipx::add_address_block": {},
    "ipx::add_register": {},
    "ipx::add_field": {},
    "ipx::add_address_space": {},
    "ipx::create_xgui_files": {},
    "ipx::update_checksums": {},
    "ipx::check_integrity": {"-quiet": 0},
    "ipx::save_core": {},
}


# Directives (UG835 2022.2) and the strategies of synthesis (UG901).
DIRECTIVES = {
    "synth_design": "Default PerformanceOptimized AreaOptimized_high RuntimeOptimized",
    "opt_design": "Default Explore ExploreArea ExploreWithRemap AddRemap RuntimeOptimized",
    "place_design": "Default Explore WLDrivenBlockPlacement EarlyBlockPlacement ExtraNetDelay_high"
    " ExtraNetDelay_low AltSpreadLogic_high AltSpreadLogic_medium AltSpreadLogic_low"
    " ExtraPostPlacementOpt ExtraTimingOpt Auto_1 Auto_2 Auto_3 RuntimeOptimized Quick",
    "phys_opt_design": "Default Explore ExploreWithHoldFix AggressiveExplore AggressiveFanoutOpt"
    " AlternateReplication AddRetime AlternateFlowWithRetiming RuntimeOptimized",
    "route_design": "Default Explore AggressiveExplore NoTimingRelaxation MoreGlobalIterations"
    " HigherDelayCost AdvancedSkewModeling AlternateCLBRouting RuntimeOptimized Quick",
}
STRATEGIES = "default Flow_PerfOptimized_high Flow_AreaOptimized_high Flow_AlternateRoutability"


@dataclass(frozen=True)
class Release:
    """What a release of Vivado has of what the scripts use.

    Attributes:
        ipdefs: VLNV of its IP.
        board_parts: files of the ZCU102 that are installed.
    """

    ipdefs: tuple[str, ...]
    board_parts: tuple[str, ...] = ("xilinx.com:zcu102:part0:3.4",)


def _ip(processor: str) -> tuple[str, ...]:
    names = (f"zynq_ultra_ps_e:{processor}", "axi_dma:7.1", "smartconnect:1.0")
    return tuple(f"xilinx.com:ip:{n}" for n in (*names, "proc_sys_reset:5.0"))


# The processing system is 3.5 from 2023.1 on.
RELEASES = {
    "2022.2": Release(_ip("3.4")),
    "2023.2": Release(_ip("3.5")),
    "2024.2": Release(_ip("3.5")),
    "2025.2": Release(_ip("3.5")),
}


@dataclass(frozen=True)
class Call:
    """One command of the record."""

    name: str
    options: dict[str, str]
    words: tuple[str, ...]


def parse(record: Path) -> list[Call]:
    """The calls of a record; an option that the command does not have fails."""
    calls = []
    for line in record.read_text().splitlines():
        name, *words = line.split("\t")
        known, options, positional = COMMANDS[name], {}, []
        while words:
            word = words.pop(0)
            if word in known:
                options[word] = words.pop(0) if known[word] else ""
            else:
                assert not re.match(r"-[a-z]", word), f"{name} has no option {word}"
                positional.append(word)
        calls.append(Call(name, options, tuple(positional)))
    return calls


@dataclass
class Vivado:
    """A program that takes the place of vivado.

    Attributes:
        release: of `RELEASES`: what there is.
        version: that it says it is; that of the release unless given.
        board_parts: that are installed, unless those of the release.
        parts: devices that are installed.
        ip_runs: runs that out-of-context synthesis of the block design has.
        properties: of objects, for example ("synth_1", "PROGRESS").
        slacks: setup and hold at 4 ns, by the directive of place_design.
        cells: primitives of the design: path, and properties such as REF_NAME.
        clocks: of the design.
        iopll_mhz: of the processing system.
        synthesis_log: what synthesis prints.
        failing: commands that fail.
        killed_at: commands at which the process is killed, half a checkpoint written.
        no_handoff: the block design has no .hwh.
    """

    release: str = "2022.2"
    version: str | None = None
    board_parts: list[str] | None = None
    parts: tuple[str, ...] = ("xczu9eg-ffvb1156-2-e",)
    ip_runs: list[str] = field(
        default_factory=lambda: [
            "cmamba_zcu102_cmamba_0_0_synth_1",
            "cmamba_zcu102_axi_dma_0_0_synth_1",
        ]
    )
    properties: dict[tuple[str, str], str] = field(default_factory=dict)
    slacks: dict[str, tuple[str, str]] = field(default_factory=dict)
    cells: dict[str, dict[str, str]] = field(default_factory=dict)
    clocks: tuple[str, ...] = ("clk_pl_0",)
    iopll_mhz: str = "1499.85"
    synthesis_log: str = ""
    failing: tuple[str, ...] = ()
    killed_at: tuple[str, ...] = ()
    no_handoff: bool = False

    def install(self, folder: Path, ports: list[str], utilization: str, timing: str) -> Path:
        """Write the program.

        Args:
            folder: for it, the reports and the record.
            ports: of the accelerator.
            utilization: text of the report by hierarchy.
            timing: text of the timing summary, with @SETUP@, @HOLD@, @FAILING@, @MET@ and @DELAY@.
        """
        folder.mkdir(exist_ok=True)
        (folder / "utilization").write_text(utilization)
        (folder / "timing").write_text(timing)
        release = RELEASES[self.release]
        boards = release.board_parts if self.board_parts is None else self.board_parts
        values = {
            "record": folder / "record",
            "version": self.version or self.release,
            "ipdefs": " ".join(release.ipdefs),
            "board_parts": " ".join(boards),
            "parts": " ".join(self.parts),
            "strategies": STRATEGIES,
            "directives": _dict(DIRECTIVES),
            "ip_runs": " ".join(self.ip_runs),
            "ports": " ".join(ports),
            "slacks": _dict({k: " ".join(v) for k, v in self.slacks.items()}),
            "cells": _dict({k: _dict(v) for k, v in self.cells.items()}),
            "clocks": " ".join(self.clocks),
            "iopll_mhz": self.iopll_mhz,
            "synthesis_log": self.synthesis_log,
            "failing": " ".join(self.failing),
            "killed_at": " ".join(self.killed_at),
            "no_handoff": int(self.no_handoff),
            "utilization": folder / "utilization",
            "timing": folder / "timing",
            "commands": _dict({k: _dict(v) for k, v in COMMANDS.items()}),
            "defaults": _dict({"PROGRESS": "100%", "STATUS": "done", "DIRECTORY": "runs"}),
            "given": " ".join(f"{o} {k} {{{v}}}" for (o, k), v in self.properties.items()),
        }
        prelude = folder / "prelude.tcl"
        lines = [f"set vivado::{name} {{{value}}}" for name, value in values.items()]
        prelude.write_text(
            "\n".join(["namespace eval vivado {}", *lines, f"source {{{STUBS}}}"]) + "\n"
        )
        program = folder / "vivado"
        program.write_text(
            "#!/bin/sh\n"
            "while [ $# -gt 0 ]; do\n"
            '  case "$1" in\n'
            "    -log) log=$2; shift ;;\n"
            "    -source) script=$2; shift ;;\n"
            "    -tclargs) shift; break ;;\n"
            "  esac\n"
            "  shift\n"
            "done\n"
            f'exec tclsh {prelude} "$script" "$@" >"$log" 2>&1\n'
        )
        program.chmod(0o755)
        return program


def _dict(values: dict[str, object]) -> str:
    return " ".join(f"{{{key}}} {{{value}}}" for key, value in values.items())


# ------------------------------------------------------------------------------- packaged IP


@dataclass
class BusInterface:
    """An interface of a packaged IP: kind aximm, axis, clock, reset or interrupt."""

    kind: str = ""
    abstraction: str = ""
    mode: str = ""
    ports: dict[str, str] = field(default_factory=dict)  # logical name: port
    parameters: dict[str, str] = field(default_factory=dict)
    clock: str = ""


@dataclass
class Ip:
    """A packaged IP as the record has it."""

    files: list[str] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)
    interfaces: dict[str, BusInterface] = field(default_factory=dict)
    block: dict[str, str] = field(default_factory=dict)
    registers: dict[str, dict[str, str]] = field(default_factory=dict)
    fields: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    spaces: dict[str, dict[str, str]] = field(default_factory=dict)
    top: str = ""


def packaged_ip(calls: list[Call]) -> Ip:
    """The IP that the calls up to ipx::save_core package."""
    ip, cleared = Ip(), set()
    for call in calls:
        if call.name == "add_files":
            ip.files += call.words[0].split()
        elif call.name == "ipx::package_project":
            ip.properties["vendor"] = call.options["-vendor"]
            ip.properties["library"] = call.options["-library"]
        elif call.name.startswith("ipx::remove"):
            cleared.add(call.name)
        elif call.name == "ipx::add_bus_interface":
            assert cleared == {
                "ipx::remove_all_bus_interface",
                "ipx::remove_memory_map",
                "ipx::remove_address_space",
            }
            ip.interfaces[call.words[0]] = BusInterface()
        elif call.name == "ipx::associate_bus_interfaces":
            ip.interfaces[call.options["-busif"]].clock = call.options["-clock"]
        elif call.name == "set_property" and len(call.words) == 3:
            key, value, target = call.words
            _set(ip, key, value, *target.split(":"))
        elif call.name == "ipx::save_core":
            return ip
    raise AssertionError("the IP is not saved")


def _set(ip: Ip, key: str, value: str, kind: str, *names: str) -> None:
    if kind == "core":
        ip.properties[key] = value
    elif kind == "fileset" and key == "top":
        ip.top = value
    elif kind == "bus_interface":
        bus = ip.interfaces[names[0]]
        if key == "bus_type_vlnv":
            bus.kind = value.split(":")[2]
        elif key == "abstraction_type_vlnv":
            bus.abstraction = value.split(":")[2]
        elif key == "interface_mode":
            bus.mode = value
        else:
            bus.parameters[key] = value
    elif kind == "port_map" and key == "physical_name":
        ip.interfaces[names[1]].ports[names[2]] = value
    elif kind == "bus_parameter":
        ip.interfaces[names[1]].parameters[names[2]] = value
    elif kind == "address_block":
        ip.block[key] = value
    elif kind == "register":
        ip.registers.setdefault(names[-1], {})[key] = value
    elif kind == "field":
        ip.fields.setdefault((names[-2], names[-1]), {})[key] = value
    elif kind == "address_space":
        ip.spaces.setdefault(names[0], {})[key] = value
    else:
        raise AssertionError(f"property {key} of {kind} {names}")


# ------------------------------------------------------------------------------- block design


@dataclass(frozen=True)
class Pin:
    """A pin of a cell: kind clock, reset_low, reset_high, interrupt or other."""

    direction: str
    kind: str
    required: bool = True


@dataclass(frozen=True)
class Interface:
    """An interface of a cell; data_bits is None where it takes any width."""

    role: str
    kind: str
    data_bits: int | None
    clock: str


@dataclass
class BlockDesign:
    """Cells, connections and addresses as the record has them."""

    cells: dict[str, str] = field(default_factory=dict)  # name: VLNV
    config: dict[str, dict[str, str]] = field(default_factory=dict)
    nets: list[tuple[str, ...]] = field(default_factory=list)
    interface_nets: list[tuple[str, str]] = field(default_factory=list)
    addresses: list[tuple[str, str, str, int, int]] = field(default_factory=list)
    excluded: list[tuple[str, str, str]] = field(default_factory=list)
    automation: list[Call] = field(default_factory=list)
    validated: bool = False


def block_design(calls: list[Call]) -> BlockDesign:
    """The block design of a record."""
    design = BlockDesign()
    for call in calls:
        if call.name == "create_bd_cell":
            (name,) = call.words
            assert name not in design.cells, f"two cells {name}"
            design.cells[name] = call.options["-vlnv"]
            design.config[name] = {}
        elif call.name == "apply_bd_automation":
            design.automation.append(call)
        elif call.name == "set_property" and "-dict" in call.options:
            kind, name = call.words[0].split(":")
            assert kind == "cell"
            words = call.options["-dict"].split()
            for key, value in zip(words[::2], words[1::2], strict=True):
                design.config[name][key.removeprefix("CONFIG.")] = value
        elif call.name == "connect_bd_net":
            pins = [word.split(":") for word in call.words]
            assert all(kind == "pin" for kind, _ in pins), call
            design.nets.append(tuple(name for _, name in pins))
        elif call.name == "connect_bd_intf_net":
            (a, first), (b, second) = (word.split(":") for word in call.words)
            assert (a, b) == ("interface", "interface"), call
            design.interface_nets.append((first, second))
        elif call.name in ("assign_bd_address", "exclude_bd_addr_seg"):
            _, _, master = call.options["-target_address_space"].split(":")
            kind, _, slave, segment = call.words[0].split(":")
            assert kind == "segment", call
            if call.name == "exclude_bd_addr_seg":
                design.excluded.append((master, slave, segment))
            else:
                base, size = int(call.options["-offset"], 0), int(call.options["-range"], 0)
                design.addresses.append((master, slave, segment, base, size))
        elif call.name == "validate_bd_design":
            design.validated = True
        elif call.name == "save_bd_design":
            assert design.validated
            return design
    raise AssertionError("the block design is not saved")


def _processor(config: dict[str, str]) -> tuple[dict[str, Pin], dict[str, Interface]]:
    pins = {"pl_clk0": Pin("out", "clock"), "pl_resetn0": Pin("out", "reset_low")}
    interfaces = {}
    for i, (port, clock) in enumerate(
        (
            ("M_AXI_HPM0_FPD", "maxihpm0_fpd_aclk"),
            ("M_AXI_HPM1_FPD", "maxihpm1_fpd_aclk"),
            ("M_AXI_HPM0_LPD", "maxihpm0_lpd_aclk"),
        )
    ):
        if config.get(f"PSU__USE__M_AXI_GP{i}") == "1":
            pins[clock] = Pin("in", "clock")
            interfaces[port] = Interface("master", "aximm", 128, clock)
    for i in range(4):
        if config.get(f"PSU__USE__S_AXI_GP{i + 2}") == "1":
            clock = f"saxihp{i}_fpd_aclk"
            bits = int(config.get(f"PSU__SAXIGP{i + 2}__DATA_WIDTH", 128))
            pins[clock] = Pin("in", "clock")
            interfaces[f"S_AXI_HP{i}_FPD"] = Interface("slave", "aximm", bits, clock)
    if config.get("PSU__USE__IRQ0") == "1":
        pins["pl_ps_irq0"] = Pin("in", "interrupt")
    return pins, interfaces


def _dma(config: dict[str, str]) -> tuple[dict[str, Pin], dict[str, Interface]]:
    pins = {"s_axi_lite_aclk": Pin("in", "clock"), "axi_resetn": Pin("in", "reset_low")}
    interfaces = {"S_AXI_LITE": Interface("slave", "aximm", 32, "s_axi_lite_aclk")}
    if config.get("c_include_sg", "1") == "1":
        pins["m_axi_sg_aclk"] = Pin("in", "clock")
        interfaces["M_AXI_SG"] = Interface("master", "aximm", 32, "m_axi_sg_aclk")
    for channel, stream, role in (
        ("mm2s", "m_axis_mm2s", "master"),
        ("s2mm", "s_axis_s2mm", "slave"),
    ):
        if config.get(f"c_include_{channel}", "1") == "1":
            clock = f"m_axi_{channel}_aclk"
            pins[clock] = Pin("in", "clock")
            pins[f"{channel}_introut"] = Pin("out", "interrupt", required=False)
            memory = int(config.get(f"c_m_axi_{channel}_data_width", 32))
            beat = int(config.get(f"c_{stream}_tdata_width", 32))
            interfaces[f"M_AXI_{channel.upper()}"] = Interface("master", "aximm", memory, clock)
            interfaces[stream.upper()] = Interface(role, "axis", beat, clock)
    return pins, interfaces


def _reset() -> tuple[dict[str, Pin], dict[str, Interface]]:
    pins = {"slowest_sync_clk": Pin("in", "clock"), "ext_reset_in": Pin("in", "reset_low")}
    for name in ("aux_reset_in", "mb_debug_sys_rst", "dcm_locked"):
        pins[name] = Pin("in", "other", required=False)
    for name in ("mb_reset", "bus_struct_reset", "peripheral_reset"):
        pins[name] = Pin("out", "reset_high", required=False)
    for name in ("interconnect_aresetn", "peripheral_aresetn"):
        pins[name] = Pin("out", "reset_low", required=False)
    return pins, {}


def _smartconnect(config: dict[str, str]) -> tuple[dict[str, Pin], dict[str, Interface]]:
    pins = {"aclk": Pin("in", "clock"), "aresetn": Pin("in", "reset_low")}
    interfaces = {}
    for i in range(int(config.get("NUM_SI", 2))):
        interfaces[f"S{i:02}_AXI"] = Interface("slave", "aximm", None, "aclk")
    for i in range(int(config.get("NUM_MI", 1))):
        interfaces[f"M{i:02}_AXI"] = Interface("master", "aximm", None, "aclk")
    return pins, interfaces


def _accelerator(ip: Ip, widths: dict[str, int]) -> tuple[dict[str, Pin], dict[str, Interface]]:
    pins, interfaces = {}, {}
    for name, bus in ip.interfaces.items():
        if bus.kind in ("aximm", "axis"):
            data = next(bus.ports[n] for n in ("TDATA", "RDATA") if n in bus.ports)
            interfaces[name] = Interface(bus.mode, bus.kind, widths[data], bus.clock)
            continue
        direction = {"slave": "in", "master": "out"}[bus.mode]
        kind = bus.kind
        if kind == "reset":
            polarity = {"ACTIVE_LOW": "low", "ACTIVE_HIGH": "high"}[bus.parameters["POLARITY"]]
            kind = f"reset_{polarity}"
        pins[name] = Pin(direction, kind, required=direction == "in")
    return pins, interfaces


def violations(design: BlockDesign, ip: Ip, widths: dict[str, int]) -> Iterator[str]:
    """What is wrong with a block design.

    Args:
        design: of a record.
        ip: the accelerator.
        widths: bits of the accelerator's ports.
    """
    pins: dict[str, Pin] = {}
    interfaces: dict[str, Interface] = {}
    for cell, vlnv in design.cells.items():
        config = design.config[cell]
        name = vlnv.split(":")[2]
        if name == "zynq_ultra_ps_e":
            # The board's preset enables both masters to the full-power domain.
            preset = {"PSU__USE__M_AXI_GP0": "1", "PSU__USE__M_AXI_GP1": "1", "PSU__USE__IRQ0": "1"}
            found = _processor(preset | config)
        elif name == "cmamba":
            found = _accelerator(ip, widths)
        else:
            kinds = {
                "axi_dma": lambda c: _dma(c),
                "proc_sys_reset": lambda c: _reset(),
                "smartconnect": _smartconnect,
            }
            found = kinds[name](config)
        pins |= {f"{cell}/{n}": pin for n, pin in found[0].items()}
        interfaces |= {f"{cell}/{n}": interface for n, interface in found[1].items()}
    yield from _net_violations(design, pins)
    yield from _interface_violations(design, interfaces)
    yield from _clock_violations(design, interfaces)
    yield from _address_violations(design, interfaces)


def drivers(design: BlockDesign) -> dict[str, str]:
    """The first pin of its net, for each of the others."""
    return {sink: net[0] for net in design.nets for sink in net[1:]}


def _net_violations(design: BlockDesign, pins: dict[str, Pin]) -> Iterator[str]:
    for net in design.nets:
        for name in net:
            if name not in pins:
                yield f"no pin {name}"
                return
        if pins[net[0]].direction != "out" or any(pins[n].direction != "in" for n in net[1:]):
            yield f"net of {net[0]}: not from one output to inputs"
    driven = Counter(sink for net in design.nets for sink in net[1:])
    connected = {name for net in design.nets for name in net}
    for name, pin in pins.items():
        if driven[name] > 1:
            yield f"{name} is driven {driven[name]} times"
        if pin.required and name not in connected:
            yield f"{name} is not connected"
    for sink, source in drivers(design).items():
        if pins[sink].kind != pins[source].kind:
            yield f"{sink} is {pins[sink].kind}, {source} is {pins[source].kind}"


def _interface_violations(design: BlockDesign, interfaces: dict[str, Interface]) -> Iterator[str]:
    uses = Counter(name for net in design.interface_nets for name in net)
    for name in uses:
        if name not in interfaces:
            yield f"no interface {name}"
            return
    for name in interfaces:
        if uses[name] != 1:
            yield f"{name} is connected {uses[name]} times"
    for net in design.interface_nets:
        a, b = (interfaces[name] for name in net)
        if {a.role, b.role} != {"master", "slave"} or a.kind != b.kind:
            yield f"{net[0]} ({a.role} {a.kind}) does not go with {net[1]} ({b.role} {b.kind})"
        if None not in (a.data_bits, b.data_bits) and a.data_bits != b.data_bits:
            yield f"{net[0]} has {a.data_bits} bits, {net[1]} has {b.data_bits}"


def _clock_violations(design: BlockDesign, interfaces: dict[str, Interface]) -> Iterator[str]:
    """Both sides of an interface have one clock, and a reset is synchronous to its cell's clock."""
    driver = drivers(design)

    def clock_of(name: str) -> str | None:
        return driver.get(f"{name.split('/')[0]}/{interfaces[name].clock}")

    for net in design.interface_nets:
        if interfaces.keys() >= set(net) and clock_of(net[0]) != clock_of(net[1]):
            yield f"{net[0]} and {net[1]} have different clocks"


def _address_violations(design: BlockDesign, interfaces: dict[str, Interface]) -> Iterator[str]:
    """Every slave that a master reaches is mapped once, nothing else is, and nothing overlaps."""
    link = {a: b for net in design.interface_nets for a, b in (net, net[::-1])}
    expected = set()
    for name, interface in interfaces.items():
        cell = name.split("/")[0]
        if (interface.role, interface.kind) != (
            "master",
            "aximm",
        ) or "smartconnect" in design.cells[cell]:
            continue
        other = link.get(name, "")
        connect = other.split("/")[0]
        if "smartconnect" not in design.cells.get(connect, ""):
            continue
        for output in interfaces:
            if output.split("/")[0] == connect and interfaces[output].role == "master":
                expected.add((name, link.get(output, "")))
    mapped = Counter((master, slave) for master, slave, *_ in design.addresses)
    for pair in expected | mapped.keys():
        if mapped[pair] != (pair in expected):
            yield f"{pair[0]} to {pair[1]}: mapped {mapped[pair]} times"
    spans = sorted((m, base, size, slave) for m, slave, _, base, size in design.addresses)
    for (m, base, size, slave), (m2, base2, _, slave2) in itertools.pairwise(spans):
        if m == m2 and base + size > base2:
            yield f"{slave} and {slave2} overlap for {m}"
    for _, slave, _, base, size in design.addresses:
        if base % size:
            yield f"{slave}: 0x{base:X} is no multiple of its range"
