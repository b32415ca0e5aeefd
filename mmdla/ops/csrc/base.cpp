// value = dw(x; value_weight); out = x + drop_path_scale * ReLU(norm(u)), the last step of a base layer
// (mmdla/ops/base.py), with u = sum_t weights_t * values_t.
#include <cmath>

#include "kernels.h"
#include "planes.h"
#include "tensors.h"

namespace mmdla {
namespace {

// u (+)= the sum of weights[t] * values[t] over COUNT maps; the first ones begin u.
template <int COUNT, typename T, typename A>
void add_maps(T* const* values, const A* weights, int64_t step, int64_t start, int64_t area, bool begins,
              A* u) {
  Lane<A> weight[COUNT];
  for (int t = 0; t < COUNT; ++t) weight[t] = all<A>(weights[t * step]);
  for_lanes<A>(area, [&](int64_t n, int64_t rest) {
    Lane<A> sum = begins ? Lane<A>{} : load<A>(u + n);
    for (int t = 0; t < COUNT; ++t) sum += weight[t] * In<A, T>{values[t] + start, rest}[n];
    store<A>(u + n, sum);
  });
}

// u = sum_t weights[t] * values[t] of the plane at `start`, four maps at a time
template <typename T, typename A>
void combine(const std::vector<T*>& values, const A* weights, int64_t step, int64_t start,
             int64_t area, A* u) {
  const int64_t count = values.size();
  for (int64_t t = 0; t < count; t += 4) {
    const auto add = count - t >= 4 ? add_maps<4, T, A> : count - t == 3 ? add_maps<3, T, A>
                     : count - t == 2 ? add_maps<2, T, A> : add_maps<1, T, A>;
    add(values.data() + t, weights + t * step, step, start, area, t == 0, u);
  }
}

}  // namespace

void base_forward(const Tensor& x, const Tensor& value_weight, const Tensor& weights,
                  at::TensorList past, const Tensor& gamma, const Tensor& beta,
                  const optional<Tensor>& drop_path_scale, double eps, bool normalize,
                  const Tensor& out, const Tensor& value, const Tensor& mean, const Tensor& variance) {
  const Grid grid(x);
  const int64_t B = x.size(0), C = x.size(1), L = weights.size(1), area = grid.area();
  FLOATING(x.scalar_type(), "mmdla::base", {
    auto values = pointers<scalar_t>(past);
    values.push_back(pointer<scalar_t>(value));
    const A *scales = pointer<A>(drop_path_scale), *kernels = pointer<A>(value_weight);
    const A *w = pointer<A>(weights), *gammas = pointer<A>(gamma), *betas = pointer<A>(beta);
    const scalar_t* from = pointer<scalar_t>(x);
    scalar_t* to = pointer<scalar_t>(out);
    A *means = pointer<A>(mean), *variances = pointer<A>(variance);
    // with batch statistics a channel at a time, else a plane at a time, in memory's order
    for_each(normalize ? C : B * C, [&](int64_t begin, int64_t end) {
      Lines<A, scalar_t> xs(x, grid);
      const Inside<A> first(grid);
      const int64_t room = padded<A>(area);
      std::vector<A> us((normalize ? B : 1) * room);
      for (int64_t item = begin; item < end; ++item) {
        const int64_t c = item % C;
        const auto sum_up = [&](int64_t b, A* u) {
          const int64_t start = (b * C + c) * area;
          const A* ax = xs[b * C + c];
          const Kernel<A, 9> k(kernels + 9 * c);
          for_plane<A>(first, [&](int64_t n, const Inside<A>& inside) {
            Out<A, scalar_t>{values.back() + start, n + lanes<A> > area ? area - n : 0}.set(
                n, k(ax + n, grid.width, inside));
          });
          combine(values, w + b * L * C + c, C, start, area, u);
        };
        A slope = gammas[c], offset = betas[c];  // norm(u) = slope * u + offset
        if (normalize) {
          const auto [mu, var] = moments(us.data(), B, area, sum_up);
          means[c] = mu;
          variances[c] = A(var);
          slope *= A(1 / std::sqrt(var + eps));
          offset -= mu * slope;
        }
        for (int64_t p = item; p < B * C; p += normalize ? C : B * C) {
          const int64_t b = p / C, start = p * area;
          if (!normalize) sum_up(b, us.data());
          const A* u = us.data() + (normalize ? b * room : 0);
          const A scale = scales ? scales[b] : A(1);
          for_lanes<A>(area, [&](int64_t n, int64_t rest) {
            const Lane<A> branch = relu<A>(slope * load<A>(u + n) + offset);
            Out<A, scalar_t>{to + start, rest}.set(
                n, In<A, scalar_t>{from + start, rest}[n] + scale * branch);
          });
        }
      }
    });
  });
}

void base_backward(const Tensor& grad_out, at::TensorList grad_past_out, const Tensor& grad_value,
                   const Tensor& x, const Tensor& value_weight, const Tensor& weights,
                   at::TensorList values, const Tensor& gamma, const Tensor& beta,
                   const optional<Tensor>& drop_path_scale, const Tensor& mean, const Tensor& variance,
                   double eps, bool normalize, const Tensor& grad_x, at::TensorList grad_past,
                   const Tensor& grad_value_weight, const Tensor& grad_weights,
                   const Tensor& grad_gamma, const Tensor& grad_beta) {
  const Grid grid(x);
  const int64_t B = x.size(0), C = x.size(1), L = weights.size(1), area = grid.area();
  const int64_t earlier = L - 1;
  FLOATING(x.scalar_type(), "mmdla::base_backward", {
    const auto maps = pointers<scalar_t>(values), from_past = pointers<scalar_t>(grad_past_out);
    const auto to_past = pointers<scalar_t>(grad_past);
    const auto *from_value = pointer<scalar_t>(grad_value), *from_out = pointer<scalar_t>(grad_out);
    scalar_t* to_x = pointer<scalar_t>(grad_x);
    const A *scales = pointer<A>(drop_path_scale), *kernels = pointer<A>(value_weight);
    const A *gammas = pointer<A>(gamma), *betas = pointer<A>(beta), *all_weights = pointer<A>(weights);
    const A *means = pointer<A>(mean), *variances = pointer<A>(variance);
    A *to_gamma = pointer<A>(grad_gamma), *to_beta = pointer<A>(grad_beta);
    A *to_kernels = pointer<A>(grad_value_weight), *to_weights = pointer<A>(grad_weights);
    for_each(C, [&](int64_t begin, int64_t end) {
      Lines<A, scalar_t> xs(x, grid);
      Line<A> value_line(grid);
      const Inside<A> first(grid);
      const int64_t room = padded<A>(area);
      std::vector<A> us(B * room), gs(B * room);  // with zeros after each area
      for (int64_t c = begin; c < end; ++c) {
        const A mu = normalize ? means[c] : A(0);
        const A inverse = normalize ? A(1 / std::sqrt(variances[c] + eps)) : A(1);
        const A slope = gammas[c] * inverse, offset = betas[c] - mu * slope;
        double sum_g = 0, sum_gu = 0;  // sums of g and g * (u - mu), g being the gradient of norm(u)
        for (int64_t b = 0; b < B; ++b) {
          const int64_t start = (b * C + c) * area;
          A *u = us.data() + b * room, *g = gs.data() + b * room;
          combine(maps, all_weights + b * L * C + c, C, start, area, u);
          const A scale = scales ? scales[b] : A(1);
          for_lanes<A>(area, [&](int64_t n, int64_t rest) {
            const Lane<A> grad = scale * In<A, scalar_t>{from_out + start, rest}[n];
            store<A>(g + n, slope * load<A>(u + n) + offset <= 0 ? Lane<A>{} : grad);
          });
          sum_g += sum_lanes<A>(room, [&](int64_t n, int64_t) { return load<A>(g + n); });
          sum_gu += sum_lanes<A>(
              room, [&](int64_t n, int64_t) { return load<A>(g + n) * (load<A>(u + n) - mu); });
        }
        to_gamma[c] = A(sum_gu * inverse);
        to_beta[c] = A(sum_g);
        // the gradient of u is slope * g - level - tilt * (u - mu), the last two terms coming from the
        // mean and the variance of the batch; it replaces g in gs
        const double count = double(B) * area;
        const A level = normalize ? A(slope * sum_g / count) : A(0);
        const A tilt = normalize ? A(double(slope) * inverse * inverse * sum_gu / count) : A(0);
        double sums[9] = {};
        for (int64_t b = 0; b < B; ++b) {
          const int64_t start = (b * C + c) * area;
          A *u = us.data() + b * room, *g = gs.data() + b * room;
          const A* w = all_weights + b * L * C + c;
          for_lanes<A>(area, [&](int64_t n, int64_t) {
            store<A>(g + n, slope * load<A>(g + n) - (level + (load<A>(u + n) - mu) * tilt));
          });
          std::fill(g + area, g + room, A(0));
          // what a map and its weight get of the gradient of u
          const auto pass_on = [&](int64_t t, const scalar_t* from, auto&& write) {
            const A weight = w[t * C];
            to_weights[(b * L + t) * C + c] = A(sum_lanes<A>(area, [&](int64_t n, int64_t rest) {
              const Lane<A> grad = load<A>(g + n);
              Lane<A> sum = weight * grad;
              if (from) sum += In<A, scalar_t>{from + start, rest}[n];
              write(n, rest, sum);
              return grad * In<A, scalar_t>{maps[t] + start, rest}[n];
            }));
          };
          for (int64_t t = 0; t < earlier; ++t)
            pass_on(t, from_past[t], [&](int64_t n, int64_t rest, Lane<A> sum) {
              Out<A, scalar_t>{to_past[t] + start, rest}.set(n, sum);
            });
          A* gv = value_line.begin();
          pass_on(earlier, from_value, [&](int64_t n, int64_t, Lane<A> sum) { store<A>(gv + n, sum); });
          value_line.clear_end();
          Gradient<A, 9> of_x(xs[b * C + c]);
          std::copy_n(kernels + 9 * c, 9, of_x.kernel);
          for_gradients<A>(
              gv, first,
              [&](int64_t n, int64_t rest, Lane<A> through_value) {  // out = x + ...
                Out<A, scalar_t>{to_x + start, rest}.set(
                    n, In<A, scalar_t>{from_out + start, rest}[n] + through_value);
              },
              of_x);
          for (int t = 0; t < 9; ++t) sums[t] += of_x.taps[t];
        }
        for (int t = 0; t < 9; ++t) to_kernels[9 * c + t] = A(sums[t]);
      }
    });
  });
}

}  // namespace mmdla
