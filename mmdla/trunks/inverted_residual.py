"""mmpretrain's EfficientNet and MobileNets with layer attention between their inverted residuals."""
import logging
from typing import Iterator, List, Optional, Sequence, Tuple

import torch
from mmengine.logging import print_log
from mmpretrain.models.backbones import efficientnet, mobilenet_v2, mobilenet_v3
from mmpretrain.models.utils import InvertedResidual
from torch import Tensor, nn

from mmdla.errors import UserError, choose
from mmdla.registry import MODELS

from .trunk import Trunk


def convolutions(block: nn.Module) -> Optional[Tuple[nn.Conv2d, nn.Conv2d]]:
    """The convolution with a block's stride, and its last; None for what is no block."""
    if isinstance(block, InvertedResidual):
        return block.depthwise_conv.conv, block.linear_conv.conv
    if isinstance(block, mobilenet_v2.InvertedResidual):
        return block.conv[-2].conv, block.conv[-1].conv
    if isinstance(block, efficientnet.EdgeResidual):
        return block.conv1.conv, block.conv2.conv
    return None


def adds_input(block: nn.Module) -> bool:
    """Whether a block adds its input to its output."""
    return any(getattr(block, name, False)
               for name in ('with_res_shortcut', 'use_res_connect', 'with_residual'))


class InvertedResidualTrunk(Trunk):
    """Layer attention in every run of two or more blocks whose outputs have one shape (C, H, W).

    The first block of a run may change the shape, and then has no shortcut: its o is 0. Layers of the
    host after the last of ``out_indices`` are not built, so that every parameter is used.

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the host's layers in
    ``out_indices``, each (B, C_i, H_i, W_i).
    """

    def add_runs(self, interaction: Optional[dict], attention_init: str,
                 layers: Sequence[str]) -> None:
        """Build the attention of every run.

        Args:
            interaction, attention_init: See :meth:`add_attention`.
            layers (sequence of str): Names of the host's layers, blocks or sequences of blocks, those
                that ``out_indices`` counts.
        """
        self.layer_names = list(layers)[:max(self.out_indices) + 1]
        self.unbuilt = tuple(f'{name}.' for name in layers[len(self.layer_names):])
        for name in layers[len(self.layer_names):]:
            parent, _, child = name.rpartition('.')
            delattr(self.get_submodule(parent), child)
        self.runs = [run for run in self.find_runs() if len(run) > 1]
        if not self.runs:
            raise UserError(f'no two blocks up to out_indices={tuple(self.out_indices)} have outputs of '
                            'one shape, for layer attention between them: ask for later outputs.')
        self.places = {name: (stage, index) for stage, run in enumerate(self.runs)
                       for index, name in enumerate(run)}
        widths = [convolutions(self.get_submodule(run[0]))[1].out_channels for run in self.runs]
        self.add_attention(interaction, attention_init,
                           [(width, len(run)) for width, run in zip(widths, self.runs)], self.norm_cfg)
        self.non_shape_arguments.update(conv_cfg=self.conv_cfg, norm_cfg=dict(self.norm_cfg))

    def find_runs(self) -> List[List[str]]:
        """Names of the blocks of each run."""
        runs, width = [], None
        for layer in self.layer_names:
            for name, block in self.blocks(layer):
                if convolutions(block) is None:
                    continue
                strided, last = convolutions(block)
                if last.out_channels != width or max(strided.stride) > 1:
                    runs.append([])
                runs[-1].append(name)
                width = last.out_channels
        return runs

    def blocks(self, layer: str) -> Iterator[Tuple[str, nn.Module]]:
        """The blocks of a layer of the host, by their names; itself if it is one."""
        module = self.get_submodule(layer)
        if not isinstance(module, nn.Sequential):
            return iter([(layer, module)])
        return ((f'{layer}.{name}', block) for name, block in module.named_children())

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        outs, state = [], None
        for i, layer in enumerate(self.layer_names):
            for name, block in self.blocks(layer):
                stage, index = self.places.get(name, (None, 0))
                if stage is None:
                    x = block(x)
                    continue
                if index == 0:
                    state = self.attention[stage].initial_state(x, state)
                x, state = self.run_layer(stage, index, block, x, state)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def step(self, attention: nn.Module, index: int, block: nn.Module, x: Tensor,
             state) -> Tuple[Tensor, object]:
        out = block(x)
        o = x if adds_input(block) else torch.zeros_like(out)
        return self.connect(attention, index, out, o, state)

    @property
    def ignored_prefixes(self) -> Tuple[str, ...]:
        return (*super().ignored_prefixes, *self.unbuilt)

    def block_name(self, stage: int, layer: int) -> str:
        return self.runs[stage][layer]

    def layer_index(self, stage: int, layer: int) -> int:
        """Index among ``layer_names`` of the host's layer that a block of a run is in."""
        name = self.block_name(stage, layer)
        return next(i for i, own in enumerate(self.layer_names) if f'{name}.'.startswith(f'{own}.'))


