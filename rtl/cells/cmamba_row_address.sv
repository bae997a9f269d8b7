// The word of an activation memory where a row of an operand begins, two cycles later.
//
// Row i starts at element addr + (i mod 2^log2_rows) * stride, which is one DSP48E2. A row lies
// inside its memory, so the sum needs no more bits than a word address.

`default_nettype none

module cmamba_row_address #(
    // Elements of a word.
    parameter int unsigned RowAlign  = cmamba_build_pkg::RowAlign,
    // Bits of a word address.
    parameter int unsigned AddrWidth = 8
) (
    input  wire logic clk_i,
    // The operand; `space` is not looked at.
    input  wire cmamba_pkg::operand_t operand_i,
    // Token, position or sequence.
    input  wire logic [11:0]          index_i,
    output logic [AddrWidth-1:0]      word_o
);

  localparam int unsigned AlignWidth = $clog2(RowAlign);

  if (RowAlign != 1 << AlignWidth) begin : gen_check_align
    $fatal(1, "row_address: RowAlign is %0d, expected a power of two", RowAlign);
  end
  if (AddrWidth + AlignWidth > 20) begin : gen_check_width
    $fatal(1, "row_address: AddrWidth is %0d, which an operand does not hold", AddrWidth);
  end

  logic [11:0] row;
  logic signed [47:0] word, unused_cascade;
  assign row = index_i & ~(12'hFFF << operand_i.log2_rows);
  assign word_o = word[AddrWidth-1:0];

  logic unused;
  assign unused = ^{operand_i.space, operand_i.addr, operand_i.stride, word, unused_cascade};

  cmamba_multiply_add #(
      .ProductRegister(1'b0),
      .Addend("c"),
      .AddendRegister(1'b1)
  ) u_multiply_add (
      .clk_i,
      .a_i(27'(operand_i.stride >> AlignWidth)),
      .b_i(18'(row)),
      .c_i(48'(operand_i.addr >> AlignWidth)),
      .sum_o(word),
      .cascade_o(unused_cascade)
  );

endmodule

`default_nettype wire
