"""Whole detectors of the host with other trunks, from which ours start."""
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope

from mmdla.engine import start

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
