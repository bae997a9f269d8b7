"""rtl.synth: paths and wires of small netlists, sizes of cells, instances of the same module."""

import json
import time

import pytest

from rtl.synth import __main__ as command
from rtl.synth import floorplan, hierarchy, report, synthesize, timing, wires, yosys
from rtl.synth.resources import AROUND, Resources, count, targets
from rtl.synth.timing import Timing
from rtl.synth.wires import Load, Wires


def net_delay(pins):
    return timing.net_delay(Load(pins))


def analyse(module, units):
    """Timing, without wires of the units."""
    inside = {name: Wires() for name in units}
    _, loads = wires.analyse(module, inside, timing.names(module))
    return timing.analyse(module, units, inside, loads)


def cell(kind, **pins):
    """A cell of Yosys' JSON; outputs are the pins O, Q, P, CO, PCOUT and DOUT."""
    outputs = {"O", "Q", "P", "CO", "PCOUT", "DOUT"}
    return {
        "type": kind,
        "parameters": {},
        "port_directions": {p: "output" if p in outputs else "input" for p in pins},
        "connections": {p: bits if isinstance(bits, list) else [bits] for p, bits in pins.items()},
    }


def module(cells, names, **ports):
    """A module; ports are (direction, bits)."""
    return {
        "cells": cells,
        "netnames": {n: {"hide_name": 0, "bits": bits} for n, bits in names.items()},
        "ports": {n: {"direction": d, "bits": bits} for n, (d, bits) in ports.items()},
    }


def test_path_between_registers():
    cells = {
        "a": cell("FDRE", C=1, D=10, CE="1", R="0", Q=2),
        "f": cell("LUT2", I0=2, I1=2, O=3),
        "g": cell("LUT1", I0=3, O=4),
        "b": cell("FDRE", C=1, D=4, CE="1", R="0", Q=5),
    }
    (path,) = analyse(module(cells, {"a_q": [2], "b_q": [5]}), {}).paths
    assert (path.source, path.destination, path.levels) == ("a_q", "b_q", 2)
    expected = timing.CLOCK_TO_Q + net_delay(2) + net_delay(1) + 2 * timing.LUT
    assert path.delay == pytest.approx(expected + timing.NET_LOCAL + timing.SETUP)


def test_vectors_count_as_one():
    cells = {"a": cell("FDRE", C=1, D=20, Q=2)}
    for i in range(4):
        cells[f"l{i}"] = cell("LUT1", I0=2, O=10 + i)
        cells[f"b{i}"] = cell("FDRE", C=1, D=10 + i, Q=30 + i)
    result = analyse(module(cells, {"a_q": [2], "b_q": [30, 31, 32, 33]}), {})
    assert len(result.paths) == 1


def test_ports():
    cells = {
        "f": cell("LUT2", I0=2, I1=6, O=3),
        "b": cell("FDRE", C=1, D=3, Q=6),
    }
    ports = {"x_i": ("input", [2]), "comb_o": ("output", [3]), "q_o": ("output", [6])}
    result = analyse(module(cells, {"b_q": [6]}, **ports), {})
    assert result.inputs["x_i"][0].register == "b_q"
    assert result.outputs["q_o"][0].delay == timing.CLOCK_TO_Q
    assert result.through == {"comb_o": {"x_i": (pytest.approx(net_delay(1) + timing.LUT), 1)}}


def test_path_through_a_unit():
    inner = Timing(
        outputs={"y": [timing.Arrival(1.0, 2, "r_q")]},
        inputs={"x": [timing.Arrival(0.5, 1, "s_q")]},
    )
    cells = {
        "u": cell("unit", x=2, P=3),
        "f": cell("LUT1", I0=3, O=2),
    }
    cells["u"]["connections"]["y"] = cells["u"]["connections"].pop("P")
    cells["u"]["port_directions"] = {"x": "input", "y": "output"}
    (path,) = analyse(module(cells, {"n": [2]}), {"unit": inner}).paths
    assert (path.source, path.destination, path.levels) == ("u.r_q", "u.s_q", 4)
    assert path.delay == pytest.approx(1.5 + net_delay(1) + timing.LUT)


def dsp(**registers):
    result = cell("DSP48E2", A=[2], B=[3], C=[4], PCIN=[5], P=[6], PCOUT=[7])
    result["parameters"] = {f"{r}REG": f"{n:b}" for r, n in registers.items()}
    return result


