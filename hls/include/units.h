// The processes of a run and what they hand to each other.
//
//   fetch -> dispatch -> stream_in, array_multiply, array_output, vector_reduce, conv, scan,
//                        stream_out
//   array_multiply -> array_output;  vector_reduce -> vector_root -> vector_apply
//
// Each is one loop that takes a step a cycle, over all entries of a run. A step takes what has come
// for the memories of its process, then goes on with its entry. No step waits: a process that has
// nothing to do, or no room for a result, still takes what comes. So nothing that is on its way to
// a memory can hold up its writer for good.
//
// A memory belongs to the process that reads it; one that several processes read has a copy in
// each. Results go there as packets. Behind the packets of an entry follows an end, to every
// process that its unit writes to, which tells dispatch by a bit. When all of them have, the entry
// has completed: its results can be read wherever they are needed.
//
// A unit is its registers (a struct), and its step, in the file of its name in src/.
#pragma once

#include "channel.h"
#include "memory.h"

namespace cmamba {

// ------------------------------------------------------------------------------- sizes

// Entries of a unit that may have been started and not completed, and places for them where they
// wait for the unit: with one for the end, dispatch never finds a queue full.
constexpr int kMaxInFlight = 16;
constexpr int kStartDepth = kMaxInFlight + 1;
// Entries that fetch may be ahead of dispatch.
constexpr int kQueueDepth = 32;
// Packets on the way to a memory. Those that it always takes at once, and those that wait for the
// other writer of the same memory.
constexpr int kPacketDepth = 8;
constexpr int kWaitingDepth = 32;
// Output tiles between array_multiply and array_output.
constexpr int kSumsDepth = 16;
constexpr int kAckDepth = 8;
// Steps from a running sum to the next one of the same element, which reads it.
constexpr int kSumDistance = 6;
// Steps from the last beat of a weight tile from DDR to its use.
constexpr int kTileDistance = 6;
// Steps from the first that reads the word of a phase to its use.
constexpr int kPhaseDistance = 3;

// ------------------------------------------------------------------------------- packets

// Elements of a row, and where they go. The address is a multiple of Lanes.
template <int Bits, int Lanes>
struct Packet {
  int_t<Bits> value[Lanes];
  uint_t<4> space;
  uint_t<20> address;
  bool has_data;
  bool is_end;  // an entry's last packet
};

// Of which only the elements begin to end - 1 go there.
struct PartPacket {
  int_t<8> value[kVectorLanes];
  uint_t<20> address;
  uint_t<8> begin;
  uint_t<8> end;
  bool has_data;
  bool is_end;
};

typedef Packet<8, kBeatBytes> PatchPacket;
typedef Packet<8, kRequantizeLanes> ArrayPacket8;
typedef Packet<16, kRequantizeLanes> ArrayPacket16;
typedef Packet<8, kVectorLanes> VectorPacket8;
typedef Packet<16, kVectorLanes> VectorPacket16;
typedef Packet<8, kConvLanes> ConvPacket;
typedef Packet<8, kScanChannels> ScanPacket;

// Whose entry's end has come, a bit for each unit.
typedef uint_t<kUnits> Ends;
// Room for one more packet.
typedef uint_t<1> Credit;

// The sums of an output tile.
struct Sums {
  int_t<32> lane[kTileOut];
};

// ------------------------------------------------------------------------------- entries
//
// What a unit has to know of an entry, with addresses of rows in place of operands. is_end: there
// are no more.

struct StreamInEntry {
  bool is_end;
  bool is_last;  // of the run
  uint_t<16> n;
  uint_t<20> result;
};

struct MultiplyEntry {
  bool is_end;
  uint_t<16> n_in;
  uint_t<16> n_out;
  uint_t<2> log2_split;
  uint_t<4> space;
  uint_t<20> source;
  uint_t<32> tile;
};

struct OutputEntry {
  bool is_end;
  bool wide;
  bool relu;
  bool add_enable;
  bool reads_sums;
  bool writes_sums;
  bool has_result;
  uint_t<16> n_out;
  uint_t<2> log2_split;
  uint_t<20> param_addr;
  uint_t<4> space;
  uint_t<20> result;
  uint_t<20> addend;
};

struct ArrayEntry {
  MultiplyEntry multiply;
  OutputEntry output;
};

struct VectorEntry {
  bool is_end;
  uint_t<8> opcode;
  bool wide;
  bool is_first;  // position of its sequence
  bool is_last;
  uint_t<16> n;
  uint_t<32> eps;
  uint_t<20> param_addr;
  uint_t<8> table;
  uint_t<8> shift_table;
  uint_t<20> source;
  uint_t<20> addend;
  uint_t<20> logit;        // SCALE: a row; MODULATE: the element of the scale
  uint_t<20> shift_logit;  // MODULATE: the element of the shift
  uint_t<4> space;
  uint_t<20> result;
  uint_t<20> maximum_result;  // of POOL and POOL_FEATURES
};

// With what vector_reduce has found in the row, and what vector_root makes of it.
struct ReducedEntry {
  VectorEntry entry;
  uint_t<48> squares;
  int_t<32> total;
  int_t<16> largest;
};

struct RootedEntry {
  VectorEntry entry;
  int_t<32> total;
  int_t<16> largest;
  int_t<6> log4;
  uint_t<17> root;
};

struct ConvEntry {
  bool is_end;
  uint_t<16> n;
  uint_t<4> kernel;
  int_t<8> pad;
  uint_t<8> table;
  uint_t<20> param_addr;
  uint_t<12> token;
  uint_t<12> position;
  Operand source;
  uint_t<20> result;
};

struct ScanEntry {
  bool is_end;
  bool is_first;
  bool skip_enable;
  uint_t<16> n;
  uint_t<3> log2_state;
  int_t<8> u_zero_point;
  int_t<8> skip_zero_point;
  uint_t<5> exp_shift;
  uint_t<5> state_shift;
  uint_t<5> skip_shift;
  uint_t<6> y_shift;
  uint_t<20> state_addr;
  uint_t<20> decay_addr;
  uint_t<20> param_addr;
  uint_t<8> softplus_table;
  uint_t<8> silu_table;
  uint_t<20> u;
  uint_t<20> z;
  uint_t<20> dt;
  uint_t<20> bc;
  uint_t<20> skip;
  uint_t<20> result;
};

struct StreamOutEntry {
  bool is_end;
  bool is_last;  // whether TLAST comes with its last beat
  uint_t<16> n;
  uint_t<20> source;
};

// How many entries of each unit must have completed before an entry may start, counted since the
// run began, modulo 2^32.
struct Waits {
  uint_t<32> completed[kUnits];
};

template <class Entry>
struct Queued {
  Entry entry;
  Waits waits;
};

// How a stream unit's entry ended, where not by an end that follows packets.
struct StreamReport {
  uint_t<8> error;  // an Error; the entry has not completed
};

// A range of the package to read; none of it means that no more will follow.
struct BeatRange {
  uint_t<32> first;
  uint_t<32> count;
};

// ------------------------------------------------------------------------------- registers

struct Fetch {
  unsigned forecast = 0;
  int iteration = 0;
  int phase = 0;
  word_t<256> phase_words[kPhaseDistance];  // on their way from the memory
  uint_t<2> phase_age = 0;                  // steps since the first that reads its word
  int repeat = 0;
  int first = 0;  // of the phase's entries
  int entry = 0;
  int done = 0;          // entries of this repeat
  uint_t<12> token = 0;  // as position and sequence: what the repeats before have added
  uint_t<12> position = 0;
  uint_t<16> sequence = 0;
  unsigned received = 0;  // tokens of this iteration
  unsigned sent = 0;
  uint_t<32> base[kUnits];  // entries of all repeats before
  bool is_stopped = false;  // by dispatch
  bool has_ended = false;   // the ends of all queues are written
  bool is_finished = false;

