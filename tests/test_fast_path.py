"""The compiled conversions of the host against NumPy's, bit for bit."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import host.accelerator
import isa
from compiler.compile import compile_model
from golden.host import HostSide
from host import fast_path
from host.accelerator import Accelerator
from host.fast_path import FastHost, fast_host
from host.virtual_board import write_overlay
from host.virtual_board.plain import PlainDevice
from isa.streams import StreamShape
from model.args import ModelArgs
from model.published_args import PublishedArgs
from model.quantization.calibrate import calibrate
from model.regressor_args import RegressorArgs
from tests.compiled_models import SMALL, compile_random, random_windows
from tests.compiled_regressors import compile_regressor
from tests.published_models import SMALL_PUBLISHED, random_published
from tests.virtual_boards import keep_pynq_state_in

BUILD = isa.build("small")
MODELS = {
    "mixing": {"instance_norm": True, "patch_len": 7, "forecast_len": 13, "pad_multiple": 1},
    "independent": {"instance_norm": True, "channel_mode": "independent"},
    "raw": {},
}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("fast") / "libcmamba_host.so"
    fast_path.build(path)
    return path


@pytest.fixture(scope="module")
def hosts(library):
    """By name: package, NumPy's twin, the compiled one."""
    made = {}
    for name, args in MODELS.items():
        package = compile_random(ModelArgs(**(SMALL | args)), build="small").package
        host = HostSide(package)
        made[name] = (package, host, fast_host(host, library))
    return made


def both(twins, x):
    """Beats, statistics and forecasts of each; ValueError as its message."""
    package, *hosts = twins
    shape = StreamShape.of_header(package.to_bytes())
    row = -(-2 * shape.forecast_elements // 16) * 16
    n_out = len(x) * shape.iterations * shape.n_sequences * row
    received = np.random.default_rng(len(x)).integers(0, 256, n_out, dtype=np.uint8)
    for side in hosts:
        beats = np.full(len(x) * hosts[0].bytes_in, 0xA5, np.uint8)
        try:
            statistics = side.encode_beats(x, beats)
        except ValueError as error:
            yield str(error)
            continue
        if isinstance(side, FastHost):
            forecast = side.decode_beats(received, statistics)
        else:
            forecast = side.decode(shape.forecasts(received), statistics)
        assert forecast.dtype == np.float32
        yield [a.tobytes() for a in (beats, *(statistics or ()), forecast)], forecast.shape


WINDOWS = st.integers(1, 3).flatmap(
    lambda n: st.one_of(
        arrays.arrays(np.float32, (n, 3, 24), elements=st.floats(width=32)),
        arrays.arrays(np.float32, (n, 3, 24), elements=st.floats(-10, 10, width=32)),
        st.tuples(st.integers(0, 99), st.integers(-20, 18)).map(
            lambda seed: (
                np.random.default_rng(seed[0]).standard_normal((n, 3, 24)) * 10.0 ** seed[1]
            ).astype(np.float32)
        ),
    )
)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=60, deadline=None)
@given(x=WINDOWS)
def test_the_same_bits_or_the_same_error(hosts, name, x):
    numpys, compiled = both(hosts[name], x)
    assert numpys == compiled


@pytest.mark.parametrize("name", MODELS)
def test_ties_go_to_the_even_integer(hosts, name):
    """Windows of multiples of half a step, and of values beyond the range."""
    package, host, _ = hosts[name]
    half = np.float32(package.metadata["input"]["scale"]) / 2
    x = (half * np.arange(-36, 36, dtype=np.float32)).reshape(1, 3, 24)
    for windows in (x, 1e3 * x, np.abs(x) * np.float32(1e30), np.ones_like(x)):
        numpys, compiled = both(hosts[name], windows)
        assert numpys == compiled
    if name == "raw":
        x = x.reshape(3, 24)
        steps = np.rint(x / host.input_scale)
        assert (steps % 2 == 0)[x / half % 2 != 0].all()  # there are ties


def test_the_same_bits_for_the_published_model(library):
    model = random_published(PublishedArgs(**SMALL_PUBLISHED))
    windows = random_windows(model.args)
    package = compile_model(model, calibrate(model, model.to_tokens(windows)), build=BUILD)
    host = HostSide(package)
    x = np.random.default_rng(0).standard_normal((4, *host.window_shape)).astype(np.float32)
    numpys, compiled = both((package, host, fast_host(host, library)), x)
    assert numpys == compiled


