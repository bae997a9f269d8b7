"""array_issue: every read of random LINEAR entries, streamed tiles, credits, no gaps."""

import os
import random
from collections import deque
from dataclasses import dataclass

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

import isa
from rtl.tb.packages import Packages
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, Source, always, reset, start
from rtl.tb.units import instruction

STRUCTS = Packages("small").structs  # these are the same in all builds
ENTRY, RESULT = STRUCTS["linear_entry_t"], STRUCTS["linear_result_t"]
TILE, RANGE = STRUCTS["tile_t"], STRUCTS["tile_range_t"]
SOURCES = ("patch", "norm", "conv", "proj", "scan")
# Every tile is in the weight memory.
NO_STREAM = {"resident": 1 << 20, "streams": 0}


@dataclass(frozen=True)
class Read:
    """One weight tile and one word of inputs."""

    tile: int
    space: int
    word: int
    part: int
    first: bool
    last: bool
    log2_split: int
    end: int  # the last input that counts


def sizes():
    return tuple(int(os.environ[name]) for name in ("TILE_IN", "TILE_OUT", "TILES", "CREDITS"))


def operand(align, start):
    """Rows within the 20 bits of an address; the first one from a multiple of ``start``."""
    log2_rows = random.randrange(6)
    stride = random.randrange(0, (1 << 20 >> log2_rows + 1) // align) * align
    addr = random.randrange(0, 1 << 19, start)
    space = isa.SPACES[random.choice(SOURCES)].index
    return isa.Operand(addr, min(stride, 0xFFFF // align * align), log2_rows, space)


class Entry:
    """A random entry, and what it must give."""

    def __init__(self, most_tiles=6, tile_limit=1 << 15, **fields):
        tile_in, tile_out, _, _ = sizes()
        align = 4 * tile_in
        split = random.randrange(3)
        granule, outputs = tile_in << split, tile_out >> split
        f = {
            "n_positions": random.randint(1, 9),
            "src": operand(align, granule),
            "dst": operand(align, align),
            "add": operand(align, align),
            "weight_addr": random.randrange(tile_limit),
            "weight_stride": random.randrange(300),
            "param_addr": random.randrange(1 << 20),
            "n_in": random.randint(1, most_tiles * granule),
            "n_out": random.randint(1, most_tiles * outputs),
            "log2_split": split,
            **{
                name: random.randrange(2)
                for name in ("wide", "relu", "reduce", "add_enable", "add_position")
            },
            **fields,
        }
        self.position = random.choice([0, f["n_positions"] - 1, random.randrange(f["n_positions"])])
        self.word = instruction("LINEAR", **f)
        # Of any token, position or sequence.
        row, dst_row, add_row = (f[k].row(random.randrange(4096)) for k in ("src", "dst", "add"))
        self.words = tuple(r // align for r in (row, dst_row, add_row))
        n_in, n_out = -(-f["n_in"] // granule), -(-f["n_out"] // outputs)
        self.first_tile = f["weight_addr"]
        if f["reduce"]:
            self.first_tile += f["weight_stride"] * self.position
        self.end_tile = self.first_tile + n_in * n_out
        self.reads = [
            Read(
                self.first_tile + o * n_in + i,
                f["src"].space,
                (row + i * granule) // align,
                (row + i * granule) % align // tile_in,
                i == 0,
                i == n_in - 1,
                split,
                (f["n_in"] - 1) % granule if i == n_in - 1 else align - 1,
            )
            for o in range(n_out)
            for i in range(n_in)
        ]
        words = dict(zip(("src_word", "dst_word", "add_word"), self.words, strict=True))
        entry = {"instruction": self.word, "position": self.position, **words}
        self.port = ENTRY.pack(entry)
        # What the back of the array is told about it.
        self.result = {name: entry[name] for name in ("instruction", "dst_word", "add_word")}
        self.result["is_first"] = self.position == 0
        self.result["is_last"] = self.position == f["n_positions"] - 1


class Bench:
    """Starts entries, brings streamed tiles, gives credits back, and checks every cycle."""

    def __init__(self, dut, pattern=always):
        self.dut = dut
        self.pattern = pattern
        names = {"valid": "start_valid_i", "ready": "start_ready_o", "data": "entry_i"}
        self.starts = Source(dut, pattern, **names)
        dut.release_i.value = 0
        dut.fetch_ready_i.value = 0
        dut.stream_valid_i.value = 0
        self.hold_credits = False
        self.clear()
        cocotb.start_soon(self._run())

    def clear(self):
        """Forget all entries."""
        self.reads, self.results, self.fetches = deque(), deque(), deque()
        self.coming = deque()  # tiles that have been asked for
        self.inside = 0  # output tiles that have a credit
        self.ended = 0  # those of them whose tiles have all been read
        self.read_times, self.start_times = [], []
        self.offered = None

    def package(self, resident, streams):
        self.resident = resident
        self.dut.resident_tiles_i.value = resident
        self.dut.streams_i.value = streams

    def send(self, listed):
        for entry in listed:
            self.reads.extend(entry.reads)
            self.results.append(entry.result)
            if entry.end_tile > self.resident:
                self.fetches.append((max(entry.first_tile, self.resident), entry.end_tile))
        self.starts.send([entry.port for entry in listed])

    async def finish(self, limit=100_000):
        for _ in range(limit):
            if not self.reads:
                await ClockCycles(self.dut.clk_i, 8)
                assert not self.results and not self.fetches and not self.coming
                return
            await RisingEdge(self.dut.clk_i)
        raise AssertionError(f"{len(self.reads)} reads have not come")

    async def _run(self):
        dut = self.dut
        ready, stream, release = self.pattern(), self.pattern(), self.pattern()
        *_, slots, credits = sizes()
        cycle = 0
        begun = False
        while True:
            await RisingEdge(dut.clk_i)
            cycle += 1
            if dut.rst_i.value:
                self.clear()
                dut.release_i.value = 0
                dut.fetch_ready_i.value = 0
                dut.stream_valid_i.value = 0
                begun = False
                continue
            if dut.start_valid_i.value and dut.start_ready_o.value:
                self.start_times.append(cycle)
            if dut.release_i.value:
                self.inside -= 1
            self._read(cycle, begun)
            assert self.inside <= credits
            begun = bool(dut.result_valid_o.value)
            if begun:
                self._result()
            if dut.fetch_valid_o.value and dut.fetch_ready_i.value:
                tiles = RANGE.unpack(int(dut.fetch_o.value))
                assert tuple(tiles.values()) == self.fetches.popleft()
                self.coming.extend(range(tiles["first"], tiles["beyond"]))
            dut.fetch_ready_i.value = next(ready)
            if self.offered is None and self.coming and next(stream):
                self.offered = self.coming.popleft()
                dut.stream_slot_i.value = random.randrange(slots)
            dut.stream_valid_i.value = self.offered is not None
            free = self.ended and not self.hold_credits and next(release)
            self.ended -= bool(free)
            dut.release_i.value = bool(free)

    def _read(self, cycle, begun):
        """The reads of this cycle; ``begun``: a result has been announced in the cycle before."""
        dut = self.dut
        assert dut.src_rd_en_o.value == dut.weight_rd_en_o.value
        if not dut.weight_rd_en_o.value:
            assert not dut.stream_ready_o.value and not begun
            return
        expected = self.reads.popleft()
        streamed = expected.tile >= self.resident
        address = int(dut.weight_rd_addr_o.value)
        assert dut.stream_ready_o.value == streamed
        if streamed:
            assert self.offered == expected.tile
            assert address == int(dut.stream_slot_i.value)
            self.offered = None
        told = TILE.unpack(int(dut.tile_o.value))
        found = Read(
            expected.tile if streamed else address,
            int(dut.src_rd_space_o.value),
            int(dut.src_rd_addr_o.value),
            *(told[name] for name in ("part", "first", "last", "log2_split", "end_at")),
        )
        tile = expected.tile if streamed else expected.tile % (1 << len(dut.weight_rd_addr_o))
        assert found == Read(**{**vars(expected), "tile": tile}), f"expected {expected}, {found}"
        self.inside += found.first
        self.ended += found.last
        self.read_times.append(cycle)

    def _result(self):
        assert RESULT.unpack(int(self.dut.result_o.value)) == self.results.popleft()


async def prepared(dut, pattern=always, resident=NO_STREAM["resident"], streams=0):
    bench = Bench(dut, pattern)
    bench.package(resident, streams)
    await start(dut)
    return bench


@cocotb.test()
@cocotb.parametrize(pattern=PATTERNS)
async def run_resident(dut, pattern):
    """Entries whose weights are all on the chip."""
    bench = await prepared(dut, pattern)
    bench.send([Entry(random.choice([1, 2, 6])) for _ in range(60)])
    await bench.finish()


@cocotb.test()
@cocotb.parametrize(pattern=PATTERNS)
async def run_streamed(dut, pattern):
    """Entries on both sides of the last resident tile, and across it."""
    resident = sizes()[2] - 2
    bench = await prepared(dut, pattern, resident=resident, streams=1)
    limits = (resident, 2 * resident, resident + 4)
    bench.send([Entry(3, random.choice(limits), weight_stride=3) for _ in range(60)])
    bench.send([Entry(3, 1, weight_addr=resident + i - 5, reduce=0) for i in range(10)])
    await bench.finish()


@cocotb.test()
async def run_no_gap(dut):
    """The first read comes three cycles after the start; then there is one every cycle.

    An entry of one tile takes two cycles.
    """
    bench = await prepared(dut)
    for most_tiles in (1, 1, 4):
        listed = [Entry(most_tiles) for _ in range(30)]
        bench.send(listed)
        await bench.finish()
        assert bench.read_times[0] - bench.start_times[0] == 3
        count = len(bench.read_times)
        gaps = bench.read_times[-1] - bench.read_times[0] + 1 - count
        single = sum(len(entry.reads) == 1 for entry in listed[:-1])
        assert gaps <= single or sizes()[3] < 8, f"{gaps} gaps in {count} reads"
        bench.clear()


@cocotb.test()
async def run_credits(dut):
    """Without credits the issue stops before an output tile; it goes on when one is back."""
    bench = await prepared(dut)
    bench.hold_credits = True
    bench.send([Entry(4) for _ in range(40)])
    await ClockCycles(dut.clk_i, 400)
    assert bench.inside == sizes()[3]
    assert bench.ended == bench.inside
    bench.hold_credits = False
    await bench.finish()


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle; the entries after it are right."""
    bench = await prepared(dut, random.choice(PATTERNS), resident=sizes()[2] - 2, streams=1)
    for _ in range(6):
        bench.send([Entry(3, 2 * sizes()[2]) for _ in range(20)])
        await ClockCycles(dut.clk_i, random.randint(1, 150))
        bench.starts.abandon()
        await reset(dut)
        bench.send([Entry(3, 2 * sizes()[2]) for _ in range(5)])
        await bench.finish()


@pytest.mark.parametrize(
    ("TileIn", "TileOut", "WeightTiles", "Credits"),
    [
        (4, 16, 64, 4),
        (16, 64, 3328, 32),
        pytest.param(4, 16, 8192, 32, marks=pytest.mark.slow),
        pytest.param(2, 8, 16, 2, marks=pytest.mark.slow),
    ],
)
def test_array_issue(TileIn, TileOut, WeightTiles, Credits):
    parameters = {
        "TileIn": TileIn,
        "TileOut": TileOut,
        "WeightTiles": WeightTiles,
        "Credits": Credits,
    }
    names = ("TILE_IN", "TILE_OUT", "TILES", "CREDITS")
    env = dict(zip(names, map(str, parameters.values()), strict=True))
    simulate("cmamba_array_issue", parameters, extra_env=env)


def test_bad_parameters(capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_array_issue", {"TileOut": 2})
    assert "array_issue: TileOut is" in capfd.readouterr().err
