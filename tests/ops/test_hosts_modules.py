"""Norms and convolutions as users change them: statistics, hooks, pruning, subclasses."""
import copy

import pytest
import torch
from definitions import FAST, TOLERANCE, compare, inputs_of, light_step, needs_kernels, norm_of
from mmcv.cnn.bricks import DropPath
from torch import nn
from torch.nn.utils import prune

from mmdla import ops
from mmdla.attention.interaction import build_interaction

FORMS = ['MRLALight', 'MRLABase', 'DLALight', 'DLABase']


class Doubled(nn.BatchNorm2d):
    """A norm with a forward of its own."""

    def forward(self, x):
        return 2 * super().forward(x)


class Renamed(nn.BatchNorm2d):
    """A subclass without one."""


def not_tracking(norm):
    norm.track_running_stats = False


def without_count(norm):
    norm.num_batches_tracked = None


def without_count_or_momentum(norm):
    norm.num_batches_tracked = norm.momentum = None


def step(how, norm, tensors):
    with ops.use(how):
        x, o, _, _ = ops.add_relu_mean(tensors['branch'] * 1, tensors['shortcut'] * 1)
        return light_step(x, o, *(tensors[n] for n in ('value_weight', 'score', 'lambda_l', 'd',
                                                       'excite_weight')), norm, DropPath(0.0))


@pytest.mark.parametrize('change', [not_tracking, without_count, without_count_or_momentum])
@pytest.mark.parametrize('mode', ['train', 'eval'])
@pytest.mark.parametrize('how', FAST)
def test_statistics_are_updated_as_by_batch_norm_itself(how, mode, change):
    tensors, norm = inputs_of((2, 8, 5, 4), torch.float64), norm_of(8, mode, torch.float64)
    change(norm)
    norms = {name: copy.deepcopy(norm) for name in ('reference', how)}
    outs = {name: step(name, n, tensors) for name, n in norms.items()}
    torch.testing.assert_close(outs[how], outs['reference'], **TOLERANCE)
    compare(dict(norms[how].named_buffers()), dict(norms['reference'].named_buffers()), **TOLERANCE)


@pytest.mark.parametrize('first, second', [(('kernels', False), ('kernels', True)),
                                           (('reference', True), ('kernels', True)),
                                           (('kernels', True), ('reference', True))])
@needs_kernels
def test_two_forwards_before_one_backward(first, second):
    """In eval mode and then in training, or by the reference and then by the kernels."""
    tensors = inputs_of((2, 8, 5, 4), torch.float64)
    norm = norm_of(8, 'train', torch.float64)
    expected, fast = copy.deepcopy(norm), norm
    mean = norm.running_mean.clone()
    losses = [step(how, fast.train(train), tensors).square().sum() for how, train in (first, second)]
    assert not torch.equal(fast.running_mean, mean)
    sum(losses).backward()
    for _, train in (first, second):  # one backward after each: nothing has moved yet
        step('reference', expected.train(train), tensors).square().sum().backward()
    compare({n: p.grad for n, p in fast.named_parameters()},
            {n: p.grad for n, p in expected.named_parameters()}, **TOLERANCE)


@pytest.mark.parametrize('cls', [Doubled, Renamed])
@pytest.mark.parametrize('mode', ['train', 'eval'])
@pytest.mark.parametrize('how', FAST)
def test_subclasses_of_batch_norm(how, mode, cls):
    tensors = inputs_of((2, 8, 5, 4), torch.float64)
    norm = cls(8).double().train(mode == 'train')
    outs = {name: step(name, copy.deepcopy(norm), tensors) for name in ('reference', how)}
    torch.testing.assert_close(outs[how], outs['reference'], **TOLERANCE)


def layers_of(form):
    torch.manual_seed(0)
    attention = build_interaction(dict(type=form), 32, 2, dict(type='BN')).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            nn.init.normal_(parameter, std=0.3)
    return attention


def run(attention, x, o):
    state = attention.initial_state(x, None)
    for index in range(2):
        o, (x, state) = x, attention(index, x, o, state)
    return x


@pytest.mark.parametrize('part', ['value', 'query', 'key', 'excite', 'norm'])
@pytest.mark.parametrize('form', FORMS)
def test_hooks_on_parts_fire(form, part):
    """Also in training: the layer then calls the part, as the plain definition does."""
    attention, fired = layers_of(form), []
    module = {'norm': attention.norms[1], 'excite': getattr(attention, 'excite', None)}.get(
        part, getattr(attention.layers[1], part, None))
    if module is None:
        pytest.skip(f'{form} has no {part}')
    module.register_forward_hook(lambda *args: fired.append(part))
    run(attention, *torch.rand(2, 2, 32, 6, 5, dtype=torch.float64))
    assert fired


@pytest.mark.parametrize('form', FORMS)
def test_pruned_weights_train(form):
    """Pruning masks the weights in a hook, anew at each step."""
    pruned, by_hand = layers_of(form), layers_of(form)
    parts = ('value', 'query', 'key')
    for layer, other in zip(pruned.layers, by_hand.layers):
        for part in parts:
            prune.l1_unstructured(getattr(layer, part), 'weight', amount=0.5)
            getattr(other, part).weight.data.mul_(getattr(layer, part).weight_mask)
    for seed in range(2):
        torch.manual_seed(seed)
        x, o = torch.rand(2, 2, 32, 6, 5, dtype=torch.float64)
        found, expected = run(pruned, x, o), run(by_hand, x, o)
        torch.testing.assert_close(found, expected)
        for attention, out in ((pruned, found), (by_hand, expected)):
            attention.zero_grad()
            out.square().sum().backward()
        for layer, other in zip(pruned.layers, by_hand.layers):
            for part in parts:
                module = getattr(layer, part)
                torch.testing.assert_close(
                    module.weight_orig.grad, getattr(other, part).weight.grad * module.weight_mask)
