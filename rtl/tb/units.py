"""What surrounds a unit: entries, activation memories, and streams of several signals."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping

import cocotb
import numpy as np
from cocotb.handle import SimHandleBase
from cocotb.triggers import RisingEdge

import isa
from rtl.tb.packages import Packages
from rtl.tb.streams import Pattern, Sink, Source, always
from rtl.tb.words import pack, unpack

# Cycles from the start of an entry of the array to its reads.
READ_DELAY = Packages("small").sizes["ArrayReadDelay"]


def instruction(opcode: str, **fields: object) -> int:
    """The word of an instruction; fields that are not given are zero (operands: an empty one)."""
    for f in isa.OPCODES[opcode].format.fields:
        if f.name != "opcode":
            fields.setdefault(f.name, isa.Operand() if f.operand else 0)
    return int.from_bytes(isa.Instruction(opcode, fields).encode(), "little")


def row_words(
    i: isa.Instruction, build: isa.Build, token: int = 0, position: int = 0, sequence: int = 0
) -> list[tuple[str, int]]:
    """What the sequencer tells a unit of an entry's rows: (operand, word where its row begins).

    The operands are in the order of the instruction; POOL has a third row, ``maximum``.
    """
    entry = {"token": token, "position": position, "sequence": sequence}
    fields = [f.name for f in isa.OPCODES[i.opcode].format.fields if f.operand]
    index = {name: entry[i.row(name)] for name in fields}
    rows = {name: i.fields[name] for name in index}
    if i.opcode == "CONV":
        index["src"] = token - i.kernel + 1
    elif i.opcode == "POOL":
        rows["maximum"] = i.dst
        index |= {"dst": 2 * sequence, "maximum": 2 * sequence + 1}
    return [(name, rows[name].row(index[name]) // build.row_align) for name in rows]


class Joined:
    """Several signals as the one that `Source` and `Sink` want: a mapping in, a tuple out."""

    def __init__(self, dut: SimHandleBase, *names: str) -> None:
        self.signals = {name: getattr(dut, name) for name in names}

    @property
    def value(self) -> Joined:
        return self

    @value.setter
    def value(self, values: Mapping[str, int]) -> None:
        for name, value in values.items():
            self.signals[name].value = int(value) & ((1 << len(self.signals[name])) - 1)

    def to_unsigned(self) -> tuple[int, ...]:
        """The signals' values, in the order of their names."""
        return tuple(int(signal.value) for signal in self.signals.values())


def joined_source(
    dut: SimHandleBase, prefix: str, names: tuple[str, ...], pattern: Pattern
) -> Source:
    """A source for ``PREFIXvalid_i``, ``PREFIXready_o`` and several payload signals."""
    source = Source(dut, pattern, valid=f"{prefix}valid_i", ready=f"{prefix}ready_o", data=names[0])
    source.data = Joined(dut, *names)
    return source


def entries(dut: SimHandleBase, names: tuple[str, ...], pattern: Pattern = always) -> Source:
    """The entry interface: send() takes a mapping of the signals ``names`` for each entry.

    An entry that is offered is withdrawn when the run ends (``abort_i``).
    """
    source = joined_source(dut, "start_", names, pattern)
    if hasattr(dut, "abort_i"):
        source.rst = AnyOf(dut.rst_i, dut.abort_i)
    return source


def joined_sink(dut: SimHandleBase, prefix: str, names: tuple[str, ...], pattern: Pattern) -> Sink:
    """A sink for ``PREFIXvalid_o``, ``PREFIXready_i``; receives tuples of the payload signals."""
    sink = Sink(dut, pattern, valid=f"{prefix}valid_o", ready=f"{prefix}ready_i", data=names[0])
    sink.data = Joined(dut, *names)
    return sink


def check_announcements(dut: SimHandleBase) -> None:
    """Fail unless ``done_o`` is ``done_soon_o`` of `READ_DELAY` cycles before, from now on."""

    async def check() -> None:
        announced = deque([0] * READ_DELAY)
        while True:
            await RisingEdge(dut.clk_i)
            if dut.rst_i.value:
                announced = deque([0] * READ_DELAY)
                continue
            announced.append(int(dut.done_soon_o.value))
            assert int(dut.done_o.value) == announced.popleft(), "done_o is not as announced"

    cocotb.start_soon(check())


