// Checks the entries of a schedule, one a cycle, against their phases: where they are in the last
// repeat, and how many each unit has. Of an instruction it keeps the unit and the number of
// positions; of the phases, which come before the entries, a queue.
//
//   entry --> memory of instructions (2 cycles) --> compare, count --> bad_o
//     |                                               ^
//   phase: where it ends, what the repeats add -------+-- entries of each unit

`default_nettype none

module cmamba_schedule_check
  import cmamba_pkg::*;
#(
    // Instructions of a program, a power of two.
    parameter int unsigned MaxInstructions = cmamba_build_pkg::MaxInstructions,
    // Phases of a program, a power of two.
    parameter int unsigned MaxPhases = cmamba_build_pkg::MaxPhases,
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

    // The phases, before the entries: an entry comes two cycles behind the last one, or later.
    input wire logic        phase_wr_en_i,
    input wire logic [15:0] phase_entries_i,  // at least one
    // What the last repeat adds to the first one.
    input wire logic [11:0] phase_positions_i,
    input wire logic [9:0]  phase_sequences_i,
    input wire logic [NumUnits-1:0][15:0] phase_unit_entries_i,

    // What the package says.
    input wire logic [31:0] instructions_i,
    input wire logic [15:0] n_sequences_i,

    input wire logic                    valid_i,
    input wire logic [ScheduleBits-1:0] entry_i,

    // Entries on their way to the result, or in this cycle.
    output logic busy_o,
    // An entry names an instruction, position or sequence that does not exist, or is in no phase; a
    // phase has other numbers of entries.
    output logic bad_o,
    // The last entry was the last one of the last phase.
    output logic complete_o,
    output logic [EntriesWidth-1:0] entries_o
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

  // The phase of the entry.
  typedef struct packed {
    logic [15:0] last;       // entry, of its entries
    logic [11:0] positions;
    logic [9:0]  sequences;
  } phase_part_t;
  localparam int unsigned LevelWidth = $clog2(MaxPhases + 2);

  logic phase_valid, has_room, count_has_room, ends;
  phase_part_t phase;
  logic [LevelWidth-1:0] phases, unused_level;
  logic [15:0] index_q;  // of the entry in its phase
  assign ends = index_q == phase.last;

  cmamba_fifo #(
      .Width($bits(phase_part_t)),
      .Depth(MaxPhases),
      .RamStyle("distributed")
  ) u_phases (
      .clk_i,
      .rst_i  (rst_i || clear_i),
      .valid_i(phase_wr_en_i),
      .ready_o(has_room),
      .data_i ({phase_entries_i - 1'b1, phase_positions_i, phase_sequences_i}),
      .valid_o(phase_valid),
      .ready_i(valid_i && ends),
      .data_o (phase),
      .level_o(phases)
  );
  assign complete_o = phases == '0 && index_q == '0;

  logic [3:0] valid_q;
  logic [2:0] ends_q;
  logic [1:0] begins_q, exists_q;
  logic [1:0][12:0] position_q;
  logic [10:0] sequence_q;
  always_ff @(posedge clk_i) begin
    if (rst_i || clear_i) valid_q <= '0;
    else valid_q <= {valid_q[2:0], valid_i};
    ends_q <= {ends_q[1:0], ends};
    begins_q <= {begins_q[0], index_q == '0};
    // A sequence has ten bits, also in the last repeat.
    sequence_q <= 11'(entry.sequence_index) + 11'(phase.sequences);
    exists_q <= {
      exists_q[0] && !sequence_q[10] && 16'(sequence_q) < n_sequences_i,
      phase_valid && 32'(entry.instruction) < instructions_i
    };
    position_q <= {position_q[0], 13'(entry.position) + 13'(phase.positions)};

    if (rst_i || clear_i) begin
      entries_o <= '0;
      index_q   <= '0;
    end else if (valid_i) begin
      entries_o <= entries_o + 1'b1;
      index_q   <= ends ? '0 : index_q + 1'b1;
    end
  end

  // Entries of each unit, in the phase so far, and as it says.
  logic [NumUnits-1:0][EntriesWidth-1:0] count_q;
  logic [NumUnits-1:0][15:0] unit_entries;
  logic [NumUnits-1:0] differs;
  logic unused_valid;
  for (genvar u = 0; u < NumUnits; u++) begin : gen_count
    always_ff @(posedge clk_i) begin
      if (valid_q[1]) begin
        count_q[u] <= (begins_q[1] ? '0 : count_q[u]) + EntriesWidth'(info.unit == unit_e'(u));
      end
    end
    assign differs[u] = 16'(count_q[u]) != unit_entries[u];
  end

  cmamba_fifo #(
      .Width(16 * NumUnits),
      .Depth(MaxPhases),
      .RamStyle("distributed")
  ) u_unit_entries (
      .clk_i,
      .rst_i  (rst_i || clear_i),
      .valid_i(phase_wr_en_i),
      .ready_o(count_has_room),
      .data_i (phase_unit_entries_i),
      .valid_o(unused_valid),
      .ready_i(valid_q[2] && ends_q[2]),
      .data_o (unit_entries),
      .level_o(unused_level)
  );

  logic bad_q, differs_q;
  always_ff @(posedge clk_i) begin
    bad_q <= !exists_q[1] || position_q[1] >= 13'(info.n_positions);
    differs_q <= ends_q[2] && differs != '0;
  end
  assign bad_o  = valid_q[2] && bad_q || valid_q[3] && differs_q;
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

  phases_come_first :
  assert property (disable iff (!live) phase_wr_en_i |-> !busy_o)
  else $error("schedule_check: a phase comes while entries are checked");

  phase_has_room :
  assert property (disable iff (!live) phase_wr_en_i |-> has_room && count_has_room)
  else $error("schedule_check: a phase comes, and %0d are here", phases);

  phase_is_known :
  assert property (disable iff (!live) valid_i |-> phase_valid || phases == '0)
  else $error("schedule_check: an entry comes right behind its phase");
`endif

endmodule

`default_nettype wire
