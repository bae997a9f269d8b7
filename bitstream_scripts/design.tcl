# Generated from design.toml, rtl/regs/cmamba_regs.rdl and rtl/loader/axi_read.sv by
# `make design`. Do not edit.

namespace eval design {
  variable board_name ZCU102
  variable board_part xczu9eg-ffvb1156-2-e
  variable board_board_part xilinx.com:zcu102:part0:3.4
  variable board_vivado 2022.2
  variable board_block_design cmamba_zcu102
  variable clock_frequency_mhz 250
  variable processor_instance zynq_ultra_ps_e_0
  variable processor_vlnv xilinx.com:ip:zynq_ultra_ps_e:3.5
  variable processor_master M_AXI_HPM0_FPD
  variable accelerator_instance cmamba_0
  variable accelerator_vlnv cmamba:rtl:cmamba:1.0
  variable accelerator_base 0xA0000000
  variable accelerator_range 0x1000
  variable accelerator_interface s_axi_control
  variable hls_vlnv cmamba:hls:cmamba:1.0
  variable dma_instance axi_dma_0
  variable dma_vlnv xilinx.com:ip:axi_dma:7.1
  variable dma_base 0xA0010000
  variable dma_range 0x10000
  variable dma_interface S_AXI_LITE
  variable dma_data_bits 128
  variable dma_length_bits 26
  variable dma_burst_beats 64
  variable memory_base 0x0
  variable memory_range 0x80000000
  variable memory_gmem_port S_AXI_HP0_FPD
  variable memory_mm2s_port S_AXI_HP1_FPD
  variable memory_s2mm_port S_AXI_HP2_FPD
  variable interrupts_pins {cmamba_0/interrupt axi_dma_0/mm2s_introut axi_dma_0/s2mm_introut}

  # Beats of the longest burst on m_axi_gmem, and bursts under way.
  variable gmem_burst_beats 32
  variable gmem_bursts 8

  # From the root. Packages come in this order, then the modules of the folders; BUILD
  # stands for a build.
  variable rtl_packages {
    rtl/cmamba_pkg.sv
    rtl/cmamba_cells_pkg.sv
    rtl/loader/cmamba_loader_pkg.sv
    rtl/build/BUILD/cmamba_build_pkg.sv
    rtl/regs/cmamba_regs_pkg.sv
  }
  variable rtl_folders {rtl/cells rtl/units rtl/loader rtl/memories rtl/regs rtl}

