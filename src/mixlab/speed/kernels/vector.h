// Vectors of channels: loads and stores of fp32, fp64 and bfloat16, and the activations of a ConvMixer.
//
// Written with the vector extensions of GCC and Clang, so that the compiler selects AVX-512, AVX2 or NEON.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

struct bfloat16 {
  uint16_t bits;
};

// `Number` is the type in memory; arithmetic is done in `Element`.
template <class Number>
struct Arithmetic {
  using Element = Number;
};
template <>
struct Arithmetic<bfloat16> {
  using Element = float;
};

template <class Element>
struct Vector;
template <>
struct Vector<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Vector<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
};

using Floats = Vector<float>::type;
using Doubles = Vector<double>::type;
typedef uint32_t Bits __attribute__((vector_size(kVectorBytes)));
typedef int32_t Integers __attribute__((vector_size(kVectorBytes)));
typedef uint16_t HalfBits __attribute__((vector_size(kVectorBytes / 2)));

template <class Number>
constexpr int kLanes = kVectorBytes / sizeof(typename Arithmetic<Number>::Element);

inline Floats load(const float* from) {
  Floats vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}
inline Doubles load(const double* from) {
  Doubles vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}
inline Floats load(const bfloat16* from) {
  HalfBits halves;
  std::memcpy(&halves, from, sizeof halves);
  return (Floats)(__builtin_convertvector(halves, Bits) << 16);
}

inline void store(float* to, Floats vector) { std::memcpy(to, &vector, sizeof vector); }
inline void store(double* to, Doubles vector) { std::memcpy(to, &vector, sizeof vector); }
inline void store(bfloat16* to, Floats vector) {
#if defined(__AVX512BF16__)
  const __m256bh halves = _mm512_cvtneps_pbh((__m512)vector);
  std::memcpy(to, &halves, sizeof halves);
#else
  const Bits bits = (Bits)vector;
  const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;  // to nearest, ties to even
  const Bits is_nan = (Bits)(vector != vector);
  const HalfBits halves = __builtin_convertvector((rounded & ~is_nan) | (0x7fc0 & is_nan), HalfBits);
  std::memcpy(to, &halves, sizeof halves);
#endif
}

// The first `count` lanes, the others are 0.
template <class Number>
auto load(const Number* from, int count) {
  if (count >= kLanes<Number>) return load(from);
  Number lanes[kLanes<Number>] = {};
  std::memcpy(lanes, from, count * sizeof(Number));
  return load(lanes);
}
template <class Number, class Vector>
void store(Number* to, Vector vector, int count) {
  if (count >= kLanes<Number>) return store(to, vector);
  Number lanes[kLanes<Number>];
  store(lanes, vector);
  std::memcpy(to, lanes, count * sizeof(Number));
}

// Calls `function(place, count)` for each vector of the numbers from `first` to `end`. If all its lanes are used,
// `count` is a compile-time constant, so that loads and stores do not check it.
template <class Number, class Function>
void for_each_vector(int64_t first, int64_t end, const Function& function) {
  constexpr std::integral_constant<int, kLanes<Number>> all;
  int64_t place = first;
  for (; place + all <= end; place += all) function(place, all);
  if (place < end) function(place, static_cast<int>(end - place));
}

// Calls `function(place, vectors, count)` for each pair of vectors, and for each vector that is left. `vectors`, a
// compile-time constant, is 2 or 1. With AVX-512, a pair of bfloat16 vectors is a whole line of the cache, which a pass
// that jumps from position to position then visits once.
template <class Number, class Function>
void for_each_pair(int64_t first, int64_t end, const Function& function) {
  constexpr std::integral_constant<int, kLanes<Number>> all;
  int64_t place = first;
  for (; place + 2 * all <= end; place += 2 * all) function(place, std::integral_constant<int, 2>(), all);
  for_each_vector<Number>(place, end, [&](int64_t left, auto count) {
    function(left, std::integral_constant<int, 1>(), count);
  });
}

// Calls `function(vector, lane)` for the vectors of for_each_pair. `lane` is the first channel of the vector, counted
// from the first one of the pair.
template <class Number, class Function>
void for_each_of(int vectors, const Function& function) {
  for (int vector = 0; vector < vectors; ++vector) function(vector, vector * kLanes<Number>);
}

// `make(lane)` of each of the vectors of for_each_pair.
template <class Number, int Vectors, class Make>
auto of_each(std::integral_constant<int, Vectors>, const Make& make) {
  if constexpr (Vectors == 1)
    return std::array{make(0)};
  else
    return std::array{make(0), make(kLanes<Number>)};
}

inline Floats maximum(Floats a, float b) { return a > b ? a : Floats{} + b; }

// The polynomial with these coefficients, those of the highest powers first.
template <std::size_t Terms>
Floats polynomial(Floats x, const float (&coefficients)[Terms]) {
  Floats sum = Floats{} + coefficients[0];
#pragma GCC unroll 32
  for (std::size_t term = 1; term < Terms; ++term) sum = sum * x + coefficients[term];
  return sum;
}

