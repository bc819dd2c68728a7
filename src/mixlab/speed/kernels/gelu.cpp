// GELU and its derivative in one pass.
#include "vector.h"

#include <algorithm>
#include <cstdint>

namespace {

constexpr int64_t kBlock = 4096;

template <class Number, class Activation>
void activate(const Number* inputs, Number* values, Number* slopes, int64_t count, int threads) {
  using Element = typename Arithmetic<Number>::Element;
  constexpr int lanes = kLanes<Number>;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t start = 0; start < count; start += kBlock)
    for (int64_t place = start; place < std::min(start + kBlock, count); place += lanes) {
      const int left = static_cast<int>(std::min<int64_t>(lanes, count - place));
      typename Vector<Element>::type value, slope;
      Activation::apply(load(inputs + place, left), value, slope);
      store(values + place, value, left);
      store(slopes + place, slope, left);
    }
}

}  // namespace

#define EXPORT(Number, suffix)                                                                               \
  extern "C" void gelu_##suffix(const Number* inputs, Number* values, Number* slopes, const int64_t* count, \
                                int threads) {                                                              \
    activate<Number, Gelu>(inputs, values, slopes, *count, threads);                                        \
  }                                                                                                         \
  extern "C" void tanh_gelu_##suffix(const Number* inputs, Number* values, Number* slopes,                  \
                                     const int64_t* count, int threads) {                                   \
    activate<Number, TanhGelu>(inputs, values, slopes, *count, threads);                                    \
  }
EXPORT(float, float32)
EXPORT(double, float64)
EXPORT(bfloat16, bfloat16)
