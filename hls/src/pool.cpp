// POOL: mean and maximum over the tokens of a sequence, kVectorLanes features a cycle.
#include "arithmetic.h"
#include "kernels.h"
#include "lanes.h"

namespace cmamba {

void pool(const PoolInstruction& f, int position, const Row16 x, const VectorParams params,
          PoolSum sum, PoolMaximum maximum, Row8 mean_row, Row8 maximum_row) {
#pragma HLS inline off
  const int n = f.n;
  const bool is_first = position == 0;
  const bool is_last = position == f.n_positions - 1;
  const int mean_at = f.param_addr;
  const int maximum_at = mean_at + 1;
  const ParamWord mean_word = decode_param_word(
      params[mean_at / kVectorLanes][mean_at % kVectorLanes]);
  const ParamWord maximum_word = decode_param_word(
      params[maximum_at / kVectorLanes][maximum_at % kVectorLanes]);

pool_feature_parts:
  for (int first = 0; first < n; first += kVectorLanes) {
#pragma HLS loop_tripcount min = 1 max = 256
#pragma HLS pipeline II = 1
// `first` grows by a word of sum and maximum: no iteration reads what another has written.
#pragma HLS dependence variable = sum type = inter false
#pragma HLS dependence variable = maximum type = inter false
    int_t<16> values[kVectorLanes];
#pragma HLS array_partition variable = values complete
    read_part<kRowAlign, kVectorLanes>(x, first, values);
    int_t<8> means[kVectorLanes];
#pragma HLS array_partition variable = means complete
    int_t<8> maxima[kVectorLanes];
#pragma HLS array_partition variable = maxima complete
  pool_lanes:
    for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
      int_t<32> total = values[l];
      int_t<16> largest = values[l];
      if (!is_first) {
        total = add_modulo<32>(sum[first / kVectorLanes][l], total);
        const int_t<16> before = maximum[first / kVectorLanes][l];
        if (before > largest) largest = before;
      }
      sum[first / kVectorLanes][l] = total;
      maximum[first / kVectorLanes][l] = largest;
      means[l] = saturate<8>(requantize(total, mean_word));
      maxima[l] = saturate<8>(requantize(largest, maximum_word));
    }
    if (is_last) {
      write_part<kRowAlign, kVectorLanes>(mean_row, first, means);
      write_part<kRowAlign, kVectorLanes>(maximum_row, first, maxima);
    }
  }
}

}  // namespace cmamba
