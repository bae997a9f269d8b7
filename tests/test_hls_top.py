"""Whole programs through the HLS C++: both builds against the integer model, and hostile input."""

import dataclasses
import threading
import time
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import isa
from golden.integer_model import IntegerModel
from golden.random_programs import (
    Assembler,
    many_rows_package,
    random_package,
    random_phased,
    random_published,
    shuffled,
    with_padding,
)
from hls.bindings import BEAT_BYTES, Accelerator, AcceleratorError, extension
from hls.cycles import TIMING, delays
from host.capabilities import read_capabilities
from host.profile import read_profile
from isa.errors import PackageError
from isa.package import Package
from isa.phases import phase_of
from isa.sections import CODECS
from isa.streams import StreamShape, to_beats
from rtl.regs import registers as reg

BUILD = isa.build()
BUILDS = {"ap_int": False, "native": True}
both_builds = pytest.mark.parametrize("native", BUILDS.values(), ids=BUILDS)
seeds = st.integers(0, 2**32 - 1)
MODE_LOAD, MODE_RUN, TLAST_EACH = 1, 2, 1 << 8


def tokens_for(package, rng, n_forecasts=1):
    n = package.iterations * n_forecasts
    shape = (n, package.n_sequences, package.n_positions, package.token_bytes)
    return rng.integers(-128, 128, shape, dtype=np.int8)


def model_run(package, tokens, build="default"):
    """Forecasts and {instruction index: tensor} of the integer model."""
    model = IntegerModel(package, build)
    trace = {}
    forecast = model.run(tokens, trace)
    return forecast, {i: trace[name].numpy() for i, name in enumerate(model.names)}


def assert_same_tensors(got, expected):
    assert got.keys() == expected.keys()
    for index, tensor in expected.items():
        assert got[index].dtype == tensor.dtype
        np.testing.assert_array_equal(got[index], tensor, err_msg=f"instruction {index}")


PROGRAMS = {"nested": random_package, "published": random_published, "phases": random_phased}
# As well as programs of one phase, which the other tests have.
with_phases = pytest.mark.parametrize("sample", PROGRAMS.values(), ids=PROGRAMS, indirect=True)


class Sample:
    """A package with its tokens for two forecasts, and what they give."""

    def __init__(self, program):
        rng = np.random.default_rng(11)
        self.package = program(rng, BUILD)
        self.data = self.package.to_bytes()
        self.tokens = tokens_for(self.package, rng, 2)
        self.forecast, self.tensors = model_run(self.package, self.tokens)


@pytest.fixture(
    scope="module", params=[random_package, random_published], ids=["nested", "published"]
)
def sample(request):
    return Sample(request.param)


# ----------------------------------------------------------------------------- right programs


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@settings(max_examples=25)
@given(seed=seeds, largest=st.sampled_from([5, 20, 90]), reorder=st.booleans())
def test_random_programs(program, seed, largest, reorder):
    rng = np.random.default_rng(seed)
    package = program(rng, BUILD, largest=largest)
    if reorder and len(package.schedule) < 150:
        package = shuffled(package, rng)
    tokens = tokens_for(package, rng, 2)
    forecast, tensors = model_run(package, tokens)
    data = with_padding(package, rng).to_bytes()
    for native in BUILDS.values():
        accelerator = Accelerator(data, native)
        assert_same_tensors(accelerator.run_traced(tokens), tensors)
        np.testing.assert_array_equal(accelerator.run(tokens), forecast)
    # The processes of the core in other orders.
    for order in rng.integers(1, 2**32, 3).tolist():
        assert_same_tensors(accelerator.run_traced(tokens, order), tensors)


def many_sequences_package(n=1000):
    """Sequences by the steps of phases that overlap; two of them send."""
    a = Assembler(np.random.default_rng(4), BUILD, n, 1)
    patch, resid = a.buffer("patch", 16, 3), a.buffer("resid", 16, 3)
    norm, head = a.buffer("norm", 2 * n, 0), a.buffer("head", 8, 0)
    a.emit("RECV", dst=patch, n=16)
    a.linear(patch, 16, resid, 16, wide=1)
    param_addr = a.param_words("vector_params", 2, 8192 * 4, 64)
    a.emit("POOL_FEATURES", src=resid, dst=norm, param_addr=param_addr, n=16, columns=n)
    a.linear(norm, 2 * n, head, 8, wide=1)
    a.emit("SEND", src=head, n=8)
    sent = 900
    entries = [*((index, 0, 0, 0) for index in range(5)), (4, 0, 0, sent)]
    package = a.package(16, 8, 2, entries)
    schedule, units = package.schedule.copy(), package.units
    schedule["wait"] = -(2**13)
    for entry, unit, wait in [
        (0, "array", -4),  # a ring of 8 rows; the second LINEAR lies between two iterations
        (1, "stream_in", 1),
        (1, "vector", -7),
        (2, "array", 1),
        (3, "vector", 0),
        (3, "stream_out", 0),
        (4, "array", 0),
    ]:
        schedule["wait"][entry, isa.UNITS.index(unit)] = wait
    parts = [
        phase_of(units[:3], n, 4095, 0, 1),
        phase_of(units[3:4]),
        phase_of(units[4:5], sent, 0, 0, 1),
        phase_of(units[5:], n - sent, 0, 0, 1),
    ]
    return dataclasses.replace(package, phases=np.concatenate(parts), schedule=schedule)


