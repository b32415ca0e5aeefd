// value = dw(x; value_weight); out = x + drop_path_scale * ReLU(norm(u)), the last step of a base layer
// (mmdla/ops/base.py), with u = sum_t weights_t * values_t.
#include <cmath>

#include "kernels.h"
#include "planes.h"
#include "tensors.h"

namespace mmdla {
namespace {

// u = sum_t weights[t] * values[t] of the plane at `start`
template <typename T, typename A>
void combine(const std::vector<T*>& values, const A* weights, int64_t step, int64_t start,
             int64_t area, A* u) {
  for (size_t t = 0; t < values.size(); ++t) {
    const A weight = weights[t * step];
    const T* value = values[t] + start;
    for_lanes<A>(area, [&](int64_t n, int64_t rest) {
      const Lane<A> part = weight * In<A, T>{value, rest}[n];
      store<A>(u + n, t ? load<A>(u + n) + part : part);
    });
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
    for_each(C, [&](int64_t begin, int64_t end) {
      Lines<A, scalar_t> xs(x, grid);
      const Inside<A> first(grid);
      const int64_t room = padded<A>(area);
      std::vector<A> us((normalize ? B : 1) * room);
      for (int64_t c = begin; c < end; ++c) {
        const auto sum_up = [&](int64_t b, A* u) {
          const int64_t start = (b * C + c) * area;
          const A* ax = xs[b * C + c];
          const Kernel<A, 9> k(kernels + 9 * c);
          for_plane<A>(first, [&](int64_t n, const Inside<A>& inside) {
            Out<A, scalar_t>{values.back() + start, n + lanes<A> > area ? area - n : 0}.set(
                n, k(ax + n, grid.width, inside));
          });
          combine(values, pointer<A>(weights) + b * L * C + c, C, start, area, u);
        };
        A slope = pointer<A>(gamma)[c], offset = pointer<A>(beta)[c];  // norm(u) = slope * u + offset
        if (normalize) {
          const auto [mu, var] = moments(us.data(), B, area, sum_up);
          pointer<A>(mean)[c] = mu;
          pointer<A>(variance)[c] = A(var);
          slope *= A(1 / std::sqrt(var + eps));
          offset -= mu * slope;
        }
        for (int64_t b = 0; b < B; ++b) {
          if (!normalize) sum_up(b, us.data());
          const A* u = us.data() + (normalize ? b * room : 0);
          const A scale = scales ? scales[b] : A(1);
          const int64_t start = (b * C + c) * area;
          for_lanes<A>(area, [&](int64_t n, int64_t rest) {
            const Lane<A> branch = relu<A>(slope * load<A>(u + n) + offset);
            Out<A, scalar_t>{pointer<scalar_t>(out) + start, rest}.set(
                n, In<A, scalar_t>{pointer<scalar_t>(x) + start, rest}[n] + scale * branch);
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
    const scalar_t* from_value = pointer<scalar_t>(grad_value);
    const A* scales = pointer<A>(drop_path_scale);
    for_each(C, [&](int64_t begin, int64_t end) {
      Lines<A, scalar_t> xs(x, grid);
      Line<A> value_line(grid);
      const Inside<A> first(grid);
      const int64_t room = padded<A>(area);
      std::vector<A> us(B * room), gs(B * room);  // with zeros after each area
      std::vector<double> dots(3 * B * L);  // of each map: sums of its products with g and u - mu, and
                                            // of itself
      for (int64_t c = begin; c < end; ++c) {
        const A mu = normalize ? pointer<A>(mean)[c] : A(0);
        const A inverse = normalize ? A(1 / std::sqrt(pointer<A>(variance)[c] + eps)) : A(1);
        const A slope = pointer<A>(gamma)[c] * inverse, offset = pointer<A>(beta)[c] - mu * slope;
        double sum_g = 0, sum_gu = 0;  // sums of g and g * (u - mu), g being the gradient of norm(u)
        for (int64_t b = 0; b < B; ++b) {
          const int64_t start = (b * C + c) * area;
          A *u = us.data() + b * room, *g = gs.data() + b * room;
          combine(maps, pointer<A>(weights) + b * L * C + c, C, start, area, u);
          const A scale = scales ? scales[b] : A(1);
          for_lanes<A>(area, [&](int64_t n, int64_t rest) {
            const Lane<A> grad = scale * In<A, scalar_t>{pointer<scalar_t>(grad_out) + start, rest}[n];
            store<A>(g + n, slope * load<A>(u + n) + offset <= 0 ? Lane<A>{} : grad);
          });
          sum_g += sum_lanes<A>(room, [&](int64_t n, int64_t) { return load<A>(g + n); });
          sum_gu += sum_lanes<A>(
              room, [&](int64_t n, int64_t) { return load<A>(g + n) * (load<A>(u + n) - mu); });
          for (int64_t t = 0; t < L; ++t) {
            const scalar_t* v = maps[t] + start;
            Lane<A> with_g = {}, with_u = {}, alone = {};
            for_lanes<A>(area, [&](int64_t n, int64_t rest) {
              const Lane<A> value = In<A, scalar_t>{v, rest}[n];
              with_g += value * load<A>(g + n);
              with_u += value * (load<A>(u + n) - mu);
              alone += value;
            });
            double* dot = dots.data() + 3 * (b * L + t);
            dot[0] = total<A>(with_g), dot[1] = total<A>(with_u), dot[2] = total<A>(alone);
          }
        }
        pointer<A>(grad_gamma)[c] = A(sum_gu * inverse);
        pointer<A>(grad_beta)[c] = A(sum_g);
        // the gradient of u is slope * g - level - tilt * (u - mu), the last two terms coming from the
        // mean and the variance of the batch; it replaces g in gs
        const double count = double(B) * area;
        const A level = normalize ? A(slope * sum_g / count) : A(0);
        const A tilt = normalize ? A(double(slope) * inverse * inverse * sum_gu / count) : A(0);
        A sums[9] = {};
        for (int64_t b = 0; b < B; ++b) {
          const int64_t start = (b * C + c) * area;
          A *u = us.data() + b * room, *g = gs.data() + b * room;
          const A* w = pointer<A>(weights) + b * L * C + c;
          A* to_weights = pointer<A>(grad_weights) + b * L * C + c;
          for_lanes<A>(area, [&](int64_t n, int64_t) {
            store<A>(g + n, slope * load<A>(g + n) - (level + (load<A>(u + n) - mu) * tilt));
          });
          std::fill(g + area, g + room, A(0));
          for (int64_t t = 0; t < L; ++t) {
            const double* dot = dots.data() + 3 * (b * L + t);
            to_weights[t * C] = A(slope * dot[0] - level * dot[2] - tilt * dot[1]);
          }
          for (int64_t t = 0; t < earlier; ++t) {
            const A weight = w[t * C];
            for_lanes<A>(area, [&](int64_t n, int64_t rest) {
              Lane<A> sum = weight * load<A>(g + n);
              if (from_past[t]) sum += In<A, scalar_t>{from_past[t] + start, rest}[n];
              Out<A, scalar_t>{to_past[t] + start, rest}.set(n, sum);
            });
          }
          const A weight = w[earlier * C];
          A* gv = value_line.begin();
          for_lanes<A>(area, [&](int64_t n, int64_t rest) {
            Lane<A> sum = weight * load<A>(g + n);
            if (from_value) sum += In<A, scalar_t>{from_value + start, rest}[n];
            store<A>(gv + n, sum);
          });
          value_line.clear_end();
          const Kernel<A, 9> flipped(pointer<A>(value_weight) + 9 * c, true);
          const scalar_t* identity = pointer<scalar_t>(grad_out) + start;  // out = x + ...
          for_plane<A>(first, [&](int64_t n, const Inside<A>& inside) {
            const int64_t rest = n + lanes<A> > area ? area - n : 0;
            Out<A, scalar_t>{pointer<scalar_t>(grad_x) + start, rest}.set(
                n, In<A, scalar_t>{identity, rest}[n] + flipped(gv + n, grid.width, inside));
          });
          A part[9];
          kernel_gradient<A, 9>(gv, xs[b * C + c], first, part);
          for (int t = 0; t < 9; ++t) sums[t] += part[t];
        }
        for (int t = 0; t < 9; ++t) pointer<A>(grad_value_weight)[9 * c + t] = sums[t];
      }
    });
  });
}

}  // namespace mmdla
