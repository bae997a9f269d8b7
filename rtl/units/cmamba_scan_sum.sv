// Adder tree of the scan: sums over the states of each channel.
//
// The lanes hold whole channels, or a part of one, of 2^log2_state lanes each. Level l of the tree
// has the sums of 2^l neighbours; the sums of the slots' channels leave it at level log2_state and
// wait for the last level.
//
//   lanes   7 6 5 4 3 2 1 0      8 lanes, 2 slots, 2 states: channels 3 2 1 0,
//   level 1  3   2   1   0       region 1 has the slots' channels 3 and 2
//
// One adder a cycle: Levels + 1 cycles in all.

`default_nettype none

module cmamba_scan_sum #(
    // (channel, state) pairs a cycle, a power of two.
    parameter int unsigned Lanes = 64,
    // Channels a cycle, a power of two, at most Lanes.
    parameter int unsigned Slots = 4,
    localparam int unsigned Levels = $clog2(Lanes),
    localparam int unsigned RegionWidth = $clog2(Lanes / Slots),
    localparam int unsigned Width = 32 + Levels
) (
    input wire logic clk_i,

    // Cycle 0: h * c; states of a channel as a power of two; which part of the lanes holds the
    // slots' channels.
    input wire logic signed [31:0] product_i[Lanes],
    input wire logic [2:0] log2_state_i,
    input wire logic [RegionWidth-1:0] region_i,
    // Cycle Levels + 1.
    output logic signed [Width-1:0] sum_o[Slots]
);

  if (Lanes != 1 << Levels || Slots != 1 << $clog2(
          Slots
      ) || Lanes < 2 * Slots) begin : gen_check_sizes
    $fatal(
        1,
        "scan_sum: %0d lanes and %0d slots, expected powers of two, less slots than lanes",
        Lanes,
        Slots
    );
  end

  // Level l is valid in cycle l, what was taken of the levels before it as well.
  logic signed [Width-1:0] level[Levels+1][Lanes];
  logic signed [Width-1:0] taken_q[Levels+1][Slots];
  logic [2:0] log2_state_q[Levels+1];
  logic [RegionWidth-1:0] region_q[Levels+1];

  assign log2_state_q[0] = log2_state_i;
  assign region_q[0] = region_i;
  for (genvar i = 0; i < Lanes; i++) begin : gen_products
    assign level[0][i] = Width'(product_i[i]);
  end

  for (genvar l = 1; l <= Levels; l++) begin : gen_level
    always_ff @(posedge clk_i) begin
      log2_state_q[l] <= log2_state_q[l-1];
      region_q[l] <= region_q[l-1];
    end
    for (genvar i = 0; i < Lanes; i++) begin : gen_adder
      if (i < Lanes >> l) begin : gen_sum
        // A sum of 2^l products of 32 bits.
        logic signed [31+l:0] sum_q;
        always_ff @(posedge clk_i) begin
          sum_q <= (32 + l)'(level[l-1][2*i]) + (32 + l)'(level[l-1][2*i+1]);
        end
        assign level[l][i] = Width'(sum_q);
      end else begin : gen_none
        assign level[l][i] = '0;
      end
    end
  end

  for (genvar l = 0; l <= Levels; l++) begin : gen_take
    localparam int unsigned Sums = Lanes >> l;
    // Sums in a region, and regions.
    localparam int unsigned Group = Sums < Slots ? Sums : Slots;
    localparam int unsigned Regions = Sums / Group;
    for (genvar s = 0; s < Slots; s++) begin : gen_slot
      logic signed [Width-1:0] choice;
      if (Regions > 1) begin : gen_choose
        always_comb begin
          choice = '0;
          for (int unsigned r = 0; r < Regions; r++) begin
            if (region_q[l] == RegionWidth'(r)) choice = level[l][r*Group+s];
          end
        end
      end else begin : gen_only
        assign choice = level[l][s%Group];
      end
      if (l == 0) begin : gen_first
        always_ff @(posedge clk_i) taken_q[l][s] <= choice;
      end else begin : gen_later
        // More states than lanes: the last level has a part of one channel.
        logic here;
        assign here = l == Levels ? log2_state_q[l] >= 3'(l) : log2_state_q[l] == 3'(l);
        always_ff @(posedge clk_i) taken_q[l][s] <= here ? choice : taken_q[l-1][s];
      end
    end
  end

  assign sum_o = taken_q[Levels];

endmodule

`default_nettype wire
