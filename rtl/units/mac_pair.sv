// Two int8 multiply-accumulates that share an input, in one DSP48E2.
//
// The pre-adder packs two weights 18 bits apart; one 27 x 18 bit multiplication gives both
// products, and the post-adder adds what arrives from the DSP before (PCIN):
//
//            26  25     18 17                 8 7      0
//           +---+---------+--------------------+--------+
//   A       | s |   w1    |          0                  |
//           +---+---------+--------------------+--------+
//   D       |          sign of w0              |   w0   |
//           +----------------------------------+--------+
//   B                               sign of x  |   x    |
//                                              +--------+
//            35         18 17                  0
//           +-------------+---------------------+
//   P       |    high     |         low         |  =  2^18 * sum(w1 * x) + sum(w0 * x)
//           +-------------+---------------------+
//
// low, as a signed number, is sum(w0 * x). Where it is negative it has borrowed one from high, so
// that sum(w1 * x) = high + low[17].
//
// How many products a field may hold: a product of two int8 is -16256 (127 * -128) to 16384
// (-128 * -128), so that four of them lie in -65024..65536, within the -131072..131071 of 18 bits
// for every weight. (Seven would still fit, eight would not.) The sum for high is as long, and P has
// no other carry. Weights of -128 are no exception: A + D is at least -2^25 - 2^7, and the 27 bits of
// the pre-adder reach to -2^26.
//
// Three registers as in the DSP48E2: A, B, D; M; P. A chain therefore gets its inputs one cycle
// later for each DSP.
`default_nettype none

module mac_pair (
    input  wire logic               clk_i,
    input  wire logic signed [ 7:0] x_i,
    input  wire logic signed [ 7:0] w0_i,   // weight of the lane in the low field
    input  wire logic signed [ 7:0] w1_i,   // weight of the lane in the high field
    input  wire logic        [35:0] sum_i,  // fields of the DSP before, 0 in the first of a chain
    output      logic        [35:0] sum_o   // fields, three cycles after x_i, one after sum_i
);

  logic signed [7:0] x_q, w0_q, w1_q;
  logic signed [26:0] a, d, packed_weights;
  logic signed [34:0] product_q;
  logic        [35:0] sum_q;

  assign a = {w1_q[7], w1_q, 18'b0};
  assign d = 27'(w0_q);
  assign packed_weights = a + d;

  always_ff @(posedge clk_i) begin
    x_q       <= x_i;
    w0_q      <= w0_i;
    w1_q      <= w1_i;
    product_q <= 35'(packed_weights * x_q);
    sum_q     <= 36'(product_q) + sum_i;
  end

  assign sum_o = sum_q;

endmodule

`default_nettype wire
