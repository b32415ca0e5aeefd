"""Names of the Pyramid Vision Transformers, V1 and V2, for mmdet's classes.

mmdet has ``norm_cfg=dict(type='LN', eps=1e-6)`` everywhere; timm and the release have an epsilon of
1e-5 in the norms of the patch embeddings and of the reduced keys. Outputs agree to about this
difference, and exactly with the same epsilon.

In the last stage of PVT V1 the classifier attends to a class token, which detectors do not have, mmdet's
or the release's: it is dropped with its position and the last norm, and outputs of that stage differ.

Left out: the linear variant (``pvt_v2_b2_li``), which pools ahead of the reduction and which mmdet does
not have.
"""
import math
import re

import torch

from .naming import Naming, Tensors


def in_host_shapes(tensors: Tensors) -> Tensors:
    """Queries (C, C) and keys with values (2C, C) in one projection (3C, C), linear layers as
    convolutions (C, 4C, 1, 1)."""
    found = {}
    for name, value in tensors.items():
        if match := re.match(r'(.*\.attn)\.q\.(weight|bias)$', name):
            both = tensors.get(f'{match[1]}.kv.{match[2]}')
            if both is not None:
                name, value = f'{match[1]}.attn.in_proj_{match[2]}', torch.cat([value, both])
        elif match := re.match(r'(.*\.attn)\.kv\.(weight|bias)$', name):
            if f'{match[1]}.q.{match[2]}' in tensors:
                continue
        elif re.search(r'\.ffn\.layers\.[034]\.weight$', name) and value.dim() == 2:
            value = value[:, :, None, None]
        found[name] = value
    return found


BLOCK = r'^(layers\.\d\.1\.\d+)\.'
SAME = (
    (BLOCK + r'attn\.proj\.', r'\1.attn.attn.out_proj.'),
    (BLOCK + r'mlp\.fc1\.', r'\1.ffn.layers.0.'),
    (BLOCK + r'mlp\.dwconv\.(dwconv\.)?', r'\1.ffn.layers.1.'),
    (BLOCK + r'mlp\.fc2\.', r'\1.ffn.layers.4.'),
)
TIMM = (
    (r'^patch_embed\.', 'stages.0.downsample.'),
    (r'^stages\.(\d)\.downsample\.proj\.', r'layers.\1.0.projection.'),
    (r'^stages\.(\d)\.downsample\.norm\.', r'layers.\1.0.norm.'),
    (r'^stages\.(\d)\.blocks\.(\d+)\.', r'layers.\1.1.\2.'),
    (r'^stages\.(\d)\.norm\.', r'layers.\1.2.'),
    *SAME,
)
RELEASED = (
    (r'^patch_embed(\d)\.proj\.', lambda m: f'layers.{int(m[1]) - 1}.0.projection.'),
    (r'^patch_embed(\d)\.norm\.', lambda m: f'layers.{int(m[1]) - 1}.0.norm.'),
    (r'^block(\d)\.(\d+)\.', lambda m: f'layers.{int(m[1]) - 1}.1.{m[2]}.'),
    (r'^norm(\d)\.', lambda m: f'layers.{int(m[1]) - 1}.2.'),
    *SAME,
)


def without_class_token(tensors: Tensors) -> Tensors:
    """V1's positions as the first layer of a stage, without that of the class token.

    Only the last stage has one, and the number of its positions is a square and one more.
    """
    found = {}
    for name, value in in_host_shapes(tensors).items():
        if name.endswith('.1.0.pos_embed') and math.isqrt(value.shape[1])**2 != value.shape[1]:
            value = value[:, 1:]
        found[name] = value
    return found


RELEASED_V1 = (
    (r'^pos_embed(\d)$', lambda m: f'layers.{int(m[1]) - 1}.1.0.pos_embed'),
    *RELEASED[:2],
    (r'^block(\d)\.(\d+)\.', lambda m: f'layers.{int(m[1]) - 1}.1.{int(m[2]) + 1}.'),
    *SAME[:2],
    (BLOCK + r'mlp\.fc2\.', r'\1.ffn.layers.3.'),
)
PVT_V1 = (
    Naming('the PVT release', (r'^pos_embed1$', r'^block1\.0\.attn\.kv\.weight$'), RELEASED_V1,
           r'(head|norm)\.|cls_token$', without_class_token),
)
PVT_V2 = (
    Naming('timm',
           (r'^stages\.0\.blocks\.0\.attn\.kv\.weight$', r'^stages\.0\.blocks\.0\.mlp\.dwconv\.'),
           TIMM, r'head\.', in_host_shapes),
    Naming('the PVT release',
           (r'^block1\.0\.attn\.kv\.weight$', r'^block1\.0\.mlp\.dwconv\.'),
           RELEASED, r'head\.', in_host_shapes),
)