@both_builds
def test_many_sequences(native):
    package = many_sequences_package()
    tokens = tokens_for(package, np.random.default_rng(5))
    forecast, tensors = model_run(package, tokens)
    accelerator = Accelerator(package.to_bytes(), native)
    np.testing.assert_array_equal(accelerator.run(tokens), forecast)
    *_, last = accelerator.run_stream(*stream(tokens), 1)
    assert np.flatnonzero(last).tolist() == [len(last) - 1]
    for order in range(4):
        assert_same_tensors(accelerator.run_traced(tokens, order), tensors)


def with_wait(package, at, unit, wait):
    """The package, whose entry ``at`` waits for another number of entries of a unit."""
    schedule = package.schedule.copy()
    schedule["wait"][at, isa.UNITS.index(unit)] = wait
    return dataclasses.replace(package, schedule=schedule)


def entries_of(package, opcode):
    """Where in the schedule the entries of an opcode are."""
    opcodes = [package.instructions[i].opcode for i in package.schedule["instruction"]]
    return [at for at, name in enumerate(opcodes) if name == opcode]


@both_builds
def test_a_wait_that_is_too_short_shows(native, sample):
    """Some order of the processes reads a row before it is written."""
    at = entries_of(sample.package, "LINEAR")[0]
    hasty = with_wait(sample.package, at, "stream_in", -(2**13))
    accelerator = Accelerator(hasty.to_bytes(), native)

    def is_right(order):
        tensors = accelerator.run_traced(sample.tokens, order)
        return all(np.array_equal(tensors[i], sample.tensors[i]) for i in tensors)

    assert not all(is_right(order) for order in range(1, 20))


@both_builds
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_a_wait_that_is_never_met_ends_the_run(native, sample, order):
    at = entries_of(sample.package, "SCAN")[0]
    stuck = with_wait(sample.package, at, "stream_out", 8000)
    accelerator = Accelerator(stuck.to_bytes(), native)
    with pytest.raises(AcceleratorError) as timeout:
        accelerator.run_traced(sample.tokens, order)
    assert timeout.value.code == isa.ERRORS["TIMEOUT"]
    expected = "scan waits for 8000 completed entries of stream_out, of which there are 0"
    assert expected in accelerator.standstill
    # Nothing of it is left over.
    load(accelerator._impl, sample.data)
    np.testing.assert_array_equal(accelerator.run(sample.tokens), sample.forecast)
    assert accelerator.standstill == ""


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@settings(max_examples=25)
@given(seed=seeds, largest=st.sampled_from([5, 20, 90]))
def test_another_array(program, seed, largest):
    """Tiles, words and lanes of `wide` are others."""
    rng = np.random.default_rng(seed)
    package = program(rng, isa.build("wide"), largest=largest)
    tokens = tokens_for(package, rng, 2)
    forecast, tensors = model_run(package, tokens, "wide")
    accelerator = Accelerator(package.to_bytes(), build="wide")
    assert_same_tensors(accelerator.run_traced(tokens), tensors)
    np.testing.assert_array_equal(accelerator.run(tokens), forecast)


@both_builds
def test_other_build(native):
    """A program that needs more rows runs on the build that has them."""
    package = many_rows_package()
    with pytest.raises(AcceleratorError) as refused:
        Accelerator(package.to_bytes(), native, "large")
    with pytest.raises(PackageError) as wrong:
        package.validate("large")
    assert refused.value.code == wrong.value.code
    tokens = tokens_for(package, np.random.default_rng(2))
    forecast, tensors = model_run(package, tokens)
    accelerator = Accelerator(package.to_bytes(), native)
    assert_same_tensors(accelerator.run_traced(tokens), tensors)
    np.testing.assert_array_equal(accelerator.run(tokens), forecast)


@both_builds
def test_weights_beyond_the_chip(native, sample):
    """Weight tiles that the memory has no room for are read from the package during the run."""
    package = sample.package
    shift = BUILD.capacity["weights"] - len(package.weights) // 2
    instructions = [
        isa.Instruction(i.opcode, {**i.fields, "weight_addr": i.weight_addr + shift})
        if i.opcode == "LINEAR"
        else i
        for i in package.instructions
    ]
    before = np.ones((shift, BUILD.tile_out, BUILD.tile_in), np.int8)
    moved = dataclasses.replace(
        package,
        instructions=tuple(instructions),
        weights=np.concatenate([before, package.weights]),
    )
    accelerator = Accelerator(moved.to_bytes(), native)
    assert_same_tensors(accelerator.run_traced(sample.tokens), sample.tensors)


def test_threads_run_at_the_same_time(sample):
    many = np.concatenate([sample.tokens] * 40)
    accelerators = [Accelerator(sample.data, native=False) for _ in range(2)]
    results = [None, None]

    def work(i):
        results[i] = accelerators[i].run(many)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    turns = 0
    while any(thread.is_alive() for thread in threads):  # without the GIL released: one turn
        time.sleep(0.001)
        turns += 1
    assert turns > 5
    for result in results:
        np.testing.assert_array_equal(result, np.concatenate([sample.forecast] * 40))


