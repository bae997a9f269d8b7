// The multiply-accumulate array: one weight tile a cycle, TileOut lanes of TileIn inputs each.
//
// The lanes form four quarters. With log2_split s, 2^s groups of them share the outputs and split
// the inputs: quarter q belongs to group q >> (2 - s) and takes the TileIn elements of the word
// that begin at TileIn * (part + group). The groups of a split lie in one word.
//
//   word_i --> [] --> select [] --> [] delay of input j -+
//                                                        +--> mac_lane_pair x TileOut/2 --> combine
//   weights_i -----------------------> delay of input j -+
//
// Inputs and control reach the lanes through a tree, so that the weights come InputStages cycles
// later. Its last registers [] belong to a region of up to RegionLanes lanes, which lies where the
// region's weights do.
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

module cmamba_mac_array
  import cmamba_cells_pkg::*;
#(
    // Inputs of a lane in one tile.
    parameter int unsigned TileIn  = 16,
    // Lanes.
    parameter int unsigned TileOut = 64
) (
    input  wire logic                                     clk_i,
    input  wire logic                                     rst_i,
    // A tile and its inputs in one cycle, its weights InputStages = WeightLatency - RamLatency
    // cycles later. The inputs begin TileIn * tile_part_i elements behind the beginning of the
    // word. The tiles of an output tile follow each other, from the first to the last.
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
  // The word, the selected parts of it, a copy for each region.
  localparam int unsigned InputStages = 3;
  // From the tile to the accumulator's input: the tree, registers of A and M, one P for each DSP of
  // a chain, the adder tree.
  localparam int unsigned AccumulateDelay = InputStages + 2 + ChainLength + TreeLevels;
  localparam int unsigned QuarterLanes = TileOut / 4;
  // An input's sign goes to eleven pins of a DSP, and a DSP works for two lanes.
  localparam int unsigned RegionLanes = QuarterLanes < 8 ? QuarterLanes : 8;
  localparam int unsigned Regions = TileOut / RegionLanes;

  if (TileIn < 4 || TileIn != 1 << $clog2(TileIn)) begin : gen_check_tile_in
    $fatal(1, "mac_array: TileIn is %0d, expected a power of two from 4", TileIn);
  end
  if (TileOut < 8 || TileOut != 1 << $clog2(TileOut)) begin : gen_check_tile_out
    $fatal(1, "mac_array: TileOut is %0d, expected a power of two from 8", TileOut);
  end
  if (InputStages != WeightLatency - RamLatency) begin : gen_check_stages
    $fatal(1, "mac_array: %0d InputStages, expected WeightLatency - RamLatency", InputStages);
  end

  // ---- Select ----

  // The group of each quarter.
  function automatic logic [3:0][1:0] groups(logic [1:0] log2_split);
    for (int unsigned q = 0; q < 4; q++) begin
      groups[q] = log2_split == 2'd2 ? 2'(q) : log2_split == 2'd1 ? 2'(q >> 1) : 2'd0;
    end
  endfunction

  logic [3:0][1:0] group;
  assign group = groups(tile_log2_split_i);

  logic [3:0][TileIn-1:0][7:0] word_q, selected_q;  // in parts
  logic [3:0][1:0] part_q;
  always_ff @(posedge clk_i) begin
    word_q <= word_i;
    for (int unsigned q = 0; q < 4; q++) begin
      part_q[q] <= tile_part_i + group[q];
      selected_q[q] <= word_q[part_q[q]];
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
  counted_t counted[InputStages+ChainLength];
  always_comb begin
    counted[0].last = tile_end_i[$clog2(TileIn)-1:0];
    for (int unsigned q = 0; q < 4; q++) begin
      counted[0].some[q] = group[q] == tile_end_i[$clog2(TileIn)+:2];
      counted[0].none[q] = group[q] > tile_end_i[$clog2(TileIn)+:2];
    end
  end
  for (genvar s = 1; s < InputStages + ChainLength; s++) begin : gen_counted
    always_ff @(posedge clk_i) counted[s] <= counted[s-1];
  end

  // ---- Regions: inputs, delayed by j mod ChainLength cycles, of which mac_pair takes one ----

  logic [Regions-1:0][TileIn-1:0][7:0] x;
  logic [Regions-1:0][TileIn-1:0] clear;
  for (genvar r = 0; r < Regions; r++) begin : gen_region
    localparam int unsigned Quarter = r * RegionLanes / QuarterLanes;
    // Where the product of an input, which comes at its place in the chain, goes into its register.
    (* keep = "true" *) logic [TileIn-1:0] clear_q;
    always_ff @(posedge clk_i) begin
      for (int unsigned j = 0; j < TileIn; j++) begin
        clear_q[j] <= counted[InputStages+j%ChainLength].none[Quarter] ||
            (counted[InputStages+j%ChainLength].some[Quarter] &&
             counted[InputStages+j%ChainLength].last < $clog2(TileIn)'(j));
      end
    end
    assign clear[r] = clear_q;

    for (genvar j = 0; j < TileIn; j++) begin : gen_input
      localparam int unsigned Place = j % ChainLength;
      localparam int unsigned Delay = Place > 0 ? Place : 1;  // with the copy
      for (genvar d = 0; d < Delay; d++) begin : gen_delay
        (* keep = "true" *) logic [7:0] x_q;
        if (d == 0) begin : gen_copy
          always_ff @(posedge clk_i) x_q <= selected_q[Quarter][j];
        end else begin : gen_next
          always_ff @(posedge clk_i) x_q <= gen_delay[d-1].x_q;
        end
      end
      assign x[r][j] = gen_delay[Delay-1].x_q;
    end
  end

  logic [TileOut-1:0][TileIn-1:0][7:0] weights;
  for (genvar j = 0; j < TileIn; j++) begin : gen_weights
    localparam int unsigned Place = j % ChainLength;
    localparam int unsigned Delay = Place > 0 ? Place - 1 : 0;
    logic [TileOut-1:0][7:0] column, column_delayed;
    for (genvar l = 0; l < TileOut; l++) begin : gen_lane
      assign column[l] = weights_i[l][j];
      assign weights[l][j] = column_delayed[l];
    end
    if (Delay == 0) begin : gen_none
      assign column_delayed = column;
    end else begin : gen_registers
      logic [TileOut-1:0][7:0] column_q[Delay];
      always_ff @(posedge clk_i) begin
        column_q[0] <= column;
        for (int unsigned d = 1; d < Delay; d++) column_q[d] <= column_q[d-1];
      end
      assign column_delayed = column_q[Delay-1];
    end
  end

  // ---- Control, beside the data ----

  logic [AccumulateDelay-1:0] valid_q, first_q, last_q;
  logic [AccumulateDelay:0][1:0] log2_split_q;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      valid_q <= '0;
    end else begin
      valid_q <= {valid_q[AccumulateDelay-2:0], tile_valid_i};
    end
    first_q      <= {first_q[AccumulateDelay-2:0], tile_first_i};
    last_q       <= {last_q[AccumulateDelay-2:0], tile_last_i};
    log2_split_q <= {log2_split_q[AccumulateDelay-1:0], tile_log2_split_i};
  end
  assign sums_soon_o = valid_q[AccumulateDelay-1] && last_q[AccumulateDelay-1];

  // The last stages again, for each region.
  logic [Regions-1:0] accumulate, accumulate_first, split_in_two, split_in_four;
  for (genvar r = 0; r < Regions; r++) begin : gen_control
    (* keep = "true" *)logic accumulate_q;
    (* keep = "true" *)logic first_tile_q;
    (* keep = "true" *)logic split_in_two_q;
    (* keep = "true" *)logic split_in_four_q;
    always_ff @(posedge clk_i) begin
      accumulate_q    <= !rst_i && valid_q[AccumulateDelay-2];
      first_tile_q    <= first_q[AccumulateDelay-2];
      split_in_two_q  <= log2_split_q[AccumulateDelay-1] != 2'd0;
      split_in_four_q <= log2_split_q[AccumulateDelay] == 2'd2;
    end
    assign accumulate[r] = accumulate_q;
    assign accumulate_first[r] = first_tile_q;
    assign split_in_two[r] = split_in_two_q;
    assign split_in_four[r] = split_in_four_q;
  end

  // ---- Multiply and accumulate ----

  logic [TileOut-1:0][31:0] acc;
  for (genvar p = 0; p < TileOut / 2; p++) begin : gen_pair
    cmamba_mac_lane_pair #(
        .TileIn     (TileIn),
        .ChainLength(ChainLength)
    ) u_mac_lane_pair (
        .clk_i,
        .x_i         (x[2*p/RegionLanes]),
        .weights_i   (weights[2*p+:2]),
        .clear_i     (clear[2*p/RegionLanes]),
        .accumulate_i(accumulate[2*p/RegionLanes]),
        .first_i     (accumulate_first[2*p/RegionLanes]),
        .acc_o       (acc[2*p+:2])
    );
  end

  // ---- Combine ----

  logic [2:0] done_q;  // accumulators, first stage, second stage
  logic [TileOut-1:0][31:0] halves_q, sums_q;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      done_q <= '0;
    end else begin
      done_q <= {done_q[1:0], sums_soon_o};
    end
    // The second operand is masked, so that an adder takes one LUT a bit.
    for (int unsigned l = 0; l < TileOut; l++) begin
      halves_q[l] <= acc[l] + (l < TileOut / 2 && split_in_two[l/RegionLanes] ?
          acc[(l+TileOut/2)%TileOut] : '0);
      sums_q[l] <= halves_q[l] + (l < TileOut / 4 && split_in_four[l/RegionLanes] ?
          halves_q[(l+TileOut/4)%TileOut] : '0);
    end
  end

  assign sums_valid_o = done_q[2];
  assign sums_o = sums_q;

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  // The next tile is the first of its output tile.
  logic begins_q;
  always_ff @(posedge clk_i) begin
    if (rst_i) begins_q <= 1'b1;
    else if (tile_valid_i) begins_q <= tile_last_i;
  end

  tiles_in_order :
  assert property (disable iff (!live) tile_valid_i |-> tile_first_i == begins_q)
  else $error("mac_array: an output tile begins before the one before has ended, or not at all");

  split_fits :
  assert property (disable iff (!live) tile_valid_i |-> tile_log2_split_i <= 2'd2)
  else $error("mac_array: tile_log2_split_i is %0d, expected at most 2", tile_log2_split_i);
`endif

endmodule

`default_nettype wire
