"""Train a detector or classifier.

    python tools/train.py configs/mini/faster_rcnn_dla_l18_mini.py
"""
import os
from contextlib import nullcontext

from mmdla.engine import cli, preflight
from mmdla.engine.progress import progress
from mmdla.engine.runner import Runner
from mmdla.errors import UserError
from mmdla.names_before import present_names
from mmdla.pretrained import check_fit, read_checkpoint

import torch
from mmengine.runner import find_latest_checkpoint


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
    processes, batch = cli.world_size(cfg.launcher), cfg.train_dataloader.get('batch_size')
    scaled = enable or scaling.get('enable')
    if base and batch and not scaled and processes * batch != base and cli.rank(cfg.launcher) == 0:
        print(f'note: the learning rate is meant for a total batch of {base}, this run has '
              f'{processes * batch} ({processes} x {batch}): add --auto-scale-lr to scale it.')


def start_from(cfg, resume) -> None:
    """Settle the checkpoint that the whole model starts from, if any.

    ``resume`` is a path, 'auto' (the newest in the work dir, or afresh where there is none) or
    None. With such a checkpoint the backbone's own start is not needed.
    """
    if resume == 'auto':
        has_one = os.path.isfile(os.path.join(cfg.work_dir, 'last_checkpoint'))
        resume = find_latest_checkpoint(cfg.work_dir) if has_one else None
    if resume:
        cfg.resume, cfg.load_from = True, resume
    if cfg.get('load_from'):
        if '://' not in cfg.load_from and not os.path.isfile(cfg.load_from):
            raise UserError(f'checkpoint {cfg.load_from} does not exist: check the path.')
        if cfg.model.get('backbone'):
            cfg.model.backbone.init_cfg = None


def check_start(runner: Runner) -> None:
    """A resumed model must match whole; a fine-tuned one's backbone must, its heads may differ."""
    cfg = runner.cfg
    if cfg.get('load_from'):
        model = getattr(runner.model, 'module', runner.model)
        part = '' if cfg.get('resume') else 'backbone.'
        checkpoint = read_checkpoint(cfg.load_from)
        if cfg.get('resume') and present_names(checkpoint.get('state_dict', ())):
            raise UserError(f'{cfg.load_from} is of mmdla 0.1, whose optimizer state has another order, '
                            'and cannot be resumed: start from its weights, --cfg-options '
                            'load_from=FILE.')
        check_fit(model, cfg.load_from, checkpoint, part)


def main():
    args = parse_args()
    cfg = cli.load_config(args)
    if args.amp:
        if not torch.cuda.is_available():
            raise UserError('--amp needs a GPU, and none is visible: leave it out.')
        cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
    start_from(cfg, args.resume)
    preflight.check(cfg, ('train', 'val'), args.check_data)
    scale_lr(cfg, args.auto_scale_lr)
    runner = Runner.from_cfg(cfg)
    check_start(runner)
    with progress(runner) if args.progress else nullcontext():
        runner.train()


if __name__ == '__main__':
    cli.run(main)
