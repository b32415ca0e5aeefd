// out = x + drop_path_scale * norm(u), the last step of a light layer (mmdla/ops/light.py), with
// u = lambda_l * (d * o + dw(o; excite_weight)) + score * dw(x; value_weight). Of contiguous maps, a
// channel at a time; light_nhwc.cpp is for channels_last.
#include <cmath>

#include "kernels.h"
#include "light.h"
#include "planes.h"
#include "tensors.h"

namespace mmdla {
namespace {

template <typename T, typename A, int TAPS>
void forward(const Tensor& x, const Tensor& o, const Tensor& value_weight, const Tensor& score,
             const Tensor& lambda_l, const optional<Tensor>& d, const optional<Tensor>& excite_weight,
             const Tensor& gamma, const Tensor& beta, const optional<Tensor>& drop_path_scale,
             double eps, bool normalize, const Tensor& out, const Tensor& mean,
             const Tensor& variance) {
  const Grid grid(x);
  const int64_t B = x.size(0), C = x.size(1), area = grid.area(), width = grid.width;
  const A *scales = pointer<A>(drop_path_scale), *gammas = pointer<A>(gamma);
  const A* betas = pointer<A>(beta);
  const Factors<A, TAPS> factors(value_weight, score, lambda_l, d, excite_weight);
  T* to = pointer<T>(out);
  A *means = pointer<A>(mean), *variances = pointer<A>(variance);
  // with batch statistics a channel at a time, else a plane at a time, in memory's order
  for_each(normalize ? C : B * C, [&](int64_t begin, int64_t end) {
    Lines<A, T> xs(x, grid), os(o, grid);
    const Inside<A> first(grid);
    const int64_t room = padded<A>(area);
    std::vector<A> us((normalize ? B : 1) * room);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t c = item % C;
      const auto convolve = [&](int64_t p, A* u) {
        const A *ax = xs[p], *ao = os[p];
        A kernel_x[9], kernel_o[TAPS];
        factors.fold(p, kernel_x, kernel_o);
        const Kernel<A, 9> kx(kernel_x);
        const Kernel<A, TAPS> ko(kernel_o);
        for_plane<A>(first, [&](int64_t n, const Inside<A>& inside) {
          store<A>(u + n, kx(ax + n, width, inside) + ko(ao + n, width, inside));
        });
        return ax;
      };
      A slope = gammas[c], offset = betas[c];  // norm(u) = slope * u + offset
      if (normalize) {
        const auto [mu, var] = moments(
            us.data(), B, area, [&](int64_t b, A* u) { convolve(b * C + c, u); });
        means[c] = mu;
        variances[c] = A(var);
        slope *= A(1 / std::sqrt(var + eps));
        offset -= mu * slope;
      }
      for (int64_t p = item; p < B * C; p += normalize ? C : B * C) {
        const int64_t b = p / C;
        const A scale = scales ? scales[b] : A(1);
        const A times = scale * slope, plus = scale * offset;
        const A* u = us.data() + (normalize ? b * room : 0);
        const A* ax = normalize ? xs[p] : convolve(p, us.data());
        for_lanes<A>(area, [&](int64_t n, int64_t rest) {
          Out<A, T>{to + p * area, rest}.set(n, load<A>(ax + n) + times * load<A>(u + n) + plus);
        });
      }
    }
  });
}

template <typename T, typename A, int TAPS>
void backward(const Tensor& grad_out, const Tensor& x, const Tensor& o, const Tensor& value_weight,
              const Tensor& score, const Tensor& lambda_l, const optional<Tensor>& d,
              const optional<Tensor>& excite_weight, const Tensor& gamma,
              const optional<Tensor>& drop_path_scale, const Tensor& mean, const Tensor& variance,
              double eps, bool normalize, const Tensor& grad_x, const Tensor& grad_o,
              const Tensor& grad_value_weight, const Tensor& grad_score, const Tensor& grad_lambda_l,
              const Tensor& grad_d, const Tensor& grad_excite_weight, const Tensor& grad_gamma,
              const Tensor& grad_beta) {
  const Grid grid(x);
  const int64_t B = x.size(0), C = x.size(1), area = grid.area(), width = grid.width;
  const A *scales = pointer<A>(drop_path_scale), *gammas = pointer<A>(gamma);
  const A *means = pointer<A>(mean), *variances = pointer<A>(variance);
  const Factors<A, TAPS> factors(value_weight, score, lambda_l, d, excite_weight);
  A *to_gamma = pointer<A>(grad_gamma), *to_beta = pointer<A>(grad_beta);
  T *to_x = pointer<T>(grad_x), *to_o = pointer<T>(grad_o);
  for_each(C, [&](int64_t begin, int64_t end) {
    Lines<A, T> xs(x, grid), os(o, grid);
    const Inside<A> first(grid);
    std::vector<Line<A>> gs(B, Line<A>(grid)), us(normalize ? B : 0, Line<A>(grid));
    for (int64_t c = begin; c < end; ++c) {
      const A mu = normalize ? means[c] : A(0);
      const A inverse = normalize ? A(1 / std::sqrt(variances[c] + eps)) : A(1);
      const A slope = gammas[c] * inverse;
      double sum_g = 0, sum_gu = 0;  // sums of g and g * (u - mu), g being the gradient of norm(u)
      for (int64_t b = 0; b < B; ++b) {
        const int64_t p = b * C + c;
        const double scale = scales ? scales[b] : A(1);
        const A* g = gs[b].copy(pointer<T>(grad_out) + p * area);
        sum_g += scale * sum_lanes<A>(
                             padded<A>(area), [&](int64_t n, int64_t) { return load<A>(g + n); });
        if (!normalize) continue;
        A* u = us[b].begin();
        const A *ax = xs[p], *ao = os[p];
        A kernel_x[9], kernel_o[TAPS];
        factors.fold(p, kernel_x, kernel_o);
        const Kernel<A, 9> kx(kernel_x);
        const Kernel<A, TAPS> ko(kernel_o);
        Lane<A> product = {};
        for_plane<A>(first, [&](int64_t n, const Inside<A>& inside) {
          const Lane<A> value = kx(ax + n, width, inside) + ko(ao + n, width, inside) - mu;
          store<A>(u + n, value);
          product += load<A>(g + n) * (inside.edge ? inside.only(inside.within, value) : value);
        });
        sum_gu += scale * total<A>(product);
      }
      // Batch statistics: the gradient of u is scale * slope * grad_out - level - tilt * (u - mu),
      // the two subtracted terms coming from the mean and the variance; it replaces u - mu in us.
      const double count = double(B) * area;
      const A level = A(slope * sum_g / count);
      const A tilt = A(double(slope) * inverse * inverse * sum_gu / count);
      for (int64_t b = 0; normalize && b < B; ++b) {
        const A* g = gs[b].begin();
        A* u = us[b].begin();
        const A times = (scales ? scales[b] : A(1)) * slope;
        for (int64_t n = 0; n < area; n += lanes<A>)
          store<A>(u + n, times * load<A>(g + n) - (level + load<A>(u + n) * tilt));
        us[b].clear_end();
      }
      FactorGradients<A, TAPS> gradients(factors, grad_value_weight, grad_score, grad_lambda_l, grad_d,
                                         grad_excite_weight);
      for (int64_t b = 0; b < B; ++b) {
        const int64_t p = b * C + c;
        // Fixed statistics: the gradient of u is grad_out times a constant, which is multiplied to
        // what is computed from it. The sum of g * u needs no u: it is the product of the kernels
        // with their gradients.
        const A scale = scales ? scales[b] : A(1), constant = normalize ? A(1) : scale * slope;
        const A *g = gs[b].begin(), *gu = normalize ? us[b].begin() : g;
        Gradient<A, 9> of_x(xs[p]);
        Gradient<A, TAPS> of_o(os[p]);
        factors.fold(p, of_x.kernel, of_o.kernel);
        for_gradients<A>(
            gu, first,
            [&](int64_t n, int64_t rest, Lane<A> through_x, Lane<A> through_o) {
              Out<A, T>{to_x + p * area, rest}.set(n, load<A>(g + n) + constant * through_x);
              Out<A, T>{to_o + p * area, rest}.set(n, constant * through_o);
            },
            of_x, of_o);
        const double product = gradients.add(p, constant, of_x.taps, of_o.taps);
        if (!normalize) sum_gu += scale * product;
      }
      gradients.write(c);
      to_gamma[c] = A(sum_gu * inverse);
      to_beta[c] = A(sum_g);
    }
  });
}

}  // namespace

