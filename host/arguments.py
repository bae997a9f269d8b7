"""Command-line options that say which board a program uses."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import isa
from host.errors import BoardConnectionError

ROOT = Path(__file__).resolve().parents[1]
# Folders of golden folders: in the board's archive, and where `make golden` writes them.
_GOLDEN = (ROOT / "packages", ROOT / "build/golden")
GOLDEN_FILES = ("package.bin", "input.bin", "forecast.bin")


def build_name(text: str) -> str:
    """Type of an option: a build of isa/builds.toml."""
    if text not in isa.builds():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected one of {[*isa.builds()]}")
    return text


def add_board_arguments(parser: argparse.ArgumentParser) -> Any:
    """--bitfile, --board and --virtual. The group of the last two, which exclude each other."""
    parser.add_argument(
        "--bitfile",
        metavar="FILE",
        help="bitstream, beside its .hwh (cmamba.bit here, or in build/bitstream or build/overlay)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--board",
        metavar="IP[:PORT]",
        help="board on the network; without it, the one this runs on",
    )
    where.add_argument(
        "--virtual",
        metavar="BUILD",
        nargs="?",
        type=build_name,
        const="default",
        help="a virtual board of its own, with this build in its PL (%(const)s)",
    )
    return where


@contextmanager
def open_accelerator(args: argparse.Namespace) -> Iterator:
    """The `Accelerator` that the options name. Raises what it raises."""
    from host import Accelerator, connect, find_bitfile

    if args.virtual:
        with virtual_board(args.virtual) as (address, bitfile):
            device = connect(address)
            with Accelerator(args.bitfile or bitfile, device=device) as accelerator:
                yield accelerator
        return
    bitfile = args.bitfile or find_bitfile()
    device = connect(args.board) if args.board else None
    with Accelerator(bitfile, device=device) as accelerator:
        yield accelerator


@contextmanager
def virtual_board(build: str) -> Iterator[tuple[str, str]]:
    """Address and bitstream of a virtual board in a process of its own.

    Raises:
        BoardConnectionError: it does not start.
        OSError: its bitstream cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder, _virtual_board(build, folder) as board:
        yield board


@contextmanager
def _virtual_board(build: str, folder: str) -> Iterator[tuple[str, str]]:
    if importlib.util.find_spec("host.virtual_board") is None:
        raise BoardConnectionError("there is no virtual board in this copy of host")
    importlib.import_module("host.virtual_board").write_overlay(folder)
    command = [sys.executable, "-m", "host.virtual_board", "--until-eof"]
    process = subprocess.Popen(
        [*command, "--build", build, "--port", "0"],
        cwd=ROOT,
        stdin=subprocess.PIPE,  # which ends with this process, however that ends
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:\d+", line)
        if not found:
            process.terminate()
            said = process.stderr.read().strip().splitlines() or ["it says nothing"]
            raise BoardConnectionError(f"the virtual board has not started: {said[-1]}")
        yield found[0], f"{folder}/cmamba.bit"
    finally:
        process.terminate()
        process.communicate()


def golden_folders(given: list[Path] | None) -> list[Path]:
    """Folders with a package, its input and its forecast: those given, or in the usual places.

    Raises:
        FileNotFoundError: there are none, or one lacks a file.
    """
    parents = given or [path for path in _GOLDEN if path.is_dir()][:1]
    folders = []
    for parent in parents:
        inside = sorted(path for path in parent.glob("*/package.bin"))
        folders += [path.parent for path in inside] if inside else [parent]
    if not folders:
        raise FileNotFoundError(f"no golden packages in {' or '.join(map(str, _GOLDEN))}")
    for folder in folders:
        for file in GOLDEN_FILES:
            if not (folder / file).is_file():
                raise FileNotFoundError(f"{folder / file}: no such file")
    return folders
