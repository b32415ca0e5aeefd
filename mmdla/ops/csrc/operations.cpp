// The operations as PyTorch sees them: checks, memory, gradients, schemas. The loops are in kernels.h,
// the equations, references and dispatch in mmdla/ops/*.py; docs/performance.md counts the passes over
// memory.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <tuple>
#include <vector>

#include "checks.h"
#include "kernels.h"

namespace mmdla {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool replaceable(const Tensor& grad, const Tensor& like) {
  return grad.is_contiguous() && grad.scalar_type() == like.scalar_type();
}

// A gradient's own memory where nobody else holds it, as autograd itself accumulates, or new memory.
Tensor own_memory(const Tensor& grad, const Tensor& like) {
  const bool alone = grad.use_count() == 1 && grad.storage().use_count() == 1;
  return alone && replaceable(grad, like) ? grad : at::empty_like(like);
}

Tensor gradient(const Tensor& grad, const Tensor& like) {
  if (!grad.defined()) return at::zeros_like(like);
  return replaceable(grad, like) ? grad : grad.to(like.scalar_type()).contiguous();
}

// as every operation of PyTorch does for what it overwrites
void overwritten(const Tensor& tensor) {
  if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
}

void refuse_second_derivatives() {
  TORCH_CHECK(!at::GradMode::is_enabled(),
              "the fast layer attention has no second derivatives: run it under "
              "mmdla.ops.use('reference').");
}

// ------------------------------------------------------------------------------- residual

// Returns the means of x and, if asked, of the shortcut.
std::tuple<Tensor, Tensor> residual_(const Tensor& branch, const Tensor& shortcut, bool both) {
  check_residual(branch, shortcut);
  refuse_gradients("residual_", branch, shortcut);
  overwritten(branch);
  Tensor y = at::empty({branch.size(0), branch.size(1)}, branch.options());
  Tensor z = both ? at::empty_like(y) : at::empty({0}, branch.options());
  residual_forward(branch, shortcut, y, z);
  return {y, z};
}

struct Residual : torch::autograd::Function<Residual> {
  // returns x, the shortcut (for whoever reads it next), y, z
  static variable_list forward(AutogradContext* ctx, Tensor branch, Tensor shortcut, bool both) {
    auto [y, z] = residual_(branch, shortcut, both);
    ctx->mark_dirty({branch});
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({branch});
    return {branch, shortcut, y, z};
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    refuse_second_derivatives();
    const Tensor x = ctx->get_saved_variables()[0];
    if (!grads[0].defined()) grads[0] = at::zeros_like(x);
    Tensor to_branch = own_memory(grads[0], x), to_shortcut = to_branch;
    const Tensor of_x = gradient(grads[0], x);
    optional<Tensor> of_shortcut, of_y, of_z;
    if (grads[2].defined()) of_y = grads[2].to(x.scalar_type()).contiguous();
    if (grads[3].defined() && grads[3].numel()) of_z = grads[3].to(x.scalar_type()).contiguous();
    if (grads[1].defined() || of_z) {
      to_shortcut = grads[1].defined() ? own_memory(grads[1], x) : at::empty_like(x);
      of_shortcut = gradient(grads[1], x);
    }
    residual_backward(x, of_x, of_shortcut, of_y, of_z, to_branch, to_shortcut);
    return {to_branch, to_shortcut, Tensor()};
  }
};

std::tuple<Tensor, Tensor, Tensor, Tensor> residual(Tensor branch, Tensor shortcut, bool both) {
  auto out = Residual::apply(branch, shortcut, both);
  return {out[0], out[1], out[2], out[3]};
}

// ---------------------------------------------------------------------------------- light

void light_out(const Tensor& x, const Tensor& o, const Tensor& value, const Tensor& score,
               const Tensor& decay, const optional<Tensor>& gate, const optional<Tensor>& excite,
               const Tensor& gamma, const Tensor& beta, const optional<Tensor>& scale, double eps,
               bool normalize, const Tensor& out, const Tensor& mean, const Tensor& variance) {
  check_light(x, o, value, score, decay, gate, excite, gamma, beta, scale);
  check(out, "out", x.sizes(), x.scalar_type());
  check_moments(x, mean, variance);
  refuse_gradients("light_out", x, o, value, score, decay, gate, excite, gamma, beta, scale, out,
                   mean, variance);
  for (const Tensor& written : {out, mean, variance}) overwritten(written);
  light_forward(x, o, value, score, decay, gate, excite, gamma, beta, scale, eps, normalize, out, mean,
                variance);
}

struct Light : torch::autograd::Function<Light> {
  // returns out, mean, variance
  static variable_list forward(AutogradContext* ctx, Tensor x, Tensor o, Tensor value, Tensor score,
                               Tensor decay, optional<Tensor> gate, optional<Tensor> excite,
                               Tensor gamma, Tensor beta, optional<Tensor> scale, double eps,
                               bool normalize) {
    check_light(x, o, value, score, decay, gate, excite, gamma, beta, scale);
    Tensor out = at::empty_like(x), mean = at::empty_like(gamma), variance = at::empty_like(gamma);
    light_forward(x, o, value, score, decay, gate, excite, gamma, beta, scale, eps, normalize, out,
                  mean, variance);
    ctx->save_for_backward({x, o, value, score, decay, gate.value_or(Tensor()),
                            excite.value_or(Tensor()), gamma, scale.value_or(Tensor()), mean,
                            variance});
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["normalize"] = normalize;
    ctx->mark_non_differentiable({mean, variance});
    return {out, mean, variance};
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    refuse_second_derivatives();
    const auto saved = ctx->get_saved_variables();
    const auto maybe = [&](int i) {
      return saved[i].defined() ? optional<Tensor>(saved[i]) : std::nullopt;
    };
    const Tensor &x = saved[0], &o = saved[1], &value = saved[2], &score = saved[3];
    const Tensor &decay = saved[4], &gamma = saved[7], &mean = saved[9], &variance = saved[10];
    const optional<Tensor> gate = maybe(5), excite = maybe(6), scale = maybe(8);
    Tensor to_x = own_memory(grads[0], x), to_o = at::empty_like(o);
    const Tensor grad = gradient(grads[0], x);
    Tensor to_value = at::empty_like(value), to_score = at::empty_like(score);
    Tensor to_decay = at::empty_like(decay), to_gate, to_excite;
    if (gate) to_gate = at::empty_like(*gate);
    if (excite) to_excite = at::empty_like(*excite);
    Tensor to_gamma = at::empty_like(gamma), to_beta = at::empty_like(gamma);
    light_backward(grad, x, o, value, score, decay, gate, excite, gamma, scale, mean, variance,
                   ctx->saved_data["eps"].toDouble(), ctx->saved_data["normalize"].toBool(), to_x, to_o,
                   to_value, to_score, to_decay, to_gate, to_excite, to_gamma, to_beta);
    return {to_x,      to_o,     to_value, to_score, to_decay, to_gate,
            to_excite, to_gamma, to_beta,  Tensor(), Tensor(), Tensor()};
  }
};

std::tuple<Tensor, Tensor, Tensor> light(Tensor x, Tensor o, Tensor value, Tensor score, Tensor decay,
                                         optional<Tensor> gate, optional<Tensor> excite, Tensor gamma,
                                         Tensor beta, optional<Tensor> scale, double eps,
                                         bool normalize) {
  auto out = Light::apply(x, o, value, score, decay, gate, excite, gamma, beta, scale, eps, normalize);
  return {out[0], out[1], out[2]};
}

// ----------------------------------------------------------------------------------- base

void base_out(const Tensor& x, const Tensor& kernel, const Tensor& weights, at::TensorList past,
              const Tensor& gamma, const Tensor& beta, const optional<Tensor>& scale, double eps,
              bool normalize, const Tensor& out, const Tensor& value, const Tensor& mean,
              const Tensor& variance) {
  check_base(x, kernel, weights, past, gamma, beta, scale);
  check(out, "out", x.sizes(), x.scalar_type());
  check(value, "value", x.sizes(), x.scalar_type());
  check_moments(x, mean, variance);
  refuse_gradients("base_out", x, kernel, weights, past, gamma, beta, scale, out, value, mean,
                   variance);
  for (const Tensor& written : {out, value, mean, variance}) overwritten(written);
  base_forward(x, kernel, weights, past, gamma, beta, scale, eps, normalize, out, value, mean, variance);
}

struct Base : torch::autograd::Function<Base> {
  // Returns out, mean, variance, the newest value, and those of the past. The values go through each
  // layer, so that in the backward pass each has one gradient, to which a layer adds its part where
  // it lies.
  static variable_list forward(AutogradContext* ctx, Tensor x, Tensor kernel, Tensor weights,
                               Tensor gamma, Tensor beta, optional<Tensor> scale, double eps,
                               bool normalize, at::TensorList past) {
    check_base(x, kernel, weights, past, gamma, beta, scale);
    Tensor out = at::empty_like(x), value = at::empty_like(x);
    Tensor mean = at::empty_like(gamma), variance = at::empty_like(gamma);
    base_forward(x, kernel, weights, past, gamma, beta, scale, eps, normalize, out, value, mean,
                 variance);
    variable_list saved = {x,    kernel,   weights, gamma, beta, scale.value_or(Tensor()),
                           mean, variance, value};
    saved.insert(saved.end(), past.begin(), past.end());
    ctx->save_for_backward(saved);
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["normalize"] = normalize;
    ctx->mark_non_differentiable({mean, variance});
    ctx->set_materialize_grads(false);
    variable_list outputs = {out, mean, variance, value};
    outputs.insert(outputs.end(), past.begin(), past.end());
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    refuse_second_derivatives();
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &kernel = saved[1], &weights = saved[2], &gamma = saved[3];
    const Tensor &beta = saved[4], &scale = saved[5], &mean = saved[6], &variance = saved[7];
    variable_list values(saved.begin() + 9, saved.end());
    const int64_t earlier = values.size();
    values.push_back(saved[8]);

    Tensor to_x = grads[0].defined() ? own_memory(grads[0], x) : at::empty_like(x);
    const Tensor grad = gradient(grads[0], x);
    const Tensor of_newest = grads[3].defined() ? gradient(grads[3], x) : Tensor();
    variable_list of_past(earlier), to_past(earlier);
    for (int64_t t = 0; t < earlier; ++t) {
      if (grads[4 + t].defined()) {
        to_past[t] = own_memory(grads[4 + t], x);
        of_past[t] = gradient(grads[4 + t], x);
      } else {
        to_past[t] = at::empty_like(x);
      }
    }
    Tensor to_kernel = at::empty_like(kernel), to_weights = at::empty_like(weights);
    Tensor to_gamma = at::empty_like(gamma), to_beta = at::empty_like(gamma);
    base_backward(grad, of_past, of_newest, x, kernel, weights, values, gamma, beta, scale, mean,
                  variance, ctx->saved_data["eps"].toDouble(), ctx->saved_data["normalize"].toBool(),
                  to_x, to_past, to_kernel, to_weights, to_gamma, to_beta);
    variable_list result = {to_x,     to_kernel, to_weights, to_gamma, to_beta,
                            Tensor(), Tensor(),  Tensor()};
    result.insert(result.end(), to_past.begin(), to_past.end());
    return result;
  }
};

std::tuple<Tensor, Tensor, Tensor, Tensor, std::vector<Tensor>> base(
    Tensor x, Tensor kernel, Tensor weights, at::TensorList past, Tensor gamma, Tensor beta,
    optional<Tensor> scale, double eps, bool normalize) {
  auto out = Base::apply(x, kernel, weights, gamma, beta, scale, eps, normalize, past);
  return {out[0], out[1], out[2], out[3], {out.begin() + 4, out.end()}};
}

// -------------------------------------------------------------------------- channel means

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
    Tensor to_y = at::empty_like(y), to_kernels = at::empty_like(kernels);
    channel_convolution_backward(grads[0].contiguous(), y, kernels, to_y, to_kernels);
    return {to_y, to_kernels};
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
    Tensor to_y = at::empty_like(y), to_kernels = at::empty_like(kernels);
    self_score_backward(grads[0].contiguous(), y, kernels, ctx->saved_data["dim"].toInt(), score,
                        query_key, to_y, to_kernels);
    return {to_y, to_kernels, Tensor()};
  }
};

