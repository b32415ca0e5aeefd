"""Models folded for inference give the same outputs."""
import pytest
import torch
from torch import nn

from mmdla import ops
from mmdla.engine.fuse import fuse
from mmdla.errors import UserError
from mmdla.models import DIAResNet, DLAResNet, DLAVisionTransformer, MRLAResNet, ResNet


def randomize(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor, std=0.3)
    return model.double().eval()


@pytest.mark.parametrize('build', [
    lambda: ResNet(18), lambda: DIAResNet(18), lambda: MRLAResNet(50, deep_stem=True),
    lambda: MRLAResNet(18, 'base'), lambda: DLAResNet(18), lambda: DLAResNet(18, 'base'),
    lambda: DLAResNet(20, trunk='cifar', context_unit=dict(reduction=4))])
@torch.no_grad()
def test_outputs_stay_and_no_batch_norm_is_left(build):
    model = randomize(build())
    images = torch.randn(2, 3, 33, 40).double()
    before = model(images)[-1]
    assert fuse(model) is model
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    torch.testing.assert_close(model(images)[-1], before, rtol=1e-9, atol=1e-9)
    with ops.use('reference'):
        torch.testing.assert_close(model(images)[-1], before, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_layer_norms_stay():
    model = DLAVisionTransformer('deit-tiny', img_size=32, patch_size=8).eval()
    images = torch.randn(1, 3, 32, 32)
    before = model(images)[-1]
    torch.testing.assert_close(fuse(model)(images)[-1], before)


def test_a_model_in_training_is_refused():
    with pytest.raises(UserError, match=r'model.eval\(\) first'):
        fuse(DLAResNet(18).train())
