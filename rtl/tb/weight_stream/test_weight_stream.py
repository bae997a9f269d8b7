"""weight_stream: ranges of tiles through the weight memory to a reader that behaves as array_issue.

The bench answers commands from a memory of random tiles, with idle cycles. Each tile is read where
and when it is offered, and must be the next one of the ranges.
"""

import random
from collections import deque
from pathlib import Path

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from rtl.tb.packages import Packages
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, Source, always, clock, rarely, reset
from rtl.tb.units import Counter, joined_sink, joined_source

RANGE = Packages("small").structs["tile_range_t"]  # the same in all builds
BEAT_BITS, BEAT_BYTES = 128, 16
# From the fetch to the command; from the last beat to the cycle in which the tile is read.
COMMAND_LATENCY, OFFER_LATENCY = 3, 3
READ_LATENCY = 5


class Bench:
    """Requests, the memory behind axi_read, and the reader of tiles."""

    def __init__(self, dut):
        """To be called with the clock and the reset running."""
        self.dut = dut
        self.beats = dut.Beats.value.to_unsigned()
        self.tile_bytes = self.beats * BEAT_BYTES
        self.n_tiles = (1 << 32) // self.tile_bytes - 1
        self.slots = [dut.WeightTiles.value.to_unsigned() - n for n in (2, 1)]
        names = {"valid": "fetch_valid_i", "ready": "fetch_ready_o", "data": "fetch_i"}
        self.fetches = Source(dut, always, **names)
        self.commands = joined_sink(dut, "cmd_", ("cmd_addr_o", "cmd_beats_o"), always)
        self.answers = joined_source(dut, "beat_", ("beat_data_i", "beat_error_i"), always)
        self.errors = Counter(dut, "error_o")
        self.expected = deque()  # tiles that have been asked for and not been read
        self.asked = deque()  # ranges that no command has been seen of
        self.bad = {}  # beats of tiles that cannot be read
        self.reads = always()
        self.n_read = self.read_at = self.cycle = 0
        cocotb.start_soon(self._memory())
        cocotb.start_soon(self._reader())

    @classmethod
    async def create(cls, dut):
        """Start the clock, reset the module, start the bench."""
        dut.enable_i.value = 0
        dut.stream_ready_i.value = 0
        dut.rd_en_i.value = 0
        dut.rst_i.value = 1
        clock(dut)
        bench = cls(dut)
        await reset(dut)
        await bench.begin()
        return bench

    async def begin(self, patterns=(always, always, always, always)):
        """A run begins: enable, a new address of the section, new patterns, new contents."""
        fetch, command, answer, read = (pattern() for pattern in patterns)
        self.fetches.pattern, self.commands.pattern, self.answers.pattern = fetch, command, answer
        self.reads = read
        self.base = random.choice(
            (0, (1 << 32) - 16, (1 << 64) - (1 << 33), random.getrandbits(63))
        )
        self.base &= ~(BEAT_BYTES - 1)
        self.salt = random.getrandbits(64)
        self.dut.enable_i.value = 1
        self.dut.weights_addr_i.value = self.base
        await RisingEdge(self.dut.clk_i)

    async def end(self, cycles):
        """The run ends by an error: what is under way is forgotten, axi_read drops it."""
        self.dut.rst_i.value = 1
        await RisingEdge(self.dut.clk_i)  # a command or a tile may still be on its way to the bench
        for source in (self.fetches, self.answers):
            source.abandon()
        for queue in (self.expected, self.asked, self.bad, self.commands.received):
            queue.clear()
        await ClockCycles(self.dut.clk_i, cycles)
        self.dut.rst_i.value = 0

    def tile(self, index):
        """The bits of a tile."""
        return random.Random(index ^ self.salt).getrandbits(BEAT_BITS * self.beats)

    def ask(self, n_ranges):
        """Queue random ranges of tiles."""
        for _ in range(n_ranges):
            n = random.choice((1, 1, 2, 3, random.randint(4, 9)))
            first = random.choice((0, self.n_tiles - n, random.randrange(self.n_tiles - n)))
            self.fetches.send([RANGE.pack({"first": first, "beyond": first + n})])
            self.asked.append((first, n))
            self.expected.extend(range(first, first + n))

    async def finish(self, limit=200_000):
        """Wait until all tiles have been read."""
        for _ in range(limit):
            if not self.expected:
                return
            await RisingEdge(self.dut.clk_i)
        raise AssertionError(f"{len(self.expected)} tiles have not been offered")

    async def _memory(self):
        while True:
            await RisingEdge(self.dut.clk_i)
            for address, n_beats in self.commands.received:
                first, n = self.asked.popleft()
                expected = (self.base + first * self.tile_bytes, n * self.beats)
                assert (address, n_beats) == expected, f"{address:#x}, {n_beats}: {expected}"
                for index in range(first, first + n):
                    data = self.tile(index)
                    for beat in range(self.beats):
                        part = data >> (BEAT_BITS * beat) & ((1 << BEAT_BITS) - 1)
                        error = self.bad.get(index) == beat
                        self.answers.send([{"beat_data_i": part, "beat_error_i": error}])
            self.commands.received.clear()

    async def _reader(self):
        dut, slot = self.dut, None
        # What is driven after an edge is read at the next one.
        due = deque([None] * (READ_LATENCY + 1))
        while True:
            await RisingEdge(dut.clk_i)
            self.cycle += 1
            # In this cycle the tile in `slot` was being read; the next one may be taken after it.
            if dut.rst_i.value:
                slot = None
            elif slot is not None:
                slot = None
                self.n_read += 1
                self.read_at = self.cycle
            elif dut.stream_valid_o.value and next(self.reads):
                slot = dut.stream_slot_o.value.to_unsigned()
                assert self.expected, "a tile that nobody asked for"
                assert slot in self.slots
            dut.stream_ready_i.value = slot is not None
            dut.rd_en_i.value = slot is not None
            dut.rd_addr_i.value = slot if slot is not None else random.choice(self.slots)
            due.append(None if slot is None else self.tile(self.expected.popleft()))
            tile = due.popleft()
            if tile is not None:
                found = dut.rd_data_o.value.to_unsigned()
                assert found == tile, f"tile {self.n_read}: {found ^ tile:#x}"


