// What a lane's round_clamp gets is one vector's product, shift, zero point and addend, and valid
// and tag come out with its result. round_clamp itself has a proof of its own.
//
// Bit-level solvers do not know the distributive law, so that the product is followed through its
// two parts: acc * multiplier = 2^17 acc[31:17] * multiplier + acc[16:0] * multiplier.

`default_nettype none

module requantizer_formal
  import cmamba_pkg::param_word_t;
(
    input wire logic clk_i,
    input wire logic rst_i,
    input wire logic valid_i,
    input wire logic [3:0] tag_i,
    input wire logic [31:0] acc_i,
    input wire param_word_t param_i,
    input wire logic [15:0] addend_i,
    input wire logic wide_i,
    input wire logic relu_i
);

  localparam int unsigned Latency = cmamba_cells_pkg::RequantizerLatency;
  localparam int unsigned Stages = Latency - cmamba_cells_pkg::RoundClampLatency;

  logic valid;
  logic [3:0] tag;
  logic [15:0] unused_data;

  cmamba_requantizer #(
      .Lanes(1),
      .TagWidth(4)
  ) dut (
      .*,
      .valid_o(valid),
      .tag_o  (tag),
      .data_o (unused_data)
  );

  typedef struct packed {
    logic valid;
    logic [3:0] tag;
    logic [31:0] acc;
    logic signed [17:0] multiplier;
    logic [5:0] shift;
    logic [7:0] zero_point;
    logic [15:0] addend;
    logic wide;
    logic relu;
  } operands_t;

  operands_t now;
  operands_t [Latency:1] past_q;
  logic [Latency:0] started_q = '0;

  always_comb begin
    now.valid = valid_i;
    now.tag = tag_i;
    now.acc = acc_i;
    now.multiplier = param_i.multiplier;
    now.shift = param_i.shift;
    now.zero_point = param_i.zero_point;
    now.addend = addend_i;
    now.wide = wide_i;
    now.relu = relu_i;
  end

  // The two parts, of the operands that the lane has in stages 1 and 2.
  logic signed [44:0] low, low_q, high;
  logic signed [49:0] product_q;
  assign low  = dut.gen_lane[0].u_low.gen_behaviour.a * dut.gen_lane[0].u_low.gen_behaviour.b;
  assign high = dut.gen_lane[0].u_high.gen_behaviour.a * dut.gen_lane[0].u_high.gen_behaviour.b;

  always_ff @(posedge clk_i) begin
    low_q <= low;
    product_q <= (50'(high) <<< 17) + 50'(low_q);
    past_q <= {past_q[Latency-1:1], now};
    if (rst_i) for (int unsigned i = 1; i <= Latency; i++) past_q[i].valid <= 1'b0;
    started_q <= {started_q[Latency-1:0], 1'b1};
  end

  always_comb begin
    if (!started_q[0]) assume (rst_i);
    if (started_q[0]) assert (valid == past_q[Latency].valid);
    if (started_q[Latency-1]) assert (tag == past_q[Latency].tag);
    if (started_q[0]) begin
      assert (dut.gen_lane[0].u_low.gen_behaviour.a == 27'(past_q[1].acc[16:0]));
      assert (dut.gen_lane[0].u_low.gen_behaviour.b == past_q[1].multiplier);
    end
    if (started_q[1]) begin
      assert (dut.gen_lane[0].low == 48'(low_q));
      assert (dut.gen_lane[0].u_high.gen_behaviour.a == 27'($signed(past_q[2].acc[31:17])));
      assert (dut.gen_lane[0].u_high.gen_behaviour.b == past_q[2].multiplier);
    end
    if (started_q[Stages-1]) begin
      assert ({dut.gen_lane[0].high[32:0], dut.gen_lane[0].low_bits_q} == product_q);
      assert (dut.gen_lane[0].shift_q[Stages-1] == past_q[Stages].shift);
      assert (dut.gen_lane[0].zero_point_q[Stages-1] == past_q[Stages].zero_point);
      assert (dut.gen_lane[0].addend_q[Stages-1] == past_q[Stages].addend);
      assert (dut.wide_q[Stages-1] == past_q[Stages].wide);
      assert (dut.relu_q[Stages-1] == past_q[Stages].relu);
    end
  end

endmodule

`default_nettype wire
