// SCAN: one token of the selective scan, Lanes (channel, state) pairs a cycle.
//
// A step takes one row of the decay and state memories, or, where channels have fewer than 16
// states, the part of a row that holds `Slots` channels: every channel of a step costs two table
// look-ups. Lane l always works on element l of the row, so that nothing has to be moved between
// lanes; `region` says which lanes count.
//
//   64 lanes, 4 slots   16 states: | slot 3 | slot 2 | slot 1 | slot 0 |   a row a step
//                        8 states: | 3 | 2 | 1 | 0 | 3 | 2 | 1 | 0 |       two regions, two steps
//                       32 states: | slot 1 or 3     | slot 0 or 2     |   a row a step
//
// A channel with more states than lanes takes several steps (`part`). Everything that a step needs
// later goes along with it in step_q, one register a cycle, so that tokens of different
// instructions follow each other without a gap.
//
//   stage  0   read u, z, dt
//          3   a byte of each for every slot; look up softplus
//          5   delta -----> lanes 6   delta * rate -> t (9) -> decay(t) (13) ---+
//          7   delta * w -> lanes 11  delta * w * b -> shifted ----------------+
//          10  read state ------------------------------------------> h (13) --+--> h (16), written
//          16  h * c (18) -> adder tree of log2(Lanes) + 1 cycles -> sum
//          Sum skip, y_shift, gate, requantize -> write (Write)
//
// The skip weight is that of the channel's parameter word, or with skip_enable one of the token's,
// a byte of the row of B and C: read ReadSkip -> byte (Skip - 1) -> less its zero point (Skip).
//
// The addresses state_addr and decay_addr are multiples of Lanes, param_addr of Slots.

