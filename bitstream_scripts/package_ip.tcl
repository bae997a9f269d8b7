# Packages the RTL as IP. Interfaces are made here port by port and not inferred: Vivado does not
# see AXI4 in m_axi_gmem, which has no write channels.

# The files of one build, packages first.
proc rtl_files {root build} {
  set files {}
  foreach package [string map [list BUILD $build] $design::rtl_packages] {
    lappend files [file join $root $package]
  }
  foreach folder $design::rtl_folders {
    foreach module [lsort [glob [file join $root $folder *.sv]]] {
      if {![string match *_pkg.sv $module]} {
        lappend files $module
      }
    }
  }
  lappend files [file join $root bitstream_scripts cmamba_ip.v]
  foreach file $files {
    if {![file isfile $file]} {
      error "$file does not exist: BUILD is a folder of rtl/build"
    }
  }
  return $files
}

# Interface `name` of `core`, with every port that is called NAME_SIGNAL.
proc add_interface {core name kind mode parameters} {
  set bus [ipx::add_bus_interface $name $core]
  set_property abstraction_type_vlnv xilinx.com:interface:${kind}_rtl:1.0 $bus
  set_property bus_type_vlnv xilinx.com:interface:${kind}:1.0 $bus
  set_property interface_mode $mode $bus
  set ports [ipx::get_ports ${name}_* -of_objects $core]
  if {[llength $ports] == 0} {
    error "the RTL has no ports ${name}_*"
  }
  foreach port $ports {
    set physical [get_property NAME $port]
    set logical [string range $physical [string length ${name}_] end]
    set_property physical_name $physical [ipx::add_port_map $logical $bus]
  }
  foreach {key value} $parameters {
    set_property value $value [ipx::add_bus_parameter $key $bus]
  }
  ipx::associate_bus_interfaces -busif $name -clock ap_clk $core
  return $bus
}

# Interface of one port.
proc add_signal {core port type logical mode parameters} {
  set bus [ipx::add_bus_interface $port $core]
  set_property abstraction_type_vlnv xilinx.com:signal:${type}_rtl:1.0 $bus
  set_property bus_type_vlnv xilinx.com:signal:${type}:1.0 $bus
  set_property interface_mode $mode $bus
  set_property physical_name $port [ipx::add_port_map $logical $bus]
  foreach {key value} $parameters {
    set_property value $value [ipx::add_bus_parameter $key $bus]
  }
}

proc add_registers {core interface} {
  set map [ipx::add_memory_map $interface $core]
  set_property slave_memory_map_ref $interface \
      [ipx::get_bus_interfaces $interface -of_objects $core]
  set block [ipx::add_address_block Reg $map]
  set_property base_address 0 $block
  set_property range [expr {$design::accelerator_range}] $block
  set_property width 32 $block
  # PYNQ reads registers of blocks of this usage only.
  set_property usage register $block
  set_property access read-write $block
  foreach register $design::registers {
    lassign $register name offset access description fields
    set object [ipx::add_register $name $block]
    set_property address_offset $offset $object
    set_property size 32 $object
    set_property access $access $object
    set_property description $description $object
    foreach field $fields {
      lassign $field field_name lsb bits field_access field_description
      set part [ipx::add_field $field_name $object]
      set_property bit_offset $lsb $part
      set_property bit_width $bits $part
      set_property access $field_access $part
      set_property description $field_description $part
    }
  }
}

# Package one build of the RTL below `folder`; a project beside it is needed for that.
proc package_ip {root build folder project} {
  lassign [split $design::accelerator_vlnv :] vendor library name version

  create_project -force package_ip $project -part $design::board_part
  set files [rtl_files $root $build]
  add_files -norecurse $files
  set_property top cmamba_ip [current_fileset]
  update_compile_order -fileset sources_1

  ipx::package_project -root_dir $folder -vendor $vendor -library $library -taxonomy /UserIP \
      -import_files -force
  set core [ipx::current_core]
  set_property name $name $core
  set_property version $version $core
  set_property display_name "CMamba int8 accelerator" $core
  set_property description "CMamba int8 accelerator, build $build" $core

  # What has been inferred is dropped, so that nothing depends on the version of Vivado.
  ipx::remove_all_bus_interface $core
  foreach map [ipx::get_memory_maps -of_objects $core] {
    ipx::remove_memory_map [get_property NAME $map] $core
  }
  foreach space [ipx::get_address_spaces -of_objects $core] {
    ipx::remove_address_space [get_property NAME $space] $core
  }

  add_signal $core ap_clk clock CLK slave {ASSOCIATED_RESET ap_rst_n}
  add_signal $core ap_rst_n reset RST slave {POLARITY ACTIVE_LOW}
  add_signal $core interrupt interrupt INTERRUPT master {SENSITIVITY LEVEL_HIGH}
  add_interface $core s_axi_control aximm slave {PROTOCOL AXI4LITE}
  add_interface $core s_axis axis slave {}
  add_interface $core m_axis axis master {}
  set gmem [add_interface $core m_axi_gmem aximm master [list \
      PROTOCOL AXI4 READ_WRITE_MODE READ_ONLY SUPPORTS_NARROW_BURST 0 \
      MAX_BURST_LENGTH $design::gmem_burst_beats NUM_READ_OUTSTANDING $design::gmem_bursts]]
  set space [ipx::add_address_space m_axi_gmem $core]
  set_property range 16E $space
  set_property width 64 $space
  set_property master_address_space_ref m_axi_gmem $gmem
  add_registers $core s_axi_control

  ipx::create_xgui_files $core
  ipx::update_checksums $core
  ipx::check_integrity $core
  ipx::save_core $core
  close_project
}
