// Front of the array: turns entries into reads of one weight tile and one word of inputs a cycle.
//
//   start --> [raw entry] --> [the entry: counters] --> [read ports]
//
// The raw entry holds the next one while the tiles of the one before are read, so that two entries
// follow each other without a gap. Output tiles are the outer loop, input tiles the inner one. The
// first read happens three cycles after the start (ArrayReadDelay).
//
// An output tile begins only with a credit, which stands for its place in the queue of finished
// sums: nothing behind this module can be overrun.
//
// Tiles from resident_tiles_i upwards are not in the weight memory: the loader puts them into slots
// of it, in the order of the requests on fetch_*, and offers each on stream_*. Requests are made
// from the raw entry, so that the next entry's tiles are fetched while this one computes.
`default_nettype none

module cmamba_array_issue #(
    // Inputs of a lane in one tile.
    parameter int unsigned TileIn = 16,
    // Lanes.
    parameter int unsigned TileOut = 64,
    // Tiles in the weight memory.
    parameter int unsigned WeightTiles = 3328,
    // Output tiles that may be between here and the requantizer.
    parameter int unsigned Credits = 32,
    localparam int unsigned WeightAddrBits = $clog2(WeightTiles),
    // A package has at most 2^32 bytes.
    localparam int unsigned TileBits = 32 - $clog2(TileIn * TileOut),
    localparam int unsigned WordAddrBits = 20 - $clog2(4 * TileIn),
    localparam int unsigned EndBits = $clog2(4 * TileIn)
) (
    input wire logic clk_i,
    input wire logic rst_i,

    input  wire logic start_valid_i,
    output logic start_ready_o,
    // verilator lint_off UNUSEDSIGNAL
    // Words of fewer bits.
    input  wire cmamba_array_pkg::linear_entry_t entry_i,
    // verilator lint_on UNUSEDSIGNAL

    // Of the loaded package: tiles in the weight memory, and whether there are more.
    input  wire logic [TileBits-1:0] resident_tiles_i,
    input  wire logic streams_i,

    // Tiles that an entry will take from the stream.
    output logic fetch_valid_o,
    input  wire logic fetch_ready_i,
    output cmamba_array_pkg::tile_range_t fetch_o,

    // The next streamed tile lies in this slot of the weight memory. In the cycle of stream_ready_o
    // it is read; the slot may be written from the next cycle on.
    input  wire logic stream_valid_i,
    output logic stream_ready_o,
    input  wire logic [WeightAddrBits-1:0] stream_slot_i,

    // Read ports. tile_o goes with a read.
    output logic weight_rd_en_o,
    output logic [WeightAddrBits-1:0] weight_rd_addr_o,
    output logic src_rd_en_o,
    output logic [3:0] src_rd_space_o,
    output logic [WordAddrBits-1:0] src_rd_addr_o,
    output cmamba_array_pkg::tile_t tile_o,

    // With the first tile of an entry: what becomes of its sums.
    output logic result_valid_o,
    output cmamba_array_pkg::linear_result_t result_o,

    // An output tile has left the queue of sums.
    input  wire logic release_i
);

  localparam int unsigned Log2TileIn = $clog2(TileIn);
  localparam int unsigned Log2TileOut = $clog2(TileOut);
  localparam int unsigned PartAddrBits = WordAddrBits + 2;
  localparam int unsigned CreditBits = $clog2(Credits + 1);

  if (TileOut < 4) begin : gen_check_tile_out
    $fatal(1, "array_issue: TileOut is %0d, expected at least 4", TileOut);
  end
  if (WeightAddrBits > TileBits) begin : gen_check_weight_tiles
    $fatal(1, "array_issue: WeightTiles is %0d, more than a package can hold", WeightTiles);
  end

  // ---- Raw entry ----

  logic raw_valid_q;
  cmamba_pkg::linear_instruction_t raw_q;
  logic [WordAddrBits-1:0] raw_src_word_q, raw_dst_word_q, raw_add_word_q;
  logic [11:0] weight_row_q;
  logic raw_first_q, raw_final_q;  // the first, the last position of a sequence

  logic take, start;
  assign start_ready_o = !raw_valid_q;
  assign start = start_valid_i && start_ready_o;

  always_ff @(posedge clk_i) begin
    if (rst_i) raw_valid_q <= 1'b0;
    else if (start) raw_valid_q <= 1'b1;
    else if (take) raw_valid_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (start) begin
      raw_q <= entry_i.instruction;
      raw_src_word_q <= WordAddrBits'(entry_i.src_word);
      raw_dst_word_q <= WordAddrBits'(entry_i.dst_word);
      raw_add_word_q <= WordAddrBits'(entry_i.add_word);
      weight_row_q <= entry_i.instruction.reduce ? entry_i.position : 12'd0;
      raw_first_q <= entry_i.position == '0;
      raw_final_q <= entry_i.position == entry_i.instruction.n_positions - 12'd1;
    end
  end

  logic [TileBits-1:0] first_tile;
  logic [15:0] last_in, last_out;  // tiles less one
  logic [EndBits-1:0] last_end;  // the matrix's last input, in its tile
  assign first_tile = TileBits'(raw_q.weight_addr) + TileBits'(weight_row_q * raw_q.weight_stride);
  assign last_in = ((raw_q.n_in - 16'd1) >> Log2TileIn) >> raw_q.log2_split;
  assign last_end = EndBits'(raw_q.n_in - 16'd1) & ~(EndBits'(3 * TileIn) << raw_q.log2_split);
  assign last_out = ((raw_q.n_out - 16'd1) >> (Log2TileOut - 2)) >> (2'd2 - raw_q.log2_split);

  // ---- Requests for streamed tiles, before the entry goes on ----

  typedef enum logic [2:0] {
    CheckFirst,
    CheckCount,
    CheckEnd,
    CheckCompare,
    CheckDone
  } check_e;
  check_e check_q;
  logic fetch_valid_q, first_streamed_q;
  logic [TileBits-1:0] check_first_q, check_in_q, check_out_q;
  logic [TileBits-1:0] check_count_q, check_end_q, fetch_first_q;
  logic checked;

  assign checked = !streams_i || (check_q == CheckDone && (!fetch_valid_q || fetch_ready_i));

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      check_q <= CheckFirst;
      fetch_valid_q <= 1'b0;
      first_streamed_q <= 1'b0;
    end else begin
      unique case (check_q)
        CheckFirst: if (raw_valid_q && streams_i) check_q <= CheckCount;
        CheckCount: check_q <= CheckEnd;
        CheckEnd: check_q <= CheckCompare;
        CheckCompare: begin
          check_q <= CheckDone;
          first_streamed_q <= check_first_q >= resident_tiles_i;
          fetch_valid_q <= check_end_q > resident_tiles_i;
        end
        CheckDone: begin
          if (fetch_ready_i) fetch_valid_q <= 1'b0;
          if (take) begin
            check_q <= CheckFirst;
            first_streamed_q <= 1'b0;
          end
        end
        default: check_q <= CheckFirst;
      endcase
    end
    check_first_q <= first_tile;
    check_in_q    <= TileBits'(last_in) + TileBits'(1);
    check_out_q   <= TileBits'(last_out) + TileBits'(1);
    check_count_q <= check_in_q * check_out_q;
    check_end_q   <= check_first_q + check_count_q;
    if (check_q == CheckCompare) begin
      fetch_first_q <= check_first_q >= resident_tiles_i ? check_first_q : resident_tiles_i;
    end
  end

  assign fetch_valid_o = fetch_valid_q;
  assign fetch_o = '{first: 32'(fetch_first_q), beyond: 32'(check_end_q)};

  // ---- The entry whose tiles are read ----

  logic valid_q;
  cmamba_pkg::linear_instruction_t instruction_q;
  logic first_q, final_q;
  logic [WordAddrBits-1:0] dst_word_q, add_word_q;
  logic [PartAddrBits-1:0] src_base_q;  // in parts of TileIn elements
  logic [15:0] last_in_q;
  logic one_in_q;
  logic [EndBits-1:0] last_end_q;

  logic issue, issue_last;
  assign take = raw_valid_q && checked && (!valid_q || issue_last);

  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= 1'b0;
    else if (take) valid_q <= 1'b1;
    else if (issue_last) valid_q <= 1'b0;
  end

  // Rows begin with a word, but an instruction may read from the middle of one.
  logic [PartAddrBits-1:0] raw_src_base;
  assign raw_src_base = {raw_src_word_q, raw_q.src.addr[Log2TileIn+:2]};

  always_ff @(posedge clk_i) begin
    if (take) begin
      instruction_q <= raw_q;
      first_q <= raw_first_q;
      final_q <= raw_final_q;
      src_base_q <= raw_src_base;
      dst_word_q <= raw_dst_word_q;
      add_word_q <= raw_add_word_q;
      last_in_q <= last_in;
      one_in_q <= last_in == '0;
      last_end_q <= last_end;
    end
  end

  // ---- Counters: the tile that is read next ----

  logic entry_begins_q;  // no tile of the entry has been read yet
  logic output_begins_q, output_ends_q, last_output_q;
  logic [15:0] in_left_q, out_left_q;  // input and output tiles behind this one
  logic [PartAddrBits-1:0] part_q;
  logic [TileBits-1:0] tile_q, tile_next;
  logic tile_streamed_q;
  logic [CreditBits-1:0] credits_q;
  logic has_credit_q, take_credit;

  // stream_valid_i still means the tile that is being read in the cycle of stream_ready_o.
  assign issue = valid_q && (!output_begins_q || has_credit_q) &&
      (!tile_streamed_q || (stream_valid_i && !stream_ready_o));
  assign issue_last = issue && output_ends_q && last_output_q;
  assign take_credit = issue && output_begins_q;
  assign tile_next = tile_q + TileBits'(1);

  always_ff @(posedge clk_i) begin
    if (take) begin
      entry_begins_q <= 1'b1;
      output_begins_q <= 1'b1;
      output_ends_q <= last_in == '0;
      last_output_q <= last_out == '0;
      in_left_q <= last_in;
      out_left_q <= last_out;
      part_q <= raw_src_base;
      tile_q <= first_tile;
      tile_streamed_q <= first_streamed_q;
    end else if (issue) begin
      entry_begins_q <= 1'b0;
      output_begins_q <= output_ends_q;
      tile_q <= tile_next;
      tile_streamed_q <= tile_streamed_q || tile_next == resident_tiles_i;
      if (output_ends_q) begin
        output_ends_q <= one_in_q;
        in_left_q <= last_in_q;
        part_q <= src_base_q;
        last_output_q <= out_left_q == 16'd1;
        out_left_q <= out_left_q - 16'd1;
      end else begin
        output_ends_q <= in_left_q == 16'd1;
        in_left_q <= in_left_q - 16'd1;
        part_q <= part_q + (PartAddrBits'(1) << instruction_q.log2_split);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      credits_q <= CreditBits'(Credits);
      has_credit_q <= 1'b1;
    end else if (take_credit && !release_i) begin
      credits_q <= credits_q - 1'b1;
      has_credit_q <= credits_q != CreditBits'(1);
    end else if (release_i && !take_credit) begin
      credits_q <= credits_q + 1'b1;
      has_credit_q <= 1'b1;
    end
  end

  // ---- Read ports ----

  logic rd_en_q, streamed_rd_q;
  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      rd_en_q <= 1'b0;
      streamed_rd_q <= 1'b0;
    end else begin
      rd_en_q <= issue;
      streamed_rd_q <= issue && tile_streamed_q;
    end
  end
  always_ff @(posedge clk_i) begin
    weight_rd_addr_o <= tile_streamed_q ? stream_slot_i : tile_q[WeightAddrBits-1:0];
    src_rd_space_o <= instruction_q.src.space;
    src_rd_addr_o <= part_q[PartAddrBits-1:2];
    tile_o <= '{
        first: output_begins_q,
        last: output_ends_q,
        part: part_q[1:0],
        log2_split: instruction_q.log2_split,
        end_at: 16'(output_ends_q ? last_end_q : EndBits'('1))
    };
  end
  assign weight_rd_en_o = rd_en_q;
  assign src_rd_en_o = rd_en_q;
  assign stream_ready_o = streamed_rd_q;

  assign result_valid_o = issue && entry_begins_q;
  assign result_o = '{
          instruction: instruction_q,
          dst_word: 20'(dst_word_q),
          add_word: 20'(add_word_q),
          is_first: first_q,
          is_last: final_q
      };

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
      entry_i.instruction.n_in != '0 && entry_i.instruction.n_out != '0 &&
      entry_i.instruction.log2_split <= 2'd2)
  else $error("array_issue: an entry without inputs or outputs, or of more than four groups");

  package_stays :
  assert property (disable iff (!live) raw_valid_q || valid_q |-> $stable(
      {resident_tiles_i, streams_i}
  ))
  else $error("array_issue: the package changed while an entry computes");

  fetch_stays :
  assert property (disable iff (!live) fetch_valid_o && !fetch_ready_i |=> $stable(
      {fetch_valid_o, fetch_o}
  ))
  else $error("array_issue: the tiles to fetch went or changed before they were taken");

  slot_stays :
  assert property (disable iff (!live) stream_valid_i && !stream_ready_o |=> $stable(
      {stream_valid_i, stream_slot_i}
  ))
  else $error("array_issue: the streamed tile went before it was read");

  // Entries whose first read may come.
  localparam int unsigned Delay = cmamba_cells_pkg::ArrayReadDelay;
  logic [Delay-1:0] start_q;
  logic first_rd_q;
  logic [1:0] due, due_q;
  assign due = due_q + 2'(start_q[Delay-1]);
  always_ff @(posedge clk_i) begin
    start_q <= rst_i ? '0 : Delay'({start_q, start});
    first_rd_q <= !rst_i && result_valid_o;
    due_q <= rst_i ? '0 : due - 2'(first_rd_q);
  end

  read_is_due :
  assert property (disable iff (!live) first_rd_q |-> due != '0)
  else $error("array_issue: an entry reads sooner than ArrayReadDelay cycles after its start");

  read_was_offered :
  assert property (disable iff (!live) stream_ready_o |-> stream_valid_i)
  else $error("array_issue: a streamed tile is read that has not been offered");

  tile_has_credit :
  assert property (disable iff (!live) take_credit |-> credits_q != '0)
  else $error("array_issue: an output tile begins without a credit");

  credit_was_taken :
  assert property (disable iff (!live) release_i |-> credits_q != CreditBits'(Credits))
  else $error("array_issue: a credit comes back that was not taken");
`endif

endmodule

`default_nettype wire