def test_one_accelerator_in_two_threads(sample):
    accelerator = Accelerator(sample.data)
    results = []

    def work():
        results.append(accelerator.run(sample.tokens))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, sample.forecast)


# ----------------------------------------------------------------------------- mistakes in Python


def test_wrong_tokens_are_value_errors(sample):
    tokens = sample.tokens
    accelerator = Accelerator(sample.data)
    wrong = {
        "expected int8": tokens.astype(np.int16),
        r"found int8 \[": tokens[0],
        rf"found int8 \[{len(tokens)}": tokens[..., 1:],
        "found float64": tokens.astype(float),
        "found 0": tokens[:0],
    }
    assert accelerator.shape.iterations > 1
    wrong["expected a multiple of"] = tokens[:1]
    for message, array in wrong.items():
        with pytest.raises(ValueError, match=message):
            accelerator.run(array)
    beats = np.zeros((3, BEAT_BYTES), np.uint8)
    for message, *arguments in [
        ("last: expected shape", beats, np.zeros(2, bool), 1),
        ("last: expected an array of bool", beats, np.zeros(3, np.int8), 1),
        ("beats: expected shape", beats[:, :5], np.zeros(3, bool), 1),
        ("n_forecasts", beats, np.zeros(3, bool), 2**40),
        ("n_forecasts", beats, np.zeros(3, bool), -1),
    ]:
        with pytest.raises(ValueError, match=message):
            accelerator.run_stream(*arguments)


def test_transposed_tokens(sample):
    """A view of any memory order is read as the array that it is."""
    view = np.asfortranarray(sample.tokens)
    np.testing.assert_array_equal(Accelerator(sample.data).run(view), sample.forecast)


# ----------------------------------------------------------------------------- the stream


