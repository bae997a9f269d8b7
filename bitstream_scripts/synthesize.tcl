# From sources to the synthesized design: IP, block design, netlist. Run by
# `python -m bitstream_scripts` (make bitstream). Leaves synth.dcp, reports, and the project for
# export.tcl.

set scripts [file dirname [file normalize [info script]]]
set root [file dirname $scripts]
foreach file {design.tcl tools.tcl package_ip.tcl block_design.tcl inference.tcl} {
  source [file join $scripts $file]
}

# Make the accelerator's IP known to the project; returns its VLNV.
proc add_accelerator {root out core build} {
  set repository [file join $out ip]
  set_property ip_repo_paths $repository [current_project]
  update_ip_catalog -rebuild
  if {$core eq "hls"} {
    set export [file join $root build vitis $build cmamba_top.zip]
    update_ip_catalog -add_ip $export -repo_path $repository
    set vlnv $design::hls_vlnv
  } else {
    set vlnv $design::accelerator_vlnv
  }
  if {[llength [get_ipdefs -all $vlnv]] != 1} {
    error "$repository has no IP $vlnv"
  }
  return $vlnv
}

# Start runs, wait for them, and say why the first of them has failed.
proc complete_runs {runs jobs} {
  launch_runs $runs -jobs $jobs
  foreach run $runs {
    wait_on_runs $run
    if {[get_property PROGRESS $run] eq "100%"} {
      continue
    }
    set log [file join [get_property DIRECTORY $run] runme.log]
    set reason [get_property STATUS $run]
    if {[file exists $log]} {
      set file [open $log]
      regexp -line {^ERROR: (.*)$} [read $file] -> reason
      close $file
    }
    error "$run: $reason, see $log"
  }
}

# Wrapper, products of the IP, and synthesis, each IP out of context. Returns the accelerator's run.
proc run_synthesis {strategy jobs} {
  set block [get_files $design::board_block_design.bd]
  generate_target all $block
  create_ip_run $block
  add_files -norecurse [make_wrapper -files $block -top]
  set_property top ${design::board_block_design}_wrapper [current_fileset]
  update_compile_order -fileset sources_1

  set core [get_runs *_${design::accelerator_instance}_*synth_1]
  if {[llength $core] != 1} {
    error "the accelerator has [llength $core] runs of synthesis, expected 1: $core"
  }
  set_property strategy $strategy $core
  set_property strategy $strategy [get_runs synth_1]
  # The IP first: where one of them fails, synth_1 never starts, and does not say why.
  set blocks {}
  foreach run [get_runs *_synth_1] {
    # What is in Vivado's cache is there already.
    if {[get_property PROGRESS $run] ne "100%"} {
      lappend blocks $run
    }
  }
  if {[llength $blocks]} {
    complete_runs $blocks $jobs
  }
  complete_runs [get_runs synth_1] $jobs
  return $core
}

# Timing is worth nothing against another clock.
proc check_period {period} {
  set clock [get_clocks -quiet clk_pl_0]
  if {[llength $clock] != 1} {
    error "no clock clk_pl_0: the processing system's IP did not constrain PL clock 0"
  }
  set found [get_property PERIOD $clock]
  if {abs($found / double($period) - 1) > 0.0005} {
    error "clk_pl_0 has a period of $found ns, expected $period ns"
  }
}

proc synthesize {out core build frequency period strategy jobs memories} {
  check_version
  check_part
  set board [find_board]
  file delete -force [file join $out ip] [file join $out project] [file join $out package_ip]
  file mkdir [file join $out ip]
  if {$core eq "rtl"} {
    package_ip $::root $build [file join $out ip cmamba] [file join $out package_ip]
  }

  create_project -force cmamba [file join $out project] -part $design::board_part
  set_property board_part $board [current_project]
  set_property target_language Verilog [current_project]
  create_block_design [add_accelerator $::root $out $core $build] $frequency
  set run [run_synthesis $strategy $jobs]
  file copy -force [file join [get_property DIRECTORY $run] runme.log] \
      [file join $out synthesis.log]
  open_run synth_1
  check_period $period
  report_synthesis $out $memories
  write_whole [file join $out synth.dcp] {write_checkpoint -force}
  close_project
}

run_stage synthesize {out core build frequency period strategy jobs memories}
