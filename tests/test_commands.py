"""Every command of the project, with what users give it by mistake: status and message.

A command is a module that runs as a program; a new one is walked without being named here. Its
parser says which options there are: those that take a path are tried with a path that is none.
"""

import argparse
import importlib
import re
import runpy
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

import isa
from common.exit_status import WRONG
from golden.random_programs import random_package

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 60
# Not programs for users: cocotb runs it.
NO_COMMANDS = {"rtl.tb.cmamba.test_cmamba_top"}


# Folders without commands of the project.
NO_SOURCES = {"build", "data", "docs", "tests"}


def commands():
    """Names of modules with a `main` that run as programs."""
    ours = [p for p in ROOT.iterdir() if p.name[0] not in "._" and p.name not in NO_SOURCES]
    for path in sorted(p for top in ours for p in ([top] if top.is_file() else top.rglob("*.py"))):
        if path.suffix != ".py":
            continue
        if re.search(r'^if __name__ == "__main__":', path.read_text("utf-8"), re.M):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__main__" else parts)
            if name not in NO_COMMANDS:
                yield name


COMMANDS = list(commands())

# What is right for an option of this name, in any command, so that the one after it is reached.
# {tmp} is a folder of the test.
VALUES = {
    "weights": "model/checkpoints/nyc_weather.safetensors",
    "input": "data/test_data.npz",
    "package": "{tmp}/package.bin",
    "packages": "{tmp}/package.bin",
    "trace": "{tmp}/trace",
    "output": "{tmp}/output",
    "out": "{tmp}/output.safetensors",
    "sources": "{tmp}/source.cpp",
    "folder": "{tmp}/new",
    "data": "nyc_weather",
}
# Options without a type that take a path all the same.
PATHS = {"bitfile", "data", "dataset"}
# Options that name a folder; others name a file.
FOLDERS = {"golden", "bitstream", "folders", "folder", "include_dirs", "system_dirs", "rtl", "html"}
FOLDERS |= {"to", "write_overlay"}
# Options that name what is written.
OUTPUTS = {"output", "out", "plot", "to", "html", "write_overlay", "folder", "log_folder"}
# An input that is wrong for nobody: option, kind and status.
FINE = {
    # The verdict of the lint on a file.
    ("hls.lint", "sources", "empty"): 1,
    ("hls.lint", "sources", "junk"): 1,
}
# Folders in which anything may be, or nothing.
ANY_FOLDER = {("hls.lint", "include_dirs"), ("hls.lint", "system_dirs")}
# Whoever runs a folder on the build that this names says what is wrong with the folder.
ANYTHING = {("isa.fitting", "folders")}
# Further arguments, without which a command does something else first.
MORE = {
    ("run_infer", "package"): ["--backend", "int8"],
    ("run_infer", "calibration"): ["--backend", "int8"],
    ("run_infer", "bitfile"): ["--backend", "board", "--board", "127.0.0.1:1"],
    ("host.selftest", "bitfile"): ["--board", "127.0.0.1:1", "--golden", "{tmp}/golden"],
    ("host.bench", "bitfile"): ["--board", "127.0.0.1:1", "--package", "{tmp}/package.bin"],
    ("host.bench", "package"): ["--board", "127.0.0.1:1", "--bitfile", "{tmp}/cmamba.bit"],
    ("host.selftest", "golden"): ["--board", "127.0.0.1:1", "--bitfile", "{tmp}/cmamba.bit"],
}


class ParsedError(Exception):
    """Carries the parser of a command out of it."""


def run(name, arguments, capsys):
    """Status, standard output and error of a command in this process."""
    main = importlib.import_module(name if has_main(name) else f"{name}.__main__").main
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *arguments])
        patch.chdir(ROOT)
        try:
            status = main()
        except SystemExit as ended:
            status = ended.code or 0
            if isinstance(status, str):
                print(status, file=sys.stderr)
                status = 1
    out, err = capsys.readouterr()
    return status, out, err


def has_main(name):
    return not (ROOT / name.replace(".", "/") / "__main__.py").is_file()


