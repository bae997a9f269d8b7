"""axi_read: commands against a memory with stalls; errors, the end of memory, aborts, silence."""

import random
import zlib
from itertools import repeat
from pathlib import Path

import cocotb
import pytest
from cocotb.triggers import ClockCycles, RisingEdge

from rtl.tb.axi_memory import BEAT, AxiMemory
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, in_bursts, randomly, rarely, reset, start
from rtl.tb.units import AnyOf, Counter, joined_sink, joined_source

TOP = 1 << 64


def never():
    return repeat(False)


def content(address):
    """16 bytes that belong to an address."""
    return b"".join(zlib.crc32(b"%d %d" % (address, i)).to_bytes(4, "little") for i in range(4))


def random_address():
    """Anywhere, but often just below a multiple of 4 KiB."""
    address = random.getrandbits(60) << 4
    if random.random() < 0.6:
        address = (address | 0xFFF) + 1 - BEAT * random.randint(1, 70)
    return address % (TOP - 0x10000)


class Bench:
    """Source of commands, sink of beats, memory."""

    def __init__(self, dut, ar=always, r=always, taken=always, gaps=always):
        self.dut = dut
        self.longest = dut.MaxBurstBeats.value.to_unsigned()
        dut.abort_i.value = 0
        dut.flip_last_i.value = 0
        self.memory = AxiMemory(dut, content, ar, r)
        self.commands = joined_source(dut, "cmd_", ("cmd_addr_i", "cmd_beats_i"), gaps)
        self.beats = joined_sink(
            dut, "beat_", ("beat_data_o", "beat_last_o", "beat_error_o"), taken
        )
        ends = AnyOf(dut.rst_i, dut.abort_i)
        self.commands.rst = self.beats.rst = ends
        self.expected = []

    def read(self, address, beats):
        """Queue a command and what it is to give: data (None: any), last, error."""
        self.commands.send([{"cmd_addr_i": address, "cmd_beats_i": beats}])
        for i in range(beats):
            at = address + i * BEAT
            if at == TOP:
                self.expected.append((None, 1, 1))
                break
            bad = at in self.memory.errors
            data = None if bad else int.from_bytes(content(at), "little")
            self.expected.append((data, int(i == beats - 1), int(bad)))

    def compare(self, received):
        """What was received is what comes next."""
        assert len(received) <= len(self.expected)
        for i, (data, last, error) in enumerate(received):
            expected = self.expected[i]
            assert (last, error) == expected[1:], i
            assert expected[0] in (None, data), i
        del self.expected[: len(received)]

    async def finish(self):
        """Wait for the beats of all commands; then nothing is left."""
        self.compare(await self.beats.wait_for(len(self.expected)))
        await ClockCycles(self.dut.clk_i, 4)
        assert not self.dut.busy_o.value and not self.dut.beat_valid_o.value
        assert all(beats <= self.longest for _, beats in self.memory.bursts)

    async def abort(self):
        """End everything; the beats so far were right. Commands may be queued at once."""
        self.commands.abandon()
        self.dut.abort_i.value = 1
        await RisingEdge(self.dut.clk_i)
        self.dut.abort_i.value = 0
        self.compare(self.beats.received)
        self.beats.received.clear()
        self.expected.clear()


@cocotb.test()
@cocotb.parametrize(r=PATTERNS, taken=PATTERNS)
async def run_commands(dut, r, taken):
    """Commands of all lengths from everywhere, with stalls on every side; RLAST is arbitrary."""
    bench = Bench(dut, random.choice(PATTERNS), r, taken, random.choice(PATTERNS))
    await start(dut)

    async def flip():
        while True:
            dut.flip_last_i.value = random.getrandbits(1)
            await RisingEdge(dut.clk_i)

    cocotb.start_soon(flip())
    for beats in (1, 1, 2, 63, 64, 65, 255, random.randint(1, 300), random.randint(1, 300)):
        bench.read(random_address(), beats)
    await bench.finish()


@cocotb.test()
async def run_pace(dut):
    """A beat a cycle; the next bursts and commands are asked for while beats arrive."""
    bench = Bench(dut)
    await start(dut)
    arrivals = Counter(dut, "m_axi_rvalid")
    bench.read(0x1000, 512)
    bench.read(0x8000, 512)
    await bench.finish()
    cycles = arrivals.times[-1] - arrivals.times[0] + 1
    dut._log.info("%d beats in %d cycles", len(arrivals), cycles)
    assert len(arrivals) == 1024 and cycles <= 1024 + 4
    assert len(bench.memory.bursts) == 1024 // bench.longest


