// NORM, POOL, SCALE, POOL_FEATURES and MODULATE, `Lanes` elements a cycle. Three parts hold
// different entries at a time:
//
//                    front                  on the way             back
//   NORM             sum of squares    -->  reciprocal_sqrt   -->  x * r, requantize, write
//   POOL             add to the sums   ------------------------->  at the last position: requantize
//                                                                  and write mean, then maximum
//   SCALE            ------------------------------------------->  x * table[logit], write
//   POOL_FEATURES    read the row      -->  sum, maximum      -->  requantize, write both elements
//   MODULATE         two look-ups      -->  scale, shift      -->  x * scale + shift + addend,
//                                                                  requantize, write
//
// The front hands every entry on to the back, in order, through the queue of contexts. A POOL that
// is not the last of its sequence only passes the back, as a beat that writes nothing: entries
// complete in order.
//
// Front and back share the read port of `resid`, one pipeline and its multipliers, because one read
// a cycle is all that either could use; the back goes first. Stages, counted from the issue of a
// beat:
//
//    1   address of resid          | 3  address of logit | 2  address of the sums (front)
//    3   word of resid             | 5  word of logit    | 4  sums
//    4   elements                  | 6  logits           | 5  new sums, address of sums (back)
//    5   operands of the multiplier: x * x, or (x << k) * (r << j)      5  address of parameters
//    7   product                   | 7  sums             | 7  words of parameters
//    8   split for rounding        | 8  tree of lanes ...| 8  rotated parameters, table
//    9   requantizer ---> queue ---> write               | 9  parameters
//
// A beat of MODULATE's back is two reads: the addend, which waits beside the multiplier with the
// shift added to it, then x. Logits of MODULATE are looked up in cycles in which no SCALE does.
//
// The scaling of NORM, v = rne(x * r * 64, 15 + e), needs no shifter behind the multiplier. With k
// = max(-e, 0) and j = 8 - max(e, 0)
//
//   v = rne((x << k) * (r << j), 17)         |x << k| < 2^16 because x^2 < S < 2^(32 + 2e)
//
// so that the last 17 bits are always the fraction, and 17 x 26 bits fit one DSP48E2. With r << j =
// 2^17 the same path passes x unchanged for SCALE, with 1 for POOL_FEATURES, whose sums need no
// fraction; and with twice the scale it gives MODULATE's product, to which the DSP48E2 adds the
// rest.

