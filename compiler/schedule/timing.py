"""The cycle model: how long a unit works on an entry, and when the result can be read.

The figures are those of the RTL (``docs/microarchitecture.md``). The scheduler orders by them and
`compiler.estimate` reports them. They never influence a result: the waits of a schedule are right
for any timing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import isa
from isa import rules

BEAT_BYTES = 16
# Cycles from the completion of an entry to the start of one that waits for it.
DISPATCH = 1
# Cycles from the start of an entry of the array to its first read. These units announce so many
# cycles ahead that they complete one.
ARRAY_READ_DELAY = 3
ANNOUNCING_UNITS = ("array", "conv", "scan")
# Cycles from the decision to read an entry of the schedule to its place in its unit's queue, and
# entries in a queue at which reading stops.
FETCH = 10
QUEUE = 23
# Cycles in which no entry is read, from one phase to the next.
PHASE = 5
# Cycles from the start of one entry of a unit to that of its next, at least.
START_INTERVAL = 2
# Cycles of an entry beside those in which it occupies the unit.
ARRAY_PIPELINE = 23  # and a level of adders for each time that four inputs are doubled
RUNNING_SUMS = 3  # from the requantizer's last cycle for running sums to the first that reads them
CONV_PIPELINE = 16  # all taps of a word in place to the last result
SCAN_PIPELINE = 30  # and a level of adders for each time that one lane is doubled
VECTOR_PIPELINE = 18  # of the back, from the last beat
SEND_PIPELINE = 8
# Cycles in which SCAN can take no other entry, however short: B and C come through one port.
SCAN_OPERANDS = 7
# Vector unit: from the last beat of the front to the back; entries that may be on this way.
HANDOVER = 2
WAITING_ENTRIES = 4
# From the last beat of the front to what the back waits for: the sum of squares of NORM, the sum
# and maximum of POOL_FEATURES, and a level of adders for each time that one lane is doubled; the
# root of a sum of squares; MODULATE's scale and shift, behind the second look-up. And the entries
# that may be on this way.
SQUARES_PIPELINE = 11
FEATURES_PIPELINE = 10
RECIPROCAL_SQRT = 18
LOOK_UP_PIPELINE = 9
AWAITED_ENTRIES = 3
# MODULATE: look-ups of an entry, and how long after its beat a SCALE looks up, which goes first.
LOOK_UPS = 2
SCALE_LOOK_UP = 2


@dataclass(frozen=True)
class Cost:
    """Cycles of one entry.

    busy: of the unit's own work. latency: from the end of that to completion.
    """

    busy: int
    latency: int

    @property
    def alone(self) -> int:
        """From start to completion where nothing else is in the unit."""
        return self.busy + self.latency


@dataclass(frozen=True)
class LinearCost(Cost):
    """The requantizer works on one output tile while the array is at the next ones.

    first: from the start to the sums of the first output tile; requantize: work of the requantizer
    on all of them; last: on the last one. The latency counts from the end of that work.
    reads_sums, writes_sums: the running sums of a reduction, which are in memory some cycles later.
    """

    first: int
    requantize: int
    last: int
    reads_sums: bool = False
    writes_sums: bool = False

    @property
    def alone(self) -> int:
        return max(self.busy + self.last, self.first + self.requantize) + self.latency


@dataclass(frozen=True)
class VectorCost(Cost):
    """front: beats read before those of the result, or look-ups of MODULATE; way: from there to
    what the back waits for, 0 where that is nothing; back: beats of the result. Front and back
    share a read port, which is busy for both."""

    opcode: str
    front: int
    way: int
    back: int

    @property
    def alone(self) -> int:
        return max(self.front, 1) + max(self.way, HANDOVER) + self.back + self.latency


def dispatch(before: int, after: int) -> int:
    """Cycles from the completion of an entry of unit `before` to the start of one of unit `after`
    that waits for it. Below zero, the one starts while the other writes its last results."""
    announced = isa.UNITS[after] == "array" and isa.UNITS[before] in ANNOUNCING_UNITS
    return DISPATCH - ARRAY_READ_DELAY * announced


class _Vector:
    """Front and back of the vector unit and the way between, which hold different entries."""

    def __init__(self) -> None:
        self._back_free = 0
        self._root_free = 0
        # When the back took its last entries, and the last that it had to wait for; and when it was
        # reading, and looking up for SCALE.
        self._taken: deque[int] = deque([0] * WAITING_ENTRIES, WAITING_ENTRIES)
        self._awaited: deque[int] = deque([0] * AWAITED_ENTRIES, AWAITED_ENTRIES)
        self._reads: deque[tuple[int, int]] = deque(maxlen=WAITING_ENTRIES + 1)
        self._look_ups: deque[tuple[int, int]] = deque(maxlen=WAITING_ENTRIES + 1)

    def run(self, cost: VectorCost, start: int) -> tuple[int, int]:
        """Cycles in which the front is free and in which the entry completes."""
        first = start + 1
        if cost.way:
            first = max(first, self._awaited[0] + 1)
        port = self._look_ups if cost.opcode == "MODULATE" else self._reads
        front = max(_after(port, first, cost.front), start + 1, self._taken[0])
        take = max(front + max(cost.way, HANDOVER), self._back_free)
        if cost.opcode == "NORM":
            take = max(take, self._root_free + RECIPROCAL_SQRT)
            self._root_free = take + 1
        if cost.way:
            self._awaited.append(take)
        self._taken.append(take)
        self._back_free = take + cost.back
        self._reads.append((take + 1, self._back_free))
        if cost.opcode == "SCALE":
            self._look_ups.append((take + 1 + SCALE_LOOK_UP, self._back_free + SCALE_LOOK_UP))
        return front, self._back_free + cost.latency

    @property
    def due(self) -> int:
        """When the next entry should come, so that the back does not wait long for it."""
        return self._back_free - RECIPROCAL_SQRT


def _after(busy: Iterable[tuple[int, int]], cycle: int, beats: int) -> int:
    """When the front has done so many beats, from `cycle` on, through a port at which the back goes
    first, which is `busy` with it."""
    for begin, end in busy:
        if begin < cycle + beats and cycle <= end:
            beats -= max(begin - cycle, 0)
            cycle = end + 1
    return cycle + beats - 1


class UnitTimes:
    """When the units are free, while entries are put into them in their order.

    Args:
        running_sums: count the cycles in which a reduction waits for the running sums of the entry
            before it. The scheduler does not: the orders of packages that exist are without them.
    """

    def __init__(self, running_sums: bool = False) -> None:
        self._counts_sums = running_sums
        self.free = [0] * len(isa.UNITS)
        self._completed = [-1] * len(isa.UNITS)
        self._requantizer = 0
        self._sums = 0  # when running sums can be read
        self._vector = _Vector()

    def choice(self, unit: int) -> int:
        """When a scheduler should choose the unit's next entry.

        The vector unit takes entries long before it can scale them, in an order that then cannot be
        changed any more: the longer the choice waits, the more entries there are to choose from.
        """
        if isa.UNITS[unit] == "vector":
            return max(self.free[unit], self._vector.due)
        return self.free[unit]

    def run(self, unit: int, cost: Cost, ready: int) -> tuple[int, int]:
        """Put in an entry whose waits are met in cycle `ready`: cycles of start and completion."""
        start = max(self.free[unit], ready)
        if isinstance(cost, VectorCost):
            self.free[unit], done = self._vector.run(cost, start)
        elif isinstance(cost, LinearCost):
            self.free[unit] = start + cost.busy
            free = self._requantizer
            if cost.reads_sums and self._counts_sums:
                free = max(free, self._sums)
            self._requantizer = max(
                free + cost.requantize,
                start + cost.first + cost.requantize,
                start + cost.busy + cost.last,
            )
            if cost.writes_sums:
                self._sums = self._requantizer + RUNNING_SUMS
            done = self._requantizer + cost.latency
        else:
            self.free[unit] = start + cost.busy
            done = self.free[unit] + cost.latency
        self.free[unit] = max(self.free[unit], start + START_INTERVAL)
        # A unit completes its entries in order.
        done = self._completed[unit] = max(done, self._completed[unit] + 1)
        return start, done


def linear_tiles(i: isa.Instruction, build: isa.Build) -> int:
    """Weight tiles that one token of a LINEAR reads."""
    n_out, n_in = rules.tile_grid(i, build)
    return n_out * n_in


def streamed_tiles(i: isa.Instruction, position: int, build: isa.Build) -> int:
    """Those of its tiles at a position that lie beyond the weight memory, and come from DDR."""
    if i.opcode != "LINEAR":
        return 0
    tiles = linear_tiles(i, build)
    first = i.weight_addr + i.weight_stride * position
    return min(tiles, max(0, first + tiles - build.capacity["weights"]))


def macs(i: isa.Instruction) -> int:
    """Multiply-accumulates of one token of a LINEAR, 0 for the other instructions."""
    return i.n_in * i.n_out if i.opcode == "LINEAR" else 0


def _linear(i: isa.Instruction, position: int, build: isa.Build) -> LinearCost:
    tiles = linear_tiles(i, build)
    streamed = streamed_tiles(i, position, build)
    outputs = build.tile_out >> i.log2_split
    return LinearCost(
        busy=tiles + streamed * (build.tile_macs // BEAT_BYTES - 1),
        latency=ARRAY_PIPELINE + _log2(build.tile_in // 4),
        first=rules.tile_grid(i, build)[1],
        requantize=_beats(i.n_out, build.requantize_lanes),
        last=_beats((i.n_out - 1) % outputs + 1, build.requantize_lanes),
        reads_sums=bool(i.reduce) and position > 0,
        writes_sums=bool(i.reduce) and position < i.n_positions - 1,
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


def _vector(i: isa.Instruction, position: int, build: isa.Build) -> VectorCost:
    front = back = _beats(i.n, build.vector_lanes)
    way = 0
    if i.opcode == "NORM":  # the row is read for its sum of squares, and again to be scaled
        way = SQUARES_PIPELINE + _log2(build.vector_lanes) + RECIPROCAL_SQRT
    elif i.opcode == "POOL":  # the last position writes two rows, the others pass as one beat
        back = 2 * back if position == i.n_positions - 1 else 1
    elif i.opcode == "POOL_FEATURES":  # the row is read once; the mean and the maximum are written
        way = FEATURES_PIPELINE + _log2(build.vector_lanes)
        back = 2
    elif i.opcode == "MODULATE":  # two rows, through one port
        front, way, back = LOOK_UPS, LOOK_UP_PIPELINE, 2 * back
    else:
        front = 0
    busy = back if i.opcode == "MODULATE" else front + back
    return VectorCost(busy, VECTOR_PIPELINE, i.opcode, front, way, back)


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
    return _vector(i, position, build)


def _beats(n: int, lanes: int) -> int:
    return -(-n // lanes)


def _log2(power: int) -> int:
    return power.bit_length() - 1
