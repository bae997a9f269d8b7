// Quantization of [channels, n] row-major tensors, a scale and a zero point for each channel: the
// formulas of ops.py, operation by operation, so that every result has the same bits. That needs
// IEEE arithmetic as written: no -ffast-math, and no contraction to fused multiply-add
// (-ffp-contract=off).
//
// Each function is one pass over memory, shared among `threads` threads. No result depends on their
// number.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <vector>

namespace quantization {

// Terms that a sum adds side by side: SUM_WIDTH of ops.py.
constexpr int64_t kSumWidth = 128;
// Elements that one thread takes at a time: a power of two of rows of a sum, so that its part is a
// complete subtree. In float32, 32 KB: some microseconds of work.
constexpr int64_t kChunkRows = 64;
constexpr int64_t kChunk = kChunkRows * kSumWidth;
constexpr int kChunkLevels = 7;  // of its subtree, the leaves included
// Fewer elements than this are faster without waking other threads.
constexpr int64_t kSerial = 4 * kChunk;

template <class T>
struct Parameters {
  const T* scale;       // [channels]
  const T* zero_point;  // [channels], integers
  T low, high;          // range of the integers
};

// The nearest integer, ties to even, in the rounding mode that a process starts with.
template <class T>
T round(T v) {
  return std::nearbyint(v);
}

// NaN stays NaN.
template <class T>
T clamp(T v, T low, T high) {
  v = v < low ? low : v;
  return v > high ? high : v;
}

inline int64_t chunks_of(int64_t n) { return (n + kChunk - 1) / kChunk; }

// Call work(channel, chunk, first, count) for every chunk of every channel: elements first to
// first + count of the tensor.
template <class Work>
void for_chunks(int64_t channels, int64_t n, int threads, Work work) {
  const int64_t chunks = chunks_of(n);
#pragma omp parallel for num_threads(threads) if (channels * n >= kSerial) schedule(static)
  for (int64_t i = 0; i < channels * chunks; i++) {
    const int64_t channel = i / chunks, chunk = i % chunks;
    const int64_t first = chunk * kChunk;
    work(channel, chunk, channel * n + first, std::min(kChunk, n - first));
  }
}

// ------------------------------------------------------------------------------- sums

// `to` and `from` do not overlap.
template <class T>
void add(T* to, const T* from, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; i++) to[i] += from[i];
}

// ops.ordered_sum of one chunk's rows, while they come: `top()` is where the next row is to be
// written, `push()` adds it to its neighbour as soon as that is complete.
template <class T>
class RowSums {
 public:
  T* top() { return rows_[depth_]; }

  void push() {
    depth_++;
    pushed_++;
    for (int64_t pairs = pushed_; pairs % 2 == 0; pairs /= 2) merge();
  }

  // The sum of the rows; the odd ones join from the last on.
  T* finish() {
    while (depth_ > 1) merge();
    return rows_[0];
  }

 private:
  void merge() {
    depth_--;
    add(rows_[depth_ - 1], rows_[depth_], kSumWidth);
  }

  alignas(64) T rows_[kChunkLevels + 1][kSumWidth];
  int depth_ = 0;
  int64_t pushed_ = 0;
};

// Sums [channels] of what the chunks give: a row each.
template <class T>
class ChannelSums {
 public:
  ChannelSums(T* sums, int64_t channels, int64_t n)
      : sums_(sums),
        channels_(channels),
        chunks_(chunks_of(n)),
        rows_(chunks_ > 1 ? channels * chunks_ * kSumWidth : 0) {
    std::fill(sums, sums + channels, T(0));  // where there are no elements
  }

  // Different threads may set different chunks at once. The row is used up.
  void set(int64_t channel, int64_t chunk, T* row) {
    if (chunks_ == 1) {
      sums_[channel] = fold(row);
    } else {
      std::copy(row, row + kSumWidth, &rows_[(channel * chunks_ + chunk) * kSumWidth]);
    }
  }

  // After all chunks are set.
  void finish() {
    if (chunks_ <= 1) return;
    for (int64_t channel = 0; channel < channels_; channel++) {
      T* rows = &rows_[channel * chunks_ * kSumWidth];
      for (int64_t step = 1; step < chunks_; step *= 2) {
        for (int64_t left = 0; left + step < chunks_; left += 2 * step) {
          add(rows + left * kSumWidth, rows + (left + step) * kSumWidth, kSumWidth);
        }
      }
      sums_[channel] = fold(rows);
    }
  }

 private:
  static T fold(T* row) {
    for (int64_t half = kSumWidth / 2; half >= 1; half /= 2) add(row, row + half, half);
    return row[0];
  }

  T* sums_;
  int64_t channels_, chunks_;
  std::vector<T> rows_;
};

// ------------------------------------------------------------------------------- quantize

