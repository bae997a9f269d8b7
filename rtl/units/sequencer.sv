// Runs the schedule: reads its entries in order, gives every unit its own, and starts an entry when
// its waits are met (docs/instruction_set.md, "Schedule").
//
//   schedule --> instruction --> unit's opcode? --+--> queue stream_in  --> waits met? --> start
//    memory        memory                         +--> queue array      --> waits met? --> start
//   2 cycles      2 cycles           1            +--> ...
//
// A queue holds whole instruction words, so that a unit can start an entry in the cycle in which it
// is free. A stopped queue stops the reading of the schedule for all units. That is no deadlock: the
// list can be executed in its order, so what an entry waits for has been read before it.
//
// Waits. Entry e of unit u in iteration i may start when completed[v] >= i * entries[v] + wait[v] for
// every unit v. For each pair of units
//
//   ahead[u][v] = completed[v] - i * entries[v]      i: iteration of the head of u's queue
//
// is kept by steps: +1 when v completes an entry, - entries[v] when the head of u's queue passes to
// the next iteration. Then the condition is ahead[u][v] >= wait[v]. No product, and no counter that
// grows with the run: see AheadWidth.

`default_nettype none

module sequencer #(
    // Words of the instruction memory.
    parameter int unsigned MaxInstructions = cmamba_build_pkg::MaxInstructions,
    // Words of the schedule memory.
    parameter int unsigned MaxSchedule = cmamba_build_pkg::MaxSchedule,
    // Entries that each unit's queue holds; those on their way need eight of them.
    parameter int unsigned QueueDepth = 32,
    // Bits of the counters of cycles and entries.
    parameter int unsigned CounterWidth = 48,
    localparam int unsigned NumUnits = cmamba_pkg::NumUnits,
    localparam int unsigned ScheduleWidth = $clog2(MaxSchedule),
    localparam int unsigned InstructionWidth = $clog2(MaxInstructions)
) (
    input wire logic clk_i,
    input wire logic rst_i,

    // The loader's write ports. An instruction is four beats of 128 bits, the first the lowest.
    input wire logic                        schedule_wr_en_i,
    input wire logic [ScheduleWidth-1:0]    schedule_wr_addr_i,
    input wire logic [127:0]                schedule_wr_data_i,
    input wire logic                        instruction_wr_en_i,
    input wire logic [InstructionWidth+1:0] instruction_wr_addr_i,
    input wire logic [127:0]                instruction_wr_data_i,

    // What the package says; constant during a run.
    input wire logic                      loaded_i,
    input wire logic [15:0]               iterations_i,
    input wire logic [ScheduleWidth:0]    schedule_entries_i,
    input wire logic [NumUnits-1:0][15:0] unit_entries_i,

    // A run. `start_i` is looked at while `busy_o` is low; the arguments stay until done.
    input  wire logic                 start_i,
    input  wire logic [31:0]          n_forecasts_i,
    input  wire logic                 tlast_each_i,
    // A run in which nothing completes for so many cycles ends with ErrorTimeout. Zero stands for 2^32.
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

    // The units, in the order of cmamba_pkg::unit_e.
    output logic [NumUnits-1:0]           start_valid_o,
    input  wire logic [NumUnits-1:0]      start_ready_i,
    input  wire logic [NumUnits-1:0]      done_i,
    output logic [NumUnits-1:0][11:0]     token_o,
    output logic [NumUnits-1:0][11:0]     position_o,
    output logic [NumUnits-1:0][9:0]      sequence_o,
    output cmamba_pkg::recv_instruction_t   recv_o,
    output cmamba_pkg::linear_instruction_t linear_o,
    output cmamba_pkg::conv_instruction_t   conv_o,
    output cmamba_pkg::scan_instruction_t   scan_o,
    // Three views of the vector unit's instruction; the opcode, in the same bits of all, selects one.
    output cmamba_pkg::norm_instruction_t   norm_o,
    output cmamba_pkg::pool_instruction_t   pool_o,
    output cmamba_pkg::scale_instruction_t  scale_o,
    output cmamba_pkg::send_instruction_t   send_o,
    // stream_in: the last token of the run. stream_out: the last row of a packet.
    output logic                            recv_last_o,
    output logic                            send_last_o
);

  import cmamba_pkg::*;

  // Beats of an instruction that hold more than reserved bits.
  localparam int unsigned UsedBeats = (ScanInstructionBits + 127) / 128;
  localparam int unsigned VectorBits =
      NormInstructionBits > ScaleInstructionBits ? NormInstructionBits : ScaleInstructionBits;
  localparam int unsigned UnitBits[NumUnits] = '{
      RecvInstructionBits,
      LinearInstructionBits,
      VectorBits,
      ConvInstructionBits,
      ScanInstructionBits,
      SendInstructionBits
  };
  // Entries between the decision to read on and the queues.
  localparam int unsigned OnTheWay = 8;
  // A head lies at most QueueDepth + 1 iterations before or behind another one of the same run,
  // because each entry in between takes a place in its queue; an iteration has at most MaxSchedule
  // entries. (A unit without entries never compares.)
  localparam int unsigned AheadWidth = $clog2(MaxSchedule) + $clog2(QueueDepth + 2) + 2;
  localparam int unsigned InFlightWidth = 8;

  if (UsedBeats > 4 || VectorBits < PoolInstructionBits) begin : gen_check_bits
    $fatal(1, "sequencer: instructions of %0d bits are not expected", ScanInstructionBits);
  end
  if (MaxSchedule < 2 || MaxSchedule > 65536) begin : gen_check_schedule
    $fatal(1, "sequencer: MaxSchedule is %0d, expected 2 to 65536", MaxSchedule);
  end
  if (MaxInstructions < 2 || MaxInstructions > 1024) begin : gen_check_instructions
    $fatal(1, "sequencer: MaxInstructions is %0d, expected 2 to 1024", MaxInstructions);
  end
  if (QueueDepth < 2 * OnTheWay || QueueDepth != 1 << $clog2(QueueDepth)) begin : gen_check_queue
    $fatal(1, "sequencer: QueueDepth is %0d, expected a power of two from 16", QueueDepth);
  end

  // What the reader knows about an entry before its words have come.
  typedef struct packed {
    logic run_end;       // of the run's last iteration
    logic forecast_end;  // of a forecast's last iteration
  } place_t;

  // An entry in a queue, beside its instruction.
  typedef struct packed {
    wait_count_t [NumUnits-1:0] wait_count;
    logic [9:0]                 sequence_index;
    logic [11:0]                position;
    logic [11:0]                token;
    logic                       iteration_end;   // the unit's last entry of the iteration
    place_t                     place;
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
  logic clear, running, all_read_q, all_completed, expired;
  logic [1:0] settle_q;
  assign clear   = state_q == StClear || state_q == StAbort;
  assign running = state_q == StRun;

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      state_q <= StIdle;
      error_q <= ErrorOk;
    end else begin
      unique case (state_q)
        StIdle: begin
          if (start_i) state_q <= StClear;
        end
        StClear: begin
          error_q <= n_forecasts_i == '0 ? ErrorBadMode : loaded_i ? ErrorOk : ErrorNotLoaded;
          state_q <= n_forecasts_i == '0 || !loaded_i ? StDone : StRun;
        end
        StRun: begin
          if (fault_i != ErrorOk || expired) begin
            error_q <= fault_i != ErrorOk ? fault_i : ErrorTimeout;
            state_q <= StAbort;
          end else if (all_completed) begin
            state_q <= StDone;
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

  logic read, room_q;
  logic [ScheduleWidth-1:0] entry_q;
  logic [15:0] iteration_q;
  logic [31:0] forecast_q;
  logic last_entry, last_iteration, last_forecast;
  assign read = running && !all_read_q && room_q;
  assign last_entry = (ScheduleWidth + 1)'(entry_q) == schedule_entries_i - 1'b1;
  assign last_iteration = iteration_q == iterations_i - 1'b1;
  assign last_forecast = forecast_q == n_forecasts_i - 1'b1;

  always_ff @(posedge clk_i) begin
    if (clear) begin
      entry_q <= '0;
      iteration_q <= '0;
      forecast_q <= '0;
      all_read_q <= 1'b0;
    end else if (read) begin
      entry_q <= last_entry ? '0 : entry_q + 1'b1;
      if (last_entry) iteration_q <= last_iteration ? '0 : iteration_q + 1'b1;
      if (last_entry && last_iteration) forecast_q <= forecast_q + 1'b1;
      all_read_q <= last_entry && last_iteration && last_forecast;
    end
  end

  // Two cycles to the schedule's word, two to the instruction's.
  logic [3:0] way_q;
  place_t [3:0] place_q;
  logic [ScheduleBits-1:0] schedule_word;
  schedule_entry_t entry;
  schedule_entry_t [1:0] delayed_q;
  logic [UsedBeats*128-1:0] word;
  logic unused_reserved;
  assign unused_reserved = ^word;

  always_ff @(posedge clk_i) begin
    if (rst_i || clear) way_q <= '0;
    else way_q <= {way_q[2:0], read};
    place_q <= {
      place_q[2:0],
      {last_iteration && last_forecast, last_iteration && (last_forecast || tlast_each_i)}
    };
    delayed_q <= {delayed_q[0], entry};
  end
  assign entry = schedule_entry_t'(schedule_word);

  ram_1w #(
      .Width(ScheduleBits),
      .Depth(MaxSchedule),
      .RamStyle("block")
  ) u_schedule (
      .clk_i,
      .wr_en_i  (schedule_wr_en_i),
      .wr_addr_i(schedule_wr_addr_i),
      .wr_data_i(schedule_wr_data_i),
      .rd_en_i  (1'b1),
      .rd_addr_i(entry_q),
      .rd_data_o(schedule_word)
  );

  for (genvar b = 0; b < UsedBeats; b++) begin : gen_instruction
    ram_1w #(
        .Width(128),
        .Depth(MaxInstructions),
        .RamStyle("distributed")
    ) u_memory (
        .clk_i,
        .wr_en_i  (instruction_wr_en_i && 32'(instruction_wr_addr_i[1:0]) == b),
        .wr_addr_i(instruction_wr_addr_i[InstructionWidth+1:2]),
        .wr_data_i(instruction_wr_data_i),
        .rd_en_i  (1'b1),
        .rd_addr_i(InstructionWidth'(entry.instruction)),
        .rd_data_o(word[128*b+:128])
    );
  end

  // ---------------------------------------------------------------- to the queues

  function automatic logic [NumUnits-1:0] unit_of(logic [7:0] opcode);
    case (opcode)
      OpRecv: return NumUnits'(1) << UnitStreamIn;
      OpLinear: return NumUnits'(1) << UnitArray;
      OpConv: return NumUnits'(1) << UnitConv;
      OpScan: return NumUnits'(1) << UnitScan;
      OpNorm, OpPool, OpScale: return NumUnits'(1) << UnitVector;
      OpSend: return NumUnits'(1) << UnitStreamOut;
      default: return '0;  // the loader has refused it
    endcase
  endfunction

  logic [NumUnits-1:0] unit, push_q, iteration_end;
  logic [NumUnits-1:0][15:0] pushed_q;  // entries of the iteration
  logic [ScanInstructionBits-1:0] word_q;
  item_t item_q;
  assign unit = way_q[3] ? unit_of(word[7:0]) : '0;

  for (genvar u = 0; u < NumUnits; u++) begin : gen_place
    assign iteration_end[u] = pushed_q[u] == unit_entries_i[u] - 1'b1;

    always_ff @(posedge clk_i) begin
      if (clear) pushed_q[u] <= '0;
      else if (unit[u]) pushed_q[u] <= iteration_end[u] ? '0 : pushed_q[u] + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i || clear) push_q <= '0;
    else push_q <= unit;
    word_q <= word[ScanInstructionBits-1:0];
    item_q <= '{
        wait_count: delayed_q[1].wait_count,
        sequence_index: delayed_q[1].sequence_index,
        position: delayed_q[1].position,
        token: delayed_q[1].token,
        iteration_end: |(unit & iteration_end),
        place: place_q[3]
    };
  end

  // ---------------------------------------------------------------- queues, waits, start

  logic [NumUnits-1:0] start, full, holding;
  item_t [NumUnits-1:0] head;
  logic [NumUnits-1:0][ScanInstructionBits-1:0] head_word;
  assign start = start_valid_o & start_ready_i;

  for (genvar u = 0; u < NumUnits; u++) begin : gen_unit
    localparam int unsigned Bits = UnitBits[u];
    localparam int unsigned LevelWidth = $clog2(QueueDepth + 2);

    logic valid, unused_ready;
    logic [LevelWidth-1:0] level;
    logic [Bits-1:0] instruction;

    fifo #(
        .Width($bits(item_t) + Bits),
        .Depth(QueueDepth),
        .RamStyle("distributed")
    ) u_queue (
        .clk_i,
        .rst_i  (rst_i || clear),
        .valid_i(push_q[u]),
        .ready_o(unused_ready),
        .data_i ({item_q, word_q[Bits-1:0]}),
        .valid_o(valid),
        .ready_i(start[u]),
        .data_o ({head[u], instruction}),
        .level_o(level)
    );
    assign full[u] = level >= LevelWidth'(QueueDepth - OnTheWay);
    assign head_word[u] = ScanInstructionBits'(instruction);

    // The step to the next iteration takes a cycle of its own, in which nothing starts.
    logic turn_q;
    logic [NumUnits-1:0] met;
    always_ff @(posedge clk_i) begin
      if (rst_i || clear) turn_q <= 1'b0;
      else turn_q <= start[u] && head[u].iteration_end;
    end

    for (genvar v = 0; v < NumUnits; v++) begin : gen_wait
      logic signed [AheadWidth-1:0] ahead_q;
      always_ff @(posedge clk_i) begin
        if (clear) ahead_q <= '0;
        else begin
          ahead_q <= ahead_q - (turn_q ? AheadWidth'(unit_entries_i[v]) : '0) +
              AheadWidth'(done_i[v]);
        end
      end
      assign met[v] = ahead_q >= AheadWidth'(signed'(head[u].wait_count[v]));
    end
    assign start_valid_o[u] = valid && running && !turn_q && (&met);

    assign token_o[u] = head[u].token;
    assign position_o[u] = head[u].position;
    assign sequence_o[u] = head[u].sequence_index;

    // Entries inside the unit, and the cycles in which there are any.
    logic [InFlightWidth-1:0] in_flight_q;
    logic [ CounterWidth-1:0] busy_q;
    always_ff @(posedge clk_i) begin
      if (rst_i || clear) in_flight_q <= '0;
      else in_flight_q <= in_flight_q + InFlightWidth'(start[u]) - InFlightWidth'(done_i[u]);
      if (clear && !abort_o) busy_q <= '0;
      else if (in_flight_q != '0) busy_q <= busy_q + 1'b1;
    end
    assign busy_cycles_o[u] = busy_q;
    assign holding[u] = level != '0 || in_flight_q != '0;
  end

  always_ff @(posedge clk_i) room_q <= !(|full);
  assign all_completed = all_read_q && way_q == '0 && push_q == '0 && holding == '0;

  assign recv_o = recv_instruction_t'(head_word[UnitStreamIn][RecvInstructionBits-1:0]);
  assign linear_o = linear_instruction_t'(head_word[UnitArray][LinearInstructionBits-1:0]);
  assign conv_o = conv_instruction_t'(head_word[UnitConv][ConvInstructionBits-1:0]);
  assign scan_o = scan_instruction_t'(head_word[UnitScan][ScanInstructionBits-1:0]);
  assign norm_o = norm_instruction_t'(head_word[UnitVector][NormInstructionBits-1:0]);
  assign pool_o = pool_instruction_t'(head_word[UnitVector][PoolInstructionBits-1:0]);
  assign scale_o = scale_instruction_t'(head_word[UnitVector][ScaleInstructionBits-1:0]);
  assign send_o = send_instruction_t'(head_word[UnitStreamOut][SendInstructionBits-1:0]);
  assign recv_last_o = head[UnitStreamIn].place.run_end && head[UnitStreamIn].iteration_end;
  assign send_last_o = head[UnitStreamOut].place.forecast_end && head[UnitStreamOut].iteration_end;

  // ---------------------------------------------------------------- watchdog and counters

  logic [31:0] patience_q;  // cycles until the run has come to nothing
  logic [$clog2(NumUnits+1)-1:0] completed, completed_q;
  assign expired = patience_q == '0;
  always_comb begin
    completed = '0;
    for (int unsigned u = 0; u < NumUnits; u++) completed += $bits(completed)'(done_i[u]);
  end

  always_ff @(posedge clk_i) begin
    if (!running || (|done_i)) patience_q <= watchdog_cycles_i - 1'b1;
    else patience_q <= patience_q - 1'b1;

    completed_q <= running ? completed : '0;
    if (clear && !abort_o) begin
      cycles_o  <= CounterWidth'(1);  // this one
      entries_o <= '0;
    end else begin
      if (busy_o) cycles_o <= cycles_o + 1'b1;
      entries_o <= entries_o + CounterWidth'(completed_q);
    end
  end

endmodule

`default_nettype wire
