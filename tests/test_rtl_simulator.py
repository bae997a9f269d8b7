"""The RTL behind `rtl.simulator`: forecasts, errors, buses, in the small build."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import isa
import rtl.simulator
from compiler.compile import compile_model
from golden.integer_model import IntegerModel
from golden.random_programs import random_package, random_phased, random_published
from isa.streams import BEAT_BYTES, AcceleratorError, to_beats
from model.args import ModelArgs
from model.quantization.calibrate import calibrate
from rtl import bench
from rtl.regs import registers as reg
from rtl.simulator import Event, RtlAccelerator, SimulationError, Simulator
from tests.compiled_models import SMALL, random_model, random_windows

BUILD = isa.build("small")
STALLS = {"ar": 0.4, "r": 0.3, "s_axis": 0.5, "m_axis": 0.4}


def tokens_for(package, n_forecasts=1, seed=0):
    n = package.iterations * n_forecasts
    shape = (n, package.n_sequences, package.n_positions, package.token_bytes)
    return np.random.default_rng(seed).integers(-128, 128, shape, dtype=np.int8)


def model_run(package, tokens):
    return IntegerModel(package, BUILD).run(tokens)


@pytest.fixture(scope="module")
def package():
    return random_package(np.random.default_rng(1), BUILD)


@pytest.fixture
def accelerator():
    return RtlAccelerator("small", watchdog_cycles=3000)


# ------------------------------------------------------------------------------ forecasts


@pytest.mark.parametrize("program", [random_package, random_published, random_phased])
@pytest.mark.parametrize("seed", range(4))
def test_random_programs_equal_the_integer_model(accelerator, seed, program):
    """Two packages after each other, the second with stalls on every bus."""
    for stalls in ({}, STALLS):
        package = program(np.random.default_rng([seed, len(stalls)]), BUILD)
        tokens = tokens_for(package, n_forecasts=3, seed=seed)
        accelerator.simulator.set_stalls(**stalls)
        accelerator.load(package.to_bytes())
        np.testing.assert_array_equal(accelerator.run(tokens), model_run(package, tokens))


def test_a_compiled_model_equals_the_integer_model(accelerator):
    model = random_model(ModelArgs(**SMALL))
    x = model.to_tokens(random_windows(model.args, 4))
    package = compile_model(model, calibrate(model, x), build=BUILD)
    tokens = tokens_for(package, n_forecasts=2)
    accelerator.load(package.to_bytes())
    np.testing.assert_array_equal(accelerator.run(tokens), model_run(package, tokens))


@pytest.mark.parametrize("program", [random_package, random_phased])
def test_tlast_after_each_forecast(accelerator, program):
    package = program(np.random.default_rng(1), BUILD)
    accelerator.load(package.to_bytes())
    tokens = tokens_for(package, n_forecasts=3)
    for tlast_each, packets in ((False, 1), (True, 3)):
        accelerator.simulator.send(accelerator.shape.beats(tokens))
        error, sent = accelerator.start(3, tlast_each)
        assert (error, sent.last.sum(), sent.last[-1]) == (0, packets, True)
        assert sorted(set(np.diff(np.flatnonzero(sent.last)))) == [len(sent.last) // 3] * tlast_each


def test_counters(accelerator, package):
    accelerator.load(package.to_bytes())
    accelerator.run(tokens_for(package, n_forecasts=2))
    counters = accelerator.counters
    assert counters.entries == 2 * package.iterations * len(package.executed())
    assert 0 < counters.cycles <= accelerator.command_cycles
    assert set(counters.busy) == set(isa.UNITS)
    assert all(0 < busy <= counters.cycles for busy in counters.busy.values())


def test_several_at_once(package):
    tokens = tokens_for(package, n_forecasts=2)
    expected = model_run(package, tokens)

    def run(seed):
        simulator = Simulator("small", seed=seed, memory_base=seed << 32, memory_bytes=1 << 20)
        simulator.set_stalls(**STALLS)
        accelerator = RtlAccelerator(simulator=simulator)
        accelerator.load(package.to_bytes(), address=simulator.memory_base + 4096 - 64)
        return accelerator.run(tokens), simulator.cycles

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(run, (1, 2, 2)))
    for forecasts, _ in results:
        np.testing.assert_array_equal(forecasts, expected)
    assert results[0][1] != results[1][1] == results[2][1]  # stalls depend on the seed alone


# ------------------------------------------------------------------------------ errors


def test_a_refused_package_leaves_none_behind(accelerator, package):
    accelerator.load(package.to_bytes())
    damaged = bytearray(package.to_bytes())
    damaged[300] ^= 1
    with pytest.raises(AcceleratorError, match=r"BAD_CRC: package of \d+ bytes refused") as caught:
        accelerator.load(bytes(damaged))
    assert caught.value.code == isa.ERRORS["BAD_CRC"]
    with pytest.raises(ValueError, match="no package is loaded"):
        accelerator.run(tokens_for(package))
    assert accelerator.start(1)[0] == isa.ERRORS["NOT_LOADED"]


@pytest.mark.parametrize(
    ("break_it", "code"),
    [
        (lambda simulator, middle: simulator.set_failing(middle, 1), "BUS_ERROR"),
        (lambda simulator, middle: simulator.set_memory_latency(1_000_000), "TIMEOUT"),
    ],
)
def test_memory_that_fails(accelerator, package, break_it, code):
    data = package.to_bytes()
    simulator = accelerator.simulator
    break_it(simulator, len(data) // 2)
    with pytest.raises(AcceleratorError, match=code):
        accelerator.load(data)
    simulator.set_failing(0, 0)
    simulator.set_memory_latency(40)
    simulator.reset()  # the answers that are still on their way would come first
    accelerator = RtlAccelerator(simulator=simulator)
    accelerator.load(data)
    tokens = tokens_for(package)
    np.testing.assert_array_equal(accelerator.run(tokens), model_run(package, tokens))


def test_a_package_beyond_the_memory(package):
    simulator = Simulator("small", memory_bytes=4096)
    accelerator = RtlAccelerator(simulator=simulator)
    with pytest.raises(ValueError, match="do not lie in the memory of 4096 bytes from 0x0"):
        accelerator.load(package.to_bytes())
    data = to_beats(np.frombuffer(package.to_bytes(), np.uint8)[None]).reshape(-1)
    simulator.memory[:] = data[:4096]
    simulator.write_register(reg.PACKAGE_BEATS, len(data) // BEAT_BYTES)
    simulator.write_register(reg.MODE, 1)
    simulator.write_register(reg.CTRL, reg.CTRL_START)
    assert simulator.run(100_000, Event.INTERRUPT) == Event.INTERRUPT
    assert simulator.read_register(reg.ERROR) == isa.ERRORS["BUS_ERROR"]


def test_a_packet_that_ends_early(accelerator, package):
    accelerator.load(package.to_bytes())
    tokens = tokens_for(package)
    beats = accelerator.shape.beats(tokens)
    accelerator.simulator.send(beats[:1])
    assert accelerator.start(1)[0] == isa.ERRORS["TLAST_EARLY"]
    np.testing.assert_array_equal(accelerator.run(tokens), model_run(package, tokens))


def test_a_run_that_never_ends_is_noticed(package):
    accelerator = RtlAccelerator("small", watchdog_cycles=500)
    accelerator.load(package.to_bytes())
    accelerator.simulator.write_register(reg.WATCHDOG_CYCLES, 0)  # 2^32
    with pytest.raises(SimulationError, match="nothing has moved for 2000 cycles: mode 0x2, 0 ent"):
        accelerator.start(1)
    accelerator.simulator.reset()
    accelerator = RtlAccelerator(simulator=accelerator.simulator)
    accelerator.load(package.to_bytes())
    tokens = tokens_for(package)
    np.testing.assert_array_equal(accelerator.run(tokens), model_run(package, tokens))


def test_a_build_that_is_not_compiled(monkeypatch, tmp_path):
    monkeypatch.setattr(rtl.simulator, "FOLDER", tmp_path)
    for build in ("default", "deep"):
        hint = rf"{build}\.so does not exist; `make simulator BUILD={build}` builds it"
        with pytest.raises(ImportError, match=hint):
            RtlAccelerator(build)


def test_wrong_memory_and_wrong_tokens(accelerator, package):
    with pytest.raises(ValueError, match="memory_bytes: found 100, expected a multiple of 16"):
        Simulator("small", memory_bytes=100)
    accelerator.load(package.to_bytes())
    with pytest.raises(ValueError, match=r"tokens: expected int8 \[n_iterations, "):
        accelerator.run(np.zeros((1, 1, 1, 1), np.int16))


# ------------------------------------------------------------------------------ buses


def test_registers():
    simulator = Simulator("small")
    major, minor = isa.VERSION
    assert simulator.read_register(reg.VERSION) == major << 16 | minor
    assert simulator.read_register(reg.TILE) == BUILD.tile_out << 16 | BUILD.tile_in
    simulator.write_register(reg.N_FORECASTS, 0x12345678)
    simulator.write_register(reg.N_FORECASTS, 0xAABBCCDD, strobe=0b0101)
    assert simulator.read_register(reg.N_FORECASTS) == 0x12BB56DD
    simulator.reset()
    assert simulator.read_register(reg.N_FORECASTS) != 0x12BB56DD


def test_clock_and_events(monkeypatch):
    monkeypatch.setattr(rtl.simulator, "_CYCLES_A_CALL", 100)
    simulator = Simulator("small")
    before = simulator.cycles
    assert simulator.run(250) == Event.NONE
    assert simulator.cycles == before + 250
    assert simulator.run(1000, Event.SENT | Event.INTERRUPT) == Event.SENT  # nothing to send
    assert simulator.cycles == before + 250
    simulator.send(b"123", last=False)
    assert simulator.run(1000, Event.SENT | Event.INTERRUPT) == Event.NONE  # nobody takes it
    assert (simulator.to_send, simulator.interrupt) == (1, False)


def test_the_sink_takes_what_there_is_room_for(accelerator, package):
    """As a DMA does: some beats, or up to a TLAST, and the run goes on when there is room again."""
    accelerator.load(package.to_bytes())
    simulator = accelerator.simulator
    tokens = tokens_for(package, n_forecasts=2)
    expected = to_beats(model_run(package, tokens).reshape(-1, package.forecast_elements))
    simulator.set_room(1)
    simulator.send(accelerator.shape.beats(tokens))
    simulator.write_register(reg.N_FORECASTS, 2)
    simulator.write_register(reg.MODE, 2 | reg.MODE_TLAST_EACH)
    simulator.write_register(reg.CTRL, reg.CTRL_START)
    assert simulator.run(100_000, Event.FULL) == Event.FULL
    assert simulator.run(1000, Event.PACKET | Event.INTERRUPT) == Event.NONE
    assert (simulator.received, simulator.room) == (1, 0)
    simulator.set_room(1000, stop_at_last=True)
    for packet in range(2):
        assert simulator.run(100_000, Event.FULL) == Event.FULL
        simulator.set_room(1000, stop_at_last=True)
        beats = simulator.receive(packet=True)
        assert (beats.last.sum(), beats.last[-1]) == (1, True)
        half = len(expected) // 2
        np.testing.assert_array_equal(beats.data, expected[packet * half : (packet + 1) * half])
        assert (np.diff(beats.cycle.astype(int)) > 0).all()
    assert simulator.run(1000, Event.INTERRUPT) == Event.INTERRUPT


def test_memory_outlives_its_simulator():
    memory = Simulator("small", memory_bytes=1 << 30).memory
    memory[-16:] = 7
    assert memory[-16:].sum() == 112


# ------------------------------------------------------------------------------ benchmark


def test_benchmark(tmp_path):
    model = random_model(ModelArgs(**SMALL))
    x = model.to_tokens(random_windows(model.args, 4))
    package = compile_model(model, calibrate(model, x), build=BUILD)
    measured = bench.measure(package, BUILD)
    bound = measured.estimate.bound
    assert bound < measured.interval <= measured.single < 4 * measured.estimate.single
    assert measured.load > len(package.to_bytes()) / BEAT_BYTES
    assert (measured.streamed_tiles, measured.read_beats) == (0, 0)
    text = bench.table({"small": measured}, BUILD)
    assert f"{measured.single / bound:6.3f}" in text and f"{measured.busy['scan']:10.1%}" in text
    bench.plot(package, measured, "small", tmp_path / "x" / "timeline.png")
    assert (tmp_path / "x" / "timeline.png").stat().st_size > 10_000
