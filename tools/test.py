"""Test a detector (COCO AP) or a classifier (accuracy).

    python tools/test.py configs/mini/faster_rcnn_dla_l18_mini.py work_dirs/.../epoch_12.pth

Writes WORK_DIR/metrics.json and, for a detector, its detections in COCO's results format to
WORK_DIR/results.bbox.json (and results.segm.json).
"""
import json
import os

from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults

from mmdla.engine import cli, preflight
from mmdla.engine.pretrained import mismatches, read_state_dict
from mmdla.engine.runner import Runner
from mmdla.errors import UserError


def parse_args():
    parser = cli.parser(__doc__)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--out', metavar='FILE.pkl', help='dump all predictions for later use')
    parser.add_argument('--show-dir', help='folder to draw the predictions to')
    args = parser.parse_args()
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        parser.error('--out must end in .pkl: metrics and COCO results are written as JSON anyway')
    return args


def draw_to(cfg, folder: str) -> None:
    """Switch on the host's drawing hook."""
    folder = os.path.abspath(folder)
    hook = cfg.default_hooks.get('visualization')
    if not hook:
        raise UserError('--show-dir needs default_hooks.visualization in the config.')
    if hook.type.endswith('DetVisualizationHook'):
        hook.update(draw=True, test_out_dir=folder)
    else:
        hook.update(enable=True, out_dir=folder)


def write_results_to(cfg, work_dir: str) -> None:
    """Have CocoMetric keep its results files."""
    evaluators = cfg.test_evaluator
    for evaluator in [evaluators] if isinstance(evaluators, dict) else evaluators:
        if evaluator.type.endswith('CocoMetric') and not evaluator.get('outfile_prefix'):
            evaluator.outfile_prefix = os.path.join(work_dir, 'results')


def check_fit(model, checkpoint: str, tensors: dict) -> None:
    problems = mismatches(model.state_dict(), tensors)
    if problems:
        raise UserError(f'checkpoint {checkpoint} does not fit the config\'s '
                        f'{type(model).__name__}, tensors {"; ".join(problems)}: use the config '
                        'that it was trained with.')


def summary(metrics: dict) -> str:
    """The line that a person looks for."""
    parts = []
    for kind, name in (('bbox', 'box'), ('segm', 'mask')):
        if f'coco/{kind}_mAP' in metrics:
            parts.append(f'{name} AP {metrics[f"coco/{kind}_mAP"]:.3f}, '
                         f'AP50 {metrics[f"coco/{kind}_mAP_50"]:.3f}')
    return '; '.join(parts or (f'{k} {v:.4g}' for k, v in metrics.items()))


def main():
    args = parse_args()
    cfg = cli.load_config(args)
    if args.show_dir:
        draw_to(cfg, args.show_dir)
    write_results_to(cfg, cfg.work_dir)
    preflight.check(cfg, ('test', ))
    tensors = read_state_dict(args.checkpoint)
    cfg.load_from = args.checkpoint
    runner = Runner.from_cfg(cfg)
    model = getattr(runner.model, 'module', runner.model)
    check_fit(model, args.checkpoint, tensors)
    if args.out:
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
    metrics = runner.test()
    if is_main_process():
        path = os.path.join(cfg.work_dir, 'metrics.json')
        with open(path, 'w') as file:
            json.dump({k: float(v) for k, v in metrics.items()}, file, indent=2)
        print(summary(metrics))
        print(f'wrote {path}' + (f' and pictures to {args.show_dir}' if args.show_dir else ''))


if __name__ == '__main__':
    cli.run(main)
