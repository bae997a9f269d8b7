"""cmamba, faults: wrong packages, streams and commands, a bus that fails.

Each ends with its error code, and the next load and run are right. Which packages are wrong, and
with which code, see `rtl.tb.cmamba.mutations`.
"""

import os
import random
from functools import cache

import cocotb
import numpy as np
import pytest
from cocotb.triggers import ClockCycles

import isa
from golden.random_programs import random_package, random_phased, random_published
from isa.package import Package, PackageError
from isa.streams import BEAT_BYTES, AcceleratorError
from rtl.regs import registers as regs
from rtl.tb.accelerator import LOAD, RUN, Stalls
from rtl.tb.axi import DECERR, SLVERR
from rtl.tb.cmamba import mutations
from rtl.tb.cmamba.bench import BUILD, FEW_STALLS, OURS, STALLS, Bench, Golden
from rtl.tb.cmamba.test_cmamba_forecasts import beyond_the_chip
from rtl.tb.cmamba.top import Top

E = isa.ERRORS
WATCHDOG = 2000
# How often each kind of fault is drawn.
ROUNDS = int(os.environ.get("SIM_ROUNDS", "2"))
KINDS = {m.__name__: m for m in mutations.MUTATIONS}
of_rtl = cocotb.skipif(not OURS, reason="this RTL does not see the bus, or keeps no beat")


@cache
def sample(program=random_package):
    rng = np.random.default_rng(3)
    return Golden.random(program(rng, BUILD, largest=8), rng)


async def start(dut, stalls="none"):
    bench = Bench(dut, STALLS[stalls])
    bench.accelerator.watchdog_cycles = WATCHDOG
    await bench.reset()
    return bench


async def recovers(bench, golden=None):
    """A load and a run are right, whatever was before."""
    golden = golden or sample()
    await bench.load(golden, random.getrandbits(40) * BEAT_BYTES)
    await bench.run(golden, tlast_each=bool(random.getrandbits(1)))


async def load_code(bench, data):
    """Load bytes, right or wrong: the error code."""
    try:
        await bench.accelerator.load(data, random.getrandbits(30) * BEAT_BYTES)
    except AcceleratorError as error:
        return error.code
    return E["OK"]


async def check_package(bench, data, good=None):
    """A package that may be wrong, made of ``good`` or the sample: its code, and what happens."""
    code = await load_code(bench, data)
    expected = mutations.expected_code(data, BUILD)
    assert code == expected, f"expected {name(expected)}, found {name(code)}: {data[:256].hex()}"
    if code:
        assert await bench.accelerator.command(RUN, n_forecasts=1) == E["NOT_LOADED"]
    else:
        await run_any(bench, data, good or sample())
    return code


def name(code):
    return next(n for n, c in E.items() if c == code)


async def run_any(bench, data, good):
    """A package that the rules allow. Where its schedule is that of ``good``, its bits are right;
    where it is not, the run ends all the same."""
    try:
        package = Package.from_bytes(data, build=BUILD, any_padding=True)
    except PackageError:  # of the file
        return
    shape = bench.accelerator.shape
    entries = int(package.phases["entries"].astype(np.int64) @ package.phases["repeats"])
    if shape.iterations * shape.n_sequences * shape.n_positions * entries > 2000:
        return
    same = all(
        data[slice(*mutations.span(data, section))]
        == good.data[slice(*mutations.span(good.data, section))]
        for section in mutations.PROGRAM_SECTIONS
    )
    if same and shape.iterations == good.package.iterations:
        golden = Golden.random(package, np.random.default_rng(0), 1)
        await bench.run(golden)
        return
    tokens = np.zeros(
        (shape.iterations, shape.n_sequences, shape.n_positions, shape.token_bytes), np.int8
    )
    beats = shape.beats(tokens)
    last = np.arange(len(beats)) == len(beats) - 1
    error, *_ = await bench.accelerator.run_stream(beats, last, 1)
    assert error in (E["OK"], E["TIMEOUT"]), name(error)


# ----------------------------------------------------------------------------- packages


