"""Ask the compiler about pragmas and loop bounds.

Whether `variable=mem.weights` is in scope and `factor=kTileOut * 2` is constant depends on all of
C++: members, templates, constexpr functions. So the lint does not look names up itself. It puts a
declaration that uses them in the pragma's place, compiles again, and takes the compiler's errors
there for the answer:

    #pragma HLS array_partition variable=mem.w dim=kDim complete

becomes, on the same line,

    using hls_lint_0 = decltype((mem.w)); static_assert(constant<(kDim)>::value >= 0, ...); ...

and a loop's bound N becomes `(constant<(N)>(), (N))`.
"""

from dataclasses import dataclass
from typing import NamedTuple

from hls.lint.directives import DIRECTIVES, Argument, Kind
from hls.lint.source import (
    LintError,
    Loop,
    PlacedPragma,
    Settings,
    Source,
    compile_source,
    errors,
)

# What probes use: an integer constant, and the number of dimensions of a variable (any number for a
# class, which may hold arrays).
_PRELUDE = """
namespace hls_lint {
template <long long V> struct constant { static constexpr long long value = V; };
template <class T> struct array { static constexpr int rank = 0; };
template <class T> struct array<T*> { static constexpr int rank = 1 + array<T>::rank; };
template <class T> struct array<T* const> : array<T*> {};
template <class T> struct array<T* __restrict> : array<T*> {};
template <class T> struct array<T* const __restrict> : array<T*> {};
template <class T> struct array<T[]> : array<T*> {};
template <class T, decltype(sizeof(0)) N> struct array<T[N]> : array<T*> {};
template <class T> struct variable {
  static constexpr int rank = __is_class(T) || __is_union(T) ? 1000 : array<T>::rank;
};
template <class T> struct variable<T&> : variable<T> {};
}
"""
_MARK = "hls_lint: "
# Directives whose variable is an array or a class.
_ARRAY_DIRECTIVES = {
    "array_partition",
    "array_reshape",
    "array_stencil",
    "bind_storage",
    "cache",
    "stream",
}
# Their variables are parameters, which rules.py knows.
_PORT_OPTIONS = {"port", "ports"}


class Subject(NamedTuple):
    """What a piece of probing text asks about: an argument of a pragma or a bound of a loop."""

    about: PlacedPragma | Loop
    argument: Argument | None


@dataclass
class _Edit:
    """Pieces of text, each with its subject, that replace the bytes start to end."""

    path: str
    start: int
    end: int
    pieces: list[tuple[str, Subject]]


def _check(condition: str, message: str) -> str:
    return f'static_assert({condition}, "{_MARK}{message}"); '


def _probe_argument(pragma: PlacedPragma, argument: Argument, number: str) -> str:
    """The declarations that check one argument of a pragma."""
    directive = pragma.parsed.directive
    option = DIRECTIVES[directive].options[argument.option]
    value = f"({argument.value})"
    if option.kind is Kind.VARIABLE:
        probe = f"using hls_lint_{number} = decltype({value}); "
        if directive in _ARRAY_DIRECTIVES:
            rank = f"::hls_lint::variable<hls_lint_{number}>::rank"
            probe += _check(f"{rank} >= 1", "is not an array")
            if "dim" in pragma.parsed:
                dim = pragma.parsed.get("dim")
                probe += _check(f"{rank} >= ({dim})", f"has fewer dimensions than dim={dim}")
        return probe
    if option.kind is Kind.INTEGER:
        constant = f"::hls_lint::constant<{value}>::value"
        probe = _check(f"{constant} == {constant}", "")
        if option.minimum is not None:
            probe += _check(f"{constant} >= {option.minimum}", f"is less than {option.minimum}")
        if option.maximum is not None:
            probe += _check(f"{constant} <= {option.maximum}", f"is more than {option.maximum}")
        if argument.option == "min" and "max" in pragma.parsed:
            maximum = pragma.parsed.get("max")
            probe += _check(f"{constant} <= ({maximum})", f"is more than max={maximum}")
        return probe
    if option.kind is Kind.NUMBER:
        return _check(f"{value} == {value}", "")
    return ""


def _simplify(message: str) -> str:
    """Say in the lint's words what the compiler says of a probe."""
    if _MARK in message:
        return message.partition(_MARK)[2].rstrip('"')
    if "constant expression" in message or "integral or" in message:
        return "is not an integer constant"
    return message


def _edits(source: Source) -> list[_Edit]:
    edits = []
    for pragma in source.pragmas:
        parsed = pragma.parsed
        if parsed.errors or not pragma.is_between_statements():
            continue
        options = DIRECTIVES[parsed.directive].options
        others = [a for a in parsed.arguments if options[a.option].kind is not Kind.VARIABLE]
        pieces = [
            (_probe_argument(pragma, argument, f"{len(edits)}_{i}"), Subject(pragma, argument))
            for i, argument in enumerate([*parsed.variables(), *others])
            if argument.option not in _PORT_OPTIONS
        ]
        edits.append(_Edit(pragma.path, pragma.start, pragma.end, pieces))
    for loop in (loop for function in source.functions for loop in function.loops):
        for start, end in loop.bounds or []:
            bound = source.text(loop.path)[start:end].decode()
            piece = f"(::hls_lint::constant<({bound})>(), ({bound}))"
            edits.append(_Edit(loop.path, start, end, [(piece, Subject(loop, None))]))
    return edits


def _apply(
    edits: list[_Edit], source: Source
) -> tuple[dict[str, bytes], dict[str, list[tuple[int, int, Subject]]]]:
    """The edited texts of the files, and the bytes of them in which each subject's text is."""
    texts: dict[str, bytes] = {}
    spans: dict[str, list[tuple[int, int, Subject]]] = {}
    for path in {e.path for e in edits}:
        original, text, done = source.text(path), bytearray(), 0
        spans[path] = []
        for edit in sorted((e for e in edits if e.path == path), key=lambda e: e.start):
            text += original[done : edit.start]
            for piece, subject in edit.pieces:
                begin = len(text)
                text += piece.encode()
                spans[path].append((begin, len(text), subject))
            # Lines keep their numbers.
            text += b"\n" * original.count(b"\n", edit.start, edit.end)
            done = edit.end
        texts[path] = bytes(text + original[done:])
    return texts, spans


def probe(path: str, source: Source, settings: Settings) -> list[tuple[PlacedPragma, str]]:
    """Check the arguments of all well-formed pragmas, and set is_constant of all loops.

    Returns the pragmas that are wrong with a message, at most one for each argument. Raises
    LintError if the compiler refuses the probes for another reason.
    """
    texts, spans = _apply(_edits(source), source)
    wrong: dict[Subject, str] = {}
    unit = compile_source(path, settings, texts, _PRELUDE)
    for error in errors(unit, settings):
        name, offset = error.location.file.name, error.location.offset
        subjects = [s for start, end, s in spans.get(name, []) if start <= offset < end]
        if not subjects:
            raise LintError(f"{name}:{error.location.line}: cannot probe: {error.spelling}")
        wrong.setdefault(subjects[0], _simplify(error.spelling))
    findings = []
    for (about, argument), message in wrong.items():
        if isinstance(about, Loop):
            about.is_constant = False
        else:
            findings.append((about, f"{argument.option}={argument.value}: {message}"))
    return findings
