"""Every trunk beside its host, small, and every form of layer attention."""
from copy import deepcopy

from mmdet.models import backbones as mmdet
from mmpretrain.models import backbones as mmpretrain
from torch import nn

from mmdla.registry import MODELS

TWO = dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1), stem_channels=16,
           base_channels=16)
TOKENS = dict(embed_dims=32, num_layers=5, num_heads=2, feedforward_channels=48)
SWIN = dict(embed_dims=16, depths=[2, 3], num_heads=[1, 2])
PVT = dict(embed_dims=16, num_stages=2, num_layers=[2, 3], num_heads=[1, 2], sr_ratios=[2, 1],
           strides=[4, 2], out_indices=(0, 1), mlp_ratios=[2, 2])
# name of ours: host, arguments
TRUNKS = {
    'ResNet': (mmpretrain.ResNet, dict(depth=18, **TWO)),
    'ResNetV1d': (mmpretrain.ResNetV1d, dict(depth=50, **TWO)),
    'ResNeXt': (mmpretrain.ResNeXt, dict(depth=50, groups=4, width_per_group=4, **TWO)),
    'SEResNet': (mmpretrain.SEResNet, dict(depth=50, **TWO)),
    'Res2Net': (mmpretrain.Res2Net, dict(depth=50, base_width=6, **TWO)),
    'ResNeSt': (mmpretrain.ResNeSt, dict(depth=50, **TWO)),
    'RegNet': (mmpretrain.RegNet, dict(
        arch=dict(w0=16, wa=12, wm=2.0, group_w=8, depth=6, bot_mul=1.0), strides=(2, 2, 2),
        dilations=(1, 1, 1), out_indices=(0, 1, 2))),
    'ConvNeXt': (mmpretrain.ConvNeXt, dict(
        arch=dict(depths=[2, 3], channels=[16, 32]), out_indices=[0, 1], gap_before_final_norm=False)),
    'ConvNeXtV2': (mmpretrain.ConvNeXt, dict(
        arch=dict(depths=[2, 3], channels=[16, 32]), out_indices=[0, 1], use_grn=True,
        layer_scale_init_value=0.)),
    'SwinTransformer': (mmpretrain.SwinTransformer, dict(
        arch=SWIN, out_indices=(0, 1), window_size=4, drop_path_rate=0., pad_small_map=True)),
    'DetSwinTransformer': (mmdet.SwinTransformer, dict(
        **SWIN, out_indices=(0, 1), window_size=4, strides=(4, 2), drop_path_rate=0.)),
    'PyramidVisionTransformer': (mmdet.PyramidVisionTransformer, dict(
        **PVT, patch_sizes=[4, 2], paddings=[0, 0], pretrain_img_size=64, drop_path_rate=0.)),
    'PyramidVisionTransformerV2': (mmdet.PyramidVisionTransformerV2, dict(
        embed_dims=16, num_layers=[2, 3, 1, 1], num_heads=[1, 2, 1, 2], sr_ratios=[2, 1, 1, 1],
        mlp_ratios=[2, 2, 2, 2], drop_path_rate=0.)),
    'EfficientNet': (mmpretrain.EfficientNet, dict(arch='b0', out_indices=(2, 3))),
    'EfficientNet-EdgeTPU': (mmpretrain.EfficientNet, dict(arch='es', out_indices=(2, 3))),
    'MobileNetV2': (mmpretrain.MobileNetV2, dict(widen_factor=0.5, out_indices=(1, 2, 4))),
    'MobileNetV3': (mmpretrain.MobileNetV3, dict(arch='small', out_indices=(3, 6, 8))),
    'VisionTransformer': (mmpretrain.VisionTransformer, dict(
        arch=TOKENS, img_size=64, out_type='featmap', out_indices=[1, 4])),
    'ViTSAM': (mmpretrain.ViTSAM, dict(
        arch=dict(**TOKENS, global_attn_indexes=[1, 4]), img_size=64, window_size=3, out_channels=16)),
}
CLASSES = {'ConvNeXtV2': 'ConvNeXt', 'EfficientNet-EdgeTPU': 'EfficientNet'}
UNIT = dict(type='mmdla.DSU', reduction=4)
FORMS = {
    'plain': None,
    'mrla_l': dict(type='mmdla.MRLALight'),
    'mrla_b': dict(type='mmdla.MRLABase'),
    'dla_l': dict(type='mmdla.DLALight', context_unit=UNIT),
    'dla_b': dict(type='mmdla.DLABase', context_unit=UNIT),
    'lii': dict(type='mmdla.LII', context_unit=UNIT),
}
UNITS = {
    'split': dict(type='mmdla.DSU', form='split', reduction=4),
    'rnn': dict(type='mmdla.RNN'),
    'lstm': dict(type='mmdla.LSTM'),
    'dia': dict(type='mmdla.DIA', reduction=4),
}
# of these the base forms have no ReLU, and start at zero without a layer_scale
PRE_NORM = ('SwinTransformer', 'DetSwinTransformer', 'PyramidVisionTransformer',
            'PyramidVisionTransformerV2', 'VisionTransformer', 'ViTSAM')


def build(trunk, form, **kwargs):
    """One of ours, initialised."""
    interaction = FORMS[form] if isinstance(form, str) else form
    model = MODELS.build(dict(type=f'mmdla.{CLASSES.get(trunk, trunk)}', interaction=interaction,
                              **{**deepcopy(TRUNKS[trunk][1]), **kwargs}))
    model.init_weights()
    return model


def build_host(trunk, **kwargs):
    """Its host, initialised."""
    host, arguments = TRUNKS[trunk]
    model = host(**{**deepcopy(arguments), **kwargs})
    model.init_weights()
    return model


def zero_start(trunk, form):
    """The form's config with what it needs to start as the plain trunk; None where it cannot."""
    if form in ('plain', 'lii'):
        return None
    base = form in ('mrla_b', 'dla_b') and trunk not in PRE_NORM
    return {**FORMS[form], **(dict(layer_scale=True) if base else {})}


def alive(model):
    """Parameters as after some training: all branches count."""
    for name, p in model.named_parameters():
        if p.dim() == 1 and name.endswith('weight') or name.rpartition('.')[2] == 'gamma':
            nn.init.uniform_(p, 0.5, 1)
        elif p.dim() > 1 and not p.any():
            nn.init.normal_(p, std=0.1)
    return model


def total(outs):
    """A number that depends on all outputs."""
    return sum(out.float().square().mean() for out in outs)
