# One implementation of synth.dcp, by one strategy. Run by `python -m bitstream_scripts`.
#
# A checkpoint follows each step. A run that was ended goes on from the last one. routed.dcp is
# written when all reports are there.

set scripts [file dirname [file normalize [info script]]]
foreach file {design.tcl tools.tcl} {
  source [file join $scripts $file]
}

proc implement {out synthesized clock opt place phys_opt route post_route} {
  set steps [list \
      opt        [list opt_design -directive $opt] \
      place      [list place_design -directive $place] \
      phys_opt   [list phys_opt_design -directive $phys_opt] \
      route      [list route_design -directive $route -tns_cleanup] \
      post_route [list phys_opt_design -directive $post_route]]

  # The last step that was completed.
  set last {}
  foreach {step command} $steps {
    if {[file exists [file join $out $step.dcp]]} {
      set last $step
    }
  }
  if {$last eq {}} {
    open_checkpoint $synthesized
  } else {
    puts "going on after $last"
    open_checkpoint [file join $out $last.dcp]
  }
  set done [expr {$last eq {}}]
  foreach {step command} $steps {
    if {$done} {
      {*}$command
      write_whole [file join $out $step.dcp] {write_checkpoint -force}
      if {$last ne {}} {
        file delete [file join $out $last.dcp]
      }
      set last $step
      if {$step eq "place"} {
        try_report {report_design_analysis -congestion} [file join $out congestion.rpt]
      }
    } elseif {$step eq $last} {
      set done 1
    }
  }

  report_utilization -hierarchical -file [file join $out utilization.rpt]
  report_timing_summary -delay_type min_max -max_paths 20 -file [file join $out timing_$clock.rpt]
  foreach name {route_status drc power} {
    try_report report_$name [file join $out $name.rpt]
  }
  write_whole [file join $out routed.dcp] {write_checkpoint -force}
  file delete [file join $out $last.dcp]
  close_project
}

run_stage implement {out synthesized clock opt place phys_opt route post_route}
