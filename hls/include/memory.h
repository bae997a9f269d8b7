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

// Tokens are numbered modulo 4096.
constexpr int kTokenMask = (1 << 12) - 1;
// What an entry may name, also with the steps of its phase.
constexpr int kSequences = 1024;
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

// Beats of a weight tile.
constexpr int kTileBeats = kTileOut * kTileIn / kBeatBytes;

// Beats of a phase.
constexpr int kPhaseBeats = kSectionElementBytes[SECTION_PHASES] / kBeatBytes;

// Rows of an activation memory, in words of Width elements: one that is read or written at once.
template <class T, int Elements, int Width = kRowAlign>
using Rows = T[Elements / Width][Width];

// Weights lie in banks as deep as a block RAM of 36 bits, or of 72 where that leaves less empty.
constexpr int kBankTiles = minimum(kMaxWeights, kMaxWeights % 1024 == 0 ? 1024 : 512);
constexpr int kWeightBanks = (kMaxWeights + kBankTiles - 1) / kBankTiles;

// What the units rely on.
static_assert(kRowAlign == 4 * kTileIn,
              "the array reads four parts of a row word at its widest split");
static_assert(kTileOut % (4 * kRequantizeLanes) == 0,
              "at the widest split a quarter of the lanes holds whole requantizer words");
static_assert(kTileOut * kTileIn % kBeatBytes == 0, "a tile is a whole number of beats");
static_assert(kSpaceResid >= maximum(kMaxReduce, kMaxFeatures) && kSpaceProj >= kMaxFeatures &&
                  is_power_of_two(kMaxReduce) && is_power_of_two(kMaxFeatures),
              "units read rows of resid, proj and sums also where an entry has no use for them");
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

// A schedule entry in a repeat of its phase.
struct RepeatedEntry {
  uint_t<10> instruction;
  uint_t<12> token;
  uint_t<12> position;
  uint_t<10> sequence;
};

// With what the repeats before have added to token, position and sequence.
inline RepeatedEntry repeat_entry(const ScheduleEntry& e, int token, int position, int sequence) {
#pragma HLS inline
  RepeatedEntry entry;
  entry.instruction = e.instruction;
  entry.token = (int(e.token) + token) & kTokenMask;
  entry.position = int(e.position) + position;
  entry.sequence = int(e.sequence) + sequence;
  return entry;
}

// First element of row `index` of an operand.
inline int row_address(const Operand& o, int index) {
#pragma HLS inline
  return int(o.addr) + (index & ((1 << int(o.log2_rows)) - 1)) * int(o.stride);
}

inline Unit unit_of(int opcode) {
#pragma HLS inline
  switch (opcode) {
    case OP_RECV:
      return UNIT_STREAM_IN;
    case OP_LINEAR:
      return UNIT_ARRAY;
    case OP_CONV:
      return UNIT_CONV;
    case OP_SCAN:
      return UNIT_SCAN;
    case OP_SEND:
      return UNIT_STREAM_OUT;
    default:
      return UNIT_VECTOR;
  }
}

// A weight tile from its beats.
inline void unpack_tile(const beat_t beats[kTileBeats], int_t<8> tile[kTileOut][kTileIn]) {
#pragma HLS inline
unpack_lanes:
  for (int lane = 0; lane < kTileOut; ++lane) {
#pragma HLS unroll
  unpack_inputs:
    for (int j = 0; j < kTileIn; ++j) {
#pragma HLS unroll
      const int at = lane * kTileIn + j;
      tile[lane][j] = int_t<8>(get_byte(beats[at / kBeatBytes], at % kBeatBytes));
    }
  }
}

