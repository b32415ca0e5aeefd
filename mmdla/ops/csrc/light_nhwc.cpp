// light for channels_last maps: see light.cpp. With batch statistics u is computed twice, which costs less
// than to write and read it.
#include <cmath>

#include "kernels.h"
#include "light.h"
#include "rows.h"

namespace mmdla {
namespace {

// The factors of u as vectors of channels: weights tap by tap, `room` channels each.
template <typename A, int TAPS>
struct ChannelFactors {
  const Factors<A, TAPS>& factors;
  int64_t room;
  std::vector<A> value_weight, excite_weight;

  explicit ChannelFactors(const Factors<A, TAPS>& factors)
      : factors(factors), room(padded<A>(factors.channels)), value_weight(9 * room),
        excite_weight(TAPS * room) {
    for (int64_t c = 0; c < factors.channels; ++c) {
      for (int t = 0; t < 9; ++t) value_weight[t * room + c] = factors.value_weight[9 * c + t];
      for (int t = 0; factors.excite_weight && t < TAPS; ++t)
        excite_weight[t * room + c] = factors.excite_weight[9 * c + t];
    }
  }

  // the folded kernels of x and of o for channels c ... of a sample, times a factor
  ChannelKernels<A, 9> of_x(int64_t sample, int64_t c, int64_t rest, Lane<A> times) const {
    times *= In<A, A>{factors.score + sample * factors.channels, rest}[c];
    ChannelKernels<A, 9> kernels;
    for (int t = 0; t < 9; ++t) kernels.taps[t] = times * load<A>(value_weight.data() + t * room + c);
    return kernels;
  }
  ChannelKernels<A, TAPS> of_o(int64_t sample, int64_t c, int64_t rest, Lane<A> times) const {
    times *= In<A, A>{factors.lambda_l, rest}[c];
    ChannelKernels<A, TAPS> kernels;
    for (int t = 0; t < TAPS; ++t)
      kernels.taps[t] = times * load<A>(excite_weight.data() + t * room + c);
    const A* d = factors.d;
    kernels.taps[TAPS / 2] += times * (d ? In<A, A>{d + sample * factors.channels, rest}[c] : all<A>(1));
    return kernels;
  }
};

// Mean and sum of squared differences from it, of channels, which are joined with those of others.
struct RunningMoments {
  double mean = 0, squares = 0;
  void join(double other_mean, double other_squares, double before, double count) {
    const double difference = other_mean - mean, share = count / (before + count);
    mean += difference * share;
    squares += other_squares + difference * difference * before * share;
  }
};

// Calls f(part, sample, c, rest) for each part of the rows and each vector of channels.
template <typename A, typename F>
void for_parts(const Rows& rows, int64_t begin, int64_t end, F&& f) {
  for (int64_t part = begin; part < end; ++part)
    for_channels<A>(rows.channels,
                    [&](int64_t c, int64_t rest) { f(part, rows.sample(part), c, rest); });
}

// Both maps of a part, for one vector of channels. Calls f(h, x, o) for rows first ... last - 1.
template <typename T, typename A>
struct TwoRings {
  const T *map_x, *map_o;
  Ring<A, T> x, o;

  TwoRings(const Tensor& x, const Tensor& o, const Rows& rows)
      : map_x(pointer<T>(x)), map_o(pointer<T>(o)), x(rows), o(rows) {}

  void read(int64_t sample, int64_t h, int64_t c, int64_t rest) {
    x.read(map_x, sample, h, c, rest);
    o.read(map_o, sample, h, c, rest);
  }

