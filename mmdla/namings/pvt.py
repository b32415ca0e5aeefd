"""Names of the Pyramid Vision Transformer V2, for mmdet's class.

mmdet has ``norm_cfg=dict(type='LN', eps=1e-6)`` everywhere; timm and the release have an epsilon of
1e-5 in the norms of the patch embeddings and of the reduced keys. Outputs agree to about this
difference, and exactly with the same epsilon.

Left out: the linear variant (``pvt_v2_b2_li``), which pools ahead of the reduction and which mmdet does
not have; PVT V1, whose last stage attends to a class token in the classifier and not in mmdet.
"""
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
        elif re.search(r'\.ffn\.layers\.[04]\.weight$', name) and value.dim() == 2:
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
PVT_V2 = (
    Naming('timm',
           (r'^stages\.0\.blocks\.0\.attn\.kv\.weight$', r'^stages\.0\.blocks\.0\.mlp\.dwconv\.'),
           TIMM, r'head\.', in_host_shapes),
    Naming('the PVT release',
           (r'^block1\.0\.attn\.kv\.weight$', r'^block1\.0\.mlp\.dwconv\.'),
           RELEASED, r'head\.', in_host_shapes),
)
