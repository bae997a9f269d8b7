"""The driver: forecasts equal to golden bits, what it says about faults, and what comes after."""

import dataclasses
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import host.accelerator
import host.remote
import isa
from golden.random_programs import random_package
from host import errors
from host.accelerator import Accelerator
from host.device import as_active
from host.remote import connect
from host.virtual_board import Fault, VirtualBoard, write_overlay
from host.virtual_board.board import Board
from isa.package import PackageError
from isa.streams import AcceleratorError
from model.args import ModelArgs
from rtl.regs import registers as reg
from tests.compiled_models import SMALL, compile_random
from tests.local_board import LocalDevice
from tests.virtual_boards import keep_pynq_state_in

BUILD = isa.build("small")
WATCHDOG = 5_000
MODELS = {
    "mixing": SMALL | {"instance_norm": True},
    "independent": SMALL | {"channel_mode": "independent", "num_channels": 5},
    "nested": SMALL | {"topology": "nested", "num_channels": 7, "n_layer": 1},
    # 7 * 3 elements of a token and 13 of a forecast leave beats partly filled.
    "odd": SMALL | {"num_channels": 7, "patch_len": 3, "forecast_len": 13, "pad_multiple": 1},
}


@pytest.fixture(scope="module", autouse=True)
def pynq_state(tmp_path_factory):
    keep_pynq_state_in(tmp_path_factory.mktemp("pynq"))


@pytest.fixture(scope="module")
def compiled():
    made = {}

    def compile_model(name="mixing"):
        if name not in made:
            made[name] = compile_random(ModelArgs(**MODELS[name]), build="small")
        return made[name]

    return compile_model


@pytest.fixture(scope="module")
def bitfile(tmp_path_factory):
    return write_overlay(tmp_path_factory.mktemp("overlay"))


# Small buffers lie where the hardware does not reach them, as those of XRT 2.17 do: the driver must
# not have any.
@pytest.fixture(scope="module")
def remote_board():
    with VirtualBoard("small", port=0, memory_bytes=64 << 20, high_addresses=True) as board:
        yield board


@pytest.fixture(scope="module")
def local_board():
    board = Board("small", memory_bytes=64 << 20, high_addresses=True)
    yield board
    board.close()


@pytest.fixture
def board(remote_board):
    yield remote_board
    remote_board.clear_faults()
    remote_board.set_stalls(0.0)
    remote_board.set_memory_latency(40)


@pytest.fixture
def make(bitfile):
    """Accelerators with a small watchdog, closed at the end."""
    made = []

    def accelerator(device, **arguments):
        made.append(
            Accelerator(bitfile, device=device, **{"watchdog_cycles": WATCHDOG} | arguments)
        )
        return made[-1]

    yield accelerator
    for accelerator in made:
        accelerator.close()


@pytest.fixture
def device(board):
    return connect(f"{board.address}:{board.port}")


@pytest.fixture
def local_device(local_board):
    return LocalDevice(local_board)


@pytest.fixture
def accelerator(make, device):
    return make(device)


@pytest.fixture
def loaded(accelerator, compiled):
    accelerator.load(compiled().package)
    return accelerator


def check(accelerator, compiled):
    """A forecast is right, as after every fault."""
    np.testing.assert_array_equal(
        accelerator.forecast(compiled.windows.numpy()), compiled.forecast()
    )


# ------------------------------------------------------------------------------ forecasts


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("where", ["device", "local_device"])
def test_forecasts_equal_golden_bits(make, request, where, name, compiled):
    accelerator, model = make(request.getfixturevalue(where)), compiled(name)
    accelerator.load(model.package)
    x, expected = model.windows.numpy(), model.forecast()
    np.testing.assert_array_equal(accelerator.forecast(x), expected)
    np.testing.assert_array_equal(accelerator.forecast(x[2:3]), expected[2:3])
    np.testing.assert_array_equal(accelerator.forecast(x), expected)  # in a buffer used before


def test_tokens_of_random_programs(loaded):
    for seed in range(3):
        package = random_package(np.random.default_rng(seed), BUILD)
        loaded.load(package.to_bytes())
        shape = (package.n_sequences, package.n_positions, package.token_bytes)
        tokens = np.random.default_rng(seed).integers(
            -128, 128, (2 * package.iterations, *shape), dtype=np.int8
        )
        np.testing.assert_array_equal(loaded.run(tokens), model_run(package, tokens))
        with pytest.raises(ValueError, match="package metadata: missing or malformed 'model'"):
            loaded.forecast(np.zeros((1, 1, 1), np.float32))
        with pytest.raises(ValueError, match=r"tokens: expected int8 \[n_iterations, "):
            loaded.run(tokens[:, :, :, 1:])


def model_run(package, tokens):

    from golden.integer_model import IntegerModel

    return IntegerModel(package, BUILD).run(tokens)


def test_results_outlive_their_buffers(loaded, compiled):
    model = compiled()
    x, expected = model.windows.numpy(), model.forecast()
    tokens = np.random.default_rng(0).integers(-128, 128, (8, 1, 5, 24), dtype=np.int8)
    forecast, run = loaded.forecast(x), loaded.run(tokens)
    loaded.forecast(x[::-1])
    loaded.close()
    np.testing.assert_array_equal(forecast, expected)
    np.testing.assert_array_equal(run, model_run(model.package, tokens))


def test_weights_beyond_the_memory_are_fetched_during_runs(make, local_device):
    """The package's buffer must stay while it is loaded: others must not be where it is."""
    wide = {"d_model": 256, "num_channels": 2, "seq_len": 16, "d_state": 8}
    model = compile_random(ModelArgs(**SMALL | wide), build="small")
    assert len(model.package.weights) > BUILD.capacity["weights"]
    accelerator = make(local_device, watchdog_cycles=100_000)
    accelerator.load(model.package)
    other = local_device.allocate((len(model.package.to_bytes()),), np.uint8)
    other.flush()
    for n in (1, 2):
        np.testing.assert_array_equal(
            accelerator.forecast(model.windows.numpy()[:n]), model.forecast()[:n]
        )


