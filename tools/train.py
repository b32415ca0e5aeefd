"""Train a detector or classifier.

    python tools/train.py configs/mini/faster_rcnn_dla_l18_mini.py
"""
import os
from contextlib import nullcontext

from mmdla.engine import cli, preflight, start
from mmdla.engine.progress import progress
from mmdla.engine.resume import Saved, check_resumable, differences, is_finished
from mmdla.engine.runner import Runner
from mmdla.engine.schedules import check_schedules, long_warmups
from mmdla.errors import UserError
from mmdla.pretrained import check_fit, read_checkpoint, state_dict_of

import torch


def parse_args():
    parser = cli.parser(__doc__)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, by default from the newest in the work dir')
    parser.add_argument(
        '--start-from',
        metavar='CHECKPOINT',
        help='start from a trained detector or classifier, without or with layer attention '
        '(default: start_from of the config)')
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
    if base and not isinstance(base, int):
        raise UserError(f'auto_scale_lr.base_batch_size={base!r} is no number: set it to the total '
                        'batch size that the learning rate is meant for.')
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


def settle_checkpoint(cfg, resume) -> None:
    """Settle the checkpoint that the whole model starts from, if any.

    ``resume`` is a path, 'auto' (the newest whole one in the work dir, or afresh where there is none)
    or None. With such a checkpoint the backbone's own start is not needed, nor a trained model to start
    from (``cfg.start_from``).
    """
    saved = Saved.of(cfg, cfg.work_dir)
    if resume is None and cfg.get('resume') and not cfg.get('load_from'):
        resume = 'auto'
    if resume == 'auto':
        resume, reasons = saved.newest()
        for text in reasons:
            cli.note(cfg.launcher, text)
        cli.note(cfg.launcher, f'going on from {resume}' if resume else
                 f'no checkpoint in {saved.folder}: training starts from '
                 f'{cfg.get("start_from") or "the beginning"}')
        cfg.resume = bool(resume)
    elif saved.paths() and not (resume and os.path.dirname(os.path.abspath(resume)) ==
                                os.path.abspath(saved.folder)):
        raise UserError(f'{saved.folder} holds an earlier run ({os.path.basename(saved.paths()[-1])}), '
                        'which this one would overwrite: add --resume to go on with it, name another '
                        '--work-dir, or remove it.')
    if resume:
        cfg.resume, cfg.load_from, cfg.start_from = True, resume, None
    if cfg.get('start_from'):
        start.prepare(cfg)
    if cfg.get('load_from'):
        if '://' not in cfg.load_from and not os.path.isfile(cfg.load_from):
            raise UserError(f'checkpoint {cfg.load_from} does not exist: check the path.')
        start.leave_out_backbones(cfg)


def check_length(cfg) -> None:
    for name in ('max_epochs', 'max_iters'):
        value = (cfg.get('train_cfg') or {}).get(name, 1)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise UserError(f'train_cfg.{name}={value!r} must be a positive number.')


def check_start(runner: Runner, checkpoint: dict) -> None:
    """A resumed model must match whole; a fine-tuned one's backbone must, its heads may differ.

    With ``start_from``, what of the heads does not depend on the classes must match too.
    """
    cfg = runner.cfg
    model = getattr(runner.model, 'module', runner.model)
    if cfg.get('start_from'):
        runner.start = start.fit(model, cfg, checkpoint, 'train')
        text = start.other_normalisation(cfg, checkpoint)
        if text:
            cli.note(cfg.launcher, text)
        return
    check_fit(model, cfg.load_from, checkpoint, '' if cfg.get('resume') else 'backbone.')
    why = '' if cfg.get('resume') else start.difference(cfg, checkpoint, 'train')
    if why:
        cli.note(cfg.launcher, f'{cfg.load_from} is loaded into heads of other classes than its own '
                 f'({why}): --start-from in place of load_from makes anew what depends on them.')
    if cfg.get('resume'):
        for text in differences(cfg, checkpoint, cfg.load_from, len(runner.train_dataloader)):
            cli.note(cfg.launcher, text)


def main():
    args = parse_args()
    cfg = cli.load_config(args)
    if args.amp:
        if not torch.cuda.is_available():
            raise UserError('--amp needs a GPU, and none is visible: leave it out.')
        cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
    check_length(cfg)
    if args.start_from and args.resume not in (None, 'auto'):
        raise UserError(f'--resume {args.resume} goes on with a run and --start-from begins one: leave '
                        'one of them out.')
    start.settle(cfg, args.start_from)
    settle_checkpoint(cfg, args.resume)
    filename = cfg.get('load_from') or cfg.get('start_from')
    checkpoint = read_checkpoint(filename) if filename else None
    if cfg.get('resume'):
        state_dict_of(checkpoint, cfg.load_from)
        check_resumable(checkpoint, cfg.load_from)
        if is_finished(cfg, checkpoint):
            cli.note(cfg.launcher, f'{cfg.load_from} is of the end of the run: there is nothing left to '
                     'train; raise train_cfg.max_epochs (or max_iters) to go on.')
            return
    preflight.check(cfg, ('train', 'val'), args.check_data)
    if cfg.get('resume'):
        preflight.check_recorded_classes(cfg, checkpoint, cfg.load_from, 'train')
    scale_lr(cfg, args.auto_scale_lr)
    runner = Runner.from_cfg(cfg)
    iterations = getattr(runner.train_loop, 'max_iters', None)
    check_schedules(cfg, iterations)
    for text in long_warmups(cfg, iterations):
        cli.note(cfg.launcher, text)
    if checkpoint is not None:
        check_start(runner, checkpoint)
    if args.progress and runner.start:
        cli.note(cfg.launcher, str(runner.start))
    try:
        with progress(runner) if args.progress else nullcontext():
            runner.train()
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f'{Saved.of(cfg, cfg.work_dir).way_on()}.') from stop
    runner.leave()


if __name__ == '__main__':
    cli.run(main)
