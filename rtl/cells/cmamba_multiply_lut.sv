// Product of two int8 in LUTs, for where DSP48E2 are short; combinational.
//
// b in base 4, its highest digit signed. The multiples of a by 0 to 3 need one adder, for 3 a; a
// bit of a multiple is one LUT, and that of every second one shares the LUT of the adder behind it:
//
//   b = 64 * {0, 1, -2, -1}[b[7:6]] + 16 * b[5:4] + 4 * b[3:2] + b[1:0]

`default_nettype none

module cmamba_multiply_lut (
    input  wire logic signed [ 7:0] a_i,
    input  wire logic signed [ 7:0] b_i,
    output logic signed      [15:0] product_o
);

  logic signed [9:0] three;
  logic [2:0][9:0] multiple;
  assign three = 10'(a_i) + (10'(a_i) <<< 1);
  for (genvar i = 0; i < 3; i++) begin : gen_digit
    always_comb begin
      unique case (b_i[2*i+:2])
        2'd0: multiple[i] = '0;
        2'd1: multiple[i] = 10'(a_i);
        2'd2: multiple[i] = 10'(a_i) <<< 1;
        2'd3: multiple[i] = three;
      endcase
    end
  end

  // The highest one less one where it is negative, which the carry input of its adder makes good.
  logic signed [9:0] highest;
  always_comb begin
    unique case (b_i[7:6])
      2'd0: highest = '0;
      2'd1: highest = 10'(a_i);
      2'd2: highest = ~(10'(a_i) <<< 1);
      2'd3: highest = ~10'(a_i);
    endcase
  end

  logic signed [11:0] low, high;
  logic unused_carry;
  assign low = 12'($signed(multiple[0])) + {multiple[1], 2'b0};
  assign high[1:0] = multiple[2][1:0];
  assign {high[11:2], unused_carry} = {{2{multiple[2][9]}}, multiple[2][9:2], 1'b1} +
      {highest, b_i[7]};
  assign product_o = 16'(low) + {high, 4'b0};

endmodule

`default_nettype wire
