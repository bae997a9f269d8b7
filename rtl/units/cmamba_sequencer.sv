// Runs the schedule: reads its entries in order, gives every unit its own, and starts an entry when
// its waits are met (docs/instruction_set.md, "Phases and schedule").
//
//   schedule --> instruction --> unit?  rows, --+--> queue stream_in -> head -> waits met? -> start
//    memory        memory        steps of waits +--> queue array     -> head -> waits met? -> start
//   2 cycles      2 cycles         3 cycles     +--> ...
//
// A queue holds what a unit has to know of an entry, so that the unit can start it in the cycle in
// which it is free: the fields of its instruction, and the words where the rows of its operands
// begin. A stopped queue stops the reading of the schedule for all units. That is no deadlock: the
// list can be executed in its order, so what an entry waits for has been read before it.
//
// Phases. The entries of a phase are read `repeats` times; token, position and sequence get what
// the steps have summed up to on the way. Between two phases the reading pauses for five cycles, in
// which the next one is fetched.
//
// Waits. An entry of unit u may start when completed[v] >= base[v] + wait[v] for every unit v, with
// the entries base[v] of all repeats before. For each pair of units the difference of the two
// sides, for the head of u's queue,
//
//   slack[u][v] = completed[v] - (base[v] + wait[v])
//
// is kept by steps: +1 when v completes an entry, and when u's next entry becomes the head, minus
// what that waits for beyond the one before. This step of a wait is computed once for all units, on
// the way to the queues, as the difference of two sums base[v] + wait[v] that may wrap. An entry may
// start when no slack is negative. No product, and no counter that grows with the run: see
// SlackWidth.
//
// The array reads its inputs ArrayReadDelay cycles after the start of an entry. What it waits for
// counts as completed so many cycles ahead, where the unit can tell: `done_soon_i`.

