"""Every config builds, with exactly the parameters that the specification of the papers gives."""
import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS as DETECTORS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS as CLASSIFIERS
from torch.overrides import TorchFunctionMode

from mmdla.models import DIAResNet, DLAResNet, MRLAResNet, ResNet, RLAResNet

CONFIGS = Path(__file__).parents[1] / 'configs'
ALL = sorted(str(p.relative_to(CONFIGS)) for p in CONFIGS.rglob('*.py') if '_base_' not in p.parts)
DETECTION = [name for name in ALL if 'rcnn' in name or 'retinanet' in name]
CLASSIFICATION = [name for name in ALL if name not in DETECTION]
SPLIT_20 = dict(type='DSU', form='split', reduction=20)

# all parameters, and those that frozen_stages=1 leaves to train
COCO_DETECTORS = {
    'faster_rcnn_mrla_l50_1x_coco.py': (41_934_476, 41_699_886),
    'faster_rcnn_mrla_l101_1x_coco.py': (61_135_670, 60_901_080),
    'mask_rcnn_mrla_l50_1x_coco.py': (44_577_756, 44_343_166),
    'mask_rcnn_mrla_l101_1x_coco.py': (63_778_950, 63_544_360),
    'faster_rcnn_dla_l50_1x_coco.py': (43_365_516, 43_112_494),
    'faster_rcnn_dla_l101_1x_coco.py': (62_566_710, 62_313_688),
    'mask_rcnn_dla_l50_1x_coco.py': (46_008_796, 45_755_774),
    'mask_rcnn_dla_l101_1x_coco.py': (65_209_990, 64_956_968),
    'faster_rcnn_dla_l50_r50init_1x_coco.py': (43_365_516, 43_112_494),
    'faster_rcnn_dla_l50_released_1x_coco.py': (44_208_392, 43_945_362),
    'faster_rcnn_dla_l101_released_1x_coco.py': (63_409_586, 63_146_556),
    'mask_rcnn_dla_l50_released_1x_coco.py': (46_851_672, 46_588_642),
    'mask_rcnn_dla_l101_released_1x_coco.py': (66_052_866, 65_789_836),
    # in neither paper
    'faster_rcnn_dla_b50_1x_coco.py': (43_315_852, 43_065_902),
    'faster_rcnn_dla_b101_1x_coco.py': (62_499_638, 62_249_688),
    'faster_rcnn_mrla_b50_1x_coco.py': (41_938_604, 41_685_550),
    'faster_rcnn_mrla_b101_1x_coco.py': (61_122_390, 60_869_336),
    'mask_rcnn_dla_b50_1x_coco.py': (45_959_132, 45_709_182),
    'mask_rcnn_dla_b101_1x_coco.py': (65_142_918, 64_892_968),
    'mask_rcnn_mrla_b50_1x_coco.py': (44_581_884, 44_328_830),
    'mask_rcnn_mrla_b101_1x_coco.py': (63_765_670, 63_512_616),
    'retinanet_dla_l50_1x_coco.py': (39_581_152, 39_328_130),
    'cascade_rcnn_dla_l50_1x_coco.py': (71_007_226, 70_754_204),
}
# (Faster R-CNN, Mask R-CNN) at depth 50 and at 101
COMPARISON_DETECTORS = {
    'resnet': [((41_753_056, 41_527_712), (44_396_336, 44_170_992)),
               ((60_745_184, 60_519_840), (63_388_464, 63_163_120))],
    'se': [((44_268_000, 44_018_080), (46_911_280, 46_661_360)),
           ((65_488_352, 65_238_432), (68_131_632, 67_881_712))],
    'eca': [((41_753_142, 41_527_783), (44_396_422, 44_171_063)),
            ((60_745_355, 60_519_996), (63_388_635, 63_163_276))],
    # the last layer's norm of the hidden map, 64 parameters, is read by nobody and not trained
    'rla': [((42_034_656, 41_785_504), (44_677_936, 44_428_784)),
            ((61_167_136, 60_917_984), (63_810_416, 63_561_264))],
    'ba': [((44_902_400, 44_646_048), (47_545_680, 47_289_328)),
           ((66_686_336, 66_429_984), (69_329_616, 69_073_264))],
    'nl': [((43_852_768, 43_627_424), (46_496_048, 46_270_704)),
           ((62_844_896, 62_619_552), (65_488_176, 65_262_832))],
    'gc': [((51_753_965, 51_528_621), (54_397_245, 54_171_901)),
           ((79_706_878, 79_481_534), (82_350_158, 82_124_814))],
}
for system, depths in COMPARISON_DETECTORS.items():
    for depth, pair in zip((50, 101), depths):
        for kind, counts in zip(('faster', 'mask'), pair):
            COCO_DETECTORS[f'comparison/{kind}_rcnn_{system}{depth}_1x_coco.py'] = counts
