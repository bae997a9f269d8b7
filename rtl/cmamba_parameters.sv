// What a package loads besides its program, its weights and what the vector unit keeps itself:
// parameters and tables, each for one unit. The loader writes them through one bus.

`default_nettype none

module cmamba_parameters
  import cmamba_pkg::*;
  import cmamba_build_pkg::*;
#(
    // Channels that a step of the scan begins.
    localparam int unsigned ScanSlots = ScanLanes / 16,
    localparam int unsigned ArrayWidth = $clog2(MaxArrayParams / RequantizeLanes),
    localparam int unsigned ConvWidth = $clog2(MaxConvParams / ConvLanes),
    localparam int unsigned ConvTableWidth = $clog2(MaxConvTables),
    localparam int unsigned ScanWidth = $clog2(MaxScanParams / ScanSlots),
    localparam int unsigned DecayWidth = $clog2(MaxScanDecay / ScanLanes),
    localparam int unsigned ScanTableWidth = $clog2(MaxScanTables)
) (
    input wire logic clk_i,

    // The loader, see there.
    // verilator lint_off UNUSEDSIGNAL
    // The other, longer sections have memories elsewhere.
    input wire logic [NumSections-1:0] wr_en_i,
    input wire logic [23:0]            wr_addr_i,
    // verilator lint_on UNUSEDSIGNAL
    input wire logic [127:0]           wr_data_i,

    // Array.
    input  wire logic                                      array_rd_en_i,
    input  wire logic [RequantizeLanes-1:0][ArrayWidth-1:0] array_rd_addr_i,
    output logic [RequantizeLanes-1:0][ParamWordBits-1:0]  array_rd_data_o,

    // Convolution.
    input  wire logic                      conv_rd_en_i,
    input  wire logic [ConvWidth-1:0]      conv_rd_addr_i,
    output logic [ConvLanes-1:0][127:0]    conv_rd_data_o,
    input  wire logic [ConvTableWidth-1:0] conv_table_i,
    input  wire logic [ConvLanes-1:0][7:0] conv_argument_i,
    output logic [ConvLanes-1:0][7:0]      conv_entry_o,

    // Scan.
    input  wire logic                      scan_rd_en_i,
    input  wire logic [ScanWidth-1:0]      scan_rd_addr_i,
    output param_word_t [ScanSlots-1:0]    scan_rd_data_o,
    input  wire logic                      decay_rd_en_i,
    input  wire logic [DecayWidth-1:0]     decay_rd_addr_i,
    output logic [ScanLanes-1:0][15:0]     decay_rd_data_o,
    input  wire logic [ScanTableWidth-1:0] softplus_table_i,
    input  wire logic [ScanSlots-1:0][7:0] softplus_argument_i,
    output logic [ScanSlots-1:0][15:0]     softplus_entry_o,
    input  wire logic [ScanTableWidth-1:0] silu_table_i,
    input  wire logic [ScanSlots-1:0][7:0] silu_argument_i,
    output logic [ScanSlots-1:0][15:0]     silu_entry_o
);

  // Bits of the number of a beat.
  localparam int unsigned ArrayBeatWidth = $clog2(MaxArrayParams / 2);
  localparam int unsigned ScanBeatWidth = $clog2(MaxScanParams / 2);
  localparam int unsigned DecayBeatWidth = $clog2(MaxScanDecay / 8);

  // The last registers of the bus's tree: the memories are many block RAMs, and an address for
  // each.
  logic array_wr_en_q, conv_wr_en_q, conv_table_wr_en_q;
  logic scan_wr_en_q, decay_wr_en_q;
  (* keep = "true" *) logic softplus_wr_en_q;
  (* keep = "true" *) logic silu_wr_en_q;
  (* keep = "true" *) logic [ArrayBeatWidth-1:0] array_wr_addr_q;
  (* keep = "true" *) logic [$clog2(MaxConvParams)-1:0] conv_wr_addr_q;
  (* keep = "true" *) logic [ConvTableWidth+7:0] conv_table_wr_addr_q;
  (* keep = "true" *) logic [ScanBeatWidth-1:0] scan_wr_addr_q;
  (* keep = "true" *) logic [DecayBeatWidth-1:0] decay_wr_addr_q;
  (* keep = "true" *) logic [ScanTableWidth+7:0] scan_table_wr_addr_q;
  logic [127:0] wr_data_q;
  always_ff @(posedge clk_i) begin
    array_wr_en_q <= wr_en_i[SectionArrayParams];
    conv_wr_en_q <= wr_en_i[SectionConvParams];
    conv_table_wr_en_q <= wr_en_i[SectionConvTables];
    scan_wr_en_q <= wr_en_i[SectionScanParams];
    decay_wr_en_q <= wr_en_i[SectionScanDecay];
    softplus_wr_en_q <= wr_en_i[SectionScanTables];
    silu_wr_en_q <= wr_en_i[SectionScanTables];
    array_wr_addr_q <= wr_addr_i[ArrayBeatWidth-1:0];
    conv_wr_addr_q <= wr_addr_i[$clog2(MaxConvParams)-1:0];
    conv_table_wr_addr_q <= wr_addr_i[ConvTableWidth+7:0];
    scan_wr_addr_q <= wr_addr_i[ScanBeatWidth-1:0];
    decay_wr_addr_q <= wr_addr_i[DecayBeatWidth-1:0];
    scan_table_wr_addr_q <= wr_addr_i[ScanTableWidth+7:0];
    wr_data_q <= wr_data_i;
  end

  cmamba_param_memory #(
      .WordBits (ParamWordBits),
      .Lanes    (RequantizeLanes),
      .Words    (MaxArrayParams),
      .Addresses(RequantizeLanes)
  ) u_array (
      .clk_i,
      .wr_en_i  (array_wr_en_q),
      .wr_addr_i(array_wr_addr_q),
      .wr_data_i(wr_data_q),
      .rd_en_i  (array_rd_en_i),
      .rd_addr_i(array_rd_addr_i),
      .rd_data_o(array_rd_data_o)
  );

  cmamba_param_memory #(
      .WordBits(128),
      .Lanes   (ConvLanes),
      .Words   (MaxConvParams)
  ) u_conv (
      .clk_i,
      .wr_en_i  (conv_wr_en_q),
      .wr_addr_i(conv_wr_addr_q),
      .wr_data_i(wr_data_q),
      .rd_en_i  (conv_rd_en_i),
      .rd_addr_i(conv_rd_addr_i),
      .rd_data_o(conv_rd_data_o)
  );

  cmamba_activation_table #(
      .Tables(MaxConvTables),
      .Width (8),
      .Lanes (ConvLanes)
  ) u_conv_tables (
      .clk_i,
      .wr_en_i  (conv_table_wr_en_q),
      .wr_addr_i(conv_table_wr_addr_q),
      .wr_data_i(wr_data_q[7:0]),
      .table_i  (conv_table_i),
      .data_i   (conv_argument_i),
      .data_o   (conv_entry_o)
  );

  logic [ScanSlots-1:0][ParamWordBits-1:0] scan_words;
  for (genvar s = 0; s < ScanSlots; s++) begin : gen_scan_word
    assign scan_rd_data_o[s] = param_word_t'(scan_words[s]);
  end

  cmamba_param_memory #(
      .WordBits(ParamWordBits),
      .Lanes   (ScanSlots),
      .Words   (MaxScanParams)
  ) u_scan (
      .clk_i,
      .wr_en_i  (scan_wr_en_q),
      .wr_addr_i(scan_wr_addr_q),
      .wr_data_i(wr_data_q),
      .rd_en_i  (scan_rd_en_i),
      .rd_addr_i(scan_rd_addr_i),
      .rd_data_o(scan_words)
  );

  cmamba_param_memory #(
      .WordBits(16),
      .Lanes   (ScanLanes),
      .Words   (MaxScanDecay)
  ) u_decay (
      .clk_i,
      .wr_en_i  (decay_wr_en_q),
      .wr_addr_i(decay_wr_addr_q),
      .wr_data_i(wr_data_q),
      .rd_en_i  (decay_rd_en_i),
      .rd_addr_i(decay_rd_addr_i),
      .rd_data_o(decay_rd_data_o)
  );

  // Any table of the section can be a softplus or a SiLU, and both are looked up at once: two
  // memories with all of them.
  cmamba_activation_table #(
      .Tables(MaxScanTables),
      .Width (16),
      .Lanes (ScanSlots)
  ) u_softplus_tables (
      .clk_i,
      .wr_en_i  (softplus_wr_en_q),
      .wr_addr_i(scan_table_wr_addr_q),
      .wr_data_i(wr_data_q[15:0]),
      .table_i  (softplus_table_i),
      .data_i   (softplus_argument_i),
      .data_o   (softplus_entry_o)
  );

  cmamba_activation_table #(
      .Tables(MaxScanTables),
      .Width (16),
      .Lanes (ScanSlots)
  ) u_silu_tables (
      .clk_i,
      .wr_en_i  (silu_wr_en_q),
      .wr_addr_i(scan_table_wr_addr_q),
      .wr_data_i(wr_data_q[15:0]),
      .table_i  (silu_table_i),
      .data_i   (silu_argument_i),
      .data_o   (silu_entry_o)
  );

endmodule

`default_nettype wire
