// What the autograd functions share.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include "checks.h"

namespace mmdla {

using std::optional;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// An operation of this library, called through PyTorch's dispatcher, so that what traces or transforms
// a program sees it.
template <typename Function>
auto operation(const char* name, Function*) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Function>();
}

// Whether a tensor has memory that a gradient may be written to: not while PyTorch traces a program.
inline bool is_plain(const Tensor& tensor) {
  const c10::DispatchKeySet traced({c10::DispatchKey::Python, c10::DispatchKey::Functionalize,
                                    c10::DispatchKey::PreDispatch});
  return !(tensor.key_set() | c10::impl::tls_local_dispatch_key_set().included_).has_any(traced);
}

inline bool is_plain(const variable_list& tensors) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [](const Tensor& tensor) { return !tensor.defined() || is_plain(tensor); });
}

// Contiguous or channels_last, as a map that the operations have taken.
inline at::MemoryFormat format_of(const Tensor& map) {
  return map.is_contiguous() ? at::MemoryFormat::Contiguous : at::MemoryFormat::ChannelsLast;
}

// A map in the memory format of the first one, copied if it has another.
inline Tensor like_first(const Tensor& map, const Tensor& first) {
  const bool fits = map.dim() == 4 && first.dim() == 4 && map.layout() == first.layout() &&
                    (first.is_contiguous() || first.is_contiguous(at::MemoryFormat::ChannelsLast));
  return fits ? map.contiguous(format_of(first)) : map;
}

inline bool has_layout_of(const Tensor& grad, const Tensor& like) {
  return grad.is_contiguous(format_of(like)) && grad.scalar_type() == like.scalar_type();
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
  return has_layout_of(grad, like) ? grad : grad.to(like.scalar_type()).contiguous(format_of(like));
}

// Tells autograd that a tensor is overwritten, as PyTorch's in-place operations do.
inline void bump_version(const Tensor& tensor) {
  if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
}

inline optional<Tensor> maybe(const Tensor& tensor) {
  return tensor.defined() ? optional<Tensor>(tensor) : std::nullopt;
}

// Refuses what a backward pass of this library cannot do with these incoming gradients.
inline void check_backward(const variable_list& grads) {
  TORCH_CHECK(!at::GradMode::is_enabled(),
              "the fast layer attention has no second derivatives: run it under "
              "mmdla.ops.use('reference').");
  for (const Tensor& grad : grads)
    TORCH_CHECK(!grad.defined() || !grad.key_set().has_any(c10::DispatchKeySet(
                    {c10::DispatchKey::Batched, c10::DispatchKey::FuncTorchBatched})),
                "the fast layer attention takes no batch of gradients (is_grads_batched, vmap): run it "
                "under mmdla.ops.use('reference').");
}

}  // namespace mmdla
