// add_relu_mean for channels_last maps: see add_relu_mean.cpp. Places are read in memory's order.
#include "kernels.h"
#include "rows.h"
#include "tensors.h"

namespace mmdla {

void add_relu_mean_forward_nhwc(const Tensor& branch, const Tensor& shortcut, const Tensor& x,
                                const Tensor& y, const Tensor& z) {
  const Rows rows(x);
  const int64_t C = rows.channels, parts = rows.parts();
  const bool both = z.numel();
  FLOATING(x.scalar_type(), "mmdla::add_relu_mean", {
    const int64_t room = padded<A>(C);
    const auto *pb = pointer<scalar_t>(branch), *ps = pointer<scalar_t>(shortcut);
    auto* px = pointer<scalar_t>(x);
    std::vector<A> sums((both ? 2 : 1) * parts * room);  // of each part, of x and then of the shortcut
    for_each(parts, [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part) {
        const int64_t start = rows.start(rows.sample(part), rows.first(part));
        A *of_x = sums.data() + part * room, *of_s = of_x + parts * room;
        for (int64_t n = start; n < start + rows.places(part) * C; n += C) {
          const auto *b = pb + n, *s = ps + n;
          auto* to = px + n;
          for_lanes<A>(C, [&](int64_t c, int64_t rest) {
            const Lane<A> added = In<A, scalar_t>{s, rest}[c];
            const Lane<A> value = relu<A>(In<A, scalar_t>{b, rest}[c] + added);
            Out<A, scalar_t>{to, rest}.set(c, value);
            store<A>(of_x + c, load<A>(of_x + c) + value);
            if (both) store<A>(of_s + c, load<A>(of_s + c) + added);
          });
        }
      }
    });
    const double area = double(rows.height) * rows.width;
    for (const auto& [mean, first] : {std::pair(&y, int64_t(0)), {&z, parts}})
      for (int64_t n = 0; n < mean->numel(); ++n) {
        double sum = 0;
        for (int64_t part = 0; part < rows.per_sample; ++part)
          sum += sums[(first + n / C * rows.per_sample + part) * room + n % C];
        pointer<scalar_t>(*mean)[n] = scalar_t(sum / area);
      }
  });
}

void add_relu_mean_backward_nhwc(const Tensor& x, const Tensor& grad_x,
                                 const optional<Tensor>& grad_shortcut_out,
                                 const optional<Tensor>& grad_y, const optional<Tensor>& grad_z,
                                 const Tensor& grad_branch, const Tensor& grad_shortcut) {
  const Rows rows(x);
  const int64_t C = rows.channels;
  FLOATING(x.scalar_type(), "mmdla::add_relu_mean_backward", {
    const A area = A(rows.height * rows.width);
    const auto *px = pointer<scalar_t>(x), *gx = pointer<scalar_t>(grad_x);
    const auto* gs = pointer<scalar_t>(grad_shortcut_out);
    auto *to_branch = pointer<scalar_t>(grad_branch), *to_shortcut = pointer<scalar_t>(grad_shortcut);
    for_each(rows.parts(), [&](int64_t begin, int64_t end) {
      std::vector<A> through_y(padded<A>(C)), through_z(padded<A>(C));
      for (int64_t part = begin; part < end; ++part) {
        const int64_t b = rows.sample(part), start = rows.start(b, rows.first(part));
        for (int64_t c = 0; c < C; ++c) {
          if (grad_y) through_y[c] = A(pointer<scalar_t>(grad_y)[b * C + c]) / area;
          if (grad_z) through_z[c] = A(pointer<scalar_t>(grad_z)[b * C + c]) / area;
        }
        for (int64_t n = start; n < start + rows.places(part) * C; n += C)
          for_lanes<A>(C, [&](int64_t c, int64_t rest) {
            const Lane<A> value = In<A, scalar_t>{px + n, rest}[c];
            const Lane<A> g = In<A, scalar_t>{gx + n, rest}[c] + load<A>(through_y.data() + c);
            const Lane<A> through_relu = value <= 0 ? Lane<A>{} : g;
            if (gs)
              Out<A, scalar_t>{to_shortcut + n, rest}.set(
                  c, In<A, scalar_t>{gs + n, rest}[c] + load<A>(through_z.data() + c) + through_relu);
            Out<A, scalar_t>{to_branch + n, rest}.set(c, through_relu);
          });
      }
    });
  });
}

}  // namespace mmdla
