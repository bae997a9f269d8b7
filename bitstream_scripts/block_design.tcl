# The block design:
#
#   processing system --HPM0--> SmartConnect --+--> accelerator (s_axi_control)
#                                              +--> AXI DMA (S_AXI_LITE)
#     HP0 <-- SmartConnect <-- accelerator (m_axi_gmem): package, and weights that do not fit
#     HP3 <-- SmartConnect <-- AXI DMA (MM2S) --> accelerator (s_axis): patches
#     HP1 <-- SmartConnect <-- AXI DMA (S2MM) <-- accelerator (m_axis): forecasts
#
# One clock, PL clock 0; one reset, synchronous to it. No interrupts: the driver polls.

proc bd_pin {path} {
  return [get_bd_pins $path]
}

proc bd_interface {path} {
  return [get_bd_intf_pins $path]
}

# Settings of a cell: name and value, without CONFIG.
proc configure_cell {cell settings} {
  set list {}
  foreach {name value} $settings {
    lappend list CONFIG.$name $value
  }
  set_property -dict $list [get_bd_cells $cell]
}

# S_AXI_HPn_FPD is slave port n + 2 in the settings of the processing system, and n in its pins.
proc hp_number {port} {
  if {![regexp {^S_AXI_HP([0-3])_FPD$} $port -> number]} {
    error "$port is no HP port"
  }
  return $number
}

# PL clock 0 comes from the I/O PLL, so that it is the one that is meant: left alone, Vivado may
# choose another PLL, with other frequencies.
proc set_pl_clock {cell frequency_mhz} {
  configure_cell $cell [list \
      PSU__CRL_APB__PL0_REF_CTRL__SRCSEL IOPLL PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $frequency_mhz]
}

# The processing system makes what comes near. Nobody may find that out on the board.
proc check_pl_clock {cell frequency_mhz} {
  set made [get_property CONFIG.PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ [get_bd_cells $cell]]
  if {abs($made / double($frequency_mhz) - 1) > 0.0005} {
    error "PL clock 0: asked for $frequency_mhz MHz, the processing system makes $made MHz of it"
  }
}

proc create_processor {cell frequency_mhz ports} {
  create_bd_cell -type ip -vlnv [find_ip $design::processor_ip] $cell
  # DDR, clocks and MIO of the board.
  apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset "1"} \
      [get_bd_cells $cell]
  set settings [list PSU__FPGA_PL0_ENABLE 1 \
      PSU__USE__M_AXI_GP0 1 PSU__USE__M_AXI_GP1 0 PSU__USE__M_AXI_GP2 0 PSU__USE__IRQ0 0]
  foreach port $ports {
    set number [expr {[hp_number $port] + 2}]
    lappend settings PSU__USE__S_AXI_GP$number 1 \
        PSU__SAXIGP${number}__DATA_WIDTH $design::dma_data_bits
  }
  configure_cell $cell $settings
  set_pl_clock $cell $frequency_mhz
}

proc create_dma {cell} {
  create_bd_cell -type ip -vlnv [find_ip $design::dma_ip] $cell
  # Without this, IP Integrator derives the widths from what is connected when it is connected.
  configure_cell $cell {
    c_m_axi_s2mm_data_width.VALUE_SRC USER c_s_axis_s2mm_tdata_width.VALUE_SRC USER
  }
  configure_cell $cell [list \
      c_include_sg 0 c_sg_include_stscntrl_strm 0 c_micro_dma 0 c_addr_width 32 \
      c_sg_length_width $design::dma_length_bits \
      c_include_mm2s 1 c_include_mm2s_dre 0 c_mm2s_burst_size $design::dma_burst_beats \
      c_m_axi_mm2s_data_width $design::dma_data_bits \
      c_m_axis_mm2s_tdata_width $design::dma_data_bits \
      c_include_s2mm 1 c_include_s2mm_dre 0 c_s2mm_burst_size $design::dma_burst_beats \
      c_m_axi_s2mm_data_width $design::dma_data_bits \
      c_s_axis_s2mm_tdata_width $design::dma_data_bits]
}

# From one master to the slaves, in their order.
proc create_smartconnect {cell master slaves} {
  create_bd_cell -type ip -vlnv [find_ip xilinx.com:ip:smartconnect] $cell
  configure_cell $cell [list NUM_SI 1 NUM_MI [llength $slaves]]
  connect_bd_intf_net [bd_interface $master] [bd_interface $cell/S00_AXI]
  set i 0
  foreach slave $slaves {
    connect_bd_intf_net [bd_interface $cell/[format M%02d_AXI $i]] [bd_interface $slave]
    incr i
  }
}

