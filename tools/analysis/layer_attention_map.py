"""The attention of each layer over the layers of its stage (DLA paper, Figure 2), from real images.

    python tools/analysis/layer_attention_map.py CONFIG CHECKPOINT IMAGES [IMAGES ...] --out-dir DIR

IMAGES are pictures or folders of them. Base forms (MRLA-B, DLA-B): the softmax scores, after the
refresh. Light forms: the weight of each earlier layer's values through the chain of lambdas, refreshes
(of DLA) and scales of the BNs; its magnitude is drawn, the mean of |weight| over the channels. Writes
layer_attention.png and layer_attention.json, averaged over images and heads; with --per-head also
one picture for each stage, and the heads' numbers.
"""
import argparse
import json
from pathlib import Path
from typing import Dict

import mmdla  # noqa: F401 (registers the backbones, and operators before mmdet asks for them)
from mmdla.engine import cli
from mmdla.engine.attention_map import AttentionRecorder
from mmdla.engine.inferencer import build_inferencer, check_sizes, picture_sizes
from mmdla.errors import UserError
from mmdla.files import check_folder, write_figure, write_text

import matplotlib
import torch
from torch import Tensor

matplotlib.use('Agg')
PICTURES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')


def pictures(paths: list) -> list:
    """The pictures named or in the folders named."""
    found = []
    for path in map(Path, paths):
        inside = sorted(p for p in path.glob('*') if p.suffix.lower() in PICTURES)
        if not inside and not (path.is_file() and path.suffix.lower() in PICTURES):
            raise UserError(f'{path} is no picture and no folder with pictures: check the path.')
        found += inside or [path]
    return [str(path) for path in found]


def draw(axis, weights: Tensor, title: str, top: float, numbers: bool) -> None:
    """One heat map: rows are the layers that attend, columns those attended to."""
    layers = len(weights)
    seen = weights.masked_fill(torch.ones(layers, layers).triu(1).bool(), float('nan'))
    image = axis.imshow(seen, vmin=0, vmax=top, cmap='viridis')
    axis.set_title(title, fontsize=9)
    ticks = range(0, layers, max(1, layers // 6))
    axis.set(xticks=ticks, yticks=ticks, xticklabels=[t + 1 for t in ticks],
             yticklabels=[t + 1 for t in ticks])
    axis.figure.colorbar(image, ax=axis, fraction=0.046)
    if numbers and layers <= 8:
        for i in range(layers):
            for j in range(i + 1):
                value = weights[i, j].item()
                axis.text(j, i, f'{value:.2f}', ha='center', va='center', fontsize=6,
                          color='black' if value > 0.6 * top else 'white')


def figure(maps: Dict[str, Tensor], out: Path, label: str, softmax: bool, columns: int) -> None:
    """Heat maps side by side, ``columns`` in a row, on one scale."""
    import matplotlib.pyplot as plt
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    canvas, axes = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.9 * rows + 0.4), squeeze=False)
    for axis in axes.flat:
        axis.axis('off')
    top = 1.0 if softmax else max(max(weights.max().item() for weights in maps.values()), 1e-9)
    for axis, (name, weights) in zip(axes.flat, maps.items()):
        axis.axis('on')
        draw(axis, weights, name, top, columns <= 5)
        axis.set(xlabel='layer t', ylabel='layer l')
    canvas.suptitle(label, fontsize=10)
    canvas.tight_layout()
    write_figure(out, canvas)
    plt.close(canvas)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('images', nargs='+', metavar='IMAGES')
    parser.add_argument('--out-dir', default='work_dirs/layer_attention', help='(default: %(default)s)')
    parser.add_argument('--per-head', action='store_true')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    images = pictures(args.images)
    cfg, sizes, out = cli.read_config(args.config), picture_sizes(images), check_folder(args.out_dir)
    inferencer = build_inferencer(cfg, args.checkpoint, args.device)
    recorder = AttentionRecorder(inferencer.model)
    check_sizes(inferencer, sizes)
    inferencer(images)
    maps = recorder.maps()
    heads = {stage: weights.abs().mean((0, 4)).permute(2, 0, 1) for stage, weights in maps.items()}
    means = {stage: weights.mean(0) for stage, weights in heads.items()}
    kind = 'softmax score' if recorder.softmax else 'magnitude of the unrolled weight'
    count = len(next(iter(maps.values())))
    numbers = dict(kind=kind, images=images, stages={
        stage: dict(
            mean=means[stage].tolist(),
            signed_mean=maps[stage].mean((0, 3, 4)).tolist(),
            **(dict(heads=heads[stage].tolist()) if args.per_head else {})) for stage in maps})
    write_text(out / 'layer_attention.json', json.dumps(numbers))
    drawn = kind if recorder.softmax else 'mean |weight|'
    label = f'{Path(args.config).stem}: {drawn} of layer t in the attention of layer l, {count} images'
    figure(means, out / 'layer_attention.png', label, recorder.softmax, columns=4)
    if args.per_head:
        for stage, weights in heads.items():
            named = {f'head {head + 1}': w for head, w in enumerate(weights)}
            figure(named, out / f'{stage.replace(" ", "_")}_heads.png', f'{stage}, {label}',
                   recorder.softmax, columns=8)
    for stage, weights in means.items():
        last = ', '.join(f'{value:.3f}' for value in weights[-1])
        print(f'{stage}: last layer over layers 1 to {len(weights)}: {last}')
    print(f'wrote {out}')


if __name__ == '__main__':
    cli.run(main)