// exp(x) for x <= 0, with a relative error of about 1e-7.
inline Floats exponential(Floats x) {
  x = maximum(x, -87.0f);
  const Floats shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: rounds to an integer
  const Floats power = shifted - 12582912.0f;
  const Floats r = (x - power * 0.693145752f) - power * 1.42860677e-6f;  // ln 2 in two parts
  const Floats sum = polynomial(r, {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f});
  return (Floats)((Integers)sum + (__builtin_convertvector(power, Integers) << 23));
}

inline Doubles exponential(Doubles x) {
  for (int lane = 0; lane < kLanes<double>; ++lane) x[lane] = std::exp(x[lane]);
  return x;
}

// An activation: `value` and `slope` (its derivative) of a vector.
struct Relu {
  template <class V>
  static void apply(V x, V& value, V& slope) {
    const V zero = {};
    value = x <= zero ? zero : x;  // NaN stays NaN, as in PyTorch
    slope = x <= zero ? zero : zero + 1;
  }
};

template <class Number>
struct TanhGelu {
  // 0.5 x (1 + tanh(u)) = x sigmoid(2 u), where 2 u = linear x + cubic x^3
  template <class V>
  static void apply(V x, V& value, V& slope) {
    const auto linear = static_cast<decltype(x[0] + 0)>(2 * 0.7978845608028654);  // sqrt(2 / pi)
    const auto cubic = static_cast<decltype(x[0] + 0)>(2 * 0.7978845608028654 * 0.044715);
    const V exponent = x * (linear + cubic * x * x);
    const V small = exponential(exponent < 0 ? exponent : -exponent);
    const V sigmoid = (exponent < 0 ? small : small * 0 + 1) / (1 + small);
    value = x * sigmoid;
    slope = sigmoid + value * (1 - sigmoid) * (linear + 3 * cubic * x * x);
  }
};

template <class Number>
struct Gelu {
  // Phi(-|x|) exp(x^2 / 2) is a polynomial in 1 / (1 + 0.23 |x|): a least-squares fit with an error below 2e-8.
  static void apply(Floats x, Floats& value, Floats& slope) {
    const Floats size = x < 0.0f ? -x : x;
    const Floats t = 1.0f / (1.0f + 0.23f * size);
    const Floats bell = exponential(-0.5f * x * x);
    const Floats tail = polynomial(t, {-0.0750684754f, 0.27376378f, -0.243402649f, 0.261294488f, -0.00477335399f,
                                       0.107315856f, 0.0889503398f, 0.091920018f}) *
                        t * bell;
    const Floats phi = x < 0.0f ? tail : 1.0f - tail;
    value = x * phi;
    slope = phi + x * bell * 0.398942280f;
  }
  static void apply(Doubles x, Doubles& value, Doubles& slope) {
    for (int lane = 0; lane < kLanes<double>; ++lane) {
      const double phi = 0.5 * std::erfc(-x[lane] * 0.7071067811865476);
      value[lane] = x[lane] * phi;
      slope[lane] = phi + x[lane] * std::exp(-0.5 * x[lane] * x[lane]) * 0.3989422804014327;
    }
  }
};

// In bfloat16, whose rounding changes values of 1 by up to 4e-3, Phi - 0.5 and the slope - 0.5 are minimax fits of odd
// functions, with errors below 1e-4 of the value and 3e-4 of the slope: y P(y^2), where y = x `scale` is at most 1 in
// size, and y P(y^2) exactly 0.5 there.
template <std::size_t PhiTerms, std::size_t SlopeTerms>
void odd_polynomials(Floats x, float scale, const float (&of_phi)[PhiTerms], const float (&of_slope)[SlopeTerms],
                     Floats& value, Floats& slope) {
  const Floats one = Floats{} + 1.0f;
  Floats y = x * scale;
  y = y < -one ? -one : y;  // NaN stays NaN
  y = y > one ? one : y;
  const Floats square = y * y;
  value = x * (y * polynomial(square, of_phi) + 0.5f);
  slope = y * polynomial(square, of_slope) + 0.5f;
}

template <>
struct Gelu<bfloat16> {
  static void apply(Floats x, Floats& value, Floats& slope) {
    odd_polynomials(x, 0.235294119f,
                    {-2.25539875f, 11.1737309f, -24.0130596f, 29.6428909f, -23.5535679f, 12.8366995f, -5.02457857f,
                     1.69328356f},
                    {21.7984352f, -121.539162f, 292.865204f, -402.089539f, 349.540924f, -202.050491f, 78.7751312f,
                     -20.1878109f, 3.38730431f},
                    value, slope);
  }
};

template <>
struct TanhGelu<bfloat16> {
  static void apply(Floats x, Floats& value, Floats& slope) {
    odd_polynomials(x, 0.243902445f,
                    {-1.82310975f, 9.04447556f, -19.5046463f, 24.2727032f, -19.6173496f, 11.034565f, -4.54046679f,
                     1.63382864f},
                    {13.4119854f, -80.5950317f, 206.473618f, -298.365662f, 271.251617f, -163.727417f, 66.9725342f,
                     -18.1889687f, 3.26732254f},
                    value, slope);
  }
};
