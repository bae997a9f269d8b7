"""Vivado's reports as tables and JSON. The texts have the layout of Vivado 2022.2."""

import json
import re
import sys

import pytest

from bitstream_scripts import __main__ as command
from bitstream_scripts import reports
from rtl.synth.resources import Resources

UTILIZATION = """\
Copyright 1986-2022 Xilinx, Inc. All Rights Reserved.
--------------------------------------------------------------------------------------
| Tool Version : Vivado v.2022.2 (lin64) Build 3671981 Fri Oct 14 04:59:54 MDT 2022
| Date         : Mon Nov 23 10:00:00 2026
| Host         : build running 64-bit Ubuntu 22.04.3 LTS
| Command      : report_utilization -hierarchical -file utilization.rpt
| Design       : cmamba_zcu102_wrapper
| Device       : xczu9eg-ffvb1156-2-e
| Speed File   : -2
| Design State : Routed
--------------------------------------------------------------------------------------

Utilization Design Information

Table of Contents
-----------------
1. Utilization by Hierarchy

1. Utilization by Hierarchy
---------------------------

+--------------------------------+--------------------------+------------+------------+---------+------+-------+--------+--------+------+------------+
|            Instance            |          Module          | Total LUTs | Logic LUTs | LUTRAMs | SRLs |  FFs  | RAMB36 | RAMB18 | URAM | DSP Blocks |
+--------------------------------+--------------------------+------------+------------+---------+------+-------+--------+--------+------+------------+
| cmamba_zcu102_wrapper          |                    (top) |     104000 |      95000 |    8400 |  600 | 86000 |    640 |      9 |    0 |        640 |
|   cmamba_zcu102_i              |            cmamba_zcu102 |     104000 |      95000 |    8400 |  600 | 86000 |    640 |      9 |    0 |        640 |
|     (cmamba_zcu102_i)          |            cmamba_zcu102 |          0 |          0 |       0 |    0 |     0 |      0 |      0 |    0 |          0 |
|     axi_dma_0                  | cmamba_zcu102_axi_dma_0_0 |       3000 |       2600 |     100 |  300 |  5000 |      4 |      1 |    0 |          0 |
|     cmamba_0                   | cmamba_zcu102_cmamba_0_0 |     100800 |      92300 |    8300 |  200 | 80000 |    636 |      8 |    0 |        640 |
|       inst                     |                cmamba_ip |     100800 |      92300 |    8300 |  200 | 80000 |    636 |      8 |    0 |        640 |
|         u_cmamba               |                   cmamba |     100800 |      92300 |    8300 |  200 | 80000 |    636 |      8 |    0 |        640 |
|           (u_cmamba)           |                   cmamba |        300 |        300 |       0 |    0 |   500 |      0 |      0 |    0 |          0 |
|           gen_lane[0].u_lane   |                     lane |      50000 |      46000 |    3900 |  100 | 39000 |    318 |      4 |    0 |        320 |
|             u_fifo             |                     fifo |        200 |        100 |     100 |    0 |    10 |      0 |      0 |    0 |          0 |
|           gen_lane[1].u_lane   |   lane__parameterized0   |      50400 |      45900 |    4400 |  100 | 40400 |    318 |      4 |    0 |        320 |
|             u_fifo             |                   fifo_7 |        210 |        110 |     100 |    0 |    12 |      0 |      0 |    0 |          0 |
|           u_control            |                  control |        100 |        100 |       0 |    0 |   100 |      0 |      0 |    0 |          0 |
|     proc_sys_reset_0           | cmamba_zcu102_proc_sys_reset_0_0 |  20 |         19 |       0 |    1 |    40 |      0 |      0 |    0 |          0 |
+--------------------------------+--------------------------+------------+------------+---------+------+-------+--------+--------+------+------------+
* Note: The sum of lower-level cells may be larger than their parent cells total, due to cross-hierarchy LUT combining
"""  # noqa: E501

