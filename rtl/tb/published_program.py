"""Random programs in the manner of the published CMamba: all variables side by side.

The tokens of one position follow each other, token position * n_sequences + sequence, so that what
all sequences share (POOL_FEATURES, a gate of the channels, MODULATE) has a row for each position.
The skip weights of SCAN are the token's. `tests.program_builder` has the programs without these.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from golden import isa
from golden.package import Package
from golden.rules import address_multiples
from tests.program_builder import Assembler, round_up


class _Assembler(Assembler):
    """Instructions run in the order of ``program``: (instruction, token, position, sequence)."""

    def __init__(self, rng: np.random.Generator, build: isa.Build, v: int, k: int) -> None:
        super().__init__(rng, build, v, k)
        self.program: list[tuple[int, int, int, int]] = []

    def entries(self) -> list[tuple[int, int, int, int]]:
        return self.program

    @property
    def last(self) -> int:
        """The instruction that was written last."""
        return len(self.instructions) - 1

    def run(self, instructions: list[int], position: int, sequence: int) -> None:
        """Instructions on one sequence's token."""
        token = position * self.n_sequences + sequence
        self.program += [(i, token, position, sequence) for i in instructions]

    def run_shared(self, instructions: list[int], position: int) -> None:
        """Instructions on what all sequences share: a row for each position."""
        self.program += [(i, position, position, 0) for i in instructions]


def published_package(
    rng: np.random.Generator, build: isa.Build | str = "small", *, largest: int = 20
) -> Package:
    """A random program with POOL_FEATURES, MODULATE and skip weights of tokens, in all modes.

    Args:
        rng: source of all choices; the same state gives the same package.
        build: memory sizes and tile.
        largest: bound of the widths, which are mostly not multiples of anything.
    """
    build = isa.build(build) if isinstance(build, str) else build

    def size(low: int = 1, high: int = largest) -> int:
        return int(rng.integers(low, high + 1))

    V, K = size(1, 4), size(1, 6)
    tokens = V * K
    token_bytes, d_model, forecast = size(), size(), size()
    a = _Assembler(rng, build, V, K)
    positions = a.constants(K, d_model)
    x = a.rows("resid", d_model, tokens)
    patch = a.ring("patch", token_bytes, tokens)
    a.emit("RECV", dst=patch, n=token_bytes)
    a.linear(patch, token_bytes, x, d_model, wide=1, add=positions, add_enable=1, add_position=1)
    for k in range(K):
        for v in range(V):
            a.run([0, 1], k, v)
    n_blocks = size(1, 2)
    for block in range(n_blocks):
        features = a.rows("conv_in", d_model, tokens) if block == n_blocks - 1 else None
        _block(a, x, features, d_model)
    activated = a.ring("conv", d_model, tokens)
    conv = _table_conv(a, features, activated, d_model)
    head = a.ring("head", forecast, V)
    a.linear(activated, d_model, head, forecast, wide=1, reduce=1)
    linear = a.last
    a.emit("SEND", src=head, n=forecast, n_positions=1)
    for v in range(V):
        for k in range(K):
            a.run([conv, linear], k, v)
        a.program.append((a.last, v, 0, v))
    return a.package(token_bytes, forecast, iterations=size(1, 3))


def _block(a: _Assembler, x: isa.Operand, features: isa.Operand | None, d_model: int) -> None:
    """A Mamba block, modulated, plus ``x``: to ``x``, or to ``features``, int8."""
    rng, V, K = a.rng, a.n_sequences, a.n_positions
    y = a.ring("resid", d_model, V * K, least=V)
    before, scans, after = _mamba(a, x, y, d_model)

    pooled = a.ring("norm", 2 * V, K)
    a.emit(
        "POOL_FEATURES",
        src=y,
        dst=pooled,
        param_addr=a.param_words("vector_params", 2, 1 << 18, 64),
        n=d_model,
        columns=V,  # a LINEAR reads the row, which may have no gap
    )
    pool = a.last
    columns = V + int(rng.integers(0, 20))
    hidden = int(rng.integers(1, 20))
    hidden_in, hidden_out = a.ring("conv_in", hidden, K), a.ring("conv", hidden, K)
    logit = a.ring("logit", columns + V, K)
    a.linear(pooled, 2 * V, hidden_in, hidden)
    shared = [a.last, _table_conv(a, hidden_in, hidden_out, hidden)]
    a.linear(hidden_out, hidden, logit, columns + V)
    shared.append(a.last)
    a.emit(
        "MODULATE",
        src=y,
        logit=logit,
        dst=features or x,
        add=x,
        param_addr=a.param_words("vector_params", 1, 1 << 16, 64 if features else 8192),
        n=d_model,
        columns=columns,
        scale_table=a.table("vector_tables", np.uint16, 0, 1 << 16),
        shift_table=a.table("vector_tables", np.int16, -(1 << 15), 1 << 15),
        wide=int(features is None),
    )
    for k in range(K):
        for v in range(V):
            a.run(before, k, v)
            a.program.append((scans[v], k * V + v, k, 0))  # the state is the instruction's
            a.run([after, pool], k, v)
        a.run_shared(shared, k)
        for v in range(V):
            a.run([a.last], k, v)


