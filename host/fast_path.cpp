// The host's conversions of a forecaster (docs/numerics.md, "On the host"), bit for bit those of
// golden/host.py. For x86-64 and AArch64 with IEEE arithmetic: no -ffast-math, no contraction to
// fused multiply-adds (host/fast_path.py has the flags). It has no dependency but the C library.

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace {

// To the nearest integer, ties to even, for |x| < 2^22: what is added leaves no fraction bits.
inline float round_half_even(float x) {
  constexpr float kShift = 12582912.0F;  // 1.5 * 2^23
  return (x + kShift) - kShift;
}

struct Statistics {
  float mean;
  float deviation;
  bool valid;
};

// The sums run in the order of time, in float64. Not valid where the variance exceeds float32, and
// where a value is not finite.
Statistics statistics_of(const float* x, std::size_t length, float eps) {
  const auto n = static_cast<double>(length);
  auto sum = static_cast<double>(x[0]);  // not 0, which would make 0 of a sum of -0
  for (std::size_t t = 1; t < length; ++t) {
    sum += static_cast<double>(x[t]);
  }
  const double mean = sum / n;
  double squares = 0;
  for (std::size_t t = 0; t < length; ++t) {
    const double centered = static_cast<double>(x[t]) - mean;
    squares += centered * centered;
  }
  const double variance = squares / n;
  return {static_cast<float>(mean), static_cast<float>(std::sqrt(variance + double{eps})),
          variance <= static_cast<double>(FLT_MAX)};
}

bool all_finite(const float* x, std::size_t n) {
  bool finite = true;
  for (std::size_t i = 0; i < n; ++i) {
    finite &= std::fabs(x[i]) <= FLT_MAX;
  }
  return finite;
}

}  // namespace

extern "C" {

// What is the same for all windows of a package.
struct CmambaHost {
  std::size_t variables;      // V
  std::size_t length;         // L
  std::size_t horizon;        // H
  std::size_t bytes_in;       // of a window in the stream
  std::size_t row;            // int16 elements of a result in the stream, padding included
  std::size_t elements;       // those that count
  const std::int64_t* index;  // [bytes_in]: of each byte its value, V * L for zero
  float input_scale;
  float output_scale;
  float eps;
  std::int32_t zero_point;
  std::int32_t instance_norm;
};

// Windows [n][V][L] to beats [n][bytes_in], and statistics [n][V] each where instance_norm.
// scratch: V * L + 1 bytes. Returns 0, or 1 where a window has to be refused.
int cmamba_encode(const CmambaHost* host, const float* x, std::size_t n, float* mean,
                  float* deviation, std::int8_t* scratch, std::int8_t* out) {
  const std::size_t length = host->length;
  const std::size_t values = host->variables * length;
  const auto low = static_cast<float>(-128 - host->zero_point);
  const auto high = static_cast<float>(127 - host->zero_point);
  const float scale = host->input_scale;
  scratch[values] = 0;
  for (std::size_t window = 0; window < n; ++window, x += values, out += host->bytes_in) {
    if (!all_finite(x, values)) {
      return 1;
    }
    for (std::size_t v = 0; v < host->variables; ++v) {
      const float* const row = x + (v * length);
      std::int8_t* const q = scratch + (v * length);
      float center = 0;
      float width = 1;  // neither changes a bit
      if (host->instance_norm != 0) {
        const Statistics found = statistics_of(row, length, host->eps);
        if (!found.valid) {
          return 1;
        }
        center = *mean++ = found.mean;
        width = *deviation++ = found.deviation;
      }
      for (std::size_t t = 0; t < length; ++t) {
        const float steps = ((row[t] - center) / width) / scale;
        const float clamped = std::min(std::max(steps, low), high);
        q[t] = static_cast<std::int8_t>(static_cast<std::int32_t>(round_half_even(clamped)) +
                                        host->zero_point);
      }
    }
    for (std::size_t i = 0; i < host->bytes_in; ++i) {
      out[i] = scratch[host->index[i]];
    }
  }
  return 0;
}

// Results of n windows to forecasts [n][V][H]. A row of the stream has those of `elements` / H
// variables, and fills up its last beat.
void cmamba_decode(const CmambaHost* host, const std::int16_t* y, std::size_t n, const float* mean,
                   const float* deviation, float* out) {
  const std::size_t horizon = host->horizon;
  const float scale = host->output_scale;
  const std::size_t variables = n * host->variables;
  const std::size_t variables_of_row = host->elements / horizon;
  for (std::size_t v = 0; v < variables; ++v, out += horizon) {
    const std::int16_t* const q = y + (v / variables_of_row * host->row) +
                                  (v % variables_of_row * horizon);
    if (host->instance_norm == 0) {
      for (std::size_t t = 0; t < horizon; ++t) {
        out[t] = static_cast<float>(q[t]) * scale;
      }
      continue;
    }
    const float center = mean[v];
    const float width = deviation[v];
    for (std::size_t t = 0; t < horizon; ++t) {
      const float scaled = static_cast<float>(q[t]) * scale * width;
      out[t] = scaled + center;
    }
  }
}

}  // extern "C"
