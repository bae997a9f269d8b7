"""How commands end: one line and a status for every error, Ctrl-C and SIGTERM."""

import ast
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common import command_line
from common.command_line import command, require_distinct
from common.errors import CmambaError
from common.exit_status import one_line
from compiler.program import CompilerDefectError

ROOT = Path(__file__).resolve().parents[1]
PROJECT = (
    *("isa", "model", "compiler", "golden", "hls", "rtl", "bitstream_scripts", "host"),
    *("evaluation", "experiments"),
)
FOLDERS = ("isa", "model", "compiler", "golden", "evaluation", "experiments")
BEGIN = (
    'if __name__ == "__main__":\n    from common import command_line\n\n    command_line.begin()\n'
)


class BoardIsGoneError(CmambaError, RuntimeError):
    pass


@command()
def main(error=None):
    if error:
        raise error
    print("done")
    return 0


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("rows: found 3"), 2, "error: rows: found 3"),
        (ValueError("a.npz:\n  not one\n  line"), 2, "error: a.npz:; not one; line"),
        (OSError(28, "No space left on device", "x.npz"), 1, "error: [Errno 28] No space left on "),
        (BoardIsGoneError("no board"), 1, "error: no board"),
        (MemoryError(), 1, "error: MemoryError"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_error_is_one_line_and_a_status(capsys, error, status, line):
    assert main(error) == status
    captured = capsys.readouterr().err
    assert captured.startswith(line) and captured.count("\n") == 1


@pytest.mark.parametrize("defect", [ZeroDivisionError, RuntimeError, CompilerDefectError])
def test_a_defect_keeps_its_traceback(defect):
    with pytest.raises(defect):
        main(defect())


def error_classes():
    """Every class of the project whose name ends with Error, and the names of its bases."""
    head = re.compile(r"^ *class (\w+Error)\(([\w., ]+)\):", re.MULTILINE)
    return {
        name: re.findall(r"\w+(?=,|$)", bases)
        for folder in PROJECT
        for path in (ROOT / folder).rglob("*.py")
        for name, bases in head.findall(_text(path))
    }


def test_every_error_is_one_of_the_project():
    """Else a command that meets it ends with a traceback; those of a defect should."""
    classes = error_classes()
    assert {"BoardError", "DmaError", "SimulationError", "CheckpointError"} <= classes.keys()

    def derives(name):
        return name == "CmambaError" or any(map(derives, classes.get(name, ())))

    assert [name for name in classes if not derives(name)] == ["CompilerDefectError"]


def test_one_line_says_something():
    assert one_line(AssertionError()) == "AssertionError"
    assert one_line(ValueError("two  spaces\n\n end \n")) == "two  spaces; end"


# --- every command -------------------------------------------------------------------------------


def commands():
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    found = [path for path in [ROOT / "run_infer.py", *found] if "sys.exit(main())" in _text(path)]
    return [str(path.relative_to(ROOT)) for path in found]


def _text(path):
    return path.read_text(encoding="utf-8")


def test_there_are_commands():
    assert len(commands()) >= 16 and "golden/__main__.py" in commands()


@pytest.mark.parametrize("path", commands())
def test_every_command_ends_as_the_others(path):
    text = _text(ROOT / path)
    assert text.index(BEGIN) < text.index("\nimport ")
    (function,) = (
        node
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and node.name == "main"
    )
    assert [ast.unparse(d).partition("(")[0] for d in function.decorator_list] == [
        "command_line.command"
    ]


# --- signals, in processes of their own ----------------------------------------------------------

PROGRAM = """
import sys, time
from common import command_line
command_line.begin()
if "import" in sys.argv:
    print("ready", flush=True)
    time.sleep(60)
@command_line.command()
def main():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("tidied", flush=True)
sys.exit(main())
"""


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize(
    ("where", "number", "status", "out", "err"),
    [
        ("import", signal.SIGINT, 130, "", "interrupted\n"),
        ("main", signal.SIGINT, 130, "tidied\n", "interrupted\n"),
        ("main", signal.SIGTERM, 143, "tidied\n", "terminated\n"),
    ],
)
def test_a_signal_is_one_line_and_a_status(where, number, status, out, err):
    process = start("-c", PROGRAM, where)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=60) == (out, err)
    assert process.returncode == status


@pytest.mark.parametrize(
    ("number", "status", "line"),
    [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "terminated\n")],
)
def test_a_command_that_is_stopped_leaves_nothing_half_written(tmp_path, number, status, line):
    folder = tmp_path / "frames"
    process = start("-m", "model.data.synthetic_frames", str(folder), "--recordings", "100000")
    while not (folder / "walk001.json").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", line)
    assert process.returncode == status
    assert all(re.match(r"walk\d+\.", path.name) for path in folder.iterdir())


# --- standard output -----------------------------------------------------------------------------

PRINTING = """
import sys
from common.command_line import command
@command()
def main():
    for _ in range(int(sys.argv[1])):
        print("x" * 1000)
    return 0
sys.exit(main())
"""


BUFFERED = pytest.mark.parametrize("unbuffered", ["", "1"])


@BUFFERED
@pytest.mark.parametrize("lines", [1, 100])
def test_a_full_disk_under_standard_output(lines, unbuffered):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-c", PRINTING, str(lines)],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    assert result.returncode == 1
    assert result.stderr == "error: [Errno 28] No space left on device: 'standard output'\n"


@BUFFERED
@pytest.mark.parametrize("lines", [1, 100])
def test_a_reader_that_has_gone(lines, unbuffered):
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    process = start("-c", PRINTING, str(lines), env=environment)
    process.stdout.close()
    process.stdout = None
    assert process.communicate(timeout=60) == (None, "")
    assert process.returncode == 141


# --- inputs and outputs --------------------------------------------------------------------------


def test_an_output_that_is_an_input_by_any_name(tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("date,a")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(data)
    (tmp_path / "hard").hardlink_to(data)
    (tmp_path / "copy.csv").write_text("date,a")
    for name in ("data.csv", "folder/../data.csv", "link", "hard"):
        output = tmp_path / name
        message = rf"^{output}: would be overwritten, and is the file of --data; give another name"
        with pytest.raises(ValueError, match=message):
            require_distinct([tmp_path / "new", output], {"--qat": None, "--data": [data]})
    for name in ("copy.csv", "new", "folder"):
        require_distinct([tmp_path / name], {"--data": data, "--args": tmp_path / "none"})
    require_distinct([Path("/dev/null")], {"--data": Path("/dev/null")})


def test_statuses():
    assert (command_line.INTERRUPTED, command_line.TERMINATED) == (130, 143)
