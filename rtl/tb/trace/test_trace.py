"""trace: right and wrong traces, made from the tensors of the integer model."""

import numpy as np
import pytest

import isa
from golden.random_programs import random_package, random_phased, random_published
from rtl.tb import trace

BUILD = isa.build("small")
ITERATIONS = 3


def word_lines(cycle, image, space, first, count):
    """The W lines that write elements of a memory."""
    align = BUILD.row_align
    size = image.itemsize
    for word in range(first // align, -(-(first + count) // align)):
        inside = range(max(first, word * align), min(first + count, (word + 1) * align))
        mask = sum(1 << (e - word * align) for e in inside)
        data = int.from_bytes(image[word * align : (word + 1) * align].tobytes(), "little")
        # What the mask leaves out is of no account.
        noise = (1 << 8 * size * align) - 1
        for e in inside:
            noise &= ~(((1 << 8 * size) - 1) << 8 * size * (e - word * align))
        yield f"W {cycle} {space} {word} {mask:x} {data | noise:x}"


def right_trace(package, tensors):
    """Lines of a run that executes the phases one entry after the other."""
    images = trace.Memories(BUILD).spaces
    resid = isa.SPACES["resid"].index
    images[resid][: len(package.resid_image)] = package.resid_image
    lines = list(word_lines(5, images[resid], resid, 0, len(package.resid_image)))
    lines.append("R 100")
    cycle = 100
    for iteration in range(ITERATIONS):
        for entry in package.executed():
            instruction = package.instructions[entry["instruction"]]
            cycle += 3
            place = " ".join(str(entry[f]) for f in ("token", "position", "sequence"))
            lines.append(f"S {cycle} {instruction.unit} {place}")
            for r in trace.results(instruction, entry):
                if instruction.opcode == "SEND":
                    continue
                values = r.golden(tensors[entry["instruction"]], iteration)
                images[r.space][r.start : r.start + r.count] = values
                lines += word_lines(cycle + 1, images[r.space], r.space, r.start, r.count)
            lines.append(f"D {cycle + 2} {instruction.unit}")
    lines.append(f"E {cycle + 3} 0")
    return lines


class Sample:
    def __init__(self, seed, program=random_package):
        rng = np.random.default_rng(seed)
        self.package = p = program(rng, BUILD)
        shape = (ITERATIONS, p.n_sequences, p.n_positions, p.token_bytes)
        self.tokens = rng.integers(-128, 128, shape, dtype=np.int8)
        self.tensors = trace.golden_tensors(p, self.tokens, BUILD)
        self.lines = right_trace(p, self.tensors)

    def find(self, opcode, kind, count=0):
        """Index of the count-th line of a kind that belongs to an entry of an opcode."""
        entries, seen = trace.Entries(self.package), [0] * len(isa.UNITS)
        at = None
        for number, line in enumerate(self.lines):
            words = line.split()
            if words[0] == "S":
                unit = int(words[2])
                _, index = entries.at(unit, seen[unit])
                seen[unit] += 1
                at = entries.executed["instruction"][index]
            if words[0] == kind and at is not None:
                found = self.package.instructions[at].opcode == opcode
                if found and count == 0:
                    return number
                count -= found
        raise AssertionError(f"no {kind} of {opcode}")


@pytest.fixture(scope="module", params=[1, 2, 3])
def sample(request):
    return Sample(request.param)


@pytest.fixture(scope="module")
def published():
    return Sample(1, random_published)


@pytest.fixture(scope="module")
def phased():
    return Sample(1, random_phased)


def read(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return trace.TraceReader(path).runs()


def check(sample, path, lines, complete=True):
    (run,) = read(path, lines)
    return trace.compare(sample.package, run, sample.tensors, trace.Memories(BUILD), complete)


def test_right_trace(sample, published, phased, tmp_path):
    for right in (sample, published, phased):
        report = check(right, tmp_path / "t", right.lines)
        assert report.errors == [] and report.mismatches == 0
        assert report.tensors == len(right.tensors)
        assert "are equal" in str(report)
    assert check(sample, tmp_path / "t", sample.lines).values == sum(t.size for t in sample.tensors)


@pytest.mark.parametrize("opcode", isa.OPCODES)
def test_flipped_bit(sample, published, tmp_path, opcode):
    """One bit of one word that an entry writes: named by instruction, token and channel."""
    if opcode not in {instruction.opcode for instruction in sample.package.instructions}:
        sample = published
    # SEND shows what the array has written.
    at = sample.find("LINEAR" if opcode == "SEND" else opcode, "W", 1)
    kind, cycle, space, word, mask, data = sample.lines[at].split()
    lane = int(mask, 16).bit_length() - 1
    bits = isa.SPACES[isa.SPACE_NAMES[int(space)]].bits
    lines = list(sample.lines)
    flipped = int(data, 16) ^ 1 << lane * bits
    lines[at] = f"{kind} {cycle} {space} {word} {mask} {flipped:x}"
    report = check(sample, tmp_path / "t", lines)
    assert report.mismatches >= 1
    number = int(report.errors[0].split()[1])
    instruction = sample.package.instructions[number]
    assert f"instruction {number} {instruction.opcode}" in report.errors[0]
    words = report.errors[0].replace(",", "").replace(":", "").replace("(", "").split()
    where = {name: int(words[words.index(name) + 1]) for name in ("iteration", "token", "channel")}
    expected = sample.tensors[number][where["iteration"], where["token"], where["channel"]]
    got = int(words[words.index("got") + 1])
    assert int(words[words.index("expected") + 1]) == expected
    assert got == expected ^ 1


def test_wrong_golden_tensor(sample, tmp_path):
    (run,) = read(tmp_path / "t", sample.lines)
    for number, tensor in enumerate(sample.tensors):
        tensors = [t.copy() for t in sample.tensors]
        index = tuple(np.array(tensor.shape) - 1)
        tensors[number][index] ^= 4
        report = trace.compare(sample.package, run, tensors, trace.Memories(BUILD))
        assert report.mismatches == 1
        (error,) = report.errors
        assert error.startswith(f"instruction {number} ")
        iteration, token, channel = index
        assert f"iteration {iteration}, token {token}, channel {channel}, " in error
        assert f"(1 of {tensor.size} values differ)" in error


def test_missing_write(sample, tmp_path):
    at = sample.find("NORM", "W")
    lines = sample.lines[:at] + sample.lines[at + 1 :]
    report = check(sample, tmp_path / "t", lines)
    assert report.mismatches > 0 and "NORM" in report.errors[0]


def test_completed_before_written(sample, tmp_path):
    """Results that come after their entry's completion are as wrong as none."""
    written, done = sample.find("CONV", "W"), sample.find("CONV", "D")
    lines = list(sample.lines)
    lines.insert(written, lines.pop(done))
    report = check(sample, tmp_path / "t", lines)
    assert "CONV" in report.errors[0]


@pytest.mark.parametrize("kind", ["S", "D"])
@pytest.mark.parametrize("opcode", ["LINEAR", "SCAN", "SEND"])
def test_missing_entry(sample, tmp_path, kind, opcode):
    at = sample.find(opcode, kind, 1 if opcode == "LINEAR" else 0)
    report = check(sample, tmp_path / "t", sample.lines[:at] + sample.lines[at + 1 :])
    unit = isa.UNITS[isa.OPCODES[opcode].unit]
    what = "started" if kind == "S" else "completed"
    assert any(e.startswith(f"{unit}: expected ") and what in e for e in report.errors)


def test_trace_that_stops(sample, tmp_path):
    """A run that ended early: what is there is compared, and what is missing is named."""
    half = len(sample.lines) // 2
    lines = [*sample.lines[:half], f"E 999999 {isa.ERRORS['TIMEOUT']}"]
    report = check(sample, tmp_path / "t", lines)
    assert report.mismatches == 0 and report.values > 0
    assert all("the first that is missing is" in error for error in report.errors[:10])
    assert check(sample, tmp_path / "t", lines, complete=False).errors == []


def test_wrong_order(tmp_path):
    """Two tokens of an instruction change places."""
    sample = next(s for s in map(Sample, range(1, 20)) if s.package.n_positions > 1)
    lines = list(sample.lines)
    a, b = sample.find("NORM", "S"), sample.find("NORM", "S", 1)
    lines[a], lines[b] = (
        " ".join([*lines[x].split()[:2], *lines[y].split()[2:]]) for x, y in ((a, b), (b, a))
    )
    report = check(sample, tmp_path / "t", lines)
    assert any(e.startswith("vector, iteration 0, entry") for e in report.errors)


def test_extra_entry(sample, tmp_path):
    lines = list(sample.lines)
    lines[-1:] = ["S 999998 1 0 0 0", "D 999999 1", lines[-1]]
    report = check(sample, tmp_path / "t", lines)
    assert any("completes more than 3 iterations" in e for e in report.errors)


def test_completion_without_start(sample, tmp_path):
    lines = list(sample.lines)
    lines[sample.find("RECV", "D")] = f"D {sample.lines[sample.find('RECV', 'S')].split()[1]} 0"
    at = sample.find("RECV", "S")
    lines[at] = lines[at].replace("S 10", "S 9999910")
    report = check(sample, tmp_path / "t", lines)
    assert any("stream_in completes an entry that it has not started" in e for e in report.errors)


def test_timeline(sample, tmp_path):
    (run,) = read(tmp_path / "t", sample.lines)
    start, done = trace.timeline(sample.package, run, ITERATIONS)
    assert start.shape == (ITERATIONS, len(sample.package.executed()))
    np.testing.assert_array_equal(done, start + 2)
    np.testing.assert_array_equal(start.ravel(), 3 * np.arange(start.size) + 3)
    more, _ = trace.timeline(sample.package, run, ITERATIONS + 1)
    assert (more[-1] == -1).all()


def test_reading_goes_on(sample, tmp_path):
    """Several runs in one file that grows, also in the middle of a line; memories are kept."""
    path = tmp_path / "t"
    reader = trace.TraceReader(path)
    assert reader.runs() == []
    first = "\n".join(sample.lines) + "\n"
    again = "\n".join(line for line in sample.lines if not line.startswith("W 5 ")) + "\n"
    path.write_text(first[:-3])
    assert reader.runs() == [] and reader.last() is not None
    path.write_text(first + again)
    runs = reader.runs()
    assert len(runs) == 2 and reader.last() is None
    memories = trace.Memories(BUILD)
    for run in runs:
        assert trace.compare(sample.package, run, sample.tensors, memories).errors == []


def test_reset_in_a_run(sample, tmp_path):
    """A run without an end is given up for the next one, but not what it has written."""
    half = sample.lines[: len(sample.lines) // 2]
    again = [line for line in sample.lines if not line.startswith("W 5 ")]
    assert check(sample, tmp_path / "t", half + again).errors == []


def test_broken_lines(tmp_path):
    for line in ("X 1", "S 1 9 0 0 0", "S 1 2", "W 1 2 3", "R", "E 1", "W a 0 0 1 1", "D 3 7", ""):
        with pytest.raises(trace.TraceError, match=r"line 2: expected an event, found"):
            read(tmp_path / "t", ["R 1", line, "E 2 0"])
    with pytest.raises(trace.TraceError, match="line 1"):
        read(tmp_path / "t", ["D 1 0"])
    memories = trace.Memories(BUILD)
    for space, word in ((11, 0), (0, BUILD.spaces["patch"] // BUILD.row_align)):
        with pytest.raises(trace.TraceError, match=f"no word {word} in memory {space}"):
            memories.write(trace.Write(1, space, word, 1, 1))


def test_command(sample, tmp_path, capsys):
    package, path = tmp_path / "package.bin", tmp_path / "trace.txt"
    sample.package.write(package)
    path.write_text("\n".join(sample.lines) + "\n")
    assert trace.main([str(package), str(path)]) == 0
    assert f"{len(sample.tensors)} tensors" in capsys.readouterr().out
    path.write_text("\n".join(sample.lines[:-1]) + "\n")
    assert trace.main([str(package), str(path)]) == 1
    assert "did not end" in capsys.readouterr().out
    at = sample.find("SCALE", "W")
    path.write_text("\n".join(sample.lines[:at] + sample.lines[at + 1 :]) + "\n")
    assert trace.main([str(package), str(path)]) == 1
    assert "SCALE" in capsys.readouterr().out
    for broken in ("R 1\nE 2 0\n", "nonsense\n", ""):
        path.write_text(broken)
        assert trace.main([str(package), str(path)]) == 2
        assert "error: " in capsys.readouterr().err
