"""top: finding the accelerator and its registers in a folder of other RTL."""

import pytest

from rtl.tb.accelerator import OUR_REGISTERS, register_map
from rtl.tb.cmamba.__main__ import main
from rtl.tb.cmamba.top import PORTS, find_top
from rtl.tb.simulate import RTL

# As Vitis HLS writes it; `error` is a word of VHDL and gets a suffix.
HEADER = """
// 0x00 : Control signals
#define XCMAMBA_TOP_CONTROL_ADDR_AP_CTRL                  0x00
#define XCMAMBA_TOP_CONTROL_ADDR_GIE                      0x04
#define XCMAMBA_TOP_CONTROL_ADDR_IER                      0x08
#define XCMAMBA_TOP_CONTROL_ADDR_ISR                      0x0c
#define XCMAMBA_TOP_CONTROL_ADDR_GMEM_DATA                0x10
#define XCMAMBA_TOP_CONTROL_BITS_GMEM_DATA                64
#define XCMAMBA_TOP_CONTROL_ADDR_MODE_DATA                0x1c
#define XCMAMBA_TOP_CONTROL_ADDR_PACKAGE_BEATS_DATA       0x24
#define XCMAMBA_TOP_CONTROL_ADDR_N_FORECASTS_DATA         0x2c
#define XCMAMBA_TOP_CONTROL_ADDR_VERSION_DATA             0x34
#define XCMAMBA_TOP_CONTROL_ADDR_VERSION_CTRL             0x38
#define XCMAMBA_TOP_CONTROL_ADDR_ERROR_R_DATA             0x44
#define XCMAMBA_TOP_CONTROL_ADDR_ERROR_R_CTRL             0x48
#define XCMAMBA_TOP_CONTROL_ADDR_ENTRIES_DATA             0x54
#define XCMAMBA_TOP_CONTROL_ADDR_ENTRIES_CTRL             0x5c
"""


def module(name, ports):
    return f"module {name} ({', '.join(f'input wire {port}' for port in ports)});\nendmodule\n"


def test_register_map(tmp_path):
    header = tmp_path / "xcmamba_top_hw.h"
    header.write_text(HEADER)
    found = register_map(header)
    same = ("CTRL", "GIE", "IER", "ISR", "GMEM_LO", "GMEM_HI", "MODE", "PACKAGE_BEATS")
    for name in (*same, "N_FORECASTS", "ERROR"):
        assert found[name] == OUR_REGISTERS[name], name
    assert (found["VERSION"], found["ENTRIES_LO"], found["ENTRIES_HI"]) == (0x34, 0x54, 0x58)
    assert "WATCHDOG_CYCLES" not in found


def test_register_that_is_missing(tmp_path):
    header = tmp_path / "xcmamba_top_hw.h"
    header.write_text(HEADER.replace("ADDR_MODE_DATA", "ADDR_MODUS_DATA"))
    with pytest.raises(ValueError, match=r"xcmamba_top_hw.h: expected MODE, found AP_CTRL, GIE"):
        register_map(header)


def test_find_top(tmp_path):
    folder = tmp_path / "hdl/verilog"
    folder.mkdir(parents=True)
    (folder / "cmamba_top.v").write_text(module("cmamba_top", PORTS))
    (folder / "cmamba_top_part.v").write_text(module("cmamba_top_part", PORTS[:-1]))
    (folder / "first_pkg.sv").write_text("package first_pkg;\nendpackage\n")
    name, files, _ = find_top(tmp_path)
    assert name == "cmamba_top"
    assert [f.name for f in files] == ["first_pkg.sv", "cmamba_top.v", "cmamba_top_part.v"]


def test_find_our_own():
    assert find_top(RTL)[0] == "cmamba"


def test_no_top(tmp_path):
    with pytest.raises(ValueError, match="expected a folder of Verilog files"):
        find_top(tmp_path / "missing")
    (tmp_path / "a.v").write_text(module("a", PORTS[1:]))
    with pytest.raises(ValueError, match=r"expected one module with ports .*, found none"):
        find_top(tmp_path)
    (tmp_path / "b.v").write_text(module("b", PORTS) + module("c", PORTS))
    with pytest.raises(ValueError, match="found b, c"):
        find_top(tmp_path)


def test_folder_that_is_not_golden(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "expected a golden folder, found no manifest.json" in capsys.readouterr().err
