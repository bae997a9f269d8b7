"""The rules. Each takes a source and yields what is wrong with it.

They follow AMD UG1399: "HLS Pragmas" for pragmas and their places, "Unsupported C/C++ Constructs"
for the language, "Defining Interfaces" for the top function.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from clang.cindex import Cursor, CursorKind, SourceRange, StorageClass, Type, TypeKind, conf

from hls.lint.directives import DIRECTIVES, Place
from hls.lint.source import Block, Function, Loop, PlacedPragma, Source


class Finding(NamedTuple):
    """An error and its place."""

    path: str
    line: int
    message: str


class Call(NamedTuple):
    """A call, or another use, of one function by another.

    Both are given by USR, libclang's name of a symbol, which is the same in all sources.
    """

    caller: str
    callee: str
    caller_name: str
    path: str
    line: int


# --- pragmas -------------------------------------------------------------------------------------

_LEADING_NAME = re.compile(r"[&*(\s]*(\w+)")
# Directives that are said once of a body.
_UNIQUE = {"pipeline", "unroll", "loop_tripcount", "loop_flatten", "dataflow", "inline"}


def check_pragmas(source: Source, top: str) -> Iterator[Finding]:
    """Syntax and place of each pragma; what the compiler knows better is left to probe.py."""
    for path, line, message in source.strays:
        yield Finding(path, line, message)
    for pragma in source.pragmas:
        messages = pragma.parsed.errors or [*_misplaced(pragma, top), *_wrong_variables(pragma)]
        for message in messages:
            yield Finding(pragma.path, pragma.line, f"{pragma.title}: {message}")
    for block in (block for function in source.functions for block in function.blocks):
        yield from _conflicts(block)


def _misplaced(pragma: PlacedPragma, top: str) -> Iterator[str]:
    block = pragma.block
    place = DIRECTIVES[pragma.parsed.directive].place
    if block is None:
        yield "stands outside of functions"
        return
    if not pragma.is_between_statements():
        yield "stands inside a statement; a loop's pragmas follow its opening brace"
        return
    is_legal = {
        Place.FUNCTION: block.kind == "function",
        Place.TOP: block.kind == "function" and block.function.name == top,
        Place.LOOP: block.kind == "loop",
        Place.FUNCTION_OR_LOOP: block.kind in ("function", "loop"),
        Place.CONDITIONAL: block.kind == "conditional",
        Place.ANYWHERE: True,
    }[place]
    if not is_legal:
        yield f"belongs {place.value.replace('the top function', top)}"
    elif place not in (Place.ANYWHERE, Place.CONDITIONAL) and any(
        s.end <= pragma.start and not s.is_declaration for s in block.statements
    ):
        yield "belongs at the start of the body, before other statements"


def _wrong_variables(pragma: PlacedPragma) -> Iterator[str]:
    """What a directive asks of its variable beyond being in scope."""
    if pragma.block is None:
        return
    function, directive = pragma.block.function, pragma.parsed.directive
    parameters = {p.spelling for p in function.parameters}
    for option, variable in ((a.option, a.value) for a in pragma.parsed.variables()):
        match = _LEADING_NAME.match(variable)
        name = match[1] if match else variable
        if directive in ("interface", "cache", "alias"):
            if variable not in parameters | {"return"}:
                yield f"{option}={variable}: {function.name} has no such parameter"
        elif directive in ("function_instantiate", "stable"):
            if name not in parameters:
                yield f"{option}={variable}: {function.name} has no such parameter"
        elif directive == "reset":
            if name in parameters or name in _automatic_variables(function):
                yield f"{option}={variable}: only static and global variables are reset"
        elif variable in parameters:
            modes = _modes(function, variable)
            if directive in ("array_partition", "array_reshape") and "m_axi" in modes:
                yield f"{option}={variable}: not possible for an m_axi port"
            if directive == "stream" and modes:
                yield f"{option}={variable}: a port of the top is made a FIFO by its interface"


def _automatic_variables(function: Function) -> set[str]:
    return {
        c.spelling
        for c in function.cursor.walk_preorder()
        if c.kind is CursorKind.VAR_DECL and c.storage_class is not StorageClass.STATIC
    }


def _modes(function: Function, port: str) -> list[str]:
    """The modes that interface pragmas give a port."""
    return [
        p.parsed.get("mode").lower()
        for p in function.pragmas
        if p.parsed.directive == "interface"
        and not p.parsed.errors
        and port in (a.value for a in p.parsed.variables())
    ]


def _conflicts(block: Block) -> Iterator[Finding]:
    seen = set()
    for pragma in block.pragmas:
        directive = pragma.parsed.directive
        if directive in _UNIQUE and directive in seen:
            yield Finding(pragma.path, pragma.line, f"{pragma.title}: is given twice")
        seen.add(directive)
    if block.has("pipeline") and block.has("dataflow"):
        pragma = next(p for p in block.pragmas if p.parsed.directive == "dataflow")
        message = f"{pragma.title}: the body is pipelined, which excludes dataflow"
        yield Finding(pragma.path, pragma.line, message)


def check_proofs(source: Source, macros: Sequence[str]) -> Iterator[Finding]:
    """That a dependence declared false is one that a simulation checks: one of the macros, with the
    variable as its first argument, in the same block."""
    for pragma in source.pragmas:
        parsed = pragma.parsed
        if parsed.directive != "dependence" or parsed.errors or pragma.block is None:
            continue
        if parsed.get("dependent").lower() != "false":
            continue
        body = source.text(pragma.path)[pragma.block.start : pragma.block.end].decode()
        for variable in (a.value for a in parsed.variables()):
            if not re.search(rf"\b({'|'.join(macros)})\(\s*{re.escape(variable)}\s*,", body):
                message = f"{variable}: no {macros[0]}({variable}, ...) here that csim could check"
                yield Finding(pragma.path, pragma.line, f"{pragma.title}: {message}")


# --- loops ---------------------------------------------------------------------------------------


def check_loops(source: Source) -> Iterator[Finding]:
    """Labels and bounds, of loops that become hardware: those of constexpr functions do not."""
    for function in source.functions:
        if function.is_constexpr:
            continue
        for loop in function.loops:
            for message in _loop_errors(loop):
                name = f"loop '{loop.label}'" if loop.label else f"{loop.keyword} loop"
                yield Finding(loop.path, loop.line, f"{name}: {message}")


def _loop_errors(loop: Loop) -> Iterator[str]:
    if loop.label is None:
        yield "has no label"
    if loop.is_endless:
        yield "never ends"
    elif not loop.is_constant:
        yield from (f"its trip count is not constant{c}" for c in _consequences(loop))


def _consequences(loop: Loop) -> Iterator[str]:
    """What a trip count that is not constant leads to; nothing where a loop_tripcount is enough."""
    pragmas = [p.parsed for p in loop.block.pragmas] if loop.block else []
    if any(p.directive == "unroll" and "factor" not in p and not p.is_off() for p in pragmas):
        yield ", so it cannot be unrolled without a factor"
    elif pipelined := _pipelined_around(loop.parent):
        yield f", so it cannot be unrolled into the pipelined {pipelined.kind} around it"
    elif not any(p.directive == "loop_tripcount" for p in pragmas):
        yield "; add #pragma HLS loop_tripcount"


def _pipelined_around(block: Block | None) -> Block | None:
    """The pipelined block, if any, that is or is around the given one."""
    while block is not None and not block.has("pipeline"):
        block = block.parent
    return block


# --- interface of the top function ---------------------------------------------------------------

_STREAM = re.compile(r"^(const )?hls::stream<")
_ADDRESSES = {
    TypeKind.POINTER,
    TypeKind.CONSTANTARRAY,
    TypeKind.INCOMPLETEARRAY,
    TypeKind.LVALUEREFERENCE,
}
_STREAM_MODES = {"axis", "ap_fifo"}
_ADDRESS_MODES = {"m_axi", "ap_memory", "bram"}


def check_top(function: Function) -> Iterator[Finding]:
    """Interfaces of the top function: each argument has one, of a mode that its type allows."""
    bundles: dict[str, str] = {}
    for pragma in function.pragmas:
        bundle, mode = pragma.parsed.get("bundle"), pragma.parsed.get("mode").lower()
        if bundle and bundles.setdefault(bundle, mode) != mode:
            message = f"{pragma.title}: bundle {bundle} is {mode} here and {bundles[bundle]} before"
            yield Finding(pragma.path, pragma.line, message)
    for message in _top_errors(function):
        yield Finding(function.path, function.line, f"top function {function.name}: {message}")


def _top_errors(function: Function) -> Iterator[str]:
    if not _modes(function, "return"):
        yield "no interface pragma for port=return, so its control protocol is left to the tool"
    for parameter in function.parameters:
        name, modes = parameter.spelling, _modes(function, parameter.spelling)
        if not modes:
            yield f"argument '{name}' has no interface pragma"
        yield from (f"argument '{name}': {m}" for m in _mode_errors(parameter.type, modes))
        if "m_axi" in modes and parameter.type.get_canonical().kind is TypeKind.POINTER:
            depths = [
                p
                for p in function.pragmas
                if p.parsed.directive == "interface"
                and "depth" in p.parsed
                and name in (a.value for a in p.parsed.variables())
            ]
            if not depths:
                yield f"argument '{name}': an m_axi pointer needs depth= for co-simulation"


def _mode_errors(type_: Type, modes: Iterable[str]) -> Iterator[str]:
    canonical = type_.get_canonical()
    target = _target(canonical)
    if target is not None and _target(target) is not None:
        yield f"type '{type_.spelling}' is a pointer to a pointer, which cannot be a port"
    is_stream = bool(_STREAM.match((target or canonical).spelling))
    is_address = canonical.kind in _ADDRESSES or canonical.spelling.startswith("hls::burst_maxi<")
    for mode in modes:
        if is_stream and mode not in _STREAM_MODES:
            yield f"mode {mode} is not possible for an hls::stream"
        elif mode in _ADDRESS_MODES and not is_address:
            yield f"mode {mode} needs an array or pointer, not '{type_.spelling}'"


def _target(type_: Type) -> Type | None:
    """What a pointer, array or reference refers to; None for other types."""
    if type_.kind in (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY):
        element = type_.element_type
        # A matrix is one array, not an array of pointers.
        return _target(element) if element.kind is TypeKind.CONSTANTARRAY else element
    return type_.get_pointee() if type_.kind in _ADDRESSES else None


# --- constructs that do not synthesize -----------------------------------------------------------

_EXCEPTION = "exceptions do not synthesize"
_UNSYNTHESIZABLE = {
    CursorKind.CXX_NEW_EXPR: "new: memory is not allocated in hardware",
    CursorKind.CXX_DELETE_EXPR: "delete: memory is not allocated in hardware",
    CursorKind.CXX_TRY_STMT: f"try: {_EXCEPTION}",
    CursorKind.CXX_THROW_EXPR: f"throw: {_EXCEPTION}",
    CursorKind.GOTO_STMT: "goto does not synthesize",
    CursorKind.INDIRECT_GOTO_STMT: "goto does not synthesize",
    CursorKind.ASM_STMT: "asm does not synthesize",
    CursorKind.CXX_TYPEID_EXPR: "typeid: types are not known in hardware",
    CursorKind.CXX_DYNAMIC_CAST_EXPR: "dynamic_cast: types are not known in hardware",
    CursorKind.CXX_REINTERPRET_CAST_EXPR: "reinterpret_cast does not synthesize",
}
_SYSTEM_CALLS = re.compile(
    r"malloc|calloc|realloc|free|alloca|aligned_alloc|posix_memalign|v?[fs]?n?printf|puts|putchar"
    r"|[fs]?scanf|getchar|f(put|get)[cs]|f(write|read|open|close|flush)|perror|exit|abort|_Exit"
    r"|quick_exit|atexit|system|getenv|signal|raise|setjmp|longjmp|time|clock|gettimeofday"
    r"|(u|nano)?sleep|s?rand|random"
)
_LIBRARY_TYPES = re.compile(
    r"\bstd::(?:__\w+::)?(any|basic_\w*stream|basic_string|deque|forward_list|function|future|list"
    r"|map|multimap|multiset|mutex|optional|priority_queue|queue|set|shared_ptr|stack|thread"
    r"|unique_ptr|unordered_\w+|variant|vector|weak_ptr)\b"
)
_STREAMS = {"cout", "cerr", "clog", "cin"}
_FLOATS = {TypeKind.HALF, TypeKind.FLOAT, TypeKind.DOUBLE, TypeKind.LONGDOUBLE, TypeKind.FLOAT128}
_QUALIFIERS = re.compile(r"\b(const|volatile) ")
_VARIABLES = {CursorKind.VAR_DECL, CursorKind.PARM_DECL, CursorKind.FIELD_DECL}


def check_constructs(source: Source, allow_float: bool) -> Iterator[Finding]:
    """C++ that compiles but does not become hardware."""
    roots = [f.cursor for f in source.functions if not f.is_constexpr]
    roots += [c for c in source.declarations if c.kind in (*_VARIABLES, CursorKind.CXX_METHOD)]
    for root in roots:
        for cursor in _walk(root):
            for message in _construct_errors(cursor, allow_float):
                yield Finding(cursor.location.file.name, cursor.location.line, message)


def _walk(cursor: Cursor) -> Iterator[Cursor]:
    """A declaration and what is written in it, without what the compiler evaluates."""
    if cursor.kind is CursorKind.STATIC_ASSERT or _is_constexpr(cursor):
        return
    if cursor.location.file is not None:  # not added by the compiler
        yield cursor
    for child in cursor.get_children():
        yield from _walk(child)


def _is_constexpr(cursor: Cursor) -> bool:
    if cursor.kind is not CursorKind.VAR_DECL or not cursor.type.is_const_qualified():
        return False
    head = SourceRange.from_locations(cursor.extent.start, cursor.location)
    tokens = cursor.translation_unit.get_tokens(extent=head)
    return "constexpr" in (t.spelling for t in tokens)


def _construct_errors(cursor: Cursor, allow_float: bool) -> Iterator[str]:
    kind = cursor.kind
    if kind in _UNSYNTHESIZABLE:
        yield _UNSYNTHESIZABLE[kind]
    if kind is CursorKind.CXX_METHOD and cursor.is_virtual_method():
        yield f"virtual function '{cursor.spelling}' does not synthesize"
    if kind is CursorKind.FUNCTION_DECL and cursor.type.is_function_variadic():
        yield f"variadic function '{cursor.spelling}' does not synthesize"
    if kind in _VARIABLES:
        yield from _variable_errors(cursor)
    if kind is CursorKind.CSTYLE_CAST_EXPR and _is_pointer_cast(cursor):
        yield f"cast to '{cursor.type.spelling}': pointers of different types do not synthesize"
    if kind in (CursorKind.DECL_REF_EXPR, CursorKind.MEMBER_REF_EXPR):
        yield from _reference_errors(cursor)
    if not allow_float and (kind in _VARIABLES or kind.is_expression()):
        type_ = cursor.type.get_canonical()
        while type_.kind in _ADDRESSES:
            type_ = _target(type_).get_canonical()
        if type_.kind in _FLOATS:
            yield "floating point; its arithmetic is to be integer (--allow-float permits it)"


def _variable_errors(cursor: Cursor) -> Iterator[str]:
    name, type_ = cursor.spelling, cursor.type.get_canonical()
    if library := _LIBRARY_TYPES.search(type_.spelling):
        yield f"'{name}': std::{library[1]} does not synthesize"
    if type_.kind is TypeKind.VARIABLEARRAY:
        yield f"'{name}': the size of an array must be constant"
    if type_.kind is TypeKind.MEMBERPOINTER or (
        type_.kind in _ADDRESSES and _target(type_).kind is TypeKind.FUNCTIONPROTO
    ):
        yield f"'{name}': function pointers do not synthesize"
    if cursor.kind is CursorKind.VAR_DECL and cursor.storage_class is StorageClass.STATIC:
        inputs = [
            c.spelling
            for c in cursor.walk_preorder()
            if c.kind is CursorKind.DECL_REF_EXPR
            and c.referenced is not None
            and c.referenced.kind in (CursorKind.PARM_DECL, CursorKind.VAR_DECL)
            and not c.referenced.type.is_const_qualified()
        ]
        if inputs:
            yield f"'{name}': a static variable is set at reset, when '{inputs[0]}' has no value"


def _is_pointer_cast(cursor: Cursor) -> bool:
    """Whether a C-style cast makes a pointer of a pointer to another type."""
    operands = [c for c in cursor.get_children() if c.kind.is_expression()]
    target, origin = _target(cursor.type), _target(operands[-1].type) if operands else None
    return (
        cursor.type.get_canonical().kind is TypeKind.POINTER
        and target is not None
        and origin is not None
        and _QUALIFIERS.sub("", target.get_canonical().spelling)
        != _QUALIFIERS.sub("", origin.get_canonical().spelling)
    )


def _reference_errors(cursor: Cursor) -> Iterator[str]:
    """The use of functions and objects of the system's libraries."""
    declaration = cursor.referenced
    if declaration is None or not declaration.location.is_in_system_header:
        return
    name = declaration.spelling
    if declaration.kind is CursorKind.FUNCTION_DECL and _SYSTEM_CALLS.fullmatch(name):
        yield f"call of {name}(): there is no operating system in hardware"
    if declaration.kind is CursorKind.VAR_DECL and name in _STREAMS:
        yield f"std::{name}: there is no operating system in hardware"


