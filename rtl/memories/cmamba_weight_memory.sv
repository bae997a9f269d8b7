// Weight tiles: written beat by beat, read whole.
//
// A word of 8192 bits is 114 block RAMs wide, 512 words deep (72 bits each, all ninth bits used),
// so that memory comes in steps of 512 tiles. Where the last step would be half empty, the last
// three blocks of 256 tiles share three RAMs of half the width:
//
//                 low half     high half
//                +------------+------------+
//    tiles 0     |         bank 0          |   1024 words of 36 bits    228 block RAMs
//          1024  |         bank 1          |                            228
//          2048  |         bank 2          |    512 words of 72 bits    114
//                +------------+------------+
//          2560  |  low: A    |  high: A   |    low    256 words of A, 256 of B      57
//          2816  |  low: B    |  extra: B  |    high   256 words of A, 256 of C      57
//          3072  |  extra: C  |  high: C   |    extra  256 words of B, 256 of C      57
//                +------------+------------+
//    3328 tiles                                                                     741
//
// The output register of a RAM that is not read is zero, so that a bit of the result is the OR of
// its banks, of low or high, and of extra if that belongs to its half: with three banks six inputs,
// one LUT.
//
// The block RAMs are all over the device. So both halves are cut into regions (weight_region), and
// addresses, enables and beats reach the RAMs through trees of registers: one here, copies of it in
// the regions, and one beside each RAM (weight_ram).

`default_nettype none

module cmamba_weight_memory
  import cmamba_cells_pkg::*;
#(
    // Inputs of a lane in one tile.
    parameter int unsigned TileIn = cmamba_build_pkg::TileIn,
    // Lanes.
    parameter int unsigned TileOut = cmamba_build_pkg::TileOut,
    // Tiles, from 257.
    parameter int unsigned Tiles = cmamba_build_pkg::MaxWeights,
    localparam int unsigned AddrBits = $clog2(Tiles),
    localparam int unsigned Beats = TileIn * TileOut / 16,
    localparam int unsigned BeatBits = $clog2(Beats)
) (
    input wire logic clk_i,

    // The beats of a tile come in order. A read three cycles after the last one gives the tile;
    // what was there before is lost with the first.
    input wire logic wr_valid_i,
    input wire logic [AddrBits-1:0] wr_tile_i,
    input wire logic [BeatBits-1:0] wr_beat_i,
    input wire logic [127:0] wr_data_i,

    // Data WeightLatency cycles after the address, zeros as long after a cycle without rd_en_i.
    input wire logic rd_en_i,
    input wire logic [AddrBits-1:0] rd_addr_i,
    output logic [TileOut-1:0][TileIn-1:0][7:0] rd_data_o
);

  // Bits of a half in a region: whole block RAMs of 36 and of 72 bits, of which a register drives
  // 64 write enables, eight for each.
  localparam int unsigned RegionBits = 8 * 72;
  localparam int unsigned HalfBits = 128 * Beats / 2;
  localparam int unsigned Regions = (HalfBits + RegionBits - 1) / RegionBits;

  if (TileIn * TileOut < 32 || TileIn * TileOut != 16 << BeatBits) begin : gen_check_tile
    $fatal(
        1, "weight_memory: a tile is %0d bytes, expected a power of two from 32", TileIn * TileOut
    );
  end
  if (Tiles < 257) begin : gen_check_tiles
    $fatal(1, "weight_memory: Tiles is %0d, expected at least 257", Tiles);
  end
  if (WeightLatency != RamLatency + 3) begin : gen_check_latency
    $fatal(1, "weight_memory: WeightLatency is %0d, expected %0d", WeightLatency, RamLatency + 3);
  end

  // ---- Roots of the trees ----

  logic wr_valid_q, rd_en_q;
  logic [AddrBits-1:0] wr_addr_q, rd_addr_q;
  logic [BeatBits-1:0] wr_beat_q;
  logic [127:0] wr_data_q;

  always_ff @(posedge clk_i) begin
    wr_valid_q <= wr_valid_i;
    wr_addr_q  <= wr_tile_i;
    wr_beat_q  <= wr_beat_i;
    wr_data_q  <= wr_data_i;
    rd_en_q    <= rd_en_i;
    rd_addr_q  <= rd_addr_i;
  end

  logic [1:0][HalfBits-1:0] halves;
  assign rd_data_o = halves;

  for (genvar r = 0; r < Regions; r++) begin : gen_region
    localparam int unsigned First = r * RegionBits;
    localparam int unsigned Width = HalfBits - First < RegionBits ? HalfBits - First : RegionBits;
    logic [1:0][Width-1:0] rd_data;
    cmamba_weight_region #(
        .Beats(Beats),
        .Tiles(Tiles),
        .First(First),
        .Width(Width)
    ) u_region (
        .clk_i,
        .wr_valid_i(wr_valid_q),
        .wr_tile_i (wr_addr_q),
        .wr_beat_i (wr_beat_q),
        .wr_data_i (wr_data_q),
        .rd_en_i   (rd_en_q),
        .rd_addr_i (rd_addr_q),
        .rd_data_o (rd_data)
    );
    for (genvar h = 0; h < 2; h++) begin : gen_half
      assign halves[h][First+:Width] = rd_data[h];
    end
  end

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_quiet u_quiet (
      .clk_i,
      .active_i(wr_valid_i || rd_en_i),
      .live_o  (live)
  );

  // What is written, and which tiles have come whole, three cycles ago or earlier.
  // verilator lint_off PROCASSINIT
  logic [Tiles-1:0] whole_q = '0;
  logic [1:0] ended_q = '0;
  // verilator lint_on PROCASSINIT
  logic [1:0][AddrBits-1:0] ended_tile_q;
  logic [AddrBits-1:0] tile_q;
  logic [BeatBits-1:0] next_beat_q;
  always_ff @(posedge clk_i) begin
    ended_q <= {ended_q[0], wr_valid_i && wr_beat_i == '1};
    ended_tile_q <= {ended_tile_q[0], wr_tile_i};
    if (ended_q[1]) whole_q[ended_tile_q[1]] <= 1'b1;
    if (wr_valid_i) begin
      tile_q <= wr_tile_i;
      next_beat_q <= wr_beat_i + 1'b1;
      whole_q[wr_tile_i] <= 1'b0;
    end
  end

  beats_in_order :
  assert property (disable iff (!live) wr_valid_i && wr_beat_i != '0 |->
      wr_beat_i == next_beat_q && wr_tile_i == tile_q)
  else $error("weight_memory: beat %0d of tile %0d is out of order", wr_beat_i, wr_tile_i);

  tile_is_whole :
  assert property (disable iff (!live) rd_en_i |-> whole_q[rd_addr_i])
  else $error("weight_memory: tile %0d is read before it is whole", rd_addr_i);
`endif

endmodule

`default_nettype wire
