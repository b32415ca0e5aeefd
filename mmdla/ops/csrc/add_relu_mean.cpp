// x = ReLU(branch + shortcut), GAP(x) and GAP(shortcut): mmdla/ops/add_relu_mean.py.
#include "kernels.h"
#include "planes.h"
#include "tensors.h"

namespace mmdla {

void add_relu_mean_forward(const Tensor& branch, const Tensor& shortcut, const Tensor& x,
                           const Tensor& y, const Tensor& z) {
  if (is_nhwc(branch)) return add_relu_mean_forward_nhwc(branch, shortcut, x, y, z);
  const int64_t planes = branch.size(0) * branch.size(1), area = Grid(branch).area();
  const bool both = z.numel();
  FLOATING(branch.scalar_type(), "mmdla::add_relu_mean", {
    const auto *pb = pointer<scalar_t>(branch), *s = pointer<scalar_t>(shortcut);
    auto *px = pointer<scalar_t>(x), *py = pointer<scalar_t>(y), *pz = pointer<scalar_t>(z);
    for_each(planes, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const auto *add = pb + p * area, *from = s + p * area;
        auto* to = px + p * area;
        const double sum = sum_lanes<A>(area, [&](int64_t n, int64_t rest) {
          const Lane<A> value =
              relu<A>(In<A, scalar_t>{add, rest}[n] + In<A, scalar_t>{from, rest}[n]);
          Out<A, scalar_t>{to, rest}.set(n, value);
          return value;
        });
        py[p] = scalar_t(sum / area);
        if (!both) continue;
        const double shortcut_sum = sum_lanes<A>(
            area, [&](int64_t n, int64_t rest) { return In<A, scalar_t>{from, rest}[n]; });
        pz[p] = scalar_t(shortcut_sum / area);
      }
    });
  });
}

void add_relu_mean_backward(const Tensor& x, const Tensor& grad_x,
                            const optional<Tensor>& grad_shortcut_out, const optional<Tensor>& grad_y,
                            const optional<Tensor>& grad_z, const Tensor& grad_branch,
                            const Tensor& grad_shortcut) {
  if (is_nhwc(x))
    return add_relu_mean_backward_nhwc(x, grad_x, grad_shortcut_out, grad_y, grad_z, grad_branch,
                                       grad_shortcut);
  const int64_t planes = x.size(0) * x.size(1), area = Grid(x).area();
  FLOATING(x.scalar_type(), "mmdla::add_relu_mean_backward", {
    const auto *px = pointer<scalar_t>(x), *gx = pointer<scalar_t>(grad_x);
    const auto *gs = pointer<scalar_t>(grad_shortcut_out), *gy = pointer<scalar_t>(grad_y);
    const auto* gz = pointer<scalar_t>(grad_z);
    auto *to_branch = pointer<scalar_t>(grad_branch), *to_shortcut = pointer<scalar_t>(grad_shortcut);
    for_each(planes, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const int64_t start = p * area;
        const Lane<A> through_y = all<A>(gy ? A(gy[p]) / area : A(0));
        const Lane<A> through_z = all<A>(gz ? A(gz[p]) / area : A(0));
        for_lanes<A>(area, [&](int64_t n, int64_t rest) {
          const Lane<A> value = In<A, scalar_t>{px + start, rest}[n];
          const Lane<A> g = In<A, scalar_t>{gx + start, rest}[n] + through_y;
          const Lane<A> through_relu = value <= 0 ? Lane<A>{} : g;
          if (gs)
            Out<A, scalar_t>{to_shortcut + start, rest}.set(
                n, In<A, scalar_t>{gs + start, rest}[n] + through_z + through_relu);
          Out<A, scalar_t>{to_branch + start, rest}.set(n, through_relu);
        });
      }
    });
  });
}

}  // namespace mmdla
