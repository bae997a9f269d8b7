// Generated from golden/isa/builds.toml by `make isa`. Do not edit.
// Build 'default': 1024 MACs a cycle on the ZU9EG.
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
constexpr int kMaxSchedule = 4096;
constexpr int kMaxWeights = 3328;
constexpr int kMaxArrayParams = 16384;
constexpr int kMaxConvParams = 4096;
constexpr int kMaxConvTables = 32;
constexpr int kMaxScanParams = 4096;
constexpr int kMaxScanDecay = 65536;
constexpr int kMaxScanTables = 64;
constexpr int kMaxVectorParams = 4096;
constexpr int kMaxVectorTables = 8;
constexpr int kMaxState = 16384;
constexpr int kMaxReduce = 4096;
constexpr int kMaxFeatures = 4096;

// Activation memories, in elements.
constexpr int kSpacePatch = 16384;
constexpr int kSpaceNorm = 8192;
constexpr int kSpaceConvIn = 16384;
constexpr int kSpaceGate = 16384;
constexpr int kSpaceConv = 16384;
constexpr int kSpaceProj = 8192;
constexpr int kSpaceStep = 16384;
constexpr int kSpaceScan = 16384;
constexpr int kSpaceLogit = 1024;
constexpr int kSpaceResid = 16384;
constexpr int kSpaceHead = 16384;

}  // namespace cmamba
