"""Data, schedules and starts of every config."""
from pathlib import Path

import pytest
import yaml
from mmdet.registry import MODELS as DETECTORS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS as CLASSIFIERS
from our_configs import ALL, DETECTION, load


def assert_sgd(cfg, lr):
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (
        'SGD', lr, 0.9, 1e-4)


def host_config(name, tmp_path):
    (tmp_path / 'host.py').write_text(f'_base_ = {name!r}\n')
    return Config.fromfile(tmp_path / 'host.py')


def published(name):
    """URLs of the checkpoints of a host's config."""
    root = Path(Config._get_cfg_path(name, '')[0]).parent
    models = yaml.safe_load((root / 'metafile.yml').read_text())['Models']
    return [model['Weights'] for model in models if model['Config'].endswith(name.partition('::')[2])]


# what of the backbone differs from the host's
OURS = ('type', 'interaction', 'attention_init')
TRUNKS = [n for n in ALL if n.startswith('trunks/')]


@pytest.mark.parametrize('name', [n for n in DETECTION if n.endswith('_1x_coco.py') and n not in TRUNKS])
def test_coco_recipe(name):
    cfg = load(name)
    assert_sgd(cfg, 0.005 if 'retinanet' in name else 0.01)
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 8
    assert cfg.train_cfg.max_epochs == 12
    assert cfg.param_scheduler[1].milestones == [8, 11] and cfg.param_scheduler[0].type == 'LinearLR'
    resize = next(t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'Resize')
    assert tuple(resize.scale) == (1333, 800)
    backbone = cfg.model.backbone
    assert backbone.frozen_stages == 1
    assert (backbone.norm_eval, backbone.norm_cfg.type) == ((False, 'SyncBN') if '_gc-r' in name else
                                                            (True, 'BN'))
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == 'data/coco/'
    expected = ['bbox', 'segm'] if 'mask_rcnn' in name else 'bbox'
    assert cfg.test_evaluator.metric == expected


UPGRADES = [n for n in ALL if n.startswith('upgrade/')]
# the host's config of the same detector; all but the last train by AdamW
UPGRADE_HOSTS = {
    'upgrade/mask_rcnn_dla_l_swin-t_2e_coco.py': 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
    'upgrade/mask_rcnn_dla_l_convnext-t_2e_coco.py':
        'mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py',
    'upgrade/retinanet_dla_l_pvtv2-b2_2e_coco.py': 'mmdet::pvt/retinanet_pvtv2-b2_fpn_1x_coco.py',
    'upgrade/mask_rcnn_dla_l_resnext101-32x4d_2e_coco.py':
        'mmdet::mask_rcnn/mask-rcnn_x101-32x4d_fpn_1x_coco.py',
}
ADAMW_UPGRADES = list(UPGRADE_HOSTS)[:3]


@pytest.mark.parametrize('name', [
    n for n in UPGRADES if n.endswith('_coco.py') and n not in ADAMW_UPGRADES])
def test_upgrade_recipe(name):
    """Two epochs at a tenth of the 1x rate, from mmdet's detector of the same kind."""
    cfg = load(name)
    assert_sgd(cfg, 0.001)
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 8
    warmup, steps = cfg.param_scheduler
    assert (cfg.train_cfg.max_epochs, steps.milestones, steps.end, warmup.end) == (2, [1], 2, 500)
    backbone = cfg.model.backbone
    assert (backbone.frozen_stages, backbone.norm_eval, backbone.norm_cfg.type) == (1, True, 'BN')
    assert f'/{name.removeprefix("upgrade/")[:10]}' in cfg.start_from


@pytest.mark.parametrize('name', UPGRADE_HOSTS)
def test_upgrade_of_another_trunk(name, tmp_path):
    """The host's detector, from its checkpoint, by a short form of its recipe."""
    host, ours = host_config(UPGRADE_HOSTS[name], tmp_path), load(name)
    theirs, model = host.model.to_dict(), ours.model.to_dict()
    backbones = [{key: value for key, value in each.pop('backbone').items()
                  if key not in (*OURS, 'init_cfg')} for each in (theirs, model)]
    assert backbones[0] == backbones[1] and theirs == model
    assert [ours.start_from] == published(UPGRADE_HOSTS[name])
    assert ours.train_dataloader.dataset.pipeline == host.train_dataloader.dataset.pipeline
    warmup, steps = ours.param_scheduler
    assert (ours.train_cfg.max_epochs, steps.milestones, steps.end, warmup.end) == (2, [1], 2, 500)
    batch = ours.train_dataloader.batch_size
    assert batch * 8 == ours.auto_scale_lr.base_batch_size
    share = batch / host.train_dataloader.batch_size
    optimizer, before = ours.optim_wrapper.optimizer.to_dict(), host.optim_wrapper.optimizer.to_dict()
    assert optimizer.pop('lr') == pytest.approx(before.pop('lr') * share / 10) and optimizer == before
    assert ours.optim_wrapper.type == host.optim_wrapper.type