// Returns whether an x is NaN; what is in q is then of no use.
template <class T, class Q>
bool quantize(const T* x, Q* q, int64_t channels, int64_t n, Parameters<T> p, int threads) {
  std::atomic<bool> has_nan{false};
  for_chunks(channels, n, threads, [&](int64_t c, int64_t, int64_t first, int64_t count) {
    const T scale = p.scale[c], z = p.zero_point[c], low = p.low, high = p.high;
    const T* in = x + first;
    Q* out = q + first;
    int nan = 0;
    for (int64_t i = 0; i < count; i++) {
      nan |= in[i] != in[i];
      T v = round(in[i] / scale) + z;
      v = v > low ? v : low;  // also where v is NaN, which must not be converted
      out[i] = Q(v < high ? v : high);
    }
    if (nan) has_nan = true;
  });
  return has_nan;
}

// ------------------------------------------------------------------------------- dequantize

template <class T, class Q>
void dequantize(const Q* q, T* x, int64_t channels, int64_t n, Parameters<T> p, int threads) {
  for_chunks(channels, n, threads, [&](int64_t c, int64_t, int64_t first, int64_t count) {
    const T scale = p.scale[c], z = p.zero_point[c];
    const Q* in = q + first;
    T* out = x + first;
    for (int64_t i = 0; i < count; i++) out[i] = (T(in[i]) - z) * scale;
  });
}

// Sums [channels] over dy * (q - z), and over dy.
template <class T, class Q>
void dequantize_backward(const Q* q, const T* dy, T* steps_sum, T* dy_sum, int64_t channels,
                         int64_t n, Parameters<T> p, int threads) {
  ChannelSums<T> steps_sums(steps_sum, channels, n), dy_sums(dy_sum, channels, n);
  for_chunks(channels, n, threads, [&](int64_t c, int64_t chunk, int64_t first, int64_t count) {
    const T z = p.zero_point[c];
    RowSums<T> steps, plain;
    for (int64_t start = 0; start < count; start += kSumWidth) {
      const int64_t width = std::min(kSumWidth, count - start);
      const Q* in = q + first + start;
      const T* gradient = dy + first + start;
      T *a = steps.top(), *b = plain.top();
#pragma omp simd
      for (int64_t i = 0; i < width; i++) {
        a[i] = (T(in[i]) - z) * gradient[i];
        b[i] = gradient[i];
      }
      std::fill(a + width, a + kSumWidth, T(0));
      std::fill(b + width, b + kSumWidth, T(0));
      steps.push();
      plain.push();
    }
    steps_sums.set(c, chunk, steps.finish());
    dy_sums.set(c, chunk, plain.finish());
  });
  steps_sums.finish();
  dy_sums.finish();
}

// ------------------------------------------------------------------------------- fake quantize

template <class T>
void fake_quantize(const T* x, T* y, int64_t channels, int64_t n, Parameters<T> p, int threads) {
  for_chunks(channels, n, threads, [&](int64_t c, int64_t, int64_t first, int64_t count) {
    const T scale = p.scale[c], z = p.zero_point[c], low = p.low, high = p.high;
    const T* in = x + first;
    T* out = y + first;
    for (int64_t i = 0; i < count; i++) {
      out[i] = (clamp(round(in[i] / scale) + z, low, high) - z) * scale;
    }
  });
}

// dx, and sums [channels]: over dy * (q - z - v inside), and over dy outside.
template <class T>
void fake_quantize_backward(const T* x, const T* dy, T* dx, T* steps_sum, T* outside_sum,
                            int64_t channels, int64_t n, Parameters<T> p, int threads) {
  ChannelSums<T> steps_sums(steps_sum, channels, n), outside_sums(outside_sum, channels, n);
  for_chunks(channels, n, threads, [&](int64_t c, int64_t chunk, int64_t first, int64_t count) {
    const T scale = p.scale[c], z = p.zero_point[c], low = p.low, high = p.high;
    const T above = low - z, below = high - z;
    RowSums<T> steps, outside;
    for (int64_t start = 0; start < count; start += kSumWidth) {
      const int64_t width = std::min(kSumWidth, count - start);
      const T *in = x + first + start, *gradient = dy + first + start;
      T *out = dx + first + start, *a = steps.top(), *b = outside.top();
#pragma omp simd
      for (int64_t i = 0; i < width; i++) {
        const T v = in[i] / scale, g = gradient[i];
        const bool inside = v > above && v < below;
        const T step = clamp(round(v) + z, low, high) - z;
        out[i] = inside ? g : T(0);
        a[i] = (step - (inside ? v : T(0))) * g;
        b[i] = inside ? T(0) : g;
      }
      std::fill(a + width, a + kSumWidth, T(0));
      std::fill(b + width, b + kSumWidth, T(0));
      steps.push();
      outside.push();
    }
    steps_sums.set(c, chunk, steps.finish());
    outside_sums.set(c, chunk, outside.finish());
  });
  steps_sums.finish();
  outside_sums.finish();
}

}  // namespace quantization