BACKBONES = [
    (ResNet, dict(), 25_557_032, 44_549_160),
    (MRLAResNet, dict(), 25_738_452, 44_939_646),
    (MRLAResNet, dict(variant='base', deep_stem=True), 25_742_580, 44_926_366),
    (DIAResNet, dict(), 28_358_052, 47_350_180),
    (DLAResNet, dict(), 27_169_492, 46_370_686),
    (DLAResNet, dict(excite=False), 27_134_932, 46_336_126),
    (DLAResNet, dict(context_unit=SPLIT_20), 28_012_368, 47_213_562),
    (DLAResNet, dict(context_unit={**SPLIT_20, 'reduction': 16}), 28_581_812, 47_783_006),
]
IMAGENET = {
    'mrla_l50_8xb32_in1k.py': 25_738_452,
    'mrla_l101_8xb32_in1k.py': 44_939_646,
    'mrla_b50_8xb32_in1k.py': 25_742_580,
    'mrla_b101_8xb32_in1k.py': 44_926_366,
    'dla_l50_8xb32_in1k.py': 27_169_492,
    'dla_l101_8xb32_in1k.py': 46_370_686,
    'dla_l50_released_8xb32_in1k.py': 28_581_812,
    'dla_l101_released_8xb32_in1k.py': 47_783_006,
    'dia50_8xb32_in1k.py': 28_358_052,
    'mrla_l_deit_tiny_8xb128_in1k.py': 5_749_792,
    'mrla_l_deit_small_8xb128_in1k.py': 22_115_296,
    'mrla_l_deit_base_8xb128_in1k.py': 86_696_800,
    'mrla_b_deit_tiny_8xb128_in1k.py': 5_742_880,
    'mrla_b_deit_small_8xb128_in1k.py': 22_101_472,
    'mrla_b_deit_base_8xb128_in1k.py': 86_669_152,
    # in neither paper
    'dla_b50_8xb32_in1k.py': 27_119_828,
    'dla_b101_8xb32_in1k.py': 46_303_614,
    'dla_l_deit_tiny_8xb128_in1k.py': 5_760_736,
    'dla_l_deit_small_8xb128_in1k.py': 22_156_384,
    'dla_l_deit_base_8xb128_in1k.py': 86_851_936,
}
for system, counts in {
        'resnet': (25_557_032, 44_549_160),
        'se': (28_071_976, 49_292_328),
        'eca': (25_557_118, 44_549_331),
        'cbam': (28_089_624, 49_330_172),
        'a2': (32_905_256, 51_897_384),
        'aa': (25_813_872, 45_391_208),
        'gc': (28_078_773, 49_337_222),
        'nl': (27_656_744, 46_648_872),
        'ba': (28_706_376, 50_490_312),
        'rla': (25_870_696, 45_003_176),
}.items():
    for depth, expected in zip((50, 101), counts):
        IMAGENET[f'comparison/{system}{depth}_8xb32_in1k.py'] = expected
