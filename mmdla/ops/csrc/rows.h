// Rows of a channels_last map (B, C, H, W), in which the C channels of a place (h, w) lie side by side,
// and their depthwise 3x3 convolutions. A vector holds channels of one place.
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

// A row and its neighbours; outside the map they are zeros.
template <typename T>
struct Window {
  const T* rows[3];
};

// The rows of one sample of a map.
template <typename T>
class SampleRows {
 public:
  SampleRows(const T* map, const Rows& rows, int64_t sample)
      : map_(map + rows.start(sample, 0)), size_(rows.row_size()), height_(rows.height),
        zeros_(size_, T(0)) {}

  const T* operator[](int64_t h) const {
    return h < 0 || h >= height_ ? zeros_.data() : map_ + h * size_;
  }
  Window<T> window(int64_t h) const {
    fetch((*this)[h + 2]);
    return {{(*this)[h - 1], (*this)[h], (*this)[h + 1]}};
  }

 private:
  // the loops below go through a row one vector of channels after the other
  void fetch(const T* row) const {
    for (int64_t n = 0; n < size_; n += 64 / int64_t(sizeof(T))) __builtin_prefetch(row + n);
  }

  const T* map_;
  int64_t size_, height_;
  std::vector<T> zeros_;
};

// Calls f(w, left, right) for each place of a row; it is known at compile time which neighbours it has.
template <typename F>
inline void for_places(int64_t width, F&& f) {
  if (width == 1) return f(int64_t(0), std::false_type(), std::false_type());
  f(int64_t(0), std::false_type(), std::true_type());
  for (int64_t w = 1; w < width - 1; ++w) f(w, std::true_type(), std::true_type());
  f(width - 1, std::true_type(), std::false_type());
}

// Calls f(c, rest) for each vector of channels; see for_lanes.
template <typename A, typename F>
inline void for_channels(int64_t channels, F&& f) {
  for_lanes<A>(channels, std::forward<F>(f));
}

// A vector of channels' depthwise kernels of 3x3 taps, or of the centre tap alone.
template <typename A, int TAPS>
struct ChannelKernels {
  Lane<A> taps[TAPS];

  // `from` holds the taps one after the other, `room` channels each
  ChannelKernels(const A* from, int64_t room, bool flipped = false) {
    for (int t = 0; t < TAPS; ++t) taps[t] = load<A>(from + (flipped ? TAPS - 1 - t : t) * room);
  }

  // The convolution at element n, with places `step` elements apart.
  template <typename T, typename Left, typename Right>
  Lane<A> operator()(const Window<T>& x, int64_t n, int64_t step, int64_t rest, Left, Right) const {
    if constexpr (TAPS == 1) return In<A, T>{x.rows[1], rest}[n] * taps[0];
    Lane<A> left = {}, middle = {}, right = {};
    for (int i = 0; i < 3 && TAPS == 9; ++i) {
      const In<A, T> row{x.rows[i], rest};
      if constexpr (Left::value) left += row[n - step] * taps[3 * i];
      middle += row[n] * taps[3 * i + 1];
      if constexpr (Right::value) right += row[n + step] * taps[3 * i + 2];
    }
    return middle + left + right;
  }
};

// Sums of the products of g with x and its neighbours: the gradients of kernels.
template <typename A, int TAPS>
struct KernelSums {
  Lane<A> sums[TAPS] = {};

  template <typename T, typename Left, typename Right>
  void add(Lane<A> g, const Window<T>& x, int64_t n, int64_t step, int64_t rest, Left, Right) {
    if constexpr (TAPS == 1) sums[0] += g * In<A, T>{x.rows[1], rest}[n];
    for (int i = 0; i < 3 && TAPS == 9; ++i) {
      const In<A, T> row{x.rows[i], rest};
      if constexpr (Left::value) sums[3 * i] += g * row[n - step];
      sums[3 * i + 1] += g * row[n];
      if constexpr (Right::value) sums[3 * i + 2] += g * row[n + step];
    }
  }

  void add_to(A* table, int64_t room) const {
    for (int t = 0; t < TAPS; ++t) store<A>(table + t * room, load<A>(table + t * room) + sums[t]);
  }
};

}  // namespace mmdla
