"""The HLS pragmas that Vitis HLS 2022.2 and later know, and a parser for them.

The table follows AMD UG1399 (Vitis HLS user guide, "HLS Pragmas"). Names, options and enumerated
values are case-insensitive. Of an option's value the parser only finds the text: whether a variable
is in scope and an expression is constant is for the compiler to say (see probe.py).
"""

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What an option's value is."""

    INTEGER = "an integer constant"
    NUMBER = "a number"
    CHOICE = "one of its values"
    VARIABLE = "a variable"
    NAME = "a name"
    FLAG = "no value"


class Place(Enum):
    """Where a directive may stand."""

    FUNCTION = "directly in the body of a function"
    TOP = "directly in the body of the top function"
    LOOP = "directly in the body of a loop"
    FUNCTION_OR_LOOP = "directly in the body of a function or loop"
    CONDITIONAL = "in a conditional block"
    ANYWHERE = "in a function"


@dataclass(frozen=True)
class Option:
    """One option of a directive.

    values are those of a CHOICE; if bare, they may stand without `option=`. minimum and maximum
    bound an INTEGER.
    """

    kind: Kind
    required: bool = False
    values: tuple[str, ...] = ()
    bare: bool = False
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True)
class Argument:
    """An option as written: its name in lower case and the text of its value ('' for a flag)."""

    option: str
    value: str


@dataclass
class Pragma:
    """A parsed `#pragma HLS`; errors says what is wrong with it by itself."""

    directive: str
    arguments: list[Argument] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __contains__(self, option: str) -> bool:
        return any(a.option == option for a in self.arguments)

    def get(self, option: str, default: str = "") -> str:
        """The text of an option's value; that of a flag is ''."""
        return next((a.value for a in self.arguments if a.option == option), default)

    def variables(self) -> list[Argument]:
        """The arguments that name variables, one for each variable of a list."""
        options = DIRECTIVES[self.directive].options
        return [
            Argument(a.option, name.strip())
            for a in self.arguments
            if options[a.option].kind is Kind.VARIABLE
            for name in a.value.split(",")
        ]

    def is_off(self) -> bool:
        """Whether the pragma switches its directive off."""
        return "off" in self and self.get("off").lower() != "false"


Check = Callable[[Pragma], Iterable[str]]


def no_check(pragma: Pragma) -> Iterable[str]:
    """The check of a directive whose options are independent of one another."""
    return ()


@dataclass(frozen=True)
class Directive:
    """A directive: its place, options, options of older tools with what replaces them, and a check
    of the options together."""

    place: Place
    options: dict[str, Option] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    check: Check = no_check


def _integer(minimum: int | None = None, maximum: int | None = None, required=False) -> Option:
    return Option(Kind.INTEGER, required, minimum=minimum, maximum=maximum)


def _choice(values: str, bare: bool = False, required: bool = False) -> Option:
    return Option(Kind.CHOICE, required, tuple(values.split()), bare)


_NAME = Option(Kind.NAME)
_FLAG = Option(Kind.FLAG)
_NUMBER = Option(Kind.NUMBER)
_VARIABLE = Option(Kind.VARIABLE, required=True)
_OPTIONAL_VARIABLE = Option(Kind.VARIABLE)
# Flags that may also be given as true or false.
_SWITCH = Option(Kind.FLAG, values=("true", "false"))


def _check_array_split(pragma: Pragma) -> Iterable[str]:
    split = pragma.get("type", "complete").lower()
    if split == "complete" and "factor" in pragma:
        yield "factor has no meaning with type=complete"
    if split != "complete" and "factor" not in pragma:
        yield f"factor is missing, which type={split} needs"


_ARRAY_SPLIT = {
    "variable": _VARIABLE,
    "type": _choice("complete block cyclic", bare=True),
    "factor": _integer(minimum=1),
    "dim": _integer(minimum=0),
    "off": _SWITCH,
}

