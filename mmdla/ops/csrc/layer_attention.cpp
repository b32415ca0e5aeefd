// CPU kernels of layer attention on contiguous (B, C, H, W) maps. mmdla/ops/*.py hold the equations,
// the references and the dispatch; docs/performance.md counts the passes over memory.
//
// A plane (H, W) is seen as one line: the neighbour (i, j) of place n is the place n + i * W + j, and
// what that finds beyond the ends of rows is left out. All loops are straight, and a plane is in the
// cache while everything about it is computed.
#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <tuple>
#include <type_traits>
#include <vector>

namespace {

using at::Tensor;
using std::optional;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// ------------------------------------------------------------------------------------ vectors

template <typename A>
struct Vector {
  typedef A type __attribute__((vector_size(64)));
};

template <typename A>
using Lane = typename Vector<A>::type;

template <typename A>
constexpr int64_t lanes = 64 / sizeof(A);

template <typename A, typename T>
inline Lane<A> load(const T* from) {
  Lane<A> value;
  if constexpr (std::is_same_v<T, A>)
    std::memcpy(&value, from, sizeof(value));
  else
    for (int64_t i = 0; i < lanes<A>; ++i) value[i] = A(from[i]);
  return value;
}

template <typename A, typename T>
inline void store(T* to, Lane<A> value) {
  if constexpr (std::is_same_v<T, A>)
    std::memcpy(to, &value, sizeof(value));
  else
    for (int64_t i = 0; i < lanes<A>; ++i) to[i] = T(value[i]);
}

template <typename A>
inline Lane<A> all(A value) {
  return Lane<A>{} + value;
}

template <typename A>
inline Lane<A> relu(Lane<A> value) {  // NaN stays, as in PyTorch
  return value < 0 ? Lane<A>{} : value;
}

template <typename A>
inline A total(Lane<A> value) {
  typedef A Half __attribute__((vector_size(32)));
  typedef A Quarter __attribute__((vector_size(16)));
  Half halves[2];
  std::memcpy(halves, &value, sizeof(halves));
  halves[0] += halves[1];
  Quarter quarters[2];
  std::memcpy(quarters, halves, sizeof(quarters));
  quarters[0] += quarters[1];
  A sum = 0;
  for (size_t i = 0; i < sizeof(Quarter) / sizeof(A); ++i) sum += quarters[0][i];
  return sum;
}

template <typename A>
int64_t padded(int64_t count) {
  return (count + lanes<A> - 1) / lanes<A> * lanes<A>;
}

// f(n, vector access) over 0 ... count - 1: whole lanes, and for the rest one lane over copies.
// Maps are given to f as In and Out, so that it is written once.
template <typename A, typename T>
struct In {
  const T* map;
  int64_t rest;  // places that are left, less than a lane, or 0 for a whole one
  Lane<A> operator[](int64_t n) const {
    if (!rest) return load<A>(map + n);
    Lane<A> value = {};
    for (int64_t i = 0; i < rest; ++i) value[i] = A(map[n + i]);
    return value;
  }
};

template <typename A, typename T>
struct Out {
  T* map;
  int64_t rest;
  void set(int64_t n, Lane<A> value) const {
    if (!rest) return store<A>(map + n, value);
    for (int64_t i = 0; i < rest; ++i) map[n + i] = T(value[i]);
  }
};

template <typename A, typename F>
inline void for_lanes(int64_t count, F&& f) {
  const int64_t whole = count / lanes<A> * lanes<A>;
  for (int64_t n = 0; n < whole; n += lanes<A>) f(n, int64_t(0));
  if (whole < count) f(whole, count - whole);
}

// The sum of f over 0 ... count - 1 in short runs of A, their totals in double.
template <typename A, typename F>
inline double sum_lanes(int64_t count, F&& f) {
  constexpr int64_t run = 16 * lanes<A>;
  double sum = 0;
  for (int64_t start = 0; start < count; start += run) {
    Lane<A> part = {};
    for_lanes<A>(std::min(run, count - start),
                 [&](int64_t n, int64_t rest) { part += f(start + n, rest); });
    sum += total<A>(part);
  }
  return sum;
}

// ------------------------------------------------------------------------------------- planes

struct Grid {
  int64_t height, width;
  explicit Grid(const Tensor& map) : height(map.size(2)), width(map.size(3)) {}
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
  Lines(const Tensor& map, Grid grid)
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
  const int64_t area = first.area, width = first.width;
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

// ------------------------------------------------------------------------------------ tensors

template <typename T>
T* pointer(const Tensor& tensor) {
  return tensor.data_ptr<T>();
}

template <typename T>
T* pointer(const optional<Tensor>& tensor) {
  return tensor && tensor->defined() ? tensor->data_ptr<T>() : nullptr;
}

template <typename T>
std::vector<T*> pointers(at::TensorList maps) {
  std::vector<T*> found;
  for (const Tensor& map : maps) found.push_back(pointer<T>(map));
  return found;
}

#define FLOATING(TYPE, NAME, ...)                                             \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, TYPE, NAME, [&] { \
    using A = at::opmath_type<scalar_t>;                                      \
    __VA_ARGS__                                                               \
  })

template <typename F>
void for_each(int64_t count, F&& work) {
  at::parallel_for(0, count, 1, std::forward<F>(work));
}

