// weight_stream with the weight memory behind it, for the suite.

`default_nettype none

module weight_stream_memory #(
    parameter int unsigned TileIn = 4,
    parameter int unsigned TileOut = 16,
    parameter int unsigned WeightTiles = 512,
    localparam int unsigned AddrBits = $clog2(WeightTiles),
    localparam int unsigned Beats = TileIn * TileOut / 16
) (
    input wire logic clk_i,
    input wire logic rst_i,

    input wire logic enable_i,
    input wire logic [63:0] weights_addr_i,

    input wire logic fetch_valid_i,
    output logic fetch_ready_o,
    input wire cmamba_array_pkg::tile_range_t fetch_i,
    output logic stream_valid_o,
    input wire logic stream_ready_i,
    output logic [AddrBits-1:0] stream_slot_o,

    output logic cmd_valid_o,
    input wire logic cmd_ready_i,
    output logic [63:0] cmd_addr_o,
    output logic [31:0] cmd_beats_o,
    input wire logic beat_valid_i,
    output logic beat_ready_o,
    input wire logic [127:0] beat_data_i,
    input wire logic beat_error_i,

    output logic error_o,

    input wire logic rd_en_i,
    input wire logic [AddrBits-1:0] rd_addr_i,
    output logic [128*Beats-1:0] rd_data_o
);

  logic wr_valid;
  logic [AddrBits-1:0] wr_tile;
  logic [$clog2(Beats)-1:0] wr_beat;
  logic [127:0] wr_data;

  cmamba_weight_stream #(
      .TileIn(TileIn),
      .TileOut(TileOut),
      .WeightTiles(WeightTiles)
  ) u_stream (
      .clk_i,
      .rst_i,
      .enable_i,
      .weights_addr_i,
      .fetch_valid_i,
      .fetch_ready_o,
      .fetch_i,
      .stream_valid_o,
      .stream_ready_i,
      .stream_slot_o,
      .cmd_valid_o,
      .cmd_ready_i,
      .cmd_addr_o,
      .cmd_beats_o,
      .beat_valid_i,
      .beat_ready_o,
      .beat_data_i,
      .beat_error_i,
      .wr_valid_o(wr_valid),
      .wr_tile_o (wr_tile),
      .wr_beat_o (wr_beat),
      .wr_data_o (wr_data),
      .error_o
  );

  cmamba_weight_memory #(
      .TileIn (TileIn),
      .TileOut(TileOut),
      .Tiles  (WeightTiles)
  ) u_memory (
      .clk_i,
      .wr_valid_i(wr_valid),
      .wr_tile_i (wr_tile),
      .wr_beat_i (wr_beat),
      .wr_data_i (wr_data),
      .rd_en_i,
      .rd_addr_i,
      .rd_data_o
  );

endmodule

`default_nettype wire
