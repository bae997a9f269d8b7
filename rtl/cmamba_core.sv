// What runs a program: the sequencer, the six units, and the memories that they work on. The loader
// writes them through one bus while nothing runs.

`default_nettype none

module cmamba_core
  import cmamba_pkg::*;
  import cmamba_build_pkg::*;
  import cmamba_cells_pkg::larger;
#(
    // Bits of the counters of cycles and entries.
    parameter int unsigned CounterWidth = 48,
    // A package has at most 2^32 bytes.
    localparam int unsigned TileBits = 32 - $clog2(TileIn * TileOut),
    localparam int unsigned WeightAddrBits = $clog2(MaxWeights),
    localparam int unsigned TileBeatBits = $clog2(TileIn * TileOut / 16)
) (
    input wire logic clk_i,
    input wire logic rst_i,

    // The loader: beats, or entries of tables, of one section.
    input wire logic [NumSections-1:0]    load_wr_en_i,
    input wire logic [23:0]               load_wr_addr_i,
    input wire logic [127:0]              load_wr_data_i,
    input wire logic                      loaded_i,
    // verilator lint_off UNUSEDSIGNAL
    // The program's checker has used the other facts.
    input wire cmamba_loader_pkg::facts_t facts_i,
    // verilator lint_on UNUSEDSIGNAL

    // A run, see sequencer.
    input  wire logic                             start_i,
    input  wire logic [31:0]                      n_forecasts_i,
    input  wire logic                             tlast_each_i,
    input  wire logic [31:0]                      watchdog_cycles_i,
    output logic                                  busy_o,
    output logic                                  done_o,
    output error_e                                error_o,
    output logic                                  abort_o,
    // A weight tile could not be read.
    input  wire logic                             bus_fault_i,
    // s_axis is still at work after `abort_o`; whether the run has to wait for something.
    output logic                                  draining_o,
    input  wire logic                             settling_i,
    output logic [CounterWidth-1:0]               cycles_o,
    output logic [CounterWidth-1:0]               entries_o,
    output logic [NumUnits-1:0][CounterWidth-1:0] busy_cycles_o,

    // Weight tiles that stay in DDR, see array_issue and weight_stream.
    input  wire logic                      streams_i,
    output logic                           fetch_valid_o,
    input  wire logic                      fetch_ready_i,
    output cmamba_array_pkg::tile_range_t  fetch_o,
    input  wire logic                      stream_valid_i,
    output logic                           stream_ready_o,
    input  wire logic [WeightAddrBits-1:0] stream_slot_i,
    input  wire logic                      tile_wr_valid_i,
    input  wire logic [WeightAddrBits-1:0] tile_wr_tile_i,
    input  wire logic [TileBeatBits-1:0]   tile_wr_beat_i,
    input  wire logic [127:0]              tile_wr_data_i,

    input  wire logic         s_axis_tvalid_i,
    output logic              s_axis_tready_o,
    input  wire logic [127:0] s_axis_tdata_i,
    input  wire logic         s_axis_tlast_i,
    output logic              m_axis_tvalid_o,
    input  wire logic         m_axis_tready_i,
    output logic [127:0]      m_axis_tdata_o,
    output logic [15:0]       m_axis_tkeep_o,
    output logic              m_axis_tlast_o
);

  // ---------------------------------------------------------------- the loader's bus

  // A register on the way to memories all over the device.
  logic [NumSections-1:0] wr_en;
  logic [23:0] wr_addr;
  logic [127:0] wr_data;
  always_ff @(posedge clk_i) begin
    wr_en   <= rst_i ? '0 : load_wr_en_i;
    wr_addr <= load_wr_addr_i;
    wr_data <= load_wr_data_i;
  end

  // Nothing of it lies on the chip.
  logic unused_metadata;
  assign unused_metadata = wr_en[SectionMetadata];

  // ---------------------------------------------------------------- sequencer

  localparam int unsigned PhaseWidth = $clog2(MaxPhases);
  localparam int unsigned ScheduleWidth = $clog2(MaxSchedule);
  localparam int unsigned InstructionWidth = $clog2(MaxInstructions);
  localparam int unsigned WordAddrWidth = 20 - $clog2(RowAlign);

  logic [NumUnits-1:0] start_valid, start_ready, unit_done, unit_done_soon;
  // verilator lint_off UNUSEDSIGNAL
  // Not every unit uses all of them.
  logic [NumUnits-1:0][11:0] token, position;
  logic [NumUnits-1:0][9:0] sequence_index;
  logic [NumUnits-1:0][4:0][WordAddrWidth-1:0] rows;
  // verilator lint_on UNUSEDSIGNAL
  recv_instruction_t recv;
  linear_instruction_t linear;
  conv_instruction_t conv_instruction;
  scan_instruction_t scan_instruction;
  norm_instruction_t norm;
  pool_instruction_t pool;
  scale_instruction_t scale;
  pool_features_instruction_t pool_features;
  modulate_instruction_t modulate;
  send_instruction_t send;
  logic recv_last, send_last;
  error_e stream_error, fault;
  assign fault = bus_fault_i ? ErrorBusError : stream_error;

  cmamba_sequencer #(
      .CounterWidth(CounterWidth)
  ) u_sequencer (
      .clk_i,
      .rst_i,
      .phase_wr_en_i(wr_en[SectionPhases]),
      .phase_wr_addr_i(wr_addr[PhaseWidth:0]),
      .phase_wr_data_i(wr_data),
      .schedule_wr_en_i(wr_en[SectionSchedule]),
      .schedule_wr_addr_i(wr_addr[ScheduleWidth-1:0]),
      .schedule_wr_data_i(wr_data),
      .instruction_wr_en_i(wr_en[SectionInstructions]),
      .instruction_wr_addr_i(wr_addr[InstructionWidth+1:0]),
      .instruction_wr_data_i(wr_data),
      .loaded_i,
      .phases_i(facts_i.elements[SectionPhases][PhaseWidth:0]),
      .iterations_i(facts_i.iterations),
      .n_sequences_i(facts_i.n_sequences),
      .n_positions_i(facts_i.n_positions),
      .start_i,
      .n_forecasts_i,
      .tlast_each_i,
      .watchdog_cycles_i,
      .busy_o,
      .done_o,
      .error_o,
      .fault_i(fault),
      .abort_o,
      .settling_i,
      .cycles_o,
      .entries_o,
      .busy_cycles_o,
      .start_valid_o(start_valid),
      .start_ready_i(start_ready),
      .done_i(unit_done),
      .done_soon_i(unit_done_soon),
      .token_o(token),
      .position_o(position),
      .sequence_o(sequence_index),
      .rows_o(rows),
      .recv_o(recv),
      .linear_o(linear),
      .conv_o(conv_instruction),
      .scan_o(scan_instruction),
      .norm_o(norm),
      .pool_o(pool),
      .scale_o(scale),
      .pool_features_o(pool_features),
      .modulate_o(modulate),
      .send_o(send),
      .recv_last_o(recv_last),
      .send_last_o(send_last)
  );

  // These tell nothing ahead.
  assign unit_done_soon[UnitStreamIn] = unit_done[UnitStreamIn];
  assign unit_done_soon[UnitVector] = unit_done[UnitVector];
  assign unit_done_soon[UnitStreamOut] = unit_done[UnitStreamOut];

  // After an error. The streams keep to their protocol, so that they are told instead of reset.
  (* keep = "true" *)logic array_rst_q;
  (* keep = "true" *)logic vector_rst_q;
  (* keep = "true" *)logic conv_rst_q;
  (* keep = "true" *)logic scan_rst_q;
  always_ff @(posedge clk_i) begin
    array_rst_q  <= rst_i || abort_o;
    vector_rst_q <= rst_i || abort_o;
    conv_rst_q   <= rst_i || abort_o;
    scan_rst_q   <= rst_i || abort_o;
  end

  // ---------------------------------------------------------------- activation memories

  logic patch_wr_en, norm_wr_en, conv_wr_en, scan_wr_en;
  logic [NumSpaces-1:0] array_wr_en;
  logic resid_wr_en, resid_wr_ready, conv_in_wr_en, conv_in_wr_ready;
  logic array_rd_en, add_rd_en, resid_rd_en, logit_rd_en, conv_in_rd_en;
  logic conv_rd_en, gate_rd_en, step_rd_en, proj_rd_en, skip_rd_en, head_rd_en;
  logic [3:0] array_rd_space;
  logic [WordAddrWidth-1:0] array_rd_addr, add_rd_addr, array_wr_addr;
  logic [$clog2(PatchElements/RowAlign)-1:0] patch_wr_addr;
  logic [ $clog2(NormElements/RowAlign)-1:0] norm_wr_addr;
  logic [$clog2(ConvInElements/RowAlign)-1:0] conv_in_rd_addr, conv_in_wr_addr;
  logic [$clog2(GateElements/RowAlign)-1:0] gate_rd_addr;
  logic [$clog2(ConvElements/RowAlign)-1:0] conv_rd_addr, conv_wr_addr;
  logic [$clog2(ProjElements/RowAlign)-1:0] proj_rd_addr, skip_rd_addr;
  logic [ $clog2(StepElements/RowAlign)-1:0] step_rd_addr;
  logic [ $clog2(ScanElements/RowAlign)-1:0] scan_wr_addr;
  logic [$clog2(LogitElements/RowAlign)-1:0] logit_rd_addr;
  logic [$clog2(ResidElements/RowAlign)-1:0] resid_rd_addr, resid_wr_addr;
  logic [$clog2(HeadElements/RowAlign)-1:0] head_rd_addr;
  logic [RowAlign-1:0] patch_wr_mask, norm_wr_mask, conv_wr_mask, scan_wr_mask;
  logic [RowAlign-1:0] resid_wr_mask, conv_in_wr_mask, array_wr_mask;
  logic [RowAlign-1:0][7:0] patch_wr_data, conv_wr_data, scan_wr_data;
  logic [VectorLanes-1:0][7:0] norm_wr_data, conv_in_wr_data;
  logic [RowAlign-1:0][7:0] array_rd_data, logit_rd_data, conv_in_rd_data;
  logic [RowAlign-1:0][7:0] conv_rd_data, gate_rd_data, step_rd_data, proj_rd_data, skip_rd_data;
  logic [VectorLanes-1:0][15:0] resid_wr_data;
  logic [RequantizeLanes-1:0][15:0] array_wr_data;
  logic [RowAlign-1:0][15:0] add_rd_data, resid_rd_data, head_rd_data;

  cmamba_activations u_activations (
      .clk_i,
      .image_wr_en_i     (wr_en[SectionResidImage]),
      .image_wr_addr_i   (wr_addr),
      .image_wr_data_i   (wr_data),
      .patch_wr_en_i     (patch_wr_en),
      .patch_wr_addr_i   (patch_wr_addr),
      .patch_wr_mask_i   (patch_wr_mask),
      .patch_wr_data_i   (patch_wr_data),
      .array_rd_en_i     (array_rd_en),
      .array_rd_space_i  (array_rd_space),
      .array_rd_addr_i   (array_rd_addr),
      .array_rd_data_o   (array_rd_data),
      .add_rd_en_i       (add_rd_en),
      .add_rd_addr_i     (add_rd_addr),
      .add_rd_data_o     (add_rd_data),
      .array_wr_en_i     (array_wr_en),
      .array_wr_addr_i   (array_wr_addr),
      .array_wr_mask_i   (array_wr_mask),
      .array_wr_data_i   (array_wr_data),
      .resid_rd_en_i     (resid_rd_en),
      .resid_rd_addr_i   (resid_rd_addr),
      .resid_rd_data_o   (resid_rd_data),
      .logit_rd_en_i     (logit_rd_en),
      .logit_rd_addr_i   (logit_rd_addr),
      .logit_rd_data_o   (logit_rd_data),
      .norm_wr_en_i      (norm_wr_en),
      .norm_wr_addr_i    (norm_wr_addr),
      .norm_wr_mask_i    (norm_wr_mask),
      .norm_wr_data_i    (norm_wr_data),
      .resid_wr_en_i     (resid_wr_en),
      .resid_wr_ready_o  (resid_wr_ready),
      .resid_wr_addr_i   (resid_wr_addr),
      .resid_wr_mask_i   (resid_wr_mask),
      .resid_wr_data_i   (resid_wr_data),
      .conv_in_wr_en_i   (conv_in_wr_en),
      .conv_in_wr_ready_o(conv_in_wr_ready),
      .conv_in_wr_addr_i (conv_in_wr_addr),
      .conv_in_wr_mask_i (conv_in_wr_mask),
      .conv_in_wr_data_i (conv_in_wr_data),
      .conv_in_rd_en_i   (conv_in_rd_en),
      .conv_in_rd_addr_i (conv_in_rd_addr),
      .conv_in_rd_data_o (conv_in_rd_data),
      .conv_wr_en_i      (conv_wr_en),
      .conv_wr_addr_i    (conv_wr_addr),
      .conv_wr_mask_i    (conv_wr_mask),
      .conv_wr_data_i    (conv_wr_data),
      .conv_rd_en_i      (conv_rd_en),
      .conv_rd_addr_i    (conv_rd_addr),
      .conv_rd_data_o    (conv_rd_data),
      .gate_rd_en_i      (gate_rd_en),
      .gate_rd_addr_i    (gate_rd_addr),
      .gate_rd_data_o    (gate_rd_data),
      .step_rd_en_i      (step_rd_en),
      .step_rd_addr_i    (step_rd_addr),
      .step_rd_data_o    (step_rd_data),
      .proj_rd_en_i      (proj_rd_en),
      .proj_rd_addr_i    (proj_rd_addr),
      .proj_rd_data_o    (proj_rd_data),
      .skip_rd_en_i      (skip_rd_en),
      .skip_rd_addr_i    (skip_rd_addr),
      .skip_rd_data_o    (skip_rd_data),
      .scan_wr_en_i      (scan_wr_en),
      .scan_wr_addr_i    (scan_wr_addr),
      .scan_wr_mask_i    (scan_wr_mask),
      .scan_wr_data_i    (scan_wr_data),
      .head_rd_en_i      (head_rd_en),
      .head_rd_addr_i    (head_rd_addr),
      .head_rd_data_o    (head_rd_data)
  );

  // ---------------------------------------------------------------- parameters and tables

  localparam int unsigned ScanSlots = ScanLanes / 16;

  logic array_param_rd_en, conv_param_rd_en, scan_param_rd_en, scan_decay_rd_en;
  logic [RequantizeLanes-1:0][$clog2(MaxArrayParams/RequantizeLanes)-1:0] array_param_rd_addr;
  logic [RequantizeLanes-1:0][ParamWordBits-1:0] array_param_rd_data;
  logic [$clog2(MaxConvParams/ConvLanes)-1:0] conv_param_rd_addr;
  logic [ConvLanes-1:0][127:0] conv_param_rd_data;
  logic [$clog2(MaxConvTables)-1:0] conv_table;
  logic [ConvLanes-1:0][7:0] conv_argument, conv_entry;
  logic [$clog2(MaxScanParams/ScanSlots)-1:0] scan_param_rd_addr;
  param_word_t [ScanSlots-1:0] scan_param_rd_data;
  logic [$clog2(MaxScanDecay/ScanLanes)-1:0] scan_decay_rd_addr;
  logic [ScanLanes-1:0][15:0] scan_decay_rd_data;
  logic [$clog2(MaxScanTables)-1:0] softplus_table, silu_table;
  logic [ScanSlots-1:0][7:0] softplus_argument, silu_argument;
  logic [ScanSlots-1:0][15:0] softplus_entry, silu_entry;

  cmamba_parameters u_parameters (
      .clk_i,
      .wr_en_i            (wr_en),
      .wr_addr_i          (wr_addr),
      .wr_data_i          (wr_data),
      .array_rd_en_i      (array_param_rd_en),
      .array_rd_addr_i    (array_param_rd_addr),
      .array_rd_data_o    (array_param_rd_data),
      .conv_rd_en_i       (conv_param_rd_en),
      .conv_rd_addr_i     (conv_param_rd_addr),
      .conv_rd_data_o     (conv_param_rd_data),
      .conv_table_i       (conv_table),
      .conv_argument_i    (conv_argument),
      .conv_entry_o       (conv_entry),
      .scan_rd_en_i       (scan_param_rd_en),
      .scan_rd_addr_i     (scan_param_rd_addr),
      .scan_rd_data_o     (scan_param_rd_data),
      .decay_rd_en_i      (scan_decay_rd_en),
      .decay_rd_addr_i    (scan_decay_rd_addr),
      .decay_rd_data_o    (scan_decay_rd_data),
      .softplus_table_i   (softplus_table),
      .softplus_argument_i(softplus_argument),
      .softplus_entry_o   (softplus_entry),
      .silu_table_i       (silu_table),
      .silu_argument_i    (silu_argument),
      .silu_entry_o       (silu_entry)
  );

  // ---------------------------------------------------------------- streams

  cmamba_stream_in u_stream_in (
      .clk_i,
      .rst_i,
      .abort_i(abort_o),
      .watchdog_cycles_i,
      .draining_o,
      .error_o(stream_error),
      .start_valid_i(start_valid[UnitStreamIn]),
      .start_ready_o(start_ready[UnitStreamIn]),
      .instruction_i(recv),
      .dst_word_i($clog2(PatchElements / RowAlign)'(rows[UnitStreamIn][0])),
      .last_i(recv_last),
      .done_o(unit_done[UnitStreamIn]),
      .s_axis_tvalid_i,
      .s_axis_tready_o,
      .s_axis_tdata_i,
      .s_axis_tlast_i,
      .patch_wr_en_o(patch_wr_en),
      .patch_wr_addr_o(patch_wr_addr),
      .patch_wr_mask_o(patch_wr_mask),
      .patch_wr_data_o(patch_wr_data)
  );

  cmamba_stream_out u_stream_out (
      .clk_i,
      .rst_i,
      .abort_i(abort_o),
      .start_valid_i(start_valid[UnitStreamOut]),
      .start_ready_o(start_ready[UnitStreamOut]),
      .instruction_i(send),
      .src_word_i($clog2(HeadElements / RowAlign)'(rows[UnitStreamOut][0])),
      .last_i(send_last),
      .done_o(unit_done[UnitStreamOut]),
      .head_rd_en_o(head_rd_en),
      .head_rd_addr_o(head_rd_addr),
      .head_rd_data_i(head_rd_data),
      .m_axis_tvalid_o,
      .m_axis_tready_i,
      .m_axis_tdata_o,
      .m_axis_tkeep_o,
      .m_axis_tlast_o
  );

  // ---------------------------------------------------------------- array

  logic weight_rd_en, weight_wr_valid;
  logic [WeightAddrBits-1:0] weight_rd_addr, weight_wr_tile;
  logic [TileBeatBits-1:0] weight_wr_beat;
  logic [127:0] weight_wr_data;
  logic [TileOut-1:0][TileIn-1:0][7:0] weight_rd_data;
  logic [TileBits-1:0] resident_tiles;

  // Where tiles stay in DDR, the last two slots belong to weight_stream.
  assign resident_tiles = TileBits'(streams_i ? MaxWeights - 2 : MaxWeights);

  always_comb begin
    if (tile_wr_valid_i) begin
      weight_wr_valid = 1'b1;
      weight_wr_tile  = tile_wr_tile_i;
      weight_wr_beat  = tile_wr_beat_i;
      weight_wr_data  = tile_wr_data_i;
    end else begin
      weight_wr_valid = wr_en[SectionWeights];
      weight_wr_tile  = wr_addr[TileBeatBits+:WeightAddrBits];
      weight_wr_beat  = wr_addr[TileBeatBits-1:0];
      weight_wr_data  = wr_data;
    end
  end

  cmamba_weight_memory u_weight_memory (
      .clk_i,
      .wr_valid_i(weight_wr_valid),
      .wr_tile_i(weight_wr_tile),
      .wr_beat_i(weight_wr_beat),
      .wr_data_i(weight_wr_data),
      .rd_en_i(weight_rd_en),
      .rd_addr_i(weight_rd_addr),
      .rd_data_o(weight_rd_data)
  );

  cmamba_array_pkg::linear_entry_t linear_entry;
  assign linear_entry = '{
          instruction: linear,
          position: position[UnitArray],
          src_word: 20'(rows[UnitArray][0]),
          dst_word: 20'(rows[UnitArray][1]),
          add_word: 20'(rows[UnitArray][2])
      };

  cmamba_array_unit u_array (
      .clk_i,
      .rst_i(array_rst_q),
      .start_valid_i(start_valid[UnitArray]),
      .start_ready_o(start_ready[UnitArray]),
      .entry_i(linear_entry),
      .done_o(unit_done[UnitArray]),
      .done_soon_o(unit_done_soon[UnitArray]),
      .weight_rd_en_o(weight_rd_en),
      .weight_rd_addr_o(weight_rd_addr),
      .weight_rd_data_i(weight_rd_data),
      .resident_tiles_i(resident_tiles),
      .streams_i,
      .fetch_valid_o,
      .fetch_ready_i,
      .fetch_o,
      .stream_valid_i,
      .stream_ready_o,
      .stream_slot_i,
      .src_rd_en_o(array_rd_en),
      .src_rd_space_o(array_rd_space),
      .src_rd_addr_o(array_rd_addr),
      .src_rd_data_i(array_rd_data),
      .add_rd_en_o(add_rd_en),
      .add_rd_addr_o(add_rd_addr),
      .add_rd_data_i(add_rd_data),
      .param_rd_en_o(array_param_rd_en),
      .param_rd_addr_o(array_param_rd_addr),
      .param_rd_data_i(array_param_rd_data),
      .wr_en_o(array_wr_en),
      .wr_addr_o(array_wr_addr),
      .wr_mask_o(array_wr_mask),
      .wr_data_o(array_wr_data)
  );

  // ---------------------------------------------------------------- vector

  localparam int unsigned VectorWordWidth = $clog2(
      larger(larger(ResidElements, NormElements), larger(LogitElements, ConvInElements)) / RowAlign
  );
  logic [3:0][VectorWordWidth-1:0] vector_rows;
  for (genvar k = 0; k < 4; k++) begin : gen_vector_row
    assign vector_rows[k] = rows[UnitVector][k][VectorWordWidth-1:0];
  end

  cmamba_vector_unit u_vector (
      .clk_i,
      .rst_i(vector_rst_q),
      .param_wr_en_i(wr_en[SectionVectorParams]),
      .param_wr_addr_i(wr_addr[$clog2(MaxVectorParams)-2:0]),
      .param_wr_data_i(wr_data),
      .table_wr_en_i(wr_en[SectionVectorTables]),
      .table_wr_addr_i(wr_addr[$clog2(MaxVectorTables)+7:0]),
      .table_wr_data_i(wr_data[15:0]),
      .start_valid_i(start_valid[UnitVector]),
      .start_ready_o(start_ready[UnitVector]),
      .norm_i(norm),
      .pool_i(pool),
      .scale_i(scale),
      .pool_features_i(pool_features),
      .modulate_i(modulate),
      .position_i(position[UnitVector]),
      .sequence_i(sequence_index[UnitVector]),
      .row_words_i(vector_rows),
      .done_o(unit_done[UnitVector]),
      .resid_rd_en_o(resid_rd_en),
      .resid_rd_addr_o(resid_rd_addr),
      .resid_rd_data_i(resid_rd_data),
      .logit_rd_en_o(logit_rd_en),
      .logit_rd_addr_o(logit_rd_addr),
      .logit_rd_data_i(logit_rd_data),
      .norm_wr_en_o(norm_wr_en),
      .norm_wr_addr_o(norm_wr_addr),
      .norm_wr_mask_o(norm_wr_mask),
      .norm_wr_data_o(norm_wr_data),
      .resid_wr_en_o(resid_wr_en),
      .resid_wr_ready_i(resid_wr_ready),
      .resid_wr_addr_o(resid_wr_addr),
      .resid_wr_mask_o(resid_wr_mask),
      .resid_wr_data_o(resid_wr_data),
      .conv_in_wr_en_o(conv_in_wr_en),
      .conv_in_wr_ready_i(conv_in_wr_ready),
      .conv_in_wr_addr_o(conv_in_wr_addr),
      .conv_in_wr_mask_o(conv_in_wr_mask),
      .conv_in_wr_data_o(conv_in_wr_data)
  );

  // ---------------------------------------------------------------- convolution

  cmamba_conv u_conv (
      .clk_i,
      .rst_i(conv_rst_q),
      .start_valid_i(start_valid[UnitConv]),
      .start_ready_o(start_ready[UnitConv]),
      .instruction_i(conv_instruction),
      .token_i(token[UnitConv]),
      .position_i(position[UnitConv]),
      .src_word_i($clog2(ConvInElements / RowAlign)'(rows[UnitConv][0])),
      .dst_word_i($clog2(ConvElements / RowAlign)'(rows[UnitConv][1])),
      .done_o(unit_done[UnitConv]),
      .done_soon_o(unit_done_soon[UnitConv]),
      .conv_in_rd_en_o(conv_in_rd_en),
      .conv_in_rd_addr_o(conv_in_rd_addr),
      .conv_in_rd_data_i(conv_in_rd_data),
      .conv_wr_en_o(conv_wr_en),
      .conv_wr_addr_o(conv_wr_addr),
      .conv_wr_mask_o(conv_wr_mask),
      .conv_wr_data_o(conv_wr_data),
      .param_rd_en_o(conv_param_rd_en),
      .param_rd_addr_o(conv_param_rd_addr),
      .param_rd_data_i(conv_param_rd_data),
      .table_o(conv_table),
      .argument_o(conv_argument),
      .entry_i(conv_entry)
  );

  // ---------------------------------------------------------------- scan

  cmamba_scan u_scan (
      .clk_i,
      .rst_i(scan_rst_q),
      .start_valid_i(start_valid[UnitScan]),
      .start_ready_o(start_ready[UnitScan]),
      .instruction_i(scan_instruction),
      .position_i(position[UnitScan]),
      .u_word_i($clog2(ConvElements / RowAlign)'(rows[UnitScan][0])),
      .z_word_i($clog2(GateElements / RowAlign)'(rows[UnitScan][1])),
      .dt_word_i($clog2(StepElements / RowAlign)'(rows[UnitScan][2])),
      .bc_word_i($clog2(ProjElements / RowAlign)'(rows[UnitScan][3])),
      .dst_word_i($clog2(ScanElements / RowAlign)'(rows[UnitScan][4])),
      .done_o(unit_done[UnitScan]),
      .done_soon_o(unit_done_soon[UnitScan]),
      .conv_rd_en_o(conv_rd_en),
      .conv_rd_addr_o(conv_rd_addr),
      .conv_rd_data_i(conv_rd_data),
      .gate_rd_en_o(gate_rd_en),
      .gate_rd_addr_o(gate_rd_addr),
      .gate_rd_data_i(gate_rd_data),
      .step_rd_en_o(step_rd_en),
      .step_rd_addr_o(step_rd_addr),
      .step_rd_data_i(step_rd_data),
      .proj_rd_en_o(proj_rd_en),
      .proj_rd_addr_o(proj_rd_addr),
      .proj_rd_data_i(proj_rd_data),
      .skip_rd_en_o(skip_rd_en),
      .skip_rd_addr_o(skip_rd_addr),
      .skip_rd_data_i(skip_rd_data),
      .scan_wr_en_o(scan_wr_en),
      .scan_wr_addr_o(scan_wr_addr),
      .scan_wr_mask_o(scan_wr_mask),
      .scan_wr_data_o(scan_wr_data),
      .decay_rd_en_o(scan_decay_rd_en),
      .decay_rd_addr_o(scan_decay_rd_addr),
      .decay_rd_data_i(scan_decay_rd_data),
      .param_rd_en_o(scan_param_rd_en),
      .param_rd_addr_o(scan_param_rd_addr),
      .param_rd_data_i(scan_param_rd_data),
      .softplus_table_o(softplus_table),
      .softplus_argument_o(softplus_argument),
      .softplus_entry_i(softplus_entry),
      .silu_table_o(silu_table),
      .silu_argument_o(silu_argument),
      .silu_entry_i(silu_entry)
  );

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  localparam logic [NumSpaces-1:0] ArrayReads = NumSpaces'(1) << SpacePatch |
      NumSpaces'(1) << SpaceNorm | NumSpaces'(1) << SpaceConv | NumSpaces'(1) << SpaceProj |
      NumSpaces'(1) << SpaceScan;
  localparam logic [NumSpaces-1:0] ArrayWrites = NumSpaces'(1) << SpaceConvIn |
      NumSpaces'(1) << SpaceGate | NumSpaces'(1) << SpaceProj | NumSpaces'(1) << SpaceStep |
      NumSpaces'(1) << SpaceLogit | NumSpaces'(1) << SpaceResid | NumSpaces'(1) << SpaceHead;

  loads_at_rest :
  assert property (disable iff (!live) load_wr_en_i != '0 || wr_en != '0 |-> !busy_o)
  else $error("core: the loader writes during a run");

  image_is_alone :
  assert property (disable iff (!live) wr_en[SectionResidImage] |->
      !array_wr_en[SpaceResid] && !resid_wr_en)
  else $error("core: the loader and a unit write resid in one cycle");

  one_weight_writer :
  assert property (disable iff (!live) !(tile_wr_valid_i && wr_en[SectionWeights]))
  else $error("core: the loader and weight_stream write weights in one cycle");

  resident_tiles_stay :
  assert property (disable iff (!live) tile_wr_valid_i |->
      streams_i && TileBits'(tile_wr_tile_i) >= resident_tiles)
  else $error("core: weight_stream writes tile %0d, which is the loader's", tile_wr_tile_i);

  fetches_of_a_run :
  assert property (disable iff (!live) fetch_valid_o |-> streams_i && busy_o)
  else $error("core: tiles are fetched, and all are on the chip or nothing runs");

  array_reads_its_own :
  assert property (disable iff (!live) array_rd_en |-> ArrayReads[array_rd_space])
  else $error("core: the array reads space %0d, which has no port for it", array_rd_space);

  array_writes_its_own :
  assert property (disable iff (!live) (array_wr_en & ~ArrayWrites) == '0)
  else $error("core: the array writes spaces %b, of which it may %b", array_wr_en, ArrayWrites);

  end_is_at_rest :
  assert property (disable iff (!live) done_o |-> !draining_o)
  else $error("core: a run ends, and its packet is still dropped");
`endif

endmodule

`default_nettype wire