// What a run needs of the header; see docs/package.md.
struct PackageFacts {
  int n_sequences;
  int iterations;
  int n_positions;
  int token_bytes;
  int forecast_elements;
  unsigned n_tokens;             // of an iteration: n_sequences * n_positions
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

// What the array and the vector unit write at once of a row, or a beat where that is more.
constexpr int kWideWidth = maximum(kRequantizeLanes, kBeatBytes / 2);

// A memory belongs to one process (units.h). Its words are as wide as what the array reads of a
// row, or else as what is written to it.
typedef Rows<int_t<8>, kSpacePatch> Patch;
typedef Rows<int_t<8>, kSpaceNorm> Norm;
// A copy for each tap has a port for each.
typedef Rows<int_t<8>, kSpaceConvIn, kRequantizeLanes> ConvIn[kMaxTaps];
typedef Rows<int_t<8>, kSpaceGate, kRequantizeLanes> Gate;
// Read a row word at once, written a part of it.
typedef int_t<8> ConvWords[kSpaceConv / kRowAlign][kRowAlign / kConvLanes][kConvLanes];
typedef Rows<int_t<8>, kSpaceConv, kConvLanes> ConvRows;
typedef Rows<int_t<8>, kSpaceProj> Proj;
typedef Rows<int_t<8>, kSpaceProj, kRequantizeLanes> SkipRows;
typedef Rows<int_t<8>, kSpaceStep, kRequantizeLanes> StepRows;
typedef Rows<int_t<8>, kSpaceScan> ScanRows;
typedef Rows<int_t<8>, kSpaceLogit, kRequantizeLanes> Logit;
typedef Rows<int_t<16>, kSpaceResid, kWideWidth> Resid;
typedef Rows<int_t<16>, kSpaceHead, kWideWidth> HeadRows;
static_assert(kVectorLanes == kRequantizeLanes,
              "the array and the vector unit write the same words");

typedef word_t<512> Instructions[kMaxInstructions];
typedef word_t<256> Phases[kMaxPhases];
typedef word_t<128> Schedule[kMaxSchedule];
typedef int_t<8> Weights[kWeightBanks][kBankTiles][kTileOut][kTileIn];
typedef word_t<64> ArrayParams[kMaxArrayParams / kRequantizeLanes][kRequantizeLanes];
typedef word_t<64> VectorParams[kMaxVectorParams / kVectorLanes][kVectorLanes];
typedef word_t<64> ScanParams[kMaxScanParams / kScanChannels][kScanChannels];
typedef word_t<128> ConvParams[kMaxConvParams / kConvLanes][kConvLanes];
typedef int_t<8> ConvTables[table_copies(kConvLanes)][kMaxConvTables][kTableEntries];
// Softplus and SiLU are looked up in the same cycle: a copy for each channel has a port for each.
typedef uint_t<16> ScanTables[kScanChannels][kMaxScanTables][kTableEntries];
typedef uint_t<16> VectorTables[table_copies(kVectorLanes)][kMaxVectorTables][kTableEntries];
typedef uint_t<16> Decay[kMaxScanDecay / kScanLanes][kScanLanes];

typedef int_t<24> State[kMaxState / kScanLanes][kScanLanes];
typedef int_t<32> Reduce[kMaxReduce / kRequantizeLanes][kRequantizeLanes];
typedef int_t<32> PoolSum[kMaxFeatures / kVectorLanes][kVectorLanes];
typedef int_t<16> PoolMaximum[kMaxFeatures / kVectorLanes][kVectorLanes];

#ifndef __SYNTHESIS__
// Cycles of the hardware, for a simulation that counts them.
struct Cycles {
  // Of each process: from a step to the next, from a step to when its results can be read, and to
  // when its answers (ends, credits) can.
  struct Process {
    const char* name;
    int interval;
    int results;
    int answers;
  };
  const Process* processes;
  int n_processes;
  uint64_t last_beat;  // when it was sent, since the run began
};
#endif

struct Memory {
  // Activations, each beside the process that reads it.
  Patch patch;
  Norm norm;
  ConvIn conv_in;
  Gate gate;
  ConvWords conv_multiply;
  ConvRows conv_scan;
  Proj proj_multiply;
  Proj proj_scan;
  SkipRows proj_skip;  // the scan's second port
  StepRows step;
  ScanRows scan;
  Logit logit;
  Resid resid_output;
  Resid resid_reduce;
  Resid resid_apply;
  HeadRows head;

  // Sections of the package. The loader writes parameters and decay rates lane by lane, the scan
  // its states, and the words of LINEAR and NORM need not begin with a row: each lane of them has a
  // bank of its own (see lanes.h).
  Instructions instructions;
  Phases phases;
  Schedule schedule;
  Weights weights;
  ArrayParams array_params;
  ConvParams conv_params;
  ConvTables conv_tables;
  ScanParams scan_params;
  Decay scan_decay;
  ScanTables scan_tables;
  VectorParams vector_params;
  VectorTables vector_tables;

  // State of the units: scan state, sums of a reducing LINEAR, sum and maximum of POOL.
  State state;
  Reduce reduce;
  PoolSum pool_sum;
  PoolMaximum pool_maximum;

  bool loaded;
  PackageFacts package;

#ifndef __SYNTHESIS__
  // Called when an entry has completed, for each of its results, if not null.
  TraceFn* trace;
  void* trace_context;
  // 0: each process goes on as long as it can, in the order of the data. Else processes take turns
  // by chance, with queues of random depths and random pauses; the same seed gives the same run.
  uint64_t order_seed;
  // Where set, processes take a step each in every cycle, and what they write takes its time.
  Cycles* cycles;
  // Where a run comes to a standstill: what each process waits for.
  char standstill[1024];

  // On the chip, memories are zero after configuration.
  Memory() { std::memset(static_cast<void*>(this), 0, sizeof(*this)); }
#endif
};

#ifndef __SYNTHESIS__
// Copies that the processes have of activation memory `space`.
int copies(int space);
// Element `address` of one of them.
int peek(const Memory& memory, int space, int address, int copy = 0);

// Calls memory.trace, where it is set, for each row that the entry has just written or sent.
void trace_entry(const Memory& memory, uint64_t iteration, int entry, const word_t<512>& word,
                 const RepeatedEntry& e);
#endif

}  // namespace cmamba
