"""Turn a checkpoint in the layout of the authors' released code into one of this package.

Reads MRLA-L and DLA-L ResNets, in their ImageNet and their mmdetection form: bare or under
``state_dict``, with or without ``module.``. A classifier becomes mmpretrain's ImageClassifier,
a detector keeps its neck and heads, and with --backbone-only the backbone stands alone, ready
to start a detector from. Prints the backbone's config.

    python tools/convert/released_to_mmdla.py dla_l_r50.pth.tar checkpoints/dla_l50_released_in1k.pth
"""
import argparse
import os
import re
import sys
from collections import OrderedDict

import torch

import mmdla.models as models
from mmdla.engine.pretrained import mismatches, read_state_dict
from mmdla.errors import UserError

PROJECTION = dict(q='query', k='key', v='value')
DIRECTION = dict(ih='from_input', hh='from_context')
ATTENTION = r'(?:(\d+)\.mrla|attention\.(\d+)\.layer_attention)'
NORM = r'(?:(\d+)\.bn_mrla|attention\.(\d+)\.bn_layer_attention)'
# names inside a stage; the groups go to the function beside the pattern
RULES = [
    (ATTENTION + r'\.lambda_t', lambda a, b: f'attention.layers.{a or b}.lambda_t'),
    (ATTENTION + r'\.(?:mrla|layer_attention)\.W([qkv])\.weight',
     lambda a, b, w: f'attention.layers.{a or b}.{PROJECTION[w]}.weight'),
    (NORM + r'\.(\w+)', lambda a, b, leaf: f'attention.norms.{a or b}.{leaf}'),
    (r'lstm\.w_(ih|hh)\.0\.seq\.([02])\.(weight|bias)',
     lambda d, i, leaf: f'attention.context_unit.{DIRECTION[d]}.{i}.{leaf}'),
    (r'(?:excite|extict)\.weight', lambda: 'attention.excite.weight'),
    (r'(?:layers\.)?(\d+)\.((?:conv|bn)\d\.\w+|downsample\.\d\.\w+)', lambda i, rest: f'{i}.{rest}'),
]


def rename(key: str):
    """The name here of a released backbone tensor, or None for an unknown one."""
    if re.fullmatch(r'(conv|bn)1\.\w+', key):
        return key
    stage = re.match(r'(?:layer(\d)|stages\.(\d))\.', key)
    if stage:
        number = stage[1] or int(stage[2]) + 1
        for pattern, name in RULES:
            match = re.fullmatch(pattern, key[stage.end():])
            if match:
                return f'layer{number}.{name(*match.groups())}'
    return None


def infer_config(tensors: dict) -> dict:
    """The backbone config that the renamed tensors call for."""
    blocks = tuple(
        sum(f'layer{stage}.{i}.conv1.weight' in tensors for i in range(100))
        for stage in range(1, 5))
    deep = 'layer1.0.conv3.weight' in tensors
    arches = {(num_blocks, block.__name__ == 'BottleneckBranch'): depth
              for depth, (block, num_blocks) in models.DLAResNet.arch_settings.items()}
    if (blocks, deep) not in arches:
        raise UserError(f'stages of {blocks} blocks are no ResNet of depth '
                        f'{", ".join(map(str, arches.values()))}: only these are converted.')
    config = dict(type='mmdla.MRLAResNet', depth=arches[blocks, deep])
    squeeze = tensors.get('layer4.attention.context_unit.from_input.0.weight')
    if squeeze is not None:
        hidden, channels = squeeze.shape
        # C // r rounds: take the usual r that gives every stage's width
        usual = [r for r in (4, 16, 20, channels // hidden) if channels // r == hidden]
        config.update(
            type='mmdla.DLAResNet',
            context_unit=dict(type='DSU', gates='split', reduction=usual[0]),
            excite='layer1.attention.excite.weight' in tensors)
    return config


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
    backbone, rest, unknown = OrderedDict(), OrderedDict(), []
    for key, value in tensors.items():
        if not key.startswith(prefix):
            rest[key] = value
        elif key in ('fc.weight', 'fc.bias'):
            rest[f'head.{key}'] = value
        elif name := rename(key.removeprefix(prefix)):
            backbone[name] = value.flatten() if name.endswith('lambda_t') else value
        else:
            unknown.append(key)
    if unknown:
        raise UserError(f'{len(unknown)} tensors are not of a released MRLA-L or DLA-L ResNet: '
                        f'{", ".join(unknown)}.')
    if prefix == '' and not backbone_only and len(rest) != 2:
        raise UserError('the classifier\'s fc.weight or fc.bias is missing: with --backbone-only '
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
    state_dict, config = convert(read_state_dict(args.input), args.backbone_only)
    os.makedirs(os.path.dirname(os.path.abspath(args.output)), exist_ok=True)
    partial = args.output + '.partial'
    meta = dict(converted_from=os.path.basename(args.input), backbone=config)
    torch.save(dict(meta=meta, state_dict=state_dict), partial)
    os.replace(partial, args.output)
    print(f'converted {len(state_dict)} tensors to {args.output}')
    print('backbone=dict(' + ', '.join(f'{k}={v!r}' for k, v in config.items()) + ')')


if __name__ == '__main__':
    try:
        main()
    except UserError as error:
        sys.exit(f'error: {error}')
