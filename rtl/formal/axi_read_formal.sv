// axi_read keeps the rules of AXI4 and never asks for more than it has room for:
//
// - ARVALID stays until it is taken, and the burst with it, also where the commands are aborted.
// - A burst does not cross 4 KiB. The bursts of a command follow each other without gap or overlap,
//   and ask for as many beats as it says, up to the end of the address space.
// - Beats under way and beats that wait to be taken are never more than FifoBeats, and a beat that
//   has been taken from the bus always finds a place in the queue.
// - It waits for a beat only when the slave owes it one, and is not busy only when the slave owes
//   nothing.
//
// Proved by induction, for any commands, stalls, aborts, resets, and any slave that sends no beat
// that it has not been asked for.

`default_nettype none

module axi_read_formal #(
    parameter int unsigned MaxBurstBeats = 4,
    parameter int unsigned FifoBeats = 8
) (
    input wire logic clk_i,
    input wire logic rst_i,
    input wire logic cmd_valid_i,
    input wire logic [63:0] cmd_addr_i,
    input wire logic [31:0] cmd_beats_i,
    input wire logic beat_ready_i,
    input wire logic abort_i,
    input wire logic m_axi_arready,
    input wire logic m_axi_rvalid,
    input wire logic [127:0] m_axi_rdata,
    input wire logic [1:0] m_axi_rresp,
    input wire logic m_axi_rlast
);

  localparam int unsigned MaxBursts = 2;
  // States of the module.
  localparam logic [1:0] StIdle = 2'd0;
  localparam logic [1:0] StCut = 2'd1;
  localparam logic [1:0] StAsk = 2'd2;

  logic cmd_ready, beat_valid, beat_last, beat_error, busy, arvalid, rready;
  logic [127:0] beat_data;
  logic [ 63:0] araddr;
  logic [  7:0] arlen;

  cmamba_axi_read #(
      .MaxBurstBeats(MaxBurstBeats),
      .FifoBeats(FifoBeats),
      .MaxBursts(MaxBursts)
  ) dut (
      .clk_i,
      .rst_i,
      .cmd_valid_i,
      .cmd_ready_o(cmd_ready),
      .cmd_addr_i,
      .cmd_beats_i,
      .beat_valid_o(beat_valid),
      .beat_ready_i,
      .beat_data_o(beat_data),
      .beat_last_o(beat_last),
      .beat_error_o(beat_error),
      .abort_i,
      .busy_o(busy),
      .m_axi_arvalid(arvalid),
      .m_axi_arready,
      .m_axi_araddr(araddr),
      .m_axi_arlen(arlen),
      .m_axi_rvalid,
      .m_axi_rready(rready),
      .m_axi_rdata,
      .m_axi_rresp,
      .m_axi_rlast
  );

  // The cycle before.
  logic started_q = 1'b0, waiting_q, arvalid_q;
  logic [63:0] araddr_q;
  logic [ 7:0] arlen_q;

  always_ff @(posedge clk_i) begin
    started_q <= started_q || rst_i;
    waiting_q <= !rst_i && arvalid && !m_axi_arready;
    arvalid_q <= arvalid;
    araddr_q  <= araddr;
    arlen_q   <= arlen;
  end

  // The beats that the slave owes.
  logic [7:0] owed_q;
  always_ff @(posedge clk_i) begin
    if (rst_i) owed_q <= '0;
    else begin
      owed_q <= owed_q + (arvalid && m_axi_arready ? arlen + 1'b1 : '0) -
          8'(m_axi_rvalid && rready);
    end
  end

  // The command: beats that no burst has asked for yet, and where they begin.
  logic take, new_burst, live_q;
  logic [31:0] left_q, left;
  logic [59:0] next_q, next;
  logic at_end_q, at_end;  // of the address space
  assign take = cmd_valid_i && cmd_ready;
  assign new_burst = arvalid && !arvalid_q;
  assign left = left_q - (new_burst ? 32'(arlen) + 1'b1 : '0);
  assign {at_end, next} = {at_end_q, next_q} + (new_burst ? 61'(arlen) + 1'b1 : '0);

  always_ff @(posedge clk_i) begin
    if (rst_i || abort_i) live_q <= 1'b0;
    else if (take) live_q <= 1'b1;
    left_q <= take ? cmd_beats_i : left;
    {at_end_q, next_q} <= take ? 61'(cmd_addr_i[63:4]) : {at_end, next};
  end

  // Beats that are still to come of the bursts in their queue: all, and those of the bus.
  localparam int unsigned OffsetWidth = $clog2(MaxBurstBeats);
  logic [7:0] coming, asked;
  logic [OffsetWidth+1:0] burst;  // outside, last, beats - 1
  always_comb begin
    coming = '0;
    asked  = '0;
    if (dut.burst_valid) begin
      coming += 8'(dut.burst.beats_m1) + 1'b1 - 8'(dut.beat_q);
      if (!dut.burst.outside) asked += 8'(dut.burst.beats_m1) + 1'b1 - 8'(dut.beat_q);
    end
    for (int unsigned i = 0; i < MaxBursts; i++) begin
      burst = dut.u_bursts.memory[1'(32'(dut.u_bursts.read_q)+i)];
      if (i < 32'(dut.u_bursts.level_o) - 32'(dut.u_bursts.valid_o)) begin
        coming += 8'(burst[OffsetWidth-1:0]) + 1'b1;
        if (!burst[OffsetWidth+1]) asked += 8'(burst[OffsetWidth-1:0]) + 1'b1;
        assert (!started_q || !burst[OffsetWidth+1] || burst[OffsetWidth-1:0] == '0);
      end
    end
  end

  // Beats that wait to be taken.
  logic [7:0] held;
  assign held = 8'(dut.beat_valid_q) + 8'(dut.beat_level);

  always_comb begin
    if (!started_q) assume (rst_i);
    assume (cmd_beats_i != '0);
    assume (!m_axi_rvalid || owed_q != '0);

    if (started_q) begin
      assert (!waiting_q || (arvalid && araddr == araddr_q && arlen == arlen_q));
      if (arvalid) begin
        assert (araddr[3:0] == '0 && 32'(araddr[11:4]) + 32'(arlen) < 4096 / 16);
        assert (32'(arlen) < MaxBurstBeats);
      end

      assert (!(new_burst && live_q) ||
              (araddr[63:4] == next_q && !at_end_q && 32'(arlen) < left_q));
      assert (!(dut.state_q == StIdle && live_q) || left == '0 || at_end);

      assert (32'(owed_q) + (arvalid ? 32'(arlen) + 1 : 0) + 32'(held) <= FifoBeats);
      assert (!dut.beat_valid_q || dut.u_beats.ready_o);

      assert (!rready || owed_q != '0 || arvalid);
      assert (busy || (owed_q == '0 && !arvalid && !beat_valid));

      // For the induction: the command and the next burst,
      if (dut.state_q != StIdle) begin
        assert (live_q && dut.left_q == left && left != '0);
        assert ({dut.outside_q, dut.block_q, dut.offset_q} == {at_end, next});
        assert (32'(dut.to_end_q) + 32'(dut.offset_q) == MaxBurstBeats);
        if (dut.state_q == StAsk) begin
          assert (dut.length_q != '0 && dut.length_q <= dut.to_end_q);
          assert (dut.last_q == (dut.left_q <= 32'(dut.to_end_q)));
          assert (dut.length_q == (dut.outside_q ? 3'd1 :
                                   dut.last_q ? 3'(dut.left_q) : dut.to_end_q));
        end
      end
      assert (dut.state_q == StIdle || dut.state_q == StCut || dut.state_q == StAsk);
      // the queues,
      assert (dut.u_bursts.level_o >= 2'(dut.burst_valid));
      assert (32'(dut.u_bursts.level_o) <= 2 + 32'(dut.burst_valid));
      assert (1'(dut.u_bursts.write_q - dut.u_bursts.read_q) ==
              (dut.u_bursts.level_o[0] ^ dut.burst_valid));
      assert (dut.beat_level >= 8'(dut.u_beats.valid_o));
      assert (32'(dut.beat_level) <= FifoBeats + 32'(dut.u_beats.valid_o));
      if (dut.burst_valid) begin
        assert (dut.beat_q <= dut.burst.beats_m1);
        assert (!dut.burst.outside || dut.burst.beats_m1 == '0);
      end else begin
        assert (dut.beat_q == '0);
      end
      // and every place that is reserved.
      assert (asked == owed_q + (arvalid ? arlen + 1'b1 : '0));
      assert (32'(coming) <= FifoBeats);
      if (dut.dropping_q) begin
        assert (dut.state_q == StIdle && !live_q && held == '0);
      end else begin
        assert (dut.reserved_q == coming + held && 32'(dut.reserved_q) <= FifoBeats);
      end
    end
  end

endmodule

`default_nettype wire
