// One lane of the scan's exponent: t = rne(delta * rate, exp_shift), clamped.
//
//   cycle  0           1          2                3
//          delta, rate | product | product + half | t
//
// delta comes shifted left by 0 to 10, so that a right shift by 0, 11, 22 or 33 is left: a choice
// of one of four for every bit, instead of a shift by any of 32 numbers.
//
// Rounding to even without an adder behind the multiplier: adding one half (in the DSP48E2) and
// dropping the bits behind the point is right but for ties, which round up. A tie leaves zeros
// behind the point; then the lowest bit is cleared.

`default_nettype none

module cmamba_scan_exponent #(
    // Bits of t. The decay of 2^Width / 4096 octaves is zero.
    parameter int unsigned Width = 17
) (
    input wire logic clk_i,

    // Cycle 0.
    input wire logic [25:0] delta_i,
    input wire logic [15:0] rate_i,
    // Cycle 1: one half, where the right shift is 11, 22 or 33 (one-hot).
    input wire logic [3:1] half_i,
    // Cycle 2: the right shift in steps of 11.
    input wire logic [1:0] coarse_i,
    // Cycle 3: all ones where t does not fit.
    output logic [Width-1:0] t_o
);

  localparam int unsigned Step = 11;

  if (Width < 17 || Width > 32) begin : gen_check_width
    $fatal(1, "scan_exponent: Width is %0d, expected 17 to 32", Width);
  end

  logic [47:0] half, sum, unused_cascade;
  always_comb begin
    half = '0;
    for (int unsigned i = 1; i <= 3; i++) half[Step*i-1] = half_i[i];
  end
  cmamba_multiply_add #(
      .InputRegisters(0),
      .Addend        ("c")
  ) u_multiply_add (
      .clk_i,
      .a_i      ({1'b0, delta_i}),
      .b_i      (18'(rate_i)),
      .c_i      (half),
      .sum_o    (sum),
      .cascade_o(unused_cascade)
  );
  logic unused;
  assign unused = ^unused_cascade;

  // Whether steps of the bits behind the point are zero.
  logic [2:0] zero;
  logic tie, overflow;
  logic [47:0] shifted;
  for (genvar i = 0; i < 3; i++) begin : gen_zero
    assign zero[i] = sum[Step*i+:Step] == '0;
  end
  always_comb begin
    unique case (coarse_i)
      2'd0: {tie, shifted} = {1'b0, sum};
      2'd1: {tie, shifted} = {zero[0], sum >> Step};
      2'd2: {tie, shifted} = {&zero[1:0], sum >> (2 * Step)};
      2'd3: {tie, shifted} = {&zero, sum >> (3 * Step)};
    endcase
  end
  assign overflow = |shifted[47:Width];

  always_ff @(posedge clk_i) begin
    if (overflow) t_o <= '1;
    else t_o <= {shifted[Width-1:1], shifted[0] && !tie};
  end

endmodule

`default_nettype wire
