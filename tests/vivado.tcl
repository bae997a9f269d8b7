# A stand-in for Vivado: commands that write their words to a record and answer as the scripts need
# it. Run by tests/vivado.py, which sets the variables of the namespace and lists the commands.

namespace eval vivado {
  variable properties {}
  variable packaged {}
  variable runs {}
  variable launched {}
  variable project {}
  # Of the open design: what a checkpoint keeps.
  variable design {}
}

proc vivado::record {name words} {
  set file [open $vivado::record a]
  puts $file [join [concat [list $name] $words] "\t"]
  close $file
}

# Words that are no options, and the value of an option.
proc vivado::positional {name words} {
  set known [dict get $vivado::commands $name]
  set found {}
  for {set i 0} {$i < [llength $words]} {incr i} {
    set word [lindex $words $i]
    if {[dict exists $known $word]} {
      incr i [dict get $known $word]
    } elseif {[regexp {^-[a-z]} $word]} {
      error "ERROR: \[Common 17-170\] Unknown option '$word', please type '$name -help'"
    } else {
      lappend found $word
    }
  }
  return $found
}

proc vivado::option {words name {otherwise {}}} {
  set i [lsearch -exact $words $name]
  return [expr {$i < 0 ? $otherwise : [lindex $words [expr {$i + 1}]]}]
}

proc vivado::write {path text} {
  file mkdir [file dirname $path]
  set file [open $path w]
  puts $file $text
  close $file
}

proc vivado::read_file {path} {
  set file [open $path]
  set text [read $file]
  close $file
  return $text
}

proc vivado::set_value {object name value} {
  set key [string toupper $name]
  if {$key eq "BOARD_PART" && $value ni $vivado::board_parts} {
    error "ERROR: \[Board 49-71\] The board_part definition was not found for $value"
  }
  if {$key eq "STRATEGY" && $value ni $vivado::strategies} {
    error "ERROR: \[Common 17-69\] Strategy '$value' does not exist"
  }
  dict set vivado::properties $object $key $value
}

# The frequency that the processing system makes of the one that it is asked for: not above it. Without
# SRCSEL, Vivado is free to take another PLL.
proc vivado::pl_clock {object} {
  set prefix CONFIG.PSU__CRL_APB__PL0_REF_CTRL__
  set asked [dict get $vivado::properties $object ${prefix}FREQMHZ]
  set source RPLL
  if {[dict exists $vivado::properties $object ${prefix}SRCSEL]} {
    set source [dict get $vivado::properties $object ${prefix}SRCSEL]
  }
  set pll [expr {$source eq "IOPLL" ? $vivado::iopll_mhz : 1199.88}]
  set divisor [expr {int(ceil($pll / $asked))}]
  return [list $source $divisor [format %.6f [expr {$pll / $divisor}]]]
}

# VLNV of the catalog that a VLNV, with or without version, stands for.
proc vivado::check_vlnv {type vlnv} {
  if {$type ne "ip"} {
    error "ERROR: \[Common 17-170\] Unknown value '$type' of -type"
  }
  foreach candidate $vivado::ipdefs {
    if {$vlnv eq $candidate || [string match "$vlnv:*" $candidate]} {
      return
    }
  }
  error "ERROR: \[BD 5-390\] IP definition not found for VLNV: $vlnv"
}

# The report in the layout of Vivado. Slack is that of the placement, at 4 ns, and moves with the period.
proc vivado::timing_report {} {
  set place [expr {[dict exists $vivado::design place] ? [dict get $vivado::design place] : "none"}]
  set slacks {0.041 0.010}
  if {[dict exists $vivado::slacks $place]} {
    set slacks [dict get $vivado::slacks $place]
  }
  lassign $slacks setup hold
  set period [dict get $vivado::design period]
  set setup [expr {$setup + $period - 4.0}]
  return [string map [list \
      @SETUP@ [format %.3f $setup] @FAILING@ [expr {$setup < 0 ? 93 : 0}] \
      @MET@ [expr {$setup < 0 ? "VIOLATED" : "MET"}] @HOLD@ $hold \
      @DELAY@ [format %.3f [expr {$period - $setup}]]] [vivado::read_file $vivado::timing]]
}

