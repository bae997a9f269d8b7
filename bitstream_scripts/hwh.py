"""The hardware handoff (.hwh) of the design, as Vivado writes it beside a bitstream.

It has what PYNQ reads of such a file: modules with their parameters, bus interfaces and registers,
and the memory maps of the masters. The virtual board uses it where no Vivado has run; on a board,
Vivado's own file is used.

    python -m bitstream_scripts.hwh          write it to standard output
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import sys
from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from bitstream_scripts.clocks import PS_REFERENCE_MHZ, clock_of, divisors
from bitstream_scripts.design import CORES, DESIGN, HP_PORTS, Design
from bitstream_scripts.registers import (
    Field,
    Register,
    accelerator_registers,
    hls_registers,
)
from common import command_line

# Versions that Vivado 2022.2 has, the oldest that the scripts are for. PYNQ knows the DMA by its
# version.
VERSIONS = {"zynq_ultra_ps_e": "3.4", "axi_dma": "7.1", "board": "3.4"}
# Width of M_AXI_HPM0_FPD, as the processing system has it unless told otherwise.
HPM_BITS = 128


def vlnv(ip: str) -> str:
    """Vendor, library, name and version of an IP of Vivado."""
    return f"{ip}:{VERSIONS[ip.split(':')[2]]}"


# AXI DMA 7.1 in direct register mode (PG021, table 2-6). Both channels have the same bits.
_DMACR = (
    Field("RS", 0, 1, "read-write", "1 runs the channel, 0 stops it."),
    Field("Reset", 2, 1, "read-write", "Soft reset of the whole core; 1 until it is done."),
    Field("Keyhole", 3, 1, "read-write", "Bursts to one address."),
    Field("Cyclic_BD_Enable", 4, 1, "read-write", "Scatter-gather only."),
    Field("IOC_IrqEn", 12, 1, "read-write", "Interrupt when a transfer is complete."),
    Field("Dly_IrqEn", 13, 1, "read-write", "Scatter-gather only."),
    Field("Err_IrqEn", 14, 1, "read-write", "Interrupt on an error."),
    Field("IRQThreshold", 16, 8, "read-write", "Scatter-gather only."),
    Field("IRQDelay", 24, 8, "read-write", "Scatter-gather only."),
)
_DMASR = (
    Field("Halted", 0, 1, "read-only", "The channel is halted."),
    Field("Idle", 1, 1, "read-only", "The channel has nothing to transfer."),
    Field("SGIncld", 3, 1, "read-only", "Scatter-gather is included."),
    Field("DMAIntErr", 4, 1, "read-only", "Internal error of the DMA."),
    Field("DMASlvErr", 5, 1, "read-only", "A slave answered with an error."),
    Field("DMADecErr", 6, 1, "read-only", "Nothing answers at the address."),
    Field("SGIntErr", 8, 1, "read-only", "Scatter-gather only."),
    Field("SGSlvErr", 9, 1, "read-only", "Scatter-gather only."),
    Field("SGDecErr", 10, 1, "read-only", "Scatter-gather only."),
    Field("IOC_Irq", 12, 1, "read-write", "A transfer is complete. Writing 1 clears it."),
    Field("Dly_Irq", 13, 1, "read-write", "Scatter-gather only. Writing 1 clears it."),
    Field("Err_Irq", 14, 1, "read-write", "An error. Writing 1 clears it."),
    Field("IRQThresholdSts", 16, 8, "read-only", "Scatter-gather only."),
    Field("IRQDelaySts", 24, 8, "read-only", "Scatter-gather only."),
)


def dma_registers(length_bits: int) -> tuple[Register, ...]:
    """The registers of the AXI DMA that exist without scatter-gather."""

    def address(name: str, offset: int, field: str) -> Register:
        fields = (Field(field, 0, 32, "read-write", ""),)
        return Register(name, offset, "read-write", 0, field.replace("_", " "), fields)

    def channel(name: str, base: int, end: str, field: str) -> tuple[Register, ...]:
        length = Field("Length", 0, length_bits, "read-write", "Bytes; writing starts a transfer.")
        return (
            Register(f"{name}_DMACR", base, "read-write", 0x10002, "Control", _DMACR),
            Register(f"{name}_DMASR", base + 0x04, "read-write", 1, "Status", _DMASR),
            address(f"{name}_{end}", base + 0x18, field),
            address(f"{name}_{end}_MSB", base + 0x1C, field),
            Register(f"{name}_LENGTH", base + 0x28, "read-write", 0, "Length", (length,)),
        )

    return (
        *channel("MM2S", 0x00, "SA", "Source_Address"),
        *channel("S2MM", 0x30, "DA", "Destination_Address"),
    )


# ------------------------------------------------------------------------------- parts of a module


def _module(modules: Element, instance: str, vlnv: str, **attributes: str) -> Element:
    _, _, name, version = vlnv.split(":")
    return SubElement(
        modules,
        "MODULE",
        FULLNAME=f"/{instance}",
        HWVERSION=version,
        INSTANCE=instance,
        IPTYPE="PERIPHERAL",
        IS_ENABLE="1",
        MODCLASS="PERIPHERAL",
        MODTYPE=name,
        VLNV=vlnv,
        **attributes,
    )


def _parameters(module: Element, values: dict[str, object]) -> None:
    parameters = SubElement(module, "PARAMETERS")
    for name, value in values.items():
        SubElement(parameters, "PARAMETER", NAME=name, VALUE=str(value))


def _address_block(module: Element, interface: str, size: int, regs: Iterable[Register]) -> None:
    blocks = SubElement(module, "ADDRESSBLOCKS")
    block = SubElement(
        blocks,
        "ADDRESSBLOCK",
        ACCESS="read-write",
        INTERFACE=interface,
        NAME="Reg",
        RANGE=str(size),
        USAGE="register",
    )
    registers = SubElement(block, "REGISTERS")
    for register in regs:
        node = SubElement(registers, "REGISTER", NAME=register.name)
        _properties(
            node,
            DESCRIPTION=register.description,
            ADDRESS_OFFSET=f"0x{register.offset:X}",
            SIZE="32",
            ACCESS=register.access,
            IS_ENABLED="true",
            RESET_VALUE=f"0x{register.reset:X}",
        )
        fields = SubElement(node, "FIELDS")
        for field in register.fields:
            _properties(
                SubElement(fields, "FIELD", NAME=field.name),
                DESCRIPTION=field.description,
                ADDRESS_OFFSET=str(field.lsb),
                ACCESS=field.access,
                BIT_OFFSET=str(field.lsb),
                BIT_WIDTH=str(field.bits),
            )


def _properties(node: Element, **values: str) -> None:
    for name, value in values.items():
        SubElement(node, "PROPERTY", NAME=name, VALUE=value)


def _bus(interfaces: Element, net: str, name: str, kind: str, protocol: str, **widths: int) -> None:
    bus = SubElement(
        interfaces,
        "BUSINTERFACE",
        BUSNAME=net,
        NAME=name,
        TYPE=kind,
        VLNV=f"xilinx.com:interface:{protocol}:1.0",
    )
    for parameter, value in widths.items():
        SubElement(bus, "PARAMETER", NAME=parameter, VALUE=str(value))


def _range(
    memory: Element, master: str, instance: str, slave: str, span: tuple[int, int], kind: str
) -> None:
    base, size = span
    SubElement(
        memory,
        "MEMRANGE",
        ADDRESSBLOCK="Reg" if kind == "REGISTER" else f"{slave[6:9]}_DDR_LOW",
        BASENAME="C_BASEADDR",
        BASEVALUE=f"0x{base:08X}",
        HIGHNAME="C_HIGHADDR",
        HIGHVALUE=f"0x{base + size - 1:08X}",
        INSTANCE=instance,
        IS_DATA="TRUE",
        IS_INSTRUCTION="TRUE",
        MASTERBUSINTERFACE=master,
        MEMTYPE=kind,
        SLAVEBUSINTERFACE=slave,
    )


# ------------------------------------------------------------------------------- the modules


def _processor(modules: Element, design: Design) -> None:
    processor, memory = design.processor, design.memory
    module = _module(
        modules, processor.instance, vlnv(processor.ip), CONFIGURABLE="TRUE", IS_PL="FALSE"
    )
    pl0 = clock_of(design.clock.frequency_mhz)
    values: dict[str, object] = {"PSU__PSS_REF_CLK__FREQMHZ": PS_REFERENCE_MHZ}
    for i in range(4):
        clock = f"PSU__CRL_APB__PL{i}_REF_CTRL__"
        divisor0, divisor1 = divisors(pl0.divisor) if i == 0 else (4, 1)
        values |= {
            f"PSU__FPGA_PL{i}_ENABLE": int(i == 0),
            f"{clock}DIVISOR0": divisor0,
            f"{clock}DIVISOR1": divisor1,
            f"{clock}SRCSEL": "IOPLL" if i == 0 else "RPLL",
            f"{clock}ACT_FREQMHZ": f"{pl0.mhz:.6f}" if i == 0 else 100,
        }
    # PYNQ sets the processing system to these widths.
    values["C_MAXIGP0_DATA_WIDTH"] = HPM_BITS
    for port in (memory.gmem_port, memory.mm2s_port, memory.s2mm_port):
        values[f"C_SAXIGP{HP_PORTS.index(port) + 2}_DATA_WIDTH"] = design.dma.data_bits
    _parameters(module, values)
    interfaces = SubElement(module, "BUSINTERFACES")
    _bus(
        interfaces, f"{processor.instance}_{processor.master}", processor.master, "MASTER", "aximm"
    )
    for port in (memory.gmem_port, memory.mm2s_port, memory.s2mm_port):
        _bus(interfaces, f"to_{port}", port, "SLAVE", "aximm", DATA_WIDTH=design.dma.data_bits)
    ranges = SubElement(module, "MEMORYMAP")
    peripherals = SubElement(module, "PERIPHERALS")
    for part in (design.accelerator, design.dma):
        span = (part.base, part.range)
        _range(ranges, processor.master, part.instance, part.interface, span, "REGISTER")
        SubElement(peripherals, "PERIPHERAL", INSTANCE=part.instance)


def _memory_map(module: Element, design: Design, masters: dict[str, str]) -> None:
    ranges = SubElement(module, "MEMORYMAP")
    span = (design.memory.base, design.memory.range)
    for master, port in masters.items():
        _range(ranges, master, design.processor.instance, port, span, "MEMORY")
    peripherals = SubElement(module, "PERIPHERALS")
    SubElement(peripherals, "PERIPHERAL", INSTANCE=design.processor.instance)


def _base_addresses(base: int, size: int) -> dict[str, str]:
    return {"C_BASEADDR": f"0x{base:08X}", "C_HIGHADDR": f"0x{base + size - 1:08X}"}


def _dma(modules: Element, design: Design) -> None:
    dma, bits = design.dma, design.dma.data_bits
    module = _module(modules, dma.instance, vlnv(dma.ip))
    _address_block(module, dma.interface, 4096, dma_registers(dma.length_bits))
    values: dict[str, object] = {
        "c_include_sg": 0,
        "c_micro_dma": 0,
        "c_sg_length_width": dma.length_bits,
        "c_addr_width": 32,
    }
    for channel, stream in (("mm2s", "m_axis_mm2s"), ("s2mm", "s_axis_s2mm")):
        values |= {
            f"c_include_{channel}": 1,
            f"c_include_{channel}_dre": 0,
            f"c_m_axi_{channel}_data_width": bits,
            f"c_{stream}_tdata_width": bits,
            f"c_{channel}_burst_size": dma.burst_beats,
        }
    _parameters(module, values | _base_addresses(dma.base, dma.range))
    interfaces = SubElement(module, "BUSINTERFACES")
    name, core = dma.instance, design.accelerator.instance
    _bus(interfaces, f"to_{name}", dma.interface, "SLAVE", "aximm", DATA_WIDTH=32)
    for master in ("M_AXI_MM2S", "M_AXI_S2MM"):
        _bus(interfaces, f"{name}_{master}", master, "MASTER", "aximm", DATA_WIDTH=bits)
    size = bits // 8
    _bus(
        interfaces, f"{name}_M_AXIS_MM2S", "M_AXIS_MM2S", "INITIATOR", "axis", TDATA_NUM_BYTES=size
    )
    _bus(interfaces, f"{core}_m_axis", "S_AXIS_S2MM", "TARGET", "axis", TDATA_NUM_BYTES=size)
    memory = design.memory
    masters = {"M_AXI_MM2S": memory.mm2s_port, "M_AXI_S2MM": memory.s2mm_port}
    _memory_map(module, design, masters)


def _accelerator(modules: Element, design: Design, kind: str) -> None:
    core, dma = design.accelerator, design.dma
    is_hls = kind == "hls"
    module = _module(modules, core.instance, design.hls.vlnv if is_hls else core.vlnv)
    registers = hls_registers() if is_hls else accelerator_registers()
    _address_block(module, core.interface, 512, registers)
    _parameters(module, _base_addresses(core.base, core.range))
    interfaces = SubElement(module, "BUSINTERFACES")
    name, size = core.instance, dma.data_bits // 8
    _bus(interfaces, f"to_{name}", core.interface, "SLAVE", "aximm", DATA_WIDTH=32)
    _bus(interfaces, f"{name}_m_axi_gmem", "m_axi_gmem", "MASTER", "aximm", DATA_WIDTH=128)
    _bus(
        interfaces, f"{dma.instance}_M_AXIS_MM2S", "s_axis", "TARGET", "axis", TDATA_NUM_BYTES=size
    )
    _bus(interfaces, f"{name}_m_axis", "m_axis", "INITIATOR", "axis", TDATA_NUM_BYTES=size)
    _memory_map(module, design, {"m_axi_gmem": design.memory.gmem_port})


def hwh_of(design: Design = DESIGN, core: str = "rtl") -> str:
    """The .hwh of a design with one of `CORES`, XML text that ends with a newline."""
    root = Element("EDKSYSTEM", EDWVERSION="1.2", VIVADOVERSION=design.board.vivado)
    device, package, speed, *_ = design.board.part.split("-")
    SubElement(
        root,
        "SYSTEMINFO",
        ARCH="zynquplus",
        BOARD=f"{design.board.board_part}:{VERSIONS['board']}",
        DEVICE=device,
        NAME=design.board.block_design,
        PACKAGE=package,
        SPEEDGRADE=f"-{speed}",
    )
    SubElement(root, "EXTERNALPORTS")
    modules = SubElement(root, "MODULES")
    _dma(modules, design)
    _accelerator(modules, design, core)
    _processor(modules, design)
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8" standalone="no" ?>\n{body}\n'


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bitstream_scripts.hwh", description="Write the .hwh to standard output."
    )
    parser.add_argument("--core", choices=CORES, default="rtl", help="accelerator")
    args = parser.parse_args(argv)
    sys.stdout.write(hwh_of(core=args.core))
    return 0


if __name__ == "__main__":
    sys.exit(main())
