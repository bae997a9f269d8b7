// RECV: takes the beats of one token from s_axis and writes them as a row of the patch memory, a
// beat a cycle.
//
// TLAST must accompany the last beat of the run and no other. A packet that ends early or late is
// an error, after which the unit stands still until the run is ended (`abort_i`). What is then left
// of a packet is dropped up to its TLAST, so that the next run starts with its own data:
//
//   beats   | token 0 | token 1 | ... | last token | too much ......... TLAST | next run
//           |<------------- taken -------------->|<------- dropped -------->|
//
// A beat that is offered and not taken may change or go, although AXI4-Stream forbids it: so it does
// where the driver resets the DMA after an error. Only what is taken counts.

`default_nettype none

module cmamba_stream_in #(
    // Elements of a word of the patch memory: one or more whole beats.
    parameter int unsigned RowAlign = cmamba_build_pkg::RowAlign,
    // Elements of the patch memory.
    parameter int unsigned PatchElements = cmamba_build_pkg::PatchElements,
    // Beats to drop at most: more than any host sends by mistake before it ends a transfer.
    parameter int unsigned MaxDrainBeats = 1 << 24,
    localparam int unsigned AddrWidth = $clog2(PatchElements / RowAlign)
) (
    input wire logic clk_i,
    input wire logic rst_i,

    // Ends the run: the unit forgets its entry and drops the rest of a packet that it has begun.
    input  wire logic        abort_i,
    // Cycles without a beat after which dropping gives up. Zero stands for 2^32.
    input  wire logic [31:0] watchdog_cycles_i,
    output logic             draining_o,
    // What was wrong with the packet, for one cycle; otherwise ErrorOk.
    output cmamba_pkg::error_e error_o,

    input  wire logic                          start_valid_i,
    output logic                               start_ready_o,
    input  wire cmamba_pkg::recv_instruction_t instruction_i,
    // Where the row begins.
    input  wire logic [AddrWidth-1:0]          dst_word_i,
    // The entry is the last RECV of the run.
    input  wire logic                          last_i,
    output logic                               done_o,

    input  wire logic         s_axis_tvalid_i,
    output logic              s_axis_tready_o,
    input  wire logic [127:0] s_axis_tdata_i,
    input  wire logic         s_axis_tlast_i,

    output logic                    patch_wr_en_o,
    output logic [AddrWidth-1:0]    patch_wr_addr_o,
    output logic [RowAlign-1:0]     patch_wr_mask_o,
    output logic [RowAlign*8-1:0]   patch_wr_data_o
);

  localparam int unsigned BeatElements = 16;
  // Beats of a word of the memory, and of the longest token.
  localparam int unsigned Slots = RowAlign / BeatElements;
  localparam int unsigned SlotWidth = Slots > 1 ? $clog2(Slots) : 1;
  localparam int unsigned BeatWidth = 13;
  localparam int unsigned DrainWidth = $clog2(MaxDrainBeats + 1);

  if (RowAlign % BeatElements != 0 || RowAlign != 1 << $clog2(RowAlign)) begin : gen_check_align
    $fatal(1, "stream_in: RowAlign is %0d, expected a power of two from 16", RowAlign);
  end
  if (PatchElements < 2 * RowAlign) begin : gen_check_elements
    $fatal(1, "stream_in: PatchElements is %0d, expected at least two words", PatchElements);
  end
  if (MaxDrainBeats < 1) begin : gen_check_drain
    $fatal(1, "stream_in: MaxDrainBeats is %0d, expected at least 1", MaxDrainBeats);
  end

  logic active_q, halted_q, draining_q, in_packet_q;
  logic last_token_q, last_beat_q;
  logic [BeatWidth-1:0] beats_left_q;
  logic [3:0] tail_q;  // elements of the last beat, 0 stands for 16
  logic [AddrWidth-1:0] word_q;
  logic [SlotWidth-1:0] slot_q;
  logic [31:0] idle_q;  // cycles that dropping may go on without a beat
  logic idle_last_q;  // none of them is left
  logic [DrainWidth-1:0] drain_left_q;
  logic drain_last_q;  // one of them is left
  logic give_up;

  logic unused;
  assign unused = ^instruction_i;

  // ---------------------------------------------------------------- the packet

  logic accept, take, begun, is_end, early, late;
  assign s_axis_tready_o = active_q || draining_q;
  assign accept = s_axis_tvalid_i && s_axis_tready_o;
  assign take = accept && active_q;
  // Whether a packet is under way after this cycle.
  assign begun = accept ? !s_axis_tlast_i : in_packet_q;
  assign is_end = last_token_q && last_beat_q;
  assign early = take && s_axis_tlast_i && !is_end;
  assign late = take && !s_axis_tlast_i && is_end;

  always_ff @(posedge clk_i) begin
    if (rst_i) in_packet_q <= 1'b0;
    else in_packet_q <= begun && !give_up;
  end

  // ---------------------------------------------------------------- one entry

  logic start;
  logic [BeatWidth-1:0] beats;
  assign start_ready_o = !active_q && !halted_q && !draining_q && !abort_i;
  assign start = start_valid_i && start_ready_o;
  assign beats = BeatWidth'((17'(instruction_i.n) + 17'(BeatElements - 1)) >> 4);

  always_ff @(posedge clk_i) begin
    if (rst_i || abort_i) begin
      active_q <= 1'b0;
      halted_q <= 1'b0;
      done_o   <= 1'b0;
      error_o  <= cmamba_pkg::ErrorOk;
    end else begin
      if (start) active_q <= 1'b1;
      else if (take && (last_beat_q || early)) active_q <= 1'b0;
      if (early || late) halted_q <= 1'b1;
      done_o <= take && last_beat_q && !early && !late;
      error_o <= early ? cmamba_pkg::ErrorTlastEarly :
          late ? cmamba_pkg::ErrorTlastLate : cmamba_pkg::ErrorOk;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start) begin
      last_token_q <= last_i;
      beats_left_q <= beats;
      last_beat_q <= beats == BeatWidth'(1);
      tail_q <= instruction_i.n[3:0];
      word_q <= dst_word_i;
      slot_q <= '0;
    end else if (take) begin
      beats_left_q <= beats_left_q - 1'b1;
      last_beat_q  <= beats_left_q == BeatWidth'(2);
      if (32'(slot_q) == Slots - 1) begin
        slot_q <= '0;
        word_q <= word_q + 1'b1;
      end else begin
        slot_q <= slot_q + 1'b1;
      end
    end
  end

  // The beat stands in every slot of the word; the mask selects one.
  logic [BeatElements-1:0] elements;
  always_comb begin
    for (int unsigned i = 0; i < BeatElements; i++) begin
      elements[i] = !last_beat_q || tail_q == '0 || i < 32'(tail_q);
    end
  end

  always_ff @(posedge clk_i) begin
    patch_wr_en_o   <= !rst_i && take;
    patch_wr_addr_o <= word_q;
    patch_wr_data_o <= {Slots{s_axis_tdata_i}};
    for (int unsigned s = 0; s < Slots; s++) begin
      patch_wr_mask_o[s*BeatElements+:BeatElements] <= 32'(slot_q) == s ? elements : '0;
    end
  end

  // ---------------------------------------------------------------- the rest of a packet

  assign give_up = draining_q && (accept ? drain_last_q : idle_last_q);
  assign draining_o = draining_q;

  always_ff @(posedge clk_i) begin
    if (rst_i) draining_q <= 1'b0;
    else if (draining_q) draining_q <= begun && !give_up;
    else draining_q <= abort_i && begun;

    if (!draining_q || accept) begin
      idle_q <= watchdog_cycles_i - 1'b1;
      idle_last_q <= watchdog_cycles_i == 32'd1;
    end else begin
      idle_q <= idle_q - 1'b1;
      idle_last_q <= idle_q == 32'd1;
    end
    if (!draining_q) begin
      drain_left_q <= DrainWidth'(MaxDrainBeats);
      drain_last_q <= MaxDrainBeats == 1;
    end else if (accept) begin
      drain_left_q <= drain_left_q - 1'b1;
      drain_last_q <= drain_left_q == DrainWidth'(2);
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

  entry_is_legal :
  assert property (disable iff (!live) start |-> instruction_i.n != '0)
  else $error("stream_in: an entry without elements");

  takes_or_drops :
  assert property (disable iff (!live) $onehot0({active_q, halted_q, draining_q}))
  else $error("stream_in: the unit takes, stands still and drops at once");

  end_is_one :
  assert property (disable iff (!live) !(done_o && error_o != cmamba_pkg::ErrorOk))
  else $error("stream_in: an entry ends well and with an error");
`endif

endmodule

`default_nettype wire
