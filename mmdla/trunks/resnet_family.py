"""mmpretrain's relatives of ResNet with layer attention in every stage and plugins in their blocks."""
from typing import Optional, Union

from mmpretrain.models.backbones import regnet, res2net, resnest, resnext, seresnet
from mmpretrain.models.backbones import resnet as host
from torch import Tensor

from mmdla.errors import choose
from mmdla.registry import MODELS

from .resnet import ResNetTrunk


class GroupedTrunk(ResNetTrunk):
    """With grouped convolutions: mmdet's ``base_width`` is another name of ``width_per_group``."""

    def __init__(self, depth: int, base_width: Optional[int] = None, **kwargs) -> None:
        widths = {} if base_width is None else dict(width_per_group=base_width)
        super().__init__(depth, **kwargs, **widths)


@MODELS.register_module()
class ResNetV1d(ResNetTrunk, host.ResNetV1d):
    """ResNet-D: a stem of three 3x3 convolutions, and an average pooling ahead of a strided shortcut.

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        **kwargs: See :class:`mmdla.trunks.resnet.ResNet`; without ``trunk``.
    """


@MODELS.register_module()
class ResNeXt(GroupedTrunk, resnext.ResNeXt):
    """ResNet with grouped convolutions.

    Args:
        depth (int): 50, 101 or 152.
        base_width (int, optional): mmdet's name of ``width_per_group``.
        **kwargs: ``groups`` (32), ``width_per_group`` (4), and see
            :class:`mmdla.trunks.resnet.ResNet`; without ``trunk``.
    """


@MODELS.register_module()
class SEResNet(ResNetTrunk, seresnet.SEResNet):
    """ResNet with mmpretrain's squeeze and excitation; the SE paper's is the plugin 'mmdla.SE'.

    Args:
        depth (int): 50, 101 or 152.
        **kwargs: ``se_ratio`` (16), and see :class:`mmdla.trunks.resnet.ResNet`; without ``trunk``.
    """


@MODELS.register_module()
class Res2Net(ResNetTrunk, res2net.Res2Net):
    """ResNet with 3x3 convolutions of slices of the channels.

    Args:
        depth (int): 50, 101 or 152.
        **kwargs: ``scales`` (4), ``base_width`` (26), and see :class:`mmdla.trunks.resnet.ResNet`;
            without ``trunk``.
    """


@MODELS.register_module()
class ResNeSt(GroupedTrunk, resnest.ResNeSt):
    """ResNet-D with split attention.

    Args:
        depth (int): 50, 101, 152, 200 or 269.
        base_width (int, optional): mmdet's name of ``width_per_group``.
        **kwargs: ``radix`` (2), ``reduction_factor`` (4), ``groups`` (1), ``width_per_group`` (4),
            ``avg_down_stride`` (True), and see :class:`mmdla.trunks.resnet.ResNet`; without ``trunk``.
    """


@MODELS.register_module()
class RegNet(ResNetTrunk, regnet.RegNet):
    """RegNetX.

    Args:
        arch (str | dict): 'regnetx_400mf' to 'regnetx_12gf', or the host's dict.
        **kwargs: See :class:`mmdla.trunks.resnet.ResNet`; without ``depth`` and ``trunk``.
    """

    def __init__(self, arch: Union[str, dict], interaction: Optional[dict] = None, **kwargs) -> None:
        if isinstance(arch, str):
            choose('arch', arch, self.arch_settings)
        self.arch = arch if isinstance(arch, str) else 'custom'
        super().__init__(None, interaction, arch=arch, **kwargs)

    def stem_map(self, x: Tensor) -> Tensor:
        return self.relu(self.norm1(self.conv1(x)))

    @property
    def title(self) -> str:
        return f'{type(self).__name__}-{self.arch}'