  # Name, offset, access, description, and the fields:
  # name, first bit, bits, access, description.
  variable registers {
    {CTRL 0x000 read-write {Start and state of the accelerator.} {
      {START 0 1 read-write {Write 1 to start; 1 until the run is done, or for ever with auto_restart.}}
      {DONE 1 1 read-only {The run is done. Reading clears it.}}
      {IDLE 2 1 read-only {Nothing is running.}}
      {READY 3 1 read-only {The next run can start. Reading clears it.}}
      {AUTO_RESTART 7 1 read-write {Start again when a run is done.}}
      {INTERRUPT 9 1 read-only {State of the interrupt output.}}
    }}
    {GIE 0x004 read-write {Global interrupt enable.} {
      {ENABLE 0 1 read-write {Pass interrupts on to the output.}}
    }}
    {IER 0x008 read-write {Interrupt enable.} {
      {DONE 0 1 read-write {When a run is done.}}
      {READY 1 1 read-write {When the next run can start.}}
    }}
    {ISR 0x00C read-write {Interrupt status. Writing 1 toggles a bit.} {
      {DONE 0 1 read-write {A run is done.}}
      {READY 1 1 read-write {The next run can start.}}
    }}
    {GMEM_LO 0x010 read-write {Address of the package, bits 31 to 0; a multiple of 16.} {
      {VALUE 0 32 read-write {}}
    }}
    {GMEM_HI 0x014 read-write {Address of the package, bits 63 to 32.} {
      {VALUE 0 32 read-write {}}
    }}
    {MODE 0x01C read-write {What a run does.} {
      {COMMAND 0 8 read-write {1 loads a package, 2 runs forecasts.}}
      {TLAST_EACH 8 1 read-write {TLAST after every forecast, not only the last.}}
      {RESERVED 9 23 read-write {Zero.}}
    }}
    {PACKAGE_BEATS 0x024 read-write {Size of the package in beats of 16 bytes, rounded up.} {
      {VALUE 0 32 read-write {}}
    }}
    {N_FORECASTS 0x02C read-write {Forecasts of a run.} {
      {VALUE 0 32 read-write {}}
    }}
    {WATCHDOG_CYCLES 0x034 read-write {A run in which nothing completes for so many cycles ends with an error. The initial value is a second.} {
      {VALUE 0 32 read-write {}}
    }}
    {VERSION 0x040 read-only {Version of the instruction set.} {
      {MINOR 0 16 read-only {}}
      {MAJOR 16 16 read-only {}}
    }}
    {ERROR 0x044 read-only {Error code of the last run, docs/instruction_set.md.} {
      {CODE 0 4 read-only {}}
    }}
    {ENTRIES_LO 0x048 read-only {Schedule entries that the run has completed, bits 31 to 0.} {
      {VALUE 0 32 read-only {}}
    }}
    {ENTRIES_HI 0x04C read-only {Schedule entries that the run has completed, bits 63 to 32.} {
      {VALUE 0 32 read-only {}}
    }}
    {CYCLES_LO 0x050 read-only {Cycles of the run from start to done, bits 31 to 0.} {
      {VALUE 0 32 read-only {}}
    }}
    {CYCLES_HI 0x054 read-only {Cycles of the run from start to done, bits 63 to 32.} {
      {VALUE 0 32 read-only {}}
    }}
    {BUSY_0_LO 0x060 read-only {Bits 31 to 0.} {
      {VALUE 0 32 read-only {}}
    }}
    {BUSY_0_HI 0x064 read-only {Bits 63 to 32.} {
      {VALUE 0 32 read-only {}}
    }}
    {BUSY_1_LO 0x068 read-only {Bits 31 to 0.} {
      {VALUE 0 32 read-only {}}
    }}
    {BUSY_1_HI 0x06C read-only {Bits 63 to 32.} {
      {VALUE 0 32 read-only {}}
    }}
    {BUSY_2_LO 0x070 read-only {Bits 31 to 0.} {
      {VALUE 0 32 read-only {}}
    }}
    {BUSY_2_HI 0x074 read-only {Bits 63 to 32.} {
      {VALUE 0 32 read-only {}}
    }}
    {BUSY_3_LO 0x078 read-only {Bits 31 to 0.} {
      {VALUE 0 32 read-only {}}
    }}
    {BUSY_3_HI 0x07C read-only {Bits 63 to 32.} {
      {VALUE 0 32 read-only {}}
    }}
    {BUSY_4_LO 0x080 read-only {Bits 31 to 0.} {
      {VALUE 0 32 read-only {}}
    }}
    {BUSY_4_HI 0x084 read-only {Bits 63 to 32.} {
      {VALUE 0 32 read-only {}}
    }}
    {BUSY_5_LO 0x088 read-only {Bits 31 to 0.} {
      {VALUE 0 32 read-only {}}
    }}
    {BUSY_5_HI 0x08C read-only {Bits 63 to 32.} {
      {VALUE 0 32 read-only {}}
    }}
    {TILE 0x0A0 read-only {The array.} {
      {TILE_IN 0 16 read-only {Inputs of a lane.}}
      {TILE_OUT 16 16 read-only {Lanes.}}
    }}
    {LANES_0 0x0A4 read-only {Elements a cycle.} {
      {REQUANTIZE 0 16 read-only {Requantizer of the array.}}
      {VECTOR 16 16 read-only {Vector unit.}}
    }}
    {LANES_1 0x0A8 read-only {Elements a cycle.} {
      {CONV 0 16 read-only {Convolution.}}
      {SCAN 16 16 read-only {Channel-state pairs of the scan.}}
    }}
    {MAX_INSTRUCTIONS 0x0B0 read-only {Capacity, in elements of what it is named after (weights: tiles).} {
      {VALUE 0 32 read-only {}}
    }}
    {MAX_SCHEDULE 0x0B4 read-only {Capacity, in elements of what it is named after (weights: tiles).} {
      {VALUE 0 32 read-only {}}
    }}
    {MAX_WEIGHTS 0x0B8 read-only {Capacity, in elements of what it is named after (weights: tiles).} {
      {VALUE 0 32 read-only {}}
    }}
    {MAX_ARRAY_PARAMS 0x0BC read-only {Capacity, in elements of what it is named after (weights: tiles).} {
      {VALUE 0 32 read-only {}}
    }}
    {MAX_CONV_PARAMS 0x0C0 read-only {Capacity, in elements of what it is named after (weights: tiles).} {
      {VALUE 0 32 read-only {}}
    }}
    {MAX_CONV_TABLES 0x0C4 read-only {Capacity, in elements of what it is named after (weights: tiles).} {
      {VALUE 0 32 read-only {}}
    }}
    {MAX_SCAN_PARAMS 0x0C8 read-only {Capacity, in elements of what it is named after (weights: tiles).} {
      {VALUE 0 32 read-only {}}
    }}
    {MAX_SCAN_DECAY 0x0CC read-only {Capacity, in elements of what it is named after (weights: tiles).} {
      {VALUE 0 32 read-only {}}
    }}
    {MAX_SCAN_TABLES 0x0D0 read-only {Capacity, in elements of what it is named after (weights: tiles).} {
      {VALUE 0 32 read-only {}}
    }}
    {MAX_VECTOR_PARAMS 0x0D4 read-only {Capacity, in elements of what it is named after (weights: tiles).} {
      {VALUE 0 32 read-only {}}
    }}
    {MAX_VECTOR_TABLES 0x0D8 read-only {Capacity, in elements of what it is named after (weights: tiles).} {
      {VALUE 0 32 read-only {}}
    }}
    {MAX_STATE 0x0DC read-only {Capacity, in elements of what it is named after (weights: tiles).} {
      {VALUE 0 32 read-only {}}
    }}
    {MAX_REDUCE 0x0E0 read-only {Capacity, in elements of what it is named after (weights: tiles).} {
      {VALUE 0 32 read-only {}}
    }}
    {MAX_FEATURES 0x0E4 read-only {Capacity, in elements of what it is named after (weights: tiles).} {
      {VALUE 0 32 read-only {}}
    }}
    {SPACE_0 0x100 read-only {Elements of each activation memory, in the order of the instruction set.} {
      {VALUE 0 32 read-only {}}
    }}
    {SPACE_1 0x104 read-only {Elements of each activation memory, in the order of the instruction set.} {
      {VALUE 0 32 read-only {}}
    }}
    {SPACE_2 0x108 read-only {Elements of each activation memory, in the order of the instruction set.} {
      {VALUE 0 32 read-only {}}
    }}
    {SPACE_3 0x10C read-only {Elements of each activation memory, in the order of the instruction set.} {
      {VALUE 0 32 read-only {}}
    }}
    {SPACE_4 0x110 read-only {Elements of each activation memory, in the order of the instruction set.} {
      {VALUE 0 32 read-only {}}
    }}
    {SPACE_5 0x114 read-only {Elements of each activation memory, in the order of the instruction set.} {
      {VALUE 0 32 read-only {}}
    }}
    {SPACE_6 0x118 read-only {Elements of each activation memory, in the order of the instruction set.} {
      {VALUE 0 32 read-only {}}
    }}
    {SPACE_7 0x11C read-only {Elements of each activation memory, in the order of the instruction set.} {
      {VALUE 0 32 read-only {}}
    }}
    {SPACE_8 0x120 read-only {Elements of each activation memory, in the order of the instruction set.} {
      {VALUE 0 32 read-only {}}
    }}
    {SPACE_9 0x124 read-only {Elements of each activation memory, in the order of the instruction set.} {
      {VALUE 0 32 read-only {}}
    }}
    {SPACE_10 0x128 read-only {Elements of each activation memory, in the order of the instruction set.} {
      {VALUE 0 32 read-only {}}
    }}
  }
}