Tensor self_score(Tensor y, Tensor kernels, int64_t dim) { return SelfScore::apply(y, kernels, dim); }

struct Gates : torch::autograd::Function<Gates> {
  static Tensor forward(AutogradContext* ctx, Tensor pre, Tensor c) {
    check_gates(pre, c);
    const int64_t C = pre.size(2) / 3;
    Tensor out = at::empty({pre.size(0), pre.size(1), C}, pre.options()), active = pre.sigmoid();
    active.narrow(2, 2 * C, C).copy_(pre.narrow(2, 2 * C, C).tanh());
    gates_forward(active, c, out);
    ctx->save_for_backward({active, c});
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    refuse_second_derivatives();
    const auto saved = ctx->get_saved_variables();
    const Tensor &active = saved[0], &c = saved[1];
    Tensor to_pre = at::empty_like(active), to_c = at::empty_like(c);
    gates_backward(grads[0].contiguous(), active, c, to_pre, to_c);
    return {to_pre, to_c};
  }
};

Tensor gates(Tensor pre, Tensor c) { return Gates::apply(pre, c); }

// the operations with gradients
void implement(torch::Library& m) {
  m.impl("residual", residual);
  m.impl("light", light);
  m.impl("base", base);
  m.impl("channel_convolution", channel_convolution);
  m.impl("self_score", self_score);
  m.impl("gates", gates);
}

}  // namespace

