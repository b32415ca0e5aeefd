"""A wrong operation is found, whatever is wrong about it, and a right one is not."""
import itertools

import pytest
import torch

from mmdla import ops
from mmdla.doctor import checks, circumstances
from mmdla.doctor.checks import FORMATS, Case, check, check_all
from mmdla.doctor.circumstances import check_large, same_in
from mmdla.doctor.networks import check_networks
from mmdla.doctor.operations import operations
from mmdla.ops.backend import kernels

CPU = torch.device('cpu')
HOW = 'folded' if kernels() is None else 'kernels'
CASE = Case(torch.float32, 'NCHW', (2, 6, 9, 7))
needs_kernels = pytest.mark.skipif(kernels() is None, reason='the C++ kernels are not built')
# what an operation of this file is named in mmdla.ops
OPERATIONS = {'add_relu_mean (both means)': 'add_relu_mean', 'light_attention (DLA-L, training)':
              'light_attention', 'base_attention (3 layers, eval)': 'base_attention',
              'channel_convolution': 'channel_convolution', 'self_score': 'self_score',
              'dsu_update (one layer)': 'dsu_update', 'dsu (one layer)': 'dsu'}
wrong_in = pytest.mark.parametrize(
    'name', OPERATIONS if kernels() else ['light_attention (DLA-L, training)'])


def operation(name):
    return next(one for one in operations() if one.name == name)


def first(result, change):
    """A result of an operation with a change of its first tensor."""
    return (change(result[0]), *result[1:]) if isinstance(result, tuple) else change(result)


def spoil(monkeypatch, name, change):
    original = getattr(ops, OPERATIONS[name])
    monkeypatch.setattr(ops, OPERATIONS[name], lambda *args: first(original(*args), change))


@pytest.mark.parametrize('dtype', checks.DTYPES)
def test_all_operations_are_right(dtype, monkeypatch):
    cases = [Case(dtype, 'NCHW', shape) for shape in (CASE.shape, (3, 5, 1, 37))]
    found = list(check_all(HOW, CPU, cases))
    assert [one.failure for one in found if one.failure] == []
    checked = {one.operation for one in found if one.share is not None}
    if kernels():
        assert checked == {one.name for one in operations()}
        covered = {name.split()[0] for name in checked}
        assert covered == {'add_relu_mean', 'light_attention', 'base_attention', 'channel_convolution',
                           'self_score', 'dsu_update', 'dsu'}


@wrong_in
@pytest.mark.parametrize('dtype, factor', [(torch.float32, 1.001), (torch.bfloat16, 1.1),
                                           (torch.float64, 1 + 1e-8)])
def test_a_result_off_by_a_factor_is_wrong(name, dtype, factor, monkeypatch):
    assert check(operation(name), CASE._replace(dtype=dtype), CPU, HOW).failure is None
    spoil(monkeypatch, name, lambda t: t * factor)
    found = check(operation(name), CASE._replace(dtype=dtype), CPU, HOW)
    for part in (name, str(dtype)[6:], 'NCHW', '2 x 6 x 9 x 7', 'is off by', 'allowed are'):
        assert part in found.failure
    assert found.failure.endswith('.') and found.share > 1


