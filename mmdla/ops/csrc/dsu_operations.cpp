// The DSU (mmdla/attention/context_unit.py) as PyTorch sees it, whole and its last step alone: checks,
// memory, gradients, schemas. Both are functional.
#include <ATen/ops/addmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/sigmoid_backward.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/threshold_backward.h>

#include <tuple>

#include "autograd.h"
#include "kernels.h"

namespace mmdla {
namespace {

using Two = std::tuple<Tensor, Tensor>;
using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using Five = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

// Under autocast the matrix products below would be of bfloat16.
struct WithoutAutocast : c10::impl::ExcludeDispatchKeyGuard {
  WithoutAutocast() : ExcludeDispatchKeyGuard(c10::DispatchKeySet(c10::DispatchKey::AutocastCPU)) {}
};

// (B, T, ...) of a tensor with B T rows or, for all T, B.
Tensor as_steps(const Tensor& tensor, const Tensor& y) {
  const int64_t B = y.size(0), T = y.dim() == 3 ? y.size(1) : 1, C = y.size(-1);
  return tensor.numel() == B * C && T > 1 ? tensor.view({B, 1, C}) : tensor.view({B, T, -1});
}

Tensor rows(const Tensor& tensor) { return tensor.view({-1, tensor.size(-1)}); }

// i, f and c~, (..., 3C), after their activations.
Tensor activate(const Tensor& pre) {
  const int64_t C = pre.size(-1) / 3;
  Tensor active = at::empty_like(pre);
  Tensor gates = active.narrow(-1, 0, 2 * C), candidate = active.narrow(-1, 2 * C, C);
  at::sigmoid_out(gates, pre.narrow(-1, 0, 2 * C));
  at::tanh_out(candidate, pre.narrow(-1, 2 * C, C));
  return active;
}

// ------------------------------------------------------------------------------ dsu_update

// `pre` are i, f and c~ before their activations; returns them after, for the gradient, too.
Two dsu_update(const Tensor& pre, const Tensor& c) {
  check_dsu_update(pre, c);
  Tensor out = at::empty({pre.size(0), pre.size(1), pre.size(2) / 3}, pre.options());
  const Tensor active = activate(pre);
  dsu_update_forward(active, c, out);
  return {out, active};
}

Two dsu_update_backward_(const Tensor& grad_out, const Tensor& active, const Tensor& c) {
  check_dsu_update(active, c);
  check(grad_out, "grad_out", {active.size(0), active.size(1), active.size(2) / 3},
        active.scalar_type());
  Tensor grad_pre = at::empty_like(active), grad_c = at::empty_like(c);
  dsu_update_backward(grad_out, active, c, grad_pre, grad_c);
  return {grad_pre, grad_c};
}

struct DSUUpdate : torch::autograd::Function<DSUUpdate> {
  static variable_list forward(AutogradContext* ctx, Tensor pre, Tensor c) {
    at::AutoDispatchBelowADInplaceOrView below;
    static const auto op = operation("mmdla::dsu_update", dsu_update);
    auto [out, active] = op.call(pre, c);
    ctx->save_for_backward({active, c});
    ctx->mark_non_differentiable({active});
    return {out, active};
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    check_backward(grads);
    static const auto op = operation("mmdla::dsu_update_backward", dsu_update_backward_);
    const auto saved = ctx->get_saved_variables();
    auto [grad_pre, grad_c] = op.call(grads[0].contiguous(), saved[0], saved[1]);
    return {grad_pre, grad_c};
  }
};

Two dsu_update_autograd(const Tensor& pre, const Tensor& c) {
  auto out = DSUUpdate::apply(pre, c);
  return {out[0], out[1]};
}

// ------------------------------------------------------------------------------------- dsu

// The new context of y, (B, C) or (B, T, C), and the context before, c, which may be (B, 1, C) for all
// T. Returns h = sigmoid(c), s and the active gates for the gradient, too.
Four dsu(const Tensor& y, const Tensor& c, const Tensor& squeeze, const Tensor& expand,
         const Tensor& bias) {
  check_dsu(y, c, squeeze, expand, bias);
  const WithoutAutocast guard;
  const int64_t C = y.size(-1), hidden = squeeze.size(0);
  const Tensor h = c.sigmoid();
  const Tensor from_h = at::mm(rows(h), squeeze.narrow(1, 0, C).t());
  const Tensor on_y = squeeze.narrow(1, C, C).t();
  Tensor s;  // DLA Eq. 7, with [h, y] never put together
  if (h.numel() == y.numel()) {
    s = at::addmm(from_h, rows(y), on_y);
  } else {
    s = at::mm(rows(y), on_y);
    s.view({y.size(0), y.size(1), hidden}).add_(from_h.unsqueeze(1));
  }
  s.relu_();
  const Tensor active = activate(at::addmm(bias, s, expand.t()));
  Tensor out = at::empty_like(y);
  dsu_update_forward(as_steps(active, y), as_steps(c, y), as_steps(out, y));
  return {out, h, s, active};
}

Five dsu_backward_(const Tensor& grad_out, const Tensor& y, const Tensor& c, const Tensor& squeeze,
                   const Tensor& expand, const Tensor& h, const Tensor& s, const Tensor& active) {
  check_dsu(y, c, squeeze, expand, std::nullopt);
  const WithoutAutocast guard;
  const int64_t C = y.size(-1), hidden = squeeze.size(0), count = y.numel() / C;
  check(grad_out, "grad_out", y.sizes(), y.scalar_type());
  check(h, "h", c.sizes(), y.scalar_type());
  check(s, "s", {count, hidden}, y.scalar_type());
  check(active, "active", {count, 3 * C}, y.scalar_type());
  Tensor grad_pre = at::empty_like(active), grad_c = at::empty_like(c);
  dsu_update_backward(as_steps(grad_out, y), as_steps(active, y), as_steps(c, y),
                      as_steps(grad_pre, y), as_steps(grad_c, y));
  const Tensor grad_s = at::threshold_backward(at::mm(grad_pre, expand), s, 0);
  const Tensor grad_from_h =
      h.numel() == y.numel() ? grad_s : grad_s.view({y.size(0), y.size(1), hidden}).sum(1);
  const Tensor grad_h = at::mm(grad_from_h, squeeze.narrow(1, 0, C)).view(h.sizes());
  grad_c.add_(at::sigmoid_backward(grad_h, h));
  const Tensor grad_squeeze =
      at::cat({at::mm(grad_from_h.t(), rows(h)), at::mm(grad_s.t(), rows(y))}, 1);
  return {at::mm(grad_s, squeeze.narrow(1, C, C)).view(y.sizes()), grad_c, grad_squeeze,
          at::mm(grad_pre.t(), s), grad_pre.sum(0)};
}

struct DSU : torch::autograd::Function<DSU> {
  static variable_list forward(AutogradContext* ctx, Tensor y, Tensor c, Tensor squeeze, Tensor expand,
                               Tensor bias) {
    at::AutoDispatchBelowADInplaceOrView below;
    static const auto op = operation("mmdla::dsu", dsu);
    auto [out, h, s, active] = op.call(y, c, squeeze, expand, bias);
    ctx->save_for_backward({y, c, squeeze, expand, h, s, active});
    ctx->mark_non_differentiable({h, s, active});
    return {out, h, s, active};
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    check_backward(grads);
    static const auto op = operation("mmdla::dsu_backward", dsu_backward_);
    const auto saved = ctx->get_saved_variables();
    auto [grad_y, grad_c, grad_squeeze, grad_expand, grad_bias] =
        op.call(grads[0].contiguous(), saved[0], saved[1], saved[2], saved[3], saved[4], saved[5],
                saved[6]);
    return {grad_y, grad_c, grad_squeeze, grad_expand, grad_bias};
  }
};

Four dsu_autograd(const Tensor& y, const Tensor& c, const Tensor& squeeze, const Tensor& expand,
                  const Tensor& bias) {
  auto out = DSU::apply(y, c, squeeze, expand, bias);
  return {out[0], out[1], out[2], out[3]};
}

TORCH_LIBRARY_FRAGMENT(mmdla, m) {
  m.def("dsu_update(Tensor pre, Tensor c) -> (Tensor, Tensor)");
  m.def("dsu_update_backward(Tensor grad_out, Tensor active, Tensor c) -> (Tensor, Tensor)");
  m.def("dsu(Tensor y, Tensor c, Tensor squeeze, Tensor expand, Tensor bias) -> "
        "(Tensor, Tensor, Tensor, Tensor)");
  m.def("dsu_backward(Tensor grad_out, Tensor y, Tensor c, Tensor squeeze, Tensor expand, Tensor h, "
        "Tensor s, Tensor active) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(mmdla, CPU, m) {
  m.impl("dsu_update", dsu_update);
  m.impl("dsu_update_backward", dsu_update_backward_);
  m.impl("dsu", dsu);
  m.impl("dsu_backward", dsu_backward_);
}

TORCH_LIBRARY_IMPL(mmdla, AutogradCPU, m) {
  m.impl("dsu_update", dsu_update_autograd);
  m.impl("dsu", dsu_autograd);
}

}  // namespace
}  // namespace mmdla