void light_forward(const Tensor& x, const Tensor& o, const Tensor& value_weight, const Tensor& score,
                   const Tensor& lambda_l, const optional<Tensor>& d,
                   const optional<Tensor>& excite_weight, const Tensor& gamma, const Tensor& beta,
                   const optional<Tensor>& drop_path_scale, double eps, bool normalize,
                   const Tensor& out, const Tensor& mean, const Tensor& variance) {
  if (is_nhwc(x))
    return light_forward_nhwc(x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta,
                              drop_path_scale, eps, normalize, out, mean, variance);
  FLOATING(x.scalar_type(), "mmdla::light", {
    const auto run = excite_weight ? forward<scalar_t, A, 9> : forward<scalar_t, A, 1>;
    run(x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta, drop_path_scale, eps,
        normalize, out, mean, variance);
  });
}

void light_backward(const Tensor& grad_out, const Tensor& x, const Tensor& o,
                    const Tensor& value_weight, const Tensor& score, const Tensor& lambda_l,
                    const optional<Tensor>& d, const optional<Tensor>& excite_weight,
                    const Tensor& gamma, const optional<Tensor>& drop_path_scale, const Tensor& mean,
                    const Tensor& variance, double eps, bool normalize, const Tensor& grad_x,
                    const Tensor& grad_o, const Tensor& grad_value_weight, const Tensor& grad_score,
                    const Tensor& grad_lambda_l, const Tensor& grad_d, const Tensor& grad_excite_weight,
                    const Tensor& grad_gamma, const Tensor& grad_beta) {
  if (is_nhwc(x))
    return light_backward_nhwc(grad_out, x, o, value_weight, score, lambda_l, d, excite_weight, gamma,
                               drop_path_scale, mean, variance, eps, normalize, grad_x, grad_o,
                               grad_value_weight, grad_score, grad_lambda_l, grad_d,
                               grad_excite_weight, grad_gamma, grad_beta);
  FLOATING(x.scalar_type(), "mmdla::light_backward", {
    const auto run = excite_weight ? backward<scalar_t, A, 9> : backward<scalar_t, A, 1>;
    run(grad_out, x, o, value_weight, score, lambda_l, d, excite_weight, gamma, drop_path_scale, mean,
        variance, eps, normalize, grad_x, grad_o, grad_value_weight, grad_score, grad_lambda_l, grad_d,
        grad_excite_weight, grad_gamma, grad_beta);
  });
}

}  // namespace mmdla
