// SEND: reads a row of `head` and sends it to m_axis, a beat of eight int16 a cycle.
//
//   head word --> one beat of it --> queue --> output register --> m_axis
//     2 cycles         1               2
//
// Reads run ahead of the stream as far as the queue has room, also into the next entry, so that
// back-pressure never loses a beat and a free stream never waits. What m_axis offers stays as it is
// until it is taken, even where the run is ended meanwhile (`abort_i`); all else is dropped then.

`default_nettype none

module cmamba_stream_out #(
    // Elements of a word of the head memory: one or more whole beats.
    parameter int unsigned RowAlign = cmamba_build_pkg::RowAlign,
    // Elements of the head memory.
    parameter int unsigned HeadElements = cmamba_build_pkg::HeadElements,
    localparam int unsigned AddrWidth = $clog2(HeadElements / RowAlign)
) (
    input wire logic clk_i,
    input wire logic rst_i,

    // Ends the run: entries are forgotten.
    input wire logic abort_i,

    input  wire logic                          start_valid_i,
    output logic                               start_ready_o,
    input  wire cmamba_pkg::send_instruction_t instruction_i,
    // Where the row begins.
    input  wire logic [AddrWidth-1:0]          src_word_i,
    // TLAST accompanies the last beat of this entry.
    input  wire logic                          last_i,
    output logic                               done_o,

    output logic                  head_rd_en_o,
    output logic [AddrWidth-1:0]  head_rd_addr_o,
    input  wire logic [RowAlign*16-1:0] head_rd_data_i,

    output logic         m_axis_tvalid_o,
    input  wire logic    m_axis_tready_i,
    output logic [127:0] m_axis_tdata_o,
    output logic [15:0]  m_axis_tkeep_o,
    output logic         m_axis_tlast_o
);

  localparam int unsigned BeatElements = 8;
  localparam int unsigned BeatBits = 16 * BeatElements;
  localparam int unsigned Slots = RowAlign / BeatElements;
  localparam int unsigned SlotWidth = $clog2(Slots);
  localparam int unsigned BeatWidth = 14;
  // Beats between the read and the output register. A beat needs six cycles for this way.
  localparam int unsigned QueueDepth = 8;
  localparam int unsigned CreditWidth = $clog2(QueueDepth + 1);

  if (Slots < 2 || RowAlign != 1 << $clog2(RowAlign)) begin : gen_check_align
    $fatal(1, "stream_out: RowAlign is %0d, expected a power of two from 16", RowAlign);
  end
  if (HeadElements < 2 * RowAlign) begin : gen_check_elements
    $fatal(1, "stream_out: HeadElements is %0d, expected at least two words", HeadElements);
  end

  // What goes with a beat on its way.
  typedef struct packed {
    logic [SlotWidth-1:0] slot;
    logic [3:0]           elements;   // that belong to the row
    logic                 last;       // TLAST
    logic                 entry_end;  // the entry's last beat
  } beat_t;

  typedef struct packed {
    logic [BeatBits-1:0] data;
    logic                last;
    logic                entry_end;
  } sent_t;

  // ---------------------------------------------------------------- one entry

  logic active_q, last_q, last_beat_q;
  logic [BeatWidth-1:0] beats_left_q, beats;
  logic [2:0] tail_q;  // elements of the last beat, 0 stands for 8
  logic [AddrWidth-1:0] word_q;
  logic [SlotWidth-1:0] slot_q;
  logic start, issue;

  logic unused;
  assign unused = ^instruction_i;

  assign start_ready_o = (!active_q || (issue && last_beat_q)) && !abort_i;
  assign start = start_valid_i && start_ready_o;
  assign beats = BeatWidth'((17'(instruction_i.n) + 17'(BeatElements - 1)) >> 3);

  always_ff @(posedge clk_i) begin
    if (rst_i || abort_i) active_q <= 1'b0;
    else if (start) active_q <= 1'b1;
    else if (issue && last_beat_q) active_q <= 1'b0;

    if (start) begin
      last_q <= last_i;
      beats_left_q <= beats;
      last_beat_q <= beats == BeatWidth'(1);
      tail_q <= instruction_i.n[2:0];
      word_q <= src_word_i;
      slot_q <= '0;
    end else if (issue) begin
      beats_left_q <= beats_left_q - 1'b1;
      last_beat_q <= beats_left_q == BeatWidth'(2);
      slot_q <= slot_q + 1'b1;
      if (slot_q == '1) word_q <= word_q + 1'b1;
    end
  end

  // ---------------------------------------------------------------- read

  // A beat is issued against a free place in the queue.
  logic [CreditWidth-1:0] credits_q;
  logic pop;
  assign issue = active_q && credits_q != '0;

  always_ff @(posedge clk_i) begin
    if (rst_i || abort_i) credits_q <= CreditWidth'(QueueDepth);
    else credits_q <= credits_q - CreditWidth'(issue) + CreditWidth'(pop);
  end

  logic  [3:0] valid_q;  // issued: 0 address, 1 memory, 2 word, 3 beat
  beat_t [2:0] beat_q;
  sent_t sent_d, sent_q;

  always_comb begin
    logic [BeatBits-1:0] data;
    data = head_rd_data_i[32'(beat_q[2].slot)*BeatBits+:BeatBits];
    sent_d.last = beat_q[2].last;
    sent_d.entry_end = beat_q[2].entry_end;
    for (int unsigned i = 0; i < BeatElements; i++) begin
      sent_d.data[16*i+:16] = i < 32'(beat_q[2].elements) ? data[16*i+:16] : '0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (rst_i || abort_i) valid_q <= '0;
    else valid_q <= {valid_q[2:0], issue};
    head_rd_addr_o <= word_q;
    beat_q[0].slot <= slot_q;
    beat_q[0].elements <= !last_beat_q || tail_q == '0 ? 4'(BeatElements) : 4'(tail_q);
    beat_q[0].last <= last_beat_q && last_q;
    beat_q[0].entry_end <= last_beat_q;
    beat_q[2:1] <= beat_q[1:0];
    sent_q <= sent_d;
  end
  assign head_rd_en_o = valid_q[0];

  // ---------------------------------------------------------------- queue and output

  logic queue_valid, has_room_for_beat;
  logic [CreditWidth-1:0] unused_queue_level;
  sent_t queue_data;

  cmamba_fifo #(
      .Width($bits(sent_t)),
      .Depth(QueueDepth),
      .RamStyle("distributed")
  ) u_queue (
      .clk_i,
      .rst_i  (rst_i || abort_i),
      .valid_i(valid_q[3]),
      .ready_o(has_room_for_beat),
      .data_i (sent_q),
      .valid_o(queue_valid),
      .ready_i(pop),
      .data_o (queue_data),
      .level_o(unused_queue_level)
  );

  logic tvalid_q, ends_entry_q;
  logic [BeatBits-1:0] tdata_q;
  logic tlast_q;
  assign pop = queue_valid && (!tvalid_q || m_axis_tready_i);

  always_ff @(posedge clk_i) begin
    if (rst_i) tvalid_q <= 1'b0;
    else if (pop && !abort_i) tvalid_q <= 1'b1;
    else if (m_axis_tready_i) tvalid_q <= 1'b0;

    if (pop) begin
      tdata_q <= queue_data.data;
      tlast_q <= queue_data.last;
    end

    if (rst_i || abort_i) begin
      ends_entry_q <= 1'b0;
      done_o <= 1'b0;
    end else begin
      if (pop) ends_entry_q <= queue_data.entry_end;
      done_o <= tvalid_q && m_axis_tready_i && ends_entry_q;
    end
  end

  assign m_axis_tvalid_o = tvalid_q;
  assign m_axis_tdata_o  = tdata_q;
  assign m_axis_tkeep_o  = '1;
  assign m_axis_tlast_o  = tlast_q;

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
  else $error("stream_out: an entry without elements");

  beat_stays :
  assert property (disable iff (!live) m_axis_tvalid_o && !m_axis_tready_i |=> $stable(
      {m_axis_tvalid_o, m_axis_tdata_o, m_axis_tlast_o}
  ))
  else $error("stream_out: what m_axis offers went or changed before it was taken");

  beat_has_room :
  assert property (disable iff (!live) valid_q[3] |-> has_room_for_beat)
  else $error("stream_out: a beat was read for which there is no place");
`endif

endmodule

`default_nettype wire
