"""Names of MobileNetV2 and MobileNetV3.

timm's ``mobilenetv2_*``, torchvision's ``mobilenet_v2`` and mmdet's MobileNetV2 are mmpretrain's.
torchvision's MobileNetV3 is mmpretrain's; timm's ``mobilenetv3_*`` is with ``norm_cfg=dict(type='BN')``,
whose epsilon it has, and its ``tf_mobilenetv3_*`` with ``conv_cfg=dict(type='Conv2dAdaptivePadding')``.
The layers after the pooling belong to the classifier.

Left out: timm's deeper MobileNetV2s (``110d``, ``120d``), MobileNetV3 ``minimal``, ``rw`` and other
widths than mmpretrain has, all of which fail by their names or shapes.
"""
import re

from .inverted_residual import ORDER, name_timm_layers, name_torchvision_layers
from .naming import Naming, Tensors, highest

STAGES = (1, 2, 3, 4, 3, 3, 1)  # blocks of MobileNetV2
BLOCKS = {number: f'layer{place}.' for number, place in enumerate(
    (f'{stage}.{block}' for stage, count in enumerate(STAGES, 1) for block in range(count)), 1)}


def number_layers(tensors: Tensors) -> Tensors:
    """MobileNetV2's layers by number in ``conv``, as in the host; the first block has no expansion."""
    def place(match):
        number = ORDER.index(match[3]) - (match[1] == match[2] == '0')
        return f'layer{int(match[1]) + 1}.{match[2]}.conv.{number}.'

    return {re.sub(rf'^blocks\.(\d)\.(\d)\.({"|".join(ORDER)})\.', place, name): value
            for name, value in name_timm_layers(tensors).items()}


def number_blocks(tensors: Tensors) -> Tensors:
    """MobileNetV3's blocks in one row, as in the host."""
    def place(match):
        ahead = sum(1 + highest(tensors, rf'blocks\.{stage}\.(\d+)\.') for stage in range(int(match[1])))
        return f'layer{1 + ahead + int(match[2])}.'

    return {re.sub(r'^blocks\.(\d)\.(\d+)\.', place, name): value
            for name, value in name_timm_layers(tensors).items()}


V2_TIMM = (
    (r'^conv_stem\.', 'conv1.conv.'),
    (r'^bn1\.', 'conv1.bn.'),
    (r'^conv_head\.', 'conv2.conv.'),
    (r'^bn2\.', 'conv2.bn.'),
)
V2_TORCHVISION = (
    (r'^features\.0\.0\.', 'conv1.conv.'),
    (r'^features\.0\.1\.', 'conv1.bn.'),
    (r'^features\.18\.0\.', 'conv2.conv.'),
    (r'^features\.18\.1\.', 'conv2.bn.'),
    (r'^features\.(\d+)\.', lambda m: BLOCKS.get(int(m[1]), m[0])),
    (r'^layer1\.0\.conv\.1\.', 'layer1.0.conv.1.conv.'),
    (r'^layer1\.0\.conv\.2\.', 'layer1.0.conv.1.bn.'),
    (r'^(layer\d\.\d\.conv\.[01])\.0\.', r'\1.conv.'),
    (r'^(layer\d\.\d\.conv\.[01])\.1\.', r'\1.bn.'),
    (r'^(layer\d\.\d\.conv\.2)\.', r'\1.conv.'),
    (r'^(layer\d\.\d)\.conv\.3\.', r'\1.conv.2.bn.'),
)
V3_TIMM = (
    (r'^conv_stem\.', 'layer0.conv.'),
    (r'^bn1\.', 'layer0.bn.'),
)
V3_TORCHVISION = (
    (r'^features\.(\d+)\.0\.', r'layer\1.conv.'),
    (r'^features\.(\d+)\.1\.', r'layer\1.bn.'),
    (r'^features\.(\d+)\.block\.', r'layer\1.block.'),
)
V2_MMDET = (
    (r'^(layer1\.0)\.depthwise_conv\.', r'\1.conv.0.'),
    (r'^(layer1\.0)\.linear_conv\.', r'\1.conv.1.'),
    *((rf'^(layer\d\.\d)\.{layer}\.', rf'\1.conv.{place}.') for place, layer in enumerate(ORDER)),
)
TIMM_MARKS = (r'^conv_stem\.weight$', r'^blocks\.0\.0\.conv_dw\.weight$')

MOBILENET_V2 = (
    Naming('timm', TIMM_MARKS, V2_TIMM, r'classifier\.', number_layers),
    Naming('torchvision', (r'^features\.1\.conv\.0\.0\.weight$', ), V2_TORCHVISION, r'classifier\.'),
    Naming('mmdet', (r'^layer1\.0\.depthwise_conv\.conv\.weight$', ), V2_MMDET),
)
MOBILENET_V3 = (
    Naming('timm', TIMM_MARKS, V3_TIMM, r'(conv_head|norm_head|classifier)\.', number_blocks),
    Naming('torchvision', (r'^features\.1\.block\.0\.0\.weight$', ), V3_TORCHVISION, r'classifier\.',
           name_torchvision_layers),
)
