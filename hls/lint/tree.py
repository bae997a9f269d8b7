"""Functions as trees of plain Python objects, templates as they are instantiated.

libclang shows the body of an instantiated template where a call refers to it, with the arguments in
the place of the parameters. A tree keeps of it what execution.py runs: no implicit conversions, and
a number in the place of every expression that the compiler can evaluate.
"""

import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

from clang.cindex import Cursor, CursorKind, StorageClass, Type, TypeKind, conf

from hls.lint.source import Block, Source, body_of


@dataclass(slots=True, eq=False)
class Node:
    """A statement or an expression.

    kind says what `parts` are (see the functions of Builder); value is the number of a constant.
    """

    kind: str
    path: str
    line: int
    parts: tuple = ()
    name: str = ""
    value: int | None = None
    type: "Shape | None" = None
    changed: frozenset | None = None  # what execution.py finds out of it


@dataclass(frozen=True)
class Shape:
    """What the rules ask of a type: its dimensions, the bits of an element (None for one that is
    not known), whether it is a reference or pointer, and to something constant, whether it is an
    hls::stream, and the members of a struct of the project."""

    dims: tuple[int, ...] = ()
    bits: int | None = None
    is_address: bool = False
    is_const: bool = False
    is_stream: bool = False
    members: "dict[str, Shape]" = field(default_factory=dict, compare=False)


@dataclass(eq=False)
class Variable:
    """The declaration of a variable or parameter. key is the same for all uses in one source;
    is_pointer says that it may come to lead elsewhere."""

    key: object
    name: str
    shape: Shape
    is_static: bool
    is_pointer: bool
    path: str
    line: int


@dataclass(eq=False)
class Body:
    """A function that is defined in the project: its parameters and statements, and whether it
    returns a reference or pointer."""

    name: str
    usr: str
    path: str
    line: int
    parameters: list[Variable]
    statements: Node
    is_address: bool


@dataclass(eq=False)
class Callee:
    """What a call calls. cursor is the declaration, builder the source that it was seen in."""

    name: str
    usr: str
    is_method: bool
    is_const_method: bool
    is_system: bool
    parameters: list[Shape]
    cursor: Cursor
    builder: "Builder"
    body: "Body | None" = None
    is_resolved: bool = False


_LIBRARY = conf.lib
_LIBRARY.clang_Cursor_Evaluate.argtypes = [Cursor]
_LIBRARY.clang_Cursor_Evaluate.restype = ctypes.c_void_p
_LIBRARY.clang_EvalResult_getKind.argtypes = [ctypes.c_void_p]
_LIBRARY.clang_EvalResult_getAsLongLong.argtypes = [ctypes.c_void_p]
_LIBRARY.clang_EvalResult_getAsLongLong.restype = ctypes.c_longlong
_LIBRARY.clang_EvalResult_dispose.argtypes = [ctypes.c_void_p]
_INTEGER_RESULT = 1  # CXEval_Int


def evaluate(cursor: Cursor) -> int | None:
    """The value of an expression or initialized variable, None if it is no integer constant."""
    result = _LIBRARY.clang_Cursor_Evaluate(cursor)
    if not result:
        return None
    is_integer = _LIBRARY.clang_EvalResult_getKind(result) == _INTEGER_RESULT
    value = _LIBRARY.clang_EvalResult_getAsLongLong(result) if is_integer else None
    _LIBRARY.clang_EvalResult_dispose(result)
    return value


# CXBinaryOperatorKind and CXUnaryOperatorKind of clang-c/Index.h.
_BINARY = {
    **dict(enumerate(("*", "/", "%", "+", "-", "<<", ">>"), 3)),
    **dict(enumerate(("<", ">", "<=", ">=", "==", "!=", "&", "^", "|", "&&", "||"), 11)),
    **dict(enumerate(("=", "*=", "/=", "%=", "+=", "-=", "<<=", ">>=", "&=", "^=", "|="), 22)),
    33: ",",
}
_UNARY = dict(enumerate(("++", "--", "++", "--", "&", "*", "+", "-", "~", "!"), 1))

