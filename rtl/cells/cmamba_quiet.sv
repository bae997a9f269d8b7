// For assertions of modules without a reset: whether they count. What is asked of such a module is
// known when nothing has been for 16 cycles.

`default_nettype none

module cmamba_quiet (
    input  wire logic clk_i,
    // Something is asked of the module.
    input  wire logic active_i,
    // From the end of the first 16 cycles without it on.
    output logic live_o
);

  // Not for synthesis, which may ignore initial values.
  // verilator lint_off PROCASSINIT
  logic [4:0] cycles_q = '0;
  // verilator lint_on PROCASSINIT
  always_ff @(posedge clk_i) begin
    if (!live_o) cycles_q <= active_i ? '0 : cycles_q + 1'b1;
  end
  assign live_o = cycles_q[4];

endmodule

`default_nettype wire
