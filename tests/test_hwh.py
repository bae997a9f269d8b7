"""The .hwh of the design, read by PYNQ's own parsers."""

import dataclasses

import numpy as np
import pytest
from pynq.lib.dma import DMA
from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser
from pynq.pl_server.hwh_parser import _HWHUltrascale
from pynq.registers import RegisterMap
from pynqmetadata.frontends import HwhFrontend

from bitstream_scripts.design import DESIGN
from bitstream_scripts.hwh import hwh_of, vlnv
from rtl.regs import registers

# rtl/regs/registers.py has NAME for the address of a register, NAME_FIELD for the bits of a field.
CONSTANTS = {name: value for name, value in vars(registers).items() if name.isupper()}


@pytest.fixture(scope="module")
def metadata():
    return RuntimeMetadataParser(HwhFrontend(_hwhfile=hwh_of()))


def test_ip_dict(metadata):
    ips = metadata.ip_dict
    assert set(ips) == {"cmamba_0", "axi_dma_0", "zynq_ultra_ps_e_0"}
    for part, kind in (
        (DESIGN.accelerator, DESIGN.accelerator.vlnv),
        (DESIGN.dma, vlnv(DESIGN.dma.ip)),
    ):
        ip = ips[part.instance]
        assert (ip["type"], ip["phys_addr"], ip["addr_range"]) == (kind, part.base, part.range)
        assert ip["mem_id"] == part.interface
        assert ip["fullpath"] == part.instance


def test_pynq_knows_the_dma(metadata):
    """By name and version, which is that of every release of Vivado that there is."""
    assert vlnv(DESIGN.dma.ip) in DMA.bindto


def test_dma_parameters(metadata):
    parameters = metadata.ip_dict["axi_dma_0"]["parameters"]
    expected = {
        "c_include_sg": "0",
        "c_micro_dma": "0",
        "c_sg_length_width": "26",
        "c_include_mm2s": "1",
        "c_include_s2mm": "1",
        "c_include_mm2s_dre": "0",
        "c_include_s2mm_dre": "0",
        "c_m_axi_mm2s_data_width": "128",
        "c_m_axi_s2mm_data_width": "128",
        "c_mm2s_burst_size": "64",
        "c_s2mm_burst_size": "64",
    }
    assert {name: parameters[name] for name in expected} == expected


def test_registers_of_the_accelerator(metadata):
    """Every constant of rtl/regs is a register or a field, at its place; there are no others."""
    found = {}
    for name, register in metadata.ip_dict["cmamba_0"]["registers"].items():
        assert register["size"] == 32
        found[name] = register["address_offset"]
        fields = register["fields"]
        for field, bits in fields.items():
            if len(fields) > 1 or bits["bit_width"] < 32:
                mask = (1 << bits["bit_width"]) - 1
                found[f"{name}_{field}"] = mask << bits["bit_offset"]
    assert found == CONSTANTS


def test_access_of_registers(metadata):
    regs = metadata.ip_dict["cmamba_0"]["registers"]
    assert regs["MODE"]["access"] == "read-write"
    assert regs["ERROR"]["access"] == "read-only"
    assert regs["CTRL"]["fields"]["START"]["access"] == "read-write"
    assert regs["CTRL"]["fields"]["DONE"]["access"] == "read-only"


def test_register_maps(metadata):
    """The classes that `register_map` is made of work on memory."""
    memory = np.zeros(0x200, np.uint8)
    regs = metadata.ip_dict["cmamba_0"]["registers"]
    map_of_core = RegisterMap.create_subclass("cmamba", regs)(memory)
    map_of_core.MODE.COMMAND = 2
    map_of_core.MODE.TLAST_EACH = 1
    assert memory.view(np.uint32)[registers.MODE // 4] == 2 | registers.MODE_TLAST_EACH
    memory.view(np.uint32)[registers.ERROR // 4] = 0xF5
    assert map_of_core.ERROR.CODE == 5

    memory[:] = 0
    regs = metadata.ip_dict["axi_dma_0"]["registers"]
    map_of_dma = RegisterMap.create_subclass("dma", regs)(memory)
    map_of_dma.S2MM_LENGTH.Length = 64
    map_of_dma.MM2S_DMACR.RS = 1
    assert memory.view(np.uint32)[0x58 // 4] == 64
    assert memory.view(np.uint32)[0x00 // 4] == 1


def test_clocks(metadata):
    clocks = metadata.clock_dict
    assert [clock["enable"] for clock in clocks.values()] == [1, 0, 0, 0]
    assert (clocks[0]["divisor0"], clocks[0]["divisor1"]) == (6, 1)
    assert clocks[0]["frequency"] == pytest.approx(DESIGN.clock.frequency_mhz, rel=1e-3)


def test_legacy_parser(tmp_path):
    """The parser of PYNQ 2.7, which PYNQ still has, reads the same."""
    path = tmp_path / "cmamba.hwh"
    path.write_text(hwh_of())
    parsed = _HWHUltrascale(str(path))
    ip = parsed.ip_dict["cmamba_0"]
    assert (ip["phys_addr"], ip["addr_range"]) == (DESIGN.accelerator.base, 0x1000)
    assert ip["registers"]["MODE"]["address_offset"] == registers.MODE
    assert parsed.clock_dict[0] == {"enable": 1, "divisor0": 6, "divisor1": 1}
    assert parsed.ps_name == "zynq_ultra_ps_e_0"


def test_masters_reach_memory():
    """Each master sees the DDR through its own port."""
    blocks = HwhFrontend(_hwhfile=hwh_of()).blocks
    memory = DESIGN.memory
    for instance, master, port in (
        ("cmamba_0", "m_axi_gmem", memory.gmem_port),
        ("axi_dma_0", "M_AXI_MM2S", memory.mm2s_port),
        ("axi_dma_0", "M_AXI_S2MM", memory.s2mm_port),
    ):
        (reached,) = blocks[instance].ports[master].addrmap.values()
        assert (reached["baseaddr"], reached["addr_range"]) == (memory.base, memory.range)
        assert reached["memtype"] == "memory"
        assert reached["subord_port"].endswith(f"{port}[port]")


def test_another_design():
    moved = dataclasses.replace(
        DESIGN, accelerator=dataclasses.replace(DESIGN.accelerator, base=0xA004_0000)
    )
    ips = RuntimeMetadataParser(HwhFrontend(_hwhfile=hwh_of(moved))).ip_dict
    assert ips["cmamba_0"]["phys_addr"] == 0xA004_0000
