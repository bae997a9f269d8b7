// For proofs in which any row may come: an output that nothing drives, which yosys makes free.

`default_nettype none

module cmamba_row_address #(
    parameter int unsigned RowAlign  = 16,
    parameter int unsigned AddrWidth = 8
) (
    input wire logic clk_i,
    input wire cmamba_pkg::operand_t operand_i,
    input wire logic [11:0] index_i,
    output logic [AddrWidth-1:0] word_o
);
endmodule

`default_nettype wire
