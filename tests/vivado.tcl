# A stand-in for Vivado: commands that write their words to a record and answer as the script needs it.
# Run by tests/vivado.py, which sets the variables of the namespace and lists the commands.

namespace eval vivado {
  variable properties {}
  variable ipdefs {}
  variable packaged {}
  variable runs {}
  variable project {}
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
    } else {
      lappend found $word
    }
  }
  return $found
}

proc vivado::option {words name} {
  return [lindex $words [expr {[lsearch -exact $words $name] + 1}]]
}

proc vivado::write {path text} {
  file mkdir [file dirname $path]
  set file [open $path w]
  puts $file $text
  close $file
}

proc vivado::set_value {object name value} {
  dict set vivado::properties $object [string toupper $name] $value
}

proc vivado::call {name args} {
  vivado::record $name $args
  set words [vivado::positional $name $args]
  set first [lindex $words 0]
  switch -glob $name {
    version { return $vivado::version }
    get_board_parts { return [lsearch -all -inline -exact $vivado::board_parts $first] }
    get_ipdefs { return [lsearch -all -inline -exact $vivado::ipdefs $first] }
    create_project {
      set vivado::project [lindex $words 1]
      vivado::set_value project DIRECTORY $vivado::project
      set vivado::runs {synth_1 impl_1}
    }
    current_project { return project }
    current_fileset { return fileset }
    current_run { return run:$first }
    get_bd_cells { return cell:$first }
    get_bd_pins { return pin:$first }
    get_bd_intf_pins { return interface:$first }
    get_files { return file:$first }
    make_wrapper { return [file join $vivado::project wrapper.v] }
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
      if {[dict exists $vivado::properties $object $key]} {
        return [dict get $vivado::properties $object $key]
      }
      if {[dict exists $vivado::defaults $key]} { return [dict get $vivado::defaults $key] }
      error "the stand-in knows no property $key of $object"
    }
    create_ip_run { lappend vivado::runs {*}$vivado::ip_runs }
    create_run { lappend vivado::runs $first }
    get_runs { return [lmap run [lsearch -all -inline -glob $vivado::runs $first] { set run }] }
    launch_runs {
      if {"-to_step" in $args} {
        if {$vivado::no_bitstream} {
          vivado::set_value $first PROGRESS 95%
          vivado::set_value $first STATUS "write_bitstream ERROR"
          return
        }
        set folder [file join $vivado::project runs $first]
        vivado::set_value $first DIRECTORY $folder
        vivado::write [file join $folder ${design::board_block_design}_wrapper.bit] bitstream
      }
    }
    generate_target {
      if {$vivado::no_handoff} { return }
      set block $design::board_block_design
      vivado::write [file join $vivado::project cmamba.gen sources_1 bd $block hw_handoff $block.hwh] \
          handoff
    }
    get_timing_paths { return path }
    report_* { vivado::write [vivado::option $args -file] "$name of the stand-in" }
    write_hw_platform { vivado::write $first platform }
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
