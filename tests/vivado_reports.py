"""Reports in the layout of Vivado 2022.2, as text."""

import json
from dataclasses import asdict

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
|           gen_lane[0].u_lane   |              cmamba_lane |      50000 |      46000 |    3900 |  100 | 39000 |    318 |      4 |    0 |        320 |
|             u_fifo             |              cmamba_fifo |        200 |        100 |     100 |    0 |    10 |      0 |      0 |    0 |          0 |
|           gen_lane[1].u_lane   | cmamba_lane__parameterized0 |      50400 |      45900 |    4400 |  100 | 40400 |    318 |      4 |    0 |        320 |
|             u_fifo             |            cmamba_fifo_7 |        210 |        110 |     100 |    0 |    12 |      0 |      0 |    0 |          0 |
|           u_control            |           cmamba_control |        100 |        100 |       0 |    0 |   100 |      0 |      0 |    0 |          0 |
|     proc_sys_reset_0           | cmamba_zcu102_proc_sys_reset_0_0 |  20 |         19 |       0 |    1 |    40 |      0 |      0 |    0 |          0 |
+--------------------------------+--------------------------+------------+------------+---------+------+-------+--------+--------+------+------------+
* Note: The sum of lower-level cells may be larger than their parent cells total, due to cross-hierarchy LUT combining
"""  # noqa: E501

# Of the export of Vitis HLS, which Vivado runs in a block design of its own, out of context. Vivado
# 2022.2 has DSP Blocks, later ones DSPs.
HLS_UTILIZATION = """\
+------------------------------------+---------------------------------------+------------+------------+---------+------+-------+--------+--------+------+------------+
|              Instance              |                 Module                | Total LUTs | Logic LUTs | LUTRAMs | SRLs |  FFs  | RAMB36 | RAMB18 | URAM | DSP Blocks |
+------------------------------------+---------------------------------------+------------+------------+---------+------+-------+--------+--------+------+------------+
| bd_0_wrapper                       |                                 (top) |     140000 |     100000 |   38000 | 2000 | 90000 |    640 |      3 |    0 |       1050 |
|   bd_0_i                           |                                  bd_0 |     140000 |     100000 |   38000 | 2000 | 90000 |    640 |      3 |    0 |       1050 |
|     hls_inst                       |                       bd_0_hls_inst_0 |     140000 |     100000 |   38000 | 2000 | 90000 |    640 |      3 |    0 |       1050 |
|       inst                         |            bd_0_hls_inst_0_cmamba_top |     140000 |     100000 |   38000 | 2000 | 90000 |    640 |      3 |    0 |       1050 |
|         (inst)                     |            bd_0_hls_inst_0_cmamba_top |        100 |        100 |       0 |    0 |   400 |      0 |      0 |    0 |          0 |
|         control_s_axi_U            | bd_0_hls_inst_0_cmamba_top_control_s_axi |     900 |        900 |       0 |    0 |  1200 |      0 |      0 |    0 |          0 |
|         grp_run_processes_fu_540   | bd_0_hls_inst_0_cmamba_top_run_processes | 139000 |      99000 |   38000 | 2000 | 88400 |    184 |      3 |    0 |       1050 |
|           process_Conv_U0          | bd_0_hls_inst_0_cmamba_top_process_Conv_s |  14000 |      13000 |     900 |  100 | 11000 |      0 |      0 |    0 |        104 |
|           process_Scan_U0          | bd_0_hls_inst_0_cmamba_top_process_Scan_s |  45000 |      33000 |   12000 |    0 | 28000 |      0 |      0 |    0 |        340 |
+------------------------------------+---------------------------------------+------------+------------+---------+------+-------+--------+--------+------+------------+
"""  # noqa: E501

# The estimate of rtl.synth that the report above fits.
ESTIMATE = json.dumps(
    {
        "units": [
            {"path": path, "own": asdict(Resources(**own))}
            for path, own in (
                ("cmamba", {"lut": 300, "ff": 500}),
                ("cmamba/cmamba_lane", {"lut": 99990, "lutram": 8300, "dsp": 640, "bram": 640.0}),
                ("cmamba/cmamba_lane/cmamba_fifo", {"lut": 410, "lutram": 200}),
                ("cmamba/cmamba_control", {"lut": 100}),
            )
        ]
    }
)

# For `timing`, and for the stand-in of Vivado.
TEMPLATE = """\
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
      @SETUP@        0.000                      @FAILING@               301234        @HOLD@        0.000                      0               301234        1.427        0.000                       0                102030  


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

