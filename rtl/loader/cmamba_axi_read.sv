// Reads commands of whole beats through AXI4: cuts them into bursts and delivers the beats in
// order.
//
//   command --> cut at multiples of a burst --> AR
//                       |
//                       +--> queue of bursts --+
//                                              v
//                                   R --> which beat? --> queue of beats --> beats
//
// Bursts are INCR, 16 bytes a beat. They end at multiples of the longest burst and therefore never
// cross 4 KiB. A burst is asked for only when there is room for all of it, so RREADY never falls
// while a burst is under way. A slave's RLAST is not looked at: beats are counted.
//
// A command that runs past the end of the address space ends there, with an error in place of the
// beat behind it, of which the bus is not asked.

`default_nettype none

module cmamba_axi_read #(
    // Beats of a burst at most: a power of two, 256 at most.
    parameter int unsigned MaxBurstBeats = 32,
    // Beats that may be under way or wait to be taken: a power of two, at least MaxBurstBeats.
    parameter int unsigned FifoBeats = 128,
    // Bursts that may be under way, a power of two.
    parameter int unsigned MaxBursts = 8
) (
    input wire logic clk_i,
    input wire logic rst_i,

    // A command: `cmd_beats_i` (at least 1) beats of 16 bytes from an address that is a multiple of
    // 16. It is taken when all bursts of the one before have been asked for.
    input  wire logic        cmd_valid_i,
    output logic             cmd_ready_o,
    input  wire logic [63:0] cmd_addr_i,
    input  wire logic [31:0] cmd_beats_i,

    // The beats of all commands in order.
    output logic             beat_valid_o,
    input  wire logic        beat_ready_i,
    output logic [127:0]     beat_data_o,
    // The last beat of its command.
    output logic             beat_last_o,
    // The answer was not OKAY.
    output logic             beat_error_o,

    // Forgets all commands, also one that is taken in this cycle. What has been asked for is taken
    // and dropped; the next command waits until then.
    input  wire logic        abort_i,
    // There is a command, a burst or a beat that has not been taken, or was in the cycle before.
    output logic             busy_o,

    output logic             m_axi_arvalid,
    input  wire logic        m_axi_arready,
    output logic [63:0]      m_axi_araddr,
    output logic [7:0]       m_axi_arlen,
    input  wire logic         m_axi_rvalid,
    output logic             m_axi_rready,
    input  wire logic [127:0] m_axi_rdata,
    input  wire logic [1:0]  m_axi_rresp,
    input  wire logic        m_axi_rlast
);

  // Widths of an offset within a burst's beats, and of an address of such beats.
  localparam int unsigned OffsetWidth = $clog2(MaxBurstBeats);
  localparam int unsigned LengthWidth = OffsetWidth + 1;
  localparam int unsigned BlockWidth = 60 - OffsetWidth;
  localparam int unsigned RoomWidth = $clog2(FifoBeats) + 1;
  localparam logic [1:0] RespOkay = 2'b00;

  localparam bit IsPowerOfTwo = MaxBurstBeats == 1 << $clog2(MaxBurstBeats);

  if (MaxBurstBeats < 2 || MaxBurstBeats > 256 || !IsPowerOfTwo) begin : gen_check_burst
    $fatal(1, "axi_read: MaxBurstBeats is %0d, expected a power of two, 2 to 256", MaxBurstBeats);
  end
  if (FifoBeats < MaxBurstBeats || FifoBeats != 1 << $clog2(FifoBeats)) begin : gen_check_fifo
    $fatal(1, "axi_read: FifoBeats is %0d, expected a power of two from MaxBurstBeats", FifoBeats);
  end
  if (MaxBursts < 2 || MaxBursts != 1 << $clog2(MaxBursts)) begin : gen_check_bursts
    $fatal(1, "axi_read: MaxBursts is %0d, expected a power of two from 2", MaxBursts);
  end

  logic unused;
  assign unused = ^{m_axi_rlast, cmd_addr_i[3:0]};

  // ---------------------------------------------------------------- from commands to bursts

  typedef enum logic [1:0] {
    StIdle,
    StCut,   // the length of the next burst
    StAsk    // waits for room
  } state_e;

  typedef struct packed {
    logic                   outside;   // there is no such address: one beat, an error
    logic                   last;      // of its command
    logic [OffsetWidth-1:0] beats_m1;  // beats - 1
  } burst_t;

  state_e state_q;
  logic [BlockWidth-1:0] block_q;
  logic [OffsetWidth-1:0] offset_q;
  logic [31:0] left_q;
  // Beats to the end of the block, and those of the burst.
  logic [LengthWidth-1:0] to_end_q, length_q;
  logic outside_q, last_q;

  logic take, ask, has_room_q, burst_ready, dropping_q;
  // Beats for which there is a place: under way, or in the queue of beats.
  logic [RoomWidth-1:0] reserved_q;

  assign cmd_ready_o = state_q == StIdle && !dropping_q;
  assign take = cmd_valid_i && cmd_ready_o;
  assign ask = state_q == StAsk && has_room_q && burst_ready && !m_axi_arvalid && !abort_i;

  logic is_last;
  assign is_last = left_q <= 32'(to_end_q);

  always_ff @(posedge clk_i) begin
    if (rst_i || abort_i) begin
      state_q <= StIdle;
    end else begin
      unique case (state_q)
        StIdle:  if (take) state_q <= StCut;
        StCut:   state_q <= StAsk;
        default: if (ask) state_q <= last_q || outside_q ? StIdle : StCut;
      endcase
    end

    // Room for this burst does not go away before it is asked for.
    has_room_q <= state_q == StAsk && !ask &&
        reserved_q <= RoomWidth'(FifoBeats) - RoomWidth'(length_q);

    unique case (state_q)
      StIdle: begin
        {block_q, offset_q} <= cmd_addr_i[63:4];
        outside_q <= 1'b0;
        left_q <= cmd_beats_i;
        to_end_q <= LengthWidth'(MaxBurstBeats) - LengthWidth'(cmd_addr_i[4+:OffsetWidth]);
      end
      StCut: begin
        last_q   <= is_last;
        length_q <= outside_q ? LengthWidth'(1) : is_last ? LengthWidth'(left_q) : to_end_q;
      end
      default: begin
        if (ask) begin
          {outside_q, block_q} <= (BlockWidth + 1)'(block_q) + 1'b1;
          offset_q <= '0;
          left_q <= left_q - 32'(length_q);
          to_end_q <= LengthWidth'(MaxBurstBeats);
        end
      end
    endcase
  end

  // ARVALID stays until it is taken, whatever happens meanwhile.
  always_ff @(posedge clk_i) begin
    if (rst_i) m_axi_arvalid <= 1'b0;
    else if (ask) m_axi_arvalid <= !outside_q;
    else if (m_axi_arready) m_axi_arvalid <= 1'b0;

    if (ask) begin
      m_axi_araddr <= {block_q, offset_q, 4'd0};
      m_axi_arlen  <= 8'(length_q - 1'b1);
    end
  end

  // ---------------------------------------------------------------- which beat

  localparam int unsigned BurstLevelWidth = $clog2(MaxBursts + 2);

  burst_t burst_asked, burst;
  logic burst_valid, burst_end, arrive;
  logic [BurstLevelWidth-1:0] burst_level;
  logic [OffsetWidth-1:0] beat_q;

  assign burst_asked = '{
          outside: outside_q,
          last: last_q || outside_q,
          beats_m1: OffsetWidth'(length_q - 1'b1)
      };

  cmamba_fifo #(
      .Width($bits(burst_t)),
      .Depth(MaxBursts),
      .RamStyle("distributed")
  ) u_bursts (
      .clk_i,
      .rst_i,
      .valid_i(ask),
      .ready_o(burst_ready),
      .data_i (burst_asked),
      .valid_o(burst_valid),
      .ready_i(burst_end),
      .data_o (burst),
      .level_o(burst_level)
  );

  assign m_axi_rready = burst_valid && !burst.outside;
  assign arrive = burst_valid && (burst.outside || m_axi_rvalid);
  assign burst_end = arrive && beat_q == burst.beats_m1;

  always_ff @(posedge clk_i) begin
    if (rst_i) beat_q <= '0;
    else if (arrive) beat_q <= burst_end ? '0 : beat_q + 1'b1;
  end

  // After an abort everything that has been asked for is dropped.
  always_ff @(posedge clk_i) begin
    if (rst_i) dropping_q <= 1'b0;
    else dropping_q <= abort_i || dropping_q && (burst_level != '0 || m_axi_arvalid);
  end

  // ---------------------------------------------------------------- beats

  typedef struct packed {
    logic error;
    logic last;
    logic [127:0] data;
  } beat_t;

  localparam int unsigned BeatLevelWidth = $clog2(FifoBeats + 2);

  logic beat_valid_q, has_room_for_beat;
  beat_t beat_arrived_q, beat;
  logic [BeatLevelWidth-1:0] beat_level;

  always_ff @(posedge clk_i) begin
    beat_valid_q <= !rst_i && !abort_i && !dropping_q && arrive;
    beat_arrived_q <= '{
        error: burst.outside || m_axi_rresp != RespOkay,
        last: burst_end && burst.last,
        data: m_axi_rdata
    };
  end

  // In LUTs the queue would be 300 of them, with an address that goes to all.
  cmamba_fifo #(
      .Width($bits(beat_t)),
      .Depth(FifoBeats),
      .RamStyle("block")
  ) u_beats (
      .clk_i,
      .rst_i  (rst_i || abort_i),
      .valid_i(beat_valid_q),
      .ready_o(has_room_for_beat),
      .data_i (beat_arrived_q),
      .valid_o(beat_valid_o),
      .ready_i(beat_ready_i),
      .data_o (beat),
      .level_o(beat_level)
  );
  assign {beat_error_o, beat_last_o, beat_data_o} = beat;

  always_ff @(posedge clk_i) begin
    if (rst_i || dropping_q) begin
      reserved_q <= '0;
    end else begin
      reserved_q <= reserved_q + (ask ? RoomWidth'(length_q) : '0) -
          RoomWidth'(beat_valid_o && beat_ready_i);
    end
  end

  always_ff @(posedge clk_i) begin
    busy_o <= !rst_i && (state_q != StIdle || dropping_q || m_axi_arvalid || burst_level != '0 ||
                         beat_valid_q || beat_level != '0);
  end

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  // Beats that the slave owes.
  logic [31:0] owed_q;
  always_ff @(posedge clk_i) begin
    if (rst_i) owed_q <= '0;
    else begin
      owed_q <= owed_q + (m_axi_arvalid && m_axi_arready ? 32'(m_axi_arlen) + 32'd1 : '0) -
          32'(m_axi_rvalid && m_axi_rready);
    end
  end

  command_is_whole :
  assert property (disable iff (!live) take |-> cmd_beats_i != '0 && cmd_addr_i[3:0] == '0)
  else $error("axi_read: %0d beats from %h, expected whole beats", cmd_beats_i, cmd_addr_i);

  burst_stays :
  assert property (disable iff (!live) m_axi_arvalid && !m_axi_arready |=> $stable(
      {m_axi_arvalid, m_axi_araddr, m_axi_arlen}
  ))
  else $error("axi_read: the burst went or changed before it was taken");

  burst_in_page :
  assert property (disable iff (!live) m_axi_arvalid |->
      32'(m_axi_araddr[11:4]) + 32'(m_axi_arlen) < 4096 / 16)
  else $error("axi_read: a burst from %h crosses 4 KiB", m_axi_araddr);

  beat_was_asked_for :
  assert property (disable iff (!live) m_axi_rvalid |-> owed_q != '0)
  else $error("axi_read: the slave sends a beat that it has not been asked for");

  burst_is_taken :
  assert property (disable iff (!live) m_axi_rready && !burst_end |=> m_axi_rready)
  else $error("axi_read: RREADY fell while a burst is under way");

  beat_has_room :
  assert property (disable iff (!live) beat_valid_q |-> has_room_for_beat)
  else $error("axi_read: a beat has come for which there is no place");
`endif

endmodule

`default_nettype wire
