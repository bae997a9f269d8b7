"""A C++ source as libclang sees it, reduced to what the rules ask about: functions, blocks, loops
and pragmas, with their places in the text.

libclang drops the pragmas that it does not know, but warns of each that the preprocessor has not
removed. Those warnings say where the active `#pragma HLS` are; directives.py parses the text there.
"""

import functools
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from clang.cindex import (
    Cursor,
    CursorKind,
    Diagnostic,
    Index,
    SourceLocation,
    SourceRange,
    Token,
    TokenKind,
    TranslationUnit,
    TranslationUnitLoadError,
    TypeKind,
)

from common.errors import CmambaError
from common.exit_status import WRONG
from hls.lint.directives import Pragma, parse


class LintError(CmambaError):
    """The lint cannot run: a file, the headers or the C++ compiler are missing."""

    exit_status = WRONG


@dataclass(frozen=True)
class Settings:
    """How sources are compiled: the compiler whose system headers are used, the C++ standard (Vitis
    HLS takes C++14 by default), folders of the project's headers and of headers not checked, and
    the headers to compile only once because most sources include them."""

    cxx: str = "g++"
    standard: str = "c++14"
    include_dirs: tuple[Path, ...] = ()
    system_dirs: tuple[Path, ...] = ()
    precompiled: tuple[str, ...] = ()


@dataclass
class Statement:
    """A statement of a block, by its byte offsets."""

    start: int
    end: int
    is_declaration: bool


@dataclass(eq=False)
class PlacedPragma:
    """A `#pragma HLS` and its place; block is None outside functions."""

    path: str
    line: int
    start: int
    end: int
    parsed: Pragma
    block: "Block | None" = None

    @property
    def title(self) -> str:
        """The pragma's name for messages."""
        return f"#pragma HLS {self.parsed.directive}".rstrip()

    def is_between_statements(self) -> bool:
        """Whether the pragma stands in a block and not inside one of its statements."""
        return self.block is not None and not any(
            s.start < self.end and self.start < s.end for s in self.block.statements
        )


@dataclass(eq=False)
class Loop:
    """A loop.

    bounds are the offsets of the expressions that must be constant for the trip count to be so: the
    counter's start, limit and step; None if the loop does not count in a way that is known.
    """

    path: str
    line: int
    keyword: str
    label: str | None
    is_endless: bool = False
    bounds: list[tuple[int, int]] | None = None
    is_constant: bool = True
    block: "Block | None" = None
    parent: "Block | None" = None


@dataclass
class Block:
    """A compound statement. kind is 'function', 'loop', 'conditional' or 'block'."""

    path: str
    start: int
    end: int
    kind: str
    function: "Function"
    parent: "Block | None" = None
    statements: list[Statement] = field(default_factory=list)
    pragmas: list[PlacedPragma] = field(default_factory=list)

    def has(self, directive: str) -> bool:
        """Whether the directive is applied to this block and not switched off."""
        return any(p.parsed.directive == directive and not p.parsed.is_off() for p in self.pragmas)


@dataclass
class Function:
    """A function with a body, in one of the project's own files."""

    cursor: Cursor
    path: str
    line: int
    is_constexpr: bool
    blocks: list[Block] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The function's name as declared."""
        return self.cursor.spelling

    @property
    def parameters(self) -> list[Cursor]:
        """The declarations of the parameters."""
        return [c for c in self.cursor.get_children() if c.kind is CursorKind.PARM_DECL]

    @property
    def pragmas(self) -> Iterator[PlacedPragma]:
        """All pragmas in the body."""
        return (p for block in self.blocks for p in block.pragmas)


@functools.cache
def system_include_dirs(cxx: str) -> tuple[str, ...]:
    """The folders in which the compiler looks for system headers.

    libclang's wheel brings no headers of its own. Raises LintError if the compiler cannot be run.
    """
    command = [*shlex.split(cxx), "-E", "-x", "c++", "-v", "/dev/null"]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    except (OSError, subprocess.CalledProcessError) as error:
        raise LintError(f"cannot ask {cxx} for its include folders: {error}") from error
    listing = listing.partition("#include <...>")[2].partition("End of search list")[0]
    return tuple(line.strip() for line in listing.splitlines() if line.startswith(" "))


@functools.cache
def ap_types_dir() -> Path:
    """AMD's open ap_int.h, ap_fixed.h and hls_stream.h, as hls4ml brings them.

    Raises LintError if hls4ml is not installed.
    """
    spec = find_spec("hls4ml")
    if spec is None or spec.origin is None:
        raise LintError("hls4ml, which brings ap_int.h, is not installed; run make venv")
    return Path(spec.origin).parent / "templates" / "vivado" / "ap_types"


