// The top function: interfaces, memories, and the choice between loading and running.
#include "cmamba.h"

using cmamba::axis_t;
using cmamba::beat_t;
using cmamba::kGmemDepth;

namespace cmamba {

namespace {

template <int N>
void set_word(word_t<N>& word, int i, unsigned value) {
#pragma HLS inline
set_bytes:
  for (int b = 0; b < 4; ++b) {
#pragma HLS unroll
    set_byte(word, 4 * i + b, uint_t<8>((value >> (8 * b)) & 0xFF));
  }
}

}  // namespace

status_t status_of(Error error, const Counters& counters) {
#pragma HLS inline
  status_t status = zero_word<32 * kStatusWords>();
  set_word(status, 0, kVersionMajor << 16 | kVersionMinor);
  set_word(status, 1, error);
  set_part<64>(status, 1, get_part<64>(counters, 0));
  set_part<64>(status, 2, get_part<64>(counters, 1));
status_busy:
  for (int v = 0; v < kUnits; ++v) {
#pragma HLS unroll
    set_part<64>(status, 4 + v, get_part<64>(counters, 2 + v));
  }
  return status;
}

capabilities_t capabilities_of_build() {
#pragma HLS inline
  // Two numbers of a word have 16 bits each.
  const unsigned parallelism[] = {kTileOut << 16 | kTileIn, kVectorLanes << 16 | kRequantizeLanes,
                                  kScanLanes << 16 | kConvLanes};
  const unsigned capacity[] = {
      kMaxPhases,       kMaxInstructions, kMaxSchedule,   kMaxWeights,   kMaxArrayParams,
      kMaxConvParams,   kMaxConvTables,   kMaxScanParams, kMaxScanDecay, kMaxScanTables,
      kMaxVectorParams, kMaxVectorTables, kMaxState,      kMaxReduce,    kMaxFeatures};
  capabilities_t all = zero_word<32 * kCapabilityWords>();
set_parallelism:
  for (int i = 0; i < 3; ++i) {
#pragma HLS unroll
    set_word(all, i, parallelism[i]);
  }
set_capacity:
  for (int i = 0; i < 15; ++i) {
#pragma HLS unroll
    set_word(all, 3 + i, capacity[i]);
  }
  return all;
}

spaces_t spaces_of_build() {
#pragma HLS inline
  const unsigned space[] = {kSpacePatch, kSpaceNorm,  kSpaceConvIn, kSpaceGate,
                            kSpaceConv,  kSpaceProj,  kSpaceStep,   kSpaceScan,
                            kSpaceLogit, kSpaceResid, kSpaceHead};
  spaces_t all = zero_word<32 * kSpaceWords>();
set_space:
  for (int i = 0; i < 11; ++i) {
#pragma HLS unroll
    set_word(all, i, space[i]);
  }
  return all;
}

}  // namespace cmamba

