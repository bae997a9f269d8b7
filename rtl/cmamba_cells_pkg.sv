package cmamba_cells_pkg;

  // verilator lint_off UNUSEDPARAM
  // Whether cells instantiate primitives of the device instead of describing what those do. All
  // synthesis tools define SYNTHESIS.
`ifdef SYNTHESIS
  localparam bit UsePrimitives = 1'b1;
`else
  localparam bit UsePrimitives = 1'b0;
`endif

  // Whether memories are macros of Vivado (XPM) instead of what a tool infers.
`ifdef CMAMBA_RAM_MACROS
  localparam bit UseRamMacros = 1'b1;
`else
  localparam bit UseRamMacros = 1'b0;
`endif

  // Latencies of the pipelined cells, in cycles from their inputs to their outputs.
  localparam int unsigned RamLatency = 2;
  // Of the weight memory: its tree of two registers, the memory, and the register behind the OR.
  localparam int unsigned WeightLatency = 2 + RamLatency + 1;
  localparam int unsigned ActivationTableLatency = 2;
  localparam int unsigned RoundClampLatency = 3;
  localparam int unsigned RequantizerLatency = 3 + RoundClampLatency;
  localparam int unsigned DecayLatency = 4;
  localparam int unsigned Crc32Latency = 3;

  // Cycles from the start of an entry of the array to its first read of activations. Units whose
  // results the array reads announce a completion so many cycles ahead (`done_soon_o`): what is
  // written in the cycle of `done_o` is in memory for a read in the cycle behind it.
  localparam int unsigned ArrayReadDelay = 3;
  // verilator lint_on UNUSEDPARAM

  function automatic int unsigned larger(int unsigned a, int unsigned b);
    return a > b ? a : b;
  endfunction

endpackage
