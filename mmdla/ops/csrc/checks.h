// Checks of the arguments, since the loops of kernels.h access memory without any.
#pragma once

#include <ATen/OpMathType.h>
#include <ATen/core/DimVector.h>
#include <ATen/core/Tensor.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <optional>

namespace mmdla {

using at::Tensor;
using std::optional;

inline void check(const Tensor& tensor, const char* name, at::IntArrayRef sizes, at::ScalarType dtype) {
  TORCH_CHECK(tensor.is_cpu() && tensor.layout() == at::kStrided, "mmdla: ", name,
              " must be a dense tensor on the CPU; got ", tensor.layout(), " on ", tensor.device(), ".");
  TORCH_CHECK(tensor.scalar_type() == dtype, "mmdla: ", name, " must be ", dtype, "; got ",
              tensor.scalar_type(), ".");
  TORCH_CHECK(tensor.sizes() == sizes, "mmdla: ", name, " must be of size ", sizes, "; got ",
              tensor.sizes(), ".");
  TORCH_CHECK(tensor.is_contiguous(), "mmdla: ", name, " must be contiguous; call .contiguous().");
}

inline void check(const optional<Tensor>& tensor, const char* name, at::IntArrayRef sizes,
                  at::ScalarType dtype) {
  if (tensor) check(*tensor, name, sizes, dtype);
}

// Checks the first tensor of an operation, whose sizes and dtype determine those of the others.
inline void check_first(const Tensor& tensor, const char* name, int64_t dim, bool halves) {
  TORCH_CHECK(tensor.dim() == dim && tensor.numel(), "mmdla: ", name, " must have ", dim,
              " dimensions and not be empty; got size ", tensor.sizes(), ".");
  const at::ScalarType dtype = tensor.scalar_type();
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kDouble ||
                  (halves && (dtype == at::kBFloat16 || dtype == at::kHalf)),
              "mmdla: ", name, " must be float32",
              halves ? ", float64, bfloat16 or float16" : " or float64", "; got ", dtype, ".");
  check(tensor, name, tensor.sizes(), dtype);
}

inline void check_map(const Tensor& tensor, const char* name) { check_first(tensor, name, 4, true); }

// A map that may also be channels_last.
inline void check_any_map(const Tensor& tensor, const char* name) {
  const bool nhwc = tensor.dim() == 4 && tensor.layout() == at::kStrided && !tensor.is_contiguous() &&
                    tensor.is_contiguous(at::MemoryFormat::ChannelsLast);
  check_map(nhwc ? tensor.permute({0, 2, 3, 1}) : tensor, name);
}

// Another map of the sizes, dtype and memory format of the first.
inline void check_same(const Tensor& tensor, const char* name, const Tensor& first) {
  TORCH_CHECK(tensor.sizes() == first.sizes(), "mmdla: ", name, " must be of size ", first.sizes(),
              "; got ", tensor.sizes(), ".");
  const bool nhwc = !first.is_contiguous();
  TORCH_CHECK(tensor.layout() == at::kStrided && (!nhwc || tensor.is_contiguous(at::MemoryFormat::ChannelsLast)),
              "mmdla: ", name, " must be contiguous in the memory format of the first map.");
  const Tensor as_first = nhwc ? tensor.permute({0, 2, 3, 1}) : tensor;
  check(as_first, name, as_first.sizes(), first.scalar_type());
}

inline void check_same(const optional<Tensor>& tensor, const char* name, const Tensor& first) {
  if (tensor) check_same(*tensor, name, first);
}

inline void check_add_relu_mean(const Tensor& branch, const Tensor& shortcut) {
  check_any_map(branch, "branch");
  check_same(shortcut, "shortcut", branch);
}

inline void check_light(const Tensor& x, const Tensor& o, const Tensor& value_weight,
                        const Tensor& score, const Tensor& lambda_l, const optional<Tensor>& d,
                        const optional<Tensor>& excite_weight, const Tensor& gamma, const Tensor& beta,
                        const optional<Tensor>& drop_path_scale) {
  check_any_map(x, "x");
  const int64_t B = x.size(0), C = x.size(1);
  const at::ScalarType dtype = at::toOpMathType(x.scalar_type());
  check_same(o, "o", x);
  check(value_weight, "value_weight", {C, 1, 3, 3}, dtype);
  check(score, "score", {B, C}, dtype);
  check(lambda_l, "lambda_l", {C}, dtype);
  check(d, "d", {B, C}, dtype);
  check(excite_weight, "excite_weight", {C, 1, 3, 3}, dtype);
  check(gamma, "gamma", {C}, dtype);
  check(beta, "beta", {C}, dtype);
  check(drop_path_scale, "drop_path_scale", {B}, dtype);
}

