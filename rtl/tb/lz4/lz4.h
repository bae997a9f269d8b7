// The two functions of LZ4 that Verilator's FST writer calls, for machines without the library. The block
// they write holds its data as one run of literals: valid, not smaller. The writer then keeps most of
// a trace as it is; `fst` files are larger for it, and any viewer reads them.
#pragma once

#include <cstring>

// Bytes that a block of `size` bytes takes at most: the token, its length and the literals.
inline int LZ4_compressBound(int size) { return size + size / 255 + 16; }

// Writes the block, and returns its size, or 0 if `capacity` is too small for it.
inline int LZ4_compress_default(const char* source, char* target, int size, int capacity) {
  if (capacity < LZ4_compressBound(size)) return 0;
  char* out = target;
  if (size < 15) {
    *out++ = static_cast<char>(size << 4);
  } else {
    *out++ = static_cast<char>(15 << 4);
    int rest = size - 15;
    for (; rest >= 255; rest -= 255) *out++ = static_cast<char>(255);
    *out++ = static_cast<char>(rest);
  }
  std::memcpy(out, source, size);
  return static_cast<int>(out - target) + size;
}
