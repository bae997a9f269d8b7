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
    int_t<32> addends[kVectorLanes];
#pragma HLS array_partition variable = addends complete
    int_t<16> compared[kVectorLanes];
#pragma HLS array_partition variable = compared complete
  pool_row_lanes:
    for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
      const bool is_inside = first + l < n;
      addends[l] = is_inside ? int_t<32>(values[l]) : int_t<32>(0);
      compared[l] = is_inside ? values[l] : values[0];
    }
    total += sum_lanes<kVectorLanes>(addends);
    const int_t<16> lanes_largest = maximum_lanes<kVectorLanes>(compared);
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
