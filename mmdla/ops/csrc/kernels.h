// The loops of the operations, a file each. They see bare memory: operations.cpp checks it before and
// allocates what they write. Floating types of maps are T, of factors and sums A (float, or double
// for double maps).
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace mmdla {

using at::Tensor;
using std::optional;

// x = ReLU(branch + shortcut), all (B, C, H, W), written to branch; the means of x to y, (B, C), and
// those of the shortcut to z, (B, C), or (0, ) where they are not wanted.
void residual_forward(const Tensor& branch, const Tensor& shortcut, const Tensor& y, const Tensor& z);

// to_shortcut may be to_branch where the two are the same, and each may be the gradient it comes from.
void residual_backward(const Tensor& x, const Tensor& of_x, const optional<Tensor>& of_shortcut,
                       const optional<Tensor>& of_y, const optional<Tensor>& of_z,
                       const Tensor& to_branch, const Tensor& to_shortcut);

// out = x + scale * norm(decay * (gate * o + dw(o; excite)) + score * dw(x; value))
//
// value and excite are (C, 1, 3, 3), decay (C, ), score and gate (B, C), scale (B, ); without excite
// o has the centre tap alone, without gate it is 1. norm(u) = gamma * u + beta, each (C, ), or with
// `normalize` by the mean and variance of the batch, which are then written, (C, ) each. out may be x.
void light_forward(const Tensor& x, const Tensor& o, const Tensor& value, const Tensor& score,
                   const Tensor& decay, const optional<Tensor>& gate, const optional<Tensor>& excite,
                   const Tensor& gamma, const Tensor& beta, const optional<Tensor>& scale, double eps,
                   bool normalize, const Tensor& out, const Tensor& mean, const Tensor& variance);

// to_x may be grad.
void light_backward(const Tensor& grad, const Tensor& x, const Tensor& o, const Tensor& value,
                    const Tensor& score, const Tensor& decay, const optional<Tensor>& gate,
                    const optional<Tensor>& excite, const Tensor& gamma, const optional<Tensor>& scale,
                    const Tensor& mean, const Tensor& variance, double eps, bool normalize,
                    const Tensor& to_x, const Tensor& to_o, const Tensor& to_value,
                    const Tensor& to_score, const Tensor& to_decay, const Tensor& to_gate,
                    const Tensor& to_excite, const Tensor& to_gamma, const Tensor& to_beta);

// value = dw(x; kernel); out = x + scale * ReLU(norm(sum_t weights_t * values_t))
//
// `past` are the values of the earlier layers, (B, C, H, W) each, weights (B, l, C). Writes out, the
// newest value, and with `normalize` the moments. out may be x.
void base_forward(const Tensor& x, const Tensor& kernel, const Tensor& weights, at::TensorList past,
                  const Tensor& gamma, const Tensor& beta, const optional<Tensor>& scale, double eps,
                  bool normalize, const Tensor& out, const Tensor& value, const Tensor& mean,
                  const Tensor& variance);

// `values` end with the newest. Of of_past and of_newest those that are undefined are zero; to_x may
// be grad, and each of to_past the one of of_past.
void base_backward(const Tensor& grad, at::TensorList of_past, const Tensor& of_newest, const Tensor& x,
                   const Tensor& kernel, const Tensor& weights, at::TensorList values,
                   const Tensor& gamma, const Tensor& beta, const optional<Tensor>& scale,
                   const Tensor& mean, const Tensor& variance, double eps, bool normalize,
                   const Tensor& to_x, at::TensorList to_past, const Tensor& to_kernel,
                   const Tensor& to_weights, const Tensor& to_gamma, const Tensor& to_beta);

// 1-D convolutions over channels, zero padded: y (B, L, C), kernels (L, M, K) to (B, L, M, C).
void channel_convolution_forward(const Tensor& y, const Tensor& kernels, const Tensor& out);
void channel_convolution_backward(const Tensor& grad, const Tensor& y, const Tensor& kernels,
                                  const Tensor& to_y, const Tensor& to_kernels);

// sigmoid(<q, k> / sqrt(D)) of each head of D channels, repeated over them: y (B, C), kernels of
// query and key (2, K) to (B, C); query_key, (B, 2, C), is kept for the gradient.
void self_score_forward(const Tensor& y, const Tensor& kernels, int64_t dim, const Tensor& score,
                        const Tensor& query_key);
void self_score_backward(const Tensor& grad, const Tensor& y, const Tensor& kernels, int64_t dim,
                         const Tensor& score, const Tensor& query_key, const Tensor& to_y,
                         const Tensor& to_kernels);

// sigmoid(f) * c + sigmoid(i) * tanh(candidate), (B, T, C): active, (B, T, 3C), holds the three
// functions, c is (B, T, C) or, one for all T, (B, 1, C).
void gates_forward(const Tensor& active, const Tensor& c, const Tensor& out);
void gates_backward(const Tensor& grad, const Tensor& active, const Tensor& c, const Tensor& to_pre,
                    const Tensor& to_c);

}  // namespace mmdla