// Of each pair, the one that ends in _ or _out writes where it is told and has no gradient. residual
// overwrites branch, with one; it and base return maps that they were given for whoever reads them next.
TORCH_LIBRARY(mmdla, m) {
  m.def("residual_(Tensor(a!) branch, Tensor shortcut, bool both) -> (Tensor, Tensor)");
  m.def("residual(Tensor(a!) branch, Tensor(b) shortcut, bool both) -> "
        "(Tensor(a!), Tensor(b), Tensor, Tensor)");
  m.def("light_out(Tensor x, Tensor o, Tensor value, Tensor score, Tensor decay, Tensor? gate, "
        "Tensor? excite, Tensor gamma, Tensor beta, Tensor? scale, float eps, bool normalize, "
        "Tensor(a!) out, Tensor(b!) mean, Tensor(c!) variance) -> ()");
  m.def("light(Tensor x, Tensor o, Tensor value, Tensor score, Tensor decay, Tensor? gate, "
        "Tensor? excite, Tensor gamma, Tensor beta, Tensor? scale, float eps, bool normalize) -> "
        "(Tensor, Tensor, Tensor)");
  m.def("base_out(Tensor x, Tensor kernel, Tensor weights, Tensor[] past, Tensor gamma, Tensor beta, "
        "Tensor? scale, float eps, bool normalize, Tensor(a!) out, Tensor(b!) value, "
        "Tensor(c!) mean, Tensor(d!) variance) -> ()");
  m.def("base(Tensor x, Tensor kernel, Tensor weights, Tensor(a)[] past, Tensor gamma, Tensor beta, "
        "Tensor? scale, float eps, bool normalize) -> (Tensor, Tensor, Tensor, Tensor, Tensor(a)[])");
  m.def("channel_convolution(Tensor y, Tensor kernels) -> Tensor");
  m.def("self_score(Tensor y, Tensor kernels, int dim) -> Tensor");
  m.def("gates(Tensor pre, Tensor c) -> Tensor");
}

TORCH_LIBRARY_IMPL(mmdla, CPU, m) {
  m.impl("residual_", residual_);
  m.impl("light_out", light_out);
  m.impl("base_out", base_out);
  implement(m);
}

TORCH_LIBRARY_IMPL(mmdla, AutogradCPU, m) { implement(m); }

}  // namespace mmdla