class AnyOf:
    """Signals of which one is enough."""

    def __init__(self, *signals: SimHandleBase) -> None:
        self.signals = signals

    @property
    def value(self) -> bool:
        return any(int(signal.value) for signal in self.signals)


class Counter:
    """Counts the cycles in which signals are not zero; ``times`` are their numbers, ``values`` the
    first signal's."""

    def __init__(self, dut: SimHandleBase, *names: str) -> None:
        self.cycle = 0
        self.times: list[int] = []
        self.values: list[int] = []
        self._clk, self._signals = dut.clk_i, [getattr(dut, name) for name in names]
        cocotb.start_soon(self._run())

    def __len__(self) -> int:
        return len(self.times)

    def clear(self) -> None:
        self.times.clear()
        self.values.clear()

    async def wait_for(self, n: int, timeout_cycles: int = 100_000) -> None:
        """Wait until the signal has been seen ``n`` times."""
        for _ in range(timeout_cycles):
            if len(self) >= n:
                return
            await RisingEdge(self._clk)
        names = ", ".join(signal._name for signal in self._signals)
        raise AssertionError(f"{names}: expected {n} times, found {len(self)}")

    async def _run(self) -> None:
        while True:
            await RisingEdge(self._clk)
            self.cycle += 1
            values = [int(signal.value) for signal in self._signals]
            if all(values):
                self.times.append(self.cycle)
                self.values.append(values[0])


class Memory:
    """An activation memory: words of ``row_align`` elements, int64 [elements] in ``data``. What is
    written may be a part of a word; then the mask says which.

    Args:
        dut: has the ports ``NAME_rd_*`` and ``NAME_wr_*``, or one of the two.
        name: of the memory.
        build: gives the sizes.
        ready: pattern of ``NAME_wr_ready_i``, where the port has one.
    """

    def __init__(
        self, dut: SimHandleBase, name: str, build: isa.Build, ready: Pattern = always
    ) -> None:
        self.bits = isa.SPACES[name].bits
        self.align = build.row_align
        self.data = np.zeros(build.spaces[name], np.int64)
        self.writes = 0
        self._clk, self._rst = dut.clk_i, dut.rst_i
        self._ports = {
            port: getattr(dut, f"{name}_{port}")
            for port in (
                *("rd_en_o", "rd_addr_o", "rd_data_i"),
                *("wr_en_o", "wr_addr_o", "wr_mask_o", "wr_data_o", "wr_ready_i"),
            )
            if hasattr(dut, f"{name}_{port}")
        }
        if "wr_ready_i" in self._ports:
            self._ports["wr_ready_i"].value = 0
        if "rd_en_o" in self._ports:
            cocotb.start_soon(self._read())
        if "wr_en_o" in self._ports:
            cocotb.start_soon(self._write(ready()))

    def row(self, start: int, n: int) -> np.ndarray:
        """Elements from ``start`` on; a view."""
        return self.data[start : start + n]

    async def _read(self) -> None:
        """Data come two cycles after the address, and only then."""
        enable, address, data = (self._ports[p] for p in ("rd_en_o", "rd_addr_o", "rd_data_i"))
        pending: int | None = None
        while True:
            await RisingEdge(self._clk)
            data.value = random.getrandbits(len(data)) if pending is None else pending
            pending = None
            if enable.value:
                start = int(address.value) * self.align
                pending = pack(self.row(start, self.align).tolist(), self.bits)

    async def _write(self, ready: object) -> None:
        waiting = None
        can_write = True
        handshake = self._ports.get("wr_ready_i")
        while True:
            await RisingEdge(self._clk)
            if self._rst.value:
                waiting = None
            elif self._ports["wr_en_o"].value:
                word = tuple(
                    int(self._ports[p].value) for p in ("wr_addr_o", "wr_mask_o", "wr_data_o")
                )
                if waiting is not None:
                    assert word == waiting, f"{self._ports['wr_en_o']._name}: changed while waiting"
                waiting = None if can_write else word
                if can_write:
                    self._store(*word)
            if handshake is not None:
                can_write = next(ready)
                handshake.value = can_write

    def _store(self, address: int, mask: int, word: int) -> None:
        lanes = len(self._ports["wr_data_o"]) // self.bits
        values = unpack(word, self.bits, lanes)
        for i in range(self.align):
            if mask >> i & 1:
                self.data[address * self.align + i] = values[i % lanes]
        self.writes += 1
