"""The csim testbench on golden folders: right ones pass, and every kind of damage is reported."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import isa
from golden.random_programs import (
    many_rows_package,
    random_package,
    random_phased,
    random_published,
)
from golden.vectors import write_golden
from isa.package import Package

CSIM = Path(__file__).resolve().parents[1] / "build/csim"
N_FORECASTS = 2


def csim(*arguments, variant="native", build="default"):
    binary = CSIM / build / variant
    assert binary.is_file(), f"{binary} does not exist; `make {binary}` builds it"
    return subprocess.run(
        [binary, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def write_folder(folder, package):
    """A golden folder of the package, with random tokens."""
    shape = (package.n_sequences, package.n_positions, package.token_bytes)
    n_iterations = package.iterations * N_FORECASTS
    tokens = np.random.default_rng(0).integers(-128, 128, (n_iterations, *shape), dtype=np.int8)
    write_golden(folder, package, tokens)
    return folder


@pytest.fixture(scope="module", params=[random_package, random_published])
def golden(request, tmp_path_factory):
    """A golden folder of a random program."""
    package = request.param(np.random.default_rng(11), "default")
    return write_folder(tmp_path_factory.mktemp("golden") / "random", package)


@pytest.fixture
def broken(golden, tmp_path):
    """A copy of the folder, to be broken."""
    return Path(shutil.copytree(golden, tmp_path / "broken"))


def tensor(folder, index):
    """(file, name, opcode, array [n_iterations, rows, n]) of an instruction."""
    line = (folder / "manifest.txt").read_text().splitlines()[2 + index].split()
    _, opcode, name, file, rows, n, dtype = line
    values = np.fromfile(folder / file, np.dtype(dtype).newbyteorder("<"))
    return folder / file, name, opcode, values.reshape(-1, int(rows), int(n))


@pytest.mark.parametrize("golden", [random_package, random_published, random_phased], indirect=True)
@pytest.mark.parametrize("variant", ["ap", "native", "native-dependences"])
def test_right_folder_passes(golden, variant):
    result = csim(golden, golden, variant=variant)
    assert result.returncode == 0, result.stdout
    head, first, second, last = result.stdout.splitlines()
    assert head.split() == ["package", "tensors", "values", "mismatches", "seconds"]
    package = Package.read(golden / "package.bin")
    arrays = [tensor(golden, i)[3] for i in range(len(package.instructions))]
    forecast_bytes = (golden / "forecast.bin").stat().st_size
    # Every tensor once, and the output of both runs.
    values = sum(array.size for array in arrays) + 2 * forecast_bytes // 2
    for line in (first, second):
        name, tensors, compared, mismatches, _, verdict = line.split()
        assert name == str(golden)
        assert [int(tensors), int(compared), int(mismatches)] == [len(arrays), values, 0]
        assert verdict == "ok"
    assert last == "2 passed, 0 failed"


def with_wait(folder, unit, wait):
    """Gives the first LINEAR of the folder's program another wait for a unit."""
    package = Package.read(folder / "package.bin")
    schedule = package.schedule.copy()
    is_linear = [package.instructions[i].opcode == "LINEAR" for i in schedule["instruction"]]
    schedule["wait"][is_linear.index(True), isa.UNITS.index(unit)] = wait
    package = dataclasses.replace(package, schedule=schedule)
    (folder / "package.bin").write_bytes(package.to_bytes())


@pytest.mark.parametrize("variant", ["ap", "native"])
def test_orders_of_the_processes(golden, broken, variant):
    """A right folder passes in every order, a wait that is too short fails in some, and one that is
    never met in all."""
    result = csim("--orders", 3, golden, variant=variant)
    assert result.returncode == 0, result.stdout
    with_wait(broken, "stream_in", -(2**13))
    result = csim("--orders", 10, broken, variant=variant)
    assert result.returncode == 1
    assert re.search(r"order \d+.* expected -?\d+, got -?\d+", result.stdout)
    with_wait(broken, "scan", 8000)
    result = csim("--orders", 1, broken, variant=variant)
    assert result.returncode == 1
    assert f"order 1: expected error code 0, got {isa.ERRORS['TIMEOUT']}" in result.stdout
    for run in ("run_forecasts", "order 1"):
        assert re.search(
            rf"{run}: standstill: .*array waits for 8000 completed entries of scan, "
            "of which there are 0",
            result.stdout,
        )


