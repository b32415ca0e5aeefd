"""The papers' systems by their names: trunk and attention put together."""
from typing import Optional, Union

from mmdla.errors import UserError, choose
from mmdla.registry import MODELS

from .resnet import ResNet
from .vision_transformer import VisionTransformer


def with_interaction(arguments: dict, interaction: dict) -> dict:
    """Arguments of a trunk with this interaction."""
    if 'interaction' in arguments:
        raise UserError('interaction does not go with a system that has its own: use '
                        'type=\'mmdla.ResNet\' or type=\'mmdla.VisionTransformer\'.')
    return {**arguments, 'interaction': interaction}


def given(**arguments) -> dict:
    """The arguments that are not None."""
    return {name: value for name, value in arguments.items() if value is not None}


def check_variant(variant: str, **owned: dict) -> None:
    """A UserError for an argument that another variant has."""
    for owner, arguments in owned.items():
        for name in given(**arguments):
            if owner != variant:
                raise UserError(f'{name} is an argument of variant={owner!r}: leave it out with '
                                f'variant={variant!r}.')


@MODELS.register_module()
class MRLAResNet(ResNet):
    """ResNet with multi-head recurrent layer attention (MRLA, ICLR 2023).

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        depth (int): 18, 34, 50, 101 or 152; on the CIFAR trunk any 9n + 2.
        variant (str): 'light' (MRLA-L, :class:`mmdla.attention.MRLALight`) or 'base' (MRLA-B,
            :class:`mmdla.attention.MRLABase`).
        dim_per_head (int, optional): Channels of one attention head, by default 32 for
            variant='light' and 16 for 'base' (the papers' ImageNet models; 32 for all CIFAR ones).
        attention_drop_path (float): Stochastic depth of the attention branch.
        layer_scale (bool, optional): Of the base variant: see
            :class:`mmdla.attention.mrla.BaseLayerAttention`.
        **kwargs: ``attention_init``, ``trunk``, ``plugins`` and the arguments of mmpretrain's
            ResNet, see :class:`ResNet`.

    Raises:
        UserError: For an argument that is out of its range.

    Example:
        >>> import torch
        >>> from mmdla.models import MRLAResNet
        >>> model = MRLAResNet(50, out_indices=(0, 1, 2, 3)).eval()
        >>> [tuple(f.shape) for f in model(torch.rand(1, 3, 64, 64))]
        [(1, 256, 16, 16), (1, 512, 8, 8), (1, 1024, 4, 4), (1, 2048, 2, 2)]
    """

    def __init__(self, depth: int, variant: str = 'light', dim_per_head: Optional[int] = None,
                 attention_drop_path: float = 0.0, layer_scale: Optional[bool] = None,
                 **kwargs) -> None:
        form = choose('variant', variant, dict(light='mmdla.MRLALight', base='mmdla.MRLABase'))
        check_variant(variant, base=dict(layer_scale=layer_scale))
        interaction = dict(type=form, drop_path_rate=attention_drop_path,
                           **given(dim_per_head=dim_per_head, layer_scale=layer_scale))
        super().__init__(depth, **with_interaction(kwargs, interaction))


@MODELS.register_module()
class DLAResNet(ResNet):
    """ResNet with dynamic layer attention (DLA, IJCAI 2024).

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        depth (int): 18, 34, 50, 101 or 152; on the CIFAR trunk any 9n + 2.
        variant (str): 'light' (DLA-L, :class:`mmdla.attention.DLALight`) or 'base' (DLA-B,
            :class:`mmdla.attention.DLABase`).
        context_unit (dict, optional): The unit Dyn, by default the paper's
            ``dict(type='mmdla.DSU', reduction=20, form='joint', normalizer='sigmoid')``; other types
            are 'mmdla.RNN', 'mmdla.LSTM' and 'mmdla.DIA', see :mod:`mmdla.attention.context_unit`.
        refresh_by (str): 'output' (default): the unit's output, sigmoid(c) of the DSU, multiplies
            the features; 'context': c does.
        initial_context (str): ``c_0``: 'zeros' (default) or 'learned'.
        excite (bool, optional): Of the light variant: whether a stage has E, see
            :class:`mmdla.attention.DLALight`. Default: True.
        refresh (str, optional): Of the base variant: 'features' (default) or 'tokens', see
            :class:`mmdla.attention.DLABase`.
        dim_per_head (int, optional): See :class:`MRLAResNet`.
        attention_drop_path, layer_scale: See :class:`MRLAResNet`.
        **kwargs: ``attention_init``, ``trunk``, ``plugins`` and the arguments of mmpretrain's
            ResNet, see :class:`ResNet`.

    Raises:
        UserError: For an argument that is out of its range.
    """

    def __init__(self,
                 depth: int,
                 variant: str = 'light',
                 context_unit: Optional[dict] = None,
                 refresh_by: str = 'output',
                 initial_context: str = 'zeros',
                 excite: Optional[bool] = None,
                 refresh: Optional[str] = None,
                 dim_per_head: Optional[int] = None,
                 attention_drop_path: float = 0.0,
                 layer_scale: Optional[bool] = None,
                 **kwargs) -> None:
        form = choose('variant', variant, dict(light='mmdla.DLALight', base='mmdla.DLABase'))
        check_variant(variant, light=dict(excite=excite),
                      base=dict(refresh=refresh, layer_scale=layer_scale))
        interaction = dict(
            type=form,
            context_unit=context_unit,
            refresh_by=refresh_by,
            initial_context=initial_context,
            drop_path_rate=attention_drop_path,
            **given(excite=excite, refresh=refresh, dim_per_head=dim_per_head, layer_scale=layer_scale))
        super().__init__(depth, **with_interaction(kwargs, interaction))


