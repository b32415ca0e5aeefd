"""Write a trained classifier or detector as ONNX, and compare both in onnxruntime.

    python tools/deploy/export_onnx.py CONFIG CHECKPOINT --out model.onnx --images PICTURE

A classifier is one file, pixels to logits. A detector's file has the raw outputs of its dense head;
the heads on RoIs of a two-stage detector lie beside it (model.roi1.onnx, model.mask.onnx), and
mmdla/deploy/runtime.py decodes them. Batch and size are dynamic. docs/deploy.md says how to run them.
Nothing is written if the outputs differ by more than 1e-3 of their largest value.
"""
import argparse
from pathlib import Path

from mmdla.deploy import compare, export, settings
from mmdla.deploy.runtime import part
from mmdla.engine import cli
from mmdla.engine.inferencer import build_inferencer
from mmdla.errors import UserError
from mmdla.files import check_output, read_picture

MOST = 1e-3


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--out', metavar='FILE.onnx', help='(default: work_dirs/CONFIG_NAME.onnx)')
    parser.add_argument('--shape', nargs=2, type=int, metavar=('H', 'W'),
                        help='size to trace with; any other runs, too (default: 224 224, or 256 320 '
                        'of a detector)')
    parser.add_argument('--fixed-shape', action='store_true',
                        help='no other size than --shape, for trunks whose graph depends on it')
    parser.add_argument('--exporter', choices=list(export.OPSET), default='dynamo',
                        help='the one by torch.export, or the legacy one by tracing that torch before '
                        '2.9 takes by itself (default: %(default)s)')
    parser.add_argument('--images', nargs='+', default=[], metavar='PICTURE',
                        help='pictures to compare the detections on (default: one of noise)')
    cli.add_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = cli.read_config(args.config, args.cfg_options)
    out = Path(args.out or Path('work_dirs') / f'{Path(args.config).stem}.onnx')
    check_output(out, '.onnx')
    export.check_packages(args.exporter)
    detector = cfg.get('default_scope') == 'mmdet'
    shape = tuple(args.shape or ((256, 320) if detector else (224, 224)))
    if min(shape) < 32 or (detector and any(size % 32 for size in shape)):
        raise UserError(f'--shape {shape[0]} {shape[1]}: give at least 32 pixels, and multiples of 32 '
                        'for a detector.')
    if args.images and (not detector or args.fixed_shape):
        raise UserError('--images is for detectors of any size: leave it out, others are compared on '
                        'noise.')
    pictures = {path: read_picture(path) for path in args.images}
    with export.quiet():
        inferencer = build_inferencer(cfg, args.checkpoint, 'cpu')
    model = inferencer.model
    facts = None
    if detector:
        classes = list(inferencer.visualizer.dataset_meta.get('classes', []))
        graphs, facts = settings.detector_graphs(model), settings.facts(model, cfg, classes)
    else:
        graphs = settings.classifier_graphs(model)
    files, feeds = {}, {}
    for graph in map(export.of_one_size, graphs) if args.fixed_shape else graphs:
        path = part(out, graph.part) if graph.part else out
        inputs = export.example(graph, shape, feeds)
        content = export.to_onnx(graph, inputs, args.exporter)
        error, outputs = export.difference(content, graph.network, inputs, list(graph.inputs))
        if not graph.part:
            feeds = dict(zip(graph.outputs, outputs))
            size = shape if args.fixed_shape else (shape[0] + 32, shape[1] + 64)
            other = [tensor[:1] for tensor in export.example(graph, size, {})]
            error = max(error, export.difference(content, graph.network, other, list(graph.inputs))[0])
        print(f'{path.name}: largest difference to PyTorch {error:.1e} of the largest output')
        if not error <= MOST:
            raise UserError(f'the outputs of {path.name} differ by {error:.1e}, more than {MOST:.0e}, '
                            'so that nothing is written: use --fixed-shape, or the other exporter '
                            '(--exporter).')
        files[path] = export.with_facts(content, facts) if facts and not graph.part else content
    export.write(files)
    if detector and not args.fixed_shape:
        compare.detections(inferencer, out, pictures or {'noise': compare.noise(shape)})
    print(f'wrote {", ".join(map(str, files))}')


if __name__ == '__main__':
    cli.run(main)
