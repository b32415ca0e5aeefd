"""Names of EfficientNet (``b0`` to ``b8``, ``l2``, and for the Edge TPU ``es`` and ``em``).

mmpretrain pads as TensorFlow does and has the norms' epsilon of TensorFlow, by default: its outputs are
those of timm's ``tf_efficientnet_*``. They are those of timm's ``efficientnet_*`` and torchvision's
``efficientnet_b0`` to ``b4`` with ``conv_cfg=None, norm_cfg=dict(type='BN')``, and those of
torchvision's ``b5`` to ``b7`` with ``conv_cfg=None``. The Edge TPU's have ``act_cfg=dict(type='ReLU')``.

Left out: EfficientNetV2, which is another class in mmpretrain; timm's ``el``, whose first block has
another width; ``lite`` and ``_pruned`` networks.
"""
import re

from .inverted_residual import name_timm_layers, name_torchvision_layers
from .naming import Naming, Tensors, highest

# the host's, of each of the sources': it appends those with stride 1 to the one ahead
STAGES = (1, 2, 3, 4, 4, 5, 5)


def in_host_stages(tensors: Tensors) -> Tensors:
    """``blocks.`` by the host's stages."""
    def place(match):
        stage, block = int(match[1]), int(match[2])
        if stage and STAGES[stage] == STAGES[stage - 1]:
            block += 1 + highest(tensors, rf'blocks\.{stage - 1}\.(\d+)\.')
        return f'layers.{STAGES[stage]}.{block}.'

    return {re.sub(r'^blocks\.([0-6])\.(\d+)\.', place, name): value for name, value in tensors.items()}


TIMM = (
    (r'^conv_stem\.', 'layers.0.conv.'),
    (r'^bn1\.', 'layers.0.bn.'),
    (r'^conv_head\.', 'layers.6.conv.'),
    (r'^bn2\.', 'layers.6.bn.'),
)
TORCHVISION = (
    (r'^features\.0\.0\.', 'layers.0.conv.'),
    (r'^features\.0\.1\.', 'layers.0.bn.'),
    (r'^features\.8\.0\.', 'layers.6.conv.'),
    (r'^features\.8\.1\.', 'layers.6.bn.'),
    (r'^features\.([1-7])\.', lambda m: f'blocks.{int(m[1]) - 1}.'),
)
EFFICIENTNET = (
    Naming('timm', (r'^conv_stem\.weight$', r'^blocks\.0\.0\.bn1\.weight$'), TIMM, r'classifier\.',
           lambda tensors: in_host_stages(name_timm_layers(tensors))),
    Naming('torchvision', (r'^features\.1\.0\.block\.1\.fc1\.weight$', ), TORCHVISION, r'classifier\.',
           lambda tensors: in_host_stages(name_torchvision_layers(tensors))),
)
