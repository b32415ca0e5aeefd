// What the loops of light share in both layouts: the factors of u and their gradients.
#pragma once

#include "tensors.h"

namespace mmdla {

// u as two depthwise convolutions that have the factors in their kernels. TAPS is 9, or 1 without
// excite_weight: the kernel of o is its centre tap then.
template <typename A, int TAPS>
struct Factors {
  static constexpr int centre = TAPS / 2;
  const A *value_weight, *score, *lambda_l, *d, *excite_weight;
  int64_t channels;

  Factors(const at::Tensor& value_weight, const at::Tensor& score, const at::Tensor& lambda_l,
          const std::optional<at::Tensor>& d, const std::optional<at::Tensor>& excite_weight)
      : value_weight(pointer<A>(value_weight)), score(pointer<A>(score)),
        lambda_l(pointer<A>(lambda_l)), d(pointer<A>(d)), excite_weight(pointer<A>(excite_weight)),
        channels(value_weight.size(0)) {}

  A refresh(int64_t plane) const { return d ? d[plane] : A(1); }

  void fold(int64_t plane, A* kernel_x, A* kernel_o) const {
    const int64_t c = plane % channels;
    for (int t = 0; t < 9; ++t) kernel_x[t] = score[plane] * value_weight[9 * c + t];
    for (int t = 0; t < TAPS; ++t)
      kernel_o[t] = excite_weight ? lambda_l[c] * excite_weight[9 * c + t] : A(0);
    kernel_o[centre] += lambda_l[c] * refresh(plane);
  }
};

// The gradients of the factors of one channel from those of the folded kernels of its B planes.
template <typename A, int TAPS>
struct FactorGradients {
  const Factors<A, TAPS>& factors;
  A *value_weight, *score, *lambda_l, *d, *excite_weight;  // where they are written to
  double sum_value_weight[9] = {}, sum_excite_weight[TAPS] = {}, sum_lambda_l = 0;

  FactorGradients(const Factors<A, TAPS>& factors, const at::Tensor& value_weight,
                  const at::Tensor& score, const at::Tensor& lambda_l, const at::Tensor& d,
                  const at::Tensor& excite_weight)
      : factors(factors), value_weight(pointer<A>(value_weight)), score(pointer<A>(score)),
        lambda_l(pointer<A>(lambda_l)), d(pointer<A>(d)), excite_weight(pointer<A>(excite_weight)) {}

  // Adds a plane, whose gradients of kernels are yet to be multiplied by a constant. Returns the sum of
  // the products of kernels and gradients, without the constant.
  template <typename G>
  double add(int64_t plane, double constant, const G* grad_kx, const G* grad_ko) {
    const int64_t c = plane % factors.channels;
    A kx[9], ko[TAPS];
    factors.fold(plane, kx, ko);
    double product = 0, sum_score = 0;
    for (int t = 0; t < 9; ++t) {
      product += double(kx[t]) * grad_kx[t];
      sum_score += double(factors.value_weight[9 * c + t]) * grad_kx[t];
      sum_value_weight[t] += constant * factors.score[plane] * grad_kx[t];
    }
    for (int t = 0; t < TAPS; ++t) {
      product += double(ko[t]) * grad_ko[t];
      if (!excite_weight) continue;
      sum_lambda_l += constant * factors.excite_weight[9 * c + t] * grad_ko[t];
      sum_excite_weight[t] += constant * factors.lambda_l[c] * grad_ko[t];
    }
    const double grad_centre = constant * grad_ko[factors.centre];
    sum_lambda_l += factors.refresh(plane) * grad_centre;
    score[plane] = A(constant * sum_score);
    if (d) d[plane] = A(factors.lambda_l[c] * grad_centre);
    return product;
  }

  void write(int64_t c) const {
    for (int t = 0; t < 9; ++t) value_weight[9 * c + t] = A(sum_value_weight[t]);
    for (int t = 0; excite_weight && t < TAPS; ++t)
      excite_weight[9 * c + t] = A(sum_excite_weight[t]);
    lambda_l[c] = A(sum_lambda_l);
  }
};

}  // namespace mmdla
