"""array_unit: random LINEAR entries against golden.arithmetic, cycles against the cycle model.

The bench has memories with a read latency of two cycles, five for weights, a loader that brings
streamed tiles, and a sequencer that starts an entry once the entries whose rows it needs have been
announced as done. Every row is compared when its entry completes, and all memories at the end.
"""

import os
import random
from dataclasses import dataclass, field

import cocotb
import numpy as np
import pytest
import torch
from cocotb.triggers import RisingEdge

import isa
from compiler.program import ProgramBuilder
from compiler.schedule import timing
from golden import arithmetic
from isa.words import pack_words
from rtl.tb.packages import Packages
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, in_bursts, randomly, reset, seed_numpy, start
from rtl.tb.units import READ_DELAY, check_announcements, row_words

STRUCTS = Packages("small").structs  # these are the same in all builds
ENTRY, RANGE = STRUCTS["linear_entry_t"], STRUCTS["tile_range_t"]
SOURCES = ("patch", "norm", "conv", "proj", "scan")
TARGETS_8 = ("conv_in", "gate", "proj", "step", "logit")
WEIGHT_LATENCY = 5
RESID = isa.SPACES["resid"].index


def to_int(array, bits):
    """Elements, the first one lowest, as the value of a port."""
    return int.from_bytes(array.astype(f"<i{bits // 8}").tobytes(), "little")


@dataclass
class Entry:
    """One entry of the schedule, what it must give, and the entries that must be done before it."""

    instruction: isa.Instruction
    token: int
    position: int
    sequence: int
    matrix: np.ndarray  # int8 [n_out, n_in], of this position
    params: arithmetic.Params
    after: int = 0
    expected: np.ndarray | None = None
    addr: int = 0