bool replaceable(const Tensor& grad, const Tensor& like) {
  return grad.is_contiguous() && grad.scalar_type() == like.scalar_type();
}

// A gradient's own memory where nobody else holds it, as autograd itself accumulates, or new memory.
Tensor own_memory(const Tensor& grad, const Tensor& like) {
  const bool alone = grad.use_count() == 1 && grad.storage().use_count() == 1;
  return alone && replaceable(grad, like) ? grad : at::empty_like(like);
}

Tensor gradient(const Tensor& grad, const Tensor& like) {
  if (!grad.defined()) return at::zeros_like(like);
  return replaceable(grad, like) ? grad : grad.to(like.scalar_type()).contiguous();
}

// as every operation of PyTorch does for what it overwrites
void overwritten(const Tensor& tensor) {
  if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
}

void check(bool fits, const char* what) { TORCH_CHECK(fits, "mmdla: ", what, " do not fit together."); }

void refuse_second_derivatives() {
  TORCH_CHECK(!at::GradMode::is_enabled(),
              "the fast layer attention has no second derivatives: run it under "
              "mmdla.ops.use('reference').");
}

// ---------------------------------------------------------------- x = ReLU(branch + shortcut)

// Overwrites branch with x; returns the means of x and, if asked, of the shortcut: (B, C).
std::tuple<Tensor, Tensor> residual_(const Tensor& branch, const Tensor& shortcut, bool both) {
  check(branch.sizes() == shortcut.sizes(), "branch and shortcut");
  overwritten(branch);
  const int64_t planes = branch.size(0) * branch.size(1), area = Grid(branch).area();
  Tensor y = at::empty({branch.size(0), branch.size(1)}, branch.options());
  Tensor z = both ? at::empty_like(y) : at::empty({0}, branch.options());
  FLOATING(branch.scalar_type(), "mmdla::residual", {
    auto *x = pointer<scalar_t>(branch), *s = pointer<scalar_t>(shortcut);
    auto *py = pointer<scalar_t>(y), *pz = pointer<scalar_t>(z);
    for_each(planes, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const auto *from = s + p * area;
        auto* to = x + p * area;
        double shortcuts = 0;
        const double sum = sum_lanes<A>(area, [&](int64_t n, int64_t rest) {
          const Lane<A> value =
              relu<A>(In<A, scalar_t>{to, rest}[n] + In<A, scalar_t>{from, rest}[n]);
          Out<A, scalar_t>{to, rest}.set(n, value);
          return value;
        });
        if (both)
          shortcuts = sum_lanes<A>(
              area, [&](int64_t n, int64_t rest) { return In<A, scalar_t>{from, rest}[n]; });
        py[p] = scalar_t(sum / area);
        if (both) pz[p] = scalar_t(shortcuts / area);
      }
    });
  });
  return {y, z};
}

struct Residual : torch::autograd::Function<Residual> {
  // returns x, the shortcut (for whoever reads it next), y, z
  static variable_list forward(AutogradContext* ctx, Tensor branch, Tensor shortcut, bool both) {
    auto [y, z] = residual_(branch, shortcut, both);
    ctx->mark_dirty({branch});
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({branch});
    return {branch, shortcut, y, z};
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    refuse_second_derivatives();
    const Tensor x = ctx->get_saved_variables()[0];
    const int64_t planes = x.size(0) * x.size(1), area = Grid(x).area();
    if (!grads[0].defined()) grads[0] = at::zeros_like(x);
    Tensor to_branch = own_memory(grads[0], x), to_shortcut = to_branch;
    const Tensor of_x = gradient(grads[0], x);
    optional<Tensor> of_shortcut, of_y, of_z;
    if (grads[2].defined()) of_y = grads[2].to(x.scalar_type()).contiguous();
    if (grads[3].defined() && grads[3].numel()) of_z = grads[3].to(x.scalar_type()).contiguous();
    const bool apart = grads[1].defined() || of_z;
    if (apart) {
      to_shortcut = grads[1].defined() ? own_memory(grads[1], x) : at::empty_like(x);
      of_shortcut = gradient(grads[1], x);
    }
    FLOATING(x.scalar_type(), "mmdla::residual_backward", {
      const auto *px = pointer<scalar_t>(x), *pg = pointer<scalar_t>(of_x);
      const auto *ps = pointer<scalar_t>(of_shortcut), *py = pointer<scalar_t>(of_y);
      const auto* pz = pointer<scalar_t>(of_z);
      auto *tb = pointer<scalar_t>(to_branch), *ts = pointer<scalar_t>(to_shortcut);
      for_each(planes, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
          const int64_t at = p * area;
          const Lane<A> plus_y = all<A>(py ? A(py[p]) / area : A(0));
          const Lane<A> plus_z = all<A>(pz ? A(pz[p]) / area : A(0));
          for_lanes<A>(area, [&](int64_t n, int64_t rest) {
            const Lane<A> value = In<A, scalar_t>{px + at, rest}[n];
            const Lane<A> g = In<A, scalar_t>{pg + at, rest}[n] + plus_y;
            const Lane<A> passed = value <= 0 ? Lane<A>{} : g;
            if (apart)
              Out<A, scalar_t>{ts + at, rest}.set(n, In<A, scalar_t>{ps + at, rest}[n] + plus_z + passed);
            Out<A, scalar_t>{tb + at, rest}.set(n, passed);
          });
        }
      });
    });
    return {to_branch, to_shortcut, Tensor()};
  }
};