IMAGENET['comparison/aa50_pooled_8xb32_in1k.py'] = 25_809_392
# 10 classes, at depth 20, 56 and 110; with 100 classes 23,130 more
CIFAR = {
    'resnet{}': (220_378, 591_322, 1_147_738),
    'mrla_b{}': (230_286, 621_046, 1_207_186),
    'mrla_l{}': (231_182, 623_734, 1_212_562),
    'dla_b{}_released': (405_230, 795_990, 1_382_130),
    'dla_b{}': (339_150, 729_910, 1_316_050),
    'dla_l{}_released': (410_158, 802_710, 1_391_538),
    'dla_l{}': (344_078, 736_630, 1_325_458),
    'dia{}': (439_226, 810_170, 1_366_586),
    'se{}': (241_882, 655_834, 1_276_762),
    'eca{}': (220_404, 591_400, 1_147_894),
}
# on the CIFAR trunk in no paper
CIFAR_PROPOSALS = {
    'cbam': (dict(cfg=dict(type='mmdla.CBAM')), (243_434, 660_490, 1_286_074)),
    'gc': (dict(cfg=dict(type='ContextBlock', ratio=1 / 16), stages=(False, True, True)),
           (242_542, 657_814, 1_280_722)),
    'nl': (dict(cfg=dict(type='NonLocal2d'), position='after_block', blocks=((), (-2, ), ())),
           (220_378 + 33_088, 591_322 + 33_088, 1_147_738 + 33_088)),
    'ba': (dict(cfg=dict(type='mmdla.BridgeAttention'), position='bridge'),
           (247_594, 672_970, 1_311_034)),
}
ABLATION = {
    'dla_l110_rnn': 1_412_652,
    'dla_l110_lstm': 1_931_436,
    'dla_l110_dia': 1_458_572,
    'dla_l110_dsu_identity': 1_414_668,
    'dla_l110_dsu_tanh': 1_414_668,
    'dla_l110_dsu_relu': 1_414_668,
    'lii_lstm56': 1_306_164,
    'lii_lstm110': 1_862_580,
    'lii_dsu56': 789_396,
    'lii_dsu110': 1_345_812,
}


def load(name):
    cfg = Config.fromfile(CONFIGS / name)
    init_default_scope(cfg.default_scope)
    return cfg


def build_classifier(cfg):
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    return CLASSIFIERS.build(cfg.model)