proc vivado::call {name args} {
  vivado::record $name $args
  set words [vivado::positional $name $args]
  set first [lindex $words 0]
  if {$name in $vivado::killed_at} {
    if {$name eq "write_checkpoint"} {
      vivado::write $first "half of a"
    }
    exec kill -KILL [pid]
  }
  if {$name in $vivado::failing} {
    puts "ERROR: \[Stub 1-1\] $name does not work today"
    error "ERROR: \[Common 17-39\] '$name' failed due to earlier errors."
  }
  if {"-directive" in $args} {
    set directive [vivado::option $args -directive]
    if {$directive ni [dict get $vivado::directives $name]} {
      error "ERROR: \[Common 17-69\] $name has no directive $directive"
    }
  }
  switch -glob $name {
    version { return $vivado::version }
    get_parts { return [lsearch -all -inline -exact $vivado::parts $first] }
    get_board_parts { return [lsearch -all -inline -glob $vivado::board_parts $first] }
    get_ipdefs { return [lsearch -all -inline -glob $vivado::ipdefs $first] }
    create_project {
      set vivado::project [lindex $words 1]
      vivado::set_value project DIRECTORY $vivado::project
      set vivado::runs {synth_1 impl_1}
      if {"-in_memory" ni $args} {
        vivado::write [file join $vivado::project $first.xpr] project
      }
    }
    open_project {
      if {![file isfile $first]} { error "ERROR: \[Coretcl 2-27\] Can't find specified project." }
      set vivado::project [file dirname $first]
    }
    current_project { return project }
    current_fileset { return fileset }
    get_bd_cells { return cell:$first }
    get_bd_pins { return pin:$first }
    get_bd_intf_pins { return interface:$first }
    get_files { return file:$first }
    get_pins { return $first }
    make_wrapper { return [file join $vivado::project wrapper.v] }
    create_bd_cell {
      vivado::check_vlnv [vivado::option $args -type ip] [vivado::option $args -vlnv]
    }
    get_bd_addr_spaces { return space:[vivado::option $args -of_objects] }
    get_bd_addr_segs {
      set interface [vivado::option $args -of_objects]
      if {[regexp {/S_AXI_(HP.)_FPD$} $interface -> port]} {
        set names "${port}_DDR_HIGH ${port}_DDR_LOW ${port}_LPS_OCM ${port}_QSPI"
      } else {
        set names Reg
      }
      return [lmap name $names { string cat segment:$interface: $name }]
    }
    set_property {
      if {[lindex $args 0] eq "-dict"} {
        foreach {key value} [lindex $args 1] {
          vivado::set_value [lindex $args 2] $key $value
        }
      } else {
        vivado::set_value [lindex $args 2] [lindex $args 0] [lindex $args 1]
      }
    }
    get_property {
      set object [lindex $words 1]
      set key [string toupper $first]
      if {$key eq "NAME"} { return [lindex [split $object :] end] }
      if {$key eq "PROGRESS" && $object ni $vivado::launched} { return 0% }
      if {[dict exists $vivado::properties $object $key]} {
        return [dict get $vivado::properties $object $key]
      }
      if {[string match *PL0_REF_CTRL__ACT_FREQMHZ $key]} {
        return [lindex [vivado::pl_clock $object] 2]
      }
      if {$object eq "clk_pl_0"} {
        switch $key {
          PERIOD { return [dict get $vivado::design period] }
          SOURCE_PINS { return processor/PS8_i/PLCLK\[0\] }
          INPUT_JITTER { return [dict get $vivado::design jitter] }
        }
      }
      if {[dict exists $vivado::cells $object]} {
        return [dict get $vivado::cells $object $key]
      }
      if {[dict exists $vivado::defaults $key]} { return [dict get $vivado::defaults $key] }
      error "the stand-in knows no property $key of $object"
    }
    create_ip_run { lappend vivado::runs {*}$vivado::ip_runs }
    get_runs { return [lsearch -all -inline -glob $vivado::runs $first] }
    launch_runs {
      if {$first eq {}} { error "ERROR: \[Common 17-163\] Missing value for option 'runs'" }
      lappend vivado::launched {*}$first
      foreach run $first {
        set folder [file join $vivado::project runs $run]
        vivado::set_value $run DIRECTORY $folder
        vivado::write [file join $folder runme.log] $vivado::synthesis_log
      }
    }
    open_run {
      set made [lindex [vivado::pl_clock cell:$design::processor_instance] 2]
      set vivado::design [list period [format %.3f [expr {1000 / $made}]] jitter 0.12]
    }
    synth_design {
      puts $vivado::synthesis_log
      set vivado::design [list period 4.000 jitter 0.0]
    }
    open_checkpoint {
      set text [vivado::read_file $first]
      if {![string match "checkpoint*" $text]} { error "ERROR: \[Common 17-69\] $first is corrupt" }
      set vivado::design [lrange $text 1 end]
    }
    write_checkpoint { vivado::write $first [list checkpoint {*}$vivado::design] }
    place_design { dict set vivado::design place [vivado::option $args -directive Default] }
    get_clocks { return $vivado::clocks }
    create_clock {
      dict set vivado::design period [vivado::option $args -period]
      dict set vivado::design jitter 0.0
    }
    set_input_jitter { dict set vivado::design jitter [lindex $words 1] }
    get_cells {
      set filter [vivado::option $args -filter]
      regexp {REF_NAME =~ (\S+)} $filter -> reference
      set pattern *
      regexp {&& NAME =~ (\S+)} $filter -> pattern
      set found {}
      dict for {cell properties} $vivado::cells {
        if {[string match $reference [dict get $properties REF_NAME]] && [string match $pattern $cell]} {
          lappend found $cell
        }
      }
      return $found
    }
    generate_target {
      if {$vivado::no_handoff} { return }
      set block $design::board_block_design
      lassign [vivado::pl_clock cell:$design::processor_instance] source divisor made
      set text "<EDKSYSTEM>"
      foreach {key value} [list SRCSEL $source DIVISOR0 $divisor DIVISOR1 1 ACT_FREQMHZ $made] {
        append text "<PARAMETER NAME=\"PSU__CRL_APB__PL0_REF_CTRL__$key\" VALUE=\"$value\"/>"
      }
      vivado::write [file join $vivado::project cmamba.gen sources_1 bd $block hw_handoff $block.hwh] \
          "$text</EDKSYSTEM>"
    }
    report_timing_summary { vivado::write [vivado::option $args -file] [vivado::timing_report] }
    report_utilization {
      vivado::write [vivado::option $args -file] [vivado::read_file $vivado::utilization]
    }
    report_* { vivado::write [vivado::option $args -file] "$name of the stand-in" }
    write_hw_platform { vivado::write $first platform }
    write_bitstream { vivado::write $first "bitstream of $vivado::design" }
    update_ip_catalog {
      # IP is found in the repositories that the project has.
      if {[dict exists $vivado::properties project IP_REPO_PATHS]} {
        lappend vivado::ipdefs {*}$vivado::packaged
        if {"-add_ip" in $args} { lappend vivado::ipdefs $design::hls_vlnv }
      }
    }
    ipx::current_core { return core }
    ipx::get_ports {
      return [lmap port [lsearch -all -inline -glob $vivado::ports $first] { string cat port: $port }]
    }
    ipx::save_core {
      set names {VENDOR LIBRARY NAME VERSION}
      lappend vivado::packaged [join [lmap key $names { dict get $vivado::properties core $key }] :]
    }
    ipx::package_project {
      vivado::set_value core VENDOR [vivado::option $args -vendor]
      vivado::set_value core LIBRARY [vivado::option $args -library]
    }
    ipx::get_memory_maps { return memory_map:inferred }
    ipx::get_address_spaces { return address_space:inferred }
    ipx::get_bus_interfaces { return bus_interface:$first }
    ipx::add_* {
      set kind [string range $name 9 end]
      set owner [lindex $words 1]
      return [expr {$owner eq "core" ? "$kind:$first" : "$kind:$owner:$first"}]
    }
  }
}

foreach command [dict keys $vivado::commands] {
  if {[string match *::* $command]} {
    namespace eval [namespace qualifiers $command] {}
  }
  interp alias {} $command {} vivado::call $command
}
foreach {object key value} $vivado::given {
  vivado::set_value $object $key $value
}

set script [lindex $argv 0]
set argv [lrange $argv 1 end]
source $script