std::tuple<Tensor, Tensor, Tensor, Tensor> residual(Tensor branch, Tensor shortcut, bool both) {
  auto out = Residual::apply(branch, shortcut, both);
  return {out[0], out[1], out[2], out[3]};
}

// out = x + scale * norm(decay * (gate * o + dw(o; excite)) + score * dw(x; value))

// value and excite are (C, 1, 3, 3), decay (C, ), score and gate (B, C); without excite o has the
// centre tap alone, without gate it is 1.
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

// norm(u) = gamma * u + beta, or with `normalize` by the mean and variance of the batch, which are
// then written. out may be x.
template <typename T, typename A, int TAPS>
void light_forward(const Tensor& x, const Tensor& o, const Tensor& value, const Tensor& score,
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

void light_out(const Tensor& x, const Tensor& o, const Tensor& value, const Tensor& score,
               const Tensor& decay, const optional<Tensor>& gate, const optional<Tensor>& excite,
               const Tensor& gamma, const Tensor& beta, const optional<Tensor>& scale, double eps,
               bool normalize, const Tensor& out, const Tensor& mean, const Tensor& variance) {
  const int64_t B = x.size(0), C = x.size(1);
  const auto per_sample = [&](const Tensor& t) { return t.sizes() == at::IntArrayRef({B, C}); };
  check(x.sizes() == o.sizes() && out.sizes() == x.sizes() && value.numel() == 9 * C &&
            per_sample(score) && decay.numel() == C && (!gate || per_sample(*gate)) &&
            (!excite || excite->numel() == 9 * C) && gamma.numel() == C && beta.numel() == C &&
            (!scale || scale->numel() == B),
        "maps and factors of a light layer");
  overwritten(out);
  FLOATING(x.scalar_type(), "mmdla::light", {
    const auto run = excite ? light_forward<scalar_t, A, 9> : light_forward<scalar_t, A, 1>;
    run(x, o, value, score, decay, gate, excite, gamma, beta, scale, eps, normalize, out, mean, variance);
  });
}

// to_x may be grad.
template <typename T, typename A, int TAPS>
void light_gradients(const Tensor& grad, const Tensor& x, const Tensor& o, const Tensor& value,
                     const Tensor& score, const Tensor& decay, const optional<Tensor>& gate,
                     const optional<Tensor>& excite, const Tensor& gamma, const optional<Tensor>& scale,
                     const Tensor& mean, const Tensor& variance, double eps, bool normalize,
                     const Tensor& to_x, const Tensor& to_o, const Tensor& to_value,
                     const Tensor& to_score, const Tensor& to_decay, const Tensor& to_gate,
                     const Tensor& to_excite, const Tensor& to_gamma, const Tensor& to_beta) {
  const Grid grid(x);
  const int64_t B = x.size(0), C = x.size(1), area = grid.area(), width = grid.width;
  const A *factors = pointer<A>(scale), *gammas = pointer<A>(gamma);
  const A *means = pointer<A>(mean), *variances = pointer<A>(variance);
  const Factors<A, TAPS> folded(value, score, decay, gate, excite);
  A *to_values = pointer<A>(to_value), *to_scores = pointer<A>(to_score);
  A *to_decays = pointer<A>(to_decay), *to_excites = excite ? pointer<A>(to_excite) : nullptr;
  A *to_gates = gate ? pointer<A>(to_gate) : nullptr;
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

struct Light : torch::autograd::Function<Light> {
  // returns out, mean, variance
  static variable_list forward(AutogradContext* ctx, Tensor x, Tensor o, Tensor value, Tensor score,
                               Tensor decay, optional<Tensor> gate, optional<Tensor> excite,
                               Tensor gamma, Tensor beta, optional<Tensor> scale, double eps,
                               bool normalize) {
    Tensor out = at::empty_like(x), mean = at::empty_like(gamma), variance = at::empty_like(gamma);
    light_out(x, o, value, score, decay, gate, excite, gamma, beta, scale, eps, normalize, out, mean,
              variance);
    ctx->save_for_backward({x, o, value, score, decay, gate.value_or(Tensor()),
                            excite.value_or(Tensor()), gamma, scale.value_or(Tensor()), mean,
                            variance});
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["normalize"] = normalize;
    ctx->mark_non_differentiable({mean, variance});
    return {out, mean, variance};
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    refuse_second_derivatives();
    const auto saved = ctx->get_saved_variables();
    const auto maybe = [&](int i) {
      return saved[i].defined() ? optional<Tensor>(saved[i]) : std::nullopt;
    };
    const Tensor &x = saved[0], &o = saved[1], &value = saved[2], &score = saved[3];
    const Tensor &decay = saved[4], &gamma = saved[7], &mean = saved[9], &variance = saved[10];
    const optional<Tensor> gate = maybe(5), excite = maybe(6), scale = maybe(8);
    const double eps = ctx->saved_data["eps"].toDouble();
    const bool normalize = ctx->saved_data["normalize"].toBool();
    Tensor to_x = own_memory(grads[0], x), to_o = at::empty_like(o);
    const Tensor grad = gradient(grads[0], x);
    Tensor to_value = at::empty_like(value), to_score = at::empty_like(score);
    Tensor to_decay = at::empty_like(decay), to_gate, to_excite;
    if (gate) to_gate = at::empty_like(*gate);
    if (excite) to_excite = at::empty_like(*excite);
    Tensor to_gamma = at::empty_like(gamma), to_beta = at::empty_like(gamma);
    FLOATING(x.scalar_type(), "mmdla::light_backward", {
      const auto run = excite ? light_gradients<scalar_t, A, 9> : light_gradients<scalar_t, A, 1>;
      run(grad, x, o, value, score, decay, gate, excite, gamma, scale, mean, variance, eps, normalize,
          to_x, to_o, to_value, to_score, to_decay, to_gate, to_excite, to_gamma, to_beta);
    });
    return {to_x,      to_o,     to_value, to_score, to_decay, to_gate,
            to_excite, to_gamma, to_beta,  Tensor(), Tensor(), Tensor()};
  }
};

std::tuple<Tensor, Tensor, Tensor> light(Tensor x, Tensor o, Tensor value, Tensor score, Tensor decay,
                                         optional<Tensor> gate, optional<Tensor> excite, Tensor gamma,
                                         Tensor beta, optional<Tensor> scale, double eps,
                                         bool normalize) {
  auto out = Light::apply(x, o, value, score, decay, gate, excite, gamma, beta, scale, eps, normalize);
  return {out[0], out[1], out[2]};
}

// ---------- v_l = dw(x; kernel); out = x + scale * ReLU(norm(sum_t weights_t * values_t))

// u = sum_t weights[t] * values[t] of the plane at `start`, with zeros up to a whole lane
template <typename T, typename A>
void combine(const std::vector<T*>& values, const A* weights, int64_t step, int64_t start,
             int64_t area, A* u) {
  for (size_t t = 0; t < values.size(); ++t) {
    const A weight = weights[t * step];
    const T* value = values[t] + start;
    for_lanes<A>(area, [&](int64_t n, int64_t rest) {
      const Lane<A> part = weight * In<A, T>{value, rest}[n];
      store<A>(u + n, t ? load<A>(u + n) + part : part);
    });
  }
}

// `past` are the maps of the earlier layers, weights (B, l, C). Writes out, the newest map, and the
// moments. out may be x.
void base_out(const Tensor& x, const Tensor& kernel, const Tensor& weights, at::TensorList past,
              const Tensor& gamma, const Tensor& beta, const optional<Tensor>& scale, double eps,
              bool normalize, const Tensor& out, const Tensor& value, const Tensor& mean,
              const Tensor& variance) {
  const Grid grid(x);
  const int64_t B = x.size(0), C = x.size(1), L = past.size() + 1, area = grid.area();
  check(weights.sizes() == at::IntArrayRef({B, L, C}) && kernel.numel() == 9 * C && gamma.numel() == C &&
            beta.numel() == C && (!scale || scale->numel() == B),
        "maps and weights of a base layer");
  for (const Tensor& map : past) check(map.sizes() == x.sizes(), "maps of a base layer");
  overwritten(out);
  FLOATING(x.scalar_type(), "mmdla::base", {
    auto values = pointers<scalar_t>(past);
    values.push_back(pointer<scalar_t>(value));
    const A *factors = pointer<A>(scale), *kernels = pointer<A>(kernel);
    for_each(C, [&](int64_t begin, int64_t end) {
      Lines<A, scalar_t> xs(x, grid);
      const Inside<A> first(grid);
      const int64_t room = padded<A>(area);
      std::vector<A> us((normalize ? B : 1) * room);
      for (int64_t c = begin; c < end; ++c) {
        const auto sum_up = [&](int64_t b, A* u) {
          const int64_t start = (b * C + c) * area;
          const A* ax = xs[b * C + c];
          const Kernel<A, 9> k(kernels + 9 * c);
          for_places<A>(first, [&](int64_t n, const Inside<A>& inside) {
            Out<A, scalar_t>{values.back() + start, n + lanes<A> > area ? area - n : 0}.set(
                n, k(ax + n, grid.width, inside));
          });
          combine(values, pointer<A>(weights) + b * L * C + c, C, start, area, u);
        };
        A factor = pointer<A>(gamma)[c], bias = pointer<A>(beta)[c];
        if (normalize) {
          double total = 0, squares = 0;
          for (int64_t b = 0; b < B; ++b) {
            A* u = us.data() + b * room;
            sum_up(b, u);
            total += sum_lanes<A>(room, [&](int64_t n, int64_t) { return load<A>(u + n); });
          }
          const A mu = A(total / (B * area));
          for (int64_t b = 0; b < B; ++b) {
            A* u = us.data() + b * room;
            std::fill(u + area, u + room, mu);
            squares += sum_lanes<A>(room, [&](int64_t n, int64_t) {
              const Lane<A> d = load<A>(u + n) - mu;
              return d * d;
            });
          }
          const double var = squares / (B * area);
          pointer<A>(mean)[c] = mu;
          pointer<A>(variance)[c] = A(var);
          factor *= A(1 / std::sqrt(var + eps));
          bias -= mu * factor;
        }
        for (int64_t b = 0; b < B; ++b) {
          if (!normalize) sum_up(b, us.data());
          const A* u = us.data() + (normalize ? b * room : 0);
          const A part = factors ? factors[b] : A(1);
          const int64_t start = (b * C + c) * area;
          for_lanes<A>(area, [&](int64_t n, int64_t rest) {
            const Lane<A> sum = relu<A>(factor * load<A>(u + n) + bias);
            Out<A, scalar_t>{pointer<scalar_t>(out) + start, rest}.set(
                n, In<A, scalar_t>{pointer<scalar_t>(x) + start, rest}[n] + part * sum);
          });
        }
      }
    });
  });
}

struct Base : torch::autograd::Function<Base> {
  // Returns out, mean, variance, and all maps. The maps go through each layer, so that in the
  // backward pass each has one gradient, to which a layer adds its part where it lies.
  static variable_list forward(AutogradContext* ctx, Tensor x, Tensor kernel, Tensor weights,
                               Tensor gamma, Tensor beta, optional<Tensor> scale, double eps,
                               bool normalize, at::TensorList past) {
    Tensor out = at::empty_like(x), value = at::empty_like(x);
    Tensor mean = at::empty_like(gamma), variance = at::empty_like(gamma);
    base_out(x, kernel, weights, past, gamma, beta, scale, eps, normalize, out, value, mean, variance);
    variable_list saved = {x,    kernel,   weights, gamma, beta, scale.value_or(Tensor()),
                           mean, variance, value};
    saved.insert(saved.end(), past.begin(), past.end());
    ctx->save_for_backward(saved);
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["normalize"] = normalize;
    ctx->mark_non_differentiable({mean, variance});
    ctx->set_materialize_grads(false);
    variable_list outputs = {out, mean, variance};
    outputs.insert(outputs.end(), past.begin(), past.end());
    outputs.push_back(value);
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    refuse_second_derivatives();
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &kernel = saved[1], &weights = saved[2], &gamma = saved[3];
    const Tensor &beta = saved[4], &scale = saved[5], &mean = saved[6], &variance = saved[7];
    const double eps = ctx->saved_data["eps"].toDouble();
    const bool normalize = ctx->saved_data["normalize"].toBool();
    variable_list maps(saved.begin() + 9, saved.end());
    const int64_t earlier = maps.size();
    maps.push_back(saved[8]);

    Tensor to_x = grads[0].defined() ? own_memory(grads[0], x) : at::empty_like(x);
    const Tensor grad = gradient(grads[0], x);
    const Tensor newest = grads[3 + earlier].defined() ? gradient(grads[3 + earlier], x) : Tensor();
    variable_list of_past(earlier), to_past(earlier);
    for (int64_t t = 0; t < earlier; ++t) {
      if (grads[3 + t].defined()) {
        to_past[t] = own_memory(grads[3 + t], x);
        of_past[t] = gradient(grads[3 + t], x);
      } else {
        to_past[t] = at::empty_like(x);
      }
    }
    Tensor to_kernel = at::empty_like(kernel), to_weights = at::empty_like(weights);
    Tensor to_gamma = at::empty_like(gamma), to_beta = at::empty_like(gamma);
    const Grid grid(x);
    const int64_t B = x.size(0), C = x.size(1), L = maps.size(), area = grid.area();
    FLOATING(x.scalar_type(), "mmdla::base_backward", {
      const auto values = pointers<scalar_t>(maps), to = pointers<scalar_t>(to_past);
      std::vector<const scalar_t*> of;
      for (const Tensor& map : of_past) of.push_back(map.defined() ? pointer<scalar_t>(map) : nullptr);
      const scalar_t* of_newest = newest.defined() ? pointer<scalar_t>(newest) : nullptr;
      const A* factors = scale.defined() ? pointer<A>(scale) : nullptr;
      for_each(C, [&](int64_t begin, int64_t end) {
        Lines<A, scalar_t> xs(x, grid);
        Line<A> newest_g(grid);
        const Inside<A> first(grid);
        const int64_t room = padded<A>(area);
        std::vector<A> us(B * room), gs(B * room);  // with zeros after each area
        std::vector<double> dots(3 * B * L);        // of each map: with g, with u, its sum
        for (int64_t c = begin; c < end; ++c) {
          const A mu = normalize ? pointer<A>(mean)[c] : A(0);
          const A inverse = normalize ? A(1 / std::sqrt(pointer<A>(variance)[c] + eps)) : A(1);
          const A factor = pointer<A>(gamma)[c] * inverse, bias = pointer<A>(beta)[c] - mu * factor;
          double sum_g = 0, sum_gu = 0;
          for (int64_t b = 0; b < B; ++b) {
            const int64_t start = (b * C + c) * area;
            A *u = us.data() + b * room, *g = gs.data() + b * room;
            combine(values, pointer<A>(weights) + b * L * C + c, C, start, area, u);
            const A part = factors ? factors[b] : A(1);
            for_lanes<A>(area, [&](int64_t n, int64_t rest) {
              const Lane<A> passed = part * In<A, scalar_t>{pointer<scalar_t>(grad) + start, rest}[n];
              store<A>(g + n, factor * load<A>(u + n) + bias <= 0 ? Lane<A>{} : passed);
            });
            sum_g += sum_lanes<A>(room, [&](int64_t n, int64_t) { return load<A>(g + n); });
            sum_gu += sum_lanes<A>(
                room, [&](int64_t n, int64_t) { return load<A>(g + n) * (load<A>(u + n) - mu); });
            for (int64_t t = 0; t < L; ++t) {
              const scalar_t* v = values[t] + start;
              Lane<A> with_g = {}, with_u = {}, alone = {};
              for_lanes<A>(area, [&](int64_t n, int64_t rest) {
                const Lane<A> value = In<A, scalar_t>{v, rest}[n];
                with_g += value * load<A>(g + n);
                with_u += value * (load<A>(u + n) - mu);
                alone += value;
              });
              double* dot = dots.data() + 3 * (b * L + t);
              dot[0] = total<A>(with_g), dot[1] = total<A>(with_u), dot[2] = total<A>(alone);
            }
          }
          pointer<A>(to_gamma)[c] = A(sum_gu * inverse);
          pointer<A>(to_beta)[c] = A(sum_g);
          const double count = double(B) * area;
          const A level = normalize ? A(factor * sum_g / count) : A(0);
          const A tilt = normalize ? A(double(factor) * inverse * inverse * sum_gu / count) : A(0);
          A sums[9] = {};
          for (int64_t b = 0; b < B; ++b) {
            const int64_t start = (b * C + c) * area;
            A *u = us.data() + b * room, *g = gs.data() + b * room;
            const A* w = pointer<A>(weights) + b * L * C + c;
            A* dw = pointer<A>(to_weights) + b * L * C + c;
            for_lanes<A>(area, [&](int64_t n, int64_t) {
              store<A>(g + n, factor * load<A>(g + n) - (level + (load<A>(u + n) - mu) * tilt));
            });
            std::fill(g + area, g + room, A(0));
            for (int64_t t = 0; t < L; ++t) {
              const double* dot = dots.data() + 3 * (b * L + t);
              dw[t * C] = A(factor * dot[0] - level * dot[2] - tilt * dot[1]);
            }
            for (int64_t t = 0; t < earlier; ++t) {
              const A weight = w[t * C];
              for_lanes<A>(area, [&](int64_t n, int64_t rest) {
                Lane<A> sum = weight * load<A>(g + n);
                if (of[t]) sum += In<A, scalar_t>{of[t] + start, rest}[n];
                Out<A, scalar_t>{to[t] + start, rest}.set(n, sum);
              });
            }
            const A weight = w[earlier * C];
            A* gv = newest_g.begin();
            for_lanes<A>(area, [&](int64_t n, int64_t rest) {
              Lane<A> sum = weight * load<A>(g + n);
              if (of_newest) sum += In<A, scalar_t>{of_newest + start, rest}[n];
              store<A>(gv + n, sum);
            });
            newest_g.clear_end();
            const Kernel<A, 9> k(pointer<A>(kernel) + 9 * c, true);
            const scalar_t* direct = pointer<scalar_t>(grad) + start;  // the way of the shortcut
            for_places<A>(first, [&](int64_t n, const Inside<A>& inside) {
              const int64_t rest = n + lanes<A> > area ? area - n : 0;
              Out<A, scalar_t>{pointer<scalar_t>(to_x) + start, rest}.set(
                  n, In<A, scalar_t>{direct, rest}[n] + k(gv + n, grid.width, inside));
            });
            A part[9];
            kernel_gradient<A, 9>(gv, xs[b * C + c], first, part);
            for (int t = 0; t < 9; ++t) sums[t] += part[t];
          }
          for (int t = 0; t < 9; ++t) pointer<A>(to_kernel)[9 * c + t] = sums[t];
        }
      });
    });
    variable_list result = {to_x,     to_kernel, to_weights, to_gamma, to_beta,
                            Tensor(), Tensor(),  Tensor()};
    result.insert(result.end(), to_past.begin(), to_past.end());
    return result;
  }
};

std::vector<Tensor> base(Tensor x, Tensor kernel, Tensor weights, at::TensorList past,
                         Tensor gamma, Tensor beta, optional<Tensor> scale, double eps,
                         bool normalize) {
  return Base::apply(x, kernel, weights, gamma, beta, scale, eps, normalize, past);
}

// ------------------------------------------------------------------------- channel means

// A row of C means with zeros around it, and 1-D convolutions of odd width K over it.
template <typename T>
struct Row {
  int64_t channels, width;
  std::vector<T> line, back;  // means, and their gradient

  Row(int64_t channels, int64_t width)
      : channels(channels), width(width), line(channels + width - 1), back(channels + width - 1) {}

  void read(const T* y) {
    std::copy_n(y, channels, line.data() + width / 2);
    std::fill(back.begin(), back.end(), T(0));
  }

  void convolve(const T* kernel, T* out) const {
    for (int64_t c = 0; c < channels; ++c) out[c] = kernel[0] * line[c];
    for (int64_t k = 1; k < width; ++k)
      for (int64_t c = 0; c < channels; ++c) out[c] += kernel[k] * line[c + k];
  }

  // adds to the gradients of the kernel and of the means
  void gradient(const T* kernel, const T* g, T* to_kernel) {
    for (int64_t k = 0; k < width; ++k) {
      for (int64_t c = 0; c < channels; ++c) back[c + k] += kernel[k] * g[c];
      to_kernel[k] += T(sum_lanes<T>(channels, [&](int64_t n, int64_t rest) {
        return In<T, T>{g, rest}[n] * In<T, T>{line.data() + k, rest}[n];
      }));
    }
  }

  void write(T* to_y) const { std::copy_n(back.data() + width / 2, channels, to_y); }
};

// y (B, L, C), kernels (L, M, K) to (B, L, M, C)
struct ChannelConvolution : torch::autograd::Function<ChannelConvolution> {
  static Tensor forward(AutogradContext* ctx, Tensor y, Tensor kernels) {
    const int64_t B = y.size(0), L = y.size(1), C = y.size(2), M = kernels.size(1), K = kernels.size(2);
    check(kernels.size(0) == L && K % 2, "means and kernels");
    Tensor out = at::empty({B, L, M, C}, y.options());
    ctx->save_for_backward({y, kernels});
    AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "mmdla::channel_convolution", [&] {
      Row<scalar_t> line(C, K);
      scalar_t* to = pointer<scalar_t>(out);
      for (int64_t row = 0; row < B * L; ++row) {
        line.read(pointer<scalar_t>(y) + row * C);
        for (int64_t m = 0; m < M; ++m, to += C)
          line.convolve(pointer<scalar_t>(kernels) + (row % L * M + m) * K, to);
      }
    });
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    refuse_second_derivatives();
    const auto saved = ctx->get_saved_variables();
    const Tensor &y = saved[0], &kernels = saved[1];
    const Tensor grad = grads[0].contiguous();
    const int64_t B = y.size(0), L = y.size(1), C = y.size(2), M = kernels.size(1), K = kernels.size(2);
    Tensor to_y = at::empty_like(y), to_kernels = at::zeros_like(kernels);
    AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "mmdla::channel_convolution_backward", [&] {
      Row<scalar_t> line(C, K);
      const scalar_t* g = pointer<scalar_t>(grad);
      for (int64_t row = 0; row < B * L; ++row) {
        line.read(pointer<scalar_t>(y) + row * C);
        for (int64_t m = 0; m < M; ++m, g += C) {
          const int64_t at = (row % L * M + m) * K;
          line.gradient(pointer<scalar_t>(kernels) + at, g, pointer<scalar_t>(to_kernels) + at);
        }
        line.write(pointer<scalar_t>(to_y) + row * C);
      }
    });
    return {to_y, to_kernels};
  }
};