def test_a_package_from_a_file_and_from_bytes(accelerator, compiled, tmp_path):
    model = compiled()
    path = tmp_path / "package.bin"
    path.write_bytes(model.package.to_bytes())
    for package in (path, str(path), path.read_bytes(), model.package):
        accelerator.load(package)
        check(accelerator, model)
    assert accelerator.package is model.package


def test_inputs_of_any_layout_and_type(loaded, compiled):
    model = compiled()
    x, expected = model.windows.numpy(), model.forecast()
    wide = np.zeros((2 * len(x), x.shape[1], 2 * x.shape[2]), np.float32)
    wide[::2, :, ::2] = x
    for same in (wide[::2, :, ::2], np.asfortranarray(x), x.astype(np.float64), x.tolist()):
        np.testing.assert_array_equal(loaded.forecast(same), expected)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 3, 23)), r"found shape \[2, 3, 23\], expected \[B, V, L\] = \[B, 3, 24\]"),
        (np.zeros((3, 24)), r"found shape \[3, 24\]"),
        (np.zeros(()), r"found shape \[\]"),
        (np.full((1, 3, 24), np.nan), "found NaN or infinity"),
        (np.zeros((0, 3, 24)), "found 0 windows, expected at least 1"),
    ],
)
def test_wrong_inputs(loaded, compiled, x, message):
    with pytest.raises(ValueError, match=message):
        loaded.forecast(x)
    check(loaded, compiled())


def test_a_large_batch_is_cut(loaded, compiled, monkeypatch):
    model = compiled()
    monkeypatch.setattr(host.accelerator, "_MAX_BUFFER", 3 * 5 * 32)  # 3 forecasts of 5 tokens
    transfers = count(monkeypatch, loaded._fabric, "start")
    check(loaded, model)
    assert len(transfers) == 3  # of 3, 3 and 2
    tokens = np.random.default_rng(0).integers(-128, 128, (7, 1, 5, 24), dtype=np.int8)
    np.testing.assert_array_equal(loaded.run(tokens), model_run(model.package, tokens))
    monkeypatch.setattr(host.accelerator, "_MAX_BUFFER", 1)  # one forecast must fit
    np.testing.assert_array_equal(loaded.run(tokens), model_run(model.package, tokens))
    loaded._fabric.dma.max_bytes = 100
    with pytest.raises(ValueError, match=r"a transfer of 160 bytes, expected at most the 100"):
        loaded.run(tokens)


def count(monkeypatch, thing, name):
    """Calls of a method from now on."""
    calls, method = [], getattr(thing, name)

    def counting(*args, **kwargs):
        calls.append(args)
        return method(*args, **kwargs)

    monkeypatch.setattr(thing, name, counting)
    return calls


def test_a_forecast_makes_few_accesses(make, local_device, compiled):
    """Over a network each costs half a millisecond."""
    accelerator = make(local_device)
    accelerator.load(compiled().package)
    polls = []
    core, busy = accelerator._fabric.core, accelerator._fabric.core.busy
    core.busy = lambda: polls.append(0) or busy()
    before = local_device.accesses
    check(accelerator, compiled())
    assert local_device.accesses - before == 7 + 3 * len(polls) - 2 + 4 + 2


# ------------------------------------------------------------------------------ streams


def test_a_stream_equals_its_forecasts(loaded, compiled):
    model = compiled()
    x, expected = model.windows.numpy(), model.forecast()
    batches = [x[:3], x[3:4], x[4:8], x[:1]]
    forecasts = list(loaded.stream(iter(batches)))
    for y, part in zip(
        forecasts, [expected[:3], expected[3:4], expected[4:8], expected[:1]], strict=True
    ):
        np.testing.assert_array_equal(y, part)
    assert list(loaded.stream([])) == []


def test_a_stream_prepares_the_next_batch_while_the_hardware_works(loaded, compiled):
    x = compiled().windows.numpy()
    events = []
    wrap_with_event(loaded, "_prepare", events)
    wrap_with_event(loaded._fabric, "start", events)
    wrap_with_event(loaded._fabric.core, "wait", events)
    for _ in loaded.stream([x[:1]] * 3):
        events.append("yield")
    assert events == [
        *("_prepare", "start"),
        *("_prepare", "wait", "start", "yield"),
        *("_prepare", "wait", "start", "yield"),
        *("wait", "yield"),
    ]


def wrap_with_event(thing, name, events):
    method = getattr(thing, name)
    setattr(thing, name, lambda *args, **named: (events.append(name), method(*args, **named))[1])


def test_a_stream_of_an_array_that_is_used_again(loaded, compiled):
    model = compiled()
    x, expected = model.windows.numpy(), model.forecast()
    window = np.empty_like(x[:1])

    def windows():
        for i in range(len(x)):
            window[:] = x[i]
            yield window

    np.testing.assert_array_equal(np.concatenate(list(loaded.stream(windows()))), expected)


def test_other_calls_during_a_stream(loaded, compiled):
    model = compiled()
    x, expected = model.windows.numpy(), model.forecast()
    for i, y in enumerate(loaded.stream(x[i : i + 1] for i in range(4))):
        np.testing.assert_array_equal(y, expected[i : i + 1])
        np.testing.assert_array_equal(loaded.forecast(x[4:5]), expected[4:5])
    stream = loaded.stream([x[:1], x[1:2], x[2:3]])
    next(stream)
    loaded.load(compiled("nested").package)
    with pytest.raises(errors.BoardError, match="another package was loaded"):
        list(stream)
    check(loaded, compiled("nested"))


def test_a_stream_that_is_left(loaded, board, compiled):
    model = compiled()
    x = model.windows.numpy()
    check(loaded, model)
    for _ in range(12):
        for _ in loaded.stream([x[:1]] * 3):
            break
    check(loaded, model)
    assert board.memory.buffers < 12


