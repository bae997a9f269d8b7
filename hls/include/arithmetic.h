// The primitives of docs/numerics.md, integer by integer.
#pragma once

#include "decay_tables.h"
#include "isa.h"
#include "types.h"

namespace cmamba {

// x clamped to the range of a signed integer of N bits.
template <int N, class T>
inline int_t<N> saturate(T x) {
#pragma HLS inline
  return int_t<N>(clamp<N>(x));
}

// rne(x, shift): x / 2^shift to the nearest integer, ties to the even one. |x| + 2^(shift - 1) fits
// N bits.
template <int N>
inline int_t<N> rne_shift(int_t<N> x, int shift) {
#pragma HLS inline
  // Both are 0 where nothing is shifted out. Without a branch, which g++ would not vectorize.
  const int_t<N> half = power_of_two<N>(shift, x) >> 1;
  const int_t<N> is_shift = shift != 0;
  const int_t<N> odd = (x >> shift) & is_shift;
  return (x + half - is_shift + odd) >> shift;
}

// rne(a * multiplier, shift) + zero_point, not yet clamped. |a| <= 2^31 and |multiplier| <= 2^17
// leave a bit for the rounding.
inline int_t<50> requantize(int_t<32> a, const ParamWord& p) {
#pragma HLS inline
  return rne_shift<50>(product<50>(a, p.multiplier), p.shift) + p.zero_point;
}

// decay(t) = 2^-(t / 4096) with 16 fraction bits, 0 to 65536, of each lane.
template <int L>
inline void decay_lanes(const uint_t<32> t[L], uint_t<17> decay[L]) {
#pragma HLS inline
// A LUT6 for each bit of each lane: a 64-entry table is not worth a port of a block RAM.
#pragma HLS bind_storage variable = kDecayHigh type = rom_np impl = lutram
#pragma HLS bind_storage variable = kDecayLow type = rom_np impl = lutram
  uint_t<6> high_index[L];
#pragma HLS array_partition variable = high_index complete
  uint_t<6> low_index[L];
#pragma HLS array_partition variable = low_index complete
decay_indices:
  for (int l = 0; l < L; ++l) {
#pragma HLS unroll
    high_index[l] = uint_t<6>((t[l] >> 6) & 63);
    low_index[l] = uint_t<6>(t[l] & 63);
  }
  uint_t<17> high[L];
#pragma HLS array_partition variable = high complete
  uint_t<17> low[L];
#pragma HLS array_partition variable = low complete
  look_up_lanes<L>(kDecayHigh, high_index, high);
  look_up_lanes<L>(kDecayLow, low_index, low);
decay_products:
  for (int l = 0; l < L; ++l) {
#pragma HLS unroll
    const uint_t<20> octaves = t[l] >> 12;
    const int shift = 16 + (octaves < 18 ? int(octaves) : 18);
    decay[l] = uint_t<17>(rne_shift<36>(product<36>(high[l], low[l]), shift));
  }
}

// The largest r below 2^17 with r^2 * m <= 2^64, for 2^30 <= m < 2^32: about 2^32 / sqrt(m).
//
// A digit recurrence: with r known down to bit b + 1, bit b is set if
// (r + 2^b)^2 m = r^2 m + (2 r m + 2^b m) 2^b stays within 2^64. Kept are what is left of 2^64 and
// r * m; what bit b costs is a multiple of 2^b, so that both sides are compared without their last
// b bits. Bit 16 is always set, since 2^32 m < 2^64.
inline uint_t<17> reciprocal_sqrt(uint_t<32> m) {
#pragma HLS inline
  uint_t<17> r = 1 << 16;
  uint_t<49> r_times_m = uint_t<49>(m) << 16;
  uint_t<64> left = uint_t<64>((uint_t<33>(1) << 32) - m) << 32;
recurrence:
  for (int b = 15; b >= 0; --b) {
#pragma HLS unroll
    const uint_t<52> cost = (uint_t<52>(r_times_m) << 1) + (uint_t<52>(m) << b);
    if ((left >> b) >= cost) {
      left -= uint_t<64>(cost) << b;
      r_times_m += uint_t<49>(m) << b;
      r |= uint_t<17>(1) << b;
    }
  }
  return r;
}

}  // namespace cmamba
