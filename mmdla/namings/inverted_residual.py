"""Names inside the blocks that EfficientNet and the MobileNets are built of.

The host's names for the layers of an inverted residual: ``expand_conv``, ``depthwise_conv``, ``se``,
``linear_conv``, with a convolution and a norm in each (of an edge residual: ``conv1``, ``conv2``).
"""
import re
from typing import Dict, List

from .naming import Tensors

SQUEEZE = {'se.conv_reduce': 'se.conv1.conv', 'se.conv_expand': 'se.conv2.conv'}
# timm's names by the one that tells the kind of block: the first that a block has
KINDS = {
    'conv_exp': dict(conv_exp='conv1.conv', bn1='conv1.bn', conv_pwl='conv2.conv', bn2='conv2.bn'),
    'conv_pwl': dict(conv_pw='expand_conv.conv', bn1='expand_conv.bn', conv_dw='depthwise_conv.conv',
                     bn2='depthwise_conv.bn', conv_pwl='linear_conv.conv', bn3='linear_conv.bn'),
    'conv_dw': dict(conv_dw='depthwise_conv.conv', bn1='depthwise_conv.bn', conv_pw='linear_conv.conv',
                    bn2='linear_conv.bn'),
    'conv': dict(conv='conv', bn1='bn'),
}
TIMM_BLOCK = r'(blocks\.\d+\.\d+)\.((?:se\.)?\w+)\.(.*)'
TORCHVISION_BLOCK = r'(.*)\.block\.(\d)\.(fc[12]|[01])\.(.*)'
ORDER = ('expand_conv', 'depthwise_conv', 'linear_conv')


def name_timm_layers(tensors: Tensors) -> Tensors:
    """timm's names with the host's from the block inwards: ``blocks.1.0.expand_conv.conv.weight``."""
    found = {name: re.match(TIMM_BLOCK, name) for name in tensors}
    layers: Dict[str, List[str]] = {}
    for match in filter(None, found.values()):
        layers.setdefault(match[1], []).append(match[2])
    names = {block: {**SQUEEZE, **next((names for kind, names in KINDS.items() if kind in own), {})}
             for block, own in layers.items()}
    return {(f'{match[1]}.{names[match[1]].get(match[2], match[2])}.{match[3]}' if match else name):
            tensors[name] for name, match in found.items()}


def name_torchvision_layers(tensors: Tensors) -> Tensors:
    """torchvision's names with the host's from the block inwards.

    It numbers the layers of a block, and leaves none out: three convolutions, or two without an
    expansion, with a squeeze-and-excitation ahead of the last one where ``fc1`` says so.
    """
    found = {name: re.match(TORCHVISION_BLOCK, name) for name in tensors}
    convolutions: Dict[str, List[str]] = {}
    for match in filter(None, found.values()):
        if match[3] == '0' and match[4] == 'weight':
            convolutions.setdefault(match[1], []).append(match[2])
    layers = {(block, place): layer for block, places in convolutions.items()
              for place, layer in zip(sorted(places), ORDER[-len(places):])}
    renamed = {}
    for given, match in found.items():
        name = given
        if match and match[3].startswith('fc'):
            name = f'{match[1]}.se.conv{match[3][-1]}.conv.{match[4]}'
        elif match and (layer := layers.get((match[1], match[2]))):
            name = f'{match[1]}.{layer}.{("conv", "bn")[int(match[3])]}.{match[4]}'
        renamed[name] = tensors[given]
    return renamed
