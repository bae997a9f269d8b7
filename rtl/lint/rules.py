"""Rules of the language, those of the table in rtl/README.md that a program can check.

Rules of syntax look at what is written, rules of the design at what it means once parameters have
values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pyslang import SourceLocation, ast, syntax
from pyslang.syntax import SyntaxKind

from rtl.lint.reading import Design, Finding, finding

# --- syntax --------------------------------------------------------------------------------------

# What else synthesis tools have or tolerate, and what for: size and sign of expressions, and checks
# of parameters.
_SYSTEM_NAMES = frozenset({"$bits", "$clog2", "$signed", "$unsigned", "$fatal"})

_REFUSED = {
    SyntaxKind.JumpStatement: "break and continue: let the loop's bounds or a condition say it",
    SyntaxKind.LoopStatement: "while and repeat: use for",
    SyntaxKind.DoWhileStatement: "do: use for",
    SyntaxKind.ForeverStatement: "forever: use for",
    SyntaxKind.StringType: "type string: let a parameter that is text have no type",
    SyntaxKind.UnionType: "union: use a struct, or a function that decodes",
    SyntaxKind.InsideExpression: "inside: compare with ==, and use ||",
    SyntaxKind.WildcardEqualityExpression: "==?: compare the bits that count",
    SyntaxKind.WildcardInequalityExpression: "!=?: compare the bits that count",
    SyntaxKind.StreamingConcatenationExpression: "streaming operator: use a loop",
    SyntaxKind.ReplicatedAssignmentPattern: "replication in a pattern: use default",
    SyntaxKind.InterfaceDeclaration: "interface: use ports",
    SyntaxKind.ClassDeclaration: "class",
    SyntaxKind.DefParam: "defparam: set the parameter where the module is instantiated",
    SyntaxKind.AlwaysBlock: "always: use always_ff or always_comb",
    SyntaxKind.AlwaysLatchBlock: "always_latch: use always_ff",
    SyntaxKind.InitialBlock: "initial: reset the register",
    SyntaxKind.FinalBlock: "final",
}
_OF_CALL = frozenset({SyntaxKind.ElementSelectExpression, SyntaxKind.MemberAccessExpression})
_PARAMETERS = frozenset({SyntaxKind.ParameterDeclaration})


def _refused(node: syntax.SyntaxNode) -> str | None:
    """What the node is that is not used here, and what to do."""
    if node.kind in _REFUSED:
        return f"no {_REFUSED[node.kind]}"
    if node.kind == SyntaxKind.SystemName:
        name = str(node).strip()
        if name not in _SYSTEM_NAMES:
            return f"no {name}: of system functions use {', '.join(sorted(_SYSTEM_NAMES))}"
    if node.kind in _OF_CALL and node.left.kind == SyntaxKind.InvocationExpression:
        return "no select of a call's result: give the result a name"
    if node.kind == SyntaxKind.FunctionDeclaration and (
        str(node.prototype.lifetime).strip() != "automatic"
    ):
        return "a function without automatic shares its variables between calls"
    return None


def _untyped(node: syntax.SyntaxNode) -> bool:
    """Whether a parameter has neither type nor a text for a value."""
    if node.kind not in _PARAMETERS or node.type.kind != SyntaxKind.ImplicitType:
        return False
    values = [d.initializer for d in node.declarators if hasattr(d, "initializer")]
    return any(v is None or v.expr.kind != SyntaxKind.StringLiteralExpression for v in values)


def _body_parameter(node: syntax.SyntaxNode) -> bool:
    """Whether a module's body declares a `parameter`, which then is none."""
    return (
        node.kind == SyntaxKind.ParameterDeclarationStatement
        and str(node.parameter.keyword).strip() == "parameter"
    )


def _check_syntax(design: Design) -> Iterator[Finding]:
    found: list[tuple[SourceLocation, str]] = []

    def visit(node: object) -> None:
        if not isinstance(node, syntax.SyntaxNode):
            return
        message = _refused(node)
        if not message and _untyped(node):
            message = "a parameter without a type: give it one, unless its value is text"
        if not message and _body_parameter(node):
            message = "parameter in a module's body: use localparam"
        if message:
            found.append((node.sourceRange.start, message))

    for tree in design.trees:
        tree.root.visit(visit)
    for location, message in found:
        yield finding(design.sources, location, message)


# --- the design ----------------------------------------------------------------------------------


def _dimensions(kind: ast.Type) -> Iterator[ast.Type]:
    """The array types that an unnamed type is made of, from outside."""
    while isinstance(kind, ast.PackedArrayType | ast.FixedSizeUnpackedArrayType):
        yield kind
        kind = kind.elementType


def _check_type(symbol: ast.ValueSymbol) -> Iterator[str]:
    kind = symbol.type
    packed = [d for d in _dimensions(kind) if isinstance(d, ast.PackedArrayType)]
    for dimension in packed:
        if dimension.range.left < dimension.range.right:
            yield (
                f"{symbol.name} has the packed range {dimension.range}: an array of no elements,"
                " or one that counts up"
            )
    if len(packed) > 1 and packed[0].isSigned:
        yield (
            f"{symbol.name} is signed as a whole, which its elements are not: leave out signed,"
            " and use $signed"
        )


