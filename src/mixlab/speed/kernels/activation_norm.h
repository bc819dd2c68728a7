// An activation followed by batch normalisation: what the kernels share.
#pragma once

#include "vector.h"

#include <cstdint>

template <class Element>
using V = typename Vector<Element>::type;

// Calls `function` with the activation of this number (see activation_norm.py).
template <class Number, class Function>
auto with_activation(int number, const Function& function) {
  return number == 0 ? function(Gelu<Number>()) : function(Relu());
}

// Numbers are added up in runs of about this length first, so that rounding errors grow slowly.
constexpr int64_t kRun = 16;

// The hardware does not foresee that the next position of an image is read or written, which is in another line of the
// cache. It is requested so many positions ahead.
constexpr int64_t kAhead = 32;

inline void prefetch(const void* address) { __builtin_prefetch(address); }
inline void prefetch_to_write(void* address) { __builtin_prefetch(address, 1); }

// The mean and the squares of numbers. They are shifted by the first one, which keeps the rounding errors small if the
// mean is large.
template <class Element>
struct Moments {
  V<Element> first, sum, squares, run_sum, run_squares;
  int64_t count;

  void add(V<Element> value) {
    if (count++ == 0) first = value;
    const V<Element> shifted = value - first;
    run_sum += shifted;
    run_squares += shifted * shifted;
  }
  void end_run() {
    sum += run_sum;
    squares += run_squares;
    run_sum = run_squares = V<Element>{};
  }
  V<Element> mean() const { return first + sum / static_cast<Element>(count); }
  V<Element> centred_squares() const { return squares - sum * sum / static_cast<Element>(count); }
};

// Where activations go: values (image, row, column, channel), means and squares (image, channel).
template <class Number>
struct ActivationOutputs {
  Number* values;
  typename Arithmetic<Number>::Element *means, *squares;
};

// What the backward pass reads: the gradients of the normalised activations, and the inputs and biases from which it
// computes the activations again.
template <class Number>
struct NormGradients {
  using Element = typename Arithmetic<Number>::Element;
  const Number *gradients, *inputs;
  const Element *bias, *value_mean, *direct, *gradient_mean, *through_variance;

  void prefetch(int64_t offset) const {
    for (const Number* from : {gradients, inputs}) ::prefetch(from + offset);
  }
};

// The gradient of the activation's input: (direct * (gradient - gradient_mean) + through_variance * (value -
// value_mean)) * slope, with one factor and mean per channel. The differences keep the sum over all positions near 0,
// which rounding of a single constant would not.
template <class Number, class Activation>
struct InputGradients {
  const NormGradients<Number>& from;

  void prefetch(int64_t offset) const { from.prefetch(offset); }
  template <class Count>
  auto of(int64_t channel, Count count) const {
    return [&from = from, count, bias = load(from.bias + channel, count),
            value_mean = load(from.value_mean + channel, count), direct = load(from.direct + channel, count),
            gradient_mean = load(from.gradient_mean + channel, count),
            through_variance = load(from.through_variance + channel, count)](int64_t offset) {
      auto value = bias, slope = bias;
      Activation::apply(load(from.inputs + offset, count) + bias, value, slope);
      return (direct * (load(from.gradients + offset, count) - gradient_mean) +
              through_variance * (value - value_mean)) *
             slope;
    };
  }
};