class WrongGradient(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * 1.001


@wrong_in
def test_a_wrong_gradient_is_wrong(name, monkeypatch):
    spoil(monkeypatch, name, WrongGradient.apply)
    assert 'the gradient of' in check(operation(name), CASE, CPU, HOW).failure


@wrong_in
def test_a_result_that_is_not_repeatable_is_wrong(name, monkeypatch):
    """Even where each alone would be accurate enough."""
    calls = itertools.count()
    spoil(monkeypatch, name, lambda t: t * (1 + 2e-7 * (next(calls) % 4 < 2)))
    assert 'a repeated call gives another' in check(operation(name), CASE, CPU, HOW).failure


def test_one_wrong_place_is_wrong(monkeypatch):
    name = 'light_attention (DLA-L, training)'
    last = torch.zeros(CASE.shape)
    last[-1, -1, -1, -1] = 1e-3
    spoil(monkeypatch, name, lambda t: t + last)
    assert 'out' in check(operation(name), CASE, CPU, HOW).failure


@pytest.mark.parametrize('change, words', [
    (lambda t: t * float('nan'), 'off by inf'), (lambda t: t.double(), 'torch.float64 in place of'),
    (lambda t: t.reshape(3), 'raised RuntimeError'), (lambda t: t.detach(), 'raised RuntimeError')])
def test_other_faults_are_one_sentence(change, words, monkeypatch):
    name = 'light_attention (DLA-L, training)'
    spoil(monkeypatch, name, change)
    failure = check(operation(name), CASE, CPU, HOW).failure
    assert words in failure and '\n' not in failure


def test_norms_in_training_must_move_their_statistics(monkeypatch):
    name = 'light_attention (DLA-L, training)'
    original = ops.light_attention

    def forgetful(*args):
        norm = args[-2]
        before = norm.running_mean.clone()
        out = original(*args)
        norm.running_mean.copy_(before)
        return out

    monkeypatch.setattr(ops, 'light_attention', forgetful)
    assert 'norm.running_mean' in check(operation(name), CASE, CPU, HOW).failure


def test_what_an_implementation_does_not_take_is_not_checked_nor_passed():
    found = check(operation('light_attention (DLA-L, eval)'), CASE, CPU, 'reference')
    assert found.share is None and found.failure is None and 'plain definition' in found.unchecked


def test_networks(monkeypatch):
    assert [one.failure for one in check_networks(HOW, CPU)] == [None] * 6
    from mmdla.attention import dla
    original = dla.light_attention
    monkeypatch.setattr(dla, 'light_attention', lambda *args: original(*args) * 1.01)
    found = {(one.operation, one.case.split(',')[0]): one.failure for one in check_networks(HOW, CPU)}
    assert 'are off by' in found['a step of DLA-L', 'float32']
    assert 'are off by' in found['a step of DLA-L', 'float64']
    assert found['a step of DLA-B', 'float64'] is None
    monkeypatch.setattr(dla, 'light_attention', None)
    assert 'raised TypeError' in next(check_networks(HOW, CPU)).failure


@needs_kernels
def test_circumstances_compare_bit_for_bit(monkeypatch):
    monkeypatch.setattr(circumstances, 'ORDINARY', Case(torch.bfloat16, 'NCHW', (3, 8, 7, 5)))
    assert all(one.share == 0 for one in same_in('twice', lambda once: once(), HOW, CPU))

    def elsewhere(once):
        found = once()
        name = list(found)[-1]
        return {**found, name: found[name] * (1 + 2**-6)}

    found = list(same_in('elsewhere', elsewhere, HOW, CPU))
    assert all('(elsewhere)' in one.failure and 'differs' in one.failure for one in found)
    found = list(same_in('nowhere', lambda once: 1 / 0, HOW, CPU))
    assert all('raised ZeroDivisionError' in one.failure for one in found)
    found = list(same_in('here', lambda once: once(), 'reference', CPU))
    assert len(found) == 10 and all(one.share is None and one.unchecked for one in found)


@pytest.mark.parametrize('gpus', [1, 2])
def test_what_a_gpu_adds(gpus, monkeypatch):
    """The order of things alone: nothing runs on a GPU."""
    for name in ('on_side_stream', 'in_cuda_graph'):
        monkeypatch.setattr(circumstances, name, lambda once: once())
    for name, value in dict(device_count=gpus, current_device=0, empty_cache=None,
                            mem_get_info=(2**30, 0)).items():
        monkeypatch.setattr(torch.cuda, name, lambda *args, value=value: value)
    monkeypatch.setattr(circumstances, 'check', lambda operation, case, device, how: checks.failed(
        operation.name, str(case), f'seen on {device}'))
    found = list(circumstances.check_gpu('reference', CPU))
    reasons = {one.unchecked for one in found if one.unchecked}
    assert ('a second GPU: there is none' in reasons) is (gpus == 1)
    assert sum('2^31 elements' in reason for reason in reasons) == 3
    wrong = [one.failure for one in found if one.failure]
    assert len(wrong) == (10 if gpus == 2 else 0)
    assert all('on a second GPU): seen on cuda:1' in text for text in wrong)


@needs_kernels
@pytest.mark.parametrize('layout', FORMATS)
def test_large_maps(layout, monkeypatch):
    """At a small size: the last sample is compared."""
    shape = (4, 6, 5, 9)
    found = list(check_large(HOW, CPU, layout, shape))
    if layout == 'NCHW':
        assert len(found) == 6 and all(one.share == 0 for one in found)
        original = ops.light_attention

        def cut(*args):
            out = original(*args)
            return torch.cat([out[:3], out[3:] * 0]) if len(out) == 4 else out

        monkeypatch.setattr(ops, 'light_attention', cut)
        wrong = [one for one in check_large(HOW, CPU, layout, shape) if one.failure]
        assert {one.operation.split()[0] for one in wrong} == {'light_attention'} and len(wrong) == 3
        assert 'of the last sample' in wrong[0].failure
    few = list(check_large(HOW, CPU, layout, shape, free=100))
    assert all(one.share is None and 'GiB of free GPU memory' in one.unchecked for one in few)
