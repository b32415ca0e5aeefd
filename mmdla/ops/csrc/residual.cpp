// x = ReLU(branch + shortcut), with means over places: mmdla/ops/residual.py.
#include "kernels.h"
#include "planes.h"
#include "tensors.h"

namespace mmdla {

void residual_forward(const Tensor& branch, const Tensor& shortcut, const Tensor& y, const Tensor& z) {
  const int64_t planes = branch.size(0) * branch.size(1), area = Grid(branch).area();
  const bool both = z.numel();
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
}

void residual_backward(const Tensor& x, const Tensor& of_x, const optional<Tensor>& of_shortcut,
                       const optional<Tensor>& of_y, const optional<Tensor>& of_z,
                       const Tensor& to_branch, const Tensor& to_shortcut) {
  const int64_t planes = x.size(0) * x.size(1), area = Grid(x).area();
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
          if (ps)
            Out<A, scalar_t>{ts + at, rest}.set(n, In<A, scalar_t>{ps + at, rest}[n] + plus_z + passed);
          Out<A, scalar_t>{tb + at, rest}.set(n, passed);
        });
      }
    });
  });
}

}  // namespace mmdla
