// NORM, POOL, SCALE, POOL_FEATURES and MODULATE, `Lanes` elements a cycle: the wires between
//
//   front      takes entries; its beats to the pipeline, look-ups to the tables, entries to the back
//   back       takes entries when what they wait for is there; its beats to the pipeline
//   pipeline   beats in; parts of rows to reduce, rounded sums to the output
//   reduce     parts of rows in; roots, sums and maxima to the back
//   tables     look-ups in; scale and shift to the back, parameters to the output
//   output     rounded sums and parameters in; results to the memories
//
// Front and back hold different entries at a time:
//
//                    front                  on the way             back
//   NORM             sum of squares    -->  reciprocal_sqrt   -->  x * r, requantize, write
//   POOL             add to the sums   ------------------------->  at the last position: requantize
//                                                                  and write mean, then maximum
//   SCALE            ------------------------------------------->  x * table[logit], write
//   POOL_FEATURES    read the row      -->  sum, maximum      -->  requantize, write both elements
//   MODULATE         two look-ups      -->  scale, shift      -->  x * scale + shift + addend,
//                                                                  requantize, write
//
// The front hands every entry on to the back, in order. A POOL that is not the last of its sequence
// only passes the back, as a beat that writes nothing: entries complete in order.

`default_nettype none

module cmamba_vector_unit
  import cmamba_vector_pkg::*;
(
    input wire logic clk_i,
    input wire logic rst_i,

    // The loader's write ports: two parameter words, or one entry of a table.
    input wire logic                  param_wr_en_i,
    input wire logic [ParamWidth-2:0] param_wr_addr_i,
    input wire logic [127:0]          param_wr_data_i,
    input wire logic                  table_wr_en_i,
    input wire logic [TableWidth+7:0] table_wr_addr_i,
    input wire logic [15:0]           table_wr_data_i,

    input  wire logic                           start_valid_i,
    output logic                                start_ready_o,
    // Views of the same bits; the opcode selects one.
    input  wire cmamba_pkg::norm_instruction_t          norm_i,
    input  wire cmamba_pkg::pool_instruction_t          pool_i,
    input  wire cmamba_pkg::scale_instruction_t         scale_i,
    input  wire cmamba_pkg::pool_features_instruction_t pool_features_i,
    input  wire cmamba_pkg::modulate_instruction_t      modulate_i,
    input  wire logic [11:0]                            position_i,
    input  wire logic [9:0]                             sequence_i,
    // Where rows begin: of the operands, in their order; of POOL then that of the maximum.
    input  wire logic [3:0][WordWidth-1:0]              row_words_i,
    output logic                                        done_o,

    output logic                         resid_rd_en_o,
    output logic [ResidWidth-1:0]        resid_rd_addr_o,
    input  wire logic [RowAlign*16-1:0]  resid_rd_data_i,
    output logic                         logit_rd_en_o,
    output logic [LogitWidth-1:0]        logit_rd_addr_o,
    input  wire logic [RowAlign*8-1:0]   logit_rd_data_i,

    // Results may be any part of a word, the mask says which.
    output logic                         norm_wr_en_o,
    output logic [NormWidth-1:0]         norm_wr_addr_o,
    output logic [RowAlign-1:0]          norm_wr_mask_o,
    output logic [Lanes*8-1:0]           norm_wr_data_o,
    // Shared with the array: a write stays until wr_ready_i.
    output logic                         resid_wr_en_o,
    input  wire logic                    resid_wr_ready_i,
    output logic [ResidWidth-1:0]        resid_wr_addr_o,
    output logic [RowAlign-1:0]          resid_wr_mask_o,
    output logic [Lanes*16-1:0]          resid_wr_data_o,
    output logic                         conv_in_wr_en_o,
    input  wire logic                    conv_in_wr_ready_i,
    output logic [ConvInWidth-1:0]       conv_in_wr_addr_o,
    output logic [RowAlign-1:0]          conv_in_wr_mask_o,
    output logic [Lanes*8-1:0]           conv_in_wr_data_o
);

  import cmamba_build_pkg::MaxFeatures;
  import cmamba_build_pkg::MaxVectorParams;
  import cmamba_build_pkg::MaxVectorTables;

  if (Lanes < 2 || Lanes != 1 << LaneWidth) begin : gen_check_lanes
    $fatal(1, "vector_unit: VectorLanes is %0d, expected a power of two from 2", Lanes);
  end
  if (Slots < 2 || RowAlign != 1 << $clog2(RowAlign)) begin : gen_check_align
    $fatal(
        1, "vector_unit: RowAlign is %0d, expected a power of two from 2 * VectorLanes", RowAlign
    );
  end
  // The sum over a row's features is no longer than that over 4,095 tokens.
  if (MaxFeatures < 2 * Lanes || MaxFeatures % Lanes != 0 || MaxFeatures > 4096)
  begin : gen_check_features
    $fatal(
        1,
        "vector_unit: MaxFeatures is %0d, expected a multiple of VectorLanes up to 4096",
        MaxFeatures
    );
  end
  if (MaxVectorParams < 2 * Lanes || MaxVectorParams % Lanes != 0) begin : gen_check_params
    $fatal(
        1,
        "vector_unit: MaxVectorParams is %0d, expected a multiple of VectorLanes",
        MaxVectorParams
    );
  end
  if (MaxVectorTables < 2) begin : gen_check_tables
    $fatal(1, "vector_unit: MaxVectorTables is %0d, expected at least 2", MaxVectorTables);
  end

  logic front_valid, back_valid, back_idle, pool_busy, pool_read;
  front_beat_t front_beat;
  back_beat_t  back_beat;

  logic scale_soon, scale_looks_up, lookup_valid;
  lookup_t scale_lookup, lookup;

  logic context_valid, context_ready, waited;
  context_t entry;

  logic root_valid, root_ready, scalars_valid, scalars_ready, factors_valid, factors_ready;
  logic [16:0] root;
  logic signed [5:0] root_exponent;
  logic [SumWidth-1:0] row_sum;
  logic [15:0] scale;
  logic signed [15:0] row_maximum, shift;

  logic part_valid;
  part_t part;
  logic [Lanes-1:0][43:0] products;

  param_source_e param_source;
  logic [ParamWidth-1:0] param_addr;
  cmamba_pkg::param_word_t [Lanes-1:0] params;

  logic rounded_valid, wide, result_pop;
  result_t result;
  logic [Lanes-1:0][31:0] rounded;

  cmamba_vector_front u_front (
      .clk_i,
      .rst_i,
      .start_valid_i,
      .start_ready_o,
      .norm_i,
      .pool_i,
      .scale_i,
      .pool_features_i,
      .modulate_i,
      .position_i,
      .sequence_i,
      .row_words_i,
      .back_idle_i(back_idle),
      .beat_valid_o(front_valid),
      .beat_o(front_beat),
      .pool_busy_i(pool_busy),
      .scale_looks_up_i(scale_looks_up),
      .scale_soon_i(scale_soon),
      .lookup_valid_o(lookup_valid),
      .lookup_o(lookup),
      .context_valid_o(context_valid),
      .context_ready_i(context_ready),
      .context_o(entry),
      .waited_i(waited),
      .pool_read_i(pool_read)
  );

  cmamba_vector_back u_back (
      .clk_i,
      .rst_i,
      .context_valid_i(context_valid),
      .context_ready_o(context_ready),
      .context_i(entry),
      .waited_o(waited),
      .pool_read_o(pool_read),
      .root_valid_i(root_valid),
      .root_ready_o(root_ready),
      .root_i(root),
      .root_exponent_i(root_exponent),
      .scalars_valid_i(scalars_valid),
      .scalars_ready_o(scalars_ready),
      .row_sum_i(row_sum),
      .row_maximum_i(row_maximum),
      .factors_valid_i(factors_valid),
      .factors_ready_o(factors_ready),
      .scale_i(scale),
      .shift_i(shift),
      .beat_valid_o(back_valid),
      .beat_o(back_beat),
      .idle_o(back_idle),
      .result_pop_i(result_pop)
  );

  cmamba_vector_pipeline u_pipeline (
      .clk_i,
      .rst_i,
      .front_valid_i(front_valid),
      .front_beat_i(front_beat),
      .back_valid_i(back_valid),
      .back_beat_i(back_beat),
      .pool_busy_o(pool_busy),
      .resid_rd_en_o,
      .resid_rd_addr_o,
      .resid_rd_data_i,
      .scale_soon_o(scale_soon),
      .scale_lookup_o(scale_lookup),
      .param_source_o(param_source),
      .param_addr_o(param_addr),
      .part_valid_o(part_valid),
      .part_o(part),
      .products_o(products),
      .rounded_valid_o(rounded_valid),
      .result_o(result),
      .wide_o(wide),
      .rounded_o(rounded)
  );

  cmamba_vector_reduce u_reduce (
      .clk_i,
      .rst_i,
      .valid_i(part_valid),
      .part_i(part),
      .products_i(products),
      .root_valid_o(root_valid),
      .root_ready_i(root_ready),
      .root_o(root),
      .root_exponent_o(root_exponent),
      .scalars_valid_o(scalars_valid),
      .scalars_ready_i(scalars_ready),
      .row_sum_o(row_sum),
      .row_maximum_o(row_maximum)
  );

  cmamba_vector_tables u_tables (
      .clk_i,
      .rst_i,
      .param_wr_en_i,
      .param_wr_addr_i,
      .param_wr_data_i,
      .table_wr_en_i,
      .table_wr_addr_i,
      .table_wr_data_i,
      .scale_soon_i(scale_soon),
      .scale_looks_up_o(scale_looks_up),
      .scale_lookup_i(scale_lookup),
      .lookup_valid_i(lookup_valid),
      .lookup_i(lookup),
      .logit_rd_en_o,
      .logit_rd_addr_o,
      .logit_rd_data_i,
      .param_source_i(param_source),
      .param_addr_i(param_addr),
      .params_o(params),
      .factors_valid_o(factors_valid),
      .factors_ready_i(factors_ready),
      .scale_o(scale),
      .shift_o(shift)
  );

  cmamba_vector_output u_output (
      .clk_i,
      .rst_i,
      .valid_i(rounded_valid),
      .rounded_i(rounded),
      .params_i(params),
      .result_i(result),
      .wide_i(wide),
      .pop_o(result_pop),
      .norm_wr_en_o,
      .norm_wr_addr_o,
      .norm_wr_mask_o,
      .norm_wr_data_o,
      .resid_wr_en_o,
      .resid_wr_ready_i,
      .resid_wr_addr_o,
      .resid_wr_mask_o,
      .resid_wr_data_o,
      .conv_in_wr_en_o,
      .conv_in_wr_ready_i,
      .conv_in_wr_addr_o,
      .conv_in_wr_mask_o,
      .conv_in_wr_data_o,
      .done_o
  );

endmodule

`default_nettype wire