class WithoutMemory(TorchFunctionMode):
    """Parameters are made on the meta device: there is nothing to fill or to initialise.

    Under ``torch.device('meta')`` the hosts could not read their drop path rates.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        return function(*args, **({**kwargs, 'device': 'meta'} if function is torch.empty else kwargs))


@pytest.fixture
def without_memory():
    with WithoutMemory():
        yield


def count(model, trainable=False):
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


@pytest.mark.usefixtures('without_memory')
@pytest.mark.parametrize('name, counts', COCO_DETECTORS.items())
def test_detector_parameters(name, counts):
    model = DETECTORS.build(load(name).model)
    assert (count(model), count(model, trainable=True)) == counts


@pytest.mark.usefixtures('without_memory')
def test_dianet_detector_parameters():
    """In no table; trained 44.30 M."""
    cfg = load('comparison/faster_rcnn_resnet50_1x_coco.py')
    cfg.model.backbone.type = 'mmdla.DIAResNet'
    model = DETECTORS.build(cfg.model)
    assert (count(model), count(model, trainable=True)) == (44_554_076, 44_295_940)


@pytest.mark.usefixtures('without_memory')
@pytest.mark.parametrize('unit, expected', [(dict(type='LSTM'), 912_090),
                                            (dict(type='DSU', form='split', reduction=4), 395_322)])
def test_lii_parameters_at_depth_20(unit, expected):
    assert count(DIAResNet(20, unit, trunk='cifar')) + 2_570 == expected


@pytest.mark.usefixtures('without_memory')
@pytest.mark.parametrize('cls, kwargs, at_50, at_101', BACKBONES)
def test_backbone_parameters(cls, kwargs, at_50, at_101):
    head = 2048 * 1000 + 1000
    assert count(cls(50, **kwargs)) + head == at_50
    assert count(cls(101, **kwargs)) + head == at_101


@pytest.mark.usefixtures('without_memory')
@pytest.mark.parametrize('name, expected', IMAGENET.items())
def test_imagenet_parameters(name, expected):
    assert count(build_classifier(load(name))) == expected


@pytest.mark.usefixtures('without_memory')
@pytest.mark.parametrize('classes', [10, 100])
@pytest.mark.parametrize('name, counts', CIFAR.items())
def test_cifar_parameters(name, counts, classes):
    folder = 'comparison/cifar' if name in ('se{}', 'eca{}') else 'cifar'
    for depth, expected in zip((20, 56, 110), counts):
        cfg = load(f'{folder}/{name.format(depth)}_b128_cifar{classes}.py')
        assert count(build_classifier(cfg)) == expected + (23_130 if classes == 100 else 0)


@pytest.mark.usefixtures('without_memory')
@pytest.mark.parametrize('plugin, counts', CIFAR_PROPOSALS.values(), ids=CIFAR_PROPOSALS)
def test_plugins_on_the_cifar_trunk(plugin, counts):
    for depth, expected in zip((20, 56, 110), counts):
        assert count(ResNet(depth, trunk='cifar', plugins=[plugin])) + 2_570 == expected


@pytest.mark.usefixtures('without_memory')
def test_rla_on_the_cifar_trunk():
    for depth, thousands in zip((20, 56, 110), (233, 609, 1_174)):
        model = RLAResNet(depth, hidden_channels=12, hidden_output=True, trunk='cifar')
        assert round((count(model) + (256 + 12 + 1) * 10) / 1000) == thousands


@pytest.mark.usefixtures('without_memory')
@pytest.mark.parametrize('plugin, at_50, at_101', [
    (dict(type='mmdla.ECA', kernel_size=(3, 3, 5, 7)), 25_557_104, 44_549_317),
    (dict(type='mmdla.ECA', kernel_size=(3, 5, 5, 7)), 25_557_112, 44_549_325),
    (dict(type='mmdla.AAConv2d', size=(56, 28, 14, 7), pool=(1, 2, 1, 1)), 25_809_392, 45_386_728),
], ids=['eca_released', 'eca', 'aa_pooled'])
def test_other_forms_of_the_comparison_systems(plugin, at_50, at_101):
    layer = plugin.pop('type')
    position = dict(position='conv2', stages=(False, True, True, True)) if 'AA' in layer else {}
    plugins = [dict(cfg=dict(type=layer), per_stage=plugin, **position)]
    assert count(ResNet(50, plugins=plugins)) + 2_049_000 == at_50
    assert count(ResNet(101, plugins=plugins)) + 2_049_000 == at_101


@pytest.mark.usefixtures('without_memory')
@pytest.mark.parametrize('name, expected', ABLATION.items())
def test_ablation_parameters(name, expected):
    assert count(build_classifier(load(f'ablation/{name}_b128_cifar100.py'))) == expected


def assert_sgd(cfg, lr):
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (
        'SGD', lr, 0.9, 1e-4)


@pytest.mark.parametrize('name', [n for n in DETECTION if n.endswith('_1x_coco.py')])
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
    assert (backbone.norm_eval, backbone.norm_cfg.type) == ((False, 'SyncBN') if '_gc' in name else
                                                            (True, 'BN'))
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == 'data/coco/'
    expected = ['bbox', 'segm'] if 'mask_rcnn' in name else 'bbox'
    assert cfg.test_evaluator.metric == expected


@pytest.mark.parametrize('name', [n for n in ALL if n.endswith('_8xb32_in1k.py')])
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
    assert_sgd(cfg, 0.1)
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 128
    scheduler = cfg.param_scheduler
    assert (scheduler.milestones, scheduler.gamma, cfg.train_cfg.max_epochs) == ([100, 150], 0.1, 180)
    assert cfg.train_dataloader.sampler.shuffle and not cfg.test_dataloader.sampler.shuffle
    attention = 'mrla' in name or 'dla' in name
    assert cfg.model.backbone.get('attention_drop_path') == (0.2 if attention else None)
    assert cfg.model.backbone.get('attention_init') == ('one' if attention else None)
    classes = 100 if 'cifar100' in name else 10
    for split in ('val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.num_classes == classes
    assert cfg.data_preprocessor.num_classes == classes
    assert cfg.model.head.num_classes == cfg.train_dataloader.dataset.num_classes == classes


@pytest.mark.parametrize('name', ALL)
def test_data_root_from_the_environment(name, monkeypatch, data_roots):
    for variable in data_roots:
        monkeypatch.setenv(variable, '/elsewhere')
    cfg = load(name)
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.data_root == '/elsewhere'
        if split != 'train' and name in DETECTION:
            assert cfg[f'{split}_evaluator'].ann_file.startswith('/elsewhere/')


def test_metafile_lists_the_main_configs():
    index = Config.fromfile(CONFIGS.parent / 'model-index.yml').Import
    assert index == ['configs/metafile.yml', 'configs/comparison/metafile.yml']
    for path in index:
        folder = (CONFIGS.parent / path).parent
        meta = Config.fromfile(CONFIGS.parent / path)
        assert [model.Config for model in meta.Models] == [
            str(p.relative_to(CONFIGS.parent)) for p in sorted(folder.glob('*.py'))]
        assert {model['In Collection'] for model in meta.Models} == {c.Name for c in meta.Collections}


def missing_gradients(model):
    return [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]


def steps(names, twins):
    """These, of which those with a twin in the default tier, only another head or depth, are full's."""
    return pytest.mark.parametrize('name', [
        pytest.param(name, marks=pytest.mark.full if re.search(twins, name) else ()) for name in names])


