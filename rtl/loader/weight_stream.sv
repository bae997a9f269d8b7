// Fetches weight tiles that do not fit into the weight memory, range after range.

`default_nettype none

module weight_stream #(
    // Inputs of a lane in one tile.
    parameter int unsigned TileIn = cmamba_build_pkg::TileIn,
    // Lanes.
    parameter int unsigned TileOut = cmamba_build_pkg::TileOut,
    // Tiles in the weight memory; the last two are the slots of streamed ones.
    parameter int unsigned WeightTiles = cmamba_build_pkg::MaxWeights,
    localparam int unsigned WeightAddrBits = $clog2(WeightTiles),
    localparam int unsigned Beats = TileIn * TileOut / 16,
    localparam int unsigned BeatBits = $clog2(Beats),
    // A package has at most 2^32 bytes.
    localparam int unsigned TileBits = 32 - $clog2(TileIn * TileOut)
) (
    input wire logic clk_i,
    // Also at the end of a run by an error, together with axi_read's abort.
    input wire logic rst_i,

    // A run is on and the package has tiles that are not in memory; their section's address.
    input wire logic enable_i,
    input wire logic [63:0] weights_addr_i,

    // From array_issue.
    input  wire logic fetch_valid_i,
    output logic fetch_ready_o,
    input  wire logic [TileBits-1:0] fetch_first_i,
    input  wire logic [TileBits-1:0] fetch_end_i,
    output logic stream_valid_o,
    input  wire logic stream_ready_i,
    output logic [WeightAddrBits-1:0] stream_slot_o,

    // To axi_read, and its beats.
    output logic cmd_valid_o,
    input  wire logic cmd_ready_i,
    output logic [63:0] cmd_addr_o,
    output logic [31:0] cmd_beats_o,
    input  wire logic beat_valid_i,
    output logic beat_ready_o,
    input  wire logic [127:0] beat_data_i,
    input  wire logic beat_error_i,

    // To the weight memory.
    output logic wr_valid_o,
    output logic [WeightAddrBits-1:0] wr_tile_o,
    output logic [BeatBits-1:0] wr_beat_o,
    output logic [127:0] wr_data_o,

    // For one cycle: a beat could not be read. The tile of it is not offered.
    output logic error_o
);

endmodule

`default_nettype wire
