// Generated from isa/builds.toml by `make isa`. Do not edit.
// Build 'wide': 2048 MACs a cycle, 1024 tiles of 2048 weights; 724.0 block RAMs.
#pragma once

namespace cmamba {

// Parallelism.
constexpr int kTileIn = 32;
constexpr int kTileOut = 64;
constexpr int kRowAlign = 128;
constexpr int kRequantizeLanes = 16;
constexpr int kVectorLanes = 16;
constexpr int kConvLanes = 8;
constexpr int kScanLanes = 128;

// Capacities, in elements (weights: tiles).
constexpr int kMaxInstructions = 256;
constexpr int kMaxPhases = 64;
constexpr int kMaxSchedule = 8192;
constexpr int kMaxWeights = 1024;
constexpr int kMaxArrayParams = 16384;
constexpr int kMaxConvParams = 4096;
constexpr int kMaxConvTables = 16;
constexpr int kMaxScanParams = 4096;
constexpr int kMaxScanDecay = 65536;
constexpr int kMaxScanTables = 32;
constexpr int kMaxVectorParams = 4096;
constexpr int kMaxVectorTables = 16;
constexpr int kMaxState = 16384;
constexpr int kMaxReduce = 4096;
constexpr int kMaxFeatures = 2048;

// Activation memories, in elements.
constexpr int kSpacePatch = 8192;
constexpr int kSpaceNorm = 8192;
constexpr int kSpaceConvIn = 8192;
constexpr int kSpaceGate = 8192;
constexpr int kSpaceConv = 65536;
constexpr int kSpaceProj = 8192;
constexpr int kSpaceStep = 8192;
constexpr int kSpaceScan = 8192;
constexpr int kSpaceLogit = 2048;
constexpr int kSpaceResid = 65536;
constexpr int kSpaceHead = 16384;

}  // namespace cmamba

// Memories of more than 256 words, which block RAM holds (top.cpp).
#define CMAMBA_BLOCK_RAM_CONV
#define CMAMBA_BLOCK_RAM_RESID
#define CMAMBA_BLOCK_RAM_CONV_PARAMS
