"""The virtual board with the core of Vitis HLS: the driver runs on it as on the RTL."""

import numpy as np
import pytest
from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser
from pynqmetadata.frontends import HwhFrontend

import isa
from bitstream_scripts.design import DESIGN
from bitstream_scripts.hwh import hwh_of
from bitstream_scripts.registers import hls_registers
from compiler.estimate import estimate
from golden.integer_model import IntegerModel
from golden.random_programs import random_package
from hls.cycles import cycles
from host import errors
from host.accelerator import Accelerator
from host.virtual_board import Fault, write_overlay
from host.virtual_board.board import Board
from host.virtual_board.hls_core import HlsCore
from host.virtual_board.overlay import NotOurOverlayError, check_firmware
from isa.streams import StreamShape
from model.args import ModelArgs
from rtl.regs import registers as reg
from rtl.simulator import Event
from tests.compiled_models import SMALL, compile_random
from tests.local_board import LocalDevice
from tests.virtual_boards import keep_pynq_state_in

BUILD = isa.build()
WATCHDOG = 5_000


@pytest.fixture(scope="module", autouse=True)
def pynq_state(tmp_path_factory):
    keep_pynq_state_in(tmp_path_factory.mktemp("pynq"))


@pytest.fixture(scope="module")
def compiled():
    return compile_random(ModelArgs(**SMALL, instance_norm=True))


@pytest.fixture(scope="module")
def bitfile(tmp_path_factory):
    return write_overlay(tmp_path_factory.mktemp("overlay"), "hls")


@pytest.fixture
def board():
    board = Board(core="hls", memory_bytes=16 << 20)
    yield board
    board.close()


@pytest.fixture
def accelerator(board, bitfile):
    with Accelerator(bitfile, device=LocalDevice(board), watchdog_cycles=WATCHDOG) as accelerator:
        yield accelerator


@pytest.fixture
def loaded(accelerator, compiled):
    accelerator.load(compiled.package)
    return accelerator


def read(board, register):
    return board.read(DESIGN.accelerator.base + register)


def check(accelerator, compiled):
    x = compiled.windows.numpy()
    np.testing.assert_array_equal(accelerator.forecast(x), compiled.forecast())


def test_forecasts_equal_golden_bits(loaded, compiled):
    check(loaded, compiled)
    x, expected = compiled.windows.numpy(), compiled.forecast()
    streamed = list(loaded.stream([x[:2], x[2:3], x[3:]]))
    np.testing.assert_array_equal(np.concatenate(streamed), expected)


def test_the_driver_lets_it_write_its_registers(board, bitfile):
    """Vitis HLS latches results when a command has ended: before the first one they are 0."""
    device = LocalDevice(board)
    with Accelerator(bitfile, device=device) as accelerator:
        assert (accelerator.capabilities.version, accelerator.capabilities.build) == (
            isa.VERSION,
            BUILD,
        )
        assert read(board, reg.ERROR) == isa.ERRORS["BAD_MODE"]
    with Accelerator(bitfile, device=device, download=False) as accelerator:
        assert accelerator.capabilities.build == BUILD


def test_counters(loaded, compiled):
    check(loaded, compiled)
    loaded.forecast(compiled.windows.numpy()[:1])
    profile = loaded.profile()
    assert profile.n_forecasts == 1 and profile.entries == len(compiled.package.schedule)
    # dispatch counts until it has told all processes of the end.
    assert abs(profile.cycles - cycles(compiled.package, "default")) < 20
    assert set(profile.busy) == set(isa.UNITS)
    assert all(0 < busy <= profile.cycles for busy in profile.busy.values())
    # The array needs a cycle a tile, and one unit that streams has little to do.
    assert profile.busy["array"] >= estimate(compiled.package, BUILD).bound
    assert profile.busy["stream_out"] < profile.cycles / 10


