"""cmamba, forecasts: every tensor of every instruction, over runs, packages and stalls."""

import dataclasses
from functools import cache

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles

import isa
from compiler.estimate import random_package as compiled_package
from golden.random_programs import (
    random_package,
    random_phased,
    random_published,
    shuffled,
    with_padding,
)
from model.args import ModelArgs
from model.published_args import PublishedArgs
from rtl.tb.accelerator import RUN, Stalls
from rtl.tb.axi import BOUNDARY
from rtl.tb.cmamba.bench import BUILD, FEW_STALLS, OURS, STALLS, Bench, Golden
from rtl.tb.cmamba.top import Top
from rtl.tb.streams import in_bursts, rarely

SMALL = {
    "seq_len": 24,
    "patch_len": 8,
    "stride": 4,
    "forecast_len": 8,
    "d_model": 16,
    "d_state": 4,
}
MODELS = {
    "mixing": ModelArgs(num_channels=3, n_layer=2, **SMALL),
    "channels": ModelArgs(num_channels=3, n_layer=1, channel_mode="independent", **SMALL),
    "nested": ModelArgs(num_channels=2, n_layer=2, topology="nested", **SMALL),
    "published": PublishedArgs(**SMALL | {"num_channels": 3, "n_layer": 2, "dt_rank": 3}),
    # Nothing divides anything.
    "odd": ModelArgs(
        num_channels=5,
        seq_len=50,
        patch_len=7,
        stride=5,
        forecast_len=11,
        pad_multiple=1,
        d_model=33,
        n_layer=1,
        d_state=5,
        d_conv=3,
        bias=True,
    ),
}
seeds = range(1, 6)


@cache
def compiled(name, n_forecasts=3):
    return Golden.random(
        compiled_package(MODELS[name], BUILD), np.random.default_rng(1), n_forecasts
    )


@cache
def program(seed, n_forecasts=2, written=random_package):
    """A random program. Its package holds anything as padding, its tensors are those of zeros."""
    rng = np.random.default_rng(seed)
    package = written(rng, BUILD, largest=40)
    if seed % 2 and len(package.schedule) < 150:
        package = shuffled(package, rng)
    golden = Golden.random(package, rng, n_forecasts)
    golden.data = with_padding(package, rng).to_bytes()
    return golden


async def start(dut, stalls="none"):
    bench = Bench(dut, STALLS[stalls])
    await bench.reset()
    return bench


def report(dut, bench):
    dut._log.info("compared %d tensors, %d values", bench.report.tensors, bench.report.values)


@cocotb.test()
@cocotb.parametrize(name=list(MODELS))
async def run_compiled_models(dut, name):
    """A model of the compiler: forecasts back to back in a run, and run after run."""
    bench = await start(dut)
    golden = compiled(name)
    await bench.load(golden)
    for tlast_each in (False, True):
        await bench.run(golden, tlast_each=tlast_each)
    report(dut, bench)


@cocotb.test()
async def run_forecasts_one_by_one(dut):
    """Nothing of a forecast is left for the next one, whether in the same run or not."""
    bench = await start(dut)
    all_at_once = compiled("channels")
    await bench.load(all_at_once)
    n = all_at_once.package.iterations
    for first in range(0, len(all_at_once.tokens), n):
        await bench.run(Golden(all_at_once.package, all_at_once.tokens[first : first + n]))
    await bench.run(all_at_once)
    report(dut, bench)


@cocotb.test()
@cocotb.parametrize(seed=list(seeds))
async def run_programs(dut, seed):
    """Random programs of all instructions and modes, some in a random order with fewest waits."""
    bench = await start(dut)
    await bench.load(program(seed))
    await bench.run(program(seed))
    report(dut, bench)


@cocotb.test()
@cocotb.parametrize(stalls=list(STALLS), seed=list(seeds))
async def run_published_programs(dut, stalls, seed):
    """The same in the manner of the published CMamba: what all sequences share, skip weights."""
    bench = await start(dut, stalls)
    golden = program(seed, written=random_published)
    await bench.load(golden)
    await bench.run(golden, tlast_each=bool(seed % 2))
    report(dut, bench)


@cocotb.test()
@cocotb.parametrize(stalls=list(STALLS), seed=list(seeds))
async def run_phased_programs(dut, stalls, seed):
    """Random programs in several phases, of which many have repeats."""
    bench = await start(dut, stalls)
    golden = program(seed, written=random_phased)
    await bench.load(golden)
    await bench.run(golden, tlast_each=bool(seed % 2))
    report(dut, bench)


@cocotb.test()
@cocotb.parametrize(stalls=[name for name in STALLS if name != "none"], name=["mixing", "odd"])
async def run_stalls(dut, stalls, name):
    """Stalls on all interfaces at once: other timing, the same bits."""
    bench = await start(dut, stalls)
    golden = compiled(name, 2)
    await bench.load(golden)
    for tlast_each in (False, True):
        await bench.run(golden, tlast_each=tlast_each)
    report(dut, bench)


