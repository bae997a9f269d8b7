// Integers of a given width, words, AXI beats and streams: where the code of the two builds
// differs. Apart from this file, lanes.h and the sums of scan.cpp have a form for each, for speed.
//
// By default they are AMD's arbitrary-precision types, which is what Vitis HLS synthesizes and what
// csim simulates. With CMAMBA_NATIVE they are standard integers, the next larger ones: the same
// results, because no value ever leaves its declared width (docs/numerics.md), at the speed of the
// machine.
#pragma once

#include <cstdint>

#ifdef CMAMBA_NATIVE
#ifdef __AVX2__
#include <immintrin.h>
#endif

#include <type_traits>

#include "csim/native_stream.h"
#else
#include <ap_axi_sdata.h>
#include <ap_int.h>
#include <hls_stream.h>
#endif

namespace cmamba {

#ifdef CMAMBA_NATIVE

// The smallest standard integers that hold N bits.
template <int N>
struct NativeInteger {
  static_assert(N >= 1 && N <= 64, "no standard integer is that wide");
  using Signed = std::conditional_t<
      (N <= 8), int8_t,
      std::conditional_t<(N <= 16), int16_t, std::conditional_t<(N <= 32), int32_t, int64_t>>>;
  using Unsigned = std::make_unsigned_t<Signed>;
};

template <int N>
using int_t = typename NativeInteger<N>::Signed;
template <int N>
using uint_t = typename NativeInteger<N>::Unsigned;

// N bits that are only cut into fields, least significant limb first.
template <int N>
struct word_t {
  static_assert(N % 64 == 0, "words are whole limbs");
  uint64_t limb[N / 64];
};

// Bits hi to lo of a word, at most 32 of them.
template <int Hi, int Lo, int N>
inline uint_t<Hi - Lo + 1> bits(const word_t<N>& w) {
  static_assert(Hi >= Lo && Hi < N && Hi - Lo < 32, "no such field");
  uint64_t value = w.limb[Lo / 64] >> (Lo % 64);
  if (Lo / 64 != Hi / 64) value |= w.limb[Hi / 64] << (63 - Lo % 64) << 1;
  return static_cast<uint_t<Hi - Lo + 1>>(value & ((uint64_t(1) << (Hi - Lo + 1)) - 1));
}

// The same as a signed number.
template <int Hi, int Lo, int N>
inline int_t<Hi - Lo + 1> sbits(const word_t<N>& w) {
  const int unused = 63 - (Hi - Lo);
  const uint64_t value = bits<Hi, Lo>(w);
  return static_cast<int_t<Hi - Lo + 1>>(static_cast<int64_t>(value << unused) >> unused);
}

// Byte i of a word, byte 0 the least significant.
template <int N>
inline uint_t<8> get_byte(const word_t<N>& w, int i) {
  return static_cast<uint8_t>(w.limb[i / 8] >> (8 * (i % 8)));
}
template <int N>
inline void set_byte(word_t<N>& w, int i, uint_t<8> value) {
  const int shift = 8 * (i % 8);
  w.limb[i / 8] = (w.limb[i / 8] & ~(uint64_t(0xFF) << shift)) | (uint64_t(value) << shift);
}

// Part i of a word that is cut into parts of M bits, part 0 the least significant.
template <int M, int N>
inline word_t<M> get_part(const word_t<N>& w, int i) {
  word_t<M> value;
  for (int l = 0; l < M / 64; ++l) value.limb[l] = w.limb[i * (M / 64) + l];
  return value;
}
template <int M, int N>
inline void set_part(word_t<N>& w, int i, const word_t<M>& value) {
  for (int l = 0; l < M / 64; ++l) w.limb[i * (M / 64) + l] = value.limb[l];
}

template <int N>
inline word_t<N> zero_word() {
  return word_t<N>{};
}

// Part i of a word as a number.
template <int N>
inline uint_t<64> get_u64(const word_t<N>& w, int i) {
  return w.limb[i];
}

// a * b, which fits N bits.
template <int N, class A, class B>
inline int_t<N> product(A a, B b) {
  return static_cast<int_t<N>>(static_cast<int_t<N>>(a) * static_cast<int_t<N>>(b));
}

// An input of dot_pair: of 16 bits, as the instruction below takes them.
using dot_input_t = int16_t;

// The first `count` of N inputs, and zeros.
template <int N>
inline void take_first(const int8_t inputs[N], int8_t count, dot_input_t taken[N]) {
#pragma GCC unroll 1
  for (int8_t j = 0; j < N; ++j) taken[j] = j < count ? inputs[j] : 0;
}

// A sum that dot_pair adds to, in parts that are added up at its end only: a register of AVX2.
constexpr int kDotParts = 8;
struct alignas(sizeof(int32_t) * kDotParts) dot_sum_t {
  int32_t part[kDotParts];
};

// sum += the N products of a row of weights with inputs, or = where `clear`.
template <int N>
inline void dot(const int8_t weights[N], const dot_input_t x[N], bool clear, dot_sum_t& sum) {
#ifdef __AVX2__
  // Products are added up in pairs, by an instruction that g++ finds for a single sum only.
  if (N % 16 == 0) {
    const auto parts = reinterpret_cast<__m256i*>(sum.part);
    __m256i acc = clear ? _mm256_setzero_si256() : _mm256_load_si256(parts);
    for (int j = 0; j < N; j += 16) {
      const auto bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(weights + j));
      const auto inputs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + j));
      acc = _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_cvtepi8_epi16(bytes), inputs));
    }
    _mm256_store_si256(parts, acc);
    return;
  }