`default_nettype none

module cmamba_sequencer #(
    // Words of the instruction memory.
    parameter int unsigned MaxInstructions = cmamba_build_pkg::MaxInstructions,
    // Words of the memory of phases.
    parameter int unsigned MaxPhases = cmamba_build_pkg::MaxPhases,
    // Words of the schedule memory.
    parameter int unsigned MaxSchedule = cmamba_build_pkg::MaxSchedule,
    // Entries that an iteration executes, at most.
    parameter int unsigned MaxExecuted = 65535 * MaxSchedule,
    // Entries that each unit's queue holds; those on their way need ten of them.
    parameter int unsigned QueueDepth = 32,
    // Bits of the counters of cycles and entries.
    parameter int unsigned CounterWidth = 48,
    // Elements of a word of the activation memories.
    parameter int unsigned RowAlign = cmamba_build_pkg::RowAlign,
    localparam int unsigned NumUnits = cmamba_pkg::NumUnits,
    localparam int unsigned MaxOperands = 5,
    localparam int unsigned WordAddrBits = 20 - $clog2(RowAlign),
    localparam int unsigned PhaseWidth = $clog2(MaxPhases),
    localparam int unsigned ScheduleWidth = $clog2(MaxSchedule),
    localparam int unsigned InstructionWidth = $clog2(MaxInstructions)
) (
    input wire logic clk_i,
    input wire logic rst_i,

    // The loader's write ports. An instruction is four beats of 128 bits, a phase two, the first
    // the lowest.
    input wire logic                        phase_wr_en_i,
    input wire logic [PhaseWidth:0]         phase_wr_addr_i,
    // verilator lint_off UNUSEDSIGNAL
    // Some bits are reserved.
    input wire logic [127:0]                phase_wr_data_i,
    // verilator lint_on UNUSEDSIGNAL
    input wire logic                        schedule_wr_en_i,
    input wire logic [ScheduleWidth-1:0]    schedule_wr_addr_i,
    input wire logic [127:0]                schedule_wr_data_i,
    input wire logic                        instruction_wr_en_i,
    input wire logic [InstructionWidth+1:0] instruction_wr_addr_i,
    input wire logic [127:0]                instruction_wr_data_i,

    // What the package says; constant during a run.
    input wire logic                loaded_i,
    input wire logic [PhaseWidth:0] phases_i,
    input wire logic [15:0]         iterations_i,
    input wire logic [15:0]         n_sequences_i,
    input wire logic [15:0]         n_positions_i,

    // A run. `start_i` is looked at while `busy_o` is low; the arguments stay until done.
    input  wire logic                 start_i,
    input  wire logic [31:0]          n_forecasts_i,
    input  wire logic                 tlast_each_i,
    // A run in which nothing completes for so many cycles ends with ErrorTimeout. Zero stands for
    // 2^32.
    input  wire logic [31:0]          watchdog_cycles_i,
    output logic                      busy_o,
    output logic                      done_o,
    // Of the last run, from `done_o` on.
    output cmamba_pkg::error_e        error_o,

    // An error of a unit, other than ErrorOk for one cycle, ends the run.
    input  wire cmamba_pkg::error_e   fault_i,
    // Resets the units for a cycle, after an error.
    output logic                      abort_o,
    // Units still at work after `abort_o`; the run is not done before they are at rest.
    input  wire logic                 settling_i,

    // Counters of the last run: cycles of busy_o, entries completed.
    output logic [CounterWidth-1:0]                cycles_o,
    output logic [CounterWidth-1:0]                entries_o,
    // Cycles in which a unit had an entry.
    output logic [NumUnits-1:0][CounterWidth-1:0]  busy_cycles_o,

    // The units, in the order of cmamba_pkg::unit_e. An entry stays until it is taken. A unit
    // completes what it has taken, of which it holds less than 256 entries. Rows: the words where
    // the rows of an entry's operands begin, in the order of the operands; of POOL behind them that
    // of the maximum. The fields of an instruction that only rows are made of are zero, as are
    // opcodes that a unit knows.
    output logic [NumUnits-1:0]           start_valid_o,
    input  wire logic [NumUnits-1:0]      start_ready_i,
    input  wire logic [NumUnits-1:0]      done_i,
    // The same completions, for the array: those of array, convolution and scan ArrayReadDelay
    // cycles ahead, the others' in their cycle.
    input  wire logic [NumUnits-1:0]      done_soon_i,
    output logic [NumUnits-1:0][11:0]     token_o,
    output logic [NumUnits-1:0][11:0]     position_o,
    output logic [NumUnits-1:0][9:0]      sequence_o,
    output logic [NumUnits-1:0][MaxOperands-1:0][WordAddrBits-1:0] rows_o,
    output cmamba_pkg::recv_instruction_t   recv_o,
    output cmamba_pkg::linear_instruction_t linear_o,
    output cmamba_pkg::conv_instruction_t   conv_o,
    output cmamba_pkg::scan_instruction_t   scan_o,
    // Views of the vector unit's instruction; the opcode, in the same bits of all, selects one.
    output cmamba_pkg::norm_instruction_t          norm_o,
    output cmamba_pkg::pool_instruction_t          pool_o,
    output cmamba_pkg::scale_instruction_t         scale_o,
    output cmamba_pkg::pool_features_instruction_t pool_features_o,
    output cmamba_pkg::modulate_instruction_t      modulate_o,
    output cmamba_pkg::send_instruction_t          send_o,
    // stream_in: the last token of the run. stream_out: the last row of a packet.
    output logic                            recv_last_o,
    output logic                            send_last_o
);

  import cmamba_pkg::*;

  // Beats of an instruction that hold more than reserved bits.
  localparam int unsigned UsedBeats = (ScanInstructionBits + 127) / 128;
  localparam int unsigned VectorBits = ModulateInstructionBits;
  localparam int unsigned UnitBits[NumUnits] = '{
      RecvInstructionBits,
      LinearInstructionBits,
      VectorBits,
      ConvInstructionBits,
      ScanInstructionBits,
      SendInstructionBits
  };
  // Fields of instructions that units get, as ones.
  localparam int unsigned AlignWidth = $clog2(RowAlign);
  localparam recv_instruction_t KeptRecv = '{n: '1, default: '0};
  localparam operand_t KeptSpace = '{space: '1, default: '0};
  // The array may read from the middle of a word, in quarters.
  localparam operand_t KeptLinearSrc = '{space: '1, addr: 20'd3 << (AlignWidth - 2), default: '0};
  localparam linear_instruction_t KeptLinear = '{
      src: KeptLinearSrc,
      dst: KeptSpace,
      add: '0,
      opcode: '0,
      default: '1
  };
  // The convolution walks through rows of its own.
  localparam operand_t KeptConvSrc = '{space: '0, default: '1};
  localparam conv_instruction_t KeptConv = '{
      src: KeptConvSrc,
      dst: '0,
      n_positions: '0,
      opcode: '0,
      default: '1
  };
  localparam scan_instruction_t KeptScan = '{
      u: '0,
      z: '0,
      dt: '0,
      bc: '0,
      dst: '0,
      n_positions: '0,
      opcode: '0,
      default: '1
  };
  localparam norm_instruction_t KeptNorm = '{src: '0, dst: '0, default: '1};
  localparam scale_instruction_t KeptScale = '{src: '0, logit: '0, dst: '0, default: '1};
  localparam pool_features_instruction_t KeptPoolFeatures = '{src: '0, dst: '0, default: '1};
  localparam modulate_instruction_t KeptModulate = '{
      src: '0,
      logit: '0,
      dst: '0,
      add: '0,
      default: '1
  };
  localparam send_instruction_t KeptSend = '{n: '1, default: '0};
  localparam logic [NumUnits-1:0][ScanInstructionBits-1:0] Kept = {
    ScanInstructionBits'(KeptSend),
    ScanInstructionBits'(KeptScan),
    ScanInstructionBits'(KeptConv),
    ScanInstructionBits'(KeptNorm) | ScanInstructionBits'(KeptScale) |
        ScanInstructionBits'(KeptPoolFeatures) | ScanInstructionBits'(KeptModulate),
    ScanInstructionBits'(KeptLinear),
    ScanInstructionBits'(KeptRecv)
  };
  localparam int unsigned NumOperands[NumUnits] = '{1, 3, 4, 2, 5, 1};

  function automatic int unsigned largest_space();
    largest_space = 0;
    for (int unsigned s = 0; s < NumSpaces; s++) begin
      if (cmamba_build_pkg::SpaceElements[s] > largest_space) begin
        largest_space = cmamba_build_pkg::SpaceElements[s];
      end
    end
  endfunction
  localparam int unsigned RowWidth = $clog2(largest_space() / RowAlign);

  // Entries between the decision to read on and the queues.
  localparam int unsigned OnTheWay = 10;
  // From what an entry of a unit waits for to what its next one does, in the next iteration at the
  // latest.
  localparam int unsigned WaitWidth = $bits(wait_count_t);
  localparam int unsigned ExecutedWidth = $clog2(MaxExecuted + 1);
  localparam int unsigned StepWidth = (ExecutedWidth > WaitWidth ? ExecutedWidth : WaitWidth) + 2;
  // A head lies at most QueueDepth + 2 iterations before or behind another one, because each entry
  // in between takes a place in its queue. (A unit without entries never compares.)
  localparam int unsigned AheadWidth = ExecutedWidth + $clog2(QueueDepth + 3);
  localparam int unsigned SlackWidth = (AheadWidth > StepWidth ? AheadWidth : StepWidth) + 1;
  localparam int unsigned InFlightWidth = 8;

  if (UsedBeats > 4 || VectorBits < NormInstructionBits || VectorBits < ScaleInstructionBits ||
      VectorBits < PoolInstructionBits || VectorBits < PoolFeaturesInstructionBits)
  begin : gen_check_bits
    $fatal(1, "sequencer: instructions of %0d bits are not expected", ScanInstructionBits);
  end
  if (MaxPhases < 2 || MaxPhases > 32768) begin : gen_check_phases
    $fatal(1, "sequencer: MaxPhases is %0d, expected 2 to 32768", MaxPhases);
  end
  if (MaxSchedule < 2 || MaxSchedule > 65536) begin : gen_check_schedule
    $fatal(1, "sequencer: MaxSchedule is %0d, expected 2 to 65536", MaxSchedule);
  end
  if (MaxInstructions < 2 || MaxInstructions > 1024) begin : gen_check_instructions
    $fatal(1, "sequencer: MaxInstructions is %0d, expected 2 to 1024", MaxInstructions);
  end
  if (QueueDepth < 2 * OnTheWay || QueueDepth != 1 << $clog2(QueueDepth)) begin : gen_check_queue
    $fatal(1, "sequencer: QueueDepth is %0d, expected a power of two from 32", QueueDepth);
  end

  // What the reader knows about an entry before its words have come.
  typedef struct packed {
    logic run_end;       // of the run's last iteration
    logic forecast_end;  // of a forecast's last iteration
  } place_t;

  // An entry in a queue, beside its instruction.
  typedef struct packed {
    logic [9:0]  sequence_index;
    logic [11:0] position;
    logic [11:0] token;
    logic        last;            // with it the unit's stream ends
  } item_t;

  // ---------------------------------------------------------------- the run

  typedef enum logic [2:0] {
    StIdle,
    StClear,   // counters of the run before
    StRun,
    StAbort,
    StSettle,
    StDone
  } state_e;

  state_e state_q;
  error_e error_q;
  logic all_read_q, all_completed_q, expired_q;
  // State StRun; StClear or StAbort.
  logic running_q, clear_d, clear_q;
  // For each unit; a reset, a cycle later, too.
  logic [NumUnits-1:0] clear_unit;
  for (genvar u = 0; u < NumUnits; u++) begin : gen_clear
    (* keep = "true" *) logic clear_unit_q;
    always_ff @(posedge clk_i) clear_unit_q <= rst_i || clear_d;
    assign clear_unit[u] = clear_unit_q;
  end
  logic [1:0] settle_q;

  assign clear_d = !rst_i && ((state_q == StIdle && start_i) ||
      (state_q == StRun && (fault_i != ErrorOk || expired_q)));

  always_ff @(posedge clk_i) begin
    clear_q <= clear_d;
    if (rst_i) begin
      state_q   <= StIdle;
      running_q <= 1'b0;
      error_q   <= ErrorOk;
    end else begin
      unique case (state_q)
        StIdle: begin
          if (start_i) begin
            state_q <= StClear;
          end
        end
        StClear: begin
          error_q   <= n_forecasts_i == '0 ? ErrorBadMode : loaded_i ? ErrorOk : ErrorNotLoaded;
          state_q   <= n_forecasts_i == '0 || !loaded_i ? StDone : StRun;
          running_q <= n_forecasts_i != '0 && loaded_i;
        end
        StRun: begin
          if (fault_i != ErrorOk || expired_q) begin
            error_q   <= fault_i != ErrorOk ? fault_i : ErrorTimeout;
            state_q   <= StAbort;
            running_q <= 1'b0;
          end else if (all_completed_q) begin
            state_q   <= StDone;
            running_q <= 1'b0;
          end
        end
        StAbort:  state_q <= StSettle;
        StSettle: if (settle_q == '1 && !settling_i) state_q <= StDone;
        default:  state_q <= StIdle;
      endcase
    end
    // The units answer `abort_o` a cycle later.
    settle_q <= state_q == StSettle ? settle_q + 2'(settle_q != '1) : '0;
  end

  assign busy_o  = state_q != StIdle;
  assign done_o  = state_q == StDone;
  assign error_o = error_q;
  assign abort_o = state_q == StAbort;

  // ---------------------------------------------------------------- reading the schedule

  // The phase that is read; where it begins in the schedule.
  logic [PhaseWidth-1:0] phase_index_q;
  logic [PhaseBits-1:0] phase_word;
  phase_t phase;
  logic only_phase_q, last_phase_q;
  logic [ScheduleWidth:0] first_q;
  // The next phase is fetched: since when, and that it is known.
  logic [3:0] fetch_q;
  logic fetching_q, next_q;
  // What is read next; the last but one, of repeats -1 where there is only one; whether it is the
  // last.
  logic read, room_q;
  logic [ScheduleWidth:0] entry_q, entry_limit_q;
  logic [15:0] repeat_q, repeat_limit_q;
  logic [15:0] iteration_q, iteration_limit_q;
  logic [31:0] forecast_q, forecast_limit_q;
  logic only_entry_q, last_entry_q, last_repeat_q, last_iteration_q, last_forecast_q;
  assign read = running_q && !all_read_q && !fetching_q && room_q;

  always_ff @(posedge clk_i) begin
    // Constant during a run or a phase.
    iteration_limit_q <= iterations_i - 16'd2;
    forecast_limit_q <= n_forecasts_i - 32'd2;
    only_phase_q <= phases_i == (PhaseWidth + 1)'(1);
    last_phase_q <= {1'b0, phase_index_q} == phases_i - 1'b1;
    only_entry_q <= phase.entries == 16'd1;
    entry_limit_q <= first_q + (ScheduleWidth + 1)'(phase.entries) - (ScheduleWidth + 1)'(2);
    repeat_limit_q <= phase.repeats - 16'd2;

    if (clear_q) begin
      iteration_q <= '0;
      forecast_q <= '0;
      last_iteration_q <= iteration_limit_q == '1;
      last_forecast_q <= forecast_limit_q == '1;
      all_read_q <= 1'b0;
    end else if (read && last_entry_q && last_repeat_q && last_phase_q) begin
      iteration_q <= last_iteration_q ? '0 : iteration_q + 1'b1;
      last_iteration_q <= last_iteration_q ? iteration_limit_q == '1 :
          iteration_q == iteration_limit_q;
      if (last_iteration_q) begin
        forecast_q <= forecast_q + 1'b1;
        last_forecast_q <= forecast_q == forecast_limit_q;
        all_read_q <= last_forecast_q;
      end
    end

    if (clear_q || next_q) begin
      entry_q <= first_q;
      repeat_q <= '0;
      last_entry_q <= only_entry_q;
      last_repeat_q <= repeat_limit_q == '1;
    end else if (read) begin
      entry_q <= last_entry_q ? first_q : entry_q + 1'b1;
      last_entry_q <= last_entry_q ? only_entry_q : entry_q == entry_limit_q;
      if (last_entry_q) begin
        repeat_q <= last_repeat_q ? '0 : repeat_q + 1'b1;
        last_repeat_q <= last_repeat_q ? repeat_limit_q == '1 : repeat_q == repeat_limit_q;
      end
    end

    // A phase stays for three cycles behind the read of its last entry, which needs it so long.
    fetch_q <= {fetch_q[2:0], read && last_entry_q && last_repeat_q && !only_phase_q};
    next_q  <= fetch_q[3];
    if (rst_i || clear_q) begin
      phase_index_q <= '0;
      first_q <= '0;
      fetch_q <= '0;
      fetching_q <= 1'b0;
      next_q <= 1'b0;
    end else begin
      if (fetch_q[0]) begin
        phase_index_q <= last_phase_q ? '0 : phase_index_q + 1'b1;
        first_q <= last_phase_q ? '0 : entry_limit_q + (ScheduleWidth + 1)'(2);
      end
      if (read && last_entry_q && last_repeat_q && !only_phase_q) fetching_q <= 1'b1;
      else if (next_q) fetching_q <= 1'b0;
    end
  end

  // A phase is two beats.
  assign phase = phase_t'(phase_word);
  localparam int unsigned PhaseHighBits = PhaseBits - 128;
  cmamba_ram_1w #(
      .Width(128),
      .Depth(MaxPhases),
      .RamStyle("distributed")
  ) u_phase_low (
      .clk_i,
      .wr_en_i  (phase_wr_en_i && !phase_wr_addr_i[0]),
      .wr_addr_i(phase_wr_addr_i[PhaseWidth:1]),
      .wr_data_i(phase_wr_data_i),
      .rd_en_i  (1'b1),
      .rd_addr_i(phase_index_q),
      .rd_data_o(phase_word[127:0])
  );
  cmamba_ram_1w #(
      .Width(PhaseHighBits),
      .Depth(MaxPhases),
      .RamStyle("distributed")
  ) u_phase_high (
      .clk_i,
      .wr_en_i  (phase_wr_en_i && phase_wr_addr_i[0]),
      .wr_addr_i(phase_wr_addr_i[PhaseWidth:1]),
      .wr_data_i(phase_wr_data_i[PhaseHighBits-1:0]),
      .rd_en_i  (1'b1),
      .rd_addr_i(phase_index_q),
      .rd_data_o(phase_word[PhaseBits-1:128])
  );

  // Two cycles to the schedule's word, two to the instruction's, one more until the unit is known.
  logic [4:0] way_q;
  place_t [4:0] place_q;
  logic [ScheduleBits-1:0] schedule_word;
  schedule_entry_t entry;
  schedule_entry_t [2:0] delayed_q;
  // The entry is the last one of its repeat, of its phase; the last stage is beside delayed_q[0].
  logic [2:0] repeat_ends_q, phase_ends_q;
  // What the steps have summed up to; entries of all repeats before; what the entry waits for.
  logic [11:0] token_steps_q, position_steps_q;
  logic [9:0] sequence_steps_q;
  logic [NumUnits-1:0][StepWidth-1:0] base_q;
  logic [1:0][NumUnits-1:0][StepWidth-1:0] awaited_q;
  logic [ScanInstructionBits-1:0] word, word_q;
  unit_e unit_index_q;
  logic is_linear_q, is_conv_q, is_pool_q, is_scale_q, is_send_q, is_shared_q, is_recv_q;

  // The loader has refused all others.
  function automatic unit_e unit_of(logic [3:0] opcode);
    case (8'(opcode))
      OpRecv:   return UnitStreamIn;
      OpLinear: return UnitArray;
      OpConv:   return UnitConv;
      OpScan:   return UnitScan;
      OpSend:   return UnitStreamOut;
      default:  return UnitVector;
    endcase
  endfunction

  always_ff @(posedge clk_i) begin
    if (rst_i || clear_q) way_q <= '0;
    else way_q <= {way_q[3:0], read};
    place_q <= {
      place_q[3:0],
      {last_iteration_q && last_forecast_q, last_iteration_q && (last_forecast_q || tlast_each_i)}
    };
    // Whatever follows in the next cycle gets the new sums.
    repeat_ends_q <= {repeat_ends_q[1:0], read && last_entry_q};
    phase_ends_q <= {phase_ends_q[1:0], last_repeat_q};
    if (rst_i || clear_q) begin
      repeat_ends_q <= '0;
      token_steps_q <= '0;
      position_steps_q <= '0;
      sequence_steps_q <= '0;
      base_q <= '0;
    end else if (repeat_ends_q[2]) begin
      token_steps_q <= phase_ends_q[2] ? '0 : token_steps_q + phase.token_step;
      position_steps_q <= phase_ends_q[2] ? '0 : position_steps_q + phase.position_step;
      sequence_steps_q <= phase_ends_q[2] ? '0 : sequence_steps_q + phase.sequence_step;
      for (int unsigned v = 0; v < NumUnits; v++) begin
        base_q[v] <= base_q[v] + StepWidth'(phase.unit_entries[v]);
      end
    end
    for (int unsigned v = 0; v < NumUnits; v++) begin
      awaited_q[0][v] <= base_q[v] + StepWidth'(signed'(delayed_q[0].wait_count[v]));
    end
    awaited_q[1] <= awaited_q[0];
    // One stage of each is cleared, so that they are registers: shift registers would be LUTs.
    delayed_q[0] <= entry;
    delayed_q[1] <= '{
        token: delayed_q[0].token + token_steps_q,
        position: delayed_q[0].position + position_steps_q,
        sequence_index: delayed_q[0].sequence_index + sequence_steps_q,
        instruction: delayed_q[0].instruction,
        wait_count: delayed_q[0].wait_count
    };
    delayed_q[2] <= rst_i ? '0 : delayed_q[1];
    unit_index_q <= unit_of(word[3:0]);
    is_linear_q <= word[3:0] == OpLinear[3:0];
    is_conv_q <= word[3:0] == OpConv[3:0];
    is_pool_q <= word[3:0] == OpPool[3:0];
    is_scale_q <= word[3:0] == OpScale[3:0];
    is_send_q <= word[3:0] == OpSend[3:0];
    is_recv_q <= word[3:0] == OpRecv[3:0];
    // Operand 1 is a row that all sequences share.
    is_shared_q <= word[3:0] == OpPoolFeatures[3:0] || word[3:0] == OpModulate[3:0];
  end
  assign entry = schedule_entry_t'(schedule_word);

  cmamba_ram_1w #(
      .Width(ScheduleBits),
      .Depth(MaxSchedule),
      .RamStyle("block")
  ) u_schedule (
      .clk_i,
      .wr_en_i  (schedule_wr_en_i),
      .wr_addr_i(schedule_wr_addr_i),
      .wr_data_i(schedule_wr_data_i),
      .rd_en_i  (1'b1),
      .rd_addr_i(entry_q[ScheduleWidth-1:0]),
      .rd_data_o(schedule_word)
  );

  for (genvar b = 0; b < UsedBeats; b++) begin : gen_instruction
    localparam int unsigned Bits = b < UsedBeats - 1 ? 128 : ScanInstructionBits - 128 * b;

    (* keep = "true" *) logic clear_word_q;
    always_ff @(posedge clk_i) begin
      clear_word_q <= rst_i;
      word_q[128*b+:Bits] <= clear_word_q ? '0 : word[128*b+:Bits];
    end

    cmamba_ram_1w #(
        .Width(Bits),
        .Depth(MaxInstructions),
        .RamStyle("distributed")
    ) u_memory (
        .clk_i,
        .wr_en_i  (instruction_wr_en_i && 32'(instruction_wr_addr_i[1:0]) == b),
        .wr_addr_i(instruction_wr_addr_i[InstructionWidth+1:2]),
        .wr_data_i(instruction_wr_data_i[Bits-1:0]),
        .rd_en_i  (1'b1),
        .rd_addr_i(InstructionWidth'(entry.instruction)),
        .rd_data_o(word[128*b+:Bits])
    );
  end

  // ---------------------------------------------------------------- to the queues

  logic [NumUnits-1:0] unit, unit_q, push_q;
  logic [NumUnits-1:0] fresh_q;  // the unit's first entry of the run is to come
  logic [1:0][ScanInstructionBits-1:0] fields_q;
  item_t [1:0] item_q;
  assign unit = NumUnits'(way_q[4]) << unit_index_q;

  for (genvar u = 0; u < NumUnits; u++) begin : gen_place
    always_ff @(posedge clk_i) begin
      if (clear_unit[u]) fresh_q[u] <= 1'b1;
      else if (unit[u]) fresh_q[u] <= 1'b0;
    end
  end

  // The last RECV and the last SEND of an iteration are those that complete its number of tokens
  // and of sequences, in whatever phases they are.
  logic recv, send;
  logic [15:0] recv_position_q, position_limit_q, recv_sequence_q, send_sequence_q;
  logic [15:0] sequence_limit_q;
  logic recv_last_position_q, recv_last_sequence_q, send_last_sequence_q;
  logic recv_ends, send_ends;
  assign recv = way_q[4] && is_recv_q;
  assign send = way_q[4] && is_send_q;
  assign recv_ends = is_recv_q && recv_last_position_q && recv_last_sequence_q &&
      place_q[4].run_end;
  assign send_ends = is_send_q && send_last_sequence_q && place_q[4].forecast_end;

  always_ff @(posedge clk_i) begin
    // Constant during a run.
    position_limit_q <= n_positions_i - 16'd2;
    sequence_limit_q <= n_sequences_i - 16'd2;
    if (clear_q) begin
      recv_position_q <= '0;
      recv_sequence_q <= '0;
      send_sequence_q <= '0;
      recv_last_position_q <= position_limit_q == '1;
      recv_last_sequence_q <= sequence_limit_q == '1;
      send_last_sequence_q <= sequence_limit_q == '1;
    end else begin
      if (recv) begin
        recv_position_q <= recv_last_position_q ? '0 : recv_position_q + 1'b1;
        recv_last_position_q <= recv_last_position_q ? position_limit_q == '1 :
            recv_position_q == position_limit_q;
        if (recv_last_position_q) begin
          recv_sequence_q <= recv_last_sequence_q ? '0 : recv_sequence_q + 1'b1;
          recv_last_sequence_q <= recv_last_sequence_q ? sequence_limit_q == '1 :
              recv_sequence_q == sequence_limit_q;
        end
      end
      if (send) begin
        send_sequence_q <= send_last_sequence_q ? '0 : send_sequence_q + 1'b1;
        send_last_sequence_q <= send_last_sequence_q ? sequence_limit_q == '1 :
            send_sequence_q == sequence_limit_q;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i || clear_q) begin
      unit_q <= '0;
      push_q <= '0;
    end else begin
      unit_q <= unit;
      push_q <= unit_q;
    end
    fields_q <= {fields_q[0], word_q};
    item_q[0] <= '{
        sequence_index: delayed_q[2].sequence_index,
        position: delayed_q[2].position,
        token: delayed_q[2].token,
        last: recv_ends || send_ends
    };
    item_q[1] <= item_q[0];
  end

  // Rows. The operands of all instructions lie in the same places, one behind the other.
  // verilator lint_off UNUSEDSIGNAL
  scan_instruction_t as_scan;
  linear_instruction_t as_linear;
  conv_instruction_t as_conv;
  // verilator lint_on UNUSEDSIGNAL
  operand_t [MaxOperands-1:0] operand;
  logic [MaxOperands-1:0][11:0] index;
  logic [MaxOperands-1:0][RowWidth-1:0] row;
  logic [11:0] token, position, sequence_index;
  assign as_scan = scan_instruction_t'(word_q);
  assign as_linear = linear_instruction_t'(word_q[LinearInstructionBits-1:0]);
  assign as_conv = conv_instruction_t'(word_q[ConvInstructionBits-1:0]);
  assign token = delayed_q[2].token;
  assign position = delayed_q[2].position;
  assign sequence_index = 12'(delayed_q[2].sequence_index);

  always_comb begin
    operand = {as_scan.dst, as_scan.bc, as_scan.dt, as_scan.z, as_scan.u};
    index   = {MaxOperands{token}};
    if (is_linear_q && as_linear.reduce || is_scale_q) index[1] = sequence_index;
    if (is_shared_q) index[1] = position;
    if (is_linear_q && as_linear.add_position) index[2] = position;
    if (is_conv_q) index[0] = token - 12'(as_conv.kernel) + 12'd1;
    if (is_send_q) index[0] = sequence_index;
    if (is_pool_q) begin
      index[1]   = sequence_index << 1;
      operand[2] = operand[1];
      index[2]   = sequence_index << 1 | 12'd1;
    end
  end

  for (genvar k = 0; k < MaxOperands; k++) begin : gen_row
    cmamba_row_address #(
        .RowAlign (RowAlign),
        .AddrWidth(RowWidth)
    ) u_row (
        .clk_i,
        .operand_i(operand[k]),
        .index_i  (index[k]),
        .word_o   (row[k])
    );
  end

  // Steps of waits: what an entry waits for beyond the one of its unit before, negated.
  typedef logic signed [StepWidth-1:0] step_t;
  (* ram_style = "distributed" *)
  logic [NumUnits*StepWidth-1:0] waits[8];  // of each unit's last entry
  logic [NumUnits-1:0][StepWidth-1:0] wait_before_q, wait_now_q;
  step_t [NumUnits-1:0] step_q;

  always_ff @(posedge clk_i) begin
    wait_before_q <= fresh_q[unit_index_q] ? '0 : waits[unit_index_q];
    wait_now_q <= awaited_q[1];
    for (int unsigned v = 0; v < NumUnits; v++) begin
      step_q[v] <= wait_before_q[v] - wait_now_q[v];
    end
    if (way_q[4]) waits[unit_index_q] <= awaited_q[1];
  end

  // ---------------------------------------------------------------- queues, waits, start

  logic [NumUnits-1:0] start, full, holding;
  item_t [NumUnits-1:0] head_q;
  logic [NumUnits-1:0][ScanInstructionBits-1:0] head_word_q;
  assign start = start_valid_o & start_ready_i;

  for (genvar u = 0; u < NumUnits; u++) begin : gen_unit
    localparam int unsigned Bits = UnitBits[u];
    localparam int unsigned Operands = NumOperands[u];
    localparam int unsigned LevelWidth = $clog2(QueueDepth + 2);

    logic next_valid, head_valid_q, load, has_room;
    logic [LevelWidth-1:0] level;
    item_t next_item;
    step_t [NumUnits-1:0] next_step;
    logic [Bits-1:0] next_word;
    logic [Operands-1:0][RowWidth-1:0] next_row, head_row_q;

    cmamba_fifo #(
        .Width($bits(item_t) + NumUnits * StepWidth + Operands * RowWidth + Bits),
        .Depth(QueueDepth),
        .RamStyle("distributed")
    ) u_queue (
        .clk_i,
        .rst_i  (clear_unit[u]),
        .valid_i(push_q[u]),
        .ready_o(has_room),
        .data_i ({item_q[1], step_q, row[Operands-1:0], fields_q[1][Bits-1:0] & Kept[u][Bits-1:0]}),
        .valid_o(next_valid),
        .ready_i(!head_valid_q),
        .data_o ({next_item, next_step, next_row, next_word}),
        .level_o(level)
    );
    assign full[u] = level >= LevelWidth'(QueueDepth - OnTheWay);

    // A cycle after a start there is no head, so that the way from a unit's readiness ends here.
    assign load = !head_valid_q && next_valid;
    always_ff @(posedge clk_i) begin
      if (rst_i || clear_unit[u] || start[u]) head_valid_q <= 1'b0;
      else if (load) head_valid_q <= 1'b1;
      if (load) begin
        head_q[u] <= next_item;
        head_word_q[u] <= ScanInstructionBits'(next_word);
        head_row_q <= next_row;
      end
    end

    logic [NumUnits-1:0] short;  // of completed entries
    for (genvar v = 0; v < NumUnits; v++) begin : gen_wait
      logic [SlackWidth-1:0] slack_q, slack_d;
      logic completes, unused_carry;
      assign completes = u == UnitArray ? done_soon_i[v] : done_i[v];
      // The completion is the carry input.
      assign {slack_d, unused_carry} = {slack_q, 1'b1} +
          {load ? SlackWidth'(signed'(next_step[v])) : '0, completes};
      always_ff @(posedge clk_i) begin
        if (clear_unit[u]) slack_q <= '0;
        else slack_q <= slack_d;
      end
      assign short[v] = slack_q[SlackWidth-1];
    end
    assign start_valid_o[u] = head_valid_q && short == '0;

    assign token_o[u] = head_q[u].token;
    assign position_o[u] = head_q[u].position;
    assign sequence_o[u] = head_q[u].sequence_index;
    for (genvar k = 0; k < MaxOperands; k++) begin : gen_row
      if (k < Operands) begin : gen_used
        assign rows_o[u][k] = WordAddrBits'(head_row_q[k]);
      end else begin : gen_unused
        assign rows_o[u][k] = '0;
      end
    end

    // Entries inside the unit, and the cycles in which there are any.
    logic [InFlightWidth-1:0] in_flight_q;
    logic [ CounterWidth-1:0] busy_q;
    always_ff @(posedge clk_i) begin
      if (clear_unit[u]) in_flight_q <= '0;
      else in_flight_q <= in_flight_q + InFlightWidth'(start[u]) - InFlightWidth'(done_i[u]);
      if (clear_unit[u] && !abort_o) busy_q <= '0;
      else if (in_flight_q != '0) busy_q <= busy_q + 1'b1;
    end
    assign busy_cycles_o[u] = busy_q;
    assign holding[u] = level != '0 || head_valid_q || in_flight_q != '0;
  end

  always_ff @(posedge clk_i) begin
    room_q <= !(|full);
    // Once it is so it stays.
    all_completed_q <= !clear_q && all_read_q && way_q == '0 && unit_q == '0 && push_q == '0 &&
        holding == '0;
  end

  assign recv_o = recv_instruction_t'(head_word_q[UnitStreamIn][RecvInstructionBits-1:0]);
  assign linear_o = linear_instruction_t'(head_word_q[UnitArray][LinearInstructionBits-1:0]);
  assign conv_o = conv_instruction_t'(head_word_q[UnitConv][ConvInstructionBits-1:0]);
  assign scan_o = scan_instruction_t'(head_word_q[UnitScan][ScanInstructionBits-1:0]);
  assign norm_o = norm_instruction_t'(head_word_q[UnitVector][NormInstructionBits-1:0]);
  assign pool_o = pool_instruction_t'(head_word_q[UnitVector][PoolInstructionBits-1:0]);
  assign scale_o = scale_instruction_t'(head_word_q[UnitVector][ScaleInstructionBits-1:0]);
  assign pool_features_o = pool_features_instruction_t'(
      head_word_q[UnitVector][PoolFeaturesInstructionBits-1:0]
  );
  assign modulate_o = modulate_instruction_t'(head_word_q[UnitVector][ModulateInstructionBits-1:0]);
  assign send_o = send_instruction_t'(head_word_q[UnitStreamOut][SendInstructionBits-1:0]);
  assign recv_last_o = head_q[UnitStreamIn].last;
  assign send_last_o = head_q[UnitStreamOut].last;

  // ---------------------------------------------------------------- watchdog and counters

  logic [31:0] patience_q;  // cycles until the run has come to nothing
  logic [$clog2(NumUnits+1)-1:0] completed, completed_q;
  always_comb begin
    completed = '0;
    for (int unsigned u = 0; u < NumUnits; u++) completed += $bits(completed)'(done_i[u]);
  end

  always_ff @(posedge clk_i) begin
    if (!running_q || (|done_i)) patience_q <= watchdog_cycles_i - 1'b1;
    else patience_q <= patience_q - 1'b1;
    expired_q   <= running_q && patience_q == '0 && !(|done_i);

    completed_q <= running_q ? completed : '0;
    if (clear_q && !abort_o) begin
      cycles_o  <= CounterWidth'(1);  // this one
      entries_o <= '0;
    end else begin
      if (busy_o) cycles_o <= cycles_o + 1'b1;
      entries_o <= entries_o + CounterWidth'(completed_q);
    end
  end

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  // Completions that are due, by what has been announced.
  localparam int unsigned Delay = cmamba_cells_pkg::ArrayReadDelay;
  logic [NumUnits-1:0] announced;
  for (genvar u = 0; u < NumUnits; u++) begin : gen_announced
    if (u == UnitArray || u == UnitConv || u == UnitScan) begin : gen_ahead
      logic [Delay-1:0] soon_q;
      always_ff @(posedge clk_i) soon_q <= clear_unit[u] ? '0 : Delay'({soon_q, done_soon_i[u]});
      assign announced[u] = soon_q[Delay-1];
    end else begin : gen_now
      assign announced[u] = done_soon_i[u];
    end
  end

  arguments_stay :
  assert property (disable iff (!live) busy_o |-> $stable(
      {
        loaded_i,
        phases_i,
        iterations_i,
        n_sequences_i,
        n_positions_i,
        n_forecasts_i,
        tlast_each_i,
        watchdog_cycles_i
      }
  ))
  else $error("sequencer: the arguments changed before done_o");

  run_is_complete :
  assert property (disable iff (!live) running_q && all_completed_q |->
      way_q == '0 && push_q == '0 && holding == '0)
  else $error("sequencer: the run ends before its entries");

  // In the tokens and sequences of an iteration.
  streams_are_whole :
  assert property (disable iff (!live) done_o && error_o == ErrorOk |->
      {recv_position_q, recv_sequence_q, send_sequence_q} == '0)
  else $error("sequencer: a run ends within an iteration's RECVs or SENDs");

  phase_is_known :
  assert property (disable iff (!live) next_q || state_q == StClear && loaded_i |->
      only_entry_q == (phase.entries == 16'd1) && repeat_limit_q == phase.repeats - 16'd2 &&
      entry_limit_q == first_q + (ScheduleWidth + 1)'(phase.entries) - (ScheduleWidth + 1)'(2))
  else $error("sequencer: a phase begins before it is known");

  phase_stays :
  assert property (disable iff (!live) read || way_q[2:0] != '0 |-> $stable(phase))
  else $error("sequencer: the phase changed under its entries");

  for (genvar u = 0; u < NumUnits; u++) begin : gen_contracts
    entry_stays :
    assert property (disable iff (!live || clear_unit[u])
        start_valid_o[u] && !start_ready_i[u] |=>
        $stable(
        {start_valid_o[u], token_o[u], position_o[u], sequence_o[u], rows_o[u], head_word_q[u]}
    ))
    else $error("sequencer: the entry of unit %0d went or changed before it was taken", u);

    queue_has_room :
    assert property (disable iff (!live || clear_unit[u]) push_q[u] |-> gen_unit[u].has_room)
    else $error("sequencer: an entry for unit %0d, whose queue is full", u);

    done_is_expected :
    assert property (disable iff (!live) running_q && done_i[u] |-> gen_unit[u].in_flight_q != '0)
    else $error("sequencer: unit %0d completes an entry that it has not begun", u);

    done_is_announced :
    assert property (disable iff (!live) running_q && done_i[u] |-> announced[u])
    else $error("sequencer: unit %0d completes an entry that it has not announced", u);

    announced_is_done :
    assert property (disable iff (!live) running_q && announced[u] |-> done_i[u])
    else $error("sequencer: unit %0d has announced a completion that does not come", u);

    entries_fit :
    assert property (disable iff (!live) start[u] && !done_i[u] |-> gen_unit[u].in_flight_q != '1)
    else $error("sequencer: unit %0d has begun more entries than can be counted", u);

    for (genvar v = 0; v < NumUnits; v++) begin : gen_wait
      slack_fits :
      assert property (disable iff (!live || clear_unit[u])
          (SlackWidth + 1)'(signed'(gen_unit[u].gen_wait[v].slack_d)) ==
          (SlackWidth + 1)'(signed'(gen_unit[u].gen_wait[v].slack_q)) +
          (gen_unit[u].load ? (SlackWidth + 1)'(signed'(gen_unit[u].next_step[v])) : '0) +
          (SlackWidth + 1)'(gen_unit[u].gen_wait[v].completes))
      else $error("sequencer: what unit %0d waits for of unit %0d does not fit", u, v);
    end
  end
`endif

endmodule

`default_nettype wire
