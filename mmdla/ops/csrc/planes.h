// Planes (H, W) of a contiguous map (B, C, H, W), and depthwise 3x3 convolutions of them.
//
// A plane is seen as one line: the neighbour (i, j) of place n is the place n + i * W + j, and what
// that finds beyond the ends of rows is left out. All loops are straight, and a plane is in the cache
// while everything about it is computed.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "vectors.h"

namespace mmdla {

struct Grid {
  int64_t height, width;
  explicit Grid(const at::Tensor& map) : height(map.size(2)), width(map.size(3)) {}
  int64_t area() const { return height * width; }
  // how far the neighbours of a plane's lanes may lie before and after it
  template <typename A>
  int64_t reach() const { return width + 1 + lanes<A>; }
};

// The line of one plane in a buffer of its own, with zeros all around.
template <typename A>
class Line {
 public:
  explicit Line(Grid grid)
      : reach_(grid.reach<A>()), area_(grid.area()), places_(area_ + 2 * reach_, A(0)) {}

  A* begin() { return places_.data() + reach_; }
  void clear_end() { std::fill_n(begin() + area_, lanes<A>, A(0)); }

  template <typename T>
  const A* copy(const T* map) {
    std::copy_n(map, area_, begin());
    clear_end();
    return begin();
  }

 private:
  int64_t reach_, area_;
  std::vector<A> places_;
};

// The planes of a map as lines of A that may be read up to their reach: in place where the dtype is
// A and the map goes on, else copied.
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

// Which neighbours of the places n ... n + lanes - 1 lie in the plane.
template <typename A>
struct Inside {
  using Mask = decltype(Lane<A>{} < Lane<A>{});
  using Index = std::remove_reference_t<decltype(Mask{}[0])>;
  Mask left{}, right{};
  bool edge;  // whether the first or the last row is touched; only then are the others set
  Mask above{}, below{}, within{};

  Mask column{}, place{};
  Index width, area, step;

  explicit Inside(Grid grid)
      : edge(true), width(grid.width), area(grid.area()), step(lanes<A> % grid.width) {
    for (int64_t i = 0; i < lanes<A>; ++i) place[i] = i, column[i] = i % grid.width;
    look(0);
  }

  void next(int64_t n) {
    place += Index(lanes<A>);
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
    if (edge) above = place >= width, below = place < area - width, within = place < area;
  }
};

// f(n, inside) for the lanes of a plane, from what is inside of its first
template <typename A, typename F>
inline void for_places(Inside<A> inside, F&& f) {
  for (int64_t n = 0; n < inside.area;) {
    f(n, inside);
    n += lanes<A>;
    inside.next(n);
  }
}

// A depthwise kernel of 3x3 taps, or of the centre alone, in registers.
template <typename A, int TAPS>
struct Kernel {
  Lane<A> taps[TAPS];

  // `turned`: for the gradient to what was correlated
  explicit Kernel(const A* from, bool turned = false) {
    for (int t = 0; t < TAPS; ++t) taps[t] = all<A>(from[turned ? TAPS - 1 - t : t]);
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

// The gradient to a kernel: sums of g over the shifted plane. g is zero after its end.
template <typename A, int TAPS>
void kernel_gradient(const A* g, const A* x, const Inside<A>& first, A* gradient) {
  const int64_t width = first.width;
  Lane<A> sums[TAPS] = {};
  if constexpr (TAPS == 1) {
    for_places<A>(first, [&](int64_t n, const Inside<A>& inside) {
      const Lane<A> at = load<A>(x + n);
      sums[0] += load<A>(g + n) * (inside.edge ? inside.only(inside.within, at) : at);
    });
  } else {
    for_places<A>(first, [&](int64_t n, const Inside<A>& inside) {
      const Lane<A> of = load<A>(g + n);
      const Lane<A> left = inside.only(inside.left, of), right = inside.only(inside.right, of);
      const A *at = x + n, *up = at - width, *down = at + width;
      if (__builtin_expect(inside.edge, 0)) {  // not a value of another plane, even times zero
        sums[0] += left * inside.only(inside.above & inside.left, load<A>(up - 1));
        sums[1] += of * inside.only(inside.above & inside.within, load<A>(up));
        sums[2] += right * inside.only(inside.above & inside.right & inside.within, load<A>(up + 1));
        sums[3] += left * inside.only(inside.left & inside.within, load<A>(at - 1));
        sums[4] += of * inside.only(inside.within, load<A>(at));
        sums[5] += right * inside.only(inside.right & inside.within, load<A>(at + 1));
        sums[6] += left * inside.only(inside.below & inside.left, load<A>(down - 1));
        sums[7] += of * inside.only(inside.below, load<A>(down));
        sums[8] += right * inside.only(inside.below & inside.right, load<A>(down + 1));
      } else {
        sums[3] += left * load<A>(at - 1);
        sums[4] += of * load<A>(at);
        sums[5] += right * load<A>(at + 1);
        sums[0] += left * load<A>(up - 1);
        sums[1] += of * load<A>(up);
        sums[2] += right * load<A>(up + 1);
        sums[6] += left * load<A>(down - 1);
        sums[7] += of * load<A>(down);
        sums[8] += right * load<A>(down + 1);
      }
    });
  }
  for (int t = 0; t < TAPS; ++t) gradient[t] = total<A>(sums[t]);
}

// Sum over a line that is zero after its end, or over one of squares of differences from a value
// that fills its end.
template <typename A, typename F>
double sum_line(int64_t area, F&& f) {
  return sum_lanes<A>(padded<A>(area), [&](int64_t n, int64_t) { return f(n); });
}

}  // namespace mmdla
