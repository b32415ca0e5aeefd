"""Every form of layer attention on a small vision transformer."""
from torch import nn

ARCH = dict(embed_dims=32, num_layers=9, num_heads=2, feedforward_channels=48)
SHALLOW = {**ARCH, 'num_layers': 2}
VARIANTS = {
    'light': dict(type='mmdla.MRLAVisionTransformer', variant='light'),
    'base': dict(type='mmdla.MRLAVisionTransformer', variant='base'),
    'dla': dict(type='mmdla.DLAVisionTransformer', context_unit=dict(reduction=8)),
    'dla_split_learned': dict(
        type='mmdla.DLAVisionTransformer', context_unit=dict(form='split', reduction=8),
        initial_context='learned', excite=False),
    'dla_base': dict(type='mmdla.VisionTransformer', interaction=dict(
        type='mmdla.DLABase', context_unit=dict(type='mmdla.DSU', reduction=8))),
    'dla_base_tokens': dict(type='mmdla.VisionTransformer', interaction=dict(
        type='mmdla.DLABase', context_unit=dict(type='mmdla.DSU', form='split', reduction=8),
        refresh='tokens', initial_context='learned')),
    'lii': dict(type='mmdla.VisionTransformer', interaction=dict(
        type='mmdla.LII', context_unit=dict(type='mmdla.DIA', reduction=8))),
    'plain': dict(type='mmdla.VisionTransformer'),
}
ATTENTION = [name for name in VARIANTS if name not in ('plain', 'lii')]
SMALL = dict(arch=ARCH, img_size=(48, 80), out_type='raw')


def randomize(model):
    """Parameters that no shortcut of the code could get right by chance."""
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return model.double()