# Of the segments behind the interface `slave`, the one called `segment` is mapped into the address
# space of the interface `master`; the others are excluded, so that nothing else can be reached.
proc map_address {master slave segment base range} {
  set space [get_bd_addr_spaces -of_objects [bd_interface $master]]
  set found {}
  foreach candidate [get_bd_addr_segs -of_objects [bd_interface $slave]] {
    if {[string match $segment [get_property NAME $candidate]]} {
      lappend found $candidate
    } else {
      exclude_bd_addr_seg -target_address_space $space $candidate
    }
  }
  if {[llength $space] != 1 || [llength $found] != 1} {
    error "$master to $slave: [llength $space] address spaces, [llength $found] segments $segment"
  }
  assign_bd_address -target_address_space $space -offset $base -range $range -force $found
}

# Creates, validates and saves the block design with an accelerator of this VLNV.
proc create_block_design {vlnv frequency_mhz} {
  set ps $design::processor_instance
  set core $design::accelerator_instance
  set dma $design::dma_instance
  set masters [list \
      $core/m_axi_gmem $design::memory_gmem_port \
      $dma/M_AXI_MM2S $design::memory_mm2s_port \
      $dma/M_AXI_S2MM $design::memory_s2mm_port]

  create_bd_design $design::board_block_design
  create_processor $ps $frequency_mhz [dict values $masters]
  create_bd_cell -type ip -vlnv $vlnv $core
  create_dma $dma
  create_bd_cell -type ip -vlnv [find_ip xilinx.com:ip:proc_sys_reset] proc_sys_reset_0

  # Registers, memory, streams.
  set connects axi_control
  create_smartconnect axi_control $ps/$design::processor_master \
      [list $core/$design::accelerator_interface $dma/$design::dma_interface]
  foreach {master port} $masters {
    set cell axi_hp[hp_number $port]
    create_smartconnect $cell $master [list $ps/$port]
    lappend connects $cell
  }
  connect_bd_intf_net [bd_interface $dma/M_AXIS_MM2S] [bd_interface $core/s_axis]
  connect_bd_intf_net [bd_interface $core/m_axis] [bd_interface $dma/S_AXIS_S2MM]

  # Clock.
  set clocked [list $ps/maxihpm0_fpd_aclk $core/ap_clk proc_sys_reset_0/slowest_sync_clk \
      $dma/s_axi_lite_aclk $dma/m_axi_mm2s_aclk $dma/m_axi_s2mm_aclk]
  foreach {master port} $masters {
    lappend clocked $ps/saxihp[hp_number $port]_fpd_aclk
  }
  foreach cell $connects {
    lappend clocked $cell/aclk
  }
  foreach sink $clocked {
    connect_bd_net [bd_pin $ps/pl_clk0] [bd_pin $sink]
  }

  # Reset, active low.
  connect_bd_net [bd_pin $ps/pl_resetn0] [bd_pin proc_sys_reset_0/ext_reset_in]
  foreach sink [list $core/ap_rst_n $dma/axi_resetn] {
    connect_bd_net [bd_pin proc_sys_reset_0/peripheral_aresetn] [bd_pin $sink]
  }
  foreach cell $connects {
    connect_bd_net [bd_pin proc_sys_reset_0/interconnect_aresetn] [bd_pin $cell/aresetn]
  }

  # Addresses.
  map_address $ps/$design::processor_master $core/$design::accelerator_interface * \
      $design::accelerator_base $design::accelerator_range
  map_address $ps/$design::processor_master $dma/$design::dma_interface * \
      $design::dma_base $design::dma_range
  foreach {master port} $masters {
    map_address $master $ps/$port HP*_DDR_LOW $design::memory_base $design::memory_range
  }

  validate_bd_design
  set widths [list c_m_axi_mm2s_data_width c_m_axis_mm2s_tdata_width c_m_axi_s2mm_data_width \
      c_s_axis_s2mm_tdata_width]
  foreach width $widths {
    set found [get_property CONFIG.$width [get_bd_cells $dma]]
    if {$found != $design::dma_data_bits} {
      error "$dma: $width is $found after validation, expected $design::dma_data_bits"
    }
  }
  check_pl_clock $ps $frequency_mhz
  save_bd_design
}
