"""activations: every reader and writer at once, against arrays; who may write resid and conv_in."""

import os
import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import RisingEdge

import isa
from rtl.tb.simulate import simulate
from rtl.tb.streams import clock
from rtl.tb.words import pack, unpack

READ_LATENCY = 2
# Ports of the array, which names the memory; ports of one memory each.
ARRAY_READS = ("patch", "norm", "conv", "proj", "scan")
ARRAY_WRITES = ("conv_in", "gate", "proj", "step", "logit", "resid", "head")
READS = ("resid", "logit", "conv_in", "conv", "gate", "step", "proj", "head")
WRITES = ("patch", "norm", "resid", "conv_in", "conv", "scan")
VECTOR_WRITES = ("norm", "resid", "conv_in")
SHARED = ("resid", "conv_in")  # written by the array and by the vector unit, which waits
IMAGE_ELEMENTS = 8


class Model:
    """The memories as arrays, and what the read ports will show."""

    def __init__(self, dut, build):
        self.dut, self.build, self.align = dut, build, build.row_align
        self.data = {name: np.zeros(n, np.int64) for name, n in build.spaces.items()}

    def words(self, name):
        return self.build.spaces[name] // self.align

    def word(self, name, address):
        values = self.data[name][address * self.align :][: self.align]
        return pack(values.tolist(), isa.SPACES[name].bits)

    def write(self, name, address, mask, values):
        for i, value in enumerate(values):
            if mask >> i & 1:
                self.data[name][address * self.align + i] = value

    def drive_read(self, port, name, enable, address):
        getattr(self.dut, f"{port}_rd_en_i").value = enable
        getattr(self.dut, f"{port}_rd_addr_i").value = address
        return (port, self.word(name, address)) if enable else None

    def random_word(self, name, lanes):
        """An address among few, so that reads meet writes; a mask; values of the memory's range for
        so many elements, which may be any part of the word, and for all of the word."""
        bits, address = isa.SPACES[name].bits, random.choice((0, 1, 2, self.words(name) - 1))
        values = unpack(random.getrandbits(bits * lanes), bits, lanes)
        return address, random.getrandbits(self.align), values, values * (self.align // lanes)

    def lanes(self, port):
        """Elements of a write port."""
        if port == "array":
            return self.build.requantize_lanes
        return self.build.vector_lanes if port in VECTOR_WRITES else self.align


def build():
    return isa.build(os.environ["BUILD"])


async def fill(dut, model):
    """Known contents: the loader writes resid, the units the rest."""
    for port in (*WRITES, "array", "image"):
        getattr(dut, f"{port}_wr_en_i").value = 0
    for port in (*READS, "array", "add", "skip"):
        getattr(dut, f"{port}_rd_en_i").value = 0
    for beat in range(model.build.spaces["resid"] // IMAGE_ELEMENTS):
        values = [random.randint(-(1 << 15), (1 << 15) - 1) for _ in range(IMAGE_ELEMENTS)]
        dut.image_wr_en_i.value = 1
        dut.image_wr_addr_i.value = beat
        dut.image_wr_data_i.value = pack(values, 16)
        model.data["resid"][beat * IMAGE_ELEMENTS :][:IMAGE_ELEMENTS] = values
        await RisingEdge(dut.clk_i)
    dut.image_wr_en_i.value = 0
    full = (1 << model.align) - 1
    for name in isa.SPACES:
        for address in (0, 1, 2, model.words(name) - 1) if name != "resid" else ():
            port = "array" if name in ARRAY_WRITES else name
            *_, part, values = model.random_word(name, model.lanes(port))
            if name in ARRAY_WRITES:
                array_write(dut, name, address, full, pack(part, 16))
            else:
                port_write(dut, name, address, full, pack(part, isa.SPACES[name].bits))
            await RisingEdge(dut.clk_i)
            dut.array_wr_en_i.value = 0
            if name in WRITES:
                getattr(dut, f"{name}_wr_en_i").value = 0
            model.write(name, address, full, values)


def array_write(dut, name, address, mask, word):
    dut.array_wr_en_i.value = 1 << list(isa.SPACES).index(name)
    dut.array_wr_addr_i.value = address
    dut.array_wr_mask_i.value = mask
    dut.array_wr_data_i.value = word


def port_write(dut, name, address, mask, word):
    getattr(dut, f"{name}_wr_en_i").value = 1
    getattr(dut, f"{name}_wr_addr_i").value = address
    getattr(dut, f"{name}_wr_mask_i").value = mask
    getattr(dut, f"{name}_wr_data_i").value = word


@cocotb.test()
async def run_random(dut):
    """Reads and writes on all ports in the same cycles."""
    clock(dut)
    model = Model(dut, build())
    await fill(dut, model)
    expected = [[] for _ in range(READ_LATENCY)]
    for cycle in range(1500):
        reads, writes = [], []
        for port in READS:
            address = random.choice((0, 1, 2, model.words(port) - 1))
            reads.append(model.drive_read(port, port, random.getrandbits(1), address))
        address = random.choice((0, 1, 2, model.words("resid") - 1))
        reads.append(model.drive_read("add", "resid", random.getrandbits(1), address))
        address = random.choice((0, 1, 2, model.words("proj") - 1))
        reads.append(model.drive_read("skip", "proj", random.getrandbits(1), address))
        source = random.choice(ARRAY_READS)
        address = random.choice((0, 1, 2, model.words(source) - 1))
        dut.array_rd_space_i.value = list(isa.SPACES).index(source)
        reads.append(model.drive_read("array", source, random.getrandbits(1), address))

        target = random.choice(ARRAY_WRITES)
        by_array = random.getrandbits(1)
        address, mask, part, values = model.random_word(target, model.lanes("array"))
        # What lies above an int8 result does not matter.
        array_write(dut, target, address, mask, pack(part, 16))
        if not by_array:
            dut.array_wr_en_i.value = 0
        else:
            writes.append((target, address, mask, values))
        for name in WRITES:
            address, mask, part, values = model.random_word(name, model.lanes(name))
            enable = random.getrandbits(1)
            port_write(dut, name, address, mask, pack(part, isa.SPACES[name].bits))
            getattr(dut, f"{name}_wr_en_i").value = enable
            waits = name in SHARED and by_array and target == name
            if enable and not waits:
                writes.append((name, address, mask, values))
        await RisingEdge(dut.clk_i)
        for name in SHARED:
            ready = getattr(dut, f"{name}_wr_ready_o").value == 1
            assert ready == (not (by_array and target == name)), f"cycle {cycle}: {name}_wr_ready_o"
        expected.append([read for read in reads if read])
        for port, word in expected.pop(0):
            found = getattr(dut, f"{port}_rd_data_o").value.to_unsigned()
            assert found == word, f"cycle {cycle}: {port}_rd_data_o"
        for write in writes:
            model.write(*write)


@pytest.mark.parametrize("size", ["small", pytest.param("default", marks=pytest.mark.slow)])
def test_activations(size):
    simulate("cmamba_activations", build=size, extra_env={"BUILD": size})
