// Memory of a section of parameters: the loader writes beats of the section, a unit reads a word for
// each of its lanes.
//
// Word w of the section belongs to lane w mod Lanes, row w / Lanes.

`default_nettype none

module param_memory #(
    // Bits of a word, a divisor of 128.
    parameter int unsigned WordBits = 64,
    // Words of a row, a power of two.
    parameter int unsigned Lanes = 16,
    // Words of the section.
    parameter int unsigned Words = 16384,
    // Addresses of a read: 1, or one for each lane.
    parameter int unsigned Addresses = 1,
    localparam int unsigned RowBits = $clog2(Words / Lanes),
    localparam int unsigned BeatBits = $clog2(Words * WordBits / 128)
) (
    input wire logic clk_i,

    // A beat of the section.
    input wire logic wr_en_i,
    input wire logic [BeatBits-1:0] wr_addr_i,
    input wire logic [127:0] wr_data_i,

    // Data two cycles after the address.
    input wire logic rd_en_i,
    input wire logic [Addresses-1:0][RowBits-1:0] rd_addr_i,
    output logic [Lanes-1:0][WordBits-1:0] rd_data_o
);

endmodule

`default_nettype wire
