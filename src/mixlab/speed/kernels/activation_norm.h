// An activation followed by batch normalisation: what the kernels share.
#pragma once

#include "vector.h"

#include <cstdint>

template <class Element>
using V = typename Vector<Element>::type;

// Calls `function` with the activation of this number (see activation_norm.py).
template <class Function>
void with_activation(int number, const Function& function) {
  if (number == 0) return function(Gelu());
  function(Relu());
}

// A sum whose rounding errors grow slowly: runs of numbers are added up first.
template <class Element>
struct Sum {
  static constexpr int kRun = 16;
  V<Element> total, run;
  int count;

  void add(V<Element> value) {
    run += value;
    if (++count == kRun) {
      total += run;
      run = V<Element>{};
      count = 0;
    }
  }
  V<Element> value() const { return total + run; }
};

// The mean and the squares of numbers that are added one by one. They are shifted by the first one, which keeps the
// rounding errors small if the mean is large.
template <class Element>
struct Moments {
  V<Element> first;
  Sum<Element> sum, squares;
  int64_t count;

  void add(V<Element> value) {
    if (count++ == 0) first = value;
    const V<Element> shifted = value - first;
    sum.add(shifted);
    squares.add(shifted * shifted);
  }
  V<Element> mean() const { return first + sum.value() / static_cast<Element>(count); }
  V<Element> centred_squares() const {
    return squares.value() - sum.value() * sum.value() / static_cast<Element>(count);
  }
};

// Where activations go: values and slopes (image, row, column, channel), means and squares (image, channel).
template <class Number>
struct ActivationOutputs {
  Number *values, *slopes;
  typename Arithmetic<Number>::Element *means, *squares;
};

// The gradient of the activation's input, from that of the normalised activations:
// (direct * (gradient - gradient_mean) + through_variance * (value - value_mean)) * slope, with one factor and mean per
// channel. The differences keep the sum over all positions near 0, which rounding of a single constant would not.
template <class Number>
struct NormGradients {
  using Element = typename Arithmetic<Number>::Element;
  const Number *gradients, *values, *slopes;
  const Element *direct, *gradient_mean, *through_variance, *value_mean;

  auto of(int64_t channel, int count) const {
    struct Gradient {
      const NormGradients& from;
      V<Element> direct, gradient_mean, through_variance, value_mean;
      int count;
      V<Element> operator()(int64_t offset) const {
        return (direct * (load(from.gradients + offset, count) - gradient_mean) +
                through_variance * (load(from.values + offset, count) - value_mean)) *
               load(from.slopes + offset, count);
      }
    };
    return Gradient{*this,
                    load(direct + channel, count),
                    load(gradient_mean + channel, count),
                    load(through_variance + channel, count),
                    load(value_mean + channel, count),
                    count};
  }
};
