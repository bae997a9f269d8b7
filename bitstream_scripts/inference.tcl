# What synthesis made of the accelerator, for inference.py to check, and Vivado's reports of the
# synthesized design.

# Lines of a kind, a path and two values: block RAMs with their output registers, and flip-flops
# that are bits of a memory. `memories` are the names of arrays in the RTL that have a RAM style.
proc write_inference {path memories} {
  set file [open $path w]
  foreach cell [get_cells -quiet -hierarchical -filter {REF_NAME =~ RAMB*}] {
    puts $file "RAMB $cell [get_property DOA_REG $cell] [get_property DOB_REG $cell]"
  }
  foreach memory $memories {
    set filter "REF_NAME =~ FD* && NAME =~ *${memory}_reg*"
    foreach cell [get_cells -quiet -hierarchical -filter $filter] {
      # What stays a memory is a cell memory_reg_...; bits of an array have indices.
      if {[regexp "(^|\[/.\])${memory}_reg\\\[" $cell]} {
        puts $file "FF $cell $memory -"
      }
    }
  }
  close $file
}

proc report_synthesis {out memories} {
  report_utilization -hierarchical -file [file join $out utilization_synth.rpt]
  write_inference [file join $out inference.txt] $memories
  # Rent's exponent of modules: congestion itself is known after placement.
  foreach {name command} {
    timing_synth   {report_timing_summary -delay_type max -max_paths 20}
    qor            {report_qor_assessment}
    fanout         {report_high_fanout_nets -timing -max_nets 50}
    control_sets   {report_control_sets -verbose}
    complexity     {report_design_analysis -complexity}
  } {
    try_report $command [file join $out $name.rpt]
  }
}