_TRANSPARENT = {
    CursorKind.UNEXPOSED_EXPR,
    CursorKind.PAREN_EXPR,
    CursorKind.CXX_FUNCTIONAL_CAST_EXPR,
    CursorKind.CSTYLE_CAST_EXPR,
    CursorKind.CXX_STATIC_CAST_EXPR,
    CursorKind.CXX_CONST_CAST_EXPR,
    CursorKind.UNEXPOSED_STMT,
    CursorKind.LABEL_STMT,
}
_ADDRESSES = {
    TypeKind.POINTER,
    TypeKind.LVALUEREFERENCE,
    TypeKind.RVALUEREFERENCE,
    TypeKind.INCOMPLETEARRAY,
}
_UNSIGNED = {TypeKind.UINT, TypeKind.ULONG, TypeKind.ULONGLONG, TypeKind.USHORT, TypeKind.UCHAR}
_AP_INTEGER = re.compile(r"ap_u?int<(\d+)>")
_ASSIGNING_METHOD = re.compile(r"operator(?:[-+*/%&|^]|<<|>>)?=$")


def bits_of(type_: Type) -> int | None:
    """The bits that a value takes in a memory; those of a struct are the sum of its members'."""
    canonical = type_.get_canonical()
    if match := _AP_INTEGER.search(canonical.spelling):
        return int(match[1])
    if canonical.kind is TypeKind.BOOL:
        return 1
    if canonical.kind is TypeKind.CONSTANTARRAY:
        element = bits_of(canonical.element_type)
        return None if element is None else element * canonical.element_count
    if canonical.kind is TypeKind.RECORD:
        members = [bits_of(f.type) for f in canonical.get_fields()]
        return None if None in members else sum(members)
    size = canonical.get_size()
    return 8 * size if size > 0 else None


def shape_of(type_: Type) -> Shape:
    """The shape of a type; a pointer has that of what it points to."""
    canonical = type_.get_canonical()
    is_address = canonical.kind in _ADDRESSES
    if canonical.kind is TypeKind.INCOMPLETEARRAY:
        canonical = canonical.element_type
    elif is_address:
        canonical = canonical.get_pointee().get_canonical()
    dims = []
    while canonical.kind is TypeKind.CONSTANTARRAY:
        dims.append(canonical.element_count)
        canonical = canonical.element_type.get_canonical()
    members = {}
    is_struct = canonical.kind is TypeKind.RECORD
    if is_struct and not canonical.get_declaration().location.is_in_system_header:
        members = {f.spelling: shape_of(f.type) for f in canonical.get_fields()}
    bits = bits_of(canonical) if dims else None
    return Shape(
        tuple(dims),
        bits,
        is_address,
        canonical.is_const_qualified(),
        "hls::stream<" in canonical.spelling,
        members,
    )


