"""tools/inference.py on images of one name."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmdla.engine.complexity import build
from mmdla.engine.inferencer import out_folders

ROOT = Path(__file__).parents[2]


def stem(path):
    return Path(path).stem


@pytest.mark.parametrize('images, folders', [
    (['a/x.png', 'b/y.png'], {'out': ['a/x.png', 'b/y.png']}),
    (['a/x.png', 'b/x.png', 'b/y.png'],
     {'out/a/x.png': ['a/x.png'], 'out/b/x.png': ['b/x.png'], 'out': ['b/y.png']}),
    (['a/x.png', 'a/x.jpg'], {'out/x.png': ['a/x.png'], 'out/x.jpg': ['a/x.jpg']}),
    (['/r/x.png', '/s/t/x.png'], {'out/r/x.png': ['/r/x.png'], 'out/s/t/x.png': ['/s/t/x.png']}),
    (['x.png', 'x.png'], {'out': ['x.png']}),
])
def test_folders(images, folders):
    assert out_folders(images, 'out', stem) == folders


@pytest.mark.parametrize('name, written', [
    ('faster_rcnn_dla_l18_mini', ['a/x.1.png/preds/x.1.json', 'a/x.1.png/vis/x.1.png',
                                  'b/x.1.png/preds/x.1.json', 'b/x.1.png/vis/x.1.png',
                                  'preds/x.2.json', 'vis/x.2.png']),
    ('dla_l18_mini_shapes', ['a/x.1.png/vis/x.png', 'b/x.1.png/vis/x.png', 'b/x.2.png/vis/x.png']),
])
def test_images_of_one_name(name, written, call, tmp_path, monkeypatch, mini_root):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv('MINI_ROOT', str(mini_root))
    config = ROOT / 'configs' / 'mini' / f'{name}.py'
    torch.save(dict(state_dict=build(Config.fromfile(config)).state_dict(), meta={}), tmp_path / 'c.pth')
    images = [tmp_path / 'in' / image for image in ('a/x.1.png', 'b/x.1.png', 'b/x.2.png')]
    for seed, path in enumerate(images):
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), np.uint8)
        cv2.imwrite(str(path), noise)
    out = tmp_path / 'out'
    done = call('inference.py', config, tmp_path / 'c.pth', *images, '--out-dir', out, '--device', 'cpu')
    assert done.returncode == 0, done.stderr
    assert sorted(str(p.relative_to(out)) for p in out.rglob('*') if p.is_file()) == written