@steps([n for n in DETECTION if '101' not in n], r'mask_rcnn_(?!dla_l50_1x)\w+_coco')
def test_step_of_every_detector(name):
    """Every parameter that requires a gradient gets one."""
    from mmdet.testing import demo_mm_inputs
    cfg = load(name)
    cfg.model.backbone.init_cfg = None
    model = DETECTORS.build(cfg.model).train()
    inputs = demo_mm_inputs(2, [[3, 96, 128], [3, 128, 96]], num_classes=3, num_items=[3, 2],
                            with_mask='mask' in name)
    data = model.data_preprocessor(inputs, True)
    losses = model.loss(data['inputs'], data['data_samples'])
    loss, _ = model.parse_losses(losses)
    assert loss.isfinite()
    loss.backward()
    assert not missing_gradients(model)
    with torch.no_grad():
        model.eval().predict(data['inputs'], data['data_samples'])


@steps([n for n in CLASSIFICATION if not any(s in n for s in ('56', '101', 'small_', 'base_'))],
       r'cifar10\.py|cifar/.*110_')
def test_step_of_every_classifier(name):
    """One size of each family; every parameter gets a gradient."""
    from mmpretrain.structures import DataSample
    model = build_classifier(load(name)).train()
    size = 32 if 'cifar' in name else 64
    samples = [DataSample().set_gt_label(label).set_gt_score(torch.eye(model.head.num_classes)[label])
               for label in (1, 2)]
    losses = model(torch.randn(2, 3, size, size), samples, mode='loss')
    assert losses['loss'].isfinite()
    losses['loss'].backward()
    assert not missing_gradients(model)
    predictions = model.eval()(torch.randn(2, 3, size, size), samples, mode='predict')
    assert all(0 <= p.pred_label < model.head.num_classes for p in predictions)
