// Simulation model of rtl/cells/cmamba_decay.sv: every exponent is looked up and multiplied when it
// arrives, and its decay waits as long as the pipeline is.

`default_nettype none

module cmamba_decay #(
    // Elements of a vector.
    parameter int unsigned Lanes = 64,
    // Bits of t.
    parameter int unsigned Width = 17
) (
    input wire logic clk_i,

    input wire logic [Lanes-1:0][Width-1:0] t_i,
    output logic [Lanes-1:0][16:0] decay_o
);

  import cmamba_pkg::DecayHigh;
  import cmamba_pkg::DecayLow;

  localparam int unsigned Latency = cmamba_cells_pkg::DecayLatency;

  if (Lanes < 1) begin : gen_check_lanes
    $fatal(1, "decay: Lanes is %0d, expected at least 1", Lanes);
  end
  if (Width < 17 || Width > 32) begin : gen_check_width
    $fatal(1, "decay: Width is %0d, expected 17 to 32", Width);
  end

  // 2^-(t / 4096) with 16 fraction bits, rounded to the nearest, ties to even. The product is at
  // most 2^32: from 18 octaves on it gives less than one half.
  function automatic logic [16:0] decay_of(int unsigned t);
    longint unsigned product, step, twice_rest, scaled;
    if (t >= 18 << 12) return '0;
    product = 64'(DecayHigh[t[11:6]]) * 64'(DecayLow[t[5:0]]);
    step = 64'd65536 << t[16:12];
    twice_rest = (product & (step - 1)) << 1;
    scaled = (product >> 16) >> t[16:12];
    if (twice_rest > step || (twice_rest == step && scaled[0])) scaled += 1;
    return 17'(scaled);
  endfunction

  logic [Lanes-1:0][16:0] decay_q[Latency];

  // verilog_lint: waive-start always-ff-non-blocking
  always_ff @(posedge clk_i) begin
    automatic logic [Lanes-1:0][16:0] decays;
    // verilator unroll_disable
    for (int unsigned l = 0; l < Lanes; l++) decays[l] = decay_of(32'(t_i[l]));
    decay_q[0] <= decays;
    for (int unsigned s = 1; s < Latency; s++) decay_q[s] <= decay_q[s-1];
  end
  // verilog_lint: waive-stop always-ff-non-blocking

  assign decay_o = decay_q[Latency-1];

endmodule

`default_nettype wire
