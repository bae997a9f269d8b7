# Bitstream, handoff and hardware platform of a routed design at a clock. Run by
# `python -m bitstream_scripts`.
#
# The clock is a setting of the processing system: software makes it, as the handoff says. The
# bitstream does not depend on it.

set scripts [file dirname [file normalize [info script]]]
foreach file {design.tcl tools.tcl block_design.tcl} {
  source [file join $scripts $file]
}

proc export_products {out checkpoint frequency} {
  set block $design::board_block_design
  set project [file join $out project]
  open_project [file join $project cmamba.xpr]
  open_bd_design [get_files $block.bd]
  set_pl_clock $design::processor_instance $frequency
  validate_bd_design
  check_pl_clock $design::processor_instance $frequency
  save_bd_design
  generate_target -force all [get_files $block.bd]
  set handoffs [glob -nocomplain \
      [file join $project *.gen sources_1 bd $block hw_handoff $block.hwh] \
      [file join $project *.srcs sources_1 bd $block hw_handoff $block.hwh]]
  if {[llength $handoffs] != 1} {
    error "expected one $block.hwh below $project, found [llength $handoffs]"
  }
  file copy -force {*}$handoffs [file join $out cmamba.hwh]
  # Without the bitstream: that is not one of the project's runs. PYNQ does without the platform.
  if {[catch {write_hw_platform -fixed -force [file join $out cmamba.xsa]} message]} {
    puts "WARNING: no cmamba.xsa: $message"
  }
  close_project

  open_checkpoint $checkpoint
  write_whole [file join $out cmamba.bit] {write_bitstream -force}
  close_project
}

run_stage export_products {out checkpoint frequency}
