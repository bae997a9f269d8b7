// Sums of rows for the vector unit: the parts of a row come in, a beat each, and one result goes
// out for each row, in order: of a NORM r and e of its root, of a POOL_FEATURES sum and maximum.
//
//   products --> tree of lanes --> the row so far --+--> queue --> reciprocal_sqrt --> root_*
//                                                   +--> queue ----------------------> row_*

`default_nettype none

module cmamba_vector_reduce
  import cmamba_vector_pkg::*;
(
    input wire logic clk_i,
    input wire logic rst_i,

    // Of a NORM squares, zero where a lane is not of the row; of a POOL_FEATURES the elements. The
    // parts of a row follow each other, from the first to the last. At most WaitingDepth results
    // may be on their way: there is no back-pressure.
    input wire logic                          valid_i,
    input wire part_t                         part_i,
    input wire logic [Lanes-1:0][43:0] products_i,

    // root_exponent_o is there many cycles before the root.
    output logic               root_valid_o,
    input  wire logic          root_ready_i,
    output logic        [16:0] root_o,
    output logic signed [ 5:0] root_exponent_o,

    output logic                       scalars_valid_o,
    input  wire logic                  scalars_ready_i,
    output logic        [SumWidth-1:0] row_sum_o,
    output logic signed [        15:0] row_maximum_o
);

  // ---------------------------------------------------------------- sums and maxima of lanes

  // Sums of squares, or of the elements themselves. 16 lanes: 16 x 32 bits, 8 x 33, 4 x 34, 2 x 35,
  // 36
  localparam int unsigned TreeWidth = 32 + LaneWidth;
  logic [2*Lanes-1:1][TreeWidth-1:0] tree_q;  // node i adds nodes 2 i and 2 i + 1
  // Offset by 2^15, so that zero, where a lane is not of the row, is the least.
  logic [2*Lanes-1:1][15:0] largest_q;
  for (genvar l = 0; l < Lanes; l++) begin : gen_leaf
    assign tree_q[Lanes+l] = TreeWidth'(products_i[l]);
    assign largest_q[Lanes+l] = part_i.lanes[l] ? {!products_i[l][15], products_i[l][14:0]} : '0;
    logic unused;
    assign unused = ^products_i[l][43:TreeWidth];
  end
  for (genvar i = 1; i < Lanes; i++) begin : gen_node
    always_ff @(posedge clk_i) begin
      tree_q[i] <= tree_q[2*i] + tree_q[2*i+1];
      largest_q[i] <= largest_q[2*i] > largest_q[2*i+1] ? largest_q[2*i] : largest_q[2*i+1];
    end
  end

  // Beside the tree, a stage for each of its levels.
  logic  [LaneWidth:1] valid_q;
  part_t [LaneWidth:1] part_q;
  logic part_valid, unused_lanes;
  part_t part;
  always_ff @(posedge clk_i) begin
    valid_q[1] <= !rst_i && valid_i;
    part_q[1]  <= part_i;
    for (int unsigned s = 2; s <= LaneWidth; s++) begin
      valid_q[s] <= !rst_i && valid_q[s-1];
      part_q[s]  <= part_q[s-1];
    end
  end
  assign part_valid = valid_q[LaneWidth];
  assign part = part_q[LaneWidth];
  assign unused_lanes = ^part.lanes;

  // ---------------------------------------------------------------- the row so far

  // Of squares and of elements, whose sum is signed.
  logic sum_valid_q, scalars_valid_q;
  logic signed [47:0] sum_q, row_sum;
  logic signed [15:0] maximum_q, beat_maximum;
  assign beat_maximum = {!largest_q[1][15], largest_q[1][14:0]};
  always_comb begin
    row_sum = sum_q;
    if (part.first) row_sum = part.squares ? 48'(part.eps) : '0;
  end

  always_ff @(posedge clk_i) begin
    sum_valid_q <= !rst_i && part_valid && part.last && part.squares;
    scalars_valid_q <= !rst_i && part_valid && part.last && !part.squares;
    if (part_valid) begin
      sum_q <= row_sum + 48'(signed'(tree_q[1]));
      if (part.first || beat_maximum > maximum_q) maximum_q <= beat_maximum;
    end
  end

  // ---------------------------------------------------------------- results

  logic pending, taken;
  logic [47:0] sum;
  logic [2:0] unused_level, unused_scalars_level;
  logic has_room_for_sum, has_room_for_scalars;

  cmamba_fifo #(
      .Width(48),
      .Depth(WaitingDepth),
      .RamStyle("distributed")
  ) u_sums (
      .clk_i,
      .rst_i,
      .valid_i(sum_valid_q),
      .ready_o(has_room_for_sum),
      .data_i (sum_q),
      .valid_o(pending),
      .ready_i(taken),
      .data_o (sum),
      .level_o(unused_level)
  );

  cmamba_reciprocal_sqrt u_root (
      .clk_i,
      .rst_i,
      .valid_i(pending),
      .ready_o(taken),
      .s_i(sum),
      .valid_o(root_valid_o),
      .ready_i(root_ready_i),
      .r_o(root_o),
      .e_o(root_exponent_o)
  );

  cmamba_fifo #(
      .Width(SumWidth + 16),
      .Depth(WaitingDepth),
      .RamStyle("distributed")
  ) u_scalars (
      .clk_i,
      .rst_i,
      .valid_i(scalars_valid_q),
      .ready_o(has_room_for_scalars),
      .data_i ({sum_q[SumWidth-1:0], maximum_q}),
      .valid_o(scalars_valid_o),
      .ready_i(scalars_ready_i),
      .data_o ({row_sum_o, row_maximum_o}),
      .level_o(unused_scalars_level)
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

  // The next part is the first of its row.
  logic begins_q;
  always_ff @(posedge clk_i) begin
    if (rst_i) begins_q <= 1'b1;
    else if (valid_i) begins_q <= part_i.last;
  end

  parts_in_order :
  assert property (disable iff (!live) valid_i |-> part_i.first == begins_q)
  else $error("vector_reduce: a row begins before the one before has ended, or not at all");

  sum_has_room :
  assert property (disable iff (!live) sum_valid_q |-> has_room_for_sum)
  else $error("vector_reduce: a sum of squares comes, and there are WaitingDepth of them");

  scalars_have_room :
  assert property (disable iff (!live) scalars_valid_q |-> has_room_for_scalars)
  else $error("vector_reduce: sum and maximum come, and there are WaitingDepth of them");
`endif

endmodule

`default_nettype wire
