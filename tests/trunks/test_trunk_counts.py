"""The table of parameters in docs/trunks.md: what each form adds, by a formula of its own."""
import math
from pathlib import Path

import pytest
import torch
import torchvision

PAGE = Path(__file__).parents[2] / 'docs' / 'trunks.md'
RESNET = ((256, 3), (512, 4), (1024, 6), (2048, 3))
PYRAMID = ((64, 3), (128, 4), (320, 6), (512, 3))
# channels and blocks of the stages, from the papers of the trunks
STAGES = {
    'ResNet-50': RESNET, 'ResNet-50-D': RESNET, 'ResNeXt-50 32x4d': RESNET, 'SE-ResNet-50': RESNET,
    'Res2Net-50 26w 4s': RESNET, 'ResNeSt-50': RESNET,
    'RegNetX-3.2GF': ((96, 2), (192, 6), (432, 15), (1008, 2)),
    'ConvNeXt-T': ((96, 3), (192, 3), (384, 9), (768, 3)),
    'ConvNeXt V2-T': ((96, 3), (192, 3), (384, 9), (768, 3)),
    'Swin-T': ((96, 2), (192, 2), (384, 6), (768, 2)),
    'Swin-T (mmdet)': ((96, 2), (192, 2), (384, 6), (768, 2)),
    'PVT-S': PYRAMID, 'PVTv2-B2': PYRAMID,
    'EfficientNet-B0': ((24, 2), (40, 2), (80, 3), (112, 3), (192, 4)),
    'MobileNetV2': ((24, 2), (32, 3), (64, 4), (96, 3), (160, 3)),
    'MobileNetV3-L': ((24, 2), (40, 3), (80, 4), (112, 2), (160, 3)),
    'DeiT-S': ((384, 12), ),
    'ViT-B of ViTDet and SAM': ((768, 12), ),
}
TRANSFORMERS = ('Swin-T', 'Swin-T (mmdet)', 'PVT-S', 'PVTv2-B2', 'DeiT-S', 'ViT-B of ViTDet and SAM')
FORMS = ('plain', 'mrla_l', 'mrla_b', 'dla_l', 'dla_b', 'lii')
TABLE = PAGE.read_text().partition('<!-- written by')[2].partition('<!-- end -->')[0]
CELLS = [[cell.strip() for cell in line.strip('|').split('|')]
         for line in TABLE.splitlines() if line.startswith('| `mmdla.')]
ROWS = {name: {form: int(count.replace(',', '')) for form, count in zip(FORMS, counts)}
        for _, name, *counts in CELLS}


def added(channels, blocks, form, transformer, reduction=20):
    """Parameters that a form adds to a stage."""
    t = int(abs((math.log2(channels) + 1) / 2))
    kernel = t if t % 2 else t + 1
    query_key, value, norm = 2 * kernel, 9 * channels, 2 * channels
    hidden = channels // reduction
    unit = 2 * channels * hidden + 3 * channels * hidden + 3 * channels
    light = blocks * (query_key + value + norm * (2 if transformer else 1) + channels)
    base = blocks * (query_key + value + norm)
    return dict(plain=0, mrla_l=light, mrla_b=base, dla_l=light + unit + value, dla_b=base + unit,
                lii=unit)[form]


@pytest.mark.parametrize('name', STAGES)
def test_what_a_form_adds(name):
    for form, count in ROWS[name].items():
        assert count - ROWS[name]['plain'] == sum(
            added(*stage, form, name in TRANSFORMERS) for stage in STAGES[name])


@pytest.mark.parametrize('name, model, width', [
    ('ResNet-50', 'resnet50', 2048), ('ResNeXt-50 32x4d', 'resnext50_32x4d', 2048),
    ('Swin-T', 'swin_t', 768), ('ConvNeXt-T', 'convnext_tiny', 768),
    ('EfficientNet-B0', 'efficientnet_b0', 1280), ('MobileNetV2', 'mobilenet_v2', 1280)])
def test_plain_counts_are_torchvisions_without_the_classifier(name, model, width):
    with torch.device('meta'):
        whole = sum(p.numel() for p in getattr(torchvision.models, model)().parameters())
    assert ROWS[name]['plain'] == whole - 1000 * (width + 1)


def test_every_row_has_its_stages():
    assert list(ROWS) == list(STAGES)


@pytest.mark.full
def test_the_table_is_current(call):
    done = call('analysis/count_trunks.py', '--check')
    assert done.returncode == 0, done.stderr
