// What the autograd functions share.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "checks.h"

namespace mmdla {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

inline bool has_layout_of(const Tensor& grad, const Tensor& like) {
  return grad.is_contiguous() && grad.scalar_type() == like.scalar_type();
}

// Memory to write a gradient to: that of an incoming one if nobody else holds it, as when autograd
// accumulates in place, else new memory.
inline Tensor reuse_or_allocate(const Tensor& grad, const Tensor& like) {
  const bool alone = grad.use_count() == 1 && grad.storage().use_count() == 1;
  return alone && has_layout_of(grad, like) ? grad : at::empty_like(like);
}

// An incoming gradient as the loops read it; zeros if it is undefined.
inline Tensor incoming(const Tensor& grad, const Tensor& like) {
  if (!grad.defined()) return at::zeros_like(like);
  return has_layout_of(grad, like) ? grad : grad.to(like.scalar_type()).contiguous();
}

// Tells autograd that a tensor is overwritten, as PyTorch's in-place operations do.
inline void bump_version(const Tensor& tensor) {
  if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
}

inline void refuse_second_derivatives() {
  TORCH_CHECK(!at::GradMode::is_enabled(),
              "the fast layer attention has no second derivatives: run it under "
              "mmdla.ops.use('reference').");
}

}  // namespace mmdla
