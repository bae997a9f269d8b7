// Generated from isa/builds.toml by `make isa`. Do not edit.
// Build 'small': 64 MACs a cycle, for quick simulation.
package cmamba_build_pkg;

  // verilator lint_off UNUSEDPARAM

  // Parallelism.
  localparam int unsigned TileIn = 4;
  localparam int unsigned TileOut = 16;
  // Elements of a row word: rows of the activation memories start at multiples of it.
  localparam int unsigned RowAlign = 16;
  localparam int unsigned RequantizeLanes = 4;
  localparam int unsigned VectorLanes = 4;
  localparam int unsigned ConvLanes = 4;
  localparam int unsigned ScanLanes = 16;

  // Capacities, in elements (weights: tiles).
  localparam int unsigned MaxInstructions = 128;
  localparam int unsigned MaxPhases = 16;
  localparam int unsigned MaxSchedule = 2048;
  localparam int unsigned MaxWeights = 8192;
  localparam int unsigned MaxArrayParams = 4096;
  localparam int unsigned MaxConvParams = 1024;
  localparam int unsigned MaxConvTables = 32;
  localparam int unsigned MaxScanParams = 1024;
  localparam int unsigned MaxScanDecay = 16384;
  localparam int unsigned MaxScanTables = 64;
  localparam int unsigned MaxVectorParams = 2048;
  localparam int unsigned MaxVectorTables = 8;
  localparam int unsigned MaxState = 4096;
  localparam int unsigned MaxReduce = 1024;
  localparam int unsigned MaxFeatures = 1024;

  // Elements of each activation memory.
  localparam int unsigned PatchElements = 4096;
  localparam int unsigned NormElements = 4096;
  localparam int unsigned ConvInElements = 4096;
  localparam int unsigned GateElements = 4096;
  localparam int unsigned ConvElements = 4096;
  localparam int unsigned ProjElements = 4096;
  localparam int unsigned StepElements = 4096;
  localparam int unsigned ScanElements = 4096;
  localparam int unsigned LogitElements = 1024;
  localparam int unsigned ResidElements = 8192;
  localparam int unsigned HeadElements = 4096;
  // The same, in the order of cmamba_pkg::space_e.
  localparam int unsigned SpaceElements[11] = '{
    4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 1024, 8192, 4096
  };

  // verilator lint_on UNUSEDPARAM

endpackage
