// Back of the array: finished sums to results, RequantizeLanes a cycle.
//
//   cycle  0  decide: a chunk of sums is (nearly) there
//          1  read parameters, running sums, addend
//          2  address for the queue of sums, which reads them in the next cycle
//          3  data of these
//          4  add bias or running sums: to the running sums, or to the requantizer
//        4+L  clamped (L = latency of the requantizer): write port, done
//
// The queue is announced three cycles before its sums are written, which is when cycle 3 reads
// them.
//
// A reduction takes the bias at its first position and the running sums at the others. These are
// in memory five cycles after the decision, so that an entry which begins sooner after the one that
// wrote them waits.

`default_nettype none

module cmamba_array_output #(
    // Inputs of a lane in one tile; a word of the activation memories holds four times as many.
    parameter int unsigned TileIn = 16,
    // Lanes of the array.
    parameter int unsigned TileOut = 64,
    // Results a cycle.
    parameter int unsigned RequantizeLanes = 16,
    // Words of array_params.
    parameter int unsigned ArrayParams = 16384,
    // Running sums of a reduction.
    parameter int unsigned ReduceElements = 4096,
    // Output tiles that may be between array_issue and here.
    parameter int unsigned Credits = 32,
    localparam int unsigned RowAlign = 4 * TileIn,
    localparam int unsigned WordAddrBits = 20 - $clog2(RowAlign),
    localparam int unsigned ParamAddrBits = $clog2(ArrayParams / RequantizeLanes),
    localparam int unsigned QueueAddrBits = $clog2(Credits),
    localparam int unsigned ChunkBits = $clog2(TileOut / RequantizeLanes)
) (
    input wire logic clk_i,
    input wire logic rst_i,

    // An entry whose first tile is being read; at most Credits of them are here.
    input wire logic entry_valid_i,
    // verilator lint_off UNUSEDSIGNAL
    // The front has used the other fields.
    input wire cmamba_array_pkg::linear_result_t entry_i,
    // verilator lint_on UNUSEDSIGNAL

    // Queue of sums: an output tile will be written three cycles later; it has been read.
    input  wire logic sums_soon_i,
    output logic release_o,
    output logic [QueueAddrBits-1:0] queue_addr_o,
    output logic [ChunkBits-1:0] queue_chunk_o,
    input  wire logic [RequantizeLanes-1:0][31:0] queue_sums_i,  // two cycles later

    // Parameters: lane l of the memory holds the words l, RequantizeLanes + l, ... Data two cycles
    // later.
    output logic param_rd_en_o,
    output logic [RequantizeLanes-1:0][ParamAddrBits-1:0] param_rd_addr_o,
    input  wire logic [RequantizeLanes-1:0][cmamba_pkg::ParamWordBits-1:0] param_rd_data_i,

    // Addend, from resid. Data two cycles later.
    output logic add_rd_en_o,
    output logic [WordAddrBits-1:0] add_rd_addr_o,
    input  wire logic [RowAlign-1:0][15:0] add_rd_data_i,

    // Results: int8 memories take the lower half of each element. They may be any chunk of the
    // word, the mask says which.
    output logic [cmamba_pkg::NumSpaces-1:0] wr_en_o,  // of each memory
    output logic [WordAddrBits-1:0] wr_addr_o,
    output logic [RowAlign-1:0] wr_mask_o,
    output logic [RequantizeLanes-1:0][15:0] wr_data_o,

    // An entry completes: with its last write, or the last of its running sums; and ArrayReadDelay
    // cycles before.
    output logic done_o,
    output logic done_soon_o
);

  localparam int unsigned Log2Lanes = $clog2(RequantizeLanes);
  // A word of an activation memory holds so many chunks.
  localparam int unsigned WordChunks = RowAlign / RequantizeLanes;
  localparam int unsigned Log2WordChunks = $clog2(WordChunks);
  localparam int unsigned ChunkAddrBits = WordAddrBits + Log2WordChunks;
  localparam int unsigned SumAddrBits = $clog2(ReduceElements / RequantizeLanes);

  if (RequantizeLanes < 2 || RequantizeLanes != 1 << Log2Lanes) begin : gen_check_lanes
    $fatal(
        1, "array_output: RequantizeLanes is %0d, expected a power of two from 2", RequantizeLanes
    );
  end
  if (TileOut % (4 * RequantizeLanes) != 0) begin : gen_check_tile_out
    $fatal(1, "array_output: TileOut is %0d, expected a multiple of 4 * RequantizeLanes", TileOut);
  end
  if (RowAlign % RequantizeLanes != 0 || WordChunks < 2) begin : gen_check_tile_in
    $fatal(
        1, "array_output: TileIn is %0d, expected a word of 2 * RequantizeLanes or more", TileIn
    );
  end
  if (ArrayParams % RequantizeLanes != 0) begin : gen_check_params
    $fatal(
        1, "array_output: ArrayParams is %0d, expected a multiple of RequantizeLanes", ArrayParams
    );
  end
  if (ReduceElements % RequantizeLanes != 0) begin : gen_check_reduce
    $fatal(
        1,
        "array_output: ReduceElements is %0d, expected a multiple of RequantizeLanes",
        ReduceElements
    );
  end

  // ---- Entries that wait ----

  typedef struct packed {
    logic [3:0]              space;
    logic [WordAddrBits-1:0] dst_word;
    logic [WordAddrBits-1:0] add_word;
    logic [19:0]             param_addr;
    // Number of the last chunk but one (-1: there is one only), lane of the last output.
    logic [15-Log2Lanes:0]   chunk_limit;
    logic [Log2Lanes-1:0]    last_lane;
    logic [1:0]              log2_split;
    logic                    wide;
    logic                    relu;
    logic                    add_enable;
    logic                    sums_read;
    logic                    sums_write;
  } entry_t;

  // The last output, as chunk and lane; the chunk less one.
  logic [15:0] outputs_left;
  assign outputs_left = entry_i.instruction.n_out - 16'(RequantizeLanes + 1);

  // Passed on a cycle later: there are many until the entry's first sums come.
  entry_t pushed_q, head;
  logic   push_q;
  // verilator lint_off UNUSEDSIGNAL
  // Counters take the words of its rows.
  entry_t entry_q;
  // verilator lint_on UNUSEDSIGNAL
  logic head_valid, next_entry_q, has_room_for_entry;
  logic [$clog2(Credits + 2)-1:0] unused_entries_level;

  always_ff @(posedge clk_i) begin
    push_q <= !rst_i && entry_valid_i;
    pushed_q <= '{
        space: entry_i.instruction.dst.space,
        dst_word: WordAddrBits'(entry_i.dst_word),
        add_word: WordAddrBits'(entry_i.add_word),
        param_addr: entry_i.instruction.param_addr,
        chunk_limit: outputs_left[15:Log2Lanes],
        last_lane: outputs_left[Log2Lanes-1:0],
        log2_split: entry_i.instruction.log2_split,
        wide: entry_i.instruction.wide,
        relu: entry_i.instruction.relu,
        add_enable: entry_i.instruction.add_enable,
        sums_read: entry_i.instruction.reduce && !entry_i.is_first,
        sums_write: entry_i.instruction.reduce && !entry_i.is_last
    };
  end

  cmamba_fifo #(
      .Width($bits(entry_t)),
      .Depth(Credits),
      .RamStyle("distributed")
  ) u_entries (
      .clk_i,
      .rst_i,
      .valid_i(push_q),
      .ready_o(has_room_for_entry),   // every entry in it has a credit
      .data_i (pushed_q),
      .valid_o(head_valid),
      .ready_i(next_entry_q),
      .data_o (head),
      .level_o(unused_entries_level)
  );

  // ---- Stage 0: chunks of the current entry ----

  logic [15-Log2Lanes:0] chunk_q;  // of the entry
  logic last_chunk_q, last_chunk_d;
  logic [ChunkBits-1:0] tile_chunk_q;  // of the output tile
  logic tile_ends_q;  // with this chunk
  logic [19-Log2Lanes:0] param_row_q;
  logic [ChunkAddrBits-1:0] dst_chunk_q, add_chunk_q;
  logic [QueueAddrBits-1:0] queue_tile_q;
  // Tiles in the queue, or so near to it that they will be there in time. Whether there is one is
  // wanted before their new number is there.
  logic [QueueAddrBits:0] tiles_q, tiles_d;
  logic has_tile_q, has_tile_d, has_two_q, tile_taken;

  // The entry begins with running sums; running sums are on their way to memory.
  logic takes_sums_q, takes_sums_d, sums_coming_d;
  // A chunk is decided; there is no entry, or it ends with this chunk. All registers here depend on
  // it, so that it is known the cycle before.
  logic go_q, go_d;
  logic entry_valid_d;
  assign entry_valid_d = !next_entry_q || head_valid;
  assign go_d = entry_valid_d && has_tile_d && !(takes_sums_d && sums_coming_d);
  assign takes_sums_d = next_entry_q ? head.sums_read : takes_sums_q && !go_q;
  assign tile_taken = go_q && tile_ends_q;
  assign tiles_d = tiles_q + (QueueAddrBits + 1)'(sums_soon_i) - (QueueAddrBits + 1)'(tile_taken);
  assign has_tile_d = sums_soon_i || (tile_taken ? has_two_q : has_tile_q);
  always_comb begin
    last_chunk_d = last_chunk_q;
    if (next_entry_q) last_chunk_d = head.chunk_limit == '1;
    else if (go_q) last_chunk_d = chunk_q == entry_q.chunk_limit;
  end

  function automatic logic [ChunkBits-1:0] last_of_tile(logic [1:0] log2_split);
    return ChunkBits'((TileOut / RequantizeLanes - 1) >> log2_split);
  endfunction

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      go_q <= 1'b0;
      next_entry_q <= 1'b1;
      tiles_q <= '0;
      has_tile_q <= 1'b0;
      has_two_q <= 1'b0;
      queue_tile_q <= '0;
      release_o <= 1'b0;
    end else begin
      go_q <= go_d;
      next_entry_q <= !entry_valid_d || (go_d && last_chunk_d);
      tiles_q <= tiles_d;
      has_tile_q <= has_tile_d;
      has_two_q <= tiles_d > (QueueAddrBits + 1)'(1);
      release_o <= tile_taken;
      if (tile_taken) queue_tile_q <= queue_tile_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    takes_sums_q <= takes_sums_d;
    last_chunk_q <= last_chunk_d;
    if (next_entry_q) begin
      entry_q <= head;
      chunk_q <= '0;
      tile_chunk_q <= '0;
      tile_ends_q <= last_chunk_d || last_of_tile(head.log2_split) == '0;
      param_row_q <= head.param_addr[19:Log2Lanes];
      dst_chunk_q <= {head.dst_word, {Log2WordChunks{1'b0}}};
      add_chunk_q <= {head.add_word, {Log2WordChunks{1'b0}}};
    end else if (go_q) begin
      chunk_q <= chunk_q + 1'b1;
      tile_chunk_q <= tile_ends_q ? '0 : tile_chunk_q + 1'b1;
      tile_ends_q <= last_chunk_d || last_of_tile(
          entry_q.log2_split
      ) == (tile_ends_q ? '0 : tile_chunk_q + 1'b1);
      param_row_q <= param_row_q + 1'b1;
      dst_chunk_q <= dst_chunk_q + 1'b1;
      add_chunk_q <= add_chunk_q + 1'b1;
    end
  end



  // ---- What goes down the pipeline with a chunk ----

  localparam int unsigned SumStage = 4;
  localparam int unsigned ResultStage = SumStage + cmamba_cells_pkg::RequantizerLatency;

  typedef struct packed {
    logic [3:0]               space;
    logic [ChunkAddrBits-1:0] dst_chunk;
    logic [ChunkAddrBits-1:0] add_chunk;
    logic [Log2Lanes-1:0]     last_lane;   // lanes above have no output
    logic                     wide;
    logic                     relu;
    logic                     add_enable;
  } chunk_t;

  chunk_t decided;
  chunk_t stage_q[1:SumStage];
  logic [ResultStage-1:1] write_q;
  logic [ResultStage:1] done_q;
  logic [SumStage:1] sums_write_q;
  logic [3:1] sums_read_q;

  assign decided = '{
          space: entry_q.space,
          dst_chunk: dst_chunk_q,
          add_chunk: add_chunk_q,
          last_lane: last_chunk_q ? entry_q.last_lane : '1,
          wide: entry_q.wide,
          relu: entry_q.relu,
          add_enable: entry_q.add_enable
      };

  always_ff @(posedge clk_i) begin
    stage_q[1] <= decided;
    for (int unsigned s = 2; s <= SumStage; s++) stage_q[s] <= stage_q[s-1];
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      write_q <= '0;
      done_q <= '0;
      sums_read_q <= '0;
      sums_write_q <= '0;
    end else begin
      write_q <= {write_q[ResultStage-2:1], go_q && !entry_q.sums_write};
      done_q <= {done_q[ResultStage-1:1], go_q && last_chunk_q};
      sums_read_q <= {sums_read_q[2:1], go_q && entry_q.sums_read};
      sums_write_q <= {sums_write_q[SumStage-1:1], go_q && entry_q.sums_write};
    end
  end
  assign sums_coming_d = (go_q && entry_q.sums_write) || (|sums_write_q[SumStage-2:1]);



  // ---- Stages 1 to 3: reads ----

  logic [Log2Lanes-1:0] shift_q[1:3];  // lane of the memory that holds the chunk's first word
  logic [SumAddrBits-1:0] sum_addr_q[1:SumStage];
  logic [QueueAddrBits-1:0] queue_addr_q[1:2];
  logic [ChunkBits-1:0] queue_chunk_q[1:2];
  logic param_rd_en_q;
  logic [RequantizeLanes-1:0][ParamAddrBits-1:0] param_rd_addr_q;

  always_ff @(posedge clk_i) begin
    if (rst_i) param_rd_en_q <= 1'b0;
    else param_rd_en_q <= go_q;
  end

  always_ff @(posedge clk_i) begin
    shift_q[1] <= entry_q.param_addr[Log2Lanes-1:0];
    queue_addr_q[1] <= queue_tile_q;
    queue_chunk_q[1] <= tile_chunk_q;
    queue_addr_q[2] <= queue_addr_q[1];
    queue_chunk_q[2] <= queue_chunk_q[1];
    for (int unsigned s = 2; s <= 3; s++) shift_q[s] <= shift_q[s-1];
    sum_addr_q[1] <= SumAddrBits'(chunk_q);
    for (int unsigned s = 2; s <= SumStage; s++) sum_addr_q[s] <= sum_addr_q[s-1];
    for (int unsigned l = 0; l < RequantizeLanes; l++) begin
      param_rd_addr_q[l] <= ParamAddrBits'(param_row_q) +
          ParamAddrBits'(Log2Lanes'(l) < entry_q.param_addr[Log2Lanes-1:0]);
    end
  end

  assign param_rd_en_o   = param_rd_en_q;
  assign param_rd_addr_o = param_rd_addr_q;
  assign queue_addr_o    = queue_addr_q[2];
  assign queue_chunk_o   = queue_chunk_q[2];

  // ---- Stages 3 and 4: parameters in the order of the lanes, sums ----

  logic [RequantizeLanes-1:0][cmamba_pkg::ParamWordBits-1:0] rotated;
  cmamba_rotate_lanes #(
      .Lanes(RequantizeLanes),
      .Width(cmamba_pkg::ParamWordBits)
  ) u_rotate (
      .data_i (param_rd_data_i),
      .shift_i(shift_q[3]),
      .data_o (rotated)
  );

  logic [RequantizeLanes-1:0][31:0] running, start_q, sum;
  cmamba_pkg::param_word_t [RequantizeLanes-1:0] param_q;

  always_ff @(posedge clk_i) begin
    for (int unsigned l = 0; l < RequantizeLanes; l++) begin
      start_q[l] <= sums_read_q[3] ? running[l] : rotated[l][31:0];
      param_q[l] <= rotated[l][$bits(cmamba_pkg::param_word_t)-1:0];
    end
  end

  always_comb begin
    for (int unsigned l = 0; l < RequantizeLanes; l++) begin
      // Modulo 2^32: only the sum over all inputs and positions is known to fit.
      sum[l] = queue_sums_i[l] + start_q[l];
    end
  end

  cmamba_ram_1w #(
      .Width(RequantizeLanes * 32),
      .Depth(ReduceElements / RequantizeLanes),
      .MaskedWidth(32),
      .RamStyle("distributed")
  ) u_running_sums (
      .clk_i,
      .wr_en_i  (sums_write_q[SumStage]),
      .wr_addr_i(sum_addr_q[SumStage]),
      .wr_data_i(sum),
      .rd_en_i  (sums_read_q[1]),
      .rd_addr_i(sum_addr_q[1]),
      .rd_data_o(running)
  );

  // ---- Addend: beside the sum ----

  logic [RequantizeLanes-1:0][15:0] addend_q;
  logic [Log2WordChunks-1:0] add_chunk_in_word;

  assign add_rd_en_o = write_q[1] && stage_q[1].add_enable;
  assign add_rd_addr_o = stage_q[1].add_chunk[ChunkAddrBits-1:Log2WordChunks];
  assign add_chunk_in_word = stage_q[3].add_chunk[Log2WordChunks-1:0];

  always_ff @(posedge clk_i) begin
    addend_q <= stage_q[3].add_enable ?
        add_rd_data_i[add_chunk_in_word*RequantizeLanes+:RequantizeLanes] : '0;
  end

  // ---- Requantize and write ----

  typedef struct packed {
    logic [WordAddrBits-1:0] word;
    logic [RowAlign-1:0]     mask;
  } target_t;

  target_t target, written;
  logic [RowAlign-1:0] mask_q;
  logic [ResultStage-1:SumStage+1][3:0] space_q;
  logic unused_valid;  // write_q and done_q know

  always_ff @(posedge clk_i) begin
    for (int unsigned i = 0; i < RowAlign; i++) begin
      mask_q[i] <= Log2WordChunks'(i >> Log2Lanes) == stage_q[3].dst_chunk[Log2WordChunks-1:0] &&
          Log2Lanes'(i) <= stage_q[3].last_lane;
    end
  end

  assign target = '{
          word: stage_q[SumStage].dst_chunk[ChunkAddrBits-1:Log2WordChunks],
          mask: mask_q
      };

  cmamba_requantizer #(
      .Lanes   (RequantizeLanes),
      .TagWidth($bits(target_t))
  ) u_requantizer (
      .clk_i,
      .rst_i,
      .valid_i (1'b1),
      .tag_i   (target),
      .acc_i   (sum),
      .param_i (param_q),
      .addend_i(addend_q),
      .wide_i  (stage_q[SumStage].wide),
      .relu_i  (stage_q[SumStage].relu),
      .valid_o (unused_valid),
      .tag_o   (written),
      .data_o  (wr_data_o)
  );

  // All bits that a memory with another writer takes depend on who it is: decoded a cycle ahead.
  always_ff @(posedge clk_i) begin
    space_q <= {space_q[ResultStage-2:SumStage+1], stage_q[SumStage].space};
    for (int unsigned s = 0; s < cmamba_pkg::NumSpaces; s++) begin
      wr_en_o[s] <= !rst_i && write_q[ResultStage-1] && space_q[ResultStage-1] == 4'(s);
    end
  end
  assign wr_addr_o = written.word;
  assign wr_mask_o = written.mask;
  assign done_o = done_q[ResultStage];
  assign done_soon_o = done_q[ResultStage-cmamba_cells_pkg::ArrayReadDelay];

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  // Running sums are read that are still on their way to memory.
  logic sums_missing;
  always_comb begin
    sums_missing = 1'b0;
    for (int unsigned s = 2; s <= SumStage; s++) begin
      if (sums_read_q[1] && sums_write_q[s] && sum_addr_q[s] == sum_addr_q[1]) sums_missing = 1'b1;
    end
  end

  entry_has_room :
  assert property (disable iff (!live) push_q |-> has_room_for_entry)
  else $error("array_output: an entry comes, and there are Credits of them");

  tiles_fit :
  assert property (disable iff (!live) 32'(tiles_q) <= Credits)
  else $error("array_output: %0d tiles in the queue, expected %0d at most", tiles_q, Credits);

  chunk_has_sums :
  assert property (disable iff (!live) go_q |-> tiles_q != '0)
  else $error("array_output: sums are read and none are there");

  sums_are_written :
  assert property (disable iff (!live) !sums_missing)
  else $error("array_output: running sums are read before they are written");

  one_memory :
  assert property (disable iff (!live) $onehot0(wr_en_o))
  else $error("array_output: wr_en_o is %b, expected one memory", wr_en_o);
`endif

endmodule

`default_nettype wire
