# One step of the Vitis HLS flow (2022.2 or later), run by run.sh:
#
#   CMAMBA_STEP=csim|csynth|cosim|export CMAMBA_BUILD=default CMAMBA_GOLDEN="FOLDER..." \
#       CMAMBA_FLOW=|syn|impl vitis_hls -f hls/vitis/run.tcl
#
# csim and csynth start a project of their own afresh; cosim and export go on from csynth's. Everything
# is written below build/vitis/BUILD, the reports are copied to build/reports.

set root [file normalize [file join [file dirname [info script]] .. ..]]
set build [file join $root build vitis $::env(CMAMBA_BUILD)]
set reports [file join $root build reports]
set step $::env(CMAMBA_STEP)

set top cmamba_top
set part xczu9eg-ffvb1156-2-e
set clock_ns 4

# With config.h of the build of the accelerator; an absolute path, because the tools run deep inside the
# project.
set headers [file join $root hls build $::env(CMAMBA_BUILD)]
set cflags "-std=c++14 -I[file join $root hls include] -I$headers"
set sources [lsort [glob [file join $root hls src *.cpp]]]
set testbench [lsort [glob [file join $root hls tb *.cpp]]]

# Golden folders; absolute paths as well.
set golden $::env(CMAMBA_GOLDEN)

proc copy_reports {pattern} {
  global reports
  file mkdir $reports
  foreach report [glob -nocomplain {*}$pattern] {
    file copy -force $report $reports
    puts "report: [file join $reports [file tail $report]]"
  }
}

file mkdir $build
cd $build

switch $step {
  csim - csynth {
    open_project -reset $step
    set_top $top
    foreach file $sources {
      add_files $file -cflags $cflags
    }
    foreach file $testbench {
      add_files -tb $file -cflags $cflags
    }
    open_solution -reset -flow_target vivado solution
    set_part $part
    create_clock -period $clock_ns -name default
  }
  cosim - export {
    if {![file isdirectory [file join $build csynth solution syn]]} {
      error "$step: run csynth first, [file join $build csynth solution syn] does not exist"
    }
    open_project csynth
    open_solution solution
  }
  default {
    error "CMAMBA_STEP is \"$step\", expected csim, csynth, cosim or export"
  }
}

switch $step {
  csim {
    csim_design -clean -O -argv $golden
  }
  csynth {
    csynth_design
    copy_reports [list csynth/solution/syn/report/*.rpt csynth/solution/syn/report/*.xml]
  }
  cosim {
    # The trace of every instruction exists in C only: the RTL is compared by what it sends.
    cosim_design -O -rtl verilog -argv "--outputs-only $golden"
    copy_reports [list csynth/solution/sim/report/*.rpt]
  }
  export {
    # With a flow, Vivado runs on the core alone.
    set flow [expr {$::env(CMAMBA_FLOW) eq "" ? {} : [list -flow $::env(CMAMBA_FLOW)]}]
    export_design {*}$flow -format ip_catalog -rtl verilog \
        -output [file join $build cmamba_top.zip] \
        -vendor cmamba -library hls -ipname cmamba -version 1.0 \
        -display_name "CMamba int8 accelerator"
    set impl csynth/solution/impl
    copy_reports [list $impl/report/verilog/*.rpt $impl/verilog/report/*.rpt]
    puts "IP: [file join $build cmamba_top.zip]"
  }
}

close_solution
close_project
exit
