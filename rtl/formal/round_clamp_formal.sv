// round_clamp computes clamp(rne(product, shift) + zero_point + addend), written down as
// docs/numerics.md does, for all products of 50 bits, shifts up to 48, and other operands.

`default_nettype none

module round_clamp_formal (
    input wire logic clk_i,
    input wire logic signed [49:0] product_i,
    input wire logic [5:0] shift_i,
    input wire logic signed [7:0] zero_point_i,
    input wire logic signed [15:0] addend_i,
    input wire logic wide_i,
    input wire logic relu_i
);

  localparam int unsigned Latency = 3;

  logic signed [15:0] data;
  cmamba_round_clamp dut (
      .*,
      .data_o(data)
  );

  // rne(x, s) = (x + 2^(s-1) - 1 + ((x >> s) & 1)) >> s
  logic signed [51:0] x, half_less, odd, rounded, sum, low, high, expected;
  always_comb begin
    x = 52'(product_i);
    half_less = (52'sd1 <<< (shift_i - 1'b1)) - 52'sd1;
    odd = (x >>> shift_i) & 52'sd1;
    rounded = shift_i == '0 ? x : (x + half_less + odd) >>> shift_i;
    sum = rounded + 52'(zero_point_i) + 52'(addend_i);
    high = wide_i ? 52'sd32767 : 52'sd127;
    low = relu_i ? 52'(zero_point_i) : wide_i ? -52'sd32768 : -52'sd128;
    expected = sum < low ? low : sum > high ? high : sum;
  end

  logic signed [15:0] expected_q[Latency];
  logic [Latency:0] valid_q = '0;
  always_ff @(posedge clk_i) begin
    expected_q[0] <= 16'(expected);
    for (int unsigned i = 1; i < Latency; i++) expected_q[i] <= expected_q[i-1];
    valid_q <= {valid_q[Latency-1:0], 1'b1};
  end

  always_comb begin
    assume (shift_i <= 6'd48);
    if (valid_q[Latency-1]) assert (data == expected_q[Latency-1]);
  end

endmodule

`default_nettype wire
