// SCALE: the residual stream times a table of the channel attention's logit, kVectorLanes a cycle.
#include "arithmetic.h"
#include "kernels.h"

namespace cmamba {

void scale(const ScaleInstruction& f, const Row16 x, const Row8 logit, const VectorTables tables,
           Row16 y) {
#pragma HLS inline off
  const int n = f.n;

scale_features:
  for (int first = 0; first < n; first += kVectorLanes) {
#pragma HLS loop_tripcount min = 1 max = 256
#pragma HLS pipeline II = 1
  scale_lanes:
    for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
      const int word = first / kRowAlign;
      const int at = first % kRowAlign + l;
      const int entry = int(logit[word][at]) + kTableEntries / 2;
      const uint_t<16> factor = tables[l / 2][int(f.table)][entry];
      y[word][at] = saturate<16>(rne_shift<34>(product<34>(x[word][at], factor), 16));
    }
  }
}

}  // namespace cmamba
