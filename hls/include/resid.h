// What a process with a copy of resid does with what comes for it.
#pragma once

#include "lanes.h"
#include "units.h"

namespace cmamba {

// Takes a packet of the array, or else of the vector unit, which gets its credit back. Whether
// there was one; `done` gets the bit of an entry that it ends.
inline bool take_resid(channel<ArrayPacket16, kPacketDepth>& from_array,
                       channel<VectorPacket16, kWaitingDepth>& from_vector,
                       channel<Credit, kWaitingDepth>& vector_credits, Resid& resid, Ends& done) {
#pragma HLS inline
  ArrayPacket16 array_packet;
  VectorPacket16 vector_packet;
  const bool has_array = from_array.read_nb(array_packet);
  const bool has_vector = !has_array && from_vector.read_nb(vector_packet);
  if (has_array) {
    if (array_packet.has_data) {
      write_part<kWideWidth, kRequantizeLanes>(resid, array_packet.address, array_packet.value);
    }
    if (array_packet.is_end) done |= Ends(1 << UNIT_ARRAY);
  } else if (has_vector) {
    if (vector_packet.has_data) {
      write_part<kWideWidth, kVectorLanes>(resid, vector_packet.address, vector_packet.value);
    }
    if (vector_packet.is_end) done |= Ends(1 << UNIT_VECTOR);
    vector_credits.write(1);
  }
  return has_array || has_vector;
}

}  // namespace cmamba
