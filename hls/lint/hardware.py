"""The rules about what the tool makes of a design: ports of memories, dependences, dividers,
choices between memories, dataflow. execution.py runs the design for them.

They follow AMD UG1399: "Array Partitioning", "pragma HLS bind_storage", "pragma HLS dependence",
"Canonical Forms".
"""

from collections.abc import Iterable, Iterator, Sequence

from hls.lint.execution import DataflowUses, Execution, Region
from hls.lint.rules import Finding
from hls.lint.source import Source
from hls.lint.storage import ANY_BANK, PORTS, Array, fits_ports
from hls.lint.tree import Body, Builder, Callee, Node


def check_hardware(sources: Sequence[Source], top: str) -> Iterator[Finding]:
    """Run the top function of the sources, then what it does not reach, and check what they do."""
    builders = [Builder(source) for source in sources]
    definitions = {
        function.cursor.get_usr(): (builder, function)
        for builder in builders
        for function in builder.source.functions
    }

    def find(callee: Callee) -> tuple[Body, Builder] | None:
        if not callee.is_resolved:
            callee.is_resolved = True
            callee.body = callee.builder.body(callee.cursor)
            if callee.body is None and callee.usr in definitions:
                callee.builder, function = definitions[callee.usr]
                callee.body = callee.builder.body(function.cursor)
        return None if callee.body is None else (callee.body, callee.builder)

    rules = _Rules()
    execution = Execution(find, rules)
    functions = sorted(definitions.values(), key=lambda d: d[1].name != top)
    for builder, function in functions:
        if function.is_constexpr or not is_plain(function.cursor):
            continue
        if function.cursor.get_usr() not in execution.executed:
            body = builder.body(function.cursor)
            if body is not None:
                execution.run_root(body, builder, function.name == top)
    yield from rules.findings
    yield from check_storage(execution.arrays.values())


class _Rules:
    """Takes what an execution reports, and has the findings."""

    def __init__(self) -> None:
        self.findings: set[Finding] = set()
        self._add = self.findings.add

    def region(self, region: Region) -> None:
        """Each memory has the ports that an iteration needs (UG1399, "Array Partitioning")."""
        self.findings.update(check_ports(region))
        self.findings.update(check_dependences(region))

    def division(self, node: Node) -> None:
        """A divider takes a cycle and a row of logic for each bit, in every lane."""
        message = f"'{node.name}' by a variable makes a divider; divide by a constant, or shift"
        self._add(Finding(node.path, node.line, message))

    def selection(self, path: str, line: int, arrays: tuple[Array, Array]) -> None:
        """Two memories have no address in common: the tool refuses a pointer that may lead to
        either (HLS 214-177; UG1399, "Pointers"). Read both, and choose between the values."""
        first, second = sorted(a.name for a in arrays)
        message = f"chooses between '{first}' and '{second}', not between values read of them"
        self._add(Finding(path, line, message))

    def dataflow(self, path: str, line: int, statements: list[Node], uses: DataflowUses) -> None:
        """See check_dataflow()."""
        self.findings.update(check_dataflow(path, line, statements, uses))


def check_ports(region: Region) -> Iterator[Finding]:
    """Accesses of an iteration against the ports that partition and binding leave.

    UG1399, "Array Partitioning" and "pragma HLS bind_storage". The tool would raise the II.
    """
    arrays: dict[Array, tuple[dict, dict]] = {}
    for (array, is_write, bank), addresses in region.uses.items():
        arrays.setdefault(array, ({}, {}))[is_write][bank] = addresses
    for array, (reads, writes) in arrays.items():
        if not _has_ports(array, (*reads.values(), *writes.values())):
            continue
        for bank in {*reads, *writes}:
            read, written = _addresses(reads, bank), _addresses(writes, bank)
            type_ = array.type or ("axi" if array.kind == "axi" else "")
            if fits_ports(type_, region.ii, len(read), len(written)):
                continue
            (path, line) = max([*read.values(), *written.values()])
            does = " and ".join(
                f"{verb} it at {len(addresses)} address{'es' if len(addresses) > 1 else ''}"
                for verb, addresses in (("reads", read), ("writes", written))
                if addresses
            )
            cycles = "a cycle" if region.ii == 1 else f"{region.ii} cycles"
            yield Finding(
                path,
                line,
                f"'{array.name}': {region.name} {does} in {cycles}, and {PORTS[type_]}",
            )
            break


def _has_ports(array: Array, uses: Sequence[dict]) -> bool:
    """Whether an array is in memories whose ports can be counted.

    Members of a local struct that are only used by constant indices become registers with it.
    Constant tables without a binding get as many ports as they need.
    """
    if array.is_registers() or (array.kind in ("rom", "unknown") and not array.binding):
        return array.kind == "unknown" and bool(array.splits)
    if array.kind == "member" and not array.splits and not array.binding:
        return any(not isinstance(i, int) for addresses in uses for a in addresses for i in a)
    return True


