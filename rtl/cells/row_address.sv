// The word of an activation memory where a row of an operand begins; combinational.
//
// Row i starts at element addr + (i mod 2^log2_rows) * stride. A row lies inside its memory, so the
// sum needs no more bits than a word address.

`default_nettype none

module row_address #(
    // Elements of a word.
    parameter int unsigned RowAlign  = cmamba_build_pkg::RowAlign,
    // Bits of a word address.
    parameter int unsigned AddrWidth = 8
) (
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

  logic unused;
  assign unused = ^{operand_i.space, operand_i.addr, operand_i.stride, index_i};

  logic [11:0] ring_mask;
  logic [AddrWidth-1:0] first, row, stride;
  assign ring_mask = ~(12'hFFF << operand_i.log2_rows);
  assign row = AddrWidth'(index_i & ring_mask);
  assign first = AddrWidth'(operand_i.addr >> AlignWidth);
  assign stride = AddrWidth'(operand_i.stride >> AlignWidth);
  assign word_o = first + row * stride;

endmodule

`default_nettype wire
