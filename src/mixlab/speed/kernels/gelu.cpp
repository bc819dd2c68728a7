// GELU and its derivative in one pass, alone or after a bias.
#include "vector.h"

#include <algorithm>
#include <cstdint>

namespace {

constexpr int64_t kBlock = 4096;
constexpr int64_t kRun = 16;  // rows whose gradients are added up in one sum

struct Shape {
  int64_t rows, columns;
};

// `slopes` may be `inputs`. A bias or slopes that are not needed are null.
template <class Activation, class Number>
void activate(const Number* inputs, const typename Arithmetic<Number>::Element* bias, Number* values, Number* slopes,
              int64_t count) {
  for_each_vector<Number>(0, count, [&](int64_t place, auto lanes) {
    auto input = load(inputs + place, lanes), value = input, slope = input;
    if (bias) input += load(bias + place, lanes);
    Activation::apply(input, value, slope);
    store(values + place, value, lanes);
    if (slopes) store(slopes + place, slope, lanes);
  });
}

template <class Activation, class Number>
void activate_all(const Number* inputs, Number* values, Number* slopes, int64_t count, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t start = 0; start < count; start += kBlock)
    activate<Activation, Number>(inputs + start, nullptr, values + start, slopes + start,
                                 std::min(kBlock, count - start));
}

template <class Activation, class Number>
void activate_rows(const Number* inputs, const typename Arithmetic<Number>::Element* bias, Number* values,
                   Number* slopes, const Shape& shape, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t row = 0; row < shape.rows; ++row) {
    const int64_t start = row * shape.columns;
    activate<Activation, Number>(inputs + start, bias, values + start, slopes ? slopes + start : nullptr,
                                 shape.columns);
  }
}

// The gradients of the inputs, and their sums over each run of rows. `outputs` may be `slopes`.
template <class Number>
void input_gradients(const Number* gradients, const Number* slopes, Number* outputs,
                     typename Arithmetic<Number>::Element* sums, const Shape& shape, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t run = 0; run < shape.rows; run += kRun) {
    auto* const run_sums = sums + run / kRun * shape.columns;
    std::fill_n(run_sums, shape.columns, 0);
    for (int64_t row = run; row < std::min(run + kRun, shape.rows); ++row)
      for_each_vector<Number>(0, shape.columns, [&](int64_t column, auto count) {
        const int64_t place = row * shape.columns + column;
        const auto output = load(gradients + place, count) * load(slopes + place, count);
        store(outputs + place, output, count);
        store(run_sums + column, load(run_sums + column, count) + output, count);
      });
  }
}

}  // namespace

#define EXPORT_ACTIVATION(Activation, name, Number, suffix)                                                         \
  extern "C" bool name##_##suffix(const Number* inputs, Number* values, Number* slopes, const int64_t* count,       \
                                  int threads) {                                                                    \
    activate_all<Activation>(inputs, values, slopes, *count, threads);                                              \
    return true;                                                                                                    \
  }                                                                                                                 \
  extern "C" bool biased_##name##_##suffix(const Number* inputs, const Arithmetic<Number>::Element* bias,           \
                                           Number* values, Number* slopes, const Shape* shape, int threads) {       \
    activate_rows<Activation>(inputs, bias, values, slopes, *shape, threads);                                       \
    return true;                                                                                                    \
  }
#define EXPORT(Number, suffix)                                                                                  \
  EXPORT_ACTIVATION(Gelu<Number>, gelu, Number, suffix)                                                         \
  EXPORT_ACTIVATION(TanhGelu<Number>, tanh_gelu, Number, suffix)                                                \
  extern "C" bool biased_gelu_backward_##suffix(const Number* gradients, const Number* slopes, Number* outputs, \
                                                Arithmetic<Number>::Element* sums, const Shape* shape,          \
                                                int threads) {                                                  \
    input_gradients(gradients, slopes, outputs, sums, *shape, threads);                                         \
    return true;                                                                                                \
  }
EXPORT(float, float32)
EXPORT(double, float64)
EXPORT(bfloat16, bfloat16)