def test_dsp_registers():
    """With M and P inside, an input is a path to M; without registers it reaches the output."""
    cells = {"a": cell("FDRE", C=1, D=20, Q=2)}
    names = {"a_q": [2], "b_q": [9]}
    ends = {"b": cell("FDRE", C=1, D=6, Q=9)}
    to_dsp = timing.net_delay(Load(1, 1, dsps=1))
    full = analyse(module(cells | {"d": dsp(M=1, P=1)}, names), {}).paths
    delays = {(p.source, p.destination): p.delay for p in full}
    assert delays["a_q", "d"] == pytest.approx(timing.CLOCK_TO_Q + to_dsp + timing.DSP_MULTIPLIER)
    assert delays["d", "d"] == pytest.approx(timing.DSP_CLOCK_TO_Q + timing.DSP_ADDER)
    bare = analyse(module(cells | {"d": dsp()} | ends, names), {}).paths
    inside = timing.DSP_MULTIPLIER + timing.DSP_ADDER + timing.DSP_OUTPUT
    expected = timing.CLOCK_TO_Q + to_dsp + net_delay(1) + inside + timing.SETUP
    assert bare[0].delay == pytest.approx(expected)


def wires_of(cells, names=None, units=None, **ports):
    netlist = module(cells, names or {}, **ports)
    return wires.analyse(netlist, units or {}, timing.names(netlist))


def registers(n, d, first):
    """Registers behind a bit."""
    return {f"r{first + i}": cell("FDRE", C=1, D=d, Q=first + i) for i in range(n)}


def memories(n, address):
    return {f"m{i}": cell("RAMB36E2", ADDRARDADDR=address, CLKARDCLK=1) for i in range(n)}


def test_pins_of_block_ram_are_counted():
    """A register at the limit, and one beyond it; its clock drives more."""
    source = {"a": cell("FDRE", C=1, D=9, Q=2)}
    for n, broken in ((wires.MAX_BLOCK_PINS, []), (wires.MAX_BLOCK_PINS + 1, ["a_q"])):
        found, loads = wires_of(source | memories(n, 2), {"a_q": [2]})
        assert [net.name for net in found.broken] == broken
        assert loads[2] == Load(pins=n, block_pins=n, rams=n)
    (line,) = wires.failures("unit", found, True)
    assert line.startswith("unit: a_q drives 65 pins of block RAM and DSP48E2 (at most 64)")


def test_all_pins_are_counted():
    source = {"a": cell("FDRE", C=1, D=9, Q=2)}
    assert not wires_of(source | registers(wires.MAX_PINS, 2, 100))[0].broken
    assert wires_of(source | registers(wires.MAX_PINS + 1, 2, 100))[0].broken
    # What a LUT drives is not the register's.
    behind = {"l": cell("LUT1", I0=2, O=3)} | registers(wires.MAX_PINS + 1, 3, 100)
    assert not wires_of(source | behind)[0].broken


def test_nets_count_across_units():
    """A register in one unit, its sinks in three others, one of which hands the net on."""
    driver, _ = wires_of({"a": cell("FDRE", C=1, D=9, Q=2)}, {"a_q": [2]}, q_o=("output", [2]))
    sinks, _ = wires_of(memories(30, 2), a_i=("input", [2]), a_o=("output", [2]))
    cells = {
        "u_a": unit("driver", q_o=3),
        "u_b": unit("sinks", a_i=3, a_o=4),
        "u_c": unit("sinks", a_i=4),
    }
    inside = {"driver": driver, "sinks": sinks}
    assert not wires_of(cells, units=inside)[0].broken
    found, loads = wires_of(cells | {"u_d": unit("sinks", a_i=3)}, units=inside)
    (net,) = found.broken
    assert (net.name, net.load) == ("u_a.a_q", Load(90, 90, 90))
    assert loads[3] == loads[4] == net.load
    # At the port of a unit a net may go on; the top's are complete.
    found, _ = wires_of(cells | {"u_d": unit("sinks", a_i=3)}, units=inside, o=("output", [3]))
    assert not list(wires.failures("unit", found, False))
    assert len(list(wires.failures("top", found, True))) == 1


def unit(kind, **pins):
    return cell(kind, **pins) | {"port_directions": dict.fromkeys(pins, "input")}


def test_the_output_register_is_the_memorys():
    """Its reset counts once for each block RAM, not for each bit."""
    cells = {"a": cell("FDRE", C=1, D=9, Q=2)}
    for m in range(3):
        bits = [100 + 10 * m + i for i in range(10)]
        cells[f"m{m}"] = cell("RAMB36E2", DOUT=bits, CLKARDCLK=1)
        for bit in bits:
            cells[f"r{bit}"] = cell("FDRE", C=1, D=bit, R=2, Q=bit + 1000)
    assert wires_of(cells)[1][2] == Load(pins=3, block_pins=3, rams=3)