def test_a_stream_with_a_wrong_batch(loaded, compiled):
    model = compiled()
    x, expected = model.windows.numpy(), model.forecast()
    got = []
    with pytest.raises(ValueError, match="found shape"):
        got.extend(loaded.stream([x[:1], x[1:2], x[:, :2], x[2:3]]))
    assert len(got) <= 2
    np.testing.assert_array_equal(np.concatenate(list(loaded.stream([x[:2], x[2:]]))), expected)


def test_a_stream_with_a_fault(loaded, board, compiled):
    """The error comes for the batch that has it; those before are right."""
    model = compiled()
    x, expected = model.windows.numpy(), model.forecast()
    board.inject(Fault.MM2S_DROPPED_BEAT, after=2)
    got = []
    with pytest.raises(errors.TlastEarlyError):
        for y in loaded.stream([x[:1], x[1:2], x[2:3], x[3:4]]):
            got.append(y)
    np.testing.assert_array_equal(np.concatenate(got), expected[: len(got)])
    assert len(got) == 2
    check(loaded, model)


def test_an_error_in_a_stream_that_another_call_meets(loaded, board, compiled):
    """It belongs to the stream, and does not get lost."""
    model = compiled()
    x = model.windows.numpy()
    board.inject(Fault.MM2S_SLAVE_ERROR, after=1)
    stream = loaded.stream([x[:1], x[1:2], x[2:3]])
    next(stream)  # the second batch, which fails, has been started
    check(loaded, model)
    with pytest.raises(errors.DmaError, match="DMASlvErr"):
        next(stream)
    check(loaded, model)


def test_a_dma_that_stops_and_is_looked_at_late(loaded, board, compiled):
    """The watchdog has ended the run by then, but is not the cause."""
    model = compiled()
    x = model.windows.numpy()
    board.inject(Fault.MM2S_SLAVE_ERROR, after=1)
    stream = loaded.stream([x[:1], x[1:2], x[2:3]])
    next(stream)
    while loaded._fabric.core.busy():
        pass
    with pytest.raises(errors.DmaError, match="DMASlvErr"):
        next(stream)
    check(loaded, model)


# ------------------------------------------------------------------------------ jobs, threads


def test_jobs(loaded, compiled):
    model = compiled()
    x, expected = model.windows.numpy(), model.forecast()
    first = loaded.submit(window := x[:2].copy())
    window[:] = 0
    second = loaded.submit(x[2:5])  # the first one has ended by then, and keeps its result
    assert first.done()
    while not second.done():
        pass
    np.testing.assert_array_equal(second.wait(), expected[2:5])
    np.testing.assert_array_equal(first.wait(), expected[:2])
    assert first.wait() is first.wait()
    assert first.done()
    third = loaded.submit(x[5:])
    loaded.load(compiled("nested").package)  # its forecast is still of the package before
    np.testing.assert_array_equal(third.wait(), expected[5:])
    check(loaded, compiled("nested"))


def test_a_job_with_a_fault(loaded, board, compiled):
    x = compiled().windows.numpy()
    board.inject(Fault.MM2S_DROPPED_BEAT)
    job = loaded.submit(x[:1])
    for _ in range(2):
        with pytest.raises(errors.TlastEarlyError):
            job.wait()
    assert job.done()
    check(loaded, compiled())


def test_jobs_that_nobody_waits_for(loaded, board, compiled):
    x = compiled().windows.numpy()
    for _ in range(12):
        loaded.submit(x[:1])
    check(loaded, compiled())
    assert board.memory.buffers < 12
    job = loaded.submit(x[:1])
    loaded.close()
    with pytest.raises(errors.BoardError, match="closed"):
        job.wait()


def test_a_job_larger_than_a_transfer(loaded, compiled, monkeypatch):
    monkeypatch.setattr(host.accelerator, "_MAX_BUFFER", 2 * 160)
    x = compiled().windows.numpy()
    with pytest.raises(ValueError, match="found 3 windows, expected at most 2 of a run"):
        loaded.submit(x[:3])
    np.testing.assert_array_equal(loaded.submit(x[:2]).wait(), compiled().forecast()[:2])


def test_threads(make, local_device, compiled):
    """Each call is whole, whatever the others do: forecasts, jobs, streams and loads."""
    accelerator = make(local_device, watchdog_cycles=1_000_000)
    models = [compiled(), compiled("nested")]
    accelerator.load(models[0].package)

    def forecasts(seed):
        right = 0
        for i in range(6):
            model = models[(seed + i) % 2]
            x, expected = model.windows.numpy(), model.forecast()
            part = slice(seed, seed + 1 + i % 2)
            try:
                y = accelerator.submit(x[part]).wait() if i % 3 else accelerator.forecast(x[part])
            except ValueError:  # the other package was loaded
                continue
            np.testing.assert_array_equal(y, expected[part])
            right += 1
        return right

    def loads():
        for i in range(6):
            accelerator.load(models[i % 2].package)
            assert accelerator.profile().cycles >= 0

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(forecasts, seed) for seed in range(3)] + [pool.submit(loads)]
        right = sum(task.result() or 0 for task in work)
    assert right > 0
    accelerator.load(models[0].package)
    check(accelerator, models[0])


# ------------------------------------------------------------------------------ packages


def reheaded(data, **fields):
    """A package's bytes with other values in the header, and its checksum right."""
    word = int.from_bytes(data[: isa.HEADER_BYTES - 4], "little")
    header = isa.HEADER.decode(word) | fields
    head = isa.HEADER.encode(header).to_bytes(isa.HEADER_BYTES - 4, "little")
    return head + zlib.crc32(head).to_bytes(4, "little") + data[isa.HEADER_BYTES :]


def with_instruction_byte(package, at, value):
    """With a byte of the instruction table changed, and the checksums right."""
    data = package.to_bytes()
    header = isa.HEADER.decode(int.from_bytes(data[: isa.HEADER_BYTES - 4], "little"))
    start, size = header["instructions_offset"], header["instructions_bytes"]
    table = bytearray(data[start : start + size])
    table[at] = value
    data = data[:start] + bytes(table) + data[start + size :]
    return reheaded(data, instructions_crc=zlib.crc32(table))