# UG1399, pragma HLS bind_storage: the implementations of each type.
_STORAGE = {
    "fifo": "auto bram lutram memory srl uram",
    "ram_1p": "auto bram lutram uram",
    "ram_1wnr": "auto bram lutram uram",
    "ram_2p": "auto bram lutram uram",
    "ram_s2p": "auto bram bram_ecc lutram uram uram_ecc",
    "ram_t2p": "auto bram uram",
    "rom_1p": "auto bram lutram",
    "rom_2p": "auto bram lutram",
    "rom_np": "auto bram lutram",
}


def _check_storage(pragma: Pragma) -> Iterable[str]:
    kind, impl = pragma.get("type").lower(), pragma.get("impl", "auto").lower()
    if kind in _STORAGE and impl not in _STORAGE[kind].split():
        yield f"impl={impl} is not possible with type={kind}; possible: {_STORAGE[kind]}"


_INTEGER_OPERATIONS = "add mul sub"
_FLOAT_OPERATIONS = (
    "dadd ddiv dexp dlog dmul drecip drsqrt dsqrt dsub facc fadd fdiv fexp flog fmacc fmadd fmul "
    "frecip frsqrt fsqrt fsub hadd hdiv hmul hsqrt hsub"
)


def _check_operation(pragma: Pragma) -> Iterable[str]:
    operation, impl = pragma.get("op").lower(), pragma.get("impl", "dsp").lower()
    if operation in _INTEGER_OPERATIONS.split() and impl not in ("auto", "dsp", "fabric"):
        yield f"impl={impl} is not possible with op={operation}; possible: auto dsp fabric"


def _check_dependence(pragma: Pragma) -> Iterable[str]:
    if "variable" in pragma and "class" in pragma:
        yield "variable and class exclude each other"
    if "dependent" not in pragma:
        yield "true or false is missing; Vitis would assume false"
    if "distance" in pragma and pragma.get("dependent").lower() == "false":
        yield "distance has no meaning for a dependence declared false"
    if "distance" in pragma and pragma.get("type", "inter").lower() == "intra":
        yield "distance has no meaning within one iteration (intra)"


def _check_pipeline(pragma: Pragma) -> Iterable[str]:
    style = pragma.get("style").lower()
    if style and pragma.is_off():
        yield "style and off exclude each other"
    if style in ("flp", "frp") and "rewind" in pragma:
        yield f"rewind is not possible with style={style}"


def _needs_one_of(*options: str) -> Check:
    def check(pragma: Pragma) -> Iterable[str]:
        if not any(o in pragma for o in options):
            yield f"one of {', '.join(options)} is missing"

    return check


_SCALAR_MODE = "port name register depth direct_io"
# UG1399, pragma HLS interface: the options of each mode.
_MODE_OPTIONS = {
    "m_axi": (
        "port name bundle depth offset channel latency max_widen_bitwidth max_read_burst_length "
        "max_write_burst_length num_read_outstanding num_write_outstanding"
    ),
    "s_axilite": "port name bundle clock offset register storage_impl direct_io",
    "axis": "port name depth register register_mode",
    "ap_memory": "port name address_mode depth latency storage_type",
    "bram": "port name address_mode depth latency storage_type",
    "ap_none": _SCALAR_MODE,
    "ap_stable": _SCALAR_MODE,
    "ap_vld": f"{_SCALAR_MODE} interrupt",
    "ap_ack": _SCALAR_MODE,
    "ap_hs": f"{_SCALAR_MODE} interrupt",
    "ap_ovld": f"{_SCALAR_MODE} interrupt",
    "ap_fifo": _SCALAR_MODE,
    "ap_ctrl_none": "port name",
    "ap_ctrl_hs": "port name",
    "ap_ctrl_chain": "port name",
}


def _check_interface(pragma: Pragma) -> Iterable[str]:
    mode = pragma.get("mode").lower()
    for argument in pragma.arguments:
        if argument.option not in (*_MODE_OPTIONS[mode].split(), "mode"):
            yield f"{argument.option} is no option of mode {mode}"
    if mode == "m_axi" and pragma.get("offset", "slave").lower() not in ("off", "direct", "slave"):
        yield f"offset={pragma.get('offset')}: expected off, direct or slave"
    if mode.startswith("ap_ctrl_") and pragma.get("port", "return") != "return":
        yield f"mode {mode} is for port=return, not port={pragma.get('port')}"