def _table_conv(a: _Assembler, src: isa.Operand, dst: isa.Operand, n: int) -> int:
    """A CONV of one tap, which is its activation table."""
    a.emit(
        "CONV",
        src=src,
        dst=dst,
        param_addr=a.param_words("conv_params", n, 74 * 73, 64),
        table=a.table("conv_tables", np.int8, -128, 128),
        n=n,
        kernel=1,
    )
    return a.last


def _mamba(
    a: _Assembler, x: isa.Operand, y: isa.Operand, d_model: int
) -> tuple[list[int], list[int], int]:
    """Instructions of a Mamba block: before SCAN, a SCAN for each sequence, and behind it."""
    rng, tokens = a.rng, a.n_sequences * a.n_positions
    d_inner, log2_state, dt_rank = (int(rng.integers(*r)) for r in ((1, 21), (0, 4), (1, 4)))
    states = 1 << log2_state
    align = a.build.row_align
    dt_start = round_up(2 * states, a.build.tile_in)
    skip_offset = round_up(dt_start + dt_rank, align)

    first = len(a.instructions)
    normed = a.ring("norm", d_model, tokens)
    a.emit(
        "NORM",
        src=x,
        dst=normed,
        param_addr=a.param_words("vector_params", d_model, (1 << 23) / d_model**0.5, 64),
        n=d_model,
        eps=1000,
    )
    conv_in, gate = (a.ring(space, d_inner, tokens) for space in ("conv_in", "gate"))
    u = a.ring("conv", d_inner, tokens)
    a.linear(normed, d_model, conv_in, d_inner)
    a.linear(normed, d_model, gate, d_inner)
    _table_conv(a, conv_in, u, d_inner)
    proj = a.ring("proj", skip_offset + d_inner, tokens)
    a.linear(u, d_inner, proj, skip_offset + d_inner)
    dt = a.ring("step", d_inner, tokens)
    a.linear(dataclasses.replace(proj, addr=proj.addr + dt_start), dt_rank, dt, d_inner)
    before = list(range(first, len(a.instructions)))

    gated = a.ring("scan", d_inner, tokens)
    row = address_multiples(a.build)["scan_decay"]
    a.decay.append(rng.integers(0, 1 << 16, round_up(d_inner * states, row)).astype(np.uint16))
    fields = {
        "u": u,
        "z": gate,
        "dt": dt,
        "bc": proj,
        "dst": gated,
        "decay_addr": sum(len(rates) for rates in a.decay[:-1]),
        "param_addr": a.param_words("scan_params", d_inner, 1 << 16, 64),
        "softplus_table": a.table("scan_tables", np.uint16, 0, 1 << int(rng.integers(8, 17))),
        "silu_table": a.table("scan_tables", np.int16, -(1 << 15), 1 << 15),
        "n": d_inner,
        "log2_state": log2_state,
        "u_zero_point": int(rng.integers(-128, 128)),
        "exp_shift": int(rng.integers(8, 20)),
        "state_shift": int(rng.integers(0, 17)),
        "skip_shift": int(rng.integers(0, 16)),
        "y_shift": int(rng.integers(12, 24)),
        "skip_enable": 1,
        "skip_zero_point": int(rng.integers(-128, 128)),
        "skip_offset": skip_offset,
    }
    scans = []
    for _ in range(a.n_sequences):
        a.emit("SCAN", **fields, state_addr=a.state_used)
        a.state_used += round_up(d_inner * states, row)
        scans.append(a.last)
    a.linear(gated, d_inner, y, d_model, wide=1)
    return before, scans, a.last