@functools.cache
def _synthesis_headers() -> tuple[tuple[str, str], ...]:
    """The open headers, made to compile where __SYNTHESIS__ is defined.

    They stop with an error there, since the synthesis tool has its own.
    """
    before = '#pragma push_macro("__SYNTHESIS__")\n#undef __SYNTHESIS__\n'
    after = '\n#pragma pop_macro("__SYNTHESIS__")\n'
    return tuple(
        (str(header), before + header.read_text() + after) for header in ap_types_dir().glob("*.h")
    )


def compile_source(
    path: str, settings: Settings, replaced: dict[str, bytes] | None = None, prelude: str = ""
) -> TranslationUnit:
    """Parse a source the way the synthesis tool would (__SYNTHESIS__ is defined).

    replaced gives other contents for some files; prelude is C++ that comes before the source.
    Raises LintError if the file cannot be read.
    """
    arguments = ["-x", "c++", *_arguments(settings), "-include", _PRELUDE]
    unsaved = [*_synthesis_headers(), (_PRELUDE, prelude)]
    unsaved += [(name, text.decode()) for name, text in (replaced or {}).items()]
    if settings.precompiled:
        arguments += ["-include-pch", str(Path(precompile(settings).name) / "headers.pch")]
        unsaved.append(_headers(settings))
    try:
        return Index.create().parse(path, args=arguments, unsaved_files=unsaved)
    except TranslationUnitLoadError as error:
        raise LintError(f"cannot read {path}") from error


def _arguments(settings: Settings) -> list[str]:
    arguments = [f"-std={settings.standard}", "-D__SYNTHESIS__", "-nostdinc"]
    arguments += ["-Wunknown-pragmas", "-ferror-limit=0"]
    for folder in (ap_types_dir(), *settings.system_dirs, *system_include_dirs(settings.cxx)):
        arguments += ["-isystem", str(folder)]
    for folder in settings.include_dirs:
        arguments += ["-I", str(folder)]
    return arguments


@functools.cache
def precompile(settings: Settings) -> TemporaryDirectory:
    """A folder with headers.pch, which has the headers that are compiled only once."""
    folder = TemporaryDirectory(prefix="hls-lint-")
    headers = _headers(settings)
    unit = Index.create().parse(
        headers[0],
        args=["-x", "c++-header", *_arguments(settings)],
        unsaved_files=[*_synthesis_headers(), headers],
        options=TranslationUnit.PARSE_INCOMPLETE,
    )
    unit.save(f"{folder.name}/headers.pch")
    return folder


def _headers(settings: Settings) -> tuple[str, str]:
    """The name and text of a header that includes those to compile once."""
    return "/hls_lint_headers.h", "".join(f"#include <{h}>\n" for h in settings.precompiled)


def errors(unit: TranslationUnit, settings: Settings) -> list[Diagnostic]:
    """The compiler's errors, its warnings left out.

    Those in headers of g++ itself do not count: g++ 16 has some that libclang 18 cannot read.
    """
    theirs = tuple(f"{folder}/" for folder in system_include_dirs(settings.cxx))
    return [
        d
        for d in unit.diagnostics
        if d.severity >= Diagnostic.Error
        and not (d.location.file and d.location.file.name.startswith(theirs))
    ]


