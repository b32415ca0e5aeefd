"""DLA-ResNet, MRLA-ResNet and their baselines: DIANet and the plain ResNet.

"DLA" is Dynamic Layer Attention here, not Deep Layer Aggregation.
"""
from typing import Optional

from mmengine.model.weight_init import constant_init

from mmdla.errors import UserError, choose
from mmdla.models.layers.interaction import LII, DLABase, DLALight, MRLABase, MRLALight, Residual
from mmdla.registry import MODELS

from .interaction_resnet import InteractionResNet


@MODELS.register_module(name='ResNet')
class PlainResNet(InteractionResNet):
    """mmpretrain's ResNet on the trunks of this package, the papers' baseline.

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        depth (int): 18, 34, 50, 101 or 152; on the CIFAR trunk any 9n + 2.
        **kwargs: ``trunk`` and the arguments of mmpretrain's ResNet, see
            :class:`InteractionResNet`.
    """

    def __init__(self, depth: int, **kwargs) -> None:
        super().__init__(depth, Residual, {}, **kwargs)


@MODELS.register_module()
class DIAResNet(InteractionResNet):
    """ResNet with layer-wise information interaction (LII): DIANet (AAAI 2020) by default.

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        depth (int): 18, 34, 50, 101 or 152; on the CIFAR trunk any 9n + 2.
        context_unit (dict, optional): The unit of each stage, 'DIA' by default, or 'LSTM',
            'RNN' or 'DSU' (DLA, Table 6).
        **kwargs: ``trunk`` and the arguments of mmpretrain's ResNet, see
            :class:`InteractionResNet`.
    """

    def __init__(self, depth: int, context_unit: Optional[dict] = None, **kwargs) -> None:
        unit = {'type': 'DIA', **(context_unit or {})}
        super().__init__(depth, LII, dict(context_unit=unit), **kwargs)


class LayerAttentionResNet(InteractionResNet):
    """What MRLAResNet and DLAResNet share.

    Args:
        depth (int): 18, 34, 50, 101 or 152; on the CIFAR trunk any 9n + 2.
        variant (str): A key of ``variants``.
        interaction_cfg (dict): Arguments of the interaction.
        dim_per_head (int, optional): Channels of one attention head, by default 32 for
            variant='light' and 16 for 'base' (the papers' ImageNet models; 32 for all CIFAR ones).
        attention_drop_path (float): Stochastic depth of the attention branch.
        attention_init (str): Start of the gammas of the attention branch's norms. 'scaled',
            1 / sqrt(layers of the stage): outputs keep ordinary magnitudes whatever the
            depth, with frozen norms too. 'one', as released. 'zero', of the light variants: the
            network starts as the plain ResNet, so that ordinary ResNet weights can be its start.
    """

    variants = {}
    attention_inits = dict(scaled=lambda n: n**-0.5, one=lambda n: 1.0, zero=lambda n: 0.0)

    def __init__(self,
                 depth: int,
                 variant: str,
                 interaction_cfg: dict,
                 dim_per_head: Optional[int] = None,
                 attention_drop_path: float = 0.0,
                 attention_init: str = 'scaled',
                 **kwargs) -> None:
        interaction = choose('variant', variant, self.variants)
        choose('attention_init', attention_init, self.attention_inits)
        if variant == 'base' and attention_init == 'zero':
            raise UserError('attention_init=\'zero\' is of variant=\'light\': the base form ends in '
                            'a ReLU, through which a zero passes no gradient, so that it would '
                            'never train; choose \'scaled\' or \'one\'.')
        self.variant = variant
        self.attention_init = attention_init
        interaction_cfg['drop_path_rate'] = attention_drop_path
        if dim_per_head is not None:
            interaction_cfg['dim_per_head'] = dim_per_head
        super().__init__(depth, interaction, interaction_cfg, **kwargs)

    def init_interactions(self) -> None:
        for stage in self.stages:
            gamma = self.attention_inits[self.attention_init](len(stage))
            for norm in stage.attention.norms:
                constant_init(norm, gamma)


@MODELS.register_module()
class MRLAResNet(LayerAttentionResNet):
    """ResNet with multi-head recurrent layer attention (MRLA, ICLR 2023).

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        depth (int): 18, 34, 50, 101 or 152; on the CIFAR trunk any 9n + 2.
        variant (str): 'light' (MRLA-L, Eq. 3) or 'base' (MRLA-B, Eq. 2).
        **kwargs: ``dim_per_head``, ``attention_drop_path`` and ``attention_init``, see
            :class:`LayerAttentionResNet`; ``trunk`` and the arguments of mmpretrain's ResNet,
            see :class:`InteractionResNet`.

    Raises:
        UserError: For an argument that is out of its range.

    Example:
        >>> import torch
        >>> from mmdla.models import MRLAResNet
        >>> model = MRLAResNet(50, out_indices=(0, 1, 2, 3)).eval()
        >>> [tuple(f.shape) for f in model(torch.rand(1, 3, 64, 64))]
        [(1, 256, 16, 16), (1, 512, 8, 8), (1, 1024, 4, 4), (1, 2048, 2, 2)]
    """

    variants = dict(light=MRLALight, base=MRLABase)

    def __init__(self, depth: int, variant: str = 'light', **kwargs) -> None:
        super().__init__(depth, variant, {}, **kwargs)


@MODELS.register_module()
class DLAResNet(LayerAttentionResNet):
    """ResNet with dynamic layer attention (DLA, IJCAI 2024).

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        depth (int): 18, 34, 50, 101 or 152; on the CIFAR trunk any 9n + 2.
        variant (str): 'light' (DLA-L) or 'base' (DLA-B).
        context_unit (dict, optional): The unit Dyn, by default the paper's
            ``dict(type='DSU', gates='joint', reduction=20, normalizer='sigmoid')``; other types
            are 'RNN', 'LSTM' and 'DIA', see :mod:`mmdla.models.layers.context_unit`.
        gate (str): 'sigmoid' (default): the unit's output, sigmoid(c) of the DSU, multiplies the
            features; 'identity': c does.
        initial_context (str): ``c_0``: 'zeros' (default) or 'learned'.
        excite (bool, optional): Of the light variant: whether a stage has E, see
            :class:`mmdla.models.layers.DLALight`. Default: True.
        refresh (str, optional): Of the base variant: 'features' (default) or 'tokens', see
            :class:`mmdla.models.layers.DLABase`.
        **kwargs: ``dim_per_head``, ``attention_drop_path`` and ``attention_init``, see
            :class:`LayerAttentionResNet`; ``trunk`` and the arguments of mmpretrain's ResNet,
            see :class:`InteractionResNet`.

    Raises:
        UserError: For an argument that is out of its range.
    """

    variants = dict(light=DLALight, base=DLABase)

    def __init__(self,
                 depth: int,
                 variant: str = 'light',
                 context_unit: Optional[dict] = None,
                 gate: str = 'sigmoid',
                 initial_context: str = 'zeros',
                 excite: Optional[bool] = None,
                 refresh: Optional[str] = None,
                 **kwargs) -> None:
        for name, value, owner in (('excite', excite, 'light'), ('refresh', refresh, 'base')):
            if value is not None and variant in self.variants and variant != owner:
                raise UserError(f'{name} is an argument of variant={owner!r}: leave it out with '
                                f'variant={variant!r}.')
        own = dict(excite=excite, refresh=refresh)
        super().__init__(
            depth, variant,
            dict(
                context_unit=context_unit,
                gate=gate,
                initial_context=initial_context,
                **{name: value for name, value in own.items() if value is not None}), **kwargs)
