"""Train a detector or classifier.

    python tools/train.py configs/mini/faster_rcnn_dla_l18_mini.py
"""
import os

from mmengine.runner import find_latest_checkpoint

from mmdla.engine import cli, preflight
from mmdla.engine.runner import Runner, has_gpu, world_size
from mmdla.errors import UserError


def parse_args():
    parser = cli.parser(__doc__)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, by default from the newest in the work dir')
    parser.add_argument('--amp', action='store_true', help='mixed precision (GPU)')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the total batch size')
    return parser.parse_args()


def scale_lr(cfg, enable: bool) -> None:
    """Scale the learning rate on request; say so where it would be due."""
    scaling = cfg.get('auto_scale_lr') or {}
    base = scaling.get('base_batch_size')
    if enable and not base:
        raise UserError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config: set '
                        'it to the total batch size that the learning rate is meant for.')
    if enable:
        cfg.auto_scale_lr.enable = True
    total = cfg.train_dataloader.batch_size * world_size()
    if base and total != base and not scaling.get('enable') and not enable:
        print(f'note: the learning rate is meant for a total batch of {base}, this run has '
              f'{total} ({world_size()} x {cfg.train_dataloader.batch_size}): add --auto-scale-lr '
              'to scale it.')


def resume(cfg, checkpoint: str) -> None:
    """Go on from a checkpoint if there is one; the backbone's own start is not needed then."""
    if checkpoint == 'auto':
        has_one = os.path.isfile(os.path.join(cfg.work_dir, 'last_checkpoint'))
        checkpoint = find_latest_checkpoint(cfg.work_dir) if has_one else None
    elif not os.path.isfile(checkpoint):
        raise UserError(f'checkpoint {checkpoint} does not exist: check the path.')
    if checkpoint:
        cfg.resume, cfg.load_from = True, checkpoint
        if cfg.model.get('backbone'):
            cfg.model.backbone.init_cfg = None


def main():
    args = parse_args()
    cfg = cli.load_config(args)
    if args.amp:
        if not has_gpu():
            raise UserError('--amp needs a GPU, and none is visible: leave it out.')
        cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
    if args.resume:
        resume(cfg, args.resume)
    preflight.check(cfg, ('train', 'val'))
    scale_lr(cfg, args.auto_scale_lr)
    Runner.from_cfg(cfg).train()


if __name__ == '__main__':
    cli.run(main)
