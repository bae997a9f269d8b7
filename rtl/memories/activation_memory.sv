// An activation memory: words of RowAlign elements, written element by element, read whole.

`default_nettype none

module activation_memory #(
    // Bits of an element, 8 or 16.
    parameter int unsigned ElementBits = 8,
    // Elements of the memory.
    parameter int unsigned Elements = 16384,
    // Elements of a word.
    parameter int unsigned RowAlign = cmamba_build_pkg::RowAlign,
    // Readers.
    parameter int unsigned ReadPorts = 1,
    localparam int unsigned AddrBits = $clog2(Elements / RowAlign)
) (
    input wire logic clk_i,

    input wire logic wr_en_i,
    input wire logic [AddrBits-1:0] wr_addr_i,
    input wire logic [RowAlign-1:0] wr_mask_i,
    input wire logic [RowAlign-1:0][ElementBits-1:0] wr_data_i,

    // Data two cycles after the address. A read in the cycle of a write gives the old word.
    input wire logic [ReadPorts-1:0] rd_en_i,
    input wire logic [ReadPorts-1:0][AddrBits-1:0] rd_addr_i,
    output logic [ReadPorts-1:0][RowAlign-1:0][ElementBits-1:0] rd_data_o
);

endmodule

`default_nettype wire