DIRECTIVES: dict[str, Directive] = {
    "aggregate": Directive(
        Place.ANYWHERE,
        {"variable": _VARIABLE, "compact": _choice("auto bit byte none", bare=True)},
    ),
    "alias": Directive(
        Place.TOP,
        {
            "ports": _VARIABLE,
            "offset": Option(Kind.NAME),
            "distance": _integer(minimum=0),
        },
        check=_needs_one_of("offset", "distance"),
    ),
    "allocation": Directive(
        Place.ANYWHERE,
        {
            "type": _choice("function operation", bare=True),
            "instances": Option(Kind.NAME, required=True),
            "limit": _integer(minimum=1, required=True),
        },
    ),
    "array_partition": Directive(Place.ANYWHERE, _ARRAY_SPLIT, check=_check_array_split),
    "array_reshape": Directive(
        Place.ANYWHERE, {**_ARRAY_SPLIT, "object": _FLAG}, check=_check_array_split
    ),
    "array_stencil": Directive(Place.ANYWHERE, {"variable": _VARIABLE, "off": _SWITCH}),
    "bind_op": Directive(
        Place.ANYWHERE,
        {
            "variable": _VARIABLE,
            "op": _choice(f"{_INTEGER_OPERATIONS} {_FLOAT_OPERATIONS}", required=True),
            "impl": _choice("auto dsp fabric fulldsp maxdsp meddsp primitivedsp"),
            "latency": _integer(minimum=-1),
        },
        check=_check_operation,
    ),
    "bind_storage": Directive(
        Place.ANYWHERE,
        {
            "variable": _VARIABLE,
            "type": _choice(" ".join(_STORAGE), required=True),
            "impl": _choice("auto bram bram_ecc lutram memory srl uram uram_ecc"),
            "latency": _integer(minimum=-1),
        },
        check=_check_storage,
    ),
    "cache": Directive(
        Place.TOP,
        {
            "port": _VARIABLE,
            "lines": _integer(minimum=1),
            "depth": _integer(minimum=1),
            "ports": _integer(minimum=1),
            "l2_lines": _integer(minimum=1),
            "burst": _choice("on off"),
        },
    ),
    "dataflow": Directive(Place.FUNCTION_OR_LOOP, {"disable_start_propagation": _FLAG}),
    "dependence": Directive(
        Place.FUNCTION_OR_LOOP,
        {
            "variable": _OPTIONAL_VARIABLE,
            "class": _choice("array pointer", bare=True),
            "type": _choice("inter intra", bare=True),
            "direction": _choice("raw war waw", bare=True),
            "distance": _integer(minimum=1),
            "dependent": _choice("true false", bare=True),
        },
        check=_check_dependence,
    ),
    "disaggregate": Directive(Place.ANYWHERE, {"variable": _VARIABLE}),
    "expression_balance": Directive(Place.ANYWHERE, {"off": _SWITCH}),
    "function_instantiate": Directive(Place.FUNCTION, {"variable": _VARIABLE}),
    "inline": Directive(
        Place.FUNCTION,
        {"off": _SWITCH, "recursive": _FLAG},
        replaced={"region": "inline", "self": "inline", "all": "inline recursive"},
    ),
    "interface": Directive(
        Place.TOP,
        {
            "mode": _choice(" ".join(_MODE_OPTIONS), bare=True, required=True),
            "port": _VARIABLE,
            "name": _NAME,
            "bundle": _NAME,
            "depth": _integer(minimum=1),
            "offset": _NAME,
            "clock": _NAME,
            "channel": _integer(minimum=0),
            "latency": _integer(minimum=0),
            "register": _FLAG,
            "register_mode": _choice("forward reverse both off", bare=True),
            "storage_type": _choice(" ".join(k for k in _STORAGE if k != "fifo") + " default"),
            "storage_impl": _choice("auto bram uram"),
            "address_mode": _choice("byte word"),
            "direct_io": _SWITCH,
            "interrupt": _integer(minimum=16, maximum=31),
            "max_read_burst_length": _integer(minimum=1, maximum=256),
            "max_write_burst_length": _integer(minimum=1, maximum=256),
            "max_widen_bitwidth": _integer(minimum=0, maximum=1024),
            "num_read_outstanding": _integer(minimum=1),
            "num_write_outstanding": _integer(minimum=1),
        },
        replaced={"ap_bus": "m_axi"},
        check=_check_interface,
    ),
    "latency": Directive(
        Place.ANYWHERE,
        {"min": _integer(minimum=0), "max": _integer(minimum=0)},
        check=_needs_one_of("min", "max"),
    ),
    "loop_flatten": Directive(Place.LOOP, {"off": _SWITCH}),
    "loop_merge": Directive(Place.ANYWHERE, {"force": _FLAG}),
    "loop_tripcount": Directive(
        Place.LOOP,
        {
            "min": _integer(minimum=0),
            "max": _integer(minimum=1, required=True),
            "avg": _integer(minimum=0),
        },
    ),
    "occurrence": Directive(Place.CONDITIONAL, {"cycle": _integer(minimum=1), "off": _SWITCH}),
    "performance": Directive(
        Place.ANYWHERE,
        {
            "target_ti": _NUMBER,
            "target_tl": _NUMBER,
            "assume_ti": _NUMBER,
            "assume_tl": _NUMBER,
            "unit": _choice("cycle sec"),
        },
        check=_needs_one_of("target_ti", "target_tl"),
    ),
    "pipeline": Directive(
        Place.FUNCTION_OR_LOOP,
        {
            "ii": _integer(minimum=1),
            "off": _SWITCH,
            "rewind": _SWITCH,
            "style": _choice("stp flp frp"),
        },
        replaced={"enable_flush": "style=flp"},
        check=_check_pipeline,
    ),
    "protocol": Directive(Place.ANYWHERE, {"mode": _choice("fixed floating", bare=True)}),
    "reset": Directive(Place.ANYWHERE, {"variable": _VARIABLE, "off": _SWITCH}),
    "stable": Directive(Place.FUNCTION, {"variable": _VARIABLE}),
    "stream": Directive(
        Place.ANYWHERE,
        {
            "variable": _VARIABLE,
            "depth": _integer(minimum=1),
            "type": _choice("fifo pipo shared unsync"),
        },
        replaced={"off": "type=pipo", "dim": "array_partition"},
    ),
    "top": Directive(Place.TOP, {"name": _NAME}),
    "unroll": Directive(
        Place.LOOP,
        {"factor": _integer(minimum=1), "skip_exit_check": _FLAG, "off": _SWITCH},
        replaced={"complete": "unroll", "partial": "factor=", "region": "unroll in each loop"},
    ),
}

