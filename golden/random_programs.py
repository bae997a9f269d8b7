"""A small assembler for tests: random valid programs, without the compiler.

`random_package` writes a program with the instructions of a nested CMamba, `random_published` one
with those of the published CMamba; between them they use every instruction. Sizes, rings, weights,
parameters and tables are random, padding is zero. The list order is the plain one (sequence after
sequence, or token after token where the sequences depend on each other) and the waits let nothing
overlap; `shuffled` gives the same program another order and only the waits it needs, `phased`
several phases, `with_padding` other padding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

import isa
from compiler.program import Entry
from compiler.schedule.check import accesses
from compiler.schedule.order import NO_WAIT
from isa.package import Package
from isa.padding import find_padding
from isa.phases import TOKENS, entries_ahead, phase_of
from isa.rules import PARAM_SECTIONS, address_multiples
from isa.words import CONV_PARAM_DTYPE, PARAM_DTYPE, SCHEDULE_DTYPE


def round_up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


class Assembler:
    """Collects instructions and sections; allocates memories from their start upwards."""

    def __init__(
        self, rng: np.random.Generator, build: isa.Build, n_sequences: int, n_positions: int
    ) -> None:
        self.rng = rng
        self.build = build
        self.n_sequences = n_sequences
        self.n_positions = n_positions
        self.instructions: list[isa.Instruction] = []
        self.names: list[str] = []
        self.segments: list[list[int]] = [[]]
        self.weights: list[np.ndarray] = []
        self.params: dict[str, list[np.ndarray]] = {}
        self.tables: dict[str, list[np.ndarray]] = {}
        self.decay: list[np.ndarray] = []
        self.resid_image = np.zeros(0, np.int16)
        self.used: dict[str, int] = {}
        self.state_used = 0

    # ------------------------------------------------------------------- memories

    def buffer(self, space: str, width: int, log2_rows: int) -> isa.Operand:
        """A ring of 2^log2_rows rows at least ``width`` wide, with a random gap before it."""
        align = self.build.row_align
        addr = self.used.get(space, 0) + align * int(self.rng.integers(0, 2))
        stride = round_up(width, align)
        if (stride + align) << log2_rows <= self.build.spaces[space] // 2:
            stride += align * int(self.rng.integers(0, 2))
        self.used[space] = addr + (stride << log2_rows)
        assert self.used[space] <= self.build.spaces[space], f"{space} is too small for this test"
        return isa.Operand(addr, stride, log2_rows, isa.SPACES[space].index)

    def ring(self, space: str, width: int, tokens: int, least: int = 1) -> isa.Operand:
        """A ring for ``tokens`` rows in turn; ``least`` of them must stay readable.

        It leaves room for other buffers of the memory, where ``least`` allows.
        """
        low = (least - 1).bit_length()
        high = max(low, (tokens - 1).bit_length())
        stride = round_up(width, self.build.row_align) + self.build.row_align
        while high > low and stride << high > self.build.spaces[space] // 6:
            high -= 1
        return self.buffer(space, width, int(self.rng.integers(low, high + 1)))

    def rows(self, space: str, width: int, rows: int) -> isa.Operand:
        """A buffer in which ``rows`` rows have a place each."""
        return self.buffer(space, width, (rows - 1).bit_length())

    def constants(self, rows: int, width: int) -> isa.Operand:
        """Random int16 rows at the start of `resid`; must come before its buffers."""
        stride = round_up(width, self.build.row_align)
        self.resid_image = self.rng.integers(-(1 << 15), 1 << 15, rows * stride).astype(np.int16)
        log2_rows = (rows - 1).bit_length()
        self.used["resid"] = stride << log2_rows
        return isa.Operand(0, stride, log2_rows, isa.SPACES["resid"].index)

    # ------------------------------------------------------------------- sections

    def param_words(self, section: str, count: int, magnitude: float, target: float) -> int:
        """Random parameter words that bring ``magnitude`` to about ``target``; their address."""
        rng = self.rng
        count = round_up(count, address_multiples(self.build).get(section, 1))
        words = np.zeros(count, CONV_PARAM_DTYPE if section == "conv_params" else PARAM_DTYPE)
        multiplier = rng.integers(1 << 16, 1 << 17, count) * rng.choice([-1, 1], count)
        shift = np.rint(np.log2(magnitude * np.abs(multiplier) / target)).astype(int)
        shift += rng.integers(-2, 3, count)
        words["multiplier"] = multiplier
        words["shift"] = shift.clip(0, isa.LIMITS["shift"])
        words["zero_point"] = rng.integers(-128, 128, count)
        words["bias"] = rng.integers(-int(magnitude), int(magnitude) + 1, count)
        if section == "conv_params":
            words["taps"] = rng.integers(-127, 128, (count, 8))
        parts = self.params.setdefault(section, [])
        parts.append(words)
        return sum(len(part) for part in parts[:-1])

    def table(self, section: str, dtype: type, low: int, high: int) -> int:
        tables = self.tables.setdefault(section, [])
        tables.append(self.rng.integers(low, high, 256).astype(dtype).view(_table_dtype(section)))
        return len(tables) - 1

    # ------------------------------------------------------------------- instructions

    def emit(self, opcode: str, name: str = "", **fields: Any) -> None:
        fields.setdefault("n_positions", self.n_positions)
        for f in isa.OPCODES[opcode].format.fields:
            if f.name != "opcode":
                fields.setdefault(f.name, isa.Operand() if f.operand else 0)
        index = len(self.instructions)
        self.segments[-1].append(index)
        self.instructions.append(isa.Instruction(opcode, fields))
        self.names.append(name or f"{opcode.lower()}.{index}")

    def segment(self) -> None:
        """What follows runs after all positions of what came before."""
        self.segments.append([])

    def linear(
        self, src: isa.Operand, n_in: int, dst: isa.Operand, n_out: int, **fields: Any
    ) -> None:
        """A LINEAR with random weights; ``fields`` are those of the instruction."""
        rng, build = self.rng, self.build
        log2_split = int(rng.integers(0, 3)) if "log2_split" not in fields else fields["log2_split"]
        split = 1 << log2_split
        # A source that does not start at a row's alignment limits the split.
        while src.addr % (build.tile_in * split):
            log2_split, split = log2_split - 1, split >> 1
        outputs, inputs = build.tile_out // split, build.tile_in * split
        n_o, n_i = -(-n_out // outputs), -(-n_in // inputs)
        reduce = fields.get("reduce", 0)
        positions = fields.get("n_positions", self.n_positions) if reduce else 1
        gap = int(rng.integers(0, 2))  # a tile of another matrix between two positions
        address = sum(len(tiles) for tiles in self.weights)
        for _ in range(positions):
            matrix = np.zeros((n_o * outputs, n_i * inputs), np.int8)
            matrix[:n_out, :n_in] = rng.integers(-127, 128, (n_out, n_in))
            for o in range(n_o):
                for i in range(n_i):
                    block = matrix[o * outputs :, i * inputs :][:outputs, :inputs]
                    groups = [
                        block[:, g * build.tile_in :][:, : build.tile_in] for g in range(split)
                    ]
                    self.weights.append(np.concatenate(groups)[None])
            self.weights.append(
                rng.integers(-127, 128, (gap, build.tile_out, build.tile_in), np.int8)
            )
        self.emit(
            "LINEAR",
            src=src,
            dst=dst,
            weight_addr=address,
            weight_stride=n_o * n_i + gap if reduce else int(rng.integers(0, 9)),
            param_addr=self.param_words(
                "array_params",
                n_out,
                (n_in * positions) ** 0.5 * 74 * 73,
                8192 if fields.get("wide") else 64,
            ),
            n_in=n_in,
            n_out=n_out,
            log2_split=log2_split,
            **fields,
        )

    # ------------------------------------------------------------------- the package

    def entries(self) -> list[tuple[int, int, int, int]]:
        """(instruction, token, position, sequence) in plain order."""
        return [
            (index, sequence * positions + position, position, sequence)
            for sequence in range(self.n_sequences)
            for indices in self.segments
            for positions in [self.instructions[indices[0]].n_positions]
            for position in range(positions)
            for index in indices
        ]

    def package(
        self,
        token_bytes: int,
        forecast_elements: int,
        iterations: int,
        entries: Sequence[tuple[int, int, int, int]] | None = None,
    ) -> Package:
        """The package; `entries` are (instruction, token, position, sequence) where the order is
        not the plain one."""

        def joined(parts: list[np.ndarray] | None, empty: np.ndarray) -> np.ndarray:
            return np.concatenate([empty, *(parts or [])])

        def tables(section: str) -> np.ndarray:
            stacked = [table[None] for table in self.tables.get(section, [])]
            return joined(stacked, np.zeros((0, 256), _table_dtype(section)))

        entries = entries or self.entries()
        schedule = np.zeros(len(entries), SCHEDULE_DTYPE)
        for name, column in zip(SCHEDULE_DTYPE.names[:4], zip(*entries, strict=True), strict=True):
            schedule[name] = column
        units = [self.instructions[index].unit for index, *_ in entries]
        schedule["wait"] = entries_ahead(units)
        build = self.build
        package = Package(
            tile_in=build.tile_in,
            tile_out=build.tile_out,
            n_sequences=self.n_sequences,
            iterations=iterations,
            n_positions=self.n_positions,
            token_bytes=token_bytes,
            forecast_elements=forecast_elements,
            instructions=tuple(self.instructions),
            phases=phase_of(units),
            schedule=schedule,
            weights=joined(self.weights, np.zeros((0, build.tile_out, build.tile_in), np.int8)),
            array_params=joined(self.params.get("array_params"), np.zeros(0, PARAM_DTYPE)),
            conv_params=joined(self.params.get("conv_params"), np.zeros(0, CONV_PARAM_DTYPE)),
            conv_tables=tables("conv_tables"),
            scan_params=joined(self.params.get("scan_params"), np.zeros(0, PARAM_DTYPE)),
            scan_decay=joined(self.decay, np.zeros(0, np.uint16)),
            scan_tables=tables("scan_tables"),
            vector_params=joined(self.params.get("vector_params"), np.zeros(0, PARAM_DTYPE)),
            vector_tables=tables("vector_tables"),
            resid_image=self.resid_image,
            metadata={"instructions": [{"name": name} for name in self.names]},
        )
        return with_padding(package)


def _table_dtype(section: str) -> type:
    return np.int8 if section == "conv_tables" else np.uint16


def random_package(
    rng: np.random.Generator, build: isa.Build | str = "small", *, largest: int = 20
) -> Package:
    """A random program with the instructions of a nested CMamba: every opcode, every mode.

    Args:
        rng: source of all choices; the same state gives the same package.
        build: memory sizes and tile.
        largest: bound of the widths, which are mostly not multiples of anything.
    """
    build = isa.build(build) if isinstance(build, str) else build

    def size(low: int = 1, high: int = largest) -> int:
        return int(rng.integers(low, high + 1))

    def flag() -> int:
        return int(rng.integers(0, 2))

    n_sequences, K = size(1, 3), size(1, 6)
    tokens = n_sequences * K
    token_bytes, d_model, hidden, forecast = size(), size(), size(), size()
    a = Assembler(rng, build, n_sequences, K)

    positions = a.constants(K, d_model)
    x = a.rows("resid", d_model, tokens)
    patch = a.ring("patch", token_bytes, tokens)
    a.emit("RECV", dst=patch, n=token_bytes)
    a.linear(patch, token_bytes, x, d_model, wide=1, add=positions, add_enable=1, add_position=1)
    for _ in range(size(1, 2)):
        a.segment()
        _mamba_block(a, x, d_model, size(), log2_state=size(0, 3), kernel=size(1, 8))
    a.segment()
    pooled = a.rows("norm", d_model, 2 * n_sequences)
    pool_params = a.param_words("vector_params", 2, 16384 * K**0.5, 64)
    a.emit("POOL", src=x, dst=pooled, param_addr=pool_params, n=d_model)
    a.segment()
    squeezed = a.rows("proj", hidden, 2 * n_sequences)
    a.linear(pooled, d_model, squeezed, hidden, relu=1, n_positions=2)
    a.segment()
    logit = a.rows("logit", d_model, n_sequences)
    # The hidden rows of mean and maximum, summed by one matrix for each or in an instruction each.
    a.linear(squeezed, hidden, logit, d_model, reduce=1, n_positions=2, relu=flag())
    a.segment()
    table = a.table("vector_tables", np.uint16, 0, 1 << 16)
    a.emit("SCALE", src=x, logit=logit, dst=x, table=table, n=d_model)
    _norm(a, x, x, d_model, wide=1)
    a.segment()
    normed = a.ring("norm", d_model, tokens)
    _norm(a, x, normed, d_model, wide=0)
    head = a.ring("head", forecast, n_sequences)
    a.linear(normed, d_model, head, forecast, wide=1, reduce=1, relu=flag())
    a.segment()
    a.emit("SEND", src=head, n=forecast, n_positions=1)
    return a.package(token_bytes, forecast, iterations=size(1, 3))


def random_published(
    rng: np.random.Generator, build: isa.Build | str = "small", *, largest: int = 20
) -> Package:
    """A random program with the instructions of a published CMamba, whose sequences take turns: at
    a position, they meet in rows that they share.

    Args:
        rng: source of all choices; the same state gives the same package.
        build: memory sizes and tile.
        largest: bound of the widths, which are mostly not multiples of anything.
    """
    build = isa.build(build) if isinstance(build, str) else build

    def size(low: int = 1, high: int = largest) -> int:
        return int(rng.integers(low, high + 1))

    V = size(1, 5)
    K = size(1, min(4, 8 // V))
    token_bytes, d_model, forecast = size(), size(), size()
    a = Assembler(rng, build, V, K)
    entries: list[tuple[int, int, int, int]] = []

    positions = a.constants(K, d_model)
    x, y = (a.rows("resid", d_model, V * K) for _ in range(2))
    conv = a.rows("conv", d_model, V * K)
    logit = a.rows("logit", 2 * build.row_align + V, K)
    patch = a.ring("patch", token_bytes, V * K)
    a.emit("RECV", dst=patch, n=token_bytes)
    a.linear(patch, token_bytes, x, d_model, wide=1, add=positions, add_enable=1, add_position=1)
    entries += [(i, k * V + v, k, v) for v in range(V) for k in range(K) for i in range(2)]

    n_blocks = size(1, 2)
    for block in range(n_blocks):
        start = len(a.instructions)
        scans = _mamba_block(
            a, x, d_model, size(), log2_state=size(0, 3), kernel=1, mixed=y, scans=V
        )
        meeting = len(a.instructions)
        columns = _meet(a, y, d_model, size(), logit)
        parting = len(a.instructions)
        last = block == n_blocks - 1
        target = a.ring("conv_in", d_model, V * K) if last else x if size(0, 1) else y
        _modulate(a, y, logit, columns, x, target, d_model, wide=int(not last))
        if last:
            _activation(a, target, conv, d_model)
        for k in range(K):
            for v in range(V):
                mixer = [i for i in range(start, meeting + 1) if i not in scans or i == scans[v]]
                entries += [(i, k * V + v, k, 0 if i in scans else v) for i in mixer]
            entries += [(i, k, k, 0) for i in range(meeting + 1, parting)]
            after = range(parting, len(a.instructions))
            entries += [(i, k * V + v, k, v) for v in range(V) for i in after]
        if target is y:
            x, y = y, x

    head = a.ring("head", forecast, V)
    a.linear(conv, d_model, head, forecast, wide=1, reduce=1)
    a.emit("SEND", src=head, n=forecast, n_positions=1)
    last = len(a.instructions) - 1
    for v in range(V):
        entries += [(last - 1, k * V + v, k, v) for k in range(K)] + [(last, v, 0, v)]
    return a.package(token_bytes, forecast, size(1, 3), entries)


def many_rows_package() -> Package:
    """A program with more rows than build `large` has room for; `default` holds it."""
    return random_published(np.random.default_rng(6), "default", largest=300)


def _meet(a: Assembler, y: isa.Operand, d_model: int, hidden: int, logit: isa.Operand) -> int:
    """Means and maxima of all sequences to the logits of their scales and shifts; returns how far
    apart those are. The first instruction works on a sequence, the others on all of them."""
    rng, V, K = a.rng, a.n_sequences, a.n_positions
    # Side by side they pass through one matrix, or else each through its own.
    apart = bool(rng.integers(0, 2))
    columns = a.build.row_align * int(rng.integers(1, 3)) if apart else V
    parts = [0, columns] if apart else [0]
    width = V if apart else 2 * V

    pooled = a.ring("norm", columns + V, K)
    param_addr = a.param_words("vector_params", 1, 8192 * d_model**0.5, 64)  # mean
    a.param_words("vector_params", 1, 16384, 64)  # maximum
    a.emit("POOL_FEATURES", src=y, dst=pooled, param_addr=param_addr, n=d_model, columns=columns)
    for part in parts:
        squeezed, activated = a.ring("conv_in", hidden, K), a.ring("conv", hidden, K)
        a.linear(dataclasses.replace(pooled, addr=pooled.addr + part), width, squeezed, hidden)
        _activation(a, squeezed, activated, hidden)
        a.linear(activated, hidden, dataclasses.replace(logit, addr=logit.addr + part), width)
    return columns


def _activation(a: Assembler, src: isa.Operand, dst: isa.Operand, n: int) -> None:
    """A CONV of one tap."""
    a.emit(
        "CONV",
        src=src,
        dst=dst,
        param_addr=a.param_words("conv_params", n, 74 * 73, 64),
        table=a.table("conv_tables", np.int8, -128, 128),
        n=n,
        kernel=1,
    )


def _modulate(
    a: Assembler,
    src: isa.Operand,
    logit: isa.Operand,
    columns: int,
    add: isa.Operand,
    dst: isa.Operand,
    n: int,
    *,
    wide: int,
) -> None:
    a.emit(
        "MODULATE",
        src=src,
        logit=logit,
        dst=dst,
        add=add,
        param_addr=a.param_words("vector_params", 1, 1 << 15, 8192 if wide else 64),
        n=n,
        columns=columns,
        scale_table=a.table("vector_tables", np.uint16, 0, 1 << 16),
        shift_table=a.table("vector_tables", np.int16, -(1 << 15), 1 << 15),
        wide=wide,
    )


def _norm(a: Assembler, src: isa.Operand, dst: isa.Operand, n: int, *, wide: int) -> None:
    target = 8192 if wide else 64
    a.emit(
        "NORM",
        src=src,
        dst=dst,
        param_addr=a.param_words("vector_params", n, (1 << 23) / n**0.5, target),
        n=n,
        eps=int(a.rng.choice([1, 1000, 0xFFFFFFFF])),
        wide=wide,
    )


def _mamba_block(
    a: Assembler,
    x: isa.Operand,
    d_model: int,
    d_inner: int,
    *,
    log2_state: int,
    kernel: int,
    mixed: isa.Operand | None = None,
    scans: int = 0,
) -> range:
    """A block whose result is added to `x`.

    Or, with `mixed`, goes there; its skip weights are then the tokens', and it has `scans` SCANs,
    one for each sequence. Returns the indices of the SCANs.
    """
    rng, tokens = a.rng, a.n_sequences * a.n_positions
    states = 1 << log2_state
    dt_start = round_up(2 * states, a.build.tile_in)
    dt_rank = int(rng.integers(1, 4))
    width, skip = dt_start + dt_rank, {}
    if mixed is not None:
        offset = round_up(width, a.build.row_align)
        zero_point = int(rng.integers(-128, 128))
        skip = {"skip_enable": 1, "skip_offset": offset, "skip_zero_point": zero_point}
        width = offset + d_inner

    normed = a.ring("norm", d_model, tokens)
    _norm(a, x, normed, d_model, wide=0)
    conv_in = a.ring("conv_in", d_inner, tokens, least=kernel)
    a.linear(normed, d_model, conv_in, d_inner)
    gate = a.ring("gate", d_inner, tokens)
    a.linear(normed, d_model, gate, d_inner)
    u = a.ring("conv", d_inner, tokens)
    a.emit(
        "CONV",
        src=conv_in,
        dst=u,
        param_addr=a.param_words("conv_params", d_inner, kernel**0.5 * 74 * 73, 64),
        table=a.table("conv_tables", np.int8, -128, 128),
        n=d_inner,
        kernel=kernel,
        pad=int(rng.integers(-128, 128)),
    )
    proj = a.ring("proj", width, tokens)
    a.linear(u, d_inner, proj, width)
    dt = a.ring("step", d_inner, tokens)
    a.linear(dataclasses.replace(proj, addr=proj.addr + dt_start), dt_rank, dt, d_inner)
    gated = a.ring("scan", d_inner, tokens)
    row = address_multiples(a.build)["scan_decay"]
    a.decay.append(rng.integers(0, 1 << 16, round_up(d_inner * states, row)).astype(np.uint16))
    state_shift, y_shift = int(rng.integers(0, 17)), int(rng.integers(12, 24))
    params = a.param_words("scan_params", d_inner, 1 << 16, 64)
    scan = dict(
        u=u,
        z=gate,
        dt=dt,
        bc=proj,
        dst=gated,
        decay_addr=sum(len(rates) for rates in a.decay[:-1]),
        param_addr=params,
        softplus_table=a.table("scan_tables", np.uint16, 0, 1 << int(rng.integers(8, 17))),
        silu_table=a.table("scan_tables", np.int16, -(1 << 15), 1 << 15),
        n=d_inner,
        log2_state=log2_state,
        u_zero_point=int(rng.integers(-128, 128)),
        exp_shift=int(rng.integers(8, 20)),
        state_shift=state_shift,
        skip_shift=int(rng.integers(0, 6)),
        y_shift=y_shift,
        **skip,
    )
    region = round_up(d_inner * states, row)
    indices = range(len(a.instructions), len(a.instructions) + max(scans, 1))
    for number in range(len(indices)):
        a.emit("SCAN", state_addr=a.state_used + number * region, **scan)
    # Or the next block takes the same.
    a.state_used += int(rng.integers(0, 2)) * len(indices) * region
    if mixed is None:
        a.linear(gated, d_inner, x, d_model, wide=1, add=x, add_enable=1)
    else:
        a.linear(gated, d_inner, mixed, d_model, wide=1)
    return indices


# ------------------------------------------------------------------------- another schedule


def _resources(package: Package, entry: np.void) -> tuple[list, list]:
    """Keys of everything that an entry reads and writes, in its unit and in the memories."""
    instruction = package.instructions[entry["instruction"]]
    unit = instruction.unit
    touched = accesses(instruction, *(int(entry[k]) for k in ("token", "position", "sequence")))
    reads = [(a.space, e) for a in touched.reads for e in range(a.start, a.start + a.count)]
    writes = [(a.space, e) for a in touched.writes for e in range(a.start, a.start + a.count)]
    inside = []
    if touched.carries is not None:
        start, count = touched.carries
        inside += [("unit", unit, e) for e in range(start, start + count)]
    if isa.UNITS[unit] in ("stream_in", "stream_out"):
        inside.append(("stream", unit))
    inside.append(("order", int(entry["instruction"]), int(entry["sequence"])))
    return reads, writes, inside


def _dependencies(touched: Sequence[tuple[list, list, list]]) -> list[dict[int, bool]]:
    """For each of the entries: those before it that it depends on, and whether a wait is needed
    (not inside a unit, which keeps its own order)."""
    writer: dict = {}
    readers: dict = {}
    result = []
    for number, (reads, writes, inside) in enumerate(touched):
        needs: dict[int, bool] = {}
        for key in inside:
            if key in writer:
                needs.setdefault(writer[key], False)
            writer[key] = number
        for key in reads:
            if key in writer:
                needs[writer[key]] = True
            readers.setdefault(key, set()).add(number)
        for key in writes:
            for other in (writer.get(key), *readers.pop(key, ())):
                if other not in (None, number):
                    needs[other] = True
            writer[key] = number
        result.append(needs)
    return result


def shuffled(package: Package, rng: np.random.Generator) -> Package:
    """The same program, each phase in a random order that keeps its meaning, with only the waits it
    needs."""
    turns = list(package.rounds())
    touched = [[_resources(package, e) for e in turn.entries] for turn in turns]
    order = np.concatenate(
        [
            first
            + _random_order(
                [t for t, turn in zip(touched, turns, strict=True) if turn.phase == p], rng
            )
            for p, first in enumerate(
                np.cumsum(package.phases["entries"]) - package.phases["entries"]
            )
        ]
    )
    schedule = package.schedule[order]
    schedule["wait"] = NO_WAIT
    units = package.units[order].tolist()
    # What two iterations execute, in the new order: the place in the schedule, what is touched, and
    # how many entries of each unit come before its repeat and before itself.
    places, all_touched, bases, counts = [], [], [], []
    count = [0] * len(isa.UNITS)
    for turn, of_turn in [*zip(turns, touched, strict=True)] * 2:
        base = list(count)
        for place in range(turn.first, turn.first + len(of_turn)):
            places.append(place)
            all_touched.append(of_turn[order[place] - turn.first])
            bases.append(base)
            counts.append(count[units[place]])
            count[units[place]] += 1
    for number, need in enumerate(_dependencies(all_touched)):
        waits = schedule["wait"][places[number]]
        for other, wait in need.items():
            if wait:
                unit = units[places[other]]
                waits[unit] = max(waits[unit], counts[other] + 1 - bases[number][unit])
    return dataclasses.replace(package, schedule=schedule)


def _random_order(repeats: Sequence[list], rng: np.random.Generator) -> np.ndarray:
    """A random order of a phase's entries; `repeats`: what they touch in each of them."""
    left: list[set[int]] = [set() for _ in repeats[0]]
    for touched in repeats:
        for needs, more in zip(left, _dependencies(touched), strict=True):
            needs.update(more)
    order: list[int] = []
    ready = [i for i, needs in enumerate(left) if not needs]
    while ready:
        chosen = ready.pop(int(rng.integers(len(ready))))
        order.append(chosen)
        for i, needs in enumerate(left):
            if chosen in needs:
                needs.remove(chosen)
                if not needs:
                    ready.append(i)
    return np.array(order)


