"""weight_memory: every tile has a place of its own; reads among writes, with idle cycles."""

import random

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from rtl.tb.simulate import simulate
from rtl.tb.streams import clock

BEAT_BITS = 128
BLOCK = 256
# A read so many cycles after the last beat gives the tile.
WRITE_LATENCY = 3
# Data so many cycles after the address.
READ_LATENCY = 5


class Bench:
    """The memory with what it should hold, writing and reading side by side."""

    def __init__(self, dut):
        self.dut = dut
        self.tiles = dut.Tiles.value.to_unsigned()
        self.beats = dut.Beats.value.to_unsigned()
        self.content = {}  # of the tiles that may be read
        self.latest = {}  # written to each tile
        dut.wr_valid_i.value = 0
        dut.rd_en_i.value = 0
        clock(dut)

    async def write(self, tile, idle=0.0):
        """Write a tile of random bits; until it is in memory no one may read it."""
        dut = self.dut
        self.content.pop(tile, None)
        data = self.latest[tile] = random.getrandbits(BEAT_BITS * self.beats)
        for beat in range(self.beats):
            while random.random() < idle:
                dut.wr_valid_i.value = 0
                dut.wr_tile_i.value = random.randrange(self.tiles)
                dut.wr_beat_i.value = random.randrange(self.beats)
                dut.wr_data_i.value = random.getrandbits(BEAT_BITS)
                await RisingEdge(dut.clk_i)
            dut.wr_valid_i.value = 1
            dut.wr_tile_i.value = tile
            dut.wr_beat_i.value = beat
            dut.wr_data_i.value = (data >> (BEAT_BITS * beat)) & ((1 << BEAT_BITS) - 1)
            await RisingEdge(dut.clk_i)
        dut.wr_valid_i.value = 0
        cocotb.start_soon(self._written(tile, data))

    async def _written(self, tile, data):
        # What is driven now is a cycle behind the last beat.
        await ClockCycles(self.dut.clk_i, WRITE_LATENCY - 1)
        if self.latest[tile] == data:
            self.content[tile] = data

    async def read(self, choose, n_cycles):
        """Read ``choose()`` in every cycle, nothing where it gives None, and compare."""
        dut, expected = self.dut, [None] * READ_LATENCY
        for cycle in range(n_cycles):
            tile = choose()
            dut.rd_en_i.value = tile is not None
            dut.rd_addr_i.value = random.randrange(self.tiles) if tile is None else tile
            expected.append((tile, 0 if tile is None else self.content[tile]))
            await RisingEdge(dut.clk_i)
            due = expected.pop(0)
            if due is not None:
                found = dut.rd_data_o.value.to_unsigned()
                assert found == due[1], f"cycle {cycle}, tile {due[0]}: {found ^ due[1]:#x}"
        dut.rd_en_i.value = 0


@cocotb.test()
async def run_all_tiles(dut):
    """Different contents everywhere (a sample of large tiles), then reads in any order."""
    bench = Bench(dut)
    chosen = set(range(bench.tiles))
    if bench.tiles * bench.beats > 20_000:
        ends = [t for b in range(0, bench.tiles, BLOCK) for t in (b - 1, b, b + 1)]
        ends += [bench.tiles - 2, bench.tiles - 1]
        chosen = {t for t in ends if 0 <= t < bench.tiles}
        chosen |= set(random.sample(range(bench.tiles), 100))
    order = random.sample(sorted(chosen), len(chosen))
    for tile in order:
        await bench.write(tile)
    await ClockCycles(dut.clk_i, WRITE_LATENCY + 1)
    random.shuffle(order)
    waiting = [*order, *[None] * READ_LATENCY]
    await bench.read(lambda: waiting.pop(0), len(waiting))


@cocotb.test()
async def run_mixed(dut):
    """Writes with idle cycles among reads; words of other tiles stay, idle ports give zeros."""
    bench = Bench(dut)
    # One tile of each block, and the same row in all of them.
    row = random.randrange(bench.tiles - BLOCK * ((bench.tiles - 1) // BLOCK))
    tiles = sorted({t for b in range(0, bench.tiles, BLOCK) for t in (b, b + row)})
    for tile in tiles:
        await bench.write(tile)
    await ClockCycles(dut.clk_i, WRITE_LATENCY + 1)

    def choose():
        return random.choice([*bench.content, None])

    reader = cocotb.start_soon(bench.read(choose, 1500))
    while not reader.done():
        await bench.write(random.choice(tiles), idle=random.choice((0, 0.5)))
    await reader


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("TileIn", "TileOut", "Tiles"),
    [
        (4, 8, 3328),  # two whole banks, half of one, three blocks that share RAMs
        (4, 16, 513),  # nothing but the three blocks
        (4, 16, 300),
        pytest.param(4, 16, 8192, marks=SLOW),
        pytest.param(4, 16, 1300, marks=SLOW),
        pytest.param(4, 16, 1792, marks=SLOW),
        pytest.param(16, 64, 3328, marks=SLOW),
    ],
)
def test_weight_memory(TileIn, TileOut, Tiles):
    simulate("cmamba_weight_memory", {"TileIn": TileIn, "TileOut": TileOut, "Tiles": Tiles})


@pytest.mark.parametrize(
    ("bad", "message"), [({"Tiles": 256}, "Tiles is 256"), ({"TileOut": 24}, "a tile is 96 bytes")]
)
def test_bad_parameters(bad, message, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_weight_memory", bad)
    assert message in capfd.readouterr().err
