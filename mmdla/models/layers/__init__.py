from .attention_augmented_conv import AAConv2d
from .bridge_attention import BridgeAttention
from .cbam import CBAM
from .channel_attention import ECA, SE
from .context_unit import DIA, DSU, LSTM, RNN, build_context_unit
from .double_attention import DoubleAttention
from .interaction import LII, DLABase, DLALight, MRLABase, MRLALight, Residual
from .mrla import LayerAttention, LightLayerAttention, kernel_size, softmax_over_layers
from .rla import RLA

__all__ = [
    'AAConv2d', 'BridgeAttention', 'CBAM', 'DIA', 'DLABase', 'DLALight', 'DSU', 'DoubleAttention',
    'ECA', 'LII', 'LSTM', 'LayerAttention', 'LightLayerAttention', 'MRLABase', 'MRLALight', 'RLA',
    'RNN', 'Residual', 'SE', 'build_context_unit', 'kernel_size', 'softmax_over_layers'
]