def broken(package, code):
    """The package's bytes, broken so that a loader answers with this code."""
    data = package.to_bytes()
    match code:
        case "BAD_MAGIC":
            return b"X" + data[1:]
        case "BAD_VERSION":
            return reheaded(data, version_major=isa.VERSION[0] + 1)
        case "BAD_CRC":
            return data[:-1] + bytes([data[-1] ^ 1])
        case "BAD_SECTION":
            return reheaded(data, weights_offset=isa.HEADER_BYTES + 8)
        case "BAD_TILE":
            return reheaded(data, tile_in=8)
        case "BAD_OPCODE":
            return with_instruction_byte(package, 0, 0xEE)
        case "BAD_OPERAND":
            first = package.instructions[0]
            moved = dataclasses.replace(first.dst, addr=first.dst.addr + 1)
            wrong = isa.Instruction(first.opcode, dict(first.fields) | {"dst": moved})
            others = package.instructions[1:]
            return dataclasses.replace(package, instructions=(wrong, *others)).to_bytes()
        case "BAD_SHAPE":
            return reheaded(data, n_positions=0)
        case "BAD_SCHEDULE":
            phases = package.phases.copy()
            phases["unit_entries"] += 1
            return dataclasses.replace(package, phases=phases).to_bytes()


CODES_OF_PACKAGES = [
    *("BAD_MAGIC", "BAD_VERSION", "BAD_CRC", "BAD_SECTION", "BAD_TILE", "BAD_OPCODE"),
    *("BAD_OPERAND", "BAD_SHAPE", "BAD_SCHEDULE"),
]


@pytest.mark.parametrize("code", CODES_OF_PACKAGES)
def test_the_driver_refuses_a_wrong_package_before_the_hardware_sees_it(
    loaded, compiled, code, monkeypatch
):
    model = compiled()
    commands = count(monkeypatch, loaded._fabric.core, "start")
    with pytest.raises(PackageError) as caught:
        loaded.load(broken(model.package, code))
    assert caught.value.code_name == code
    assert commands == []
    check(loaded, model)  # the one before is still there


@pytest.mark.parametrize("code", CODES_OF_PACKAGES)
def test_the_class_of_what_the_hardware_refuses(loaded, compiled, code, monkeypatch):
    """As if the driver had not looked: each code comes as its class, and leaves no package."""
    model = compiled()
    data = broken(model.package, code)
    monkeypatch.setattr(host.accelerator, "check_package", lambda *_: (model.package, data))
    with pytest.raises(errors.ACCELERATOR_ERRORS[code]) as caught:
        loaded.load(model.package)
    assert caught.value.code == isa.ERRORS[code]
    assert f"{code}: package of {len(data)} bytes refused" in str(caught.value)
    monkeypatch.undo()
    assert loaded.package is None
    with pytest.raises(errors.NotLoadedError, match="no package is loaded"):
        loaded.forecast(model.windows.numpy())
    loaded.load(model.package)
    check(loaded, model)


def test_a_package_for_another_build(loaded, compiled, tmp_path):
    """The error is the rule that is broken here, and ends with what to do."""
    package, path = compile_random(ModelArgs(**SMALL), build="default").package, tmp_path / "x.bin"
    package.write(path)
    message = (
        r"BAD_TILE: .*tile_in: expected 4 \(small\), found 16; "
        r"build 'default' holds the package: .*`make bitstream BUILD=default`.*"
        r"`make board BUILD=default`"
    )
    for given in (package, package.to_bytes(), path):
        with pytest.raises(errors.OtherBuildError, match=message) as caught:
            loaded.load(given)
        assert caught.value.build == "default"
    assert f"BAD_TILE: {path}: header field tile_in" in str(caught.value)
    too_large = dataclasses.replace(
        compiled().package, scan_decay=np.zeros(BUILD.capacity["scan_decay"] + 1, np.uint16)
    )
    for package in (too_large, too_large.to_bytes()):
        with pytest.raises(
            PackageError, match=r"BAD_SECTION: .*scan_decay: expected at most"
        ) as no:
            loaded.load(package)
        assert type(no.value) is PackageError  # no build takes it
    check(loaded, compiled())


def test_a_package_newer_than_the_board(loaded, compiled, monkeypatch):
    """The driver knows the version, the board does not."""
    major, minor = isa.VERSION
    monkeypatch.setattr(isa, "VERSION", (major, minor + 1))
    message = rf"BAD_VERSION: .*found {major}\.{minor + 1}, expected {major}\.{minor} of the board"
    with pytest.raises(PackageError, match=message):
        loaded.load(compiled().package)
    monkeypatch.undo()
    check(loaded, compiled())


def test_a_package_that_is_not_there(loaded, compiled, tmp_path):
    with pytest.raises(FileNotFoundError):
        loaded.load(tmp_path / "none.bin")
    check(loaded, compiled())


def test_a_package_larger_than_the_memory(bitfile, compiled):
    model = compiled()
    board = Board("small", memory_bytes=4096)
    with Accelerator(bitfile, device=LocalDevice(board)) as accelerator:
        with pytest.raises(errors.BoardError, match=r"cannot allocate \d+ bytes on the board"):
            accelerator.load(model.package)
        assert accelerator.package is None
    board.close()


def test_memory_for_one_package_only(bitfile, compiled):
    """What is kept from before makes room."""
    board = Board("small", memory_bytes=64 << 10)
    with Accelerator(bitfile, device=LocalDevice(board)) as accelerator:
        for name in ("mixing", "nested", "odd", "mixing"):
            accelerator.load(compiled(name).package)
            check(accelerator, compiled(name))
    assert board.memory.buffers == 0
    board.close()


