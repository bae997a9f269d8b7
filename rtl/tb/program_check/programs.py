"""Programs at the limits of the rules, and what `isa.rules` says of them.

A program is a `Package` whose sections have a length but no contents: the checker sees no more of
them. `instruction_at_limits` draws an instruction and the package that just allows it, so that one
step further breaks a rule; `changed` and `with_fact` take such a step.
"""

from __future__ import annotations

import dataclasses
import random
from itertools import chain

import numpy as np

import isa
from golden.random_programs import round_up
from isa import rules
from isa.package import Package
from isa.words import CONV_PARAM_DTYPE, PARAM_DTYPE, PHASE_DTYPE, SCHEDULE_DTYPE

SECTIONS = {
    "array_params": (PARAM_DTYPE, ()),
    "conv_params": (CONV_PARAM_DTYPE, ()),
    "conv_tables": (np.int8, (256,)),
    "scan_params": (PARAM_DTYPE, ()),
    "scan_decay": (np.uint16, ()),
    "scan_tables": (np.uint16, (256,)),
    "vector_params": (PARAM_DTYPE, ()),
    "vector_tables": (np.uint16, (256,)),
    "resid_image": (np.int16, ()),
}


def empty(section: str, n: int, build: isa.Build) -> np.ndarray:
    """A section of ``n`` elements that take no memory."""
    dtype, row = SECTIONS.get(section, (np.int8, (build.tile_out, build.tile_in)))
    return np.broadcast_to(np.zeros((), dtype), (n, *row))


def package(build: isa.Build, instructions: list[isa.Instruction], **facts: object) -> Package:
    """A package of these instructions; ``facts`` are header fields and lengths of sections.

    Without facts it has no sequences, and no phases.
    """
    sizes = {name: facts.pop(name, 0) for name in (*SECTIONS, "weights")}
    header = {
        name: facts.pop(name, 0)
        for name in ("n_sequences", "n_positions", "token_bytes", "forecast_elements")
    }
    return Package(
        tile_in=build.tile_in,
        tile_out=build.tile_out,
        iterations=1,
        instructions=tuple(instructions),
        phases=facts.pop("phases", np.zeros(0, PHASE_DTYPE)),
        schedule=facts.pop("schedule", np.zeros(0, SCHEDULE_DTYPE)),
        metadata={},
        **header,
        **{name: empty(name, n, build) for name, n in sizes.items()},
        **facts,
    )


# The code of a program without phases in which no instruction breaks a rule.
ACCEPTED = "BAD_SCHEDULE"


def first_error(p: Package, build: isa.Build) -> tuple[str, str]:
    """Code and message of the first rule that the program breaks; ("OK", "")."""
    faults = chain(
        *(rules.instruction_faults(p, i, it, build) for i, it in enumerate(p.instructions)),
        rules.schedule_faults(p),
    )
    fault = next(faults, None)
    return (fault.code_name, str(fault)) if fault else ("OK", "")


# ------------------------------------------------------------------------- at the limits


