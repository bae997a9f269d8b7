// A region of the weight memory: so many bits of the low and of the high half of all tiles, in
// block RAM of its own, with the last registers of the trees to it and the OR behind it.
//
//   beats --> [copy] --> [gathered half] --> weight_ram --+
//     |         |                               ...       OR --> [register] --> rd_data_o
//     +---------+------> write, read -----> weight_ram --+
//
// See weight_memory for what the RAMs hold.

`default_nettype none

module cmamba_weight_region #(
    // Beats of a tile.
    parameter int unsigned Beats = 64,
    // Tiles, from 257.
    parameter int unsigned Tiles = 3328,
    // The bits of either half that lie here: the first one, and how many.
    parameter int unsigned First = 0,
    parameter int unsigned Width = 576,
    localparam int unsigned AddrBits = $clog2(Tiles),
    localparam int unsigned BeatBits = $clog2(Beats)
) (
    input wire logic clk_i,

    // A half is written two cycles after its last beat.
    input wire logic wr_valid_i,
    input wire logic [AddrBits-1:0] wr_tile_i,
    input wire logic [BeatBits-1:0] wr_beat_i,
    // verilator lint_off UNUSEDSIGNAL
    // A small region has a part of a beat only.
    input wire logic [127:0] wr_data_i,
    // verilator lint_on UNUSEDSIGNAL

    // Data of both halves four cycles after the address.
    input wire logic rd_en_i,
    input wire logic [AddrBits-1:0] rd_addr_i,
    output logic [1:0][Width-1:0] rd_data_o
);

  localparam int unsigned HalfBeats = Beats / 2;
  // Deeper banks would need fewer LUTs, but each of their block RAMs holds fewer bits of a word,
  // and a read wakes all of them.
  localparam int unsigned BankTiles = 1024;
  localparam int unsigned BlockTiles = 256;

  localparam int unsigned Blocks = (Tiles + BlockTiles - 1) / BlockTiles;
  localparam bit HasExtra = Blocks % 2 == 1;
  localparam int unsigned BankedBlocks = HasExtra ? Blocks - 3 : Blocks;
  localparam int unsigned BankedTiles = BankedBlocks * BlockTiles;
  localparam int unsigned Banks = (BankedTiles + BankTiles - 1) / BankTiles;

  // Bits of a beat that lie here.
  localparam bit InOneBeat = First % 128 + Width <= 128;
  localparam int unsigned DataLsb = InOneBeat ? First % 128 : 0;
  localparam int unsigned DataBits = InOneBeat ? Width : 128;

  // ---- Writes: a half is gathered, and written in the cycle after its last beat ----

  (* keep = "true" *) logic wr_valid_q;
  (* keep = "true" *) logic [AddrBits-1:0] wr_addr_q;
  (* keep = "true" *) logic [BeatBits-1:0] wr_beat_q;
  (* keep = "true" *) logic [DataBits-1:0] wr_data_q;
  logic [Width-1:0] gathered_q;
  logic [31:0] wr_tile;
  logic [1:0] wr_half;  // the low, the high half

  always_ff @(posedge clk_i) begin
    wr_valid_q <= wr_valid_i;
    wr_addr_q  <= wr_tile_i;
    wr_beat_q  <= wr_beat_i;
    wr_data_q  <= wr_data_i[DataLsb+:DataBits];
    for (int unsigned i = 0; i < Width; i++) begin
      if (wr_valid_q && 32'(wr_beat_q) % HalfBeats == (First + i) / 128) begin
        gathered_q[i] <= wr_data_q[(First+i)%128-DataLsb];
      end
    end
  end
  assign wr_tile = 32'(wr_addr_q);
  assign wr_half[0] = wr_valid_q && 32'(wr_beat_q) == HalfBeats - 1;
  assign wr_half[1] = wr_valid_q && 32'(wr_beat_q) == Beats - 1;

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
  assign wr_blocks = blocks(wr_tile);

  // ---- Extra, which belongs to either half ----

  // Bits that a register of the mask serves.
  localparam int unsigned MaskBits = 128;
  localparam int unsigned Masks = (Width + MaskBits - 1) / MaskBits;

  logic [Width-1:0] extra;
  logic [1:0][Masks-1:0] takes_extra;

  if (HasExtra) begin : gen_extra
    logic [1:0] rd_c_q;
    cmamba_weight_ram #(
        .Width(Width),
        .Depth(2 * BlockTiles)
    ) u_ram (
        .clk_i,
        .wr_en_i  ((wr_half[1] && wr_blocks.b) || (wr_half[0] && wr_blocks.c)),
        .wr_addr_i({wr_blocks.c, wr_tile[7:0]}),
        .wr_data_i(gathered_q),
        .rd_en_i  (rd_blocks.b || rd_blocks.c),
        .rd_addr_i({rd_blocks.c, rd_tile[7:0]}),
        .rd_data_o(extra)
    );
    always_ff @(posedge clk_i) rd_c_q <= {rd_c_q[0], rd_blocks.c};
    for (genvar m = 0; m < Masks; m++) begin : gen_mask
      (* keep = "true" *)logic low_q;
      (* keep = "true" *)logic high_q;
      always_ff @(posedge clk_i) begin
        low_q  <= rd_c_q[1];
        high_q <= !rd_c_q[1];
      end
      assign takes_extra[0][m] = low_q;
      assign takes_extra[1][m] = high_q;
    end
  end else begin : gen_no_extra
    assign extra = '0;
    assign takes_extra = '0;
  end

  // ---- The two halves ----

  for (genvar h = 0; h < 2; h++) begin : gen_half
    // The banks; low or high behind them.
    logic [Width-1:0] words[Banks+1];

    for (genvar b = 0; b < Banks; b++) begin : gen_bank
      localparam int unsigned FirstTile = b * BankTiles;
      localparam int unsigned Depth = b < Banks - 1 ? BankTiles : BankedTiles - FirstTile;
      cmamba_weight_ram #(
          .Width(Width),
          .Depth(Depth)
      ) u_ram (
          .clk_i,
          .wr_en_i  (wr_half[h] && wr_tile / BankTiles == b && wr_tile < FirstTile + Depth),
          .wr_addr_i(wr_tile[$clog2(Depth)-1:0]),
          .wr_data_i(gathered_q),
          .rd_en_i  (rd_en_i && rd_tile / BankTiles == b && rd_tile < FirstTile + Depth),
          .rd_addr_i(rd_tile[$clog2(Depth)-1:0]),
          .rd_data_o(words[b])
      );
    end

    if (HasExtra) begin : gen_shared
      logic wr_upper, rd_upper;  // B in low, C in high: behind the 256 words of A
      assign wr_upper = h == 0 ? wr_blocks.b : wr_blocks.c;
      assign rd_upper = h == 0 ? rd_blocks.b : rd_blocks.c;
      cmamba_weight_ram #(
          .Width(Width),
          .Depth(2 * BlockTiles)
      ) u_ram (
          .clk_i,
          .wr_en_i  (wr_half[h] && (wr_blocks.a || wr_upper)),
          .wr_addr_i({wr_upper, wr_tile[7:0]}),
          .wr_data_i(gathered_q),
          .rd_en_i  (rd_blocks.a || rd_upper),
          .rd_addr_i({rd_upper, rd_tile[7:0]}),
          .rd_data_o(words[Banks])
      );
    end else begin : gen_not_shared
      assign words[Banks] = '0;
    end

    logic [Width-1:0] word;
    always_comb begin
      for (int unsigned i = 0; i < Width; i++) word[i] = extra[i] && takes_extra[h][i/MaskBits];
      for (int unsigned b = 0; b <= Banks; b++) word |= words[b];
    end
    always_ff @(posedge clk_i) rd_data_o[h] <= word;
  end

endmodule

`default_nettype wire
