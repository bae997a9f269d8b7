// B or C of the scan for every lane: lane l gets element l mod 2^log2_state of its row.
//
//   cycle  0             1     2              3            4
//          log2_state  | row | moved to the | lanes 0    | all
//                              front          to 7         lanes
//
// C lies behind B, in the same word where it has fewer states than there are lanes, and is moved to
// the front by 2^log2_state. A lane whose highest bit is m, from 2^log2_state on, then takes what
// lane l - 2^m takes: one choice of two a lane, of which those of 8 lanes, then of all, follow each
// other in a cycle.

`default_nettype none

module cmamba_scan_operand #(
    // Lanes, as many as elements of a word, a power of two from 16.
    parameter int unsigned Lanes = 64
) (
    input wire logic clk_i,

    // Cycle 0.
    input  wire logic [2:0]            log2_state_i,
    input  wire logic                  is_c_i,
    // Cycle 1.
    input  wire logic [Lanes-1:0][7:0] row_i,
    // Cycle 4.
    output logic [Lanes-1:0][7:0]      lane_o
);

  localparam int unsigned Levels = $clog2(Lanes);
  localparam int unsigned LowLevels = 3;
  // Where C is: 0 at the front, otherwise Levels - log2_state.
  localparam int unsigned PlaceWidth = $clog2(Levels + 1);

  if (Lanes < 16 || Lanes != 1 << Levels) begin : gen_check_lanes
    $fatal(1, "scan_operand: Lanes is %0d, expected a power of two from 16", Lanes);
  end

  logic [PlaceWidth-1:0] place_q;
  logic [2:0] log2_state_q[1:2];
  logic [Levels-1:0] repeats_q;  // in cycle 2 for the low levels, in cycle 3 for the others
  logic [Lanes-1:0][7:0] moved, moved_q, low, low_q, all;

  always_ff @(posedge clk_i) begin
    place_q <= '0;
    if (is_c_i && log2_state_i < 3'(Levels)) place_q <= PlaceWidth'(Levels - 32'(log2_state_i));
    log2_state_q[1] <= log2_state_i;
    log2_state_q[2] <= log2_state_q[1];
    for (int unsigned m = 0; m < Levels; m++) begin
      repeats_q[m] <= log2_state_q[m<LowLevels?1 : 2] <= 3'(m);
    end
    moved_q <= moved;
    low_q   <= low;
    lane_o  <= all;
  end

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    // The lane's highest bit is HighBits - 1. Only C with more states than that is looked for: what
    // the lane takes otherwise is replaced below. Their places differ in the lowest bits.
    localparam int unsigned HighBits = $clog2(l + 1);
    localparam int unsigned LookWidth = $clog2(Levels - HighBits + 1);
    if (HighBits == Levels) begin : gen_front
      assign moved[l] = row_i[l];
    end else begin : gen_move
      always_comb begin
        moved[l] = row_i[l];
        for (int unsigned m = HighBits; m < Levels; m++) begin
          if (place_q[LookWidth-1:0] == LookWidth'(Levels - m)) moved[l] = row_i[l+(1<<m)];
        end
      end
    end
  end

  always_comb begin
    low = moved_q;
    all = low_q;
    for (int unsigned m = 0; m < Levels; m++) begin
      for (int unsigned l = 1 << m; l < 2 << m; l++) begin
        if (m < LowLevels && repeats_q[m]) low[l] = low[l-(1<<m)];
        if (m >= LowLevels && repeats_q[m]) all[l] = all[l-(1<<m)];
      end
    end
  end

endmodule

`default_nettype wire
