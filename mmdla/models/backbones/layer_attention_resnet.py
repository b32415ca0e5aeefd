"""DLA-ResNet and MRLA-ResNet.

"DLA" is Dynamic Layer Attention here, not Deep Layer Aggregation.
"""
from typing import Optional

from mmdla.models.layers.interaction import DLALight, MRLALight
from mmdla.registry import MODELS

from .interaction_resnet import InteractionResNet


@MODELS.register_module()
class MRLAResNet(InteractionResNet):
    """ResNet with multi-head recurrent layer attention (MRLA, ICLR 2023).

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        variant (str): 'light' (MRLA-L, Eq. 3).
        dim_per_head (int): Channels of one attention head. Default: 32.
        attention_drop_path (float): Stochastic depth of the attention branch. Default: 0.
        **kwargs: ``attention_init`` and the arguments of mmpretrain's ResNet, see
            :class:`InteractionResNet`.

    Raises:
        UserError: For an argument that is out of its range.

    Example:
        >>> import torch
        >>> from mmdla.models import MRLAResNet
        >>> model = MRLAResNet(50, out_indices=(0, 1, 2, 3)).eval()
        >>> [tuple(f.shape) for f in model(torch.rand(1, 3, 64, 64))]
        [(1, 256, 16, 16), (1, 512, 8, 8), (1, 1024, 4, 4), (1, 2048, 2, 2)]
    """

    variants = dict(light=MRLALight)

    def __init__(self,
                 depth: int,
                 variant: str = 'light',
                 dim_per_head: int = 32,
                 attention_drop_path: float = 0.0,
                 **kwargs) -> None:
        super().__init__(depth, variant,
                         dict(dim_per_head=dim_per_head, drop_path_rate=attention_drop_path),
                         **kwargs)


@MODELS.register_module()
class DLAResNet(InteractionResNet):
    """ResNet with dynamic layer attention (DLA, IJCAI 2024).

    ``forward`` takes images (B, 3, H, W) and returns a tuple of the outputs of the stages in
    ``out_indices``, each (B, C_i, H_i, W_i).

    Args:
        depth (int): 18, 34, 50, 101 or 152.
        variant (str): 'light' (DLA-L).
        context_unit (dict, optional): The unit Dyn, by default the paper's
            ``dict(type='DSU', gates='joint', reduction=20, normalizer='sigmoid')``,
            see :class:`mmdla.models.layers.DSU`.
        gate (str): 'sigmoid' (default) or 'identity' of the context multiplies the features.
        excite (bool): Whether a stage has E, see :class:`mmdla.models.layers.DLALight`.
            Default: True.
        initial_context (str): ``c_0``: 'zeros' (default) or 'learned'.
        dim_per_head (int): Channels of one attention head. Default: 32.
        attention_drop_path (float): Stochastic depth of the attention branch. Default: 0.
        **kwargs: ``attention_init`` and the arguments of mmpretrain's ResNet, see
            :class:`InteractionResNet`.

    Raises:
        UserError: For an argument that is out of its range.
    """

    variants = dict(light=DLALight)

    def __init__(self,
                 depth: int,
                 variant: str = 'light',
                 context_unit: Optional[dict] = None,
                 gate: str = 'sigmoid',
                 excite: bool = True,
                 initial_context: str = 'zeros',
                 dim_per_head: int = 32,
                 attention_drop_path: float = 0.0,
                 **kwargs) -> None:
        super().__init__(
            depth, variant,
            dict(
                context_unit=context_unit,
                gate=gate,
                excite=excite,
                initial_context=initial_context,
                dim_per_head=dim_per_head,
                drop_path_rate=attention_drop_path), **kwargs)
