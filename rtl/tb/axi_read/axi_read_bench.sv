// axi_read with the signals of AXI4 that are constant, as a whole read interface for the memory
// model.

`default_nettype none

module axi_read_bench #(
    // Parameters of axi_read.
    parameter int unsigned MaxBurstBeats = 32,
    parameter int unsigned FifoBeats = 128,
    parameter int unsigned MaxBursts = 8
) (
    input wire logic clk_i,
    input wire logic rst_i,

    input  wire logic        cmd_valid_i,
    output logic             cmd_ready_o,
    input  wire logic [63:0] cmd_addr_i,
    input  wire logic [31:0] cmd_beats_i,
    output logic             beat_valid_o,
    input  wire logic        beat_ready_i,
    output logic [127:0]     beat_data_o,
    output logic             beat_last_o,
    output logic             beat_error_o,
    input  wire logic        abort_i,
    output logic             busy_o,

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
    input  wire logic        m_axi_rlast,
    // Makes RLAST wrong.
    input  wire logic        flip_last_i
);

  logic unused_rid;
  assign unused_rid = m_axi_rid;

  assign m_axi_arid = 1'b0;
  assign m_axi_arsize = 3'd4;
  assign m_axi_arburst = 2'b01;

  cmamba_axi_read #(
      .MaxBurstBeats(MaxBurstBeats),
      .FifoBeats(FifoBeats),
      .MaxBursts(MaxBursts)
  ) u_axi_read (
      .m_axi_rlast(m_axi_rlast ^ flip_last_i),
      .*
  );

endmodule

`default_nettype wire
