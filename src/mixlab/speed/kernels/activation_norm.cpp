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

// Calls `pass(start, channel, place, vectors, count)` for each image and each one or two vectors of `count` channels.
// `start` is the offset of their first position, `place` that of their sums.
template <class Number, class Pass>
void for_each_image(const Shape& shape, int threads, const Pass& pass) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t image = 0; image < shape.images; ++image)
    for_each_pair<Number>(0, shape.channels, [&](int64_t channel, auto vectors, auto count) {
      const int64_t start = image * shape.positions * shape.channels + channel;
      pass(start, channel, image * shape.channels + channel, vectors, count);
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
  for_each_image<Number>(shape, threads, [&](int64_t start, int64_t channel, int64_t place, auto vectors, auto count) {
    Moments<Element> moments[vectors] = {};
    const auto bias = of_each<Number>(vectors, [&](int lane) { return load(biases + channel + lane, count); });
    for_each_run(shape, [&](int64_t first, int64_t length) {
      for (int64_t position = first; position < first + length; ++position) {
        const int64_t offset = start + position * shape.channels;
        prefetch(inputs + offset + kAhead * shape.channels);
        for_each_of<Number>(vectors, [&](int vector, int lane) {
          V<Element> value, slope;
          Activation::apply(load(inputs + offset + lane, count) + bias[vector], value, slope);
          store(outputs.values + offset + lane, value, count);
          moments[vector].add(value);
        });
      }
      for (Moments<Element>& of : moments) of.end_run();
    });
    for_each_of<Number>(vectors, [&](int vector, int lane) {
      store(outputs.means + place + lane, moments[vector].mean(), count);
      store(outputs.squares + place + lane, moments[vector].centred_squares(), count);
    });
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
  for_each_image<Number>(shape, threads, [&](int64_t start, int64_t channel, int64_t place, auto vectors, auto count) {
    V<Element> sum[vectors] = {}, product[vectors] = {};
    const auto bias = of_each<Number>(vectors, [&](int lane) { return load(from.bias + channel + lane, count); });
    const auto mean =
        of_each<Number>(vectors, [&](int lane) { return load(from.value_mean + channel + lane, count); });
    for_each_run(shape, [&](int64_t first, int64_t length) {
      V<Element> run_sum[vectors] = {}, run_product[vectors] = {};
      for (int64_t position = first; position < first + length; ++position) {
        const int64_t offset = start + position * shape.channels;
        from.prefetch(offset + kAhead * shape.channels);
        for_each_of<Number>(vectors, [&](int vector, int lane) {
          V<Element> value, slope;
          Activation::apply(load(from.inputs + offset + lane, count) + bias[vector], value, slope);
          const V<Element> gradient = load(from.gradients + offset + lane, count);
          run_sum[vector] += gradient;
          run_product[vector] += gradient * (value - mean[vector]);
        });
      }
      for (int vector = 0; vector < vectors; ++vector) {
        sum[vector] += run_sum[vector];
        product[vector] += run_product[vector];
      }
    });
    for_each_of<Number>(vectors, [&](int vector, int lane) {
      store(sums + place + lane, sum[vector], count);
      store(products + place + lane, product[vector], count);
    });
  });
}

// The gradient of the activation's inputs, and its sum per image and channel.
template <class Number, class Activation>
void input_gradients(const NormGradients<Number>& from, Number* outputs, typename Arithmetic<Number>::Element* sums,
                     const Shape& shape, int threads) {
  using Element = typename Arithmetic<Number>::Element;
  for_each_image<Number>(shape, threads, [&](int64_t start, int64_t channel, int64_t place, auto vectors, auto count) {
    const InputGradients<Number, Activation> all{from};
    const auto gradient = of_each<Number>(vectors, [&](int lane) { return all.of(channel + lane, count); });
    V<Element> sum[vectors] = {};
    for_each_run(shape, [&](int64_t first, int64_t length) {
      V<Element> run[vectors] = {};
      for (int64_t position = first; position < first + length; ++position) {
        const int64_t offset = start + position * shape.channels;
        from.prefetch(offset + kAhead * shape.channels);
        for_each_of<Number>(vectors, [&](int vector, int lane) {
          const V<Element> value = gradient[vector](offset + lane);
          store(outputs + offset + lane, value, count);
          run[vector] += value;
        });
      }
      for (int vector = 0; vector < vectors; ++vector) sum[vector] += run[vector];
    });
    for_each_of<Number>(vectors, [&](int vector, int lane) { store(sums + place + lane, sum[vector], count); });
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