def operand(
    build: isa.Build, spaces: tuple[str, ...], n: int, *, align: int | None = None, least: int = 0
) -> isa.Operand:
    """Rows of ``n`` elements in one of ``spaces``, from ``least`` on, often to its very end."""
    row = build.row_align
    space = random.choice([s for s in spaces if build.spaces[s] >= least + n])
    free = build.spaces[space] - n - least
    log2_rows = random.choice([0, random.randrange(16), random.randrange(16)])
    last_row = (1 << log2_rows) - 1
    most = min(free // last_row if last_row else 0xFFFF, 0xFFFF) // row
    stride = row * random.choice([most, random.randint(0, most)])
    start = align or row
    addr = (build.spaces[space] - n - stride * last_row) // start * start
    if random.random() < 0.3:
        addr = random.randint(-(-least // start), addr // start) * start
    return isa.Operand(addr, stride, log2_rows, isa.SPACES[space].index)


def size(build: isa.Build, limit: int, *spaces: str) -> int:
    """A number of features that fit all ``spaces``, often a limit or whole words."""
    limit = min([limit, *(build.spaces[name] for name in spaces)])
    return random.choice(
        [1, limit, random.randint(1, limit), round_up(random.randint(1, limit), build.row_align)]
    )


def address(multiple: int, room: int) -> int:
    """An address in a memory with ``room`` places for its beginning."""
    return random.choice([0, room, random.randint(0, room)]) // multiple * multiple


def instruction_at_limits(
    opcode: str, build: isa.Build, inputs: tuple[int, int] | None = None
) -> Package:
    """A package with one instruction of ``opcode`` that breaks no rule, often by very little.

    ``inputs``: for a reducing LINEAR its features and positions, right or wrong.
    """
    features, capacity = build.capacity["features"], build.capacity
    multiples = rules.address_multiples(build)
    facts: dict[str, int] = {}

    def section(name: str, count: int) -> int:
        """Address of ``count`` elements; the section ends with them, or later."""
        start = address(multiples.get(name, 1), capacity[name] - count)
        facts[name] = random.choice([start + count, random.randint(start + count, capacity[name])])
        return start

    def image(dst: isa.Operand) -> isa.Operand:
        """The constants end before a result in resid, often just there."""
        if dst.space == isa.SPACES["resid"].index:
            facts["resid_image"] = random.choice([dst.addr, random.randint(0, dst.addr)])
        return dst

    f: dict[str, object] = {"n_positions": random.choice([1, 4095, random.randint(1, 4095)])}
    match opcode:
        case "RECV":
            n = f["n"] = facts["token_bytes"] = size(build, features, "patch")
            f["dst"] = operand(build, ("patch",), n)
        case "LINEAR":
            f |= _linear(build, facts, section, image, inputs)
        case "CONV":
            n = f["n"] = size(build, features, "conv_in", "conv")
            f["src"] = operand(build, ("conv_in",), n)
            f["dst"] = operand(build, ("conv",), n)
            most = min(8, 1 << f["src"].log2_rows)
            f["kernel"] = random.choice([1, most, random.randint(1, most)])
            f["table"] = section("conv_tables", 1)
            f["param_addr"] = section("conv_params", n)
            f["pad"] = random.randint(-128, 127)
        case "SCAN":
            log2_state = f["log2_state"] = random.choice([0, 6, random.randint(0, 6)])
            n = size(build, features, "conv", "gate", "step", "scan")
            n = f["n"] = min(
                n, capacity["state"] >> log2_state, capacity["scan_decay"] >> log2_state
            )
            for name in ("u", "z", "dt"):
                space = {"u": "conv", "z": "gate", "dt": "step"}[name]
                f[name] = operand(build, (space,), n)
            align, read = build.row_align, 2 << log2_state
            room = build.spaces["proj"] - n
            f["skip_enable"] = int(room >= 0 and random.randrange(2))
            f["skip_zero_point"] = random.randint(-128, 127)
            f["skip_offset"] = random.randrange(1 << 16)  # nobody looks at it
            if f["skip_enable"]:
                f["skip_offset"] = align * random.choice([0, room // align, random.randint(0, 3)])
                f["skip_offset"] = min(f["skip_offset"], room // align * align)
                read = max(read, f["skip_offset"] + n)
            f["bc"] = operand(build, ("proj",), read)
            f["dst"] = operand(build, ("scan",), n)
            pairs = n << log2_state
            f["state_addr"] = address(multiples["state"], capacity["state"] - pairs)
            f["decay_addr"] = section("scan_decay", pairs)
            f["param_addr"] = section("scan_params", n)
            f["softplus_table"], f["silu_table"] = (section("scan_tables", 1) for _ in range(2))
            facts["scan_tables"] = 1 + max(f["softplus_table"], f["silu_table"])
            for name, most in (("state_shift", 16), ("skip_shift", 20), ("y_shift", 40)):
                f[name] = random.choice([0, most, random.randint(0, most)])
            f["u_zero_point"] = random.randint(-128, 127)
            f["exp_shift"] = random.randint(0, 31)
        case "NORM":
            f["wide"] = random.randrange(2)
            n = f["n"] = size(build, features, "resid", "resid" if f["wide"] else "norm")
            f["src"], f["dst"] = _rows_apart(build, n, image, same_memory=f["wide"])
            f["param_addr"] = section("vector_params", min(n, capacity["vector_params"]))
            n = f["n"] = min(n, capacity["vector_params"])
            f["eps"] = random.choice([1, 0xFFFFFFFF, 1 << random.randrange(32)])
        case "SCALE":
            n = f["n"] = size(build, features, "resid", "logit")
            f["src"], f["dst"] = _rows_apart(build, n, image, same_memory=True)
            f["logit"] = operand(build, ("logit",), n)
            f["table"] = section("vector_tables", 1)
        case "MODULATE":
            f["wide"] = random.randrange(2)
            n = f["n"] = size(build, features, "resid", "resid" if f["wide"] else "conv_in")
            f["src"], f["dst"] = _rows_apart(build, n, image, same_memory=f["wide"])
            if not f["wide"]:
                f["dst"] = operand(build, ("conv_in",), n)
            f["add"] = _addend(build, n, f["src"], f["dst"])
            f["logit"], f["columns"] = _shared_rows(build, "logit")
            f["param_addr"] = section("vector_params", 1)
            f["scale_table"], f["shift_table"] = (section("vector_tables", 1) for _ in range(2))
            facts["vector_tables"] = 1 + max(f["scale_table"], f["shift_table"])
        case "SEND":
            n = f["n"] = facts["forecast_elements"] = size(build, 0xFFFF, "head")
            f["src"] = operand(build, ("head",), n)
        case _:  # of which isa.toml says all
            fields = isa.OPCODES[opcode].format.fields
            spaces = {p.name: _only_space(opcode, p.name) for p in fields if p.operand}
            rows = [p.name for p in fields if p.operand and not p.shared]
            n = f["n"] = size(build, features, *(spaces[name] for name in rows))
            for name, space in spaces.items():
                if name in rows:
                    f[name] = operand(build, (space,), n)
                else:
                    f[name], f["columns"] = _shared_rows(build, space)
            for address_field in (p for p in fields if p.memory):
                f[address_field.name] = section(address_field.memory, address_field.elements)
    for field in isa.OPCODES[opcode].format.fields:
        if field.name != "opcode":
            f.setdefault(field.name, isa.Operand() if field.operand else 0)
    return package(build, [isa.Instruction(opcode, f)], **facts)


def _only_space(opcode: str, operand: str) -> str:
    """The one memory that an operand may be in."""
    (space,) = (
        space.name
        for space in isa.SPACES.values()
        if opcode in (space.writers if operand == "dst" else space.readers)
    )
    return space


def _linear(build, facts, section, image, inputs) -> dict[str, object]:
    capacity = build.capacity
    reduce = 1 if inputs else random.randrange(2)
    wide = random.randrange(2)
    log2_split = random.randrange(3)
    granule = build.tile_in << log2_split
    sources = [s for s in isa.SPACES.values() if "LINEAR" in s.readers and s.bits == 8]
    results = [
        s for s in isa.SPACES.values() if "LINEAR" in s.writers and s.bits == (16 if wide else 8)
    ]
    n_in = inputs[0] if inputs else size(build, max(build.spaces[s.name] for s in sources))
    widest = max((s.name for s in results), key=lambda name: build.spaces[name])
    n_out = size(build, capacity["reduce" if reduce else "features"], widest, "resid")
    dst = image(operand(build, tuple(s.name for s in results), n_out))
    f: dict[str, object] = {
        "log2_split": log2_split,
        "wide": wide,
        "reduce": reduce,
        "relu": random.randrange(2),
        "add_enable": random.randrange(2),
        "add_position": random.randrange(2),
        "n_out": n_out,
        "n_in": n_in,
        "src": operand(
            build,
            tuple(s.name for s in sources),
            round_up(n_in, granule),
            align=min(granule, build.row_align),
        ),
        "dst": dst,
        "add": operand(build, ("resid",), n_out),
        "param_addr": section("array_params", n_out),
        "weight_stride": random.choice([0, 0xFFFF, random.randint(0, 0xFFFF)]),
        "weight_addr": random.choice([0, (1 << 20) - 1, random.randint(0, (1 << 20) - 1)]),
    }
    if not f["add_enable"] and random.randrange(2):  # nobody looks at it
        f["add"] = isa.Operand(*(random.getrandbits(part.bits) for part in isa.OPERAND.fields))
    if inputs:
        f["n_positions"] = inputs[1]
    elif reduce:
        most = min(4095, isa.LIMITS["array_inputs"] // n_in)
        f["n_positions"] = random.choice([1, most, random.randint(1, most)])
    rows = f.get("n_positions", 1) if reduce else 1
    instruction = isa.Instruction("LINEAR", {"n_positions": 1, **f})
    tiles = rules.tile_grid(instruction, build)
    facts["weights"] = f["weight_addr"] + f["weight_stride"] * (rows - 1) + tiles[0] * tiles[1]
    return f


def _rows_apart(build, n, image, same_memory) -> tuple[isa.Operand, isa.Operand]:
    """Source in resid; result in norm, or in resid: the same rows or others, often just beside."""
    if not same_memory:
        return operand(build, ("resid",), n), operand(build, ("norm",), n)
    align = build.row_align
    if random.random() < 0.3 or build.spaces["resid"] < 2 * round_up(n, align):
        src = operand(build, ("resid",), n)
        return src, image(src)
    upper = operand(build, ("resid",), n, least=round_up(n, align))
    free = (upper.addr - n) // align * align
    log2_rows = random.randrange(12)
    stride = free // ((1 << log2_rows) - 1 or 1) // align * align if log2_rows else 0
    stride = min(stride, 0xFFFF // align * align)
    addr = (upper.addr - n - stride * ((1 << log2_rows) - 1)) // align * align
    lower = isa.Operand(addr, stride, log2_rows, upper.space)
    src, dst = random.choice([(upper, lower), (lower, upper)])
    return src, image(dst)


def _shared_rows(build: isa.Build, space: str) -> tuple[isa.Operand, int]:
    """Rows of two elements for each sequence, of which there are none here, and their columns."""
    most = build.spaces[space] - 1
    columns = random.choice([0, most, random.randint(0, most)])
    return operand(build, (space,), columns), columns


def _addend(build: isa.Build, n: int, src: isa.Operand, dst: isa.Operand) -> isa.Operand:
    """A row of resid that is that of the result or does not overlap it, often just beside it."""
    resid, align = isa.SPACES["resid"].index, build.row_align
    if dst.space != resid:
        return operand(build, ("resid",), n)
    above = round_up(dst.row((1 << dst.log2_rows) - 1) + n, align)
    below = (dst.addr - n) // align * align
    beside = [isa.Operand(at, 0, random.randrange(16), resid) for at in (above, below)]
    fits = [row for row in beside if 0 <= row.addr <= build.spaces["resid"] - n]
    return random.choice([src, dst, *fits])


# ------------------------------------------------------------------------- one step further

# Fields with which no rule is concerned.
FREE = {
    ("LINEAR", "relu"),
    ("LINEAR", "add_position"),
    ("CONV", "pad"),
    ("SCAN", "u_zero_point"),
    ("SCAN", "exp_shift"),
    ("SCAN", "skip_zero_point"),
}
SIZES = ("n_sequences", "token_bytes", "forecast_elements")
FACTS = (*SIZES, "weights", *SECTIONS)


def fields(opcode: str) -> list[tuple[str, ...]]:
    """The fields of an instruction: (field,) or (operand, part)."""
    names: list[tuple[str, ...]] = []
    for field in isa.OPCODES[opcode].format.fields:
        if field.operand:
            names += [(field.name, part.name) for part in isa.OPERAND.fields]
        elif field.name != "opcode":
            names.append((field.name,))
    return names


def changed(p: Package, index: int, path: tuple[str, ...], build: isa.Build) -> Package:
    """Another value of one field of one instruction, often close by."""
    old = p.instructions[index]
    field = next(f for f in isa.OPCODES[old.opcode].format.fields if f.name == path[0])
    value = old.fields[field.name]
    if field.operand:
        part = next(f for f in isa.OPERAND.fields if f.name == path[1])
        value = dataclasses.replace(
            value, **{part.name: _another(part, getattr(value, part.name), build)}
        )
    else:
        value = _another(field, value, build)
    instruction = isa.Instruction(old.opcode, {**old.fields, field.name: value})
    instructions = (*p.instructions[:index], instruction, *p.instructions[index + 1 :])
    return dataclasses.replace(p, instructions=instructions)


def _another(field: isa.Field, value: int, build: isa.Build) -> int:
    step = random.choice([1, 1, build.tile_in, build.row_align, build.scan_lanes])
    new = random.choice(
        [
            value + step,
            value - step,
            value ^ 1 << random.randrange(field.bits),
            field.minimum,
            field.maximum,
            random.randint(field.minimum, field.maximum),
        ]
    )
    return min(max(new, field.minimum), field.maximum)


def with_fact(p: Package, name: str, step: int, build: isa.Build) -> Package:
    """A size in the header, or the length of a section, that is ``step`` larger."""
    if name in SIZES:
        return dataclasses.replace(p, **{name: max(0, getattr(p, name) + step)})
    return dataclasses.replace(
        p, **{name: empty(name, max(0, len(getattr(p, name)) + step), build)}
    )