@cocotb.test()
@cocotb.parametrize(stalls=list(STALLS), kind=list(KINDS))
async def run_wrong_packages(dut, stalls, kind):
    """Packages with a random mistake of each kind."""
    bench = await start(dut, stalls)
    codes = []
    for _ in range(ROUNDS):
        data = KINDS[kind](sample().data, random)
        codes.append(name(await check_package(bench, data)))
        await recovers(bench)
    dut._log.info("%s: %s", kind, ", ".join(codes))


@cocotb.test()
async def run_wrong_phases(dut):
    """Mistakes in programs of several phases."""
    bench = await start(dut)
    good = sample(random_phased)
    codes = []
    for _ in range(2 * ROUNDS):
        codes.append(
            name(await check_package(bench, mutations.phase_field(good.data, random), good))
        )
        await recovers(bench, good)
    dut._log.info("%s", ", ".join(codes))


@cocotb.test()
@cocotb.parametrize(
    stalls=list(STALLS), kind=["instruction_field", "reserved_bit", "phase_field", "schedule_field"]
)
async def run_wrong_published_packages(dut, stalls, kind):
    """Mistakes in programs in the manner of the published CMamba."""
    bench = await start(dut, stalls)
    good = sample(random_published)
    codes = []
    for _ in range(2 * ROUNDS):
        codes.append(name(await check_package(bench, KINDS[kind](good.data, random), good)))
        await recovers(bench, good)
    dut._log.info("%s: %s", kind, ", ".join(codes))


def named_mistakes():
    """One mistake for each rule of the header and the sections: (code, bytes)."""
    good = sample().data

    def field(code, seal=True, **values):
        data = bytearray(good)
        for field_name, value in values.items():
            mutations.put(data, field_name, value)
        return code, mutations.with_checksums(data) if seal else bytes(data)

    def word(code, section, at, value, size=8):
        data = bytearray(good)
        start, _ = mutations.span(data, section)
        data[start + at : start + at + size] = value.to_bytes(size, "little")
        return code, mutations.with_checksums(data)

    yield field("BAD_MAGIC", magic=isa.MAGIC ^ 1)
    yield field("BAD_VERSION", version_major=isa.VERSION[0] + 1)
    yield field("BAD_VERSION", version_minor=isa.VERSION[1] + 1)
    yield field("BAD_CRC", seal=False, n_positions=77)
    yield field("BAD_TILE", tile_in=2 * BUILD.tile_in)
    yield field("BAD_TILE", tile_out=2 * BUILD.tile_out)
    for size in ("n_sequences", "iterations", "n_positions", "token_bytes", "forecast_elements"):
        yield field("BAD_SHAPE", **{size: 0})
    yield field("BAD_SECTION", total_bytes=len(good) + BEAT_BYTES)
    yield field("BAD_SECTION", total_bytes=isa.HEADER_BYTES)
    for section in isa.SECTIONS:
        start, end = mutations.span(good, section.name)
        yield field("BAD_SECTION", **{f"{section.name}_offset": start + 16})
        yield field("BAD_SECTION", **{f"{section.name}_offset": 0xFFFFFFC0})
        yield field("BAD_SECTION", **{f"{section.name}_bytes": 0xFFFFFFFF})
        if section.element_bytes > 1:
            yield field("BAD_SECTION", **{f"{section.name}_bytes": end - start + 1})
        if end > start:
            data = bytearray(good)
            data[end - 1] ^= 0x80
            yield "BAD_CRC", bytes(data)
            data = bytearray(good)
            mutations.put(
                data, f"{section.name}_crc", mutations.get(data, f"{section.name}_crc") ^ 1
            )
            yield "BAD_CRC", mutations.seal(data)
    for section in ("array_params", "conv_params", "scan_params", "vector_params"):
        limit = 1 << (17 if section == "scan_params" else 30)
        size = 16 if section == "conv_params" else 8
        last = mutations.span(good, section)[1] - mutations.span(good, section)[0] - size
        yield word("BAD_SHAPE", section, last, 49 << 50)
        yield word("BAD_SHAPE", section, last, limit)
        yield word("BAD_SHAPE", section, 0, -limit & 0xFFFFFFFF)
    unknown = 1 + max(opcode.code for opcode in isa.OPCODES.values())
    yield word("BAD_OPCODE", "instructions", 0, unknown, 1)
    yield word("BAD_OPCODE", "instructions", 63, 0x80, 1)
    yield word("BAD_SHAPE", "phases", 0, 0, 2)  # entries
    yield word("BAD_SHAPE", "phases", 2, 0, 2)  # repeats
    yield word("BAD_SHAPE", "phases", 31, 0x80, 1)
    yield word("BAD_SCHEDULE", "phases", 12, 0xFFFF, 2)  # entries of array and vector unit
    yield word("BAD_SCHEDULE", "schedule", 0, 1023, 2)


