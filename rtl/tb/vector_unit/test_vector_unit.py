"""vector_unit: every instruction against golden.arithmetic, stalls, resets, cycles."""

import itertools
import os
import random

import cocotb
import numpy as np
import pytest
import torch
from cocotb.triggers import ClockCycles, RisingEdge

import isa
from compiler.schedule import timing
from golden import arithmetic
from golden.arithmetic import Params
from isa.words import PARAM_DTYPE
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, randomly, reset, seed_numpy, start
from rtl.tb.units import Counter, Memory, entries, instruction, row_words
from rtl.tb.words import pack, signed, unsigned

torch.set_num_threads(1)
INT16 = (-(1 << 15), (1 << 15) - 1)
FINE = 64  # parameter words that show the last bit of NORM's v
UNITY = -1  # the last word: multiplies by one
VIEWS = ("norm_i", "pool_i", "scale_i", "pool_features_i", "modulate_i")


def random_params(n):
    """Words of every scale, also those that saturate; biases that must not matter."""
    words = np.zeros(n, PARAM_DTYPE)
    for word in words:
        word["bias"], word["multiplier"] = signed(31), signed(18)
        word["shift"], word["zero_point"] = random.randint(0, 48), signed(8)
    # Most results shall be neither zero nor saturated.
    words["shift"] = np.where(np.random.rand(n) < 0.7, np.random.randint(28, 38, n), words["shift"])
    words["multiplier"][:FINE], words["shift"][:FINE] = 1, np.random.randint(1, 4, FINE)
    words["multiplier"][UNITY], words["shift"][UNITY] = 1 << 16, 16
    words["zero_point"][UNITY] = 0
    return words


def random_row(n):
    """int16 values of one of several magnitudes, so that sums of squares have every length."""
    if random.random() < 0.2:
        return np.full(n, random.choice([-32768, 32767, 0, 1, -1]))
    bits = random.randint(2, 16)
    return np.array([signed(bits) for _ in range(n)])