@cocotb.test()
async def run_outstanding(dut):
    """As many bursts are under way as there is room for, and no more."""
    bench = Bench(dut, taken=never)
    await start(dut)
    bench.memory.fall_silent()
    bench.read(0, 1000)
    await ClockCycles(dut.clk_i, 100)
    room = dut.FifoBeats.value.to_unsigned()
    under_way = sum(beats for _, beats in bench.memory.bursts)
    assert room - bench.longest < under_way <= room
    bench.memory.speak()
    await ClockCycles(dut.clk_i, 2 * room)
    assert sum(beats for _, beats in bench.memory.bursts) == under_way
    bench.beats.pattern = randomly()
    await bench.finish()


@cocotb.test()
@cocotb.parametrize(r=(always, in_bursts))
async def run_errors(dut, r):
    """Errors of the slave accompany their beats, and the others are right."""
    bench = Bench(dut, randomly, r, randomly)
    await start(dut)
    for _ in range(8):
        address, beats = random_address(), random.randint(1, 100)
        bench.memory.errors |= {
            address + BEAT * random.randrange(beats) for _ in range(random.randint(1, 3))
        }
        bench.read(address, beats)
    await bench.finish()


@cocotb.test()
async def run_address_end(dut):
    """A command past the last address ends with an error, and the bus sees nothing of it."""
    bench = Bench(dut, taken=randomly)
    await start(dut)
    for before, beats in ((1, 1), (1, 2), (3, 100), (64, 65), (64, 64), (100, 1 << 20), (130, 130)):
        bench.memory.bursts.clear()
        bench.read(TOP - before * BEAT, beats)
        bench.read(0, 3)
        await bench.finish()
        assert sum(n for _, n in bench.memory.bursts) == min(before, beats) + 3


@cocotb.test()
@cocotb.parametrize(r=PATTERNS)
async def run_abort(dut, r):
    """An abort at any time, and the next command at once: no beat of the old ones."""
    bench = Bench(dut, random.choice(PATTERNS), r, random.choice(PATTERNS))
    await start(dut)
    for _ in range(60):
        for _ in range(random.randint(1, 3)):
            bench.read(random_address(), random.choice([1, 2, random.randint(1, 200)]))
        await ClockCycles(dut.clk_i, random.choice([1, 2, 3, 4, 5, random.randint(1, 150)]))
        await bench.abort()
        if random.random() < 0.5:
            bench.read(random_address(), random.randint(1, 20))
            await bench.finish()


@cocotb.test()
@cocotb.parametrize(channel=("ar", "r"))
async def run_silence(dut, channel):
    """A slave that answers nothing: no command is taken, nothing is lost when it comes back."""
    bench = Bench(dut)
    await start(dut)
    for _ in range(5):
        if channel == "ar":
            bench.memory.set_patterns(never, always)
        bench.memory.fall_silent()
        bench.read(random_address(), 400)
        await ClockCycles(dut.clk_i, random.randint(10, 100))
        await bench.abort()
        await ClockCycles(dut.clk_i, 300)
        for _ in range(2):
            assert dut.busy_o.value and not dut.cmd_ready_o.value and not dut.beat_valid_o.value
            bench.read(random_address(), 50)
            await ClockCycles(dut.clk_i, 50)
            await bench.abort()
        bench.read(random_address(), 70)
        bench.memory.set_patterns(always, always)
        bench.memory.speak()
        await bench.finish()


@cocotb.test()
async def run_reset(dut):
    """A reset of both sides in the middle of a command; the next one is right."""
    bench = Bench(dut, rarely, randomly, randomly)
    await start(dut)
    for _ in range(10):
        bench.read(random_address(), 200)
        await ClockCycles(dut.clk_i, random.randint(1, 200))
        bench.commands.abandon()
        await reset(dut)
        bench.beats.received.clear()
        bench.expected.clear()
        assert not dut.busy_o.value
        bench.read(random_address(), 30)
        await bench.finish()


SIZES = [
    {},
    pytest.param({"MaxBurstBeats": 4, "FifoBeats": 32}, marks=pytest.mark.slow),
    pytest.param({"MaxBurstBeats": 256, "FifoBeats": 512}, marks=pytest.mark.slow),
]


def simulate_bench(parameters):
    simulate(
        "axi_read_bench",
        parameters,
        sources=[Path(__file__).parent / "axi_read_bench.sv"],
        suite="test_axi_read",
    )


@pytest.mark.parametrize("parameters", SIZES)
def test_axi_read(parameters):
    simulate_bench(parameters)


@pytest.mark.parametrize(
    "bad", [{"MaxBurstBeats": 48}, {"FifoBeats": 16}, {"FifoBeats": 96}, {"MaxBursts": 1}]
)
def test_bad_parameters(bad, capfd):
    with pytest.raises(RuntimeError):
        simulate_bench(bad)
    assert f"axi_read: {next(iter(bad))} is" in capfd.readouterr().err
