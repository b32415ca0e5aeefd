"""Write the backbone of a trained classifier as the start of a detector.

Reads a checkpoint of tools/train.py (of its EMA where the run had one: mmengine keeps the averaged
weights in ``state_dict``) and writes the backbone's tensors alone to a file with a hash in its
name. OUT itself becomes a link to that file (a copy where links are not possible), so that the
detection configs find it. The same checkpoint gives the same file, byte for byte. With an OUT that
ends in .safetensors it is written in that format, which cannot hold code: the one to share.

    python tools/convert/extract_backbone.py work_dirs/dla_l50_8xb32_in1k/epoch_100.pth \\
        checkpoints/dla_l50_in1k.pth
"""
import argparse
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Sequence, Tuple

import mmdla
from mmdla.attention.interaction import interaction_class
from mmdla.engine import cli
from mmdla.errors import UserError
from mmdla.files import check_output, written
from mmdla.hosts.checkpoints import as_bytes
from mmdla.names_before import present_config
from mmdla.pretrained import mismatches, read_checkpoint, state_dict_of
from mmdla.recorded_config import build_trained, trained_config

import torch
from mmengine.utils import import_modules_from_strings

PREFIX = 'backbone.'
# what a classifier and a detector choose each for itself
OF_THE_TASK = ('init_cfg', 'out_indices', 'frozen_stages', 'norm_eval', 'with_cp', 'drop_path_rate',
               'attention_drop_path', 'attention_init', 'hidden_output', 'zero_init_residual')


def extract(source: str) -> dict:
    """The backbone in a classifier's checkpoint.

    Returns:
        dict: ``state_dict``, names in the backbone to tensors, and ``meta``, where they come from.

    Raises:
        UserError: If the file is no checkpoint with a whole backbone and its config.
    """
    checkpoint = read_checkpoint(source)
    tensors = {name.removeprefix(PREFIX): value.clone()
               for name, value in state_dict_of(checkpoint, source).items()
               if name.startswith(PREFIX)}
    if not tensors:
        raise UserError(f'checkpoint {source} has no tensors under {PREFIX}: name a checkpoint that '
                        'tools/train.py wrote.')
    config = trained_config(checkpoint)
    if config is None:
        raise UserError(f'checkpoint {source} does not hold the config that it was trained with: '
                        'name a checkpoint that tools/train.py wrote.')
    if str(config.get('type')).rpartition('.')[0] in ('', 'mmdet', 'mmpretrain', 'mmengine'):
        raise UserError(f'checkpoint {source} is of {config.get("type")}, which is no backbone of '
                        'mmdla: name a checkpoint of one.')
    config = {'type': config.get('type'), **without(present_config(config), OF_THE_TASK)}
    backbone = build_trained(config, source)
    if config.get('interaction'):
        of_the_task = interaction_class(config['interaction']).not_compared
        config['interaction'] = without(config['interaction'], of_the_task)
        backbone = build_trained(config, source)
    tensors = {name: value for name, value in tensors.items()
               if not name.startswith(backbone.ignored_prefixes)}
    problems = mismatches(backbone.state_dict(), tensors)
    if problems:
        raise UserError(f'checkpoint {source} does not fill the backbone of its own config, tensors: '
                        f'{"; ".join(problems)}: name another one.')
    meta = dict(
        backbone=config,
        epoch=checkpoint['meta'].get('epoch'),
        source=os.path.basename(source),
        source_sha256=hashlib.sha256(Path(source).read_bytes()).hexdigest(),
        mmdla_version=mmdla.__version__,
        torch_version=str(torch.__version__))
    return dict(meta=meta, state_dict=tensors)


def without(config: dict, names: Sequence[str]) -> dict:
    return {name: value for name, value in config.items() if name not in names}


def publish(content: dict, out: Path) -> Path:
    """Write a checkpoint to a file named by its hash and make ``out`` lead there.

    Returns:
        Path: ``NAME-1a2b3c4d.pth`` beside ``out``, with the first 8 hex digits of its sha256.

    Raises:
        UserError: If it cannot be written.
    """
    data = as_bytes(content, out.suffix)
    hashed = out.with_name(f'{out.stem}-{hashlib.sha256(data).hexdigest()[:8]}{out.suffix}')
    with written(hashed) as partial:
        partial.write_bytes(data)
    try:
        link(out, hashed.name)
    except OSError:
        with written(out) as partial:
            partial.write_bytes(data)
    return hashed


def link(path: Path, target: str) -> None:
    """Put a link to ``target`` in the place of ``path`` at once."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        made.symlink_to(target)
        os.replace(made, path)


def parse_args() -> Tuple[str, Path]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('classifier', metavar='CLASSIFIER', help='checkpoint of tools/train.py')
    parser.add_argument('out', metavar='OUT', type=Path, help='backbone file to write')
    parser.add_argument('--imports', nargs='+', default=[], metavar='MODULE',
                        help='modules that register parts of the backbone, as in custom_imports')
    args = parser.parse_args()
    if not os.path.isfile(args.classifier):
        raise UserError(f'checkpoint {args.classifier} does not exist: check the path.')
    check_output(args.out, '.pth', '.safetensors')
    if args.out.exists() and args.out.samefile(args.classifier):
        raise UserError(f'{args.out} is the classifier itself: name another file to write.')
    try:
        import_modules_from_strings(args.imports)
    except ImportError as error:
        raise UserError(f'--imports: {error}: have its folder in PYTHONPATH.') from error
    return args.classifier, args.out


def main() -> None:
    source, out = parse_args()
    content = extract(source)
    hashed = publish(content, out)
    config = content['meta']['backbone']
    print(f'wrote {len(content["state_dict"])} tensors to {hashed}')
    print(f'{out} is a link to it; a detector starts from it with this backbone and option:')
    print('backbone=dict(' + ', '.join(f'{name}={value!r}' for name, value in config.items()) + ')')
    print(f'--cfg-options model.backbone.init_cfg.checkpoint={out}')


if __name__ == '__main__':
    cli.run(main)
