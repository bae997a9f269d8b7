"""crc32: sums of data of every length against zlib."""

import random
import zlib

import cocotb
from cocotb.simtime import convert, get_sim_time
from cocotb.triggers import ClockCycles, RisingEdge

from rtl.tb.simulate import simulate
from rtl.tb.streams import always, clock, in_bursts, randomly

LATENCY = 3
PERIOD_NS = 4
BEAT = 16


async def idle(dut):
    """A cycle without a step; whatever is on the data counts for nothing."""
    dut.clear_i.value = dut.beat_valid_i.value = dut.byte_valid_i.value = 0
    dut.beat_i.value = random.getrandbits(128)
    dut.byte_i.value = random.getrandbits(8)
    await RisingEdge(dut.clk_i)


async def feed(dut, data, pattern):
    """Clear, the whole beats, then the bytes of the tail."""
    whole = len(data) - len(data) % BEAT
    steps = [("clear_i", None, 0)]
    steps += [("beat_valid_i", dut.beat_i, data[i : i + BEAT]) for i in range(0, whole, BEAT)]
    steps += [("byte_valid_i", dut.byte_i, [byte]) for byte in data[whole:]]
    active = pattern()
    for name, port, value in steps:
        while not next(active):
            await idle(dut)
        dut.beat_i.value = random.getrandbits(128)
        dut.byte_i.value = random.getrandbits(8)
        for valid in ("clear_i", "beat_valid_i", "byte_valid_i"):
            getattr(dut, valid).value = valid == name
        if port is not None:
            port.value = int.from_bytes(value, "little")
        await RisingEdge(dut.clk_i)


def samples():
    for length in [*range(50), 252, 1024]:
        yield random.randbytes(length)
    for byte in (b"\x00", b"\xff", b"\x80"):
        for length in (1, 15, 16, 17, 64):
            yield byte * length


@cocotb.test()
@cocotb.parametrize(pattern=(always, randomly, in_bursts))
async def run_sums(dut, pattern):
    """Every length, with and without idle cycles, one sum right after the other."""
    clock(dut)
    for data in samples():
        await feed(dut, data, pattern)
        await idle(dut)
        await ClockCycles(dut.clk_i, LATENCY - 1)
        await RisingEdge(dut.clk_i)
        assert int(dut.crc_o.value) == zlib.crc32(data), data.hex()


@cocotb.test()
async def run_follow(dut):
    """A sum is there after the latency while the next one is already on its way."""
    clock(dut)
    expected = {}

    async def watch():
        while True:
            await RisingEdge(dut.clk_i)
            if (now := get_sim_time("step")) in expected:
                assert int(dut.crc_o.value) == expected.pop(now)

    cocotb.start_soon(watch())
    for _ in range(40):
        data = random.randbytes(random.randint(1, 60))
        await feed(dut, data, always)
        latency = convert(PERIOD_NS * LATENCY, "ns", to="step")
        expected[get_sim_time("step") + latency] = zlib.crc32(data)
    await idle(dut)
    await ClockCycles(dut.clk_i, 10)
    assert not expected


def test_crc32():
    simulate("cmamba_crc32")
