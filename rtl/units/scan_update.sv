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

module scan_update (
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

  logic signed [41:0] input_product_q;
  logic signed [42:0] input_sum_q;
  logic shift_8_q;
  logic signed [47:0] drive_q;
  logic signed [41:0] state_product_q;
  logic signed [47:0] sum_q;

  always_ff @(posedge clk_i) begin
    input_product_q <= delta_w_i * b_i;
    input_sum_q <= 43'(input_product_q) + (shift_8_i ? 43'sh0080 : 43'sh8000);
    shift_8_q <= shift_8_i;
    drive_q <= shift_8_q ? {input_sum_q[39:0], 8'b0} : 48'(input_sum_q);
    state_product_q <= $signed({1'b0, decay_i}) * h_i;
    sum_q <= 48'(state_product_q) + drive_q;
  end

  logic tie, overflow;
  assign tie = sum_q[15:0] == '0;
  assign overflow = sum_q[47:39] != {9{sum_q[47]}};

  always_ff @(posedge clk_i) begin
    if (overflow) h_o <= {sum_q[47], {23{!sum_q[47]}}};
    else h_o <= {sum_q[39:17], sum_q[16] && !tie};
  end

  logic signed [31:0] product_q;
  always_ff @(posedge clk_i) begin
    product_q <= h_o * c_i;
    product_o <= product_q;
  end

endmodule

`default_nettype wire