inline void check_base(const Tensor& x, const Tensor& value_weight, const Tensor& weights,
                       at::TensorList past, const Tensor& gamma, const Tensor& beta,
                       const optional<Tensor>& drop_path_scale) {
  check_map(x, "x");
  const int64_t B = x.size(0), C = x.size(1), L = past.size() + 1;
  const at::ScalarType dtype = at::toOpMathType(x.scalar_type());
  check(value_weight, "value_weight", {C, 1, 3, 3}, dtype);
  check(weights, "weights", {B, L, C}, dtype);
  for (const Tensor& value : past) check(value, "each map of past", x.sizes(), x.scalar_type());
  check(gamma, "gamma", {C}, dtype);
  check(beta, "beta", {C}, dtype);
  check(drop_path_scale, "drop_path_scale", {B}, dtype);
}

// Checks where the moments of a layer on maps like x are written to.
inline void check_moments(const Tensor& x, const Tensor& mean, const Tensor& variance) {
  const at::ScalarType dtype = at::toOpMathType(x.scalar_type());
  check(mean, "mean", {x.size(1)}, dtype);
  check(variance, "variance", {x.size(1)}, dtype);
}

inline void check_width(int64_t width) {
  TORCH_CHECK(width % 2, "mmdla: the width of kernels must be odd; got ", width, ".");
}

inline void check_channel_convolution(const Tensor& y, const Tensor& kernels) {
  check_first(y, "y", 3, false);
  TORCH_CHECK(kernels.dim() == 3, "mmdla: kernels must have 3 dimensions; got size ",
              kernels.sizes(), ".");
  check(kernels, "kernels", {y.size(1), kernels.size(1), kernels.size(2)}, y.scalar_type());
  check_width(kernels.size(2));
}

inline void check_self_score(const Tensor& y, const Tensor& kernels, int64_t dim) {
  check_first(y, "y", 2, false);
  TORCH_CHECK(kernels.dim() == 2, "mmdla: kernels must have 2 dimensions; got size ",
              kernels.sizes(), ".");
  check(kernels, "kernels", {2, kernels.size(1)}, y.scalar_type());
  check_width(kernels.size(1));
  TORCH_CHECK(dim > 0 && y.size(1) % dim == 0, "mmdla: dim must divide the ", y.size(1),
              " channels; got ", dim, ".");
}

inline void check_dsu_update(const Tensor& pre, const Tensor& c) {
  check_first(pre, "pre", 3, false);
  const int64_t B = pre.size(0), T = pre.size(1), C = pre.size(2) / 3;
  TORCH_CHECK(pre.size(2) % 3 == 0, "mmdla: the last size of pre must be 3 C; got ", pre.size(2), ".");
  const bool shared = c.dim() == 3 && c.size(1) == 1;
  check(c, "c", {B, shared ? 1 : T, C}, pre.scalar_type());
}

inline void check_dsu(const Tensor& y, const Tensor& c, const Tensor& squeeze, const Tensor& expand,
                      const optional<Tensor>& bias) {
  check_first(y, "y", y.dim() == 3 ? 3 : 2, false);
  const at::ScalarType dtype = y.scalar_type();
  const int64_t C = y.size(-1);
  const bool shared = y.dim() == 3 && c.dim() == 3 && c.size(1) == 1;
  check(c, "c", shared ? at::DimVector({y.size(0), 1, C}) : at::DimVector(y.sizes()), dtype);
  TORCH_CHECK(squeeze.dim() == 2, "mmdla: squeeze must have 2 dimensions; got size ", squeeze.sizes(),
              ".");
  check(squeeze, "squeeze", {squeeze.size(0), 2 * C}, dtype);
  check(expand, "expand", {3 * C, squeeze.size(0)}, dtype);
  check(bias, "bias", {3 * C}, dtype);
}

inline bool has_gradient(const Tensor& tensor) { return tensor.requires_grad(); }
inline bool has_gradient(const optional<Tensor>& tensor) { return tensor && tensor->requires_grad(); }
inline bool has_gradient(at::TensorList tensors) {
  return std::any_of(tensors.begin(), tensors.end(), [](const Tensor& t) { return t.requires_grad(); });
}

// For operations that write to given tensors, which autograd does not see.
template <typename... Tensors>
void refuse_gradients(const char* name, const Tensors&... tensors) {
  TORCH_CHECK(!at::GradMode::is_enabled() || !(has_gradient(tensors) || ...), "mmdla: ", name,
              " has no gradient: call it under torch.no_grad().");
}

}  // namespace mmdla