#endif
  if (clear) sum = {};
  for (int j = 0; j < N; ++j) sum.part[j % kDotParts] += weights[j] * x[j];
}

// The same for two rows of weights with the same inputs.
template <int N>
inline void dot_pair(const int8_t a[N], const int8_t b[N], const dot_input_t x[N], bool clear,
                     dot_sum_t& sum_a, dot_sum_t& sum_b) {
  dot<N>(a, x, clear, sum_a);
  dot<N>(b, x, clear, sum_b);
}

inline int32_t total(const dot_sum_t& sum) {
  int32_t all = 0;
  for (const int32_t part : sum.part) all += part;
  return all;
}

// 2^shift. With any x, modulo 2^N: g++ vectorizes the shift of a variable, but not that of 1.
template <int N>
inline int_t<N> power_of_two(int shift, int_t<N> x) {
  const uint_t<N> from = static_cast<uint_t<N>>(x);
  return static_cast<int_t<N>>(((from + 1) << shift) - (from << shift));
}

// x * 2^shift, which fits N bits.
template <int N, class T>
inline int_t<N> shift_left(T x, int shift) {
  return static_cast<int_t<N>>(static_cast<uint_t<N>>(static_cast<int_t<N>>(x)) << shift);
}

// x clamped to the range of a signed integer of N bits: minimum and maximum, each an instruction.
template <int N, class T>
inline T clamp(T x) {
  const T high = (T(1) << (N - 1)) - 1;
  const T low = -high - 1;
  const T above_low = x < low ? low : x;
  return above_low > high ? high : above_low;
}

// a + b modulo 2^N, for sums that only a program with positions out of order can make overflow.
template <int N>
inline int_t<N> add_modulo(int_t<N> a, int_t<N> b) {
  return static_cast<int_t<N>>(static_cast<uint_t<N>>(a) + static_cast<uint_t<N>>(b));
}

// found[l] = table[index[l]], of 64 entries from 1 to 2^16.
template <int L>
inline void look_up_lanes(const unsigned table[64], const uint8_t index[L], uint32_t found[L]) {
#ifdef __AVX512BW__
  // Registers hold a table of 16 bits, so that 32 entries are found at once, and not one by one.
  if (L % 32 == 0) {
    uint16_t less_one[64], wide_index[L];
    for (int i = 0; i < 64; ++i) less_one[i] = static_cast<uint16_t>(table[i] - 1);
    for (int l = 0; l < L; ++l) wide_index[l] = index[l];
    uint16_t entries[L];
    for (int l = 0; l < L; l += 32) {
      _mm512_storeu_si512(entries + l,
                          _mm512_permutex2var_epi16(_mm512_loadu_si512(less_one),
                                                    _mm512_loadu_si512(wide_index + l),
                                                    _mm512_loadu_si512(less_one + 32)));
    }
    for (int l = 0; l < L; ++l) found[l] = entries[l] + 1u;
    return;
  }
#endif
  for (int l = 0; l < L; ++l) found[l] = table[index[l]];
}

// Exclusive or of all bits.
inline bool parity(uint_t<64> x) { return __builtin_parityll(x); }

// One transfer of a 128-bit AXI4-Stream.
struct axis_t {
  word_t<128> data = {};
  uint_t<16> keep = 0;
  uint_t<16> strb = 0;
  uint_t<1> last = 0;
};

#else

template <int N>
using int_t = ap_int<N>;
template <int N>
using uint_t = ap_uint<N>;
template <int N>
using word_t = ap_uint<N>;

