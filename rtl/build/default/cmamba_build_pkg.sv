// Generated from isa/builds.toml by `make isa`. Do not edit.
// Build 'default': 1024 MACs a cycle, every shipped model; 660.0 block RAMs.
package cmamba_build_pkg;

  // verilator lint_off UNUSEDPARAM

  // Parallelism.
  localparam int unsigned TileIn = 16;
  localparam int unsigned TileOut = 64;
  // Elements of a row word: rows of the activation memories start at multiples of it.
  localparam int unsigned RowAlign = 64;
  localparam int unsigned RequantizeLanes = 16;
  localparam int unsigned VectorLanes = 16;
  localparam int unsigned ConvLanes = 8;
  localparam int unsigned ScanLanes = 64;

  // Capacities, in elements (weights: tiles).
  localparam int unsigned MaxInstructions = 256;
  localparam int unsigned MaxPhases = 64;
  localparam int unsigned MaxSchedule = 8192;
  localparam int unsigned MaxWeights = 2048;
  localparam int unsigned MaxArrayParams = 16384;
  localparam int unsigned MaxConvParams = 4096;
  localparam int unsigned MaxConvTables = 16;
  localparam int unsigned MaxScanParams = 4096;
  localparam int unsigned MaxScanDecay = 65536;
  localparam int unsigned MaxScanTables = 32;
  localparam int unsigned MaxVectorParams = 4096;
  localparam int unsigned MaxVectorTables = 16;
  localparam int unsigned MaxState = 16384;
  localparam int unsigned MaxReduce = 4096;
  localparam int unsigned MaxFeatures = 2048;

  // Elements of each activation memory.
  localparam int unsigned PatchElements = 4096;
  localparam int unsigned NormElements = 4096;
  localparam int unsigned ConvInElements = 4096;
  localparam int unsigned GateElements = 4096;
  localparam int unsigned ConvElements = 32768;
  localparam int unsigned ProjElements = 4096;
  localparam int unsigned StepElements = 4096;
  localparam int unsigned ScanElements = 4096;
  localparam int unsigned LogitElements = 1024;
  localparam int unsigned ResidElements = 32768;
  localparam int unsigned HeadElements = 8192;
  // The same, in the order of cmamba_pkg::space_e.
  localparam int unsigned SpaceElements[11] = '{
    4096, 4096, 4096, 4096, 32768, 4096, 4096, 4096, 1024, 32768, 8192
  };

  // verilator lint_on UNUSEDPARAM

endpackage
