"""Whole networks with the fast paths of mmdla.ops."""
import pytest
import torch
from definitions import FAST

from mmdla import ops
from mmdla.models import DLAResNet, MRLAResNet


@pytest.mark.parametrize('backbone', [MRLAResNet, DLAResNet])
@pytest.mark.parametrize('variant', ['light', 'base'])
@pytest.mark.parametrize('how', FAST)
def test_whole_network_in_autocast_checkpointed_and_compiled(how, variant, backbone):
    torch.manual_seed(0)
    kwargs = dict(base_channels=16, dim_per_head=8)
    plain = backbone(50, variant, **kwargs)
    plain.init_weights()
    images = torch.randn(2, 3, 64, 48)
    checked = backbone(50, variant, with_cp=True, **kwargs)
    checked.load_state_dict(plain.state_dict())
    with ops.use('reference'):
        expected = plain.eval()(images)[0]
    with ops.use(how):
        torch.testing.assert_close(plain(images)[0], expected, rtol=1e-3, atol=1e-4)
        with torch.no_grad():
            torch.testing.assert_close(plain(images)[0], expected, rtol=1e-3, atol=1e-4)
        with torch.autocast('cpu', torch.bfloat16):
            half = plain(images)[0]
        assert half.dtype == torch.bfloat16
        assert (half.float() - expected).abs().max() < 0.1 * expected.abs().max()
        grads = []
        for model in (plain, checked):
            model.zero_grad()
            model.eval()(images.clone().requires_grad_())[0].sum().backward()
            grads.append({n: p.grad for n, p in model.named_parameters()})
        for name in grads[0]:
            torch.testing.assert_close(grads[1][name], grads[0][name], rtol=1e-4, atol=1e-4)
        traced = torch.jit.trace(plain, images, check_trace=False)
    torch.testing.assert_close(traced(images)[0], expected, rtol=1e-3, atol=1e-4)
    assert 'mmdla::' not in str(traced.inlined_graph)
