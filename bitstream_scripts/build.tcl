# From sources to cmamba.bit, cmamba.hwh and cmamba.xsa, with Vivado 2022.2 or later. Run by
# `python -m bitstream_scripts` (make bitstream), which gives all settings:
#
#   vivado -mode batch -source build.tcl -tclargs out FOLDER core rtl|hls build NAME frequency MHZ \
#       synthesis STRATEGY implementation {STRATEGY ...} jobs N keep 0|1
#
# One synthesis, then an implementation for each strategy; the one with the most slack is kept. Reports
# are written to FOLDER whether or not timing is met.

set scripts [file dirname [file normalize [info script]]]
set root [file dirname $scripts]
foreach file {design.tcl package_ip.tcl block_design.tcl} {
  source [file join $scripts $file]
}

proc check_tools {} {
  if {![regexp {^(\d+)\.(\d+)} [version -short] -> year release]} {
    error "Vivado does not say its version: [version -short]"
  }
  lassign [split $design::board_vivado .] least_year least_release
  if {$year < $least_year || ($year == $least_year && $release < $least_release)} {
    error "this is Vivado [version -short], $design::board_vivado or later is needed"
  }
  if {[llength [get_board_parts -quiet $design::board_board_part]] == 0} {
    error "Vivado has no files of the board $design::board_board_part: install them with\
        Tools > Vivado Store > Boards"
  }
}

# Make the accelerator's IP known to the project; returns its VLNV.
proc add_accelerator {root out core build} {
  set repository [file join $out ip]
  set_property ip_repo_paths $repository [current_project]
  update_ip_catalog -rebuild
  if {$core eq "hls"} {
    update_ip_catalog -add_ip [file join $root build vitis $build cmamba_top.zip] -repo_path $repository
    set vlnv $design::hls_vlnv
  } else {
    set vlnv $design::accelerator_vlnv
  }
  if {[llength [get_ipdefs -all $vlnv]] != 1} {
    error "$repository has no IP $vlnv"
  }
  return $vlnv
}

proc check_run {run} {
  if {[get_property PROGRESS $run] ne "100%"} {
    error "$run: [get_property STATUS $run], see [get_property DIRECTORY $run]/runme.log"
  }
}

# Wrapper, products of the IP, and synthesis, each IP out of context.
proc run_synthesis {strategy jobs} {
  set block [get_files $design::board_block_design.bd]
  generate_target all $block
  create_ip_run $block
  add_files -norecurse [make_wrapper -files $block -top]
  set_property top ${design::board_block_design}_wrapper [current_fileset]
  update_compile_order -fileset sources_1

  set runs [get_runs *_${design::accelerator_instance}_*synth_1]
  if {[llength $runs] != 1} {
    error "the accelerator has [llength $runs] runs of synthesis, expected 1: $runs"
  }
  set_property strategy $strategy $runs
  set_property strategy $strategy [get_runs synth_1]
  launch_runs synth_1 -jobs $jobs
  wait_on_runs synth_1
  check_run [get_runs synth_1]
}

# One run for each strategy, all with phys_opt_design after placement and after routing. Returns the run with
# the most slack.
proc run_implementation {strategies jobs} {
  set flow [get_property FLOW [get_runs impl_1]]
  set runs {}
  foreach strategy $strategies {
    set name impl_[expr {[llength $runs] + 1}]
    if {$name ne "impl_1"} {
      create_run $name -parent_run synth_1 -flow $flow
    }
    set run [get_runs $name]
    set_property strategy $strategy $run
    set_property STEPS.PHYS_OPT_DESIGN.IS_ENABLED true $run
    set_property STEPS.POST_ROUTE_PHYS_OPT_DESIGN.IS_ENABLED true $run
    lappend runs $name
  }
  launch_runs $runs -jobs $jobs
  # A run that fails is not the end: the others count.
  wait_on_runs -quiet $runs

  set best {}
  foreach name $runs {
    set run [get_runs $name]
    if {[get_property PROGRESS $run] ne "100%"} {
      puts "$name [get_property STRATEGY $run]: [get_property STATUS $run]"
      continue
    }
    set setup [get_property STATS.WNS $run]
    set hold [get_property STATS.WHS $run]
    puts "$name [get_property STRATEGY $run]: setup slack $setup ns, hold slack $hold ns"
    # Hold violations cannot be mended with a slower clock.
    set score [list [expr {$hold >= 0}] $setup]
    if {$best eq {} || [lindex $score 0] > [lindex $best_score 0]
        || ([lindex $score 0] == [lindex $best_score 0] && $setup > [lindex $best_score 1])} {
      set best $name
      set best_score $score
    }
  }
  if {$best eq {}} {
    error "all runs of implementation failed, see [get_property DIRECTORY [get_runs impl_1]]/runme.log"
  }
  return $best
}

