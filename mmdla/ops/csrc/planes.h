// Planes (H, W) of a contiguous map (B, C, H, W): their depthwise 3x3 convolutions and their moments.
//
// A plane is read as one line of H * W elements. The neighbour in row i and column j of element n is
// element n + i * W + j, masked where that is another row's or another plane's. So all loops run over
// one index, and a plane stays in the cache while everything about it is computed.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "vectors.h"

namespace mmdla {

struct Grid {
  int64_t height, width;
  explicit Grid(const at::Tensor& map) : height(map.size(2)), width(map.size(3)) {}
  int64_t area() const { return height * width; }
  // how many elements before and after a plane are read with its neighbours
  template <typename A>
  int64_t reach() const { return width + 1 + lanes<A>; }
};

// A buffer for one plane, with zeros before and after it.
template <typename A>
class Line {
 public:
  explicit Line(Grid grid)
      : reach_(grid.reach<A>()), area_(grid.area()), buffer_(area_ + 2 * reach_, A(0)) {}

  A* begin() { return buffer_.data() + reach_; }
  void clear_end() { std::fill_n(begin() + area_, lanes<A>, A(0)); }

  template <typename T>
  const A* copy(const T* map) {
    for_lanes<A>(area_, [&](int64_t n, int64_t rest) {
      store<A>(begin() + n, In<A, T>{map, rest}[n]);
    });
    clear_end();
    return begin();
  }

 private:
  int64_t reach_, area_;
  std::vector<A> buffer_;
};

// The planes of a map as lines of type A, with readable memory before and after them. A plane is read
// where it is if its type is A and it is not at an end of the map, else from a copy.
template <typename A, typename T>
class Lines {
 public:
  Lines(const at::Tensor& map, Grid grid)
      : map_(map.data_ptr<T>()), area_(grid.area()), reach_(grid.reach<A>()), count_(map.numel()),
        copy_(grid) {}

  const A* operator[](int64_t plane) {
    const int64_t start = plane * area_;
    if constexpr (std::is_same_v<A, T>)
      if (start >= reach_ && start + area_ + reach_ <= count_) return map_ + start;
    return copy_.copy(map_ + start);
  }

 private:
  const T* map_;
  int64_t area_, reach_, count_;
  Line<A> copy_;
};

// Masks of the elements n ... n + lanes - 1 that have a left, right, upper, lower neighbour, or that
// are in the plane themselves.
template <typename A>
struct Inside {
  using Mask = decltype(Lane<A>{} < Lane<A>{});
  using Index = std::remove_reference_t<decltype(Mask{}[0])>;
  Mask left{}, right{};
  bool edge;  // in the first or last row; the three masks below are computed there only
  Mask above{}, below{}, within{};

  Mask column{}, element{};
  Index width, area, step;

  explicit Inside(Grid grid)
      : edge(true), width(grid.width), area(grid.area()), step(lanes<A> % grid.width) {
    for (int64_t i = 0; i < lanes<A>; ++i) element[i] = i, column[i] = i % grid.width;
    look(0);
  }

  void next(int64_t n) {
    element += Index(lanes<A>);
    column += step;
    column = column >= width ? column - width : column;
    look(n);
  }

  Lane<A> only(Mask mask, Lane<A> value) const { return mask ? value : Lane<A>{}; }

 private:
  void look(int64_t n) {
    left = column != 0;
    right = column != width - 1;
    edge = n < width || n + lanes<A> > area - width;
    if (edge) above = element >= width, below = element < area - width, within = element < area;
  }
};

// Calls f(n, inside) for each vector of a plane; `inside` are the masks of the first one.
template <typename A, typename F>
inline void for_plane(Inside<A> inside, F&& f) {
  for (int64_t n = 0; n < inside.area;) {
    f(n, inside);
    n += lanes<A>;
    inside.next(n);
  }
}

// A depthwise kernel of 3x3 taps, or of the centre tap alone, in registers.
template <typename A, int TAPS>
struct Kernel {
  Lane<A> taps[TAPS];

  explicit Kernel(const A* from) {
    for (int t = 0; t < TAPS; ++t) taps[t] = all<A>(from[t]);
  }

