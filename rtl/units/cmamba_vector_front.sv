// Front of the vector unit: takes an entry, does what has to be done before its results, and hands
// it on to the back.
//
//   NORM             beats that are squared and summed        the back waits for the root
//   POOL             beats that are added to POOL's sums
//   SCALE            nothing
//   POOL_FEATURES    beats of which sum and maximum count     the back waits for both
//   MODULATE         look-ups of scale and shift              the back waits for both
//
// An entry is handed on with its last beat or look-up, in order. It begins only
//   - while fewer than MaxWaiting entries are handed on for which the back waits;
//   - if a POOL, when the sums of the sequence before have been read, and those of the position
//     before are written.

`default_nettype none

module cmamba_vector_front
  import cmamba_pkg::*;
  import cmamba_vector_pkg::*;
(
    input wire logic clk_i,
    input wire logic rst_i,

    input  wire logic                                   start_valid_i,
    output logic                                        start_ready_o,
    // Views of the same bits; the opcode selects one.
    input  wire cmamba_pkg::norm_instruction_t          norm_i,
    input  wire cmamba_pkg::pool_instruction_t          pool_i,
    input  wire cmamba_pkg::scale_instruction_t         scale_i,
    input  wire cmamba_pkg::pool_features_instruction_t pool_features_i,
    input  wire cmamba_pkg::modulate_instruction_t      modulate_i,
    input  wire logic [11:0]                            position_i,
    input  wire logic [9:0]                             sequence_i,
    input  wire logic [3:0][WordWidth-1:0]              row_words_i,

    // A beat goes into the pipeline, only in a cycle in which the back has none.
    input  wire logic   back_idle_i,
    output logic        beat_valid_o,
    output front_beat_t beat_o,
    // A beat of POOL has been issued in one of the last two cycles.
    input  wire logic   pool_busy_i,

    // A look-up of MODULATE, only in a cycle in which SCALE has none. That is known a cycle ahead.
    input  wire logic scale_looks_up_i,
    input  wire logic scale_soon_i,
    output logic      lookup_valid_o,
    output lookup_t   lookup_o,

    // Entries for the back. It has taken one for which it had to wait; it has read POOL's sums.
    output logic      context_valid_o,
    input  wire logic context_ready_i,
    output context_t  context_o,
    input  wire logic waited_i,
    input  wire logic pool_read_i
);

  localparam int unsigned ContextDepth = 4;

  // ---------------------------------------------------------------- decoding

  logic is_norm, is_pool, is_pool_features, is_modulate;
  // Of NORM, POOL and POOL_FEATURES many fields lie in the same places.
  logic is_like_norm;
  logic [15:0] n;
  // Four bits tell the opcodes of this unit apart. Each is one LUT then: n and what follows from it
  // come after.
  assign is_norm = norm_i.opcode[3:0] == OpNorm[3:0];
  assign is_pool = norm_i.opcode[3:0] == OpPool[3:0];
  assign is_pool_features = norm_i.opcode[3:0] == OpPoolFeatures[3:0];
  assign is_modulate = norm_i.opcode[3:0] == OpModulate[3:0];
  assign is_like_norm = is_norm || is_pool || is_pool_features;
  assign n = is_like_norm ? norm_i.n : is_modulate ? modulate_i.n : scale_i.n;

  way_e way;
  logic [WordWidth-1:0] second_row;
  always_comb begin
    way = WayNone;
    if (is_norm) way = WayRoot;
    if (is_pool_features) way = WayScalars;
    if (is_modulate) way = WayFactors;
    if (is_modulate) second_row = row_words_i[3];
    else second_row = is_pool_features ? row_words_i[1] : row_words_i[2];
  end

  logic [ElementWidth-1:0] columns;
  assign columns = ElementWidth'(is_modulate ? modulate_i.columns : pool_features_i.columns);

  context_t offered;
  assign offered = '{
          is_norm: is_norm,
          is_pool: is_pool,
          is_pool_features: is_pool_features,
          is_modulate: is_modulate,
          way: way,
          passes: is_pool && position_i != pool_i.n_positions - 1'b1,
          wide: is_norm ? norm_i.wide : is_modulate ? modulate_i.wide : !is_like_norm,
          one_beat: n <= 16'(Lanes),
          beats: (FeatureWidth + 1)'((17'(n) + 17'(Lanes - 1)) >> LaneWidth),
          last_lane: n[LaneWidth-1:0] - 1'b1,
          src_word: ResidWidth'(row_words_i[0]),
          logit_word: LogitWidth'(row_words_i[1]),
          dst_word: DstWidth'(is_like_norm ? row_words_i[1] : row_words_i[2]),
          second_word: DstWidth'(second_row),
          param_addr: ParamWidth'(is_modulate ? modulate_i.param_addr : norm_i.param_addr),
          table_index: TableWidth'(is_modulate ? modulate_i.scale_table : scale_i.table_index),
          elements: {columns + ElementWidth'(sequence_i), ElementWidth'(sequence_i)}
      };

  logic unused;
  assign unused = ^{norm_i, pool_i, scale_i, pool_features_i, modulate_i, row_words_i, n};

  // ---------------------------------------------------------------- what it does in a cycle

  // The entry in the front reads, looks up, or is only handed on.
  logic valid_q, reads_q, looks_up_q;
  logic ready_q;  // is only handed on, or looks up for the last time and the table is free
  // At its beginning: what it may have to wait for, and that it has to.
  logic awaited_q, awaited_d, pools_q, pools_d, held_q, held_d;
  logic position_first_q;  // in the sequence
  logic issue, look_up, finish;
  context_t context_q;
  logic [31:0] eps_q;
  logic [TableWidth-1:0] shift_table_q;
  logic [FeatureWidth-1:0] feature_q;
  logic [FeatureWidth:0] left_q;
  logic row_first_q;
  logic last_beat_q;  // only where it reads: the next beat is the last of the row

  logic context_room_q;
  logic pool_waits_q, pool_waits_d;  // a POOL with a result has not been read by the back yet
  // Entries handed on, of which something is on its way, that the back has not begun.
  logic [1:0] waiting_q, waiting_d;
  assign issue = reads_q && !held_q && back_idle_i && (context_room_q || !last_beat_q);
  assign look_up = looks_up_q && !held_q && !scale_looks_up_i && (context_room_q || row_first_q);
  assign finish = context_room_q && (ready_q || (last_beat_q && !held_q && back_idle_i));
  assign start_ready_o = !valid_q || finish;

  assign waiting_d = waiting_q + 2'(finish && context_q.way != WayNone) - 2'(waited_i);
  always_comb begin
    pool_waits_d = pool_waits_q;
    if (finish && context_q.is_pool && !context_q.passes) pool_waits_d = 1'b1;
    else if (pool_read_i) pool_waits_d = 1'b0;
  end

  // Much depends on what the front does in a cycle: what holds it up is found out the cycle before.
  // A row that has begun goes on. A sum of POOL may be read for the next position four cycles after
  // it was read for this one: when no beat of POOL has been issued now or in the last two cycles.
  always_comb begin
    awaited_d = awaited_q;
    pools_d   = pools_q;
    if (start_ready_o) begin
      awaited_d = way != WayNone;
      pools_d   = is_pool;
    end else if (issue || look_up) begin
      awaited_d = 1'b0;
      pools_d   = 1'b0;
    end
    held_d = (awaited_d && waiting_d == 2'(MaxWaiting)) ||
        (pools_d && (pool_waits_d || pool_busy_i || (issue && context_q.is_pool)));
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      valid_q <= 1'b0;
      reads_q <= 1'b0;
      looks_up_q <= 1'b0;
      ready_q <= 1'b0;
      last_beat_q <= 1'b0;
      waiting_q <= '0;
      pool_waits_q <= 1'b0;
    end else begin
      if (start_ready_o) begin
        valid_q <= start_valid_i;
        reads_q <= start_valid_i && is_like_norm;
        looks_up_q <= start_valid_i && is_modulate;
        ready_q <= start_valid_i && !is_like_norm && !is_modulate;
        // Of what is like a NORM n lies in one place: no choice comes before the comparison.
        last_beat_q <= start_valid_i && is_like_norm && norm_i.n <= 16'(Lanes);
      end else begin
        if (looks_up_q) ready_q <= (look_up || !row_first_q) && !scale_soon_i;
        if (issue) last_beat_q <= left_q == (FeatureWidth + 1)'(2);
      end
      waiting_q <= waiting_d;
      pool_waits_q <= pool_waits_d;
    end

    awaited_q <= awaited_d;
    pools_q <= pools_d;
    held_q <= held_d;

    // What is offered, also where it does not start: many bits, which need not know start_valid_i.
    if (start_ready_o) begin
      context_q <= offered;
      shift_table_q <= TableWidth'(modulate_i.shift_table);
      left_q <= offered.beats;
      position_first_q <= position_i == '0;
      feature_q <= '0;
      row_first_q <= 1'b1;
      eps_q <= norm_i.eps;
    end else if (issue || look_up) begin
      left_q <= left_q - 1'b1;
      feature_q <= feature_q + 1'b1;
      row_first_q <= 1'b0;
    end
  end

  // ---------------------------------------------------------------- beats and look-ups

  assign beat_valid_o = issue;
  always_comb begin
    if (context_q.is_norm) beat_o.kind = BeatSquare;
    else beat_o.kind = context_q.is_pool ? BeatPool : BeatReduce;
    beat_o.first = context_q.is_pool ? position_first_q : row_first_q;
    beat_o.last = last_beat_q;
    beat_o.eps = eps_q;
    beat_o.word = context_q.src_word + ResidWidth'(feature_q >> SlotWidth);
    beat_o.feature = feature_q;
    beat_o.last_lane = last_beat_q ? context_q.last_lane : '1;
  end

  logic [ElementWidth-1:0] element;
  logic [BeatWidth-1:0] element_beat;
  assign element = context_q.elements[!row_first_q];
  assign element_beat = beat_of(element);
  assign lookup_valid_o = look_up;
  assign lookup_o = '{
          logit_word: context_q.logit_word + LogitWidth'(element_beat >> SlotWidth),
          table_index: row_first_q ? context_q.table_index : shift_table_q,
          slot: element_beat[SlotWidth-1:0],
          lane: element[LaneWidth-1:0],
          is_shift: !row_first_q
      };

  // ---------------------------------------------------------------- entries for the back

  logic [2:0] context_level;
  logic has_room_for_context;

  cmamba_fifo #(
      .Width($bits(context_t)),
      .Depth(ContextDepth),
      .RamStyle("distributed")
  ) u_contexts (
      .clk_i,
      .rst_i,
      .valid_i(finish),
      .ready_o(has_room_for_context),
      .data_i (context_q),
      .valid_o(context_valid_o),
      .ready_i(context_ready_i),
      .data_o (context_o),
      .level_o(context_level)
  );
  // One may be on its way, and the level counts a word beside the memory.
  always_ff @(posedge clk_i) context_room_q <= context_level < 3'(ContextDepth);

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
  assert property (disable iff (!live) start_valid_i && start_ready_o |->
      n != '0 && (is_like_norm || is_modulate || norm_i.opcode[3:0] == OpScale[3:0]))
  else $error("vector_front: an entry without elements, or of another unit");

  waiting_fits :
  assert property (disable iff (!live) finish && context_q.way != WayNone && !waited_i |->
      32'(waiting_q) < MaxWaiting)
  else $error("vector_front: the back waits for more than %0d entries", MaxWaiting);

  wait_is_known :
  assert property (disable iff (!live) waited_i |-> waiting_q != '0)
  else $error("vector_front: the back has waited for an entry that it was not given");

  pool_is_read :
  assert property (disable iff (!live) pool_read_i |-> pool_waits_q)
  else $error("vector_front: sums of POOL have been read that were not handed on");

  context_has_room :
  assert property (disable iff (!live) finish |-> has_room_for_context)
  else $error("vector_front: an entry for the back, whose queue is full");
`endif

endmodule

`default_nettype wire
