"""Train a detector or classifier.

    python tools/train.py configs/mini/faster_rcnn_dla_l18_mini.py
"""
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


def resume(cfg, checkpoint) -> None:
    """Go on from a checkpoint. The backbone's own start is not needed any more then."""
    cfg.resume = True
    cfg.load_from = None if checkpoint == 'auto' else checkpoint
    newest = cfg.load_from or find_latest_checkpoint(cfg.work_dir)
    if newest and cfg.model.get('backbone'):
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
