"""top: finding the accelerator and its registers in a folder of other RTL."""

import pytest

from rtl.tb.accelerator import OUR_REGISTERS, register_map
from rtl.tb.cmamba.__main__ import main
from rtl.tb.cmamba.top import PORTS, find_top
from rtl.tb.simulate import RTL

# As Vitis HLS writes it.
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
#define XCMAMBA_TOP_CONTROL_ADDR_WATCHDOG_CYCLES_DATA     0x34
#define XCMAMBA_TOP_CONTROL_ADDR_STATUS_DATA              0x40
#define XCMAMBA_TOP_CONTROL_BITS_STATUS_DATA              640
#define XCMAMBA_TOP_CONTROL_ADDR_STATUS_CTRL              0x90
#define XCMAMBA_TOP_CONTROL_ADDR_CAPABILITIES_DATA        0xa0
#define XCMAMBA_TOP_CONTROL_BITS_CAPABILITIES_DATA        576
#define XCMAMBA_TOP_CONTROL_ADDR_CAPABILITIES_CTRL        0xe8
#define XCMAMBA_TOP_CONTROL_ADDR_SPACES_DATA              0x100
#define XCMAMBA_TOP_CONTROL_BITS_SPACES_DATA              384
#define XCMAMBA_TOP_CONTROL_ADDR_SPACES_CTRL              0x130
"""


def module(name, ports):
    return f"module {name} ({', '.join(f'input wire {port}' for port in ports)});\nendmodule\n"


def test_register_map(tmp_path):
    header = tmp_path / "xcmamba_top_hw.h"
    header.write_text(HEADER)
    assert register_map(header) == OUR_REGISTERS


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ADDR_MODE_DATA", "ADDR_MODUS_DATA", "expected MODE at 0x1C, found AP_CTRL at 0x0, GIE"),
        ("STATUS_DATA              0x40", "STATUS_DATA 0x44", "expected STATUS at 0x40, found"),
        ("WATCHDOG_CYCLES", "VERSION", "expected WATCHDOG_CYCLES at 0x34, found"),
    ],
)
def test_register_that_is_elsewhere(tmp_path, old, new, message):
    header = tmp_path / "xcmamba_top_hw.h"
    assert old in HEADER
    header.write_text(HEADER.replace(old, new))
    with pytest.raises(ValueError, match=rf"xcmamba_top_hw.h: {message}"):
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