Setup :            0  Failing Endpoints,  Worst Slack        @SETUP@ns,  Total Violation        0.000ns
Hold  :            0  Failing Endpoints,  Worst Slack        0.010ns,  Total Violation        0.000ns
PW    :            0  Failing Endpoints,  Worst Slack        1.427ns,  Total Violation        0.000ns
---------------------------------------------------------------------------------------------------


Max Delay Paths
--------------------------------------------------------------------------------------
Slack (@MET@) :             @SETUP@ns  (required time - arrival time)
  Source:                 cmamba_zcu102_i/cmamba_0/inst/u_cmamba/gen_lane[1].u_lane/u_fifo/head_q_reg[3]/C
                            (rising edge-triggered cell FDRE clocked by clk_pl_0  {rise@0.000ns fall@2.000ns period=4.000ns})
  Destination:            cmamba_zcu102_i/cmamba_0/inst/u_cmamba/gen_lane[1].u_lane/sum_q_reg[31]/D
                            (rising edge-triggered cell FDRE clocked by clk_pl_0  {rise@0.000ns fall@2.000ns period=4.000ns})
  Path Group:             clk_pl_0
  Path Type:              Setup (Max at Slow Process Corner)
  Requirement:            4.000ns  (clk_pl_0 rise@4.000ns - clk_pl_0 rise@0.000ns)
  Data Path Delay:        @DELAY@ns  (logic 1.102ns (29.077%)  route 2.688ns (70.923%))
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


def timing(setup: float = 0.041, hold: float = 0.010, delay: float = 3.79) -> str:
    """A timing summary with these slacks, the first path with this delay, in ns."""
    values = {
        "@SETUP@": f"{setup:.3f}",
        "@HOLD@": f"{hold:.3f}",
        "@FAILING@": "93" if setup < 0 else "0",
        "@MET@": "VIOLATED" if setup < 0 else "MET",
        "@DELAY@": f"{delay:.3f}",
    }
    text = TEMPLATE
    for token, value in values.items():
        text = text.replace(token, value)
    return text


def hls_timing(setup: float = 0.212, hold: float = 0.010) -> str:
    """The timing summary of the export of Vitis HLS."""
    core = "bd_0_i/hls_inst/inst/grp_run_processes_fu_540"
    text = timing(setup, hold)
    for old, new in {
        "cmamba_zcu102_wrapper": "bd_0_wrapper",
        "cmamba_zcu102_i/cmamba_0/inst/u_cmamba/gen_lane[1].u_lane": f"{core}/process_Scan_U0",
        "cmamba_zcu102_i/cmamba_0/inst/u_cmamba/u_control": "bd_0_i/hls_inst/inst/control_s_axi_U",
        "cmamba_zcu102_i/axi_dma_0/U0": f"{core}/process_Conv_U0",
        "clk_pl_0": "ap_clk",
    }.items():
        text = text.replace(old, new)
    return text


def hls_timing_paths(slacks: tuple[float, ...] = (0.212, 0.3)) -> str:
    """``report_timing`` of the same."""
    text = "Timing Report\n"
    for slack in slacks:
        met = "MET" if slack >= 0 else "VIOLATED"
        text += HLS_PATH.replace("@SLACK@", f"Slack ({met}) :             {slack:.3f}ns")
    return text


HLS_PATH = """
@SLACK@  (required time - arrival time)
  Source:                 bd_0_i/hls_inst/inst/grp_run_processes_fu_540/process_Scan_U0/h_reg_911_reg[7]/C
                            (rising edge-triggered cell FDRE clocked by ap_clk  {rise@0.000ns fall@2.000ns period=4.000ns})
  Destination:            bd_0_i/hls_inst/inst/grp_run_processes_fu_540/process_Conv_U0/sum_reg_433_reg/DSP_ALU_INST/A[0]
                            (rising edge-triggered cell DSP_ALU clocked by ap_clk  {rise@0.000ns fall@2.000ns period=4.000ns})
  Path Group:             ap_clk
  Path Type:              Setup (Max at Slow Process Corner)
  Requirement:            4.000ns  (ap_clk rise@4.000ns - ap_clk rise@0.000ns)
  Data Path Delay:        3.612ns  (logic 1.322ns (36.600%)  route 2.290ns (63.400%))
  Logic Levels:           6  (CARRY8=2 DSP_A_B_DATA=1 LUT6=3)

    Location             Delay type                Incr(ns)  Path(ns)    Netlist Resource(s)
  -------------------------------------------------------------------    -------------------
                         (clock ap_clk rise edge)     0.000     0.000 r
                         net (fo=4711, unset)         0.000     0.000    bd_0_i/hls_inst/inst/ap_clk
"""  # noqa: E501