def test_interrupts(board, loaded, compiled):
    base = DESIGN.accelerator.base
    board.write(base + reg.GIE, reg.GIE_ENABLE)
    board.write(base + reg.IER, reg.IER_DONE)
    check(loaded, compiled)
    assert read(board, reg.ISR) == reg.ISR_DONE
    assert read(board, reg.CTRL) & reg.CTRL_INTERRUPT
    board.write(base + reg.ISR, reg.ISR_DONE)
    assert read(board, reg.ISR) == 0 and not read(board, reg.CTRL) & reg.CTRL_INTERRUPT


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.MM2S_SLAVE_ERROR, errors.DmaError),
        (Fault.S2MM_DECODE_ERROR, errors.DmaError),
        (Fault.MM2S_DROPPED_BEAT, errors.TlastEarlyError),
        (Fault.S2MM_HANG, errors.HardwareTimeoutError),
    ],
)
def test_after_a_fault_it_goes_on(board, loaded, compiled, fault, error):
    check(loaded, compiled)
    board.inject(fault)
    with pytest.raises(error):
        loaded.forecast(compiled.windows.numpy())
    check(loaded, compiled)


def test_an_error_of_the_bus_is_not_seen(board, accelerator, compiled):
    """Of what the RTL reports as BUS_ERROR, Vitis HLS takes the data."""
    board.inject(Fault.GMEM_SLAVE_ERROR)
    accelerator.load(compiled.package)
    check(accelerator, compiled)


def test_a_package_that_the_core_refuses(board, loaded, compiled):
    """Beside the driver, which would not send it."""
    base = DESIGN.accelerator.base
    package = loaded._fabric._package
    package.array[200] ^= 1
    package.flush()
    board.write(base + reg.MODE, 1)
    board.write(base + reg.CTRL, reg.CTRL_START)
    while not read(board, reg.CTRL) & reg.CTRL_IDLE:
        pass
    assert read(board, reg.ERROR) == isa.ERRORS["BAD_CRC"]
    with pytest.raises(errors.NotLoadedError):
        loaded.forecast(compiled.windows.numpy())