@dataclass
class Program:
    """LINEAR entries in order, and the contents of all memories before them."""

    build: isa.Build
    builder: ProgramBuilder = None
    entries: list[Entry] = field(default_factory=list)
    spaces: dict[int, np.ndarray] = field(default_factory=dict)
    used: dict[int, int] = field(default_factory=dict)
    final: dict[int, np.ndarray] = None

    def __post_init__(self):
        self.builder = ProgramBuilder(self.build, 1, 1)
        for name, space in isa.SPACES.items():
            low, high = -(1 << (space.bits - 1)), 1 << (space.bits - 1)
            size = self.build.spaces[name]
            self.spaces[space.index] = np.random.randint(low, high, size)

    def operand(self, space, n, log2_rows, offset=0):
        """A ring of rows of its own; the memory is reused from its beginning when full."""
        align = self.build.row_align
        index = isa.SPACES[space].index
        stride = (-(-(n + offset) // align) + random.randrange(2)) * align
        size = stride << log2_rows
        limit = self.build.spaces[space]
        assert size <= limit, f"{space} has no room for {size} elements"
        addr = self.used.get(index, 0)
        if addr + size > limit:
            addr = 0
        self.used[index] = addr + size
        return isa.Operand(addr + offset, stride, log2_rows, index)

    def params(self, n, bias_bits=16):
        """Random parameters: results of a few bits, saturation, ties, negative multipliers."""
        shift = np.random.randint(18, 36, n)
        multiplier = np.random.randint(1 << 16, 1 << 17, n) * np.random.choice((-1, 1), n)
        exact = np.random.rand(n) < 0.25  # small shifts of small multipliers: many ties
        shift[exact] = np.random.randint(0, 12, exact.sum())
        multiplier[exact] = np.random.randint(-3, 4, exact.sum())
        edge = np.random.rand(n) < 0.05
        shift[edge] = random.choice((0, 48))
        return {
            "bias": np.random.randint(-(1 << bias_bits), 1 << bias_bits, n),
            "multiplier": multiplier,
            "shift": shift,
            "zero_point": np.random.randint(-128, 128, n),
        }

    def linear(
        self,
        n_in,
        n_out,
        log2_split=0,
        *,
        tokens=1,
        positions=1,
        wide=False,
        relu=False,
        reduce=False,
        add="",
        extreme=None,
        params=None,
        log2_rows=None,
    ):
        """An instruction on random operands, and its entries for `tokens` tokens.

        add: "" for none, "own" for rows of its own, "position", or "in_place".
        log2_rows: of all operands, with tokens from 0 on; by default both are random.
        """
        b = self.build
        tile = b.tile_in << log2_split
        # A part of a row: the first input need not begin a word.
        offset = random.randrange(0, b.row_align, tile)
        padded = -(-n_in // tile) * tile
        in_order = reduce or log2_rows is not None

        def rows():
            return random.randrange(3) if log2_rows is None else log2_rows

        source = self.operand(random.choice(SOURCES), padded, rows(), offset)
        target = random.choice(("resid", "head") if wide else TARGETS_8)
        if target == "logit" and n_out > 2 * b.row_align:  # it is small
            target = "gate"
        if add == "in_place":
            target, wide = "resid", True
        dst = self.operand(target, n_out, rows())
        addend = isa.Operand(random.randrange(1 << 16), 0, 3, 5)  # ignored, whatever it is
        if add:
            addend = dst if add == "in_place" else self.operand("resid", n_out, rows())
        matrices = np.random.randint(-128, 128, (positions if reduce else 1, n_out, n_in))
        if extreme is not None:
            matrices[:] = extreme
            width = self.spaces[source.space]
            width[source.addr : source.addr + padded] = -128
        # What fills up the last tiles may be anything, of the weights as of the row.
        rows = -(-n_out * 2**log2_split // b.tile_out) * b.tile_out >> log2_split
        tiled = np.random.randint(-128, 128, (len(matrices), rows, padded))
        tiled[:, :n_out, :n_in] = matrices
        weight_addr, weight_stride = self.builder.weights(tiled.astype(np.int8), log2_split)
        columns = params or self.params(n_out)
        param_addr = self.builder.param_words("array_params", **columns)
        as_params = arithmetic.Params(
            *(
                torch.from_numpy(np.broadcast_to(columns[f], n_out).astype(np.int64))
                for f in arithmetic.Params._fields
            )
        )
        instruction = isa.Instruction(
            "LINEAR",
            {
                "n_positions": positions,
                "src": source,
                "dst": dst,
                "add": addend,
                "weight_addr": weight_addr,
                "weight_stride": weight_stride,
                "param_addr": param_addr,
                "n_in": n_in,
                "n_out": n_out,
                "log2_split": log2_split,
                "wide": int(wide),
                "relu": int(relu),
                "reduce": int(reduce),
                "add_enable": int(bool(add)),
                "add_position": int(add == "position"),
            },
        )
        for i in range(positions * tokens if reduce else tokens):
            position = i % positions
            self.entries.append(
                Entry(
                    instruction,
                    token=i if in_order else random.randrange(4096),
                    position=position,
                    sequence=i // positions if reduce else random.randrange(1024),
                    matrix=matrices[position if reduce else 0],
                    params=as_params,
                )
            )
        return instruction

    def finish(self):
        """Expected results, in order, and the entries that each one waits for."""
        memory = {space: elements.copy() for space, elements in self.spaces.items()}
        written, read = {}, {}  # last entry for each word
        align, partial = self.build.row_align, None
        for number, e in enumerate(self.entries):
            i = e.instruction
            words = []

            def row(operand, index, n, *, reads, e=e, number=number, words=words):
                first = operand.row(index)
                keys = [
                    (operand.space, w) for w in range(first // align, (first + n - 1) // align + 1)
                ]
                for key in keys:
                    e.after = max(e.after, written.get(key, 0), 0 if reads else read.get(key, 0))
                words.append((keys, reads))
                return first

            first = row(i.src, e.token, i.n_in, reads=True)
            x = torch.from_numpy(memory[i.src.space][first : first + i.n_in])
            addend = None
            is_final = not i.reduce or e.position == i.n_positions - 1
            if i.add_enable and is_final:
                first = row(i.add, e.position if i.add_position else e.token, i.n_out, reads=True)
                addend = torch.from_numpy(memory[i.add.space][first : first + i.n_out])
            weight = torch.from_numpy(e.matrix)
            if is_final:
                e.addr = row(i.dst, e.sequence if i.reduce else e.token, i.n_out, reads=False)
                result = arithmetic.linear(
                    x,
                    weight,
                    e.params,
                    addend,
                    partial=partial if i.reduce and e.position else None,
                    wide=bool(i.wide),
                    relu=bool(i.relu),
                )
                e.expected = result.numpy()
                memory[i.dst.space][e.addr : e.addr + i.n_out] = e.expected
            else:
                products = arithmetic.multiply_accumulate(x, weight)
                partial = products + partial if e.position else products
            for keys, reads in words:
                for key in keys:
                    (read if reads else written)[key] = number + 1
        self.final = memory
        tiles = self.builder.tiles
        self.tiles = np.concatenate(tiles)
        self.param_words = np.concatenate(self.builder.params["array_params"])
        assert len(self.param_words) <= self.build.capacity["array_params"]
        return self

    def n_tiles(self):
        return sum(timing.linear_tiles(e.instruction, self.build) for e in self.entries)


class Bench:
    """Runs programs."""

    def __init__(self, dut, starts=always, loads=always):
        self.dut = dut
        self.build = isa.build(os.environ["BUILD"])
        self.starts, self.loads = starts, loads
        self.tasks = []
        dut.start_valid_i.value = 0
        dut.stream_valid_i.value = 0
        dut.fetch_ready_i.value = 0
        dut.streams_i.value = 0
        check_announcements(dut)

    async def run(self, program, *, resident=None, stop_after=None):
        """Run all entries of a program, or for `stop_after` cycles."""
        dut, b = self.dut, self.build
        self.program = program
        self.memory = {space: elements.copy() for space, elements in program.spaces.items()}
        self.resident = len(program.tiles) if resident is None else resident
        streams = self.resident < len(program.tiles)
        # Streamed tiles take turns in two slots above the others.
        self.weights = dict(enumerate(to_int(t, 8) for t in program.tiles[: self.resident]))
        assert self.resident + 2 * streams <= dut.WeightTiles.value.to_unsigned()
        words = pack_words(isa.PARAM, program.param_words)[:, 0]
        rows = -(-len(words) // b.requantize_lanes) + 1
        padded = np.zeros(rows * b.requantize_lanes, dtype=np.uint64)
        padded[: len(words)] = words
        self.lanes = padded.reshape(rows, b.requantize_lanes)
        dut.resident_tiles_i.value = self.resident
        dut.streams_i.value = int(streams)
        self.cycle = self.done = self.announced = self.reads = 0
        self.started, self.done_at, self.read_at = [], [], []
        self.requests, self.fetched = [], []
        self.tasks = [
            cocotb.start_soon(t) for t in (self._memories(), self._sequence(), self._load())
        ]
        limit = 200 + 80 * len(program.entries) + 12 * program.n_tiles() * (40 if streams else 1)
        while self.done < len(program.entries) and self.cycle != stop_after:
            await RisingEdge(dut.clk_i)
            assert self.cycle < limit, f"{self.done} of {len(program.entries)} entries done"
        if stop_after is None:
            for _ in range(5):
                await RisingEdge(dut.clk_i)
            assert self.done == len(program.entries) and not self.fetched
            assert self.reads == program.n_tiles()
            for space, elements in program.final.items():
                assert np.array_equal(self.memory[space], elements), f"memory {space}"
        for task in self.tasks:
            task.cancel()
        dut.start_valid_i.value = 0
        dut.stream_valid_i.value = 0
        dut.fetch_ready_i.value = 0

    def _word(self, space, word):
        bits = 16 if space in (9, 10) else 8
        align = self.build.row_align
        elements = self.memory[space][word * align : (word + 1) * align]
        assert len(elements), f"word {word} is not in memory {space}"
        return to_int(elements, bits)

    async def _memories(self):
        """Serve the read ports, two cycles later (weights five), and the write port; check what is
        done."""
        dut, b = self.dut, self.build
        weights = [None] * (WEIGHT_LATENCY - 1)
        src = add = param = None
        while True:
            await RisingEdge(dut.clk_i)
            self.cycle += 1
            for port, word in (
                (dut.weight_rd_data_i, weights.pop(0)),
                (dut.src_rd_data_i, src),
                (dut.add_rd_data_i, add),
                (dut.param_rd_data_i, param),
            ):
                if word is not None:
                    port.value = word
            src = add = param = None
            weights.append(None)
            if dut.weight_rd_en_o.value:
                self.reads += 1
                self.read_at.append(self.cycle)
                weights[-1] = self.weights[dut.weight_rd_addr_o.value.to_unsigned()]
            if dut.src_rd_en_o.value:
                src = self._word(
                    dut.src_rd_space_o.value.to_unsigned(), dut.src_rd_addr_o.value.to_unsigned()
                )
            if dut.add_rd_en_o.value:
                add = self._word(RESID, dut.add_rd_addr_o.value.to_unsigned())
            if dut.param_rd_en_o.value:
                raw = dut.param_rd_addr_o.value.to_unsigned()
                bits = len(dut.param_rd_addr_o) // b.requantize_lanes
                param = 0
                for lane in range(b.requantize_lanes):
                    address = raw >> (lane * bits) & ((1 << bits) - 1)
                    param |= int(self.lanes[address, lane]) << (64 * lane)
            if dut.wr_en_o.value:
                self._write()
            self.announced += int(dut.done_soon_o.value)
            if dut.done_o.value:
                self._complete()

    def _write(self):
        dut, align = self.dut, self.build.row_align
        enable = dut.wr_en_o.value.to_unsigned()
        assert enable.bit_count() == 1, "a write to several memories"
        space = enable.bit_length() - 1
        mask = dut.wr_mask_o.value.to_unsigned()
        raw = dut.wr_data_o.value.to_unsigned().to_bytes(2 * self.build.requantize_lanes, "little")
        data = np.frombuffer(raw, "<i2" if space in (9, 10) else "i1")[
            :: 1 if space in (9, 10) else 2
        ]
        data = np.resize(data, align)  # the mask says which part of the word is meant
        first = dut.wr_addr_o.value.to_unsigned() * align
        assert mask, "a write without elements"
        for i in range(align):
            if mask >> i & 1:
                self.memory[space][first + i] = data[i]

    def _complete(self):
        e = self.program.entries[self.done]
        assert self.done < len(self.started)
        if e.expected is not None:
            i = e.instruction
            found = self.memory[i.dst.space][e.addr : e.addr + i.n_out]
            assert np.array_equal(found, e.expected), (
                f"entry {self.done}, {i}: from output {np.argmax(found != e.expected)} on, "
                f"{found} for {e.expected}"
            )
        self.done += 1
        self.done_at.append(self.cycle)

    async def _sequence(self):
        """Start entries in order, once those that they wait for are done."""
        dut, pattern = self.dut, self.starts()
        for e in self.program.entries:
            # Whoever sees done_soon_o at an edge may start an entry in the cycle after it.
            while self.announced < e.after or not next(pattern):
                dut.start_valid_i.value = 0
                await RisingEdge(dut.clk_i)
            word = int.from_bytes(e.instruction.encode(), "little")
            entry = {"instruction": word, "position": e.position}
            for name, row in row_words(e.instruction, self.build, e.token, e.position, e.sequence):
                entry[f"{name}_word"] = row
            dut.entry_i.value = ENTRY.pack(entry)
            dut.start_valid_i.value = 1
            await RisingEdge(dut.clk_i)
            while not dut.start_ready_o.value:
                await RisingEdge(dut.clk_i)
            self.started.append(self.cycle)
        dut.start_valid_i.value = 0

    async def _load(self):
        """Bring requested tiles into two slots that take turns, with random delays."""
        dut, pattern = self.dut, self.loads()
        slot = loaded = 0
        while True:
            await RisingEdge(dut.clk_i)
            if dut.fetch_valid_o.value and dut.fetch_ready_i.value:
                first, beyond = RANGE.unpack(int(dut.fetch_o.value)).values()
                assert self.resident <= first < beyond <= len(self.program.tiles)
                self.requests += range(first, beyond)
            dut.fetch_ready_i.value = next(pattern)
            if dut.stream_ready_o.value:
                address = self.fetched.pop(0)
                del self.weights[address]
                loaded -= 1
            if self.requests and loaded < 2 and next(pattern):
                address = self.resident + slot
                slot ^= 1
                loaded += 1
                self.weights[address] = to_int(self.program.tiles[self.requests.pop(0)], 8)
                self.fetched.append(address)
            dut.stream_valid_i.value = bool(self.fetched)
            if self.fetched:
                dut.stream_slot_i.value = self.fetched[0]


def random_linear(program, most):
    """One random instruction; `most` bounds its sizes."""
    reduce = random.random() < 0.25
    program.linear(
        random.choice((1, random.randint(1, most), program.build.row_align)),
        random.choice((1, random.randint(1, most), program.build.tile_out)),
        random.randrange(3),
        tokens=random.randint(1, 2 if reduce else 4),
        positions=random.choice((1, 2, 5)) if reduce else random.randint(1, 4095),
        wide=random.random() < 0.4,
        relu=random.random() < 0.3,
        reduce=reduce,
        add=random.choice(("", "", "own", "position", "in_place")),
    )
    for e in program.entries:
        if not e.instruction.reduce:
            e.position %= e.instruction.n_positions


@cocotb.test()
@cocotb.parametrize(starts=PATTERNS)
async def run_random(dut, starts):
    """Random instructions, several entries in flight."""
    seed_numpy()
    bench = Bench(dut, starts)
    await start(dut)
    for _ in range(int(os.environ["PROGRAMS"])):
        program = Program(bench.build)
        for _ in range(12):
            random_linear(program, int(os.environ["MOST"]))
        await bench.run(program.finish())


@cocotb.test()
@cocotb.parametrize(loads=(always, randomly, in_bursts))
async def run_streamed(dut, loads):
    """Only the first tiles are in the weight memory; some entries begin in it and end beyond."""
    seed_numpy()
    bench = Bench(dut, randomly, loads)
    await start(dut)
    for share in (0, 0.5, 0.9):
        program = Program(bench.build)
        for _ in range(6):
            random_linear(program, int(os.environ["MOST"]) // 2)
        program.finish()
        await bench.run(program, resident=int(share * len(program.tiles)))


@cocotb.test()
async def run_extremes(dut):
    """Saturation both ways with the largest sums, and biases at their bounds."""
    seed_numpy()
    bench = Bench(dut)
    await start(dut)
    program = Program(bench.build)
    n = 2 * bench.build.tile_out
    for extreme in (-128, 127, -1):
        for multiplier, bias in ((131071, 2**30 - 1), (-131072, -(2**30 - 1)), (65536, 0)):
            for shift in (0, 24, 48):
                params = {
                    "bias": bias,
                    "multiplier": multiplier,
                    "shift": shift,
                    "zero_point": -128,
                }
                params = {k: np.full(n, v) for k, v in params.items()}
                program.linear(
                    256,
                    n,
                    random.randrange(3),
                    extreme=extreme,
                    params=params,
                    wide=random.random() < 0.5,
                    relu=random.random() < 0.5,
                )
    await bench.run(program.finish())


def full_rate_program(b, log2_split):
    """Sizes where the requantizer keeps up: as many input tiles as an output tile has words."""
    inputs = b.tile_in << log2_split
    least = max(1, b.tile_out // b.requantize_lanes >> log2_split)
    program = Program(b)
    for n_tiles in range(least, least + 3):
        for outputs in (1, b.tile_out >> log2_split, 2 * b.tile_out + 1):
            program.linear(
                n_tiles * inputs,
                outputs,
                log2_split,
                tokens=3,
                wide=True,
                add="own",
                log2_rows=2,
            )
    return program.finish()


@cocotb.test()
async def run_full_rate(dut):
    """One tile a cycle from the first entry's first to the last one's last, for all splits.

    An entry of one tile takes two cycles.
    """
    seed_numpy()
    bench = Bench(dut)
    await start(dut)
    b = bench.build
    for log2_split in range(3):
        # No result is an operand of another. A memory is reused where rows of random sizes fill it.
        while True:
            program = full_rate_program(b, log2_split)
            if all(e.after == 0 for e in program.entries):
                break
        await bench.run(program)
        cycles = bench.read_at[-1] - bench.read_at[0] + 1
        dut._log.info(
            f"split {1 << log2_split}: {len(program.entries)} entries, {bench.reads} tiles in "
            f"{cycles} cycles"
        )
        single = sum(timing.linear_tiles(e.instruction, b) == 1 for e in program.entries)
        assert bench.reads <= cycles <= bench.reads + single


@cocotb.test()
async def run_full_queue(dut):
    """One input tile for each output tile: the requantizer sets the pace, and no sum is lost."""
    seed_numpy()
    bench = Bench(dut)
    await start(dut)
    b = bench.build
    program = Program(b)
    for _ in range(3):
        program.linear(1, 30 * b.tile_out, 0, wide=True, log2_rows=0)
    await bench.run(program.finish())
    words = bench.reads * b.tile_out // b.requantize_lanes
    dut._log.info(f"{bench.reads} tiles, {words} words in {bench.done_at[-1]} cycles")
    assert bench.done_at[-1] < words + 50


@cocotb.test()
async def run_reduce(dut):
    """Reductions as in the output layer, one tile a cycle; and the shortest possible ones."""
    seed_numpy()
    bench = Bench(dut)
    await start(dut)
    b = bench.build
    for n_in, n_out in (
        (4 * b.tile_in, 2 * b.tile_out),
        (1, 1),
        (b.tile_in, b.requantize_lanes + 1),
    ):
        program = Program(b)
        program.linear(n_in, n_out, 0, positions=12, tokens=2, wide=True, reduce=True)
        await bench.run(program.finish())
        cycles = bench.read_at[-1] - bench.read_at[0] + 1
        dut._log.info(
            f"reduce {n_in} x {n_out}, 24 entries: {bench.reads} tiles in {cycles} cycles"
        )
        if n_in == 4 * b.tile_in:
            assert cycles == bench.reads


@cocotb.test()
async def run_latency(dut):
    """From start to done of a lone entry, beside the model of compiler.schedule.timing."""
    seed_numpy()
    bench = Bench(dut)
    await start(dut)
    b = bench.build
    # To the first read; weight memory, multiply-accumulate (chains of four, adder tree); parameters
    # and sums, requantizer.
    latency = READ_DELAY + WEIGHT_LATENCY + 7 + (b.tile_in // 4).bit_length() - 1 + 4 + 6
    for n_in, n_out in ((1, 1), (b.tile_in, b.tile_out), (8 * b.tile_in, 4 * b.tile_out)):
        program = Program(b)
        i = program.linear(n_in, n_out, 0)
        await bench.run(program.finish())
        cycles = bench.done_at[0] - bench.started[0]
        cost = timing.cost(i, 0, b)
        last_words = -(-((n_out - 1) % b.tile_out + 1) // b.requantize_lanes)
        dut._log.info(
            f"{n_in} x {n_out}: {cost.busy} tiles, {cycles} cycles from start to done, model "
            f"{timing.DISPATCH + max(cost.busy, cost.requantize) + cost.latency}"
        )
        assert cycles == latency + cost.busy - 1 + last_words - 1


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle of a program; the next program is not disturbed."""
    seed_numpy()
    bench = Bench(dut, randomly)
    await start(dut)
    for _ in range(6):
        program = Program(bench.build)
        for _ in range(6):
            random_linear(program, int(os.environ["MOST"]))
        program.finish()
        await bench.run(program, stop_after=random.randrange(5, 150))
        await reset(dut, 1)
    program = Program(bench.build)
    for _ in range(6):
        random_linear(program, int(os.environ["MOST"]))
    await bench.run(program.finish())


@pytest.mark.parametrize(
    ("build", "programs", "most"),
    [
        ("small", 1, 60),
        pytest.param("small", 12, 200, marks=pytest.mark.slow),
        pytest.param("default", 6, 300, marks=pytest.mark.slow),
    ],
)
def test_array_unit(build, programs, most):
    simulate(
        "cmamba_array_unit",
        build=build,
        extra_env={"BUILD": build, "PROGRAMS": str(programs), "MOST": str(most)},
    )


@pytest.mark.parametrize("bad", [{"TileIn": 6}, {"RequantizeLanes": 3}, {"ReduceElements": 1002}])
def test_bad_parameters(bad, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_array_unit", bad)
    assert f"{next(iter(bad))} is" in capfd.readouterr().err