def test_no_memory_for_a_batch(loaded, board, compiled, monkeypatch):
    """What has been allocated for it is used again."""
    buffers = board.memory.buffers
    allocate = loaded._device.allocate

    x = np.repeat(compiled().windows.numpy(), 25, axis=0)

    def out_of_memory(shape, *args, **kwargs):
        if shape == (200 * 48,):
            raise RuntimeError("no memory")
        return allocate(shape, *args, **kwargs)

    monkeypatch.setattr(loaded._device, "allocate", out_of_memory)
    for _ in range(3):
        with pytest.raises(errors.BoardError, match="cannot allocate 9600 bytes on the board: no"):
            loaded.forecast(x)
    assert board.memory.buffers <= buffers + 1
    monkeypatch.undo()
    check(loaded, compiled())


# ------------------------------------------------------------------------------ errors of a run


def test_every_code_has_its_class():
    assert set(errors.ACCELERATOR_ERRORS) == set(isa.ERRORS) - {"OK"}
    assert len(set(errors.ACCELERATOR_ERRORS.values())) == len(isa.ERRORS) - 1
    for name, kind in errors.ACCELERATOR_ERRORS.items():
        error = errors.accelerator_error(isa.ERRORS[name], "why")
        assert type(error) is kind and issubclass(kind, AcceleratorError)
        assert (error.code, error.code_name, str(error)) == (isa.ERRORS[name], name, f"{name}: why")
        assert kind.__doc__.startswith(f"{name}: ") and kind.__name__ in errors.__all__
    unknown = errors.accelerator_error(99, "why")
    assert type(unknown) is AcceleratorError and str(unknown) == "error 99: why"


FAULTS = {
    Fault.MM2S_SLAVE_ERROR: (errors.DmaError, r"DMA MM2S: DMASlvErr \(the memory answered"),
    Fault.MM2S_DECODE_ERROR: (errors.DmaError, r"DMA MM2S: DMADecErr \(nothing answers"),
    Fault.S2MM_SLAVE_ERROR: (errors.DmaError, r"DMA S2MM: .*DMASlvErr"),
    Fault.S2MM_DECODE_ERROR: (errors.DmaError, r"DMA S2MM: .*DMADecErr"),
    Fault.MM2S_DROPPED_BEAT: (errors.TlastEarlyError, "ended after .* MM2S Idle, S2MM busy"),
    Fault.S2MM_HANG: (errors.HardwareTimeoutError, "ended after .* S2MM busy"),
}


def test_all_faults_of_transfers_are_tried():
    assert set(FAULTS) == {fault for fault in Fault if fault.channel != "gmem"}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("n", [1, 8])
def test_a_fault_of_a_transfer(loaded, board, compiled, fault, n, monkeypatch):
    """It has a name, and the next forecast is right, without a new download or load."""
    model = compiled()
    kind, message = FAULTS[fault]
    x = model.windows.numpy()[:n]
    downloads = count(monkeypatch, loaded.overlay, "download")
    for after in (0, 1):
        board.inject(fault, after=after)
        if after:
            check(loaded, model)
        with pytest.raises(kind, match=message):
            loaded.forecast(x)
        check(loaded, model)
    assert downloads == []


def test_the_bits_of_a_dma_error(loaded, board, compiled):
    board.inject(Fault.MM2S_DECODE_ERROR)
    with pytest.raises(errors.DmaError) as caught:
        loaded.forecast(compiled().windows.numpy())
    assert (caught.value.channel, caught.value.bits) == ("MM2S", ("DMADecErr",))


def test_one_fault_after_the_other(loaded, board, compiled, monkeypatch):
    """Also where the forecast after a fault meets the next one."""
    model = compiled()
    start = loaded._fabric.start
    for fault, (kind, _) in FAULTS.items():
        # Once the hardware is settled, for which there are transfers as well.
        monkeypatch.setattr(
            loaded._fabric, "start", lambda run, f=fault: (board.inject(f), start(run))
        )
        with pytest.raises(kind):
            loaded.forecast(model.windows.numpy())
    monkeypatch.undo()
    check(loaded, model)


def test_a_fault_while_the_hardware_is_settled(loaded, board, compiled):
    model = compiled()
    board.inject(Fault.MM2S_SLAVE_ERROR)
    board.inject(Fault.S2MM_SLAVE_ERROR, after=1)
    with pytest.raises(errors.DmaError):
        loaded.forecast(model.windows.numpy())
    check(loaded, model)


def test_a_bus_error_in_a_load(loaded, board, compiled):
    model = compiled()
    board.inject(Fault.GMEM_SLAVE_ERROR)
    with pytest.raises(errors.BusError, match=r"BUS_ERROR: package of \d+ bytes refused"):
        loaded.load(model.package)
    assert loaded.package is None
    loaded.load(model.package)
    check(loaded, model)


def test_memory_that_does_not_answer_a_load(loaded, board, compiled):
    model = compiled()
    board.set_memory_latency(4 * WATCHDOG)
    with pytest.raises(errors.HardwareTimeoutError, match="TIMEOUT: package"):
        loaded.load(model.package)
    board.set_memory_latency(40)
    loaded.load(model.package)
    check(loaded, model)