@cocotb.test()
async def run_random(dut):
    """Many ranges in several runs, idle cycles everywhere."""
    bench = await Bench.create(dut)
    for _ in range(6):
        await bench.begin([random.choice(PATTERNS) for _ in range(4)])
        bench.ask(random.randint(1, 12))
        await bench.finish()
        dut.enable_i.value = 0
        await ClockCycles(dut.clk_i, random.randint(1, 5))
    assert not len(bench.errors)


@cocotb.test()
async def run_full_rate(dut):
    """A beat a cycle, without a gap inside a range of tiles of three beats or more."""
    bench = await Bench.create(dut)
    await bench.begin()
    start = bench.cycle
    bench.fetches.send([RANGE.pack({"first": 5, "beyond": 25})])
    bench.asked.append((5, 20))
    bench.expected.extend(range(5, 25))
    await bench.finish()
    await ClockCycles(dut.clk_i, 2)
    # A place is free again four cycles after its tile's last beat: two tiles take five at least.
    beats = 10 * max(2 * bench.beats, 5)
    # One cycle for each of the bench's sources and its sink to show what they have.
    assert bench.read_at - start <= COMMAND_LATENCY + beats + OFFER_LATENCY + 4


@cocotb.test()
async def run_slow_reader(dut):
    """Two tiles wait, no beat is taken meanwhile."""
    bench = await Bench.create(dut)
    await bench.begin((always, always, always, lambda: iter(lambda: False, None)))
    bench.ask(6)
    await ClockCycles(dut.clk_i, 8 * bench.beats + 100)
    taken = len(bench.answers.sent)
    assert taken == min(2, len(bench.expected)) * bench.beats
    assert dut.stream_valid_o.value == 1
    bench.reads = rarely()
    await bench.finish()


@cocotb.test()
async def run_aborted(dut):
    """Reset in the middle, then a run from its beginning."""
    bench = await Bench.create(dut)
    for _ in range(8):
        await bench.begin([random.choice(PATTERNS) for _ in range(4)])
        bench.ask(20)
        await ClockCycles(dut.clk_i, random.randint(1, 20 * bench.beats))
        await bench.end(random.randint(0, 2))
    await bench.begin()
    bench.ask(5)
    await bench.finish()
    assert not len(bench.errors)


@cocotb.test()
async def run_errors(dut):
    """A beat that cannot be read: one report, the tiles before it are offered, none from it on."""
    bench = await Bench.create(dut)
    for _ in range(6):
        await bench.begin([random.choice(PATTERNS) for _ in range(3)] + [always])
        bench.ask(6)
        tiles = list(bench.expected)
        n_good = random.randrange(min(len(tiles), 5))
        if tiles[n_good] in tiles[:n_good]:
            n_good = tiles.index(tiles[n_good])
        bench.bad = {tiles[n_good]: random.randrange(bench.beats)}
        already = bench.n_read
        bench.errors.clear()
        await bench.errors.wait_for(1)
        await ClockCycles(dut.clk_i, 6 * bench.beats + 50)
        assert bench.n_read - already == n_good
        assert len(bench.errors) == 1 and bench.errors.values == [1]
        await bench.end(0)
    await bench.begin()
    bench.ask(3)
    await bench.finish()


SLOW = pytest.mark.slow
HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("TileIn", "TileOut", "WeightTiles"),
    [
        (4, 16, 512),
        pytest.param(4, 16, 8192, marks=SLOW),
        pytest.param(4, 8, 300, marks=SLOW),
        pytest.param(16, 64, 3328, marks=SLOW),
    ],
)
def test_weight_stream(TileIn, TileOut, WeightTiles):
    simulate(
        "weight_stream_memory",
        {"TileIn": TileIn, "TileOut": TileOut, "WeightTiles": WeightTiles},
        sources=[HERE / "weight_stream_memory.sv"],
        suite="test_weight_stream",
    )


@pytest.mark.parametrize("bad", [{"WeightTiles": 2}, {"TileOut": 24}])
def test_bad_parameters(bad, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_weight_stream", bad)
    assert "weight_stream: " in capfd.readouterr().err
