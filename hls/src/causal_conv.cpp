// CONV: kConvLanes channels a cycle, all taps at once.
#include "arithmetic.h"
#include "kernels.h"
#include "lanes.h"

namespace cmamba {

void causal_conv(const ConvInstruction& f, int position,
                 const int_t<8> x[kMaxTaps][kRowWords][kRowAlign], const ConvParams params,
                 const ConvTables tables, Row8 y) {
#pragma HLS inline off
  const int n = f.n;
  const int kernel = f.kernel;

conv_channels:
  for (int first = 0; first < n; first += kConvLanes) {
#pragma HLS loop_tripcount min = 1 max = 256
#pragma HLS pipeline II = 1
    word_t<128> words[kConvLanes];
#pragma HLS array_partition variable = words complete
    read_lanes<kMaxConvParams / kConvLanes, kConvLanes>(params, int(f.param_addr) + first, words);

  conv_lanes:
    for (int l = 0; l < kConvLanes; ++l) {
#pragma HLS unroll
      if (first + l < n) {
        const ParamWord p = decode_param_word(get_part<64>(words[l], 0));
        int_t<32> acc = p.bias;
      conv_taps:
        for (int k = 0; k < kMaxTaps; ++k) {
#pragma HLS unroll
          if (k < kernel) {
            // x[k] belongs to this position, which may lie before the sequence.
            const bool is_inside = position - (kernel - 1 - k) >= 0;
            const int_t<8> tap = int_t<8>(get_byte(words[l], 8 + k));
            const int_t<8> value = is_inside ? x[k][first / kRowAlign][first % kRowAlign + l]
                                             : f.pad;
            acc += product<16>(tap, value);
          }
        }
        const int q = saturate<8>(requantize(acc, p));
        const int entry = q + kTableEntries / 2;
        y[first / kRowAlign][first % kRowAlign + l] = tables[l / 2][int(f.table)][entry];
      }
    }
  }
}

}  // namespace cmamba
