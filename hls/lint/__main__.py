"""Check HLS C++; print `file:line: error: message` for each error found and exit with 1."""

from __future__ import annotations

if __name__ == "__main__":
    from common import command_line

    command_line.begin()

import argparse
import os
import sys
from pathlib import Path

import isa
from common import command_line, exit_status
from hls.lint import LintError, Settings, lint

_HLS = Path(__file__).parents[1]
# Of hls/include/dependences.h: one checks a dependence that is declared false.
_PROOF_MACROS = ("CMAMBA_ANSWERED", "CMAMBA_ANSWERED_WRITES", "CMAMBA_APART")


@command_line.command()
def main(argv: list[str] | None = None) -> int:
    """Run the lint; exit status 0 without findings, 1 with findings, 2 if it cannot run."""
    parser = argparse.ArgumentParser(prog="python -m hls.lint", description=__doc__)
    parser.add_argument("sources", nargs="+", type=Path, help="the .cpp files of the design")
    parser.add_argument("--top", default="cmamba_top", help="top function (default: %(default)s)")
    parser.add_argument("--allow-float", action="store_true", help="permit floating point")
    parser.add_argument("--std", default="c++14", help="C++ standard (default: %(default)s)")
    parser.add_argument(
        "-I",
        dest="include_dirs",
        action="append",
        type=Path,
        help="folder of the project's headers (default: hls/include and hls/build/BUILD)",
    )
    parser.add_argument(
        "--build",
        default="default",
        choices=isa.builds(),
        help="build of the accelerator (default: %(default)s)",
    )
    parser.add_argument(
        "-isystem",
        dest="system_dirs",
        action="append",
        type=Path,
        help="folder of headers that are not checked (default: hls/include/csim)",
    )
    arguments = parser.parse_args(argv)
    for folder in (*(arguments.include_dirs or ()), *(arguments.system_dirs or ())):
        if not folder.is_dir():
            parser.error(f"{folder}: no such folder")
    for source in arguments.sources:
        if not source.is_file():
            parser.error(f"{source}: no such file")
    include_dirs = arguments.include_dirs or [_HLS / "include", _HLS / "build" / arguments.build]
    settings = Settings(
        cxx=os.environ.get("CXX", "g++"),
        standard=arguments.std,
        include_dirs=tuple(d.resolve() for d in include_dirs),
        system_dirs=tuple(d.resolve() for d in arguments.system_dirs or [_HLS / "include/csim"]),
        precompiled=("ap_int.h", "hls_stream.h"),
    )
    try:
        findings = lint(
            arguments.sources, arguments.top, settings, arguments.allow_float, _PROOF_MACROS
        )
    except LintError as error:
        return exit_status.report("hls.lint", error)
    for finding in findings:
        print(f"{os.path.relpath(finding.path)}:{finding.line}: error: {finding.message}")
    print(f"hls.lint: {len(arguments.sources)} sources, {len(findings)} errors", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