def test_slow_memory_and_stalls_are_no_fault(loaded, board, compiled):
    model = compiled()
    board.set_memory_latency(WATCHDOG // 4)
    board.set_stalls(0.4)
    loaded.load(model.package)
    check(loaded, model)


def test_a_slow_host_is_no_fault(make, device, compiled, monkeypatch):
    """The watchdog counts from the start of the accelerator, so that comes last."""
    accelerator, model = make(device, watchdog_cycles=1000), compiled()
    accelerator.load(model.package)
    for channel in (accelerator._fabric.dma.send, accelerator._fabric.dma.receive):
        transfer = channel.transfer
        monkeypatch.setattr(
            channel,
            "transfer",
            lambda *args, transfer=transfer: (time.sleep(0.2), transfer(*args), time.sleep(0.2)),
        )
    check(accelerator, model)


def test_a_packet_that_is_too_long(loaded, compiled, monkeypatch):
    """TLAST_LATE: the accelerator was told of fewer forecasts than it is sent."""
    model = compiled()
    core, start = loaded._fabric.core, loaded._fabric.core.start
    monkeypatch.setattr(core, "start", lambda given: start(given | {reg.N_FORECASTS: 1}))
    with pytest.raises(errors.TlastLateError):
        loaded.forecast(model.windows.numpy())
    monkeypatch.undo()
    check(loaded, model)


def test_a_mode_that_does_not_exist(loaded, compiled, monkeypatch):
    """BAD_MODE: no beat of the packet is taken, and none may be left for the next run."""
    model = compiled()
    core, start = loaded._fabric.core, loaded._fabric.core.start
    monkeypatch.setattr(core, "start", lambda given: start(given | {reg.MODE: 9}))
    with pytest.raises(errors.BadModeError):
        loaded.forecast(model.windows.numpy())
    monkeypatch.undo()
    check(loaded, model)


def test_a_run_without_a_package(accelerator, loaded, compiled, board):
    """NOT_LOADED from the hardware, where the driver believes that there is a package."""
    model = compiled()
    state = accelerator.package
    with as_active(accelerator._device):
        accelerator.overlay.download()
    fabric = accelerator._fabric
    fabric._prepare_hardware()
    fabric.registers.write(reg.GMEM_LO, fabric._package.address)  # or it would be somebody else's
    assert accelerator.package is state
    with pytest.raises(errors.NotLoadedError, match="run of 8 forecasts ended after 0 entries"):
        accelerator.forecast(model.windows.numpy())
    accelerator.load(model.package)
    check(accelerator, model)


def test_the_beat_that_m_axis_offers_after_an_error(loaded, board, compiled, monkeypatch):
    """Resetting the DMA is not enough: the next forecast would begin with it."""
    model = compiled()
    board.inject(Fault.S2MM_HANG)
    with pytest.raises(errors.HardwareTimeoutError):
        loaded.forecast(model.windows.numpy())
    check(loaded, model)
    monkeypatch.setattr(loaded._fabric._recovery, "_end_run", loaded._fabric.dma.reset)
    board.inject(Fault.S2MM_HANG)
    with pytest.raises(errors.HardwareTimeoutError):
        loaded.forecast(model.windows.numpy())
    with pytest.raises(errors.DmaError, match="DMAIntErr"):  # noticed all the same
        loaded.forecast(model.windows.numpy())
    downloads = count(monkeypatch, loaded.overlay, "download")
    check(loaded, model)
    assert len(downloads) == 1  # after the second failure in a row


def test_a_run_that_waits_for_input_is_ended_at_once(make, device, board, compiled):
    """Not by the watchdog, which may be long."""
    accelerator, model = make(device, watchdog_cycles=1 << 31), compiled()
    accelerator.load(model.package)
    for fault in (Fault.MM2S_SLAVE_ERROR, Fault.S2MM_SLAVE_ERROR):
        board.inject(fault)
        with pytest.raises(errors.DmaError):
            accelerator.forecast(model.windows.numpy())
        check(accelerator, model)


def test_a_watchdog_that_does_not_bite(make, device, board, compiled, monkeypatch):
    """The driver gives up by itself, and the next forecast brings the hardware to an end."""
    accelerator, model = make(device, watchdog_cycles=500), compiled()
    accelerator.load(model.package)
    accelerator._fabric.registers.write(reg.WATCHDOG_CYCLES, 0xFFFFFFFF)
    monkeypatch.setattr(accelerator._fabric.core, "_timeout", 0.5)
    board.inject(Fault.S2MM_HANG)
    with pytest.raises(
        errors.BoardTimeoutError, match=r"nothing has completed for \d+ cycles, .* S2MM busy"
    ):
        accelerator.forecast(model.windows.numpy())
    check(accelerator, model)


def test_an_accelerator_that_stands_still(make, local_device, compiled):
    accelerator, model = make(local_device, timeout=0.3), compiled()
    accelerator.load(model.package)
    base = accelerator._fabric.registers.base_addr
    local_device.faked |= {base + reg.CTRL: reg.CTRL_START, base + reg.CYCLES_LO: 7}
    with pytest.raises(errors.BoardTimeoutError, match="waited for a run to end, but nothing has"):
        accelerator.forecast(model.windows.numpy())
    with pytest.raises(errors.BoardTimeoutError, match="waited for a load to end"):
        accelerator.forecast(model.windows.numpy())  # not even the download has helped
    assert accelerator.package is None
    local_device.faked.clear()
    accelerator.load(model.package)
    check(accelerator, model)


def test_a_download_as_the_last_resort(make, local_device, compiled, monkeypatch):
    """It comes with the package, and with whatever else the driver has set."""
    accelerator, model = make(local_device, timeout=0.3), compiled()
    accelerator.load(model.package)
    base = accelerator._fabric.registers.base_addr
    local_device.faked |= {base + reg.CTRL: reg.CTRL_START, base + reg.CYCLES_LO: 7}
    with pytest.raises(errors.BoardTimeoutError):
        accelerator.forecast(model.windows.numpy())
    download = local_device.download
    downloads = []

    def helps(*args):
        downloads.append(args)
        local_device.faked.clear()
        download(*args)

    monkeypatch.setattr(local_device, "download", helps)
    check(accelerator, model)
    assert len(downloads) == 1 and accelerator.package is model.package
    assert accelerator._fabric.registers.read(reg.WATCHDOG_CYCLES) == WATCHDOG


@pytest.mark.parametrize("channel", ["send", "receive"])
def test_a_channel_that_does_not_end(make, local_device, compiled, channel, monkeypatch):
    accelerator, model = make(local_device, timeout=0.2), compiled()
    accelerator.load(model.package)
    dma = getattr(accelerator._fabric.dma, channel)
    status = dma._mmio.base_addr + dma._base + 4
    local_device.faked[status] = 0
    with pytest.raises(errors.BoardTimeoutError, match=f"ended, but DMA {dma.name} has not"):
        accelerator.forecast(model.windows.numpy())
    local_device.faked.clear()
    check(accelerator, model)


def test_a_dma_that_loses_the_end(make, local_device, compiled):
    accelerator, model = make(local_device), compiled()
    accelerator.load(model.package)
    length = accelerator._fabric.dma.receive._mmio.base_addr + 0x58
    local_device.faked[length] = 16
    with pytest.raises(errors.DmaError, match="S2MM: received 16 bytes, expected 384") as caught:
        accelerator.forecast(model.windows.numpy())
    assert caught.value.bits == ()
    local_device.faked.clear()
    check(accelerator, model)


def test_a_dma_that_stays_in_reset(make, local_device, compiled):
    accelerator, model = make(local_device, timeout=0.2), compiled()
    accelerator.load(model.package)
    control = accelerator._fabric.dma._mmio.base_addr
    accelerator._fabric._recovery.stale = True
    local_device.faked[control] = 4
    with pytest.raises(errors.BoardTimeoutError, match=r"DMA: waited 0.2 s for its reset to end"):
        accelerator.forecast(model.windows.numpy())
    local_device.faked.clear()
    accelerator.load(model.package)
    check(accelerator, model)


def test_ctrl_c_during_a_run(loaded, compiled, monkeypatch):
    model = compiled()

    def interrupt():
        raise KeyboardInterrupt

    monkeypatch.setattr(loaded._fabric.core, "busy", interrupt)
    with pytest.raises(KeyboardInterrupt):
        loaded.forecast(model.windows.numpy())
    monkeypatch.undo()
    check(loaded, model)


# ------------------------------------------------------------------------------ the board


@pytest.mark.parametrize(
    ("register", "value", "message"),
    [
        ("VERSION", 0, r"register VERSION: found 0 \(0x0\), expected 131072 \(0x2 in bits 31 to"),
        ("VERSION", 0xFFFFFFFF, "register VERSION: found 4294967295"),
        ("VERSION", 0x00010000, "register VERSION: .* instruction set 2.x"),
        ("TILE", 0x00100000, r"register TILE, bits 15 to 0: found 0 \(0x0\), expected 1 to 4096"),
        ("LANES_1", 0xFFFF0010, "register LANES_1, bits 31 to 16: found 65535"),
        ("MAX_WEIGHTS", 0, "register MAX_WEIGHTS: found 0 .*, expected 1 to 16777216"),
        ("SPACE_10", 0xDEADBEEF, r"register SPACE_10: found 3735928559 \(0xDEADBEEF\), expected 1"),
    ],
)
def test_registers_that_make_no_sense(make, local_device, register, value, message):
    local_device.faked[0xA000_0000 + getattr(reg, register)] = value
    with pytest.raises(errors.RegisterError, match=message) as caught:
        make(local_device)
    assert caught.value.register.startswith(register)
    assert caught.value.found in (value, value & 0xFFFF, value >> 16)


def test_capabilities(accelerator):
    assert accelerator.capabilities.build == BUILD
    assert accelerator.capabilities.version == isa.VERSION
    text = str(accelerator.capabilities)
    assert "small" in text and "4 x 16 MACs a cycle" in text and "capacity of weights" in text
    assert "<td" in accelerator.capabilities._repr_html_()


def test_a_build_without_a_name(make, local_device):
    local_device.faked[0xA000_0000 + reg.MAX_WEIGHTS] = 8191
    build = make(local_device).capabilities.build
    assert (build.name, build.capacity["weights"]) == ("board", 8191)


def test_profile(loaded, compiled):
    check(loaded, compiled())
    profile = loaded.profile()
    package = compiled().package
    assert profile.n_forecasts == 8
    assert profile.entries == 8 * package.iterations * len(package.schedule)
    assert all(0 < busy <= profile.cycles for busy in profile.busy.values())
    assert profile.clock_mhz == pytest.approx(250, abs=0.1)
    assert profile.seconds == pytest.approx(profile.cycles / 250e6, rel=1e-3)
    assert "busy scan" in str(profile) and "at 250.0 MHz" in str(profile)
    assert "<table>" in profile._repr_html_()
    assert sum(loaded.times.seconds.values()) > 0
    assert all(seconds > 0 for seconds in loaded.times.seconds.values())
    assert "wait for the hardware" in str(loaded.times) and "<td" in loaded.times._repr_html_()


def test_two_boards(make, board, device, compiled):
    with VirtualBoard("small", port=0, memory_bytes=64 << 20, seed=2) as other:
        pl0_ref_ctrl = 0xFF5E_00C0
        at_boot = other.read(pl0_ref_ctrl)
        first, second = make(device), make(connect(f"127.0.0.1:{other.port}"))
        first.load(compiled().package)
        second.load(compiled("nested").package)
        with ThreadPoolExecutor(2) as pool:  # at the same time
            for _ in range(2):
                list(pool.map(check, (first, second), (compiled(), compiled("nested"))))
        # Both have the design's clock, although pynq.Clocks knows one board only.
        assert at_boot != other.read(pl0_ref_ctrl) == board.read(pl0_ref_ctrl)
        assert first.profile().clock_mhz == second.profile().clock_mhz == pytest.approx(250, abs=1)
        second.close()
    check(first, compiled())


def test_what_pynq_reports(make, local_device, compiled, monkeypatch):
    accelerator = make(local_device)

    def fail(*_):
        raise RuntimeError("Buffer Flush Failed: no such ioctl")

    monkeypatch.setattr(local_device, "flush", fail)
    with pytest.raises(errors.BoardError, match="pynq reports: Buffer Flush Failed"):
        accelerator.load(compiled().package)
    monkeypatch.undo()
    accelerator.load(compiled().package)
    check(accelerator, compiled())


def test_buffers_go_back(bitfile, board, device, compiled):
    before = board.memory.buffers
    with Accelerator(bitfile, device=device) as accelerator:
        accelerator.load(compiled().package)
        x = compiled().windows.numpy()
        for n in range(1, 9):
            accelerator.forecast(x[:n])
            accelerator.load(compiled().package)
        assert board.memory.buffers - before <= 12
    assert board.memory.buffers == before
    accelerator.close()


def test_use_after_close(accelerator, compiled):
    accelerator.load(compiled().package)
    accelerator.close()
    x = compiled().windows.numpy()
    for use in (
        lambda: accelerator.load(compiled().package),
        lambda: accelerator.forecast(x),
        lambda: accelerator.stream([x]),
        lambda: accelerator.run(np.zeros((1, 1, 5, 24), np.int8)),
        lambda: accelerator.profile(),
    ):
        with pytest.raises(errors.BoardError, match="the accelerator is closed"):
            use()


def test_close_in_the_middle_of_a_stream(bitfile, board, device, compiled):
    before = board.memory.buffers
    x = compiled().windows.numpy()
    with Accelerator(bitfile, device=device, watchdog_cycles=WATCHDOG) as accelerator:
        accelerator.load(compiled().package)
        stream = accelerator.stream([x, x, x])
        next(stream)
    with pytest.raises(errors.BoardError, match="closed"):
        next(stream)
    assert board.memory.buffers == before
    with Accelerator(bitfile, device=device, watchdog_cycles=WATCHDOG) as accelerator:
        accelerator.load(compiled().package)
        check(accelerator, compiled())


def test_nothing_is_written_after_close(bitfile, compiled):
    """The memory may be somebody else's by then."""
    x = compiled().windows.numpy()
    board = Board("small", memory_bytes=1 << 20)
    with Accelerator(bitfile, device=LocalDevice(board), watchdog_cycles=WATCHDOG) as accelerator:
        accelerator.load(compiled().package)
        next(accelerator.stream([x[:1], x, x]))
        assert board.moving
    memory = board.memory.at(board.memory.base, board.memory.size)
    before = memory.copy()
    end = time.monotonic() + 20
    while board.moving and time.monotonic() < end:
        time.sleep(0.05)
    assert not board.moving
    np.testing.assert_array_equal(memory, before)
    board.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timeout": 0}, "timeout: found 0"),
        ({"watchdog_cycles": 1 << 32}, "watchdog_cycles: found"),
    ],
)
def test_wrong_arguments(bitfile, local_device, arguments, message):
    with pytest.raises(ValueError, match=message):
        Accelerator(bitfile, device=local_device, **arguments)