# Directives of Vivado HLS and older Vitis HLS.
REPLACED_DIRECTIVES = {
    "array_map": "nothing; the tool maps arrays by itself",
    "data_pack": "aggregate",
    "resource": "bind_op or bind_storage",
    "shared": "stream type=shared",
}

_TOKEN = re.compile(
    r"(?P<word>[A-Za-z_]\w*(?:\s*::\s*[A-Za-z_]\w*)*)|(?P<number>\d[\w.]*)|(?P<string>\"[^\"]*\")"
    r"|(?P<operator>->|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!?:.,()\[\]<>=])"
)
_NAMES = re.compile(r'"[^"]*"|[\w:]+(\s*,\s*[\w:]+)*')
_PREFIXES = {"-", "+", "!", "~", "&", "*"}
_BRACKETS = {"(": ")", "[": "]"}


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


def _tokenize(text: str) -> list[_Token]:
    tokens, position = [], 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"unexpected '{text[position]}'")
        position = match.end()
        tokens.append(_Token(match.lastgroup, match.group(), match.start(), position))
    return tokens


def _value_end(tokens: list[_Token], first: int) -> int:
    """The index behind the value that starts at tokens[first].

    Options are not separated by commas, so a value ends where an operand is complete and what
    follows cannot continue the expression.
    """
    i, needs_operand, closing = first, True, []
    while i < len(tokens):
        kind, text = tokens[i].kind, tokens[i].text
        if closing and text == closing[-1] and (not needs_operand or tokens[i - 1].text == "("):
            closing.pop()
            needs_operand = False
        elif text in _BRACKETS and (text == "(" or not needs_operand):
            closing.append(_BRACKETS[text])
            needs_operand = True
        elif needs_operand:
            if kind != "operator":
                needs_operand = False
            elif text not in _PREFIXES:
                break
        elif kind == "operator" and text not in (")", "]", "="):
            needs_operand = True
        else:
            break
        i += 1
    if needs_operand or closing:
        raise ValueError(f"incomplete value after '{tokens[i - 1].text}'")
    return i


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _add_argument(pragma: Pragma, name: str, value: str | None) -> None:
    """Check one written option against the table and add it to the pragma.

    value is None where the option stands alone.
    """
    directive = DIRECTIVES[pragma.directive]
    lower = name.lower()
    option = directive.options.get(lower)
    if option is None and value is None:
        # A bare value stands for its option: `complete` for `type=complete`.
        for owner, candidate in directive.options.items():
            if candidate.bare and lower in candidate.values:
                lower, option, value = owner, candidate, name
                break
    if option is None:
        if lower in directive.replaced:
            pragma.errors.append(
                f"'{name}' is no longer supported, use {directive.replaced[lower]}"
            )
            return
        known = [*directive.options, *(v for o in directive.options.values() for v in o.values)]
        pragma.errors.append(f"unknown option '{name}'{_did_you_mean(lower, known)}")
        return
    if lower in pragma:
        pragma.errors.append(f"option '{lower}' is given twice")
        return
    if option.kind is Kind.FLAG:
        if value is not None and value.lower() not in option.values:
            pragma.errors.append(f"option '{lower}' takes no value '{value}'")
            return
    elif value is None:
        pragma.errors.append(f"option '{lower}' needs {option.kind.value}: {lower}=...")
        return
    elif option.kind is Kind.NAME and not _NAMES.fullmatch(value):
        pragma.errors.append(f"{lower}={value}: is no name")
        return
    elif option.kind is Kind.CHOICE and value.lower() not in option.values:
        if value.lower() in directive.replaced:
            expected = f"no longer supported, use {directive.replaced[value.lower()]}"
        else:
            expected = f"expected one of {', '.join(option.values)}"
        pragma.errors.append(f"{lower}={value}: {expected}")
        return
    pragma.arguments.append(Argument(lower, value or ""))


