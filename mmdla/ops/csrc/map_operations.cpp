// The operations on feature maps as PyTorch sees them: checks, memory, gradients, schemas. The loops
// are declared in kernels.h; docs/performance.md counts their passes over memory.
#include <tuple>
#include <vector>

#include "autograd.h"
#include "kernels.h"

namespace mmdla {
namespace {

// --------------------------------------------------------------------------- add_relu_mean

// Returns GAP(x) and, if asked, GAP(shortcut).
std::tuple<Tensor, Tensor> add_relu_mean_(const Tensor& branch, const Tensor& shortcut, bool both) {
  check_add_relu_mean(branch, shortcut);
  refuse_gradients("add_relu_mean_", branch, shortcut);
  bump_version(branch);
  Tensor y = at::empty({branch.size(0), branch.size(1)}, branch.options());
  Tensor z = both ? at::empty_like(y) : at::empty({0}, branch.options());
  add_relu_mean_forward(branch, shortcut, y, z);
  return {y, z};
}

struct AddReluMean : torch::autograd::Function<AddReluMean> {
  // Returns x, the shortcut, y and z. Who reads the shortcut next takes the returned one, so that its
  // gradient comes here, to be added to in place.
  static variable_list forward(AutogradContext* ctx, Tensor branch, Tensor shortcut, bool both) {
    auto [y, z] = add_relu_mean_(branch, shortcut, both);
    ctx->mark_dirty({branch});
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({branch});
    return {branch, shortcut, y, z};
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    refuse_second_derivatives();
    const Tensor x = ctx->get_saved_variables()[0];
    if (!grads[0].defined()) grads[0] = at::zeros_like(x);
    Tensor grad_branch = reuse_or_allocate(grads[0], x), grad_shortcut = grad_branch;
    const Tensor grad_x = incoming(grads[0], x);
    optional<Tensor> grad_shortcut_out, grad_y, grad_z;
    if (grads[2].defined()) grad_y = grads[2].to(x.scalar_type()).contiguous();
    if (grads[3].defined() && grads[3].numel()) grad_z = grads[3].to(x.scalar_type()).contiguous();
    if (grads[1].defined() || grad_z) {
      grad_shortcut = grads[1].defined() ? reuse_or_allocate(grads[1], x) : at::empty_like(x);
      grad_shortcut_out = incoming(grads[1], x);
    }
    add_relu_mean_backward(x, grad_x, grad_shortcut_out, grad_y, grad_z, grad_branch, grad_shortcut);
    return {grad_branch, grad_shortcut, Tensor()};
  }
};

std::tuple<Tensor, Tensor, Tensor, Tensor> add_relu_mean(Tensor branch, Tensor shortcut, bool both) {
  auto out = AddReluMean::apply(branch, shortcut, both);
  return {out[0], out[1], out[2], out[3]};
}

// ---------------------------------------------------------------------------------- light

void light_out(const Tensor& x, const Tensor& o, const Tensor& value_weight, const Tensor& score,
               const Tensor& lambda_l, const optional<Tensor>& d, const optional<Tensor>& excite_weight,
               const Tensor& gamma, const Tensor& beta, const optional<Tensor>& drop_path_scale,
               double eps, bool normalize, const Tensor& out, const Tensor& mean,
               const Tensor& variance) {
  check_light(x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta, drop_path_scale);
  check(out, "out", x.sizes(), x.scalar_type());
  check_moments(x, mean, variance);
  refuse_gradients("light_out", x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta,
                   drop_path_scale, out, mean, variance);
  for (const Tensor& written : {out, mean, variance}) bump_version(written);
  light_forward(x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta, drop_path_scale,
                eps, normalize, out, mean, variance);
}

struct Light : torch::autograd::Function<Light> {
  // returns out, mean, variance
  static variable_list forward(AutogradContext* ctx, Tensor x, Tensor o, Tensor value_weight,
                               Tensor score, Tensor lambda_l, optional<Tensor> d,
                               optional<Tensor> excite_weight, Tensor gamma, Tensor beta,
                               optional<Tensor> drop_path_scale, double eps, bool normalize) {
    check_light(x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta, drop_path_scale);
    Tensor out = at::empty_like(x), mean = at::empty_like(gamma), variance = at::empty_like(gamma);
    light_forward(x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta, drop_path_scale,
                  eps, normalize, out, mean, variance);
    ctx->save_for_backward({x, o, value_weight, score, lambda_l, d.value_or(Tensor()),
                            excite_weight.value_or(Tensor()), gamma,
                            drop_path_scale.value_or(Tensor()), mean, variance});
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
    const Tensor &x = saved[0], &o = saved[1], &value_weight = saved[2], &score = saved[3];
    const Tensor &lambda_l = saved[4], &gamma = saved[7], &mean = saved[9], &variance = saved[10];
    const optional<Tensor> d = maybe(5), excite_weight = maybe(6), drop_path_scale = maybe(8);
    Tensor grad_x = reuse_or_allocate(grads[0], x), grad_o = at::empty_like(o);
    const Tensor grad_out = incoming(grads[0], x);
    Tensor grad_value_weight = at::empty_like(value_weight), grad_score = at::empty_like(score);
    Tensor grad_lambda_l = at::empty_like(lambda_l), grad_d, grad_excite_weight;
    if (d) grad_d = at::empty_like(*d);
    if (excite_weight) grad_excite_weight = at::empty_like(*excite_weight);
    Tensor grad_gamma = at::empty_like(gamma), grad_beta = at::empty_like(gamma);
    light_backward(grad_out, x, o, value_weight, score, lambda_l, d, excite_weight, gamma,
                   drop_path_scale, mean, variance, ctx->saved_data["eps"].toDouble(),
                   ctx->saved_data["normalize"].toBool(), grad_x, grad_o, grad_value_weight, grad_score,
                   grad_lambda_l, grad_d, grad_excite_weight, grad_gamma, grad_beta);
    return {grad_x, grad_o, grad_value_weight, grad_score, grad_lambda_l, grad_d, grad_excite_weight,
            grad_gamma, grad_beta, Tensor(), Tensor(), Tensor()};
  }
};

std::tuple<Tensor, Tensor, Tensor> light(Tensor x, Tensor o, Tensor value_weight, Tensor score,
                                         Tensor lambda_l, optional<Tensor> d,
                                         optional<Tensor> excite_weight, Tensor gamma, Tensor beta,
                                         optional<Tensor> drop_path_scale, double eps,
                                         bool normalize) {
  auto out = Light::apply(x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta,
                          drop_path_scale, eps, normalize);
  return {out[0], out[1], out[2]};
}

// ----------------------------------------------------------------------------------- base

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

struct Base : torch::autograd::Function<Base> {
  // Returns out, mean, variance, the newest value and those of the past. The next layer takes the
  // returned ones, so that each value has one gradient, to which every layer adds in place.
  static variable_list forward(AutogradContext* ctx, Tensor x, Tensor value_weight, Tensor weights,
                               Tensor gamma, Tensor beta, optional<Tensor> drop_path_scale, double eps,
                               bool normalize, at::TensorList past) {
    check_base(x, value_weight, weights, past, gamma, beta, drop_path_scale);
    Tensor out = at::empty_like(x), value = at::empty_like(x);
    Tensor mean = at::empty_like(gamma), variance = at::empty_like(gamma);
    base_forward(x, value_weight, weights, past, gamma, beta, drop_path_scale, eps, normalize, out,
                 value, mean, variance);
    variable_list saved = {x, value_weight, weights, gamma, beta, drop_path_scale.value_or(Tensor()),
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
    const Tensor &x = saved[0], &value_weight = saved[1], &weights = saved[2], &gamma = saved[3];
    const Tensor &beta = saved[4], &drop_path_scale = saved[5], &mean = saved[6], &variance = saved[7];
    variable_list values(saved.begin() + 9, saved.end());
    const int64_t earlier = values.size();
    values.push_back(saved[8]);

    Tensor grad_x = grads[0].defined() ? reuse_or_allocate(grads[0], x) : at::empty_like(x);
    const Tensor grad_out = incoming(grads[0], x);
    const Tensor grad_value = grads[3].defined() ? incoming(grads[3], x) : Tensor();
    variable_list grad_past_out(earlier), grad_past(earlier);
    for (int64_t t = 0; t < earlier; ++t) {
      if (grads[4 + t].defined()) {
        grad_past[t] = reuse_or_allocate(grads[4 + t], x);
        grad_past_out[t] = incoming(grads[4 + t], x);
      } else {
        grad_past[t] = at::empty_like(x);
      }
    }
    Tensor grad_value_weight = at::empty_like(value_weight), grad_weights = at::empty_like(weights);
    Tensor grad_gamma = at::empty_like(gamma), grad_beta = at::empty_like(gamma);
    base_backward(grad_out, grad_past_out, grad_value, x, value_weight, weights, values, gamma, beta,
                  drop_path_scale, mean, variance, ctx->saved_data["eps"].toDouble(),
                  ctx->saved_data["normalize"].toBool(), grad_x, grad_past, grad_value_weight,
                  grad_weights, grad_gamma, grad_beta);
    variable_list result = {grad_x,    grad_value_weight, grad_weights, grad_gamma,
                            grad_beta, Tensor(),          Tensor(),     Tensor()};
    result.insert(result.end(), grad_past.begin(), grad_past.end());
    return result;
  }
};

std::tuple<Tensor, Tensor, Tensor, Tensor, std::vector<Tensor>> base(
    Tensor x, Tensor value_weight, Tensor weights, at::TensorList past, Tensor gamma, Tensor beta,
    optional<Tensor> drop_path_scale, double eps, bool normalize) {
  auto out = Base::apply(x, value_weight, weights, gamma, beta, drop_path_scale, eps, normalize, past);
  return {out[0], out[1], out[2], out[3], {out.begin() + 4, out.end()}};
}

void implement(torch::Library& m) {
  m.impl("add_relu_mean", add_relu_mean);
  m.impl("light", light);
  m.impl("base", base);
}

}  // namespace

// Operations that end in _ or _out write to their arguments and have no gradient. add_relu_mean writes
// to branch and has one. It and base return some of their arguments, see AddReluMean and Base.
TORCH_LIBRARY_FRAGMENT(mmdla, m) {
  m.def("add_relu_mean_(Tensor(a!) branch, Tensor shortcut, bool both) -> (Tensor, Tensor)");
  m.def("add_relu_mean(Tensor(a!) branch, Tensor(b) shortcut, bool both) -> "
        "(Tensor(a!), Tensor(b), Tensor, Tensor)");
  m.def("light_out(Tensor x, Tensor o, Tensor value_weight, Tensor score, Tensor lambda_l, Tensor? d, "
        "Tensor? excite_weight, Tensor gamma, Tensor beta, Tensor? drop_path_scale, float eps, "
        "bool normalize, Tensor(a!) out, Tensor(b!) mean, Tensor(c!) variance) -> ()");
  m.def("light(Tensor x, Tensor o, Tensor value_weight, Tensor score, Tensor lambda_l, Tensor? d, "
        "Tensor? excite_weight, Tensor gamma, Tensor beta, Tensor? drop_path_scale, float eps, "
        "bool normalize) -> (Tensor, Tensor, Tensor)");
  m.def("base_out(Tensor x, Tensor value_weight, Tensor weights, Tensor[] past, Tensor gamma, "
        "Tensor beta, Tensor? drop_path_scale, float eps, bool normalize, Tensor(a!) out, "
        "Tensor(b!) value, Tensor(c!) mean, Tensor(d!) variance) -> ()");
  m.def("base(Tensor x, Tensor value_weight, Tensor weights, Tensor(a)[] past, Tensor gamma, "
        "Tensor beta, Tensor? drop_path_scale, float eps, bool normalize) -> "
        "(Tensor, Tensor, Tensor, Tensor, Tensor(a)[])");
}

TORCH_LIBRARY_IMPL(mmdla, CPU, m) {
  m.impl("add_relu_mean_", add_relu_mean_);
  m.impl("light_out", light_out);
  m.impl("base_out", base_out);
  implement(m);
}

TORCH_LIBRARY_IMPL(mmdla, AutogradCPU, m) { implement(m); }

}  // namespace mmdla
