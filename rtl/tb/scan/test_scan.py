"""scan: tokens of random programs against the integer model, every number of states, extremes,
ties, idle starts, reset in the middle; cycles an entry."""

import os
import random

import cocotb
import numpy as np
import pytest
import torch
from cocotb.triggers import ClockCycles, RisingEdge

import isa
from golden import arithmetic
from isa.words import PARAM_DTYPE, pack_words
from rtl.tb.memories import ReadPort, WritePort, packed
from rtl.tb.simulate import simulate
from rtl.tb.streams import PATTERNS, always, reset, start
from rtl.tb.units import check_announcements, row_words

BUILD = isa.build(os.environ.get("BUILD", "small"))
LANES = BUILD.scan_lanes
SLOTS = LANES // 16
SPACES = ("conv", "gate", "step", "proj", "scan")
# Cycles from the start of an entry of one step to done_o.
PIPELINE = 1 + 36 - (6 - LANES.bit_length() + 1)


def values(rng, kind, low, high, size):
    """Random integers of [low, high]: all of them, the ends, or small ones, which make ties."""
    if kind == "extreme":
        ends = [low, high, *(v for v in (-1, 0, 1) if low <= v <= high)]
        return rng.choice(ends, size, p=[0.4, 0.4, *[0.2 / (len(ends) - 2)] * (len(ends) - 2)])
    if kind == "tie":
        return rng.integers(max(low, -8), min(high, 8) + 1, size)
    return rng.integers(low, high + 1, size)


