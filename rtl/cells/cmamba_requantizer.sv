// Requantization, docs/numerics.md: clamp(rne(acc * multiplier, shift) + zero_point + addend).
//
// Takes a vector a cycle and gives it RequantizerLatency cycles later; there is no back-pressure. A
// product of 32 x 18 bits takes two DSP48E2, the second of which gets the first one's product
// through the cascade, shifted by 17:
//
//   stage   acc   [31 ......... 17][16 ......... 0]
//     1     registers
//     2     registers               low = acc[16:0] * multiplier
//     3     high = acc[31:17] * multiplier + (low >>> 17)
//           product = {high, low[16:0]}
//   4 to 6  round_clamp

`default_nettype none

module cmamba_requantizer
  import cmamba_pkg::param_word_t;
#(
    // Elements of a vector.
    parameter int unsigned Lanes = 16,
    // Bits that travel with a vector.
    parameter int unsigned TagWidth = 1
) (
    input wire logic clk_i,
    input wire logic rst_i,

    input wire logic valid_i,
    input wire logic [TagWidth-1:0] tag_i,
    // Sums, int32.
    input wire logic [Lanes-1:0][31:0] acc_i,
    // Parameter words; the bias is not looked at.
    input wire param_word_t [Lanes-1:0] param_i,
    // int16, added before the clamp; zero where there is none.
    input wire logic [Lanes-1:0][15:0] addend_i,
    // int16 results, instead of int8.
    input wire logic wide_i,
    // Clamp below at the zero point.
    input wire logic relu_i,

    output logic valid_o,
    output logic [TagWidth-1:0] tag_o,
    // An int8 result is sign-extended.
    output logic [Lanes-1:0][15:0] data_o
);

  localparam int unsigned Latency = cmamba_cells_pkg::RequantizerLatency;
  // Stages of the product.
  localparam int unsigned Stages = Latency - cmamba_cells_pkg::RoundClampLatency;

  if (Lanes < 1) begin : gen_check_lanes
    $fatal(1, "requantizer: Lanes is %0d, expected at least 1", Lanes);
  end
  if (TagWidth < 1) begin : gen_check_tag
    $fatal(1, "requantizer: TagWidth is %0d, expected at least 1", TagWidth);
  end

  logic [Latency-1:0] valid_q;
  logic [Latency-1:0][TagWidth-1:0] tag_q;
  logic [Stages-1:0] wide_q, relu_q;

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= '0;
    else valid_q <= {valid_q[Latency-2:0], valid_i};
    tag_q  <= {tag_q[Latency-2:0], tag_i};
    wide_q <= {wide_q[Stages-2:0], wide_i};
    relu_q <= {relu_q[Stages-2:0], relu_i};
  end

  assign valid_o = valid_q[Latency-1];
  assign tag_o   = tag_q[Latency-1];

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    logic unused_bias;
    assign unused_bias = ^param_i[l].bias;

    logic signed [47:0] low, low_cascade, high, unused_cascade;
    logic [16:0] low_bits_q;
    logic [Stages-1:0][5:0] shift_q;
    logic [Stages-1:0][7:0] zero_point_q;
    logic [Stages-1:0][15:0] addend_q;

    cmamba_multiply_add #(
        .InputRegisters (1),
        .ProductRegister(1'b0)
    ) u_low (
        .clk_i,
        .a_i({10'b0, acc_i[l][16:0]}),
        .b_i(param_i[l].multiplier),
        .sum_o(low),
        .cascade_o(low_cascade)
    );
    cmamba_multiply_add #(
        .InputRegisters (2),
        .ProductRegister(1'b0),
        .Addend         ("cascade_17")
    ) u_high (
        .clk_i,
        .a_i(27'($signed(acc_i[l][31:17]))),
        .b_i(param_i[l].multiplier),
        .cascade_i(low_cascade),
        .sum_o(high),
        .cascade_o(unused_cascade)
    );
    logic unused;
    assign unused = ^{low[47:17], high[47:33], unused_cascade};

    always_ff @(posedge clk_i) begin
      low_bits_q <= low[16:0];
      shift_q <= {shift_q[Stages-2:0], param_i[l].shift};
      zero_point_q <= {zero_point_q[Stages-2:0], param_i[l].zero_point};
      addend_q <= {addend_q[Stages-2:0], addend_i[l]};
    end

    cmamba_round_clamp u_round_clamp (
        .clk_i,
        .product_i({high[32:0], low_bits_q}),
        .shift_i(shift_q[Stages-1]),
        .zero_point_i(zero_point_q[Stages-1]),
        .addend_i(addend_q[Stages-1]),
        .wide_i(wide_q[Stages-1]),
        .relu_i(relu_q[Stages-1]),
        .data_o(data_o[l])
    );
  end

endmodule

`default_nettype wire
