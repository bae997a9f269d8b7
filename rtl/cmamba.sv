// The accelerator. Ports are named as Vitis HLS names those of hls/src/top.cpp, so that both fit
// the same block design, driver and tests.
//
//   s_axi_control --> control --> run_control --+--> loader --+--> program_check
//                                               |     ^  |    |
//                              axi_read <-------|-----+  +----|--> write bus
//        m_axi_gmem <----------   ^             |             v
//                                 |             +--------> core --> m_axis
//                           weight_stream <---------------  ^
//                                                           +------ s_axis
//
// The memories are those of the build (cmamba_build_pkg); there is nothing else to choose.

`default_nettype none

module cmamba
  import cmamba_pkg::*;
  import cmamba_build_pkg::*;
(
    input wire logic ap_clk,
    input wire logic ap_rst_n,

    input  wire logic        s_axi_control_AWVALID,
    output logic             s_axi_control_AWREADY,
    input  wire logic [ 8:0] s_axi_control_AWADDR,
    input  wire logic        s_axi_control_WVALID,
    output logic             s_axi_control_WREADY,
    input  wire logic [31:0] s_axi_control_WDATA,
    input  wire logic [ 3:0] s_axi_control_WSTRB,
    output logic             s_axi_control_BVALID,
    input  wire logic        s_axi_control_BREADY,
    output logic      [ 1:0] s_axi_control_BRESP,
    input  wire logic        s_axi_control_ARVALID,
    output logic             s_axi_control_ARREADY,
    input  wire logic [ 8:0] s_axi_control_ARADDR,
    output logic             s_axi_control_RVALID,
    input  wire logic        s_axi_control_RREADY,
    output logic      [31:0] s_axi_control_RDATA,
    output logic      [ 1:0] s_axi_control_RRESP,
    // verilator lint_off SYMRSVDWORD
    output logic             interrupt,
    // verilator lint_on SYMRSVDWORD

    // Patches, int8. Every byte of a beat counts, whatever TKEEP and TSTRB say.
    input  wire logic         s_axis_TVALID,
    output logic              s_axis_TREADY,
    input  wire logic [127:0] s_axis_TDATA,
    input  wire logic [ 15:0] s_axis_TKEEP,
    input  wire logic [ 15:0] s_axis_TSTRB,
    input  wire logic [  0:0] s_axis_TLAST,

    // Forecasts, int16.
    output logic         m_axis_TVALID,
    input  wire logic    m_axis_TREADY,
    output logic [127:0] m_axis_TDATA,
    output logic [ 15:0] m_axis_TKEEP,
    output logic [ 15:0] m_axis_TSTRB,
    output logic [  0:0] m_axis_TLAST,

    // Reads only.
    output logic              m_axi_gmem_ARVALID,
    input  wire logic         m_axi_gmem_ARREADY,
    output logic      [ 63:0] m_axi_gmem_ARADDR,
    output logic      [  0:0] m_axi_gmem_ARID,
    output logic      [  7:0] m_axi_gmem_ARLEN,
    output logic      [  2:0] m_axi_gmem_ARSIZE,
    output logic      [  1:0] m_axi_gmem_ARBURST,
    output logic      [  1:0] m_axi_gmem_ARLOCK,
    output logic      [  3:0] m_axi_gmem_ARCACHE,
    output logic      [  2:0] m_axi_gmem_ARPROT,
    output logic      [  3:0] m_axi_gmem_ARQOS,
    output logic      [  3:0] m_axi_gmem_ARREGION,
    input  wire logic         m_axi_gmem_RVALID,
    output logic              m_axi_gmem_RREADY,
    input  wire logic [127:0] m_axi_gmem_RDATA,
    input  wire logic         m_axi_gmem_RLAST,
    input  wire logic [  0:0] m_axi_gmem_RID,
    input  wire logic [  1:0] m_axi_gmem_RRESP
);

  logic unused_ports;
  assign unused_ports = ^{s_axis_TKEEP, s_axis_TSTRB, m_axi_gmem_RID};

  logic clk;
  (* keep = "true" *)logic rst;
  (* keep = "true" *)logic load_rst;
  (* keep = "true" *)logic core_rst;
  assign clk = ap_clk;
  always_ff @(posedge clk) begin
    rst      <= !ap_rst_n;
    load_rst <= !ap_rst_n;
    core_rst <= !ap_rst_n;
  end

  // ---------------------------------------------------------------- commands

  // Bits of the sequencer's counters: 13 days at 250 MHz.
  localparam int unsigned CounterWidth = 48;

  logic start, done;
  error_e error;
  logic [63:0] package_addr;
  logic [31:0] mode, package_beats, n_forecasts, watchdog_cycles;
  logic [CounterWidth-1:0] entries, cycles;
  logic [NumUnits-1:0][CounterWidth-1:0] busy_cycles;
  logic [NumUnits-1:0][63:0] busy_cycles_wide;
  for (genvar u = 0; u < NumUnits; u++) begin : gen_busy
    assign busy_cycles_wide[u] = 64'(busy_cycles[u]);
  end

  cmamba_control u_control (
      .clk_i                (clk),
      .rst_i                (rst),
      .s_axi_control_awvalid(s_axi_control_AWVALID),
      .s_axi_control_awready(s_axi_control_AWREADY),
      .s_axi_control_awaddr (s_axi_control_AWADDR),
      .s_axi_control_awprot ('0),
      .s_axi_control_wvalid (s_axi_control_WVALID),
      .s_axi_control_wready (s_axi_control_WREADY),
      .s_axi_control_wdata  (s_axi_control_WDATA),
      .s_axi_control_wstrb  (s_axi_control_WSTRB),
      .s_axi_control_bvalid (s_axi_control_BVALID),
      .s_axi_control_bready (s_axi_control_BREADY),
      .s_axi_control_bresp  (s_axi_control_BRESP),
      .s_axi_control_arvalid(s_axi_control_ARVALID),
      .s_axi_control_arready(s_axi_control_ARREADY),
      .s_axi_control_araddr (s_axi_control_ARADDR),
      .s_axi_control_arprot ('0),
      .s_axi_control_rvalid (s_axi_control_RVALID),
      .s_axi_control_rready (s_axi_control_RREADY),
      .s_axi_control_rdata  (s_axi_control_RDATA),
      .s_axi_control_rresp  (s_axi_control_RRESP),
      .interrupt_o          (interrupt),
      .start_o              (start),
      .package_addr_o       (package_addr),
      .mode_o               (mode),
      .package_beats_o      (package_beats),
      .n_forecasts_o        (n_forecasts),
      .watchdog_cycles_o    (watchdog_cycles),
      .done_i               (done),
      .error_i              (error),
      .entries_i            (64'(entries)),
      .cycles_i             (64'(cycles)),
      .busy_cycles_i        (busy_cycles_wide)
  );

  logic load_start, load_busy, load_done, run_start, run_busy, run_done, tlast_each;
  error_e load_error, run_error;
  logic run_abort, draining, read_busy, settling;

  cmamba_run_control u_run_control (
      .clk_i            (clk),
      .rst_i            (rst),
      .start_i          (start),
      .mode_i           (mode),
      .watchdog_cycles_i(watchdog_cycles),
      .done_o           (done),
      .error_o          (error),
      .load_start_o     (load_start),
      .load_done_i      (load_done),
      .load_error_i     (load_error),
      .run_start_o      (run_start),
      .tlast_each_o     (tlast_each),
      .run_done_i       (run_done),
      .run_error_i      (run_error),
      .abort_i          (run_abort),
      .draining_i       (draining),
      .reading_i        (read_busy),
      .settling_o       (settling)
  );

  // ---------------------------------------------------------------- m_axi

  // The loader's and weight_stream's. A package is loaded or runs: one of them has no command and
  // takes no beat while the other one is at work.
  typedef struct packed {
    logic [63:0] addr;
    logic [31:0] beats;
  } command_t;

  logic load_cmd_valid, stream_cmd_valid, cmd_valid, cmd_ready;
  command_t load_cmd, stream_cmd, cmd;
  logic load_beat_ready, stream_beat_ready, beat_ready;
  logic beat_valid, beat_last, beat_error, load_abort;
  logic [127:0] beat_data;
  // The array is reset a cycle after the end of a run, and may ask for tiles until then.
  logic aborted_q;
  always_ff @(posedge clk) aborted_q <= run_abort;
  assign cmd_valid  = load_cmd_valid || stream_cmd_valid;
  assign cmd        = load_busy ? load_cmd : stream_cmd;
  assign beat_ready = load_beat_ready || stream_beat_ready;

  cmamba_axi_read u_axi_read (
      .clk_i        (clk),
      .rst_i        (rst),
      .cmd_valid_i  (cmd_valid),
      .cmd_ready_o  (cmd_ready),
      .cmd_addr_i   (cmd.addr),
      .cmd_beats_i  (cmd.beats),
      .beat_valid_o (beat_valid),
      .beat_ready_i (beat_ready),
      .beat_data_o  (beat_data),
      .beat_last_o  (beat_last),
      .beat_error_o (beat_error),
      .abort_i      (load_abort || aborted_q),
      .busy_o       (read_busy),
      .m_axi_arvalid(m_axi_gmem_ARVALID),
      .m_axi_arready(m_axi_gmem_ARREADY),
      .m_axi_araddr (m_axi_gmem_ARADDR),
      .m_axi_arlen  (m_axi_gmem_ARLEN),
      .m_axi_rvalid (m_axi_gmem_RVALID),
      .m_axi_rready (m_axi_gmem_RREADY),
      .m_axi_rdata  (m_axi_gmem_RDATA),
      .m_axi_rresp  (m_axi_gmem_RRESP),
      .m_axi_rlast  (m_axi_gmem_RLAST)
  );

  // Incrementing bursts of whole beats; normal memory, as Vitis HLS asks for it.
  assign m_axi_gmem_ARID     = '0;
  assign m_axi_gmem_ARSIZE   = 3'd4;
  assign m_axi_gmem_ARBURST  = 2'd1;
  assign m_axi_gmem_ARLOCK   = '0;
  assign m_axi_gmem_ARCACHE  = 4'd3;
  assign m_axi_gmem_ARPROT   = '0;
  assign m_axi_gmem_ARQOS    = '0;
  assign m_axi_gmem_ARREGION = '0;

  // ---------------------------------------------------------------- loading

  logic loaded;
  cmamba_loader_pkg::facts_t facts;
  logic [NumSections-1:0] load_wr_en;
  logic [23:0] load_wr_addr;
  logic [127:0] load_wr_data;
  logic check_start, check_word_valid, check_word_ready, check_schedule_valid;
  logic check_busy;
  logic [InstructionBits-1:0] check_word;
  logic [127:0] check_schedule;
  error_e check_error;

  cmamba_loader u_loader (
      .clk_i                 (clk),
      .rst_i                 (load_rst),
      .start_i               (load_start),
      .package_addr_i        (package_addr),
      .package_beats_i       (package_beats),
      .watchdog_cycles_i     (watchdog_cycles),
      .busy_o                (load_busy),
      .done_o                (load_done),
      .error_o               (load_error),
      .loaded_o              (loaded),
      .facts_o               (facts),
      .cmd_valid_o           (load_cmd_valid),
      .cmd_ready_i           (cmd_ready),
      .cmd_addr_o            (load_cmd.addr),
      .cmd_beats_o           (load_cmd.beats),
      .beat_valid_i          (beat_valid),
      .beat_ready_o          (load_beat_ready),
      .beat_data_i           (beat_data),
      .beat_last_i           (beat_last),
      .beat_error_i          (beat_error),
      .read_abort_o          (load_abort),
      .read_busy_i           (read_busy),
      .wr_en_o               (load_wr_en),
      .wr_addr_o             (load_wr_addr),
      .wr_data_o             (load_wr_data),
      .check_start_o         (check_start),
      .check_word_valid_o    (check_word_valid),
      .check_word_ready_i    (check_word_ready),
      .check_word_o          (check_word),
      .check_schedule_valid_o(check_schedule_valid),
      .check_schedule_o      (check_schedule),
      .check_busy_i          (check_busy),
      .check_error_i         (check_error)
  );

  cmamba_program_check u_program_check (
      .clk_i           (clk),
      .rst_i           (load_rst),
      .start_i         (check_start),
      .facts_i         (facts),
      .word_valid_i    (check_word_valid),
      .word_ready_o    (check_word_ready),
      .word_i          (check_word),
      .schedule_valid_i(check_schedule_valid),
      .schedule_i      (check_schedule),
      .busy_o          (check_busy),
      .error_o         (check_error)
  );

  // ---------------------------------------------------------------- weights that stay in memory

  localparam int unsigned WeightAddrBits = $clog2(MaxWeights);
  localparam int unsigned TileBeatBits = $clog2(TileIn * TileOut / 16);

  logic streams, stream_fault;
  logic fetch_valid, fetch_ready, stream_valid, stream_ready, tile_wr_valid;
  cmamba_array_pkg::tile_range_t fetch;
  logic [WeightAddrBits-1:0] stream_slot, tile_wr_tile;
  logic [TileBeatBits-1:0] tile_wr_beat;
  logic [127:0] tile_wr_data;
  // Of the run and a cycle behind it: no tile is asked for in its first cycles, nor in its last.
  logic stream_enable_q;
  always_ff @(posedge clk) begin
    streams <= facts.elements[SectionWeights] > MaxWeights;
    stream_enable_q <= !rst && run_busy && streams;
  end

  cmamba_weight_stream u_weight_stream (
      .clk_i         (clk),
      .rst_i         (rst || run_abort || aborted_q),
      .enable_i      (stream_enable_q),
      .weights_addr_i(facts.weights_addr),
      .fetch_valid_i (fetch_valid),
      .fetch_ready_o (fetch_ready),
      .fetch_i       (fetch),
      .stream_valid_o(stream_valid),
      .stream_ready_i(stream_ready),
      .stream_slot_o (stream_slot),
      .cmd_valid_o   (stream_cmd_valid),
      .cmd_ready_i   (cmd_ready),
      .cmd_addr_o    (stream_cmd.addr),
      .cmd_beats_o   (stream_cmd.beats),
      .beat_valid_i  (beat_valid),
      .beat_ready_o  (stream_beat_ready),
      .beat_data_i   (beat_data),
      .beat_error_i  (beat_error),
      .wr_valid_o    (tile_wr_valid),
      .wr_tile_o     (tile_wr_tile),
      .wr_beat_o     (tile_wr_beat),
      .wr_data_o     (tile_wr_data),
      .error_o       (stream_fault)
  );

  // ---------------------------------------------------------------- running

  cmamba_core #(
      .CounterWidth(CounterWidth)
  ) u_core (
      .clk_i            (clk),
      .rst_i            (core_rst),
      .load_wr_en_i     (load_wr_en),
      .load_wr_addr_i   (load_wr_addr),
      .load_wr_data_i   (load_wr_data),
      .loaded_i         (loaded),
      .facts_i          (facts),
      .start_i          (run_start),
      .n_forecasts_i    (n_forecasts),
      .tlast_each_i     (tlast_each),
      .watchdog_cycles_i(watchdog_cycles),
      .busy_o           (run_busy),
      .done_o           (run_done),
      .error_o          (run_error),
      .abort_o          (run_abort),
      .bus_fault_i      (stream_fault),
      .draining_o       (draining),
      .settling_i       (settling),
      .cycles_o         (cycles),
      .entries_o        (entries),
      .busy_cycles_o    (busy_cycles),
      .streams_i        (streams),
      .fetch_valid_o    (fetch_valid),
      .fetch_ready_i    (fetch_ready),
      .fetch_o          (fetch),
      .stream_valid_i   (stream_valid),
      .stream_ready_o   (stream_ready),
      .stream_slot_i    (stream_slot),
      .tile_wr_valid_i  (tile_wr_valid),
      .tile_wr_tile_i   (tile_wr_tile),
      .tile_wr_beat_i   (tile_wr_beat),
      .tile_wr_data_i   (tile_wr_data),
      .s_axis_tvalid_i  (s_axis_TVALID),
      .s_axis_tready_o  (s_axis_TREADY),
      .s_axis_tdata_i   (s_axis_TDATA),
      .s_axis_tlast_i   (s_axis_TLAST[0]),
      .m_axis_tvalid_o  (m_axis_TVALID),
      .m_axis_tready_i  (m_axis_TREADY),
      .m_axis_tdata_o   (m_axis_TDATA),
      .m_axis_tkeep_o   (m_axis_TKEEP),
      .m_axis_tlast_o   (m_axis_TLAST[0])
  );
  assign m_axis_TSTRB = m_axis_TKEEP;

`ifndef SYNTHESIS
  default clocking @(posedge clk);
  endclocking

  // A reset counts from the cycle on in which it comes.
  logic live_inside, live;
  cmamba_live u_live (
      .clk_i (clk),
      .rst_i (rst),
      .live_o(live_inside)
  );
  assign live = live_inside && ap_rst_n;

  read_request_stays :
  assert property (disable iff (!live) s_axi_control_ARVALID && !s_axi_control_ARREADY |=> $stable(
      {s_axi_control_ARVALID, s_axi_control_ARADDR}
  ))
  else $error("cmamba: the address of a read went or changed before it was taken");

  write_address_stays :
  assert property (disable iff (!live) s_axi_control_AWVALID && !s_axi_control_AWREADY |=> $stable(
      {s_axi_control_AWVALID, s_axi_control_AWADDR}
  ))
  else $error("cmamba: the address of a write went or changed before it was taken");

  write_data_stay :
  assert property (disable iff (!live) s_axi_control_WVALID && !s_axi_control_WREADY |=> $stable(
      {s_axi_control_WVALID, s_axi_control_WDATA, s_axi_control_WSTRB}
  ))
  else $error("cmamba: the data of a write went or changed before they were taken");

  forecast_stays :
  assert property (disable iff (!live) m_axis_TVALID && !m_axis_TREADY |=> $stable(
      {m_axis_TVALID, m_axis_TDATA, m_axis_TKEEP, m_axis_TSTRB, m_axis_TLAST}
  ))
  else $error("cmamba: what m_axis offers went or changed before it was taken");

  loads_or_runs :
  assert property (disable iff (!live) !(load_busy && run_busy))
  else $error("cmamba: a package is loaded during a run");

  one_command :
  assert property (disable iff (!live) !(load_cmd_valid && stream_cmd_valid))
  else $error("cmamba: loader and weight_stream read memory at once");

  one_taker :
  assert property (disable iff (!live) beat_valid |-> !(load_beat_ready && stream_beat_ready))
  else $error("cmamba: loader and weight_stream take the same beat");

  counters_stand_still :
  assert property (disable iff (!live) !run_busy |=> run_busy || $stable(
      {entries, cycles, busy_cycles}
  ))
  else $error("cmamba: a counter of the last run changed");
`endif

endmodule

`default_nettype wire
