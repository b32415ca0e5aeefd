// base as PyTorch sees it: see map_operations.cpp.
#include <tuple>
#include <vector>

#include "autograd.h"
#include "kernels.h"

namespace mmdla {
namespace {

using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using Chained = std::tuple<Tensor, Tensor, Tensor, Tensor, std::vector<Tensor>>;

void base_out(const Tensor& x, const Tensor& value_weight, const Tensor& weights, at::TensorList past,
              const Tensor& gamma, const Tensor& beta, const optional<Tensor>& drop_path_scale,
              double eps, bool normalize, const Tensor& out, const Tensor& value, const Tensor& mean,
              const Tensor& variance) {
  check_base(x, value_weight, weights, past, gamma, beta, drop_path_scale);
  check(out, "out", x.sizes(), x.scalar_type());
  check(value, "value", x.sizes(), x.scalar_type());
  check_moments(x, mean, variance);
  refuse_gradients("base_out", x, value_weight, weights, past, gamma, beta, drop_path_scale, out, value,
                   mean, variance);
  for (const Tensor& written : {out, value, mean, variance}) bump_version(written);
  base_forward(x, value_weight, weights, past, gamma, beta, drop_path_scale, eps, normalize, out, value,
               mean, variance);
}

// Returns out, the newest value, mean and variance; without `normalize` the last two are not computed.
Four base(const Tensor& x, const Tensor& value_weight, const Tensor& weights, at::TensorList past,
          const Tensor& gamma, const Tensor& beta, const optional<Tensor>& drop_path_scale, double eps,
          bool normalize) {
  check_base(x, value_weight, weights, past, gamma, beta, drop_path_scale);
  Tensor out = at::empty_like(x), value = at::empty_like(x);
  Tensor mean = at::zeros_like(gamma), variance = at::zeros_like(gamma);
  base_forward(x, value_weight, weights, past, gamma, beta, drop_path_scale, eps, normalize, out, value,
               mean, variance);
  return {out, value, mean, variance};
}

// The gradients of x, value_weight, weights, gamma, beta and of each map of the past. grad_past_out are
// those of the maps that were passed on, and are overwritten where nobody else holds their memory.
variable_list base_gradients(const Tensor& grad_out, const Tensor& grad_x, variable_list grad_past_out,
                             const Tensor& grad_value, const Tensor& x, const Tensor& value_weight,
                             const Tensor& weights, at::TensorList values, const Tensor& gamma,
                             const Tensor& beta, const optional<Tensor>& drop_path_scale,
                             const Tensor& mean, const Tensor& variance, double eps, bool normalize) {
  const size_t earlier = values.size() - 1;
  variable_list grad_past(earlier);
  grad_past_out.resize(earlier);
  for (size_t t = 0; t < earlier; ++t) {
    Tensor& grad = grad_past_out[t];
    grad_past[t] = grad.defined() ? reuse_or_allocate(grad, x) : at::empty_like(x);
    if (grad.defined()) grad = incoming(grad, x);
  }
  Tensor grad_value_weight = at::empty_like(value_weight), grad_weights = at::empty_like(weights);
  Tensor grad_gamma = at::empty_like(gamma), grad_beta = at::empty_like(gamma);
  base_backward(grad_out, grad_past_out, grad_value, x, value_weight, weights, values, gamma, beta,
                drop_path_scale, mean, variance, eps, normalize, grad_x, grad_past, grad_value_weight,
                grad_weights, grad_gamma, grad_beta);
  variable_list found = {grad_x, grad_value_weight, grad_weights, grad_gamma, grad_beta};
  found.insert(found.end(), grad_past.begin(), grad_past.end());
  return found;
}

std::vector<Tensor> base_backward_(const Tensor& grad_out, const optional<Tensor>& grad_value,
                                   const Tensor& x, const Tensor& value_weight, const Tensor& weights,
                                   at::TensorList values, const Tensor& gamma, const Tensor& beta,
                                   const optional<Tensor>& drop_path_scale, const Tensor& mean,
                                   const Tensor& variance, double eps, bool normalize) {
  TORCH_CHECK(values.size(), "mmdla: values must not be empty.");
  check_base(x, value_weight, weights, values.slice(1), gamma, beta, drop_path_scale);
  check(values[0], "each map of values", x.sizes(), x.scalar_type());
  check(grad_out, "grad_out", x.sizes(), x.scalar_type());
  check(grad_value, "grad_value", x.sizes(), x.scalar_type());
  check_moments(x, mean, variance);
  return base_gradients(grad_out, at::empty_like(x), {}, grad_value.value_or(Tensor()), x, value_weight,
                        weights, values, gamma, beta, drop_path_scale, mean, variance, eps, normalize);
}

struct Base : torch::autograd::Function<Base> {
  // returns out, value, mean, variance and, chained, the values of the past
  static variable_list forward(AutogradContext* ctx, Tensor x, Tensor value_weight, Tensor weights,
                               Tensor gamma, Tensor beta, optional<Tensor> drop_path_scale, double eps,
                               bool normalize, bool chained, at::TensorList past) {
    at::AutoDispatchBelowADInplaceOrView below;
    static const auto op = operation("mmdla::base", base);
    auto [out, value, mean, variance] =
        op.call(x, value_weight, weights, past, gamma, beta, drop_path_scale, eps, normalize);
    variable_list saved = {x, value_weight, weights, gamma, beta, drop_path_scale.value_or(Tensor()),
                           mean, variance};
    saved.insert(saved.end(), past.begin(), past.end());
    saved.push_back(value);
    ctx->save_for_backward(saved);
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["normalize"] = normalize;
    ctx->mark_non_differentiable({mean, variance});
    ctx->set_materialize_grads(false);
    variable_list outputs = {out, value, mean, variance};
    if (chained) outputs.insert(outputs.end(), past.begin(), past.end());
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    check_backward(grads);
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &value_weight = saved[1], &weights = saved[2], &gamma = saved[3];
    const Tensor &beta = saved[4], &mean = saved[6], &variance = saved[7];
    const optional<Tensor> drop_path_scale = maybe(saved[5]);
    const variable_list values(saved.begin() + 8, saved.end());
    const double eps = ctx->saved_data["eps"].toDouble();
    const bool normalize = ctx->saved_data["normalize"].toBool();
    const Tensor grad_value = grads[1].defined() ? incoming(grads[1], x) : Tensor();
    variable_list found;
    if (is_plain(grads) && is_plain(x)) {
      const Tensor grad_x = grads[0].defined() ? reuse_or_allocate(grads[0], x) : at::empty_like(x);
      variable_list grad_past_out(std::make_move_iterator(grads.begin() + 4),
                                  std::make_move_iterator(grads.end()));
      found = base_gradients(incoming(grads[0], x), grad_x, std::move(grad_past_out), grad_value, x,
                             value_weight, weights, values, gamma, beta, drop_path_scale, mean,
                             variance, eps, normalize);
    } else {
      TORCH_CHECK(grads.size() == 4, "mmdla: base_chained cannot be traced; use base.");
      static const auto op = operation("mmdla::base_backward", base_backward_);
      found = op.call(incoming(grads[0], x), maybe(grad_value), x, value_weight, weights, values, gamma,
                      beta, drop_path_scale, mean, variance, eps, normalize);
    }
    found.insert(found.begin() + 5, 4, Tensor());
    return found;
  }
};

Four base_autograd(const Tensor& x, const Tensor& value_weight, const Tensor& weights,
                   at::TensorList past, const Tensor& gamma, const Tensor& beta,
                   const optional<Tensor>& drop_path_scale, double eps, bool normalize) {
  auto out = Base::apply(x, value_weight, weights, gamma, beta, drop_path_scale, eps, normalize, false,
                         past);
  return {out[0], out[1], out[2], out[3]};
}

// Returns the values of the past, too: the next layer takes the returned ones, so that each value has
// one gradient, to which every layer adds.
Chained base_chained(const Tensor& x, const Tensor& value_weight, const Tensor& weights,
                     at::TensorList past, const Tensor& gamma, const Tensor& beta,
                     const optional<Tensor>& drop_path_scale, double eps, bool normalize) {
  auto out = Base::apply(x, value_weight, weights, gamma, beta, drop_path_scale, eps, normalize, true,
                         past);
  return {out[0], out[1], out[2], out[3], {out.begin() + 4, out.end()}};
}

TORCH_LIBRARY_FRAGMENT(mmdla, m) {
  m.def("base(Tensor x, Tensor value_weight, Tensor weights, Tensor[] past, Tensor gamma, Tensor beta, "
        "Tensor? drop_path_scale, float eps, bool normalize) -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("base_chained(Tensor x, Tensor value_weight, Tensor weights, Tensor(a)[] past, Tensor gamma, "
        "Tensor beta, Tensor? drop_path_scale, float eps, bool normalize) -> "
        "(Tensor, Tensor, Tensor, Tensor, Tensor(a)[])", base_chained);
  m.def("base_out(Tensor x, Tensor value_weight, Tensor weights, Tensor[] past, Tensor gamma, "
        "Tensor beta, Tensor? drop_path_scale, float eps, bool normalize, Tensor(a!) out, "
        "Tensor(b!) value, Tensor(c!) mean, Tensor(d!) variance) -> ()");
  m.def("base_backward(Tensor grad_out, Tensor? grad_value, Tensor x, Tensor value_weight, "
        "Tensor weights, Tensor[] values, Tensor gamma, Tensor beta, Tensor? drop_path_scale, "
        "Tensor mean, Tensor variance, float eps, bool normalize) -> Tensor[]");
}

TORCH_LIBRARY_IMPL(mmdla, CPU, m) {
  m.impl("base", base);
  m.impl("base_out", base_out);
  m.impl("base_backward", base_backward_);
}

TORCH_LIBRARY_IMPL(mmdla, AutogradCPU, m) {
  m.impl("base", base_autograd);
}

}  // namespace
}  // namespace mmdla
