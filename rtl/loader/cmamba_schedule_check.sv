// Checks the entries of a schedule, one a cycle, and counts those of each unit. Of an instruction
// it keeps the unit and the number of positions.
//
//   entry --> memory of instructions (2 cycles) --> compare --> bad_o, entries_o

`default_nettype none

module cmamba_schedule_check
  import cmamba_pkg::*;
#(
    // Instructions of a program, a power of two.
    parameter int unsigned MaxInstructions = cmamba_build_pkg::MaxInstructions,
    // Entries of a schedule.
    parameter int unsigned MaxSchedule = cmamba_build_pkg::MaxSchedule,
    localparam int unsigned TableWidth = $clog2(MaxInstructions),
    localparam int unsigned EntriesWidth = $clog2(MaxSchedule + 1)
) (
    input wire logic clk_i,
    input wire logic rst_i,

    // Forgets the entries of the program before.
    input wire logic clear_i,

    // The instructions, before the entries that name them.
    input wire logic                  instruction_wr_en_i,
    input wire logic [TableWidth-1:0] instruction_wr_addr_i,
    input wire unit_e                 instruction_unit_i,
    input wire logic [11:0]           instruction_n_positions_i,

    // What the package says.
    input wire logic [31:0] instructions_i,
    input wire logic [15:0] n_sequences_i,

    input wire logic                    valid_i,
    input wire logic [ScheduleBits-1:0] entry_i,

    // Entries on their way to the result, or in this cycle.
    output logic busy_o,
    // An entry names an instruction, position or sequence that does not exist.
    output logic bad_o,
    // Entries of each unit, and of all.
    output logic [NumUnits-1:0][EntriesWidth-1:0] entries_o,
    output logic [EntriesWidth-1:0]               all_entries_o
);

  if (MaxInstructions < 2 || MaxInstructions > 1024) begin : gen_check_instructions
    $fatal(1, "schedule_check: MaxInstructions is %0d, expected 2 to 1024", MaxInstructions);
  end

  typedef struct packed {
    unit_e       unit;
    logic [11:0] n_positions;
  } info_t;

  // verilator lint_off UNUSEDSIGNAL
  // Waits cannot be wrong, a token has 12 bits.
  schedule_entry_t entry;
  // verilator lint_on UNUSEDSIGNAL
  info_t info;
  assign entry = schedule_entry_t'(entry_i);

  cmamba_ram_1w #(
      .Width($bits(info_t)),
      .Depth(MaxInstructions),
      .RamStyle("distributed")
  ) u_instructions (
      .clk_i,
      .wr_en_i  (instruction_wr_en_i),
      .wr_addr_i(instruction_wr_addr_i),
      .wr_data_i({instruction_unit_i, instruction_n_positions_i}),
      .rd_en_i  (1'b1),
      .rd_addr_i(TableWidth'(entry.instruction)),
      .rd_data_o(info)
  );

  logic [2:0] valid_q;
  logic [1:0] exists_q;
  logic [1:0][11:0] position_q;
  always_ff @(posedge clk_i) begin
    if (rst_i || clear_i) valid_q <= '0;
    else valid_q <= {valid_q[1:0], valid_i};
    exists_q <= {
      exists_q[0],
      32'(entry.instruction) < instructions_i && 16'(entry.sequence_index) < n_sequences_i
    };
    position_q <= {position_q[0], entry.position};
  end

  logic bad_q;
  always_ff @(posedge clk_i) begin
    bad_q <= !exists_q[1] || position_q[1] >= info.n_positions;

    if (rst_i || clear_i) begin
      entries_o <= '0;
      all_entries_o <= '0;
    end else begin
      for (int unsigned u = 0; u < NumUnits; u++) begin
        if (valid_q[1] && info.unit == unit_e'(u)) entries_o[u] <= entries_o[u] + 1'b1;
      end
      if (valid_i) all_entries_o <= all_entries_o + 1'b1;
    end
  end
  assign bad_o  = valid_q[2] && bad_q;
  assign busy_o = valid_i || valid_q != '0;

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  instructions_come_first :
  assert property (disable iff (!live) instruction_wr_en_i |-> !busy_o)
  else $error("schedule_check: an instruction comes while entries are checked");
`endif

endmodule

`default_nettype wire
