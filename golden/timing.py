"""The cycle model: how long a unit works on an entry, and when the result can be read.

The figures are those of the RTL (``docs/microarchitecture.md``). The scheduler orders by them and
`golden.estimate` reports them. They never influence a result: the waits of a schedule are right for
any timing.
"""

from __future__ import annotations

from dataclasses import dataclass

from golden import isa, rules

BEAT_BYTES = 16
# Cycles from the completion of an entry to the start of one that waits for it.
DISPATCH = 1
# Cycles from the decision to read an entry of the schedule to its place in its unit's queue, and
# entries in a queue at which reading stops.
FETCH = 7
QUEUE = 24
# Cycles of an entry beside those in which it occupies the unit.
ARRAY_PIPELINE = 22  # 3 to the first read, 2 memory, 9 to the accumulator, 4 and 6 requantizer
CONV_PIPELINE = 16  # all taps of a word in place to the last result
SCAN_PIPELINE = 30  # and a level of the adder tree for each power of two of the lanes
NORM_PIPELINE = 48  # and as many levels as four lanes are doubled; RECIPROCAL_SQRT of it
SCALE_PIPELINE = 21
POOL_PIPELINE = 23
SEND_PIPELINE = 7
# Cycles in which the unit can take no other entry, however short the row.
RECIPROCAL_SQRT = 22  # NORM
SCAN_OPERANDS = 7  # SCAN: B and C come through one port


@dataclass(frozen=True)
class Cost:
    """Cycles of one entry.

    busy: the unit takes no other entry for so long. latency: from the end of that to completion.
    For a LINEAR there is besides the requantizer, which works on one output tile while the array
    is at the next ones: first: from the start to the sums of the first output tile; requantize:
    work of the requantizer on all of them; last: on the last one. Its latency counts from the end
    of the requantizer's work.
    """

    busy: int
    latency: int
    first: int = 0
    requantize: int = 0
    last: int = 0

    @property
    def alone(self) -> int:
        """From start to completion where nothing else is in the unit."""
        return max(self.busy + self.last, self.first + self.requantize) + self.latency


class UnitTimes:
    """When the units are free, while entries are put into them in their order."""

    def __init__(self) -> None:
        self.free = [0] * len(isa.UNITS)
        self._completed = [-1] * len(isa.UNITS)
        self._requantizer = 0

    def run(self, unit: int, cost: Cost, ready: int) -> tuple[int, int]:
        """Put in an entry whose waits are met in cycle `ready`: cycles of start and completion."""
        start = max(self.free[unit], ready)
        end = self.free[unit] = start + cost.busy
        if cost.requantize:
            end = max(
                self._requantizer + cost.requantize,
                start + cost.first + cost.requantize,
                end + cost.last,
            )
            self._requantizer = end
        # A unit completes its entries in order.
        done = self._completed[unit] = max(end + cost.latency, self._completed[unit] + 1)
        return start, done


def linear_tiles(i: isa.Instruction, build: isa.Build) -> int:
    """Weight tiles that one token of a LINEAR reads."""
    n_out, n_in = rules.tile_grid(i, build)
    return n_out * n_in


def macs(i: isa.Instruction) -> int:
    """Multiply-accumulates of one token of a LINEAR, 0 for the other instructions."""
    return i.n_in * i.n_out if i.opcode == "LINEAR" else 0


def _linear(i: isa.Instruction, position: int, build: isa.Build) -> Cost:
    n_out, n_in = rules.tile_grid(i, build)
    tiles = n_out * n_in
    first = i.weight_addr + i.weight_stride * position
    streamed = min(tiles, max(0, first + tiles - build.capacity["weights"]))
    outputs = build.tile_out >> i.log2_split
    return Cost(
        busy=tiles + streamed * (build.tile_macs // BEAT_BYTES - 1),
        latency=ARRAY_PIPELINE,
        first=n_in,
        requantize=_beats(i.n_out, build.requantize_lanes),
        last=_beats((i.n_out - 1) % outputs + 1, build.requantize_lanes),
    )


def _conv(i: isa.Instruction, build: isa.Build) -> Cost:
    """A word takes a cycle for each group of its channels, or for each tap if those are more."""
    whole, rest = divmod(i.n - 1, build.row_align)
    last = _beats(rest + 1, build.conv_lanes)
    groups = build.row_align // build.conv_lanes
    busy = whole * max(groups, i.kernel) + max(last, i.kernel)
    return Cost(busy, CONV_PIPELINE + i.kernel + min(0, last - i.kernel))


def _scan(i: isa.Instruction, build: isa.Build) -> Cost:
    """A step takes a row of states, of which at most one channel in 16 lanes begins."""
    states = 1 << i.log2_state
    channels = min(max(1, build.scan_lanes // states), max(1, build.scan_lanes // 16))
    steps = _beats(i.n, channels) * max(1, states // build.scan_lanes)
    busy = max(steps, SCAN_OPERANDS)
    return Cost(busy, SCAN_PIPELINE + _log2(build.scan_lanes) + steps - busy)


def cost(i: isa.Instruction, position: int, build: isa.Build) -> Cost:
    """Cycles of instruction `i` on the token at `position` of its sequence."""
    if i.opcode == "RECV":
        return Cost(_beats(i.n, BEAT_BYTES) + 1, 0)
    if i.opcode == "SEND":
        return Cost(_beats(2 * i.n, BEAT_BYTES), SEND_PIPELINE)
    if i.opcode == "LINEAR":
        return _linear(i, position, build)
    if i.opcode == "CONV":
        return _conv(i, build)
    if i.opcode == "SCAN":
        return _scan(i, build)
    beats = _beats(i.n, build.vector_lanes)
    if i.opcode == "NORM":  # the row is read for its sum of squares, and again to be scaled
        busy = max(2 * beats, RECIPROCAL_SQRT)
        pipeline = NORM_PIPELINE + _log2(build.vector_lanes // 4)
        return Cost(busy, pipeline + 2 * beats - busy)
    if i.opcode == "POOL":  # the last position writes two rows
        return Cost(beats * (3 if position == i.n_positions - 1 else 1), POOL_PIPELINE)
    return Cost(beats, SCALE_PIPELINE)


def _beats(n: int, lanes: int) -> int:
    return -(-n // lanes)


def _log2(power: int) -> int:
    return power.bit_length() - 1
