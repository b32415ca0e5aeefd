"""Turn a checkpoint in the layout of the authors' released code into one of this package.

Reads MRLA and DLA ResNets, light and base, DIANet and the plain ResNet, in their CIFAR, ImageNet
and mmdetection forms, and the DeiTs with MRLA: bare or under ``state_dict`` or ``model``, with or
without ``module.``. A classifier becomes mmpretrain's ImageClassifier, a detector keeps its neck
and heads, and with --backbone-only the backbone stands alone, ready to start a detector from.
Prints the backbone's config. An OUT that ends in .safetensors is written in that format.

    python tools/convert/released_to_mmdla.py dla_l_r50.pth.tar checkpoints/dla_l50_split-r16_in1k.pth
"""
import argparse
import os
import re
from collections import OrderedDict
from pathlib import Path

import mmdla.models as models
from mmdla.engine import cli
from mmdla.errors import UserError
from mmdla.files import check_output, written
from mmdla.hosts.checkpoints import as_bytes
from mmdla.pretrained import mismatches, read_state_dict

from mmpretrain.models import VisionTransformer

PROJECTION = dict(q='query', k='key', v='value')
DIRECTION = dict(ih='from_input', hh='from_context')
ATTENTION = r'(?:(\d+)\.mrla|attention\.(\d+)\.layer_attention)'
NORM = r'(?:(\d+)\.bn_mrla|attention\.(\d+)\.bn_layer_attention)'
# names inside a stage: a pattern, and a function of its groups
STAGE_RULES = [
    (ATTENTION + r'\.lambda_t', lambda a, b: f'attention.layers.{a or b}.lambda_l'),
    (ATTENTION + r'\.(?:mrla|layer_attention)\.W([qkv])\.weight',
     lambda a, b, w: f'attention.layers.{a or b}.{PROJECTION[w]}.weight'),
    (NORM + r'\.(\w+)', lambda a, b, leaf: f'attention.norms.{a or b}.{leaf}'),
    (r'lstm\.w_(ih|hh)\.0\.seq\.([02])\.(weight|bias)',
     lambda d, i, leaf: f'attention.context_unit.{DIRECTION[d]}.{i}.{leaf}'),
    (r'(?:excite|extict)\.weight', lambda: 'attention.excite.weight'),
    (r'(?:layers\.|ModuleList\.)?(\d+)\.((?:conv|bn)\d\.\w+|downsample\.\d\.\w+)',
     lambda i, rest: f'{i}.{rest}'),
]
DEEP_STEM = {'0': '0.conv', '1': '0.bn', '3': '1.conv', '4': '1.bn', '6': '2.conv'}
STEM_RULES = [
    (r'((?:conv|bn)1\.\w+)', lambda name: name),
    (r'conv1\.([01346])\.(\w+)', lambda i, leaf: f'stem.{DEEP_STEM[i]}.{leaf}'),
]
TRANSFORMER_RULES = [
    (r'(cls_token|pos_embed)', lambda name: name),
    (r'patch_embed\.proj\.(\w+)', lambda leaf: f'patch_embed.projection.{leaf}'),
    (r'norm\.(\w+)', lambda leaf: f'ln1.{leaf}'),
    (r'blocks\.(\d+)\.norm([12])\.(\w+)', lambda i, n, leaf: f'layers.{i}.ln{n}.{leaf}'),
    (r'blocks\.(\d+)\.attn\.(.+)', lambda i, rest: f'layers.{i}.attn.{rest}'),
    (r'blocks\.(\d+)\.mlp\.fc1\.(\w+)', lambda i, leaf: f'layers.{i}.ffn.layers.0.0.{leaf}'),
    (r'blocks\.(\d+)\.mlp\.fc2\.(\w+)', lambda i, leaf: f'layers.{i}.ffn.layers.1.{leaf}'),
    (r'blocks\.(\d+)\.mrla\.lambda_t', lambda i: f'attention.0.layers.{i}.lambda_l'),
    (r'blocks\.(\d+)\.mrla\.mrla\.W([qkv])\.weight',
     lambda i, w: f'attention.0.layers.{i}.{PROJECTION[w]}.weight'),
    (r'blocks\.(\d+)\.mrla\.normx\.(\w+)', lambda i, leaf: f'attention.0.norms.{i}.{leaf}'),
    (r'blocks\.(\d+)\.mrla\.normo\.(\w+)', lambda i, leaf: f'attention.0.shortcut_norms.{i}.{leaf}'),
]
HEADS = {
    'fc.weight': 'head.fc.weight', 'fc.bias': 'head.fc.bias',
    'head.weight': 'head.layers.head.weight', 'head.bias': 'head.layers.head.bias',
}


