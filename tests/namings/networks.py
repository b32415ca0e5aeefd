"""Small networks of other libraries, and the hosts' networks that are the same."""
import re
from types import SimpleNamespace

import mmdet.models.backbones as mmdet
import mmpretrain.models.backbones as mmpretrain
import pytest
import torch
from torch import nn
from torchvision import models as torchvision
from torchvision.models.regnet import BlockParams
from torchvision.models.resnet import BasicBlock, Bottleneck

LAYERS = (2, 1, 2, 1)
REGNET_200MF = dict(w0=24, wa=36.44, wm=2.49, group_w=8, depth=13, bot_mul=1.0)
CONVNEXT = dict(depths=[1, 2, 1, 2], channels=[8, 16, 24, 32])
SWIN = dict(embed_dims=8, depths=[2, 1, 1, 2], num_heads=[1, 2, 2, 4])
VIT = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=128)
BN = dict(type='BN')


def timm(name, **kwargs):
    return pytest.importorskip('timm').create_model(name, **kwargs)


def short(cls, depth=50):
    """A host's ResNet with few blocks."""
    block = cls.arch_settings[depth][0]
    return type(cls.__name__, (cls, ), dict(arch_settings={depth: (block, LAYERS)}))


def with_eps(model, eps=1e-6):
    """A network with one epsilon in all layer norms, where timm's are not the host's."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = eps
    return model


def features(model, x):
    return model.forward_features(x)


def before_pooling(model, x):
    """Of torchvision's networks that end in ``avgpool`` and ``fc``."""
    for name, child in model.named_children():
        if name == 'avgpool':
            return x
        x = child(x)


def swin_maps(model, x):
    x = model.forward_features(x) if hasattr(model, 'layers') else model.norm(model.features(x))
    return x.permute(0, 3, 1, 2)


def torchvision_tokens(model, x):
    tokens = model._process_input(x)
    return model.encoder(torch.cat([model.class_token.expand(len(x), -1, -1), tokens], 1))


def pooled(model, x):
    return model.forward_head(model.forward_features(x), pre_logits=True)


def swin_release(tensors):
    """Names of the release from timm's: patch mergings at the end of a stage, and its buffers."""
    found = {re.sub(r'^layers\.(\d)\.downsample', lambda m: f'layers.{int(m[1]) - 1}.downsample',
                    name).replace('head.fc.', 'head.'): value for name, value in tensors.items()}
    found['layers.0.blocks.1.attn_mask'] = torch.zeros(4, 4, 4)
    found['layers.0.blocks.1.attn.relative_position_index'] = torch.zeros(4, 4, dtype=torch.long)
    return found


def pvt_release(tensors):
    found = {}
    for name, value in tensors.items():
        name = re.sub(r'^patch_embed\.', 'patch_embed1.', name)
        name = re.sub(r'^stages\.(\d)\.downsample\.', lambda m: f'patch_embed{int(m[1]) + 1}.', name)
        name = re.sub(r'^stages\.(\d)\.blocks\.', lambda m: f'block{int(m[1]) + 1}.', name)
        name = re.sub(r'^stages\.(\d)\.norm\.', lambda m: f'norm{int(m[1]) + 1}.', name)
        found[name.replace('mlp.dwconv.', 'mlp.dwconv.dwconv.')] = value
    return found


def convnext_release(tensors):
    names = (('stem', 'downsample_layers.0'), ('head.norm', 'norm'), ('head.fc', 'head'),
             ('.blocks.', '.'), ('conv_dw', 'dwconv'), ('mlp.fc', 'pwconv'),
             ('mlp.grn.weight', 'grn.gamma'), ('mlp.grn.bias', 'grn.beta'))
    found = {}
    for name, value in tensors.items():
        name = re.sub(r'^stages\.(\d)\.downsample', r'downsample_layers.\1', name)
        for theirs, released in names:
            name = name.replace(theirs, released)
        if '.grn.' in name:
            value = value[None, None, None]
        elif 'pwconv' in name and value.dim() == 4:
            value = value[:, :, 0, 0]
        found[name] = value
    return found


def vit_release(tensors):
    """Names in torchvision's files."""
    return {name.replace('mlp.0.', 'mlp.linear_1.').replace('mlp.3.', 'mlp.linear_2.'): value
            for name, value in tensors.items()}


def sam_release(tensors):
    return {f'image_encoder.{name.replace("mlp.fc", "mlp.lin")}': value
            for name, value in tensors.items()}


def case(origin, source, host, out=features, size=64, release=None, full=False):
    return SimpleNamespace(origin=origin, source=source, host=host, out=out, size=size, release=release,
                           full=full)


