"""Runs a design with symbols in the place of the values that it does not know, the way the tool
unrolls it, and hands every access to an array to the rules.

What it follows: calls, with the arrays that they pass on, from source to source; loops of constant
trip counts in what is pipelined, iteration by iteration; both sides of a condition that it does not
know. A variable is a number or a symbol. Symbols that were computed alike are the same object, so
that two accesses to `a[i / 4]` are seen to be one.

What it does not follow: the contents of arrays, pointers into them that are computed, lambdas.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from hls.lint.source import Block, PlacedPragma
from hls.lint.storage import Array, Split, locate
from hls.lint.symbols import Symbol, Value, remainder
from hls.lint.tree import Body, Builder, Callee, Node, Shape, Variable, calculate, changed_by


@dataclass(slots=True, eq=False)
class Root:
    """What is in memory by a name of its own: a variable, or an argument of the design.

    version counts the writes to its arrays.
    """

    variable: Variable
    kind: str
    version: int = 0


class Place(NamedTuple):
    """A variable or a part of one: the names of members and the indices that lead to it."""

    root: Root
    path: tuple


@dataclass(eq=False)
class Region:
    """A pipelined loop or function in which accesses are counted.

    start is the time at which its body begins; false_dependences are what pragmas in it say.
    """

    name: str
    path: str
    line: int
    ii: int
    start: int
    # (array, is_write, bank) -> {address: line of the first access}
    uses: dict[tuple[Array, bool, tuple], dict[tuple, tuple[str, int]]] = field(
        default_factory=dict
    )
    # (array, is_write) -> indices that are the same in each iteration
    fixed: dict[tuple[Array, bool], dict[tuple, tuple[str, int]]] = field(default_factory=dict)
    false_dependences: list[tuple[Array, PlacedPragma]] = field(default_factory=list)


class Process(NamedTuple):
    """A call in a dataflow region."""

    name: str
    path: str
    line: int


# (variable, names of members, whether it is an element) -> those who read and those who write it
DataflowUses = dict[tuple[Root, tuple, bool], tuple[set[Process], set[Process]]]


class Observer(Protocol):
    """What an execution reports."""

    def region(self, region: Region) -> None:
        """A pipelined loop or function has been run."""

    def division(self, node: Node) -> None:
        """A division by what is not constant."""

    def selection(self, path: str, line: int, arrays: tuple[Array, Array]) -> None:
        """A choice, not of values, between elements of two arrays or the arrays themselves."""

    def dataflow(self, path: str, line: int, statements: list[Node], uses: DataflowUses) -> None:
        """A dataflow region has been run: its statements, and what its processes use."""


class _Return(Exception):  # noqa: N818, no error
    """The end of a function; the value is in the frame."""


class _Leave(Exception):  # noqa: N818, no error
    """break or continue."""


class _Frame:
    """A call: its variables and what it has returned."""

    def __init__(self, body: Body, builder: Builder) -> None:
        self.body = body
        self.builder = builder
        self.places: dict[object, Place] = {}
        self.names: dict[str, Place] = {}
        self.results: list[Value | Place] = []
        self.depth = 0  # of conditions that are not known


class Execution:
    """An execution of a design. builders are its sources, bodies() looks a function up in them."""

    def __init__(
        self, find: Callable[[Callee], tuple[Body, Builder] | None], observer: Observer
    ) -> None:
        self.arrays: dict[tuple[Root, tuple], Array] = {}
        self.executed: set[str] = set()
        self._find = find
        self._observer = observer
        self._clock = itertools.count(1)
        self._symbols: dict[tuple, Symbol] = {}
        self._values: dict[tuple[Root, tuple], Value | Place] = {}
        self._journal: list[tuple[tuple[Root, tuple], object]] = []
        self._globals: dict[object, Place] = {}
        self._stack: list[str] = []
        self._region: Region | None = None
        self._process: tuple[Process, int, DataflowUses] | None = None
        self._born: dict[Root, int] = {}
        self._parts: dict[Root, set[Place]] = {}

    # --- values

    def _fresh(self) -> Symbol:
        now = next(self._clock)
        return Symbol(("new", now), now)

    def _symbol(self, *key: object) -> Symbol:
        symbol = self._symbols.get(key)
        if symbol is None:
            since = max((k.since for k in key if isinstance(k, Symbol)), default=0)
            symbol = self._symbols[key] = Symbol(key, since)
        return symbol

    def _operate(self, operator: str, a: Value, b: Value) -> Value:
        if isinstance(a, int) and isinstance(b, int):
            value = calculate(operator, a, b)
            return self._fresh() if value is None else value
        if (operator in ("+", "-", "<<", ">>", "|", "^") and b == 0) or (
            operator in ("*", "/") and b == 1
        ):
            return a
        if (operator in ("+", "|", "^") and a == 0) or (operator == "*" and a == 1):
            return b
        if operator in ("*", "&") and (a == 0 or b == 0):
            return 0
        if operator == "%" and isinstance(b, int) and b > 0:
            rest = remainder(a, b)
            if rest is not None:
                return rest
        return self._symbol(operator, a, b)

    # --- places

    def _load(self, place: Place) -> Value | Place:
        """The value of a scalar, or of a struct as a whole."""
        root, path = place
        value = self._values.get(place)
        if value is not None:
            return value
        for end in range(len(path) - 1, -1, -1):
            whole = self._values.get(Place(root, path[:end]))
            if isinstance(whole, Symbol):
                return self._symbol("part", whole, *path[end:])
            if whole is not None:
                break
        symbol = self._fresh()
        # What a loop changes gets a new value as it begins: this is as old as its variable.
        symbol.since = self._born.get(root, 0)
        self._set(place, symbol)
        return symbol

    def _set(self, place: Place, value: Value | Place) -> None:
        self._journal.append((place, self._values.get(place)))
        self._values[place] = value
        if place.path:
            self._parts.setdefault(place.root, set()).add(place)

    def _store(self, place: Place, value: Value | Place) -> None:
        size = len(place.path)
        for part in self._parts.get(place.root, ()):
            if len(part.path) > size and part.path[:size] == place.path and part in self._values:
                self._journal.append((part, self._values.pop(part)))
        self._set(place, value)

    def _rewind(self, mark: int) -> dict[Place, Value | Place | None]:
        """Undo what has been set since the mark; returns the values as they were before that."""
        changed = {}
        while len(self._journal) > mark:
            place, before = self._journal.pop()
            changed.setdefault(place, self._values.get(place))
            if before is None:
                self._values.pop(place, None)
            else:
                self._values[place] = before
        return changed

    def _is_element(self, path: tuple) -> bool:
        return any(not isinstance(p, str) for p in path)

    def array(self, place: Place) -> Array | None:
        """The array in which a place lies, None for what is in none."""
        fields = tuple(p for p in place.path if isinstance(p, str))
        return self.arrays.get((place.root, fields))

    def _declare_array(self, root: Root, fields: tuple, shape: Shape) -> Array:
        key = (root, fields)
        if key not in self.arrays:
            parent = self.arrays.get((root, fields[:-1])) if fields else None
            dims = (parent.dims if parent and parent.dims else ()) + shape.dims
            variable = root.variable
            kind = root.kind
            if kind == "memory" and fields and not variable.is_static and not variable.shape.dims:
                kind = "member"
            array = Array(
                ".".join((variable.name, *fields)), dims, shape.bits, kind, variable.path,
                variable.line,
            )  # fmt: skip
            if parent is not None:
                array.splits = list(parent.splits)
                array.binding = parent.binding
            self.arrays[key] = array
        return self.arrays[key]

    def _access(self, place: Place, is_write: bool, node: Node) -> None:
        root, path = place
        if is_write:
            root.version = next(self._clock)
        if self._process is not None and self._born.get(root, 0) < self._process[1]:
            process, _, uses = self._process
            fields = tuple(p for p in path if isinstance(p, str))
            key = (root, fields, self._is_element(path))
            uses.setdefault(key, (set(), set()))[is_write].add(process)
        region = self._region
        if region is None:
            return
        array = self.array(place)
        if array is None:
            return
        indices = tuple(p for p in path if not isinstance(p, str))
        where = (node.path, node.line)
        if (found := locate(array, indices)) is not None:
            bank, address = found
            region.uses.setdefault((array, is_write, bank), {}).setdefault(address, where)
        if all(isinstance(i, int) or i.since < region.start for i in indices):
            region.fixed.setdefault((array, is_write), {}).setdefault(indices, where)

    # --- expressions

    def _place(self, node: Node, frame: _Frame) -> Place | None:
        """What an expression refers to, None if it is a value."""
        kind = node.kind
        if kind == "variable":
            variable = node.parts[0]
            place = frame.places.get(variable.key) or self._globals.get(variable.key)
            if place is None:
                place = self._declare(variable, frame)
            if variable.is_pointer:
                target = self._values.get(place)
                if isinstance(target, Place):
                    return target
            return place
        if kind == "member":
            base = self._place(node.parts[0], frame) if node.parts else frame.places.get("this")
            if base is None:
                return None
            place = Place(base.root, (*base.path, node.name))
            if node.type is not None and (node.type.dims or self._is_element(base.path)):
                fields = tuple(p for p in place.path if isinstance(p, str))
                self._declare_array(base.root, fields, node.type)
            return place
        if kind == "subscript":
            base = self._place(node.parts[0], frame)
            index = self._value(node.parts[1], frame)
            if base is None:
                return None
            fields = tuple(p for p in base.path if isinstance(p, str))
            if (base.root, fields) not in self.arrays:
                self._declare_array(base.root, fields, Shape())
            return Place(base.root, (*base.path, index))
        if kind == "target":
            return self._place(node.parts[0], frame)
        if kind == "address":
            return self._place(node.parts[0], frame)
        if kind == "choice":
            return self._choose(node, frame, as_place=True)
        if kind == "call":
            result = self._call(node, frame)
            return result if isinstance(result, Place) else None
        if kind == "assign":
            self._value(node, frame)
            return self._place(node.parts[0], frame)
        return None

    def _value(self, node: Node, frame: _Frame) -> Value:
        kind = node.kind
        if kind == "constant":
            return node.value
        if kind in ("variable", "member", "subscript", "target"):
            place = self._place(node, frame)
            return self._read(place, node) if place is not None else self._fresh()
        if kind == "operation":
            return self._operation(node, frame)
        if kind == "assign":
            return self._assign(node, frame)
        if kind == "choice":
            result = self._choose(node, frame, as_place=False)
        elif kind == "call":
            result = self._call(node, frame)
        elif kind == "opaque":
            return self._symbol(node.name, node.line, *(self._value(p, frame) for p in node.parts))
        else:
            return self._fresh()
        return self._read(result, node) if isinstance(result, Place) else result

    def _read(self, place: Place, node: Node) -> Value:
        if not self._is_element(place.path):
            value = self._load(place)
            if self._process is not None and self.array(place) is None:
                self._access(place, False, node)
            return (
                self._symbol("place", place.path, id(value)) if isinstance(value, Place) else value
            )
        self._access(place, False, node)
        symbol = self._symbol("load", id(place.root), place.root.version, *place.path)
        symbol.since = max(symbol.since, place.root.version)
        return symbol

    def _write(self, place: Place, value: Value | Place, node: Node) -> None:
        if self._is_element(place.path):
            self._access(place, True, node)
        else:
            if self._process is not None:
                self._access(place, True, node)
            self._store(place, value)

    def _operation(self, node: Node, frame: _Frame) -> Value:
        operator = node.name
        if len(node.parts) == 1:
            operand = self._value(node.parts[0], frame)
            if isinstance(operand, int) and operator in ("-", "+", "!", "~"):
                return {"-": -operand, "+": operand, "!": int(not operand), "~": ~operand}[operator]
            return self._symbol(operator, operand)
        if len(node.parts) != 2:
            return self._fresh()
        left = self._value(node.parts[0], frame)
        if operator in ("&&", "||"):
            if isinstance(left, int):
                if bool(left) == (operator == "||"):
                    return int(bool(left))
                right = self._value(node.parts[1], frame)
                return int(bool(right)) if isinstance(right, int) else right
            right = self._value(node.parts[1], frame)
            if isinstance(right, int):
                return left if bool(right) == (operator == "&&") else int(operator == "||")
            return self._symbol(operator, left, right)
        right = self._value(node.parts[1], frame)
        if operator == ",":
            return right
        if operator in ("/", "%") and not isinstance(right, int):
            self._observer.division(node)
        return self._operate(operator, left, right)

    def _assign(self, node: Node, frame: _Frame) -> Value:
        target, operand = node.parts
        if not node.name and target.kind == "variable" and target.parts[0].is_pointer:
            pointed = self._place(operand, frame)
            variable = frame.places.get(target.parts[0].key)
            if pointed is not None and variable is not None:
                self._set(variable, pointed)
                return 0
        value = self._value(operand, frame)
        place = self._place(target, frame)
        if place is None:
            # A part of a number, such as word.range(7, 0) or word[3].
            whole = target.parts[1] if target.kind == "call" else target.parts[:1]
            if isinstance(whole, tuple):
                whole = whole[0] if whole else None
            place = self._place(whole, frame) if whole is not None else None
            if place is not None:
                self._write(place, self._fresh(), node)
            return value
        if node.name:
            if node.name in ("/", "%") and not isinstance(value, int):
                self._observer.division(node)
            value = self._operate(node.name, self._read(place, target), value)
        self._write(place, value, node)
        return value

    def _choose(self, node: Node, frame: _Frame, as_place: bool) -> Value | Place | None:
        condition = self._value(node.parts[0], frame)
        if isinstance(condition, int):
            chosen = node.parts[1] if condition else node.parts[2]
            return self._place(chosen, frame) if as_place else self._value(chosen, frame)
        if node.name == "places":
            places = [self._place(p, frame) for p in node.parts[1:]]
            self._report_selection(node, places)
            if as_place:
                return places[0]
        results: list[Value] = []
        runs = [lambda p=p: results.append(self._value(p, frame)) for p in node.parts[1:]]
        self._branches(node, condition, runs, frame)
        if results[0] is results[1]:
            return results[0]
        return self._symbol("?", condition, *results)

    def _report_selection(self, node: Node, places: Iterable[object]) -> None:
        arrays = [self.array(p) if isinstance(p, Place) else None for p in places]
        different = dict.fromkeys(a for a in arrays if a is not None)
        if len(different) > 1:
            self._observer.selection(node.path, node.line, tuple(different)[:2])

    # --- calls

    def _call(self, node: Node, frame: _Frame) -> Value | Place:
        callee, this, arguments = node.parts
        found = None if callee.is_system else self._find(callee)
        if found is None or found[0].usr in self._stack or len(self._stack) > _MAX_DEPTH:
            return self._call_unknown(node, frame)
        body, builder = found
        inner = _Frame(body, builder)
        if this is not None:
            place = self._place(this, frame)
            if place is not None:
                inner.places["this"] = place
        for parameter, argument in zip(body.parameters, arguments, strict=False):
            self._bind(parameter, argument, frame, inner)
        return self.run(body, inner)

    def _bind(
        self, variable: Variable, argument: Node | None, outer: _Frame, inner: _Frame
    ) -> None:
        """Give a parameter or a local reference its argument."""
        shape = variable.shape
        if shape.is_address and argument is not None:
            place = self._place(argument, outer)
            if place is not None and variable.is_pointer:
                self._set(self._declare(variable, inner), place)
                return
            if place is not None:
                inner.places[variable.key] = place
                inner.names[variable.name] = place
                return
        value = self._fresh() if argument is None else self._value(argument, outer)
        place = self._declare(variable, inner)
        self._store(place, value)

    def _call_unknown(self, node: Node, frame: _Frame) -> Value:
        """A function of a library, which may change what it gets the address of."""
        callee, this, arguments = node.parts
        values = []
        for argument, shape in itertools.zip_longest(arguments, callee.parameters):
            if argument is None:
                continue
            is_changed = shape is not None and shape.is_address and not shape.is_const
            place = self._place(argument, frame) if is_changed else None
            if place is None:
                values.append(self._value(argument, frame))
            else:
                self._write(place, self._fresh(), node)
        if this is not None:
            place = self._place(this, frame)
            if place is not None and callee.is_method and not callee.is_const_method:
                is_reading = "read" in callee.name or callee.name in ("empty", "size")
                if "stream" in callee.usr:
                    if self._process is not None:
                        self._access(place, not is_reading, node)
                    return self._fresh()
                values.append(self._read(place, node))
                if callee.name in _PARTS:
                    return self._symbol(callee.name, *values)
                self._write(place, self._fresh(), node)
                return self._fresh()
            values.append(self._read(place, node) if place else self._value(this, frame))
        return self._symbol(callee.name, *values)

    def run(self, body: Body, frame: _Frame) -> Value | Place:
        """Run a function whose parameters have been given; returns its result."""
        self._stack.append(body.usr)
        self.executed.add(body.usr)
        block = body.statements.parts[1]
        region, process = self._region, self._process
        pipelined = _pragma(block, "pipeline")
        try:
            if pipelined is not None and region is None:
                self._begin(body.name, body.statements, pipelined, frame)
            if _is_dataflow(block):
                self._dataflow(body.statements, frame)
            else:
                self._run(body.statements, frame)
        except _Return:
            pass
        finally:
            self._stack.pop()
            self._process = process
        if self._region is not region:
            self._observer.region(self._region)
            self._region = region
        results = frame.results
        if len(results) == 1 or (results and isinstance(results[0], Place)):
            self._report_selection(body.statements, results)
            return results[0]
        values = [r for r in results if not isinstance(r, Place)]
        return self._symbol("returns", *values) if values else self._fresh()

    def run_root(self, body: Body, builder: Builder, is_top: bool) -> None:
        """Run a function with parameters about which nothing is known."""
        frame = _Frame(body, builder)
        self._values.clear()
        self._journal.clear()
        for parameter in body.parameters:
            self._declare(parameter, frame, ("axi" if is_top else "unknown"))
        self.run(body, frame)

    # --- statements

    def _declare(self, variable: Variable, frame: _Frame, kind: str = "memory") -> Place:
        if variable.is_static and variable.shape.is_const:
            kind = "rom"
        root = Root(variable, kind)
        self._born[root] = next(self._clock)
        place = Place(root, ())
        if variable.is_static:
            self._globals[variable.key] = place
            self._born[root] = 0
        frame.places[variable.key] = place
        frame.names[variable.name] = place
        if variable.shape.dims or (kind != "memory" and variable.shape.is_address):
            self._declare_array(root, (), variable.shape)
        return place

    def _run(self, node: Node, frame: _Frame) -> None:
        kind = node.kind
        if kind == "block":
            self._run_block(node, frame)
        elif kind == "declare":
            for variable, initializer in node.parts:
                self._run_declaration(variable, initializer, frame)
        elif kind == "if":
            condition = self._value(node.parts[0], frame)
            branches = [node.parts[1], node.parts[2]]
            if isinstance(condition, int):
                chosen = branches[0] if condition else branches[1]
                if chosen is not None:
                    self._run(chosen, frame)
            else:
                runs = [lambda b=b: b is not None and self._run(b, frame) for b in branches]
                self._branches(node, condition, runs, frame)
        elif kind == "for":
            self._run_for(node, frame)
        elif kind == "while":
            self._run_unknown_loop(node, list(node.parts[0]), node.parts[1], frame)
        elif kind == "switch":
            self._run_switch(node, frame)
        elif kind == "return":
            if node.parts:
                result = self._place(node.parts[0], frame) if frame.body.is_address else None
                if result is None:
                    result = self._value(node.parts[0], frame)
                frame.results.append(result)
            if frame.depth == 0:
                raise _Return
        elif kind in ("break", "continue"):
            raise _Leave
        elif kind != "nothing":
            self._value(node, frame)

    def _run_block(self, node: Node, frame: _Frame) -> None:
        statements, block = node.parts
        pragmas = sorted(block.pragmas, key=lambda p: p.start) if block is not None else []
        next_pragma = 0
        for start, statement in statements:
            while next_pragma < len(pragmas) and pragmas[next_pragma].start < start:
                self._apply(pragmas[next_pragma], frame)
                next_pragma += 1
            self._run(statement, frame)
        for pragma in pragmas[next_pragma:]:
            self._apply(pragma, frame)

    def _run_declaration(self, variable: Variable, initializer: Node | None, frame: _Frame) -> None:
        shape = variable.shape
        if shape.is_address:
            self._bind(variable, initializer, frame, frame)
            return
        if variable.is_static and variable.key in self._globals:
            return
        value = None if initializer is None else self._value(initializer, frame)
        place = self._declare(variable, frame)
        if not shape.dims and not variable.is_static:
            self._store(place, self._fresh() if value is None else value)

    def _run_switch(self, node: Node, frame: _Frame) -> None:
        subject = self._value(node.parts[0], frame)
        cases = node.parts[1]
        if isinstance(subject, int):
            for values, statements in cases:
                numbers = [v.value if v is not None else None for v in values]
                if subject in numbers or (
                    None in numbers
                    and not any(v is not None and v.value == subject for c, _ in cases for v in c)
                ):
                    self._run_case(statements, frame)
                    return
            return
        has_default = any(v is None for values, _ in cases for v in values)
        runs = [lambda s=s: self._run_case(s, frame) for _, s in cases]
        others = [] if has_default else [lambda: None]
        self._branches(node, subject, [*runs, *others], frame)

    def _run_case(self, statements: Iterable[Node], frame: _Frame) -> None:
        try:
            for statement in statements:
                self._run(statement, frame)
        except _Leave:
            pass

    def _branches(
        self, node: Node, condition: Value, branches: list[Callable[[], object]], frame: _Frame
    ) -> None:
        """Run what excludes each other, and put together what has become of it."""
        region = self._region
        before = region.uses if region is not None else {}
        outcomes, used = [], []
        begin = next(self._clock)
        frame.depth += 1
        for branch in branches:
            mark = len(self._journal)
            if region is not None:
                region.uses = {}
            with contextlib.suppress(_Return, _Leave):
                branch()
            outcomes.append(self._rewind(mark))
            if region is not None:
                used.append(region.uses)
        frame.depth -= 1
        if region is not None:
            region.uses = before
            _merge_uses(before, used)
        for place in dict.fromkeys(p for outcome in outcomes for p in outcome):
            if self._born.get(place.root, 0) > begin:
                continue
            old = self._values.get(place)
            values = [outcome.get(place, old) for outcome in outcomes]
            first = values[0]
            if all(v is first or v == first for v in values) and first is not None:
                self._set(place, first)
            elif any(isinstance(v, Place) for v in values):
                self._report_selection(node, values)
                self._set(place, next(v for v in values if isinstance(v, Place)))
            else:
                self._set(place, self._symbol("phi", condition, *values))

    # --- loops

    def _begin(self, name: str, node: Node, pragma: PlacedPragma, frame: _Frame) -> None:
        ii = self._number(pragma.parsed.get("ii"), frame) if "ii" in pragma.parsed else 1
        self._region = Region(name, node.path, node.line, ii or 1, next(self._clock))

    def _run_for(self, node: Node, frame: _Frame) -> None:
        start, condition, step, body = node.parts
        self._run(start, frame)
        if self._region is None:
            self._run_unknown_loop(node, [condition, step], body, frame)
            return
        for _ in range(_MAX_ITERATIONS):
            goes_on = self._value(condition, frame)
            if not isinstance(goes_on, int):
                self._run_unknown_loop(node, [condition, step], body, frame)
                return
            if not goes_on:
                return
            with contextlib.suppress(_Leave):
                self._run(body, frame)
            self._value(step, frame)

    def _run_unknown_loop(self, node: Node, head: list[Node], body: Node, frame: _Frame) -> None:
        """Run the body once, as any of the iterations."""
        block = body.parts[1] if body.kind == "block" else None
        region = self._region
        for part in (*head, body):
            self._forget(part, frame)
        pipelined = _pragma(block, "pipeline")
        if pipelined is not None and region is None:
            self._begin(f"loop '{node.name}'", node, pipelined, frame)
            for part in (*head, body):
                self._forget(part, frame)
        frame.depth += 1
        mark = len(self._journal)
        try:
            for part in head[:1]:
                self._run(part, frame)
            if _is_dataflow(block):
                self._dataflow(body, frame)
            else:
                self._run(body, frame)
            for part in head[1:]:
                self._run(part, frame)
        except (_Return, _Leave):
            pass
        frame.depth -= 1
        changed = {place for place, _ in self._journal[mark:]}
        if self._region is not region:
            self._observer.region(self._region)
            self._region = region
        for place in changed:
            if not isinstance(self._values.get(place), Place):
                self._set(place, self._fresh())

    def _forget(self, node: Node, frame: _Frame) -> None:
        """Give everything that a loop may change a new value."""
        for changed in changed_by(node):
            place = None
            if changed in frame.places or changed in self._globals:
                place = frame.places.get(changed) or self._globals.get(changed)
            if place is None:
                continue
            if isinstance(self._values.get(place), Place):
                place = self._values[place]
            if self._is_element(place.path) or self.array(place) is not None:
                place.root.version = next(self._clock)
            else:
                self._store(place, self._fresh())

    def _dataflow(self, statements: Node, frame: _Frame) -> None:
        """Run a dataflow region, each call of it as a process."""
        parts, block = statements.parts
        pragmas = sorted(block.pragmas, key=lambda p: p.start)
        uses: DataflowUses = {}
        for start, statement in parts:
            while pragmas and pragmas[0].start < start:
                self._apply(pragmas.pop(0), frame)
            if statement.kind == "call":
                process = Process(statement.name, statement.path, statement.line)
                self._process = (process, next(self._clock), uses)
            self._run(statement, frame)
            self._process = None
        path, line = statements.path, statements.line
        self._observer.dataflow(path, line, [statement for _, statement in parts], uses)

    # --- pragmas

    def _number(self, text: str, frame: _Frame) -> int | None:
        """The number that a pragma's option stands for, as far as it is one or a constant."""
        text = text.strip()
        if text.isdigit():
            return int(text)
        place = frame.names.get(text)
        if place is not None:
            value = self._values.get(place)
            return value if isinstance(value, int) else None
        return frame.builder.constant(text.rpartition("::")[2])

    def _apply(self, pragma: PlacedPragma, frame: _Frame) -> None:
        parsed = pragma.parsed
        if parsed.errors or parsed.directive not in _APPLIED:
            return
        for argument in parsed.variables():
            name, *fields = argument.value.replace("->", ".").split(".")
            place = frame.names.get(name.strip())
            if place is None:
                variable = frame.builder.variable(name.strip())
                if variable is None:
                    continue
                place = self._globals.get(variable.key) or self._declare(variable, frame)
            if isinstance(self._values.get(place), Place):
                place = self._values[place]
            path = (*place.path, *(f.strip() for f in fields))
            if any(not isinstance(p, str) for p in path):
                continue
            shape = place.root.variable.shape
            for member in path:
                shape = shape.members.get(member, Shape())
            array = self._declare_array(place.root, path, shape)
            if parsed.directive == "dependence":
                is_false = parsed.get("dependent").lower() == "false"
                is_inter = parsed.get("type", "inter").lower() == "inter"
                if is_false and is_inter and self._region is not None:
                    self._region.false_dependences.append((array, pragma))
            elif parsed.directive == "bind_storage":
                array.binding = pragma
            elif not parsed.is_off():
                is_complete = parsed.get("type", "complete").lower() == "complete"
                factor = None if is_complete else self._number(parsed.get("factor"), frame)
                dim = self._number(parsed.get("dim"), frame) if "dim" in parsed else 1
                split = Split(
                    parsed.directive == "array_reshape",
                    parsed.get("type", "complete").lower(),
                    dim if dim is not None else 0,
                    factor,
                    is_unknown=dim is None or (factor is None and not is_complete),
                )
                if split not in array.splits:
                    array.splits.append(split)


_APPLIED = {"array_partition", "array_reshape", "bind_storage", "dependence"}
_MAX_ITERATIONS = 1 << 16
_MAX_DEPTH = 32  # of calls
# Methods of ap_int that give a part of the number, which may be assigned to.
_PARTS = {"range", "bit", "get_bit"}


def _pragma(block: Block | None, directive: str) -> PlacedPragma | None:
    """The pragma of a block with that directive, None if it has none or one that is off."""
    pragmas = block.pragmas if block is not None else ()
    return next((p for p in pragmas if p.parsed.directive == directive and not p.parsed.is_off()),
                None)  # fmt: skip


def _is_dataflow(block: Block | None) -> bool:
    return block is not None and block.has("dataflow") and not block.has("pipeline")


def _merge_uses(before: dict, branches: list[dict]) -> None:
    """Of branches that exclude each other, the one counts that adds most to a memory's accesses."""
    for key in {k for used in branches for k in used}:
        known = before.setdefault(key, {})
        added = [
            {a: w for a, w in used.get(key, {}).items() if a not in known} for used in branches
        ]
        known.update(max(added, key=len))
