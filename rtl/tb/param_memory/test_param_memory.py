"""param_memory: words of a section that comes in beats, read by rows, or by an address a lane."""

import random

import cocotb
import numpy as np
import pytest
from cocotb.triggers import RisingEdge

from rtl.tb.simulate import simulate
from rtl.tb.streams import clock
from rtl.tb.words import pack, unpack

BEAT_BITS = 128


@cocotb.test()
async def run_random(dut):
    """A whole section, another that is shorter, with idle cycles; reads after each."""
    clock(dut)
    bits, lanes = dut.WordBits.value.to_unsigned(), dut.Lanes.value.to_unsigned()
    n_words, addresses = dut.Words.value.to_unsigned(), dut.Addresses.value.to_unsigned()
    rows, beat_words = n_words // lanes, BEAT_BITS // bits
    words = np.zeros(n_words, object)
    dut.rd_en_i.value = 0

    async def load(n_beats, idle):
        for beat in range(n_beats):
            while random.random() < idle:
                dut.wr_en_i.value = 0
                dut.wr_addr_i.value = random.randrange(n_words // beat_words)
                dut.wr_data_i.value = random.getrandbits(BEAT_BITS)
                await RisingEdge(dut.clk_i)
            data = random.getrandbits(BEAT_BITS)
            dut.wr_en_i.value = 1
            dut.wr_addr_i.value = beat
            dut.wr_data_i.value = data
            words[beat * beat_words : (beat + 1) * beat_words] = unpack(
                data, bits, beat_words, signed=False
            )
            await RisingEdge(dut.clk_i)
        dut.wr_en_i.value = 0

    async def read(n_cycles):
        expected = [None, None]
        for cycle in range(n_cycles):
            enable = random.random() < 0.7
            row = [random.choice((0, rows - 1, random.randrange(rows))) for _ in range(addresses)]
            dut.rd_en_i.value = enable
            dut.rd_addr_i.value = pack(row, (rows - 1).bit_length())
            of_lane = row if addresses > 1 else row * lanes
            expected.append(
                pack((words[r * lanes + i] for i, r in enumerate(of_lane)), bits)
                if enable
                else None
            )
            await RisingEdge(dut.clk_i)
            word, found = expected.pop(0), dut.rd_data_o.value.to_unsigned()
            assert word is None or found == word, f"cycle {cycle}: {found ^ word:#x}"
        dut.rd_en_i.value = 0

    await load(n_words // beat_words, 0.0)
    await read(1000)
    await load(min(random.randrange(1, 40), n_words // beat_words), 0.5)
    await read(300)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("WordBits", "Lanes", "Words", "Addresses"),
    [
        (64, 4, 4096, 4),
        (64, 1, 1024, 1),
        (16, 2, 128, 1),
        pytest.param(128, 4, 1024, 1, marks=SLOW),
        pytest.param(16, 16, 16384, 1, marks=SLOW),
        pytest.param(64, 16, 16384, 16, marks=SLOW),
        pytest.param(128, 8, 4096, 1, marks=SLOW),
        pytest.param(64, 4, 4096, 1, marks=SLOW),
        pytest.param(16, 64, 65536, 1, marks=SLOW),
    ],
)
def test_param_memory(WordBits, Lanes, Words, Addresses):
    simulate(
        "cmamba_param_memory",
        {"WordBits": WordBits, "Lanes": Lanes, "Words": Words, "Addresses": Addresses},
    )


@pytest.mark.parametrize(
    "bad", [{"WordBits": 24}, {"Lanes": 3}, {"Addresses": 2}, {"Words": 8, "Lanes": 8}]
)
def test_bad_parameters(bad, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_param_memory", bad)
    assert f"param_memory: {next(iter(bad))} is" in capfd.readouterr().err
