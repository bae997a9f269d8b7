// Everything that stays on the chip between two calls: activations, the loaded package, unit state.
#pragma once

#include "config.h"
#include "isa.h"
#include "types.h"

#ifndef __SYNTHESIS__
#include <cstring>
#endif

namespace cmamba {

// ------------------------------------------------------------------------------- sizes

constexpr int maximum(int a, int b) { return a > b ? a : b; }
constexpr int minimum(int a, int b) { return a < b ? a : b; }
constexpr bool is_power_of_two(int x) { return x > 0 && (x & (x - 1)) == 0; }
// log2 of a power of two. Only for constants: a tool builds what it cannot evaluate.
constexpr int log2_exact(int x) {
  int log2 = 0;
  while (x > 1) {
    x /= 2;
    ++log2;
  }
  return log2;
}

constexpr int kLog2TileIn = log2_exact(kTileIn);
constexpr int kLog2TileOut = log2_exact(kTileOut);

// Largest padded d_state.
constexpr int kMaxStates = 1 << kMaxLog2State;
// Entries of a table over int8.
constexpr int kTableEntries = 256;
// Channels that SCAN begins in one cycle: kScanLanes pairs are that many channels of 16 states.
// Fewer states leave lanes idle, since every further channel costs two table ports.
constexpr int kScanChannels = maximum(kScanLanes / 16, 1);
// What `param_addr` of LINEAR is a multiple of.
constexpr int kArrayParamsAlign = maximum(kRequantizeLanes / 2, 1);
// The units look up kLanes table entries a cycle; a block RAM has two ports, so that there is a
// copy of every table for two lanes.
constexpr int table_copies(int lanes) { return (lanes + 1) / 2; }

// A row in a unit: n or n_out elements in words of kRowAlign.
constexpr int kRowWords = maximum(kMaxFeatures, kMaxReduce) / kRowAlign;
// LINEAR may read a row as long as the memory it lies in.
constexpr int kInputWords = maximum(kSpacePatch, maximum(maximum(kSpaceNorm, kSpaceConv),
                                                         maximum(kSpaceProj, kSpaceScan))) /
                            kRowAlign;

typedef int_t<8> Row8[kRowWords][kRowAlign];
typedef int_t<16> Row16[kRowWords][kRowAlign];
typedef int_t<8> InputRow[kInputWords][kRowAlign];

// What the kernels rely on.
static_assert(kRowAlign == 4 * kTileIn,
              "the array reads four parts of a row word at its widest split");
static_assert(kTileOut % (4 * kRequantizeLanes) == 0,
              "at the widest split a quarter of the lanes holds whole requantizer words");
static_assert(kRowAlign % kRequantizeLanes == 0 && kRowAlign % kVectorLanes == 0 &&
                  kRowAlign % kConvLanes == 0,
              "a row word is a whole number of a unit's words");
static_assert(
    is_power_of_two(kTileIn) && is_power_of_two(kTileOut) && is_power_of_two(kScanLanes),
    "sizes are rounded up to tiles by shifts, and the scan adds up its lanes in a binary tree");
static_assert(kMaxReduce % kRequantizeLanes == 0 && kMaxFeatures % kRowAlign == 0 &&
                  kMaxReduce % kRowAlign == 0 && kMaxState % kScanLanes == 0 &&
                  kMaxScanDecay % kScanLanes == 0 && kMaxArrayParams % kRequantizeLanes == 0 &&
                  kMaxConvParams % kConvLanes == 0 && kMaxScanParams % kScanChannels == 0 &&
                  kMaxVectorParams % kVectorLanes == 0,
              "memories hold whole words");

// ------------------------------------------------------------------------------- contents

// First element of row `index` of an operand.
inline int row_address(const Operand& o, int index) {
#pragma HLS inline
  return int(o.addr) + (index & ((1 << int(o.log2_rows)) - 1)) * int(o.stride);
}

// What a run needs of the header; see docs/package.md.
struct PackageFacts {
  int n_sequences;
  int iterations;
  int n_positions;
  int token_bytes;
  int forecast_elements;
  int unit_entries[kUnits];
  unsigned elements[kSections];  // of each section (weights: tiles)
  int weights_beat;              // where the weights begin in the package
};

#ifndef __SYNTHESIS__
// A result that a schedule entry has written, for comparison with the integer model.
struct TraceRecord {
  uint64_t iteration;  // since the run began
  int entry;           // index into the schedule
  int instruction;     // index into the instruction table
  // Row of the instruction's results: sequence * n_positions + position; SEND and a reducing
  // LINEAR: sequence; POOL: 2 * sequence (mean) and the one after it.
  int row;
  int space;    // memory that holds it (SEND: that it came from)
  int address;  // its first element there
  int stride;   // from there to the next one
  int n;        // elements
};
typedef void TraceFn(void* context, const TraceRecord& record);
#endif

struct Memory {
  // Activations, in words of kRowAlign elements: rows begin at word boundaries, and are copied to
  // and from the kernels a word a cycle.
  int_t<8> patch[kSpacePatch / kRowAlign][kRowAlign];
  int_t<8> norm[kSpaceNorm / kRowAlign][kRowAlign];
  int_t<8> conv_in[kSpaceConvIn / kRowAlign][kRowAlign];
  int_t<8> gate[kSpaceGate / kRowAlign][kRowAlign];
  int_t<8> conv[kSpaceConv / kRowAlign][kRowAlign];
  int_t<8> proj[kSpaceProj / kRowAlign][kRowAlign];
  int_t<8> step[kSpaceStep / kRowAlign][kRowAlign];
  int_t<8> scan[kSpaceScan / kRowAlign][kRowAlign];
  int_t<8> logit[kSpaceLogit / kRowAlign][kRowAlign];
  int_t<16> resid[kSpaceResid / kRowAlign][kRowAlign];
  int_t<16> head[kSpaceHead / kRowAlign][kRowAlign];

