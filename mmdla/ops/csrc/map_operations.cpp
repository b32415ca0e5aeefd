// add_relu_mean and light as PyTorch sees them: checks, memory, gradients, schemas. The loops are
// declared in kernels.h; docs/performance.md counts their passes over memory.
//
// Each is functional, so that torch.compile and export keep it as one node. For eager calls there are
// variants beside it, to save passes over memory: `_` and `_out` write to an argument and have no
// gradient; `_chained` passes an argument on, so that its gradient comes here, to be added to in place.
#include <tuple>
#include <vector>

#include "autograd.h"
#include "kernels.h"

namespace mmdla {
namespace {

using Two = std::tuple<Tensor, Tensor>;
using Three = std::tuple<Tensor, Tensor, Tensor>;

// --------------------------------------------------------------------------- add_relu_mean

Two means_of(const Tensor& map, bool both) {
  Tensor y = at::empty({map.size(0), map.size(1)}, map.options());
  return {y, both ? at::empty_like(y) : at::empty({0}, map.options())};
}

// x, GAP(x) and, if asked, GAP(shortcut)
Three add_relu_mean(const Tensor& branch, const Tensor& shortcut_in, bool both) {
  const Tensor shortcut = like_first(shortcut_in, branch);
  check_add_relu_mean(branch, shortcut);
  const auto [y, z] = means_of(branch, both);
  Tensor x = at::empty_like(branch);
  add_relu_mean_forward(branch, shortcut, x, y, z);
  return {x, y, z};
}

// x is written to branch.
Two add_relu_mean_(const Tensor& branch, const Tensor& shortcut, bool both) {
  check_add_relu_mean(branch, shortcut);
  refuse_gradients("add_relu_mean_", branch, shortcut);
  const auto means = means_of(branch, both);
  bump_version(branch);
  add_relu_mean_forward(branch, shortcut, branch, std::get<0>(means), std::get<1>(means));
  return means;
}

// grad_shortcut is empty where it is grad_branch, as without the gradient of z.
Two add_relu_mean_backward_(const Tensor& x, const Tensor& grad_x_in, const optional<Tensor>& grad_y,
                            const optional<Tensor>& grad_z) {
  const Tensor grad_x = like_first(grad_x_in, x);
  check_any_map(x, "x");
  check_same(grad_x, "grad_x", x);
  check(grad_y, "grad_y", {x.size(0), x.size(1)}, x.scalar_type());
  check(grad_z, "grad_z", {x.size(0), x.size(1)}, x.scalar_type());
  Tensor grad_branch = at::empty_like(x);
  Tensor grad_shortcut = grad_z ? at::empty_like(x) : at::empty({0}, x.options());
  add_relu_mean_backward(x, grad_x, grad_z ? optional<Tensor>(at::zeros_like(x)) : std::nullopt, grad_y,
                         grad_z, grad_branch, grad_z ? grad_shortcut : grad_branch);
  return {grad_branch, grad_shortcut};
}

struct AddReluMean : torch::autograd::Function<AddReluMean> {
  // returns x, y, z and, chained, the shortcut; x is then written to branch
  static variable_list forward(AutogradContext* ctx, Tensor branch, Tensor shortcut, bool both,
                               bool chained) {
    at::AutoDispatchBelowADInplaceOrView below;
    ctx->set_materialize_grads(false);
    ctx->saved_data["both"] = both;
    if (chained) {
      static const auto op = operation("mmdla::add_relu_mean_", add_relu_mean_);
      auto [y, z] = op.call(branch, shortcut, both);
      ctx->mark_dirty({branch});
      ctx->save_for_backward({branch});
      return {branch, y, z, shortcut};
    }
    static const auto op = operation("mmdla::add_relu_mean", add_relu_mean);
    auto [x, y, z] = op.call(branch, shortcut, both);
    ctx->save_for_backward({x});
    return {x, y, z};
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    check_backward(grads);
    const Tensor x = ctx->get_saved_variables()[0];
    if (!grads[0].defined()) grads[0] = at::zeros_like(x);
    optional<Tensor> grad_y, grad_z;
    if (grads[1].defined()) grad_y = grads[1].to(x.scalar_type()).contiguous();
    if (grads[2].defined() && ctx->saved_data["both"].toBool())
      grad_z = grads[2].to(x.scalar_type()).contiguous();
    if (grads.size() == 3) {
      static const auto op = operation("mmdla::add_relu_mean_backward", add_relu_mean_backward_);
      auto [grad_branch, grad_shortcut] = op.call(x, incoming(grads[0], x), grad_y, grad_z);
      return {grad_branch, grad_z ? grad_shortcut : grad_branch, Tensor(), Tensor()};
    }
    Tensor grad_branch = reuse_or_allocate(grads[0], x), grad_shortcut = grad_branch;
    const Tensor grad_x = incoming(grads[0], x);
    optional<Tensor> grad_shortcut_out;
    if (grads[3].defined() || grad_z) {
      grad_shortcut = grads[3].defined() ? reuse_or_allocate(grads[3], x) : at::empty_like(x);
      grad_shortcut_out = incoming(grads[3], x);
    }
    add_relu_mean_backward(x, grad_x, grad_shortcut_out, grad_y, grad_z, grad_branch, grad_shortcut);
    return {grad_branch, grad_shortcut, Tensor(), Tensor()};
  }
};

Three add_relu_mean_autograd(const Tensor& branch, const Tensor& shortcut, bool both) {
  auto out = AddReluMean::apply(branch, shortcut, both, false);
  return {out[0], out[1], out[2]};
}

Three add_relu_mean_chained(const Tensor& branch, const Tensor& shortcut, bool both) {
  auto out = AddReluMean::apply(branch, shortcut, both, true);
  return {out[3], out[1], out[2]};
}

// ---------------------------------------------------------------------------------- light

void light_out(const Tensor& x, const Tensor& o, const Tensor& value_weight, const Tensor& score,
               const Tensor& lambda_l, const optional<Tensor>& d, const optional<Tensor>& excite_weight,
               const Tensor& gamma, const Tensor& beta, const optional<Tensor>& drop_path_scale,
               double eps, bool normalize, const Tensor& out, const Tensor& mean,
               const Tensor& variance) {
  check_light(x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta, drop_path_scale);
  check_same(out, "out", x);
  TORCH_CHECK(x.is_contiguous() || !out.is_alias_of(x), "mmdla: out must not be x if it is channels_last.");
  check_moments(x, mean, variance);
  refuse_gradients("light_out", x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta,
                   drop_path_scale, out, mean, variance);
  for (const Tensor& written : {out, mean, variance}) bump_version(written);
  light_forward(x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta, drop_path_scale,
                eps, normalize, out, mean, variance);
}

// Returns out, mean and variance; without `normalize` the last two are not computed.
Three light(const Tensor& x, const Tensor& o_in, const Tensor& value_weight, const Tensor& score,
            const Tensor& lambda_l, const optional<Tensor>& d, const optional<Tensor>& excite_weight,
            const Tensor& gamma, const Tensor& beta, const optional<Tensor>& drop_path_scale,
            double eps, bool normalize) {
  const Tensor o = like_first(o_in, x);
  check_light(x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta, drop_path_scale);
  Tensor out = at::empty_like(x), mean = at::zeros_like(gamma), variance = at::zeros_like(gamma);
  light_forward(x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta, drop_path_scale,
                eps, normalize, out, mean, variance);
  return {out, mean, variance};
}

// The gradients of x to beta. grad_x is written to memory of that size, which may be grad_out's.
variable_list light_gradients(const Tensor& grad_out, const Tensor& x, const Tensor& o,
                              const Tensor& value_weight, const Tensor& score, const Tensor& lambda_l,
                              const optional<Tensor>& d, const optional<Tensor>& excite_weight,
                              const Tensor& gamma, const optional<Tensor>& drop_path_scale,
                              const Tensor& mean, const Tensor& variance, double eps, bool normalize,
                              const Tensor& grad_x) {
  Tensor grad_o = at::empty_like(o), grad_value_weight = at::empty_like(value_weight);
  Tensor grad_score = at::empty_like(score), grad_lambda_l = at::empty_like(lambda_l);
  Tensor grad_d, grad_excite_weight;
  if (d) grad_d = at::empty_like(*d);
  if (excite_weight) grad_excite_weight = at::empty_like(*excite_weight);
  Tensor grad_gamma = at::empty_like(gamma), grad_beta = at::empty_like(gamma);
  light_backward(grad_out, x, o, value_weight, score, lambda_l, d, excite_weight, gamma,
                 drop_path_scale, mean, variance, eps, normalize, grad_x, grad_o, grad_value_weight,
                 grad_score, grad_lambda_l, grad_d, grad_excite_weight, grad_gamma, grad_beta);
  return {grad_x, grad_o, grad_value_weight, grad_score, grad_lambda_l, grad_d, grad_excite_weight,
          grad_gamma, grad_beta};
}

std::vector<Tensor> light_backward_(const Tensor& grad_out_in, const Tensor& x, const Tensor& o_in,
                                    const Tensor& value_weight, const Tensor& score,
                                    const Tensor& lambda_l, const optional<Tensor>& d,
                                    const optional<Tensor>& excite_weight, const Tensor& gamma,
                                    const optional<Tensor>& drop_path_scale, const Tensor& mean,
                                    const Tensor& variance, double eps, bool normalize) {
  const Tensor grad_out = like_first(grad_out_in, x), o = like_first(o_in, x);
  check_light(x, o, value_weight, score, lambda_l, d, excite_weight, gamma, gamma, drop_path_scale);
  check_same(grad_out, "grad_out", x);
  check_moments(x, mean, variance);
  auto grads = light_gradients(grad_out, x, o, value_weight, score, lambda_l, d, excite_weight, gamma,
                               drop_path_scale, mean, variance, eps, normalize, at::empty_like(x));
  for (Tensor& grad : grads)
    if (!grad.defined()) grad = at::empty({0}, gamma.options());
  return grads;
}

struct Light : torch::autograd::Function<Light> {
  // returns out, mean, variance
  static variable_list forward(AutogradContext* ctx, Tensor x, Tensor o, Tensor value_weight,
                               Tensor score, Tensor lambda_l, optional<Tensor> d,
                               optional<Tensor> excite_weight, Tensor gamma, Tensor beta,
                               optional<Tensor> drop_path_scale, double eps, bool normalize) {
    at::AutoDispatchBelowADInplaceOrView below;
    static const auto op = operation("mmdla::light", light);
    auto [out, mean, variance] = op.call(x, o, value_weight, score, lambda_l, d, excite_weight, gamma,
                                         beta, drop_path_scale, eps, normalize);
    ctx->save_for_backward({x, o, value_weight, score, lambda_l, d.value_or(Tensor()),
                            excite_weight.value_or(Tensor()), gamma,
                            drop_path_scale.value_or(Tensor()), mean, variance});
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["normalize"] = normalize;
    ctx->mark_non_differentiable({mean, variance});
    return {out, mean, variance};
  }

