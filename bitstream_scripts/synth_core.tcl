# The accelerator alone, synthesized out of context: no board files, no block design. Run by
# `python -m bitstream_scripts.synth` (make vivado-synth). Leaves reports and core.dcp.

set scripts [file dirname [file normalize [info script]]]
set root [file dirname $scripts]
foreach file {design.tcl tools.tcl package_ip.tcl inference.tcl} {
  source [file join $scripts $file]
}

proc synthesize_core {out build period memories} {
  check_version
  check_part
  create_project -in_memory -part $design::board_part
  read_verilog -sv [rtl_files $::root $build]
  set path [file join $out clock.xdc]
  set file [open $path w]
  puts $file "create_clock -name ap_clk -period $period \[get_ports ap_clk\]"
  close $file
  read_xdc -mode out_of_context $path
  # The options of the strategy Flow_PerfOptimized_high (UG901), as the bitstream has.
  synth_design -top cmamba -part $design::board_part -mode out_of_context \
      -flatten_hierarchy rebuilt -directive PerformanceOptimized -fsm_extraction one_hot \
      -keep_equivalent_registers -resource_sharing off -no_lc -shreg_min_size 5
  report_synthesis $out $memories
  write_whole [file join $out core.dcp] {write_checkpoint -force}
  close_project
}

run_stage synthesize_core {out build period memories}
