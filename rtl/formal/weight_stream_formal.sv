// weight_stream brings every tile that is asked for, once and in order:
//
// - Each range becomes one command, of the address and the beats of its tiles.
// - The beats of tile n go into slot n mod 2, in order, when tile n - 2 has been read. The slot is
//   offered when the tile is there, and no other one is.
// - No place is lost: what has been asked for is still to be commanded, owed by the bus, or there.
// - It waits for nobody but the bus, axi_read and the reader: while tiles are missing and none of
//   these has to act, something is taken, or an address is added up, for two cycles, or a tile has
//   come in the cycle before and is offered in the next one.
// - From a beat that could not be read on no tile is offered, and this is said once.
//
// Proved by induction, for any ranges, stalls, errors and resets, and a bus that sends no more
// beats than it has been asked for. axi_read is such a bus (axi_read_formal).

`default_nettype none

module weight_stream_formal #(
    parameter int unsigned TileIn = 4,
    parameter int unsigned TileOut = 8,
    parameter int unsigned WeightTiles = 4
) (
    input wire logic clk_i,
    input wire logic rst_i,
    input wire logic enable_i,
    input wire logic [63:0] weights_addr_i,
    input wire logic fetch_valid_i,
    input wire cmamba_array_pkg::tile_range_t fetch_i,
    input wire logic read_i,
    input wire logic cmd_ready_i,
    input wire logic beat_valid_i,
    input wire logic [127:0] beat_data_i,
    input wire logic beat_error_i
);

  localparam int unsigned Beats = TileIn * TileOut / 16;
  localparam int unsigned BeatBits = $clog2(Beats);
  localparam int unsigned SlotBits = $clog2(WeightTiles);
  localparam int unsigned TileBytes = TileIn * TileOut;
  localparam int unsigned TileBits = 32 - $clog2(TileBytes);
  // States of the module.
  localparam logic [1:0] Idle = 2'd0;
  localparam logic [1:0] AddLow = 2'd1;
  localparam logic [1:0] AddHigh = 2'd2;
  localparam logic [1:0] Command = 2'd3;

  logic fetch_ready, stream_valid, read, cmd_valid, beat_ready, wr_valid, error;
  logic [SlotBits-1:0] stream_slot, wr_tile;
  logic [BeatBits-1:0] wr_beat;
  logic [63:0] cmd_addr;
  logic [31:0] cmd_beats;
  logic [127:0] wr_data;
  assign read = read_i && stream_valid;

  cmamba_weight_stream #(
      .TileIn(TileIn),
      .TileOut(TileOut),
      .WeightTiles(WeightTiles)
  ) dut (
      .clk_i,
      .rst_i,
      .enable_i,
      .weights_addr_i,
      .fetch_valid_i,
      .fetch_ready_o (fetch_ready),
      .fetch_i,
      .stream_valid_o(stream_valid),
      .stream_ready_i(read),
      .stream_slot_o (stream_slot),
      .cmd_valid_o   (cmd_valid),
      .cmd_ready_i,
      .cmd_addr_o    (cmd_addr),
      .cmd_beats_o   (cmd_beats),
      .beat_valid_i,
      .beat_ready_o  (beat_ready),
      .beat_data_i,
      .beat_error_i,
      .wr_valid_o    (wr_valid),
      .wr_tile_o     (wr_tile),
      .wr_beat_o     (wr_beat),
      .wr_data_o     (wr_data),
      .error_o       (error)
  );

  logic reset, fetch, command, accept;
  assign reset   = rst_i || !enable_i;
  assign fetch   = fetch_valid_i && fetch_ready;
  assign command = cmd_valid && cmd_ready_i;
  assign accept  = beat_valid_i && beat_ready;

  // The range that waits for its command.
  logic waits_q;
  logic [TileBits-1:0] first_q, tiles_q;
  // Beats that are to come, and those of them that the bus owes. Tiles that have come, also a cycle
  // ago, and that have been read, modulo 8; beats of the next one.
  logic [31:0] to_come_q, owed_q;
  logic [2:0] come_q, come_before_q, read_q, held, offered;
  logic [BeatBits-1:0] part_q;
  logic failed_q, fails_q;
  assign held = come_q - read_q;
  assign offered = come_before_q - read_q;

  logic [TileBits-1:0] fetch_tiles;
  logic [31:0] waiting_beats;
  assign fetch_tiles   = TileBits'(fetch_i.beyond - fetch_i.first);
  assign waiting_beats = waits_q ? 32'(tiles_q) << BeatBits : '0;

  always_ff @(posedge clk_i) begin
    if (reset) begin
      waits_q <= 1'b0;
      {to_come_q, owed_q} <= '0;
      {come_q, come_before_q, read_q} <= '0;
      part_q <= '0;
      failed_q <= 1'b0;
      fails_q <= 1'b0;
    end else begin
      if (fetch) waits_q <= 1'b1;
      else if (command) waits_q <= 1'b0;
      to_come_q <= to_come_q + (fetch ? 32'(fetch_tiles) << BeatBits : '0) - 32'(accept);
      owed_q <= owed_q + (command ? cmd_beats : '0) - 32'(accept);
      if (accept) part_q <= part_q + 1'b1;
      if (accept && part_q == '1) come_q <= come_q + 1'b1;
      come_before_q <= come_q;
      if (read) read_q <= read_q + 1'b1;
      failed_q <= failed_q || (accept && beat_error_i);
      fails_q  <= accept && beat_error_i && !failed_q;
    end
    if (fetch) begin
      first_q <= TileBits'(fetch_i.first);
      tiles_q <= fetch_tiles;
    end
  end

  // The address in two halves, so that the solver sees how they are added.
  logic carry;
  logic [31:0] addr_low, addr_high;
  assign {carry, addr_low} = 33'(weights_addr_i[31:0]) + (33'(first_q) << $clog2(TileBytes));
  assign addr_high = weights_addr_i[63:32] + 32'(carry);

  // Whether tiles are missing, and somebody else has to act. It adds up an address; a tile has come
  // in the cycle before.
  logic missing, others, adds, comes;
  assign missing = fetch_valid_i || to_come_q != '0 || held != '0;
  assign others = (cmd_valid && !cmd_ready_i) || (stream_valid && !read_i) ||
      (owed_q != '0 && !beat_valid_i);
  assign adds = dut.command_q == AddLow || dut.command_q == AddHigh;
  assign comes = come_q != come_before_q;

  // The cycle before.
  logic started_q = 1'b0, holds_q;
  logic [1:0] command_q;
  cmamba_array_pkg::tile_range_t fetch_q;
  logic [63:0] weights_addr_q;

  always_ff @(posedge clk_i) begin
    started_q <= started_q || rst_i;
    holds_q <= fetch_valid_i && !fetch_ready && !reset;
    command_q <= reset ? Idle : dut.command_q;
    fetch_q <= fetch_i;
    weights_addr_q <= weights_addr_i;
  end

  always_comb begin
    if (!started_q) assume (rst_i);
    assume (weights_addr_i == weights_addr_q || reset);
    assume (!fetch_valid_i || fetch_i.first < fetch_i.beyond);
    assume (!fetch_valid_i || fetch_i.beyond < 1 << TileBits);
    assume (!holds_q || (fetch_valid_i && fetch_i == fetch_q));
    assume (!beat_valid_i || owed_q != '0);
    // No more tiles than a package has are on their way.
    assume (to_come_q < 1 << 30);

    if (started_q && !reset) begin
      // Commands.
      assert (cmd_valid == (waits_q && dut.command_q == Command));
      if (cmd_valid) begin
        assert (cmd_addr == {addr_high, addr_low});
        assert (cmd_beats == waiting_beats && cmd_beats != '0);
      end

      // Beats and tiles.
      assert (to_come_q == owed_q + waiting_beats);
      if (!failed_q) begin
        assert (held <= 3'd2 && offered <= held);
        assert (beat_ready == (held != 3'd2));
        assert (stream_valid == (offered != '0));
        assert (!missing || others || fetch || command || accept || read || adds || comes);
      end
      assert (wr_valid == accept && wr_data == beat_data_i);
      if (wr_valid && !failed_q) begin
        assert (wr_tile == SlotBits'(WeightTiles - 2) + SlotBits'(come_q[0]));
        assert (wr_beat == part_q);
        assert (held <= 3'd1);
      end
      if (stream_valid) begin
        assert (stream_slot == SlotBits'(WeightTiles - 2) + SlotBits'(read_q[0]));
      end
      assert (error == fails_q);

      assert (command_q != AddLow || dut.command_q == AddHigh);
      assert (command_q != AddHigh || dut.command_q == Command);

      // For the induction: the command,
      assert (waits_q == (dut.command_q != Idle));
      if (dut.command_q == AddLow) begin
        assert (dut.first_q == first_q && TileBits'(dut.end_q - dut.first_q) == tiles_q);
      end else if (dut.command_q != Idle) begin
        assert (dut.tiles_q == tiles_q && {dut.carry_q, dut.addr_q[31:0]} == {carry, addr_low});
      end
      if (dut.command_q == Command) assert (dut.addr_q[63:32] == addr_high);
      assert (!waits_q || tiles_q != '0);
      // whole tiles,
      assert (BeatBits'(to_come_q + 32'(part_q)) == '0);
      // and the slots.
      assert (dut.failed_q == failed_q && dut.stream_slot_q == read_q[0]);
      assert (dut.offered_q <= dut.full_q && dut.full_q <= 2'd2);
      if (!failed_q) begin
        assert (dut.beat_q == part_q && dut.wr_slot_q == come_q[0]);
        assert (3'(dut.full_q) == held && 3'(dut.offered_q) == offered);
        assert (dut.complete_q == comes);
      end else begin
        assert (dut.offered_q + 2'(dut.complete_q) == dut.full_q);
      end
    end
  end

endmodule

`default_nettype wire
