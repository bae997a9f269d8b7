// One channel of the scan's output: s = sum + (D * w << skip_shift), y = sat_16(rne(s, y_shift)), y
// * silu(z).
//
//   0  D, w               4  skip + half; sum    8  y * silu
//   1  D * w              5  total               9  y * silu
//   2  D * w              6  total >> 8k
//   3  D * w shifted      7  y; silu(z)
//
// half is half of 2^y_shift, or zero; a tie, which it rounds up, is made even behind the shift. A
// channel with more states than lanes comes in parts; the skip is added to the first one.

`default_nettype none

module cmamba_scan_output #(
    // Bits of the sum over states, at most 48.
    parameter int unsigned SumWidth = 38
) (
    input wire logic clk_i,

    // Cycle 0.
    input  wire logic signed [        17:0] skip_weight_i,
    input  wire logic signed [         8:0] w_i,
    // Cycle 2.
    input  wire logic        [         4:0] skip_shift_i,
    // Cycle 3.
    input  wire logic        [        39:0] half_i,
    // Cycle 4.
    input  wire logic                       first_part_i,
    input  wire logic signed [SumWidth-1:0] sum_i,
    // Cycle 5: y_shift, and the bits behind the point, 2^y_shift - 1.
    input  wire logic        [         5:0] shift_i,
    input  wire logic        [        39:0] mask_i,
    // Cycle 7: silu(z).
    input  wire logic signed [        15:0] gate_i,
    // Cycle 9.
    output logic signed      [        31:0] y_o
);

  if (SumWidth > 48) begin : gen_check_width
    $fatal(1, "scan_output: SumWidth is %0d, expected at most 48", SumWidth);
  end

  logic signed [26:0] product_q, skip_q;
  logic signed [47:0] shifted_skip_q, rounded_skip_q, total_q, coarse_q;
  logic [2:0] fine_q;
  logic tie_q;
  always_ff @(posedge clk_i) begin
    product_q <= skip_weight_i * w_i;
    skip_q <= product_q;
    shifted_skip_q <= 48'(skip_q) <<< skip_shift_i;
    rounded_skip_q <= shifted_skip_q + $signed({8'b0, half_i});
    total_q <= (first_part_i ? rounded_skip_q : total_q) + 48'(sum_i);
    coarse_q <= total_q >>> {shift_i[5:3], 3'b0};
    fine_q <= shift_i[2:0];
    tie_q <= shift_i != '0 && (total_q[39:0] & mask_i) == '0;
  end

  logic signed [47:0] shifted;
  logic signed [15:0] y_q;
  assign shifted = coarse_q >>> fine_q;
  always_ff @(posedge clk_i) begin
    if (shifted[47:15] != {33{shifted[47]}}) y_q <= {shifted[47], {15{!shifted[47]}}};
    else y_q <= {shifted[15:1], shifted[0] && !tie_q};
  end

  logic signed [31:0] gated_q;
  always_ff @(posedge clk_i) begin
    gated_q <= y_q * gate_i;
    y_o <= gated_q;
  end

endmodule

`default_nettype wire