  Fetch() {
  clear_words:
    for (int i = 0; i < kPhaseDistance; ++i) {
#pragma HLS unroll
      phase_words[i] = zero_word<256>();
    }
  clear_units:
    for (int v = 0; v < kUnits; ++v) {
#pragma HLS unroll
      base[v] = 0;
    }
  }
};

// Processes that write to dispatch which ends have come.
enum Owner {
  OWNER_MULTIPLY,
  OWNER_OUTPUT,
  OWNER_REDUCE,
  OWNER_APPLY,
  OWNER_CONV,
  OWNER_SCAN,
  OWNER_STREAM_OUT,
  kOwners,
};

// Processes whose memories the vector unit writes in turn with the array, which goes first.
enum VectorReader {
  READER_OUTPUT,
  READER_REDUCE,
  READER_APPLY,
  READER_CONV,
  kVectorReaders,
};

template <class Entry>
struct Head {
  bool is_full = false;
  bool is_end = false;
  Queued<Entry> queued = {};
};

#ifndef __SYNTHESIS__
// Is told of each entry that completes.
struct Observer {
  virtual ~Observer() = default;
  virtual void completed(int unit) = 0;
};
#endif

// What a run has come to, 64 bits each: entries completed, cycles, and for each unit the cycles in
// which it had an entry.
using Counters = word_t<64 * (2 + kUnits)>;

struct Dispatch {
  Head<StreamInEntry> stream_in;
  Head<ArrayEntry> array;
  Head<VectorEntry> vector;
  Head<ConvEntry> conv;
  Head<ScanEntry> scan;
  Head<StreamOutEntry> stream_out;
  uint_t<32> completed[kUnits];
  uint_t<8> in_flight[kUnits];
  uint_t<8> ends[kOwners][kUnits];  // of entries that have not completed yet
  unsigned idle = 0;                // steps since an entry completed
  uint64_t entries = 0;             // completed
  uint64_t steps = 0;               // a step is a cycle
  uint64_t busy[kUnits];            // steps in which a unit had an entry
  Error error = ERROR_OK;
  bool is_finished = false;
#ifndef __SYNTHESIS__
  bool is_expired = false;  // the watchdog's time is over
  Observer* observer = nullptr;
#endif

