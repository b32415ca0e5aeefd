"""Whole detectors of the host with other trunks, from which ours start."""
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope

from mmdla.engine import start
from mmdla.errors import UserError

HOSTS = {
    'mask_rcnn_dla_l_swin-t_2e_coco': 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
    'mask_rcnn_dla_l_convnext-t_2e_coco':
        'mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py',
    'retinanet_dla_l_pvtv2-b2_2e_coco': 'mmdet::pvt/retinanet_pvtv2-b2_fpn_1x_coco.py',
    'mask_rcnn_dla_l_resnext101-32x4d_2e_coco': 'mmdet::mask_rcnn/mask-rcnn_x101-32x4d_fpn_1x_coco.py',
}


def build(cfg):
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model.eval()


@pytest.mark.full
@pytest.mark.parametrize('name', HOSTS)
def test_at_step_0_it_computes_what_the_hosts_detector_computes(name):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    plain = build(get_config(HOSTS[name]))
    with torch.no_grad():
        for parameter_name, value in plain.state_dict().items():
            if 'norm' in parameter_name or 'running_' in parameter_name:
                value.uniform_(0.5, 1.5)
    cfg = Config.fromfile(f'configs/upgrade/{name}.py')
    started = build(cfg)
    taken = start.fit(started, cfg, dict(state_dict=plain.state_dict()), 'train')
    assert taken.fresh and not (taken.remade or taken.norms)
    taken.fill(started)
    x = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        assert all(map(torch.equal, plain.extract_feat(x), started.extract_feat(x)))


def test_other_windows_are_refused():
    """Tables of another size are resized, so that the detector would not compute what it did."""
    trunk = dict(type='mmdla.DetSwinTransformer', embed_dims=16, depths=[2, 2], num_heads=[1, 2],
                 strides=(4, 2), out_indices=(0, 1))
    tensors = MODELS.build({**trunk, 'window_size': 4}).state_dict()
    model = torch.nn.Module()
    model.backbone = MODELS.build({
        **trunk, 'window_size': 6, 'attention_init': 'zero',
        'interaction': dict(type='mmdla.MRLALight')})
    cfg = Config(dict(model=dict(backbone=trunk), start_from='detector.pth'))
    checkpoint = dict(state_dict={f'backbone.{name}': value for name, value in tensors.items()})
    with pytest.raises(UserError, match='detector.pth was trained with other windows or images .*: set '
                       'window_size'):
        start.fit(model, cfg, checkpoint, 'train')
