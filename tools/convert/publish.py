"""Write a trained model alone, to share: its weights, config and class names.

    python tools/convert/publish.py work_dirs/NAME/epoch_15.pth weights/NAME.safetensors

Optimizer, logs, the paths of data and of the start, and the state of the run stay behind. The same
checkpoint gives the same file, byte for byte; its sha256 is printed. tools/test.py, tools/inference.py
and mmdla.create_model(pretrained=FILE) read it. A .safetensors file cannot hold code: the format to
share; .pth is PyTorch's.
"""
import argparse
import hashlib
from pathlib import Path

from mmdla.engine import cli
from mmdla.errors import UserError
from mmdla.files import check_output, written
from mmdla.hosts.checkpoints import as_bytes
from mmdla.literal_config import whole_literal_config
from mmdla.pretrained import read_checkpoint, state_dict_of

KEPT = ('default_scope', 'data_preprocessor', 'model')  # of the config


def published(source: str, half: bool) -> dict:
    """What of a checkpoint is shared, with ``half`` in float16.

    Raises:
        UserError: If it is none of tools/train.py.
    """
    checkpoint = read_checkpoint(source)
    tensors = {name: value.half() if half and value.is_floating_point() else value.clone()
               for name, value in state_dict_of(checkpoint, source).items()}
    if half and not all(value.isfinite().all() for value in tensors.values()):
        raise UserError(f'checkpoint {source} has values beyond the range of float16: leave --half out.')
    meta = checkpoint.get('meta')
    if not isinstance(meta, dict) or not isinstance(meta.get('cfg'), str):
        raise UserError(f'checkpoint {source} does not hold the config that it was trained with: name '
                        'one that tools/train.py wrote.')
    config = whole_literal_config(meta['cfg'])
    config = '\n'.join(f'{key} = {without_start(config[key])!r}' for key in KEPT if key in config)
    classes = (meta.get('dataset_meta') or {}).get('classes', ())
    return dict(state_dict=tensors, meta=dict(
        cfg=config, epoch=meta.get('epoch'), dataset_meta=dict(classes=tuple(map(str, classes)))))


def without_start(value):
    """A part of a config without ``init_cfg``, which names a file of the one who trained."""
    if isinstance(value, dict):
        return {key: without_start(item) for key, item in value.items() if key != 'init_cfg'}
    return type(value)(map(without_start, value)) if isinstance(value, (list, tuple)) else value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='of tools/train.py')
    parser.add_argument('out', type=Path, metavar='OUT', help='.safetensors or .pth')
    parser.add_argument('--half', action='store_true', help='half the size, in float16')
    args = parser.parse_args()
    check_output(args.out, '.safetensors', '.pth')
    if args.out.exists() and Path(args.checkpoint).exists() and args.out.samefile(args.checkpoint):
        raise UserError(f'{args.out} is the checkpoint itself: name another file to write.')
    data = as_bytes(published(args.checkpoint, args.half), args.out.suffix)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with written(args.out) as partial:
        partial.write_bytes(data)
    print(f'wrote {args.out}, {len(data) / 1e6:.2f} MB, sha256 {hashlib.sha256(data).hexdigest()}')


if __name__ == '__main__':
    cli.run(main)
