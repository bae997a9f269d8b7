// For proofs in which any word may be read: an output that nothing drives, which yosys makes free.

`default_nettype none

module cmamba_ram_1w #(
    parameter int unsigned Width = 128,
    parameter int unsigned Depth = 16,
    parameter RamStyle = "auto",
    localparam int unsigned AddrWidth = $clog2(Depth)
) (
    input wire logic clk_i,
    input wire logic wr_en_i,
    input wire logic [AddrWidth-1:0] wr_addr_i,
    input wire logic [Width-1:0] wr_data_i,
    input wire logic rd_en_i,
    input wire logic [AddrWidth-1:0] rd_addr_i,
    output logic [Width-1:0] rd_data_o
);
endmodule

`default_nettype wire
