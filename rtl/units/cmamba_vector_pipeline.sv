// Pipeline of the vector unit: reads the elements of a beat, multiplies them, and gives the product
// to the sums of the row, or what is rounded of it to the output. Front and back share it, because
// one read of `resid` a cycle is all that either could use; the back goes first. Here are POOL's
// sums too, which the front adds to and the back reads.
//
// Stages, counted from the issue of a beat:
//
//    1   address of resid        | 1  look-up of SCALE is near | 2  address of sums (front)
//    3   word of resid           | 2  look-up of SCALE         | 4  sums
//    4   elements                | 4  address of parameters    | 5  new sums; address (back)
//    5   operands of the multiplier: x * x, or (x << k) * (r << j)
//    7   product ---> reduce                                   | 7  sums
//    8   split for rounding
//    9   rounded ---> output
//
// The product's last 17 bits are its fraction, but for x * x and for x * 1, which POOL_FEATURES
// sums: these need none. MODULATE's addend waits beside the multiplier, with the shift added to it,
// for one cycle, as x always follows at once.

`default_nettype none

module cmamba_vector_pipeline
  import cmamba_vector_pkg::*;
(
    input wire logic clk_i,
    input wire logic rst_i,

    // Beats, never of both in a cycle. A beat of POOL that is not the first of its sequence comes
    // at least four cycles after the one that it adds to, and not within seven cycles of a BeatMean
    // or BeatMaximum.
    input  wire logic        front_valid_i,
    input  wire front_beat_t front_beat_i,
    input  wire logic        back_valid_i,
    input  wire back_beat_t  back_beat_i,
    // Beats of POOL are in stages 1 or 2.
    output logic             pool_busy_o,

    output logic                        resid_rd_en_o,
    output logic [ResidWidth-1:0]       resid_rd_addr_o,
    input  wire logic [RowAlign*16-1:0] resid_rd_data_i,

    // To the tables: a beat of SCALE is in stage 1; its look-up in stage 2; the parameters that any
    // beat wants, in stage 4.
    output logic                  scale_soon_o,
    output lookup_t               scale_lookup_o,
    output param_source_e         param_source_o,
    output logic [ParamWidth-1:0] param_addr_o,

    // Stage 7: products that count in the sums of a row.
    output logic                        part_valid_o,
    output part_t                       part_o,
    output logic [Lanes-1:0][43:0] products_o,

    // Stage 9: what is requantized, int32, and where it goes.
    output logic                          rounded_valid_o,
    output result_t                       result_o,
    output logic                          wide_o,
    output logic [Lanes-1:0][31:0] rounded_o
);

  localparam int unsigned Stages = 9;

  // A beat of either.
  typedef struct packed {
    kind_e                   kind;
    logic                    first;
    logic                    last;
    logic [31:0]             eps;
    logic [SumWidth-1:0]     operand;
    logic [3:0]              left_shift;
    logic [FeatureWidth-1:0] feature;
    logic [Lanes-1:0]        lanes;
    logic [LogitWidth-1:0]   logit_word;
    logic [TableWidth-1:0]   table_index;
    logic [ParamWidth-1:0]   param_addr;
    logic [DstWidth-1:0]     dst_word;
    logic                    wide;
  } beat_t;

  // What the sums of a row count; what takes the sums of POOL.
  function automatic logic sums(kind_e kind);
    return kind == BeatSquare || kind == BeatReduce;
  endfunction

  function automatic logic pools(kind_e kind);
    return kind == BeatMean || kind == BeatMaximum;
  endfunction

  beat_t issued;
  beat_t [Stages:1] beat_q;
  logic [Stages:1] valid_q;
  logic [LaneWidth-1:0] lane;  // the last, or the only one
  logic only;

  // What one of the two does not have does not matter in its beats.
  always_comb begin
    issued.kind = back_valid_i ? back_beat_i.kind : front_beat_i.kind;
    issued.first = front_beat_i.first;
    issued.last = back_valid_i ? back_beat_i.last : front_beat_i.last;
    issued.eps = front_beat_i.eps;
    issued.operand = back_valid_i ? back_beat_i.operand : SumWidth'(1);
    issued.left_shift = back_beat_i.left_shift;
    issued.feature = back_valid_i ? back_beat_i.feature : front_beat_i.feature;
    lane = back_valid_i ? back_beat_i.lane : front_beat_i.last_lane;
    only = back_valid_i && back_beat_i.kind == BeatScalar;
    for (int unsigned l = 0; l < Lanes; l++) begin
      issued.lanes[l] = l == 32'(lane) || (!only && l < 32'(lane));
    end
    issued.logit_word = back_beat_i.logit_word;
    issued.table_index = back_beat_i.table_index;
    issued.param_addr = back_beat_i.param_addr;
    issued.dst_word = back_beat_i.dst_word;
    issued.wide = back_beat_i.wide;
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= '0;
    else valid_q <= {valid_q[Stages-1:1], front_valid_i || back_valid_i};
    beat_q <= {beat_q[Stages-1:1], issued};
    resid_rd_addr_o <= back_valid_i ? back_beat_i.word : front_beat_i.word;
  end

  logic unused;
  assign unused = ^beat_q;

  assign resid_rd_en_o = valid_q[1] && !(pools(
      beat_q[1].kind
  ) || beat_q[1].kind == BeatScalar || beat_q[1].kind == BeatNothing);

  assign scale_soon_o = valid_q[1] && beat_q[1].kind == BeatScale;
  assign scale_lookup_o = '{
          logit_word: beat_q[2].logit_word,
          table_index: beat_q[2].table_index,
          slot: beat_q[2].feature[SlotWidth-1:0],
          lane: '0,
          is_shift: 1'b0
      };

  // POOL, POOL_FEATURES, MODULATE: one word for all lanes.
  assign param_addr_o = beat_q[4].param_addr;
  always_comb begin
    unique case (beat_q[4].kind)
      BeatScale: param_source_o = ParamsOfTable;
      BeatNorm:  param_source_o = ParamsOfRow;
      default:   param_source_o = ParamOfEntry;
    endcase
  end

  // ---------------------------------------------------------------- multiply

  logic [Lanes-1:0][         15:0] x_q;
  logic [Lanes-1:0][         43:0] products;
  logic [Lanes-1:0][ SumWidth-1:0] whole_q;  // product without its fraction
  logic [Lanes-1:0]                up_q;  // round up
  logic [Lanes-1:0][         31:0] rounded_q;
  logic [Lanes-1:0][SumWidth+15:0] pooled;

  function automatic logic signed [15:0] lane16(logic [RowAlign*16-1:0] word,
                                                logic [SlotWidth-1:0] slot, int unsigned l);
    return word[16*(32'(slot)*Lanes+l)+:16];
  endfunction

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
    masks_q <= sums(beat_q[3].kind);
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
      x_q[l] <= lane16(resid_rd_data_i, beat_q[3].feature[SlotWidth-1:0], l);
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
      rounded_q[l] <= 32'(signed'(whole_q[l])) + 32'(up_q[l]);
    end
  end

  assign part_valid_o = valid_q[7] && sums(beat_q[7].kind);
  assign part_o = '{
          squares: beat_q[7].kind == BeatSquare,
          first: beat_q[7].first,
          last: beat_q[7].last,
          eps: beat_q[7].eps,
          lanes: beat_q[7].lanes
      };
  assign products_o = products;

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
  assign rounded_valid_o = valid_q[9] && !(sums(
      beat_q[9].kind
  ) || beat_q[9].kind == BeatPool || beat_q[9].kind == BeatAddend);
  assign result_o = '{
          target: target,
          last: beat_q[9].last,
          slot: beat_q[9].feature[SlotWidth-1:0],
          lanes: beat_q[9].lanes,
          dst_word: beat_q[9].dst_word
      };
  assign wide_o = beat_q[9].wide;
  assign rounded_o = rounded_q;

  // ---------------------------------------------------------------- sums of POOL

  // Front and back never read in the same cycle: while the back has sums to read, the front adds to
  // none; the position that comes first then reads none, and the next one comes to its stage 2 at
  // least seven cycles after the back's last beat was issued, which is in stage 5 after five.
  logic pool_adds, pool_reads, pool_we_q;
  logic [FeatureWidth-1:0] pool_waddr_q, pool_raddr;
  logic [Lanes-1:0][SumWidth+15:0] pool_d, pool_q;
  assign pool_adds  = valid_q[2] && beat_q[2].kind == BeatPool && !beat_q[2].first;
  assign pool_reads = valid_q[5] && pools(beat_q[5].kind);
  assign pool_raddr = pool_reads ? beat_q[5].feature : beat_q[2].feature;

  always_comb begin
    pool_busy_o = 1'b0;
    for (int unsigned s = 1; s <= 2; s++) begin
      if (valid_q[s] && beat_q[s].kind == BeatPool) pool_busy_o = 1'b1;
    end
  end

  // Whether the beat in stage 4 is the first of its sequence, for every few lanes.
  localparam int unsigned PoolLanes = Lanes < 4 ? Lanes : 4;
  for (genvar g = 0; g < Lanes / PoolLanes; g++) begin : gen_first
    (* keep = "true" *) logic first_q;
    always_ff @(posedge clk_i) first_q <= beat_q[3].first;
  end

  for (genvar l = 0; l < Lanes; l++) begin : gen_pool
    // Both signed: synthesis then knows the shorter one, and puts the choice of the other into the
    // LUTs of the adder.
    logic signed [SumWidth-1:0] sum_before;
    logic signed [15:0] maximum_before, x;
    logic first;
    assign first = gen_first[l/PoolLanes].first_q;
    assign sum_before = first ? '0 : pooled[l][SumWidth-1:0];
    assign maximum_before = pooled[l][SumWidth+:16];
    assign x = x_q[l];
    assign pool_d[l] = {
      first || x > maximum_before ? x : maximum_before, sum_before + SumWidth'(x)
    };
  end

  always_ff @(posedge clk_i) begin
    pool_we_q <= !rst_i && valid_q[4] && beat_q[4].kind == BeatPool;
    pool_waddr_q <= beat_q[4].feature;
    pool_q <= pool_d;
  end

  cmamba_ram_1w #(
      .Width(Lanes * (SumWidth + 16)),
      .Depth(cmamba_build_pkg::MaxFeatures / Lanes),
      .RamStyle("distributed")
  ) u_pool (
      .clk_i,
      .wr_en_i  (pool_we_q),
      .wr_addr_i(pool_waddr_q),
      .wr_data_i(pool_q),
      .rd_en_i  (pool_adds || pool_reads),
      .rd_addr_i(pool_raddr),
      .rd_data_o(pooled)
  );

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  one_beat :
  assert property (disable iff (!live) !(front_valid_i && back_valid_i))
  else $error("vector_pipeline: beats of front and back in one cycle");

  x_follows :
  assert property (disable iff (!live) back_valid_i && back_beat_i.kind == BeatAddend |=>
      back_valid_i && back_beat_i.kind == BeatModulate)
  else $error("vector_pipeline: no x behind an addend of MODULATE");

  one_read :
  assert property (disable iff (!live) !(pool_adds && pool_reads))
  else $error("vector_pipeline: front and back read sums of POOL in one cycle");

  // A sum of POOL is read that is still on its way to memory.
  logic sum_missing;
  always_comb begin
    sum_missing = pool_adds && pool_we_q && pool_waddr_q == beat_q[2].feature;
    for (int unsigned s = 3; s <= 4; s++) begin
      if (pool_adds && valid_q[s] && beat_q[s].kind == BeatPool &&
          beat_q[s].feature == beat_q[2].feature) begin
        sum_missing = 1'b1;
      end
    end
  end

  sum_is_written :
  assert property (disable iff (!live) !sum_missing)
  else $error("vector_pipeline: a sum of POOL is read before it is written");
`endif

endmodule

`default_nettype wire