def phased(package: Package, rng: np.random.Generator, build: isa.Build | str = "small") -> Package:
    """The same program in phases, each entry waiting for all before it: what its list repeats with
    steps is a phase of several repeats, where chance wants it."""
    build = isa.build(build) if isinstance(build, str) else build
    schedule, phases, parts, first = package.schedule, [], [], 0
    while first < len(schedule):
        n, repeats, steps = int(rng.integers(1, 60)), 1, (0, 0, 0)
        if len(phases) == build.capacity["phases"] - 1:
            n = len(schedule) - first
        elif rng.integers(0, 4):
            loops = [loop for b in range(1, 25) if (loop := _loop(schedule[first:], b))]
            if loops:
                n, repeats, steps = loops[int(rng.integers(len(loops)))]
                repeats = max(2, repeats - int(rng.choice([0, 0, 1, 2])))
        entries = schedule[first : first + n].copy()
        units = [package.instructions[i].unit for i in entries["instruction"]]
        entries["wait"] = entries_ahead(units)
        phases.append(phase_of(units, repeats, *steps))
        parts.append(entries)
        first += len(entries) * repeats
    return dataclasses.replace(
        package, phases=np.concatenate(phases), schedule=np.concatenate(parts)
    )


def _loop(entries: np.ndarray, n: int) -> tuple[int, int, tuple[int, int, int]] | None:
    """(n, repeats, steps) where the first n entries are repeated, with steps."""
    columns = np.array([entries[name] for name in SCHEDULE_DTYPE.names[:4]])  # [4, entries]
    if columns.shape[1] < 2 * n:
        return None
    step = columns[:, n] - columns[:, 0]
    if step[0] or step[2] < 0 or step[3] < 0:
        return None
    repeats = 1
    while np.array_equal(
        columns[:, repeats * n : (repeats + 1) * n], columns[:, :n] + repeats * step[:, None]
    ):
        repeats += 1
    return (n, repeats, (int(step[1]) % TOKENS, *step[2:].tolist())) if repeats > 1 else None


