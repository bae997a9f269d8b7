// Python module cmamba_quantization: the kernels on NumPy arrays, which share the memory of CPU
// tensors. model/quantization/cpp.py is the interface to use.
//
// Arrays must be contiguous and of the right dtype and size; anything else is a TypeError or a
// ValueError before memory is touched. The GIL is released while a kernel runs.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "kernels.h"

namespace py = pybind11;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

void require_size(const char* name, py::ssize_t found, py::ssize_t expected) {
  if (found != expected) {
    throw py::value_error(std::string(name) + ": expected " + std::to_string(expected) +
                          " elements, found " + std::to_string(found));
  }
}

// What all kernels have in common: sizes, scales and zero points, range, threads.
template <class T>
struct Call {
  Call(py::ssize_t size, const Array<T>& scale, const Array<T>& zero_point, double low, double high,
       int threads)
      : channels(scale.size()),
        n(channels ? size / channels : 0),
        parameters{scale.data(), zero_point.data(), T(low), T(high)},
        threads(threads) {
    require_size("zero_point", zero_point.size(), channels);
    require_size("tensor, a multiple of the channels", size, channels * n);
    if (threads < 1) throw py::value_error("threads: expected at least 1");
  }

  int64_t channels, n;
  quantization::Parameters<T> parameters;
  int threads;
};

template <class T, class Q>
bool quantize(const Array<T>& x, Array<Q>& q, const Array<T>& scale, const Array<T>& zero_point,
              double low, double high, int threads) {
  const Call<T> call(x.size(), scale, zero_point, low, high, threads);
  require_size("q", q.size(), x.size());
  const T* in = x.data();
  Q* out = q.mutable_data();
  py::gil_scoped_release release;
  return quantization::quantize(in, out, call.channels, call.n, call.parameters, call.threads);
}

template <class T, class Q>
void dequantize(const Array<Q>& q, Array<T>& x, const Array<T>& scale, const Array<T>& zero_point,
                int threads) {
  const Call<T> call(q.size(), scale, zero_point, 0, 0, threads);
  require_size("x", x.size(), q.size());
  const Q* in = q.data();
  T* out = x.mutable_data();
  py::gil_scoped_release release;
  quantization::dequantize(in, out, call.channels, call.n, call.parameters, call.threads);
}

template <class T, class Q>
void dequantize_backward(const Array<Q>& q, const Array<T>& dy, Array<T>& steps_sum,
                         Array<T>& dy_sum, const Array<T>& scale, const Array<T>& zero_point,
                         int threads) {
  const Call<T> call(q.size(), scale, zero_point, 0, 0, threads);
  require_size("dy", dy.size(), q.size());
  require_size("steps_sum", steps_sum.size(), call.channels);
  require_size("dy_sum", dy_sum.size(), call.channels);
  const Q* in = q.data();
  const T* gradient = dy.data();
  T *steps = steps_sum.mutable_data(), *plain = dy_sum.mutable_data();
  py::gil_scoped_release release;
  quantization::dequantize_backward(in, gradient, steps, plain, call.channels, call.n,
                                    call.parameters, call.threads);
}

template <class T>
void fake_quantize(const Array<T>& x, Array<T>& y, const Array<T>& scale,
                   const Array<T>& zero_point, double low, double high, int threads) {
  const Call<T> call(x.size(), scale, zero_point, low, high, threads);
  require_size("y", y.size(), x.size());
  const T* in = x.data();
  T* out = y.mutable_data();
  py::gil_scoped_release release;
  quantization::fake_quantize(in, out, call.channels, call.n, call.parameters, call.threads);
}

template <class T>
void fake_quantize_backward(const Array<T>& x, const Array<T>& dy, Array<T>& dx,
                            Array<T>& steps_sum, Array<T>& outside_sum, const Array<T>& scale,
                            const Array<T>& zero_point, double low, double high, int threads) {
  const Call<T> call(x.size(), scale, zero_point, low, high, threads);
  require_size("dy", dy.size(), x.size());
  require_size("dx", dx.size(), x.size());
  require_size("steps_sum", steps_sum.size(), call.channels);
  require_size("outside_sum", outside_sum.size(), call.channels);
  const T *in = x.data(), *gradient = dy.data();
  T *out = dx.mutable_data(), *steps = steps_sum.mutable_data();
  T* outside = outside_sum.mutable_data();
  py::gil_scoped_release release;
  quantization::fake_quantize_backward(in, gradient, out, steps, outside, call.channels, call.n,
                                       call.parameters, call.threads);
}

// Arguments must not be converted: results are written into the arrays that are passed.
py::arg exactly(const char* name) { return py::arg(name).noconvert(); }

template <class T, class Q>
void define_integers(py::module_& module) {
  module.def("quantize", &quantize<T, Q>, exactly("x"), exactly("q"), exactly("scale"),
             exactly("zero_point"), py::arg("low"), py::arg("high"), py::arg("threads"),
             "Whether x has a NaN; if not, q holds its integers.");
  module.def("dequantize", &dequantize<T, Q>, exactly("q"), exactly("x"), exactly("scale"),
             exactly("zero_point"), py::arg("threads"));
  module.def("dequantize_backward", &dequantize_backward<T, Q>, exactly("q"), exactly("dy"),
             exactly("steps_sum"), exactly("dy_sum"), exactly("scale"), exactly("zero_point"),
             py::arg("threads"), "Sums over dy * (q - zero_point) and over dy of each channel.");
}

template <class T>
void define(py::module_& module) {
  define_integers<T, int8_t>(module);
  define_integers<T, int16_t>(module);
  module.def("fake_quantize", &fake_quantize<T>, exactly("x"), exactly("y"), exactly("scale"),
             exactly("zero_point"), py::arg("low"), py::arg("high"), py::arg("threads"));
  module.def("fake_quantize_backward", &fake_quantize_backward<T>, exactly("x"), exactly("dy"),
             exactly("dx"), exactly("steps_sum"), exactly("outside_sum"), exactly("scale"),
             exactly("zero_point"), py::arg("low"), py::arg("high"), py::arg("threads"),
             "dx; sums over dy * (q - zero_point, less v inside) and over dy outside.");
}

}  // namespace

PYBIND11_MODULE(cmamba_quantization, module) {
  module.doc() = "Quantization kernels; model.quantization.cpp is the interface to use.";
  define<float>(module);
  define<double>(module);
}
