// Weight tiles: written beat by beat, read whole.

`default_nettype none

module weight_memory #(
    // Inputs of a lane in one tile.
    parameter int unsigned TileIn = cmamba_build_pkg::TileIn,
    // Lanes.
    parameter int unsigned TileOut = cmamba_build_pkg::TileOut,
    // Tiles.
    parameter int unsigned Tiles = cmamba_build_pkg::MaxWeights,
    localparam int unsigned AddrBits = $clog2(Tiles),
    localparam int unsigned Beats = TileIn * TileOut / 16,
    localparam int unsigned BeatBits = $clog2(Beats)
) (
    input wire logic clk_i,

    // The beats of a tile come in order; the tile is in memory two cycles after its last one.
    input wire logic wr_valid_i,
    input wire logic [AddrBits-1:0] wr_tile_i,
    input wire logic [BeatBits-1:0] wr_beat_i,
    input wire logic [127:0] wr_data_i,

    // Data two cycles after the address; zero two cycles after a cycle without rd_en_i.
    input wire logic rd_en_i,
    input wire logic [AddrBits-1:0] rd_addr_i,
    output logic [TileOut-1:0][TileIn-1:0][7:0] rd_data_o
);

endmodule

`default_nettype wire
