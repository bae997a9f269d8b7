// One lane of the scan's exponent: t = rne(delta * rate, exp_shift), clamped.
//
//   cycle  0           1          2                3
//          delta, rate | product | product + half | t
//
// Rounding to even without an adder behind the multiplier: adding one half (in the DSP48E2) and
// dropping the bits behind the point is right but for ties, which round up. A tie leaves zeros
// behind the point; then the lowest bit is cleared.

`default_nettype none

module scan_exponent #(
    // Bits of t. The decay of 2^Width / 4096 octaves is zero.
    parameter int unsigned Width = 17
) (
    input wire logic clk_i,

    // Cycle 0.
    input wire logic [15:0] delta_i,
    input wire logic [15:0] rate_i,
    // Cycle 1: half of 2^exp_shift, or zero.
    input wire logic [30:0] half_i,
    // Cycle 2: exp_shift, and the bits behind the point, 2^exp_shift - 1.
    input wire logic [ 4:0] shift_i,
    input wire logic [30:0] mask_i,
    // Cycle 3: all ones where t does not fit.
    output logic [Width-1:0] t_o
);

  if (Width < 17 || Width > 32) begin : gen_check_width
    $fatal(1, "scan_exponent: Width is %0d, expected 17 to 32", Width);
  end

  logic [47:0] sum, unused_cascade;
  multiply_add #(
      .InputRegisters(0),
      .Addend        ("c")
  ) u_multiply_add (
      .clk_i,
      .a_i      (27'(delta_i)),
      .b_i      (18'(rate_i)),
      .c_i      (48'(half_i)),
      .sum_o    (sum),
      .cascade_o(unused_cascade)
  );
  logic unused;
  assign unused = ^{sum[47:33], unused_cascade};

  logic [32:0] shifted;
  logic tie;
  assign shifted = sum[32:0] >> shift_i;
  assign tie = shift_i != '0 && (sum[30:0] & mask_i) == '0;

  always_ff @(posedge clk_i) begin
    if (|shifted[32:Width]) t_o <= '1;
    else t_o <= {shifted[Width-1:1], shifted[0] && !tie};
  end

endmodule

`default_nettype wire
