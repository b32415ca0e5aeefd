// Operations on channel means: mmdla/ops/means.py.
#include <cmath>

#include "kernels.h"
#include "tensors.h"
#include "vectors.h"

namespace mmdla {
namespace {

// The C means of one layer, zero padded, and 1-D convolutions of odd width K over them.
template <typename T>
struct Row {
  int64_t channels, width;
  std::vector<T> line, grad;  // means and their gradient, both padded

  Row(int64_t channels, int64_t width)
      : channels(channels), width(width), line(channels + width - 1), grad(channels + width - 1) {}

  void read(const T* y) {
    std::copy_n(y, channels, line.data() + width / 2);
    std::fill(grad.begin(), grad.end(), T(0));
  }

  void convolve(const T* kernel, T* out) const {
    for (int64_t c = 0; c < channels; ++c) out[c] = kernel[0] * line[c];
    for (int64_t k = 1; k < width; ++k)
      for (int64_t c = 0; c < channels; ++c) out[c] += kernel[k] * line[c + k];
  }

  // adds to the gradients of the means and of the kernel those through an output with gradient g
  void gradient(const T* kernel, const T* g, T* grad_kernel) {
    for (int64_t k = 0; k < width; ++k) {
      for (int64_t c = 0; c < channels; ++c) grad[c + k] += kernel[k] * g[c];
      grad_kernel[k] += T(sum_lanes<T>(channels, [&](int64_t n, int64_t rest) {
        return In<T, T>{g, rest}[n] * In<T, T>{line.data() + k, rest}[n];
      }));
    }
  }

  void write(T* grad_y) const { std::copy_n(grad.data() + width / 2, channels, grad_y); }
};

}  // namespace

void channel_convolution_forward(const Tensor& y, const Tensor& kernels, const Tensor& out) {
  const int64_t L = y.size(1), C = y.size(2), M = kernels.size(1), K = kernels.size(2);
  AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "mmdla::channel_convolution", [&] {
    Row<scalar_t> line(C, K);
    scalar_t* to = pointer<scalar_t>(out);
    for (int64_t row = 0; row < y.size(0) * L; ++row) {
      line.read(pointer<scalar_t>(y) + row * C);
      for (int64_t m = 0; m < M; ++m, to += C)
        line.convolve(pointer<scalar_t>(kernels) + (row % L * M + m) * K, to);
    }
  });
}

void channel_convolution_backward(const Tensor& grad_out, const Tensor& y, const Tensor& kernels,
                                  const Tensor& grad_y, const Tensor& grad_kernels) {
  const int64_t L = y.size(1), C = y.size(2), M = kernels.size(1), K = kernels.size(2);
  grad_kernels.zero_();
  AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "mmdla::channel_convolution_backward", [&] {
    Row<scalar_t> line(C, K);
    const scalar_t* g = pointer<scalar_t>(grad_out);
    for (int64_t row = 0; row < y.size(0) * L; ++row) {
      line.read(pointer<scalar_t>(y) + row * C);
      for (int64_t m = 0; m < M; ++m, g += C) {
        const int64_t at = (row % L * M + m) * K;
        line.gradient(pointer<scalar_t>(kernels) + at, g, pointer<scalar_t>(grad_kernels) + at);
      }
      line.write(pointer<scalar_t>(grad_y) + row * C);
    }
  });
}

void self_score_forward(const Tensor& y, const Tensor& kernels, int64_t dim, const Tensor& score,
                        const Tensor& query_key) {
  const int64_t B = y.size(0), C = y.size(1), K = kernels.size(1);
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
}

void self_score_backward(const Tensor& grad_out, const Tensor& y, const Tensor& kernels, int64_t dim,
                         const Tensor& score, const Tensor& query_key, const Tensor& grad_y,
                         const Tensor& grad_kernels) {
  const int64_t B = y.size(0), C = y.size(1), K = kernels.size(1);
  grad_kernels.zero_();
  AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "mmdla::self_score_backward", [&] {
    Row<scalar_t> line(C, K);
    std::vector<scalar_t> grad_query(C), grad_key(C);
    const scalar_t* kernel = pointer<scalar_t>(kernels);
    scalar_t* grad_kernel = pointer<scalar_t>(grad_kernels);
    for (int64_t b = 0; b < B; ++b) {
      const scalar_t *q = pointer<scalar_t>(query_key) + 2 * b * C, *k = q + C;
      const scalar_t *s = pointer<scalar_t>(score) + b * C, *g = pointer<scalar_t>(grad_out) + b * C;
      for (int64_t head = 0; head < C; head += dim) {
        scalar_t sum = 0;
        for (int64_t c = head; c < head + dim; ++c) sum += g[c];
        sum *= s[head] * (1 - s[head]) / std::sqrt(scalar_t(dim));
        for (int64_t c = head; c < head + dim; ++c) grad_query[c] = sum * k[c], grad_key[c] = sum * q[c];
      }
      line.read(pointer<scalar_t>(y) + b * C);
      line.gradient(kernel, grad_query.data(), grad_kernel);
      line.gradient(kernel + K, grad_key.data(), grad_kernel + K);
      line.write(pointer<scalar_t>(grad_y) + b * C);
    }
  });
}

void dsu_update_forward(const Tensor& active, const Tensor& c, const Tensor& out) {
  const int64_t B = out.size(0), T = out.size(1), C = out.size(2);
  const bool shared = c.size(1) == 1;
  AT_DISPATCH_FLOATING_TYPES(active.scalar_type(), "mmdla::dsu_update", [&] {
    const scalar_t *a = pointer<scalar_t>(active), *pc = pointer<scalar_t>(c);
    scalar_t* to = pointer<scalar_t>(out);
    for (int64_t row = 0; row < B * T; ++row, a += 3 * C, to += C) {
      const scalar_t* from = pc + (shared ? row / T : row) * C;
      for (int64_t n = 0; n < C; ++n) to[n] = a[C + n] * from[n] + a[n] * a[2 * C + n];
    }
  });
}

void dsu_update_backward(const Tensor& grad_out, const Tensor& active, const Tensor& c,
                         const Tensor& grad_pre, const Tensor& grad_c) {
  const int64_t B = grad_out.size(0), T = grad_out.size(1), C = grad_out.size(2);
  const bool shared = c.size(1) == 1;
  grad_c.zero_();
  AT_DISPATCH_FLOATING_TYPES(active.scalar_type(), "mmdla::dsu_update_backward", [&] {
    const scalar_t *a = pointer<scalar_t>(active), *pc = pointer<scalar_t>(c);
    const scalar_t* g = pointer<scalar_t>(grad_out);
    scalar_t *tp = pointer<scalar_t>(grad_pre), *tc = pointer<scalar_t>(grad_c);
    for (int64_t row = 0; row < B * T; ++row, a += 3 * C, g += C, tp += 3 * C) {
      const int64_t at = (shared ? row / T : row) * C;
      for (int64_t n = 0; n < C; ++n) {
        const scalar_t i = a[n], f = a[C + n], candidate = a[2 * C + n];
        tp[n] = g[n] * candidate * i * (1 - i);
        tp[C + n] = g[n] * pc[at + n] * f * (1 - f);
        tp[2 * C + n] = g[n] * i * (1 - candidate * candidate);
        tc[at + n] += g[n] * f;
      }
    }
  });
}

}  // namespace mmdla
