// Gives a command to the loader or to the sequencer and brings its result back; holds the end of a
// run until what it has begun outside is at rest.

`default_nettype none

module cmamba_run_control
  import cmamba_pkg::*;
(
    input wire logic clk_i,
    input wire logic rst_i,

    // A command begins: `start_i` for one cycle, the arguments stay until `done_o`.
    input  wire logic        start_i,
    input  wire logic [31:0] mode_i,
    input  wire logic [31:0] watchdog_cycles_i,
    // It has ended, with an error or ErrorOk.
    output logic             done_o,
    output error_e           error_o,

    // Command 1, to the loader.
    output logic        load_start_o,
    input  wire logic   load_done_i,
    input  wire error_e load_error_i,

    // Command 2, to the sequencer, which itself refuses a run of no forecasts or without a package.
    output logic        run_start_o,
    output logic        tlast_each_o,
    input  wire logic   run_done_i,
    input  wire error_e run_error_i,

    // A run is ended by an error; whether s_axis and m_axi are still at work, and whether the run
    // has to wait for them.
    input  wire logic abort_i,
    input  wire logic draining_i,
    input  wire logic reading_i,
    output logic      settling_o
);

  localparam logic [7:0] CommandLoad = 8'd1;
  localparam logic [7:0] CommandRun = 8'd2;

  logic known, refused_q;
  assign known = mode_i[31:9] == '0 && (mode_i[7:0] == CommandLoad || mode_i[7:0] == CommandRun);

  always_ff @(posedge clk_i) begin
    if (rst_i) refused_q <= 1'b0;
    else refused_q <= start_i && !known;
  end

  assign load_start_o = start_i && known && mode_i[7:0] == CommandLoad;
  assign run_start_o = start_i && known && mode_i[7:0] == CommandRun;
  assign tlast_each_o = mode_i[8];

  assign done_o = refused_q || load_done_i || run_done_i;
  always_comb begin
    if (load_done_i) error_o = load_error_i;
    else if (run_done_i) error_o = run_error_i;
    else error_o = ErrorBadMode;
  end

  // stream_in bounds its waiting itself. A bus that does not answer is given up after the
  // watchdog's time; axi_read drops its answers when they come.
  logic [31:0] patience_q;
  always_ff @(posedge clk_i) begin
    if (abort_i) patience_q <= watchdog_cycles_i - 1'b1;
    else if (patience_q != '0) patience_q <= patience_q - 1'b1;
  end
  assign settling_o = draining_i || (reading_i && patience_q != '0);

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  // A command has begun and not ended.
  logic busy_q;
  always_ff @(posedge clk_i) begin
    if (rst_i) busy_q <= 1'b0;
    else busy_q <= start_i || (busy_q && !done_o);
  end

  start_is_alone :
  assert property (disable iff (!live) start_i |-> !busy_q)
  else $error("run_control: a command begins before the one before has ended");

  arguments_stay :
  assert property (disable iff (!live) busy_q |-> $stable({mode_i, watchdog_cycles_i}))
  else $error("run_control: the arguments changed before done_o");

  end_is_expected :
  assert property (disable iff (!live) load_done_i || run_done_i |->
      busy_q && (mode_i[7:0] == CommandLoad ? !run_done_i : !load_done_i))
  else $error("run_control: a command ends that has not begun");
`endif

endmodule

`default_nettype wire