TIMING = """\
Copyright 1986-2022 Xilinx, Inc. All Rights Reserved.
---------------------------------------------------------------------------------------------------------
| Tool Version : Vivado v.2022.2 (lin64) Build 3671981 Fri Oct 14 04:59:54 MDT 2022
| Command      : report_timing_summary -delay_type min_max -max_paths 20 -file timing.rpt
| Design       : cmamba_zcu102_wrapper
| Device       : xczu9eg-ffvb1156
| Speed File   : -2  PRODUCTION 1.29 08-03-2020
---------------------------------------------------------------------------------------------------------

Timing Summary Report

------------------------------------------------------------------------------------------------
| Timer Settings
| --------------
------------------------------------------------------------------------------------------------

  Multi Corner Analysis                      :  Yes

------------------------------------------------------------------------------------------------
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)  THS Failing Endpoints  THS Total Endpoints     WPWS(ns)     TPWS(ns)  TPWS Failing Endpoints  TPWS Total Endpoints  
    -------      -------  ---------------------  -------------------      -------      -------  ---------------------  -------------------     --------     --------  ----------------------  --------------------  
      0.041        0.000                      0               301234        0.010        0.000                      0               301234        1.427        0.000                       0                102030  


All user specified timing constraints are met.


------------------------------------------------------------------------------------------------
| Clock Summary
| -------------
------------------------------------------------------------------------------------------------

Clock     Waveform(ns)         Period(ns)      Frequency(MHz)
-----     ------------         ----------      --------------
clk_pl_0  {0.000 2.000}        4.000           250.000         


------------------------------------------------------------------------------------------------
| Timing Details
| --------------
------------------------------------------------------------------------------------------------


---------------------------------------------------------------------------------------------------
From Clock:  clk_pl_0
  To Clock:  clk_pl_0

Setup :            0  Failing Endpoints,  Worst Slack        0.041ns,  Total Violation        0.000ns
Hold  :            0  Failing Endpoints,  Worst Slack        0.010ns,  Total Violation        0.000ns
PW    :            0  Failing Endpoints,  Worst Slack        1.427ns,  Total Violation        0.000ns
---------------------------------------------------------------------------------------------------


Max Delay Paths
--------------------------------------------------------------------------------------
Slack (MET) :             0.041ns  (required time - arrival time)
  Source:                 cmamba_zcu102_i/cmamba_0/inst/u_cmamba/gen_lane[1].u_lane/u_fifo/head_q_reg[3]/C
                            (rising edge-triggered cell FDRE clocked by clk_pl_0  {rise@0.000ns fall@2.000ns period=4.000ns})
  Destination:            cmamba_zcu102_i/cmamba_0/inst/u_cmamba/gen_lane[1].u_lane/sum_q_reg[31]/D
                            (rising edge-triggered cell FDRE clocked by clk_pl_0  {rise@0.000ns fall@2.000ns period=4.000ns})
  Path Group:             clk_pl_0
  Path Type:              Setup (Max at Slow Process Corner)
  Requirement:            4.000ns  (clk_pl_0 rise@4.000ns - clk_pl_0 rise@0.000ns)
  Data Path Delay:        3.790ns  (logic 1.102ns (29.077%)  route 2.688ns (70.923%))
  Logic Levels:           9  (CARRY8=4 LUT3=1 LUT6=4)
  Clock Path Skew:        -0.089ns (DCD - SCD + CPR)

    Location             Delay type                Incr(ns)  Path(ns)    Netlist Resource(s)
  -------------------------------------------------------------------    -------------------
    SLICE_X40Y100        FDRE (Prop_AFF_SLICEL_C_Q)
                                                      0.079     2.124 r  head_q_reg[3]/Q

Slack (MET) :             0.106ns  (required time - arrival time)
  Source:                 cmamba_zcu102_i/axi_dma_0/U0/count_reg[0]/C
                            (rising edge-triggered cell FDRE clocked by clk_pl_0  {rise@0.000ns fall@2.000ns period=4.000ns})
  Destination:            cmamba_zcu102_i/axi_dma_0/U0/last_reg/CE
                            (rising edge-triggered cell FDRE clocked by clk_pl_0  {rise@0.000ns fall@2.000ns period=4.000ns})
  Path Group:             clk_pl_0
  Path Type:              Setup (Max at Slow Process Corner)
  Requirement:            4.000ns  (clk_pl_0 rise@4.000ns - clk_pl_0 rise@0.000ns)
  Data Path Delay:        3.700ns  (logic 0.500ns (13.514%)  route 3.200ns (86.486%))
  Logic Levels:           0

Min Delay Paths
--------------------------------------------------------------------------------------
Slack (MET) :             0.010ns  (arrival time - required time)
  Source:                 cmamba_zcu102_i/cmamba_0/inst/u_cmamba/u_control/a_reg/C
                            (rising edge-triggered cell FDRE clocked by clk_pl_0  {rise@0.000ns fall@2.000ns period=4.000ns})
  Destination:            cmamba_zcu102_i/cmamba_0/inst/u_cmamba/u_control/b_reg/D
  Path Group:             clk_pl_0
  Path Type:              Hold (Min at Fast Process Corner)
  Requirement:            0.000ns  (clk_pl_0 rise@0.000ns - clk_pl_0 rise@0.000ns)
  Data Path Delay:        0.104ns  (logic 0.058ns (55.769%)  route 0.046ns (44.231%))
  Logic Levels:           0
"""  # noqa: E501, W291

