"""activation_memory: masked writes and reads in every cycle, element by element."""

import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import RisingEdge

from rtl.tb.memories import packed
from rtl.tb.simulate import simulate
from rtl.tb.streams import clock
from rtl.tb.words import pack


@cocotb.test()
async def run_random(dut):
    """Writes of some elements, and reads of each port, against an array."""
    clock(dut)
    bits, elements = dut.ElementBits.value.to_unsigned(), dut.Elements.value.to_unsigned()
    lanes, ports = dut.RowAlign.value.to_unsigned(), dut.ReadPorts.value.to_unsigned()
    words = elements // lanes
    rng = np.random.default_rng(random.getrandbits(32))
    memory = np.zeros((words, lanes), np.dtype(f"<u{bits // 8}"))
    address_bits = (words - 1).bit_length()

    async def cycle(write, reads):
        address, mask, row = write
        dut.wr_en_i.value = bool(mask.any())
        dut.wr_addr_i.value = address
        dut.wr_mask_i.value = pack(mask.tolist(), 1)
        dut.wr_data_i.value = packed(row)
        dut.rd_en_i.value = pack((r is not None for r in reads), 1)
        dut.rd_addr_i.value = pack((r or 0 for r in reads), address_bits)
        await RisingEdge(dut.clk_i)
        memory[address, mask] = row[mask]

    def row():
        return rng.integers(0, 1 << bits, lanes).astype(memory.dtype)

    for address in range(words):
        await cycle((address, np.ones(lanes, bool), row()), [None] * ports)

    expected = [[None] * ports, [None] * ports]
    few = [0, words - 1, *rng.integers(0, words, 4)]
    for step in range(1000):
        addresses = few if step % 2 else range(words)
        reads = [random.choice((None, int(random.choice(addresses)))) for _ in range(ports)]
        expected.append([None if r is None else packed(memory[r]) for r in reads])
        mask = rng.random(lanes) < random.choice((0.0, 0.1, 0.5, 1.0))
        await cycle((int(random.choice(addresses)), mask, row()), reads)
        found = dut.rd_data_o.value.to_unsigned()
        for port, word in enumerate(expected.pop(0)):
            at = found >> (port * lanes * bits) & ((1 << (lanes * bits)) - 1)
            assert word is None or at == word, f"step {step}, port {port}: {at ^ word:#x}"


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("ElementBits", "Elements", "RowAlign", "ReadPorts"),
    [
        (8, 4096, 16, 2),
        (16, 8192, 16, 2),
        (8, 1024, 16, 3),
        pytest.param(8, 1024, 64, 1, marks=SLOW),
        pytest.param(8, 16384, 64, 2, marks=SLOW),
        pytest.param(16, 16384, 64, 2, marks=SLOW),
    ],
)
def test_activation_memory(ElementBits, Elements, RowAlign, ReadPorts):
    simulate(
        "cmamba_activation_memory",
        {
            "ElementBits": ElementBits,
            "Elements": Elements,
            "RowAlign": RowAlign,
            "ReadPorts": ReadPorts,
        },
    )


@pytest.mark.parametrize("bad", [{"ElementBits": 12}, {"Elements": 1000}])
def test_bad_parameters(bad, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_activation_memory", bad)
    assert f"activation_memory: {next(iter(bad))} is" in capfd.readouterr().err
