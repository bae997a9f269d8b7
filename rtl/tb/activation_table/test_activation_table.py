"""activation_table: every entry of every table through every lane; loading again."""

import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from rtl.tb.simulate import simulate
from rtl.tb.streams import clock
from rtl.tb.words import pack, unpack

LATENCY = 2  # cmamba_cells_pkg::ActivationTableLatency


async def load(dut, entries):
    """Write all tables, an entry a cycle, in random order."""
    dut.wr_en_i.value = 1
    for address in random.sample(range(len(entries)), len(entries)):
        dut.wr_addr_i.value = address
        dut.wr_data_i.value = entries[address]
        await RisingEdge(dut.clk_i)
    dut.wr_en_i.value = 0


@cocotb.test()
async def run_lookups(dut):
    """All arguments, in another order on each lane; after a second load the new entries."""
    clock(dut)
    tables, width, lanes = (
        getattr(dut, n).value.to_unsigned() for n in ("Tables", "Width", "Lanes")
    )
    for _ in range(2):
        entries = [random.getrandbits(width) for _ in range(256 * tables)]
        await load(dut, entries)
        lookups = [
            (table, arguments)
            for table in range(tables)
            for arguments in zip(
                *(random.sample(range(-128, 128), 256) for _ in range(lanes)), strict=True
            )
        ]
        random.shuffle(lookups)
        found = []
        for table, arguments in lookups + lookups[:1] * LATENCY:
            dut.table_i.value = table
            dut.data_i.value = pack(arguments, 8)
            await RisingEdge(dut.clk_i)
            found.append(dut.data_o.value)
        for (table, arguments), value in zip(lookups, found[LATENCY:], strict=True):
            want = [entries[256 * table + argument + 128] for argument in arguments]
            assert unpack(value.to_unsigned(), width, lanes, signed=False) == want


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("Tables", "Width", "Lanes"),
    [
        (4, 8, 4),
        pytest.param(2, 8, 1, marks=SLOW),
        pytest.param(8, 16, 5, marks=SLOW),
        pytest.param(32, 16, 16, marks=SLOW),
    ],
)
def test_activation_table(Tables, Width, Lanes):
    simulate("cmamba_activation_table", {"Tables": Tables, "Width": Width, "Lanes": Lanes})