def test_a_short_wait_breaks_a_dependence_that_is_declared_false(golden, broken):
    """The array reads what RECV has just written, before dispatch has seen that it has arrived."""
    result = csim("--orders", 1, golden, variant="native-dependences")
    assert (result.returncode, result.stderr) == (0, "")
    with_wait(broken, "stream_in", -(2**13))
    result = csim(broken, variant="native-dependences")
    assert result.returncode == 1
    assert re.search(
        r"array\.cpp:\d+: error: the dependence of 'patch' is not false: a step reads byte \d+, "
        r"which the step \d+ before it has written, and no other process has answered since",
        result.stderr,
    )


@pytest.mark.parametrize("arguments", [[], ["--orders"], ["--orders", "0", "x"], ["--other", "x"]])
def test_wrong_usage(arguments):
    result = csim(*arguments)
    assert result.returncode == 2 and result.stderr.startswith("usage: csim")


@pytest.mark.parametrize("variant", ["ap", "native"])
def test_other_build(tmp_path, variant):
    folder = write_folder(tmp_path / "rows", many_rows_package())
    result = csim(folder, variant=variant, build="large")
    assert result.returncode == 1
    assert f"load_package: expected error code 0, got {isa.ERRORS['BAD_OPERAND']}" in result.stdout
    result = csim(folder, variant=variant)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("variant", ["ap", "native"])
def test_flipped_bit_of_each_tensor(golden, broken, variant):
    """The report names instruction, token, channel, expected and got."""
    rng = np.random.default_rng(0)
    package = Package.read(golden / "package.bin")
    # With AMD's types one tensor has to do.
    for index in range(len(package.instructions)) if variant == "native" else [7]:
        file, name, opcode, right = tensor(golden, index)
        at = tuple(int(rng.integers(n)) for n in right.shape)
        wrong = right.copy()
        wrong[at] ^= np.int8(1) << np.int8(rng.integers(8))
        wrong.tofile(broken / file.relative_to(golden))
        result = csim(broken, variant=variant)
        assert result.returncode == 1
        iteration, row, channel = at
        assert (
            f'FAILED {broken}: instruction {index} {opcode} "{name}", iteration {iteration}, '
            f"token {row}, channel {channel}: expected {wrong[at]}, got {right[at]} "
            f"(1 of {right.size} values differ)"
        ) in result.stdout.splitlines()
        assert result.stdout.splitlines()[-1] == "0 passed, 1 failed"
        right.tofile(broken / file.relative_to(golden))
    assert csim(broken).returncode == 0


def test_first_wrong_instruction_comes_first(golden, broken):
    """A weight that is not the golden one: the first line names the instruction that uses it."""
    package = Package.read(golden / "package.bin")
    index = next(
        i
        for i, instruction in enumerate(package.instructions)
        if instruction.opcode == "LINEAR" and not instruction.wide and not instruction.reduce
    )
    instruction = package.instructions[index]
    weights = package.weights.copy()
    weights[instruction.weight_addr, 0] ^= 0x55
    dataclasses.replace(package, weights=weights).write(broken / "package.bin")
    result = csim(broken)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    name = package.instruction_name(index)
    assert lines[0].startswith(f'FAILED {broken}: instruction {index} LINEAR "{name}", iteration 0')
    # Others follow from it, a few of them in full.
    assert 2 <= len([x for x in lines if x.startswith("FAILED")]) <= 15


def test_wrong_forecast(golden, broken):
    forecast = np.fromfile(golden / "forecast.bin", "<i2")
    wrong = forecast.copy()
    wrong[-1] ^= 4
    wrong.tofile(broken / "forecast.bin")
    result = csim(broken)
    assert result.returncode == 1
    package = Package.read(golden / "package.bin")
    place = (
        f"iteration {package.iterations * N_FORECASTS - 1}, sequence {package.n_sequences - 1}, "
        f"channel {package.forecast_elements - 1}: expected {wrong[-1]}, got {forecast[-1]} "
        f"(1 of {forecast.size} values differ)"
    )
    for run in ("run_forecasts", "cmamba_top"):
        assert f"FAILED {broken}: {run}, m_axis, {place}" in result.stdout
    assert "\n0 passed, 1 failed" in result.stdout


def test_wrong_input(golden, broken):
    tokens = np.fromfile(golden / "input.bin", np.int8)
    tokens[0] ^= 1
    tokens.tofile(broken / "input.bin")
    result = csim(broken)
    assert result.returncode == 1
    assert 'instruction 0 RECV "' in result.stdout.splitlines()[0]
    assert "iteration 0, token 0, channel 0: expected" in result.stdout.splitlines()[0]


