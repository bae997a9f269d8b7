"""The cycle model: how long a unit works on an entry, and when the result can be read.

These are the figures that the hardware is planned to reach, one beat or tile a cycle and short
pipelines; the scheduler orders by them and `golden.estimate` reports them. They never influence a
result: the waits of a schedule are right for any timing.
"""

from __future__ import annotations

from dataclasses import dataclass

from golden import isa

BEAT_BYTES = 16
# Cycles from an entry's last completed dependency to its first operand read.
DISPATCH = 2
# Cycles from the last operand read to the result in memory.
ARRAY_PIPELINE = 14  # operand read, multiply, adder tree, accumulate
REQUANTIZE_PIPELINE = 5
CONV_PIPELINE = 10
SCAN_PIPELINE = 24
VECTOR_PIPELINE = 8
RECIPROCAL_SQRT = 17  # one cycle a bit of the result, docs/numerics.md
STREAM_PIPELINE = 2


@dataclass(frozen=True)
class Cost:
    """Cycles of one entry.

    busy: the unit takes no other entry for so long. requantize: cycles of the array's shared
    requantizer, which works while the array goes on. latency: from the end of both to completion.
    """

    busy: int
    requantize: int
    latency: int


def linear_tiles(i: isa.Instruction, build: isa.Build) -> int:
    """Weight tiles that one token of a LINEAR reads."""
    split = 1 << i.log2_split
    return -(-i.n_out // (build.tile_out // split)) * -(-i.n_in // (build.tile_in * split))


def macs(i: isa.Instruction) -> int:
    """Multiply-accumulates of one token of a LINEAR, 0 for the other instructions."""
    return i.n_in * i.n_out if i.opcode == "LINEAR" else 0


def cost(i: isa.Instruction, position: int, build: isa.Build) -> Cost:
    """Cycles of instruction `i` on one token."""

    def beats(n: int, lanes: int) -> int:
        return -(-n // lanes)

    last = position == i.n_positions - 1
    if i.opcode == "RECV":
        return Cost(beats(i.n, BEAT_BYTES), 0, STREAM_PIPELINE)
    if i.opcode == "SEND":
        return Cost(beats(2 * i.n, BEAT_BYTES), 0, STREAM_PIPELINE)
    if i.opcode == "LINEAR":
        tiles = linear_tiles(i, build)
        first = i.weight_addr + i.weight_stride * position
        streamed = min(tiles, max(0, first + tiles - build.capacity["weights"]))
        busy = tiles + streamed * (build.tile_macs // BEAT_BYTES - 1)
        writes = not i.reduce or last
        requantize = beats(i.n_out, build.requantize_lanes) if writes else 0
        return Cost(busy, requantize, ARRAY_PIPELINE + (REQUANTIZE_PIPELINE if writes else 0))
    if i.opcode == "CONV":
        return Cost(beats(i.n, build.conv_lanes), 0, CONV_PIPELINE)
    if i.opcode == "SCAN":
        return Cost(beats(i.n << i.log2_state, build.scan_lanes), 0, SCAN_PIPELINE)
    vector = beats(i.n, build.vector_lanes)
    if i.opcode == "NORM":  # sum of squares, reciprocal square root, scaling
        return Cost(2 * vector + VECTOR_PIPELINE + RECIPROCAL_SQRT, 0, VECTOR_PIPELINE)
    if i.opcode == "POOL":
        return Cost(vector * (3 if last else 1), 0, VECTOR_PIPELINE)
    return Cost(vector, 0, VECTOR_PIPELINE)