class Memories:
    """Everything the unit reads, in a random state of the given kind."""

    def __init__(self, rng, kind):
        align = BUILD.row_align
        self.rng = rng
        for space in SPACES:
            content = values(rng, kind, -128, 127, (BUILD.spaces[space] // align, align))
            setattr(self, space, content.astype(np.int8))
        self.scan[:] = 0
        self.decay = values(rng, kind, 0, 65535, BUILD.capacity["scan_decay"]).astype(np.uint16)
        if kind == "random":  # some states forget slowly, some inputs are small
            self.decay >>= rng.integers(0, 16, self.decay.shape).astype(np.uint16)
        n_params = BUILD.capacity["scan_params"]
        self.params = np.zeros(n_params, PARAM_DTYPE)
        self.params["bias"] = values(rng, kind, -(1 << 17) + 1, (1 << 17) - 1, n_params)
        self.params["multiplier"] = values(rng, kind, -(1 << 17), (1 << 17) - 1, n_params)
        self.params["shift"] = rng.integers(0, 49, n_params)
        if kind == "random":  # as above, most results are not at the ends of int8
            self.params["shift"] = rng.integers(30, 46, n_params)
        self.params["zero_point"] = values(rng, kind, -128, 127, n_params)
        tables = (BUILD.capacity["scan_tables"], 256)
        self.tables = values(rng, kind, 0, 65535, tables).astype(np.uint16)
        if kind == "random":
            self.tables >>= rng.integers(0, 16, (tables[0], 1)).astype(np.uint16)

    def row(self, operand, token, count):
        """int64 [count] of an operand's row."""
        memory = getattr(self, isa.SPACE_NAMES[operand.space])
        first = operand.row(token)
        return torch.from_numpy(memory.reshape(-1)[first : first + count].astype(np.int64))


def random_operand(rng, space, width):
    """A ring of random length somewhere in a memory."""
    align = BUILD.row_align
    stride = -(-width // align) * align
    size = BUILD.spaces[space]
    most = (size // stride).bit_length() - 1
    log2_rows = int(rng.integers(0, min(most, 4) + 1))
    stride += align * int(rng.integers(0, (size // (1 << log2_rows) - stride) // align + 1))
    free = size - stride * ((1 << log2_rows) - 1) - width
    addr = align * int(rng.integers(0, free // align + 1))
    return isa.Operand(addr, stride, log2_rows, isa.SPACES[space].index)


def random_instruction(rng, state_addr, log2_state=None, n=None, **fields):
    """A SCAN; its states begin at ``state_addr``."""
    m = int(rng.integers(0, 7)) if log2_state is None else log2_state
    most = min(BUILD.capacity["state"] // 4 >> m, BUILD.capacity["features"])
    n = int(rng.integers(1, min(most, 8 * LANES >> max(m - 3, 0)) + 1)) if n is None else n
    pairs = n << m
    align = BUILD.row_align
    # Skip weights lie behind B and C, or somewhere else in their row.
    skip_enable = int(rng.integers(0, 2))
    most = (BUILD.spaces["proj"] - n) // align if skip_enable else 0xFFFF // align
    skip_offset = align * int(rng.choice([-(-(2 << m) // align), rng.integers(0, most + 1)]))
    bc = max(2 << m, skip_offset + n if skip_enable else 0)
    values = {
        "n_positions": 4,
        "u": random_operand(rng, "conv", n),
        "z": random_operand(rng, "gate", n),
        "dt": random_operand(rng, "step", n),
        "bc": random_operand(rng, "proj", bc),
        "dst": random_operand(rng, "scan", n),
        "state_addr": state_addr,
        "decay_addr": LANES
        * int(rng.integers(0, (BUILD.capacity["scan_decay"] - pairs) // LANES + 1)),
        "param_addr": SLOTS
        * int(rng.integers(0, (BUILD.capacity["scan_params"] - n) // SLOTS + 1)),
        "softplus_table": int(rng.integers(0, BUILD.capacity["scan_tables"])),
        "silu_table": int(rng.integers(0, BUILD.capacity["scan_tables"])),
        "n": n,
        "log2_state": m,
        "u_zero_point": int(rng.integers(-128, 128)),
        "exp_shift": int(rng.integers(0, 32)),
        "state_shift": int(rng.integers(0, 17)),
        "skip_shift": int(rng.integers(0, 21)),
        "y_shift": int(rng.integers(0, 41)),
        "skip_enable": skip_enable,
        "skip_zero_point": int(rng.integers(-128, 128)),
        "skip_offset": skip_offset,
    }
    if rng.random() < 0.7:  # shifts that leave little to saturate, as a compiled model's
        values |= {
            "exp_shift": int(rng.integers(12, 20)),
            "state_shift": int(rng.integers(4, 17)),
            "skip_shift": int(rng.integers(0, 8)),
            "y_shift": int(rng.integers(12, 21)),
        }
    return isa.Instruction("SCAN", values | fields)


class Model:
    """The integer model of the unit: its states and the memory it writes."""

    def __init__(self, memories):
        self.memories = memories
        self.states = {}
        self.scan = memories.scan.copy()

    def run(self, i, token, position):
        n, states = i.n, 1 << i.log2_state
        m = self.memories
        h = (
            torch.zeros(n, states, dtype=torch.int64)
            if position == 0
            else self.states[i.state_addr]
        )
        bc = m.row(i.bc, token, 2 * states)
        skip = None
        if i.skip_enable:
            skip = m.row(i.bc, token, i.skip_offset + n)[i.skip_offset :] - i.skip_zero_point
        rates = m.decay[i.decay_addr :][: n * states].astype(np.int64).reshape(n, states)
        out, self.states[i.state_addr] = arithmetic.scan_step(
            h,
            m.row(i.u, token, n),
            m.row(i.z, token, n),
            m.row(i.dt, token, n),
            bc[:states],
            bc[states:],
            torch.from_numpy(rates),
            arithmetic.Params.from_array(m.params[i.param_addr :][:n]),
            torch.from_numpy(m.tables[i.softplus_table].astype(np.int64)),
            torch.from_numpy(m.tables[i.silu_table].view(np.int16).astype(np.int64)),
            skip=skip,
            u_zero_point=i.u_zero_point,
            exp_shift=i.exp_shift,
            state_shift=i.state_shift,
            skip_shift=i.skip_shift,
            y_shift=i.y_shift,
        )
        first = i.dst.row(token)
        self.scan.reshape(-1)[first : first + n] = out.numpy()


class Bench:
    """The unit with its memories; starts entries and checks what they write."""

    def __init__(self, dut, seed, kind="random"):
        self.dut = dut
        self.rng = np.random.default_rng(seed)
        m = self.memories = Memories(self.rng, kind)
        self.model = Model(m)
        self.done_cycles = []
        self.start_cycles = []
        self.cycle = 0
        junk = lambda: random.getrandbits(8)  # noqa: E731
        for space in ("conv", "gate", "step", "proj"):
            memory = getattr(m, space)
            ReadPort(dut, space, lambda a, memory=memory: packed(memory[a]), junk)
        ReadPort(dut, "skip", lambda a: packed(m.proj[a]), junk)
        ReadPort(dut, "decay", lambda a: packed(m.decay.reshape(-1, LANES)[a]), junk)
        params = pack_words(isa.PARAM, m.params).reshape(-1, SLOTS)
        ReadPort(dut, "param", lambda a: packed(params[a]), junk)
        for name in ("softplus", "silu"):
            cocotb.start_soon(self._look_up(name))
        WritePort(dut, "scan", m.scan)
        dut.start_valid_i.value = 0
        cocotb.start_soon(self._count())
        check_announcements(dut)

    async def _look_up(self, name):
        table, argument, entry = (
            getattr(self.dut, f"{name}_{part}") for part in ("table_o", "argument_o", "entry_i")
        )
        word = 0
        while True:
            await RisingEdge(self.dut.clk_i)
            entry.value = word
            if argument.value.is_resolvable and table.value.is_resolvable:
                row = self.memories.tables[int(table.value) % len(self.memories.tables)]
                word = packed(
                    row[[(v + 128) % 256 for v in int(argument.value).to_bytes(SLOTS)[::-1]]]
                )

    async def _count(self):
        dut = self.dut
        while True:
            await RisingEdge(dut.clk_i)
            if dut.start_valid_i.value == 1 and dut.start_ready_o.value == 1:
                self.start_cycles.append(self.cycle)
            if dut.done_o.value == 1:
                self.done_cycles.append(self.cycle)
            self.cycle += 1

    async def entry(self, instruction, token, position):
        """Start one entry; returns when it has been taken."""
        dut = self.dut
        dut.instruction_i.value = int.from_bytes(instruction.encode(), "little") & (
            (1 << len(dut.instruction_i)) - 1
        )
        dut.position_i.value = position
        for name, word in row_words(instruction, BUILD, token, position):
            getattr(dut, f"{name}_word_i").value = word
        dut.start_valid_i.value = 1
        await RisingEdge(dut.clk_i)
        while dut.start_ready_o.value != 1:
            await RisingEdge(dut.clk_i)
        dut.start_valid_i.value = 0
        dut.instruction_i.value = random.getrandbits(len(dut.instruction_i))

    async def done(self, count):
        """Wait until ``count`` entries have completed."""
        for _ in range(20_000):
            if len(self.done_cycles) >= count:
                return
            await RisingEdge(self.dut.clk_i)
        raise AssertionError(f"{len(self.done_cycles)} entries completed, expected {count}")

    async def run(self, instructions, n_tokens, pattern=always):
        """Tokens 0, 1, ... of the instructions in turn; a token waits for the one before it."""
        active = pattern()
        before = len(self.done_cycles)
        entries = [(i, t) for t in range(n_tokens) for i in range(len(instructions))]
        offset = int(self.rng.integers(0, 50))
        for index, (i, token) in enumerate(entries):
            while not next(active):
                await RisingEdge(self.dut.clk_i)
            if token > 0:
                await self.done(before + index - len(instructions) + 1)
            self.model.run(instructions[i], offset + token, token)
            await self.entry(instructions[i], offset + token, token)
        await self.done(before + len(entries))
        await ClockCycles(self.dut.clk_i, 2)
        self.check()
        assert len(self.done_cycles) == before + len(entries)

    def check(self):
        """The written memory is the model's."""
        found, expected = self.memories.scan, self.model.scan
        wrong = np.argwhere(found != expected)
        if len(wrong):
            word, element = wrong[0]
            raise AssertionError(
                f"{len(wrong)} elements differ, the first in word {word}, element {element}: "
                f"expected {expected[word, element]}, found {found[word, element]}"
            )


def regions(count):
    """First states of ``count`` instructions."""
    size = BUILD.capacity["state"] // 4
    return [size * i for i in range(count)]


@cocotb.test()
@cocotb.parametrize(log2_state=range(7))
async def run_sizes(dut, log2_state):
    """Every number of states, channels from one on, three tokens."""
    bench = Bench(dut, random.getrandbits(32))
    await start(dut)
    for n in (1, 2, SLOTS, SLOTS + 1, 16 * SLOTS - 1, 16 * SLOTS + 2):
        if n << log2_state <= BUILD.capacity["state"] // 4:
            i = random_instruction(bench.rng, 0, log2_state, n)
            await bench.run([i], 3)


@cocotb.test()
@cocotb.parametrize(kind=["random", "extreme", "tie"], idle=PATTERNS)
async def run_random(dut, kind, idle):
    """Tokens of several instructions that alternate without a gap, or with idle cycles."""
    bench = Bench(dut, random.getrandbits(32), kind)
    await start(dut)
    for _ in range(int(os.environ.get("ROUNDS", 2))):
        count = random.randint(1, 4)
        fields = {"exp_shift": 1, "y_shift": 2, "skip_shift": 0} if kind == "tie" else {}
        instructions = [random_instruction(bench.rng, a, **fields) for a in regions(count)]
        await bench.run(instructions, 3, idle)


@cocotb.test()
async def run_saturation(dut):
    """States at both ends of int24, and outputs at both ends of int16 and int8."""
    bench = Bench(dut, random.getrandbits(32), "extreme")
    await start(dut)
    bench.memories.decay[:] = 1
    bench.memories.tables[:] = np.where(np.arange(256) < 128, 0xFFFF, 0x7FFF)
    for state_shift in (0, 8, 16):
        i = random_instruction(bench.rng, 0, 4, 2 * SLOTS, state_shift=state_shift, exp_shift=31)
        await bench.run([i], 4)
        assert any(abs(int(h)) >= (1 << 23) - 1 for h in bench.model.states[0].flatten()) or (
            state_shift > 0
        )


@cocotb.test()
async def run_skip(dut):
    """Skip weights of the token and of the parameter words in turn, both ends, several words."""
    bench = Bench(dut, random.getrandbits(32))
    await start(dut)
    align = BUILD.row_align
    ends = {"skip_shift": 8, "y_shift": 8, "exp_shift": 31}
    for n in (1, align, align + 1, 3 * align):
        for zero_point in (-128, 0, 127):
            bench.memories.proj[:] = bench.rng.choice([-128, 0, 127], bench.memories.proj.shape)
            fields = ends | {"skip_zero_point": zero_point, "skip_offset": 2 * align}
            instructions = [
                random_instruction(
                    bench.rng,
                    a,
                    2,
                    n,
                    bc=random_operand(bench.rng, "proj", 2 * align + n),
                    skip_enable=k % 2,
                    **fields,
                )
                for k, a in enumerate(regions(4))
            ]
            await bench.run(instructions, 2)


@cocotb.test()
async def run_short(dut):
    """Entries of one channel that follow each other: B and C do not meet at their port."""
    bench = Bench(dut, random.getrandbits(32))
    await start(dut)
    for first in range(7):
        sizes = [(first + k) % 7 for k in range(4)]
        instructions = [
            random_instruction(bench.rng, a, m, 1) for a, m in zip(regions(4), sizes, strict=True)
        ]
        await bench.run(instructions, 3)


@cocotb.test()
@cocotb.parametrize(state_shift=[1, 9])
async def run_ties(dut, state_shift):
    """States that are kept whole and inputs of which every second one ends in a half."""
    bench = Bench(dut, random.getrandbits(32), "tie")
    await start(dut)
    bench.memories.decay[:] = 0
    bench.memories.tables[:] = 1 << (state_shift - 1)
    for log2_state in range(7):
        fields = {"state_shift": state_shift, "u_zero_point": 0, "y_shift": 1, "skip_shift": 0}
        await bench.run([random_instruction(bench.rng, 0, log2_state, 2 * SLOTS, **fields)], 4)


@cocotb.test()
async def run_reset(dut):
    """A reset in the middle leaves nothing behind."""
    bench = Bench(dut, random.getrandbits(32))
    await start(dut)
    for _ in range(4):
        for address in regions(2):
            await bench.entry(random_instruction(bench.rng, address), 0, 0)
        await ClockCycles(dut.clk_i, random.randint(1, 60))
        await reset(dut)
        bench.model.scan[:] = bench.memories.scan
        bench.done_cycles.clear()
        await bench.run([random_instruction(bench.rng, a) for a in regions(2)], 2)


@cocotb.test()
async def run_cycles(dut):
    """Entries follow each other without a gap: n * states / Lanes cycles each."""
    bench = Bench(dut, random.getrandbits(32))
    await start(dut)
    n = 8 * SLOTS
    first = random_instruction(bench.rng, 0, 4, n)
    others = [random_instruction(bench.rng, a, 4, n) for a in regions(4)]
    await bench.run([first], 1)
    latency = bench.done_cycles[0] - bench.start_cycles[0]
    busy = (n << 4) // LANES
    assert latency == busy - 1 + PIPELINE
    await bench.run(others, 1)
    assert np.diff(bench.done_cycles[1:]).tolist() == [busy] * 3
    dut._log.info("%d cycles an entry, %d from start to done", busy, latency)


def test_scan():
    simulate("cmamba_scan", build="small", extra_env={"BUILD": "small"})


@pytest.mark.slow
@pytest.mark.parametrize("build", ["small", "default"])
def test_scan_fully(build):
    simulate("cmamba_scan", build=build, extra_env={"BUILD": build, "ROUNDS": "8"})
