// value = dw(x; kernel); out = x + scale * ReLU(norm(sum_t weights_t * values_t)): mmdla/ops/base.py.
#include <cmath>

#include "kernels.h"
#include "planes.h"
#include "tensors.h"

namespace mmdla {
namespace {

// u = sum_t weights[t] * values[t] of the plane at `start`, with zeros up to a whole lane
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

void base_forward(const Tensor& x, const Tensor& kernel, const Tensor& weights, at::TensorList past,
                  const Tensor& gamma, const Tensor& beta, const optional<Tensor>& scale, double eps,
                  bool normalize, const Tensor& out, const Tensor& value, const Tensor& mean,
                  const Tensor& variance) {
  const Grid grid(x);
  const int64_t B = x.size(0), C = x.size(1), L = weights.size(1), area = grid.area();
  FLOATING(x.scalar_type(), "mmdla::base", {
    auto values = pointers<scalar_t>(past);
    values.push_back(pointer<scalar_t>(value));
    const A *factors = pointer<A>(scale), *kernels = pointer<A>(kernel);
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
          for_places<A>(first, [&](int64_t n, const Inside<A>& inside) {
            Out<A, scalar_t>{values.back() + start, n + lanes<A> > area ? area - n : 0}.set(
                n, k(ax + n, grid.width, inside));
          });
          combine(values, pointer<A>(weights) + b * L * C + c, C, start, area, u);
        };
        A factor = pointer<A>(gamma)[c], bias = pointer<A>(beta)[c];
        if (normalize) {
          double total = 0, squares = 0;
          for (int64_t b = 0; b < B; ++b) {
            A* u = us.data() + b * room;
            sum_up(b, u);
            total += sum_lanes<A>(room, [&](int64_t n, int64_t) { return load<A>(u + n); });
          }
          const A mu = A(total / (B * area));
          for (int64_t b = 0; b < B; ++b) {
            A* u = us.data() + b * room;
            std::fill(u + area, u + room, mu);
            squares += sum_lanes<A>(room, [&](int64_t n, int64_t) {
              const Lane<A> d = load<A>(u + n) - mu;
              return d * d;
            });
          }
          const double var = squares / (B * area);
          pointer<A>(mean)[c] = mu;
          pointer<A>(variance)[c] = A(var);
          factor *= A(1 / std::sqrt(var + eps));
          bias -= mu * factor;
        }
        for (int64_t b = 0; b < B; ++b) {
          if (!normalize) sum_up(b, us.data());
          const A* u = us.data() + (normalize ? b * room : 0);
          const A part = factors ? factors[b] : A(1);
          const int64_t start = (b * C + c) * area;
          for_lanes<A>(area, [&](int64_t n, int64_t rest) {
            const Lane<A> sum = relu<A>(factor * load<A>(u + n) + bias);
            Out<A, scalar_t>{pointer<scalar_t>(out) + start, rest}.set(
                n, In<A, scalar_t>{pointer<scalar_t>(x) + start, rest}[n] + part * sum);
          });
        }
      }
    });
  });
}