class Source:
    """A translation unit: the given file with all of the project's own files that it includes.

    Attributes: unit (libclang's), functions (with a body), declarations (outside functions),
    pragmas, strays (path, line and message of what looks like an HLS pragma but is none).
    """

    def __init__(self, unit: TranslationUnit) -> None:
        self.unit = unit
        self.functions: list[Function] = []
        self.declarations: list[Cursor] = []
        self.pragmas: list[PlacedPragma] = []
        self.strays: list[tuple[str, int, str]] = []
        self._texts: dict[str, bytes] = {}
        for cursor in unit.cursor.get_children():
            if cursor.location.file and not cursor.location.is_in_system_header:
                self._add_declaration(cursor)
        for diagnostic in unit.diagnostics:
            if diagnostic.option == "-Wunknown-pragmas":
                self._add_pragma(diagnostic.location)

    def text(self, path: str) -> bytes:
        """The contents of a file of the unit."""
        if path not in self._texts:
            self._texts[path] = Path(path).read_bytes()
        return self._texts[path]

    def _add_declaration(self, cursor: Cursor) -> None:
        if cursor.kind in _SCOPES:
            for child in cursor.get_children():
                self._add_declaration(child)
        if cursor.kind in _FUNCTIONS and cursor.is_definition():
            self._add_function(cursor)
        else:
            self.declarations.append(cursor)

    def _add_function(self, cursor: Cursor) -> None:
        body = body_of(cursor)
        if body is None:
            return
        location = cursor.location
        head = self._tokens(cursor.extent.start, body.extent.start)
        function = Function(
            cursor, location.file.name, location.line, "constexpr" in (t.spelling for t in head)
        )
        self.functions.append(function)
        self._add_block(function, body, "function", None)

    def _add_block(
        self, function: Function, cursor: Cursor, kind: str, parent: Block | None
    ) -> Block:
        start, end = cursor.extent.start.offset, cursor.extent.end.offset
        block = Block(function.path, start, end, kind, function, parent)
        function.blocks.append(block)
        for child in cursor.get_children():
            extent = child.extent
            block.statements.append(
                Statement(
                    extent.start.offset, extent.end.offset, child.kind is CursorKind.DECL_STMT
                )
            )
            self._visit(function, child, block)
        return block

    def _visit(
        self, function: Function, cursor: Cursor, block: Block, label: str | None = None
    ) -> None:
        """Add the blocks and loops in a statement."""
        if cursor.kind in _FUNCTIONS:  # a method of a local class
            if cursor.is_definition():
                self._add_function(cursor)
            return
        if cursor.kind in _LOOPS:
            self._add_loop(function, cursor, block, label)
            return
        if cursor.kind is CursorKind.COMPOUND_STMT:
            self._add_block(function, cursor, "block", block)
            return
        nested = {
            CursorKind.IF_STMT: "conditional",
            CursorKind.SWITCH_STMT: "conditional",
            CursorKind.LAMBDA_EXPR: "function",
        }.get(cursor.kind)
        for child in cursor.get_children():
            if nested and child.kind is CursorKind.COMPOUND_STMT:
                self._add_block(function, child, nested, block)
            else:
                if cursor.kind is CursorKind.LABEL_STMT:
                    label = cursor.spelling
                elif cursor.kind is not CursorKind.UNEXPOSED_STMT:  # a loop with attributes
                    label = None
                self._visit(function, child, block, label)

    def _add_loop(
        self, function: Function, cursor: Cursor, block: Block, label: str | None
    ) -> None:
        *header, body = cursor.get_children()
        if cursor.kind is CursorKind.DO_STMT:
            body, *header = cursor.get_children()
        loop = Loop(function.path, cursor.location.line, _LOOPS[cursor.kind], label, parent=block)
        function.loops.append(loop)
        if loop.keyword == "do":
            condition = self._tokens(header[0].extent.start, header[0].extent.end)
            loop.is_endless = [t.spelling for t in condition] in (["true"], ["1"])
        elif cursor.kind is CursorKind.CXX_FOR_RANGE_STMT:
            if any(c.type.get_canonical().kind is TypeKind.CONSTANTARRAY for c in header):
                loop.bounds = []
        else:
            self._read_header(loop, header, self._tokens(cursor.extent.start, body.extent.start))
        loop.is_constant = loop.bounds is not None

        for child in header:
            self._visit(function, child, block)
        if body.kind is CursorKind.COMPOUND_STMT:
            loop.block = self._add_block(function, body, "loop", block)
        else:
            self._visit(function, body, block)

    def _read_header(self, loop: Loop, header: list[Cursor], tokens: list[Token]) -> None:
        """Find out whether and how a for or while loop counts."""
        parts = _split(tokens[2:-1], ";")
        condition = parts[1] if loop.keyword == "for" and len(parts) == 3 else parts[0]
        if [t.spelling for t in condition] in ([], ["true"], ["1"]):
            loop.is_endless = True
        if loop.is_endless or loop.keyword != "for" or len(parts) != 3:
            return
        first, last = condition[0].extent.start.offset, condition[-1].extent.end.offset
        compared = [c for c in header if first <= c.extent.start.offset < last]
        operands = _compared(compared[0]) if compared else None
        counters = {match[1] or match[2] for match in _CHANGED.finditer(_spell(parts[2]))} & {
            t.spelling for t in condition
        }
        if operands is None or len(counters) != 1:
            return
        (counter,) = counters
        limits = [
            (o.extent.start.offset, o.extent.end.offset)
            for o in operands
            if counter not in (t.spelling for t in self._tokens(o.extent.start, o.extent.end))
        ]
        start = _assigned(parts[0], counter, {"="})
        step = _assigned(parts[2], counter, {"+=", "-=", "*=", "/=", "<<=", ">>="})
        is_assigned = _assigned(parts[2], counter, {"="}) is not None
        if len(limits) == 1 and start is not None and not is_assigned:
            loop.bounds = [start, limits[0], *([step] if step else [])]

    def _tokens(self, start: SourceLocation, end: SourceLocation) -> list[Token]:
        """The tokens from start to before end, comments left out."""
        extent = SourceRange.from_locations(start, end)
        return [
            t
            for t in self.unit.get_tokens(extent=extent)
            if t.kind is not TokenKind.COMMENT and t.extent.start.offset < end.offset
        ]

    def _add_pragma(self, location: SourceLocation) -> None:
        path, line, offset = location.file.name, location.line, location.offset
        text = self.text(path)
        start = text.rfind(b"\n", 0, offset) + 1
        match = _PRAGMA.match(text, start)
        if match is None:
            self.strays.append((path, line, "write #pragma HLS instead of _Pragma"))
            return
        if match["name"] != b"HLS":
            name = match["name"].decode()
            self.strays.append(
                (path, line, f"unknown pragma '{name}'; did you mean '#pragma HLS'?")
            )
            return
        words = _COMMENT.sub(b" ", match["rest"].replace(b"\\\n", b" ")).decode()
        pragma = PlacedPragma(path, line, start, match.end(), parse(words))
        blocks = [
            b
            for f in self.functions
            for b in f.blocks
            if b.path == path and b.start < start and match.end() < b.end
        ]
        if blocks:
            pragma.block = max(blocks, key=lambda b: b.start)
            pragma.block.pragmas.append(pragma)
        self.pragmas.append(pragma)