@cocotb.test()
@cocotb.parametrize(interface=["control", "s_axis", "m_axis", "address", "data"])
async def run_stalls_of_one(dut, interface):
    """One interface much slower than the others, so that it sets the pace."""
    bench = Bench(dut, dataclasses.replace(Stalls(), **{interface: rarely}))
    await bench.reset()
    golden = program(2)
    await bench.load(golden)
    await bench.run(golden)
    report(dut, bench)


@cocotb.test()
async def run_many_programs(dut):
    """One package after the other without a reset, at any address; what was loaded stays."""
    bench = Bench(dut, Stalls.all(in_bursts, longest_latency=20))
    await bench.reset()
    rng = np.random.default_rng(3)
    for seed in seeds:
        golden = program(seed)
        address = int(rng.integers(0, 1 << 44)) * 16
        bench.accelerator.memory.bursts.clear()
        await bench.load(golden, address)
        check_bursts(bench.accelerator.memory.bursts, address, len(golden.data))
        for _ in range(2):
            await bench.run(golden, tlast_each=bool(seed % 2))
    report(dut, bench)


def check_bursts(bursts, address, size):
    """No beat is read twice or outside the package; large bursts, not beat by beat."""
    read = np.zeros(-(-size // 16), int)
    for start, beats in bursts:
        first = (start - address) // 16
        assert 0 <= first <= first + beats <= len(read), f"a burst at {start:#x} is outside"
        read[first : first + beats] += 1
    assert read.max() == 1
    assert len(bursts) <= len(isa.SECTIONS) + 1 + 2 * (size // (BOUNDARY // 4) + 1)


@cocotb.test()
@cocotb.skipif(not OURS, reason="this RTL may end before its last beat is taken")
async def run_until_sent(dut):
    """A run is done when its last beat has been taken, and not before."""
    bench = await start(dut)
    golden = program(1)
    await bench.load(golden)
    accelerator = bench.accelerator
    accelerator.sink.hold()
    beats = accelerator.shape.beats(golden.tokens)
    accelerator.source.send(beats, np.arange(len(beats)) == len(beats) - 1)
    await accelerator.start(RUN, 0, 0, golden.n_forecasts)
    await ClockCycles(accelerator.clk, 5000)
    assert not dut.interrupt.value and not accelerator.sink.beats
    accelerator.sink.go_on()
    assert await accelerator.finish() == 0
    sent, _ = accelerator.sink.take()
    np.testing.assert_array_equal(accelerator.shape.forecasts(sent), golden.forecast)


def beyond_the_chip(golden, resident):
    """The same program with other weights before its own, so that only some tiles fit the chip."""
    package = golden.package
    shift = BUILD.capacity["weights"] - resident
    instructions = [
        isa.Instruction(i.opcode, {**i.fields, "weight_addr": i.weight_addr + shift})
        if i.opcode == "LINEAR"
        else i
        for i in package.instructions
    ]
    before = np.full((shift, BUILD.tile_out, BUILD.tile_in), 0x55, np.int8)
    moved = dataclasses.replace(
        package,
        instructions=tuple(instructions),
        weights=np.concatenate([before, package.weights]),
    )
    return Golden(moved, golden.tokens)


@cocotb.test()
@cocotb.parametrize(stalls=FEW_STALLS, part=[0.0, 0.5])
async def run_weights_beyond_the_chip(dut, stalls, part):
    """Weight tiles that the memory has no room for come over m_axi during the run."""
    bench = Bench(dut)
    await bench.reset()
    golden = compiled("mixing", 2)
    tiles = len(golden.package.weights)
    golden = beyond_the_chip(golden, max(int(tiles * part), 1))
    await bench.load(golden)
    memory = bench.accelerator.memory
    memory.set_stalls(STALLS[stalls].address, STALLS[stalls].data, STALLS[stalls].latency)
    memory.bursts.clear()
    await bench.run(golden)
    assert memory.bursts, "nothing was read during the run"
    if OURS:
        cycles = await bench.accelerator.read_wide("CYCLES")
        dut._log.info("%d cycles, %d bursts", cycles, len(memory.bursts))
    # A program that fits, and again this one.
    await bench.load(program(4))
    await bench.run(program(4))
    await bench.load(golden)
    await bench.run(golden)


# `make test` has time for these.
FAST = "|".join(
    [
        "run_compiled_models/name=(mixing|nested|published)",
        "run_programs/seed=[12]",
        "run_published_programs/stalls=(none|in_bursts)/seed=[13]",
        "run_phased_programs/stalls=(none|in_bursts)/seed=[13]",
        "run_stalls/stalls=randomly/name=mixing",
    ]
)


def test_small():
    Top("small").run("test_cmamba_forecasts", test_filter=FAST)


@pytest.mark.slow
@pytest.mark.parametrize("build", ["small", "default", "wide"])
def test_all(build):
    top = Top(build)
    top.run("test_cmamba_forecasts", folder=top.folder / "all_forecasts")