def stream(tokens):
    """Beats and TLAST of a right run."""
    rows = tokens.reshape(-1, tokens.shape[-1])
    beats = np.zeros((len(rows), -(-rows.shape[1] // BEAT_BYTES) * BEAT_BYTES), np.uint8)
    beats[:, : rows.shape[1]] = rows.view(np.uint8)
    beats = beats.reshape(-1, BEAT_BYTES)
    last = np.zeros(len(beats), bool)
    last[-1] = True
    return beats, last


def assert_forecast(sample, beats):
    shape = sample.forecast.shape
    rows = beats.view("<i2").reshape(*shape[:2], -1)
    np.testing.assert_array_equal(rows[..., : shape[2]], sample.forecast)
    assert not rows[..., shape[2] :].any()


@with_phases
@both_builds
@pytest.mark.parametrize("tlast_each", [False, True])
def test_tlast_of_the_output(native, sample, tlast_each):
    accelerator = Accelerator(sample.data, native)
    error, beats, last = accelerator.run_stream(*stream(sample.tokens), 2, tlast_each)
    assert error == 0
    assert_forecast(sample, beats)
    ends = {len(beats) - 1}
    if tlast_each:
        ends.add(len(beats) // 2 - 1)
    assert set(np.flatnonzero(last)) == ends


@with_phases
@both_builds
@settings(max_examples=20)
@given(data=st.data())
def test_wrong_tlast_ends_the_run(native, sample, data):
    accelerator = Accelerator(sample.data, native)
    beats, last = stream(sample.tokens)
    kind = data.draw(st.sampled_from(["early", "never", "late", "short"]))
    if kind == "early":
        last[data.draw(st.integers(0, len(last) - 2))] = True
        expected = "TLAST_EARLY"
    elif kind == "never":
        last[-1] = False
        expected = "TLAST_LATE"
    elif kind == "late":
        last[-1] = False
        extra = data.draw(st.integers(1, 5))
        beats = np.concatenate([beats, np.zeros((extra, BEAT_BYTES), np.uint8)])
        last = np.append(last, [False] * (extra - 1) + [True])
        expected = "TLAST_LATE"
    else:
        length = data.draw(st.integers(0, len(last) - 1))
        beats, last = beats[:length], last[:length]
        expected = "TIMEOUT"
    error, *_ = accelerator.run_stream(beats, last, 2)
    assert error == isa.ERRORS[expected]
    # Nothing of it is left over.
    np.testing.assert_array_equal(accelerator.run(sample.tokens), sample.forecast)


def test_run_of_no_forecasts(sample):
    error, beats, _ = Accelerator(sample.data).run_stream(*stream(sample.tokens), 0)
    assert error == isa.ERRORS["BAD_MODE"] and len(beats) == 0


# ----------------------------------------------------------------------------- the top function


def top(native, data, mode, beats=None, last=None, n_forecasts=0):
    package = np.frombuffer(data.ljust(-(-len(data) // BEAT_BYTES) * BEAT_BYTES, b"\0"), np.uint8)
    if beats is None:
        beats, last = np.zeros((0, BEAT_BYTES), np.uint8), np.zeros(0, bool)
    found = extension(native).top(package.reshape(-1, BEAT_BYTES), beats, last, mode, n_forecasts)
    results = ((reg.VERSION, "status"), (reg.TILE, "capabilities"), (reg.SPACE_0, "spaces"))
    for first, name in results:
        found |= {first + 4 * i: word for i, word in enumerate(found[name])}
    return found


@both_builds
def test_top(native, sample):
    """What it returns, its registers by their addresses."""
    data, input_stream = sample.data, stream(sample.tokens)
    assert top(native, b"", MODE_LOAD)[reg.ERROR] == isa.ERRORS["BAD_MAGIC"]
    assert top(native, data, MODE_RUN, *input_stream, 2)[reg.ERROR] == isa.ERRORS["NOT_LOADED"]
    entries = 0
    for _ in range(2):
        # A load, and what is no command, leave the counters of the last run.
        registers = top(native, data, MODE_LOAD)
        assert registers[reg.ERROR] == 0 and registers[reg.ENTRIES_LO] == entries
        # Whatever the command was, as a driver reads them of either core.
        found = read_capabilities(registers.__getitem__)
        assert (found.version, found.build) == (isa.VERSION, BUILD)
        for mode in (0, 3, 4, 1 << 9 | MODE_RUN, 2**32 - 1):
            registers = top(native, data, mode, n_forecasts=1)
            assert registers[reg.ERROR] == isa.ERRORS["BAD_MODE"]
            assert registers[reg.ENTRIES_LO] == entries
        assert top(native, data, MODE_RUN)[reg.ERROR] == isa.ERRORS["BAD_MODE"]
        registers = top(native, data, MODE_RUN | TLAST_EACH, *input_stream, 2)
        assert registers[reg.ERROR] == 0 and registers["unread"] == 0
        entries = len(sample.package.executed()) * len(sample.tokens)
        assert read_profile(registers.__getitem__, 2, 250.0).entries == entries
        assert registers["last"].sum() == 2
        assert_forecast(sample, registers["beats"])
    # A refused package does not leave the one before it running.
    assert top(native, data[:200], MODE_LOAD)[reg.ERROR] == isa.ERRORS["BAD_CRC"]
    assert top(native, data, MODE_RUN, *input_stream, 2)[reg.ERROR] == isa.ERRORS["NOT_LOADED"]


def test_counters(sample):
    """A unit is busy while it has an entry, of as many cycles as the run has."""
    timing = [(name, *t) for name, t in delays(TIMING).items()]
    impl = extension().Accelerator()
    assert impl.load(to_beats(np.frombuffer(sample.data, np.uint8)[None])) == 0
    beats, last = stream(sample.tokens)
    error, _, _, last_beat = impl.run_timed(beats, last, 2, False, timing)
    words = dict(enumerate(impl.status, reg.VERSION // 4))
    profile = read_profile(lambda address: words[address // 4], 2, 250.0)
    assert error == 0 and profile.entries == len(sample.package.schedule) * len(sample.tokens)
    # dispatch counts until it has told all processes of the end.
    assert abs(profile.cycles - last_beat) < 20
    for unit, busy in profile.busy.items():
        assert 0 < busy <= profile.cycles, unit


# ----------------------------------------------------------------------------- hostile packages

TABLE_AT = next(f.lsb for f in isa.HEADER.fields if f.name == "instructions_offset") // 8
NAMES = [section.name for section in isa.SECTIONS]


def section_span(data, index):
    """(first byte, end) of a section."""
    entry = np.frombuffer(data, "<u4", 3, TABLE_AT + 12 * index)
    return int(entry[0]), int(entry[0] + entry[1])


def with_checksums(data):
    """The package with the CRCs that belong to its content, where its sections are in the file."""
    data = bytearray(data)
    for index in range(len(NAMES)):
        start, end = section_span(data, index)
        if end <= len(data):
            crc = zlib.crc32(data[start:end])
            at = TABLE_AT + 12 * index + 8
            data[at : at + 4] = crc.to_bytes(4, "little")
    data[252:256] = zlib.crc32(data[:252]).to_bytes(4, "little")
    return bytes(data)


def python_code(data):
    try:
        Package.from_bytes(data, build=BUILD, any_padding=True)
    except PackageError as error:
        return error.code
    return 0


@pytest.fixture(scope="module")
def loaders():
    """An accelerator of each build that is used for one package after the other."""
    return {name: extension(native).Accelerator() for name, native in BUILDS.items()}


def load(loader, data):
    padded = data.ljust(-(-len(data) // BEAT_BYTES) * BEAT_BYTES, b"\0")
    return loader.load(np.frombuffer(padded, np.uint8).reshape(-1, BEAT_BYTES))


def run_random(loader, shape):
    """Run what is loaded on random tokens: (error, output beats, TLAST, tensors)."""
    tokens = shape.iterations * shape.n_sequences * shape.n_positions
    beats = tokens * -(-shape.token_bytes // BEAT_BYTES)
    data = np.random.default_rng(0).integers(0, 256, (beats, BEAT_BYTES), dtype=np.uint8)
    return loader.run_traced(data, np.arange(beats) == beats - 1, 1, False)


def executed_entries(data):
    """Entries of one forecast of a package that hardware accepts."""
    _, read = CODECS["phases"]
    phases = read(data[slice(*section_span(data, NAMES.index("phases")))])
    executed = int((phases["entries"] * phases["repeats"]).sum())
    return StreamShape.of_header(data).iterations * executed


def check_hostile(loaders, data, sample, file_rules=False):
    """Both builds refuse with Python's error code; what they accept runs and gives the same bits.

    With `file_rules`, what Python refuses as BAD_SECTION may be the fault of the file alone, which
    hardware does not see (docs/package.md).
    """
    expected = python_code(data)
    codes = {name: load(loader, data) for name, loader in loaders.items()}
    assert len(set(codes.values())) == 1, codes
    code = codes["native"]
    assert code == expected or (file_rules and expected == isa.ERRORS["BAD_SECTION"])
    if code == 0 and executed_entries(data) < 10_000:
        shape = StreamShape.of_header(data)
        (*a, tensors), (*b, tensors_too) = (run_random(x, shape) for x in loaders.values())
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one, other)
        assert_same_tensors(tensors, tensors_too)
    for loader in loaders.values():
        assert load(loader, sample.data) == 0
        assert_forecast(sample, loader.run(*stream(sample.tokens), 2, False)[1])


def replace_field(data, raw, word_at, word_bytes, lsb, bits):
    """Give a field of a word in `raw` another value, often one at the edge of something."""
    word = int.from_bytes(raw[word_at : word_at + word_bytes], "little")
    old = word >> lsb & ((1 << bits) - 1)
    edges = {0, 1, (1 << bits) - 1, old - 1, old + 1, 2 * old, 1 << (bits - 1)}
    values = st.integers(0, (1 << bits) - 1) | st.sampled_from(
        sorted(v for v in edges if 0 <= v < 1 << bits)
    )
    word += (data.draw(values) - old) << lsb
    raw[word_at : word_at + word_bytes] = word.to_bytes(word_bytes, "little")


@settings(max_examples=150)
@given(data=st.data())
def test_hostile_instruction_fields(loaders, sample, data):
    """Any value of any field of any instruction."""
    instructions, raw = sample.package.instructions, bytearray(sample.data)
    start, _ = section_span(raw, NAMES.index("instructions"))
    index = data.draw(st.integers(0, len(instructions) - 1))
    field = data.draw(st.sampled_from(isa.OPCODES[instructions[index].opcode].format.fields))
    lsb, bits = field.lsb, field.bits
    if field.operand:
        part = data.draw(st.sampled_from(isa.OPERAND.fields))
        lsb, bits = lsb + part.lsb, part.bits
    replace_field(data, raw, start + 64 * index, 64, lsb, bits)
    check_hostile(loaders, with_checksums(raw), sample)


@settings(max_examples=100)
@given(data=st.data())
def test_hostile_rows(loaders, sample, data):
    """NORM, SCALE and MODULATE with other rows, which may overlap; parameters, rates, states and
    skip weights elsewhere."""
    instructions = list(sample.package.instructions)
    fields = {"NORM": ["src", "dst"], "SCALE": ["src", "dst"], "LINEAR": ["param_addr"]}
    fields |= {"CONV": ["param_addr"], "MODULATE": ["src", "add", "dst", "param_addr", "columns"]}
    fields |= {"POOL_FEATURES": ["param_addr", "columns"]}
    fields |= {"SCAN": ["param_addr", "decay_addr", "state_addr", "skip_offset"]}
    found = {instruction.opcode for instruction in instructions}
    opcode = data.draw(st.sampled_from(sorted(fields.keys() & found)))
    index = data.draw(
        st.sampled_from([i for i, k in enumerate(instructions) if k.opcode == opcode])
    )
    old = instructions[index]
    new = {}
    for field in fields[opcode]:
        if not isinstance(old.fields[field], isa.Operand):
            new[field] = data.draw(st.integers(0, 200))
        elif data.draw(st.booleans()):
            addr, stride = (BUILD.row_align * data.draw(st.integers(0, 40)) for _ in range(2))
            rows = data.draw(st.integers(0, 3))
            new[field] = dataclasses.replace(
                old.fields[field], addr=addr, stride=stride, log2_rows=rows
            )
    instructions[index] = isa.Instruction(opcode, {**old.fields, **new})
    changed = dataclasses.replace(sample.package, instructions=tuple(instructions))
    check_hostile(loaders, changed.to_bytes(), sample)


def _moved(operand, addr, space=None):
    """The operand from another address on, or in another memory."""
    index = operand.space if space is None else isa.SPACES[space].index
    return dataclasses.replace(operand, addr=addr, space=index)


def _one_row(operand, addr):
    return dataclasses.replace(operand, addr=addr, log2_rows=0)


def _last_row_ends(operand, width, space):
    """The operand moved so that `width` elements of its last row end where the memory does."""
    rows = dataclasses.replace(operand, addr=0, stride=BUILD.row_align)
    addr = BUILD.spaces[space] - rows.row((1 << rows.log2_rows) - 1) - width
    return dataclasses.replace(rows, addr=addr)


A = BUILD.row_align
V = 2  # sequences of `published_sample`

# Fields of the last instruction of its kind that are changed, and the error code that follows.
RULES = {
    "MODULATE": [
        (0, lambda i, p: {}),
        ("BAD_OPERAND", lambda i, p: {"src": _moved(i.src, 0, "head")}),
        ("BAD_OPERAND", lambda i, p: {"logit": _moved(i.logit, 0, "proj")}),
        ("BAD_OPERAND", lambda i, p: {"add": _moved(i.add, 0, "logit")}),
        ("BAD_OPERAND", lambda i, p: {"dst": _moved(i.dst, 0, "norm")}),
        ("BAD_OPERAND", lambda i, p: {"wide": 1}),
        ("BAD_OPERAND", lambda i, p: {"dst": i.src}),
        (0, lambda i, p: {"wide": 1, "dst": i.src}),
        (0, lambda i, p: {"wide": 1, "dst": i.add}),
        (0, lambda i, p: {"wide": 1, "dst": i.add, "src": i.add}),
        ("BAD_OPERAND", lambda i, p: {"wide": 1, "dst": _moved(i.src, i.src.addr + A)}),
        ("BAD_OPERAND", lambda i, p: {"wide": 1, "dst": _moved(i.add, i.add.addr + A)}),
        (
            "BAD_OPERAND",
            lambda i, p: {"wide": 1, "dst": i.add, "src": _moved(i.add, i.add.addr + A)},
        ),
        ("BAD_OPERAND", lambda i, p: {"wide": 1, "dst": _one_row(i.src, 0)}),
        (0, lambda i, p: {"wide": 1, "dst": _one_row(i.src, len(p.resid_image))}),
        ("BAD_OPERAND", lambda i, p: {"src": _moved(i.src, i.src.addr + 1)}),
        ("BAD_OPERAND", lambda i, p: {"add": dataclasses.replace(i.add, stride=1)}),
        (0, lambda i, p: {"logit": _last_row_ends(i.logit, A, "logit"), "columns": A - V}),
        (
            "BAD_OPERAND",
            lambda i, p: {"logit": _last_row_ends(i.logit, A, "logit"), "columns": A - V + 1},
        ),
        ("BAD_SHAPE", lambda i, p: {"n": 0}),
        ("BAD_SHAPE", lambda i, p: {"n_positions": 0}),
        ("BAD_SHAPE", lambda i, p: {"param_addr": len(p.vector_params)}),
        (0, lambda i, p: {"param_addr": len(p.vector_params) - 1}),
        ("BAD_SHAPE", lambda i, p: {"scale_table": len(p.vector_tables)}),
        ("BAD_SHAPE", lambda i, p: {"shift_table": len(p.vector_tables)}),
        ("BAD_OPERAND", lambda i, p: {"shift_table": 255, "n": 0, "columns": 65535}),
    ],
    "POOL_FEATURES": [
        (0, lambda i, p: {}),
        ("BAD_OPERAND", lambda i, p: {"src": _moved(i.src, 0, "norm")}),
        ("BAD_OPERAND", lambda i, p: {"dst": _moved(i.dst, 0, "conv_in")}),
        ("BAD_OPERAND", lambda i, p: {"dst": _moved(i.dst, 0, "resid")}),
        (0, lambda i, p: {"dst": _last_row_ends(i.dst, A, "norm"), "columns": A - V}),
        (
            "BAD_OPERAND",
            lambda i, p: {"dst": _last_row_ends(i.dst, A, "norm"), "columns": A - V + 1},
        ),
        ("BAD_OPERAND", lambda i, p: {"columns": 65535}),
        ("BAD_OPERAND", lambda i, p: {"n": 65535}),
        ("BAD_SHAPE", lambda i, p: {"n": 0}),
        ("BAD_SHAPE", lambda i, p: {"n_positions": 0}),
        (0, lambda i, p: {"param_addr": len(p.vector_params) - 2}),
        ("BAD_SHAPE", lambda i, p: {"param_addr": len(p.vector_params) - 1}),
    ],
    "SCAN": [
        (0, lambda i, p: {}),
        ("BAD_SHAPE", lambda i, p: {"skip_offset": i.skip_offset - 1}),
        (0, lambda i, p: {"skip_enable": 0, "skip_offset": 1}),
        (0, lambda i, p: {"skip_offset": 0}),
        (
            "BAD_OPERAND",
            lambda i, p: {"bc": _last_row_ends(i.bc, A, "proj"), "skip_offset": 0, "log2_state": 6},
        ),
        (0, lambda i, p: {"bc": _last_row_ends(i.bc, 3 * A, "proj"), "skip_offset": 2 * A}),
        (
            "BAD_OPERAND",
            lambda i, p: {"bc": _last_row_ends(i.bc, 3 * A, "proj"), "skip_offset": 3 * A},
        ),
        (
            "BAD_OPERAND",
            lambda i, p: {"bc": _last_row_ends(i.bc, 3 * A, "proj"), "skip_offset": 3 * A + 1},
        ),
        (0, lambda i, p: {"skip_enable": 0, "skip_offset": 65535}),
    ],
}


@pytest.fixture(scope="module")
def published_sample():
    """Its last MODULATE writes int8."""
    for seed in range(100):
        package = random_published(np.random.default_rng(seed), BUILD)
        if package.n_sequences == V:
            return package
    raise AssertionError("no seed gives that many sequences")


@pytest.mark.parametrize(
    ("opcode", "number"), [(k, n) for k, changes in RULES.items() for n in range(len(changes))]
)
def test_rules_of_the_published_instructions(loaders, published_sample, opcode, number):
    """Python and both builds give the code that each rule names, and accept what it just allows."""
    package = published_sample
    expected, change = RULES[opcode][number]
    index = max(i for i, k in enumerate(package.instructions) if k.opcode == opcode)
    instructions = list(package.instructions)
    fields = change(instructions[index], package)
    instructions[index] = isa.Instruction(opcode, {**instructions[index].fields, **fields})
    data = dataclasses.replace(package, instructions=tuple(instructions)).to_bytes()
    code = isa.ERRORS[expected] if expected else 0
    assert python_code(data) == code
    for name, loader in loaders.items():
        assert load(loader, data) == code, name


@pytest.mark.parametrize("opcode", ["MODULATE", "POOL_FEATURES", "SCAN"])
def test_reserved_bits(loaders, published_sample, opcode):
    """The first bit behind the fields is reserved, and the last one of the word."""
    package = published_sample
    index = max(i for i, k in enumerate(package.instructions) if k.opcode == opcode)
    used = sum(f.total_bits for f in isa.OPCODES[opcode].format.fields)
    for bit in (used, isa.INSTRUCTION_BITS - 1):
        raw = bytearray(package.to_bytes())
        start, _ = section_span(raw, NAMES.index("instructions"))
        raw[start + 64 * index + bit // 8] |= 1 << bit % 8
        data = with_checksums(raw)
        assert python_code(data) == isa.ERRORS["BAD_OPCODE"]
        for name, loader in loaders.items():
            assert load(loader, data) == isa.ERRORS["BAD_OPCODE"], name


@settings(max_examples=60)
@given(data=st.data())
def test_hostile_parameter_words(loaders, sample, data):
    """Any shift and bias of any word, also of one that no instruction uses."""
    name = data.draw(
        st.sampled_from(["array_params", "conv_params", "scan_params", "vector_params"])
    )
    words = getattr(sample.package, name)
    words = np.append(words, words[: data.draw(st.integers(0, 2))])
    at = data.draw(st.integers(0, len(words) - 1))
    words["shift"][at] = data.draw(st.sampled_from([0, 47, 48, 49, 63]))
    limit = data.draw(st.sampled_from([1 << 17, 1 << 30]))
    words["bias"][at] = data.draw(st.sampled_from([-1, 1])) * (
        limit - data.draw(st.integers(-1, 1))
    )
    changed = dataclasses.replace(sample.package, **{name: words})
    check_hostile(loaders, changed.to_bytes(), sample)


def test_what_lies_behind_a_section_is_not_checked(loaders, sample):
    """The last beat of an odd number of words holds half of another word."""
    words = sample.package.vector_params
    words = np.append(words, words[: 1 + len(words) % 2])
    assert len(words) % 2
    raw = bytearray(dataclasses.replace(sample.package, vector_params=words).to_bytes())
    _, end = section_span(raw, NAMES.index("vector_params"))
    raw[end : end + 8] = b"\xff" * 8
    assert python_code(bytes(raw)) == isa.ERRORS["BAD_SECTION"]  # a rule for files
    for loader in loaders.values():
        assert load(loader, bytes(raw)) == 0


PHASE_USED_BITS = sum(f.total_bits for f in isa.PHASE.fields)


@with_phases
@settings(max_examples=60)
@given(data=st.data())
def test_hostile_phases(loaders, sample, data):
    """Any value of any field of a phase; reserved bits."""
    raw = bytearray(sample.data)
    start, end = section_span(raw, NAMES.index("phases"))
    at = start + 32 * data.draw(st.integers(0, (end - start) // 32 - 1))
    field = data.draw(st.sampled_from([*isa.PHASE.fields, None]))
    if field is None:
        bit = data.draw(st.integers(PHASE_USED_BITS, isa.PHASE.bits - 1))
        replace_field(data, raw, at, 32, bit, 1)
    else:
        part = data.draw(st.integers(0, field.count - 1))
        replace_field(data, raw, at, 32, field.lsb + part * field.bits, field.bits)
    check_hostile(loaders, with_checksums(raw), sample)


# Fields of a phase of `many_sequences_package` that are changed, and the error code that follows.
PHASE_RULES = [
    (0, 0, {}),
    ("BAD_SHAPE", 0, {"entries": 0}),
    ("BAD_SHAPE", 2, {"repeats": 0}),
    ("BAD_SCHEDULE", 3, {"entries": 2}),
    ("BAD_SCHEDULE", 3, {"entries": 65535}),
    ("BAD_SCHEDULE", 0, {"entries": 2}),
    ("BAD_SCHEDULE", 0, {"repeats": 999}),
    ("BAD_SCHEDULE", 2, {"repeats": 901}),
    ("BAD_SCHEDULE", 3, {"repeats": 65535, "sequence_step": 0}),
    ("BAD_SCHEDULE", 0, {"sequence_step": 2}),
    ("BAD_SCHEDULE", 0, {"position_step": 1}),
    (0, 0, {"token_step": 17}),
    (0, 1, {"repeats": 2, "sequence_step": 999}),
    ("BAD_SCHEDULE", 1, {"repeats": 3, "sequence_step": 500}),
    (0, 1, {"repeats": 3, "sequence_step": 499}),
    (0, 1, {"repeats": 65535}),
    ("BAD_SCHEDULE", 1, {"repeats": 65535, "position_step": 4095}),
    ("BAD_SCHEDULE", 1, {"unit_entries": [0, 1, 1, 0, 0, 0]}),
    ("BAD_SCHEDULE", 0, {"unit_entries": [2, 1, 1, 0, 0, 0]}),
    ("BAD_SCHEDULE", 1, {"unit_entries": [0, 0, 0, 0, 0, 0]}),
]


def check_code(loaders, data, expected):
    code = isa.ERRORS[expected] if expected else 0
    assert python_code(data) == code
    for name, loader in loaders.items():
        assert load(loader, data) == code, name


@pytest.mark.parametrize(("n", "expected"), [(1024, 0), (1025, "BAD_SCHEDULE")])
def test_an_entry_names_1024_sequences(loaders, n, expected):
    check_code(loaders, many_sequences_package(n).to_bytes(), expected)


@pytest.mark.parametrize(("expected", "index", "fields"), PHASE_RULES)
def test_rules_of_phases(loaders, expected, index, fields):
    package = many_sequences_package()
    phases = package.phases.copy()
    for name, value in fields.items():
        phases[name][index] = value
    check_code(loaders, dataclasses.replace(package, phases=phases).to_bytes(), expected)


def test_number_of_phases(loaders):
    package = many_sequences_package()
    limit = BUILD.capacity["phases"]
    for n, expected in ((0, "BAD_SCHEDULE"), (limit, 0), (limit + 1, "BAD_SECTION")):
        # Each phase more repeats the one of the second LINEAR.
        phases = package.phases[[0, *[1] * (n - 3), 2, 3] if n else []]
        entries = package.schedule[[0, 1, 2, *[3] * (n - 3), 4, 5] if n else []]
        changed = dataclasses.replace(package, phases=phases, schedule=entries)
        check_code(loaders, changed.to_bytes(), expected)


@pytest.mark.parametrize("bit", [PHASE_USED_BITS, isa.PHASE.bits - 1])
def test_reserved_bits_of_a_phase(loaders, bit):
    raw = bytearray(many_sequences_package().to_bytes())
    start, _ = section_span(raw, NAMES.index("phases"))
    raw[start + 32 + bit // 8] |= 1 << bit % 8
    check_code(loaders, with_checksums(raw), "BAD_SHAPE")


@settings(max_examples=60)
@given(data=st.data())
def test_hostile_schedule(loaders, sample, data):
    """Any value of any field of an entry."""
    raw = bytearray(sample.data)
    start, end = section_span(raw, NAMES.index("schedule"))
    at = data.draw(st.integers(0, (end - start) // 16 - 1))
    field = data.draw(st.sampled_from(isa.SCHEDULE.fields))
    replace_field(data, raw, start + 16 * at, 16, field.lsb, field.bits)
    check_hostile(loaders, with_checksums(raw), sample)


@settings(max_examples=100)
@given(data=st.data())
def test_hostile_bits_of_sections(loaders, sample, data):
    """A few flipped bits in any section but the metadata, with the CRCs made right again."""
    raw = bytearray(sample.data)
    index = data.draw(st.integers(0, len(NAMES) - 2))
    start, end = section_span(raw, index)
    for _ in range(data.draw(st.integers(1, 3))):
        bit = data.draw(st.integers(8 * start, 8 * end - 1))
        raw[bit // 8] ^= 1 << bit % 8
    check_hostile(loaders, with_checksums(raw), sample)


@settings(max_examples=100)
@given(data=st.data())
def test_hostile_header(loaders, sample, data):
    """Bytes of the header replaced, its CRC and those of the sections made right again."""
    raw = bytearray(sample.data)
    for _ in range(data.draw(st.integers(1, 2))):
        raw[data.draw(st.integers(0, 251))] = data.draw(st.sampled_from([0, 1, 16, 64, 255]))
    check_hostile(loaders, with_checksums(raw), sample, file_rules=True)


@settings(max_examples=60)
@given(data=st.data())
def test_wrong_checksums(loaders, sample, data):
    """A flipped bit of header or section that nobody made right again."""
    raw = bytearray(sample.data)
    index = data.draw(st.integers(-1, len(NAMES) - 1))
    start, end = (0, 256) if index < 0 else section_span(raw, index)
    bit = data.draw(st.integers(8 * start, 8 * end - 1))
    raw[bit // 8] ^= 1 << bit % 8
    assert python_code(bytes(raw)) != 0
    check_hostile(loaders, bytes(raw), sample)


@settings(max_examples=60)
@given(length=st.integers(0, 4096))
@example(0)
@example(4)
@example(255)
@example(256)
def test_truncated_package(loaders, sample, length):
    raw = sample.data[:length]
    check_hostile(loaders, raw, sample, file_rules=True)


@settings(max_examples=60)
@given(noise=st.binary(max_size=600), start=st.sampled_from([0, 4, 40]))
def test_random_bytes(loaders, sample, noise, start):
    """Noise, alone and behind the beginning of a right header."""
    raw = sample.data[:start] + noise
    check_hostile(loaders, raw, sample, file_rules=True)
    if len(raw) >= 256:
        check_hostile(loaders, with_checksums(raw), sample, file_rules=True)


def test_error_names_code():
    with pytest.raises(AcceleratorError, match="BAD_MAGIC: package of 3 bytes") as caught:
        Accelerator(b"abc")
    assert caught.value.code == isa.ERRORS["BAD_MAGIC"]
    assert caught.value.code_name == "BAD_MAGIC"
