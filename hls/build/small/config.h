// Generated from isa/builds.toml by `make isa`. Do not edit.
// Build 'small': 64 MACs a cycle, for quick simulation.
#pragma once

namespace cmamba {

// Parallelism.
constexpr int kTileIn = 4;
constexpr int kTileOut = 16;
constexpr int kRowAlign = 16;
constexpr int kRequantizeLanes = 4;
constexpr int kVectorLanes = 4;
constexpr int kConvLanes = 4;
constexpr int kScanLanes = 16;

// Capacities, in elements (weights: tiles).
constexpr int kMaxInstructions = 128;
constexpr int kMaxPhases = 16;
constexpr int kMaxSchedule = 2048;
constexpr int kMaxWeights = 8192;
constexpr int kMaxArrayParams = 4096;
constexpr int kMaxConvParams = 1024;
constexpr int kMaxConvTables = 32;
constexpr int kMaxScanParams = 1024;
constexpr int kMaxScanDecay = 16384;
constexpr int kMaxScanTables = 64;
constexpr int kMaxVectorParams = 2048;
constexpr int kMaxVectorTables = 8;
constexpr int kMaxState = 4096;
constexpr int kMaxReduce = 1024;
constexpr int kMaxFeatures = 1024;

// Activation memories, in elements.
constexpr int kSpacePatch = 4096;
constexpr int kSpaceNorm = 4096;
constexpr int kSpaceConvIn = 4096;
constexpr int kSpaceGate = 4096;
constexpr int kSpaceConv = 4096;
constexpr int kSpaceProj = 4096;
constexpr int kSpaceStep = 4096;
constexpr int kSpaceScan = 4096;
constexpr int kSpaceLogit = 1024;
constexpr int kSpaceResid = 8192;
constexpr int kSpaceHead = 4096;

}  // namespace cmamba

// Memories of more than 256 words, which block RAM holds (top.cpp).
#define CMAMBA_BLOCK_RAM_RESID
