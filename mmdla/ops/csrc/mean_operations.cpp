// The operations on channel means as PyTorch sees them: checks, memory, gradients, schemas.
#include "autograd.h"
#include "kernels.h"

namespace mmdla {
namespace {

struct ChannelConvolution : torch::autograd::Function<ChannelConvolution> {
  static Tensor forward(AutogradContext* ctx, Tensor y, Tensor kernels) {
    check_channel_convolution(y, kernels);
    Tensor out = at::empty({y.size(0), y.size(1), kernels.size(1), y.size(2)}, y.options());
    channel_convolution_forward(y, kernels, out);
    ctx->save_for_backward({y, kernels});
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    refuse_second_derivatives();
    const auto saved = ctx->get_saved_variables();
    const Tensor &y = saved[0], &kernels = saved[1];
    Tensor grad_y = at::empty_like(y), grad_kernels = at::empty_like(kernels);
    channel_convolution_backward(grads[0].contiguous(), y, kernels, grad_y, grad_kernels);
    return {grad_y, grad_kernels};
  }
};

Tensor channel_convolution(Tensor y, Tensor kernels) { return ChannelConvolution::apply(y, kernels); }

struct SelfScore : torch::autograd::Function<SelfScore> {
  static Tensor forward(AutogradContext* ctx, Tensor y, Tensor kernels, int64_t dim) {
    check_self_score(y, kernels, dim);
    Tensor score = at::empty_like(y), query_key = at::empty({y.size(0), 2, y.size(1)}, y.options());
    self_score_forward(y, kernels, dim, score, query_key);
    ctx->save_for_backward({y, kernels, score, query_key});
    ctx->saved_data["dim"] = dim;
    return score;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    refuse_second_derivatives();
    const auto saved = ctx->get_saved_variables();
    const Tensor &y = saved[0], &kernels = saved[1], &score = saved[2], &query_key = saved[3];
    Tensor grad_y = at::empty_like(y), grad_kernels = at::empty_like(kernels);
    self_score_backward(grads[0].contiguous(), y, kernels, ctx->saved_data["dim"].toInt(), score,
                        query_key, grad_y, grad_kernels);
    return {grad_y, grad_kernels, Tensor()};
  }
};

Tensor self_score(Tensor y, Tensor kernels, int64_t dim) { return SelfScore::apply(y, kernels, dim); }

struct DSUUpdate : torch::autograd::Function<DSUUpdate> {
  static Tensor forward(AutogradContext* ctx, Tensor pre, Tensor c) {
    check_dsu_update(pre, c);
    const int64_t C = pre.size(2) / 3;
    Tensor out = at::empty({pre.size(0), pre.size(1), C}, pre.options()), active = pre.sigmoid();
    active.narrow(2, 2 * C, C).copy_(pre.narrow(2, 2 * C, C).tanh());
    dsu_update_forward(active, c, out);
    ctx->save_for_backward({active, c});
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    refuse_second_derivatives();
    const auto saved = ctx->get_saved_variables();
    const Tensor &active = saved[0], &c = saved[1];
    Tensor grad_pre = at::empty_like(active), grad_c = at::empty_like(c);
    dsu_update_backward(grads[0].contiguous(), active, c, grad_pre, grad_c);
    return {grad_pre, grad_c};
  }
};

Tensor dsu_update(Tensor pre, Tensor c) { return DSUUpdate::apply(pre, c); }

void implement(torch::Library& m) {
  m.impl("channel_convolution", channel_convolution);
  m.impl("self_score", self_score);
  m.impl("dsu_update", dsu_update);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(mmdla, m) {
  m.def("channel_convolution(Tensor y, Tensor kernels) -> Tensor");
  m.def("self_score(Tensor y, Tensor kernels, int dim) -> Tensor");
  m.def("dsu_update(Tensor pre, Tensor c) -> Tensor");
}

TORCH_LIBRARY_IMPL(mmdla, CPU, m) { implement(m); }
TORCH_LIBRARY_IMPL(mmdla, AutogradCPU, m) { implement(m); }

}  // namespace mmdla
