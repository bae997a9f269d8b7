// Generated from isa/builds.toml by `make isa`. Do not edit.
// Build 'wide': 2048 MACs a cycle, 1024 tiles of 2048 weights; 724.0 block RAMs.
package cmamba_build_pkg;

  // verilator lint_off UNUSEDPARAM

  // Parallelism.
  localparam int unsigned TileIn = 32;
  localparam int unsigned TileOut = 64;
  // Elements of a row word: rows of the activation memories start at multiples of it.
  localparam int unsigned RowAlign = 128;
  localparam int unsigned RequantizeLanes = 16;
  localparam int unsigned VectorLanes = 16;
  localparam int unsigned ConvLanes = 8;
  localparam int unsigned ScanLanes = 128;

  // Capacities, in elements (weights: tiles).
  localparam int unsigned MaxInstructions = 256;
  localparam int unsigned MaxPhases = 64;
  localparam int unsigned MaxSchedule = 8192;
  localparam int unsigned MaxWeights = 1024;
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
  localparam int unsigned PatchElements = 8192;
  localparam int unsigned NormElements = 8192;
  localparam int unsigned ConvInElements = 8192;
  localparam int unsigned GateElements = 8192;
  localparam int unsigned ConvElements = 65536;
  localparam int unsigned ProjElements = 8192;
  localparam int unsigned StepElements = 8192;
  localparam int unsigned ScanElements = 8192;
  localparam int unsigned LogitElements = 2048;
  localparam int unsigned ResidElements = 65536;
  localparam int unsigned HeadElements = 16384;
  // The same, in the order of cmamba_pkg::space_e.
  localparam int unsigned SpaceElements[11] = '{
    8192, 8192, 8192, 8192, 65536, 8192, 8192, 8192, 2048, 65536, 16384
  };

  // verilator lint_on UNUSEDPARAM

endpackage
