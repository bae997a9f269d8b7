"""row_address: the words of all rows of random rings, against isa."""

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

import isa
from rtl.tb.simulate import simulate
from rtl.tb.streams import clock


@cocotb.test()
async def run_rows(dut):
    """Rings that lie inside the memory, every length, tokens beyond the ring."""
    clock(dut)
    expected = []
    align, words = dut.RowAlign.value.to_unsigned(), 1 << dut.AddrWidth.value.to_unsigned()
    for _ in range(3000):
        log2_rows = random.choice([0, 1, 2, 3, random.randrange(words.bit_length())])
        stride = random.randint(0, (words - 1) >> log2_rows)
        addr = random.randint(0, words - 1 - stride * ((1 << log2_rows) - 1))
        operand = isa.Operand(
            addr * align, min(stride, 0xFFFF // align) * align, log2_rows, random.randrange(11)
        )
        index = random.choice([0, 1, 4095, random.randrange(4096)])
        dut.operand_i.value = isa.OPERAND.encode(operand.fields())
        dut.index_i.value = index
        expected.append(operand.row(index))
        await RisingEdge(dut.clk_i)
        if len(expected) > 2:  # two cycles later
            assert dut.word_o.value.to_unsigned() * align == expected[-3]


@pytest.mark.parametrize(
    ("RowAlign", "AddrWidth"),
    [
        (64, 8),
        pytest.param(16, 9, marks=pytest.mark.slow),
        pytest.param(64, 4, marks=pytest.mark.slow),
    ],
)
def test_row_address(RowAlign, AddrWidth):
    simulate("cmamba_row_address", {"RowAlign": RowAlign, "AddrWidth": AddrWidth})


@pytest.mark.parametrize("bad", [{"RowAlign": 24}, {"AddrWidth": 17}])
def test_bad_parameters(bad, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_row_address", bad)
    assert f"row_address: {next(iter(bad))} is" in capfd.readouterr().err