def apply_rules(rules: list, key: str):
    """The new name by the first rule whose pattern is the whole key, or None."""
    for pattern, name in rules:
        match = re.fullmatch(pattern, key)
        if match:
            return name(*match.groups())
    return None


def rename(key: str, deep_stem: bool = False):
    """The name here of a released backbone tensor, or None for an unknown one."""
    stage = re.match(r'(?:layer(\d)|stages\.(\d))\.', key)
    if stage:
        name = apply_rules(STAGE_RULES, key[stage.end():])
        index = int(stage[1]) - 1 if stage[1] else int(stage[2])
        if name is None or not name.startswith('attention.'):
            return name and f'layer{index + 1}.{name}'
        return name.replace('attention.', f'attention.{index}.', 1)
    if deep_stem and key.startswith('bn1.'):
        return key.replace('bn1', 'stem.2.bn')
    return apply_rules(STEM_RULES, key) or apply_rules(TRANSFORMER_RULES, key)


def resnet_depth(tensors: dict, cifar: bool) -> int:
    """Depth of a ResNet from its renamed tensors."""
    blocks = tuple(
        sum(f'layer{stage}.{i}.conv1.weight' in tensors for i in range(1000))
        for stage in range(1, 4 if cifar else 5))
    bottleneck = 'layer1.0.conv3.weight' in tensors
    if cifar and bottleneck and len(set(blocks)) == 1:
        return 9 * blocks[0] + 2
    arches = {(num_blocks, block.__name__ == 'Bottleneck'): depth
              for depth, (block, num_blocks) in models.ResNet.arch_settings.items()}
    if cifar or (blocks, bottleneck) not in arches:
        raise UserError(f'stages of {blocks} blocks are no ResNet of depth '
                        f'{", ".join(map(str, arches.values()))}, nor a bottleneck one of depth '
                        '9n + 2 for CIFAR: only these are converted.')
    return arches[blocks, bottleneck]


