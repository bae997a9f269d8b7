// One lane of the scan: h = sat_24(rne(decay * h + (delta_w * b << (16 - state_shift)), 16)) and h
// * c.
//
//   cycle  0           1          2           3       4                5     6          7
//          delta_w, b | product | + round   | drive
//                                 decay, h  | product | + drive       | h, c | product | h * c
//
// Three multipliers, a DSP48E2 each. b comes shifted left by 0 to 8; the other 8 of the shift by up
// to 16 follow the multiplication, so that no wide shifter is needed. The half that rounds the
// update is added to the first product, before its shift; ties are corrected in the end, as in
// scan_exponent.

`default_nettype none

module cmamba_scan_update (
    input wire logic clk_i,

    // Cycle 0: delta * w, and b shifted left.
    input wire logic signed [25:0] delta_w_i,
    input wire logic signed [15:0] b_i,
    // Cycle 1: whether 8 more places follow.
    input wire logic               shift_8_i,
    // Cycle 2: 65536 keeps the state.
    input wire logic        [16:0] decay_i,
    input wire logic signed [23:0] h_i,
    // Cycle 5.
    output logic signed     [23:0] h_o,
    input wire logic signed [ 7:0] c_i,
    // Cycle 7.
    output logic signed     [31:0] product_o
);

  logic signed [47:0] input_sum, drive, sum, output_sum;
  logic [2:0][47:0] unused_cascade;
  logic shift_8_q;

  cmamba_multiply_add #(
      .InputRegisters(0),
      .Addend        ("c")
  ) u_input (
      .clk_i,
      .a_i      (27'(delta_w_i)),
      .b_i      (18'(b_i)),
      .c_i      (shift_8_i ? 48'h0080 : 48'h8000),
      .sum_o    (input_sum),
      .cascade_o(unused_cascade[0])
  );

  always_ff @(posedge clk_i) shift_8_q <= shift_8_i;
  assign drive = shift_8_q ? {input_sum[39:0], 8'b0} : input_sum;

  cmamba_multiply_add #(
      .InputRegisters(0),
      .Addend        ("c"),
      .AddendRegister(1'b1)
  ) u_state (
      .clk_i,
      .a_i      (27'(h_i)),
      .b_i      ({1'b0, decay_i}),
      .c_i      (drive),
      .sum_o    (sum),
      .cascade_o(unused_cascade[1])
  );

  logic tie, overflow;
  assign tie = sum[15:0] == '0;
  assign overflow = sum[47:39] != {9{sum[47]}};

  always_ff @(posedge clk_i) begin
    if (overflow) h_o <= {sum[47], {23{!sum[47]}}};
    else h_o <= {sum[39:17], sum[16] && !tie};
  end

  cmamba_multiply_add #(
      .InputRegisters(0)
  ) u_output (
      .clk_i,
      .a_i      (27'(h_o)),
      .b_i      (18'(c_i)),
      .sum_o    (output_sum),
      .cascade_o(unused_cascade[2])
  );
  assign product_o = output_sum[31:0];

  logic unused;
  assign unused = ^{output_sum[47:32], unused_cascade};

endmodule

`default_nettype wire
