"""The contract a second time, for tests: Python integers, one value at a time.

Written from ``docs/numerics.md`` and ``docs/package.md``, without the code of `golden.arithmetic`
and `golden.integer_model`; slow, and as plain as it can be.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache
from math import isqrt

import numpy as np

import isa
from isa.package import Package


def rne(x: int, shift: int) -> int:
    return round(Fraction(x, 1 << shift))  # Python rounds ties to even


def clamp(x: int, bits: int) -> int:
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, x))


def requantize(a: int, word: np.void) -> int:
    return rne(a * int(word["multiplier"]), int(word["shift"])) + int(word["zero_point"])


@cache
def exp2_table(steps: int) -> list[int]:
    """round(65536 * 2^(-i / steps)) for i = 0..63."""
    with localcontext() as context:
        context.prec = 50
        return [round(65536 * Decimal(2) ** (Decimal(-i) / steps)) for i in range(64)]


def decay(t: int) -> int:
    return rne(exp2_table(64)[(t >> 6) & 63] * exp2_table(4096)[t & 63], 16 + min(t >> 12, 18))


def reciprocal_sqrt(s: int) -> tuple[int, int]:
    e = (s.bit_length() - 31) // 2
    m = s >> (2 * e) if e >= 0 else s << (-2 * e)
    r = min(isqrt((1 << 64) // m), (1 << 17) - 1)
    return r, e


def norm(x: list[int], eps: int, words: np.ndarray, bits: int) -> list[int]:
    r, e = reciprocal_sqrt(eps + sum(v * v for v in x))
    return [
        clamp(requantize(rne(v * r * 64, 15 + e), word), bits)
        for v, word in zip(x, words, strict=True)
    ]


def conv(window: list[list[int]], words: np.ndarray, table: list[int]) -> list[int]:
    y = []
    for c, word in enumerate(words):
        acc = int(word["bias"]) + sum(x[c] * int(word["taps"][k]) for k, x in enumerate(window))
        y.append(table[clamp(requantize(acc, word), 8) + 128])
    return y


def scan_step(
    h: list[list[int]],
    u: list[int],
    z: list[int],
    dt: list[int],
    b: list[int],
    c: list[int],
    rates: np.ndarray,
    words: np.ndarray,
    softplus_table: list[int],
    silu_table: list[int],
    i: isa.Instruction,
) -> list[int]:
    """Updates ``h`` in place."""
    out = []
    for e, word in enumerate(words):
        delta, w = softplus_table[dt[e] + 128], u[e] - i.u_zero_point
        for n in range(len(b)):
            g = decay(rne(delta * int(rates[e][n]), i.exp_shift))
            total = g * h[e][n] + ((delta * w * b[n]) << (16 - i.state_shift))
            assert total == clamp(total, 48)
            h[e][n] = clamp(rne(total, 16), 24)
        s = sum(h[e][n] * c[n] for n in range(len(b))) + (int(word["bias"]) * w << i.skip_shift)
        assert s == clamp(s, 48)
        y = clamp(rne(s, i.y_shift), 16)
        out.append(clamp(requantize(y * silu_table[z[e] + 128], word), 8))
    return out


def weight(package: Package, i: isa.Instruction, position: int, output: int, j: int) -> int:
    """Weight of LINEAR ``i`` between output feature ``output`` and input feature ``j``."""
    split = 1 << i.log2_split
    outputs, inputs = package.tile_out // split, package.tile_in * split
    big_o, lane = divmod(output, outputs)
    big_i, within = divmod(j, inputs)
    group, column = divmod(within, package.tile_in)
    tile = i.weight_addr + position * i.weight_stride + big_o * -(-i.n_in // inputs) + big_i
    return int(package.weights[tile][group * outputs + lane][column])


class Interpreter:
    """Executes one iteration of a package; ``results`` has the rows of every instruction."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self.memory: list[dict[int, int]] = [{} for _ in isa.SPACE_NAMES]
        self.memory[isa.SPACES["resid"].index] = dict(enumerate(package.resid_image.tolist()))
        self.state: dict[int, list[list[int]]] = {}
        self.sums: list[int] = []
        self.pooled: list[list[int]] = []
        self.results: dict[int, dict[int, list[int]]] = {}
        self.sent: list[list[int]] = []

    def row(self, operand: isa.Operand, index: int, n: int) -> list[int]:
        start = operand.addr + (index % (1 << operand.log2_rows)) * operand.stride
        return [self.memory[operand.space][start + k] for k in range(n)]

    def store(self, operand: isa.Operand, index: int, values: list[int]) -> None:
        start = operand.addr + (index % (1 << operand.log2_rows)) * operand.stride
        self.memory[operand.space].update(enumerate(values, start))

    def run(self, tokens: np.ndarray) -> list[list[int]]:
        """``tokens`` int8 [n_sequences, n_positions, token_bytes]; returns the rows sent."""
        stream = iter(tokens.reshape(-1, tokens.shape[-1]).tolist())
        for entry in self.package.schedule:
            index, token, position, sequence = (int(entry[k]) for k in entry.dtype.names[:4])
            i = self.package.instructions[index]
            rows = getattr(self, i.opcode.lower())(i, token, position, sequence, stream)
            self.results.setdefault(index, {}).update(rows)
        return self.sent

    def recv(self, i, token, position, sequence, stream):
        x = next(stream)
        self.store(i.dst, token, x)
        return {token: x}

    def linear(self, i, token, position, sequence, stream):
        x = self.row(i.src, token, i.n_in)
        words = self.package.array_params[i.param_addr :][: i.n_out]
        if position == 0 or not i.reduce:
            self.sums = [int(word["bias"]) for word in words]
        for o in range(i.n_out):
            at = position if i.reduce else 0
            self.sums[o] += sum(weight(self.package, i, at, o, j) * x[j] for j in range(i.n_in))
            assert self.sums[o] == clamp(self.sums[o], 32)
        if i.reduce and position < i.n_positions - 1:
            return {}
        addend = [0] * i.n_out
        if i.add_enable:
            addend = self.row(i.add, position if i.add_position else token, i.n_out)
        y = []
        for acc, word, a in zip(self.sums, words, addend, strict=True):
            value = clamp(requantize(acc, word) + a, 16 if i.wide else 8)
            y.append(max(value, int(word["zero_point"])) if i.relu else value)
        target = sequence if i.reduce else token
        self.store(i.dst, target, y)
        return {target: y}

    def conv(self, i, token, position, sequence, stream):
        window = []
        for age in reversed(range(i.kernel)):
            inside = age <= position
            window.append(self.row(i.src, token - age, i.n) if inside else [i.pad] * i.n)
        words = self.package.conv_params[i.param_addr :][: i.n]
        y = conv(window, words, self.package.conv_tables[i.table].tolist())
        self.store(i.dst, token, y)
        return {token: y}

    def scan(self, i, token, position, sequence, stream):
        states = 1 << i.log2_state
        if position == 0:
            self.state[i.state_addr] = [[0] * states for _ in range(i.n)]
        bc = self.row(i.bc, token, 2 * states)
        rates = self.package.scan_decay[i.decay_addr :][: i.n * states].reshape(i.n, states)
        y = scan_step(
            self.state[i.state_addr],
            *(self.row(operand, token, i.n) for operand in (i.u, i.z, i.dt)),
            bc[:states],
            bc[states:],
            rates,
            self.package.scan_params[i.param_addr :][: i.n],
            self.package.scan_tables[i.softplus_table].tolist(),
            self.package.scan_tables[i.silu_table].view(np.int16).tolist(),
            i,
        )
        self.store(i.dst, token, y)
        return {token: y}

    def norm(self, i, token, position, sequence, stream):
        words = self.package.vector_params[i.param_addr :][: i.n]
        y = norm(self.row(i.src, token, i.n), i.eps, words, 16 if i.wide else 8)
        self.store(i.dst, token, y)
        return {token: y}

    def pool(self, i, token, position, sequence, stream):
        if position == 0:
            self.pooled = []
        self.pooled.append(self.row(i.src, token, i.n))
        if position < i.n_positions - 1:
            return {}
        mean, maximum = self.package.vector_params[i.param_addr :][:2]
        columns = list(zip(*self.pooled, strict=True))
        rows = {
            2 * sequence: [clamp(requantize(sum(x), mean), 8) for x in columns],
            2 * sequence + 1: [clamp(requantize(max(x), maximum), 8) for x in columns],
        }
        for row, values in rows.items():
            self.store(i.dst, row, values)
        return rows

    def scale(self, i, token, position, sequence, stream):
        table = self.package.vector_tables[i.table].tolist()
        logits = self.row(i.logit, sequence, i.n)
        x = self.row(i.src, token, i.n)
        y = [clamp(rne(v * table[q + 128], 16), 16) for v, q in zip(x, logits, strict=True)]
        self.store(i.dst, token, y)
        return {token: y}

    def send(self, i, token, position, sequence, stream):
        y = self.row(i.src, sequence, i.n)
        self.sent.append(y)
        return {sequence: y}
