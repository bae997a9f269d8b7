// POOL_FEATURES: mean and maximum over the features of a token, kVectorLanes a cycle.
#include "arithmetic.h"
#include "kernels.h"
#include "lanes.h"

namespace cmamba {

void pool_features(const PoolFeaturesInstruction& f, const Row16 x, const VectorParams params,
                   int_t<8>& mean, int_t<8>& maximum) {
#pragma HLS inline off
  const int n = f.n;
  const int mean_at = f.param_addr;
  const int maximum_at = mean_at + 1;

  int_t<32> total = 0;
  int_t<16> largest = -(1 << 15);
pool_row:
  for (int first = 0; first < n; first += kVectorLanes) {
#pragma HLS loop_tripcount min = 1 max = 256
#pragma HLS pipeline II = 1
    int_t<16> values[kVectorLanes];
#pragma HLS array_partition variable = values complete
    read_part<kRowAlign, kVectorLanes>(x, first, values);
    // The lanes are added up and compared by themselves, so that one step alone stands between the
    // totals of two cycles.
    int_t<32> lanes_total = 0;
    int_t<16> lanes_largest = values[0];
  pool_row_lanes:
    for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
      if (first + l < n) {
        lanes_total += values[l];
        if (values[l] > lanes_largest) lanes_largest = values[l];
      }
    }
    total += lanes_total;
    if (lanes_largest > largest) largest = lanes_largest;
  }

  const ParamWord mean_word = decode_param_word(
      params[mean_at / kVectorLanes][mean_at % kVectorLanes]);
  const ParamWord maximum_word = decode_param_word(
      params[maximum_at / kVectorLanes][maximum_at % kVectorLanes]);
  mean = saturate<8>(requantize(total, mean_word));
  maximum = saturate<8>(requantize(largest, maximum_word));
}

}  // namespace cmamba
