"""Attention across the layers of a stage; maps in, maps out, of whatever trunk."""
from .context_unit import DIA, DSU, LSTM, RNN, ContextUnit
from .dla import DLABase, DLALight
from .interaction import Interaction
from .layer_attention import LayerAttention
from .lii import LII
from .mrla import MRLABase, MRLALight
from .rla import RLA

__all__ = [
    'ContextUnit', 'DIA', 'DLABase', 'DLALight', 'DSU', 'Interaction', 'LII', 'LSTM', 'LayerAttention',
    'MRLABase', 'MRLALight', 'RLA', 'RNN'
]
