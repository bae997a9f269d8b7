"""axi_lite: an access is one request to the block and gets the block's answer, whatever waits."""

import itertools
import random

import cocotb
from cocotb.triggers import ClockCycles, Combine, FallingEdge, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, start

BYTES = 512
FIRST_BAD = 400  # accesses from here on are answered with an error


class Bench:
    """AXI4-Lite master, and a block of 512 bytes that answers after 0 to ``slowest`` cycles."""

    def __init__(self, dut, pattern=always, slowest=0):
        self.dut = dut
        self.slowest = slowest
        self.memory = bytearray(BYTES)
        self.requests = []  # (is a write, address)
        self.axi = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), dut.clk_i, dut.rst_i)
        write, read = self.axi.write_if, self.axi.read_if
        for channel in (write.aw_channel, write.w_channel, write.b_channel):
            channel.set_pause_generator(not active for active in pattern())
        for channel in (read.ar_channel, read.r_channel):
            channel.set_pause_generator(not active for active in pattern())
        for name in ("rd_ack_i", "wr_ack_i"):
            getattr(dut, name).value = 0
        cocotb.start_soon(self._block())

    async def _block(self):
        """An acknowledge in the cycle of the request itself comes in the middle of the cycle."""
        dut = self.dut
        while True:
            await FallingEdge(dut.clk_i)
            dut.rd_ack_i.value = dut.wr_ack_i.value = 0
            if not dut.req_o.value:
                continue
            address, is_write = int(dut.addr_o.value), bool(dut.req_is_wr_o.value)
            data, enable = int(dut.wr_data_o.value), int(dut.wr_biten_o.value)
            assert address % 4 == 0
            self.requests.append((is_write, address))
            for _ in range(random.randint(0, self.slowest)):
                await FallingEdge(dut.clk_i)
                assert not dut.req_o.value, "a second request before the answer"
            before = int.from_bytes(self.memory[address : address + 4], "little")
            dut.rd_data_i.value = before if not is_write else random.getrandbits(32)
            dut.rd_err_i.value = dut.wr_err_i.value = address >= FIRST_BAD
            (dut.wr_ack_i if is_write else dut.rd_ack_i).value = 1
            if is_write:
                after = before & ~enable | data & enable
                self.memory[address : address + 4] = after.to_bytes(4, "little")


@cocotb.test()
@cocotb.parametrize(pattern=PATTERNS, slowest=[0, 5])
async def run_accesses(dut, pattern, slowest):
    """Bytes and words, one after the other, are written and read back."""
    bench = Bench(dut, pattern, slowest)
    await start(dut)
    expected = bytearray(BYTES)
    for _ in range(60):
        size = random.choice((1, 2, 4))
        address = random.randrange(0, BYTES, size)
        answer = AxiResp.SLVERR if address >= FIRST_BAD else AxiResp.OKAY
        if random.getrandbits(1):
            data = random.randbytes(size)
            assert (await bench.axi.write(address, data)).resp == answer
            expected[address : address + size] = data
        else:
            read = await bench.axi.read(address, size)
            assert read.data == expected[address : address + size] and read.resp == answer
    assert bench.memory == expected
    assert len(bench.requests) == 60


@cocotb.test()
@cocotb.parametrize(pattern=PATTERNS)
async def run_both_ways(dut, pattern):
    """Reads and writes at the same time, of words of their own: each is done once, in its order."""
    bench = Bench(dut, pattern, slowest=2)
    await start(dut)
    reads = [4 * random.randrange(40) for _ in range(40)]
    writes = [160 + 4 * random.randrange(40) for _ in range(40)]
    bench.memory[:160] = random.randbytes(160)
    words = [random.getrandbits(32) for _ in writes]

    async def read():
        for address in reads:
            word = await bench.axi.read_dword(address)
            assert word == int.from_bytes(bench.memory[address : address + 4], "little")

    async def write():
        for address, word in zip(writes, words, strict=True):
            await bench.axi.write_dword(address, word)

    await Combine(cocotb.start_soon(read()), cocotb.start_soon(write()))
    assert [address for is_write, address in bench.requests if not is_write] == reads
    assert [address for is_write, address in bench.requests if is_write] == writes
    for address, word in dict(zip(writes, words, strict=True)).items():
        assert bench.memory[address : address + 4] == word.to_bytes(4, "little")


@cocotb.test()
async def run_turns(dut):
    """Where both always wait they take turns, and an access takes three cycles."""
    bench = Bench(dut)
    await start(dut)
    reads = [cocotb.start_soon(bench.axi.read(0, 4)) for _ in range(20)]
    writes = [cocotb.start_soon(bench.axi.write(4, bytes(4))) for _ in range(20)]
    await RisingEdge(dut.req_o)
    cycles = 0
    while len(bench.requests) < 30:
        await RisingEdge(dut.clk_i)
        cycles += 1
    kinds = [is_write for is_write, _ in bench.requests]
    assert all(one != other for one, other in itertools.pairwise(kinds))
    assert cycles <= 3 * 30
    await Combine(*reads, *writes)


@cocotb.test()
async def run_halves(dut):
    """An address without data, or data without an address, is no write and holds up nothing."""
    bench = Bench(dut)
    await start(dut)
    for channel in (bench.axi.write_if.aw_channel, bench.axi.write_if.w_channel):
        channel.clear_pause_generator()
        channel.pause = True
        writing = cocotb.start_soon(bench.axi.write(8, b"\x11\x22\x33\x44"))
        for _ in range(5):
            assert (await bench.axi.read(12, 4)).resp == AxiResp.OKAY
        assert not any(is_write for is_write, _ in bench.requests)
        channel.pause = False
        await writing
        assert bench.memory[8:12] == b"\x11\x22\x33\x44"
        bench.requests.clear()


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle of an access leaves nothing behind."""
    bench = Bench(dut, slowest=3)
    await start(dut)
    for _ in range(20):
        accesses = [cocotb.start_soon(bench.axi.read(0, 4)) for _ in range(2)]
        await ClockCycles(dut.clk_i, random.randint(1, 12))
        dut.rst_i.value = 1
        for access in accesses:
            access.cancel()
        await ClockCycles(dut.clk_i, 6)
        dut.rst_i.value = 0
        await ClockCycles(dut.clk_i, 1)
        assert not dut.s_axil_rvalid.value and not dut.s_axil_bvalid.value and not dut.req_o.value
        data = random.randbytes(4)
        await bench.axi.write(16, data)
        assert (await bench.axi.read(16, 4)).data == data


def test_axi_lite():
    simulate("cmamba_axi_lite")
