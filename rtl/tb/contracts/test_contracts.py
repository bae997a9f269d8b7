"""The contracts in the modules' headers are assertions: each one fires when a bench breaks it.

What a module promises itself is broken by writing to its registers.
"""

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from rtl.tb.simulate import simulate
from rtl.tb.streams import start


async def offer(dut, **values):
    """Offer a word on valid_i, of which nothing is taken at the other side."""
    dut.valid_i.value = 0
    dut.ready_i.value = 0
    await start(dut)
    dut.valid_i.value = 1
    for name, value in values.items():
        getattr(dut, name).value = value
    await RisingEdge(dut.clk_i)


async def wait_for_word(dut):
    """Until valid_o has been seen for a cycle."""
    await RisingEdge(dut.valid_o)
    await ClockCycles(dut.clk_i, 2)


@cocotb.test()
async def s_is_positive(dut):
    await offer(dut, s_i=0)
    await ClockCycles(dut.clk_i, 4)


@cocotb.test()
async def s_stays(dut):
    await offer(dut, s_i=5)
    dut.s_i.value = 6
    await ClockCycles(dut.clk_i, 4)


@cocotb.test()
async def r_stays(dut):
    await offer(dut, s_i=5)
    await wait_for_word(dut)
    dut.r_q.value = 1
    await ClockCycles(dut.clk_i, 4)


@cocotb.test()
async def word_stays(dut):
    await offer(dut, data_i=5)
    await wait_for_word(dut)
    dut.data_q.value = 6
    await ClockCycles(dut.clk_i, 4)


@cocotb.test()
async def level_fits(dut):
    await offer(dut, data_i=5)
    dut.level_q.value = dut.Depth.value.to_unsigned() + 2
    await ClockCycles(dut.clk_i, 4)


# The folder of a build is not that of the module's own suite, which may be running.
@pytest.mark.parametrize(
    ("toplevel", "contracts"),
    [
        (
            "reciprocal_sqrt",
            {
                "s_is_positive": "s_i is 0",
                "s_stays": "s_i went or changed",
                "r_stays": "the result went or changed",
            },
        ),
        ("fifo", {"word_stays": "the word went or changed", "level_fits": "level_o is"}),
    ],
)
def test_contracts(toplevel, contracts, capfd):
    for contract, message in contracts.items():
        with pytest.raises((AssertionError, RuntimeError)):
            simulate(
                f"cmamba_{toplevel}",
                build="deep",
                suite="test_contracts",
                test_filter=f"{contract}$",
            )
        assert f"{toplevel}: {message}" in "".join(capfd.readouterr())
