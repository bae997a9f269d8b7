# What all scripts share: how one starts and ends, and what is looked up in the Vivado that runs it.

# Runs `stage` with the values of `names` in the settings, a file of words that -tclargs names. What
# goes wrong is left in failure.txt, in one line.
proc run_stage {stage names} {
  set file [open [lindex $::argv 0]]
  set settings [read $file]
  close $file
  set values {}
  foreach name $names {
    if {![dict exists $settings $name]} {
      puts stderr "[lindex $::argv 0] lacks $name"
      exit 1
    }
    lappend values [dict get $settings $name]
  }
  if {[catch {$stage {*}$values} message]} {
    puts stderr $::errorInfo
    set file [open [file join [dict get $settings out] failure.txt] w]
    puts $file [join [split $message \n] " "]
    close $file
    exit 1
  }
}

# A report that only informs: synthesis took longer than it is worth.
proc try_report {command path} {
  if {[catch {{*}$command -file $path} message]} {
    puts "WARNING: no [file tail $path]: $message"
  }
}

proc check_version {} {
  if {![regexp {^v?(\d+)\.(\d+)} [version -short] -> year release]} {
    error "Vivado does not say its version: [version -short]"
  }
  lassign [split $design::board_vivado .] least_year least_release
  if {$year < $least_year || ($year == $least_year && $release < $least_release)} {
    error "this is Vivado [version -short]: install $design::board_vivado or later, and source its\
        settings64.sh"
  }
}

# Parts come with devices that are installed.
proc check_part {} {
  if {[llength [get_parts -quiet $design::board_part]] == 0} {
    error "Vivado has no part $design::board_part: add Zynq UltraScale+ MPSoC with\
        Help > Add Design Tools or Devices, and a license for the ZU9EG"
  }
}

# The newest files of the board. Boards have versions, and a Vivado has some of them.
proc find_board {} {
  set found [lsort -dictionary [get_board_parts -quiet $design::board_board_part:*]]
  if {[llength $found] == 0} {
    error "Vivado has no files of the board $design::board_board_part: install them with\
        Tools > Vivado Store > Boards"
  }
  return [lindex $found end]
}

# VLNV of the newest version of an IP. A Vivado has one version of most, the next Vivado another.
proc find_ip {ip} {
  set found [lsort -dictionary [get_ipdefs $ip:*]]
  if {[llength $found] == 0} {
    error "this Vivado ([version -short]) has no IP $ip"
  }
  return [lindex $found end]
}

# A file is either not there or whole: Vivado may be killed at any time. `write` writes what is
# appended to it, a path with the same extension.
proc write_whole {path write} {
  set part [file rootname $path].part[file extension $path]
  {*}$write $part
  file rename -force $part $path
}
