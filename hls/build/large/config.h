// Generated from isa/builds.toml by `make isa`. Do not edit.
// Build 'large': 1024 MACs a cycle, 3328 tiles of weights, fewer parameters; 816.5 block RAMs.
#pragma once

namespace cmamba {

// Parallelism.
constexpr int kTileIn = 16;
constexpr int kTileOut = 64;
constexpr int kRowAlign = 64;
constexpr int kRequantizeLanes = 16;
constexpr int kVectorLanes = 16;
constexpr int kConvLanes = 8;
constexpr int kScanLanes = 64;

// Capacities, in elements (weights: tiles).
constexpr int kMaxInstructions = 256;
constexpr int kMaxPhases = 64;
constexpr int kMaxSchedule = 2048;
constexpr int kMaxWeights = 3328;
constexpr int kMaxArrayParams = 8192;
constexpr int kMaxConvParams = 2048;
constexpr int kMaxConvTables = 8;
constexpr int kMaxScanParams = 2048;
constexpr int kMaxScanDecay = 32768;
constexpr int kMaxScanTables = 16;
constexpr int kMaxVectorParams = 2048;
constexpr int kMaxVectorTables = 4;
constexpr int kMaxState = 16384;
constexpr int kMaxReduce = 4096;
constexpr int kMaxFeatures = 2048;

// Activation memories, in elements.
constexpr int kSpacePatch = 4096;
constexpr int kSpaceNorm = 4096;
constexpr int kSpaceConvIn = 4096;
constexpr int kSpaceGate = 4096;
constexpr int kSpaceConv = 4096;
constexpr int kSpaceProj = 2048;
constexpr int kSpaceStep = 4096;
constexpr int kSpaceScan = 4096;
constexpr int kSpaceLogit = 1024;
constexpr int kSpaceResid = 8192;
constexpr int kSpaceHead = 8192;

}  // namespace cmamba