# Reports of the open design; an error that names the worst path where timing is not met.
proc write_reports {out run keep} {
  report_utilization -hierarchical -file [file join $out utilization.rpt]
  report_timing_summary -delay_type min_max -max_paths 20 -file [file join $out timing.rpt]
  report_drc -file [file join $out drc.rpt]
  report_power -file [file join $out power.rpt]
  foreach {kind option name} {setup -setup STATS.WNS hold -hold STATS.WHS} {
    set slack [get_property $name [get_runs $run]]
    if {$slack >= 0} {
      continue
    }
    set path [lindex [get_timing_paths $option -max_paths 1 -nworst 1] 0]
    set message "timing is not met, $kind slack $slack ns:\
        [get_property STARTPOINT_PIN $path] to [get_property ENDPOINT_PIN $path]"
    if {!$keep} {
      error "$message (KEEP=1 makes a bitstream nevertheless)"
    }
    puts "WARNING: $message"
  }
}

# Bitstream, handoff and hardware platform of a run, in FOLDER.
proc export_products {out run jobs} {
  launch_runs $run -to_step write_bitstream -jobs $jobs
  wait_on_runs $run
  check_run [get_runs $run]
  set block $design::board_block_design
  set project [get_property DIRECTORY [current_project]]
  set handoffs [glob -nocomplain \
      [file join $project *.gen sources_1 bd $block hw_handoff $block.hwh] \
      [file join $project *.srcs sources_1 bd $block hw_handoff $block.hwh]]
  if {[llength $handoffs] != 1} {
    error "expected one $block.hwh below $project, found [llength $handoffs]"
  }
  open_run $run
  write_hw_platform -fixed -include_bit -force [file join $out cmamba.xsa]
  file copy -force {*}$handoffs [file join $out cmamba.hwh]
  file copy -force [file join [get_property DIRECTORY [get_runs $run]] ${block}_wrapper.bit] \
      [file join $out cmamba.bit]
}

proc build_bitstream {root settings} {
  foreach key {out core build frequency synthesis implementation jobs keep} {
    if {![dict exists $settings $key]} {
      error "-tclargs lacks $key"
    }
    set $key [dict get $settings $key]
  }
  check_tools
  # Nothing of an earlier run may look like a result of this one.
  foreach name {cmamba.bit cmamba.hwh cmamba.xsa utilization.rpt timing.rpt drc.rpt power.rpt run.txt} {
    file delete [file join $out $name]
  }
  file delete -force [file join $out ip]
  file mkdir [file join $out ip]
  if {$core eq "rtl"} {
    package_ip $root $build [file join $out ip cmamba] [file join $out package_ip]
  }

  create_project -force cmamba [file join $out project] -part $design::board_part
  set_property board_part $design::board_board_part [current_project]
  set_property target_language Verilog [current_project]
  create_block_design [add_accelerator $root $out $core $build] $frequency
  run_synthesis $synthesis $jobs
  set run [run_implementation $implementation $jobs]
  set file [open [file join $out run.txt] w]
  puts $file [get_property STRATEGY [get_runs $run]]
  close $file
  current_run [get_runs $run]
  open_run $run
  write_reports $out $run $keep
  close_design
  export_products $out $run $jobs
  close_project
}

build_bitstream $root $argv
