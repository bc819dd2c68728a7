// Activation and batch normalisation of channels-last images in few passes over memory.
//
// Positions are the rows and columns of an image. Each image is summed on its own, so that no sum depends on the number
// of threads.
#include "activation_norm.h"

#include <algorithm>

namespace {

struct Shape {
  int64_t images, positions, channels;
};

// Calls `pass(start, channel, place, count)` for each image and each vector of `count` channels. `start` is the offset
// of its first position, `place` that of its sum.
template <class Number, class Pass>
void for_each_image(const Shape& shape, int threads, const Pass& pass) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t image = 0; image < shape.images; ++image)
    for_each_vector<Number>(0, shape.channels, [&](int64_t channel, auto count) {
      pass(image * shape.positions * shape.channels + channel, channel, image * shape.channels + channel, count);
    });
}

// Calls `run(first, length)` for each run of positions.
template <class Run>
void for_each_run(const Shape& shape, const Run& run) {
  for (int64_t first = 0; first < shape.positions; first += kRun) run(first, std::min(kRun, shape.positions - first));
}

template <class Number, class Activation>
void activate(const Number* inputs, const typename Arithmetic<Number>::Element* biases,
              const ActivationOutputs<Number>& outputs, const Shape& shape, int threads) {
  using Element = typename Arithmetic<Number>::Element;
  for_each_image<Number>(shape, threads, [&](int64_t start, int64_t channel, int64_t place, auto count) {
    Moments<Element> moments = {};
    const V<Element> bias = load(biases + channel, count);
    for_each_run(shape, [&](int64_t first, int64_t length) {
      moments.add_run(length, [&](int64_t index) {
        const int64_t offset = start + (first + index) * shape.channels;
        prefetch(inputs + offset + kAhead * shape.channels);
        V<Element> value, slope;
        Activation::apply(load(inputs + offset, count) + bias, value, slope);
        store(outputs.values + offset, value, count);
        return value;
      });
    });
    store(outputs.means + place, moments.mean(), count);
    store(outputs.squares + place, moments.centred_squares(), count);
  });
}

// Replaces the values: (value - mean) * scale + shift (+ residual)
template <class Number>
void normalise(Number* values, const typename Arithmetic<Number>::Element* mean,
               const typename Arithmetic<Number>::Element* scale, const typename Arithmetic<Number>::Element* shift,
               const Number* residual, const Shape& shape, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t row = 0; row < shape.images * shape.positions; ++row)
    for_each_vector<Number>(0, shape.channels, [&](int64_t channel, auto count) {
      const int64_t offset = row * shape.channels + channel;
      auto value = (load(values + offset, count) - load(mean + channel, count)) * load(scale + channel, count) +
                   load(shift + channel, count);
      if (residual) value += load(residual + offset, count);
      store(values + offset, value, count);
    });
}

// Per image and channel: the sum of the gradients, and that of the gradients times the centred values. Of `from`, the
// factors are not set yet.
template <class Number, class Activation>
void sum_gradients(const NormGradients<Number>& from, typename Arithmetic<Number>::Element* sums,
                   typename Arithmetic<Number>::Element* products, const Shape& shape, int threads) {
  using Element = typename Arithmetic<Number>::Element;
  for_each_image<Number>(shape, threads, [&](int64_t start, int64_t channel, int64_t place, auto count) {
    V<Element> sum = {}, product = {};
    const V<Element> bias = load(from.bias + channel, count), mean = load(from.value_mean + channel, count);
    for_each_run(shape, [&](int64_t first, int64_t length) {
      V<Element> run_sum = {}, run_product = {};
      for (int64_t position = first; position < first + length; ++position) {
        const int64_t offset = start + position * shape.channels;
        from.prefetch(offset + kAhead * shape.channels);
        V<Element> value, slope;
        Activation::apply(load(from.inputs + offset, count) + bias, value, slope);
        const V<Element> gradient = load(from.gradients + offset, count);
        run_sum += gradient;
        run_product += gradient * (value - mean);
      }
      sum += run_sum;
      product += run_product;
    });
    store(sums + place, sum, count);
    store(products + place, product, count);
  });
}

// The gradient of the activation's inputs, and its sum per image and channel.
template <class Number, class Activation>
void input_gradients(const NormGradients<Number>& from, Number* outputs, typename Arithmetic<Number>::Element* sums,
                     const Shape& shape, int threads) {
  using Element = typename Arithmetic<Number>::Element;
  for_each_image<Number>(shape, threads, [&](int64_t start, int64_t channel, int64_t place, auto count) {
    const auto gradient = InputGradients<Number, Activation>{from}.of(channel, count);
    V<Element> sum = {};
    for_each_run(shape, [&](int64_t first, int64_t length) {
      V<Element> run = {};
      for (int64_t position = first; position < first + length; ++position) {
        const int64_t offset = start + position * shape.channels;
        from.prefetch(offset + kAhead * shape.channels);
        const V<Element> value = gradient(offset);
        store(outputs + offset, value, count);
        run += value;
      }
      sum += run;
    });
    store(sums + place, sum, count);
  });
}

}  // namespace

#define EXPORT(Number, suffix)                                                                                     \
  using Element_##suffix = Arithmetic<Number>::Element;                                                            \
  extern "C" bool activation_forward_##suffix(int activation, const Number* inputs, const Element_##suffix* bias,  \
                                              const ActivationOutputs<Number>* outputs, const Shape* shape,        \
                                              int threads) {                                                       \
    with_activation<Number>(activation, [&](auto chosen) {                                                         \
      activate<Number, decltype(chosen)>(inputs, bias, *outputs, *shape, threads);                                 \
    });                                                                                                            \
    return true;                                                                                                   \
  }                                                                                                                \
  extern "C" bool normalise_##suffix(Number* values, const Element_##suffix* mean, const Element_##suffix* scale,  \
                                     const Element_##suffix* shift, const Number* residual, const Shape* shape,    \
                                     int threads) {                                                                \
    normalise(values, mean, scale, shift, residual, *shape, threads);                                              \
    return true;                                                                                                   \
  }                                                                                                                \
  extern "C" bool norm_gradient_sums_##suffix(int activation, const NormGradients<Number>* from,                   \
                                              Element_##suffix* sums, Element_##suffix* products,                  \
                                              const Shape* shape, int threads) {                                   \
    with_activation<Number>(activation, [&](auto chosen) {                                                         \
      sum_gradients<Number, decltype(chosen)>(*from, sums, products, *shape, threads);                             \
    });                                                                                                            \
    return true;                                                                                                   \
  }                                                                                                                \
  extern "C" bool activation_backward_##suffix(int activation, const NormGradients<Number>* from, Number* outputs, \
                                               Element_##suffix* sums, const Shape* shape, int threads) {          \
    with_activation<Number>(activation, [&](auto chosen) {                                                         \
      input_gradients<Number, decltype(chosen)>(*from, outputs, sums, *shape, threads);                            \
    });                                                                                                            \
    return true;                                                                                                   \
  }
EXPORT(float, float32)
EXPORT(double, float64)
EXPORT(bfloat16, bfloat16)
