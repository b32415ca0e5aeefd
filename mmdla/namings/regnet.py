"""Names of RegNetX.

Of torchvision's, those agree whose group width divides the stages' widths as mmpretrain rounds them:
``regnet_x_400mf`` has 400 channels in its last stage, and mmpretrain's ``regnetx_400mf`` and timm's
``regnetx_004`` have 384. Left out: RegNetY, as mmpretrain's RegNet has no squeeze-and-excitation.
"""
from .naming import Naming


def block(match) -> str:
    """Stage and block, which the sources count from one and the host's blocks from zero."""
    return f'layer{match[1]}.{int(match[2]) - 1}.'


TIMM = (
    (r'^stem\.conv\.', 'conv1.'),
    (r'^stem\.bn\.', 'bn1.'),
    (r'^s(\d)\.b(\d+)\.', block),
    (r'^(layer\d\.\d+)\.conv([123])\.conv\.', r'\1.conv\2.'),
    (r'^(layer\d\.\d+)\.conv([123])\.bn\.', r'\1.bn\2.'),
    (r'^(layer\d\.\d+\.downsample)\.conv\.', r'\1.0.'),
    (r'^(layer\d\.\d+\.downsample)\.bn\.', r'\1.1.'),
)
PLACES = dict(a=1, b=2, c=3)
TORCHVISION = (
    (r'^stem\.0\.', 'conv1.'),
    (r'^stem\.1\.', 'bn1.'),
    (r'^trunk_output\.block(\d)\.block\d-(\d+)\.', r'layer\1.\2.'),
    (r'^(layer\d\.\d+)\.proj\.', r'\1.downsample.'),
    (r'^(layer\d\.\d+)\.f\.([abc])\.0\.', lambda m: f'{m[1]}.conv{PLACES[m[2]]}.'),
    (r'^(layer\d\.\d+)\.f\.([abc])\.1\.', lambda m: f'{m[1]}.bn{PLACES[m[2]]}.'),
)
REGNET = (
    Naming('timm', (r'^s1\.b1\.conv1\.conv\.weight$', ), TIMM, r'head\.'),
    Naming('torchvision', (r'^trunk_output\.block1\.', ), TORCHVISION, r'fc\.'),
)
