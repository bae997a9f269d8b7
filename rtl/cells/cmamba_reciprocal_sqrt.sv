// Reciprocal square root of NORM, docs/numerics.md: for 1 <= s < 2^48
//
//   e = floor((bit_length(s) - 31) / 2)        m = s / 4^e, 2^30 <= m < 2^32
//   r = the largest integer below 2^17 with r^2 * m <= 2^64
//
// A digit recurrence, one bit of r a cycle, without multipliers. With r known down to bit b + 1,
// bit b is set if (r + 2^b)^2 * m stays within 2^64, that is if
//
//   (2^64 - r^2 m) / 2^b  >=  2 r m + 2^b m
//          left                   cost
//
// Both sides are integers, since r is a multiple of 2^(b+1). Kept are they and 2^b m; from b to
// b - 1
//
//   bit set     left' = 2 (left - cost)     cost' = cost + 2^b m + 2^(b-1) m
//   bit clear   left' = 2 left              cost' = cost         - 2^(b-1) m
//
// so that the sums of a step are computed side by side. Bit 16 is always set, since 2^32 m < 2^64:
// the recurrence begins with r = 2^16 and bit 15.
//
// s is taken a cycle after it has come, at the earliest, when its zero bytes are known. The result
// comes 18 cycles after that, 2 for m and 16 for the bits, and stays until it is taken.

`default_nettype none

module cmamba_reciprocal_sqrt (
    input wire logic clk_i,
    input wire logic rst_i,

    input wire logic valid_i,
    output logic ready_o,
    // 1 to 2^48 - 1; it stays until it is taken.
    input wire logic [47:0] s_i,

    output logic valid_o,
    input wire logic ready_i,
    output logic [16:0] r_o,
    // -15 to 8.
    output logic signed [5:0] e_o
);

  typedef enum logic [1:0] {
    StateIdle,
    StateAlign,
    StateBits,
    StateDone
  } state_e;

  state_e state_q;
  logic   seen_q;  // s_i has been there in the cycle before

  assign ready_o = state_q == StateIdle && seen_q;
  assign valid_o = state_q == StateDone;

  // ---------------------------------------------------------------- s to m

  // s is shifted left by pairs of bits until one of its first two bits is set. m is the upper 32
  // bits of that, and e is 8 (for the 16 bits that are dropped) less the number of pairs. First
  // whole bytes are shifted, four pairs each, then the pairs in the first byte.
  logic [2:0] zero_bytes, zero_bytes_q;
  logic [ 1:0] zero_pairs;
  logic [47:0] aligned_q;
  logic [31:0] m;

  always_comb begin
    zero_bytes = 3'd0;
    for (int unsigned i = 1; i < 6; i++) begin
      if ((s_i >> (48 - 8 * i)) == '0) zero_bytes = 3'(i);
    end
  end

  always_comb begin
    zero_pairs = 2'd0;
    for (int unsigned i = 1; i < 4; i++) begin
      if ((aligned_q[47:40] >> (8 - 2 * i)) == '0) zero_pairs = 2'(i);
    end
  end

  // ---------------------------------------------------------------- recurrence

  logic [15:0] bit_q;  // one-hot: the bit that is decided
  logic [50:0] left_q;
  logic [49:0] cost_q;
  logic [46:0] m_q;  // 2^b m
  logic [16:0] r_q;
  logic signed [5:0] e_q;

  logic [51:0] difference;
  logic is_set;
  assign m = 32'((aligned_q << {zero_pairs, 1'b0}) >> 16);
  assign difference = {1'b0, left_q} - {2'b0, cost_q};
  assign is_set = !difference[51];

  always_ff @(posedge clk_i) begin
    if (rst_i) begin
      state_q <= StateIdle;
      seen_q  <= 1'b0;
    end else begin
      seen_q <= valid_i && !ready_o;
      unique case (state_q)
        StateIdle:  if (seen_q) state_q <= StateAlign;
        StateAlign: state_q <= StateBits;
        StateBits:  if (bit_q[0]) state_q <= StateDone;
        StateDone:  if (ready_i) state_q <= StateIdle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    zero_bytes_q <= zero_bytes;
    unique case (state_q)
      StateIdle: begin
        aligned_q <= s_i << {zero_bytes_q, 3'b0};
        e_q <= 6'sd8 - 6'({zero_bytes_q, 2'b0});
      end
      StateAlign: begin
        e_q <= e_q - 6'(zero_pairs);
        bit_q <= 16'h8000;
        r_q <= 17'h1_0000;
        left_q <= {1'b0, 33'h1_0000_0000 - 33'(m), 17'b0};
        cost_q <= {35'(m) + {1'b0, m, 2'b0}, 15'b0};
        m_q <= {m, 15'b0};
      end
      StateBits: begin
        bit_q <= bit_q >> 1;
        left_q <= (is_set ? difference[50:0] : left_q) << 1;
        cost_q <= is_set ? cost_q + (50'(m_q) + 50'(m_q >> 1)) : cost_q - 50'(m_q >> 1);
        m_q <= m_q >> 1;
        if (is_set) r_q <= r_q | 17'(bit_q);
      end
      default: ;
    endcase
  end

  assign r_o = r_q;
  assign e_o = e_q;

`ifndef SYNTHESIS
  default clocking @(posedge clk_i);
  endclocking

  logic live;
  cmamba_live u_live (
      .clk_i,
      .rst_i,
      .live_o(live)
  );

  s_is_positive :
  assert property (disable iff (!live) valid_i |-> s_i != '0)
  else $error("reciprocal_sqrt: s_i is 0, expected at least 1");

  s_stays :
  assert property (disable iff (!live) valid_i && !ready_o |=> $stable({valid_i, s_i}))
  else $error("reciprocal_sqrt: s_i went or changed before it was taken");

  r_stays :
  assert property (disable iff (!live) valid_o && !ready_i |=> $stable({valid_o, r_o, e_o}))
  else $error("reciprocal_sqrt: the result went or changed before it was taken");
`endif

endmodule

`default_nettype wire
