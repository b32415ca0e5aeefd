"""What PyTorch is told about the C++ operations: the shapes of their results.

With it torch.compile and torch.export keep each operation as one node. Their gradients are registered
in C++ (``csrc/*_operations.cpp``).
"""
from functools import lru_cache

import torch
from torch.library import register_fake


def means_of(x, wanted):
    return x.new_empty(x.shape[:2]) if wanted else x.new_empty(0)


def add_relu_mean(branch, shortcut, both):
    return torch.empty_like(branch), means_of(branch, True), means_of(branch, both)


def add_relu_mean_(branch, shortcut, both):
    return means_of(branch, True), means_of(branch, both)


def add_relu_mean_backward(x, grad_x, grad_y, grad_z):
    return torch.empty_like(x), x.new_empty(0) if grad_z is None else torch.empty_like(x)


def light(x, o, value_weight, score, lambda_l, d, excite_weight, gamma, beta, drop_path_scale, eps,
          normalize):
    return torch.empty_like(x), torch.empty_like(gamma), torch.empty_like(gamma)


def light_out(*args):
    return None


def light_backward(grad_out, x, o, value_weight, score, lambda_l, d, excite_weight, gamma,
                   drop_path_scale, mean, variance, eps, normalize):
    inputs = (x, o, value_weight, score, lambda_l, d, excite_weight, gamma, gamma)
    return [gamma.new_empty(0) if t is None else torch.empty_like(t) for t in inputs]


def base(x, value_weight, weights, past, gamma, beta, drop_path_scale, eps, normalize):
    return tuple(torch.empty_like(t) for t in (x, x, gamma, gamma))


def base_out(*args):
    return None


def base_backward(grad_out, grad_value, x, value_weight, weights, values, gamma, beta, drop_path_scale,
                  mean, variance, eps, normalize):
    return [torch.empty_like(t) for t in (x, value_weight, weights, gamma, beta, *values[1:])]


def channel_convolution(y, kernels):
    return y.new_empty(y.shape[0], y.shape[1], kernels.shape[1], y.shape[2])


def channel_convolution_backward(grad_out, y, kernels):
    return torch.empty_like(y), torch.empty_like(kernels)


def self_score(y, kernels, dim):
    return torch.empty_like(y), y.new_empty(y.shape[0], 2, y.shape[1])


def self_score_backward(grad_out, y, kernels, dim, score, query_key):
    return torch.empty_like(y), torch.empty_like(kernels)


def dsu_update(pre, c):
    return pre.new_empty(*pre.shape[:2], pre.shape[2] // 3), torch.empty_like(pre)


def dsu_update_backward(grad_out, active, c):
    return torch.empty_like(active), torch.empty_like(c)


def dsu(y, c, squeeze, expand, bias):
    rows, hidden = y.numel() // y.shape[-1], squeeze.shape[0]
    return (torch.empty_like(y), torch.empty_like(c), y.new_empty(rows, hidden),
            y.new_empty(rows, expand.shape[0]))


def dsu_backward(grad_out, y, c, squeeze, expand, h, s, active):
    return *(torch.empty_like(t) for t in (y, c, squeeze, expand)), y.new_empty(expand.shape[0])


FAKES = (add_relu_mean, add_relu_mean_, add_relu_mean_backward, light, light_out, light_backward, base,
         base_out, base_backward, channel_convolution, channel_convolution_backward,
         self_score, self_score_backward, dsu_update, dsu_update_backward, dsu,
         dsu_backward)


@lru_cache(None)
def register() -> None:
    """Tell PyTorch, once; the library must have been loaded."""
    for fake in FAKES:
        register_fake(f'mmdla::{fake.__name__}', fake)