def resnets():
    P = mmpretrain
    for name, kwargs, cls, arguments in [
            ('resnet50', {}, P.ResNet, {}),
            ('resnet50c', {}, P.ResNetV1c, {}),
            ('resnet50d', {}, P.ResNetV1d, {}),
            ('resnext50_32x4d', {}, P.ResNeXt, dict(groups=32, width_per_group=4)),
            ('seresnet50', {}, P.SEResNet, {}),
            ('seresnext26d_32x4d', {}, P.SEResNeXt,
             dict(groups=32, width_per_group=4, deep_stem=True, avg_down=True)),
            ('resnest50d', {}, P.ResNeSt, {}),
            ('res2net50d', {}, P.Res2Net, {}),
            ('res2net50_14w_8s', {}, P.Res2Net,
             dict(scales=8, base_width=14, deep_stem=False, avg_down=False))]:
        same = name in ('resnet50', 'resnext50_32x4d', 'res2net50_14w_8s')
        yield f'timm {name}', case(
            None if same else 'timm', lambda n=name, k=kwargs: timm(n, layers=LAYERS, **k),
            lambda c=cls, a=arguments: short(c)(depth=50, **a))
    yield 'timm resnet18d', case('timm', lambda: timm('resnet18d', layers=LAYERS),
                                 lambda: short(P.ResNetV1d, 18)(depth=18))
    yield 'torchvision resnet18', case(None, lambda: torchvision.ResNet(BasicBlock, LAYERS),
                                       lambda: short(P.ResNet, 18)(depth=18), before_pooling)
    yield 'torchvision resnext50', case(
        None, lambda: torchvision.ResNet(Bottleneck, LAYERS, groups=32, width_per_group=4),
        lambda: short(P.ResNeXt)(depth=50, groups=32, width_per_group=4), before_pooling)
    yield 'timm regnetx_002', case('timm', lambda: timm('regnetx_002'),
                                   lambda: P.RegNet(REGNET_200MF))
    yield 'torchvision regnet_x_200mf', case(
        'torchvision', lambda: torchvision.RegNet(BlockParams.from_init_params(
            depth=13, w_0=24, w_a=36.44, w_m=2.49, group_width=8)),
        lambda: P.RegNet(REGNET_200MF), before_pooling)


def convnexts():
    def host(**kwargs):
        return mmpretrain.ConvNeXt(CONVNEXT, **kwargs)

    def theirs(name):
        return timm(name, depths=CONVNEXT['depths'], dims=CONVNEXT['channels'])

    def from_torchvision():
        channels = CONVNEXT['channels']
        setting = torchvision.convnext.CNBlockConfig
        return torchvision.ConvNeXt([setting(*each) for each in zip(
            channels, [*channels[1:], None], CONVNEXT['depths'])])

    v2 = dict(use_grn=True, layer_scale_init_value=0.)
    release = 'the ConvNeXt release'
    yield 'timm convnext_tiny', case('timm', lambda: theirs('convnext_tiny'), host, pooled)
    yield 'timm convnext_atto', case('timm', lambda: theirs('convnext_atto'), host, pooled)
    yield 'timm convnextv2_atto', case('timm', lambda: theirs('convnextv2_atto'), lambda: host(**v2),
                                       pooled)
    yield 'torchvision convnext', case(
        'torchvision', from_torchvision, host,
        lambda m, x: m.classifier[1](m.classifier[0](m.avgpool(m.features(x)))))
    yield 'released convnext', case(release, lambda: theirs('convnext_tiny'), host, pooled,
                                    release=convnext_release)
    yield 'released convnextv2', case(release, lambda: theirs('convnextv2_tiny'), lambda: host(**v2),
                                      pooled, release=convnext_release)


def swins():
    window = 3

    def theirs():
        return timm('swin_tiny_patch4_window7_224', img_size=192, window_size=window,
                    depths=SWIN['depths'], embed_dim=SWIN['embed_dims'], num_heads=SWIN['num_heads'])

    def from_torchvision():
        return torchvision.SwinTransformer([4, 4], SWIN['embed_dims'], SWIN['depths'],
                                           SWIN['num_heads'], [window] * 2)

    hosts = dict(
        mmpretrain=lambda: mmpretrain.SwinTransformer(SWIN, window_size=window),
        mmdet=lambda: mmdet.SwinTransformer(**SWIN, window_size=window, out_indices=(3, )))
    for name, host in hosts.items():
        for origin, source, release in (('timm', theirs, None), ('torchvision', from_torchvision, None),
                                        ('the Swin release', theirs, swin_release)):
            yield f'{origin} swin, {name}', case(origin, source, host, swin_maps, 192, release)


