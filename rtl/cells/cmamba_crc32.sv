// CRC-32 (IEEE 802.3, as in zlib), a beat of 16 bytes or a single byte a cycle.
//
// The remainder after a beat is linear in the beat and in the remainder before it. The beat's part
// is pipelined, and only the remainder's is in a loop: two levels of LUTs.
//
//   beat --> parities of 4 x 32 bits --+--> their sum --+--> remainder --> crc_o
//   byte --> its parities -------------+                |       |
//                                                       +-------+ shifted by 128 or 8 bits

`default_nettype none

module cmamba_crc32 (
    input wire logic clk_i,

    // One of them each cycle. Clear begins a new sum.
    input wire logic clear_i,
    input wire logic beat_valid_i,
    input wire logic byte_valid_i,
    // The byte sent first is the lowest.
    input wire logic [127:0] beat_i,
    input wire logic [7:0] byte_i,

    // The sum of all that came before the last cmamba_cells_pkg::Crc32Latency cycles.
    output logic [31:0] crc_o
);

  localparam int unsigned Latency = cmamba_cells_pkg::Crc32Latency;
  localparam logic [31:0] Polynomial = 32'hEDB88320;  // bit-reflected

  // Bit i of the remainder is the parity of the bits of the beat in mask i. The remainder before is
  // added to the first 32 bits of the beat.
  typedef logic [31:0][127:0] masks_t;

  function automatic masks_t beat_masks();
    logic [31:0] column = Polynomial;
    for (int unsigned j = 0; j < 128; j++) begin
      for (int unsigned i = 0; i < 32; i++) beat_masks[i][127-j] = column[i];
      column = (column >> 1) ^ (column[0] ? Polynomial : '0);
    end
  endfunction

  localparam masks_t Masks = beat_masks();

  if (Latency != 3) begin : gen_check_latency
    $fatal(1, "crc32: Crc32Latency is %0d, expected 3", Latency);
  end

  typedef struct packed {
    logic clear;
    logic beat;
    logic single;  // byte
  } step_t;

  step_t [1:0] step_q;
  logic [31:0][3:0] parity_q;
  logic [31:0] single_q, sum_q, remainder_q;

  always_ff @(posedge clk_i) begin
    step_q <= {step_q[0], clear_i, beat_valid_i, byte_valid_i};
    for (int unsigned i = 0; i < 32; i++) begin
      for (int unsigned k = 0; k < 4; k++) begin
        parity_q[i][k] <= ^(beat_i[32*k+:32] & Masks[i][32*k+:32]);
      end
      // As the last byte of a beat.
      single_q[i] <= ^(byte_i & Masks[i][127:120]);
      sum_q[i] <= step_q[0].beat ? ^parity_q[i] : single_q[i];

      if (step_q[1].clear) begin
        remainder_q[i] <= 1'b1;
      end else if (step_q[1].beat) begin
        remainder_q[i] <= ^(remainder_q & Masks[i][31:0]) ^ sum_q[i];
      end else if (step_q[1].single) begin
        remainder_q[i] <= ^(remainder_q[7:0] & Masks[i][127:120]) ^
            (i < 24 ? remainder_q[(i+8)%32] : 1'b0) ^ sum_q[i];
      end
    end
  end

  assign crc_o = ~remainder_q;

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_quiet u_quiet (
      .clk_i,
      .active_i(clear_i || beat_valid_i || byte_valid_i),
      .live_o  (live)
  );

  one_at_a_time :
  assert property (disable iff (!live) $onehot0({clear_i, beat_valid_i, byte_valid_i}))
  else $error("crc32: more than one of clear, beat and byte in a cycle");
`endif

endmodule

`default_nettype wire