// sigmoid(<q, k> / sqrt(D)) of each head of D channels, repeated over them: y (B, C), kernels of
// query and key (2, K) to (B, C).
struct SelfScore : torch::autograd::Function<SelfScore> {
  static Tensor forward(AutogradContext* ctx, Tensor y, Tensor kernels, int64_t dim) {
    const int64_t B = y.size(0), C = y.size(1), K = kernels.size(1);
    check(kernels.size(0) == 2 && K % 2 && C % dim == 0, "means and kernels");
    Tensor score = at::empty_like(y), query_key = at::empty({B, 2, C}, y.options());
    AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "mmdla::self_score", [&] {
      Row<scalar_t> line(C, K);
      const scalar_t* kernel = pointer<scalar_t>(kernels);
      for (int64_t b = 0; b < B; ++b) {
        scalar_t *q = pointer<scalar_t>(query_key) + 2 * b * C, *k = q + C;
        scalar_t* to = pointer<scalar_t>(score) + b * C;
        line.read(pointer<scalar_t>(y) + b * C);
        line.convolve(kernel, q);
        line.convolve(kernel + K, k);
        for (int64_t head = 0; head < C; head += dim) {
          scalar_t product = 0;
          for (int64_t c = head; c < head + dim; ++c) product += q[c] * k[c];
          std::fill_n(to + head, dim, 1 / (1 + std::exp(-product / std::sqrt(scalar_t(dim)))));
        }
      }
    });
    ctx->save_for_backward({y, kernels, score, query_key});
    ctx->saved_data["dim"] = dim;
    return score;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    refuse_second_derivatives();
    const auto saved = ctx->get_saved_variables();
    const Tensor &y = saved[0], &kernels = saved[1], &score = saved[2], &query_key = saved[3];
    const Tensor grad = grads[0].contiguous();
    const int64_t B = y.size(0), C = y.size(1), K = kernels.size(1);
    const int64_t dim = ctx->saved_data["dim"].toInt();
    Tensor to_y = at::empty_like(y), to_kernels = at::zeros_like(kernels);
    AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "mmdla::self_score_backward", [&] {
      Row<scalar_t> line(C, K);
      std::vector<scalar_t> to_query(C), to_key(C);
      const scalar_t* kernel = pointer<scalar_t>(kernels);
      scalar_t* to_kernel = pointer<scalar_t>(to_kernels);
      for (int64_t b = 0; b < B; ++b) {
        const scalar_t *q = pointer<scalar_t>(query_key) + 2 * b * C, *k = q + C;
        const scalar_t *s = pointer<scalar_t>(score) + b * C, *g = pointer<scalar_t>(grad) + b * C;
        for (int64_t head = 0; head < C; head += dim) {
          scalar_t sum = 0;
          for (int64_t c = head; c < head + dim; ++c) sum += g[c];
          sum *= s[head] * (1 - s[head]) / std::sqrt(scalar_t(dim));
          for (int64_t c = head; c < head + dim; ++c) to_query[c] = sum * k[c], to_key[c] = sum * q[c];
        }
        line.read(pointer<scalar_t>(y) + b * C);
        line.gradient(kernel, to_query.data(), to_kernel);
        line.gradient(kernel + K, to_key.data(), to_kernel + K);
        line.write(pointer<scalar_t>(to_y) + b * C);
      }
    });
    return {to_y, to_kernels, Tensor()};
  }
};

