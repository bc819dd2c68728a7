// Depthwise convolution of channels-last images, forward and backward, with stride 1 and the size of the image kept.
//
// A task is a group of images and a block of channels. It converts the planes of one or two vectors of channels at a
// time to fp32, so that they lie in the cache, and keeps sums in registers. Groups do not depend on the number of
// threads, and neither does any sum.
#include "activation_norm.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

namespace {

constexpr int kColumns = 8;       // outputs that are computed together
constexpr int kTaskChannels = 64;
constexpr int64_t kMaxGroups = 32;

struct Shape {
  int64_t images, rows, columns, channels, kernel_rows, kernel_columns, pad_top, pad_left;

  int64_t taps() const { return kernel_rows * kernel_columns; }
  int64_t groups() const { return std::min(images, kMaxGroups); }
  int64_t blocks() const { return (channels + kTaskChannels - 1) / kTaskChannels; }
  int64_t first_image(int64_t group) const { return group * images / groups(); }
  // Planes are padded for the kernel, and to a multiple of kColumns.
  int64_t padded_columns() const {
    return (columns + kColumns - 1) / kColumns * kColumns + kernel_columns - 1;
  }
  int64_t padded_size() const { return (rows + kernel_rows - 1) * padded_columns(); }
};

template <class Element>
using Buffer = std::unique_ptr<V<Element>[], decltype(&std::free)>;

// Zeros, aligned to whole vectors. Throws std::bad_alloc.
template <class Element>
Buffer<Element> buffer(int64_t vectors) {
  void* memory = std::aligned_alloc(kVectorBytes, vectors * kVectorBytes);
  if (!memory) throw std::bad_alloc();
  std::memset(memory, 0, vectors * kVectorBytes);
  return {static_cast<V<Element>*>(memory), &std::free};
}

// Calls `function` with the number of columns of the kernel to use next, as a compile-time constant.
template <class Function>
void with_taps(int64_t left, const Function& function) {
  switch (std::min<int64_t>(left, 9)) {
#define TAPS(count) \
  case count:       \
    return function(std::integral_constant<int, count>());
    TAPS(1) TAPS(2) TAPS(3) TAPS(4) TAPS(5) TAPS(6) TAPS(7) TAPS(8) TAPS(9)
#undef TAPS
  }
}

// kColumns sums of the products with Taps columns of the kernel. They continue the sums `before`, if there are any.
// Each input is loaded once per row of the kernel.
template <class Element, int Taps>
void correlate(const V<Element>* inputs, const V<Element>* weights, int64_t step, const Shape& shape,
               const V<Element>* before, V<Element>* sums) {
  const int64_t width = shape.padded_columns();
  V<Element> sum[kColumns];
#pragma GCC unroll 32
  for (int output = 0; output < kColumns; ++output) sum[output] = before ? before[output] : V<Element>{};
  for (int64_t row = 0; row < shape.kernel_rows; ++row, inputs += width, weights += step * shape.kernel_columns) {
    V<Element> weight[Taps];
#pragma GCC unroll 32
    for (int tap = 0; tap < Taps; ++tap) weight[tap] = weights[tap * step];
#pragma GCC unroll 32
    for (int column = 0; column < kColumns + Taps - 1; ++column) {
      const V<Element> input = inputs[column];
#pragma GCC unroll 32
      for (int tap = 0; tap < Taps; ++tap)
        if (column - tap >= 0 && column - tap < kColumns) sum[column - tap] += weight[tap] * input;
    }
  }
#pragma GCC unroll 32
  for (int output = 0; output < kColumns; ++output) sums[output] = sum[output];
}

// The sums of one row of outputs: `plane` starts at the first row and column that the first output sees.
template <class Element>
void correlate_row(const V<Element>* plane, const V<Element>* weights, int64_t step, const Shape& shape,
                   V<Element>* sums) {
  for (int64_t column = 0; column < shape.columns; column += kColumns)
    for (int64_t tap = 0; tap < shape.kernel_columns;)
      with_taps(shape.kernel_columns - tap, [&](auto taps) {
        V<Element>* const row_sums = sums + column;
        correlate<Element, taps>(plane + column + tap, weights + tap * step, step, shape, tap ? row_sums : nullptr,
                                 row_sums);
        tap += taps;
      });
}

// Adds the products of the gradients and the shifted inputs to Rows rows of Taps sums each.
template <class Element, int Rows, int Taps>
void add_products(const V<Element>* gradients, const V<Element>* inputs, const Shape& shape, V<Element>* sums) {
  constexpr int columns = 4;
  const int64_t width = shape.padded_columns();
  V<Element> sum[Rows][Taps];
  for (int row = 0; row < Rows; ++row)
    for (int tap = 0; tap < Taps; ++tap) sum[row][tap] = sums[row * shape.kernel_columns + tap];
  for (int64_t y = 0; y < shape.rows; ++y, gradients += width, inputs += width)
    for (int64_t x = 0; x < shape.columns; x += columns) {
      V<Element> gradient[columns];
      for (int column = 0; column < columns; ++column) gradient[column] = gradients[x + column];
#pragma GCC unroll 32
      for (int row = 0; row < Rows; ++row)
#pragma GCC unroll 32
        for (int place = 0; place < columns + Taps - 1; ++place) {
          const V<Element> input = inputs[row * width + x + place];
#pragma GCC unroll 32
          for (int column = 0; column < columns; ++column)
            if (place - column >= 0 && place - column < Taps) sum[row][place - column] += gradient[column] * input;
        }
    }
  for (int row = 0; row < Rows; ++row)
    for (int tap = 0; tap < Taps; ++tap) sums[row * shape.kernel_columns + tap] = sum[row][tap];
}

template <class Element, int Taps>
void add_products_of_columns(const V<Element>* gradients, const V<Element>* inputs, const Shape& shape,
                             V<Element>* sums) {
  int64_t row = 0;
  for (; row + 1 < shape.kernel_rows; row += 2)
    add_products<Element, 2, Taps>(gradients, inputs + row * shape.padded_columns(), shape,
                                   sums + row * shape.kernel_columns);
  if (row < shape.kernel_rows)
    add_products<Element, 1, Taps>(gradients, inputs + row * shape.padded_columns(), shape,
                                   sums + row * shape.kernel_columns);
}

// `gradients` starts at the first output, `inputs` at the first input that it sees.
template <class Element>
void weight_gradient(const V<Element>* gradients, const V<Element>* inputs, const Shape& shape, V<Element>* sums) {
  for (int64_t tap = 0; tap < shape.kernel_columns;)
    with_taps(shape.kernel_columns - tap, [&](auto taps) {
      add_products_of_columns<Element, taps>(gradients, inputs + tap, shape, sums + tap);
      tap += taps;
    });
}

// Calls `task(group, channel, end)` for each group and block of channels [channel, end). Returns whether there was
// enough memory for all.
template <class Task>
bool for_each_task(const Shape& shape, int threads, const Task& task) {
  const int64_t blocks = shape.blocks();
  bool had_memory = true;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(&& : had_memory)
  for (int64_t index = 0; index < shape.groups() * blocks; ++index) {
    const int64_t channel = index % blocks * kTaskChannels;
    try {
      task(index / blocks, channel, std::min(channel + kTaskChannels, shape.channels));
    } catch (const std::bad_alloc&) {  // an exception must not leave the loop
      had_memory = false;
    }
  }
  return had_memory;
}

template <class Number, class Finish>
bool forward(const Number* images, const typename Arithmetic<Number>::Element* weights, const Shape& shape,
             int threads, const Finish& finish) {
  using Element = typename Arithmetic<Number>::Element;
  return for_each_task(shape, threads, [&](int64_t group, int64_t first, int64_t end) {
    const auto plane = buffer<Element>(shape.padded_size());
    const auto row_sums = buffer<Element>(shape.padded_columns());
    const auto kernel = buffer<Element>(shape.taps());
    for_each_vector<Number>(first, end, [&](int64_t channel, auto count) {
      for (int64_t tap = 0; tap < shape.taps(); ++tap)
        kernel[tap] = load(weights + tap * shape.channels + channel, count);
      for (int64_t image = shape.first_image(group); image < shape.first_image(group + 1); ++image) {
        const int64_t start = image * shape.rows * shape.columns * shape.channels + channel;
        for (int64_t row = 0; row < shape.rows; ++row)
          for (int64_t column = 0; column < shape.columns; ++column) {
            const int64_t offset = start + (row * shape.columns + column) * shape.channels;
            prefetch(images + offset + kAhead * shape.channels);
            plane[(row + shape.pad_top) * shape.padded_columns() + column + shape.pad_left] =
                load(images + offset, count);
          }
        auto finish_row = finish.finish(image, channel, count);
        for (int64_t row = 0; row < shape.rows; ++row) {
          correlate_row<Element>(plane.get() + row * shape.padded_columns(), kernel.get(), 1, shape, row_sums.get());
          finish_row(start + row * shape.columns * shape.channels, row_sums.get());
        }
        finish_row.end();
      }
    });
  });
}

// What the backward pass of one vector of channels works with.
template <class Element>
struct Planes {
  Buffer<Element> images, gradients, row_sums, kernel;