  template <typename F>
  void for_rows(int64_t sample, int64_t first, int64_t last, int64_t c, int64_t rest, F&& f) {
    read(sample, first - 1, c, rest);
    read(sample, first, c, rest);
    for (int64_t h = first; h < last; ++h) {
      read(sample, h + 1, c, rest);
      f(h, Window<A>(x, h), Window<A>(o, h));
    }
  }
};

// Writes the mean and the biased variance of u.
template <typename T, typename A, int TAPS>
void moments_of_u(const Rows& rows, const ChannelFactors<A, TAPS>& channels, const Tensor& x,
                  const Tensor& o, A* mean, A* variance) {
  const int64_t C = rows.channels, width = rows.width;
  std::vector<RunningMoments> parts(rows.parts() * C);
  for_each(rows.parts(), [&](int64_t begin, int64_t end) {
    TwoRings<T, A> rings(x, o, rows);
    std::vector<A> line(width * lanes<A>);
    for_parts<A>(rows, begin, end, [&](int64_t part, int64_t b, int64_t c, int64_t rest) {
      const auto kx = channels.of_x(b, c, rest, all<A>(1));
      const auto ko = channels.of_o(b, c, rest, all<A>(1));
      RunningMoments* to = parts.data() + part * C + c;
      const int64_t first = rows.first(part);
      rings.for_rows(b, first, rows.last(part), c, rest,
                     [&](int64_t h, const Window<A>& at_x, const Window<A>& at_o) {
        Lane<A> sum = {}, squares = {};
        for (int64_t w = 0; w < width; ++w) {
          const Lane<A> u = kx(at_x, w) + ko(at_o, w);
          store<A>(line.data() + w * lanes<A>, u);
          sum += u;
        }
        const Lane<A> mu = sum / A(width);
        for (int64_t w = 0; w < width; ++w) {
          const Lane<A> difference = load<A>(line.data() + w * lanes<A>) - mu;
          squares += difference * difference;
        }
        for (int64_t i = 0; i < (rest ? rest : lanes<A>); ++i)
          to[i].join(mu[i], squares[i], double(h - first) * width, width);
      });
    });
  });
  for (int64_t c = 0; c < C; ++c) {
    RunningMoments all;
    double count = 0;
    for (int64_t part = 0; part < rows.parts(); count += rows.places(part++)) {
      const RunningMoments& one = parts[part * C + c];
      all.join(one.mean, one.squares, count, rows.places(part));
    }
    mean[c] = A(all.mean);
    variance[c] = A(all.squares / count);
  }
}

template <typename T, typename A, int TAPS>
void forward(const Tensor& x, const Tensor& o, const Factors<A, TAPS>& factors, const Tensor& gamma,
             const Tensor& beta, const optional<Tensor>& drop_path_scale, double eps, bool normalize,
             const Tensor& out, const Tensor& mean, const Tensor& variance) {
  const Rows rows(x);
  const ChannelFactors<A, TAPS> channels(factors);
  const int64_t C = rows.channels, room = padded<A>(C);
  const A* scales = pointer<A>(drop_path_scale);
  std::vector<A> slope(room), offset(room);  // norm(u) = slope * u + offset
  std::copy_n(pointer<A>(gamma), C, slope.data());
  std::copy_n(pointer<A>(beta), C, offset.data());
  if (normalize) {
    moments_of_u<T, A, TAPS>(rows, channels, x, o, pointer<A>(mean), pointer<A>(variance));
    for (int64_t c = 0; c < C; ++c) {
      slope[c] *= A(1 / std::sqrt(pointer<A>(variance)[c] + eps));
      offset[c] -= pointer<A>(mean)[c] * slope[c];
    }
  }
  for_each(rows.parts(), [&](int64_t begin, int64_t end) {
    TwoRings<T, A> rings(x, o, rows);
    for_parts<A>(rows, begin, end, [&](int64_t part, int64_t b, int64_t c, int64_t rest) {
      const A scale = scales ? scales[b] : A(1);
      const Lane<A> times = scale * load<A>(slope.data() + c), plus = scale * load<A>(offset.data() + c);
      const auto kx = channels.of_x(b, c, rest, times);
      const auto ko = channels.of_o(b, c, rest, times);
      rings.for_rows(b, rows.first(part), rows.last(part), c, rest,
                     [&](int64_t h, const Window<A>& at_x, const Window<A>& at_o) {
        T* to = pointer<T>(out) + rows.start(b, h) + c;
        fetch_to_write(to, rows);
        for (int64_t w = 0; w < rows.width; ++w)
          Out<A, T>{to + w * C, rest}.set(0, at_x.at(w, 4) + plus + kx(at_x, w) + ko(at_o, w));
      });
    });
  });
}

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
      for_parts<A>(rows, begin, end, [&](int64_t part, int64_t b, int64_t c, int64_t rest) {
        const auto kx = channels.of_x(b, c, rest, all<A>(1));
        const auto ko = channels.of_o(b, c, rest, all<A>(1));
        const Lane<A> mu = load<A>(norm.mu.data() + c);
        A* to = sums.data() + 2 * part * room + c;
        rings.for_rows(b, rows.first(part), rows.last(part), c, rest,
                       [&](int64_t h, const Window<A>& at_x, const Window<A>& at_o) {
          const T* row = from_g + rows.start(b, h) + c;
          Lane<A> of_g = {}, of_gu = {};
          for (int64_t w = 0; w < width; ++w) {
            const Lane<A> g = In<A, T>{row + w * C, rest}[0];
            of_g += g;
            of_gu += g * (kx(at_x, w) + ko(at_o, w) - mu);
          }
          store<A>(to, load<A>(to) + of_g);
          store<A>(to + room, load<A>(to + room) + of_gu);
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
    Ring<A, T> ring_gu(rows);  // gradients of u
    for_parts<A>(rows, begin, end, [&](int64_t part, int64_t b, int64_t c, int64_t rest) {
      const A scale = scale_of(b);
      const auto kx = channels.of_x(b, c, rest, all<A>(1));
      const auto ko = channels.of_o(b, c, rest, all<A>(1));
      const Lane<A> slope = scale * load<A>(norm.slope.data() + c), tilt = load<A>(norm.tilt.data() + c);
      const Lane<A> rise = load<A>(norm.level.data() + c) - tilt * load<A>(norm.mu.data() + c);
      const Lane<A> constant = normalize ? all<A>(1) : slope;
      const auto flipped_kx = channels.of_x(b, c, rest, constant).flipped();
      const auto flipped_ko = channels.of_o(b, c, rest, constant).flipped();
      A* to_kernels = kernel_sums.data() + part * (9 + TAPS) * room + c;
      A* to_sum = sums.data() + 2 * part * room + c;
      const auto compute_gu = [&](int64_t h) {
        ring_gu.read(from_g, b, h, c, rest);
        if (!normalize || h < 0 || h >= rows.height) return;
        const Window<A> at_x(rings.x, h), at_o(rings.o, h);
        A* gu = ring_gu.row(h);
        for (int64_t w = 0; w < width; ++w)
          store<A>(gu + w * lanes<A>, slope * load<A>(gu + w * lanes<A>) -
                                          (rise + (kx(at_x, w) + ko(at_o, w)) * tilt));
      };
      const int64_t first = rows.first(part), last = rows.last(part);
      for (int64_t h = first - 2; h <= first; ++h) rings.read(b, h, c, rest);
      compute_gu(first - 1);
      rings.read(b, first + 1, c, rest);
      compute_gu(first);
      for (int64_t h = first; h < last; ++h) {
        rings.read(b, h + 2, c, rest);
        compute_gu(h + 1);
        const Window<A> at_gu(ring_gu, h), at_x(rings.x, h), at_o(rings.o, h);
        const int64_t start = rows.start(b, h) + c;
        T *to_x = pointer<T>(grad_x) + start, *to_o = pointer<T>(grad_o) + start;
        fetch_to_write(to_x, rows);
        fetch_to_write(to_o, rows);
        for (int64_t w = 0; w < width; ++w) {
          const Lane<A> g = normalize ? In<A, T>{from_g + start + w * C, rest}[0] : at_gu.at(w, 4);
          Out<A, T>{to_x + w * C, rest}.set(0, g + flipped_kx(at_gu, w));
          Out<A, T>{to_o + w * C, rest}.set(0, flipped_ko(at_gu, w));
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
        of_x.add_to(to_kernels, room);
        of_o.add_to(to_kernels + 9 * room, room);
        if (!normalize) store<A>(to_sum, load<A>(to_sum) + of_g);
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

void light_forward_nhwc(const Tensor& x, const Tensor& o, const Tensor& value_weight,
                        const Tensor& score, const Tensor& lambda_l, const optional<Tensor>& d,
                        const optional<Tensor>& excite_weight, const Tensor& gamma, const Tensor& beta,
                        const optional<Tensor>& drop_path_scale, double eps, bool normalize,
                        const Tensor& out, const Tensor& mean, const Tensor& variance) {
  const auto run = [&](auto type, auto taps) {
    using T = decltype(type);
    using A = at::opmath_type<T>;
    const Factors<A, taps> factors(value_weight, score, lambda_l, d, excite_weight);
    forward<T, A, taps>(x, o, factors, gamma, beta, drop_path_scale, eps, normalize, out, mean,
                        variance);
  };
  FLOATING(x.scalar_type(), "mmdla::light", {
    excite_weight ? run(scalar_t(), std::integral_constant<int, 9>())
                  : run(scalar_t(), std::integral_constant<int, 1>());
  });
}

void light_backward_nhwc(const Tensor& grad_out, const Tensor& x, const Tensor& o,
                         const Tensor& value_weight, const Tensor& score, const Tensor& lambda_l,
                         const optional<Tensor>& d, const optional<Tensor>& excite_weight,
                         const Tensor& gamma, const optional<Tensor>& drop_path_scale,
                         const Tensor& mean, const Tensor& variance, double eps, bool normalize,
                         const Tensor& grad_x, const Tensor& grad_o, const Tensor& grad_value_weight,
                         const Tensor& grad_score, const Tensor& grad_lambda_l, const Tensor& grad_d,
                         const Tensor& grad_excite_weight, const Tensor& grad_gamma,
                         const Tensor& grad_beta) {
  const auto run = [&](auto type, auto taps) {
    using T = decltype(type);
    using A = at::opmath_type<T>;
    const Factors<A, taps> factors(value_weight, score, lambda_l, d, excite_weight);
    const FactorGradients<A, taps> gradients(factors, grad_value_weight, grad_score, grad_lambda_l,
                                             grad_d, grad_excite_weight);
    backward<T, A, taps>(grad_out, x, o, factors, gamma, drop_path_scale, mean, variance, eps,
                         normalize, grad_x, grad_o, gradients, grad_gamma, grad_beta);
  };
  FLOATING(x.scalar_type(), "mmdla::light_backward", {
    excite_weight ? run(scalar_t(), std::integral_constant<int, 9>())
                  : run(scalar_t(), std::integral_constant<int, 1>());
  });
}

}  // namespace mmdla
