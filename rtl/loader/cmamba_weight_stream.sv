// Fetches weight tiles that do not fit into the weight memory, range after range, for array_issue.
//
//   fetch: range of tiles --> address, beats --> axi_read --> beats --> one of two slots of memory
//   stream: "the next tile is in slot s" --> read by the array --> the slot is free
//
// The two slots are the last two of the memory: one is filled while the other one waits or is read.
// When both are full the beats wait in axi_read. A tile is offered two cycles after its last beat,
// so that the read, a cycle later, finds it in memory. Its slot is free four cycles after its last
// beat, so that a range of tiles of three beats or more takes a beat a cycle, if tiles are read at
// once.

`default_nettype none

module cmamba_weight_stream #(
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

    // A run is on and the package has tiles that are not in memory; their section's address, which
    // stays. Without it the module is in reset.
    input wire logic enable_i,
    input wire logic [63:0] weights_addr_i,

    // From array_issue: tiles to fetch, at least one.
    input  wire logic fetch_valid_i,
    output logic fetch_ready_o,
    // verilator lint_off UNUSEDSIGNAL
    // Numbers of fewer bits.
    input  wire cmamba_array_pkg::tile_range_t fetch_i,
    // verilator lint_on UNUSEDSIGNAL
    // The next tile, in its slot; it is read in the cycle of stream_ready_i.
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

    // For one cycle: a beat could not be read. No tile is offered from its own on.
    output logic error_o
);

  if (TileIn * TileOut < 32 || TileIn * TileOut != 16 << BeatBits) begin : gen_check_tile
    $fatal(
        1, "weight_stream: a tile is %0d bytes, expected a power of two from 32", TileIn * TileOut
    );
  end
  if (WeightTiles < 3) begin : gen_check_weight_tiles
    $fatal(1, "weight_stream: WeightTiles is %0d, expected at least 3", WeightTiles);
  end

  logic rst;
  assign rst = rst_i || !enable_i;

  // ---- Commands: the address is added up in two steps ----

  typedef enum logic [1:0] {
    Idle,
    AddLow,
    AddHigh,
    Command
  } command_e;
  command_e command_q;
  logic [TileBits-1:0] first_q, end_q, tiles_q;
  logic [63:0] addr_q;
  logic carry_q;

  always_ff @(posedge clk_i) begin
    if (rst) command_q <= Idle;
    else begin
      unique case (command_q)
        Idle:    if (fetch_valid_i) command_q <= AddLow;
        AddLow:  command_q <= AddHigh;
        AddHigh: command_q <= Command;
        Command: if (cmd_ready_i) command_q <= Idle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (command_q == Idle) begin
      first_q <= TileBits'(fetch_i.first);
      end_q   <= TileBits'(fetch_i.beyond);
    end
    if (command_q == AddLow) begin
      tiles_q <= end_q - first_q;
      {carry_q, addr_q[31:0]} <= 33'(weights_addr_i[31:0]) + (33'(first_q) << (32 - TileBits));
    end
    if (command_q == AddHigh) addr_q[63:32] <= weights_addr_i[63:32] + 32'(carry_q);
  end

  assign fetch_ready_o = command_q == Idle && enable_i;
  assign cmd_valid_o = command_q == Command;
  assign cmd_addr_o = addr_q;
  assign cmd_beats_o = 32'(tiles_q) << BeatBits;

  // ---- Beats to slots ----

  logic [BeatBits-1:0] beat_q;
  logic wr_slot_q, stream_slot_q;
  logic [1:0] full_q;  // slots whose tile has come, and has not been read
  logic [1:0] offered_q;  // those of them that may be read
  logic accept, complete, complete_q, failed_q;

  assign beat_ready_o = enable_i && full_q != 2'd2;
  assign accept = beat_valid_i && beat_ready_o;
  assign complete = accept && beat_q == '1 && !beat_error_i && !failed_q;

  always_ff @(posedge clk_i) begin
    if (rst) begin
      beat_q <= '0;
      wr_slot_q <= 1'b0;
      stream_slot_q <= 1'b0;
      full_q <= 2'd0;
      offered_q <= 2'd0;
      complete_q <= 1'b0;
      failed_q <= 1'b0;
      error_o <= 1'b0;
    end else begin
      if (accept) beat_q <= beat_q + 1'b1;
      if (complete) wr_slot_q <= !wr_slot_q;
      if (stream_ready_i) stream_slot_q <= !stream_slot_q;
      complete_q <= complete;
      full_q <= full_q + 2'(complete) - 2'(stream_ready_i);
      offered_q <= offered_q + 2'(complete_q) - 2'(stream_ready_i);
      failed_q <= failed_q || (accept && beat_error_i);
      error_o <= accept && beat_error_i && !failed_q;
    end
  end

  function automatic logic [WeightAddrBits-1:0] address(logic slot);
    return WeightAddrBits'(WeightTiles - 2) + WeightAddrBits'(slot);
  endfunction

  assign wr_valid_o = accept;
  assign wr_tile_o = address(wr_slot_q);
  assign wr_beat_o = beat_q;
  assign wr_data_o = beat_data_i;

  assign stream_valid_o = offered_q != 2'd0;
  assign stream_slot_o = address(stream_slot_q);

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  fetch_has_tiles :
  assert property (disable iff (!live) fetch_valid_i && fetch_ready_o |->
      fetch_i.first < fetch_i.beyond)
  else $error("weight_stream: tiles %0d up to %0d are none", fetch_i.first, fetch_i.beyond);

  fetch_stays :
  assert property (disable iff (!live || rst) fetch_valid_i && !fetch_ready_o |=> $stable(
      {fetch_valid_i, fetch_i}
  ))
  else $error("weight_stream: the tiles to fetch changed before they were taken");

  command_stays :
  assert property (disable iff (!live || rst) cmd_valid_o && !cmd_ready_i |=> $stable(
      {cmd_valid_o, cmd_addr_o, cmd_beats_o}
  ))
  else $error("weight_stream: the command went or changed before it was taken");

  read_was_offered :
  assert property (disable iff (!live || rst) stream_ready_i |-> stream_valid_o)
  else $error("weight_stream: a tile is read that has not been offered");

  slot_is_free :
  assert property (disable iff (!live || rst) wr_valid_o |->
      !stream_valid_o || wr_tile_o != stream_slot_o)
  else $error("weight_stream: a slot is written while its tile is offered");

  slots_fit :
  assert property (disable iff (!live || rst) offered_q <= full_q && full_q <= 2'd2)
  else $error("weight_stream: %0d of %0d tiles are offered, expected 2 at most", offered_q, full_q);
`endif

endmodule

`default_nettype wire
