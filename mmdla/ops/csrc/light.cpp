// out = x + scale * norm(decay * (gate * o + dw(o; excite)) + score * dw(x; value)):
// mmdla/ops/light.py.
#include <cmath>

#include "kernels.h"
#include "planes.h"
#include "tensors.h"

namespace mmdla {
namespace {

template <typename A, int TAPS>
struct Factors {
  static constexpr int centre = TAPS / 2;
  const A *value, *score, *decay, *gate, *excite;
  int64_t channels;

  Factors(const Tensor& value, const Tensor& score, const Tensor& decay, const optional<Tensor>& gate,
          const optional<Tensor>& excite)
      : value(pointer<A>(value)), score(pointer<A>(score)), decay(pointer<A>(decay)),
        gate(pointer<A>(gate)), excite(pointer<A>(excite)), channels(value.size(0)) {}

  A gate_of(int64_t plane) const { return gate ? gate[plane] : A(1); }

  // everything per sample and channel folded into two depthwise kernels
  void kernels(int64_t plane, A* of_x, A* of_o) const {
    const int64_t c = plane % channels;
    for (int t = 0; t < 9; ++t) of_x[t] = score[plane] * value[9 * c + t];
    for (int t = 0; t < TAPS; ++t) of_o[t] = excite ? decay[c] * excite[9 * c + t] : A(0);
    of_o[centre] += decay[c] * gate_of(plane);
  }
};

template <typename T, typename A, int TAPS>
void forward(const Tensor& x, const Tensor& o, const Tensor& value, const Tensor& score,
             const Tensor& decay, const optional<Tensor>& gate, const optional<Tensor>& excite,
             const Tensor& gamma, const Tensor& beta, const optional<Tensor>& scale, double eps,
             bool normalize, const Tensor& out, const Tensor& mean, const Tensor& variance) {
  const Grid grid(x);
  const int64_t B = x.size(0), C = x.size(1), area = grid.area(), width = grid.width;
  const A *factors = pointer<A>(scale), *gammas = pointer<A>(gamma), *betas = pointer<A>(beta);
  const Factors<A, TAPS> folded(value, score, decay, gate, excite);
  A *means = pointer<A>(mean), *variances = pointer<A>(variance);
  T* to = pointer<T>(out);
  for_each(C, [&](int64_t begin, int64_t end) {
    Lines<A, T> xs(x, grid), os(o, grid);
    const Inside<A> first(grid);
    const int64_t room = padded<A>(area);
    std::vector<A> us((normalize ? B : 1) * room);
    for (int64_t c = begin; c < end; ++c) {
      const auto convolve = [&](int64_t p, A* u) {
        const A *ax = xs[p], *ao = os[p];
        A of_x[9], of_o[TAPS];
        folded.kernels(p, of_x, of_o);
        const Kernel<A, 9> kx(of_x);
        const Kernel<A, TAPS> ko(of_o);
        for_places<A>(first, [&](int64_t n, const Inside<A>& inside) {
          store<A>(u + n, kx(ax + n, width, inside) + ko(ao + n, width, inside));
        });
        return ax;
      };
      A factor = gammas[c], bias = betas[c];
      if (normalize) {
        double total = 0, squares = 0;
        for (int64_t b = 0; b < B; ++b) {
          A* u = us.data() + b * room;
          convolve(b * C + c, u);
          std::fill(u + area, u + room, A(0));
          total += sum_line<A>(area, [&](int64_t n) { return load<A>(u + n); });
        }
        const A mu = A(total / (B * area));
        for (int64_t b = 0; b < B; ++b) {
          A* u = us.data() + b * room;
          std::fill(u + area, u + room, mu);
          squares += sum_line<A>(area, [&](int64_t n) {
            const Lane<A> d = load<A>(u + n) - mu;
            return d * d;
          });
        }
        const double var = squares / (B * area);
        means[c] = mu;
        variances[c] = A(var);
        factor *= A(1 / std::sqrt(var + eps));
        bias -= mu * factor;
      }
      for (int64_t b = 0; b < B; ++b) {
        const int64_t p = b * C + c;
        const A part = factors ? factors[b] : A(1);
        const A times = part * factor, plus = part * bias;
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
void backward(const Tensor& grad, const Tensor& x, const Tensor& o, const Tensor& value,
              const Tensor& score, const Tensor& decay, const optional<Tensor>& gate,
              const optional<Tensor>& excite, const Tensor& gamma, const optional<Tensor>& scale,
              const Tensor& mean, const Tensor& variance, double eps, bool normalize,
              const Tensor& to_x, const Tensor& to_o, const Tensor& to_value, const Tensor& to_score,
              const Tensor& to_decay, const Tensor& to_gate, const Tensor& to_excite,
              const Tensor& to_gamma, const Tensor& to_beta) {
  const Grid grid(x);
  const int64_t B = x.size(0), C = x.size(1), area = grid.area(), width = grid.width;
  const A *factors = pointer<A>(scale), *gammas = pointer<A>(gamma);
  const A *means = pointer<A>(mean), *variances = pointer<A>(variance);
  const Factors<A, TAPS> folded(value, score, decay, gate, excite);
  A *to_values = pointer<A>(to_value), *to_scores = pointer<A>(to_score);
  A *to_decays = pointer<A>(to_decay), *to_excites = pointer<A>(to_excite);
  A* to_gates = pointer<A>(to_gate);
  A *to_gammas = pointer<A>(to_gamma), *to_betas = pointer<A>(to_beta);
  T *to_xs = pointer<T>(to_x), *to_os = pointer<T>(to_o);
  for_each(C, [&](int64_t begin, int64_t end) {
    Lines<A, T> xs(x, grid), os(o, grid);
    const Inside<A> first(grid);
    std::vector<Line<A>> gs(B, Line<A>(grid)), us(normalize ? B : 0, Line<A>(grid));
    for (int64_t c = begin; c < end; ++c) {
      const A mu = normalize ? means[c] : A(0);
      const A inverse = normalize ? A(1 / std::sqrt(variances[c] + eps)) : A(1);
      const A factor = gammas[c] * inverse;
      double sum_g = 0, sum_gu = 0;
      for (int64_t b = 0; b < B; ++b) {
        const int64_t p = b * C + c;
        const double part = factors ? factors[b] : A(1);
        const A* g = gs[b].copy(pointer<T>(grad) + p * area);
        sum_g += part * sum_line<A>(area, [&](int64_t n) { return load<A>(g + n); });
        if (!normalize) continue;
        A* u = us[b].begin();
        const A *ax = xs[p], *ao = os[p];
        A of_x[9], of_o[TAPS];
        folded.kernels(p, of_x, of_o);
        const Kernel<A, 9> kx(of_x);
        const Kernel<A, TAPS> ko(of_o);
        Lane<A> product = {};
        for_places<A>(first, [&](int64_t n, const Inside<A>& inside) {
          const Lane<A> value = kx(ax + n, width, inside) + ko(ao + n, width, inside) - mu;
          store<A>(u + n, value);
          product += load<A>(g + n) * (inside.edge ? inside.only(inside.within, value) : value);
        });
        sum_gu += part * total<A>(product);
      }
      // The gradient to u is after * gu. With the batch's moments gu = slope * g - level -
      // (u - mu) * tilt and after = 1; without, gu = g, and sum(g u) = <kernel, gradient of kernel>
      // needs no u.
      const double count = double(B) * area;
      const A level = A(factor * sum_g / count);
      const A tilt = A(double(factor) * inverse * inverse * sum_gu / count);
      for (int64_t b = 0; normalize && b < B; ++b) {
        const A* g = gs[b].begin();
        A* u = us[b].begin();
        const A slope = (factors ? factors[b] : A(1)) * factor;
        for (int64_t n = 0; n < area; n += lanes<A>)
          store<A>(u + n, slope * load<A>(g + n) - (level + load<A>(u + n) * tilt));
        us[b].clear_end();
      }
      double of_value[9] = {}, of_excite[TAPS] = {}, of_decay = 0;
      for (int64_t b = 0; b < B; ++b) {
        const int64_t p = b * C + c;
        const A part = factors ? factors[b] : A(1), after = normalize ? A(1) : part * factor;
        const A *g = gs[b].begin(), *gu = normalize ? us[b].begin() : g;
        const A *ax = xs[p], *ao = os[p];
        A kx[9], ko[TAPS], to_kx[9], to_ko[TAPS];
        folded.kernels(p, kx, ko);
        kernel_gradient<A, 9>(gu, ax, first, to_kx);
        kernel_gradient<A, TAPS>(gu, ao, first, to_ko);
        double product = 0, of_score = 0;
        for (int t = 0; t < 9; ++t) {
          product += double(kx[t]) * to_kx[t];
          of_score += double(folded.value[9 * c + t]) * to_kx[t];
          of_value[t] += double(after) * folded.score[p] * to_kx[t];
        }
        for (int t = 0; t < TAPS; ++t) {
          product += double(ko[t]) * to_ko[t];
          if (!to_excites) continue;
          of_decay += double(after) * folded.excite[9 * c + t] * to_ko[t];
          of_excite[t] += double(after) * folded.decay[c] * to_ko[t];
        }
        const double of_centre = double(after) * to_ko[folded.centre];
        of_decay += folded.gate_of(p) * of_centre;
        to_scores[p] = A(after * of_score);
        if (to_gates) to_gates[p] = A(folded.decay[c] * of_centre);
        if (!normalize) sum_gu += part * product;
        const Kernel<A, 9> by_x(kx, true);
        const Kernel<A, TAPS> by_o(ko, true);
        for_places<A>(first, [&](int64_t n, const Inside<A>& inside) {
          const int64_t rest = n + lanes<A> > area ? area - n : 0;
          Out<A, T>{to_xs + p * area, rest}.set(
              n, load<A>(g + n) + after * by_x(gu + n, width, inside));
          Out<A, T>{to_os + p * area, rest}.set(n, after * by_o(gu + n, width, inside));
        });
      }
      for (int t = 0; t < 9; ++t) to_values[9 * c + t] = A(of_value[t]);
      for (int t = 0; to_excites && t < TAPS; ++t) to_excites[9 * c + t] = A(of_excite[t]);
      to_decays[c] = A(of_decay);
      to_gammas[c] = A(sum_gu * inverse);
      to_betas[c] = A(sum_g);
    }
  });
}

}  // namespace

void light_forward(const Tensor& x, const Tensor& o, const Tensor& value, const Tensor& score,
                   const Tensor& decay, const optional<Tensor>& gate, const optional<Tensor>& excite,
                   const Tensor& gamma, const Tensor& beta, const optional<Tensor>& scale, double eps,
                   bool normalize, const Tensor& out, const Tensor& mean, const Tensor& variance) {
  FLOATING(x.scalar_type(), "mmdla::light", {
    const auto run = excite ? forward<scalar_t, A, 9> : forward<scalar_t, A, 1>;
    run(x, o, value, score, decay, gate, excite, gamma, beta, scale, eps, normalize, out, mean, variance);
  });
}

void light_backward(const Tensor& grad, const Tensor& x, const Tensor& o, const Tensor& value,
                    const Tensor& score, const Tensor& decay, const optional<Tensor>& gate,
                    const optional<Tensor>& excite, const Tensor& gamma, const optional<Tensor>& scale,
                    const Tensor& mean, const Tensor& variance, double eps, bool normalize,
                    const Tensor& to_x, const Tensor& to_o, const Tensor& to_value,
                    const Tensor& to_score, const Tensor& to_decay, const Tensor& to_gate,
                    const Tensor& to_excite, const Tensor& to_gamma, const Tensor& to_beta) {
  FLOATING(x.scalar_type(), "mmdla::light_backward", {
    const auto run = excite ? backward<scalar_t, A, 9> : backward<scalar_t, A, 1>;
    run(grad, x, o, value, score, decay, gate, excite, gamma, scale, mean, variance, eps, normalize,
        to_x, to_o, to_value, to_score, to_decay, to_gate, to_excite, to_gamma, to_beta);
  });
}

}  // namespace mmdla
