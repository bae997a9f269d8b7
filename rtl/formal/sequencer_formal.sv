// A run does not stop before its end: sequencer has no deadlock.
//
// 1. The waits. For entry n of unit u, and a unit v, let ahead be the entries of v that are
//    complete beyond those that it waits for. Its slack is `ahead` while it is the head of its
//    queue. Where all entries of v that were read before it are complete, it is not held up by v.
//    (For the array, complete is what has been announced: all that is complete, and some more.)
// 2. The queues. What has been read finds a place in its queue. Reading stops only while a queue
//    holds an entry, and for five cycles between two phases. What a queue holds is its head two
//    cycles later, or waits behind one. A run whose entries are complete ends.
//
// So of all entries that are not complete take the one that was read first, or will be. What was
// read before it is complete, so that no wait holds it up (1), and nothing is before it in its
// queue. If it has been read, it is its queue's head (2) and is offered to its unit. If not, no
// queue holds anything, and it is read (2). Its unit takes and completes it some time.
//
// 1 is proved by induction over n: the slack of entry n - 1 is taken for granted, and for n = 0
// that of none. 2 by induction over cycles. For any schedule that can be executed in its order, any
// stalls and latencies of the units, faults, resets and runs. That a queue gives words in the order
// in which it got them is proved in fifo_formal; that a slack fits its register
// (cmamba_sequencer.sv, AheadWidth) is taken for granted, and asserted in every simulation.

