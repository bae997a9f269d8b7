// Access to L elements a cycle in memories whose rows are as many lanes wide, or wider.
//
// To the tool a bank is free in a cycle if the source names it once, by a constant. An index such
// as first % Width + l names every bank L times, whatever values it can have. The functions here
// therefore go through the lanes by constants, and choose between them afterwards. Not so in the
// native build, which is there for speed.
#pragma once

namespace cmamba {

// --- L elements that begin at a multiple of L, in rows of Width lanes ---

// out[l] = element first + l.
template <int Width, int L, class T>
inline void read_part(const T rows[][Width], int first, T out[L]) {
#pragma HLS inline
  static_assert(Width % L == 0, "a row is a whole number of parts");
  const unsigned at = first;
#ifdef CMAMBA_NATIVE
  const T* const part = rows[at / Width] + at % Width / L * L;
  for (int l = 0; l < L; ++l) out[l] = part[l];
#else
read_parts:
  for (int part = 0; part < Width / L; ++part) {
#pragma HLS unroll
    // Part 0 is read in any case, so that `out` has a value on every path.
    if (part == 0 || part == int(at % Width / L)) {
    read_part_lanes:
      for (int l = 0; l < L; ++l) {
#pragma HLS unroll
        out[l] = rows[at / Width][part * L + l];
      }
    }
  }
#endif
}

// element first + l = value[l] for begin <= l < end.
template <int Width, int L, class T>
inline void write_part(T rows[][Width], int first, const T value[L], int begin = 0, int end = L) {
#pragma HLS inline
  static_assert(Width % L == 0, "a row is a whole number of parts");
  const unsigned at = first;
#if defined(CMAMBA_NATIVE) && !defined(CMAMBA_CHECK_DEPENDENCES)
  // A blend, which g++ vectorizes. It writes what it does not change, too, and a check of addresses
  // would see that.
  T* const part = rows[at / Width] + at % Width / L * L;
  for (int l = 0; l < L; ++l) part[l] = l >= begin && l < end ? value[l] : part[l];
#else
write_parts:
  for (int part = 0; part < Width / L; ++part) {
#pragma HLS unroll
    if (part == int(at % Width / L)) {
    write_part_lanes:
      for (int l = 0; l < L; ++l) {
#pragma HLS unroll
        if (l >= begin && l < end) rows[at / Width][part * L + l] = value[l];
      }
    }
  }
#endif
}

// --- rows of Parts parts of L elements ---

// out[l] = element l of the row in which element `at` lies.
template <int Parts, int L, class T>
inline void read_row(const T rows[][Parts][L], int at, T out[Parts * L]) {
#pragma HLS inline
read_row_parts:
  for (int part = 0; part < Parts; ++part) {
#pragma HLS unroll
  read_row_lanes:
    for (int l = 0; l < L; ++l) {
#pragma HLS unroll
      out[part * L + l] = rows[unsigned(at) / (Parts * L)][part][l];
    }
  }
}

// element at + l = value[l]; `at` is a multiple of L.
template <int Parts, int L, class T>
inline void write_row_part(T rows[][Parts][L], int at, const T value[L]) {
#pragma HLS inline
#ifdef CMAMBA_NATIVE
  T* const part = rows[unsigned(at) / (Parts * L)][unsigned(at) / L % Parts];
  for (int l = 0; l < L; ++l) part[l] = value[l];
#else
write_row_parts:
  for (int part = 0; part < Parts; ++part) {
#pragma HLS unroll
    if (part == int(unsigned(at) / L % Parts)) {
    write_row_lanes:
      for (int l = 0; l < L; ++l) {
#pragma HLS unroll
        rows[unsigned(at) / (Parts * L)][part][l] = value[l];
      }
    }
  }
#endif
}

// --- L elements that begin anywhere, in rows of L lanes ---
//
// The parameters of NORM and LINEAR need not begin with a row. Lane b of every row lies in bank b
// (array_partition complete in the last dimension). The wanted elements lie in two rows: banks
// below first % L are read one row later, and a rotation by first % L brings them in order.

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
#ifdef CMAMBA_NATIVE
  const unsigned start = unsigned(first) % (Rows * L);
  const T* const elements = &memory[0][0];
  if (start + L <= Rows * L) {  // which g++ copies as vectors
    for (unsigned l = 0; l < L; ++l) out[l] = elements[start + l];
  } else {
    for (unsigned l = 0; l < L; ++l) out[l] = elements[(start + l) % (Rows * L)];
  }
#else
  const unsigned row = unsigned(first) / L;
  const unsigned next_row = (row + 1) % Rows;
  const int shift = unsigned(first) % L;
read_banks:
  for (int b = 0; b < L; ++b) {
#pragma HLS unroll
    out[b] = memory[b < shift ? next_row : row][b];
  }
  rotate_lanes<L>(out, shift);
#endif
}

// --- one number of L lanes ---
//
// Trees: a sum that lane after lane adds under a condition is a chain of L adders. L is a power of
// two; the lanes are overwritten.

template <int L, class T>
inline T sum_lanes(T lanes[L]) {
#pragma HLS inline
  static_assert((L & (L - 1)) == 0, "a tree of pairs");
sum_levels:
  for (int half = L / 2; half > 0; half /= 2) {
#pragma HLS unroll
  sum_pairs:
    for (int l = 0; l < L / 2; ++l) {
#pragma HLS unroll
      if (l < half) lanes[l] = lanes[l] + lanes[l + half];
    }
  }
  return lanes[0];
}

template <int L, class T>
inline T maximum_lanes(T lanes[L]) {
#pragma HLS inline
  static_assert((L & (L - 1)) == 0, "a tree of pairs");
maximum_levels:
  for (int half = L / 2; half > 0; half /= 2) {
#pragma HLS unroll
  maximum_pairs:
    for (int l = 0; l < L / 2; ++l) {
#pragma HLS unroll
      const T other = lanes[(l + half) % L];
      if (l < half) lanes[l] = other > lanes[l] ? other : lanes[l];
    }
  }
  return lanes[0];
}

}  // namespace cmamba
