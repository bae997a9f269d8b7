# Timing of routed.dcp at slower clocks. Run by `python -m bitstream_scripts`. Leaves a
# timing_LABEL.rpt for each clock; netlist and checkpoint stay as they are.

set scripts [file dirname [file normalize [info script]]]
foreach file {design.tcl tools.tcl} {
  source [file join $scripts $file]
}

# PL clock 0 with another period. A clock that is created anew loses what constraints said of it
# (UG949, "Defining Clock Constraints"): of the processing system's, jitter.
proc set_period {period} {
  set clock [get_clocks clk_pl_0]
  set pin [get_pins [get_property SOURCE_PINS $clock]]
  set jitter [get_property -quiet INPUT_JITTER $clock]
  create_clock -name clk_pl_0 -period $period $pin
  if {$jitter ne {} && $jitter > 0} {
    set_input_jitter [get_clocks clk_pl_0] $jitter
  }
  set found [get_property PERIOD [get_clocks clk_pl_0]]
  if {$found != $period} {
    error "clk_pl_0 has a period of $found ns after create_clock -period $period"
  }
}

proc retime {out clocks} {
  open_checkpoint [file join $out routed.dcp]
  foreach {label period} $clocks {
    set_period $period
    write_whole [file join $out timing_$label.rpt] \
        {report_timing_summary -delay_type min_max -max_paths 20 -file}
  }
  close_project
}

run_stage retime {out clocks}
