"""What the registers of a netlist drive, and the rules for it.

A net that ends at many block RAMs or DSP48E2 is as long as the area they take, wherever it begins:
their columns are far apart. So a register may drive so many pins and no more; what has more sinks
needs a tree of registers. And between the block RAMs and the DSP48E2 there is a register behind the
LUTs, as neither end can move.

Units are analysed one by one, from the innermost outwards. Nets at their ports are handed on, so
that a net counts with all its sinks, whatever unit they are in.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass, field
from functools import cached_property

from rtl.synth import floorplan

# A register drives at most so many pins of block RAM and DSP48E2, and so many of anything.
MAX_BLOCK_PINS = 64
MAX_PINS = 512

BLOCK_RAM = ("RAMB36E2", "RAMB18E2")
DSP = "DSP48E2"
REGISTERS = ("FDRE", "FDSE", "FDCE", "FDPE")
_CLOCK = re.compile(r"C|CLK\w*|WCLK")
# What a signal passes without a clock; of distributed RAM the address.
_COMBINATIONAL = re.compile(r"LUT\d|INV|MUXF\d|CARRY\d|RAM\d+[XM]\w+")

Bit = int
Port = tuple[str, int]  # name and index


@dataclass(frozen=True)
class Load:
    """Sinks of a net.

    Attributes:
        pins: all of them.
        block_pins: those of block RAM and DSP48E2.
        rams, dsps: block RAMs and DSP48E2 that they belong to.
        rams_behind, dsps_behind: those that sinks drive which are registers. A register lies among
            what it drives.
    """

    pins: int = 0
    block_pins: int = 0
    rams: int = 0
    dsps: int = 0
    rams_behind: int = 0
    dsps_behind: int = 0

    @property
    def span(self) -> float:
        """How far the sinks are, in slices."""
        return floorplan.span(self.rams + self.rams_behind, self.dsps + self.dsps_behind)


@dataclass(frozen=True)
class Net:
    """A net of a unit, with what it drives in the units inside.

    Attributes:
        name: of its register or other driver; empty if it comes from outside.
        driver: the driver's type, such as FDRE; empty if it comes from outside.
        load: its sinks.
        is_clock: it clocks something.
        ports: bits of the unit's ports that it is connected to.
    """

    name: str
    driver: str
    load: Load
    is_clock: bool
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True)
class DirectPath:
    """A path from block RAM through LUTs to a DSP48E2, without a register behind the LUTs."""

    source: str
    destination: str


@dataclass
class Wires:
    """Nets of a unit.

    Attributes:
        broken: the nets that lie in the unit and break a rule.
        most: the registers' nets in the unit with most block pins, and with most pins.
        boundary: the nets at its ports.
        direct: paths from block RAM to DSP48E2 without a register.
        from_ram: outputs that block RAM drives: how, and the name of the RAM.
        to_dsp: inputs that drive a DSP48E2: how, and its name.
        through: how outputs depend on inputs without a register, by output and input.

    "How" is whether there is a LUT on the way.
    """

    broken: list[Net] = field(default_factory=list)
    most: list[Net] = field(default_factory=list)
    boundary: list[Net] = field(default_factory=list)
    direct: list[DirectPath] = field(default_factory=list)
    from_ram: dict[Port, tuple[bool, str]] = field(default_factory=dict)
    to_dsp: dict[Port, tuple[bool, str]] = field(default_factory=dict)
    through: dict[str, dict[str, bool]] = field(default_factory=dict)

    def load(self, port: str, index: int) -> Load:
        """What a bit of an input drives inside."""
        return self._loads.get((port, index), Load())

    @cached_property
    def _loads(self) -> dict[Port, Load]:
        return {port: net.load for net in self.boundary for port in net.ports}


def breaks(net: Net) -> bool:
    """Whether a net breaks a rule: a register with too many sinks."""
    return (
        net.driver in REGISTERS
        and not net.is_clock
        and (net.load.block_pins > MAX_BLOCK_PINS or net.load.pins > MAX_PINS)
    )


def failures(name: str, wires: Wires, is_top: bool) -> Iterator[str]:
    """A line for each thing in a unit that breaks a rule; bits of a vector count as one.

    Args:
        name: of the unit.
        wires: of the unit.
        is_top: nothing is around it, so that the nets at its ports are complete.
    """
    broken = wires.broken + [net for net in wires.boundary if is_top and breaks(net)]
    for net in {_vector(net.name): net for net in broken}.values():
        yield (
            f"{name}: {net.name} drives {net.load.block_pins} pins of block RAM and DSP48E2 (at"
            f" most {MAX_BLOCK_PINS}) and {net.load.pins} in all (at most {MAX_PINS}): give it a"
            " tree of registers"
        )
    ends = Counter((_vector(path.source), _vector(path.destination)) for path in wires.direct)
    for (source, destination), n in sorted(ends.items()):
        yield (
            f"{name}: {n} paths from block RAM {source} through LUTs to DSP48E2 {destination}:"
            " put a register behind the LUTs"
        )


def _vector(name: str) -> str:
    return re.sub(r"\[\d+\]", "[]", name)


class _Union:
    """Bits that are the same net."""

    def __init__(self) -> None:
        self._parent: dict[Bit, Bit] = {}

    def root(self, bit: Bit) -> Bit:
        while (parent := self._parent.get(bit, bit)) != bit:
            self._parent[bit] = bit = self._parent.get(parent, parent)
        return bit

    def join(self, bits: Iterable[Bit]) -> None:
        first, *others = map(self.root, bits)
        for other in others:
            self._parent[self.root(other)] = self.root(first)


def pins_of(cell: Mapping) -> Iterator[tuple[str, int, Bit]]:
    """(port, index, bit) of the connections that are no constants."""
    for port, bits in cell["connections"].items():
        for i, bit in enumerate(bits):
            if isinstance(bit, int):
                yield port, i, bit


def analyse(
    module: Mapping, units: Mapping[str, Wires], names: Mapping[Bit, str]
) -> tuple[Wires, dict[Bit, Load]]:
    """Nets of a netlist.

    Args:
        module: of the JSON that Yosys writes.
        units: wires of the modules that are used in it, by name.
        names: of bits.

    Returns:
        What is known of the unit, and for each bit all sinks of its net in it and the units inside.
    """
    union = _Union()
    for cell in module["cells"].values():
        for net in units[cell["type"]].boundary if cell["type"] in units else ():
            bits = [bit for port in net.ports if (bit := _bit(cell, *port)) is not None]
            if bits:
                union.join(bits)

    loads: defaultdict[Bit, list[int]] = defaultdict(lambda: [0] * len(astuple(Load())))
    drivers: dict[Bit, tuple[str, str]] = {}
    clocks: set[Bit] = set()
    rams = {
        bit: instance
        for instance, cell in module["cells"].items()
        if cell["type"] in BLOCK_RAM
        for port, _, bit in pins_of(cell)
        if "DOUT" in port
    }
    shared: set[tuple[str, str, Bit]] = set()

    def add(bit: Bit, *counts: int) -> None:
        load = loads[union.root(bit)]
        for i, n in enumerate(counts):
            load[i] += n

    for instance, cell in module["cells"].items():
        kind = cell["type"]
        if kind in units:
            for net in units[kind].boundary:
                for port in net.ports:
                    if (bit := _bit(cell, *port)) is not None:
                        add(bit, *astuple(net.load))
                        if net.driver:
                            drivers[union.root(bit)] = f"{instance}.{net.name}", net.driver
                        if net.is_clock:
                            clocks.add(union.root(bit))
                        break  # its ports are one net
            continue
        is_ram, is_dsp = kind in BLOCK_RAM, kind == DSP
        # The output register of block RAM lies in it: all its bits share the pins of the RAM.
        ram = rams.get(cell["connections"]["D"][0]) if kind in REGISTERS else None
        seen: set[Bit] = set()
        for port, _, bit in pins_of(cell):
            if cell["port_directions"][port] == "output":
                drivers[union.root(bit)] = names.get(bit, instance), kind
                continue
            if _CLOCK.fullmatch(port):
                clocks.add(union.root(bit))
            elif ram:
                if port != "D" and (ram, port, bit) not in shared:
                    shared.add((ram, port, bit))
                    add(bit, 1, 1, 1)
            else:
                new = (is_ram or is_dsp) and bit not in seen
                seen.add(bit)
                add(bit, 1, is_ram or is_dsp, is_ram and new, is_dsp and new)
    direct = {root: tuple(load) for root, load in loads.items()}
    for cell in module["cells"].values():
        if cell["type"] in REGISTERS:
            d, q = _bit(cell, "D", 0), _bit(cell, "Q", 0)
            if d is not None and q is not None and union.root(q) in direct:
                rams_behind, dsps_behind = direct[union.root(q)][2:4]
                add(d, 0, 0, 0, 0, rams_behind, dsps_behind)

    ports: defaultdict[Bit, list[Port]] = defaultdict(list)
    for name, port in module["ports"].items():
        for i, bit in enumerate(port["bits"]):
            if isinstance(bit, int):
                ports[union.root(bit)].append((name, i))

    wires = Wires()
    inner = []
    for root in loads.keys() | drivers.keys() | ports.keys():
        name, driver = drivers.get(root, ("", ""))
        net = Net(name, driver, Load(*loads[root]), root in clocks, tuple(ports.get(root, ())))
        (wires.boundary if net.ports else inner).append(net)
    wires.boundary.sort(key=lambda net: net.ports)
    wires.broken = sorted((net for net in inner if breaks(net)), key=lambda net: net.name)
    registers = [net for net in inner if net.driver in REGISTERS and not net.is_clock]
    for key in (lambda net: net.load.block_pins, lambda net: net.load.pins):
        if registers:
            wires.most.append(max(registers, key=key))
    _paths(module, units, names, wires)
    bits = {bit for cell in module["cells"].values() for _, _, bit in pins_of(cell)}
    return wires, {bit: Load(*loads[union.root(bit)]) for bit in bits}


def _bit(cell: Mapping, port: str, index: int) -> Bit | None:
    bits = cell["connections"].get(port, ())
    return bits[index] if index < len(bits) and isinstance(bits[index], int) else None


def _paths(
    module: Mapping, units: Mapping[str, Wires], names: Mapping[Bit, str], wires: Wires
) -> None:
    """Combinational paths from block RAM to DSP48E2, and from and to ports."""
    # By a bit: where it goes without a register, and whether that is a LUT.
    arcs: defaultdict[Bit, list[tuple[Bit, bool]]] = defaultdict(list)
    backward: defaultdict[Bit, list[tuple[Bit, bool]]] = defaultdict(list)
    starts: dict[Bit, tuple[bool, str]] = {}
    ends: defaultdict[Bit, list[tuple[bool, str]]] = defaultdict(list)
    registers: list[tuple[Bit, Bit]] = []

    def arc(source: Bit, to: Bit, by_lut: bool) -> None:
        arcs[source].append((to, by_lut))
        backward[to].append((source, by_lut))

    for instance, cell in module["cells"].items():
        kind = cell["type"]
        if kind in units:
            unit = units[kind]
            for port, (by_lut, name) in unit.from_ram.items():
                if (bit := _bit(cell, *port)) is not None:
                    starts[bit] = by_lut, f"{instance}.{name}"
            for port, (by_lut, name) in unit.to_dsp.items():
                if (bit := _bit(cell, *port)) is not None:
                    ends[bit].append((by_lut, f"{instance}.{name}"))
            for output, inputs in unit.through.items():
                for i in range(len(cell["connections"].get(output, ()))):
                    to = _bit(cell, output, i)
                    for name, by_lut in inputs.items() if to is not None else ():
                        for source in cell["connections"].get(name, ()):
                            if isinstance(source, int):
                                arc(source, to, by_lut)
            continue
        is_output = cell["port_directions"]
        pins = list(pins_of(cell))
        if kind in BLOCK_RAM:
            starts |= {bit: (False, names.get(bit, instance)) for p, _, bit in pins if "DOUT" in p}
        elif kind == DSP:
            for port, _, bit in pins:
                if port in ("A", "B", "C", "D"):
                    ends[bit].append((False, instance))
        elif kind in REGISTERS:
            d, q = cell["connections"].get("D", [None]), cell["connections"].get("Q", [None])
            if isinstance(d[0], int) and isinstance(q[0], int):
                registers.append((d[0], q[0]))
        elif _COMBINATIONAL.fullmatch(kind):
            outputs = [bit for port, _, bit in pins if is_output[port] == "output"]
            for port, _, source in pins:
                if is_output[port] != "output" and not _CLOCK.fullmatch(port):
                    for to in outputs:
                        arc(source, to, kind != "INV")
    # The output register of block RAM lies in it.
    outputs = {bit for bit, (by_lut, _) in starts.items() if not by_lut}
    for d, q in registers:
        if d in outputs:
            starts[q] = False, names.get(q, starts[d][1])

    reached = _spread(starts, arcs)
    for bit, sinks in ends.items():
        if bit in reached:
            lut_before, source = reached[bit]
            for by_lut, name in sinks:
                if by_lut or lut_before:
                    wires.direct.append(DirectPath(source, name))

    first = {bit: max(sinks) for bit, sinks in ends.items()}
    needed = _spread(first, backward)
    for name, port in module["ports"].items():
        is_output = port["direction"] == "output"
        for i, bit in enumerate(port["bits"]):
            if isinstance(bit, int):
                if is_output and bit in reached:
                    wires.from_ram[name, i] = reached[bit]
                elif not is_output and bit in needed:
                    wires.to_dsp[name, i] = needed[bit]
        if not is_output:
            inputs = {bit: (False, name) for bit in port["bits"] if isinstance(bit, int)}
            found = _spread(inputs, arcs)
            for output, other in module["ports"].items():
                how = [found[bit][0] for bit in other["bits"] if bit in found]
                if other["direction"] == "output" and how:
                    wires.through.setdefault(output, {})[name] = any(how)


def _spread(
    starts: Mapping[Bit, tuple[bool, str]], arcs: Mapping[Bit, list[tuple[Bit, bool]]]
) -> dict[Bit, tuple[bool, str]]:
    """All bits that are reached: whether through a LUT, and the name of where it began."""
    reached = dict(starts)
    waiting = list(starts)
    while waiting:
        bit = waiting.pop()
        by_lut, name = reached[bit]
        for to, is_lut in arcs.get(bit, ()):
            new = by_lut or is_lut
            if to not in reached or (new and not reached[to][0]):
                reached[to] = new, name
                waiting.append(to)
    return reached
