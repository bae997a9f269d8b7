// CRC-32 (IEEE 802.3, as in zlib), a beat a cycle.
#pragma once

#include "types.h"

namespace cmamba {

constexpr unsigned kCrcPolynomial = 0xEDB88320;  // bit-reflected
constexpr unsigned
    kCrcInitial = 0xFFFFFFFF;  // the checksum is the complement of the last remainder

constexpr unsigned crc32_shift(unsigned crc) {
  return (crc >> 1) ^ ((crc & 1) != 0 ? kCrcPolynomial : 0);
}

// The remainder after 128 bits is linear in those bits, once the remainder before has been added to
// the first 32 of them: bit i of it is the parity of the bits in mask[i]. Shifted in bit by bit
// instead, the remainder would pass 128 XORs in a row and could not take a beat a cycle.
struct CrcMatrix {
  uint64_t mask[32][2];
};

constexpr CrcMatrix crc_matrix() {
  CrcMatrix m = {};
  unsigned column = kCrcPolynomial;
  for (int j = 127; j >= 0; --j) {
    for (int i = 0; i < 32; ++i) {
      if (((column >> i) & 1) != 0) m.mask[i][j / 64] |= uint64_t(1) << (j % 64);
    }
    column = crc32_shift(column);
  }
  return m;
}

constexpr CrcMatrix kCrcMatrix = crc_matrix();

inline unsigned crc32_beat(unsigned crc, const beat_t& beat) {
#pragma HLS inline
  const uint_t<64> low = get_u64(beat, 0) ^ uint_t<64>(crc);
  const uint_t<64> high = get_u64(beat, 1);
  unsigned next = 0;
crc_bits:
  for (int i = 0; i < 32; ++i) {
#pragma HLS unroll
    const bool bit = parity((low & uint_t<64>(kCrcMatrix.mask[i][0])) ^
                            (high & uint_t<64>(kCrcMatrix.mask[i][1])));
    next |= unsigned(bit) << i;
  }
  return next;
}

// For what is left of a section behind its last whole beat.
inline unsigned crc32_byte(unsigned crc, uint_t<8> byte) {
#pragma HLS inline
  crc ^= unsigned(byte);
crc_shifts:
  for (int i = 0; i < 8; ++i) {
#pragma HLS unroll
    crc = crc32_shift(crc);
  }
  return crc;
}

}  // namespace cmamba