def settings_of(model, optim_wrapper, key):
    """A setting of the optimizer by the names of the parameters that it trains."""
    optim_wrapper.type = 'OptimWrapper'  # mixed precision needs a GPU
    settings = {id(p): group[key] for group in build_optim_wrapper(model, optim_wrapper).param_groups
                for p in group['params']}
    return {name: settings[id(p)] for name, p in model.named_parameters() if id(p) in settings}


@pytest.mark.usefixtures('without_memory')
@pytest.mark.parametrize('name', UPGRADES)
def test_layer_attention_learns_at_ten_times_the_rate(name):
    cfg = load(name)
    assert cfg.model.backbone.attention_init == 'zero' and not cfg.model.backbone.init_cfg
    model = DETECTORS.build(cfg.model)
    rate = cfg.optim_wrapper.optimizer.lr
    rates = settings_of(model, cfg.optim_wrapper, 'lr')
    for parameter_name, p in model.named_parameters():
        expected = 10 * rate if parameter_name.startswith('backbone.attention.') else rate
        assert rates.get(parameter_name) == (expected if p.requires_grad else None)


@pytest.mark.usefixtures('without_memory')
@pytest.mark.parametrize('name', UPGRADE_HOSTS)
def test_upgrades_decay_what_their_hosts_decay(name, tmp_path):
    """Norms of the attention, too, as the host's recipe has it for norms."""
    cfg, host = load(name), host_config(UPGRADE_HOSTS[name], tmp_path)
    model = DETECTORS.build(cfg.model)
    ours, theirs = (settings_of(model, each.optim_wrapper, 'weight_decay') for each in (cfg, host))
    compared = [n for n in ours if not n.startswith('backbone.attention.') or 'norm' in n]
    assert any(n.startswith('backbone.attention.') for n in compared)
    assert {n: ours[n] for n in compared} == {n: theirs[n] for n in compared}
    norms = {ours[n] for n in compared if n.startswith('backbone.attention.')}
    assert norms == ({0.0} if 'swin' in name or 'convnext' in name else {1e-4})


# the host's config of the same trunk
HOSTS = {
    'mask_rcnn_{}_swin-t_1x_coco': 'mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py',
    'mask_rcnn_{}_convnext-t_amp-ms-crop-3x_coco':
        'mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py',
    'mask_rcnn_{}_pvtv2-b2_1x_coco': 'mmdet::pvt/retinanet_pvtv2-b2_fpn_1x_coco.py',
    'mask_rcnn_{}_resnext50-32x4d_1x_coco': 'mmdet::mask_rcnn/mask-rcnn_x101-32x4d_fpn_1x_coco.py',
    '{}_swin-t_16xb64_in1k': 'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py',
    '{}_convnext-t_32xb128_in1k': 'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py',
    '{}_resnext50-32x4d_8xb32_in1k': 'mmpretrain::resnext/resnext50-32x4d_8xb32_in1k.py',
}


@pytest.mark.parametrize('form', ['dla_l', 'mrla_l'])
@pytest.mark.parametrize('name', HOSTS)
def test_other_trunks_have_their_hosts_recipe(name, form, tmp_path):
    host = host_config(HOSTS[name], tmp_path)
    ours = load(f'trunks/{name.format(form)}.py')
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'auto_scale_lr', 'custom_hooks'):
        assert ours.get(key) == host.get(key), key
    assert ours.train_dataloader.batch_size == host.train_dataloader.batch_size
    backbone = {key: value for key, value in ours.model.backbone.items() if key not in OURS}
    theirs = {key: value for key, value in host.model.backbone.items() if key not in OURS}
    if 'resnext50-32x4d_1x' in name:
        assert (theirs.pop('depth'), backbone.pop('depth')) == (101, 50)
        theirs['init_cfg'].checkpoint = theirs['init_cfg'].checkpoint.replace('101', '50')
    if 'pvtv2' in name:
        assert backbone.pop('init_cfg').pop('type') == 'Pretrained'
        theirs.pop('init_cfg')
    else:
        assert ours.train_dataloader.dataset.pipeline == host.train_dataloader.dataset.pipeline
        assert ours.model.get('neck') == host.model.get('neck')
    assert backbone == theirs
    assert ours.model.backbone.get('attention_init') == ('zero' if 'rcnn' in name else None)


