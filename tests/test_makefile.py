"""The makefiles: paths of a checkout, names of builds, and two runs of make at once."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import isa
from golden.random_programs import random_package

ROOT = Path(__file__).resolve().parents[1]
BUILDS = sorted(path.name for path in (ROOT / "hls/build").iterdir())
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        ["make", *map(str, arguments)],
        cwd=folder,
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    process = start(folder, *arguments, **environment)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def checkout(folder: Path) -> Path:
    """What make reads, at another path; a build/ of its own."""
    folder.mkdir(parents=True)
    for path in ROOT.iterdir():
        if path.name not in (".git", "build"):
            (folder / path.name).symlink_to(path)
    return folder


def executable(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)
    return path


@pytest.fixture
def compiler(tmp_path):
    """Instead of g++: takes its time, and fails if another one writes the same file."""
    return executable(
        tmp_path / "compiler",
        'for word; do if [ "$last" = -o ]; then out=$word; fi\n'
        'if [ "$last" = -MF ]; then dep=$word; fi\n'
        'if [ "$last" = -isystem ] && ! [ -d "$word" ]; then exit 1; fi; last=$word; done\n'
        'mkdir "$out.busy" || exit 1\n'
        'printf half > "$out"; sleep ${SLEEP:-0}; printf whole > "$out"\n'
        'if [ -n "$dep" ]; then : > "$dep"; fi\n'
        'rmdir "$out.busy"\n'
        f'echo "$out" >> "{tmp_path}/compiled"\n',
    )


@pytest.mark.parametrize("target", ["help", "demo", "csim", "bindings", "sim", "board"])
def test_refuses_an_unknown_build(target):
    result = make(ROOT, target, "BUILD=nonsense")
    (line,) = result.stderr.splitlines()
    assert result.returncode == 2 and "BUILD=nonsense: no such build; choose one of" in line
    assert all(build in line for build in BUILDS)


def test_help_lists_every_target():
    out = make(ROOT, "help").stdout
    for target in ("demo", "test", "golden", "csim", "simulator", "quantization", "board", "clean"):
        assert f"\n  {target} " in out


def test_options_of_the_user_reach_every_make(compiler, tmp_path):
    """-n compiles nothing, -j does not warn, -s is silent."""
    folder = checkout(tmp_path / "checkout")
    arguments = ("bindings", "BUILD=small", f"CXX={compiler}")
    result = make(folder, "-n", *arguments)
    assert result.returncode == 0 and "loader.cpp" in result.stdout
    assert not [path for path in (folder / "build").rglob("*") if path.is_file()]
    result = make(folder, "-s", "-j4", *arguments)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_a_line_for_each_file_or_the_commands(compiler, tmp_path):
    folder = checkout(tmp_path / "checkout")
    target = "build/bindings/cmamba_native_small.so"
    lines = make(folder, target, f"CXX={compiler}").stdout.splitlines()
    assert "CXX build/hls/small/native/src/loader.o" in lines and f"LINK {target}" in lines
    assert len(lines) == len(list((ROOT / "hls/src").glob("*.cpp"))) + 2
    shutil.rmtree(folder / "build")
    commands = make(folder, target, f"CXX={compiler}", "V=1").stdout
    assert "-DCMAMBA_NATIVE" in commands and "CXX build" not in commands


@pytest.mark.parametrize("target", ["bindings", "quantization"])
def test_two_at_once_compile_each_file_once(target, compiler, tmp_path):
    folder = checkout(tmp_path / "checkout")
    arguments = (target, "BUILD=small", f"CXX={compiler}", "-j8")
    both = [start(folder, *arguments, SLEEP="1") for _ in range(2)]
    results = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert sum("waiting for another make in this checkout" in err for _, err in results) == 1
    compiled = (tmp_path / "compiled").read_text().splitlines()
    assert len(set(compiled)) == len(compiled) > 0


@pytest.mark.parametrize("status", [0, 1])
def test_csim_that_has_waited_has_its_own_status(status, tmp_path):
    folder = checkout(tmp_path / "checkout")
    golden, lock = tmp_path / "golden", folder / "build/hls"
    golden.mkdir()
    lock.mkdir(parents=True)
    package = random_package(np.random.default_rng(0), isa.build("small"))
    (golden / "package.bin").write_bytes(package.to_bytes())
    compiler = executable(
        tmp_path / "compiler",
        'for word; do if [ "$last" = -o ]; then out=$word; fi\n'
        'if [ "$last" = -MF ]; then : > "$word"; fi; last=$word; done\n'
        f'printf "#!/bin/sh\nexit {status}" > "$out"; chmod +x "$out"\n',
    )
    holder = subprocess.Popen(["flock", lock, "sleep", "3"])
    while subprocess.run(["flock", "-n", lock, "true"]).returncode == 0:
        pass
    options = ("NATIVE=1", "BUILD=small", f"GOLDEN={golden}", f"CXX={compiler}")
    result = make(folder, "csim", *options)
    holder.wait()
    assert "waiting for another make in this checkout" in result.stderr
    assert (result.returncode != 0) == (status != 0), result.stderr


def test_two_at_once_make_one_environment(tmp_path):
    """With a Python that only says what it was asked for."""
    folder = checkout(tmp_path / "checkout")
    (folder / ".venv").unlink()
    log = tmp_path / "log"
    fake = executable(
        tmp_path / "python",
        f'echo "$*" >> "{log}"; sleep 0.5\n'
        'case "$*" in "-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python;; esac\n',
    )
    both = [start(folder, "venv", f"PYTHON={fake}") for _ in range(2)]
    results = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert sum("waiting for another make in this checkout" in err for _, err in results) == 1
    assert sum(line.startswith("-m venv") for line in log.read_text().splitlines()) == 1


def test_a_killed_compiler_leaves_no_result(compiler, tmp_path):
    """Neither when make is killed with it, nor when it goes on alone."""
    folder = checkout(tmp_path / "checkout")
    target = "build/bindings/cmamba_native_small.so"
    slow = executable(tmp_path / "slow", f'{compiler} "$@"; kill -9 $PPID; sleep 1\n')
    assert make(folder, target, f"CXX={slow}").returncode != 0
    assert not list((folder / "build").rglob("*.o")) and not list((folder / "build").rglob("*.so"))
    assert make(folder, target, f"CXX={compiler}").returncode == 0
    assert (folder / target).read_text() == "whole"


@pytest.mark.parametrize("name", ["a b", "it's", "a#b", "a%b", "é", "a&b", "a(b)"])
def test_odd_paths_compile_but_do_not_simulate(name, compiler, tmp_path):
    folder = checkout(tmp_path / name / "checkout")
    result = make(folder, "bindings", "quantization", "BUILD=small", f"CXX={compiler}")
    assert result.returncode == 0, result.stderr
    assert (folder / "build/bindings/cmamba_hls_small.so").read_text() == "whole"
    again = make(folder, "bindings", "BUILD=small", f"CXX={compiler}").stdout
    assert again.count("up to date") == 2 and "CXX" not in again
    for target in ("test", "simulator", "sim", "board"):
        (line,) = make(folder, target).stderr.splitlines()
        assert f"make {target}: Verilator" in line and "move the checkout" in line


@pytest.mark.parametrize("name", ["a:b", "a$b", 'a"b', "a`b", "a\\b", "a\tb"])
def test_paths_that_no_environment_can_have_are_refused(name, tmp_path):
    folder = checkout(tmp_path / name)
    (folder / ".venv").unlink()
    result = make(folder, "demo", "PYTHON=false")
    (line,) = result.stderr.splitlines()
    assert result.returncode == 2 and "the path of the checkout" in line and "move it" in line


@pytest.mark.parametrize(
    ("golden", "expected"),
    [("../one ../two", ["<../one>", "<../two>"]), ("../one two", ["<../one two>"])],
)
def test_golden_is_a_list_or_a_folder_with_a_space(golden, expected, tmp_path):
    for name in ("one", "two", "one two"):
        (tmp_path / name).mkdir()
    folder = checkout(tmp_path / "checkout")
    csim = executable(tmp_path / "csim", 'for folder; do echo "<$folder>"; done\n')
    compiler = executable(
        tmp_path / "compiler",
        'for word; do case $last in -MF) : > "$word";; -o) out=$word;; esac; last=$word; done\n'
        f'cp "{csim}" "$out"\n',
    )
    result = make(folder, "csim", f"GOLDEN={golden}", f"CXX={compiler}")
    assert result.returncode == 0, result.stderr
    assert [x for x in result.stdout.splitlines() if x.startswith("<")] == expected


def test_missing_golden_folders_are_said_before_anything_is_compiled(tmp_path):
    folder = checkout(tmp_path / "checkout")
    result = make(folder, "csim", "GOLDEN=model nonexistent", "CXX=false")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("make: GOLDEN: there is no folder nonexistent;")
