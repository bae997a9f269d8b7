// Generated from isa/builds.toml by `make isa`. Do not edit.
// Build 'default': 1024 MACs a cycle, every shipped model; 660.0 block RAMs.
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
constexpr int kMaxSchedule = 8192;
constexpr int kMaxWeights = 2048;
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
constexpr int kSpacePatch = 4096;
constexpr int kSpaceNorm = 4096;
constexpr int kSpaceConvIn = 4096;
constexpr int kSpaceGate = 4096;
constexpr int kSpaceConv = 32768;
constexpr int kSpaceProj = 4096;
constexpr int kSpaceStep = 4096;
constexpr int kSpaceScan = 4096;
constexpr int kSpaceLogit = 1024;
constexpr int kSpaceResid = 32768;
constexpr int kSpaceHead = 8192;

}  // namespace cmamba

// Memories of more than 256 words, which block RAM holds (top.cpp).
#define CMAMBA_BLOCK_RAM_CONV
#define CMAMBA_BLOCK_RAM_RESID
#define CMAMBA_BLOCK_RAM_CONV_PARAMS