`default_nettype none

module sequencer_formal
  import cmamba_pkg::*;
#(
    parameter int unsigned MaxPhases = 4,
    parameter int unsigned MaxSchedule = 8,
    parameter int unsigned MaxExecuted = 127,
    parameter int unsigned QueueDepth = 32,
    // Units u and v; what belongs to a pair of units is the same for all, but for what counts as
    // complete where u is the array.
    parameter int unsigned U = 1,
    parameter int unsigned V = 3
) (
    input wire logic clk_i,
    input wire logic rst_i,
    input wire logic loaded_i,
    input wire logic [$clog2(MaxPhases):0] phases_i,
    input wire logic [15:0] iterations_i,
    input wire logic [15:0] n_sequences_i,
    input wire logic [15:0] n_positions_i,
    input wire logic start_i,
    input wire logic [31:0] n_forecasts_i,
    input wire logic tlast_each_i,
    input wire logic [31:0] watchdog_cycles_i,
    input wire error_e fault_i,
    input wire logic settling_i,
    input wire logic [NumUnits-1:0] start_ready_i,
    input wire logic [NumUnits-1:0] done_i,
    input wire logic [NumUnits-1:0] done_soon_i,
    // Which entry n.
    input wire logic [15:0] n_i
);

  logic busy, done, aborts;
  logic [NumUnits-1:0] start_valid;
  cmamba_sequencer #(
      .MaxInstructions(2),
      .MaxPhases(MaxPhases),
      .MaxSchedule(MaxSchedule),
      .MaxExecuted(MaxExecuted),
      .QueueDepth(QueueDepth)
  ) dut (
      .clk_i,
      .rst_i,
      .phase_wr_en_i(1'b0),
      .phase_wr_addr_i('0),
      .phase_wr_data_i('0),
      .schedule_wr_en_i(1'b0),
      .schedule_wr_addr_i('0),
      .schedule_wr_data_i('0),
      .instruction_wr_en_i(1'b0),
      .instruction_wr_addr_i('0),
      .instruction_wr_data_i('0),
      .loaded_i,
      .phases_i,
      .iterations_i,
      .n_sequences_i,
      .n_positions_i,
      .start_i,
      .n_forecasts_i,
      .tlast_each_i,
      .watchdog_cycles_i,
      .busy_o(busy),
      .done_o(done),
      .error_o(),
      .fault_i,
      .abort_o(aborts),
      .settling_i,
      .cycles_o(),
      .entries_o(),
      .busy_cycles_o(),
      .start_valid_o(start_valid),
      .start_ready_i,
      .done_i,
      .done_soon_i,
      .token_o(),
      .position_o(),
      .sequence_o(),
      .rows_o(),
      .recv_o(),
      .linear_o(),
      .conv_o(),
      .scan_o(),
      .norm_o(),
      .pool_o(),
      .scale_o(),
      .pool_features_o(),
      .modulate_o(),
      .send_o(),
      .recv_last_o(),
      .send_last_o()
  );

  // That of the module: here waits need more bits than entries.
  localparam int unsigned StepWidth = $bits(wait_count_t) + 2;
  localparam int unsigned SlackWidth = StepWidth + 1;
  typedef logic signed [StepWidth-1:0] step_t;
  typedef logic signed [SlackWidth-1:0] slack_t;

  // What the queues have.
  logic [NumUnits-1:0][$clog2(QueueDepth+2)-1:0] level;
  logic [NumUnits-1:0] has_room, next_valid, head_valid, load, works, full_of_work;
  logic [NumUnits-1:0][NumUnits-1:0][SlackWidth-1:0] slack, next_step;
  logic [NumUnits-1:0][NumUnits-1:0] short;
  for (genvar u = 0; u < NumUnits; u++) begin : gen_unit
    assign level[u] = dut.gen_unit[u].level;
    assign has_room[u] = dut.gen_unit[u].has_room;
    assign next_valid[u] = dut.gen_unit[u].next_valid;
    assign head_valid[u] = dut.gen_unit[u].head_valid_q;
    assign load[u] = dut.gen_unit[u].load;
    assign works[u] = dut.gen_unit[u].in_flight_q != '0;
    assign full_of_work[u] = dut.gen_unit[u].in_flight_q == '1;
    assign short[u] = dut.gen_unit[u].short;
    for (genvar v = 0; v < NumUnits; v++) begin : gen_wait
      assign slack[u][v] = dut.gen_unit[u].gen_wait[v].slack_q;
      assign next_step[u][v] = SlackWidth'(signed'(dut.gen_unit[u].next_step[v]));
    end
  end

  // ---------------------------------------------------------------- 1. the waits

  // The entry that gets its place.
  logic clear, comes, completes;
  step_t wait_now, step_now;
  assign clear = rst_i || dut.clear_unit[0];
  assign comes = dut.unit[U];
  assign completes = U == UnitArray ? done_soon_i[V] : done_i[V];
  assign wait_now = dut.awaited_q[1][V];

  // Of u's last entry: its wait, and how far v is ahead of it. Entries that v completed; that came
  // for u and that were its head; that were read for v and are not complete.
  step_t wait_q;
  slack_t ahead_q, complete_q;
  logic [15:0] came_q, began_q;
  logic [15:0] open_q;
  assign step_now = (dut.fresh_q[U] ? '0 : wait_q) - wait_now;

  // Of entry n: how far v is ahead of it and of the one before; what its queue must give; entries
  // of v that were read before it and are not complete.
  slack_t ahead_n_q, ahead_before_q, step_n_q;
  logic [15:0] older_q;
  logic is_n, is_known;
  assign is_n = comes && came_q == n_i;
  assign is_known = came_q > n_i;

  always_ff @(posedge clk_i) begin
    if (clear) begin
      ahead_q <= '0;
      complete_q <= '0;
      came_q <= '0;
      began_q <= '0;
      open_q <= '0;
    end else begin
      ahead_q <= ahead_q + (comes ? slack_t'(step_now) : '0) + slack_t'(completes);
      complete_q <= complete_q + slack_t'(completes);
      came_q <= came_q + 16'(comes);
      began_q <= began_q + 16'(load[U]);
      open_q <= open_q + 16'(dut.unit[V]) - 16'(completes);
    end
    if (comes) wait_q <= wait_now;
    if (is_n) begin
      ahead_before_q <= ahead_q + slack_t'(completes);
      ahead_n_q <= ahead_q + slack_t'(step_now) + slack_t'(completes);
      step_n_q <= slack_t'(step_now);
      older_q <= open_q - 16'(completes);
    end else begin
      ahead_before_q <= ahead_before_q + slack_t'(completes);
      ahead_n_q <= ahead_n_q + slack_t'(completes);
      older_q <= older_q - 16'(completes && older_q != '0);
    end
  end

  // The way of entry n to its queue: stage of the steps, of the push.
  logic [1:0] n_on_way_q;
  always_ff @(posedge clk_i) n_on_way_q <= clear ? '0 : {n_on_way_q[0], is_n};

  // ---------------------------------------------------------------- 2. the queues

  logic [3:0] on_way;
  logic [4:0] fetch;
  assign fetch = {dut.next_q, dut.fetch_q};
  always_comb begin
    on_way = '0;
    for (int unsigned s = 0; s < 5; s++) on_way += 4'(dut.way_q[s]);
    on_way += 4'(dut.unit_q != '0) + 4'(dut.push_q != '0);
  end

  // ---------------------------------------------------------------- assumptions and assertions

  // The cycle before.
  logic started_q = 1'b0, clear_q, ends_q;
  logic [NumUnits-1:0] fetches_q;
  logic [15:0] n_q;
  always_ff @(posedge clk_i) begin
    started_q <= started_q || rst_i;
    clear_q   <= clear;
    for (int unsigned u = 0; u < NumUnits; u++) begin
      fetches_q[u] <= level[u] != '0 && !next_valid[u];
    end
    ends_q <= dut.running_q && dut.all_read_q && on_way == '0 && level == '0 &&
        head_valid == '0 && works == '0;
    n_q <= n_i;
  end

  always_comb begin
    if (!started_q) assume (rst_i);
    if (started_q) assume (n_i == n_q);
    // A unit completes what it was given, of which it holds less than 255 entries.
    assume (!completes || open_q != '0);
    for (int unsigned u = 0; u < NumUnits; u++) begin
      assume (!done_i[u] || works[u]);
      assume (!start_valid[u] || !start_ready_i[u] || !full_of_work[u]);
    end
    // Counters here do not wrap, nor does a slack.
    assume (n_i != '1 && came_q != '1 && open_q < 16'h7FFF);
    assume (ahead_q[SlackWidth-1] == ahead_q[SlackWidth-2]);
    assume (ahead_n_q[SlackWidth-1] == ahead_n_q[SlackWidth-2]);
    // The schedule can be executed in its order: entry n waits for no more entries of v than were
    // read before it.
    if (is_n) assume (ahead_q + slack_t'(step_now) + slack_t'(open_q) >= 0);
    if (is_n) assume (open_q < 16'(1 << (SlackWidth - 4)));

    if (started_q) begin
      assert (dut.clear_unit == {NumUnits{dut.clear_unit[0]}});
      assert (!dut.clear_q || dut.clear_unit[0]);
      // The fetch of a phase moves on to its end.
      assert (dut.fetching_q == (fetch != '0));
      assert ((fetch & (fetch - 1'b1)) == '0);
    end

    if (started_q && !clear) begin
      // 1. By induction over n.
      if (began_q == n_i && is_known && n_i != '0) assume (slack[U][V] == ahead_before_q);
      if (began_q == '0) assert (slack[U][V] == complete_q);
      // fifo_formal.
      if (load[U] && began_q == n_i) assume (next_step[U][V] == step_n_q);

      if (began_q == n_i + 1'b1) begin
        assert (slack[U][V] == ahead_n_q);
        assert (older_q != '0 || !short[U][V]);
      end
      if (n_on_way_q[1]) begin
        assert (dut.push_q[U]);
        assert (SlackWidth'(signed'(dut.step_q[V])) == step_n_q);
      end

      // For the induction.
      assert (dut.fresh_q[U] == (came_q == '0));
      if (came_q == '0) assert (ahead_q == complete_q);
      if (is_known && n_i == '0) assert (ahead_before_q == complete_q);
      assert (began_q <= came_q);
      assert (came_q - began_q == 16'(level[U]) + 16'(dut.unit_q[U]) + 16'(dut.push_q[U]));
      if (came_q != '0) assert (dut.waits[U][V*StepWidth+:StepWidth] == wait_q);
      if (n_on_way_q[0]) begin
        assert (dut.unit_q[U]);
        assert (slack_t'(step_t'(dut.wait_before_q[V] - dut.wait_now_q[V])) == step_n_q);
      end
      if (is_known) begin
        assert (ahead_n_q == ahead_before_q + step_n_q);
        assert (ahead_n_q + slack_t'(older_q) >= 0);
        assert (older_q < 16'(1 << (SlackWidth - 4)));
      end

      // 2. An entry is one of one unit.
      assert ((dut.unit_q & (dut.unit_q - 1'b1)) == '0);
      assert ((dut.push_q & (dut.push_q - 1'b1)) == '0);
      for (int unsigned u = 0; u < NumUnits; u++) begin
        assert (!dut.push_q[u] || has_room[u]);
        assert (clear_q || !fetches_q[u] || next_valid[u]);
        assert (load[u] == (next_valid[u] && !head_valid[u]));
        assert (start_valid[u] == (head_valid[u] && short[u] == '0));
        // For the induction.
        assert (7'(level[u]) + 7'(on_way) <= (dut.room_q ? 7'd29 : 7'd30));
        assert (level[u] >= 6'(next_valid[u]));
      end
      if (dut.running_q && !dut.all_read_q && !dut.fetching_q) begin
        assert (dut.read || level != '0 || clear_q);
      end
      if (dut.running_q && ends_q && !clear_q) assert (dut.all_completed_q);
      if (dut.running_q && dut.all_completed_q) begin
        assert (on_way == '0 && level == '0 && head_valid == '0 && works == '0);
      end
    end
  end

endmodule

`default_nettype wire
