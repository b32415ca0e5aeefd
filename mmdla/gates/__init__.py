"""Attention inside a block: what the argument ``plugins`` puts there."""
from .attention_augmented_conv import AAConv2d
from .bridge_attention import BridgeAttention
from .cbam import CBAM
from .double_attention import DoubleAttention
from .eca import ECA
from .se import SE
from .timm_attention import TimmAttention

__all__ = ['AAConv2d', 'BridgeAttention', 'CBAM', 'DoubleAttention', 'ECA', 'SE', 'TimmAttention']