def test_a_bitstream_that_is_not_there(local_device, tmp_path):
    with pytest.raises(OSError, match=r"No such file.*none\.bit"):
        Accelerator(tmp_path / "none.bit", device=local_device)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (":cmamba:1.0", ":gizmo:1.0", r"0 IPs of the type \*:\*:cmamba:\* .* expected 1; found "),
        (":axi_dma:7.1", ":axi_cdma:7.1", r"0 IPs of the type \*:\*:axi_dma:\*"),
        ('c_include_sg" VALUE="0"', 'c_include_sg" VALUE="1"', "found scatter-gather"),
        (
            "WATCHDOG_CYCLES",
            "version_ctrl",
            "cmamba:rtl:cmamba:1.0 and has no register WATCHDOG",
        ),
    ],
)
def test_a_bitstream_of_something_else(bitfile, local_device, tmp_path, old, new, message):
    """Found before it is downloaded."""
    text = bitfile.with_suffix(".hwh").read_text()
    assert old in text
    (tmp_path / "other.hwh").write_text(text.replace(old, new))
    # pynq keeps what it has parsed under the content of the .bit.
    content = bitfile.read_bytes().replace(b"00:00:00", f"{len(old):02}:{len(new):02}:00".encode())
    (tmp_path / "other.bit").write_bytes(content)
    local_device.download = lambda *_: pytest.fail("downloaded")
    with pytest.raises(errors.OverlayError, match=message):
        Accelerator(tmp_path / "other.bit", device=local_device)