`default_nettype none

module cmamba_scan
  import cmamba_pkg::*;
  import cmamba_cells_pkg::*;
#(
    // (channel, state) pairs a cycle, a power of two from 16.
    parameter int unsigned Lanes = cmamba_build_pkg::ScanLanes,
    // Elements of a word of the activation memories: Lanes.
    parameter int unsigned RowAlign = cmamba_build_pkg::RowAlign,
    // Elements of the memories that are read and written.
    parameter int unsigned ConvElements = cmamba_build_pkg::ConvElements,
    parameter int unsigned GateElements = cmamba_build_pkg::GateElements,
    parameter int unsigned StepElements = cmamba_build_pkg::StepElements,
    parameter int unsigned ProjElements = cmamba_build_pkg::ProjElements,
    parameter int unsigned ScanElements = cmamba_build_pkg::ScanElements,
    // Decay rates, parameter words and tables of the loaded package, states.
    parameter int unsigned MaxScanDecay = cmamba_build_pkg::MaxScanDecay,
    parameter int unsigned MaxScanParams = cmamba_build_pkg::MaxScanParams,
    parameter int unsigned MaxScanTables = cmamba_build_pkg::MaxScanTables,
    parameter int unsigned MaxState = cmamba_build_pkg::MaxState,
    // Channels that a step begins.
    localparam int unsigned Slots = Lanes / 16,
    localparam int unsigned ConvAddrWidth = $clog2(ConvElements / RowAlign),
    localparam int unsigned GateAddrWidth = $clog2(GateElements / RowAlign),
    localparam int unsigned StepAddrWidth = $clog2(StepElements / RowAlign),
    localparam int unsigned ProjAddrWidth = $clog2(ProjElements / RowAlign),
    localparam int unsigned ScanAddrWidth = $clog2(ScanElements / RowAlign),
    localparam int unsigned DecayAddrWidth = $clog2(MaxScanDecay / Lanes),
    localparam int unsigned ParamAddrWidth = $clog2(MaxScanParams / Slots),
    localparam int unsigned TableWidth = $clog2(MaxScanTables)
) (
    input wire logic clk_i,
    input wire logic rst_i,

    input  wire logic              start_valid_i,
    output logic                   start_ready_o,
    input  wire scan_instruction_t instruction_i,
    input  wire logic [11:0]       position_i,
    // Where the rows begin.
    input  wire logic [ConvAddrWidth-1:0] u_word_i,
    input  wire logic [GateAddrWidth-1:0] z_word_i,
    input  wire logic [StepAddrWidth-1:0] dt_word_i,
    input  wire logic [ProjAddrWidth-1:0] bc_word_i,
    input  wire logic [ScanAddrWidth-1:0] dst_word_i,
    output logic                   done_o,
    output logic                   done_soon_o,  // ArrayReadDelay cycles before

    // Activation memories: data two cycles after the address.
    output logic                         conv_rd_en_o,
    output logic [ConvAddrWidth-1:0]     conv_rd_addr_o,
    input  wire logic [RowAlign-1:0][7:0] conv_rd_data_i,
    output logic                         gate_rd_en_o,
    output logic [GateAddrWidth-1:0]     gate_rd_addr_o,
    input  wire logic [RowAlign-1:0][7:0] gate_rd_data_i,
    output logic                         step_rd_en_o,
    output logic [StepAddrWidth-1:0]     step_rd_addr_o,
    input  wire logic [RowAlign-1:0][7:0] step_rd_data_i,
    output logic                         proj_rd_en_o,
    output logic [ProjAddrWidth-1:0]     proj_rd_addr_o,
    input  wire logic [RowAlign-1:0][7:0] proj_rd_data_i,
    // A second port of proj, for skip weights.
    output logic                         skip_rd_en_o,
    output logic [ProjAddrWidth-1:0]     skip_rd_addr_o,
    input  wire logic [RowAlign-1:0][7:0] skip_rd_data_i,
    output logic                         scan_wr_en_o,
    output logic [ScanAddrWidth-1:0]     scan_wr_addr_o,
    output logic [RowAlign-1:0]          scan_wr_mask_o,
    output logic [RowAlign-1:0][7:0]     scan_wr_data_o,

    // Parameter memories: data two cycles after the address.
    output logic                           decay_rd_en_o,
    output logic [DecayAddrWidth-1:0]      decay_rd_addr_o,
    input  wire logic [Lanes-1:0][15:0]    decay_rd_data_i,
    output logic                           param_rd_en_o,
    output logic [ParamAddrWidth-1:0]      param_rd_addr_o,
    input  wire param_word_t [Slots-1:0]   param_rd_data_i,
    // Tables: entries two cycles after table and argument.
    output logic [TableWidth-1:0]          softplus_table_o,
    output logic [Slots-1:0][7:0]          softplus_argument_o,
    input  wire logic [Slots-1:0][15:0]    softplus_entry_i,
    output logic [TableWidth-1:0]          silu_table_o,
    output logic [Slots-1:0][7:0]          silu_argument_o,
    input  wire logic [Slots-1:0][15:0]    silu_entry_i
);

  localparam int unsigned Levels = $clog2(Lanes);
  localparam int unsigned SlotBits = $clog2(Slots);
  localparam int unsigned SlotWidth = Slots > 1 ? SlotBits : 1;
  localparam int unsigned SumWidth = 32 + Levels;
  localparam int unsigned StateAddrWidth = $clog2(MaxState / Lanes);
  // Parts of the longest channel, 64 states.
  localparam int unsigned MaxParts = Lanes < 64 ? 64 / Lanes : 1;
  localparam int unsigned PartWidth = MaxParts > 1 ? $clog2(MaxParts) : 1;
  // Of Slots bytes in a row word.
  localparam int unsigned Groups = RowAlign / Slots;
  localparam int unsigned ChannelWidth = $clog2(RowAlign);

  if (Lanes < 16 || Lanes != 1 << Levels) begin : gen_check_lanes
    $fatal(1, "scan: Lanes is %0d, expected a power of two from 16", Lanes);
  end
  if (RowAlign != Lanes) begin : gen_check_align
    $fatal(1, "scan: RowAlign is %0d, expected Lanes, %0d", RowAlign, Lanes);
  end
  if (MaxState < 2 * Lanes || MaxState % Lanes != 0) begin : gen_check_state
    $fatal(1, "scan: MaxState is %0d, expected two or more rows of %0d", MaxState, Lanes);
  end

  // Stages, see the drawing. A read port is driven in its stage; its data come two stages later.
  localparam int unsigned StageBytes = 3;
  localparam int unsigned StageDelta = StageBytes + 2;
  localparam int unsigned StageLane = StageDelta + 1;
  localparam int unsigned StageExponent = StageLane + 3;
  localparam int unsigned StageUpdate = StageExponent + DecayLatency;
  localparam int unsigned StageDrive = StageUpdate - 2;
  localparam int unsigned StageState = StageUpdate + 3;
  localparam int unsigned StageProduct = StageState + 2;
  localparam int unsigned StageSum = StageProduct + Levels + 1;
  localparam int unsigned StageSkip = StageSum - 4;
  localparam int unsigned StageReadSkip = StageSkip - 4;
  localparam int unsigned StageY = StageSum + 3;
  localparam int unsigned StageSilu = StageY - 2;
  localparam int unsigned StageGated = StageY + 2;
  localparam int unsigned StageWrite = StageGated + RequantizerLatency;
  localparam int unsigned StageSoon = StageWrite - ArrayReadDelay;
  // B and C of an entry are read through one port, in these stages of its first steps.
  localparam int unsigned StageReadB = StageDrive - 7;
  localparam int unsigned StageReadC = StageState - 6;

  // What goes with a step. Fields that no later stage uses cost nothing.
  typedef struct packed {
    logic                      head;             // brings B and C of its entry
    logic                      last;             // of its entry
    logic                      first_part;
    logic                      last_part;
    logic                      restart;          // position 0: the state before is zero
    logic [PartWidth-1:0]      part;
    logic [3:0]                sixteenth;        // of the row, the first one
    logic [Slots-1:0]          slot_valid;       // whose channels get a result
    logic [ChannelWidth-1:0]   channel;          // first one, in the row word
    logic [DecayAddrWidth-1:0] decay_row;
    logic [StateAddrWidth-1:0] state_row;
    logic [ParamAddrWidth-1:0] param_row;
    logic [ScanAddrWidth-1:0]  dst_word;
    logic [ProjAddrWidth-1:0]  bc_word;
    logic [ProjAddrWidth-1:0]  skip_word;
    logic                      skip_enable;
    logic signed [7:0]         skip_zero_point;
    logic [TableWidth-1:0]     softplus_table;
    logic [TableWidth-1:0]     silu_table;
    logic signed [7:0]         u_zero_point;
    logic [2:0]                log2_state;
    logic [3:0]                exp_fine;         // exp_shift is 11 * exp_coarse - exp_fine
    logic [1:0]                exp_coarse;
    logic [3:0]                b_shift;          // 16 - state_shift is b_shift + 8 * shift_8
    logic                      shift_8;
    logic [4:0]                skip_shift;
    logic [5:0]                y_shift;
  } step_t;

  // ---------------------------------------------------------------- entries

  logic [ConvAddrWidth-1:0] u_word_q;
  logic [GateAddrWidth-1:0] z_word_q;
  logic [StepAddrWidth-1:0] dt_word_q;

  logic unused_fields;
  assign unused_fields = ^instruction_i;

  // The step that is issued. step holds what is known a cycle before: what is the same for the
  // whole entry, and where the step is.
  logic busy_q;
  step_t step, issue;
  logic [15:0] remaining_q;  // channels, those of this step as well
  logic ends_q;  // no more than those of this step
  logic [SlotBits:0] channels_q;  // channels of a step
  logic [PartWidth-1:0] last_part_q;
  logic [4:0] advance_q;  // sixteenths of a row that a step takes
  logic [3:0] sixteenth_q;
  logic [3:0] gap_q;
  logic gap_over_q;

  logic start;
  assign start_ready_o = (!busy_q || issue.last) && gap_over_q;
  assign start = start_valid_i && start_ready_o;

  // Slot of the step's first channel.
  logic [SlotBits:0] first_slot;
  assign first_slot = (SlotBits + 1)'(step.channel) & (SlotBits + 1)'(Slots - 1);

  logic [SlotBits:0] place;
  always_comb begin
    issue = step;
    place = '0;
    issue.first_part = step.part == '0;
    issue.last_part = MaxParts == 1 || step.part == last_part_q;
    issue.last = issue.last_part && ends_q;
    issue.sixteenth = sixteenth_q;
    for (int unsigned s = 0; s < Slots; s++) begin
      // Its channel's place among the step's. A slot before the first one is at a high place.
      place = (SlotBits + 1)'(s) - first_slot;
      issue.slot_valid[s] = issue.last_part && place < channels_q &&
          (!ends_q || place < (SlotBits + 1)'(remaining_q));
    end
  end

  // Where the next step is.
  logic [4:0] next_sixteenth;
  logic [ChannelWidth:0] next_channel;
  logic [SlotBits:0] next_slot;
  assign next_sixteenth = 5'(sixteenth_q) + advance_q;
  assign next_channel = (ChannelWidth + 1)'(step.channel) + (ChannelWidth + 1)'(channels_q);
  assign next_slot = first_slot + channels_q;

  // Channels of more than 16 states take 2^wide slots' lanes; those that are left over make parts.
  logic [2:0] wide, slots_wide, log2_parts, log2_channels;
  logic [SlotBits:0] first_channels;
  assign wide = instruction_i.log2_state > 3'd4 ? instruction_i.log2_state - 3'd4 : '0;
  assign slots_wide = wide > 3'(SlotBits) ? 3'(SlotBits) : wide;
  assign log2_parts = wide - slots_wide;
  assign log2_channels = 3'(SlotBits) - slots_wide;
  assign first_channels = (SlotBits + 1)'(1) << log2_channels;

  // exp_shift as a left shift of delta by 0 to 10, and a right shift of the product in steps of 11.
  logic [1:0] exp_coarse;
  always_comb begin
    exp_coarse = 2'd0;
    for (int unsigned i = 0; i < 3; i++) begin
      if (instruction_i.exp_shift > 5'(11 * i)) exp_coarse = 2'(i + 1);
    end
  end

  logic [4:0] drive_shift;
  assign drive_shift = 5'd16 - instruction_i.state_shift;

  always_ff @(posedge clk_i) begin
    if (start) begin
      step <= '{
          head: 1'b1,
          restart: position_i == '0,
          decay_row: DecayAddrWidth'(instruction_i.decay_addr >> Levels),
          state_row: StateAddrWidth'(instruction_i.state_addr >> Levels),
          param_row: ParamAddrWidth'(instruction_i.param_addr >> SlotBits),
          dst_word: dst_word_i,
          bc_word: bc_word_i,
          skip_word: bc_word_i + ProjAddrWidth'(instruction_i.skip_offset >> $clog2(RowAlign)),
          skip_enable: instruction_i.skip_enable,
          skip_zero_point: instruction_i.skip_zero_point,
          softplus_table: TableWidth'(instruction_i.softplus_table),
          silu_table: TableWidth'(instruction_i.silu_table),
          u_zero_point: instruction_i.u_zero_point,
          log2_state: instruction_i.log2_state,
          exp_fine: 4'(6'd11 * 6'(exp_coarse) - 6'(instruction_i.exp_shift)),
          exp_coarse: exp_coarse,
          b_shift: drive_shift > 5'd8 ? 4'(drive_shift - 5'd8) : 4'(drive_shift),
          shift_8: drive_shift > 5'd8,
          skip_shift: instruction_i.skip_shift,
          y_shift: instruction_i.y_shift,
          default: '0
      };
      u_word_q <= u_word_i;
      z_word_q <= z_word_i;
      dt_word_q <= dt_word_i;
      remaining_q <= instruction_i.n;
      ends_q <= instruction_i.n <= 16'(first_channels);
      channels_q <= first_channels;
      last_part_q <= PartWidth'((32'd1 << log2_parts) - 32'd1);
      advance_q <= instruction_i.log2_state > 3'd4 ? 5'd16 : 5'd1 << instruction_i.log2_state;
      sixteenth_q <= '0;
    end else begin
      sixteenth_q <= next_sixteenth[3:0];
      if (next_sixteenth[4]) begin
        step.decay_row <= step.decay_row + 1'b1;
        step.state_row <= step.state_row + 1'b1;
      end
      step.part <= issue.last_part ? '0 : step.part + 1'b1;
      if (issue.last_part) begin
        step.head <= 1'b0;
        step.channel <= next_channel[ChannelWidth-1:0];
        remaining_q <= remaining_q - 16'(channels_q);
        ends_q <= remaining_q <= {15'(channels_q), 1'b0};
        if (next_slot[SlotBits]) step.param_row <= step.param_row + 1'b1;
        if (next_channel[ChannelWidth]) begin
          step.dst_word <= step.dst_word + 1'b1;
          step.skip_word <= step.skip_word + 1'b1;
          u_word_q <= u_word_q + 1'b1;
          z_word_q <= z_word_q + 1'b1;
          dt_word_q <= dt_word_q + 1'b1;
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      busy_q <= 1'b0;
      gap_q <= '0;
      gap_over_q <= 1'b1;
    end else begin
      if (start) busy_q <= 1'b1;
      else if (issue.last) busy_q <= 1'b0;
      // The next entry reads its B behind this one's C.
      if (start) gap_q <= 4'(StageReadC - StageReadB - 1) + (4'd1 << log2_parts);
      else if (!gap_over_q) gap_q <= gap_q - 1'b1;
      gap_over_q <= !start && gap_q <= 4'd1;
    end
  end

  // step_q[s] is the step in stage s.
  step_t step_q[StageWrite+1];
  logic [StageWrite:0] valid_q;
  always_comb step_q[0] = issue;
  assign valid_q[0] = busy_q;
  for (genvar s = 1; s <= StageWrite; s++) begin : gen_stage
    always_ff @(posedge clk_i) step_q[s] <= step_q[s-1];
  end
  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q[StageWrite:1] <= '0;
    else valid_q[StageWrite:1] <= valid_q[StageWrite-1:0];
  end

  function automatic logic [SlotWidth-1:0] slot_of(
      int unsigned lane, logic [ChannelWidth-1:0] channel, logic [2:0] log2_state);
    return SlotWidth'((int'(channel) + (lane >> log2_state)) % Slots);
  endfunction

  // ---------------------------------------------------------------- what a slot reads

  assign conv_rd_en_o   = busy_q;
  assign conv_rd_addr_o = u_word_q;
  assign gate_rd_en_o   = busy_q;
  assign gate_rd_addr_o = z_word_q;
  assign step_rd_en_o   = busy_q;
  assign step_rd_addr_o = dt_word_q;

  // Slots bytes of a row word.
  typedef logic [Slots-1:0][7:0] bytes_t;
  function automatic bytes_t take(logic [RowAlign-1:0][7:0] word, logic [3:0] group);
    bytes_t [Groups-1:0] groups;
    groups = word;
    return groups[group];
  endfunction
  function automatic logic [3:0] group_of(logic [ChannelWidth-1:0] channel);
    return 4'(channel >> SlotBits);
  endfunction

  bytes_t u_q, dt_q;
  bytes_t z_q[StageBytes:StageSilu];
  always_ff @(posedge clk_i) begin
    u_q <= take(conv_rd_data_i, group_of(step_q[StageBytes-1].channel));
    dt_q <= take(step_rd_data_i, group_of(step_q[StageBytes-1].channel));
    z_q[StageBytes] <= take(gate_rd_data_i, group_of(step_q[StageBytes-1].channel));
    for (int unsigned s = StageBytes + 1; s <= StageSilu; s++) z_q[s] <= z_q[s-1];
  end

  assign softplus_table_o = step_q[StageBytes].softplus_table;
  assign softplus_argument_o = dt_q;
  assign silu_table_o = step_q[StageSilu].silu_table;
  assign silu_argument_o = z_q[StageSilu];

  // delta * w. w is used again with the skip weight.
  logic signed [8:0] w_q[StageBytes+1:StageSkip][Slots];
  logic signed [25:0] delta_w_q[StageDelta+1:StageDrive-1][Slots];
  for (genvar i = 0; i < Slots; i++) begin : gen_slot
    always_ff @(posedge clk_i) begin
      w_q[StageBytes+1][i] <= 9'($signed(u_q[i])) - 9'(step_q[StageBytes].u_zero_point);
      delta_w_q[StageDelta+1][i] <= $signed({1'b0, softplus_entry_i[i]}) * w_q[StageDelta][i];
    end
    for (genvar s = StageBytes + 2; s <= StageSkip; s++) begin : gen_w
      always_ff @(posedge clk_i) w_q[s][i] <= w_q[s-1][i];
    end
    for (genvar s = StageDelta + 2; s < StageDrive; s++) begin : gen_delta_w
      always_ff @(posedge clk_i) delta_w_q[s][i] <= delta_w_q[s-1][i];
    end
  end

  // ---------------------------------------------------------------- lanes

  assign decay_rd_en_o   = valid_q[StageLane-3];
  assign decay_rd_addr_o = step_q[StageLane-3].decay_row;

  // The exponent: delta shifted for all lanes of a slot, and the half that rounds.
  logic [Slots-1:0][25:0] shifted_delta;
  logic [3:1] exp_half_q;
  for (genvar i = 0; i < Slots; i++) begin : gen_delta
    assign shifted_delta[i] = 26'(softplus_entry_i[i]) << step_q[StageDelta].exp_fine;
  end
  always_ff @(posedge clk_i) begin
    for (int unsigned i = 1; i <= 3; i++) begin
      exp_half_q[i] <= step_q[StageLane].exp_coarse == 2'(i);
    end
  end

  // B and C of every lane. A word holds both where a channel has less states than there are lanes.
  logic b_read, c_read;
  assign b_read = valid_q[StageReadB] && step_q[StageReadB].head;
  assign c_read = valid_q[StageReadC] && step_q[StageReadC].head;
  assign proj_rd_en_o = b_read || c_read;
  logic [ProjAddrWidth-1:0] b_word, c_word;
  assign b_word = step_q[StageReadB].bc_word + ProjAddrWidth'(step_q[StageReadB].part);
  // C lies behind the words of B.
  assign c_word = step_q[StageReadC].bc_word + ProjAddrWidth'(step_q[StageReadC].part) +
      ProjAddrWidth'((8'd1 << step_q[StageReadC].log2_state) >> Levels);
  assign proj_rd_addr_o = c_read ? c_word : b_word;

  logic is_c;
  logic [Lanes-1:0][7:0] operand;
  assign is_c = valid_q[StageReadC+1] && step_q[StageReadC+1].head;
  cmamba_scan_operand #(
      .Lanes(Lanes)
  ) u_operand (
      .clk_i,
      .log2_state_i(is_c ? step_q[StageReadC+1].log2_state : step_q[StageReadB+1].log2_state),
      .is_c_i(is_c),
      .row_i(proj_rd_data_i),
      .lane_o(operand)
  );

  logic [Lanes-1:0][15:0] b_shifted, b_row;
  logic [Lanes-1:0][7:0] c_row;
  // What all lanes read is there for every few of them: when B and C are written, how far B is
  // shifted, and so on. (With `head` it is no end of a shift register, which is slower.)
  localparam int unsigned GroupLanes = Lanes < 8 ? Lanes : 8;
  for (genvar g = 0; g < Lanes / GroupLanes; g++) begin : gen_group
    localparam int unsigned First = g * GroupLanes;
    (* keep = "true" *) logic b_write_q;
    (* keep = "true" *) logic c_write_q;
    (* keep = "true" *) logic [1:0] b_coarse_q;  // fours
    (* keep = "true" *) logic [1:0] exp_coarse_q;
    (* keep = "true" *) logic restart_q;
    always_ff @(posedge clk_i) begin
      b_write_q <= valid_q[StageDrive-2] && step_q[StageDrive-2].head;
      b_coarse_q <= step_q[StageDrive-2].b_shift[3:2] & {2{step_q[StageDrive-2].head}};
      c_write_q <= valid_q[StageState-2] && step_q[StageState-2].head;
      exp_coarse_q <= step_q[StageLane+1].exp_coarse;
      restart_q <= step_q[StageUpdate-2].restart;
    end

    logic [GroupLanes-1:0][15:0] b_q[MaxParts];
    logic [GroupLanes-1:0][ 7:0] c_q[MaxParts];
    always_ff @(posedge clk_i) begin
      if (b_write_q) b_q[step_q[StageDrive-1].part] <= b_shifted[First+:GroupLanes];
      if (c_write_q) c_q[step_q[StageState-1].part] <= operand[First+:GroupLanes];
    end
    assign b_row[First+:GroupLanes] = b_q[step_q[StageDrive].part];
    assign c_row[First+:GroupLanes] = c_q[step_q[StageState].part];
  end

  logic [Lanes-1:0][10:0] b_fine_q;  // shifted by 0 to 3
  for (genvar l = 0; l < Lanes; l++) begin : gen_coefficient
    always_ff @(posedge clk_i) begin
      b_fine_q[l] <= 11'($signed(operand[l])) <<< step_q[StageDrive-2].b_shift[1:0];
    end
    assign b_shifted[l] = 16'($signed(b_fine_q[l])) <<< {gen_group[l/GroupLanes].b_coarse_q, 2'b0};
  end

  // Of the parts of a row that hold `Slots` channels, the one of a step.
  function automatic logic [3:0] region_of(logic [3:0] sixteenth, logic [2:0] log2_state);
    return log2_state >= 3'd4 ? '0 : sixteenth >> log2_state;
  endfunction

  // States. A row belongs to one instruction: the lanes behind its last channel may be written as
  // well.
  logic [Lanes-1:0] state_mask_q;
  logic [Lanes-1:0][2:0] state_mask;
  logic [Lanes-1:0][23:0] state_rd_data, state_wr_data;
  for (genvar l = 0; l < Lanes; l++) begin : gen_state_mask
    always_ff @(posedge clk_i) begin
      state_mask_q[l] <= (4'(l >> SlotBits) >> step_q[StageState-1].log2_state) ==
          region_of(step_q[StageState-1].sixteenth, step_q[StageState-1].log2_state);
    end
    assign state_mask[l] = {3{state_mask_q[l]}};
  end
  // Three mask bits of a byte for every state, as block RAM has them.
  cmamba_ram_1w #(
      .Width(24 * Lanes),
      .Depth(MaxState / Lanes),
      .MaskedWidth(8),
      .RamStyle("distributed")
  ) u_state (
      .clk_i,
      .wr_en_i  (valid_q[StageState]),
      .wr_addr_i(step_q[StageState].state_row),
      .wr_mask_i(state_mask),
      .wr_data_i(state_wr_data),
      .rd_en_i  (valid_q[StageUpdate-3]),
      .rd_addr_i(step_q[StageUpdate-3].state_row),
      .rd_data_o(state_rd_data)
  );

  logic [Lanes-1:0][16:0] exponent, kept;
  cmamba_decay #(
      .Lanes(Lanes),
      .Width(17)
  ) u_decay (
      .clk_i,
      .t_i(exponent),
      .decay_o(kept)
  );

  logic signed [31:0] product[Lanes];
  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    // The slot of the lane's channel.
    logic [SlotWidth-1:0] delta_slot_q, drive_slot_q;
    logic [25:0] delta_q;
    logic [15:0] rate_q;
    logic signed [25:0] lane_delta_w_q;
    logic signed [23:0] h_q, h;
    logic signed [15:0] b;
    logic signed [ 7:0] c;
    always_ff @(posedge clk_i) begin
      delta_slot_q <= slot_of(l, step_q[StageDelta-1].channel, step_q[StageDelta-1].log2_state);
      drive_slot_q <= slot_of(l, step_q[StageDrive-2].channel, step_q[StageDrive-2].log2_state);
      delta_q <= shifted_delta[delta_slot_q];
      rate_q <= decay_rd_data_i[l];
      lane_delta_w_q <= delta_w_q[StageDrive-1][drive_slot_q];
      h_q <= gen_group[l/GroupLanes].restart_q ? '0 : state_rd_data[l];
    end
    cmamba_scan_exponent #(
        .Width(17)
    ) u_exponent (
        .clk_i,
        .delta_i (delta_q),
        .rate_i  (rate_q),
        .half_i  (exp_half_q),
        .coarse_i(gen_group[l/GroupLanes].exp_coarse_q),
        .t_o     (exponent[l])
    );
    assign b = b_row[l];
    assign c = c_row[l];
    cmamba_scan_update u_update (
        .clk_i,
        .delta_w_i(lane_delta_w_q),
        .b_i      (b),
        .shift_8_i(step_q[StageDrive+1].shift_8),
        .decay_i  (kept[l]),
        .h_i      (h_q),
        .h_o      (h),
        .c_i      (c),
        .product_o(product[l])
    );
    assign state_wr_data[l] = h;
  end

  // ---------------------------------------------------------------- output

  // From a register of its own: the adder tree reads it more than a hundred times.
  logic [3:0] region_q;
  always_ff @(posedge clk_i)
    region_q <= region_of(
        step_q[StageProduct-1].sixteenth, step_q[StageProduct-1].log2_state
    );

  logic signed [SumWidth-1:0] sum[Slots];
  cmamba_scan_sum #(
      .Lanes(Lanes),
      .Slots(Slots)
  ) u_sum (
      .clk_i,
      .product_i(product),
      .log2_state_i(step_q[StageProduct].log2_state),
      .region_i(region_q),
      .sum_o(sum)
  );

  assign param_rd_en_o   = valid_q[StageSkip-3];
  assign param_rd_addr_o = step_q[StageSkip-3].param_row;

  // Constants of the output shift: half of 2^y_shift, 2^y_shift - 1.
  logic [39:0] y_half_q, y_mask_q;
  always_ff @(posedge clk_i) begin
    y_half_q <= 40'((41'd1 << step_q[StageSum-2].y_shift) >> 1);
    y_mask_q <= ~(40'hFF_FFFF_FFFF << step_q[StageSum].y_shift);
  end

  param_word_t [Slots-1:0] param_q[StageSkip:StageGated];
  always_ff @(posedge clk_i) begin
    param_q[StageSkip] <= param_rd_data_i;
    for (int unsigned s = StageSkip + 1; s <= StageGated; s++) param_q[s] <= param_q[s-1];
  end

  assign skip_rd_en_o   = valid_q[StageReadSkip] && step_q[StageReadSkip].skip_enable;
  assign skip_rd_addr_o = step_q[StageReadSkip].skip_word;

  bytes_t skip_byte_q;
  logic signed [17:0] skip_weight_q[Slots];
  always_ff @(posedge clk_i) begin
    skip_byte_q <= take(skip_rd_data_i, group_of(step_q[StageSkip-2].channel));
    for (int unsigned i = 0; i < Slots; i++) begin
      skip_weight_q[i] <= step_q[StageSkip-1].skip_enable ? 18'($signed(skip_byte_q[i])) -
          18'(step_q[StageSkip-1].skip_zero_point) : param_rd_data_i[i].bias[17:0];
    end
  end

  logic [Slots-1:0][31:0] gated;
  for (genvar i = 0; i < Slots; i++) begin : gen_output
    cmamba_scan_output #(
        .SumWidth(SumWidth)
    ) u_output (
        .clk_i,
        .skip_weight_i(skip_weight_q[i]),
        .w_i(w_q[StageSkip][i]),
        .skip_shift_i(step_q[StageSkip+2].skip_shift),
        .half_i(y_half_q),
        .first_part_i(step_q[StageSum].first_part),
        .sum_i(sum[i]),
        .shift_i(step_q[StageSum+1].y_shift),
        .mask_i(y_mask_q),
        .gate_i(silu_entry_i[i]),
        .y_o(gated[i])
    );
  end

  logic [Slots-1:0][15:0] result;
  logic unused_valid, unused_tag;
  cmamba_requantizer #(
      .Lanes(Slots)
  ) u_requantizer (
      .clk_i,
      .rst_i,
      .valid_i(valid_q[StageGated]),
      .tag_i(1'b0),
      .acc_i(gated),
      .param_i(param_q[StageGated]),
      .addend_i('0),
      .wide_i(1'b0),
      .relu_i(1'b0),
      .valid_o(unused_valid),
      .tag_o(unused_tag),
      .data_o(result)
  );

  assign scan_wr_en_o   = valid_q[StageWrite] && step_q[StageWrite].last_part;
  assign scan_wr_addr_o = step_q[StageWrite].dst_word;
  for (genvar e = 0; e < RowAlign; e++) begin : gen_element
    assign scan_wr_mask_o[e] = step_q[StageWrite].slot_valid[e%Slots] && group_of(
        step_q[StageWrite].channel
    ) == 4'(e / Slots);
    assign scan_wr_data_o[e] = result[e%Slots][7:0];
  end
  assign done_o = valid_q[StageWrite] && step_q[StageWrite].last;
  assign done_soon_o = valid_q[StageSoon] && step_q[StageSoon].last;

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  entry_is_legal :
  assert property (disable iff (!live) start |->
      instruction_i.n != '0 && 32'(instruction_i.log2_state) <= LimitLog2State &&
      32'(instruction_i.state_addr) % Lanes == 0 && 32'(instruction_i.decay_addr) % Lanes == 0 &&
      32'(instruction_i.param_addr) % Slots == 0)
  else $error("scan: an entry without channels, of too many states, or of a wrong address");

  one_read :
  assert property (disable iff (!live) !(b_read && c_read))
  else $error("scan: B and C are read in one cycle");

  // A state is read that another step has not written yet.
  logic state_missing;
  always_comb begin
    state_missing = 1'b0;
    for (int unsigned s = StageUpdate - 2; s <= StageState; s++) begin
      if (valid_q[StageUpdate-3] && !step_q[StageUpdate-3].restart && valid_q[s] &&
          step_q[s].state_row == step_q[StageUpdate-3].state_row &&
          step_q[s].sixteenth == step_q[StageUpdate-3].sixteenth) begin
        state_missing = 1'b1;
      end
    end
  end

  state_is_written :
  assert property (disable iff (!live) !state_missing)
  else $error("scan: a state is read before the position before has written it");
`endif

endmodule

`default_nettype wire
