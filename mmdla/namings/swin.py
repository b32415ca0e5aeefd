"""Names of the Swin Transformer (V1), for mmpretrain's and mmdet's classes.

Both hosts have the same names; mmpretrain norms its last stage only, mmdet every output. The
classifier's norm is the host's norm of the last stage, and norms of other outputs (``norm0.``) are in no
classifier's checkpoint.

Where a map is no larger than a window, the classifiers and mmpretrain do not shift it, and mmdet (like
mmpretrain with ``pad_small_map=True``) does: there outputs differ. So do those of timm's networks on
maps that windows do not tile: it shifts ahead of the padding.

Left out: Swin V2 and timm's ``swin_s3``, whose windows differ between stages.
"""
import torch
from torch import Tensor

from .naming import Naming, Tensors, highest


def in_unfold_order(value: Tensor) -> Tensor:
    """Inputs of a patch merging in the order of :class:`torch.nn.Unfold`.

    Args:
        value (Tensor): (..., 4C), of the four neighbours of a patch one after the other, first down,
            then to the right.

    Returns:
        Tensor: (..., 4C), channel by channel, its four neighbours in reading order.
    """
    channels = value.shape[-1] // 4
    return value.unflatten(-1, (2, 2, channels)).transpose(-1, -3).flatten(-3)


def relative_position_index(table: Tensor) -> Tensor:
    """Which row of a table of position biases each pair of tokens in a window has.

    Args:
        table (Tensor): ((2W - 1)^2, heads).

    Returns:
        Tensor: (W^2, W^2), integers.
    """
    span = round(len(table)**0.5)
    width = (span + 1) // 2
    at = torch.arange(width**2)
    rows, columns = at // width, at % width
    down, right = (x[:, None] - x[None] + width - 1 for x in (rows, columns))
    return down * span + right


def in_host_order(tensors: Tensors) -> Tensors:
    """Patch mergings in the host's order, indices computed, the final norm with its stage's number."""
    last = highest(tensors, r'stages\.(\d+)\.')
    found = {}
    for name, value in tensors.items():
        if name.startswith('norm.'):
            name = f'norm{last}.{name[len("norm."):]}'
        elif '.downsample.' in name:
            value = in_unfold_order(value)
        found[name] = value
        if name.endswith('.relative_position_bias_table'):
            found[name.replace('bias_table', 'index')] = relative_position_index(value).to(value.device)
    return found


def before(match) -> str:
    """timm's and torchvision's patch merging ahead of a stage, at the host's end of the one before."""
    return f'stages.{int(match[1]) - 1}.downsample.'


ATTENTION = (r'^(stages\.\d\.blocks\.\d+\.attn)\.', r'\1.w_msa.')
SAME = (
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
    (r'^layers\.(\d)\.', r'stages.\1.'),
    ATTENTION,
    (r'^(stages\.\d\.blocks\.\d+)\.mlp\.fc1\.', r'\1.ffn.layers.0.0.'),
    (r'^(stages\.\d\.blocks\.\d+)\.mlp\.fc2\.', r'\1.ffn.layers.1.'),
)
TIMM = ((r'^layers\.(\d)\.downsample\.', before), *SAME)
TORCHVISION = (
    (r'^features\.0\.0\.', 'patch_embed.projection.'),
    (r'^features\.0\.2\.', 'patch_embed.norm.'),
    (r'^features\.([246])\.', lambda m: f'stages.{int(m[1]) // 2 - 1}.downsample.'),
    (r'^features\.([1357])\.', lambda m: f'stages.{int(m[1]) // 2}.blocks.'),
    ATTENTION,
    (r'^(stages\.\d\.blocks\.\d+)\.mlp\.0\.', r'\1.ffn.layers.0.0.'),
    (r'^(stages\.\d\.blocks\.\d+)\.mlp\.3\.', r'\1.ffn.layers.1.'),
)
DROPPED = r'head\.|.*\.(attn_mask|relative_position_index)$'
TABLE_MARK = r'^layers\.0\.blocks\.0\.attn\.relative_position_bias_table$'

SWIN = (
    Naming('torchvision', (r'^features\.1\.0\.attn\.relative_position_bias_table$', ), TORCHVISION,
           DROPPED, in_host_order),
    Naming('the Swin release', (TABLE_MARK, r'^layers\.0\.downsample\.'), SAME, DROPPED, in_host_order),
    Naming('timm', (TABLE_MARK, ), TIMM, DROPPED, in_host_order),
)