def test_outputs_only(broken):
    """Without a trace (C/RTL co-simulation) the tensors do not matter, the forecast does."""
    file, *_, values = tensor(broken, 3)
    (values ^ 1).tofile(file)
    assert csim(broken).returncode == 1
    assert csim("--outputs-only", broken).returncode == 0
    forecast = np.fromfile(broken / "forecast.bin", "<i2") ^ 1
    forecast.tofile(broken / "forecast.bin")
    assert csim("--outputs-only", broken).returncode == 1


@pytest.mark.parametrize(
    "file", ["package.bin", "input.bin", "forecast.bin", "manifest.txt", "tensors/004.bin"]
)
def test_missing_file(broken, file):
    (broken / file).unlink()
    result = csim(broken)
    assert result.returncode == 1
    assert f"FAILED {broken}: {broken / file}: cannot be opened" in result.stdout


@pytest.mark.parametrize("file", ["input.bin", "forecast.bin", "tensors/004.bin"])
@pytest.mark.parametrize("change", [-1, 1])
def test_wrong_size(broken, file, change):
    data = (broken / file).read_bytes()
    (broken / file).write_bytes(data[:change] if change < 0 else data + b"\0")
    result = csim(broken)
    assert result.returncode == 1
    assert (
        f"{broken / file}: expected {len(data)} bytes, found {len(data) + change}" in result.stdout
    )


def test_refused_package(golden, broken):
    data = (golden / "package.bin").read_bytes()
    for wrong, code in ((b"X" + data[1:], "BAD_MAGIC"), (data[:-100], "BAD_SECTION")):
        (broken / "package.bin").write_bytes(wrong)
        result = csim(broken)
        assert result.returncode == 1
        expected = f"load_package: expected error code 0, got {isa.ERRORS[code]}"
        assert f"FAILED {broken}: {expected}" in result.stdout
        assert f"cmamba_top, mode 0x1: expected error code 0, got {isa.ERRORS[code]}" in (
            result.stdout
        )
    (broken / "package.bin").write_bytes(data[:100])
    assert "expected a header of 256 bytes, found 100" in csim(broken).stdout


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "cmamba-golden 2", 'line 1: expected "cmamba-golden 1", found "cmamba-golden 2"'),
        (2, "n_forecasts 0", 'line 2: expected .* found "n_forecasts 0"'),
        (2, "n_forecasts x", "line 2: expected"),
        (2, "", "line 2: expected"),
        (3, "0 RECV a tensors/000.bin 1", 'line 3: expected "index opcode name file rows n dtype'),
        (3, "0 RECV a tensors/000.bin 1 1 int8 x", "line 3: expected"),
        (3, "1 RECV a tensors/000.bin 1 1 int8", "line 3: expected index 0, found 1"),
        (3, "0 RECV a tensors/000.bin 1 1 int32", "line 3: expected dtype int8 or int16"),
        (3, "0 RECV a ../x 1 1 int8", "line 3: expected a file inside the folder"),
        (3, "0 RECV a /etc/passwd 1 1 int8", "line 3: expected a file inside the folder"),
        (3, "0 RECV a tensors/000.bin 99999999999 99999999999 int8", "expected at most"),
        (3, "0 RECV a tensors 1 1 int8", "tensors: "),
        (3, "0 RECV a tensors/000.bin 1 1 int8", "tensors/000.bin: expected . bytes"),
        (None, "", "expected a line for each of the package's"),
    ],
)
def test_broken_manifest(broken, line, text, message):
    lines = (broken / "manifest.txt").read_text().splitlines()
    if line is None:
        lines.pop()
    else:
        lines[line - 1] = text
    (broken / "manifest.txt").write_text("\n".join(lines) + "\n")
    result = csim(broken)
    assert result.returncode == 1
    assert re.search(message, result.stdout), result.stdout
    assert "0 passed, 1 failed" in result.stdout


def test_row_of_another_size(golden, broken):
    """A manifest whose tensor has the right number of values in another shape."""
    lines = (broken / "manifest.txt").read_text().splitlines()
    words = lines[2].split()
    rows, n = int(words[4]), int(words[5])
    words[4:6] = str(n), str(rows)
    lines[2] = " ".join(words)
    (broken / "manifest.txt").write_text("\n".join(lines) + "\n")
    assert rows != n
    result = csim(broken)
    assert result.returncode == 1
    assert f"expected a row of {rows} elements below row {n}, got row 0 of {n} elements" in (
        result.stdout
    )


def test_other_folders_are_still_run(golden, broken):
    (broken / "input.bin").unlink()
    result = csim(broken, golden)
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "1 passed, 1 failed"


def test_no_folder():
    result = csim()
    assert result.returncode == 2
    assert result.stderr.startswith("usage: csim")
