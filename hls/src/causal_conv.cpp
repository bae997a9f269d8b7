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
    read_part<kConvLanes, kConvLanes>(params, int(f.param_addr) + first, words);

    // The value of each tap, which may lie before the sequence.
    int_t<8> values[kMaxTaps][kConvLanes];
#pragma HLS array_partition variable = values complete dim = 0
  conv_values:
    for (int k = 0; k < kMaxTaps; ++k) {
#pragma HLS unroll
      const bool is_inside = k < kernel && position - (kernel - 1 - k) >= 0;
      if (is_inside) {
        read_part<kRowAlign, kConvLanes>(x[k], first, values[k]);
      } else {
      pad_values:
        for (int l = 0; l < kConvLanes; ++l) {
#pragma HLS unroll
          values[k][l] = f.pad;
        }
      }
    }

    int_t<8> results[kConvLanes];
#pragma HLS array_partition variable = results complete
  conv_lanes:
    for (int l = 0; l < kConvLanes; ++l) {
#pragma HLS unroll
      results[l] = 0;
      if (first + l < n) {
        const ParamWord p = decode_param_word(get_part<64>(words[l], 0));
        int_t<32> products[kMaxTaps];
#pragma HLS array_partition variable = products complete
      conv_taps:
        for (int k = 0; k < kMaxTaps; ++k) {
#pragma HLS unroll
          const int_t<8> tap = int_t<8>(get_byte(words[l], 8 + k));
          const int_t<32> tap_product = product<16>(tap, values[k][l]);
          products[k] = k < kernel ? tap_product : int_t<32>(0);
        }
        const int_t<32> acc = p.bias + sum_lanes<kMaxTaps>(products);
        const int q = saturate<8>(requantize(acc, p));
        results[l] = tables[l / 2][int(f.table)][q + kTableEntries / 2];
      }
    }
    write_part<kRowAlign, kConvLanes>(y, first, results);
  }
}

}  // namespace cmamba