def _addresses(uses: dict, bank: tuple) -> dict:
    """What is accessed of a memory, with what may be of any."""
    return {
        address: where
        for other, addresses in uses.items()
        if all(o in (b, ANY_BANK) for o, b in zip(other, bank, strict=False))
        for address, where in addresses.items()
    }


def check_dataflow(
    path: str, line: int, statements: list[Node], uses: DataflowUses
) -> Iterator[Finding]:
    """The canonical form of a dataflow region: calls, each of which runs every time, and one
    producer and one consumer for what they hand on (UG1399, "Canonical Forms")."""
    for statement in statements:
        is_end = statement is statements[-1] and statement.kind in ("return", "for", "while")
        if statement.kind not in ("declare", "call", "nothing") and not is_end:
            what = _NAMES.get(statement.kind, "code that is no call")
            message = f"dataflow: {what} in the region that line {line} begins"
            yield Finding(statement.path, statement.line, message)
    for (root, fields, is_element), users in uses.items():
        variable = root.variable
        name = ".".join((variable.name, *fields))
        # Several may read a number or a constant table.
        has_ports = variable.shape.is_stream or (is_element and root.kind != "rom")
        for verb, processes in zip(("read", "written"), users, strict=True):
            if len(processes) < 2 or (verb == "read" and not has_ports):
                continue
            names = ", ".join(f"{p.name} (line {p.line})" for p in sorted(processes))
            yield Finding(path, line, f"dataflow: '{name}' is {verb} by {names}")
    streams = [
        variable
        for statement in statements
        if statement.kind == "declare"
        for variable, _ in statement.parts
        if variable.shape.is_stream
    ]
    for stream in streams:
        users = [u for (root, _, _), u in uses.items() if root.variable.key == stream.key]
        for verb, processes in zip(("reads", "writes"), zip(*users, strict=True), strict=False):
            if not any(processes):
                yield Finding(path, line, f"dataflow: no process {verb} '{stream.name}'")
        if not users:
            yield Finding(path, line, f"dataflow: no process uses '{stream.name}'")


# Statements that a dataflow region may not have, for messages.
_NAMES = {
    "if": "a condition",
    "switch": "a condition",
    "for": "a loop",
    "while": "a loop",
    "return": "an early return",
    "break": "an exit",
    "continue": "an exit",
}


def check_dependences(region: Region) -> Iterator[Finding]:
    """No dependence is declared false that is there for all to see: an element that every
    iteration reads and writes (UG1399, "pragma HLS dependence")."""
    for array, pragma in region.false_dependences:
        read, written = (region.fixed.get((array, w), {}) for w in (False, True))
        elements = sorted(
            "".join(f"[{i if isinstance(i, int) else '...'}]" for i in indices)
            for indices in read.keys() & written.keys()
        )
        if elements:
            message = f"not false: each iteration of {region.name} reads and writes "
            message += f"{array.name}{elements[0]}"
            yield Finding(pragma.path, pragma.line, f"{pragma.title}: {message}")


# What LUTs may hold of one array: 8192 of the ZU9EG's 144,000 that can be memory, and as many words
# as the eight LUTs of a slice have bits (UG574, "Distributed RAM").
_MAX_LUTRAM_BITS = 1 << 19
_MAX_LUTRAM_WORDS = 512
_BLOCK_BITS = 36 * 1024
# From here on an array decides whether a design fits: 64 of the ZU9EG's 912 block RAMs.
_LARGE_BLOCKS = 64


def check_storage(arrays: Iterable[Array]) -> Iterator[Finding]:
    """Sizes against what arrays are bound to.

    A block RAM has words of 72 bits, and all of its outputs for one reader, only as a simple
    dual-port memory (UG573, "Simple Dual-Port Block RAM"): a large array says so by ram_s2p.
    """
    for array in arrays:
        count, words, bits = array.memories()
        total = count * words * bits
        if array.kind not in ("memory", "member") or array.is_registers():
            continue
        if array.binding is None:
            if total > _LARGE_BLOCKS * _BLOCK_BITS:
                message = f"'{array.name}': {total // 1024} Kib need a bind_storage"
                yield Finding(array.path, array.line, message)
            continue
        path, line, title = array.binding.path, array.binding.line, array.binding.title
        if array.implementation == "lutram" and (
            total > _MAX_LUTRAM_BITS or words > _MAX_LUTRAM_WORDS
        ):
            message = f"{total // 1024} Kib, {words} words deep, are too much for LUTs; use bram"
            yield Finding(path, line, f"{title}: {array.name}: {message}")
        elif total > _LARGE_BLOCKS * _BLOCK_BITS and array.type != "ram_s2p":
            blocks = -(-total // _BLOCK_BITS)
            message = f"with {blocks} block RAMs or more, it has to be ram_s2p, not {array.type}"
            yield Finding(path, line, f"{title}: {array.name}: {message}")


def is_plain(cursor) -> bool:
    """Whether a function is no template: those are run where they are instantiated."""
    return not cursor.type.spelling.count("type-parameter") and cursor.kind.name in (
        "FUNCTION_DECL",
        "CXX_METHOD",
    )
