"""sum_queue: output tiles in, parts of them out in any order, against a list."""

import os
import random

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from rtl.tb.simulate import simulate
from rtl.tb.streams import reset, start
from rtl.tb.words import pack, signed, unpack


async def run_words(dut, cycles):
    """Random writes and reads for some cycles, after a reset."""
    lanes, depth, chunks = (int(os.environ[name]) for name in ("LANES", "DEPTH", "CHUNKS"))
    tiles = {}  # by their place
    written = reads = 0
    expected = [None, None]
    for _ in range(cycles):
        sums = [signed(32) for _ in range(lanes * chunks)]
        write = random.random() < 0.5
        # Often the tile that is being written, or the one before it.
        place = (written - random.choice([0, 1, 1, random.randrange(depth)])) % depth
        chunk = random.randrange(chunks)
        dut.valid_i.value = write
        dut.sums_i.value = pack(sums, 32)
        dut.rd_addr_i.value = place
        dut.rd_chunk_i.value = chunk
        await RisingEdge(dut.clk_i)
        # The result of the read two cycles before, which saw the writes up to its own cycle.
        if expected[0] is not None:
            assert unpack(int(dut.sums_o.value), 32, lanes) == expected[0]
            reads += 1
        if write:
            tiles[written % depth] = sums
            written += 1
        expected = [expected[1], tiles[place][chunk * lanes :][:lanes] if place in tiles else None]
    assert written > depth and reads > cycles // 2
    dut.valid_i.value = 0


@cocotb.test()
async def run_random(dut):
    """All chunks of all places, many times around."""
    dut.valid_i.value = 0
    await start(dut)
    await run_words(dut, 40 * max(16, int(os.environ["DEPTH"])))


@cocotb.test()
async def run_reset(dut):
    """After a reset the first tile is in place 0 again."""
    dut.valid_i.value = 0
    await start(dut)
    for _ in range(4):
        await run_words(dut, random.randint(10, 20) * max(16, int(os.environ["DEPTH"])))
        await reset(dut)


@pytest.mark.parametrize(
    ("TileOut", "RequantizeLanes", "Depth"),
    [
        (16, 4, 4),
        (64, 16, 32),
        pytest.param(8, 4, 2, marks=pytest.mark.slow),
        pytest.param(32, 2, 16, marks=pytest.mark.slow),
    ],
)
def test_sum_queue(TileOut, RequantizeLanes, Depth):
    sizes = {"LANES": RequantizeLanes, "DEPTH": Depth, "CHUNKS": TileOut // RequantizeLanes}
    simulate(
        "cmamba_sum_queue",
        {"TileOut": TileOut, "RequantizeLanes": RequantizeLanes, "Depth": Depth},
        extra_env={name: str(value) for name, value in sizes.items()},
    )


@pytest.mark.parametrize(
    "bad",
    [
        {"Depth": 6},
        {"RequantizeLanes": 64},
        {"RequantizeLanes": 24},
        {"TileOut": 12, "RequantizeLanes": 6},
    ],
)
def test_bad_parameters(bad, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_sum_queue", bad)
    assert "sum_queue: " in capfd.readouterr().err