  Dispatch() {
  clear_units:
    for (int v = 0; v < kUnits; ++v) {
#pragma HLS unroll
      completed[v] = 0;
      in_flight[v] = 0;
      busy[v] = 0;
    clear_owners:
      for (int o = 0; o < kOwners; ++o) {
#pragma HLS unroll
        ends[o][v] = 0;
      }
    }
  }

  Counters counters() const {
#pragma HLS inline
    Counters all = zero_word<64 * (2 + kUnits)>();
    set_part<64>(all, 0, word_t<64>{entries});
    set_part<64>(all, 1, word_t<64>{steps});
  pack_busy:
    for (int v = 0; v < kUnits; ++v) {
#pragma HLS unroll
      set_part<64>(all, 2 + v, word_t<64>{busy[v]});
    }
    return all;
  }
};

struct StreamIn {
  bool is_busy = false;
  bool is_draining = false;
  StreamInEntry entry = {};
  Error error = ERROR_OK;
  int beat = 0;
  unsigned waited = 0;
  bool is_finished = false;
};

struct RangeReader {
  BeatRange range = {0, 0};
  bool is_finished = false;
};

struct ArrayMultiply {
  bool is_busy = false;
  MultiplyEntry entry = {};
  int step = 0;   // input tile
  int first = 0;  // output
  int tile = 0;   // weight tile
  dot_sum_t acc[kTileOut] = {};
  uint_t<8> taken = 0;  // output tiles without a place among the sums
  int gathered_beats = 0;
  beat_t gathered[kTileBeats] = {};
  uint_t<4> tile_age = 0;  // of the tile from DDR: 1 with the step that stores it; 0: none
  bool is_finished = false;
};

struct ArrayOutput {
  bool is_busy = false;
  bool has_sums = false;
  OutputEntry entry = {};
  Sums sums = {};
  int first = 0;      // output
  int lane = 0;       // of the output tile
  uint_t<4> age = 0;  // steps since the last running sum was written
  bool is_finished = false;
};

struct VectorReduce {
  bool is_busy = false;
  VectorEntry entry = {};
  int first = 0;
  uint_t<48> squares = 0;
  int_t<32> total = 0;
  int_t<16> largest = 0;
  bool is_finished = false;
};

struct VectorRoot {
  bool is_finished = false;
};

struct VectorApply {
  bool is_busy = false;
  RootedEntry work = {};
  int first = 0;
  uint_t<2> phase = 0;  // of POOL_FEATURES, and of a beat of MODULATE and the last POOL; look-ups
  uint_t<2> look_ups = 0;
  uint_t<4> age = 0;  // of the last sum of POOL
  uint_t<16> factor = 0;
  int_t<16> offset = 0;
  int_t<16> addends[kVectorLanes] = {};             // of MODULATE
  int_t<16> maxima[kVectorLanes] = {};              // of the last POOL
  uint_t<8> on_way[kVectorReaders] = {0, 0, 0, 0};  // packets that wait for a reader
  bool is_finished = false;
};

struct Conv {
  bool is_busy = false;
  ConvEntry entry = {};
  int first = 0;
  bool is_finished = false;
};

struct Scan {
  bool is_busy = false;
  ScanEntry entry = {};
  int first = 0;
  int part = 0;
  int words = 0;  // of B and C that have been read
  int_t<8> bc[2 * kMaxStates] = {};
  int_t<8> lane_b[kScanLanes] = {};  // what each lane takes of them
  int_t<8> lane_c[kScanLanes] = {};
  int_t<8> results[kScanChannels] = {};
  int_t<48> earlier_parts = 0;
  bool is_finished = false;
};

struct StreamOut {
  bool is_busy = false;
  StreamOutEntry entry = {};
  Error error = ERROR_OK;
  int beat = 0;
  unsigned waited = 0;
  bool is_finished = false;
};

}  // namespace cmamba