class Bench:
    """The unit with its memories. Rows of one batch do not overlap, as waits would see to."""

    def __init__(self, dut, ready=always, gaps=always):
        seed_numpy()
        self.dut = dut
        self.build = isa.build(os.environ["BUILD"])
        names = (*VIEWS, "position_i", "sequence_i", "row_words_i")
        self.entries = entries(dut, names, gaps)
        self.resid = Memory(dut, "resid", self.build, ready)
        self.conv_in = Memory(dut, "conv_in", self.build, ready)
        self.logit = Memory(dut, "logit", self.build)
        self.norm = Memory(dut, "norm", self.build)
        self.done = Counter(dut, "done_o")
        self.starts = 0
        dut.param_wr_en_i.value = 0
        dut.table_wr_en_i.value = 0
        self.expected = {}
        self.fresh()

    def fresh(self):
        """Forget what was allocated and expected."""
        self.used = dict.fromkeys(("resid", "norm", "logit", "conv_in"), 0)
        self.entries.queue.clear()
        self.sent = []  # (instruction, position)
        for memory in (self.resid, self.logit, self.norm, self.conv_in):
            memory.data[:] = 0
        self.expected = {name: getattr(self, name).data.copy() for name in self.used}

    async def load(self):
        """Write random parameters and tables through the loader's ports."""
        capacity = self.build.capacity
        self.params = random_params(capacity["vector_params"])
        self.tables = np.array(
            [[unsigned(16) for _ in range(256)] for _ in range(capacity["vector_tables"])]
        )
        names = self.params.dtype.names
        words = [isa.PARAM.encode(dict(zip(names, w.tolist(), strict=True))) for w in self.params]
        self.dut.param_wr_en_i.value = 1
        for i in range(0, len(words), 2):
            self.dut.param_wr_addr_i.value = i // 2
            self.dut.param_wr_data_i.value = words[i] | words[i + 1] << 64
            await RisingEdge(self.dut.clk_i)
        self.dut.param_wr_en_i.value = 0
        await self._write_tables()

    async def write_tables(self, scale, shift):
        """Constant tables, of MODULATE's scale and of its shift in turn."""
        self.tables[0::2], self.tables[1::2] = scale, shift
        await self._write_tables()

    async def _write_tables(self):
        self.dut.table_wr_en_i.value = 1
        for i, entry in enumerate(self.tables.reshape(-1).tolist()):
            self.dut.table_wr_addr_i.value = i
            self.dut.table_wr_data_i.value = entry
            await RisingEdge(self.dut.clk_i)
        self.dut.table_wr_en_i.value = 0

    def rows(self, space, n, rows):
        """A ring of `rows` (a power of two) rows of n elements; None where the memory is full."""
        align = self.build.row_align
        stride = -(-n // align) * align + align * random.randrange(2)
        addr = self.used[space]
        if addr + stride * rows > self.build.spaces[space]:
            return None
        self.used[space] = addr + stride * rows
        return isa.Operand(addr, stride, rows.bit_length() - 1, isa.SPACES[space].index)

    def send(self, opcode, word, token=0, position=0, sequence=0):
        i = isa.Instruction.decode(word.to_bytes(isa.INSTRUCTION_BITS // 8, "little"))
        rows = [row for _, row in row_words(i, self.build, token, position, sequence)]
        width = len(self.dut.row_words_i) // 4
        views = {name: word & ((1 << len(getattr(self.dut, name))) - 1) for name in VIEWS}
        place = {"position_i": position, "sequence_i": sequence}
        self.entries.send([{**views, **place, "row_words_i": pack(rows, width)}])
        self.starts += 1
        self.sent.append((i, position))

    def put(self, operand, row, values):
        """A source row, in the memory and in what is expected of it."""
        name = isa.SPACE_NAMES[operand.space]
        at = operand.row(row)
        getattr(self, name).data[at : at + len(values)] = values
        self.expected[name][at : at + len(values)] = values

    def expect(self, operand, row, values):
        at = operand.row(row)
        self.expected[isa.SPACE_NAMES[operand.space]][at : at + len(values)] = values

    def param_addr(self, n):
        return random.randint(0, len(self.params) - n)

    def add_norm(self, n, wide=None, in_place=False):
        wide = random.random() < 0.3 if wide is None else wide
        src = self.rows("resid", n, 4)
        dst = src if in_place else self.rows("resid" if wide else "norm", n, 4)
        if src is None or dst is None:
            return False
        token = random.randrange(4096)
        x, eps = random_row(n), max(1, unsigned(32))
        at = self.param_addr(n)
        self.put(src, token, x)
        word = instruction(
            "NORM",
            src=src,
            dst=dst,
            n=n,
            eps=eps,
            wide=wide,
            param_addr=at,
            n_positions=random.randint(1, 4095),
        )
        self.send("NORM", word, token, random.randrange(4096), random.randrange(1 << 10))
        params = Params.from_array(self.params[at : at + n])
        y = arithmetic.norm(torch.from_numpy(x), eps, params, wide=bool(wide))
        self.expect(dst, token, y.numpy())
        return True

    def add_pool(self, n, positions):
        rows = 1 << (positions - 1).bit_length()
        src, dst = self.rows("resid", n, rows), self.rows("norm", n, 8)
        if src is None or dst is None:
            return False
        sequence = random.randrange(1 << 10)
        at = self.param_addr(2)
        first = random.randrange(64)
        total, largest = np.zeros(n, np.int64), np.full(n, INT16[0])
        word = instruction("POOL", src=src, dst=dst, n=n, param_addr=at, n_positions=positions)
        for position in range(positions):
            x = random_row(n)
            self.put(src, first + position, x)
            self.send("POOL", word, first + position, position, sequence)
            total, largest = total + x, np.maximum(largest, x)
        params = Params.from_array(self.params[at : at + 2])
        y = arithmetic.pool(torch.from_numpy(total), torch.from_numpy(largest), params)
        self.expect(dst, 2 * sequence, y[0].numpy())
        self.expect(dst, 2 * sequence + 1, y[1].numpy())
        return True

    def add_scale(self, n, in_place=False):
        src, logit = self.rows("resid", n, 4), self.rows("logit", n, 1)
        dst = src if in_place else self.rows("resid", n, 4)
        if src is None or dst is None or logit is None:
            return False
        token, sequence = random.randrange(4096), random.randrange(1 << 10)
        table = random.randrange(len(self.tables))
        x = random_row(n)
        gate = np.array([signed(8) for _ in range(n)])
        self.put(src, token, x)
        self.put(logit, sequence, gate)
        word = instruction("SCALE", src=src, logit=logit, dst=dst, n=n, table=table)
        self.send("SCALE", word, token, random.randrange(4096), sequence)
        y = arithmetic.scale(*(torch.from_numpy(v) for v in (x, gate, self.tables[table])))
        self.expect(dst, token, y.numpy())
        return True

    def shared_row(self, space):
        """(row, sequence, columns): one of few sequences' two elements of a row, anywhere in it."""
        columns = random.choice([1, 7, self.build.row_align, random.randint(1, 100)])
        sequence = random.randrange(columns)
        return self.rows(space, 2 * columns, 2), sequence, columns

    def add_pool_features(self, n, x=None):
        src = self.rows("resid", n, 4)
        dst, sequence, columns = self.shared_row("norm")
        if src is None or dst is None:
            return False
        token, position = random.randrange(4096), random.randrange(4096)
        at = self.param_addr(2)
        x = random_row(n) if x is None else x
        self.put(src, token, x)
        fields = {"src": src, "dst": dst, "n": n, "param_addr": at, "columns": columns}
        self.send(
            "POOL_FEATURES", instruction("POOL_FEATURES", **fields), token, position, sequence
        )
        params = Params.from_array(self.params[at : at + 2])
        mean, maximum = arithmetic.pool_features(torch.from_numpy(x), params).numpy()
        row = dst.row(position)
        self.expected["norm"][row + sequence] = mean
        self.expected["norm"][row + columns + sequence] = maximum
        return True

    def add_modulate(self, n, wide=None, in_place=None, x=None, addend=None, at=None):
        """``in_place``: the operand whose rows are those of the result, where wide."""
        wide = random.random() < 0.5 if wide is None else wide
        src, add = self.rows("resid", n, 4), self.rows("resid", n, 4)
        logit, sequence, columns = self.shared_row("logit")
        if not wide:
            dst = self.rows("conv_in", n, 4)
        else:
            dst = {"src": src, "add": add}.get(in_place) or self.rows("resid", n, 4)
        if src is None or add is None or dst is None or logit is None:
            return False
        token, position = random.randrange(4096), random.randrange(4096)
        scale_table, shift_table = (random.randrange(len(self.tables)) // 2 * 2 + k for k in (0, 1))
        at = self.param_addr(1) if at is None else at
        x = random_row(n) if x is None else x
        addend = random_row(n) if addend is None else addend
        logits = [signed(8), signed(8)]
        self.put(src, token, x)
        self.put(add, token, addend)
        self.put(logit, position, np.array([signed(8) for _ in range(2 * columns)]))
        for element, value in zip((sequence, columns + sequence), logits, strict=True):
            self.logit.data[logit.row(position) + element] = value
            self.expected["logit"][logit.row(position) + element] = value
        word = instruction(
            "MODULATE",
            src=src,
            logit=logit,
            dst=dst,
            add=add,
            n=n,
            columns=columns,
            param_addr=at,
            scale_table=scale_table,
            shift_table=shift_table,
            wide=wide,
            n_positions=random.randint(1, 4095),
        )
        self.send("MODULATE", word, token, position, sequence)
        scale = self.tables[scale_table][logits[0] + 128]
        shift = np.int16(self.tables[shift_table][logits[1] + 128].astype(np.uint16)).astype(int)
        params = Params.from_array(self.params[at : at + 1])
        y = arithmetic.modulate(
            *(torch.tensor(v) for v in (x, scale, shift, addend)), params, wide=bool(wide)
        )
        self.expect(dst, token, y.numpy())
        return True

    def fill(self, sizes, limit=40):
        """Random entries until a memory is full."""
        for _ in range(limit):
            n = random.choice(sizes)
            kind = random.choice(["norm", "norm", "pool", "scale", "pool_features", "modulate"])
            if kind == "norm":
                more = (
                    self.add_norm(n, in_place=False)
                    if random.random() < 0.8
                    else self.add_norm(n, wide=True, in_place=True)
                )
            elif kind == "pool":
                more = self.add_pool(n, random.randint(1, 5))
            elif kind == "scale":
                more = self.add_scale(n, in_place=random.random() < 0.5)
            elif kind == "pool_features":
                more = self.add_pool_features(n)
            else:
                more = self.add_modulate(n, in_place=random.choice(["src", "add", None]))
            if not more:
                return

    async def finish(self):
        """Every entry is done once, and every element of every memory is as expected."""
        await self.done.wait_for(self.starts)
        for name, data in self.expected.items():
            np.testing.assert_array_equal(getattr(self, name).data, data, err_msg=name)
        await ClockCycles(self.dut.clk_i, 30)
        assert len(self.done) == self.starts
        self.done.clear()
        self.starts = 0


def sizes(build):
    align, lanes = build.row_align, build.vector_lanes
    return [1, lanes - 1, lanes, lanes + 1, align, align + 1, 2 * align, 3 * align - 1, 7 * lanes]


@cocotb.test()
@cocotb.parametrize(ready=PATTERNS, gaps=(always, randomly))
async def run_mixed(dut, ready, gaps):
    """All instructions in any order and of any size, back-pressure, gaps between entries."""
    bench = Bench(dut, ready, gaps)
    await start(dut)
    await bench.load()
    for _ in range(int(os.environ["BATCHES"])):
        bench.fresh()
        bench.fill(sizes(bench.build))
        await bench.finish()


@cocotb.test()
@cocotb.parametrize(kind=("norm", "pool", "scale", "pool_features", "modulate"))
async def run_one_kind(dut, kind):
    """Entries of one instruction after each other, small ones too: sums follow sums at once."""
    bench = Bench(dut)
    await start(dut)
    await bench.load()
    for n in sizes(bench.build):
        bench.fresh()
        for _ in range(12):
            if kind == "norm":
                bench.add_norm(n)
            elif kind == "pool":
                bench.add_pool(n, random.randint(1, 6))
            elif kind == "scale":
                bench.add_scale(n)
            elif kind == "pool_features":
                bench.add_pool_features(n)
            else:
                bench.add_modulate(n)
        await bench.finish()


@cocotb.test()
async def run_extremes(dut):
    """The longest row, the largest and the smallest sum of squares, ties of the rounding."""
    bench = Bench(dut)
    await start(dut)
    await bench.load()
    n = bench.build.capacity["features"]
    for value, eps in ((-32768, (1 << 32) - 1), (0, 1), (1, 1), (32767, 1), (-1, 1 << 30)):
        bench.fresh()
        src, dst = bench.rows("resid", n, 1), bench.rows("norm", n, 1)
        x = np.full(n, value)
        bench.put(src, 0, x)
        bench.send("NORM", instruction("NORM", src=src, dst=dst, n=n, eps=eps))
        params = Params.from_array(bench.params[:n])
        bench.expect(dst, 0, arithmetic.norm(torch.from_numpy(x), eps, params).numpy())
        await bench.finish()
    bench.fresh()
    rows = 4
    bench.add_pool(n // rows, rows)
    await bench.finish()


@cocotb.test()
async def run_extremes_of_features(dut):
    """The longest row of POOL_FEATURES, with the largest and the smallest sum."""
    bench = Bench(dut)
    await start(dut)
    await bench.load()
    n = bench.build.capacity["features"]
    for x in (np.full(n, -32768), np.full(n, 32767), np.zeros(n, int), np.arange(n) - n):
        for row in (x, x[:1]):
            bench.fresh()
            while not bench.add_pool_features(len(row), row):  # not every place has room for it
                bench.fresh()
            await bench.finish()


@cocotb.test()
async def run_extremes_of_modulate(dut):
    """Both ends of x, addend, scale and shift; sums that saturate, and their halves."""
    bench = Bench(dut)
    await start(dut)
    await bench.load()
    n = bench.build.row_align
    ends = (-32768, -1, 0, 1, 32767)
    unity = len(bench.params) + UNITY
    for scale, shift in itertools.product((0, 1, 0x8000, 0xFFFF), (0, 0x7FFF, 0x8000, 0xFFFF)):
        await bench.write_tables(scale, shift)
        for value in ends:
            bench.fresh()
            for wide in (True, False):
                x = np.random.choice([value, *range(-3, 4)], n)
                assert bench.add_modulate(n, wide, None, x, np.random.choice(ends, n), unity)
            await bench.finish()


@cocotb.test()
async def run_ties(dut):
    """v halfway between two integers goes to the even one: with e = -8 half of the v are."""
    bench = Bench(dut)
    await start(dut)
    await bench.load()
    bench.fresh()
    while src := bench.rows("resid", FINE, 1):
        x, eps = np.random.randint(-3, 4, FINE), random.randrange(1 << 14, 1 << 15)
        bench.put(src, 0, x)
        word = instruction("NORM", src=src, dst=src, n=FINE, eps=eps, wide=1)
        bench.send("NORM", word)
        params = Params.from_array(bench.params[:FINE])
        y = arithmetic.norm(torch.from_numpy(x), eps, params, wide=True)
        bench.expect(src, 0, y.numpy())
    await bench.finish()


@cocotb.test()
async def run_look_ups(dut):
    """SCALE and MODULATE in turn: both look up in the tables at the same time."""
    bench = Bench(dut)
    await start(dut)
    await bench.load()
    lanes = bench.build.vector_lanes
    for scales in range(1, 7):
        for beats in (1, 3, 8):
            bench.fresh()
            for _ in range(4):
                for _ in range(scales):
                    bench.add_scale(beats * lanes)
                bench.add_modulate(lanes)
            await bench.finish()


def after_long_stalls():
    """Not ready for longer than the queue of results lasts, then always, again and again."""
    while True:
        yield from [False] * 200
        yield from [True] * 50


@cocotb.test()
async def run_long_stall(dut):
    """The write port stands still until everything behind it does; no result is lost."""
    bench = Bench(dut, after_long_stalls)
    await start(dut)
    await bench.load()
    for _ in range(3):
        bench.fresh()
        while bench.add_scale(4 * bench.build.row_align):
            pass
        await bench.finish()


def every_second():
    """The sequencer starts a unit every second cycle at most."""
    return itertools.cycle((True, False))


async def measured(bench, started, add, count):
    """Add ``count`` entries: [(instruction, start, done)], cycles from the first start."""
    bench.fresh()
    while len(bench.sent) < count and add():
        pass
    started.clear()
    bench.done.clear()
    await bench.done.wait_for(len(bench.sent))
    times = list(zip(bench.sent, started.times, bench.done.times, strict=True))
    await bench.finish()
    return [(*entry, start - times[0][1], done - times[0][1]) for entry, start, done in times]


def modelled(bench, entries):
    """The same of `compiler.schedule.timing`."""
    times, vector = timing.UnitTimes(), isa.UNITS.index("vector")
    return [
        (i, position, *times.run(vector, timing.cost(i, position, bench.build), 0))
        for i, position, *_ in entries
    ]


def shown(entries):
    """When entries complete. (Of SCALE the model's start is sometimes later than the unit's.)"""
    return [(i.opcode, i.n, done) for i, _, _, done in entries]


@cocotb.test()
async def run_cycles(dut):
    """Cycles of one entry, and of entries that follow each other, are those of the cycle model."""
    bench = Bench(dut, gaps=every_second)
    started = Counter(dut, "start_valid_i", "start_ready_o")
    await start(dut)
    await bench.load()
    lanes = bench.build.vector_lanes
    adds = {
        "norm": lambda n: bench.add_norm(n),
        "pool": lambda n: bench.add_pool(n, 1),
        "scale": lambda n: bench.add_scale(n),
        "pool_features": lambda n: bench.add_pool_features(n),
        "modulate": lambda n: bench.add_modulate(n),
    }
    for kind, add in adds.items():
        for n in (1, lanes, 3 * lanes, 8 * lanes, 16 * lanes - 1):
            # The model leaves out that POOL's sums have to be written before they are read again.
            for count in (1,) if kind == "pool" else (1, 8):
                found = await measured(bench, started, lambda n=n, add=add: add(n), count)
                assert shown(found) == shown(modelled(bench, found)), (kind, n)
    kinds = ("norm", "pool_features", "modulate")
    for _ in range(4 * int(os.environ["BATCHES"])):
        n = lanes * random.randint(1, 9)
        found = await measured(bench, started, lambda n=n: adds[random.choice(kinds)](n), 4)
        assert shown(found) == shown(modelled(bench, found))


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle; the entries after it are right."""
    bench = Bench(dut, randomly)
    await start(dut)
    await bench.load()
    for _ in range(8):
        bench.fresh()
        bench.fill(sizes(bench.build))
        await ClockCycles(dut.clk_i, random.randint(1, 200))
        bench.entries.queue.clear()
        await reset(dut)
        bench.done.clear()
        bench.starts = 0
        bench.fresh()
        bench.fill(sizes(bench.build), limit=6)
        await bench.finish()


@pytest.mark.parametrize(
    ("build", "batches"), [("small", 2), pytest.param("default", 10, marks=pytest.mark.slow)]
)
def test_vector_unit(build, batches):
    simulate("cmamba_vector_unit", build=build, extra_env={"BUILD": build, "BATCHES": str(batches)})


@pytest.mark.parametrize(
    "bad",
    [
        {"VectorLanes": 3},
        {"RowAlign": 24},
        {"MaxFeatures": 6},
        {"MaxFeatures": 8192},
        {"MaxVectorParams": 6},
        {"MaxVectorTables": 1},
    ],
)
def test_bad_sizes(bad, capfd):
    with pytest.raises(RuntimeError):
        simulate("cmamba_vector_unit", sizes=bad)
    assert f"vector_unit: {next(iter(bad))} is" in capfd.readouterr().err
