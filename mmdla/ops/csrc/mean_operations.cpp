// channel_convolution and self_score as PyTorch sees them: checks, memory, gradients, schemas.
// Both are functional.
#include <tuple>

#include "autograd.h"
#include "kernels.h"

namespace mmdla {
namespace {

using Two = std::tuple<Tensor, Tensor>;

// --------------------------------------------------------------------- channel_convolution

Tensor channel_convolution(const Tensor& y, const Tensor& kernels) {
  check_channel_convolution(y, kernels);
  Tensor out = at::empty({y.size(0), y.size(1), kernels.size(1), y.size(2)}, y.options());
  channel_convolution_forward(y, kernels, out);
  return out;
}

Two channel_convolution_backward_(const Tensor& grad_out, const Tensor& y, const Tensor& kernels) {
  check_channel_convolution(y, kernels);
  check(grad_out, "grad_out", {y.size(0), y.size(1), kernels.size(1), y.size(2)}, y.scalar_type());
  Tensor grad_y = at::empty_like(y), grad_kernels = at::empty_like(kernels);
  channel_convolution_backward(grad_out, y, kernels, grad_y, grad_kernels);
  return {grad_y, grad_kernels};
}

struct ChannelConvolution : torch::autograd::Function<ChannelConvolution> {
  static Tensor forward(AutogradContext* ctx, Tensor y, Tensor kernels) {
    at::AutoDispatchBelowADInplaceOrView below;
    static const auto op = operation("mmdla::channel_convolution", channel_convolution);
    ctx->save_for_backward({y, kernels});
    return op.call(y, kernels);
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    check_backward(grads);
    static const auto op =
        operation("mmdla::channel_convolution_backward", channel_convolution_backward_);
    const auto saved = ctx->get_saved_variables();
    auto [grad_y, grad_kernels] = op.call(grads[0].contiguous(), saved[0], saved[1]);
    return {grad_y, grad_kernels};
  }
};

Tensor channel_convolution_autograd(const Tensor& y, const Tensor& kernels) {
  return ChannelConvolution::apply(y, kernels);
}

// ------------------------------------------------------------------------------ self_score

// Returns the query and key, (B, 2, C), for the gradient, too.
Two self_score(const Tensor& y, const Tensor& kernels, int64_t dim) {
  check_self_score(y, kernels, dim);
  Tensor score = at::empty_like(y), query_key = at::empty({y.size(0), 2, y.size(1)}, y.options());
  self_score_forward(y, kernels, dim, score, query_key);
  return {score, query_key};
}

Two self_score_backward_(const Tensor& grad_out, const Tensor& y, const Tensor& kernels, int64_t dim,
                         const Tensor& score, const Tensor& query_key) {
  check_self_score(y, kernels, dim);
  check(grad_out, "grad_out", y.sizes(), y.scalar_type());
  check(score, "score", y.sizes(), y.scalar_type());
  check(query_key, "query_key", {y.size(0), 2, y.size(1)}, y.scalar_type());
  Tensor grad_y = at::empty_like(y), grad_kernels = at::empty_like(kernels);
  self_score_backward(grad_out, y, kernels, dim, score, query_key, grad_y, grad_kernels);
  return {grad_y, grad_kernels};
}

struct SelfScore : torch::autograd::Function<SelfScore> {
  static variable_list forward(AutogradContext* ctx, Tensor y, Tensor kernels, int64_t dim) {
    at::AutoDispatchBelowADInplaceOrView below;
    static const auto op = operation("mmdla::self_score", self_score);
    auto [score, query_key] = op.call(y, kernels, dim);
    ctx->save_for_backward({y, kernels, score, query_key});
    ctx->saved_data["dim"] = dim;
    ctx->mark_non_differentiable({query_key});
    return {score, query_key};
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    check_backward(grads);
    static const auto op = operation("mmdla::self_score_backward", self_score_backward_);
    const auto saved = ctx->get_saved_variables();
    auto [grad_y, grad_kernels] = op.call(grads[0].contiguous(), saved[0], saved[1],
                                          ctx->saved_data["dim"].toInt(), saved[2], saved[3]);
    return {grad_y, grad_kernels, Tensor()};
  }
};

Two self_score_autograd(const Tensor& y, const Tensor& kernels, int64_t dim) {
  auto out = SelfScore::apply(y, kernels, dim);
  return {out[0], out[1]};
}

TORCH_LIBRARY_FRAGMENT(mmdla, m) {
  m.def("channel_convolution(Tensor y, Tensor kernels) -> Tensor");
  m.def("channel_convolution_backward(Tensor grad_out, Tensor y, Tensor kernels) -> (Tensor, Tensor)");
  m.def("self_score(Tensor y, Tensor kernels, int dim) -> (Tensor, Tensor)");
  m.def("self_score_backward(Tensor grad_out, Tensor y, Tensor kernels, int dim, Tensor score, "
        "Tensor query_key) -> (Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(mmdla, CPU, m) {
  m.impl("channel_convolution", channel_convolution);
  m.impl("channel_convolution_backward", channel_convolution_backward_);
  m.impl("self_score", self_score);
  m.impl("self_score_backward", self_score_backward_);
}

TORCH_LIBRARY_IMPL(mmdla, AutogradCPU, m) {
  m.impl("channel_convolution", channel_convolution_autograd);
  m.impl("self_score", self_score_autograd);
}

}  // namespace
}  // namespace mmdla
