"""Checks HLS C++ for what a C++ compiler cannot see and the synthesis tool says late or not at all:
pragmas that are misspelt, misplaced or about variables that are not in scope, arguments of the top
function without an interface, loops without a label or a bound, constructs that do not synthesize.

    python -m hls.lint [--top cmamba_top] hls/src/*.cpp

directives.py knows the pragmas, source.py reads C++ through libclang, probe.py asks the compiler
about names and constants, rules.py has the rules about what is written. hardware.py has those about
what becomes of it: ports, dependences, choices between memories, dataflow. For them tree.py makes
trees of the functions, execution.py runs them with symbols, storage.py knows memories.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from hls.lint.hardware import check_hardware
from hls.lint.probe import probe
from hls.lint.rules import (
    Call,
    Finding,
    calls,
    check_constructs,
    check_loops,
    check_pragmas,
    check_proofs,
    check_recursion,
    check_top,
)
from hls.lint.source import LintError, Settings, Source, compile_source, errors, precompile

__all__ = ["Finding", "LintError", "Settings", "lint"]


def lint(
    paths: Iterable[Path],
    top: str,
    settings: Settings,
    allow_float: bool = False,
    proof_macros: Sequence[str] = (),
) -> list[Finding]:
    """Check sources that together make a design, and the project's headers that they include.

    proof_macros, if not empty, are the macros by which a simulation checks a dependence that is
    declared false.

    Returns the findings in the order of files and lines. Raises LintError if a file cannot be read
    or the tools that the lint needs are missing.
    """
    names = [str(p.resolve()) for p in paths]
    findings: set[Finding] = set()
    all_calls: list[Call] = []
    sources: list[Source] = []
    tops = 0
    if settings.precompiled:
        precompile(settings)  # before the threads ask for it
    # Threads are enough: nearly all of the time is spent in libclang.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        options = (top, settings, allow_float, proof_macros)
        for result in pool.map(lambda n: _lint_source(n, *options), names):
            findings.update(f._replace(path=os.path.normpath(f.path)) for f in result.findings)
            all_calls += result.calls
            tops += result.tops
            if result.source is not None:
                sources.append(result.source)
    if len(sources) == len(names):
        findings.update(
            f._replace(path=os.path.normpath(f.path)) for f in check_hardware(sources, top)
        )
    findings.update(check_recursion(all_calls))
    if not tops:
        findings.add(Finding(names[0], 1, f"no source defines the top function '{top}'"))
    return sorted(findings)


class _Result(NamedTuple):
    """What a single source has: findings, calls, how many definitions of the top function, and what
    was read of it, None if it does not compile."""

    findings: list[Finding]
    calls: list[Call]
    tops: int
    source: Source | None


def _lint_source(
    name: str, top: str, settings: Settings, allow_float: bool, proof_macros: Sequence[str]
) -> _Result:
    unit = compile_source(name, settings)
    failures = [
        Finding(e.location.file.name if e.location.file else name, e.location.line, e.spelling)
        for e in errors(unit, settings)
    ]
    if failures:
        return _Result(failures, [], 0, None)
    source = Source(unit)
    tops = [f for f in source.functions if f.name == top]
    findings = [
        *check_pragmas(source, top),
        *(
            Finding(pragma.path, pragma.line, f"{pragma.title}: {message}")
            for pragma, message in probe(name, source, settings)
        ),
        *(check_proofs(source, proof_macros) if proof_macros else ()),
        *check_loops(source),  # after probe(), which finds out what is constant
        *check_constructs(source, allow_float),
        *(finding for function in tops for finding in check_top(function)),
    ]
    return _Result(findings, list(calls(source)), len(tops), source)
