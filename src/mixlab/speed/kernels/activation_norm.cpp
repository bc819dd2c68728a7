// Activation and batch normalisation of channels-last images in few passes over memory.
//
// Positions are the rows and columns of an image. Each image is summed on its own, so that no sum depends on the number
// of threads.
#include "activation_norm.h"

#include <algorithm>

namespace {

constexpr int kVectors = 4;  // vectors of channels that are processed together

struct Shape {
  int64_t images, positions, channels;
};

// Calls `pass(image, channel, count)` with the first of at most kVectors vectors of channels.
template <class Number, class Pass>
void for_each_block(const Shape& shape, int threads, const Pass& pass) {
  constexpr int64_t channels = kVectors * kLanes<Number>;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t image = 0; image < shape.images; ++image)
    for (int64_t channel = 0; channel < shape.channels; channel += channels)
      pass(image * shape.positions * shape.channels + channel, image * shape.channels + channel, channel,
           static_cast<int>(std::min(channels, shape.channels - channel)));
}

template <class Number, class Activation>
void activate(const Number* inputs, const typename Arithmetic<Number>::Element* bias,
              const ActivationOutputs<Number>& outputs, const Shape& shape, int threads) {
  using Element = typename Arithmetic<Number>::Element;
  constexpr int lanes = kLanes<Number>;
  for_each_block<Number>(shape, threads, [&](int64_t start, int64_t place, int64_t channel, int count) {
    Moments<Element> moments[kVectors] = {};
    for (int64_t position = 0; position < shape.positions; ++position, start += shape.channels)
      for (int vector = 0; vector < kVectors; ++vector) {
        const int first = vector * lanes, left = count - first;
        if (left <= 0) break;
        V<Element> value, slope;
        Activation::apply(load(inputs + start + first, left) + load(bias + channel + first, left), value, slope);
        store(outputs.values + start + first, value, left);
        store(outputs.slopes + start + first, slope, left);
        moments[vector].add(value);
      }
    for (int vector = 0; vector < kVectors && vector * lanes < count; ++vector) {
      store(outputs.means + place + vector * lanes, moments[vector].mean(), count - vector * lanes);
      store(outputs.squares + place + vector * lanes, moments[vector].centred_squares(), count - vector * lanes);
    }
  });
}

// (values - mean) * scale + shift (+ residual)
template <class Number>
void normalise(const Number* values, const typename Arithmetic<Number>::Element* mean,
               const typename Arithmetic<Number>::Element* scale, const typename Arithmetic<Number>::Element* shift,
               const Number* residual, Number* outputs, const Shape& shape, int threads) {
  constexpr int lanes = kLanes<Number>;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t row = 0; row < shape.images * shape.positions; ++row)
    for (int64_t channel = 0; channel < shape.channels; channel += lanes) {
      const int count = static_cast<int>(std::min<int64_t>(lanes, shape.channels - channel));
      const int64_t offset = row * shape.channels + channel;
      auto output = (load(values + offset, count) - load(mean + channel, count)) * load(scale + channel, count) +
                    load(shift + channel, count);
      if (residual) output += load(residual + offset, count);
      store(outputs + offset, output, count);
    }
}

// Per image and channel: the sum of the gradients, and that of the gradients times the centred values.
template <class Number>
void sum_gradients(const Number* gradients, const Number* values, const typename Arithmetic<Number>::Element* mean,
                   typename Arithmetic<Number>::Element* sums, typename Arithmetic<Number>::Element* products,
                   const Shape& shape, int threads) {
  using Element = typename Arithmetic<Number>::Element;
  constexpr int lanes = kLanes<Number>;
  for_each_block<Number>(shape, threads, [&](int64_t start, int64_t place, int64_t channel, int count) {
    Sum<Element> sum[kVectors] = {}, product[kVectors] = {};
    for (int64_t position = 0; position < shape.positions; ++position, start += shape.channels)
      for (int vector = 0; vector < kVectors; ++vector) {
        const int first = vector * lanes, left = count - first;
        if (left <= 0) break;
        const V<Element> gradient = load(gradients + start + first, left);
        sum[vector].add(gradient);
        product[vector].add(gradient * (load(values + start + first, left) - load(mean + channel + first, left)));
      }
    for (int vector = 0; vector < kVectors && vector * lanes < count; ++vector) {
      store(sums + place + vector * lanes, sum[vector].value(), count - vector * lanes);
      store(products + place + vector * lanes, product[vector].value(), count - vector * lanes);
    }
  });
}

// The gradient of the activation's inputs, and its sum per image and channel.
template <class Number>
void input_gradients(const NormGradients<Number>& from, Number* outputs,
                     typename Arithmetic<Number>::Element* sums, const Shape& shape, int threads) {
  using Element = typename Arithmetic<Number>::Element;
  constexpr int lanes = kLanes<Number>;
  for_each_block<Number>(shape, threads, [&](int64_t start, int64_t place, int64_t channel, int count) {
    for (int first = 0; first < count; first += lanes) {
      const int left = count - first;
      const auto gradient = from.of(channel + first, left);
      Sum<Element> sum = {};
      for (int64_t position = 0; position < shape.positions; ++position) {
        const int64_t offset = start + first + position * shape.channels;
        const V<Element> value = gradient(offset);
        store(outputs + offset, value, left);
        sum.add(value);
      }
      store(sums + place + first, sum.value(), left);
    }
  });
}

}  // namespace

#define EXPORT(Number, suffix)                                                                                        \
  using Element_##suffix = Arithmetic<Number>::Element;                                                               \
  extern "C" void activation_forward_##suffix(int activation, const Number* inputs, const Element_##suffix* bias,     \
                                              const ActivationOutputs<Number>* outputs, const Shape* shape,           \
                                              int threads) {                                                          \
    with_activation(activation, [&](auto chosen) {                                                                    \
      activate<Number, decltype(chosen)>(inputs, bias, *outputs, *shape, threads);                                    \
    });                                                                                                               \
  }                                                                                                                   \
  extern "C" void normalise_##suffix(const Number* values, const Element_##suffix* mean,                              \
                                     const Element_##suffix* scale, const Element_##suffix* shift,                    \
                                     const Number* residual, Number* outputs, const Shape* shape, int threads) {      \
    normalise(values, mean, scale, shift, residual, outputs, *shape, threads);                                        \
  }                                                                                                                   \
  extern "C" void norm_gradient_sums_##suffix(const Number* gradients, const Number* values,                          \
                                              const Element_##suffix* mean, Element_##suffix* sums,                   \
                                              Element_##suffix* products, const Shape* shape, int threads) {          \
    sum_gradients(gradients, values, mean, sums, products, *shape, threads);                                          \
  }                                                                                                                   \
  extern "C" void activation_backward_##suffix(const NormGradients<Number>* gradients, Number* outputs,               \
                                               Element_##suffix* sums, const Shape* shape, int threads) {             \
    input_gradients(*gradients, outputs, sums, *shape, threads);                                                      \
  }
EXPORT(float, float32)
EXPORT(double, float64)
EXPORT(bfloat16, bfloat16)
