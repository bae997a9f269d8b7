// The kernels: each computes one instruction for one token, from rows to rows, with the parameters
// and state in the memories of its unit. They know nothing of operands, rings and schedules, which
// are the executor's; arguments are in the ranges that the loader has checked.
//
// Rows are row[i / kRowAlign][i % kRowAlign]. A result is defined for the first n (n_out) elements.
// What an operand holds behind its last element has no effect, except that LINEAR multiplies it by
// the weights up to the end of the tile: one of the two has to be zero.
#pragma once

#include "memory.h"

namespace cmamba {

// Parameter memories of the array, the vector unit and the scan, which differ in their lanes.
typedef word_t<64> ArrayParams[kMaxArrayParams / kRequantizeLanes][kRequantizeLanes];
typedef word_t<64> VectorParams[kMaxVectorParams / kVectorLanes][kVectorLanes];
typedef word_t<64> ScanParams[kMaxScanParams / kScanChannels][kScanChannels];
typedef word_t<128> ConvParams[kMaxConvParams / kConvLanes][kConvLanes];
typedef int_t<8> ConvTables[table_copies(kConvLanes)][kMaxConvTables][kTableEntries];
typedef uint_t<16> ScanTables[kScanChannels][kMaxScanTables][kTableEntries];
typedef uint_t<16> VectorTables[table_copies(kVectorLanes)][kMaxVectorTables][kTableEntries];
typedef int_t<8> Weights[kMaxWeights][kTileOut][kTileIn];
typedef uint_t<16> Decay[kMaxScanDecay / kScanLanes][kScanLanes];
typedef int_t<24> State[kMaxState / kScanLanes][kScanLanes];
typedef int_t<32> Reduce[kMaxReduce / kRequantizeLanes][kRequantizeLanes];
typedef int_t<32> PoolSum[kMaxFeatures / kVectorLanes][kVectorLanes];
typedef int_t<16> Head[kSpaceHead / kRowAlign][kRowAlign];
typedef int_t<16> PoolMaximum[kMaxFeatures / kVectorLanes][kVectorLanes];

// LINEAR. x begins at element `x_offset` of its first word (a multiple of kTileIn), addend is read
// where add_enable. Tiles from kMaxWeights on come from `package`, whose weights begin at beat
// `weights_beat`. With reduce, y is written at the last position only, before that the sums in
// `reduce`.
void linear_int8(const LinearInstruction& f, int position, const InputRow x, int x_offset,
                 const Row16 addend, const Weights weights, const beat_t* package, int weights_beat,
                 const ArrayParams params, Reduce reduce, Row16 y);

// CONV. x[k] is the row of token - kernel + 1 + k; rows before position 0 are not read.
void causal_conv(const ConvInstruction& f, int position,
                 const int_t<8> x[kMaxTaps][kRowWords][kRowAlign], const ConvParams params,
                 const ConvTables tables, Row8 y);

// SCAN. bc holds B in elements 0 to 2^log2_state - 1, then C; skip is used where skip_enable.
void selective_scan(const ScanInstruction& f, int position, const Row8 u, const Row8 z,
                    const Row8 dt, const Row8 bc, const Row8 skip, const Decay decay,
                    const ScanParams params, const ScanTables tables, State state, Row8 y);

// NORM. y is int8 unless wide.
void rms_norm(const NormInstruction& f, const Row16 x, const VectorParams params, Row16 y);

// POOL. The rows are written at the last position.
void pool(const PoolInstruction& f, int position, const Row16 x, const VectorParams params,
          PoolSum sum, PoolMaximum maximum, Row8 mean_row, Row8 maximum_row);

// SCALE.
void scale(const ScaleInstruction& f, const Row16 x, const Row8 logit, const VectorTables tables,
           Row16 y);

// POOL_FEATURES: the two elements that the token has in its row.
void pool_features(const PoolFeaturesInstruction& f, const Row16 x, const VectorParams params,
                   int_t<8>& mean, int_t<8>& maximum);

// MODULATE, with the two logits that the token has in its row. y is int8 unless wide.
void modulate(const ModulateInstruction& f, const Row16 x, int_t<8> scale_logit,
              int_t<8> shift_logit, const Row16 addend, const VectorParams params,
              const VectorTables tables, Row16 y);

// RECV: one token of n elements from the stream. TLAST has to come with the last beat of the run's
// last token (`is_last`) and with no other.
Error receive_token(hls::stream<axis_t>& s_axis, int n, bool is_last, Row8 y);

// SEND: n elements from `address` on, the beginning of a word; TLAST with the last beat where
// `is_last`.
Error send_forecast(hls::stream<axis_t>& m_axis, const Head head, int address, int n, bool is_last);

}  // namespace cmamba
