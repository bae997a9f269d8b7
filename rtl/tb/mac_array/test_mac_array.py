"""mac_array: sums of random and extreme tiles, for every split, with and without idle cycles."""

import os
import random

import cocotb
import numpy as np
import pytest
from cocotb.simtime import convert, get_sim_time
from cocotb.triggers import RisingEdge

from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, randomly, reset, seed_numpy, start

PERIOD_NS = 4
# The weights of a tile come so many cycles after its inputs.
INPUT_STAGES = 3


def to_int(array, bits):
    return int.from_bytes(np.ascontiguousarray(array.astype(f"<i{bits // 8}")).tobytes(), "little")


class Bench:
    """Feeds output tiles, a list of (weights [lane, j], word, part, end) each; checks their sums.

    `end` is the last input of the tile that counts.
    """

    def __init__(self, dut):
        seed_numpy()
        self.dut = dut
        self.tile_in = dut.TileIn.value.to_unsigned()
        self.tile_out = dut.TileOut.value.to_unsigned()
        self.expected = []
        self.cycle = 0
        self.soon = []
        self.last_taken = []
        # The inputs' tree, registers of A and M, P of each DSP of a chain, adder tree, accumulator,
        # two to combine.
        self.latency = INPUT_STAGES + 2 + 4 + (self.tile_in // 4).bit_length() - 1 + 3
        self.weights = [0] * INPUT_STAGES
        self.results = 0
        for name in ("tile_valid_i", "tile_first_i", "tile_last_i", "tile_part_i"):
            getattr(dut, name).value = 0
        cocotb.start_soon(self._watch())

    def draw(self, n_tiles, log2_split, extreme):
        """Random input tiles of one output tile."""

        def values(*shape):
            if extreme is None:
                return np.random.randint(-128, 128, shape)
            return np.full(shape, extreme)

        def end():
            inputs = self.tile_in << log2_split
            if extreme is None and random.getrandbits(1):
                return random.randrange(inputs)
            return random.choice((inputs, 4 * self.tile_in)) - 1

        return [
            (
                values(self.tile_out, self.tile_in),
                values(4 * self.tile_in) if extreme != 127 else np.full(4 * self.tile_in, -128),
                random.randrange(0, 4, 1 << log2_split),
                end(),
            )
            for _ in range(n_tiles)
        ]

    def golden(self, tiles, log2_split):
        split = 1 << log2_split
        outputs = self.tile_out // split
        acc = np.zeros(self.tile_out, dtype=np.int64)
        for weights, word, part, end in tiles:
            for lane in range(self.tile_out):
                group = lane // outputs
                begin = (part + group) * self.tile_in
                count = min(max(end + 1 - group * self.tile_in, 0), self.tile_in)
                acc[lane] += int(weights[lane][:count] @ word[begin : begin + count])
        return acc.reshape(split, outputs).sum(0)

    async def feed(self, tiles, log2_split, pattern):
        self.expected.append(self.golden(tiles, log2_split))
        for i, (weights, word, part, end) in enumerate(tiles):
            while not next(pattern):
                self.dut.tile_valid_i.value = 0
                # Nothing of an idle cycle may be looked at.
                self.dut.tile_first_i.value = random.getrandbits(1)
                self.dut.tile_last_i.value = random.getrandbits(1)
                await self.next_cycle()
            self.dut.tile_valid_i.value = 1
            self.dut.tile_first_i.value = i == 0
            self.dut.tile_last_i.value = i == len(tiles) - 1
            self.dut.tile_part_i.value = part
            self.dut.tile_log2_split_i.value = log2_split
            self.dut.tile_end_i.value = end
            self.dut.word_i.value = to_int(word, 8)
            await self.next_cycle(to_int(weights, 8))
        self.last_taken.append(get_sim_time("step"))
        self.dut.tile_valid_i.value = 0

    async def next_cycle(self, weights=None):
        """Drive the weights of the tile that came before; those of this cycle's follow later."""
        self.weights.append(random.getrandbits(8) if weights is None else weights)
        self.dut.weights_i.value = self.weights.pop(0)
        await RisingEdge(self.dut.clk_i)

    async def finish(self):
        for _ in range(40):
            await self.next_cycle()
        assert not self.expected

    async def _watch(self):
        while True:
            await RisingEdge(self.dut.clk_i)
            self.cycle += 1
            if self.dut.rst_i.value:
                self.soon.clear()
                self.last_taken.clear()
                continue
            if self.dut.sums_soon_o.value:
                self.soon.append(self.cycle)
            if self.dut.sums_valid_o.value:
                assert self.soon.pop(0) == self.cycle - 3
                cycles = convert(self.latency * PERIOD_NS, "ns", to="step")
                assert get_sim_time("step") - self.last_taken.pop(0) == cycles
                raw = self.dut.sums_o.value.to_unsigned().to_bytes(4 * self.tile_out, "little")
                expected = self.expected.pop(0)
                found = np.frombuffer(raw, "<i4")[: len(expected)]
                assert np.array_equal(found, expected), f"{found} for {expected}"
                self.results += 1


@cocotb.test()
@cocotb.parametrize(pattern=PATTERNS)
async def run_random(dut, pattern):
    """Random tiles, splits that change from one output tile to the next."""
    bench = Bench(dut)
    await start(dut)
    idle = pattern()
    for _ in range(int(os.environ["OUTPUT_TILES"])):
        log2_split = random.randrange(3)
        tiles = bench.draw(random.choice((1, 1, 2, 3, 9)), log2_split, None)
        await bench.feed(tiles, log2_split, idle)
    await bench.finish()


@cocotb.test()
async def run_extremes(dut):
    """-128 * -128, 127 * -128 and -1 * -1 in every lane, long enough to leave 16 bits."""
    bench = Bench(dut)
    await start(dut)
    idle = always()
    for extreme in (-128, 127, -1):
        for log2_split in range(3):
            await bench.feed(bench.draw(20, log2_split, extreme), log2_split, idle)
    await bench.finish()


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle of an output tile; the next one begins at once."""
    bench = Bench(dut)
    await start(dut)
    idle = randomly()
    for _ in range(5):
        feeder = cocotb.start_soon(bench.feed(bench.draw(30, 0, None), 0, idle))
        for _ in range(random.randrange(2, 25)):
            await RisingEdge(dut.clk_i)
        feeder.cancel()
        bench.expected.clear()
        dut.tile_valid_i.value = 0
        await reset(dut, 1)
        await bench.feed(bench.draw(2, 1, None), 1, idle)
        await bench.finish()


@pytest.mark.parametrize("model", [False, True], ids=["rtl", "model"])
@pytest.mark.parametrize(
    ("tile_in", "tile_out"),
    [
        (4, 16),
        pytest.param(8, 32, marks=pytest.mark.slow),
        pytest.param(16, 64, marks=pytest.mark.slow),
    ],
)
def test_mac_array(tile_in, tile_out, model):
    simulate(
        "cmamba_mac_array",
        {"TileIn": tile_in, "TileOut": tile_out},
        model=model,
        extra_env={"OUTPUT_TILES": str(4000 // tile_out)},
    )


@pytest.mark.parametrize("model", [False, True], ids=["rtl", "model"])
@pytest.mark.parametrize("bad", [{"TileIn": 6}, {"TileIn": 2}, {"TileOut": 24}])
def test_bad_parameters(bad, model, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_mac_array", bad, model=model)
    assert f"mac_array: {next(iter(bad))} is" in capfd.readouterr().err