def parse(text: str) -> Pragma:
    """Parse what follows `#pragma HLS`; what is wrong is in the result's errors.

    A pragma whose directive is not in DIRECTIVES has no arguments.
    """
    name, rest = [*text.split(maxsplit=1), "", ""][:2]
    pragma = Pragma(name.lower())
    if pragma.directive not in DIRECTIVES:
        if not name:
            pragma.errors.append("no directive")
        elif pragma.directive in REPLACED_DIRECTIVES:
            pragma.errors.append(
                f"no longer supported, replaced by {REPLACED_DIRECTIVES[pragma.directive]}"
            )
        else:
            pragma.errors.append(f"unknown directive{_did_you_mean(pragma.directive, DIRECTIVES)}")
        return pragma

    try:
        tokens = _tokenize(rest)
        i = 0
        while i < len(tokens):
            if tokens[i].kind != "word":
                raise ValueError(f"unexpected '{tokens[i].text}', expected an option")
            option = tokens[i].text
            i += 1
            value = None
            if i < len(tokens) and tokens[i].text == "=":
                end = _value_end(tokens, i + 1)
                value = rest[tokens[i + 1].start : tokens[end - 1].end]
                i = end
            _add_argument(pragma, option, value)
    except ValueError as error:
        pragma.errors.append(str(error))
        return pragma

    if not pragma.errors:
        directive = DIRECTIVES[pragma.directive]
        missing = [o for o, spec in directive.options.items() if spec.required and o not in pragma]
        pragma.errors.extend(f"option '{o}' is missing" for o in missing)
        if not missing:
            pragma.errors.extend(directive.check(pragma))
    return pragma
