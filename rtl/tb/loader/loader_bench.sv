// loader with the reader of the bus, as a whole AXI4 read interface for the memory model.

`default_nettype none

module loader_bench #(
    // Parameter of loader.
    parameter int unsigned MaxWeights = cmamba_build_pkg::MaxWeights
) (
    input wire logic clk_i,
    input wire logic rst_i,

    input  wire logic         start_i,
    input  wire logic [63:0]  package_addr_i,
    input  wire logic [31:0]  package_beats_i,
    input  wire logic [31:0]  watchdog_cycles_i,
    output logic              busy_o,
    output logic              done_o,
    output cmamba_pkg::error_e error_o,
    output logic                      loaded_o,
    output cmamba_loader_pkg::facts_t facts_o,

    output logic [cmamba_pkg::NumSections-1:0] wr_en_o,
    output logic [23:0]               wr_addr_o,
    output logic [127:0]              wr_data_o,

    output logic                      check_start_o,
    output logic                      check_word_valid_o,
    input  wire logic                 check_word_ready_i,
    output logic [511:0]              check_word_o,
    output logic                      check_schedule_valid_o,
    output logic [127:0]              check_schedule_o,
    input  wire logic                 check_busy_i,
    input  wire cmamba_pkg::error_e   check_error_i,

    output logic             m_axi_arvalid,
    input  wire logic        m_axi_arready,
    output logic             m_axi_arid,
    output logic [63:0]      m_axi_araddr,
    output logic [7:0]       m_axi_arlen,
    output logic [2:0]       m_axi_arsize,
    output logic [1:0]       m_axi_arburst,
    input  wire logic         m_axi_rvalid,
    output logic             m_axi_rready,
    input  wire logic        m_axi_rid,
    input  wire logic [127:0] m_axi_rdata,
    input  wire logic [1:0]  m_axi_rresp,
    input  wire logic        m_axi_rlast
);

  logic unused_rid;
  assign unused_rid = m_axi_rid;

  assign m_axi_arid = 1'b0;
  assign m_axi_arsize = 3'd4;
  assign m_axi_arburst = 2'b01;

  logic cmd_valid, cmd_ready, beat_valid, beat_ready, beat_last, beat_error, read_abort, read_busy;
  logic [ 63:0] cmd_addr;
  logic [ 31:0] cmd_beats;
  logic [127:0] beat_data;

  cmamba_loader #(
      .MaxWeights(MaxWeights)
  ) u_loader (
      .cmd_valid_o (cmd_valid),
      .cmd_ready_i (cmd_ready),
      .cmd_addr_o  (cmd_addr),
      .cmd_beats_o (cmd_beats),
      .beat_valid_i(beat_valid),
      .beat_ready_o(beat_ready),
      .beat_data_i (beat_data),
      .beat_last_i (beat_last),
      .beat_error_i(beat_error),
      .read_abort_o(read_abort),
      .read_busy_i (read_busy),
      .*
  );

  cmamba_axi_read u_axi_read (
      .cmd_valid_i (cmd_valid),
      .cmd_ready_o (cmd_ready),
      .cmd_addr_i  (cmd_addr),
      .cmd_beats_i (cmd_beats),
      .beat_valid_o(beat_valid),
      .beat_ready_i(beat_ready),
      .beat_data_o (beat_data),
      .beat_last_o (beat_last),
      .beat_error_o(beat_error),
      .abort_i     (read_abort),
      .busy_o      (read_busy),
      .*
  );

endmodule

`default_nettype wire
