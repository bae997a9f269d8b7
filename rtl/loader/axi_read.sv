// Reads commands of whole beats through AXI4: cuts them into bursts and delivers the beats in order.

`default_nettype none

module axi_read #(
    // Beats of a burst at most, 1 to 256.
    parameter int unsigned MaxBurstBeats = 64,
    // Beats that may be under way or waiting to be taken, a power of two. A burst is asked for only
    // when there is room for all of it.
    parameter int unsigned FifoBeats = 128
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

    // Forgets all commands. What has been asked for is taken and dropped.
    input  wire logic        abort_i,
    // Bursts are under way, or beats wait to be taken.
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

endmodule

`default_nettype wire
