// Simulation model of rtl/cells/cmamba_requantizer.sv: a vector is requantized when it arrives, and waits
// as long as the pipeline is. data_o shows a vector only with valid_o.

`default_nettype none

module cmamba_requantizer
  import cmamba_pkg::param_word_t;
#(
    // Elements of a vector.
    parameter int unsigned Lanes = 16,
    // Bits that travel with a vector.
    parameter int unsigned TagWidth = 1
) (
    input wire logic clk_i,
    input wire logic rst_i,

    input wire logic valid_i,
    input wire logic [TagWidth-1:0] tag_i,
    input wire logic [Lanes-1:0][31:0] acc_i,
    input wire param_word_t [Lanes-1:0] param_i,
    input wire logic [Lanes-1:0][15:0] addend_i,
    input wire logic wide_i,
    input wire logic relu_i,

    output logic valid_o,
    output logic [TagWidth-1:0] tag_o,
    output logic [Lanes-1:0][15:0] data_o
);

  localparam int unsigned Latency = cmamba_cells_pkg::RequantizerLatency;
  localparam int unsigned QueueBits = $clog2(Latency + 1);

  if (Lanes < 1) begin : gen_check_lanes
    $fatal(1, "requantizer: Lanes is %0d, expected at least 1", Lanes);
  end
  if (TagWidth < 1) begin : gen_check_tag
    $fatal(1, "requantizer: TagWidth is %0d, expected at least 1", TagWidth);
  end

  logic [Latency-1:0] valid_q;
  always_ff @(posedge clk_i) begin
    if (rst_i) valid_q <= '0;
    else valid_q <= {valid_q[Latency-2:0], valid_i};
  end
  assign valid_o = valid_q[Latency-1];

  // clamp(rne(acc * multiplier, shift) + zero_point + addend)
  // verilator lint_off UNUSEDSIGNAL
  // The bias is not looked at.
  function automatic logic [15:0] requantize(int acc, param_word_t param, shortint addend);
    // verilator lint_on UNUSEDSIGNAL
    longint product, step, twice_rest, scaled, sum, limit;
    logic [5:0] shift;
    product = longint'(acc) * longint'(param.multiplier);
    // A product has 50 bits: a larger shift leaves zero as well.
    shift = param.shift < 6'd60 ? param.shift : 6'd60;
    step = longint'(1) << shift;
    twice_rest = (product & (step - 1)) << 1;
    scaled = product >>> shift;
    if (twice_rest > step || (twice_rest == step && scaled[0])) scaled += 1;
    scaled += longint'(addend);
    sum   = scaled + longint'(param.zero_point);
    limit = wide_i ? 64'd32767 : 64'd127;
    if (relu_i && scaled < 0) return 16'(param.zero_point);
    if (sum > limit) return 16'(limit);
    if (sum < -limit - 1) return 16'(-limit - 1);
    return 16'(sum);
  endfunction

  typedef struct packed {
    logic [TagWidth-1:0] tag;
    logic [Lanes-1:0][15:0] data;
  } vector_t;

  vector_t queue[1<<QueueBits];
  logic [QueueBits-1:0] write_q, read_q;

  // A loop, instead of lines for each lane. queue is this process's own.
  // verilator lint_off BLKSEQ
  // verilog_lint: waive-start always-ff-non-blocking
  always_ff @(posedge clk_i) begin
    if (valid_i) begin
      // verilator unroll_disable
      for (int unsigned l = 0; l < Lanes; l++) begin
        queue[write_q].data[l] = requantize(acc_i[l], param_i[l], addend_i[l]);
      end
      queue[write_q].tag = tag_i;
    end
    if (valid_q[Latency-2]) {tag_o, data_o} <= queue[read_q];
    if (rst_i) begin
      write_q <= '0;
      read_q  <= '0;
    end else begin
      if (valid_i) write_q <= write_q + 1'b1;
      if (valid_q[Latency-2]) read_q <= read_q + 1'b1;
    end
  end
  // verilog_lint: waive-stop always-ff-non-blocking
  // verilator lint_on BLKSEQ

endmodule

`default_nettype wire
