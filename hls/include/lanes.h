// Access to L consecutive elements that begin anywhere in a memory of rows of L lanes.
//
// Parameters, decay rates and scan states of one instruction follow those of another without gaps,
// so that they begin at any lane. Lane b of every row lies in bank b (array_partition complete in
// the last dimension). The wanted elements lie in two rows: banks below first % L are read one row
// later, and a rotation by first % L brings them in order. One access a cycle, and no bank is read
// twice.
#pragma once

namespace cmamba {

// out[l] = element first + l. Elements past the end of the memory give those at its beginning.
template <int Rows, int L, class T>
inline void read_lanes(const T memory[Rows][L], int first, T out[L]) {
#pragma HLS inline
  static_assert((Rows & (Rows - 1)) == 0, "wrapping around a power of two costs nothing");
  const int row = first / L;
  const int shift = first % L;
  T word[L];
#pragma HLS array_partition variable = word complete
read_banks:
  for (int b = 0; b < L; ++b) {
#pragma HLS unroll
    word[b] = memory[(row + (b < shift ? 1 : 0)) % Rows][b];
  }
rotate_read:
  for (int l = 0; l < L; ++l) {
#pragma HLS unroll
    out[l] = word[(l + shift) % L];
  }
}

// element first + l = value[l] for l < count.
template <int Rows, int L, class T>
inline void write_lanes(T memory[Rows][L], int first, const T value[L], int count) {
#pragma HLS inline
  const int row = first / L;
  const int shift = first % L;
write_banks:
  for (int b = 0; b < L; ++b) {
#pragma HLS unroll
    const int l = (b + L - shift) % L;
    if (l < count) memory[(row + (b < shift ? 1 : 0)) % Rows][b] = value[l];
  }
}

}  // namespace cmamba
