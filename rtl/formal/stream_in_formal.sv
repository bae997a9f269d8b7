// stream_in loses no beat: it takes one only for an entry that waits for it, and writes it in the
// next cycle where it belongs; after an abort it drops the rest of the packet, and nothing of a
// packet that was under way at an abort is ever written. Proved by induction, for any stalls,
// packets, aborts and resets.

`default_nettype none

module stream_in_formal #(
    parameter int unsigned RowAlign = 32,
    parameter int unsigned PatchElements = 128
) (
    input wire logic clk_i,
    input wire logic rst_i,
    input wire logic abort_i,
    input wire logic [31:0] watchdog_cycles_i,
    input wire logic start_valid_i,
    input wire cmamba_pkg::recv_instruction_t instruction_i,
    input wire logic [$clog2(PatchElements/RowAlign)-1:0] dst_word_i,
    input wire logic last_i,
    input wire logic s_axis_tvalid_i,
    input wire logic [127:0] s_axis_tdata_i,
    input wire logic s_axis_tlast_i
);

  localparam int unsigned Slots = RowAlign / 16;
  localparam int unsigned AddrWidth = $clog2(PatchElements / RowAlign);
  localparam int unsigned PlaceWidth = AddrWidth + $clog2(Slots);

  logic draining, start_ready, done, tready, wr_en;
  cmamba_pkg::error_e error;
  logic [AddrWidth-1:0] wr_addr;
  logic [RowAlign-1:0] wr_mask;
  logic [RowAlign*8-1:0] wr_data;

  cmamba_stream_in #(
      .RowAlign(RowAlign),
      .PatchElements(PatchElements),
      .MaxDrainBeats(3)
  ) dut (
      .clk_i,
      .rst_i,
      .abort_i,
      .watchdog_cycles_i,
      .draining_o(draining),
      .error_o(error),
      .start_valid_i,
      .start_ready_o(start_ready),
      .instruction_i,
      .dst_word_i,
      .last_i,
      .done_o(done),
      .s_axis_tvalid_i,
      .s_axis_tready_o(tready),
      .s_axis_tdata_i,
      .s_axis_tlast_i,
      .patch_wr_en_o(wr_en),
      .patch_wr_addr_o(wr_addr),
      .patch_wr_mask_o(wr_mask),
      .patch_wr_data_o(wr_data)
  );

  logic start, accept, write;
  assign start  = start_valid_i && start_ready;
  assign accept = s_axis_tvalid_i && tready && !rst_i;
  assign write  = accept && !draining;

  // The entry: its beats, those that have come, and the place of the next one in units of beats.
  logic [12:0] beats_q, taken_q;
  logic [3:0] tail_q;
  logic [PlaceWidth-1:0] place_q;
  logic is_last;
  assign is_last = taken_q + 1'b1 == beats_q;

  // What must be written in this cycle.
  logic started_q = 1'b0, write_q;
  logic [PlaceWidth-1:0] write_place_q;
  logic [15:0] write_elements_q;
  logic [127:0] write_data_q;

  // A packet is under way; it is one that began before an abort.
  logic in_packet_q, stale_q;
  logic ended_q, failed_q;
  logic drained;
  assign drained = dut.give_up || (accept && s_axis_tlast_i);

  always_ff @(posedge clk_i) begin
    started_q <= started_q || rst_i;

    if (start) begin
      beats_q <= 13'((17'(instruction_i.n) + 17'd15) >> 4);
      taken_q <= '0;
      tail_q  <= instruction_i.n[3:0];
      place_q <= {dst_word_i, ($clog2(Slots))'(0)};
    end else if (write) begin
      taken_q <= taken_q + 1'b1;
      place_q <= place_q + 1'b1;
    end

    write_q <= write;
    write_place_q <= place_q;
    write_elements_q <= is_last && tail_q != '0 ? 16'((17'd1 << tail_q) - 1'b1) : '1;
    write_data_q <= s_axis_tdata_i;

    if (rst_i || dut.give_up) in_packet_q <= 1'b0;
    else if (accept) in_packet_q <= !s_axis_tlast_i;
    if (rst_i || drained) stale_q <= 1'b0;
    else if (abort_i && (accept || in_packet_q)) stale_q <= 1'b1;

    ended_q  <= write && is_last && !abort_i;
    failed_q <= write && s_axis_tlast_i != (is_last && dut.last_token_q) && !abort_i;
  end

  always_comb begin
    if (!started_q) assume (rst_i);
    assume (instruction_i.n != '0);  // a rule of the loader

    if (started_q) begin
      // Every beat that is taken for an entry is written, and nothing else.
      assert (wr_en == write_q);
      if (write_q) begin
        assert (wr_addr == write_place_q[PlaceWidth-1-:AddrWidth]);
        for (int unsigned s = 0; s < Slots; s++) begin
          if (s == 32'(write_place_q) % Slots) begin
            assert (wr_mask[16*s+:16] == write_elements_q);
            assert (wr_data[128*s+:128] == write_data_q);
          end else begin
            assert (wr_mask[16*s+:16] == '0);
          end
        end
      end
      // A beat is taken only where there is a place for it, or to be dropped.
      assert (!tready || draining || taken_q < beats_q);
      // An entry is done with its last beat, unless the packet is wrong.
      assert (done == (ended_q && !failed_q));
      assert ((error != cmamba_pkg::ErrorOk) == failed_q);
      // No entry gets a beat of a packet that an abort has cut.
      assert (!stale_q || draining);

      // For the induction.
      assert (!(dut.active_q && dut.draining_q) && !(dut.halted_q && dut.draining_q));
      assert (dut.in_packet_q == in_packet_q);
      if (dut.draining_q) begin
        assert (dut.idle_last_q == (dut.idle_q == '0));
        assert (dut.drain_last_q == (dut.drain_left_q == 1));
      end
      if (dut.active_q) begin
        assert (dut.beats_left_q == beats_q - taken_q);
        assert (dut.last_beat_q == is_last && dut.tail_q == tail_q);
        assert ({dut.word_q, dut.slot_q} == place_q);
      end
    end
  end

endmodule

`default_nettype wire