void base_backward(const Tensor& grad, at::TensorList of_past, const Tensor& of_newest, const Tensor& x,
                   const Tensor& kernel, const Tensor& weights, at::TensorList values,
                   const Tensor& gamma, const Tensor& beta, const optional<Tensor>& scale,
                   const Tensor& mean, const Tensor& variance, double eps, bool normalize,
                   const Tensor& to_x, at::TensorList to_past, const Tensor& to_kernel,
                   const Tensor& to_weights, const Tensor& to_gamma, const Tensor& to_beta) {
  const Grid grid(x);
  const int64_t B = x.size(0), C = x.size(1), L = weights.size(1), area = grid.area();
  const int64_t earlier = L - 1;
  FLOATING(x.scalar_type(), "mmdla::base_backward", {
    const auto maps = pointers<scalar_t>(values), of = pointers<scalar_t>(of_past);
    const auto to = pointers<scalar_t>(to_past);
    const scalar_t* newest = pointer<scalar_t>(of_newest);
    const A* factors = pointer<A>(scale);
    for_each(C, [&](int64_t begin, int64_t end) {
      Lines<A, scalar_t> xs(x, grid);
      Line<A> newest_g(grid);
      const Inside<A> first(grid);
      const int64_t room = padded<A>(area);
      std::vector<A> us(B * room), gs(B * room);  // with zeros after each area
      std::vector<double> dots(3 * B * L);        // of each map: with g, with u, its sum
      for (int64_t c = begin; c < end; ++c) {
        const A mu = normalize ? pointer<A>(mean)[c] : A(0);
        const A inverse = normalize ? A(1 / std::sqrt(pointer<A>(variance)[c] + eps)) : A(1);
        const A factor = pointer<A>(gamma)[c] * inverse, bias = pointer<A>(beta)[c] - mu * factor;
        double sum_g = 0, sum_gu = 0;
        for (int64_t b = 0; b < B; ++b) {
          const int64_t start = (b * C + c) * area;
          A *u = us.data() + b * room, *g = gs.data() + b * room;
          combine(maps, pointer<A>(weights) + b * L * C + c, C, start, area, u);
          const A part = factors ? factors[b] : A(1);
          for_lanes<A>(area, [&](int64_t n, int64_t rest) {
            const Lane<A> passed = part * In<A, scalar_t>{pointer<scalar_t>(grad) + start, rest}[n];
            store<A>(g + n, factor * load<A>(u + n) + bias <= 0 ? Lane<A>{} : passed);
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
        pointer<A>(to_gamma)[c] = A(sum_gu * inverse);
        pointer<A>(to_beta)[c] = A(sum_g);
        const double count = double(B) * area;
        const A level = normalize ? A(factor * sum_g / count) : A(0);
        const A tilt = normalize ? A(double(factor) * inverse * inverse * sum_gu / count) : A(0);
        A sums[9] = {};
        for (int64_t b = 0; b < B; ++b) {
          const int64_t start = (b * C + c) * area;
          A *u = us.data() + b * room, *g = gs.data() + b * room;
          const A* w = pointer<A>(weights) + b * L * C + c;
          A* dw = pointer<A>(to_weights) + b * L * C + c;
          for_lanes<A>(area, [&](int64_t n, int64_t) {
            store<A>(g + n, factor * load<A>(g + n) - (level + (load<A>(u + n) - mu) * tilt));
          });
          std::fill(g + area, g + room, A(0));
          for (int64_t t = 0; t < L; ++t) {
            const double* dot = dots.data() + 3 * (b * L + t);
            dw[t * C] = A(factor * dot[0] - level * dot[2] - tilt * dot[1]);
          }
          for (int64_t t = 0; t < earlier; ++t) {
            const A weight = w[t * C];
            for_lanes<A>(area, [&](int64_t n, int64_t rest) {
              Lane<A> sum = weight * load<A>(g + n);
              if (of[t]) sum += In<A, scalar_t>{of[t] + start, rest}[n];
              Out<A, scalar_t>{to[t] + start, rest}.set(n, sum);
            });
          }
          const A weight = w[earlier * C];
          A* gv = newest_g.begin();
          for_lanes<A>(area, [&](int64_t n, int64_t rest) {
            Lane<A> sum = weight * load<A>(g + n);
            if (newest) sum += In<A, scalar_t>{newest + start, rest}[n];
            store<A>(gv + n, sum);
          });
          newest_g.clear_end();
          const Kernel<A, 9> k(pointer<A>(kernel) + 9 * c, true);
          const scalar_t* direct = pointer<scalar_t>(grad) + start;  // the way of the shortcut
          for_places<A>(first, [&](int64_t n, const Inside<A>& inside) {
            const int64_t rest = n + lanes<A> > area ? area - n : 0;
            Out<A, scalar_t>{pointer<scalar_t>(to_x) + start, rest}.set(
                n, In<A, scalar_t>{direct, rest}[n] + k(gv + n, grid.width, inside));
          });
          A part[9];
          kernel_gradient<A, 9>(gv, xs[b * C + c], first, part);
          for (int t = 0; t < 9; ++t) sums[t] += part[t];
        }
        for (int t = 0; t < 9; ++t) pointer<A>(to_kernel)[9 * c + t] = sums[t];
      }
    });
  });
}

}  // namespace mmdla