void cmamba_top(const beat_t* gmem, hls::stream<axis_t>& s_axis, hls::stream<axis_t>& m_axis,
                unsigned mode, unsigned package_beats, unsigned n_forecasts,
                unsigned watchdog_cycles, cmamba::status_t* status,
                cmamba::capabilities_t* capabilities, cmamba::spaces_t* spaces) {
// A package is read front to back and a weight tile is 64 beats, hence bursts of that length, two
// on the way to cover the latency of DDR. 128 bits are the width of the HP ports. Co-simulation
// copies `depth` beats.
#pragma HLS interface mode = m_axi port = gmem offset = slave bundle = gmem depth = kGmemDepth \
    latency = 64 max_read_burst_length = 64 num_read_outstanding = 2
#pragma HLS interface mode = axis port = s_axis register_mode = both
#pragma HLS interface mode = axis port = m_axis register_mode = both
// Registers where the RTL has them, so that one driver serves both.
#pragma HLS interface mode = s_axilite port = gmem bundle = control offset = 0x10
#pragma HLS interface mode = s_axilite port = mode bundle = control offset = 0x1C
#pragma HLS interface mode = s_axilite port = package_beats bundle = control offset = 0x24
#pragma HLS interface mode = s_axilite port = n_forecasts bundle = control offset = 0x2C
#pragma HLS interface mode = s_axilite port = watchdog_cycles bundle = control offset = 0x34
#pragma HLS interface mode = s_axilite port = status bundle = control offset = 0x40
#pragma HLS interface mode = s_axilite port = capabilities bundle = control offset = 0xA0
#pragma HLS interface mode = s_axilite port = spaces bundle = control offset = 0x100
#pragma HLS interface mode = s_axilite port = return bundle = control

  // What a package has loaded stays between calls. The order of the dimensions below is that of
  // memory.h.
  static cmamba::Memory memory;
#pragma HLS disaggregate variable = memory
// What is written in parts of a word has a bank for each lane. The others are as wide as what is
// written: one memory.
#pragma HLS array_partition variable = memory.patch type = complete dim = 2
#pragma HLS array_partition variable = memory.norm type = complete dim = 2
#pragma HLS array_partition variable = memory.proj_multiply type = complete dim = 2
#pragma HLS array_partition variable = memory.proj_scan type = complete dim = 2
#pragma HLS array_partition variable = memory.scan type = complete dim = 2
#pragma HLS array_partition variable = memory.conv_in type = complete dim = 1
#pragma HLS array_reshape variable = memory.conv_in type = complete dim = 3
#pragma HLS array_reshape variable = memory.gate type = complete dim = 2
#pragma HLS array_partition variable = memory.conv_multiply type = complete dim = 2
#pragma HLS array_reshape variable = memory.conv_multiply type = complete dim = 3
#pragma HLS array_reshape variable = memory.conv_scan type = complete dim = 2
#pragma HLS array_reshape variable = memory.proj_skip type = complete dim = 2
#pragma HLS array_reshape variable = memory.step type = complete dim = 2
#pragma HLS array_reshape variable = memory.logit type = complete dim = 2
#pragma HLS array_reshape variable = memory.resid_output type = complete dim = 2
#pragma HLS array_reshape variable = memory.resid_reduce type = complete dim = 2
#pragma HLS array_reshape variable = memory.resid_apply type = complete dim = 2
#pragma HLS array_reshape variable = memory.head type = complete dim = 2
// The array takes a tile a cycle. A bank as wide as a tile (8192 bits) fills 228 columns of 36-bit
// block RAM; a memory for each lane would not use the ninth bits and not fit the device. One port
// writes, the other reads. The third cycle is that of the output registers.
#pragma HLS array_partition variable = memory.weights type = complete dim = 1
#pragma HLS array_reshape variable = memory.weights type = complete dim = 3
#pragma HLS array_reshape variable = memory.weights type = complete dim = 4
#pragma HLS bind_storage variable = memory.weights type = ram_s2p impl = bram latency = 3
// A bank for each lane: loader and scan write lane by lane, array and vector unit read each at an
// address of its own (lanes.h).
#pragma HLS array_partition variable = memory.array_params type = complete dim = 2
#pragma HLS array_partition variable = memory.conv_params type = complete dim = 2
#pragma HLS array_partition variable = memory.scan_params type = complete dim = 2
#pragma HLS array_partition variable = memory.scan_decay type = complete dim = 2
#pragma HLS array_partition variable = memory.vector_params type = complete dim = 2
#pragma HLS array_partition variable = memory.state type = complete dim = 2
// A memory for each copy of the tables, with two read ports.
#pragma HLS array_partition variable = memory.conv_tables type = complete dim = 1
#pragma HLS array_partition variable = memory.scan_tables type = complete dim = 1
#pragma HLS array_partition variable = memory.vector_tables type = complete dim = 1
// Sums begin at element 0 and are written a word at once.
#pragma HLS array_reshape variable = memory.reduce type = complete dim = 2
#pragma HLS array_reshape variable = memory.pool_sum type = complete dim = 2
#pragma HLS array_reshape variable = memory.pool_maximum type = complete dim = 2
// The weights take most of the block RAM. What is at most 256 words deep would fill half a
// block or less and goes to LUTs; one side of each is written, the other read. Some builds have
// deeper memories (config.h).
#pragma HLS bind_storage variable = memory.patch type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.norm type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.conv_in type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.gate type = ram_s2p impl = lutram
#ifdef CMAMBA_BLOCK_RAM_CONV
#pragma HLS bind_storage variable = memory.conv_multiply type = ram_s2p impl = bram
#pragma HLS bind_storage variable = memory.conv_scan type = ram_s2p impl = bram
#else
#pragma HLS bind_storage variable = memory.conv_multiply type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.conv_scan type = ram_s2p impl = lutram
#endif
#pragma HLS bind_storage variable = memory.proj_multiply type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.proj_scan type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.proj_skip type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.step type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.scan type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.logit type = ram_s2p impl = lutram
#ifdef CMAMBA_BLOCK_RAM_RESID
#pragma HLS bind_storage variable = memory.resid_output type = ram_s2p impl = bram
#pragma HLS bind_storage variable = memory.resid_reduce type = ram_s2p impl = bram
#pragma HLS bind_storage variable = memory.resid_apply type = ram_s2p impl = bram
#else
#pragma HLS bind_storage variable = memory.resid_output type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.resid_reduce type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.resid_apply type = ram_s2p impl = lutram
#endif
#pragma HLS bind_storage variable = memory.head type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.instructions type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.phases type = ram_s2p impl = lutram
#ifdef CMAMBA_BLOCK_RAM_CONV_PARAMS
#pragma HLS bind_storage variable = memory.conv_params type = ram_s2p impl = bram
#else
#pragma HLS bind_storage variable = memory.conv_params type = ram_s2p impl = lutram
#endif
#pragma HLS bind_storage variable = memory.vector_params type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.state type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.reduce type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.pool_sum type = ram_s2p impl = lutram
#pragma HLS bind_storage variable = memory.pool_maximum type = ram_s2p impl = lutram

  const unsigned command = mode & ~cmamba::kModeTlastEach;
  const bool tlast_each = (mode & cmamba::kModeTlastEach) != 0;
  cmamba::Error code = cmamba::ERROR_BAD_MODE;
  // A load or an unknown command leaves the counters of the last run.
  static cmamba::Counters counters = cmamba::zero_word<64 * (2 + cmamba::kUnits)>();
  if (command == cmamba::kModeLoad) {
    code = cmamba::load_package(gmem, package_beats, memory);
  } else if (command == cmamba::kModeRun) {
    code = cmamba::run_forecasts(gmem, s_axis, m_axis, n_forecasts, tlast_each, watchdog_cycles,
                                 memory, counters);
  }

  *status = cmamba::status_of(code, counters);
  *capabilities = cmamba::capabilities_of_build();
  *spaces = cmamba::spaces_of_build();
}