def test_span():
    """A register lies among what it drives: the net to it is as long."""
    cells = {"a": cell("FDRE", C=1, D=9, Q=2), "b": cell("FDRE", C=1, D=2, Q=3)}
    _, loads = wires_of(cells | memories(40, 3))
    assert loads[2] == Load(pins=1, rams_behind=40)
    assert loads[2].span == loads[3].span == floorplan.span(40, 0)
    assert floorplan.span(912, 0) ** 2 == pytest.approx(floorplan.SLICES)
    longer = timing.net_delay(loads[3]) - net_delay(40)
    assert longer == pytest.approx(timing.NET_SLICE * floorplan.span(40, 0))


def test_floorplan_is_the_device():
    below = [c for c in floorplan.RAM_COLUMNS if c < floorplan.PS_COLUMNS]
    rows = floorplan.ROWS * len(floorplan.RAM_COLUMNS) - floorplan.PS_ROWS * len(below)
    assert rows / floorplan.RAM_ROWS == 912
    below = [c for c in floorplan.DSP_COLUMNS if c < floorplan.PS_COLUMNS]
    rows = floorplan.ROWS * len(floorplan.DSP_COLUMNS) - floorplan.PS_ROWS * len(below)
    assert rows / floorplan.DSP_ROWS == 2520
    assert 8 * floorplan.SLICES == 274_080


def memory_to_dsp(*, by_lut, register_behind):
    """Block RAM, its output register, perhaps a LUT, perhaps a register, a DSP48E2."""
    cells = {
        "m": cell("RAMB36E2", DOUT=[10], CLKARDCLK=1),
        "o": cell("FDRE", C=1, D=10, Q=11),
        "l": cell("LUT2", I0=11, I1=50, O=12),
        "r": cell("FDRE", C=1, D=12 if by_lut else 11, Q=13),
    }
    bit = 13 if register_behind else 12 if by_lut else 11
    return cells | {"d": cell("DSP48E2", A=[bit], P=[20])}


def test_a_register_is_between_or_and_dsp():
    for by_lut in (False, True):
        for register_behind in (False, True):
            cells = memory_to_dsp(by_lut=by_lut, register_behind=register_behind)
            found, _ = wires_of(cells, {"out_q": [11]})
            lines = list(wires.failures("unit", found, True))
            assert len(lines) == (by_lut and not register_behind)
    cells = memory_to_dsp(by_lut=True, register_behind=False)
    (line,) = wires.failures("unit", wires_of(cells, {"out_q": [11]})[0], True)
    assert line.startswith("unit: 1 paths from block RAM out_q through LUTs to DSP48E2 d")


def test_the_path_is_found_across_units():
    """The RAM in one unit, the LUT in another or in none, the DSP48E2 in a third."""
    cells = memory_to_dsp(by_lut=False, register_behind=False)
    dsp = {"d": cells.pop("d")}
    del cells["l"], cells["r"]
    memory, _ = wires_of(cells, {"out_q": [11]}, o=("output", [11]))
    multiplier, _ = wires_of(dsp, i=("input", [11]))
    lut, _ = wires_of({"l": cell("LUT2", I0=2, I1=3, O=4)}, i=("input", [2]), o=("output", [4]))
    inside = {"memory": memory, "multiplier": multiplier, "lut": lut}
    straight = {"u_m": unit("memory", o=5), "u_x": unit("multiplier", i=5)}
    assert not wires_of(straight, units=inside)[0].direct
    mixed = {
        "u_m": unit("memory", o=5),
        "u_l": unit("lut", i=5, o=6),
        "u_x": unit("multiplier", i=6),
    }
    (path,) = wires_of(mixed, units=inside)[0].direct
    assert (path.source, path.destination) == ("u_m.out_q", "u_x.d")


def test_loops_are_cut():
    cells = {"f": cell("LUT1", I0=2, O=3), "g": cell("LUT1", I0=3, O=2)}
    assert analyse(module(cells, {}), {}).paths == []


def test_unknown_cell():
    with pytest.raises(ValueError, match="MYSTERY"):
        analyse(module({"x": cell("MYSTERY", A=2)}, {}), {})
    with pytest.raises(ValueError, match="MYSTERY"):
        count({"LUT6": 1, "MYSTERY": 1})


def test_resources():
    found = count({"LUT6": 3, "INV": 2, "RAM32M16": 2, "SRL16E": 1, "FDRE": 5, "RAMB18E2": 3})
    assert found == Resources(lut=20, lutram=17, ff=5, bram=1.5)
    assert found * 2 + Resources(latches=1) == Resources(40, 34, 10, 0, 3.0, 1)


