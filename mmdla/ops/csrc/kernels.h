// The loops of the operations, without checks and allocation: see *_operations.cpp. Those with _nhwc are
// called by the ones of the same name, and are for channels_last maps. Maps are of any floating type, factors and sums of type A (float, or double for
// double maps). A gradient grad_* is written if it comes after the operation's inputs, else read.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace mmdla {

using at::Tensor;
using std::optional;

// x = ReLU(branch + shortcut), all (B, C, H, W); GAP(x) to y, (B, C), and GAP(shortcut) to z, (B, C),
// unless z is empty. x may be branch.
void add_relu_mean_forward(const Tensor& branch, const Tensor& shortcut, const Tensor& x,
                           const Tensor& y, const Tensor& z);
void add_relu_mean_forward_nhwc(const Tensor& branch, const Tensor& shortcut, const Tensor& x,
                           const Tensor& y, const Tensor& z);

// grad_shortcut_out is the gradient of the shortcut that was passed on. grad_branch and grad_shortcut
// may be one tensor where they are equal, and may be grad_x and grad_shortcut_out.
void add_relu_mean_backward(const Tensor& x, const Tensor& grad_x,
                            const optional<Tensor>& grad_shortcut_out, const optional<Tensor>& grad_y,
                            const optional<Tensor>& grad_z, const Tensor& grad_branch,
                            const Tensor& grad_shortcut);
void add_relu_mean_backward_nhwc(const Tensor& x, const Tensor& grad_x,
                            const optional<Tensor>& grad_shortcut_out, const optional<Tensor>& grad_y,
                            const optional<Tensor>& grad_z, const Tensor& grad_branch,
                            const Tensor& grad_shortcut);

// u = lambda_l * (d * o + dw(o; excite_weight)) + score * dw(x; value_weight)
// out = x + drop_path_scale * norm(u)
//
// value_weight and excite_weight are (C, 1, 3, 3), lambda_l is (C, ), score and d are (B, C),
// drop_path_scale is (B, ). Without d it is 1. norm(u) = gamma * u + beta, (C, ) each; with `normalize`
// u is first normalised by its mean and variance over the batch, which are then written, (C, ) each.
// out may be x if x is contiguous.
void light_forward(const Tensor& x, const Tensor& o, const Tensor& value_weight, const Tensor& score,
                   const Tensor& lambda_l, const optional<Tensor>& d,
                   const optional<Tensor>& excite_weight, const Tensor& gamma, const Tensor& beta,
                   const optional<Tensor>& drop_path_scale, double eps, bool normalize,
                   const Tensor& out, const Tensor& mean, const Tensor& variance);
void light_forward_nhwc(const Tensor& x, const Tensor& o, const Tensor& value_weight, const Tensor& score,
                   const Tensor& lambda_l, const optional<Tensor>& d,
                   const optional<Tensor>& excite_weight, const Tensor& gamma, const Tensor& beta,
                   const optional<Tensor>& drop_path_scale, double eps, bool normalize,
                   const Tensor& out, const Tensor& mean, const Tensor& variance);

// grad_x may be grad_out if x is contiguous.
void light_backward(const Tensor& grad_out, const Tensor& x, const Tensor& o,
                    const Tensor& value_weight, const Tensor& score, const Tensor& lambda_l,
                    const optional<Tensor>& d, const optional<Tensor>& excite_weight,
                    const Tensor& gamma, const optional<Tensor>& drop_path_scale, const Tensor& mean,
                    const Tensor& variance, double eps, bool normalize, const Tensor& grad_x,
                    const Tensor& grad_o, const Tensor& grad_value_weight, const Tensor& grad_score,
                    const Tensor& grad_lambda_l, const Tensor& grad_d, const Tensor& grad_excite_weight,
                    const Tensor& grad_gamma, const Tensor& grad_beta);
void light_backward_nhwc(const Tensor& grad_out, const Tensor& x, const Tensor& o,
                    const Tensor& value_weight, const Tensor& score, const Tensor& lambda_l,
                    const optional<Tensor>& d, const optional<Tensor>& excite_weight,
                    const Tensor& gamma, const optional<Tensor>& drop_path_scale, const Tensor& mean,
                    const Tensor& variance, double eps, bool normalize, const Tensor& grad_x,
                    const Tensor& grad_o, const Tensor& grad_value_weight, const Tensor& grad_score,
                    const Tensor& grad_lambda_l, const Tensor& grad_d, const Tensor& grad_excite_weight,
                    const Tensor& grad_gamma, const Tensor& grad_beta);

// value = dw(x; value_weight)
// out = x + drop_path_scale * ReLU(norm(sum_t weights_t * values_t))
//
// `past` are the values of the earlier layers, (B, C, H, W) each; weights is (B, l, C). Writes out,
// value, the newest, and with `normalize` the moments. out may be x.
void base_forward(const Tensor& x, const Tensor& value_weight, const Tensor& weights,
                  at::TensorList past, const Tensor& gamma, const Tensor& beta,
                  const optional<Tensor>& drop_path_scale, double eps, bool normalize,
                  const Tensor& out, const Tensor& value, const Tensor& mean, const Tensor& variance);

// `values` end with the newest. grad_past_out and grad_value are the gradients of the values that were
// passed on; undefined ones are zero. grad_x may be grad_out, grad_past[t] may be grad_past_out[t].
void base_backward(const Tensor& grad_out, at::TensorList grad_past_out, const Tensor& grad_value,
                   const Tensor& x, const Tensor& value_weight, const Tensor& weights,
                   at::TensorList values, const Tensor& gamma, const Tensor& beta,
                   const optional<Tensor>& drop_path_scale, const Tensor& mean, const Tensor& variance,
                   double eps, bool normalize, const Tensor& grad_x, at::TensorList grad_past,
                   const Tensor& grad_value_weight, const Tensor& grad_weights,
                   const Tensor& grad_gamma, const Tensor& grad_beta);

// 1-D convolutions over channels, zero padded: y (B, L, C), kernels (L, M, K) to (B, L, M, C).
void channel_convolution_forward(const Tensor& y, const Tensor& kernels, const Tensor& out);
void channel_convolution_backward(const Tensor& grad_out, const Tensor& y, const Tensor& kernels,
                                  const Tensor& grad_y, const Tensor& grad_kernels);

// sigmoid(<q, k> / sqrt(D)) of each head of D channels, repeated over them: y (B, C), kernels of
// query and key (2, K) to (B, C). query_key, (B, 2, C), is saved for the gradient.
void self_score_forward(const Tensor& y, const Tensor& kernels, int64_t dim, const Tensor& score,
                        const Tensor& query_key);
void self_score_backward(const Tensor& grad_out, const Tensor& y, const Tensor& kernels, int64_t dim,
                         const Tensor& score, const Tensor& query_key, const Tensor& grad_y,
                         const Tensor& grad_kernels);

// sigmoid(f) * c + sigmoid(i) * tanh(c~), (B, T, C). `active`, (B, T, 3C), holds sigmoid(i),
// sigmoid(f) and tanh(c~); c is (B, T, C), or (B, 1, C) for all T.
void dsu_update_forward(const Tensor& active, const Tensor& c, const Tensor& out);
void dsu_update_backward(const Tensor& grad_out, const Tensor& active, const Tensor& c,
                         const Tensor& grad_pre, const Tensor& grad_c);

}  // namespace mmdla
