// NORM: kVectorLanes features a cycle, in two sweeps over the row with the reciprocal root between
// them.
#include "arithmetic.h"
#include "kernels.h"
#include "lanes.h"

namespace cmamba {

namespace {

// By halves: a search bit by bit would pass 48 choices in a row.
int bit_length(uint_t<48> x) {
#pragma HLS inline
  uint_t<64> rest = x;
  int length = 0;
halve:
  for (int half = 32; half > 0; half /= 2) {
#pragma HLS unroll
    const uint_t<64> upper = rest >> half;
    const bool is_upper = upper != 0;
    rest = is_upper ? upper : rest;
    length += is_upper ? half : 0;
  }
  return length + int(rest);
}

}  // namespace

void rms_norm(const NormInstruction& f, const Row16 x, const VectorParams params, Row16 y) {
#pragma HLS inline off
  const int n = f.n;

  uint_t<48> sum = f.eps;
sum_squares:
  for (int first = 0; first < n; first += kVectorLanes) {
#pragma HLS loop_tripcount min = 1 max = 256
#pragma HLS pipeline II = 1
    int_t<16> values[kVectorLanes];
#pragma HLS array_partition variable = values complete
    read_part<kRowAlign, kVectorLanes>(x, first, values);
    uint_t<48> squares[kVectorLanes];
#pragma HLS array_partition variable = squares complete
  square_lanes:
    for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
      const uint_t<48> square = uint_t<48>(product<32>(values[l], values[l]));
      squares[l] = first + l < n ? square : uint_t<48>(0);
    }
    sum += sum_lanes<kVectorLanes>(squares);
  }

  // 2^30 <= m < 2^32, so that its reciprocal root has a fixed number of digits.
  const int log4 = (bit_length(sum) - 31) >> 1;
  const uint_t<32> m = uint_t<32>(log4 >= 0 ? sum >> (2 * log4) : sum << (-2 * log4));
  const uint_t<17> r = reciprocal_sqrt(m);

normalize:
  for (int first = 0; first < n; first += kVectorLanes) {
#pragma HLS loop_tripcount min = 1 max = 256
#pragma HLS pipeline II = 1
    word_t<64> words[kVectorLanes];
#pragma HLS array_partition variable = words complete
    read_lanes<kMaxVectorParams / kVectorLanes, kVectorLanes>(params, int(f.param_addr) + first,
                                                              words);
    int_t<16> values[kVectorLanes];
#pragma HLS array_partition variable = values complete
    read_part<kRowAlign, kVectorLanes>(x, first, values);
    int_t<16> results[kVectorLanes];
#pragma HLS array_partition variable = results complete
  normalize_lanes:
    for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
      results[l] = 0;
      if (first + l < n) {
        const int_t<40> scaled = shift_left<40>(product<34>(values[l], r), 6);
        const int_t<32> v = int_t<32>(rne_shift<40>(scaled, 15 + log4));
        const int_t<50> q = requantize(v, decode_param_word(words[l]));
        results[l] = f.wide ? saturate<16>(q) : int_t<16>(saturate<8>(q));
      }
    }
    write_part<kRowAlign, kVectorLanes>(y, first, results);
  }
}

}  // namespace cmamba
