"""Names of ResNets and of what is built like them.

The names of torchvision's ResNet, ResNeXt and Wide ResNet, and of timm's plain ones, are mmpretrain's.
timm calls the convolutions of a deep stem ``conv1.0``, ``conv1.3`` and ``conv1.6``, mmdet ``stem.0``,
``stem.3`` and ``stem.6``; both number the pooling in a shortcut even at stride 1, where mmpretrain's
ResNetV1d and ResNeSt have none. timm's and
mmpretrain's networks agree where all arguments do (``stem_channels=128`` for ``resnest101e``;
``deep_stem=False, avg_down=False`` for ``res2net50_26w_4s``, whose names are the same).

Left out: stems of another width (``resnet50t``) and groups in a Res2Net's branches (``res2next50``),
which fail by their shapes; ECA, which fails by its names. Neither tells ``avd_first`` of
``resnest50d_4s2x40d``, anti-aliasing, or a dilated network with ``avg_down``, where timm pools at
stride 1, too: their tensors load, and the hosts compute something else.
"""
from .naming import Naming

SQUEEZE = (
    (r'^(layer\d\.\d+)\.se\.fc([12])\.', r'\1.se_layer.conv\2.conv.'),
)
DEEP_STEM = (
    (r'^conv1\.0\.', 'stem.0.conv.'),
    (r'^conv1\.1\.', 'stem.0.bn.'),
    (r'^conv1\.3\.', 'stem.1.conv.'),
    (r'^conv1\.4\.', 'stem.1.bn.'),
    (r'^conv1\.6\.', 'stem.2.conv.'),
    (r'^bn1\.', 'stem.2.bn.'),
)
UNPOOLED_SHORTCUT = (
    (r'^layer1\.0\.downsample\.1\.', 'layer1.0.downsample.0.'),
    (r'^layer1\.0\.downsample\.2\.', 'layer1.0.downsample.1.'),
)
STEM_OF_MMDET = tuple(
    (rf'^stem\.{3 * i + j}\.', f'stem.{i}.{part}.') for i in range(3)
    for j, part in enumerate(('conv', 'bn')))
STEM_MARK_OF_MMDET = r'^stem\.0\.weight$'
STEM_MARK = r'^conv1\.0\.weight$'
HEAD = r'fc\.'

# of ResNet, ResNetV1c, ResNetV1d, ResNeXt, SEResNet, SEResNeXt and ResNeSt
RESNET = (
    Naming('timm', (STEM_MARK, r'^layer1\.0\.downsample\.2\.weight$'),
           DEEP_STEM + UNPOOLED_SHORTCUT + SQUEEZE, HEAD),
    Naming('timm', (STEM_MARK, ), DEEP_STEM + SQUEEZE, HEAD),
    Naming('timm', (r'^layer1\.0\.se\.fc1\.weight$', ), SQUEEZE, HEAD),
    Naming('mmdet', (STEM_MARK_OF_MMDET, r'^layer1\.0\.downsample\.2\.weight$'),
           STEM_OF_MMDET + UNPOOLED_SHORTCUT),
    Naming('mmdet', (STEM_MARK_OF_MMDET, ), STEM_OF_MMDET),
)
RES2NET = (
    Naming('timm', (STEM_MARK, ), DEEP_STEM, HEAD),
    Naming('mmdet', (STEM_MARK_OF_MMDET, ), STEM_OF_MMDET),
)
