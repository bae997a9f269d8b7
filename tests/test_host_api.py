"""What users of VART and of FINN's driver expect: descriptors, own buffers, clock, throughput."""

from types import SimpleNamespace

import numpy as np
import pytest

import host.accelerator
import isa
from golden.host import HostSide
from host import errors
from host.accelerator import Accelerator
from host.power import PowerMeter, find_rails, watts
from host.tensors import Tensor
from host.throughput import Throughput
from host.virtual_board import write_overlay
from host.virtual_board.board import Board
from host.virtual_board.plain import PlainDevice
from model.args import ModelArgs
from tests.compiled_models import SMALL, compile_random
from tests.local_board import LocalDevice
from tests.virtual_boards import keep_pynq_state_in


@pytest.fixture(scope="module", autouse=True)
def pynq_state(tmp_path_factory):
    keep_pynq_state_in(tmp_path_factory.mktemp("pynq"))


@pytest.fixture(scope="module")
def bitfile(tmp_path_factory):
    return write_overlay(tmp_path_factory.mktemp("overlay"))


@pytest.fixture(scope="module")
def model():
    """Its tokens have 21 bytes, so that rows of a buffer are longer."""
    return compile_random(ModelArgs(**(SMALL | {"patch_len": 7})), build="small")


@pytest.fixture
def plain(bitfile, model):
    """Without logic: what comes out means nothing."""
    with Accelerator(bitfile, device=PlainDevice(isa.build("small"))) as accelerator:
        accelerator.load(model.package)
        yield accelerator


@pytest.fixture
def accelerator(bitfile, model):
    board = Board("small", memory_bytes=1 << 20)
    with Accelerator(bitfile, device=LocalDevice(board)) as accelerator:
        accelerator.load(model.package)
        yield accelerator
    assert board.memory.buffers == 0
    board.close()


def test_descriptors(plain, model):
    metadata = model.package.metadata
    scale, zero_point = metadata["input"]["scale"], metadata["input"]["zero_point"]
    assert plain.inputs == (
        Tensor("x", (3, 24), "float32", (1, 1, 5, 21), "int8", scale, zero_point),
    )
    (y,) = plain.outputs
    assert (y.shape, y.stream_shape, y.stream_dtype) == ((3, 8), (1, 1, 24), "int16")
    x = np.zeros((2, *plain.inputs[0].shape), plain.inputs[0].dtype)
    assert plain.forecast(x).shape == (2, *y.shape)


def test_descriptors_without_a_package(bitfile):
    with (
        Accelerator(bitfile, device=PlainDevice(isa.build("small"))) as accelerator,
        pytest.raises(errors.NotLoadedError),
    ):
        _ = accelerator.inputs


def test_own_buffers(accelerator, model):
    host = HostSide(model.package)
    tokens, expected = host.tokens(model.windows.numpy()), model.forecast()
    with accelerator.buffers(3) as buffers:
        assert buffers.tokens.shape == (3, *accelerator.inputs[0].stream_shape[1:])
        for start in (0, 5, 0):
            buffers.tokens[:] = tokens[start : start + 3]
            buffers.run()
            y = host.decode(buffers.forecasts, None)
            np.testing.assert_array_equal(y, expected[start : start + 3])
            # Somebody else's run does not disturb what is in them.
            np.testing.assert_array_equal(
                accelerator.forecast(model.windows.numpy()[4:7]), expected[4:7]
            )
            np.testing.assert_array_equal(host.decode(buffers.forecasts, None), y)
    with pytest.raises(errors.BoardError, match="the buffers have been freed"):
        buffers.run()
    buffers.free()
    other = accelerator.buffers(1)
    accelerator.load(model.package)
    with pytest.raises(errors.BoardError, match="another package was loaded since these buffers"):
        other.run()
    for n in (0, 10**6):
        with pytest.raises(ValueError, match=f"forecasts of a run: found {n}, expected 1 to "):
            accelerator.buffers(n)


def test_the_clock(accelerator, model):
    assert accelerator.clock_mhz == pytest.approx(250, abs=0.1)
    accelerator.clock_mhz = 150
    assert accelerator.clock_mhz == pytest.approx(150, abs=0.1)
    np.testing.assert_array_equal(accelerator.forecast(model.windows.numpy()), model.forecast())
    assert accelerator.profile().clock_mhz == accelerator.clock_mhz
    for mhz in (0, -1, 300, float("nan")):
        with pytest.raises(ValueError, match=r"clock: found .* MHz, expected up to 249\.9"):
            accelerator.clock_mhz = mhz
    accelerator.clock_mhz = 250
    assert accelerator.clock_mhz == pytest.approx(250, abs=0.1)


def rail(power):
    return SimpleNamespace(power=None if power is None else SimpleNamespace(value=power))


def test_throughput_with_and_without_sensors(plain, monkeypatch):
    found = plain.throughput_test(batch=3, seconds=0)
    assert (found.batch, found.windows, found.watts, found.joules_per_window) == (3, 3, None, None)
    assert found.windows_per_second == 3 / found.seconds
    assert "windows a second" in str(found) and "energy" not in str(found)
    rails = {"VCCINT": rail(1.5), "VCCBRAM": rail(0.25), "VCCAUX": rail(None)}
    monkeypatch.setattr(host.accelerator, "find_rails", lambda: rails)
    found = plain.throughput_test(batch=2, seconds=0.05)
    assert found.windows > 2 and found.windows % 2 == 0
    assert found.watts == 1.75
    assert found.joules_per_window == pytest.approx(1.75 * found.seconds / found.windows)
    assert "<table>" in found._repr_html_()


def test_energy_of_a_window():
    text = str(Throughput(batch=64, windows=2_000, seconds=0.5, clock_mhz=250.0, watts=12.0))
    assert "4,000.0" in text and "250.0 us" in text and "3.000 mJ" in text


def test_power():
    assert find_rails() == {}  # this is no board
    assert watts({}) is None
    assert watts({"VCCAUX": rail(None)}) is None
    with PowerMeter({}) as meter:
        pass
    assert meter.mean_watts is None
    with PowerMeter({"VCCINT": rail(2.0)}) as meter:
        pass
    assert meter.mean_watts == 2.0