  Lane<A> operator()(const A* at, int64_t width, const Inside<A>& inside) const {
    if constexpr (TAPS == 1) return load<A>(at) * taps[0];
    const A *up = at - width, *down = at + width;
    Lane<A> left = load<A>(at - 1) * taps[3], middle = load<A>(at) * taps[4];
    Lane<A> right = load<A>(at + 1) * taps[5];
    if (__builtin_expect(inside.edge, 0)) {
      left += inside.only(inside.above, load<A>(up - 1)) * taps[0];
      middle += inside.only(inside.above, load<A>(up)) * taps[1];
      right += inside.only(inside.above, load<A>(up + 1)) * taps[2];
      left += inside.only(inside.below, load<A>(down - 1)) * taps[6];
      middle += inside.only(inside.below, load<A>(down)) * taps[7];
      right += inside.only(inside.below, load<A>(down + 1)) * taps[8];
    } else {
      left += load<A>(up - 1) * taps[0];
      middle += load<A>(up) * taps[1];
      right += load<A>(up + 1) * taps[2];
      left += load<A>(down - 1) * taps[6];
      middle += load<A>(down) * taps[7];
      right += load<A>(down + 1) * taps[8];
    }
    return middle + inside.only(inside.left, left) + inside.only(inside.right, right);
  }
};

// The gradients of dw(x; kernel) with TAPS taps, 9 or the centre alone, from the neighbours of each
// element in the gradient g of its output: sum_t kernel[t] * g[n - t] for x at n, and sum_n x[n] * g[n - t]
// for tap t. What is added up for a tap over a run of vectors is of type A, over all runs double.
template <typename A, int TAPS>
struct Gradient {
  A kernel[TAPS];
  const A* x;
  double taps[TAPS] = {};
  Lane<A> at, to_x, run[TAPS] = {};

  explicit Gradient(const A* x) : x(x) {}

  void begin(int64_t n, const Inside<A>& inside) {
    at = load<A>(x + n);
    if (__builtin_expect(inside.edge, 0)) at = inside.only(inside.within, at);  // 0 * inf would be NaN
    to_x = Lane<A>{};
  }

  template <int N>  // the neighbour of a 3x3 window in which tap 8 - N has its output
  void add(Lane<A> g) {
    constexpr int t = TAPS == 9 ? 8 - N : 0;
    if constexpr (TAPS == 9 || N == 4) {
      run[t] += at * g;
      to_x += kernel[t] * g;
    }
  }

  void end_run() {
    for (int t = 0; t < TAPS; ++t) taps[t] += total<A>(run[t]), run[t] = Lane<A>{};
  }
};

// Calls f(n, rest, of...) for each vector of a plane with its gradients, whose sums it completes. g is a
// Line: zero around the plane.
template <typename A, typename F, typename... Gradients>
inline void for_gradients(const A* g, const Inside<A>& first, F&& f, Gradients&... of) {
  const int64_t width = first.width, area = first.area;
  Inside<A> inside = first;
  for (int64_t n = 0; n < area;) {
    for (const int64_t end = std::min(n + 64 * lanes<A>, area); n < end;) {
      const A *here = g + n, *up = here - width, *down = here + width;
      (of.begin(n, inside), ...);
      Lane<A> value = inside.only(inside.left, load<A>(up - 1));
      (of.template add<0>(value), ...);
      value = load<A>(up);
      (of.template add<1>(value), ...);
      value = inside.only(inside.right, load<A>(up + 1));
      (of.template add<2>(value), ...);
      value = inside.only(inside.left, load<A>(here - 1));
      (of.template add<3>(value), ...);
      value = load<A>(here);
      (of.template add<4>(value), ...);
      value = inside.only(inside.right, load<A>(here + 1));
      (of.template add<5>(value), ...);
      value = inside.only(inside.left, load<A>(down - 1));
      (of.template add<6>(value), ...);
      value = load<A>(down);
      (of.template add<7>(value), ...);
      value = inside.only(inside.right, load<A>(down + 1));
      (of.template add<8>(value), ...);
      f(n, n + lanes<A> > area ? area - n : 0, of.to_x...);
      n += lanes<A>;
      inside.next(n);
    }
    (of.end_run(), ...);
  }
}

template <typename A>
struct Moments {
  A mean;
  double variance;  // biased
};

// Moments of a channel over its B planes, each of which fill(b, u) writes to u = us + b * padded(area).
// Elements from area up to padded(area) are overwritten.
template <typename A, typename F>
Moments<A> moments(A* us, int64_t B, int64_t area, F&& fill) {
  const int64_t room = padded<A>(area);
  double total = 0, squares = 0;
  for (int64_t b = 0; b < B; ++b) {
    A* u = us + b * room;
    fill(b, u);
    std::fill(u + area, u + room, A(0));
    total += sum_lanes<A>(room, [&](int64_t n, int64_t) { return load<A>(u + n); });
  }
  const A mean = A(total / (B * area));
  for (int64_t b = 0; b < B; ++b) {
    A* u = us + b * room;
    std::fill(u + area, u + room, mean);
    squares += sum_lanes<A>(room, [&](int64_t n, int64_t) {
      const Lane<A> difference = load<A>(u + n) - mean;
      return difference * difference;
    });
  }
  return {mean, squares / (B * area)};
}

}  // namespace mmdla
