"""Registers of the driver: by pynq's MMIO, and where they are mapped without it."""

import numpy as np
import pynq
import pytest

import isa
from bitstream_scripts.design import DESIGN
from host import Accelerator, fabric
from host.registers import MappedRegisters, open_registers
from host.virtual_board import plain, write_overlay
from model.args import ModelArgs
from tests.compiled_models import SMALL, compile_random
from tests.virtual_boards import keep_pynq_state_in

BUILD = isa.build("small")
IP = {"phys_addr": DESIGN.accelerator.base, "addr_range": DESIGN.accelerator.range}


def test_words_by_their_byte_offsets():
    array = np.zeros(4, np.uint32)
    registers = MappedRegisters(array)
    registers.write(8, 0xFFFF_FFFF)
    assert array.tolist() == [0, 0, 0xFFFF_FFFF, 0]
    assert registers.read(8) == 0xFFFF_FFFF and type(registers.read(8)) is int
    with pytest.raises(IndexError):
        registers.read(16)


def test_only_what_is_mapped_is_accessed_so():
    device = plain.PlainDevice(BUILD)
    assert isinstance(open_registers(device, IP), MappedRegisters)
    device.capabilities = {"REGISTER_RW": True}
    assert isinstance(open_registers(device, IP), pynq.MMIO)


def test_the_accesses_of_pynq_in_their_order(tmp_path, monkeypatch):
    keep_pynq_state_in(tmp_path)
    bitfile = write_overlay(tmp_path)
    package = compile_random(ModelArgs(**SMALL), build="small").package
    x = np.random.default_rng(0).standard_normal((2, 3, 24)).astype(np.float32)
    written: list[tuple[int, int, int]] = []

    class Recorded(plain._Registers):
        def __setitem__(self, index, value):
            if isinstance(index, int):
                written.append((len(self), index, int(value)))
            super().__setitem__(index, value)

    monkeypatch.setattr(plain, "_Registers", Recorded)

    def writes() -> list[tuple[int, int, int | str]]:
        with Accelerator(bitfile, device=plain.PlainDevice(BUILD)) as accelerator:
            accelerator.load(package)
            accelerator.forecast(x)  # has its buffers, which have other addresses each time
            addresses = set(accelerator._fabric._pool._free)
            written.clear()
            accelerator.forecast(x)
            return [(n, i, "address" if v in addresses else v) for n, i, v in written]

    mapped = writes()
    monkeypatch.setattr(
        fabric,
        "open_registers",
        lambda device, ip: pynq.MMIO(ip["phys_addr"], ip["addr_range"], device=device),
    )
    assert mapped == writes()
    assert len(mapped) == 7  # address and length of two transfers; N_FORECASTS, MODE, CTRL
