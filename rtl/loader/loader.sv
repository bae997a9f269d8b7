// Loads a package: checks the header, copies section after section into the memories, has the program
// checked. docs/instruction_set.md, "What a loader checks".

`default_nettype none

module loader #(
    // Bytes of a weight tile: TileOut lanes of TileIn weights.
    parameter int unsigned TileIn = cmamba_build_pkg::TileIn,
    parameter int unsigned TileOut = cmamba_build_pkg::TileOut,
    // Elements of each section's memory. Weights beyond theirs stay where they are.
    parameter int unsigned MaxInstructions = cmamba_build_pkg::MaxInstructions,
    parameter int unsigned MaxSchedule = cmamba_build_pkg::MaxSchedule,
    parameter int unsigned MaxArrayParams = cmamba_build_pkg::MaxArrayParams,
    parameter int unsigned MaxConvParams = cmamba_build_pkg::MaxConvParams,
    parameter int unsigned MaxConvTables = cmamba_build_pkg::MaxConvTables,
    parameter int unsigned MaxScanParams = cmamba_build_pkg::MaxScanParams,
    parameter int unsigned MaxScanDecay = cmamba_build_pkg::MaxScanDecay,
    parameter int unsigned MaxScanTables = cmamba_build_pkg::MaxScanTables,
    parameter int unsigned MaxVectorParams = cmamba_build_pkg::MaxVectorParams,
    parameter int unsigned MaxVectorTables = cmamba_build_pkg::MaxVectorTables,
    parameter int unsigned ResidElements = cmamba_build_pkg::ResidElements,
    localparam int unsigned NumSections = cmamba_pkg::NumSections
) (
    input wire logic clk_i,
    input wire logic rst_i,

    // `start_i` is looked at while `busy_o` is low; the arguments stay until `done_o`.
    input  wire logic         start_i,
    input  wire logic [63:0]  package_addr_i,
    input  wire logic [31:0]  package_beats_i,
    // Cycles without a beat after which the load ends with ErrorTimeout. Zero stands for 2^32.
    input  wire logic [31:0]  watchdog_cycles_i,
    output logic              busy_o,
    output logic              done_o,
    // Of the last load, from `done_o` on.
    output cmamba_pkg::error_e error_o,

    // The facts are those of the loaded package while `loaded_o`.
    output logic                       loaded_o,
    output cmamba_loader_pkg::facts_t  facts_o,

    // Commands to axi_read and its beats.
    output logic              cmd_valid_o,
    input  wire logic         cmd_ready_i,
    output logic [63:0]       cmd_addr_o,
    output logic [31:0]       cmd_beats_o,
    input  wire logic         beat_valid_i,
    output logic              beat_ready_o,
    input  wire logic [127:0] beat_data_i,
    input  wire logic         beat_last_i,
    input  wire logic         beat_error_i,
    output logic              read_abort_o,
    input  wire logic         read_busy_i,

    // Writes to the memories, one section at a time. The address is the beat within the section; in
    // a section of tables, which goes out entry by entry, 256 * table + entry. An entry is in the
    // lowest bits of the data.
    output logic [NumSections-1:0]    wr_en_o,
    output logic [23:0]               wr_addr_o,
    output logic [127:0]              wr_data_o,

    // To program_check: its start, with the facts of the header; then the program in order.
    output logic              check_start_o,
    output logic              check_instruction_valid_o,
    input  wire logic         check_instruction_ready_i,
    output logic [511:0]      check_instruction_o,
    output logic              check_schedule_valid_o,
    output logic [127:0]      check_schedule_o,
    // The error is final when the checker is not busy after the last entry.
    input  wire logic               check_busy_i,
    input  wire cmamba_pkg::error_e check_error_i
);

endmodule

`default_nettype wire
