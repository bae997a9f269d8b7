// CONV: kConvLanes channels a cycle, all taps at once.
#include "arithmetic.h"
#include "dependences.h"
#include "lanes.h"
#include "steps.h"

namespace cmamba {

bool step(Conv& u, channel<ConvEntry, kStartDepth>& starts,
          channel<ArrayPacket8, kPacketDepth>& from_array,
          channel<VectorPacket8, kWaitingDepth>& from_vector,
          channel<Credit, kWaitingDepth>& vector_credits, channel<Ends, kAckDepth>& ends,
          channel<ConvPacket, kPacketDepth>& to_multiply,
          channel<ConvPacket, kPacketDepth>& to_scan, ConvIn& conv_in, ConvParams& params,
          ConvTables& tables) {
#pragma HLS inline
// No entry reads rows that are still being written: it starts after their end has been seen.
#pragma HLS dependence variable = conv_in type = inter direction = RAW false
  CMAMBA_ANSWERED(conv_in, ConvIn);
  bool is_active = false;

  // What comes for the rows before convolution, the array's first. A copy for each tap has a port
  // for each.
  Ends done = 0;
  ArrayPacket8 array_packet;
  VectorPacket8 vector_packet;
  if (from_array.read_nb(array_packet)) {
    is_active = true;
    if (array_packet.has_data) {
    store_array_copies:
      for (int k = 0; k < kMaxTaps; ++k) {
#pragma HLS unroll
        write_part<kRequantizeLanes, kRequantizeLanes>(conv_in[k], array_packet.address,
                                                       array_packet.value);
      }
    }
    if (array_packet.is_end) done |= Ends(1 << UNIT_ARRAY);
  } else if (from_vector.read_nb(vector_packet)) {
    is_active = true;
    if (vector_packet.has_data) {
    store_vector_copies:
      for (int k = 0; k < kMaxTaps; ++k) {
#pragma HLS unroll
        write_part<kRequantizeLanes, kVectorLanes>(conv_in[k], vector_packet.address,
                                                   vector_packet.value);
      }
    }
    if (vector_packet.is_end) done |= Ends(1 << UNIT_VECTOR);
    vector_credits.write(1);
  }
  if (done != 0) ends.write(done);

  if (u.is_busy) {
    is_active = true;
    const int kernel = u.entry.kernel;
    word_t<128> words[kConvLanes];
#pragma HLS array_partition variable = words complete
    read_part<kConvLanes, kConvLanes>(params, int(u.entry.param_addr) + u.first, words);

    // The value of each tap, which may lie before the sequence.
    int_t<8> values[kMaxTaps][kConvLanes];
#pragma HLS array_partition variable = values complete dim = 0
  conv_values:
    for (int k = 0; k < kMaxTaps; ++k) {
#pragma HLS unroll
      const int age = kernel - 1 - k;
      const bool is_inside = age >= 0 && age <= int(u.entry.position);
      const int row = is_inside ? int(u.entry.token) - age : int(u.entry.token);
      int_t<8> stored[kConvLanes];
#pragma HLS array_partition variable = stored complete
      read_part<kRequantizeLanes, kConvLanes>(conv_in[k],
                                              row_address(u.entry.source, row) + u.first, stored);
    pad_values:
      for (int l = 0; l < kConvLanes; ++l) {
#pragma HLS unroll
        values[k][l] = is_inside ? stored[l] : u.entry.pad;
      }
    }

    ConvPacket packet;
  conv_lanes:
    for (int l = 0; l < kConvLanes; ++l) {
#pragma HLS unroll
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
      packet.value[l] = tables[l / 2][int(u.entry.table)][q + kTableEntries / 2];
    }
    packet.space = SPACE_CONV;
    packet.address = int(u.entry.result) + u.first;
    packet.has_data = true;
    u.first += kConvLanes;
    packet.is_end = u.first >= int(u.entry.n);
    to_multiply.write(packet);
    to_scan.write(packet);
    u.is_busy = !packet.is_end;
  }
  if (!u.is_busy && starts.read_nb(u.entry)) {
    is_active = true;
    u.first = 0;
    u.is_busy = !u.entry.is_end;
    u.is_finished = u.entry.is_end;
  }
  return is_active;
}

}  // namespace cmamba