Tensor self_score(Tensor y, Tensor kernels, int64_t dim) { return SelfScore::apply(y, kernels, dim); }

Tensor channel_convolution(Tensor y, Tensor kernels) { return ChannelConvolution::apply(y, kernels); }

// Gates of the DSU: pre (B, T, 3C) holds i, f and the candidate before their functions, c is (B, T, C)
// or, one for all T, (B, 1, C). Returns sigmoid(f) * c + sigmoid(i) * tanh(candidate).
struct Gates : torch::autograd::Function<Gates> {
  static Tensor forward(AutogradContext* ctx, Tensor pre, Tensor c) {
    const int64_t B = pre.size(0), T = pre.size(1), C = pre.size(2) / 3, S = c.size(1);
    check(c.size(0) == B && (S == 1 || S == T) && c.size(2) == C, "gates and context");
    Tensor out = at::empty({B, T, C}, pre.options()), active = pre.sigmoid();
    active.narrow(2, 2 * C, C).copy_(pre.narrow(2, 2 * C, C).tanh());
    ctx->save_for_backward({active, c});
    AT_DISPATCH_FLOATING_TYPES(pre.scalar_type(), "mmdla::gates", [&] {
      const scalar_t *a = pointer<scalar_t>(active), *pc = pointer<scalar_t>(c);
      scalar_t* to = pointer<scalar_t>(out);
      for (int64_t row = 0; row < B * T; ++row, a += 3 * C, to += C) {
        const scalar_t* from = pc + (S == 1 ? row / T : row) * C;
        for (int64_t n = 0; n < C; ++n) to[n] = a[C + n] * from[n] + a[n] * a[2 * C + n];
      }
    });
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    refuse_second_derivatives();
    const auto saved = ctx->get_saved_variables();
    const Tensor &active = saved[0], &c = saved[1];
    const Tensor grad = grads[0].contiguous();
    const int64_t B = active.size(0), T = active.size(1), C = active.size(2) / 3, S = c.size(1);
    Tensor to_pre = at::empty_like(active), to_c = at::zeros_like(c);
    AT_DISPATCH_FLOATING_TYPES(active.scalar_type(), "mmdla::gates_backward", [&] {
      const scalar_t *a = pointer<scalar_t>(active), *pc = pointer<scalar_t>(c);
      const scalar_t* g = pointer<scalar_t>(grad);
      scalar_t *tp = pointer<scalar_t>(to_pre), *tc = pointer<scalar_t>(to_c);
      for (int64_t row = 0; row < B * T; ++row, a += 3 * C, g += C, tp += 3 * C) {
        const int64_t at = (S == 1 ? row / T : row) * C;
        for (int64_t n = 0; n < C; ++n) {
          const scalar_t i = a[n], f = a[C + n], candidate = a[2 * C + n];
          tp[n] = g[n] * candidate * i * (1 - i);
          tp[C + n] = g[n] * pc[at + n] * f * (1 - f);
          tp[2 * C + n] = g[n] * i * (1 - candidate * candidate);
          tc[at + n] += g[n] * f;
        }
      }
    });
    return {to_pre, to_c};
  }
};