def pvts():
    def theirs():
        return with_eps(timm('pvt_v2_b0', embed_dims=(8, 16, 40, 64), depths=(1, 2, 1, 2)))

    def host():
        return mmdet.PyramidVisionTransformerV2(embed_dims=8, num_layers=[1, 2, 1, 2])

    yield 'timm pvt_v2', case('timm', theirs, host)
    yield 'released pvt_v2', case('the PVT release', theirs, host, release=pvt_release)


def mobile():
    def maps(model, x):
        return model.features(x)

    plain = dict(conv_cfg=None, norm_cfg=BN)
    tensorflow = dict(conv_cfg=dict(type='Conv2dAdaptivePadding'))
    P = mmpretrain
    for name, full, host in [
            ('efficientnet_b0', False, lambda: P.EfficientNet('b0', **plain)),
            ('tf_efficientnet_b0', True, lambda: P.EfficientNet('b0')),
            ('efficientnet_b1', True, lambda: P.EfficientNet('b1', **plain)),
            ('efficientnet_es', True,
             lambda: P.EfficientNet('es', act_cfg=dict(type='ReLU'), **plain)),
            ('mobilenetv2_035', False, lambda: P.MobileNetV2(0.35)),
            ('mobilenetv3_small_050', False, lambda: P.MobileNetV3('small_050', norm_cfg=BN)),
            ('mobilenetv3_large_100', True, lambda: P.MobileNetV3('large', norm_cfg=BN)),
            ('tf_mobilenetv3_small_075', False, lambda: P.MobileNetV3('small_075', **tensorflow)),
            ('tf_mobilenetv3_large_100', True, lambda: P.MobileNetV3('large', **tensorflow))]:
        yield f'timm {name}', case('timm', lambda n=name: timm(n), host, full=full,
                                   size=63 if name.startswith('tf_') else 64)
    for name, kwargs, full, host in [
            ('efficientnet_b0', {}, False, lambda: P.EfficientNet('b0', **plain)),
            ('efficientnet_b5', {}, True, lambda: P.EfficientNet('b5', conv_cfg=None)),
            ('mobilenet_v2', dict(width_mult=0.5), False, lambda: P.MobileNetV2(0.5)),
            ('mobilenet_v3_small', {}, False, lambda: P.MobileNetV3('small')),
            ('mobilenet_v3_large', {}, True, lambda: P.MobileNetV3('large'))]:
        yield f'torchvision {name}', case(
            'torchvision', lambda n=name, k=kwargs: getattr(torchvision, n)(**k), host, maps, full=full)


def transformers():
    def theirs(name, **kwargs):
        return timm(name, img_size=32, embed_dim=32, depth=2, num_heads=2, **kwargs)

    def host(**kwargs):
        return mmpretrain.VisionTransformer(VIT, 32, **{'out_type': 'raw', **kwargs})

    yield 'timm deit', case('timm', lambda: theirs('deit_tiny_patch16_224'), host, size=32)
    yield 'timm vit with fc_norm', case(
        'timm', lambda: theirs('vit_tiny_patch16_224', global_pool='avg'),
        lambda: host(out_type='avg_featmap', final_norm=False), pooled, 32)
    yield 'timm dinov2', case(
        'timm', lambda: theirs('vit_small_patch14_dinov2', patch_size=16),
        lambda: host(layer_scale_init_value=1e-5), size=32)
    yield 'timm clip', case(
        'timm', lambda: theirs('vit_base_patch16_clip_224'),
        lambda: host(pre_norm=True, norm_cfg=dict(type='LN', eps=1e-5)), size=32)
    for name, release in (('torchvision vit', None), ('released torchvision vit', vit_release)):
        yield name, case('torchvision', lambda: torchvision.VisionTransformer(32, 16, 2, 2, 32, 128),
                         host, torchvision_tokens, 32, release)

    def sam():
        return timm('samvit_base_patch16', img_size=64, embed_dim=32, depth=2, num_heads=2,
                    window_size=3, global_attn_indexes=(1, ))

    def sam_host(eps):
        return mmpretrain.ViTSAM(dict(VIT, global_attn_indexes=[1]), 64, window_size=3,
                                 norm_cfg=dict(type='LN', eps=eps))

    yield 'timm samvit', case('timm', sam, lambda: sam_host(1e-5))
    yield 'released sam', case('the SAM release', lambda: with_eps(sam()), lambda: sam_host(1e-6),
                               release=sam_release)


CASES = {name: each for part in (resnets, convnexts, swins, pvts, mobile, transformers)
         for name, each in part()}
