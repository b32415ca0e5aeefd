"""Test a detector (COCO AP) or a classifier (accuracy).

    python tools/test.py configs/mini/faster_rcnn_dla_l18_mini.py work_dirs/.../epoch_6.pth
    python tools/test.py CONFIG --start-from DETECTOR.pth    # as training from that detector starts

Writes WORK_DIR/metrics.json and, for a detector, its detections in COCO's results format to
WORK_DIR/results.bbox.json (and results.segm.json).
"""
import json
import os
from contextlib import nullcontext

from mmdla.engine import cli, preflight, start
from mmdla.engine.data_config import type_name
from mmdla.engine.draw_hook import DrawHook
from mmdla.engine.fuse import FuseHook
from mmdla.engine.progress import progress
from mmdla.engine.runner import Runner
from mmdla.errors import UserError
from mmdla.files import check_output, check_place, write_text
from mmdla.pretrained import check_fit, read_checkpoint

import numpy as np
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults


def parse_args():
    parser = cli.parser(__doc__)
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file')
    parser.add_argument(
        '--start-from',
        metavar='CHECKPOINT',
        help='in place of a checkpoint: test the model as train.py --start-from starts it')
    parser.add_argument('--out', metavar='FILE.pkl', help='dump all predictions for later use')
    parser.add_argument('--show-dir', help='folder to draw the predictions to')
    parser.add_argument('--fuse', action='store_true',
                        help='fold BatchNorms into their neighbours: faster, with the same results')
    args = parser.parse_args()
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        parser.error('--out must end in .pkl: metrics and COCO results are written as JSON anyway')
    if args.out:
        check_output(args.out)
    if args.show_dir:
        check_place(args.show_dir)
    return args


def drawing(cfg, folder: str) -> DrawHook:
    """The hook that draws to a folder, in place of the config's own."""
    hook = (cfg.get('default_hooks') or {}).pop('visualization', None)
    if not hook:
        raise UserError('--show-dir needs default_hooks.visualization in the config.')
    return DrawHook(hook, folder)


def write_results_to(cfg, work_dir: str) -> None:
    """Have CocoMetric keep its results files."""
    evaluators = cfg.get('test_evaluator')
    if not evaluators or not cfg.get('test_dataloader'):
        raise UserError('the config has no test_dataloader and test_evaluator: set them.')
    for evaluator in [evaluators] if isinstance(evaluators, dict) else evaluators:
        if type_name(evaluator).endswith('CocoMetric') and not evaluator.get('outfile_prefix'):
            evaluator.outfile_prefix = os.path.join(work_dir, 'results')


def dump_metric(cfg) -> type:
    """The host's metric that dumps predictions; mmdet's encodes masks."""
    if cfg.get('default_scope') == 'mmdet':
        from mmdet.evaluation import DumpDetResults
        return DumpDetResults
    return DumpResults


def plain(value):
    """Metrics as JSON holds them; arrays as lists."""
    return value if isinstance(value, (bool, int, float, str)) else np.asarray(value).tolist()


def summary(metrics: dict) -> str:
    """The line that a person looks for."""
    parts = []
    for kind, name in (('bbox', 'box'), ('segm', 'mask')):
        if f'coco/{kind}_mAP' in metrics:
            parts.append(f'{name} AP {metrics[f"coco/{kind}_mAP"]:.3f}, '
                         f'AP50 {metrics[f"coco/{kind}_mAP_50"]:.3f}')
    parts = parts or [f'{k} {v:.4g}' for k, v in metrics.items() if isinstance(v, float)]
    return '; '.join(parts) or 'no metrics: a detector without any detection has none'


def settle_checkpoint(cfg, args) -> str:
    """The file to test: a checkpoint of the config's model, or one that it can start from."""
    if args.checkpoint and args.start_from:
        raise UserError(f'both {args.checkpoint} and --start-from {args.start_from} are given: name '
                        'one of them.')
    cfg.load_from = args.checkpoint
    if args.checkpoint:
        cfg.start_from = None
        start.leave_out_backbones(cfg)
        return args.checkpoint
    start.settle(cfg, args.start_from)
    if not cfg.get('start_from'):
        raise UserError('there is nothing to test: name a checkpoint, or a trained model with '
                        '--start-from.')
    start.prepare(cfg)
    return cfg.start_from


def check_start(runner: Runner, checkpoint: dict) -> None:
    """Have the runner start from a trained model, of which nothing must be made anew."""
    cfg, model = runner.cfg, getattr(runner.model, 'module', runner.model)
    runner.start = start.fit(model, cfg, checkpoint, 'test')
    if runner.start.remade:
        raise UserError(f'{cfg.start_from} was trained on another number of classes, so that there is '
                        f'nothing to test before {runner.start.remade[0]} and '
                        f'{len(runner.start.remade) - 1} other tensors are trained: train first, with '
                        f'tools/train.py --start-from {cfg.start_from}.')
    text = start.other_normalisation(cfg, checkpoint)
    if text:
        cli.note(cfg.launcher, text)


def main():
    args = parse_args()
    cfg = cli.load_config(args)
    filename = settle_checkpoint(cfg, args)
    hooks = [drawing(cfg, args.show_dir)] if args.show_dir else []
    write_results_to(cfg, cfg.work_dir)
    preflight.check(cfg, ('test', ), args.check_data)
    checkpoint = read_checkpoint(filename)
    preflight.check_recorded_classes(cfg, checkpoint, filename)
    runner = Runner.from_cfg(cfg)
    if cfg.get('start_from'):
        check_start(runner, checkpoint)
        if args.progress:
            cli.note(cfg.launcher, str(runner.start))
    else:
        check_fit(getattr(runner.model, 'module', runner.model), filename, checkpoint)
    if args.out:
        runner.test_evaluator.metrics.append(dump_metric(cfg)(out_file_path=args.out))
    for hook in [*hooks, *([FuseHook()] if args.fuse else [])]:
        runner.register_hook(hook)
    with progress(runner) if args.progress else nullcontext():
        metrics = runner.test()
    if is_main_process():
        path = os.path.join(cfg.work_dir, 'metrics.json')
        write_text(path, json.dumps({k: plain(v) for k, v in metrics.items()}, indent=2))
        print(summary(metrics))
        print(f'wrote {path}' + (f' and pictures to {args.show_dir}' if args.show_dir else ''))
    runner.leave()


if __name__ == '__main__':
    cli.run(main)