@cocotb.test()
@cocotb.parametrize(stalls=list(STALLS))
async def run_named_mistakes(dut, stalls):
    """Each rule of header and sections broken once (one in four of them in one round)."""
    bench = await start(dut, stalls)
    mistakes = list(named_mistakes())
    if ROUNDS == 1:
        mistakes = random.sample(mistakes, len(mistakes) // 4)
    for number, (code, data) in enumerate(mistakes):
        assert mutations.expected_code(data, BUILD) == E[code], f"mistake {number} is not {code}"
        assert await load_code(bench, data) == E[code], f"mistake {number}: expected {code}"
        if number % 8 == 0 or number == len(mistakes) - 1:
            assert await bench.accelerator.command(RUN, n_forecasts=1) == E["NOT_LOADED"]
            await recovers(bench)
    dut._log.info("%d mistakes", len(mistakes))


@cocotb.test()
async def run_misplaced_package(dut):
    """An address that is not a multiple of 16, sizes that are too small, the end of memory."""
    bench = await start(dut)
    accelerator, data = bench.accelerator, sample().data
    beats = -(-len(data) // BEAT_BYTES)
    accelerator.memory.write(0x4000, data)
    if OURS:
        for odd in (1, 4, 8, 15):
            assert await accelerator.command(LOAD, 0x4000 + odd, beats) == E["BAD_SECTION"]
    for size, code in ((0, "BAD_MAGIC"), (1, "BAD_CRC"), (15, "BAD_CRC"), (16, "BAD_SECTION")):
        assert await accelerator.command(LOAD, 0x4000, size) == E[code], size
    assert await accelerator.command(LOAD, 0x4000, beats - 1) == E["BAD_SECTION"]
    assert await accelerator.command(LOAD, 0x4000, beats + 1) == E["OK"]
    if OURS:  # bytes behind the last address are not those of the first
        top = (1 << 64) - 0x1000
        accelerator.memory.clear()
        accelerator.memory.write(top, data[:0x1000])
        assert await accelerator.command(LOAD, top, beats) == E["BUS_ERROR"]
    await recovers(bench)


# ----------------------------------------------------------------------------- commands


@cocotb.test()
async def run_wrong_commands(dut):
    """Unknown modes and no forecasts; a refused package does not leave the one before it."""
    bench = await start(dut)
    accelerator, golden = bench.accelerator, sample()
    assert await accelerator.command(RUN, n_forecasts=1) == E["NOT_LOADED"]
    for loaded in (False, True):
        for mode in (0, 3, 4, 255, 1 << 9 | RUN, 1 << 31 | LOAD, 0xFFFFFFFF):
            assert await accelerator.command(mode, n_forecasts=1) == E["BAD_MODE"], hex(mode)
        assert await accelerator.command(RUN, n_forecasts=0) == E["BAD_MODE"]
        if loaded:
            await bench.run(golden)
        else:
            await bench.load(golden)
    assert await load_code(bench, golden.data[:200]) == E["BAD_CRC"]
    assert await accelerator.command(RUN, n_forecasts=1) == E["NOT_LOADED"]
    await recovers(bench)


# ----------------------------------------------------------------------------- streams


def wrong_stream(kind, beats, last):
    """A packet that is wrong: (beats, last, code)."""
    last = last.copy()
    if kind == "early":
        end = random.randrange(len(beats) - 1)
        beats, last = beats[: end + 1], last[: end + 1]
        last[end] = True
        return beats, last, "TLAST_EARLY"
    if kind == "short":
        n = random.randrange(len(beats))
        return beats[:n], last[:n], "TIMEOUT"
    last[-1] = False
    if kind == "never":
        return beats, last, "TLAST_LATE"
    extra = random.randint(1, 40)
    beats = np.concatenate([beats, np.full((extra, BEAT_BYTES), 0xAA, np.uint8)])
    return beats, np.append(last, np.arange(extra) == extra - 1), "TLAST_LATE"


@cocotb.test()
@cocotb.parametrize(stalls=list(STALLS), kind=["early", "short", "never", "late"])
async def run_wrong_streams(dut, stalls, kind):
    """TLAST too early or too late, beats that do not come; nothing is left for the next run."""
    bench = await start(dut, stalls)
    golden = sample()
    await bench.load(golden)
    good = bench.accelerator.shape.beats(golden.tokens)
    for _ in range(2 * ROUNDS):
        beats, last, code = wrong_stream(kind, good, np.arange(len(good)) == len(good) - 1)
        error, *_ = await bench.accelerator.run_stream(beats, last, golden.n_forecasts)
        assert error == E[code], f"expected {code}, found {name(error)}"
        assert not bench.accelerator.unread, "the rest of the packet was not taken"
        await bench.run(golden, tlast_each=bool(random.getrandbits(1)))
    await recovers(bench)


@cocotb.test()
@of_rtl
@cocotb.parametrize(stalls=list(STALLS))
async def run_output_that_is_not_taken(dut, stalls):
    """m_axis stands still: TIMEOUT; what was offered stays until it is taken."""
    bench = await start(dut, stalls)
    golden = sample()
    await bench.load(golden)
    accelerator = bench.accelerator
    beats = accelerator.shape.beats(golden.tokens)
    for _ in range(2):
        accelerator.sink.hold()
        accelerator.source.send(beats, np.arange(len(beats)) == len(beats) - 1)
        error = await accelerator.command(RUN, n_forecasts=golden.n_forecasts)
        assert error == E["TIMEOUT"]
        assert dut.m_axis_TVALID.value
        accelerator.source.connect()
        accelerator.sink.go_on()
        await accelerator.sink.settle()
        assert len(accelerator.sink.beats) == 1
        accelerator.sink.take()
        await bench.run(golden)
    await recovers(bench)


# ----------------------------------------------------------------------------- the bus


def beats_read(data):
    """Beats that a load reads: header and sections, not the gaps between them."""
    spans = [(0, isa.HEADER_BYTES), *(mutations.span(data, s.name) for s in isa.SECTIONS)]
    return sum(-(-(end - start) // BEAT_BYTES) for start, end in spans)


@cocotb.test()
@of_rtl
@cocotb.parametrize(stalls=list(STALLS))
async def run_bus_errors_of_a_load(dut, stalls):
    """SLVERR or DECERR in any beat of a load."""
    bench = await start(dut, stalls)
    golden, memory = sample(), bench.accelerator.memory
    read = beats_read(golden.data)
    for beat in (0, 15, 16, read - 1, *(random.randrange(read) for _ in range(2 * ROUNDS))):
        memory.fail(beat, random.choice([SLVERR, DECERR]))
        assert await load_code(bench, golden.data) == E["BUS_ERROR"], f"beat {beat}"
        memory.resume()
        assert await bench.accelerator.command(RUN, n_forecasts=1) == E["NOT_LOADED"]
        await recovers(bench)


@cocotb.test()
@of_rtl
@cocotb.parametrize(stalls=list(STALLS))
async def run_dead_bus_in_a_load(dut, stalls):
    """Memory that stops answering: TIMEOUT; late answers do not mix with those of the next load."""
    bench = await start(dut, stalls)
    golden, memory = sample(), bench.accelerator.memory
    read = beats_read(golden.data)
    for beat in (0, 15, 16, read - 1, *(random.randrange(read) for _ in range(2 * ROUNDS))):
        memory.stop(after_beats=beat)
        assert await load_code(bench, golden.data) == E["TIMEOUT"], f"beat {beat}"
        assert await bench.accelerator.command(RUN, n_forecasts=1) == E["NOT_LOADED"]
        if random.getrandbits(1):  # while it is still dead
            assert await load_code(bench, golden.data) == E["TIMEOUT"]
        memory.resume()
        if random.getrandbits(1):
            await ClockCycles(bench.accelerator.clk, 500)
        await recovers(bench)


@cocotb.test()
@of_rtl
@cocotb.parametrize(stalls=FEW_STALLS, kind=["error", "dead"])
async def run_bus_in_a_run(dut, stalls, kind):
    """The same while weights that do not fit are fetched."""
    bench = Bench(dut, Stalls())
    bench.accelerator.watchdog_cycles = WATCHDOG
    await bench.reset()
    golden = beyond_the_chip(sample(), 5)
    await bench.load(golden)
    memory = bench.accelerator.memory
    memory.set_stalls(STALLS[stalls].address, STALLS[stalls].data, STALLS[stalls].latency)
    before = memory.beats
    await bench.run(golden)
    used = memory.beats - before
    beats = bench.accelerator.shape.beats(golden.tokens)
    last = np.arange(len(beats)) == len(beats) - 1
    for beat in (0, used - 1, *(random.randrange(used) for _ in range(ROUNDS))):
        if kind == "error":
            memory.fail(beat, random.choice([SLVERR, DECERR]))
        else:
            memory.stop(after_beats=beat)
        error, *_ = await bench.accelerator.run_stream(beats, last, golden.n_forecasts)
        assert error == E["BUS_ERROR" if kind == "error" else "TIMEOUT"], name(error)
        memory.resume()
        # The package is still there.
        await bench.run(golden)


@cocotb.test()
@of_rtl
async def run_all_at_once(dut):
    """Faults of all kinds in a random order, without a reset in between."""
    bench = await start(dut, "in_bursts")
    golden = sample()
    kinds = list(KINDS.values())
    for _ in range(4 * ROUNDS):
        fault = random.choice(["package", "stream", "bus", "command"])
        if fault == "package":
            await check_package(bench, random.choice(kinds)(golden.data, random))
        elif fault == "bus":
            bench.accelerator.memory.stop(after_beats=random.randrange(100))
            assert await load_code(bench, golden.data) == E["TIMEOUT"]
            bench.accelerator.memory.resume()
        elif fault == "command":
            mode = random.choice([0, 3, 0x202])
            assert await bench.accelerator.command(mode, n_forecasts=1) == E["BAD_MODE"]
        else:
            await bench.load(golden)
            good = bench.accelerator.shape.beats(golden.tokens)
            kind = random.choice(["early", "short", "late"])
            beats, last, code = wrong_stream(kind, good, np.arange(len(good)) == len(good) - 1)
            error, *_ = await bench.accelerator.run_stream(beats, last, golden.n_forecasts)
            assert error == E[code]
        assert await bench.accelerator.read("CTRL") & regs.CTRL_IDLE
        if random.getrandbits(1):
            await recovers(bench)
    await recovers(bench)


FAST = "|".join(
    [
        "run_wrong_packages/stalls=in_bursts",
        "run_wrong_published_packages/stalls=in_bursts",
        "run_wrong_phases",
        "run_named_mistakes/stalls=none",
        "run_misplaced_package",
        "run_wrong_commands",
        "run_wrong_streams/stalls=none",
        "run_bus_errors_of_a_load/stalls=none",
        "run_dead_bus_in_a_load/stalls=none",
        "run_bus_in_a_run/stalls=in_bursts/kind=error",
    ]
)


def test_small():
    Top("small").run("test_cmamba_faults", test_filter=FAST, env={"SIM_ROUNDS": "1"})


@pytest.mark.slow
@pytest.mark.parametrize("build, rounds", [("small", 4), ("default", 1)])
def test_all(build, rounds):
    top = Top(build)
    top.run("test_cmamba_faults", env={"SIM_ROUNDS": str(rounds)}, folder=top.folder / "all_faults")
