"""Forward passes on fake CUDA tensors: what stays on the CPU, or has another dtype, shows.

torch's FakeTensorMode makes tensors without memory, on a GPU that need not be there. Autograd asks the
driver for a device, so that there is no backward pass here.
"""
from contextlib import nullcontext
from functools import cache

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.torch_version import TorchVersion
from zoo import FORMS, TRUNKS, UNITS, build, build_host

# a convolution of fake tensors asks the driver for a device there, which ends the process
OLD = TorchVersion(torch.__version__) < '2.8'
pytestmark = pytest.mark.skipif(OLD and not torch.cuda.is_available(),
                                reason='torch 2.7 has no fake convolutions without a GPU')
AUTOCAST = {
    'float32': nullcontext,
    'bfloat16': lambda: torch.autocast('cuda', torch.bfloat16),
    'float16': lambda: torch.autocast('cuda', torch.float16),
}


def fake(shape, layout, dtype=torch.float32):
    layout = layout if len(shape) == 4 else torch.contiguous_format
    return torch.empty(shape, dtype=dtype, device='cuda', memory_format=layout)


def put_on_fake_cuda(model, layout):
    """Replace parameters and buffers; to be called in a FakeTensorMode."""
    for module in model.modules():
        for name, p in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(fake(p.shape, layout, p.dtype), p.requires_grad))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype, device='cuda'))
    return model


def outputs(model, autocast, mode, layout=torch.contiguous_format):
    model.train(mode)
    with FakeTensorMode():
        put_on_fake_cuda(model, layout)
        with AUTOCAST[autocast]():
            return model(fake((2, 3, 64, 96), layout))


@cache
def dtypes_of_host(trunk, autocast, mode):
    return [out.dtype for out in outputs(build_host(trunk), autocast, mode)]


def check(trunk, form, autocast, mode, layout=torch.contiguous_format):
    outs = outputs(build(trunk, form), autocast, mode, layout)
    assert all(out.device.type == 'cuda' and out.requires_grad for out in outs)
    assert [out.dtype for out in outs] == dtypes_of_host(trunk, autocast, mode)


@pytest.mark.parametrize('autocast', [
    pytest.param(name, marks=() if name == 'float16' else pytest.mark.full) for name in AUTOCAST])
@pytest.mark.parametrize('form', [
    pytest.param(form, marks=() if form in ('dla_l', 'dla_b') else pytest.mark.full) for form in FORMS])
@pytest.mark.parametrize('trunk', TRUNKS)
def test_every_form_on_every_trunk(trunk, form, autocast):
    check(trunk, form, autocast, mode=True)


@pytest.mark.parametrize('unit', UNITS)
@pytest.mark.parametrize('form', ['dla_l', 'dla_b'])
@pytest.mark.parametrize('trunk', ['ResNet', 'DetSwinTransformer'])
def test_every_context_unit(trunk, form, unit):
    config = {**FORMS[form], 'context_unit': UNITS[unit], 'initial_context': 'learned'}
    check(trunk, config, 'float16', mode=True)


@pytest.mark.full
@pytest.mark.parametrize('trunk', TRUNKS)
def test_in_eval_mode(trunk):
    check(trunk, 'dla_b', 'bfloat16', mode=False)


@pytest.mark.parametrize('form', ['mrla_l', 'mrla_b', 'dla_l', 'dla_b'])
@pytest.mark.parametrize('trunk', [
    trunk if trunk in ('ResNet', 'ConvNeXt') else pytest.param(trunk, marks=pytest.mark.full)
    for trunk in TRUNKS])
def test_channels_last(trunk, form):
    check(trunk, form, 'bfloat16', mode=True, layout=torch.channels_last)


def test_a_tensor_left_on_the_cpu_shows():
    class Left(nn.Module):
        def forward(self, x):
            return (x + torch.ones(x.shape[1], 1, 1), )

    with pytest.raises(RuntimeError, match='device'):
        outputs(Left(), 'float32', mode=True)