def context_unit(tensors: dict) -> dict:
    """Config of the context unit from its tensors in all stages."""
    pattern = r'attention\.\d\.context(?:\.|_)unit\.from_input\.0\.weight'
    shapes = [value.shape for key, value in tensors.items() if re.fullmatch(pattern, key)]
    hidden, channels = shapes[-1]
    biases = [value for key, value in tensors.items() if key.endswith('unit.from_input.2.bias')]
    num_outputs = len(biases[0]) // shapes[0][1]
    # C // r rounds: take the usual r that gives every stage's width
    usual = [r for r in (4, 16, 20, channels // hidden) if all(c // r == h for h, c in shapes)]
    unit = dict(type='DIA') if num_outputs == 4 else dict(type='DSU', form='split')
    return dict(**unit, reduction=usual[0] if usual else channels // hidden)


def infer_config(tensors: dict) -> dict:
    """The backbone config that the renamed tensors call for."""
    if 'pos_embed' in tensors:
        return infer_transformer(tensors)
    cifar = 'conv1.weight' in tensors and tensors['conv1.weight'].shape[-1] == 3
    attention = 'attention.0.layers.0.query.weight' in tensors
    unit = any(key.endswith('unit.from_input.0.weight') for key in tensors)
    name = ('DLA' if unit else 'MRLA') if attention else 'DIA' if unit else ''
    config = dict(type=f'mmdla.{name}ResNet', depth=resnet_depth(tensors, cifar))
    if cifar:
        config['trunk'] = 'cifar'
    if 'stem.0.conv.weight' in tensors:
        config['deep_stem'] = True
    if unit:
        config['context_unit'] = context_unit(tensors)
    base = attention and 'attention.0.layers.0.lambda_l' not in tensors
    if base:
        config.update(variant='base', dim_per_head=32 if cifar else 16)
    if unit and base:
        config['refresh'] = 'tokens'
    elif unit and attention:
        config['excite'] = 'attention.0.excite.weight' in tensors
    return config


def infer_transformer(tensors: dict) -> dict:
    """The config of a DeiT with MRLA."""
    width = tensors['pos_embed'].shape[-1]
    arches = {VisionTransformer.arch_zoo[f'deit-{size}']['embed_dims']: f'deit-{size}'
              for size in ('tiny', 'small', 'base')}
    if width not in arches:
        raise UserError(f'{width} channels are no DeiT tiny, small or base: only these are converted.')
    light = 'attention.0.layers.0.lambda_l' in tensors
    return dict(type='mmdla.MRLAVisionTransformer', arch=arches[width],
                variant='light' if light else 'base')


def convert(tensors: dict, backbone_only: bool = False) -> tuple:
    """
    Args:
        tensors (dict): Released names to tensors, without ``module.``.
        backbone_only (bool): Whether to leave out all but the backbone.

    Returns:
        tuple: Names here to tensors, and the backbone's config.

    Raises:
        UserError: For unknown or missing tensors, which it lists.
    """
    prefix = 'backbone.' if any(k.startswith('backbone.') for k in tensors) else ''
    deep_stem = f'{prefix}conv1.0.weight' in tensors
    backbone, rest, unknown = OrderedDict(), OrderedDict(), []
    for key, value in tensors.items():
        if not key.startswith(prefix):
            rest[key] = value
        elif key in HEADS:
            rest[HEADS[key]] = value
        elif name := rename(key.removeprefix(prefix), deep_stem):
            backbone[name] = value.flatten() if name.endswith('lambda_l') else value
        else:
            unknown.append(key)
    if any('.layers.' in name and name.startswith('attention.') for name in backbone):  # DLA, not DIANet
        backbone = OrderedDict((name.replace('.context_unit.', '.context.unit.'), value)
                               for name, value in backbone.items())
    if unknown:
        raise UserError(f'{len(unknown)} tensors are not of a released MRLA or DLA model: '
                        f'{", ".join(unknown)}.')
    if prefix == '' and not backbone_only and len(rest) != 2:
        raise UserError('the classifier\'s weight or bias is missing: with --backbone-only '
                        'the backbone is converted alone.')
    config = infer_config(backbone)
    model = getattr(models, config['type'].split('.')[1])(
        **{k: v for k, v in config.items() if k != 'type'})
    problems = mismatches(model.state_dict(), backbone, most=len(tensors))
    if problems:
        raise UserError(f'the tensors do not make a whole {config["type"]}: {"; ".join(problems)}.')
    if backbone_only:
        return backbone, config
    return OrderedDict([*((f'backbone.{k}', v) for k, v in backbone.items()), *rest.items()]), config


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('input', metavar='IN', help='released checkpoint')
    parser.add_argument('output', metavar='OUT', help='file to write')
    parser.add_argument('--backbone-only', action='store_true',
                        help='leave out the classifier or the detector around the backbone')
    args = parser.parse_args()
    output = check_output(args.output)
    if output.exists() and os.path.exists(args.input) and output.samefile(args.input):
        raise UserError(f'{output} is the released checkpoint itself: name another file to write.')
    state_dict, config = convert(read_state_dict(args.input), args.backbone_only)
    meta = dict(converted_from=Path(args.input).name, backbone=config)
    with written(output) as partial:
        partial.write_bytes(as_bytes(dict(meta=meta, state_dict=state_dict), output.suffix))
    print(f'converted {len(state_dict)} tensors to {args.output}')
    print('backbone=dict(' + ', '.join(f'{k}={v!r}' for k, v in config.items()) + ')')


if __name__ == '__main__':
    cli.run(main)
