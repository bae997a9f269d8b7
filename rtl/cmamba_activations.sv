// The activation memories, and which unit reads and writes each of them (docs/instruction_set.md,
// "Units and memories").
//
//   memory   | written by            | read by
//   ---------+-----------------------+---------------------------
//   patch    | stream_in             | array
//   norm     | vector                | array
//   conv_in  | array, vector         | conv
//   gate     | array                 | scan
//   conv     | conv                  | array, scan
//   proj     | array                 | array, scan (B and C), scan (skip weights)
//   step     | array                 | scan
//   scan     | scan                  | array
//   logit    | array                 | vector
//   resid    | array, vector, loader | array (the addend), vector
//   head     | array                 | stream_out
//
// Where array and vector unit write the same memory the array does not wait and the vector unit
// does.

`default_nettype none

module cmamba_activations
  import cmamba_pkg::*;
  import cmamba_build_pkg::*;
  import cmamba_cells_pkg::larger;
#(
    localparam int unsigned WordAddrWidth = 20 - $clog2(RowAlign),
    localparam int unsigned PatchWidth = $clog2(PatchElements / RowAlign),
    localparam int unsigned NormWidth = $clog2(NormElements / RowAlign),
    localparam int unsigned ConvInWidth = $clog2(ConvInElements / RowAlign),
    localparam int unsigned GateWidth = $clog2(GateElements / RowAlign),
    localparam int unsigned ConvWidth = $clog2(ConvElements / RowAlign),
    localparam int unsigned ProjWidth = $clog2(ProjElements / RowAlign),
    localparam int unsigned StepWidth = $clog2(StepElements / RowAlign),
    localparam int unsigned ScanWidth = $clog2(ScanElements / RowAlign),
    localparam int unsigned LogitWidth = $clog2(LogitElements / RowAlign),
    localparam int unsigned ResidWidth = $clog2(ResidElements / RowAlign),
    localparam int unsigned HeadWidth = $clog2(HeadElements / RowAlign)
) (
    input wire logic clk_i,

    // The loader: eight elements of resid, while no unit runs.
    // verilator lint_off UNUSEDSIGNAL
    // Addresses are made for the largest memory that a program can name; the loader has seen to it
    // that they lie inside those that there are.
    input wire logic         image_wr_en_i,
    input wire logic [ 23:0] image_wr_addr_i,
    input wire logic [127:0] image_wr_data_i,

    // stream_in.
    input wire logic                     patch_wr_en_i,
    input wire logic [PatchWidth-1:0]    patch_wr_addr_i,
    input wire logic [RowAlign-1:0]      patch_wr_mask_i,
    input wire logic [RowAlign-1:0][7:0] patch_wr_data_i,

    // Array: its inputs, the addend, its results. Elements of int8 memories are the lower halves.
    // The results of array and vector unit may be any part of a word, the mask says which.
    input  wire logic                      array_rd_en_i,
    input  wire logic [3:0]                array_rd_space_i,
    input  wire logic [WordAddrWidth-1:0]  array_rd_addr_i,
    output logic [RowAlign-1:0][7:0]       array_rd_data_o,
    input  wire logic                      add_rd_en_i,
    input  wire logic [WordAddrWidth-1:0]  add_rd_addr_i,
    output logic [RowAlign-1:0][15:0]      add_rd_data_o,
    input  wire logic [NumSpaces-1:0]      array_wr_en_i,  // of each memory
    input  wire logic [WordAddrWidth-1:0]  array_wr_addr_i,
    input  wire logic [RowAlign-1:0]       array_wr_mask_i,
    input  wire logic [RequantizeLanes-1:0][15:0] array_wr_data_i,
    // verilator lint_on UNUSEDSIGNAL

    // Vector.
    input  wire logic                      resid_rd_en_i,
    input  wire logic [ResidWidth-1:0]     resid_rd_addr_i,
    output logic [RowAlign-1:0][15:0]      resid_rd_data_o,
    input  wire logic                      logit_rd_en_i,
    input  wire logic [LogitWidth-1:0]     logit_rd_addr_i,
    output logic [RowAlign-1:0][7:0]       logit_rd_data_o,
    input  wire logic                      norm_wr_en_i,
    input  wire logic [NormWidth-1:0]      norm_wr_addr_i,
    input  wire logic [RowAlign-1:0]       norm_wr_mask_i,
    input  wire logic [VectorLanes-1:0][7:0] norm_wr_data_i,
    input  wire logic                      resid_wr_en_i,
    output logic                           resid_wr_ready_o,
    input  wire logic [ResidWidth-1:0]     resid_wr_addr_i,
    input  wire logic [RowAlign-1:0]       resid_wr_mask_i,
    input  wire logic [VectorLanes-1:0][15:0] resid_wr_data_i,
    input  wire logic                      conv_in_wr_en_i,
    output logic                           conv_in_wr_ready_o,
    input  wire logic [ConvInWidth-1:0]    conv_in_wr_addr_i,
    input  wire logic [RowAlign-1:0]       conv_in_wr_mask_i,
    input  wire logic [VectorLanes-1:0][7:0] conv_in_wr_data_i,

    // Convolution.
    input  wire logic                     conv_in_rd_en_i,
    input  wire logic [ConvInWidth-1:0]   conv_in_rd_addr_i,
    output logic [RowAlign-1:0][7:0]      conv_in_rd_data_o,
    input  wire logic                     conv_wr_en_i,
    input  wire logic [ConvWidth-1:0]     conv_wr_addr_i,
    input  wire logic [RowAlign-1:0]      conv_wr_mask_i,
    input  wire logic [RowAlign-1:0][7:0] conv_wr_data_i,

    // Scan.
    input  wire logic                     conv_rd_en_i,
    input  wire logic [ConvWidth-1:0]     conv_rd_addr_i,
    output logic [RowAlign-1:0][7:0]      conv_rd_data_o,
    input  wire logic                     gate_rd_en_i,
    input  wire logic [GateWidth-1:0]     gate_rd_addr_i,
    output logic [RowAlign-1:0][7:0]      gate_rd_data_o,
    input  wire logic                     step_rd_en_i,
    input  wire logic [StepWidth-1:0]     step_rd_addr_i,
    output logic [RowAlign-1:0][7:0]      step_rd_data_o,
    input  wire logic                     proj_rd_en_i,
    input  wire logic [ProjWidth-1:0]     proj_rd_addr_i,
    output logic [RowAlign-1:0][7:0]      proj_rd_data_o,
    input  wire logic                     skip_rd_en_i,
    input  wire logic [ProjWidth-1:0]     skip_rd_addr_i,
    output logic [RowAlign-1:0][7:0]      skip_rd_data_o,
    input  wire logic                     scan_wr_en_i,
    input  wire logic [ScanWidth-1:0]     scan_wr_addr_i,
    input  wire logic [RowAlign-1:0]      scan_wr_mask_i,
    input  wire logic [RowAlign-1:0][7:0] scan_wr_data_i,

    // stream_out.
    input  wire logic                 head_rd_en_i,
    input  wire logic [HeadWidth-1:0] head_rd_addr_i,
    output logic [RowAlign-1:0][15:0] head_rd_data_o
);

  // ---------------------------------------------------------------- the array's ports

  // It reads one memory a cycle, and its word is selected when it comes.
  // verilator lint_off UNUSEDSIGNAL
  logic [NumSpaces-1:0] array_reads;  // not each space has an input of it
  // verilator lint_on UNUSEDSIGNAL
  assign array_reads = array_rd_en_i ? NumSpaces'(1) << array_rd_space_i : '0;

  logic [3:0] space_q;
  always_ff @(posedge clk_i) space_q <= array_rd_space_i;

  logic [RowAlign-1:0][7:0] patch_word, norm_word, conv_word, proj_word, scan_word;
  localparam int unsigned PartElements = RowAlign < 16 ? RowAlign : 16;
  for (genvar p = 0; p < RowAlign / PartElements; p++) begin : gen_part
    localparam int unsigned First = p * PartElements;
    (* keep = "true" *) logic [3:0] part_space_q;
    always_ff @(posedge clk_i) part_space_q <= space_q;
    always_comb begin
      unique case (part_space_q)
        SpacePatch: array_rd_data_o[First+:PartElements] = patch_word[First+:PartElements];
        SpaceNorm:  array_rd_data_o[First+:PartElements] = norm_word[First+:PartElements];
        SpaceConv:  array_rd_data_o[First+:PartElements] = conv_word[First+:PartElements];
        SpaceProj:  array_rd_data_o[First+:PartElements] = proj_word[First+:PartElements];
        default:    array_rd_data_o[First+:PartElements] = scan_word[First+:PartElements];
      endcase
    end
  end

  logic [RequantizeLanes-1:0][7:0] array_wr_low;
  for (genvar e = 0; e < RequantizeLanes; e++) begin : gen_low
    assign array_wr_low[e] = array_wr_data_i[e][7:0];
  end
  logic [RowAlign-1:0][7:0] array_wr_word;
  assign array_wr_word = {RowAlign / RequantizeLanes{array_wr_low}};

  // ---------------------------------------------------------------- memories with several writers

  localparam int unsigned BeatElements = 8;
  localparam int unsigned WordBeats = RowAlign / BeatElements;
  localparam int unsigned SlotWidth = $clog2(WordBeats);
  // Of the writers of a memory one is chosen before their results become all parts of a word.
  localparam int unsigned WrittenLanes = larger(RequantizeLanes, VectorLanes);
  localparam int unsigned ResidLanes = larger(WrittenLanes, BeatElements);

  if (WordBeats < 2) begin : gen_check_align
    $fatal(1, "activations: RowAlign is %0d, expected at least %0d", RowAlign, 2 * BeatElements);
  end

  // The loader is alone.
  logic resid_write;
  logic [ResidWidth-1:0] resid_addr;
  logic [RowAlign-1:0] resid_mask;
  logic [ResidLanes-1:0][15:0] resid_data;
  assign resid_write = array_wr_en_i[SpaceResid] || resid_wr_en_i || image_wr_en_i;
  assign resid_wr_ready_o = !array_wr_en_i[SpaceResid];
  always_comb begin
    if (image_wr_en_i) begin
      resid_addr = image_wr_addr_i[SlotWidth+:ResidWidth];
      resid_mask = RowAlign'({BeatElements{1'b1}}) << {image_wr_addr_i[SlotWidth-1:0], 3'd0};
      resid_data = {ResidLanes / BeatElements{image_wr_data_i}};
    end else if (array_wr_en_i[SpaceResid]) begin
      resid_addr = ResidWidth'(array_wr_addr_i);
      resid_mask = array_wr_mask_i;
      resid_data = {ResidLanes / RequantizeLanes{array_wr_data_i}};
    end else begin
      resid_addr = resid_wr_addr_i;
      resid_mask = resid_wr_mask_i;
      resid_data = {ResidLanes / VectorLanes{resid_wr_data_i}};
    end
  end

  logic conv_in_write;
  logic [ConvInWidth-1:0] conv_in_addr;
  logic [RowAlign-1:0] conv_in_mask;
  logic [WrittenLanes-1:0][7:0] conv_in_data;
  assign conv_in_write = array_wr_en_i[SpaceConvIn] || conv_in_wr_en_i;
  assign conv_in_wr_ready_o = !array_wr_en_i[SpaceConvIn];
  always_comb begin
    if (array_wr_en_i[SpaceConvIn]) begin
      conv_in_addr = ConvInWidth'(array_wr_addr_i);
      conv_in_mask = array_wr_mask_i;
      conv_in_data = {WrittenLanes / RequantizeLanes{array_wr_low}};
    end else begin
      conv_in_addr = conv_in_wr_addr_i;
      conv_in_mask = conv_in_wr_mask_i;
      conv_in_data = {WrittenLanes / VectorLanes{conv_in_wr_data_i}};
    end
  end

  // ---------------------------------------------------------------- the memories

  cmamba_activation_memory #(
      .ElementBits(8),
      .Elements   (PatchElements),
      .ReadPorts  (1)
  ) u_patch (
      .clk_i,
      .wr_en_i  (patch_wr_en_i),
      .wr_addr_i(patch_wr_addr_i),
      .wr_mask_i(patch_wr_mask_i),
      .wr_data_i(patch_wr_data_i),
      .rd_en_i  (array_reads[SpacePatch]),
      .rd_addr_i(PatchWidth'(array_rd_addr_i)),
      .rd_data_o(patch_word)
  );

  cmamba_activation_memory #(
      .ElementBits(8),
      .Elements   (NormElements),
      .ReadPorts  (1)
  ) u_norm (
      .clk_i,
      .wr_en_i  (norm_wr_en_i),
      .wr_addr_i(norm_wr_addr_i),
      .wr_mask_i(norm_wr_mask_i),
      .wr_data_i({RowAlign / VectorLanes{norm_wr_data_i}}),
      .rd_en_i  (array_reads[SpaceNorm]),
      .rd_addr_i(NormWidth'(array_rd_addr_i)),
      .rd_data_o(norm_word)
  );

  cmamba_activation_memory #(
      .ElementBits(8),
      .Elements   (ConvInElements),
      .ReadPorts  (1)
  ) u_conv_in (
      .clk_i,
      .wr_en_i  (conv_in_write),
      .wr_addr_i(conv_in_addr),
      .wr_mask_i(conv_in_mask),
      .wr_data_i({RowAlign / WrittenLanes{conv_in_data}}),
      .rd_en_i  (conv_in_rd_en_i),
      .rd_addr_i(conv_in_rd_addr_i),
      .rd_data_o(conv_in_rd_data_o)
  );

  cmamba_activation_memory #(
      .ElementBits(8),
      .Elements   (GateElements),
      .ReadPorts  (1)
  ) u_gate (
      .clk_i,
      .wr_en_i  (array_wr_en_i[SpaceGate]),
      .wr_addr_i(GateWidth'(array_wr_addr_i)),
      .wr_mask_i(array_wr_mask_i),
      .wr_data_i(array_wr_word),
      .rd_en_i  (gate_rd_en_i),
      .rd_addr_i(gate_rd_addr_i),
      .rd_data_o(gate_rd_data_o)
  );

  cmamba_activation_memory #(
      .ElementBits(8),
      .Elements   (ConvElements),
      .ReadPorts  (2)
  ) u_conv (
      .clk_i,
      .wr_en_i  (conv_wr_en_i),
      .wr_addr_i(conv_wr_addr_i),
      .wr_mask_i(conv_wr_mask_i),
      .wr_data_i(conv_wr_data_i),
      .rd_en_i  ({conv_rd_en_i, array_reads[SpaceConv]}),
      .rd_addr_i({conv_rd_addr_i, ConvWidth'(array_rd_addr_i)}),
      .rd_data_o({conv_rd_data_o, conv_word})
  );

  cmamba_activation_memory #(
      .ElementBits(8),
      .Elements   (ProjElements),
      .ReadPorts  (3)
  ) u_proj (
      .clk_i,
      .wr_en_i  (array_wr_en_i[SpaceProj]),
      .wr_addr_i(ProjWidth'(array_wr_addr_i)),
      .wr_mask_i(array_wr_mask_i),
      .wr_data_i(array_wr_word),
      .rd_en_i  ({skip_rd_en_i, proj_rd_en_i, array_reads[SpaceProj]}),
      .rd_addr_i({skip_rd_addr_i, proj_rd_addr_i, ProjWidth'(array_rd_addr_i)}),
      .rd_data_o({skip_rd_data_o, proj_rd_data_o, proj_word})
  );

  cmamba_activation_memory #(
      .ElementBits(8),
      .Elements   (StepElements),
      .ReadPorts  (1)
  ) u_step (
      .clk_i,
      .wr_en_i  (array_wr_en_i[SpaceStep]),
      .wr_addr_i(StepWidth'(array_wr_addr_i)),
      .wr_mask_i(array_wr_mask_i),
      .wr_data_i(array_wr_word),
      .rd_en_i  (step_rd_en_i),
      .rd_addr_i(step_rd_addr_i),
      .rd_data_o(step_rd_data_o)
  );

  cmamba_activation_memory #(
      .ElementBits(8),
      .Elements   (ScanElements),
      .ReadPorts  (1)
  ) u_scan (
      .clk_i,
      .wr_en_i  (scan_wr_en_i),
      .wr_addr_i(scan_wr_addr_i),
      .wr_mask_i(scan_wr_mask_i),
      .wr_data_i(scan_wr_data_i),
      .rd_en_i  (array_reads[SpaceScan]),
      .rd_addr_i(ScanWidth'(array_rd_addr_i)),
      .rd_data_o(scan_word)
  );

  cmamba_activation_memory #(
      .ElementBits(8),
      .Elements   (LogitElements),
      .ReadPorts  (1)
  ) u_logit (
      .clk_i,
      .wr_en_i  (array_wr_en_i[SpaceLogit]),
      .wr_addr_i(LogitWidth'(array_wr_addr_i)),
      .wr_mask_i(array_wr_mask_i),
      .wr_data_i(array_wr_word),
      .rd_en_i  (logit_rd_en_i),
      .rd_addr_i(logit_rd_addr_i),
      .rd_data_o(logit_rd_data_o)
  );

  cmamba_activation_memory #(
      .ElementBits(16),
      .Elements   (ResidElements),
      .ReadPorts  (2)
  ) u_resid (
      .clk_i,
      .wr_en_i  (resid_write),
      .wr_addr_i(resid_addr),
      .wr_mask_i(resid_mask),
      .wr_data_i({RowAlign / ResidLanes{resid_data}}),
      .rd_en_i  ({resid_rd_en_i, add_rd_en_i}),
      .rd_addr_i({resid_rd_addr_i, ResidWidth'(add_rd_addr_i)}),
      .rd_data_o({resid_rd_data_o, add_rd_data_o})
  );

  cmamba_activation_memory #(
      .ElementBits(16),
      .Elements   (HeadElements),
      .ReadPorts  (1)
  ) u_head (
      .clk_i,
      .wr_en_i  (array_wr_en_i[SpaceHead]),
      .wr_addr_i(HeadWidth'(array_wr_addr_i)),
      .wr_mask_i(array_wr_mask_i),
      .wr_data_i({RowAlign / RequantizeLanes{array_wr_data_i}}),
      .rd_en_i  (head_rd_en_i),
      .rd_addr_i(head_rd_addr_i),
      .rd_data_o(head_rd_data_o)
  );

endmodule

`default_nettype wire