_PRELUDE = "/hls_lint_prelude.h"
_PRAGMA = re.compile(rb"\s*#\s*pragma\s+(?P<name>\w+)(?P<rest>(?:[^\\\n]|\\\n|\\.)*)")
_COMMENT = re.compile(rb"//.*|/\*.*?\*/")
# What an increment changes: ++i, i++, i += 2.
_CHANGED = re.compile(r"(?:\+\+|--) (\w+)|(\w+) (?:\+\+|--|(?:[-+*/]|<<|>>)?=)")
_COMPARISONS = {"<", "<=", ">", ">=", "!="}

_FUNCTIONS = {
    CursorKind.FUNCTION_DECL,
    CursorKind.FUNCTION_TEMPLATE,
    CursorKind.CXX_METHOD,
    CursorKind.CONSTRUCTOR,
    CursorKind.DESTRUCTOR,
    CursorKind.CONVERSION_FUNCTION,
}
_SCOPES = {
    CursorKind.NAMESPACE,
    CursorKind.LINKAGE_SPEC,
    CursorKind.UNEXPOSED_DECL,
    CursorKind.STRUCT_DECL,
    CursorKind.CLASS_DECL,
    CursorKind.UNION_DECL,
    CursorKind.CLASS_TEMPLATE,
    CursorKind.CLASS_TEMPLATE_PARTIAL_SPECIALIZATION,
}
_LOOPS = {
    CursorKind.FOR_STMT: "for",
    CursorKind.CXX_FOR_RANGE_STMT: "for",
    CursorKind.WHILE_STMT: "while",
    CursorKind.DO_STMT: "do",
}


def body_of(cursor: Cursor) -> Cursor | None:
    children = cursor.get_children()
    return next((c for c in children if c.kind is CursorKind.COMPOUND_STMT), None)


def _spell(tokens: Sequence[Token]) -> str:
    return " ".join(t.spelling for t in tokens)


def _split(tokens: Sequence[Token], separator: str) -> list[list[Token]]:
    """Split tokens at a separator that is in no brackets."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.spelling in "([{") - (token.spelling in ")]}")
        if token.spelling == separator and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _compared(condition: Cursor) -> list[Cursor] | None:
    """The two operands of a comparison, None if the condition is none."""
    children = list(condition.get_children())
    if condition.kind in (CursorKind.UNEXPOSED_EXPR, CursorKind.PAREN_EXPR) and len(children) == 1:
        return _compared(children[0])
    if condition.kind is CursorKind.CALL_EXPR and len(children) == 3:
        del children[1]  # the operator, of a class such as ap_uint
    elif condition.kind is not CursorKind.BINARY_OPERATOR:
        return None
    between = condition.translation_unit.get_tokens(
        extent=SourceRange.from_locations(children[0].extent.end, children[1].extent.start)
    )
    is_comparison = any(t.spelling in _COMPARISONS for t in between)
    return children if is_comparison else None


def _assigned(tokens: Sequence[Token], counter: str, operators: set[str]) -> tuple[int, int] | None:
    """The offsets of what is assigned to the counter, None if nothing is."""
    for part in _split(tokens, ","):
        for i, token in enumerate(part[:-2]):
            if token.spelling == counter and part[i + 1].spelling in operators:
                return part[i + 2].extent.start.offset, part[-1].extent.end.offset
    return None