@MODELS.register_module()
class EfficientNet(InvertedResidualTrunk, efficientnet.EfficientNet):
    """EfficientNet and EfficientNet-EdgeTPU; where there is layer attention, see the base class.

    Args:
        arch (str): 'b0' to 'b8', 'l2', 'es', 'em' or 'el'.
        interaction, attention_init, with_cp, init_cfg: See :class:`mmdla.trunks.trunk.Trunk`.
        **kwargs: Other arguments of mmpretrain's EfficientNet.

    Raises:
        UserError: For an argument that is out of its range.
    """

    def __init__(self, arch: str = 'b0', interaction: Optional[dict] = None,
                 attention_init: str = 'scaled', **kwargs) -> None:
        choose('arch', arch, self.arch_settings)
        self.arch = arch
        super().__init__(arch, **self.host_arguments(kwargs))
        self.add_runs(interaction, attention_init, [f'layers.{i}' for i in range(len(self.layers))])

    def check_naming(self, naming: Optional[str], filename: str) -> None:
        eps = 1e-3 if self.arch in ('b5', 'b6', 'b7') else 1e-5
        if naming == 'torchvision' and (self.conv_cfg or self.norm_cfg.get('eps', 1e-5) != eps):
            raise UserError(f'checkpoint {filename} is of torchvision\'s EfficientNet, which pads and '
                            'norms otherwise than mmpretrain\'s default: set conv_cfg=None, '
                            f'norm_cfg=dict(type=\'BN\', eps={eps}) in the backbone.')
        if naming == 'timm':
            print_log(f'{filename} has timm\'s names, which do not tell the padding: its tf_ networks '
                      'need the default conv_cfg and norm_cfg, the others conv_cfg=None and '
                      f'norm_cfg=dict(type=\'BN\'); here conv_cfg={self.conv_cfg}, '
                      f'norm_cfg={self.norm_cfg}', 'current', logging.WARNING)

    def is_frozen(self, stage: int, layer: int) -> bool:
        return self.layer_index(stage, layer) < self.frozen_stages

    @property
    def title(self) -> str:
        return f'{type(self).__name__}-{self.arch}'


@MODELS.register_module()
class MobileNetV2(InvertedResidualTrunk, mobilenet_v2.MobileNetV2):
    """MobileNetV2; where there is layer attention, see the base class.

    Args:
        widen_factor (float): Multiplies all widths.
        interaction, attention_init, with_cp, init_cfg: See :class:`mmdla.trunks.trunk.Trunk`.
        **kwargs: Other arguments of mmpretrain's MobileNetV2.

    Raises:
        UserError: For an argument that is out of its range.
    """

    def __init__(self, widen_factor: float = 1.0, interaction: Optional[dict] = None,
                 attention_init: str = 'scaled', **kwargs) -> None:
        super().__init__(widen_factor, **self.host_arguments(kwargs))
        self.add_runs(interaction, attention_init, self.layers)

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        return super().forward(self.conv1(x))

    def is_frozen(self, stage: int, layer: int) -> bool:
        return self.layer_index(stage, layer) < self.frozen_stages


@MODELS.register_module()
class MobileNetV3(InvertedResidualTrunk, mobilenet_v3.MobileNetV3):
    """MobileNetV3; where there is layer attention, see the base class.

    Args:
        arch (str): 'small', 'large', 'small_075' or 'small_050'.
        interaction, attention_init, with_cp, init_cfg: See :class:`mmdla.trunks.trunk.Trunk`.
        **kwargs: Other arguments of mmpretrain's MobileNetV3.

    Raises:
        UserError: For an argument that is out of its range.
    """

    def __init__(self, arch: str = 'small', interaction: Optional[dict] = None,
                 attention_init: str = 'scaled', **kwargs) -> None:
        choose('arch', arch, self.arch_settings)
        super().__init__(arch, **self.host_arguments(kwargs))
        self.add_runs(interaction, attention_init, self.layers)

    def check_naming(self, naming: Optional[str], filename: str) -> None:
        if naming == 'timm' and not self.conv_cfg and self.norm_cfg.get('eps', 1e-5) != 1e-5:
            raise UserError(f'checkpoint {filename} is of timm\'s MobileNetV3, which norms or pads '
                            'otherwise than mmpretrain\'s: set norm_cfg=dict(type=\'BN\') in the '
                            'backbone for mobilenetv3_*, '
                            'conv_cfg=dict(type=\'Conv2dAdaptivePadding\') for tf_mobilenetv3_*.')

    def is_frozen(self, stage: int, layer: int) -> bool:
        return self.layer_index(stage, layer) <= self.frozen_stages

    @property
    def title(self) -> str:
        return f'{type(self).__name__}-{self.arch}'