@MODELS.register_module()
class DIAResNet(ResNet):
    """ResNet with layer-wise information interaction (LII): DIANet (AAAI 2020) by default.

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        depth (int): 18, 34, 50, 101 or 152; on the CIFAR trunk any 9n + 2.
        context_unit (dict, optional): The unit of each stage, 'mmdla.DIA' by default, or 'mmdla.LSTM',
            'mmdla.RNN' or 'mmdla.DSU' (DLA, Table 6).
        **kwargs: ``trunk``, ``plugins`` and the arguments of mmpretrain's ResNet, see
            :class:`ResNet`.
    """

    def __init__(self, depth: int, context_unit: Optional[dict] = None, **kwargs) -> None:
        interaction = dict(type='mmdla.LII', context_unit=context_unit)
        super().__init__(depth, **with_interaction(kwargs, interaction))


@MODELS.register_module()
class RLAResNet(ResNet):
    """ResNet with recurrent layer aggregation (RLA_g of RLA-Net, NeurIPS 2021).

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        depth (int): 18, 34, 50, 101 or 152; on the CIFAR trunk any 9n + 2.
        hidden_channels (int): k, the channels of the hidden map h.
        hidden_output (bool): Whether the last output is ``[x, ReLU(BN(h))]``, for a classifier; see
            :class:`mmdla.attention.RLA`.
        **kwargs: ``trunk``, ``plugins`` and the arguments of mmpretrain's ResNet, see
            :class:`ResNet`.

    Raises:
        UserError: For an argument that is out of its range.
    """

    def __init__(self, depth: int, hidden_channels: int = 32, hidden_output: bool = False,
                 **kwargs) -> None:
        interaction = dict(
            type='mmdla.RLA', hidden_channels=hidden_channels, hidden_output=hidden_output)
        super().__init__(depth, **with_interaction(kwargs, interaction))


@MODELS.register_module()
class MRLAVisionTransformer(VisionTransformer):
    """Vision transformer with multi-head recurrent layer attention (MRLA, ICLR 2023).

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the blocks in
    ``out_indices``, by default the last block's class token, (B, C).

    Args:
        arch (str | dict): 'deit-tiny', 'deit-small' or 'deit-base' in the paper.
        variant (str): 'light' (MRLA-L) or 'base' (MRLA-B, over groups of four blocks).
        dim_per_head (int): Channels of one head of the layer attention.
        **kwargs: Arguments of mmpretrain's VisionTransformer, see :class:`VisionTransformer`.

    Raises:
        UserError: For an argument that is out of its range.

    Example:
        >>> import torch
        >>> from mmdla.models import MRLAVisionTransformer
        >>> model = MRLAVisionTransformer('deit-tiny', out_type='featmap').eval()
        >>> [tuple(f.shape) for f in model(torch.rand(1, 3, 64, 96))]
        [(1, 192, 4, 6)]
    """

    def __init__(self, arch: Union[str, dict] = 'deit-tiny', variant: str = 'light',
                 dim_per_head: int = 16, **kwargs) -> None:
        form = choose('variant', variant, dict(light='mmdla.MRLALight', base='mmdla.MRLABase'))
        interaction = dict(type=form, dim_per_head=dim_per_head)
        super().__init__(arch, **with_interaction(kwargs, interaction))


@MODELS.register_module()
class DLAVisionTransformer(VisionTransformer):
    """Vision transformer with DLA-L, an extension of this package: the DLA paper has none.

    One context unit serves all blocks. ``forward`` takes images (B, 3, H, W) and returns a tuple of the
    outputs of the blocks in ``out_indices``, by default the last block's class token, (B, C).

    Args:
        arch (str | dict): 'deit-tiny', 'deit-small', 'deit-base' or another of the host's.
        context_unit, refresh_by, initial_context, excite: See :class:`DLAResNet`.
        dim_per_head (int): Channels of one head of the layer attention.
        **kwargs: Arguments of mmpretrain's VisionTransformer, see :class:`VisionTransformer`.

    Raises:
        UserError: For an argument that is out of its range.
    """

    def __init__(self,
                 arch: Union[str, dict] = 'deit-tiny',
                 context_unit: Optional[dict] = None,
                 refresh_by: str = 'output',
                 initial_context: str = 'zeros',
                 excite: bool = True,
                 dim_per_head: int = 16,
                 **kwargs) -> None:
        interaction = dict(
            type='mmdla.DLALight',
            context_unit=context_unit,
            refresh_by=refresh_by,
            initial_context=initial_context,
            excite=excite,
            dim_per_head=dim_per_head)
        super().__init__(arch, **with_interaction(kwargs, interaction))
