// MODULATE: a token times one table's entry, plus another's and a row, kVectorLanes features a
// cycle.
#include "arithmetic.h"
#include "kernels.h"
#include "lanes.h"

namespace cmamba {

void modulate(const ModulateInstruction& f, const Row16 x, int_t<8> scale_logit,
              int_t<8> shift_logit, const Row16 addend, const VectorParams params,
              const VectorTables tables, Row16 y) {
#pragma HLS inline off
  const int n = f.n;
  const int param_at = f.param_addr;
  const ParamWord word = decode_param_word(
      params[param_at / kVectorLanes][param_at % kVectorLanes]);
  // One copy of the tables has a port for each.
  const int scale_entry = int(scale_logit) + kTableEntries / 2;
  const int shift_entry = int(shift_logit) + kTableEntries / 2;
  const uint_t<16> factor = tables[0][int(f.scale_table)][scale_entry];
  const int_t<16> offset = int_t<16>(tables[0][int(f.shift_table)][shift_entry]);

modulate_features:
  for (int first = 0; first < n; first += kVectorLanes) {
#pragma HLS loop_tripcount min = 1 max = 256
#pragma HLS pipeline II = 1
    int_t<16> values[kVectorLanes];
#pragma HLS array_partition variable = values complete
    read_part<kRowAlign, kVectorLanes>(x, first, values);
    int_t<16> addends[kVectorLanes];
#pragma HLS array_partition variable = addends complete
    read_part<kRowAlign, kVectorLanes>(addend, first, addends);
    int_t<16> results[kVectorLanes];
#pragma HLS array_partition variable = results complete
  modulate_lanes:
    for (int l = 0; l < kVectorLanes; ++l) {
#pragma HLS unroll
      const int_t<17> added = int_t<17>(offset) + addends[l];
      const int_t<34> sum = product<34>(values[l], factor) + shift_left<34>(added, 16);
      const int_t<50> q = requantize(int_t<32>(rne_shift<34>(sum, 16)), word);
      results[l] = f.wide ? saturate<16>(q) : int_t<16>(saturate<8>(q));
    }
    write_part<kRowAlign, kVectorLanes>(y, first, results);
  }
}

}  // namespace cmamba
