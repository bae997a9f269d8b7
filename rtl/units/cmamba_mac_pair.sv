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
// for every weight. (Seven would still fit, eight would not.) The sum for high is as long, and P
// has no other carry. Weights of -128 are no exception: A + D is at least -2^25 - 2^7, and the 27
// bits of the pre-adder reach to -2^26.
//
// Three registers as in the DSP48E2: A, B, D; M; P. A chain therefore gets its inputs one cycle
// later for each DSP; all but the first take one of these cycles in the register behind the
// pre-adder.
`default_nettype none

module cmamba_mac_pair #(
    // Begins a chain: nothing arrives from a DSP before. The inputs take three cycles to sum_o,
    // otherwise four.
    parameter bit First = 1'b1
) (
    input  wire logic               clk_i,
    input  wire logic signed [ 7:0] x_i,
    input  wire logic signed [ 7:0] w0_i,        // weight of the lane in the low field
    input  wire logic signed [ 7:0] w1_i,        // weight of the lane in the high field
    input  wire logic signed [47:0] cascade_i,   // P of the DSP before, one cycle before sum_o
    input  wire logic               clear_i,     // no product, two cycles before sum_o
    output      logic        [35:0] sum_o,       // fields
    output      logic signed [47:0] cascade_o    // for the next one
);

  logic [47:0] sum;
  logic unused_sign;

  cmamba_multiply_add #(
      .PreAdd        (1'b1),
      .PreAddRegister(!First),
      .Addend        (First ? "none" : "cascade")
  ) u_multiply_add (
      .clk_i,
      .a_i  ({w1_i[7], w1_i, 18'b0}),
      .d_i  (27'(w0_i)),
      .b_i  (18'(x_i)),
      .cascade_i,
      .clear_i,
      .sum_o(sum),
      .cascade_o
  );

  assign sum_o = sum[35:0];
  assign unused_sign = ^sum[47:36];

endmodule

`default_nettype wire
