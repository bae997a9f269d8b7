"""Which build a package runs on, and which golden folders `make csim` gives to each."""

import dataclasses
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

import isa
from golden.random_programs import many_rows_package, random_package
from golden.vectors import write_golden
from isa import fitting as builds
from isa.errors import PackageError
from isa.fitting import build_of_folder, fitting_build
from rtl.synth.resources import AROUND, DEVICE, targets

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def packages():
    """By name: of each array, and one that `large` has too few rows for."""
    rng = np.random.default_rng(3)
    return {
        "default": random_package(rng, "default"),
        "rows": many_rows_package(),
        "small": random_package(rng, "small"),
    }


@pytest.fixture
def folders(packages, tmp_path):
    """Golden folders of the same names, as far as the choice of a build reads them."""
    for name, package in packages.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "package.bin").write_bytes(package.to_bytes())
    return tmp_path


def test_the_first_build_that_holds_a_package(packages):
    expected = {"default": "default", "rows": "default", "small": "small"}
    assert {name: fitting_build(package) for name, package in packages.items()} == expected
    assert not builds.fits(packages["rows"], "large") and builds.fits(packages["rows"], "deep")


def test_a_build_that_is_like_another():
    """It has that one's numbers but for its own, at any depth."""
    default, large, deep = (isa.build(name) for name in ("default", "large", "deep"))
    capacity = {**default.capacity, "weights": 2816, "schedule": 4096, "vector_tables": 8}
    assert deep == dataclasses.replace(default, name="deep", doc=deep.doc, capacity=capacity)
    assert large.spaces == {**default.spaces, "conv": 4096, "proj": 2048, "resid": 8192}
    assert large.tile_macs == default.tile_macs


@pytest.mark.parametrize("name", ["default", "deep", "large", "wide"])
def test_the_price_of_a_build(name):
    """It is below the build's target, and the same in builds.toml and docs/architecture.md."""
    build = isa.build(name)
    price = float(re.search(r"; ([\d.]+) block RAMs$", build.doc)[1])
    share = (price + AROUND.bram) / DEVICE.bram
    assert share <= targets(name)["bram"]
    line = f"| `{name}` | {build.capacity['weights']:,} tiles |"
    rows = (ROOT / "docs/architecture.md").read_text().splitlines()
    (row,) = (row for row in rows if row.startswith(line))
    assert row.endswith(f"| {price} | {100 * share:.1f} % |")


def test_package_of_no_build(packages):
    """The error is what is wrong for the first build."""
    first, *others = packages["rows"].instructions[::-1]
    assert first.opcode == "SEND"
    wrong = isa.Instruction("SEND", {**first.fields, "n": 0})
    broken = dataclasses.replace(packages["rows"], instructions=(*others[::-1], wrong))
    with pytest.raises(PackageError) as in_default:
        broken.validate("default")
    with pytest.raises(PackageError) as in_large:
        broken.validate("large")
    with pytest.raises(PackageError) as found:
        fitting_build(broken, "odd.bin")
    assert found.value.code_name == in_default.value.code_name != in_large.value.code_name
    assert found.value.detail == f"odd.bin: {in_default.value.detail}"


def test_package_of_no_build_is_judged_by_one_with_its_array(packages):
    first, *others = packages["small"].instructions[::-1]
    wrong = isa.Instruction("SEND", {**first.fields, "n": 0})
    broken = dataclasses.replace(packages["small"], instructions=(*others[::-1], wrong))
    with pytest.raises(PackageError) as in_small:
        broken.validate("small")
    with pytest.raises(PackageError, match="BAD_TILE"):
        broken.validate("default")
    with pytest.raises(PackageError) as found:
        fitting_build(broken, "odd.bin")
    assert found.value.detail == f"odd.bin: {in_small.value.detail}"


def test_folders_without_a_right_package_go_to_the_first_build(folders):
    assert build_of_folder(folders / "nothing") == "default"
    (folders / "small/package.bin").write_bytes(b"noise")
    assert build_of_folder(folders / "small") == "default"


NAMES = ("small", "rows", "nothing", "default")


def listed(folders, capsys, *arguments):
    """What the command prints for all folders: of each build the names."""
    assert builds.main([*arguments, *(str(folders / name) for name in NAMES)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    return {build: [Path(path).name for path in paths] for build, *paths in lines}


def test_command_line_lists_the_builds_that_are_needed(folders, capsys):
    assert listed(folders, capsys) == {"default": list(NAMES[1:]), "small": ["small"]}
    assert builds.main([str(folders / "small")]) == 0
    assert capsys.readouterr().out == f"small {folders / 'small'}\n"


def test_command_line_lists_all_that_a_build_holds(folders, capsys):
    """Also what another one is the first to hold; what is broken is for who runs it to refuse."""
    for build, expected in {
        "default": ["rows", "nothing", "default"],
        "large": ["nothing", "default"],
        "small": ["small", "nothing"],
    }.items():
        assert listed(folders, capsys, "--build", build) == {build: expected}
    assert builds.main(["--build", "small", *(str(folders / name) for name in NAMES)]) == 0
    left_out = f"{folders / 'rows'} {folders / 'default'}"
    assert capsys.readouterr().err == f"build small does not hold {left_out}\n"


def test_command_line_without_a_package_fails(folders, capsys):
    assert builds.main(["--build", "small", str(folders / "rows")]) == 1
    found = capsys.readouterr()
    assert (found.out, found.err.splitlines()[-1]) == ("", "no package for build small")
    assert builds.main([]) == 1
    assert capsys.readouterr().err == "no package for any build\n"
    with pytest.raises(SystemExit) as exit_:
        builds.main(["--build", "huge", str(folders / "rows")])
    assert exit_.value.code == 2
    assert "invalid choice: 'huge'" in capsys.readouterr().err


def make(*arguments):
    """make in the checkout, where build/golden is as it is, whatever its age."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "-o", "build/golden/.current", *arguments],
        **{"cwd": ROOT, "env": kept, "capture_output": True, "text": True, "timeout": 300},
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("csim", "BUILD=small", "GOLDEN={}/rows"),
        ("csim", "HLS=vitis", "GOLDEN={}/small"),
        ("sim", "BUILD=small", "PACKAGE=../../{}/rows"),
        ("sim", "RTL=build", "PACKAGE=../../{}/small"),
    ],
)
def test_make_fails_where_nothing_would_run(folders, arguments):
    relative = os.path.relpath(folders, ROOT)
    (ROOT / "build/golden").mkdir(parents=True, exist_ok=True)  # PACKAGE is a path from there
    result = make(*(argument.format(relative) for argument in arguments))
    assert result.returncode == 2
    build = "small" if "BUILD=small" in arguments else "default"
    expected = [f"build {build} does not hold", f"no package for build {build}"]
    lines = result.stderr.splitlines()
    assert lines[0].startswith(expected[0]) and lines[1] == expected[1]


def test_make_csim_runs_what_a_build_holds(tmp_path, packages):
    """A package that `default` is the first to hold, on `large`."""
    package = packages["default"]
    shape = (package.iterations, package.n_sequences, package.n_positions, package.token_bytes)
    write_golden(tmp_path / "one", package, np.zeros(shape, np.int8))
    result = make("csim", "BUILD=large", "NATIVE=1", f"GOLDEN={tmp_path / 'one'}")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[-1] == "1 passed, 0 failed"
    assert f"build/csim/large/native {tmp_path / 'one'}" in lines
