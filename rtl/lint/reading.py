"""Two front ends that read SystemVerilog strictly: slang (the package pyslang), and Yosys' own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyslang import DiagnosticSeverity, SourceLocation, SourceManager, analysis, ast, syntax
from pyslang.driver import CommandLineOptions, Driver

from rtl.synth import yosys

# The language that UG901 names for Vivado. Nothing relaxes it.
STANDARD = "1800-2017"
# Vivado gives up on a loop after as many rounds.
UNROLL_LIMIT = 2000


@dataclass(frozen=True, order=True)
class Finding:
    """Something that is wrong in a file.

    Attributes:
        path: of the file.
        line: from 1.
        message: what is wrong, and what to do.
    """

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass
class Design:
    """What slang makes of a list of files.

    Attributes:
        trees: the files' syntax.
        root: of the elaborated design.
        findings: slang's errors and warnings.
    """

    trees: list[syntax.SyntaxTree]
    root: ast.RootSymbol
    findings: list[Finding]
    # Who owns trees and symbols.
    _owners: tuple[object, ...] = field(repr=False)

    @property
    def sources(self) -> SourceManager:
        """Finds files and lines of locations."""
        return self.trees[0].sourceManager


def finding(sources: SourceManager, location: SourceLocation, message: str) -> Finding:
    """A finding at a place in the sources."""
    if not sources.isFileLoc(location):
        location = sources.getFullyOriginalLoc(location)
    path = str(sources.getFullPath(location.buffer))
    return Finding(path, sources.getLineNumber(location), message)


def read(
    files: Sequence[Path],
    defines: Iterable[str] = (),
    tops: Iterable[str] = (),
    generated: Iterable[Path] = (),
) -> Design:
    """Read files with slang, elaborate what they hold, and analyse who drives what.

    Args:
        files: SystemVerilog; packages need not come first.
        defines: macros that are defined.
        tops: modules that are elaborated; without them all that no other module uses.
        generated: files whose warnings do not count, only their errors.

    Raises:
        ValueError: a file cannot be read.
    """
    driver = Driver()
    driver.addStandardArgs()
    words = [
        "slang",
        f"--std={STANDARD}",
        # A loop's variable is no constant, so that what a process writes with it for an index is
        # the whole array. slang would unroll loops; others do not.
        "--max-loop-analysis-steps=0",
        *(f"-D{name}" for name in defines),
        *(f"--top={name}" for name in tops),
        *(f'"{path}"' for path in files),
    ]
    options = CommandLineOptions()
    if not (
        driver.parseCommandLine(" ".join(words), options)
        and driver.processOptions()
        and driver.parseAllSources()
    ):
        raise ValueError(f"slang cannot read {', '.join(map(str, files))}")
    compilation = driver.createCompilation()
    diagnostics = list(compilation.getAllDiagnostics())
    compilation.freeze()
    analyser = analysis.AnalysisManager(driver.analysisOptions)
    analyser.analyze(compilation)
    diagnostics += analyser.getDiagnostics()

    engine = driver.diagEngine
    spared = frozenset(map(str, generated))
    findings = set()
    for diagnostic in diagnostics:
        severity = engine.getSeverity(diagnostic.code, diagnostic.location)
        if severity in (DiagnosticSeverity.Ignored, DiagnosticSeverity.Note):
            continue
        message = f"slang: {engine.formatMessage(diagnostic)}"
        found = finding(driver.sourceManager, diagnostic.location, message)
        if severity != DiagnosticSeverity.Warning or found.path not in spared:
            findings.add(found)
    owners = (driver, compilation, analyser)
    return Design(driver.syntaxTrees, compilation.getRoot(), sorted(findings), owners)


def elaborate_with_yosys(files: Sequence[Path], top: str, primitive: str, log: Path) -> None:
    """Let Yosys elaborate a design and lower its processes, without any option that tolerates.

    Modules that are used many times with the same parameters are elaborated once, which takes
    seconds instead of minutes.

    Args:
        files: SystemVerilog, packages first.
        top: module.
        primitive: of `files`, a model of something that the device has: only its ports count.
        log: file for what Yosys prints.

    Raises:
        YosysError: it refuses something.
    """
    names = " ".join(map(str, files))
    yosys.run(
        [
            "read_slang --keep-hierarchy --disable-instance-caching=false"
            f" --std {STANDARD} --unroll-limit {UNROLL_LIMIT}"
            f" --blackboxed-module {primitive} --top {top} {names}"
        ],
        log,
    )
