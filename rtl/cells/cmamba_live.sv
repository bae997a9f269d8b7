// For assertions: whether they count. Registers hold anything until the first reset.

`default_nettype none

module cmamba_live (
    input  wire logic clk_i,
    input  wire logic rst_i,
    // After the first reset, and not in one.
    output logic live_o
);

  // Not for synthesis, which may ignore initial values.
  // verilator lint_off PROCASSINIT
  logic live_q = 1'b0;
  // verilator lint_on PROCASSINIT
  always_ff @(posedge clk_i) live_q <= rst_i || live_q;
  assign live_o = live_q && !rst_i;

endmodule

`default_nettype wire