Tensor gates(Tensor pre, Tensor c) { return Gates::apply(pre, c); }

}  // namespace

// Of each pair, the one that ends in _ or _out writes where it is told and has no gradient.
TORCH_LIBRARY(mmdla, m) {
  m.def("residual_(Tensor(a!) branch, Tensor shortcut, bool both) -> (Tensor, Tensor)", residual_);
  m.def("residual(Tensor branch, Tensor shortcut, bool both) -> (Tensor, Tensor, Tensor, Tensor)",
        residual);
  m.def("light_out(Tensor x, Tensor o, Tensor value, Tensor score, Tensor decay, Tensor? gate, "
        "Tensor? excite, Tensor gamma, Tensor beta, Tensor? scale, float eps, bool normalize, Tensor(a!) out, Tensor(b!) mean, "
        "Tensor(c!) variance) -> ()", light_out);
  m.def("light(Tensor x, Tensor o, Tensor value, Tensor score, Tensor decay, Tensor? gate, "
        "Tensor? excite, Tensor gamma, Tensor beta, Tensor? scale, float eps, bool normalize) -> (Tensor, Tensor, Tensor)", light);
  m.def("base_out(Tensor x, Tensor kernel, Tensor weights, Tensor[] past, Tensor gamma, Tensor beta, "
        "Tensor? scale, float eps, bool normalize, Tensor(a!) out, Tensor(b!) value, "
        "Tensor(c!) mean, Tensor(d!) variance) -> ()", base_out);
  m.def("base(Tensor x, Tensor kernel, Tensor weights, Tensor[] past, Tensor gamma, Tensor beta, "
        "Tensor? scale, float eps, bool normalize) -> Tensor[]", base);
  m.def("channel_convolution(Tensor y, Tensor kernels) -> Tensor", channel_convolution);
  m.def("self_score(Tensor y, Tensor kernels, int dim) -> Tensor", self_score);
  m.def("gates(Tensor pre, Tensor c) -> Tensor", gates);
}