`default_nettype none

module cmamba_vector_unit #(
    // Elements a cycle.
    parameter int unsigned Lanes = cmamba_build_pkg::VectorLanes,
    // Elements of a word of the activation memories.
    parameter int unsigned RowAlign = cmamba_build_pkg::RowAlign,
    // Elements of the memories.
    parameter int unsigned ResidElements = cmamba_build_pkg::ResidElements,
    parameter int unsigned NormElements = cmamba_build_pkg::NormElements,
    parameter int unsigned LogitElements = cmamba_build_pkg::LogitElements,
    parameter int unsigned ConvInElements = cmamba_build_pkg::ConvInElements,
    // Features of the longest row.
    parameter int unsigned MaxFeatures = cmamba_build_pkg::MaxFeatures,
    // Words of vector_params.
    parameter int unsigned MaxParams = cmamba_build_pkg::MaxVectorParams,
    // Tables of vector_tables.
    parameter int unsigned MaxTables = cmamba_build_pkg::MaxVectorTables,
    localparam int unsigned ResidWidth = $clog2(ResidElements / RowAlign),
    localparam int unsigned NormWidth = $clog2(NormElements / RowAlign),
    localparam int unsigned LogitWidth = $clog2(LogitElements / RowAlign),
    localparam int unsigned ConvInWidth = $clog2(ConvInElements / RowAlign),
    localparam int unsigned WordWidth = cmamba_cells_pkg::larger(
        cmamba_cells_pkg::larger(
            ResidWidth, NormWidth
        ),
        cmamba_cells_pkg::larger(
            LogitWidth, ConvInWidth)
    ),
    localparam int unsigned ParamWidth = $clog2(MaxParams),
    localparam int unsigned TableWidth = $clog2(MaxTables)
) (
    input wire logic clk_i,
    input wire logic rst_i,

    // The loader's write ports: two parameter words, or one entry of a table.
    input wire logic                  param_wr_en_i,
    input wire logic [ParamWidth-2:0] param_wr_addr_i,
    input wire logic [127:0]          param_wr_data_i,
    input wire logic                  table_wr_en_i,
    input wire logic [TableWidth+7:0] table_wr_addr_i,
    input wire logic [15:0]           table_wr_data_i,

    input  wire logic                           start_valid_i,
    output logic                                start_ready_o,
    // Views of the same bits; the opcode selects one.
    input  wire cmamba_pkg::norm_instruction_t          norm_i,
    input  wire cmamba_pkg::pool_instruction_t          pool_i,
    input  wire cmamba_pkg::scale_instruction_t         scale_i,
    input  wire cmamba_pkg::pool_features_instruction_t pool_features_i,
    input  wire cmamba_pkg::modulate_instruction_t      modulate_i,
    input  wire logic [11:0]                            position_i,
    input  wire logic [9:0]                             sequence_i,
    // Where rows begin: of the operands, in their order; of POOL then that of the maximum.
    input  wire logic [3:0][WordWidth-1:0]              row_words_i,
    output logic                                        done_o,

    output logic                         resid_rd_en_o,
    output logic [ResidWidth-1:0]        resid_rd_addr_o,
    input  wire logic [RowAlign*16-1:0]  resid_rd_data_i,
    output logic                         logit_rd_en_o,
    output logic [LogitWidth-1:0]        logit_rd_addr_o,
    input  wire logic [RowAlign*8-1:0]   logit_rd_data_i,

    // Results may be any part of a word, the mask says which.
    output logic                         norm_wr_en_o,
    output logic [NormWidth-1:0]         norm_wr_addr_o,
    output logic [RowAlign-1:0]          norm_wr_mask_o,
    output logic [Lanes*8-1:0]           norm_wr_data_o,
    // Shared with the array: a write stays until wr_ready_i.
    output logic                         resid_wr_en_o,
    input  wire logic                    resid_wr_ready_i,
    output logic [ResidWidth-1:0]        resid_wr_addr_o,
    output logic [RowAlign-1:0]          resid_wr_mask_o,
    output logic [Lanes*16-1:0]          resid_wr_data_o,
    output logic                         conv_in_wr_en_o,
    input  wire logic                    conv_in_wr_ready_i,
    output logic [ConvInWidth-1:0]       conv_in_wr_addr_o,
    output logic [RowAlign-1:0]          conv_in_wr_mask_o,
    output logic [Lanes*8-1:0]           conv_in_wr_data_o
);

  import cmamba_pkg::*;
  import cmamba_cells_pkg::larger;

  localparam int unsigned Slots = RowAlign / Lanes;  // beats of a word
  localparam int unsigned SlotWidth = $clog2(Slots);
  localparam int unsigned LaneWidth = $clog2(Lanes);
  localparam int unsigned FeatureWidth = $clog2(MaxFeatures / Lanes);  // a beat of the row
  // An element of a row that all sequences share, and the beat that it would be in.
  localparam int unsigned ElementWidth = $clog2(larger(NormElements, LogitElements));
  localparam int unsigned BeatWidth = larger(FeatureWidth, ElementWidth - LaneWidth);
  localparam int unsigned DstWidth = larger(ResidWidth, larger(NormWidth, ConvInWidth));
  // Sums of up to 4,096 int16.
  localparam int unsigned SumWidth = 28;
  localparam int unsigned ContextDepth = 4;
  // Beats of the back on their way; one needs about 20 cycles from its issue to its write.
  localparam int unsigned QueueDepth = 32;
  localparam int unsigned CreditWidth = $clog2(QueueDepth + 1);
  // Entries between front and back of which something is on its way, places for that.
  localparam int unsigned MaxWaiting = 3;
  localparam int unsigned WaitingDepth = 4;

  if (Lanes < 2 || Lanes != 1 << LaneWidth) begin : gen_check_lanes
    $fatal(1, "vector_unit: Lanes is %0d, expected a power of two from 2", Lanes);
  end
  if (Slots < 2 || RowAlign != 1 << $clog2(RowAlign)) begin : gen_check_align
    $fatal(1, "vector_unit: RowAlign is %0d, expected a power of two from 2 * Lanes", RowAlign);
  end
  // The sum over a row's features is no longer than that over 4,095 tokens.
  if (MaxFeatures < 2 * Lanes || MaxFeatures % Lanes != 0 || MaxFeatures > 4096)
  begin : gen_check_features
    $fatal(
        1, "vector_unit: MaxFeatures is %0d, expected a multiple of Lanes up to 4096", MaxFeatures
    );
  end
  if (MaxParams < 2 * Lanes || MaxParams % Lanes != 0) begin : gen_check_params
    $fatal(1, "vector_unit: MaxParams is %0d, expected a multiple of Lanes", MaxParams);
  end
  if (MaxTables < 2) begin : gen_check_tables
    $fatal(1, "vector_unit: MaxTables is %0d, expected at least 2", MaxTables);
  end

  // Elements of a row that all sequences share: mean and maximum, or scale and shift.
  typedef logic [1:0][ElementWidth-1:0] elements_t;

  // What of an entry is on its way from front to back, which waits for it.
  typedef enum logic [1:0] {
    WayNone,
    WayRoot,
    WayScalars,
    WayFactors
  } way_e;

  // What the back has to know of an entry.
  typedef struct packed {
    logic                  is_norm;
    logic                  is_pool;
    logic                  is_pool_features;
    logic                  is_modulate;
    way_e                  way;
    logic                  passes;            // POOL before the last position: writes nothing
    logic                  wide;
    logic                  one_beat;
    logic [FeatureWidth:0] beats;
    logic [LaneWidth-1:0]  last_lane;         // of the last beat
    logic [ResidWidth-1:0] src_word;
    logic [LogitWidth-1:0] logit_word;
    logic [DstWidth-1:0]   dst_word;
    logic [DstWidth-1:0]   second_word;       // of POOL the maximum, of MODULATE the addend
    logic [ParamWidth-1:0] param_addr;
    logic [TableWidth-1:0] table_index;
    elements_t             elements;
  } context_t;

  typedef enum logic [3:0] {
    BeatSquare,    // front
    BeatPool,
    BeatReduce,    // POOL_FEATURES
    BeatNorm,      // back
    BeatScale,
    BeatMean,
    BeatMaximum,
    BeatScalar,    // POOL_FEATURES
    BeatAddend,    // MODULATE, first read
    BeatModulate,  // second read
    BeatNothing
  } kind_e;

  // A beat in the pipeline.
  typedef struct packed {
    kind_e                   kind;
    logic                    first;        // BeatPool: of the sequence. Front: of the row
    logic                    last;         // Front: of the row. Back: of the entry
    logic [31:0]             eps;
    logic [SumWidth-1:0]     operand;      // r << j, twice the scale, the shift, a scalar
    logic [3:0]              left_shift;   // k
    logic [SlotWidth-1:0]    slot;
    logic [FeatureWidth-1:0] feature;
    logic [Lanes-1:0]        lanes;        // that belong to the row
    logic [LogitWidth-1:0]   logit_word;
    logic [TableWidth-1:0]   table_index;
    logic [ParamWidth-1:0]   param_addr;
    logic [DstWidth-1:0]     dst_word;
    logic                    wide;
  } beat_t;

  // A look-up of all lanes.
  typedef struct packed {
    logic [LogitWidth-1:0] logit_word;
    logic [TableWidth-1:0] table_index;
    logic [SlotWidth-1:0]  slot;
    logic [LaneWidth-1:0]  lane;         // MODULATE: the only one that counts
    logic                  is_shift;     // MODULATE: of the shift, not of the scale
  } lookup_t;

  typedef enum logic [1:0] {
    ToNothing,
    ToNorm,
    ToResid,
    ToConvIn
  } target_e;

  // A beat behind the requantizer.
  typedef struct packed {
    target_e              target;
    logic                 last;
    logic [SlotWidth-1:0] slot;
    logic [Lanes-1:0]     lanes;
    logic [DstWidth-1:0]  dst_word;
  } result_t;

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

  logic one_beat;
  logic [FeatureWidth:0] beats;
  logic [LaneWidth-1:0] last_lane;
  assign one_beat = n <= 16'(Lanes);
  assign beats = (FeatureWidth + 1)'((17'(n) + 17'(Lanes - 1)) >> LaneWidth);
  assign last_lane = n[LaneWidth-1:0] - 1'b1;

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

  logic unused;
  assign unused = ^{
    norm_i, pool_i, scale_i, pool_features_i, modulate_i, row_words_i, n, param_wr_data_i
  };

  // ---------------------------------------------------------------- front

  // The entry in the front reads, looks up, or is only handed on.
  logic front_q, front_reads_q, front_looks_up_q;
  logic front_ready_q;  // is only handed on, or looks up for the last time and the table is free
  // At its beginning: what it may have to wait for, and that it has to.
  logic front_awaited_q, front_awaited_d, front_pools_q, front_pools_d, front_held_q, front_held_d;
  logic front_first_q, front_last_q;  // position in the sequence
  logic front_issue, front_finish;
  context_t front_context_q;
  logic [31:0] eps_q;
  logic [TableWidth-1:0] shift_table_q;
  logic [FeatureWidth-1:0] front_feature_q;
  logic [FeatureWidth:0] front_left_q;
  logic front_row_first_q;
  logic front_last_beat_q;  // only where it reads: the next beat is the last of the row

  logic context_room_q;
  logic pool_waits_q, pool_waits_d;  // a POOL with a result has not been read by the back yet
  logic pool_busy_d;  // sums are on their way to the memory
  // Entries handed on, of which something is on its way, that the back has not begun
  logic [1:0] waiting_q, waiting_d;
  logic back_idle_q;
  logic front_look_up, scale_looks_up_q, scale_looks_up_d;  // the table is SCALE's first
  assign front_issue = front_reads_q && !front_held_q && back_idle_q &&
      (context_room_q || !front_last_beat_q);
  assign front_look_up = front_looks_up_q && !front_held_q && !scale_looks_up_q &&
      (context_room_q || front_row_first_q);
  assign front_finish = context_room_q &&
      (front_ready_q || (front_last_beat_q && !front_held_q && back_idle_q));
  assign start_ready_o = !front_q || front_finish;

  // Much depends on what the front does in a cycle: what holds it up is found out the cycle before.
  // A row that has begun goes on.
  always_comb begin
    front_awaited_d = front_awaited_q;
    front_pools_d   = front_pools_q;
    if (start_ready_o) begin
      front_awaited_d = way != WayNone;
      front_pools_d   = is_pool;
    end else if (front_issue || front_look_up) begin
      front_awaited_d = 1'b0;
      front_pools_d   = 1'b0;
    end
    front_held_d = (front_awaited_d && waiting_d == 2'(MaxWaiting)) ||
        (front_pools_d && (pool_waits_d || pool_busy_d));
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      front_q <= 1'b0;
      front_reads_q <= 1'b0;
      front_looks_up_q <= 1'b0;
      front_ready_q <= 1'b0;
      front_last_beat_q <= 1'b0;
    end else if (start_ready_o) begin
      front_q <= start_valid_i;
      front_reads_q <= start_valid_i && is_like_norm;
      front_looks_up_q <= start_valid_i && is_modulate;
      front_ready_q <= start_valid_i && !is_like_norm && !is_modulate;
      // Of what is like a NORM n lies in one place: no choice comes before the comparison.
      front_last_beat_q <= start_valid_i && is_like_norm && norm_i.n <= 16'(Lanes);
    end else begin
      if (front_looks_up_q) begin
        front_ready_q <= (front_look_up || !front_row_first_q) && !scale_looks_up_d;
      end
      if (front_issue) front_last_beat_q <= front_left_q == (FeatureWidth + 1)'(2);
    end

    front_awaited_q <= front_awaited_d;
    front_pools_q <= front_pools_d;
    front_held_q <= front_held_d;

    // What is offered, also where it does not start: many bits, which need not know start_valid_i.
    if (start_ready_o) begin
      front_context_q <= '{
          is_norm: is_norm,
          is_pool: is_pool,
          is_pool_features: is_pool_features,
          is_modulate: is_modulate,
          way: way,
          passes: is_pool && position_i != pool_i.n_positions - 1'b1,
          wide: is_norm ? norm_i.wide : is_modulate ? modulate_i.wide : !is_like_norm,
          one_beat: one_beat,
          beats: beats,
          last_lane: last_lane,
          src_word: ResidWidth'(row_words_i[0]),
          logit_word: LogitWidth'(row_words_i[1]),
          dst_word: DstWidth'(is_like_norm ? row_words_i[1] : row_words_i[2]),
          second_word: DstWidth'(second_row),
          param_addr: ParamWidth'(is_modulate ? modulate_i.param_addr : norm_i.param_addr),
          table_index: TableWidth'(is_modulate ? modulate_i.scale_table : scale_i.table_index),
          elements: {columns + ElementWidth'(sequence_i), ElementWidth'(sequence_i)}
      };
      shift_table_q <= TableWidth'(modulate_i.shift_table);
      front_left_q <= beats;
      front_first_q <= position_i == '0;
      front_feature_q <= '0;
      front_row_first_q <= 1'b1;
      eps_q <= norm_i.eps;
    end else if (front_issue || front_look_up) begin
      front_left_q <= front_left_q - 1'b1;
      front_feature_q <= front_feature_q + 1'b1;
      front_row_first_q <= 1'b0;
    end
  end
  assign front_last_q = !front_context_q.passes;

  // ---------------------------------------------------------------- on the way to the back

  // Of BeatSquare and of BeatReduce, whose sum is signed.
  logic sum_valid, scalars_valid;
  logic signed [47:0] sum_q;
  logic signed [15:0] maximum_q;

  logic sum_taken, sum_pending, root_valid, root_take;
  logic [47:0] sum;
  logic [16:0] root;
  logic signed [5:0] root_exponent;
  logic [2:0] unused_level;
  logic unused_sum_ready;

  cmamba_fifo #(
      .Width(48),
      .Depth(WaitingDepth),
      .RamStyle("distributed")
  ) u_sums (
      .clk_i,
      .rst_i,
      .valid_i(sum_valid),
      .ready_o(unused_sum_ready),
      .data_i (sum_q),
      .valid_o(sum_pending),
      .ready_i(sum_taken),
      .data_o (sum),
      .level_o(unused_level)
  );

  cmamba_reciprocal_sqrt u_root (
      .clk_i,
      .rst_i,
      .valid_i(sum_pending),
      .ready_o(sum_taken),
      .s_i(sum),
      .valid_o(root_valid),
      .ready_i(root_take),
      .r_o(root),
      .e_o(root_exponent)
  );

  // Sum and maximum of a POOL_FEATURES; scale and shift of a MODULATE.
  logic scalars_pending, scalars_take, unused_scalars_ready;
  logic [SumWidth-1:0] pooled_sum;
  logic signed [15:0] pooled_maximum;
  logic [2:0] unused_scalars_level;

  cmamba_fifo #(
      .Width(SumWidth + 16),
      .Depth(WaitingDepth),
      .RamStyle("distributed")
  ) u_scalars (
      .clk_i,
      .rst_i,
      .valid_i(scalars_valid),
      .ready_o(unused_scalars_ready),
      .data_i ({sum_q[SumWidth-1:0], maximum_q}),
      .valid_o(scalars_pending),
      .ready_i(scalars_take),
      .data_o ({pooled_sum, pooled_maximum}),
      .level_o(unused_scalars_level)
  );

  logic factors_valid, factors_pending, factors_take, unused_factors_ready;
  logic [15:0] scale_q, entry_q, scale;
  logic signed [15:0] shift;
  logic [2:0] unused_factors_level;

  cmamba_fifo #(
      .Width(32),
      .Depth(WaitingDepth),
      .RamStyle("distributed")
  ) u_factors (
      .clk_i,
      .rst_i,
      .valid_i(factors_valid),
      .ready_o(unused_factors_ready),
      .data_i ({scale_q, entry_q}),
      .valid_o(factors_pending),
      .ready_i(factors_take),
      .data_o ({scale, shift}),
      .level_o(unused_factors_level)
  );

  // ---------------------------------------------------------------- back

  logic context_valid, context_ready, context_take;
  context_t context_word;
  logic [2:0] context_level;
  logic unused_context_ready;

  cmamba_fifo #(
      .Width($bits(context_t)),
      .Depth(ContextDepth),
      .RamStyle("distributed")
  ) u_contexts (
      .clk_i,
      .rst_i,
      .valid_i(front_finish),
      .ready_o(unused_context_ready),
      .data_i (front_context_q),
      .valid_o(context_valid),
      .ready_i(context_take),
      .data_o (context_word),
      .level_o(context_level)
  );
  // One may be on its way, and the level counts a word beside the memory.
  always_ff @(posedge clk_i) context_room_q <= context_level < 3'(ContextDepth);

  logic back_maximum_q;
  // The next beat is the last of its pass over the row; the pass is the last of the entry.
  logic back_last_beat_q, back_last_beat_d, back_last_pass_q, back_last_pass_d;
  // What happens in a cycle is known the cycle before, because much depends on it: a beat is
  // issued, that ends its pass, the entry. back_idle_q is its opposite, for the front. Where there
  // is no entry, or it ends, the back is free for another.
  logic back_issue_q, back_issue_d, back_pass_end_q, back_finish_q, back_finish_d;
  logic back_free_q, back_free_d;
  context_t back_context_q;
  logic unused_context;
  assign unused_context = ^back_context_q;
  logic [FeatureWidth:0] back_left_q;
  logic [BeatWidth-1:0] back_feature_q;
  logic [ParamWidth-1:0] back_param_q;
  logic [SumWidth-1:0] operand_q;
  logic signed [15:0] second_operand_q;  // the maximum of a POOL_FEATURES, the shift of a MODULATE
  logic [3:0] left_shift_q;
  // MODULATE: the next beat reads the addend. It gives no result, so that x follows at once.
  logic back_addend_q, back_addend_d;
  logic [CreditWidth-1:0] credits_q, credits_d;
  // Whether one is left is wanted before the new number is there.
  logic credits_none_q, credits_one_q, credit_taken, credit_left;
  logic result_pop, result_popped_q;
  assign credit_taken = back_issue_q && !back_addend_q;
  assign credits_d = credits_q - CreditWidth'(credit_taken) + CreditWidth'(result_popped_q);
  assign credit_left = result_popped_q || !(credits_none_q || (credits_one_q && credit_taken));

  logic arrived;
  always_comb begin
    unique case (context_word.way)
      WayRoot:    arrived = root_valid;
      WayScalars: arrived = scalars_pending;
      WayFactors: arrived = factors_pending;
      default:    arrived = 1'b1;
    endcase
  end
  assign context_ready = context_valid && arrived;
  assign context_take = context_ready && back_free_q;
  // Taken as soon as it is there.
  assign root_take = context_valid && back_free_q && context_word.way == WayRoot;
  assign scalars_take = context_valid && back_free_q && context_word.way == WayScalars;
  assign factors_take = context_valid && back_free_q && context_word.way == WayFactors;
  assign back_issue_d = (context_ready || !back_free_q) && credit_left;
  assign back_finish_d = back_issue_d && back_last_beat_d && back_last_pass_d;
  assign back_free_d = back_finish_d || (back_free_q && !context_ready);

  always_comb begin
    back_last_beat_d = back_last_beat_q;
    back_last_pass_d = back_last_pass_q;
    back_addend_d = back_addend_q;
    if (back_free_q) begin
      back_last_beat_d = !context_word.is_modulate &&
          (context_word.passes || context_word.one_beat || context_word.is_pool_features);
      back_last_pass_d = context_word.passes ||
          !(context_word.is_pool || context_word.is_pool_features);
      back_addend_d = context_word.is_modulate;
    end else if (back_pass_end_q) begin
      back_last_beat_d = back_context_q.one_beat || back_context_q.is_pool_features;
      back_last_pass_d = 1'b1;
    end else if (back_issue_q && back_context_q.is_modulate) begin
      back_last_beat_d = back_addend_q && back_left_q == (FeatureWidth + 1)'(1);
      back_addend_d = !back_addend_q;
    end else if (back_issue_q) begin
      back_last_beat_d = back_left_q == (FeatureWidth + 1)'(2);
    end
  end
  assign waiting_d = waiting_q + 2'(front_finish && front_context_q.way != WayNone) -
      2'(context_take && context_word.way != WayNone);
  always_comb begin
    pool_waits_d = pool_waits_q;
    if (front_finish && front_context_q.is_pool && front_last_q) pool_waits_d = 1'b1;
    else if (back_finish_q && back_context_q.is_pool && !back_context_q.passes) begin
      pool_waits_d = 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      back_free_q <= 1'b1;
      back_issue_q <= 1'b0;
      back_idle_q <= 1'b1;
      back_pass_end_q <= 1'b0;
      back_finish_q <= 1'b0;
      credits_q <= CreditWidth'(QueueDepth);
      credits_none_q <= 1'b0;
      credits_one_q <= 1'b0;
      result_popped_q <= 1'b0;
      waiting_q <= '0;
      pool_waits_q <= 1'b0;
    end else begin
      back_free_q <= back_free_d;
      back_issue_q <= back_issue_d;
      back_idle_q <= !back_issue_d;
      back_pass_end_q <= back_issue_d && back_last_beat_d;
      back_finish_q <= back_finish_d;
      credits_q <= credits_d;
      credits_none_q <= credits_d == '0;
      credits_one_q <= credits_d == CreditWidth'(1);
      result_popped_q <= result_pop;
      waiting_q <= waiting_d;
      pool_waits_q <= pool_waits_d;
    end
  end

  // k and j of the scaling by a root. Its exponent is there many cycles before it.
  logic [3:0] x_shift_q, root_shift_q;
  always_ff @(posedge clk_i) begin
    x_shift_q <= root_exponent < 0 ? 4'(-root_exponent) : '0;
    root_shift_q <= root_exponent < 0 ? 4'd8 : 4'd8 - root_exponent[3:0];
  end

  always_ff @(posedge clk_i) begin
    back_last_beat_q <= back_last_beat_d;
    back_last_pass_q <= back_last_pass_d;
    back_addend_q <= back_addend_d;
    // What the queue offers, also where it is not taken: many bits, which need not know what
    // arrived.
    if (back_free_q) begin
      back_context_q <= context_word;
      back_maximum_q <= 1'b0;
      back_left_q <= context_word.beats;
      back_feature_q <= context_word.is_pool_features ? beat_of(context_word.elements[0]) : '0;
      back_param_q <= context_word.param_addr;
      if (context_word.is_norm) begin
        operand_q <= SumWidth'(26'(root) << root_shift_q);
      end else if (context_word.is_pool_features) operand_q <= pooled_sum;
      else operand_q <= context_word.is_modulate ? SumWidth'({scale, 1'b0}) : SumWidth'('h20000);
      second_operand_q <= context_word.is_modulate ? shift : pooled_maximum;
      left_shift_q <= context_word.is_norm ? x_shift_q : '0;
    end else if (back_pass_end_q) begin  // the mean is through, the maximum follows
      back_maximum_q <= 1'b1;
      back_left_q <= back_context_q.beats;
      back_feature_q <= back_context_q.is_pool_features ? beat_of(back_context_q.elements[1]) : '0;
      back_param_q <= back_param_q + 1'b1;
      operand_q <= SumWidth'(second_operand_q);
    end else if (back_issue_q && !back_addend_q) begin
      back_left_q <= back_left_q - 1'b1;
      back_feature_q <= back_feature_q + 1'b1;
      if (back_context_q.is_norm) back_param_q <= back_param_q + ParamWidth'(Lanes);
    end
  end

  // The beat of a row that an element is in.
  function automatic logic [BeatWidth-1:0] beat_of(logic [ElementWidth-1:0] element);
    return BeatWidth'(element >> LaneWidth);
  endfunction

  // The element of POOL_FEATURES that is written.
  logic [Lanes-1:0] element_lane;
  assign element_lane = Lanes'(1) << back_context_q.elements[back_maximum_q][LaneWidth-1:0];

  // ---------------------------------------------------------------- the pipeline

  localparam int unsigned SquareStage = 7 + LaneWidth;  // the sum of a beat's squares is there
  localparam int unsigned Stages = SquareStage > 9 ? SquareStage : 9;

  beat_t issued;
  beat_t [Stages:1] beat_q;
  logic [Stages:1] valid_q;
  logic [ResidWidth-1:0] issued_word;
  logic [LaneWidth-1:0] issued_last_lane;

  always_comb begin
    issued = '0;
    if (back_issue_q) begin
      if (back_context_q.is_norm) issued.kind = BeatNorm;
      else if (back_context_q.is_pool_features) issued.kind = BeatScalar;
      else if (back_context_q.is_modulate) issued.kind = back_addend_q ? BeatAddend : BeatModulate;
      else if (!back_context_q.is_pool) issued.kind = BeatScale;
      else if (back_context_q.passes) issued.kind = BeatNothing;
      else issued.kind = back_maximum_q ? BeatMaximum : BeatMean;
      issued.last = back_finish_q;
      issued_last_lane = back_pass_end_q ? back_context_q.last_lane : '1;
      issued.slot = back_feature_q[SlotWidth-1:0];
      issued.feature = FeatureWidth'(back_feature_q);
      issued.operand = back_addend_q ? SumWidth'(second_operand_q) : operand_q;
    end else begin
      if (front_context_q.is_norm) issued.kind = BeatSquare;
      else issued.kind = front_context_q.is_pool ? BeatPool : BeatReduce;
      issued.first = front_context_q.is_pool ? front_first_q : front_row_first_q;
      issued.last = front_last_beat_q;
      issued_last_lane = front_last_beat_q ? front_context_q.last_lane : '1;
      issued.slot = front_feature_q[SlotWidth-1:0];
      issued.feature = front_feature_q;
      issued.operand = SumWidth'(1);
    end
    for (int unsigned l = 0; l < Lanes; l++) issued.lanes[l] = l <= 32'(issued_last_lane);
    if (back_issue_q && back_context_q.is_pool_features) issued.lanes = element_lane;
    issued.eps = eps_q;
    issued.left_shift = left_shift_q;
    issued.logit_word = back_context_q.logit_word + LogitWidth'(back_feature_q >> SlotWidth);
    issued.table_index = back_context_q.table_index;
    issued.param_addr = back_param_q;
    issued.dst_word = (back_maximum_q ? back_context_q.second_word : back_context_q.dst_word) +
        DstWidth'(back_feature_q >> SlotWidth);
    issued.wide = back_context_q.wide;

    if (!back_issue_q) begin
      issued_word = front_context_q.src_word + ResidWidth'(front_feature_q >> SlotWidth);
    end else begin
      issued_word = (back_addend_q ? ResidWidth'(back_context_q.second_word) :
                     back_context_q.src_word) + ResidWidth'(back_feature_q >> SlotWidth);
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= '0;
    else valid_q <= {valid_q[Stages-1:1], front_issue || back_issue_q};
    beat_q <= {beat_q[Stages-1:1], issued};
    resid_rd_addr_o <= issued_word;
  end

  assign resid_rd_en_o = valid_q[1] &&
      !(beat_q[1].kind inside {BeatMean, BeatMaximum, BeatScalar, BeatNothing});

  function automatic logic signed [15:0] lane16(logic [RowAlign*16-1:0] word,
                                                logic [SlotWidth-1:0] slot, int unsigned lane);
    return word[16*(32'(slot)*Lanes+lane)+:16];
  endfunction

  // ---------------------------------------------------------------- multiply

  logic signed [Lanes-1:0][         15:0] x_q;
  logic signed [Lanes-1:0][         43:0] products;
  logic signed [Lanes-1:0][ SumWidth-1:0] whole_q;  // product without its fraction
  logic        [Lanes-1:0]                up_q;  // round up
  logic        [Lanes-1:0][         31:0] v_q;
  logic        [Lanes-1:0][SumWidth+15:0] pooled;

  typedef enum logic [1:0] {
    FromProduct,
    FromSum,
    FromMaximum,
    FromScalar
  } source_e;
  source_e source_q;  // of what is rounded
  always_ff @(posedge clk_i) begin
    case (beat_q[6].kind)
      BeatMean:    source_q <= FromSum;
      BeatMaximum: source_q <= FromMaximum;
      BeatScalar:  source_q <= FromScalar;
      default:     source_q <= FromProduct;
    endcase
  end

  // Of the beat in stage 4, as all lanes want to know: squares of x, only lanes of the row;
  // MODULATE.
  logic squares_q, masks_q, takes_addend_q, keeps_addend_q;
  always_ff @(posedge clk_i) begin
    squares_q <= beat_q[3].kind == BeatSquare;
    masks_q <= beat_q[3].kind inside {BeatSquare, BeatReduce};
    takes_addend_q <= beat_q[3].kind == BeatAddend;
    keeps_addend_q <= beat_q[3].kind == BeatModulate;
  end

  for (genvar l = 0; l < Lanes; l++) begin : gen_multiply
    logic signed [17:0] b;
    logic signed [26:0] a;
    logic signed [16:0] addend_q;  // with the shift
    logic signed [47:0] p, unused_cascade;
    logic signed [15:0] x;
    assign x = x_q[l];

    always_comb begin
      if (masks_q) b = beat_q[4].lanes[l] ? 18'(x) : '0;
      else b = 18'(17'(x) <<< beat_q[4].left_shift);
      a = squares_q ? 27'(x) : {1'b0, beat_q[4].operand[25:0]};
    end

    // The addend stays for the one beat in which it waits for x, and is zero for all other
    // products.
    always_ff @(posedge clk_i) begin
      x_q[l] <= lane16(resid_rd_data_i, beat_q[3].slot, l);
      if (takes_addend_q) addend_q <= 17'(x) + 17'($signed(beat_q[4].operand[15:0]));
      else if (!keeps_addend_q) addend_q <= '0;
    end

    cmamba_multiply_add #(
        .Addend        ("c"),
        .AddendRegister(1'b1)
    ) u_product (
        .clk_i,
        .a_i(a),
        .b_i(b),
        .c_i({{14{addend_q[16]}}, addend_q, 17'b0}),
        .sum_o(p),
        .cascade_o(unused_cascade)
    );
    assign products[l] = p[43:0];
    logic unused_product;
    assign unused_product = ^{p[47:45], unused_cascade};

    always_ff @(posedge clk_i) begin
      unique case (source_q)
        FromSum:     whole_q[l] <= signed'(pooled[l][SumWidth-1:0]);
        FromMaximum: whole_q[l] <= SumWidth'(signed'(pooled[l][SumWidth+:16]));
        FromScalar:  whole_q[l] <= beat_q[7].operand;
        default:     whole_q[l] <= p[44:17];
      endcase
      up_q[l] <= source_q == FromProduct && p[16] && (p[17] || p[15:0] != '0);
      v_q[l]  <= 32'(signed'(whole_q[l])) + 32'(up_q[l]);
    end
  end

  // ---------------------------------------------------------------- sums and maxima of lanes

  // Sums of squares, or of the elements themselves. 16 lanes: 16 x 32 bits, 8 x 33, 4 x 34, 2 x 35,
  // 36
  localparam int unsigned TreeWidth = 32 + LaneWidth;
  logic signed [2*Lanes-1:1][TreeWidth-1:0] tree_q;  // node i adds nodes 2 i and 2 i + 1
  // Offset by 2^15, so that zero, where a lane is not of the row, is the least.
  logic [2*Lanes-1:1][15:0] largest_q;
  for (genvar l = 0; l < Lanes; l++) begin : gen_leaf
    assign tree_q[Lanes+l] = TreeWidth'(products[l]);
    assign largest_q[Lanes+l] = beat_q[7].lanes[l] ? {!products[l][15], products[l][14:0]} : '0;
  end
  for (genvar i = 1; i < Lanes; i++) begin : gen_node
    always_ff @(posedge clk_i) begin
      tree_q[i] <= tree_q[2*i] + tree_q[2*i+1];
      largest_q[i] <= largest_q[2*i] > largest_q[2*i+1] ? largest_q[2*i] : largest_q[2*i+1];
    end
  end

  // The row so far.
  logic reduces;
  logic signed [15:0] beat_maximum;
  logic signed [47:0] row_sum;
  assign reduces = valid_q[SquareStage] &&
      (beat_q[SquareStage].kind inside {BeatSquare, BeatReduce});
  assign beat_maximum = {!largest_q[1][15], largest_q[1][14:0]};
  // eps_q is that of NORM only.
  always_comb begin
    row_sum = sum_q;
    if (beat_q[SquareStage].first) begin
      row_sum = beat_q[SquareStage].kind == BeatSquare ? 48'(beat_q[SquareStage].eps) : '0;
    end
  end

  always_ff @(posedge clk_i) begin
    sum_valid <= !rst_i && reduces && beat_q[SquareStage].last &&
        beat_q[SquareStage].kind == BeatSquare;
    scalars_valid <= !rst_i && reduces && beat_q[SquareStage].last &&
        beat_q[SquareStage].kind == BeatReduce;
    if (reduces) begin
      sum_q <= row_sum + 48'(signed'(tree_q[1]));
      if (beat_q[SquareStage].first || beat_maximum > maximum_q) maximum_q <= beat_maximum;
    end
  end

  // ---------------------------------------------------------------- sums of POOL

  // Front and back never read in the same cycle: while the back has sums to read, the front adds to
  // none (front_held_q); the position that comes first then reads none, and the next one comes to
  // its stage 2 at least seven cycles after the back's last beat was issued, which is in stage 5
  // after five.
  logic pool_adds, pool_reads, pool_we_q, pool_re;
  logic [FeatureWidth-1:0] pool_waddr_q, pool_raddr;
  logic [Lanes-1:0][SumWidth+15:0] pool_d, pool_q;
  assign pool_adds = valid_q[2] && beat_q[2].kind == BeatPool && !beat_q[2].first;
  assign pool_reads = valid_q[5] && (beat_q[5].kind inside {BeatMean, BeatMaximum});
  assign pool_re = pool_adds || pool_reads;
  assign pool_raddr = pool_adds ? beat_q[2].feature : beat_q[5].feature;

  // A sum may be read for the next position four cycles after it was read for this one: when no
  // beat adds to one in stages 1 to 3.
  always_comb begin
    pool_busy_d = front_issue && front_context_q.is_pool;
    for (int unsigned s = 1; s <= 2; s++) begin
      if (valid_q[s] && beat_q[s].kind == BeatPool) pool_busy_d = 1'b1;
    end
  end

  for (genvar l = 0; l < Lanes; l++) begin : gen_pool
    logic signed [SumWidth-1:0] sum_before;
    logic signed [15:0] maximum_before, x;
    assign sum_before = pooled[l][SumWidth-1:0];
    assign maximum_before = pooled[l][SumWidth+:16];
    assign x = x_q[l];
    assign pool_d[l] = {
      beat_q[4].first || x > maximum_before ? x : maximum_before,
      (beat_q[4].first ? '0 : sum_before) + SumWidth'(x)
    };
  end

  always_ff @(posedge clk_i) begin
    pool_we_q <= !rst_i && valid_q[4] && beat_q[4].kind == BeatPool;
    pool_waddr_q <= beat_q[4].feature;
    pool_q <= pool_d;
  end

  cmamba_ram_1w #(
      .Width(Lanes * (SumWidth + 16)),
      .Depth(MaxFeatures / Lanes),
      .RamStyle("distributed")
  ) u_pool (
      .clk_i,
      .wr_en_i  (pool_we_q),
      .wr_addr_i(pool_waddr_q),
      .wr_data_i(pool_q),
      .rd_en_i  (pool_re),
      .rd_addr_i(pool_raddr),
      .rd_data_o(pooled)
  );

  // ---------------------------------------------------------------- parameters

  // Lane b of the memory holds words b, Lanes + b, ... of vector_params, without the bias, which no
  // instruction of this unit uses. A row of parameters may begin in any lane.
  localparam int unsigned ScaleWidth = 32;
  localparam int unsigned ParamRowWidth = ParamWidth - LaneWidth;
  logic [ParamRowWidth-1:0] param_row, param_row_q, param_next_row_q;
  logic [Lanes-1:0] param_wraps_q;  // the lane's word lies in the next row
  logic [7:5][LaneWidth-1:0] param_lane_q;
  logic [Lanes-1:0][ScaleWidth-1:0] param_bank, param_rotated, rotated_q;
  logic [Lanes-1:0][15:0] factors;
  param_word_t [Lanes-1:0] param_q;

  assign param_row = ParamRowWidth'(beat_q[4].param_addr >> LaneWidth);
  always_ff @(posedge clk_i) begin
    param_row_q <= param_row;
    param_next_row_q <= param_row + 1'b1;
    for (int unsigned b = 0; b < Lanes; b++) begin
      param_wraps_q[b] <= 32'(beat_q[4].param_addr[LaneWidth-1:0]) > b;
    end
    param_lane_q <= {param_lane_q[6:5], beat_q[4].param_addr[LaneWidth-1:0]};
    rotated_q <= param_rotated;
  end

  for (genvar b = 0; b < Lanes; b++) begin : gen_param
    logic [ParamRowWidth-1:0] row;
    assign row = param_wraps_q[b] ? param_next_row_q : param_row_q;

    cmamba_ram_1w #(
        .Width(ScaleWidth),
        .Depth(MaxParams / Lanes),
        .RamStyle("distributed")
    ) u_bank (
        .clk_i,
        .wr_en_i  (param_wr_en_i && 32'(param_wr_addr_i) % (Lanes / 2) == b / 2),
        .wr_addr_i(ParamRowWidth'(32'(param_wr_addr_i) / (Lanes / 2))),
        .wr_data_i(param_wr_data_i[64*(b%2)+32+:ScaleWidth]),
        .rd_en_i  (1'b1),
        .rd_addr_i(row),
        .rd_data_o(param_bank[b])
    );
  end

  cmamba_rotate_lanes #(
      .Lanes(Lanes),
      .Width(ScaleWidth)
  ) u_rotate (
      .data_i (param_bank),
      .shift_i(param_lane_q[7]),
      .data_o (param_rotated)
  );

  // ---------------------------------------------------------------- tables

  // In stage 2 a look-up goes into the pipeline: SCALE's own, or of MODULATE in the front.
  lookup_t scale_lookup, front_lookup;
  lookup_t [8:3] lookup_q;
  logic [8:3] modulates_q;
  logic [ElementWidth-1:0] front_element;
  logic [BeatWidth-1:0] front_beat;
  assign front_element = front_context_q.elements[!front_row_first_q];
  assign front_beat = beat_of(front_element);
  assign scale_lookup = '{
          logit_word: beat_q[2].logit_word,
          table_index: beat_q[2].table_index,
          slot: beat_q[2].slot,
          lane: '0,
          is_shift: 1'b0
      };
  assign front_lookup = '{
          logit_word: front_context_q.logit_word + LogitWidth'(front_beat >> SlotWidth),
          table_index: front_row_first_q ? front_context_q.table_index : shift_table_q,
          slot: front_beat[SlotWidth-1:0],
          lane: front_element[LaneWidth-1:0],
          is_shift: !front_row_first_q
      };

  always_ff @(posedge clk_i) begin
    lookup_q <= {lookup_q[7:3], scale_looks_up_q ? scale_lookup : front_lookup};
    if (rst_i) modulates_q <= '0;
    else modulates_q <= {modulates_q[7:3], front_look_up};
    logit_rd_en_o <= scale_looks_up_q || front_look_up;
    scale_looks_up_q <= !rst_i && scale_looks_up_d;
  end
  assign scale_looks_up_d = valid_q[1] && beat_q[1].kind == BeatScale;
  assign logit_rd_addr_o  = lookup_q[3].logit_word;

  logic [Lanes-1:0][7:0] logit_q;
  always_ff @(posedge clk_i) begin
    for (int unsigned l = 0; l < Lanes; l++) begin
      logit_q[l] <= logit_rd_data_i[8*(32'(lookup_q[5].slot)*Lanes+l)+:8];
    end
  end

  cmamba_activation_table #(
      .Lanes (Lanes),
      .Tables(MaxTables),
      .Width (16)
  ) u_table (
      .clk_i,
      .wr_en_i(table_wr_en_i),
      .wr_addr_i(table_wr_addr_i),
      .wr_data_i(table_wr_data_i),
      .table_i(lookup_q[6].table_index),
      .data_i(logit_q),
      .data_o(factors)
  );

  // MODULATE's scale waits for the shift.
  logic entry_valid_q, entry_is_shift_q;
  always_ff @(posedge clk_i) begin
    entry_q <= factors[lookup_q[8].lane];
    entry_is_shift_q <= lookup_q[8].is_shift;
    entry_valid_q <= !rst_i && modulates_q[8];
    if (entry_valid_q && !entry_is_shift_q) scale_q <= entry_q;
  end
  assign factors_valid = entry_valid_q && entry_is_shift_q;

  // POOL, POOL_FEATURES, MODULATE: one word for all lanes. SCALE: 16 fraction bits.
  always_ff @(posedge clk_i) begin
    for (int unsigned l = 0; l < Lanes; l++) begin
      unique case (beat_q[8].kind)
        BeatScale: begin
          param_q[l] <= '{bias: '0, multiplier: 18'(factors[l]), shift: 6'd16, zero_point: '0};
        end
        BeatNorm: param_q[l] <= {rotated_q[l], 32'd0};
        default:  param_q[l] <= {rotated_q[0], 32'd0};
      endcase
    end
  end

  // ---------------------------------------------------------------- requantize and write

  target_e target;
  always_comb begin
    unique case (beat_q[9].kind)
      BeatNorm:     target = beat_q[9].wide ? ToResid : ToNorm;
      BeatModulate: target = beat_q[9].wide ? ToResid : ToConvIn;
      BeatScale:    target = ToResid;
      BeatNothing:  target = ToNothing;
      default:      target = ToNorm;
    endcase
  end

  result_t result, written;
  logic result_valid, result_ready, written_valid, unused_result_ready;
  logic [CreditWidth-1:0] unused_result_level;
  logic signed [Lanes-1:0][15:0] y, written_y;

  cmamba_requantizer #(
      .Lanes(Lanes),
      .TagWidth($bits(result_t))
  ) u_requantizer (
      .clk_i,
      .rst_i,
      .valid_i(valid_q[9] &&
               !(beat_q[9].kind inside {BeatSquare, BeatPool, BeatReduce, BeatAddend})),
      .tag_i({target, beat_q[9].last, beat_q[9].slot, beat_q[9].lanes, beat_q[9].dst_word}),
      .acc_i(v_q),
      .param_i(param_q),
      .addend_i('0),
      .wide_i(beat_q[9].wide),
      .relu_i(1'b0),
      .valid_o(result_valid),
      .tag_o(result),
      .data_o(y)
  );

  cmamba_fifo #(
      .Width($bits(result_t) + 16 * Lanes),
      .Depth(QueueDepth),
      .RamStyle("distributed")
  ) u_results (
      .clk_i,
      .rst_i,
      .valid_i(result_valid),
      .ready_o(unused_result_ready),
      .data_i ({result, y}),
      .valid_o(written_valid),
      .ready_i(result_ready),
      .data_o ({written, written_y}),
      .level_o(unused_result_level)
  );

  always_comb begin
    unique case (written.target)
      ToResid:  result_ready = resid_wr_ready_i;
      ToConvIn: result_ready = conv_in_wr_ready_i;
      default:  result_ready = 1'b1;
    endcase
  end
  assign result_pop = written_valid && result_ready;
  assign norm_wr_en_o = written_valid && written.target == ToNorm;
  assign resid_wr_en_o = written_valid && written.target == ToResid;
  assign conv_in_wr_en_o = written_valid && written.target == ToConvIn;
  assign norm_wr_addr_o = NormWidth'(written.dst_word);
  assign resid_wr_addr_o = ResidWidth'(written.dst_word);
  assign conv_in_wr_addr_o = ConvInWidth'(written.dst_word);
  assign resid_wr_data_o = written_y;
  assign resid_wr_mask_o = norm_wr_mask_o;
  assign conv_in_wr_mask_o = norm_wr_mask_o;
  assign conv_in_wr_data_o = norm_wr_data_o;
  always_comb begin
    for (int unsigned e = 0; e < RowAlign; e++) begin
      norm_wr_mask_o[e] = written.lanes[e%Lanes] && 32'(written.slot) == e / Lanes;
    end
    for (int unsigned l = 0; l < Lanes; l++) norm_wr_data_o[8*l+:8] = written_y[l][7:0];
  end

  always_ff @(posedge clk_i) done_o <= !rst_i && result_pop && written.last;

endmodule

`default_nettype wire