def _check_ram(symbol: ast.VariableSymbol, styles: bool) -> Iterator[str]:
    if not styles or not isinstance(symbol.type, ast.FixedSizeUnpackedArrayType):
        return
    word = symbol.type.elementType
    if not isinstance(word, ast.PackedArrayType | ast.ScalarType) or isinstance(
        getattr(word, "elementType", None), ast.PackedArrayType | ast.PackedStructType
    ):
        yield f"{symbol.name} is a RAM of {word}: let its words be vectors"


def _is_struct(kind: ast.Type) -> bool:
    return isinstance(kind.canonicalType, ast.PackedStructType | ast.UnpackedStructType)


def _check_parameter(symbol: ast.ParameterSymbol) -> Iterator[str]:
    value = symbol.declaredType.initializer
    while isinstance(value, ast.ConversionExpression):
        value = value.operand
    if isinstance(value, ast.CallExpression) and not value.isSystemCall and _is_struct(value.type):
        yield f"{symbol.name} is a struct that a function makes: let the function return a vector"


def _is_constant(label: ast.Expression) -> bool:
    while isinstance(label, ast.ConversionExpression):
        label = label.operand
    symbol = getattr(label, "symbol", None)
    return label.constant is not None or isinstance(
        symbol, ast.EnumValueSymbol | ast.ParameterSymbol
    )


def _check_case(statement: ast.CaseStatement) -> Iterator[str]:
    """A unique case must list every value, since a tool may do as it likes with the others."""
    if statement.check == ast.UniquePriorityCheck.None_ or statement.defaultCase is not None:
        return
    labels = [label for item in statement.items for label in item.expressions]
    if not all(map(_is_constant, labels)) or len(labels) < 1 << statement.expr.type.bitWidth:
        yield "unique case without default: what it does not list is left to the tool"


def _check_function(symbol: ast.SubroutineSymbol) -> Iterator[tuple[SourceLocation, str]]:
    """What a function takes from outside: `assign` does not look into functions for changes."""
    found = []

    def visit(node: object) -> None:
        if not isinstance(node, ast.NamedValueExpression):
            return
        value = node.symbol
        outside = isinstance(value, ast.NetSymbol) or (
            isinstance(value, ast.VariableSymbol) and value.lifetime == ast.VariableLifetime.Static
        )
        if outside:
            message = f"function {symbol.name} takes {value.name}: make it an argument"
            found.append((node.sourceRange.start, message))

    symbol.body.visit(visit)
    yield from found


def _check_ports(instance: ast.InstanceSymbol) -> Iterator[str]:
    for connection in instance.portConnections:
        inner, outer = getattr(connection.port, "type", None), connection.expression
        if isinstance(outer, ast.AssignmentExpression):
            outer = outer.left
        if outer is None or not isinstance(inner, ast.FixedSizeUnpackedArrayType):
            continue
        if not isinstance(outer.type, ast.FixedSizeUnpackedArrayType):
            continue
        if inner.range != outer.type.range:
            yield (
                f"port {connection.port.name} has the range {inner.range}, what is connected"
                f" {outer.type.range}: declare both alike"
            )


def _check_design(design: Design) -> Iterator[Finding]:
    found: list[tuple[SourceLocation, str]] = []
    seen: set[tuple[str, ...]] = set()
    compilation = design.root.compilation

    def add(location: SourceLocation, messages: Iterator[str]) -> None:
        found.extend((location, message) for message in messages)

    def visit(node: object) -> ast.VisitAction:
        if isinstance(node, ast.InstanceSymbol):
            add(node.location, _check_ports(node))
            values = [str(s.value) for s in node.body if isinstance(s, ast.ParameterSymbol)]
            key = (node.definition.name, *values)
            if key in seen:
                return ast.VisitAction.Skip
            seen.add(key)
        if isinstance(node, ast.VariableSymbol | ast.NetSymbol | ast.FieldSymbol):
            add(node.location, _check_type(node))
        if isinstance(node, ast.VariableSymbol):
            names = {attribute.name for attribute in compilation.getAttributes(node)}
            add(node.location, _check_ram(node, "ram_style" in names))
        if isinstance(node, ast.ParameterSymbol):
            add(node.location, _check_parameter(node))
        if isinstance(node, ast.SubroutineSymbol):
            found.extend(_check_function(node))
        if isinstance(node, ast.CaseStatement):
            add(node.sourceRange.start, _check_case(node))
        if isinstance(node, ast.GenerateBlockSymbol) and node.isUninstantiated:
            return ast.VisitAction.Skip
        return ast.VisitAction.Advance

    design.root.visit(visit)
    for location, message in found:
        yield finding(design.sources, location, message)


CHECKS: tuple[Callable[[Design], Iterator[Finding]], ...] = (_check_syntax, _check_design)


def check(design: Design) -> list[Finding]:
    """The rules that a design breaks, in the order of files and lines."""
    return sorted({found for rules in CHECKS for found in rules(design)})
