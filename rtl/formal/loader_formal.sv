// A load always ends, with done_o and an error or a loaded package, whatever the bus does.
//
// A number falls in every cycle of a load in which it is not the turn of program_check, and never
// grows. From the top: where the load is (header, sizes of the sections, section after section, its
// end); whether it has failed; beats of the command that are still to come; entries that the held
// beat has to give; whether a beat may be taken; the cycles that the bus is given; cycles of the
// pipelines. program_check takes an instruction after 16 cycles at most, and is busy for a time
// that the program bounds.
//
// Proved by induction, for any package (CRC and memory of the header give anything), any watchdog,
// and any bus that gives the beats of a command and then no more; axi_read is such a bus
// (axi_read_formal).

`default_nettype none

module loader_formal
  import cmamba_pkg::*;
(
    input wire logic clk_i,
    input wire logic rst_i,
    input wire logic start_i,
    input wire logic [63:0] package_addr_i,
    input wire logic [31:0] package_beats_i,
    input wire logic [31:0] watchdog_cycles_i,
    input wire logic cmd_ready_i,
    input wire logic beat_valid_i,
    input wire logic [127:0] beat_data_i,
    input wire logic beat_error_i,
    input wire logic read_busy_i,
    input wire logic check_word_ready_i,
    input wire logic check_busy_i,
    input wire error_e check_error_i
);

  // States of the module, as bits of its register.
  localparam int unsigned StIdle = 0;
  localparam int unsigned StBegin = 1;
  localparam int unsigned StCommand = 2;
  localparam int unsigned StCopy = 3;
  localparam int unsigned StSettle = 4;
  localparam int unsigned StHeader = 5;
  localparam int unsigned StFetch = 6;
  localparam int unsigned StSize = 7;
  localparam int unsigned StCheck = 8;
  localparam int unsigned StPlace = 9;
  localparam int unsigned StVerdict = 10;
  localparam int unsigned StProgram = 11;
  localparam int unsigned StAccept = 12;
  localparam int unsigned StAbort = 13;
  localparam int unsigned StDrain = 14;
  localparam int unsigned StDone = 15;

  logic busy, done, loaded, cmd_valid, beat_ready, beat_last, check_valid;
  error_e error;
  logic [31:0] cmd_beats;
  // Beats of the command that are still to come.
  logic [31:0] left_q;
  assign beat_last = left_q == 32'd1;

  cmamba_loader dut (
      .clk_i,
      .rst_i,
      .start_i,
      .package_addr_i,
      .package_beats_i,
      .watchdog_cycles_i,
      .busy_o(busy),
      .done_o(done),
      .error_o(error),
      .loaded_o(loaded),
      .facts_o(),
      .cmd_valid_o(cmd_valid),
      .cmd_ready_i,
      .cmd_addr_o(),
      .cmd_beats_o(cmd_beats),
      .beat_valid_i,
      .beat_ready_o(beat_ready),
      .beat_data_i,
      .beat_last_i(beat_last),
      .beat_error_i,
      .read_abort_o(),
      .read_busy_i,
      .wr_en_o(),
      .wr_addr_o(),
      .wr_data_o(),
      .check_start_o(),
      .check_word_valid_o(check_valid),
      .check_word_ready_i,
      .check_word_o(),
      .check_schedule_valid_o(),
      .check_schedule_o(),
      .check_busy_i,
      .check_error_i
  );

  logic [15:0] state;
  assign state = dut.state_q;

  always_ff @(posedge clk_i) begin
    if (cmd_valid && cmd_ready_i) left_q <= cmd_beats;
    else if (beat_valid_i && beat_ready) left_q <= left_q - 1'b1;
  end

  // Where the load is. A section goes through its states in this order.
  logic [1:0] phase;
  logic [3:0] section, step;
  always_comb begin
    phase   = dut.header_q ? 2'd0 : dut.sizing_q ? 2'd1 : 2'd2;
    section = dut.header_q ? '0 : dut.section_q;
    step    = 4'd0;  // StBegin, StProgram
    if (state[StFetch] || state[StAccept]) step = 4'd1;
    if (state[StSize] || state[StAbort]) step = 4'd2;
    if (state[StCheck] || state[StDrain]) step = 4'd3;
    if (state[StPlace] || state[StDone]) step = 4'd4;
    if (state[StCommand]) step = 4'd5;
    if (state[StCopy]) step = 4'd6;
    if (state[StSettle]) step = 4'd7;
    if (state[StVerdict]) step = 4'd8;
    if (state[StHeader]) step = 4'd9;
    if (state[StProgram] || state[StAccept] || state[StAbort] || state[StDrain] || state[StDone])
      {phase, section} = '1;
    if (state[StBegin]) {phase, section} = '0;
  end

  typedef struct packed {
    logic [9:0]  place;        // counted down
    logic        well;         // it has not failed
    logic [31:0] beats;
    logic [4:0]  held;
    logic        not_ready;
    logic        patient;      // the bus has not been given up
    logic        not_waiting;  // in the cycle before
    logic [31:0] patience;
    logic [2:0]  cycles;
    logic        instruction;  // the last one has not been taken
  } rest_t;
  rest_t rest, rest_q;
  always_comb begin
    rest = '0;
    rest.place = ~{phase, section, step};
    rest.well = !dut.failed_q;
    if (state[StCopy]) begin
      rest.beats = left_q;
      rest.held = dut.held_q;
      rest.not_ready = !beat_ready;
    end
    if (state[StCommand] || state[StCopy] || state[StDrain]) begin
      rest.patient = !dut.expired_q;
      rest.not_waiting = !dut.waiting_q;
      if (dut.waiting_q) rest.patience = dut.idle_q;
    end
    if (state[StFetch]) rest.cycles = 3'd4 - dut.fetch_q;
    if (state[StSettle]) begin
      rest.cycles = 3'd5 - dut.settle_q;
      rest.instruction = check_valid;
    end
  end

  // The cycle before.
  logic started_q = 1'b0, busy_q, check_turn_q;
  logic [63:0] package_addr_q;
  logic [31:0] package_beats_q, watchdog_cycles_q;
  always_ff @(posedge clk_i) begin
    started_q <= started_q || rst_i;
    busy_q <= busy && !rst_i;
    check_turn_q <= (check_valid && !check_word_ready_i) || (state[StProgram] && check_busy_i);
    rest_q <= rest;
    package_addr_q <= package_addr_i;
    package_beats_q <= package_beats_i;
    watchdog_cycles_q <= watchdog_cycles_i;
  end

  always_comb begin
    if (!started_q) assume (rst_i);
    if (busy) begin
      assume (package_addr_i == package_addr_q && package_beats_i == package_beats_q);
      assume (watchdog_cycles_i == watchdog_cycles_q);
    end
    assume (!beat_valid_i || left_q != '0);

    if (started_q) begin
      if (busy_q && busy) assert (check_turn_q ? rest <= rest_q : rest < rest_q);
      assert (!done || loaded == (error == ErrorOk));
      assert (!cmd_valid || cmd_beats != '0);

      // For the induction: one state,
      assert (state != '0 && (state & (state - 1'b1)) == '0);
      if (busy && !state[StBegin]) assert (dut.section_q < NumSections);
      if (state[StCommand] || state[StCopy] || state[StSettle] || state[StHeader]) begin
        assert (!dut.header_q || dut.sizing_q);
      end
      if (state[StHeader]) assert (dut.header_q);
      if (state[StFetch] || state[StSize] || state[StCheck]) assert (!dut.header_q);
      if (state[StPlace] || state[StVerdict]) assert (!dut.header_q && !dut.sizing_q);
      if (state[StCommand] || state[StCopy] || state[StSettle]) begin
        assert (dut.header_q || !dut.sizing_q);
      end
      // its end,
      if (busy && !state[StBegin]) assert (dut.failed_q == (error != ErrorOk));
      if (busy && !state[StBegin] && !state[StDone]) assert (!loaded);
      if (state[StAbort] || state[StDrain]) assert (dut.failed_q);
      // its counters,
      if (state[StFetch]) assert (dut.fetch_q <= 3'd4);
      if (state[StSettle]) assert (dut.settle_q <= 3'd5);
      if (state[StCommand]) assert (dut.wraps_q || dut.failed_q || cmd_beats != '0);
      if (state[StPlace]) assert ((dut.entry_q.bytes == '0) == (cmd_beats == '0));
      // and what is held.
      if (state[StCopy]) begin
        assert (dut.holds_q == (dut.held_q != '0));
        assert (dut.last_q == (left_q == '0));
        assert (!dut.last_q || !beat_ready);
        assert (!beat_ready || dut.held_q <= 5'd1);
      end
      assert (!beat_ready || (!check_valid && (state[StCopy] || state[StAbort])));
    end
  end

endmodule

`default_nettype wire