  explicit Planes(const Shape& shape)
      : images(buffer<Element>(shape.padded_size())),
        gradients(buffer<Element>(shape.padded_size())),
        row_sums(buffer<Element>(shape.padded_columns())),
        kernel(buffer<Element>(shape.taps())) {}
};

// `gradient` gives the gradient of the convolution's outputs; `residual`, if any, is added to that of the images.
template <class Number, class Gradient>
bool backward(const Number* images, const typename Arithmetic<Number>::Element* weights, const Shape& shape,
              int threads, const Number* residual, Number* image_gradients,
              typename Arithmetic<Number>::Element* weight_gradients,
              typename Arithmetic<Number>::Element* bias_gradients, const Gradient& gradient) {
  using Element = typename Arithmetic<Number>::Element;
  const int64_t bottom = shape.kernel_rows - 1 - shape.pad_top, right = shape.kernel_columns - 1 - shape.pad_left;
  return for_each_task(shape, threads, [&](int64_t group, int64_t first, int64_t end) {
    const int64_t width = shape.padded_columns();
    const Planes<Element> planes[] = {Planes<Element>(shape), Planes<Element>(shape)};
    for_each_pair<Number>(first, end, [&](int64_t channel, auto vectors, auto count) {
      const auto sums = of_each<Number>(vectors, [&](int) { return buffer<Element>(shape.taps()); });
      const auto gradient_of = of_each<Number>(vectors, [&](int lane) { return gradient.of(channel + lane, count); });
      V<Element> bias_sum[vectors] = {};
      for_each_of<Number>(vectors, [&](int vector, int lane) {
        for (int64_t tap = 0; tap < shape.taps(); ++tap)
          planes[vector].kernel[tap] = load(weights + tap * shape.channels + channel + lane, count);
      });
      for (int64_t image = shape.first_image(group); image < shape.first_image(group + 1); ++image) {
        const int64_t start = image * shape.rows * shape.columns * shape.channels + channel;
        for (int64_t row = 0; row < shape.rows; ++row)
          for (int64_t column = 0; column < shape.columns; ++column) {
            const int64_t offset = start + (row * shape.columns + column) * shape.channels;
            prefetch(images + offset + kAhead * shape.channels);
            gradient.prefetch(offset + kAhead * shape.channels);
            for_each_of<Number>(vectors, [&](int vector, int lane) {
              const Planes<Element>& of = planes[vector];
              of.images[(row + shape.pad_top) * width + column + shape.pad_left] = load(images + offset + lane, count);
              const V<Element> value = gradient_of[vector](offset + lane);
              of.gradients[(row + bottom) * width + column + right] = value;
              bias_sum[vector] += value;
            });
          }
        for_each_of<Number>(vectors, [&](int vector, int) {
          const Planes<Element>& of = planes[vector];
          weight_gradient<Element>(of.gradients.get() + bottom * width + right, of.images.get(), shape,
                                   sums[vector].get());
        });
        for (int64_t row = 0; row < shape.rows; ++row) {
          for_each_of<Number>(vectors, [&](int vector, int) {
            const Planes<Element>& of = planes[vector];
            correlate_row<Element>(of.gradients.get() + row * width, of.kernel.get() + shape.taps() - 1, -1, shape,
                                   of.row_sums.get());
          });
          for (int64_t column = 0; column < shape.columns; ++column)
            for_each_of<Number>(vectors, [&](int vector, int lane) {
              const int64_t offset = start + (row * shape.columns + column) * shape.channels + lane;
              V<Element> value = planes[vector].row_sums[column];
              if (residual) value += load(residual + offset, count);
              store(image_gradients + offset, value, count);
            });
        }
      }
      for_each_of<Number>(vectors, [&](int vector, int lane) {
        for (int64_t tap = 0; tap < shape.taps(); ++tap)
          store(weight_gradients + (group * shape.taps() + tap) * shape.channels + channel + lane, sums[vector][tap],
                count);
        store(bias_gradients + group * shape.channels + channel + lane, bias_sum[vector], count);
      });
    });
  });
}

// Writes the outputs to `inputs`, for the backward pass, and their activations with the moments of each image and
// channel.
template <class Number, class Activation>
struct Activations {
  using Element = typename Arithmetic<Number>::Element;
  const Element* bias;
  Number* inputs;
  ActivationOutputs<Number> outputs;
  const Shape& shape;

