// Back of the vector unit: takes entries from the front, in order, each when what it waits for has
// come, and issues the beats of their results.
//
//   NORM             a beat for each of the row, scaled by the root
//   POOL             two passes over the row, mean and maximum; where no result is due a beat that
//                    writes nothing, so that entries complete in order
//   SCALE            a beat for each of the row
//   POOL_FEATURES    two beats, sum and maximum, of which one lane each is written
//   MODULATE         two reads for each of the row: the addend, then x
//
// A beat with a result is issued only against a free place in the queue of results.
//
// The scaling of NORM, v = rne(x * r * 64, 15 + e), needs no shifter behind the multiplier. With k
// = max(-e, 0) and j = 8 - max(e, 0)
//
//   v = rne((x << k) * (r << j), 17)         |x << k| < 2^16 because x^2 < S < 2^(32 + 2e)
//
// so that the last 17 bits are always the fraction, and 17 x 26 bits fit one DSP48E2. With r << j =
// 2^17 the same path passes x unchanged for SCALE; and with twice the scale it gives MODULATE's
// product, to which the DSP48E2 adds the rest.

`default_nettype none

module cmamba_vector_back
  import cmamba_vector_pkg::*;
(
    input wire logic clk_i,
    input wire logic rst_i,

    // Entries. One is taken for which the back had to wait; POOL's sums have been read.
    input  wire logic     context_valid_i,
    output logic          context_ready_o,
    input  wire context_t context_i,
    output logic          waited_o,
    output logic          pool_read_o,

    // What they wait for, each in the order of its entries: of NORM r and e,
    input  wire logic               root_valid_i,
    output logic                    root_ready_o,
    input  wire logic        [16:0] root_i,
    input  wire logic signed [ 5:0] root_exponent_i,

    // of POOL_FEATURES sum and maximum,
    input  wire logic                       scalars_valid_i,
    output logic                            scalars_ready_o,
    input  wire logic        [SumWidth-1:0] row_sum_i,
    input  wire logic signed [        15:0] row_maximum_i,

    // of MODULATE scale and shift.
    input  wire logic               factors_valid_i,
    output logic                    factors_ready_o,
    input  wire logic        [15:0] scale_i,
    input  wire logic signed [15:0] shift_i,

    // A beat goes into the pipeline. Its opposite is for the front.
    output logic       beat_valid_o,
    output back_beat_t beat_o,
    output logic       idle_o,
    // A result leaves the queue.
    input  wire logic  result_pop_i
);

  localparam int unsigned CreditWidth = $clog2(ResultDepth + 1);

  logic maximum_q;
  // The next beat is the last of its pass over the row; the pass is the last of the entry.
  logic last_beat_q, last_beat_d, last_pass_q, last_pass_d;
  // What happens in a cycle is known the cycle before, because much depends on it: a beat is
  // issued, that ends its pass, the entry. Where there is no entry, or it ends, the back is free
  // for another.
  logic issue_q, issue_d, pass_end_q, finish_q, finish_d;
  logic free_q, free_d;
  context_t context_q;
  logic unused_context;
  assign unused_context = ^context_q;
  logic [FeatureWidth:0] left_q;
  logic [BeatWidth-1:0] feature_q;
  logic [ParamWidth-1:0] param_q;
  logic [SumWidth-1:0] operand_q;
  logic signed [15:0] second_operand_q;  // the maximum of a POOL_FEATURES, the shift of a MODULATE
  logic [3:0] left_shift_q;
  // MODULATE: the next beat reads the addend. It gives no result, so that x follows at once.
  logic addend_q, addend_d;

  // ---------------------------------------------------------------- places for results

  logic [CreditWidth-1:0] credits_q, credits_d;
  // Whether one is left is wanted before the new number is there.
  logic credits_none_q, credits_one_q, credit_taken, credit_left, result_popped_q;
  assign credit_taken = issue_q && !addend_q;
  assign credits_d = credits_q - CreditWidth'(credit_taken) + CreditWidth'(result_popped_q);
  assign credit_left = result_popped_q || !(credits_none_q || (credits_one_q && credit_taken));

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      credits_q <= CreditWidth'(ResultDepth);
      credits_none_q <= 1'b0;
      credits_one_q <= 1'b0;
      result_popped_q <= 1'b0;
    end else begin
      credits_q <= credits_d;
      credits_none_q <= credits_d == '0;
      credits_one_q <= credits_d == CreditWidth'(1);
      result_popped_q <= result_pop_i;
    end
  end

  // ---------------------------------------------------------------- what it does in a cycle

  logic arrived, ready;
  always_comb begin
    unique case (context_i.way)
      WayRoot:    arrived = root_valid_i;
      WayScalars: arrived = scalars_valid_i;
      WayFactors: arrived = factors_valid_i;
      default:    arrived = 1'b1;
    endcase
  end
  assign ready = context_valid_i && arrived;
  assign context_ready_o = ready && free_q;
  assign waited_o = context_ready_o && context_i.way != WayNone;
  // Taken as soon as it is there.
  assign root_ready_o = context_valid_i && free_q && context_i.way == WayRoot;
  assign scalars_ready_o = context_valid_i && free_q && context_i.way == WayScalars;
  assign factors_ready_o = context_valid_i && free_q && context_i.way == WayFactors;
  assign issue_d = (ready || !free_q) && credit_left;
  assign finish_d = issue_d && last_beat_d && last_pass_d;
  assign free_d = finish_d || (free_q && !ready);
  assign pool_read_o = finish_q && context_q.is_pool && !context_q.passes;

  always_comb begin
    last_beat_d = last_beat_q;
    last_pass_d = last_pass_q;
    addend_d = addend_q;
    if (free_q) begin
      last_beat_d = !context_i.is_modulate &&
          (context_i.passes || context_i.one_beat || context_i.is_pool_features);
      last_pass_d = context_i.passes || !(context_i.is_pool || context_i.is_pool_features);
      addend_d = context_i.is_modulate;
    end else if (pass_end_q) begin
      last_beat_d = context_q.one_beat || context_q.is_pool_features;
      last_pass_d = 1'b1;
    end else if (issue_q && context_q.is_modulate) begin
      last_beat_d = addend_q && left_q == (FeatureWidth + 1)'(1);
      addend_d = !addend_q;
    end else if (issue_q) begin
      last_beat_d = left_q == (FeatureWidth + 1)'(2);
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      free_q <= 1'b1;
      issue_q <= 1'b0;
      idle_o <= 1'b1;
      pass_end_q <= 1'b0;
      finish_q <= 1'b0;
    end else begin
      free_q <= free_d;
      issue_q <= issue_d;
      idle_o <= !issue_d;
      pass_end_q <= issue_d && last_beat_d;
      finish_q <= finish_d;
    end
  end

  // k and j of the scaling by a root. Its exponent is there many cycles before it.
  logic [3:0] x_shift_q, root_shift_q;
  always_ff @(posedge clk_i) begin
    x_shift_q <= root_exponent_i < 0 ? 4'(-root_exponent_i) : '0;
    root_shift_q <= root_exponent_i < 0 ? 4'd8 : 4'd8 - root_exponent_i[3:0];
  end

  always_ff @(posedge clk_i) begin
    last_beat_q <= last_beat_d;
    last_pass_q <= last_pass_d;
    addend_q <= addend_d;
    // What the queue offers, also where it is not taken: many bits, which need not know what
    // arrived.
    if (free_q) begin
      context_q <= context_i;
      maximum_q <= 1'b0;
      left_q <= context_i.beats;
      feature_q <= context_i.is_pool_features ? beat_of(context_i.elements[0]) : '0;
      param_q <= context_i.param_addr;
      if (context_i.is_norm) operand_q <= SumWidth'(26'(root_i) << root_shift_q);
      else if (context_i.is_pool_features) operand_q <= row_sum_i;
      else operand_q <= context_i.is_modulate ? SumWidth'({scale_i, 1'b0}) : SumWidth'('h20000);
      second_operand_q <= context_i.is_modulate ? shift_i : row_maximum_i;
      left_shift_q <= context_i.is_norm ? x_shift_q : '0;
    end else if (pass_end_q) begin  // the mean is through, the maximum follows
      maximum_q <= 1'b1;
      left_q <= context_q.beats;
      feature_q <= context_q.is_pool_features ? beat_of(context_q.elements[1]) : '0;
      param_q <= param_q + 1'b1;
      operand_q <= SumWidth'(second_operand_q);
    end else if (issue_q && !addend_q) begin
      left_q <= left_q - 1'b1;
      feature_q <= feature_q + 1'b1;
      if (context_q.is_norm) param_q <= param_q + ParamWidth'(Lanes);
    end
  end

  // ---------------------------------------------------------------- beats

  assign beat_valid_o = issue_q;
  always_comb begin
    if (context_q.is_norm) beat_o.kind = BeatNorm;
    else if (context_q.is_pool_features) beat_o.kind = BeatScalar;
    else if (context_q.is_modulate) beat_o.kind = addend_q ? BeatAddend : BeatModulate;
    else if (!context_q.is_pool) beat_o.kind = BeatScale;
    else if (context_q.passes) beat_o.kind = BeatNothing;
    else beat_o.kind = maximum_q ? BeatMaximum : BeatMean;
    beat_o.last = finish_q;
    beat_o.operand = addend_q ? SumWidth'(second_operand_q) : operand_q;
    beat_o.left_shift = left_shift_q;
    beat_o.word = (addend_q ? ResidWidth'(context_q.second_word) : context_q.src_word) +
        ResidWidth'(feature_q >> SlotWidth);
    beat_o.feature = FeatureWidth'(feature_q);
    beat_o.lane = pass_end_q ? context_q.last_lane : '1;
    if (context_q.is_pool_features) beat_o.lane = context_q.elements[maximum_q][LaneWidth-1:0];
    beat_o.logit_word = context_q.logit_word + LogitWidth'(feature_q >> SlotWidth);
    beat_o.table_index = context_q.table_index;
    beat_o.param_addr = param_q;
    beat_o.dst_word = (maximum_q ? context_q.second_word : context_q.dst_word) +
        DstWidth'(feature_q >> SlotWidth);
    beat_o.wide = context_q.wide;
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

  one_operation :
  assert property (disable iff (!live) context_valid_i |-> $onehot0(
      {context_i.is_norm, context_i.is_pool, context_i.is_pool_features, context_i.is_modulate}
  ))
  else $error("vector_back: an entry of more than one operation");

  beat_has_credit :
  assert property (disable iff (!live) credit_taken |-> credits_q != '0)
  else $error("vector_back: a beat is issued without a place for its result");

  credit_was_taken :
  assert property (disable iff (!live) result_popped_q |-> credits_q != CreditWidth'(ResultDepth))
  else $error("vector_back: a result leaves that has no place");
`endif

endmodule

`default_nettype wire
