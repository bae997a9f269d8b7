// Writes what happens inside the accelerator to a file, for rtl/tb/trace.py, which describes the
// lines.
//
//   +trace=FILE      the file; without it nothing is written
//   +trace_level=1   starts and completions only, no data
//
// Simulation only: bound into cmamba, whose signals it reads by their names.

`default_nettype none

module trace
  import cmamba_pkg::*;
(
    input wire logic clk_i,
    input wire logic rst_i
);

  string path;
  int file = 0;
  int level = 2;
  initial begin
    if ($value$plusargs("trace=%s", path)) begin
      file = $fopen(path, "w");
      if (file == 0) $fatal(1, "trace: %s cannot be written", path);
    end
    void'($value$plusargs("trace_level=%d", level));
  end

  // Of the clock, since the simulation began.
  longint unsigned cycle_q;
  // Before the first reset, of two cycles at least, signals may be anything.
  logic in_reset_q, begun_q;
  initial begin
    cycle_q = 0;
    in_reset_q = 1'b0;
    begun_q = 1'b0;
  end
  always @(posedge clk_i) begin
    cycle_q <= cycle_q + 1;
    in_reset_q <= rst_i;
    if (rst_i && in_reset_q) begun_q <= 1'b1;
  end

  // A write of an activation memory.
  `define TRACE_WRITE(SPACE, MEMORY) \
  if (u_core.u_activations.MEMORY.wr_en_i) begin \
    $fdisplay(file, "W %0d %0d %0d %h %h", cycle_q, SPACE, \
              u_core.u_activations.MEMORY.wr_addr_i, \
              u_core.u_activations.MEMORY.wr_mask_i, \
              u_core.u_activations.MEMORY.wr_data_i); \
  end

  always_ff @(posedge clk_i) begin
    if (file != 0 && begun_q && !rst_i) begin
      if (u_core.start_i) $fdisplay(file, "R %0d", cycle_q);
      if (level > 1) begin
        `TRACE_WRITE(SpacePatch, u_patch)
        `TRACE_WRITE(SpaceNorm, u_norm)
        `TRACE_WRITE(SpaceConvIn, u_conv_in)
        `TRACE_WRITE(SpaceGate, u_gate)
        `TRACE_WRITE(SpaceConv, u_conv)
        `TRACE_WRITE(SpaceProj, u_proj)
        `TRACE_WRITE(SpaceStep, u_step)
        `TRACE_WRITE(SpaceScan, u_scan)
        `TRACE_WRITE(SpaceLogit, u_logit)
        `TRACE_WRITE(SpaceResid, u_resid)
        `TRACE_WRITE(SpaceHead, u_head)
      end
      for (int unsigned u = 0; u < NumUnits; u++) begin
        if (u_core.u_sequencer.done_i[u]) $fdisplay(file, "D %0d %0d", cycle_q, u);
      end
      for (int unsigned u = 0; u < NumUnits; u++) begin
        if (u_core.u_sequencer.start_valid_o[u] && u_core.u_sequencer.start_ready_i[u]) begin
          $fdisplay(file, "S %0d %0d %0d %0d %0d", cycle_q, u, u_core.u_sequencer.token_o[u],
                    u_core.u_sequencer.position_o[u], u_core.u_sequencer.sequence_o[u]);
        end
      end
      if (u_core.done_o) begin
        $fdisplay(file, "E %0d %0d", cycle_q, u_core.error_o);
        $fflush(file);
      end
    end
  end

  `undef TRACE_WRITE

endmodule

bind cmamba trace u_trace (
    .clk_i(clk),
    .rst_i(rst)
);

`default_nettype wire