class Driven:
    """The core alone, with a package loaded."""

    def __init__(self, package):
        data = package.to_bytes().ljust(1 << 20, b"\0")
        self.core = HlsCore("default", memory_base=1 << 30, memory_bytes=1 << 20)
        self.core.memory[:] = np.frombuffer(data, np.uint8)
        self.core.write_register(reg.GMEM_LO, 1 << 30)
        self.core.write_register(reg.PACKAGE_BEATS, -(-len(package.to_bytes()) // 16))
        self.core.write_register(reg.WATCHDOG_CYCLES, WATCHDOG)
        assert self.command(1) == isa.ERRORS["OK"]

    def command(self, mode, n_forecasts=1, cycles=1 << 20):
        """The error code of a command."""
        self.core.write_register(reg.N_FORECASTS, n_forecasts)
        self.core.write_register(reg.MODE, mode)
        self.core.write_register(reg.CTRL, reg.CTRL_START)
        self.core.run(cycles)
        ended = reg.CTRL_DONE | reg.CTRL_READY | reg.CTRL_IDLE
        assert self.core.read_register(reg.CTRL) == ended
        assert self.core.read_register(reg.CTRL) == reg.CTRL_IDLE
        return self.core.read_register(reg.ERROR)


@pytest.fixture(scope="module")
def sample():
    """A package, its beats in, and its forecast."""
    rng = np.random.default_rng(5)
    package = random_package(rng, BUILD)
    shape = StreamShape.of_header(package.to_bytes())
    size = (shape.iterations, shape.n_sequences, shape.n_positions, shape.token_bytes)
    tokens = rng.integers(-128, 128, size, dtype=np.int8)
    return package, shape, shape.beats(tokens), IntegerModel(package, BUILD).run(tokens)


def test_streams(sample):
    """Right ones, and all that can be wrong with them; the next run is right each time."""
    package, shape, beats, forecast = sample
    driven = Driven(package)
    core = driven.core

    def goes_on():
        core.withdraw()
        core.receive()
        core.send(beats)
        assert driven.command(2) == isa.ERRORS["OK"] and core.to_send == 0
        received = core.receive()
        np.testing.assert_array_equal(shape.forecasts(received.data), forecast)
        assert received.last.tolist() == [False] * (len(received.last) - 1) + [True]

    goes_on()
    core.send(beats[:-1])
    assert driven.command(2) == isa.ERRORS["TLAST_EARLY"]
    goes_on()
    core.send(np.concatenate([beats, beats[:3]]))
    assert driven.command(2) == isa.ERRORS["TLAST_LATE"] and core.to_send == 0
    goes_on()
    before = core.cycles
    core.send(beats[:-1], last=False)
    assert driven.command(2, cycles=3 * WATCHDOG) == isa.ERRORS["TIMEOUT"]
    assert core.cycles - before == 3 * WATCHDOG
    goes_on()
    core.set_room(1)
    core.send(beats)
    assert driven.command(2) == isa.ERRORS["TIMEOUT"]
    assert len(core.receive().data) == 1
    core.set_room()
    goes_on()
    assert driven.command(2, n_forecasts=0) == isa.ERRORS["BAD_MODE"]
    assert driven.command(7) == driven.command(0x401) == isa.ERRORS["BAD_MODE"]
    core.write_register(reg.GMEM_HI, 1)  # where there is no memory
    assert driven.command(1) == isa.ERRORS["BAD_MAGIC"]
    assert driven.command(2) == isa.ERRORS["NOT_LOADED"]


def test_the_clock_stops_at_events(sample):
    package, _, beats, _ = sample
    core = Driven(package).core
    core.set_room(1, stop_at_last=True)
    core.send(beats)
    core.write_register(reg.MODE, 2)
    core.write_register(reg.CTRL, reg.CTRL_START)
    begin = core.cycles
    assert core.run(10_000, Event.SENT) == Event.SENT and core.cycles == begin + len(beats)
    assert core.read_register(reg.CTRL) == reg.CTRL_START
    assert core.run(100_000, Event.FULL) == Event.FULL and core.room == 0
    assert core.run(10, Event.SENT | Event.FULL) == Event.SENT | Event.FULL
    begin = core.cycles
    assert core.run(10) == Event.NONE and core.cycles == begin + 10


def test_the_handoff_describes_it():
    ip = RuntimeMetadataParser(HwhFrontend(_hwhfile=hwh_of(core="hls"))).ip_dict
    core = ip[DESIGN.accelerator.instance]
    assert core["type"] == DESIGN.hls.vlnv
    found = {name: entry["address_offset"] for name, entry in core["registers"].items()}
    assert found == {r.name: r.offset for r in hls_registers()}


def test_an_export_of_an_older_core(board, bitfile, tmp_path):
    """One whose registers lie where Vitis HLS puts them by itself."""
    text = bitfile.with_suffix(".hwh").read_text()
    for old, new in (('"watchdog_cycles"', '"version"'), ('"status_1"', '"error_r"')):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "old.hwh").write_text(text)
    (tmp_path / "old.bit").write_bytes(bitfile.read_bytes().replace(b"00:00:00", b"00:00:01"))
    message = "is cmamba:hls:cmamba:1.0 and has no register WATCHDOG_CYCLES at 0x34: .* CORE=hls"
    with pytest.raises(errors.OverlayError, match=message):
        Accelerator(tmp_path / "old.bit", device=LocalDevice(board))


def test_the_overlay_of_the_other_core_is_refused(tmp_path):
    """Its registers have other names."""
    bit = write_overlay(tmp_path).read_bytes()
    payload = bit[bit.index(b"cmamba virtual board") :]
    firmware = np.frombuffer(payload, "<u4").byteswap().tobytes()
    check_firmware(firmware)
    with pytest.raises(NotOurOverlayError, match="--core hls --write-overlay writes the present"):
        check_firmware(firmware, "hls")