  // Sections of the package. The loader writes parameters and decay rates lane by lane, the scan
  // its states, and the words of LINEAR and NORM need not begin with a row: each lane of them has a
  // bank of its own (see lanes.h).
  word_t<512> instructions[kMaxInstructions];
  word_t<128> schedule[kMaxSchedule];
  int_t<8> weights[kMaxWeights][kTileOut][kTileIn];
  word_t<64> array_params[kMaxArrayParams / kRequantizeLanes][kRequantizeLanes];
  word_t<128> conv_params[kMaxConvParams / kConvLanes][kConvLanes];
  int_t<8> conv_tables[table_copies(kConvLanes)][kMaxConvTables][kTableEntries];
  word_t<64> scan_params[kMaxScanParams / kScanChannels][kScanChannels];
  uint_t<16> scan_decay[kMaxScanDecay / kScanLanes][kScanLanes];
  // Softplus and SiLU are looked up in the same cycle: a copy for each channel has a port for each.
  uint_t<16> scan_tables[kScanChannels][kMaxScanTables][kTableEntries];
  word_t<64> vector_params[kMaxVectorParams / kVectorLanes][kVectorLanes];
  uint_t<16> vector_tables[table_copies(kVectorLanes)][kMaxVectorTables][kTableEntries];

  // State of the units: scan state, sums of a reducing LINEAR, sum and maximum of POOL.
  int_t<24> state[kMaxState / kScanLanes][kScanLanes];
  int_t<32> reduce[kMaxReduce / kRequantizeLanes][kRequantizeLanes];
  int_t<32> pool_sum[kMaxFeatures / kVectorLanes][kVectorLanes];
  int_t<16> pool_maximum[kMaxFeatures / kVectorLanes][kVectorLanes];

  bool loaded;
  PackageFacts package;

#ifndef __SYNTHESIS__
  // Called after every result, if not null.
  TraceFn* trace;
  void* trace_context;

  // On the chip, memories are zero after configuration.
  Memory() { std::memset(static_cast<void*>(this), 0, sizeof(*this)); }
#endif
};

#ifndef __SYNTHESIS__
// Element `address` of activation memory `space`.
int peek(const Memory& memory, int space, int address);
#endif

}  // namespace cmamba
