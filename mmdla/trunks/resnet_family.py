"""mmpretrain's relatives of ResNet with layer attention in every stage and plugins in their blocks."""
from typing import Optional, Union

from mmpretrain.models.backbones import regnet, res2net, resnest, resnext, seresnet
from mmpretrain.models.backbones import resnet as host
from torch import Tensor, nn

from mmdla.errors import UserError, choose
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
        pool_at_stride_1 (bool): Whether the first block of a stage averages its last slice at stride 1,
            too, as in the paper's code, timm and mmpretrain. False: as in mmdet, whose detectors'
            checkpoints need it; shapes do not tell.
        **kwargs: ``scales`` (4), ``base_width`` (26), and see :class:`mmdla.trunks.resnet.ResNet`;
            without ``trunk``.
    """

    def __init__(self, depth: int, pool_at_stride_1: bool = True, **kwargs) -> None:
        super().__init__(depth, **kwargs)
        self.pool_at_stride_1 = pool_at_stride_1
        self.non_shape_arguments['pool_at_stride_1'] = pool_at_stride_1
        for first, *_ in self.stages:
            if first.conv2_stride == 1 and not pool_at_stride_1:
                first.pool = nn.Identity()

    def check_naming(self, naming: Optional[str], filename: str) -> None:
        others = naming == 'mmdet' if self.pool_at_stride_1 else naming == 'timm'
        if others:
            raise UserError(f'checkpoint {filename} is of {naming}\'s Res2Net, which pools otherwise: '
                            f'set pool_at_stride_1={not self.pool_at_stride_1} in the backbone.')


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
