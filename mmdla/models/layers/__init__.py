from .context_unit import DIA, DSU, LSTM, RNN, build_context_unit
from .interaction import LII, DLABase, DLALight, MRLABase, MRLALight, Residual
from .mrla import LayerAttention, LightLayerAttention, kernel_size, softmax_over_layers

__all__ = [
    'DIA', 'DLABase', 'DLALight', 'DSU', 'LII', 'LSTM', 'LayerAttention', 'LightLayerAttention',
    'MRLABase', 'MRLALight', 'RNN', 'Residual', 'build_context_unit', 'kernel_size',
    'softmax_over_layers'
]