MISSED = re.sub(r" 0\.041 +0\.000 +0 ", "-0.152  -7.310   93 ", TIMING)
MISSED = MISSED.replace("Slack (MET) :             0.041", "Slack (VIOLATED) :        -0.152")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "utilization.rpt").write_text(UTILIZATION)
    (tmp_path / "timing.rpt").write_text(TIMING)
    (tmp_path / "run.txt").write_text("Performance_Explore\n")
    return tmp_path


def summarize(folder):
    text, met = reports.summarize(folder, {"core": "rtl", "build": "default"}, 4.0)
    return text, met, json.loads((folder / "report.json").read_text())


def test_total():
    total = reports.parse_utilization(UTILIZATION).resources
    assert total == Resources(lut=104000, lutram=9000, ff=86000, dsp=640, bram=644.5)


def test_hierarchy(folder):
    """Instances that differ in an index are one unit, at the place in the hierarchy of both."""
    _, _, document = summarize(folder)
    units = {unit["path"]: unit for unit in document["units"]}
    top = "cmamba_zcu102_wrapper/cmamba_zcu102_i"
    core = f"{top}/cmamba_0/inst/u_cmamba"
    assert set(units) == {
        *("cmamba_zcu102_wrapper", top, f"{top}/axi_dma_0", f"{top}/proc_sys_reset_0"),
        *(f"{top}/cmamba_0", f"{top}/cmamba_0/inst", core, f"{core}/u_control"),
        *(f"{core}/gen_lane[*].u_lane", f"{core}/gen_lane[*].u_lane/u_fifo"),
    }
    lanes = units[f"{core}/gen_lane[*].u_lane"]
    assert lanes["instances"] == 2
    assert (lanes["resources"]["lut"], lanes["resources"]["bram"]) == (100400, 640)
    assert units[f"{core}/gen_lane[*].u_lane/u_fifo"]["resources"]["lut"] == 410
    assert units[core]["own"]["lut"] == 100800 - 100400 - 100
    assert lanes["module"] == "lane"


def test_paths(folder):
    """Setup paths only, without the hierarchy that they share with their unit."""
    _, _, document = summarize(folder)
    first, second = document["paths"]
    assert first == {
        "unit": "u_fifo",
        "slack_ns": 0.041,
        "delay": 3.79,
        "levels": 9,
        "source": "head_q_reg[3]/C",
        "destination": "sum_q_reg[31]/D",
    }
    assert (second["unit"], second["levels"], second["slack_ns"]) == ("axi_dma_0", 0, 0.106)
    longest = {unit["path"].split("/")[-1]: unit["longest_path_ns"] for unit in document["units"]}
    assert longest["u_fifo"] == 3.79
    assert longest["u_control"] is None


def test_timing_is_met(folder):
    text, met, document = summarize(folder)
    assert met
    assert document["failures"] == []
    assert document["timing"]["setup_slack"] == 0.041
    assert document["strategy"] == "Performance_Explore"
    assert "timing met, all targets of resources met" in text


def test_timing_is_missed(folder):
    (folder / "timing.rpt").write_text(MISSED)
    text, met, document = summarize(folder)
    assert not met
    assert document["failures"] == ["setup: slack -0.152 ns, 93 end points fail"]
    assert document["paths"][0]["slack_ns"] == -0.152
    assert "setup: slack -0.152 ns, 93 end points fail" in text


def test_other_slack_counts_too(folder):
    text = re.sub(r" 0\.010 +0\.000 +0 ", "-0.010  -0.010  1 ", TIMING)
    (folder / "timing.rpt").write_text(text.replace("1.427        0.000", "-0.100  -0.100"))
    _, met, document = summarize(folder)
    assert not met
    assert [line.split(":")[0] for line in document["failures"]] == ["hold", "pulse"]


def test_table_is_that_of_synth(folder):
    text, _, _ = summarize(folder)
    head, _, first, *_ = text.splitlines()
    assert head.split() == ["module", "n", "LUT", "LUTRAM", "FF", "DSP", "BRAM36", "ns"]
    assert first.split()[1:] == ["1", "104,000", "9,000", "86,000", "640", "644.5"]
    assert re.search(r"^used +37\.9% +6\.2% +15\.7% +25\.4% +70\.7%$", text, re.MULTILINE)
    assert "proc_sys_reset_0" not in text  # small
    assert re.search(r"^ {10}gen_lane\[\*\]\.u_lane +2 +100,400", text, re.MULTILINE)