def random_phased(
    rng: np.random.Generator, build: isa.Build | str = "small", *, largest: int = 20
) -> Package:
    """A random program of either kind in several phases, in an order that keeps its meaning."""
    kind = (random_package, random_published)[int(rng.integers(2))]
    return shuffled(phased(kind(rng, build, largest=largest), rng, build), rng)


def in_order(package: Package, order: list[int]) -> Package:
    """The entries in another order, each waiting for all before it; of a program of one phase."""
    schedule = package.schedule[order]
    units = [package.instructions[i].unit for i in schedule["instruction"]]
    schedule["wait"] = entries_ahead(units)
    return dataclasses.replace(package, schedule=schedule)


def moved(package: Package, source: int, target: int) -> Package:
    """An entry elsewhere in the list, and each waits for all before it."""
    order = list(range(len(package.schedule)))
    order.insert(target, order.pop(source))
    return in_order(package, order)


def with_padding(package: Package, rng: np.random.Generator | None = None) -> Package:
    """The same program with zeros as padding, or with anything that the rules allow from `rng`."""
    sections = {}
    for name, padding in find_padding(package).items():
        values = getattr(package, name).copy()
        if name not in PARAM_SECTIONS:
            info = np.iinfo(values.dtype)
            _fill(values, padding, info.min, info.max, rng)
        else:
            words = padding[:, 0] if padding.ndim > 1 else padding
            for f in isa.PARAM.fields:
                low, high = {
                    "bias": (-PARAM_SECTIONS[name], PARAM_SECTIONS[name]),
                    "shift": (0, isa.LIMITS["shift"]),
                }.get(f.name, (f.minimum, f.maximum))
                _fill(values[f.name], words, low, high, rng)
            if name == "conv_params":
                _fill(values["taps"], padding[:, 1:], -128, 127, rng)
        sections[name] = values
    return dataclasses.replace(package, **sections)


def _fill(
    values: np.ndarray, where: np.ndarray, low: int, high: int, rng: np.random.Generator | None
) -> None:
    n = int(where.sum())
    values[where] = 0 if rng is None else rng.integers(low, high + 1, n)


def entries_of(package: Package) -> list[Entry]:
    """What an iteration executes, in list order."""
    fields = ["instruction", "token", "position", "sequence"]
    return [Entry(*values) for values in package.executed()[fields].tolist()]