@pytest.mark.parametrize('name', [n for n in ALL if n.endswith('_8xb32_in1k.py') and n not in TRUNKS])
def test_imagenet_recipe(name):
    cfg = load(name)
    assert_sgd(cfg, 0.1)
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 256
    warmup, steps = cfg.param_scheduler
    assert (warmup.type, warmup.end) == ('LinearLR', 3)
    assert (steps.milestones, steps.gamma, cfg.train_cfg.max_epochs) == ([30, 60, 90], 0.1, 100)
    train = [t.type for t in cfg.train_dataloader.dataset.pipeline]
    assert train == ['LoadImageFromFile', 'RandomResizedCrop', 'RandomFlip', 'PackInputs']
    assert [(t.type, t.get('scale') or t.get('crop_size'))
            for t in cfg.test_dataloader.dataset.pipeline][1:3] == [('ResizeEdge', 256),
                                                                    ('CenterCrop', 224)]
    backbone = CLASSIFIERS.build({**cfg.model.backbone, 'base_channels': 32})
    backbone.init_weights()
    assert not any(block.norm3.weight.any() for stage in backbone.stages for block in stage)


@pytest.mark.parametrize('name', [n for n in ALL if 'deit' in n])
def test_deit_recipe(name):
    """mmpretrain's; drop path and EMA are of the base size."""
    cfg = load(name)
    assert (cfg.optim_wrapper.optimizer.type, cfg.optim_wrapper.optimizer.lr) == ('AdamW', 1e-3)
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 1024
    assert cfg.param_scheduler[0].end == 20 and cfg.train_cfg.max_epochs == 300
    large = 'deit_base' in name
    assert cfg.model.backbone.get('drop_path_rate', 0) == (0.1 if large else 0)
    assert [hook.type for hook in cfg.get('custom_hooks') or []] == (['EMAHook'] if large else [])


@pytest.mark.parametrize('name', [n for n in ALL if 'cifar' in n])
def test_cifar_recipe(name):
    cfg = load(name)
    short = '_15e_' in name
    assert_sgd(cfg, 0.2 if short else 0.1)
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 128
    scheduler = cfg.param_scheduler
    if short:
        warmup, cosine = scheduler
        assert (warmup.end, cosine.begin, cosine.T_max, cosine.end, cfg.train_cfg.max_epochs) == (
            1, 1, 14, 15, 15)
    else:
        assert (scheduler.milestones, scheduler.gamma) == ([100, 150], 0.1)
        assert cfg.train_cfg.max_epochs == 180
    assert cfg.train_dataloader.sampler.shuffle and not cfg.test_dataloader.sampler.shuffle
    attention = 'mrla' in name or 'dla' in name
    assert cfg.model.backbone.get('attention_drop_path') == (0.2 if attention else None)
    assert cfg.model.backbone.get('attention_init') == ('one' if attention else None)
    classes = 100 if 'cifar100' in name else 10
    for split in ('val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.num_classes == classes
    assert cfg.data_preprocessor.num_classes == classes
    assert cfg.model.head.num_classes == cfg.train_dataloader.dataset.num_classes == classes


@pytest.mark.parametrize('name', [n for n in ALL if '_15e_' in n])
def test_the_short_recipe_is_that_of_the_full_one_but_for_its_schedule(name):
    short, full = load(name), load(name.replace('short/', '').replace('_15e_', '_b128_'))
    differ = {key for key in {*short, *full} if short.get(key) != full.get(key)}
    assert differ == {'optim_wrapper', 'param_scheduler', 'train_cfg', 'default_hooks'}


@pytest.mark.parametrize('name', ALL)
def test_data_root_from_the_environment(name, monkeypatch, data_roots):
    for variable in data_roots:
        monkeypatch.setenv(variable, '/elsewhere')
    cfg = load(name)
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/elsewhere'
        if split != 'train' and name in DETECTION:
            assert cfg[f'{split}_evaluator'].ann_file.startswith('/elsewhere/')