template <int Hi, int Lo, int N>
inline ap_uint<Hi - Lo + 1> bits(const ap_uint<N>& w) {
  return w.range(Hi, Lo);
}

template <int Hi, int Lo, int N>
inline ap_int<Hi - Lo + 1> sbits(const ap_uint<N>& w) {
  ap_int<Hi - Lo + 1> value;
  value.range(Hi - Lo, 0) = w.range(Hi, Lo);
  return value;
}

template <int N>
inline ap_uint<8> get_byte(const ap_uint<N>& w, int i) {
  return w.range(8 * i + 7, 8 * i);
}
template <int N>
inline void set_byte(ap_uint<N>& w, int i, ap_uint<8> value) {
  w.range(8 * i + 7, 8 * i) = value;
}

template <int M, int N>
inline ap_uint<M> get_part(const ap_uint<N>& w, int i) {
  return w.range(M * i + M - 1, M * i);
}
template <int M, int N>
inline void set_part(ap_uint<N>& w, int i, const ap_uint<M>& value) {
  w.range(M * i + M - 1, M * i) = value;
}

template <int N>
inline ap_uint<N> zero_word() {
  return 0;
}

template <int N>
inline ap_uint<64> get_u64(const ap_uint<N>& w, int i) {
  return w.range(64 * i + 63, 64 * i);
}

// No cast of the operands, so that the multiplier is as narrow as they are.
template <int N, class A, class B>
inline ap_int<N> product(A a, B b) {
  return a * b;
}

using dot_input_t = ap_int<8>;

template <int N>
inline void take_first(const ap_int<8> inputs[N], ap_int<8> count, dot_input_t taken[N]) {
#pragma HLS inline
take_inputs:
  for (int j = 0; j < N; ++j) {
#pragma HLS unroll
    taken[j] = ap_int<8>(j) < count ? inputs[j] : ap_int<8>(0);
  }
}

using dot_sum_t = ap_int<32>;

// Two products are one of a DSP48E2: of (b << 18) + a with x. Of up to four of these the lower 18
// bits hold the sum of a's products, each at most 2^14, and it borrows from the upper ones.
template <int N>
inline void dot_pair(const ap_int<8> a[N], const ap_int<8> b[N], const dot_input_t x[N], bool clear,
                     dot_sum_t& sum_a, dot_sum_t& sum_b) {
#pragma HLS inline
  constexpr int kChain = 4;
  static_assert(N % kChain == 0, "whole chains");
  ap_int<32> products_a = 0;
  ap_int<32> products_b = 0;
dot_chains:
  for (int c = 0; c < N / kChain; ++c) {
#pragma HLS unroll
    ap_int<48> packed = 0;
  dot_products:
    for (int k = 0; k < kChain; ++k) {
#pragma HLS unroll
      const int j = c * kChain + k;
      const ap_int<27> both = (ap_int<27>(b[j]) << 18) + a[j];
      packed += both * x[j];
    }
    const ap_int<18> lower = packed;
    products_a += lower;
    products_b += (packed - lower) >> 18;
  }
  sum_a = (clear ? ap_int<32>(0) : sum_a) + products_a;
  sum_b = (clear ? ap_int<32>(0) : sum_b) + products_b;
}

inline ap_int<32> total(const dot_sum_t& sum) { return sum; }

template <int N>
inline ap_int<N> power_of_two(int shift, ap_int<N>) {
  return ap_int<N>(1) << shift;
}

template <int N, class T>
inline ap_int<N> shift_left(T x, int shift) {
  return ap_int<N>(x) << shift;
}

// The comparisons do not wait for each other.
template <int N, class T>
inline T clamp(T x) {
#pragma HLS inline
  const T high = (T(1) << (N - 1)) - 1;
  const T low = -high - 1;
  const T above_low = x < low ? low : x;
  return x > high ? high : above_low;
}

template <int N>
inline ap_int<N> add_modulo(ap_int<N> a, ap_int<N> b) {
  return a + b;
}

template <int L>
inline void look_up_lanes(const unsigned table[64], const ap_uint<6> index[L],
                          ap_uint<17> found[L]) {
#pragma HLS inline
look_up_lane:
  for (int l = 0; l < L; ++l) {
#pragma HLS unroll
    found[l] = table[int(index[l])];
  }
}

inline bool parity(ap_uint<64> x) { return x.xor_reduce(); }

using axis_t = ap_axiu<128, 0, 0, 0>;

#endif

// What the memory interface and the streams carry in one cycle.
constexpr int kBeatBytes = 16;
using beat_t = word_t<8 * kBeatBytes>;

}  // namespace cmamba
