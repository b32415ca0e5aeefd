// What the loops of light for channels_last maps share.
#pragma once

#include "light.h"
#include "rows.h"

namespace mmdla {

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

// Both maps of a part.
template <typename T, typename A>
struct TwoRings {
  const T *map_x, *map_o;
  Ring<A, T> x, o;

  TwoRings(const at::Tensor& x, const at::Tensor& o, const Rows& rows)
      : map_x(pointer<T>(x)), map_o(pointer<T>(o)), x(rows), o(rows) {}

  void read(int64_t sample, int64_t h, const Chunk& chunk) {
    x.read(map_x, sample, h, chunk);
    o.read(map_o, sample, h, chunk);
  }

  // Calls f(h) for the rows of a part, with their neighbours in both rings.
  template <typename F>
  void for_rows(const Rows& rows, int64_t part, const Chunk& chunk, F&& f) {
    const int64_t sample = rows.sample(part), first = rows.first(part);
    read(sample, first - 1, chunk);
    read(sample, first, chunk);
    for (int64_t h = first; h < rows.last(part); ++h) {
      read(sample, h + 1, chunk);
      f(h);
    }
  }
};

// Calls f(T(), taps) with the dtype of x and the number of taps of the kernel of o, known when compiled.
template <typename F>
void for_types(const at::Tensor& x, bool excite, F&& f) {
  FLOATING(x.scalar_type(), "mmdla::light", {
    excite ? f(scalar_t(), std::integral_constant<int, 9>())
           : f(scalar_t(), std::integral_constant<int, 1>());
  });
}

}  // namespace mmdla