  template <class Count>
  auto finish(int64_t image, int64_t channel, Count count) const {
    struct Row {
      const Activations& of;
      V<Element> bias;
      Moments<Element> moments;
      int64_t image, channel;
      Count count;
      void operator()(int64_t start, const V<Element>* sums) {
        for (int64_t column = 0; column < of.shape.columns; ++column) {
          const int64_t offset = start + column * of.shape.channels;
          for (Number* to : {of.inputs, of.outputs.values}) prefetch_to_write(to + offset + kAhead * of.shape.channels);
          store(of.inputs + offset, sums[column], count);
          V<Element> value, slope;
          Activation::apply(load(of.inputs + offset, count) + bias, value, slope);  // as rounded in memory
          store(of.outputs.values + offset, value, count);
          moments.add(value);
        }
        moments.end_run();
      }
      void end() {
        const int64_t place = image * of.shape.channels + channel;
        store(of.outputs.means + place, moments.mean(), count);
        store(of.outputs.squares + place, moments.centred_squares(), count);
      }
    };
    return Row{*this, load(bias + channel, count), {}, image, channel, count};
  }
};

// The gradient of the outputs as given.
template <class Number>
struct OutputGradients {
  const Number* gradients;

  void prefetch(int64_t offset) const { ::prefetch(gradients + offset); }
  template <class Count>
  auto of(int64_t, Count count) const {
    return [this, count](int64_t offset) { return load(gradients + offset, count); };
  }
};

}  // namespace

