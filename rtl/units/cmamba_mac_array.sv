// The multiply-accumulate array: one weight tile a cycle, TileOut lanes of TileIn inputs each.
//
// The lanes form four quarters. With log2_split s, 2^s groups of them share the outputs and split
// the inputs: quarter q belongs to group q >> (2 - s) and takes the TileIn elements of the word
// that begin at TileIn * (part + group). The groups of a split lie in one word.
//
//   word_i --> select --> delay of input j -+
//                                           +--> mac_lane_pair x TileOut/2 --> combine
//   weights_i ----------> delay of input j -+
//
// The last input tile of a matrix may have fewer inputs than the array: the products of those
// beyond are zero, whatever the inputs and the weights are.
//
// At the last tile of an output tile, the sums of the groups are added in two stages:
//   s = 0: lane l = acc[l]
//   s = 1: lane l = acc[l] + acc[l + TileOut/2]                        for l < TileOut/2
//   s = 2: lane l = the same, plus that of lane l + TileOut/4          for l < TileOut/4
// Lanes above hold sums that nobody reads.
`default_nettype none

module cmamba_mac_array #(
    // Inputs of a lane in one tile.
    parameter int unsigned TileIn  = 16,
    // Lanes.
    parameter int unsigned TileOut = 64
) (
    input  wire logic                                     clk_i,
    input  wire logic                                     rst_i,
    // A tile, its weights and inputs in one cycle. The inputs begin TileIn * tile_part_i elements
    // behind the beginning of the word.
    input  wire logic                                     tile_valid_i,
    input  wire logic                                     tile_first_i,       // of its output tile
    input  wire logic                                     tile_last_i,        // of its output tile
    input  wire logic [1:0]                               tile_part_i,
    input  wire logic [1:0]                               tile_log2_split_i,
    // The last of the tile's inputs that counts, group after group; all ones: all count.
    input  wire logic [$clog2(4*TileIn)-1:0]              tile_end_i,
    input  wire logic [4*TileIn-1:0][7:0]                 word_i,
    input  wire logic [TileOut-1:0][TileIn-1:0][7:0]      weights_i,
    // An output tile has been summed: sums_o is valid three cycles after sums_soon_o, with
    // sums_valid_o.
    output      logic                                     sums_soon_o,
    output      logic                                     sums_valid_o,
    output      logic [TileOut-1:0][31:0]                 sums_o
);

  localparam int unsigned ChainLength = 4;
  localparam int unsigned TreeLevels = $clog2(TileIn / ChainLength);
  // From the tile to the accumulator's input: registers of A and M, one P for each DSP of a chain,
  // the adder tree.
  localparam int unsigned AccumulateDelay = 2 + ChainLength + TreeLevels;
  localparam int unsigned QuarterLanes = TileOut / 4;

  if (TileIn < 4 || TileIn != 1 << $clog2(TileIn)) begin : gen_check_tile_in
    $fatal(1, "mac_array: TileIn is %0d, expected a power of two from 4", TileIn);
  end
  if (TileOut < 8 || TileOut != 1 << $clog2(TileOut)) begin : gen_check_tile_out
    $fatal(1, "mac_array: TileOut is %0d, expected a power of two from 8", TileOut);
  end

  // ---- Select ----

  logic [3:0][TileIn-1:0][7:0] selected;
  for (genvar q = 0; q < 4; q++) begin : gen_select
    logic [1:0] group;
    assign group = tile_part_i +
        (tile_log2_split_i == 2'd2 ? 2'(q) : tile_log2_split_i == 2'd1 ? 2'(q >> 1) : 2'd0);
    assign selected[q] = word_i[group*TileIn+:TileIn];
  end

  // ---- Delay: input j by j mod ChainLength cycles, of which mac_pair takes one itself ----

  logic [3:0][TileIn-1:0][7:0] x;
  logic [TileOut-1:0][TileIn-1:0][7:0] weights;
  for (genvar j = 0; j < TileIn; j++) begin : gen_delay
    localparam int unsigned Place = j % ChainLength;
    localparam int unsigned Delay = Place > 0 ? Place - 1 : 0;
    logic [4+TileOut-1:0][7:0] column, column_delayed;
    for (genvar q = 0; q < 4; q++) begin : gen_quarter
      assign column[q] = selected[q][j];
      assign x[q][j]   = column_delayed[q];
    end
    for (genvar l = 0; l < TileOut; l++) begin : gen_lane
      assign column[4+l]   = weights_i[l][j];
      assign weights[l][j] = column_delayed[4+l];
    end
    if (Delay == 0) begin : gen_none
      assign column_delayed = column;
    end else begin : gen_registers
      logic [4+TileOut-1:0][7:0] column_q[Delay];
      always_ff @(posedge clk_i) begin
        column_q[0] <= column;
        for (int unsigned d = 1; d < Delay; d++) column_q[d] <= column_q[d-1];
      end
      assign column_delayed = column_q[Delay-1];
    end
  end

  // ---- Inputs that do not count ----

  // A quarter's inputs count all, none, or up to this one.
  typedef struct packed {
    logic [3:0]                some;
    logic [3:0]                none;
    logic [$clog2(TileIn)-1:0] last;
  } counted_t;
  // Of the tile that came s cycles before.
  counted_t counted[ChainLength];
  always_comb begin
    counted[0].last = tile_end_i[$clog2(TileIn)-1:0];
    for (int unsigned q = 0; q < 4; q++) begin
      automatic logic [1:0] group, end_group;
      group = tile_log2_split_i == 2'd2 ? 2'(q) : tile_log2_split_i == 2'd1 ? 2'(q >> 1) : 2'd0;
      end_group = tile_end_i[$clog2(TileIn)+:2];
      counted[0].some[q] = group == end_group;
      counted[0].none[q] = group > end_group;
    end
  end
  for (genvar s = 1; s < ChainLength; s++) begin : gen_counted
    always_ff @(posedge clk_i) counted[s] <= counted[s-1];
  end

  // Where the product of an input, which comes at its place in the chain, goes into its register.
  logic [3:0][TileIn-1:0] clear_q;
  always_ff @(posedge clk_i) begin
    for (int unsigned q = 0; q < 4; q++) begin
      for (int unsigned j = 0; j < TileIn; j++) begin
        clear_q[q][j] <= counted[j%ChainLength].none[q] ||
            (counted[j%ChainLength].some[q] && counted[j%ChainLength].last < $clog2(TileIn)'(j));
      end
    end
  end

  // ---- Control, beside the data ----

  logic [AccumulateDelay-1:0] valid_q, first_q, last_q;
  logic [AccumulateDelay+1:0][1:0] log2_split_q;
  logic accumulate, accumulate_first, accumulate_last;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      valid_q <= '0;
    end else begin
      valid_q <= {valid_q[AccumulateDelay-2:0], tile_valid_i};
    end
    first_q      <= {first_q[AccumulateDelay-2:0], tile_first_i};
    last_q       <= {last_q[AccumulateDelay-2:0], tile_last_i};
    log2_split_q <= {log2_split_q[AccumulateDelay:0], tile_log2_split_i};
  end
  assign accumulate = valid_q[AccumulateDelay-1];
  assign accumulate_first = first_q[AccumulateDelay-1];
  assign accumulate_last = last_q[AccumulateDelay-1];

  // ---- Multiply and accumulate ----

  logic [TileOut-1:0][31:0] acc;
  for (genvar p = 0; p < TileOut / 2; p++) begin : gen_pair
    cmamba_mac_lane_pair #(
        .TileIn     (TileIn),
        .ChainLength(ChainLength)
    ) u_mac_lane_pair (
        .clk_i,
        .x_i         (x[2*p/QuarterLanes]),
        .weights_i   (weights[2*p+:2]),
        .clear_i     (clear_q[2*p/QuarterLanes]),
        .accumulate_i(accumulate),
        .first_i     (accumulate_first),
        .acc_o       (acc[2*p+:2])
    );
  end

  // ---- Combine ----

  logic [2:0] done_q;  // accumulators, first stage, second stage
  logic [TileOut-1:0][31:0] halves_q, sums_q;
  logic split_in_two, split_in_four;

  assign split_in_two  = log2_split_q[AccumulateDelay] != 2'd0;
  assign split_in_four = log2_split_q[AccumulateDelay+1] == 2'd2;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      done_q <= '0;
    end else begin
      done_q <= {done_q[1:0], accumulate && accumulate_last};
    end
    // The second operand is masked, so that an adder takes one LUT a bit.
    for (int unsigned l = 0; l < TileOut; l++) begin
      halves_q[l] <= acc[l] + (l < TileOut / 2 && split_in_two ? acc[(l+TileOut/2)%TileOut] : '0);
      sums_q[l] <= halves_q[l] +
          (l < TileOut / 4 && split_in_four ? halves_q[(l+TileOut/4)%TileOut] : '0);
    end
  end

  assign sums_soon_o = accumulate && accumulate_last;
  assign sums_valid_o = done_q[2];
  assign sums_o = sums_q;

endmodule

`default_nettype wire
