// CONV: one token of the causal depthwise convolution, Lanes channels a cycle.
//
// The front reads the word of every tap, one a cycle, into `fill`. When all taps are there and the
// back has finished the word before, they move on to `taps`, and the front reads the next word, or
// the next token's first one.
//
//   src --2 cycles--> fill[tap] --> taps[tap] --> Lanes bytes of each, 8 products, adder tree,
//                     one tap       all taps      bias --> requantizer --> table --> write
//                     a cycle                     a group a cycle
//
//   cycle of the group  0 choose bytes, read parameters    6 sum of a channel     14 write
//                       2 multiply                         12 int8, look up
//                       3 products, three levels of adders
//
// A word takes as many cycles as it has groups of Lanes channels, or as there are taps where those
// are more. Rows before position 0 count as `pad`; taps from `kernel` on multiply zeros. The
// address param_addr is a multiple of Lanes.

`default_nettype none

module cmamba_conv
  import cmamba_pkg::*;
  import cmamba_cells_pkg::*;
#(
    // Channels a cycle, a power of two.
    parameter int unsigned Lanes = cmamba_build_pkg::ConvLanes,
    // Taps, the first ones, whose products DSP48E2 make; LUTs make the others: four are enough for
    // most models, and the DSP48E2 are needed elsewhere.
    parameter int unsigned DspTaps = 4,
    // Elements of a word of the activation memories.
    parameter int unsigned RowAlign = cmamba_build_pkg::RowAlign,
    // Elements of the memories that are read and written.
    parameter int unsigned ConvInElements = cmamba_build_pkg::ConvInElements,
    parameter int unsigned ConvElements = cmamba_build_pkg::ConvElements,
    // Channels of conv_params and tables of the loaded package.
    parameter int unsigned MaxConvParams = cmamba_build_pkg::MaxConvParams,
    parameter int unsigned MaxConvTables = cmamba_build_pkg::MaxConvTables,
    localparam int unsigned MaxTaps = LimitTaps,
    localparam int unsigned InAddrWidth = $clog2(ConvInElements / RowAlign),
    localparam int unsigned OutAddrWidth = $clog2(ConvElements / RowAlign),
    localparam int unsigned ParamAddrWidth = $clog2(MaxConvParams / Lanes),
    localparam int unsigned TableWidth = $clog2(MaxConvTables)
) (
    input wire logic clk_i,
    input wire logic rst_i,

    input  wire logic              start_valid_i,
    output logic                   start_ready_o,
    input  wire conv_instruction_t instruction_i,
    input  wire logic [11:0]       token_i,
    input  wire logic [11:0]       position_i,
    // Where the rows begin: of src that of the first tap.
    input  wire logic [InAddrWidth-1:0]  src_word_i,
    input  wire logic [OutAddrWidth-1:0] dst_word_i,
    output logic                   done_o,
    output logic                   done_soon_o,  // ArrayReadDelay cycles before

    // Activation memories: data two cycles after the address.
    output logic                          conv_in_rd_en_o,
    output logic [InAddrWidth-1:0]        conv_in_rd_addr_o,
    input  wire logic [RowAlign-1:0][7:0] conv_in_rd_data_i,
    output logic                          conv_wr_en_o,
    output logic [OutAddrWidth-1:0]       conv_wr_addr_o,
    output logic [RowAlign-1:0]           conv_wr_mask_o,
    output logic [RowAlign-1:0][7:0]      conv_wr_data_o,

    // Parameters of Lanes channels, data two cycles after the address: a parameter word below eight
    // taps.
    output logic                       param_rd_en_o,
    output logic [ParamAddrWidth-1:0]  param_rd_addr_o,
    input  wire logic [Lanes-1:0][127:0] param_rd_data_i,
    // Activation table: entries two cycles after table and argument.
    output logic [TableWidth-1:0]      table_o,
    output logic [Lanes-1:0][7:0]      argument_o,
    input  wire logic [Lanes-1:0][7:0] entry_i
);

  localparam int unsigned AlignWidth = $clog2(RowAlign);
  localparam int unsigned LaneWidth = $clog2(Lanes);
  localparam int unsigned Groups = RowAlign / Lanes;
  localparam int unsigned GroupWidth = $clog2(Groups);

  if (Lanes != 1 << LaneWidth || RowAlign != 1 << AlignWidth || Groups < 2) begin : gen_check_lanes
    $fatal(
        1,
        "conv: Lanes is %0d and RowAlign %0d, expected powers of two, RowAlign the larger",
        Lanes,
        RowAlign
    );
  end

  // What a word of channels needs behind the front.
  typedef struct packed {
    logic                      last;         // of the entry
    logic [GroupWidth:0]       groups;       // 1 to Groups
    logic [LaneWidth-1:0]      tail;         // channels of the last group, 0 stands for Lanes
    logic [ParamAddrWidth-1:0] param_row;    // of its first group
    logic [OutAddrWidth-1:0]   dst_word;
    logic [TableWidth-1:0]     table_index;
  } word_t;

  // ---------------------------------------------------------------- front: a tap a cycle

  logic busy_q;
  word_t word_q;  // without last, groups and tail
  logic [15:0] remaining_q;  // channels from this word on
  logic [3:0] tap_q, kernel_q;
  logic first_tap_q, last_tap_q, last_word_q, last_q;  // last_q: the entry's last read
  logic [7:0] pad_q;
  // Rows of the ring: of the tap, of tap 0, and where row 0 is; addresses of this word in them.
  logic [11:0] ring_mask_q, row_q, first_row_q;
  logic [InAddrWidth-1:0] addr_q, first_addr_q, base_addr_q, stride_q;
  // Taps that lie before position 0.
  logic [ 3:0] padded_q;

  logic [11:0] first_row;
  assign first_row = token_i - 12'(instruction_i.kernel) + 12'd1;
  logic unused_fields;
  assign unused_fields = ^instruction_i;

  // A word is complete in `fill` two cycles after its last tap was read. The next one may begin
  // when that word leaves before the first new tap arrives: now, or in the next cycle.
  logic may_begin_q;
  logic read, read_last;
  assign read = busy_q && (!first_tap_q || may_begin_q);
  assign read_last = read && last_q;

  assign start_ready_o = !busy_q || read_last;

  assign conv_in_rd_en_o = read;
  assign conv_in_rd_addr_o = addr_q;

  // What is offered is taken over whenever there is room; it counts where it is an entry.
  always_ff @(posedge clk_i) begin
    if (start_ready_o) begin
      word_q <= '{
          param_row: ParamAddrWidth'(instruction_i.param_addr >> LaneWidth),
          dst_word: dst_word_i,
          table_index: TableWidth'(instruction_i.table_index),
          default: '0
      };
      kernel_q <= instruction_i.kernel;
      first_tap_q <= 1'b1;
      last_tap_q <= instruction_i.kernel == 4'd1;
      last_word_q <= instruction_i.n <= 16'(RowAlign);
      last_q <= instruction_i.kernel == 4'd1 && instruction_i.n <= 16'(RowAlign);
      pad_q <= instruction_i.pad;
      remaining_q <= instruction_i.n;
      tap_q <= '0;
      ring_mask_q <= ~(12'hFFF << instruction_i.src.log2_rows);
      row_q <= first_row;
      first_row_q <= first_row;
      addr_q <= src_word_i;
      first_addr_q <= src_word_i;
      base_addr_q <= InAddrWidth'(instruction_i.src.addr >> AlignWidth);
      stride_q <= InAddrWidth'(instruction_i.src.stride >> AlignWidth);
      padded_q <= '0;
      if (position_i < 12'(instruction_i.kernel)) begin
        padded_q <= instruction_i.kernel - 4'd1 - 4'(position_i);
      end
    end else if (read) begin
      first_tap_q <= last_tap_q;
      if (!last_tap_q) begin
        tap_q <= tap_q + 1'b1;
        last_tap_q <= tap_q + 4'd2 == kernel_q;
        last_q <= tap_q + 4'd2 == kernel_q && last_word_q;
        row_q <= row_q + 1'b1;
        addr_q <= (row_q & ring_mask_q) == ring_mask_q ? base_addr_q : addr_q + stride_q;
      end else begin
        tap_q <= '0;
        last_tap_q <= kernel_q == 4'd1;
        last_word_q <= remaining_q <= 16'(2 * RowAlign);
        last_q <= kernel_q == 4'd1 && remaining_q <= 16'(2 * RowAlign);
        row_q <= first_row_q;
        addr_q <= first_addr_q + 1'b1;
        first_addr_q <= first_addr_q + 1'b1;
        base_addr_q <= base_addr_q + 1'b1;
        remaining_q <= remaining_q - 16'(RowAlign);
        word_q.dst_word <= word_q.dst_word + 1'b1;
        word_q.param_row <= word_q.param_row + ParamAddrWidth'(Groups);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) busy_q <= 1'b0;
    else busy_q <= start_valid_i || !start_ready_o;
  end

  // ---------------------------------------------------------------- taps

  typedef struct packed {
    logic [2:0] tap;
    logic       last_tap;
    logic       padded;
    logic [7:0] pad;
    word_t      word;
  } read_t;

  function automatic logic [GroupWidth:0] groups_of(logic [AlignWidth:0] channels);
    return (GroupWidth + 1)'((channels + (AlignWidth + 1)'(Lanes - 1)) >> LaneWidth);
  endfunction

  read_t issued;
  read_t issued_q[RamLatency];
  logic [RamLatency-1:0] issued_valid_q;
  always_comb begin
    issued = '{
        tap: tap_q[2:0],
        last_tap: last_tap_q,
        padded: tap_q < padded_q,
        pad: pad_q,
        word: word_q
    };
    issued.word.last = last_word_q;
    issued.word.groups = (GroupWidth + 1)'(Groups);
    issued.word.tail = '0;
    if (last_word_q) begin
      issued.word.groups = groups_of((AlignWidth + 1)'(remaining_q));
      issued.word.tail   = LaneWidth'(remaining_q);
    end
  end
  always_ff @(posedge clk_i) begin
    issued_q[0] <= issued;
    for (int unsigned s = 1; s < RamLatency; s++) issued_q[s] <= issued_q[s-1];
  end
  always_ff @(posedge clk_i) begin
    if (rst_i) issued_valid_q <= '0;
    else issued_valid_q <= {issued_valid_q[RamLatency-2:0], read};
  end

  typedef logic [RowAlign-1:0][7:0] row_t;
  // What comes in this cycle, and in the next one.
  logic arrives, arrived_last, arrives_next;
  word_t arrived_word;
  assign arrives = issued_valid_q[RamLatency-1];
  assign arrived_last = issued_q[RamLatency-1].last_tap;
  assign arrived_word = issued_q[RamLatency-1].word;
  assign arrives_next = issued_valid_q[RamLatency-2];

  // fill: the word that is read. A complete one moves on at once or waits, then `full`. The back
  // shifts `taps` to the next group every cycle.
  word_t fill_word_q;
  logic full_q;
  row_t taps_q[MaxTaps];
  word_t taps_word_q;  // groups: those that are left, with this one
  logic taps_valid_q;
  logic [GroupWidth-1:0] group_q;

  // When a word moves, and so when the next one may begin, has thousands of readers: both are known
  // a cycle ahead.
  logic completes, completes_next, full_d, move_d, move_q;
  logic free_next, free_then;  // the back is free in one cycle, in two
  logic [1:0] filling_d, filling_q;  // words on their way to fill, or in it
  word_t moving_word;
  assign completes = arrives && arrived_last;
  assign completes_next = arrives_next && issued_q[RamLatency-2].last_tap;
  assign moving_word = full_q ? fill_word_q : arrived_word;
  always_comb begin
    if (move_q) begin
      free_next = moving_word.groups == 1;
      free_then = moving_word.groups <= 2;
    end else begin
      free_next = !taps_valid_q || taps_word_q.groups <= 2;
      free_then = !taps_valid_q || taps_word_q.groups <= 3;
    end
    full_d = (full_q || completes) && !move_q;
    move_d = (full_d || completes_next) && free_next;
    filling_d = filling_q + 2'(read && first_tap_q) - 2'(move_q);
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      filling_q <= '0;
      full_q <= 1'b0;
      move_q <= 1'b0;
      may_begin_q <= 1'b1;
      taps_valid_q <= 1'b0;
    end else begin
      filling_q <= filling_d;
      full_q <= full_d;
      move_q <= move_d;
      may_begin_q <= filling_d == 2'd0 || (filling_d == 2'd1 &&
          (move_d || ((full_d || completes_next || (read && last_tap_q)) && free_then)));
      if (move_q) taps_valid_q <= 1'b1;
      else if (taps_word_q.groups == 1) taps_valid_q <= 1'b0;
    end
  end

  // The first tap of a word clears those that do not come. The last one may pass `fill` by. What
  // decides this is there for each tap in several copies, one for a part of the row.
  localparam int unsigned PartElements = RowAlign < 16 ? RowAlign : 16;
  typedef logic [PartElements-1:0][7:0] part_t;
  for (genvar p = 0; p < RowAlign / PartElements; p++) begin : gen_pad
    (* keep = "true" *) logic [7:0] arrived_pad_q;
    always_ff @(posedge clk_i) arrived_pad_q <= issued_q[RamLatency-2].pad;
  end
  for (genvar k = 0; k < MaxTaps; k++) begin : gen_fill
    row_t shifted;
    assign shifted = taps_q[k] >> (8 * Lanes);
    for (genvar p = 0; p < RowAlign / PartElements; p++) begin : gen_part
      localparam int unsigned First = p * PartElements;
      (* keep = "true" *)logic clears_q;
      (* keep = "true" *)logic here_q;
      (* keep = "true" *)logic moves_q;
      (* keep = "true" *)logic is_pad_q;
      part_t arrived, filled_q;
      assign arrived = is_pad_q ? {PartElements{gen_pad[p].arrived_pad_q}} :
          conv_in_rd_data_i[First+:PartElements];
      always_ff @(posedge clk_i) begin
        clears_q <= arrives_next && issued_q[RamLatency-2].tap == '0 && k != 0;
        here_q   <= arrives_next && issued_q[RamLatency-2].tap == 3'(k);
        moves_q  <= !rst_i && move_d;
        is_pad_q <= issued_q[RamLatency-2].padded;
        if (clears_q) filled_q <= '0;
        else if (here_q) filled_q <= arrived;
        if (moves_q && clears_q) taps_q[k][First+:PartElements] <= '0;
        else if (moves_q) taps_q[k][First+:PartElements] <= here_q ? arrived : filled_q;
        else taps_q[k][First+:PartElements] <= shifted[First+:PartElements];
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (arrives) fill_word_q <= arrived_word;
    if (move_q) begin
      taps_word_q <= moving_word;
      group_q <= '0;
    end else begin
      group_q <= group_q + 1'b1;
      taps_word_q.groups <= taps_word_q.groups - 1'b1;
    end
  end

  // ---------------------------------------------------------------- back: a group a cycle

  // Stages, counted from the cycle of a group.
  localparam int unsigned StageOperands = RamLatency;
  localparam int unsigned StageSum = StageOperands + 4;
  localparam int unsigned StageTable = StageSum + RequantizerLatency;
  localparam int unsigned StageWrite = StageTable + ActivationTableLatency;
  localparam int unsigned StageSoon = StageWrite - ArrayReadDelay;

  typedef struct packed {
    logic                    last;
    logic [OutAddrWidth-1:0] dst_word;
    logic [GroupWidth-1:0]   group;
    logic [Lanes-1:0]        mask;
    logic [TableWidth-1:0]   table_index;
  } group_t;
  group_t group_at[StageWrite+1];
  logic [StageWrite:0] valid_at;

  always_comb begin
    group_at[0] = '{
        last: taps_word_q.last && taps_word_q.groups == 1,
        dst_word: taps_word_q.dst_word,
        group: group_q,
        table_index: taps_word_q.table_index,
        mask: '0
    };
    for (int unsigned l = 0; l < Lanes; l++) begin
      group_at[0].mask[l] = taps_word_q.groups != 1 || taps_word_q.tail == '0 ||
          LaneWidth'(l) < taps_word_q.tail;
    end
  end
  assign valid_at[0] = taps_valid_q;
  for (genvar s = 1; s <= StageWrite; s++) begin : gen_stage
    always_ff @(posedge clk_i) group_at[s] <= group_at[s-1];
  end
  always_ff @(posedge clk_i) begin
    if (rst_i) valid_at[StageWrite:1] <= '0;
    else valid_at[StageWrite:1] <= valid_at[StageWrite-1:0];
  end

  assign param_rd_en_o   = taps_valid_q;
  assign param_rd_addr_o = taps_word_q.param_row + ParamAddrWidth'(group_q);

  param_word_t [Lanes-1:0] param_q[StageOperands+1:StageSum];
  logic [Lanes-1:0][31:0] sum;
  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    // Bytes of the group, one of each tap; they wait for the parameters.
    logic signed [7:0] bytes_q[1:StageOperands][MaxTaps];
    logic signed [15:0] product[MaxTaps], product_q[MaxTaps];
    for (genvar k = 0; k < MaxTaps; k++) begin : gen_tap
      logic signed [7:0] x, weight;
      assign x = bytes_q[StageOperands][k];
      assign weight = param_rd_data_i[l][64+8*k+:8];
      if (k < DspTaps) begin : gen_dsp
        assign product[k] = x * weight;
      end else begin : gen_lut
        cmamba_multiply_lut u_multiply_lut (
            .a_i      (x),
            .b_i      (weight),
            .product_o(product[k])
        );
      end
    end
    logic signed [16:0] pair_q[MaxTaps/2];
    logic signed [17:0] quarter_q[MaxTaps/4];
    logic signed [31:0] sum_q;
    always_ff @(posedge clk_i) begin
      for (int unsigned k = 0; k < MaxTaps; k++) begin
        bytes_q[1][k] <= taps_q[k][l];
        for (int unsigned s = 2; s <= StageOperands; s++) bytes_q[s][k] <= bytes_q[s-1][k];
      end
      product_q <= product;
      for (int unsigned i = 0; i < MaxTaps / 2; i++) begin
        pair_q[i] <= 17'(product_q[2*i]) + 17'(product_q[2*i+1]);
      end
      for (int unsigned i = 0; i < MaxTaps / 4; i++) begin
        quarter_q[i] <= 18'(pair_q[2*i]) + 18'(pair_q[2*i+1]);
      end
      sum_q <= 32'(quarter_q[0]) + 32'(quarter_q[1]) + param_q[StageSum-1][l].bias;
    end
    assign sum[l] = sum_q;

    always_ff @(posedge clk_i) begin
      param_q[StageOperands+1][l] <= param_word_t'(param_rd_data_i[l][63:0]);
    end
    for (genvar s = StageOperands + 2; s <= StageSum; s++) begin : gen_param
      always_ff @(posedge clk_i) param_q[s][l] <= param_q[s-1][l];
    end
  end

  logic [Lanes-1:0][15:0] result;
  logic unused_valid, unused_tag;
  cmamba_requantizer #(
      .Lanes(Lanes)
  ) u_requantizer (
      .clk_i,
      .rst_i,
      .valid_i(valid_at[StageSum]),
      .tag_i(1'b0),
      .acc_i(sum),
      .param_i(param_q[StageSum]),
      .addend_i('0),
      .wide_i(1'b0),
      .relu_i(1'b0),
      .valid_o(unused_valid),
      .tag_o(unused_tag),
      .data_o(result)
  );

  assign table_o = group_at[StageTable].table_index;
  for (genvar l = 0; l < Lanes; l++) begin : gen_argument
    assign argument_o[l] = result[l][7:0];
    logic unused_high;
    assign unused_high = ^result[l][15:8];
  end

  assign conv_wr_en_o   = valid_at[StageWrite];
  assign conv_wr_addr_o = group_at[StageWrite].dst_word;
  for (genvar e = 0; e < RowAlign; e++) begin : gen_element
    assign conv_wr_mask_o[e] = group_at[StageWrite].mask[e%Lanes] &&
        group_at[StageWrite].group == GroupWidth'(e / Lanes);
    assign conv_wr_data_o[e] = entry_i[e%Lanes];
  end
  assign done_o = valid_at[StageWrite] && group_at[StageWrite].last;
  assign done_soon_o = valid_at[StageSoon] && group_at[StageSoon].last;

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
      instruction_i.n != '0 && instruction_i.kernel != '0 &&
      32'(instruction_i.kernel) <= MaxTaps && 32'(instruction_i.param_addr) % Lanes == 0)
  else $error("conv: an entry without channels, of 0 or too many taps, or of a wrong param_addr");

  words_fit :
  assert property (disable iff (!live) filling_q <= 2'd2)
  else $error("conv: %0d words on their way to the taps, expected 2 at most", filling_q);

  word_stays :
  assert property (disable iff (!live) arrives && full_q |-> move_q)
  else $error("conv: a tap comes before the word before has left");
`endif

endmodule

`default_nettype wire
