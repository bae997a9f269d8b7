"""Commands of `host` that are interrupted, or cannot write: one line, nothing half written."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest

import isa
from golden.random_programs import random_package
from tests.virtual_boards import wait_until

ROOT = Path(__file__).resolve().parents[1]


def boards_below(pid):
    """Processes that serve a virtual board for the process `pid`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if b"host.virtual_board" in command and parent == pid:
            found.append(int(folder.name))
    return found


def runs(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.fixture
def selftest(tmp_path):
    """A self-test on a virtual board of its own that takes long, and its board's process."""
    package = random_package(np.random.default_rng(0), isa.build("small"))
    package.write(tmp_path / "package.bin")
    shape = (package.n_sequences, package.n_positions, package.token_bytes)
    n = 20_000 * package.iterations
    np.zeros((n, *shape), np.int8).tofile(tmp_path / "input.bin")
    out = (package.n_sequences, package.forecast_elements)
    np.zeros((n, *out), "<i2").tofile(tmp_path / "forecast.bin")
    process = subprocess.Popen(
        [sys.executable, "-m", "host.selftest", "--virtual", "small", "--golden", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: boards_below(process.pid), 60)
    yield process, boards_below(process.pid)[0]
    process.kill()
    process.communicate()


@pytest.mark.parametrize("delay", [0.0, 4.0])
def test_ctrl_c_in_the_selftest(selftest, delay):
    """While the board starts, and while it runs."""
    process, board = selftest
    time.sleep(delay)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")
    wait_until(lambda: not runs(board))


def test_a_killed_selftest_leaves_no_board(selftest):
    process, board = selftest
    time.sleep(6)  # until it serves: before, it would end where it cannot say so
    assert runs(board)
    process.kill()
    process.wait()
    wait_until(lambda: not runs(board), 30)


def test_a_board_ends_with_its_standard_input():
    arguments = ["--build", "small", "--port", "0", "--until-eof"]
    process = subprocess.Popen(
        [sys.executable, "-m", "host.virtual_board", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().startswith("virtual ZCU102, build small, on 127.0.0.1:")
    process.communicate(timeout=30)
    assert process.returncode == 0


# What of nbclient waits while a cell runs; Ctrl-C may come while Python is in there.
IN_A_TASK = """
import asyncio, nbclient
async def poll(*_, **__):
    await asyncio.sleep(1)
    raise KeyboardInterrupt
nbclient.NotebookClient._async_poll_for_reply = poll
"""


@pytest.mark.parametrize("stopped", ["by Ctrl-C", "by Ctrl-C in a task", "by an error"])
def test_a_notebook_that_does_not_come_to_its_end(tmp_path, stopped):
    """With --write the notebook is replaced only by one that has run, or that says what failed."""
    cell = f"open({str(tmp_path / 'begun')!r}, 'w').close()\n"
    cell += "1 / 0" if stopped == "by an error" else "import time; time.sleep(60)"
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]), path)
    before = path.read_bytes()
    program = f"""
        import sys, pathlib, host.notebook as notebook
        notebook.NOTEBOOK = pathlib.Path({str(path)!r})
        sys.exit(notebook.main(["--board", "127.0.0.1:1", "--write"]))
    """
    program = textwrap.dedent(program)
    if stopped == "by Ctrl-C in a task":
        program = IN_A_TASK + program
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until((tmp_path / "begun").exists, 60)
    if stopped == "by Ctrl-C":
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert not out and len(err.splitlines()) == 1, err
    if stopped != "by an error":
        assert (process.returncode, err) == (130, "interrupted\n")
        assert path.read_bytes() == before
    else:
        assert process.returncode == 1
        assert "a cell failed" in err and "ZeroDivisionError: division by zero" in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ipynb", "begun"]


def test_a_full_disk(tmp_path):
    """Files may have 1000 bytes."""
    # Not by preexec_fn, which runs between fork and exec, where gRPC aborts.
    program = """
        import resource, runpy
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        runpy.run_module("host.virtual_board", run_name="__main__")
    """
    arguments = ["--write-overlay", str(tmp_path / "overlay")]
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert len(result.stderr.splitlines()) == 1 and "File too large" in result.stderr
    assert not list((tmp_path / "overlay").iterdir())


@pytest.mark.parametrize(
    "module", ["bitstream_scripts.hwh", "host.virtual_board --write-overlay DIR"]
)
def test_a_full_standard_output(tmp_path, module):
    command = module.replace("DIR", str(tmp_path)).split()
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1 and "No space left" in result.stderr
