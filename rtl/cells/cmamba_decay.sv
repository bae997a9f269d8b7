// decay(t) of docs/numerics.md: 2^-(t / 4096) with 16 fraction bits, 0 to 65536.
//
// Takes a vector a cycle and gives it DecayLatency cycles later:
//
//   1   two tables of 64 entries, one LUT6 for each of their bits
//   2   product, one DSP48E2
//   3   shift by the octaves t >> 12, up to 18; its constant part, 16, is a choice of bits
//   4   rounding to the nearest, ties to even

`default_nettype none

module cmamba_decay #(
    // Elements of a vector.
    parameter int unsigned Lanes = 64,
    // Bits of t.
    parameter int unsigned Width = 17
) (
    input wire logic clk_i,

    input wire logic [Lanes-1:0][Width-1:0] t_i,
    output logic [Lanes-1:0][16:0] decay_o
);

  import cmamba_pkg::DecayHigh;
  import cmamba_pkg::DecayLow;

  if (Lanes < 1) begin : gen_check_lanes
    $fatal(1, "decay: Lanes is %0d, expected at least 1", Lanes);
  end
  if (Width < 17 || Width > 32) begin : gen_check_width
    $fatal(1, "decay: Width is %0d, expected 17 to 32", Width);
  end

  // From here on the product, at most 2^32, gives less than one half.
  localparam logic [4:0] MaxOctaves = 5'd18;

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    logic [16:0] high_q, low_q, decay_q;
    logic [4:0] octaves, octaves_q, octaves2_q;
    logic [32:0] product_q;

    assign octaves = t_i[l][Width-1:12] < (Width - 12)'(MaxOctaves) ? t_i[l][16:12] : MaxOctaves;

    // floor(product / 2^(16 + octaves)) and its first bit behind the point
    logic [17:0] shifted, shifted_q;
    // whether other bits behind the point are set
    logic rest_q;
    assign shifted = 18'(product_q[32:15] >> octaves2_q);

    always_ff @(posedge clk_i) begin
      high_q <= DecayHigh[t_i[l][11:6]];
      low_q <= DecayLow[t_i[l][5:0]];
      octaves_q <= octaves;

      product_q <= 33'(high_q) * 33'(low_q);
      octaves2_q <= octaves_q;

      shifted_q <= shifted;
      rest_q <= |(product_q & ~(33'h1_FFFF_8000 << octaves2_q));

      decay_q <= shifted_q[17:1] + 17'(shifted_q[0] && (rest_q || shifted_q[1]));
    end

    assign decay_o[l] = decay_q;
  end

endmodule

`default_nettype wire