def test_what_is_around_the_accelerator_counts():
    total = Resources(bram=670)
    default, deep = targets("default"), targets("deep")
    assert list(report.over_target(total, default)) == []
    line = "BRAM: 75.2% of the device, at most 75%"
    assert list(report.over_target(total + AROUND, default)) == [line]
    assert list(report.over_target(total + AROUND, deep)) == []
    rows = [report.Row("cmamba", "cmamba", 1, total, None)]
    *_, kept, _, _, used, target = report.resource_table(rows, 4.0, default, AROUND).splitlines()
    assert kept.split()[-1] == "16.0"
    assert (used.split()[-1], target.split()[-1]) == ("75.2%", "75.0%")


RTLIL = """module \\top
  attribute \\src "a.sv:1"
  cell \\cmamba_conv$top.u_a \\u_a
  end
  cell \\cmamba_conv$top.u_b \\u_b
  end
end
module \\cmamba_conv$top.u_a
  attribute \\src "b.sv:1"
  wire width 8 input 1 \\x_i
  cell \\cmamba_fifo$top.u_a.u_f \\u_f
  end
end
module \\cmamba_fifo$top.u_a.u_f
end
module \\cmamba_conv$top.u_b
  attribute \\src "b.sv:7"
  wire width 8 input 1 \\x_i
  cell \\cmamba_fifo$top.u_b.u_f \\u_f
  end
end
module \\cmamba_fifo$top.u_b.u_f
end
"""


def test_same_modules_are_one_unit():
    units = {}
    top = hierarchy._unit("top", hierarchy._modules(RTLIL), units)
    assert [unit.name for unit in units.values()] == ["cmamba_conv", "top"]
    (conv,) = units[top].children
    assert units[top].children[conv] == 2
    # What is flattened into a unit comes with it; a unit is a black box with its ports.
    assert "module \\cmamba_fifo_" in units[conv].rtlil
    assert "attribute \\blackbox 1" in units[top].rtlil
    assert "cmamba_fifo" not in units[top].rtlil
    assert "wire width 8 input 1 \\x_i" in units[top].rtlil


def test_a_fault_ends_the_synthesis(tmp_path, monkeypatch):
    """Units that have not been begun are not synthesized any more."""
    begun = []

    def synthesize(unit, cache):
        begun.append(unit)
        time.sleep(0.01)
        raise yosys.YosysError("no")

    monkeypatch.setattr(command, "synthesize", synthesize)
    units = {str(i): hierarchy.Unit("cmamba", str(i), "") for i in range(100)}
    with pytest.raises(yosys.YosysError):
        command._synthesize_all(units, tmp_path, 2)
    assert len(begun) < 50


def test_arrays_that_the_rtl_wants_in_ram():
    """Their style is a text, or the bits of one; other attributes may follow, other styles do not
    count."""
    bits = "40'" + "".join(f"{byte:08b}" for byte in b"block")
    styles = {"text": '"distributed"', "bits": bits, "auto": '"auto"'}
    rtlil = "".join(
        f"  attribute \\ram_style {style}\n  attribute \\keep 1\n"
        f"  memory width 8 size 16 \\{name}\n  wire \\w\n"
        for name, style in styles.items()
    )
    assert synthesize._RAM.findall(rtlil) == ["text", "bits"]


# Two RAMs in LUTs, each with a copy of the address in front of it.
COPIES = """module cmamba_copies (input logic c, input logic [4:0] a, input logic [7:0] d,
    output logic [1:0][7:0] q);
  for (genvar i = 0; i < 2; i++) begin : gen
    (* keep = "true" *) logic [4:0] a_q;
    (* ram_style = "distributed" *) logic [7:0] memory[32];
    always_ff @(posedge c) begin
      a_q <= a;
      memory[a] <= d;
      q[i] <= memory[a_q] ^ d;
    end
  end
endmodule
"""


def test_copies_of_an_address_stay_copies(tmp_path, monkeypatch):
    source = tmp_path / "copies.sv"
    source.write_text(COPIES)
    monkeypatch.setattr(hierarchy, "sources", lambda build: [source])
    top, units = hierarchy.elaborate("cmamba_copies", "small", tmp_path)
    synthesize.synthesize(units[top], tmp_path)
    (netlist,) = tmp_path.glob("*/netlist.json")
    cells = json.loads(netlist.read_text())["modules"][units[top].module]["cells"].values()
    addresses = [set(c["connections"]["ADDRA"]) for c in cells if c["type"].startswith("RAM32M")]
    assert [len(bits) for bits in addresses] == [5, 5]
    assert not addresses[0] & addresses[1]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "build", ["small", *(pytest.param(b, marks=SLOW) for b in ("default", "large", "deep"))]
)
def test_the_rtl_keeps_the_rules(build, capsys):
    """All of them: latches, memories, resources, wires."""
    status = command.main(["--build", build])
    assert status == 0, capsys.readouterr().out[-2000:]
