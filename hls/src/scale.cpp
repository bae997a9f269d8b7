// SCALE: the residual stream times a table of the channel attention's logit, kVectorLanes a cycle.
#include "arithmetic.h"
#include "kernels.h"
#include "lanes.h"

namespace cmamba {

void scale(const ScaleInstruction& f, const Row16 x, const Row8 logit, const VectorTables tables,
           Row16 y) {
#pragma HLS inline off
  const int n = f.n;

scale_features:
  for (int first = 0; first < n; first += kVectorLanes) {
#pragma HLS loop_tripcount min = 1 max = 256
#pragma HLS pipeline II = 1
    int_t<16> values[kVectorLanes];
#pragma HLS array_partition variable = values complete
    read_part<kRowAlign, kVectorLanes>(x, first, values);
    int_t<8> logits[kVectorLanes];
#pragma HLS array_partition variable = logits complete
    read_part<kRowAlign, kVectorLanes>(logit, first, logits);
    int_t<16> results[kVectorLanes];
#pragma HLS array_partition variable = results complete
  scale_lanes:
    for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
      const int entry = int(logits[l]) + kTableEntries / 2;
      const uint_t<16> factor = tables[l / 2][int(f.table)][entry];
      results[l] = saturate<16>(rne_shift<34>(product<34>(values[l], factor), 16));
    }
    write_part<kRowAlign, kVectorLanes>(y, first, results);
  }
}

}  // namespace cmamba
