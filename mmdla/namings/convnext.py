"""Names of ConvNeXt, V1 and V2.

The blocks of the host are those with ``linear_pw_conv=True``, its default: pointwise convolutions become
linear layers. V2 is ``use_grn=True, layer_scale_init_value=0.``. The classifier's norm is the host's
norm of the last stage; norms of other outputs (``norm0.``) are in no classifier's checkpoint.

Left out: timm's ConvNeXts with an overlapping stem (``_ols``) or without a norm after the pooling
(``head_norm_first``), whose tensors keep their names.
"""
from .naming import Naming, Tensors, highest


def in_host_shapes(tensors: Tensors) -> Tensors:
    """Shapes as in the host, and the final norm with the number of its stage.

    Layer scales (C, 1, 1) and the scales of GRN (1, 1, 1, 4C) become (C,) and (4C,), pointwise
    convolutions (4C, C, 1, 1) become (4C, C).
    """
    last = highest(tensors, r'stages\.(\d+)\.')
    found = {}
    for name, value in tensors.items():
        if name.startswith('norm.'):
            name = f'norm{last}.{name[len("norm."):]}'
        elif name.endswith(('.gamma', '.beta')):
            value = value.flatten()
        elif name.endswith(('.pointwise_conv1.weight', '.pointwise_conv2.weight')):
            value = value.flatten(1)
        found[name] = value
    return found


def scaling(match) -> str:
    """Every other one of torchvision's features is the reduction ahead of a stage."""
    return f'downsample_layers.{int(match[1]) // 2}.{match[2]}.'


TORCHVISION = (
    (r'^features\.([0246])\.([01])\.', scaling),
    (r'^features\.([1357])\.', lambda m: f'stages.{int(m[1]) // 2}.'),
    (r'^(stages\.\d\.\d+)\.layer_scale$', r'\1.gamma'),
    (r'^(stages\.\d\.\d+)\.block\.0\.', r'\1.depthwise_conv.'),
    (r'^(stages\.\d\.\d+)\.block\.2\.', r'\1.norm.'),
    (r'^(stages\.\d\.\d+)\.block\.3\.', r'\1.pointwise_conv1.'),
    (r'^(stages\.\d\.\d+)\.block\.5\.', r'\1.pointwise_conv2.'),
    (r'^classifier\.0\.', 'norm.'),
)
TIMM = (
    (r'^stem\.([01])\.', r'downsample_layers.0.\1.'),
    (r'^stages\.(\d)\.downsample\.', r'downsample_layers.\1.'),
    (r'^stages\.(\d)\.blocks\.', r'stages.\1.'),
    (r'^(stages\.\d\.\d+)\.conv_dw\.', r'\1.depthwise_conv.'),
    (r'^(stages\.\d\.\d+)\.mlp\.fc([12])\.', r'\1.pointwise_conv\2.'),
    (r'^(stages\.\d\.\d+)\.mlp\.grn\.weight$', r'\1.grn.gamma'),
    (r'^(stages\.\d\.\d+)\.mlp\.grn\.bias$', r'\1.grn.beta'),
    (r'^head\.norm\.', 'norm.'),
)
RELEASED = (
    (r'^(stages\.\d\.\d+)\.dwconv\.', r'\1.depthwise_conv.'),
    (r'^(stages\.\d\.\d+)\.pwconv([12])\.', r'\1.pointwise_conv\2.'),
)
CONVNEXT = (
    Naming('torchvision', (r'^features\.1\.0\.layer_scale$', ), TORCHVISION, r'classifier\.2\.',
           in_host_shapes),
    Naming('timm', (r'^stages\.0\.blocks\.0\.conv_dw\.weight$', ), TIMM, r'head\.fc\.', in_host_shapes),
    Naming('the ConvNeXt release', (r'^stages\.0\.0\.dwconv\.weight$', ), RELEASED, r'head\.',
           in_host_shapes),
)
