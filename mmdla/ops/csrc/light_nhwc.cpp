// light for channels_last maps: see light.cpp. A row at a time, so that memory is read in its order; with
// batch statistics u is computed twice, which costs less than to write and read it.
#include <cmath>

#include "kernels.h"
#include "light.h"
#include "rows.h"

namespace mmdla {
namespace {

// Both folded kernels of a sample, tap by tap, `room` channels each.
template <typename A, int TAPS>
struct Tables {
  int64_t room;
  std::vector<A> x, o;

  Tables(const Factors<A, TAPS>& factors, int64_t sample)
      : room(padded<A>(factors.channels)), x(9 * room), o(TAPS * room) {
    for (int64_t c = 0; c < factors.channels; ++c) {
      A kernel_x[9], kernel_o[TAPS];
      factors.fold(sample * factors.channels + c, kernel_x, kernel_o);
      for (int t = 0; t < 9; ++t) x[t * room + c] = kernel_x[t];
      for (int t = 0; t < TAPS; ++t) o[t * room + c] = kernel_o[t];
    }
  }

  // multiplies the kernels of each channel by a factor
  void scale(const std::vector<A>& by, A times) {
    for (size_t n = 0; n < x.size(); ++n) x[n] *= times * by[n % room];
    for (size_t n = 0; n < o.size(); ++n) o[n] *= times * by[n % room];
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

// Writes the mean and the biased variance of u.
template <typename T, typename A, int TAPS>
void moments_of_u(const Rows& rows, const Factors<A, TAPS>& factors, const T* x, const T* o, A* mean,
                  A* variance) {
  const int64_t C = rows.channels, width = rows.width;
  std::vector<RunningMoments> parts(rows.parts() * C);
  for_each(rows.parts(), [&](int64_t begin, int64_t end) {
    std::vector<A> line(width * lanes<A>);
    for (int64_t part = begin; part < end; ++part) {
      const int64_t b = rows.sample(part), first = rows.first(part);
      const Tables<A, TAPS> tables(factors, b);
      const SampleRows<T> xs(x, rows, b), os(o, rows, b);
      for (int64_t h = first; h < rows.last(part); ++h) {
        const Window<T> x_rows = xs.window(h), o_rows = os.window(h);
        for_channels<A>(C, [&](int64_t c, int64_t rest) {
          const ChannelKernels<A, 9> kx(tables.x.data() + c, tables.room);
          const ChannelKernels<A, TAPS> ko(tables.o.data() + c, tables.room);
          Lane<A> sum = {}, squares = {};
          for_places(width, [&](int64_t w, auto left, auto right) {
            const int64_t n = w * C + c;
            const Lane<A> u = kx(x_rows, n, C, rest, left, right) + ko(o_rows, n, C, rest, left, right);
            store<A>(line.data() + w * lanes<A>, u);
            sum += u;
          });
          const Lane<A> mu = sum / A(width);
          for (int64_t w = 0; w < width; ++w) {
            const Lane<A> difference = load<A>(line.data() + w * lanes<A>) - mu;
            squares += difference * difference;
          }
          RunningMoments* to = parts.data() + part * C + c;
          for (int64_t i = 0; i < (rest ? rest : lanes<A>); ++i)
            to[i].join(mu[i], squares[i], double(h - first) * width, width);
        });
      }
    }
  });
  for_each(C, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      RunningMoments all;
      double count = 0;
      for (int64_t part = 0; part < rows.parts(); count += rows.places(part++)) {
        const RunningMoments& one = parts[part * C + c];
        all.join(one.mean, one.squares, count, rows.places(part));
      }
      mean[c] = A(all.mean);
      variance[c] = A(all.squares / count);
    }
  });
}

template <typename T, typename A, int TAPS>
void forward(const Tensor& x, const Tensor& o, const Factors<A, TAPS>& factors, const Tensor& gamma,
             const Tensor& beta, const optional<Tensor>& drop_path_scale, double eps, bool normalize,
             const Tensor& out, const Tensor& mean, const Tensor& variance) {
  const Rows rows(x);
  const int64_t C = rows.channels, room = padded<A>(C);
  const T *from_x = pointer<T>(x), *from_o = pointer<T>(o);
  const A* scales = pointer<A>(drop_path_scale);
  std::vector<A> slope(room), offset(room);  // norm(u) = slope * u + offset
  std::copy_n(pointer<A>(gamma), C, slope.data());
  std::copy_n(pointer<A>(beta), C, offset.data());
  if (normalize) {
    moments_of_u<T, A, TAPS>(rows, factors, from_x, from_o, pointer<A>(mean), pointer<A>(variance));
    for (int64_t c = 0; c < C; ++c) {
      slope[c] *= A(1 / std::sqrt(pointer<A>(variance)[c] + eps));
      offset[c] -= pointer<A>(mean)[c] * slope[c];
    }
  }
  for_each(rows.parts(), [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t b = rows.sample(part);
      const A scale = scales ? scales[b] : A(1);
      Tables<A, TAPS> tables(factors, b);
      tables.scale(slope, scale);
      const SampleRows<T> xs(from_x, rows, b), os(from_o, rows, b);
      for (int64_t h = rows.first(part); h < rows.last(part); ++h) {
        const Window<T> x_rows = xs.window(h), o_rows = os.window(h);
        T* to = pointer<T>(out) + rows.start(b, h);
        for_channels<A>(C, [&](int64_t c, int64_t rest) {
          const ChannelKernels<A, 9> kx(tables.x.data() + c, room);
          const ChannelKernels<A, TAPS> ko(tables.o.data() + c, room);
          const Lane<A> plus = scale * load<A>(offset.data() + c);
          for_places(rows.width, [&](int64_t w, auto left, auto right) {
            const int64_t n = w * C + c;
            Out<A, T>{to, rest}.set(n, In<A, T>{x_rows.rows[1], rest}[n] + plus +
                                           kx(x_rows, n, C, rest, left, right) +
                                           ko(o_rows, n, C, rest, left, right));
          });
        });
      }
    }
  });
}

// What the backward pass knows of each channel. The gradient of u is times * g - level - tilt * (u - mu)
// with `normalize`; without, it is times * g, of which g alone is computed at first.
template <typename A>
struct Channels {
  std::vector<A> slope, mu, level, tilt;
  std::vector<double> inverse, sum_g, sum_gu;
  explicit Channels(int64_t room)
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
  const int64_t C = rows.channels, width = rows.width, room = padded<A>(C), parts = rows.parts();
  const T *from_x = pointer<T>(x), *from_o = pointer<T>(o), *from_g = pointer<T>(grad_out);
  const A* scales = pointer<A>(drop_path_scale);
  const auto scale_of = [&](int64_t sample) { return scales ? scales[sample] : A(1); };
  Channels<A> channels(room);
  for (int64_t c = 0; c < C; ++c) {
    channels.mu[c] = normalize ? pointer<A>(mean)[c] : A(0);
    channels.inverse[c] = normalize ? A(1 / std::sqrt(pointer<A>(variance)[c] + eps)) : A(1);
    channels.slope[c] = A(pointer<A>(gamma)[c] * channels.inverse[c]);
  }
  // sums over the places of a part: of g, and with `normalize` of g * (u - mu)
  std::vector<A> sums(2 * parts * room);
  const auto add_up_sums = [&] {
    for (int64_t part = 0; part < parts; ++part)
      for (int64_t c = 0; c < C; ++c) {
        channels.sum_g[c] += double(scale_of(rows.sample(part))) * sums[2 * part * room + c];
        channels.sum_gu[c] += double(scale_of(rows.sample(part))) * sums[(2 * part + 1) * room + c];
      }
  };
  if (normalize) {
    for_each(parts, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) {
        const int64_t b = rows.sample(part);
        const Tables<A, TAPS> tables(factors, b);
        const SampleRows<T> xs(from_x, rows, b), os(from_o, rows, b);
        for (int64_t h = rows.first(part); h < rows.last(part); ++h) {
          const Window<T> x_rows = xs.window(h), o_rows = os.window(h);
          const T* g_row = from_g + rows.start(b, h);
          for_channels<A>(C, [&](int64_t c, int64_t rest) {
            const ChannelKernels<A, 9> kx(tables.x.data() + c, room);
            const ChannelKernels<A, TAPS> ko(tables.o.data() + c, room);
            const Lane<A> mu = load<A>(channels.mu.data() + c);
            Lane<A> of_g = {}, of_gu = {};
            for_places(width, [&](int64_t w, auto left, auto right) {
              const int64_t n = w * C + c;
              const Lane<A> g = In<A, T>{g_row, rest}[n];
              of_g += g;
              of_gu += g * (kx(x_rows, n, C, rest, left, right) +
                            ko(o_rows, n, C, rest, left, right) - mu);
            });
            A* to = sums.data() + 2 * part * room + c;
            store<A>(to, load<A>(to) + of_g);
            store<A>(to + room, load<A>(to + room) + of_gu);
          });
        }
      }
    });
    add_up_sums();
    const double count = double(rows.batch) * rows.height * width;
    for (int64_t c = 0; c < C; ++c) {
      const double slope = channels.slope[c], inverse = channels.inverse[c];
      channels.level[c] = A(slope * channels.sum_g[c] / count);
      channels.tilt[c] = A(slope * inverse * inverse * channels.sum_gu[c] / count);
    }
  }
  std::vector<A> kernel_sums(parts * (9 + TAPS) * room);  // gradients of the folded kernels
  for_each(parts, [&](int64_t begin, int64_t end) {
    std::vector<A> memory(4 * width * room);  // gradients of u in three rows, and zeros
    for (int64_t part = begin; part < end; ++part) {
      const int64_t b = rows.sample(part), first = rows.first(part), last = rows.last(part);
      const A scale = scale_of(b);
      const Tables<A, TAPS> tables(factors, b);
      Tables<A, TAPS> flipped = tables;
      if (!normalize) flipped.scale(channels.slope, scale);
      const SampleRows<T> xs(from_x, rows, b), os(from_o, rows, b), gs(from_g, rows, b);
      const auto row_of_gu = [&](int64_t h) -> A* {
        if (h < 0 || h >= rows.height) return memory.data() + 3 * width * room;
        return memory.data() + h % 3 * width * room;
      };
      const auto compute_gu = [&](int64_t h) {
        if (h < 0 || h >= rows.height) return;
        A* to = row_of_gu(h);
        const Window<T> x_rows = xs.window(h), o_rows = os.window(h);
        for_channels<A>(C, [&](int64_t c, int64_t rest) {
          const In<A, T> g{gs[h], rest};
          if (!normalize) {
            for (int64_t w = 0; w < width; ++w) store<A>(to + w * room + c, g[w * C + c]);
            return;
          }
          const ChannelKernels<A, 9> kx(tables.x.data() + c, room);
          const ChannelKernels<A, TAPS> ko(tables.o.data() + c, room);
          const Lane<A> times = scale * load<A>(channels.slope.data() + c);
          const Lane<A> tilt = load<A>(channels.tilt.data() + c);
          const Lane<A> rise =
              load<A>(channels.level.data() + c) - tilt * load<A>(channels.mu.data() + c);
          for_places(width, [&](int64_t w, auto left, auto right) {
            const int64_t n = w * C + c;
            const Lane<A> u = kx(x_rows, n, C, rest, left, right) + ko(o_rows, n, C, rest, left, right);
            store<A>(to + w * room + c, times * g[n] - (rise + u * tilt));
          });
        });
      };
      compute_gu(first - 1);
      compute_gu(first);
      for (int64_t h = first; h < last; ++h) {
        compute_gu(h + 1);
        const Window<A> gu{{row_of_gu(h - 1), row_of_gu(h), row_of_gu(h + 1)}};
        const Window<T> x_rows = xs.window(h), o_rows = os.window(h);
        T *to_x = pointer<T>(grad_x) + rows.start(b, h), *to_o = pointer<T>(grad_o) + rows.start(b, h);
        for_channels<A>(C, [&](int64_t c, int64_t rest) {
          const ChannelKernels<A, 9> kx(flipped.x.data() + c, room, true);
          const ChannelKernels<A, TAPS> ko(flipped.o.data() + c, room, true);
          const In<A, T> g{gs[h], rest};
          for_places(width, [&](int64_t w, auto left, auto right) {
            const int64_t n = w * C + c, m = w * room + c;
            Out<A, T>{to_x, rest}.set(n, g[n] + kx(gu, m, room, 0, left, right));
            Out<A, T>{to_o, rest}.set(n, ko(gu, m, room, 0, left, right));
          });
          KernelSums<A, 9> of_x;
          KernelSums<A, TAPS> of_o;
          Lane<A> of_g = {};
          for_places(width, [&](int64_t w, auto left, auto right) {
            const Lane<A> here = load<A>(gu.rows[1] + w * room + c);
            of_x.add(here, x_rows, w * C + c, C, rest, left, right);
            of_o.add(here, o_rows, w * C + c, C, rest, left, right);
            of_g += here;
          });
          A* to = kernel_sums.data() + part * (9 + TAPS) * room + c;
          of_x.add_to(to, room);
          of_o.add_to(to + 9 * room, room);
          if (normalize) return;
          A* to_g = sums.data() + 2 * part * room + c;
          store<A>(to_g, load<A>(to_g) + of_g);
        });
      }
    }
  });
  if (!normalize) add_up_sums();
  for_each(C, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      FactorGradients<A, TAPS> gradients = factor_gradients;
      double sum_gu = channels.sum_gu[c];
      for (int64_t b = 0; b < rows.batch; ++b) {
        double folded[9 + TAPS] = {};
        for (int64_t part = b * rows.per_sample; part < (b + 1) * rows.per_sample; ++part)
          for (int t = 0; t < 9 + TAPS; ++t)
            folded[t] += kernel_sums[(part * (9 + TAPS) + t) * room + c];
        A of_x[9], of_o[TAPS];
        std::copy_n(folded, 9, of_x);
        std::copy_n(folded + 9, TAPS, of_o);
        const double constant = normalize ? 1 : double(scale_of(b)) * channels.slope[c];
        const double product = gradients.add(b * C + c, constant, of_x, of_o);
        if (!normalize) sum_gu += scale_of(b) * product;
      }
      gradients.write(c);
      pointer<A>(grad_gamma)[c] = A(sum_gu * channels.inverse[c]);
      pointer<A>(grad_beta)[c] = A(channels.sum_g[c]);
    }
  });
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
