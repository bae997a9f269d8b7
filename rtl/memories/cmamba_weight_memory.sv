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

`default_nettype none

module cmamba_weight_memory #(
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

    // Data two cycles after the address, zeros two cycles after a cycle without rd_en_i.
    input wire logic rd_en_i,
    input wire logic [AddrBits-1:0] rd_addr_i,
    output logic [TileOut-1:0][TileIn-1:0][7:0] rd_data_o
);

  localparam int unsigned HalfBeats = Beats / 2;
  localparam int unsigned HalfBits = 128 * HalfBeats;
  // Deeper banks would need fewer LUTs, but each of their block RAMs holds fewer bits of a word,
  // and a read wakes all of them.
  localparam int unsigned BankTiles = 1024;
  localparam int unsigned BlockTiles = 256;

  localparam int unsigned Blocks = (Tiles + BlockTiles - 1) / BlockTiles;
  localparam bit HasExtra = Blocks % 2 == 1;
  localparam int unsigned BankedBlocks = HasExtra ? Blocks - 3 : Blocks;
  localparam int unsigned BankedTiles = BankedBlocks * BlockTiles;
  localparam int unsigned Banks = (BankedTiles + BankTiles - 1) / BankTiles;

  if (TileIn * TileOut < 32 || TileIn * TileOut != 16 << BeatBits) begin : gen_check_tile
    $fatal(
        1, "weight_memory: a tile is %0d bytes, expected a power of two from 32", TileIn * TileOut
    );
  end
  if (Blocks < 2) begin : gen_check_tiles
    $fatal(1, "weight_memory: Tiles is %0d, expected at least %0d", Tiles, BlockTiles + 1);
  end

  // ---- Writes: a half is gathered, and written in the cycle after its last beat ----

  logic wr_valid_q;
  logic [AddrBits-1:0] wr_addr_q;
  logic [BeatBits-1:0] wr_beat_q;
  logic [127:0] wr_data_q;
  logic [HalfBeats-1:0][127:0] gathered_q;
  logic [1:0] wr_half_q;  // the low, the high half
  logic [31:0] wr_tile_q;

  always_ff @(posedge clk_i) begin
    wr_valid_q <= wr_valid_i;
    wr_addr_q  <= wr_tile_i;
    wr_beat_q  <= wr_beat_i;
    wr_data_q  <= wr_data_i;
    for (int unsigned b = 0; b < HalfBeats; b++) begin
      if (wr_valid_q && 32'(wr_beat_q) % HalfBeats == b) gathered_q[b] <= wr_data_q;
    end
    wr_half_q[0] <= wr_valid_q && 32'(wr_beat_q) == HalfBeats - 1;
    wr_half_q[1] <= wr_valid_q && 32'(wr_beat_q) == Beats - 1;
    wr_tile_q <= 32'(wr_addr_q);
  end

  logic [31:0] rd_tile;
  assign rd_tile = 32'(rd_addr_i);

  // Which of the blocks A, B, C a tile is in.
  typedef struct packed {
    logic c;
    logic b;
    logic a;
  } blocks_t;

  function automatic blocks_t blocks(logic [31:0] tile);
    return
    '{
        a: HasExtra && tile / BlockTiles == BankedBlocks,
        b: HasExtra && tile / BlockTiles == BankedBlocks + 1,
        c: HasExtra && tile / BlockTiles == BankedBlocks + 2
    }
    ;
  endfunction

  // verilator lint_off UNUSEDSIGNAL
  // Without the three blocks nobody asks.
  blocks_t rd_blocks, wr_blocks;
  // verilator lint_on UNUSEDSIGNAL
  assign rd_blocks = rd_en_i ? blocks(rd_tile) : '0;
  assign wr_blocks = blocks(wr_tile_q);

  // ---- Extra ----

  logic [HalfBits-1:0] extra;
  logic extra_is_low;

  if (HasExtra) begin : gen_extra
    logic [1:0] rd_c_q;
    cmamba_ram_1w #(
        .Width(HalfBits),
        .Depth(2 * BlockTiles),
        .RamStyle("block"),
        .ZeroIdle(1)
    ) u_ram (
        .clk_i,
        .wr_en_i  ((wr_half_q[1] && wr_blocks.b) || (wr_half_q[0] && wr_blocks.c)),
        .wr_addr_i({wr_blocks.c, wr_tile_q[7:0]}),
        .wr_data_i(gathered_q),
        .rd_en_i  (rd_blocks.b || rd_blocks.c),
        .rd_addr_i({rd_blocks.c, rd_tile[7:0]}),
        .rd_data_o(extra)
    );
    always_ff @(posedge clk_i) rd_c_q <= {rd_c_q[0], rd_blocks.c};
    assign extra_is_low = rd_c_q[1];
  end else begin : gen_no_extra
    assign extra = '0;
    assign extra_is_low = 1'b0;
  end

  // ---- The two halves ----

  logic [1:0][HalfBits-1:0] halves;
  assign rd_data_o = halves;

  for (genvar h = 0; h < 2; h++) begin : gen_half
    // The banks; low or high behind them.
    logic [HalfBits-1:0] words[Banks+1];

    for (genvar b = 0; b < Banks; b++) begin : gen_bank
      localparam int unsigned First = b * BankTiles;
      localparam int unsigned Depth = b < Banks - 1 ? BankTiles : BankedTiles - First;
      cmamba_ram_1w #(
          .Width(HalfBits),
          .Depth(Depth),
          .RamStyle("block"),
          .ZeroIdle(1)
      ) u_ram (
          .clk_i,
          .wr_en_i  (wr_half_q[h] && wr_tile_q / BankTiles == b && wr_tile_q < First + Depth),
          .wr_addr_i(wr_tile_q[$clog2(Depth)-1:0]),
          .wr_data_i(gathered_q),
          .rd_en_i  (rd_en_i && rd_tile / BankTiles == b && rd_tile < First + Depth),
          .rd_addr_i(rd_tile[$clog2(Depth)-1:0]),
          .rd_data_o(words[b])
      );
    end

    if (HasExtra) begin : gen_shared
      logic wr_upper, rd_upper;  // B in low, C in high: behind the 256 words of A
      assign wr_upper = h == 0 ? wr_blocks.b : wr_blocks.c;
      assign rd_upper = h == 0 ? rd_blocks.b : rd_blocks.c;
      cmamba_ram_1w #(
          .Width(HalfBits),
          .Depth(2 * BlockTiles),
          .RamStyle("block"),
          .ZeroIdle(1)
      ) u_ram (
          .clk_i,
          .wr_en_i  (wr_half_q[h] && (wr_blocks.a || wr_upper)),
          .wr_addr_i({wr_upper, wr_tile_q[7:0]}),
          .wr_data_i(gathered_q),
          .rd_en_i  (rd_blocks.a || rd_upper),
          .rd_addr_i({rd_upper, rd_tile[7:0]}),
          .rd_data_o(words[Banks])
      );
    end else begin : gen_not_shared
      assign words[Banks] = '0;
    end

    always_comb begin
      halves[h] = extra_is_low == (h == 0) ? extra : '0;
      for (int unsigned b = 0; b <= Banks; b++) halves[h] |= words[b];
    end
  end

endmodule

`default_nettype wire
