"""Whole forecasts on the RTL: `python -m rtl.tb.cmamba`, or `make sim`.

python -m rtl.tb.cmamba build/golden/*             every tensor of golden folders
python -m rtl.tb.cmamba --rtl DIR build/golden/*   other RTL with the same ports: what it sends,
                                                   then the suites that need no more than ports
"""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

import isa
from common import command_line, exit_status
from isa.package import Package
from rtl.tb.cmamba.top import WAVES, Top

INTERFACE_SUITES = ("test_cmamba_registers", "test_cmamba_forecasts", "test_cmamba_faults")
HEADS = (
    *("package", "forecasts", "load", "single", "back to back", "tensors", "values"),
    *("mismatches", "cycles/s"),
)


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m rtl.tb.cmamba", description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="golden folders")
    parser.add_argument(
        "--build", default="default", choices=isa.builds(), help="of the accelerator"
    )
    parser.add_argument("--rtl", type=Path, help="folder of other RTL with the same ports")
    args = parser.parse_args(argv)
    for folder in args.folders:
        if not (folder / "manifest.json").is_file():
            parser.error(f"{folder}: expected a golden folder, found no manifest.json")
        try:
            Package.read(folder / "package.bin")
        except (OSError, ValueError) as error:
            parser.error(str(error))
    if args.rtl is not None and not args.rtl.is_dir():
        parser.error(f"--rtl: {args.rtl}: no such folder")

    # The simulator and the compilers talk a lot; it is kept in a file.
    log = Path("build/sim/cmamba.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as output:
        try:
            with _into(output):
                top = Top(args.build, args.rtl)
        except (ValueError, RuntimeError) as error:
            return exit_status.report(f"error, see {log}", error)
        print(f"{top.name}, build {args.build}: compiled in {top.folder}")
        failed = bool(args.folders) and _run_folders(top, args.folders, output)
        if args.rtl is not None:
            failed |= _run_suites(top, output)
    if WAVES:
        print(f"waves: {top.folder / 'golden_folders' / 'dump.fst'}")
    if failed:
        print(f"log: {log}", file=sys.stderr)
    return 1 if failed else 0


def _run_folders(top: Top, folders: list[Path], output: TextIO) -> bool:
    """Run golden folders with progress, and print a table."""
    path = top.folder / "golden_folders" / "results.jsonl"
    path.unlink(missing_ok=True)
    env = {
        "SIM_FOLDERS": os.pathsep.join(str(folder.resolve()) for folder in folders),
        "SIM_RESULTS": str(path),
    }
    ended = threading.Event()
    with (
        os.fdopen(os.dup(2), "w") as terminal,  # what the simulator prints goes elsewhere
        tqdm(total=len(folders), unit="package", disable=None, file=terminal) as progress,
    ):
        watcher = threading.Thread(target=_watch, args=(path, progress, ended))
        watcher.start()
        tests, failures = _simulate(top, "golden_folders", output, env)
        ended.set()
        watcher.join()
    results = _results(path)
    print(_table(results))
    for result in results:
        for error in result["errors"]:
            print(f"FAILED {result['name']}: {error}")
    missing = len(folders) - len(results)
    if missing:
        print(f"FAILED: the simulation ended before {missing} of the packages")
    good = sum(not result["errors"] for result in results)
    print(f"{good} passed, {len(folders) - good} failed")
    return good < len(folders) or bool(failures) or not tests


def _simulate(
    top: Top, suite: str, output: TextIO, env: dict[str, str] | None = None
) -> tuple[int, int]:
    """(tests, of these failed); no tests where the simulator itself has failed."""
    try:
        with _into(output):
            return top.run(suite, env=env)
    except (RuntimeError, SystemExit):
        return 0, 0


def _run_suites(top: Top, output: TextIO) -> bool:
    failed = False
    for suite in INTERFACE_SUITES:
        tests, failures = _simulate(top, suite, output)
        print(f"{suite}: {tests - failures} passed, {failures} failed")
        failed |= bool(failures) or not tests
    return failed


def _results(path: Path) -> list[dict]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _watch(path: Path, progress: tqdm, ended: threading.Event) -> None:
    while not ended.wait(1.0):
        results = _results(path)
        if len(results) > progress.n:
            progress.set_postfix_str(results[-1]["name"])
            progress.update(len(results) - progress.n)


def _table(results: list[dict]) -> str:
    rows = [HEADS]
    for r in results:
        numbers = (
            *("forecasts", "load_cycles", "single", "together", "tensors", "values"),
            "mismatches",
        )
        speed = r["cycles"] / r["seconds"] if r["seconds"] else 0
        rows.append((r["name"], *(f"{r[n]:,}" for n in numbers), f"{speed:,.0f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [f"{row[0]:{widths[0]}}"]
        cells += [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
    return "\n".join(lines)


class _into:  # noqa: N801, like contextlib's
    """Send what this process and its children print into a file."""

    def __init__(self, output: TextIO) -> None:
        self.output = output

    def __enter__(self) -> None:
        sys.stdout.flush()
        self.kept = {stream: os.dup(stream) for stream in (1, 2)}
        for stream in self.kept:
            os.dup2(self.output.fileno(), stream)

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()
        for stream, kept in self.kept.items():
            os.dup2(kept, stream)
            os.close(kept)


if __name__ == "__main__":
    start = time.perf_counter()
    code = main()
    print(f"{time.perf_counter() - start:.0f} s")
    sys.exit(code)
