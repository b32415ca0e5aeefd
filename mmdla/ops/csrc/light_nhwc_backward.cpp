// The gradients of light for channels_last maps: see light.cpp. With batch statistics u is computed twice
// here, too.
#include <cmath>

#include "kernels.h"
#include "light_nhwc.h"

namespace mmdla {
namespace {

// What the backward pass knows of each channel. The gradient of u is times * g - level - tilt * (u - mu)
// with `normalize`; without, it is times * g, of which g alone is computed at first.
template <typename A>
struct Norm {
  std::vector<A> slope, mu, level, tilt;
  std::vector<double> inverse, sum_g, sum_gu;
  explicit Norm(int64_t room)
      : slope(room), mu(room), level(room), tilt(room), inverse(room), sum_g(room), sum_gu(room) {}
};

template <typename T, typename A, int TAPS>
void backward(const Tensor& grad_out, const Tensor& x, const Tensor& o,
              const Factors<A, TAPS>& factors, const Tensor& gamma,
              const optional<Tensor>& drop_path_scale, const Tensor& mean, const Tensor& variance,
              double eps, bool normalize, const Tensor& grad_x, const Tensor& grad_o,
              const FactorGradients<A, TAPS>& factor_gradients, const Tensor& grad_gamma,
              const Tensor& grad_beta) {
  const Rows rows(x);
  const ChannelFactors<A, TAPS> channels(factors);
  const int64_t C = rows.channels, width = rows.width, room = padded<A>(C), parts = rows.parts();
  const T* from_g = pointer<T>(grad_out);
  const A* scales = pointer<A>(drop_path_scale);
  const auto scale_of = [&](int64_t sample) { return scales ? scales[sample] : A(1); };
  Norm<A> norm(room);
  for (int64_t c = 0; c < C; ++c) {
    norm.mu[c] = normalize ? pointer<A>(mean)[c] : A(0);
    norm.inverse[c] = normalize ? A(1 / std::sqrt(pointer<A>(variance)[c] + eps)) : A(1);
    norm.slope[c] = A(pointer<A>(gamma)[c] * norm.inverse[c]);
  }
  // sums over the places of a part: of g, and with `normalize` of g * (u - mu)
  std::vector<A> sums(2 * parts * room);
  const auto add_up_sums = [&] {
    for (int64_t part = 0; part < parts; ++part)
      for (int64_t c = 0; c < C; ++c) {
        norm.sum_g[c] += double(scale_of(rows.sample(part))) * sums[2 * part * room + c];
        norm.sum_gu[c] += double(scale_of(rows.sample(part))) * sums[(2 * part + 1) * room + c];
      }
  };
  if (normalize) {
    for_each(parts, [&](int64_t begin, int64_t end) {
      TwoRings<T, A> rings(x, o, rows);
      Ring<A, T> ring_g(rows);
      for_chunks<A>(rows, begin, end, [&](int64_t part, const Chunk& chunk) {
        const int64_t b = rows.sample(part);
        rings.for_rows(rows, part, chunk, [&](int64_t h) {
          ring_g.read(from_g, b, h, chunk);
          chunk.for_lanes<A>([&](int64_t c, int64_t rest) {
            const auto kx = channels.of_x(b, c, rest, all<A>(1));
            const auto ko = channels.of_o(b, c, rest, all<A>(1));
            const Window<A> at_x(rings.x, h, c), at_o(rings.o, h, c), at_g(ring_g, h, c);
            const Lane<A> mu = load<A>(norm.mu.data() + c);
            Lane<A> of_g = {}, of_gu = {};
            for (int64_t w = 0; w < width; ++w) {
              const Lane<A> g = at_g.at(w, 4);
              of_g += g;
              of_gu += g * (kx(at_x, w) + ko(at_o, w) - mu);
            }
            A* to = sums.data() + 2 * part * room + c;
            store<A>(to, load<A>(to) + of_g);
            store<A>(to + room, load<A>(to + room) + of_gu);
          });
        });
      });
    });
    add_up_sums();
    const double count = double(rows.batch) * rows.height * width;
    for (int64_t c = 0; c < C; ++c) {
      const double slope = norm.slope[c], inverse = norm.inverse[c];
      norm.level[c] = A(slope * norm.sum_g[c] / count);
      norm.tilt[c] = A(slope * inverse * inverse * norm.sum_gu[c] / count);
    }
  }
  std::vector<A> kernel_sums(parts * (9 + TAPS) * room);  // gradients of the folded kernels
  for_each(parts, [&](int64_t begin, int64_t end) {
    TwoRings<T, A> rings(x, o, rows);
    Ring<A, T> ring_g(rows), ring_gu(rows), results_x(rows), results_o(rows);
    for_chunks<A>(rows, begin, end, [&](int64_t part, const Chunk& chunk) {
      const int64_t b = rows.sample(part), first = rows.first(part);
      const A scale = scale_of(b);
      const auto compute_gu = [&](int64_t h) {  // needs x and o around h
        ring_g.read(from_g, b, h, chunk);
        chunk.for_lanes<A>([&](int64_t c, int64_t rest) {
          const A* g = ring_g.row(h, c);
          A* gu = ring_gu.row(h, c);
          if (!normalize || h < 0 || h >= rows.height) {
            std::copy_n(g, width * lanes<A>, gu);
            return;
          }
          const auto kx = channels.of_x(b, c, rest, all<A>(1));
          const auto ko = channels.of_o(b, c, rest, all<A>(1));
          const Window<A> at_x(rings.x, h, c), at_o(rings.o, h, c);
          const Lane<A> slope = scale * load<A>(norm.slope.data() + c);
          const Lane<A> tilt = load<A>(norm.tilt.data() + c);
          const Lane<A> rise = load<A>(norm.level.data() + c) - tilt * load<A>(norm.mu.data() + c);
          for (int64_t w = 0; w < width; ++w)
            store<A>(gu + w * lanes<A>, slope * load<A>(g + w * lanes<A>) -
                                            (rise + (kx(at_x, w) + ko(at_o, w)) * tilt));
        });
      };
      for (int64_t h = first - 2; h <= first; ++h) rings.read(b, h, chunk);
      compute_gu(first - 1);
      rings.read(b, first + 1, chunk);
      compute_gu(first);
      for (int64_t h = first; h < rows.last(part); ++h) {
        rings.read(b, h + 2, chunk);
        compute_gu(h + 1);
        chunk.for_lanes<A>([&](int64_t c, int64_t rest) {
          const Lane<A> constant = normalize ? all<A>(1) : scale * load<A>(norm.slope.data() + c);
          const auto kx = channels.of_x(b, c, rest, constant).flipped();
          const auto ko = channels.of_o(b, c, rest, constant).flipped();
          const Window<A> at_gu(ring_gu, h, c), at_x(rings.x, h, c), at_o(rings.o, h, c);
          const A* g = ring_g.row(h, c);
          A *to_x = results_x.row(h, c), *to_o = results_o.row(h, c);
          for (int64_t w = 0; w < width; ++w) {
            store<A>(to_x + w * lanes<A>, load<A>(g + w * lanes<A>) + kx(at_gu, w));
            store<A>(to_o + w * lanes<A>, ko(at_gu, w));
          }
          KernelSums<A, 9> of_x;
          KernelSums<A, TAPS> of_o;
          Lane<A> of_g = {};
          for (int64_t w = 0; w < width; ++w) {
            const Lane<A> gu = at_gu.at(w, 4);
            of_x.add(gu, at_x, w);
            of_o.add(gu, at_o, w);
            of_g += gu;
          }
          A* to = kernel_sums.data() + part * (9 + TAPS) * room + c;
          of_x.add_to(to, room);
          of_o.add_to(to + 9 * room, room);
          if (normalize) return;
          A* to_sum = sums.data() + 2 * part * room + c;
          store<A>(to_sum, load<A>(to_sum) + of_g);
        });
        results_x.write(pointer<T>(grad_x), b, h, chunk);
        results_o.write(pointer<T>(grad_o), b, h, chunk);
      }
    });
  });
  if (!normalize) add_up_sums();
  for (int64_t c = 0; c < C; ++c) {
    FactorGradients<A, TAPS> gradients = factor_gradients;
    double sum_gu = norm.sum_gu[c];
    for (int64_t b = 0; b < rows.batch; ++b) {
      double folded[9 + TAPS] = {};
      for (int64_t part = b * rows.per_sample; part < (b + 1) * rows.per_sample; ++part)
        for (int t = 0; t < 9 + TAPS; ++t) folded[t] += kernel_sums[(part * (9 + TAPS) + t) * room + c];
      A of_x[9], of_o[TAPS];
      std::copy_n(folded, 9, of_x);
      std::copy_n(folded + 9, TAPS, of_o);
      const double constant = normalize ? 1 : double(scale_of(b)) * norm.slope[c];
      const double product = gradients.add(b * C + c, constant, of_x, of_o);
      if (!normalize) sum_gu += scale_of(b) * product;
    }
    gradients.write(c);
    pointer<A>(grad_gamma)[c] = A(sum_gu * norm.inverse[c]);
    pointer<A>(grad_beta)[c] = A(norm.sum_g[c]);
  }
}

}  // namespace

void light_backward_nhwc(const Tensor& grad_out, const Tensor& x, const Tensor& o,
                         const Tensor& value_weight, const Tensor& score, const Tensor& lambda_l,
                         const optional<Tensor>& d, const optional<Tensor>& excite_weight,
                         const Tensor& gamma, const optional<Tensor>& drop_path_scale,
                         const Tensor& mean, const Tensor& variance, double eps, bool normalize,
                         const Tensor& grad_x, const Tensor& grad_o, const Tensor& grad_value_weight,
                         const Tensor& grad_score, const Tensor& grad_lambda_l, const Tensor& grad_d,
                         const Tensor& grad_excite_weight, const Tensor& grad_gamma,
                         const Tensor& grad_beta) {
  for_types(x, excite_weight.has_value(), [&](auto type, auto taps) {
    using T = decltype(type);
    using A = at::opmath_type<T>;
    const Factors<A, taps> factors(value_weight, score, lambda_l, d, excite_weight);
    const FactorGradients<A, taps> gradients(factors, grad_value_weight, grad_score, grad_lambda_l,
                                             grad_d, grad_excite_weight);
    backward<T, A, taps>(grad_out, x, o, factors, gamma, drop_path_scale, mean, variance, eps,
                         normalize, grad_x, grad_o, gradients, grad_gamma, grad_beta);
  });
}

}  // namespace mmdla