def test_no_board_at_all(bitfile, monkeypatch):
    import pynq

    monkeypatch.setattr(pynq.Device, "_devices", [], raising=False)
    monkeypatch.delattr(pynq.Device, "_active_device", raising=False)
    with pytest.raises(errors.BoardConnectionError, match="set PYNQ_REMOTE_DEVICES to the IP"):
        Accelerator(bitfile)


@pytest.mark.parametrize("address", ["", ":1", "127.0.0.1:", "a:b", "127.0.0.1:0", "h:70000"])
def test_wrong_addresses(address):
    with pytest.raises(ValueError, match="expected IP or IP:PORT"):
        connect(address)


def test_a_board_that_goes_away(bitfile, compiled):
    x = compiled().windows.numpy()
    with VirtualBoard("small", port=0, memory_bytes=64 << 20) as board:
        accelerator = Accelerator(bitfile, device=connect(f"127.0.0.1:{board.port}"))
        accelerator.load(compiled().package)
        port = board.port
    with pytest.raises(errors.BoardConnectionError, match=f"the board at 127.0.0.1:{port}: "):
        accelerator.forecast(x)
    with pytest.raises(errors.BoardConnectionError):
        accelerator.close()
    accelerator.close()


def test_a_board_that_does_not_answer(bitfile, compiled, monkeypatch):
    monkeypatch.setattr(host.remote, "CALL_SECONDS", 4.0)  # a loaded machine is no board
    with VirtualBoard("small", port=0, memory_bytes=64 << 20) as board:
        accelerator = Accelerator(bitfile, device=connect(f"127.0.0.1:{board.port}"))
        accelerator.load(compiled().package)
        read = board.read
        slow = [6.0]

        def slowly(address):
            if slow:
                time.sleep(slow.pop())
            return read(address)

        monkeypatch.setattr(board, "read", slowly)
        with pytest.raises(errors.BoardTimeoutError, match="has not answered for 4 s"):
            accelerator.forecast(compiled().windows.numpy())
        check(accelerator, compiled())
        accelerator.close()
