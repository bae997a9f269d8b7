"""Static timing of a netlist of Yosys, with estimated delays.

There is no place and route for UltraScale+ without Vivado, so that this is an estimate: delays of
cells are rounded up from those that Vivado reports for this family and speed grade. The delay of a
net depends on its fan-out, and on how far the block RAMs and DSP48E2 are apart that it drives. It
serves to find the paths that are too long, not to close timing.

Units are analysed one by one, from the innermost outwards; of each there remain its paths and what
the unit around it has to know: how long its outputs take, how long before the clock edge its
inputs are needed, and combinational paths from inputs to outputs.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import log2

from rtl.synth.wires import Load, Wires, pins_of

# Nanoseconds, UltraScale+ at 0.85 V, speed grade -2.
CLOCK_TO_Q = 0.08
SETUP = 0.03  # data of a register
SETUP_CONTROL = 0.06  # its enable and reset
LUT = 0.10  # 0.04 to 0.15, by input
WIDE_MUX = 0.06  # MUXF7 and so on
CARRY_IN = 0.13  # from a LUT to the carry
CARRY_PASS = 0.01  # four bits; 0.015 for CARRY8
CARRY_OUT = 0.08  # from the carry, or a LUT, to the sum
SHIFT_CLOCK_TO_Q = 0.40  # SRL16E and SRLC32E
LUTRAM_CLOCK_TO_Q = 0.55
LUTRAM_SETUP = 0.12
# UG949, "Optimizing Paths with Dedicated Blocks and Macro Primitives".
BRAM_CLOCK_TO_Q = 1.50
BRAM_CLOCK_TO_Q_REGISTERED = 0.40
BRAM_SETUP = 0.30
# DSP48E2, stage by stage.
DSP_CLOCK_TO_Q = 0.20  # of A, B, C, D, AD and M inside
DSP_PRE_ADDER = 0.55
DSP_MULTIPLIER = 0.70
DSP_ADDER = 0.65
DSP_OUTPUT = 0.15  # P and PCOUT, from register or adder
DSP_SETUP = 0.25  # at an input register; at M and P it is in the stages' delays

# A net inside a slice or column: LUT to register, carry or wide multiplexer; carry to carry; DSP
# cascades.
NET_LOCAL = 0.03
NET = 0.25  # any other
NET_FAN_OUT = 0.10  # and this for each doubling of the fan-out
# And for each slice between the driver and block RAM or DSP48E2: a clock region in 0.6 ns, a guess
# on the safe side.
NET_SLICE = 0.01


def net_delay(load: Load) -> float:
    """Delay in ns of a net with these sinks, that leaves its slice."""
    return NET + NET_FAN_OUT * log2(1 + load.pins) + NET_SLICE * load.span


@dataclass(frozen=True, order=True)
class Arrival:
    """The longest path to or from a pin: delay in ns, cells, register at its other end."""

    delay: float
    levels: int
    register: str

    def later(self, delay: float, instance: str = "") -> Arrival:
        """``delay`` ns longer, and seen from outside of the ``instance``."""
        name = f"{instance}.{self.register}" if instance else self.register
        return Arrival(self.delay + delay, self.levels, name)


@dataclass(frozen=True, order=True)
class Path:
    """A path between registers: delay in ns, cells between them, their names."""

    delay: float
    levels: int
    source: str
    destination: str


@dataclass
class Timing:
    """Timing of a unit.

    Attributes:
        paths: the longest ones, one for each pair of registers (vectors count as one).
        outputs: for each bit of an output the path that ends there, or None.
        inputs: for each bit of an input the path that begins there, or None.
        through: delay and cells from an input to an output, by output and input.
    """

    paths: list[Path] = field(default_factory=list)
    outputs: dict[str, list[Arrival | None]] = field(default_factory=dict)
    inputs: dict[str, list[Arrival | None]] = field(default_factory=dict)
    through: dict[str, dict[str, tuple[float, int]]] = field(default_factory=dict)


# A number of Yosys, or the name of a cell for what lies inside it.
Bit = int | str


@dataclass
class _Graph:
    """Bits of nets, and the cells between them.

    Attributes:
        arcs: by output bit: (input bit, delay of net and cell, cells).
        starts: bits that registers or units drive.
        ends: (bit, delay of net and setup, cells, register).
    """

    arcs: defaultdict[Bit, list[tuple[Bit, float, int]]]
    starts: dict[Bit, Arrival]
    ends: list[tuple[Bit, float, int, str]]


# Kinds of sinks, by which a net is local.
_FD = ("FDRE", "FDSE", "FDCE", "FDPE")
_CARRY = ("CARRY4", "CARRY8")
_MUX = ("MUXF7", "MUXF8", "MUXF9")
_SHIFT = ("SRL16E", "SRLC32E")
# Drivers that lie in a slice, beside a register.
_SLICE = ("LUT", "CARRY", "MUX", "RAM3", "RAM6", "RAM1", "RAM2")


def analyse(
    module: Mapping,
    units: Mapping[str, Timing],
    wires: Mapping[str, Wires],
    loads: Mapping[int, Load],
    n_paths: int = 50,
) -> Timing:
    """Timing of a flat netlist.

    Args:
        module: of the JSON that Yosys writes.
        units, wires: of the modules that are used in it, by name.
        loads: of its bits, with their sinks in these modules.
        n_paths: so many paths are kept.

    Raises:
        ValueError: a cell is not known.
    """
    graph = _graph(module, units, wires, loads)
    order = _order(graph)

    arrivals: dict[int, Arrival] = {}
    for bit in order:
        best = graph.starts.get(bit)
        for source, delay, levels in graph.arcs.get(bit, ()):
            before = arrivals.get(source)
            if before and (best is None or before.delay + delay > best.delay):
                best = Arrival(before.delay + delay, before.levels + levels, before.register)
        if best:
            arrivals[bit] = best

    longest: dict[tuple[str, str], Path] = {}
    for bit, delay, levels, register in graph.ends:
        if before := arrivals.get(bit):
            path = Path(before.delay + delay, before.levels + levels, before.register, register)
            key = _vector(path.source), _vector(path.destination)
            longest[key] = max(longest.get(key, path), path)
    result = Timing(sorted(longest.values(), reverse=True)[:n_paths])

    needed = _needed(graph, order)
    ports = module["ports"].items()
    for name, port in ports:
        if port["direction"] == "input":
            result.inputs[name] = [needed.get(bit) for bit in port["bits"]]
        else:
            result.outputs[name] = [arrivals.get(bit) for bit in port["bits"]]
    result.through = _through(module, graph, order)
    return result


def _vector(name: str) -> str:
    return re.sub(r"\[\d+\]", "[]", name)


def names(module: Mapping) -> dict[int, str]:
    """The best name of each bit: that of a register of the RTL, or else a short one."""

    def rank(name: str, hidden: int) -> tuple:
        return hidden, not name.endswith("_q"), name.count("."), len(name)

    best: dict[int, tuple] = {}
    for name, net in module["netnames"].items():
        key = rank(name, net["hide_name"])
        for i, bit in enumerate(net["bits"]):
            if isinstance(bit, int) and (bit not in best or key < best[bit][0]):
                best[bit] = key, f"{name}[{i}]" if len(net["bits"]) > 1 else name
    return {bit: name for bit, (_, name) in best.items()}


def _graph(
    module: Mapping,
    units: Mapping[str, Timing],
    wires: Mapping[str, Wires],
    loads: Mapping[int, Load],
) -> _Graph:
    driver: dict[int, str] = {}
    for cell in module["cells"].values():
        for port, _, bit in pins_of(cell):
            if cell["port_directions"][port] == "output":
                driver[bit] = cell["type"]

    def net(bit: int, kind: str, port: str) -> float:
        """Delay from the driver of a net to an input."""
        source = driver.get(bit, "")
        if kind in _CARRY and port == "CI":
            return 0.0
        if kind in _CARRY and port in ("S", "DI") and source.startswith("LUT"):
            return NET_LOCAL
        if kind in _MUX and port in ("I0", "I1"):
            return NET_LOCAL
        if kind in _FD and port == "D" and loads[bit].pins == 1 and source.startswith(_SLICE):
            return NET_LOCAL
        if kind == "DSP48E2" and port in ("PCIN", "ACIN", "BCIN"):
            return NET_LOCAL
        return net_delay(loads[bit])

    bit_names = names(module)
    graph = _Graph(defaultdict(list), {}, [])
    for name, cell in module["cells"].items():
        kind = cell["type"]
        if kind in units:
            _unit_cell(graph, name, cell, units[kind], wires[kind], loads)
        else:
            _primitive(graph, name, cell, net, bit_names)
    return graph


def _unit_cell(
    graph: _Graph,
    name: str,
    cell: Mapping,
    unit: Timing,
    wires: Wires,
    loads: Mapping[int, Load],
) -> None:
    """A unit inside: its own timing knows only those sinks of a net that are in it."""
    connections = cell["connections"]

    def outside(port: str, index: int, bit: int) -> float:
        """What the other sinks add to the delay of a net that enters the unit."""
        return net_delay(loads[bit]) - net_delay(wires.load(port, index))

    for port, paths in unit.outputs.items():
        for i, path in enumerate(paths):
            bit = connections[port][i] if port in connections else None
            if not isinstance(bit, int):
                continue
            if path:
                graph.starts[bit] = path.later(0.0, name)
            for source_port, (delay, levels) in unit.through.get(port, {}).items():
                for j, source in enumerate(connections.get(source_port, ())):
                    if isinstance(source, int):
                        added = outside(source_port, j, source)
                        graph.arcs[bit].append((source, delay + added, levels))
    for port, paths in unit.inputs.items():
        for i, path in enumerate(paths):
            bit = connections[port][i] if port in connections else None
            if isinstance(bit, int) and path:
                path = path.later(outside(port, i, bit), name)
                graph.ends.append((bit, path.delay, path.levels, path.register))


def _primitive(graph: _Graph, name: str, cell: Mapping, net, names: Mapping[int, str]) -> None:
    kind = cell["type"]
    pins = _Pins(graph, name, kind, net)
    for pin in pins_of(cell):
        is_output = cell["port_directions"][pin[0]] == "output"
        (pins.outputs if is_output else pins.inputs).append(pin)

    if kind.startswith("LUT"):
        pins.arcs(LUT)
    elif kind == "INV":  # moves into the LUT behind it
        pins.arcs(0.0, levels=0)
    elif kind in _MUX:
        pins.arcs(WIDE_MUX, levels=0)
    elif kind in _CARRY:
        _carry(pins)
    elif kind in _FD:
        if pins.outputs:
            pins.name = names[pins.outputs[0][2]]
            pins.start(CLOCK_TO_Q)
            pins.end("D", SETUP)
            pins.end("(CE|R|S|CLR|PRE)", SETUP_CONTROL)
    elif kind in _SHIFT:
        pins.name = names[pins.outputs[0][2]]
        pins.start(SHIFT_CLOCK_TO_Q)
        pins.arcs(LUT, r"A\d*")
        pins.end("D|CE", LUTRAM_SETUP)
    elif kind.startswith("RAMB"):
        registered = _parameter(cell, "DOA_REG") or _parameter(cell, "DOB_REG")
        pins.start(BRAM_CLOCK_TO_Q_REGISTERED if registered else BRAM_CLOCK_TO_Q)
        pins.end("(?!CLK).*", BRAM_SETUP)
    elif kind.startswith("RAM"):
        pins.start(LUTRAM_CLOCK_TO_Q)
        for port in "ABCDEFGH":
            pins.arcs(LUT, f"ADDR{port}", f"DO{port}")
        pins.arcs(LUT, r"DPRA\d*", "DPO")
        pins.arcs(LUT, r"A\d*", "SPO|O")
        pins.end(r"(?!CLK|WCLK|DPRA).*", LUTRAM_SETUP)
    elif kind == "DSP48E2":
        _dsp(pins, cell)
    elif kind not in ("GND", "VCC", "$scopeinfo"):
        raise ValueError(f"{name}: cell {kind} has no timing")


@dataclass
class _Pins:
    """Pins of a cell as (port, index, bit), and what is added to the graph for them."""

    graph: _Graph
    name: str
    kind: str
    net: Callable[[int, str, str], float]
    inputs: list[tuple[str, int, int]] = field(default_factory=list)
    outputs: list[tuple[str, int, int]] = field(default_factory=list)

    def arc(self, pin: tuple[str, int, int], to: int, delay: float, levels: int = 1) -> None:
        port, _, bit = pin
        self.graph.arcs[to].append((bit, self.net(bit, self.kind, port) + delay, levels))

    def arcs(self, delay: float, sources: str = ".*", to: str = ".*", levels: int = 1) -> None:
        """Arcs from all inputs to all outputs whose ports match."""
        for pin in self.inputs:
            if re.fullmatch(sources, pin[0]):
                for port, _, bit in self.outputs:
                    if re.fullmatch(to, port):
                        self.arc(pin, bit, delay, levels)

    def start(self, delay: float) -> None:
        """The outputs begin at registers of the cell."""
        for _, _, bit in self.outputs:
            self.graph.starts[bit] = Arrival(delay, 0, self.name)

    def end(self, ports: str, setup: float) -> None:
        """The inputs whose ports match end at registers of the cell."""
        for port, _, bit in self.inputs:
            if re.fullmatch(ports, port):
                delay = self.net(bit, self.kind, port) + setup
                self.graph.ends.append((bit, delay, 0, self.name))

    def inside(self, delay: float) -> None:
        """A path between two registers of the cell."""
        self.graph.starts[self.name] = max(
            self.graph.starts.get(self.name, Arrival(0.0, 1, self.name)),
            Arrival(delay, 1, self.name),
        )
        self.graph.ends.append((self.name, 0.0, 0, self.name))


def _carry(pins: _Pins) -> None:
    for pin in pins.inputs:
        port, first, _ = pin
        by_lut = port in ("S", "DI")
        enter = CARRY_PASS if port == "CI" else CARRY_IN
        for out, i, bit in pins.outputs:
            if out == "CO" and i >= (first if by_lut else 0):
                pins.arc(pin, bit, enter, levels=port != "CI")
            elif out == "O" and port == "S" and i == first:
                pins.arc(pin, bit, CARRY_OUT)
            elif out == "O" and i >= (first + 1 if by_lut else 0):
                pins.arc(pin, bit, enter + CARRY_OUT, levels=port != "CI")


def _parameter(cell: Mapping, name: str) -> int:
    value = cell["parameters"].get(name, "0")
    return int(value, 2) if isinstance(value, str) else value


def _dsp(pins: _Pins, cell: Mapping) -> None:
    """A DSP48E2: A, B, D -> pre-adder -> AD -> multiplier -> M -> adder (C, PCIN) -> P."""
    has = {name: _parameter(cell, f"{name}REG") for name in ("A", "B", "C", "D", "AD", "M", "P")}
    pre_adds = cell["parameters"].get("AMULTSEL") == "AD"

    def behind(delay: float, stage: str) -> tuple[float, bool]:
        """Delay to the next register at or behind a stage; False: there is none."""
        if stage == "pre-adder" and pre_adds:
            delay += DSP_PRE_ADDER
            if has["AD"]:
                return delay, True
        if stage in ("pre-adder", "multiplier"):
            delay += DSP_MULTIPLIER
            if has["M"]:
                return delay, True
        return delay + DSP_ADDER, bool(has["P"])

    # Where the inputs and the inner registers go.
    stages = {"A": "pre-adder", "D": "pre-adder", "B": "multiplier", "C": "adder"}
    for port, stage in (*stages.items(), ("PCIN", "adder")):
        if has.get(port):
            pins.end(port, DSP_SETUP)
            continue
        delay, registered = behind(0.0, stage)
        if registered:
            pins.end(port, delay)
        else:
            pins.arcs(delay + DSP_OUTPUT, port)
    if has["M"]:
        pins.end("RSTM", DSP_SETUP)
    last = 0.0
    for register, stage in {**stages, "AD": "multiplier", "M": "adder"}.items():
        if has[register]:
            delay, registered = behind(DSP_CLOCK_TO_Q, stage)
            if registered:
                pins.inside(delay)
            else:
                last = max(last, delay + DSP_OUTPUT)
    if has["P"]:
        pins.start(DSP_OUTPUT)
    elif last:
        pins.start(last)


def _order(graph: _Graph) -> list[int]:
    """Bits, each behind those that it depends on.

    Loops are cut. Yosys reports those of cells; others stem from paths through units, of which only
    the ports are known.
    """
    order: list[int] = []
    state: dict[int, bool] = {}  # False: being visited
    for root in [*graph.starts, *graph.arcs, *(end[0] for end in graph.ends)]:
        stack = [root]
        while stack:
            bit = stack[-1]
            if bit in state:
                stack.pop()
                if not state[bit]:
                    state[bit] = True
                    order.append(bit)
                continue
            state[bit] = False
            for source, _, _ in graph.arcs.get(bit, ()):
                if source not in state:
                    stack.append(source)
    return order


def _needed(graph: _Graph, order: list[int]) -> dict[int, Arrival]:
    """The longest path from each bit to a register."""
    needed: dict[int, Arrival] = {}

    def offer(bit: int, arrival: Arrival) -> None:
        if bit not in needed or arrival > needed[bit]:
            needed[bit] = arrival

    for bit, delay, levels, register in graph.ends:
        offer(bit, Arrival(delay, levels, register))
    for bit in reversed(order):
        if behind := needed.get(bit):
            for source, delay, levels in graph.arcs.get(bit, ()):
                offer(
                    source,
                    Arrival(behind.delay + delay, behind.levels + levels, behind.register),
                )
    return needed


def _through(
    module: Mapping, graph: _Graph, order: list[int]
) -> dict[str, dict[str, tuple[float, int]]]:
    """Combinational paths from inputs to outputs."""
    # Bits that lead to an output.
    ports = module["ports"].items()
    outputs = {bit for _, p in ports if p["direction"] == "output" for bit in p["bits"]}
    leads = {bit for bit in outputs if isinstance(bit, int)}
    for bit in reversed(order):
        if bit in leads:
            leads.update(source for source, _, _ in graph.arcs.get(bit, ()))
    delays: dict[int, dict[str, tuple[float, int]]] = defaultdict(dict)
    for name, port in ports:
        if port["direction"] == "input":
            for bit in port["bits"]:
                if bit in leads:
                    delays[bit][name] = (0.0, 0)
    for bit in order:
        if bit not in leads:
            continue
        for source, delay, levels in graph.arcs.get(bit, ()):
            for name, (before, n) in delays.get(source, {}).items():
                new = (before + delay, n + levels)
                delays[bit][name] = max(delays[bit].get(name, new), new)
    result: dict[str, dict[str, tuple[float, int]]] = {}
    for name, port in ports:
        if port["direction"] == "output":
            for bit in port["bits"]:
                for source, path in delays.get(bit, {}).items():
                    into = result.setdefault(name, {})
                    into[source] = max(into.get(source, path), path)
    return result