def parser_of(name):
    """The parser of a command, taken where it would parse."""

    def stop(self, *_):
        raise ParsedError(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        module = importlib.import_module(name if has_main(name) else f"{name}.__main__")
        try:
            module.main()
        except ParsedError as parsed:
            return parsed.args[0]
    raise AssertionError(f"{name}: main parses no arguments")


def actions_of(name):
    return [a for a in parser_of(name)._actions if not isinstance(a, argparse._HelpAction)]


def arguments_of(name, chosen, value, tmp):
    """A command line in which one option is `value`, and the required ones are right."""
    options, positional = [], []
    for action in actions_of(name):
        given = value if action.dest == chosen else None
        if given is None:
            more = action.required or (not action.option_strings and action.nargs not in "*?")
            if not more:
                continue
            given = VALUES.get(action.dest, next(iter(action.choices or ["1"]))).format(tmp=tmp)
        if action.option_strings:
            options += [action.option_strings[0], given]
        else:
            positional.append(given)
    options += [word.format(tmp=tmp) for word in MORE.get((name, chosen), ())]
    return positional + options


def path_options():
    for name in COMMANDS:
        for action in actions_of(name):
            if action.type is Path or action.dest in PATHS:
                yield name, action.dest


PATH_OPTIONS = list(path_options())


@pytest.fixture(autouse=True)
def limit():
    """What is wrong is found before anything long begins."""

    def late(*_):
        pytest.fail(f"not within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def files(tmp_path):
    """A folder with what VALUES names."""
    random_package(np.random.default_rng(0), isa.build("small")).write(tmp_path / "package.bin")
    (tmp_path / "source.cpp").write_text("int cmamba_top() { return 0; }\n")
    (tmp_path / "trace").write_text("")
    golden = tmp_path / "golden"
    golden.mkdir()
    for file in ("package.bin", "input.bin", "forecast.bin"):
        (golden / file).write_bytes((tmp_path / "package.bin").read_bytes())
    return tmp_path


def missing(tmp, folder):
    return tmp / "none" / "missing"


def another_kind(tmp, folder):
    """A file where a folder is meant, and the other way round."""
    path = tmp / "kind"
    path.write_bytes(b"x") if folder else path.mkdir()
    return path


def empty(tmp, folder):
    path = tmp / "empty"
    path.mkdir() if folder else path.write_bytes(b"")
    return path


def junk(tmp, folder):
    if folder:
        (tmp / "junk").mkdir()
        for name in ("package.bin", "input.bin", "manifest.json", "cmamba.bit"):
            (tmp / "junk" / name).write_bytes(np.random.default_rng(1).bytes(999))
        return tmp / "junk"
    path = tmp / "junk"
    path.write_bytes(np.random.default_rng(1).bytes(999))
    return path


INPUTS = [missing, another_kind, empty, junk]


def check(status, out, err, expected=(WRONG,)):
    """One line on standard error says what is wrong; argparse's comes after its usage."""
    lines = err.splitlines()
    assert status in expected, (status, out, err)
    assert "Traceback" not in err
    assert lines, out
    if lines[0].startswith("usage: "):
        assert status == WRONG and ": error: " in lines[-1], err
    else:
        assert len(lines) == 1, err


# ------------------------------------------------------------------------------ the walk


def test_there_are_commands():
    assert {"run_infer", "host.selftest", "golden", "hls.lint", "rtl.synth"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name, capsys):
    status, out, err = run(name, ["--help"], capsys)
    assert (status, err) == (0, "")
    assert out.startswith("usage: ")


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_that_does_not_exist(name, capsys):
    check(*run(name, ["--no-such-option"], capsys))


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_values(name, capsys):
    """Of every option with a type or choices, one at a time."""
    for action in actions_of(name):
        if action.option_strings and (action.choices or action.type in (int, float)):
            check(*run(name, [action.option_strings[0], "nonsense"], capsys))


def needs_arguments(name):
    return any(action.required and action.nargs != "*" for action in actions_of(name))


@pytest.mark.parametrize("name", filter(needs_arguments, COMMANDS))
def test_nothing_to_do(name, capsys):
    check(*run(name, [], capsys))


def cases(outputs):
    for name, option in PATH_OPTIONS:
        if (option in OUTPUTS) != outputs or (name, option) in ANYTHING:
            continue
        for kind in [()] if outputs else [(make,) for make in INPUTS]:
            if kind in [(empty,), (junk,)] and (name, option) in ANY_FOLDER:
                continue
            key = (name, option, *(make.__name__ for make in kind))
            yield pytest.param(name, option, *kind, id="-".join(key))


@pytest.mark.parametrize(("name", "option", "make"), cases(outputs=False))
def test_a_wrong_input(name, option, make, files, capsys):
    value = str(make(files, option in FOLDERS))
    status, out, err = run(name, arguments_of(name, option, value, files), capsys)
    expected = FINE.get((name, option, make.__name__), WRONG)
    check(status, out, err, {expected} if not err.startswith("usage: ") else {WRONG})


@pytest.mark.parametrize(("name", "option"), cases(outputs=True))
def test_an_output_that_cannot_be_written(name, option, files, capsys):
    """A file is where its folder should be."""
    (files / "file").write_text("")
    arguments = arguments_of(name, option, str(files / "file" / "x" / "y"), files)
    check(*run(name, arguments, capsys), (1, 2))


# ------------------------------------------------------------------------------ as programs


@pytest.mark.parametrize("name", ["host.selftest", "hls.lint", "bitstream_scripts.hwh"])
def test_as_a_program(name, monkeypatch, capsys):
    """What main returns becomes the status of the process."""
    monkeypatch.setattr(sys, "argv", [name, "--no-such-option"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    assert ended.value.code == WRONG