#define EXPORT(Number, suffix)                                                                                      \
  using Element_##suffix = Arithmetic<Number>::Element;                                                             \
  extern "C" bool depthwise_backward_##suffix(const Number* gradients, const Number* images,                        \
                                              const Element_##suffix* weights, Number* image_gradients,             \
                                              Element_##suffix* weight_gradients, Element_##suffix* bias_gradients, \
                                              const Shape* shape, int threads) {                                    \
    return backward(images, weights, *shape, threads, static_cast<const Number*>(nullptr), image_gradients,         \
                    weight_gradients, bias_gradients, OutputGradients<Number>{gradients});                          \
  }                                                                                                                 \
  extern "C" bool depthwise_activation_forward_##suffix(                                                            \
      int activation, const Number* images, const Element_##suffix* weights, const Element_##suffix* bias,          \
      Number* inputs, const ActivationOutputs<Number>* outputs, const Shape* shape, int threads) {                  \
    return with_activation<Number>(activation, [&](auto chosen) {                                                   \
      return forward(images, weights, *shape, threads,                                                              \
                     Activations<Number, decltype(chosen)>{bias, inputs, *outputs, *shape});                        \
    });                                                                                                             \
  }                                                                                                                 \
  extern "C" bool depthwise_activation_backward_##suffix(                                                           \
      int activation, const NormGradients<Number>* from, const Number* images, const Element_##suffix* weights,     \
      Number* image_gradients, Element_##suffix* weight_gradients, Element_##suffix* bias_gradients,                \
      const Shape* shape, int threads) {                                                                            \
    return with_activation<Number>(activation, [&](auto chosen) {                                                   \
      return backward(images, weights, *shape, threads, from->gradients, image_gradients, weight_gradients,         \
                      bias_gradients, InputGradients<Number, decltype(chosen)>{*from});                             \
    });                                                                                                             \
  }
EXPORT(float, float32)
EXPORT(double, float64)
EXPORT(bfloat16, bfloat16)
