// Generated from golden/isa/builds.toml by `make isa`. Do not edit.
// Build 'default': 1024 MACs a cycle on the ZU9EG.
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
  localparam int unsigned MaxSchedule = 4096;
  localparam int unsigned MaxWeights = 3328;
  localparam int unsigned MaxArrayParams = 16384;
  localparam int unsigned MaxConvParams = 4096;
  localparam int unsigned MaxConvTables = 32;
  localparam int unsigned MaxScanParams = 4096;
  localparam int unsigned MaxScanDecay = 65536;
  localparam int unsigned MaxScanTables = 64;
  localparam int unsigned MaxVectorParams = 4096;
  localparam int unsigned MaxVectorTables = 8;
  localparam int unsigned MaxState = 16384;
  localparam int unsigned MaxReduce = 4096;
  localparam int unsigned MaxFeatures = 4096;

  // Elements of each activation memory.
  localparam int unsigned PatchElements = 16384;
  localparam int unsigned NormElements = 8192;
  localparam int unsigned ConvInElements = 16384;
  localparam int unsigned GateElements = 16384;
  localparam int unsigned ConvElements = 16384;
  localparam int unsigned ProjElements = 8192;
  localparam int unsigned StepElements = 16384;
  localparam int unsigned ScanElements = 16384;
  localparam int unsigned LogitElements = 1024;
  localparam int unsigned ResidElements = 16384;
  localparam int unsigned HeadElements = 16384;
  // The same, in the order of cmamba_pkg::space_e.
  localparam int unsigned SpaceElements[11] = '{
    16384, 8192, 16384, 16384, 16384, 8192, 16384, 16384, 1024, 16384, 16384
  };

  // verilator lint_on UNUSEDPARAM

endpackage