# --- recursion -----------------------------------------------------------------------------------


_TEMPLATE_ID = re.compile(rb"\w+\s*<")


def calls(source: Source) -> Iterator[Call]:
    """Which function of a source uses which.

    Left out are constexpr functions and the calls `f<N - 1>()` of templates, whose recursion the
    compiler unfolds.
    """
    for function in source.functions:
        if function.is_constexpr:
            continue
        caller = function.cursor.get_usr()
        for cursor in _walk(function.cursor):
            for callee in _used_functions(cursor, source):
                line = cursor.location.line
                yield Call(caller, callee.get_usr(), function.name, function.path, line)


def _used_functions(cursor: Cursor, source: Source) -> Iterator[Cursor]:
    if cursor.kind is CursorKind.OVERLOADED_DECL_REF:
        candidates = [
            conf.lib.clang_getOverloadedDecl(cursor, i)
            for i in range(conf.lib.clang_getNumOverloadedDecls(cursor))
        ]
    elif cursor.kind in (CursorKind.DECL_REF_EXPR, CursorKind.MEMBER_REF_EXPR):
        candidates = [cursor.referenced] if cursor.referenced is not None else []
    else:
        return
    place = cursor.location
    has_arguments = _TEMPLATE_ID.match(source.text(place.file.name), place.offset) is not None
    for candidate in candidates:
        template = conf.lib.clang_getSpecializedCursorTemplate(candidate)
        is_template = candidate.kind is CursorKind.FUNCTION_TEMPLATE or template is not None
        if not (is_template and has_arguments):
            yield template or candidate


def check_recursion(all_calls: Iterable[Call]) -> Iterator[Finding]:
    """Functions that call themselves, directly or through others, in all sources together."""
    graph: dict[str, dict[str, Call]] = {}
    for call in all_calls:
        graph.setdefault(call.caller, {})[call.callee] = call
    reported: set[str] = set()
    for start in graph:
        cycle = None if start in reported else _path_back(graph, start)
        if cycle:
            reported |= {c.caller for c in cycle}
            names = " -> ".join([c.caller_name for c in cycle] + [cycle[0].caller_name])
            yield Finding(cycle[0].path, cycle[0].line, f"recursion does not synthesize: {names}")


def _path_back(graph: dict[str, dict[str, Call]], start: str) -> list[Call] | None:
    """The shortest chain of calls from a function back to itself."""
    paths: list[list[Call]] = [[]]
    visited: set[str] = set()
    while paths:
        path = paths.pop(0)
        for callee, call in graph.get(path[-1].callee if path else start, {}).items():
            if callee == start:
                return [*path, call]
            if callee not in visited:
                visited.add(callee)
                paths.append([*path, call])
    return None
