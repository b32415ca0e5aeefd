"""timm's models, in mmpretrain's wrapper, with layer attention between the blocks of their stages."""
import logging
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

import torch
from mmengine.logging import print_log
from mmpretrain.models.backbones import timm_backbone as host
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdla.errors import UserError, reason
from mmdla.registry import MODELS

from .trunk import Trunk

IMAGE = (256, 192)  # of a first forward pass; not square, so that height and width are told apart


class Run(NamedTuple):
    """A sequence of blocks with outputs of one shape."""

    name: str
    channels: int
    num_blocks: int
    channels_last: bool


class TIMMStage(nn.Module):
    """timm's sequence of blocks with the attention of its trunk; under the names of the blocks.

    Args:
        blocks (nn.Sequential): timm's.
        trunk (Trunk): The backbone.
        index (int): Of the stage.
        channels_last (bool): Whether maps are (B, H, W, C).
    """

    def __init__(self, blocks: nn.Sequential, trunk: Trunk, index: int, channels_last: bool) -> None:
        super().__init__()
        for name, block in blocks.named_children():
            self.add_module(name, block)
        self.connected = (trunk, )  # in a tuple, to be no child
        self.index, self.channels_last = index, channels_last

    def forward(self, x: Tensor) -> Tensor:
        trunk, = self.connected
        x = x.permute(0, 3, 1, 2) if self.channels_last else x
        x, _ = trunk.scan(self.index, self.children(), x, None, self.channels_last)
        return x.permute(0, 2, 3, 1) if self.channels_last else x

    def __iter__(self) -> Iterator[nn.Module]:
        """As timm's gradient checkpointing does, which would leave the attention out."""
        raise UserError('timm\'s gradient checkpointing would leave out layer attention: use '
                        'with_cp=True of the backbone instead.')


def is_run(inputs: List[Tuple[int, ...]], outputs: List[Tuple[int, ...]]) -> Optional[bool]:
    """Whether the channels come last in blocks with these shapes; None where they are no run."""
    first = outputs[0]
    if len(set(outputs)) > 1 or len(first) != 4 or any(shape != first for shape in inputs[1:]):
        return None
    for last, (height, width) in ((False, first[2:]), (True, first[1:3])):
        if height * IMAGE[1] == width * IMAGE[0]:
            return last
    return None


@torch.no_grad()
def find_runs(model: nn.Module, in_channels: int) -> List[Run]:
    """The outermost sequences of two or more blocks of one class whose outputs have one shape.

    Raises:
        UserError: If the model does not take an image of another size than its own.
    """
    sequences = {name: module for name, module in model.named_modules()
                 if type(module) is nn.Sequential and len(module) > 1
                 and len({type(block) for block in module}) == 1}
    seen: Dict[nn.Module, Tuple] = {}
    hooks = [block.register_forward_hook(
        lambda block, inputs, output: seen.update({block: (inputs, output)}))
        for sequence in sequences.values() for block in sequence]
    training = model.training
    try:
        model.eval()(torch.zeros(1, in_channels, *IMAGE))
    except Exception as error:
        raise UserError(
            f'timm\'s model does not take images of {IMAGE[0]} x {IMAGE[1]} ({reason(error)}): choose '
            'one that takes any size, or have it do so by its own arguments.') from error
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    runs: List[Run] = []
    for name, sequence in sequences.items():
        calls = [seen.get(block, ((), None)) for block in sequence]
        tensors = all(len(inputs) == 1 and isinstance(output, Tensor) for inputs, output in calls)
        if not tensors or any(name.startswith(f'{run.name}.') for run in runs):
            continue
        outputs = [tuple(output.shape) for _, output in calls]
        last = is_run([tuple(inputs[0].shape) for inputs, _ in calls], outputs)
        if last is not None:
            runs.append(Run(name, outputs[0][-1 if last else 1], len(sequence), last))
    return runs


@MODELS.register_module()
class TIMMBackbone(Trunk, host.TIMMBackbone):
    """Any timm model whose stages are sequences of blocks; timm is an optional dependency.

    Layer attention joins every sequence (``nn.Sequential``) of two or more blocks of one class whose
    outputs are maps of one shape, as found by a first forward pass: those of ResNet, ConvNeXt, NFNet,
    MetaFormer, EfficientNet, MobileNet, RepViT, FastViT, MambaOut and their like. The block's input is
    its shortcut, or 0 where it has another shape. The norms of the attention are BN where the model has
    any, else LN. Models without such sequences are refused (RegNet, and what works on tokens), and those
    that take images of one size only (Swin needs ``strict_img_size=False``).

    ``forward`` returns what mmpretrain's class returns.

    Args:
        model_name (str): timm's.
        interaction, attention_init, with_cp, init_cfg: See :class:`mmdla.trunks.trunk.Trunk`.
        **kwargs: Other arguments of mmpretrain's TIMMBackbone and of timm's model, such as
            ``features_only=True``, ``out_indices``, and ``pretrained=True`` for timm's weights.

    Raises:
        UserError: For a model that has no such stages.
    """

    takes_anything = True

    def __init__(self, model_name: str, interaction: Optional[dict] = None,
                 attention_init: str = 'scaled', **kwargs) -> None:
        super().__init__(model_name, **self.host_arguments(kwargs))
        runs = find_runs(self.timm_model, kwargs.get('in_channels', 3))
        if not runs:
            raise UserError(f'timm\'s {model_name} has no sequence of blocks with maps of one shape, '
                            'for layer attention between them: choose another model, or for a vision '
                            'transformer type=\'mmdla.VisionTransformer\'.')
        self.runs = runs
        print_log(f'layer attention in {len(runs)} sequences of blocks of {model_name}: ' + ', '.join(
            f'{run.name} ({run.num_blocks} blocks of {run.channels} channels)' for run in runs),
            'current', logging.INFO)
        batch_norm = any(isinstance(module, _BatchNorm) for module in self.timm_model.modules())
        norm_cfg = dict(type='BN') if batch_norm else dict(type='mmpretrain.LN2d', eps=1e-6)
        self.add_attention(interaction, attention_init, [(run.channels, run.num_blocks) for run in runs],
                           norm_cfg)
        self.model_name = model_name
        for index, run in enumerate(runs):
            parent, _, child = run.name.rpartition('.')
            parent = self.timm_model.get_submodule(parent)
            setattr(parent, child, TIMMStage(getattr(parent, child), self, index, run.channels_last))

    def step(self, attention: nn.Module, index: int, block: nn.Module, x: Tensor, state,
             channels_last: bool) -> Tuple[Tensor, object]:
        out = block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if channels_last else block(x)
        o = x if x.shape == out.shape else torch.zeros_like(out)
        return self.connect(attention, index, out, o, state)

    @property
    def title(self) -> str:
        return f'{type(self).__name__}-{self.model_name}'

    def block_name(self, stage: int, layer: int) -> str:
        name = f'timm_model.{self.runs[stage].name}'
        return f'{name}.{list(dict(self.get_submodule(name).named_children()))[layer]}'