def test_resources_over_their_target(folder):
    text = UTILIZATION.replace("|     104000 |", "|     150000 |", 1)
    (folder / "utilization.rpt").write_text(text)
    _, met, document = summarize(folder)
    assert met
    assert document["failures"] == ["LUT: 54.7% of the device, at most 50%"]


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("utilization.rpt", "Instance ", "Cell ", "no table of utilization by hierarchy"),
        ("utilization.rpt", "SRLs", "SRL", "lacks SRLs"),
        ("utilization.rpt", "DSP Blocks", "Blocks", "lacks DSP Blocks"),
        ("utilization.rpt", "    8400 ", "   8,400 ", "expected a number"),
        ("utilization.rpt", "|       inst  ", "|             inst  ", "which instance"),
        ("timing.rpt", "| Design Timing Summary", "| Design", "no design timing summary"),
        ("timing.rpt", "      0.041    ", "        n/a    ", "no design timing summary"),
        ("timing.rpt", "Data Path Delay", "Delay", "a path without Data Path Delay"),
    ],
)
def test_other_layouts_are_refused(folder, name, old, new, message):
    text = (folder / name).read_text()
    (folder / name).write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=message) as error:
        summarize(folder)
    assert name in str(error.value)


def test_newer_name_of_a_column():
    text = UTILIZATION.replace("DSP Blocks", "      DSPs")
    assert reports.parse_utilization(text).resources.dsp == 640


# ------------------------------------------------------------------------------- make bitstream


@pytest.fixture
def vivado(tmp_path, monkeypatch):
    """A vivado on PATH that writes the reports, and what it was called with."""
    tools = tmp_path / "tools"
    tools.mkdir()
    out = tmp_path / "out"
    program = tools / "vivado"
    program.write_text(
        f'#!/bin/sh\necho "$@" >{tmp_path}/arguments\n'
        f"cp {tmp_path}/*.rpt {tmp_path}/run.txt {out}\nexit $(cat {tmp_path}/status)\n"
    )
    program.chmod(0o755)
    (tmp_path / "status").write_text("0")
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setattr(command, "OUT", out)
    return tmp_path


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["bitstream", *arguments])
    return command.main()


def test_command(folder, vivado, monkeypatch, capsys):
    assert run(monkeypatch, "--frequency", "300", "--strategy", "A", "--strategy", "B C") == 0
    words = (vivado / "arguments").read_text().split()
    assert words[:3] == ["-mode", "batch", "-notrace"]
    assert words[words.index("frequency") + 1] == "300"
    text = " ".join(words)
    assert "implementation {A} {B C} jobs" in text
    assert "core rtl build default" in text
    assert "keep 0" in text
    out = capsys.readouterr().out
    assert "longest paths, of Performance_Explore, against 3.33 ns" in out
    assert "cmamba.bit" in out
    assert json.loads((vivado / "out/report.json").read_text())["frequency_mhz"] == 300


def test_reports_are_shown_where_vivado_fails(folder, vivado, monkeypatch, capsys):
    (folder / "timing.rpt").write_text(MISSED)
    (vivado / "status").write_text("1")
    assert run(monkeypatch) == 1
    captured = capsys.readouterr()
    assert "setup: slack -0.152 ns" in captured.out
    assert "Vivado ended with status 1" in captured.err


def test_a_core_of_vitis_hls_must_exist(vivado, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "ROOT", tmp_path)
    other = tmp_path / "build/vitis/default/cmamba_top.zip"
    other.parent.mkdir(parents=True)
    other.touch()
    assert run(monkeypatch, "--core", "hls", "--build", "deep") == 1
    error = capsys.readouterr().err
    assert "build/vitis/deep/cmamba_top.zip does not exist" in error
    assert "run `make csynth export BUILD=deep` first" in error


@pytest.mark.parametrize("arguments", [("--frequency", "0"), ("--jobs", "0"), ("--build", "huge")])
def test_settings_that_cannot_be(vivado, monkeypatch, capsys, arguments):
    with pytest.raises(SystemExit):
        run(monkeypatch, *arguments)
    assert arguments[0] in capsys.readouterr().err
    assert not (vivado / "arguments").exists()


def test_stale_constants_are_refused(vivado, monkeypatch, capsys):
    stale = {path: text + "#" for path, text in command.generate.outputs().items()}
    monkeypatch.setattr(command.generate, "outputs", lambda: stale)
    assert run(monkeypatch) == 1
    assert "run `make design` first" in capsys.readouterr().err
