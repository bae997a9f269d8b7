// Parameters and tables of the vector unit: gives each beat of the pipeline its parameter words,
// and MODULATE its scale and shift.
//
//   cycle   parameters                       SCALE            MODULATE
//     0                                      scale_soon_i
//     1                                      scale_lookup_i   or lookup_i
//     2                                      address of logit
//     3     param_addr_i, param_source_i
//     4     addresses of the banks           word of logit
//     5                                      logits
//     6     words
//     7     rotated                          entries          entries
//     8     params_o                                          an entry; two of them in the queue
//
// Logits of MODULATE are looked up in cycles in which no SCALE does: the tables are never asked
// twice in a cycle. A look-up is one of all lanes, of which MODULATE wants one.

`default_nettype none

module cmamba_vector_tables
  import cmamba_pkg::param_word_t;
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

    // A beat of SCALE looks up in the next cycle; in this cycle.
    input  wire logic    scale_soon_i,
    output logic         scale_looks_up_o,
    input  wire lookup_t scale_lookup_i,
    // MODULATE, not while scale_looks_up_o; scale and shift in turn.
    input  wire logic    lookup_valid_i,
    input  wire lookup_t lookup_i,

    output logic                       logit_rd_en_o,
    output logic [LogitWidth-1:0]      logit_rd_addr_o,
    input  wire logic [RowAlign*8-1:0] logit_rd_data_i,

    // Two cycles after a look-up of SCALE. The words five cycles later; none has a bias.
    input  wire param_source_e         param_source_i,
    input  wire logic [ParamWidth-1:0] param_addr_i,
    output param_word_t [Lanes-1:0]    params_o,

    // Of MODULATE, in order. At most WaitingDepth may be on their way.
    output logic               factors_valid_o,
    input  wire logic          factors_ready_i,
    output logic        [15:0] scale_o,
    output logic signed [15:0] shift_o
);

  // ---------------------------------------------------------------- parameters

  // Lane b of the memory holds words b, Lanes + b, ... of vector_params, without the bias, which no
  // instruction of this unit uses. A row of parameters may begin in any lane.
  localparam int unsigned ScaleWidth = 32;
  localparam int unsigned ParamRowWidth = ParamWidth - LaneWidth;
  logic [ParamRowWidth-1:0] param_row, param_row_q, param_next_row_q;
  logic [Lanes-1:0] param_wraps_q;  // the lane's word lies in the next row
  logic [6:4][LaneWidth-1:0] param_lane_q;
  param_source_e [7:4] source_q;
  logic [Lanes-1:0][ScaleWidth-1:0] param_bank, param_rotated, rotated_q;
  logic [Lanes-1:0][15:0] factors;  // entries of the tables
  logic unused_bias;
  assign unused_bias = ^param_wr_data_i;

  assign param_row   = ParamRowWidth'(param_addr_i >> LaneWidth);
  always_ff @(posedge clk_i) begin
    param_row_q <= param_row;
    param_next_row_q <= param_row + 1'b1;
    for (int unsigned b = 0; b < Lanes; b++) begin
      param_wraps_q[b] <= 32'(param_addr_i[LaneWidth-1:0]) > b;
    end
    param_lane_q <= {param_lane_q[5:4], param_addr_i[LaneWidth-1:0]};
    source_q <= {source_q[6:4], param_source_i};
    rotated_q <= param_rotated;
  end

  for (genvar b = 0; b < Lanes; b++) begin : gen_param
    logic [ParamRowWidth-1:0] row;
    assign row = param_wraps_q[b] ? param_next_row_q : param_row_q;

    cmamba_ram_1w #(
        .Width(ScaleWidth),
        .Depth(cmamba_build_pkg::MaxVectorParams / Lanes),
        .RamStyle("distributed")
    ) u_bank (
        .clk_i,
        .wr_en_i  (param_wr_en_i && 32'(param_wr_addr_i) % (Lanes / 2) == b / 2),
        .wr_addr_i(ParamRowWidth'(32'(param_wr_addr_i) / (Lanes / 2))),
        .wr_data_i(param_wr_data_i[64*(b%2)+32+:ScaleWidth]),
        .rd_en_i  (1'b1),
        .rd_addr_i(row),
        .rd_data_o(param_bank[b])
    );
  end

  cmamba_rotate_lanes #(
      .Lanes(Lanes),
      .Width(ScaleWidth)
  ) u_rotate (
      .data_i (param_bank),
      .shift_i(param_lane_q[6]),
      .data_o (param_rotated)
  );

  always_ff @(posedge clk_i) begin
    for (int unsigned l = 0; l < Lanes; l++) begin
      unique case (source_q[7])
        ParamsOfTable: begin
          params_o[l] <= '{bias: '0, multiplier: 18'(factors[l]), shift: 6'd16, zero_point: '0};
        end
        ParamsOfRow: params_o[l] <= {rotated_q[l], 32'd0};
        default:     params_o[l] <= {rotated_q[0], 32'd0};
      endcase
    end
  end

  // ---------------------------------------------------------------- tables

  lookup_t [7:2] lookup_q;
  logic [7:2] modulates_q;
  logic [Lanes-1:0][7:0] logit_q;

  always_ff @(posedge clk_i) begin
    lookup_q <= {lookup_q[6:2], scale_looks_up_o ? scale_lookup_i : lookup_i};
    if (rst_i) modulates_q <= '0;
    else modulates_q <= {modulates_q[6:2], lookup_valid_i};
    logit_rd_en_o <= scale_looks_up_o || lookup_valid_i;
    scale_looks_up_o <= !rst_i && scale_soon_i;
    for (int unsigned l = 0; l < Lanes; l++) begin
      logit_q[l] <= logit_rd_data_i[8*(32'(lookup_q[4].slot)*Lanes+l)+:8];
    end
  end
  assign logit_rd_addr_o = lookup_q[2].logit_word;

  cmamba_activation_table #(
      .Lanes (Lanes),
      .Tables(cmamba_build_pkg::MaxVectorTables),
      .Width (16)
  ) u_table (
      .clk_i,
      .wr_en_i(table_wr_en_i),
      .wr_addr_i(table_wr_addr_i),
      .wr_data_i(table_wr_data_i),
      .table_i(lookup_q[5].table_index),
      .data_i(logit_q),
      .data_o(factors)
  );

  // MODULATE's scale waits for the shift.
  logic entry_valid_q, entry_is_shift_q, has_room_for_factors;
  logic [15:0] scale_q, entry_q;
  logic [2:0] unused_factors_level;
  always_ff @(posedge clk_i) begin
    entry_q <= factors[lookup_q[7].lane];
    entry_is_shift_q <= lookup_q[7].is_shift;
    entry_valid_q <= !rst_i && modulates_q[7];
    if (entry_valid_q && !entry_is_shift_q) scale_q <= entry_q;
  end

  cmamba_fifo #(
      .Width(32),
      .Depth(WaitingDepth),
      .RamStyle("distributed")
  ) u_factors (
      .clk_i,
      .rst_i,
      .valid_i(entry_valid_q && entry_is_shift_q),
      .ready_o(has_room_for_factors),
      .data_i ({scale_q, entry_q}),
      .valid_o(factors_valid_o),
      .ready_i(factors_ready_i),
      .data_o ({scale_o, shift_o}),
      .level_o(unused_factors_level)
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

  // The next look-up of MODULATE is that of the shift.
  logic shift_next_q;
  always_ff @(posedge clk_i) begin
    if (rst_i) shift_next_q <= 1'b0;
    else if (lookup_valid_i) shift_next_q <= !shift_next_q;
  end

  one_lookup :
  assert property (disable iff (!live) !(lookup_valid_i && scale_looks_up_o))
  else $error("vector_tables: look-ups of SCALE and of MODULATE in one cycle");

  scale_then_shift :
  assert property (disable iff (!live) lookup_valid_i |-> lookup_i.is_shift == shift_next_q)
  else $error("vector_tables: MODULATE does not look up scale and shift in turn");

  factors_have_room :
  assert property (disable iff (!live) entry_valid_q && entry_is_shift_q |-> has_room_for_factors)
  else $error("vector_tables: scale and shift come, and there are WaitingDepth of them");
`endif

endmodule

`default_nettype wire
