"""rtl.synth: paths of small netlists, sizes of cells, instances that are the same module."""

import pytest

from rtl.synth import hierarchy, report, synthesize, timing
from rtl.synth.resources import AROUND, Resources, count, targets
from rtl.synth.timing import Timing, analyse, net_delay


def cell(kind, **pins):
    """A cell of Yosys' JSON; outputs are the pins O, Q, P, CO and PCOUT."""
    outputs = {"O", "Q", "P", "CO", "PCOUT"}
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
    full = analyse(module(cells | {"d": dsp(M=1, P=1)}, names), {}).paths
    delays = {(p.source, p.destination): p.delay for p in full}
    assert delays["a_q", "d"] == pytest.approx(
        timing.CLOCK_TO_Q + net_delay(1) + timing.DSP_MULTIPLIER
    )
    assert delays["d", "d"] == pytest.approx(timing.DSP_CLOCK_TO_Q + timing.DSP_ADDER)
    bare = analyse(module(cells | {"d": dsp()} | ends, names), {}).paths
    inside = timing.DSP_MULTIPLIER + timing.DSP_ADDER + timing.DSP_OUTPUT
    expected = timing.CLOCK_TO_Q + 2 * net_delay(1) + inside + timing.SETUP
    assert bare[0].delay == pytest.approx(expected)


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
