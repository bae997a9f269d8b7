// Access to L consecutive elements that begin anywhere in a memory of rows of L lanes.
//
// Parameters, decay rates and scan states of one instruction follow those of another without gaps,
// so that they begin at any lane. Lane b of every row lies in bank b (array_partition complete in
// the last dimension). The wanted elements lie in two rows: banks below first % L are read one row
// later, and a rotation by first % L brings them in order. One access a cycle, and no bank is read
// twice.
#pragma once

namespace cmamba {

// word[l] becomes word[(l + shift) % L], for 0 <= shift < L: log2(L) stages of two-way
// multiplexers.
template <int L, class T>
inline void rotate_lanes(T word[L], int shift) {
#pragma HLS inline
rotate_stages:
  for (int distance = 1; distance < L; distance *= 2) {
#pragma HLS unroll
    if ((shift & distance) != 0) {
      T rotated[L];
#pragma HLS array_partition variable = rotated complete
    rotate_lane:
      for (int l = 0; l < L; ++l) {
#pragma HLS unroll
        rotated[l] = word[(l + distance) % L];
      }
    take_lane:
      for (int l = 0; l < L; ++l) {
#pragma HLS unroll
        word[l] = rotated[l];
      }
    }
  }
}

// out[l] = element first + l. Elements past the end of the memory give those at its beginning.
template <int Rows, int L, class T>
inline void read_lanes(const T memory[Rows][L], int first, T out[L]) {
#pragma HLS inline
  static_assert((Rows & (Rows - 1)) == 0, "wrapping around a power of two costs nothing");
  const int row = first / L;
  const int next_row = (row + 1) % Rows;
  const int shift = first % L;
read_banks:
  for (int b = 0; b < L; ++b) {
#pragma HLS unroll
    out[b] = memory[b < shift ? next_row : row][b];
  }
  rotate_lanes<L>(out, shift);
}

// element first + l = value[l] for l < count.
template <int Rows, int L, class T>
inline void write_lanes(T memory[Rows][L], int first, const T value[L], int count) {
#pragma HLS inline
  const int row = first / L;
  const int next_row = (row + 1) % Rows;
  const int shift = first % L;
  T word[L];
#pragma HLS array_partition variable = word complete
order_banks:
  for (int l = 0; l < L; ++l) {
#pragma HLS unroll
    word[l] = value[l];
  }
  rotate_lanes<L>(word, (L - shift) % L);
write_banks:
  for (int b = 0; b < L; ++b) {
#pragma HLS unroll
    if ((b + L - shift) % L < count) memory[b < shift ? next_row : row][b] = word[b];
  }
}

}  // namespace cmamba
