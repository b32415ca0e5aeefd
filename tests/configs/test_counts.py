"""Every config builds, with exactly the parameters that the specification of the papers gives."""
import pytest
from mmdet.registry import MODELS as DETECTORS
from our_configs import build_classifier, count, load

from mmdla.models import DIAResNet, DLAResNet, MRLAResNet, ResNet, RLAResNet

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
    'faster_rcnn_dla_l50_split-r20_1x_coco.py': (44_208_392, 43_945_362),
    'faster_rcnn_dla_l101_split-r20_1x_coco.py': (63_409_586, 63_146_556),
    'mask_rcnn_dla_l50_split-r20_1x_coco.py': (46_851_672, 46_588_642),
    'mask_rcnn_dla_l101_split-r20_1x_coco.py': (66_052_866, 65_789_836),
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
    # as the 1x ones
    'upgrade/faster_rcnn_dla_l50_2e_coco.py': (43_365_516, 43_112_494),
    'upgrade/faster_rcnn_mrla_l50_2e_coco.py': (41_934_476, 41_699_886),
    'upgrade/mask_rcnn_dla_l50_2e_coco.py': (46_008_796, 45_755_774),
    'upgrade/mask_rcnn_mrla_l50_2e_coco.py': (44_577_756, 44_343_166),
    # on other trunks, of which the last alone has a stage frozen
    'upgrade/mask_rcnn_dla_l_swin-t_2e_coco.py': (48_066_778, 48_066_778),
    'upgrade/mask_rcnn_dla_l_convnext-t_2e_coco.py': (48_385_272, 48_385_272),
    'upgrade/retinanet_dla_l_pvtv2-b2_2e_coco.py': (35_264_904, 35_264_904),
    'upgrade/mask_rcnn_dla_l_resnext101-32x4d_2e_coco.py': (64_838_534, 64_595_496),
}
# (Faster R-CNN, Mask R-CNN) at depth 50 and at 101
COMPARISON_DETECTORS = {
    'resnet': [((41_753_056, 41_527_712), (44_396_336, 44_170_992)),
               ((60_745_184, 60_519_840), (63_388_464, 63_163_120))],
    'se-r': [((44_268_000, 44_018_080), (46_911_280, 46_661_360)),
             ((65_488_352, 65_238_432), (68_131_632, 67_881_712))],
    'eca-r': [((41_753_142, 41_527_783), (44_396_422, 44_171_063)),
              ((60_745_355, 60_519_996), (63_388_635, 63_163_276))],
    # the last layer's norm of the hidden map, 64 parameters, is read by nobody and not trained
    'rla-r': [((42_034_656, 41_785_504), (44_677_936, 44_428_784)),
              ((61_167_136, 60_917_984), (63_810_416, 63_561_264))],
    'ba-r': [((44_902_400, 44_646_048), (47_545_680, 47_289_328)),
             ((66_686_336, 66_429_984), (69_329_616, 69_073_264))],
    'nl-r': [((43_852_768, 43_627_424), (46_496_048, 46_270_704)),
             ((62_844_896, 62_619_552), (65_488_176, 65_262_832))],
    'gc-r': [((51_753_965, 51_528_621), (54_397_245, 54_171_901)),
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
    'imagenet/mrla_l50_8xb32_in1k.py': 25_738_452,
    'imagenet/mrla_l101_8xb32_in1k.py': 44_939_646,
    'imagenet/mrla_b50_8xb32_in1k.py': 25_742_580,
    'imagenet/mrla_b101_8xb32_in1k.py': 44_926_366,
    'imagenet/dla_l50_8xb32_in1k.py': 27_169_492,
    'imagenet/dla_l101_8xb32_in1k.py': 46_370_686,
    'imagenet/dla_l50_split-r16_8xb32_in1k.py': 28_581_812,
    'imagenet/dla_l101_split-r16_8xb32_in1k.py': 47_783_006,
    'imagenet/dla_l50_split-r20_8xb32_in1k.py': 28_012_368,
    'imagenet/dla_l101_split-r20_8xb32_in1k.py': 47_213_562,
    'imagenet/dia50_8xb32_in1k.py': 28_358_052,
    'imagenet/mrla_l_deit_tiny_8xb128_in1k.py': 5_749_792,
    'imagenet/mrla_l_deit_small_8xb128_in1k.py': 22_115_296,
    'imagenet/mrla_l_deit_base_8xb128_in1k.py': 86_696_800,
    'imagenet/mrla_b_deit_tiny_8xb128_in1k.py': 5_742_880,
    'imagenet/mrla_b_deit_small_8xb128_in1k.py': 22_101_472,
    'imagenet/mrla_b_deit_base_8xb128_in1k.py': 86_669_152,
    # in neither paper
    'imagenet/dla_b50_8xb32_in1k.py': 27_119_828,
    'imagenet/dla_b101_8xb32_in1k.py': 46_303_614,
    'imagenet/dla_l_deit_tiny_8xb128_in1k.py': 5_760_736,
    'imagenet/dla_l_deit_small_8xb128_in1k.py': 22_156_384,
    'imagenet/dla_l_deit_base_8xb128_in1k.py': 86_851_936,
}
for system, counts in {
        'resnet': (25_557_032, 44_549_160),
        'se-r': (28_071_976, 49_292_328),
        'eca-r': (25_557_118, 44_549_331),
        'cbam-r': (28_089_624, 49_330_172),
        'a2-r': (32_905_256, 51_897_384),
        'aa-r': (25_813_872, 45_391_208),
        'gc-r': (28_078_773, 49_337_222),
        'nl-r': (27_656_744, 46_648_872),
        'ba-r': (28_706_376, 50_490_312),
        'rla-r': (25_870_696, 45_003_176),
}.items():
    for depth, expected in zip((50, 101), counts):
        IMAGENET[f'comparison/{system}{depth}_8xb32_in1k.py'] = expected
IMAGENET['comparison/aa-r50_pooled_8xb32_in1k.py'] = 25_809_392
# 10 classes, at depth 20, 56 and 110; with 100 classes 23,130 more
CIFAR = {
    'resnet{}': (220_378, 591_322, 1_147_738),
    'mrla_b{}': (230_286, 621_046, 1_207_186),
    'mrla_l{}': (231_182, 623_734, 1_212_562),
    'dla_b{}_split-r4-tokens': (405_230, 795_990, 1_382_130),
    'dla_b{}': (339_150, 729_910, 1_316_050),
    'dla_l{}_split-r4': (410_158, 802_710, 1_391_538),
    'dla_l{}': (344_078, 736_630, 1_325_458),
    'dia{}': (439_226, 810_170, 1_366_586),
    'se-r{}': (241_882, 655_834, 1_276_762),
    'eca-r{}': (220_404, 591_400, 1_147_894),
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
    for depth, expected in zip((20, 56, 110), counts):
        cfg = load(f'cifar/{name.format(depth)}_b128_cifar{classes}.py')
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