def test_inputs_that_numpy_would_convert(hosts):
    _, host, fast = hosts["mixing"]
    x = np.random.default_rng(0).standard_normal((2, 24, 3)).transpose(0, 2, 1)
    found, expected = (np.zeros(2 * host.bytes_in, np.uint8) for _ in range(2))
    fast.encode_beats(x, found)
    host.encode_beats(x, expected)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ValueError, match=r"found shape \[2, 24, 3\], expected"):
        fast.encode_beats(x.transpose(0, 2, 1), found)


def test_a_regressor_and_a_missing_library_are_left_to_numpy(library, tmp_path):
    args = RegressorArgs(
        num_features=8, num_channels=6, seq_len=10, patch_len=4, stride=2, d_model=12, n_layer=1
    )
    assert fast_host(HostSide(compile_regressor(args)), library) is None
    assert fast_path.load(tmp_path / "none.so") is None
    (tmp_path / "other.so").write_bytes(b"\x7fELF of another processor")
    assert fast_path.load(tmp_path / "other.so") is None


def as_program(folder, name, compiler, *flags):
    """The compiled conversions as a program, tests/fast_path.cpp."""
    program = folder / name
    options = [flag for flag in fast_path.FLAGS if flag not in ("-fPIC", "-shared")]
    source = Path(__file__).with_name("fast_path.cpp")
    subprocess.run([compiler, *options, *flags, "-o", program, source], check=True)
    return program


@pytest.mark.slow
def test_the_same_bits_on_the_processor_of_the_board(hosts, tmp_path):
    """AArch64, compiled by a cross compiler and run under qemu."""
    cross, qemu = "aarch64-linux-gnu-g++", "qemu-aarch64"
    if missing := [name for name in (cross, qemu) if shutil.which(name) is None]:
        pytest.skip(
            f"no {' and no '.join(missing)}; Debian: apt install g++-aarch64-linux-gnu qemu-user"
        )
    here = [as_program(tmp_path, "here", "g++")]
    there = [qemu, as_program(tmp_path, "there", cross, "-static")]
    fused = [qemu, as_program(tmp_path, "fused", cross, "-static", "-ffp-contract=fast")]

    def output(command, data):
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    rng = np.random.default_rng(0)
    for name, (package, numpys, fast) in hosts.items():
        x = rng.standard_normal((300, *numpys.window_shape)).astype(np.float32)
        x *= (10.0 ** rng.integers(-30, 30, (300, 1, 1))).astype(np.float32)
        half = np.float32(numpys.input_scale / 2)
        x[:40] = half * rng.integers(-400, 400, x[:40].shape)  # ties
        x[40], x[41, 0, 0], x[42, 0, 0] = 1.5, np.inf, np.nan
        shape = StreamShape.of_header(package.to_bytes())
        row = -(-2 * shape.forecast_elements // 16) * 8
        n_rows = shape.iterations * shape.n_sequences
        y = rng.integers(-(2**15), 2**15, (len(x), n_rows * row), dtype=np.int16)
        data = bytes(fast._constants) + len(x).to_bytes(8, "little")
        data += numpys.index.astype("<i8").tobytes()
        data += b"".join(a.tobytes() + b.tobytes() for a, b in zip(x, y, strict=True))
        found = output(there, data)
        assert found == output(here, data), name
        assert (output(fused, data) == found) != numpys.args.instance_norm  # why FLAGS has it off
        beats = np.empty(numpys.bytes_in, np.uint8)
        statistics = fast.encode_beats(x[:1], beats)
        forecast = fast.decode_beats(y[:1].view(np.uint8), statistics)
        if statistics is None:
            statistics = np.zeros((2, numpys.window_shape[0]), np.float32)
        first = b"\0" + b"".join(a.tobytes() for a in (beats, *statistics, forecast))
        assert found.startswith(first), name


def test_the_driver_uses_it(hosts, library, tmp_path, monkeypatch):
    keep_pynq_state_in(tmp_path)
    package, host_side, _ = hosts["mixing"]
    monkeypatch.setattr(host.accelerator, "fast_host", lambda side: fast_host(side, library))
    x = np.random.default_rng(0).standard_normal((2, 3, 24)).astype(np.float32)
    with Accelerator(write_overlay(tmp_path), device=PlainDevice(BUILD)) as accelerator:
        accelerator.load(package)
        found = accelerator.forecast(x)
    y = np.zeros((2, 1, package.forecast_elements), np.int16)
    np.testing.assert_array_equal(found, host_side.forecast(y, x))


@pytest.mark.parametrize(("compiler", "status"), [("no-such-compiler", 2), ("false", 1)])
def test_what_does_not_compile(compiler, status, tmp_path, capsys):
    assert fast_path.main(["--compiler", compiler, "--output", str(tmp_path / "x.so")]) == status
    assert not (tmp_path / "x.so").exists()
