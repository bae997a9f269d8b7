"""ram_1w as inferred, as a macro, and its model: masks, latency, enables, reads in the cycle of a
write."""

import random
from pathlib import Path

import cocotb
import pytest
from cocotb.triggers import RisingEdge

from rtl.tb.simulate import simulate
from rtl.tb.streams import clock
from rtl.tb.words import pack, unpack


@cocotb.test()
async def run_random(dut):
    """Writes and reads in every cycle, in a few words, against a list."""
    clock(dut)
    width, depth = dut.Width.value.to_unsigned(), dut.Depth.value.to_unsigned()
    masked, ports = dut.MaskedWidth.value.to_unsigned(), dut.ReadPorts.value.to_unsigned()
    zero_idle = dut.ZeroIdle.value == 1
    n_masks, addr_bits = width // masked, (depth - 1).bit_length()
    addresses = [0, depth - 1, *(random.randrange(depth) for _ in range(6))]
    memory = {}

    def merge(old, new, mask):
        parts = zip(unpack(old, masked, n_masks), unpack(new, masked, n_masks), strict=True)
        return pack((n if mask >> i & 1 else o for i, (o, n) in enumerate(parts)), masked)

    dut.rd_en_i.value = 0
    for address in addresses:  # all bits are known from here on
        memory[address] = random.getrandbits(width)
        dut.wr_en_i.value = 1
        dut.wr_addr_i.value = address
        dut.wr_mask_i.value = (1 << n_masks) - 1
        dut.wr_data_i.value = memory[address]
        await RisingEdge(dut.clk_i)

    # What each port will show: the word read two cycles ago, or what it showed before, or zeros.
    first, second = [None] * ports, [None] * ports
    for cycle in range(2000):
        enable, address = random.getrandbits(1), random.choice(addresses)
        mask, data = random.getrandbits(n_masks), random.getrandbits(width)
        dut.wr_en_i.value = enable
        dut.wr_addr_i.value = address
        dut.wr_mask_i.value = mask
        dut.wr_data_i.value = data
        reads = [random.choice(addresses) if random.getrandbits(1) else None for _ in range(ports)]
        dut.rd_en_i.value = pack((r is not None for r in reads), 1)
        dut.rd_addr_i.value = pack((r or 0 for r in reads), addr_bits)
        await RisingEdge(dut.clk_i)
        found = unpack(dut.rd_data_o.value.to_unsigned(), width, ports, signed=False)
        for port in range(ports):
            if second[port] is not None:
                assert found[port] == second[port], f"cycle {cycle}, port {port}"
        idle = [0] * ports if zero_idle else second
        second = [f if f is not None else s for f, s in zip(first, idle, strict=True)]
        first = [None if r is None else memory[r] for r in reads]
        if enable:
            memory[address] = merge(memory[address], data, mask)


SLOW = pytest.mark.slow


# The RTL as it is, with the macro of Vivado, and the simulation model.
KINDS = ("inferred", "macro", "model")
MACRO = Path(__file__).parent / "xpm_memory_sdpram.sv"


def run(kind, parameters):
    if kind == "macro":
        simulate("cmamba_ram_1w", {**parameters, "Macro": 1}, sources=[MACRO])
    else:
        simulate("cmamba_ram_1w", parameters, model=kind == "model")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("Width", "Depth", "MaskedWidth", "ReadPorts", "ZeroIdle", "RamStyle"),
    [
        (32, 24, 8, 2, 0, "distributed"),
        (144, 24, 8, 1, 0, "distributed"),  # two parts and a quarter
        (100, 24, 100, 1, 0, "distributed"),  # an array and a half
        (64, 24, 16, 1, 0, "block"),
        (72, 512, 72, 1, 1, "block"),
        pytest.param(20, 24, 5, 1, 1, "distributed", marks=SLOW),
        pytest.param(512, 256, 8, 1, 0, "distributed", marks=SLOW),
        pytest.param(512, 512, 8, 2, 0, "block", marks=SLOW),
        pytest.param(64, 4096, 64, 3, 0, "auto", marks=SLOW),
        pytest.param(1, 2, 1, 1, 0, "auto", marks=SLOW),
    ],
)
def test_ram_1w(Width, Depth, MaskedWidth, ReadPorts, ZeroIdle, RamStyle, kind):
    parameters = {
        "Width": Width,
        "Depth": Depth,
        "MaskedWidth": MaskedWidth,
        "ReadPorts": ReadPorts,
        "ZeroIdle": ZeroIdle,
        "RamStyle": RamStyle,
    }
    run(kind, parameters)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "bad", [{"MaskedWidth": 5}, {"Depth": 1}, {"ReadPorts": 0}, {"RamStyle": "ultra"}]
)
def test_bad_parameters(bad, kind, capfd):
    with pytest.raises(RuntimeError):
        run(kind, bad)
    assert f"ram_1w: {next(iter(bad))} is" in capfd.readouterr().err


def test_a_mask_of_half_bytes_in_block_ram(capfd):
    with pytest.raises(RuntimeError):
        run("inferred", {"MaskedWidth": 4, "RamStyle": "block"})
    assert "ram_1w: MaskedWidth is 4, expected whole bytes in block RAM" in capfd.readouterr().err
