// Rows of a channels_last map (B, C, H, W), in which the C channels of a place (h, w) lie side by side,
// and their depthwise 3x3 convolutions. A vector holds channels of one place. Maps are read and written in
// their order; between, rows are kept in copies.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "vectors.h"

namespace mmdla {

// How the rows of a map are divided into parts, which threads share. It depends on the sizes alone, so
// that sums are the same with any number of threads.
struct Rows {
  int64_t batch, channels, height, width, each, per_sample;

  explicit Rows(const at::Tensor& map)
      : batch(map.size(0)), channels(map.size(1)), height(map.size(2)), width(map.size(3)) {
    const int64_t shortest = batch < 8 ? (height + 3) / 4 : height;
    each = std::min(std::max<int64_t>(1, 512 / width), shortest);
    per_sample = (height + each - 1) / each;
  }
  int64_t parts() const { return batch * per_sample; }
  int64_t sample(int64_t part) const { return part / per_sample; }
  int64_t first(int64_t part) const { return part % per_sample * each; }
  int64_t last(int64_t part) const { return std::min(first(part) + each, height); }
  int64_t places(int64_t part) const { return (last(part) - first(part)) * width; }
  int64_t row_size() const { return width * channels; }
  int64_t start(int64_t sample, int64_t h) const { return (sample * height + h) * row_size(); }
};

// Channels begin ... end - 1 of a map, of which four rows fit the second cache.
struct Chunk {
  int64_t begin, end;

  // calls f(c, rest) for each vector; see for_lanes
  template <typename A, typename F>
  void for_lanes(F&& f) const {
    for (int64_t c = begin; c < end; c += lanes<A>) f(c, end - c < lanes<A> ? end - c : 0);
  }
};

// Calls f(part, chunk) for parts begin ... end - 1 and each chunk of channels.
template <typename A, typename F>
void for_chunks(const Rows& rows, int64_t begin, int64_t end, F&& f) {
  const int64_t most = (int64_t(1) << 18) / int64_t(4 * (rows.width + 2) * sizeof(A));
  const int64_t size = std::max(most / lanes<A> * lanes<A>, lanes<A>);
  for (int64_t part = begin; part < end; ++part)
    for (int64_t c = 0; c < rows.channels; c += size)
      f(part, Chunk{c, std::min(c + size, rows.channels)});
}

// Four rows of a map, h - 1 to h + 2, with zeros around the map. Each vector of channels has its rows
// together, place after place, so that it is convolved in the first cache.
template <typename A, typename T>
class Ring {
 public:
  explicit Ring(const Rows& rows)
      : rows_(rows), step_((rows.width + 2) * lanes<A>),
        lines_(4 * step_ * padded<A>(rows.channels) / lanes<A>) {}

  // the vector of channels c ... at place w of row h is at row(h, c) + w * lanes
  A* row(int64_t h, int64_t c) { return lines_.data() + (c / lanes<A> * 4 + (h & 3)) * step_ + lanes<A>; }

  void read(const T* map, int64_t sample, int64_t h, const Chunk& chunk) {
    const bool exists = h >= 0 && h < rows_.height;
    const T* from = map + (exists ? rows_.start(sample, h) : 0);
    const int64_t next = h + 1 < rows_.height ? rows_.row_size() : 0;
    for (int64_t w = 0; w < rows_.width; ++w, from += rows_.channels)
      chunk.for_lanes<A>([&](int64_t c, int64_t rest) {
        __builtin_prefetch(from + next + c);
        store<A>(row(h, c) + w * lanes<A>, exists ? In<A, T>{from, rest}[c] : Lane<A>{});
      });
  }

  // Writes row h to a map.
  void write(T* map, int64_t sample, int64_t h, const Chunk& chunk) {
    T* to = map + rows_.start(sample, h);
    for (int64_t w = 0; w < rows_.width; ++w, to += rows_.channels)
      chunk.for_lanes<A>([&](int64_t c, int64_t rest) {
        Out<A, T>{to, rest}.set(c, load<A>(row(h, c) + w * lanes<A>));
      });
  }

 private:
  const Rows& rows_;
  int64_t step_;
  std::vector<A> lines_;
};

// A row of a ring with its neighbours, of one vector of channels.
template <typename A>
struct Window {
  const A* rows[3];

  template <typename T>
  Window(Ring<A, T>& ring, int64_t h, int64_t c)
      : rows{ring.row(h - 1, c), ring.row(h, c), ring.row(h + 1, c)} {}

  Lane<A> at(int64_t w, int tap) const { return load<A>(rows[tap / 3] + (w + tap % 3 - 1) * lanes<A>); }
};

// A vector of channels' depthwise kernels of 3x3 taps, or of the centre tap alone.
template <typename A, int TAPS>
struct ChannelKernels {
  Lane<A> taps[TAPS];

  Lane<A> operator()(const Window<A>& x, int64_t w) const {
    if constexpr (TAPS == 1) return x.at(w, 4) * taps[0];
    Lane<A> sums[3] = {};
    for (int t = 0; t < TAPS; ++t) sums[t % 3] += x.at(w, t) * taps[t];
    return sums[0] + sums[1] + sums[2];
  }

  // convolves the gradient of the output into that of the input
  ChannelKernels flipped() const {
    ChannelKernels other;
    for (int t = 0; t < TAPS; ++t) other.taps[t] = taps[TAPS - 1 - t];
    return other;
  }
};

// Sums of the products of g with x and its neighbours: the gradients of kernels.
template <typename A, int TAPS>
struct KernelSums {
  Lane<A> sums[TAPS] = {};

  void add(Lane<A> g, const Window<A>& x, int64_t w) {
    for (int t = 0; t < TAPS; ++t) sums[t] += g * x.at(w, TAPS == 1 ? 4 : t);
  }
  void add_to(A* table, int64_t room) const {
    for (int t = 0; t < TAPS; ++t) store<A>(table + t * room, load<A>(table + t * room) + sums[t]);
  }
};

}  // namespace mmdla
