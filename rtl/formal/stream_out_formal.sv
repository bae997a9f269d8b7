// stream_out keeps the rules of AXI4-Stream: what m_axis offers stays until it is taken, for any
// stalls and also where the run is aborted. Inside it never loses a beat: the queue has a place for
// whatever is read. Proved by induction.

`default_nettype none

module stream_out_formal #(
    parameter int unsigned RowAlign = 16,
    parameter int unsigned HeadElements = 64
) (
    input wire logic clk_i,
    input wire logic rst_i,
    input wire logic abort_i,
    input wire logic start_valid_i,
    input wire cmamba_pkg::send_instruction_t instruction_i,
    input wire logic [$clog2(HeadElements/RowAlign)-1:0] src_word_i,
    input wire logic last_i,
    input wire logic [RowAlign*16-1:0] head_rd_data_i,
    input wire logic m_axis_tready_i
);

  logic start_ready, done, head_rd_en, tvalid, tlast;
  logic [$clog2(HeadElements/RowAlign)-1:0] head_rd_addr;
  logic [127:0] tdata;
  logic [15:0] tkeep;

  cmamba_stream_out #(
      .RowAlign(RowAlign),
      .HeadElements(HeadElements)
  ) dut (
      .clk_i,
      .rst_i,
      .abort_i,
      .start_valid_i,
      .start_ready_o(start_ready),
      .instruction_i,
      .src_word_i,
      .last_i,
      .done_o(done),
      .head_rd_en_o(head_rd_en),
      .head_rd_addr_o(head_rd_addr),
      .head_rd_data_i,
      .m_axis_tvalid_o(tvalid),
      .m_axis_tready_i,
      .m_axis_tdata_o(tdata),
      .m_axis_tkeep_o(tkeep),
      .m_axis_tlast_o(tlast)
  );

  // The cycle before.
  logic started_q = 1'b0, waiting_q;
  logic [127:0] tdata_q;
  logic tlast_q;
  always_ff @(posedge clk_i) begin
    started_q <= started_q || rst_i;
    waiting_q <= !rst_i && tvalid && !m_axis_tready_i;
    tdata_q   <= tdata;
    tlast_q   <= tlast;
  end

  always_comb begin
    if (!started_q) assume (rst_i);

    if (started_q) begin
      assert (!waiting_q || (tvalid && tdata == tdata_q && tlast == tlast_q));
      assert (tkeep == '1);
      assert (!dut.valid_q[3] || dut.u_queue.ready_o);

      // For the induction: every place in the queue is free, taken, or meant for a beat on its way.
      assert (32'(dut.credits_q) + 32'($countones(
          dut.valid_q
      )) + 32'(dut.u_queue.level_o) == dut.QueueDepth);
      assert (32'(dut.u_queue.level_o) <= dut.QueueDepth + 32'(dut.u_queue.valid_o));
      assert (dut.u_queue.level_o >= 4'(dut.u_queue.valid_o));
    end
  end

endmodule

`default_nettype wire