  static variable_list backward(AutogradContext* ctx, variable_list& grads) {
    check_backward(grads);
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &o = saved[1], &value_weight = saved[2], &score = saved[3];
    const Tensor &lambda_l = saved[4], &gamma = saved[7], &mean = saved[9], &variance = saved[10];
    const optional<Tensor> d = maybe(saved[5]), excite_weight = maybe(saved[6]);
    const optional<Tensor> drop_path_scale = maybe(saved[8]);
    const double eps = ctx->saved_data["eps"].toDouble();
    const bool normalize = ctx->saved_data["normalize"].toBool();
    variable_list found;
    if (is_plain(grads[0])) {
      const Tensor grad_x =
          x.is_contiguous() ? reuse_or_allocate(grads[0], x) : at::empty_like(x);
      found = light_gradients(incoming(grads[0], x), x, o, value_weight, score, lambda_l, d,
                              excite_weight, gamma, drop_path_scale, mean, variance, eps, normalize,
                              grad_x);
    } else {
      static const auto op = operation("mmdla::light_backward", light_backward_);
      found = op.call(incoming(grads[0], x), x, o, value_weight, score, lambda_l, d, excite_weight,
                      gamma, drop_path_scale, mean, variance, eps, normalize);
      if (!d) found[5] = Tensor();
      if (!excite_weight) found[6] = Tensor();
    }
    found.resize(12);
    return found;
  }
};

Three light_autograd(const Tensor& x, const Tensor& o, const Tensor& value_weight, const Tensor& score,
                     const Tensor& lambda_l, const optional<Tensor>& d,
                     const optional<Tensor>& excite_weight, const Tensor& gamma, const Tensor& beta,
                     const optional<Tensor>& drop_path_scale, double eps, bool normalize) {
  auto out = Light::apply(x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta,
                          drop_path_scale, eps, normalize);
  return {out[0], out[1], out[2]};
}

TORCH_LIBRARY_FRAGMENT(mmdla, m) {
  // Inductor may choose the memory format of the maps, and lays out most networks as channels_last
  const std::vector<at::Tag> any_layout = {at::Tag::flexible_layout};
  m.def("add_relu_mean(Tensor branch, Tensor shortcut, bool both) -> (Tensor, Tensor, Tensor)",
        any_layout);
  m.def("add_relu_mean_(Tensor(a!) branch, Tensor shortcut, bool both) -> (Tensor, Tensor)");
  m.def("add_relu_mean_chained(Tensor(a!) branch, Tensor(b) shortcut, bool both) -> "
        "(Tensor(b), Tensor, Tensor)", add_relu_mean_chained);
  m.def("add_relu_mean_backward(Tensor x, Tensor grad_x, Tensor? grad_y, Tensor? grad_z) -> "
        "(Tensor, Tensor)", any_layout);
  m.def("light(Tensor x, Tensor o, Tensor value_weight, Tensor score, Tensor lambda_l, Tensor? d, "
        "Tensor? excite_weight, Tensor gamma, Tensor beta, Tensor? drop_path_scale, float eps, "
        "bool normalize) -> (Tensor, Tensor, Tensor)", any_layout);
  m.def("light_out(Tensor x, Tensor o, Tensor value_weight, Tensor score, Tensor lambda_l, Tensor? d, "
        "Tensor? excite_weight, Tensor gamma, Tensor beta, Tensor? drop_path_scale, float eps, "
        "bool normalize, Tensor(a!) out, Tensor(b!) mean, Tensor(c!) variance) -> ()");
  m.def("light_backward(Tensor grad_out, Tensor x, Tensor o, Tensor value_weight, Tensor score, "
        "Tensor lambda_l, Tensor? d, Tensor? excite_weight, Tensor gamma, Tensor? drop_path_scale, "
        "Tensor mean, Tensor variance, float eps, bool normalize) -> Tensor[]", any_layout);
}

TORCH_LIBRARY_IMPL(mmdla, CPU, m) {
  m.impl("add_relu_mean", add_relu_mean);
  m.impl("add_relu_mean_", add_relu_mean_);
  m.impl("add_relu_mean_backward", add_relu_mean_backward_);
  m.impl("light", light);
  m.impl("light_out", light_out);
  m.impl("light_backward", light_backward_);
}

TORCH_LIBRARY_IMPL(mmdla, AutogradCPU, m) {
  m.impl("add_relu_mean", add_relu_mean_autograd);
  m.impl("light", light_autograd);
}

}  // namespace
}  // namespace mmdla