class Builder:
    """Makes the trees of a source's functions, each when it is first asked for."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.blocks: dict[tuple[str, int], Block] = {
            (block.path, block.start): block for f in source.functions for block in f.blocks
        }
        self._bodies: dict[str, Body | None] = {}
        self._variables: dict[object, Variable] = {}
        self._callees: dict[object, Callee] = {}
        self._shapes: dict[str, Shape] = {}

    def body(self, cursor: Cursor) -> Body | None:
        """The tree of a function, None if the source does not define it."""
        usr = cursor.get_usr()
        if usr not in self._bodies:
            definition = cursor.get_definition() if not cursor.is_definition() else cursor
            statements = body_of(definition) if definition is not None else None
            if statements is None:
                return None
            parameters = [
                self._variable(c)
                for c in definition.get_children()
                if c.kind is CursorKind.PARM_DECL
            ]
            place = definition.location
            self._bodies[usr] = Body(
                cursor.spelling,
                usr,
                place.file.name,
                place.line,
                parameters,
                self._statement(statements),
                cursor.result_type.get_canonical().kind in _ADDRESSES,
            )
        return self._bodies[usr]

    def constant(self, name: str) -> int | None:
        """The value of a constant of the source that has that name, None if there is none."""
        for declaration in self.source.declarations:
            if declaration.spelling == name and declaration.kind is CursorKind.VAR_DECL:
                return evaluate(declaration)
        return None

    def variable(self, name: str) -> Variable | None:
        """The variable of that name outside functions, None if there is none."""
        for declaration in self.source.declarations:
            if declaration.spelling == name and declaration.kind is CursorKind.VAR_DECL:
                return self._variable(declaration)
        return None

    def shape(self, type_: Type) -> Shape:
        """As shape_of(), which is slow."""
        name = type_.get_canonical().spelling
        if name not in self._shapes:
            self._shapes[name] = shape_of(type_)
        return self._shapes[name]

    # --- declarations

    def _variable(self, cursor: Cursor) -> Variable:
        is_global = cursor.kind is CursorKind.VAR_DECL and (
            cursor.storage_class is StorageClass.STATIC
            or cursor.semantic_parent.kind
            in (CursorKind.NAMESPACE, CursorKind.TRANSLATION_UNIT, CursorKind.LINKAGE_SPEC)
        )
        key: object = cursor.get_usr() if is_global else (id(self), cursor.hash)
        if key not in self._variables:
            place = cursor.location
            path = place.file.name if place.file else ""
            shape = self.shape(cursor.type)
            if cursor.kind is CursorKind.PARM_DECL and shape.dims:
                shape = replace(shape, is_address=True)
            is_local = cursor.kind is CursorKind.VAR_DECL and not is_global
            is_pointer = is_local and cursor.type.get_canonical().kind is TypeKind.POINTER
            self._variables[key] = Variable(
                key, cursor.spelling, shape, is_global, is_pointer, path, place.line
            )
        return self._variables[key]

    def _callee(self, cursor: Cursor) -> Callee:
        key = cursor.hash
        if key not in self._callees:
            self._callees[key] = Callee(
                cursor.spelling,
                cursor.get_usr(),
                cursor.kind in (CursorKind.CXX_METHOD, CursorKind.CONVERSION_FUNCTION)
                and not cursor.is_static_method(),
                cursor.is_const_method(),
                cursor.location.is_in_system_header,
                [self.shape(t) for t in cursor.type.argument_types()],
                cursor,
                self,
            )
        return self._callees[key]

    # --- statements

    def _statement(self, cursor: Cursor) -> Node:
        kind = cursor.kind
        place = cursor.location
        path, line = (place.file.name if place.file else ""), place.line
        if kind is CursorKind.COMPOUND_STMT:
            node = Node("block", path, line)
            block = self.blocks.get((path, cursor.extent.start.offset))
            statements = [
                (c.extent.start.offset, self._statement(c)) for c in cursor.get_children()
            ]
            node.parts = (statements, block)
            return node
        if kind is CursorKind.DECL_STMT:
            declarations = [
                (self._variable(c), self._initializer(c))
                for c in cursor.get_children()
                if c.kind is CursorKind.VAR_DECL
            ]
            return Node("declare", path, line, tuple(declarations))
        if kind is CursorKind.IF_STMT:
            parts = [self._statement(c) for c in cursor.get_children()]
            return Node("if", path, line, (parts[0], parts[1], parts[2] if parts[2:] else None))
        if kind is CursorKind.FOR_STMT:
            parts = [self._statement(c) for c in cursor.get_children()]
            if len(parts) == 4:
                return Node("for", path, line, tuple(parts))
            return Node("while", path, line, (tuple(parts[:-1]), parts[-1]))
        if kind in (CursorKind.WHILE_STMT, CursorKind.DO_STMT, CursorKind.CXX_FOR_RANGE_STMT):
            parts = [self._statement(c) for c in cursor.get_children()]
            if kind is CursorKind.DO_STMT:
                parts = [parts[-1], *parts[:-1]]
            return Node("while", path, line, (tuple(parts[:-1]), parts[-1]))
        if kind is CursorKind.SWITCH_STMT:
            *head, body = cursor.get_children()
            return Node(
                "switch", path, line, (self._expression(head[-1]), tuple(self._cases(body)))
            )
        if kind is CursorKind.RETURN_STMT:
            parts = tuple(self._expression(c) for c in cursor.get_children())
            return Node("return", path, line, parts)
        if kind is CursorKind.BREAK_STMT:
            return Node("break", path, line)
        if kind is CursorKind.CONTINUE_STMT:
            return Node("continue", path, line)
        if kind in (CursorKind.LABEL_STMT, CursorKind.UNEXPOSED_STMT):
            children = list(cursor.get_children())
            inner = self._statement(children[-1]) if children else Node("nothing", path, line)
            if kind is CursorKind.LABEL_STMT and not inner.name:
                inner.name = cursor.spelling
            return inner
        if kind.is_expression():
            return self._expression(cursor)
        return Node("nothing", path, line)

    def _cases(self, body: Cursor) -> Iterator[tuple[tuple[Node | None, ...], list[Node]]]:
        """The cases of a switch: their values (None: default) and statements."""
        values: tuple[Node | None, ...] = ()
        statements: list[Node] = []
        for child in body.get_children():
            if child.kind in (CursorKind.CASE_STMT, CursorKind.DEFAULT_STMT):
                if values:
                    yield values, statements
                values, statements = (), []
                while child.kind in (CursorKind.CASE_STMT, CursorKind.DEFAULT_STMT):
                    *value, child = child.get_children()
                    values += (self._expression(value[0]) if value else None,)
            statements.append(self._statement(child))
        if values:
            yield values, statements

    def _initializer(self, cursor: Cursor) -> Node | None:
        for child in reversed(list(cursor.get_children())):
            if child.kind.is_expression():
                # The size of an array is a child, too.
                is_size = cursor.type.get_canonical().kind is TypeKind.CONSTANTARRAY and (
                    child.kind is not CursorKind.INIT_LIST_EXPR
                    and child.type.get_canonical().kind is not TypeKind.CONSTANTARRAY
                )
                return None if is_size else self._expression(child)
        return None

    # --- expressions

    def _expression(self, cursor: Cursor) -> Node:
        kind = cursor.kind
        if kind in _TRANSPARENT:
            children = [c for c in cursor.get_children() if c.kind.is_expression()]
            if len(children) == 1:
                inner = self._expression(children[0])
                is_unsigned = cursor.type.get_canonical().kind in _UNSIGNED
                if is_unsigned and inner.value is not None and inner.value < 0:
                    return self._constant(cursor, inner.value % (1 << 8 * cursor.type.get_size()))
                return inner
        place = cursor.location
        path, line = (place.file.name if place.file else ""), place.line
        build = self._BUILD.get(kind)
        if build is not None:
            return build(self, cursor, path, line)
        value = evaluate(cursor)
        if value is not None:
            return self._constant(cursor, value)
        parts = tuple(self._expression(c) for c in cursor.get_children() if c.kind.is_expression())
        return Node("opaque", path, line, parts, kind.name)

    def _constant(self, cursor: Cursor, value: int) -> Node:
        place = cursor.location
        return Node("constant", place.file.name if place.file else "", place.line, value=value)

    def _literal(self, cursor: Cursor, path: str, line: int) -> Node:
        return Node("constant", path, line, value=evaluate(cursor) or 0)

    def _reference(self, cursor: Cursor, path: str, line: int) -> Node:
        children = list(cursor.get_children())
        if not cursor.spelling and len(children) == 1:  # a parameter of a template
            return self._expression(children[0])
        target = cursor.referenced
        if target is None or target.kind not in (CursorKind.VAR_DECL, CursorKind.PARM_DECL):
            value = evaluate(cursor)
            return (
                Node("opaque", path, line, name=cursor.spelling)
                if value is None
                else self._constant(cursor, value)
            )
        if cursor.type.is_const_qualified() and target.kind is CursorKind.VAR_DECL:
            value = evaluate(cursor)
            if value is not None:
                return self._constant(cursor, value)
        return Node("variable", path, line, (self._variable(target),), cursor.spelling)

    def _member(self, cursor: Cursor, path: str, line: int) -> Node:
        base = [self._expression(c) for c in cursor.get_children() if c.kind.is_expression()]
        node = Node("member", path, line, tuple(base[:1]), cursor.spelling)
        node.type = self.shape(cursor.type)
        return node

    def _subscript(self, cursor: Cursor, path: str, line: int) -> Node:
        base, index = (self._expression(c) for c in cursor.get_children())
        return Node("subscript", path, line, (base, index))

    def _binary(self, cursor: Cursor, path: str, line: int) -> Node:
        left, right = cursor.get_children()
        operator = _BINARY.get(_LIBRARY.clang_getCursorBinaryOperatorKind(cursor), "?")
        if operator.endswith("=") and operator not in ("==", "!=", "<=", ">="):
            parts = (self._expression(left), self._expression(right))
            return Node("assign", path, line, parts, operator[:-1])
        return self._operation(operator, [left, right], path, line)

    def _operation(self, operator: str, operands: list[Cursor], path: str, line: int) -> Node:
        parts = tuple(self._expression(o) for o in operands)
        node = Node("operation", path, line, parts, operator)
        values = [p.value for p in parts]
        if None not in values and len(values) == 2:
            node.value = calculate(operator, *values)
            if node.value is not None:
                node.kind = "constant"
        return node

    def _unary(self, cursor: Cursor, path: str, line: int) -> Node:
        (operand,) = (self._expression(c) for c in cursor.get_children())
        operator = _UNARY.get(_LIBRARY.clang_getCursorUnaryOperatorKind(cursor), "?")
        if operator in ("++", "--"):
            one = Node("constant", path, line, value=1)
            return Node("assign", path, line, (operand, one), operator[0])
        if operator in ("&", "*"):
            return Node("address" if operator == "&" else "target", path, line, (operand,))
        if operand.value is not None and operator != "?":
            value = {
                "+": operand.value,
                "-": -operand.value,
                "~": ~operand.value,
                "!": int(not operand.value),
            }[operator]
            return Node("constant", path, line, value=value)
        return Node("operation", path, line, (operand,), operator)

    def _choice(self, cursor: Cursor, path: str, line: int) -> Node:
        condition, *choices = cursor.get_children()
        node = Node(
            "choice", path, line, (self._expression(condition), *map(self._expression, choices))
        )
        # "places": the operator yields one of two objects, not one of two values.
        node.name = "places" if all(_is_object(c) for c in choices) else ""
        return node

    def _call(self, cursor: Cursor, path: str, line: int) -> Node:
        target = cursor.referenced
        arguments = list(cursor.get_arguments())
        if target is None or target.kind is CursorKind.CONSTRUCTOR:
            if len(arguments) == 1:  # a copy or a conversion
                return self._expression(arguments[0])
            return Node("opaque", path, line, tuple(map(self._expression, arguments)), "construct")
        if target.kind not in (
            CursorKind.FUNCTION_DECL,
            CursorKind.CXX_METHOD,
            CursorKind.CONVERSION_FUNCTION,
        ):
            return Node("opaque", path, line, tuple(map(self._expression, arguments)), "call")
        callee = self._callee(target)
        is_operator = callee.name.startswith("operator") and not callee.name[8:9].isalnum()
        if callee.is_system and target.kind is CursorKind.CONVERSION_FUNCTION:
            (member,) = cursor.get_children()
            base = [c for c in member.get_children() if c.kind.is_expression()]
            if base:
                return self._expression(base[0])
        is_copied = len(arguments) == 2 and (
            target.is_copy_assignment_operator_method()
            or target.is_move_assignment_operator_method()
        )
        if is_operator and (callee.is_system or is_copied):
            return self._library_operator(callee, arguments, path, line)
        if (
            not callee.is_system
            and arguments
            and cursor.type.get_canonical().kind
            not in (
                TypeKind.VOID,
                TypeKind.RECORD,
            )
        ):
            value = evaluate(cursor)
            if value is not None:
                return self._constant(cursor, value)
        parts = [self._expression(a) for a in arguments]
        this = None
        if callee.is_method and not is_operator:
            first = next(cursor.get_children(), None)
            base = [c for c in first.get_children() if c.kind.is_expression()] if first else []
            this = self._expression(base[0]) if base else None
        return Node("call", path, line, (callee, this, tuple(parts)), callee.name)

    def _library_operator(
        self, callee: Callee, arguments: list[Cursor], path: str, line: int
    ) -> Node:
        """An operator of a class of the libraries, such as ap_int, as one of a number."""
        operator = callee.name[8:].strip()
        if _ASSIGNING_METHOD.match(callee.name) and operator not in ("==", "!=", "<=", ">="):
            parts = tuple(map(self._expression, arguments))
            return Node("assign", path, line, parts, operator[:-1])
        if operator in ("++", "--"):
            one = Node("constant", path, line, value=1)
            return Node("assign", path, line, (self._expression(arguments[0]), one), operator[0])
        return self._operation(operator, arguments, path, line)

    _BUILD: ClassVar = {
        CursorKind.INTEGER_LITERAL: _literal,
        CursorKind.CXX_BOOL_LITERAL_EXPR: _literal,
        CursorKind.CHARACTER_LITERAL: _literal,
        CursorKind.DECL_REF_EXPR: _reference,
        CursorKind.MEMBER_REF_EXPR: _member,
        CursorKind.ARRAY_SUBSCRIPT_EXPR: _subscript,
        CursorKind.BINARY_OPERATOR: _binary,
        CursorKind.COMPOUND_ASSIGNMENT_OPERATOR: _binary,
        CursorKind.UNARY_OPERATOR: _unary,
        CursorKind.CONDITIONAL_OPERATOR: _choice,
        CursorKind.CALL_EXPR: _call,
    }


def _is_object(cursor: Cursor) -> bool:
    """Whether an expression names a variable or an element, and is not converted to a value."""
    while cursor.kind is CursorKind.PAREN_EXPR or (
        cursor.kind is CursorKind.UNEXPOSED_EXPR
        and (cursor.type.is_const_qualified() or cursor.type.get_canonical().kind in _ADDRESSES)
    ):
        children = list(cursor.get_children())
        if len(children) != 1:
            return False
        cursor = children[0]
    return cursor.kind in (
        CursorKind.DECL_REF_EXPR,
        CursorKind.MEMBER_REF_EXPR,
        CursorKind.ARRAY_SUBSCRIPT_EXPR,
    )


def calculate(operator: str, a: int, b: int) -> int | None:
    """a operator b as in C++, None where that has no value."""
    if operator in ("/", "%"):
        if b == 0:
            return None
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        return quotient if operator == "/" else a - b * quotient
    if operator in ("<<", ">>") and not 0 <= b < 64:
        return None
    function = _CALCULATE.get(operator)
    return None if function is None else int(function(a, b))


_CALCULATE = {
    "*": lambda a, b: a * b,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "<<": lambda a, b: a << b,
    ">>": lambda a, b: a >> b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "&": lambda a, b: a & b,
    "^": lambda a, b: a ^ b,
    "|": lambda a, b: a | b,
    "&&": lambda a, b: bool(a and b),
    "||": lambda a, b: bool(a or b),
}


def changed_by(node: Node) -> frozenset:
    """The keys of the variables that a statement may change."""
    if node.changed is None:
        changed: set = set()
        _add_changed(node, changed)
        node.changed = frozenset(changed)
    return node.changed


def _add_changed(node: object, changed: set) -> None:
    if isinstance(node, Node):
        if node.kind == "assign":
            _add_base(node.parts[0], changed)
        elif node.kind == "call":
            callee, this, arguments = node.parts
            if this is not None and callee.is_method and not callee.is_const_method:
                _add_base(this, changed)
            for argument, shape in zip(arguments, callee.parameters, strict=False):
                if shape.is_address and not shape.is_const:
                    _add_base(argument, changed)
        for part in node.parts:
            _add_changed(part, changed)
    elif isinstance(node, tuple | list):
        for part in node:
            _add_changed(part, changed)


def _add_base(node: Node | None, changed: set) -> None:
    while node is not None:
        if node.kind == "variable":
            changed.add(node.parts[0].key)
            return
        if node.kind == "choice":
            for choice in node.parts[1:]:
                _add_base(choice, changed)
            return
        inner = node.parts[1] if node.kind == "call" else next(iter(node.parts), None)
        node = inner if isinstance(inner, Node) else None
