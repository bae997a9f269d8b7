// One lane of the requantizer behind its product: clamp(rne(product, shift) + zero_point + addend).
//
// Three stages:
//
//   1   shift by 0, 16, 32 or 48
//   2   shift by 0 to 15, to 18 bits
//   3   rounding, zero point, addend, clamp
//
// Of what a right shift loses, two bits are kept: `half`, the last bit that was shifted out, and
// `rest`, the OR of those before it. Rounding to the nearest with ties to even adds
// half && (rest || odd).

`default_nettype none

module cmamba_round_clamp (
    input wire logic clk_i,

    input wire logic signed [49:0] product_i,
    input wire logic [5:0] shift_i,
    input wire logic signed [7:0] zero_point_i,
    // Added before the clamp; zero where there is none.
    input wire logic signed [15:0] addend_i,
    // int16 result, instead of int8.
    input wire logic wide_i,
    // Clamp below at the zero point.
    input wire logic relu_i,

    // An int8 result is sign-extended.
    output logic signed [15:0] data_o
);

  typedef struct packed {
    logic signed [7:0] zero_point;
    logic signed [15:0] addend;
    logic wide;
    logic relu;
  } rest_t;

  // ---------------------------------------------------------------- stage 1

  logic signed [49:0] coarse_q;
  logic coarse_half_q, coarse_rest_q;
  logic [3:0] fine_q;
  rest_t rest1_q;

  always_ff @(posedge clk_i) begin
    coarse_q <= product_i >>> {shift_i[5:4], 4'd0};
    unique case (shift_i[5:4])
      2'd0: {coarse_half_q, coarse_rest_q} <= '0;
      2'd1: {coarse_half_q, coarse_rest_q} <= {product_i[15], |product_i[14:0]};
      2'd2: {coarse_half_q, coarse_rest_q} <= {product_i[31], |product_i[30:0]};
      2'd3: {coarse_half_q, coarse_rest_q} <= {product_i[47], |product_i[46:0]};
    endcase
    fine_q  <= shift_i[3:0];
    rest1_q <= '{zero_point_i, addend_i, wide_i, relu_i};
  end

  // ---------------------------------------------------------------- stage 2

  // The shift is a choice of one of four, twice, of a LUT6 each: by fours, then by ones. Beyond 18
  // bits neither zero point nor addend bring a value back into the range of int16: it is enough to
  // know the sign. The bits that are lost at either end are looked at in fours, beside the first
  // choice; those that the second one loses, behind it.
  //
  //   extended  [50 ......... 4 c + 22][4 c + 21 ........ 4 c][4 c - 1 .... 0]
  //              all like the sign?     by_fours               all zero?
  logic sign, overflow, rest;
  logic [50:0] extended;
  logic [21:0] by_fours;
  logic [17:0] shifted;
  logic [2:0] rest_fours, overflow_fours;  // of the fours 0 to 2; 1 to 3 above the 18 bits
  logic [1:0] coarse, fine;
  assign {coarse, fine} = fine_q;
  assign sign = coarse_q[49];
  assign extended = {coarse_q, coarse_half_q};
  for (genvar i = 0; i < 3; i++) begin : gen_fours
    assign rest_fours[i] = extended[4*i+:4] != '0;
    assign overflow_fours[i] = extended[22+4*i+:4] != {4{sign}};
  end
  always_comb begin
    unique case (coarse)
      2'd0: by_fours = extended[21:0];
      2'd1: by_fours = extended[25:4];
      2'd2: by_fours = extended[29:8];
      2'd3: by_fours = extended[33:12];
    endcase
    unique case (fine)
      2'd0: shifted = by_fours[17:0];
      2'd1: shifted = by_fours[18:1];
      2'd2: shifted = by_fours[19:2];
      2'd3: shifted = by_fours[20:3];
    endcase
    rest = coarse_rest_q || (rest_fours & ~(3'b111 << coarse)) != '0 ||
        (by_fours[2:0] & ~(3'b111 << fine)) != '0;
    overflow = extended[50:34] != {17{sign}} || (overflow_fours & (3'b111 << coarse)) != '0 ||
        ((by_fours[21:18] ^ {4{sign}}) & (4'b1111 << fine)) != '0;
  end

  logic signed [17:0] floor_q;
  logic half_q, rest_q, overflow_q;
  logic signed [16:0] offset_q;
  rest_t rest2_q;

  always_ff @(posedge clk_i) begin
    floor_q <= {sign, shifted[17:1]};
    overflow_q <= overflow;
    half_q <= shifted[0];
    rest_q <= rest;
    offset_q <= 17'(rest1_q.addend) + 17'(rest1_q.zero_point);
    rest2_q <= rest1_q;
  end

  // ---------------------------------------------------------------- stage 3

  // Rounding up is the carry input of the adders.
  logic up;
  logic signed [19:0] sum, above;
  logic unused_carry, unused_above_carry, unused_above;
  assign up = half_q && (rest_q || floor_q[0]);
  assign {sum, unused_carry} = {20'(floor_q), 1'b1} + {20'(offset_q), up};
  // Above the zero point; its sign counts.
  assign unused_above = ^above[18:0];
  assign {above, unused_above_carry} = {20'(floor_q), 1'b1} + {20'(rest2_q.addend), up};

  // What does not fit becomes the sign and its opposite in all other bits. Bits 7 to 14 of an int8
  // are like the sign in any case, so that a LUT6 gives each bit of the result.
  logic fits, is_low, is_below;
  logic [14:0] bounded;
  assign fits = !overflow_q &&
      (rest2_q.wide ? sum[19:15] == {5{sum[19]}} : sum[19:7] == {13{sum[19]}});
  assign is_low = overflow_q ? floor_q[17] : sum[19];
  assign is_below = overflow_q ? floor_q[17] : above[19];
  assign bounded = fits ? sum[14:0] : {15{!is_low}};

  always_ff @(posedge clk_i) begin
    if (rest2_q.relu && is_below) data_o <= 16'(rest2_q.zero_point);
    else data_o <= {is_low, rest2_q.wide ? bounded[14:7] : {8{is_low}}, bounded[6:0]};
  end

endmodule

`default_nettype wire
