// light for channels_last maps: see light.cpp. With batch statistics u is computed twice, which costs less
// than to write and read it.
#include <cmath>

#include "kernels.h"
#include "light_nhwc.h"

namespace mmdla {
namespace {

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
void moments_of_u(const Rows& rows, const ChannelFactors<A, TAPS>& channels, const Tensor& x,
                  const Tensor& o, A* mean, A* variance) {
  const int64_t C = rows.channels, width = rows.width;
  std::vector<RunningMoments> parts(rows.parts() * C);
  for_each(rows.parts(), [&](int64_t begin, int64_t end) {
    TwoRings<T, A> rings(x, o, rows);
    std::vector<A> line(width * lanes<A>);
    for_chunks<A>(rows, begin, end, [&](int64_t part, const Chunk& chunk) {
      const int64_t b = rows.sample(part), first = rows.first(part);
      rings.for_rows(rows, part, chunk, [&](int64_t h) { chunk.for_lanes<A>([&](int64_t c, int64_t rest) {
        const auto kx = channels.of_x(b, c, rest, all<A>(1));
        const auto ko = channels.of_o(b, c, rest, all<A>(1));
        const Window<A> at_x(rings.x, h, c), at_o(rings.o, h, c);
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
        RunningMoments* to = parts.data() + part * C + c;
        for (int64_t i = 0; i < (rest ? rest : lanes<A>); ++i)
          to[i].join(mu[i], squares[i], double(h - first) * width, width);
      }); });
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
    Ring<A, T> results(rows);
    for_chunks<A>(rows, begin, end, [&](int64_t part, const Chunk& chunk) {
      const int64_t b = rows.sample(part);
      const A scale = scales ? scales[b] : A(1);
      rings.for_rows(rows, part, chunk, [&](int64_t h) {
        chunk.for_lanes<A>([&](int64_t c, int64_t rest) {
          const Lane<A> times = scale * load<A>(slope.data() + c);
          const Lane<A> plus = scale * load<A>(offset.data() + c);
          const auto kx = channels.of_x(b, c, rest, times);
          const auto ko = channels.of_o(b, c, rest, times);
          const Window<A> at_x(rings.x, h, c), at_o(rings.o, h, c);
          A* to = results.row(h, c);
          for (int64_t w = 0; w < rows.width; ++w)
            store<A>(to + w * lanes<A>, at_x.at(w, 4) + plus + kx(at_x, w) + ko(at_o, w));
        });
        results.write(pointer<T>(out), b, h, chunk);
      });
    });
  });
}

}  // namespace

void light_forward_nhwc(const Tensor& x, const Tensor& o, const Tensor& value_weight,
                        const Tensor& score, const Tensor& lambda_l, const optional<Tensor>& d,
                        const optional<Tensor>& excite_weight, const Tensor& gamma, const Tensor& beta,
                        const optional<Tensor>& drop_path_scale, double eps, bool normalize,
                        const Tensor& out, const Tensor& mean, const Tensor& variance) {
  for_types(x, excite_weight.has_value(), [&](auto type, auto taps) {
    using T = decltype(type);
    using A = at::opmath_type<T>;
    const Factors<A, taps> factors(value_weight, score, lambda_l, d, excite_weight);
    forward<T, A, taps>(x, o, factors, gamma, beta, drop_path_scale, eps, normalize, out, mean,
                        variance);
  });
}

}  // namespace mmdla
